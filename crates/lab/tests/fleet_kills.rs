//! SIGKILL of the controller and of a node at any moment, while gateways and connections come and go: whatever was acknowledged is there, whatever
//! was deleted leaves nothing in the kernel, and everything is right again by itself.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Api, Fleet, NewConnection, Scene, Site, eventually, summary};
use hyper::Method;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
/// Of the controller and of the node each.
const KILLS: u64 = 10;
/// Milliseconds between two of them at most.
const LONGEST: u64 = 900;
/// Gateways and connections that are there at once at most.
const MOST: usize = 5;
/// The node that is killed; it carries the scene's gateway.
const NODE: &str = "node";

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Numbers that look like chance and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// What was acknowledged.
#[derive(Debug, Default)]
struct Known {
    /// Objects that are there, as collection and id.
    made: BTreeSet<(&'static str, String)>,
    /// Those whose deletion was answered with success.
    deleted: BTreeSet<(&'static str, String)>,
    /// What was asked for and not answered: it may be there or not.
    unanswered: u32,
}

impl Known {
    /// Orders a gateway with its network, and a connection of the scene's gateway.
    async fn order(&mut self, api: &Api, site: &Site, number: u64) -> Result<()> {
        let gateway = api.create_gateway(&site.network).await?;
        self.made.insert(("vpn-gateways", text(&gateway, "/id").to_owned()));
        let host = number % 200 + 20;
        let customer =
            api.create_customer(65100, &format!("203.0.113.{host}"), &format!("2001:db8:0:2::{host:x}")).await?;
        self.made.insert(("customer-gateways", customer.clone()));
        let made = api.create_connection(&Site { customer, ..site.clone() }, &NewConnection::default()).await?;
        self.made.insert(("connections", text(&made, "/id").to_owned()));
        Ok(())
    }

    /// Deletes the oldest of what was made in a collection; it may have been deleted by a call that was not answered.
    async fn delete(&mut self, api: &Api, collection: &'static str) -> Result<()> {
        let Some(oldest) = self.made.iter().find(|(kind, _)| *kind == collection).cloned() else { return Ok(()) };
        let path = format!("{}/{collection}/{}", api.prefix("s2s-vpn/v1alpha1"), oldest.1);
        let answer = api.call(Method::DELETE, &path, None).await.inspect_err(|_| {
            // Whether it is there now nobody knows.
            self.made.remove(&oldest);
        })?;
        if answer.status < 300 || answer.status == 404 {
            self.made.remove(&oldest);
            self.deleted.insert(oldest);
        }
        Ok(())
    }
}

/// Makes and deletes until `end`, whatever happens to the service meanwhile.
async fn work(api: Api, site: Site, end: &AtomicBool) -> Known {
    let mut known = Known::default();
    let mut dice = Dice(7);
    for number in 0.. {
        if end.load(Ordering::Relaxed) {
            break;
        }
        let many = |collection| known.made.iter().filter(|(kind, _)| *kind == collection).count() >= MOST;
        let done = match dice.roll(4) {
            2 => known.delete(&api, "connections").await,
            3 => known.delete(&api, "vpn-gateways").await,
            _ if many("vpn-gateways") => known.delete(&api, "vpn-gateways").await,
            _ if many("connections") => known.delete(&api, "connections").await,
            _ => known.order(&api, &site, number).await,
        };
        known.unanswered += u32::from(done.is_err());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    known
}

async fn kill_both(scene: &mut Scene, fleet: &mut Fleet) -> Result<()> {
    let mut dice = Dice(2026);
    for round in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(dice.roll(LONGEST))).await;
        scene.lab.service.kill().await;
        scene.lab.start_service().await.with_context(|| format!("the controller after kill {round}"))?;
        tokio::time::sleep(Duration::from_millis(dice.roll(LONGEST))).await;
        fleet.kill(NODE).await?;
        fleet.run(NODE)?;
    }
    Ok(())
}

/// The first eight digits of ids, as the names of namespaces end.
fn digits<'a>(ids: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    ids.map(|id| id.split('-').next().unwrap_or(id).to_owned()).collect()
}

/// Everything is as the service says, and the service says that all is well.
async fn heals(scene: &Scene, fleet: &Fleet, known: &Known) -> Result<()> {
    let list = async |collection: &str, field: &str| -> Result<Vec<Value>> {
        let path = format!("{}/{collection}?page_size=100", scene.api.prefix("s2s-vpn/v1alpha1"));
        let answer = scene.api.must(Method::GET, &path, None).await?;
        Ok(answer.get(field).and_then(Value::as_array).cloned().unwrap_or_default())
    };
    for name in [NODE, "spare"] {
        fleet.wait_state(&scene.lab.service, name, "up").await?;
    }
    let (gateways, connections) = eventually("every gateway and connection is well", PATIENCE, || async {
        let (gateways, connections) =
            (list("vpn-gateways", "gateways").await?, list("connections", "connections").await?);
        let unwell = gateways.iter().find(|gateway| text(gateway, "/status") != "active");
        ensure!(unwell.is_none(), "{unwell:?}");
        for connection in &connections {
            let state = scene.api.state("connections", text(connection, "/id")).await?;
            ensure!(["active", "ready"].contains(&text(&state, "/status")), "{}", summary(&state));
        }
        Ok((gateways, connections))
    })
    .await?;

    let there: BTreeSet<&str> = gateways.iter().chain(&connections).map(|object| text(object, "/id")).collect();
    for (kind, id) in &known.made {
        ensure!(*kind == "customer-gateways" || there.contains(id.as_str()), "acknowledged and lost: {kind} {id}");
    }
    for (kind, id) in &known.deleted {
        ensure!(!there.contains(id.as_str()), "deleted and there: {kind} {id}");
    }
    for id in known.made.iter().filter(|(kind, _)| *kind == "customer-gateways").map(|(_, id)| id) {
        scene.api.vpn(&format!("customer-gateways/{id}")).await.context("acknowledged and lost")?;
    }

    for name in [NODE, "spare"] {
        eventually(&format!("the kernel of {name} has what it is to have"), PATIENCE, || async {
            let node = fleet.node(&scene.lab.service, name).await?;
            let carried = node.get("gateways").and_then(Value::as_array).cloned().unwrap_or_default();
            let wanted = digits(carried.iter().filter_map(Value::as_str));
            let found = fleet.machine(name)?.shell("ip netns list").await?;
            let found = found.split_whitespace().filter_map(|word| word.strip_prefix("cwg-"));
            let found: BTreeSet<String> = found.map(str::to_owned).collect();
            ensure!(found == wanted, "namespaces of {found:?}, gateways {wanted:?}");
            let shown = fleet.machine(name)?.shell("ip -4 -o address show dev up0").await?;
            let public = shown.split_whitespace().filter(|word| word.ends_with("/32")).count();
            ensure!(public == wanted.len(), "{} gateways, and on the underlay:\n{shown}", wanted.len());
            Ok(())
        })
        .await?;
    }
    let tunnels: BTreeSet<String> = digits(connections.iter().map(|connection| text(connection, "/id")));
    eventually("there is a device for each connection and for nothing else", PATIENCE, || async {
        let script =
            "for name in $(ip netns list | cut -d ' ' -f 1 | grep cwg-); do ip -n $name -o link show type tun; done";
        let shown = fleet.machine(NODE)?.shell(script).await?;
        let found = shown.lines().filter_map(|line| line.split(": ").nth(1)?.strip_prefix("cw-"));
        let found: BTreeSet<String> = found.map(|name| name.split('@').next().unwrap_or(name).to_owned()).collect();
        ensure!(found.len() == tunnels.len(), "{found:?}, and there are the connections {tunnels:?}");
        Ok(())
    })
    .await
}

async fn play(scene: &mut Scene, fleet: &mut Fleet) -> Result<()> {
    // Nothing is placed beside the node that is killed.
    scene.lab.service.command_line("node cordon spare").await?;
    let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
    scene.lab.device.load().await?;
    scene.active(&id).await?;
    let end = AtomicBool::new(false);
    let (api, site) = (scene.api.clone(), scene.site.clone());
    let kills = async {
        let killed = kill_both(scene, fleet).await;
        end.store(true, Ordering::Relaxed);
        killed
    };
    let (killed, known) = tokio::join!(kills, work(api, site, &end));
    killed?;
    ensure!(known.unanswered > 0 && !known.made.is_empty(), "it was not busy: {known:?}");
    heals(scene, fleet, &known).await.with_context(|| format!("{known:?}"))?;
    scene.active(&id).await?;
    scene.pings().await?;
    let spare = fleet.node(&scene.lab.service, "spare").await?;
    let history = spare.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
    ensure!(!history.iter().any(|event| text(event, "/subject") == "down"), "a node that was never lost: {history:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn what_was_acknowledged_outlives_kills_at_any_moment_and_nothing_else_does() -> Result<()> {
    let (mut scene, mut fleet) = Scene::build_fleet("kills").await?;
    let outcome = play(&mut scene, &mut fleet).await;
    let outcome = outcome.with_context(|| format!("the end of the node's log:\n{}", fleet.log_tail(NODE)));
    scene.finish(outcome).await
}
