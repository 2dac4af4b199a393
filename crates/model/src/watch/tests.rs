//! One case per row of the nodes' table, the sentences below it, and any sequence of events against a naive reading of both.

use proptest::prelude::*;

use super::*;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn up(profile: KeepaliveProfile) -> NodeWatch {
    let mut watch = NodeWatch::enrolled(profile);
    watch.keepalive(s(0));
    watch.keepalive(s(1));
    watch
}

fn witness() -> NodeId {
    NodeId(uuid::Uuid::from_u128(7))
}

fn refusal() -> Refusal {
    Refusal { revision: 4, item: "bridge cwbr-1".to_owned(), error: "EEXIST".to_owned() }
}

fn dead(name: &str) -> Vec<Service> {
    let service = |name: &str, dead: Option<&str>| Service { name: name.to_owned(), dead: dead.map(str::to_owned) };
    vec![service("netlink", None), service(name, Some("no heartbeat for 5 s"))]
}

#[test]
fn every_row_of_the_node_table() {
    use NodeState as S;
    use ReasonCode as R;
    let profile = KeepaliveProfile::Medium;
    let (at, base) = (s(60), up(profile));
    let with = |change: &dyn Fn(&mut NodeWatch)| {
        let mut watch = base.clone();
        change(&mut watch);
        watch.tick(at);
        watch
    };
    let heard = |watch: &mut NodeWatch| (1..5).for_each(|n| watch.keepalive(s(12 * n)));
    let cases: Vec<(&str, NodeWatch, S, Option<R>)> = vec![
        ("1 enrolled", NodeWatch::enrolled(profile), S::Waiting, Some(R::NodeWaiting)),
        (
            "1 restarted, before every other row",
            with(&|watch| {
                watch.restarted(s(0));
                watch.machine(MachineState::Stopped);
                watch.services(&dead("ike"));
                watch.report(Some(refusal()), s(2));
            }),
            S::Waiting,
            Some(R::NodeWaiting),
        ),
        (
            "2 the machine, before a dead service",
            with(&|watch| {
                heard(watch);
                watch.machine(MachineState::Stopped);
                watch.services(&dead("ike"));
            }),
            S::Down,
            Some(R::MachineStopped),
        ),
        (
            "4 the machine runs again: what was heard before it stopped does not count",
            with(&|watch| {
                heard(watch);
                watch.machine(MachineState::Stopped);
                watch.machine(MachineState::Running);
            }),
            S::Down,
            Some(R::NodeSilent),
        ),
        (
            "2 a service, although somebody vouches",
            with(&|watch| {
                watch.services(&dead("packet_threads"));
                watch.vouch(witness(), s(59));
            }),
            S::Down,
            Some(R::CriticalServiceDead),
        ),
        (
            "3, although an item was refused",
            with(&|watch| {
                watch.vouch(witness(), s(48));
                watch.report(Some(refusal()), s(2));
            }),
            S::KeepaliveFail,
            Some(R::NodeKeepaliveFail),
        ),
        ("4: of the last interval only one was heard", with(&|_| {}), S::Down, Some(R::NodeSilent)),
        ("4 a witness of long ago", with(&|watch| watch.vouch(witness(), s(47))), S::Down, Some(R::NodeSilent)),
        (
            "5",
            with(&|watch| {
                heard(watch);
                watch.report(Some(refusal()), s(50));
                watch.probed(Some("refused".to_owned()));
            }),
            S::ConfigFail,
            Some(R::ConfigRefused),
        ),
        (
            "6 not to be probed",
            with(&|watch| {
                heard(watch);
                watch.probed(Some("timed out".to_owned()));
            }),
            S::Up,
            Some(R::UnreachableOn443),
        ),
        (
            "6 with a disk that takes nothing",
            with(&|watch| {
                heard(watch);
                watch.probed(Some("timed out".to_owned()));
                watch.disk(Some("No space left on device".to_owned()));
            }),
            S::Up,
            Some(R::DiskUnwritable),
        ),
        (
            "6 by promises that the controller passes on",
            with(&|watch| {
                heard(watch);
                watch.probed(Some("timed out".to_owned()));
                watch.relayed(true);
            }),
            S::Up,
            Some(R::LeaseRelayed),
        ),
        (
            "6 with a copy of its identity, whose hello counts as a restart",
            with(&|watch| {
                watch.twin(R::DuplicateIdentity.into(), s(10));
                watch.restarted(s(0));
                heard(watch);
                watch.disk(Some("No space left on device".to_owned()));
            }),
            S::Up,
            Some(R::DuplicateIdentity),
        ),
        ("6", with(&heard), S::Up, None),
        (
            "6 two are enough",
            with(&|watch| {
                watch.keepalive(s(20));
                watch.keepalive(s(60));
            }),
            S::Up,
            None,
        ),
    ];
    for (row, watch, state, reason) in &cases {
        let (found, fault) = watch.state();
        assert_eq!((found, fault.map(|fault| fault.code)), (*state, *reason), "row {row}");
    }
    let rows: std::collections::BTreeSet<_> = cases.iter().filter_map(|(row, ..)| row.chars().next()).collect();
    assert_eq!(rows.into_iter().collect::<String>(), "123456");
}

#[test]
fn a_waiting_and_a_lost_node_are_up_at_their_second_keepalive() {
    for profile in [KeepaliveProfile::Fast, KeepaliveProfile::Medium, KeepaliveProfile::Slow] {
        let (period, interval) = (profile.period(), profile.interval());
        let mut watch = NodeWatch::enrolled(profile);
        watch.tick(s(100_000));
        assert_eq!(watch.state().0, NodeState::Waiting, "nothing was heard, so nothing is judged");
        let first = s(100_001);
        watch.keepalive(first);
        assert_eq!(watch.state().0, NodeState::Waiting);
        watch.tick(first + interval - Duration::from_millis(1));
        assert_eq!(watch.state().0, NodeState::Waiting, "judged one full interval after its first");
        watch.tick(first + interval);
        assert_eq!(watch.state().0, NodeState::Down);
        let again = first + interval + Duration::from_secs(1);
        watch.keepalive(again);
        assert_eq!(watch.state().0, NodeState::Down);
        watch.keepalive(again + period);
        assert_eq!(watch.state().0, NodeState::Up);
        watch.tick(again + interval - Duration::from_millis(1));
        assert_eq!(watch.state().0, NodeState::Up, "judged one full interval after its first");
        watch.tick(again + interval);
        assert_eq!(watch.state().0, NodeState::Down, "of the last interval only one was heard");
    }
}

#[test]
fn a_controller_that_starts_keeps_the_last_state_for_one_full_interval() {
    let profile = KeepaliveProfile::Fast;
    for last in [NodeState::Up, NodeState::KeepaliveFail, NodeState::Down, NodeState::Waiting] {
        let mut silent = NodeWatch::taken_over(profile, last, s(10));
        silent.tick(Duration::from_millis(16_999));
        assert_eq!(silent.state().0, last);
        assert!(silent.is_silent(s(16)));
        silent.tick(s(17));
        assert_eq!(silent.state().0, NodeState::Down, "from {last}");
        let mut heard = NodeWatch::taken_over(profile, last, s(10));
        (6..20).for_each(|n| heard.keepalive(s(2 * n)));
        assert_eq!(heard.state().0, NodeState::Up, "from {last}");
    }
}

#[test]
fn a_copy_of_an_identity_is_told_until_it_was_not_seen_for_long() {
    let mut watch = up(KeepaliveProfile::Slow);
    let of = |address: &str| Fault::new(ReasonCode::DuplicateIdentity).with("superseded", address.to_owned());
    watch.twin(of("192.0.2.1:7"), s(10));
    watch.twin(of("192.0.2.1:8"), s(70));
    watch.tick(s(250));
    assert_eq!(watch.state().1, Some(of("192.0.2.1:8")));
    watch.tick(s(251));
    assert_eq!(watch.state().1, None);
}

#[test]
fn a_judge_that_slept_finds_nobody_silent_before_one_more_interval() {
    let mut watch = up(KeepaliveProfile::Fast);
    watch.tick(s(3600));
    assert_eq!(watch.state().0, NodeState::Up);
    watch.tick(s(3606));
    assert_eq!(watch.state().0, NodeState::Up);
    watch.tick(s(3607));
    assert_eq!(watch.state().0, NodeState::Down);
}

#[test]
fn silence_begins_after_two_periods_and_lasts_while_the_verdict_is_pending() {
    let mut watch = NodeWatch::enrolled(KeepaliveProfile::Medium);
    watch.keepalive(s(0));
    watch.report(None, s(1));
    assert!(watch.is_silent(s(1)), "the verdict is pending");
    watch.keepalive(s(2));
    assert!(!watch.is_silent(s(26)));
    assert!(watch.is_silent(s(27)));
    watch.frame(s(27));
    assert!(!watch.is_silent(s(27)), "any frame will do");
    watch.restarted(s(27));
    watch.keepalive(s(28));
    watch.keepalive(s(29));
    assert!(watch.is_silent(s(29)), "nothing was reported since");
}

#[test]
fn a_process_that_is_lost_before_its_first_keepalive_is_found_out() {
    let mut watch = up(KeepaliveProfile::Medium);
    watch.restarted(s(10));
    watch.tick(s(129));
    assert_eq!(watch.state().0, NodeState::Waiting);
    let mut heard = watch.clone();
    watch.tick(s(130));
    assert_eq!(watch.state().0, NodeState::Down);
    heard.keepalive(s(129));
    heard.tick(s(130));
    assert_eq!(heard.state().0, NodeState::Waiting, "an interval from the first one on");
    let mut enrolled = NodeWatch::enrolled(KeepaliveProfile::Medium);
    enrolled.tick(s(3600));
    assert_eq!(enrolled.state().0, NodeState::Waiting, "nothing was ever on it");
}

#[test]
fn witnesses_are_bounded_and_the_newest_stay() {
    let mut watch = up(KeepaliveProfile::Medium);
    for number in 0..1000 {
        watch.vouch(NodeId(uuid::Uuid::from_u128(number)), s(u64::try_from(number).expect("small") / 20));
    }
    assert_eq!(watch.witnesses.len(), WITNESSES);
    watch.tick(s(60));
    assert_eq!(watch.state().0, NodeState::KeepaliveFail);
}

/// What may happen, in steps of a second.
#[derive(Clone, Copy, Debug)]
enum Happens {
    Keepalive,
    Report(bool),
    Service(bool),
    Machine(MachineState),
    Vouch(u64),
    Restart,
    Nothing,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => Just(Happens::Keepalive),
        1 => any::<bool>().prop_map(Happens::Report),
        1 => any::<bool>().prop_map(Happens::Service),
        1 => prop_oneof![Just(MachineState::Stopped), Just(MachineState::Unknown)].prop_map(Happens::Machine),
        2 => (0_u64..8).prop_map(Happens::Vouch),
        1 => Just(Happens::Restart),
        12 => Just(Happens::Nothing),
    ]
}

/// The table read naively: everything that ever happened, looked through from the start.
fn oracle(profile: KeepaliveProfile, events: &[Happens]) -> NodeState {
    let (period, interval) = (profile.period().as_secs(), profile.interval().as_secs());
    // Since the last restart, which is at the time of its index.
    let from = events.iter().rposition(|event| matches!(event, Happens::Restart)).map_or(0, |at| at + 1);
    let heard: Vec<u64> = (from..events.len())
        .filter(|at| matches!(events.get(*at), Some(Happens::Keepalive)))
        .map(|at| at as u64)
        .collect();
    // A machine stops: what was heard of it is forgotten.
    let mut machine = MachineState::Unknown;
    let mut stops = Vec::new();
    for (at, event) in events.iter().enumerate() {
        if let Happens::Machine(state) = event {
            if *state == MachineState::Stopped && machine != *state {
                stops.push(at as u64);
            }
            machine = *state;
        }
    }
    let end = events.len() as u64 - 1;
    let answered: Vec<(u64, u64)> = events
        .iter()
        .enumerate()
        .filter_map(|(at, event)| match event {
            Happens::Vouch(age) => Some((at as u64, (at as u64).saturating_sub(*age))),
            _ => None,
        })
        .collect();
    // None: not judged; Some(None): enough; Some(Some(vouched)): too few.
    let (mut verdict, mut first): (Option<Option<bool>>, Option<u64>) = (None, None);
    // Who never says anything after a start is judged all the same.
    let mut judged = (from as u64).checked_sub(1).map(|restart| restart + 2 * interval);
    for second in from as u64..=end {
        if judged == Some(second) {
            // What happens in this second comes after the judgement.
            let stopped = stops.iter().rev().find(|at| **at < second).copied();
            let counts =
                |at: u64| at > second.saturating_sub(interval) && at < second && stopped.is_none_or(|stop| at > stop);
            let count = heard.iter().filter(|at| counts(**at)).count();
            let vouched = answered.iter().any(|(told, at)| *told < second && at + period >= second);
            verdict = Some((count < 2).then_some(vouched));
            (first, judged) = (None, Some(second + interval));
        }
        if stops.contains(&second) {
            first = None;
            verdict = verdict.map(|verdict| verdict.or(Some(false)));
        }
        if heard.contains(&second) && verdict != Some(None) {
            if first.is_some() {
                (verdict, first) = (Some(None), None);
            } else {
                (first, judged) = (Some(second), Some(second + interval));
            }
        }
    }
    let last = |pick: &dyn Fn(&Happens) -> Option<bool>, from: usize| {
        events.iter().skip(from).rev().find_map(pick).unwrap_or_default()
    };
    let stopped = last(
        &|event| match event {
            Happens::Machine(state) => Some(*state == MachineState::Stopped),
            _ => None,
        },
        0,
    );
    let service_dead = last(
        &|event| match event {
            Happens::Service(dead) => Some(*dead),
            _ => None,
        },
        from,
    );
    let refused = last(
        &|event| match event {
            Happens::Report(refused) => Some(*refused),
            _ => None,
        },
        from,
    );
    match verdict {
        None => NodeState::Waiting,
        Some(_) if stopped || service_dead => NodeState::Down,
        Some(Some(true)) => NodeState::KeepaliveFail,
        Some(Some(false)) => NodeState::Down,
        Some(None) if refused => NodeState::ConfigFail,
        Some(None) => NodeState::Up,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_history_is_judged_as_the_table_reads(
        fast in any::<bool>(),
        events in prop::collection::vec(happens(), 1..260),
    ) {
        let profile = if fast { KeepaliveProfile::Fast } else { KeepaliveProfile::Medium };
        let mut watch = NodeWatch::enrolled(profile);
        for (at, event) in events.iter().enumerate() {
            let now = s(at as u64);
            watch.tick(now);
            match event {
                Happens::Keepalive => watch.keepalive(now),
                Happens::Report(refused) => watch.report(refused.then(refusal), now),
                Happens::Service(is_dead) => watch.services(if *is_dead { dead("ike") } else { Vec::new() }.as_slice()),
                Happens::Machine(state) => watch.machine(*state),
                Happens::Vouch(age) => watch.vouch(witness(), now.saturating_sub(s(*age))),
                Happens::Restart => watch.restarted(now),
                Happens::Nothing => {}
            }
            let seen = events.get(..=at).unwrap_or_default();
            prop_assert_eq!(watch.state().0, oracle(profile, seen), "after {:?}", seen);
        }
    }
}
