//! IKE SAs that strongSwan made with itself, in all fifteen suites and seven groups, with the keys that it logged: our key derivation
//! gives the same keys, and they open and seal its messages.

mod common;

use std::collections::{BTreeMap, HashSet};

use causeway_crypto::{Opener, Prf, Sealer, Suite, constant_time_eq, sha1};
use causeway_model::suite::{DhGroup, Encryption, Integrity};
use common::{every_suite, hex};

const RECORDS: &str = include_str!("data/strongswan.txt");

/// The IKE header and the header of the encrypted payload.
const AAD_LEN: usize = 28 + 4;

struct Record(BTreeMap<&'static str, &'static str>);

impl Record {
    fn all() -> Vec<Self> {
        let text = |block: &'static str| block.lines().filter(|line| !line.starts_with('#'));
        RECORDS
            .split("\n\n")
            .map(|block| Self(text(block).filter_map(|line| line.split_once(' ')).collect()))
            .filter(|record| !record.0.is_empty())
            .collect()
    }

    fn word<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.0[name].parse().ok()
    }

    /// The octets of a value; none for `-`.
    fn octets(&self, name: &str) -> Vec<u8> {
        match self.0[name] {
            "-" => Vec::new(),
            text => hex(text),
        }
    }

    fn suite(&self) -> Suite {
        Suite::new(self.word::<Encryption>("encryption").expect("a cipher"), self.word::<Integrity>("integrity"))
    }

    fn prf(&self) -> Prf {
        Prf::new(self.word("prf").expect("a hash"))
    }
}

#[test]
fn every_suite_and_group_is_there() {
    let records = Record::all();
    let suites: HashSet<_> = records.iter().map(Record::suite).collect();
    assert_eq!(suites, every_suite().into_iter().collect());
    for group in DhGroup::ALL {
        assert!(records.iter().any(|record| record.word("group") == Some(*group)), "{group}");
    }
}

/// RFC 7296 §2.14.
#[test]
fn the_keys_are_the_same() {
    for record in Record::all() {
        let (suite, prf) = (record.suite(), record.prf());
        let (ni, nr) = (record.octets("ni"), record.octets("nr"));
        let request = record.octets("sa_init_response");
        let skeyseed = prf.compute(&[ni.as_slice(), &nr].concat(), &[&record.octets("g_ir")]);
        assert_eq!(skeyseed.slice(), record.octets("skeyseed"), "{suite:?}");

        let lengths = [
            ("sk_d", prf.key_len()),
            ("sk_ai", suite.integrity_key_len()),
            ("sk_ar", suite.integrity_key_len()),
            ("sk_ei", suite.encryption_key_len()),
            ("sk_er", suite.encryption_key_len()),
            ("sk_pi", prf.key_len()),
            ("sk_pr", prf.key_len()),
        ];
        // The first 16 octets of a message are both SPIs.
        let seed = [ni.as_slice(), &nr, &request[..16]];
        let keys = prf.plus(skeyseed.slice(), &seed, lengths.iter().map(|(_, len)| len).sum());
        let mut rest = keys.slice();
        for (name, len) in lengths {
            let (key, tail) = rest.split_at(len);
            assert_eq!(key, record.octets(name), "{name}, {suite:?}");
            rest = tail;
        }
    }
}

/// Opens the encrypted payload of a whole message and returns the plaintext with its padding.
fn open(suite: Suite, key: &[u8], integrity_key: &[u8], message: &[u8]) -> Vec<u8> {
    let (aad, rest) = message.split_at(AAD_LEN);
    assert_eq!(aad[16], 46, "the only payload is the encrypted one");
    let (iv, rest) = rest.split_at(suite.iv_len());
    let (text, icv) = rest.split_at(rest.len() - suite.icv_len());
    let mut text = text.to_vec();
    let opener = Opener::new(suite, key, integrity_key).expect("an opener");
    opener.open_in_place(aad, iv, &mut text, icv).expect("strongSwan's message opens");

    let sealer = Sealer::new(suite, key, integrity_key).expect("a sealer");
    let mut sealed = vec![0; text.len() + icv.len()];
    sealer.seal_into(aad, iv, &text, &[], &mut sealed).expect("seals");
    assert_eq!(sealed, rest, "sealing gives strongSwan's message again");
    text
}

/// RFC 7296 §2.15: the pre-shared key's AUTH payload, which ends both IKE_AUTH messages' first payloads.
#[test]
fn its_messages_open_and_prove_the_pre_shared_key() {
    for record in Record::all() {
        let (suite, prf) = (record.suite(), record.prf());
        for (message, first, key, integrity_key, sk_p, signed, nonce) in [
            ("auth_request", 35_u8, "sk_ei", "sk_ai", "sk_pi", "sa_init_request", "nr"),
            ("auth_response", 36, "sk_er", "sk_ar", "sk_pr", "sa_init_response", "ni"),
        ] {
            let message = record.octets(message);
            let text = open(suite, &record.octets(key), &record.octets(integrity_key), &message);
            let padding = usize::from(*text.last().expect("octets"));
            let payloads = &text[..text.len() - 1 - padding];

            let mut next = message[28];
            let mut rest = payloads;
            let mut found = BTreeMap::new();
            while next != 0 {
                let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
                found.insert(next, &rest[4..len]);
                next = rest[0];
                rest = &rest[len..];
            }
            assert!(rest.is_empty(), "the payloads fill the plaintext, {suite:?}");

            let identity = found[&first];
            let shared = prf.compute(b"psk-0123456789", &[b"Key Pad for IKEv2"]);
            let identity_mac = prf.compute(&record.octets(sk_p), &[identity]);
            let signed = record.octets(signed);
            let auth = prf.compute(shared.slice(), &[&signed, &record.octets(nonce), identity_mac.slice()]);
            // Method 2 and three reserved octets come before it.
            assert_eq!(found[&39][..4], [2, 0, 0, 0]);
            assert!(constant_time_eq(&found[&39][4..], auth.slice()), "{suite:?}");
        }
    }
}

/// RFC 7296 §2.23: the hash of the destination, 192.0.2.2 port 500. (kernel-libipsec falsifies the source's on purpose: it gets UDP
/// encapsulation that way.)
#[test]
fn the_nat_detection_hash_is_the_same() {
    for record in Record::all() {
        let message = record.octets("sa_init_request");
        let expected = sha1(&[&message[..16], &[192, 0, 2, 2], &500_u16.to_be_bytes()]);
        assert!(message.windows(20).any(|window| window == expected));
    }
}
