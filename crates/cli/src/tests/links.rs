//! InterLink: what is asked of the API, and what people read.

use serde_json::{Value, json};

use super::run;
use super::server::{PROJECT, Server};

const I: &str = "/interlink/v1beta1/regions/fr-par";
const O: &str = "/causeway/v1/operator";
const X: &str = "/causeway/v1/regions/fr-par";
const P: &str = "/causeway/v1/partner";
const ID: &str = "0bb8f7cf-88a6-43ff-ac07-ac0a705da1a8";
const POP: &str = "fd046cc9-d9bf-4a87-9c32-d299fe4bf4d7";
const PARTNER: &str = "89d00734-eddb-4192-8b16-bc16f0b0f5a5";
const OTHER: &str = "5bdd2ffe-4c2d-4c35-bc9e-5aaf509bdd2d";
const KEY: &str = "222461a1-5b81-4ef4-86ba-e7612cc30e6b";

/// wire-api.md §4.4.
const LINK: &str = r#"{"bandwidth_mbps":50,"bgp_v4_status":"disabled","bgp_v6_status":"disabled","created_at":"2026-04-19T20:29:51.721706Z","enable_route_propagation":false,"id":"0bb8f7cf-88a6-43ff-ac07-ac0a705da1a8","name":"l","organization_id":"105bdce1-64c0-48ab-899d-868455867ecf","partner":{"disapproved_reason":"","l3_connectivity":false,"pairing_key":"222461a1-5b81-4ef4-86ba-e7612cc30e6b","partner_id":"89d00734-eddb-4192-8b16-bc16f0b0f5a5"},"peer_bgp_config":{"asn":39801,"ipv4":"169.254.0.99/31","ipv6":"2001:1bc8:3812:fc60:56de:818e:4e3f:5301/127"},"pop_id":"fd046cc9-d9bf-4a87-9c32-d299fe4bf4d7","project_id":"105bdce1-64c0-48ab-899d-868455867ecf","region":"fr-par","scw_bgp_config":{"asn":12876,"ipv4":"169.254.0.98/31","ipv6":"2001:1bc8:3812:fc60:56de:818e:4e3f:5300/127"},"status":"requested","tags":[],"updated_at":"2026-04-19T20:29:51.721706Z","vlan":1991}"#;
const FRANCE_IX: &str = r#"{"contact_email":"l2-support@franceix.net","id":"89d00734-eddb-4192-8b16-bc16f0b0f5a5","name":"FranceIX","portal_url":"https://www.franceix.net/en/"}"#;

fn state(status: &str, reason: &str, turn: &str) -> String {
    json!({
        "bandwidth": 50_000_000, "bgp_sessions": [], "deadline": "2026-04-29T20:29:51.721706Z", "status": status, "turn": turn,
        "reason": {"code": reason, "message": "the message", "remedy": "do this", "evidence": {}},
    })
    .to_string()
}

/// What `line` asks last, when everything it asks is answered with a link.
async fn asks(line: &str, call: &str) -> (String, Value) {
    let server = Server::start().await;
    server.on(&format!("GET {I}/links/{ID}"), 200, LINK);
    server.on(&format!("GET {I}/pops/{POP}"), 200, r#"{"id":"fd046cc9-d9bf-4a87-9c32-d299fe4bf4d7","name":"TH2"}"#);
    server.on(&format!("GET {I}/partners/{PARTNER}"), 200, FRANCE_IX);
    for at in [format!("{I}/routing-policies/{OTHER}"), format!("/vpc/v2/regions/fr-par/vpcs/{OTHER}")] {
        server.on(&format!("GET {at}"), 200, format!(r#"{{"id":"{OTHER}","is_ipv6":true,"name":"o"}}"#));
    }
    for at in [format!("{I}/dedicated-connections/{OTHER}"), format!("{O}/ports/{OTHER}")] {
        server.on(&format!("GET {at}"), 200, format!(r#"{{"id":"{OTHER}","name":"d"}}"#));
    }
    server.on(
        &format!("GET {O}/nodes"),
        200,
        format!(r#"{{"nodes":[{{"id":"{OTHER}","name":"n2"}}],"total_count":1}}"#),
    );
    server.on(&format!("GET {P}/links"), 200, format!(r#"{{"links":[{{"id":"{ID}"}}],"total_count":1}}"#));
    server.on(call, 200, LINK);
    let outcome = run(&server, line).await;
    assert_eq!(outcome.code, 0, "{line}: {outcome:?}");
    let (method, path) = call.split_once(' ').expect("a call");
    let seen = server.seen().into_iter().rfind(|seen| seen.line.starts_with(method) && seen.line.contains(path));
    let seen = seen.unwrap_or_else(|| panic!("{line} does not ask {call}"));
    (seen.line, seen.body)
}

#[tokio::test]
async fn what_every_command_asks() {
    let link = format!("{I}/links/{ID}");
    let actions = [
        (format!("link attach-vpc {ID} {OTHER}"), "attach-vpc", json!({"vpc_id": OTHER})),
        (format!("link detach-vpc {ID}"), "detach-vpc", json!({})),
        (format!("link attach-policy {ID} {OTHER}"), "attach-routing-policy", json!({"routing_policy_id": OTHER})),
        (format!("link set-policy {ID} {OTHER}"), "set-routing-policy", json!({"routing_policy_id": OTHER})),
        (format!("link detach-policy {ID} {OTHER}"), "detach-routing-policy", json!({"routing_policy_id": OTHER})),
        (format!("link enable-route-propagation {ID}"), "enable-route-propagation", json!({})),
        (format!("link disable-route-propagation {ID}"), "disable-route-propagation", json!({})),
    ];
    let actions = actions.map(|(line, verb, body)| (line, format!("POST {link}/{verb}"), body));
    let others = [
        (
            format!("link set-options {ID} --hold-time 9 --gtsm on --no-md5-secret"),
            format!("PATCH {X}/links/{ID}/options"),
            json!({"bgp": {"hold_time": 9, "gtsm": true, "md5_secret_id": null}}),
        ),
        (format!("link options {ID}"), format!("GET {X}/links/{ID}/options"), Value::Null),
        (
            format!("link edit {ID} --name n --asn 65001"),
            format!("PATCH {link}"),
            json!({"name": "n", "peer_asn": 65001}),
        ),
        (format!("link delete {ID}"), format!("DELETE {link}"), Value::Null),
        (
            format!("link lock {ID} --reason abuse"),
            format!("POST /causeway/v1/links/{ID}/lock"),
            json!({"reason": "abuse"}),
        ),
        (format!("link unlock {ID}"), format!("POST /causeway/v1/links/{ID}/unlock"), json!({})),
        (format!("link repair {ID}"), format!("POST {O}/links/{ID}/repair"), json!({})),
        (
            format!("dedicated-connection lock {OTHER} --reason unpaid"),
            format!("POST /causeway/v1/dedicated-connections/{OTHER}/lock"),
            json!({"reason": "unpaid"}),
        ),
        (
            format!("dedicated-connection create d --pop {POP} --bandwidth 10G --vlans 1500-1999"),
            format!("POST {O}/dedicated-connections"),
            json!({
                "name": "d", "tags": [], "project_id": PROJECT, "pop_id": POP, "bandwidth_mbps": 10_000,
                "vlan_range": {"start": 1500, "end": 1999},
            }),
        ),
        (
            "pop create TH2 --city Paris --bandwidth 500M --bandwidth 1G".into(),
            format!("POST {O}/pops"),
            json!({"name": "TH2", "city": "Paris", "link_bandwidths_mbps": [500, 1000]}),
        ),
        (
            "partner create FranceIX --asn 39801 --notify off".into(),
            format!("POST {O}/partners"),
            json!({"name": "FranceIX", "asn": 39801, "notify": false}),
        ),
        (format!("partner delete {PARTNER}"), format!("DELETE {O}/partners/{PARTNER}"), Value::Null),
        (
            format!("port create p1 --pop {POP} --partner {PARTNER} --node n2 --attachment vlan:eth1 --capacity 10G"),
            format!("POST {O}/ports"),
            json!({
                "name": "p1", "pop_id": POP, "partner_id": PARTNER, "capacity_mbps": 10_000, "enabled": true, "node_id": OTHER,
                "attachment": {"kind": "vlan", "interface": "eth1"},
            }),
        ),
        (format!("port edit {OTHER} --enabled off"), format!("PATCH {O}/ports/{OTHER}"), json!({"enabled": false})),
        (format!("port edit {OTHER} --node n2"), format!("PATCH {O}/ports/{OTHER}"), json!({"node_id": OTHER})),
        (format!("port edit {OTHER} --no-node"), format!("PATCH {O}/ports/{OTHER}"), json!({"node_id": ""})),
        (
            "link-bandwidth set 1G --price-per-hour 0.5".into(),
            format!("PUT {O}/link-bandwidths/1000"),
            json!({"price_per_hour": 500_000}),
        ),
        ("link-bandwidth delete 500M".into(), format!("DELETE {O}/link-bandwidths/500"), Value::Null),
        (
            format!("link-policy edit {OTHER} --accept 10.0.0.0/8"),
            format!("PATCH {I}/routing-policies/{OTHER}"),
            json!({"prefix_filter_in": ["10.0.0.0/8"]}),
        ),
        (format!("partner-link accept {KEY}"), format!("POST {P}/links/{ID}/accept"), json!({})),
        (
            format!("partner-link refuse {KEY} --reason full"),
            format!("POST {P}/links/{ID}/refuse"),
            json!({"reason": "full"}),
        ),
        (format!("partner-link provisioned {KEY}"), format!("POST {P}/links/{ID}/provisioned"), json!({})),
        (
            format!("partner-link start-deprovisioning {KEY}"),
            format!("POST {P}/links/{ID}/start-deprovisioning"),
            json!({}),
        ),
        (format!("partner-link deprovisioned {KEY}"), format!("POST {P}/links/{ID}/deprovisioned"), json!({})),
        (
            format!("key create --role partner --partner {PARTNER}"),
            format!("POST {O}/api-keys"),
            json!({"role": "partner", "description": "", "project_id": PROJECT, "partner_id": PARTNER}),
        ),
    ];
    for (line, call, body) in actions.into_iter().chain(others) {
        assert_eq!(asks(&line, &call).await, (call, body), "{line}");
    }
}

#[tokio::test]
async fn filters_ask_for_what_they_say() {
    for (line, path, query) in [
        (
            format!("link list --status requested --kind self-hosted --pop {POP} --pairing-key {KEY} --vpc {OTHER}"),
            format!("{I}/links"),
            format!("status=requested&kind=self_hosted&pop_id={POP}&vpc_id={OTHER}&pairing_key={KEY}"),
        ),
        (
            format!("pop list --host TeleHouse --partner {PARTNER} --bandwidth 1G --dedicated"),
            format!("{I}/pops"),
            format!(
                "hosting_provider_name=TeleHouse&partner_id={PARTNER}&link_bandwidth_mbps=1000&dedicated_available=true"
            ),
        ),
        (
            format!("partner list --pop {POP} --pop {OTHER}"),
            format!("{I}/partners"),
            format!("pop_ids={POP}&pop_ids={OTHER}"),
        ),
        (format!("port list --partner {PARTNER}"), format!("{O}/ports"), format!("partner_id={PARTNER}")),
        ("partner-link list --status requested".into(), format!("{P}/links"), "status=requested".to_owned()),
        ("partner-link list --lifecycle in_service".into(), format!("{P}/links"), "lifecycle=in_service".to_owned()),
    ] {
        let server = Server::start().await;
        let answer = r#"{"connections":[],"links":[],"partners":[],"pops":[],"ports":[],"total_count":0}"#;
        server.on(&format!("GET {path}"), 200, answer);
        let outcome = run(&server, &line).await;
        assert_eq!(outcome.code, 0, "{line}: {outcome:?}");
        assert_eq!(server.lines(), [format!("GET {path}?{query}&page=1&page_size=500")], "{line}");
    }
}

#[tokio::test]
async fn an_order_tells_whom_to_ask_and_with_which_key() {
    let server = Server::start().await;
    let pops =
        format!(r#"{{"pops":[{{"id":"{POP}","name":"TH2"}},{{"id":"{OTHER}","name":"TH2-b"}}],"total_count":2}}"#);
    server.on(&format!("GET {I}/pops"), 200, pops);
    server.on(&format!("GET {I}/partners"), 200, format!(r#"{{"partners":[{FRANCE_IX}],"total_count":1}}"#));
    server.on(&format!("GET {I}/routing-policies/{OTHER}"), 200, format!(r#"{{"id":"{OTHER}","is_ipv6":true}}"#));
    server.on(&format!("POST {I}/links"), 200, LINK);
    server.on(&format!("GET {X}/links/{ID}/state"), 200, state("requested", "awaiting_partner_answer", "partner"));
    let line = format!("link create l --pop TH2 --partner FranceIX --bandwidth 50M --policy {OTHER}");
    let outcome = run(&server, &line).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let order = server.seen().into_iter().find(|seen| seen.line.starts_with("POST")).expect("an order");
    assert_eq!(
        order.body,
        json!({
            "name": "l", "tags": [], "project_id": PROJECT, "pop_id": POP, "bandwidth_mbps": 50, "partner_id": PARTNER,
            "routing_policy_v6_id": OTHER,
        })
    );
    assert!(outcome.out.contains("reason"), "{}", outcome.out);
    assert!(outcome.out.contains("awaiting_partner_answer: the message"), "{}", outcome.out);
    let asked = format!(
        "ask FranceIX (l2-support@franceix.net, https://www.franceix.net/en/) for this link; its pairing key is {KEY}"
    );
    assert!(outcome.err.contains(&asked), "{}", outcome.err);
}

#[tokio::test]
async fn a_wait_ends_with_the_partners_refusal_and_its_reason() {
    let server = Server::start().await;
    server.on(&format!("GET {I}/links/{ID}"), 200, LINK);
    let path = format!("GET {X}/links/{ID}/state");
    server.on(&path, 200, state("requested", "awaiting_partner_answer", "partner"));
    server.on(&path, 200, state("refused", "partner_refused", "tenant"));
    let outcome = run(&server, &format!("link state {ID} --wait=60")).await;
    assert_eq!((outcome.code, outcome.out.as_str()), (1, ""));
    let told = outcome.err.split_once("error: ").expect("an error").1;
    let expected = "is not active after 0 s: refused (partner_refused: the message)\nhint: do this\n";
    assert_eq!(told, format!("link l ({ID}) {expected}"));
}

#[tokio::test]
async fn a_deletion_ends_where_the_last_side_has_deleted() {
    let server = Server::start().await;
    let path = format!("GET {I}/links/{ID}");
    for status in ["active", "deprovisioning", "deleted"] {
        server.on(&path, 200, LINK.replace("requested", status));
    }
    server.on(&format!("DELETE {I}/links/{ID}"), 200, LINK.replace("requested", "deprovisioning"));
    let outcome = run(&server, &format!("link delete {ID} --wait")).await;
    assert_eq!((outcome.code, outcome.out.as_str()), (0, format!("deleted link l ({ID})\n").as_str()), "{outcome:?}");
    assert_eq!(server.lines().len(), 4);
    // Without waiting, who has to act is said.
    server.on(&path, 200, LINK);
    let outcome = run(&server, &format!("link delete {ID}")).await;
    assert_eq!(outcome.out, format!("deleting link l ({ID})\n"));
    assert!(outcome.err.contains("the other side has to take its part down"), "{}", outcome.err);
}

#[tokio::test]
async fn a_state_says_whose_turn_it_is() {
    let server = Server::start().await;
    server.on(&format!("GET {I}/links/{ID}"), 200, LINK);
    server.on(&format!("GET {X}/links/{ID}/state"), 200, state("requested", "awaiting_partner_answer", "partner"));
    let outcome = run(&server, &format!("link state {ID}")).await;
    for line in ["waits for  partner", "deadline   2026-04-29T20:29:51.721706Z", "bandwidth  50 Mbit/s"] {
        assert!(outcome.out.contains(line), "{line} is missing in {}", outcome.out);
    }
}

#[tokio::test]
async fn errors_name_the_flag_that_was_typed() {
    let server = Server::start().await;
    server.on(&format!("GET {I}/dedicated-connections/{OTHER}"), 200, format!(r#"{{"id":"{OTHER}"}}"#));
    let error = r#"{"details":[{"argument_name":"vlan","help_message":"VLAN 2000 is taken","reason":"constraint"}],"message":"invalid argument(s)","type":"invalid_arguments"}"#;
    server.on(&format!("POST {I}/links"), 400, error);
    let line = format!("link create l --pop {POP} --connection {OTHER} --bandwidth 1G --vlan 2000 --asn 65001");
    let outcome = run(&server, &line).await;
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.err.contains("--vlan: VLAN 2000 is taken"), "{}", outcome.err);
}
