//! Random bytes as an argument, so that a protocol machine is a pure function and a simulation repeats from its seed.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// A source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills all of `out`.
    fn fill(&mut self, out: &mut [u8]);

    /// A uniformly distributed number.
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

/// The operating system's generator: the only source for production.
#[derive(Debug, Default)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    /// A handle; the generator itself is the process's.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        // Without randomness no key is worth its name, and there is nothing to fall back to: stopping is the only safe answer.
        self.0.fill(out).expect("the operating system gives random bytes");
    }
}

/// A small deterministic generator (SplitMix64) for simulations and tests. **Never in production**: whoever sees a few octets knows
/// all that follow.
#[derive(Clone, Debug)]
pub struct SeededEntropy(u64);

impl SeededEntropy {
    /// The sequence that `seed` stands for.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.0;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            chunk.copy_from_slice(&word.to_be_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let draw = |seed| {
            let mut out = [0; 19];
            SeededEntropy::new(seed).fill(&mut out);
            out
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn splitmix64_gives_its_published_sequence() {
        // The reference implementation's output for the seed 1234567.
        let mut source = SeededEntropy::new(1_234_567);
        assert_eq!(
            [source.next_u64(), source.next_u64(), source.next_u64()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn the_system_does_not_repeat() {
        let mut source = SystemEntropy::new();
        let (mut a, mut b) = ([0; 32], [0; 32]);
        source.fill(&mut a);
        source.fill(&mut b);
        assert_ne!(a, b);
    }
}
