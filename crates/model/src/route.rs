//! The routes of a VPC (vpc v2 `routes`): those of its subnets, the tenant's own, and those that VPN gateways and links learned.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{PrivateNetworkId, ProjectId, RouteId, VpcId};
use crate::time::Timestamp;

/// Who made a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// A subnet of the VPC.
    Subnet,
    /// The tenant.
    Custom,
    /// A connection of a VPN gateway.
    S2sVpn,
    /// An InterLink.
    Interlink,
}

impl RouteKind {
    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subnet => "subnet",
            Self::Custom => "custom",
            Self::S2sVpn => "s2s_vpn",
            Self::Interlink => "interlink",
        }
    }
}

/// A route of a VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Its id; only the tenant's own routes have one.
    pub id: Option<RouteId>,
    /// Owner.
    pub project_id: ProjectId,
    /// Region.
    pub region: String,
    /// The VPC.
    pub vpc_id: VpcId,
    /// Who made it.
    pub kind: RouteKind,
    /// Free text.
    pub description: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Where it leads.
    pub destination: IpNet,
    /// The Private Network that the destination or the next hop is on.
    pub network: Option<PrivateNetworkId>,
    /// The next hop: what holds an address on that network, the VPN gateway, or the link.
    pub resource: Option<Uuid>,
    /// Creation.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// A route and what is known of its next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteWithNextHop {
    /// The route.
    pub route: Route,
    /// The next hop's address on the Private Network.
    pub address: Option<IpAddr>,
    /// The next hop's name.
    pub name: Option<String>,
}

/// Where a custom route leads to, as the tenant says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewNextHop {
    /// What holds an address on a Private Network of the VPC.
    pub resource: Option<Uuid>,
    /// The Private Network; alone: the destination answers on the network itself.
    pub network: Option<PrivateNetworkId>,
}

/// Create a custom route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoute {
    /// Free text.
    pub description: String,
    /// Tags.
    pub tags: Vec<String>,
    /// The VPC.
    pub vpc_id: VpcId,
    /// Where it leads.
    pub destination: IpNet,
    /// The next hop.
    pub next_hop: NewNextHop,
}

/// Change a custom route; `None` = unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteChange {
    /// Free text.
    pub description: Option<String>,
    /// Tags.
    pub tags: Option<Vec<String>>,
    /// Where it leads.
    pub destination: Option<IpNet>,
    /// The next hop; a resource without a network: the network is found anew.
    pub next_hop: NewNextHop,
    /// No resource is the next hop any more, but the Private Network itself.
    pub no_resource: bool,
}

/// Filters of the route list; empty or `None` = no filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteFilter {
    /// Of this VPC.
    pub vpc_id: Option<VpcId>,
    /// With this next hop.
    pub resource: Option<Uuid>,
    /// On this Private Network.
    pub network: Option<PrivateNetworkId>,
    /// Made by this.
    pub kind: Option<RouteKind>,
    /// The destination contains this prefix.
    pub contains: Option<IpNet>,
    /// Family.
    pub is_ipv6: Option<bool>,
}
