//! Observed state: what a node reports. Facts only; the status is derived from them elsewhere.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::id::{ConnectionId, LinkId, PrivateNetworkId, VpcId, VpnGatewayId};
use crate::net::Family;
use crate::reason::Fault;
use crate::time::Timestamp;

/// One report of a node. It is complete: what it does not name is not running there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The revision of [`crate::desired::NodeDesired`] that was applied last, refusals included.
    pub revision: u64,
    /// Gateways.
    pub gateways: Vec<GatewayFacts>,
    /// Connections.
    pub connections: Vec<ConnectionFacts>,
    /// VPCs.
    #[serde(default)]
    pub vpcs: Vec<VpcFacts>,
    /// InterLinks.
    #[serde(default)]
    pub links: Vec<LinkFacts>,
}

/// What the node says of an InterLink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkFacts {
    /// The link.
    pub id: LinkId,
    /// Its [`crate::desired::LinkDesired::revision`] in force; 0: none.
    pub applied: u64,
    /// Why a newer revision is not in force.
    pub refused: Option<Refusal>,
    /// Whether what carries it is there and has a carrier.
    pub carrier: bool,
    /// Since when; `None`: nothing carried it yet.
    pub carrier_since: Option<Timestamp>,
    /// Octets of the largest packet; 0 while nothing carries it.
    pub mtu: u32,
    /// Its BGP sessions, those without a policy excepted.
    pub sessions: Vec<SessionFacts>,
    /// What the sessions received and what became of it.
    pub received: Vec<ReceivedRoute>,
    /// What is announced.
    pub announced: Vec<IpNet>,
    /// Packets dropped, by reason (`shaped`, `source_policy`, …).
    pub drops: BTreeMap<String, u64>,
}

/// What the node says of a VPC's router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcFacts {
    /// The VPC.
    pub id: VpcId,
    /// Its [`crate::desired::VpcDesired::revision`] in force, but for Private Networks and custom routes that are refused alone.
    pub applied: u64,
    /// What of the newest revision is not in force, and why: the first of it.
    pub refused: Option<Refusal>,
    /// The Private Networks that are not in place, and why.
    #[serde(default)]
    pub networks: BTreeMap<PrivateNetworkId, Refusal>,
    /// What the lists in force counted.
    pub acl: AclCounters,
}

/// Counters of a VPC's access control lists, since the node has them; a rule that stays as it is keeps its counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclCounters {
    /// The IPv4 rules in their order.
    pub ipv4: Vec<Counter>,
    /// What no IPv4 rule matched.
    pub ipv4_default: Counter,
    /// The IPv6 rules in their order.
    pub ipv6: Vec<Counter>,
    /// What no IPv6 rule matched.
    pub ipv6_default: Counter,
}

/// Packets and octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub bytes: u64,
}

/// What the node says of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayFacts {
    /// The gateway.
    pub id: VpnGatewayId,
    /// Its [`crate::desired::GatewayDesired::revision`] in force.
    pub applied: u64,
    /// Why a newer revision is not in force.
    pub refused: Option<Refusal>,
}

/// A configuration item that the node could not apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The revision that was refused.
    pub revision: u64,
    /// The item: `underlay address 192.0.2.1`, `bridge cwbr-…`.
    pub item: String,
    /// The error, as the kernel or the check said it.
    pub error: String,
}

/// What the node says of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFacts {
    /// The connection.
    pub id: ConnectionId,
    /// Its [`crate::desired::ConnectionDesired::revision`] in force.
    pub applied: u64,
    /// Why a newer revision is not in force.
    pub refused: Option<Refusal>,
    /// Its tunnels.
    pub tunnels: Vec<TunnelFacts>,
    /// Its BGP sessions, those without a policy excepted.
    pub sessions: Vec<SessionFacts>,
    /// What the sessions received and what became of it.
    pub received: Vec<ReceivedRoute>,
    /// What is announced.
    pub announced: Vec<IpNet>,
}

/// One tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelFacts {
    /// Outer family.
    pub family: Family,
    /// Our public address.
    pub local: IpAddr,
    /// The peer's public address.
    pub peer: IpAddr,
    /// Whether a Child SA is installed in both directions.
    pub up: bool,
    /// Whether it was up at any time since this node has it.
    pub ever_up: bool,
    /// Since when it is up or down.
    pub since: Timestamp,
    /// While down: why it went or what the last attempt met. While up: what is not as it should be (`ts_narrowed`, a rekey that failed).
    pub fault: Option<Fault>,
    /// The IKE SA, while there is one.
    pub ike: Option<IkeFacts>,
    /// The Child SA, while there is one.
    pub child: Option<ChildFacts>,
    /// Inside MTU, octets.
    pub mtu: u32,
    /// Counters of the tunnel's whole life here.
    pub counters: TunnelCounters,
}

/// An established IKE SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeFacts {
    /// Negotiated suite, for example `aes256gcm-prfsha384-curve25519`.
    pub suite: String,
    /// When it was established.
    pub established_at: Timestamp,
    /// Whether this side initiated it.
    pub initiator: bool,
    /// Rekeys since the first one of its line.
    pub rekeys: u32,
    /// The peer's outside endpoint as seen (address:port).
    pub peer_endpoint: String,
    /// Which of [`crate::desired::ConnectionDesired::psks`] in force the peer proved at the last authentication: 0 is the newest, the list's length
    /// a key that was taken off it since.
    #[serde(default)]
    pub psk: u32,
}

/// An installed Child SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildFacts {
    /// Negotiated suite, for example `aes256gcm`.
    pub suite: String,
    /// When it was installed.
    pub established_at: Timestamp,
    /// Rekeys since the first one of its line.
    pub rekeys: u32,
}

/// Counters of a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelCounters {
    /// Inner octets received.
    pub bytes_in: u64,
    /// Inner octets sent.
    pub bytes_out: u64,
    /// Inner packets received.
    pub packets_in: u64,
    /// Inner packets sent.
    pub packets_out: u64,
    /// Packets and messages dropped, by reason (`replay`, `auth`, `unknown_spi`, `too_big`, …).
    pub drops: BTreeMap<String, u64>,
}

/// One BGP session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    /// Its family.
    pub family: Family,
    /// Whether it is Established.
    pub up: bool,
    /// Since when it is up or down.
    pub since: Timestamp,
    /// While down, why; while up, what is not as it should be (`max_prefixes_exceeded`, or `bgp_message_error` with the prefixes that
    /// are missing because they came with broken attributes, RFC 7606).
    pub fault: Option<Fault>,
    /// Prefixes received.
    pub received: u32,
    /// Prefixes accepted.
    pub accepted: u32,
    /// Prefixes announced.
    pub announced: u32,
    /// Times it left Established, since the gateway runs.
    pub flaps: u32,
    /// UPDATE messages received, since the gateway runs.
    #[serde(default)]
    pub updates_in: u64,
    /// UPDATE messages sent, since the gateway runs.
    #[serde(default)]
    pub updates_out: u64,
}

impl SessionFacts {
    /// A session that was never up.
    #[must_use]
    pub const fn new(family: Family, since: Timestamp) -> Self {
        Self {
            family,
            up: false,
            since,
            fault: None,
            received: 0,
            accepted: 0,
            announced: 0,
            flaps: 0,
            updates_in: 0,
            updates_out: 0,
        }
    }
}

/// One prefix that a peer announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// The next hop announced.
    pub next_hop: IpAddr,
    /// The AS path, first AS first.
    pub as_path: Vec<u32>,
    /// MED, if there was one.
    pub med: Option<u32>,
    /// Standard communities as `asn:value`.
    pub communities: Vec<String>,
    /// What became of it.
    pub decision: RouteDecision,
    /// Left of a session that broke off: kept while the device restarts gracefully, until it announces it again (RFC 4724).
    #[serde(default)]
    pub stale: bool,
}

/// What became of a received prefix (system.md §2.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum RouteDecision {
    /// In the kernel's table.
    Installed,
    /// Passed the filter, but another route to the prefix is better.
    Beaten {
        /// By what, and in which step.
        by: String,
    },
    /// Not admitted by the whitelist.
    Filtered {
        /// The rule: `no_policy`, `propagation_disabled`, `not_in_prefix_filter_in`, `own_asn_in_path`, `max_prefixes`, `martian`,
        /// `interconnection_subnet`, `third_party_next_hop`.
        by: String,
    },
    /// Admitted, but withheld.
    Withheld {
        /// `overlaps_local` with the subnet that it overlaps, or `not_in_kernel` with the place where it is not and why: somebody else's
        /// route stands there, or the kernel did not take it.
        because: String,
    },
}
