//! What is the matter with a gateway node: the checks of the product's documents in their order, as a pure function over what the
//! controller knows, what its probe of the node met, and what the node said last. The first check that fails is named; what follows
//! from it is not called a failure of its own where that can be told.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::reason::{Fault, ReasonCode};
use crate::status::NodeState;
use crate::time::Timestamp;
use crate::watch::{MachineState, Service};

/// Clocks may differ by this much, seconds: certificates and logs tolerate it.
pub const CLOCK_TOLERANCE: f64 = 300.0;
/// Octets that a node's disk has to have left.
pub const DISK_LEAST: u64 = 64 << 20;
/// Octets of a packet that the underlay has to carry (RFC 8200 §5).
const MTU_LEAST: u32 = 1280;
/// Seconds for which a configuration may be unacknowledged.
const CONFIG_PATIENCE: f64 = 30.0;

/// What a node says of itself, over its channel or at its own listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeFacts {
    /// When it looked, by its own clock.
    pub taken_at: Timestamp,
    /// Version of its program.
    pub version: String,
    /// Its own listener; `None`: it was told to have none.
    pub listener: Option<Listening>,
    /// The packet-filter rule that admits the controllers to it.
    pub rule: Rule,
    /// Why there is no channel to the controller; `None`: there is.
    pub channel: Option<ChannelTrouble>,
    /// When its certificate ends, by the clock of whoever made it; 0: not known.
    pub certificate_ends: Timestamp,
    /// Its critical services.
    pub services: Vec<Service>,
    /// The disk with its directory.
    pub disk: Disk,
    /// Why what it was told last is not on its disk; `None`: it is.
    pub unkept: Option<String>,
    /// What its kernel or system lacks, as sentences.
    pub missing: Vec<String>,
    /// The interface that carries public addresses.
    pub underlay: Underlay,
    /// Where its tunnels to other nodes end; `None`: nowhere.
    pub tunnels_end: Option<SocketAddr>,
    /// Those tunnels.
    pub tunnels: Vec<PeerTunnel>,
}

/// A node's tunnel to another one of its zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerTunnel {
    /// To which.
    pub node: NodeId,
    /// Where that one's end is.
    pub endpoint: SocketAddr,
    /// Whether this node asks that one through it; otherwise it is only asked.
    pub asks: bool,
    /// Whether it is up.
    pub up: bool,
    /// Since when, by the node's clock.
    pub since: Timestamp,
    /// How often its Child SA was rekeyed.
    pub rekeys: u32,
    /// Why it is down.
    pub fault: Option<Fault>,
}

impl PeerTunnel {
    /// One that has not been up yet.
    #[must_use]
    pub const fn new(node: NodeId, endpoint: SocketAddr, asks: bool, since: Timestamp) -> Self {
        Self { node, endpoint, asks, up: false, since, rekeys: 0, fault: None }
    }
}

/// A node's own listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    /// Why it is not open; `None`: it is.
    pub error: Option<String>,
}

/// The packet-filter rule of a node's listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// Whom it admits.
    pub admitted: Vec<String>,
    /// Why it is not in place; `None`: it is.
    pub error: Option<String>,
    /// How often somebody had removed or changed it since the node's start, and it was restored.
    pub restored: u64,
    /// Filters of somebody else on the machine that drop what comes to this port.
    pub others: Vec<String>,
}

/// Why a node has no channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelTrouble {
    /// In which step.
    pub kind: TroubleKind,
    /// What was met, for people.
    pub text: String,
}

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleKind {
    /// No TCP connection.
    Unreachable,
    /// A connection, and no trust: certificates, clocks.
    Trust,
    /// Trust, and a refusal.
    Denied,
    /// It had a channel, which broke off, or another error.
    Broken,
}

/// A node's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// The directory.
    pub path: String,
    /// Octets that are free.
    pub free: u64,
    /// Octets in all; 0: not known.
    pub total: u64,
    /// Why nothing can be written there.
    pub error: Option<String>,
}

/// A node's underlay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Underlay {
    /// The interface.
    pub interface: String,
    /// Its MTU, octets; 0: not known.
    pub mtu: u32,
    /// Why it cannot be used.
    pub error: Option<String>,
}

/// What a probe of the node's listener met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// There is nothing to probe, and why.
    None(String),
    /// It said what it knows of itself.
    Answered,
    /// The machine answered that nothing listens.
    Refused(String),
    /// No answer to the connection at all.
    Silent(String),
    /// A connection that nobody serves.
    Stuck(String),
    /// No trust, or an answer that makes no sense.
    Trust(String),
}

/// An attempt of the node that the controller turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When.
    pub at: Timestamp,
    /// From where.
    pub peer: SocketAddr,
    /// Why.
    pub text: String,
}

/// The node as the controller's store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Its state.
    pub state: NodeState,
    /// Since when.
    pub since: Timestamp,
    /// Why it is not better.
    pub fault: Option<Fault>,
    /// Whether it is inside the controller's own process.
    pub local: bool,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The newest revision of its configuration.
    pub revision: u64,
    /// The one that it reported last.
    pub applied_revision: u64,
    /// Seconds for which a newer one has been owed.
    pub pending_for: Option<f64>,
}

/// The controller's own side of the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Door {
    /// Where it listens for nodes; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// Why its listener does not answer the controller itself; `None`: it does.
    pub deaf: Option<String>,
    /// Filters on its machine that drop what comes to this port.
    pub filters: Vec<String>,
}

/// What a node said, and when the controller heard it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// By the controller's clock.
    pub at: Timestamp,
    /// What.
    pub facts: NodeFacts,
}

/// Everything that the checks look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// By the controller's clock.
    pub now: Timestamp,
    /// The node.
    pub node: Known,
    /// The controller's side.
    pub door: Door,
    /// When the newest frame came, if one did in this controller's life.
    pub heard_at: Option<Timestamp>,
    /// Whether that is recent: within two keepalive periods.
    pub heard: bool,
    /// From where its channel came last.
    pub peer: Option<SocketAddr>,
    /// The last attempts of the node that were turned away, the newest first.
    pub attempts: Vec<Attempt>,
    /// What the probe met just now.
    pub probe: Probe,
    /// Where it went.
    pub probed: Option<SocketAddr>,
    /// What the operator's own means say of the machine.
    pub machine: MachineState,
    /// What the node said last.
    pub told: Option<Told>,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// In order.
    Passed,
    /// Not in order.
    Failed,
    /// Cannot be told now.
    Unknown,
    /// Does not concern this node.
    Skipped,
}

impl Verdict {
    /// The API's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }
}

/// One check with its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name: [`CHECKS`].
    pub name: &'static str,
    /// What became of it.
    pub verdict: Verdict,
    /// What was seen.
    pub evidence: String,
    /// What to do, where it failed.
    pub remedy: Option<String>,
}

/// The checks in their order.
pub const CHECKS: [&str; 14] = [
    "membership",
    "controller_443",
    "node_443",
    "to_controller",
    "to_node",
    "clock",
    "certificate",
    "machine",
    "services",
    "disk",
    "kernel",
    "underlay",
    "configuration",
    "peers",
];

type Outcome = (Verdict, String, Option<String>);
type Test = fn(&Evidence) -> Outcome;

fn passed(evidence: impl Into<String>) -> Outcome {
    (Verdict::Passed, evidence.into(), None)
}

fn failed(evidence: impl Into<String>, remedy: impl Into<String>) -> Outcome {
    (Verdict::Failed, evidence.into(), Some(remedy.into()))
}

fn unknown(evidence: impl Into<String>) -> Outcome {
    (Verdict::Unknown, evidence.into(), None)
}

fn skipped(evidence: impl Into<String>) -> Outcome {
    (Verdict::Skipped, evidence.into(), None)
}

/// Makes all checks.
#[must_use]
pub fn examine(evidence: &Evidence) -> Vec<Check> {
    let checks: [(_, Test); 14] = [
        ("membership", membership),
        ("controller_443", controller_443),
        ("node_443", node_443),
        ("to_controller", to_controller),
        ("to_node", to_node),
        ("clock", clock),
        ("certificate", certificate),
        ("machine", machine),
        ("services", services),
        ("disk", disk),
        ("kernel", kernel),
        ("underlay", underlay),
        ("configuration", configuration),
        ("peers", peers),
    ];
    let made = checks.into_iter().map(|(name, check)| {
        let (verdict, evidence, remedy) = check(evidence);
        Check { name, verdict, evidence, remedy }
    });
    made.collect()
}

/// The first check that failed: the one to begin with.
#[must_use]
pub fn root(checks: &[Check]) -> Option<&Check> {
    checks.iter().find(|check| check.verdict == Verdict::Failed)
}

impl Evidence {
    /// What the node says now: over its channel, or in answer to the probe.
    fn fresh(&self) -> Option<&NodeFacts> {
        let speaks = self.node.local || self.heard || self.probe == Probe::Answered;
        self.told.as_ref().filter(|_| speaks).map(|told| &told.facts)
    }

    fn channel_trouble(&self) -> Option<&ChannelTrouble> {
        self.fresh().and_then(|facts| facts.channel.as_ref()).filter(|_| !self.heard)
    }

    /// The newest attempt that came after whatever was heard.
    fn attempt(&self) -> Option<&Attempt> {
        self.attempts.first().filter(|attempt| !self.heard && self.heard_at.is_none_or(|heard| heard < attempt.at))
    }

    fn target(&self) -> String {
        self.probed.map_or_else(|| "the node".to_owned(), |address| address.to_string())
    }

    fn silence(&self) -> String {
        match self.heard_at {
            Some(at) => format!("nothing was heard of it since {at}"),
            None => "nothing was heard of it since this controller started".to_owned(),
        }
    }

    fn stopped(&self) -> bool {
        self.machine == MachineState::Stopped
    }

    /// Neither end hears the other, and nothing is known to stand in the way.
    fn cut_off(&self) -> bool {
        !self.heard && self.attempt().is_none() && matches!(self.probe, Probe::Silent(_))
    }
}

fn membership(evidence: &Evidence) -> Outcome {
    match evidence.node.revoked_at {
        Some(at) => failed(
            format!("the node was revoked at {at}"),
            "a machine that shall be a node again joins with a new token: causeway node token create, causeway node join",
        ),
        None if evidence.node.local => passed("the node is inside the service's own process"),
        None => passed("the node has joined, and was not revoked"),
    }
}

fn controller_443(evidence: &Evidence) -> Outcome {
    if evidence.node.local {
        return skipped("nothing travels between machines");
    }
    let Some(listen) = evidence.door.listen else {
        return failed(
            "the controller listens for nodes nowhere",
            "set listen in [fleet] of causeway.toml (\"0.0.0.0:443\") and start the service again",
        );
    };
    let filters = evidence.door.filters.join("; ");
    if let Some(why) = &evidence.door.deaf {
        let text =
            format!("the controller's listener for nodes, {listen}, does not answer the controller itself: {why}");
        if filters.is_empty() {
            return failed(text, "look at the service's log, and start it again");
        }
        let remedy = format!("let TCP {} pass in that filter", listen.port());
        return failed(format!("{text}; a filter on its machine drops it: {filters}"), remedy);
    }
    // A filter that drops some of what comes need not be about this node: whoever is heard gets through.
    if !filters.is_empty() && !evidence.heard && evidence.attempt().is_none() {
        return failed(
            format!(
                "the controller listens on {listen}, and a filter on its machine drops TCP {}: {filters}",
                listen.port()
            ),
            format!("let TCP {} from the node's address pass in that filter", listen.port()),
        );
    }
    passed(format!("the controller listens on {listen}, and answers there"))
}

fn node_443(evidence: &Evidence) -> Outcome {
    if evidence.node.local {
        return skipped("a node inside the service's process needs no listener");
    }
    let Some(facts) = evidence.fresh() else {
        return match &evidence.probe {
            Probe::None(why) => unknown(why.clone()),
            Probe::Stuck(why) => passed(format!("{} takes connections: {why}", evidence.target())),
            Probe::Trust(why) => passed(format!("{} takes connections: {why}", evidence.target())),
            Probe::Refused(why) => passed(format!("the rule admits the controller: its machine answers ({why})")),
            Probe::Silent(_) | Probe::Answered => unknown(format!(
                "the node cannot be asked: {}, and {} does not answer",
                evidence.silence(),
                evidence.target()
            )),
        };
    };
    let Some(listener) = &facts.listener else {
        return skipped("the node was told to have no listener (causeway node run --listen)");
    };
    let (address, port) = (listener.address, listener.address.port());
    if let Some(error) = &listener.error {
        return failed(
            format!("the node does not listen on {address}: {error}"),
            "free that port on the node, or choose another address: causeway node run --listen ADDRESS:PORT",
        );
    }
    if let Some(error) = &facts.rule.error {
        return failed(
            format!("the node's packet filter has no rule that admits the controller to TCP {port}: {error}"),
            "the node puts it in place as soon as it can: see to it that `nft list ruleset` works on the node",
        );
    }
    let others = facts.rule.others.join("; ");
    if !others.is_empty() && matches!(evidence.probe, Probe::Silent(_) | Probe::Refused(_)) {
        return failed(
            format!(
                "the node listens on {address} and its own rule is in place, and another filter on its machine drops TCP {port}: {others}"
            ),
            format!("let TCP {port} from the controller pass in that filter"),
        );
    }
    let restored = match facts.rule.restored {
        0 => String::new(),
        times => format!("; somebody removed or changed the rule {times} times, and the node restored it"),
    };
    let admitted = facts.rule.admitted.join(", ");
    passed(format!("the node listens on {address}, and its rule admits {admitted}{restored}"))
}

fn to_controller(evidence: &Evidence) -> Outcome {
    if evidence.node.local {
        return skipped("nothing travels between machines");
    }
    let from = evidence.peer.map_or_else(|| "the node's address".to_owned(), |peer| peer.ip().to_string());
    let port = evidence.door.listen.map_or(443, |listen| listen.port());
    let remedy = || {
        format!(
            "let TCP from {from} to the controller's port {port} pass in every filter between them (security groups, network access lists, firewalls), and out of the node's machine"
        )
    };
    if evidence.heard {
        return passed(format!("its channel is open, from {from}"));
    }
    if let Some(attempt) = evidence.attempt() {
        return passed(format!(
            "its connections arrive, the last one at {} from {}: {}",
            attempt.at, attempt.peer, attempt.text
        ));
    }
    match evidence.channel_trouble() {
        Some(trouble) if trouble.kind == TroubleKind::Unreachable => {
            return failed(format!("the node cannot reach the controller; it says: {}", trouble.text), remedy());
        }
        Some(trouble) => return passed(format!("the node reaches the controller; it says: {}", trouble.text)),
        None => {}
    }
    if evidence.probe == Probe::Answered && evidence.fresh().is_some() {
        return failed("the node takes its channel for open, and nothing of it arrives any more", remedy());
    }
    if evidence.stopped() {
        return unknown("the machine does not run");
    }
    if evidence.cut_off() {
        return failed(
            format!(
                "{}, and {} does not answer either: nothing passes in either direction",
                evidence.silence(),
                evidence.target()
            ),
            format!("see whether the machine runs and has a network; then {}", remedy()),
        );
    }
    unknown(evidence.silence())
}

fn to_node(evidence: &Evidence) -> Outcome {
    if evidence.node.local {
        return skipped("nothing travels between machines");
    }
    let target = evidence.target();
    match &evidence.probe {
        Probe::None(why) => skipped(why.clone()),
        Probe::Answered => passed(format!("{target} answered the controller's probe")),
        Probe::Refused(why) | Probe::Stuck(why) | Probe::Trust(why) => passed(format!("{target} is reached: {why}")),
        Probe::Silent(_) if evidence.stopped() => unknown("the machine does not run"),
        Probe::Silent(why) => {
            let port = evidence.probed.map_or(443, |address| address.port());
            failed(
                format!("{target} does not answer the controller: {why}"),
                format!(
                    "let TCP from the controller to {target} pass in every filter between them (security groups, network access lists, firewalls), and port {port} into the node's machine"
                ),
            )
        }
    }
}

/// Whether what was met has to do with times.
fn is_about_time(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["clock", "expired", "notvalidyet", "not valid now"].iter().any(|word| text.contains(word))
}

/// What was met that kept both ends from trusting each other.
fn mistrust(evidence: &Evidence) -> Option<String> {
    if let Some(trouble) = evidence.channel_trouble().filter(|trouble| trouble.kind == TroubleKind::Trust) {
        return Some(format!("the node says: {}", trouble.text));
    }
    if let Some(attempt) = evidence.attempt() {
        return Some(format!("{} tried at {}: {}", attempt.peer, attempt.at, attempt.text));
    }
    match &evidence.probe {
        Probe::Trust(why) => Some(format!("{}: {why}", evidence.target())),
        _ => None,
    }
}

fn clock(evidence: &Evidence) -> Outcome {
    if evidence.node.local {
        return skipped("one process has one clock");
    }
    let remedy = "set both clocks by NTP, and compare them: date -u";
    if let Some(told) = evidence.told.as_ref().filter(|_| evidence.fresh().is_some()) {
        let ahead = told.facts.taken_at.seconds_since(told.at);
        let text = format!(
            "the node's clock is {:.0} s {} the controller's",
            ahead.abs(),
            if ahead < 0.0 { "behind" } else { "ahead of" }
        );
        return if ahead.abs() > CLOCK_TOLERANCE { failed(text, remedy) } else { passed(text) };
    }
    match mistrust(evidence).filter(|text| is_about_time(text)) {
        Some(text) => {
            failed(format!("certificates that are valid count as expired, or as not valid yet: {text}"), remedy)
        }
        None => unknown("the node cannot be asked"),
    }
}

fn certificate(evidence: &Evidence) -> Outcome {
    if evidence.node.local {
        return skipped("a node inside the service's process needs none");
    }
    let remedy = "join the machine again with a new token: causeway node token create, causeway node join";
    let mistrust = mistrust(evidence);
    let ends = evidence.fresh().map(|facts| facts.certificate_ends).filter(|ends| *ends != Timestamp::default());
    match (mistrust, ends) {
        (Some(text), _) => failed(format!("the two ends do not trust each other: {text}"), remedy),
        (None, Some(ends)) if ends <= evidence.now => failed(format!("the node's certificate ended at {ends}"), remedy),
        (None, Some(ends)) => passed(format!("the node's certificate is valid until {ends}; it renews it by itself")),
        (None, None) if evidence.heard => passed("the controller trusts the node's certificate"),
        (None, None) => unknown("the node cannot be asked"),
    }
}

fn machine(evidence: &Evidence) -> Outcome {
    match evidence.machine {
        MachineState::Stopped if !evidence.node.local => {
            failed("the operator's own means say that the machine does not run", "start the machine")
        }
        MachineState::Running => passed("the operator's own means say that the machine runs"),
        _ if evidence.node.local || evidence.fresh().is_some() => passed("it runs: the node speaks"),
        _ if matches!(evidence.probe, Probe::Refused(_) | Probe::Stuck(_) | Probe::Trust(_)) => {
            passed("it runs: it answers the probe")
        }
        _ => {
            unknown("nobody says whether the machine runs (no machine-state command or URL for the zone, or no answer)")
        }
    }
}

fn services(evidence: &Evidence) -> Outcome {
    let again = "start the node again (causeway node run); its log says why it ended";
    match &evidence.probe {
        Probe::Refused(why) if !evidence.heard => {
            return failed(
                format!("the node's process does not run: its machine answers, and nothing listens ({why})"),
                again,
            );
        }
        Probe::Stuck(why) if !evidence.heard => {
            return failed(
                format!(
                    "the node's process stands still: the kernel takes connections, and nobody serves them ({why})"
                ),
                "see what holds it (stopped by a signal, out of memory, waiting for a disk), and end it with SIGKILL if it does not go on; then start it again",
            );
        }
        _ => {}
    }
    if let Some(fault) = &evidence.node.fault
        && fault.code == ReasonCode::CriticalServiceDead
        && evidence.node.state == NodeState::Down
    {
        let of = |key: &str| fault.evidence.get(key).map_or("?", String::as_str);
        return failed(format!("the critical service {} is dead: {}", of("service"), of("error")), again);
    }
    let Some(facts) = evidence.fresh() else {
        return if evidence.node.local && evidence.node.state == NodeState::Down {
            failed("the node inside the service's process has ended", "start the service again; its log says why")
        } else if evidence.node.local {
            passed("the node reports")
        } else {
            unknown("the node cannot be asked")
        };
    };
    let dead = facts.services.iter().find_map(|service| Some((&service.name, service.dead.as_ref()?)));
    match dead {
        Some((name, why)) => failed(format!("the critical service {name} is dead: {why}"), again),
        None => {
            let names: Vec<&str> = facts.services.iter().map(|service| service.name.as_str()).collect();
            passed(format!("alive: {}", if names.is_empty() { "all".to_owned() } else { names.join(", ") }))
        }
    }
}

fn disk(evidence: &Evidence) -> Outcome {
    let Some(facts) = evidence.fresh() else { return unknown("the node cannot be asked") };
    let disk = &facts.disk;
    let remedy = "make room there: without it the node keeps forwarding, and cannot keep what it is told";
    let text = format!("{}: {} MiB free of {} MiB", disk.path, disk.free >> 20, disk.total >> 20);
    match &disk.error {
        Some(error) => failed(format!("{text}; nothing can be written there: {error}"), remedy),
        None if facts.unkept.is_some() => {
            let error = facts.unkept.as_deref().unwrap_or_default();
            failed(format!("{text}; the configuration cannot be kept there: {error}"), remedy)
        }
        None if disk.total > 0 && disk.free < DISK_LEAST => failed(text, remedy),
        None if disk.total == 0 => unknown("the node did not say"),
        None => passed(text),
    }
}

fn kernel(evidence: &Evidence) -> Outcome {
    let Some(facts) = evidence.fresh() else { return unknown("the node cannot be asked") };
    if facts.missing.is_empty() {
        return passed("namespaces, TUN devices and nftables are there");
    }
    failed(facts.missing.join("; "), "give the node what it lacks, and start it again")
}

fn underlay(evidence: &Evidence) -> Outcome {
    let Some(facts) = evidence.fresh() else { return unknown("the node cannot be asked") };
    let Underlay { interface, mtu, error } = &facts.underlay;
    match error {
        Some(error) => failed(
            format!("the interface of public addresses, {interface}: {error}"),
            "bring that interface up, or name another one: causeway node run --underlay INTERFACE",
        ),
        None if *mtu > 0 && *mtu < MTU_LEAST => failed(
            format!("{interface} has an MTU of {mtu}: IPv6 needs {MTU_LEAST}"),
            format!("ip link set {interface} mtu 1500"),
        ),
        None if interface.is_empty() => unknown("the node did not say"),
        None => passed(format!("{interface} is up, MTU {mtu}")),
    }
}

fn configuration(evidence: &Evidence) -> Outcome {
    let node = &evidence.node;
    if let Some(fault) = node.fault.as_ref().filter(|fault| fault.code == ReasonCode::ConfigRefused) {
        let of = |key: &str| fault.evidence.get(key).map_or("?", String::as_str);
        return failed(
            format!("the node refused {}: {}", of("item"), of("error")),
            "repair what the error names; the node tries again by itself, or at once by: causeway node retry",
        );
    }
    let (revision, applied) = (node.revision, node.applied_revision);
    match node.pending_for {
        Some(seconds) if seconds > CONFIG_PATIENCE => failed(
            format!("the node has not acknowledged revision {revision} for {seconds:.0} s; it runs {applied}"),
            "have it apply its configuration once more: causeway node retry; its log says what it waits for",
        ),
        Some(_) => passed(format!("revision {revision} is on its way; it runs {applied}")),
        None => passed(format!("it runs what it shall, revision {applied}")),
    }
}

/// The tunnels to other nodes. One that is down may be the other end's trouble.
fn peers(evidence: &Evidence) -> Outcome {
    if evidence.node.local {
        return skipped("a node inside the service's own process has no tunnels");
    }
    let Some(facts) = evidence.fresh() else { return unknown("the node says nothing now") };
    if facts.tunnels.is_empty() {
        return skipped("there is no other node in its zone that it has a tunnel to");
    }
    let down = facts.tunnels.iter().filter(|tunnel| !tunnel.up).map(|tunnel| {
        let why = tunnel.fault.as_ref().map_or("no attempt has ended yet", |fault| fault.code.as_str());
        format!("to node {} at {}: {why}", tunnel.node, tunnel.endpoint)
    });
    let down: Vec<String> = down.collect();
    let up = facts.tunnels.len() - down.len();
    let mut seen = format!("{up} of {} tunnels to other nodes are up", facts.tunnels.len());
    if !down.is_empty() {
        seen = format!("{seen}; {}", down.join("; "));
    }
    let Some(end) = facts.tunnels_end else {
        return failed(
            format!("{seen}; its own end of them is not open"),
            "let the node have UDP port 4431 of the address that it reaches the controller from; its log says what keeps it from that",
        );
    };
    match up {
        0 if facts.tunnels.len() == 1 => unknown(format!("{seen}; it may be the other node's trouble")),
        0 => failed(
            format!("{seen}; its own end is {end}"),
            "let UDP port 4431 pass in both directions between the addresses from which the nodes of the zone reach the controller; until it does, \
             this node is vouched for by nobody, and in a zone with failover it forwards only while the controller is there and passes promises on",
        ),
        _ => passed(seen),
    }
}

#[cfg(test)]
mod tests;
