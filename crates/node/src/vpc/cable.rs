//! The cables of gateways on other nodes, at the router's end.

use causeway_model::desired::{CableDesired, VpcDesired};
use causeway_model::{NodeId, VpnGatewayId};
use ipnet::IpNet;

use super::{Concern, GatewayLink, Trouble, VpcRouter, gateway_port};
use crate::error::SetupError;
use crate::peering::{CABLE_MACS, Inside};

impl VpcRouter {
    /// The gateways that hang on it by cables, each with its node.
    pub(crate) fn cables(&self) -> impl Iterator<Item = (NodeId, VpnGatewayId)> {
        self.gateways.iter().filter_map(|(id, link)| Some((link.cable?.0, *id)))
    }

    /// Has those that are desired, and no others.
    pub(super) async fn apply_cables(
        &mut self,
        inside: Option<Result<Inside, SetupError>>,
        desired: &VpcDesired,
    ) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let stays = |id, link: &GatewayLink| {
            link.cable.is_none_or(|end| {
                desired.cables.iter().any(|cable| cable.gateway == id && (cable.node, cable.number) == end)
            })
        };
        let gone: Vec<_> = self.gateways.iter().filter(|(id, link)| !stays(**id, link)).map(|(id, _)| *id).collect();
        for id in gone {
            if let Err(error) = self.detach(id).await {
                troubles.push((Concern::Cable, error));
            }
        }
        let inside = match inside {
            Some(Ok(inside)) => inside,
            Some(Err(error)) => {
                troubles.push((Concern::Cable, error));
                return troubles;
            }
            None => return troubles,
        };
        for cable in &desired.cables {
            if let Err(error) = self.attach_cable(&inside, cable).await {
                troubles.push((Concern::Cable, error));
            }
        }
        troubles
    }

    /// By level: one that somebody took away is made again.
    async fn attach_cable(&mut self, inside: &Inside, cable: &CableDesired) -> Result<(), SetupError> {
        let item = format!("cable of gateway {} on node {}", cable.gateway, cable.node);
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        let link = gateway_port(cable.gateway);
        let end = (cable.node, cable.number);
        let addresses = cable.addresses.iter().map(IpNet::addr).collect();
        let there = self.netlink.find_link(&link).await.map_err(step())?;
        let known = self.gateways.get(&cable.gateway);
        let is_current = known.is_some_and(|known| {
            let is_there = there.as_ref().is_some_and(|there| there.index == known.index && there.up);
            is_there && known.cable == Some(end) && known.addresses == addresses && known.network == Some(cable.network)
        });
        if is_current {
            return Ok(());
        }
        self.netlink.delete_link_by_name(&link).await.map_err(step())?;
        let [mac, _] = CABLE_MACS;
        inside.make_cable(&link, end, mac, &self.namespace).await?;
        let index = match self.lift(&link).await {
            Ok(index) => index,
            Err(error) => {
                // Nobody would know of it.
                self.netlink.delete_link_by_name(&link).await.map_err(step())?;
                return Err(step()(error));
            }
        };
        self.take_in(cable.gateway, GatewayLink { network: Some(cable.network), addresses, index, cable: Some(end) })
            .await
    }
}
