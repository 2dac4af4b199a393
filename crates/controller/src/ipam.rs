//! Addresses: of Private Networks, and of the zones' public pools.

use std::net::IpAddr;

use causeway_model::command::{IpFilter, ListQuery, NewIp, NewIpSource, Page};
use causeway_model::resource::{Caller, Ip, IpResource, IpSource, PrivateNetwork};
use causeway_model::{Error, Family, IpId, SubnetId};
use causeway_store::{Project, Reader};
use ipnet::IpNet;

use crate::access::Intent::{self, Read, Write};
use crate::access::{checked, paging, referenced, scope};
use crate::address::{is_bookable, lowest_free};
use crate::quota::QuotaResource;
use crate::unit::Unit;
use crate::{Controller, Result};

const IP: &str = "ip";

pub(crate) async fn find_ip(reader: &mut Reader, caller: &Caller, intent: Intent, id: IpId) -> Result<Ip> {
    checked(caller, intent, reader.ip(id).await?, |ip| ip.project_id, IP, id)
}

/// Where an address is taken from.
#[derive(Clone, Debug)]
pub(crate) enum From {
    /// A subnet.
    Subnet(SubnetId, IpNet),
    /// The public pool of a zone.
    Zone(String),
}

impl Unit<'_> {
    /// Takes a free address, or the wished one.
    pub(crate) async fn take_ip(
        &mut self,
        project: &Project,
        from: From,
        family: Family,
        wished: Option<IpAddr>,
        resource: Option<IpResource>,
        tags: Vec<String>,
    ) -> Result<Ip> {
        let allotted = resource.is_some();
        let (address, source, zone) = match from {
            From::Subnet(id, subnet) => {
                let taken = self.taken_in_subnet(id).await?;
                let address = match wished {
                    Some(wished) if !is_bookable(&subnet, wished) => {
                        return Err(Error::constraint(
                            "address",
                            format!("{wished} is not a free host address of {subnet}"),
                        ));
                    }
                    Some(wished) if taken.contains(&wished) => {
                        return Err(Error::constraint("address", format!("{wished} is already booked")));
                    }
                    Some(wished) => wished,
                    None => lowest_free(&subnet, &taken)
                        .ok_or_else(|| Error::OutOfStock { resource: format!("addresses of {subnet}") })?,
                };
                let net =
                    IpNet::new(address, subnet.prefix_len()).map_err(|error| Error::Internal(error.to_string()))?;
                (net, IpSource::Subnet(id), None)
            }
            From::Zone(zone) => {
                if wished.is_some() {
                    return Err(Error::constraint(
                        "address",
                        "public addresses are chosen by the service; leave it out",
                    ));
                }
                let address = self.free_public(&zone, family).await?;
                (IpNet::from(address), IpSource::Zonal(zone.clone()), Some(zone))
            }
        };
        let ip = Ip {
            id: IpId::random(),
            project_id: project.id,
            region: self.controller.region().to_owned(),
            zone,
            address,
            source,
            resource,
            tags,
            created_at: self.now,
            updated_at: self.now,
        };
        self.insert_ip(&ip, allotted).await?;
        Ok(ip)
    }

    async fn free_public(&mut self, zone: &str, family: Family) -> Result<IpAddr> {
        for pool in self.public_pools(zone).await? {
            if Family::of_net(&pool) != family {
                continue;
            }
            let taken = self.taken_publicly(&pool).await?;
            if let Some(address) = lowest_free(&pool, &taken) {
                return Ok(address);
            }
        }
        Err(Error::OutOfStock { resource: format!("public {family} addresses of {zone}") })
    }
}

/// A Private Network's subnet of a family.
pub(crate) fn subnet_of(network: &PrivateNetwork, family: Family) -> Result<From> {
    let subnet = network.subnets.iter().find(|subnet| Family::of_net(&subnet.subnet) == family);
    let subnet = subnet.ok_or_else(|| Error::Internal(format!("{} has no {family} subnet", network.id)))?;
    Ok(From::Subnet(subnet.id, subnet.subnet))
}

impl Controller {
    /// Books an address.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::OutOfStock`].
    pub async fn book_ip(&self, caller: &Caller, region: &str, new: NewIp) -> Result<Ip> {
        let mut unit = self.unit(caller, region).await?;
        let project = unit.project(new.project_id, IP).await?;
        unit.within_quota(project.id, QuotaResource::Ips).await?;
        let family = Family::from_is_ipv6(new.is_ipv6);
        if new.address.is_some_and(|address| Family::of(address) != family) {
            return Err(Error::constraint("address", format!("not an {family} address, as `is_ipv6` asks for")));
        }
        let from = match new.source {
            NewIpSource::PrivateNetwork(id) => {
                let network = unit.private_network(id).await?;
                let network =
                    referenced(project.id, network, |network| network.meta.project_id, "private_network", id)?;
                subnet_of(&network, family)?
            }
            NewIpSource::Subnet(id) => {
                let missing = || Error::NotFound { resource: "subnet", id: id.to_string() };
                let (subnet, network, _) = unit.subnet(id).await?.ok_or_else(missing)?;
                let network = unit.private_network(network).await?;
                referenced(project.id, network, |network| network.meta.project_id, "subnet", id)?;
                if Family::of_net(&subnet.subnet) != family {
                    return Err(Error::constraint(
                        "is_ipv6",
                        format!("the subnet {} is of the other family", subnet.subnet),
                    ));
                }
                From::Subnet(id, subnet.subnet)
            }
            NewIpSource::Zonal(zone) => {
                let zones = unit.zones().await?;
                if !zones.contains(&zone) {
                    let zones = zones.join(", ");
                    return Err(Error::constraint("source.zonal", format!("unknown zone; there are: {zones}")));
                }
                From::Zone(zone)
            }
        };
        let ip = unit.take_ip(&project, from, family, new.address, None, new.tags).await?;
        unit.finish("create", IP, ip.id, &[("address", ip.address.to_string())]).await?;
        Ok(ip)
    }

    /// An address.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn ip(&self, caller: &Caller, region: &str, id: IpId) -> Result<Ip> {
        self.in_region(region)?;
        find_ip(&mut self.read().await?, caller, Read, id).await
    }

    /// A page of addresses.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_ips(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: &IpFilter,
    ) -> Result<Page<Ip>> {
        self.in_region(region)?;
        paging(list)?;
        let (items, total) = self.read().await?.ips(region, scope(caller), list, filter).await?;
        Ok(Page { items, total })
    }

    /// Changes an address's tags.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn update_ip(&self, caller: &Caller, region: &str, id: IpId, tags: Option<Vec<String>>) -> Result<Ip> {
        let mut unit = self.unit(caller, region).await?;
        let mut ip = find_ip(&mut unit, caller, Write, id).await?;
        if let Some(tags) = tags {
            ip.tags = tags;
            ip.updated_at = unit.now;
            let now = unit.now;
            unit.set_ip_tags(id, &ip.tags, now).await?;
        }
        unit.finish("update", IP, id, &[]).await?;
        Ok(ip)
    }

    /// Releases an address that nothing uses.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn release_ip(&self, caller: &Caller, region: &str, id: IpId) -> Result<()> {
        let mut unit = self.unit(caller, region).await?;
        let ip = find_ip(&mut unit, caller, Write, id).await?;
        if let Some(resource) = ip.resource {
            let help = format!("the address is attached to {} {}", resource.kind, resource.id);
            return Err(Error::PreconditionFailed { precondition: "resource_still_in_use", help });
        }
        unit.delete_ip(id).await?;
        unit.finish("delete", IP, id, &[("address", ip.address.to_string())]).await
    }
}
