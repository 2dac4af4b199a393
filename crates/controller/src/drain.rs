//! What a draining node carries goes to other nodes in order: the node stops it and says so, and only then another one starts it.

use std::collections::BTreeMap;

use causeway_model::placement::choose;
use causeway_model::resource::Caller;
use causeway_model::status::NodeState;
use causeway_model::{NodeId, Timestamp, VpcId, VpnGatewayId};
use causeway_store::{NodeRecord, Writer};

use crate::access::operator;
use crate::audit::changed;
use crate::node::{NODE, NodeInfo, document, known};
use crate::{Controller, Result, catalogue, status};

/// The gateways of a VPC on one node, which go together, and what their types add up to.
#[derive(Default)]
struct Group {
    gateways: Vec<VpnGatewayId>,
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
        let mut groups: BTreeMap<VpcId, Group> = BTreeMap::new();
        for record in writer.gateways_of_node(id).await? {
            let gateway = &record.gateway;
            if record.leaving_revision.is_some() || gateway.deleting_since.is_some() {
                continue;
            }
            let Some(network) = writer.private_network(gateway.private_network_id).await? else { continue };
            let group = groups.entry(network.vpc_id).or_default();
            group.gateways.push(gateway.id);
            if let Some(kind) = catalogue::gateway_type(writer, self.region(), &gateway.gateway_type).await? {
                group.bandwidth = group.bandwidth.saturating_add(kind.bandwidth);
                group.connections = group.connections.saturating_add(u64::from(kind.allowed_connections));
            }
        }
        let mut loads = writer.node_loads(&node.zone, None).await?;
        loads.retain(|load| load.node != id);
        let mut leaving = Vec::new();
        for group in groups.into_values() {
            let Ok(target) = choose(&loads, None, group.bandwidth, group.connections) else { continue };
            for load in loads.iter_mut().filter(|load| load.node == target) {
                load.bandwidth = load.bandwidth.saturating_add(group.bandwidth);
                load.connections = load.connections.saturating_add(group.connections);
                load.gateways += 1;
            }
            leaving.extend(group.gateways);
        }
        if leaving.is_empty() {
            return Ok(());
        }
        tracing::info!(node = %id, gateways = leaving.len(), "a draining node lets go of gateways");
        let revision = writer.bump_node(id).await?;
        for gateway in leaving {
            writer.set_gateway_leaving(gateway, revision).await?;
            writer.set_gateway_failover(gateway, Some(now)).await?;
            status::refresh(writer, gateway, now).await?;
        }
        Ok(())
    }
}
