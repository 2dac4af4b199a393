//! What a real node refuses, as people read it in the API: with the item and the machine's own words, while the last good configuration
//! forwards, and gone by itself once the machine takes it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Fleet, NewConnection, Scene, Site, eventually, summary};
use causeway_model::reason::ReasonCode;
use hyper::Method;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(180);
/// The node that carries the scene's gateway.
const NODE: &str = "node";

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Waits for a status with its reason, or with none, and returns the reason's evidence.
async fn reads(
    scene: &Scene,
    (collection, id): (&str, &str),
    status: &str,
    reason: Option<ReasonCode>,
) -> Result<Value> {
    let code = reason.map_or("", ReasonCode::as_str);
    eventually(&format!("{collection}: {status} ({code})"), PATIENCE, || async {
        let state = scene.api.state(collection, id).await?;
        ensure!(text(&state, "/status") == status && text(&state, "/reason/code") == code, "{}", summary(&state));
        Ok(state.pointer("/reason/evidence").cloned().unwrap_or_default())
    })
    .await
}

/// Whether the machine's words and what is in force meanwhile are in the evidence.
fn has(evidence: &Value, item: &str, error: &str, in_force: &str) -> Result<()> {
    ensure!(text(evidence, "/item") == item && text(evidence, "/error").contains(error), "{evidence:#}");
    ensure!(text(evidence, "/in_force") == in_force, "{evidence:#}");
    Ok(())
}

/// A gateway that is to get an address which another interface of its node's machine has.
async fn address_taken(scene: &Scene, fleet: &Fleet, refused: ReasonCode) -> Result<()> {
    let book = json!({"source": {"zonal": "fr-par-1"}, "is_ipv6": false});
    let booked = scene.api.create("ipam/v1", "ips", &book).await?;
    let address = text(&booked, "/address").split('/').next().unwrap_or_default().to_owned();
    // Whichever of them will carry it.
    for node in [NODE, "spare"] {
        let take = "ip link add elsewhere type veth peer name elsewhere-far; ip addr add ADDRESS/32 dev elsewhere";
        fleet.machine(node)?.shell(&take.replace("ADDRESS", &address)).await?;
    }
    let (_, network, _) = scene.api.create_network(Some("10.97.0.0/24")).await?;
    let body = json!({
        "name": "lab", "tags": [], "gateway_type": "VGW-S", "private_network_id": network,
        "public_config": {"ipam_ipv4_id": text(&booked, "/id")},
    });
    let gateway = scene.api.create("s2s-vpn/v1alpha1", "vpn-gateways", &body).await?;
    let gateway = ("vpn-gateways", text(&gateway, "/id"));
    let evidence = reads(scene, gateway, "failed", Some(refused)).await?;
    ensure!(text(&evidence, "/item") == format!("underlay address {address}"), "{evidence:#}");
    ensure!(text(&evidence, "/error").contains("elsewhere"), "{evidence:#}");
    reads(scene, ("vpn-gateways", &scene.site.gateway), "active", None).await?;

    for node in [NODE, "spare"] {
        fleet.machine(node)?.shell("ip link del elsewhere").await?;
    }
    reads(scene, gateway, "active", None).await.map(drop)
}

/// A node whose machine takes no packet rules any more: a connection that runs and its gateway go on as they are, and a new one never was.
async fn rules_refused(scene: &mut Scene, fleet: &Fleet, refused: ReasonCode) -> Result<()> {
    let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
    scene.lab.device.load().await?;
    scene.active(&id).await?;
    scene.pings().await?;
    let customer = scene.api.create_customer(65009, "203.0.113.77", "2001:db8:0:2::77").await?;
    let gateway = scene.site.gateway.clone();

    fleet.machine(NODE)?.shell("mount --bind /bin/false /usr/sbin/nft").await?;
    let path = format!("{}/routing-policies/{}", scene.api.prefix("s2s-vpn/v1alpha1"), scene.site.policies[0]);
    let more = json!({"prefix_filter_in": [causeway_lab::addresses::SITE_PREFIXES[0], "10.21.0.0/24"]});
    scene.api.must(Method::PATCH, &path, Some(&more)).await?;
    let (item, good) = ("packet filter of the gateway", "the last good configuration");
    has(&reads(scene, ("connections", &id), "active", Some(refused)).await?, item, "nft", good)?;
    let other = Site { customer, ..scene.site.clone() };
    let new = scene.api.create_connection(&other, &NewConnection::default()).await?;
    let new = text(&new, "/id");
    has(&reads(scene, ("connections", new), "down", Some(refused)).await?, item, "nft", "nothing")?;
    has(&reads(scene, ("vpn-gateways", &gateway), "active", Some(refused)).await?, item, "nft", good)?;
    scene.pings().await?;

    fleet.machine(NODE)?.shell("umount /usr/sbin/nft").await?;
    reads(scene, ("vpn-gateways", &gateway), "active", None).await?;
    reads(scene, ("connections", &id), "active", None).await?;
    reads(scene, ("connections", new), "ready", Some(ReasonCode::AwaitingDevice)).await?;
    scene.pings().await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn what_a_node_refuses_is_read_with_its_item_while_the_last_good_one_forwards() -> Result<()> {
    let (mut scene, fleet) = Scene::build_fleet("refuse").await?;
    let outcome: Result<()> = async {
        address_taken(&scene, &fleet, ReasonCode::NodeRefused).await?;
        rules_refused(&mut scene, &fleet, ReasonCode::ConfigRefused).await
    }
    .await
    .with_context(|| format!("the end of the node's log:\n{}", fleet.log_tail(NODE)));
    scene.finish(outcome).await
}
