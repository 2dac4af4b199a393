//! VPCs whose gateways are on several nodes (ADR 0039): where each gateway hangs.

use std::collections::BTreeMap;
use std::time::Duration;

use causeway_linux::{Namespace, Netlink};
use causeway_model::desired::{NodeDesired, VpcDesired};
use causeway_model::{RouteId, VpcId};
use ipnet::IpNet;

use super::{Inbox, Node};
use crate::error::SetupError;
use crate::gateway::Uplink;
use crate::peering::{CABLE_MACS, Inside};
use crate::site::Site;
use crate::vpc::GATEWAY_LINK;
use crate::vpc::custom::{Attached, resolve};

/// The namespace inside of tunnels is there within a moment of the node's start.
const INSIDE_PATIENCE: Duration = Duration::from_secs(1);
/// The custom routes of a VPC whose router another node has: those that can be there.
fn custom_elsewhere(vpc: &VpcDesired) -> BTreeMap<IpNet, RouteId> {
    let local: Vec<IpNet> = vpc.networks.iter().flat_map(|network| network.subnets.iter().copied()).collect();
    let networks = vpc.networks.iter().map(|network| (network.id, Attached { index: 0, subnets: &network.subnets }));
    let (custom, _) = resolve(&vpc.custom_routes, &networks.collect(), &local);
    custom.into_iter().map(|(destination, custom)| (destination, custom.id)).collect()
}

/// Takes a gateway's cable away before its namespace goes: that takes a while, and the kernel knows a cable's number once.
pub(super) async fn unplug(namespace: &str) {
    let unplug = async {
        let netlink = Netlink::open(&Namespace::open(namespace)?)?;
        netlink.delete_link_by_name(GATEWAY_LINK).await
    };
    if let Err(error) = unplug.await {
        tracing::warn!(%error, namespace, "a cable cannot be taken away");
    }
}

impl Node {
    pub(super) fn vpc(&self, id: VpcId) -> Option<&VpcDesired> {
        self.desired.vpcs.iter().find(|vpc| vpc.id == id)
    }

    /// Whether another node has the router of this VPC.
    pub(super) fn is_elsewhere(&self, id: VpcId) -> bool {
        self.vpc(id).is_some_and(|vpc| vpc.router.is_some())
    }

    /// The VPCs of gateways here whose router another node has.
    pub(super) fn elsewhere(&self) -> impl Iterator<Item = VpcId> {
        self.desired.vpcs.iter().filter(|vpc| vpc.router.is_some()).map(|vpc| vpc.id)
    }

    /// The custom routes of a VPC that are in force, wherever its router is.
    pub(super) fn custom_routes(&self, id: VpcId) -> BTreeMap<IpNet, RouteId> {
        match self.vpc(id).filter(|vpc| vpc.router.is_some()) {
            Some(vpc) => custom_elsewhere(vpc),
            None => self.routers.get(&id).map(crate::vpc::VpcRouter::custom_routes).unwrap_or_default(),
        }
    }

    /// Where a gateway or a link is to hang.
    pub(super) fn uplink(&self, site: &Site) -> Uplink {
        let Some(vpc) = site.vpc else { return Uplink::None };
        if !self.is_elsewhere(vpc) {
            return Uplink::Router;
        }
        let cables = self.vpc(vpc).map(|vpc| vpc.cables.as_slice()).unwrap_or_default();
        let own = cables.iter().find(|cable| cable.gateway == site.id);
        own.map_or(Uplink::None, |cable| Uplink::Cable(cable.node, cable.number))
    }

    /// The inside of the tunnels to other nodes.
    pub(super) fn inside(&self) -> Result<Inside, SetupError> {
        let error = |text: &str| SetupError { item: "cables to other nodes".to_owned(), error: text.to_owned() };
        let peering = self.peering.as_ref().ok_or_else(|| error("this node has no tunnels to others"))?;
        peering.inside_now().ok_or_else(|| error("the tunnels to other nodes are not there yet"))
    }

    /// Waits for that once, so that nothing is refused only because the node has just started.
    pub(super) async fn await_inside(&mut self, inbox: &mut Inbox) {
        if !self.desired.vpcs.iter().any(|vpc| !vpc.cables.is_empty()) {
            return;
        }
        if let Some(peering) = self.peering.clone() {
            let there = async move { tokio::time::timeout(INSIDE_PATIENCE, peering.inside()).await };
            // What needs it says that it is not there.
            let _ = self.meanwhile(inbox, there).await;
        }
    }

    /// Takes the cables off routers that are not to be here any more: the kernel knows a cable's number once.
    pub(super) async fn unplug_routers(&mut self, desired: &NodeDesired) {
        let is_here = |id: &VpcId| desired.vpcs.iter().any(|vpc| vpc.id == *id && vpc.router.is_none());
        for (_, router) in self.routers.iter_mut().filter(|(id, _)| !is_here(id)) {
            for (_, gateway) in router.cables().collect::<Vec<_>>() {
                if let Err(error) = router.detach(gateway).await {
                    tracing::warn!(%error, %gateway, "a cable cannot be taken off its router");
                }
            }
        }
    }

    /// Hangs the namespace of a gateway or a link on the router of its VPC, wherever that is.
    pub(super) async fn attach(&mut self, desired: &Site, namespace: &Namespace) -> Result<(), SetupError> {
        let uplink = self.uplink(desired);
        match (uplink, desired.vpc) {
            (Uplink::Cable(node, number), _) => {
                let item = format!("cable {number} to node {node}");
                let step = || SetupError::at::<causeway_linux::Error>(&item);
                let netlink = Netlink::open(namespace).map_err(step())?;
                netlink.delete_link_by_name(GATEWAY_LINK).await.map_err(step())?;
                let inside = self.inside()?;
                let [_, mac] = CABLE_MACS;
                inside.make_cable(GATEWAY_LINK, (node, number), mac, namespace).await?;
            }
            (Uplink::Router, Some(vpc)) => {
                let Some(router) = self.routers.get_mut(&vpc) else {
                    let error = "it is not there".to_owned();
                    return Err(SetupError { item: format!("router of VPC {vpc}"), error });
                };
                // What is left of a cable has the name of the pair's end.
                let netlink = Netlink::open(namespace).map_err(SetupError::at("attachment"))?;
                netlink.delete_link_by_name(GATEWAY_LINK).await.map_err(SetupError::at("attachment"))?;
                router.attach(desired.id, namespace, desired.network, &desired.private_addresses).await?;
            }
            (Uplink::None, Some(vpc)) => {
                let error = "another node has it, and there is no cable to it".to_owned();
                return Err(SetupError { item: format!("router of VPC {vpc}"), error });
            }
            (_, None) => {}
        }
        if let Some(entry) = self.gateways.get_mut(&desired.id) {
            entry.uplink = uplink;
        }
        Ok(())
    }

    /// Takes a running gateway or link from where it hangs to where it is to hang: to another VPC's router, to none, or after the router that has gone
    /// to another node. Its tunnels and sessions go on.
    pub(super) async fn follow_router(&mut self, before: &Site, desired: &Site) -> Result<(), SetupError> {
        let uplink = self.uplink(desired);
        let hung = self.gateways.get(&desired.id).map_or(Uplink::None, |entry| entry.uplink);
        if before.vpc == desired.vpc && hung == uplink {
            return Ok(());
        }
        if let Some(router) = before.vpc.and_then(|vpc| self.routers.get_mut(&vpc)) {
            router.detach(desired.id).await?;
        }
        if let Some(entry) = self.gateways.get_mut(&desired.id) {
            entry.uplink = Uplink::None;
        }
        if let Uplink::Cable(node, _) = uplink {
            self.shared.hung(desired.id, hung, node);
        }
        self.unrouted.extend(before.vpc);
        self.unrouted.extend(desired.vpc);
        let name = desired.namespace();
        let namespace = Namespace::open(&name).map_err(SetupError::at(&format!("namespace {name}")))?;
        self.attach(desired, &namespace).await
    }
}
