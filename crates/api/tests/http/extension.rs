//! What the public API has no word for: options, proofs of keys, histories, streams of events, usage.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::service::{EXTENSION, S2S, SECRETS, Service, VPC};

/// What would never come ends a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

fn id(document: &Value) -> String {
    document["id"].as_str().expect("an id").to_owned()
}

/// A gateway and a connection: their ids.
pub(crate) async fn connected(service: &Service) -> (String, String) {
    let vpc = service.post(&format!("{VPC}/vpcs"), &json!({"name": "v"})).await.ok();
    let network = json!({"name": "p", "subnets": ["10.0.0.0/24"], "vpc_id": id(&vpc)});
    let network = service.post(&format!("{VPC}/private-networks"), &network).await.ok();
    let gateway = json!({"name": "=g,1", "gateway_type": "VGW-S", "private_network_id": id(&network)});
    let gateway = id(&service.post(&format!("{S2S}/vpn-gateways"), &gateway).await.ok());
    let customer = json!({"name": "c", "ipv4_public": "203.0.113.9", "asn": 65000});
    let customer = service.post(&format!("{S2S}/customer-gateways"), &customer).await.ok();
    let connection = json!({"name": "n", "vpn_gateway_id": gateway, "customer_gateway_id": id(&customer)});
    let connection = service.post(&format!("{S2S}/connections"), &connection).await.ok();
    (gateway, id(&connection["connection"]))
}

/// Waits until the node has acknowledged everything, after which nothing happens by itself.
pub(crate) async fn settled(service: &Service, gateway: &str, connection: &str) {
    let quiet = async {
        loop {
            let status = service.get(&format!("{S2S}/vpn-gateways/{gateway}")).await.ok()["status"].clone();
            let state = service.get(&format!("{EXTENSION}/connections/{connection}/state")).await.ok();
            if status == "active" && state["applied_revision"].as_u64() >= state["desired_revision"].as_u64() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, quiet).await.expect("everything is acknowledged");
}

/// The answer to a request that is not read to its end.
async fn open(service: &Service, path: &str, headers: &[(&str, &str)]) -> (u16, String, Body) {
    open_with(service, &service.secret_key, path, headers).await
}

/// The same with this key.
pub(crate) async fn open_with(
    service: &Service,
    key: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, String, Body) {
    let mut request = Request::get(path).header("x-auth-token", key);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    let response = service.router.clone().oneshot(request).await.expect("infallible");
    let kind = response.headers()["content-type"].to_str().expect("a text").to_owned();
    (response.status().as_u16(), kind, response.into_body())
}

/// Reads a stream until it holds `end`, or `None`: to its end.
pub(crate) async fn read(body: &mut Body, end: Option<&str>) -> String {
    let mut text = String::new();
    while end.is_none_or(|end| !text.contains(end)) {
        let frame = timeout(PATIENCE, body.frame()).await.unwrap_or_else(|_| panic!("{end:?} does not come: {text}"));
        let Some(frame) = frame else { break };
        let data: Bytes = frame.expect("a whole stream").into_data().expect("data");
        text.push_str(std::str::from_utf8(&data).expect("UTF-8"));
    }
    text
}

/// The events in a stream's text.
fn events(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect()
}

#[tokio::test]
async fn options_are_shown_changed_and_refused_field_by_field() {
    let service = Service::start().await;
    let (_, connection) = connected(&service).await;
    let path = format!("{EXTENSION}/connections/{connection}/options");
    let defaults = json!({
        "bgp": {"gtsm": false, "hold_time": 60, "max_prefixes": 1000, "md5_secret_id": null, "md5_secret_revision": null},
        "dpd": {"delay": 5, "timeout": 10},
        "lifetimes": {"child": 3600, "child_packets": 1 << 30, "ike": 28800},
        "peer_identity": null, "psk_overlap": 86400, "tunnels": "ipv4",
    });
    assert_eq!(service.get(&path).await.ok(), defaults);
    let change = r#"{"peer_identity":"Site.example.net","lifetimes":{"child":600},"dpd":{"delay":30},"bgp":{"hold_time":9,"gtsm":true},"psk_overlap":0}"#;
    let changed = service.call("PATCH", &path, change).await.ok();
    let mut expected = defaults.clone();
    expected["peer_identity"] = json!("site.example.net");
    expected["lifetimes"]["child"] = json!(600);
    expected["dpd"]["delay"] = json!(30);
    expected["bgp"]["hold_time"] = json!(9);
    expected["bgp"]["gtsm"] = json!(true);
    expected["psk_overlap"] = json!(0);
    assert_eq!(changed, expected);
    assert_eq!(service.get(&path).await.ok(), expected);
    assert!(service.call("PATCH", &path, r#"{"peer_identity":null}"#).await.ok()["peer_identity"].is_null());
    let wrong = r#"{"tunnels":"both","lifetimes":{"ike":1},"dpd":{"timeout":1},"bgp":{"hold_time":2,"max_prefixes":0,"bfd":{"multiplier":3}}}"#;
    let mut names: Vec<_> =
        service.call("PATCH", &path, wrong).await.arguments().into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names,
        ["bgp.bfd", "bgp.hold_time", "bgp.max_prefixes", "dpd.timeout", "lifetimes.child", "lifetimes.ike"]
    );
    let dual = service.call("PATCH", &path, r#"{"tunnels":"both"}"#).await.arguments();
    assert_eq!(dual, [("tunnels".into(), "constraint".into())], "the device has no IPv6 address");

    let secret = service.post(&format!("{SECRETS}/secrets"), &json!({"name": "md5"})).await.ok();
    let secret = secret["id"].as_str().expect("an id");
    // `secret`, in base64.
    service.post(&format!("{SECRETS}/secrets/{secret}/versions"), &json!({"data": "c2VjcmV0"})).await.ok();
    let signed = service.call("PATCH", &path, &json!({"bgp": {"md5_secret_id": secret}}).to_string()).await.ok();
    assert_eq!((&signed["bgp"]["md5_secret_id"], &signed["bgp"]["md5_secret_revision"]), (&json!(secret), &json!(1)));
    let unsigned = service.call("PATCH", &path, r#"{"bgp":{"md5_secret_id":null}}"#).await.ok();
    assert!(unsigned["bgp"]["md5_secret_id"].is_null());
}

#[tokio::test]
async fn a_key_is_proven_and_its_predecessor_revoked() {
    let service = Service::start().await;
    let (_, connection) = connected(&service).await;
    let public = format!("{S2S}/connections/{connection}");
    service.post(&format!("{public}/renew-psk"), &json!({"generate_revision": true})).await.ok();
    for action in ["reauthenticate", "revoke-previous-psk"] {
        let answer = service.post(&format!("{EXTENSION}/connections/{connection}/{action}"), &json!({})).await.ok();
        assert_eq!((answer["id"].as_str(), answer["secret_revision"].as_u64()), (Some(connection.as_str()), Some(2)));
    }
    let list = service.get(&format!("{EXTENSION}/connections/{connection}/events?page_size=2")).await.ok();
    let subjects: Vec<_> = list["events"].as_array().expect("a list").iter().map(|event| &event["subject"]).collect();
    assert!(subjects.contains(&&json!("revoke_previous_psk")), "{list}");
    let lock = format!("/causeway/v1/connections/{connection}/lock");
    service.post(&lock, &json!({"reason": "r"})).await.ok();
    let key = json!({"role": "tenant", "project_id": service.project_id});
    let key = service.post("/causeway/v1/operator/api-keys", &key).await.ok();
    for action in ["reauthenticate", "revoke-previous-psk"] {
        let path = format!("{EXTENSION}/connections/{connection}/{action}");
        let request = Request::post(&path).header("x-auth-token", key["secret_key"].as_str().expect("a secret"));
        let answer = service.send(request.body(Body::from("{}")).expect("a request")).await;
        answer.error(423, "locked");
    }
}

#[tokio::test]
async fn a_history_has_pages_and_a_place_to_go_on_from() {
    let service = Service::start().await;
    let (gateway, connection) = connected(&service).await;
    let path = format!("{EXTENSION}/connections/{connection}/events");
    for name in ["a", "b", "c"] {
        service
            .call("PATCH", &format!("{S2S}/connections/{connection}"), &json!({"name": name}).to_string())
            .await
            .ok();
    }
    settled(&service, &gateway, &connection).await;
    let all = service.get(&path).await.ok();
    let sequences: Vec<u64> = all["events"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["sequence"].as_u64().expect("a number"))
        .collect();
    assert!(sequences.len() >= 4 && sequences.is_sorted_by(|newer, older| newer > older), "{all}");
    assert_eq!(all["total_count"].as_u64(), Some(sequences.len() as u64));
    let second = service.get(&format!("{path}?page=2&page_size=1")).await.ok();
    assert_eq!((&second["events"][0], &second["total_count"]), (&all["events"][1], &all["total_count"]));
    let later = service.get(&format!("{path}?after={}", sequences[2])).await.ok();
    assert_eq!(later["events"].as_array().map(Vec::as_slice), Some(&all["events"].as_array().expect("a list")[..2]));
    let all = all["events"].as_array().expect("a list");
    let created = all.iter().find(|event| event["subject"] == "create").expect("told");
    assert_eq!((&created["kind"], &created["actor"]), (&json!("change"), &json!(service.access_key)));
    let of_gateway = service.get(&format!("{EXTENSION}/vpn-gateways/{gateway}/events")).await.ok();
    assert!(of_gateway["total_count"].as_u64() > Some(0));
    let wrong = service.get(&format!("{path}?after=-1&follow=perhaps&page=0")).await.arguments();
    let names: Vec<_> = wrong.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["follow", "after", "page"]);
    let missing = uuid::Uuid::new_v4();
    for kind in ["connections", "vpn-gateways"] {
        service.get(&format!("{EXTENSION}/{kind}/{missing}/events")).await.error(404, "not_found");
        service.get(&format!("{EXTENSION}/{kind}/{missing}/events?follow=true")).await.error(404, "not_found");
    }
}

#[tokio::test]
async fn a_stream_tells_what_happens_resumes_and_ends_with_its_object() {
    let service = Service::start().await;
    let (_, connection) = connected(&service).await;
    let path = format!("{EXTENSION}/connections/{connection}/events?follow=true");
    let public = format!("{S2S}/connections/{connection}");
    let (status, kind, mut stream) = open(&service, &path, &[]).await;
    assert_eq!((status, kind.as_str()), (200, "text/event-stream"));
    let head = read(&mut stream, Some("\n\n")).await;
    assert!(head.contains("retry: "), "{head}");
    service.call("PATCH", &public, r#"{"name":"renamed"}"#).await.ok();
    let text = read(&mut stream, Some("\"subject\":\"update\"")).await;
    assert!(text.contains("event: change\n") && !text.contains("\"subject\":\"create\""), "from now on: {text}");
    let seen = events(&text).last().expect("an event")["sequence"].as_u64().expect("a number");
    drop(stream);

    // What happened meanwhile is told to who comes again, by the header as by the parameter.
    service.post(&format!("{public}/enable-route-propagation"), &json!({})).await.ok();
    for (path, headers) in [
        (path.clone(), vec![("last-event-id", seen.to_string())]),
        (format!("{path}&after={seen}"), vec![]),
        (format!("{path}&after=0"), vec![("last-event-id", seen.to_string())]),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (_, _, mut stream) = open(&service, &path, &headers).await;
        let text = read(&mut stream, Some("enable_route_propagation")).await;
        assert!(events(&text).iter().all(|event| event["sequence"].as_u64() > Some(seen)), "{text}");
    }
    // Asked for by its content type, from the beginning.
    let whole = format!("{EXTENSION}/connections/{connection}/events?after=0");
    let (_, kind, mut stream) = open(&service, &whole, &[("accept", "text/event-stream")]).await;
    assert_eq!(kind, "text/event-stream");
    let mut text = read(&mut stream, Some("\"subject\":\"create\"")).await;
    assert_eq!(service.delete(&public).await.status, 204);
    text.push_str(&read(&mut stream, None).await);
    assert!(text.ends_with("event: end\ndata: {\"reason\":\"deleted\"}\n\n"), "{text}");
}

#[tokio::test]
async fn a_key_has_a_bounded_number_of_streams() {
    let service = Service::start().await;
    let (gateway, _) = connected(&service).await;
    let path = format!("{EXTENSION}/vpn-gateways/{gateway}/events?follow=true");
    let mut streams = Vec::new();
    for _ in 0..16 {
        let (status, _, stream) = open(&service, &path, &[]).await;
        assert_eq!(status, 200);
        streams.push(stream);
    }
    let refused = service.get(&path).await.error(429, "too_many_requests");
    assert_eq!(refused["limit"], json!({"quota": 16}));
    assert_eq!(service.get(&format!("{EXTENSION}/vpn-gateways/{gateway}/events")).await.status, 200, "pages go on");
    streams.pop();
    let freed = async {
        // The place is free once the stream's end has been noticed.
        while open(&service, &path, &[]).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, freed).await.expect("a place");
}

#[tokio::test]
async fn a_stream_ends_with_the_service() {
    let service = Service::start().await;
    let (gateway, _) = connected(&service).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(causeway_api::serve(listener, None, service.router.clone(), async {
        let _ = stopped.await;
    }));
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    let path = format!("{EXTENSION}/vpn-gateways/{gateway}/events?follow=true");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {}\r\n\r\n", service.secret_key);
    socket.write_all(request.as_bytes()).await.expect("a socket that writes");
    let mut text = Vec::new();
    while !text.ends_with(b"retry: 2000\n\n\r\n") {
        let read =
            timeout(PATIENCE, socket.read_buf(&mut text)).await.expect("an answer").expect("a socket that reads");
        assert_ne!(read, 0, "the stream ended: {}", String::from_utf8_lossy(&text));
    }
    stop.send(()).expect("the service runs");
    let mut rest = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("an end").expect("a socket that reads");
    assert_eq!(rest, b"0\r\n\r\n", "the end is a proper one");
    timeout(PATIENCE, serving).await.expect("an end").expect("no panic").expect("no error");
}

#[tokio::test]
async fn usage_is_a_list_and_a_table() {
    let service = Service::start().await;
    let (gateway, _) = connected(&service).await;
    let path = format!("{EXTENSION}/usage");
    let list = service.get(&path).await.ok();
    let record = &list["usage"][0];
    assert_eq!((list["total_count"].as_u64(), &record["resource_id"]), (Some(1), &json!(gateway)));
    assert_eq!((&record["hours"], &record["amount"], &record["currency"]), (&json!(1), &json!(50_000), &json!("EUR")));
    assert!(record["ended_at"].is_null() && record["name"] == "=g,1", "{record}");
    for (query, accept) in [("?format=csv&page_size=1&page=7", "application/json"), ("", "text/csv, */*;q=0.1")] {
        let (status, kind, mut body) = open(&service, &format!("{path}{query}"), &[("accept", accept)]).await;
        assert_eq!((status, kind.as_str()), (200, "text/csv; charset=utf-8"));
        let table = read(&mut body, None).await;
        let lines: Vec<_> = table.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 2, "{table}");
        assert!(lines[0].starts_with("resource_id,kind,name,"), "{table}");
        assert!(lines[1].starts_with(&format!("{gateway},vpn_gateway,\"'=g,1\",{}", service.project_id)), "{table}");
        assert!(lines[1].ends_with(",1,50000,50000,EUR"), "{table}");
    }
    let none = service.get(&format!("{path}?from=2020-01-01&to=2020-02-01")).await.ok();
    assert_eq!(none, json!({"total_count": 0, "usage": []}));
    let none = service.get(&format!("{path}?project_id={}", uuid::Uuid::new_v4())).await.ok();
    assert_eq!(none["total_count"], 0);
    let wrong = service.get(&format!("{path}?from=soon&to=1&format=xml&project_id=x")).await.arguments();
    let names: Vec<_> = wrong.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["from", "to", "project_id", "format"]);
    let (status, kind, _) = open(&service, &format!("{path}?format=csv&from=2020-02-01&to=2020-01-01"), &[]).await;
    assert_eq!((status, kind.as_str()), (400, "application/json"));
}
