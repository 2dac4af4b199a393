//! A VPC's own rules: access lists and custom routes in its router, with a second Private Network on a bridge of the operator's.
//!
//! ```text
//! host a 10.1.0.10 ── bridge ─┐
//!                             [ router of a ]── gateway ══ tunnel ══ gateway ── router of b ── host b 10.2.0.10
//! host c 10.1.1.10 ── lan0 ───┘
//!        172.20.0.1, fd20::1 behind it
//! ```

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use causeway_linux::Namespace;
use causeway_model::acl::{Acl, AclAction, AclProtocol, AclRule, PortRange};
use causeway_model::desired::{CustomRouteDesired, NetworkDesired};
use causeway_model::observed::{Counter, RouteDecision};
use causeway_model::{Family, PrivateNetworkId, RouteId};
use ipnet::IpNet;

use crate::world::{Outside, PATIENCE, Room, Side, World, sh, wait, wait_for, within};

const A: [&str; 2] = ["10.1.0.10", "fd00:1::10"];
const B: [&str; 2] = ["10.2.0.10", "fd00:2::10"];
const C: [&str; 2] = ["10.1.1.10", "fd00:11::10"];

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The second Private Network, on what is named `lan0`.
pub(crate) fn second(side: &mut Side) -> PrivateNetworkId {
    let id = PrivateNetworkId::random();
    let network =
        NetworkDesired { id, subnets: vec![net("10.1.1.0/24"), net("fd00:11::/64")], bridge: Some("lan0".to_owned()) };
    side.edit(|desired| desired.vpcs[0].networks.push(network));
    id
}

/// Host c on the bridge `lan0`.
pub(crate) fn connect(machine: &Namespace, name: &str) -> Room {
    let room = Room::new(name);
    let (host, path) = (&room.0, room.0.path().display().to_string());
    sh(machine, &format!("ip link add host-c type veth peer name eth0 netns {path}"));
    sh(machine, "ip link set host-c master lan0 up");
    sh(host, "ip link set eth0 up");
    sh(host, "ip addr add 10.1.1.10/24 dev eth0");
    sh(host, "ip addr add fd00:11::10/64 dev eth0 nodad");
    sh(host, "ip route add default via 10.1.1.1");
    sh(host, "ip -6 route add default via fd00:11::1");
    room
}

pub(crate) fn pings(from: &Namespace, to: &str) -> bool {
    within(from, &format!("ping -n -c 1 -W 1 {to}")).is_some()
}

/// A socket of a port that was used before: a program that another test is about to start may hold the last one for a moment.
fn bound<T>(bind: impl Fn() -> std::io::Result<T>) -> T {
    wait("the port is free", PATIENCE, || match bind() {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => None,
        socket => Some(socket.expect("bind")),
    })
}

/// That a TCP connection to `port` opens and an octet comes back.
fn opens(client: &Namespace, server: &Namespace, to: &str, port: u16) -> bool {
    talks_within(PATIENCE, client, server, to, port)
}

/// Whether it does so at once: for what is not wanted to.
fn talks(client: &Namespace, server: &Namespace, to: &str, port: u16) -> bool {
    talks_within(Duration::from_millis(700), client, server, to, port)
}

fn talks_within(limit: Duration, client: &Namespace, server: &Namespace, to: &str, port: u16) -> bool {
    let address = SocketAddr::new(ip(to), port);
    let listener = server.run(|| bound(|| TcpListener::bind(address))).expect("run");
    let stream = client.run(|| TcpStream::connect_timeout(&address, limit)).expect("run");
    let Ok(mut stream) = stream else { return false };
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let (mut accepted, _) = listener.accept().expect("accept");
    accepted.write_all(b"x").expect("write");
    stream.read_exact(&mut [0]).expect("read");
    true
}

/// Whether a datagram of `length` octets arrives.
fn arrives(client: &Namespace, server: &Namespace, to: &str, port: u16, length: usize) -> bool {
    let address = SocketAddr::new(ip(to), port);
    let receiver = server.run(|| bound(|| UdpSocket::bind(address))).expect("run");
    receiver.set_read_timeout(Some(Duration::from_millis(700))).expect("a timeout");
    let any: SocketAddr = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().expect("an address");
    let sender = client.run(|| UdpSocket::bind(any)).expect("run").expect("bind");
    // The first one may be lost to a path MTU or a neighbour that is being learned.
    (0..3).any(|_| {
        let _ = sender.send_to(&vec![7; length], address);
        receiver.recv(&mut vec![0; 65_536]).is_ok_and(|received| received == length)
    })
}

fn rule(protocol: AclProtocol, source: &str, destination: &str, action: AclAction) -> AclRule {
    AclRule {
        protocol,
        source: net(source),
        source_ports: PortRange::ALL,
        destination: net(destination),
        destination_ports: PortRange::ALL,
        action,
        description: None,
    }
}

fn to_port(port: u16, rule: AclRule) -> AclRule {
    AclRule { destination_ports: PortRange { low: port, high: port }, ..rule }
}

fn from_port(port: u16, rule: AclRule) -> AclRule {
    AclRule { source_ports: PortRange { low: port, high: port }, ..rule }
}

fn drop_by_default(rules: Vec<AclRule>) -> Acl {
    Acl { default_action: AclAction::Drop, rules }
}

fn lists(side: &mut Side, ipv4: Acl, ipv6: Acl) {
    side.edit(|desired| {
        desired.vpcs[0].acl_ipv4 = ipv4;
        desired.vpcs[0].acl_ipv6 = ipv6;
    });
    side.wait_applied();
}

/// The counters of the lists once they say what `look` waits for.
fn counted(side: &Side, what: &str, look: impl Fn(&[Counter], &Counter) -> bool) -> Vec<Counter> {
    wait(what, PATIENCE, || {
        let acl = side.vpc()?.acl;
        look(&acl.ipv4, &acl.ipv4_default).then_some(acl.ipv4)
    })
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn access_lists_rule_everything_that_crosses_the_router() {
    let mut world = World::new("acl", Outside::Ipv4);
    world.wait_up();
    world.wait_flow();
    let (machine, a, b) = (world.a.machine.0.clone(), world.a.host.0.clone(), world.b.host.0.clone());

    // An attachment that is not there yet is refused alone; what came with it is in force.
    let added = second(&mut world.a);
    world.a.edit(|desired| desired.vpcs[0].acl_ipv6 = drop_by_default(Vec::new()));
    let error = wait("the bridge is missed", PATIENCE, || world.a.vpc_refusal("bridge or interface lan0"));
    assert!(error.contains("lan0"), "{error}");
    assert_eq!(world.a.vpc().expect("facts").applied, world.a.desired.revision, "the lists are in force");
    world.wait_silence(Family::Ipv6);
    assert!(world.flows(Family::Ipv4));
    sh(&machine, "ip link add lan0 type bridge");
    let c = connect(&machine, "cwnd-acl-c");
    world.a.wait_applied();
    let c = c.0.clone();
    wait_for("the bridge carries", || pings(&a, C[0]) && pings(&c, A[0]));
    assert!(pings(&b, A[0]));
    assert!(!pings(&a, C[1]) && !pings(&c, A[1]), "IPv6 has a list of its own");
    wait_for("what no IPv6 rule matched is counted", || {
        world.a.vpc().is_some_and(|facts| facts.acl.ipv6_default.packets >= 2)
    });

    // A port from a to c, with its answers: a stateless list needs both.
    use AclAction::{Accept, Drop};
    use AclProtocol::{Any, Icmp, Tcp, Udp};
    let (net_a, net_b, net_c) = ("10.1.0.0/24", "10.2.0.0/24", "10.1.1.0/24");
    let question = to_port(8000, rule(Tcp, net_a, net_c, Accept));
    let answer = from_port(8000, rule(Tcp, net_c, net_a, Accept));
    lists(&mut world.a, drop_by_default(vec![question.clone()]), Acl::default());
    assert!(!talks(&a, &c, C[0], 8000), "the answer has no rule");
    lists(&mut world.a, drop_by_default(vec![question, answer]), Acl::default());
    assert!(opens(&a, &c, C[0], 8000));
    assert!(!talks(&a, &c, C[0], 8001), "another port");
    assert!(!talks(&c, &a, A[0], 8000), "the other direction");
    assert!(!arrives(&a, &c, C[0], 8000, 100), "another protocol");
    assert!(!pings(&a, C[0]) && !pings(&b, A[0]), "the default");
    assert!(pings(&a, C[1]) && pings(&a, B[1]), "IPv6 is open again");
    // What the router itself sends and receives crosses nothing; neighbours are found.
    for host in [&a, &c] {
        sh(host, "ip neigh flush all");
    }
    assert!(pings(&a, "10.1.0.1") && pings(&c, "fd00:11::1"));
    assert!(opens(&a, &c, C[0], 8000));

    // Hosts beside the gateway go through the router, too.
    assert!(!pings(&a, B[0]) && !pings(&a, "10.1.0.2"), "no way around the list");
    lists(
        &mut world.a,
        Acl { default_action: Accept, rules: vec![rule(Icmp, net_b, "0.0.0.0/0", Drop)] },
        Acl { default_action: Accept, rules: vec![rule(Icmp, "::/0", "fd00:2::/64", Drop)] },
    );
    assert!(!pings(&a, B[0]) && !pings(&b, A[0]), "answers from b, and questions");
    assert!(!pings(&a, B[1]) && !pings(&b, A[1]), "questions to b, and answers");
    assert!(opens(&a, &b, B[0], 8000) && opens(&b, &a, A[1], 8000));

    // The first match decides, and the unmatched default counts.
    let ping = |destination: &str, action| rule(Icmp, net_a, destination, action);
    let back = rule(Icmp, "0.0.0.0/0", net_a, Accept);
    let first = vec![ping("10.1.1.10/32", Accept), ping(net_c, Drop), back.clone()];
    lists(&mut world.a, drop_by_default(first.clone()), Acl::default());
    let seen = counted(&world.a, "a new list's counters", |rules, _| {
        rules.len() == 3 && rules.iter().all(|rule| rule.packets <= 4)
    });
    sh(&c, "ip addr add 10.1.1.11/24 dev eth0");
    assert!(pings(&a, C[0]) && pings(&a, C[0]) && !pings(&a, "10.1.1.11"));
    let rules = counted(&world.a, "four echoes and one that was dropped", |rules, _| {
        rules[0].packets >= seen[0].packets + 2 && rules[1].packets == 1 && rules[2].packets >= seen[2].packets + 2
    });
    assert_eq!(rules[1], Counter { packets: 1, bytes: 84 });
    assert_eq!(rules[0].bytes, 84 * rules[0].packets);
    // Rules that stay keep their counters wherever they stand; a new one begins at nothing.
    let mut longer: Vec<AclRule> =
        (0..1000).map(|n| rule(Udp, net_a, &format!("198.18.{}.{}/32", n / 256, n % 256), Drop)).collect();
    longer.extend([first[1].clone(), first[0].clone(), back]);
    lists(&mut world.a, drop_by_default(longer), Acl::default());
    let facts = world.a.vpc().expect("facts").acl;
    assert_eq!(facts.ipv4.len(), 1003);
    assert_eq!((facts.ipv4[1000], facts.ipv4[1001], facts.ipv4[1002]), (rules[1], rules[0], rules[2]));
    assert!(facts.ipv4[..1000].iter().all(|rule| *rule == Counter::default()));
    assert!(!pings(&a, C[0]), "the order has changed");
    counted(&world.a, "the dropped one counts", |now, _| now.len() == 1003 && now[1000].packets == 2);

    // Fragments behind the first carry no ports, and are let through with it.
    let port = to_port(9000, rule(Udp, net_a, "10.0.0.0/8", Accept));
    let port_v6 = to_port(9000, rule(Udp, "fd00:1::/64", "::/0", Accept));
    lists(&mut world.a, drop_by_default(vec![port]), drop_by_default(vec![port_v6]));
    assert!(arrives(&a, &c, C[0], 9000, 4000) && arrives(&a, &c, C[1], 9000, 4000), "fragments");
    assert!(!arrives(&a, &c, C[0], 9001, 4000), "the first one decides");
    // The path MTU into the tunnel is learned although nothing but datagrams to one port may pass.
    assert!(arrives(&a, &b, B[0], 9000, 1472) && arrives(&a, &b, B[1], 9000, 1452));
    for (to, family) in [(B[0], "-4"), (B[1], "-6")] {
        assert!(sh(&a, &format!("ip {family} route get {to}")).contains(" mtu 1"), "no path MTU to {to}");
    }
    // A rule that drops the reports is obeyed.
    sh(&a, "ip route flush cache");
    let reports = rule(Icmp, "0.0.0.0/0", net_a, Drop);
    let datagrams = to_port(9000, rule(Udp, net_a, "10.0.0.0/8", Accept));
    lists(&mut world.a, drop_by_default(vec![datagrams, reports]), Acl::default());
    assert!(!arrives(&a, &b, B[0], 9000, 1472));
    counted(&world.a, "the dropped reports", |rules, _| rules.len() == 2 && rules[1].packets >= 1);

    // A list that cannot be is refused, and the one before stays in force.
    lists(
        &mut world.a,
        drop_by_default(vec![rule(Any, net_c, net_a, Accept), rule(Any, net_a, net_c, Accept)]),
        Acl::default(),
    );
    world.a.edit(|desired| desired.vpcs[0].acl_ipv4.rules.push(rule(Any, "::/0", "::/0", Drop)));
    let item = format!("access lists of VPC {}", world.a.desired.vpcs[0].id);
    let error = wait("the list is refused", PATIENCE, || world.a.vpc_refusal(&item));
    assert!(error.contains("IPv4 access list, rule 3"), "{error}");
    assert!(world.a.vpc().expect("facts").applied < world.a.desired.revision);
    assert!(pings(&a, C[0]) && !pings(&a, B[0]), "as before");
    assert_eq!(world.a.vpc().expect("facts").acl.ipv4.len(), 2);
    world.a.edit(|desired| desired.vpcs[0].acl_ipv4 = Acl::default());
    world.a.wait_applied();
    world.wait_flow();

    // The bridge goes while everything runs, and comes back; then an interface takes its place, and the network goes.
    sh(&machine, "ip link del lan0");
    wait("the bridge is missed", PATIENCE, || world.a.vpc_refusal("bridge or interface lan0"));
    assert!(pings(&a, B[0]));
    sh(&machine, "ip link add lan0 type veth peer name lan0-far");
    sh(&machine, "ip addr add 192.0.2.99/32 dev lan0");
    wait("an interface with an address is refused", PATIENCE, || {
        world.a.vpc_refusal("bridge or interface lan0").filter(|error| error.contains("192.0.2.99"))
    });
    sh(&machine, "ip addr del 192.0.2.99/32 dev lan0");
    world.a.wait_applied();
    sh(&machine, "ip link add far type bridge");
    for link in ["lan0-far", "host-c"] {
        sh(&machine, &format!("ip link set {link} master far up"));
    }
    sh(&machine, "ip link set far up");
    wait_for("the interface carries", || pings(&a, C[0]));
    world.a.edit(|desired| desired.vpcs[0].networks.retain(|network| network.id != added));
    world.a.wait_applied();
    wait_for("its bridge is gone", || within(&machine, &format!("ip link show cwbr-{}", added.short())).is_none());
    assert!(within(&machine, "ip link show lan0").is_some(), "the interface is the operator's");
    assert!(pings(&a, B[0]));
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn custom_routes_come_between_local_and_learned_ones() {
    let mut world = World::new("cust", Outside::Ipv4);
    let machine = world.a.machine.0.clone();
    sh(&machine, "ip link add lan0 type bridge");
    let room = connect(&machine, "cwnd-cust-c");
    let network = second(&mut world.a);
    let (a, b, c) = (world.a.host.0.clone(), world.b.host.0.clone(), room.0.clone());
    sh(&c, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    for address in ["172.20.0.1/32", "fd20::1/128"] {
        sh(&c, &format!("ip addr add {address} dev lo"));
    }
    // Side b's whitelist names a wider range, side a's too; so far only the subnets are in it.
    let widen = |side: &mut Side, out: bool| {
        side.edit_connection(|connection| {
            for (bgp, range) in connection.bgp.iter_mut().zip(["172.20.0.0/14", "fd20::/16"]) {
                let policy = bgp.policy.as_mut().expect("a policy");
                let list = if out { &mut policy.prefix_filter_out } else { &mut policy.prefix_filter_in };
                list.push(net(range));
            }
        });
        side.wait_applied();
    };
    widen(&mut world.a, true);
    widen(&mut world.b, false);
    world.wait_up();
    world.wait_flow();
    let flaps =
        |side: &Side| -> u32 { side.connection().expect("facts").sessions.iter().map(|session| session.flaps).sum() };
    let before = (flaps(&world.a), flaps(&world.b));
    assert!(!pings(&a, "172.20.0.1") && !pings(&b, "172.20.0.1"));

    let route = |destination: &str, hop: Option<&str>| CustomRouteDesired {
        id: RouteId::random(),
        destination: net(destination),
        network,
        next_hop: hop.map(ip),
    };
    let routes = [route("172.20.0.0/16", Some(C[0])), route("fd20::/16", Some(C[1]))];
    world.a.edit(|desired| desired.vpcs[0].custom_routes = routes.to_vec());
    world.a.wait_applied();
    assert!(pings(&a, "172.20.0.1") && pings(&a, "fd20::1"), "within the VPC");
    let router = Namespace::open(&world.a.router_namespace()).expect("the router");
    let gateway = Namespace::open(&world.a.gateway_namespace()).expect("the gateway");
    assert!(sh(&router, "ip route show proto 142").contains("172.20.0.0/16 via 10.1.1.10"));
    assert!(sh(&gateway, "ip route show proto 142").contains("172.20.0.0/16 via inet6 fe80::1 dev vpc0"));
    assert!(world.b.received("172.20.0.0/16").is_none(), "not announced");

    // Announced as far as the whitelists let it; then the customer's side reaches it and is answered.
    world.a.edit(|desired| desired.vpcs[0].announce_custom_routes = true);
    for (prefix, host) in [("172.20.0.0/16", "172.20.0.1"), ("fd20::/16", "fd20::1")] {
        wait_for("the customer learns it", || world.b.received(prefix) == Some(RouteDecision::Installed));
        wait_for("the customer reaches it", || pings(&b, host));
    }
    let refused = route("172.31.0.0/16", Some(C[0]));
    world.a.edit(|desired| desired.vpcs[0].custom_routes.push(refused.clone()));
    world.a.wait_applied();
    assert!(pings(&a, "172.20.0.1"));
    assert!(world.b.received("172.31.0.0/16").is_none(), "outside prefix_filter_out");
    world.a.edit(|desired| desired.vpcs[0].announce_custom_routes = false);
    wait_for("it is withdrawn", || world.b.received("172.20.0.0/16").is_none());
    wait_for("the customer has no way", || !pings(&b, "172.20.0.1"));
    assert!(pings(&a, "172.20.0.1"));

    // For the same prefix custom beats learned, which says so, and comes back afterwards.
    let learned = net("10.2.0.0/24");
    assert_eq!(world.a.received("10.2.0.0/24"), Some(RouteDecision::Installed));
    sh(&c, "ip addr add 10.2.0.10/32 dev lo");
    let other = route("10.2.0.0/24", Some(C[0]));
    let by = format!("custom route {}", other.id);
    world.a.edit(|desired| desired.vpcs[0].custom_routes.push(other.clone()));
    wait_for("the learned one is beaten", || {
        world.a.received("10.2.0.0/24") == Some(RouteDecision::Beaten { by: by.clone() })
    });
    // The decision is told before the kernel's table is changed.
    for namespace in [&router, &gateway] {
        wait_for("the learned one is out of the table", || {
            let shown = sh(namespace, &format!("ip route show {learned} proto 142"));
            shown.lines().count() == 1 && !shown.contains("cw-")
        });
    }
    wait_for("host c answers for it", || {
        sh(&a, "traceroute -n -I -q 1 -w 1 10.2.0.10").lines().count() == 3 && pings(&a, B[0])
    });
    assert!(world.flows(Family::Ipv6), "the others are untouched");
    world.a.edit(|desired| desired.vpcs[0].custom_routes.retain(|route| route.id != other.id));
    sh(&c, "ip addr del 10.2.0.10/32 dev lo");
    wait_for("the learned one is back", || world.a.received("10.2.0.0/24") == Some(RouteDecision::Installed));
    world.wait_flow();

    // What cannot be is refused alone: inside a subnet, to a network that is not there, to a host that is elsewhere.
    let bad = [
        route("10.1.1.0/25", Some(C[0])),
        CustomRouteDesired { network: PrivateNetworkId::random(), ..route("172.22.0.0/16", None) },
        route("172.23.0.0/16", Some("10.1.0.10")),
    ];
    for bad in bad {
        let id = bad.id;
        world.a.edit(|desired| desired.vpcs[0].custom_routes.insert(0, bad));
        wait("it is refused", PATIENCE, || world.a.vpc_refusal(&format!("custom route {id}")));
        assert!(pings(&a, "172.20.0.1"), "the others stay");
        world.a.edit(|desired| desired.vpcs[0].custom_routes.retain(|route| route.id != id));
        world.a.wait_applied();
    }
    // Without a next hop the destination is on the network itself.
    sh(&c, "ip addr add 172.21.0.1/32 dev eth0");
    world.a.edit(|desired| desired.vpcs[0].custom_routes = vec![route("172.21.0.0/16", None)]);
    world.a.wait_applied();
    wait_for("on the link", || pings(&a, "172.21.0.1"));
    assert!(!pings(&a, "172.20.0.1"));
    assert_eq!((flaps(&world.a), flaps(&world.b)), before, "no session noticed");
}

/// A link as the operator sees it: itself, its addresses, and the ports of it that are not the node's.
fn seen(machine: &Namespace, name: &str) -> String {
    let own = |line: &&str| !line.contains(": cwvr-") && !line.contains(": cwbr-");
    let link = sh(machine, &format!("ip -o link show dev {name}"));
    let addresses = sh(machine, &format!("ip -o address show dev {name}"));
    let ports = sh(machine, &format!("ip -o link show master {name}"));
    let ports: Vec<&str> = ports.lines().filter(own).collect();
    format!("{link}{addresses}{}", ports.join("\n"))
}

/// It, once its link-local address is there and may be used.
fn complete(machine: &Namespace, name: &str) -> String {
    wait(&format!("{name} is complete"), PATIENCE, || {
        let seen = seen(machine, name);
        (seen.contains("inet6 fe80") && !seen.contains("tentative")).then_some(seen)
    })
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn an_operators_bridge_and_interface_carry_and_stay_as_they_were() {
    let mut world = World::new("port", Outside::Ipv4);
    let machine = world.a.machine.0.clone();
    world.wait_up();
    world.wait_flow();

    // A bridge with a host on it, an address, and a MAC that neighbours know.
    sh(&machine, "ip link add lan0 type bridge");
    let room = connect(&machine, "cwnd-port-c");
    sh(&machine, "ip link set lan0 up");
    sh(&machine, "ip addr add 10.1.1.250/24 dev lan0");
    let (a, b, c) = (world.a.host.0.clone(), world.b.host.0.clone(), room.0.clone());
    let before = complete(&machine, "lan0");
    let added = second(&mut world.a);
    for connection in [&mut world.a, &mut world.b] {
        let number = connection.number;
        connection.edit_connection(|connection| {
            let policy = connection.bgp[0].policy.as_mut().expect("a policy");
            let list = if number == 1 { &mut policy.prefix_filter_out } else { &mut policy.prefix_filter_in };
            list.push(net("10.1.1.0/24"));
        });
    }
    world.a.wait_applied();
    world.b.wait_applied();
    wait_for("the bridge carries within the VPC, and to the machine itself", || {
        pings(&a, C[0]) && pings(&c, A[1]) && pings(&c, "10.1.1.250")
    });
    wait_for("the customer's side reaches it", || pings(&b, C[0]));
    assert_eq!(seen(&machine, "lan0"), before, "while it is used");
    world.a.edit(|desired| desired.vpcs[0].networks.retain(|network| network.id != added));
    world.a.wait_applied();
    wait_for("the port is gone", || !sh(&machine, "ip -o link show master lan0").contains("cwvr-"));
    assert_eq!(seen(&machine, "lan0"), before, "afterwards");
    assert!(pings(&c, "10.1.1.250") && !pings(&a, C[0]));

    // An interface: the far end of a cable to a switch on which the host is.
    sh(&machine, "ip addr del 10.1.1.250/24 dev lan0");
    sh(&machine, "ip link set lan0 name switch");
    sh(&machine, "ip link add lan0 type veth peer name lan0-far");
    sh(&machine, "ip link set lan0-far master switch up");
    sh(&machine, "ip link set lan0 up");
    let before = complete(&machine, "lan0");
    let added = second(&mut world.a);
    world.a.wait_applied();
    wait_for("the interface carries", || pings(&a, C[0]) && pings(&b, C[0]));
    let bridge = format!("cwbr-{}", added.short());
    assert!(seen(&machine, "lan0").contains(&format!("master {bridge}")));
    // The network stays and is not on that interface any more, although nobody saw the moment.
    world.a.kill();
    world.a.desired.vpcs[0].networks[1].bridge = None;
    world.a.edit(|_| {});
    world.a.start();
    wait_for("the interface is let go", || seen(&machine, "lan0") == before);
    wait_for("its network lives on a bridge of the node's own", || {
        within(&machine, &format!("ip link show {bridge}")).is_some() && world.a.vpc().is_some()
    });
    world.wait_flow();
    assert!(!pings(&a, C[0]));
    world.a.edit(|desired| desired.vpcs[0].networks[1].bridge = Some("lan0".to_owned()));
    world.a.wait_applied();
    wait_for("the interface carries again", || pings(&a, C[0]));
    assert!(world.a.terminate());
    assert_eq!(seen(&machine, "lan0"), before, "after an orderly end");
}
