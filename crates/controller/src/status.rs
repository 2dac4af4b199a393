//! From records to the views that the model's status functions take, and the stored copies of what they say.

use std::collections::{BTreeMap, BTreeSet};

use causeway_model::observed::{Refusal, TunnelFacts};
use causeway_model::reason::Fault;
use causeway_model::status::{
    ConnectionStatus, ConnectionView, GatewayView, LockOwed, NodeState, NodeView, Placement, TunnelStatus, bgp_status,
    connection_status, gateway_status, tunnel_status,
};
use causeway_model::view::{ConnectionStatuses, VpnGatewayView};
use causeway_model::{ConnectionId, Family, NodeId, Timestamp, VpnGatewayId};
use causeway_store::{ConnectionRecord, EventText, GatewayRecord, NodeRecord, Reader, Writer};

use crate::Result;
use crate::flap::{self, Change};

/// No node, or one that was lost while another one has not yet taken over.
const LOST: NodeView = NodeView { state: NodeState::Down, silent: true, waiting_overdue: false };

const fn node_view(node: &NodeRecord) -> NodeView {
    NodeView { state: node.state, silent: node.silent, waiting_overdue: node.overdue }
}

/// Whether a node has come back on another machine, which runs nothing yet.
const fn is_moving(node: &NodeRecord) -> bool {
    node.lease.moving && node.lease.replaced_since.is_some()
}

/// The refusal that is about the newest revision; older ones are history.
fn current(refusal: Option<&Refusal>, revision: u64) -> Option<Refusal> {
    refusal.filter(|refusal| refusal.revision == revision).cloned()
}

/// Whether the peer has yet to prove a connection's current key: an earlier one made what is up, or was in force at the last report.
fn psk_unproven(record: &ConnectionRecord) -> bool {
    let observed = record.observed.as_ref();
    let mut proved = observed.into_iter().flat_map(|observed| &observed.facts.tunnels).filter(|tunnel| tunnel.up);
    let newest_in_force = observed.is_some_and(|observed| observed.applied_revision == record.config_revision);
    let current = |tunnel: &TunnelFacts| tunnel.ike.as_ref().is_some_and(|ike| ike.psk == 0);
    let earlier = |tunnel: &TunnelFacts| tunnel.ike.as_ref().is_some_and(|ike| ike.psk > 0);
    match proved.clone().next() {
        Some(_) if proved.clone().any(earlier) => true,
        Some(_) if newest_in_force && proved.all(current) => false,
        _ => record.has_previous_key,
    }
}

/// Whether everything that may carry the connection was authenticated with its current key at the last report: the device has moved on to it.
pub(crate) fn psk_proven(record: &ConnectionRecord) -> bool {
    let Some(observed) = &record.observed else { return false };
    let tunnels = &observed.facts.tunnels;
    observed.applied_revision == record.config_revision
        && tunnels.len() == record.connection.tunnels.families().len()
        && tunnels.iter().all(|tunnel| tunnel.up && tunnel.ike.as_ref().is_some_and(|ike| ike.psk == 0))
}

/// What a node owes of a lock that came with configuration `lock`, when `applied` is in force.
fn lock_owed(lock: u64, applied: u64, refusal: Option<&Refusal>) -> Option<LockOwed> {
    let refused = refusal.filter(|refusal| refusal.revision >= lock).cloned();
    (applied < lock).then_some(LockOwed { refused })
}

fn gateway_lock_owed(record: &GatewayRecord) -> Option<LockOwed> {
    let observed = record.observed.as_ref();
    let applied = observed.map_or(0, |observed| observed.applied_revision);
    lock_owed(record.lock_revision, applied, observed.and_then(|observed| observed.refusal.as_ref()))
        .filter(|_| record.gateway.locked)
}

/// Whether no routing policy of `family` is attached.
pub(crate) fn has_no_policy(record: &ConnectionRecord, family: Family) -> bool {
    record.connection.bgp(family).is_none_or(|session| session.routing_policy_id.is_none())
}

/// A gateway as its table sees it.
pub(crate) fn gateway_view(record: &GatewayRecord, node: Option<&NodeRecord>, now: Timestamp) -> GatewayView {
    let observed = record.observed.as_ref();
    let placement = match node {
        Some(_) if record.failover_since.is_some() => Placement::Placed(LOST),
        Some(node) => Placement::Placed(node_view(node)),
        None if record.no_room => Placement::NoCapacity,
        None => Placement::NoNode,
    };
    GatewayView {
        deleting: record.gateway.deleting_since.is_some(),
        locked: record.gateway.locked,
        lock_owed: gateway_lock_owed(record),
        placement,
        ever_acknowledged: observed.is_some_and(|observed| observed.ever_acknowledged),
        pending_for: record.pending_since.map(|since| now.seconds_since(since)),
        refused: current(observed.and_then(|observed| observed.refusal.as_ref()), record.config_revision),
        failover_for: record.failover_since.filter(|_| node.is_some()).map(|since| now.seconds_since(since)),
        replaced_for: node.and_then(|node| node.lease.replaced_since).map(|since| now.seconds_since(since)),
        is_moving: node.is_some_and(is_moving),
        router: None,
    }
}

/// As [`gateway_view`], with the node of its VPC's router, which makes no other status, only a reason.
pub(crate) async fn whole_gateway_view(
    reader: &mut Reader,
    record: &GatewayRecord,
    node: Option<&NodeRecord>,
    now: Timestamp,
) -> Result<GatewayView> {
    let router = match record.router.filter(|router| record.node.is_some_and(|node| node != *router)) {
        Some(router) => reader.node(router).await?.as_ref().map(node_view),
        None => None,
    };
    Ok(GatewayView { router, ..gateway_view(record, node, now) })
}

/// A connection with its gateway and node: what its table looks at.
pub(crate) struct Seen<'a> {
    pub(crate) connection: &'a ConnectionRecord,
    pub(crate) gateway: &'a GatewayRecord,
    pub(crate) node: Option<&'a NodeRecord>,
    pub(crate) now: Timestamp,
}

impl Seen<'_> {
    /// Calls `with` with the view.
    pub(crate) fn view<T>(&self, with: impl FnOnce(&ConnectionView<'_>) -> T) -> T {
        let (record, gateway) = (self.connection, self.gateway);
        let observed = record.observed.as_ref();
        let expected: Vec<Family> = record.connection.expected_families().collect();
        let (pending_for, refused) = self.owed();
        with(&ConnectionView {
            locked: record.connection.locked || gateway.gateway.locked,
            lock_owed: self.lock_owed(),
            gateway_acknowledged: gateway.observed.as_ref().is_some_and(|observed| observed.ever_acknowledged),
            gateway_deleting: gateway.gateway.deleting_since.is_some(),
            node: self.node.filter(|node| gateway.failover_since.is_none() && !is_moving(node)).map_or(LOST, node_view),
            ever_acknowledged: observed.is_some_and(|observed| observed.ever_acknowledged),
            pending_for,
            refused,
            expected: &expected,
            tunnels: observed.map_or(&[], |observed| &observed.facts.tunnels),
            ever_up: observed.is_some_and(|observed| observed.ever_up),
            sessions: observed.map_or(&[], |observed| &observed.facts.sessions),
            propagation: record.connection.route_propagation_enabled,
            psk_unproven: psk_unproven(record),
        })
    }

    /// What the node owes of the connection's lock and of its gateway's, if either stops the traffic alone: one that is in force is enough.
    fn lock_owed(&self) -> Option<LockOwed> {
        let record = self.connection;
        let observed = record.observed.as_ref();
        let applied = observed.map_or(0, |observed| observed.applied_revision);
        let refusal = observed.and_then(|observed| observed.refusal.as_ref());
        match (record.connection.locked, self.gateway.gateway.locked) {
            (true, true) => lock_owed(record.lock_revision, applied, refusal).and(gateway_lock_owed(self.gateway)),
            (true, false) => lock_owed(record.lock_revision, applied, refusal),
            (false, _) => gateway_lock_owed(self.gateway),
        }
    }

    /// For how long the node owes the connection's configuration, or that of its VPC's router (system.md §3), and its refusal. Until the
    /// connection has its first configuration, only that counts.
    fn owed(&self) -> (Option<f64>, Option<Refusal>) {
        let record = self.connection;
        let observed = record.observed.as_ref();
        let seconds = |since: Timestamp| self.now.seconds_since(since);
        let own = record.pending_since.map(seconds);
        let refused = current(observed.and_then(|observed| observed.refusal.as_ref()), record.config_revision);
        let vpc =
            self.gateway.vpc_owed.as_ref().filter(|_| observed.is_some_and(|observed| observed.ever_acknowledged));
        let Some(vpc) = vpc else { return (own, refused) };
        let vpc_refused = current(vpc.refusal.as_ref(), vpc.revision);
        let vpc_for = vpc.since.map_or(0.0, seconds);
        (Some(own.map_or(vpc_for, |own| own.max(vpc_for))), refused.or(vpc_refused))
    }

    /// The connection with all its statuses.
    pub(crate) fn statuses(&self) -> ConnectionStatuses {
        self.view(|view| {
            let both = self.connection.connection.tunnels.families().len() > 1;
            let of = |family: Family| {
                let up = view.tunnels.iter().any(|tunnel| tunnel.family == family && tunnel.up);
                match (both, up) {
                    (false, _) => TunnelStatus::Unknown,
                    (true, true) => TunnelStatus::Up,
                    (true, false) => TunnelStatus::Down,
                }
            };
            ConnectionStatuses {
                connection: self.connection.connection.clone(),
                status: connection_status(view).0,
                tunnel_status: tunnel_status(view.tunnels),
                tunnel_status_ipv4: of(Family::Ipv4),
                tunnel_status_ipv6: of(Family::Ipv6),
                bgp_status_ipv4: bgp_status(view, Family::Ipv4),
                bgp_status_ipv6: bgp_status(view, Family::Ipv6),
            }
        })
    }

    /// Why the status is not better.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.view(|view| connection_status(view).1)
    }
}

/// The gateway's node.
pub(crate) async fn node_of(reader: &mut Reader, record: &GatewayRecord) -> Result<Option<NodeRecord>> {
    match record.node {
        Some(id) => Ok(reader.node(id).await?),
        None => Ok(None),
    }
}

/// The gateway with its status.
pub(crate) async fn gateway(reader: &mut Reader, record: GatewayRecord, now: Timestamp) -> Result<VpnGatewayView> {
    let node = node_of(reader, &record).await?;
    let (status, _) = gateway_status(&gateway_view(&record, node.as_ref(), now));
    Ok(VpnGatewayView { gateway: record.gateway, status })
}

/// The gateways with their statuses.
pub(crate) async fn gateways(
    reader: &mut Reader,
    records: Vec<GatewayRecord>,
    now: Timestamp,
) -> Result<Vec<VpnGatewayView>> {
    let nodes = nodes(reader, &records).await?;
    let view = |record: GatewayRecord| {
        let node = record.node.and_then(|id| nodes.get(&id));
        let (status, _) = gateway_status(&gateway_view(&record, node, now));
        VpnGatewayView { gateway: record.gateway, status }
    };
    Ok(records.into_iter().map(view).collect())
}

/// The nodes that gateways are on.
async fn nodes(
    reader: &mut Reader,
    gateways: impl IntoIterator<Item = &GatewayRecord>,
) -> Result<BTreeMap<NodeId, NodeRecord>> {
    let ids: BTreeSet<NodeId> = gateways.into_iter().filter_map(|gateway| gateway.node).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    Ok(reader.nodes_by_id(ids).await?.into_iter().map(|node| (node.id, node)).collect())
}

/// Connections with their statuses, in as many statements for a thousand as for one.
pub(crate) async fn connections(
    reader: &mut Reader,
    records: &[ConnectionRecord],
    now: Timestamp,
) -> Result<Vec<ConnectionStatuses>> {
    let ids: BTreeSet<VpnGatewayId> = records.iter().map(|record| record.connection.vpn_gateway_id).collect();
    let gateways = reader.carriers(ids).await?;
    let nodes = nodes(reader, &gateways).await?;
    let gateways: BTreeMap<VpnGatewayId, GatewayRecord> =
        gateways.into_iter().map(|gateway| (gateway.gateway.id, gateway)).collect();
    let view = |connection: &ConnectionRecord| {
        let id = connection.connection.vpn_gateway_id;
        let missing = || causeway_model::Error::Internal(format!("gateway {id} of a connection is missing"));
        let gateway = gateways.get(&id).ok_or_else(missing)?;
        let node = gateway.node.and_then(|id| nodes.get(&id));
        Ok(Seen { connection, gateway, node, now }.statuses())
    };
    records.iter().map(view).collect()
}

/// The connection with its statuses.
pub(crate) async fn connection(
    reader: &mut Reader,
    record: &ConnectionRecord,
    now: Timestamp,
) -> Result<ConnectionStatuses> {
    let missing = || causeway_model::Error::Internal("a connection has no view".to_owned());
    connections(reader, std::slice::from_ref(record), now).await?.pop().ok_or_else(missing)
}

/// Of these gateways and connections those whose copy of a status is not what the tables say now: connections by their gateway, which
/// stands alone where only its own copy is wrong.
pub(crate) async fn stale(
    reader: &mut Reader,
    gateways: Vec<GatewayRecord>,
    connections: &[ConnectionRecord],
    now: Timestamp,
) -> Result<BTreeMap<VpnGatewayId, Vec<ConnectionId>>> {
    let carriers: BTreeSet<VpnGatewayId> = connections.iter().map(|record| record.connection.vpn_gateway_id).collect();
    let carriers = reader.carriers(carriers).await?;
    let nodes = nodes(reader, gateways.iter().chain(&carriers)).await?;
    let node = |record: &GatewayRecord| record.node.and_then(|id| nodes.get(&id));
    let mut stale: BTreeMap<VpnGatewayId, Vec<ConnectionId>> = BTreeMap::new();
    for record in gateways {
        if gateway_status(&gateway_view(&record, node(&record), now)).0 != record.status {
            stale.entry(record.gateway.id).or_default();
        }
    }
    let carriers: BTreeMap<VpnGatewayId, GatewayRecord> =
        carriers.into_iter().map(|record| (record.gateway.id, record)).collect();
    for connection in connections {
        let Some(gateway) = carriers.get(&connection.connection.vpn_gateway_id) else { continue };
        let seen = Seen { connection, gateway, node: node(gateway), now };
        if seen.view(connection_status).0 != connection.status {
            stale.entry(gateway.gateway.id).or_default().push(connection.connection.id);
        }
    }
    Ok(stale)
}

fn event_text(status: &str, fault: Option<Fault>) -> EventText {
    EventText { subject: status.to_owned(), fault, ..EventText::default() }
}

/// Writes the copies of the statuses of a gateway and its connections, with an event for each that changed.
pub(crate) async fn refresh(writer: &mut Writer, id: VpnGatewayId, now: Timestamp) -> Result<()> {
    let connections = writer.connection_records(id).await?;
    write_copies(writer, id, &connections, now).await
}

/// As [`refresh`], of these connections of the gateway: what has changed concerns no other one.
pub(crate) async fn refresh_some(
    writer: &mut Writer,
    id: VpnGatewayId,
    connections: &[ConnectionId],
    now: Timestamp,
) -> Result<()> {
    let mut records = Vec::with_capacity(connections.len());
    for connection in connections {
        records.extend(writer.connection_by_id(*connection).await?);
    }
    write_copies(writer, id, &records, now).await
}

async fn write_copies(
    writer: &mut Writer,
    id: VpnGatewayId,
    connections: &[ConnectionRecord],
    now: Timestamp,
) -> Result<()> {
    let Some(record) = writer.carrier(id).await? else { return Ok(()) };
    let node = node_of(writer, &record).await?;
    write_gateway_copy(writer, &record, node.as_ref(), now).await?;
    for connection in connections {
        let seen = Seen { connection, gateway: &record, node: node.as_ref(), now };
        let (status, fault) = seen.view(connection_status);
        if status != connection.status {
            let id = connection.connection.id;
            let text = event_text(status.as_str(), fault);
            if [status, connection.status].contains(&ConnectionStatus::Locked) {
                writer.add_object_event(id.0, now, "status", &text).await?;
            } else {
                flap::tell(
                    writer,
                    id.0,
                    now,
                    Change { kind: "status", topic: String::new(), text, weight: 1.0, may_wait: false },
                )
                .await?;
            }
            writer.set_connection_status(id, status).await?;
            writer.emit(now, "connection", status.as_str(), &id.to_string()).await?;
        }
    }
    Ok(())
}

async fn write_gateway_copy(
    writer: &mut Writer,
    record: &GatewayRecord,
    node: Option<&NodeRecord>,
    now: Timestamp,
) -> Result<()> {
    let id = record.gateway.id;
    let (status, fault) = gateway_status(&gateway_view(record, node, now));
    if status != record.status {
        writer.add_object_event(id.0, now, "status", &event_text(status.as_str(), fault)).await?;
        writer.set_gateway_status(id, status, now).await?;
        writer.emit(now, "vpn_gateway", status.as_str(), &id.to_string()).await?;
    }
    Ok(())
}

/// Writes the copy of the status of a gateway that has got a new connection, and tells the connection's first status if it is not the usual
/// one. A first status is no change, so that it says nothing of how restless the connection is.
pub(crate) async fn tell_new(writer: &mut Writer, seen: &Seen<'_>) -> Result<()> {
    write_gateway_copy(writer, seen.gateway, seen.node, seen.now).await?;
    let (status, fault) = seen.view(connection_status);
    if status != ConnectionStatus::Ready {
        let id = seen.connection.connection.id;
        writer.add_object_event(id.0, seen.now, "status", &event_text(status.as_str(), fault)).await?;
        writer.emit(seen.now, "connection", status.as_str(), &id.to_string()).await?;
    }
    Ok(())
}
