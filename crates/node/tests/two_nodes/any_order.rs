//! The kernel's tables always equal those that the desired states of both sides lead to, with everything that races in a real node: session
//! tasks, gateway actors, the choice, the tables' tasks, configuration that overtakes itself, lost packets, and kills. What each table's content
//! has to be for all that sessions and policies can say is compared in `src/property`.

use std::collections::BTreeSet;
use std::time::Duration;

use causeway_linux::Namespace;
use causeway_model::desired::CustomRouteDesired;
use causeway_model::observed::RouteDecision;
use causeway_model::{ConnectionId, RouteId};
use ipnet::IpNet;

use crate::rules::{ip, net};
use crate::world::{Outside, PATIENCE, Side, World, sh, wait, within};

/// Events before each look at the tables, and looks.
const EVENTS: usize = 10;
const LOOKS: usize = 3;

/// A generator of chances: the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What a side shall do; what it does is the kernel's affair.
#[derive(Clone, Copy, Debug)]
struct Plan {
    propagate: bool,
    locked: bool,
    /// How many of the prefixes the IPv4 lists admit: none, the subnet, the custom route's too.
    accept: u64,
    announce: u64,
    /// Whether there is a policy for IPv6.
    ipv6: bool,
    custom: bool,
}

const OPEN: Plan = Plan { propagate: true, locked: false, accept: 2, announce: 2, ipv6: true, custom: true };

/// The IPv4 prefixes of a side: its subnet and what its custom route leads to.
fn prefixes(number: u8) -> [IpNet; 2] {
    [net(&format!("10.{number}.0.0/24")), net(&format!("172.16.{number}.0/24"))]
}

fn first(number: u8, count: u64) -> Vec<IpNet> {
    prefixes(number).into_iter().take(usize::try_from(count).expect("two at most")).collect()
}

fn apply(side: &mut Side, plan: Plan, route: RouteId) {
    let (own, other) = (side.number, 3 - side.number);
    let ranges = [format!("fd00:{other}::/64"), format!("fd00:{own}::/64")].map(|text| net(&text));
    side.edit(|desired| {
        let network = desired.vpcs[0].networks[0].id;
        let custom = CustomRouteDesired {
            id: route,
            destination: prefixes(own)[1],
            network,
            next_hop: Some(ip(&format!("10.{own}.0.10"))),
        };
        desired.vpcs[0].announce_custom_routes = true;
        desired.vpcs[0].custom_routes = plan.custom.then_some(custom).into_iter().collect();
        let connection = &mut desired.gateways[0].connections[0];
        connection.propagate = plan.propagate;
        connection.locked = plan.locked;
        let lists = |accept, announce| causeway_model::desired::PolicyDesired {
            prefix_filter_in: accept,
            prefix_filter_out: announce,
        };
        connection.bgp[0].policy = Some(lists(first(other, plan.accept), first(own, plan.announce)));
        connection.bgp[1].policy = plan.ipv6.then(|| lists(vec![ranges[0]], vec![ranges[1]]));
    });
}

/// What `side` has to have learned.
fn learned(number: u8, own: Plan, other: Plan) -> Vec<IpNet> {
    let far = 3 - number;
    if own.locked || other.locked || !own.propagate || !other.propagate {
        return Vec::new();
    }
    let mut all = first(far, own.accept.min(other.announce));
    all.retain(|prefix| other.custom || *prefix != prefixes(far)[1]);
    all.extend((own.ipv6 && other.ipv6).then(|| net(&format!("fd00:{far}::/64"))));
    all
}

type Shown = BTreeSet<(String, String)>;

/// Destinations and the kinds of links that lead there, of all routes that are the node's.
fn table(namespace: &str) -> Option<Shown> {
    let namespace = Namespace::open(namespace).ok()?;
    let mut shown = Shown::new();
    for family in ["-4", "-6"] {
        let text = within(&namespace, &format!("ip {family} -j route show proto 142"))?;
        let routes: Vec<serde_json::Value> =
            serde_json::from_str(if text.trim().is_empty() { "[]" } else { &text }).ok()?;
        for route in routes {
            let word = |key: &str| route.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
            let link = word("dev");
            shown.insert((word("dst"), link.split('-').next().unwrap_or_default().to_owned()));
        }
    }
    Some(shown)
}

fn wanted(number: u8, own: Plan, other: Plan) -> [Shown; 2] {
    let learned: Vec<String> = learned(number, own, other).iter().map(ToString::to_string).collect();
    let row = |to: &str, link: &str| (to.to_owned(), link.to_owned());
    let mut router: Shown = learned.iter().map(|to| row(to, "g")).collect();
    router.extend([format!("10.{number}.0.2"), format!("fd00:{number}::2")].map(|to| row(&to, "g")));
    let mut gateway: Shown = learned.iter().map(|to| row(to, "cw")).collect();
    gateway.extend([format!("10.{number}.0.0/24"), format!("fd00:{number}::/64")].map(|to| row(&to, "vpc0")));
    if own.custom {
        let to = prefixes(number)[1].to_string();
        router.insert(row(&to, "p"));
        gateway.insert(row(&to, "vpc0"));
    }
    [router, gateway]
}

/// Whether the kernel has what it shall have, and the node says so.
fn is_right(side: &Side, own: Plan, other: Plan) -> bool {
    let [router, gateway] = wanted(side.number, own, other);
    let said = |prefix: &IpNet| side.received(&prefix.to_string()) == Some(RouteDecision::Installed);
    table(&side.router_namespace()) == Some(router)
        && table(&side.gateway_namespace()) == Some(gateway)
        && learned(side.number, own, other).iter().all(said)
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn tables_are_what_both_sides_desire_whatever_happens_in_whatever_order() {
    let seed = ConnectionId::random().0.as_u64_pair().0;
    let mut chance = Chance(seed);
    let mut world = World::new("any", Outside::Ipv4);
    let routes = [RouteId::random(), RouteId::random()];
    let mut plans = [OPEN; 2];
    for (side, route) in [&mut world.a, &mut world.b].into_iter().zip(routes) {
        apply(side, OPEN, route);
    }
    let machine = world.a.machine.0.clone();
    let mut told = Vec::new();
    for look in 0..=LOOKS {
        for _ in 0..if look == 0 { 0 } else { EVENTS } {
            let number = usize::try_from(chance.below(2)).expect("a side");
            let plan = &mut plans[number];
            let event = chance.below(9);
            match event {
                0 => plan.propagate = !plan.propagate,
                1 => plan.locked = chance.below(3) == 0,
                2 => plan.accept = chance.below(3),
                3 => plan.announce = chance.below(3),
                4 => plan.ipv6 = !plan.ipv6,
                5 => plan.custom = !plan.custom,
                6 => *plan = OPEN,
                _ => {}
            }
            let side = if number == 0 { &mut world.a } else { &mut world.b };
            match event {
                0..=6 => apply(side, plans[number], routes[number]),
                7 => {
                    side.kill();
                    side.start();
                }
                _ => {
                    sh(&machine, "nft add table ip cut");
                    sh(&machine, "nft add chain ip cut in { type filter hook input priority 0 ; }");
                    sh(&machine, "nft add rule ip cut in udp dport { 500, 4500 } drop");
                }
            }
            told.push((number, event, plans[number]));
            // Sometimes what was begun comes to its end before the next one, and sometimes it does not.
            std::thread::sleep(Duration::from_millis(chance.below(4) * 200));
            let _ = within(&machine, "nft delete table ip cut");
        }
        wait(&format!("the right tables, seed {seed}, after {told:?}"), 6 * PATIENCE, || {
            let right = is_right(&world.a, plans[0], plans[1]) && is_right(&world.b, plans[1], plans[0]);
            right.then_some(())
        });
    }
}
