//! Where a prefix or a packet goes in a VPC and why (wire-ext.md §1, `route-explanation`): a pure function over what is configured and what
//! was observed. It follows system.md §2 in the order in which the kernel does: the VPC's router and its access lists, the gateway's packet
//! filter, the tunnel.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::acl::{Acl, AclPacket};
use crate::desired::{CustomRouteDesired, PolicyDesired};
use crate::id::{ConnectionId, LinkId, PrivateNetworkId, RouteId, RoutingPolicyId, VpnGatewayId};
use crate::net::{Family, whitelist_entry};
use crate::observed::{ReceivedRoute, RouteDecision};
use crate::reason::{Fault, ReasonCode};

/// Candidates that are shown at most; see [`Explanation::more`].
const MAX_CANDIDATES: usize = 200;

/// What is known of a VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Its Private Networks and their subnets.
    pub networks: Vec<(PrivateNetworkId, Vec<IpNet>)>,
    /// Its custom routes.
    pub custom_routes: Vec<CustomRouteDesired>,
    /// Its IPv4 list.
    pub acl_ipv4: Acl,
    /// Its IPv6 list.
    pub acl_ipv6: Acl,
    /// Its gateways with their addresses on Private Networks.
    pub gateways: Vec<(VpnGatewayId, Vec<IpAddr>)>,
    /// The connections of its gateways, and its links.
    pub ways: Vec<Way>,
    /// What its router has not put in force; see [`Explanation::caveats`].
    pub caveats: Vec<Fault>,
}

/// What a customer is reached through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// The tunnels of a connection.
    Connection {
        /// The connection.
        connection: ConnectionId,
        /// Its gateway.
        gateway: VpnGatewayId,
    },
    /// An InterLink.
    Link(LinkId),
}

impl Via {
    /// Names it in the evidence of `fault`.
    fn named(self, fault: Fault) -> Fault {
        match self {
            Self::Connection { connection, .. } => fault.with("connection", connection.to_string()),
            Self::Link(link) => fault.with("link", link.to_string()),
        }
    }

    /// The step at which a packet is handed to it.
    const fn step(self) -> &'static str {
        match self {
            Self::Connection { .. } => TUNNEL,
            Self::Link(_) => LINK,
        }
    }
}

const TUNNEL: &str = "tunnel";
const LINK: &str = "link";

/// A connection or a link as far as routes and packets are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Which one.
    pub via: Via,
    /// It or its gateway is locked.
    pub locked: bool,
    /// Whether routes are exchanged.
    pub propagation: bool,
    /// The attached policies, at most one of each family.
    pub policies: Vec<(Family, RoutingPolicyId, PolicyDesired)>,
    /// Inside addresses with the interconnection subnets' masks.
    pub inside: Vec<IpNet>,
    /// The outer families of tunnels that are up; a link has none.
    pub tunnels_up: Vec<Family>,
    /// Why no tunnel is up, where it is known; of a link, why nothing carries it, and `None` if something does.
    pub tunnel_fault: Option<Fault>,
    /// The families whose sessions are up.
    pub sessions_up: Vec<Family>,
    /// Why sessions are down, where it is known.
    pub session_faults: Vec<(Family, Fault)>,
    /// What the sessions received.
    pub received: Vec<ReceivedRoute>,
    /// What its node has not put in force, or not been heard of; see [`Explanation::caveats`].
    pub caveats: Vec<Fault>,
}

impl Way {
    fn policy(&self, family: Family) -> Option<&(Family, RoutingPolicyId, PolicyDesired)> {
        self.policies.iter().find(|(of, _, _)| *of == family)
    }

    /// Why nothing at all passes, if so; the root first.
    fn closed(&self, family: Family) -> Option<Fault> {
        let fault = |code: ReasonCode| Some(self.via.named(code.into()));
        if self.locked {
            return fault(ReasonCode::Locked);
        }
        let untunnelled = || self.tunnel_fault.clone().unwrap_or_else(|| ReasonCode::AwaitingDevice.into());
        let uncarried = match self.via {
            Via::Connection { .. } => self.tunnels_up.is_empty().then(untunnelled),
            Via::Link(_) => self.tunnel_fault.clone(),
        };
        if let Some(why) = uncarried {
            return Some(self.via.named(why));
        }
        if self.policy(family).is_none() {
            return fault(ReasonCode::NoRoutingPolicy);
        }
        if !self.propagation {
            return fault(ReasonCode::PropagationDisabled);
        }
        None
    }

    /// Why no route of `family` is learned here, if so.
    fn silent(&self, family: Family) -> Option<Fault> {
        self.closed(family).or_else(|| {
            if self.sessions_up.contains(&family) {
                return None;
            }
            let known = self.session_faults.iter().find(|(of, _)| *of == family).map(|(_, fault)| fault.clone());
            let fault = known.unwrap_or_else(|| ReasonCode::BgpConnecting.into());
            Some(self.via.named(fault))
        })
    }
}

/// Where a route comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A subnet of this Private Network.
    Local(PrivateNetworkId),
    /// A tenant's own route.
    Custom {
        /// The route.
        route: RouteId,
        /// Where it leads.
        network: PrivateNetworkId,
        /// The next hop; `None`: on the network itself.
        next_hop: Option<IpAddr>,
    },
    /// A device announced it.
    Learned(Via),
}

/// How a route's prefix lies to the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// It is the same.
    Exact,
    /// It covers it.
    Covers,
    /// It is a part of it.
    Inside,
}

impl Relation {
    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Covers => "covers",
            Self::Inside => "inside",
        }
    }
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In the router's table.
    Installed,
    /// Another route to the same prefix is better.
    Beaten(String),
    /// The policy or a rule of BGP refuses it.
    Filtered(String),
    /// Admitted, but not used.
    Withheld(String),
    /// The connection or link has no route to it, for this reason.
    Missing(Box<Fault>),
}

/// A route that might be taken, or a connection or link that has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it comes from.
    pub origin: Origin,
    /// Its prefix; for [`Outcome::Missing`] the one that was asked for.
    pub prefix: IpNet,
    /// How that lies to what was asked for.
    pub relation: Relation,
    /// What became of it.
    pub outcome: Outcome,
    /// The policy that decided, and the entry of its `prefix_filter_in` that admits the prefix.
    pub policy: Option<(RoutingPolicyId, Option<IpNet>)>,
    /// AS path, MED and communities as received.
    pub attributes: Option<(Vec<u32>, Option<u32>, Vec<String>)>,
    /// The outer families of its connection's tunnels that are up.
    pub tunnels_up: Vec<Family>,
    /// Whether this is a route that is taken for the whole of what was asked for.
    pub taken: bool,
}

/// A place on a packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// `source`, `gateway`, `router`, `route`, `acl`, `tunnel`, `link` or `delivery`.
    pub at: &'static str,
    /// The connection or link, where it is about one.
    pub via: Option<Via>,
    /// Whether the packet passes.
    pub passes: bool,
    /// What was found.
    pub detail: String,
    /// Why it does not pass.
    pub fault: Option<Fault>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// For a prefix: `routed` or `unrouted`. For a packet: `delivered`, `dropped`, or `partly` where some of several open ways that share
    /// the load drop it. A way without a tunnel, say, is not open: nobody takes it.
    pub verdict: &'static str,
    /// Why it is not routed or delivered.
    pub fault: Option<Fault>,
    /// The routes, those that are taken first.
    pub candidates: Vec<Candidate>,
    /// Candidates that are not shown.
    pub more: usize,
    /// For a packet: its way.
    pub steps: Vec<Step>,
    /// For a packet: the route that answers take, in words; `None`: there is none.
    pub return_path: Option<String>,
    /// What may make the kernel do something else at present: the answer follows what is configured, and a node may owe a part of that
    /// to the VPC's router, or to a connection or link of this answer.
    pub caveats: Vec<Fault>,
}

/// A packet as far as a question names it.
pub type Packet = AclPacket;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Which routes there are for a prefix.
    Prefix(IpNet),
    /// What becomes of a packet, whose addresses are of one family.
    Packet(Packet),
}

/// The answer to either.
#[must_use]
pub fn explain(picture: &Picture, question: &Question) -> Explanation {
    match question {
        Question::Prefix(prefix) => explain_prefix(picture, prefix),
        Question::Packet(packet) => explain_packet(picture, packet),
    }
}

impl Picture {
    fn subnets(&self) -> impl Iterator<Item = (PrivateNetworkId, &IpNet)> {
        self.networks.iter().flat_map(|(id, subnets)| subnets.iter().map(move |subnet| (*id, subnet)))
    }

    fn is_local(&self, address: IpAddr) -> Option<(PrivateNetworkId, IpNet)> {
        self.subnets().find(|(_, subnet)| subnet.contains(&address)).map(|(id, subnet)| (id, subnet.trunc()))
    }

    /// The router's caveats and those of these connections and links.
    fn caveats(&self, concerned: &BTreeSet<Via>) -> Vec<Fault> {
        let ways = self.ways.iter().filter(|way| concerned.contains(&way.via));
        let mut found: Vec<Fault> = Vec::new();
        for caveat in self.caveats.iter().chain(ways.flat_map(|way| &way.caveats)) {
            // Connections of one gateway share its own.
            if !found.contains(caveat) {
                found.push(caveat.clone());
            }
        }
        found
    }

    fn candidates(&self, asked: &IpNet) -> Vec<Candidate> {
        let mut found = Vec::new();
        let plain = |origin, prefix: IpNet, relation, outcome| Candidate {
            origin,
            prefix,
            relation,
            outcome,
            policy: None,
            attributes: None,
            tunnels_up: Vec::new(),
            taken: false,
        };
        for (id, subnet) in self.subnets() {
            if let Some(relation) = relation(asked, subnet) {
                found.push(plain(Origin::Local(id), subnet.trunc(), relation, Outcome::Installed));
            }
        }
        for custom in &self.custom_routes {
            let Some(relation) = relation(asked, &custom.destination) else { continue };
            let origin = Origin::Custom { route: custom.id, network: custom.network, next_hop: custom.next_hop };
            let beaten = self.subnets().find(|(_, subnet)| subnet.trunc() == custom.destination.trunc());
            let outcome = beaten.map_or(Outcome::Installed, |(_, subnet)| {
                Outcome::Beaten(format!("the VPC's own subnet {}", subnet.trunc()))
            });
            found.push(plain(origin, custom.destination.trunc(), relation, outcome));
        }
        for way in &self.ways {
            self.learned(way, asked, &mut found);
        }
        found
    }

    /// The candidates of one connection or link: what it received, or why it has nothing for the prefix.
    fn learned(&self, way: &Way, asked: &IpNet, found: &mut Vec<Candidate>) {
        let family = Family::of_net(asked);
        let origin = Origin::Learned(way.via);
        let policy = way.policy(family);
        let before = found.len();
        for route in &way.received {
            let Some(relation) = relation(asked, &route.prefix) else { continue };
            let custom = self.custom_routes.iter().find(|custom| custom.destination.trunc() == route.prefix.trunc());
            let outcome = match (&route.decision, custom) {
                // What the node said may be older than the custom route.
                (RouteDecision::Installed | RouteDecision::Beaten { .. }, Some(custom)) => {
                    Outcome::Beaten(format!("custom route {}", custom.id))
                }
                (RouteDecision::Installed, None) => Outcome::Installed,
                (RouteDecision::Beaten { by }, None) => Outcome::Beaten(by.clone()),
                (RouteDecision::Filtered { by }, _) => Outcome::Filtered(by.clone()),
                (RouteDecision::Withheld { because }, _) => Outcome::Withheld(because.clone()),
            };
            found.push(Candidate {
                origin: origin.clone(),
                prefix: route.prefix.trunc(),
                relation,
                outcome,
                policy: policy
                    .map(|(_, id, lists)| (*id, whitelist_entry(&lists.prefix_filter_in, &route.prefix).copied())),
                attributes: Some((route.as_path.clone(), route.med, route.communities.clone())),
                tunnels_up: way.tunnels_up.clone(),
                taken: false,
            });
        }
        let whole = found.get(before..).unwrap_or_default().iter().any(|found| found.relation != Relation::Inside);
        if whole {
            return;
        }
        let fault = way.silent(family).unwrap_or_else(|| {
            way.via.named(ReasonCode::NoRoute.into()).with("because", "the device does not announce it")
        });
        found.push(Candidate {
            origin,
            prefix: asked.trunc(),
            relation: Relation::Exact,
            outcome: Outcome::Missing(Box::new(fault)),
            policy: policy.map(|(_, id, lists)| (*id, whitelist_entry(&lists.prefix_filter_in, asked).copied())),
            attributes: None,
            tunnels_up: way.tunnels_up.clone(),
            taken: false,
        });
    }

    /// Marks what the router takes for all of `asked`: the longest prefix that is installed, and of that the nearest origin.
    fn choose(candidates: &mut [Candidate]) {
        let usable =
            |candidate: &Candidate| candidate.outcome == Outcome::Installed && candidate.relation != Relation::Inside;
        let best = candidates.iter().filter(|candidate| usable(candidate)).map(rank).max();
        for candidate in candidates.iter_mut() {
            candidate.taken = usable(candidate) && Some(rank(candidate)) == best;
        }
        candidates.sort_by_key(|candidate| {
            let missing = matches!(candidate.outcome, Outcome::Missing(_));
            (!candidate.taken, missing, std::cmp::Reverse(candidate.prefix.prefix_len()), candidate.prefix)
        });
    }

    /// Why nothing is taken.
    fn unrouted(candidates: &[Candidate]) -> Fault {
        let own = |outcome: &str, detail: &str| Fault::new(ReasonCode::NoRoute).with(outcome, detail);
        let mut faults =
            candidates.iter().filter(|candidate| candidate.relation != Relation::Inside).map(|candidate| {
                match &candidate.outcome {
                    Outcome::Filtered(by) => (0, own("filtered", by)),
                    Outcome::Withheld(because) => (1, own("withheld", because)),
                    Outcome::Beaten(by) => (2, own("beaten", by)),
                    // What is wrong with a connection may be why there is no route; that a device announces something else is the rule.
                    Outcome::Missing(fault) if fault.code == ReasonCode::NoRoute => (4, (**fault).clone()),
                    Outcome::Missing(fault) => (3, (**fault).clone()),
                    Outcome::Installed => (5, ReasonCode::NoRoute.into()),
                }
            });
        let first = faults.next();
        let best = faults.fold(first, |best, next| match best {
            Some(best) if best.0 <= next.0 => Some(best),
            _ => Some(next),
        });
        best.map_or_else(|| ReasonCode::NoRoute.into(), |(_, fault)| fault)
    }
}

fn rank(candidate: &Candidate) -> (u8, u8) {
    let nearness = match candidate.origin {
        Origin::Local(_) => 2,
        Origin::Custom { .. } => 1,
        Origin::Learned(_) => 0,
    };
    (candidate.prefix.prefix_len(), nearness)
}

fn relation(asked: &IpNet, prefix: &IpNet) -> Option<Relation> {
    let (asked, prefix) = (asked.trunc(), prefix.trunc());
    if Family::of_net(&asked) != Family::of_net(&prefix) {
        None
    } else if asked == prefix {
        Some(Relation::Exact)
    } else if prefix.contains(&asked) {
        Some(Relation::Covers)
    } else if asked.contains(&prefix) {
        Some(Relation::Inside)
    } else {
        None
    }
}

/// Which routes there are for `prefix`, which one is taken, and why the others are not.
#[must_use]
pub fn explain_prefix(picture: &Picture, prefix: &IpNet) -> Explanation {
    let mut candidates = picture.candidates(prefix);
    Picture::choose(&mut candidates);
    let taken = candidates.iter().any(|candidate| candidate.taken);
    let fault = (!taken).then(|| Picture::unrouted(&candidates));
    let more = candidates.len().saturating_sub(MAX_CANDIDATES);
    candidates.truncate(MAX_CANDIDATES);
    let verdict = if taken { "routed" } else { "unrouted" };
    let concerned: BTreeSet<Via> = candidates.iter().filter_map(via_of).collect();
    let caveats = picture.caveats(&concerned);
    Explanation { verdict, fault, candidates, more, steps: Vec::new(), return_path: None, caveats }
}

fn via_of(candidate: &Candidate) -> Option<Via> {
    match candidate.origin {
        Origin::Learned(via) => Some(via),
        Origin::Local(_) | Origin::Custom { .. } => None,
    }
}

/// `10.0.0.0/24, learned through connection …`.
fn describe(candidate: &Candidate) -> String {
    let prefix = candidate.prefix;
    match &candidate.origin {
        Origin::Local(network) => format!("{prefix}, Private Network {network}"),
        Origin::Custom { route, network, next_hop: Some(hop) } => {
            format!("{prefix}, custom route {route} through {hop} on Private Network {network}")
        }
        Origin::Custom { route, network, next_hop: None } => {
            format!("{prefix}, custom route {route} on Private Network {network}")
        }
        Origin::Learned(Via::Connection { connection, gateway }) => {
            format!("{prefix}, learned through connection {connection} of gateway {gateway}")
        }
        Origin::Learned(Via::Link(link)) => format!("{prefix}, learned through link {link}"),
    }
}

mod own;
mod packet;

pub use own::{Own, OwnDecision, OwnRoute, own_routes};
pub use packet::explain_packet;

#[cfg(test)]
mod tests;
