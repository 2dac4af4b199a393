//! What becomes of a packet: its way through the VPC's router, the gateway's packet filter and the tunnel.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Candidate, Explanation, LINK, Origin, Packet, Picture, Step, TUNNEL, Via, Way, describe, explain_prefix, via_of,
};
use crate::acl::{AclAction, AclProtocol};
use crate::id::{PrivateNetworkId, RoutingPolicyId, VpnGatewayId};
use crate::net::{Family, router_address};
use crate::reason::{Fault, ReasonCode};

/// What becomes of `packet`, and where. Source and destination have to be of one family. A question without a protocol is about pings
/// where the router or a gateway itself is addressed; what these send is followed through the router as if a host had sent it.
#[must_use]
pub fn explain_packet(picture: &Picture, packet: &Packet) -> Explanation {
    let mut route = explain_prefix(picture, &IpNet::from(packet.destination));
    route.fault = None;
    let back = explain_prefix(picture, &IpNet::from(packet.source));
    let back = back.candidates.iter().find(|candidate| candidate.taken);
    let mut way = Trace { picture, packet, steps: Vec::new() };
    let Tally { open, passed } = match (picture.is_local(packet.source), back) {
        (Some((network, _)), _) => way.leave_inside(network, None, &route.candidates),
        // A host behind the next hop of a custom route.
        (None, Some(Candidate { origin: Origin::Custom { network, .. }, .. })) => {
            way.leave_inside(*network, back, &route.candidates)
        }
        (None, _) => way.enter_outside(&route.candidates),
    };
    let verdict = match passed {
        0 => "dropped",
        some if some == open => "delivered",
        _ => "partly",
    };
    let fault = if passed == open && open > 0 {
        None
    } else {
        // What is wrong with a way that is taken comes before what keeps another one from being taken.
        let faults = || way.steps.iter().rev().filter_map(|step| step.fault.as_ref().map(|fault| (step.at, fault)));
        let refused = faults().find(|(at, _)| ![TUNNEL, LINK].contains(at)).filter(|_| open > 0);
        let fault = refused.or_else(|| faults().next()).map(|(_, fault)| fault.clone());
        fault.or_else(|| Some(ReasonCode::NoRoute.into()))
    };
    let concerned: BTreeSet<Via> =
        route.candidates.iter().filter_map(via_of).chain(way.steps.iter().filter_map(|step| step.via)).collect();
    Explanation {
        verdict,
        fault,
        return_path: back.map(describe),
        caveats: picture.caveats(&concerned),
        steps: way.steps,
        ..route
    }
}

/// How many of the ways that may be taken let the packet pass.
struct Tally {
    /// Those that may be taken; where none may, 0.
    open: usize,
    /// Of these.
    passed: usize,
}

impl Tally {
    const NONE: Self = Self { open: 0, passed: 0 };

    fn of(fates: impl Iterator<Item = Fate>) -> Self {
        let mut tally = Self::NONE;
        for fate in fates.filter(|fate| *fate != Fate::Closed) {
            tally.open += 1;
            tally.passed += usize::from(fate == Fate::Passes);
        }
        tally
    }
}

/// What becomes of a packet on one of several ways.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It passes.
    Passes,
    /// It is dropped there.
    Dropped,
    /// Neither the router nor a device sends anything that way.
    Closed,
}

/// Whose an address of the VPC is that no host has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Platform {
    /// The router's, on one of its Private Networks.
    Router,
    /// A gateway's, behind the router.
    Gateway(VpnGatewayId),
}

impl Platform {
    fn of(picture: &Picture, address: IpAddr) -> Option<Self> {
        let gateway = picture.gateways.iter().find(|(_, addresses)| addresses.contains(&address));
        let router = || picture.subnets().any(|(_, subnet)| router_address(subnet).addr() == address);
        gateway.map(|(id, _)| Self::Gateway(*id)).or_else(|| router().then_some(Self::Router))
    }

    const fn place(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Gateway(_) => "gateway",
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Router => f.write_str("the VPC's router"),
            Self::Gateway(id) => write!(f, "VPN gateway {id}"),
        }
    }
}

/// A packet on its way.
struct Trace<'a> {
    picture: &'a Picture,
    packet: &'a Packet,
    steps: Vec<Step>,
}

impl Trace<'_> {
    fn pass(&mut self, at: &'static str, via: Option<Via>, detail: impl Into<String>) {
        self.steps.push(Step { at, via, passes: true, detail: detail.into(), fault: None });
    }

    fn stop(&mut self, at: &'static str, via: Option<Via>, fault: Fault) {
        let detail = fault.explain(None).message;
        self.steps.push(Step { at, via, passes: false, detail, fault: Some(fault) });
    }

    /// Whether the router's access list lets the packet pass.
    fn acl(&mut self) -> bool {
        let ipv6 = self.packet.destination.is_ipv6();
        let (acl, name) = if ipv6 { (&self.picture.acl_ipv6, "IPv6") } else { (&self.picture.acl_ipv4, "IPv4") };
        let (rule, action) = acl.decide(self.packet);
        let which = rule.map_or_else(
            || format!("the default of the {name} list"),
            |index| {
                let text = acl.rules.get(index).and_then(|rule| rule.description.as_deref()).unwrap_or_default();
                let text = if text.is_empty() { String::new() } else { format!(" ({text})") };
                format!("rule {} of the {name} list{text}", index + 1)
            },
        );
        if action == AclAction::Accept {
            self.pass("acl", None, format!("{which} accepts"));
            return true;
        }
        let mut fault = Fault::new(ReasonCode::AclDenied).with("rule", which).with("list", name);
        if let Some(index) = rule {
            fault = fault.with("rule_index", index.to_string());
        }
        self.stop("acl", None, fault);
        false
    }

    /// At the router or a gateway itself, which take ICMP from the VPC and, the router only, from customers' sites.
    fn arrive(&mut self, at: Platform) -> bool {
        if matches!(self.packet.protocol, AclProtocol::Icmp | AclProtocol::Any) {
            self.pass(
                at.place(),
                None,
                format!("{} is an address of {at}, which takes ICMP only", self.packet.destination),
            );
            return true;
        }
        let fault = self.not_taken(at, "ICMP");
        self.stop(at.place(), None, fault);
        false
    }

    fn not_taken(&self, at: Platform, admits: &str) -> Fault {
        Fault::new(ReasonCode::PlatformAddress)
            .with("destination", self.packet.destination.to_string())
            .with("address_of", at.to_string())
            .with("admits", admits)
    }

    /// From a host on `network`, or behind it by the custom route `by`.
    fn leave_inside(&mut self, network: PrivateNetworkId, by: Option<&Candidate>, routes: &[Candidate]) -> Tally {
        let place = by.map_or_else(
            || format!("is in Private Network {network}"),
            |route| format!("is behind Private Network {network}: {}", describe(route)),
        );
        self.pass("source", None, format!("{} {place}", self.packet.source));
        let taken: Vec<&Candidate> = routes.iter().filter(|candidate| candidate.taken).collect();
        let Some(first) = taken.first() else {
            self.stop("route", None, Picture::unrouted(routes));
            return Tally::NONE;
        };
        let platform = |address| Platform::of(self.picture, address);
        let (from, to) = (platform(self.packet.source), platform(self.packet.destination));
        // Also on its own network a gateway is behind the router.
        let beyond = [from, to].iter().any(|end| matches!(end, Some(Platform::Gateway(_))));
        if let Some(to) = to {
            self.pass("route", None, describe(first));
            // What goes to the router, or comes from it, does not cross it, so no list sees it.
            let crosses = ![from, Some(to)].contains(&Some(Platform::Router));
            let passes = (!crosses || self.acl()) && self.arrive(to);
            return Tally { open: 1, passed: usize::from(passes) };
        }
        if let Origin::Local(to) = first.origin
            && to == network
            && !beyond
        {
            self.pass(
                "delivery",
                None,
                format!("{} is on the same network: no router is asked", self.packet.destination),
            );
            return Tally { open: 1, passed: 1 };
        }
        for candidate in &taken {
            self.pass("route", via_of(candidate), describe(candidate));
        }
        if !self.acl() {
            return Tally { open: taken.len(), passed: 0 };
        }
        Tally::of(taken.into_iter().map(|candidate| self.leave(candidate)))
    }

    /// Out of the router by a route that was taken.
    fn leave(&mut self, candidate: &Candidate) -> Fate {
        let Some(id) = via_of(candidate) else {
            self.pass("delivery", None, describe(candidate));
            return Fate::Passes;
        };
        let Some(way) = self.picture.ways.iter().find(|way| way.via == id) else { return Fate::Closed };
        if let Some(fault) = way.closed(Family::of(self.packet.destination)) {
            self.stop(id.step(), Some(id), fault);
            return Fate::Closed;
        }
        let Some((_, policy, lists)) = way.policy(Family::of(self.packet.destination)) else { return Fate::Closed };
        let listed = |list: &[IpNet], address: IpAddr| list.iter().find(|range| range.contains(&address)).copied();
        if listed(&lists.prefix_filter_in, self.packet.destination).is_none() {
            self.stop(
                "gateway",
                Some(id),
                not_listed(
                    ReasonCode::DestinationNotAllowed,
                    "prefix_filter_in",
                    *policy,
                    &lists.prefix_filter_in,
                    self.packet.destination,
                ),
            );
            return Fate::Dropped;
        }
        let Some(entry) = listed(&lists.prefix_filter_out, self.packet.source) else {
            self.stop(
                "gateway",
                Some(id),
                not_listed(
                    ReasonCode::SourceNotAllowed,
                    "prefix_filter_out",
                    *policy,
                    &lists.prefix_filter_out,
                    self.packet.source,
                ),
            );
            return Fate::Dropped;
        };
        self.pass("gateway", Some(id), format!("policy {policy} lets {entry} out"));
        self.pass(id.step(), Some(id), format!("over the {}", carrier(way)));
        Fate::Passes
    }

    /// From a customer's site. The policy decides which connection may carry it, not the routes (system.md §2.7).
    fn enter_outside(&mut self, routes: &[Candidate]) -> Tally {
        let (source, destination) = (self.packet.source, self.packet.destination);
        let family = Family::of(source);
        if let Some(fault) = forged(self.picture, source) {
            self.stop("source", None, fault);
            return Tally::NONE;
        }
        let admits = |way: &&Way| {
            way.policy(family)
                .is_some_and(|(_, _, lists)| lists.prefix_filter_in.iter().any(|range| range.contains(&source)))
        };
        let ways: Vec<&Way> = self.picture.ways.iter().filter(admits).collect();
        if ways.is_empty() {
            let all: Vec<IpNet> = self
                .picture
                .ways
                .iter()
                .filter_map(|way| way.policy(family))
                .flat_map(|(_, _, lists)| lists.prefix_filter_in.iter().copied())
                .collect();
            let fault = Fault::new(ReasonCode::SourceNotAllowed)
                .values(list_text(&all), source.to_string())
                .with("list", "prefix_filter_in");
            self.stop("source", None, fault);
            return Tally::NONE;
        }
        let taken = routes.iter().find(|candidate| candidate.taken);
        let tally = Tally::of(ways.into_iter().map(|way| self.enter(way, taken)));
        if tally.passed == 0 {
            return tally;
        }
        let dropped = Tally { passed: 0, ..tally };
        let Some(taken) = taken else {
            self.stop("route", None, Picture::unrouted(routes));
            return dropped;
        };
        if let Some(to) = via_of(taken) {
            // A custom route's destination may hold another site: to the gateway it looks like the VPC, to the router it does not.
            self.stop("route", Some(to), transit(taken));
            return dropped;
        }
        self.pass("route", None, describe(taken));
        if let Some(to) = Platform::of(self.picture, destination) {
            return if self.arrive(to) { tally } else { dropped };
        }
        if !self.acl() {
            return dropped;
        }
        self.pass("delivery", None, format!("{destination} is reached by {}", describe(taken)));
        tally
    }

    /// Into the VPC through one connection or link.
    fn enter(&mut self, way: &Way, taken: Option<&Candidate>) -> Fate {
        let id = Some(way.via);
        let family = Family::of(self.packet.destination);
        if let Some(fault) = way.closed(family) {
            self.stop(way.via.step(), id, fault);
            return Fate::Closed;
        }
        self.pass(way.via.step(), id, format!("through the {}", carrier(way)));
        let Some((_, policy, lists)) = way.policy(family) else { return Fate::Closed };
        let destination = self.packet.destination;
        if let Some(to @ Platform::Gateway(_)) = Platform::of(self.picture, destination) {
            // Its own gateway takes nothing of a site for this address, and between gateways the router forwards nothing.
            self.stop("gateway", id, self.not_taken(to, "nothing from customers' sites"));
            return Fate::Dropped;
        }
        let listed = lists.prefix_filter_out.iter().find(|range| range.contains(&destination));
        let own = self.picture.is_local(destination).is_some()
            || self.picture.custom_routes.iter().any(|custom| custom.destination.contains(&destination));
        if !own && let Some(to) = taken.filter(|taken| via_of(taken).is_some_and(|to| to != way.via)) {
            self.stop("gateway", id, transit(to));
            return Fate::Dropped;
        }
        let Some(entry) = listed.filter(|_| own) else {
            let mut fault = not_listed(
                ReasonCode::DestinationNotAllowed,
                "prefix_filter_out",
                *policy,
                &lists.prefix_filter_out,
                destination,
            );
            if !own {
                fault = fault.with("because", "the destination is not in this VPC");
            }
            self.stop("gateway", id, fault);
            return Fate::Dropped;
        };
        self.pass("gateway", id, format!("policy {policy} admits the source and lets {entry} be reached"));
        Fate::Passes
    }
}

/// Nothing goes from one customer to another (system.md §2.6): what the packet would be sent to is `taken`.
fn transit(taken: &Candidate) -> Fault {
    Fault::new(ReasonCode::NoTransit).with("route", describe(taken))
}

/// Sources that are dropped whatever a policy says (system.md §2.7).
fn forged(picture: &Picture, source: IpAddr) -> Option<Fault> {
    let fault =
        |why: &str| Some(Fault::new(ReasonCode::ForgedSource).with("source", source.to_string()).with("because", why));
    let inside = picture.ways.iter().flat_map(|way| &way.inside).find(|subnet| subnet.contains(&source));
    if inside.is_some() {
        return fault("it is in an interconnection subnet");
    }
    let martian = match source {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            matches!(first, 0 | 127) || first >= 224 || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some()
        }
    };
    if martian { fault("it is in a reserved range") } else { None }
}

fn not_listed(code: ReasonCode, list: &str, policy: RoutingPolicyId, entries: &[IpNet], address: IpAddr) -> Fault {
    Fault::new(code)
        .values(list_text(entries), address.to_string())
        .with("list", list)
        .with("policy", policy.to_string())
}

/// The first entries of a list.
fn list_text(entries: &[IpNet]) -> String {
    const SHOWN: usize = 16;
    let mut text: Vec<String> = entries.iter().take(SHOWN).map(ToString::to_string).collect();
    if entries.len() > SHOWN {
        text.push(format!("{} more", entries.len() - SHOWN));
    }
    if text.is_empty() { "nothing".to_owned() } else { text.join(", ") }
}

/// `IPv4 or IPv6 tunnel`, or `link`.
fn carrier(way: &Way) -> String {
    match way.via {
        Via::Connection { .. } => {
            let up: Vec<String> = way.tunnels_up.iter().map(ToString::to_string).collect();
            format!("{} tunnel", up.join(" or "))
        }
        Via::Link(_) => LINK.to_owned(),
    }
}
