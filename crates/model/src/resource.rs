//! The objects that tenants and operators own, as the domain sees them (wire documents are another crate's business).

mod interlink;
mod webhook;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::id::{
    ConnectionId, CustomerGatewayId, IpId, OrganizationId, PartnerId, PrivateNetworkId, ProjectId, RoutingPolicyId,
    SecretId, SubnetId, VpcId, VpnGatewayId,
};
use crate::net::Family;
use crate::suite::Cipher;
use crate::time::Timestamp;

pub use interlink::{
    DedicatedConnection, Link, LinkAddresses, LinkBandwidth, LinkHost, LinkPolicy, Partner, Pop, Port, PortAttachment,
    PortOwner, VLANS, VlanRange,
};
pub use webhook::{Webhook, WebhookDelivery, WebhookOwner};

/// What every tenant object has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Owner's organization.
    pub organization_id: OrganizationId,
    /// Owner.
    pub project_id: ProjectId,
    /// Region: all objects of one connection are in one.
    pub region: String,
    /// Name, 1 to 255 characters.
    pub name: String,
    /// Tags in the order given.
    pub tags: Vec<String>,
    /// Creation.
    pub created_at: Timestamp,
    /// Last change, status changes included.
    pub updated_at: Timestamp,
}

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything but reading tenants' secrets.
    Operator,
    /// Everything within one project.
    Tenant,
    /// The links addressed to one partner.
    Partner,
    /// Lock, unlock, diagnose.
    Support,
    /// The node channel.
    Node,
}

/// Who is calling, after authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The access key that was used: goes into the audit record.
    pub access_key: String,
    /// Its role.
    pub role: Role,
    /// The organization.
    pub organization_id: OrganizationId,
    /// The project that the key belongs to; for operators the default project.
    pub project_id: ProjectId,
    /// The partner that a partner's key belongs to.
    pub partner_id: Option<PartnerId>,
    /// The request's id, for the audit record and the log.
    pub request_id: uuid::Uuid,
}

impl Caller {
    /// Whether the caller may see and change objects of `project`.
    #[must_use]
    pub fn owns(&self, project: ProjectId) -> bool {
        match self.role {
            Role::Operator => true,
            Role::Tenant => self.project_id == project,
            Role::Partner | Role::Support | Role::Node => false,
        }
    }
}

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// Id.
    pub id: VpcId,
    /// Common fields.
    pub meta: Meta,
    /// Whether Private Networks without a VPC go here.
    pub is_default: bool,
    /// Whether VPN gateways announce its custom routes, as far as a routing policy lets them.
    pub custom_routes_propagation_enabled: bool,
    /// How many Private Networks it has (counted when read).
    pub private_network_count: u32,
}

/// A Private Network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateNetwork {
    /// Id.
    pub id: PrivateNetworkId,
    /// Common fields.
    pub meta: Meta,
    /// Its VPC.
    pub vpc_id: VpcId,
    /// IPv4 first, then IPv6.
    pub subnets: Vec<Subnet>,
    /// Echoed.
    pub default_route_propagation_enabled: bool,
    /// Echoed.
    pub dhcp_enabled: bool,
}

/// A subnet of a Private Network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Id.
    pub id: SubnetId,
    /// The range.
    pub subnet: IpNet,
    /// Creation.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// A subnet and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedSubnet {
    /// The subnet.
    pub subnet: Subnet,
    /// Owner.
    pub project_id: ProjectId,
    /// Region.
    pub region: String,
    /// Its Private Network.
    pub private_network_id: PrivateNetworkId,
    /// Its VPC.
    pub vpc_id: VpcId,
}

/// Where an IPAM address comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpSource {
    /// A subnet of a Private Network.
    Subnet(SubnetId),
    /// The public pool of a zone.
    Zonal(String),
}

/// What an IPAM address is used by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpResource {
    /// `vpn_gateway`, `custom`.
    pub kind: String,
    /// The resource.
    pub id: uuid::Uuid,
    /// Its name.
    pub name: Option<String>,
    /// MAC address, upper case.
    pub mac_address: Option<String>,
}

/// A name that an address is looked up as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverse {
    /// A DNS name.
    pub hostname: String,
    /// The address, where the tenant has named it.
    pub address: Option<IpAddr>,
}

/// An IPAM address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ip {
    /// Id.
    pub id: IpId,
    /// Owner.
    pub project_id: ProjectId,
    /// Region.
    pub region: String,
    /// Zone of a public address.
    pub zone: Option<String>,
    /// Address with its subnet's mask; public ones with /32 or /128.
    pub address: IpNet,
    /// Where it comes from.
    pub source: IpSource,
    /// What uses it.
    pub resource: Option<IpResource>,
    /// Its names.
    pub reverses: Vec<Reverse>,
    /// Tags.
    pub tags: Vec<String>,
    /// Creation.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Id.
    pub id: SecretId,
    /// Common fields; the wire document shows no organization.
    pub meta: Meta,
    /// Free text.
    pub description: String,
    /// Made by a product (a connection's own secret).
    pub managed: bool,
    /// `opaque`, …
    pub kind: String,
    /// Protected from deletion.
    pub protected: bool,
    /// Folder.
    pub path: String,
    /// Products that use it (`s2s_vpn`).
    pub used_by: Vec<String>,
    /// Versions that are not deleted.
    pub version_count: u32,
}

/// Whether a secret version can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretVersionStatus {
    /// Readable.
    Enabled,
    /// Not readable until enabled again.
    Disabled,
    /// Gone; its data is wiped.
    Deleted,
}

/// A version of a secret, without its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// The secret.
    pub secret_id: SecretId,
    /// From 1.
    pub revision: u32,
    /// Status.
    pub status: SecretVersionStatus,
    /// Free text.
    pub description: Option<String>,
    /// Whether it is the newest.
    pub latest: bool,
    /// CRC32 of the data if one was given at creation.
    pub data_crc32: Option<u32>,
    /// Creation.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
    /// Deletion.
    pub deleted_at: Option<Timestamp>,
    /// Region.
    pub region: String,
}

/// A gateway type of the operator's catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayType {
    /// Commercial name: `VGW-S`.
    pub name: String,
    /// Bits per second in each direction.
    pub bandwidth: u64,
    /// Connections at most.
    pub allowed_connections: u32,
    /// Zones where it can be ordered.
    pub zones: Vec<String>,
    /// Region.
    pub region: String,
}

/// A VPN gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnGateway {
    /// Id.
    pub id: VpnGatewayId,
    /// Common fields.
    pub meta: Meta,
    /// Zone.
    pub zone: String,
    /// Name of its [`GatewayType`].
    pub gateway_type: String,
    /// Our AS number.
    pub asn: u32,
    /// The Private Network.
    pub private_network_id: PrivateNetworkId,
    /// Its IPv4 address there.
    pub ipam_private_ipv4_id: IpId,
    /// Its IPv6 address there.
    pub ipam_private_ipv6_id: IpId,
    /// Its public IPv4 address.
    pub public_ipv4_id: Option<IpId>,
    /// Its public IPv6 address.
    pub public_ipv6_id: Option<IpId>,
    /// Its connections, oldest first.
    pub connection_ids: Vec<ConnectionId>,
    /// When its deletion was asked for.
    pub deleting_since: Option<Timestamp>,
    /// Locked by support.
    pub locked: bool,
}

/// A customer gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerGateway {
    /// Id.
    pub id: CustomerGatewayId,
    /// Common fields.
    pub meta: Meta,
    /// The customer's AS number.
    pub asn: u32,
    /// Public IPv4 address.
    pub public_ipv4: Option<Ipv4Addr>,
    /// Public IPv6 address.
    pub public_ipv6: Option<Ipv6Addr>,
    /// Its connections, oldest first.
    pub connection_ids: Vec<ConnectionId>,
}

/// A routing policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingPolicy {
    /// Id.
    pub id: RoutingPolicyId,
    /// Common fields.
    pub meta: Meta,
    /// Its family.
    pub is_ipv6: bool,
    /// Accepted from the customer.
    pub prefix_filter_in: Vec<IpNet>,
    /// Announced to the customer.
    pub prefix_filter_out: Vec<IpNet>,
}

/// Which tunnels a connection has (system.md §1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tunnels {
    /// One, over IPv4.
    Ipv4,
    /// One, over IPv6.
    Ipv6,
    /// Two that share their inside.
    Both,
}

impl Tunnels {
    /// The outer families, IPv4 first.
    #[must_use]
    pub const fn families(self) -> &'static [Family] {
        match self {
            Self::Ipv4 => &[Family::Ipv4],
            Self::Ipv6 => &[Family::Ipv6],
            Self::Both => &Family::ALL,
        }
    }
}

/// Which gateway starts the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitiationPolicy {
    /// We do; the customer's device may too.
    VpnGateway,
    /// The customer's device does.
    CustomerGateway,
}

/// The BGP session of one family of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpSession {
    /// Our inside address with the interconnection subnet's mask.
    pub private_ip: IpNet,
    /// The customer's.
    pub peer_private_ip: IpNet,
    /// The attached policy; `None` after a detach.
    pub routing_policy_id: Option<RoutingPolicyId>,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Id.
    pub id: ConnectionId,
    /// Common fields.
    pub meta: Meta,
    /// Its VPN gateway.
    pub vpn_gateway_id: VpnGatewayId,
    /// Its customer gateway.
    pub customer_gateway_id: CustomerGatewayId,
    /// Its tunnels.
    pub tunnels: Tunnels,
    /// Who starts.
    pub initiation_policy: InitiationPolicy,
    /// As given; empty = default.
    pub ikev2_ciphers: Vec<Cipher>,
    /// As given; empty = default.
    pub esp_ciphers: Vec<Cipher>,
    /// The secret that holds the key.
    pub secret_id: SecretId,
    /// Its revision in use.
    pub secret_revision: u32,
    /// Whether the secret was made for this connection and goes with it.
    pub owns_secret: bool,
    /// IPv4 session.
    pub bgp_ipv4: Option<BgpSession>,
    /// IPv6 session.
    pub bgp_ipv6: Option<BgpSession>,
    /// Whether routes are exchanged.
    pub route_propagation_enabled: bool,
    /// Identity that the peer has to prove, if not its address.
    pub peer_identity: Option<String>,
    /// Locked by support.
    pub locked: bool,
}

impl Connection {
    /// The session of `family`.
    #[must_use]
    pub const fn bgp(&self, family: Family) -> Option<&BgpSession> {
        match family {
            Family::Ipv4 => self.bgp_ipv4.as_ref(),
            Family::Ipv6 => self.bgp_ipv6.as_ref(),
        }
    }

    /// Families with a routing policy attached: the expected sessions (system.md §3).
    pub fn expected_families(&self) -> impl Iterator<Item = Family> + '_ {
        Family::ALL
            .into_iter()
            .filter(|family| self.bgp(*family).is_some_and(|session| session.routing_policy_id.is_some()))
    }
}

/// What changed, by whom: every mutation leaves one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When.
    pub at: Timestamp,
    /// The access key.
    pub access_key: String,
    /// The request.
    pub request_id: uuid::Uuid,
    /// `create`, `update`, `delete`, `enable_route_propagation`, …
    pub action: String,
    /// The API's name of the kind.
    pub resource: String,
    /// The object.
    pub resource_id: String,
    /// The object's project, if it has one.
    pub project_id: Option<ProjectId>,
    /// Fields of interest, secrets never among them.
    pub details: BTreeMap<String, String>,
}
