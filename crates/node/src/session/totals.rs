//! What a session has counted, beyond the life of the machine that counts: options that change it replace the machine.

use std::sync::{Arc, Mutex, PoisonError};

use causeway_bgp::Session;
use causeway_model::observed::SessionFacts;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    flaps: u32,
    updates_in: u64,
    updates_out: u64,
}

/// The counters of a connection's session of one family, for as long as the gateway runs. One session at a time counts; clones are
/// the same totals.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    all: Arc<Mutex<Counts>>,
    /// What all sessions before the one that counts have counted.
    before: Counts,
}

impl Totals {
    /// For a session that begins.
    pub(super) fn next(&self) -> Self {
        Self { all: Arc::clone(&self.all), before: self.load() }
    }

    fn load(&self) -> Counts {
        *self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what `session` has counted so far. Whether there is more than before.
    pub(super) fn note(&self, session: &Session) -> bool {
        let counters = session.counters();
        let counts = Counts {
            flaps: self.before.flaps.saturating_add(session.flaps()),
            updates_in: self.before.updates_in.saturating_add(counters.updates_in),
            updates_out: self.before.updates_out.saturating_add(counters.updates_out),
        };
        let known = std::mem::replace(&mut *self.all.lock().unwrap_or_else(PoisonError::into_inner), counts);
        known != counts
    }

    /// Writes the totals into the facts of the session that counts.
    pub(super) fn tell(&self, facts: &mut SessionFacts) {
        (Counts { flaps: facts.flaps, updates_in: facts.updates_in, updates_out: facts.updates_out }) = self.load();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Instant;

    use causeway_bgp::{Policy, SEND_HOLD, SessionConfig};
    use causeway_model::{Family, Timestamp};

    use super::*;

    /// The OPEN of AS 65001 for IPv4, a KEEPALIVE, and an End-of-RIB.
    const PEER: [&[u8]; 3] = [
        &[1, 4, 0xfd, 0xe9, 0, 90, 10, 0, 0, 2, 14, 2, 12, 1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfd, 0xe9],
        &[4],
        &[2, 0, 0, 0, 0],
    ];

    /// A session that was up, heard one UPDATE, sent its End-of-RIB and was shut down.
    fn life(now: Instant) -> Session {
        let mut session = Session::new(
            SessionConfig {
                family: Family::Ipv4,
                local_asn: 64512,
                peer_asn: 65001,
                router_id: Ipv4Addr::new(10, 0, 0, 1),
                local: [169, 254, 0, 1].into(),
                peer: [169, 254, 0, 2].into(),
                hold_time: 60,
                send_hold: SEND_HOLD,
                max_prefixes: 10,
            },
            now,
        );
        session.set_policy(now, Policy::default());
        session.set_enabled(now, true);
        session.handle_connected(now, causeway_bgp::ConnKind::Incoming);
        for message in PEER {
            let (kind, body) = message.split_first().expect("a kind");
            let length = u16::try_from(19 + body.len()).expect("short").to_be_bytes();
            let message = [&[0xff; 16][..], &length, &[*kind], body].concat();
            session.handle_bytes(now, causeway_bgp::ConnKind::Incoming, &message);
        }
        assert!(session.is_up());
        session.shutdown(now, "configuration changed");
        session
    }

    #[test]
    fn a_new_session_goes_on_counting() {
        let now = Instant::now();
        let totals = Totals::default();
        let mut facts = SessionFacts::new(Family::Ipv4, Timestamp(0));
        for lives in 1..=3 {
            let session = life(now);
            let task = totals.next();
            assert!(task.note(&session) && !task.note(&session), "each change once");
            task.tell(&mut facts);
            assert_eq!((facts.flaps, facts.updates_in, facts.updates_out), (lives, lives.into(), lives.into()));
        }
        // One that has not counted yet hides nothing.
        totals.next().tell(&mut facts);
        assert_eq!((facts.flaps, facts.updates_in), (3, 3));
    }
}
