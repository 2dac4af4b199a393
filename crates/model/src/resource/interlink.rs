//! InterLink: links, and the catalogue from which they are ordered (system.md §1).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Meta;
use crate::id::{DedicatedConnectionId, LinkId, NodeId, PartnerId, PopId, PortId, RoutingPolicyId, VpcId};
use crate::link::{LinkKind, LinkLife};
use crate::net::Family;
use crate::status::DedicatedConnectionStatus;
use crate::time::Timestamp;

/// VLAN ids that links can have, both included (wire-api.md §4.4).
pub const VLANS: VlanRange = VlanRange { start: 1500, end: 3899 };

/// A point of presence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pop {
    /// Id.
    pub id: PopId,
    /// Region.
    pub region: String,
    /// Short name.
    pub name: String,
    /// Name for people.
    pub display_name: String,
    /// City.
    pub city: String,
    /// Street and number.
    pub address: String,
    /// Who runs the place.
    pub hosting_provider_name: String,
    /// Its logo.
    pub logo_url: String,
    /// Sizes on offer here, Mbit/s, ascending; each has a price ([`LinkBandwidth`]).
    pub link_bandwidths_mbps: Vec<u64>,
    /// Mbit/s that all links here may have together; `None`: what the ports have.
    pub capacity_mbps: Option<u64>,
}

/// A partner: a carrier or an exchange that hosts links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partner {
    /// Id.
    pub id: PartnerId,
    /// Region.
    pub region: String,
    /// Name.
    pub name: String,
    /// Whom a tenant asks to provision a link.
    pub contact_email: String,
    /// Its logo.
    pub logo_url: String,
    /// Where a tenant asks instead of by mail.
    pub portal_url: String,
    /// The AS number of its end of hosted links.
    pub asn: u32,
    /// Whether it routes for the customer (layer 3) instead of carrying frames.
    pub l3_connectivity: bool,
    /// Whether the service may notify it: off unless the operator switches it on (system.md §3).
    pub notify: bool,
    /// Creation.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// VLAN ids, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VlanRange {
    /// The first.
    pub start: u16,
    /// The last.
    pub end: u16,
}

impl VlanRange {
    /// Whether it has `vlan`.
    #[must_use]
    pub const fn contains(self, vlan: u16) -> bool {
        self.start <= vlan && vlan <= self.end
    }

    /// Whether all of it lies inside `other`.
    #[must_use]
    pub const fn within(self, other: Self) -> bool {
        self.start <= self.end && other.start <= self.start && self.end <= other.end
    }
}

/// A physical connection between a tenant's equipment and a PoP, ordered from the operator by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedicatedConnection {
    /// Id.
    pub id: DedicatedConnectionId,
    /// Common fields.
    pub meta: Meta,
    /// Where it ends.
    pub pop_id: PopId,
    /// Mbit/s that its links may have together.
    pub bandwidth_mbps: u64,
    /// Where in the building the operator's part ends.
    pub demarcation_info: Option<String>,
    /// VLAN ids of its links.
    pub vlan_range: VlanRange,
    /// How far the operator got with it: any status but `locked` and `deleted`.
    pub state: DedicatedConnectionStatus,
    /// Locked by support.
    pub locked: bool,
}

impl DedicatedConnection {
    /// What the API shows.
    #[must_use]
    pub const fn status(&self) -> DedicatedConnectionStatus {
        if self.locked { DedicatedConnectionStatus::Locked } else { self.state }
    }
}

/// Whose links a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortOwner {
    /// Hosted links of a partner.
    Partner(PartnerId),
    /// Self-hosted links of a dedicated connection, which has one port.
    DedicatedConnection(DedicatedConnectionId),
}

/// What a port is on its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PortAttachment {
    /// Each link is a VLAN of this interface.
    Vlan {
        /// Its name.
        interface: String,
    },
    /// This interface as it is, without tags: one link at most.
    Interface {
        /// Its name.
        interface: String,
    },
    /// Each link is a VXLAN (RFC 7348) whose VNI is `vni_base` plus the link's VLAN id.
    Vxlan {
        /// The far end.
        remote: IpAddr,
        /// 0 to 2^24 - 4096.
        vni_base: u32,
    },
}

/// A port: what an order needs one of that fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Id.
    pub id: PortId,
    /// Region.
    pub region: String,
    /// Name, for operators.
    pub name: String,
    /// Where it is.
    pub pop_id: PopId,
    /// The gateway node whose machine it is on; `None`: the one that came first of those that are not revoked.
    pub node_id: Option<NodeId>,
    /// Whose links it carries.
    pub owner: PortOwner,
    /// What it is on its node.
    pub attachment: PortAttachment,
    /// VLAN ids of its links.
    pub vlan_range: VlanRange,
    /// Mbit/s that its links may have together.
    pub capacity_mbps: u64,
    /// Whether it is in service. Orders on one that is not wait for it, for as long as orders may.
    pub enabled: bool,
    /// Creation.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// A size of link and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkBandwidth {
    /// Mbit/s in each direction.
    pub bandwidth_mbps: u64,
    /// Millionths of the currency.
    pub price_per_hour: u64,
}

/// What carries a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkHost {
    /// A partner.
    Partner {
        /// Which.
        partner_id: PartnerId,
        /// What the tenant gives the partner, so that it finds the link.
        pairing_key: Uuid,
        /// Whether the partner routes for the customer.
        l3_connectivity: bool,
    },
    /// A dedicated connection.
    Dedicated {
        /// Which.
        connection_id: DedicatedConnectionId,
    },
}

/// Our address and the other side's on a link, with the mask of their /31 or /127.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAddresses {
    /// Ours: the even one.
    pub ours: IpNet,
    /// The other side's.
    pub theirs: IpNet,
}

/// A routing policy on a link: its family has a BGP session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPolicy {
    /// The policy.
    pub id: RoutingPolicyId,
    /// Since when the family has one without a gap.
    pub since: Timestamp,
}

/// An InterLink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Id.
    pub id: LinkId,
    /// Common fields.
    pub meta: Meta,
    /// Where it enters.
    pub pop_id: PopId,
    /// Its port.
    pub port_id: PortId,
    /// What carries it.
    pub host: LinkHost,
    /// Mbit/s in each direction.
    pub bandwidth_mbps: u64,
    /// Its VLAN id.
    pub vlan: u16,
    /// Our AS number.
    pub provider_asn: u32,
    /// The other side's.
    pub peer_asn: u32,
    /// The IPv4 addresses.
    pub ipv4: LinkAddresses,
    /// The IPv6 addresses.
    pub ipv6: LinkAddresses,
    /// The VPC that it leads to.
    pub vpc_id: Option<VpcId>,
    /// The IPv4 policy.
    pub routing_policy_v4: Option<LinkPolicy>,
    /// The IPv6 policy.
    pub routing_policy_v6: Option<LinkPolicy>,
    /// Whether routes are exchanged.
    pub route_propagation_enabled: bool,
    /// Who did what, and when.
    pub life: LinkLife,
}

impl Link {
    /// Hosted or self-hosted.
    #[must_use]
    pub const fn kind(&self) -> LinkKind {
        match self.host {
            LinkHost::Partner { .. } => LinkKind::Hosted,
            LinkHost::Dedicated { .. } => LinkKind::SelfHosted,
        }
    }

    /// The partner of a hosted link.
    #[must_use]
    pub const fn partner_id(&self) -> Option<PartnerId> {
        match self.host {
            LinkHost::Partner { partner_id, .. } => Some(partner_id),
            LinkHost::Dedicated { .. } => None,
        }
    }

    /// The policy of `family`.
    #[must_use]
    pub const fn policy(&self, family: Family) -> Option<&LinkPolicy> {
        match family {
            Family::Ipv4 => self.routing_policy_v4.as_ref(),
            Family::Ipv6 => self.routing_policy_v6.as_ref(),
        }
    }

    /// The addresses of `family`.
    #[must_use]
    pub const fn addresses(&self, family: Family) -> &LinkAddresses {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }
}
