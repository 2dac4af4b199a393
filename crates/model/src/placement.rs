//! Which node of a zone carries a gateway. Pure: the loads are arguments.

use crate::id::NodeId;

/// What a node that may carry more carries now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The node.
    pub node: NodeId,
    /// Bits per second that it may carry; `None`: no limit.
    pub max_bandwidth: Option<u64>,
    /// Connections that it may carry; `None`: no limit.
    pub max_connections: Option<u64>,
    /// Bits per second of its gateways' types.
    pub bandwidth: u64,
    /// Connections that its gateways' types allow.
    pub connections: u64,
    /// Its gateways.
    pub gateways: u64,
    /// Those of them that are of the same project as the gateway to be placed.
    pub kin: u64,
}

/// Why a gateway is on no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// No node of the zone is healthy and takes gateways.
    NoNode,
    /// There are such nodes, and none has room.
    NoCapacity,
}

/// The node for a gateway whose type has this bandwidth and allows this many connections. A VPC's router and Private Networks are on one node,
/// its `home` once it has a gateway, and the VPC's other gateways go there too. Else it is the node with room that carries the fewest gateways of the
/// same project, so that one node's loss takes as little of a tenant as it can; then the fewest bits per second, then the fewest gateways; of
/// equals the one that came first.
///
/// # Errors
/// Why there is none.
pub fn choose(loads: &[Load], home: Option<NodeId>, bandwidth: u64, connections: u64) -> Result<NodeId, Unplaced> {
    let fits = |used: u64, more: u64, most: Option<u64>| most.is_none_or(|most| used.saturating_add(more) <= most);
    let mut candidates = loads.iter().filter(|load| home.is_none_or(|home| home == load.node)).peekable();
    if candidates.peek().is_none() {
        return Err(Unplaced::NoNode);
    }
    let room = |load: &&Load| {
        fits(load.bandwidth, bandwidth, load.max_bandwidth) && fits(load.connections, connections, load.max_connections)
    };
    let best = candidates.filter(room).min_by_key(|load| (load.kin, load.bandwidth, load.gateways));
    best.map(|load| load.node).ok_or(Unplaced::NoCapacity)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn load(number: u128, bandwidth: u64, gateways: u64) -> Load {
        Load {
            node: id(number),
            max_bandwidth: Some(10),
            max_connections: Some(100),
            bandwidth,
            connections: 0,
            gateways,
            kin: 0,
        }
    }

    fn related(number: u128, bandwidth: u64, kin: u64) -> Load {
        Load { kin, ..load(number, bandwidth, kin) }
    }

    #[test]
    fn a_tenants_gateways_are_spread_before_the_load_is() {
        let chosen = |loads: &[Load], home| choose(loads, home, 1, 10).map(|node| node.0.as_u128());
        assert_eq!(chosen(&[related(1, 1, 1), related(2, 9, 0)], None), Ok(2));
        assert_eq!(
            chosen(&[related(1, 1, 1), related(2, 10, 0)], None),
            Ok(1),
            "without room elsewhere they share a node"
        );
        assert_eq!(chosen(&[related(1, 5, 2), related(2, 6, 1), related(3, 5, 1)], None), Ok(3));
        assert_eq!(chosen(&[related(1, 1, 1), related(2, 1, 0)], Some(id(1))), Ok(1), "a VPC has one router");
    }

    #[test]
    fn load_is_spread_and_a_vpc_stays_together() {
        let chosen = |loads: &[Load], home| choose(loads, home, 1, 10).map(|node| node.0.as_u128());
        assert_eq!(chosen(&[load(1, 5, 1), load(2, 4, 4)], None), Ok(2));
        assert_eq!(chosen(&[load(1, 4, 4), load(2, 4, 3)], None), Ok(2));
        assert_eq!(chosen(&[load(1, 4, 4), load(2, 4, 4)], None), Ok(1));
        assert_eq!(chosen(&[load(1, 9, 9), load(2, 0, 0)], Some(id(1))), Ok(1));
        assert_eq!(chosen(&[load(1, 10, 9), load(2, 0, 0)], Some(id(1))), Err(Unplaced::NoCapacity));
        assert_eq!(chosen(&[load(2, 0, 0)], Some(id(1))), Err(Unplaced::NoNode), "its node takes nothing");
    }

    #[test]
    fn what_does_not_fit_is_not_placed() {
        assert_eq!(choose(&[], None, 1, 1), Err(Unplaced::NoNode));
        assert_eq!(choose(&[load(1, 10, 1)], None, 1, 1), Err(Unplaced::NoCapacity));
        assert_eq!(choose(&[load(1, 0, 1)], None, 1, 101), Err(Unplaced::NoCapacity));
        let endless = Load { max_bandwidth: None, max_connections: None, ..load(1, u64::MAX, 1) };
        assert!(choose(&[endless], None, u64::MAX, u64::MAX).is_ok());
    }
}
