//! Rate limits: one token bucket for each caller's address, which also slows down guessing of keys, and one for each key.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets of a kind at most. Beyond them, whoever comes new shares one.
const MAX_BUCKETS: usize = 10_000;

/// Between two looks for buckets that are full again and need not be kept: such a look takes time while everybody waits.
const SWEEP: Duration = Duration::from_secs(1);

/// How many requests may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per second in the long run; 0: no limit.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

/// The limits of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Of an IPv4 address, or of an IPv6 network of 64 bits.
    pub per_address: Rate,
    /// Of an API key.
    pub per_key: Rate,
}

impl Default for RateLimits {
    /// Out of the way of every honest client: two cores answer no more than this.
    fn default() -> Self {
        Self {
            per_address: Rate { per_second: 5_000, burst: 20_000 },
            per_key: Rate { per_second: 5_000, burst: 20_000 },
        }
    }
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// The rate that was exceeded.
    pub(crate) rate: Rate,
    /// After which a request is taken again.
    pub(crate) wait: Duration,
}

/// The buckets of a running service.
#[derive(Debug)]
pub(crate) struct Limits {
    addresses: Buckets<IpAddr>,
    keys: Buckets<String>,
}

impl Limits {
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self { addresses: Buckets::new(limits.per_address), keys: Buckets::new(limits.per_key) }
    }

    /// Counts a request from `address`.
    pub(crate) fn address(&self, address: IpAddr, now: Instant) -> Result<(), Exceeded> {
        self.addresses.take(network(address), now)
    }

    /// Counts a request with the key that is named `access_key`.
    pub(crate) fn key(&self, access_key: &str, now: Instant) -> Result<(), Exceeded> {
        self.keys.take(access_key.to_owned(), now)
    }
}

/// An IPv6 customer has a /64 at least, so that its single addresses say nothing.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[derive(Debug)]
struct Buckets<K> {
    rate: Rate,
    inner: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    own: HashMap<K, Bucket>,
    shared: Option<Bucket>,
    swept: Option<Instant>,
}

/// Tokens at an instant.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl<K: Eq + Hash> Buckets<K> {
    fn new(rate: Rate) -> Self {
        Self { rate, inner: Mutex::new(Inner { own: HashMap::new(), shared: None, swept: None }) }
    }

    fn take(&self, key: K, now: Instant) -> Result<(), Exceeded> {
        if self.rate.per_second == 0 {
            return Ok(());
        }
        // Counters stay usable whatever panicked.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = inner.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP);
        if rested && inner.own.len() >= MAX_BUCKETS && !inner.own.contains_key(&key) {
            inner.swept = Some(now);
            // A full bucket is the same as none.
            inner.own.retain(|_, bucket| bucket.filled(self.rate, now) < f64::from(self.rate.burst));
        }
        let full = Bucket { tokens: f64::from(self.rate.burst), at: now };
        let Inner { own, shared, .. } = &mut *inner;
        let bucket = if own.contains_key(&key) || own.len() < MAX_BUCKETS {
            own.entry(key).or_insert(full)
        } else {
            shared.get_or_insert(full)
        };
        bucket.take(self.rate, now)
    }
}

impl Bucket {
    /// Tokens that it holds by `now`.
    fn filled(&self, rate: Rate, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(rate.per_second);
        (self.tokens + gained).min(f64::from(rate.burst))
    }

    fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Exceeded> {
        *self = Self { tokens: self.filled(rate, now), at: now };
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - self.tokens) / f64::from(rate.per_second));
        Err(Exceeded { rate, wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2, burst: 3 };

    #[test]
    fn a_burst_and_then_the_rate() {
        let buckets = Buckets::new(RATE);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(buckets.take("a", start), Ok(()));
        }
        let wait = Duration::from_millis(500);
        assert_eq!(buckets.take("a", start), Err(Exceeded { rate: RATE, wait }));
        assert_eq!(buckets.take("b", start), Ok(()), "another's requests do not count");
        assert_eq!(buckets.take("a", start + wait), Ok(()));
        assert!(buckets.take("a", start + wait).is_err());
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..10).filter(|_| buckets.take("a", later).is_ok()).count(), 3, "no more than a burst is saved up");
    }

    #[test]
    fn zero_is_no_limit() {
        let buckets = Buckets::new(Rate { per_second: 0, burst: 0 });
        let now = Instant::now();
        assert!((0..1000).all(|_| buckets.take("a", now).is_ok()));
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory_and_shares_one_bucket() {
        let buckets = Buckets::new(RATE);
        let now = Instant::now();
        let taken = (0..MAX_BUCKETS + 100).filter(|number| buckets.take(*number, now).is_ok()).count();
        assert_eq!(taken, MAX_BUCKETS + 3);
        assert_eq!(buckets.inner.lock().expect("no panic").own.len(), MAX_BUCKETS);
        // Whoever was there before is not concerned, and what has refilled makes room, but not for each newcomer anew.
        assert_eq!(buckets.take(0, now), Ok(()));
        let soon = now + SWEEP - Duration::from_millis(1);
        assert_eq!(buckets.take(usize::MAX - 1, soon), Ok(()), "the shared one has refilled");
        assert_eq!(buckets.inner.lock().expect("no panic").own.len(), MAX_BUCKETS, "it was looked at moments ago");
        let later = now + Duration::from_secs(60);
        assert_eq!(buckets.take(usize::MAX, later), Ok(()));
        assert_eq!(buckets.inner.lock().expect("no panic").own.len(), 1);
    }

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let net = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(net("2001:db8::1"), net("2001:db8::ffff:0:0:1"));
        assert_ne!(net("2001:db8::1"), net("2001:db8:0:1::1"));
        assert_eq!(net("::ffff:192.0.2.1"), net("192.0.2.1"));
        assert_ne!(net("192.0.2.1"), net("192.0.2.2"));
    }
}
