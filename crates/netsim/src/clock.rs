//! Virtual time.

use std::time::{Duration, Instant};

/// A clock that moves when it is told to. `Instant`s cannot be made of nothing, so one real instant, read once, is the base; nothing
/// ever depends on which.
#[derive(Clone, Debug)]
pub struct Clock {
    base: Instant,
    elapsed: Duration,
}

impl Clock {
    /// A clock at its base.
    #[must_use]
    pub fn new() -> Self {
        Self { base: Instant::now(), elapsed: Duration::ZERO }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.base + self.elapsed
    }

    /// Time since the base: what traces show and what two runs have in common.
    #[must_use]
    pub const fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// How long after the base `at` is; zero if before.
    #[must_use]
    pub fn since_base(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.base)
    }

    /// Moves on by `step`.
    pub fn advance(&mut self, step: Duration) {
        self.elapsed += step;
    }

    /// Moves on to `at`; stays if that has passed. Time never goes back.
    pub fn advance_to(&mut self, at: Instant) {
        self.elapsed = self.elapsed.max(self.since_base(at));
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_on_only() {
        let mut clock = Clock::new();
        let start = clock.now();
        clock.advance(Duration::from_secs(3600));
        assert_eq!(clock.now() - start, Duration::from_secs(3600));
        clock.advance_to(start + Duration::from_secs(10));
        assert_eq!(clock.elapsed(), Duration::from_secs(3600));
        clock.advance_to(start + Duration::from_secs(3601));
        assert_eq!(clock.elapsed(), Duration::from_secs(3601));
        assert_eq!(clock.since_base(start), Duration::ZERO);
    }
}
