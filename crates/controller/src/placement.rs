//! Which node carries a gateway, looked at again whenever room may have come.

use std::collections::BTreeSet;

use causeway_model::placement::{Unplaced, choose};
use causeway_model::{NodeId, PrivateNetworkId, ProjectId, Timestamp};
use causeway_store::{Reader, Writer};

use crate::{Controller, Result, catalogue, link, status};

impl Controller {
    /// The node for a project's gateway of this type on this network, or why there is none.
    pub(crate) async fn node_for(
        &self,
        reader: &mut Reader,
        zone: &str,
        project: ProjectId,
        gateway_type: &str,
        network: PrivateNetworkId,
    ) -> Result<Result<NodeId, Unplaced>> {
        let loads = reader.node_loads(zone, Some(project)).await?;
        let home = reader.vpc_home(network, zone).await?;
        let wanted = catalogue::gateway_type(reader, self.region(), gateway_type).await?;
        let (bandwidth, connections) =
            wanted.map_or((0, 0), |wanted| (wanted.bandwidth, u64::from(wanted.allowed_connections)));
        // Links end where their port is; gateways come to them where there is room.
        if home.is_none()
            && let Some(near) = reader.link_home(network, zone).await?
            && let Ok(node) = choose(&loads, Some(near), bandwidth, connections)
        {
            return Ok(Ok(node));
        }
        Ok(choose(&loads, home, bandwidth, connections))
    }

    /// Tells those whom it concerns that a gateway on this network has come to a node. `first`: the VPC had none there.
    pub(crate) async fn gateway_came(
        &self,
        writer: &mut Writer,
        (network, first): (PrivateNetworkId, bool),
        node: NodeId,
        now: Timestamp,
    ) -> Result<()> {
        if first { link::vpc_moved(writer, network, now).await } else { Ok(writer.advance_node(node).await?) }
    }

    /// Where gateways have lost their node and their VPC has none in the zone now, what the VPC has left decides where it is routed: its links.
    pub(crate) async fn gateways_went(
        &self,
        writer: &mut Writer,
        networks: BTreeSet<(PrivateNetworkId, String)>,
        now: Timestamp,
    ) -> Result<()> {
        for (network, zone) in networks {
            if writer.vpc_home(network, &zone).await?.is_none() {
                link::vpc_moved(writer, network, now).await?;
            }
        }
        Ok(())
    }

    /// Places what waits for a node in a zone, and what draining nodes carry, as far as there is room.
    pub(crate) async fn place_waiting(&self, writer: &mut Writer, zone: &str, now: Timestamp) -> Result<()> {
        for record in writer.unplaced_gateways(zone).await? {
            let gateway = &record.gateway;
            let network = gateway.private_network_id;
            match self.node_for(writer, zone, gateway.meta.project_id, &gateway.gateway_type, network).await? {
                Ok(node) => {
                    let first = writer.vpc_home(network, zone).await?.is_none();
                    writer.place_gateway(gateway.id, node).await?;
                    self.gateway_came(writer, (network, first), node, now).await?;
                }
                Err(why) => {
                    let no_room = why == Unplaced::NoCapacity;
                    if no_room == record.no_room {
                        continue;
                    }
                    writer.unplace_gateway(gateway.id, no_room).await?;
                }
            }
            status::refresh(writer, gateway.id, now).await?;
        }
        for node in writer.nodes().await?.iter().filter(|node| node.draining && node.zone == zone) {
            self.move_off(writer, node.id, now).await?;
        }
        Ok(())
    }
}
