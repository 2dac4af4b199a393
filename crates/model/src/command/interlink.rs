//! InterLink's commands and filters.

use uuid::Uuid;

use super::{NewMeta, Rename};
use crate::id::{DedicatedConnectionId, LinkId, NodeId, PartnerId, PopId, PortId, ProjectId, RoutingPolicyId, VpcId};
use crate::resource::{LinkBandwidth, PortAttachment, PortOwner, VlanRange};
use crate::status::{BgpStatus, DedicatedConnectionStatus, LinkStatus};

/// Order a link. Exactly one of `connection_id` and `partner_id` has to be there; the controller says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLink {
    /// Common fields.
    pub meta: NewMeta,
    /// Where.
    pub pop_id: PopId,
    /// Mbit/s.
    pub bandwidth_mbps: u64,
    /// Self-hosted, on this dedicated connection.
    pub connection_id: Option<DedicatedConnectionId>,
    /// Hosted by this partner.
    pub partner_id: Option<PartnerId>,
    /// The other side's AS number; self-hosted only, a private one if missing.
    pub peer_asn: Option<u32>,
    /// VLAN id; self-hosted only, chosen if missing.
    pub vlan: Option<u32>,
    /// IPv4 policy.
    pub routing_policy_v4_id: Option<RoutingPolicyId>,
    /// IPv6 policy.
    pub routing_policy_v6_id: Option<RoutingPolicyId>,
}

/// Changes of a link; `None` = unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Name and tags.
    pub rename: Rename,
    /// The other side's AS number; self-hosted only.
    pub peer_asn: Option<u32>,
}

/// Attach, detach or set a routing policy; the policy says the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPolicyChange {
    /// The link.
    pub link: LinkId,
    /// The policy.
    pub policy: RoutingPolicyId,
}

/// Kinds of links that a list can be narrowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKindFilter {
    /// Through a partner.
    Hosted,
    /// On a dedicated connection.
    SelfHosted,
    /// Through a partner that carries frames.
    L2Hosted,
    /// Through a partner that routes.
    L3Hosted,
}

/// Filters of the link list; `None` = no filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFilter {
    /// Status.
    pub status: Option<LinkStatus>,
    /// Of the IPv4 session.
    pub bgp_v4_status: Option<BgpStatus>,
    /// Of the IPv6 session.
    pub bgp_v6_status: Option<BgpStatus>,
    /// At this PoP.
    pub pop_id: Option<PopId>,
    /// Of this size.
    pub bandwidth_mbps: Option<u64>,
    /// Through this partner.
    pub partner_id: Option<PartnerId>,
    /// To this VPC.
    pub vpc_id: Option<VpcId>,
    /// With this policy, of either family.
    pub routing_policy_id: Option<RoutingPolicyId>,
    /// With this pairing key.
    pub pairing_key: Option<Uuid>,
    /// Of this kind.
    pub kind: Option<LinkKindFilter>,
    /// On this dedicated connection.
    pub connection_id: Option<DedicatedConnectionId>,
    /// With something that no link has.
    pub impossible: bool,
}

/// Filters of the partner list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartnerFilter {
    /// Present in any of these.
    pub pop_ids: Vec<PopId>,
    /// Routing for the customer, or not.
    pub l3_connectivity: Option<bool>,
}

/// Filters of the PoP list; the name is the list's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PopFilter {
    /// Case-insensitive part of the name of who runs the place.
    pub hosting_provider_name: Option<String>,
    /// Where this partner has a port.
    pub partner_id: Option<PartnerId>,
    /// With a port that allows this size, whether or not anything of it is free.
    pub link_bandwidth_mbps: Option<u64>,
    /// With a dedicated connection of the caller's for self-hosted links, or without.
    pub dedicated_available: Option<bool>,
    /// With a partner that routes for the customer, or without.
    pub l3_connectivity_partners: Option<bool>,
}

/// Filters of the dedicated connections' list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DedicatedConnectionFilter {
    /// Status.
    pub status: Option<DedicatedConnectionStatus>,
    /// Of this bandwidth.
    pub bandwidth_mbps: Option<u64>,
    /// At this PoP.
    pub pop_id: Option<PopId>,
}

/// Filters of the list of InterLink's routing policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkPolicyFilter {
    /// Family.
    pub is_ipv6: Option<bool>,
}

/// What a partner looks for among the links addressed to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartnerLinkFilter {
    /// Status.
    pub status: Option<LinkStatus>,
    /// The key that its customer named.
    pub pairing_key: Option<Uuid>,
    /// How far the order got, as it is stored: whatever hides it in the status, a lock above all.
    pub stage: Option<&'static str>,
}

/// Add a PoP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPop {
    /// Its id; `None`: a new one.
    pub id: Option<PopId>,
    /// What it is.
    pub fields: PopFields,
}

/// What an operator says of a PoP; see [`crate::resource::Pop`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PopFields {
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
    /// Sizes on offer, Mbit/s.
    pub link_bandwidths_mbps: Vec<u64>,
    /// Mbit/s that all links here may have together.
    pub capacity_mbps: Option<u64>,
}

/// Changes of a PoP; `None` = unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PopChange {
    /// Short name.
    pub name: Option<String>,
    /// Name for people.
    pub display_name: Option<String>,
    /// City.
    pub city: Option<String>,
    /// Street and number.
    pub address: Option<String>,
    /// Who runs the place.
    pub hosting_provider_name: Option<String>,
    /// Its logo.
    pub logo_url: Option<String>,
    /// Sizes on offer, Mbit/s; links that exist stay.
    pub link_bandwidths_mbps: Option<Vec<u64>>,
    /// `Some(None)`: what the ports have.
    pub capacity_mbps: Option<Option<u64>>,
}

/// Add a partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartner {
    /// Its id; `None`: a new one.
    pub id: Option<PartnerId>,
    /// What it is.
    pub fields: PartnerFields,
}

/// What an operator says of a partner; see [`crate::resource::Partner`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerFields {
    /// Name.
    pub name: String,
    /// Whom a tenant asks.
    pub contact_email: String,
    /// Its logo.
    pub logo_url: String,
    /// Where a tenant asks instead of by mail.
    pub portal_url: String,
    /// AS number.
    pub asn: u32,
    /// Whether it routes for the customer.
    pub l3_connectivity: bool,
    /// Whether the service may notify it.
    pub notify: bool,
}

/// Changes of a partner; `None` = unchanged. Links keep the AS number that they were ordered with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartnerChange {
    /// Name.
    pub name: Option<String>,
    /// Whom a tenant asks.
    pub contact_email: Option<String>,
    /// Its logo.
    pub logo_url: Option<String>,
    /// Where a tenant asks instead of by mail.
    pub portal_url: Option<String>,
    /// AS number.
    pub asn: Option<u32>,
    /// Whether it routes for the customer.
    pub l3_connectivity: Option<bool>,
    /// Whether the service may notify it.
    pub notify: Option<bool>,
}

/// Add a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPort {
    /// Its id; `None`: a new one.
    pub id: Option<PortId>,
    /// Name.
    pub name: String,
    /// Where it is; for a dedicated connection it has to be the connection's own PoP.
    pub pop_id: PopId,
    /// The gateway node whose machine it is on; `None`: the first one.
    pub node_id: Option<NodeId>,
    /// Whose links it carries.
    pub owner: PortOwner,
    /// What it is on its node.
    pub attachment: PortAttachment,
    /// VLAN ids; `None`: all that links can have, or the dedicated connection's.
    pub vlan_range: Option<VlanRange>,
    /// Mbit/s that its links may have together.
    pub capacity_mbps: u64,
    /// Whether it is in service.
    pub enabled: bool,
}

/// Changes of a port; `None` = unchanged. It can't get less than its links have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortChange {
    /// Name.
    pub name: Option<String>,
    /// The gateway node whose machine it is on, `Some(None)`: the first one; only while no other node carries links of it.
    pub node_id: Option<Option<NodeId>>,
    /// What it is on its node; only while it carries no links.
    pub attachment: Option<PortAttachment>,
    /// VLAN ids.
    pub vlan_range: Option<VlanRange>,
    /// Mbit/s.
    pub capacity_mbps: Option<u64>,
    /// Whether it is in service.
    pub enabled: Option<bool>,
}

/// Add a dedicated connection to a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDedicatedConnection {
    /// Its id; `None`: a new one.
    pub id: Option<DedicatedConnectionId>,
    /// Common fields.
    pub meta: NewMeta,
    /// Where it ends.
    pub pop_id: PopId,
    /// Mbit/s.
    pub bandwidth_mbps: u64,
    /// Where in the building the operator's part ends.
    pub demarcation_info: Option<String>,
    /// VLAN ids; `None`: all that links can have.
    pub vlan_range: Option<VlanRange>,
    /// How far the operator got with it.
    pub state: DedicatedConnectionStatus,
}

/// Changes of a dedicated connection; `None` = unchanged. It can't get less than its links have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DedicatedConnectionChange {
    /// Name and tags.
    pub rename: Rename,
    /// Mbit/s.
    pub bandwidth_mbps: Option<u64>,
    /// `Some(None)`: nothing is said.
    pub demarcation_info: Option<Option<String>>,
    /// VLAN ids.
    pub vlan_range: Option<VlanRange>,
    /// How far the operator got with it.
    pub state: Option<DedicatedConnectionStatus>,
}

/// Whose dedicated connections, links or ports an operator's list is about; `None` = no filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortFilter {
    /// At this PoP.
    pub pop_id: Option<PopId>,
    /// Of this partner.
    pub partner_id: Option<PartnerId>,
    /// Of this dedicated connection.
    pub connection_id: Option<DedicatedConnectionId>,
    /// Of dedicated connections of this project.
    pub project_id: Option<ProjectId>,
}

/// InterLink's whole catalogue as one file says it. A part that is `None` stays as it is; of one that is there, what is not named goes.
/// Objects are known by their id or else by their name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogueFile {
    /// Sizes and their prices.
    pub link_bandwidths: Option<Vec<LinkBandwidth>>,
    /// PoPs.
    pub pops: Option<Vec<NewPop>>,
    /// Partners.
    pub partners: Option<Vec<NewPartner>>,
    /// Dedicated connections.
    pub dedicated_connections: Option<Vec<FiledConnection>>,
    /// Ports.
    pub ports: Option<Vec<FiledPort>>,
}

/// A dedicated connection as a file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiledConnection {
    /// Its id; `None`: that of the one with its name, or a new one.
    pub id: Option<DedicatedConnectionId>,
    /// Common fields.
    pub meta: NewMeta,
    /// Id or name of where it ends.
    pub pop: String,
    /// Mbit/s.
    pub bandwidth_mbps: u64,
    /// Where in the building the operator's part ends.
    pub demarcation_info: Option<String>,
    /// VLAN ids; `None`: all that links can have.
    pub vlan_range: Option<VlanRange>,
    /// How far the operator got with it.
    pub state: DedicatedConnectionStatus,
}

/// A port as a file says it. Exactly one of `partner` and `dedicated_connection` has to be there; the controller says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiledPort {
    /// Its id; `None`: that of the one with its name, or a new one.
    pub id: Option<PortId>,
    /// Name.
    pub name: String,
    /// Id or name of where it is.
    pub pop: String,
    /// Id or name of the partner whose links it carries.
    pub partner: Option<String>,
    /// Id or name of the dedicated connection whose links it carries.
    pub dedicated_connection: Option<String>,
    /// Id or name of the gateway node whose machine it is on; `None`: the first one.
    pub node: Option<String>,
    /// What it is on its node.
    pub attachment: PortAttachment,
    /// VLAN ids; `None`: all that links can have, or the dedicated connection's.
    pub vlan_range: Option<VlanRange>,
    /// Mbit/s that its links may have together.
    pub capacity_mbps: u64,
    /// Whether it is in service.
    pub enabled: bool,
}

/// Make a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWebhook {
    /// Where to.
    pub url: String,
    /// The kinds of events that it wants; empty: all.
    pub events: Vec<String>,
}

/// Change a webhook; `None`: leave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookChange {
    /// Where to.
    pub url: Option<String>,
    /// The kinds of events that it wants; empty: all.
    pub events: Option<Vec<String>>,
}
