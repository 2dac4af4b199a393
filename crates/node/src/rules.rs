//! The rules of traffic (system.md §2) as a table: one case for each promise about routes, rules 1 to 6, in the specification's words and
//! order, decided by the session, the choice and the tables that run in a node. The promises about packets, rules 7 to 10, are the cases of
//! `tests/two_nodes/traffic.rs`. `docs/reasons.md` has both lists, and a policy test compares them.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use causeway_bgp::{LinkKind, Policy, Verdict, preference};
use causeway_model::acl::{Acl, AclAction, AclPacket, AclProtocol};
use causeway_model::desired::PolicyDesired;
use causeway_model::explain::{Picture, Question, Via, Way, explain};
use causeway_model::observed::RouteDecision;
use causeway_model::{ConnectionId, Family, PrivateNetworkId, ReasonCode, RouteId, RoutingPolicyId, VpnGatewayId};
use ipnet::IpNet;

use crate::gateway::{VpcRoutes, session_policy};
use crate::property::device::{Attributes, Device};
use crate::property::world::nets;
use crate::routes::{Learned, Tables, compute};

/// A promise and what holds it to account.
struct Case {
    rule: u8,
    promise: &'static str,
    holds: fn(),
}

const fn rule(rule: u8, promise: &'static str, holds: fn()) -> Case {
    Case { rule, promise, holds }
}

const CASES: &[Case] = &[
    rule(1, "without a routing policy nothing is accepted or announced", || {
        let mut site = Site::without_policy();
        site.hears("10.9.0.0/16");
        assert_eq!((site.accepted(), site.announced()), (vec![], vec![]));
        assert_eq!(site.verdict("10.9.0.0/16"), Verdict::Filtered("no_policy"));
    }),
    rule(1, "without route propagation nothing is exchanged even if the policy allows it", || {
        let mut site = Site::new(Policy { propagate: false, ..open() });
        site.hears("10.9.0.0/16");
        assert_eq!((site.accepted(), site.announced()), (vec![], vec![]));
        assert_eq!(site.verdict("10.9.0.0/16"), Verdict::Filtered("propagation_disabled"));
        site.set(open());
        assert_eq!((site.accepted().len(), site.announced().len()), (1, 3), "it is propagation that decides");
    }),
    rule(1, "the BGP session itself comes up regardless", || {
        for policy in [Policy::default(), Policy { propagate: false, ..open() }] {
            assert!(Site::new(policy).ipv4.session().is_up());
        }
    }),
    rule(2, "`prefix_filter_out`: ranges of the VPC's own routes that may be announced", || {
        let own = own(&["10.1.0.0/24", "10.2.0.0/24"], &["10.3.0.0/24"]);
        let announced = |out: &[&str]| Site::new(policy(&[], out, &own)).announced();
        assert_eq!(announced(&["10.1.0.0/24"]), ["10.1.0.0/24"]);
        assert_eq!(announced(&["10.2.0.0/24", "10.3.0.0/24"]), ["10.2.0.0/24", "10.3.0.0/24"]);
        assert_eq!(announced(&["10.4.0.0/24"]), [""; 0], "what the VPC does not have is not announced");
        assert_eq!(announced(&[]), [""; 0]);
    }),
    rule(2, "`prefix_filter_in`: ranges of the customer's announcements that may be accepted", || {
        let mut site = Site::new(policy(&["10.9.0.0/16"], &[], &VpcRoutes::default()));
        site.hears("10.9.0.0/16");
        site.hears("10.8.0.0/16");
        assert_eq!(site.accepted(), ["10.9.0.0/16"]);
        assert_eq!(site.verdict("10.8.0.0/16"), Verdict::Filtered("not_in_prefix_filter_in"));
    }),
    rule(2, "a route passes if it lies within one of the ranges (longer prefixes included)", || {
        let all =
            ["10.9.0.0/16", "10.9.128.0/17", "10.9.3.7/32", "10.0.0.0/8", "10.10.0.0/16", "fd09::/32", "fd09:0:1::/48"];
        let passing = ["10.9.0.0/16", "10.9.3.7/32", "10.9.128.0/17", "fd09::/32", "fd09:0:1::/48"];
        let lists = ["10.9.0.0/16", "fd09::/32"];
        let mut site = Site::new(policy(&lists, &[], &VpcRoutes::default()));
        all.iter().for_each(|prefix| site.hears(prefix));
        assert_eq!(site.accepted(), passing);
        let own = own(&all, &[]);
        assert_eq!(Site::new(policy(&[], &lists, &own)).announced(), passing);
    }),
    rule(2, "a default route passes only if the list names 0.0.0.0/0 or ::/0 itself", || {
        for (default, halves, other) in
            [("0.0.0.0/0", ["0.0.0.0/1", "128.0.0.0/1"], "10.9.0.0/16"), ("::/0", ["::/1", "8000::/1"], "fd09::/32")]
        {
            let mut site = Site::new(policy(&halves, &[], &VpcRoutes::default()));
            site.hears(default);
            site.hears(other);
            assert_eq!(site.accepted(), [other], "its halves are not the whole");
            site.set(policy(&[default], &[], &VpcRoutes::default()));
            assert_eq!(site.accepted(), [default, other]);
        }
    }),
    rule(3, "accepted routes appear in the VPC's route table", || {
        let mut site = Site::new(open());
        site.hears("10.9.0.0/16");
        site.hears("fd09::/32");
        let tables = tables(&[&site]);
        assert_eq!(installed(&tables), ["10.9.0.0/16", "fd09::/32"]);
        // The controller shows as routes of the VPC those of which the node says this.
        let decided = tables.decisions.iter().map(|((id, prefix), decision)| (*id, prefix.to_string(), decision));
        let shown = |prefix: &str| (site.id, prefix.to_owned(), &RouteDecision::Installed);
        assert!(decided.eq([shown("10.9.0.0/16"), shown("fd09::/32")]), "{:?}", tables.decisions);
    }),
    rule(3, "every Private Network of the VPC that the out whitelist covers can use them", || {
        let picture = vpc(&["10.1.0.0/24", "10.2.0.0/24"]);
        assert_eq!(verdict(&picture, "10.1.0.5"), ("delivered", None));
        assert_eq!(verdict(&picture, "10.2.0.5"), ("delivered", None));
        let picture = vpc(&["10.2.0.0/24"]);
        assert_eq!(verdict(&picture, "10.1.0.5"), ("dropped", Some(ReasonCode::SourceNotAllowed)));
        assert_eq!(verdict(&picture, "10.2.0.5"), ("delivered", None));
    }),
    rule(3, "unless a network ACL denies it", || {
        let closed = Acl { default_action: AclAction::Drop, rules: Vec::new() };
        let picture = Picture { acl_ipv4: closed, ..vpc(&["10.1.0.0/24"]) };
        assert_eq!(verdict(&picture, "10.1.0.5"), ("dropped", Some(ReasonCode::AclDenied)));
    }),
    rule(3, "they vanish with the session", || {
        gone_after(|site| site.ipv4.set_tunnel(false));
        gone_after(|site| site.ipv4.lose_connection());
    }),
    rule(3, "they vanish with the policy", || {
        gone_after(|site| site.set(policy(&["10.8.0.0/16"], &[], &VpcRoutes::default())));
        gone_after(|site| site.set(Policy::default()));
    }),
    rule(3, "they vanish with propagation", || gone_after(|site| site.set(Policy { propagate: false, ..open() }))),
    rule(3, "they vanish with the object", || {
        let (mut one, mut two) = (Site::new(open()), Site::new(open()));
        one.hears("10.9.0.0/16");
        two.hears("10.8.0.0/16");
        assert_eq!(installed(&tables(&[&one, &two])), ["10.8.0.0/16", "10.9.0.0/16"]);
        assert_eq!(installed(&tables(&[&two])), ["10.8.0.0/16"]);
    }),
    rule(3, "with graceful restart negotiated, stale routes stay only while a Child SA is up", || {
        let mut site = Site { ipv4: Device::restarting(Family::Ipv4, 0), ..Site::new(open()) };
        site.set(open());
        site.hears("10.9.0.0/16");
        site.ipv4.lose_connection();
        assert!(!site.ipv4.session().is_up());
        assert_eq!(installed(&tables(&[&site])), ["10.9.0.0/16"], "the device is restarting");
        site.ipv4.cut();
        assert_eq!(installed(&tables(&[&site])), [""; 0]);
    }),
    rule(3, "a learned route equal to or inside one of the VPC's subnets is withheld (`overlaps_local`)", || {
        let local = nets(&["10.1.0.0/24"]);
        let mut site = Site::new(Policy { local_subnets: local.clone(), ..open() });
        for prefix in ["10.1.0.0/24", "10.1.0.128/25", "10.1.0.0/16"] {
            site.hears(prefix);
        }
        let tables = compute(&site.learned(), &local, &BTreeMap::new());
        assert_eq!(installed(&tables), ["10.1.0.0/16"], "a wider one is none of them");
        for prefix in ["10.1.0.0/24", "10.1.0.128/25"] {
            assert_eq!(site.verdict(prefix), Verdict::OverlapsLocal(local[0]));
        }
        // A subnet that came after the announcement.
        let mut site = Site::new(open());
        site.hears("10.7.0.128/25");
        let tables = compute(&site.learned(), &nets(&["10.7.0.0/24"]), &BTreeMap::new());
        let because = "overlaps_local 10.7.0.0/24".to_owned();
        assert_eq!(tables.decisions[&(site.id, net("10.7.0.128/25"))], RouteDecision::Withheld { because });
    }),
    rule(3, "for the same prefix local beats custom, custom beats learned", || {
        let mut site = Site::new(open());
        site.hears("10.9.0.0/16");
        let id = RouteId::random();
        let custom = BTreeMap::from([(net("10.9.0.0/16"), id)]);
        let tables = compute(&site.learned(), &[], &custom);
        let by = format!("custom route {id}");
        assert_eq!(tables.decisions[&(site.id, net("10.9.0.0/16"))], RouteDecision::Beaten { by });
        assert_eq!(installed(&tables), [""; 0], "the learned one");
        let tables = compute(&site.learned(), &nets(&["10.9.0.0/16"]), &custom);
        assert!(matches!(tables.decisions[&(site.id, net("10.9.0.0/16"))], RouteDecision::Withheld { .. }));
    }),
    rule(4, "longest prefix", || {
        // The better of two lengths are both in the table, where the longer one counts.
        let wide = Wanted { communities: vec![HIGH], ..WANTED };
        let tables = choose(&[wide, Wanted { prefix: "10.9.0.0/17", communities: vec![LOW], path: 9, ..WANTED }]);
        assert_eq!(installed(&tables), ["10.9.0.0/16", "10.9.0.0/17"]);
    }),
    rule(4, "then preference", || {
        beats(
            Wanted { communities: vec![MEDIUM], path: 9, med: Some(9), ..WANTED },
            WANTED,
            "preference 90 is lower than 100",
        );
    }),
    rule(4, "then AS-path length", || {
        beats(Wanted { med: Some(9), ..WANTED }, Wanted { path: 2, ..WANTED }, "AS path of 2 is longer than 1");
    }),
    rule(4, "then MED (always compared)", || {
        beats(Wanted { med: Some(1), ..WANTED }, Wanted { med: Some(2), ..WANTED }, "MED 2 is higher than 1");
        beats(WANTED, Wanted { med: Some(2), ..WANTED }, "MED 2 is higher than 0");
    }),
    rule(4, "routes equal in all of these share load", || {
        let tables = choose(&[WANTED, WANTED, Wanted { gateway: 1, ..WANTED }]);
        let mut shares = tables.router[&net(WANTED.prefix)].best.clone();
        shares.sort();
        assert_eq!(shares, [0, 0, 1].map(|number| VpnGatewayId(uuid::Uuid::from_u128(number))), "by connections");
        let ways: usize = tables.gateways.values().map(|table| table[&net(WANTED.prefix)].best.len()).sum();
        assert_eq!(ways, 3, "all connections");
    }),
    rule(4, "ECMP, up to 8; beyond that the oldest win", || {
        let all: Vec<Wanted> = (0..10).map(|age| Wanted { age, ..WANTED }).collect();
        let tables = choose(&all);
        let won: Vec<usize> =
            decisions(&tables, &all).iter().enumerate().filter(|(_, won)| won.is_none()).map(|(at, _)| at).collect();
        assert_eq!(won, [2, 3, 4, 5, 6, 7, 8, 9], "0 and 1 are the youngest");
        assert_eq!(decisions(&tables, &all)[0].as_deref(), Some("8 older routes share the load already"));
    }),
    rule(4, "one of three communities `<asn>:42050` low, `<asn>:42100` medium, `<asn>:42200` high", || {
        for (community, expected) in [(LOW, 50), (MEDIUM, 100), (HIGH, 200), (HIGH + 1, 90)] {
            assert_eq!(preference(LinkKind::Vpn, OURS, &[community]), expected);
        }
        assert_eq!(preference(LinkKind::Vpn, OURS + 1, &[HIGH]), 90, "another AS number's");
    }),
    rule(4, "with several, the highest counts", || {
        assert_eq!(preference(LinkKind::Vpn, OURS, &[LOW, HIGH, MEDIUM]), 200);
        assert_eq!(preference(LinkKind::Vpn, OURS, &[MEDIUM, LOW]), 100);
    }),
    rule(4, "untagged: InterLink 100, VPN 90; low 50, medium 100, high 200", || {
        assert_eq!([LinkKind::InterLink, LinkKind::Vpn].map(|kind| preference(kind, OURS, &[])), [100, 90]);
        for kind in [LinkKind::InterLink, LinkKind::Vpn] {
            assert_eq!([LOW, MEDIUM, HIGH].map(|tag| preference(kind, OURS, &[tag])), [50, 100, 200]);
        }
    }),
    rule(4, "an untagged InterLink beats an untagged VPN, and communities override both", || {
        let link = Wanted { kind: LinkKind::InterLink, ..WANTED };
        beats(Wanted { path: 9, ..link.clone() }, WANTED, "preference 90 is lower than 100");
        beats(Wanted { communities: vec![HIGH], ..WANTED }, link.clone(), "preference 100 is lower than 200");
        beats(WANTED, Wanted { communities: vec![LOW], ..link }, "preference 50 is lower than 90");
    }),
    rule(5, "for each prefix the API says received", || {
        let mut site = Site::new(open());
        site.hears("10.9.0.0/16");
        site.hears("10.8.0.0/16");
        let received = site.ipv4.session().received();
        let said: Vec<String> =
            received.iter().map(|(route, _)| route.report(RouteDecision::Installed).prefix.to_string()).collect();
        assert_eq!(said, ["10.8.0.0/16", "10.9.0.0/16"]);
    }),
    rule(5, "accepted or filtered (by which rule)", || {
        let mut site = Site::new(Policy { interconnections: nets(&["fd99:9::/126"]), ..open() });
        site.hears("10.9.0.0/16");
        site.hears("127.0.0.0/8");
        site.hears("fd99:9::/126");
        assert_eq!(site.verdict("10.9.0.0/16").decision(), RouteDecision::Installed);
        for (prefix, by) in [("127.0.0.0/8", "martian"), ("fd99:9::/126", "interconnection_subnet")] {
            assert_eq!(site.verdict(prefix).decision(), RouteDecision::Filtered { by: by.to_owned() });
        }
    }),
    rule(5, "installed, or beaten (by which route)", || {
        let all = [Wanted { communities: vec![HIGH], ..WANTED }, WANTED];
        let tables = choose(&all);
        let winner = connection(0);
        assert_eq!(tables.decisions[&(winner, net(WANTED.prefix))], RouteDecision::Installed);
        let by = format!("connection {winner}: preference 90 is lower than 200");
        assert_eq!(tables.decisions[&(connection(1), net(WANTED.prefix))], RouteDecision::Beaten { by });
    }),
    rule(6, "routes learned from one connection or link are not announced to any other", || {
        let own = own(&["10.1.0.0/24"], &[]);
        let everything = policy(&["0.0.0.0/0"], &["0.0.0.0/0"], &own);
        let (mut one, two) = (Site::new(everything.clone()), Site::new(everything));
        one.hears("10.9.0.0/16");
        assert_eq!(installed(&tables(&[&one, &two])), ["10.9.0.0/16"]);
        for site in [one, two] {
            assert_eq!(site.announced(), ["10.1.0.0/24"], "the VPC's own and nothing else");
        }
    }),
    rule(6, "the provider's side never becomes a transit between two customers", || {
        let mut picture = vpc(&["0.0.0.0/0"]);
        let mut other = Way { via: via(1), ..picture.ways[0].clone() };
        other.policies[0].2.prefix_filter_in = nets(&["10.8.0.0/16"]);
        other.received = received("10.8.0.0/16");
        picture.ways.push(other);
        let asked = |picture: &Picture| {
            let answer = explain(picture, &Question::Packet(packet("10.9.0.5", "10.8.0.5")));
            (answer.verdict, answer.fault.map(|fault| fault.code))
        };
        assert_eq!(asked(&picture), ("dropped", Some(ReasonCode::NoTransit)));
    }),
];

/// Our AS number in the tables.
const OURS: u32 = 12876;
const LOW: u32 = OURS << 16 | 42050;
const MEDIUM: u32 = OURS << 16 | 42100;
const HIGH: u32 = OURS << 16 | 42200;

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn own(subnets: &[&str], custom: &[&str]) -> VpcRoutes {
    VpcRoutes { subnets: nets(subnets), custom: nets(custom), announce_custom: true, ..VpcRoutes::default() }
}

/// As the gateway makes it of what is desired.
fn policy(accept: &[&str], announce: &[&str], own: &VpcRoutes) -> Policy {
    let lists = PolicyDesired { prefix_filter_in: nets(accept), prefix_filter_out: nets(announce) };
    session_policy(true, &lists, own, Vec::new())
}

/// Everything in and out.
fn open() -> Policy {
    let all = ["0.0.0.0/0", "::/0"];
    policy(&all, &all, &own(&["10.1.0.0/24", "fd01::/64"], &["10.3.0.0/24"]))
}

/// A connection whose device speaks to our sessions.
struct Site {
    id: ConnectionId,
    gateway: VpnGatewayId,
    ipv4: Device,
    ipv6: Device,
}

impl Site {
    fn without_policy() -> Self {
        let [ipv4, ipv6] = Family::ALL.map(|family| Device::new(family, 0));
        Self { id: ConnectionId::random(), gateway: VpnGatewayId::random(), ipv4, ipv6 }
    }

    fn new(policy: Policy) -> Self {
        let mut site = Self::without_policy();
        site.set(policy);
        site
    }

    fn devices(&self) -> [&Device; 2] {
        [&self.ipv4, &self.ipv6]
    }

    fn set(&mut self, policy: Policy) {
        self.ipv4.set(policy.clone());
        self.ipv6.set(policy);
    }

    /// The device announces this.
    fn hears(&mut self, prefix: &str) {
        let prefix = net(prefix);
        let device = if Family::of_net(&prefix).is_ipv6() { &mut self.ipv6 } else { &mut self.ipv4 };
        device.announce(prefix, Attributes { tag: 0, longer: 0, med: 0 });
    }

    fn accepted(&self) -> Vec<String> {
        self.devices().into_iter().flat_map(Device::accepted).map(|route| route.prefix.to_string()).collect()
    }

    fn announced(&self) -> Vec<String> {
        self.devices().into_iter().flat_map(|device| device.session().announced()).map(IpNet::to_string).collect()
    }

    fn verdict(&self, prefix: &str) -> Verdict {
        let received = self.devices().into_iter().flat_map(|device| device.session().received());
        let mut found = received.filter(|(route, _)| route.prefix == net(prefix)).map(|(_, verdict)| verdict);
        found.next().expect("it was received")
    }

    /// As the gateway reports it to the node.
    fn learned(&self) -> Vec<Learned> {
        let learned = |route: &causeway_bgp::Route| Learned {
            gateway: self.gateway,
            connection: self.id,
            kind: LinkKind::Vpn,
            prefix: route.prefix,
            preference: preference(LinkKind::Vpn, OURS, &route.communities),
            as_path_length: route.as_path.len(),
            med: route.med,
            received_at: route.received_at,
        };
        self.devices().into_iter().flat_map(Device::accepted).map(learned).collect()
    }
}

fn tables(sites: &[&Site]) -> Tables {
    let learned: Vec<Learned> = sites.iter().flat_map(|site| site.learned()).collect();
    compute(&learned, &[], &BTreeMap::new())
}

/// The prefixes of the VPC router's learned routes.
fn installed(tables: &Tables) -> Vec<String> {
    tables.router.keys().map(IpNet::to_string).collect()
}

fn gone_after(change: fn(&mut Site)) {
    let mut site = Site::new(open());
    site.hears("10.9.0.0/16");
    assert_eq!(installed(&tables(&[&site])), ["10.9.0.0/16"]);
    change(&mut site);
    assert_eq!(installed(&tables(&[&site])), [""; 0]);
}

/// A route as a device may announce it.
#[derive(Clone, Debug)]
struct Wanted {
    gateway: u128,
    prefix: &'static str,
    kind: LinkKind,
    communities: Vec<u32>,
    path: usize,
    med: Option<u32>,
    /// The older, the more.
    age: u64,
}

const WANTED: Wanted = Wanted {
    gateway: 0,
    prefix: "10.9.0.0/16",
    kind: LinkKind::Vpn,
    communities: Vec::new(),
    path: 1,
    med: None,
    age: 0,
};

fn connection(number: u128) -> ConnectionId {
    ConnectionId(uuid::Uuid::from_u128(number))
}

/// The choice among these, each of a connection of its own, numbered from 0.
fn choose(wanted: &[Wanted]) -> Tables {
    let now = Instant::now() + Duration::from_secs(1000);
    let learned: Vec<Learned> = wanted
        .iter()
        .zip(0..)
        .map(|(wanted, number)| Learned {
            gateway: VpnGatewayId(uuid::Uuid::from_u128(wanted.gateway)),
            connection: connection(number),
            kind: wanted.kind,
            prefix: net(wanted.prefix),
            preference: preference(wanted.kind, OURS, &wanted.communities),
            as_path_length: wanted.path,
            med: wanted.med,
            received_at: now - Duration::from_secs(wanted.age),
        })
        .collect();
    compute(&learned, &[], &BTreeMap::new())
}

/// Of each: nothing if it is installed, else what beat it.
fn decisions(tables: &Tables, wanted: &[Wanted]) -> Vec<Option<String>> {
    let decision =
        |(wanted, number): (&Wanted, u128)| match &tables.decisions[&(connection(number), net(wanted.prefix))] {
            RouteDecision::Installed => None,
            RouteDecision::Beaten { by } => Some(by.split(": ").nth(1).unwrap_or(by).to_owned()),
            other => panic!("{other:?}"),
        };
    wanted.iter().zip(0..).map(decision).collect()
}

/// The first beats the second, in whichever order they come.
fn beats(winner: Wanted, loser: Wanted, why: &str) {
    for (order, lost) in [([winner.clone(), loser.clone()], 1), ([loser, winner], 0)] {
        let decided = decisions(&choose(&order), &order);
        assert_eq!(decided[1 - lost], None);
        assert_eq!(decided[lost].as_deref(), Some(why));
    }
}

fn received(prefix: &str) -> Vec<causeway_model::observed::ReceivedRoute> {
    let route = causeway_model::observed::ReceivedRoute {
        prefix: net(prefix),
        next_hop: "169.254.0.2".parse().expect("an address"),
        as_path: vec![65001],
        med: None,
        communities: Vec::new(),
        decision: RouteDecision::Installed,
        stale: false,
    };
    vec![route]
}

fn via(number: u128) -> Via {
    Via::Connection { connection: connection(number), gateway: VpnGatewayId::random() }
}

/// Two Private Networks, and a site with 10.9.0.0/16 behind a connection that lets these out.
fn vpc(out: &[&str]) -> Picture {
    let lists = PolicyDesired { prefix_filter_in: nets(&["10.9.0.0/16"]), prefix_filter_out: nets(out) };
    let way = Way {
        via: via(0),
        locked: false,
        propagation: true,
        policies: vec![(Family::Ipv4, RoutingPolicyId::random(), lists)],
        inside: nets(&["169.254.0.0/30"]),
        tunnels_up: vec![Family::Ipv4],
        tunnel_fault: None,
        sessions_up: vec![Family::Ipv4],
        session_faults: Vec::new(),
        received: received("10.9.0.0/16"),
        caveats: Vec::new(),
    };
    let networks = ["10.1.0.0/24", "10.2.0.0/24"].map(|subnet| (PrivateNetworkId::random(), nets(&[subnet])));
    Picture { networks: networks.to_vec(), ways: vec![way], ..Picture::default() }
}

fn packet(source: &str, destination: &str) -> AclPacket {
    AclPacket {
        protocol: AclProtocol::Tcp,
        source: source.parse().expect("an address"),
        source_port: None,
        destination: destination.parse().expect("an address"),
        destination_port: Some(443),
    }
}

/// What becomes of a packet from a host of the VPC to the site.
fn verdict(picture: &Picture, source: &str) -> (&'static str, Option<ReasonCode>) {
    let answer = explain(picture, &Question::Packet(packet(source, "10.9.0.5")));
    (answer.verdict, answer.fault.map(|fault| fault.code))
}

#[test]
fn every_promise_about_routes() {
    let broken = |case: &&Case| catch_unwind(case.holds).is_err();
    let broken: Vec<String> =
        CASES.iter().filter(broken).map(|case| format!("rule {}: {}", case.rule, case.promise)).collect();
    assert!(broken.is_empty(), "broken:\n{}", broken.join("\n"));
}
