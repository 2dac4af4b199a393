//! A private link beside a VPN, from the order to its deletion on both sides: the scenario `interlink`. Every step of it fails if it does not
//! see what it expects; gaps are printed and judge nothing. And every status of a link, caused and read back with the official Python SDK.

mod sdk;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Edge, LinkOrder, Options, Scene, demo, eventually};
use hyper::Method;
use serde_json::{Value, json};

use crate::sdk::Sdk;

const PATIENCE: Duration = Duration::from_secs(120);
const LINKS: &str = "interlink/v1beta1";
const OPERATOR: &str = "/causeway/v1/operator";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_link_carries_beside_a_vpn() -> Result<()> {
    let options = Options {
        id: Some("linkci".to_owned()),
        scenario: "interlink".to_owned(),
        program: Some(Scene::program()?),
        ..Options::default()
    };
    demo(options).await
}

fn text(document: &Value, pointer: &str) -> Result<String> {
    let found = document.pointer(pointer).and_then(Value::as_str);
    Ok(found.with_context(|| format!("no {pointer} in {document}"))?.to_owned())
}

/// Changes a link, and waits until the node has it.
async fn change(scene: &Scene, link: &str, verb: &str, body: &Value) -> Result<()> {
    let path = format!("{}/links/{link}/{verb}", scene.api.prefix(LINKS));
    scene.api.must(Method::POST, &path, Some(body)).await?;
    eventually("the link is no longer configuring", PATIENCE, || async {
        let state = scene.api.state("links", link).await?;
        ensure!(text(&state, "/status")? != "configuring", "{state}");
        Ok(())
    })
    .await
}

/// Policies of both families for links, IPv4 first.
async fn policies(scene: &Scene) -> Result<Vec<Value>> {
    let mut made = Vec::new();
    for (subnet, prefix) in scene.site.subnets.iter().zip(causeway_lab::addresses::SITE_PREFIXES) {
        let body = json!({"name": "office", "tags": [], "is_ipv6": prefix.contains(':'),
            "prefix_filter_in": [prefix], "prefix_filter_out": [subnet]});
        let policy = scene.api.create(LINKS, "routing-policies", &body).await?;
        made.push(json!({"routing_policy_id": text(&policy, "/id")?}));
    }
    Ok(made)
}

/// Waits for the reason of a link's state.
async fn reason(scene: &Scene, link: &str, code: Option<&str>) -> Result<Value> {
    eventually(&format!("the reason {code:?}"), PATIENCE, || async {
        let state = scene.api.state("links", link).await?;
        ensure!(state.pointer("/reason/code").and_then(Value::as_str) == code, "{state}");
        Ok(state)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn every_status_of_a_link_is_caused_and_read() -> Result<()> {
    Scene::play("stslnk", async |scene| {
        let mut edge = scene.lab.add_edge().await?;
        let outcome = hosted(scene, &mut edge).await.with_context(|| edge.log_tail(15));
        edge.stop().await;
        let mut order = outcome?;
        ready(scene, &order).await?;
        expired(scene, &mut order).await
    })
    .await
}

async fn hosted(scene: &Scene, edge: &mut Edge) -> Result<LinkOrder> {
    let order = LinkOrder::place(&scene.api).await?;
    let id = order.id.clone();
    let sdk = Sdk::follow(scene, "link", &id)?;
    sdk.reads("requested").await?;
    ensure!(order.partner_does("accept").await? == "provisioning", "accepted");
    sdk.reads("provisioning").await?;
    // Everything is there but the partner's side, and the customer's router is configured.
    let (vpc, policies) = (json!({"vpc_id": scene.site.vpc}), policies(scene).await?);
    change(scene, &id, "attach-vpc", &vpc).await?;
    for policy in &policies {
        change(scene, &id, "attach-routing-policy", policy).await?;
    }
    change(scene, &id, "enable-route-propagation", &json!({})).await?;
    edge.start(&order.link).await?;
    edge.answers(&scene.lab.office, &scene.site.subnets).await?;
    scene.no_pings().await?;
    order.partner_does("provisioned").await?;
    sdk.reads("active").await?;
    scene.pings().await?;

    // Each of what traffic needs is left out in turn.
    for (off, on, body, code) in [
        ("disable-route-propagation", "enable-route-propagation", json!({}), "propagation_disabled"),
        ("detach-vpc", "attach-vpc", vpc, "no_vpc"),
    ] {
        change(scene, &id, off, &json!({})).await?;
        reason(scene, &id, Some(code)).await?;
        scene.no_pings().await?;
        change(scene, &id, on, &body).await?;
        scene.pings().await?;
    }
    for policy in &policies {
        change(scene, &id, "detach-routing-policy", policy).await?;
    }
    reason(scene, &id, Some("no_routing_policy")).await?;
    scene.no_pings().await?;
    for policy in &policies {
        change(scene, &id, "attach-routing-policy", policy).await?;
    }
    scene.pings().await?;
    reason(scene, &id, None).await?;

    sdk.reads("active").await?;
    edge.birdc("disable b_ipv6").await?;
    sdk.reads("limited_connectivity").await?;
    edge.birdc("enable b_ipv6").await?;
    sdk.reads("active").await?;
    edge.carrier(false, &order.link).await?;
    sdk.reads("all_down").await?;
    let down = scene.api.state("links", &id).await?;
    let remedy = text(&down, "/reason/remedy")?;
    ensure!(remedy.contains("ask the partner, An exchange (noc@example.net)"), "{remedy}");
    ensure!(remedy.contains("contact support"), "{remedy}");
    edge.carrier(true, &order.link).await?;
    sdk.reads("active").await?;
    scene.api.set_locked("links", &id, true).await?;
    sdk.reads("locked").await?;
    scene.api.set_locked("links", &id, false).await?;
    sdk.reads("active").await?;

    change(scene, &id, "disable-route-propagation", &json!({})).await?;
    scene.api.delete(LINKS, &format!("links/{id}")).await?;
    sdk.reads("deprovisioning").await?;
    ensure!(order.partner_does("deprovisioned").await? == "deleted", "the partner is done");
    sdk.reads("deleted").await?;
    sdk.stop().await;
    Ok(order)
}

/// A self-hosted link whose far end is as it came out of its box.
async fn ready(scene: &Scene, order: &LinkOrder) -> Result<()> {
    let pop = &order.offer[0];
    scene
        .lab
        .node
        .shell("ip link add if2 type veth peer name if2-far; ip link set if2 up; ip link set if2-far up")
        .await?;
    let [project, _] = [text(&order.link, "/project_id")?, text(&order.link, "/id")?];
    let connection = json!({"name": "cross-connect", "project_id": project, "pop_id": pop, "bandwidth_mbps": 100});
    let path = format!("{OPERATOR}/dedicated-connections");
    let connection = text(&scene.api.must(Method::POST, &path, Some(&connection)).await?, "/id")?;
    let port = json!({"name": "if2", "pop_id": pop, "connection_id": connection, "capacity_mbps": 100,
        "attachment": {"kind": "interface", "interface": "if2"}});
    scene.api.must(Method::POST, &format!("{OPERATOR}/ports"), Some(&port)).await?;
    let mut body =
        json!({"name": "own", "tags": [], "pop_id": pop, "bandwidth_mbps": 100, "connection_id": connection});
    for (key, policy) in ["routing_policy_v4_id", "routing_policy_v6_id"].into_iter().zip(policies(scene).await?) {
        body[key] = policy["routing_policy_id"].clone();
    }
    let link = text(&scene.api.create(LINKS, "links", &body).await?, "/id")?;
    let sdk = Sdk::follow(scene, "link", &link)?;
    sdk.reads("ready").await?;
    let state = scene.api.state("links", &link).await?;
    let layer = text(&state, "/reason/layer")?;
    ensure!(layer == "bgp", "the session's reason: {state}");
    scene.api.delete(LINKS, &format!("links/{link}")).await?;
    sdk.reads("deleted").await?;
    sdk.stop().await;
    Ok(())
}

/// The ten days, which the operator has made some seconds.
async fn expired(scene: &mut Scene, order: &mut LinkOrder) -> Result<()> {
    ensure!(scene.lab.service.terminate().await, "the service ends");
    scene.lab.service.set_answer_seconds(10);
    scene.api = scene.lab.start_service().await?;
    order.again(&scene.api).await?;
    let sdk = Sdk::follow(scene, "link", &order.id)?;
    sdk.reads("expired").await?;
    let state = scene.api.state("links", &order.id).await?;
    ensure!(text(&state, "/reason/code")? == "request_expired", "{state}");
    scene.api.delete(LINKS, &format!("links/{}", order.id)).await?;
    sdk.reads("404").await?;
    sdk.stop().await;
    Ok(())
}
