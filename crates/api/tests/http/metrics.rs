//! `/metrics`: who may read it, and that what is configured has its series before anything was said of it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use causeway_model::desired::ConnectionDesired;
use causeway_model::observed::{ConnectionFacts, SessionFacts, TunnelCounters, TunnelFacts};
use causeway_model::{Family, Timestamp};
use serde_json::{Value, json};

use super::extension::{connected, settled};
use super::offer::sample;
use super::operator::{call_as, tenant};
use crate::service::{S2S, Service};

const LINKS: &str = "/interlink/v1beta1/regions/fr-par/links";

/// Series with their numbers. Each is there once, in its family.
async fn scrape(service: &Service) -> BTreeMap<String, f64> {
    let answer = service.get("/metrics").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let (mut all, mut family) = (BTreeMap::new(), String::new());
    for line in answer.text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            kind.split_once(' ').expect("a name and a type").0.clone_into(&mut family);
        } else if !line.starts_with("# HELP ") {
            let (series, number) = line.rsplit_once(' ').expect("a series and a number");
            assert_eq!(series.split('{').next(), Some(family.as_str()), "{line}");
            let number = number.parse().expect("a number");
            assert!(all.insert(series.to_owned(), number).is_none(), "{line} is there twice");
        }
    }
    all
}

#[track_caller]
fn value(all: &BTreeMap<String, f64>, series: &str) -> f64 {
    *all.get(series).unwrap_or_else(|| panic!("{series} is not among {:#?}", all.keys()))
}

/// Gives the connection a routing policy for each family: without one there is no session.
async fn with_policies(service: &Service, connection: &str) {
    for (key, is_ipv6) in [("routing_policy_v4", false), ("routing_policy_v6", true)] {
        let policy = json!({"name": "p", "is_ipv6": is_ipv6});
        let policy = service.post(&format!("{S2S}/routing-policies"), &policy).await.ok();
        let body = json!({key: policy["id"]});
        service.post(&format!("{S2S}/connections/{connection}/set-routing-policy"), &body).await.ok();
    }
}

fn word(status: &Value) -> &str {
    status.as_str().expect("a status")
}

#[tokio::test]
async fn everything_that_is_configured_has_its_series_before_anything_was_reported() {
    let service = Service::start().await;
    let (gateway, connection) = connected(&service).await;
    with_policies(&service, &connection).await;
    service.post("/causeway/v1/operator/catalogue", &sample()).await.ok();
    let order = json!({
        "name": "l", "pop_id": "fd046cc9-d9bf-4a87-9c32-d299fe4bf4d7", "bandwidth_mbps": 50,
        "partner_id": "89d00734-eddb-4192-8b16-bc16f0b0f5a5",
    });
    let link = service.post(LINKS, &order).await.ok();
    let link = link["id"].as_str().expect("an id");
    settled(&service, &gateway, &connection).await;
    let all = scrape(&service).await;
    let nodes = service.get("/causeway/v1/operator/nodes").await.ok();
    let node = &nodes["nodes"][0];
    let node_id = node["id"].as_str().expect("an id");
    for state in ["waiting", "up", "down", "keepalive_fail", "config_fail"] {
        let series = format!("causeway_node_state{{node=\"{node_id}\",state=\"{state}\"}}");
        assert_eq!(value(&all, &series), f64::from(u8::from(state == word(&node["state"]))), "{series}");
    }
    assert_eq!(value(&all, &format!("causeway_node_gateways{{node=\"{node_id}\"}}")), 1.0);
    for (kind, path, id, statuses) in [
        ("gateway", format!("{S2S}/vpn-gateways"), gateway.as_str(), 6),
        ("connection", format!("{S2S}/connections"), connection.as_str(), 5),
        ("link", LINKS.to_owned(), link, 13),
    ] {
        let status = service.get(&format!("{path}/{id}")).await.ok()["status"].clone();
        let prefix = format!("causeway_{kind}_status{{{kind}=\"{id}\",status=");
        let of: Vec<_> = all.iter().filter(|(series, _)| series.starts_with(&prefix)).collect();
        assert_eq!(of.len(), statuses, "{of:?}");
        assert_eq!(of.iter().map(|(_, number)| **number).sum::<f64>(), 1.0, "{of:?}");
        assert_eq!(value(&all, &format!("{prefix}\"{}\"}}", word(&status))), 1.0);
        assert!(all.keys().any(|series| series.starts_with(&format!("causeway_{kind}_info{{{kind}=\"{id}\""))));
    }
    for series in ["up", "received_bytes_total", "sent_bytes_total", "received_packets_total", "sent_packets_total"] {
        let labels = format!("connection=\"{connection}\",family=\"ipv4\"");
        assert_eq!(value(&all, &format!("causeway_tunnel_{series}{{{labels}}}")), 0.0);
    }
    for series in ["up", "received_prefixes", "accepted_prefixes", "announced_prefixes", "flaps_total"] {
        for family in ["ipv4", "ipv6"] {
            let labels = format!("connection=\"{connection}\",family=\"{family}\"");
            assert_eq!(value(&all, &format!("causeway_bgp_session_{series}{{{labels}}}")), 0.0);
            let labels = format!("link=\"{link}\",family=\"{family}\",status=\"disabled\"");
            assert_eq!(value(&all, &format!("causeway_link_bgp_status{{{labels}}}")), 1.0);
        }
    }
    // What is deleted has none any more.
    assert_eq!(service.delete(&format!("{S2S}/connections/{connection}")).await.status, 204);
    let all = scrape(&service).await;
    assert!(!all.keys().any(|series| series.contains(&connection)), "{:#?}", all.keys());
}

/// A tunnel and a session that are up.
fn busy(connection: &ConnectionDesired) -> ConnectionFacts {
    let address = "192.0.2.1".parse().expect("an address");
    let drops = [("replay", 3), ("Not a word\n", 9)].map(|(reason, count)| (reason.to_owned(), count)).into();
    let tunnel = TunnelFacts {
        family: Family::Ipv4,
        local: address,
        peer: address,
        up: true,
        ever_up: true,
        since: Timestamp(1),
        fault: None,
        ike: None,
        child: None,
        mtu: 1400,
        counters: TunnelCounters { bytes_in: 7, bytes_out: 8, packets_in: 1, packets_out: 2, drops },
    };
    let session = SessionFacts { up: true, received: 5, flaps: 2, ..SessionFacts::new(Family::Ipv6, Timestamp(1)) };
    ConnectionFacts {
        id: connection.id,
        applied: connection.revision,
        refused: None,
        tunnels: vec![tunnel],
        sessions: vec![session],
        received: Vec::new(),
        announced: Vec::new(),
    }
}

#[tokio::test]
async fn what_nodes_report_is_counted() {
    let service = Service::start_with_facts(busy).await;
    let (gateway, connection) = connected(&service).await;
    with_policies(&service, &connection).await;
    settled(&service, &gateway, &connection).await;
    let all = scrape(&service).await;
    let ipv4 = format!("{{connection=\"{connection}\",family=\"ipv4\"}}");
    let ipv6 = ipv4.replace("ipv4", "ipv6");
    for (series, labels, expected) in [
        ("tunnel_up", &ipv4, 1.0),
        ("tunnel_received_bytes_total", &ipv4, 7.0),
        ("tunnel_sent_bytes_total", &ipv4, 8.0),
        ("bgp_session_up", &ipv4, 0.0),
        ("bgp_session_up", &ipv6, 1.0),
        ("bgp_session_received_prefixes", &ipv6, 5.0),
        ("bgp_session_flaps_total", &ipv6, 2.0),
    ] {
        assert_eq!(value(&all, &format!("causeway_{series}{labels}")), expected, "{series}");
    }
    let dropped: Vec<_> =
        all.iter().filter(|(series, _)| series.starts_with("causeway_tunnel_dropped_total")).collect();
    assert!(matches!(dropped.as_slice(), [(series, number)] if series.contains("replay") && **number == 3.0));
}

#[tokio::test]
async fn operators_and_support_read_it_and_nobody_else() {
    let service = Service::start().await;
    connected(&service).await;
    let (_, tenant) = tenant(&service).await;
    call_as(&service, &tenant, "GET", "/metrics", &json!({})).await.error(403, "permissions_denied");
    call_as(&service, "", "GET", "/metrics", &json!({})).await.error(401, "denied_authentication");
    let key = json!({"role": "support", "project_id": service.project_id});
    let support = service.post("/causeway/v1/operator/api-keys", &key).await.ok();
    let support = support["secret_key"].as_str().expect("a secret");
    let bearer = Request::get("/metrics").header("authorization", format!("Bearer {support}"));
    let answer = service.send(bearer.body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    for secret in [&service.secret_key, &service.access_key, support] {
        assert!(!answer.text.contains(secret));
    }
    let other = Request::get("/metrics").header("authorization", format!("Basic {support}"));
    service.send(other.body(Body::empty()).expect("a request")).await.error(401, "denied_authentication");
}

#[tokio::test]
async fn a_listener_of_its_own_serves_it_without_a_key_and_nothing_else() {
    let service = Service::start().await;
    connected(&service).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let router = causeway_api::metrics_router(service.controller.clone());
    let serving = tokio::spawn(causeway_api::serve(listener, None, router, async { ended.await.unwrap_or_default() }));
    for (path, status) in [("/metrics", "200 OK"), ("/metadata", "404 Not Found")] {
        let answer = tokio::time::timeout(Duration::from_secs(30), ask(address, path)).await.expect("in time");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        assert_eq!(answer.contains("causeway_node_state{"), path == "/metrics");
    }
    end.send(()).expect("it runs");
    serving.await.expect("a task").expect("an orderly end");
}

async fn ask(address: std::net::SocketAddr, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a socket that writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("a socket that reads");
    answer
}
