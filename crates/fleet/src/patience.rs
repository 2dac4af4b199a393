//! How long a node rests between two attempts to reach its controller.

use std::time::Duration;

/// Before the second attempt.
const FIRST: Duration = Duration::from_millis(500);
/// At most, once it has been doubled often enough.
const LIMIT: Duration = Duration::from_secs(20);

/// The pauses between attempts: doubled each time, and begun anew after a session that lasted.
pub(crate) struct Patience {
    next: Duration,
}

impl Patience {
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// Begins anew if the attempt that ended led to a session that was longer than the next pause: whoever comes back after such a one is not
    /// about to disturb the controller. Returns whether it did.
    pub(crate) fn after(&mut self, lasted: Duration) -> bool {
        let anew = lasted > self.next;
        if anew {
            self.next = FIRST;
        }
        anew
    }

    /// The pause from here to the next attempt. Under a lease, for which keepalives come once in `period`, none is longer than that: promises
    /// that the controller passes on may be all that keeps the gateways running (ADR 0038), and are gone for as long as there is no channel.
    pub(crate) fn pause(&mut self, period: Option<Duration>) -> Duration {
        let limit = period.map_or(LIMIT, |period| period.clamp(FIRST, LIMIT));
        let pause = self.next.min(limit);
        self.next = (pause * 2).min(limit);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_under_a_lease_stay_within_a_period_of_keepalives() {
        let pauses = |period: Option<u64>| {
            let mut patience = Patience::new();
            (0..8).map(|_| patience.pause(period.map(Duration::from_millis)).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(pauses(None), [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
        assert_eq!(pauses(Some(2_000)), [500, 1_000, 2_000, 2_000, 2_000, 2_000, 2_000, 2_000]);
        for (period, limit) in [(0, 500), (100, 500), (1_200_000, 20_000)] {
            assert_eq!(pauses(Some(period)).last(), Some(&limit), "{period}");
        }
        // The lease came after pauses had grown.
        let mut patience = Patience::new();
        for _ in 0..6 {
            patience.pause(None);
        }
        assert_eq!(patience.pause(Some(Duration::from_secs(2))), Duration::from_secs(2));
    }

    #[test]
    fn only_a_session_that_was_longer_than_the_next_pause_begins_anew() {
        let mut patience = Patience::new();
        for _ in 0..3 {
            patience.pause(None);
        }
        assert!(!patience.after(Duration::from_secs(4)));
        assert_eq!(patience.pause(None), Duration::from_secs(4));
        assert!(patience.after(Duration::from_millis(8_001)));
        assert_eq!(patience.pause(None), FIRST);
    }
}
