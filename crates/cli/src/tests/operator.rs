//! The operator's commands, and options: what is asked of the API.

use serde_json::{Value, json};

use super::run;
use super::server::{CONNECTION, CONNECTION_ID, PROJECT, Server};

const O: &str = "/causeway/v1/operator";
const X: &str = "/causeway/v1/regions/fr-par";
const V: &str = "/vpc/v2/regions/fr-par";
const ID: &str = "5bdd2ffe-4c2d-4c35-bc9e-5aaf509bdd2d";

/// What `line` asks, when whatever it asks is answered so.
async fn asks(line: &str, call: &str, answer: &str) -> (String, Value) {
    let server = Server::start().await;
    server.on(call, 200, answer);
    let outcome = run(&server, line).await;
    assert_eq!(outcome.code, 0, "{line}: {outcome:?}");
    let mut seen = server.seen();
    assert_eq!(seen.len(), 1, "{line}: {seen:?}");
    let seen = seen.remove(0);
    (seen.line, seen.body)
}

#[tokio::test]
async fn every_command_is_one_call() {
    let types = format!("{O}/gateway-types");
    let pool = format!("{O}/public-pools/fr-par-1/192.0.2.0/24");
    for (line, call, body) in [
        ("organization create acme".into(), format!("POST {O}/organizations"), json!({"name": "acme"})),
        (format!("organization edit {ID} --name b"), format!("PATCH {O}/organizations/{ID}"), json!({"name": "b"})),
        ("quota set connections 5".into(), format!("PUT {O}/quotas/{PROJECT}/connections"), json!({"quota": 5})),
        (format!("quota reset ips --project-id {ID}"), format!("DELETE {O}/quotas/{ID}/ips"), Value::Null),
        ("zone create fr-par-2".into(), format!("POST {O}/zones"), json!({"name": "fr-par-2"})),
        ("zone get fr-par-2".into(), format!("GET {O}/zones/fr-par-2"), Value::Null),
        ("zone delete fr-par-2".into(), format!("DELETE {O}/zones/fr-par-2"), Value::Null),
        (
            "pool create 192.0.2.0/24".into(),
            format!("POST {O}/public-pools"),
            json!({"prefix": "192.0.2.0/24", "zone": "fr-par-1"}),
        ),
        ("pool get 192.0.2.0/24".into(), format!("GET {pool}"), Value::Null),
        ("pool delete 192.0.2.0/24 --zone fr-par-1".into(), format!("DELETE {pool}"), Value::Null),
        (
            "gateway-type create XL --bandwidth 10G --connections 100 --price-per-hour 1.5 --zone fr-par-1".into(),
            format!("POST {types}"),
            json!({
                "name": "XL", "bandwidth": 10_000_000_000_u64, "allowed_connections": 100, "price_per_hour": 1_500_000,
                "zones": ["fr-par-1"],
            }),
        ),
        (
            "gateway-type edit XL --no-zones --price-per-hour 2".into(),
            format!("PATCH {types}/XL"),
            json!({"price_per_hour": 2_000_000, "zones": []}),
        ),
        ("gateway-type get XL".into(), format!("GET {types}/XL"), Value::Null),
        ("gateway-type delete XL".into(), format!("DELETE {types}/XL"), Value::Null),
        ("settings get".into(), format!("GET {O}/settings"), Value::Null),
        (
            "settings edit --support-contact help@example.net".into(),
            format!("PATCH {O}/settings"),
            json!({"support_contact": "help@example.net"}),
        ),
        ("settings edit --no-support-contact".into(), format!("PATCH {O}/settings"), json!({"support_contact": null})),
        (
            format!("vpc set-options {ID} --custom-routes-propagation on"),
            format!("PATCH {X}/vpcs/{ID}/options"),
            json!({"custom_routes_propagation_enabled": true}),
        ),
        (format!("vpc options {ID}"), format!("GET {X}/vpcs/{ID}/options"), Value::Null),
        (format!("connection options {ID}"), format!("GET {X}/connections/{ID}/options"), Value::Null),
    ] {
        assert_eq!(asks(&line, &call, r#"{"name":"n"}"#).await, (call, body), "{line}");
    }
}

#[tokio::test]
async fn webhooks_of_whatever_party() {
    let w = format!("{X}/webhooks");
    let rules = format!("{O}/webhook-rules");
    for (line, call, body) in [
        (
            "webhook create https://hooks.example.net/x --event link.failed --event link.down".into(),
            format!("POST {w}"),
            json!({"url": "https://hooks.example.net/x", "events": ["link.failed", "link.down"]}),
        ),
        (format!("webhook get {ID}"), format!("GET {w}/{ID}"), Value::Null),
        (
            format!("webhook edit {ID} --url https://other.example.net/"),
            format!("PATCH {w}/{ID}"),
            json!({"url": "https://other.example.net/"}),
        ),
        (format!("webhook update {ID} --all-events"), format!("PATCH {w}/{ID}"), json!({"events": []})),
        (format!("webhook delete {ID}"), format!("DELETE {w}/{ID}"), Value::Null),
        ("webhook rules".into(), format!("GET {rules}"), Value::Null),
        (
            "webhook set-rules --allow-http on --allow 10.0.0.0/8 --deny 9.9.9.0/24".into(),
            format!("PUT {rules}"),
            json!({"allow_http": true, "allowed_networks": ["10.0.0.0/8"], "denied_networks": ["9.9.9.0/24"]}),
        ),
    ] {
        assert_eq!(asks(&line, &call, r#"{"id":"n"}"#).await, (call, body), "{line}");
    }
    let server = Server::start().await;
    let made = json!({"id": ID, "url": "https://a/", "events": [], "created_at": "t", "secret": "s3cret"});
    server.on(&format!("POST {w}"), 200, made.to_string());
    let outcome = run(&server, "webhook create https://a/").await;
    assert!(outcome.out.contains("s3cret") && outcome.err.contains("shown this once"), "{outcome:?}");
    let listed =
        json!({"webhooks": [{"id": "i", "url": "https://a/", "events": [], "created_at": "t"}], "total_count": 1});
    server.on(&format!("GET {w}"), 200, listed.to_string());
    let outcome = run(&server, &format!("webhook list --project-id {ID}")).await;
    assert_eq!(outcome.out, "ID  URL         EVENTS  CREATED\ni   https://a/  all     t\n");
    let delivery = json!({
        "attempts": 2, "created_at": "t", "delivered_at": null, "event": "link.down", "id": "d",
        "last_error": "status 500", "next_attempt_at": "u",
    });
    let page = json!({"deliveries": [delivery], "total_count": 7});
    server.on(&format!("GET {w}/{ID}/deliveries"), 200, page.to_string());
    let outcome = run(&server, &format!("webhook deliveries {ID} --last 1")).await;
    let expected = "\
CREATED  EVENT      ATTEMPTS  DELIVERED  NEXT ATTEMPT  LAST ERROR
t        link.down  2         -          u             status 500
";
    assert_eq!((outcome.out.as_str(), outcome.err.as_str()), (expected, "1 of 7; --last shows more\n"));
    let asked = server.lines();
    assert_eq!(asked.get(1).map(String::as_str), Some(format!("GET {w}?page=1&page_size=500").as_str()), "{asked:?}");
}

#[tokio::test]
async fn lists_ask_for_what_the_filters_say() {
    for (line, path, query, key) in [
        ("organization list --name a", "organizations", "?name=a", "organizations"),
        ("region list", "regions", "", "regions"),
        ("zone list", "zones", "", "zones"),
        ("pool list --zone z", "public-pools", "?zone=z", "public_pools"),
        ("gateway-type list --prices", "gateway-types", "", "gateway_types"),
        ("key list --role support --include-revoked", "api-keys", "?role=support&include_revoked=true", "api_keys"),
        ("quota list --project-id p", "quotas", "?project_id=p", "quotas"),
        ("private-network attachments", "private-network-attachments", "", "private_network_attachments"),
    ] {
        let call = format!("GET {O}/{path}");
        let (asked, _) = asks(line, &call, &json!({key: [], "total_count": 0}).to_string()).await;
        let separator = if query.is_empty() { '?' } else { '&' };
        assert_eq!(asked, format!("{call}{query}{separator}page=1&page_size=500"), "{line}");
    }
}

#[tokio::test]
async fn lists_of_the_catalogue_are_tables() {
    let server = Server::start().await;
    let offer = json!({
        "allowed_connections": 5, "bandwidth": 100_000_000, "currency": "EUR", "name": "VGW-S", "price_per_hour": 50_000,
        "region": "fr-par", "zones": ["fr-par-1"],
    });
    let quota = json!({"is_default": false, "project_id": "p", "quota": 5, "resource": "connections", "used": 2});
    server.on(&format!("GET {O}/gateway-types"), 200, json!({"gateway_types": [offer], "total_count": 1}).to_string());
    server.on(&format!("GET {O}/quotas"), 200, json!({"quotas": [quota], "total_count": 1}).to_string());
    assert_eq!(
        run(&server, "gateway-type list --prices").await.out,
        "\
NAME   BANDWIDTH   CONNECTIONS  PER HOUR  ZONES
VGW-S  100 Mbit/s  5            0.05 EUR  fr-par-1
"
    );
    assert_eq!(
        run(&server, "quota list").await.out,
        "KIND         USED  AT MOST  SET BY\nconnections  2     5        operator\n"
    );
}

#[tokio::test]
async fn an_audit_trail_is_as_long_as_wanted() {
    let server = Server::start().await;
    let record = json!({
        "access_key": "SCWX", "action": "update", "at": "2026-07-28T12:29:08Z", "details": {"why": "x"},
        "before": {"name": "a", "tags": []}, "after": {"name": "b", "tags": ["t"]},
        "project_id": null, "request_id": "r", "resource": "connection", "resource_id": "c",
    });
    let page = json!({"audit_records": [record, record], "total_count": 7});
    server.on(&format!("GET {O}/audit-records"), 200, page.to_string());
    let outcome = run(&server, "audit list --last 2 --resource connection --action update --from 2026-07-01").await;
    assert_eq!(outcome.out.lines().count(), 3, "{outcome:?}");
    assert!(outcome.out.contains("name: a → b, tags: - → t, why: x"), "{}", outcome.out);
    assert_eq!(outcome.err, "2 of 7; --last shows more, filters fewer\n");
    let query = "resource=connection&action=update&from=2026-07-01&page=1&page_size=2";
    assert_eq!(server.lines(), [format!("GET {O}/audit-records?{query}")]);
}

#[tokio::test]
async fn options_that_are_not_named_stay_as_they_are() {
    let server = Server::start().await;
    let answer = json!({"bgp": {"hold_time": 9}, "tunnels": "both"});
    let path = format!("PATCH {X}/connections/{CONNECTION_ID}/options");
    server.on(&format!("GET /s2s-vpn/v1alpha1/regions/fr-par/connections/{CONNECTION_ID}"), 200, CONNECTION);
    server.on(&path, 200, answer.to_string());
    for (flags, body) in [
        (
            "--tunnels both --hold-time 9 --no-md5-secret --gtsm off",
            json!({"tunnels": "both", "bgp": {"hold_time": 9, "md5_secret_id": null, "gtsm": false}}),
        ),
        ("--no-peer-identity --psk-overlap 0", json!({"peer_identity": null, "psk_overlap": 0})),
        (
            "--peer-identity site.example.net --ike-lifetime 900 --child-packets 1048576 --dpd-delay 2 --dpd-timeout 6",
            json!({
                "peer_identity": "site.example.net", "lifetimes": {"ike": 900, "child_packets": 1_048_576},
                "dpd": {"delay": 2, "timeout": 6},
            }),
        ),
    ] {
        let outcome = run(&server, &format!("connection set-options {CONNECTION_ID} {flags}")).await;
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(outcome.out.starts_with("changed the options of conn ("), "{}", outcome.out);
        assert!(outcome.out.contains("bgp.hold_time  9\n"), "{}", outcome.out);
        assert_eq!(server.seen().pop().map(|seen| (seen.line, seen.body)), Some((path.clone(), body)), "{flags}");
    }
    let outcome = run(&server, &format!("connection set-options {CONNECTION_ID} --hold-time 9 -o json")).await;
    assert_eq!(serde_json::from_str::<Value>(&outcome.out).expect("JSON"), answer);
}

#[tokio::test]
async fn a_private_network_is_mapped_and_a_vpc_tells_its_state() {
    let server = Server::start().await;
    let network = json!({"id": ID, "name": "lan"}).to_string();
    server.on(&format!("GET {V}/private-networks/{ID}"), 200, network);
    server.on(&format!("PUT {O}/private-network-attachments/{ID}"), 200, r#"{"interface":"br0"}"#);
    server.on(&format!("DELETE {O}/private-network-attachments/{ID}"), 200, "");
    let outcome = run(&server, &format!("private-network attach {ID} --interface br0")).await;
    assert_eq!((outcome.code, outcome.out), (0, format!("mapped lan ({ID}) to br0\n")));
    assert_eq!(server.seen().pop().map(|seen| seen.body), Some(json!({"interface": "br0"})));
    let outcome = run(&server, &format!("private-network detach {ID}")).await;
    assert_eq!((outcome.code, outcome.out), (0, format!("lan ({ID}) is on the node's own bridge again\n")));
    let mapped = |interface: &str, reason: Value| json!({"interface": interface, "private_network_id": "n", "reason": reason, "updated_at": "today"});
    let refused = json!({
        "code": "config_refused", "evidence": {"error": "it is not there", "item": "bridge or interface br1"}, "message": "refused",
    });
    let pending = json!({"code": "config_pending", "evidence": {}, "message": "on its way"});
    let all = [mapped("br0", Value::Null), mapped("br1", refused), mapped("br2", pending)];
    let list = json!({"private_network_attachments": all, "total_count": 3});
    server.on(&format!("GET {O}/private-network-attachments"), 200, list.to_string());
    let shown = run(&server, "private-network attachments").await.out;
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
    let reasons: Vec<&str> =
        rows.iter().map(|row| row.iter().copied().find(|cell| cell.contains("config_")).unwrap_or("")).collect();
    assert_eq!(reasons, ["", "", "config_refused: it is not there", "config_pending: on its way"], "{shown}");

    server.on(&format!("GET {V}/vpcs/{ID}"), 200, json!({"id": ID, "name": "v"}).to_string());
    let state = json!({
        "acl_ipv4": {"default": {"action": "accept"}, "rules": [{}, {}]}, "acl_ipv6": {"rules": []},
        "applied_revision": 2, "custom_routes_propagation_enabled": true, "desired_revision": 3,
        "observed_at": "2026-07-28T12:29:08Z", "reason": {"code": "config_pending", "message": "m", "remedy": "wait"},
        "routers": [{"node": "n1", "zone": "fr-par-1"}, {"node": "n2", "zone": "fr-par-2"}],
    });
    server.on(&format!("GET {X}/vpcs/{ID}/state"), 200, state.to_string());
    let outcome = run(&server, &format!("vpc state {ID}")).await;
    for part in [
        "config_pending: m",
        "remedy ",
        "3 (the node has 2)",
        "IPv4 rules ",
        "announces custom routes  true",
        "routed by                node n1 in fr-par-1",
        "routed by                node n2 in fr-par-2",
    ] {
        assert!(outcome.out.contains(part), "{part}: {}", outcome.out);
    }
}
