//! Customer gateways and routing policies: shared by connections, so that an edit reaches all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_model::command::{ListQuery, NewCustomerGateway, NewRoutingPolicy, Page, Rename};
use causeway_model::error::ArgumentErrors;
use causeway_model::error::ArgumentReason::{Constraint, Required};
use causeway_model::resource::{Caller, CustomerGateway, RoutingPolicy};
use causeway_model::{CustomerGatewayId, Error, Family, RoutingPolicyId};
use causeway_store::{Kind, Project, Reader, Tunnel};
use ipnet::IpNet;

use crate::access::Intent::{self, Read, Write};
use crate::access::{checked, paging, scope};
use crate::audit::{changed, gone, made, policy_change};
use crate::options::tunnel_identity;
use crate::quota::QuotaResource;
use crate::unit::Unit;
use crate::{Controller, Result};

const CUSTOMER: &str = "customer_gateway";
const POLICY: &str = "routing_policy";

/// Entries of a whitelist at most: the node checks every packet's addresses against it.
const MAX_PREFIXES: usize = 1000;

async fn find_customer(
    reader: &mut Reader,
    caller: &Caller,
    intent: Intent,
    id: CustomerGatewayId,
) -> Result<CustomerGateway> {
    checked(caller, intent, reader.customer_gateway(id).await?, |gateway| gateway.meta.project_id, CUSTOMER, id)
}

async fn find_policy(
    reader: &mut Reader,
    caller: &Caller,
    intent: Intent,
    id: RoutingPolicyId,
) -> Result<RoutingPolicy> {
    checked(caller, intent, reader.routing_policy(id).await?, |policy| policy.meta.project_id, POLICY, id)
}

fn in_use(help: impl Into<String>) -> Error {
    Error::PreconditionFailed { precondition: "resource_still_in_use", help: help.into() }
}

/// What system.md §1.1 says of a VPN between two VPCs of one service.
pub(crate) fn own_address(address: IpAddr) -> Error {
    Error::PreconditionFailed {
        precondition: "unknown_precondition",
        help: format!(
            "{address} is a VPN gateway of this service: a VPN between two VPCs of the same service is not possible; connect the VPCs instead"
        ),
    }
}

fn check_customer(gateway: &CustomerGateway, provider_asn: u32, errors: &mut ArgumentErrors) {
    // RFC 7607, RFC 6793 §9 and RFC 7300: never anyone's.
    if matches!(gateway.asn, 0 | 23456 | 65535 | u32::MAX) {
        errors.push(
            "asn",
            Constraint,
            "reserved AS number; private ones are 64512 to 65534 and 4200000000 to 4294967294",
        );
    } else if gateway.asn == provider_asn {
        errors.push("asn", Constraint, format!("{provider_asn} is this service's own AS number; use another one"));
    }
    let useless_v4 = |address: Ipv4Addr| {
        address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast()
    };
    if gateway.public_ipv4.is_some_and(useless_v4) {
        errors.push("ipv4_public", Constraint, "not an address that a device can be reached at");
    }
    let useless_v6 = |address: Ipv6Addr| {
        address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_unicast_link_local()
    };
    if gateway.public_ipv6.is_some_and(useless_v6) {
        errors.push("ipv6_public", Constraint, "not an address that a device can be reached at");
    }
}

fn check_policy(policy: &RoutingPolicy, errors: &mut ArgumentErrors) {
    let family = Family::from_is_ipv6(policy.is_ipv6);
    let lists = [("prefix_filter_in", &policy.prefix_filter_in), ("prefix_filter_out", &policy.prefix_filter_out)];
    for (field, list) in lists {
        if list.len() > MAX_PREFIXES {
            errors.push(field, Constraint, format!("at most {MAX_PREFIXES} prefixes"));
        }
        if let Some(wrong) = list.iter().find(|prefix| Family::of_net(prefix) != family) {
            errors.push(field, Constraint, format!("{wrong} is not an {family} prefix, as `is_ipv6` asks for"));
        }
    }
}

/// The policy that was asked for.
pub(crate) async fn new_policy(unit: &mut Unit<'_>, project: &Project, new: NewRoutingPolicy) -> Result<RoutingPolicy> {
    let policy = RoutingPolicy {
        id: RoutingPolicyId::random(),
        meta: unit.meta(project, new.meta),
        is_ipv6: new.is_ipv6,
        prefix_filter_in: new.prefix_filter_in,
        prefix_filter_out: new.prefix_filter_out,
    };
    let mut errors = ArgumentErrors::new();
    check_policy(&policy, &mut errors);
    errors.finish()?;
    unit.within_amount(project.id, QuotaResource::RoutingPrefixes, prefixes(&policy)).await?;
    Ok(policy)
}

fn prefixes(policy: &RoutingPolicy) -> usize {
    policy.prefix_filter_in.len() + policy.prefix_filter_out.len()
}

/// Gives a policy other whitelists where there are any; true if it did.
pub(crate) async fn edit_policy(
    unit: &mut Unit<'_>,
    policy: &mut RoutingPolicy,
    prefix_filter_in: Option<Vec<IpNet>>,
    prefix_filter_out: Option<Vec<IpNet>>,
) -> Result<bool> {
    let edited = prefix_filter_in.is_some() || prefix_filter_out.is_some();
    let before = prefixes(policy);
    if let Some(list) = prefix_filter_in {
        policy.prefix_filter_in = list;
    }
    if let Some(list) = prefix_filter_out {
        policy.prefix_filter_out = list;
    }
    let mut errors = ArgumentErrors::new();
    check_policy(policy, &mut errors);
    errors.finish()?;
    let more = prefixes(policy).saturating_sub(before);
    unit.within_amount(policy.meta.project_id, QuotaResource::RoutingPrefixes, more).await?;
    Ok(edited)
}

impl Controller {
    /// Creates a customer gateway.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn create_customer_gateway(
        &self,
        caller: &Caller,
        region: &str,
        new: NewCustomerGateway,
    ) -> Result<CustomerGateway> {
        let mut unit = self.unit(caller, region).await?;
        let project = unit.project(new.meta.project_id, CUSTOMER).await?;
        unit.within_quota(project.id, QuotaResource::CustomerGateways).await?;
        let gateway = CustomerGateway {
            id: CustomerGatewayId::random(),
            meta: unit.meta(&project, new.meta),
            asn: new.asn,
            public_ipv4: new.public_ipv4,
            public_ipv6: new.public_ipv6,
            connection_ids: Vec::new(),
        };
        let mut errors = ArgumentErrors::new();
        check_customer(&gateway, self.provider_asn(), &mut errors);
        if gateway.public_ipv4.is_none() && gateway.public_ipv6.is_none() {
            errors.push(
                "ipv4_public",
                Required,
                "give the device's public address: `ipv4_public`, `ipv6_public` or both",
            );
        }
        errors.finish()?;
        unit.insert_customer_gateway(&gateway).await?;
        unit.finish("create", CUSTOMER, gateway.id, &made(&gateway)).await?;
        Ok(gateway)
    }

    /// A customer gateway.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn customer_gateway(
        &self,
        caller: &Caller,
        region: &str,
        id: CustomerGatewayId,
    ) -> Result<CustomerGateway> {
        self.in_region(region)?;
        find_customer(&mut self.read().await?, caller, Read, id).await
    }

    /// A page of customer gateways.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_customer_gateways(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
    ) -> Result<Page<CustomerGateway>> {
        self.in_region(region)?;
        paging(list)?;
        let (items, total) = self.read().await?.customer_gateways(region, scope(caller), list).await?;
        Ok(Page { items, total })
    }

    /// Changes a customer gateway. Its connections follow at once: a new address is one where the device was never seen.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::NotFound`], [`Error::AlreadyExists`] if a connection would get another one's tunnel,
    /// [`Error::PreconditionFailed`] if it has connections and the address is one of our own gateways'.
    pub async fn update_customer_gateway(
        &self,
        caller: &Caller,
        region: &str,
        id: CustomerGatewayId,
        rename: Rename,
        asn: Option<u32>,
        public_ipv4: Option<Ipv4Addr>,
        public_ipv6: Option<Ipv6Addr>,
    ) -> Result<CustomerGateway> {
        let mut unit = self.unit(caller, region).await?;
        let old = find_customer(&mut unit, caller, Write, id).await?;
        let mut gateway = old.clone();
        gateway.asn = asn.unwrap_or(gateway.asn);
        gateway.public_ipv4 = public_ipv4.or(gateway.public_ipv4);
        gateway.public_ipv6 = public_ipv6.or(gateway.public_ipv6);
        let mut errors = ArgumentErrors::new();
        check_customer(&gateway, self.provider_asn(), &mut errors);
        errors.finish()?;
        let mut moved: Vec<IpAddr> = Vec::new();
        moved.extend(gateway.public_ipv4.filter(|_| gateway.public_ipv4 != old.public_ipv4).map(IpAddr::V4));
        moved.extend(gateway.public_ipv6.filter(|_| gateway.public_ipv6 != old.public_ipv6).map(IpAddr::V6));
        if !gateway.connection_ids.is_empty() {
            for address in &moved {
                if unit.is_own_public_address(*address).await? {
                    return Err(own_address(*address));
                }
            }
            for connection in &gateway.connection_ids {
                for tunnel in unit.tunnels(*connection).await? {
                    let Some(peer) = moved.iter().find(|peer| peer.is_ipv6() == tunnel.peer.is_ipv6()) else {
                        continue;
                    };
                    let Some(record) = unit.connection_by_id(*connection).await? else { continue };
                    let identity = tunnel_identity(record.connection.peer_identity.as_deref(), *peer);
                    let tunnel = Tunnel { peer: *peer, identity, ..tunnel };
                    if let Some(other) = unit.connection_with_tunnel(&tunnel).await? {
                        return Err(crate::connection::duplicate(&tunnel, other));
                    }
                    let field = if peer.is_ipv6() { "ipv6_public" } else { "ipv4_public" };
                    let ciphers = &record.connection.ikev2_ciphers;
                    unit.agree(Some(*connection), std::slice::from_ref(&tunnel), ciphers, field).await?;
                    unit.set_tunnel_peer(*connection, *peer, tunnel.identity.as_deref()).await?;
                }
            }
        }
        unit.rename(Kind::CustomerGateway, id.0, &mut gateway.meta, rename).await?;
        unit.set_customer_gateway(&gateway).await?;
        if gateway.asn != old.asn || !moved.is_empty() {
            unit.bump_connections(&gateway.connection_ids).await?;
        }
        unit.finish("update", CUSTOMER, id, &changed(&old, &gateway)).await?;
        Ok(gateway)
    }

    /// Deletes a customer gateway without connections.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_customer_gateway(&self, caller: &Caller, region: &str, id: CustomerGatewayId) -> Result<()> {
        let mut unit = self.unit(caller, region).await?;
        let gateway = find_customer(&mut unit, caller, Write, id).await?;
        if let Some(connection) = gateway.connection_ids.first() {
            return Err(in_use(format!("delete its connections first: {connection}")));
        }
        unit.delete(Kind::CustomerGateway, id.0).await?;
        unit.finish("delete", CUSTOMER, id, &gone(&gateway)).await
    }

    /// Creates a routing policy.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn create_routing_policy(
        &self,
        caller: &Caller,
        region: &str,
        new: NewRoutingPolicy,
    ) -> Result<RoutingPolicy> {
        let mut unit = self.unit(caller, region).await?;
        let project = unit.project(new.meta.project_id, POLICY).await?;
        unit.within_quota(project.id, QuotaResource::RoutingPolicies).await?;
        let policy = new_policy(&mut unit, &project, new).await?;
        unit.insert_routing_policy(&policy).await?;
        unit.finish("create", POLICY, policy.id, &policy_change(None, Some(&policy))).await?;
        Ok(policy)
    }

    /// A routing policy.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn routing_policy(&self, caller: &Caller, region: &str, id: RoutingPolicyId) -> Result<RoutingPolicy> {
        self.in_region(region)?;
        find_policy(&mut self.read().await?, caller, Read, id).await
    }

    /// A page of routing policies; of one address family, if one is named.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_routing_policies(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        is_ipv6: Option<bool>,
    ) -> Result<Page<RoutingPolicy>> {
        self.in_region(region)?;
        paging(list)?;
        let (items, total) = self.read().await?.routing_policies(region, scope(caller), list, is_ipv6).await?;
        Ok(Page { items, total })
    }

    /// Changes a routing policy; takes effect at once on every connection that has it.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::NotFound`].
    pub async fn update_routing_policy(
        &self,
        caller: &Caller,
        region: &str,
        id: RoutingPolicyId,
        rename: Rename,
        prefix_filter_in: Option<Vec<IpNet>>,
        prefix_filter_out: Option<Vec<IpNet>>,
    ) -> Result<RoutingPolicy> {
        let mut unit = self.unit(caller, region).await?;
        let before = find_policy(&mut unit, caller, Write, id).await?;
        let mut policy = before.clone();
        let edited = edit_policy(&mut unit, &mut policy, prefix_filter_in, prefix_filter_out).await?;
        unit.rename(Kind::RoutingPolicy, id.0, &mut policy.meta, rename).await?;
        if edited {
            unit.set_routing_policy(&policy).await?;
            let connections = unit.connections_with_policy(id).await?;
            unit.bump_connections(&connections).await?;
        }
        unit.finish("update", POLICY, id, &policy_change(Some(&before), Some(&policy))).await?;
        Ok(policy)
    }

    /// Deletes a routing policy that no connection has.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_routing_policy(&self, caller: &Caller, region: &str, id: RoutingPolicyId) -> Result<()> {
        let mut unit = self.unit(caller, region).await?;
        let policy = find_policy(&mut unit, caller, Write, id).await?;
        if let Some(connection) = unit.connections_with_policy(id).await?.first() {
            return Err(in_use(format!("detach it from its connections first: {connection}")));
        }
        unit.delete(Kind::RoutingPolicy, id.0).await?;
        unit.finish("delete", POLICY, id, &policy_change(Some(&policy), None)).await
    }
}
