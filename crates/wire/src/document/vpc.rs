//! VPC v2 (wire-api.md §5). Keys are alphabetical; VPCs, Private Networks and subnets omit absent optionals, routes write null.

use causeway_model::acl::{Acl, AclAction, AclProtocol, AclRule};
use causeway_model::resource::{PlacedSubnet, PrivateNetwork, Subnet, Vpc};
use causeway_model::route::{Route, RouteKind, RouteWithNextHop};
use causeway_model::{OrganizationId, PrivateNetworkId, ProjectId, SubnetId, VpcId};
use ipnet::IpNet;
use serde::Serialize;
use uuid::Uuid;

use super::Time;
use crate::schema::documents;

documents! {
/// A VPC (§5.2). Routing is always on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VpcDocument {
    created_at: Time,
    custom_routes_propagation_enabled: bool,
    id: VpcId,
    is_default: bool,
    name: String,
    organization_id: OrganizationId,
    private_network_count: u32,
    project_id: ProjectId,
    region: String,
    routing_enabled: bool,
    tags: Vec<String>,
    transitivity_enabled: bool,
    updated_at: Time,
}
}

impl From<Vpc> for VpcDocument {
    fn from(vpc: Vpc) -> Self {
        Self {
            created_at: vpc.meta.created_at.into(),
            custom_routes_propagation_enabled: vpc.custom_routes_propagation_enabled,
            id: vpc.id,
            is_default: vpc.is_default,
            name: vpc.meta.name,
            organization_id: vpc.meta.organization_id,
            private_network_count: vpc.private_network_count,
            project_id: vpc.meta.project_id,
            region: vpc.meta.region,
            routing_enabled: true,
            tags: vpc.meta.tags,
            transitivity_enabled: false,
            updated_at: vpc.meta.updated_at.into(),
        }
    }
}

documents! {
/// A subnet (§5.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubnetDocument {
    created_at: Time,
    id: SubnetId,
    private_network_id: PrivateNetworkId,
    project_id: ProjectId,
    region: String,
    subnet: IpNet,
    updated_at: Time,
    vpc_id: VpcId,
}
}

impl SubnetDocument {
    /// The document of `subnet`, which belongs to `network`.
    #[must_use]
    pub fn new(network: &PrivateNetwork, subnet: &Subnet) -> Self {
        Self {
            created_at: subnet.created_at.into(),
            id: subnet.id,
            private_network_id: network.id,
            project_id: network.meta.project_id,
            region: network.meta.region.clone(),
            subnet: subnet.subnet,
            updated_at: subnet.updated_at.into(),
            vpc_id: network.vpc_id,
        }
    }
}

impl From<PlacedSubnet> for SubnetDocument {
    fn from(placed: PlacedSubnet) -> Self {
        Self {
            created_at: placed.subnet.created_at.into(),
            id: placed.subnet.id,
            private_network_id: placed.private_network_id,
            project_id: placed.project_id,
            region: placed.region,
            subnet: placed.subnet.subnet,
            updated_at: placed.subnet.updated_at.into(),
            vpc_id: placed.vpc_id,
        }
    }
}

documents! {
/// A Private Network (§5.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrivateNetworkDocument {
    created_at: Time,
    default_route_propagation_enabled: bool,
    dhcp_enabled: bool,
    id: PrivateNetworkId,
    name: String,
    organization_id: OrganizationId,
    project_id: ProjectId,
    region: String,
    subnets: Vec<SubnetDocument>,
    tags: Vec<String>,
    updated_at: Time,
    vpc_id: VpcId,
}
}

impl From<PrivateNetwork> for PrivateNetworkDocument {
    fn from(network: PrivateNetwork) -> Self {
        Self {
            created_at: network.meta.created_at.into(),
            default_route_propagation_enabled: network.default_route_propagation_enabled,
            dhcp_enabled: network.dhcp_enabled,
            id: network.id,
            subnets: network.subnets.iter().map(|subnet| SubnetDocument::new(&network, subnet)).collect(),
            name: network.meta.name,
            organization_id: network.meta.organization_id,
            project_id: network.meta.project_id,
            region: network.meta.region,
            tags: network.meta.tags,
            updated_at: network.meta.updated_at.into(),
            vpc_id: network.vpc_id,
        }
    }
}

documents! {
/// A rule of an ACL (§5.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AclRuleDocument {
    action: AclAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    destination: IpNet,
    dst_port_high: u16,
    dst_port_low: u16,
    protocol: AclProtocol,
    source: IpNet,
    src_port_high: u16,
    src_port_low: u16,
}
}

impl From<AclRule> for AclRuleDocument {
    fn from(rule: AclRule) -> Self {
        Self {
            action: rule.action,
            description: rule.description,
            destination: rule.destination,
            dst_port_high: rule.destination_ports.high,
            dst_port_low: rule.destination_ports.low,
            protocol: rule.protocol,
            source: rule.source,
            src_port_high: rule.source_ports.high,
            src_port_low: rule.source_ports.low,
        }
    }
}

documents! {
/// The ACL of one family of a VPC (§5.5). A new VPC accepts everything and has no rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AclDocument {
    default_policy: AclAction,
    rules: Vec<AclRuleDocument>,
}
}

impl From<Acl> for AclDocument {
    fn from(acl: Acl) -> Self {
        Self { default_policy: acl.default_action, rules: acl.rules.into_iter().map(Into::into).collect() }
    }
}

documents! {
/// A route (§5.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteDocument {
    /// Creation.
    pub created_at: Time,
    /// Free text.
    pub description: String,
    /// Where it leads.
    pub destination: IpNet,
    /// Its id; empty for the local route of a subnet.
    pub id: String,
    /// Whether it is the platform's.
    pub is_read_only: bool,
    /// Next hop: a Private Network.
    pub nexthop_private_network_id: Option<PrivateNetworkId>,
    /// Next hop: a resource.
    pub nexthop_resource_id: Option<Uuid>,
    /// Next hop: a VPC connector.
    pub nexthop_vpc_connector_id: Option<Uuid>,
    /// Region.
    pub region: String,
    /// Tags.
    pub tags: Vec<String>,
    /// `subnet`, `custom`, `s2s_vpn`, …
    pub r#type: &'static str,
    /// Last change.
    pub updated_at: Time,
    /// Its VPC.
    pub vpc_id: VpcId,
}
}

impl From<Route> for RouteDocument {
    fn from(route: Route) -> Self {
        Self {
            created_at: route.created_at.into(),
            description: route.description,
            destination: route.destination,
            id: route.id.map(|id| id.to_string()).unwrap_or_default(),
            is_read_only: route.kind != RouteKind::Custom,
            nexthop_private_network_id: route.network,
            nexthop_resource_id: route.resource,
            nexthop_vpc_connector_id: None,
            region: route.region,
            tags: route.tags,
            r#type: route.kind.as_str(),
            updated_at: route.updated_at.into(),
            vpc_id: route.vpc_id,
        }
    }
}

documents! {
/// A route and what is known of its next hop (§5.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteWithNexthopDocument {
    /// Address of the next hop.
    pub nexthop_ip: Option<std::net::IpAddr>,
    /// Name of the next hop.
    pub nexthop_name: Option<String>,
    /// `vpn_gateway`, `unknown_type`, …
    pub nexthop_resource_type: &'static str,
    /// The route.
    pub route: RouteDocument,
}
}

impl From<RouteWithNextHop> for RouteWithNexthopDocument {
    fn from(shown: RouteWithNextHop) -> Self {
        let gateway = shown.route.kind == RouteKind::S2sVpn;
        Self {
            nexthop_ip: shown.address,
            nexthop_name: shown.name,
            nexthop_resource_type: if gateway { "vpn_gateway" } else { "unknown_type" },
            route: shown.route.into(),
        }
    }
}
