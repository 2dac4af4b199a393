//! The task that makes the tunnels and keeps them: the namespace inside them, the UDP port outside, IKE, and its associations on the packet path.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_crypto::Entropy;
use causeway_datapath::{Datapath, Event as PathEvent, Outbound};
use causeway_fleet::authority::node_name;
use causeway_fleet::witness::PORT;
use causeway_ike::{ChildId, ChildSa, Endpoint, EndpointConfig, Event, Identity, PeerConfig, PeerKey};
use causeway_linux::Namespace;
use causeway_model::desired::{Peer, Timers};
use causeway_model::diagnosis::PeerTunnel;
use causeway_model::suite::Cipher;
use causeway_model::{ConnectionId, Family, Fault, NodeId, ReasonCode, VpnGatewayId};
use tokio::net::lookup_host;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::place::{Place, address_towards};
use super::{Cables, Exchange, Peering, share};
use crate::associations::Associations;
use crate::clock::wall_clock;
use crate::dispatch::{self, Directory, Word};
use crate::error::SetupError;
use crate::host::Host;

/// Counters are looked at this often, for liveness and rekeying by packets.
const TICK: Duration = Duration::from_secs(1);
/// What could not be made is tried again after this long.
const RETRY: Duration = Duration::from_secs(2);
/// Whether the management address is still the same one is looked at this often.
const ADDRESS_AGAIN: Duration = Duration::from_secs(10);
/// The end gets this long to tell the other nodes.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// What tunnels between nodes need to be quick about: with the shortest keepalive period a lease lasts 6 s, so that a way that is there again is to
/// be found within a second or two. There are six tunnels at most, so that this costs little.
fn endpoint_config() -> EndpointConfig {
    EndpointConfig {
        ike_port: PORT,
        encapsulation_port: PORT,
        half_open_timeout: Duration::from_secs(5),
        retransmit_first: Duration::from_millis(250),
        retransmit_cap: Duration::from_secs(1),
        attempt_timeout: Duration::from_secs(3),
        retry_first: Duration::from_millis(500),
        retry_cap: Duration::from_secs(1),
        childless_timeout: Duration::from_secs(5),
        ..EndpointConfig::default()
    }
}

/// Evidence of an attempt's fault: the code of what ended the tunnel before.
pub(super) const WENT_DOWN: &str = "went_down";

const TIMERS: Timers = Timers {
    ike_lifetime: 8 * 3600,
    child_lifetime: 3600,
    child_packets: 1 << 30,
    dpd_delay: 2,
    dpd_timeout: 4,
    hold_time: 0,
    max_prefixes: 0,
};

/// What the task needs from the node.
pub(crate) struct Around {
    /// The node's own namespace.
    pub(crate) host: Arc<Host>,
    /// The packet path.
    pub(crate) datapath: Arc<Datapath>,
    /// Who gets what from it.
    pub(crate) directory: Arc<Directory>,
    /// Where IKE gets its randomness.
    pub(crate) entropy: fn() -> Box<dyn Entropy>,
}

/// The running task.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Closes the tunnels in order, and takes away everything that they had in the kernel.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_PATIENCE, &mut self.task).await.is_err() {
            tracing::warn!("the tunnels to other nodes did not close in time");
            self.task.abort();
        }
    }
}

/// Starts the task of `node`.
pub(crate) fn start(peering: Peering, node: NodeId, around: Around, exchange: Exchange) -> Running {
    let (words, queue) = mpsc::channel(dispatch::QUEUE);
    let stop = CancellationToken::new();
    let (wanted, cables) = (peering.0.wanted.subscribe(), peering.0.cables.subscribe());
    let ike = Endpoint::new(endpoint_config(), (around.entropy)());
    let actor = Actor {
        node,
        peering,
        around,
        wanted,
        words,
        ike,
        bound: None,
        tunnels: BTreeMap::new(),
        retry_at: None,
        cables,
        admitted: Cables::new(),
        told: BTreeSet::new(),
        stop: stop.clone(),
    };
    Running { stop, task: tokio::spawn(actor.run(queue, exchange)) }
}

/// An installed Child SA.
struct Child {
    local: IpAddr,
    inbound_spi: u32,
    outbound: Outbound,
    seen: u64,
}

/// The tunnel to one node.
struct Tunnel {
    peer: Peer,
    children: BTreeMap<ChildId, Child>,
    /// The one that is sent on.
    sending: Option<ChildId>,
    /// Why it went, until it is up again.
    went: Option<ReasonCode>,
    facts: PeerTunnel,
}

struct Actor {
    node: NodeId,
    peering: Peering,
    around: Around,
    wanted: watch::Receiver<Vec<Peer>>,
    words: mpsc::Sender<Word>,
    ike: Endpoint,
    /// Where the tunnels end here.
    bound: Option<SocketAddr>,
    tunnels: BTreeMap<NodeId, Tunnel>,
    retry_at: Option<Instant>,
    /// Which cables there are to be, and which are let in from whose tunnels.
    cables: watch::Receiver<Cables>,
    admitted: Cables,
    /// Troubles that have been logged and are not over.
    told: BTreeSet<String>,
    stop: CancellationToken,
}

/// What a tunnel is called on the packet path. Ids of nodes and of connections are never the same.
const fn path_id(node: NodeId) -> ConnectionId {
    ConnectionId(node.0)
}

const fn node_of(tunnel: ConnectionId) -> NodeId {
    NodeId(tunnel.0)
}

impl Actor {
    async fn run(mut self, mut queue: mpsc::Receiver<Word>, exchange: Exchange) {
        let stop = self.stop.clone();
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = self.make_place() => place,
        };
        self.peering.0.inside.send_replace(Some(place.inside().clone()));
        let (address_tx, mut address) = watch::channel(None);
        let (controller, outside) = (self.peering.0.controller.clone(), self.around.host.namespace().clone());
        let watching = tokio::spawn(watch_address(controller, outside, address_tx));
        let sharing = tokio::spawn(share::run(self.peering.clone(), exchange, stop.child_token()));
        self.wanted.mark_changed();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let far = Duration::from_secs(3600);
        loop {
            self.drain();
            let now = Instant::now();
            let ike_at = self.ike.poll_timeout().map_or(now + far, |(at, _)| at);
            tokio::select! {
                () = stop.cancelled() => break,
                Ok(()) = self.wanted.changed() => {
                    let address = *address.borrow();
                    self.apply(&place, address).await;
                }
                Ok(()) = self.cables.changed() => {
                    let address = *address.borrow();
                    self.apply(&place, address).await;
                }
                Ok(()) = address.changed() => {
                    let address = *address.borrow_and_update();
                    self.apply(&place, address).await;
                }
                Some(word) = queue.recv() => self.word(word),
                () = sleep_until(ike_at.into()) => self.ike.handle_timeout(Instant::now()),
                () = sleep_until(self.retry_at.unwrap_or(now + far).into()), if self.retry_at.is_some() => {
                    let address = *address.borrow();
                    self.apply(&place, address).await;
                }
                _ = tick.tick() => self.watch_traffic(),
            }
        }
        watching.abort();
        sharing.abort();
        self.close();
    }

    /// Until it can be made.
    async fn make_place(&mut self) -> Place {
        loop {
            match Place::make(&self.around.host, self.node).await {
                Ok(place) => return place,
                Err(error) => self.complain(&error),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Logs a trouble once.
    fn complain(&mut self, error: &SetupError) {
        if self.told.insert(error.to_string()) {
            tracing::warn!(%error, "a tunnel to another node cannot be made; trying again");
        }
    }

    /// Brings everything to what is wanted: the port, the devices, IKE's peers.
    async fn apply(&mut self, place: &Place, address: Option<IpAddr>) {
        self.retry_at = None;
        let wanted: Vec<Peer> = self.wanted.borrow_and_update().clone();
        let mut troubles = Vec::new();
        if let Err(error) = self.bind(address) {
            troubles.push(error);
        }
        let gone: Vec<NodeId> =
            self.tunnels.keys().copied().filter(|node| !wanted.iter().any(|peer| peer.node == *node)).collect();
        for node in gone {
            self.remove(node);
        }
        let cables = self.cables.borrow_and_update().clone();
        let admitted = wanted.iter().map(|peer| (peer.node, cables.get(&peer.node).cloned().unwrap_or_default()));
        let admitted: Cables = admitted.collect();
        if self.admitted != admitted {
            match place.admit(&admitted).await {
                Ok(()) => self.admitted = admitted,
                Err(error) => troubles.push(error),
            }
        }
        for peer in wanted {
            if let Err(error) = self.lead_to(place, peer).await {
                troubles.push(error);
            }
        }
        if troubles.is_empty() {
            self.told.clear();
        } else {
            self.retry_at = Some(Instant::now() + RETRY);
        }
        for trouble in troubles {
            self.complain(&trouble);
        }
        self.drain();
        self.tell();
    }

    /// Has the port open on the management address.
    fn bind(&mut self, address: Option<IpAddr>) -> Result<(), SetupError> {
        // While the machine has no way to the controller its address is what it was.
        let Some(wanted) = address.map(|address| SocketAddr::new(address, PORT)) else { return Ok(()) };
        if self.bound == Some(wanted) {
            return Ok(());
        }
        if let Some(before) = self.bound.take() {
            tracing::info!(%before, now = %wanted, "the node's management address has changed");
            self.peering.0.end.send_replace(None);
            if let Err(error) = self.around.datapath.unbind_alone(before) {
                tracing::warn!(%error, "the port of tunnels to other nodes cannot be closed");
            }
        }
        let item = format!("UDP port of tunnels to other nodes, {wanted}");
        let datapath = &self.around.datapath;
        let bound = self.around.host.namespace().run(|| datapath.bind_alone(wanted));
        bound.map_err(SetupError::at(&item))?.map_err(SetupError::at(&item))?;
        self.bound = Some(wanted);
        self.peering.0.end.send_replace(Some(wanted));
        Ok(())
    }

    /// Has the tunnel to `peer` as it is wanted.
    async fn lead_to(&mut self, place: &Place, peer: Peer) -> Result<(), SetupError> {
        let node = peer.node;
        let is_new = !self.tunnels.contains_key(&node);
        if is_new {
            let tun = place.make_tun(node).await?;
            let item = format!("tunnel to node {node}");
            // Before the packet threads can say anything of it.
            let tunnels = self.tunnels.keys().chain([&node]).map(|node| path_id(*node)).collect();
            self.around.directory.put_peering(self.words.clone(), tunnels);
            let group = VpnGatewayId(self.node.0);
            self.around.datapath.add_tunnel(path_id(node), group, tun).map_err(SetupError::at(&item))?;
            let facts = PeerTunnel::new(node, peer.address, peer.asks, wall_clock());
            let tunnel = Tunnel { peer: peer.clone(), children: BTreeMap::new(), sending: None, went: None, facts };
            self.tunnels.insert(node, tunnel);
        }
        let Some(tunnel) = self.tunnels.get_mut(&node) else { return Ok(()) };
        tunnel.facts.endpoint = peer.address;
        tunnel.facts.asks = peer.asks;
        tunnel.peer = peer;
        let config = self.bound.and_then(|bound| peer_config(self.node, bound, &tunnel.peer));
        let now = Instant::now();
        let Some(config) = config else {
            // Of another version of the program, or another family: there is nothing that could be done.
            tunnel.facts.fault.get_or_insert_with(|| ReasonCode::PeerUnreachable.into());
            return Ok(());
        };
        let key = config.key;
        for family in Family::ALL.into_iter().filter(|family| *family != key.family) {
            self.ike.remove_peer(now, PeerKey { family, ..key });
        }
        let known = self.ike.ike_info(key).is_some();
        self.ike.set_peer(now, config);
        if is_new || !known {
            self.ike.start(now, key);
        }
        Ok(())
    }

    fn remove(&mut self, node: NodeId) {
        for family in Family::ALL {
            self.ike.remove_peer(Instant::now(), PeerKey { connection: path_id(node), family });
        }
        self.drain();
        if self.tunnels.remove(&node).is_some()
            && let Err(error) = self.around.datapath.remove_tunnel(path_id(node))
        {
            tracing::warn!(%error, %node, "the tunnel to another node cannot be removed");
        }
        let tunnels = self.tunnels.keys().map(|node| path_id(*node)).collect();
        self.around.directory.put_peering(self.words.clone(), tunnels);
    }

    fn close(&mut self) {
        for node in self.tunnels.keys().copied().collect::<Vec<_>>() {
            self.remove(node);
        }
        if let Some(bound) = self.bound.take() {
            self.peering.0.end.send_replace(None);
            let _ = self.around.datapath.unbind_alone(bound);
        }
        self.peering.0.inside.send_replace(None);
        self.around.host.remove_namespace(&super::namespace_name(self.node));
        self.tell();
    }

    fn word(&mut self, word: Word) {
        let now = Instant::now();
        match word {
            Word::Ike(datagram) => self.ike.handle_datagram(now, datagram.local, datagram.remote, &datagram.payload),
            Word::Path(PathEvent::FirstInbound { tunnel, spi }) => {
                let mut children = self.tunnels.get(&node_of(tunnel)).into_iter().flat_map(|known| &known.children);
                if let Some((id, child)) = children.find(|(_, child)| child.inbound_spi == spi) {
                    let key = PeerKey { connection: tunnel, family: Family::of(child.local) };
                    self.ike.handle_inbound_traffic(now, key);
                    self.ike.handle_inbound_on_child(now, *id);
                }
            }
            Word::Path(PathEvent::RemoteMoved { tunnel, remote, .. }) => self.follow(node_of(tunnel), remote),
            Word::Path(PathEvent::Unreachable { remote, .. }) => self.ike.handle_unreachable(now, remote),
            Word::Path(PathEvent::SourceSeen { .. }) => {}
        }
    }

    /// Sends what IKE wants sent and does what it decided.
    fn drain(&mut self) {
        let mut is_news = false;
        loop {
            while let Some(transmit) = self.ike.poll_transmit() {
                let sent = self.around.datapath.send_ike(transmit.local, transmit.remote, &transmit.payload);
                if let Err(error) = sent {
                    // As good as lost on the way: IKE retransmits.
                    tracing::debug!(%error, "an IKE message to another node was not sent");
                }
            }
            let Some(event) = self.ike.poll_event() else { break };
            self.event(event);
            is_news = true;
        }
        if is_news {
            self.tell();
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::IkeEstablished { .. } | Event::IkeRekeyed { .. } => {}
            Event::ChildInstalled { peer, child } => {
                let id = child.id;
                if let Err(error) = self.install(node_of(peer.connection), child) {
                    tracing::error!(%error, "a Child SA to another node could not be installed");
                    let fault = Fault::new(ReasonCode::ChildInstallFailed).with("error", error.error);
                    self.ike.refuse_child(Instant::now(), id, fault);
                }
            }
            Event::ChildActivated { peer, child } => self.send_on(node_of(peer.connection), Some(child)),
            Event::ChildRemoved { peer, child } => {
                let node = node_of(peer.connection);
                let Some(tunnel) = self.tunnels.get_mut(&node) else { return };
                let Some(removed) = tunnel.children.remove(&child) else { return };
                self.around.datapath.remove_inbound(removed.local, removed.inbound_spi);
                if tunnel.sending == Some(child) {
                    let newest = tunnel.children.keys().max().copied();
                    self.send_on(node, newest);
                }
            }
            Event::RemoteMoved { peer, remote } => self.follow(node_of(peer.connection), remote),
            Event::TunnelDown { peer, fault } => {
                let node = node_of(peer.connection);
                tracing::info!(%node, reason = fault.code.as_str(), "the tunnel to another node is down");
                if let Some(tunnel) = self.tunnels.get_mut(&node) {
                    tunnel.went = Some(fault.code);
                }
                self.fault(node, fault);
            }
            Event::AttemptFailed { peer, fault, .. } => self.fault(node_of(peer.connection), fault),
            Event::Trouble { peer, fault } => {
                let node = node_of(peer.connection);
                tracing::debug!(%node, reason = fault.code.as_str(), "trouble with the tunnel to another node");
            }
        }
    }

    /// Why a tunnel is down; while it is up nothing is said of attempts.
    fn fault(&mut self, node: NodeId, fault: Fault) {
        if let Some(tunnel) = self.tunnels.get_mut(&node).filter(|tunnel| tunnel.children.is_empty()) {
            // What the attempts meet since then does not say why it went in the first place.
            let went = tunnel.went.filter(|went| *went != fault.code);
            tunnel.facts.fault = Some(match went {
                Some(went) => fault.with(WENT_DOWN, went.as_str()),
                None => fault,
            });
        }
    }

    fn install(&mut self, node: NodeId, child: ChildSa) -> Result<(), SetupError> {
        let item = format!("Child SA {:#010x} of node {node}", child.inbound_spi);
        let Some(tunnel) = self.tunnels.get_mut(&node) else { return Ok(()) };
        let Associations { inbound, outbound, .. } = Associations::of(&child, &item)?;
        let (local, inbound_spi) = (inbound.local, inbound.spi);
        self.around.datapath.install_inbound(path_id(node), inbound).map_err(SetupError::at(&item))?;
        tunnel.facts.rekeys = child.rekeys;
        tunnel.children.insert(child.id, Child { local, inbound_spi, outbound, seen: 0 });
        if child.use_for_sending || tunnel.sending.is_none() {
            self.send_on(node, Some(child.id));
        }
        Ok(())
    }

    /// Points the packet path at the child that is sent on.
    fn send_on(&mut self, node: NodeId, child: Option<ChildId>) {
        let Some(tunnel) = self.tunnels.get_mut(&node) else { return };
        tunnel.sending = child.filter(|child| tunnel.children.contains_key(child));
        let outbound = tunnel.sending.and_then(|child| tunnel.children.get(&child));
        let outbound = outbound.map(|child| child.outbound.clone());
        if let Err(error) = self.around.datapath.set_outbound(path_id(node), outbound) {
            tracing::error!(%error, %node, "the packet path does not know the tunnel to another node");
        }
    }

    /// The other end sends from another port.
    fn follow(&mut self, node: NodeId, remote: SocketAddr) {
        let Some(tunnel) = self.tunnels.get_mut(&node) else { return };
        for (id, child) in &mut tunnel.children {
            child.outbound.remote = remote;
            if tunnel.sending == Some(*id) {
                // Fails only when the tunnel is gone, and then there is nothing to move.
                let _ = self.around.datapath.set_remote(path_id(node), child.local, remote);
            }
        }
    }

    /// Tells IKE what arrived and what was sent, for liveness and for rekeying by packets.
    fn watch_traffic(&mut self) {
        let now = Instant::now();
        let datapath = &self.around.datapath;
        for (node, tunnel) in &mut self.tunnels {
            for (id, child) in &mut tunnel.children {
                let packets = datapath.inbound_packets(child.local, child.inbound_spi).unwrap_or(0);
                if packets > child.seen {
                    if child.seen == 0 {
                        // The event for it may have found no room.
                        self.ike.handle_inbound_on_child(now, *id);
                    }
                    child.seen = packets;
                    let key = PeerKey { connection: path_id(*node), family: Family::of(child.local) };
                    self.ike.handle_inbound_traffic(now, key);
                }
            }
            if let (Some(child), Some(packets)) = (tunnel.sending, datapath.sent_packets(path_id(*node))) {
                self.ike.handle_packets_sent(now, child, packets);
            }
        }
    }

    /// Says how the tunnels are, where that has changed.
    fn tell(&mut self) {
        let now = wall_clock();
        for tunnel in self.tunnels.values_mut() {
            let up = !tunnel.children.is_empty();
            if up != tunnel.facts.up {
                (tunnel.facts.up, tunnel.facts.since) = (up, now);
                if up {
                    (tunnel.facts.fault, tunnel.went) = (None, None);
                    tracing::info!(node = %tunnel.peer.node, "the tunnel to another node is up");
                }
            }
        }
        let up: BTreeSet<NodeId> =
            self.tunnels.iter().filter(|(_, tunnel)| tunnel.facts.up).map(|(node, _)| *node).collect();
        self.peering.0.up.send_if_modified(|known| {
            let is_news = *known != up;
            *known = up;
            is_news
        });
        let Some(board) = &self.peering.0.board else { return };
        let tunnels: Vec<PeerTunnel> = self.tunnels.values().map(|tunnel| tunnel.facts.clone()).collect();
        let end = self.bound;
        board.send_if_modified(|facts| {
            let is_news = (&facts.tunnels, facts.tunnels_end) != (&tunnels, end);
            (facts.tunnels, facts.tunnels_end) = (tunnels, end);
            is_news
        });
    }
}

/// What IKE is told of the tunnel from `bound` to `peer`; `None`: there can be none.
fn peer_config(node: NodeId, bound: SocketAddr, peer: &Peer) -> Option<PeerConfig> {
    let (local, remote) = (bound.ip(), peer.address.ip());
    let key = peer.key.clone()?;
    if Family::of(local) != Family::of(remote) || peer.address.port() != PORT {
        return None;
    }
    Some(PeerConfig {
        key: PeerKey { connection: path_id(peer.node), family: Family::of(local) },
        local,
        remote,
        local_identity: Identity::Fqdn(node_name(node)),
        remote_identity: Identity::Fqdn(node_name(peer.node)),
        // Either end, so that whichever notices first that the way is there again makes the tunnel.
        initiate: true,
        ike_proposals: vec![Cipher::DEFAULT_IKE],
        esp_proposals: vec![Cipher::DEFAULT_ESP],
        psks: vec![key],
        timers: TIMERS,
    })
}

/// Follows the address that is used towards the controller.
async fn watch_address((host, port): (String, u16), outside: Namespace, address: watch::Sender<Option<IpAddr>>) {
    loop {
        let target = lookup_host((host.as_str(), port)).await.ok().and_then(|mut found| found.next());
        let found = target.and_then(|target| address_towards(&outside, target).ok());
        if let Some(found) = found {
            address.send_if_modified(|known| known.replace(found) != Some(found));
        }
        let known = address.borrow().is_some();
        tokio::time::sleep(if known { ADDRESS_AGAIN } else { RETRY }).await;
    }
}
