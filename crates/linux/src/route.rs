//! Routes: one table, brought to what is desired, leaving everybody else's routes alone.

mod table;

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteNextHopFlags,
    RouteProtocol, RouteScope, RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use serde::{Deserialize, Serialize};

pub use self::table::{Change, RouteTable};
use crate::link::ignore_missing;
use crate::{Error, Netlink, Result};

/// The protocol number in the kernel's routes that says "ours". It is none of those that the kernel, iproute2 or a routing daemon
/// known to us uses; `142 causeway` in `/etc/iproute2/rt_protos` makes `ip route` print the name.
pub const ROUTE_PROTOCOL: u8 = 142;

/// The main routing table.
pub const MAIN_TABLE: u32 = RouteHeader::RT_TABLE_MAIN as u32;

/// What the kernel gives an IPv6 route that names no metric.
const DEFAULT_METRIC_V6: u32 = 1024;

/// One way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NextHop {
    /// The router; `None`: the destination is on the link. An IPv4 route may name an IPv6 router.
    pub via: Option<IpAddr>,
    /// Index of the link.
    pub dev: u32,
    /// The router is on the link although no subnet says so.
    pub onlink: bool,
    /// Share among several next hops, 1 to 256. A hop that a route names twice is one with both shares; that of an only hop is 1.
    pub weight: u16,
}

impl NextHop {
    /// Straight out of a link.
    #[must_use]
    pub const fn dev(dev: u32) -> Self {
        Self { via: None, dev, onlink: false, weight: 1 }
    }

    /// By a router that a subnet of the link contains.
    #[must_use]
    pub const fn via(via: IpAddr, dev: u32) -> Self {
        Self { via: Some(via), dev, onlink: false, weight: 1 }
    }

    /// By a router that is taken to be on the link.
    #[must_use]
    pub const fn onlink(via: IpAddr, dev: u32) -> Self {
        Self { via: Some(via), dev, onlink: true, weight: 1 }
    }
}

/// What a route does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RouteKind {
    /// Forwards; several next hops share the flows. Of IPv6 next hops that share, each needs a router.
    Unicast {
        /// At least one.
        nexthops: Vec<NextHop>,
    },
    /// Drops silently.
    Blackhole,
    /// Drops and tells the sender.
    Unreachable,
}

/// A route of ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RouteSpec {
    /// Where to.
    pub destination: IpNet,
    /// What happens.
    pub kind: RouteKind,
    /// Lower wins; `None`: the kernel's default, 0 for IPv4 and 1024 for IPv6.
    pub metric: Option<u32>,
    /// Source address of packets that the namespace itself sends.
    pub pref_src: Option<IpAddr>,
    /// Routing table; [`MAIN_TABLE`] is the usual one.
    pub table: u32,
}

impl RouteSpec {
    /// A unicast route in the main table.
    #[must_use]
    pub const fn unicast(destination: IpNet, nexthops: Vec<NextHop>) -> Self {
        Self { destination, kind: RouteKind::Unicast { nexthops }, metric: None, pref_src: None, table: MAIN_TABLE }
    }

    /// An unreachable route in the main table.
    #[must_use]
    pub const fn unreachable(destination: IpNet) -> Self {
        Self { destination, kind: RouteKind::Unreachable, metric: None, pref_src: None, table: MAIN_TABLE }
    }

    /// The form in which the kernel shows the route, so that equal routes compare equal.
    fn normal(&self) -> Result<Self> {
        let wrong = |problem| Err(Error::Route { destination: self.destination, problem });
        let v6 = matches!(self.destination, IpNet::V6(_));
        let mut kind = self.kind.clone();
        if let RouteKind::Unicast { nexthops } = &mut kind {
            nexthops.sort_unstable();
            nexthops.dedup_by(|later, kept| {
                let same = (later.via, later.dev, later.onlink) == (kept.via, kept.dev, kept.onlink);
                if same {
                    kept.weight = kept.weight.saturating_add(later.weight);
                }
                same
            });
            if let [only] = nexthops.as_mut_slice() {
                only.weight = 1;
            }
            if nexthops.is_empty() {
                return wrong("has no next hop");
            }
            if nexthops.len() > 256 {
                return wrong("has more than 256 next hops");
            }
            for hop in nexthops.iter() {
                if !(1..=256).contains(&hop.weight) {
                    return wrong("has a next hop whose weight is not 1 to 256");
                }
                match hop.via {
                    Some(IpAddr::V4(_)) if v6 => return wrong("an IPv6 route can't have an IPv4 router"),
                    None if hop.onlink => return wrong("`onlink` needs a router"),
                    _ => {}
                }
            }
            if v6 && nexthops.len() > 1 && nexthops.iter().any(|hop| hop.via.is_none()) {
                return wrong("of IPv6 next hops that share, each needs a router");
            }
        }
        if self.pref_src.is_some_and(|source| source.is_ipv6() != v6) {
            return wrong("the preferred source is of the other family");
        }
        Ok(Self {
            destination: self.destination.trunc(),
            kind,
            metric: Some(match self.metric {
                None | Some(0) if v6 => DEFAULT_METRIC_V6,
                None => 0,
                Some(metric) => metric,
            }),
            pref_src: self.pref_src,
            table: self.table,
        })
    }
}

/// A route of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The route, with its metric filled in and its next hops sorted.
    pub spec: RouteSpec,
    /// Who installed it; [`ROUTE_PROTOCOL`] is us, 2 the kernel, 4 an administrator, 12 BIRD.
    pub protocol: u8,
}

/// What was done to a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Routes added.
    pub added: usize,
    /// Routes replaced.
    pub replaced: usize,
    /// Routes deleted.
    pub deleted: usize,
    /// Destinations whose place (prefix and metric) somebody else's route holds. That route stays.
    pub foreign: Vec<IpNet>,
    /// Routes that the kernel refused, and why; the others are in place. A next hop whose link went away meanwhile is the usual reason.
    pub failed: Vec<(IpNet, String)>,
    /// Whether an answer among those was lost, so that it is not known what the kernel did.
    pub lost: bool,
}

impl std::ops::AddAssign for Applied {
    fn add_assign(&mut self, other: Self) {
        self.added += other.added;
        self.replaced += other.replaced;
        self.deleted += other.deleted;
        self.foreign.extend(other.foreign);
        self.failed.extend(other.failed);
        self.lost |= other.lost;
    }
}

impl Applied {
    /// Whether every desired route is in place.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.foreign.is_empty() && self.failed.is_empty()
    }
}

impl Netlink {
    /// Installs a route, or replaces the one with the same prefix and metric, whoever made that.
    ///
    /// # Errors
    /// [`Error::Route`], or the kernel's error.
    pub async fn replace_route(&self, protocol: u8, route: &RouteSpec) -> Result<()> {
        self.put(protocol, &route.normal()?, NLM_F_CREATE | NLM_F_REPLACE).await
    }

    /// Deletes the route with this prefix, metric, table and `protocol`; no error if there is none.
    ///
    /// # Errors
    /// [`Error::Route`], or the kernel's error.
    pub async fn delete_route(&self, protocol: u8, route: &RouteSpec) -> Result<()> {
        self.take(protocol, &route.normal()?).await
    }

    /// The routes of `table`, all protocols.
    ///
    /// # Errors
    /// The kernel's error; a table that does not exist is empty.
    pub async fn routes(&self, table: u32) -> Result<Vec<Route>> {
        self.dump(None, table).await
    }

    async fn put(&self, protocol: u8, spec: &RouteSpec, flags: u16) -> Result<()> {
        self.change(RouteNetlinkMessage::NewRoute(message(protocol, spec)), flags, || {
            format!("install route {}", spec.destination)
        })
        .await
    }

    async fn take(&self, protocol: u8, spec: &RouteSpec) -> Result<()> {
        let mut message = base(protocol, spec);
        message.header.scope = RouteScope::NoWhere;
        message.header.kind = RouteType::Unspec;
        ignore_missing(
            self.change(RouteNetlinkMessage::DelRoute(message), 0, || format!("delete route {}", spec.destination))
                .await,
        )
    }

    async fn dump(&self, protocol: Option<u8>, table: u32) -> Result<Vec<Route>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut request = RouteMessage::default();
            request.header.address_family = family;
            request.header.protocol = protocol.map_or(RouteProtocol::Unspec, RouteProtocol::from);
            set_table(&mut request, table);
            let query = self.query(
                RouteNetlinkMessage::GetRoute(request),
                true,
                || format!("list routes of table {table}"),
                pick,
            );
            match query.await {
                Ok(routes) => found.extend(routes.into_iter().filter(|route| {
                    route.spec.table == table && protocol.is_none_or(|protocol| protocol == route.protocol)
                })),
                // A table exists from its first route on.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

fn set_table(message: &mut RouteMessage, table: u32) {
    // The octet in the header is too small for most tables; the attribute decides where there is one.
    message.header.table = u8::try_from(table).unwrap_or(0);
    message.attributes.push(RouteAttribute::Table(table));
}

fn base(protocol: u8, spec: &RouteSpec) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match spec.destination {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    message.header.destination_prefix_length = spec.destination.prefix_len();
    message.header.protocol = protocol.into();
    set_table(&mut message, spec.table);
    message.attributes.push(RouteAttribute::Destination(spec.destination.network().into()));
    message.attributes.extend(spec.metric.filter(|metric| *metric != 0).map(RouteAttribute::Priority));
    message
}

fn message(protocol: u8, spec: &RouteSpec) -> RouteMessage {
    let mut message = base(protocol, spec);
    let v4 = matches!(spec.destination, IpNet::V4(_));
    let gateway = |via: IpAddr| match via {
        IpAddr::V6(address) if v4 => RouteAttribute::Via(RouteVia::Inet6(address)),
        _ => RouteAttribute::Gateway(via.into()),
    };
    match &spec.kind {
        RouteKind::Blackhole => message.header.kind = RouteType::BlackHole,
        RouteKind::Unreachable => message.header.kind = RouteType::Unreachable,
        RouteKind::Unicast { nexthops } => {
            message.header.kind = RouteType::Unicast;
            // Routers of other routes can be found through a route of link scope only.
            if v4 && nexthops.iter().all(|hop| hop.via.is_none()) {
                message.header.scope = RouteScope::Link;
            }
            if let [hop] = nexthops.as_slice() {
                message.attributes.push(RouteAttribute::Oif(hop.dev));
                message.attributes.extend(hop.via.map(gateway));
                message.header.flags.set(RouteFlags::Onlink, hop.onlink);
            } else {
                let hops = nexthops.iter().map(|hop| {
                    let mut next = RouteNextHop::default();
                    next.interface_index = hop.dev;
                    // The kernel counts from zero (rtnetlink(7), `rtnh_hops`).
                    next.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
                    next.flags.set(RouteNextHopFlags::Onlink, hop.onlink);
                    next.attributes.extend(hop.via.map(gateway));
                    next
                });
                message.attributes.push(RouteAttribute::MultiPath(hops.collect()));
            }
        }
    }
    message.attributes.extend(spec.pref_src.map(|source| RouteAttribute::PrefSource(source.into())));
    message
}

/// The route that a message describes, if it is one of the kinds that this crate knows.
fn pick(message: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let any: IpNet = match message.header.address_family {
        AddressFamily::Inet => IpNet::V4(ipnet::Ipv4Net::default()),
        AddressFamily::Inet6 => IpNet::V6(ipnet::Ipv6Net::default()),
        _ => return None,
    };
    if message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut spec = RouteSpec {
        destination: any,
        kind: RouteKind::Blackhole,
        metric: None,
        pref_src: None,
        table: u32::from(message.header.table),
    };
    let mut single = NextHop { onlink: message.header.flags.contains(RouteFlags::Onlink), ..NextHop::dev(0) };
    let mut several = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(destination) => {
                spec.destination = IpNet::new(address(destination)?, message.header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Priority(metric) => spec.metric = Some(*metric),
            RouteAttribute::Table(table) => spec.table = *table,
            RouteAttribute::PrefSource(source) => spec.pref_src = address(source),
            RouteAttribute::Oif(dev) => single.dev = *dev,
            RouteAttribute::MultiPath(hops) => {
                several.extend(hops.iter().map(|hop| NextHop {
                    via: hop.attributes.iter().find_map(router),
                    dev: hop.interface_index,
                    onlink: hop.flags.contains(RouteNextHopFlags::Onlink),
                    weight: u16::from(hop.hops) + 1,
                }));
            }
            other => single.via = router(other).or(single.via),
        }
    }
    spec.kind = match message.header.kind {
        RouteType::Unicast if several.is_empty() => RouteKind::Unicast { nexthops: vec![single] },
        RouteType::Unicast => RouteKind::Unicast { nexthops: several },
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        _ => return None,
    };
    if let RouteKind::Unicast { nexthops } = &mut spec.kind {
        nexthops.sort_unstable();
    }
    spec.metric = spec.metric.or(Some(0));
    Some(Route { spec, protocol: message.header.protocol.into() })
}

fn router(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(gateway) => address(gateway),
        RouteAttribute::Via(RouteVia::Inet(gateway)) => Some(IpAddr::V4(*gateway)),
        RouteAttribute::Via(RouteVia::Inet6(gateway)) => Some(IpAddr::V6(*gateway)),
        _ => None,
    }
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn impossible_routes_are_named() {
        let v6 = net("fd00::/8");
        let cases = [
            RouteSpec::unicast(v6, vec![]),
            RouteSpec::unicast(v6, vec![NextHop::via(ip("10.0.0.1"), 1)]),
            RouteSpec::unicast(v6, vec![NextHop::dev(1), NextHop::dev(2)]),
            RouteSpec::unicast(v6, vec![NextHop { onlink: true, ..NextHop::dev(1) }]),
            RouteSpec { pref_src: Some(ip("10.0.0.1")), ..RouteSpec::unreachable(v6) },
        ];
        for case in cases {
            assert!(matches!(case.normal(), Err(Error::Route { destination, .. }) if destination == v6), "{case:?}");
        }
    }

    #[test]
    fn a_message_read_back_is_the_same_route() {
        let specs = [
            RouteSpec::unicast(net("10.1.0.0/16"), vec![NextHop::dev(7)]),
            RouteSpec::unicast(net("10.1.0.0/16"), vec![NextHop::via(ip("fe80::1"), 7)]),
            RouteSpec::unicast(
                net("0.0.0.0/0"),
                vec![NextHop::onlink(ip("169.254.0.2"), 7), NextHop::onlink(ip("169.254.0.6"), 8)],
            ),
            RouteSpec { table: 4_000_000, metric: Some(5), ..RouteSpec::unreachable(net("::/0")) },
        ];
        for spec in specs {
            let normal = spec.normal().expect("a good route");
            let read = pick(RouteNetlinkMessage::NewRoute(message(ROUTE_PROTOCOL, &normal)));
            assert_eq!(read, Some(Route { spec: normal, protocol: ROUTE_PROTOCOL }));
        }
    }
}
