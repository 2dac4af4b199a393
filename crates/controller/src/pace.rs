//! What keeps a session with a node that runs much from taking the processor and the store's one writer for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use causeway_model::observed::ConnectionFacts;
use causeway_model::{ConnectionId, VpnGatewayId};

/// After a document was sent, the session rests so many times as long as that took: it is at it for a fifth of the time at most, and what
/// changes meanwhile goes together.
const REST: u32 = 4;

/// It rests no longer than this.
const LONGEST: Duration = Duration::from_secs(2);

/// When a session may send again.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    rests_until: Option<Instant>,
    /// There may be something to send when it has rested.
    waits: bool,
}

impl Pace {
    /// When sending begins: now, unless the session still rests.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Instant> {
        self.waits = self.rests_until.is_some_and(|until| now < until);
        (!self.waits).then_some(now)
    }

    /// Sending has taken from `begun` until `now`.
    pub(crate) fn end(&mut self, begun: Instant, now: Instant) {
        let took = now.saturating_duration_since(begun);
        self.rests_until = now.checked_add((took * REST).min(LONGEST));
    }

    /// When what waits may be sent; `None`: nothing waits.
    fn due(&self) -> Option<Instant> {
        self.rests_until.filter(|_| self.waits)
    }

    /// Until it may send what waits; for ever if nothing does.
    pub(crate) async fn rest(&self) {
        match self.due() {
            Some(until) => tokio::time::sleep_until(until.into()).await,
            None => std::future::pending().await,
        }
    }
}

/// What a session's last report has made known: only what differs from it has to be held against the store.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The gateways that were the node's then.
    pub(crate) gateways: BTreeSet<VpnGatewayId>,
    /// What the node said of its connections.
    pub(crate) connections: BTreeMap<ConnectionId, ConnectionFacts>,
}

impl Known {
    /// Whether what a node says of a connection of one of its gateways, or that it says nothing of it, is other than in its last report.
    pub(crate) fn is_news(
        &self,
        gateway: VpnGatewayId,
        connection: ConnectionId,
        facts: Option<&ConnectionFacts>,
    ) -> bool {
        !self.gateways.contains(&gateway) || self.connections.get(&connection) != facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_rests_in_proportion_and_then_sends_what_waited() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(pace.begin(at(0)), Some(at(0)));
        pace.end(at(0), at(10));
        assert_eq!((pace.due(), pace.begin(at(49))), (None, None), "ten milliseconds are followed by forty");
        assert_eq!(pace.due(), Some(at(50)));
        assert_eq!((pace.begin(at(50)), pace.due()), (Some(at(50)), None));
        pace.end(at(50), at(5050));
        assert_eq!(pace.begin(at(7049)), None);
        assert_eq!(pace.begin(at(7050)), Some(at(7050)), "never longer than two seconds");
    }

    #[test]
    fn what_was_said_before_is_no_news() {
        let (gateway, connection) = (VpnGatewayId::random(), ConnectionId::random());
        let facts = ConnectionFacts {
            id: connection,
            applied: 1,
            refused: None,
            tunnels: Vec::new(),
            sessions: Vec::new(),
            received: Vec::new(),
            announced: Vec::new(),
        };
        let other = ConnectionFacts { applied: 2, ..facts.clone() };
        let mut known = Known::default();
        assert!(known.is_news(gateway, connection, None), "of a gateway that is new here, silence is news");
        known.gateways.insert(gateway);
        assert!(!known.is_news(gateway, connection, None));
        assert!(known.is_news(gateway, connection, Some(&facts)));
        known.connections.insert(connection, facts.clone());
        assert!(!known.is_news(gateway, connection, Some(&facts)));
        assert!(known.is_news(gateway, connection, Some(&other)));
        assert!(known.is_news(gateway, connection, None), "the node does not run it any more");
    }
}
