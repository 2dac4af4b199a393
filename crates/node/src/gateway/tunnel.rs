//! What IKE decides, carried out: associations installed and removed on the packet path, and the facts of each tunnel kept.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use causeway_datapath::{Event as PathEvent, Outbound};
use causeway_esp::{EspSuite, inner_mtu};
use causeway_ike::{ChildId, ChildSa, Event, IkeInfo, PeerKey};
use causeway_model::desired::{BgpDesired, ConnectionDesired, TunnelDesired};
use causeway_model::observed::{ChildFacts, IkeFacts, TunnelCounters, TunnelFacts};
use causeway_model::reason::Layer;
use causeway_model::suite::Integrity;
use causeway_model::{ConnectionId, Family, Fault, ReasonCode, Timestamp};

use super::Gateway;
use super::connection::Connection;
use crate::associations::Associations;
use crate::clock::wall_clock;
use crate::error::SetupError;
use crate::session;

/// IPv6 needs this much everywhere (RFC 8200 §5).
const LEAST_MTU: u32 = 1280;

/// An IPv4 tunnel that had been lost is sent on again after it was up for this long (system.md §1.1).
const RETURN_AFTER: Duration = Duration::from_secs(30);

/// Evidence of an attempt's fault: the code of what ended the tunnel before.
const WENT_DOWN: &str = "went_down";

/// An installed Child SA.
pub(super) struct Child {
    peer: PeerKey,
    local: IpAddr,
    inbound_spi: u32,
    outbound: Outbound,
    suite: EspSuite,
    /// What it carries.
    families: Vec<Family>,
    facts: ChildFacts,
    seen: u64,
}

/// Facts of a tunnel that has not been up yet.
pub(super) fn new_tunnel_facts(tunnel: &TunnelDesired, mtu: u32) -> TunnelFacts {
    TunnelFacts {
        family: tunnel.family(),
        local: tunnel.local,
        peer: tunnel.peer,
        up: false,
        ever_up: false,
        since: wall_clock(),
        fault: None,
        ike: None,
        child: None,
        mtu,
        counters: TunnelCounters::default(),
    }
}

/// What a tunnel leaves inside until a cipher is negotiated: the least with any of the proposals.
fn assumed_tunnel_mtu(tunnel: &TunnelDesired, desired: &ConnectionDesired, underlay_mtu: u32) -> u32 {
    let mtus = desired.esp_proposals.iter().map(|cipher| {
        let integrity = (!cipher.encryption.is_aead()).then(|| cipher.integrity.unwrap_or(Integrity::Sha512));
        inner_mtu(underlay_mtu, tunnel.family(), true, EspSuite::new(cipher.encryption, integrity))
    });
    mtus.min().unwrap_or(LEAST_MTU)
}

/// The inside MTU of a connection before any of its tunnels is up.
pub(super) fn assumed_mtu(desired: &ConnectionDesired, underlay_mtu: u32) -> u32 {
    let mtus = desired.tunnels.iter().map(|tunnel| assumed_tunnel_mtu(tunnel, desired, underlay_mtu));
    mtus.min().unwrap_or(LEAST_MTU).max(LEAST_MTU)
}

/// The inside MTU: the lowest of the tunnels (system.md §1.1), also of one that is down at present, so that a change-over does not move it.
pub(super) fn inside_mtu(connection: &Connection, underlay_mtu: u32) -> u32 {
    let of = |tunnel: &TunnelDesired| {
        let children = connection.children.values().filter(|child| child.peer.family == tunnel.family());
        let negotiated = children.map(|child| inner_mtu(underlay_mtu, tunnel.family(), true, child.suite)).min();
        negotiated.unwrap_or_else(|| assumed_tunnel_mtu(tunnel, &connection.desired, underlay_mtu))
    };
    connection.desired.tunnels.iter().map(of).min().unwrap_or(LEAST_MTU).max(LEAST_MTU)
}

/// The one of two tunnels that alone is `whole`, which is to carry all that is routed over it; else IPv4's, unless that has not been up again for long
/// enough.
fn best(
    active: &BTreeMap<Family, ChildId>,
    whole: impl Fn(ChildId) -> bool,
    ipv4_steady_at: Instant,
    now: Instant,
) -> Option<ChildId> {
    let (ipv4, ipv6) = (active.get(&Family::Ipv4).copied(), active.get(&Family::Ipv6).copied());
    match (ipv4, ipv6) {
        (Some(ipv4), Some(ipv6)) if whole(ipv4) != whole(ipv6) => Some(if whole(ipv4) { ipv4 } else { ipv6 }),
        (_, Some(_)) if now < ipv4_steady_at => ipv6,
        _ => ipv4.or(ipv6),
    }
}

impl Connection {
    /// The families that have a session of BGP, and with it routes.
    fn routed(&self) -> Vec<Family> {
        self.desired.bgp.iter().filter(|bgp| bgp.policy.is_some()).map(BgpDesired::family).collect()
    }

    /// See [`best`].
    fn best(&self, now: Instant) -> Option<ChildId> {
        let routed = self.routed();
        let whole = |id| {
            self.children.get(&id).is_some_and(|child| routed.iter().all(|family| child.families.contains(family)))
        };
        best(&self.active, whole, self.ipv4_steady_at, now)
    }
}

impl Gateway {
    /// Sends what IKE wants sent and does what it decided.
    pub(super) async fn drain_ike(&mut self) {
        loop {
            while let Some(transmit) = self.ike.poll_transmit() {
                let sent = self.around.datapath.send_ike(transmit.local, transmit.remote, &transmit.payload);
                if let Err(error) = sent {
                    // As good as lost on the way: IKE retransmits.
                    tracing::debug!(%error, gateway = %self.id, "an IKE message was not sent");
                }
            }
            let Some(event) = self.ike.poll_event() else { return };
            self.ike_event(event).await;
            self.touch();
        }
    }

    async fn ike_event(&mut self, event: Event) {
        match event {
            Event::IkeEstablished { peer, info } | Event::IkeRekeyed { peer, info } => self.ike_up(peer, info),
            Event::ChildInstalled { peer, child } => {
                let (id, first) = (child.id, child.rekeys == 0);
                let installed = self.install(peer, child);
                self.tunnel_changed(peer.connection).await;
                match installed {
                    Ok(()) => self.note_narrowed(peer.connection),
                    Err(error) => {
                        tracing::error!(%error, connection = %peer.connection, "a Child SA could not be installed");
                        self.not_installed(peer, id, &error);
                    }
                }
                if first {
                    self.probe_sessions(peer.connection).await;
                }
            }
            Event::ChildActivated { peer, child } => {
                let connection = self.connections.get_mut(&peer.connection);
                if let Some(connection) = connection.filter(|connection| connection.children.contains_key(&child)) {
                    connection.active.insert(peer.family, child);
                    self.send_on_best(peer.connection);
                }
            }
            Event::ChildRemoved { peer, child } => self.remove_child(peer, child).await,
            Event::RemoteMoved { peer, remote } => {
                if let Some(ike) = self.tunnel(peer).and_then(|facts| facts.ike.as_mut()) {
                    ike.peer_endpoint = remote.to_string();
                }
                self.move_children(peer.connection, remote, |child| child.peer == peer);
            }
            Event::TunnelDown { peer, fault } => {
                // Where only the Child SA went, the next one is made by the IKE SA that is there.
                let established = self.ike.ike_info(peer).is_some();
                if let Some(facts) = self.tunnel(peer) {
                    facts.ike = facts.ike.take().filter(|_| established);
                    facts.fault = Some(fault);
                }
            }
            Event::AttemptFailed { peer, fault, ours } => self.attempt_failed(peer, fault, ours),
            Event::Trouble { peer, fault } => {
                if let Some(facts) = self.tunnel(peer).filter(|facts| facts.up) {
                    facts.fault = Some(fault);
                }
            }
        }
    }

    fn tunnel(&mut self, peer: PeerKey) -> Option<&mut TunnelFacts> {
        let connection = self.connections.get_mut(&peer.connection)?;
        connection.tunnels.iter_mut().find(|facts| facts.family == peer.family)
    }

    fn ike_up(&mut self, peer: PeerKey, info: IkeInfo) {
        if let Some(connection) = self.connections.get_mut(&peer.connection) {
            match connection.desired.psks.get(info.psk) {
                Some(psk) => connection.proved.insert(peer.family, psk.clone()),
                None => connection.proved.remove(&peer.family),
            };
        }
        let Some(facts) = self.tunnel(peer) else { return };
        let established_at = match &facts.ike {
            Some(ike) if info.rekeys > ike.rekeys => ike.established_at,
            _ => wall_clock(),
        };
        facts.ike = Some(IkeFacts {
            suite: info.suite,
            established_at,
            initiator: info.initiator,
            rekeys: info.rekeys,
            peer_endpoint: info.remote.to_string(),
            psk: u32::try_from(info.psk).unwrap_or(u32::MAX),
        });
    }

    /// A Child SA that the peer believes in is not there. It hears of that, so that it does not send into nothing.
    fn not_installed(&mut self, peer: PeerKey, child: ChildId, error: &SetupError) {
        let fault = Fault::new(ReasonCode::ChildInstallFailed)
            .with("item", error.item.clone())
            .with("error", error.error.clone());
        if let Some(facts) = self.tunnel(peer) {
            facts.fault = Some(fault.clone());
        }
        self.ike.refuse_child(Instant::now(), child, fault);
    }

    /// Says of each tunnel that is up which families it does not carry although they are to be routed over it, and takes back what is not so
    /// any more. After a Child SA came, and after policies did.
    pub(super) fn note_narrowed(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let routed = connection.routed();
        let Connection { tunnels, active, children, .. } = connection;
        for facts in tunnels.iter_mut().filter(|facts| facts.up) {
            let child = active.get(&facts.family).and_then(|child| children.get(child));
            let Some(child) = child else { continue };
            // Another trouble of the tunnel says more than this one.
            if facts.fault.as_ref().is_none_or(|fault| fault.code == ReasonCode::TsNarrowed) {
                facts.fault = narrowed(&routed, &child.families);
            }
        }
    }

    fn attempt_failed(&mut self, peer: PeerKey, fault: Fault, ours: bool) {
        if let Some(facts) = self.tunnel(peer).filter(|facts| !facts.up) {
            if !ours && fault.code == ReasonCode::UnknownSource && !may_be_elsewhere(facts.fault.as_ref()) {
                // Whoever that is, the device itself has been heard, and what it met says more.
                return;
            }
            if fault.code.layer() == Layer::Ike {
                facts.ike = None;
            }
            let fault = with_their_side(facts.fault.as_ref(), fault);
            facts.fault = Some(remember_outage(facts, fault));
        }
    }

    fn install(&mut self, peer: PeerKey, child: ChildSa) -> Result<(), SetupError> {
        let item = format!("Child SA {:#010x} of connection {}", child.inbound_spi, peer.connection);
        let Some(connection) = self.connections.get_mut(&peer.connection) else { return Ok(()) };
        let Associations { inbound, outbound, suite } = Associations::of(&child, &item)?;
        let local = child.local.ip();
        self.around.datapath.install_inbound(peer.connection, inbound).map_err(SetupError::at(&item))?;
        let now = wall_clock();
        let entry = Child {
            peer,
            local,
            inbound_spi: child.inbound_spi,
            outbound,
            suite,
            families: child.families,
            facts: ChildFacts { suite: child.suite_text, established_at: now, rekeys: child.rekeys },
            seen: 0,
        };
        let (id, family) = (child.id, peer.family);
        let returns = connection.tunnels.iter().any(|facts| facts.family == family && facts.ever_up && !facts.up);
        if family == Family::Ipv4 && returns && connection.active.contains_key(&Family::Ipv6) {
            connection.ipv4_steady_at = Instant::now() + RETURN_AFTER;
        }
        connection.children.insert(id, entry);
        if child.use_for_sending || !connection.active.contains_key(&family) {
            connection.active.insert(family, id);
        }
        self.send_on_best(peer.connection);
        Ok(())
    }

    async fn remove_child(&mut self, peer: PeerKey, child: ChildId) {
        let Some(connection) = self.connections.get_mut(&peer.connection) else { return };
        let Some(removed) = connection.children.remove(&child) else { return };
        self.around.datapath.remove_inbound(removed.local, removed.inbound_spi);
        if connection.active.get(&peer.family) == Some(&child) {
            let rest = connection.children.iter().filter(|(_, child)| child.peer.family == peer.family);
            match rest.map(|(id, _)| *id).max() {
                Some(newest) => connection.active.insert(peer.family, newest),
                None => connection.active.remove(&peer.family),
            };
        }
        self.send_on_best(peer.connection);
        self.tunnel_changed(peer.connection).await;
    }

    /// Goes back to IPv4 when its time has come.
    pub(super) fn prefer(&mut self, now: Instant) {
        let changes = |connection: &Connection| connection.sending != connection.best(now);
        let ids: Vec<ConnectionId> =
            self.connections.iter().filter(|(_, connection)| changes(connection)).map(|(id, _)| *id).collect();
        for id in ids {
            self.send_on_best(id);
        }
    }

    /// Points the packet path at the child that we send on.
    fn send_on_best(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let best = connection.best(Instant::now());
        if best == connection.sending {
            return;
        }
        connection.sending = best;
        let child = connection.sending.and_then(|child| connection.children.get(&child));
        let outbound = child.map(|child| child.outbound.clone());
        if let Err(error) = self.around.datapath.set_outbound(id, outbound) {
            tracing::error!(%error, connection = %id, "the packet path does not know the tunnel");
        }
    }

    /// After children came or went: facts, MTU, BGP.
    async fn tunnel_changed(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let carried = carries(connection);
        let now = wall_clock();
        for index in 0..connection.tunnels.len() {
            let newest = connection.tunnels.get(index).and_then(|facts| newest_child(connection, facts));
            if let Some(facts) = connection.tunnels.get_mut(index) {
                note_child(facts, newest, now);
            }
        }
        if carries(connection) != carried {
            self.follow_tunnel().await;
        }
        let adapted = match self.apply_mtu(id).await {
            Ok(true) => self.apply_filter().await,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = adapted {
            tracing::warn!(%error, connection = %id, "the tunnel's MTU is not in force");
            self.retry_soon();
        }
        self.enable_sessions(id).await;
    }

    /// A connection got its first tunnel or lost its last, a link its carrier. Its routes follow at once, before anybody chooses among all gateways, and the
    /// node hears of it without the usual pauses.
    pub(super) async fn follow_tunnel(&mut self) {
        if let Err(error) = self.wish_routes(false).await {
            tracing::warn!(%error, gateway = %self.id, "routes are not all in place");
            self.retry_soon();
        }
        self.urgent = true;
        self.only_counters = false;
        self.report_at = Some(Instant::now());
    }

    pub(super) fn path_event(&mut self, now: Instant, event: PathEvent) {
        match event {
            PathEvent::FirstInbound { tunnel, spi } => {
                let Some(connection) = self.connections.get(&tunnel) else { return };
                let child = connection.children.iter().find(|(_, child)| child.inbound_spi == spi);
                if let Some((id, child)) = child {
                    self.ike.handle_inbound_traffic(now, child.peer);
                    self.ike.handle_inbound_on_child(now, *id);
                }
            }
            PathEvent::RemoteMoved { tunnel, spi, remote } => {
                self.move_children(tunnel, remote, |child| child.inbound_spi == spi);
            }
            PathEvent::SourceSeen { tunnel, source } => self.swapped.push((tunnel, source)),
            PathEvent::Unreachable { remote, .. } => self.ike.handle_unreachable(now, remote),
        }
    }

    /// While a session does not come up without saying why, a packet of the device from our own inside address says it.
    pub(super) fn watch_for_swapped_addresses(&self) {
        let unexplained = [ReasonCode::BgpConnecting, ReasonCode::BgpTimeout, ReasonCode::BgpAddressesSwapped];
        for (id, connection) in self.connections.iter().filter(|(_, connection)| connection.sending.is_some()) {
            let sessions = connection.sessions.values().filter(|session| {
                session.update.as_ref().is_some_and(|update| {
                    let code = update.facts.fault.as_ref().map(|fault| fault.code);
                    !update.facts.up && code.is_some_and(|code| unexplained.contains(&code))
                })
            });
            let addresses = sessions.map(|session| session.config.local).collect();
            // Fails only when the tunnel is gone, and then there is nothing to see.
            let _ = self.around.datapath.watch_sources(*id, addresses);
        }
    }

    /// Tells the sessions whose devices use our inside address.
    pub(super) async fn tell_swapped(&mut self) {
        for (id, source) in std::mem::take(&mut self.swapped) {
            let sessions = self.connections.get(&id).into_iter().flat_map(|connection| connection.sessions.values());
            for session in sessions.filter(|session| session.config.local == source) {
                session.handle.send(session::Command::AddressesSwapped).await;
            }
        }
    }

    /// The peer is elsewhere: children that are sent on now or later are sent there.
    fn move_children(&mut self, id: ConnectionId, remote: SocketAddr, which: impl Fn(&Child) -> bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        for (child_id, child) in connection.children.iter_mut().filter(|(_, child)| which(child)) {
            child.outbound.remote = remote;
            if connection.sending == Some(*child_id) {
                // Fails only when the tunnel is gone, and then there is nothing to move.
                let _ = self.around.datapath.set_remote(id, child.local, remote);
            }
        }
    }

    /// Tells IKE what arrived and what was sent, for liveness and for rekeying by packets.
    pub(super) fn watch_traffic(&mut self, now: Instant) {
        for (id, connection) in &mut self.connections {
            for (child_id, child) in &mut connection.children {
                let packets = self.around.datapath.inbound_packets(child.local, child.inbound_spi).unwrap_or(0);
                if packets > child.seen {
                    if child.seen == 0 {
                        // The event for it may have found no room.
                        self.ike.handle_inbound_on_child(now, *child_id);
                    }
                    child.seen = packets;
                    self.ike.handle_inbound_traffic(now, child.peer);
                }
            }
            if let (Some(child), Some(packets)) = (connection.sending, self.around.datapath.sent_packets(*id)) {
                self.ike.handle_packets_sent(now, child, packets);
            }
        }
    }
}

/// Whether any of its tunnels is up, as its facts say.
fn carries(connection: &Connection) -> bool {
    connection.tunnels.iter().any(|facts| facts.up)
}

/// Who only refuses does not say what it has. Where the device said it in an attempt of its own that met the same, that is still its side.
fn with_their_side(known: Option<&Fault>, mut fault: Fault) -> Fault {
    let same = |known: &&Fault| known.code == fault.code && known.ours == fault.ours && fault.theirs.is_none();
    if let Some(known) = known.filter(same) {
        fault.theirs.clone_from(&known.theirs);
        if let Some(value) = known.evidence.get("differs") {
            fault.evidence.insert("differs".to_owned(), value.clone());
        }
    }
    fault
}

/// Whether a device that is down for this reason may be the stranger who asks. An attempt of ours that met silence needs no such guess.
fn may_be_elsewhere(known: Option<&Fault>) -> bool {
    known.is_none_or(|known| {
        matches!(
            known.code,
            ReasonCode::PeerSilent
                | ReasonCode::UnknownSource
                | ReasonCode::DpdTimeout
                | ReasonCode::PeerDeletedSa
                | ReasonCode::PeerDeletedChild
                | ReasonCode::LifetimeExpired
        )
    })
}

/// What the last attempt met, together with why the tunnel went in the first place.
fn remember_outage(facts: &TunnelFacts, attempt: Fault) -> Fault {
    let Some(before) = facts.fault.as_ref().filter(|_| facts.ever_up) else { return attempt };
    let went = before.evidence.get(WENT_DOWN).map_or(before.code.as_str(), String::as_str);
    attempt.with(WENT_DOWN, went)
}

fn newest_child(connection: &Connection, facts: &TunnelFacts) -> Option<ChildFacts> {
    let children = connection.children.iter().filter(|(_, child)| child.peer.family == facts.family);
    children.max_by_key(|(id, _)| id.0).map(|(_, child)| child.facts.clone())
}

/// The trouble of a tunnel that carries `families` only, while `routed` are to be routed over it.
fn narrowed(routed: &[Family], families: &[Family]) -> Option<Fault> {
    let missing: Vec<String> =
        routed.iter().filter(|family| !families.contains(family)).map(Family::to_string).collect();
    if missing.is_empty() {
        return None;
    }
    let all = |families: &[Family]| {
        let range = |family: &Family| if *family == Family::Ipv4 { "0.0.0.0/0" } else { "::/0" };
        families.iter().map(range).collect::<Vec<_>>().join(", ")
    };
    let fault = Fault::new(ReasonCode::TsNarrowed).values(all(&Family::ALL), all(families));
    Some(fault.with("not_carried", missing.join(", ")))
}

fn note_child(facts: &mut TunnelFacts, child: Option<ChildFacts>, now: Timestamp) {
    let up = child.is_some();
    let renewed = up && facts.child != child;
    if up != facts.up {
        facts.since = now;
    }
    facts.up = up;
    facts.ever_up |= up;
    facts.child = child;
    if renewed {
        facts.fault = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_is_preferred_once_it_is_steady() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let (v4, v6) = (ChildId(7), ChildId(3));
        let both = BTreeMap::from([(Family::Ipv4, v4), (Family::Ipv6, v6)]);
        for whole in [true, false] {
            let best = |active: &BTreeMap<Family, ChildId>, steady_at| best(active, |_| whole, steady_at, now);
            assert_eq!(best(&both, now), Some(v4));
            assert_eq!(best(&both, later), Some(v6));
            assert_eq!(best(&BTreeMap::from([(Family::Ipv4, v4)]), later), Some(v4), "better than nothing");
            assert_eq!(best(&BTreeMap::from([(Family::Ipv6, v6)]), now), Some(v6));
            assert_eq!(best(&BTreeMap::new(), now), None);
        }
        assert_eq!(best(&both, |_| true, later, later), Some(v4));
    }

    #[test]
    fn a_tunnel_that_carries_all_comes_before_one_that_was_narrowed() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let (v4, v6) = (ChildId(7), ChildId(3));
        let both = BTreeMap::from([(Family::Ipv4, v4), (Family::Ipv6, v6)]);
        for steady_at in [now, later] {
            for whole in [v4, v6] {
                assert_eq!(best(&both, |child| child == whole, steady_at, now), Some(whole));
            }
        }
        assert_eq!(best(&BTreeMap::from([(Family::Ipv4, v4)]), |_| false, now, now), Some(v4), "the only one");
    }

    #[test]
    fn a_tunnel_is_narrowed_only_by_what_is_to_be_routed_over_it() {
        let (v4, v6) = (Family::Ipv4, Family::Ipv6);
        for routed in [&[][..], &[v4]] {
            assert_eq!(narrowed(routed, &[v4]), None, "{routed:?}");
        }
        assert_eq!(narrowed(&Family::ALL, &Family::ALL), None);
        // A policy attached later makes it one.
        let fault = narrowed(&[v4, v6], &[v4]).expect("IPv6 is missing");
        assert_eq!((fault.code, fault.evidence["not_carried"].as_str()), (ReasonCode::TsNarrowed, "IPv6"));
        assert_eq!((fault.ours.as_deref(), fault.theirs.as_deref()), (Some("0.0.0.0/0, ::/0"), Some("0.0.0.0/0")));
    }

    #[test]
    fn a_bare_refusal_keeps_what_the_device_said_of_itself() {
        let heard = Fault::new(ReasonCode::ChildNoProposalChosen).values("a", "b").with("differs", "encryption");
        let refused = |ours: &str| {
            let mut fault = Fault::new(ReasonCode::ChildNoProposalChosen).with("peer_says", "NO_PROPOSAL_CHOSEN");
            fault.ours = Some(ours.to_owned());
            fault
        };
        let both = with_their_side(Some(&heard), refused("a"));
        assert_eq!((both.theirs.as_deref(), both.evidence["differs"].as_str()), (Some("b"), "encryption"));
        assert_eq!(with_their_side(Some(&heard), refused("another list")).theirs, None, "it was about something else");
        assert_eq!(with_their_side(Some(&heard), ReasonCode::PeerSilent.into()), ReasonCode::PeerSilent.into());
        assert_eq!(with_their_side(None, refused("a")).theirs, None);
    }

    #[test]
    fn a_stranger_may_be_a_device_that_went_but_not_one_that_was_refused() {
        let known = |code: ReasonCode| may_be_elsewhere(Some(&code.into()));
        assert!(may_be_elsewhere(None) && known(ReasonCode::PeerSilent) && known(ReasonCode::DpdTimeout));
        assert!(known(ReasonCode::PeerDeletedSa) && known(ReasonCode::LifetimeExpired));
        assert!(!known(ReasonCode::PeerUnreachable) && !known(ReasonCode::ChildNoProposalChosen));
    }

    #[test]
    fn an_outage_keeps_its_cause_through_later_attempts() {
        let tunnel = TunnelDesired { local: IpAddr::from([192, 0, 2, 1]), peer: IpAddr::from([203, 0, 113, 1]) };
        let mut facts = new_tunnel_facts(&tunnel, 1400);
        let first = remember_outage(&facts, ReasonCode::PeerSilent.into());
        assert!(first.evidence.is_empty(), "never up, nothing to remember");
        facts.ever_up = true;
        facts.fault = Some(ReasonCode::DpdTimeout.into());
        for _ in 0..2 {
            let fault = remember_outage(&facts, ReasonCode::PeerSilent.into());
            assert_eq!((fault.code, fault.evidence[WENT_DOWN].as_str()), (ReasonCode::PeerSilent, "dpd_timeout"));
            facts.fault = Some(fault);
        }
    }
}
