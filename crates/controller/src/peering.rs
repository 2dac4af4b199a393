//! Which nodes ask each other whether they are there, and what becomes of the answers: who was answered vouches for a node whose keepalives
//! are missed (system.md §3, gateway node, row 3).

use std::net::SocketAddr;

use causeway_crypto::{Secret, hmac_sha256};
use causeway_fleet::Answered;
use causeway_model::desired::Peer;
use causeway_model::{MachineId, NodeId, Psk};
use causeway_store::{NodeRecord, Reader, Writer};

use crate::{Controller, Result};

/// Nodes that each one asks, and that ask each one.
const WITNESSES: usize = 3;

/// What the tunnels' keys are made of, for this and nothing else.
const KEYS: &[u8] = b"causeway node tunnels 1";

/// Where another node's end of a tunnel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Whose.
    pub(crate) node: NodeId,
    /// Its management address, and the port of UDP there.
    address: SocketAddr,
}

/// The other nodes of `node`'s zone that have a place for tunnels, in a ring by id from the one after `node` on; none if it has no place itself.
fn ring(node: &NodeRecord, all: &[NodeRecord]) -> Vec<Place> {
    if node.enrolled_at.is_none() || node.revoked_at.is_some() || node.peering.is_none() {
        return Vec::new();
    }
    let other = |other: &&NodeRecord| other.zone == node.zone && other.id != node.id && other.revoked_at.is_none();
    let place = |other: &NodeRecord| Some(Place { node: other.id, address: other.peering? });
    let mut ring: Vec<Place> = all.iter().filter(other).filter_map(place).collect();
    ring.sort();
    let next = ring.partition_point(|place| place.node < node.id);
    ring.rotate_left(next);
    ring
}

/// The nodes that `node` asks: the next ones of its zone, so that each is asked by as many as ask.
pub(crate) fn peers(node: &NodeRecord, all: &[NodeRecord]) -> Vec<Place> {
    let mut ring = ring(node, all);
    ring.truncate(WITNESSES);
    ring
}

/// The nodes that may have to do with `node`, looked up: [`peers`] and [`tunnels`] find among them whom they find among all.
pub(crate) async fn neighbours(reader: &mut Reader, node: &NodeRecord) -> Result<Vec<NodeRecord>> {
    Ok(reader.ring(&node.zone, node.id, WITNESSES).await?)
}

/// The tunnels of `node`: to those that it asks, and to those before it, which ask it. `key`: of the tunnel to a node.
pub(crate) fn tunnels(node: &NodeRecord, all: &[NodeRecord], key: impl Fn(NodeId) -> Psk) -> Vec<Peer> {
    let ring = ring(node, all);
    let first_asking = ring.len().saturating_sub(WITNESSES);
    let is_near = |at: usize| at < WITNESSES || at >= first_asking;
    let near = ring.iter().enumerate().filter(|(at, _)| is_near(*at));
    near.map(|(at, Place { node, address })| Peer {
        node: *node,
        address: *address,
        key: Some(key(*node)),
        asks: at < WITNESSES,
    })
    .collect()
}

/// The key of the tunnel between two nodes, whichever of them is named first: 256 bits.
fn key_between(root: &Secret, one: NodeId, other: NodeId) -> Psk {
    let (low, high) = if one < other { (one, other) } else { (other, one) };
    Psk::new(hmac_sha256(root.slice(), &[low.0.as_bytes(), high.0.as_bytes()]).to_vec())
}

impl Controller {
    /// The tunnels of `node`. Their keys come from that of the nodes' authority, which decides who is a node anyway: nothing more is to be kept, and a
    /// change of the key that wraps it changes none of them.
    pub(crate) async fn node_tunnels(&self, node: &NodeRecord, all: &[NodeRecord]) -> Result<Vec<Peer>> {
        if ring(node, all).is_empty() {
            return Ok(Vec::new());
        }
        let root = self.inner.tunnel_root.get_or_try_init(|| async {
            let authority = self.node_authority_key().await?;
            Ok::<_, causeway_model::Error>(Secret::from(&hmac_sha256(authority.slice(), &[KEYS])[..]))
        });
        let root = root.await?;
        Ok(tunnels(node, all, |other| key_between(root, node.id, other)))
    }
}

impl Controller {
    /// Where a node answers others of its zone, and which of them have answered it.
    pub(crate) async fn node_peering(
        &self,
        (node, machine): (NodeId, Option<MachineId>),
        listens: Option<SocketAddr>,
        answered: &[Answered],
    ) -> Result<()> {
        let at = listens.map(|address| (address, machine));
        let is_known = self.inner.watches.peering(node, at, answered, self.inner.clock.monotonic());
        if is_known {
            return Ok(());
        }
        let mut writer = self.inner.store.write().await?;
        let is_other = |record: &NodeRecord| (record.peering, record.peering_machine) != (listens, machine);
        if let Some(record) = writer.node(node).await?.filter(is_other) {
            writer.set_node_peering(node, listens, machine).await?;
            if record.peering != listens {
                ring_changed(&mut writer, &record.zone).await?;
            }
            self.tell_failover(&mut writer).await?;
        }
        writer.commit().await?;
        self.announce();
        Ok(())
    }
}

/// Somebody came into a zone's ring, moved, or left it: its nodes are told whom to ask.
pub(crate) async fn ring_changed(writer: &mut Writer, zone: &str) -> Result<()> {
    for node in writer.nodes().await? {
        if node.zone == zone && node.enrolled_at.is_some() && node.revoked_at.is_none() {
            writer.advance_node(node.id).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use causeway_model::Timestamp;
    use causeway_model::status::NodeState;
    use uuid::Uuid;

    use super::*;

    pub(crate) fn record(number: u128, zone: &str) -> NodeRecord {
        NodeRecord {
            id: NodeId(Uuid::from_u128(number)),
            zone: zone.to_owned(),
            boot: Uuid::nil(),
            version: String::new(),
            state: NodeState::Up,
            state_since: Timestamp(0),
            silent: false,
            revision: 1,
            applied_revision: 1,
            reported_at: None,
            name: String::new(),
            enrolled_at: Some(Timestamp(0)),
            revoked_at: None,
            cordoned: false,
            fault: None,
            overdue: false,
            max_bandwidth: None,
            max_connections: None,
            failover_revision: None,
            draining: false,
            lease: causeway_store::NodeLease {
                machine: Some(MachineId(Uuid::from_u128(number))),
                ..causeway_store::NodeLease::default()
            },
            peering_machine: Some(MachineId(Uuid::from_u128(number))),
            peering: Some(SocketAddr::from(([192, 0, 2, u8::try_from(number).expect("small")], 4431))),
        }
    }

    #[test]
    fn everybody_is_asked_by_three_others_of_its_zone() {
        let mut all: Vec<NodeRecord> = (1..=5).map(|number| record(number, "a")).collect();
        all.push(record(6, "b"));
        let asks = |all: &[NodeRecord], number: usize| -> Vec<u128> {
            peers(&all[number - 1], all).iter().map(|peer| peer.node.0.as_u128()).collect()
        };
        assert_eq!(asks(&all, 1), [2, 3, 4]);
        assert_eq!(asks(&all, 4), [5, 1, 2]);
        assert_eq!(asks(&all, 6), Vec::<u128>::new(), "alone in its zone");
        all[1].peering = None;
        all[2].revoked_at = Some(Timestamp(1));
        assert_eq!(asks(&all, 1), [4, 5], "who does not listen or is none any more is not asked");
        assert_eq!(asks(&all, 2), Vec::<u128>::new(), "and has no end of a tunnel to ask through");
        assert_eq!(asks(&all, 3), Vec::<u128>::new());
    }

    #[test]
    fn a_tunnel_has_two_ends_of_one_key_and_somebody_who_asks() {
        let root = Secret::from(&[7; 32][..]);
        for count in 2..=12 {
            let all: Vec<NodeRecord> = (1..=count).map(|number| record(number, "a")).collect();
            let of = |node: &NodeRecord| tunnels(node, &all, |other| key_between(&root, node.id, other));
            let mut keys = std::collections::BTreeSet::new();
            for node in &all {
                let tunnels = of(node);
                assert_eq!(tunnels.iter().filter(|peer| peer.asks).count(), WITNESSES.min(all.len() - 1));
                assert_eq!(tunnels.len(), (2 * WITNESSES).min(all.len() - 1), "no more than who asks and who is asked");
                for peer in tunnels {
                    let there = all.iter().find(|other| other.id == peer.node).expect("known");
                    let back = of(there).into_iter().find(|back| back.node == node.id).expect("the other end");
                    assert_eq!((peer.key.as_ref(), peer.address), (back.key.as_ref(), there.peering.expect("told")));
                    assert!(peer.asks || back.asks, "{node:?} {peer:?}");
                    let pair = (node.id.min(peer.node), node.id.max(peer.node));
                    keys.insert((pair, peer.key.expect("a key").expose().to_vec()));
                }
            }
            let pairs: std::collections::BTreeSet<_> = keys.iter().map(|(pair, _)| pair).collect();
            let distinct: std::collections::BTreeSet<_> = keys.iter().map(|(_, key)| key).collect();
            assert_eq!((pairs.len(), distinct.len()), (keys.len(), keys.len()), "one for each pair");
        }
    }
}
