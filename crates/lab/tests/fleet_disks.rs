//! Full disks of a node and of the controller: what is in force goes on, what cannot be kept is refused or said, and all of it heals when there
//! is room.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Fleet, NewConnection, Scene, Site, eventually, summary};
use hyper::Method;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
/// The node that carries the scene's gateway.
const NODE: &str = "node";

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Waits for a node's state and the code of its reason; empty: none.
async fn node_is(scene: &Scene, fleet: &Fleet, name: &str, state: &str, reason: &str) -> Result<Value> {
    eventually(&format!("{name} is {state} ({reason})"), PATIENCE, || async {
        let node = fleet.node(&scene.lab.service, name).await?;
        ensure!(text(&node, "/state") == state && text(&node, "/reason/code") == reason, "{node}");
        Ok(node)
    })
    .await
}

async fn second_connection(scene: &Scene) -> Result<String> {
    let customer = scene.api.create_customer(65009, "203.0.113.77", "2001:db8:0:2::77").await?;
    let site = Site { customer, ..scene.site.clone() };
    let made = scene.api.create_connection(&site, &NewConnection::default()).await?;
    Ok(text(&made, "/id").to_owned())
}

/// The node's disk takes nothing while a connection comes, a gateway is ordered, and the node's process is killed.
async fn of_the_node(scene: &Scene, fleet: &mut Fleet, first: &str) -> Result<()> {
    let data = PathBuf::from(fleet.data(NODE));
    let machine = fleet.machine(NODE)?.clone();
    machine.fill_disk(&data).await?;
    let node = node_is(scene, fleet, NODE, "up", "disk_unwritable").await?;
    ensure!(text(&node, "/reason/evidence/error").contains("No space left"), "{node}");
    let service = &scene.lab.service;
    let list = service.command_line("node list").await?;
    ensure!(list.contains("disk_unwritable"), "{list}");
    let (program, kept) = (service.program().display(), service.data().display());
    let doctor = format!(". {kept}/operator.env; {program} doctor node {NODE} -o json || test $? = 1");
    let diagnosis: Value = serde_json::from_str(&service.machine().shell(&doctor).await?)?;
    ensure!(text(&diagnosis, "/failed") == "disk", "{diagnosis:#}");

    // What needs no room is applied, although it cannot be kept; what must be on disk first is refused.
    let second = second_connection(scene).await?;
    scene.api.wait_status("connections", &second, "ready", PATIENCE).await?;
    service.command_line("node cordon spare").await?;
    let (_, network, _) = scene.api.create_network(Some("10.96.0.0/24")).await?;
    let gateway = scene.api.create_gateway(&network).await?;
    let gateway = text(&gateway, "/id");
    eventually("the gateway is failed (node_refused)", PATIENCE, || async {
        let state = scene.api.state("vpn-gateways", gateway).await?;
        ensure!(text(&state, "/status") == "failed", "{}", summary(&state));
        ensure!(text(&state, "/reason/code") == "node_refused", "{}", summary(&state));
        ensure!(text(&state, "/reason/evidence/error").contains("No space left"), "{state:#}");
        Ok(())
    })
    .await?;
    node_is(scene, fleet, NODE, "config_fail", "config_refused").await?;
    scene.pings().await.context("through a node with a full disk")?;

    // A process that is killed starts on the full disk, and carries what it did.
    fleet.kill(NODE).await?;
    fleet.run(NODE)?;
    node_is(scene, fleet, NODE, "config_fail", "config_refused").await?;
    scene.active(first).await?;
    scene.pings().await.context("after a kill on a full disk")?;
    scene.api.wait_status("connections", &second, "ready", PATIENCE).await?;

    machine.free_disk(&data).await?;
    scene.api.wait_status("vpn-gateways", gateway, "active", PATIENCE).await?;
    node_is(scene, fleet, NODE, "up", "").await?;
    service.command_line("node uncordon spare").await?;
    scene.api.delete("s2s-vpn/v1alpha1", &format!("connections/{second}")).await?;
    scene.pings().await
}

/// The controller's disk takes nothing while a change is asked for, a tunnel goes, and a node is lost.
async fn of_the_controller(scene: &mut Scene, fleet: &mut Fleet, first: &str, data: &Path) -> Result<()> {
    let control = scene.lab.service.machine().clone();
    let newest = |node: &Value| node.pointer("/history/0/sequence").and_then(Value::as_u64).unwrap_or(0);
    let mark = newest(&fleet.node(&scene.lab.service, NODE).await?);
    control.fill_disk(data).await?;
    let path = format!("{}/vpcs", scene.api.prefix("vpc/v2"));
    let ask = || async { scene.api.call(Method::POST, &path, Some(&json!({"name": "one more", "tags": []}))).await };
    eventually("a change is refused, and says why", PATIENCE, || async {
        let answer = ask().await?;
        ensure!(answer.status == 503 && answer.text.contains("disk"), "{} {}", answer.status, answer.text);
        Ok(())
    })
    .await?;
    ensure!(scene.api.get("/readyz").await?.status == 503, "it is not ready for changes");
    scene.active(first).await.context("reading goes on")?;
    scene.pings().await.context("without room at the controller")?;

    // A channel that breaks off is made anew, although that cannot be written down.
    let machine = fleet.machine(NODE)?.clone();
    let reset = "nft add table inet cut; nft 'add chain inet cut out { type filter hook output priority 0; }'; \
                 nft 'add rule inet cut out tcp dport 443 reject with tcp reset'";
    let said = |words: &str| fleet.log(NODE).matches(words).count();
    let before = said("no channel");
    machine.shell(reset).await?;
    eventually("the channel breaks off", PATIENCE, || async {
        ensure!(said("no channel") > before, "{}", fleet.log_tail(NODE));
        Ok(())
    })
    .await?;
    let before = said("connected to the controller");
    machine.shell("nft delete table inet cut").await?;
    eventually("the node comes back", PATIENCE, || async {
        let log = scene.lab.service.log_tail(200);
        ensure!(
            said("connected to the controller") > before && log.contains("a node came back, which could not be stored"),
            "{log}"
        );
        Ok(())
    })
    .await?;

    // What happens now cannot be written down; once there is room it is, without anything else happening.
    fleet.kill("spare").await?;
    scene.lab.device.kill().await;
    eventually("the node finds that the device is gone", PATIENCE, || async {
        scene.no_pings().await?;
        let log = scene.lab.service.log_tail(200);
        ensure!(log.contains("report could not be stored") && log.contains("deadlines could not be"), "{log}");
        Ok(())
    })
    .await?;
    let state = scene.api.state("connections", first).await?;
    ensure!(text(&state, "/status") == "active", "as last stored: {}", summary(&state));
    control.free_disk(data).await?;
    node_is(scene, fleet, "spare", "down", "node_silent").await?;
    scene.api.wait_status("connections", first, "down", PATIENCE).await?;
    eventually("the same change is taken", PATIENCE, || async {
        let answer = ask().await?;
        ensure!(answer.status < 300, "{} {}", answer.status, answer.text);
        Ok(())
    })
    .await?;
    fleet.run("spare")?;
    node_is(scene, fleet, "spare", "up", "").await?;
    let node = fleet.node(&scene.lab.service, NODE).await?;
    let history = node.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
    let lost = |event: &Value| {
        let since = event.get("sequence").and_then(Value::as_u64).is_none_or(|sequence| sequence > mark);
        since && ["down", "keepalive_fail"].contains(&text(event, "/subject"))
    };
    ensure!(!history.iter().any(lost), "a node that was heard all the time: {history:?}");
    scene.lab.device.start_daemons().await?;
    scene.lab.device.load().await?;
    scene.active(first).await?;
    scene.pings().await
}

/// A controller whose disk takes nothing does not start and says what to do, however it ended; the gateway forwards meanwhile.
async fn starts_of_the_controller(scene: &mut Scene, fleet: &Fleet, first: &str, data: &Path) -> Result<()> {
    let control = scene.lab.service.machine().clone();
    for in_order in [true, false] {
        if in_order {
            ensure!(scene.lab.service.terminate().await, "it ends in order");
            control.fill_disk(data).await?;
        } else {
            control.fill_disk(data).await?;
            scene.lab.service.kill().await;
        }
        match scene.lab.service.start_until(503).await {
            Err(refused) => {
                let told = format!("{refused:#}");
                ensure!(told.contains("causeway.db cannot be written: make room on its disk"), "{told}");
            }
            // The log that a kill leaves behind may have room for what a start writes.
            Ok(_) => ensure!(!in_order, "it started without room for its database"),
        }
        scene.pings().await.context("while the controller has no room")?;
        control.free_disk(data).await?;
        scene.lab.service.kill().await;
        scene.api = scene.lab.start_service().await?;
        node_is(scene, fleet, NODE, "up", "").await?;
        node_is(scene, fleet, "spare", "up", "").await?;
        scene.active(first).await?;
        scene.pings().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_full_disk_stops_what_must_be_kept_and_nothing_else() -> Result<()> {
    let (mut scene, mut fleet) = Scene::build_fleet("disks").await?;
    let outcome: Result<()> = async {
        let data = scene.lab.service.data().to_owned();
        // A directory on another disk is another machine: the controller that has heard the node on the first one takes it within seconds.
        fleet.kill(NODE).await?;
        fleet.machine(NODE)?.give_disk(Path::new(&fleet.data(NODE))).await?;
        fleet.run(NODE)?;
        eventually("the node is taken where it is now", PATIENCE, || async {
            let node = fleet.node(&scene.lab.service, NODE).await?;
            let history = node.get("history").and_then(Value::as_array).context("no history")?;
            let began_anew = history.iter().any(|event| text(event, "/subject") == "waiting");
            ensure!(began_anew && text(&node, "/state") == "up", "{node}");
            Ok(())
        })
        .await?;
        scene.lab.service.kill().await;
        scene.lab.service.machine().give_disk(&data).await?;
        scene.api = scene.lab.start_service().await?;
        let first = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&first).await?;
        scene.pings().await?;
        of_the_node(&scene, &mut fleet, &first).await.context("the node's disk")?;
        of_the_controller(&mut scene, &mut fleet, &first, &data).await.context("the controller's disk")?;
        starts_of_the_controller(&mut scene, &fleet, &first, &data)
            .await
            .context("starts on the controller's full disk")
    }
    .await;
    let outcome = outcome.with_context(|| format!("the end of the node's log:\n{}", fleet.log_tail(NODE)));
    scene.finish(outcome).await
}
