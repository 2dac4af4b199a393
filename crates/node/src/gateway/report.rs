//! The gateway's report: facts of its connections, and the routes that they learned.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_bgp::{LinkKind, Route, preference};
use causeway_model::observed::{ConnectionFacts, GatewayFacts, ReceivedRoute, RouteDecision, TunnelFacts};
use causeway_model::{ConnectionId, VpcId};
use ipnet::IpNet;
use tokio::sync::mpsc;

use super::Gateway;
use super::connection::Connection;
use crate::routes::Learned;

/// What a gateway tells its node.
#[derive(Clone, Debug)]
pub(crate) struct GatewayReport {
    pub(crate) vpc: VpcId,
    pub(crate) gateway: GatewayFacts,
    pub(crate) connections: Vec<ConnectionFacts>,
    pub(crate) learned: Vec<Learned>,
}

impl Gateway {
    pub(super) fn report(&mut self) {
        self.report_at = None;
        let mut learned = Vec::new();
        for (id, connection) in &self.connections {
            learned.extend(self.learned(*id, connection));
        }
        let report = GatewayReport {
            vpc: self.desired.vpc,
            gateway: GatewayFacts { id: self.id, applied: self.applied, refused: self.refused.clone() },
            connections: self.connections.iter().map(|(id, connection)| self.facts(*id, connection)).collect(),
            learned,
        };
        // Never waits: the node may be waiting for this gateway at this moment.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.around.reports.try_send(report) {
            self.touch();
        }
    }

    fn learned(&self, id: ConnectionId, connection: &Connection) -> Vec<Learned> {
        if !connection.is_open() || self.desired.locked || connection.sending.is_none() {
            return Vec::new();
        }
        let updates = connection.sessions.values().filter_map(|session| session.update.as_ref());
        updates
            .filter(|update| update.facts.up)
            .flat_map(|update| &update.accepted)
            .map(|route| Learned {
                gateway: self.id,
                connection: id,
                prefix: route.prefix,
                preference: preference(LinkKind::Vpn, self.desired.asn, &route.communities),
                as_path_length: route.as_path.len(),
                med: route.med,
                received_at: route.received_at,
            })
            .collect()
    }

    fn facts(&self, id: ConnectionId, connection: &Connection) -> ConnectionFacts {
        let updates = || connection.sessions.values().filter_map(|session| session.update.as_ref());
        let received = updates()
            .flat_map(|update| &update.received)
            .map(|(route, verdict)| received_route(id, route, verdict.clone(), &self.decisions))
            .collect();
        ConnectionFacts {
            id,
            applied: connection.applied,
            refused: connection.refused.clone(),
            tunnels: connection.tunnels.iter().map(|facts| self.with_counters(id, facts)).collect(),
            sessions: updates().map(|update| update.facts.clone()).collect(),
            received,
            announced: updates().flat_map(|update| update.announced.iter().copied()).collect(),
        }
    }

    fn with_counters(&self, id: ConnectionId, facts: &TunnelFacts) -> TunnelFacts {
        let mut facts = facts.clone();
        if let Some(counters) = self.around.datapath.family_counters(id, facts.family) {
            facts.counters = counters;
        }
        facts
    }
}

/// A received route with the last word on it: the session's verdict, unless the choice among all connections says more.
fn received_route(
    id: ConnectionId,
    route: &Route,
    verdict: RouteDecision,
    decisions: &BTreeMap<(ConnectionId, IpNet), RouteDecision>,
) -> ReceivedRoute {
    let decision = match verdict {
        RouteDecision::Installed => decisions.get(&(id, route.prefix)).cloned().unwrap_or(RouteDecision::Installed),
        other => other,
    };
    let next_hop: IpAddr = route.next_hop;
    ReceivedRoute {
        prefix: route.prefix,
        next_hop,
        as_path: route.as_path.clone(),
        med: route.med,
        communities: route.communities.iter().map(|value| format!("{}:{}", value >> 16, value & 0xffff)).collect(),
        decision,
    }
}
