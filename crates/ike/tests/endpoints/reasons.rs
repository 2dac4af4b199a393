//! Causes that only two whole ends and a network show: each made in virtual time, and what the ends say of it.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_model::ReasonCode;
use causeway_model::suite::{Cipher, DhGroup, Encryption};

use crate::world::{Packet, World, address, calm, config};

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
