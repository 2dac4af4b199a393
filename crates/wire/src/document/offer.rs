//! InterLink's catalogue as its operator has it (wire-ext.md §2). Keys are alphabetical.

use std::net::IpAddr;

use causeway_model::resource::{LinkBandwidth, Partner, Pop, Port, PortAttachment, PortOwner};
use causeway_model::{DedicatedConnectionId, NodeId, PartnerId, PopId, PortId};
use serde::Serialize;

use super::Time;
use super::interlink::VlanRangeDocument;
use crate::schema::documents;

documents! {
/// A PoP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PopOfferDocument {
    address: String,
    /// Megabits per second that all links here may have together; null: what the ports have.
    capacity_mbps: Option<u64>,
    city: String,
    display_name: String,
    hosting_provider_name: String,
    id: PopId,
    /// Sizes on offer, in megabits per second.
    link_bandwidths_mbps: Vec<u64>,
    logo_url: String,
    name: String,
    region: String,
}
}

impl From<Pop> for PopOfferDocument {
    fn from(pop: Pop) -> Self {
        Self {
            address: pop.address,
            capacity_mbps: pop.capacity_mbps,
            city: pop.city,
            display_name: pop.display_name,
            hosting_provider_name: pop.hosting_provider_name,
            id: pop.id,
            link_bandwidths_mbps: pop.link_bandwidths_mbps,
            logo_url: pop.logo_url,
            name: pop.name,
            region: pop.region,
        }
    }
}

documents! {
/// A partner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartnerOfferDocument {
    /// The AS number of its end of links.
    asn: u32,
    contact_email: String,
    created_at: Time,
    id: PartnerId,
    l3_connectivity: bool,
    logo_url: String,
    name: String,
    /// Whether the service sends the partner anything.
    notify: bool,
    portal_url: String,
    region: String,
    updated_at: Time,
}
}

impl From<Partner> for PartnerOfferDocument {
    fn from(partner: Partner) -> Self {
        Self {
            asn: partner.asn,
            contact_email: partner.contact_email,
            created_at: partner.created_at.into(),
            id: partner.id,
            l3_connectivity: partner.l3_connectivity,
            logo_url: partner.logo_url,
            name: partner.name,
            notify: partner.notify,
            portal_url: partner.portal_url,
            region: partner.region,
            updated_at: partner.updated_at.into(),
        }
    }
}

documents! {
/// What a port is on its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortAttachmentDocument {
    /// The interface of the kinds `vlan` and `interface`.
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    /// `vlan`, `interface` or `vxlan`.
    kind: &'static str,
    /// The far end of the kind `vxlan`.
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<IpAddr>,
    /// The VNI of a link is this and its VLAN id.
    #[serde(skip_serializing_if = "Option::is_none")]
    vni_base: Option<u32>,
}
}

impl From<PortAttachment> for PortAttachmentDocument {
    fn from(attachment: PortAttachment) -> Self {
        match attachment {
            PortAttachment::Vlan { interface } => {
                Self { interface: Some(interface), kind: "vlan", remote: None, vni_base: None }
            }
            PortAttachment::Interface { interface } => {
                Self { interface: Some(interface), kind: "interface", remote: None, vni_base: None }
            }
            PortAttachment::Vxlan { remote, vni_base } => {
                Self { interface: None, kind: "vxlan", remote: Some(remote), vni_base: Some(vni_base) }
            }
        }
    }
}

documents! {
/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortDocument {
    attachment: PortAttachmentDocument,
    /// Megabits per second that its links may have together.
    capacity_mbps: u64,
    /// Where it carries self-hosted links.
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<DedicatedConnectionId>,
    created_at: Time,
    enabled: bool,
    id: PortId,
    name: String,
    /// The gateway node whose machine it is on, where it names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<NodeId>,
    /// Where it carries hosted links.
    #[serde(skip_serializing_if = "Option::is_none")]
    partner_id: Option<PartnerId>,
    pop_id: PopId,
    region: String,
    updated_at: Time,
    vlan_range: VlanRangeDocument,
}
}

impl From<Port> for PortDocument {
    fn from(port: Port) -> Self {
        let (partner_id, connection_id) = match port.owner {
            PortOwner::Partner(id) => (Some(id), None),
            PortOwner::DedicatedConnection(id) => (None, Some(id)),
        };
        Self {
            attachment: port.attachment.into(),
            capacity_mbps: port.capacity_mbps,
            connection_id,
            created_at: port.created_at.into(),
            enabled: port.enabled,
            id: port.id,
            name: port.name,
            node_id: port.node_id,
            partner_id,
            pop_id: port.pop_id,
            region: port.region,
            updated_at: port.updated_at.into(),
            vlan_range: port.vlan_range.into(),
        }
    }
}

documents! {
/// A size of link and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LinkBandwidthDocument {
    /// Megabits per second in each direction.
    bandwidth_mbps: u64,
    /// What the price is in (ISO 4217).
    currency: &'static str,
    /// Millionths of the currency.
    price_per_hour: u64,
}
}

impl LinkBandwidthDocument {
    /// `size` with its price in `currency`.
    #[must_use]
    pub const fn new(size: LinkBandwidth, currency: &'static str) -> Self {
        Self { bandwidth_mbps: size.bandwidth_mbps, currency, price_per_hour: size.price_per_hour }
    }
}
