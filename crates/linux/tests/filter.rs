//! The gateway's packet filter against real packets: every clause of system.md §2.7, and the MSS.
//!
//! ```text
//! host 10.0.0.10 ── vpc [gateway] tun-a ── a: 172.16.0.10, and addresses it has no right to
//!      10.0.1.10                  tun-b ── b: 172.18.0.10
//! ```
//! The tunnels are veth pairs without ARP and with equal link-layer addresses: point-to-point links, as a TUN is.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use causeway_linux::filter::{self, AclFilter, AclTable, ConnectionFilter, GatewayFilter, NetworkFilter, RouterFilter};
use causeway_linux::route::MAIN_TABLE;
use causeway_linux::{Error, NextHop, ROUTE_PROTOCOL, RouteSpec, VethEnd};
use causeway_model::acl::{Acl, AclAction, AclProtocol, AclRule, PortRange};
use common::{Room, ip, net};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// What a dropped SYN ends in; a refused one would be answered.
const TIMED_OUT: std::io::ErrorKind = std::io::ErrorKind::TimedOut;

struct Site {
    host: Room,
    gateway: Room,
    a: Room,
    b: Room,
    filter: GatewayFilter,
}

impl Site {
    /// Namespaces are named after `name`, so that tests run side by side.
    async fn new(name: &str) -> Self {
        let room = |part: &str| Room::new(&format!("{name}{part}"));
        let (host, gateway, a, b) = (room("h"), room("g"), room("a"), room("b"));
        gateway.net.create_veth(&VethEnd::new("vpc"), &VethEnd::new("eth0").within(&host.ns)).await.expect("veth");
        gateway.up("vpc", &["10.0.0.1/24", "10.0.1.1/24", "fd00:1::1/64", "fd00:2::1/64"]).await;
        let eth0 = host.up("eth0", &["10.0.0.10/24", "10.0.1.10/24", "fd00:1::10/64", "fd00:2::10/64"]).await;
        host.net
            .apply_routes(
                ROUTE_PROTOCOL,
                MAIN_TABLE,
                &[
                    RouteSpec::unicast(net("0.0.0.0/0"), vec![NextHop::via(ip("10.0.0.1"), eth0)]),
                    RouteSpec::unicast(net("::/0"), vec![NextHop::via(ip("fd00:1::1"), eth0)]),
                ],
            )
            .await
            .expect("routes");
        let mut routes = Vec::new();
        for (number, tun, customer) in [(1, "tun-a", &a), (2, "tun-b", &b)] {
            let mac = Some([2, 0, 0, 0, 0, number]);
            let end = VethEnd { mac, ..VethEnd::new(tun) };
            let peer = VethEnd { mac, ..VethEnd::new("tun").within(&customer.ns) };
            gateway.net.create_veth(&end, &peer).await.expect("veth");
            gateway.sh(&format!("ip link set {tun} arp off"));
            customer.sh("ip link set tun arp off");
            let (net_v4, net_v6) = (format!("169.254.{number}"), format!("fd99:{number}:"));
            let dev = gateway.up(tun, &[&format!("{net_v4}.1/30"), &format!("{net_v6}:1/126")]).await;
            let back = customer.up("tun", &[&format!("{net_v4}.2/30"), &format!("{net_v6}:2/126")]).await;
            let vpc = ["10.0.0.0/8", "fd00::/8"].map(net);
            let routers = [ip(&format!("{net_v4}.1")), ip(&format!("{net_v6}:1"))];
            let mut all: Vec<_> = vpc
                .into_iter()
                .zip(routers)
                .map(|(to, via)| RouteSpec::unicast(to, vec![NextHop::via(via, back)]))
                .collect();
            // Everything else goes that way, too: what the gateway lets pass is not to depend on the customer.
            all.push(RouteSpec::unicast(net("0.0.0.0/0"), vec![NextHop::via(routers[0], back)]));
            customer.net.apply_routes(ROUTE_PROTOCOL, MAIN_TABLE, &all).await.expect("routes");
            let remote = match number {
                1 => ["172.16.0.0/15", "fd50::/15"],
                _ => ["172.18.0.0/16", "fd52::/16"],
            };
            let peers = [ip(&format!("{net_v4}.2")), ip(&format!("{net_v6}:2"))];
            routes.extend(
                remote
                    .into_iter()
                    .zip(peers)
                    .map(|(to, via)| RouteSpec::unicast(net(to), vec![NextHop::via(via, dev)])),
            );
        }
        gateway.net.apply_routes(ROUTE_PROTOCOL, MAIN_TABLE, &routes).await.expect("routes");
        let others = ["172.17.0.10/32", "10.0.0.77/32", "169.254.2.2/32", "169.254.77.7/32"];
        let others_v6 = ["fd51::10/128", "fd00:1::77/128", "fd99:2::2/128"];
        a.up("lo", &[&["172.16.0.10/32", "fd50::10/128"], &others[..], &others_v6[..]].concat()).await;
        b.up("lo", &["172.18.0.10/32", "172.16.0.10/32", "fd52::10/128"]).await;
        // A place in the customer's network that its router reports as unreachable.
        a.sh("ip route add unreachable 172.16.9.9");
        a.sh("ip -6 route add unreachable fd50::99");

        let connection = |tun: &str, number: u8, accept: [&str; 2]| ConnectionFilter {
            tun: tun.to_owned(),
            propagate: true,
            locked: false,
            inside: vec![
                (net(&format!("169.254.{number}.1/30")), net(&format!("169.254.{number}.2/30"))),
                (net(&format!("fd99:{number}::1/126")), net(&format!("fd99:{number}::2/126"))),
            ],
            accept_in: accept.map(net).to_vec(),
            announce_out: vec![net("10.0.0.0/24"), net("fd00:1::/64"), net("192.168.0.0/16")],
            mss_v4: 1300,
            mss_v6: 1280,
            interlink: None,
        };
        let filter = GatewayFilter {
            vpc_link: "vpc".to_owned(),
            vpc_subnets: ["10.0.0.0/24", "10.0.1.0/24", "fd00:1::/64", "fd00:2::/64"].map(net).to_vec(),
            vpc_routes: Vec::new(),
            locked: false,
            connections: vec![
                connection("tun-a", 1, ["172.16.0.0/16", "fd50::/16"]),
                connection("tun-b", 2, ["172.16.0.0/14", "fd52::/16"]),
            ],
        };
        let site = Self { host, gateway, a, b, filter };
        for (from, to) in [("10.0.0.10", ["172.16.0.10", "172.18.0.10"]), ("fd00:1::10", ["fd50::10", "fd52::10"])] {
            for to in to {
                site.host.reaches(from, to);
            }
        }
        site.apply().await;
        // Until the kernels have said what multicast groups they are in.
        tokio::time::sleep(Duration::from_millis(300)).await;
        site
    }

    async fn apply(&self) {
        filter::apply(&self.gateway.ns, &self.filter).await.expect("apply");
    }

    async fn counters(&self) -> BTreeMap<String, u64> {
        filter::read_counters(&self.gateway.ns).await.expect("counters")
    }

    /// The counters that moved while `act` ran.
    async fn moved<T>(&self, act: impl FnOnce() -> T) -> (T, BTreeMap<String, u64>) {
        let before = self.counters().await;
        let result = act();
        let mut after = self.counters().await;
        for (name, count) in before {
            let now = after.get_mut(&name).expect("counters stay");
            *now -= count;
        }
        after.retain(|_, count| *count > 0);
        (result, after)
    }

    /// Expects one echo to be dropped for `reason`.
    async fn dropped(&self, from: &Room, source: &str, to: &str, reason: &str) {
        let (answered, moved) = self.moved(|| from.ping(source, to)).await;
        assert!(!answered, "{source} -> {to}");
        assert_eq!(moved, BTreeMap::from([(reason.to_owned(), 1)]), "{source} -> {to}");
    }

    /// Expects one echo to be answered.
    async fn passed(&self, from: &Room, source: &str, to: &str) {
        let (answered, moved) = self.moved(|| from.ping(source, to)).await;
        assert!(answered, "{source} -> {to}: {moved:?}");
    }
}

#[tokio::test]
#[ignore = "needs root"]
async fn what_the_policy_allows_passes_and_all_else_is_counted() {
    let site = Site::new("pol").await;
    let (_, moved) = site.moved(|| site.a.ping("172.16.0.10", "10.0.0.10")).await;
    assert_eq!(moved, BTreeMap::from([("forwarded_in".to_owned(), 1), ("forwarded_out".to_owned(), 1)]));
    site.passed(&site.host, "10.0.0.10", "172.16.0.10").await;
    site.passed(&site.a, "fd50::10", "fd00:1::10").await;
    site.passed(&site.host, "fd00:1::10", "fd50::10").await;

    // Sources outside `prefix_filter_in`, of the VPC, of another connection's interconnection, and of nobody.
    site.dropped(&site.a, "172.17.0.10", "10.0.0.10", "drop_source_policy").await;
    site.dropped(&site.a, "fd51::10", "fd00:1::10", "drop_source_policy").await;
    site.dropped(&site.a, "10.0.0.77", "10.0.0.10", "drop_source_vpc").await;
    site.dropped(&site.a, "fd00:1::77", "fd00:1::10", "drop_source_vpc").await;
    site.dropped(&site.a, "169.254.2.2", "10.0.0.10", "drop_source_interconnection").await;
    site.dropped(&site.a, "fd99:2::2", "fd00:1::10", "drop_source_interconnection").await;
    site.dropped(&site.a, "169.254.77.7", "10.0.0.10", "drop_source_martian").await;
    // The interconnection is for our inside address only.
    site.dropped(&site.a, "169.254.1.2", "10.0.0.10", "drop_source_martian").await;
    site.dropped(&site.a, "fd99:1::2", "fd00:1::10", "drop_source_policy").await;
    // A forged source earns nobody an ICMP error, even if there is no way to the destination.
    site.dropped(&site.a, "10.0.0.77", "203.0.113.1", "drop_source_vpc").await;

    // Destinations of the VPC outside `prefix_filter_out`, inside it but not of the VPC, and other tunnels.
    site.dropped(&site.a, "172.16.0.10", "10.0.1.10", "drop_destination").await;
    site.dropped(&site.a, "fd50::10", "fd00:2::10", "drop_destination").await;
    site.dropped(&site.a, "172.16.0.10", "172.18.0.10", "drop_tunnel_to_tunnel").await;
    site.dropped(&site.b, "172.18.0.10", "172.16.1.1", "drop_tunnel_to_tunnel").await;

    // The other direction.
    site.dropped(&site.host, "10.0.0.10", "172.17.0.10", "drop_out_destination").await;
    site.dropped(&site.host, "fd00:1::10", "fd51::10", "drop_out_destination").await;
    site.dropped(&site.host, "10.0.1.10", "172.16.0.10", "drop_out_source").await;
    site.dropped(&site.host, "fd00:2::10", "fd50::10", "drop_out_source").await;

    // A flow whose directions take different tunnels: in by `b`, whose policy allows the source, out by `a`.
    let (answered, moved) = site.moved(|| site.b.ping("172.16.0.10", "10.0.0.10")).await;
    assert!(!answered, "the answer went to the other site");
    assert_eq!(moved, BTreeMap::from([("forwarded_in".to_owned(), 1), ("forwarded_out".to_owned(), 1)]));
}

#[tokio::test]
#[ignore = "needs root"]
async fn the_gateway_itself_talks_to_its_peer_and_shows_itself_to_the_vpc() {
    let site = Site::new("inp").await;
    site.passed(&site.a, "169.254.1.2", "169.254.1.1").await;
    site.passed(&site.a, "fd99:1::2", "fd99:1::1").await;
    site.dropped(&site.a, "172.16.0.10", "169.254.1.1", "drop_input_tunnel").await;
    site.dropped(&site.a, "172.16.0.10", "10.0.0.1", "drop_input_tunnel").await;
    site.dropped(&site.a, "169.254.1.2", "10.0.0.1", "drop_input_tunnel").await;
    site.passed(&site.host, "10.0.0.10", "10.0.0.1").await;
    site.passed(&site.host, "fd00:1::10", "fd00:1::1").await;

    let listen = |room: &Room, port: u16| -> TcpListener {
        room.ns.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).expect("run").expect("bind")
    };
    let connect = |room: &Room, to: &str, port: u16| -> std::io::Result<TcpStream> {
        let to = SocketAddr::new(ip(to), port);
        room.ns.run(|| TcpStream::connect_timeout(&to, Duration::from_millis(400))).expect("run")
    };
    let _gateway = [listen(&site.gateway, 179), listen(&site.gateway, 22)];
    // Port 179 as a source opens no other port.
    let from_179 = site.a.ns.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(ip("169.254.1.2"), 179).into())?;
        socket.connect_timeout(&SocketAddr::new(ip("169.254.1.1"), 22).into(), Duration::from_millis(400))
    });
    let error = from_179.expect("run").expect_err("dropped");
    assert_eq!(error.kind(), TIMED_OUT, "{error}");
    let _peer = listen(&site.a, 179);
    connect(&site.a, "169.254.1.1", 179).expect("BGP, opened by the peer");
    connect(&site.a, "fd99:1::1", 179).expect("BGP over IPv6");
    connect(&site.gateway, "169.254.1.2", 179).expect("BGP, opened by us");
    connect(&site.a, "169.254.1.1", 22)
        .map_or_else(|error| assert_eq!(error.kind(), TIMED_OUT), |_| panic!("nothing else"));
    connect(&site.host, "10.0.0.1", 179)
        .map_or_else(|error| assert_eq!(error.kind(), TIMED_OUT), |_| panic!("no BGP with the VPC"));
    // BFD comes in, other datagrams do not.
    for (port, comes) in [(3784, true), (3785, true), (3786, false)] {
        let bind = |room: &Room, address: &str, port: u16| {
            room.ns.run(|| UdpSocket::bind((ip(address), port))).expect("run").expect("bind")
        };
        let (ours, theirs) = (bind(&site.gateway, "169.254.1.1", port), bind(&site.a, "169.254.1.2", 0));
        ours.set_read_timeout(Some(Duration::from_millis(300))).expect("timeout");
        theirs.send_to(b"x", ("169.254.1.1", port)).expect("send");
        assert_eq!(ours.recv(&mut [0; 1]).is_ok(), comes, "port {port}");
    }
    let counters = site.counters().await;
    assert!(counters["drop_input_tunnel"] >= 5 && counters["drop_input_vpc"] >= 1, "{counters:?}");
}

#[tokio::test]
#[ignore = "needs root"]
async fn icmp_errors_pass_only_with_a_packet_of_the_vpc_in_them() {
    let site = Site::new("err").await;
    // Real ones, from the customer's router with its inside address.
    let (output, moved) = site.moved(|| site.host.output("ping -n -c1 -W1 -I 10.0.0.10 172.16.9.9")).await;
    assert!(output.contains("From 169.254.1.2") && output.contains("Unreachable"), "{output}");
    assert_eq!(moved.get("errors_in"), Some(&1), "{moved:?}");
    let (output, moved) = site.moved(|| site.host.output("ping -n -c1 -W1 -I fd00:1::10 fd50::99")).await;
    assert!(output.contains("From fd99:1::2") && output.contains("nreachable"), "{output}");
    assert_eq!(moved.get("errors_in"), Some(&1), "{moved:?}");
    // And from the VPC: a port that nobody listens on. The error quotes a packet to the VPC.
    let refused = |from: &str, to: &str| {
        let (from, to) = (SocketAddr::new(ip(from), 0), SocketAddr::new(ip(to), 9));
        site.a.ns.run(move || -> std::io::Result<usize> {
            let socket = UdpSocket::bind(from)?;
            socket.connect(to)?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            socket.send(b"x")?;
            socket.recv(&mut [0; 1])
        })
    };
    for (from, to) in [("172.16.0.10", "10.0.0.10"), ("fd50::10", "fd00:1::10")] {
        let (result, moved) = site.moved(|| refused(from, to).expect("run")).await;
        assert_eq!(result.expect_err("refused").kind(), std::io::ErrorKind::ConnectionRefused, "{moved:?}");
        assert_eq!(moved.get("errors_out"), Some(&1), "{moved:?}");
    }

    // Forged ones, from a source that no policy lists.
    for (source, host, ours, theirs) in [
        ("172.17.0.10", "10.0.0.10", "10.0.1.10", "192.0.2.1"),
        ("fd51::10", "fd00:1::10", "fd00:2::10", "2001:db8::1"),
    ] {
        let send = |quoted: &str| {
            let (source, host) = (ip(source), ip(host));
            let message = icmp_error(source, host, ip(quoted));
            site.a.ns.run(|| raw_icmp(source, host, &message)).expect("run").expect("send");
        };
        let (_, moved) = site.moved(|| send(ours)).await;
        assert_eq!(moved, BTreeMap::from([("errors_in".to_owned(), 1)]));
        let (_, moved) = site.moved(|| send(theirs)).await;
        assert_eq!(moved, BTreeMap::from([("drop_source_policy".to_owned(), 1)]));
    }
    // Quoting does not help who pretends to be of the VPC.
    let message = icmp_error(ip("10.0.0.77"), ip("10.0.0.10"), ip("10.0.0.10"));
    let send = || site.a.ns.run(|| raw_icmp(ip("10.0.0.77"), ip("10.0.0.10"), &message)).expect("run").expect("send");
    let (_, moved) = site.moved(send).await;
    assert_eq!(moved, BTreeMap::from([("drop_source_vpc".to_owned(), 1)]));
    // An echo request with the same octets behind its header is no error.
    let mut echo = icmp_error(ip("172.17.0.10"), ip("10.0.0.10"), ip("10.0.0.10"));
    echo[0] = 8;
    let send = || site.a.ns.run(|| raw_icmp(ip("172.17.0.10"), ip("10.0.0.10"), &echo)).expect("run").expect("send");
    let (_, moved) = site.moved(send).await;
    assert_eq!(moved, BTreeMap::from([("drop_source_policy".to_owned(), 1)]));
}

#[tokio::test]
#[ignore = "needs root"]
async fn without_propagation_and_when_locked_only_the_interconnection_lives() {
    let mut site = Site::new("off").await;
    site.passed(&site.a, "172.16.0.10", "10.0.0.10").await;
    let forwarded = site.counters().await["forwarded_in"];
    for close in [
        (|filter: &mut GatewayFilter, on| filter.connections[0].propagate = !on) as fn(&mut GatewayFilter, bool),
        |filter, on| filter.connections[0].locked = on,
        |filter, on| filter.locked = on,
    ] {
        close(&mut site.filter, true);
        site.apply().await;
        site.dropped(&site.a, "172.16.0.10", "10.0.0.10", "drop_closed").await;
        site.dropped(&site.host, "10.0.0.10", "172.16.0.10", "drop_closed").await;
        site.dropped(&site.a, "fd50::10", "fd00:1::10", "drop_closed").await;
        site.dropped(&site.a, "169.254.1.2", "10.0.0.10", "drop_closed").await;
        site.passed(&site.a, "169.254.1.2", "169.254.1.1").await;
        site.passed(&site.a, "fd99:1::2", "fd99:1::1").await;
        // The other connection does not care, unless the whole gateway is locked.
        let other = site.b.ping("172.18.0.10", "10.0.0.10");
        assert_eq!(other, !site.filter.locked);
        close(&mut site.filter, false);
        site.apply().await;
        site.passed(&site.a, "172.16.0.10", "10.0.0.10").await;
    }
    let counters = site.counters().await;
    assert!(counters["forwarded_in"] > forwarded && counters["drop_closed"] >= 12, "counters go on: {counters:?}");

    // A ruleset that is refused leaves the old one in force.
    let good = site.gateway.sh("nft list ruleset");
    site.filter.vpc_link = "not a name".to_owned();
    assert!(matches!(filter::apply(&site.gateway.ns, &site.filter).await, Err(Error::Name { .. })));
    assert_eq!(site.gateway.sh("nft list ruleset"), good);
    filter::remove(&site.gateway.ns).await.expect("remove");
    assert!(!site.gateway.sh("nft list ruleset").contains("causeway"));
    assert!(site.counters().await.is_empty());
    filter::remove(&site.gateway.ns).await.expect("gone already");
}

#[tokio::test]
#[ignore = "needs root"]
async fn tcp_segments_are_clamped_on_the_wire_in_both_directions() {
    let site = Site::new("mss").await;
    for (client, server, from, to, mss) in [
        (&site.a, &site.host, "172.16.0.10", "10.0.0.10", 1300),
        (&site.host, &site.a, "10.0.0.10", "172.16.0.10", 1300),
        (&site.a, &site.host, "fd50::10", "fd00:1::10", 1280),
        (&site.host, &site.a, "fd00:1::10", "fd50::10", 1280),
    ] {
        let link = if client.ns.name() == site.host.ns.name() { "eth0" } else { "tun" };
        let server_link = if link == "tun" { "eth0" } else { "tun" };
        let listener = server.ns.run(|| TcpListener::bind((ip(to), 0))).expect("run").expect("bind");
        let port = listener.local_addr().expect("address").port();
        // The SYN where it arrives, and the SYN-ACK where that arrives.
        let syn = server.capture(server_link, &format!("dst port {port}"), 1);
        let syn_ack = client.capture(link, &format!("src port {port}"), 1);
        let mut stream = client
            .ns
            .run(|| {
                let socket = Socket::new(Domain::for_address(SocketAddr::new(ip(from), 0)), Type::STREAM, None)?;
                socket.bind(&SocketAddr::new(ip(from), 0).into())?;
                socket.connect(&SocketAddr::new(ip(to), port).into())?;
                Ok::<TcpStream, std::io::Error>(socket.into())
            })
            .expect("run")
            .expect("connect");
        let (mut accepted, _) = listener.accept().expect("accept");
        accepted.write_all(b"x").expect("write");
        stream.read_exact(&mut [0]).expect("read");
        let (syn, syn_ack) = (syn.finish(), syn_ack.finish());
        assert!(syn.contains("Flags [S]") && syn.contains(&format!("mss {mss},")), "{syn}");
        assert!(syn_ack.contains("Flags [S.]") && syn_ack.contains(&format!("mss {mss},")), "{syn_ack}");
    }
    // Smaller ones stay as they are.
    site.a.sh("ip route change 10.0.0.0/8 via 169.254.1.1 dev tun advmss 1000 proto 142");
    let listener = site.host.ns.run(|| TcpListener::bind("10.0.0.10:0")).expect("run").expect("bind");
    let to = listener.local_addr().expect("address");
    let syn = site.host.capture("eth0", &format!("dst port {}", to.port()), 1);
    let socket = site.a.ns.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(ip("172.16.0.10"), 0).into())?;
        socket.connect(&to.into())
    });
    socket.expect("run").expect("connect");
    let syn = syn.finish();
    assert!(syn.contains("mss 1000,"), "{syn}");
}

#[tokio::test]
#[ignore = "needs root"]
async fn the_router_forwards_all_but_forgeries() {
    let (one, router, two) = (Room::new("r1"), Room::new("rr"), Room::new("r2"));
    router.net.create_veth(&VethEnd::new("pn-1"), &VethEnd::new("eth0").within(&one.ns)).await.expect("veth");
    router.net.create_veth(&VethEnd::new("pn-2"), &VethEnd::new("eth0").within(&two.ns)).await.expect("veth");
    router.up("pn-1", &["10.0.1.1/24"]).await;
    router.up("pn-2", &["10.0.2.1/24"]).await;
    one.up("eth0", &["10.0.1.10/24"]).await;
    one.up("lo", &["10.0.2.77/32", "192.0.2.7/32"]).await;
    two.up("eth0", &["10.0.2.10/24"]).await;
    one.sh("ip route add default via 10.0.1.1");
    two.sh("ip route add default via 10.0.2.1");
    router.sh("ip route add 192.0.2.0/24 via 10.0.1.10");
    let network = |link: &str, subnet: &str| NetworkFilter { link: link.to_owned(), subnets: vec![net(subnet)] };
    let networks = vec![network("pn-1", "10.0.1.0/24"), network("pn-2", "10.0.2.0/24")];
    let ruleset = RouterFilter { networks, gateway_links: "g-".to_owned() };
    filter::apply(&router.ns, &ruleset).await.expect("apply");
    one.reaches("10.0.1.10", "10.0.2.10");
    one.reaches("10.0.1.10", "10.0.1.1");
    // A network behind a host.
    one.reaches("192.0.2.7", "10.0.2.10");
    assert!(!one.ping("10.0.2.77", "10.0.2.10"), "the other network's address");
    let counters = filter::read_counters(&router.ns).await.expect("counters");
    assert_eq!(counters["drop_source_network"], 1, "{counters:?}");

    // The sites behind two gateways, and a network of the VPC: no transit between the former.
    let sites = [(Room::new("ra"), "g-1", "10.1.1"), (Room::new("rb"), "g-2", "10.1.2")];
    for (site, link, net) in &sites {
        router.net.create_veth(&VethEnd::new(link), &VethEnd::new("eth0").within(&site.ns)).await.expect("veth");
        router.up(link, &[&format!("{net}.1/24")]).await;
        site.up("eth0", &[&format!("{net}.10/24")]).await;
        site.sh(&format!("ip route add default via {net}.1"));
        site.reaches(format!("{net}.10"), "10.0.2.10");
        two.reaches("10.0.2.10", format!("{net}.10"));
    }
    assert!(!sites[0].0.ping("10.1.1.10", "10.1.2.10"));
    assert!(!sites[1].0.ping("10.1.2.10", "10.1.1.10"));
    let counters = filter::read_counters(&router.ns).await.expect("counters");
    assert_eq!(counters["drop_gateway_to_gateway"], 2, "{counters:?}");
}

/// What either ruleset lets through passes while one takes the other's place, and is counted; what a ruleset does not name any more is gone.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn no_packet_is_lost_while_connections_come_and_go() {
    let mut site = Site::new("swap").await;
    let receiver = site.a.ns.run(|| UdpSocket::bind("172.16.0.10:7")).expect("run").expect("bind");
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, 8 << 20).expect("a larger buffer");
    receiver.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let sender = site.host.ns.run(|| UdpSocket::bind("10.0.0.10:0")).expect("run").expect("bind");
    let before = site.counters().await["forwarded_out"];
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let sending = std::thread::spawn(move || {
        let mut sent = 0_u64;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            sender.send_to(&sent.to_be_bytes(), "172.16.0.10:7").expect("send");
            sent += 1;
            std::thread::sleep(Duration::from_micros(50));
        }
        // One that says that it was the last.
        sender.send_to(&u64::MAX.to_be_bytes(), "172.16.0.10:7").expect("send");
        sent
    });
    let receiving = std::thread::spawn(move || {
        let (mut received, mut buffer) = (Vec::new(), [0; 8]);
        loop {
            receiver.recv(&mut buffer).expect("a datagram");
            match u64::from_be_bytes(buffer) {
                u64::MAX => return received,
                number => received.push(number),
            }
        }
    });
    let second = site.filter.connections.pop().expect("the second connection");
    for _ in 0..120 {
        site.apply().await;
        site.filter.connections.push(second.clone());
        site.apply().await;
        site.filter.connections.pop();
    }
    site.apply().await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (sent, received) = (sending.join().expect("the sender"), receiving.join().expect("the receiver"));
    let counters = site.counters().await;
    let arrived: BTreeSet<u64> = received.iter().copied().collect();
    let missing: Vec<u64> = (0..sent).filter(|number| !arrived.contains(number)).collect();
    assert!(missing.is_empty(), "of {sent} datagrams these are missing: {missing:?}; {counters:?}");
    assert!(received.into_iter().eq(0..sent), "in their order, each once");
    assert_eq!(counters["forwarded_out"] - before, sent + 1, "no replacement forgets what it counted");
    let listed = site.gateway.sh("nft list table inet causeway");
    assert!(listed.contains("from_tun-a") && !listed.contains("tun-b"), "{listed}");

    // What somebody else put into the table holds on to a chain: the table is made anew.
    site.gateway.sh("nft add map inet causeway held { type ifname : verdict; }");
    site.gateway.sh("nft add element inet causeway held { \"x\" : jump guard_tun-a }");
    site.filter.connections = vec![second];
    site.apply().await;
    let listed = site.gateway.sh("nft list table inet causeway");
    assert!(listed.contains("from_tun-b") && !listed.contains("tun-a") && !listed.contains("held"), "{listed}");
}

/// Both lists let port 7 pass and nothing else, each by a rule behind hundreds of its own: whoever met half a list, none, or a mixture would lose a
/// datagram to port 7, or get one to port 9.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root"]
async fn no_packet_meets_half_an_access_list() {
    let (one, router, two) = (Room::new("al1"), Room::new("alr"), Room::new("al2"));
    router.net.create_veth(&VethEnd::new("pn-1"), &VethEnd::new("eth0").within(&one.ns)).await.expect("veth");
    router.net.create_veth(&VethEnd::new("pn-2"), &VethEnd::new("eth0").within(&two.ns)).await.expect("veth");
    router.up("pn-1", &["10.0.1.1/24"]).await;
    router.up("pn-2", &["10.0.2.1/24"]).await;
    one.up("eth0", &["10.0.1.10/24"]).await;
    two.up("eth0", &["10.0.2.10/24"]).await;
    one.sh("ip route add default via 10.0.1.1");
    two.sh("ip route add default via 10.0.2.1");
    let rule = |source: &str, port: u16, action| AclRule {
        protocol: AclProtocol::Udp,
        source: net(source),
        source_ports: PortRange::ALL,
        destination: net("10.0.2.0/24"),
        destination_ports: PortRange { low: port, high: port },
        action,
        description: None,
    };
    // In one list the accepting rule stands in the middle, in the other at the end; what is around it is different in each.
    let lists = [(250, 500), (500, 500)].map(|(place, count): (usize, u16)| {
        let number = |index: u16| rule(&format!("198.18.{}.{}/32", place % 250, index % 250), index, AclAction::Accept);
        let mut rules: Vec<AclRule> = (0..count).map(number).collect();
        rules.insert(place, rule("10.0.1.0/24", 7, AclAction::Accept));
        let ipv4 = Acl { default_action: AclAction::Drop, rules };
        AclFilter { ipv4, ..AclFilter::default() }
    });
    one.reaches("10.0.1.10", "10.0.2.10");
    let mut table = AclTable::create(router.ns.clone()).await.expect("a table");
    table.apply(&lists[0]).await.expect("the first list");

    let receive = |port: u16| {
        let socket = two.ns.run(|| UdpSocket::bind(("10.0.2.10", port))).expect("run").expect("bind");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        // A receiver that waits for its processor is no reason to lose a datagram.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20).expect("a larger buffer");
        socket
    };
    let (open, closed) = (receive(7), receive(9));
    let sender = one.ns.run(|| UdpSocket::bind("10.0.1.10:0")).expect("run").expect("bind");
    // Neighbours are found.
    sender.send_to(&[0; 8], "10.0.2.10:7").expect("send");
    open.recv(&mut [0; 8]).expect("the way is there");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let all_sent = std::sync::Arc::clone(&ended);
    let sending = std::thread::spawn(move || {
        let mut sent = 0_u64;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            for port in [7, 9] {
                sender.send_to(&sent.to_be_bytes(), ("10.0.2.10", port)).expect("send");
            }
            sent += 1;
            // Slow enough for the receiver, fast enough that every replacement meets many.
            std::thread::sleep(Duration::from_micros(100));
        }
        sent
    });
    let receiving = std::thread::spawn(move || {
        let (mut received, mut buffer) = (0_u64, [0; 8]);
        loop {
            // A silence is the end only if it began after the last one was sent.
            let last = all_sent.load(std::sync::atomic::Ordering::Acquire);
            if open.recv(&mut buffer).is_ok() {
                assert_eq!(u64::from_be_bytes(buffer), received, "a datagram is missing");
                received += 1;
            } else if last {
                return received;
            }
        }
    });
    for round in 1..=40 {
        table.apply(&lists[round % 2]).await.expect("another list");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let sent = sending.join().expect("the sender");
    ended.store(true, std::sync::atomic::Ordering::Release);
    assert_eq!(receiving.join().expect("the receiver"), sent, "each datagram that either list admits arrived");
    assert!(sent > 40, "{sent} datagrams");
    assert!(closed.recv(&mut [0; 8]).is_err(), "what no list admits never passed");
}

/// An IPv6 datagram of UDP behind a destination options header of `options` octets, from fd01::10 to fd02::10, in two fragments of which the first
/// has `first` octets.
fn in_two(port: u16, options: u8, first: usize, identification: u32) -> [Vec<u8>; 2] {
    let addresses =
        ["fd01::10", "fd02::10"].map(|text| text.parse::<Ipv6Addr>().expect("an address").octets()).concat();
    let length = 24_u16;
    let mut udp = [[0x30, 0x39], port.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    udp.extend(b"sixteen octets..");
    let pseudo = [addresses.as_slice(), &[0, 0], &length.to_be_bytes(), &[0, 0, 0, 17], &udp].concat();
    let sum = pseudo.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    udp[6..8].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    // PadN over all the rest (RFC 8200 §4.2).
    let mut whole = vec![17, options / 8 - 1, 1, options - 4];
    whole.resize(usize::from(options), 0);
    whole.extend(udp);
    let (head, tail) = whole.split_at(first);
    [(head, 0_u16, 1_u16), (tail, first as u16, 0)].map(|(part, offset, more)| {
        let payload = (8 + part.len() as u16).to_be_bytes();
        [
            &[0x60, 0, 0, 0, payload[0], payload[1], 44, 64],
            addresses.as_slice(),
            &[60, 0],
            &(offset | more).to_be_bytes(),
            &identification.to_be_bytes(),
            part,
        ]
        .concat()
    })
}

/// RFC 7112: what no port rule can see in the first fragment, it would not see in the second one either.
#[tokio::test]
#[ignore = "needs root"]
async fn no_packet_hides_its_ports_from_a_list_behind_its_first_fragment() {
    let (one, router, two) = (Room::new("fh1"), Room::new("fhr"), Room::new("fh2"));
    for (number, room) in [(1, &one), (2, &two)] {
        let port = format!("pn-{number}");
        router.net.create_veth(&VethEnd::new(&port), &VethEnd::new("eth0").within(&room.ns)).await.expect("veth");
        router.up(&port, &[&format!("fd0{number}::1/64")]).await;
        room.up("eth0", &[&format!("fd0{number}::10/64")]).await;
        room.sh(&format!("ip -6 route add default via fd0{number}::1"));
    }
    let forbidden = AclRule {
        protocol: AclProtocol::Udp,
        source: net("::/0"),
        source_ports: PortRange::ALL,
        destination: net("::/0"),
        destination_ports: PortRange { low: 9, high: 9 },
        action: AclAction::Drop,
        description: None,
    };
    let ipv6 = Acl { default_action: AclAction::Accept, rules: vec![forbidden] };
    let mut table = AclTable::create(router.ns.clone()).await.expect("a table");
    table.apply(&AclFilter { ipv6, ..AclFilter::default() }).await.expect("a list");

    let receive = |port: u16| {
        let socket = two.ns.run(|| UdpSocket::bind(("fd02::10", port))).expect("run").expect("bind");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        socket
    };
    let (open, closed) = (receive(7), receive(9));
    let raw = |room: &Room| {
        // Whoever asks for this protocol writes the IPv6 header, too (raw(7)).
        let whole = Some(Protocol::from(255));
        room.ns.run(|| Socket::new(Domain::IPV6, Type::RAW, whole)).expect("run").expect("a raw socket")
    };
    let (outside, inside) = (raw(&one), raw(&router));
    let mut number = 0;
    let mut send = |socket: &Socket, port: u16, options: u8, first: usize| {
        number += 1;
        let to = SockAddr::from(SocketAddr::new(ip("fd02::10"), 0));
        for fragment in in_two(port, options, first, number) {
            socket.send_to(&fragment, &to).expect("sent");
        }
    };
    let arrived = |socket: &UdpSocket| socket.recv(&mut [0; 64]).expect("a datagram") == 16;
    // A Linux host refuses such fragments itself, others do not: what counts is whether they come.
    two.sh("nft add table ip6 seen");
    two.sh("nft add counter ip6 seen first");
    two.sh("nft add chain ip6 seen in { type filter hook prerouting priority raw ; }");
    two.sh("nft add rule ip6 seen in frag frag-off 0 counter name first");
    let counts = |room: &Room, counter: &str, expected: u64| {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let shown = room.sh(&format!("nft list counter {counter}"));
            let count = shown.split_whitespace().skip_while(|word| *word != "packets").nth(1);
            match count.and_then(|count| count.parse::<u64>().ok()).expect("a count") {
                count if count == expected => return,
                count => assert!(count < expected && Instant::now() < deadline, "{count} instead of {expected}"),
            }
        }
    };

    let (came, dropped) = ("ip6 seen first", "inet causeway_acl drop_header_chain");
    // What the router sends itself meets no list: the transport header begins where the first fragment ends; another header does not end in
    // it; the whole chain is there.
    for (sent, (options, first)) in [(1, (8, 8)), (2, (16, 8)), (3, (8, 16))] {
        send(&inside, 9, options, first);
        counts(&two, came, sent);
    }
    assert!(arrived(&closed));
    // With the whole chain in the first fragment, ports are seen.
    send(&outside, 7, 8, 16);
    assert!(arrived(&open));
    send(&outside, 9, 8, 16);
    counts(&router, dropped, 0);
    for (sent, (options, first)) in [(1, (8, 8)), (2, (16, 8))] {
        send(&outside, 9, options, first);
        counts(&router, dropped, sent);
    }
    // What came after all those arrives, and they did not.
    send(&outside, 7, 8, 16);
    assert!(arrived(&open));
    counts(&two, came, 5);
    closed.set_nonblocking(true).expect("set");
    assert!(closed.recv(&mut [0; 64]).is_err(), "a forbidden port was reached");
}

/// A destination-unreachable to `to` that quotes a packet from `quoted` to 172.16.0.10 or fd50::10.
fn icmp_error(from: IpAddr, to: IpAddr, quoted: IpAddr) -> Vec<u8> {
    match (from, to, quoted) {
        (IpAddr::V4(_), IpAddr::V4(_), IpAddr::V4(quoted)) => {
            let mut message = [
                [3, 1, 0, 0, 0, 0, 0, 0].as_slice(),
                &[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0],
                &quoted.octets(),
                &Ipv4Addr::new(172, 16, 0, 10).octets(),
                &[0; 8],
            ]
            .concat();
            let sum = message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
            let sum = (sum & 0xffff) + (sum >> 16);
            let checksum = (!(sum as u16)).to_be_bytes();
            message[2..4].copy_from_slice(&checksum);
            message
        }
        (_, _, IpAddr::V6(quoted)) => {
            // The kernel fills in the checksum of raw ICMPv6.
            let to: Ipv6Addr = "fd50::10".parse().expect("an address");
            [
                [1, 0, 0, 0, 0, 0, 0, 0].as_slice(),
                &[0x60, 0, 0, 0, 0, 8, 17, 64],
                &quoted.octets(),
                &to.octets(),
                &[0; 8],
            ]
            .concat()
        }
        _ => panic!("one family"),
    }
}

fn raw_icmp(from: IpAddr, to: IpAddr, message: &[u8]) -> std::io::Result<usize> {
    let (domain, protocol) =
        if to.is_ipv4() { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
    socket.send_to(message, &SockAddr::from(SocketAddr::new(to, 0)))
}
