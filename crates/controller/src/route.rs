//! Routes of a VPC: the tenant's own are made here, the others are only shown.

use causeway_model::command::{ListQuery, Page};
use causeway_model::resource::Caller;
use causeway_model::route::{NewNextHop, NewRoute, Route, RouteChange, RouteFilter, RouteKind, RouteWithNextHop};
use causeway_model::{Error, Family, IpId, PrivateNetworkId, ProjectId, RouteId, VpcId};
use causeway_store::Reader;
use ipnet::IpNet;
use uuid::Uuid;

use crate::access::Intent::{self, Read, Write};
use crate::access::{checked, paging, referenced, scope};
use crate::audit::{changed, gone, made};
use crate::interconnect;
use crate::quota::QuotaResource;
use crate::unit::Unit;
use crate::{Controller, Result};

const ROUTE: &str = "route";

/// What a route without a description is called, as production does.
const DESCRIPTION: &str = "Custom route";

async fn find_route(reader: &mut Reader, caller: &Caller, intent: Intent, id: RouteId) -> Result<Route> {
    // Production names neither the kind nor the id of a route that is missing.
    let missing = |error| match error {
        Error::NotFound { .. } => Error::NotFound { resource: "unknown", id: String::new() },
        other => other,
    };
    checked(caller, intent, reader.route(id).await?, |route| route.project_id, ROUTE, id).map_err(missing)
}

/// Where a next hop is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Resolved {
    network: Option<PrivateNetworkId>,
    ip: Option<IpId>,
}

/// A destination that a router can have a route to.
fn check_destination(destination: &IpNet) -> Result<()> {
    const SPECIAL: [&str; 7] =
        ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8"];
    let refuse = |help: String| Err(Error::constraint("destination", help));
    if destination.trunc() != *destination {
        return refuse(format!("{destination} has host bits set; write {}", destination.trunc()));
    }
    let special = SPECIAL.iter().filter_map(|text| text.parse::<IpNet>().ok());
    match special.into_iter().find(|special| destination.prefix_len() > 0 && special.contains(destination)) {
        Some(special) => refuse(format!("{destination} is inside {special}, which is not routed")),
        None => Ok(()),
    }
}

impl Unit<'_> {
    /// Refuses a destination that the VPC's own subnets decide (system.md §2.3), that connections have their inside in, or that another
    /// route has.
    async fn free_destination(&mut self, vpc: VpcId, destination: &IpNet, changed: Option<RouteId>) -> Result<()> {
        check_destination(destination)?;
        let subnets = self.vpc_subnets(vpc).await?;
        if let Some(subnet) = subnets.iter().find(|subnet| subnet.contains(destination)) {
            let help =
                format!("{destination} is inside the VPC's subnet {subnet}, and a subnet beats every custom route");
            return Err(Error::constraint("destination", help));
        }
        let own = interconnect::own_range(self.controller.inner.service.ula);
        let mut inside = self.vpc_interconnections(vpc).await?;
        inside.push(own);
        if let Some(subnet) = inside.iter().find(|subnet| subnet.contains(destination)) {
            let help = format!(
                "{destination} is inside {subnet}, where the addresses of BGP speakers are; a route there would cut their sessions"
            );
            return Err(Error::constraint("destination", help));
        }
        match self.custom_route_to(vpc, destination).await? {
            Some(other) if changed != Some(other) => Err(Error::AlreadyExists {
                resource: ROUTE,
                id: other.to_string(),
                help: format!("the VPC has a route to {destination}; change that one"),
            }),
            _ => Ok(()),
        }
    }

    /// Finds the address and the network of a next hop.
    async fn resolve(
        &mut self,
        project: ProjectId,
        vpc: VpcId,
        destination: &IpNet,
        hop: NewNextHop,
    ) -> Result<Resolved> {
        if let Some(id) = hop.network {
            let network = self.private_network(id).await?;
            let network = referenced(project, network, |network| network.meta.project_id, "private_network", id)?;
            if network.vpc_id != vpc {
                let help = format!("the Private Network is in the VPC {}, the route in {vpc}", network.vpc_id);
                return Err(Error::constraint("nexthop_private_network_id", help));
            }
        }
        match hop {
            NewNextHop { resource: Some(resource), network } => {
                self.resolve_resource(project, vpc, destination, resource, network).await
            }
            NewNextHop { resource: None, network: Some(network) } => Ok(Resolved { network: Some(network), ip: None }),
            NewNextHop { resource: None, network: None } => Err(Error::constraint(
                "nexthop_resource_id",
                "say where the route leads to: `nexthop_resource_id`, `nexthop_private_network_id`, or both",
            )),
        }
    }

    async fn resolve_resource(
        &mut self,
        project: ProjectId,
        vpc: VpcId,
        destination: &IpNet,
        resource: Uuid,
        network: Option<PrivateNetworkId>,
    ) -> Result<Resolved> {
        const FIELD: &str = "nexthop_resource_id";
        let mut candidates = self.next_hop_candidates(project, resource).await?;
        let Some(first) = candidates.first() else {
            return Err(Error::NotFound { resource: "ip", id: resource.to_string() });
        };
        if first.kind == "vpn_gateway" {
            let help = "a VPN gateway is no next hop for custom routes: its routes are learned from its connections; \
                        add the prefix to a routing policy's `prefix_filter_in`";
            return Err(Error::constraint(FIELD, help));
        }
        candidates.retain(|candidate| candidate.vpc == vpc);
        if candidates.is_empty() {
            return Err(Error::constraint(FIELD, "the resource has no address on a Private Network of this VPC"));
        }
        let family = Family::of_net(destination);
        candidates.retain(|candidate| Family::of(candidate.address) == family);
        if candidates.is_empty() {
            let help = format!("the resource has no {family} address, which {destination} needs");
            return Err(Error::constraint(FIELD, help));
        }
        if let Some(network) = network {
            candidates.retain(|candidate| candidate.network == network);
        }
        match candidates.first() {
            Some(found) if candidates.iter().all(|other| other.network == found.network) => {
                if destination.contains(&found.address) && destination.prefix_len() == family.max_prefix_len() {
                    return Err(Error::constraint("destination", "the route would lead to its own next hop"));
                }
                Ok(Resolved { network: Some(found.network), ip: Some(found.ip) })
            }
            Some(_) => Err(Error::constraint(
                "nexthop_private_network_id",
                "the resource has addresses on several Private Networks; say which one the route takes",
            )),
            None => Err(Error::constraint(
                "nexthop_private_network_id",
                format!("the resource has no {family} address on this Private Network"),
            )),
        }
    }
}

impl Controller {
    /// Adds a tenant's own route to a VPC.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::NotFound`], [`Error::AlreadyExists`], [`Error::QuotasExceeded`].
    pub async fn create_route(&self, caller: &Caller, region: &str, new: NewRoute) -> Result<Route> {
        let mut unit = self.unit(caller, region).await?;
        let vpc = crate::network::find_vpc(&mut unit, caller, Write, new.vpc_id).await?;
        let project = vpc.meta.project_id;
        unit.within_quota(project, QuotaResource::Routes).await?;
        unit.free_destination(vpc.id, &new.destination, None).await?;
        let resolved = unit.resolve(project, vpc.id, &new.destination, new.next_hop).await?;
        let id = RouteId::random();
        let route = Route {
            id: Some(id),
            project_id: project,
            region: region.to_owned(),
            vpc_id: vpc.id,
            kind: RouteKind::Custom,
            description: described(new.description),
            tags: new.tags,
            destination: new.destination,
            network: resolved.network,
            resource: new.next_hop.resource,
            created_at: unit.now,
            updated_at: unit.now,
        };
        unit.insert_route(id, &route, resolved.ip).await?;
        unit.bump_vpc_config(vpc.id).await?;
        unit.finish("create", ROUTE, id, &made(&route)).await?;
        Ok(route)
    }

    /// A tenant's own route.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn route(&self, caller: &Caller, region: &str, id: RouteId) -> Result<Route> {
        self.in_region(region)?;
        find_route(&mut self.read().await?, caller, Read, id).await
    }

    /// A page of routes: those of subnets, the tenant's own, and those that VPN gateways learned and use.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_routes(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: &RouteFilter,
    ) -> Result<Page<RouteWithNextHop>> {
        self.in_region(region)?;
        paging(list)?;
        let (items, total) = self.read().await?.routes(region, scope(caller), list, filter).await?;
        Ok(Page { items, total })
    }

    /// Changes a tenant's own route.
    ///
    /// # Errors
    /// As [`Self::create_route`].
    pub async fn update_route(&self, caller: &Caller, region: &str, id: RouteId, change: RouteChange) -> Result<Route> {
        let mut unit = self.unit(caller, region).await?;
        let before = find_route(&mut unit, caller, Write, id).await?;
        let mut route = before.clone();
        route.updated_at = unit.now;
        if let Some(description) = change.description {
            route.description = described(description);
        }
        route.tags = change.tags.unwrap_or(route.tags);
        route.destination = change.destination.unwrap_or(route.destination);
        if route.destination != before.destination {
            unit.free_destination(route.vpc_id, &route.destination, Some(id)).await?;
        }
        let hop = match change.next_hop {
            NewNextHop { resource: None, network } if change.no_resource => {
                NewNextHop { resource: None, network: network.or(before.network) }
            }
            NewNextHop { resource: None, network: None } => {
                NewNextHop { resource: before.resource, network: before.network }
            }
            // A network alone moves the next hop there, if the resource has an address on it.
            NewNextHop { resource: None, network } => NewNextHop { resource: before.resource, network },
            given => given,
        };
        let resolved = unit.resolve(route.project_id, route.vpc_id, &route.destination, hop).await?;
        (route.network, route.resource) = (resolved.network, hop.resource);
        unit.update_route(id, &route, resolved.ip).await?;
        let unmoved = (before.destination, before.network, before.resource);
        if unmoved != (route.destination, route.network, route.resource) {
            unit.bump_vpc_config(route.vpc_id).await?;
        }
        unit.finish("update", ROUTE, id, &changed(&before, &route)).await?;
        Ok(route)
    }

    /// Removes a tenant's own route.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_route(&self, caller: &Caller, region: &str, id: RouteId) -> Result<()> {
        let mut unit = self.unit(caller, region).await?;
        let route = find_route(&mut unit, caller, Write, id).await?;
        unit.delete_route(id).await?;
        unit.bump_vpc_config(route.vpc_id).await?;
        unit.finish("delete", ROUTE, id, &gone(&route)).await
    }
}

fn described(description: String) -> String {
    if description.is_empty() { DESCRIPTION.to_owned() } else { description }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_that_no_router_has() {
        let check = |text: &str| check_destination(&text.parse().expect("a prefix")).is_ok();
        for text in ["0.0.0.0/0", "::/0", "10.0.0.0/8", "0.0.0.0/1", "fd00::/8", "2001:db8::1/128", "192.0.2.1/32"] {
            assert!(check(text), "{text}");
        }
        for text in [
            "10.0.0.1/8",
            "0.1.0.0/16",
            "127.0.0.0/8",
            "169.254.7.0/24",
            "224.0.0.0/4",
            "::1/128",
            "fe80::/64",
            "ff02::/16",
        ] {
            assert!(!check(text), "{text}");
        }
    }
}
