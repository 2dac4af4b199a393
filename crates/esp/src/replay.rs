//! The replay window (RFC 4303 §3.4.3) in the form of RFC 6479: a ring of words, so that moving on never shifts anything.

/// Packets that the window reaches back, the newest included. Reordering across receive queues and paths stays well below.
pub const WINDOW: u32 = 1024;

/// Twice the window: the words between the window's end and the newest packet's word are never both wanted.
const WORDS: usize = 32;
const _: () = assert!(WORDS.is_power_of_two() && WINDOW as usize <= (WORDS - 1) * 64);

/// What the window says of a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not seen yet.
    Fresh,
    /// Seen.
    Replayed,
    /// Older than the window reaches; or 0, which no packet has.
    Stale,
}

/// The newest sequence number and which of those before it were seen.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    newest: u32,
    seen: [u64; WORDS],
}

impl Window {
    pub(crate) const fn new() -> Self {
        Self { newest: 0, seen: [0; WORDS] }
    }

    pub(crate) const fn newest(&self) -> u32 {
        self.newest
    }

    pub(crate) const fn check(&self, sequence: u32) -> Verdict {
        if sequence == 0 || self.newest.saturating_sub(sequence) >= WINDOW {
            return Verdict::Stale;
        }
        let (word, bit) = place(sequence);
        if sequence <= self.newest && self.seen[word] & bit != 0 { Verdict::Replayed } else { Verdict::Fresh }
    }

    /// Checks and, if fresh, marks: for a packet that is authentic.
    pub(crate) fn accept(&mut self, sequence: u32) -> Verdict {
        let verdict = self.check(sequence);
        if verdict == Verdict::Fresh {
            if sequence > self.newest {
                // The words between hold numbers of one turn of the ring earlier.
                let (from, to) = (self.newest / 64, sequence / 64);
                for word in 0..(to - from).min(WORDS as u32) {
                    self.seen[(from + 1 + word) as usize % WORDS] = 0;
                }
                self.newest = sequence;
            }
            let (word, bit) = place(sequence);
            self.seen[word] |= bit;
        }
        verdict
    }
}

const fn place(sequence: u32) -> (usize, u64) {
    ((sequence / 64) as usize % WORDS, 1 << (sequence % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// The definition, without cleverness.
    #[derive(Default)]
    struct Naive {
        newest: u32,
        seen: HashSet<u32>,
    }

    impl Naive {
        fn accept(&mut self, sequence: u32) -> Verdict {
            if sequence == 0 || i64::from(sequence) <= i64::from(self.newest) - i64::from(WINDOW) {
                return Verdict::Stale;
            }
            if !self.seen.insert(sequence) {
                return Verdict::Replayed;
            }
            self.newest = self.newest.max(sequence);
            Verdict::Fresh
        }
    }

    /// Numbers that wander: near the last one, far ahead, far back, and the ends of the range.
    fn numbers() -> impl Strategy<Value = Vec<u32>> {
        let step = prop_oneof![
            8 => -70_i64..70,
            4 => -1_030_i64..1_030,
            2 => -5_000_i64..5_000,
            1 => Just(i64::from(u32::MAX)),
            1 => 0_i64..1 << 31,
        ];
        (
            prop_oneof![Just(0_i64), Just(i64::from(u32::MAX) - 3_000), 0_i64..10_000],
            prop::collection::vec(step, 1..400),
        )
            .prop_map(|(mut at, steps)| {
                steps
                    .into_iter()
                    .map(|step| {
                        at = (at + step).clamp(0, i64::from(u32::MAX));
                        at as u32
                    })
                    .collect()
            })
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(numbers in numbers()) {
            let (mut window, mut naive) = (Window::new(), Naive::default());
            for number in numbers {
                let checked = window.check(number);
                let expected = naive.accept(number);
                prop_assert_eq!(checked, expected, "checking {}", number);
                prop_assert_eq!(window.accept(number), expected, "accepting {}", number);
                prop_assert_eq!(window.newest(), naive.newest);
            }
        }
    }

    #[test]
    fn edges() {
        let mut window = Window::new();
        assert_eq!(window.accept(0), Verdict::Stale);
        assert_eq!(window.accept(1), Verdict::Fresh);
        assert_eq!(window.accept(1), Verdict::Replayed);
        assert_eq!(window.accept(1 + WINDOW), Verdict::Fresh);
        assert_eq!(window.accept(1), Verdict::Stale);
        assert_eq!(window.accept(2), Verdict::Fresh);
        assert_eq!(window.accept(u32::MAX), Verdict::Fresh);
        assert_eq!(window.accept(u32::MAX), Verdict::Replayed);
        assert_eq!(window.accept(u32::MAX - WINDOW + 1), Verdict::Fresh);
        assert_eq!(window.accept(u32::MAX - WINDOW), Verdict::Stale);
    }
}
