//! What an explanation says, against what the kernel does with the same packet: the counter that it moves and the reason that is given for it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use causeway_linux::Namespace;
use causeway_model::acl::{AclPacket, AclProtocol};
use causeway_model::desired::{CustomRouteDesired, GatewayDesired, TunnelDesired};
use causeway_model::explain::{Picture, Question, Via, Way, explain};
use causeway_model::observed::{ReceivedRoute, RouteDecision};
use causeway_model::reason::ReasonCode;
use causeway_model::{Family, RouteId, RoutingPolicyId, VpnGatewayId};

use crate::rules::{ip, net, pings};
use crate::traffic::another;
use crate::world::{Outside, Side, World, counters_of, sh, wait_for, within};

/// What the controller would know of the side's VPC: what is desired, and what the node reports.
pub(crate) fn picture(side: &Side) -> Picture {
    let (desired, report) = (&side.desired, side.report());
    let vpc = &desired.vpcs[0];
    let mut ways = Vec::new();
    for gateway in &desired.gateways {
        for connection in &gateway.connections {
            let facts = report.connections.iter().find(|facts| facts.id == connection.id).expect("reported");
            let policies = connection
                .bgp
                .iter()
                .filter_map(|bgp| Some((Family::of_net(&bgp.local), RoutingPolicyId::random(), bgp.policy.clone()?)));
            ways.push(Way {
                via: Via::Connection { connection: connection.id, gateway: gateway.id },
                locked: gateway.locked || connection.locked,
                propagation: connection.propagate,
                policies: policies.collect(),
                inside: connection.bgp.iter().flat_map(|bgp| [bgp.local, bgp.peer]).collect(),
                tunnels_up: facts.tunnels.iter().filter(|tunnel| tunnel.up).map(|tunnel| tunnel.family).collect(),
                tunnel_fault: facts.tunnels.iter().filter(|tunnel| !tunnel.up).find_map(|tunnel| tunnel.fault.clone()),
                sessions_up: facts.sessions.iter().filter(|session| session.up).map(|session| session.family).collect(),
                session_faults: Vec::new(),
                received: facts.received.clone(),
                caveats: Vec::new(),
            });
        }
    }
    let addresses = |gateway: &GatewayDesired| gateway.private_addresses.iter().map(|address| address.addr()).collect();
    Picture {
        networks: vpc.networks.iter().map(|network| (network.id, network.subnets.clone())).collect(),
        custom_routes: vpc.custom_routes.clone(),
        acl_ipv4: vpc.acl_ipv4.clone(),
        acl_ipv6: vpc.acl_ipv6.clone(),
        gateways: desired.gateways.iter().map(|gateway| (gateway.id, addresses(gateway))).collect(),
        ways,
        caveats: Vec::new(),
    }
}

/// The verdict and its reason.
pub(crate) fn asked(
    picture: &Picture,
    protocol: AclProtocol,
    source: &str,
    destination: &str,
) -> (&'static str, Option<ReasonCode>) {
    let (source, destination) = (ip(source), ip(destination));
    let port = (protocol == AclProtocol::Tcp).then_some(443);
    let packet = AclPacket { protocol, source, source_port: None, destination, destination_port: port };
    let answer = explain(picture, &Question::Packet(packet));
    (answer.verdict, answer.fault.map(|fault| fault.code))
}

/// How far the counters of a namespace moved while `act` ran, those that did.
pub(crate) fn moved(namespace: &Namespace, act: impl FnOnce()) -> BTreeMap<String, u64> {
    let before = counters_of(namespace);
    act();
    let mut after = counters_of(namespace);
    for (name, count) in before {
        *after.get_mut(&name).expect("counters stay") -= count;
    }
    after.retain(|_, count| *count > 0);
    after
}

/// Routes by which the customer's packets would reach another customer, as if that one's device had announced them.
fn announced(prefix: &str) -> Vec<ReceivedRoute> {
    vec![ReceivedRoute {
        prefix: net(prefix),
        next_hop: ip("169.254.9.2"),
        as_path: vec![65_001],
        med: None,
        communities: Vec::new(),
        decision: RouteDecision::Installed,
        stale: false,
    }]
}

/// System.md §2.6 for packets, and §2.9's own addresses. The kernel has by hand the routes that the other customers' devices would have announced.
#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn nothing_goes_from_one_customer_to_another_nor_to_a_gateway_itself() {
    use ReasonCode as R;
    let mut world = World::new("tran", Outside::Ipv4);
    let second = VpnGatewayId::random();
    world.a.edit(|desired| {
        let network = desired.vpcs[0].networks[0].id;
        // To the first gateway this looks like the VPC.
        desired.vpcs[0].custom_routes.push(CustomRouteDesired {
            id: RouteId::random(),
            destination: net("172.31.0.0/16"),
            network,
            next_hop: Some(ip("10.1.0.10")),
        });
        let first = &mut desired.gateways[0];
        let out = &mut first.connections[0].bgp[0].policy.as_mut().expect("a policy").prefix_filter_out;
        out.push(net("172.16.0.0/12"));
        let other = another(&first.connections[0]);
        let mut beyond = another(&first.connections[0]);
        let local = ip("192.0.2.111");
        beyond.tunnels = vec![TunnelDesired { local, peer: ip("192.0.2.98") }];
        for (bgp, (local, peer)) in
            beyond.bgp.iter_mut().zip([("169.254.10.1/30", "169.254.10.2/30"), ("fd99:a::1/126", "fd99:a::2/126")])
        {
            (bgp.local, bgp.peer) = (net(local), net(peer));
        }
        let gateway = GatewayDesired {
            id: second,
            private_addresses: vec![net("10.1.0.3/24"), net("fd00:1::3/64")],
            public_addresses: vec![local],
            connections: vec![beyond],
            ..first.clone()
        };
        first.connections.push(other);
        desired.gateways.push(gateway);
    });
    world.wait_up();
    world.a.wait_applied();
    world.wait_flow();
    let side = &world.a;
    let namespace = |name: &str| Namespace::open(name).expect("a namespace");
    let [gateway, router, device] =
        [side.gateway_namespace(), side.router_namespace(), world.b.gateway_namespace()].map(|name| namespace(&name));
    let tun = |side: &Side, index: usize| format!("cw-{}", side.desired.gateways[0].connections[index].id.short());
    sh(&device, "ip addr add 10.2.0.77/32 dev lo");
    for to in ["10.1.0.0/24", "172.30.0.0/24", "172.31.7.0/24"] {
        sh(&device, &format!("ip route add {to} via 169.254.0.1 dev {} onlink metric 9999", tun(&world.b, 0)));
    }
    sh(&gateway, &format!("ip route add 172.30.0.0/24 dev {}", tun(side, 1)));
    let link = format!("g-{}", second.short());
    sh(&router, &format!("ip route add 172.31.7.0/24 via inet6 fe80::2 dev {link}"));
    let sends = |to: &str| {
        let _ = within(&device, &format!("ping -n -c 1 -W 1 -I 10.2.0.77 {to}"));
    };

    // From a tunnel to another one of the same gateway, and through the router to another gateway's.
    let mut picture = picture(side);
    let of = |gateway: usize, connection: usize| side.desired.gateways[gateway].connections[connection].id;
    for (id, prefix) in [(of(0, 1), "172.30.0.0/24"), (of(1, 0), "172.31.7.0/24")] {
        let mut ways = picture.ways.iter_mut();
        let way = ways.find(|way| matches!(way.via, Via::Connection { connection, .. } if connection == id));
        let way = way.expect("a way");
        way.received = announced(prefix);
    }
    for (to, drops, counter, forwarded) in [
        ("172.30.0.7", &gateway, "drop_tunnel_to_tunnel", false),
        ("172.31.7.7", &router, "drop_gateway_to_gateway", true),
    ] {
        let mut gateways = BTreeMap::new();
        let dropped = moved(drops, || gateways = moved(&gateway, || sends(to)));
        assert!(dropped.get(counter) == Some(&1), "{to}: {dropped:?}");
        assert_eq!(gateways.contains_key("forwarded_in"), forwarded, "{to}: {gateways:?}");
        assert_eq!(asked(&picture, AclProtocol::Icmp, "10.2.0.77", to), ("dropped", Some(R::NoTransit)), "{to}");
    }

    // The gateways' own addresses: pings of the VPC, and nothing else; the router's, pings of both sides.
    let own = |source, to, protocol| asked(&picture, protocol, source, to);
    for (to, namespace, counter) in
        [("10.1.0.2", &gateway, "drop_input_tunnel"), ("10.1.0.3", &router, "drop_gateway_to_gateway")]
    {
        let dropped = moved(namespace, || sends(to));
        assert!(dropped.get(counter) == Some(&1), "{to}: {dropped:?}");
        assert_eq!(own("10.2.0.77", to, AclProtocol::Icmp), ("dropped", Some(R::PlatformAddress)), "{to}");
        assert!(within(&side.host.0, &format!("ping -n -c 1 -W 5 {to}")).is_some(), "{to}");
        assert_eq!(own("10.1.0.10", to, AclProtocol::Icmp), ("delivered", None), "{to}");
    }
    let connects = |to: &str| {
        let to = SocketAddr::new(ip(to), 443);
        let refused = side.host.0.run(|| TcpStream::connect_timeout(&to, Duration::from_millis(500))).expect("run");
        assert!(refused.is_err(), "{to}");
    };
    for (to, namespace, counter) in
        [("10.1.0.2", &gateway, "drop_input_vpc"), ("10.1.0.1", &router, "drop_input_router")]
    {
        let dropped = moved(namespace, || connects(to));
        assert!(dropped.contains_key(counter), "{to}: {dropped:?}");
        assert_eq!(own("10.1.0.10", to, AclProtocol::Tcp), ("dropped", Some(R::PlatformAddress)), "{to}");
    }
    wait_for("the router answers the customer", || pings(&world.b.host.0, "10.1.0.1"));
    assert_eq!(own("10.2.0.10", "10.1.0.1", AclProtocol::Icmp), ("delivered", None));
}
