//! Routes in the namespaces that somebody else has put there: they stay, and nobody is told that ours are in force.

use causeway_linux::Namespace;
use causeway_model::desired::CustomRouteDesired;
use causeway_model::observed::RouteDecision;
use causeway_model::{Family, RouteId};

use crate::rules::{ip, net, pings};
use crate::world::{Outside, PATIENCE, Side, World, sh, wait, wait_for};

/// What the node says of `prefix`, if that is that it is withheld.
fn withheld(side: &Side, prefix: &str) -> Option<String> {
    match side.received(prefix)? {
        RouteDecision::Withheld { because } => Some(because),
        RouteDecision::Installed | RouteDecision::Beaten { .. } | RouteDecision::Filtered { .. } => None,
    }
}

fn shown(namespace: &Namespace, prefix: &str, family: Family) -> String {
    let family = if family.is_ipv6() { "-6" } else { "-4" };
    sh(namespace, &format!("ip {family} route show {prefix}"))
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn a_route_in_whose_place_somebody_elses_stands_is_not_called_installed() {
    let mut world = World::new("forn", Outside::Ipv4);
    world.wait_up();
    world.wait_flow();
    let router = Namespace::open(&world.a.router_namespace()).expect("the router");
    let gateway = Namespace::open(&world.a.gateway_namespace()).expect("the gateway");
    let learned = [("10.2.0.0/24", Family::Ipv4), ("fd00:2::/64", Family::Ipv6)];
    // In either place, of either family; the kernel has IPv6 routes in the same place if their metric is the same, too.
    for (namespace, place) in [(&router, "the VPC's router"), (&gateway, "the gateway")] {
        for (number, (prefix, family)) in learned.into_iter().enumerate() {
            let (other, other_family) = learned[1 - number];
            // Who comes first has the place.
            world.a.edit_connection(|connection| connection.propagate = false);
            wait_for("our routes are gone", || {
                learned.iter().all(|(prefix, family)| shown(namespace, prefix, *family).is_empty())
            });
            let metric = if family.is_ipv6() { " metric 1024" } else { "" };
            sh(namespace, &format!("ip route add unreachable {prefix}{metric}"));
            world.a.edit_connection(|connection| connection.propagate = true);
            let because = wait("it is withheld", PATIENCE, || withheld(&world.a, prefix));
            assert_eq!(because, format!("not_in_kernel of {place}: somebody else's route is in its place"));
            wait_for("the other one is in place", || world.a.received(other) == Some(RouteDecision::Installed));
            wait_for("the other family flows", || world.flows(other_family));
            assert!(!world.a.pings(world.b.host_address(family)), "the operator's route is obeyed");
            assert!(shown(namespace, prefix, family).contains("unreachable"), "and stays");
            // The peer chose it: no configuration is refused for it.
            world.a.wait_applied();
            sh(namespace, &format!("ip route del unreachable {prefix}{metric}"));
            wait_for("ours is in place", || world.a.received(prefix) == Some(RouteDecision::Installed));
            world.wait_flow();
        }
    }
}

#[test]
#[ignore = "needs root, /dev/net/tun and nft"]
fn a_custom_route_that_the_kernel_refuses_is_named_and_the_rest_is_in_force() {
    let mut world = World::new("cref", Outside::Ipv4);
    world.wait_up();
    world.wait_flow();
    let router = Namespace::open(&world.a.router_namespace()).expect("the router");
    let network = world.a.desired.vpcs[0].networks[0].id;
    let route = |destination: &str, hop: Option<&str>| CustomRouteDesired {
        id: RouteId::random(),
        destination: net(destination),
        network,
        next_hop: hop.map(ip),
    };
    // Somebody else's in its place; a next hop that the kernel does not take; and one that it would take.
    sh(&router, "ip route add unreachable 172.24.0.0/16");
    let refused = [
        (route("172.24.0.0/16", Some("10.1.0.10")), "somebody else's route is in its place"),
        (route("172.25.0.0/16", Some("10.1.0.255")), "install route 172.25.0.0/16"),
        (route("172.27.0.0/16", Some("10.1.0.1")), "the VPC's router itself"),
    ];
    let good = route("172.26.0.0/16", Some("10.1.0.10"));
    for (bad, why) in refused {
        world.a.edit(|desired| desired.vpcs[0].custom_routes = vec![bad.clone(), good.clone()]);
        let error = wait("it is refused", PATIENCE, || world.a.vpc_refusal(&format!("custom route {}", bad.id)));
        assert!(error.contains(why), "{error}");
        let facts = world.a.vpc().expect("facts");
        assert_eq!(facts.applied, world.a.desired.revision, "it is refused alone");
        assert!(sh(&router, "ip route show proto 142").contains("172.26.0.0/16 via 10.1.0.10"));
        assert!(world.flows(Family::Ipv4) && pings(&world.a.host.0, "10.1.0.1"));
    }
    // A learned one in the place of a refused one is in force; where neither can be, neither is called so.
    let place = route("10.2.0.0/24", Some("10.1.0.255"));
    world.a.edit(|desired| desired.vpcs[0].custom_routes = vec![place.clone()]);
    wait("it is refused", PATIENCE, || world.a.vpc_refusal(&format!("custom route {}", place.id)));
    wait_for("the learned one is in its place", || world.a.received("10.2.0.0/24") == Some(RouteDecision::Installed));
    wait_for("it carries", || world.flows(Family::Ipv4));
    world.a.edit(|desired| desired.vpcs[0].custom_routes.clear());
    world.a.wait_applied();
    sh(&router, "ip route del unreachable 172.24.0.0/16");
    world.wait_flow();
}
