//! Namespaces, links, addresses, routes and neighbours against the real kernel.

mod common;

use std::net::UdpSocket;
use std::num::NonZeroU32;

use causeway_linux::route::MAIN_TABLE;
use causeway_linux::{
    AddressOptions, Applied, Error, Namespace, Netlink, NextHop, ROUTE_PROTOCOL, RouteKind, RouteSpec, VethEnd,
    announce, sysctl,
};
use common::{Room, ip, net};

#[tokio::test]
#[ignore = "needs root"]
async fn a_namespace_is_seen_by_others_and_leaves_nothing() {
    let name = "cwlx-life";
    Namespace::delete(name).expect("nothing there is fine");
    assert!(!Namespace::exists(name));
    assert!(Namespace::open(name).expect_err("none").is_not_found());
    let here = Netlink::current().expect("netlink");

    let ns = Namespace::create(name).expect("create");
    assert!(Namespace::create(name).expect_err("taken").is_exists());
    assert!(Namespace::exists(name));
    assert_eq!(Namespace::list("cwlx-life").expect("list"), [name]);
    let seen = std::process::Command::new("ip").args(["netns", "exec", name, "ip", "-br", "link"]).output();
    let seen = String::from_utf8_lossy(&seen.expect("ip").stdout).into_owned();
    assert!(seen.starts_with("lo") && seen.contains("UP"), "{seen}");

    // Sockets stay inside: the same port can be taken here and there.
    let inside = ns.run(|| UdpSocket::bind("127.0.0.1:0")).expect("run").expect("bind");
    let port = inside.local_addr().expect("address").port();
    UdpSocket::bind(("127.0.0.1", port)).expect("the port is free outside");
    let this_thread = std::fs::read_link("/proc/thread-self/ns/net").expect("a link");
    assert_eq!(this_thread, std::fs::read_link("/proc/self/ns/net").expect("a link"), "this thread stayed outside");

    let net_ns = Netlink::open(&ns).expect("netlink inside");
    here.create_veth(&VethEnd::new("cwlx-v0"), &VethEnd::new("v1").within(&ns)).await.expect("veth");
    assert_eq!(net_ns.link("v1").await.expect("the other end").kind.as_deref(), Some("veth"));
    drop((inside, net_ns));
    assert!(here.delete_link_by_name("cwlx-v0").await.expect("delete"));
    assert!(!here.delete_link_by_name("cwlx-v0").await.expect("gone already"));
    Namespace::delete(name).expect("delete");
    drop(ns);
    assert!(!Namespace::exists(name));
    assert_eq!(Namespace::list("cwlx-life").expect("list"), Vec::<String>::new());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(name), "still mounted");
    assert!(here.links().await.expect("links").iter().all(|link| !link.name.starts_with("cwlx-v")));
}

#[tokio::test]
#[ignore = "needs root"]
async fn a_stale_file_is_no_namespace_and_is_replaced() {
    let name = "cwlx-stale";
    Namespace::delete(name).expect("clear");
    std::fs::create_dir_all("/run/netns").expect("directory");
    std::fs::write("/run/netns/cwlx-stale", "").expect("a stale file");
    assert!(!Namespace::exists(name));
    assert!(Namespace::open(name).expect_err("stale").is_not_found());
    let ns = Namespace::ensure(name).expect("replaced");
    assert!(Namespace::exists(name));
    // The one that is there is opened, not made anew.
    sysctl::apply(&ns, &[sysctl::Setting::new("ipv4/ip_forward", "1")]).expect("set");
    let again = Namespace::ensure(name).expect("opened");
    assert_eq!(sysctl::read(&again, "ipv4/ip_forward").expect("read"), "1");
    Namespace::delete(name).expect("delete");
}

#[tokio::test]
#[ignore = "needs root"]
async fn dropping_the_last_handle_frees_the_namespace() {
    let here = Netlink::current().expect("netlink");
    let name = "cwlx-free";
    Namespace::delete(name).expect("clear");
    here.delete_link_by_name("cwlx-f0").await.expect("clear");
    let ns = Namespace::create(name).expect("create");
    let inside = Netlink::open(&ns).expect("netlink");
    here.create_veth(&VethEnd::new("cwlx-f0"), &VethEnd::new("f1").within(&ns)).await.expect("veth");
    inside.links().await.expect("in use");
    Namespace::delete(name).expect("delete");
    drop((ns, inside));
    for _ in 0..100 {
        if here.find_link("cwlx-f0").await.expect("look").is_none() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the namespace lives on");
}

#[tokio::test]
#[ignore = "needs root"]
async fn links_are_made_and_set() {
    let room = Room::new("links");
    let there = Room::new("links2");
    room.net.create_bridge("br0").await.expect("bridge");
    assert!(room.net.create_bridge("br0").await.expect_err("taken").is_exists());
    let mac = [2, 0, 0, 0, 0, 9];
    let end = VethEnd { mac: Some(mac), mtu: Some(1400), ..VethEnd::new("v0") };
    room.net.create_veth(&end, &VethEnd::new("v1").within(&there.ns)).await.expect("veth");
    let bridge = room.net.index("br0").await.expect("bridge");
    let port = room.net.index("v0").await.expect("port");
    room.net.set_master(port, Some(bridge)).await.expect("master");
    room.net.set_up(port, true).await.expect("up");
    room.net.set_mtu(bridge, 1380).await.expect("MTU");
    let link = room.net.link("v0").await.expect("v0");
    assert_eq!((link.mac.as_slice(), link.mtu, link.up, link.master), (mac.as_slice(), 1400, true, Some(bridge)));
    assert_eq!(room.net.link("br0").await.expect("bridge").mtu, 1380);
    room.net.set_master(port, None).await.expect("no master");
    room.net.set_up(port, false).await.expect("down");
    room.net.set_mac(port, [2, 0, 0, 0, 0, 8]).await.expect("MAC");
    let link = room.net.link("v0").await.expect("v0");
    assert_eq!((link.mac.as_slice(), link.up, link.master), ([2, 0, 0, 0, 0, 8].as_slice(), false, None));
    room.wire("d0").await;
    let wire = room.net.index("d0").await.expect("d0");
    room.net.move_link(wire, &there.ns).await.expect("move");
    assert!(matches!(room.net.link("d0").await, Err(Error::NoLink(name)) if name == "d0"));
    there.net.link("d0").await.expect("arrived");
}

#[tokio::test]
#[ignore = "needs root"]
async fn addresses_are_brought_to_what_is_desired() {
    let room = Room::new("addr");
    room.wire("d0").await;
    let d0 = room.up("d0", &["10.0.0.1/24", "10.0.0.2/24", "fd00::1/64"]).await;
    let routes = room.net.routes(MAIN_TABLE).await.expect("routes");
    assert!(routes.iter().any(|route| route.spec.destination == net("10.0.0.0/24") && route.protocol == 2));
    let desired = [net("10.0.0.2/24"), net("10.0.5.1/32"), net("fd00::2/128")];
    let options = AddressOptions { no_prefix_route: true, no_dad: true, never_chosen: false };
    for _ in 0..2 {
        room.net.apply_addresses(d0, &desired, options).await.expect("apply");
        let mut present = room.net.addresses(d0).await.expect("list");
        present.retain(|address| !address.to_string().starts_with("fe80"));
        present.sort();
        assert_eq!(present, desired);
    }
    let shown = room.sh("ip -6 addr show dev d0 to fd00::2");
    assert!(shown.contains("noprefixroute") && shown.contains("nodad") && !shown.contains("tentative"), "{shown}");
    room.net.ensure_address(d0, net("10.0.5.1/32"), options).await.expect("there already");
    room.net.remove_address(d0, net("10.0.5.1/32")).await.expect("remove");
    room.net.remove_address(d0, net("10.0.5.1/32")).await.expect("gone already");
}

fn added(count: usize) -> Applied {
    Applied { added: count, ..Applied::default() }
}

#[tokio::test]
#[ignore = "needs root"]
async fn routes_are_ours_alone_to_change() {
    let room = Room::new("route");
    room.wire("d0").await;
    room.wire("d1").await;
    let d0 = room.up("d0", &["10.0.0.1/24", "fd00::1/64"]).await;
    let d1 = room.up("d1", &["10.0.1.1/24", "fd01::1/64"]).await;
    room.sh("ip route add 10.50.0.0/16 via 10.0.0.50");
    room.sh("ip route add 10.51.0.0/16 via 10.0.0.50 proto bird");
    room.sh("ip -6 route add fd50::/16 via fd00::50");
    // Those of link-local addresses come some time after the links, one for each of the four ends.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let before = loop {
        let all = room.net.routes(MAIN_TABLE).await.expect("routes");
        if all.iter().filter(|route| route.spec.destination == net("fe80::/64")).count() == 4 {
            break all;
        }
        assert!(std::time::Instant::now() < deadline, "{all:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(before.iter().all(|route| route.protocol != ROUTE_PROTOCOL));

    let desired = vec![
        RouteSpec::unicast(net("172.16.0.0/16"), vec![NextHop::via(ip("10.0.0.9"), d0)]),
        RouteSpec {
            pref_src: Some(ip("10.0.0.1")),
            ..RouteSpec::unicast(
                net("172.17.0.0/16"),
                vec![NextHop::onlink(ip("169.254.1.2"), d0), NextHop::via(ip("10.0.1.9"), d1)],
            )
        },
        RouteSpec::unicast(net("172.18.0.0/16"), vec![NextHop::dev(d0)]),
        RouteSpec::unicast(net("172.18.0.0/16"), vec![NextHop::dev(d1)]),
        RouteSpec::unreachable(net("10.0.0.0/8")),
        RouteSpec { kind: RouteKind::Blackhole, ..RouteSpec::unreachable(net("fd00::/8")) },
        RouteSpec::unicast(net("fd20::/16"), vec![NextHop::via(ip("fd00::9"), d0)]),
        RouteSpec::unicast(net("fd21::/16"), vec![NextHop::via(ip("fd00::9"), d0), NextHop::onlink(ip("fd99::2"), d1)]),
        RouteSpec::unicast(net("fd22::/16"), vec![NextHop::dev(d1)]),
        RouteSpec::unicast(net("172.19.0.0/16"), vec![NextHop::via(ip("fd00::9"), d0)]),
        RouteSpec::unicast(net("0.0.0.0/0"), vec![NextHop::via(ip("10.0.0.254"), d0)]),
        RouteSpec::unicast(net("::/0"), vec![NextHop::via(ip("fd00::fe"), d0)]),
    ];
    assert!(matches!(
        room.net.apply_routes(ROUTE_PROTOCOL, MAIN_TABLE, &desired).await,
        Err(Error::Route { problem: "appears twice with the same metric", .. })
    ));
    let mut desired = desired;
    desired[3].metric = Some(7);
    let apply =
        async |desired: &[RouteSpec]| room.net.apply_routes(ROUTE_PROTOCOL, MAIN_TABLE, desired).await.expect("apply");
    assert_eq!(apply(&desired).await, added(desired.len()));
    assert_eq!(apply(&desired).await, Applied::default(), "the same again changes nothing");
    let shown = room.sh("ip route show 172.17.0.0/16");
    assert!(
        shown.contains("nexthop via 169.254.1.2 dev d0") && shown.contains("nexthop via 10.0.1.9 dev d1"),
        "{shown}"
    );
    assert!(shown.contains("proto 142") && shown.contains("src 10.0.0.1"), "{shown}");

    // Fewer next hops, more next hops, another kind, and one gone.
    desired[1].kind = RouteKind::Unicast { nexthops: vec![NextHop::via(ip("10.0.1.9"), d1)] };
    desired[6].kind =
        RouteKind::Unicast { nexthops: vec![NextHop::via(ip("fd00::9"), d0), NextHop::via(ip("fd01::9"), d1)] };
    desired[7].kind = RouteKind::Unreachable;
    desired[8].kind =
        RouteKind::Unicast { nexthops: vec![NextHop::via(ip("fd00::9"), d0), NextHop::via(ip("fd01::9"), d1)] };
    desired.remove(0);
    let applied = apply(&desired).await;
    assert!(
        applied.is_complete() && applied.added == 0 && applied.deleted == 1 && applied.replaced >= 4,
        "{applied:?}"
    );
    assert_eq!(apply(&desired).await, Applied::default());
    let shown = room.sh("ip -6 route show fd20::/16");
    assert!(shown.contains("via fd00::9 dev d0") && shown.contains("via fd01::9 dev d1"), "{shown}");

    // A place that somebody else holds stays theirs, and the others are put in.
    let taken = [net("10.50.0.0/16"), net("fd50::/16")];
    desired.extend(taken.map(RouteSpec::unreachable));
    desired.push(RouteSpec::unreachable(net("10.60.0.0/16")));
    // A next hop that can't be reached is named, too.
    desired.push(RouteSpec::unicast(net("10.61.0.0/16"), vec![NextHop::via(ip("192.0.2.1"), d0)]));
    let applied = apply(&desired).await;
    assert_eq!((applied.added, applied.foreign.as_slice()), (1, taken.as_slice()));
    assert_eq!(applied.failed.iter().map(|(net, _)| *net).collect::<Vec<_>>(), [net("10.61.0.0/16")]);
    assert!(!applied.is_complete());

    let applied = apply(&[]).await;
    assert_eq!(applied.deleted, desired.len() - 3);
    assert_eq!(room.net.routes(MAIN_TABLE).await.expect("routes"), before);

    // Another table, which does not exist at first.
    assert_eq!(room.net.routes(4242).await.expect("none"), vec![]);
    let elsewhere = [RouteSpec { table: 4242, ..RouteSpec::unreachable(net("10.0.0.0/8")) }];
    assert_eq!(room.net.apply_routes(ROUTE_PROTOCOL, 4242, &elsewhere).await.expect("apply"), added(1));
    assert_eq!(room.net.routes(4242).await.expect("one").len(), 1);
    room.net.delete_route(ROUTE_PROTOCOL, &elsewhere[0]).await.expect("delete");
    room.net.delete_route(ROUTE_PROTOCOL, &elsewhere[0]).await.expect("gone already");
    assert_eq!(room.net.routes(MAIN_TABLE).await.expect("routes"), before);
}

#[tokio::test]
#[ignore = "needs root"]
async fn thousands_of_routes_come_and_go() {
    let room = Room::new("many");
    room.wire("d0").await;
    let d0 = room.up("d0", &["10.0.0.1/24"]).await;
    let desired: Vec<_> = (0..5000_u32)
        .map(|number| {
            let [.., high, low] = number.to_be_bytes();
            RouteSpec::unicast(net(&format!("172.{}.{low}.0/24", 16 + high)), vec![NextHop::via(ip("10.0.0.9"), d0)])
        })
        .collect();
    let applied = room.net.apply_routes(ROUTE_PROTOCOL, MAIN_TABLE, &desired).await.expect("apply");
    assert_eq!(applied, added(5000));
    assert_eq!(room.net.apply_routes(ROUTE_PROTOCOL, MAIN_TABLE, &desired).await.expect("apply"), Applied::default());
    let applied = room.net.apply_routes(ROUTE_PROTOCOL, MAIN_TABLE, &desired[..10]).await.expect("apply");
    assert_eq!(applied, Applied { deleted: 4990, ..Applied::default() });
}

#[tokio::test]
#[ignore = "needs root"]
async fn tables_are_read_by_many_at_once_and_after_readers_that_gave_up() {
    let room = Room::new("dumps");
    let desired: Vec<RouteSpec> = (0..4000_u32)
        .map(|i| {
            let [_, _, high, low] = i.to_be_bytes();
            let kind = RouteKind::Blackhole;
            RouteSpec { kind, table: 77, ..RouteSpec::unicast(net(&format!("172.16.{high}.{low}/32")), Vec::new()) }
        })
        .collect();
    room.net.apply_routes(ROUTE_PROTOCOL, 77, &desired).await.expect("apply");

    let readers = (0..20).map(|_| {
        let net = room.net.clone();
        tokio::spawn(async move { net.routes(77).await.map(|routes| routes.len()) })
    });
    for reader in futures_util::future::join_all(readers).await {
        assert_eq!(reader.expect("no panic").expect("the table"), desired.len());
    }
    // A dump of so many routes takes several messages: whoever leaves after the first wait leaves the kernel in the middle of it.
    for _ in 0..20 {
        let given_up = tokio::time::timeout(std::time::Duration::ZERO, room.net.routes(77)).await;
        assert!(given_up.is_err(), "it was there at once, so that nothing was given up");
        assert_eq!(room.net.routes(77).await.expect("the table").len(), desired.len());
    }
}

/// A router with two gateways behind it, of which one has three equal ways and the other one.
#[tokio::test]
#[ignore = "needs root"]
async fn equal_ways_behind_equal_ways_all_carry() {
    const FLOWS: u16 = 4000;
    let router = Room::new("er");
    let wide = [net("10.9.0.0/16"), net("fd09::/32")];
    let to = |hops: &[NextHop]| wide.map(|prefix| RouteSpec::unicast(prefix, hops.to_vec()));
    let mut hops = Vec::new();
    let mut tunnels = Vec::new();
    for (number, count) in [(1, 3_u16), (2, 1)] {
        let gateway = Room::new(&format!("eg{number}"));
        let (near, far) = (format!("g{number}"), "vpc");
        router.net.create_veth(&VethEnd::new(&near), &VethEnd::new(far).within(&gateway.ns)).await.expect("veth");
        let index = router.up(&near, &["fe80::1/64"]).await;
        gateway.up(far, &["fe80::2/64"]).await;
        router.reaches(&near, "fe80::2");
        hops.push(NextHop { weight: count, ..NextHop::onlink(ip("fe80::2"), index) });
        let mut ways = Vec::new();
        for way in 0..count {
            let name = format!("t{way}");
            gateway.wire(&name).await;
            gateway.sh(&format!("ip link set {name} arp off"));
            let index = gateway.up(&name, &[]).await;
            ways.push(NextHop::onlink(ip(&format!("fe80::{}", way + 9)), index));
        }
        gateway.net.apply_routes(ROUTE_PROTOCOL, MAIN_TABLE, &to(&ways)).await.expect("routes");
        let seed = NonZeroU32::new(number).expect("not zero");
        sysctl::spread_independently(&gateway.ns, seed).expect("the setting");
        tunnels.push((gateway, count));
    }
    let both = to(&hops);
    router.net.apply_routes(ROUTE_PROTOCOL, MAIN_TABLE, &both).await.expect("routes");
    let again = router.net.apply_routes(ROUTE_PROTOCOL, MAIN_TABLE, &both).await.expect("routes");
    assert_eq!(again, Applied::default(), "the kernel shows the shares as they were asked for");
    router.up("lo", &["127.0.0.1/8", "10.0.0.1/32", "fd00::1/128"]).await;

    for (from, destination) in [("10.0.0.1", "10.9.0.1"), ("fd00::1", "fd09::1")] {
        let sent = |room: &Room, way: u16| -> u64 {
            // The last line: bytes, packets and more.
            let text = room.sh(&format!("ip -s link show t{way}"));
            let packets = text.lines().last().and_then(|line| line.split_whitespace().nth(1));
            packets.expect("a line of numbers").parse().expect("a number")
        };
        let counts = || -> Vec<u64> {
            let all = tunnels.iter().flat_map(|(room, count)| (0..*count).map(move |way| sent(room, way)));
            all.collect()
        };
        let before = counts();
        let ports: Vec<u16> = (0..FLOWS).map(|flow| 20_000 + flow).collect();
        let source = ip(from);
        let target = ip(destination);
        let flows = router.ns.run(move || {
            for port in ports {
                let socket = UdpSocket::bind((source, port)).expect("a port");
                socket.send_to(b"x", (target, 9)).expect("sent");
            }
        });
        flows.expect("the namespace");
        let shares: Vec<u64> = counts().iter().zip(&before).map(|(now, before)| now - before).collect();
        assert!(shares.iter().all(|share| *share > u64::from(FLOWS) / 8), "{destination}: {shares:?}");
    }
}

/// host - (10.0.0.0/24) - router - gateway, whose 10.0.0.5 and fd00::5 the router answers for.
#[tokio::test]
#[ignore = "needs root"]
async fn the_router_answers_for_the_gateways_behind_it() {
    let (host, router, gateway) = (Room::new("ph"), Room::new("pr"), Room::new("pg"));
    router.net.create_veth(&VethEnd::new("lan"), &VethEnd::new("eth0").within(&host.ns)).await.expect("veth");
    router.net.create_veth(&VethEnd::new("gw0"), &VethEnd::new("vpc").within(&gateway.ns)).await.expect("veth");
    host.up("eth0", &["10.0.0.10/24", "fd00::10/64"]).await;
    let lan = router.up("lan", &["10.0.0.1/24", "fd00::1/64"]).await;
    let gw0 = router.up("gw0", &["169.254.100.1/30", "fd88::1/126"]).await;
    gateway.up("lo", &["127.0.0.1/8", "10.0.0.5/32", "fd00::5/128"]).await;
    let vpc = gateway.up("vpc", &["169.254.100.2/30", "fd88::2/126"]).await;
    let to_gateway = [
        RouteSpec::unicast(net("10.0.0.5/32"), vec![NextHop::via(ip("169.254.100.2"), gw0)]),
        RouteSpec::unicast(net("fd00::5/128"), vec![NextHop::via(ip("fd88::2"), gw0)]),
    ];
    router.net.apply_routes(ROUTE_PROTOCOL, MAIN_TABLE, &to_gateway).await.expect("routes");
    let back = [
        RouteSpec::unicast(net("10.0.0.0/24"), vec![NextHop::via(ip("169.254.100.1"), vpc)]),
        RouteSpec::unicast(net("fd00::/64"), vec![NextHop::via(ip("fd88::1"), vpc)]),
    ];
    gateway.net.apply_routes(ROUTE_PROTOCOL, MAIN_TABLE, &back).await.expect("routes");

    assert!(!host.ping("10.0.0.10", "10.0.0.5") && !host.ping("fd00::10", "fd00::5"), "nobody answers yet");
    sysctl::apply(&router.ns, &sysctl::proxy_neighbours("lan").expect("a name")).expect("settings");
    let proxied = [ip("10.0.0.5"), ip("fd00::5")];
    for _ in 0..2 {
        router.net.apply_proxies(lan, &proxied).await.expect("proxies");
        assert_eq!(router.net.proxies(lan).await.expect("list"), proxied);
    }
    assert_eq!(router.net.proxies(gw0).await.expect("list"), Vec::<std::net::IpAddr>::new());
    host.sh("ip neigh flush dev eth0");
    // ARP is answered, and neighbour discovery.
    host.reaches("10.0.0.10", "10.0.0.5");
    host.reaches("fd00::10", "fd00::5");

    router.net.apply_proxies(lan, &proxied[..1]).await.expect("proxies");
    assert_eq!(router.net.proxies(lan).await.expect("list"), proxied[..1]);
    router.net.remove_proxy(lan, proxied[0]).await.expect("remove");
    router.net.remove_proxy(lan, proxied[0]).await.expect("gone already");
    host.sh("ip neigh flush dev eth0");
    assert!(!host.ping("10.0.0.10", "10.0.0.5") && !host.ping("fd00::10", "fd00::5"), "nobody answers any more");
}

#[tokio::test]
#[ignore = "needs root"]
async fn an_announcement_moves_the_neighbours() {
    let (host, router) = (Room::new("ah"), Room::new("ar"));
    router.net.create_veth(&VethEnd::new("lan"), &VethEnd::new("eth0").within(&host.ns)).await.expect("veth");
    host.up("eth0", &["10.0.0.10/24", "fd00::10/64"]).await;
    router.up("lan", &["10.0.0.1/24", "fd00::1/64"]).await;
    // What the host learned from the node that owned the addresses before.
    host.sh("ip neigh replace 10.0.0.1 dev eth0 lladdr 02:00:00:00:00:99 nud stale");
    host.sh("ip neigh replace fd00::1 dev eth0 lladdr 02:00:00:00:00:99 nud stale");
    let capture = host.capture("eth0", "(arp and arp[24:4]==0x0a000001) or (icmp6 and ip6[40]==136)", 3);
    let lan = router.net.link("lan").await.expect("the link");
    announce(&router.ns, &lan, &[ip("10.0.0.1"), ip("fd00::1")]).expect("announce");
    let seen = capture.finish();
    let mac = lan.mac.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":");
    assert!(seen.contains("Request who-has 10.0.0.1") && seen.contains("tell 10.0.0.1"), "{seen}");
    assert!(seen.contains(&format!("Reply 10.0.0.1 is-at {mac}")), "{seen}");
    assert!(seen.contains("tgt is fd00::1, Flags [router, override]"), "{seen}");
    assert!(seen.contains("[icmp6 sum ok]"), "{seen}");
    for address in ["10.0.0.1", "fd00::1"] {
        let neighbour = host.sh(&format!("ip neigh show {address} dev eth0"));
        assert!(neighbour.contains(&mac), "{neighbour}");
    }
}
