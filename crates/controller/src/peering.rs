//! Which nodes ask each other whether they are there, and what becomes of the answers: who was answered vouches for a node whose keepalives
//! are missed (system.md §3, gateway node, row 3).

use std::collections::BTreeSet;
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

/// The nodes that may have to do with `node`, which has `cables` to some, looked up: [`peers`] and [`tunnels`] find among them whom they find among
/// all.
pub(crate) async fn neighbours(
    reader: &mut Reader,
    node: &NodeRecord,
    cables: &BTreeSet<NodeId>,
) -> Result<Vec<NodeRecord>> {
    let mut near = reader.ring(&node.zone, node.id, WITNESSES).await?;
    let far: Vec<NodeId> = cables.iter().copied().filter(|id| near.iter().all(|known| known.id != *id)).collect();
    if !far.is_empty() {
        near.extend(reader.nodes_by_id(far).await?);
    }
    Ok(near)
}

/// The tunnels of `node`: to those that it asks, to those before it, which ask it, and to those that it has `cables` to. `key`: of the tunnel to a
/// node.
pub(crate) fn tunnels(
    node: &NodeRecord,
    all: &[NodeRecord],
    cables: &BTreeSet<NodeId>,
    key: impl Fn(NodeId) -> Psk,
) -> Vec<Peer> {
    let ring = ring(node, all);
    let first_asking = ring.len().saturating_sub(WITNESSES);
    let is_near = |at: usize| at < WITNESSES || at >= first_asking;
    let near = ring.iter().enumerate().filter(|(at, place)| is_near(*at) || cables.contains(&place.node));
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
    pub(crate) async fn node_tunnels(
        &self,
        node: &NodeRecord,
        all: &[NodeRecord],
        cables: &BTreeSet<NodeId>,
    ) -> Result<Vec<Peer>> {
        if ring(node, all).is_empty() {
            return Ok(Vec::new());
        }
        let root = self.inner.tunnel_root.get_or_try_init(|| async {
            let authority = self.node_authority_key().await?;
            Ok::<_, causeway_model::Error>(Secret::from(&hmac_sha256(authority.slice(), &[KEYS])[..]))
        });
        let root = root.await?;
        Ok(tunnels(node, all, cables, |other| key_between(root, node.id, other)))
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
            let none = BTreeSet::new();
            let of = |node: &NodeRecord| tunnels(node, &all, &none, |other| key_between(&root, node.id, other));
            let mut keys = BTreeSet::new();
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
            let pairs: BTreeSet<_> = keys.iter().map(|(pair, _)| pair).collect();
            let distinct: BTreeSet<_> = keys.iter().map(|(_, key)| key).collect();
            assert_eq!((pairs.len(), distinct.len()), (keys.len(), keys.len()), "one for each pair");
        }
    }

    #[test]
    fn nodes_that_share_a_vpc_have_a_tunnel_whoever_they_ask() {
        let root = Secret::from(&[7; 32][..]);
        let all: Vec<NodeRecord> = (1..=12).map(|number| record(number, "a")).collect();
        let id = |number: u128| NodeId(Uuid::from_u128(number));
        let of = |number: usize, known: &[NodeRecord], cables: &[u128]| -> Vec<(u128, bool, Option<Psk>)> {
            let node = &all[number - 1];
            let cables = cables.iter().copied().map(id).collect();
            let found = tunnels(node, known, &cables, |other| key_between(&root, node.id, other));
            found.into_iter().map(|peer| (peer.node.0.as_u128(), peer.asks, peer.key)).collect()
        };
        let [here, there] = [of(1, &all, &[2, 7]), of(7, &all, &[1])];
        let ids: Vec<u128> = here.iter().map(|(node, ..)| *node).collect();
        assert_eq!(ids, [2, 3, 4, 7, 10, 11, 12], "one more than without");
        let asked: Vec<u128> = here.iter().filter(|(_, asks, _)| *asks).map(|(node, ..)| *node).collect();
        assert_eq!(asked, [2, 3, 4], "it asks those whom it asks anyway");
        let end = |tunnels: &[(u128, bool, Option<Psk>)], to: u128| tunnels.iter().find(|peer| peer.0 == to).cloned();
        let (one, other) = (end(&here, 7).expect("told"), end(&there, 1).expect("told"));
        assert!(!one.1 && !other.1 && one.2.is_some() && one.2 == other.2, "one key, and nobody asks");
        // What is looked up is enough: those next to it, and who else has an end.
        let looked_up: Vec<NodeRecord> =
            all.iter().filter(|node| ids.contains(&node.id.0.as_u128())).cloned().collect();
        assert_eq!(of(1, &looked_up, &[2, 7]), here);
        let mut cut = all.clone();
        cut[6].peering = None;
        assert_eq!(end(&of(1, &cut, &[7]), 7), None, "it has no end any more");
    }
}
