//! Every target over its corpus, what once failed included, and over copies of it that are changed in the same way at every run.

use std::collections::BTreeSet;
use std::path::Path;

use causeway_fuzz::TARGETS;

/// Changed copies of each entry.
const COPIES: u64 = 20;

/// xorshift64: the same octets at every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides.max(1)).expect("small")).expect("small")
    }
}

fn changed(octets: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut octets = octets.to_vec();
    for _ in 0..=dice.throw(8) {
        let at = dice.throw(octets.len());
        let value = u8::try_from(dice.throw(256)).expect("an octet");
        match dice.throw(4) {
            0 => octets.truncate(at),
            1 => octets.insert(at, value),
            _ if octets.is_empty() => octets.push(value),
            2 => octets[at] ^= 1 << (value % 8),
            _ => octets[at] = value,
        }
    }
    octets
}

#[test]
fn no_entry_and_no_changed_copy_of_one_finds_anything() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let names = |path: &Path| -> BTreeSet<String> {
        let entries = std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        entries.map(|name| name.into_string().expect("text")).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&corpus), targets, "one folder for each target");
    for (name, target) in TARGETS {
        let folder = corpus.join(name);
        let entries = names(&folder);
        assert!(entries.len() >= 3, "{name} has no corpus");
        for (number, entry) in entries.iter().enumerate() {
            let octets = std::fs::read(folder.join(entry)).expect("an entry");
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ number as u64);
            let copies = (0..COPIES).map(|_| changed(&octets, &mut dice)).collect::<Vec<_>>();
            for octets in std::iter::once(&octets).chain(&copies) {
                let failed = std::panic::catch_unwind(|| target(octets)).is_err();
                assert!(!failed, "{name}, {entry}: {octets:02x?}");
            }
        }
    }
}
