//! A party: its machine with kernel and disk, and its process; and what parties say to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causeway_fleet::lease::{Ask, Ballot, Fence, Fenced, Holder, Kept, Promise, Voter, Way};
use causeway_model::desired::{LeaseDesired, LeaseTerms};
use causeway_model::{MachineId, NodeId};
use uuid::Uuid;

use crate::Broken;

/// Milliseconds.
pub(crate) const LEASE: u64 = 6000;
/// Two clocks differ by at most one part in this many: less than the margin.
pub(crate) const DRIFT: u64 = 15;

/// SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Which party, and its machine.
    Hello(usize, MachineId),
    Ask(Ask),
    /// A question that the controller is to pass on, and to whom.
    AskOthers(Ask, Vec<usize>),
    /// The same, passed on.
    Asked(Ask),
    /// What was promised to it, which the controller is to pass on.
    Promised(Promise),
    Promise(Promise, Way),
    Fence(Fence),
    Fenced(Fenced, MachineId),
    Configuration {
        machine: MachineId,
        revision: u64,
        config: Config,
    },
    Acknowledged {
        node: usize,
        terms: u64,
    },
}

/// What a node is told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) lease: LeaseDesired,
    pub(crate) gateways: BTreeSet<u8>,
}

/// What goes on without the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    /// Until when each element lives, by the machine's clock.
    pub(crate) elements: BTreeMap<u64, u64>,
    pub(crate) granted: Option<u64>,
    pub(crate) gateways: BTreeSet<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) kept: Kept,
    pub(crate) revision: u64,
    pub(crate) config: Config,
}

pub(crate) struct Party {
    /// 0: the controller.
    pub(crate) node: usize,
    pub(crate) machine: MachineId,
    /// Its clock gains `gain - DRIFT` in every 1000 parts.
    pub(crate) gain: u64,
    /// There is such a machine.
    pub(crate) exists: bool,
    pub(crate) runs: bool,
    pub(crate) stopped: bool,
    pub(crate) disk: Disk,
    pub(crate) ballot: Ballot,
    /// What only nodes have.
    pub(crate) holder: Holder,
    pub(crate) kernel: Kernel,
    pub(crate) revision: u64,
    pub(crate) config: Config,
    /// The last question.
    pub(crate) asked: Option<Ask>,
    /// In the kernel, and about to be asked.
    pub(crate) to_ask: Option<Ask>,
    /// Promised, and about to be told to the kernel.
    pub(crate) to_grant: Option<u64>,
}

pub(crate) fn node(number: usize) -> NodeId {
    NodeId(Uuid::from_u128(number as u128))
}

pub(crate) fn number(node: NodeId) -> usize {
    usize::try_from(node.0.as_u128()).expect("a small number")
}

pub(crate) fn voter(node_: usize) -> Voter {
    if node_ == 0 { Voter::Controller } else { Voter::Node(node(node_)) }
}

/// Where nodes are in the beginning.
pub(crate) fn machine(number: usize) -> MachineId {
    MachineId(Uuid::from_u128(number as u128))
}

pub(crate) fn terms(number: u64, voters: impl IntoIterator<Item = usize>) -> LeaseTerms {
    let voters: Vec<usize> = voters.into_iter().collect();
    let machines = voters.iter().map(|voter| (node(*voter), machine(*voter))).collect();
    LeaseTerms { number, voters: voters.into_iter().map(node).collect(), lease_ms: LEASE, machines }
}

impl Party {
    /// Whose vote it has, and where.
    pub(crate) fn seat(&self) -> (Voter, Option<MachineId>) {
        (voter(self.node), (self.node > 0).then_some(self.machine))
    }

    pub(crate) fn clock(&self, now: u64) -> u64 {
        now + now * self.gain / 1000 - now * (1000 / DRIFT) / 2000
    }

    pub(crate) fn time(&self, now: u64) -> Duration {
        Duration::from_millis(self.clock(now))
    }

    pub(crate) fn forwards(&self, gateway: u8, now: u64) -> bool {
        let alive = self.kernel.granted.and_then(|number| self.kernel.elements.get(&number));
        self.kernel.gateways.contains(&gateway) && alive.is_some_and(|until| *until > self.clock(now))
    }

    /// The process begins: what is in the kernel is replaced by what is on disk, or by nothing if that is another machine's.
    pub(crate) fn start(&mut self, broken: Broken, boot: u64, now: u64) {
        self.runs = true;
        self.stopped = false;
        match broken {
            Broken::Forgetful => self.disk.kept.fences.clear(),
            Broken::Careless => self.disk.kept.longest_ms = 0,
            _ => {}
        }
        self.ballot = Ballot::new(self.seat(), self.disk.kept.clone(), self.time(now));
        let named = self.disk.config.lease.terms.machines.get(&node(self.node)).copied();
        let taken = if broken == Broken::Unbound { named.unwrap_or(self.machine) } else { self.machine };
        self.holder = Holder::new(node(self.node), taken, boot);
        self.kernel = Kernel::default();
        self.revision = 0;
        self.config = self.disk.config.clone();
        self.holder.run(Some(self.config.lease.clone()));
        if self.holder.lease().is_some() {
            self.revision = self.disk.revision;
            self.kernel.gateways.clone_from(&self.config.gateways);
        }
        (self.asked, self.to_ask, self.to_grant) = (None, None, None);
    }

    /// What it promises is on its disk.
    pub(crate) fn promise(&mut self, ask: &Ask, time: Duration) -> Option<Promise> {
        let promise = self.ballot.ask(ask, time)?;
        self.disk.kept = self.ballot.kept().clone();
        Some(promise)
    }

    /// What a broken node takes a promise for.
    pub(crate) fn misread(&self, promise: Promise, way: Way, broken: Broken) -> Promise {
        let (Promise { ask, voter, .. }, Some(asked)) = (promise, self.asked) else { return promise };
        match (broken, voter) {
            (Broken::Stray, Voter::Node(node)) => {
                Promise { machine: self.config.lease.terms.machines.get(&node).copied(), ..promise }
            }
            (Broken::Undead, _) if way == Way::Relayed && ask.boot != asked.boot => Promise { ask: asked, ..promise },
            _ => promise,
        }
    }

    pub(crate) fn write(&mut self) {
        (self.disk.revision, self.disk.config) = (self.revision, self.config.clone());
    }
}
