//! The node's main task: desired state in, gateways and routers started, changed and stopped, reports out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_datapath::{Datapath, DatapathConfig, Event as PathEvent, IkeDatagram};
use causeway_fleet::{FromNode, NodeEnd, PROTOCOL};
use causeway_model::desired::{GatewayDesired, NodeDesired, VpcDesired};
use causeway_model::observed::{GatewayFacts, NodeReport, Refusal};
use causeway_model::{ConnectionId, NodeId, VpcId, VpnGatewayId};
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::SetupError;
use crate::gateway::{Command, Gateway, GatewayHandle, GatewayReport, Surroundings};
use crate::host::Host;
use crate::routes;
use crate::vpc::{VpcRouter, bridge_name};

/// A gateway gets this long to close in order.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// Reports are gathered this long.
const REPORT_DELAY: Duration = Duration::from_millis(5);
/// Nothing to say is said this often.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// What was refused is tried again after this long.
const RETRY: Duration = Duration::from_secs(5);

/// What a node is.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its id, the same after every restart.
    pub id: NodeId,
    /// Its zone.
    pub zone: String,
    /// The interface that carries public addresses; empty: a bridge that the node makes.
    pub underlay: String,
    /// Where it keeps what must survive a kill.
    pub state_dir: PathBuf,
    /// Version of the program, for the controller's eyes.
    pub version: String,
}

/// Runs the node until `shutdown`, then closes everything in order.
///
/// # Errors
/// The host is not fit: no netlink, no underlay interface, packet threads cannot start, or the controller's end is gone.
pub async fn run(config: NodeConfig, end: NodeEnd, shutdown: CancellationToken) -> Result<(), SetupError> {
    let host = Host::open(&config.state_dir, &config.underlay).await?;
    let (datapath, ike) = Datapath::start(DatapathConfig::default()).map_err(SetupError::at("packet threads"))?;
    let Some(path_events) = datapath.events() else {
        return Err(SetupError {
            item: "packet threads".to_owned(),
            error: "their events are taken already".to_owned(),
        });
    };
    let (reports_tx, reports) = mpsc::channel(256);
    let hello = FromNode::Hello {
        protocol: PROTOCOL,
        node: config.id,
        boot: Uuid::new_v4(),
        zone: config.zone,
        version: config.version,
    };
    let node = Node {
        host,
        datapath: Arc::new(datapath),
        desired: Arc::new(NodeDesired::default()),
        routers: BTreeMap::new(),
        gateways: BTreeMap::new(),
        by_address: BTreeMap::new(),
        reports_tx,
        report_at: None,
        retry_at: None,
    };
    node.run(hello, end, ike, path_events, reports, shutdown).await
}

struct Entry {
    desired: GatewayDesired,
    handle: Option<GatewayHandle>,
    namespace: String,
    refused: Option<Refusal>,
    report: Option<GatewayReport>,
}

struct Node {
    host: Host,
    datapath: Arc<Datapath>,
    desired: Arc<NodeDesired>,
    routers: BTreeMap<VpcId, VpcRouter>,
    gateways: BTreeMap<VpnGatewayId, Entry>,
    by_address: BTreeMap<IpAddr, VpnGatewayId>,
    reports_tx: mpsc::Sender<GatewayReport>,
    report_at: Option<Instant>,
    retry_at: Option<Instant>,
}

impl Node {
    async fn run(
        mut self,
        hello: FromNode,
        mut end: NodeEnd,
        mut ike: mpsc::Receiver<IkeDatagram>,
        mut path_events: mpsc::Receiver<PathEvent>,
        mut reports: mpsc::Receiver<GatewayReport>,
        shutdown: CancellationToken,
    ) -> Result<(), SetupError> {
        let gone = || SetupError { item: "channel to the controller".to_owned(), error: "it is closed".to_owned() };
        end.reports.send(hello).await.map_err(|_| gone())?;
        let mut keepalive = tokio::time::interval(KEEPALIVE);
        let far = Duration::from_secs(3600);
        let result = loop {
            let now = Instant::now();
            tokio::select! {
                () = shutdown.cancelled() => break Ok(()),
                changed = end.desired.changed() => {
                    if changed.is_err() {
                        break Err(gone());
                    }
                    self.desired = Arc::clone(&end.desired.borrow_and_update());
                    self.reconcile().await;
                }
                Some(datagram) = ike.recv() => self.ike(datagram),
                Some(event) = path_events.recv() => self.path(event),
                Some(report) = reports.recv() => self.gateway_report(report).await,
                () = sleep_until(self.report_at.unwrap_or(now + far).into()), if self.report_at.is_some() => {
                    self.report_at = None;
                    if end.reports.send(FromNode::Report(self.report())).await.is_err() {
                        break Err(gone());
                    }
                }
                () = sleep_until(self.retry_at.unwrap_or(now + far).into()), if self.retry_at.is_some() => {
                    self.retry_at = None;
                    self.reconcile().await;
                }
                _ = keepalive.tick() => {
                    if end.reports.send(FromNode::Keepalive).await.is_err() {
                        break Err(gone());
                    }
                }
            }
        };
        self.close().await;
        result
    }

    /// By level: whatever was skipped, the newest desired state is what counts.
    async fn reconcile(&mut self) {
        let desired = Arc::clone(&self.desired);
        let wanted: BTreeSet<VpnGatewayId> = desired.gateways.iter().map(|gateway| gateway.id).collect();
        let gone: Vec<VpnGatewayId> = self.gateways.keys().copied().filter(|id| !wanted.contains(id)).collect();
        for id in gone {
            self.stop_gateway(id).await;
            self.gateways.remove(&id);
        }
        for vpc in &desired.vpcs {
            if let Err(error) = self.apply_router(vpc).await {
                tracing::warn!(%error, vpc = %vpc.id, "VPC router refused");
                self.retry_soon();
            }
        }
        for gateway in &desired.gateways {
            self.apply_gateway(gateway).await;
        }
        let surplus: Vec<VpcId> =
            self.routers.keys().copied().filter(|id| !desired.vpcs.iter().any(|vpc| vpc.id == *id)).collect();
        for id in surplus {
            if let Some(router) = self.routers.remove(&id) {
                router.remove(&self.host).await;
            }
        }
        let bridges: Vec<String> = desired.vpcs.iter().flat_map(|vpc| &vpc.networks).map(bridge_name).collect();
        self.host.keep_bridges(&bridges).await;
        self.touch();
    }

    async fn apply_router(&mut self, vpc: &VpcDesired) -> Result<(), SetupError> {
        if !self.routers.contains_key(&vpc.id) {
            let router = VpcRouter::create(&self.host, vpc.id).await?;
            self.routers.insert(vpc.id, router);
        }
        match self.routers.get_mut(&vpc.id) {
            Some(router) => router.apply(&self.host, vpc).await,
            None => Ok(()),
        }
    }

    async fn apply_gateway(&mut self, desired: &GatewayDesired) {
        let moved = self.gateways.get(&desired.id).is_some_and(|entry| !same_place(&entry.desired, desired));
        if moved {
            self.stop_gateway(desired.id).await;
            self.gateways.remove(&desired.id);
        }
        let subnets = self.subnets(desired.vpc);
        let entry = self.gateways.entry(desired.id).or_insert_with(|| Entry {
            desired: desired.clone(),
            handle: None,
            namespace: format!("cwg-{}", desired.id.short()),
            refused: None,
            report: None,
        });
        entry.desired = desired.clone();
        if let Some(handle) = &entry.handle {
            let command = Command::Desired(Box::new(desired.clone()), subnets.clone());
            if handle.commands.send(command).await.is_ok() {
                return;
            }
            tracing::error!(gateway = %desired.id, "a gateway's task has ended; it is started again");
            self.stop_gateway(desired.id).await;
        }
        if let Err(error) = self.start_gateway(desired, subnets).await {
            tracing::warn!(%error, gateway = %desired.id, revision = desired.revision, "gateway refused");
            self.stop_gateway(desired.id).await;
            if let Some(entry) = self.gateways.get_mut(&desired.id) {
                entry.refused = Some(error.refusal(desired.revision));
            }
            self.retry_soon();
        }
    }

    /// Namespace, attachment, public addresses, sockets, actor.
    async fn start_gateway(&mut self, desired: &GatewayDesired, subnets: Vec<IpNet>) -> Result<(), SetupError> {
        let id = desired.id;
        let Some(entry) = self.gateways.get_mut(&id) else { return Ok(()) };
        let Some(router) = self.routers.get_mut(&desired.vpc) else {
            return Err(SetupError {
                item: format!("router of VPC {}", desired.vpc),
                error: "it is not there".to_owned(),
            });
        };
        let namespace = self.host.make_namespace(&entry.namespace)?;
        router.attach(id, &namespace, desired.network, &desired.private_addresses).await?;
        for address in &desired.public_addresses {
            self.host.add_public_address(*address).await?;
            let item = format!("IKE and ESP sockets on {address}");
            self.datapath.bind(*address).map_err(SetupError::at(&item))?;
            self.by_address.insert(*address, id);
        }
        let around = Surroundings {
            datapath: Arc::clone(&self.datapath),
            underlay_mtu: self.host.underlay_mtu,
            reports: self.reports_tx.clone(),
        };
        entry.handle = Some(Gateway::start(desired.clone(), subnets, namespace, around)?);
        entry.refused = None;
        self.host.announce(desired.public_addresses.clone()).await;
        Ok(())
    }

    /// Undoes [`Self::start_gateway`], however far it came.
    async fn stop_gateway(&mut self, id: VpnGatewayId) {
        let Some(entry) = self.gateways.get_mut(&id) else { return };
        if let Some(handle) = entry.handle.take() {
            let (done, finished) = oneshot::channel();
            let stop = async {
                if handle.commands.send(Command::Stop(done)).await.is_ok() {
                    let _ = finished.await;
                }
            };
            if tokio::time::timeout(STOP_PATIENCE, stop).await.is_err() {
                tracing::warn!(gateway = %id, "the gateway did not close in time");
            }
        }
        entry.report = None;
        let (addresses, vpc) = (entry.desired.public_addresses.clone(), entry.desired.vpc);
        let namespace = entry.namespace.clone();
        for address in addresses {
            if self.by_address.get(&address) == Some(&id) {
                self.by_address.remove(&address);
                if let Err(error) = self.datapath.unbind(address) {
                    tracing::warn!(%error, "cannot close the sockets of a public address");
                }
            }
            self.host.remove_public_address(address).await;
        }
        if let Some(router) = self.routers.get_mut(&vpc)
            && let Err(error) = router.detach(id).await
        {
            tracing::warn!(%error, gateway = %id, "cannot take a gateway off its router");
        }
        self.host.remove_namespace(&namespace);
        self.choose_routes(vpc).await;
    }

    fn subnets(&self, vpc: VpcId) -> Vec<IpNet> {
        let networks = self.desired.vpcs.iter().filter(|other| other.id == vpc).flat_map(|vpc| &vpc.networks);
        networks.flat_map(|network| network.subnets.iter().copied()).collect()
    }

    fn ike(&self, datagram: IkeDatagram) {
        let gateway = self.by_address.get(&datagram.local.ip()).and_then(|id| self.gateways.get(id));
        if let Some(handle) = gateway.and_then(|entry| entry.handle.as_ref()) {
            // A full queue loses it, as the network might: IKE retransmits.
            let _ = handle.commands.try_send(Command::Ike(datagram));
        }
    }

    fn path(&self, event: PathEvent) {
        let concerns = |entry: &&Entry| match &event {
            PathEvent::FirstInbound { tunnel, .. } | PathEvent::RemoteMoved { tunnel, .. } => has(entry, *tunnel),
            PathEvent::Unreachable { local, .. } => entry.desired.public_addresses.contains(local),
        };
        if let Some(handle) = self.gateways.values().find(concerns).and_then(|entry| entry.handle.as_ref()) {
            let _ = handle.commands.try_send(Command::Path(event));
        }
    }

    async fn gateway_report(&mut self, report: GatewayReport) {
        let vpc = report.vpc;
        let Some(entry) = self.gateways.get_mut(&report.gateway.id).filter(|entry| entry.handle.is_some()) else {
            return;
        };
        let learned_before = entry.report.as_ref().map(|before| &before.learned);
        let changed = learned_before != Some(&report.learned);
        entry.report = Some(report);
        if changed {
            self.choose_routes(vpc).await;
        }
        self.touch();
    }

    /// Routes of a VPC from everything that its gateways learned.
    async fn choose_routes(&mut self, vpc: VpcId) {
        let learned: Vec<routes::Learned> = self
            .gateways
            .values()
            .filter_map(|entry| entry.report.as_ref())
            .filter(|report| report.vpc == vpc)
            .flat_map(|report| report.learned.iter().cloned())
            .collect();
        let tables = routes::compute(&learned, &self.subnets(vpc));
        if let Some(router) = self.routers.get_mut(&vpc)
            && let Err(error) = router.set_learned(tables.router).await
        {
            tracing::warn!(%error, %vpc, "learned routes are not all in place");
        }
        let mut by_gateway = tables.gateways;
        for (id, entry) in self.gateways.iter().filter(|(_, entry)| entry.desired.vpc == vpc) {
            let Some(handle) = &entry.handle else { continue };
            let table = by_gateway.remove(id).unwrap_or_default();
            let _ = handle.commands.send(Command::Routes(table, tables.decisions.clone())).await;
        }
    }

    fn report(&self) -> NodeReport {
        let mut report = NodeReport { revision: self.desired.revision, ..NodeReport::default() };
        for (id, entry) in &self.gateways {
            match (&entry.refused, &entry.report) {
                (Some(refusal), _) => {
                    let refused = Some(refusal.clone());
                    report.gateways.push(GatewayFacts { id: *id, applied: 0, refused });
                }
                (None, Some(gateway)) => {
                    report.gateways.push(gateway.gateway.clone());
                    report.connections.extend(gateway.connections.iter().cloned());
                }
                (None, None) => report.gateways.push(GatewayFacts { id: *id, applied: 0, refused: None }),
            }
        }
        report
    }

    fn touch(&mut self) {
        if self.report_at.is_none() {
            self.report_at = Some(Instant::now() + REPORT_DELAY);
        }
    }

    fn retry_soon(&mut self) {
        self.retry_at = Some(Instant::now() + RETRY);
    }

    async fn close(mut self) {
        let ids: Vec<VpnGatewayId> = self.gateways.keys().copied().collect();
        for id in ids {
            self.stop_gateway(id).await;
        }
        for (_, router) in std::mem::take(&mut self.routers) {
            router.remove(&self.host).await;
        }
        self.host.close().await;
    }
}

fn has(entry: &Entry, connection: ConnectionId) -> bool {
    entry.desired.connections.iter().any(|other| other.id == connection)
}

/// Whether nothing changed that only a new start can change.
fn same_place(before: &GatewayDesired, after: &GatewayDesired) -> bool {
    (before.vpc, before.network) == (after.vpc, after.network)
        && before.private_addresses == after.private_addresses
        && before.public_addresses == after.public_addresses
}
