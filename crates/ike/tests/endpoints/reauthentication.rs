//! Reauthentication with another key, and what may come in its way.

use std::time::Duration;

use causeway_ike::{ChildId, Event};
use causeway_model::{Psk, ReasonCode};
use causeway_netsim::Conditions;

use crate::world::{World, calm, config, key};

fn psk(text: &str) -> Psk {
    Psk::new(text.as_bytes().to_vec())
}

/// Both ends up since twenty seconds; end `initiator` began the tunnel, and both accept a newer key.
fn with_two_keys(initiator: usize) -> World {
    seeded(7, initiator)
}

fn seeded(seed: u64, initiator: usize) -> World {
    with(seed, initiator, calm())
}

fn with(seed: u64, initiator: usize, conditions: Conditions) -> World {
    let mut both = [config(0), config(1)];
    both[0].initiate = initiator == 0;
    both[1].initiate = initiator == 1;
    let mut world = World::new(seed, conditions, both);
    world.patience = (conditions.latency + conditions.jitter) * 2;
    world.start(initiator);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    for end in [0, 1] {
        world.set(end, |config| config.psks.insert(0, psk("the newer key")));
    }
    world.run(Duration::from_secs(20));
    world
}

fn reauthenticate(world: &mut World, end: usize) {
    let now = world.now();
    world.ends[end].endpoint.reauthenticate(now, key());
    world.run(Duration::ZERO);
}

/// The keys that each authentication of an end proved.
fn proven(world: &World, end: usize) -> Vec<usize> {
    let psk = |(_, event): &(Duration, Event)| match event {
        Event::IkeEstablished { info, .. } => Some(info.psk),
        _ => None,
    };
    world.ends[end].events.iter().filter_map(psk).collect()
}

fn children(world: &World, end: usize) -> Vec<ChildId> {
    world.ends[end].children.keys().copied().collect()
}

#[test]
fn it_proves_the_newest_key_without_an_outage_whoever_began() {
    // Several seeds: it must not be the nonces that decide.
    for (seed, (began, asks)) in (0..32).zip([(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().cycle()) {
        let mut world = seeded(seed, began);
        let old = children(&world, 0);
        reauthenticate(&mut world, asks);
        assert!(world.run_until(Duration::from_secs(10), |world| world.settled() && children(world, 0) != old));
        for end in [0, 1] {
            assert_eq!(proven(&world, end), [0, 0], "{began} {asks}");
            assert_eq!(world.ends[end].downs(), []);
            assert_eq!(world.ends[end].failures(), []);
            assert_eq!(world.ends[end].esp_unknown, 0, "{began} {asks}: nothing was sent on what was gone");
        }
        world.run(Duration::from_secs(60));
        assert!(world.settled(), "{began} {asks}");
        assert_eq!(proven(&world, 0).len(), 2);
    }
}

#[test]
fn no_packet_overtakes_the_answer_that_makes_the_new_sa() {
    for seed in 0..48 {
        let mut world =
            with(seed, usize::from(seed % 2 == 1), Conditions { jitter: Duration::from_millis(90), ..calm() });
        let before = world.ends.each_ref().map(|end| end.esp_unknown);
        reauthenticate(&mut world, usize::from(seed % 4 > 1));
        assert!(world.run_until(Duration::from_secs(30), |world| proven(world, 0).len() == 2 && world.settled()));
        world.run(Duration::from_secs(1));
        assert_eq!(world.ends.each_ref().map(|end| end.esp_unknown), before, "seed {seed}");
    }
}

#[test]
fn the_old_sa_stays_until_the_new_one_has_carried_traffic() {
    let mut world = with_two_keys(0);
    let old = children(&world, 0);
    world.silence_esp = true;
    reauthenticate(&mut world, 0);
    world.run(Duration::from_secs(20));
    assert_eq!(children(&world, 0).len(), 2);
    assert_eq!(children(&world, 0).first(), old.first());
    world.silence_esp = false;
    assert!(world.run_until(Duration::from_secs(5), World::settled));
    assert_ne!(children(&world, 0), old);
}

#[test]
fn a_key_that_the_peer_does_not_have_yet_changes_nothing_but_is_told() {
    let mut world = with_two_keys(0);
    world.set(1, |config| config.psks = vec![psk("a pre-shared key")]);
    let old = children(&world, 0);
    reauthenticate(&mut world, 0);
    world.run(Duration::from_secs(60));
    let codes: Vec<_> = world.ends[0].failures().iter().map(|fault| fault.code).collect();
    assert_eq!(codes, [ReasonCode::AuthenticationFailed], "once, and the older key is not what was asked for");
    assert_eq!((children(&world, 0), proven(&world, 0)), (old, vec![0]));
    // The tunnel is not restarted either: nothing was lost.
    assert!(world.settled() && world.ends.iter().all(|end| end.downs().is_empty()));
    // Later it has it.
    world.set(1, |config| config.psks.insert(0, psk("the newer key")));
    reauthenticate(&mut world, 0);
    assert!(world.run_until(Duration::from_secs(10), |world| world.settled() && proven(world, 0).len() == 2));
}

#[test]
fn the_position_of_the_proven_key_follows_the_list() {
    let mut both = [config(0), config(1)];
    both[0].timers.ike_lifetime = 40;
    let mut world = World::new(3, calm(), both);
    world.start(0);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    world.set(0, |config| config.psks.insert(0, psk("the newer key")));
    let rekeyed = |world: &World| {
        world.ends[0].events.iter().rev().find_map(|(_, event)| match event {
            Event::IkeRekeyed { info, .. } => Some(info.psk),
            _ => None,
        })
    };
    world.run(Duration::from_secs(41));
    assert_eq!(rekeyed(&world), Some(1), "the key of the authentication is the second one now");
    world.set(0, |config| config.psks.truncate(1));
    world.run(Duration::from_secs(41));
    assert_eq!(rekeyed(&world), Some(1), "one beyond the list: withdrawn");
    assert!(world.settled());
}

#[test]
fn both_ends_at_once_end_with_one_tunnel() {
    for began in [0, 1] {
        let mut world = with_two_keys(began);
        let old = children(&world, 0);
        reauthenticate(&mut world, 0);
        reauthenticate(&mut world, 1);
        assert!(world.run_until(Duration::from_secs(30), |world| world.settled() && children(world, 0) != old));
        world.run(Duration::from_secs(60));
        assert!(world.settled() && world.ends.iter().all(|end| end.downs().is_empty()));
    }
}

/// strongSwan with `close_action = start` does so; seen with its 5.9.8, where IKE was authenticated anew every two seconds.
#[test]
fn a_device_that_answers_the_end_of_one_of_two_with_another_is_left_both() {
    let mut both = [config(0), config(1)];
    both[0].initiate = false;
    let mut world = World::new(11, calm(), both);
    world.keeps_duplicates(1);
    world.start(1);
    assert!(world.run_until(Duration::from_secs(1), World::settled));
    world.run(Duration::from_secs(5));
    // A second one without INITIAL_CONTACT, for whatever reason.
    reauthenticate(&mut world, 1);
    let removals = |world: &World| world.ends[1].count(|event| matches!(event, Event::ChildRemoved { .. }));
    let mut answered = 0;
    for _ in 0..1200 {
        world.run(Duration::from_millis(100));
        if removals(&world) > answered {
            answered = removals(&world);
            reauthenticate(&mut world, 1);
        }
    }
    assert_eq!(answered, 1, "the first duplicate was ended, as of any device");
    assert_eq!(proven(&world, 0).len(), 3, "begun, again, and once more in answer");
    assert_eq!(world.common(), 2);
    for end in &world.ends {
        assert_eq!((end.downs(), end.esp_unknown), (vec![], 0));
    }
    // More than a minute later a newer one replaces both.
    let before = world.ends[1].esp_received;
    reauthenticate(&mut world, 1);
    world.run(Duration::from_secs(20));
    assert!(world.ends[1].esp_received > before);
    assert_eq!(world.common(), 1);
}

/// Runs until end 0 has sent a CREATE_CHILD_SA, and no further.
fn until_end_0_rekeys(world: &mut World) {
    world.overheard = Some(Vec::new());
    let sent = |world: &World| {
        let rekeys = |(from, _, message): &(std::net::SocketAddr, std::net::SocketAddr, Vec<u8>)| {
            from.ip() == config(0).local && message.get(18) == Some(&36)
        };
        world.overheard.as_ref().is_some_and(|overheard| overheard.iter().any(rekeys))
    };
    assert!(world.run_until(Duration::from_secs(60), sent));
}

#[test]
fn a_rekey_under_way_does_not_outlive_the_tunnel_that_is_closed() {
    for (ike_lifetime, child_lifetime) in [(20, 3600), (3600, 20)] {
        for removed in [false, true] {
            let mut both = [config(0), config(1)];
            both[0].timers.ike_lifetime = ike_lifetime;
            both[0].timers.child_lifetime = child_lifetime;
            both[0].initiate = false;
            let mut world = World::new(11, calm(), both);
            world.start(0);
            assert!(world.run_until(Duration::from_secs(1), World::settled));
            until_end_0_rekeys(&mut world);
            let now = world.now();
            if removed {
                world.ends[0].endpoint.remove_peer(now, key());
            } else {
                // Who it was is not who it shall be any more.
                let mut changed = world.ends[0].config.clone();
                changed.remote_identity = "another.example".parse().expect("identity");
                world.ends[0].endpoint.set_peer(now, changed);
            }
            let events = world.ends[0].events.len();
            world.run(Duration::from_secs(9));
            let revived = |(_, event): &(Duration, Event)| {
                matches!(event, Event::IkeRekeyed { .. } | Event::ChildInstalled { .. } | Event::IkeEstablished { .. })
            };
            assert!(!world.ends[0].events.iter().skip(events).any(revived), "{:#?}", world.ends[0].events);
            assert!(world.ends.iter().all(|end| end.children.is_empty()), "the peer heard of it too");
            let codes: Vec<_> = world.ends[1].downs().iter().map(|fault| fault.code).collect();
            // The next attempt, with the other identity, is another matter.
            assert_eq!(codes.first(), Some(&ReasonCode::PeerDeletedSa));
        }
    }
}
