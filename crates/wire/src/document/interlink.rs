//! InterLink v1beta1 (wire-api.md §4). Keys are alphabetical, absent optionals are omitted.
//!
//! `l3_connectivity` and a partner's `region` came after the recordings; every client that knows them takes them as always there.

use causeway_model::link::Stage;
use causeway_model::resource::{Link, LinkAddresses, LinkHost, Partner, VlanRange};
use causeway_model::status::{BgpStatus, DedicatedConnectionStatus, LinkStatus};
use causeway_model::view::{DedicatedConnectionView, LinkStatuses, PopView};
use causeway_model::{
    DedicatedConnectionId, LinkId, OrganizationId, PartnerId, PopId, ProjectId, RoutingPolicyId, VpcId,
};
use ipnet::IpNet;
use serde::Serialize;
use uuid::Uuid;

use super::Time;
use crate::schema::documents;

documents! {
/// One side of a link's BGP sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BgpConfigDocument {
    asn: u32,
    ipv4: IpNet,
    ipv6: IpNet,
}
}

documents! {
/// What a partner has to know of a link that it hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartnerHostDocument {
    /// In the partner's words; empty unless it refused.
    disapproved_reason: String,
    l3_connectivity: bool,
    pairing_key: Uuid,
    partner_id: PartnerId,
}
}

documents! {
/// The dedicated connection of a self-hosted link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SelfHostDocument {
    connection_id: DedicatedConnectionId,
}
}

documents! {
/// A link (§4.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkDocument {
    /// Megabits per second in each direction.
    bandwidth_mbps: u64,
    bgp_v4_status: BgpStatus,
    bgp_v6_status: BgpStatus,
    created_at: Time,
    enable_route_propagation: bool,
    id: LinkId,
    name: String,
    organization_id: OrganizationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    partner: Option<PartnerHostDocument>,
    peer_bgp_config: BgpConfigDocument,
    pop_id: PopId,
    project_id: ProjectId,
    region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing_policy_v4_id: Option<RoutingPolicyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing_policy_v6_id: Option<RoutingPolicyId>,
    scw_bgp_config: BgpConfigDocument,
    #[serde(rename = "self", skip_serializing_if = "Option::is_none")]
    self_: Option<SelfHostDocument>,
    status: LinkStatus,
    tags: Vec<String>,
    updated_at: Time,
    vlan: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpc_id: Option<VpcId>,
}
}

/// Both sides' BGP, the provider's first.
pub(super) fn bgp_configs(link: &Link) -> (BgpConfigDocument, BgpConfigDocument) {
    let side = |asn, pick: fn(&LinkAddresses) -> IpNet| BgpConfigDocument {
        asn,
        ipv4: pick(&link.ipv4),
        ipv6: pick(&link.ipv6),
    };
    (side(link.provider_asn, |addresses| addresses.ours), side(link.peer_asn, |addresses| addresses.theirs))
}

/// In the partner's words; empty unless it refused.
pub(super) fn disapproved_reason(link: &Link) -> String {
    match &link.life.stage {
        Stage::Refused { reason, .. } => reason.clone(),
        _ => String::new(),
    }
}

impl From<LinkStatuses> for LinkDocument {
    fn from(view: LinkStatuses) -> Self {
        let link = view.link;
        let (scw_bgp_config, peer_bgp_config) = bgp_configs(&link);
        let (partner, self_) = match link.host {
            LinkHost::Partner { partner_id, pairing_key, l3_connectivity } => {
                let disapproved_reason = disapproved_reason(&link);
                (Some(PartnerHostDocument { disapproved_reason, l3_connectivity, pairing_key, partner_id }), None)
            }
            LinkHost::Dedicated { connection_id } => (None, Some(SelfHostDocument { connection_id })),
        };
        Self {
            bandwidth_mbps: link.bandwidth_mbps,
            bgp_v4_status: view.bgp_v4_status,
            bgp_v6_status: view.bgp_v6_status,
            created_at: link.meta.created_at.into(),
            enable_route_propagation: link.route_propagation_enabled,
            id: link.id,
            name: link.meta.name,
            organization_id: link.meta.organization_id,
            partner,
            peer_bgp_config,
            pop_id: link.pop_id,
            project_id: link.meta.project_id,
            region: link.meta.region,
            routing_policy_v4_id: link.routing_policy_v4.map(|policy| policy.id),
            routing_policy_v6_id: link.routing_policy_v6.map(|policy| policy.id),
            scw_bgp_config,
            self_,
            status: view.status,
            tags: link.meta.tags,
            updated_at: link.meta.updated_at.into(),
            vlan: link.vlan,
            vpc_id: link.vpc_id,
        }
    }
}

documents! {
/// VLAN ids, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct VlanRangeDocument {
    end: u16,
    start: u16,
}
}

impl From<VlanRange> for VlanRangeDocument {
    fn from(range: VlanRange) -> Self {
        Self { end: range.end, start: range.start }
    }
}

documents! {
/// A dedicated connection (§4.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DedicatedConnectionDocument {
    /// Sizes of links that fit, in megabits per second.
    available_link_bandwidths: Vec<u64>,
    bandwidth_mbps: u64,
    created_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    demarcation_info: Option<String>,
    id: DedicatedConnectionId,
    name: String,
    organization_id: OrganizationId,
    pop_id: PopId,
    project_id: ProjectId,
    region: String,
    status: DedicatedConnectionStatus,
    tags: Vec<String>,
    updated_at: Time,
    vlan_range: VlanRangeDocument,
}
}

impl From<DedicatedConnectionView> for DedicatedConnectionDocument {
    fn from(view: DedicatedConnectionView) -> Self {
        let connection = view.connection;
        Self {
            available_link_bandwidths: view.available_link_bandwidths,
            bandwidth_mbps: connection.bandwidth_mbps,
            status: connection.status(),
            created_at: connection.meta.created_at.into(),
            demarcation_info: connection.demarcation_info,
            id: connection.id,
            name: connection.meta.name,
            organization_id: connection.meta.organization_id,
            pop_id: connection.pop_id,
            project_id: connection.meta.project_id,
            region: connection.meta.region,
            tags: connection.meta.tags,
            updated_at: connection.meta.updated_at.into(),
            vlan_range: connection.vlan_range.into(),
        }
    }
}

documents! {
/// A partner (§4.8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartnerDocument {
    contact_email: String,
    created_at: Time,
    id: PartnerId,
    l3_connectivity: bool,
    logo_url: String,
    name: String,
    portal_url: String,
    region: String,
    updated_at: Time,
}
}

impl From<Partner> for PartnerDocument {
    fn from(partner: Partner) -> Self {
        Self {
            contact_email: partner.contact_email,
            created_at: partner.created_at.into(),
            id: partner.id,
            l3_connectivity: partner.l3_connectivity,
            logo_url: partner.logo_url,
            name: partner.name,
            portal_url: partner.portal_url,
            region: partner.region,
            updated_at: partner.updated_at.into(),
        }
    }
}

documents! {
/// A point of presence (§4.8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PopDocument {
    address: String,
    /// In a list the sizes of which one more link has room, by id all on offer.
    available_link_bandwidths_mbps: Vec<u64>,
    city: String,
    display_name: String,
    hosting_provider_name: String,
    id: PopId,
    logo_url: String,
    name: String,
    region: String,
}
}

impl From<PopView> for PopDocument {
    fn from(view: PopView) -> Self {
        let pop = view.pop;
        Self {
            address: pop.address,
            available_link_bandwidths_mbps: view.available_link_bandwidths_mbps,
            city: pop.city,
            display_name: pop.display_name,
            hosting_provider_name: pop.hosting_provider_name,
            id: pop.id,
            logo_url: pop.logo_url,
            name: pop.name,
            region: pop.region,
        }
    }
}
