//! A laboratory on one machine: the Internet, a gateway node, a host on a Private Network, and a customer's site with a real strongSwan and
//! a real BIRD or FRR, all built from network namespaces. The demo, the end-to-end tests and the benchmarks drive it.
//!
//! Everything that it makes carries its id (`cw-<id>-…`) and is on a list on disk before it is made, so that labs run side by side and
//! the next start removes what a killed lab left behind.

mod api;
mod capture;
mod clock;
mod console;
mod device;
mod ledger;
mod machine;
mod play;
mod router;
mod scenario;
mod scene;
mod service;
mod stream;
mod topology;
mod wait;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

pub use crate::api::{Answer, Api, Family, NewConnection, Site, codes, summary};
pub use crate::capture::{Capture, CaptureSummary};
pub use crate::clock::SetClock;
pub use crate::console::Console;
pub use crate::device::Device;
pub use crate::ledger::{Ledger, STATE_DIR};
pub use crate::machine::{Machine, Output, Running};
pub use crate::play::{Play, Watched};
pub use crate::router::{Daemon, Said, Seen};
pub use crate::scenario::failover::{FAILOVER_STEPS, Failover};
pub use crate::scenario::interlink::LinkOrder;
pub use crate::scene::Scene;
pub use crate::service::Service;
pub use crate::stream::{Interruption, STEP, Stream};
pub use crate::topology::{Branch, CONTROL, Edge, Fleet, LAN, Lab, THIEF, addresses};
pub use crate::wait::{eventually, eventually_every};

/// How a lab is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The lab's id, 1 to 6 letters and digits; `None`: made from the process id.
    pub id: Option<String>,
    /// Leave it running at the end and print what to try.
    pub keep: bool,
    /// The scenario of [`demo`].
    pub scenario: String,
    /// Leave the scenario's repetitions out.
    pub brief: bool,
    /// What speaks BGP on the customers' devices.
    pub daemon: Daemon,
    /// The `causeway` program; `None`: the running one.
    pub program: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            id: None,
            keep: false,
            scenario: scenario::DEFAULT.to_owned(),
            brief: false,
            daemon: Daemon::default(),
            program: None,
        }
    }
}

impl Options {
    fn program(&self) -> Result<PathBuf> {
        match &self.program {
            Some(path) => Ok(path.clone()),
            None => std::env::current_exe().context("cannot find the running program"),
        }
    }
}

/// Names and one-sentence descriptions of the scenarios that [`demo`] knows.
#[must_use]
pub fn scenarios() -> &'static [(&'static str, &'static str)] {
    scenario::ALL
}

/// Runs a scenario from an empty lab to its end, printing what was expected and what was seen. Cleans up in any case, unless
/// [`Options::keep`] is set.
///
/// # Errors
/// The first thing that was not seen.
pub async fn demo(options: Options) -> Result<()> {
    let console = Console::new();
    clean_stale(&console).await;
    let mut lab = Lab::start(options.id.as_deref(), &options.program()?).await?;
    lab.device.speak_with(options.daemon).await;
    let outcome = tokio::select! {
        outcome = scenario::run(&options.scenario, &mut lab, &console, options.keep, options.brief) => outcome,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    if let Err(error) = &outcome {
        console.failure(error);
        console.line(&lab.evidence().await);
    }
    if options.keep {
        lab.keep()?;
        console.line(&lab.what_to_try());
    } else {
        lab.stop().await;
    }
    outcome
}

/// Measures change-overs of the direction towards the customer when the device deletes the tunnel in use: with two tunnels in one
/// connection, and with two connections. One of each in every round.
///
/// # Errors
/// A step that failed. The lab is removed in any case.
pub async fn measure_change_over(options: Options, rounds: u32) -> Result<[Vec<Interruption>; 2]> {
    let console = Console::new();
    clean_stale(&console).await;
    let mut lab = Lab::start(options.id.as_deref(), &options.program()?).await?;
    let outcome = scenario::pair::change_over(&mut lab, &console, rounds).await;
    if outcome.is_err() {
        console.line(&lab.evidence().await);
    }
    lab.stop().await;
    outcome
}

/// Measures failovers of a gateway among three nodes, with the fast keepalive profile and the timers of the device's file: `runs` in which nobody
/// knows what became of the lost machine, and as many in which it is known not to run.
///
/// # Errors
/// A step that failed. The lab is removed in any case.
pub async fn measure_failover(options: Options, runs: u32) -> Result<[Vec<Failover>; 2]> {
    let console = Console::new();
    clean_stale(&console).await;
    let mut lab = Lab::start(options.id.as_deref(), &options.program()?).await?;
    let outcome = scenario::failover::measure(&mut lab, &console, runs).await;
    if outcome.is_err() {
        console.line(&lab.evidence().await);
    }
    lab.stop().await;
    outcome
}

/// Builds a lab with a running VPN and leaves it.
///
/// # Errors
/// A step that failed; what was built until then is removed.
pub async fn up(options: Options) -> Result<()> {
    let console = Console::new();
    clean_stale(&console).await;
    let mut lab = Lab::start(options.id.as_deref(), &options.program()?).await?;
    let outcome = tokio::select! {
        outcome = scenario::up(&mut lab, &console) => outcome,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    match outcome {
        Ok(()) => {
            lab.keep()?;
            console.line(&lab.what_to_try());
            Ok(())
        }
        Err(error) => {
            console.line(&lab.evidence().await);
            lab.stop().await;
            Err(error)
        }
    }
}

/// Removes the lab `id`, or every lab whose process is gone, those that were kept included.
///
/// # Errors
/// The lab is not known, or its own process is still running it.
pub async fn down(id: Option<&str>) -> Result<()> {
    let console = Console::new();
    match id {
        Some(id) => {
            let ledger = Ledger::load(id).with_context(|| format!("there is no lab {id}"))?;
            anyhow::ensure!(!ledger.owner_alive(), "lab {id} is in use by process {}", ledger.owner());
            ledger.clean().await;
            console.line(&format!("lab {id} removed"));
        }
        None => {
            for id in clean_all().await {
                console.line(&format!("lab {id} removed"));
            }
        }
    }
    Ok(())
}

/// Prints the labs of this machine.
///
/// # Errors
/// None at present; a list that cannot be read is shown as such.
pub fn status() -> Result<()> {
    let console = Console::new();
    let all = Ledger::all();
    if all.is_empty() {
        console.line("no labs");
    }
    for ledger in all {
        let state = match (ledger.owner_alive(), ledger.kept()) {
            (true, _) => format!("in use by process {}", ledger.owner()),
            (false, true) => "kept".to_owned(),
            (false, false) => "left behind".to_owned(),
        };
        console.line(&format!("{}  {state}  namespaces: {}", ledger.id(), ledger.namespaces().join(" ")));
    }
    Ok(())
}

/// Removes every lab whose process is gone, those that were kept included. Returns their ids.
pub async fn clean_all() -> Vec<String> {
    let mut ids = Vec::new();
    for ledger in Ledger::all().into_iter().filter(|ledger| !ledger.owner_alive()) {
        ids.push(ledger.id().to_owned());
        ledger.clean().await;
    }
    ids
}

/// Removes labs that a killed process left behind; kept ones stay.
async fn clean_stale(console: &Console) {
    for ledger in Ledger::all().into_iter().filter(|ledger| !ledger.owner_alive() && !ledger.kept()) {
        console.line(&format!("removing lab {}, whose process is gone", ledger.id()));
        ledger.clean().await;
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// A module of tests for each daemon that a device may speak BGP with: every function named, which takes the daemon and a lab's id.
#[macro_export]
macro_rules! with_both {
    ($($test:ident $bird:literal $frr:literal;)*) => {
        mod bird {
            $(#[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
            async fn $test() -> ::anyhow::Result<()> {
                super::$test($crate::Daemon::Bird, $bird).await
            })*
        }
        mod frr {
            $(#[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs root, strongSwan and FRR; `make test` runs it"]
            async fn $test() -> ::anyhow::Result<()> {
                super::$test($crate::Daemon::Frr, $frr).await
            })*
        }
    };
}
