//! VPCs and Private Networks.

use causeway_model::command::{
    ListQuery, NewPrivateNetwork, NewVpc, Page, PrivateNetworkFilter, Rename, SubnetFilter, VpcFilter,
};
use causeway_model::error::ArgumentErrors;
use causeway_model::error::ArgumentReason::{Constraint, Required};
use causeway_model::resource::{Caller, PlacedSubnet, PrivateNetwork, Subnet, Vpc};
use causeway_model::{Error, Family, PrivateNetworkId, SubnetId, VpcId};
use causeway_store::{Kind, Reader};
use ipnet::IpNet;

use crate::access::Intent::{self, Read, Write};
use crate::access::{checked, paging, referenced, scope};
use crate::address::{free_ipv4_subnet, free_ipv6_subnet, overlap};
use crate::audit::{changed, gone, made};
use crate::ipam::IP;
use crate::quota::QuotaResource;
use crate::{Controller, Result, interconnect};

const VPC: &str = "vpc";
const NETWORK: &str = "private_network";

pub(crate) async fn find_vpc(reader: &mut Reader, caller: &Caller, intent: Intent, id: VpcId) -> Result<Vpc> {
    checked(caller, intent, reader.vpc(id).await?, |vpc| vpc.meta.project_id, VPC, id)
}

pub(crate) async fn find_network(
    reader: &mut Reader,
    caller: &Caller,
    intent: Intent,
    id: PrivateNetworkId,
) -> Result<PrivateNetwork> {
    checked(caller, intent, reader.private_network(id).await?, |network| network.meta.project_id, NETWORK, id)
}

fn in_use(help: impl Into<String>) -> Error {
    Error::PreconditionFailed { precondition: "resource_still_in_use", help: help.into() }
}

/// Ranges that no Private Network may have: they mean something else on every host.
fn is_special(subnet: &IpNet) -> bool {
    const SPECIAL: [&str; 8] =
        ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8", "::ffff:0:0/96"];
    SPECIAL.iter().filter_map(|text| text.parse().ok()).any(|special| overlap(&special, subnet))
}

/// Checks the tenant's wishes for subnets; the family that is missing is allotted elsewhere.
fn check_subnets(wished: &[IpNet], taken: &[IpNet]) -> Result<()> {
    let mut errors = ArgumentErrors::new();
    for family in Family::ALL {
        if wished.iter().filter(|subnet| Family::of_net(subnet) == family).count() > 1 {
            errors.push("subnets", Constraint, format!("at most one {family} subnet"));
        }
    }
    for subnet in wished {
        let (shortest, longest) = match subnet {
            IpNet::V4(_) => (8, 29),
            IpNet::V6(_) => (48, 124),
        };
        if subnet.trunc() != *subnet {
            errors.push("subnets", Constraint, format!("{subnet} has host bits set; write {}", subnet.trunc()));
        } else if !(shortest..=longest).contains(&subnet.prefix_len()) {
            errors.push("subnets", Constraint, format!("{subnet}: the prefix length must be {shortest} to {longest}"));
        } else if is_special(subnet) {
            errors.push("subnets", Constraint, format!("{subnet} overlaps a range with a special meaning"));
        } else if let Some(other) = taken.iter().find(|other| overlap(other, subnet)) {
            errors.push("subnets", Constraint, format!("{subnet} overlaps {other} of the same VPC"));
        }
    }
    errors.finish()
}

/// Refuses subnets that would take the destinations of custom routes away: a subnet beats every route into it.
fn check_routed(wished: &[IpNet], routed: &[IpNet]) -> Result<()> {
    let mut errors = ArgumentErrors::new();
    for subnet in wished {
        if let Some(destination) = routed.iter().find(|destination| subnet.contains(*destination)) {
            let help = format!("{subnet} covers the custom route to {destination} of the same VPC; delete that first");
            errors.push("subnets", Constraint, help);
        }
    }
    errors.finish()
}

/// Refuses subnets that would have the addresses of BGP speakers in them: `own` is the range that interconnection subnets are allotted
/// from, `inside` are those of the VPC's connections.
fn check_inside(wished: &[IpNet], own: IpNet, inside: &[IpNet]) -> Result<()> {
    let mut errors = ArgumentErrors::new();
    for subnet in wished {
        if overlap(&own, subnet) {
            let help = format!("{subnet} overlaps {own}, the service's range for the inside of connections");
            errors.push("subnets", Constraint, help);
        } else if let Some(other) = inside.iter().find(|other| overlap(other, subnet)) {
            let help = format!("{subnet} overlaps {other}, the inside of a connection of the same VPC");
            errors.push("subnets", Constraint, help);
        }
    }
    errors.finish()
}

impl Controller {
    /// Creates a VPC.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn create_vpc(&self, caller: &Caller, region: &str, new: NewVpc) -> Result<Vpc> {
        let mut unit = self.unit(caller, region).await?;
        let project = unit.project(new.meta.project_id, VPC).await?;
        unit.within_quota(project.id, QuotaResource::Vpcs).await?;
        let meta = unit.meta(&project, new.meta);
        let vpc = Vpc {
            id: VpcId::random(),
            meta,
            is_default: false,
            custom_routes_propagation_enabled: true,
            private_network_count: 0,
        };
        unit.insert_vpc(&vpc).await?;
        unit.finish("create", VPC, vpc.id, &made(&vpc)).await?;
        Ok(vpc)
    }

    /// A VPC.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn vpc(&self, caller: &Caller, region: &str, id: VpcId) -> Result<Vpc> {
        self.in_region(region)?;
        find_vpc(&mut self.read().await?, caller, Read, id).await
    }

    /// A page of VPCs.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_vpcs(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: &VpcFilter,
    ) -> Result<Page<Vpc>> {
        self.in_region(region)?;
        paging(list)?;
        let (items, total) = self.read().await?.vpcs(region, scope(caller), list, filter).await?;
        Ok(Page { items, total })
    }

    /// Renames a VPC.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn update_vpc(&self, caller: &Caller, region: &str, id: VpcId, rename: Rename) -> Result<Vpc> {
        let mut unit = self.unit(caller, region).await?;
        let before = find_vpc(&mut unit, caller, Write, id).await?;
        let mut vpc = before.clone();
        unit.rename(Kind::Vpc, id.0, &mut vpc.meta, rename).await?;
        unit.finish("update", VPC, id, &changed(&before, &vpc)).await?;
        Ok(vpc)
    }

    /// Deletes a VPC without Private Networks.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_vpc(&self, caller: &Caller, region: &str, id: VpcId) -> Result<()> {
        let mut unit = self.unit(caller, region).await?;
        let vpc = find_vpc(&mut unit, caller, Write, id).await?;
        if vpc.private_network_count > 0 {
            return Err(in_use(format!("delete its {} Private Network(s) first", vpc.private_network_count)));
        }
        if let Some(link) = unit.link_of_vpc(id).await? {
            return Err(in_use(format!("detach the link {link} first")));
        }
        unit.delete(Kind::Vpc, id.0).await?;
        unit.finish("delete", VPC, id, &gone(&vpc)).await
    }

    /// Creates a Private Network. A family without a wish gets a free /22 of 172.16.0.0/12, or a /64 of the project's own /48.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::OutOfStock`].
    pub async fn create_private_network(
        &self,
        caller: &Caller,
        region: &str,
        new: NewPrivateNetwork,
    ) -> Result<PrivateNetwork> {
        let mut unit = self.unit(caller, region).await?;
        let project = unit.project(new.meta.project_id, NETWORK).await?;
        unit.within_quota(project.id, QuotaResource::PrivateNetworks).await?;
        let vpc_id = match new.vpc_id {
            Some(id) => referenced(project.id, unit.vpc(id).await?, |vpc| vpc.meta.project_id, VPC, id)?.id,
            None => {
                let found = unit.default_vpc(project.id, region).await?;
                let mut errors = ArgumentErrors::new();
                if found.is_none() {
                    errors.push("vpc_id", Required, "this project has no default VPC; name one");
                }
                errors.finish()?;
                found.ok_or_else(|| Error::Internal("no default VPC".to_owned()))?
            }
        };
        let of_vpc = unit.vpc_subnets(vpc_id).await?;
        check_subnets(&new.subnets, &of_vpc)?;
        let routed = unit.custom_destinations(vpc_id).await?;
        check_routed(&new.subnets, &routed)?;
        let inside = unit.vpc_interconnections(vpc_id).await?;
        check_inside(&new.subnets, interconnect::own_range(self.inner.service.ula), &inside)?;
        // Networks of one project do not overlap unless their owner wants it: two of its VPCs may be connected one day.
        let mut taken = unit.project_subnets(project.id).await?;
        taken.extend(&new.subnets);
        taken.extend(&inside);
        // A subnet that is allotted takes no destination away from a route; one around it leaves room for subnets.
        let narrow =
            |destination: &&IpNet| destination.prefix_len() >= if destination.addr().is_ipv4() { 22 } else { 64 };
        let routed: Vec<IpNet> = routed.iter().filter(narrow).copied().collect();
        taken.extend(&routed);
        // At least within the VPC nothing overlaps.
        let of_vpc: Vec<IpNet> = of_vpc.into_iter().chain(routed).collect();
        let stock = |family: Family| Error::OutOfStock { resource: format!("{family} subnets") };
        let mut subnets = Vec::with_capacity(2);
        for family in Family::ALL {
            let wished = new.subnets.iter().copied().find(|subnet| Family::of_net(subnet) == family);
            let allotted = match family {
                _ if wished.is_some() => wished,
                Family::Ipv4 => free_ipv4_subnet(&taken).or_else(|| free_ipv4_subnet(&of_vpc)),
                Family::Ipv6 => free_ipv6_subnet(project.ula, &taken),
            };
            subnets.push(Subnet {
                id: SubnetId::random(),
                subnet: allotted.ok_or_else(|| stock(family))?,
                created_at: unit.now,
                updated_at: unit.now,
            });
        }
        let network = PrivateNetwork {
            id: PrivateNetworkId::random(),
            meta: unit.meta(&project, new.meta),
            vpc_id,
            subnets,
            default_route_propagation_enabled: new.default_route_propagation_enabled,
            dhcp_enabled: true,
        };
        unit.insert_private_network(&network).await?;
        unit.bump_all_nodes().await?;
        unit.finish("create", NETWORK, network.id, &made(&network)).await?;
        Ok(network)
    }

    /// A Private Network.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn private_network(&self, caller: &Caller, region: &str, id: PrivateNetworkId) -> Result<PrivateNetwork> {
        self.in_region(region)?;
        find_network(&mut self.read().await?, caller, Read, id).await
    }

    /// A page of Private Networks.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_private_networks(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: &PrivateNetworkFilter,
    ) -> Result<Page<PrivateNetwork>> {
        self.in_region(region)?;
        paging(list)?;
        let (items, total) = self.read().await?.private_networks(region, scope(caller), list, filter).await?;
        Ok(Page { items, total })
    }

    /// A page of subnets, in the order of their networks' creation.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_subnets(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: &SubnetFilter,
    ) -> Result<Page<PlacedSubnet>> {
        self.in_region(region)?;
        paging(list)?;
        let (items, total) = self.read().await?.subnets(region, scope(caller), list, filter).await?;
        Ok(Page { items, total })
    }

    /// Turns on what a Private Network always has.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn enable_dhcp(&self, caller: &Caller, region: &str, id: PrivateNetworkId) -> Result<PrivateNetwork> {
        let mut unit = self.unit(caller, region).await?;
        let network = find_network(&mut unit, caller, Write, id).await?;
        unit.finish("enable_dhcp", NETWORK, id, &changed(&network, &network)).await?;
        Ok(network)
    }

    /// Changes a Private Network's name, tags, or whether it learns a default route.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn update_private_network(
        &self,
        caller: &Caller,
        region: &str,
        id: PrivateNetworkId,
        rename: Rename,
        default_route_propagation_enabled: Option<bool>,
    ) -> Result<PrivateNetwork> {
        let mut unit = self.unit(caller, region).await?;
        let before = find_network(&mut unit, caller, Write, id).await?;
        let mut network = before.clone();
        unit.rename(Kind::PrivateNetwork, id.0, &mut network.meta, rename).await?;
        if let Some(enabled) = default_route_propagation_enabled {
            network.default_route_propagation_enabled = enabled;
            unit.set_default_route_propagation(id, enabled).await?;
        }
        unit.finish("update", NETWORK, id, &changed(&before, &network)).await?;
        Ok(network)
    }

    /// Deletes a Private Network that nothing is attached to, and the addresses that were booked in it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_private_network(&self, caller: &Caller, region: &str, id: PrivateNetworkId) -> Result<()> {
        let mut unit = self.unit(caller, region).await?;
        let network = find_network(&mut unit, caller, Write, id).await?;
        if unit.gateways_on_network(id).await? > 0 {
            return Err(in_use("delete the VPN gateways on this Private Network first, and wait until they are gone"));
        }
        if unit.attached_in_network(id).await? > 0 {
            return Err(in_use("addresses of this Private Network are attached to resources"));
        }
        if let Some(route) = unit.route_through_network(id).await? {
            return Err(in_use(format!("the custom route {route} leads to this Private Network; delete it first")));
        }
        for ip in unit.release_unattached_ips(id).await? {
            unit.also(network.meta.project_id, "delete", IP, ip, &[("with", format!("{NETWORK} {id}"))]).await?;
        }
        unit.delete(Kind::PrivateNetwork, id.0).await?;
        unit.bump_all_nodes().await?;
        unit.finish("delete", NETWORK, id, &gone(&network)).await
    }
}
