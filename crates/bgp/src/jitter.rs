//! Waits that are not all the same (RFC 4271 §10).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::types::SessionConfig;

/// Numbers for one session. They need not be a secret, only others than those of other sessions: they follow from its addresses.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(config: &SessionConfig) -> Self {
        let mut hasher = DefaultHasher::new();
        (config.local, config.peer, config.router_id).hash(&mut hasher);
        Self(hasher.finish())
    }

    /// Three quarters of `wait` to all of it.
    pub(crate) fn of(&mut self, wait: Duration) -> Duration {
        // SplitMix64, Steele et al. 2014.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [share, ..] = (mixed ^ (mixed >> 31)).to_be_bytes();
        wait - wait / 4 * u32::from(share) / u32::from(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr};

    use causeway_model::Family;

    use super::*;

    fn waits(peer: u8) -> Vec<Duration> {
        let config = SessionConfig {
            family: Family::Ipv4,
            local_asn: 64512,
            peer_asn: 65001,
            router_id: Ipv4Addr::new(192, 0, 2, 1),
            local: IpAddr::from([169, 254, 100, peer - 1]),
            peer: IpAddr::from([169, 254, 100, peer]),
            hold_time: 60,
            send_hold: 480,
            max_prefixes: 10,
        };
        let mut jitter = Jitter::new(&config);
        (0..200).map(|_| jitter.of(Duration::from_secs(20))).collect()
    }

    #[test]
    fn waits_spread_over_the_last_quarter_and_sessions_differ() {
        let ours = waits(2);
        let range = Duration::from_secs(15)..=Duration::from_secs(20);
        assert!(ours.iter().all(|wait| range.contains(wait)), "{ours:?}");
        let fifths: BTreeSet<u64> = ours.iter().map(|wait| wait.as_secs()).collect();
        assert!(fifths.is_superset(&BTreeSet::from([15, 16, 17, 18, 19])), "{fifths:?}");
        assert!(ours.iter().zip(waits(6)).filter(|(ours, theirs)| *ours == theirs).count() < 20);
    }
}
