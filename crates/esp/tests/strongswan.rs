//! Child SAs that strongSwan made with itself, in all fifteen suites, with the keys that it logged: the key material gives the same
//! keys, and they open its packets.

use std::collections::{BTreeMap, HashSet};

use causeway_crypto::{Prf, Secret};
use causeway_esp::{EspKeys, EspSuite, InboundSa, NEXT_HEADER_IPV4, OutboundSa};
use causeway_model::suite::{Encryption, Integrity};

const RECORDS: &str = include_str!("data/strongswan.txt");

type Record = BTreeMap<&'static str, &'static str>;

fn records() -> Vec<Record> {
    let lines = |block: &'static str| block.lines().filter(|line| !line.starts_with('#'));
    RECORDS
        .split("\n\n")
        .map(|block| lines(block).filter_map(|line| line.split_once(' ')).collect::<Record>())
        .filter(|record| !record.is_empty())
        .collect()
}

/// The octets of a value; none for `-`.
fn octets(record: &Record, name: &str) -> Vec<u8> {
    let text = record[name].strip_prefix('-').unwrap_or(record[name]);
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn suite(record: &Record) -> EspSuite {
    EspSuite::new(
        record["encryption"].parse::<Encryption>().expect("a cipher"),
        record["integrity"].parse::<Integrity>().ok(),
    )
}

#[test]
fn every_suite_is_there() {
    let suites: HashSet<EspSuite> = records().iter().map(suite).collect();
    assert_eq!(suites.len(), 15);
}

#[test]
fn the_keys_are_the_same_and_open_its_packets() {
    for (number, record) in records().iter().enumerate() {
        let suite = suite(record);
        let prf = Prf::new(record["prf"].parse().expect("a hash"));
        let seed = [octets(record, "ni"), octets(record, "nr")].concat();
        let keymat = prf.plus(&octets(record, "sk_d"), &[&seed], suite.keymat_len());
        let (from_initiator, from_responder) = EspKeys::split(suite, keymat.slice()).expect("keys");
        let logged = |encryption: &str, integrity: &str| {
            EspKeys::new(Secret::new(octets(record, encryption)), Secret::new(octets(record, integrity)))
        };
        assert_eq!(from_initiator, logged("ei", "ai"), "{suite:?}");
        assert_eq!(from_responder, logged("er", "ar"), "{suite:?}");

        // An echo request (8) and its reply (0) between 169.254.100.1 and .2.
        for (packet, keys, ends, kind) in
            [("from_initiator", from_initiator, [1, 2], 8), ("from_responder", from_responder, [2, 1], 0)]
        {
            let mut packet = octets(record, packet);
            let spi = InboundSa::spi_of(&packet).expect("an SPI");
            let len = packet.len();
            let sa = InboundSa::new(spi, suite, &keys).expect("an SA");
            let opened = sa.open(&mut packet).expect("strongSwan's packet opens");
            assert_eq!(opened.next_header, NEXT_HEADER_IPV4, "{suite:?}");
            let inner = opened.inner;
            assert_eq!(inner.len(), 20 + 8 + 20 + number, "{suite:?}");
            assert_eq!((inner[9], inner[20]), (1, kind), "ICMP, {suite:?}");
            assert_eq!(
                (&inner[12..16], &inner[16..20]),
                (&[169, 254, 100, ends[0]][..], &[169, 254, 100, ends[1]][..])
            );
            assert_eq!(sa.newest_sequence(), 1);

            // We would have sent as many octets.
            let mut ours = vec![0; len];
            let sealed = OutboundSa::new(spi, suite, &keys).expect("an SA").seal(inner, &mut ours);
            assert_eq!(sealed, Ok(len), "{suite:?}");
        }
    }
}
