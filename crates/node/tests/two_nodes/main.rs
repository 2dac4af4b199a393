//! Two nodes with real kernels, tunnels, sessions and packets between them.
//!
//! Needs root, `/dev/net/tun`, `nft`, `ip`, `ping` and `traceroute`: `cargo test -p causeway-node -- --ignored`.

mod any_order;
mod cables;
mod explained;
mod foreign;
mod hung;
mod lease;
mod links;
mod mtu;
mod rules;
mod traffic;
mod world;

use causeway_linux::Namespace;
use causeway_model::observed::Refusal;
use causeway_model::{Family, ReasonCode};
use world::{Outside, Side, World, sh, wait, wait_for, within};

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn traffic_follows_policy_propagation_and_locks() {
    let mut world = World::new("flow", Outside::Ipv4);
    world.wait_up();
    world.wait_flow();

    // Router, gateway, then the other side's, in this order.
    assert_eq!(world.a.host.hops("10.2.0.10"), ["10.1.0.1", "10.1.0.2", "169.254.0.2", "10.2.0.1", "10.2.0.10"]);

    world.a.edit_connection(|connection| connection.propagate = false);
    world.a.wait_applied();
    world.wait_silence(Family::Ipv4);
    world.wait_silence(Family::Ipv6);
    assert_eq!(world.a.sessions_up(), 2, "sessions do not need propagation");
    world.a.edit_connection(|connection| connection.propagate = true);
    world.wait_flow();

    // Half of the other side's subnet only: its route is not within that, and its other half has no right to send.
    sh(&world.b.host.0, "ip addr add 10.2.0.200/24 dev eth0");
    let all = world.a.desired.gateways[0].connections[0].bgp[0].policy.clone();
    let flaps =
        |side: &Side| side.connection().expect("facts").sessions.iter().map(|session| session.flaps).sum::<u32>();
    let flapped = flaps(&world.a);
    world.a.edit_connection(|connection| {
        let policy = connection.bgp[0].policy.as_mut().expect("a policy");
        policy.prefix_filter_in = vec!["10.2.0.0/25".parse().expect("a prefix")];
    });
    world.a.wait_applied();
    world.wait_silence(Family::Ipv4);
    assert!(world.flows(Family::Ipv6), "the other family has its own policy");
    let dropped = |side: &Side| side.counters()["drop_source_policy"];
    let before = dropped(&world.a);
    let _ = within(&world.b.host.0, "ping -n -c 1 -W 1 -I 10.2.0.10 10.1.0.10");
    assert_eq!(dropped(&world.a), before, "admitted, if only in this direction");
    let _ = within(&world.b.host.0, "ping -n -c 1 -W 1 -I 10.2.0.200 10.1.0.10");
    assert_eq!(dropped(&world.a), before + 1, "a source outside the whitelist");
    world.a.edit_connection(|connection| connection.bgp[0].policy = all);
    world.wait_flow();
    assert_eq!(flaps(&world.a), flapped, "a policy's edit does not touch the session");

    // A policy detached ends its family's session, and its listener.
    let policy = world.a.desired.gateways[0].connections[0].bgp[1].policy.clone();
    world.a.edit_connection(|connection| connection.bgp[1].policy = None);
    world.a.wait_applied();
    world.wait_silence(Family::Ipv6);
    assert!(world.flows(Family::Ipv4));
    assert_eq!(world.a.connection().expect("facts").sessions.len(), 1);
    world.a.edit_connection(|connection| connection.bgp[1].policy = policy);
    world.wait_flow();

    for lock in [true, false] {
        world.a.edit_connection(|connection| connection.locked = lock);
        world.a.wait_applied();
        if lock {
            world.wait_silence(Family::Ipv4);
            assert!(!world.a.tunnel_up(Family::Ipv4));
        } else {
            world.wait_flow();
        }
    }
    for lock in [true, false] {
        world.a.edit(|desired| desired.gateways[0].locked = lock);
        world.a.wait_applied();
        if lock {
            world.wait_silence(Family::Ipv6);
        } else {
            world.wait_flow();
        }
    }
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn a_node_comes_back_from_a_kill_and_leaves_nothing_behind() {
    let mut world = World::new("life", Outside::Ipv6);
    world.wait_up();
    world.wait_flow();

    // The wire carries nothing but IKE, ESP in UDP, and neighbour discovery: its IPv4 is silent.
    world.b.kill();
    assert!(!world.b.leftovers().is_empty(), "a kill leaves what only the next start can remove");
    world.b.start();
    world.wait_up();
    world.wait_flow();

    // The connection goes: so does everything of it, on both sides.
    let connections = std::mem::take(&mut world.b.desired.gateways[0].connections);
    world.b.edit(|_| {});
    world.b.wait_applied();
    let gateway = Namespace::open(&world.b.gateway_namespace()).expect("the gateway");
    let links = sh(&gateway, "ip -br link");
    assert_eq!(links.lines().count(), 2, "loopback and the way to the VPC: {links}");
    for state in ["listening", "established"] {
        assert_eq!(sh(&gateway, &format!("ss -Htan state {state}")).trim(), "", "{state}");
    }
    wait_for("nothing that is closing", || sh(&gateway, "ss -Htan exclude time-wait").trim().is_empty());
    assert!(!sh(&gateway, "nft list ruleset").contains("cw-"), "no chain of the connection");
    assert!(!sh(&gateway, "ip route").contains("10.1.0.0"), "no learned route");
    drop(gateway);
    wait_for("the peer knows", || !world.a.tunnel_up(Family::Ipv6));
    wait_for("no session, no route", || {
        let facts = world.a.connection().expect("facts");
        facts.sessions.iter().all(|session| !session.up) && facts.received.is_empty()
    });
    wait_for("why", || {
        let tunnel = world.a.connection().expect("facts").tunnels.remove(0);
        let went = |fault: &causeway_model::Fault| {
            fault.code == ReasonCode::PeerDeletedSa
                || fault.evidence.get("went_down").is_some_and(|code| code == "peer_deleted_sa")
        };
        tunnel.ever_up && tunnel.fault.is_some_and(|fault| went(&fault))
    });
    world.b.edit(|desired| desired.gateways[0].connections = connections);
    world.wait_flow();

    // The gateway goes, then the VPC; then everything comes again.
    let before = world.b.desired.clone();
    world.b.edit(|desired| desired.gateways.clear());
    world.b.wait_applied();
    let namespaces = [format!("cwg-{}", before.gateways[0].id.short()), world.b.router_namespace()];
    assert!(!Namespace::exists(&namespaces[0]) && Namespace::exists(&namespaces[1]));
    world.b.edit(|desired| {
        desired.vpcs = before.vpcs;
        desired.gateways = before.gateways;
    });
    world.wait_flow();

    for side in [&mut world.a, &mut world.b] {
        assert!(side.terminate(), "an orderly end");
        wait("nothing left", world::PATIENCE, || side.leftovers().is_empty().then_some(()));
    }
}

/// The refusal of the first gateway, if there is one.
fn refusal(side: &Side) -> Option<Refusal> {
    side.report().gateways.first()?.refused.clone()
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn what_is_refused_is_named_harms_nothing_else_and_heals() {
    let mut world = World::new("heal", Outside::Ipv4);
    world.wait_up();
    let machine = world.a.machine.0.clone();

    // A second gateway in a VPC of its own, whose bridge's name is taken and whose public address is elsewhere.
    let mut other = world.a.desired.clone();
    let (vpc, network) = (causeway_model::VpcId::random(), causeway_model::PrivateNetworkId::random());
    other.vpcs[0].id = vpc;
    other.vpcs[0].networks[0].id = network;
    other.gateways[0] = causeway_model::desired::GatewayDesired {
        id: causeway_model::VpnGatewayId::random(),
        vpc,
        network,
        public_addresses: vec!["192.0.2.77".parse().expect("an address")],
        connections: Vec::new(),
        ..other.gateways[0].clone()
    };
    let second = other.gateways[0].id;
    let bridge = format!("cwbr-{}", network.short());
    sh(&machine, &format!("ip link add {bridge} type veth"));
    sh(&machine, "ip link add elsewhere type veth");
    sh(&machine, "ip addr add 192.0.2.77/32 dev elsewhere");
    world.a.edit(|desired| {
        desired.vpcs.append(&mut other.vpcs);
        desired.gateways.append(&mut other.gateways);
    });
    let facts = |side: &Side| side.report().gateways.into_iter().find(|facts| facts.id == second);
    let refused = |side: &Side, item: &str| {
        let refusal = facts(side)?.refused?;
        (refusal.item == item && refusal.revision == side.desired.revision).then_some(refusal.error)
    };
    let error = wait("the bridge is refused", world::PATIENCE, || refused(&world.a, &format!("bridge {bridge}")));
    assert!(error.contains("veth"), "{error}");
    assert!(world.flows(Family::Ipv4), "the first gateway does not mind");
    sh(&machine, &format!("ip link del {bridge}"));
    let item = "underlay address 192.0.2.77";
    let error = wait("the address is refused", world::PATIENCE, || refused(&world.a, item));
    assert!(error.contains("elsewhere"), "{error}");
    assert!(within(&machine, "ip addr show dev elsewhere").is_some_and(|text| text.contains("192.0.2.77")), "not ours");
    assert!(!Namespace::exists(&format!("cwg-{}", second.short())), "nothing half made");
    sh(&machine, "ip link del elsewhere");
    world.a.wait_applied();
    assert!(world.flows(Family::Ipv4));
    world.a.edit(|desired| {
        desired.vpcs.truncate(1);
        desired.gateways.truncate(1);
    });
    world.a.wait_applied();

    // A connection that cannot be is refused alone, and the one that runs goes on by its old configuration.
    world.a.edit_connection(|connection| connection.peer_identity = Some("not an identity".to_owned()));
    let refused = wait("the identity is refused", world::PATIENCE, || world.a.connection()?.refused);
    assert_eq!((refused.item.as_str(), refused.revision), ("peer_identity", world.a.desired.revision));
    assert!(world.a.connection().expect("facts").applied < world.a.desired.revision);
    assert!(world.flows(Family::Ipv4) && world.flows(Family::Ipv6));
    world.a.edit_connection(|connection| connection.peer_identity = None);
    world.a.wait_applied();

    // Somebody takes the public address, then the whole wire.
    sh(&machine, "ip addr del 192.0.2.1/32 dev up0");
    wait_for("the address is back", || {
        within(&machine, "ip addr show dev up0").is_some_and(|text| text.contains("192.0.2.1/32"))
    });
    sh(&machine, "ip link del up0");
    wait_for("the underlay is missed", || {
        refusal(&world.a).is_some_and(|refusal| refusal.item == "underlay interface up0")
    });
    let far = world.b.machine.0.path().display().to_string();
    sh(&machine, &format!("ip link add up0 type veth peer name up0 netns {far}"));
    world.a.address_underlay();
    world.b.address_underlay();
    world.wait_flow();
    world.a.wait_applied();

    // A node that starts without its underlay waits for it.
    assert!(world.a.terminate());
    sh(&machine, "ip link set up0 name away");
    world.a.start();
    wait_for("the underlay is missed", || {
        refusal(&world.a).is_some_and(|refusal| refusal.item == "underlay interface up0")
    });
    sh(&machine, "ip link set away down");
    sh(&machine, "ip link set away name up0");
    world.a.address_underlay_again();
    wait_for("the bridge", || within(&machine, &format!("ip link show {}", world.a.bridge())).is_some());
    sh(&machine, &format!("ip link set host master {}", world.a.bridge()));
    world.wait_flow();
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn one_of_two_tunnels_carries_the_sessions_on() {
    let world = World::new("dual", Outside::Both);
    world.wait_up();
    for side in [&world.a, &world.b] {
        wait_for("both tunnels", || Family::ALL.iter().all(|family| side.tunnel_up(*family)));
    }
    world.wait_flow();
    let sent = |side: &Side, family: Family| {
        let facts = side.connection().expect("facts");
        facts.tunnels.iter().find(|tunnel| tunnel.family == family).expect("a tunnel").counters.packets_out
    };
    let since =
        |side: &Side| side.connection().expect("facts").sessions.iter().map(|s| (s.since, s.flaps)).collect::<Vec<_>>();
    let before = (since(&world.a), since(&world.b));
    let ipv6_before = sent(&world.a, Family::Ipv6);
    wait_for("IPv4 is preferred", || sent(&world.a, Family::Ipv4) > 0);

    let machine = &world.a.machine.0;
    sh(machine, "nft add table ip cut");
    sh(machine, "nft add chain ip cut in { type filter hook input priority 0 ; }");
    sh(machine, "nft add rule ip cut in udp dport { 500, 4500 } drop");
    for side in [&world.a, &world.b] {
        wait_for("the IPv4 tunnel is missed", || !side.tunnel_up(Family::Ipv4));
    }
    world.wait_flow();
    assert!(world.a.tunnel_up(Family::Ipv6) && world.b.tunnel_up(Family::Ipv6));
    assert_eq!((since(&world.a), since(&world.b)), before, "the sessions noticed nothing");
    wait_for("IPv6 carries", || sent(&world.a, Family::Ipv6) > ipv6_before);

    // Back, but not trusted at once.
    sh(machine, "nft delete table ip cut");
    wait("the IPv4 tunnel is back", 2 * world::PATIENCE, || {
        (world.a.tunnel_up(Family::Ipv4) && world.b.tunnel_up(Family::Ipv4)).then_some(())
    });
    let (still, ipv4) = (sent(&world.a, Family::Ipv6), sent(&world.a, Family::Ipv4));
    assert!(world.flows(Family::Ipv4));
    wait_for("IPv6 or IPv4 carries", || sent(&world.a, Family::Ipv6) > still || sent(&world.a, Family::Ipv4) > ipv4);
    assert_eq!((since(&world.a), since(&world.b)), before);

    // When it has been steady for long enough, IPv4 carries again, and the sessions notice nothing of that either.
    wait("IPv4 carries again", 6 * world::PATIENCE, || {
        let (first, second) = (sent(&world.a, Family::Ipv4), sent(&world.a, Family::Ipv6));
        assert!(world.flows(Family::Ipv4));
        wait_for("the echoes are counted", || {
            sent(&world.a, Family::Ipv4) > first || sent(&world.a, Family::Ipv6) > second
        });
        (sent(&world.a, Family::Ipv4) > first && sent(&world.a, Family::Ipv6) == second).then_some(())
    });
    assert_eq!((since(&world.a), since(&world.b)), before);
}

/// Both sides' sessions, and the evidence of those that are down.
fn causes(side: &Side) -> Vec<Option<String>> {
    let facts = side.connection().expect("facts");
    facts.sessions.into_iter().map(|session| Some(session.fault?.evidence.get("cause")?.clone())).collect()
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn sessions_can_be_signed_and_guarded_and_live_in_the_smallest_subnets() {
    let mut world = World::new("sign", Outside::Ipv4);
    world.wait_up();
    let counted = |side: &Side| -> Vec<(u32, u64, u64)> {
        let sessions = side.connection().expect("facts").sessions;
        sessions.iter().map(|session| (session.flaps, session.updates_in, session.updates_out)).collect()
    };
    let before = counted(&world.a);
    let key = |text: &str| Some(serde_json::from_value(serde_json::json!(text.as_bytes())).expect("a key"));
    for (number, side) in [&mut world.a, &mut world.b].into_iter().enumerate() {
        side.edit_connection(|connection| {
            (connection.bgp_md5, connection.bgp_gtsm) = (key("one password"), true);
            let inside = |host: usize| [format!("169.254.0.{host}/31"), format!("fd99::{host}/127")];
            for (family, bgp) in connection.bgp.iter_mut().enumerate() {
                bgp.local = inside(number)[family].parse().expect("an address");
                bgp.peer = inside(1 - number)[family].parse().expect("an address");
            }
        });
    }
    world.a.wait_applied();
    world.b.wait_applied();
    world.wait_flow();
    // New sessions, whose counters are the connection's all the same.
    for (old, new) in before.into_iter().zip(counted(&world.a)) {
        assert!(new.0 > old.0 && new.1 > old.1 && new.2 > old.2, "{old:?} {new:?}");
    }
    let gateway = Namespace::open(&world.a.gateway_namespace()).expect("the gateway");
    // A message, not what the kernel answers to the loser of two connections.
    let message = "tcp port 179 and dst host 169.254.0.0 and tcp[tcpflags] & tcp-push != 0";
    let capture = sh(&gateway, &format!("timeout 60 tcpdump -n -v -c 1 -i any {message}"));
    assert!(capture.contains("ttl 255") && capture.contains("md5"), "{capture}");

    // One side gets another password: nothing is heard, and the counters of the kernel say why.
    world.a.edit_connection(|connection| connection.bgp_md5 = key("another password"));
    wait_for("the password is told", || {
        causes(&world.a).iter().all(|cause| cause.as_ref().is_some_and(|cause| cause.contains("another MD5 password")))
    });
    assert_eq!(world.a.sessions_up(), 0);
    world.b.edit_connection(|connection| connection.bgp_md5 = None);
    wait_for("the missing password is told", || {
        causes(&world.a).iter().all(|cause| cause.as_ref().is_some_and(|cause| cause.contains("does not sign")))
            && causes(&world.b).iter().all(|cause| cause.as_ref().is_some_and(|cause| cause.contains("has no")))
    });
    // Now it is the hop limit alone.
    world.a.edit_connection(|connection| (connection.bgp_md5, connection.bgp_gtsm) = (None, false));
    wait_for("the hop limit is told", || {
        causes(&world.b).iter().all(|cause| cause.as_ref().is_some_and(|cause| cause.contains("hop limit 255")))
    });
    world.b.edit_connection(|connection| connection.bgp_gtsm = false);
    world.wait_flow();

    // A key that is none is refused by name, and what ran goes on.
    world.a.edit_connection(|connection| connection.bgp_md5 = key(""));
    wait_for("refused", || {
        let refused = world.a.connection().expect("facts").refused;
        refused.is_some_and(|refusal| refusal.item == "bgp.md5_secret_id")
    });
    assert_eq!(world.a.sessions_up(), 2);
}
