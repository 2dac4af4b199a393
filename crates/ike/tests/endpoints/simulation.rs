//! Two of our endpoints in a simulated network: hours of virtual time, bad weather, and what must hold all along.

use std::time::Duration;

use causeway_ike::Event;
use causeway_netsim::Conditions;

use crate::world::{World, address, calm, config, rough};

fn short_lived(end: usize, ike: u32, child: u32) -> causeway_ike::PeerConfig {
    let mut config = config(end);
    config.timers.ike_lifetime = ike;
    config.timers.child_lifetime = child;
    config
}

/// Seeds from `first` on. `CAUSEWAY_SIM_SCALE=20` tries twenty times as many, for a soak.
fn seeds(first: u64, count: u64) -> std::ops::Range<u64> {
    let scale = std::env::var("CAUSEWAY_SIM_SCALE").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(1);
    first..first + count * scale
}

fn rekeys(world: &World) -> (usize, usize) {
    let [a, b] = &world.ends;
    let children = a.count(|event| matches!(event, Event::ChildInstalled { .. }));
    let ike = a
        .count(|event| matches!(event, Event::IkeRekeyed { .. }))
        .max(b.count(|event| matches!(event, Event::IkeRekeyed { .. })));
    (children, ike)
}

#[test]
fn without_loss_hundreds_of_rekeys_lose_no_packet() {
    for seed in seeds(0, 4) {
        let mut world = World::new(seed, calm(), [short_lived(0, 90, 20), short_lived(1, 90, 20)]);
        world.start(0);
        world.run(Duration::from_secs(2 * 3600));
        let (children, ike) = rekeys(&world);
        assert!(children > 300 && ike > 70, "seed {seed}: {children} Child SAs, {ike} IKE rekeys");
        assert!(world.common() > 0);
        for end in &world.ends {
            assert_eq!(end.downs(), [], "seed {seed}");
            assert_eq!(end.esp_unknown, 0, "seed {seed}: every packet met its SA");
            assert!(end.esp_received + 20 > world.ticks);
        }
    }
}

#[test]
fn slow_paths_make_rekeys_collide_and_nothing_is_lost() {
    let slow = Conditions { latency: Duration::from_millis(900), ..Conditions::default() };
    for seed in seeds(0, 6) {
        let mut world = World::new(seed, slow, [short_lived(0, 700, 240), short_lived(1, 700, 240)]);
        world.start(0);
        world.run(Duration::from_secs(12 * 3600));
        for end in &world.ends {
            assert_eq!(end.downs(), [], "seed {seed}");
            assert_eq!(end.esp_unknown, 0, "seed {seed}");
        }
        assert!(
            world.ends[0].children.len() <= 3,
            "seed {seed}: redundant Child SAs go: {}",
            world.ends[0].children.len()
        );
    }
}

#[test]
fn a_fifth_lost_reordered_and_doubled_for_hours() {
    for seed in seeds(0, 8) {
        let mut world = World::new(seed, rough(), [short_lived(0, 120, 30), short_lived(1, 120, 30)]);
        world.start(0);
        world.run(Duration::from_secs(3 * 3600));
        let (children, ike) = rekeys(&world);
        assert!(children > 300 && ike > 70, "seed {seed}: {children} Child SAs, {ike} IKE rekeys");
        for end in &world.ends {
            // Ten seconds of silence happen by chance; what matters is that it always returns.
            assert!(
                end.ticks_down * 100 < world.ticks,
                "seed {seed}: down for {} of {} ticks",
                end.ticks_down,
                world.ticks
            );
        }
        world.network.set_conditions(calm());
        assert!(world.run_until(Duration::from_secs(120), World::settled), "seed {seed}: it returns");
    }
}

#[test]
fn very_bad_weather_and_partitions_end_and_it_returns() {
    for seed in seeds(100, 6) {
        let mut world = World::new(seed, rough(), [short_lived(0, 200, 60), short_lived(1, 200, 60)]);
        world.start(0);
        for round in 0..20 {
            world.run(Duration::from_secs(40));
            if round % 2 == 0 {
                world.network.set_conditions(Conditions { loss: 0.7, ..rough() });
                world.run(Duration::from_secs(60));
            } else {
                let (a, b) = (address(0), address(1));
                world.network.partition(a, b);
                world.run(Duration::from_secs(25 + round));
                world.network.heal(a, b);
            }
            world.network.set_conditions(rough());
            assert!(
                world.run_until(Duration::from_secs(120), |world| world.up() && world.common() > 0),
                "seed {seed}, round {round}"
            );
        }
    }
}

#[test]
fn one_seed_is_one_story() {
    let story = |seed| {
        let mut world = World::new(seed, rough(), [short_lived(0, 60, 20), short_lived(1, 60, 20)]);
        world.start(0);
        world.run(Duration::from_secs(900));
        let [a, b] = world.ends;
        (a.events, b.events)
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7), story(8));
}

#[test]
fn both_ends_begin_at_once_and_one_tunnel_remains() {
    for seed in seeds(0, 60) {
        let weather = if seed % 3 == 0 { calm() } else { rough() };
        let mut both = [config(0), config(1)];
        both[1].initiate = seed % 2 == 0;
        let mut world = World::new(seed, weather, both);
        world.start(0);
        world.run(Duration::from_millis(seed % 7 * 10));
        world.start(1);
        assert!(world.run_until(Duration::from_secs(60), World::up), "seed {seed}");
        world.network.set_conditions(calm());
        world.run(Duration::from_secs(30));
        assert!(
            world.settled(),
            "seed {seed}: {:?}",
            world.ends.iter().map(|end| end.children.len()).collect::<Vec<_>>()
        );
        let before = world.ends[0].events.len();
        world.run(Duration::from_secs(60));
        assert_eq!(world.ends[0].events.len(), before, "seed {seed}: and then there is peace");
    }
}

#[test]
fn rekeys_at_the_same_instant_leave_one_child() {
    for seed in seeds(0, 40) {
        let mut world = World::new(seed, if seed % 2 == 0 { calm() } else { rough() }, [config(0), config(1)]);
        world.start(0);
        assert!(world.run_until(Duration::from_secs(60), World::settled), "seed {seed}");
        for round in 0..5 {
            let now = world.now();
            for end in &mut world.ends {
                let child = end.sending.expect("it is up");
                end.endpoint.handle_packets_sent(now, child, u64::MAX);
            }
            world.run(Duration::from_secs(15));
            let quiet = world.run_until(Duration::from_secs(30), World::settled);
            assert!(quiet, "seed {seed}, round {round}");
        }
        assert!(world.ends[0].children.values().all(|child| child.rekeys >= 5));
        if seed % 2 == 0 {
            assert!(world.ends.iter().all(|end| end.esp_unknown == 0), "seed {seed}");
        }
    }
}
