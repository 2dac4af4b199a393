//! What a device may announce, what becomes of it, and which of several ways is taken.

use std::collections::BTreeMap;

use causeway_bgp::{Candidate, LinkKind, Policy, Selection, Step, Verdict, preference, select};
use causeway_model::Family;
use causeway_node::session::{Guard, SessionUpdate};
use ipnet::IpNet;

use crate::daemons::{Announced, Device, Frr, Setup};
use crate::site::{FIRST, OURS, SECOND, Site, both_ways, net, nets, verdicts};

crate::with_both! {
    each_prefix_is_judged_and_explained "judge";
    preference_and_equal_ways "pref";
}

/// The tenant's AS number, which the tags name.
const PROVIDER: u16 = 12876;

fn judged<D: Device>(update: &SessionUpdate, wanted: &[(&str, Verdict)]) {
    let wanted: BTreeMap<IpNet, Verdict> =
        wanted.iter().map(|(prefix, verdict)| (net(prefix), verdict.clone())).collect();
    assert_eq!(verdicts(update), wanted);
    assert_eq!(update.facts.received as usize, wanted.len());
    assert_eq!(update.facts.accepted as usize, wanted.values().filter(|verdict| verdict.is_accepted()).count());
    assert!(update.facts.flaps <= u32::from(D::LATE_COLLISION_IS_A_RESTART), "{:?}", update.facts);
}

async fn each_prefix_is_judged_and_explained<D: Device>(name: &str) {
    let site = Site::new(name);
    let outside = Verdict::Filtered("not_in_prefix_filter_in");
    let looped = Verdict::Filtered("own_asn_in_path");
    let v4 = [
        ("192.168.7.0/24", Verdict::Accepted),
        ("192.168.8.128/25", Verdict::Accepted),
        ("0.0.0.0/0", outside.clone()),
        ("192.0.0.0/8", outside.clone()),
        ("10.77.0.0/16", outside.clone()),
        ("192.168.9.0/24", looped.clone()),
        ("192.168.200.0/25", Verdict::OverlapsLocal(net("192.168.200.0/24"))),
    ];
    let v6 = [
        ("fd20:7::/48", Verdict::Accepted),
        ("fd20:8:0:1::/64", Verdict::Accepted),
        ("::/0", outside.clone()),
        ("fd00::/8", outside.clone()),
        ("2001:db8::/32", outside.clone()),
        ("fd20:9::/48", looped),
        ("fd20:200::/64", Verdict::OverlapsLocal(net("fd20:200::/48"))),
        ("fd00:100::/126", Verdict::Filtered("interconnection_subnet")),
    ];
    let routes = v4.iter().chain(&v6).map(|(prefix, verdict)| Announced {
        prepend: if *verdict == Verdict::Filtered("own_asn_in_path") { vec![OURS] } else { Vec::new() },
        ..Announced::plain(prefix)
    });
    let _device = D::start(&site, &Setup { routes: routes.collect(), ..Setup::default() });
    let narrow =
        Policy { accept: nets(&["192.168.0.0/16", "fd20::/16"]), ..both_ways(&["192.168.200.0/24", "fd20:200::/48"]) };
    for speaker in &mut site.pair(&narrow).await {
        let wanted = if speaker.family().is_ipv6() { v6.as_slice() } else { v4.as_slice() };
        let update = speaker.until("all of them", |update| update.received.len() == wanted.len()).await;
        judged::<D>(&update, wanted);
        assert!(update.facts.fault.is_none(), "{:?}", update.facts.fault);

        // A list that names the default route admits it and everything else.
        speaker.set_policy(both_ways(&["192.168.200.0/24", "fd20:200::/48"])).await;
        let open: Vec<(&str, Verdict)> = wanted
            .iter()
            .map(|(prefix, verdict)| (*prefix, if *verdict == outside { Verdict::Accepted } else { verdict.clone() }))
            .collect();
        let accepted = open.iter().filter(|(_, verdict)| verdict.is_accepted()).count();
        judged::<D>(&speaker.until("the open list", |update| update.accepted().count() == accepted).await, &open);
    }
}

/// BIRD keeps such prefixes to itself.
#[tokio::test]
#[ignore = "needs root, frr and network namespaces"]
async fn martians_are_refused_as_such() {
    let site = Site::new("fmart");
    let v4 = ["0.0.0.0/8", "127.0.0.0/8", "127.1.0.0/16", "169.254.7.0/24", "224.0.0.0/8", "240.0.0.0/8"];
    let v6 = ["::/16", "ff00::/8"];
    let routes = v4.iter().chain(&v6).map(|prefix| Announced::plain(prefix));
    let routes = routes.chain([Announced::plain("192.168.7.0/24"), Announced::plain("fd20:7::/48")]);
    let _device = Frr::start(&site, &Setup { routes: routes.collect(), ..Setup::default() });
    for speaker in &mut site.pair(&both_ways(&[])).await {
        let good = if speaker.family().is_ipv6() { "fd20:7::/48" } else { "192.168.7.0/24" };
        let bad = if speaker.family().is_ipv6() { v6.as_slice() } else { v4.as_slice() };
        let wanted: Vec<(&str, Verdict)> = bad
            .iter()
            .map(|prefix| (*prefix, Verdict::Filtered("martian")))
            .chain([(good, Verdict::Accepted)])
            .collect();
        let update = speaker.until("all of them", |update| update.received.len() == wanted.len()).await;
        judged::<Frr>(&update, &wanted);
    }
}

/// Chooses between what both links announce for `prefix`.
fn choose(updates: &[SessionUpdate], kinds: [LinkKind; 2], prefix: &str) -> Selection {
    let candidates: Vec<Candidate> = updates
        .iter()
        .zip(kinds)
        .filter_map(|(update, kind)| {
            let route = update.accepted().find(|route| route.prefix == net(prefix))?;
            Some(Candidate {
                preference: preference(kind, PROVIDER.into(), &route.communities),
                as_path_length: route.as_path.len(),
                med: route.med,
                received_at: route.received_at,
            })
        })
        .collect();
    assert_eq!(candidates.len(), 2, "{prefix}");
    select(&candidates)
}

/// What the device says of a prefix on the first link only, and what then decides: against which link, by which step and values.
/// `None`: both share.
type Case = (&'static str, Announced, Option<(usize, Step, (u64, u64))>);

fn cases() -> Vec<Case> {
    let tag = |values: &[u16]| Announced {
        communities: values.iter().map(|value| (PROVIDER, *value)).collect(),
        ..Announced::default()
    };
    vec![
        ("nothing", Announced::default(), None),
        ("low", tag(&[42050]), Some((0, Step::Preference, (50, 90)))),
        ("medium", tag(&[42100]), Some((1, Step::Preference, (90, 100)))),
        ("high", tag(&[42200]), Some((1, Step::Preference, (90, 200)))),
        ("the highest of several", tag(&[42050, 42200, 42100]), Some((1, Step::Preference, (90, 200)))),
        ("a tag of somebody else", Announced { communities: vec![(64999, 42200)], ..Announced::default() }, None),
        (
            "a longer path",
            Announced { prepend: vec![65001], ..Announced::default() },
            Some((0, Step::AsPathLength, (2, 1))),
        ),
        (
            "a longer path and high",
            Announced { prepend: vec![65001], ..tag(&[42200]) },
            Some((1, Step::Preference, (90, 200))),
        ),
        ("a MED", Announced { med: Some(10), ..Announced::default() }, Some((0, Step::Med, (10, 0)))),
    ]
}

async fn preference_and_equal_ways<D: Device>(name: &str) {
    let site = Site::with(name, &[FIRST, SECOND]);
    let cases = cases();
    let prefix = |family: Family, number: usize| {
        if family.is_ipv6() { format!("fd20:{number:x}::/48") } else { format!("192.168.{number}.0/24") }
    };
    let routes = Family::ALL.into_iter().flat_map(|family| {
        cases.iter().enumerate().map(move |(number, (_, said, _))| Announced {
            prefix: prefix(family, number),
            link: Some(0),
            ..said.clone()
        })
    });
    let _device = D::start(&site, &Setup { routes: routes.collect(), ..Setup::default() });
    for family in Family::ALL {
        let mut speakers = [0, 1].map(|link| site.speaker_as(link, family, Guard::default(), |_| {}));
        let mut updates = Vec::new();
        for speaker in &mut speakers {
            speaker.enable(both_ways(&["10.1.0.0/24", "fd10::/64"])).await;
        }
        for speaker in &mut speakers {
            let update = speaker.until("all", |update| update.accepted().count() == cases.len()).await;
            // Never a transit: nothing that one connection taught us is told to the other.
            let update = if update.announced.is_empty() { speaker.snapshot().await } else { update };
            let ours = if family.is_ipv6() { "fd10::/64" } else { "10.1.0.0/24" };
            assert_eq!(update.announced, [net(ours)]);
            updates.push(update);
        }
        for (number, (what, _, wanted)) in cases.iter().enumerate() {
            let prefix = prefix(family, number);
            let selection = choose(&updates, [LinkKind::Vpn, LinkKind::Vpn], &prefix);
            let lost = selection.beaten.first().map(|lost| (lost.index, lost.step, lost.values));
            assert_eq!(lost, *wanted, "{what}, {family}");
            assert_eq!(selection.best.len(), if wanted.is_some() { 1 } else { 2 }, "{what}, {family}");
        }
        // An untagged InterLink is worth 100: more than an untagged VPN, as much as one tagged medium, less than one tagged high.
        let beside_a_link = |number: usize| {
            let selection = choose(&updates, [LinkKind::Vpn, LinkKind::InterLink], &prefix(family, number));
            selection.best
        };
        assert_eq!(beside_a_link(0), [1]);
        assert_eq!(beside_a_link(2).len(), 2);
        assert_eq!(beside_a_link(3), [0]);
        for speaker in speakers {
            speaker.end("the case is over").await;
        }
    }
}
