//! One TCP connection to the peer: framing, the three states that have one (RFC 4271 §8.2.2), and its timers.

use std::time::{Duration, Instant};

use crate::codec::{Framer, Open};
use crate::jitter::Jitter;

/// How long the peer may take for its OPEN. RFC 4271 §8.2.2 suggests four minutes; a device that accepts TCP and then says nothing
/// is better tried again soon.
const OPEN_WAIT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    OpenSent,
    OpenConfirm,
    Established,
}

impl Phase {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::OpenSent => "open_sent",
            Self::OpenConfirm => "open_confirm",
            Self::Established => "established",
        }
    }

    /// Subcode of a finite state machine error in this state (RFC 6608).
    pub(crate) const fn fsm_subcode(self) -> u8 {
        match self {
            Self::OpenSent => 1,
            Self::OpenConfirm => 2,
            Self::Established => 3,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) phase: Phase,
    pub(crate) framer: Framer,
    /// The peer's OPEN, from OpenConfirm on.
    pub(crate) open: Option<Open>,
    /// Negotiated; zero: neither keepalives nor a hold timer.
    pub(crate) hold_time: Duration,
    pub(crate) hold_at: Option<Instant>,
    pub(crate) keepalive_at: Option<Instant>,
    /// Octets that the caller could not hand to the peer yet, as it said last.
    pub(crate) unsent: usize,
    /// RFC 9687: when to give up on a peer that takes nothing.
    pub(crate) send_hold_at: Option<Instant>,
}

impl Connection {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::OpenSent,
            framer: Framer::default(),
            open: None,
            hold_time: OPEN_WAIT,
            hold_at: Some(now + OPEN_WAIT),
            keepalive_at: None,
            unsent: 0,
            send_hold_at: None,
        }
    }

    /// Enters OpenConfirm with the smaller of both hold times, in seconds.
    pub(crate) fn negotiate(&mut self, now: Instant, ours: u16, open: Open, jitter: &mut Jitter) {
        self.hold_time = Duration::from_secs(u64::from(ours.min(open.hold_time)));
        self.phase = Phase::OpenConfirm;
        self.open = Some(open);
        self.heard(now);
        self.schedule_keepalive(now, jitter);
    }

    /// Something that proves life arrived (RFC 4271 §8.2.2: KEEPALIVE, UPDATE; RFC 2918 adds no exception).
    pub(crate) fn heard(&mut self, now: Instant) {
        self.hold_at = (!self.hold_time.is_zero()).then(|| now + self.hold_time);
    }

    /// A third of the hold time, or a little less (RFC 4271 §10).
    pub(crate) fn schedule_keepalive(&mut self, now: Instant, jitter: &mut Jitter) {
        self.keepalive_at = (!self.hold_time.is_zero()).then(|| now + jitter.of(self.hold_time / 3));
    }

    /// The larger of `configured` and twice the hold time (RFC 9687 §6).
    fn send_hold(&self, configured: Duration) -> Duration {
        configured.max(self.hold_time * 2)
    }

    /// The caller still holds `unsent` octets. The timer runs while there are any, and starts anew when some went out.
    pub(crate) fn unsent(&mut self, now: Instant, unsent: usize, send_hold: Duration) {
        if unsent == 0 {
            self.send_hold_at = None;
        } else if self.send_hold_at.is_none() || unsent < self.unsent {
            self.send_hold_at = Some(now + self.send_hold(send_hold));
        }
        self.unsent = unsent;
    }

    pub(crate) fn four_octet(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.four_octet)
    }
}
