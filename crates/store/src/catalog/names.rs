//! The names of a kind's objects, one behind the other, so that a search goes through memory in a row instead of from name to name.

use memchr::memmem::Finder;

/// Names of a block. To change a name is to move those behind it in its block.
const BLOCK: usize = 256;

/// Ends each name. It is in no UTF-8, so that nothing is found across two names.
const END: u8 = 0xff;

/// The names, by slot.
#[derive(Debug, Default)]
pub(super) struct Names {
    blocks: Vec<Block>,
}

#[derive(Debug, Default)]
struct Block {
    /// Folded names, each with [`END`].
    octets: Vec<u8>,
    /// Where each ends in `octets`, behind its [`END`].
    ends: Vec<usize>,
    /// Where in each the name to sort by begins.
    sort_from: Vec<usize>,
}

impl Block {
    /// Where a name begins and ends, without its [`END`].
    fn range(&self, at: usize) -> (usize, usize) {
        let from = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        (from, self.ends.get(at).map_or(from, |end| end - 1))
    }
}

impl Names {
    /// Another slot, whose name is empty.
    pub(super) fn grow(&mut self) {
        let full = |block: &Block| block.ends.len() == BLOCK;
        if self.blocks.last().is_none_or(full) {
            self.blocks.push(Block::default());
        }
        if let Some(block) = self.blocks.last_mut() {
            block.octets.push(END);
            block.ends.push(block.octets.len());
            block.sort_from.push(0);
        }
    }

    /// Gives a slot a name; lists sort it by what is behind its first `sort_from` octets.
    pub(super) fn set(&mut self, slot: usize, folded: &str, sort_from: usize) {
        let (Some(block), at) = (self.blocks.get_mut(slot / BLOCK), slot % BLOCK) else { return };
        let (from, to) = block.range(at);
        block.octets.splice(from..to, folded.bytes());
        for end in block.ends.iter_mut().skip(at) {
            *end = *end - (to - from) + folded.len();
        }
        if let Some(known) = block.sort_from.get_mut(at) {
            *known = sort_from;
        }
    }

    /// What a slot is sorted by: the first octets, which decide most comparisons, and the whole.
    pub(super) fn order(&self, slot: usize) -> (u64, &[u8]) {
        let name = self.blocks.get(slot / BLOCK).and_then(|block| {
            let (from, to) = block.range(slot % BLOCK);
            let sort_from = block.sort_from.get(slot % BLOCK)?;
            block.octets.get(from + sort_from..to)
        });
        let name = name.unwrap_or_default();
        let mut first = [0; 8];
        for (to, from) in first.iter_mut().zip(name) {
            *to = *from;
        }
        (u64::from_be_bytes(first), name)
    }

    /// The slots whose names contain `part`, which is folded and not empty, in order.
    pub(super) fn containing(&self, part: &str) -> Vec<usize> {
        let (finder, mut found) = (Finder::new(part), Vec::new());
        for (number, block) in self.blocks.iter().enumerate() {
            let (mut slot, mut from) = (0, 0);
            while let Some(at) = block.octets.get(from..).and_then(|rest| finder.find(rest)) {
                // Matches come in order, mostly in the next name or one near it.
                slot += block.ends.iter().skip(slot).take_while(|end| **end <= from + at).count();
                found.push(number * BLOCK + slot);
                from = block.ends.get(slot).copied().unwrap_or(block.octets.len());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_their_slots_and_never_across_two() {
        let mut names = Names::default();
        for _ in 0..600 {
            names.grow();
        }
        assert!(names.containing("a").is_empty());
        for (slot, name) in [(0, "lyon"), (1, "onlyon"), (255, "lyo"), (256, "n lyon lyon"), (599, "-lyonesse")] {
            names.set(slot, name, 0);
        }
        names.set(599, "-lyonesse", 1);
        assert_eq!(names.containing("lyon"), [0, 1, 256, 599]);
        assert!(names.containing("lyonon").is_empty(), "it is in two names together");
        assert_eq!(names.containing("lyo"), [0, 1, 255, 256, 599]);
        assert_eq!(names.order(599).1, b"lyonesse");
        assert!(names.order(0) < names.order(599) && names.order(598) < names.order(0));
        names.set(0, "", 0);
        names.set(1, "a longer name, of Lyon", 0);
        names.set(300, "lyon", 0);
        assert_eq!(names.containing("lyon"), [256, 300, 599]);
        assert_eq!(names.order(1).1, b"a longer name, of Lyon");
        assert_eq!(names.order(255).1, b"lyo");
    }

    /// Over many changes the blocks say what a plain list of names says.
    #[test]
    fn any_changes_leave_what_a_plain_list_has() {
        let (mut names, mut plain) = (Names::default(), Vec::new());
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).expect("small") % below
        };
        for _ in 0..700 {
            names.grow();
            plain.push(String::new());
        }
        for _ in 0..5000 {
            let (slot, length) = (random(plain.len()), random(12));
            let name: String = (0..length).map(|_| ['a', 'b', 'é', ' '][random(4)]).collect();
            names.set(slot, &name, 0);
            plain[slot] = name;
        }
        for part in ["a", "é", "ab", "é a", "bb b", "aaaa"] {
            let expected: Vec<usize> = (0..plain.len()).filter(|slot| plain[*slot].contains(part)).collect();
            assert!(!expected.is_empty(), "{part} is somewhere");
            assert_eq!(names.containing(part), expected, "{part}");
        }
        for (slot, name) in plain.iter().enumerate() {
            assert_eq!(names.order(slot).1, name.as_bytes());
        }
    }
}
