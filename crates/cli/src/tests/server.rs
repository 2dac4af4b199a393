//! A server that has learnt its answers by heart, and remembers what it was asked.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;

pub(super) const PROJECT: &str = "105bdce1-64c0-48ab-899d-868455867ecf";
pub(super) const GATEWAY_ID: &str = "c711123c-ba2e-4267-9ede-afa611932580";
pub(super) const CONNECTION_ID: &str = "0ae4cf90-0405-4318-a169-e45b3bef7676";

/// wire-api.md §3.5.
pub(super) const GATEWAY: &str = r#"{"asn":12876,"connection_ids":[],"created_at":"2026-07-28T12:29:11.358221Z","gateway_type":"VGW-S","id":"c711123c-ba2e-4267-9ede-afa611932580","ipam_private_ipv4_id":"8d4e80f7-077b-4e6e-88e7-e0b5b3e5dd61","ipam_private_ipv6_id":"e799696e-252f-4f25-af09-6b6c4636c1f7","name":"gw","organization_id":"105bdce1-64c0-48ab-899d-868455867ecf","private_network_id":"88eb1423-3671-41c0-b9a8-b39c706de059","project_id":"105bdce1-64c0-48ab-899d-868455867ecf","public_config":{"ipam_ipv4_id":"b72ff6c8-941c-487c-ae63-05dbb6f2bead","ipam_ipv6_id":"298ba396-e098-4b07-b15c-d7602cbca861"},"region":"fr-par","status":"provisioning","tags":[],"updated_at":"2026-07-28T12:29:11.358221Z","zone":"fr-par-1"}"#;
/// wire-api.md §3.7.
pub(super) const CONNECTION: &str = r#"{"bgp_session_ipv4":{"peer_private_ip":"169.254.0.2/30","private_ip":"169.254.0.1/30","routing_policy_id":"7a1d8e2c-0000-4000-8000-000000000001"},"bgp_status_ipv4":"down","bgp_status_ipv6":"disabled","created_at":"2026-07-28T12:29:52.156515Z","customer_gateway_id":"7a1d8e2c-0000-4000-8000-000000000002","esp_ciphers":[{"dh_group":"modp2048","encryption":"aes256","integrity":"sha256"}],"id":"0ae4cf90-0405-4318-a169-e45b3bef7676","ikev2_ciphers":[{"dh_group":"modp2048","encryption":"aes256","integrity":"sha256"}],"initiation_policy":"customer_gateway","is_ipv6":false,"name":"conn","organization_id":"105bdce1-64c0-48ab-899d-868455867ecf","project_id":"105bdce1-64c0-48ab-899d-868455867ecf","region":"fr-par","route_propagation_enabled":true,"secret_id":"5bdd2ffe-4c2d-4c35-bc9e-5aaf509bdd2d","secret_revision":1,"status":"down","tags":[],"tunnel_status":"down","tunnel_status_ipv4":"unknown_tunnel_status","tunnel_status_ipv6":"unknown_tunnel_status","updated_at":"2026-07-28T12:29:52.156515Z","vpn_gateway_id":"c711123c-ba2e-4267-9ede-afa611932580"}"#;
/// wire-api.md, appendix A.
pub(super) const CUSTOMER: &str = r#"{"asn":65000,"connection_ids":[],"created_at":"2026-07-28T12:29:10.308108Z","id":"7a1d8e2c-0000-4000-8000-000000000002","name":"office","organization_id":"105bdce1-64c0-48ab-899d-868455867ecf","project_id":"105bdce1-64c0-48ab-899d-868455867ecf","public_ipv4":"51.15.224.226","region":"fr-par","tags":[],"updated_at":"2026-07-28T12:29:10.308108Z"}"#;
/// wire-api.md, appendix A.
pub(super) const POLICY: &str = r#"{"created_at":"2026-07-28T12:29:09.645322Z","id":"7a1d8e2c-0000-4000-8000-000000000001","is_ipv6":false,"name":"v4","organization_id":"105bdce1-64c0-48ab-899d-868455867ecf","prefix_filter_in":["10.0.1.0/24"],"prefix_filter_out":["10.0.0.0/24"],"project_id":"105bdce1-64c0-48ab-899d-868455867ecf","region":"fr-par","tags":[],"updated_at":"2026-07-28T12:29:09.645322Z"}"#;

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    /// Method, path and query.
    pub(super) line: String,
    pub(super) token: String,
    pub(super) body: Value,
    /// Where a stream goes on.
    pub(super) last_event_id: String,
}

/// Answers by `METHOD path`, without the query; the last of several is kept.
pub(super) struct Server {
    address: SocketAddr,
    answers: Mutex<BTreeMap<String, VecDeque<(u16, String)>>>,
    seen: Mutex<Vec<Seen>>,
}

impl Server {
    pub(super) async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Arc::new(Self { address, answers: Mutex::default(), seen: Mutex::default() });
        let shared = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        server
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers `call` (`GET /path`) so; several times: one after the other.
    pub(super) fn on(&self, call: &str, status: u16, body: impl Into<String>) {
        self.answers.lock().expect("a lock").entry(call.to_owned()).or_default().push_back((status, body.into()));
    }

    /// Everything asked since the last time.
    pub(super) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().expect("a lock"))
    }

    /// The lines of everything asked since the last time.
    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let token = head.headers.get("x-auth-token").and_then(|token| token.to_str().ok()).unwrap_or_default().to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let last = head.headers.get("last-event-id").and_then(|last| last.to_str().ok()).unwrap_or_default().to_owned();
    server.seen.lock().expect("a lock").push(Seen {
        line: format!("{} {}", head.method, head.uri),
        token,
        body,
        last_event_id: last,
    });
    let key = format!("{} {}", head.method, head.uri.path());
    let mut answers = server.answers.lock().expect("a lock");
    let (status, text) = match answers.get_mut(&key) {
        Some(queue) if queue.len() > 1 => queue.pop_front().expect("not empty"),
        Some(queue) => queue.front().cloned().expect("not empty"),
        None => (
            404,
            r#"{"message":"resource is not found","resource":"unknown","resource_id":"","type":"not_found"}"#
                .to_owned(),
        ),
    };
    let response =
        Response::builder().status(status).header("x-request-id", "6b2f").header("content-type", "application/json");
    Ok(response.body(Full::new(Bytes::from(text))).expect("a response"))
}
