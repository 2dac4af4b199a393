//! A controller and two gateway nodes as processes of three machines: a VPN through the second node, which goes on without the controller.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{NewConnection, Scene, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_node_forwards_without_its_controller_and_is_judged_rightly_after_it() -> Result<()> {
    let (mut scene, mut fleet) = Scene::build_fleet("fleet").await?;
    let outcome: Result<()> = async {
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        let node = fleet.node(&scene.lab.service, "node").await?;
        ensure!(text(&node, "/gateways/0") == scene.site.gateway, "the second node carries the gateway: {node}");

        scene.lab.service.kill().await;
        scene.pings().await.context("without the controller")?;
        let name = format!("causeway-{}-ipv4", id.split('-').next().unwrap_or(&id));
        scene.lab.device.swanctl(&["--rekey", "--child", &name]).await?;
        scene.pings().await.context("after a rekey without the controller")?;
        fleet.kill("node").await?;
        fleet.run("node")?;
        scene.pings().await.context("after a kill and a start of the node, without the controller")?;

        scene.api = scene.lab.start_service().await?;
        let service = &scene.lab.service;
        eventually("the node is heard, and was never taken for lost", PATIENCE, || async {
            let node = fleet.node(service, "node").await?;
            let silent = node.get("silent").and_then(Value::as_bool).unwrap_or(true);
            ensure!(!silent && text(&node, "/state") == "up", "{node}");
            Ok(())
        })
        .await?;
        let node = fleet.node(service, "node").await?;
        let history = node.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
        ensure!(!history.iter().any(|event| text(event, "/subject") == "down"), "{history:?}");
        scene.active(&id).await.context("the connection, by a controller that has started anew")?;
        scene.api.wait_status("vpn-gateways", &scene.site.gateway, "active", PATIENCE).await?;

        // A change made now reaches the node, and a lost node is told from a stopped controller.
        fleet.kill("spare").await?;
        fleet.wait_state(service, "spare", "down").await?;
        let spare = fleet.node(service, "spare").await?;
        ensure!(text(&spare, "/reason/code") == "node_silent", "{spare}");
        fleet.run("spare")?;
        fleet.wait_state(service, "spare", "up").await?;
        service.command_line("node revoke spare").await?;
        fleet.ended("spare").await?;
        ensure!(fleet.log_tail("spare").contains("revoked"), "{}", fleet.log_tail("spare"));
        scene.pings().await
    }
    .await
    .with_context(|| format!("the end of the node's log:\n{}", fleet.log_tail("node")));
    scene.finish(outcome).await
}
