//! Clocks that are set by an hour either way while everything runs, the controller's and a node's: no node is lost, no packet, no deadline
//! passes early, and the doctor names the clock.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Fleet, NewConnection, Scene, SetClock, Site, Stream, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: i64 = 3600;
/// The node that carries the scene's gateway.
const NODE: &str = "node";

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What the doctor says of the node, as the command line prints it.
async fn examine(scene: &Scene) -> Result<Value> {
    let service = &scene.lab.service;
    let (program, data) = (service.program().display(), service.data().display());
    let script = format!(". {data}/operator.env; {program} doctor node {NODE} -o json || test $? = 1");
    let shown = service.machine().shell(&script).await?;
    serde_json::from_str(&shown).with_context(|| shown)
}

/// Waits until the doctor names the clock with these words, or nothing if there are none; whatever it says, the node is up.
async fn named(scene: &Scene, words: Option<&str>) -> Result<()> {
    eventually(&format!("the doctor on the clock: {words:?}"), PATIENCE, || async {
        let diagnosis = examine(scene).await?;
        ensure!(text(&diagnosis, "/state") == "up", "{diagnosis:#}");
        let failed = words.map_or("", |_| "clock");
        ensure!(text(&diagnosis, "/failed") == failed, "{diagnosis:#}");
        let checks = diagnosis.get("checks").and_then(Value::as_array).context("no checks")?;
        let found = checks.iter().find(|found| text(found, "/name") == "clock").context("no such check")?;
        ensure!(text(found, "/evidence").contains(words.unwrap_or_default()), "{found:#}");
        Ok(())
    })
    .await
}

/// A change reaches the node at once, and what was ordered goes again: both have deadlines.
async fn changes_pass(scene: &Scene) -> Result<()> {
    let customer = scene.api.create_customer(65009, "203.0.113.77", "2001:db8:0:2::77").await?;
    let site = Site { customer: customer.clone(), ..scene.site.clone() };
    let made = scene.api.create_connection(&site, &NewConnection::default()).await?;
    let id = text(&made, "/id");
    scene.api.wait_status("connections", id, "ready", PATIENCE).await?;
    scene.api.delete("s2s-vpn/v1alpha1", &format!("connections/{id}")).await?;
    scene.api.delete("s2s-vpn/v1alpha1", &format!("customer-gateways/{customer}")).await?;
    scene.api.wait_status("vpn-gateways", &scene.site.gateway, "active", PATIENCE).await.map(drop)
}

/// What the history of an object says of its status.
async fn told(scene: &Scene, path: &str) -> Result<Vec<String>> {
    let answer = scene.api.get(&format!("{}/{path}/events", scene.api.prefix("causeway/v1"))).await?;
    let document: Value = serde_json::from_str(&answer.text).with_context(|| answer.text.clone())?;
    let events = document.get("events").and_then(Value::as_array).context("no events")?;
    let of_status = events.iter().filter(|event| text(event, "/kind") == "status");
    Ok(of_status.map(|event| text(event, "/subject").to_owned()).collect())
}

async fn set_both(scene: &mut Scene, fleet: &mut Fleet) -> Result<()> {
    let folder = scene.lab.folder().to_owned();
    let (control, node) = (SetClock::new(&folder, "control")?, SetClock::new(&folder, NODE)?);
    scene.lab.service.kill().await;
    scene.lab.service.set_environment(control.environment());
    scene.api = scene.lab.start_service().await?;
    fleet.kill(NODE).await?;
    fleet.run_by(NODE, &node)?;
    let connection = scene.connect(&NewConnection::default(), |text| text, None).await?;
    scene.lab.device.load().await?;
    scene.active(&connection).await?;
    named(scene, None).await?;
    let streams = scene.lab.streams(PATIENCE).await?;
    let marks: Vec<u64> = streams.iter().map(Stream::mark).collect();
    let path = format!("connections/{connection}");
    let gateway = format!("vpn-gateways/{}", scene.site.gateway);
    let before = (told(scene, &path).await?, told(scene, &gateway).await?.len());

    for (clock, seconds, words) in [
        (&control, HOUR, "behind"),
        (&control, -HOUR, "ahead of"),
        (&control, 0, ""),
        (&node, HOUR, "ahead of"),
        (&node, -HOUR, "behind"),
    ] {
        clock.set(seconds)?;
        named(scene, Some(words).filter(|words| !words.is_empty())).await?;
        changes_pass(scene).await.with_context(|| format!("set to {seconds} s: {words}"))?;
    }
    // A channel that has to be made anew is, although the node finds the controller's certificate made an hour from now.
    scene.lab.service.kill().await;
    scene.api = scene.lab.start_service().await?;
    named(scene, Some("behind")).await?;
    changes_pass(scene).await?;
    node.set(0)?;
    named(scene, None).await?;

    for (stream, mark) in streams.iter().zip(marks) {
        stream.nothing_lost(mark, PATIENCE).await?;
    }
    drop(streams);
    ensure!(told(scene, &path).await? == before.0, "the connection: {:?}", told(scene, &path).await?);
    let after = told(scene, &gateway).await?;
    let new = after.len().saturating_sub(before.1);
    // A gateway is configuring while a connection comes or goes; it is nothing else.
    let only = |status: &String| ["active", "configuring"].contains(&status.as_str());
    ensure!(new > 0 && after.iter().take(new).all(only), "the gateway: {after:?}");
    ensure!(!fleet.log_tail(NODE).contains("violation"), "the node broke the rules of its channel");
    for name in [NODE, "spare"] {
        let node = fleet.node(&scene.lab.service, name).await?;
        let history = node.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
        let bad = |event: &Value| ["down", "keepalive_fail"].contains(&text(event, "/subject"));
        ensure!(!history.iter().any(bad), "{name}: {history:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan, BIRD and libfaketime; `make test` runs it"]
async fn a_clock_that_is_set_costs_no_node_no_packet_and_no_deadline() -> Result<()> {
    let (mut scene, mut fleet) = Scene::build_fleet("clocks").await?;
    let outcome = set_both(&mut scene, &mut fleet).await;
    let outcome = outcome.with_context(|| format!("the end of the node's log:\n{}", fleet.log_tail(NODE)));
    scene.finish(outcome).await
}
