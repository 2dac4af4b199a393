//! Addresses: of Private Networks, and of the zones' public pools.

use std::collections::BTreeSet;
use std::net::IpAddr;

use causeway_model::command::{CustomResource, IpChange, IpFilter, ListQuery, NewIp, NewIpSource, Page};
use causeway_model::resource::{Caller, Ip, IpResource, IpSource, PrivateNetwork};
use causeway_model::{Error, Family, IpId, SubnetId};
use causeway_store::{Project, Reader};
use ipnet::IpNet;

use crate::access::Intent::{self, Read, Write};
use crate::access::{checked, paging, referenced, scope};
use crate::address::{is_bookable, lowest_free};
use crate::audit::{changed, gone, made};
use crate::quota::QuotaResource;
use crate::unit::Unit;
use crate::{Controller, Result};

pub(crate) const IP: &str = "ip";

/// The kind of what is the tenant's own.
const CUSTOM: &str = "custom";

/// Addresses that can be released in one call.
const MAX_IP_SET: usize = 1000;

const NOT_PRIVATE: &str = "only an address of a Private Network can be attached to a resource of yours";

/// A custom resource has the id of its address.
fn custom(id: IpId, resource: CustomResource) -> IpResource {
    IpResource { kind: CUSTOM.to_owned(), id: id.0, name: resource.name, mac_address: Some(resource.mac_address) }
}

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
        let ip = self.free_ip(project, from, family, wished, resource, tags).await?;
        self.insert_ip(&ip, allotted).await?;
        Ok(ip)
    }

    /// A free address, or the wished one, not yet taken.
    async fn free_ip(
        &mut self,
        project: &Project,
        from: From,
        family: Family,
        wished: Option<IpAddr>,
        resource: Option<IpResource>,
        tags: Vec<String>,
    ) -> Result<Ip> {
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
        Ok(Ip {
            id: IpId::random(),
            project_id: project.id,
            region: self.controller.region().to_owned(),
            zone,
            address,
            source,
            resource,
            reverses: Vec::new(),
            tags,
            created_at: self.now,
            updated_at: self.now,
        })
    }

    /// Refuses to take an address away from a custom route that leads through it.
    async fn no_next_hop(&mut self, id: IpId) -> Result<()> {
        match self.route_through_ip(id).await? {
            Some(route) => {
                let help = format!("it is the next hop of the custom route {route}; change or delete that first");
                Err(Error::PreconditionFailed { precondition: "resource_still_in_use", help })
            }
            None => Ok(()),
        }
    }

    /// Releases an address that nothing uses.
    async fn release(&mut self, id: IpId) -> Result<Ip> {
        let caller = self.caller;
        let ip = find_ip(self, caller, Write, id).await?;
        if let Some(resource) = &ip.resource {
            let help = format!("the address {} is attached to {} {}", ip.address.addr(), resource.kind, resource.id);
            return Err(Error::PreconditionFailed { precondition: "resource_still_in_use", help });
        }
        self.delete_ip(id).await?;
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
        if new.resource.is_some() && matches!(from, From::Zone(_)) {
            return Err(Error::constraint("resource", NOT_PRIVATE));
        }
        let mut ip = unit.free_ip(&project, from, family, new.address, None, new.tags).await?;
        ip.resource = new.resource.map(|resource| custom(ip.id, resource));
        unit.insert_ip(&ip, false).await?;
        unit.finish("create", IP, ip.id, &made(&ip)).await?;
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

    /// Changes an address's tags and reverse names.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`] if a reverse name is for another address.
    pub async fn update_ip(&self, caller: &Caller, region: &str, id: IpId, change: IpChange) -> Result<Ip> {
        let mut unit = self.unit(caller, region).await?;
        let before = find_ip(&mut unit, caller, Write, id).await?;
        let mut ip = before.clone();
        ip.tags = change.tags.unwrap_or(ip.tags);
        ip.reverses = change.reverses.unwrap_or(ip.reverses);
        let own = ip.address.addr();
        for (index, reverse) in ip.reverses.iter().enumerate() {
            if let Some(address) = reverse.address.filter(|address| *address != own) {
                let help = format!("{address} is not this address, {own}; leave it out");
                return Err(Error::constraint(format!("reverses[{index}].address"), help));
            }
        }
        if ip != before {
            ip.updated_at = unit.now;
            unit.set_ip(&ip).await?;
        }
        unit.finish("update", IP, id, &changed(&before, &ip)).await?;
        Ok(ip)
    }

    /// Releases an address that nothing uses.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn release_ip(&self, caller: &Caller, region: &str, id: IpId) -> Result<()> {
        let mut unit = self.unit(caller, region).await?;
        let ip = unit.release(id).await?;
        unit.finish("delete", IP, id, &gone(&ip)).await
    }

    /// Releases addresses that nothing uses: all of them, or none.
    ///
    /// # Errors
    /// As [`Self::release_ip`], of the first that cannot be released.
    pub async fn release_ips(&self, caller: &Caller, region: &str, ids: &[IpId]) -> Result<()> {
        let ids: BTreeSet<IpId> = ids.iter().copied().collect();
        if ids.is_empty() || ids.len() > MAX_IP_SET {
            return Err(Error::constraint("ip_ids", format!("give 1 to {MAX_IP_SET} addresses")));
        }
        let mut unit = self.unit(caller, region).await?;
        let mut released = Vec::with_capacity(ids.len());
        for id in &ids {
            released.push(unit.release(*id).await?);
        }
        // Each object has its own record; the last one ends the transaction.
        let (caller, now) = (unit.caller, unit.now);
        let last = released.pop();
        for ip in &released {
            let details = gone(ip).into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
            unit.record(caller, Some(ip.project_id), now, "delete", IP, &ip.id.to_string(), &details).await?;
        }
        match last {
            Some(ip) => unit.finish("delete", IP, ip.id, &gone(&ip)).await,
            None => Ok(()),
        }
    }

    /// Attaches an address of a Private Network to something of the tenant's. What is attached already stays so, since a client may send the
    /// same again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`], [`Error::PreconditionFailed`] if something uses it.
    pub async fn attach_ip(&self, caller: &Caller, region: &str, id: IpId, resource: CustomResource) -> Result<Ip> {
        let mut unit = self.unit(caller, region).await?;
        let mut ip = find_ip(&mut unit, caller, Write, id).await?;
        if matches!(ip.source, IpSource::Zonal(_)) {
            return Err(Error::constraint("resource", NOT_PRIVATE));
        }
        let (now, resource, before) = (unit.now, custom(id, resource), ip.clone());
        match &ip.resource {
            Some(user) if *user == resource => {}
            Some(user) => {
                let help = format!("the address is attached to {} {}; detach it first, or move it", user.kind, user.id);
                return Err(Error::PreconditionFailed { precondition: "resource_still_in_use", help });
            }
            None => {
                unit.attach_ip(id, &resource, now).await?;
                (ip.resource, ip.updated_at) = (Some(resource), now);
            }
        }
        unit.finish("attach", IP, id, &changed(&before, &ip)).await?;
        Ok(ip)
    }

    /// Detaches an address from the tenant's resource that `from` says, and attaches it to `to` in the same step. Nothing happens where that
    /// is so already, since a client may send the same again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`] if `from` is not what uses it, [`Error::PreconditionFailed`] if a route leads through
    /// it and nothing shall use it any more.
    pub async fn move_ip(
        &self,
        caller: &Caller,
        region: &str,
        id: IpId,
        (field, from): (&str, CustomResource),
        to: Option<CustomResource>,
    ) -> Result<Ip> {
        let mut unit = self.unit(caller, region).await?;
        let mut ip = find_ip(&mut unit, caller, Write, id).await?;
        let action = if to.is_some() { "move" } else { "detach" };
        let (now, before, wished) = (unit.now, ip.clone(), to.map(|to| custom(id, to)));
        if ip.resource != wished {
            held_by(&ip, field, &from)?;
            match &wished {
                Some(resource) => unit.attach_ip(id, resource, now).await?,
                None => {
                    unit.no_next_hop(id).await?;
                    unit.detach_ip(id, now).await?;
                }
            }
            (ip.resource, ip.updated_at) = (wished, now);
        }
        unit.finish(action, IP, id, &changed(&before, &ip)).await?;
        Ok(ip)
    }
}

/// Refuses to take an address away from anything but the tenant's resource that `from`, of `field` in the request, says.
fn held_by(ip: &Ip, field: &str, from: &CustomResource) -> Result<()> {
    match &ip.resource {
        None => Err(Error::constraint(field, "the address is attached to nothing")),
        Some(user) if user.kind != CUSTOM => {
            let help = format!("the address is attached to {} {}, which keeps it", user.kind, user.id);
            Err(Error::PreconditionFailed { precondition: "resource_still_in_use", help })
        }
        Some(user) if user.mac_address.as_ref() != Some(&from.mac_address) => {
            let help = format!("the address is not attached to {}", from.mac_address);
            Err(Error::constraint(format!("{field}.mac_address"), help))
        }
        Some(_) => Ok(()),
    }
}
