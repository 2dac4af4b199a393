use super::*;
use crate::filter::Present;

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| net(text)).collect()
}

fn connection(tun: &str, number: u8) -> ConnectionFilter {
    ConnectionFilter {
        tun: tun.to_owned(),
        propagate: true,
        locked: false,
        inside: vec![
            (net(&format!("169.254.{number}.1/30")), net(&format!("169.254.{number}.2/30"))),
            (net(&format!("fd99::{number}:1/126")), net(&format!("fd99::{number}:2/126"))),
        ],
        accept_in: nets(&["172.16.0.0/16", "fd50::/16"]),
        announce_out: nets(&["10.0.0.0/8", "fd00::/8"]),
        mss_v4: 1360,
        mss_v6: 1340,
        interlink: None,
    }
}

fn gateway() -> GatewayFilter {
    GatewayFilter {
        vpc_link: "vpc".to_owned(),
        vpc_subnets: nets(&["10.0.0.0/24", "192.168.7.0/24", "fd00:1::/64"]),
        vpc_routes: Vec::new(),
        locked: false,
        connections: vec![connection("tun-a", 1), connection("tun-b", 2)],
    }
}

#[test]
fn the_ruleset() {
    let mut filter = gateway();
    filter.connections[1].propagate = false;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    // Of a connection that is gone, and of one that stays.
    let present = Present {
        chains: names(&["forward", "from_tun-b", "from_tun-c", "guard_tun-c", "input"]),
        counters: names(&["drop_closed.tun-b", "drop_closed.tun-c", "forwarded_in"]),
        links: ["link_guard", "link_from"].map(|map| (map.to_owned(), names(&["tun-b", "tun-c"]))).into(),
    };
    assert_eq!(filter.render(&present).expect("good names"), include_str!("../gateway.nft"));
    let anew = filter.render_anew().expect("good names");
    assert!(anew.starts_with("table inet causeway\ndelete table inet causeway\ntable inet causeway {\n"), "{anew}");
    // A map without a name goes with its rule, before the last packet has asked it.
    assert!(!anew.contains("vmap {") && anew.contains("vmap @link_from"), "{anew}");
}

#[test]
fn an_interlink_finds_its_neighbours_and_keeps_to_its_bandwidth() {
    let mut filter = gateway();
    let plain = filter.render(&Present::default()).expect("good names");
    assert!(!plain.contains("limit rate") && !plain.contains("nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit"));
    filter.connections[0].interlink = Some(InterLinkFilter { bandwidth: 100_000_000 });
    let text = filter.render(&Present::default()).expect("good names");
    let police = "limit rate over 12500000 bytes/second burst 65536 bytes counter name drop_shaped.tun-a drop";
    assert_eq!(text.matches(police).count(), 2, "each direction:\n{text}");
    assert!(text.contains("counter drop_shaped.tun-a {") && !text.contains("drop_shaped.tun-b"));
    let found = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255";
    assert!(text.contains(&format!("{found} return")) && text.contains(&format!("{found} accept")), "{text}");
    // Closed, the neighbours still find each other: the session runs without propagation.
    filter.connections[0].propagate = false;
    let closed = filter.render(&Present::default()).expect("good names");
    assert!(closed.contains(&format!("{found} return")) && !closed.contains("limit rate"));
    filter.connections[0].interlink = Some(InterLinkFilter { bandwidth: 0 });
    filter.connections[0].propagate = true;
    assert!(!filter.render(&Present::default()).expect("good names").contains("limit rate"), "unlimited");
}

#[test]
fn a_gateway_without_connections_has_a_ruleset() {
    let filter = GatewayFilter { connections: vec![], ..gateway() };
    let text = filter.render(&Present::default()).expect("good names");
    assert!(!text.contains("element"), "{text}");
    assert!(text.contains("hook forward priority filter; policy drop;"));
}

#[test]
fn locked_is_closed() {
    let closed = |filter: &GatewayFilter, number: usize| {
        let connection = &filter.connections[number];
        let vpc = Nets::new(&filter.vpc_subnets);
        [connection.inbound(filter, &vpc), connection.outbound(filter, &vpc)]
            .iter()
            .all(|rules| rules == &[format!("counter name drop_closed.{} drop", connection.tun)])
    };
    let mut filter = gateway();
    assert!(!closed(&filter, 0));
    filter.connections[0].locked = true;
    assert!(closed(&filter, 0) && !closed(&filter, 1));
    filter.locked = true;
    assert!(closed(&filter, 1));
}

#[test]
fn without_a_policy_nothing_passes() {
    let mut filter = gateway();
    filter.connections[0].accept_in.clear();
    filter.connections[0].announce_out.clear();
    let vpc = Nets::new(&filter.vpc_subnets);
    let rules = filter.connections[0].inbound(&filter, &vpc);
    for family in ["ipv4", "ipv6"] {
        assert!(
            rules.contains(&format!("meta nfproto {family} counter name drop_destination.tun-a drop")),
            "{rules:?}"
        );
    }
}

#[test]
fn custom_routes_are_reachable_inside_the_whitelist_and_no_reason_to_distrust_a_source() {
    let filter = GatewayFilter { vpc_routes: nets(&["10.9.0.0/16", "172.30.0.0/16"]), ..gateway() };
    let text = filter.render(&Present::default()).expect("good names");
    let plain = gateway().render(&Present::default()).expect("good names");
    assert!(
        text.contains("ip daddr != { 10.0.0.0/24, 10.9.0.0/16 } counter name drop_destination.tun-a drop"),
        "{text}"
    );
    assert!(
        text.contains("ip saddr != { 10.0.0.0/24, 10.9.0.0/16 } counter name drop_out_source.tun-a drop"),
        "{text}"
    );
    let guards = |text: &str| {
        text.lines().filter(|line| line.contains("drop_source_vpc.")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(guards(&text), guards(&plain));
}

#[test]
fn names_can_not_carry_rules() {
    let mut filter = gateway();
    filter.connections[0].tun = "a\" accept".to_owned();
    assert!(filter.chains().is_err());
    let filter = GatewayFilter { vpc_link: "a b".to_owned(), ..gateway() };
    assert!(filter.chains().is_err());
}
