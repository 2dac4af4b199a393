//! Commands: what a request asks for once its document has been parsed and every field has its type. References are not yet resolved.

mod interlink;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::id::{
    ConnectionId, CustomerGatewayId, IpId, OrganizationId, PrivateNetworkId, ProjectId, RoutingPolicyId, SecretId,
    SubnetId, VpcId, VpnGatewayId,
};
use crate::net::Family;
use crate::resource::{InitiationPolicy, Reverse, Tunnels};
use crate::status::{ConnectionStatus, VpnGatewayStatus};
use crate::suite::Cipher;

pub use interlink::*;

/// Fields that every create has. `project_id` `None`: the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMeta {
    /// Owner.
    pub project_id: Option<ProjectId>,
    /// Name.
    pub name: String,
    /// Tags.
    pub tags: Vec<String>,
}

/// Create a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVpc {
    /// Common fields.
    pub meta: NewMeta,
}

/// Create a Private Network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPrivateNetwork {
    /// Common fields.
    pub meta: NewMeta,
    /// Subnets wished for; a family that is missing is allotted.
    pub subnets: Vec<IpNet>,
    /// Its VPC; `None`: the project's default VPC.
    pub vpc_id: Option<VpcId>,
    /// Echoed.
    pub default_route_propagation_enabled: bool,
}

/// Where a booked address shall come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewIpSource {
    /// A Private Network (the subnet of the family).
    PrivateNetwork(PrivateNetworkId),
    /// A subnet.
    Subnet(SubnetId),
    /// The public pool of a zone.
    Zonal(String),
}

/// Book an IPAM address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIp {
    /// Owner; `None`: the caller's.
    pub project_id: Option<ProjectId>,
    /// From where.
    pub source: NewIpSource,
    /// Family.
    pub is_ipv6: bool,
    /// A particular address.
    pub address: Option<IpAddr>,
    /// Attach it to this at once.
    pub resource: Option<CustomResource>,
    /// Tags.
    pub tags: Vec<String>,
}

/// Change an IPAM address; `None` = unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpChange {
    /// Tags.
    pub tags: Option<Vec<String>>,
    /// Its names, in place of those that it has.
    pub reverses: Option<Vec<Reverse>>,
}

/// Something of the tenant's that uses an address, known by its MAC address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomResource {
    /// Upper case, with colons.
    pub mac_address: String,
    /// Its name.
    pub name: Option<String>,
}

/// Create a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSecret {
    /// Common fields.
    pub meta: NewMeta,
    /// Free text.
    pub description: String,
    /// Secret type; `opaque` if unknown.
    pub kind: String,
    /// Folder.
    pub path: String,
    /// Protected from deletion.
    pub protected: bool,
}

/// Create a version of a secret.
#[derive(Clone)]
pub struct NewSecretVersion {
    /// The decoded data.
    pub data: Zeroizing<Vec<u8>>,
    /// Free text.
    pub description: Option<String>,
    /// Disable the previous enabled version.
    pub disable_previous: bool,
    /// CRC32 of the data, verified.
    pub data_crc32: Option<u32>,
}

/// A `{revision}` path parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionRef {
    /// A number.
    Number(u32),
    /// The newest.
    Latest,
    /// The newest that is enabled.
    LatestEnabled,
}

/// Which public addresses a gateway gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewPublicAddress {
    /// None of this family.
    Absent,
    /// One from the zone's pool.
    Allot,
    /// One that was booked before.
    Booked(IpId),
}

/// Create a VPN gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVpnGateway {
    /// Common fields.
    pub meta: NewMeta,
    /// Type.
    pub gateway_type: String,
    /// Private Network.
    pub private_network_id: PrivateNetworkId,
    /// Public IPv4.
    pub public_ipv4: NewPublicAddress,
    /// Public IPv6.
    pub public_ipv6: NewPublicAddress,
    /// A booked IPv4 address of the Private Network.
    pub ipam_private_ipv4_id: Option<IpId>,
    /// A booked IPv6 address of the Private Network.
    pub ipam_private_ipv6_id: Option<IpId>,
    /// Zone; `None`: chosen.
    pub zone: Option<String>,
}

/// Create a customer gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCustomerGateway {
    /// Common fields.
    pub meta: NewMeta,
    /// AS number.
    pub asn: u32,
    /// Public IPv4 address.
    pub public_ipv4: Option<Ipv4Addr>,
    /// Public IPv6 address.
    pub public_ipv6: Option<Ipv6Addr>,
}

/// Create a routing policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoutingPolicy {
    /// Common fields.
    pub meta: NewMeta,
    /// Family.
    pub is_ipv6: bool,
    /// Accepted from the customer.
    pub prefix_filter_in: Vec<IpNet>,
    /// Announced to the customer.
    pub prefix_filter_out: Vec<IpNet>,
}

/// The BGP session of one family, as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBgp {
    /// Policy; the wire allows none.
    pub routing_policy_id: Option<RoutingPolicyId>,
    /// Our inside address with mask; allotted if missing.
    pub private_ip: Option<IpNet>,
    /// The customer's; allotted if missing.
    pub peer_private_ip: Option<IpNet>,
}

/// Create a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewConnection {
    /// Common fields.
    pub meta: NewMeta,
    /// One tunnel of this family; `None`: one for each family that both gateways have.
    pub is_ipv6: Option<bool>,
    /// Who starts.
    pub initiation_policy: InitiationPolicy,
    /// IKE proposals.
    pub ikev2_ciphers: Vec<Cipher>,
    /// ESP proposals.
    pub esp_ciphers: Vec<Cipher>,
    /// Exchange routes from the start.
    pub enable_route_propagation: bool,
    /// The tenant's own secret and revision (`None`: the newest).
    pub secret: Option<(SecretId, Option<u32>)>,
    /// VPN gateway.
    pub vpn_gateway_id: VpnGatewayId,
    /// Customer gateway.
    pub customer_gateway_id: CustomerGatewayId,
    /// IPv4 session.
    pub bgp_ipv4: Option<NewBgp>,
    /// IPv6 session.
    pub bgp_ipv6: Option<NewBgp>,
}

/// A field to sort a list by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderField {
    /// Creation.
    CreatedAt,
    /// Last change.
    UpdatedAt,
    /// Name.
    Name,
    /// Gateway type.
    Type,
    /// Status.
    Status,
    /// Attachment to a resource.
    AttachedAt,
    /// Address.
    Address,
    /// MAC address of the resource.
    MacAddress,
    /// Destination of a route: IPv4 first, then by address, shorter prefixes first.
    Destination,
    /// Length of a route's prefix.
    PrefixLength,
}

/// What every list takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Sort field.
    pub order: OrderField,
    /// Descending.
    pub descending: bool,
    /// From 1.
    pub page: u32,
    /// 1 to 1000.
    pub page_size: u32,
    /// Owner.
    pub project_id: Option<ProjectId>,
    /// Owner's organization.
    pub organization_id: Option<OrganizationId>,
    /// Case-insensitive part of the name.
    pub name: Option<String>,
    /// One or more of these tags.
    pub tags: Vec<String>,
}

/// One page and the count before paging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The page's objects.
    pub items: Vec<T>,
    /// Objects that match.
    pub total: u64,
}

/// Filters of the VPN gateway list; empty = no filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VpnGatewayFilter {
    /// Any of these statuses.
    pub statuses: Vec<VpnGatewayStatus>,
    /// Any of these types.
    pub gateway_types: Vec<String>,
    /// On any of these networks.
    pub private_network_ids: Vec<PrivateNetworkId>,
}

/// Filters of the connection list; empty or `None` = no filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFilter {
    /// Any of these statuses; `down` also matches `ready`.
    pub statuses: Vec<ConnectionStatus>,
    /// Outer family; a connection with two tunnels matches both values.
    pub is_ipv6: Option<bool>,
    /// Using any of these policies.
    pub routing_policy_ids: Vec<RoutingPolicyId>,
    /// Propagation on or off.
    pub route_propagation_enabled: Option<bool>,
    /// Of any of these VPN gateways.
    pub vpn_gateway_ids: Vec<VpnGatewayId>,
    /// Of any of these customer gateways.
    pub customer_gateway_ids: Vec<CustomerGatewayId>,
}

/// Filters of the VPC list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VpcFilter {
    /// The default one of its project, or not.
    pub is_default: Option<bool>,
    /// With something that no VPC has here.
    pub impossible: bool,
}

/// Filters of the Private Network list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrivateNetworkFilter {
    /// Of this VPC.
    pub vpc_id: Option<VpcId>,
    /// Any of these.
    pub private_network_ids: Vec<PrivateNetworkId>,
    /// With DHCP, or not.
    pub dhcp_enabled: Option<bool>,
    /// With something that no Private Network has here.
    pub impossible: bool,
}

/// Filters of the subnet list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubnetFilter {
    /// Of this VPC.
    pub vpc_id: Option<VpcId>,
    /// Any of these.
    pub subnet_ids: Vec<SubnetId>,
}

/// Filters of the IPAM list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpFilter {
    /// Of resources in this VPC.
    pub vpc_id: Option<VpcId>,
    /// Of this Private Network.
    pub private_network_id: Option<PrivateNetworkId>,
    /// Of this subnet.
    pub subnet_id: Option<SubnetId>,
    /// Of this zone's public pool.
    pub zonal: Option<String>,
    /// Attached to a resource or not.
    pub attached: Option<bool>,
    /// Attached to this resource.
    pub resource_ids: Vec<uuid::Uuid>,
    /// Attached to a resource of any of these kinds.
    pub resource_types: Vec<String>,
    /// Attached to a resource with this in its name, in any case.
    pub resource_name: Option<String>,
    /// Attached to a resource with this MAC address (upper case, with colons).
    pub mac_address: Option<String>,
    /// Family.
    pub is_ipv6: Option<bool>,
    /// Any of these.
    pub ip_ids: Vec<IpId>,
    /// Of a source that this service has none of: a region as a whole, or a VPC as a whole.
    pub sourceless: bool,
}

/// Filters of the secret list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretFilter {
    /// Exact folder.
    pub path: Option<String>,
    /// Type.
    pub kind: Option<String>,
}

/// A new name and new tags; `None` = unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rename {
    /// Name.
    pub name: Option<String>,
    /// Tags.
    pub tags: Option<Vec<String>>,
}

/// Changes of a connection; `None` = unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionChange {
    /// Name and tags.
    pub rename: Rename,
    /// Who starts.
    pub initiation_policy: Option<InitiationPolicy>,
    /// IKE proposals.
    pub ikev2_ciphers: Option<Vec<Cipher>>,
    /// ESP proposals.
    pub esp_ciphers: Option<Vec<Cipher>>,
    /// The secret that holds the key. Without `secret_revision` it is the revision with the number of the current one.
    pub secret_id: Option<SecretId>,
    /// The revision that holds the key, of `secret_id` or else of the secret that the connection has.
    pub secret_revision: Option<u32>,
}

/// Set or detach a routing policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// The connection.
    pub connection: ConnectionId,
    /// Family of the session.
    pub family: Family,
    /// The policy.
    pub policy: RoutingPolicyId,
}

/// Changes of a connection's options (wire-ext.md §1); `None` = unchanged. Times are seconds. Which values are possible is the controller's to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionsChange {
    /// Its tunnels.
    pub tunnels: Option<Tunnels>,
    /// `Some(None)`: the peer's address again.
    pub peer_identity: Option<Option<String>>,
    /// IKE SA lifetime.
    pub ike_lifetime: Option<u32>,
    /// Child SA lifetime.
    pub child_lifetime: Option<u32>,
    /// Child SA lifetime in packets.
    pub child_packets: Option<u64>,
    /// Silence before a liveness check.
    pub dpd_delay: Option<u32>,
    /// From the check to the verdict.
    pub dpd_timeout: Option<u32>,
    /// BGP hold time.
    pub hold_time: Option<u16>,
    /// Prefixes accepted at most, for each family.
    pub max_prefixes: Option<u32>,
    /// For how long a replaced key is accepted.
    pub psk_overlap: Option<u32>,
    /// The secret that signs the BGP sessions, by its newest enabled version: naming the same secret again takes a version that came
    /// since. A new key needs new sessions, so nothing but this call changes it. `Some(None)`: unsigned again.
    pub md5_secret_id: Option<Option<SecretId>>,
    /// Whether the peer must be a neighbour by hop limit (RFC 5082).
    pub gtsm: Option<bool>,
    /// The request asks for BFD, which is refused.
    pub bfd: bool,
}

/// Changes of a gateway type; `None` = unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayTypeChange {
    /// Bits per second in each direction. Reaches gateways that exist, too.
    pub bandwidth: Option<u64>,
    /// Connections at most; those that exist stay.
    pub allowed_connections: Option<u32>,
    /// Zones where it can be ordered; may become empty.
    pub zones: Option<Vec<String>>,
    /// Millionths of the currency, for gateways ordered from now on.
    pub price_per_hour: Option<u64>,
}
