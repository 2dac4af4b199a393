//! Another tenant's router that is not finished holds up nobody.

use std::path::{Path, PathBuf};

use causeway_linux::Namespace;
use causeway_model::desired::{BgpDesired, GatewayDesired, NetworkDesired, TunnelDesired, VpcDesired};
use causeway_model::{ConnectionId, Family, PrivateNetworkId, VpcId, VpnGatewayId};

use crate::rules::{ip, net};
use crate::world::{Outside, PATIENCE, World, sh, wait, wait_for};

/// Rounds in which the program may end of itself, because it is waited for only so long.
const ROUNDS: usize = 5;

/// An `nft` that does not end in the namespace that `DIRECTORY/hang` names, and says in `DIRECTORY/hung` which process that is.
fn program_that_hangs(directory: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let programs = directory.join("programs");
    std::fs::create_dir_all(&programs).expect("a directory");
    let text = format!(
        "#!/bin/sh\n\
         place=$(cat {directory}/hang 2>/dev/null)\n\
         if [ -n \"$place\" ] && [ \"$(stat -L -c %i /proc/self/ns/net)\" = \"$(stat -L -c %i /run/netns/$place 2>/dev/null)\" ]; then\n\
         echo $$ > {directory}/hung.new && mv {directory}/hung.new {directory}/hung\n\
         exec sleep 3600\n\
         fi\n\
         exec /usr/sbin/nft \"$@\"\n",
        directory = directory.display(),
    );
    let nft = programs.join("nft");
    std::fs::write(&nft, text).expect("written");
    std::fs::set_permissions(&nft, std::fs::Permissions::from_mode(0o755)).expect("executable");
    programs
}

/// Whether the process is there and is no corpse.
fn runs(process: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn routes_move_while_another_tenants_router_waits_for_a_program() {
    let mut world = World::new("hung", Outside::Ipv4);
    world.a.kill();
    world.a.programs = Some(program_that_hangs(&world.a.directory));

    // Side a has a second gateway in the same VPC, and side b's gateway a connection to each.
    let (first, second) = (VpnGatewayId::random(), ConnectionId::random());
    let inside = |pair: [&str; 2]| pair.map(net);
    let pairs = [inside(["169.254.5.1/30", "169.254.5.2/30"]), inside(["fd99:5::1/126", "fd99:5::2/126"])];
    let through = |bgp: &[BgpDesired], ours: usize| -> Vec<BgpDesired> {
        let moved = bgp.iter().zip(pairs);
        moved.map(|(bgp, pair)| BgpDesired { local: pair[ours], peer: pair[1 - ours], ..bgp.clone() }).collect()
    };
    let public = |host: u8| ip(&format!("192.0.2.{host}"));
    world.a.edit(|desired| {
        let mut gateway = GatewayDesired {
            id: first,
            private_addresses: vec![net("10.1.0.3/24"), net("fd00:1::3/64")],
            public_addresses: vec![public(11)],
            ..desired.gateways[0].clone()
        };
        let connection = &mut gateway.connections[0];
        connection.id = second;
        connection.tunnels = vec![TunnelDesired { local: public(11), peer: public(2) }];
        connection.bgp = through(&connection.bgp, 0);
        desired.gateways.push(gateway);
    });
    world.a.start();
    let mut other = world.b.desired.gateways[0].connections[0].clone();
    other.id = ConnectionId::random();
    other.tunnels = vec![TunnelDesired { local: public(2), peer: public(11) }];
    other.bgp = through(&other.bgp, 1);
    let kept = world.b.desired.gateways[0].connections[0].clone();
    world.b.edit(|desired| desired.gateways[0].connections.push(other.clone()));

    wait_for("the router", || Namespace::exists(&world.a.router_namespace()) && world.a.vpc().is_some());
    let router = Namespace::open(&world.a.router_namespace()).expect("the router");
    let links = [world.a.desired.gateways[0].id, first].map(|id| format!("dev g-{}", id.short()));
    let ways = || {
        let shown = sh(&router, "ip route show 10.2.0.0/24");
        links.each_ref().map(|link| shown.contains(link.as_str()))
    };
    wait_for("both gateways share the load", || ways() == [true, true]);
    world.wait_flow();

    // Another tenant comes, whose router is never finished.
    let stranger = VpcId::random();
    let directory = world.a.directory.clone();
    let said = || std::fs::read_to_string(directory.join("hung")).ok().map(|text| text.trim().to_owned());
    std::fs::write(directory.join("hang"), format!("cwv-{}", stranger.short())).expect("written");
    world.a.edit(|desired| {
        let subnets = vec![net("10.9.0.0/24")];
        let network = NetworkDesired { id: PrivateNetworkId::random(), subnets, bridge: None };
        desired.vpcs.push(VpcDesired::new(stranger, vec![network]));
    });

    let followed = (0..ROUNDS).any(|_| {
        let process = wait("the program hangs", 4 * PATIENCE, || said().filter(|process| runs(process)));
        // The first connection goes: its device says so.
        world.b.edit(|desired| desired.gateways[0].connections.retain(|connection| connection.id != kept.id));
        wait_for("the way is by the other gateway", || ways() == [false, true]);
        wait_for("traffic goes that way", || world.flows(Family::Ipv4));
        if runs(&process) {
            return true;
        }
        world.b.edit(|desired| desired.gateways[0].connections.push(kept.clone()));
        wait("both ways again", 4 * PATIENCE, || (ways() == [true, true]).then_some(()));
        false
    });
    assert!(followed, "routes moved only after the program had ended");

    // And when it works again, the other tenant's router is finished, too.
    std::fs::remove_file(directory.join("hang")).expect("removed");
    wait("the other router", 4 * PATIENCE, || Namespace::exists(&format!("cwv-{}", stranger.short())).then_some(()));
    wait("all is in force", 4 * PATIENCE, || {
        let report = world.a.report();
        report.vpcs.iter().all(|facts| facts.refused.is_none() && facts.applied > 0).then_some(())
    });
    assert!(world.a.terminate(), "an orderly end");
}
