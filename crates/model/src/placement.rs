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
    /// Those of them that are of the same VPC.
    pub siblings: u64,
    /// Whether it has an end of tunnels to other nodes, so that cables can end there.
    pub meets: bool,
}

/// What the router of a gateway's VPC says about where the gateway may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// Nothing: the VPC has no router in the zone yet, and gets it where this gateway goes.
    Anywhere,
    /// The gateway has to be on the router's node.
    At(NodeId),
    /// The gateway may hang on the router, which is on this node, by a cable (ADR 0039).
    Near(NodeId),
}

impl Home {
    /// Whether a gateway on this node reaches its VPC.
    fn admits(self, load: &Load) -> bool {
        match self {
            Self::Anywhere => true,
            Self::At(home) => load.node == home,
            Self::Near(home) => load.node == home || load.meets,
        }
    }
}

/// Why a gateway is on no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// No node of the zone is healthy and takes gateways.
    NoNode,
    /// There are such nodes, and none has room.
    NoCapacity,
}

/// The node for a gateway whose type has this bandwidth and allows this many connections. Of those from which it reaches its VPC it is the node with
/// room that carries the fewest gateways of the same VPC, so that one node's loss takes as few of them as it can; then the fewest of the same
/// project, for the same reason; then the fewest bits per second, then the fewest gateways; of equals the one that came first.
///
/// # Errors
/// Why there is none.
pub fn choose(loads: &[Load], home: Home, bandwidth: u64, connections: u64) -> Result<NodeId, Unplaced> {
    let fits = |used: u64, more: u64, most: Option<u64>| most.is_none_or(|most| used.saturating_add(more) <= most);
    let mut candidates = loads.iter().filter(|load| home.admits(load)).peekable();
    if candidates.peek().is_none() {
        return Err(Unplaced::NoNode);
    }
    let room = |load: &&Load| {
        fits(load.bandwidth, bandwidth, load.max_bandwidth) && fits(load.connections, connections, load.max_connections)
    };
    let best = candidates.filter(room).min_by_key(|load| (load.siblings, load.kin, load.bandwidth, load.gateways));
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
            siblings: 0,
            meets: true,
        }
    }

    fn related(number: u128, bandwidth: u64, kin: u64) -> Load {
        Load { kin, ..load(number, bandwidth, kin) }
    }

    fn chosen(loads: &[Load], home: Home) -> Result<u128, Unplaced> {
        choose(loads, home, 1, 10).map(|node| node.0.as_u128())
    }

    #[test]
    fn a_tenants_gateways_are_spread_before_the_load_is() {
        use Home::{Anywhere, At};
        assert_eq!(chosen(&[related(1, 1, 1), related(2, 9, 0)], Anywhere), Ok(2));
        assert_eq!(
            chosen(&[related(1, 1, 1), related(2, 10, 0)], Anywhere),
            Ok(1),
            "without room elsewhere they share a node"
        );
        assert_eq!(chosen(&[related(1, 5, 2), related(2, 6, 1), related(3, 5, 1)], Anywhere), Ok(3));
        assert_eq!(chosen(&[related(1, 1, 1), related(2, 1, 0)], At(id(1))), Ok(1), "a VPC has one router");
    }

    #[test]
    fn load_is_spread_and_a_vpc_stays_together() {
        use Home::{Anywhere, At};
        assert_eq!(chosen(&[load(1, 5, 1), load(2, 4, 4)], Anywhere), Ok(2));
        assert_eq!(chosen(&[load(1, 4, 4), load(2, 4, 3)], Anywhere), Ok(2));
        assert_eq!(chosen(&[load(1, 4, 4), load(2, 4, 4)], Anywhere), Ok(1));
        assert_eq!(chosen(&[load(1, 9, 9), load(2, 0, 0)], At(id(1))), Ok(1));
        assert_eq!(chosen(&[load(1, 10, 9), load(2, 0, 0)], At(id(1))), Err(Unplaced::NoCapacity));
        assert_eq!(chosen(&[load(2, 0, 0)], At(id(1))), Err(Unplaced::NoNode), "its node takes nothing");
    }

    #[test]
    fn gateways_of_a_vpc_that_may_be_apart_are() {
        let with = |number: u128, bandwidth: u64, kin: u64, siblings: u64| Load {
            siblings,
            ..related(number, bandwidth, kin)
        };
        let apart = |number: u128, bandwidth: u64| Load { meets: false, ..load(number, bandwidth, 0) };
        let full = |number: u128, siblings: u64| with(number, 10, siblings, siblings);
        let cases: [(&[Load], Result<u128, Unplaced>, &str); 10] = [
            (&[with(1, 1, 1, 1), with(2, 9, 0, 0)], Ok(2), "away from the sibling, whatever the load"),
            (&[with(1, 1, 1, 1), with(2, 9, 5, 0)], Ok(2), "siblings count before the project's other gateways"),
            (&[with(1, 1, 1, 1), full(2, 0)], Ok(1), "the router's node is better than none"),
            (&[with(1, 1, 1, 1), apart(2, 0)], Ok(1), "no cable ends there"),
            (&[apart(1, 9), with(2, 1, 1, 1)], Ok(1), "the router's own node needs no cable"),
            (&[full(1, 1), with(2, 5, 2, 1), with(3, 6, 1, 1)], Ok(3), "of as many siblings, fewer of the project"),
            (&[with(1, 1, 1, 0), with(2, 1, 1, 1), with(3, 1, 1, 1)], Ok(1), "back where only the router is"),
            (&[with(2, 1, 1, 1), with(3, 9, 9, 0)], Ok(3), "the router's node takes nothing"),
            (&[apart(2, 0)], Err(Unplaced::NoNode), "nobody reaches the VPC"),
            (&[full(1, 1), full(2, 0)], Err(Unplaced::NoCapacity), "nobody has room"),
        ];
        for (loads, expected, why) in cases {
            assert_eq!(chosen(loads, Home::Near(id(1))), expected, "{why}");
        }
        let lost = [with(2, 1, 1, 1), with(3, 9, 9, 0)];
        assert_eq!(chosen(&lost, Home::Anywhere), Ok(3), "without a router they are apart, too");
    }

    #[test]
    fn what_does_not_fit_is_not_placed() {
        assert_eq!(choose(&[], Home::Anywhere, 1, 1), Err(Unplaced::NoNode));
        assert_eq!(choose(&[load(1, 10, 1)], Home::Anywhere, 1, 1), Err(Unplaced::NoCapacity));
        assert_eq!(choose(&[load(1, 0, 1)], Home::Anywhere, 1, 101), Err(Unplaced::NoCapacity));
        let endless = Load { max_bandwidth: None, max_connections: None, ..load(1, u64::MAX, 1) };
        assert!(choose(&[endless], Home::Anywhere, u64::MAX, u64::MAX).is_ok());
    }
}
