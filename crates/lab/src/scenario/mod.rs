//! Scenarios: stories with an end, told step by step.

pub(crate) mod failover;
mod first;
mod fleet;
pub(crate) mod interlink;
pub(crate) mod pair;
pub(crate) mod steps;

use anyhow::{Result, bail};

use crate::console::Console;
use crate::topology::Lab;

/// The scenario that runs if none is named.
pub(crate) const DEFAULT: &str = "first";

/// Every scenario with a sentence about it.
pub(crate) const ALL: &[(&str, &str)] = &[
    ("first", "a VPN between a gateway and a strongSwan + BIRD device: its whole life from order to deletion"),
    ("pair", "two tunnels in one connection, and two connections as a pair: each tunnel is cut in turn under traffic"),
    (
        "fleet",
        "a controller and three gateway nodes: one is cut off, refuses a configuration, and is lost under traffic",
    ),
    (
        "interlink",
        "a private link beside the VPN: the partner provisions it, it carries, loses its carrier, falls silent, and goes",
    ),
];

/// Runs the scenario `name` in an empty lab. With `keep` it ends with the VPN working instead of deleting it. A brief
/// one leaves repetitions out.
pub(crate) async fn run(name: &str, lab: &mut Lab, console: &Console, keep: bool, brief: bool) -> Result<()> {
    match name {
        "first" => first::run(lab, console, keep).await,
        "pair" => pair::run(lab, console, keep, brief).await,
        "fleet" => fleet::run(lab, console, keep).await,
        "interlink" => interlink::run(lab, console, keep).await,
        _ => {
            let names: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
            bail!("there is no scenario {name:?}; there are: {}", names.join(", "))
        }
    }
}

/// Builds the VPN of the first scenario and leaves it working.
pub(crate) async fn up(lab: &mut Lab, console: &Console) -> Result<()> {
    first::up(lab, console).await
}
