//! The tenant's own routes, from what is desired to what the router installs. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_linux::NextHop;
use causeway_model::desired::CustomRouteDesired;
use causeway_model::net::router_address;
use causeway_model::{Family, PrivateNetworkId, RouteId};
use ipnet::IpNet;

use crate::error::SetupError;

/// A custom route that can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Custom {
    /// The route.
    pub(crate) id: RouteId,
    /// Where packets go.
    pub(crate) hop: NextHop,
}

/// A Private Network as it is attached to the router.
#[derive(Clone, Debug)]
pub(crate) struct Attached<'a> {
    /// The router's link on it.
    pub(crate) index: u32,
    /// Its subnets.
    pub(crate) subnets: &'a [IpNet],
}

/// Sorts out the routes that can be, by destination, and says of each other one why it cannot. `local` are the subnets of the whole VPC.
pub(crate) fn resolve(
    desired: &[CustomRouteDesired],
    networks: &BTreeMap<PrivateNetworkId, Attached<'_>>,
    local: &[IpNet],
) -> (BTreeMap<IpNet, Custom>, Vec<SetupError>) {
    let (mut routes, mut refused) = (BTreeMap::<IpNet, Custom>::new(), Vec::new());
    for route in desired {
        let destination = route.destination.trunc();
        let hop = next_hop(route, networks, local).and_then(|hop| match routes.get(&destination) {
            Some(other) => Err(format!("custom route {} leads to {destination} already", other.id)),
            None => Ok(hop),
        });
        match hop {
            Ok(hop) => drop(routes.insert(destination, Custom { id: route.id, hop })),
            Err(error) => refused.push(SetupError { item: format!("custom route {}", route.id), error }),
        }
    }
    (routes, refused)
}

fn next_hop(
    route: &CustomRouteDesired,
    networks: &BTreeMap<PrivateNetworkId, Attached<'_>>,
    local: &[IpNet],
) -> Result<NextHop, String> {
    let same_family = |net: &IpNet| Family::of_net(net) == Family::of_net(&route.destination);
    if let Some(subnet) =
        local.iter().find(|subnet| same_family(subnet) && subnet.trunc().contains(&route.destination.trunc()))
    {
        return Err(format!("overlaps_local {}: the VPC's own subnet comes first", subnet.trunc()));
    }
    let Some(network) = networks.get(&route.network) else {
        return Err(format!("Private Network {} is not in place", route.network));
    };
    match route.next_hop {
        None => Ok(NextHop::dev(network.index)),
        Some(hop) if Family::of(hop) != Family::of_net(&route.destination) => {
            Err(format!("the next hop {hop} is not of the family of {}", route.destination))
        }
        Some(hop) if !reaches(network.subnets, hop) => {
            Err(format!("the next hop {hop} is in no subnet of Private Network {}", route.network))
        }
        // The kernel takes such a route of IPv4, and asks for its own address ever after.
        Some(hop) if network.subnets.iter().any(|subnet| router_address(subnet).addr() == hop) => {
            Err(format!("the next hop {hop} is the VPC's router itself"))
        }
        Some(hop) => Ok(NextHop::via(hop, network.index)),
    }
}

fn reaches(subnets: &[IpNet], hop: IpAddr) -> bool {
    subnets.iter().any(|subnet| subnet.contains(&hop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_is_refused_alone_with_its_reason() {
        let network = PrivateNetworkId::random();
        let subnets: Vec<IpNet> = ["10.0.0.1/24", "fd00::/64"].map(|net| net.parse().expect("a prefix")).to_vec();
        let networks = BTreeMap::from([(network, Attached { index: 7, subnets: &subnets })]);
        let route = |destination: &str, hop: Option<&str>| CustomRouteDesired {
            id: RouteId::random(),
            destination: destination.parse().expect("a prefix"),
            network,
            next_hop: hop.map(|hop| hop.parse().expect("an address")),
        };
        let elsewhere = CustomRouteDesired { network: PrivateNetworkId::random(), ..route("10.5.0.0/16", None) };
        let desired = [
            route("10.1.0.0/16", Some("10.0.0.9")),
            route("10.2.0.9/16", None),
            route("fd01::/16", Some("fd00::9")),
            route("10.0.0.0/16", Some("10.0.0.9")),
            route("10.1.0.0/16", Some("10.0.0.8")),
            route("10.0.0.128/25", Some("10.0.0.9")),
            route("10.0.0.0/24", Some("10.0.0.9")),
            route("10.6.0.0/16", Some("fd00::9")),
            route("10.7.0.0/16", Some("192.0.2.1")),
            route("10.8.0.0/16", Some("10.0.0.1")),
            route("fd02::/16", Some("fd00::1")),
            elsewhere,
        ];
        let (routes, refused) = resolve(&desired, &networks, &subnets);
        let installed: Vec<(String, NextHop)> =
            routes.iter().map(|(to, custom)| (to.to_string(), custom.hop)).collect();
        let via = |hop: &str| NextHop::via(hop.parse().expect("an address"), 7);
        assert_eq!(
            installed,
            [
                ("10.0.0.0/16".to_owned(), via("10.0.0.9")),
                ("10.1.0.0/16".to_owned(), via("10.0.0.9")),
                ("10.2.0.0/16".to_owned(), NextHop::dev(7)),
                ("fd01::/16".to_owned(), via("fd00::9")),
            ]
        );
        let why: Vec<&str> = refused.iter().map(|refusal| refusal.error.as_str()).collect();
        let said = [
            "already",
            "overlaps_local",
            "overlaps_local",
            "family",
            "in no subnet",
            "router itself",
            "router itself",
            "not in place",
        ];
        assert_eq!(why.len(), said.len(), "{why:?}");
        for (why, said) in why.iter().zip(said) {
            assert!(why.contains(said), "{why}");
        }
        let items: Vec<String> = desired[4..].iter().map(|route| format!("custom route {}", route.id)).collect();
        assert_eq!(refused.iter().map(|refusal| refusal.item.clone()).collect::<Vec<_>>(), items);
    }
}
