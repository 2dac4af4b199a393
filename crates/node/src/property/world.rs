//! What is said to the node and to the sessions, and what by that alone the tables have to be: the specification once more, as plainly as
//! possible (system.md §2.2 to §2.5).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use causeway_bgp::{LinkKind, preference};
use causeway_linux::{RouteKind, RouteSpec};
use causeway_model::acl::{Acl, AclAction, AclProtocol, AclRule, PortRange};
use causeway_model::desired::{CustomRouteDesired, NetworkDesired, VpcDesired};
use causeway_model::{ConnectionId, Family, PrivateNetworkId, RouteId, VpcId, VpnGatewayId};
use ipnet::IpNet;

use super::device::{Attributes, Device, OURS, inside};
use crate::gateway::VpcRoutes;
use crate::routes::Learned;

/// A router, and the name of the link to it.
pub(crate) type Way = (Option<IpAddr>, String);
/// Where packets go, and with what share.
pub(crate) type Ways = BTreeMap<Way, u16>;
/// A table as far as it is ours.
pub(crate) type Shown = BTreeMap<IpNet, Ways>;

/// Prefixes of devices: around, equal to and inside the VPC's subnets and custom routes, and elsewhere.
pub(crate) const PREFIXES: [&str; 14] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.128/25",
    "10.9.0.0/16",
    "10.9.1.0/24",
    "172.20.0.0/16",
    "192.168.7.0/24",
    "::/0",
    "fd00::/8",
    "fd00:1::/64",
    "fd00:1::8000:0:0:0/65",
    "fd09::/16",
    "fd20::/16",
];
/// Whitelists of policies.
pub(crate) const LISTS: [&[&str]; 5] = [
    &[],
    &["0.0.0.0/0", "::/0"],
    &["10.0.0.0/8", "fd00::/8"],
    &["10.9.0.0/16", "fd09::/16"],
    &["172.16.0.0/12", "192.168.7.0/24", "fd20::/16"],
];
/// Destination, Private Network and next hop of custom routes. The last two cannot be: one is a subnet's, one leads to another network.
pub(crate) const CUSTOM: [(&str, usize, Option<&str>); 7] = [
    ("172.20.0.0/16", 1, Some("10.0.1.9")),
    ("10.9.1.0/24", 0, Some("10.0.0.9")),
    ("fd20::/16", 1, Some("fd00:2::9")),
    ("10.0.0.0/8", 0, None),
    ("0.0.0.0/0", 1, Some("10.0.1.8")),
    ("10.0.0.128/25", 0, Some("10.0.0.9")),
    ("192.168.0.0/16", 1, Some("10.0.0.9")),
];
const POSSIBLE: usize = 5;
/// Subnets of the two Private Networks.
pub(crate) const SUBNETS: [[&str; 2]; 2] = [["10.0.0.0/24", "fd00:1::/64"], ["10.0.1.0/24", "fd00:2::/64"]];
/// Addresses of the two gateways.
pub(crate) const PRIVATE: [[&str; 2]; 2] = [["10.0.0.2/24", "fd00:1::2/64"], ["10.0.1.2/24", "fd00:2::2/64"]];
/// Which gateway a connection is of.
pub(crate) const GATEWAY_OF: [usize; 4] = [0, 0, 1, 1];

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub(crate) fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| net(text)).collect()
}

pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    up: bool,
    propagate: bool,
    list: usize,
    announced: BTreeMap<IpNet, Attributes>,
    devices: [Device; 2],
}

pub(crate) struct World {
    pub(crate) vpc: VpcId,
    pub(crate) networks: [PrivateNetworkId; 2],
    pub(crate) gateways: [VpnGatewayId; 2],
    pub(crate) attached: [bool; 2],
    locked: [bool; 2],
    pub(crate) connections: Vec<Connection>,
    custom: BTreeMap<usize, RouteId>,
    acl: [u8; 2],
    revision: u64,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Announce {
        connection: usize,
        prefix: usize,
        attributes: Attributes,
    },
    Withdraw {
        connection: usize,
        prefix: usize,
    },
    Tunnel {
        connection: usize,
        up: bool,
    },
    Policy {
        connection: usize,
        list: usize,
    },
    Propagation {
        connection: usize,
        on: bool,
    },
    Lock {
        gateway: usize,
        on: bool,
    },
    Attachment {
        gateway: usize,
        on: bool,
    },
    Custom {
        route: usize,
        on: bool,
    },
    Lists {
        ipv4: u8,
        ipv6: u8,
    },
    /// Nothing for a while.
    Rest,
}

impl World {
    pub(crate) fn new() -> Self {
        let connection = |number: u8| Connection {
            id: ConnectionId::random(),
            up: true,
            propagate: true,
            list: 0,
            announced: BTreeMap::new(),
            devices: Family::ALL.map(|family| Device::new(family, number)),
        };
        Self {
            vpc: VpcId::random(),
            networks: [PrivateNetworkId::random(), PrivateNetworkId::random()],
            gateways: [VpnGatewayId::random(), VpnGatewayId::random()],
            attached: [false; 2],
            locked: [false; 2],
            connections: (0..4).map(connection).collect(),
            custom: BTreeMap::new(),
            acl: [0; 2],
            revision: 1,
        }
    }

    /// Lets it happen to sessions and to what is desired.
    pub(crate) fn happen(&mut self, event: &Event) {
        match *event {
            Event::Announce { connection, prefix, attributes } => {
                let (connection, prefix) = (&mut self.connections[connection], net(PREFIXES[prefix]));
                if connection.up {
                    connection.announced.insert(prefix, attributes);
                    connection.device(&prefix).announce(prefix, attributes);
                }
            }
            Event::Withdraw { connection, prefix } => {
                let (connection, prefix) = (&mut self.connections[connection], net(PREFIXES[prefix]));
                if connection.up {
                    connection.announced.remove(&prefix);
                    connection.device(&prefix).withdraw(prefix);
                }
            }
            Event::Tunnel { connection, up } => {
                let connection = &mut self.connections[connection];
                connection.up = up;
                for device in &mut connection.devices {
                    device.set_tunnel(up);
                }
                if !up {
                    connection.announced.clear();
                }
            }
            Event::Policy { connection, list } => {
                self.connections[connection].list = list;
                self.connections[connection].set_policies();
            }
            Event::Propagation { connection, on } => {
                self.connections[connection].propagate = on;
                self.connections[connection].set_policies();
            }
            Event::Lock { gateway, on } => self.locked[gateway] = on,
            Event::Attachment { gateway, on } => self.attached[gateway] = on,
            Event::Custom { route, on: true } => {
                self.custom.entry(route).or_insert_with(RouteId::random);
                self.revision += 1;
            }
            Event::Custom { route, on: false } => {
                self.custom.remove(&route);
                self.revision += 1;
            }
            Event::Lists { ipv4, ipv6 } => {
                self.acl = [ipv4, ipv6];
                self.revision += 1;
            }
            Event::Rest => {}
        }
    }

    pub(crate) fn subnets(&self) -> Vec<IpNet> {
        SUBNETS.iter().flatten().map(|text| net(text)).collect()
    }

    /// As the controller says it.
    pub(crate) fn desired(&self) -> VpcDesired {
        let networks = self.networks.iter().zip(SUBNETS);
        let networks = networks.map(|(id, subnets)| NetworkDesired { id: *id, subnets: nets(&subnets), bridge: None });
        let custom = self.custom.iter().map(|(route, id)| {
            let (destination, network, hop) = CUSTOM[*route];
            let next_hop = hop.map(|hop| hop.parse().expect("an address"));
            CustomRouteDesired { id: *id, destination: net(destination), network: self.networks[network], next_hop }
        });
        VpcDesired {
            revision: self.revision,
            custom_routes: custom.collect(),
            acl_ipv4: list(Family::Ipv4, self.acl[0]),
            acl_ipv6: list(Family::Ipv6, self.acl[1]),
            ..VpcDesired::new(self.vpc, networks.collect())
        }
    }

    /// Whether each of the tenant's routes can be.
    pub(crate) fn is_possible(&self) -> bool {
        self.custom.keys().all(|route| *route < POSSIBLE)
    }

    /// As the gateways report it.
    pub(crate) fn learned(&self) -> Vec<Learned> {
        let mut learned = Vec::new();
        for (connection, gateway) in self.connections.iter().zip(GATEWAY_OF) {
            if !connection.up || self.locked[gateway] || !self.attached[gateway] {
                continue;
            }
            learned.extend(connection.devices.iter().flat_map(Device::accepted).map(|route| Learned {
                gateway: self.gateways[gateway],
                connection: connection.id,
                kind: LinkKind::Vpn,
                prefix: route.prefix,
                preference: preference(LinkKind::Vpn, OURS, &route.communities),
                as_path_length: route.as_path.len(),
                med: route.med,
                received_at: route.received_at,
            }));
        }
        learned
    }

    /// As the node tells a gateway.
    pub(crate) fn vpc_routes(&self) -> VpcRoutes {
        VpcRoutes { subnets: self.subnets(), custom: self.custom_in_force(), ..VpcRoutes::default() }
    }

    /// The connections of a gateway that have a tunnel, by number.
    pub(crate) fn carrying(&self, gateway: usize) -> impl Iterator<Item = (usize, ConnectionId)> {
        let connections = self.connections.iter().zip(GATEWAY_OF).enumerate();
        let of = connections.filter(move |(_, (connection, of))| *of == gateway && connection.up);
        of.map(|(number, (connection, _))| (number, connection.id))
    }

    fn custom_in_force(&self) -> Vec<IpNet> {
        self.custom.keys().filter(|route| **route < POSSIBLE).map(|route| net(CUSTOM[*route].0)).collect()
    }

    /// What each connection contributes for a prefix, the better the smaller.
    fn candidates(&self, prefix: &IpNet) -> Vec<(usize, (u32, u8, u8))> {
        let same_family = |other: &&IpNet| Family::of_net(other) == Family::of_net(prefix);
        let local = self.subnets();
        if local.iter().filter(same_family).any(|subnet| subnet.contains(prefix)) {
            return Vec::new();
        }
        let candidates = self.connections.iter().enumerate().filter_map(|(number, connection)| {
            let attributes = connection.announced.get(prefix)?;
            let admitted = nets(LISTS[connection.list]).iter().filter(same_family).any(|range| range.contains(prefix));
            let gateway = GATEWAY_OF[number];
            let used = connection.propagate && self.attached[gateway] && !self.locked[gateway];
            (admitted && used).then(|| (number, attributes.rank()))
        });
        candidates.collect()
    }

    /// The router's table.
    pub(crate) fn router(&self) -> Shown {
        let mut shown = Shown::new();
        let to = |gateway: usize| (Some("fe80::2".parse().expect("an address")), format!("g-{gateway}"));
        for gateway in (0..2).filter(|gateway| self.attached[*gateway]) {
            for address in PRIVATE[gateway] {
                let host = net(address).addr();
                let length = if host.is_ipv6() { 128 } else { 32 };
                shown.insert(IpNet::new_assert(host, length), ways([to(gateway)]));
            }
        }
        for route in self.custom.keys().filter(|route| **route < POSSIBLE) {
            let (destination, network, hop) = CUSTOM[*route];
            let way = (hop.map(|hop| hop.parse().expect("an address")), format!("p-{network}"));
            shown.insert(net(destination), ways([way]));
        }
        for prefix in PREFIXES.map(net) {
            let candidates = self.candidates(&prefix);
            let Some(best) = candidates.iter().map(|(_, rank)| *rank).min() else { continue };
            let winners = candidates.iter().filter(|(_, rank)| *rank == best);
            shown.entry(prefix).or_insert_with(|| ways(winners.map(|(number, _)| to(GATEWAY_OF[*number]))));
        }
        shown
    }

    /// A gateway's table.
    pub(crate) fn gateway(&self, gateway: usize) -> Shown {
        let router: Way = (Some("fe80::1".parse().expect("an address")), "vpc0".to_owned());
        let own = self.subnets().into_iter().chain(self.custom_in_force());
        let mut shown: Shown = own.map(|net| (net, ways([router.clone()]))).collect();
        for prefix in PREFIXES.map(net) {
            let candidates = self.candidates(&prefix);
            let mine = || candidates.iter().filter(|(number, _)| GATEWAY_OF[*number] == gateway);
            // The best of ours, which may be the best of all; while none of those carries, whoever of ours comes next.
            let ranks: BTreeSet<_> = mine().map(|(_, rank)| *rank).collect();
            let by_rank = ranks.into_iter().take(2).map(|rank| {
                let carrying = mine().filter(|(number, of)| *of == rank && self.connections[*number].up);
                ways(carrying.map(|(number, _)| way_into(*number, Family::of_net(&prefix))))
            });
            let found = by_rank.into_iter().find(|ways| !ways.is_empty()).unwrap_or_default();
            if !found.is_empty() {
                shown.entry(prefix).or_insert(found);
            }
        }
        shown
    }
}

impl Connection {
    fn device(&mut self, prefix: &IpNet) -> &mut Device {
        &mut self.devices[usize::from(Family::of_net(prefix).is_ipv6())]
    }

    fn set_policies(&mut self) {
        for device in &mut self.devices {
            device.set_policy(&nets(LISTS[self.list]), self.propagate);
        }
    }
}

/// Ways as often as something leads there; an only one has no share.
fn ways(found: impl IntoIterator<Item = Way>) -> Ways {
    let mut ways = Ways::new();
    for way in found {
        *ways.entry(way).or_default() += 1;
    }
    if ways.len() == 1 {
        ways.values_mut().for_each(|share| *share = 1);
    }
    ways
}

/// The way into a connection's tunnel.
pub(crate) fn way_into(connection: usize, family: Family) -> Way {
    let number = u8::try_from(connection).expect("one of four");
    (Some(inside(family, number).1), format!("cw-{connection}"))
}

/// A route as it is compared.
pub(crate) fn shown(spec: &RouteSpec, name: impl Fn(u32) -> String) -> (IpNet, Ways) {
    let RouteKind::Unicast { nexthops } = &spec.kind else { panic!("{spec:?} forwards nothing") };
    let hops = nexthops.iter().flat_map(|hop| (0..hop.weight).map(|_| (hop.via, name(hop.dev))));
    (spec.destination, ways(hops))
}

/// An access list: some of six rules, by the bits of `which`.
fn list(family: Family, which: u8) -> Acl {
    let (narrow, wide) = if family.is_ipv6() { ("fd00:1::/64", "::/0") } else { ("10.0.0.0/24", "0.0.0.0/0") };
    let rule = |bit: u8| {
        let protocol = [AclProtocol::Tcp, AclProtocol::Udp, AclProtocol::Icmp, AclProtocol::Any][usize::from(bit % 4)];
        AclRule {
            protocol,
            source: net(if bit.is_multiple_of(2) { narrow } else { wide }),
            source_ports: PortRange::ALL,
            destination: net(if bit.is_multiple_of(3) { narrow } else { wide }),
            destination_ports: if bit % 4 < 2 {
                PortRange { low: 80, high: 80 + u16::from(bit) }
            } else {
                PortRange::ALL
            },
            action: if bit % 3 == 1 { AclAction::Drop } else { AclAction::Accept },
            description: None,
        }
    };
    let mut rules: Vec<AclRule> = (0..6).filter(|bit| which & 1 << bit != 0).map(rule).collect();
    if which & 64 != 0 {
        rules.reverse();
    }
    Acl { default_action: if which & 128 != 0 { AclAction::Drop } else { AclAction::Accept }, rules }
}
