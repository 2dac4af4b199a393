//! Graceful restart (RFC 4724) from both sides.

use std::time::{Duration, Instant};

use causeway_model::Family;

use crate::daemons::{DEVICE_ROUTES, Device, Setup};
use crate::features::{OUR_ROUTES, device_knows};
use crate::site::{Site, both_ways, eventually};

crate::with_both! {
    a_device_that_restarts_loses_no_route "grd";
    we_restart_and_are_taken_back "gru";
    our_routes_outlive_our_connection_for_a_while "grh";
}

async fn a_device_that_restarts_loses_no_route<D: Device>(name: &str) {
    let site = Site::new(name);
    let setup = Setup { graceful: true, ..Setup::default() };
    let device = D::start(&site, &setup);
    let mut speakers = site.pair(&both_ways(&OUR_ROUTES)).await;
    for speaker in &mut speakers {
        speaker.accepts("up", &DEVICE_ROUTES).await;
    }
    device_knows(&device, "our routes", &OUR_ROUTES, true).await;
    let mut before = Vec::new();
    for speaker in &mut speakers {
        // FRR resets a session now and then while it starts.
        let mut facts = speaker.snapshot().await.facts;
        while !(facts.up && facts.accepted == 1) {
            facts = speaker.snapshot().await.facts;
        }
        before.push(facts);
    }
    device.kill();
    for speaker in &mut speakers {
        let update = speaker.until("killed", |update| !update.facts.up).await;
        let evidence = update.facts.fault.as_ref().expect("a fault").evidence.clone();
        assert_eq!(evidence.get("stale_routes").map(String::as_str), Some("1"), "{evidence:?}");
        assert!(evidence.contains_key("stale_until"), "{evidence:?}");
        let kept: Vec<_> = update.accepted().map(|route| route.prefix).collect();
        assert_eq!((kept.len(), update.stale.into_iter().collect::<Vec<_>>()), (1, kept), "marked as what it is");
    }
    let _device = D::start(&site, &setup);
    for (speaker, before) in speakers.iter_mut().zip(before) {
        // A route and the end.
        let told = before.updates_in + 2;
        let update = speaker
            .until("back", |update| {
                assert!(D::EARLY_END_OF_RIB || update.accepted().count() == 1, "{:?}", update.facts);
                update.facts.up && update.facts.updates_in >= told && update.accepted().count() == 1
            })
            .await;
        assert!(update.facts.flaps > before.flaps);
        assert!(update.stale.is_empty(), "announced again");
    }
}

async fn we_restart_and_are_taken_back<D: Device>(name: &str) {
    let site = Site::new(name);
    // A device that defends the session that died with us does so for longer than anything here waits.
    let device = D::start(&site, &Setup { graceful: true, hold_time: 3600, ..Setup::default() });
    let start = async || {
        let mut speakers =
            Family::ALL.map(|family| site.speaker_as(0, family, Default::default(), |config| config.hold_time = 3600));
        for speaker in &mut speakers {
            speaker.enable(both_ways(&OUR_ROUTES)).await;
        }
        speakers
    };
    let mut speakers = start().await;
    for speaker in &mut speakers {
        speaker.accepts("up", &DEVICE_ROUTES).await;
    }
    device_knows(&device, "our routes", &OUR_ROUTES, true).await;
    // FRR resets a session now and then while it starts, and takes a connection this soon after the first for a collision.
    for round in 0.. {
        assert!(round < 20, "the sessions do not come to rest");
        let mut flaps = [0; 2];
        for (speaker, flaps) in speakers.iter_mut().zip(&mut flaps) {
            *flaps = speaker.accepts_soon("at rest", &DEVICE_ROUTES).await.facts.flaps;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut same = Family::ALL.into_iter().all(|family| device.established(&site, family));
        for (speaker, flaps) in speakers.iter_mut().zip(flaps) {
            let facts = speaker.snapshot().await.facts;
            same &= facts.up && facts.flaps == flaps;
        }
        if same {
            break;
        }
    }
    site.go_silently();
    for speaker in speakers {
        speaker.kill().await;
    }
    assert!(Family::ALL.into_iter().all(|family| device.established(&site, family)), "the device has heard of it");
    let mut speakers = start().await;
    for speaker in &mut speakers {
        let update = speaker.accepts("taken back", &DEVICE_ROUTES).await;
        assert_eq!(update.facts.flaps, 0);
    }
    device_knows(&device, "our routes again", &OUR_ROUTES, true).await;
}

/// TCP breaks without a NOTIFICATION: a device that helps keeps our routes for the ten seconds that we ask for.
async fn our_routes_outlive_our_connection_for_a_while<D: Device>(name: &str) {
    let site = Site::new(name);
    let device = D::start(&site, &Setup { graceful: true, ..Setup::default() });
    for round in 0.. {
        let mut speakers = site.pair(&both_ways(&OUR_ROUTES)).await;
        for speaker in &mut speakers {
            speaker.accepts("up", &DEVICE_ROUTES).await;
        }
        device_knows(&device, "our routes", &OUR_ROUTES, true).await;
        let begun = Instant::now();
        for speaker in speakers {
            speaker.kill().await;
        }
        for family in Family::ALL {
            eventually("the device notices", || match device.established(&site, family) {
                true => Err("still established".to_owned()),
                false => Ok(()),
            })
            .await;
        }
        let kept = OUR_ROUTES.map(|route| device.knows(route));
        // On a machine that stands still this long the routes may be gone rightly.
        if kept != [true, true] && begun.elapsed() > Duration::from_secs(8) && round < 10 {
            continue;
        }
        assert_eq!(kept, [true, true]);
        break;
    }
    device_knows(&device, "the end of our routes", &OUR_ROUTES, false).await;
}
