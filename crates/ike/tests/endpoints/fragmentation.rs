//! IKE_AUTH and later messages that do not fit one packet (RFC 7383).

use std::net::SocketAddr;
use std::time::Duration;

use causeway_ike::PeerConfig;
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};

use crate::world::{World, calm, config, rough};

/// The type of a message's first payload that makes it a fragment.
const SKF: u8 = 53;
/// What is left for IKE of the 1280 octets that any path carries.
const LIMIT: usize = 1228;

/// Every AES-CBC suite with every group: some four kilobytes of proposals.
fn many() -> Vec<Cipher> {
    let cipher =
        |encryption, integrity, group| Cipher { encryption, integrity: Some(integrity), dh_group: Some(group) };
    let suites = [Encryption::Aes128, Encryption::Aes192, Encryption::Aes256];
    let suites = suites.iter().flat_map(|suite| Integrity::ALL.iter().map(|hash| (*suite, *hash)));
    suites.flat_map(|(suite, hash)| DhGroup::ALL.iter().rev().map(move |group| cipher(suite, hash, *group))).collect()
}

fn verbose() -> [PeerConfig; 2] {
    [0, 1].map(|end| PeerConfig { esp_proposals: many(), ..config(end) })
}

fn is_fragment(sent: &(SocketAddr, SocketAddr, Vec<u8>)) -> bool {
    sent.2.get(16) == Some(&SKF)
}

#[test]
fn a_long_message_travels_in_pieces_and_a_short_one_does_not() {
    let mut world = World::new(1, calm(), verbose());
    world.overheard = Some(Vec::new());
    world.start(0);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    let now = world.now();
    let child = world.ends[0].sending.expect("up");
    world.ends[0].endpoint.handle_packets_sent(now, child, u64::MAX);
    world.run(Duration::from_secs(1));
    assert!(world.settled());
    let sent = world.overheard.take().unwrap_or_default();
    let fragments = |exchange: u8| sent.iter().filter(|sent| is_fragment(sent) && sent.2[18] == exchange).count();
    assert!(fragments(35) >= 3 && fragments(36) >= 3, "IKE_AUTH {}, CREATE_CHILD_SA {}", fragments(35), fragments(36));
    assert!(sent.iter().filter(|sent| sent.2[18] != 34).all(|sent| sent.2.len() <= LIMIT));
    // The answers are short.
    assert!(sent.iter().filter(|sent| sent.0.ip() == config(1).local).all(|sent| !is_fragment(sent)));
    for end in &world.ends {
        assert!(!end.endpoint.drops().contains_key("not_authentic"));
    }
}

#[test]
fn pieces_that_are_lost_doubled_and_out_of_order_are_put_together() {
    for seed in 0..20 {
        let mut both = verbose();
        both.iter_mut().for_each(|config| config.timers.child_lifetime = 60);
        let mut world = World::new(seed, rough(), both);
        world.start(0);
        assert!(world.run_until(Duration::from_secs(120), World::settled), "seed {seed}");
        world.run(Duration::from_secs(600));
        assert!(world.run_until(Duration::from_secs(120), World::settled), "seed {seed}");
        assert!(world.ends[0].children.values().next().is_some_and(|child| child.rekeys > 2), "seed {seed}");
    }
}

#[test]
fn a_peer_that_announces_nothing_gets_whole_messages() {
    let mut world = World::new(1, calm(), verbose());
    world.overheard = Some(Vec::new());
    world.start(0);
    let (from, to, mut request) = world.overheard.clone().expect("listening")[0].clone();
    // The last payload of IKE_SA_INIT is the announcement; as another status type it means nothing.
    let announcement = request.len() - 2;
    assert_eq!(request[announcement..], 16430u16.to_be_bytes());
    request[announcement..].copy_from_slice(&40_000u16.to_be_bytes());
    let now = world.now();
    world.ends[1].endpoint.handle_datagram(now, to, from, &request);
    let answer = world.ends[1].endpoint.poll_transmit().expect("an answer").payload;
    assert!(!answer.windows(2).any(|pair| pair == 16430u16.to_be_bytes()));
    // Answered with that, end 0 does not cut IKE_AUTH into pieces.
    world.overheard = Some(Vec::new());
    world.ends[0].endpoint.handle_datagram(now, from, to, &answer);
    let request = world.ends[0].endpoint.poll_transmit().expect("IKE_AUTH").payload;
    assert!(request.len() > LIMIT && request[16] != SKF);
}
