//! Wall-clock time as an argument, so that tests move it.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causeway_model::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Now, and for how long something that nobody can set has been running: where the two disagree, the clock was set. `None`: there is
    /// no such thing.
    fn reading(&self) -> (Timestamp, Option<Duration>) {
        (self.now(), None)
    }

    /// Since some moment in the past, by a clock that nobody sets: what durations are measured with.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn reading(&self) -> (Timestamp, Option<Duration>) {
        let running = self.monotonic();
        (self.now(), Some(running))
    }

    fn monotonic(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }
}
