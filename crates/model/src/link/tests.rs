//! Every arrow of the diagram of system.md §3, the deadlines of §4, and random walks of all parties that never leave the diagram.

use super::*;
use crate::status::{LinkStatus, LinkView, NodeView, link_status};

const T0: Timestamp = Timestamp(1_700_000_000_000_000);

fn after(days: i64) -> Timestamp {
    T0.plus_seconds(days * DAY)
}

fn hosted(events: &[LinkEvent]) -> LinkLife {
    walk(LinkKind::Hosted, events)
}

/// An order that was not placed in time.
fn failed(kind: LinkKind) -> LinkLife {
    let mut life = LinkLife::ordered(kind, T0);
    assert!(life.elapse(T0.plus_seconds(PLACEMENT_DEADLINE)));
    life
}

fn walk(kind: LinkKind, events: &[LinkEvent]) -> LinkLife {
    let mut life = LinkLife::ordered(kind, T0);
    for event in events {
        life.apply(event.clone(), T0).unwrap_or_else(|refusal| panic!("{event:?}: {refusal}"));
    }
    life
}

fn status(life: &LinkLife, now: Timestamp) -> LinkStatus {
    let view = LinkView {
        life,
        node: NodeView::UP,
        pending_for: None,
        refused: None,
        expected: &[],
        ever_up: false,
        vpc: false,
        vpc_elsewhere: None,
        propagation: false,
        now,
    };
    link_status(&view).0
}

#[test]
fn every_arrow_of_the_diagram() {
    use LinkEvent as E;
    use LinkKind::{Hosted, SelfHosted};
    use LinkStatus as S;
    let refused = || E::Refused("no capacity at this place".to_owned());
    let cases = [
        ("configuring to requested", Hosted, vec![], E::Placed, S::Requested),
        ("requested to provisioning", Hosted, vec![E::Placed], E::Accepted, S::Provisioning),
        ("requested to refused", Hosted, vec![E::Placed], refused(), S::Refused),
        ("provisioning to active", Hosted, vec![E::Placed, E::Accepted], E::Provisioned, S::Active),
        ("self-hosted configuring to ready", SelfHosted, vec![], E::Placed, S::Ready),
    ];
    for (arrow, kind, before, event, expected) in cases {
        let mut life = walk(kind, &before);
        life.apply(event, T0).unwrap_or_else(|refusal| panic!("{arrow}: {refusal}"));
        assert_eq!(status(&life, T0), expected, "{arrow}");
    }
}

#[test]
fn ten_days_without_an_answer_expire_a_request() {
    let mut life = hosted(&[LinkEvent::Placed]);
    assert_eq!(life.deadline(), Some(after(10)));
    assert!(!life.elapse(Timestamp(after(10).0 - 1)));
    let mut late = life.clone();
    assert_eq!(
        late.apply(LinkEvent::Accepted, after(10)),
        Err(LinkRefusal::OutOfOrder("expired")),
        "nobody looked at the clock"
    );
    assert!(life.elapse(after(30)), "however late the clock is looked at");
    assert_eq!(life.stage, Stage::Expired { at: after(10) });
    assert_eq!(life, late);
    assert_eq!(life.apply(LinkEvent::Repaired, after(30)), Err(LinkRefusal::OutOfOrder("expired")));
    life.apply(LinkEvent::TenantDeleted, after(30)).expect("only deletion is left");
    assert_eq!(life.readable_until(), Some(after(30)), "gone at once");
}

#[test]
fn a_lock_does_not_stop_the_ten_days_and_a_repair_starts_them_again() {
    let mut locked = hosted(&[LinkEvent::Placed, LinkEvent::Locked]);
    assert_eq!(locked.apply(LinkEvent::TenantDeleted, T0), Err(LinkRefusal::Locked));
    assert!(locked.elapse(after(10)));
    let mut repaired = failed(LinkKind::Hosted);
    repaired.apply(LinkEvent::Repaired, after(4)).expect("failed links are repaired");
    assert_eq!(repaired.deadline(), Some(after(14)));
}

#[test]
fn an_order_that_is_not_placed_in_time_fails_and_is_repaired() {
    for (kind, repaired) in [(LinkKind::Hosted, LinkStatus::Requested), (LinkKind::SelfHosted, LinkStatus::Configuring)]
    {
        let mut life = LinkLife::ordered(kind, T0);
        assert_eq!(life.apply(LinkEvent::TenantDeleted, T0), Err(LinkRefusal::BeingPlaced));
        assert!(!life.elapse(T0.plus_seconds(29)));
        assert_eq!(status(&life, T0), LinkStatus::Configuring);
        assert!(life.elapse(T0.plus_seconds(30)));
        assert_eq!(status(&life, T0), LinkStatus::Failed);
        assert_eq!(life.turn(), Party::Operator);
        life.apply(LinkEvent::Repaired, T0.plus_seconds(31)).expect("failed links are repaired");
        assert_eq!(status(&life, T0), repaired);
    }
}

#[test]
fn another_time_to_answer_moves_deadline_and_reminders() {
    let mut life = hosted(&[LinkEvent::Placed]);
    life.answer_seconds = Some(20);
    assert_eq!(life.deadline(), Some(T0.plus_seconds(20)));
    let due: Vec<_> = life.reminders(T0, T0.plus_seconds(19)).into_iter().map(|due| due.at).collect();
    assert_eq!(due, [6, 14, 18].map(|seconds| T0.plus_seconds(seconds)));
    assert_eq!(life.next_reminder(T0.plus_seconds(6)), Some(T0.plus_seconds(14)));
    assert_eq!(life.next_reminder(T0.plus_seconds(18)), None);
    assert!(!life.elapse(T0.plus_seconds(19)));
    assert!(life.elapse(T0.plus_seconds(20)));
    assert_eq!(status(&life, T0), LinkStatus::Expired);
}

#[test]
fn a_provisioned_link_is_deleted_by_both_in_either_order() {
    use LinkEvent as E;
    let provisioned = [E::Placed, E::Accepted, E::Provisioned];
    let mut ours_first = hosted(&provisioned);
    ours_first.apply(E::TenantDeleted, after(1)).expect("deletes");
    assert_eq!((status(&ours_first, after(1)), ours_first.turn()), (LinkStatus::Deprovisioning, Party::Partner));
    assert_eq!(ours_first.apply(E::TenantDeleted, after(2)), Err(LinkRefusal::OutOfOrder("in service")));
    ours_first.apply(E::DeprovisioningStarted, after(2)).expect("the partner follows");
    ours_first.apply(E::Deprovisioned, after(3)).expect("the partner is done");
    assert_eq!(ours_first.readable_until(), Some(after(4)), "24 hours");
    let mut theirs_first = hosted(&provisioned);
    theirs_first.apply(E::Deprovisioned, after(1)).expect("the partner begins and ends at once");
    assert_eq!((status(&theirs_first, after(1)), theirs_first.turn()), (LinkStatus::Deprovisioning, Party::Tenant));
    theirs_first.apply(E::TenantDeleted, after(5)).expect("deletes");
    assert_eq!(theirs_first.readable_until(), Some(after(6)));
    assert_eq!(theirs_first.apply(E::Deprovisioned, after(6)), Err(LinkRefusal::Deleted));
}

#[test]
fn a_link_that_was_never_provisioned_needs_one_deletion() {
    use LinkEvent as E;
    for mut life in [hosted(&[E::Placed]), hosted(&[E::Placed, E::Accepted]), failed(LinkKind::Hosted)] {
        life.apply(E::TenantDeleted, T0).expect("deletes");
        assert_eq!(life.deleted_at(), Some(T0), "{life:?}");
        assert_eq!(life.readable_until(), Some(T0), "{life:?}");
    }
    let mut left = hosted(&[E::Placed, E::Accepted, E::DeprovisioningStarted]);
    assert_eq!(status(&left, T0), LinkStatus::Deprovisioning);
    assert_eq!(left.apply(E::Provisioned, T0), Err(LinkRefusal::OutOfOrder("provisioning")));
    left.apply(E::TenantDeleted, T0).expect("deletes");
    assert_eq!(left.readable_until(), Some(after(1)), "it had passed through deprovisioning");
}

#[test]
fn a_self_hosted_link_has_no_partner() {
    use LinkEvent as E;
    let mut life = walk(LinkKind::SelfHosted, &[E::Placed]);
    for event in [E::Accepted, E::Refused(String::new()), E::Provisioned, E::DeprovisioningStarted, E::Deprovisioned] {
        assert_eq!(life.apply(event, T0), Err(LinkRefusal::NoPartner));
    }
    assert_eq!(life.apply(E::Removed, T0), Err(LinkRefusal::OutOfOrder("in service")));
    life.apply(E::TenantDeleted, T0).expect("deletes");
    assert_eq!(life.turn(), Party::Platform);
    life.apply(E::Removed, after(1)).expect("the node confirms");
    assert_eq!(life.deleted_at(), Some(after(1)));
    assert_eq!(life.readable_until(), Some(after(2)), "it had passed through deprovisioning");
    let mut failed = failed(LinkKind::SelfHosted);
    failed.apply(E::TenantDeleted, T0).expect("deletes");
    assert_eq!((failed.deleted_at(), failed.readable_until()), (Some(T0), Some(T0)), "gone at once");
}

#[test]
fn reminders_are_neither_repeated_nor_forgotten() {
    let life = hosted(&[LinkEvent::Placed]);
    let at = |reminders: Vec<Reminder>| reminders.into_iter().map(|due| (due.at, due.to)).collect::<Vec<_>>();
    assert_eq!(at(life.reminders(T0, after(3))), [(after(3), Party::Tenant)]);
    assert_eq!(at(life.reminders(after(3), after(3))), []);
    assert_eq!(at(life.reminders(after(3), after(10))), [(after(7), Party::Tenant), (after(9), Party::Tenant)]);
    let provisioning = hosted(&[LinkEvent::Placed, LinkEvent::Accepted]);
    assert_eq!(at(provisioning.reminders(T0, after(15))), [(after(7), Party::Partner), (after(14), Party::Partner)]);
    let mut leaving = hosted(&[LinkEvent::Placed, LinkEvent::Accepted, LinkEvent::Provisioned]);
    assert_eq!(at(leaving.reminders(T0, after(100))), []);
    leaving.apply(LinkEvent::TenantDeleted, after(1)).expect("deletes");
    assert_eq!(at(leaving.reminders(after(1), after(8))), [(after(8), Party::Partner)]);
    assert_eq!(leaving.reminders(T0, after(7 * 1000)).len(), 64, "bounded, whatever the clock says");
}

/// A small generator (xorshift): the same walks at every run.
struct Walk(u64);

impl Walk {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

const ARROWS: &[(LinkStatus, LinkStatus)] = {
    use LinkStatus::{
        Active, Configuring, Deleted, Deprovisioning, Expired, Failed, Provisioning, Ready, Refused, Requested,
    };
    &[
        (Configuring, Requested),
        (Configuring, Failed),
        (Configuring, Ready),
        (Requested, Provisioning),
        (Requested, Refused),
        (Requested, Expired),
        (Requested, Deleted),
        (Provisioning, Active),
        (Provisioning, Deprovisioning),
        (Provisioning, Deleted),
        (Active, Deprovisioning),
        (Ready, Deprovisioning),
        (Deprovisioning, Deleted),
        (Failed, Requested),
        (Failed, Configuring),
        (Failed, Deleted),
        (Refused, Deleted),
        (Expired, Deleted),
    ]
};

#[test]
fn random_actions_of_all_parties_never_leave_the_diagram() {
    use LinkEvent as E;
    let mut seen = std::collections::BTreeSet::new();
    for seed in 1..=4000 {
        let mut random = Walk(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let kind = if random.below(3) == 0 { LinkKind::SelfHosted } else { LinkKind::Hosted };
        let mut now = T0;
        let mut life = LinkLife::ordered(kind, now);
        for _ in 0..30 {
            now = now.plus_seconds([0, 1, 20, DAY, 4 * DAY][usize::try_from(random.below(5)).expect("small")]);
            let event = match random.below(12) {
                0 | 1 => E::Placed,
                2 => E::Repaired,
                3 => E::Accepted,
                4 => E::Refused("no".to_owned()),
                5 => E::Provisioned,
                6 => E::DeprovisioningStarted,
                7 => E::Deprovisioned,
                8 => E::TenantDeleted,
                9 => E::Removed,
                10 => E::Locked,
                _ => E::Unlocked,
            };
            let unlocked = |life: &LinkLife| status(&LinkLife { locked: false, ..life.clone() }, now);
            let mut steps = vec![unlocked(&life)];
            life.elapse(now);
            steps.push(unlocked(&life));
            let before = life.clone();
            let outcome = life.apply(event.clone(), now);
            if outcome.is_err() {
                assert_eq!(life, before, "a refused {event:?} changes nothing");
            }
            steps.push(unlocked(&life));
            for pair in steps.windows(2) {
                let [from, to] = pair else { continue };
                if from != to {
                    assert!(ARROWS.contains(&(*from, *to)), "seed {seed}: {from} to {to} by {event:?}");
                    seen.insert((*from, *to));
                }
            }
            let gone = matches!(unlocked(&life), LinkStatus::Deleted | LinkStatus::Deprovisioning);
            assert_eq!(status(&life, now) == LinkStatus::Locked, life.locked && !gone, "seed {seed}");
            if life.deleted_at().is_some() {
                assert_eq!(life.turn(), Party::Nobody);
                assert_eq!(life.deadline(), None);
            }
        }
    }
    assert_eq!(seen.len(), ARROWS.len(), "every arrow was taken");
}

#[test]
fn the_next_reminder_is_the_first_of_those_that_fall_due() {
    use LinkEvent as E;
    let lives = [
        hosted(&[]),
        hosted(&[E::Placed]),
        hosted(&[E::Placed, E::Accepted]),
        hosted(&[E::Placed, E::Accepted, E::Provisioned]),
        hosted(&[E::Placed, E::Accepted, E::Provisioned, E::TenantDeleted]),
        hosted(&[E::Placed, E::Accepted, E::Provisioned, E::DeprovisioningStarted]),
    ];
    for life in lives {
        for hours in 0..(30 * 24) {
            let at = T0.plus_seconds(hours * 3600);
            let all = life.reminders(at, after(60));
            // A request is over after its ten days; the others go on for ever.
            assert_eq!(life.next_reminder(at), all.first().map(|reminder| reminder.at), "{life:?} {hours} h");
        }
    }
}

#[test]
fn a_clock_that_is_set_neither_shortens_nor_lengthens_a_wait() {
    for by in [-400 * DAY, -1, 1, 400 * DAY] {
        let mut life = hosted(&[LinkEvent::Placed]);
        let left = life.deadline().expect("a deadline").0 - after(4).0;
        life.clock_set(by * 1_000_000);
        let now = after(4).plus_seconds(by);
        assert_eq!(life.deadline().expect("a deadline").0 - now.0, left);
        assert!(!life.elapse(now));
        assert!(life.elapse(now.plus_seconds(6 * DAY)));
    }
}
