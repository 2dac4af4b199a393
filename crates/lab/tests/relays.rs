//! Three gateway nodes of a zone with failover that do not reach each other: the controller passes their questions and their promises on, and
//! who does not reach the controller either stops by itself before another one begins.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{CONTROL, Play, eventually};

const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until these nodes, and no others, say that they forward by promises that the controller passes on: for the length of a lease.
async fn relayed(play: &Play, names: &[&str]) -> Result<()> {
    eventually(&format!("{names:?} forward by promises that are passed on"), PATIENCE, || async {
        for name in play.fleet.names() {
            let node = play.fleet.node(&play.scene.lab.service, name).await?;
            let said = node.pointer("/reason/code").is_some_and(|code| code == "lease_relayed");
            let is_up = node.get("state").is_some_and(|state| state == "up");
            ensure!(is_up && said == names.contains(&name), "{name}: {node}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn nodes_that_do_not_reach_each_other_forward_while_the_controller_passes_their_promises_on() -> Result<()> {
    let play = Play::build("relays").await?;
    let outcome: Result<()> = async {
        let old = play.carrier().await?;
        let all: Vec<&str> = play.fleet.names().collect();
        // Its questions reach the others, and no answer comes back; then nobody reaches anybody.
        let marks = play.marks();
        play.fleet.deafen(old).await?;
        relayed(&play, &[old]).await?;
        play.nothing_lost(&marks).await.context("cut from all other nodes")?;
        for name in all.iter().filter(|name| **name != old) {
            play.fleet.deafen(name).await?;
        }
        relayed(&play, &all).await?;
        play.nothing_lost(&marks).await.context("without any tunnel")?;
        ensure!(play.carrier().await? == old, "it was moved");
        let doctor = play.scene.lab.service.command_line(&format!("doctor node {old} || true")).await?;
        ensure!(doctor.contains("UDP port 4431") && doctor.contains("passes"), "{doctor}");

        // Without the controller, too, it has nobody.
        let watched = play.watch(old).await?;
        play.scene.lab.cut_between(&play.fleet.own_address(old), CONTROL).await?;
        play.taken_over(old, &watched).await.context("without the controller, too")?;
        play.holds_addresses(old).await?;

        // What is passed on serves the one that has taken over, and who comes back.
        play.scene.lab.heal().await?;
        play.back(old, &watched).await.context("with the controller again")?;
        relayed(&play, &all).await?;
        let marks = play.marks();
        for name in &all {
            play.fleet.undeafen(name).await?;
        }
        relayed(&play, &[]).await?;
        play.nothing_lost(&marks).await.context("with tunnels again")
    }
    .await;
    play.finish(outcome).await
}
