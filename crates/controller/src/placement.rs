//! Which node carries a gateway, looked at again whenever room may have come.

use std::collections::BTreeSet;

use causeway_model::placement::{Home, Unplaced, choose};
use causeway_model::{NodeId, ProjectId, Timestamp, VpcId};
use causeway_store::{Reader, VpcRouter, Writer};

use crate::{Controller, Result, catalogue, link, status};

impl Controller {
    /// The node for a project's gateway of this type in a VPC, or why there is none. `router`: what [`Self::router_of`] says.
    pub(crate) async fn node_for(
        &self,
        reader: &mut Reader,
        (vpc, zone): (VpcId, &str),
        router: Option<&VpcRouter>,
        project: ProjectId,
        gateway_type: &str,
    ) -> Result<Result<NodeId, Unplaced>> {
        let loads = reader.node_loads(zone, Some(project), Some(vpc)).await?;
        let home = self.home(reader, router).await?;
        let wanted = catalogue::gateway_type(reader, self.region(), gateway_type).await?;
        let (bandwidth, connections) =
            wanted.map_or((0, 0), |wanted| (wanted.bandwidth, u64::from(wanted.allowed_connections)));
        // Links end where their port is; gateways come to them where there is room.
        if home == Home::Anywhere
            && let Some(near) = reader.link_home(vpc, zone).await?
            && let Ok(node) = choose(&loads, Home::At(near), bandwidth, connections)
        {
            return Ok(Ok(node));
        }
        Ok(choose(&loads, home, bandwidth, connections))
    }

    /// Tells those whom it concerns that a gateway of a VPC has come to a node. `router`: the VPC's before that.
    pub(crate) async fn gateway_came(
        &self,
        writer: &mut Writer,
        (vpc, zone): (VpcId, &str),
        router: Option<&VpcRouter>,
        node: NodeId,
        now: Timestamp,
    ) -> Result<()> {
        let Some(router) = router else {
            writer.set_vpc_router(vpc, zone, node).await?;
            return link::vpcs_moved(writer, &[vpc], now).await;
        };
        if router.node == node && router.leaving_revision.is_some() {
            // Nobody was given it since, so that the node may as well keep it.
            writer.set_router_leaving(vpc, zone, None).await?;
        }
        for node in BTreeSet::from([node, router.node]) {
            writer.advance_node(node).await?;
        }
        Ok(())
    }

    /// Places what waits for a node in a zone, and what draining nodes carry, as far as there is room.
    pub(crate) async fn place_waiting(&self, writer: &mut Writer, zone: &str, now: Timestamp) -> Result<()> {
        for record in writer.unplaced_gateways(zone).await? {
            let (gateway, vpc) = (&record.gateway, record.vpc);
            let router = self.router_of(writer, vpc, zone).await?;
            let project = gateway.meta.project_id;
            match self.node_for(writer, (vpc, zone), router.as_ref(), project, &gateway.gateway_type).await? {
                Ok(node) => {
                    writer.place_gateway(gateway.id, node).await?;
                    self.gateway_came(writer, (vpc, zone), router.as_ref(), node, now).await?;
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
