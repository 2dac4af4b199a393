//! The extension API `/causeway/v1` (wire-ext.md). Keys are alphabetical; what is not known is null, so that its absence is seen.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_model::explain::{OwnDecision, OwnRoute};
use causeway_model::observed::{ChildFacts, IkeFacts, ReceivedRoute, RouteDecision, SessionFacts, TunnelFacts};
use causeway_model::reason::{Layer, Reason, ReasonCode, Turn};
use causeway_model::resource::AuditRecord;
use causeway_model::status::{ConnectionStatus, VpnGatewayStatus};
use causeway_model::view::{ConnectionState, GatewayState};
use causeway_model::{Family, NodeId, ProjectId, RoutingPolicyId};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Time;
use crate::schema::{Components, Schema, documents};

documents! {
/// Why something is not better than it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonDocument {
    code: ReasonCode,
    evidence: BTreeMap<String, String>,
    layer: Layer,
    message: String,
    remedy: String,
    since: Option<Time>,
    turn: Turn,
}
}

impl From<Reason> for ReasonDocument {
    fn from(reason: Reason) -> Self {
        Self {
            code: reason.code,
            evidence: reason.evidence,
            layer: reason.layer,
            message: reason.message,
            remedy: reason.remedy,
            since: reason.since.map(Into::into),
            turn: reason.turn,
        }
    }
}

/// How remedies call the operator's support.
const SUPPORT: [&str; 3] = ["contact support", "support contact", "log to support"];

/// A document with reasons in it.
pub trait Reasons {
    /// All of them.
    fn reasons(&mut self) -> Vec<&mut ReasonDocument>;
}

impl ReasonDocument {
    /// Whether the remedy sends people to the operator's support.
    #[must_use]
    pub fn needs_support(&self) -> bool {
        SUPPORT.iter().any(|phrase| self.remedy.contains(phrase))
    }

    /// Says behind "contact support" where that is: an address or a link (system.md §4).
    pub fn name_support(&mut self, contact: &str) {
        for phrase in SUPPORT {
            if let Some(at) = self.remedy.find(phrase) {
                self.remedy.insert_str(at + phrase.len(), &format!(" ({contact})"));
                return;
            }
        }
    }
}

impl Reasons for GatewayStateDocument {
    fn reasons(&mut self) -> Vec<&mut ReasonDocument> {
        self.reason.iter_mut().collect()
    }
}

impl Reasons for ConnectionStateDocument {
    fn reasons(&mut self) -> Vec<&mut ReasonDocument> {
        let tunnels = self.tunnels.iter_mut().filter_map(|tunnel| tunnel.reason.as_mut());
        let sessions = self.bgp_sessions.iter_mut().filter_map(|session| session.reason.as_mut());
        self.reason.iter_mut().chain(tunnels).chain(sessions).collect()
    }
}

documents! {
/// `state` of a VPN gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayStateDocument {
    applied_revision: u64,
    /// Bits per second in each direction.
    bandwidth: u64,
    desired_revision: u64,
    lifecycle: &'static str,
    node: Option<NodeId>,
    observed_at: Option<Time>,
    private_addresses: Vec<IpNet>,
    public_addresses: Vec<IpAddr>,
    reason: Option<ReasonDocument>,
    status: VpnGatewayStatus,
}
}

impl From<GatewayState> for GatewayStateDocument {
    fn from(state: GatewayState) -> Self {
        Self {
            applied_revision: state.applied_revision,
            bandwidth: state.bandwidth,
            desired_revision: state.desired_revision,
            lifecycle: state.lifecycle,
            node: state.node,
            observed_at: state.observed_at.map(Into::into),
            private_addresses: state.private_addresses,
            public_addresses: state.public_addresses,
            reason: state.reason.map(Into::into),
            status: state.status,
        }
    }
}

documents! {
/// `state` of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionStateDocument {
    applied_revision: u64,
    bgp_sessions: Vec<SessionDocument>,
    desired_revision: u64,
    lifecycle: &'static str,
    observed_at: Option<Time>,
    reason: Option<ReasonDocument>,
    status: ConnectionStatus,
    tunnels: Vec<TunnelDocument>,
}
}

impl From<ConnectionState> for ConnectionStateDocument {
    fn from(state: ConnectionState) -> Self {
        Self {
            applied_revision: state.applied_revision,
            bgp_sessions: state.bgp_sessions.into_iter().map(Into::into).collect(),
            desired_revision: state.desired_revision,
            lifecycle: state.lifecycle,
            observed_at: state.observed_at.map(Into::into),
            reason: state.reason.map(Into::into),
            status: state.status,
            tunnels: state.tunnels.into_iter().map(Into::into).collect(),
        }
    }
}

const fn up_or_down(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

documents! {
/// A counter of each direction, as seen from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct InOut {
    r#in: u64,
    out: u64,
}
}

documents! {
/// One tunnel as observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TunnelDocument {
    /// Inner octets.
    bytes: InOut,
    child: Option<ChildDocument>,
    /// Packets and messages by the reason for which they were dropped: by the tunnel (`auth`, `replay`, `no_sa`, `shaped` and others) or, for all
    /// tunnels of a connection together, by the gateway's packet filter: from the customer `source_policy` (`prefix_filter_in` does not list the
    /// source), `source_vpc`, `source_interconnection` and `source_martian` (forged), `destination` (not in the VPC, or `prefix_filter_out` does not
    /// list it), `tunnel_to_tunnel`, `input_tunnel` (for the gateway itself); to the customer `out_source` and `out_destination`; either way `closed`
    /// (no propagation, or locked).
    drops: BTreeMap<String, u64>,
    family: Family,
    ike: Option<IkeDocument>,
    local: IpAddr,
    /// Inside, octets.
    mtu: u32,
    /// Inner packets.
    packets: InOut,
    peer: IpAddr,
    reason: Option<ReasonDocument>,
    since: Time,
    status: &'static str,
}
}

impl From<TunnelFacts> for TunnelDocument {
    fn from(tunnel: TunnelFacts) -> Self {
        Self {
            bytes: InOut { r#in: tunnel.counters.bytes_in, out: tunnel.counters.bytes_out },
            child: tunnel.child.map(Into::into),
            drops: tunnel.counters.drops,
            family: tunnel.family,
            ike: tunnel.ike.map(Into::into),
            local: tunnel.local,
            mtu: tunnel.mtu,
            packets: InOut { r#in: tunnel.counters.packets_in, out: tunnel.counters.packets_out },
            peer: tunnel.peer,
            reason: tunnel.fault.map(|fault| fault.explain(Some(tunnel.since)).into()),
            since: tunnel.since.into(),
            status: up_or_down(tunnel.up),
        }
    }
}

documents! {
/// An established IKE SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IkeDocument {
    established_at: Time,
    initiator: bool,
    peer_endpoint: String,
    rekeys: u32,
    suite: String,
}
}

impl From<IkeFacts> for IkeDocument {
    fn from(ike: IkeFacts) -> Self {
        Self {
            established_at: ike.established_at.into(),
            initiator: ike.initiator,
            peer_endpoint: ike.peer_endpoint,
            rekeys: ike.rekeys,
            suite: ike.suite,
        }
    }
}

documents! {
/// An installed Child SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChildDocument {
    established_at: Time,
    rekeys: u32,
    suite: String,
}
}

impl From<ChildFacts> for ChildDocument {
    fn from(child: ChildFacts) -> Self {
        Self { established_at: child.established_at.into(), rekeys: child.rekeys, suite: child.suite }
    }
}

documents! {
/// One BGP session as observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionDocument {
    /// Prefixes.
    accepted: u32,
    /// Prefixes.
    announced: u32,
    family: Family,
    flaps: u32,
    pub(super) reason: Option<ReasonDocument>,
    /// Prefixes.
    received: u32,
    since: Time,
    /// `up`, `down`, or `disabled`: no routing policy of this family is attached.
    status: &'static str,
    /// UPDATE messages.
    updates: InOut,
}
}

impl From<SessionFacts> for SessionDocument {
    fn from(session: SessionFacts) -> Self {
        Self {
            accepted: session.accepted,
            announced: session.announced,
            family: session.family,
            flaps: session.flaps,
            reason: session.fault.as_ref().map(|fault| fault.explain(Some(session.since)).into()),
            received: session.received,
            since: session.since.into(),
            status: if session.fault.as_ref().is_some_and(|fault| fault.code == ReasonCode::BgpDisabled) {
                "disabled"
            } else {
                up_or_down(session.up)
            },
            updates: InOut { r#in: session.updates_in, out: session.updates_out },
        }
    }
}

documents! {
/// A prefix that the device announced, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReceivedRouteDocument {
    as_path: Vec<u32>,
    communities: Vec<String>,
    /// `installed`, `beaten`, `filtered` or `withheld`.
    decision: &'static str,
    /// By which entry or rule it was filtered, by which route it was beaten, because of what it is withheld.
    detail: Option<String>,
    /// The entry of the policy's `prefix_filter_in` that admits it.
    filter_entry: Option<IpNet>,
    med: Option<u32>,
    next_hop: IpAddr,
    prefix: IpNet,
    /// The policy of its family.
    routing_policy_id: Option<RoutingPolicyId>,
    /// Kept while the device restarts gracefully; it has not announced it again yet.
    stale: bool,
}
}

/// The word for what became of a route.
#[must_use]
pub const fn decision_word(decision: &RouteDecision) -> &'static str {
    match decision {
        RouteDecision::Installed => "installed",
        RouteDecision::Beaten { .. } => "beaten",
        RouteDecision::Filtered { .. } => "filtered",
        RouteDecision::Withheld { .. } => "withheld",
    }
}

impl ReceivedRouteDocument {
    /// A route with the policy of its family, and the entry that admits it.
    #[must_use]
    pub fn new(route: ReceivedRoute, policy: Option<(RoutingPolicyId, Option<IpNet>)>) -> Self {
        let decision = decision_word(&route.decision);
        let detail = match route.decision {
            RouteDecision::Installed => None,
            RouteDecision::Beaten { by } | RouteDecision::Filtered { by } => Some(by),
            RouteDecision::Withheld { because } => Some(because),
        };
        Self {
            as_path: route.as_path,
            communities: route.communities,
            decision,
            detail,
            filter_entry: policy.and_then(|(_, entry)| entry),
            med: route.med,
            next_hop: route.next_hop,
            prefix: route.prefix,
            routing_policy_id: policy.map(|(id, _)| id),
            stale: route.stale,
        }
    }
}

documents! {
/// A prefix of the VPC's own, and whether it is announced to the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnnouncedRouteDocument {
    /// As the device is told; null for what is not announced.
    as_path: Option<Vec<u32>>,
    /// `announced`, `filtered` or `withheld`.
    decision: &'static str,
    /// By which rule it is filtered (`no_policy`, `propagation_disabled`, `custom_routes_propagation_disabled`, `not_in_prefix_filter_out`),
    /// because of what it is withheld (`locked`, `session_down`, `config_pending`).
    detail: Option<&'static str>,
    /// The entry of the policy's `prefix_filter_out` that admits it.
    filter_entry: Option<IpNet>,
    /// As the device is told; null for what is not announced.
    next_hop: Option<IpAddr>,
    /// `local` (a subnet) or `custom` (a custom route's destination); null for what is neither any more.
    origin: Option<&'static str>,
    prefix: IpNet,
    /// The policy of its family.
    routing_policy_id: Option<RoutingPolicyId>,
}
}

/// The word for what became of a prefix of the VPC's own.
#[must_use]
pub const fn own_decision_word(decision: OwnDecision) -> &'static str {
    match decision {
        OwnDecision::Announced => "announced",
        OwnDecision::Filtered(_) => "filtered",
        OwnDecision::Withheld(_) => "withheld",
    }
}

impl AnnouncedRouteDocument {
    /// The document, with the provider's AS number.
    #[must_use]
    pub fn new(route: OwnRoute, asn: u32) -> Self {
        Self {
            as_path: (route.decision == OwnDecision::Announced).then(|| vec![asn]),
            decision: own_decision_word(route.decision),
            detail: match route.decision {
                OwnDecision::Announced => None,
                OwnDecision::Filtered(why) | OwnDecision::Withheld(why) => Some(why),
            },
            filter_entry: route.policy.and_then(|(_, entry)| entry),
            next_hop: route.next_hop,
            origin: route.origin,
            prefix: route.prefix,
            routing_policy_id: route.policy.map(|(id, _)| id),
        }
    }
}

documents! {
/// A form in which a device's configuration can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceFormatDocument {
    /// One sentence.
    pub description: &'static str,
    /// What to give as `format`.
    pub name: &'static str,
}
}

documents! {
/// An audit record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRecordDocument {
    access_key: String,
    action: String,
    /// Fields after the change: all of them of what was made, otherwise those that differ. As the service keeps them; times are in
    /// microseconds since 1970, and secret data are never among them.
    after: Option<Fields>,
    at: Time,
    /// The same before the change.
    before: Option<Fields>,
    /// What else there is to say.
    details: BTreeMap<String, String>,
    /// The object's project, if it has one.
    project_id: Option<ProjectId>,
    request_id: Uuid,
    resource: String,
    resource_id: String,
}
}

/// Fields of some object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Fields(Map<String, Value>);

impl Schema for Fields {
    fn schema(_: &mut Components) -> Value {
        json!({"type": "object"})
    }
}

impl From<AuditRecord> for AuditRecordDocument {
    fn from(mut record: AuditRecord) -> Self {
        let mut fields = |name: &str| {
            let fields = record.details.get(name).and_then(|text| serde_json::from_str(text).ok()).map(Fields);
            // Records of before there were fields have a text there.
            if fields.is_some() {
                record.details.remove(name);
            }
            fields
        };
        Self {
            before: fields("before"),
            after: fields("after"),
            access_key: record.access_key,
            action: record.action,
            at: record.at.into(),
            details: record.details,
            project_id: record.project_id,
            request_id: record.request_id,
            resource: record.resource,
            resource_id: record.resource_id,
        }
    }
}

documents! {
/// `/healthz` and `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HealthDocument {
    status: &'static str,
}
}

impl HealthDocument {
    /// All is well.
    pub const OK: Self = Self { status: "ok" };
}

#[cfg(test)]
mod tests {
    use causeway_model::observed::TunnelCounters;
    use causeway_model::{Fault, Timestamp};

    use super::*;

    #[test]
    fn a_tunnel_that_is_down_says_why_with_the_time_as_text() {
        let facts = TunnelFacts {
            family: Family::Ipv4,
            local: "192.0.2.1".parse().expect("an address"),
            peer: "203.0.113.9".parse().expect("an address"),
            up: false,
            ever_up: false,
            since: Timestamp(1_785_241_748_356_342),
            fault: Some(Fault::new(ReasonCode::PeerSilent).with("attempts", "3")),
            ike: None,
            child: None,
            mtu: 1438,
            counters: TunnelCounters::default(),
        };
        let json = serde_json::to_value(TunnelDocument::from(facts)).expect("JSON");
        assert_eq!(json["since"], "2026-07-28T12:29:08.356342Z");
        assert_eq!(json["reason"]["code"], "peer_silent");
        assert_eq!(json["reason"]["since"], "2026-07-28T12:29:08.356342Z");
        assert_eq!(json["reason"]["evidence"]["attempts"], "3");
        assert_eq!(json["bytes"], serde_json::json!({"in": 0, "out": 0}));
        assert!(json["ike"].is_null());
        assert_eq!(json["family"], "ipv4");
    }

    #[test]
    fn every_remedy_that_names_support_says_where_that_is() {
        let mut named = 0;
        for code in ReasonCode::ALL {
            let mut reason = ReasonDocument::from(Fault::new(*code).explain(None));
            let speaks_of_support = reason.remedy.contains("support");
            assert_eq!(reason.needs_support(), speaks_of_support, "{code}: {}", reason.remedy);
            let before = reason.remedy.clone();
            reason.name_support("help@example.net");
            assert_eq!(reason.remedy.contains(" (help@example.net)"), speaks_of_support, "{code}: {}", reason.remedy);
            assert_eq!(reason.remedy.replace(" (help@example.net)", ""), before);
            named += usize::from(speaks_of_support);
        }
        assert!(named > 0);
    }

    #[test]
    fn a_routes_decision_is_a_word_and_a_detail() {
        let route = ReceivedRoute {
            prefix: "10.9.0.0/24".parse().expect("a prefix"),
            next_hop: "169.254.0.2".parse().expect("an address"),
            as_path: vec![65000],
            med: None,
            communities: Vec::new(),
            decision: RouteDecision::Filtered { by: "not_in_prefix_filter_in".to_owned() },
            stale: true,
        };
        let json = serde_json::to_string(&ReceivedRouteDocument::new(route, None)).expect("JSON");
        assert_eq!(
            json,
            r#"{"as_path":[65000],"communities":[],"decision":"filtered","detail":"not_in_prefix_filter_in","filter_entry":null,"med":null,"next_hop":"169.254.0.2","prefix":"10.9.0.0/24","routing_policy_id":null,"stale":true}"#
        );
    }
}
