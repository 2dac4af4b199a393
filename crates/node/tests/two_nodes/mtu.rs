//! The MTU inside a connection with two tunnels (system.md §1.1).

use causeway_linux::Namespace;
use causeway_model::Family;

use crate::world::{Outside, Side, World, sh, wait_for};

/// What is shown of each tunnel, and what the kernel has for the device that both share.
fn mtus(side: &Side) -> Vec<u32> {
    let Some(facts) = side.connection() else { return Vec::new() };
    let gateway = Namespace::open(&side.gateway_namespace()).expect("the gateway");
    let link = sh(&gateway, &format!("ip -j link show dev cw-{}", facts.id.short()));
    let link: serde_json::Value = serde_json::from_str(&link).expect("JSON");
    let link = link.pointer("/0/mtu").and_then(serde_json::Value::as_u64).expect("an MTU");
    let shown = facts.tunnels.iter().map(|tunnel| tunnel.mtu);
    shown.chain([u32::try_from(link).expect("an MTU")]).collect()
}

fn wait_mtu(world: &World, mtu: u32, tunnels: usize) {
    for side in [&world.a, &world.b] {
        wait_for(&format!("an MTU of {mtu}"), || mtus(side) == vec![mtu; tunnels + 1]);
    }
    world.fits_exactly(mtu);
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn the_mtu_inside_is_the_lower_one_of_both_tunnels() {
    let mut world = World::new("mtu", Outside::Both);
    world.wait_up();
    for side in [&world.a, &world.b] {
        wait_for("both tunnels", || Family::ALL.iter().all(|family| side.tunnel_up(*family)));
    }
    world.wait_flow();
    let lower = mtus(&world.a)[0];
    wait_mtu(&world, lower, 2);

    // What is down at present counts nevertheless, so that a change-over moves nothing.
    let machine = world.a.machine.0.clone();
    sh(&machine, "nft add table ip6 cut");
    sh(&machine, "nft add chain ip6 cut in { type filter hook input priority 0 ; }");
    sh(&machine, "nft add rule ip6 cut in udp dport { 500, 4500 } drop");
    for side in [&world.a, &world.b] {
        wait_for("the IPv6 tunnel is missed", || !side.tunnel_up(Family::Ipv6));
    }
    wait_mtu(&world, lower, 2);
    sh(&machine, "nft delete table ip6 cut");

    // Alone, the IPv4 tunnel has more room: its outer header is 20 octets shorter. With the other one it is the lower again.
    let tunnels = [&world.a, &world.b].map(|side| side.desired.gateways[0].connections[0].tunnels.clone());
    for side in [&mut world.a, &mut world.b] {
        side.edit_connection(|connection| connection.tunnels.retain(|tunnel| !tunnel.family().is_ipv6()));
        side.wait_applied();
    }
    world.wait_flow();
    wait_mtu(&world, lower + 20, 1);
    for (side, tunnels) in [&mut world.a, &mut world.b].into_iter().zip(tunnels) {
        side.edit_connection(|connection| connection.tunnels = tunnels);
        side.wait_applied();
    }
    wait_mtu(&world, lower, 2);

    // It follows the underlay, and comes back with it.
    for (octets, inside) in [(1400, lower - 100), (1500, lower)] {
        for side in [&world.a, &world.b] {
            sh(&side.machine.0, &format!("ip link set up0 mtu {octets}"));
        }
        wait_mtu(&world, inside, 2);
    }
    world.wait_flow();
}
