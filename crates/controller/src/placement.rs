//! Which node carries a gateway, looked at again whenever room may have come.

use causeway_model::placement::{Unplaced, choose};
use causeway_model::{NodeId, PrivateNetworkId, Timestamp};
use causeway_store::{Reader, Writer};

use crate::{Controller, Result, catalogue, status};

impl Controller {
    /// The node for a gateway of this type on this network, or why there is none.
    pub(crate) async fn node_for(
        &self,
        reader: &mut Reader,
        zone: &str,
        gateway_type: &str,
        network: PrivateNetworkId,
    ) -> Result<Result<NodeId, Unplaced>> {
        let loads = reader.node_loads(zone).await?;
        let home = reader.vpc_home(network, zone).await?;
        let wanted = catalogue::gateway_type(reader, self.region(), gateway_type).await?;
        let (bandwidth, connections) =
            wanted.map_or((0, 0), |wanted| (wanted.bandwidth, u64::from(wanted.allowed_connections)));
        Ok(choose(&loads, home, bandwidth, connections))
    }

    /// Places what waits for a node in a zone, and what draining nodes carry, as far as there is room.
    pub(crate) async fn place_waiting(&self, writer: &mut Writer, zone: &str, now: Timestamp) -> Result<()> {
        for record in writer.unplaced_gateways(zone).await? {
            let gateway = &record.gateway;
            match self.node_for(writer, zone, &gateway.gateway_type, gateway.private_network_id).await? {
                Ok(node) => {
                    writer.place_gateway(gateway.id, node).await?;
                    writer.bump_node(node).await?;
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
