//! Wall-clock time as an argument, so that tests move it.

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
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        let start = *START;
        (self.now(), Some(start.elapsed()))
    }
}
