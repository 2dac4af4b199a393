//! What an endpoint does when peers restart, keys change, configurations differ and strangers interfere.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_crypto::{Entropy, SeededEntropy};
use causeway_ike::{Event, Identity, PeerConfig, PeerKey};
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};
use causeway_model::{ConnectionId, Family, Fault, Psk, ReasonCode};
use causeway_netsim::Conditions;

use crate::world::{Packet, World, address, calm, config, key, rough};

fn pair(change: impl FnOnce(&mut [PeerConfig; 2])) -> World {
    let mut both = [config(0), config(1)];
    change(&mut both);
    World::new(1, calm(), both)
}

fn codes(faults: &[Fault]) -> Vec<ReasonCode> {
    faults.iter().map(|fault| fault.code).collect()
}

fn values(fault: &Fault) -> (Option<&str>, Option<&str>) {
    (fault.ours.as_deref(), fault.theirs.as_deref())
}

fn psk(text: &str) -> Psk {
    Psk::new(text.as_bytes().to_vec())
}

#[test]
fn four_messages_make_a_tunnel() {
    let mut world = pair(|_| {});
    world.start(0);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    assert_eq!(world.elapsed(), Duration::from_millis(80));
    let established = |event: &Event| matches!(event, Event::IkeEstablished { info, .. } if info.suite == "aes256gcm-prfsha384-curve25519");
    assert!(world.ends.iter().all(|end| end.count(established) == 1));
    assert!(
        world.ends.iter().all(|end| end
            .children
            .values()
            .all(|child| child.remote.port() == 4500 && child.suite_text == "aes256gcm"))
    );
}

#[test]
fn it_works_over_ipv6() {
    let outside = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse().expect("address"));
    let mut world = pair(|both| {
        for (end, config) in both.iter_mut().enumerate() {
            config.local = outside[end];
            config.remote = outside[1 - end];
            config.local_identity = Identity::Address(outside[end]);
            config.remote_identity = Identity::Address(outside[1 - end]);
        }
    });
    world.start(0);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    assert!(world.ends[0].children.values().all(|child| child.remote == SocketAddr::new(outside[1], 4500)));
}

#[test]
fn it_works_with_every_kind_of_identity() {
    let identities = ["site.example", "ops@site.example", "keyid:0x00ff", "2001:db8::7"];
    for text in identities {
        let identity: Identity = text.parse().expect(text);
        let mut world = pair(|both| {
            both[0].local_identity = identity.clone();
            both[1].remote_identity = identity;
        });
        world.start(0);
        assert!(world.run_until(Duration::from_secs(1), World::settled), "{text}");
    }
}

#[test]
fn a_crashed_peer_that_begins_anew_replaces_the_old_sa_without_an_outage() {
    for seed in 0..10 {
        let mut world = World::new(seed, if seed % 2 == 0 { calm() } else { rough() }, [config(0), config(1)]);
        world.start(0);
        assert!(world.run_until(Duration::from_secs(60), World::settled));
        world.crash(1);
        world.start(1);
        let before = world.ends[0].downs().len();
        assert!(world.run_until(Duration::from_secs(60), |world| world.up() && world.common() > 0), "seed {seed}");
        assert!(world.run_until(Duration::from_secs(60), World::settled), "seed {seed}");
        if seed % 2 == 0 {
            assert_eq!(world.ends[0].downs().len(), before, "seed {seed}");
        }
    }
}

#[test]
fn a_crashed_peer_that_stays_silent_is_noticed_in_time_and_tried_again() {
    let mut world = pair(|_| {});
    world.start(0);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    world.run(Duration::from_secs(20));
    world.ends[1].powered = false;
    let off = world.elapsed();
    assert!(world.run_until(Duration::from_secs(30), |world| !world.ends[0].downs().is_empty()));
    let noticed = world.elapsed() - off;
    assert!(noticed > Duration::from_secs(14) && noticed < Duration::from_secs(16), "{noticed:?}");
    assert_eq!(codes(&world.ends[0].downs()), [ReasonCode::DpdTimeout]);
    world.run(Duration::from_secs(600));
    let failures = world.ends[0].failures();
    assert!(failures.len() >= 12, "it tries for ever: {}", failures.len());
    assert!(failures.iter().all(|fault| fault.code == ReasonCode::PeerSilent));
    world.crash(1);
    assert!(world.run_until(Duration::from_secs(45), World::settled), "and comes back");
}

#[test]
fn only_the_initiator_tries_again() {
    let mut world = pair(|both| both[0].initiate = false);
    world.ends[1].powered = false;
    world.start(0);
    world.run(Duration::from_secs(300));
    assert_eq!(codes(&world.ends[0].failures()), [ReasonCode::PeerSilent]);
}

#[test]
fn an_icmp_message_changes_the_reason_only() {
    let mut world = pair(|_| {});
    world.ends[1].powered = false;
    world.start(0);
    world.run(Duration::from_secs(1));
    let now = world.now();
    world.ends[0].endpoint.handle_unreachable(now, address(1));
    world.run(Duration::from_secs(10));
    assert_eq!(codes(&world.ends[0].failures()), [ReasonCode::PeerUnreachable]);
}

#[test]
fn silence_on_4500_has_a_name_on_both_sides() {
    let mut world = pair(|_| {});
    world
        .network
        .set_rewrite(Some(Box::new(|from: SocketAddr, to: SocketAddr| (to.port() != 4500).then_some((from, to)))));
    world.start(0);
    world.run(Duration::from_secs(35));
    assert!(world.ends[0].failures().iter().all(|fault| fault.code == ReasonCode::PeerSilentAfterInit));
    assert_eq!(world.ends[1].failures().first().map(|fault| fault.code), Some(ReasonCode::PeerSilentAfterInit));
}

#[test]
fn a_key_is_changed_without_an_outage() {
    let mut world = pair(|_| {});
    world.start(0);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    // The gateway accepts both, the device follows later, then the old key is withdrawn.
    world.set(1, |config| config.psks.insert(0, psk("the new key")));
    world.run(Duration::from_secs(60));
    world.set(0, |config| config.psks = vec![psk("the new key")]);
    world.run(Duration::from_secs(60));
    world.set(1, |config| config.psks.truncate(1));
    world.run(Duration::from_secs(60));
    assert!(world.ends.iter().all(|end| end.downs().is_empty()));
    // Every combination still gets through a restart.
    world.crash(0);
    world.start(0);
    assert!(world.run_until(Duration::from_secs(2), |world| world.up() && world.common() > 0));
}

#[test]
fn the_newest_key_is_tried_first_and_then_the_older_ones() {
    let mut world = pair(|both| both[0].psks = vec![psk("newest"), psk("newer"), psk("a pre-shared key")]);
    world.start(0);
    assert!(world.run_until(Duration::from_secs(2), World::settled));
    assert_eq!(world.ends[0].failures(), []);
    assert_eq!(world.ends[0].endpoint.drops().get("older_psk_tried"), Some(&2));
    let refused = world.ends[1].failures();
    assert_eq!(codes(&refused), [ReasonCode::AuthenticationFailed; 2]);
}

#[test]
fn different_keys_have_a_name_on_both_sides_and_the_device_may_be_mended() {
    let mut world = pair(|both| both[1].psks = vec![psk("another")]);
    world.start(0);
    world.run(Duration::from_secs(3));
    for end in &world.ends {
        assert!(!end.failures().is_empty());
        assert!(end.failures().iter().all(|fault| fault.code == ReasonCode::AuthenticationFailed));
        assert_eq!(end.children.len(), 0);
    }
    world.set(1, |config| config.psks = vec![psk("a pre-shared key")]);
    assert!(world.run_until(Duration::from_secs(35), World::settled));
}

#[test]
fn proposals_that_do_not_meet_are_named_with_both_lists() {
    let weak = Cipher {
        encryption: Encryption::Aes128,
        integrity: Some(Integrity::Sha256),
        dh_group: Some(DhGroup::Modp2048),
    };
    let mut world = pair(|both| both[0].ike_proposals = vec![weak]);
    world.start(0);
    world.run(Duration::from_secs(3));
    let ours = &world.ends[0].failures()[0];
    assert_eq!((ours.code, values(ours)), (ReasonCode::NoProposalChosen, (Some("aes128-sha256-modp2048"), None)));
    let theirs = &world.ends[1].failures()[0];
    assert_eq!(
        (theirs.code, values(theirs)),
        (ReasonCode::NoProposalChosen, (Some("aes256gcm-sha384-curve25519"), Some("aes128-sha256-prfsha256-modp2048")))
    );

    let mut world = pair(|both| both[0].esp_proposals = vec![weak]);
    world.start(0);
    world.run(Duration::from_secs(3));
    let ours = &world.ends[0].failures()[0];
    assert_eq!((ours.code, values(ours)), (ReasonCode::ChildNoProposalChosen, (Some("aes128-sha256-modp2048"), None)));
    let theirs = &world.ends[1].failures()[0];
    assert_eq!(
        (theirs.code, values(theirs)),
        (ReasonCode::ChildNoProposalChosen, (Some("aes256gcm-curve25519"), Some("aes128-sha256")))
    );
    assert!(!world.up());
}

#[test]
fn identities_that_differ_are_named_with_both() {
    let mut world = pair(|both| both[0].local_identity = "branch.example".parse().expect("identity"));
    world.start(0);
    world.run(Duration::from_secs(2));
    let fault = &world.ends[1].failures()[0];
    assert_eq!(
        (fault.code, values(fault)),
        (ReasonCode::IdentityMismatch, (Some("192.0.2.1"), Some("branch.example")))
    );

    let mut world = pair(|both| both[1].local_identity = "hub.example".parse().expect("identity"));
    world.start(0);
    world.run(Duration::from_secs(2));
    let fault = &world.ends[0].failures()[0];
    assert_eq!((fault.code, values(fault)), (ReasonCode::IdentityMismatch, (Some("192.0.2.2"), Some("hub.example"))));
    // The responder took us for authenticated; it hears that we do not return the compliment.
    assert!(world.ends[1].children.is_empty());
    assert_eq!(codes(&world.ends[1].downs())[0], ReasonCode::AuthenticationFailed);
}

#[test]
fn peers_that_share_both_addresses_are_told_apart_by_identity() {
    let mut world = pair(|both| {
        both[0].local_identity = "second.example".parse().expect("identity");
        both[1].remote_identity = "second.example".parse().expect("identity");
    });
    let mut other = config(1);
    other.key = PeerKey { connection: ConnectionId::random(), family: Family::Ipv4 };
    other.remote_identity = "first.example".parse().expect("identity");
    other.psks = vec![psk("the other's key")];
    let now = world.now();
    world.ends[1].endpoint.set_peer(now, other);
    world.start(0);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    assert!(world.ends[1].events.iter().all(|(_, event)| match event {
        Event::IkeEstablished { peer, .. } | Event::ChildInstalled { peer, .. } => *peer == key(),
        _ => true,
    }));
}

#[test]
fn groups_are_agreed_by_asking_again() {
    let entry = |group| Cipher { dh_group: Some(group), ..Cipher::DEFAULT_IKE };
    let mut world = pair(|both| {
        both[0].ike_proposals = vec![entry(DhGroup::Modp2048), entry(DhGroup::Curve25519), entry(DhGroup::Ecp256)];
        both[1].ike_proposals = vec![entry(DhGroup::Ecp256)];
        both[0].esp_proposals = vec![
            Cipher { dh_group: Some(DhGroup::Curve25519), ..Cipher::DEFAULT_ESP },
            Cipher { dh_group: Some(DhGroup::Ecp256), ..Cipher::DEFAULT_ESP },
        ];
        both[1].esp_proposals = vec![Cipher { dh_group: Some(DhGroup::Ecp256), ..Cipher::DEFAULT_ESP }];
        both[0].timers.child_lifetime = 60;
        both[0].timers.ike_lifetime = 100;
    });
    world.start(0);
    assert!(world.run_until(Duration::from_secs(2), World::settled));
    world.run(Duration::from_secs(200));
    assert!(world.ends[0].children.values().all(|child| child.rekeys >= 2), "rekeyed with PFS of the other group");
    assert!(world.ends.iter().all(|end| end.downs().is_empty()));
    assert!(world.ends[1].endpoint.drops()["invalid_ke_payload"] >= 3);
}

#[test]
fn removal_and_changed_addresses_close_and_say_why() {
    let mut world = pair(|_| {});
    world.start(0);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    world.set(0, |config| config.local_identity = "new.example".parse().expect("identity"));
    world.run(Duration::from_millis(100));
    assert_eq!(codes(&world.ends[0].downs()), [ReasonCode::ClosedByUs]);
    assert_eq!(codes(&world.ends[1].downs()), [ReasonCode::PeerDeletedSa]);
    world.set(1, |config| config.remote_identity = "new.example".parse().expect("identity"));
    assert!(world.run_until(Duration::from_secs(40), World::settled), "it begins anew by itself");

    let now = world.now();
    world.ends[1].endpoint.remove_peer(now, key());
    world.run(Duration::from_millis(100));
    assert!(world.ends.iter().all(|end| end.children.is_empty()));
    assert_eq!(codes(&world.ends[0].downs()).last(), Some(&ReasonCode::PeerDeletedSa));
    world.run(Duration::from_secs(60));
    assert!(world.ends[1].endpoint.drops()["unknown_peer"] > 0, "a removed peer is met with silence");
    assert_eq!(world.ends[0].failures().last().map(|fault| fault.code), Some(ReasonCode::PeerSilent));
    assert_eq!(world.ends[1].endpoint.poll_timeout(), None, "nothing is left to do");
}

#[test]
fn a_nat_that_forgets_is_followed() {
    let mut world = pair(|_| {});
    world.start(0);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    world.run(Duration::from_secs(10));
    let mapped: SocketAddr = "192.0.2.1:61000".parse().expect("address");
    let inner: SocketAddr = "192.0.2.1:4500".parse().expect("address");
    world.network.set_rewrite(Some(Box::new(move |from, to| {
        Some((if from == inner { mapped } else { from }, if to == mapped { inner } else { to }))
    })));
    // Traffic alone does not move it; an authentic IKE message does.
    world.run(Duration::from_secs(1));
    world.ends[0].children.values().next().expect("a child");
    let now = world.now();
    let child = world.ends[0].sending.expect("up");
    world.ends[0].endpoint.handle_packets_sent(now, child, u64::MAX);
    world.run(Duration::from_secs(2));
    let moved = |event: &Event| matches!(event, Event::RemoteMoved { remote, .. } if *remote == mapped);
    assert_eq!(world.ends[1].count(moved), 1);
    assert!(world.settled());
    assert!(world.ends.iter().all(|end| end.downs().is_empty()));
}

/// Octets that an attacker without keys can make: noise, and everything overheard, cut, altered or as it was.
fn forge(
    entropy: &mut SeededEntropy,
    overheard: &[(SocketAddr, SocketAddr, Vec<u8>)],
) -> (SocketAddr, SocketAddr, Vec<u8>) {
    let mut random = [0u8; 16];
    entropy.fill(&mut random);
    let number = |at: usize| usize::from(u16::from_be_bytes([random[at], random[at + 1]]));
    let (from, to, mut message) = overheard[number(0) % overheard.len()].clone();
    match random[2] % 4 {
        0 => {
            message = vec![0; number(4) % 400];
            entropy.fill(&mut message);
        }
        1 => message.truncate(number(4) % (message.len() + 1)),
        2 => {
            let at = number(4) % message.len();
            message[at] ^= random[6] | 1;
        }
        _ => {}
    }
    if random[7] % 8 == 1 {
        // As the next message of its sender.
        if let Some(field) = message.get_mut(20..24) {
            field[3] = field[3].wrapping_add(1);
        }
    }
    if random[7] % 4 == 0 {
        let length = u32::try_from(message.len()).expect("small").to_be_bytes();
        if let Some(field) = message.get_mut(24..28) {
            field.copy_from_slice(&length);
        }
    }
    (from, to, message)
}

#[test]
fn an_attacker_who_hears_everything_and_forges_addresses_changes_nothing() {
    for seed in 0..6 {
        let mut both = [config(0), config(1)];
        for config in &mut both {
            config.timers.ike_lifetime = 120;
            config.timers.child_lifetime = 40;
        }
        let mut world = World::new(seed, calm(), both);
        world.overheard = Some(Vec::new());
        let mut entropy = SeededEntropy::new(seed);
        world.start(0);
        assert!(world.run_until(Duration::from_secs(1), World::settled));
        for _ in 0..20_000 {
            // Answers to the noise itself are short and teach nothing.
            let overheard: Vec<_> = world
                .overheard
                .take()
                .unwrap_or_default()
                .into_iter()
                .filter(|(_, _, message)| message.len() > 50)
                .collect();
            world.overheard = Some(overheard.clone());
            let recent = overheard.len().saturating_sub(60);
            let (from, to, message) = forge(&mut entropy, &overheard[recent..]);
            world.network.send(from, to, Packet::Ike(message));
            if recent > 2000 {
                world.overheard = Some(overheard[recent..].to_vec());
            }
            world.run(Duration::from_millis(20));
        }
        for end in &world.ends {
            assert_eq!(end.downs(), [], "seed {seed}");
            assert_eq!(end.esp_unknown, 0, "seed {seed}");
            let count = |reason| end.endpoint.drops().get(reason).copied().unwrap_or_default();
            assert!(
                count("malformed") > 0 && count("unknown_spi") > 0 && count("not_authentic") > 0,
                "{:?}",
                end.endpoint.drops()
            );
        }
        world.run(Duration::from_secs(45));
        assert!(world.common() > 0 && world.ends[0].children.len() <= 2, "seed {seed}");
    }
}

#[test]
fn a_forged_refusal_does_not_stop_an_attempt() {
    let mut world = pair(|_| {});
    world.overheard = Some(Vec::new());
    world.start(0);
    let (from, to, request) = world.overheard.clone().expect("listening")[0].clone();
    // NO_PROPOSAL_CHOSEN for our SPI, quicker than the peer.
    let mut forged = request[..8].to_vec();
    forged.extend_from_slice(&[0; 8]);
    forged.extend_from_slice(&[41, 0x20, 34, 0x20, 0, 0, 0, 0, 0, 0, 0, 36, 0, 0, 0, 8, 0, 0, 0, 14]);
    let now = world.now();
    world.ends[0].endpoint.handle_datagram(now, from, to, &forged);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    assert_eq!(world.ends[0].endpoint.drops().get("init_refused"), Some(&1));
    assert_eq!(world.ends[0].failures(), []);
}

#[test]
fn a_flood_meets_cookies_and_the_peer_gets_through() {
    let mut world = pair(|_| {});
    world.overheard = Some(Vec::new());
    world.ends[1].powered = false;
    world.start(0);
    let (peer, us, request) = world.overheard.clone().expect("listening")[0].clone();
    world.crash(0);
    world.ends[1].powered = true;
    let mut entropy = SeededEntropy::new(3);
    for _ in 0..5000 {
        let mut forged = request.clone();
        entropy.fill(&mut forged[..8]);
        let now = world.now();
        world.ends[1].endpoint.handle_datagram(now, us, peer, &forged);
    }
    let drops = world.ends[1].endpoint.drops();
    assert_eq!(drops.get("cookie_demanded"), Some(&4996), "only the first four cost a key exchange");
    world.start(0);
    assert!(world.run_until(Duration::from_secs(2), World::settled));
    world.run(Duration::from_secs(60));
    assert_eq!(world.ends[1].endpoint.drops().get("half_open_timeout"), Some(&4));
}

#[test]
fn strangers_are_met_with_silence() {
    let mut world = pair(|_| {});
    world.overheard = Some(Vec::new());
    world.start(0);
    let (_, us, request) = world.overheard.clone().expect("listening")[0].clone();
    let stranger: SocketAddr = "198.51.100.7:500".parse().expect("address");
    let now = world.now();
    world.ends[1].endpoint.handle_datagram(now, us, stranger, &request);
    assert_eq!(world.ends[1].endpoint.poll_transmit(), None);
    assert_eq!(world.ends[1].endpoint.drops().get("unknown_peer"), Some(&1));
}

#[test]
fn a_duplicate_init_does_not_multiply() {
    let doubled = Conditions { duplication: 1.0, jitter: Duration::from_millis(30), ..calm() };
    let mut world = World::new(5, doubled, [config(0), config(1)]);
    world.start(0);
    assert!(world.run_until(Duration::from_secs(5), World::settled));
    world.run(Duration::from_secs(60));
    assert!(world.settled());
    assert!(world.ends.iter().all(|end| end.downs().is_empty() && end.failures().is_empty()));
}
