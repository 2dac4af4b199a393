//! The rules of traffic (system.md §2) as a table: one case for each promise about packets, rules 7 to 10, in the specification's words and
//! order, between two real nodes. The promises about routes, rules 1 to 6, are the cases of `src/rules.rs`.
//!
//! Side a is under test. Its gateway has a second connection, and its VPC a second Private Network with host c, which no list lets out. The
//! namespace of side b's gateway stands for a device that sends whatever it likes.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use causeway_linux::Namespace;
use causeway_model::acl::{Acl, AclAction, AclProtocol};
use causeway_model::desired::{BgpDesired, ConnectionDesired, PolicyDesired, TunnelDesired};
use causeway_model::reason::ReasonCode;
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};
use causeway_model::{ConnectionId, Family};

use crate::explained::{asked, moved, picture};
use crate::rules::{connect, ip, net, pings, second};
use crate::world::{Outside, PATIENCE, Room, World, sh, wait, wait_for, within};

/// A promise and what holds it to account.
struct Case {
    rule: u8,
    promise: &'static str,
    holds: fn(&mut Stage),
}

const fn rule(rule: u8, promise: &'static str, holds: fn(&mut Stage)) -> Case {
    Case { rule, promise, holds }
}

const CASES: &[Case] = &[
    rule(7, "only from sources inside that connection's `prefix_filter_in`", |stage| {
        stage.forwards("10.2.9.9", "10.1.0.10");
        stage.forwards("fd00:2::99", "fd00:1::10");
        stage.drops("10.3.0.9", "10.1.0.10", "drop_source_policy");
        stage.drops("fd00:3::9", "fd00:1::10", "drop_source_policy");
    }),
    rule(7, "only to destinations of the attached VPC inside its `prefix_filter_out`", |stage| {
        stage.drops("10.2.9.9", "10.1.1.10", "drop_destination");
        stage.drops("fd00:2::99", "fd00:11::10", "drop_destination");
        // Listed, but not of this VPC; the gateway has a route to it by hand, so that the filter decides.
        let gateway = Namespace::open(&stage.world.a.gateway_namespace()).expect("the gateway");
        sh(&gateway, "ip route add 192.168.7.0/24 via inet6 fe80::1 dev vpc0");
        stage.drops("10.2.9.9", "192.168.7.7", "drop_destination");
        sh(&gateway, "ip route del 192.168.7.0/24");
        // The router's own address is of the VPC, the gateway's takes nothing of a customer.
        stage.forwards("10.2.9.9", "10.1.0.1");
        stage.drops("10.2.9.9", "10.1.0.2", "drop_input_tunnel");
    }),
    rule(7, "the interconnection peer may reach our BGP, BFD and ICMP", |stage| {
        assert_eq!(stage.world.a.sessions_up(), 2, "BGP");
        let device = stage.device.clone();
        assert!(pings(&device, "169.254.0.1") && pings(&device, "fd99::1"), "ICMP");
        let gateway = Namespace::open(&stage.world.a.gateway_namespace()).expect("the gateway");
        for (port, comes) in [(3784, true), (3785, true), (3786, false)] {
            let ours = gateway.run(|| UdpSocket::bind(("169.254.0.1", port))).expect("run").expect("bind");
            let theirs = device.run(|| UdpSocket::bind("169.254.0.2:0")).expect("run").expect("bind");
            // What is not to come is followed by something that is known to have come after it.
            let before = stage.counters()["drop_input_tunnel"];
            theirs.send_to(b"x", ("169.254.0.1", port)).expect("sent");
            if comes {
                ours.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                assert_eq!(ours.recv(&mut [0; 1]).expect("BFD"), 1, "port {port}");
            } else {
                wait_for("it is dropped", || stage.counters()["drop_input_tunnel"] > before);
            }
        }
    }),
    rule(7, "ICMP errors that quote a packet of the VPC pass (path MTU, traceroute)", |stage| {
        let traced = sh(&stage.world.a.host.0, "traceroute -n -I -q 1 -w 3 10.2.0.10");
        let hops: Vec<&str> = traced.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(hops, ["10.1.0.1", "10.1.0.2", "169.254.0.2", "10.2.0.1", "10.2.0.10"], "{traced}");
        // A narrower place behind the tunnel says so, and the host hears it.
        let far = Namespace::open(&stage.world.b.router_namespace()).expect("the far router");
        let port = format!("p-{}", stage.world.b.desired.vpcs[0].networks[0].id.short());
        sh(&far, &format!("ip link set {port} mtu 1300"));
        let host = &stage.world.a.host.0;
        for (to, family) in [("10.2.0.10", "-4"), ("fd00:2::10", "-6")] {
            let said = wait("the narrow place is told", PATIENCE, || {
                let _ = within(host, &format!("ping {family} -n -c 1 -W 1 -M do -s 1352 {to}"));
                Some(sh(host, &format!("ip {family} route get {to}"))).filter(|shown| shown.contains(" mtu 1300"))
            });
            assert!(said.contains(to), "{said}");
        }
        sh(&far, &format!("ip link set {port} mtu 1500"));
        sh(host, "ip route flush cache");
        sh(host, "ip -6 route flush cache");
    }),
    rule(
        7,
        "sources inside the VPC's own subnets, martians and other connections' interconnection subnets are always dropped",
        |stage| {
            for (source, to, counter) in [
                ("10.1.0.77", "10.1.0.10", "drop_source_vpc"),
                ("fd00:1::77", "fd00:1::10", "drop_source_vpc"),
                ("10.1.1.77", "10.1.0.10", "drop_source_vpc"),
                ("169.254.77.7", "10.1.0.10", "drop_source_martian"),
                ("169.254.9.2", "10.1.0.10", "drop_source_interconnection"),
                ("fd99:9::2", "fd00:1::10", "drop_source_interconnection"),
            ] {
                stage.drops(source, to, counter);
            }
        },
    ),
    rule(7, "the policy decides, not the current routes, so asymmetric paths work", |stage| {
        // Nobody announces 10.2.9.0/24, so there is no way back: the packet is forwarded all the same.
        assert_eq!(stage.world.a.received("10.2.9.0/24"), None);
        stage.forwards("10.2.9.9", "10.1.0.10");
    }),
    rule(7, "with propagation off neither direction forwards anything but the interconnection subnet", |stage| {
        stage.edit(|connection| connection.propagate = false);
        for family in Family::ALL {
            stage.world.wait_silence(family);
        }
        stage.drops("10.2.9.9", "10.1.0.10", "drop_closed");
        assert!(pings(&stage.device, "169.254.0.1"));
        assert_eq!(stage.world.a.sessions_up(), 2);
        stage.edit(|connection| connection.propagate = true);
        stage.world.wait_flow();
    }),
    rule(8, "TCP MSS is clamped to the tunnel", |stage| {
        let mtu = stage.mtu();
        for (to, headers) in [("10.2.0.10", 40), ("fd00:2::10", 60)] {
            let address = SocketAddr::new(ip(to), 8000);
            let (a, b) = (&stage.world.a.host.0, &stage.world.b.host.0);
            let listener = b.run(|| TcpListener::bind(address)).expect("run").expect("bind");
            let stream = a.run(|| TcpStream::connect_timeout(&address, PATIENCE)).expect("run").expect("connected");
            let _accepted = listener.accept().expect("accepted");
            // Each side sends segments of what the other announced, less its own options (time stamps: 12).
            for (host, side) in [(a, "dport"), (b, "sport")] {
                let shown = sh(host, &format!("ss -tinH {side} = :8000"));
                let mss = shown.split_whitespace().find_map(|word| word.strip_prefix("mss:")?.parse::<u32>().ok());
                let mss = mss.unwrap_or_else(|| panic!("no mss in {shown}"));
                assert!(mss + 12 + headers <= mtu && mss + 24 + headers >= mtu, "{mss} of {mtu} to {to}");
            }
            drop(stream);
        }
    }),
    rule(8, "the MTU is computed from the negotiated cipher and shown", |stage| {
        let first = stage.mtu();
        stage.world.fits_exactly(first);
        // Blocks of 16 octets and a longer check value leave less room.
        let other = Cipher {
            encryption: Encryption::Aes256,
            integrity: Some(Integrity::Sha512),
            dh_group: Some(DhGroup::Curve25519),
        };
        stage.world.b.edit_connection(|connection| connection.esp_proposals = vec![other]);
        stage.world.b.wait_applied();
        stage.world.a.edit_connection(|connection| {
            connection.esp_proposals = vec![other];
            connection.reauthenticate += 1;
        });
        let mtu = wait("another MTU", 3 * PATIENCE, || Some(stage.mtu()).filter(|mtu| *mtu != first));
        assert!(mtu < first, "{mtu} and {first}");
        stage.world.wait_flow();
        stage.world.fits_exactly(mtu);
    }),
    rule(9, "a VPC has a router: address `.1` (and `::1`) on each of its Private Networks", |stage| {
        for address in ["10.1.0.1", "fd00:1::1"] {
            assert!(pings(&stage.world.a.host.0, address), "{address}");
        }
        for address in ["10.1.1.1", "fd00:11::1"] {
            assert!(pings(&stage.c.0, address), "{address}");
        }
    }),
    rule(9, "it knows the gateways and links behind it", |stage| {
        let router = Namespace::open(&stage.world.a.router_namespace()).expect("the router");
        let link = format!("g-{}", stage.world.a.desired.gateways[0].id.short());
        for (family, prefix) in [("-4", "10.2.0.0/24"), ("-4", "10.1.0.2"), ("-6", "fd00:2::/64"), ("-6", "fd00:1::2")]
        {
            let shown = sh(&router, &format!("ip {family} route show {prefix}"));
            assert!(shown.contains(&link), "{prefix}: {shown}");
        }
    }),
    rule(9, "applies the network ACLs to everything that crosses it", |stage| {
        let (a, b, c) = (stage.world.a.host.0.clone(), stage.world.b.host.0.clone(), stage.c.0.clone());
        let ways = [
            (&a, "10.1.0.10", "10.1.1.10"),
            (&c, "10.1.1.10", "10.1.0.10"),
            (&a, "10.1.0.10", "10.2.0.10"),
            (&b, "10.2.0.10", "10.1.0.10"),
        ];
        for (from, source, to) in ways {
            assert!(pings(from, to), "{to}");
            stage.explains(source, to, None);
        }
        stage.list(AclAction::Drop);
        for (from, source, to) in ways {
            assert!(!pings(from, to), "{to}");
            stage.explains(source, to, Some(ReasonCode::AclDenied));
        }
        stage.list(AclAction::Accept);
        stage.world.wait_flow();
    }),
    rule(9, "shows in traceroute", |stage| {
        let traced = sh(&stage.world.a.host.0, "traceroute -n -I -q 1 -w 3 10.1.1.10");
        let hops: Vec<&str> = traced.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(hops, ["10.1.0.1", "10.1.1.10"], "{traced}");
    }),
    rule(9, "gateways hold their Private Network addresses as /32 and /128 behind it", |stage| {
        let gateway = Namespace::open(&stage.world.a.gateway_namespace()).expect("the gateway");
        let shown = sh(&gateway, "ip -o addr show");
        assert!(shown.contains("10.1.0.2/32") && shown.contains("fd00:1::2/128"), "{shown}");
    }),
    rule(9, "route the whole VPC including their own subnet through it", |stage| {
        let gateway = Namespace::open(&stage.world.a.gateway_namespace()).expect("the gateway");
        for host in ["10.1.0.10", "10.1.1.10", "fd00:1::10", "fd00:11::10"] {
            let shown = sh(&gateway, &format!("ip route get {host}"));
            assert!(shown.contains("fe80::1 dev vpc0"), "{shown}");
        }
    }),
    rule(9, "and take forwarded packets only from it", |stage| {
        let gateway = Namespace::open(&stage.world.a.gateway_namespace()).expect("the gateway");
        let rules = sh(&gateway, "nft list ruleset");
        let chain = rules.split("chain ").find(|chain| chain.contains("hook forward")).expect("a chain");
        assert!(chain.contains("policy drop"), "{chain}");
        // Nothing is accepted but by the chains that packets of these links go to.
        let accepted = chain.lines().filter(|line| line.contains("goto ") || line.contains("accept"));
        for line in accepted {
            assert!(line.contains("iifname"), "{line}");
            let mut links = line.split('"').skip(1).step_by(2);
            assert!(links.all(|link| link == "vpc0" || link.starts_with("cw-")), "{line}");
        }
        // By any other link a packet ends here, though there is a way on.
        let device = stage.device.clone();
        let path = device.path().display().to_string();
        sh(&gateway, &format!("ip link add stray type veth peer name stray netns {path}"));
        for (namespace, address) in [(&gateway, "10.77.0.1/24"), (&device, "10.77.0.2/24")] {
            sh(namespace, &format!("ip addr add {address} dev stray"));
            sh(namespace, "ip link set stray up");
        }
        sh(&device, "ip route add 10.1.0.10/32 via 10.77.0.1 dev stray");
        wait_for("it came and was dropped", || {
            let counted = moved(&gateway, || {
                let _ = within(&device, "ping -n -c 1 -W 1 -I 10.77.0.2 10.1.0.10");
            });
            assert!(!counted.contains_key("forwarded_in"), "{counted:?}");
            counted.contains_key("drop_forward_other")
        });
        sh(&gateway, "ip link del stray");
    }),
    rule(9, "redirects are off (and ICMPv6 redirects dropped)", |stage| {
        for name in [stage.world.a.gateway_namespace(), stage.world.a.router_namespace()] {
            let namespace = Namespace::open(&name).expect("a namespace");
            let off = [
                "net.ipv4.conf.all.send_redirects",
                "net.ipv4.conf.default.send_redirects",
                "net.ipv4.conf.all.accept_redirects",
                "net.ipv6.conf.all.accept_redirects",
            ];
            for key in off {
                assert_eq!(sh(&namespace, &format!("sysctl -n {key}")).trim(), "0", "{key} in {name}");
            }
            let rules = sh(&namespace, "nft list ruleset");
            let chain =
                |hook: &str| rules.split("chain ").any(|chain| chain.contains(hook) && chain.contains("nd-redirect"));
            assert!(chain("hook forward") && chain("hook output"), "{rules}");
        }
    }),
    rule(9, "hosts on the gateway's own Private Network go the same way, so no ACL is bypassed", |stage| {
        let a = stage.world.a.host.0.clone();
        assert!(pings(&a, "10.1.0.2"));
        stage.explains("10.1.0.10", "10.1.0.2", None);
        stage.list(AclAction::Drop);
        assert!(!pings(&a, "10.1.0.2") && !pings(&a, "10.2.0.10"));
        stage.explains("10.1.0.10", "10.1.0.2", Some(ReasonCode::AclDenied));
        stage.list(AclAction::Accept);
        stage.world.wait_flow();
    }),
    rule(9, "it moves with gratuitous ARP/ND", |stage| {
        let host = stage.world.a.host.0.clone();
        stage.world.a.kill();
        for address in ["10.1.0.1", "fd00:1::1"] {
            sh(&host, &format!("ip neigh replace {address} lladdr 02:00:00:00:00:77 nud stale dev eth0"));
        }
        stage.world.a.start();
        // The host sends nothing, so it is told.
        wait_for("the neighbours are told", || !sh(&host, "ip neigh show").contains("02:00:00:00:00:77"));
        stage.world.wait_up();
        stage.world.wait_flow();
    }),
    rule(10, "gateway bandwidth is enforced in both directions", |stage| {
        const BITS: u64 = 2_000_000;
        const BURST: f64 = 65_536.0;
        stage.world.a.edit(|desired| desired.gateways[0].bandwidth = BITS);
        stage.world.a.wait_applied();
        let gateway = Namespace::open(&stage.world.a.gateway_namespace()).expect("the gateway");
        let device = stage.world.a.connection().expect("facts").id;
        // What comes out of a tunnel is what the kernel receives by its link: here, and at the device.
        let (far, other) = (stage.device.clone(), stage.world.b.connection().expect("facts").id);
        let received = |namespace: &Namespace, id: ConnectionId| -> u64 {
            let shown = sh(namespace, &format!("ip -j -s link show dev cw-{}", id.short()));
            let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
            shown.pointer("/0/stats64/rx/bytes").and_then(serde_json::Value::as_u64).expect("a counter")
        };
        let arrived = || received(&far, other);
        let inwards = || received(&gateway, device);
        let directions: [(&Namespace, &str, &dyn Fn() -> u64); 2] =
            [(&stage.world.b.host.0, "10.1.0.10", &inwards), (&stage.world.a.host.0, "10.2.0.10", &arrived)];
        for (from, to, count) in directions {
            let (begun, before) = (Instant::now(), count());
            let flood = UdpFlood::start(from, to);
            wait("enough came through", 3 * PATIENCE, || (count() - before > BITS / 4).then_some(()));
            let (came, took) = (count() - before, begun.elapsed());
            drop(flood);
            // A slow machine moves less and never more. What may pass at once comes on top.
            let most = took.as_secs_f64() * 1.05 * (BITS / 8) as f64 + BURST;
            assert!((came as f64) <= most, "{came} octets in {took:?}");
            wait_for("the rest is dropped", || {
                let facts = stage.world.a.connection().expect("facts");
                facts.tunnels.iter().any(|tunnel| tunnel.counters.drops.get("shaped").is_some_and(|count| *count > 0))
            });
        }
        stage.world.a.edit(|desired| desired.gateways[0].bandwidth = 0);
        stage.world.a.wait_applied();
        stage.world.wait_flow();
    }),
];

/// Datagrams without end, from a thread.
pub(crate) struct UdpFlood(std::sync::Arc<std::sync::atomic::AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl UdpFlood {
    pub(crate) fn start(from: &Namespace, to: &str) -> Self {
        let socket = from.run(|| UdpSocket::bind("0.0.0.0:0")).expect("run").expect("bind");
        let to = SocketAddr::new(ip(to), 9);
        let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let end = std::sync::Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            while !end.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = socket.send_to(&[7; 1000], to);
                // About 16 Mbit/s: far more than passes, far less than the machine's all.
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        Self(ended, Some(thread))
    }
}

impl Drop for UdpFlood {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

struct Stage {
    world: World,
    /// The namespace of side b's gateway.
    device: Namespace,
    /// On side a's second Private Network.
    c: Room,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new("rule", Outside::Ipv4);
        sh(&world.a.machine.0, "ip link add lan0 type bridge");
        second(&mut world.a);
        let c = connect(&world.a.machine.0, "cwnd-rule-c");
        world.a.edit_connection(|connection| {
            for (bgp, [accept, announce]) in
                connection.bgp.iter_mut().zip([["10.2.0.0/16", "192.168.0.0/16"], ["fd00:2::/32", "fd00:77::/32"]])
            {
                let policy = bgp.policy.as_mut().expect("a policy");
                policy.prefix_filter_in = vec![net(accept)];
                policy.prefix_filter_out.push(net(announce));
            }
        });
        world.a.edit(|desired| {
            let connections = &mut desired.gateways[0].connections;
            let other = another(&connections[0]);
            connections.push(other);
        });
        world.wait_up();
        world.wait_flow();
        let device = Namespace::open(&world.b.gateway_namespace()).expect("the gateway");
        let tun = format!("cw-{}", world.b.desired.gateways[0].connections[0].id.short());
        for address in ["10.2.9.9", "10.3.0.9", "10.1.0.77", "10.1.1.77", "169.254.77.7", "169.254.9.2"] {
            sh(&device, &format!("ip addr add {address}/32 dev lo"));
        }
        for address in ["fd00:2::99", "fd00:3::9", "fd00:1::77", "fd99:9::2"] {
            sh(&device, &format!("ip addr add {address}/128 dev lo nodad"));
        }
        // Whatever it has learned.
        for to in ["10.1.0.0/24", "10.1.1.0/24", "192.168.7.0/24"] {
            sh(&device, &format!("ip route add {to} via 169.254.0.1 dev {tun} onlink metric 9999"));
        }
        for to in ["fd00:1::/64", "fd00:11::/64"] {
            sh(&device, &format!("ip -6 route add {to} via fd99::1 dev {tun} onlink metric 9999"));
        }
        Self { world, device, c }
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        self.world.a.counters()
    }

    /// What was counted while the device sent one echo.
    fn sent(&self, source: &str, to: &str) -> BTreeMap<String, u64> {
        let gateway = Namespace::open(&self.world.a.gateway_namespace()).expect("the gateway");
        moved(&gateway, || {
            let _ = within(&self.device, &format!("ping -n -c 1 -W 1 -I {source} {to}"));
        })
    }

    fn forwards(&self, source: &str, to: &str) {
        let moved = self.sent(source, to);
        assert!(moved.get("forwarded_in") == Some(&1), "{source} to {to}: {moved:?}");
        self.explains(source, to, None);
    }

    fn drops(&self, source: &str, to: &str, counter: &str) {
        let moved = self.sent(source, to);
        assert!(moved.contains_key(counter) && !moved.contains_key("forwarded_in"), "{source} to {to}: {moved:?}");
        let reason = match counter {
            "drop_source_policy" => ReasonCode::SourceNotAllowed,
            "drop_destination" => ReasonCode::DestinationNotAllowed,
            "drop_source_martian" | "drop_source_interconnection" => ReasonCode::ForgedSource,
            "drop_closed" => ReasonCode::PropagationDisabled,
            "drop_input_tunnel" => ReasonCode::PlatformAddress,
            // A question does not say where a packet comes in: one from an address of the VPC is about the host that has it.
            "drop_source_vpc" => return,
            other => panic!("what an explanation says of {other} is not known"),
        };
        self.explains(source, to, Some(reason));
    }

    /// What is said of an echo: delivered, or dropped for this reason.
    fn explains(&self, source: &str, to: &str, reason: Option<ReasonCode>) {
        let verdict = if reason.is_none() { "delivered" } else { "dropped" };
        let answer = asked(&picture(&self.world.a), AclProtocol::Icmp, source, to);
        assert_eq!(answer, (verdict, reason), "{source} to {to}");
    }

    fn edit(&mut self, change: impl FnOnce(&mut ConnectionDesired)) {
        self.world.a.edit_connection(change);
        self.world.a.wait_applied();
    }

    /// The default of the IPv4 list, which has no rules.
    fn list(&mut self, default_action: AclAction) {
        self.world.a.edit(|desired| desired.vpcs[0].acl_ipv4 = Acl { default_action, rules: Vec::new() });
        self.world.a.wait_applied();
    }

    fn mtu(&self) -> u32 {
        self.world.a.connection().expect("facts").tunnels[0].mtu
    }
}

/// A connection to a device that is not there.
pub(crate) fn another(like: &ConnectionDesired) -> ConnectionDesired {
    let lists =
        |accept: &str| Some(PolicyDesired { prefix_filter_in: vec![net(accept)], prefix_filter_out: Vec::new() });
    ConnectionDesired {
        // Reports have connections in the order of their ids, and the first is the one that is looked at.
        id: std::iter::repeat_with(ConnectionId::random).find(|id| *id > like.id).expect("half of all are greater"),
        tunnels: vec![TunnelDesired { local: like.tunnels[0].local, peer: ip("192.0.2.99") }],
        initiate: false,
        ike_proposals: like.ike_proposals.clone(),
        bgp: vec![
            BgpDesired { local: net("169.254.9.1/30"), peer: net("169.254.9.2/30"), policy: lists("172.30.0.0/16") },
            BgpDesired { local: net("fd99:9::1/126"), peer: net("fd99:9::2/126"), policy: lists("fd30::/16") },
        ],
        ..like.clone()
    }
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn every_promise_about_packets() {
    let mut stage = Stage::new();
    let mut broken = Vec::new();
    for Case { rule, promise, holds } in CASES {
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| holds(&mut stage)));
        if held.is_err() {
            broken.push(format!("rule {rule}: {promise}"));
        }
    }
    assert!(broken.is_empty(), "broken:\n{}", broken.join("\n"));
}
