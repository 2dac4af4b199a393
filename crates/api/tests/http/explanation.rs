//! `route-explanation` and the pages of a connection's routes, with a node that reports thousands of them.

use std::time::Duration;

use causeway_model::desired::ConnectionDesired;
use causeway_model::observed::{
    ConnectionFacts, ReceivedRoute, RouteDecision, SessionFacts, TunnelCounters, TunnelFacts,
};
use causeway_model::{Family, Timestamp};
use serde_json::{Value, json};

use crate::service::{EXTENSION, IPAM, S2S, Service, VPC};

const ROUTES: u32 = 10_000;

/// A tunnel and a session that are up, with so many routes: every tenth is outside the policy, the rest is installed.
fn busy(connection: &ConnectionDesired) -> ConnectionFacts {
    let now = Timestamp(1_785_241_748_356_342);
    let tunnel = |tunnel: &causeway_model::desired::TunnelDesired| TunnelFacts {
        family: tunnel.family(),
        local: tunnel.local,
        peer: tunnel.peer,
        up: true,
        ever_up: true,
        since: now,
        fault: None,
        ike: None,
        child: None,
        mtu: 1400,
        counters: TunnelCounters::default(),
    };
    let received = (0..ROUTES).map(|index| {
        let filtered = index % 10 == 9;
        let octet = if filtered { 99 } else { 9 };
        let (high, low) = (index / 256, index % 256);
        ReceivedRoute {
            prefix: format!("10.{octet}.{high}.{low}/32").parse().expect("a prefix"),
            next_hop: "169.254.0.2".parse().expect("an address"),
            as_path: vec![65000],
            med: None,
            communities: Vec::new(),
            decision: if filtered {
                RouteDecision::Filtered { by: "not_in_prefix_filter_in".to_owned() }
            } else {
                RouteDecision::Installed
            },
            stale: false,
        }
    });
    ConnectionFacts {
        id: connection.id,
        applied: connection.revision,
        refused: None,
        tunnels: connection.tunnels.iter().map(tunnel).collect(),
        sessions: vec![SessionFacts { up: true, updates_in: 40, flaps: 2, ..SessionFacts::new(Family::Ipv4, now) }],
        received: received.collect(),
        announced: vec!["10.0.0.0/24".parse().expect("a prefix")],
    }
}

/// The ids of the VPC and of the connection, once its facts are stored.
async fn connected(service: &Service) -> (String, String) {
    let text =
        |document: &Value, pointer: &str| document.pointer(pointer).and_then(Value::as_str).expect("text").to_owned();
    let vpc = json!({"name": "v", "tags": [], "enable_routing": false});
    let vpc = text(&service.post(&format!("{VPC}/vpcs"), &vpc).await.ok(), "/id");
    let network = json!({"name": "p", "subnets": ["10.0.0.0/24"], "vpc_id": vpc, "tags": []});
    let network = text(&service.post(&format!("{VPC}/private-networks"), &network).await.ok(), "/id");
    let gateway = json!({"name": "g", "gateway_type": "VGW-S", "private_network_id": network});
    let gateway = text(&service.post(&format!("{S2S}/vpn-gateways"), &gateway).await.ok(), "/id");
    let customer = json!({"name": "c", "ipv4_public": "198.51.100.7", "asn": 65000});
    let customer = text(&service.post(&format!("{S2S}/customer-gateways"), &customer).await.ok(), "/id");
    let policy = json!({
        "name": "r", "is_ipv6": false, "prefix_filter_in": ["10.9.0.0/16"], "prefix_filter_out": ["10.0.0.0/24"],
    });
    let policy = text(&service.post(&format!("{S2S}/routing-policies"), &policy).await.ok(), "/id");
    let connection = json!({
        "name": "conn", "is_ipv6": false, "initiation_policy": "vpn_gateway", "ikev2_ciphers": [], "esp_ciphers": [],
        "enable_route_propagation": true, "vpn_gateway_id": gateway, "customer_gateway_id": customer,
        "bgp_config_ipv4": {"routing_policy_id": policy},
    });
    let connection = service.post(&format!("{S2S}/connections"), &connection).await.ok();
    let connection = text(&connection, "/connection/id");
    for _ in 0..1000 {
        let state = service.get(&format!("{EXTENSION}/connections/{connection}/state")).await.ok();
        if state["status"] == "active" {
            assert_eq!(state["bgp_sessions"][0]["updates"], json!({"in": 40, "out": 0}));
            assert_eq!(state["bgp_sessions"][0]["flaps"], 2);
            return (vpc, connection);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the connection did not become active");
}

#[tokio::test]
async fn ten_thousand_routes_come_in_pages_and_by_decision() {
    let service = Service::start_with_facts(busy).await;
    let (_, connection) = connected(&service).await;
    let path = format!("{EXTENSION}/connections/{connection}/routes");
    let first = service.get(&path).await.ok();
    assert_eq!((&first["total_count"], first["routes"].as_array().map(Vec::len)), (&json!(ROUTES), Some(50)));
    let last = service.get(&format!("{path}?page=10&page_size=1000")).await.ok();
    assert_eq!(last["routes"].as_array().map(Vec::len), Some(1000));
    assert_eq!(last["routes"][999]["prefix"], "10.99.39.15/32");
    let filtered = service.get(&format!("{path}?decision=filtered&page_size=1")).await.ok();
    assert_eq!(filtered["total_count"], 1000);
    assert_eq!(filtered["routes"][0]["detail"], "not_in_prefix_filter_in");
    let within = service.get(&format!("{path}?prefix=10.9.1.0/24")).await.ok();
    assert_eq!(within["total_count"], 230);
    let announced = service.get(&format!("{path}?direction=announced")).await.ok();
    let subnet = announced["routes"].as_array().expect("routes").first().expect("the subnet").clone();
    let policy = &filtered["routes"][0]["routing_policy_id"];
    assert!(policy.is_string() && filtered["routes"][0]["filter_entry"].is_null());
    assert_eq!(
        (&subnet["prefix"], &subnet["decision"], &subnet["origin"], &subnet["filter_entry"]),
        (&json!("10.0.0.0/24"), &json!("announced"), &json!("local"), &json!("10.0.0.0/24"))
    );
    assert_eq!((&subnet["as_path"], &subnet["routing_policy_id"]), (&json!([12876]), policy));
    assert_eq!(first["routes"][0]["filter_entry"], "10.9.0.0/16");
    let only = service.get(&format!("{path}?direction=announced&decision=announced")).await.ok();
    assert_eq!(only["total_count"], 1);
    for (query, argument) in [("direction=both", "direction"), ("page_size=0", "page_size"), ("decision=x", "decision")]
    {
        assert_eq!(service.get(&format!("{path}?{query}")).await.arguments()[0].0, argument);
    }
}

#[tokio::test]
async fn routes_and_packets_are_explained_from_the_facts() {
    let service = Service::start_with_facts(busy).await;
    let (vpc, connection) = connected(&service).await;
    let path = format!("{EXTENSION}/route-explanation?vpc_id={vpc}");
    let ask = async |query: &str| service.get(&format!("{path}&{query}")).await.ok();

    let learned = ask("prefix=10.9.0.5/32").await;
    assert_eq!((&learned["verdict"], &learned["reason"]), (&json!("routed"), &Value::Null));
    assert_eq!(learned["caveats"], json!([]), "all of it is in force");
    let winner = &learned["candidates"][0];
    assert_eq!((&winner["taken"], &winner["connection_id"]), (&json!(true), &json!(connection)));
    assert_eq!((&winner["filter_entry"], &winner["tunnels_up"]), (&json!("10.9.0.0/16"), &json!(["ipv4"])));

    let filtered = ask("prefix=10.99.0.9").await;
    assert_eq!(filtered["reason"]["evidence"]["filtered"], "not_in_prefix_filter_in");
    assert_eq!(filtered["candidates"][0]["decision"], "filtered");
    assert_eq!(filtered["candidates"][0]["filter_entry"], Value::Null);

    let out = ask("source=10.0.0.5&destination=10.9.0.5&protocol=tcp&port=443").await;
    assert_eq!(out["verdict"], "delivered");
    let steps: Vec<&str> =
        out["steps"].as_array().expect("steps").iter().filter_map(|step| step["at"].as_str()).collect();
    assert_eq!(steps, ["source", "route", "acl", "gateway", "tunnel"]);
    assert!(out["return_path"].as_str().is_some_and(|path| path.starts_with("10.0.0.0/24")));

    let foreign = ask("source=10.99.0.9&destination=10.0.0.5").await;
    assert_eq!((&foreign["verdict"], &foreign["reason"]["code"]), (&json!("dropped"), &json!("source_not_allowed")));
    assert_eq!(foreign["reason"]["evidence"]["ours"], "10.9.0.0/16");

    let everything = ask("prefix=10.0.0.0/8").await;
    let shown = everything["candidates"].as_array().map(Vec::len).expect("candidates") as u64;
    assert!(shown <= 200 && everything["more_candidates"].as_u64().expect("a number") + shown > u64::from(ROUTES));

    let policies = service.get(&format!("{S2S}/connections/{connection}")).await.ok();
    let policy = policies["bgp_session_ipv4"]["routing_policy_id"].as_str().expect("a policy").to_owned();
    let detach = json!({"routing_policy_v4": policy});
    service.post(&format!("{S2S}/connections/{connection}/detach-routing-policy"), &detach).await.ok();
    let detached = ask("source=10.0.0.5&destination=10.9.0.5").await;
    assert_eq!((&detached["verdict"], &detached["reason"]["code"]), (&json!("dropped"), &json!("no_routing_policy")));

    let nowhere = "0ae4cf90-0405-4318-a169-e45b3bef7676";
    let answer = service.get(&format!("{EXTENSION}/route-explanation?vpc_id={nowhere}&prefix=10.0.0.0/8")).await;
    assert_eq!(answer.error(404, "not_found")["resource"], "vpc");
    let answer = service.get(&path).await;
    assert_eq!(answer.arguments(), [("prefix".to_owned(), "required".to_owned())]);
}

/// What the tenant sets decides at once, whatever the node has done about it: the rule and the route are named.
#[tokio::test]
async fn access_lists_and_custom_routes_decide() {
    let service = Service::start_with_facts(busy).await;
    let (vpc, connection) = connected(&service).await;
    let ask =
        async |query: &str| service.get(&format!("{EXTENSION}/route-explanation?vpc_id={vpc}&{query}")).await.ok();
    let rule = |action: &str, port: u16, description: &str| {
        json!({
            "action": action, "description": description, "protocol": "tcp", "source": "0.0.0.0/0", "destination": "0.0.0.0/0",
            "src_port_low": 0, "src_port_high": 0, "dst_port_low": port, "dst_port_high": port,
        })
    };
    let set = async |rules: Value, default: &str| {
        let list = json!({"rules": rules, "is_ipv6": false, "default_policy": default});
        service.call("PUT", &format!("{VPC}/vpcs/{vpc}/acl-rules"), &list.to_string()).await.ok()
    };
    set(json!([rule("accept", 443, "web"), rule("drop", 23, "no telnet")]), "drop").await;
    let packet = "source=10.0.0.5&destination=10.9.0.7&protocol";
    let acl = |answer: &Value| {
        let steps = answer["steps"].as_array().expect("steps");
        steps.iter().find(|step| step["at"] == "acl").expect("a step").clone()
    };
    let web = ask(&format!("{packet}=tcp&port=443")).await;
    assert_eq!((&web["verdict"], &acl(&web)["passes"]), (&json!("delivered"), &json!(true)));
    assert_eq!(acl(&web)["detail"], "rule 1 of the IPv4 list (web) accepts");
    let telnet = ask(&format!("{packet}=tcp&port=23")).await;
    assert_eq!((&telnet["verdict"], &telnet["reason"]["code"]), (&json!("dropped"), &json!("acl_denied")));
    let evidence = &telnet["reason"]["evidence"];
    assert_eq!(
        (&evidence["rule"], &evidence["rule_index"]),
        (&json!("rule 2 of the IPv4 list (no telnet)"), &json!("1"))
    );
    let ping = ask(&format!("{packet}=icmp")).await;
    assert_eq!(ping["reason"]["evidence"]["rule"], "the default of the IPv4 list");
    // The same list meets what comes through the tunnel.
    let back = ask("source=10.9.0.7&destination=10.0.0.5&protocol=tcp&port=23").await;
    assert_eq!(back["reason"]["code"], "acl_denied");
    set(json!([]), "accept").await;

    let network = service.get(&format!("{VPC}/private-networks?vpc_id={vpc}")).await.ok();
    let holder = json!({
        "source": {"private_network_id": network["private_networks"][0]["id"]}, "is_ipv6": false,
        "resource": {"mac_address": "bc:24:11:74:d0:5b", "name": "router"},
    });
    let hop = service.post(&format!("{IPAM}/ips"), &holder).await.ok();
    let custom = async |destination: &str| {
        let route = json!({
            "description": "", "vpc_id": vpc, "destination": destination, "nexthop_resource_id": hop["id"], "tags": [],
        });
        service.post(&format!("{VPC}/routes"), &route).await.ok()
    };
    let route = custom("10.9.0.5/32").await;
    let taken = ask("prefix=10.9.0.5/32").await;
    let first = &taken["candidates"][0];
    assert_eq!(
        (&first["origin"], &first["taken"], &first["custom_route_id"]),
        (&json!("custom"), &json!(true), &route["id"])
    );
    assert_eq!(
        Some(first["next_hop"].as_str().expect("an address")),
        hop["address"].as_str().and_then(|text| text.split('/').next())
    );
    let second = &taken["candidates"][1];
    assert_eq!((&second["connection_id"], &second["decision"]), (&json!(connection), &json!("beaten")));
    assert_eq!(second["detail"], format!("custom route {}", route["id"].as_str().expect("an id")));
    let delivered = ask("source=10.0.0.5&destination=10.9.0.5").await;
    let last = delivered["steps"].as_array().and_then(|steps| steps.last()).expect("a step").clone();
    assert_eq!((&delivered["verdict"], &last["at"]), (&json!("delivered"), &json!("delivery")));
    assert!(last["detail"].as_str().is_some_and(|text| text.contains("custom route")), "{last}");
    // A wider one leaves the longer prefix to the device.
    let wide = custom("10.9.0.0/24").await;
    let both = ask("prefix=10.9.0.9/32").await;
    let taken: Vec<_> =
        both["candidates"].as_array().expect("routes").iter().map(|route| route["taken"].clone()).collect();
    assert!(both["candidates"][0]["detail"].is_null() || both["candidates"][0]["origin"] == "custom", "{both}");
    assert_eq!(taken.iter().filter(|taken| **taken == json!(true)).count(), 1);
    assert!(both["candidates"].as_array().expect("routes").iter().any(|route| route["custom_route_id"] == wide["id"]));
}
