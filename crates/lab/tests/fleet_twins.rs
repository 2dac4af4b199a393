//! A second process with a copy of a node's folder, on another machine: the controller goes on with the one that it hears and refuses the other,
//! and people read it. What becomes of both under traffic where a lease decides is seen by `fleet_partitions`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Fleet, Lab, Running, Scene, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// The node that is copied.
const NODE: &str = "spare";

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Starts the copy on the customer's machine.
async fn steal(lab: &Lab, fleet: &Fleet) -> Result<Running> {
    let copy = lab.folder().join("stolen").display().to_string();
    let site = lab.site.without_files();
    // The node writes there: a file that was listed may be gone when it is opened.
    let take = format!("cp -a {} {copy}", fleet.data(NODE));
    site.shell(&format!("{take} || {{ rm -rf {copy}; {take}; }} || {{ rm -rf {copy}; {take}; }}")).await?;
    let program = Scene::program()?.display().to_string();
    let environment = [("CAUSEWAY_NODE_UNDERLAY", "wan0")];
    site.start(&program, &["node", "run", &copy], &environment, &lab.folder().join("stolen.log"))
}

async fn both(lab: &Lab, fleet: &Fleet) -> Result<()> {
    let service = &lab.service;
    let mut thief = steal(lab, fleet).await?;
    let (own, other) = (fleet.own_address(NODE), lab.site.shell("ip -4 -o address show dev wan0").await?);
    let other = other.split_whitespace().find_map(|word| word.split_once('/')).context("an address")?.0.to_owned();
    let node = eventually("the node says that two speak for it", PATIENCE, || async {
        let node = fleet.node(service, NODE).await?;
        ensure!(text(&node, "/reason/code") == "duplicate_identity" && text(&node, "/state") == "up", "{node}");
        Ok(node)
    })
    .await?;
    let [superseded, newest] = ["superseded", "speaks_now"].map(|key| text(&node, &format!("/reason/evidence/{key}")));
    ensure!(superseded.starts_with(&other) && newest.starts_with(&own), "{superseded} and {newest}");
    let history = node.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
    let told = history.iter().filter(|event| text(event, "/reason/code") == "duplicate_identity").count();
    ensure!(told == 1, "{history:?}");
    let list = service.command_line("node list").await?;
    let line = list.lines().find(|line| line.starts_with(NODE)).context("it is not listed")?;
    ensure!(line.contains("duplicate_identity"), "{line}");
    let shown = service.command_line(&format!("node history {NODE}")).await?;
    ensure!(shown.contains("duplicate_identity"), "{shown}");
    eventually("the copy is told", PATIENCE, || async {
        let log = std::fs::read_to_string(lab.folder().join("stolen.log"))?;
        ensure!(log.contains("speaks from another machine"), "{log}");
        Ok(())
    })
    .await?;

    service.command_line(&format!("node revoke {NODE}")).await?;
    let ended = tokio::time::timeout(PATIENCE, thief.wait()).await;
    ensure!(ended.is_ok_and(|success| !success), "the copy is told when it comes next that it is none any more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root; `make test` runs it"]
async fn a_copy_of_a_nodes_identity_is_seen_and_ends_with_it() -> Result<()> {
    let mut lab = Lab::start(Some("twins"), &Scene::program()?).await?;
    let outcome: Result<()> = match lab.start_fleet(false).await {
        Ok((_, fleet)) => {
            let stolen = lab.folder().join("stolen.log");
            both(&lab, &fleet).await.with_context(|| {
                let stolen = std::fs::read_to_string(stolen).unwrap_or_default();
                format!("the end of the node's log:\n{}\nand of the copy's:\n{stolen}", fleet.log_tail(NODE))
            })
        }
        Err(error) => Err(error),
    };
    lab.finish(outcome).await
}
