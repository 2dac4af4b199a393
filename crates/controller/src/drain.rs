//! What a draining node carries goes to other nodes in order: the node stops it and says so, and only then another one starts it.

use std::collections::BTreeMap;

use causeway_model::placement::{Home, Load, choose};
use causeway_model::resource::Caller;
use causeway_model::status::NodeState;
use causeway_model::{NodeId, Timestamp, VpcId, VpnGatewayId};
use causeway_store::{NodeRecord, Writer};

use crate::access::operator;
use crate::audit::changed;
use crate::node::{NODE, NodeInfo, document, known};
use crate::router::successor;
use crate::{Controller, Result, catalogue, status};

/// A gateway that is to go, and what its type takes.
#[derive(Clone, Copy)]
struct Moving {
    id: VpnGatewayId,
    bandwidth: u64,
    connections: u64,
}

/// Whether a node does what it is told, so that it can be asked to let go of something.
const fn listens(node: &NodeRecord) -> bool {
    matches!(node.state, NodeState::Up | NodeState::ConfigFail) && !node.silent && node.revoked_at.is_none()
}

impl Controller {
    /// Cordons a node and moves what it carries to others, as far as they have room, and the rest when they have; operators only.
    ///
    /// # Errors
    /// [`causeway_model::Error::PermissionsDenied`], [`causeway_model::Error::NotFound`].
    pub async fn drain_node(&self, caller: &Caller, id: NodeId) -> Result<NodeInfo> {
        operator(caller, "write", NODE)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let before = known(&mut unit, id).await?;
        unit.set_node_settings(id, &before.name, true, (before.max_bandwidth, before.max_connections)).await?;
        unit.set_node_draining(id, true).await?;
        let now = unit.now;
        self.move_off(&mut unit, id, now).await?;
        let after = known(&mut unit, id).await?;
        unit.finish("drain", NODE, id, &changed(&document(&before), &document(&after))).await?;
        self.node(caller, id).await
    }

    /// Has a draining node let go of what has room elsewhere.
    pub(crate) async fn move_off(&self, writer: &mut Writer, id: NodeId, now: Timestamp) -> Result<()> {
        let Some(node) = writer.node(id).await?.filter(|node| node.draining && listens(node)) else { return Ok(()) };
        // Its routers, too, of which no gateway is left here.
        let routers = writer.routers_of_node(id).await?;
        let mut groups: BTreeMap<VpcId, Vec<Moving>> = routers
            .iter()
            .filter(|router| router.leaving_revision.is_none())
            .map(|router| (router.vpc, Vec::new()))
            .collect();
        for record in writer.gateways_of_node(id).await? {
            let gateway = &record.gateway;
            if record.leaving_revision.is_some() || gateway.deleting_since.is_some() {
                continue;
            }
            let kind = catalogue::gateway_type(writer, self.region(), &gateway.gateway_type).await?;
            let (bandwidth, connections) =
                kind.map_or((0, 0), |kind| (kind.bandwidth, u64::from(kind.allowed_connections)));
            groups.entry(record.vpc).or_default().push(Moving { id: gateway.id, bandwidth, connections });
        }
        let mut loads = writer.node_loads(&node.zone, None, None).await?;
        loads.retain(|load| load.node != id);
        let (mut leaving, mut routers, mut vpcs) = (Vec::new(), Vec::new(), Vec::new());
        for (vpc, gateways) in groups {
            let router = writer.vpc_router(vpc, &node.zone).await?;
            let is_here = router.as_ref().is_some_and(|router| router.node == id && router.leaving_revision.is_none());
            let placed = writer.placed_gateways(vpc, &node.zone).await?;
            for load in &mut loads {
                let siblings = placed.iter().filter(|gateway| gateway.node == load.node && !gateway.deleting).count();
                load.siblings = u64::try_from(siblings).unwrap_or(u64::MAX);
            }
            let home = self.home(writer, router.as_ref()).await?;
            let together = is_here && placed.iter().all(|gateway| gateway.node == id || !gateway.stays());
            let gone = let_go(&mut loads, &gateways, home, together);
            // The gateways take the router along, or it goes to where others of the VPC are.
            let leaves =
                is_here && gone.len() == gateways.len() && (!gone.is_empty() || successor(&placed, id).is_some());
            if leaves {
                routers.push(vpc);
            }
            if leaves || !gone.is_empty() {
                vpcs.push(vpc);
            }
            leaving.extend(gone);
        }
        if leaving.is_empty() && routers.is_empty() {
            return Ok(());
        }
        tracing::info!(node = %id, gateways = leaving.len(), routers = routers.len(), "a draining node lets go of what it carries");
        let revision = writer.bump_node(id).await?;
        for vpc in routers {
            writer.set_router_leaving(vpc, &node.zone, Some(revision)).await?;
        }
        for gateway in leaving {
            writer.set_gateway_leaving(gateway, revision).await?;
            writer.set_gateway_failover(gateway, Some(now)).await?;
            status::refresh(writer, gateway, now).await?;
        }
        for vpc in vpcs {
            writer.advance_nodes_of_vpc(vpc, &node.zone).await?;
        }
        Ok(())
    }
}

/// Finds nodes for gateways of one VPC, each for itself; those that have one, which take its room. `together`: where not all of them have one, they
/// may go to a node that takes them all, with the router.
fn let_go(loads: &mut Vec<Load>, gateways: &[Moving], home: Home, together: bool) -> Vec<VpnGatewayId> {
    let mut left = loads.clone();
    let apart: Vec<VpnGatewayId> =
        gateways.iter().filter(|moving| take(&mut left, moving, home)).map(|moving| moving.id).collect();
    if let Some(first) = gateways.first()
        && together
        && apart.len() < gateways.len()
    {
        let sum = |of: fn(&Moving) -> u64| gateways.iter().map(of).fold(0, u64::saturating_add);
        let whole = Moving { bandwidth: sum(|one| one.bandwidth), connections: sum(|one| one.connections), ..*first };
        if take(loads, &whole, Home::Anywhere) {
            return gateways.iter().map(|moving| moving.id).collect();
        }
    }
    *loads = left;
    apart
}

/// Whether a node has room for something, which is taken.
fn take(loads: &mut [Load], moving: &Moving, home: Home) -> bool {
    let Ok(target) = choose(loads, home, moving.bandwidth, moving.connections) else { return false };
    for load in loads.iter_mut().filter(|load| load.node == target) {
        load.bandwidth = load.bandwidth.saturating_add(moving.bandwidth);
        load.connections = load.connections.saturating_add(moving.connections);
        load.gateways += 1;
        load.siblings += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn gateways_leave_apart_or_together_or_stay() {
        let id = |number: u128| NodeId(Uuid::from_u128(number));
        let load = |number: u128, free: u64, meets: bool| Load {
            node: id(number),
            max_bandwidth: Some(free),
            max_connections: None,
            bandwidth: 0,
            connections: 0,
            gateways: 0,
            kin: 0,
            siblings: 0,
            meets,
        };
        let moving = |number: u128| Moving { id: VpnGatewayId(Uuid::from_u128(number)), bandwidth: 1, connections: 1 };
        let gateways = [moving(1), moving(2)];
        let (near, at) = (Home::Near(id(9)), Home::At(id(9)));
        let cases: [(&[Load], Home, bool, usize, &str); 8] = [
            (&[load(1, 1, true), load(2, 1, true)], near, true, 2, "one for each"),
            (&[load(1, 1, true)], near, true, 1, "there is room for one"),
            (&[load(1, 1, true)], at, true, 0, "without cables all of them or none"),
            (&[load(1, 2, false)], near, true, 2, "together, where no cable ends"),
            (&[load(1, 2, false)], near, false, 0, "and not while another one hangs on the router here"),
            (&[load(1, 2, true)], at, true, 2, "together"),
            (&[load(1, 9, true), load(9, 1, true)], at, false, 1, "back to the router"),
            (&[], near, true, 0, "there is nobody"),
        ];
        for (loads, home, together, expected, why) in cases {
            let mut loads = loads.to_vec();
            assert_eq!(let_go(&mut loads, &gateways, home, together).len(), expected, "{why}");
            let taken: u64 = loads.iter().map(|load| load.bandwidth).sum();
            assert_eq!(usize::try_from(taken), Ok(expected), "{why}: the room is taken");
        }
        assert!(let_go(&mut vec![load(1, 9, true)], &[], near, true).is_empty());
    }
}
