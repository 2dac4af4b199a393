//! VPCs whose gateways are on several nodes (ADR 0039): where each gateway hangs, and what both nodes tell each other of routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_linux::{Namespace, Netlink};
use causeway_model::desired::VpcDesired;
use causeway_model::{NodeId, RouteId, VpcId, VpnGatewayId};
use ipnet::IpNet;

use super::Node;
use crate::error::SetupError;
use crate::gateway::{Decisions, Uplink};
use crate::peering::{CABLE_MACS, Heard, Inside, Sharing};
use crate::routes::{Chosen, Learned};
use crate::site::Site;
use crate::vpc::GATEWAY_LINK;
use crate::vpc::custom::{Attached, resolve};

/// The namespace inside of tunnels is there within a moment of the node's start.
const INSIDE_PATIENCE: Duration = Duration::from_secs(3);
/// The node of a router that is not heard for so long is cut off, and its VPCs with it: a process that starts anew takes less.
const CUT_AFTER: Duration = Duration::from_secs(10);

/// What is known of other nodes that share VPCs with this one.
#[derive(Default)]
pub(super) struct Shared {
    /// What gateways on other nodes have learned.
    learned: BTreeMap<(NodeId, VpnGatewayId), Arc<Vec<Learned>>>,
    /// What became of what gateways here have learned, by word of their router's node.
    decided: BTreeMap<VpnGatewayId, Arc<Decisions>>,
    /// Nodes of routers: since when each is not heard; `None`: it is.
    routers: BTreeMap<NodeId, Option<Instant>>,
}

impl Shared {
    /// Whether the node of a router is cut off.
    fn is_cut(&self, node: NodeId) -> bool {
        match self.routers.get(&node) {
            Some(since) => since.is_some_and(|since| since.elapsed() >= CUT_AFTER),
            // Never heard so far.
            None => true,
        }
    }
}

/// The custom routes of a VPC whose router another node has: those that can be there.
fn custom_elsewhere(vpc: &VpcDesired) -> BTreeMap<IpNet, RouteId> {
    let local: Vec<IpNet> = vpc.networks.iter().flat_map(|network| network.subnets.iter().copied()).collect();
    let networks = vpc.networks.iter().map(|network| (network.id, Attached { index: 0, subnets: &network.subnets }));
    let (custom, _) = resolve(&vpc.custom_routes, &networks.collect(), &local);
    custom.into_iter().map(|(destination, custom)| (destination, custom.id)).collect()
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

    /// Whether nothing of a VPC is to be had here, since the node of its router is not heard.
    pub(super) fn is_cut(&self, vpc: VpcId) -> bool {
        let router = self.vpc(vpc).and_then(|vpc| vpc.router);
        router.is_some_and(|node| self.shared.is_cut(node))
    }

    /// The inside of the tunnels to other nodes.
    pub(super) async fn inside(&self) -> Result<Inside, SetupError> {
        let error = |text: &str| SetupError { item: "cables to other nodes".to_owned(), error: text.to_owned() };
        let peering = self.peering.as_ref().ok_or_else(|| error("this node has no tunnels to others"))?;
        let inside = tokio::time::timeout(INSIDE_PATIENCE, peering.inside()).await;
        inside.map_err(|_| error("the tunnels to other nodes are not there yet"))
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
                let inside = self.inside().await?;
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
        self.unrouted.extend(before.vpc);
        self.unrouted.extend(desired.vpc);
        let name = desired.namespace();
        let namespace = Namespace::open(&name).map_err(SetupError::at(&format!("namespace {name}")))?;
        self.attach(desired, &namespace).await
    }

    /// Takes over what another node said.
    pub(super) fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Learned { node, gateway, routes } => {
                self.shared.learned.insert((node, gateway), routes);
                self.route_again(|cable| cable.gateway == gateway);
            }
            Heard::Gone { node } => {
                self.shared.learned.retain(|(of, _), _| *of != node);
                self.route_again(|cable| cable.node == node);
            }
            Heard::Decided { gateway, decisions } => {
                self.shared.decided.insert(gateway, decisions);
                let vpc = self.gateways.get(&gateway).and_then(|entry| entry.desired.vpc);
                if let Some((vpc, chosen)) = vpc.and_then(|vpc| Some((vpc, self.chosen.get(&vpc)?.clone()))) {
                    self.routes_chosen(vpc, chosen);
                }
            }
            Heard::Router { node, heard } => {
                let was_cut = self.shared.is_cut(node);
                let since = (!heard).then(Instant::now);
                let known = self.shared.routers.entry(node).or_insert(since);
                // Attempts in vain do not make it younger.
                if heard || known.is_none() {
                    *known = since;
                }
                if !heard {
                    self.cut_at = self.cut_at.or(Some(Instant::now() + CUT_AFTER));
                }
                if self.shared.is_cut(node) != was_cut {
                    self.push_guests();
                }
            }
        }
    }

    /// Has routes chosen again, without the usual pause, where one of the cables concerns it.
    fn route_again(&mut self, concerns: impl Fn(&causeway_model::desired::CableDesired) -> bool) {
        let concerned = self.desired.vpcs.iter().filter(|vpc| vpc.router.is_none() && vpc.cables.iter().any(&concerns));
        self.unrouted.extend(concerned.map(|vpc| vpc.id));
        self.routes_at = Instant::now();
    }

    /// Some node of routers may be cut off by now.
    pub(super) fn look_for_cuts(&mut self) {
        let waiting = self.shared.routers.values().flatten().map(|since| *since + CUT_AFTER);
        self.cut_at = waiting.filter(|at| *at > Instant::now()).min();
        self.push_guests();
    }

    /// Tells the gateways whose router is elsewhere how things are.
    fn push_guests(&self) {
        for (id, entry) in &self.gateways {
            if entry.desired.vpc.is_some_and(|vpc| self.is_elsewhere(vpc)) {
                self.push(*id);
            }
        }
    }

    /// What gateways on other nodes have learned for a VPC that is routed here.
    pub(super) fn learned_elsewhere(&self, vpc: VpcId) -> Vec<Arc<Vec<Learned>>> {
        let Some(vpc) = self.vpc(vpc).filter(|vpc| vpc.router.is_none()) else { return Vec::new() };
        let learned = |cable: &causeway_model::desired::CableDesired| {
            self.shared.learned.get(&(cable.node, cable.gateway)).cloned()
        };
        vpc.cables.iter().filter_map(learned).collect()
    }

    /// What became of the routes of gateways here: where the router is elsewhere, its node knows.
    pub(super) fn decisions_of(&self, vpc: VpcId, chosen: &Chosen) -> Arc<Decisions> {
        if !self.is_elsewhere(vpc) {
            return Arc::clone(&chosen.decisions);
        }
        let mut decisions = Decisions::clone(&chosen.decisions);
        for (_, entry) in self.gateways.iter().filter(|(_, entry)| entry.desired.vpc == Some(vpc)) {
            let Some(decided) = self.shared.decided.get(&entry.desired.id) else { continue };
            for (key, decision) in decided.iter() {
                if let Some(own) = decisions.get_mut(key) {
                    own.clone_from(decision);
                }
            }
        }
        Arc::new(decisions)
    }

    /// Says what gateways here have learned to the nodes that route their VPCs, and who has gateways of VPCs that are routed here is to be listened to.
    pub(super) fn share(&mut self) {
        let Some(sharing) = &self.sharing else { return };
        let mut learned: BTreeMap<NodeId, Of<Vec<Learned>>> = BTreeMap::new();
        for (id, entry) in &self.gateways {
            let Uplink::Cable(node, _) = entry.uplink else { continue };
            // Without a lease nothing gets through, whatever was learned before.
            let report = entry.report.as_ref().filter(|_| self.lapsed.is_none());
            let routes = report.map(|report| Arc::clone(&report.learned)).unwrap_or_default();
            learned.entry(node).or_default().insert(*id, routes);
        }
        let mut decided: BTreeMap<NodeId, Of<Decisions>> = BTreeMap::new();
        for vpc in self.desired.vpcs.iter().filter(|vpc| vpc.router.is_none()) {
            let chosen = self.chosen.get(&vpc.id);
            for cable in &vpc.cables {
                let of_node = decided.entry(cable.node).or_default();
                let Some(chosen) = chosen else { continue };
                let routes = self.shared.learned.get(&(cable.node, cable.gateway)).cloned().unwrap_or_default();
                let own = routes.iter().filter_map(|route| {
                    let key = (route.connection, route.prefix);
                    Some((key, chosen.decisions.get(&key)?.clone()))
                });
                of_node.insert(cable.gateway, Arc::new(own.collect()));
            }
        }
        let homes: Vec<NodeId> = learned.keys().copied().collect();
        self.shared.routers.retain(|node, _| homes.contains(node));
        self.shared.decided.retain(|id, _| self.gateways.contains_key(id));
        self.shared.learned.retain(|(node, _), _| decided.contains_key(node));
        say(sharing, learned, decided);
    }
}

/// Something of each of a node's gateways.
type Of<T> = BTreeMap<VpnGatewayId, Arc<T>>;

/// What is the same as before stays the same object, so that it is not said again.
fn say(sharing: &Sharing, learned: BTreeMap<NodeId, Of<Vec<Learned>>>, mut decided: BTreeMap<NodeId, Of<Decisions>>) {
    sharing.say(|said| {
        for (node, gateways) in &mut decided {
            for (id, decisions) in gateways.iter_mut() {
                let before = said.decided.get(node).and_then(|gateways| gateways.get(id));
                if let Some(before) = before.filter(|before| **before == *decisions) {
                    *decisions = Arc::clone(before);
                }
            }
        }
        let is_same = |before: &Arc<Vec<Learned>>, now: &Arc<Vec<Learned>>| {
            Arc::ptr_eq(before, now) || (before.is_empty() && now.is_empty())
        };
        let same_of = |before: &Of<Vec<Learned>>, now: &Of<Vec<Learned>>| {
            before.len() == now.len()
                && now.iter().all(|(id, routes)| before.get(id).is_some_and(|before| is_same(before, routes)))
        };
        let same_learned = said.learned.len() == learned.len()
            && learned.iter().all(|(node, now)| said.learned.get(node).is_some_and(|before| same_of(before, now)));
        let same = same_learned && said.decided == decided;
        said.learned = learned;
        said.decided = decided;
        !same
    });
}
