//! Token buckets: the bandwidth of a gateway, one bucket per direction, shared by all its tunnels.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The smallest burst, octets: a few dozen full packets, so that slow rates still carry TCP.
const MIN_BURST: i64 = 64 * 1024;
/// A burst is what the rate moves in this time, if that is more.
const BURST_TIME: f64 = 0.05;

/// Both directions of one gateway.
#[derive(Default)]
pub(crate) struct Group {
    /// Customer to cloud.
    pub(crate) inbound: Bucket,
    /// Cloud to customer.
    pub(crate) outbound: Bucket,
}

/// A token bucket in octets. It may be overdrawn by one batch; the debt delays the next.
#[derive(Default)]
pub(crate) struct Bucket {
    limited: AtomicBool,
    state: Mutex<Option<State>>,
}

struct State {
    /// Octets per second.
    rate: f64,
    burst: f64,
    tokens: f64,
    updated: Instant,
}

impl State {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.updated = self.updated.max(now);
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
    }
}

impl Bucket {
    /// Sets the rate in bits per second; 0 lifts the limit.
    pub(crate) fn set(&self, bits_per_second: u64, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.limited.store(bits_per_second > 0, Ordering::Relaxed);
        if bits_per_second == 0 {
            *state = None;
            return;
        }
        let rate = bits_per_second as f64 / 8.0;
        let burst = (rate * BURST_TIME).max(MIN_BURST as f64);
        let tokens = state.take().map_or(burst, |before| before.tokens.min(burst));
        *state = Some(State { rate, burst, tokens, updated: now });
    }

    /// Whether there is a limit at all.
    pub(crate) fn limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }

    /// Whether something may pass now, or after what time it is worth asking again.
    pub(crate) fn ready(&self, now: Instant) -> Result<(), Duration> {
        if !self.limited() {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = state.as_mut() else { return Ok(()) };
        state.refill(now);
        if state.tokens > 0.0 {
            return Ok(());
        }
        // A debt comes from one batch, so the wait is short even at low rates; the bounds guard against absurd ones.
        Err(Duration::from_secs_f64((-state.tokens / state.rate).clamp(0.001, 1.0)))
    }

    /// Octets that may pass before the bucket should be asked again.
    pub(crate) fn tokens(&self) -> usize {
        if !self.limited() {
            return usize::MAX;
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map_or(usize::MAX, |state| state.tokens.max(0.0) as usize)
    }

    /// The rate in octets per second, if there is a limit.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|state| state.rate)
    }

    /// Pays for octets that passed.
    pub(crate) fn take(&self, octets: usize) {
        if !self.limited() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = state.as_mut() {
            state.tokens -= octets as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets that pass in `seconds` when packets of 1000 octets are offered without end.
    fn passed(bucket: &Bucket, start: Instant, seconds: u64) -> usize {
        let mut total = 0;
        let mut now = start;
        while now < start + Duration::from_secs(seconds) {
            match bucket.ready(now) {
                Ok(()) => {
                    bucket.take(1000);
                    total += 1000;
                }
                Err(wait) => now += wait,
            }
        }
        total
    }

    #[test]
    fn the_long_term_rate_is_the_rate_set() {
        let (bucket, start) = (Bucket::default(), Instant::now());
        bucket.set(80_000_000, start);
        let total = passed(&bucket, start, 10) as f64;
        let expected = 10_000_000.0 * (10.0 + BURST_TIME);
        assert!((total - expected).abs() < expected * 0.01, "{total} of {expected}");
    }

    #[test]
    fn zero_is_no_limit_and_lifting_a_limit_forgets_its_debt() {
        let (bucket, now) = (Bucket::default(), Instant::now());
        bucket.take(usize::MAX);
        assert_eq!(bucket.ready(now), Ok(()));
        bucket.set(8_000, now);
        bucket.take(1_000_000);
        assert!(bucket.ready(now).is_err());
        bucket.set(0, now);
        assert_eq!((bucket.ready(now), bucket.tokens()), (Ok(()), usize::MAX));
    }

    #[test]
    fn a_change_of_rate_does_not_refill_the_bucket() {
        let (bucket, now) = (Bucket::default(), Instant::now());
        bucket.set(8_000_000, now);
        bucket.take(100_000);
        bucket.set(16_000_000, now);
        assert!(bucket.ready(now).is_err());
    }
}
