//! The node's main task: desired state in, gateways and routers started, changed and stopped, reports out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_crypto::{Entropy, SystemEntropy};
use causeway_datapath::{Datapath, DatapathConfig, IkeReceiver};
use causeway_fleet::{FromNode, NodeEnd, PROTOCOL};
use causeway_linux::filter::LinkDrops;
use causeway_model::desired::{NodeDesired, VpcDesired};
use causeway_model::observed::Refusal;
use causeway_model::watch::Service;
use causeway_model::{NodeId, Timestamp, VpcId, VpnGatewayId};
use ipnet::IpNet;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::counting::Counting;
use crate::dispatch::Directory;
use crate::error::SetupError;
use crate::gateway::{
    Gateway, GatewayHandle, GatewayReport, RETRY_FIRST, RETRY_LIMIT, Surroundings, Uplink, VpcRoutes, Wanted,
};
use crate::health::Health;
use crate::host::Host;
use crate::lease::LeaseGate;
use crate::ownership::Thing;
use crate::peering::{self, Heard, Peering, Sharing};
use crate::routes::Chosen;
use crate::site::Site;
use crate::vpc::{Concern, Trouble, VpcRouter};
use sharing::Shared;

mod around;
mod cables;
mod choice;
mod report;
mod sharing;

/// Gateways that stop together get this long to close in order.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// Reports are gathered this long,
const REPORT_DELAY: Duration = Duration::from_millis(5);
/// and are at least this far apart.
const REPORT_INTERVAL: Duration = Duration::from_millis(50);
/// Counters of several gateways are gathered this long.
const COUNTER_DELAY: Duration = Duration::from_secs(1);
/// Routes are chosen again at most this often.
const ROUTES_INTERVAL: Duration = Duration::from_millis(50);
/// Nothing to say is said this often; the underlay is looked at, too.
const KEEPALIVE: Duration = Duration::from_secs(2);

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
    /// The gate that whoever keeps this node's lease drives; `None`: nobody else can take this node's place, and there is no gate.
    pub lease: Option<LeaseGate>,
    /// The tunnels to other nodes of the zone, which whoever asks these has the other handle of; `None`: there are none.
    pub peering: Option<Peering>,
}

/// Runs the node until `shutdown`, then closes everything in order.
///
/// # Errors
/// The host is not fit: no netlink, packet threads cannot start; or the controller's end is gone.
pub async fn run(config: NodeConfig, end: NodeEnd, shutdown: CancellationToken) -> Result<(), SetupError> {
    let (datapath, ike) = Datapath::start(DatapathConfig::default()).map_err(SetupError::at("packet threads"))?;
    run_on((Arc::new(datapath), ike), || Box::new(SystemEntropy::new()), config, end, shutdown).await
}

/// [`run`] on a packet path that somebody else may look at, with the randomness that gateways are to use.
pub(crate) async fn run_on(
    (datapath, ike): (Arc<Datapath>, IkeReceiver),
    entropy: fn() -> Box<dyn Entropy>,
    config: NodeConfig,
    end: NodeEnd,
    shutdown: CancellationToken,
) -> Result<(), SetupError> {
    let gate = match config.lease {
        Some(gate) => gate,
        None => LeaseGate::without(&config.underlay).await?,
    };
    let host = Arc::new(Host::open(&config.state_dir, &config.underlay, gate).await?);
    let Some(path_events) = datapath.events() else {
        return Err(SetupError {
            item: "packet threads".to_owned(),
            error: "their events are taken already".to_owned(),
        });
    };
    let (reports_tx, reports) = mpsc::channel(256);
    // One message for each run of a gateway's actor, and those are started one after the other with back-off.
    let (ended_tx, ended) = mpsc::unbounded_channel();
    let hello = FromNode::Hello {
        protocol: PROTOCOL,
        node: config.id,
        boot: Uuid::new_v4(),
        zone: config.zone,
        version: config.version,
        on: None,
    };
    let directory = Arc::<Directory>::default();
    // One message for each choice of routes, of which each VPC has one under way at most.
    let (choices_tx, choices) = mpsc::unbounded_channel();
    let around = Surroundings { host: Arc::clone(&host), datapath, entropy, reports: reports_tx, ended: ended_tx };
    let dispatcher = tokio::spawn(Arc::clone(&directory).serve(ike, path_events)).abort_handle();
    let peering = config.peering.clone();
    let (sharing, running) = peering
        .clone()
        .map(|peering| {
            let (sharing, exchange) = Sharing::new();
            let (datapath, directory) = (Arc::clone(&around.datapath), Arc::clone(&directory));
            let around = peering::Around { host: Arc::clone(&host), datapath, directory, entropy };
            (sharing, peering::start(peering, config.id, around, exchange))
        })
        .unzip();
    let now = Instant::now();
    let mut node = Node {
        host,
        around,
        inside: running.as_ref().map(|_| Thing::Namespace(peering::namespace_name(config.id))),
        dispatcher: dispatcher.clone(),
        health: Health::default(),
        directory,
        desired: Arc::new(NodeDesired::default()),
        routers: BTreeMap::new(),
        settled: BTreeMap::new(),
        troubles: BTreeMap::new(),
        underlay_trouble: None,
        gateways: BTreeMap::new(),
        incarnations: 0,
        tables: Arc::default(),
        unrouted: BTreeSet::new(),
        routes_at: now,
        choosing: BTreeSet::new(),
        chosen: BTreeMap::new(),
        choices: choices_tx,
        report_at: None,
        reported: now,
        retry_at: None,
        retry_delay: RETRY_FIRST,
        troubled: now,
        lapsed: None,
        peering,
        sharing,
        shared: Shared::default(),
    };
    let mut inbox = Inbox { reports, ended, choices };
    let result = node.serve(hello, end, &mut inbox, &shutdown).await;
    if let Some(running) = running {
        running.stop().await;
    }
    node.close(&mut inbox).await;
    dispatcher.abort();
    result
}

/// What other nodes say; nothing ever, if there are none.
async fn hear(sharing: &mut Option<Sharing>) -> Heard {
    match sharing {
        Some(sharing) => sharing.hear().await,
        None => std::future::pending().await,
    }
}

/// From the node's own tasks to itself.
struct Inbox {
    reports: mpsc::Receiver<GatewayReport>,
    ended: mpsc::UnboundedReceiver<(VpnGatewayId, u64)>,
    choices: mpsc::UnboundedReceiver<(VpcId, Chosen)>,
}

struct Entry {
    desired: Arc<Site>,
    handle: Option<GatewayHandle>,
    namespace: String,
    /// Where it hangs.
    uplink: Uplink,
    /// Public addresses that this gateway holds sockets on.
    bound: BTreeSet<IpAddr>,
    refused: Option<Refusal>,
    report: Option<GatewayReport>,
    /// What its packet filter dropped, as it was read last.
    drops: LinkDrops,
    /// The newest revision that was in force with its router's routes in place.
    acknowledged: u64,
}

struct Node {
    host: Arc<Host>,
    around: Surroundings,
    /// The namespace inside the tunnels to other nodes.
    inside: Option<Thing>,
    dispatcher: AbortHandle,
    health: Health,
    directory: Arc<Directory>,
    desired: Arc<NodeDesired>,
    routers: BTreeMap<VpcId, VpcRouter>,
    /// What each router was last brought to, as far as all of it was put in place.
    settled: BTreeMap<VpcId, VpcDesired>,
    /// What of each VPC's router is not in place.
    troubles: BTreeMap<VpcId, Vec<Trouble>>,
    underlay_trouble: Option<SetupError>,
    /// Gateways and links.
    gateways: BTreeMap<VpnGatewayId, Entry>,
    /// Runs of actors, and routers, so far.
    incarnations: u64,
    /// Notified when routes of some router came into place, or could not.
    tables: Arc<Notify>,
    /// VPCs whose routes have to be chosen again, and when the next choice may be made.
    unrouted: BTreeSet<VpcId>,
    routes_at: Instant,
    /// VPCs whose choice is being made, and those that were made.
    choosing: BTreeSet<VpcId>,
    chosen: BTreeMap<VpcId, Chosen>,
    choices: mpsc::UnboundedSender<(VpcId, Chosen)>,
    report_at: Option<Instant>,
    reported: Instant,
    retry_at: Option<Instant>,
    retry_delay: Duration,
    /// When something was refused last.
    troubled: Instant,
    /// Since when nothing is forwarded for want of a lease, as it was looked at last.
    lapsed: Option<Timestamp>,
    /// The tunnels to other nodes, what is said through them, and what is known by them.
    peering: Option<Peering>,
    sharing: Option<Sharing>,
    shared: Shared,
}

impl Node {
    async fn serve(
        &mut self,
        hello: FromNode,
        mut end: NodeEnd,
        inbox: &mut Inbox,
        shutdown: &CancellationToken,
    ) -> Result<(), SetupError> {
        let gone = || SetupError { item: "channel to the controller".to_owned(), error: "it is closed".to_owned() };
        end.reports.send(hello).await.map_err(|_| gone())?;
        let mut spoken = false;
        let mut counting = Counting::new();
        let tables = Arc::clone(&self.tables);
        let mut keepalive = tokio::time::interval(KEEPALIVE);
        keepalive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let far = Duration::from_secs(3600);
        let gate = self.host.gate().clone();
        loop {
            let now = Instant::now();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = gate.opened() => self.gate_opened().await,
                changed = end.desired.changed() => {
                    changed.map_err(|_| gone())?;
                    self.desired = Arc::clone(&end.desired.borrow_and_update());
                    self.retry_delay = RETRY_FIRST;
                    self.reconcile(inbox).await;
                }
                Some(report) = inbox.reports.recv() => self.gateway_report(report),
                Some((id, incarnation)) = inbox.ended.recv() => self.gateway_ended(id, incarnation, inbox).await,
                Some((vpc, chosen)) = inbox.choices.recv() => self.routes_chosen(vpc, chosen),
                heard = hear(&mut self.sharing) => self.heard(heard),
                () = sleep_until(self.shared.cut_at.unwrap_or(now + far).into()), if self.shared.cut_at.is_some() => self.look_for_cuts(),
                () = tables.notified() => self.tables_changed(),
                counted = counting.next() => match counted {
                    Some(counted) => {
                        counting.rest(&counted, self.routers.len() + self.gateways.len());
                        self.counted(counted);
                    }
                    None => counting.begin(self.countable()),
                },
                () = sleep_until(self.routes_at.into()), if self.may_choose() => self.choose_routes(),
                () = sleep_until(self.report_at.unwrap_or(now + far).into()), if self.report_at.is_some() => {
                    let report = self.report();
                    self.say(&end, FromNode::Report(report)).map_err(|()| gone())?;
                    if !std::mem::replace(&mut spoken, true) {
                        // What was desired is applied: the next keepalive need not wait for its time.
                        let services = self.services().await;
                        self.say(&end, FromNode::Keepalive { services }).map_err(|()| gone())?;
                    }
                }
                () = sleep_until(self.retry_at.unwrap_or(now + far).into()), if self.retry_at.is_some() => {
                    self.distrust();
                    self.reconcile(inbox).await;
                }
                _ = keepalive.tick() => {
                    if let Some(dead) = self.around.datapath.heartbeats().iter().find(|beat| !beat.running) {
                        // Nothing is forwarded any more, so whoever runs this process has to start it again.
                        let item = format!("packet thread {}", dead.thread);
                        return Err(SetupError { item, error: "it has ended".to_owned() });
                    }
                    self.watch_lease();
                    self.watch_underlay().await;
                    if self.retry_at.is_none() && !self.is_attached().await {
                        self.distrust();
                        self.reconcile(inbox).await;
                    }
                    let services = self.services().await;
                    self.say(&end, FromNode::Keepalive { services }).map_err(|()| gone())?;
                }
            }
        }
    }

    /// Never waits: a controller that is slow gets the next report, which says the same and more. Fails if it is gone.
    fn say(&mut self, end: &NodeEnd, word: FromNode) -> Result<(), ()> {
        let is_report = matches!(word, FromNode::Report(_));
        match end.reports.try_send(word) {
            Ok(()) if is_report => {
                self.report_at = None;
                self.reported = Instant::now();
            }
            Err(mpsc::error::TrySendError::Full(_)) if is_report => {
                self.report_at = Some(Instant::now() + REPORT_INTERVAL);
            }
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(()),
        }
        Ok(())
    }

    /// Waits for `work`, and meanwhile has what gateways report followed by routes: nobody's change-over waits for somebody else's configuration.
    async fn meanwhile<T>(&mut self, inbox: &mut Inbox, work: impl Future<Output = T>) -> T {
        let tables = Arc::clone(&self.tables);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                Some(report) = inbox.reports.recv() => self.gateway_report(report),
                Some((vpc, chosen)) = inbox.choices.recv() => self.routes_chosen(vpc, chosen),
                heard = hear(&mut self.sharing) => self.heard(heard),
                () = tables.notified() => self.tables_changed(),
                () = sleep_until(self.routes_at.into()), if self.may_choose() => self.choose_routes(),
                done = &mut work => return done,
            }
        }
    }

    /// The kernel may not hold what was put there: the next look is at everything, not only at what is to change.
    fn distrust(&mut self) {
        self.settled.clear();
    }

    async fn services(&mut self) -> Vec<Service> {
        let heartbeats = self.around.datapath.heartbeats();
        let running = self.gateways.values().filter_map(|entry| entry.handle.as_ref());
        let actors: Vec<(u64, u64)> = running.map(|handle| (handle.incarnation, handle.beats())).collect();
        self.health.look(&heartbeats, self.dispatcher.is_finished(), &actors, self.host.netlink()).await
    }

    /// By level: whatever was skipped, the newest desired state is what counts.
    async fn reconcile(&mut self, inbox: &mut Inbox) {
        self.retry_at = None;
        self.await_inside(inbox).await;
        let desired = Arc::clone(&self.desired);
        self.watch_underlay().await;
        // What goes or moves goes first: others may get its addresses.
        let gateways = desired.gateways.iter().map(Site::from).chain(desired.links.iter().map(Site::from));
        let sites: BTreeMap<VpnGatewayId, Arc<Site>> = gateways.map(|site| (site.id, Arc::new(site))).collect();
        let stays =
            |id: &VpnGatewayId, entry: &Entry| sites.get(id).is_some_and(|site| site.is_in_place_of(&entry.desired));
        let gone: Vec<VpnGatewayId> =
            self.gateways.iter().filter(|(id, entry)| !stays(id, entry)).map(|(id, _)| *id).collect();
        self.stop_gateways(&gone, inbox).await;
        for id in gone {
            self.gateways.remove(&id);
        }
        for vpc in desired.vpcs.iter().filter(|vpc| vpc.router.is_none()) {
            self.apply_router(vpc, inbox).await;
        }
        self.unplug_routers(&desired).await;
        for site in sites.into_values() {
            self.apply_gateway(site, inbox).await;
        }
        let is_here = |id: &VpcId| desired.vpcs.iter().any(|vpc| vpc.id == *id && vpc.router.is_none());
        let surplus: Vec<VpcId> = self.routers.keys().copied().filter(|id| !is_here(id)).collect();
        for id in surplus {
            self.chosen.remove(&id);
            self.settled.remove(&id);
            if let Some(router) = self.routers.remove(&id) {
                router.remove(&self.host).await;
            }
        }
        self.troubles.retain(|id, _| is_here(id));
        if !self.host.keep(&self.things()).await {
            self.retry_soon();
        }
        self.unrouted.extend(desired.vpcs.iter().map(|vpc| vpc.id));
        self.share();
        self.unrouted.retain(|id| desired.vpcs.iter().any(|vpc| vpc.id == *id));
        self.touch();
    }

    /// Everything in the kernel that the node has a use for.
    fn things(&self) -> BTreeSet<Thing> {
        let bridges = self.routers.values().flat_map(VpcRouter::own_bridges).map(Thing::Bridge);
        let ports = self.routers.values().flat_map(VpcRouter::ports);
        let ports = ports.map(|(interface, bridge)| Thing::Port { interface: interface.to_owned(), bridge });
        let routers = self.routers.values().map(|router| Thing::Namespace(router.namespace().to_owned()));
        let running = || self.gateways.values().filter(|entry| entry.handle.is_some());
        let gateways = running().map(|entry| Thing::Namespace(entry.namespace.clone()));
        let addresses = running().flat_map(|entry| &entry.bound).map(|address| self.host.public_address(*address));
        bridges.chain(ports).chain(routers).chain(gateways).chain(addresses).chain(self.inside.clone()).collect()
    }

    async fn apply_router(&mut self, vpc: &VpcDesired, inbox: &mut Inbox) {
        if self.settled.get(&vpc.id) == Some(vpc) {
            return;
        }
        self.settled.remove(&vpc.id);
        let host = Arc::clone(&self.host);
        let router = match self.routers.remove(&vpc.id) {
            Some(router) => router,
            None => {
                self.incarnations += 1;
                let create = VpcRouter::create(&host, vpc.id, self.incarnations, Arc::clone(&self.tables));
                match self.meanwhile(inbox, create).await {
                    Ok(router) => router,
                    Err(error) => return self.router_trouble(vpc.id, vec![(Concern::Router, error)]),
                }
            }
        };
        let inside = if vpc.cables.is_empty() { None } else { Some(self.inside()) };
        let (router, troubles) = self
            .meanwhile(inbox, async move {
                let mut router = router;
                let troubles = router.apply(&host, inside, vpc).await;
                (router, troubles)
            })
            .await;
        if troubles.is_empty() {
            self.settled.insert(vpc.id, vpc.clone());
        }
        self.routers.insert(vpc.id, router);
        // What was reported and chosen while it was away.
        self.unrouted.insert(vpc.id);
        self.router_trouble(vpc.id, troubles);
    }

    fn router_trouble(&mut self, vpc: VpcId, troubles: Vec<Trouble>) {
        for (_, error) in &troubles {
            tracing::warn!(%error, %vpc, "refused");
        }
        if troubles.is_empty() {
            self.troubles.remove(&vpc);
        } else {
            self.troubles.insert(vpc, troubles);
            self.retry_soon();
        }
    }

    /// What around a gateway is not in place: its network, its VPC's router, the underlay.
    fn trouble(&self, desired: &Site) -> Option<&SetupError> {
        let underlay = self.underlay_trouble.as_ref().filter(|_| !desired.public_addresses.is_empty());
        self.inside_trouble(desired).or(underlay)
    }

    fn inside_trouble(&self, desired: &Site) -> Option<&SetupError> {
        let router = self.vpc_troubles(desired.vpc?);
        let mut concerning = router.filter(|(concern, _)| match concern {
            Concern::Router => true,
            Concern::Network(network) => Some(*network) == desired.network,
            Concern::Lists | Concern::Custom | Concern::Cable => false,
        });
        concerning.next().map(|(_, error)| error)
    }

    /// What of a VPC's router is not in place, routes last.
    fn vpc_troubles(&self, vpc: VpcId) -> impl Iterator<Item = &Trouble> {
        let routes = self.routers.get(&vpc).map_or(&[][..], VpcRouter::unrouted);
        self.troubles.get(&vpc).into_iter().flatten().chain(routes)
    }

    async fn apply_gateway(&mut self, desired: Arc<Site>, inbox: &mut Inbox) {
        let entry = self.gateways.entry(desired.id).or_insert_with(|| Entry {
            desired: Arc::clone(&desired),
            handle: None,
            namespace: desired.namespace(),
            uplink: Uplink::None,
            bound: BTreeSet::new(),
            refused: None,
            report: None,
            drops: LinkDrops::new(),
            acknowledged: 0,
        });
        let before = std::mem::replace(&mut entry.desired, Arc::clone(&desired));
        let started = if entry.handle.is_some() {
            let moved = self.follow_router(&before, &desired).await;
            self.push(desired.id);
            moved
        } else {
            self.start_gateway(&desired).await
        };
        self.meanwhile(inbox, std::future::ready(())).await;
        if let Err(error) = started {
            tracing::warn!(%error, gateway = %desired.id, revision = desired.revision, "gateway refused");
            self.refuse_gateway(desired.id, &error, inbox).await;
        }
    }

    /// Undoes what there is of a gateway, reports why, and tries again later.
    async fn refuse_gateway(&mut self, id: VpnGatewayId, error: &SetupError, inbox: &mut Inbox) {
        self.stop_gateways(&[id], inbox).await;
        if let Some(entry) = self.gateways.get_mut(&id) {
            entry.refused = Some(error.refusal(entry.desired.revision));
        }
        self.retry_soon();
        self.touch();
    }

    /// Tells a running gateway what shall run.
    fn push(&self, id: VpnGatewayId) {
        let Some(entry) = self.gateways.get(&id) else { return };
        let Some(handle) = &entry.handle else { return };
        let (vpc, underlay_mtu) = (self.vpc_routes(&entry.desired, entry.uplink), self.host.underlay_mtu());
        let lapsed = self.lapsed;
        let connections = entry.desired.connections.iter().map(|connection| connection.id);
        self.directory.put(id, entry.bound.iter().copied(), connections, handle.words.clone());
        handle.wanted.send_if_modified(|wanted| {
            let same = wanted.desired == entry.desired
                && (&wanted.vpc, wanted.underlay_mtu, wanted.lapsed) == (&vpc, underlay_mtu, lapsed);
            if !same {
                wanted.lapsed = lapsed;
                wanted.desired = Arc::clone(&entry.desired);
                wanted.vpc = vpc;
                wanted.underlay_mtu = underlay_mtu;
            }
            !same
        });
    }

    /// Namespace, attachment, public addresses, sockets, actor.
    async fn start_gateway(&mut self, desired: &Arc<Site>) -> Result<(), SetupError> {
        let id = desired.id;
        if let Some(error) = self.inside_trouble(desired) {
            return Err(error.clone());
        }
        let vpc = self.vpc_routes(desired, self.uplink(desired));
        let namespace = self.host.make_namespace(&desired.namespace())?;
        self.attach(desired, &namespace).await?;
        let Some(entry) = self.gateways.get_mut(&id) else { return Ok(()) };
        for address in &desired.public_addresses {
            let item = format!("IKE and ESP sockets on {address}");
            self.host.add_public_address(*address).await?;
            self.around.datapath.bind(*address).map_err(SetupError::at(&item))?;
            entry.bound.insert(*address);
        }
        let wanted = Wanted {
            desired: Arc::clone(desired),
            vpc,
            underlay_mtu: self.host.underlay_mtu(),
            lapsed: self.lapsed,
            routes: Arc::default(),
            decisions: Arc::default(),
        };
        self.incarnations += 1;
        let handle = Gateway::start(self.incarnations, wanted, namespace, self.around.clone())?;
        let connections = desired.connections.iter().map(|connection| connection.id);
        self.directory.put(id, entry.bound.iter().copied(), connections, handle.words.clone());
        entry.handle = Some(handle);
        entry.refused = None;
        if !desired.public_addresses.is_empty() {
            self.host.announce(desired.public_addresses.clone()).await;
        }
        Ok(())
    }

    /// Undoes [`Self::start_gateway`], however far it came, for several gateways at the same time.
    async fn stop_gateways(&mut self, ids: &[VpnGatewayId], inbox: &mut Inbox) {
        let deadline = Instant::now() + STOP_PATIENCE;
        let mut stopping = Vec::new();
        for id in ids {
            if let Some(handle) = self.gateways.get_mut(id).and_then(|entry| entry.handle.take()) {
                handle.stop();
                stopping.push((*id, handle));
            }
        }
        for (id, handle) in stopping {
            if !self.meanwhile(inbox, handle.ended(deadline)).await {
                tracing::warn!(gateway = %id, "the gateway did not close in time");
            }
        }
        for id in ids {
            let Some(entry) = self.gateways.get_mut(id) else { continue };
            self.directory.remove(*id);
            entry.report = None;
            entry.drops.clear();
            for address in std::mem::take(&mut entry.bound) {
                if let Err(error) = self.around.datapath.unbind(address) {
                    tracing::warn!(%error, "cannot close the sockets of a public address");
                }
                self.host.remove_public_address(address).await;
            }
            let vpc = entry.desired.vpc;
            if let Some(router) = vpc.and_then(|vpc| self.routers.get_mut(&vpc))
                && let Err(error) = router.detach(*id).await
            {
                tracing::warn!(%error, gateway = %id, "cannot take a gateway off its router");
            }
            let hung = std::mem::take(&mut entry.uplink);
            if matches!(hung, Uplink::Cable(..)) {
                cables::unplug(&entry.namespace).await;
            }
            self.host.remove_namespace(&entry.namespace);
            self.unrouted.extend(vpc);
        }
    }

    fn subnets(&self, vpc: VpcId) -> Vec<IpNet> {
        let networks = self.desired.vpcs.iter().filter(|other| other.id == vpc).flat_map(|vpc| &vpc.networks);
        networks.flat_map(|network| network.subnets.iter().copied()).collect()
    }

    /// Whether every router still hangs on its Private Networks. What cannot be seen is taken to be in order.
    async fn is_attached(&self) -> bool {
        let Ok(links) = self.host.netlink().links().await else { return true };
        let links = links.iter().map(|link| (link.name.as_str(), link)).collect();
        self.routers.values().all(|router| router.is_attached(&links))
    }

    /// What the gateways of a VPC have to know of it.
    fn vpc_routes(&self, site: &Site, uplink: Uplink) -> VpcRoutes {
        let cut = self.shared.is_cut(site.id, uplink);
        let Some(vpc) = site.vpc else { return VpcRoutes::default() };
        VpcRoutes {
            subnets: self.subnets(vpc),
            custom: self.custom_routes(vpc).into_keys().collect(),
            announce_custom: self.vpc(vpc).is_some_and(|vpc| vpc.announce_custom_routes),
            uplink,
            cut,
        }
    }

    fn gateway_report(&mut self, report: GatewayReport) {
        let current =
            |entry: &&mut Entry| entry.handle.as_ref().is_some_and(|handle| handle.incarnation == report.incarnation);
        let Some(entry) = self.gateways.get_mut(&report.gateway.id).filter(current) else { return };
        let mut report = report;
        let known = entry.report.as_ref().map(|before| &before.learned);
        if let Some(known) = known.filter(|known| **known == report.learned) {
            // So that whoever gets it sees at a glance that it is the same.
            report.learned = Arc::clone(known);
        } else {
            self.unrouted.extend(entry.desired.vpc);
            if report.urgent {
                self.routes_at = Instant::now();
            }
        }
        let delay = if report.only_counters { COUNTER_DELAY } else { REPORT_DELAY };
        let shares = matches!(entry.uplink, Uplink::Cable(..));
        entry.report = Some(report);
        self.touch_within(delay);
        if shares {
            self.share_learned();
        }
    }

    /// An actor is gone. If nobody stopped it, it is started again.
    async fn gateway_ended(&mut self, id: VpnGatewayId, incarnation: u64, inbox: &mut Inbox) {
        let unexpected = self
            .gateways
            .get(&id)
            .and_then(|entry| entry.handle.as_ref())
            .is_some_and(|handle| handle.incarnation == incarnation);
        if unexpected {
            let (item, error) = ("gateway's task".to_owned(), "it ended unexpectedly and is started again".to_owned());
            let error = SetupError { item, error };
            tracing::error!(%error, gateway = %id, "a gateway is down");
            self.refuse_gateway(id, &error, inbox).await;
        }
    }

    /// With back-off up to a minute (system.md §3, nodes, row 5); a new configuration begins anew.
    fn retry_soon(&mut self) {
        let now = Instant::now();
        if now.saturating_duration_since(self.troubled) > 2 * RETRY_LIMIT {
            self.retry_delay = RETRY_FIRST;
        }
        self.troubled = now;
        if self.retry_at.is_none() {
            self.retry_at = Some(now + self.retry_delay);
            self.retry_delay = (self.retry_delay * 2).min(RETRY_LIMIT);
        }
    }

    async fn close(&mut self, inbox: &mut Inbox) {
        let ids: Vec<VpnGatewayId> = self.gateways.keys().copied().collect();
        self.stop_gateways(&ids, inbox).await;
        for (_, router) in std::mem::take(&mut self.routers) {
            router.remove(&self.host).await;
        }
        self.host.close().await;
    }
}
