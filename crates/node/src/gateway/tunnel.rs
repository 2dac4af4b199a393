//! What IKE decides, carried out: associations installed and removed on the packet path, and the facts of each tunnel kept.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use causeway_crypto::Secret;
use causeway_datapath::{Event as PathEvent, Inbound, Outbound};
use causeway_esp::{EspKeys, EspSuite, InboundSa, OutboundSa, inner_mtu};
use causeway_ike::{ChildId, ChildSa, Event, IkeInfo, PeerKey};
use causeway_model::desired::{ConnectionDesired, TunnelDesired};
use causeway_model::observed::{ChildFacts, IkeFacts, TunnelCounters, TunnelFacts};
use causeway_model::suite::Integrity;
use causeway_model::{ConnectionId, Fault, Timestamp};

use super::Gateway;
use super::connection::Connection;
use crate::clock::wall_clock;
use crate::error::SetupError;

/// IPv6 needs this much everywhere (RFC 8200 §5).
const LEAST_MTU: u32 = 1280;

/// Evidence of an attempt's fault: the code of what ended the tunnel before.
const WENT_DOWN: &str = "went_down";

/// An installed Child SA.
pub(super) struct Child {
    peer: PeerKey,
    local: IpAddr,
    inbound_spi: u32,
    outbound: Outbound,
    mtu: u32,
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

/// The inside MTU until a cipher is negotiated: the least that any of the proposals leaves.
pub(super) fn assumed_mtu(desired: &ConnectionDesired, underlay_mtu: u32) -> u32 {
    let of = |tunnel: &TunnelDesired| {
        desired
            .esp_proposals
            .iter()
            .map(|cipher| {
                let integrity = (!cipher.encryption.is_aead()).then(|| cipher.integrity.unwrap_or(Integrity::Sha512));
                inner_mtu(underlay_mtu, tunnel.family(), true, EspSuite::new(cipher.encryption, integrity))
            })
            .min()
    };
    desired.tunnels.iter().filter_map(of).min().unwrap_or(LEAST_MTU).max(LEAST_MTU)
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
                if let Err(error) = self.install(peer, child) {
                    tracing::error!(%error, connection = %peer.connection, "a Child SA could not be installed");
                }
                self.tunnel_changed(peer.connection).await;
            }
            Event::ChildActivated { peer, child } => {
                if let Some(connection) = self.connections.get_mut(&peer.connection) {
                    connection.sending = Some(child);
                }
                self.send_on_best(peer.connection);
            }
            Event::ChildRemoved { peer, child } => self.remove_child(peer, child).await,
            Event::RemoteMoved { peer, remote } => {
                let local = self.tunnel(peer).map(|facts| {
                    if let Some(ike) = &mut facts.ike {
                        ike.peer_endpoint = remote.to_string();
                    }
                    facts.local
                });
                if let Some(local) = local {
                    // Fails only when the tunnel is gone, and then there is nothing to move.
                    let _ = self.around.datapath.set_remote(peer.connection, local, remote);
                }
            }
            Event::TunnelDown { peer, fault } => {
                if let Some(facts) = self.tunnel(peer) {
                    facts.ike = None;
                    facts.fault = Some(fault);
                }
            }
            Event::AttemptFailed { peer, fault } => self.attempt_failed(peer, fault),
        }
    }

    fn tunnel(&mut self, peer: PeerKey) -> Option<&mut TunnelFacts> {
        let connection = self.connections.get_mut(&peer.connection)?;
        connection.tunnels.iter_mut().find(|facts| facts.family == peer.family)
    }

    fn ike_up(&mut self, peer: PeerKey, info: IkeInfo) {
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
        });
    }

    fn attempt_failed(&mut self, peer: PeerKey, fault: Fault) {
        if let Some(facts) = self.tunnel(peer).filter(|facts| !facts.up) {
            facts.fault = Some(remember_outage(facts, fault));
        }
    }

    fn install(&mut self, peer: PeerKey, child: ChildSa) -> Result<(), SetupError> {
        let item = format!("Child SA {:#010x} of connection {}", child.inbound_spi, peer.connection);
        let underlay_mtu = self.around.underlay_mtu;
        let Some(connection) = self.connections.get_mut(&peer.connection) else { return Ok(()) };
        let suite = EspSuite::new(child.suite.0, child.suite.1);
        let inbound = InboundSa::new(child.inbound_spi, suite, &keys(suite, &child.inbound_keymat))
            .map_err(SetupError::at(&item))?;
        let outbound = OutboundSa::new(child.outbound_spi, suite, &keys(suite, &child.outbound_keymat))
            .map_err(SetupError::at(&item))?;
        let local = child.local.ip();
        let inbound = Inbound { spi: child.inbound_spi, local, sa: Arc::new(inbound) };
        self.around.datapath.install_inbound(peer.connection, inbound).map_err(SetupError::at(&item))?;
        let outbound = Outbound { sa: Arc::new(outbound), local: child.local, remote: child.remote };
        let now = wall_clock();
        let entry = Child {
            peer,
            local,
            inbound_spi: child.inbound_spi,
            outbound,
            mtu: inner_mtu(underlay_mtu, peer.family, true, suite).max(LEAST_MTU),
            facts: ChildFacts { suite: child.suite_text, established_at: now, rekeys: child.rekeys },
            seen: 0,
        };
        connection.children.insert(child.id, entry);
        let same_family = |id: &ChildId| connection.children.get(id).is_some_and(|other| other.peer == peer);
        let takes_over = match &connection.sending {
            None => true,
            Some(current) => {
                child.use_for_sending
                    && (same_family(current) || !peer.family.is_ipv6() & other_is_ipv6(connection, current))
            }
        };
        if takes_over {
            connection.sending = Some(child.id);
        }
        self.send_on_best(peer.connection);
        Ok(())
    }

    async fn remove_child(&mut self, peer: PeerKey, child: ChildId) {
        let Some(connection) = self.connections.get_mut(&peer.connection) else { return };
        let Some(removed) = connection.children.remove(&child) else { return };
        self.around.datapath.remove_inbound(removed.local, removed.inbound_spi);
        if connection.sending == Some(child) {
            // IPv4 before IPv6, the newest of a family first.
            connection.sending = connection
                .children
                .iter()
                .min_by_key(|(id, child)| (child.peer.family, std::cmp::Reverse(id.0)))
                .map(|(id, _)| *id);
        }
        self.send_on_best(peer.connection);
        self.tunnel_changed(peer.connection).await;
    }

    /// Points the packet path at the child that we send on.
    fn send_on_best(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        let child = connection.sending.and_then(|child| connection.children.get(&child));
        let outbound = child.map(|child| child.outbound.clone());
        if let Err(error) = self.around.datapath.set_outbound(id, outbound) {
            tracing::error!(%error, connection = %id, "the packet path does not know the tunnel");
        }
    }

    /// After children came or went: facts, MTU, BGP.
    async fn tunnel_changed(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let now = wall_clock();
        for index in 0..connection.tunnels.len() {
            let newest = connection.tunnels.get(index).and_then(|facts| newest_child(connection, facts));
            if let Some(facts) = connection.tunnels.get_mut(index) {
                note_child(facts, newest, now);
            }
        }
        let negotiated = connection.children.values().map(|child| child.mtu).min();
        if let Some(mtu) = negotiated.filter(|mtu| *mtu != connection.mtu)
            && let Err(error) = self.change_mtu(id, mtu).await
        {
            tracing::warn!(%error, connection = %id, "the tunnel keeps its assumed MTU");
        }
        self.enable_sessions(id).await;
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
                let Some(connection) = self.connections.get_mut(&tunnel) else { return };
                for child in connection.children.values_mut().filter(|child| child.inbound_spi == spi) {
                    child.outbound.remote = remote;
                }
            }
            PathEvent::Unreachable { remote, .. } => self.ike.handle_unreachable(now, remote),
        }
    }

    /// Tells IKE what arrived and what was sent, for liveness and for rekeying by packets.
    pub(super) fn watch_traffic(&mut self, now: Instant) {
        for (id, connection) in &mut self.connections {
            for child in connection.children.values_mut() {
                let packets = self.around.datapath.inbound_packets(child.local, child.inbound_spi).unwrap_or(0);
                if packets > child.seen {
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

/// One direction's keys out of its key material: encryption, with the salt, before integrity (RFC 7296 §2.17). Material that is too
/// short gives keys that the association refuses.
fn keys(suite: EspSuite, keymat: &Secret) -> EspKeys {
    let material = keymat.as_ref();
    let at = suite.crypto().encryption_key_len().min(material.len());
    let (encryption, integrity) = material.split_at(at);
    EspKeys::new(Secret::from(encryption), Secret::from(integrity))
}

/// What the last attempt met, together with why the tunnel went in the first place.
fn remember_outage(facts: &TunnelFacts, attempt: Fault) -> Fault {
    let Some(before) = facts.fault.as_ref().filter(|_| facts.ever_up) else { return attempt };
    let went = before.evidence.get(WENT_DOWN).map_or(before.code.as_str(), String::as_str);
    attempt.with(WENT_DOWN, went)
}

fn other_is_ipv6(connection: &Connection, child: &ChildId) -> bool {
    connection.children.get(child).is_some_and(|child| child.peer.family.is_ipv6())
}

fn newest_child(connection: &Connection, facts: &TunnelFacts) -> Option<ChildFacts> {
    let children = connection.children.iter().filter(|(_, child)| child.peer.family == facts.family);
    children.max_by_key(|(id, _)| id.0).map(|(_, child)| child.facts.clone())
}

fn note_child(facts: &mut TunnelFacts, child: Option<ChildFacts>, now: Timestamp) {
    let up = child.is_some();
    if up != facts.up {
        facts.since = now;
    }
    facts.up = up;
    facts.ever_up |= up;
    facts.child = child;
    if up {
        facts.fault = None;
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::ReasonCode;

    use super::*;

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
