//! What is asked of the API and how the answers are shown.

use serde_json::{Value, json};

use super::run;
use super::server::{CONNECTION, CONNECTION_ID, CUSTOMER, GATEWAY, GATEWAY_ID, POLICY, PROJECT, Server};

const P: &str = "/s2s-vpn/v1alpha1/regions/fr-par";
const X: &str = "/causeway/v1/regions/fr-par";
const S: &str = "/secret-manager/v1beta1/regions/fr-par/secrets";
const SECRET: &str = "5bdd2ffe-4c2d-4c35-bc9e-5aaf509bdd2d";

fn reason(code: &str) -> String {
    format!(r#"{{"status":"ready","reason":{{"code":"{code}","message":"the peer does not answer on UDP 500"}}}}"#)
}

#[tokio::test]
async fn lists_are_tables_with_the_reason_or_documents_as_they_came() {
    let server = Server::start().await;
    server.on(&format!("GET {P}/connections"), 200, format!(r#"{{"connections":[{CONNECTION}],"total_count":1}}"#));
    server.on(&format!("GET {X}/connections/{CONNECTION_ID}/state"), 200, reason("peer_silent"));
    let outcome = run(&server, "connection list --status down --name con --tag a --project-id p").await;
    assert_eq!(
        outcome.out,
        "\
NAME  ID                                    STATUS  TUNNEL  BGP4  BGP6      ROUTES  REASON
conn  0ae4cf90-0405-4318-a169-e45b3bef7676  down    down    down  disabled  on      peer_silent
"
    );
    let asked = server.lines();
    let expected = format!("GET {P}/connections?name=con&tags=a&statuses=down&project_id=p&page=1&page_size=500");
    assert_eq!(asked.first(), Some(&expected));
    let outcome = run(&server, "connection list -o json").await;
    let shown: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!(shown, json!([serde_json::from_str::<Value>(CONNECTION).expect("JSON")]));
    assert_eq!(server.lines().len(), 1, "programs get what the API has, so no state is asked for");
}

#[tokio::test]
async fn every_page_is_read_once() {
    let server = Server::start().await;
    let path = format!("GET {P}/customer-gateways");
    let page = |count: usize| {
        let items = vec![CUSTOMER; count].join(",");
        format!(r#"{{"gateways":[{items}],"total_count":501}}"#)
    };
    server.on(&path, 200, page(500));
    server.on(&path, 200, page(1));
    let outcome = run(&server, "customer-gateway list").await;
    assert_eq!(outcome.out.lines().count(), 502);
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn a_connection_is_created_from_names_and_the_next_steps_follow() {
    let server = Server::start().await;
    server.on(&format!("GET {P}/vpn-gateways"), 200, format!(r#"{{"gateways":[{GATEWAY}],"total_count":1}}"#));
    server.on(&format!("GET {P}/customer-gateways"), 200, format!(r#"{{"gateways":[{CUSTOMER}],"total_count":1}}"#));
    server.on(
        &format!("GET {P}/routing-policies"),
        200,
        format!(r#"{{"routing_policies":[{POLICY}],"total_count":1}}"#),
    );
    let answer = format!(r#"{{"connection":{CONNECTION},"pre_shared_key":""}}"#);
    server.on(&format!("POST {P}/connections"), 200, answer);
    server.on(&format!("GET {X}/connections/{CONNECTION_ID}/state"), 200, reason("peer_silent"));
    server.on(&format!("GET {X}/vpn-gateways/{GATEWAY_ID}/state"), 200, r#"{"public_addresses":["192.0.2.1"]}"#);
    let line = "connection create conn --gateway gw --customer-gateway office --policy v4 --enable-route-propagation \
                --ike aes256-sha256-modp2048 --esp aes256-sha256-modp2048 --inside-ipv4 169.254.0.1/30,169.254.0.2/30";
    let outcome = run(&server, line).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let created = server.seen().into_iter().find(|seen| seen.line.starts_with("POST")).expect("a creation");
    assert_eq!(
        created.body,
        json!({
            "project_id": PROJECT, "name": "conn", "tags": [], "is_ipv6": false, "initiation_policy": "customer_gateway",
            "ikev2_ciphers": [{"encryption": "aes256", "integrity": "sha256", "dh_group": "modp2048"}],
            "esp_ciphers": [{"encryption": "aes256", "integrity": "sha256", "dh_group": "modp2048"}],
            "enable_route_propagation": true, "vpn_gateway_id": GATEWAY_ID,
            "customer_gateway_id": "7a1d8e2c-0000-4000-8000-000000000002",
            "bgp_config_ipv4": {
                "routing_policy_id": "7a1d8e2c-0000-4000-8000-000000000001",
                "private_ip": "169.254.0.1/30", "peer_private_ip": "169.254.0.2/30",
            },
        })
    );
    assert!(
        outcome.out.contains("reason                              peer_silent: the peer does not answer on UDP 500\n")
    );
    for part in ["(51.15.224.226)", "(192.0.2.1)", "AS 65000", "accepted from the device: 10.0.1.0/24", SECRET] {
        assert!(outcome.err.contains(part), "{part} is missing in {}", outcome.err);
    }
    let outcome =
        run(&server, "connection create conn --gateway gw --customer-gateway office --policy v4 --policy v4").await;
    assert_eq!(outcome.code, 2);
    assert_eq!(outcome.err, "error: two policies are for IPv4; a connection has one for each family\n");
}

#[tokio::test]
async fn the_key_is_printed_loudly_and_written_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start().await;
    server.on(&format!("GET {P}/connections/{CONNECTION_ID}"), 200, CONNECTION);
    let access = format!(
        r#"{{"secret_id":"{SECRET}","revision":1,"data":"bXlfc3VwZXJfc2VjcmV0X3Yx","data_crc32":null,"type":"opaque"}}"#
    );
    server.on(&format!("GET {S}/{SECRET}/versions/1/access"), 200, access);
    let outcome = run(&server, &format!("connection psk {CONNECTION_ID}")).await;
    assert_eq!((outcome.code, outcome.out.as_str()), (0, "bXlfc3VwZXJfc2VjcmV0X3Yx\n"));
    assert!(outcome.err.starts_with("warning: this is the pre-shared key of conn"), "{}", outcome.err);
    let outcome = run(&server, &format!("connection psk {CONNECTION_ID} --format raw")).await;
    assert_eq!(outcome.out, "my_super_secret_v1");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    std::fs::write(&file, "something longer than the key that was here before").expect("a file");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("rights");
    let outcome = run(&server, &format!("connection psk {CONNECTION_ID} -O {}", file.display())).await;
    assert_eq!((outcome.code, outcome.out.as_str()), (0, ""), "{}", outcome.err);
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "bXlfc3VwZXJfc2VjcmV0X3Yx\n");
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn the_devices_file_is_printed_octet_for_octet() {
    let server = Server::start().await;
    server.on(&format!("GET {P}/connections/{CONNECTION_ID}"), 200, CONNECTION);
    let path = format!("{X}/connections/{CONNECTION_ID}/device-configuration");
    server.on(&format!("GET {path}"), 200, "# ü\nconnections {\n}");
    let outcome = run(&server, &format!("connection device-configuration {CONNECTION_ID}")).await;
    assert_eq!(outcome.out, "# ü\nconnections {\n}");
    assert_eq!(server.lines().last(), Some(&format!("GET {path}?format=strongswan-bird")));
}

#[tokio::test]
async fn a_policy_is_attached_for_its_own_family() {
    let server = Server::start().await;
    server.on(&format!("GET {P}/connections/{CONNECTION_ID}"), 200, CONNECTION);
    let policies = format!(
        r#"{{"routing_policies":[{}],"total_count":1}}"#,
        POLICY.replace("\"is_ipv6\":false", "\"is_ipv6\":true")
    );
    server.on(&format!("GET {P}/routing-policies"), 200, policies);
    server.on(&format!("POST {P}/connections/{CONNECTION_ID}/set-routing-policy"), 200, CONNECTION);
    let outcome = run(&server, &format!("connection set-policy {CONNECTION_ID} v4")).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let last = server.seen().pop().expect("a call");
    assert_eq!(last.body, json!({"routing_policy_v6": "7a1d8e2c-0000-4000-8000-000000000001"}));
}

#[tokio::test]
async fn a_secret_gets_its_first_version_from_a_file() {
    let server = Server::start().await;
    let secret = format!(r#"{{"id":"{SECRET}","name":"own","status":"ready","version_count":1}}"#);
    server.on(&format!("POST {S}"), 200, secret.clone());
    server.on(&format!("POST {S}/{SECRET}/versions"), 200, r#"{"revision":1}"#);
    server.on(&format!("GET {S}/{SECRET}"), 200, secret);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    std::fs::write(&file, "my_super_secret_v1\n").expect("a file");
    let outcome = run(&server, &format!("secret create own --data-file {}", file.display())).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let seen = server.seen();
    let version = seen.iter().find(|seen| seen.line.ends_with("/versions")).expect("a version");
    assert_eq!(version.body, json!({"data": "bXlfc3VwZXJfc2VjcmV0X3Yx", "disable_previous": false}));
    // What cannot be read leaves nothing behind.
    let outcome = run(&server, &format!("secret create own --data-file {}/none", folder.path().display())).await;
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.starts_with("error: cannot read "), "{}", outcome.err);
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_state_shows_tunnels_and_sessions() {
    let server = Server::start().await;
    server.on(&format!("GET {P}/connections/{CONNECTION_ID}"), 200, CONNECTION);
    let state = r#"{"applied_revision":4,"desired_revision":5,"lifecycle":"present","observed_at":"T","status":"down",
        "reason":{"code":"tcp_refused","message":"refused","remedy":"start BGP","turn":"device","since":"T","evidence":{"family":"ipv4"}},
        "tunnels":[{"family":"ipv4","status":"up","since":"T","local":"192.0.2.1","peer":"51.15.224.226","ike":{"suite":"a-b"},"child":{"suite":"c"},
            "mtu":1438,"bytes":{"in":1536,"out":10},"packets":{"in":1,"out":1},"drops":{"auth":0,"replay":2},"reason":null}],
        "bgp_sessions":[{"family":"ipv4","status":"down","since":"T","received":0,"accepted":0,"announced":0,"flaps":1,"updates":{"in":7,"out":2},
            "reason":{"code":"tcp_refused","message":"refused"}}]}"#;
    server.on(&format!("GET {X}/connections/{CONNECTION_ID}/state"), 200, state);
    let outcome = run(&server, &format!("connection state {CONNECTION_ID}")).await;
    assert_eq!(
        outcome.out,
        "\
name              conn
id                0ae4cf90-0405-4318-a169-e45b3bef7676
status            down
reason            tcp_refused: refused
since             T
turn              device
remedy            start BGP
evidence: family  ipv4
revision          5 (the node has 4)
observed          T

TUNNEL  STATUS  SINCE  LOCAL      PEER           IKE  ESP  MTU   IN       OUT   DROPS     REASON
ipv4    up      T      192.0.2.1  51.15.224.226  a-b  c    1438  1.5 KiB  10 B  replay 2  -

BGP   STATUS  SINCE  RECEIVED  ACCEPTED  ANNOUNCED  UPDATES      FLAPS  REASON
ipv4  down    T      0         0         0          7 in, 2 out  1      tcp_refused: refused
"
    );
}

#[tokio::test]
async fn a_packets_way_is_shown_step_by_step() {
    const VPC: &str = "0d5c5a5e-3f0c-4a53-8d39-0e8a1c7d2a11";
    let server = Server::start().await;
    let answer = json!({
        "verdict": "dropped", "more_candidates": 0, "return_path": "172.16.0.0/24, Private Network n",
        "reason": {"code": "acl_denied", "message": "a network ACL of the VPC drops the packet", "remedy": "change the rule"},
        "steps": [
            {"at": "source", "passes": true, "connection_id": null, "detail": "172.16.0.5 is in Private Network n"},
            {"at": "acl", "passes": false, "connection_id": null, "detail": "rule 2 of the IPv4 list"},
        ],
        "candidates": [{
            "taken": true, "prefix": "10.20.0.0/24", "origin": "learned", "connection_id": CONNECTION_ID, "decision": "installed",
            "detail": null, "reason": null,
        }, {
            "taken": false, "prefix": "10.20.0.5/32", "origin": "learned", "connection_id": "c2", "decision": "missing",
            "detail": null, "reason": {"code": "dpd_timeout", "message": "the peer stopped answering"},
        }],
        "caveats": [{
            "code": "config_pending", "message": "a change is being applied",
            "evidence": {"of": "connection c2", "applied_revision": "3", "desired_revision": "4"},
        }, {
            "code": "node_unreachable", "message": "the gateway's node cannot be reached", "evidence": {"of": "VPN gateway g"},
        }],
    });
    server.on(&format!("GET {X}/route-explanation"), 200, answer.to_string());
    let command = "--source 172.16.0.5 --destination 10.20.0.5 --protocol tcp --port 443";
    let outcome = run(&server, &format!("vpc explain-route {VPC} {command}")).await;
    assert_eq!(
        outcome.out,
        "\
dropped
reason: acl_denied: a network ACL of the VPC drops the packet
remedy: change the rule

AT      PASSES  THROUGH  WHAT
source  yes     -        172.16.0.5 is in Private Network n
acl     no      -        rule 2 of the IPv4 list

TAKEN  PREFIX        FROM     THROUGH                               DECISION   WHY
*      10.20.0.0/24  learned  0ae4cf90-0405-4318-a169-e45b3bef7676  installed  -
-      10.20.0.5/32  learned  c2                                    missing    dpd_timeout: the peer stopped answering

answers go by 172.16.0.0/24, Private Network n

but connection c2: config_pending: a change is being applied (revision 4 is not in force, 3 is)

but VPN gateway g: node_unreachable: the gateway's node cannot be reached
"
    );
    let asked =
        format!("GET {X}/route-explanation?vpc_id={VPC}&source=172.16.0.5&destination=10.20.0.5&protocol=tcp&port=443");
    assert_eq!(server.lines(), [asked]);
}
