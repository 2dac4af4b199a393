//! Fuzz targets for what peers send: a function of octets each, which panics where an oracle finds something wrong.
//!
//! `tests/corpus.rs` runs each one over its corpus and over changed copies of it; `run` builds them with libFuzzer and lets coverage lead
//! (`docs/fuzzing.md`).

mod bgp;
mod ike;
mod input;
#[path = "../../../crates/bgp/tests/model/mod.rs"]
mod model;
#[path = "../../../crates/bgp/tests/peer/mod.rs"]
mod peer;

pub use bgp::{bgp_framer, bgp_policy, bgp_session, bgp_update};
pub use ike::ike_datagrams;

/// A function of octets.
pub type Target = fn(&[u8]);

/// Every target with the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("bgp_framer", bgp_framer),
    ("bgp_policy", bgp_policy),
    ("bgp_session", bgp_session),
    ("bgp_update", bgp_update),
    ("ike_datagrams", ike_datagrams),
];
