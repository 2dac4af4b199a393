//! Site-to-Site VPN v1alpha1 (wire-api.md §3). Keys are alphabetical, absent optionals are omitted.

use std::net::{Ipv4Addr, Ipv6Addr};

use causeway_model::resource::{BgpSession, CustomerGateway, GatewayType, InitiationPolicy, RoutingPolicy, Tunnels};
use causeway_model::status::{BgpStatus, ConnectionStatus, TunnelStatus, VpnGatewayStatus};
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};
use causeway_model::view::{ConnectionStatuses, VpnGatewayView};
use causeway_model::{
    ConnectionId, CustomerGatewayId, IpId, OrganizationId, PrivateNetworkId, ProjectId, RoutingPolicyId, SecretId,
    VpnGatewayId,
};
use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::Time;
use crate::schema::documents;

documents! {
/// A gateway type. `bandwidth` is in bits per second, each direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayTypeDocument {
    allowed_connections: u32,
    bandwidth: u64,
    name: String,
    region: String,
    zones: Vec<String>,
}
}

impl From<GatewayType> for GatewayTypeDocument {
    fn from(gateway_type: GatewayType) -> Self {
        Self {
            allowed_connections: gateway_type.allowed_connections,
            bandwidth: gateway_type.bandwidth,
            name: gateway_type.name,
            region: gateway_type.region,
            zones: gateway_type.zones,
        }
    }
}

documents! {
/// The public addresses of a VPN gateway, as IPAM ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PublicConfigDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    ipam_ipv4_id: Option<IpId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipam_ipv6_id: Option<IpId>,
}
}

documents! {
/// A VPN gateway (§3.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VpnGatewayDocument {
    asn: u32,
    connection_ids: Vec<ConnectionId>,
    created_at: Time,
    gateway_type: String,
    id: VpnGatewayId,
    ipam_private_ipv4_id: IpId,
    ipam_private_ipv6_id: IpId,
    name: String,
    organization_id: OrganizationId,
    private_network_id: PrivateNetworkId,
    project_id: ProjectId,
    public_config: PublicConfigDocument,
    region: String,
    status: VpnGatewayStatus,
    tags: Vec<String>,
    updated_at: Time,
    zone: String,
}
}

impl From<VpnGatewayView> for VpnGatewayDocument {
    fn from(view: VpnGatewayView) -> Self {
        let gateway = view.gateway;
        Self {
            asn: gateway.asn,
            connection_ids: gateway.connection_ids,
            created_at: gateway.meta.created_at.into(),
            gateway_type: gateway.gateway_type,
            id: gateway.id,
            ipam_private_ipv4_id: gateway.ipam_private_ipv4_id,
            ipam_private_ipv6_id: gateway.ipam_private_ipv6_id,
            name: gateway.meta.name,
            organization_id: gateway.meta.organization_id,
            private_network_id: gateway.private_network_id,
            project_id: gateway.meta.project_id,
            public_config: PublicConfigDocument {
                ipam_ipv4_id: gateway.public_ipv4_id,
                ipam_ipv6_id: gateway.public_ipv6_id,
            },
            region: gateway.meta.region,
            status: view.status,
            tags: gateway.meta.tags,
            updated_at: gateway.meta.updated_at.into(),
            zone: gateway.zone,
        }
    }
}

documents! {
/// One proposal, echoed as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CipherDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    dh_group: Option<DhGroup>,
    encryption: Encryption,
    #[serde(skip_serializing_if = "Option::is_none")]
    integrity: Option<Integrity>,
}
}

impl From<Cipher> for CipherDocument {
    fn from(cipher: Cipher) -> Self {
        Self { dh_group: cipher.dh_group, encryption: cipher.encryption, integrity: cipher.integrity }
    }
}

documents! {
/// A BGP session of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BgpSessionDocument {
    peer_private_ip: IpNet,
    private_ip: IpNet,
    /// Empty after a detach: clients declare a plain string, so null is no option.
    #[serde(serialize_with = "id_or_empty")]
    routing_policy_id: Option<RoutingPolicyId>,
}
}

impl From<BgpSession> for BgpSessionDocument {
    fn from(session: BgpSession) -> Self {
        Self {
            peer_private_ip: session.peer_private_ip,
            private_ip: session.private_ip,
            routing_policy_id: session.routing_policy_id,
        }
    }
}

fn id_or_empty<S: Serializer>(id: &Option<RoutingPolicyId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => serializer.collect_str(id),
        None => serializer.serialize_str(""),
    }
}

documents! {
/// A connection (§3.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    bgp_session_ipv4: Option<BgpSessionDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bgp_session_ipv6: Option<BgpSessionDocument>,
    bgp_status_ipv4: BgpStatus,
    bgp_status_ipv6: BgpStatus,
    created_at: Time,
    customer_gateway_id: CustomerGatewayId,
    esp_ciphers: Vec<CipherDocument>,
    id: ConnectionId,
    ikev2_ciphers: Vec<CipherDocument>,
    initiation_policy: InitiationPolicy,
    is_ipv6: bool,
    name: String,
    organization_id: OrganizationId,
    project_id: ProjectId,
    region: String,
    route_propagation_enabled: bool,
    secret_id: SecretId,
    secret_revision: u32,
    status: ConnectionStatus,
    tags: Vec<String>,
    tunnel_status: TunnelStatus,
    tunnel_status_ipv4: TunnelStatus,
    tunnel_status_ipv6: TunnelStatus,
    updated_at: Time,
    vpn_gateway_id: VpnGatewayId,
}
}

impl From<ConnectionStatuses> for ConnectionDocument {
    fn from(view: ConnectionStatuses) -> Self {
        let connection = view.connection;
        Self {
            bgp_session_ipv4: connection.bgp_ipv4.map(Into::into),
            bgp_session_ipv6: connection.bgp_ipv6.map(Into::into),
            bgp_status_ipv4: view.bgp_status_ipv4,
            bgp_status_ipv6: view.bgp_status_ipv6,
            created_at: connection.meta.created_at.into(),
            customer_gateway_id: connection.customer_gateway_id,
            esp_ciphers: connection.esp_ciphers.into_iter().map(Into::into).collect(),
            id: connection.id,
            ikev2_ciphers: connection.ikev2_ciphers.into_iter().map(Into::into).collect(),
            initiation_policy: connection.initiation_policy,
            // With two tunnels it reads false (system.md §1.1).
            is_ipv6: connection.tunnels == Tunnels::Ipv6,
            name: connection.meta.name,
            organization_id: connection.meta.organization_id,
            project_id: connection.meta.project_id,
            region: connection.meta.region,
            route_propagation_enabled: connection.route_propagation_enabled,
            secret_id: connection.secret_id,
            secret_revision: connection.secret_revision,
            status: view.status,
            tags: connection.meta.tags,
            tunnel_status: view.tunnel_status,
            tunnel_status_ipv4: view.tunnel_status_ipv4,
            tunnel_status_ipv6: view.tunnel_status_ipv6,
            updated_at: connection.meta.updated_at.into(),
            vpn_gateway_id: connection.vpn_gateway_id,
        }
    }
}

documents! {
/// The answer to create and renew-psk. `pre_shared_key` is always empty: keys are read from the secret manager only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionWithKeyDocument {
    connection: ConnectionDocument,
    pre_shared_key: &'static str,
}
}

impl From<ConnectionStatuses> for ConnectionWithKeyDocument {
    fn from(view: ConnectionStatuses) -> Self {
        Self { connection: view.into(), pre_shared_key: "" }
    }
}

documents! {
/// The answer to change-psk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrappedConnectionDocument {
    connection: ConnectionDocument,
}
}

impl From<ConnectionStatuses> for WrappedConnectionDocument {
    fn from(view: ConnectionStatuses) -> Self {
        Self { connection: view.into() }
    }
}

documents! {
/// A customer gateway (§3.9): its addresses are bare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CustomerGatewayDocument {
    asn: u32,
    connection_ids: Vec<ConnectionId>,
    created_at: Time,
    id: CustomerGatewayId,
    name: String,
    organization_id: OrganizationId,
    project_id: ProjectId,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_ipv4: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_ipv6: Option<Ipv6Addr>,
    region: String,
    tags: Vec<String>,
    updated_at: Time,
}
}

impl From<CustomerGateway> for CustomerGatewayDocument {
    fn from(gateway: CustomerGateway) -> Self {
        Self {
            asn: gateway.asn,
            connection_ids: gateway.connection_ids,
            created_at: gateway.meta.created_at.into(),
            id: gateway.id,
            name: gateway.meta.name,
            organization_id: gateway.meta.organization_id,
            project_id: gateway.meta.project_id,
            public_ipv4: gateway.public_ipv4,
            public_ipv6: gateway.public_ipv6,
            region: gateway.meta.region,
            tags: gateway.meta.tags,
            updated_at: gateway.meta.updated_at.into(),
        }
    }
}

documents! {
/// A routing policy (§3.10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoutingPolicyDocument {
    created_at: Time,
    id: RoutingPolicyId,
    is_ipv6: bool,
    name: String,
    organization_id: OrganizationId,
    prefix_filter_in: Vec<IpNet>,
    prefix_filter_out: Vec<IpNet>,
    project_id: ProjectId,
    region: String,
    tags: Vec<String>,
    updated_at: Time,
}
}

impl From<RoutingPolicy> for RoutingPolicyDocument {
    fn from(policy: RoutingPolicy) -> Self {
        Self {
            created_at: policy.meta.created_at.into(),
            id: policy.id,
            is_ipv6: policy.is_ipv6,
            name: policy.meta.name,
            organization_id: policy.meta.organization_id,
            prefix_filter_in: policy.prefix_filter_in,
            prefix_filter_out: policy.prefix_filter_out,
            project_id: policy.meta.project_id,
            region: policy.meta.region,
            tags: policy.meta.tags,
            updated_at: policy.meta.updated_at.into(),
        }
    }
}
