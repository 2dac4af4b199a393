//! `route-explanation` (wire-ext.md §1).

use std::net::IpAddr;

use causeway_model::explain::{Candidate, Explanation, Origin, Outcome, Question, Step, Via};
use causeway_model::{ConnectionId, Family, LinkId, PrivateNetworkId, RoutingPolicyId, VpcId, VpnGatewayId};
use ipnet::IpNet;
use serde::Serialize;
use uuid::Uuid;

use super::extension::{ReasonDocument, Reasons};
use crate::schema::documents;

documents! {
/// Where a prefix or a packet goes in a VPC, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteExplanationDocument {
    /// What the answer follows and a node has not put in force (`config_pending`, `config_overdue`, `config_refused`, with
    /// `applied_revision` and `desired_revision`), or that nothing is heard of the node (`node_unreachable`). Empty: the kernel does what the
    /// answer says.
    caveats: Vec<ReasonDocument>,
    /// The routes that there are for it, those that are taken first.
    candidates: Vec<RouteCandidateDocument>,
    /// As asked.
    destination: Option<IpAddr>,
    /// Candidates that are not shown.
    more_candidates: u64,
    /// As asked.
    prefix: Option<IpNet>,
    /// Why it is not routed or delivered.
    reason: Option<ReasonDocument>,
    /// For a packet: the route that answers take; null if there is none.
    return_path: Option<String>,
    /// As asked.
    source: Option<IpAddr>,
    /// For a packet: its way, step by step.
    steps: Vec<RouteStepDocument>,
    /// `routed` or `unrouted` for a prefix; `delivered`, `partly` (some of several open ways that share the load drop it) or `dropped` for a packet.
    verdict: &'static str,
    vpc_id: VpcId,
}

/// A route, or a connection or link that has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteCandidateDocument {
    as_path: Option<Vec<u32>>,
    communities: Option<Vec<String>>,
    connection_id: Option<ConnectionId>,
    custom_route_id: Option<Uuid>,
    /// `installed`, `beaten`, `filtered`, `withheld` or `missing`.
    decision: &'static str,
    /// By what it is beaten or filtered, because of what it is withheld or missing.
    detail: Option<String>,
    /// The entry of the policy's `prefix_filter_in` that admits it.
    filter_entry: Option<IpNet>,
    link_id: Option<LinkId>,
    med: Option<u32>,
    next_hop: Option<IpAddr>,
    /// `local`, `custom` or `learned`.
    origin: &'static str,
    prefix: IpNet,
    private_network_id: Option<PrivateNetworkId>,
    /// Why the connection or link has no route to it.
    reason: Option<ReasonDocument>,
    /// How its prefix lies to what was asked for: `exact`, `covers` or `inside`.
    relation: &'static str,
    routing_policy_id: Option<RoutingPolicyId>,
    /// Whether it is taken for the whole of what was asked for.
    taken: bool,
    /// The outer families of its connection's tunnels that are up.
    tunnels_up: Vec<Family>,
    vpn_gateway_id: Option<VpnGatewayId>,
}

/// A place on a packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteStepDocument {
    /// `source`, `route`, `acl`, `gateway`, `router`, `tunnel`, `link` or `delivery`.
    at: &'static str,
    connection_id: Option<ConnectionId>,
    detail: String,
    link_id: Option<LinkId>,
    passes: bool,
    reason: Option<ReasonDocument>,
}
}

impl Reasons for RouteExplanationDocument {
    fn reasons(&mut self) -> Vec<&mut ReasonDocument> {
        let candidates = self.candidates.iter_mut().filter_map(|candidate| candidate.reason.as_mut());
        let steps = self.steps.iter_mut().filter_map(|step| step.reason.as_mut());
        self.reason.iter_mut().chain(&mut self.caveats).chain(candidates).chain(steps).collect()
    }
}

impl RouteExplanationDocument {
    /// The answer to `question` about `vpc`.
    #[must_use]
    pub fn new(vpc: VpcId, question: &Question, explanation: Explanation) -> Self {
        let (prefix, source, destination) = match question {
            Question::Prefix(prefix) => (Some(*prefix), None, None),
            Question::Packet(packet) => (None, Some(packet.source), Some(packet.destination)),
        };
        Self {
            caveats: explanation.caveats.into_iter().map(|fault| fault.explain(None).into()).collect(),
            candidates: explanation.candidates.into_iter().map(Into::into).collect(),
            destination,
            more_candidates: explanation.more as u64,
            prefix,
            reason: explanation.fault.map(|fault| fault.explain(None).into()),
            return_path: explanation.return_path,
            source,
            steps: explanation.steps.into_iter().map(Into::into).collect(),
            verdict: explanation.verdict,
            vpc_id: vpc,
        }
    }
}

impl From<Candidate> for RouteCandidateDocument {
    fn from(candidate: Candidate) -> Self {
        let (mut connection_id, mut vpn_gateway_id, mut link_id, mut custom_route_id) = (None, None, None, None);
        let (mut private_network_id, mut next_hop) = (None, None);
        let origin = match candidate.origin {
            Origin::Local(network) => {
                private_network_id = Some(network);
                "local"
            }
            Origin::Custom { route, network, next_hop: hop } => {
                (custom_route_id, private_network_id, next_hop) = (Some(route.0), Some(network), hop);
                "custom"
            }
            Origin::Learned(Via::Connection { connection, gateway }) => {
                (connection_id, vpn_gateway_id) = (Some(connection), Some(gateway));
                "learned"
            }
            Origin::Learned(Via::Link(link)) => {
                link_id = Some(link);
                "learned"
            }
        };
        let (decision, detail, fault) = match candidate.outcome {
            Outcome::Installed => ("installed", None, None),
            Outcome::Beaten(by) => ("beaten", Some(by), None),
            Outcome::Filtered(by) => ("filtered", Some(by), None),
            Outcome::Withheld(because) => ("withheld", Some(because), None),
            Outcome::Missing(fault) => ("missing", None, Some(fault)),
        };
        let (as_path, med, communities) = match candidate.attributes {
            Some((as_path, med, communities)) => (Some(as_path), med, Some(communities)),
            None => (None, None, None),
        };
        Self {
            as_path,
            communities,
            connection_id,
            custom_route_id,
            decision,
            detail,
            filter_entry: candidate.policy.and_then(|(_, entry)| entry),
            link_id,
            med,
            next_hop,
            origin,
            prefix: candidate.prefix,
            private_network_id,
            reason: fault.map(|fault| fault.explain(None).into()),
            relation: candidate.relation.as_str(),
            routing_policy_id: candidate.policy.map(|(policy, _)| policy),
            taken: candidate.taken,
            tunnels_up: candidate.tunnels_up,
            vpn_gateway_id,
        }
    }
}

impl From<Step> for RouteStepDocument {
    fn from(step: Step) -> Self {
        let (connection_id, link_id) = match step.via {
            Some(Via::Connection { connection, .. }) => (Some(connection), None),
            Some(Via::Link(link)) => (None, Some(link)),
            None => (None, None),
        };
        Self {
            at: step.at,
            connection_id,
            detail: step.detail,
            link_id,
            passes: step.passes,
            reason: step.fault.map(|fault| fault.explain(None).into()),
        }
    }
}
