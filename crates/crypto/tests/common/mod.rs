//! What several test files need.

use causeway_crypto::Suite;
use causeway_model::suite::{Encryption, Integrity};

/// The octets of a hexadecimal text; white space is skipped.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    assert!(digits.len().is_multiple_of(2), "an even number of digits");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal")).collect()
}

/// Every cipher with every integrity that it needs: 15.
pub(crate) fn every_suite() -> Vec<Suite> {
    let mut suites = Vec::new();
    for encryption in Encryption::ALL {
        if encryption.is_aead() {
            suites.push(Suite::new(*encryption, None));
        } else {
            suites.extend(Integrity::ALL.iter().map(|integrity| Suite::new(*encryption, Some(*integrity))));
        }
    }
    suites
}
