//! A whole service in process: a real controller over a store in a temporary directory, and a node that acknowledges whatever it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use causeway_api::{ApiConfig, Memory, Rate, RateLimits};
use causeway_controller::{Controller, Settings, ZoneSettings};
use causeway_crypto::SystemEntropy;
use causeway_crypto::envelope::Kek;
use causeway_fleet::{FromNode, NodeEnd, PROTOCOL};
use causeway_model::NodeId;
use causeway_model::desired::{ConnectionDesired, LinkDesired, VpcDesired};
use causeway_model::observed::{AclCounters, ConnectionFacts, Counter, GatewayFacts, LinkFacts, NodeReport, VpcFacts};
use causeway_model::watch::KeepaliveProfile;
use causeway_store::Store;
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;
use uuid::Uuid;

pub(crate) const S2S: &str = "/s2s-vpn/v1alpha1/regions/fr-par";
pub(crate) const VPC: &str = "/vpc/v2/regions/fr-par";
pub(crate) const IPAM: &str = "/ipam/v1/regions/fr-par";
pub(crate) const SECRETS: &str = "/secret-manager/v1beta1/regions/fr-par";
pub(crate) const EXTENSION: &str = "/causeway/v1/regions/fr-par";

pub(crate) struct Service {
    pub(crate) router: Router,
    pub(crate) controller: Controller,
    pub(crate) store: Store,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) project_id: String,
    pub(crate) organization_id: String,
    _directory: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The body, of a call that must succeed.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    /// The body, of a call that must end in this error.
    #[track_caller]
    pub(crate) fn error(&self, status: u16, kind: &str) -> Value {
        let body = self.json();
        assert_eq!((self.status.as_u16(), body["type"].as_str()), (status, Some(kind)), "{}", self.text);
        assert!(body["message"].is_string());
        body
    }

    /// The names of the invalid arguments and their reasons.
    #[track_caller]
    pub(crate) fn arguments(&self) -> Vec<(String, String)> {
        let body = self.error(400, "invalid_arguments");
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let details = body["details"].as_array().expect("details");
        details.iter().map(|detail| (text(&detail["argument_name"]), text(&detail["reason"]))).collect()
    }
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::start_with(RateLimits::default(), idle).await
    }

    /// That takes so many requests.
    pub(crate) async fn start_limited(limits: RateLimits) -> Self {
        Self::start_with(limits, idle).await
    }

    /// With a node that reports these facts of connections.
    pub(crate) async fn start_with_facts(facts: Facts) -> Self {
        Self::start_with(RateLimits::default(), facts).await
    }

    /// With public addresses for many gateways, and without limits on requests.
    pub(crate) async fn start_roomy() -> Self {
        let none = Rate { per_second: 0, burst: 0 };
        let limits = RateLimits { per_key: none, per_address: none };
        Self::start_over(["198.18.0.0/16", "2001:db8:0:1::/64"], limits, idle).await
    }

    async fn start_with(limits: RateLimits, facts: Facts) -> Self {
        Self::start_over(["192.0.2.0/28", "2001:db8:0:1::/64"], limits, facts).await
    }

    async fn start_over(pools: [&str; 2], limits: RateLimits, facts: Facts) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&directory.path().join("causeway.db")).await.expect("a store");
        let settings = Settings {
            region: "fr-par".to_owned(),
            zones: vec![ZoneSettings {
                name: "fr-par-1".to_owned(),
                public_pools: pools.map(|pool| pool.parse().expect("a prefix")).to_vec(),
            }],
            provider_asn: 12876,
            support_contact: None,
            gateway_types: Settings::default_gateway_types(),
            keepalive: KeepaliveProfile::Medium,
        };
        let kek = Kek::generate(&mut SystemEntropy::new());
        let controller = Controller::open(store.clone(), settings, kek).await.expect("a controller");
        let bootstrap = controller.bootstrap().await.expect("a bootstrap").expect("the first start");
        let (controller_end, node_end) = causeway_fleet::in_process();
        controller.attach_node(controller_end);
        tokio::spawn(agreeable_node(node_end, facts));
        let config = ApiConfig { limits, ..ApiConfig::new(vec!["fr-par".to_owned()]) };
        Self {
            router: causeway_api::router(controller.clone(), config),
            controller,
            store,
            access_key: bootstrap.access_key,
            secret_key: bootstrap.secret_key.to_string(),
            project_id: bootstrap.project_id.to_string(),
            organization_id: bootstrap.organization_id.to_string(),
            _directory: directory,
        }
    }

    /// The same, but streams of events say this often that they are alive.
    pub(crate) fn with_heartbeat(mut self, heartbeat: Duration) -> Self {
        let config = ApiConfig { heartbeat, ..ApiConfig::new(vec!["fr-par".to_owned()]) };
        self.router = causeway_api::router(self.controller.clone(), config);
        self
    }

    /// Lets requests and answers hold so much memory.
    pub(crate) fn give_memory(&mut self, memory: Memory) {
        let config = ApiConfig { memory, ..ApiConfig::new(vec!["fr-par".to_owned()]) };
        self.router = causeway_api::router(self.controller.clone(), config);
    }

    /// A request with the operator's key.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-auth-token", &self.secret_key)
            .header("content-type", "application/json; charset=utf-8")
            .body(Body::from(body.to_owned()))
            .expect("a request");
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        // As the Python SDK does it.
        self.call("GET", path, "{}").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, &body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, "{}").await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Answer { status: parts.status, headers: parts.headers, text }
    }
}

/// What a node says of a connection.
pub(crate) type Facts = fn(&ConnectionDesired) -> ConnectionFacts;

/// That it is applied, and nothing of its tunnels.
fn idle(connection: &ConnectionDesired) -> ConnectionFacts {
    ConnectionFacts {
        id: connection.id,
        applied: connection.revision,
        refused: None,
        tunnels: Vec::new(),
        sessions: Vec::new(),
        received: Vec::new(),
        announced: Vec::new(),
    }
}

/// Reports everything as applied as soon as it is told.
async fn agreeable_node(mut node: NodeEnd, facts: Facts) {
    let hello = FromNode::Hello {
        protocol: PROTOCOL,
        node: NodeId::random(),
        boot: Uuid::new_v4(),
        zone: "fr-par-1".to_owned(),
        version: "test".to_owned(),
        on: None,
    };
    let keepalive = || FromNode::Keepalive { services: Vec::new() };
    for word in [hello, keepalive(), keepalive()] {
        if node.reports.send(word).await.is_err() {
            return;
        }
    }
    loop {
        let desired = Arc::clone(&node.desired.borrow_and_update());
        let gateways = desired.gateways.iter();
        let report = NodeReport {
            revision: desired.revision,
            gateways: gateways
                .clone()
                .map(|gateway| GatewayFacts { id: gateway.id, applied: gateway.revision, refused: None })
                .collect(),
            connections: gateways.flat_map(|gateway| &gateway.connections).map(facts).collect(),
            vpcs: desired.vpcs.iter().map(vpc_facts).collect(),
            links: desired.links.iter().map(link_facts).collect(),
        };
        if node.reports.send(FromNode::Report(report)).await.is_err() || node.desired.changed().await.is_err() {
            return;
        }
    }
}

/// What a node says of a link whose router says nothing.
fn link_facts(link: &LinkDesired) -> LinkFacts {
    LinkFacts {
        id: link.id,
        applied: link.revision,
        refused: None,
        carrier: true,
        carrier_since: None,
        mtu: 1500,
        sessions: Vec::new(),
        received: Vec::new(),
        announced: Vec::new(),
        drops: BTreeMap::new(),
    }
}

/// What a node says of a VPC's router whose every rule has met one packet.
fn vpc_facts(vpc: &VpcDesired) -> VpcFacts {
    let one = Counter { packets: 1, bytes: 60 };
    let acl = AclCounters {
        ipv4: vec![one; vpc.acl_ipv4.rules.len()],
        ipv4_default: one,
        ipv6: vec![one; vpc.acl_ipv6.rules.len()],
        ipv6_default: one,
    };
    VpcFacts { id: vpc.id, applied: vpc.revision, refused: None, networks: BTreeMap::new(), acl }
}
