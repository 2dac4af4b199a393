//! What is waited for lasts as long whoever sets the clock (system.md §4).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use causeway_controller::Clock;
use causeway_model::command::{LinkChange, NewWebhook, Rename};
use causeway_model::desired::NodeDesired;
use causeway_model::status::LinkStatus;
use causeway_model::{LinkId, Timestamp};

use crate::harness::{REGION, World, open};
use crate::interlink::DAY;

/// A clock that can be set beside one that cannot.
struct SettableClock(Mutex<(Timestamp, Duration)>);

impl SettableClock {
    fn pass(&self, seconds: i64) {
        let mut reading = self.0.lock().expect("not poisoned");
        reading.0 = reading.0.plus_seconds(seconds);
        reading.1 += Duration::from_secs(seconds.unsigned_abs());
    }

    fn set(&self, seconds: i64) {
        let mut reading = self.0.lock().expect("not poisoned");
        reading.0 = reading.0.plus_seconds(seconds);
    }
}

impl Clock for SettableClock {
    fn now(&self) -> Timestamp {
        self.0.lock().expect("not poisoned").0
    }

    fn reading(&self) -> (Timestamp, Option<Duration>) {
        let (now, up) = *self.0.lock().expect("not poisoned");
        (now, Some(up))
    }
}

async fn status_of(world: &World, id: LinkId) -> LinkStatus {
    world.controller.run_deadlines().await.expect("deadlines");
    world.controller.link(&world.operator, REGION, id).await.expect("there").status
}

/// A service with a clock that the test sets.
async fn world_with_a_clock() -> (World, Arc<SettableClock>, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("causeway.db");
    let clock = Arc::new(SettableClock(Mutex::new((Timestamp(1_800_000_000_000_000), Duration::ZERO))));
    let controller = open(&path, clock.clone()).await;
    (World::first_start(controller, Arc::default(), directory).await, clock, path)
}

async fn ten_days_with(set: i64, across_a_restart: bool) {
    let (mut world, clock, path) = world_with_a_clock().await;
    let catalogue = world.catalogue().await;
    let id = world.order(catalogue.hosted(50)).await.link.id;
    assert_eq!(status_of(&world, id).await, LinkStatus::Requested);
    clock.pass(4 * DAY);
    assert_eq!(status_of(&world, id).await, LinkStatus::Requested);
    if across_a_restart {
        world.controller.close().await;
        clock.set(set);
        world.controller = open(&path, clock.clone()).await;
    } else {
        clock.set(set);
    }
    assert_eq!(status_of(&world, id).await, LinkStatus::Requested, "set by {set} s");
    clock.pass(6 * DAY - 10);
    assert_eq!(status_of(&world, id).await, LinkStatus::Requested, "set by {set} s");
    clock.pass(11);
    assert_eq!(status_of(&world, id).await, LinkStatus::Expired, "set by {set} s");
}

#[tokio::test]
async fn a_request_has_its_ten_days_whoever_sets_the_clock() {
    for set in [400 * DAY, -400 * DAY, 3600, -3600] {
        ten_days_with(set, false).await;
    }
}

#[tokio::test]
async fn what_is_done_before_a_set_clock_is_noticed_ends_no_wait() {
    for set in [11 * DAY, -400 * DAY] {
        let (world, clock, _) = world_with_a_clock().await;
        let catalogue = world.catalogue().await;
        let c = &world.controller;
        let [renamed, locked] =
            [world.order(catalogue.hosted(50)).await.link.id, world.order(catalogue.hosted(50)).await.link.id];
        assert_eq!(status_of(&world, renamed).await, LinkStatus::Requested);
        clock.set(set);
        let change = LinkChange { rename: Rename { name: Some("new".to_owned()), tags: None }, peer_asn: None };
        let after = c.update_link(&world.operator, REGION, renamed, change).await.expect("renamed");
        assert_eq!(after.status, LinkStatus::Requested, "set by {set} s");
        c.set_link_locked(&world.operator, REGION, locked, Some("why".to_owned())).await.expect("locked");
        let late = world.order(catalogue.hosted(50)).await.link.id;
        for id in [renamed, late] {
            assert_eq!(status_of(&world, id).await, LinkStatus::Requested, "set by {set} s");
        }
        c.set_link_locked(&world.operator, REGION, locked, None).await.expect("unlocked");
        clock.pass(10 * DAY - 60);
        for id in [renamed, locked, late] {
            assert_eq!(status_of(&world, id).await, LinkStatus::Requested, "set by {set} s");
        }
        clock.pass(61);
        for id in [renamed, locked, late] {
            assert_eq!(status_of(&world, id).await, LinkStatus::Expired, "set by {set} s");
        }
    }
}

#[tokio::test]
async fn a_clock_that_went_back_while_the_service_was_stopped_costs_nobody_time() {
    ten_days_with(-400 * DAY, true).await;
}

#[tokio::test]
async fn an_earlier_key_is_accepted_for_its_window_whoever_sets_the_clock() {
    for set in [400 * DAY, -400 * DAY] {
        let (world, clock, _) = world_with_a_clock().await;
        let (mut node, _, made) = world.connected().await;
        let accepted = |desired: &NodeDesired| desired.gateways[0].connections[0].psks.len();
        world.controller.run_deadlines().await.expect("deadlines");
        world.controller.renew_psk(&world.operator, REGION, made.connection.id, true).await.expect("renewed");
        node.wait_for(|desired| accepted(desired) == 2).await;
        clock.set(set);
        world.controller.run_deadlines().await.expect("deadlines");
        clock.pass(DAY - 60);
        world.controller.run_deadlines().await.expect("deadlines");
        assert_eq!(accepted(&*node.wait_for(|_| true).await), 2, "set by {set} s");
        clock.pass(61);
        world.controller.run_deadlines().await.expect("deadlines");
        node.wait_for(|desired| accepted(desired) == 1).await;
    }
}

#[tokio::test]
async fn a_delivery_is_tried_again_when_it_would_have_been_whoever_sets_the_clock() {
    for set in [400 * DAY, -400 * DAY] {
        let (world, clock, _) = world_with_a_clock().await;
        let catalogue = world.catalogue().await;
        let c = &world.controller;
        let hook = NewWebhook { url: "https://hooks.example.net/in".to_owned(), events: Vec::new() };
        c.create_webhook(&world.operator, hook).await.expect("made");
        world.order(catalogue.hosted(50)).await;
        c.run_deadlines().await.expect("deadlines");
        let due = c.outgoing(10, &BTreeMap::new()).await.expect("read").pop().expect("one");
        c.sent(due, Err("status 500".to_owned())).await.expect("noted");
        let wait = async || c.next_outgoing(Timestamp(0)).await.expect("read").expect("one waits").0 - c.time().0;
        let before = wait().await;
        clock.set(set);
        c.run_deadlines().await.expect("deadlines");
        assert_eq!(wait().await, before, "set by {set} s");
    }
}
