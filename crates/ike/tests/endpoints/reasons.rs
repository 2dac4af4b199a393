//! Causes that only two whole ends and a network show: each made in virtual time, and what the ends say of it.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_ike::Event;
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};
use causeway_model::{Fault, ReasonCode};

use crate::world::{End, Packet, World, address, calm, config, key};

fn established(change: impl FnOnce(&mut [causeway_ike::PeerConfig; 2])) -> World {
    let mut both = [config(0), config(1)];
    change(&mut both);
    let mut world = World::new(1, calm(), both);
    world.start(0);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    world
}

/// IKE_AUTH does not look at the group (RFC 7296 §1.2), so that the difference shows only at the first rekey.
#[test]
fn groups_that_differ_are_told_while_the_tunnel_is_up_and_when_it_goes() {
    let mut world = established(|both| {
        both[1].esp_proposals = vec![Cipher { dh_group: Some(DhGroup::Ecp256), ..Cipher::DEFAULT_ESP }];
        for config in both {
            config.timers.child_lifetime = 200;
        }
    });
    let told = |world: &World| world.ends.iter().all(|end| !end.troubles().is_empty());
    assert!(world.run_until(Duration::from_secs(199), told));
    assert!(world.up(), "the tunnel lives until its lifetime ends");
    for (end, ours) in [(0, "aes256gcm-curve25519"), (1, "aes256gcm-ecp256")] {
        let trouble = world.ends[end].troubles().remove(0);
        assert_eq!((trouble.code, trouble.ours.as_deref()), (ReasonCode::PfsMismatch, Some(ours)));
    }
    let down = |world: &World| !world.ends[0].downs().is_empty();
    assert!(world.run_until(Duration::from_secs(60), down));
    assert_eq!(world.ends[0].downs()[0].code, ReasonCode::PfsMismatch);
}

#[test]
fn an_ike_sa_that_cannot_be_renewed_ends_with_that_reason() {
    let mut world = established(|both| both.iter_mut().for_each(|config| config.timers.ike_lifetime = 300));
    world.set(1, |config| {
        config.ike_proposals = vec![Cipher { encryption: Encryption::Aes128Gcm, ..Cipher::DEFAULT_IKE }];
    });
    let down = |world: &World| !world.ends[0].downs().is_empty();
    assert!(world.run_until(Duration::from_secs(310), down));
    let fault = world.ends[0].downs().remove(0);
    assert_eq!(fault.code, ReasonCode::LifetimeExpired);
    assert_eq!(fault.evidence["peer_says"], "NO_PROPOSAL_CHOSEN");
    // From then on the attempts say the rest, with both lists and what differs in them.
    let refused =
        |world: &World| world.ends[1].failures().iter().any(|fault| fault.code == ReasonCode::NoProposalChosen);
    assert!(world.run_until(Duration::from_secs(60), refused));
    let fault = world.ends[1].failures().remove(0);
    assert_eq!(fault.ours.as_deref(), Some("aes128gcm-sha384-curve25519"));
    assert_eq!(fault.evidence["differs"], "encryption");
}

/// One kind of transform after another. The PRF of a suite without AEAD is its own hash, so these two differ together.
#[test]
fn what_differs_between_the_proposals_is_named_alone() {
    let suite =
        |encryption, integrity, dh_group| Cipher { encryption, integrity: Some(integrity), dh_group: Some(dh_group) };
    let cases = [
        (suite(Encryption::Aes128, Integrity::Sha256, DhGroup::Curve25519), "encryption"),
        (suite(Encryption::Aes256, Integrity::Sha512, DhGroup::Curve25519), "integrity, prf"),
        (suite(Encryption::Aes256, Integrity::Sha256, DhGroup::Ecp256), "group"),
    ];
    for (theirs, differs) in cases {
        let mut both = [config(0), config(1)];
        both[0].ike_proposals = vec![theirs];
        both[1].ike_proposals = vec![suite(Encryption::Aes256, Integrity::Sha256, DhGroup::Curve25519)];
        let mut world = World::new(1, calm(), both);
        world.start(0);
        assert!(world.run_until(Duration::from_secs(3), |world| !world.ends[1].failures().is_empty()), "{differs}");
        let fault = world.ends[1].failures().remove(0);
        assert_eq!((fault.code, fault.evidence["differs"].as_str()), (ReasonCode::NoProposalChosen, differs));
    }
}

#[test]
fn another_version_and_another_source_are_told() {
    let mut world = World::new(1, calm(), [config(0), config(1)]);
    world.set(0, |config| config.initiate = false);
    let (us, peer) = (SocketAddr::new(address(0), 500), SocketAddr::new(address(1), 500));
    let mut first = vec![0; 28];
    first[..8].copy_from_slice(&[1; 8]);
    // IKEv1, identity protection.
    (first[17], first[18], first[27]) = (0x10, 2, 28);
    world.network.send(peer, us, Packet::Ike(first));
    world.run(Duration::from_secs(1));
    let fault = world.ends[0].failures().remove(0);
    assert_eq!(fault.code, ReasonCode::IkeVersion);
    assert_eq!((fault.ours.as_deref(), fault.theirs.as_deref()), (Some("IKEv2"), Some("IKEv1")));

    // The device has moved: its requests come from an address that no customer gateway has.
    let stranger = SocketAddr::from(([203, 0, 113, 77], 500));
    let mut request = vec![0; 28];
    request[..8].copy_from_slice(&[2; 8]);
    (request[17], request[18], request[19], request[27]) = (0x20, 34, 0x08, 28);
    for _ in 0..50 {
        world.network.send(stranger, us, Packet::Ike(request.clone()));
    }
    world.run(Duration::from_secs(1));
    let strangers: Vec<_> = world.ends[0].failures().into_iter().skip(1).collect();
    assert!(!strangers.is_empty() && strangers.len() <= 2, "a flood is told once in a while: {}", strangers.len());
    assert_eq!(strangers[0].code, ReasonCode::UnknownSource);
    assert_eq!(strangers[0].ours.as_deref(), Some("192.0.2.2"));
    assert_eq!(strangers[0].theirs.as_deref(), Some("203.0.113.77"));

    // Our own attempts then meet silence, and say whose request came meanwhile; later it is plain silence again.
    world.ends[1].powered = false;
    world.set(0, |config| config.initiate = true);
    world.start(0);
    world.run(Duration::from_secs(300));
    let codes: Vec<_> = world.ends[0].failures().iter().skip(1 + strangers.len()).map(|fault| fault.code).collect();
    assert_eq!(codes.first(), Some(&ReasonCode::UnknownSource));
    assert_eq!(codes.last(), Some(&ReasonCode::PeerSilent));
}

fn codes(faults: &[Fault]) -> Vec<ReasonCode> {
    faults.iter().map(|fault| fault.code).collect()
}

/// RFC 7296 §1.4.1. A peer that is not told sends into nothing until the next rekey.
#[test]
fn a_child_sa_that_cannot_be_installed_is_deleted_at_the_peer_and_made_again_with_patience() {
    for refusing in 0..2 {
        let mut world = World::new(1, calm(), [config(0), config(1)]);
        world.ends[refusing].refuses = true;
        world.start(0);
        let other = 1 - refusing;
        let undone = |world: &World| world.ends.iter().all(|end| !end.downs().is_empty());
        assert!(world.run_until(Duration::from_secs(1), undone), "end {refusing} refuses");
        assert_eq!(world.ends[refusing].downs()[0].code, ReasonCode::ChildInstallFailed);
        assert_eq!(world.ends[refusing].downs()[0].evidence["item"], "the packet path");
        assert_eq!(world.ends[other].downs()[0].code, ReasonCode::PeerDeletedChild);

        // Not as fast as the network allows: at once, then after pauses of 1, 2, 4, 8 and at last 15 seconds.
        world.run(Duration::from_secs(600));
        let refused = world.ends[refusing].refused.len();
        assert!((35..60).contains(&refused), "{refused} attempts");
        assert!(codes(&world.ends[refusing].downs()).iter().all(|code| *code == ReasonCode::ChildInstallFailed));

        let established = |end: &End| end.count(|event| matches!(event, Event::IkeEstablished { .. }));
        let before = established(&world.ends[0]);
        assert_eq!(before, 1, "the IKE SA is what it was");
        world.ends[refusing].refuses = false;
        assert!(world.run_until(Duration::from_secs(40), World::settled), "end {refusing} takes it");
        assert_eq!(established(&world.ends[0]), before);
        let info = world.ends[0].endpoint.ike_info(key()).expect("an IKE SA");
        assert!(info.initiator && info.psk == 0);
    }
}

/// What is refused while another Child SA carries the tunnel: at most that one goes, and the tunnel is whole again at once when there is room.
#[test]
fn a_successor_that_cannot_be_installed_is_not_left_in_place_of_what_it_replaced() {
    for refusing in 0..2 {
        let mut world = established(|both| both.iter_mut().for_each(|config| config.timers.child_lifetime = 200));
        world.ends[refusing].refuses = true;
        let refused = |world: &World| !world.ends[refusing].refused.is_empty();
        assert!(world.run_until(Duration::from_secs(200), refused));
        let undone = |world: &World| world.ends.iter().all(|end| !end.downs().is_empty());
        assert!(world.run_until(Duration::from_secs(5), undone), "end {refusing} refuses");
        assert_eq!(world.ends[refusing].downs()[0].code, ReasonCode::ChildInstallFailed);
        world.ends[refusing].refuses = false;
        assert!(world.run_until(Duration::from_secs(5), World::settled), "end {refusing} takes it");
    }
}
