//! A simulated node: the real channel of `causeway-fleet`; behind it nothing runs, and everything is reported as applied and up.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use causeway_fleet::lease::{Gate, GateError};
use causeway_fleet::witness::NoTunnels;
use causeway_fleet::{FromNode, JoinToken, NodeEnd, PROTOCOL, client, in_process};
use causeway_model::desired::{BgpDesired, ConnectionDesired, NodeDesired, TunnelDesired};
use causeway_model::observed::{
    AclCounters, ConnectionFacts, GatewayFacts, NodeReport, SessionFacts, TunnelCounters, TunnelFacts, VpcFacts,
};
use causeway_model::{ConnectionId, MachineId, Timestamp};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What it says its version is.
const VERSION: &str = "simulated";
/// How often its main task says that it lives.
const BEAT: Duration = Duration::from_secs(2);

/// Changes that were asked for and have not reached a node: by connection, what `propagate` shall become and when it was asked for.
pub(crate) type Asked = Arc<Mutex<HashMap<Uuid, (bool, Instant)>>>;

/// What all nodes share.
#[derive(Clone, Debug)]
pub(crate) struct Herd {
    /// Where nodes join.
    pub(crate) url: String,
    /// What was asked for.
    pub(crate) asked: Asked,
    /// How long changes took that have arrived.
    pub(crate) took: Arc<Mutex<Vec<Duration>>>,
    /// Ends them all.
    pub(crate) end: CancellationToken,
}

/// There is no kernel behind these nodes: whatever their leases say has happened.
struct Nothing;

impl Gate for Nothing {
    async fn close(&mut self) -> Result<(), GateError> {
        Ok(())
    }

    async fn open(&mut self) -> Result<(), GateError> {
        Ok(())
    }

    async fn arm(&mut self, _: u64, _: Duration) -> Result<(), GateError> {
        Ok(())
    }

    async fn count(&mut self, _: u64) -> Result<(), GateError> {
        Ok(())
    }
}

impl Herd {
    /// Nodes that will join at `url`.
    #[must_use]
    pub(crate) fn new(url: String) -> Self {
        Self { url, asked: Asked::default(), took: Arc::default(), end: CancellationToken::new() }
    }

    /// Joins with a token and runs a node until the herd ends.
    ///
    /// # Errors
    /// The controller did not take it.
    pub(crate) async fn join(&self, token: &str, directory: PathBuf, name: &str) -> Result<JoinHandle<Result<()>>> {
        let token: JoinToken = token.parse()?;
        std::fs::create_dir(&directory)?;
        let identity = client::join(&self.url, &token, &directory, name, VERSION).await?;
        let (controller, node) = in_process();
        let hello = FromNode::Hello {
            protocol: PROTOCOL,
            node: identity.node,
            boot: Uuid::new_v4(),
            zone: identity.zone.clone(),
            version: VERSION.to_owned(),
            on: None,
        };
        let herd = self.clone();
        Ok(tokio::spawn(async move {
            let life = tokio::spawn(herd.clone().live(node, hello));
            let kernel = (Nothing, MachineId::random());
            let ended = client::run(&directory, controller, None, kernel, NoTunnels, herd.end.clone()).await;
            life.abort();
            ended.context("a node's channel ended for good")
        }))
    }

    async fn live(self, mut node: NodeEnd, hello: FromNode) {
        let mut beats = tokio::time::interval(BEAT);
        let mut since = Since::new();
        if node.reports.send(hello).await.is_err() {
            return;
        }
        loop {
            let word = tokio::select! {
                changed = node.desired.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let desired = Arc::clone(&node.desired.borrow_and_update());
                    self.arrived(&desired);
                    FromNode::Report(applied(&desired, &mut since))
                }
                _ = beats.tick() => FromNode::Keepalive { services: Vec::new() },
            };
            if node.reports.send(word).await.is_err() {
                return;
            }
        }
    }

    /// Notes how long it took until here.
    fn arrived(&self, desired: &NodeDesired) {
        let now = Instant::now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_empty() {
            return;
        }
        for connection in desired.gateways.iter().flat_map(|gateway| &gateway.connections) {
            if let Some((propagate, at)) = asked.get(&connection.id.0).copied()
                && propagate == connection.propagate
            {
                asked.remove(&connection.id.0);
                self.took.lock().unwrap_or_else(PoisonError::into_inner).push(now.duration_since(at));
            }
        }
    }
}

/// Since when connections are up: what stays as it is, a node reports as it did before.
type Since = HashMap<ConnectionId, Timestamp>;

/// Everything is in force, and every tunnel and session is up.
fn applied(desired: &NodeDesired, since: &mut Since) -> NodeReport {
    let now = wall_clock();
    let up = |desired: &ConnectionDesired| connection(desired, *since.entry(desired.id).or_insert(now));
    let vpc = |vpc: &causeway_model::desired::VpcDesired| VpcFacts {
        id: vpc.id,
        applied: vpc.revision,
        refused: None,
        networks: BTreeMap::new(),
        acl: AclCounters::default(),
    };
    let gateways = desired.gateways.iter();
    NodeReport {
        revision: desired.revision,
        vpcs: desired.vpcs.iter().map(vpc).collect(),
        connections: gateways.clone().flat_map(|gateway| &gateway.connections).map(up).collect(),
        gateways: gateways
            .map(|gateway| GatewayFacts { id: gateway.id, applied: gateway.revision, refused: None })
            .collect(),
        links: Vec::new(),
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or_default())
}

fn connection(desired: &ConnectionDesired, since: Timestamp) -> ConnectionFacts {
    let tunnel = |tunnel: &TunnelDesired| TunnelFacts {
        family: tunnel.family(),
        local: tunnel.local,
        peer: tunnel.peer,
        up: true,
        ever_up: true,
        since,
        fault: None,
        ike: None,
        child: None,
        mtu: 1400,
        counters: TunnelCounters::default(),
    };
    let session = |session: &BgpDesired| SessionFacts { up: true, ..SessionFacts::new(session.family(), since) };
    ConnectionFacts {
        id: desired.id,
        applied: desired.revision,
        refused: None,
        tunnels: desired.tunnels.iter().map(tunnel).collect(),
        sessions: desired.bgp.iter().filter(|session| session.policy.is_some()).map(session).collect(),
        received: Vec::new(),
        announced: Vec::new(),
    }
}
