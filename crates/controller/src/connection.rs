//! Connections.

use std::net::IpAddr;

use causeway_device::{DeviceInput, FORMATS, Names};
use causeway_model::command::{
    ConnectionChange, ConnectionFilter, ListQuery, NewBgp, NewConnection, Page, PolicyChange,
};
use causeway_model::desired::{PolicyDesired, TunnelDesired};
use causeway_model::error::ArgumentErrors;
use causeway_model::error::ArgumentReason::{Constraint, Unknown};
use causeway_model::observed::SessionFacts;
use causeway_model::resource::{BgpSession, Caller, Connection, CustomerGateway, RoutingPolicy, Tunnels, VpnGateway};
use causeway_model::view::{ConnectionState, ConnectionStatuses};
use causeway_model::{
    ConnectionId, CustomerGatewayId, Error, Family, ProjectId, ReasonCode, RoutingPolicyId, VpcId, VpnGatewayId,
};
use causeway_store::{ConnectionRecord, GatewayRecord, Kind, Neighbour, Premises, Reader, Tunnel};
use ipnet::IpNet;

use crate::access::Intent::{self, Read, Write};
use crate::access::{checked, paging, referenced, scope};
use crate::audit::{self, and, gone, made};
use crate::customer::own_address;
use crate::gateway::{GATEWAY, changeable, changeable_on, may_lock, open};
use crate::interconnect::{self, Pair, Taken};
use crate::options::agree;
use crate::psk::KeyFields;
use crate::quota::{self, QuotaResource};
use crate::secret::SECRET;
use crate::status::Seen;
use crate::unit::{Unit, missing_project};
use crate::{Controller, Result, status};

pub(crate) const CONNECTION: &str = "connection";

pub(crate) async fn find(
    reader: &mut Reader,
    caller: &Caller,
    intent: Intent,
    id: ConnectionId,
) -> Result<ConnectionRecord> {
    let record = reader.connection_by_id(id).await?;
    checked(caller, intent, record, |record| record.connection.meta.project_id, CONNECTION, id)
}

pub(crate) async fn gateway_of(reader: &mut Reader, record: &ConnectionRecord) -> Result<GatewayRecord> {
    let id = record.connection.vpn_gateway_id;
    let missing = || Error::Internal(format!("VPN gateway {id} is missing"));
    reader.vpn_gateway(id).await?.ok_or_else(missing)
}

/// A connection with that tunnel exists.
pub(crate) fn duplicate(tunnel: &Tunnel, existing: ConnectionId) -> Error {
    Error::AlreadyExists {
        resource: CONNECTION,
        id: existing.to_string(),
        help: format!(
            "a connection between {} and {} with the same peer identity exists; use it, or another address on one side",
            tunnel.local, tunnel.peer
        ),
    }
}

/// The public address of a family that an object has in the store.
pub(crate) async fn public_address(
    reader: &mut Reader,
    gateway: &VpnGateway,
    family: Family,
) -> Result<Option<IpAddr>> {
    let id = match family {
        Family::Ipv4 => gateway.public_ipv4_id,
        Family::Ipv6 => gateway.public_ipv6_id,
    };
    match id {
        Some(id) => Ok(reader.ip(id).await?.map(|ip| ip.address.addr())),
        None => Ok(None),
    }
}

pub(crate) fn peer_address(customer: &CustomerGateway, family: Family) -> Option<IpAddr> {
    match family {
        Family::Ipv4 => customer.public_ipv4.map(IpAddr::V4),
        Family::Ipv6 => customer.public_ipv6.map(IpAddr::V6),
    }
}

/// Which tunnels a new connection has (system.md §1.1).
fn tunnels_of(wished: Option<bool>, common: &[Family], errors: &mut ArgumentErrors) -> Option<Tunnels> {
    let tunnels = match common {
        [] => {
            let help = "the two gateways have no public address family in common";
            errors.push("customer_gateway_id", Constraint, help);
            return None;
        }
        [Family::Ipv4] => Tunnels::Ipv4,
        [Family::Ipv6] => Tunnels::Ipv6,
        _ => Tunnels::Both,
    };
    let Some(family) = wished.map(Family::from_is_ipv6) else { return Some(tunnels) };
    if !common.contains(&family) {
        errors.push("is_ipv6", Constraint, format!("one of the two gateways has no public {family} address"));
        return None;
    }
    Some(if family.is_ipv6() { Tunnels::Ipv6 } else { Tunnels::Ipv4 })
}

const fn policy_field(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "routing_policy_v4",
        Family::Ipv6 => "routing_policy_v6",
    }
}

impl Unit<'_> {
    /// A connection that the caller may change now.
    pub(crate) async fn changeable_connection(&mut self, id: ConnectionId) -> Result<ConnectionRecord> {
        let (record, gateway) = self.open_connection(id).await?;
        changeable(self, &gateway, CONNECTION, id).await?;
        Ok(record)
    }

    /// A connection whose name and tags the caller may change now, whatever its node is like, and its gateway.
    async fn open_connection(&mut self, id: ConnectionId) -> Result<(ConnectionRecord, GatewayRecord)> {
        let caller = self.caller;
        let record = find(self, caller, Write, id).await?;
        if record.connection.locked {
            return Err(Error::Locked { resource: CONNECTION, id: id.to_string() });
        }
        let gateway = gateway_of(self, &record).await?;
        open(&gateway, CONNECTION, id)?;
        Ok((record, gateway))
    }

    /// Ends a use case on a connection and answers what has become of it.
    pub(crate) async fn finish_connection(
        mut self,
        action: &str,
        id: ConnectionId,
        details: &[(&str, String)],
    ) -> Result<ConnectionStatuses> {
        let caller = self.caller;
        let now = self.now;
        let record = find(&mut self, caller, Read, id).await?;
        let view = status::connection(&mut self, &record, now).await?;
        self.finish(action, CONNECTION, id, details).await?;
        Ok(view)
    }

    /// Ends a use case that has changed `before` in the store, and answers what has become of it.
    pub(crate) async fn finish_change(mut self, action: &str, before: &Connection) -> Result<ConnectionStatuses> {
        let caller = self.caller;
        let after = find(&mut self, caller, Read, before.id).await?.connection;
        self.finish_connection(action, before.id, &audit::changed(before, &after)).await
    }

    async fn policy(&mut self, project: ProjectId, id: RoutingPolicyId) -> Result<RoutingPolicy> {
        referenced(project, self.routing_policy(id).await?, |policy| policy.meta.project_id, "routing_policy", id)
    }

    async fn vpc_of(&mut self, gateway: &VpnGateway) -> Result<VpcId> {
        let id = gateway.private_network_id;
        let missing = || Error::Internal(format!("Private Network {id} is missing"));
        Ok(self.private_network(id).await?.ok_or_else(missing)?.vpc_id)
    }

    /// What no interconnection subnet of a VPC may overlap: its subnets, and the destinations of custom routes that are as narrow as such a
    /// subnet. Wider ones do no harm, because the inside of a connection is the longer route.
    async fn occupied(&mut self, vpc: VpcId) -> Result<Vec<IpNet>> {
        let narrow = |destination: &IpNet| destination.max_prefix_len() - destination.prefix_len() <= 2;
        let mut occupied = self.vpc_subnets(vpc).await?;
        occupied.extend(self.custom_destinations(vpc).await?.into_iter().filter(narrow));
        Ok(occupied)
    }

    /// A free interconnection subnet, or the wished one if it is free. `subnets`: those of the gateway's VPC; `known`: what is taken, if that
    /// is known.
    async fn interconnection(
        &mut self,
        (gateway, customer): (VpnGatewayId, CustomerGatewayId),
        family: Family,
        (wished, subnets): (Option<Pair>, &[IpNet]),
        known: Option<Taken<'_>>,
        errors: &mut ArgumentErrors,
    ) -> Result<Option<Pair>> {
        let ula = self.controller.inner.service.ula;
        let stock = || Error::OutOfStock { resource: format!("{family} interconnection subnets") };
        if let (Some(known), None) = (known, &wished) {
            return interconnect::allot(family, ula, known, subnets).map(Some).ok_or_else(stock);
        }
        let taken = self.taken_interconnections(gateway, customer, family).await?;
        if let Some(pair) = wished {
            if interconnect::is_free(&pair, &taken) {
                return Ok(Some(pair));
            }
            let field = format!("bgp_config_{}.private_ip", if family.is_ipv6() { "ipv6" } else { "ipv4" });
            let help = format!("{} overlaps another connection of one of the two gateways", pair.ours.trunc());
            errors.push(field, Constraint, help);
            return Ok(None);
        }
        interconnect::allot(family, ula, Taken::Pairs(&taken), subnets).map(Some).ok_or_else(stock)
    }

    /// The session of a family as asked for; `None` with an error recorded if it cannot be.
    async fn session(
        &mut self,
        project: ProjectId,
        (gateway, customer): (&VpnGateway, CustomerGatewayId),
        premises: &Premises,
        family: Family,
        wish: &NewBgp,
        errors: &mut ArgumentErrors,
    ) -> Result<Option<BgpSession>> {
        if let Some(id) = wish.routing_policy_id {
            let policy = premises.policies.iter().find(|policy| policy.id == id);
            let policy = referenced(project, policy, |policy| policy.meta.project_id, "routing_policy", id)?;
            if Family::from_is_ipv6(policy.is_ipv6) != family {
                let field = format!("bgp_config_{}.routing_policy_id", if family.is_ipv6() { "ipv6" } else { "ipv4" });
                errors.push(field, Constraint, format!("this policy is not for {family}"));
            }
        }
        let before = errors.len();
        let mut subnets = Vec::new();
        // IPv4's are allotted from a range that no Private Network may have.
        if family.is_ipv6() || wish.private_ip.is_some() || wish.peer_private_ip.is_some() {
            let vpc = self.vpc_of(gateway).await?;
            subnets = self.occupied(vpc).await?;
        }
        let wished = interconnect::chosen(family, wish, &subnets, errors);
        if errors.len() > before {
            return Ok(None);
        }
        let known = Taken::without_gaps(family, self.controller.inner.service.ula, premises.taken(family));
        let between = (gateway.id, customer);
        let pair = self.interconnection(between, family, (wished, &subnets), known, errors).await?;
        Ok(pair.map(|pair| BgpSession {
            private_ip: pair.ours,
            peer_private_ip: pair.theirs,
            routing_policy_id: wish.routing_policy_id,
        }))
    }
}

impl Controller {
    /// Creates a connection. It works as soon as the node has it and the device is configured.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::AlreadyExists`],
    /// [`Error::PreconditionFailed`], [`Error::QuotasExceeded`], [`Error::Locked`], [`Error::TransientState`], [`Error::OutOfStock`].
    pub async fn create_connection(
        &self,
        caller: &Caller,
        region: &str,
        new: NewConnection,
    ) -> Result<ConnectionStatuses> {
        let mut unit = self.unit(caller, region).await?;
        let project = unit.wished_project(new.meta.project_id, CONNECTION)?;
        let policies = [&new.bgp_ipv4, &new.bgp_ipv6].map(|wish| wish.as_ref().and_then(|wish| wish.routing_policy_id));
        let mut premises = unit.premises(project, new.vpn_gateway_id, new.customer_gateway_id, policies).await?;
        let project = premises.project.take().ok_or_else(|| missing_project(project))?;
        let of = |record: &GatewayRecord| record.gateway.meta.project_id;
        let mut record = referenced(project.id, premises.gateway.take(), of, GATEWAY, new.vpn_gateway_id)?;
        let of = |customer: &CustomerGateway| customer.meta.project_id;
        let customer =
            referenced(project.id, premises.customer.take(), of, "customer_gateway", new.customer_gateway_id)?;
        changeable_on(premises.node.as_ref(), &record, GATEWAY, record.gateway.id)?;
        let gateway = &record.gateway;

        let mut errors = ArgumentErrors::new();
        let mut pairs = Vec::with_capacity(2);
        for family in Family::ALL {
            let local = premises.public.iter().copied().find(|address| Family::of(*address) == family);
            if let (Some(local), Some(peer)) = (local, peer_address(&customer, family)) {
                pairs.push((family, local, peer));
            }
        }
        let common: Vec<Family> = pairs.iter().map(|(family, ..)| *family).collect();
        let tunnels = tunnels_of(new.is_ipv6, &common, &mut errors);
        let mut sessions = [None, None];
        let wishes = [(Family::Ipv4, &new.bgp_ipv4), (Family::Ipv6, &new.bgp_ipv6)];
        for ((family, wish), session) in wishes.into_iter().zip(&mut sessions) {
            if let Some(wish) = wish {
                *session =
                    unit.session(project.id, (gateway, customer.id), &premises, family, wish, &mut errors).await?;
            }
        }
        errors.finish()?;
        let tunnels = tunnels.ok_or_else(|| Error::Internal("no tunnel".to_owned()))?;
        if let Some(address) = Family::ALL
            .into_iter()
            .filter_map(|family| peer_address(&customer, family))
            .find(|address| premises.own.contains(address))
        {
            return Err(own_address(address));
        }
        quota::within(QuotaResource::Connections, premises.quota)?;
        let (quota, current) = (premises.allowed.unwrap_or_default(), premises.connections);
        if current >= quota {
            return Err(Error::QuotasExceeded { resource: "connections_per_vpn_gateway".to_owned(), quota, current });
        }
        let outside: Vec<Tunnel> = pairs
            .into_iter()
            .filter(|(family, ..)| tunnels.families().contains(family))
            .map(|(_, local, peer)| Tunnel { local, peer, identity: None })
            .collect();
        for tunnel in &outside {
            if let Some(existing) = premises.between.iter().find(|existing| existing.tunnel == *tunnel) {
                return Err(duplicate(tunnel, existing.connection));
            }
        }
        for tunnel in &outside {
            let same = |other: &&Neighbour| (other.tunnel.local, other.tunnel.peer) == (tunnel.local, tunnel.peer);
            for other in premises.between.iter().filter(same) {
                agree(tunnel, other.connection, &other.ikev2_ciphers, &new.ikev2_ciphers, "ikev2_ciphers")?;
            }
        }

        let id = ConnectionId::random();
        let (secret_id, secret_revision, owns_secret) = match new.secret {
            Some((secret, revision)) => (
                secret,
                unit.usable_key(project.id, secret, revision, &KeyFields::SECRET).await?.version.revision,
                false,
            ),
            None => (unit.make_own_secret(&project, id).await?, 1, true),
        };
        let [bgp_ipv4, bgp_ipv6] = sessions;
        let connection = Connection {
            id,
            meta: unit.meta(&project, new.meta),
            vpn_gateway_id: gateway.id,
            customer_gateway_id: customer.id,
            tunnels,
            initiation_policy: new.initiation_policy,
            ikev2_ciphers: new.ikev2_ciphers,
            esp_ciphers: new.esp_ciphers,
            secret_id,
            secret_revision,
            owns_secret,
            bgp_ipv4,
            bgp_ipv6,
            route_propagation_enabled: new.enable_route_propagation,
            peer_identity: None,
            locked: false,
        };
        let details = made(&connection);
        record.bump(unit.now);
        let (now, new) = (unit.now, ConnectionRecord::new(connection));
        let seen = Seen { connection: &new, gateway: &record, node: premises.node.as_ref(), now };
        let view = seen.statuses();
        unit.insert_connection(&new.connection, &outside, view.status).await?;
        unit.bump_gateway(&record).await?;
        status::tell_new(&mut unit, &seen).await?;
        unit.finish("create", CONNECTION, id, &details).await?;
        Ok(view)
    }

    /// A connection.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn connection(&self, caller: &Caller, region: &str, id: ConnectionId) -> Result<ConnectionStatuses> {
        self.in_region(region)?;
        let mut reader = self.read().await?;
        let record = find(&mut reader, caller, Read, id).await?;
        status::connection(&mut reader, &record, self.now()).await
    }

    /// A page of connections.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_connections(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: &ConnectionFilter,
    ) -> Result<Page<ConnectionStatuses>> {
        self.in_region(region)?;
        paging(list)?;
        let mut reader = self.read().await?;
        let (records, total) = reader.connections(region, scope(caller), list, filter).await?;
        Ok(Page { items: status::connections(&mut reader, &records, self.now()).await?, total })
    }

    /// Changes a connection's name, tags, initiation policy, proposals or key. A working tunnel stays up: new proposals count from the
    /// next negotiation on, and the key changes as by [`Self::change_psk`].
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`], [`Error::Locked`], [`Error::TransientState`].
    pub async fn update_connection(
        &self,
        caller: &Caller,
        region: &str,
        id: ConnectionId,
        change: ConnectionChange,
    ) -> Result<ConnectionStatuses> {
        let mut unit = self.unit(caller, region).await?;
        let (mut record, gateway) = unit.open_connection(id).await?;
        let old = record.connection.clone();
        let connection = &mut record.connection;
        connection.initiation_policy = change.initiation_policy.unwrap_or(connection.initiation_policy);
        if let Some(ciphers) = change.ikev2_ciphers {
            connection.ikev2_ciphers = ciphers;
        }
        if let Some(ciphers) = change.esp_ciphers {
            connection.esp_ciphers = ciphers;
        }
        unit.other_key(connection, change.secret_id, change.secret_revision).await?;
        let changed = *connection != old;
        if changed {
            changeable(&mut unit, &gateway, CONNECTION, id).await?;
        }
        unit.rename(Kind::Connection, id.0, &mut connection.meta, change.rename).await?;
        if changed {
            let tunnels = unit.tunnels(id).await?;
            unit.agree(Some(id), &tunnels, &connection.ikev2_ciphers, "ikev2_ciphers").await?;
            unit.set_connection(connection).await?;
            unit.bump_connections(&[id]).await?;
        }
        let details = audit::changed(&old, &record.connection);
        unit.finish_connection("update", id, &details).await
    }

    /// Deletes a connection and the secret that was made for it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::TransientState`].
    pub async fn delete_connection(&self, caller: &Caller, region: &str, id: ConnectionId) -> Result<()> {
        let mut unit = self.unit(caller, region).await?;
        let record = unit.changeable_connection(id).await?;
        let gateway = gateway_of(&mut unit, &record).await?;
        unit.delete(Kind::Connection, id.0).await?;
        for secret in unit.delete_owned_secrets(id).await? {
            let project = record.connection.meta.project_id;
            unit.also(project, "delete", SECRET, secret, &[("with", format!("{CONNECTION} {id}"))]).await?;
        }
        unit.bump_gateway(&gateway).await?;
        unit.refresh_some(gateway.gateway.id, &[]).await?;
        unit.finish("delete", CONNECTION, id, &gone(&record.connection)).await
    }

    /// Switches route propagation. The gateway does not become `configuring` by it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`], [`Error::TransientState`].
    pub async fn set_route_propagation(
        &self,
        caller: &Caller,
        region: &str,
        id: ConnectionId,
        enabled: bool,
    ) -> Result<ConnectionStatuses> {
        let mut unit = self.unit(caller, region).await?;
        let mut record = unit.changeable_connection(id).await?;
        let before = record.connection.clone();
        if record.connection.route_propagation_enabled != enabled {
            record.connection.route_propagation_enabled = enabled;
            let now = unit.now;
            unit.set_connection(&record.connection).await?;
            unit.touch(Kind::Connection, id.0, now).await?;
            unit.bump_connections(&[id]).await?;
        }
        let action = if enabled { "enable_route_propagation" } else { "disable_route_propagation" };
        unit.finish_connection(action, id, &audit::changed(&before, &record.connection)).await
    }

    /// Gives the session of a family a policy, in place of the one that it has; a family without an interconnection subnet gets one.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`], [`Error::Locked`], [`Error::TransientState`], [`Error::OutOfStock`].
    pub async fn set_routing_policy(
        &self,
        caller: &Caller,
        region: &str,
        change: PolicyChange,
    ) -> Result<ConnectionStatuses> {
        let PolicyChange { connection: id, family, policy: policy_id } = change;
        let mut unit = self.unit(caller, region).await?;
        let record = unit.changeable_connection(id).await?;
        let connection = &record.connection;
        let policy = unit.policy(connection.meta.project_id, policy_id).await?;
        if Family::from_is_ipv6(policy.is_ipv6) != family {
            return Err(Error::constraint(policy_field(family), format!("this policy is not for {family}")));
        }
        match connection.bgp(family) {
            Some(_) => unit.set_session_policy(id, family, Some(policy_id)).await?,
            None => {
                let gateway = gateway_of(&mut unit, &record).await?.gateway;
                let mut errors = ArgumentErrors::new();
                let customer = connection.customer_gateway_id;
                let vpc = unit.vpc_of(&gateway).await?;
                let subnets = unit.occupied(vpc).await?;
                let between = (gateway.id, customer);
                let pair = unit.interconnection(between, family, (None, &subnets), None, &mut errors).await?;
                let pair = pair.ok_or_else(|| Error::Internal("no interconnection subnet".to_owned()))?;
                let session = BgpSession {
                    private_ip: pair.ours,
                    peer_private_ip: pair.theirs,
                    routing_policy_id: Some(policy_id),
                };
                unit.insert_bgp_session(connection, family, &session).await?;
            }
        }
        let now = unit.now;
        unit.touch(Kind::Connection, id.0, now).await?;
        unit.bump_connections(&[id]).await?;
        unit.finish_change("set_routing_policy", &record.connection).await
    }

    /// Takes its policy from the session of a family: the session ends, its subnet stays reserved. Nothing happens where none is attached,
    /// since a client may send the same again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`] if another policy is attached, [`Error::Locked`], [`Error::TransientState`].
    pub async fn detach_routing_policy(
        &self,
        caller: &Caller,
        region: &str,
        change: PolicyChange,
    ) -> Result<ConnectionStatuses> {
        let PolicyChange { connection: id, family, policy: policy_id } = change;
        let mut unit = self.unit(caller, region).await?;
        let record = unit.changeable_connection(id).await?;
        let policy = unit.policy(record.connection.meta.project_id, policy_id).await?;
        if Family::from_is_ipv6(policy.is_ipv6) != family {
            return Err(Error::constraint(policy_field(family), format!("this policy is not for {family}")));
        }
        if let Some(attached) = record.connection.bgp(family).and_then(|session| session.routing_policy_id) {
            if attached != policy_id {
                let help = format!("the policy attached for {family} is {attached}");
                return Err(Error::constraint(policy_field(family), help));
            }
            let now = unit.now;
            unit.set_session_policy(id, family, None).await?;
            unit.touch(Kind::Connection, id.0, now).await?;
            unit.bump_connections(&[id]).await?;
        }
        unit.finish_change("detach_routing_policy", &record.connection).await
    }

    /// What is the matter with a connection (wire-ext.md §1).
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn connection_state(&self, caller: &Caller, region: &str, id: ConnectionId) -> Result<ConnectionState> {
        self.in_region(region)?;
        let mut reader = self.read().await?;
        let record = find(&mut reader, caller, Read, id).await?;
        let gateway = gateway_of(&mut reader, &record).await?;
        let node = status::node_of(&mut reader, &gateway).await?;
        let seen = Seen { connection: &record, gateway: &gateway, node: node.as_ref(), now: self.now() };
        let since = record.observed.as_ref().map(|observed| {
            let times = observed.facts.tunnels.iter().map(|tunnel| tunnel.since);
            times
                .chain(observed.facts.sessions.iter().map(|session| session.since))
                .max()
                .unwrap_or(observed.observed_at)
        });
        let statuses = seen.statuses();
        let reason = seen.fault().map(|fault| fault.explain(since.or(record.pending_since)));
        let facts = record.observed.as_ref().map(|observed| observed.facts.clone());
        let (tunnels, mut bgp_sessions) = facts.map(|facts| (facts.tunnels, facts.sessions)).unwrap_or_default();
        for family in Family::ALL {
            // A node has no session without a policy.
            if status::has_no_policy(&record, family) && bgp_sessions.iter().all(|session| session.family != family) {
                let fault = Some(ReasonCode::BgpDisabled.into());
                bgp_sessions
                    .push(SessionFacts { fault, ..SessionFacts::new(family, record.connection.meta.updated_at) });
            }
        }
        bgp_sessions.sort_by_key(|session| session.family);
        Ok(ConnectionState {
            status: statuses.status,
            reason,
            lifecycle: "present",
            desired_revision: record.config_revision,
            applied_revision: record.observed.as_ref().map_or(0, |observed| observed.applied_revision),
            observed_at: node.filter(|_| record.observed.is_some()).and_then(|node| node.reported_at),
            tunnels,
            bgp_sessions,
        })
    }

    /// The configuration of the customer's device, in one of [`FORMATS`] (`None`: the first). The key is not in it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`] if the format is unknown.
    pub async fn device_configuration(
        &self,
        caller: &Caller,
        region: &str,
        id: ConnectionId,
        format: Option<&str>,
    ) -> Result<String> {
        self.in_region(region)?;
        let mut reader = self.read().await?;
        let record = find(&mut reader, caller, Read, id).await?;
        let connection = record.connection.clone();
        let gateway = gateway_of(&mut reader, &record).await?.gateway;
        let missing = |what: &str| Error::Internal(format!("{what} of connection {id} is missing"));
        let customer = reader.customer_gateway(connection.customer_gateway_id).await?;
        let customer = customer.ok_or_else(|| missing("the customer gateway"))?;
        let network = reader.private_network(gateway.private_network_id).await?;
        let network = network.ok_or_else(|| missing("the Private Network"))?;
        let tunnels = reader.tunnels(id).await?;
        let [policy_v4, policy_v6] = [
            policy_desired(&mut reader, connection.bgp_ipv4.as_ref()).await?,
            policy_desired(&mut reader, connection.bgp_ipv6.as_ref()).await?,
        ];
        let input = DeviceInput {
            tunnels: tunnels.iter().map(|tunnel| TunnelDesired { local: tunnel.local, peer: tunnel.peer }).collect(),
            provider_asn: gateway.asn,
            customer_asn: customer.asn,
            peer_identity: connection.peer_identity.clone(),
            policy_v4,
            policy_v6,
            vpc_subnets: reader.vpc_subnets(network.vpc_id).await?,
            timers: record.timers,
            md5: record.bgp_options.md5,
            gtsm: record.bgp_options.gtsm,
            generated_for: Names { vpn_gateway: gateway.meta.name, customer_gateway: customer.meta.name },
            connection,
        };
        let first = FORMATS.first().map_or("", |format| format.name);
        causeway_device::render(format.unwrap_or(first), &input).map_err(|error| {
            let mut errors = ArgumentErrors::new();
            errors.push("format", Unknown, error.to_string());
            errors.finish().err().unwrap_or_else(|| Error::Internal(error.to_string()))
        })
    }

    /// Locks a connection for a reason, or unlocks it: support and operators.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn set_connection_locked(
        &self,
        caller: &Caller,
        region: &str,
        id: ConnectionId,
        reason: Option<String>,
    ) -> Result<ConnectionStatuses> {
        may_lock(caller, CONNECTION)?;
        let mut unit = self.unit(caller, region).await?;
        let before = find(&mut unit, caller, Read, id).await?.connection;
        unit.set_connection_lock(id, reason.as_deref()).await?;
        unit.bump_connections(&[id]).await?;
        let action = if reason.is_some() { "lock" } else { "unlock" };
        let after = find(&mut unit, caller, Read, id).await?.connection;
        let details = and(audit::changed(&before, &after), [("reason", reason.unwrap_or_default())]);
        unit.finish_connection(action, id, &details).await
    }
}

/// The whitelists of a session's policy.
pub(crate) async fn policy_desired(reader: &mut Reader, session: Option<&BgpSession>) -> Result<Option<PolicyDesired>> {
    let Some(id) = session.and_then(|session| session.routing_policy_id) else { return Ok(None) };
    let policy = reader.routing_policy(id).await?;
    Ok(policy.map(|policy| PolicyDesired {
        prefix_filter_in: policy.prefix_filter_in,
        prefix_filter_out: policy.prefix_filter_out,
    }))
}
