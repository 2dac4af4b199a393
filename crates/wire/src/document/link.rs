//! Links in the extension API (wire-ext.md §1, §2): their state, their options, and what their partner sees.

use std::collections::BTreeMap;

use causeway_model::link::Party;
use causeway_model::resource::LinkHost;
use causeway_model::status::{BgpStatus, LinkStatus};
use causeway_model::view::LinkState;
use causeway_model::{LinkId, NodeId, PopId};
use serde::Serialize;
use uuid::Uuid;

use super::Time;
use super::extension::{ReasonDocument, Reasons, SessionDocument};
use super::interlink::{BgpConfigDocument, bgp_configs, disapproved_reason};
use super::options::BgpOptionsDocument;
use crate::schema::documents;

/// Bits in a megabit.
const MEGA: u64 = 1_000_000;

documents! {
/// `state` of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkStateDocument {
    /// Revision that the node has in force; 0: none.
    applied_revision: u64,
    /// Bits per second in each direction.
    bandwidth: u64,
    bgp_sessions: Vec<SessionDocument>,
    /// Whether what carries the link has a carrier; null: nobody knows.
    carrier: Option<bool>,
    /// When the order fails or the request expires, if nothing happens.
    deadline: Option<Time>,
    /// Newest revision of what the node shall run of it.
    desired_revision: u64,
    /// Packets dropped on the node, by reason.
    drops: BTreeMap<String, u64>,
    /// How far the order got, whatever hides it.
    lifecycle: &'static str,
    /// Octets of the largest packet; 0: nothing carries the link.
    mtu: u32,
    next_reminder_at: Option<Time>,
    /// The node that the link ends on.
    node: Option<NodeId>,
    observed_at: Option<Time>,
    reason: Option<ReasonDocument>,
    status: LinkStatus,
    /// Whose turn it is.
    turn: Party,
    /// Since when they are waited for.
    waiting_since: Option<Time>,
}
}

impl From<LinkState> for LinkStateDocument {
    fn from(state: LinkState) -> Self {
        Self {
            applied_revision: state.applied_revision,
            bandwidth: state.statuses.link.bandwidth_mbps.saturating_mul(MEGA),
            bgp_sessions: state.bgp_sessions.into_iter().map(Into::into).collect(),
            carrier: state.carrier,
            deadline: state.deadline.map(Into::into),
            desired_revision: state.desired_revision,
            drops: state.drops,
            lifecycle: state.lifecycle,
            mtu: state.mtu,
            next_reminder_at: state.next_reminder.map(Into::into),
            node: state.node,
            observed_at: state.observed_at.map(Into::into),
            reason: state.reason.map(Into::into),
            status: state.statuses.status,
            turn: state.turn,
            waiting_since: state.waiting_since.map(Into::into),
        }
    }
}

impl Reasons for LinkStateDocument {
    fn reasons(&mut self) -> Vec<&mut ReasonDocument> {
        let sessions = self.bgp_sessions.iter_mut().filter_map(|session| session.reason.as_mut());
        self.reason.iter_mut().chain(sessions).collect()
    }
}

documents! {
/// What the public API has no word for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkOptionsDocument {
    /// How its sessions are run.
    pub bgp: BgpOptionsDocument,
}
}

documents! {
/// A link as the partner that it is addressed to sees it: nothing of who its tenant is, or of what is behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartnerLinkDocument {
    /// Megabits per second in each direction.
    bandwidth_mbps: u64,
    bgp_v4_status: BgpStatus,
    bgp_v6_status: BgpStatus,
    created_at: Time,
    /// When the request expires, if it is not answered.
    deadline: Option<Time>,
    /// In the partner's own words; empty unless it refused.
    disapproved_reason: String,
    id: LinkId,
    next_reminder_at: Option<Time>,
    /// What the tenant tells the partner.
    pairing_key: Option<Uuid>,
    /// The partner's side of the sessions.
    peer_bgp_config: BgpConfigDocument,
    pop_id: PopId,
    region: String,
    /// The service's side of the sessions.
    scw_bgp_config: BgpConfigDocument,
    status: LinkStatus,
    turn: Party,
    updated_at: Time,
    vlan: u16,
    waiting_since: Option<Time>,
}
}

impl From<LinkState> for PartnerLinkDocument {
    fn from(state: LinkState) -> Self {
        let view = state.statuses;
        let (scw_bgp_config, peer_bgp_config) = bgp_configs(&view.link);
        let pairing_key = match view.link.host {
            LinkHost::Partner { pairing_key, .. } => Some(pairing_key),
            LinkHost::Dedicated { .. } => None,
        };
        Self {
            bandwidth_mbps: view.link.bandwidth_mbps,
            bgp_v4_status: view.bgp_v4_status,
            bgp_v6_status: view.bgp_v6_status,
            created_at: view.link.meta.created_at.into(),
            deadline: state.deadline.map(Into::into),
            disapproved_reason: disapproved_reason(&view.link),
            id: view.link.id,
            next_reminder_at: state.next_reminder.map(Into::into),
            pairing_key,
            peer_bgp_config,
            pop_id: view.link.pop_id,
            scw_bgp_config,
            status: view.status,
            turn: state.turn,
            updated_at: view.link.meta.updated_at.into(),
            vlan: view.link.vlan,
            region: view.link.meta.region,
            waiting_since: state.waiting_since.map(Into::into),
        }
    }
}
