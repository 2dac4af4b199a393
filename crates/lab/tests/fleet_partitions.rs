//! Three gateway nodes of a zone with failover, of which one is parted from the others, stopped, killed or copied under traffic: its kernel ends
//! its forwarding by itself, and only then another node begins, or the copy.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Play, THIEF, Watched, eventually};
use serde_json::Value;

/// A judging interval is 7 s, a node may pause 20 s between two attempts to connect, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_node_that_is_parted_from_its_voters_stops_by_itself_before_another_one_begins() -> Result<()> {
    let play = Play::build("parted").await?;
    let outcome: Result<()> = async {
        let service = &play.scene.lab.service;
        // Without the controller alone nothing happens: two other nodes answer.
        let carrier = play.carrier().await?;
        let marks = play.marks();
        play.scene.lab.cut_between(&play.fleet.own_address(carrier), causeway_lab::CONTROL).await?;
        play.fleet.wait_state(service, carrier, "keepalive_fail").await?;
        play.nothing_lost(&marks).await.context("without the controller")?;
        ensure!(play.carrier().await? == carrier, "it was moved");
        play.scene.lab.heal().await?;
        play.fleet.wait_state(service, carrier, "up").await?;
        play.nothing_lost(&marks).await.context("with the controller again")?;

        // Without anybody; then heard by nobody; then hearing nobody.
        for (inwards, outwards) in [(true, true), (false, true), (true, false)] {
            let old = play.carrier().await?;
            let watched = play.watch(old).await?;
            play.fleet.part(old, inwards, outwards).await?;
            let what = format!("{old} parted, inwards {inwards}, outwards {outwards}");
            play.taken_over(old, &watched).await.with_context(|| what.clone())?;
            if inwards {
                // Otherwise it hears that it has nothing any more.
                play.holds_addresses(old).await.with_context(|| what.clone())?;
            }
            play.fleet.unite(old).await?;
            play.back(old, &watched).await.with_context(|| what)?;
        }
        Ok(())
    }
    .await;
    play.finish(outcome).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_stopped_or_killed_node_lets_nothing_through_when_its_lease_is_over() -> Result<()> {
    let mut play = Play::build("halted").await?;
    let outcome: Result<()> = async {
        let old = play.carrier().await?;
        let watched = play.watch(old).await?;
        play.fleet.signal(old, "STOP").await?;
        play.taken_over(old, &watched).await.context("after SIGSTOP")?;
        play.holds_addresses(old).await?;
        // What waits in its sockets does not leave when it goes on.
        play.fleet.signal(old, "CONT").await?;
        play.back(old, &watched).await.context("after SIGCONT")?;

        let old = play.carrier().await?;
        let watched = play.watch(old).await?;
        play.fleet.kill(old).await?;
        play.taken_over(old, &watched).await.context("after SIGKILL")?;
        play.holds_addresses(old).await?;
        play.fleet.run(old)?;
        play.back(old, &watched).await.context("after another start")
    }
    .await;
    play.finish(outcome).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_killed_node_forwards_again_without_the_controller_and_a_copy_of_it_never_beside_it() -> Result<()> {
    let mut play = Play::build("bound").await?;
    let outcome: Result<()> = async {
        let old = play.carrier().await?;
        // Its process alone is killed: it begins on the same machine, and its voters answer.
        play.scene.lab.service.kill().await;
        play.fleet.kill(old).await?;
        play.fleet.run(old)?;
        eventually("the node's process begins", PATIENCE, || async {
            let log = play.fleet.log_tail(old);
            ensure!(log.contains("closed until a majority"), "{log}");
            Ok(())
        })
        .await?;
        for stream in &play.streams {
            stream.steady(PATIENCE).await.context("a killed node, without the controller")?;
        }
        let marks = play.marks();
        play.scene.lab.start_service().await?;
        play.fleet.wait_state(&play.scene.lab.service, old, "up").await?;
        ensure!(play.carrier().await? == old, "it was moved");

        // A copy of it on another machine is refused while the controller hears the node, and forwards nothing.
        let watched = play.watch(old).await?;
        let (_thief, captures) = play.fleet.steal(&play.scene.lab, old).await?;
        let watched = Watched { new: vec![captures], ..watched };
        play.twins(old, THIEF).await?;
        play.nothing_lost(&marks).await.context("beside a copy")?;
        for (side, filter) in play.filters().iter().enumerate() {
            ensure!(watched.new[0][side].times(filter).await?.is_empty(), "side {side}: the copy has sent something");
        }

        // The controller hears the copy only: it takes over when the node's lease is over, and not before.
        let service = &play.scene.lab.service;
        play.scene.lab.cut_between(&play.fleet.own_address(old), causeway_lab::CONTROL).await?;
        eventually("the copy has taken over", PATIENCE, || async {
            let node = play.fleet.node(service, old).await?;
            let history = node.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
            ensure!(history.iter().any(|event| text(event, "/subject") == "moved"), "{history:?}");
            Ok(())
        })
        .await?;
        eventually("the copy forwards", PATIENCE, || async {
            for (side, filter) in play.filters().iter().enumerate() {
                ensure!(!watched.new[0][side].times(filter).await?.is_empty(), "side {side}: nothing yet");
            }
            Ok(())
        })
        .await?;
        for stream in &play.streams {
            stream.steady(PATIENCE).await.context("on the other machine")?;
        }
        play.in_turn(&watched).await?;
        ensure!(play.carrier().await? == old, "it was moved to another node");
        // The node is heard again: now it is the one that is refused.
        let marks = play.marks();
        play.scene.lab.heal().await?;
        play.twins(THIEF, old).await?;
        play.nothing_lost(&marks).await.context("beside the machine that it was on")?;
        play.in_turn(&watched).await
    }
    .await;
    play.finish(outcome).await
}
