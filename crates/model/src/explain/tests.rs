//! One case for each thing that can become of a prefix and of a packet.

use super::*;
use crate::acl::{AclAction, AclProtocol, AclRule, PortRange};

const CONNECTIONS: [u128; 2] = [0xc1, 0xc2];

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn id<T: From<uuid::Uuid>>(number: u128) -> T {
    T::from(uuid::Uuid::from_u128(number))
}

fn received(prefix: &str, decision: RouteDecision) -> ReceivedRoute {
    ReceivedRoute {
        prefix: net(prefix),
        next_hop: address("169.254.0.2"),
        as_path: vec![65001],
        med: None,
        communities: Vec::new(),
        decision,
        stale: false,
    }
}

fn way(number: usize) -> Way {
    let lists =
        PolicyDesired { prefix_filter_in: vec![net("10.20.0.0/16")], prefix_filter_out: vec![net("172.16.0.0/12")] };
    Way {
        via: Via::Connection { connection: id(CONNECTIONS[number]), gateway: id(0x91) },
        locked: false,
        propagation: true,
        policies: vec![(Family::Ipv4, id(0x70), lists)],
        inside: vec![net("169.254.0.0/30")],
        tunnels_up: vec![Family::Ipv4],
        tunnel_fault: None,
        sessions_up: vec![Family::Ipv4],
        session_faults: Vec::new(),
        received: vec![received("10.20.0.0/24", RouteDecision::Installed)],
        caveats: Vec::new(),
    }
}

/// Two Private Networks, one connection with one route, open lists.
fn picture() -> Picture {
    Picture {
        networks: vec![(id(1), vec![net("172.16.0.0/24")]), (id(2), vec![net("172.16.1.0/24"), net("fd00:1::/64")])],
        gateways: vec![(id(0x91), vec![address("172.16.0.2"), address("fd00:1::2")])],
        ways: vec![way(0)],
        ..Picture::default()
    }
}

fn custom(destination: &str) -> CustomRouteDesired {
    CustomRouteDesired {
        id: id(0x80),
        destination: net(destination),
        network: id(1),
        next_hop: Some(address("172.16.0.9")),
    }
}

fn code(explanation: &Explanation) -> Option<ReasonCode> {
    explanation.fault.as_ref().map(|fault| fault.code)
}

#[test]
fn what_can_become_of_a_prefix() {
    use ReasonCode as R;
    type Change = fn(&mut Picture);
    type Case = (&'static str, Change, &'static str, &'static str, Option<R>, &'static str);
    let cases: Vec<Case> = vec![
        ("learned", |_| {}, "10.20.0.0/24", "routed", None, ""),
        ("part of a learned one", |_| {}, "10.20.0.128/25", "routed", None, ""),
        ("local", |_| {}, "172.16.0.0/24", "routed", None, ""),
        ("local, IPv6", |_| {}, "fd00:1::/64", "routed", None, ""),
        ("custom", |p| p.custom_routes.push(custom("10.30.0.0/16")), "10.30.1.0/24", "routed", None, ""),
        ("not announced", |_| {}, "10.20.9.0/24", "unrouted", Some(R::NoRoute), "because"),
        ("a longer one does not cover", |_| {}, "10.20.0.0/16", "unrouted", Some(R::NoRoute), "because"),
        (
            "session down",
            |p| {
                p.ways[0].sessions_up.clear();
                p.ways[0].session_faults = vec![(Family::Ipv4, R::TcpRefused.into())];
                p.ways[0].received.clear();
            },
            "10.20.0.0/24",
            "unrouted",
            Some(R::TcpRefused),
            "connection",
        ),
        (
            "tunnel down before session down",
            |p| {
                p.ways[0].tunnels_up.clear();
                p.ways[0].tunnel_fault = Some(R::DpdTimeout.into());
                p.ways[0].session_faults = vec![(Family::Ipv4, R::TunnelDown.into())];
                p.ways[0].received.clear();
            },
            "10.20.0.0/24",
            "unrouted",
            Some(R::DpdTimeout),
            "connection",
        ),
        (
            "no policy",
            |p| {
                p.ways[0].policies.clear();
                p.ways[0].received.clear();
            },
            "10.20.0.0/24",
            "unrouted",
            Some(R::NoRoutingPolicy),
            "connection",
        ),
        (
            "propagation off",
            |p| {
                p.ways[0].propagation = false;
                p.ways[0].received.clear();
            },
            "10.20.0.0/24",
            "unrouted",
            Some(R::PropagationDisabled),
            "connection",
        ),
        (
            "locked",
            |p| {
                p.ways[0].locked = true;
                p.ways[0].received.clear();
            },
            "10.20.0.0/24",
            "unrouted",
            Some(R::Locked),
            "connection",
        ),
        (
            "withheld",
            |p| {
                let because = "overlaps_local 10.20.0.0/16".to_owned();
                p.ways[0].received = vec![received("10.20.0.0/24", RouteDecision::Withheld { because })];
            },
            "10.20.0.0/24",
            "unrouted",
            Some(R::NoRoute),
            "withheld",
        ),
        ("no connection", |p| p.ways.clear(), "10.20.0.0/24", "unrouted", Some(R::NoRoute), ""),
    ];
    for (what, change, prefix, verdict, reason, evidence) in cases {
        let mut picture = picture();
        change(&mut picture);
        let explanation = explain_prefix(&picture, &net(prefix));
        assert_eq!((explanation.verdict, code(&explanation)), (verdict, reason), "{what}: {explanation:#?}");
        let found =
            explanation.fault.as_ref().is_none_or(|fault| evidence.is_empty() || fault.evidence.contains_key(evidence));
        assert!(found, "{what}: {explanation:#?}");
    }
    for by in ["not_in_prefix_filter_in", "own_asn_in_path", "max_prefixes", "martian", "third_party_next_hop"] {
        let mut picture = picture();
        picture.ways[0].received = vec![received("10.20.0.0/24", RouteDecision::Filtered { by: by.to_owned() })];
        let explanation = explain_prefix(&picture, &net("10.20.0.0/24"));
        assert_eq!(explanation.candidates[0].outcome, Outcome::Filtered(by.to_owned()));
        assert_eq!(explanation.fault.expect("a reason").evidence["filtered"], by);
    }
}

#[test]
fn local_beats_custom_and_custom_beats_learned() {
    let mut picture = picture();
    picture.custom_routes = vec![custom("10.20.0.0/24"), custom("172.16.0.0/24")];
    let learned = explain_prefix(&picture, &net("10.20.0.0/24"));
    assert!(matches!(learned.candidates[0].origin, Origin::Custom { .. }) && learned.candidates[0].taken);
    assert!(matches!(&learned.candidates[1].outcome, Outcome::Beaten(by) if by.contains("custom route")));
    let local = explain_prefix(&picture, &net("172.16.0.0/24"));
    assert!(matches!(local.candidates[0].origin, Origin::Local(_)) && local.candidates[0].taken);
    assert!(matches!(&local.candidates[1].outcome, Outcome::Beaten(by) if by.contains("own subnet")));
}

#[test]
fn winners_share_and_losers_say_by_what_they_are_beaten() {
    let mut picture = picture();
    picture.ways.push(way(1));
    let shared = explain_prefix(&picture, &net("10.20.0.0/24"));
    assert_eq!(shared.candidates.iter().filter(|candidate| candidate.taken).count(), 2);
    let by = "connection x: preference 50 is lower than 90".to_owned();
    picture.ways[1].received = vec![received("10.20.0.0/24", RouteDecision::Beaten { by: by.clone() })];
    let beaten = explain_prefix(&picture, &net("10.20.0.0/24"));
    assert_eq!(beaten.candidates.iter().filter(|candidate| candidate.taken).count(), 1);
    assert_eq!(beaten.candidates[1].outcome, Outcome::Beaten(by));
    // A longer prefix wins, however it is preferred otherwise.
    picture.ways[1].received = vec![received("10.20.0.0/25", RouteDecision::Installed)];
    let longest = explain_prefix(&picture, &net("10.20.0.64/26"));
    assert_eq!(longest.candidates[0].prefix, net("10.20.0.0/25"));
    assert!(longest.candidates[0].taken && !longest.candidates[1].taken);
    assert_eq!(longest.candidates[0].policy, Some((id(0x70), Some(net("10.20.0.0/16")))));
}

#[test]
fn what_is_shown_is_bounded() {
    let mut picture = picture();
    let many = (0..1000_u32)
        .map(|index| received(&format!("10.20.{}.{}/32", index / 250, index % 250), RouteDecision::Installed));
    picture.ways[0].received = many.collect();
    let explanation = explain_prefix(&picture, &net("10.20.0.0/16"));
    assert_eq!(explanation.candidates.len() + explanation.more, 1001, "and that nothing covers it");
    assert_eq!(explanation.candidates.len(), MAX_CANDIDATES);
    assert_eq!(explanation.verdict, "unrouted");
}

fn packet(source: &str, destination: &str) -> Packet {
    Packet {
        protocol: AclProtocol::Tcp,
        source: address(source),
        source_port: None,
        destination: address(destination),
        destination_port: Some(443),
    }
}

fn rule(source: &str, action: AclAction) -> AclRule {
    AclRule {
        protocol: AclProtocol::Tcp,
        source: net(source),
        source_ports: PortRange::ALL,
        destination: net("0.0.0.0/0"),
        destination_ports: PortRange { low: 443, high: 443 },
        action,
        description: Some("web".to_owned()),
    }
}

#[test]
fn what_can_become_of_a_packet() {
    use ReasonCode as R;
    type Change = fn(&mut Picture);
    type Case = (&'static str, Change, &'static str, &'static str, &'static str, Option<R>, &'static str);
    let deny: Change = |p| p.acl_ipv4.rules.push(rule("0.0.0.0/0", AclAction::Drop));
    let closed: Change = |p| p.acl_ipv4.default_action = AclAction::Drop;
    let down: Change = |p| {
        p.ways[0].tunnels_up.clear();
        p.ways[0].tunnel_fault = Some(R::PeerDeletedSa.into());
    };
    let (host, office) = ("172.16.0.5", "10.20.0.5");
    let cases: Vec<Case> = vec![
        ("out", |_| {}, host, office, "delivered", None, "tunnel"),
        ("in", |_| {}, office, host, "delivered", None, "delivery"),
        ("on one network", deny, host, "172.16.0.6", "delivered", None, "delivery"),
        ("between networks", |_| {}, host, "172.16.1.6", "delivered", None, "delivery"),
        ("between networks, denied", deny, host, "172.16.1.6", "dropped", Some(R::AclDenied), "acl"),
        ("out, denied by a rule", deny, host, office, "dropped", Some(R::AclDenied), "acl"),
        ("in, denied by the default", closed, office, host, "dropped", Some(R::AclDenied), "acl"),
        ("out, no route", |_| {}, host, "10.99.0.1", "dropped", Some(R::NoRoute), "route"),
        ("out, tunnel down with a stale route", down, host, office, "dropped", Some(R::PeerDeletedSa), "tunnel"),
        ("in, tunnel down", down, office, host, "dropped", Some(R::PeerDeletedSa), "tunnel"),
        (
            "in, propagation off",
            |p| p.ways[0].propagation = false,
            office,
            host,
            "dropped",
            Some(R::PropagationDisabled),
            "tunnel",
        ),
        ("in, locked", |p| p.ways[0].locked = true, office, host, "dropped", Some(R::Locked), "tunnel"),
        ("in, source that no policy lists", |_| {}, "10.99.0.1", host, "dropped", Some(R::SourceNotAllowed), "source"),
        (
            "in, from the interconnection subnet",
            |_| {},
            "169.254.0.2",
            host,
            "dropped",
            Some(R::ForgedSource),
            "source",
        ),
        ("in, martian", |_| {}, "127.0.0.9", host, "dropped", Some(R::ForgedSource), "source"),
        (
            "in, destination that is not announced",
            |p| {
                p.ways[0].policies[0].2.prefix_filter_out = vec![net("172.16.1.0/24")];
            },
            office,
            host,
            "dropped",
            Some(R::DestinationNotAllowed),
            "gateway",
        ),
        (
            "out, source that is not announced",
            |p| {
                p.ways[0].policies[0].2.prefix_filter_out = vec![net("172.16.1.0/24")];
            },
            host,
            office,
            "dropped",
            Some(R::SourceNotAllowed),
            "gateway",
        ),
        (
            "out, destination that the policy took off the list",
            |p| {
                p.ways[0].policies[0].2.prefix_filter_in = vec![net("10.21.0.0/16")];
            },
            host,
            office,
            "dropped",
            Some(R::DestinationNotAllowed),
            "gateway",
        ),
        (
            "from one customer to another",
            |p| {
                p.ways[0].policies[0].2.prefix_filter_out = vec![net("0.0.0.0/0")];
                p.ways.push(way(1));
                p.ways[1].policies[0].2.prefix_filter_in = vec![net("10.20.7.0/24")];
                p.ways[1].received = vec![received("10.20.7.0/24", RouteDecision::Installed)];
            },
            office,
            "10.20.7.7",
            "dropped",
            Some(R::NoTransit),
            "gateway",
        ),
        (
            "from one customer to another in the range of a custom route",
            |p| {
                p.ways[0].policies[0].2.prefix_filter_out = vec![net("0.0.0.0/0")];
                p.ways.push(way(1));
                p.ways[1].policies[0].2.prefix_filter_in = vec![net("10.30.0.0/16")];
                p.ways[1].received = vec![received("10.30.7.0/24", RouteDecision::Installed)];
                p.custom_routes.push(custom("10.30.0.0/16"));
            },
            office,
            "10.30.7.7",
            "dropped",
            Some(R::NoTransit),
            "route",
        ),
        (
            "from a site back to itself in the range of a custom route",
            |p| {
                p.ways[0].policies[0].2.prefix_filter_out = vec![net("0.0.0.0/0")];
                p.custom_routes.push(custom("10.20.0.0/16"));
            },
            office,
            "10.20.0.77",
            "dropped",
            Some(R::NoTransit),
            "route",
        ),
        (
            "from a site to what it announces itself",
            |p| p.ways[0].policies[0].2.prefix_filter_out = vec![net("0.0.0.0/0")],
            office,
            "10.20.0.77",
            "dropped",
            Some(R::DestinationNotAllowed),
            "gateway",
        ),
        (
            "from behind a custom route",
            |p| {
                p.custom_routes.push(custom("10.30.0.0/16"));
                p.ways[0].policies[0].2.prefix_filter_out.push(net("10.30.0.0/16"));
            },
            "10.30.0.1",
            office,
            "delivered",
            None,
            "tunnel",
        ),
        (
            "from behind a custom route that the policy does not list",
            |p| p.custom_routes.push(custom("10.30.0.0/16")),
            "10.30.0.1",
            office,
            "dropped",
            Some(R::SourceNotAllowed),
            "gateway",
        ),
        (
            "by a custom route",
            |p| p.custom_routes.push(custom("10.30.0.0/16")),
            host,
            "10.30.0.1",
            "delivered",
            None,
            "delivery",
        ),
        (
            "in to a custom route",
            |p| {
                p.custom_routes.push(custom("10.30.0.0/16"));
                p.ways[0].policies[0].2.prefix_filter_out.push(net("10.30.0.0/16"));
            },
            office,
            "10.30.0.1",
            "delivered",
            None,
            "delivery",
        ),
        (
            "one of two ways is closed",
            |p| {
                p.ways.push(way(1));
                p.ways[1].tunnels_up.clear();
            },
            host,
            office,
            "delivered",
            None,
            "tunnel",
        ),
        (
            "in, with a dead backup",
            |p| {
                p.ways.push(way(1));
                p.ways[1].tunnels_up.clear();
                p.ways[1].received.clear();
            },
            office,
            host,
            "delivered",
            None,
            "delivery",
        ),
        (
            "in, with everything dead",
            |p| {
                p.ways.push(way(1));
                for way in &mut p.ways {
                    way.tunnels_up.clear();
                    way.tunnel_fault = Some(R::DpdTimeout.into());
                }
            },
            office,
            host,
            "dropped",
            Some(R::DpdTimeout),
            "tunnel",
        ),
        (
            "one of two open ways does not list the source",
            |p| {
                p.ways.push(way(1));
                p.ways[1].policies[0].2.prefix_filter_out = vec![net("172.16.1.0/24")];
            },
            host,
            office,
            "partly",
            Some(R::SourceNotAllowed),
            "gateway",
        ),
        (
            "in, one of two open ways does not list the destination",
            |p| {
                p.ways.push(way(1));
                p.ways[0].policies[0].2.prefix_filter_out = vec![net("172.16.1.0/24")];
            },
            office,
            host,
            "partly",
            Some(R::DestinationNotAllowed),
            "delivery",
        ),
    ];
    for (what, change, source, destination, verdict, reason, last) in cases {
        let mut picture = picture();
        change(&mut picture);
        let explanation = explain_packet(&picture, &packet(source, destination));
        assert_eq!((explanation.verdict, code(&explanation)), (verdict, reason), "{what}: {explanation:#?}");
        assert_eq!(explanation.steps.last().map(|step| step.at), Some(last), "{what}: {explanation:#?}");
    }
}

/// A gateway is behind the router also on its own network, and neither of them is a host.
#[test]
fn what_can_become_of_a_packet_to_the_router_or_a_gateway_itself() {
    use AclProtocol::{Any, Icmp, Tcp};
    use ReasonCode as R;
    type Case = (&'static str, &'static str, AclProtocol, bool, Option<R>, &'static [&'static str]);
    let (host, other, gateway, office) = ("172.16.0.5", "172.16.1.6", "172.16.0.2", "10.20.0.5");
    let to_gateway: &[&str] = &["source", "route", "acl", "gateway"];
    let from_outside: &[&str] = &["tunnel", "gateway", "route", "router"];
    let cases: [Case; 17] = [
        (host, gateway, Icmp, false, None, to_gateway),
        (host, gateway, Any, false, None, to_gateway),
        (host, gateway, Tcp, false, Some(R::PlatformAddress), to_gateway),
        (other, gateway, Icmp, false, None, to_gateway),
        (host, gateway, Icmp, true, Some(R::AclDenied), &["source", "route", "acl"]),
        ("fd00:1::5", "fd00:1::2", Icmp, true, Some(R::AclDenied), &["source", "route", "acl"]),
        (gateway, host, Icmp, false, None, &["source", "route", "acl", "delivery"]),
        (gateway, host, Icmp, true, Some(R::AclDenied), &["source", "route", "acl"]),
        (host, "172.16.0.1", Icmp, true, None, &["source", "route", "router"]),
        (host, "172.16.1.1", Icmp, true, None, &["source", "route", "router"]),
        (host, "172.16.1.1", Tcp, true, Some(R::PlatformAddress), &["source", "route", "router"]),
        ("fd00:1::5", "fd00:1::1", Icmp, true, None, &["source", "route", "router"]),
        (office, gateway, Icmp, false, Some(R::PlatformAddress), &["tunnel", "gateway"]),
        (office, "172.16.0.1", Icmp, true, None, from_outside),
        (office, "172.16.1.1", Tcp, true, Some(R::PlatformAddress), from_outside),
        (host, "172.16.0.6", Tcp, true, None, &["source", "delivery"]),
        ("172.16.0.1", host, Icmp, true, None, &["source", "delivery"]),
    ];
    for (source, destination, protocol, closed, reason, way) in cases {
        let mut picture = picture();
        let action = if closed { AclAction::Drop } else { AclAction::Accept };
        (picture.acl_ipv4.default_action, picture.acl_ipv6.default_action) = (action, action);
        let asked = Packet { protocol, ..packet(source, destination) };
        let answer = explain_packet(&picture, &asked);
        let verdict = if reason.is_some() { "dropped" } else { "delivered" };
        let steps: Vec<&str> = answer.steps.iter().map(|step| step.at).collect();
        assert_eq!((answer.verdict, code(&answer), steps.as_slice()), (verdict, reason, way), "{asked:?}: {answer:#?}");
    }
    let answer = explain_packet(&picture(), &packet(office, gateway));
    let fault = answer.fault.expect("a reason");
    assert_eq!(fault.evidence["address_of"], format!("VPN gateway {}", id::<VpnGatewayId>(0x91)));
    assert_eq!(fault.evidence["admits"], "nothing from customers' sites");
}

#[test]
fn the_answer_names_the_rule_the_lists_and_the_way_back() {
    let mut picture = picture();
    picture.acl_ipv4.rules = vec![rule("10.0.0.0/24", AclAction::Drop), rule("172.16.0.0/16", AclAction::Drop)];
    let denied = explain_packet(&picture, &packet("172.16.0.5", "10.20.0.5"));
    let fault = denied.fault.expect("a reason");
    assert_eq!(fault.evidence["rule"], "rule 2 of the IPv4 list (web)");
    assert_eq!(fault.evidence["rule_index"], "1");
    assert!(denied.return_path.is_some_and(|path| path.starts_with("172.16.0.0/24, Private Network")));

    let foreign = explain_packet(&picture, &packet("10.99.0.1", "172.16.0.5"));
    let fault = foreign.fault.expect("a reason");
    assert_eq!((fault.ours.as_deref(), fault.theirs.as_deref()), (Some("10.20.0.0/16"), Some("10.99.0.1")));
    assert_eq!(foreign.return_path, None, "answers would have no way either");
}

#[test]
fn what_the_node_owes_to_the_answer_is_said_and_nothing_else() {
    let owed = |of: &str| vec![Fault::new(ReasonCode::ConfigPending).with("of", of)];
    let mut picture = Picture { caveats: owed("router"), ..picture() };
    picture.ways.push(Way { received: Vec::new(), caveats: owed("other"), ..way(1) });
    picture.ways[1].policies[0].0 = Family::Ipv6;
    picture.ways[0].caveats = owed("connection");
    let said = |explanation: &Explanation| -> Vec<String> {
        explanation.caveats.iter().map(|fault| fault.evidence["of"].clone()).collect()
    };
    // Every connection counts that might have a route to the prefix.
    assert_eq!(said(&explain_prefix(&picture, &net("10.20.0.0/24"))), ["router", "connection", "other"]);
    assert_eq!(said(&explain_packet(&picture, &packet("172.16.0.5", "10.20.0.5"))), ["router", "connection", "other"]);
    picture.ways.truncate(1);
    assert_eq!(said(&explain_packet(&picture, &packet("10.20.0.5", "172.16.0.5"))), ["router", "connection"]);
    picture.ways[0].caveats.clear();
    picture.caveats.clear();
    assert_eq!(explain_packet(&picture, &packet("10.20.0.5", "172.16.0.5")).caveats, []);
}

#[test]
fn every_prefix_of_the_vpcs_own_is_announced_or_says_why_not() {
    use OwnDecision::{Announced, Filtered, Withheld};
    let own = Own {
        subnets: vec![net("172.16.0.0/24"), net("172.32.0.0/24"), net("fd00:1::/64")],
        custom: vec![net("172.17.0.0/16"), net("172.16.0.0/24")],
        announce_custom: true,
    };
    type Change = fn(&mut Way, &mut Own);
    let subnet = net("172.16.0.0/24");
    let cases: [(&str, Change, &str, OwnDecision); 9] = [
        ("within an entry", |_, _| {}, "172.16.0.0/24", Announced),
        ("outside every entry", |_, _| {}, "172.32.0.0/24", Filtered("not_in_prefix_filter_out")),
        ("no policy of its family", |_, _| {}, "fd00:1::/64", Filtered("no_policy")),
        ("a custom route", |_, _| {}, "172.17.0.0/16", Withheld("config_pending")),
        (
            "custom routes are kept back",
            |_, own| own.announce_custom = false,
            "172.17.0.0/16",
            Filtered("custom_routes_propagation_disabled"),
        ),
        ("propagation is off", |way, _| way.propagation = false, "172.17.0.0/16", Filtered("propagation_disabled")),
        ("no session", |way, _| way.sessions_up.clear(), "172.17.0.0/16", Withheld("session_down")),
        ("locked", |way, _| way.locked = true, "172.17.0.0/16", Withheld("locked")),
        (
            "a part of what the entry lists",
            |way, _| way.policies[0].2.prefix_filter_out = vec![net("172.17.0.0/17")],
            "172.17.0.0/16",
            Filtered("not_in_prefix_filter_out"),
        ),
    ];
    for (what, change, prefix, decision) in cases {
        let (mut way, mut own) = (way(0), own.clone());
        change(&mut way, &mut own);
        let routes = own_routes(&way, &own, &[subnet]);
        let found = routes.iter().find(|route| route.prefix == net(prefix)).expect("it is listed");
        assert_eq!(found.decision, decision, "{what}");
    }
    let routes = own_routes(&way(0), &own, &[subnet, net("10.1.0.0/16")]);
    let shown: Vec<_> = routes.iter().map(|route| (route.prefix.to_string(), route.origin)).collect();
    let expected = [
        ("10.1.0.0/16", None),
        ("172.16.0.0/24", Some("local")),
        ("172.17.0.0/16", Some("custom")),
        ("172.32.0.0/24", Some("local")),
        ("fd00:1::/64", Some("local")),
    ];
    assert_eq!(shown, expected.map(|(prefix, origin)| (prefix.to_owned(), origin)));
    assert_eq!(routes[1].policy, Some((id(0x70), Some(net("172.16.0.0/12")))));
    assert_eq!(routes[1].next_hop, Some(address("169.254.0.0")));
    assert_eq!((routes[3].policy, routes[3].next_hop), (Some((id(0x70), None)), None));
}

#[test]
fn a_link_is_a_way_as_a_connection_is() {
    let link = Via::Link(id(0x11));
    let mut picture = picture();
    picture.ways[0] = Way { via: link, tunnels_up: Vec::new(), ..way(0) };
    let answer = explain_prefix(&picture, &net("10.20.0.0/24"));
    assert_eq!((answer.verdict, &answer.candidates[0].origin), ("routed", &Origin::Learned(link)));
    let outward = packet("172.16.0.5", "10.20.0.5");
    let answer = explain_packet(&picture, &outward);
    let last = answer.steps.last().expect("steps");
    assert_eq!(
        (answer.verdict, last.at, last.via, last.detail.as_str()),
        ("delivered", "link", Some(link), "over the link")
    );
    assert_eq!(explain_packet(&picture, &packet("10.20.0.5", "172.16.0.5")).verdict, "delivered");

    picture.ways[0].tunnel_fault = Some(ReasonCode::NoCarrier.into());
    for asked in [outward, packet("10.20.0.5", "172.16.0.5")] {
        let answer = explain_packet(&picture, &asked);
        let fault = answer.fault.expect("a reason");
        assert_eq!((answer.verdict, fault.code), ("dropped", ReasonCode::NoCarrier));
        assert_eq!(fault.evidence["link"], "00000000-0000-0000-0000-000000000011");
    }

    // A site behind a connection is not reached from one behind a link.
    let mut other = way(1);
    other.policies[0].2.prefix_filter_in = vec![net("10.30.0.0/16")];
    other.received = vec![received("10.30.0.0/24", RouteDecision::Installed)];
    picture.ways[0].tunnel_fault = None;
    picture.ways.push(other);
    let answer = explain_packet(&picture, &packet("10.20.0.5", "10.30.0.5"));
    assert_eq!((answer.verdict, answer.fault.map(|fault| fault.code)), ("dropped", Some(ReasonCode::NoTransit)));
}
