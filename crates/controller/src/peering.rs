//! Which nodes ask each other whether they are there, and what becomes of the answers: who was answered vouches for a node whose keepalives
//! are missed (system.md §3, gateway node, row 3).

use std::net::SocketAddr;

use causeway_fleet::Answered;
use causeway_model::desired::Peer;
use causeway_model::{MachineId, NodeId};
use causeway_store::{NodeRecord, Reader, Writer};

use crate::{Controller, Result};

/// Nodes that each one asks, and that ask each one.
const WITNESSES: usize = 3;

/// The nodes that `node` asks: the next ones of its zone, in a ring by id, so that each is asked by as many as ask.
pub(crate) fn peers(node: &NodeRecord, all: &[NodeRecord]) -> Vec<Peer> {
    if node.enrolled_at.is_none() || node.revoked_at.is_some() {
        return Vec::new();
    }
    let other = |other: &&NodeRecord| other.zone == node.zone && other.id != node.id && other.revoked_at.is_none();
    let peer = |other: &NodeRecord| Some(Peer { node: other.id, address: other.peering? });
    let mut ring: Vec<Peer> = all.iter().filter(other).filter_map(peer).collect();
    ring.sort();
    let next = ring.partition_point(|peer| peer.node < node.id);
    ring.rotate_left(next);
    ring.truncate(WITNESSES);
    ring
}

/// The nodes that may have to do with `node`, looked up: [`peers`] finds among them whom it finds among all.
pub(crate) async fn neighbours(reader: &mut Reader, node: &NodeRecord) -> Result<Vec<NodeRecord>> {
    Ok(reader.ring(&node.zone, node.id, WITNESSES).await?)
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
        assert_eq!(asks(&all, 2), [4, 5, 1], "and asks nevertheless");
        assert_eq!(asks(&all, 3), Vec::<u128>::new());
    }
}
