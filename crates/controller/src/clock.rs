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

    /// What durations are measured with: for how long something that nobody can set has been running, and the time itself where there is no
    /// such thing.
    fn monotonic(&self) -> Duration {
        let (now, running) = self.reading();
        running.unwrap_or_else(|| Duration::from_micros(u64::try_from(now.0).unwrap_or_default()))
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
