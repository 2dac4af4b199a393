//! The session and its policy under random steps: whatever a peer sends and however policies change meanwhile, the outcome is that of a
//! model that is too simple to be wrong. `tests/fuzz` has the same run under coverage; `PROPTEST_CASES=1000000 cargo test -p causeway-bgp
//! --test hostile` goes on for longer.

mod model;
mod peer;

use causeway_bgp::Policy;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::Step;
use peer::OURS;
use proptest::prelude::*;

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(400)
}

/// Few enough that prefixes, lists and subnets meet often: lengths at all the edges, the default route, martians, and our own subnet.
fn prefix(v6: bool) -> BoxedStrategy<IpNet> {
    if v6 {
        let first = prop_oneof![Just(0xfd00_u16), Just(0xfd20), Just(0xfe80), Just(0xff02), Just(0x2001), Just(0)];
        let length = prop_oneof![Just(0_u8), Just(8), Just(16), Just(48), Just(64), Just(126), Just(128), 0_u8..=128];
        (first, 0_u16..3, 0_u128..5, length)
            .prop_map(|(first, second, last, length)| {
                let bits = u128::from(first) << 112 | u128::from(second) << 96 | last;
                IpNet::V6(Ipv6Net::new_assert(bits.into(), length).trunc())
            })
            .boxed()
    } else {
        let first = prop_oneof![Just(10_u8), Just(192), Just(169), Just(127), Just(224), Just(0)];
        let length = prop_oneof![Just(0_u8), Just(8), Just(16), Just(24), Just(30), Just(32), 0_u8..=32];
        (first, prop_oneof![Just(168_u8), Just(254), 0_u8..3], 0_u8..3, 0_u8..5, length)
            .prop_map(|(a, b, c, d, length)| IpNet::V4(Ipv4Net::new_assert([a, b, c, d].into(), length).trunc()))
            .boxed()
    }
}

fn policy(v6: bool) -> impl Strategy<Value = Policy> {
    let list = |most: usize| prop::collection::vec(prop_oneof![9 => prefix(v6), 1 => prefix(!v6)], 0..most);
    (prop::bool::weighted(0.85), list(4), list(4), list(4), list(3)).prop_map(
        |(propagate, accept, announce, local_subnets, custom_routes)| Policy {
            propagate,
            accept,
            announce,
            local_subnets,
            custom_routes,
            interconnections: Vec::new(),
        },
    )
}

/// Forty host routes: three such blocks are more than the limit.
fn block(v6: bool) -> impl Strategy<Value = Vec<IpNet>> {
    (0_u8..4).prop_map(move |block| {
        let one = |host: u8| {
            if v6 {
                IpNet::V6(Ipv6Net::new_assert([0xfd20, u16::from(block), 0, 0, 0, 0, 0, u16::from(host)].into(), 128))
            } else {
                IpNet::V4(Ipv4Net::new_assert([192, 168, block, host].into(), 32))
            }
        };
        (0..40).map(one).collect()
    })
}

fn step(v6: bool) -> impl Strategy<Value = Step> {
    let some = || prop_oneof![4 => prop::collection::vec(prefix(v6), 1..12), 1 => block(v6)];
    prop_oneof![
        6 => (some(), prop::collection::vec(prop_oneof![4 => 65002_u32..65005, 1 => Just(OURS)], 0..3), prop::bool::weighted(0.9))
            .prop_map(|(prefixes, asns, ours)| Step::Announce(prefixes, asns, ours)),
        3 => some().prop_map(Step::Withdraw),
        3 => policy(v6).prop_map(Step::Policy),
        1 => Just(Step::Refresh),
        1 => Just(Step::Repeat),
        1 => (0_u16..3000).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn every_verdict_and_announcement_is_the_models(
        (v6, steps) in any::<bool>().prop_flat_map(|v6| (Just(v6), prop::collection::vec(step(v6), 1..40))),
    ) {
        model::run(v6, steps);
    }
}
