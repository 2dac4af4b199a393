//! Objects together with what is derived from the facts: what a read answers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::acl::Acl;
use crate::id::NodeId;
use crate::link::Party;
use crate::observed::{ConnectionFacts, Counter, SessionFacts, TunnelFacts};
use crate::reason::Reason;
use crate::resource::{Connection, DedicatedConnection, Link, Pop, VpnGateway};
use crate::status::{BgpStatus, ConnectionStatus, LinkStatus, TunnelStatus, VpnGatewayStatus};
use crate::time::Timestamp;

/// A VPN gateway and its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpnGatewayView {
    /// The gateway.
    pub gateway: VpnGateway,
    /// Its status.
    pub status: VpnGatewayStatus,
}

/// A connection and its statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionStatuses {
    /// The connection.
    pub connection: Connection,
    /// Its status.
    pub status: ConnectionStatus,
    /// Up if any tunnel is.
    pub tunnel_status: TunnelStatus,
    /// For a connection with two tunnels, else unknown.
    pub tunnel_status_ipv4: TunnelStatus,
    /// For a connection with two tunnels, else unknown.
    pub tunnel_status_ipv6: TunnelStatus,
    /// IPv4 session.
    pub bgp_status_ipv4: BgpStatus,
    /// IPv6 session.
    pub bgp_status_ipv6: BgpStatus,
}

/// `state` of a gateway (wire-ext.md §1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayState {
    /// Status.
    pub status: VpnGatewayStatus,
    /// Why it is not better.
    pub reason: Option<Reason>,
    /// `present` or `deleting`.
    pub lifecycle: &'static str,
    /// Newest revision.
    pub desired_revision: u64,
    /// Revision in force on the node.
    pub applied_revision: u64,
    /// When the node reported last.
    #[serde(serialize_with = "optional_time")]
    pub observed_at: Option<Timestamp>,
    /// Its node.
    pub node: Option<NodeId>,
    /// Bits per second in each direction.
    pub bandwidth: u64,
    /// Public addresses.
    pub public_addresses: Vec<IpAddr>,
    /// Addresses on the Private Network.
    pub private_addresses: Vec<IpNet>,
}

/// `state` of a connection (wire-ext.md §1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// Status.
    pub status: ConnectionStatus,
    /// Why it is not better.
    pub reason: Option<Reason>,
    /// `present` or `deleting`.
    pub lifecycle: &'static str,
    /// Newest revision.
    pub desired_revision: u64,
    /// Revision in force on the node.
    pub applied_revision: u64,
    /// When the node reported last.
    pub observed_at: Option<Timestamp>,
    /// Tunnels as observed.
    pub tunnels: Vec<TunnelFacts>,
    /// Sessions as observed.
    pub bgp_sessions: Vec<SessionFacts>,
}

/// `state` of a VPC (wire-ext.md §1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcState {
    /// Why the newest revision is not in force.
    pub reason: Option<Reason>,
    /// Newest revision of routes, lists and attachments; 0 before the first.
    pub desired_revision: u64,
    /// Revision in force on every node that routes the VPC.
    pub applied_revision: u64,
    /// When a node last said something new.
    pub observed_at: Option<Timestamp>,
    /// Whether gateways announce the custom routes.
    pub custom_routes_propagation_enabled: bool,
    /// The zones in which gateways of the VPC are placed, and the node of each that has the router.
    pub routers: Vec<(String, NodeId)>,
    /// IPv4 list.
    pub acl_ipv4: AclState,
    /// IPv6 list.
    pub acl_ipv6: AclState,
}

/// An access list and what it counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclState {
    /// The list.
    pub acl: Acl,
    /// For each rule in its order; `None` while another list is in force.
    pub rules: Option<Vec<Counter>>,
    /// What no rule matched.
    pub default: Option<Counter>,
}

/// The last facts about a connection and when they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedConnection {
    /// The facts.
    pub facts: ConnectionFacts,
    /// When they were stored.
    pub observed_at: Timestamp,
    /// Whether a tunnel was up since creation or since the peer's address changed.
    pub ever_up: bool,
}

/// A link and its statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatuses {
    /// The link.
    pub link: Link,
    /// Its status.
    pub status: LinkStatus,
    /// IPv4 session.
    pub bgp_v4_status: BgpStatus,
    /// IPv6 session.
    pub bgp_v6_status: BgpStatus,
}

/// `state` of a link (wire-ext.md §1), and what its partner sees of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// The link and its statuses.
    pub statuses: LinkStatuses,
    /// Why it is not better.
    pub reason: Option<Reason>,
    /// `configuring`, `requested`, …, `in service`: how far the order got, whatever hides it.
    pub lifecycle: &'static str,
    /// Whose turn it is.
    pub turn: Party,
    /// Since when what is waited for is waited for.
    pub waiting_since: Option<Timestamp>,
    /// When the order fails or the request expires, if nothing happens.
    pub deadline: Option<Timestamp>,
    /// When the next reminder is due.
    pub next_reminder: Option<Timestamp>,
    /// Sessions as observed.
    pub bgp_sessions: Vec<SessionFacts>,
    /// When the node reported last.
    pub observed_at: Option<Timestamp>,
    /// The newest revision of what the node shall run of it.
    pub desired_revision: u64,
    /// The one in force; 0: none.
    pub applied_revision: u64,
    /// The node that it ends on.
    pub node: Option<NodeId>,
    /// Whether what carries it has a carrier; `None`: not known.
    pub carrier: Option<bool>,
    /// Octets of the largest packet; 0: nothing carries it.
    pub mtu: u32,
    /// Packets dropped on the node, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// A PoP and the sizes that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PopView {
    /// The PoP.
    pub pop: Pop,
    /// Mbit/s, ascending: in a list those of which one more link has room, by id all on offer (wire-api.md §4.8).
    pub available_link_bandwidths_mbps: Vec<u64>,
}

/// A dedicated connection and the sizes of which one more link has room on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedicatedConnectionView {
    /// The connection.
    pub connection: DedicatedConnection,
    /// Mbit/s, ascending.
    pub available_link_bandwidths: Vec<u64>,
}

fn optional_time<S: serde::Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}
