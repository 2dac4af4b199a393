//! Routes, access lists, and addresses that are attached to something.

use serde_json::{Value, json};

use super::run;
use super::server::Server;

const V: &str = "/vpc/v2/regions/fr-par";
const I: &str = "/ipam/v1/regions/fr-par";
const VPC_ID: &str = "6e4a35ae-0000-4000-8000-000000000001";
const NETWORK_ID: &str = "6e4a35ae-0000-4000-8000-000000000002";
const ROUTE_ID: &str = "6e4a35ae-0000-4000-8000-000000000003";
const IP_ID: &str = "6e4a35ae-0000-4000-8000-000000000004";

/// wire-api.md, appendix A.
fn route() -> Value {
    json!({
        "created_at": "2026-07-30T11:57:18.448617Z", "description": "d", "destination": "10.9.0.0/16", "id": ROUTE_ID,
        "is_read_only": false, "nexthop_private_network_id": NETWORK_ID, "nexthop_resource_id": IP_ID,
        "nexthop_vpc_connector_id": null, "region": "fr-par", "tags": ["tf"], "type": "custom",
        "updated_at": "2026-07-30T11:57:18.448617Z", "vpc_id": VPC_ID,
    })
}

/// The route above, one of a subnet and a learned one.
fn routes() -> String {
    let shown = |route: Value, ip: Value, name: Value, kind: &str| json!({"nexthop_ip": ip, "nexthop_name": name, "nexthop_resource_type": kind, "route": route});
    let other = |kind: &str, destination: &str, description: &str| {
        let mut route = route();
        for (key, text) in [("type", kind), ("destination", destination), ("description", description), ("id", "")] {
            route[key] = json!(text);
        }
        route
    };
    let subnet = other("subnet", "10.0.0.0/24", "Local Private Network route");
    let learned = other("s2s_vpn", "10.8.0.0/16", "Learned Site-to-Site VPN route");
    let all = [
        shown(subnet, Value::Null, Value::Null, "unknown_type"),
        shown(route(), json!("10.0.0.2"), json!("router"), "unknown_type"),
        shown(learned, Value::Null, json!("gw"), "vpn_gateway"),
    ];
    json!({"routes": all, "total_count": 3}).to_string()
}

fn ip(resource: Value) -> Value {
    json!({
        "address": "10.0.0.2/24", "created_at": "2025-06-30T15:02:10.952803Z", "id": IP_ID, "is_ipv6": false, "project_id": "p",
        "region": "fr-par", "resource": resource, "reverses": [], "source": {"subnet_id": NETWORK_ID}, "tags": [],
        "updated_at": "2025-06-30T15:02:10.952803Z", "zone": null,
    })
}

fn router() -> Value {
    json!({"id": IP_ID, "mac_address": "02:00:00:00:00:01", "name": "router", "type": "custom"})
}

fn on_lists(server: &Server, ip: &Value) {
    let vpcs = format!(r#"{{"total_count":1,"vpcs":[{{"id":"{VPC_ID}","name":"net"}}]}}"#);
    server.on(&format!("GET {V}/vpcs"), 200, vpcs);
    server.on(&format!("GET {V}/routes-with-nexthop"), 200, routes());
    server.on(&format!("GET {I}/ips"), 200, json!({"ips": [ip], "total_count": 1}).to_string());
}

#[tokio::test]
async fn routes_are_listed_with_where_they_lead() {
    let server = Server::start().await;
    on_lists(&server, &ip(router()));
    let line = "route list --vpc net --contains 10.0.0.0/8 --family ipv4 --tag a --tag b";
    let outcome = run(&server, line).await;
    assert_eq!(
        outcome.out,
        "\
DESTINATION  TYPE     NEXT HOP           ID                                    DESCRIPTION
10.0.0.0/24  subnet   on the network     -                                     Local Private Network route
10.9.0.0/16  custom   router (10.0.0.2)  6e4a35ae-0000-4000-8000-000000000003  d
10.8.0.0/16  s2s_vpn  gw                 -                                     Learned Site-to-Site VPN route
"
    );
    let asked = server.lines();
    let expected = format!(
        "GET {V}/routes-with-nexthop?tags=a&tags=b&order_by=destination_asc&vpc_id={VPC_ID}&contains=10.0.0.0%2F8&is_ipv6=false"
    );
    assert!(asked.iter().any(|line| line.starts_with(&expected)), "{asked:#?}");
}

#[tokio::test]
async fn routes_are_made_changed_and_deleted_by_address_and_destination() {
    let server = Server::start().await;
    on_lists(&server, &ip(router()));
    server.on(&format!("POST {V}/routes"), 200, route().to_string());
    server.on(&format!("PATCH {V}/routes/{ROUTE_ID}"), 200, route().to_string());
    server.on(&format!("DELETE {V}/routes/{ROUTE_ID}"), 204, "");
    let outcome = run(&server, "route create 10.9.0.0/16 --vpc net --via 10.0.0.2 --description d --tag tf").await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let made = server.seen().pop().expect("a request");
    assert_eq!(made.line, format!("POST {V}/routes"));
    let expected = json!({
        "description": "d", "destination": "10.9.0.0/16", "nexthop_resource_id": IP_ID, "tags": ["tf"], "vpc_id": VPC_ID,
    });
    assert_eq!(made.body, expected);
    let outcome = run(&server, "route edit 10.9.0.0/16 --destination 10.10.0.0/16 --no-tags").await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let changed = server.seen().pop().expect("a request");
    assert_eq!(changed.line, format!("PATCH {V}/routes/{ROUTE_ID}"));
    assert_eq!(changed.body, json!({"destination": "10.10.0.0/16", "tags": []}));
    let outcome = run(&server, "route delete 10.9.0.0/16 --vpc net").await;
    assert_eq!((outcome.code, server.lines().pop()), (0, Some(format!("DELETE {V}/routes/{ROUTE_ID}"))));
    // A learned route is nobody's to delete.
    let outcome = run(&server, "route delete 10.8.0.0/16").await;
    assert!(outcome.code != 0 && outcome.err.contains("10.8.0.0/16"), "{outcome:?}");
    assert!(server.lines().iter().all(|line| !line.starts_with("DELETE")));
}

#[tokio::test]
async fn a_next_hop_has_to_be_attached_to_something() {
    let server = Server::start().await;
    on_lists(&server, &ip(Value::Null));
    let outcome = run(&server, "route create 10.9.0.0/16 --vpc net --via 10.0.0.2").await;
    assert!(outcome.code != 0 && outcome.err.contains("ip attach"), "{outcome:?}");
    assert!(server.lines().iter().all(|line| !line.starts_with("POST")));
}

#[tokio::test]
async fn access_lists_are_shown_with_their_counters_and_replaced() {
    let server = Server::start().await;
    on_lists(&server, &ip(Value::Null));
    let rule = json!({
        "action": "drop", "bytes": 60, "description": "no telnet", "destination": "10.0.0.0/24", "dst_port_high": 23,
        "dst_port_low": 23, "packets": 1, "protocol": "tcp", "source": "0.0.0.0/0", "src_port_high": 0, "src_port_low": 0,
    });
    let list = json!({"default": {"action": "accept", "bytes": 0, "packets": 0}, "rules": [rule]});
    let state = json!({"acl_ipv4": list, "reason": null});
    server.on(&format!("GET /causeway/v1/regions/fr-par/vpcs/{VPC_ID}/state"), 200, state.to_string());
    let outcome = run(&server, "acl get net").await;
    assert_eq!(
        outcome.out,
        "\
ACTION  PROTOCOL  SOURCE     DESTINATION          PACKETS  OCTETS  DESCRIPTION
drop    tcp       0.0.0.0/0  10.0.0.0/24 port 23  1        60      no telnet
accept  else      -          -                    0        0       -
"
    );
    server.seen();

    let mut plain = rule.clone();
    for key in ["bytes", "packets"] {
        plain.as_object_mut().expect("an object").remove(key);
    }
    let answer = json!({"default_policy": "accept", "rules": [plain]}).to_string();
    server.on(&format!("PUT {V}/vpcs/{VPC_ID}/acl-rules"), 200, answer.clone());
    server.on(&format!("GET {V}/vpcs/{VPC_ID}/acl-rules"), 200, answer.clone());
    let shown = run(&server, "acl get net --ipv6 -o json").await;
    assert_eq!(
        shown.out.trim(),
        serde_json::to_string_pretty(&serde_json::from_str::<Value>(&answer).expect("JSON")).expect("text")
    );
    assert_eq!(server.lines().pop(), Some(format!("GET {V}/vpcs/{VPC_ID}/acl-rules?is_ipv6=true")));

    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("rules.json");
    std::fs::write(&file, &answer).expect("written");
    let outcome = run(&server, &format!("acl set net --default accept --file {}", file.display())).await;
    assert_eq!((outcome.code, outcome.out.trim()), (0, "1 rules, else accept"), "{outcome:?}");
    let set = server.seen().pop().expect("a request");
    assert_eq!(set.line, format!("PUT {V}/vpcs/{VPC_ID}/acl-rules"));
    assert_eq!(set.body, json!({"default_policy": "accept", "is_ipv6": false, "rules": [plain]}));
    std::fs::write(&file, "{}").expect("written");
    let outcome = run(&server, &format!("acl set net --default drop --file {}", file.display())).await;
    assert!(outcome.code != 0 && outcome.err.contains("no array of rules"), "{outcome:?}");
    assert!(server.seen().is_empty(), "a bad file reaches nobody");
}

#[tokio::test]
async fn addresses_are_attached_named_and_detached() {
    let server = Server::start().await;
    on_lists(&server, &ip(router()));
    for action in ["attach", "detach"] {
        server.on(&format!("POST {I}/ips/{IP_ID}/{action}"), 200, ip(router()).to_string());
    }
    server.on(&format!("PATCH {I}/ips/{IP_ID}"), 200, ip(router()).to_string());
    let outcome = run(&server, "ip attach 10.0.0.2 02:00:00:00:00:01 --name router").await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let attached = server.seen().pop().expect("a request");
    assert_eq!(attached.line, format!("POST {I}/ips/{IP_ID}/attach"));
    assert_eq!(attached.body, json!({"resource": {"mac_address": "02:00:00:00:00:01", "name": "router"}}));
    let outcome = run(&server, "ip detach 10.0.0.2").await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let detached = server.seen().pop().expect("a request");
    assert_eq!(detached.line, format!("POST {I}/ips/{IP_ID}/detach"));
    assert_eq!(detached.body, json!({"resource": {"mac_address": "02:00:00:00:00:01"}}));
    let outcome = run(&server, "ip edit 10.0.0.2 --reverse vpn.example.net --no-tags").await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let named = server.seen().pop().expect("a request");
    assert_eq!(named.body, json!({"reverses": [{"hostname": "vpn.example.net"}], "tags": []}));
    let outcome = run(&server, "ip list --attached").await;
    assert_eq!(
        outcome.out,
        format!(
            "ADDRESS      ID                                    SOURCE                                       USED BY\n10.0.0.2/24  {IP_ID}  subnet {NETWORK_ID}  custom router\n"
        )
    );
}
