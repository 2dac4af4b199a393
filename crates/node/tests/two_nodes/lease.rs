//! A node under a forwarding lease: nothing of its gateways is heard but while the lease counts, from before the first one starts until after
//! the process is stopped or gone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use causeway_linux::Namespace;
use causeway_model::desired::{GatewayDesired, TunnelDesired};
use causeway_model::{ConnectionId, Family, ReasonCode, VpnGatewayId};
use rustix::process::Signal;

use crate::rules::{ip, net};
use crate::world::{Outside, Room, Side, World, sh, wait_for, within};

/// A life that outlasts the test, milliseconds.
pub(crate) const LONG: u32 = 600_000;
/// One whose end is waited for: long enough for a machine that is busy to do something meanwhile.
pub(crate) const SHORT: u32 = 4_000;
/// The public addresses of a's gateways; the last one belongs to the gateway that comes later.
const PUBLIC: [&str; 3] = ["192.0.2.1", "2001:db8::1", "192.0.2.11"];

/// Who keeps a's lease.
pub(crate) struct Keeper {
    orders: PathBuf,
    given: usize,
    number: u32,
}

impl Keeper {
    pub(crate) fn new(side: &mut Side) -> Self {
        let orders = side.directory.join("lease");
        let _ = std::fs::remove_file(orders.with_extension("done"));
        std::fs::write(&orders, "close\n").expect("written");
        side.lease = Some(orders.clone());
        Self { orders, given: 1, number: 0 }
    }

    fn tell(&mut self, order: &str) {
        let before = std::fs::read_to_string(&self.orders).expect("the orders");
        // At once, so that no half line is read.
        let new = self.orders.with_extension("new");
        std::fs::write(&new, format!("{before}{order}\n")).expect("written");
        std::fs::rename(new, &self.orders).expect("in place");
        self.given += 1;
        let done = || std::fs::read_to_string(self.orders.with_extension("done")).unwrap_or_default();
        wait_for(order, || done().lines().count() == self.given);
        assert_eq!(done().lines().last(), Some("done"), "{order}");
    }

    /// Waits until the newest element is dead.
    pub(crate) fn wait_end(&self, side: &Side) {
        let element = format!("{} timeout", self.number);
        wait_for("the element's end", || !sh(&side.machine.0, "nft list table inet causeway_lease").contains(&element));
    }

    /// A question that leaves now and is answered at once.
    pub(crate) fn hold(&mut self, life: u32) {
        self.number += 1;
        self.tell(&format!("arm {} {life}", self.number));
        self.tell(&format!("count {}", self.number));
    }
}

/// Counts, in the other machine, what comes from each of a's public addresses, and what says where they are.
fn listen(machine: &Room) {
    let hooks =
        [("ip", "prerouting", "ip saddr"), ("ip6", "prerouting", "ip6 saddr"), ("arp", "input", "arp saddr ip")];
    for (table, hook, field) in hooks {
        sh(&machine.0, &format!("nft add table {table} heard"));
        sh(&machine.0, &format!("nft add chain {table} heard {hook} {{ type filter hook {hook} priority 0 ; }}"));
        let of_table = |address: &str| address.contains(':') == (table == "ip6");
        for (number, address) in PUBLIC.iter().enumerate().filter(|(_, address)| of_table(address)) {
            let name = format!("{table}_{number}");
            sh(&machine.0, &format!("nft add counter {table} heard {name}"));
            sh(&machine.0, &format!("nft add rule {table} heard {hook} {field} {address} counter name {name}"));
        }
    }
}

/// What was heard, but for nothing.
fn heard(machine: &Room) -> BTreeMap<String, u64> {
    let listing = sh(&machine.0, "nft -j list counters");
    let listing: serde_json::Value = serde_json::from_str(&listing).expect("JSON");
    let counters = listing["nftables"].as_array().expect("a list").iter().map(|entry| &entry["counter"]);
    let ours = counters.filter(|counter| counter["table"] == "heard" && counter["packets"] != 0);
    ours.map(|counter| {
        (counter["name"].as_str().expect("a name").to_owned(), counter["packets"].as_u64().expect("so many"))
    })
    .collect()
}

/// What a says of its tunnels.
fn reasons(side: &Side) -> Vec<Option<ReasonCode>> {
    let report = side.report();
    let tunnels = report.connections.iter().flat_map(|connection| &connection.tunnels);
    tunnels.map(|tunnel| tunnel.fault.as_ref().map(|fault| fault.code)).collect()
}

fn says_lapsed(side: &Side) -> bool {
    let reasons = reasons(side);
    !reasons.is_empty() && reasons.iter().all(|reason| *reason == Some(ReasonCode::LeaseLost))
}

fn wait_lapsed(side: &Side) {
    wait_for("the node says that it has no lease", || says_lapsed(side));
}

fn reaches_router(side: &Side) -> bool {
    let _ = within(&side.host.0, "ip neigh flush all");
    side.pings(ip("10.1.0.1")) || side.pings(ip("fd00:1::1"))
}

/// From its own addresses, which the node needs for everything else.
fn machines_talk(world: &World) -> bool {
    ["-I 192.0.2.251 192.0.2.252", "-I 2001:db8::f1 2001:db8::f2"]
        .iter()
        .all(|way| within(&world.a.machine.0, &format!("ping -n -c 1 -W 1 {way}")).is_some())
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn gateways_are_heard_only_while_the_lease_counts() {
    let mut world = World::new("lease", Outside::Both);
    world.a.kill();
    let mut keeper = Keeper::new(&mut world.a);
    world.a.start();
    // Until the gate is there the kernel still answers for what the killed process left; what left before it has arrived when this has.
    wait_for("the gate", || sh(&world.a.machine.0, "nft list tables").contains("inet causeway_lease"));
    assert!(machines_talk(&world));
    listen(&world.b.machine);
    world.a.wait_applied();
    wait_lapsed(&world.a);
    assert_eq!(reasons(&world.a), [Some(ReasonCode::LeaseLost); 2]);
    assert_eq!(heard(&world.b.machine), BTreeMap::new(), "gateways run, and nobody has heard of them");
    assert!(!reaches_router(&world.a));
    assert!(machines_talk(&world));
    let deprecated = sh(&world.a.machine.0, "ip -6 addr show dev up0 deprecated");
    assert!(deprecated.contains(PUBLIC[1]), "no source of the machine's own traffic: {deprecated}");

    keeper.hold(LONG);
    world.wait_up();
    world.wait_flow();
    wait_for("the reason goes", || reasons(&world.a) == [None, None]);
    assert!(reaches_router(&world.a));

    // It runs out. A gateway that comes then is not heard either.
    keeper.hold(SHORT);
    keeper.wait_end(&world.a);
    let before = heard(&world.b.machine);
    assert!(before.contains_key("ip_0") && before.contains_key("ip6_1"), "{before:?}");
    let (late, second) = (VpnGatewayId::random(), ConnectionId::random());
    world.a.edit(|desired| {
        let mut gateway = GatewayDesired {
            id: late,
            private_addresses: vec![net("10.1.0.3/24"), net("fd00:1::3/64")],
            public_addresses: vec![ip(PUBLIC[2])],
            ..desired.gateways[0].clone()
        };
        let connection = &mut gateway.connections[0];
        connection.id = second;
        connection.tunnels = vec![TunnelDesired { local: ip(PUBLIC[2]), peer: ip("192.0.2.2") }];
        connection.bgp = Vec::new();
        desired.gateways.push(gateway);
    });
    world.a.wait_applied();
    wait_lapsed(&world.a);
    let gate = sh(&world.a.machine.0, "nft list table inet causeway_lease");
    assert!(gate.contains(PUBLIC[2]), "{gate}");
    world.wait_silence(Family::Ipv4);
    world.wait_silence(Family::Ipv6);
    let _ = within(&world.b.machine.0, "ip neigh flush all");
    for address in PUBLIC {
        let found = within(&world.b.machine.0, &format!("ping -n -c 1 -W 1 {address}"));
        assert!(found.is_none(), "nobody answers for {address}");
    }
    assert_eq!(heard(&world.b.machine), before, "since the element's end");
    assert!(!reaches_router(&world.a));
    assert!(machines_talk(&world));

    keeper.hold(LONG);
    world.wait_up();
    world.wait_flow();
    wait_for("the late one is announced", || heard(&world.b.machine).contains_key("arp_2"));
    wait_for("and heard", || heard(&world.b.machine).contains_key("ip_2"));
    assert!(world.a.terminate(), "an orderly end");
    assert!(!sh(&world.a.machine.0, "nft list tables").contains("causeway_lease"), "takes the gate along");
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn a_node_that_is_stopped_or_killed_falls_silent_by_itself() {
    let mut world = World::new("stopped", Outside::Ipv4);
    world.a.kill();
    let mut keeper = Keeper::new(&mut world.a);
    world.a.start();
    listen(&world.b.machine);
    keeper.hold(LONG);
    world.wait_up();
    world.wait_flow();

    // Stopped with packets under way in both directions: they are in its sockets and devices when it goes on.
    let count = |namespace: &Namespace, rule: &str| {
        sh(namespace, "nft add table ip seen");
        sh(namespace, "nft add chain ip seen in { type filter hook prerouting priority 0 ; }");
        sh(namespace, &format!("nft add rule ip seen in {rule} counter"));
    };
    count(&world.a.host.0, "ip saddr 10.2.0.10");
    count(&world.b.host.0, "ip saddr 10.1.0.10");
    let seen = |namespace: &Namespace| sh(namespace, "nft list table ip seen");
    keeper.hold(SHORT);
    world.a.signal(Signal::STOP);
    for (from, to) in [(&world.a, "10.2.0.10"), (&world.b, "10.1.0.10")] {
        let _ = within(&from.host.0, &format!("ping -n -q -c 20 -i 0.01 -W 0.1 {to}"));
    }
    keeper.wait_end(&world.a);
    let before = (heard(&world.b.machine), seen(&world.a.host.0), seen(&world.b.host.0));
    let public: IpAddr = ip(PUBLIC[0]);
    let addresses = sh(&world.a.machine.0, "ip -o addr show dev up0");
    assert!(addresses.contains(&format!(" {public}/32")), "it is there still: {addresses}");
    world.a.signal(Signal::CONT);
    wait_lapsed(&world.a);
    world.wait_silence(Family::Ipv4);
    assert_eq!((heard(&world.b.machine), seen(&world.a.host.0), seen(&world.b.host.0)), before);
    assert!(machines_talk(&world));

    // It forwards again with the next number, and a kill changes nothing of when that ends.
    keeper.hold(LONG);
    world.wait_up();
    world.wait_flow();
    keeper.hold(SHORT);
    world.a.kill();
    keeper.wait_end(&world.a);
    assert!(!world.a.leftovers().is_empty(), "addresses and namespaces stay");
    let _ = within(&world.b.machine.0, "ip neigh flush all");
    assert!(within(&world.b.machine.0, "ping -n -c 1 -W 1 192.0.2.1").is_none(), "nobody answers for it");
    assert!(!reaches_router(&world.a));

    // One that needs no lease takes away what the one before has left.
    world.a.lease = None;
    world.a.start();
    world.wait_up();
    world.wait_flow();
    assert!(!sh(&world.a.machine.0, "nft list tables").contains("causeway_lease"));
}

/// An `nft` that refuses the gate while there is a file `DIRECTORY/refuse`.
fn program_that_refuses(directory: &Path) -> PathBuf {
    let programs = directory.join("programs");
    std::fs::create_dir_all(&programs).expect("a directory");
    let text = format!(
        "#!/bin/sh\n\
         text=$(cat)\n\
         case \"$text\" in *causeway_lease*)\n\
         if [ -e {}/refuse ]; then echo 'no such hook' >&2; exit 1; fi;;\n\
         esac\n\
         printf '%s\\n' \"$text\" | exec /usr/sbin/nft \"$@\"\n",
        directory.display()
    );
    let nft = programs.join("nft");
    std::fs::write(&nft, text).expect("written");
    std::fs::set_permissions(&nft, std::fs::Permissions::from_mode(0o755)).expect("executable");
    programs
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn no_gateway_starts_behind_a_gate_that_cannot_be_made() {
    let mut world = World::new("nogate", Outside::Ipv4);
    world.a.kill();
    let mut keeper = Keeper::new(&mut world.a);
    world.a.programs = Some(program_that_refuses(&world.a.directory));
    let refuse = world.a.directory.join("refuse");
    std::fs::write(&refuse, "").expect("written");
    world.a.start();
    let refused = |side: &Side| side.report().gateways.first().and_then(|gateway| gateway.refused.clone());
    wait_for("the refusal", || refused(&world.a).is_some());
    listen(&world.b.machine);
    let refusal = refused(&world.a).expect("it stays");
    assert_eq!(refusal.item, "packet filter of the forwarding lease");
    assert!(refusal.error.contains("no such hook"), "{refusal:?}");
    let told = std::fs::read_to_string(keeper.orders.with_extension("done")).expect("an answer");
    assert!(told.contains("no such hook"), "whoever keeps the lease knows it, too: {told}");
    assert_eq!(heard(&world.b.machine), BTreeMap::new());
    let addresses = sh(&world.a.machine.0, "ip -o addr show dev up0");
    assert!(!addresses.contains(&format!(" {}/", PUBLIC[0])), "{addresses}");

    // It heals by itself, into a closed one.
    std::fs::remove_file(refuse).expect("removed");
    world.a.wait_applied();
    wait_lapsed(&world.a);
    assert_eq!(heard(&world.b.machine), BTreeMap::new());
    keeper.hold(LONG);
    world.wait_up();
    world.wait_flow();
}
