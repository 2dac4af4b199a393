//! The gateway's report: facts of its connections, and the routes that they learned.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use causeway_bgp::{LinkKind, Route, preference};
use causeway_model::observed::{
    ConnectionFacts, GatewayFacts, ReceivedRoute, RouteDecision, SessionFacts, TunnelFacts,
};
use causeway_model::{ConnectionId, Family, ReasonCode, Timestamp};
use ipnet::IpNet;
use tokio::sync::mpsc;

use super::Gateway;
use super::connection::Connection;
use crate::routes::Learned;
use crate::session::SessionUpdate;
use crate::table::Untaken;

/// What a gateway tells its node.
#[derive(Clone, Debug)]
pub(crate) struct GatewayReport {
    /// Of which run of the actor this is.
    pub(crate) incarnation: u64,
    /// Nothing but counters has changed since the last one.
    pub(crate) only_counters: bool,
    /// A tunnel came or went: routes are chosen without the usual pause.
    pub(crate) urgent: bool,
    pub(crate) gateway: GatewayFacts,
    pub(crate) connections: Vec<ConnectionFacts>,
    /// Of an InterLink, what carries it.
    pub(crate) carrier: Option<CarrierReport>,
    pub(crate) learned: Arc<Vec<Learned>>,
}

/// What carries an InterLink.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CarrierReport {
    /// Whether it has a carrier, and since when.
    pub(crate) up: bool,
    pub(crate) since: Timestamp,
    /// Octets of the largest packet.
    pub(crate) mtu: u32,
}

impl Gateway {
    pub(super) fn report(&mut self) {
        self.report_at = None;
        self.reported = Instant::now();
        let urgent = std::mem::take(&mut self.urgent);
        let mut learned = Vec::new();
        for (id, connection) in &self.connections {
            learned.extend(self.learned(*id, connection));
        }
        let mut connections: Vec<ConnectionFacts> =
            self.connections.iter().map(|(id, connection)| self.facts(*id, connection)).collect();
        // Those that could not even be begun.
        let missing = self.refusals.iter().filter(|(id, _)| !self.connections.contains_key(id));
        connections.extend(missing.map(|(id, refusal)| ConnectionFacts {
            id: *id,
            applied: 0,
            refused: Some(refusal.clone()),
            tunnels: Vec::new(),
            sessions: Vec::new(),
            received: Vec::new(),
            announced: Vec::new(),
        }));
        let report = GatewayReport {
            incarnation: self.incarnation,
            only_counters: self.only_counters,
            urgent,
            gateway: GatewayFacts { id: self.id, applied: self.applied, refused: self.refused.clone() },
            connections,
            carrier: self.connections.values().find_map(|connection| {
                let carrier = connection.carrier?;
                Some(CarrierReport { up: carrier.up, since: carrier.since, mtu: connection.mtu })
            }),
            learned: Arc::new(learned),
        };
        // Never waits: the node may be waiting for this gateway at this moment.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.around.reports.try_send(report) {
            self.urgent |= urgent;
            self.touch();
        }
    }

    fn learned(&self, id: ConnectionId, connection: &Connection) -> Vec<Learned> {
        if !connection.is_open() || self.desired.locked || !connection.is_carried() {
            return Vec::new();
        }
        let kind = if connection.carrier.is_some() { LinkKind::InterLink } else { LinkKind::Vpn };
        let updates = connection.sessions.values().filter_map(|session| session.update.as_ref());
        updates
            // Of a session that is down these are the ones that graceful restart keeps.
            .flat_map(SessionUpdate::accepted)
            .map(|route| Learned {
                gateway: self.id,
                connection: id,
                kind,
                prefix: route.prefix,
                preference: preference(kind, self.desired.asn, &route.communities),
                as_path_length: route.as_path.len(),
                med: route.med,
                received_at: route.received_at,
            })
            .collect()
    }

    fn facts(&self, id: ConnectionId, connection: &Connection) -> ConnectionFacts {
        // A session's last words may be older than the loss of the tunnel.
        let carried = connection.is_carried();
        let updates = || connection.sessions.values().filter_map(|session| session.update.as_ref());
        let live = || updates().filter(|_| carried);
        let received = live()
            .flat_map(|update| update.received.iter().map(move |received| (update, received)))
            .map(|(update, (route, verdict))| {
                let mut received = received_route(id, route, verdict.decision(), &self.decisions);
                received.stale = update.stale.contains(&route.prefix);
                withhold(received, &self.untaken, "the gateway")
            })
            .collect();
        let session = |update: &SessionUpdate| {
            let facts = update.facts.clone();
            if carried {
                return facts;
            }
            let tunnels = connection.tunnels.iter().map(|tunnel| tunnel.since);
            let carrier = connection.carrier.map(|carrier| carrier.lapsed.unwrap_or(carrier.since));
            let since = tunnels.chain(carrier).max().unwrap_or(facts.since);
            uncarried(facts, connection.carrier.is_some(), since)
        };
        ConnectionFacts {
            id,
            applied: connection.applied,
            refused: self.refusals.get(&id).cloned(),
            tunnels: self.tunnel_facts(id, connection),
            sessions: updates().map(session).collect(),
            received,
            announced: live().flat_map(|update| update.announced.iter().copied()).collect(),
        }
    }

    /// The tunnels with their counters. Packets that were dropped because no tunnel could take them count for the first. What the
    /// packet filter drops is added by the node, which reads the filters' counters one after the other.
    fn tunnel_facts(&self, id: ConnectionId, connection: &Connection) -> Vec<TunnelFacts> {
        let datapath = &self.around.datapath;
        let mut all = connection.tunnels.clone();
        for facts in &mut all {
            facts.counters = datapath.family_counters(id, facts.family).unwrap_or_default();
            if let (Some(ike), Some(key)) = (&mut facts.ike, connection.proved.get(&facts.family)) {
                let psks = &connection.desired.psks;
                let place = psks.iter().position(|psk| psk == key).unwrap_or(psks.len());
                ike.psk = u32::try_from(place).unwrap_or(u32::MAX);
            }
        }
        if let (Some(first), Some(total)) = (all.first_mut(), datapath.counters(id)) {
            let families = Family::ALL.map(|family| datapath.family_counters(id, family).unwrap_or_default());
            for (reason, packets) in total.drops {
                let counted: u64 = families.iter().filter_map(|family| family.drops.get(&reason)).sum();
                if packets > counted {
                    *first.counters.drops.entry(reason).or_default() += packets - counted;
                }
            }
        }
        all
    }
}

/// The session of a connection that nothing carries since `since`. Whatever it ended for before, this is what keeps it down, and it
/// does not know itself whether it ran over a link.
fn uncarried(facts: SessionFacts, is_link: bool, since: Timestamp) -> SessionFacts {
    let fault = Some(if is_link { ReasonCode::NoCarrier } else { ReasonCode::TunnelDown }.into());
    let since = if facts.up || facts.received > 0 { since } else { facts.since };
    SessionFacts { up: false, since, fault, received: 0, accepted: 0, announced: 0, ..facts }
}

/// What was chosen for installation in `place`, and is not there, is not installed.
pub(crate) fn withhold(mut route: ReceivedRoute, untaken: &Untaken, place: &str) -> ReceivedRoute {
    route.decision = not_in_kernel(route.decision, route.prefix, untaken, place);
    route
}

/// What became of a route, unless `place` has it not in its table.
pub(crate) fn not_in_kernel(decision: RouteDecision, prefix: IpNet, untaken: &Untaken, place: &str) -> RouteDecision {
    match untaken.get(&prefix) {
        Some(why) if decision == RouteDecision::Installed => {
            RouteDecision::Withheld { because: format!("not_in_kernel of {place}: {why}") }
        }
        _ => decision,
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
    route.report(decision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_session_down_is_the_lost_carrier_whatever_it_ended_for() {
        let before = Timestamp::parse("2026-01-01T00:00:00Z").expect("a time");
        let lost = before.plus_seconds(10);
        let session = |up, received, code: ReasonCode| SessionFacts {
            up,
            received,
            fault: Some(code.into()),
            ..SessionFacts::new(Family::Ipv4, before)
        };
        // Its words may be older than the loss, or its own about it: it knows tunnels only.
        for (facts, since) in [
            (session(true, 3, ReasonCode::BgpHoldTimerExpired), lost),
            (session(false, 3, ReasonCode::BgpHoldTimerExpired), lost),
            (session(false, 0, ReasonCode::BgpHoldTimerExpired), before),
            (session(false, 0, ReasonCode::TunnelDown), before),
        ] {
            for (is_link, why) in [(true, ReasonCode::NoCarrier), (false, ReasonCode::TunnelDown)] {
                let told = uncarried(facts.clone(), is_link, lost);
                assert_eq!((told.up, told.received, told.since), (false, 0, since), "{facts:?}");
                assert_eq!(told.fault, Some(why.into()), "{facts:?}");
            }
        }
    }
}
