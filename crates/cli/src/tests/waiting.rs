//! `--wait`.

use super::run;
use super::server::{CONNECTION, CONNECTION_ID, GATEWAY, GATEWAY_ID, Server};

const P: &str = "/s2s-vpn/v1alpha1/regions/fr-par";
const X: &str = "/causeway/v1/regions/fr-par";

fn state(status: &str, reason: &str, desired: u64, applied: u64) -> String {
    let reason = if reason.is_empty() {
        "null".to_owned()
    } else {
        format!(r#"{{"code":"{reason}","message":"the message","remedy":"do this","evidence":{{}}}}"#)
    };
    format!(r#"{{"applied_revision":{applied},"desired_revision":{desired},"reason":{reason},"status":"{status}"}}"#)
}

/// Progress without its times.
fn steps(err: &str) -> Vec<&str> {
    err.lines().filter_map(|line| line.split_once(" s  ")).map(|(_, step)| step).collect()
}

#[tokio::test]
async fn creation_waits_until_active_and_shows_the_way() {
    let server = Server::start().await;
    let path = format!("GET {X}/vpn-gateways/{GATEWAY_ID}/state");
    server.on(&format!("POST {P}/vpn-gateways"), 200, GATEWAY);
    server.on(&path, 200, state("provisioning", "", 1, 0));
    server.on(&path, 200, state("provisioning", "", 1, 0));
    server.on(&path, 200, state("active", "", 1, 1));
    server.on(&format!("GET {P}/vpn-gateways/{GATEWAY_ID}"), 200, GATEWAY.replace("provisioning", "active"));
    let line = "gateway create gw --type VGW-S --private-network 88eb1423-3671-41c0-b9a8-b39c706de059 --wait";
    let outcome = run(&server, line).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(steps(&outcome.err), ["provisioning", "active"]);
    assert!(outcome.out.contains("\nstatus                      active\n"), "{}", outcome.out);
    let created = server.seen().into_iter().next().expect("a call");
    assert_eq!(
        created.body,
        serde_json::json!({
            "name": "gw", "tags": [], "gateway_type": "VGW-S", "project_id": super::server::PROJECT,
            "private_network_id": "88eb1423-3671-41c0-b9a8-b39c706de059", "zone": "fr-par-1",
        })
    );
    assert_eq!(created.token, "11111111-1111-4111-8111-111111111111");
}

#[tokio::test]
async fn what_cannot_come_any_more_ends_the_wait_with_the_reason_and_the_remedy() {
    let server = Server::start().await;
    server.on(&format!("GET {P}/vpn-gateways/{GATEWAY_ID}"), 200, GATEWAY);
    server.on(&format!("GET {X}/vpn-gateways/{GATEWAY_ID}/state"), 200, state("failed", "no_node", 1, 0));
    let outcome = run(&server, &format!("gateway state {GATEWAY_ID} --wait=60")).await;
    assert_eq!((outcome.code, outcome.out.as_str()), (1, ""));
    let told = outcome.err.split_once("error: ").expect("an error").1;
    assert_eq!(
        told,
        format!(
            "VPN gateway gw ({GATEWAY_ID}) is not active after 0 s: failed (no_node: the message)\nhint: do this\n"
        )
    );
}

#[tokio::test]
async fn a_wait_ends_when_its_time_is_over() {
    let server = Server::start().await;
    server.on(&format!("GET {P}/connections/{CONNECTION_ID}"), 200, CONNECTION);
    server.on(&format!("GET {X}/connections/{CONNECTION_ID}/state"), 200, state("ready", "peer_silent", 1, 1));
    let outcome = run(&server, &format!("connection state {CONNECTION_ID} --wait=1")).await;
    assert_eq!(outcome.code, 1);
    assert_eq!(steps(&outcome.err).first(), Some(&"ready (peer_silent: the message)"));
    assert!(
        outcome.err.contains("is not active after 1 s: ready (peer_silent: the message)\nhint: do this\n"),
        "{}",
        outcome.err
    );
}

#[tokio::test]
async fn a_change_is_awaited_until_the_node_has_it() {
    let server = Server::start().await;
    let path = format!("GET {X}/connections/{CONNECTION_ID}/state");
    server.on(&format!("GET {P}/connections/{CONNECTION_ID}"), 200, CONNECTION);
    server.on(&format!("POST {P}/connections/{CONNECTION_ID}/enable-route-propagation"), 200, CONNECTION);
    server.on(&path, 200, state("active", "config_pending", 7, 6));
    server.on(&path, 200, state("active", "", 7, 6));
    server.on(&path, 200, state("active", "", 7, 7));
    let outcome = run(&server, &format!("connection enable-route-propagation {CONNECTION_ID} --wait")).await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.out, format!("enabled route propagation of conn ({CONNECTION_ID})\n"));
    let looks = server.lines().iter().filter(|line| line.ends_with("/state")).count();
    assert_eq!(looks, 3);
}

#[tokio::test]
async fn a_deletion_waits_for_what_is_in_its_way_and_then_for_404() {
    let server = Server::start().await;
    let path = format!("{P}/vpn-gateways/{GATEWAY_ID}");
    server.on(&format!("GET {path}"), 200, GATEWAY);
    server.on(&format!("GET {path}"), 200, GATEWAY.replace("provisioning", "deprovisioning"));
    server.on(
        &format!("GET {path}"),
        404,
        r#"{"message":"resource is not found","resource":"vpn_gateway","resource_id":"x","type":"not_found"}"#,
    );
    let busy = r#"{"current_state":"configuring","message":"resource is in a transient state","resource":"vpn_gateway","resource_id":"x","type":"transient_state"}"#;
    server.on(&format!("DELETE {path}"), 409, busy);
    server.on(&format!("DELETE {path}"), 200, GATEWAY.replace("provisioning", "deprovisioning"));
    let outcome = run(&server, &format!("gateway delete {GATEWAY_ID} --wait")).await;
    assert_eq!((outcome.code, outcome.out), (0, format!("deleted VPN gateway gw ({GATEWAY_ID})\n")), "{}", outcome.err);
    assert_eq!(
        steps(&outcome.err),
        ["resource is in a transient state: vpn_gateway x is configuring", "deprovisioning"]
    );
    // Without --wait the same refusal is an error.
    let server = Server::start().await;
    server.on(&format!("GET {path}"), 200, GATEWAY);
    server.on(&format!("DELETE {path}"), 409, busy);
    let outcome = run(&server, &format!("gateway delete {GATEWAY_ID}")).await;
    assert_eq!((outcome.code, outcome.out.as_str()), (1, ""));
}
