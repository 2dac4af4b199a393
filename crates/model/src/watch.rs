//! The state of a gateway node, judged from what is heard of it: the nodes' table of system.md §3. A pure machine: times are arguments,
//! read from a clock that only goes forward.
//!
//! Keepalives are counted over judging intervals, whose first one begins with the first keepalive. A process that has started anew and is lost before
//! that is judged two intervals after its start, so that what it carried is not left to it for ever. Between two judgements the count's
//! verdict stands, with one exception: a node that is waiting or lost is up at its second keepalive. What a node or its machine *says*
//! (a service is dead, an item was refused) holds at once.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::observed::Refusal;
use crate::reason::{Fault, ReasonCode};
use crate::status::NodeState;

/// How often a node says that it is there, and how often that is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepaliveProfile {
    /// Every 2 s, judged every 7 s.
    Fast,
    /// Every 12 s, judged every minute.
    #[default]
    Medium,
    /// Every minute, judged every 5 minutes.
    Slow,
}

impl KeepaliveProfile {
    /// From one keepalive to the next.
    #[must_use]
    pub const fn period(self) -> Duration {
        Duration::from_secs(match self {
            Self::Fast => 2,
            Self::Medium => 12,
            Self::Slow => 60,
        })
    }

    /// How long a forwarding lease lasts (docs/fleet.md): as long as three keepalives; nodes ask for it as often as they send those.
    #[must_use]
    pub const fn lease(self) -> Duration {
        Duration::from_secs(match self {
            Self::Fast => 6,
            Self::Medium => 36,
            Self::Slow => 180,
        })
    }

    /// From one judgement to the next.
    #[must_use]
    pub const fn interval(self) -> Duration {
        Duration::from_secs(match self {
            Self::Fast => 7,
            Self::Medium => 60,
            Self::Slow => 300,
        })
    }
}

/// What the operator's own means say of a node's machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineState {
    /// It runs.
    Running,
    /// It is known not to run.
    Stopped,
    /// Nobody knows, or nobody was asked.
    #[default]
    Unknown,
}

/// A service that a node cannot do without, as the node's own liveness check found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `packet_threads`, `ike`, `bgp`, `netlink`.
    pub name: String,
    /// Why it counts as dead; `None`: it is alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<String>,
}

/// For how long it is told that two processes speak for a node, once it was seen. The one that was told to stay away comes back every
/// minute, and is seen again.
const TWIN_SHOWN: Duration = Duration::from_secs(180);

/// What the count of keepalives said when it was looked at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// Not judged yet.
    Open,
    /// At least two in the last interval, or the second one after silence.
    Enough,
    /// Too few; whether another node vouched.
    TooFew { vouched: bool },
}

/// What is known of one node.
#[derive(Clone, Debug)]
pub struct NodeWatch {
    profile: KeepaliveProfile,
    count: Count,
    /// The two newest keepalives: whether there were two in an interval depends on no other.
    last: Option<Duration>,
    last_but_one: Option<Duration>,
    /// The first keepalive since it is waiting or lost.
    first: Option<Duration>,
    /// The next judgement; of a node that has only been enrolled there is none before the first keepalive.
    judged_at: Option<Duration>,
    /// The newest frame of any kind.
    frame: Option<Duration>,
    /// Whether anything was reported since its or our start.
    reported: bool,
    machine: MachineState,
    dead: Option<Service>,
    refusal: Option<Refusal>,
    unreachable: Option<String>,
    unwritable: Option<String>,
    relayed: bool,
    /// Two processes speak for it: when that was seen last, and what is known of them.
    twin: Option<(Duration, Fault)>,
    /// When the last answered exchange of each witness was.
    witnesses: BTreeMap<NodeId, Duration>,
}

/// Witnesses that are remembered; a node has tunnels with three.
const WITNESSES: usize = 16;

impl NodeWatch {
    /// A node that has been enrolled, or that a controller takes over in state `waiting` without ever having heard of it.
    #[must_use]
    pub const fn enrolled(profile: KeepaliveProfile) -> Self {
        Self {
            profile,
            count: Count::Open,
            last: None,
            last_but_one: None,
            first: None,
            judged_at: None,
            frame: None,
            reported: false,
            machine: MachineState::Unknown,
            dead: None,
            refusal: None,
            unreachable: None,
            unwritable: None,
            relayed: false,
            twin: None,
            witnesses: BTreeMap::new(),
        }
    }

    /// A node whose `last` state is known from another controller, or from this one before its own start: that stands until one full
    /// interval is over.
    #[must_use]
    pub fn taken_over(profile: KeepaliveProfile, last: NodeState, now: Duration) -> Self {
        let count = match last {
            NodeState::Waiting => Count::Open,
            NodeState::Up | NodeState::ConfigFail => Count::Enough,
            NodeState::KeepaliveFail => Count::TooFew { vouched: true },
            NodeState::Down => Count::TooFew { vouched: false },
        };
        Self { count, judged_at: Some(now + profile.interval()), ..Self::enrolled(profile) }
    }

    /// The node's process has started anew: nothing that was heard before counts.
    pub fn restarted(&mut self, now: Duration) {
        let (witnesses, twin) = (std::mem::take(&mut self.witnesses), self.twin.take());
        let judged_at = Some(now + 2 * self.profile.interval());
        *self = Self { machine: self.machine, witnesses, twin, judged_at, ..Self::enrolled(self.profile) };
    }

    /// A frame that is no keepalive.
    pub fn frame(&mut self, now: Duration) {
        self.frame = Some(now);
    }

    /// A keepalive.
    pub fn keepalive(&mut self, now: Duration) {
        self.tick(now);
        self.frame(now);
        self.last_but_one = self.last.replace(now);
        match (self.count, self.first) {
            (Count::Enough, _) => {}
            (Count::Open | Count::TooFew { .. }, None) => {
                self.first = Some(now);
                self.judged_at = Some(now + self.profile.interval());
            }
            (Count::Open | Count::TooFew { .. }, Some(_)) => {
                self.first = None;
                self.count = Count::Enough;
            }
        }
    }

    /// The node has reported what it runs, and what it refused of it.
    pub fn report(&mut self, refusal: Option<Refusal>, now: Duration) {
        self.frame(now);
        self.reported = true;
        self.refusal = refusal;
    }

    /// What the node says of its critical services.
    pub fn services(&mut self, services: &[Service]) {
        self.dead = services.iter().find(|service| service.dead.is_some()).cloned();
    }

    /// What is known of its machine. What was heard of one that then stopped does not say that it is there when it runs again.
    pub fn machine(&mut self, machine: MachineState) {
        if machine == MachineState::Stopped && self.machine != machine {
            (self.last, self.last_but_one, self.first) = (None, None, None);
            if self.count == Count::Enough {
                self.count = Count::TooFew { vouched: false };
            }
        }
        self.machine = machine;
    }

    /// What is known of its machine.
    #[must_use]
    pub const fn machine_state(&self) -> MachineState {
        self.machine
    }

    /// When the newest frame of any kind came.
    #[must_use]
    pub const fn heard_at(&self) -> Option<Duration> {
        self.frame
    }

    /// Whether its own listener could be probed, and if not why.
    pub fn probed(&mut self, unreachable: Option<String>) {
        self.unreachable = unreachable;
    }

    /// Whether the node can write to its disk, and if not why.
    pub fn disk(&mut self, unwritable: Option<String>) {
        self.unwritable = unwritable;
    }

    /// Whether the node has a majority only with promises that the controller passes on.
    pub fn relayed(&mut self, relayed: bool) {
        self.relayed = relayed;
    }

    /// Two processes speak for the node, with `evidence` of both.
    pub fn twin(&mut self, evidence: Fault, now: Duration) {
        self.twin = Some((now, evidence));
    }

    /// Another node's tunnel with this one had an exchange that was answered at `answered`.
    pub fn vouch(&mut self, by: NodeId, answered: Duration) {
        if self.witnesses.len() >= WITNESSES && !self.witnesses.contains_key(&by) {
            let oldest = self.witnesses.iter().min_by_key(|(_, at)| **at).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                self.witnesses.remove(&oldest);
            }
        }
        let known = self.witnesses.entry(by).or_insert(answered);
        *known = answered.max(*known);
    }

    /// Judges what is due. A call that comes more than a period late says that the judge itself was asleep, and then the frames that wait
    /// for it count first: it judges again only after one full interval.
    pub fn tick(&mut self, now: Duration) {
        self.twin.take_if(|(seen, _)| now.saturating_sub(*seen) > TWIN_SHOWN);
        while let Some(due) = self.judged_at.filter(|due| *due <= now) {
            if now > due + self.profile.period() {
                self.judged_at = Some(now + self.profile.interval());
                return;
            }
            self.judge(due);
        }
    }

    fn judge(&mut self, due: Duration) {
        let interval = self.profile.interval();
        self.judged_at = Some(due + interval);
        let since = due.saturating_sub(interval);
        self.count = if self.last_but_one.is_some_and(|at| at > since) {
            Count::Enough
        } else {
            let vouched = self.witnesses.values().any(|answered| *answered + self.profile.period() >= due);
            Count::TooFew { vouched }
        };
        self.first = None;
    }

    /// When [`Self::tick`] has something to do, unless something comes before.
    #[must_use]
    pub const fn due(&self) -> Option<Duration> {
        self.judged_at
    }

    /// The state, by the table's first row that matches, and why it is not better.
    #[must_use]
    pub fn state(&self) -> (NodeState, Option<Fault>) {
        use NodeState as S;
        if self.count == Count::Open {
            return (S::Waiting, Some(ReasonCode::NodeWaiting.into()));
        }
        if self.machine == MachineState::Stopped {
            return (S::Down, Some(ReasonCode::MachineStopped.into()));
        }
        if let Some(service) = &self.dead {
            let error = service.dead.clone().unwrap_or_default();
            let fault = Fault::new(ReasonCode::CriticalServiceDead).with("service", service.name.clone());
            return (S::Down, Some(fault.with("error", error)));
        }
        match self.count {
            Count::TooFew { vouched: true } => return (S::KeepaliveFail, Some(ReasonCode::NodeKeepaliveFail.into())),
            Count::TooFew { vouched: false } => return (S::Down, Some(ReasonCode::NodeSilent.into())),
            Count::Open | Count::Enough => {}
        }
        if let Some(refusal) = &self.refusal {
            let fault = Fault::new(ReasonCode::ConfigRefused).with("item", refusal.item.clone());
            return (S::ConfigFail, Some(fault.with("error", refusal.error.clone())));
        }
        if let Some((_, evidence)) = &self.twin {
            return (S::Up, Some(evidence.clone()));
        }
        let told = |code: ReasonCode, error: &String| Fault::new(code).with("error", error.clone());
        let unwritable = self.unwritable.as_ref().map(|error| told(ReasonCode::DiskUnwritable, error));
        let unreachable = self.unreachable.as_ref().map(|error| told(ReasonCode::UnreachableOn443, error));
        let relayed = self.relayed.then(|| ReasonCode::LeaseRelayed.into());
        (S::Up, unwritable.or(relayed).or(unreachable))
    }

    /// Whether what it carries is shown as last observed (system.md §3, connections, row 3): nothing was reported since its or our start, its
    /// verdict is pending, or no frame came for two keepalive periods.
    #[must_use]
    pub fn is_silent(&self, now: Duration) -> bool {
        let heard = self.frame.is_some_and(|at| now.saturating_sub(at) <= 2 * self.profile.period());
        !heard || !self.reported || self.count == Count::Open
    }
}

#[cfg(test)]
mod tests;
