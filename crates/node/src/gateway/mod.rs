//! One VPN gateway or InterLink: the actor that owns its IKE endpoint, its tunnels, its BGP sessions and its namespace's configuration.
//!
//! Everything that happens to a gateway is a message to its actor, taken one at a time: desired state, IKE datagrams, events of the packet
//! path, BGP snapshots, its clock. So one gateway's trouble never waits for another's, and no state is shared.

#[cfg(test)]
mod at_once;
mod carrier;
mod connection;
mod kernel;
mod report;
mod tunnel;
#[cfg(test)]
mod twins;
#[cfg(test)]
mod uninstallable;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use causeway_crypto::Entropy;
use causeway_datapath::Datapath;
use causeway_ike::{Endpoint, EndpointConfig};
use causeway_linux::filter::GatewayFilter;
use causeway_linux::route::MAIN_TABLE;
use causeway_linux::{LinkWatch, Namespace, Netlink, ROUTE_PROTOCOL, RouteTable};
use causeway_model::observed::{Refusal, RouteDecision};
use causeway_model::{ConnectionId, NodeId, Timestamp, VpnGatewayId};
use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::dispatch::{self, Word};
use crate::error::SetupError;
use crate::host::Host;
use crate::session::{Listener, SessionUpdate};
use crate::site::Site;
use crate::table::{Installer, Learnt, Untaken};
use connection::Connection;
#[cfg(test)]
pub(crate) use connection::session_policy;
pub(crate) use connection::tun_name;
#[cfg(test)]
pub(crate) use kernel::own_routes;
pub(crate) use report::{GatewayReport, not_in_kernel, withhold};

/// Counters are looked at this often: for liveness, rekeying by packets and reports.
const TICK: Duration = Duration::from_secs(1);
/// Changes are gathered this long before they are reported,
const REPORT_DELAY: Duration = Duration::from_millis(5);
/// and reports are at least this far apart: a peer that flaps its routes does not make a snapshot for each.
const REPORT_INTERVAL: Duration = Duration::from_millis(50);
/// An aborted actor ends at its next wait.
const ABORT_PATIENCE: Duration = Duration::from_secs(1);
/// Counters alone are reported this often.
const COUNTER_REPORT: Duration = Duration::from_secs(5);
/// A refused item is tried again after this long, doubling up to the limit (system.md §3, nodes, row 5).
pub(crate) const RETRY_FIRST: Duration = Duration::from_secs(1);
pub(crate) const RETRY_LIMIT: Duration = Duration::from_secs(60);

/// What became of each learned route of a VPC.
pub(crate) type Decisions = BTreeMap<(ConnectionId, IpNet), RouteDecision>;

/// A VPC's own routes, as its gateways need to know them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VpcRoutes {
    /// The subnets of its Private Networks.
    pub(crate) subnets: Vec<IpNet>,
    /// Destinations of the custom routes in force, none of them a subnet.
    pub(crate) custom: Vec<IpNet>,
    /// Whether the custom ones are announced.
    pub(crate) announce_custom: bool,
    /// Where the router is.
    pub(crate) uplink: Uplink,
    /// The router is on another node that is not heard: nothing of the VPC is to be had here, and nothing is announced.
    pub(crate) cut: bool,
}

/// What a gateway or a link hangs by on its VPC's router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Uplink {
    /// It does not.
    #[default]
    None,
    /// A pair of devices to the router on this node.
    Router,
    /// A cable with a number to the router on another node.
    Cable(NodeId, u32),
}

/// What shall run, by level: the newest counts, and the node never waits for the actor to take it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The gateway.
    pub(crate) desired: Arc<Site>,
    /// Its VPC's own routes.
    pub(crate) vpc: VpcRoutes,
    /// MTU of the underlay, octets.
    pub(crate) underlay_mtu: u32,
    /// Since when nothing is forwarded for want of a lease.
    pub(crate) lapsed: Option<Timestamp>,
    /// Learned routes to install.
    pub(crate) routes: Arc<Learnt<ConnectionId>>,
    /// What became of each learned route.
    pub(crate) decisions: Arc<Decisions>,
}

/// The node's hold on a gateway.
pub(crate) struct GatewayHandle {
    /// What shall run.
    pub(crate) wanted: watch::Sender<Wanted>,
    /// From the packet path.
    pub(crate) words: mpsc::Sender<Word>,
    /// Tells this run of the actor from others of the same gateway.
    pub(crate) incarnation: u64,
    stop: CancellationToken,
    task: AbortHandle,
    beats: Arc<AtomicU64>,
}

impl GatewayHandle {
    /// How often the actor, to which the BGP sessions belong, has looked after itself: once in a second.
    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Begins the orderly end.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the end, which comes at `deadline` at the latest. Whether it was an orderly one.
    pub(crate) async fn ended(self, deadline: Instant) -> bool {
        // The queue closes when the actor is dropped, after everything that it held was given back.
        let in_time = tokio::time::timeout_at(deadline.into(), self.words.closed()).await.is_ok();
        if !in_time {
            self.task.abort();
            let _ = tokio::time::timeout(ABORT_PATIENCE, self.words.closed()).await;
        }
        in_time
    }
}

/// What the actor needs from the node.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// The node's own namespace.
    pub(crate) host: Arc<Host>,
    /// The packet path.
    pub(crate) datapath: Arc<Datapath>,
    /// Where the gateway's IKE gets its randomness.
    pub(crate) entropy: fn() -> Box<dyn Entropy>,
    /// To the node.
    pub(crate) reports: mpsc::Sender<GatewayReport>,
    /// Where an end is noticed, an unexpected one too: one message for each run.
    pub(crate) ended: mpsc::UnboundedSender<(VpnGatewayId, u64)>,
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
    incarnation: u64,
    desired: Arc<Site>,
    vpc: VpcRoutes,
    underlay_mtu: u32,
    /// Since when nothing is forwarded for want of a lease.
    lapsed: Option<Timestamp>,
    namespace: Namespace,
    netlink: Netlink,
    around: Surroundings,
    ike: Endpoint,
    connections: BTreeMap<ConnectionId, Connection>,
    routes: Arc<Learnt<ConnectionId>>,
    decisions: Arc<Decisions>,
    table: Installer<ConnectionId>,
    /// Where the namespace's table does not hold what it was to hold.
    untaken: Arc<Untaken>,
    /// Notified when routes came into place, or could not.
    table_news: Arc<Notify>,
    /// News of the namespace's links, where one of them carries an InterLink.
    links: Option<LinkWatch>,
    /// The packet filter in force; `None` until there is one.
    filter: Option<GatewayFilter>,
    listeners: BTreeMap<IpAddr, (Listener, AbortHandle)>,
    updates_tx: mpsc::Sender<SessionUpdate>,
    updates: mpsc::Receiver<SessionUpdate>,
    incoming_tx: mpsc::Sender<Incoming>,
    incoming: mpsc::Receiver<Incoming>,
    wanted: watch::Receiver<Wanted>,
    words: mpsc::Receiver<Word>,
    stop: CancellationToken,
    beats: Arc<AtomicU64>,
    applied: u64,
    /// The revision that is in force once its routes are; `None` while something else of it is refused.
    applying: Option<u64>,
    refused: Option<Refusal>,
    /// Connections of which the newest configuration was refused.
    refusals: BTreeMap<ConnectionId, Refusal>,
    /// Our inside addresses that devices were seen using, not yet told to their sessions.
    swapped: Vec<(ConnectionId, IpAddr)>,
    retry_at: Option<Instant>,
    retry_delay: Duration,
    report_at: Option<Instant>,
    /// Whether nothing but counters is to be reported.
    only_counters: bool,
    /// Whether the next report is about a tunnel that came or went.
    urgent: bool,
    reported: Instant,
    counters_due: Instant,
}

impl Gateway {
    /// Starts the actor in `namespace`, whose link to the VPC's router is there already.
    ///
    /// # Errors
    /// The namespace cannot be spoken to.
    pub(crate) fn start(
        incarnation: u64,
        wanted: Wanted,
        namespace: Namespace,
        around: Surroundings,
    ) -> Result<GatewayHandle, SetupError> {
        let netlink = Netlink::open(&namespace).map_err(SetupError::at("netlink of the gateway"))?;
        let links = match &wanted.desired.attachment {
            Some(_) => Some(LinkWatch::open(&namespace).map_err(SetupError::at("news of the link's carrier"))?),
            None => None,
        };
        let (words_tx, words) = mpsc::channel(dispatch::QUEUE);
        let (updates_tx, updates) = mpsc::channel(64);
        let (incoming_tx, incoming) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let beats = Arc::<AtomicU64>::default();
        let (now, entropy) = (Instant::now(), (around.entropy)());
        let (wanted_tx, wanted_rx) = watch::channel(wanted.clone());
        let table_news = Arc::<Notify>::default();
        let table = RouteTable::new(netlink.clone(), ROUTE_PROTOCOL, MAIN_TABLE);
        let table = Installer::start(format!("gateway {}", wanted.desired.id), table, Arc::clone(&table_news));
        let gateway = Self {
            id: wanted.desired.id,
            incarnation,
            desired: wanted.desired,
            vpc: wanted.vpc,
            underlay_mtu: wanted.underlay_mtu,
            lapsed: wanted.lapsed,
            namespace,
            netlink,
            around,
            ike: Endpoint::new(EndpointConfig::default(), entropy),
            connections: BTreeMap::new(),
            routes: wanted.routes,
            decisions: wanted.decisions,
            table,
            untaken: Arc::default(),
            table_news,
            links,
            filter: None,
            listeners: BTreeMap::new(),
            updates_tx,
            updates,
            incoming_tx,
            incoming,
            wanted: wanted_rx,
            words,
            stop: stop.clone(),
            beats: Arc::clone(&beats),
            applied: 0,
            applying: None,
            refused: None,
            refusals: BTreeMap::new(),
            swapped: Vec::new(),
            retry_at: Some(now),
            retry_delay: RETRY_FIRST,
            report_at: None,
            only_counters: false,
            urgent: false,
            reported: now,
            counters_due: now,
        };
        let task = tokio::spawn(gateway.run()).abort_handle();
        Ok(GatewayHandle { wanted: wanted_tx, words: words_tx, incarnation, stop, task, beats })
    }

    async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let far = Duration::from_secs(3600);
        let stop = self.stop.clone();
        let table_news = Arc::clone(&self.table_news);
        loop {
            self.drain_ike().await;
            self.tell_swapped().await;
            let now = Instant::now();
            let ike_at = self.ike.poll_timeout().map_or(now + far, |(at, _)| at);
            tokio::select! {
                () = stop.cancelled() => return self.close().await,
                changed = self.wanted.changed() => match changed {
                    Ok(()) => self.take_wanted().await,
                    Err(_) => return self.close().await,
                },
                Some(word) = self.words.recv() => self.word(word),
                Some(update) = self.updates.recv() => self.session_update(update),
                Some(incoming) = self.incoming.recv() => self.session_incoming(incoming).await,
                () = sleep_until(ike_at.into()) => self.ike.handle_timeout(Instant::now()),
                () = sleep_until(self.retry_at.unwrap_or(now + far).into()), if self.retry_at.is_some() => self.apply().await,
                () = sleep_until(self.report_at.unwrap_or(now + far).into()), if self.report_at.is_some() => self.report(),
                () = table_news.notified() => self.settle(),
                news = carrier::news(&mut self.links) => self.links_changed(news).await,
                _ = tick.tick() => {
                    self.tick();
                    self.look_at_carriers().await;
                }
            }
        }
    }

    fn word(&mut self, word: Word) {
        let now = Instant::now();
        match word {
            Word::Ike(datagram) => self.ike.handle_datagram(now, datagram.local, datagram.remote, &datagram.payload),
            Word::Path(event) => self.path_event(now, event),
        }
    }

    async fn take_wanted(&mut self) {
        let Wanted { desired, vpc, underlay_mtu, lapsed, routes, decisions } = self.wanted.borrow_and_update().clone();
        self.follow_lease(lapsed).await;
        let routes_changed = !Arc::ptr_eq(&self.routes, &routes);
        if !Arc::ptr_eq(&self.decisions, &decisions) {
            self.decisions = decisions;
            self.touch();
        }
        self.routes = routes;
        let same = *desired == *self.desired && vpc == self.vpc && underlay_mtu == self.underlay_mtu;
        if !same {
            self.desired = desired;
            self.vpc = vpc;
            self.underlay_mtu = underlay_mtu;
            self.retry_delay = RETRY_FIRST;
            // Applies the routes, too.
            self.apply().await;
        } else if routes_changed
            // Before the first application there is nothing that they could lead to.
            && self.filter.is_some()
            && let Err(error) = self.wish_routes(false).await
        {
            tracing::warn!(%error, gateway = %self.id, "routes are not all in place");
            self.retry_soon();
        }
    }

    /// Brings everything to the desired state; what is refused is reported and tried again.
    async fn apply(&mut self) {
        self.retry_at = None;
        let revision = self.desired.revision;
        self.around.datapath.set_limits(self.id, self.desired.bandwidth);
        match self.apply_gateway().await {
            Ok(()) => self.applying = Some(revision),
            Err(error) => {
                tracing::warn!(%error, gateway = %self.id, revision, "configuration refused");
                self.applying = None;
                self.refused = Some(error.refusal(revision));
            }
        }
        if self.applying.is_none() || !self.refusals.is_empty() {
            self.retry_soon();
        }
        self.settle();
        self.touch();
    }

    fn retry_soon(&mut self) {
        let at = Instant::now() + self.retry_delay;
        if self.retry_at.is_none_or(|other| at < other) {
            self.retry_at = Some(at);
        }
        self.retry_delay = (self.retry_delay * 2).min(RETRY_LIMIT);
    }

    /// The steps in their order: what carries goes first, what admits traffic last. What concerns a single connection is refused for that
    /// one only.
    async fn apply_gateway(&mut self) -> Result<(), SetupError> {
        self.apply_locks().await?;
        let desired = Arc::clone(&self.desired);
        let wanted = |id: &ConnectionId| desired.connections.iter().any(|connection| connection.id == *id);
        let gone: Vec<ConnectionId> = self.connections.keys().copied().filter(|id| !wanted(id)).collect();
        self.remove_connections(&gone, "connection deleted").await;
        self.refusals.retain(|id, _| wanted(id));
        // Locks and deletions do not wait for what may be refused.
        self.apply_attachment().await?;
        if self.filter.is_none() {
            // Nothing is forwarded before the rules of each connection are in place.
            self.apply_filter().await?;
        }
        for connection in &desired.connections {
            match self.apply_connection(connection.clone()).await {
                Ok(()) => drop(self.refusals.remove(&connection.id)),
                Err(error) => self.refuse(connection.id, connection.revision, &error),
            }
        }
        self.drop_listeners();
        if let Err(error) = self.apply_filter().await {
            // What is in force are the old rules: nobody's newer configuration is.
            for connection in &desired.connections {
                if self.connections.get(&connection.id).is_some_and(|known| known.applied != connection.revision) {
                    self.refuse(connection.id, connection.revision, &error);
                }
            }
            return Err(error);
        }
        for connection in &desired.connections {
            if !self.refusals.contains_key(&connection.id)
                && let Some(known) = self.connections.get_mut(&connection.id)
            {
                known.applied = connection.revision;
            }
        }
        self.wish_routes(true).await
    }

    fn refuse(&mut self, id: ConnectionId, revision: u64, error: &SetupError) {
        tracing::warn!(%error, connection = %id, revision, "configuration refused");
        self.refusals.insert(id, error.refusal(revision));
    }

    /// Something changed that the controller should know.
    fn touch(&mut self) {
        self.only_counters = false;
        if self.report_at.is_none() {
            self.report_at = Some((self.reported + REPORT_INTERVAL).max(Instant::now() + REPORT_DELAY));
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.beats.fetch_add(1, Ordering::Relaxed);
        self.watch_traffic(now);
        self.prefer(now);
        self.watch_for_swapped_addresses();
        let ended = |connection: &Connection| connection.sessions.values().any(|session| session.handle.is_finished());
        if self.retry_at.is_none() && self.connections.values().any(ended) {
            tracing::error!(gateway = %self.id, "a BGP session's task has ended; it is started again");
            self.retry_soon();
        }
        if now >= self.counters_due {
            self.counters_due = now + COUNTER_REPORT;
            if self.report_at.is_none() {
                self.report_at = Some(now);
                self.only_counters = true;
            }
        }
    }

    async fn close(&mut self) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        self.remove_connections(&ids, "gateway stopped").await;
    }
}

/// However it ends: nothing that lives outside the actor outlives it.
impl Drop for Gateway {
    fn drop(&mut self) {
        for (_, task) in self.listeners.values() {
            task.abort();
        }
        for id in self.connections.keys() {
            // Fails only if there is none.
            let _ = self.around.datapath.remove_tunnel(*id);
        }
        self.around.datapath.remove_group(self.id);
        // Fails only if the node is gone.
        let _ = self.around.ended.send((self.id, self.incarnation));
    }
}
