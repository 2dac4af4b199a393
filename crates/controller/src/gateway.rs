//! VPN gateways.

use causeway_model::command::{ListQuery, NewPublicAddress, NewVpnGateway, Page, Rename, VpnGatewayFilter};
use causeway_model::error::ArgumentErrors;
use causeway_model::error::ArgumentReason::{Constraint, Required, Unknown};
use causeway_model::placement::Unplaced;
use causeway_model::resource::{Caller, GatewayType, Ip, IpResource, IpSource, PrivateNetwork, Role, VpnGateway};
use causeway_model::status::{NodeState, gateway_status};
use causeway_model::view::{GatewayState, VpnGatewayView};
use causeway_model::{Error, Family, IpId, VpnGatewayId};
use causeway_store::{GatewayRecord, Kind, NodeRecord, Project, Reader};

use crate::access::Intent::{self, Read, Write};
use crate::access::{checked, denied, paging, referenced, scope};
use crate::audit::{and, changed, gone, made};
use crate::ipam::{From, subnet_of};
use crate::quota::QuotaResource;
use crate::unit::Unit;
use crate::{Controller, Result, catalogue, status};

pub(crate) const GATEWAY: &str = "vpn_gateway";

pub(crate) async fn find_gateway(
    reader: &mut Reader,
    caller: &Caller,
    intent: Intent,
    id: VpnGatewayId,
) -> Result<GatewayRecord> {
    checked(caller, intent, reader.vpn_gateway(id).await?, |record| record.gateway.meta.project_id, GATEWAY, id)
}

fn in_use(help: impl Into<String>) -> Error {
    Error::PreconditionFailed { precondition: "resource_still_in_use", help: help.into() }
}

/// Refuses changes of what support has locked (423) or is being deleted (409): no name nor tag of it either.
pub(crate) fn open(record: &GatewayRecord, resource: &'static str, id: impl ToString) -> Result<()> {
    if record.gateway.locked {
        return Err(Error::Locked { resource, id: id.to_string() });
    }
    if record.gateway.deleting_since.is_some() {
        let current_state = "deprovisioning".to_owned();
        return Err(Error::TransientState { resource: GATEWAY, id: record.gateway.id.to_string(), current_state });
    }
    Ok(())
}

/// Refuses what [`open`] refuses, and changes of what runs on a node that cannot take them (409, system.md §3).
pub(crate) async fn changeable(
    reader: &mut Reader,
    record: &GatewayRecord,
    resource: &'static str,
    id: impl ToString,
) -> Result<()> {
    let node = status::node_of(reader, record).await?;
    changeable_on(node.as_ref(), record, resource, id)
}

/// As [`changeable`], given the gateway's node.
pub(crate) fn changeable_on(
    node: Option<&NodeRecord>,
    record: &GatewayRecord,
    resource: &'static str,
    id: impl ToString,
) -> Result<()> {
    open(record, resource, id.to_string())?;
    if node.is_some_and(|node| node.state == NodeState::KeepaliveFail) {
        let current_state = "keepalive_fail".to_owned();
        return Err(Error::TransientState { resource, id: id.to_string(), current_state });
    }
    Ok(())
}

/// Refuses whoever may not lock.
pub(crate) fn may_lock(caller: &Caller, resource: &str) -> Result<()> {
    match caller.role {
        Role::Operator | Role::Support => Ok(()),
        Role::Tenant | Role::Partner | Role::Node => Err(denied("lock", resource)),
    }
}

/// The field of a booked address in the request.
struct Booking {
    id: IpId,
    field: &'static str,
    family: Family,
}

impl Unit<'_> {
    /// An address that was booked before: of this project, free, of the right family; where it is from is the caller's business.
    async fn booked(&mut self, project: &Project, booking: &Booking) -> Result<Ip> {
        let Booking { id, field, family } = *booking;
        let ip = referenced(project.id, self.ip(id).await?, |ip| ip.project_id, "ip", id)?;
        if Family::of_net(&ip.address) != family {
            return Err(Error::constraint(field, format!("{} is not an {family} address", ip.address)));
        }
        if let Some(resource) = &ip.resource {
            return Err(in_use(format!("the address {} is attached to {} {}", ip.address, resource.kind, resource.id)));
        }
        Ok(ip)
    }

    async fn public_address(
        &mut self,
        project: &Project,
        zone: &str,
        family: Family,
        wish: NewPublicAddress,
        resource: &IpResource,
    ) -> Result<Option<IpId>> {
        let field = match family {
            Family::Ipv4 => "public_config.ipam_ipv4_id",
            Family::Ipv6 => "public_config.ipam_ipv6_id",
        };
        match wish {
            NewPublicAddress::Absent => Ok(None),
            NewPublicAddress::Allot => {
                let from = From::Zone(zone.to_owned());
                Ok(Some(self.take_ip(project, from, family, None, Some(resource.clone()), Vec::new()).await?.id))
            }
            NewPublicAddress::Booked(id) => {
                let ip = self.booked(project, &Booking { id, field, family }).await?;
                if ip.source != IpSource::Zonal(zone.to_owned()) {
                    return Err(Error::constraint(
                        field,
                        format!("{} is not a public address of zone {zone}", ip.address),
                    ));
                }
                let now = self.now;
                self.attach_ip(id, resource, now).await?;
                Ok(Some(id))
            }
        }
    }

    async fn private_address(
        &mut self,
        project: &Project,
        network: &PrivateNetwork,
        family: Family,
        wish: Option<IpId>,
        resource: &IpResource,
    ) -> Result<IpId> {
        let from = subnet_of(network, family)?;
        let Some(id) = wish else {
            return Ok(self.take_ip(project, from, family, None, Some(resource.clone()), Vec::new()).await?.id);
        };
        let field = match family {
            Family::Ipv4 => "ipam_private_ipv4_id",
            Family::Ipv6 => "ipam_private_ipv6_id",
        };
        let ip = self.booked(project, &Booking { id, field, family }).await?;
        let within =
            matches!((&from, &ip.source), (From::Subnet(subnet, _), IpSource::Subnet(source)) if subnet == source);
        if !within {
            return Err(Error::constraint(field, format!("{} is not of Private Network {}", ip.address, network.id)));
        }
        let now = self.now;
        self.attach_ip(id, resource, now).await?;
        Ok(id)
    }

    /// The zone of a new gateway: as wished, or the first one that has a node, or the first one of the type.
    async fn zone(&mut self, wished: Option<String>, gateway_type: &GatewayType) -> Result<String> {
        if let Some(zone) = wished {
            if gateway_type.zones.contains(&zone) {
                return Ok(zone);
            }
            let help = format!("{} is on offer in: {}", gateway_type.name, gateway_type.zones.join(", "));
            return Err(Error::constraint("zone", help));
        }
        for zone in &gateway_type.zones {
            if !self.node_loads(zone, None, None).await?.is_empty() {
                return Ok(zone.clone());
            }
        }
        let none = || Error::OutOfStock { resource: format!("zones of {}", gateway_type.name) };
        gateway_type.zones.first().cloned().ok_or_else(none)
    }
}

impl Controller {
    /// The catalogue of gateway types.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn gateway_types(&self, _caller: &Caller, region: &str, list: &ListQuery) -> Result<Page<GatewayType>> {
        self.in_region(region)?;
        paging(list)?;
        let all = self.read().await?.gateway_types(region).await?;
        let total = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let (page, size) = (list.page as usize, list.page_size as usize);
        Ok(Page { items: all.into_iter().skip((page - 1).saturating_mul(size)).take(size).collect(), total })
    }

    /// Creates a VPN gateway. Its node is told at once; until that acknowledges, the gateway is `provisioning`.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`],
    /// [`Error::OutOfStock`].
    pub async fn create_vpn_gateway(
        &self,
        caller: &Caller,
        region: &str,
        new: NewVpnGateway,
    ) -> Result<VpnGatewayView> {
        let mut unit = self.unit(caller, region).await?;
        let project = unit.project(new.meta.project_id, GATEWAY).await?;
        let zones = unit.zones().await?;
        let mut errors = ArgumentErrors::new();
        let types = unit.gateway_types(region).await?;
        let gateway_type = types.iter().find(|gateway_type| gateway_type.name == new.gateway_type);
        if gateway_type.is_none() {
            let names: Vec<&str> = types.iter().map(|gateway_type| gateway_type.name.as_str()).collect();
            errors.push("gateway_type", Unknown, format!("there are: {}", names.join(", ")));
        }
        if new.public_ipv4 == NewPublicAddress::Absent && new.public_ipv6 == NewPublicAddress::Absent {
            errors.push("public_config", Required, "a gateway needs a public address of at least one family");
        }
        if let Some(zone) = &new.zone
            && !zones.contains(zone)
        {
            errors.push("zone", Constraint, format!("there are: {}", zones.join(", ")));
        }
        errors.finish()?;
        let gateway_type = gateway_type.ok_or_else(|| Error::Internal("no gateway type".to_owned()))?;
        unit.within_quota(project.id, QuotaResource::VpnGateways).await?;
        let network = unit.private_network(new.private_network_id).await?;
        let of = |network: &PrivateNetwork| network.meta.project_id;
        let network = referenced(project.id, network, of, "private_network", new.private_network_id)?;
        let zone = unit.zone(new.zone, gateway_type).await?;
        let vpc = network.vpc_id;
        let router = self.router_of(&mut unit, vpc, &zone).await?;
        let kind = &gateway_type.name;
        let placed = self.node_for(&mut unit, (vpc, &zone), router.as_ref(), project.id, kind).await?;
        let node = placed.ok();
        let id = VpnGatewayId::random();
        let meta = unit.meta(&project, new.meta);
        let resource =
            IpResource { kind: GATEWAY.to_owned(), id: id.0, name: Some(meta.name.clone()), mac_address: None };
        let (v4, v6) = (Family::Ipv4, Family::Ipv6);
        let gateway = VpnGateway {
            id,
            meta,
            gateway_type: gateway_type.name.clone(),
            asn: self.provider_asn(),
            private_network_id: network.id,
            ipam_private_ipv4_id: unit
                .private_address(&project, &network, v4, new.ipam_private_ipv4_id, &resource)
                .await?,
            ipam_private_ipv6_id: unit
                .private_address(&project, &network, v6, new.ipam_private_ipv6_id, &resource)
                .await?,
            public_ipv4_id: unit.public_address(&project, &zone, v4, new.public_ipv4, &resource).await?,
            public_ipv6_id: unit.public_address(&project, &zone, v6, new.public_ipv6, &resource).await?,
            connection_ids: Vec::new(),
            deleting_since: None,
            locked: false,
            zone,
        };
        unit.insert_vpn_gateway(&gateway, node).await?;
        if placed == Err(Unplaced::NoCapacity) {
            unit.unplace_gateway(id, true).await?;
        }
        let now = unit.now;
        if let Some(node) = node {
            self.gateway_came(&mut unit, (vpc, &gateway.zone), router.as_ref(), node, now).await?;
        }
        let record = find_gateway(&mut unit, caller, Read, id).await?;
        let view = status::gateway(&mut unit, record, now).await?;
        unit.finish("create", GATEWAY, id, &made(&gateway)).await?;
        Ok(view)
    }

    /// A VPN gateway.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn vpn_gateway(&self, caller: &Caller, region: &str, id: VpnGatewayId) -> Result<VpnGatewayView> {
        self.in_region(region)?;
        let mut reader = self.read().await?;
        let record = find_gateway(&mut reader, caller, Read, id).await?;
        status::gateway(&mut reader, record, self.now()).await
    }

    /// A page of VPN gateways.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_vpn_gateways(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: &VpnGatewayFilter,
    ) -> Result<Page<VpnGatewayView>> {
        self.in_region(region)?;
        paging(list)?;
        let mut reader = self.read().await?;
        let (records, total) = reader.vpn_gateways(region, scope(caller), list, filter).await?;
        Ok(Page { items: status::gateways(&mut reader, records, self.now()).await?, total })
    }

    /// Changes a VPN gateway's name and tags.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::TransientState`], [`Error::Locked`].
    pub async fn update_vpn_gateway(
        &self,
        caller: &Caller,
        region: &str,
        id: VpnGatewayId,
        rename: Rename,
    ) -> Result<VpnGatewayView> {
        let mut unit = self.unit(caller, region).await?;
        let mut record = find_gateway(&mut unit, caller, Write, id).await?;
        unit.steady(&record).await?;
        let before = record.gateway.clone();
        unit.rename(Kind::VpnGateway, id.0, &mut record.gateway.meta, rename).await?;
        let name = record.gateway.meta.name.clone();
        unit.rename_ip_resource(id.0, &name).await?;
        let now = unit.now;
        let details = changed(&before, &record.gateway);
        let view = status::gateway(&mut unit, record, now).await?;
        unit.finish("update", GATEWAY, id, &details).await?;
        Ok(view)
    }

    /// Starts the deletion of a VPN gateway without connections. It is `deprovisioning` until its node has let go of it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::TransientState`], [`Error::Locked`].
    pub async fn delete_vpn_gateway(&self, caller: &Caller, region: &str, id: VpnGatewayId) -> Result<VpnGatewayView> {
        let mut unit = self.unit(caller, region).await?;
        let record = find_gateway(&mut unit, caller, Write, id).await?;
        changeable(&mut unit, &record, GATEWAY, id).await?;
        if let Some(connection) = record.gateway.connection_ids.first() {
            return Err(in_use(format!("delete its connections first: {connection}")));
        }
        unit.steady(&record).await?;
        let now = unit.now;
        let revision = match record.node {
            Some(node) => Some(causeway_store::Writer::bump_node(&mut unit, node).await?),
            None => None,
        };
        unit.start_gateway_deletion(id, now, revision).await?;
        let (vpc, zone) = (record.vpc, record.gateway.zone.as_str());
        if record.node.is_some() {
            self.settle_router(&mut unit, (vpc, zone), now).await?;
            // Where the router is, its cable goes.
            unit.advance_nodes_of_vpc(vpc, zone).await?;
        }
        unit.refresh(id).await?;
        let details = gone(&record.gateway);
        let record = find_gateway(&mut unit, caller, Read, id).await?;
        let view = status::gateway(&mut unit, record, now).await?;
        unit.finish("delete", GATEWAY, id, &details).await?;
        Ok(view)
    }

    /// What is the matter with a VPN gateway (wire-ext.md §1).
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn gateway_state(&self, caller: &Caller, region: &str, id: VpnGatewayId) -> Result<GatewayState> {
        self.in_region(region)?;
        let mut reader = self.read().await?;
        let record = find_gateway(&mut reader, caller, Read, id).await?;
        let node = status::node_of(&mut reader, &record).await?;
        let view = status::whole_gateway_view(&mut reader, &record, node.as_ref(), self.now()).await?;
        let (status, fault) = gateway_status(&view);
        let gateway = &record.gateway;
        let mut addresses = Vec::with_capacity(4);
        let ids = [gateway.public_ipv4_id, gateway.public_ipv6_id];
        let ids = ids.into_iter().chain([Some(gateway.ipam_private_ipv4_id), Some(gateway.ipam_private_ipv6_id)]);
        for id in ids.flatten() {
            addresses.extend(reader.ip(id).await?);
        }
        let bandwidth = catalogue::gateway_type(&mut reader, region, &gateway.gateway_type).await?;
        Ok(GatewayState {
            status,
            reason: fault.map(|fault| fault.explain(Some(record.pending_since.unwrap_or(gateway.meta.updated_at)))),
            lifecycle: if gateway.deleting_since.is_some() { "deleting" } else { "present" },
            desired_revision: record.config_revision,
            applied_revision: record.observed.as_ref().map_or(0, |observed| observed.applied_revision),
            observed_at: node.as_ref().and_then(|node| node.reported_at),
            node: record.node,
            bandwidth: bandwidth.map_or(0, |gateway_type| gateway_type.bandwidth),
            public_addresses: addresses.iter().filter(|ip| ip.zone.is_some()).map(|ip| ip.address.addr()).collect(),
            private_addresses: addresses.iter().filter(|ip| ip.zone.is_none()).map(|ip| ip.address).collect(),
        })
    }

    /// Locks a VPN gateway for a reason, or unlocks it: support and operators.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn set_vpn_gateway_locked(
        &self,
        caller: &Caller,
        region: &str,
        id: VpnGatewayId,
        reason: Option<String>,
    ) -> Result<VpnGatewayView> {
        may_lock(caller, GATEWAY)?;
        let mut unit = self.unit(caller, region).await?;
        let record = find_gateway(&mut unit, caller, Read, id).await?;
        unit.set_gateway_lock(id, reason.as_deref()).await?;
        if reason.is_some() && record.gateway.deleting_since.is_none() {
            // A configuration of its own, so that its acknowledgement says that the lock is in force.
            unit.bump_gateway(&record).await?;
        } else {
            // Nobody waits until a lock is lifted.
            unit.bump_node(record.node).await?;
        }
        unit.refresh(id).await?;
        let now = unit.now;
        let before = record.gateway;
        let record = find_gateway(&mut unit, caller, Read, id).await?;
        let details = changed(&before, &record.gateway);
        let details = and(details, [("reason", reason.clone().unwrap_or_default())]);
        let view = status::gateway(&mut unit, record, now).await?;
        let action = if reason.is_some() { "lock" } else { "unlock" };
        unit.finish(action, GATEWAY, id, &details).await?;
        Ok(view)
    }
}

impl Unit<'_> {
    /// Refuses changes of a gateway that is changing already (409) or locked (423).
    async fn steady(&mut self, record: &GatewayRecord) -> Result<()> {
        let id = record.gateway.id.to_string();
        if record.gateway.locked {
            return Err(Error::Locked { resource: GATEWAY, id });
        }
        let node = status::node_of(self, record).await?;
        let (status, _) = gateway_status(&status::gateway_view(record, node.as_ref(), self.now));
        if status.is_transient() {
            return Err(Error::TransientState { resource: GATEWAY, id, current_state: status.to_string() });
        }
        Ok(())
    }
}
