//! What a node on a machine of its own sees of that machine, and the packet-filter rule that admits its controllers: put in place, looked
//! at, and restored.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use causeway_fleet::listener::Board;
use causeway_linux::filter::door::{DoorRule, close_door, door_in_force, filters_of, open_door};
use causeway_linux::{Namespace, Netlink};
use causeway_model::diagnosis::{Disk, NodeFacts, Rule, Underlay};
use tokio_util::sync::CancellationToken;

/// The rule and the machine are looked at this often.
const LOOK: Duration = Duration::from_secs(3);
/// The controller's name is looked up this often.
const LOOKUP: Duration = Duration::from_secs(60);
/// Addresses that are admitted at most.
const MAX_ADMITTED: usize = 64;
/// A file that says whether the disk can be written.
const PROBE_FILE: &str = "writable";

/// What the guard is told.
#[derive(Clone, Debug)]
pub struct GuardConfig {
    /// Where the node listens for its controllers; `None`: nowhere, and there is no rule.
    pub listen: Option<SocketAddr>,
    /// The controller's host and port, as the node dials them.
    pub controller: (String, u16),
    /// More addresses that controllers come from.
    pub admit: Vec<IpAddr>,
    /// The node's directory.
    pub directory: PathBuf,
    /// The interface of public addresses, as the node was told; empty: its own bridge.
    pub underlay: String,
}

/// Looks until `shutdown`, then takes the rule away. What it sees is on the board.
pub async fn guard(config: GuardConfig, board: Board, shutdown: CancellationToken) {
    let mut guard = Guard { config, resolved: Vec::new(), resolved_at: None, expected: None, in_force: None };
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let before = board.borrow().rule.clone();
        let found = guard.look(before).await;
        board.send_if_modified(|known| {
            let facts = NodeFacts {
                rule: found.rule.clone(),
                disk: found.disk.clone(),
                missing: found.missing.clone(),
                underlay: found.underlay.clone(),
                ..known.clone()
            };
            let is_news = facts != *known;
            *known = facts;
            is_news
        });
    }
    if guard.config.listen.is_some()
        && let Ok(namespace) = Namespace::current()
        && let Err(error) = open_door(&namespace).await
    {
        tracing::warn!(%error, "the rule of the node's listener stays in the packet filter");
    }
}

/// Everything that is seen without a running node: for a look at the machine itself.
pub async fn look_once(config: GuardConfig) -> NodeFacts {
    let mut facts = machine(&config).await;
    if let (Some(listen), Ok(namespace)) = (config.listen, Namespace::current()) {
        facts.rule.error = match door_in_force(&namespace).await {
            Ok(Some(_)) => None,
            Ok(None) => Some("it is not there".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        facts.rule.others = filters_of(&namespace, listen.port()).await.unwrap_or_default();
    }
    facts
}

struct Guard {
    config: GuardConfig,
    resolved: Vec<IpAddr>,
    resolved_at: Option<Instant>,
    /// The rule that shall be there, …
    expected: Option<DoorRule>,
    /// …and what the kernel made of it.
    in_force: Option<String>,
}

impl Guard {
    async fn look(&mut self, before: Rule) -> NodeFacts {
        let mut facts = NodeFacts { rule: before.clone(), ..machine(&self.config).await };
        let Some(listen) = self.config.listen else { return facts };
        let admitted = self.admitted().await;
        let wanted = DoorRule { port: listen.port(), admitted };
        facts.rule.admitted = wanted.admitted.iter().map(ToString::to_string).collect();
        facts.rule.error = match self.hold(wanted, &mut facts.rule.restored).await {
            Ok(()) => None,
            Err(error) => Some(error.to_string()),
        };
        if facts.rule.error.is_some() && facts.rule.error != before.error {
            tracing::warn!(error = facts.rule.error, "the rule that admits the controllers is not in place");
        }
        if let Ok(namespace) = Namespace::current() {
            facts.rule.others = filters_of(&namespace, listen.port()).await.unwrap_or_default();
        }
        facts
    }

    /// The controllers' addresses: what the name means now, and what it meant while it cannot be looked up.
    async fn admitted(&mut self) -> Vec<IpAddr> {
        if self.resolved_at.is_none_or(|at| at.elapsed() >= LOOKUP) {
            let (host, port) = &self.config.controller;
            if let Ok(found) = tokio::net::lookup_host((host.as_str(), *port)).await {
                self.resolved = found.map(|address| address.ip()).collect();
                self.resolved_at = Some(Instant::now());
            }
        }
        let mut all: Vec<IpAddr> = self.resolved.iter().chain(&self.config.admit).copied().collect();
        all.sort_unstable();
        all.dedup();
        all.truncate(MAX_ADMITTED);
        all
    }

    async fn hold(&mut self, wanted: DoorRule, restored: &mut u64) -> Result<(), causeway_linux::Error> {
        let namespace = Namespace::current()?;
        if self.expected.as_ref() == Some(&wanted) {
            if door_in_force(&namespace).await? == self.in_force {
                return Ok(());
            }
            tracing::warn!(
                "somebody removed or changed the rule that admits the controllers to this node; it is restored"
            );
            *restored += 1;
        }
        self.expected = None;
        self.in_force = close_door(&namespace, &wanted).await?;
        self.expected = Some(wanted);
        Ok(())
    }
}

/// What is seen of the machine.
async fn machine(config: &GuardConfig) -> NodeFacts {
    let path = config.directory.clone();
    let disk = tokio::task::spawn_blocking(move || disk(&path)).await.unwrap_or_default();
    NodeFacts { disk, missing: crate::obstacles(), underlay: underlay(&config.underlay).await, ..NodeFacts::default() }
}

fn disk(path: &Path) -> Disk {
    let mut disk = Disk { path: path.display().to_string(), ..Disk::default() };
    match rustix::fs::statvfs(path) {
        Ok(found) => {
            // What only root may use still counts: the node is root.
            disk.free = found.f_bfree.saturating_mul(found.f_frsize) >> 24 << 24;
            disk.total = found.f_blocks.saturating_mul(found.f_frsize);
        }
        Err(error) => disk.error = Some(error.to_string()),
    }
    let probe = path.join(PROBE_FILE);
    if let Err(error) = std::fs::write(&probe, [0; 4096]).and_then(|()| std::fs::remove_file(&probe)) {
        disk.error = Some(error.to_string());
    }
    disk
}

async fn underlay(name: &str) -> Underlay {
    let interface = if name.is_empty() { crate::host::OWN_UNDERLAY } else { name }.to_owned();
    let found = match Netlink::current() {
        Ok(netlink) => netlink.find_link(&interface).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(Some(link)) => {
            let error = (!link.up).then(|| "it is down".to_owned());
            Underlay { interface, mtu: link.mtu, error }
        }
        // The node's own bridge is made with its first gateway.
        Ok(None) if name.is_empty() => Underlay::default(),
        Ok(None) => Underlay { interface, mtu: 0, error: Some("there is no such interface".to_owned()) },
        Err(error) => Underlay { interface, mtu: 0, error: Some(error.to_string()) },
    }
}
