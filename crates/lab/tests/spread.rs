//! Two gateways of one VPC on two nodes of a zone with failover, and a customer's box with a connection to each: the loss of either node leaves the
//! other gateway, with its tunnel and its session, to carry everything.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Branch, Family, Fleet, NewConnection, Scene, Site, Stream, addresses, eventually};
use serde_json::{Value, json};

/// A judging interval is 7 s, a lost node's lease runs out after that, and a device's session ends 9 s after the last word.
const PATIENCE: Duration = Duration::from_secs(120);

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A gateway of the VPC with its connection.
struct Arm {
    gateway: String,
    connection: String,
}

struct Pair {
    branch: Branch,
    arms: [Arm; 2],
    streams: Vec<Stream>,
}

impl Pair {
    /// Orders the second gateway, and a connection of the branch to each.
    async fn order(scene: &mut Scene) -> Result<Self> {
        let api = scene.lab.api()?;
        let gateway = api.create_gateway(&scene.site.network).await?;
        let second = text(&gateway, "/id").to_owned();
        api.wait_status("vpn-gateways", &second, "active", PATIENCE).await?;
        let mut branch = scene.lab.add_branch().await?;
        let [public4, public6] = addresses::BRANCH;
        let customer = api.create_customer(addresses::BRANCH_ASN, public4, public6).await?;
        let [inside4, inside6] = addresses::BRANCH_PREFIXES;
        let [subnet4, subnet6] = scene.site.subnets.as_slice() else { anyhow::bail!("two subnets") };
        let policies = [
            api.create_policy(false, &[inside4], &[subnet4]).await?,
            api.create_policy(true, &[inside6], &[subnet6]).await?,
        ];
        let mut files = Vec::new();
        let mut arms = Vec::new();
        for (gateway, outer) in [(scene.site.gateway.clone(), Family::Ipv4), (second, Family::Ipv6)] {
            let site = Site {
                gateway: gateway.clone(),
                customer: customer.clone(),
                policies: policies.clone(),
                ..scene.site.clone()
            };
            let connection = api.create_connection(&site, &NewConnection { outer, ..NewConnection::default() }).await?;
            let id = text(&connection, "/id").to_owned();
            api.set_options(&id, &json!({"bgp": {"hold_time": 9}})).await?;
            files.push((api.device_configuration(&id).await?, api.key(&connection).await?));
            arms.push(Arm { gateway, connection: id });
        }
        let [first, second] = files.as_slice() else { anyhow::bail!("two files") };
        branch.install((&first.0, &first.1), (&second.0, &second.1)).await?;
        branch.start().await?;
        let arms = <[Arm; 2]>::try_from(arms).map_err(|_| anyhow::anyhow!("two arms"))?;
        Ok(Self { branch, arms, streams: Vec::new() })
    }

    /// The nodes that carry the gateways.
    async fn carriers(&self, scene: &Scene, fleet: &Fleet) -> Result<[&'static str; 2]> {
        let [first, second] = &self.arms;
        let service = &scene.lab.service;
        Ok([fleet.carrier(service, &first.gateway).await?, fleet.carrier(service, &second.gateway).await?])
    }

    /// Waits until both connections are active, with nothing to complain about, and both ways are open.
    async fn well(&self, scene: &Scene) -> Result<()> {
        let api = scene.lab.api()?;
        for arm in &self.arms {
            eventually(&format!("connection {} is well", arm.connection), PATIENCE, || async {
                let state = api.state("connections", &arm.connection).await?;
                let reasons = state.pointer("/reasons").and_then(Value::as_array).map_or(0, Vec::len);
                ensure!(text(&state, "/status") == "active" && reasons == 0, "{state}");
                Ok(())
            })
            .await?;
        }
        for stream in &self.streams {
            stream.steady(PATIENCE).await?;
        }
        Ok(())
    }

    /// Since when each session of an arm is up.
    async fn sessions(&self, scene: &Scene, arm: usize) -> Result<Vec<String>> {
        let arm = self.arms.get(arm).context("an arm")?;
        let state = scene.lab.api()?.state("connections", &arm.connection).await?;
        let sessions = state.pointer("/bgp_sessions").and_then(Value::as_array).context("sessions")?;
        Ok(sessions.iter().map(|session| format!("{} {}", text(session, "/status"), text(session, "/since"))).collect())
    }
}

/// The node that has the VPC's router.
async fn router_of(scene: &Scene, fleet: &Fleet) -> Result<&'static str> {
    for name in fleet.names() {
        let namespaces = fleet.machine(name)?.shell("ip netns list | cut -d ' ' -f 1").await?;
        if namespaces.lines().any(|line| line == format!("cwv-{}", &scene.site.vpc[..8])) {
            return Ok(name);
        }
    }
    anyhow::bail!("no node routes the VPC")
}

async fn lose(scene: &Scene, fleet: &mut Fleet, pair: &Pair, lost: usize) -> Result<()> {
    let before = pair.carriers(scene, fleet).await?;
    let (lost_node, stays) = (before[lost], 1 - lost);
    let sessions = pair.sessions(scene, stays).await?;
    fleet.power_off(lost_node).await?;
    let after = eventually("another node carries the lost gateway", PATIENCE, || async {
        let after = pair.carriers(scene, fleet).await?;
        ensure!(after[lost] != lost_node, "{after:?}");
        Ok(after)
    })
    .await?;
    ensure!(after[stays] == before[stays], "the other gateway was moved: {before:?} {after:?}");
    ensure!(after[0] != after[1], "both are on {}", after[0]);
    pair.well(scene).await?;
    ensure!(pair.sessions(scene, stays).await? == sessions, "the other gateway's sessions did not go on");
    let router = router_of(scene, fleet).await?;
    ensure!(router != lost_node, "{router}");
    fleet.power_on(lost_node).await?;
    fleet.wait_state(&scene.lab.service, lost_node, "up").await
}

async fn play(scene: &mut Scene, fleet: &mut Fleet) -> Result<()> {
    let mut pair = Pair::order(scene).await?;
    let carriers = pair.carriers(scene, fleet).await?;
    ensure!(carriers[0] != carriers[1], "both gateways are on {}", carriers[0]);
    let home = router_of(scene, fleet).await?;
    ensure!(home == carriers[0], "the router is on {home}, the first gateway on {}", carriers[0]);
    let host = scene.lab.host_addresses().first().context("the host is not attached")?.clone();
    for (from, to, target) in
        [(&scene.lab.host, &pair.branch.desk, addresses::DESK[0]), (&pair.branch.desk, &scene.lab.host, host.as_str())]
    {
        pair.streams.push(Stream::start(from, to, target).await?);
    }
    pair.well(scene).await?;

    // Both ways are equal, and the router, wherever each gateway is, has them both.
    let router = format!("cwv-{}", &scene.site.vpc[..8]);
    let prefix = addresses::BRANCH_PREFIXES[0];
    eventually("both gateways share the load", PATIENCE, || async {
        let show = format!("ip -n {router} route show {prefix}");
        let routes = fleet.machine(home)?.shell(&show).await?;
        ensure!(routes.matches("nexthop").count() == 2, "{routes}");
        Ok(())
    })
    .await?;

    lose(scene, fleet, &pair, 1).await.context("the node without the router is lost")?;
    ensure!(router_of(scene, fleet).await? == home, "the router moved without need");
    lose(scene, fleet, &pair, 0).await.context("the node with the router is lost")?;

    // Drained, a node gives the router away as well.
    let home = router_of(scene, fleet).await?;
    scene.lab.service.command_line(&format!("node drain {home}")).await?;
    eventually("the drained node carries nothing", PATIENCE, || async {
        ensure!(!pair.carriers(scene, fleet).await?.contains(&home), "a gateway is on {home}");
        ensure!(router_of(scene, fleet).await? != home, "the router is on {home}");
        Ok(())
    })
    .await?;
    pair.well(scene).await?;
    pair.branch.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn the_gateways_of_a_vpc_are_on_several_nodes() -> Result<()> {
    let (mut scene, mut fleet) = Scene::build_zone("spread").await?;
    let outcome = play(&mut scene, &mut fleet).await.with_context(|| {
        fleet
            .names()
            .map(|name| format!("the end of the log of {name}:\n{}\n", fleet.log_tail(name)))
            .collect::<String>()
    });
    scene.finish(outcome).await
}
