//! Preference and choice between routes: the clauses of system.md §2.4 as tables.

use std::time::{Duration, Instant};

use causeway_bgp::{Candidate, LinkKind, MAX_ECMP, Step, best_paths, preference, select};

fn tag(asn: u32, value: u32) -> u32 {
    asn << 16 | value
}

#[test]
fn preference_by_community_and_kind() {
    let cases: [(LinkKind, Vec<u32>, u32); 10] = [
        (LinkKind::InterLink, vec![], 100),
        (LinkKind::Vpn, vec![], 90),
        (LinkKind::Vpn, vec![tag(12876, 42050)], 50),
        (LinkKind::InterLink, vec![tag(12876, 42050)], 50),
        (LinkKind::Vpn, vec![tag(12876, 42100)], 100),
        (LinkKind::Vpn, vec![tag(12876, 42200)], 200),
        (LinkKind::Vpn, vec![tag(12876, 42050), tag(12876, 42200), tag(12876, 42100)], 200),
        (LinkKind::Vpn, vec![tag(12876, 42100), tag(12876, 42050)], 100),
        (LinkKind::Vpn, vec![tag(12877, 42200)], 90),
        (LinkKind::InterLink, vec![tag(12876, 42201), tag(65001, 42200)], 100),
    ];
    for (kind, communities, expected) in cases {
        assert_eq!(preference(kind, 12876, &communities), expected, "{kind:?} {communities:?}");
    }
    assert_eq!(preference(LinkKind::Vpn, 64512, &[tag(64512, 42200)]), 200);
    // An AS number over two octets cannot be in a standard community, not even by its lower half.
    assert_eq!(preference(LinkKind::Vpn, 65536 + 12876, &[tag(12876, 42200)]), 90);
}

fn candidate(preference: u32, as_path_length: usize, med: Option<u32>) -> Candidate {
    Candidate { preference, as_path_length, med, received_at: base() }
}

fn base() -> Instant {
    static BASE: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

#[test]
fn each_step_decides_only_when_those_before_are_equal() {
    let untagged_interlink = candidate(100, 9, Some(900));
    let cases = [
        (
            "an untagged InterLink beats an untagged VPN",
            untagged_interlink,
            candidate(90, 1, Some(1)),
            Step::Preference,
            (90, 100),
        ),
        (
            "a VPN tagged high beats an untagged InterLink",
            candidate(200, 9, None),
            untagged_interlink,
            Step::Preference,
            (100, 200),
        ),
        ("the shorter path", candidate(90, 1, Some(500)), candidate(90, 2, Some(1)), Step::AsPathLength, (2, 1)),
        (
            "the lower MED, whoever the neighbour",
            candidate(90, 1, Some(1)),
            candidate(90, 1, Some(2)),
            Step::Med,
            (2, 1),
        ),
        ("no MED counts as 0", candidate(90, 1, None), candidate(90, 1, Some(1)), Step::Med, (1, 0)),
    ];
    for (what, winner, loser, step, values) in cases {
        for (order, (best, beaten)) in [([winner, loser], (0, 1)), ([loser, winner], (1, 0))] {
            let selection = select(&order);
            assert_eq!(selection.best, [best], "{what}");
            assert_eq!(selection.beaten.len(), 1, "{what}");
            let why = selection.beaten[0];
            assert_eq!((why.index, why.by, why.step, why.values), (beaten, best, step, values), "{what}");
        }
    }
}

#[test]
fn equal_routes_share_and_beyond_eight_the_oldest_win() {
    assert_eq!(best_paths(&[candidate(90, 1, None), candidate(90, 1, Some(0))]), [0, 1]);
    // Ten, the youngest first.
    let candidates: Vec<Candidate> = (0..10)
        .map(|i| Candidate { received_at: base() + Duration::from_secs(100 - i), ..candidate(90, 2, Some(5)) })
        .collect();
    let selection = select(&candidates);
    assert_eq!(selection.best, [9, 8, 7, 6, 5, 4, 3, 2]);
    assert_eq!(selection.best.len(), MAX_ECMP);
    let losers: Vec<_> = selection.beaten.iter().map(|beaten| (beaten.index, beaten.step)).collect();
    assert_eq!(losers, [(1, Step::Age), (0, Step::Age)]);
    // A worse one does not fill up a place.
    let few = select(&[candidates[0], candidate(90, 3, Some(5)), candidates[1]]);
    assert_eq!(few.best, [2, 0]);
    assert_eq!(few.beaten[0].step, Step::AsPathLength);
}

#[test]
fn nothing_to_choose_from() {
    assert!(best_paths(&[]).is_empty());
    assert_eq!(best_paths(&[candidate(0, 0, None)]), [0]);
}

#[test]
fn losses_are_explained_in_words() {
    let words = |a, b| select(&[a, b]).beaten[0].to_string();
    assert_eq!(words(candidate(100, 1, None), candidate(90, 1, None)), "preference 90 is lower than 100");
    assert_eq!(words(candidate(90, 1, None), candidate(90, 3, None)), "AS path of 3 is longer than 1");
    assert_eq!(words(candidate(90, 1, None), candidate(90, 1, Some(7))), "MED 7 is higher than 0");
    let nine = select(&[candidate(90, 1, None); 9]);
    assert_eq!(nine.beaten[0].to_string(), "8 older routes share the load already");
}
