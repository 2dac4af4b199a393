//! Two gateway nodes of a zone and the tunnel between them, through which one vouches for the other: on the wire there is nothing else between them,
//! and who cannot move packets through it is nobody's witness.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{CONTROL, Fleet, Lab, Scene, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
/// The node that is lost, and the one that vouches for it.
const LOST: &str = "spare";
const WITNESS: &str = "node";

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Waits until a node says that its tunnel to the other one is up.
async fn tunnel_is_up(lab: &Lab, fleet: &Fleet, name: &str) -> Result<()> {
    eventually(&format!("the tunnel of {name} is up"), PATIENCE, || async {
        let node = fleet.node(&lab.service, name).await?;
        let tunnels = node.pointer("/tunnels").and_then(Value::as_array).cloned().unwrap_or_default();
        let up = tunnels.iter().filter(|tunnel| tunnel.get("up") == Some(&Value::Bool(true)));
        ensure!(tunnels.len() == 1 && up.count() == 1, "{tunnels:?}");
        Ok(())
    })
    .await
}

async fn judged(lab: &Lab, fleet: &Fleet, state: &str, reason: &str) -> Result<()> {
    eventually(&format!("{LOST} is {state}"), PATIENCE, || async {
        let node = fleet.node(&lab.service, LOST).await?;
        ensure!(text(&node, "/state") == state && text(&node, "/reason/code") == reason, "{node}");
        Ok(())
    })
    .await
}

async fn vouch(lab: &Lab, fleet: &Fleet) -> Result<()> {
    for name in [LOST, WITNESS] {
        tunnel_is_up(lab, fleet, name).await?;
    }
    let [outside, _] = fleet.watch(lab, LOST).await?;
    lab.cut_between(&fleet.own_address(LOST), CONTROL).await?;
    judged(lab, fleet, "keepalive_fail", "node_keepalive_fail").await?;
    // What the two said to each other meanwhile.
    let witness = fleet.own_address(WITNESS);
    let tunnel = outside.times(&format!("udp and src port 4431 and dst port 4431 and dst host {witness}")).await?;
    let other = format!("ip and dst host {witness} and not (udp and src port 4431 and dst port 4431)");
    let other = outside.times(&other).await?;
    ensure!(!tunnel.is_empty() && other.is_empty(), "{} packets of the tunnel, {} others", tunnel.len(), other.len());

    // Everything else of the node runs, and so does its kernel.
    let mut frozen = fleet.freeze(LOST, &["tun-to-udp", "udp-to-tun"]).await?;
    judged(lab, fleet, "down", "node_silent").await.context("with its packet threads frozen")?;
    ensure!(frozen.alive(), "the threads have gone on");
    frozen.kill().await;
    lab.heal().await?;
    fleet.wait_state(&lab.service, LOST, "up").await?;
    for name in [LOST, WITNESS] {
        tunnel_is_up(lab, fleet, name).await.context("with its packet threads running again")?;
    }
    let metrics = lab.service.command_line("doctor node spare").await?;
    ensure!(metrics.contains("1 of 1 tunnels to other nodes are up"), "{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root; `make test` runs it"]
async fn a_node_whose_packet_threads_stand_still_is_vouched_for_by_nobody() -> Result<()> {
    let mut lab = Lab::start(Some("esp"), &Scene::program()?).await?;
    let outcome: Result<()> = match lab.start_fleet(false).await {
        Ok((_, fleet)) => vouch(&lab, &fleet).await.with_context(|| {
            let log = |name| format!("the end of the log of {name}:\n{}", fleet.log_tail(name));
            format!("{}\n{}", log(LOST), log(WITNESS))
        }),
        Err(error) => Err(error),
    };
    lab.finish(outcome).await
}
