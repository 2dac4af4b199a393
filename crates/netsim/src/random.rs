//! The one source of chance.

use std::time::Duration;

/// A small deterministic generator (SplitMix64). For simulations only.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that `seed` stands for.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, uniform.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 128-bit product: without the bias of a remainder that would matter here.
        ((self.next_u64() as u128 * bound as u128) >> 64) as u64
    }

    /// Whether something of `probability` (0 to 1) happens. Draws even for 0 and 1, so that changing a probability leaves the rest of
    /// the sequence alone.
    pub fn happens(&mut self, probability: f64) -> bool {
        // 53 bits: what a double holds exactly.
        ((self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64) < probability
    }

    /// A time from zero up to `most`.
    pub fn duration_up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos.saturating_add(1)))
    }

    /// An independent generator, for a machine's own entropy.
    #[must_use]
    pub const fn fork(&mut self) -> Self {
        Self(self.next_u64())
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = self.next_u64().to_be_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_about_right() {
        let mut random = Random::new(1);
        let hits = (0..10_000).filter(|_| random.happens(0.2)).count();
        assert!((1_800..2_200).contains(&hits), "{hits}");
        assert!(!(0..1_000).any(|_| random.happens(0.0)));
        assert!((0..1_000).all(|_| random.happens(1.0)));
    }

    #[test]
    fn bounds_hold() {
        let mut random = Random::new(2);
        assert_eq!(random.below(0), 0);
        let drawn: Vec<u64> = (0..1_000).map(|_| random.below(7)).collect();
        assert!((0..7).all(|number| drawn.contains(&number)) && drawn.iter().all(|number| *number < 7));
        assert!((0..1_000).all(|_| random.duration_up_to(Duration::from_millis(3)) <= Duration::from_millis(3)));
        assert_ne!(random.fork().next_u64(), random.fork().next_u64());
    }
}
