//! One VPN gateway: the actor that owns its IKE endpoint, its tunnels, its BGP sessions and its namespace's configuration.
//!
//! Everything that happens to a gateway is a message to its actor, taken one at a time: desired state, IKE datagrams, events of the packet
//! path, BGP snapshots, its clock. So one gateway's trouble never waits for another's, and no state is shared.

mod connection;
mod kernel;
mod report;
mod tunnel;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_crypto::SystemEntropy;
use causeway_datapath::{Datapath, Event as PathEvent, IkeDatagram};
use causeway_ike::{Endpoint, EndpointConfig};
use causeway_linux::{Namespace, Netlink};
use causeway_model::desired::GatewayDesired;
use causeway_model::observed::{Refusal, RouteDecision};
use causeway_model::{ConnectionId, VpnGatewayId};
use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::sleep_until;

use crate::error::SetupError;
use crate::session::SessionUpdate;
use connection::Connection;
pub(crate) use report::GatewayReport;

/// Messages waiting for the actor. IKE datagrams beyond that are dropped, as the network might.
const QUEUE: usize = 512;
/// Counters are looked at this often: for liveness, rekeying by packets and reports.
const TICK: Duration = Duration::from_secs(1);
/// Changes are gathered this long before they are reported.
const REPORT_DELAY: Duration = Duration::from_millis(5);
/// Counters alone are reported this often.
const COUNTER_REPORT: Duration = Duration::from_secs(5);
/// A refused item is tried again after this long, doubling up to the limit (system.md §3, nodes, row 5).
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LIMIT: Duration = Duration::from_secs(60);

/// To the actor.
pub(crate) enum Command {
    /// What shall run, and the VPC's subnets.
    Desired(Box<GatewayDesired>, Vec<IpNet>),
    /// An IKE message for one of the gateway's addresses.
    Ike(IkeDatagram),
    /// From the packet path.
    Path(PathEvent),
    /// Routes to install and what became of each learned one.
    Routes(BTreeMap<IpNet, Vec<ConnectionId>>, BTreeMap<(ConnectionId, IpNet), RouteDecision>),
    /// Close everything in order, then answer.
    Stop(oneshot::Sender<()>),
}

/// The node's hold on a gateway.
pub(crate) struct GatewayHandle {
    /// To the actor.
    pub(crate) commands: mpsc::Sender<Command>,
}

/// What the actor needs from the node.
pub(crate) struct Surroundings {
    /// The packet path.
    pub(crate) datapath: Arc<Datapath>,
    /// MTU of the underlay, octets.
    pub(crate) underlay_mtu: u32,
    /// To the node.
    pub(crate) reports: mpsc::Sender<GatewayReport>,
}

/// A TCP connection to port 179 of one of our inside addresses.
struct Incoming {
    local: IpAddr,
    peer: IpAddr,
    stream: TcpStream,
}

/// The actor.
pub(crate) struct Gateway {
    id: VpnGatewayId,
    desired: GatewayDesired,
    vpc_subnets: Vec<IpNet>,
    namespace: Namespace,
    netlink: Netlink,
    around: Surroundings,
    ike: Endpoint,
    connections: BTreeMap<ConnectionId, Connection>,
    routes: BTreeMap<IpNet, Vec<ConnectionId>>,
    decisions: BTreeMap<(ConnectionId, IpNet), RouteDecision>,
    listeners: BTreeMap<IpAddr, AbortHandle>,
    updates_tx: mpsc::Sender<SessionUpdate>,
    updates: mpsc::Receiver<SessionUpdate>,
    incoming_tx: mpsc::Sender<Incoming>,
    incoming: mpsc::Receiver<Incoming>,
    commands: mpsc::Receiver<Command>,
    applied: u64,
    refused: Option<Refusal>,
    retry_at: Option<Instant>,
    retry_delay: Duration,
    report_at: Option<Instant>,
    counters_due: Instant,
}

impl Gateway {
    /// Starts the actor in `namespace`, whose link to the VPC's router is there already.
    ///
    /// # Errors
    /// The namespace cannot be spoken to.
    pub(crate) fn start(
        desired: GatewayDesired,
        vpc_subnets: Vec<IpNet>,
        namespace: Namespace,
        around: Surroundings,
    ) -> Result<GatewayHandle, SetupError> {
        let netlink = Netlink::open(&namespace).map_err(SetupError::at("netlink of the gateway"))?;
        let (commands_tx, commands) = mpsc::channel(QUEUE);
        let (updates_tx, updates) = mpsc::channel(64);
        let (incoming_tx, incoming) = mpsc::channel(16);
        around.datapath.set_limits(desired.id, desired.bandwidth);
        let gateway = Self {
            id: desired.id,
            desired,
            vpc_subnets,
            namespace,
            netlink,
            around,
            ike: Endpoint::new(EndpointConfig::default(), Box::new(SystemEntropy::new())),
            connections: BTreeMap::new(),
            routes: BTreeMap::new(),
            decisions: BTreeMap::new(),
            listeners: BTreeMap::new(),
            updates_tx,
            updates,
            incoming_tx,
            incoming,
            commands,
            applied: 0,
            refused: None,
            retry_at: Some(Instant::now()),
            retry_delay: RETRY_FIRST,
            report_at: None,
            counters_due: Instant::now(),
        };
        tokio::spawn(gateway.run());
        Ok(GatewayHandle { commands: commands_tx })
    }

    async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let far = Duration::from_secs(3600);
        loop {
            self.drain_ike().await;
            let now = Instant::now();
            let ike_at = self.ike.poll_timeout().map_or(now + far, |(at, _)| at);
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Stop(done)) => {
                        self.close().await;
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.command(command).await,
                    None => return self.close().await,
                },
                Some(update) = self.updates.recv() => self.session_update(update),
                Some(incoming) = self.incoming.recv() => self.session_incoming(incoming).await,
                () = sleep_until(ike_at.into()) => self.ike.handle_timeout(Instant::now()),
                () = sleep_until(self.retry_at.unwrap_or(now + far).into()), if self.retry_at.is_some() => self.apply().await,
                () = sleep_until(self.report_at.unwrap_or(now + far).into()), if self.report_at.is_some() => self.report(),
                _ = tick.tick() => self.tick(),
            }
        }
    }

    async fn command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Desired(desired, vpc_subnets) => {
                if *desired == self.desired && vpc_subnets == self.vpc_subnets && self.applied == desired.revision {
                    return;
                }
                self.desired = *desired;
                self.vpc_subnets = vpc_subnets;
                self.retry_delay = RETRY_FIRST;
                self.apply().await;
            }
            Command::Ike(datagram) => self.ike.handle_datagram(now, datagram.local, datagram.remote, &datagram.payload),
            Command::Path(event) => self.path_event(now, event),
            Command::Routes(routes, decisions) => {
                self.decisions = decisions;
                if self.routes != routes {
                    self.routes = routes;
                    if let Err(error) = self.apply_routes().await {
                        tracing::warn!(%error, gateway = %self.id, "routes are not all in place");
                        self.retry_soon();
                    }
                }
                self.touch();
            }
            // Taken in `run`, which has to end.
            Command::Stop(_) => {}
        }
    }

    /// Brings everything to the desired state; what is refused is reported and tried again.
    async fn apply(&mut self) {
        self.retry_at = None;
        let revision = self.desired.revision;
        self.around.datapath.set_limits(self.id, self.desired.bandwidth);
        let mut trouble = false;
        match self.apply_gateway().await {
            Ok(complete) => {
                trouble |= !complete;
                self.refused = None;
                self.applied = revision;
            }
            Err(error) => {
                tracing::warn!(%error, gateway = %self.id, revision, "configuration refused");
                self.refused = Some(error.refusal(revision));
                trouble = true;
            }
        }
        if trouble {
            self.retry_soon();
        }
        self.touch();
    }

    fn retry_soon(&mut self) {
        self.retry_at = Some(Instant::now() + self.retry_delay);
        self.retry_delay = (self.retry_delay * 2).min(RETRY_LIMIT);
    }

    /// The steps in their order: what carries goes first, what admits traffic last. Returns whether every connection is in place.
    async fn apply_gateway(&mut self) -> Result<bool, SetupError> {
        self.apply_attachment().await?;
        let gone: Vec<ConnectionId> = self
            .connections
            .keys()
            .copied()
            .filter(|id| !self.desired.connections.iter().any(|connection| connection.id == *id))
            .collect();
        for id in gone {
            self.remove_connection(id, "connection deleted").await;
        }
        let mut complete = true;
        for desired in self.desired.connections.clone() {
            let (id, revision) = (desired.id, desired.revision);
            if let Err(error) = self.apply_connection(desired).await {
                tracing::warn!(%error, connection = %id, revision, "configuration refused");
                complete = false;
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.refused = Some(error.refusal(revision));
                }
            }
        }
        self.apply_listeners()?;
        self.apply_filter().await?;
        self.apply_routes().await?;
        Ok(complete)
    }

    /// Something changed that the controller should know.
    fn touch(&mut self) {
        if self.report_at.is_none() {
            self.report_at = Some(Instant::now() + REPORT_DELAY);
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.watch_traffic(now);
        if now >= self.counters_due {
            self.counters_due = now + COUNTER_REPORT;
            self.touch();
        }
    }

    async fn close(&mut self) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.remove_connection(id, "gateway stopped").await;
        }
        for (_, listener) in std::mem::take(&mut self.listeners) {
            listener.abort();
        }
        self.around.datapath.remove_group(self.id);
    }
}
