//! The measurements, one after the other on one fleet.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use causeway_load::client::{Client, Endpoint, text};
use causeway_load::service::Service;
use causeway_load::world::{create, lift_quotas, per_second};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use crate::node::Herd;

/// How long anything may take before it counts as broken.
const PATIENCE: Duration = Duration::from_secs(600);
/// The medium profile: judged once a minute.
const JUDGED: Duration = Duration::from_secs(60);
/// For which the cost of keepalives is looked at.
const QUIET: Duration = Duration::from_secs(120);
/// Changes per second, and for how long.
const CHANGES: u32 = 50;
const CHANGING: Duration = Duration::from_secs(20);
/// HTTP connections at once.
const CLIENTS: usize = 8;
/// Customer gateways.
const CUSTOMERS: usize = 500;
/// Nodes of the operator's.
const NODES: &str = "/causeway/v1/operator/nodes";

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) gateways: usize,
    pub(crate) connections: usize,
}

/// A fleet, measured.
pub(crate) async fn measure(size: Size) -> Result<()> {
    // Nodes have to find the controller where it was when it starts again.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let listen = format!("127.0.0.1:{port}");
    let settings = vec![("CAUSEWAY_FLEET_LISTEN", listen.clone()), ("CAUSEWAY_FLEET_KEEPALIVE", "medium".to_owned())];
    let (mut service, endpoint) = Service::start_with(&Service::program()?, settings).await?;
    let herd = Herd::new(format!("https://{listen}"));
    let directory = tempfile::tempdir()?;
    let begun = Instant::now();
    let nodes = join(&endpoint, &herd, directory.path(), size.nodes).await?;
    wait("every node is up", || all_up(&endpoint, size.nodes)).await?;
    println!("{} nodes joined and up: {:.1} s", size.nodes, begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let connections = build(&endpoint, size).await?;
    wait("every connection is active", || all_active(&endpoint, size.connections)).await?;
    println!(
        "{} gateways with {} connections made and active: {:.1} s; the controller has {} MB",
        size.gateways,
        size.connections,
        begun.elapsed().as_secs_f64(),
        service.resident()? / 1000
    );

    sleep(JUDGED).await;
    let (before, begun) = (service.processor_time()?, Instant::now());
    sleep(QUIET).await;
    let used = service.processor_time()?.saturating_sub(before);
    let share = 100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64();
    println!(
        "keepalives at the medium profile, all that the controller does included: {share:.2} % of a core (goal 3)"
    );

    change(&endpoint, &herd, &connections).await?;
    restart(&mut service, &herd, &connections, size).await?;

    herd.end.cancel();
    for node in nodes {
        node.await??;
    }
    service.stop().await
}

/// Joins all, some at a time: a token each.
async fn join(
    endpoint: &Endpoint,
    herd: &Herd,
    directory: &std::path::Path,
    count: usize,
) -> Result<Vec<JoinHandle<Result<()>>>> {
    let mut client = Client::connect(endpoint).await?;
    lift_quotas(&mut client).await?;
    let zone = client.endpoint().region.clone() + "-1";
    let mut nodes = Vec::with_capacity(count);
    for index in 0..count {
        let body = json!({"zone": zone, "description": "bench", "expires_in": 3600});
        let made = client.must("POST", "/causeway/v1/operator/node-join-tokens", Some(&body)).await?;
        let name = format!("node-{index:03}");
        nodes.push(herd.join(&text(&made, "/token")?, directory.join(&name), &name).await?);
    }
    Ok(nodes)
}

/// A VPC for each node, since a VPC's gateways are on one node.
async fn build(endpoint: &Endpoint, size: Size) -> Result<Vec<Uuid>> {
    let ids = |made: &[Value], pointer: &str| made.iter().map(|made| text(made, pointer)).collect::<Result<Vec<_>>>();
    let path = endpoint.vpc("vpcs");
    let vpc = move |index: usize| (path.clone(), json!({"name": format!("vpc {index}"), "tags": []}));
    let vpcs = ids(&create(endpoint, CLIENTS, size.nodes, vpc).await?.0, "/id")?;
    let path = endpoint.vpc("private-networks");
    let network = move |index: usize| {
        let body = json!({"name": "net", "tags": [], "vpc_id": vpcs.get(index), "subnets": ["10.64.0.0/20"]});
        (path.clone(), body)
    };
    let networks = ids(&create(endpoint, CLIENTS, size.nodes, network).await?.0, "/id")?;
    let path = endpoint.vpn("vpn-gateways");
    let gateway = move |index: usize| {
        let network = networks.get(index % size.nodes);
        let body = json!({"name": format!("gateway {index}"), "tags": [], "gateway_type": "VGW-S", "private_network_id": network});
        (path.clone(), body)
    };
    let gateways = ids(&create(endpoint, CLIENTS, size.gateways, gateway).await?.0, "/id")?;
    let path = endpoint.vpn("customer-gateways");
    let customer = move |index: usize| {
        let address = format!("45.90.{}.{}", index / 250, index % 250 + 1);
        (path.clone(), json!({"name": format!("site {index}"), "tags": [], "asn": 65_000, "ipv4_public": address}))
    };
    let customers = ids(&create(endpoint, CLIENTS, CUSTOMERS, customer).await?.0, "/id")?;
    let mut client = Client::connect(endpoint).await?;
    let body = json!({"name": "all", "tags": [], "is_ipv6": false, "prefix_filter_in": ["10.0.0.0/8"], "prefix_filter_out": []});
    let policy = text(&client.must("POST", &endpoint.vpn("routing-policies"), Some(&body)).await?, "/id")?;
    let path = endpoint.vpn("connections");
    let connection = move |index: usize| {
        let (gateway, round) = (index % size.gateways, index / size.gateways);
        let body = json!({
            "name": format!("connection {index}"), "tags": [], "is_ipv6": false, "initiation_policy": "vpn_gateway",
            "ikev2_ciphers": [], "esp_ciphers": [], "enable_route_propagation": true,
            "vpn_gateway_id": gateways.get(gateway), "customer_gateway_id": customers.get((gateway + round) % CUSTOMERS),
            "bgp_config_ipv4": {"routing_policy_id": policy},
        });
        (path.clone(), body)
    };
    let made = create(endpoint, CLIENTS, size.connections, connection).await?.0;
    ids(&made, "/connection/id")?.iter().map(|id| Ok(id.parse()?)).collect()
}

/// Changes at an even pace, one connection after another across all nodes, and how long each took from the request to its node.
async fn change(endpoint: &Endpoint, herd: &Herd, connections: &[Uuid]) -> Result<()> {
    let count = (CHANGES * u32::try_from(CHANGING.as_secs())?) as usize;
    let (sender, receiver) = tokio::sync::mpsc::channel::<(Uuid, bool)>(1024);
    let receiver = std::sync::Arc::new(tokio::sync::Mutex::new(receiver));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (mut client, receiver, asked) =
            (Client::connect(endpoint).await?, std::sync::Arc::clone(&receiver), herd.asked.clone());
        let endpoint = endpoint.clone();
        workers.spawn(async move {
            loop {
                let next = receiver.lock().await.recv().await;
                let Some((id, propagate)) = next else { return Ok::<_, anyhow::Error>(()) };
                let action = if propagate { "enable" } else { "disable" };
                let path = endpoint.vpn(&format!("connections/{id}/{action}-route-propagation"));
                asked.lock().unwrap_or_else(PoisonError::into_inner).insert(id, (propagate, Instant::now()));
                client.must("POST", &path, Some(&json!({}))).await?;
            }
        });
    }
    let begun = Instant::now();
    let mut ticks = interval(Duration::from_secs(1) / CHANGES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for index in 0..count {
        ticks.tick().await;
        // Each the other way round when its turn comes again.
        let id = connections.get(index % connections.len()).context("a connection")?;
        sender.send((*id, (index / connections.len()) % 2 == 1)).await?;
    }
    let rate = per_second(count, begun.elapsed());
    drop(sender);
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    arrived(herd).await?;
    let mut took = std::mem::take(&mut *herd.took.lock().unwrap_or_else(PoisonError::into_inner));
    took.sort_unstable();
    let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len().saturating_sub(1)));
    let milliseconds = |percent: usize| at(percent).map_or(0.0, |took| took.as_secs_f64() * 1000.0);
    println!(
        "{} changes at {rate:.0} per second, from the request to the node: median {:.1} ms (goal 100), 95 % {:.1} ms, all {:.1} ms",
        took.len(),
        milliseconds(50),
        milliseconds(95),
        milliseconds(100)
    );
    Ok(())
}

async fn arrived(herd: &Herd) -> Result<()> {
    wait("every change has reached its node", || {
        let open = herd.asked.lock().unwrap_or_else(PoisonError::into_inner).len();
        async move { Ok(open == 0) }
    })
    .await
}

/// Kills the controller, starts it again, and looks until a judging interval is over.
async fn restart(service: &mut Service, herd: &Herd, connections: &[Uuid], size: Size) -> Result<()> {
    let killed = Instant::now();
    let endpoint = service.kill_and_restart().await?;
    let ready = killed.elapsed();
    // What is shown may be what was known before: only a change that arrives proves that a channel is there. As many neighbours in the list
    // as there are nodes are on as many VPCs; the last ones were not changed yet.
    let mut client = Client::connect(&endpoint).await?;
    for id in connections.iter().rev().take(size.nodes) {
        herd.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(*id, (false, Instant::now()));
        let path = endpoint.vpn(&format!("connections/{id}/disable-route-propagation"));
        // While all nodes come back it may have more to store than it takes on, and says so.
        while client.call("POST", &path, Some(&json!({}))).await?.status != 200 {
            ensure!(killed.elapsed() < PATIENCE, "no change is taken");
            sleep(Duration::from_millis(100)).await;
        }
    }
    arrived(herd).await?;
    let channels = killed.elapsed();
    wait("every node is up", || all_up(&endpoint, size.nodes)).await?;
    wait("every connection is active", || all_active(&endpoint, size.connections)).await?;
    let statuses = killed.elapsed();
    println!(
        "kill -9 and start: API ready {:.1} s, a change made since then has reached every node {:.1} s, all nodes up and connections active {:.1} s (goal 30)",
        ready.as_secs_f64(),
        channels.as_secs_f64(),
        statuses.as_secs_f64()
    );
    sleep(2 * JUDGED).await;
    // The service ends connections that rest for so long.
    let mut client = Client::connect(&endpoint).await?;
    let (mut states, mut down) = (0, 0);
    for node in client.all(NODES, "nodes").await? {
        let node = client.must("GET", &format!("{NODES}/{}", text(&node, "/id")?), None).await?;
        for event in node.get("history").and_then(Value::as_array).context("no history")? {
            states += 1;
            down += usize::from(event.get("subject").and_then(Value::as_str) == Some("down"));
        }
    }
    println!("two judging intervals later: {down} times `down` among the {states} states of all nodes' histories");
    ensure!(down == 0, "a node was called down although it never was");
    Ok(())
}

async fn all_up(endpoint: &Endpoint, nodes: usize) -> Result<bool> {
    let mut client = Client::connect(endpoint).await?;
    let up = |node: &&Value| node.get("state").and_then(Value::as_str) == Some("up");
    Ok(client.all(NODES, "nodes").await?.iter().filter(up).count() == nodes)
}

async fn all_active(endpoint: &Endpoint, connections: usize) -> Result<bool> {
    let mut client = Client::connect(endpoint).await?;
    let list = client.must("GET", &endpoint.vpn("connections?status=active&page_size=1"), None).await?;
    Ok(list.get("total_count").and_then(Value::as_u64) == Some(u64::try_from(connections)?))
}

async fn wait<F: Future<Output = Result<bool>>>(what: &str, mut is_so: impl FnMut() -> F) -> Result<()> {
    let begun = Instant::now();
    while !is_so().await? {
        ensure!(begun.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
