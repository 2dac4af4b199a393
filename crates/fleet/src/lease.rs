//! The forwarding lease (system.md §3, "Failover is safe or it does not happen"): a gateway never forwards on two nodes, whatever is cut,
//! killed, stopped or late. Machines without I/O; docs/fleet.md tells their story.
//!
//! The voters of a zone are its nodes and the controller. A node asks all of them, again and again; a [`Promise`] means "until my wait is
//! over I shall not say that this node may be replaced". With the promises of a majority the node forwards for [`Times::lease`], which its
//! kernel counts from *before* it asked, so that no delay of the process makes it longer. To replace a node the controller raises its
//! epoch and has the voters [`Fence`] the older ones: a voter promises nothing for those any more, and says [`Fenced`] when its last
//! promise has run out. Any two majorities share a voter, and that one has waited.
//!
//! What the owners of the machines owe them:
//! - A node's kernel gets [`Ask::number`] as an element with the lease's time to live before the question leaves, and forwards only while
//!   the element that the newest [`Holder::promise`] named is alive.
//! - A node asks for an epoch only once it runs that epoch's configuration, and nothing of an older one.
//! - Fences are on disk before anybody hears that there is one.
//! - The controller's epochs and whether a replacement is under way are in its store; while one is, the node gets no configuration.
//! - Voters change one at a time, and the next one only when no node counts by the voters before.

mod gate;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causeway_model::NodeId;
use serde::{Deserialize, Serialize};

pub use gate::{Gate, GateError};

/// Who has a vote in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Voter {
    /// The controller.
    Controller,
    /// A node of the zone.
    Node(NodeId),
}

/// How long things hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// For which a node forwards after it asked, by its kernel's clock.
    pub lease: Duration,
    /// For which a voter waits longer than that, by its own clock: the clocks' rates may differ by `margin / lease`.
    pub margin: Duration,
}

impl Times {
    fn wait(self) -> Duration {
        self.lease.saturating_add(self.margin)
    }
}

/// A node's question to every voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Who asks.
    pub holder: NodeId,
    /// For which epoch of its configuration.
    pub epoch: u64,
    /// Random at every start of its process: answers to an earlier one count for nothing.
    pub boot: u64,
    /// 1, 2, … from each start on.
    pub number: u64,
}

/// A voter's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// To what.
    pub ask: Ask,
    /// Whose.
    pub voter: Voter,
}

/// The controller's word to every voter: of this node only this epoch and later ones count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// Who is to be replaced.
    pub holder: NodeId,
    /// The first epoch that counts.
    pub epoch: u64,
}

/// A voter's answer: nothing that it promised for an older epoch holds any more, and it will promise no such thing again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fenced {
    /// To what.
    pub fence: Fence,
    /// Whose.
    pub voter: Voter,
}

/// A voter.
#[derive(Clone, Debug)]
pub struct Ballot {
    me: Voter,
    times: Times,
    fences: BTreeMap<NodeId, u64>,
    /// When the last promise to each has run out.
    promised: BTreeMap<NodeId, Duration>,
    /// What was promised before this process began has run out by then.
    began: Duration,
}

impl Ballot {
    /// A voter that begins `now`, by a clock that only goes forward, with the fences that it has on disk.
    #[must_use]
    pub fn new(me: Voter, times: Times, fences: BTreeMap<NodeId, u64>, now: Duration) -> Self {
        Self { me, times, fences, promised: BTreeMap::new(), began: now }
    }

    /// What has to be on disk.
    #[must_use]
    pub const fn fences(&self) -> &BTreeMap<NodeId, u64> {
        &self.fences
    }

    /// Answers a node that the caller knows for one of the zone; `None`: its epoch is over.
    pub fn ask(&mut self, ask: &Ask, now: Duration) -> Option<Promise> {
        if self.fences.get(&ask.holder).is_some_and(|epoch| ask.epoch < *epoch) {
            return None;
        }
        let until = now.saturating_add(self.times.wait());
        let promised = self.promised.entry(ask.holder).or_insert(until);
        *promised = until.max(*promised);
        Some(Promise { ask: *ask, voter: self.me })
    }

    /// Takes the controller's word; whether [`Self::fences`] have to be written before [`Self::fenced`] is asked.
    #[must_use]
    pub fn raise(&mut self, fence: &Fence) -> bool {
        let epoch = self.fences.entry(fence.holder).or_default();
        let is_new = *epoch < fence.epoch;
        *epoch = fence.epoch.max(*epoch);
        is_new
    }

    /// The answer to the controller.
    ///
    /// # Errors
    /// For how long there is none yet.
    pub fn fenced(&self, fence: &Fence, now: Duration) -> Result<Fenced, Duration> {
        let began = self.began.saturating_add(self.times.wait());
        let free = self.promised.get(&fence.holder).map_or(began, |promised| began.max(*promised));
        let raised = self.fences.get(&fence.holder).is_some_and(|epoch| *epoch >= fence.epoch);
        match free.checked_sub(now) {
            Some(rest) if !rest.is_zero() => Err(rest),
            _ if !raised => Err(self.times.wait()),
            _ => Ok(Fenced { fence: *fence, voter: self.me }),
        }
    }
}

fn is_majority(some: &BTreeSet<Voter>, of: &BTreeSet<Voter>) -> bool {
    2 * some.intersection(of).count() > of.len()
}

/// Questions that may still be answered, at most.
const OPEN: usize = 8;

/// A node that wants to forward. It needs no clock: its kernel has one.
#[derive(Clone, Debug)]
pub struct Holder {
    me: NodeId,
    boot: u64,
    epoch: u64,
    voters: BTreeSet<Voter>,
    asked: BTreeMap<u64, BTreeSet<Voter>>,
    number: u64,
    granted: u64,
}

impl Holder {
    /// A node whose process has begun: `boot` is random.
    #[must_use]
    pub const fn new(me: NodeId, boot: u64, epoch: u64, voters: BTreeSet<Voter>) -> Self {
        Self { me, boot, epoch, voters, asked: BTreeMap::new(), number: 0, granted: 0 }
    }

    /// The epoch that it asks for.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// It runs the configuration of another epoch now; what was promised was promised to the one before.
    pub fn run(&mut self, epoch: u64) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.asked.clear();
        }
    }

    /// The next question; its number has to be in the kernel before it leaves.
    pub fn ask(&mut self) -> Ask {
        self.number += 1;
        while self.asked.len() >= OPEN {
            self.asked.pop_first();
        }
        self.asked.insert(self.number, BTreeSet::new());
        Ask { holder: self.me, epoch: self.epoch, boot: self.boot, number: self.number }
    }

    /// Takes an answer. `Some(number)`: a majority has promised, and the kernel may forward while this number's element is alive.
    pub fn promise(&mut self, promise: &Promise) -> Option<u64> {
        let Promise { ask, voter } = promise;
        if (ask.holder, ask.boot, ask.epoch) != (self.me, self.boot, self.epoch) {
            return None;
        }
        let promised = self.asked.get_mut(&ask.number)?;
        promised.insert(*voter);
        if ask.number <= self.granted || !is_majority(promised, &self.voters) {
            return None;
        }
        self.granted = ask.number;
        self.asked = self.asked.split_off(&ask.number);
        Some(self.granted)
    }
}

/// A node as the controller's store has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The epoch of its configuration.
    pub epoch: u64,
    /// It is being replaced: until that is over or called off it gets no configuration.
    pub replaced: bool,
}

/// The controller's replacement of a node.
#[derive(Clone, Debug)]
pub struct Replacement {
    fence: Fence,
    voters: BTreeSet<Voter>,
    fenced: BTreeSet<Voter>,
}

impl Standing {
    /// Begins to replace a node, or goes on after a restart. The store has to have the new standing before the fence leaves.
    pub fn replace(&mut self, holder: NodeId, voters: BTreeSet<Voter>) -> Replacement {
        if !self.replaced {
            *self = Self { epoch: self.epoch + 1, replaced: true };
        }
        Replacement { fence: Fence { holder, epoch: self.epoch }, voters, fenced: BTreeSet::new() }
    }

    /// The node is back before it was replaced, or everything that it had is placed elsewhere: it gets its configuration again.
    pub const fn settle(&mut self) {
        self.replaced = false;
    }
}

impl Replacement {
    /// What every voter has to hear, until it has answered.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// Takes an answer; whether the node forwards nothing any more, so that its gateways may be placed elsewhere.
    pub fn fenced(&mut self, fenced: &Fenced) -> bool {
        if fenced.fence == self.fence {
            self.fenced.insert(fenced.voter);
        }
        is_majority(&self.fenced, &self.voters)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const TIMES: Times = Times { lease: Duration::from_secs(6), margin: Duration::from_secs(1) };

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn voters() -> BTreeSet<Voter> {
        BTreeSet::from([Voter::Controller, Voter::Node(node(1)), Voter::Node(node(2))])
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_majority_of_promises_to_one_question_of_this_start_and_epoch_counts() {
        let mut holder = Holder::new(node(1), 7, 3, voters());
        let (first, second) = (holder.ask(), holder.ask());
        let promise = |ask, voter| Promise { ask, voter };
        assert_eq!(holder.promise(&promise(first, Voter::Controller)), None);
        assert_eq!(holder.promise(&promise(second, Voter::Node(node(1)))), None, "one each is no majority");
        assert_eq!(holder.promise(&promise(second, Voter::Node(node(1)))), None, "twice the same one");
        assert_eq!(holder.promise(&promise(second, Voter::Node(node(9)))), None, "no voter");
        for wrong in [Ask { boot: 8, ..second }, Ask { epoch: 2, ..second }, Ask { holder: node(2), ..second }] {
            assert_eq!(holder.promise(&promise(wrong, Voter::Node(node(2)))), None, "{wrong:?}");
        }
        assert_eq!(holder.promise(&promise(second, Voter::Node(node(2)))), Some(2));
        assert_eq!(holder.promise(&promise(first, Voter::Node(node(2)))), None, "older than what holds");
        let third = holder.ask();
        holder.run(4);
        assert_eq!(holder.promise(&promise(third, Voter::Controller)), None);
        assert_eq!(holder.promise(&promise(third, Voter::Node(node(2)))), None, "of an epoch that is over");
    }

    #[test]
    fn a_voter_says_that_it_is_fenced_when_its_promise_has_run_out_and_promises_nothing_more() {
        let ask = Ask { holder: node(1), epoch: 3, boot: 1, number: 1 };
        let fence = Fence { holder: node(1), epoch: 4 };
        let mut voter = Ballot::new(Voter::Controller, TIMES, BTreeMap::new(), at(0));
        assert!(voter.ask(&ask, at(10)).is_some());
        assert_eq!(voter.fenced(&fence, at(60)), Err(at(7)), "not raised yet");
        assert!(voter.raise(&fence));
        assert!(!voter.raise(&fence), "on disk already");
        assert_eq!(voter.fenced(&fence, at(12)), Err(at(5)));
        assert_eq!(voter.ask(&ask, at(12)), None, "which prolongs nothing");
        assert_eq!(voter.fenced(&fence, at(17)), Ok(Fenced { fence, voter: Voter::Controller }));
        assert!(voter.ask(&Ask { epoch: 4, ..ask }, at(20)).is_some());
        assert!(voter.ask(&Ask { holder: node(2), ..ask }, at(20)).is_some(), "the fence is about one node");
    }

    #[test]
    fn a_voter_that_has_just_begun_may_have_promised_anything() {
        let fence = Fence { holder: node(1), epoch: 4 };
        let mut voter = Ballot::new(Voter::Node(node(2)), TIMES, BTreeMap::from([(node(1), 4)]), at(100));
        assert!(!voter.raise(&fence));
        assert_eq!(voter.fenced(&fence, at(101)), Err(at(6)));
        assert_eq!(voter.ask(&Ask { holder: node(1), epoch: 3, boot: 1, number: 1 }, at(101)), None);
        assert!(voter.fenced(&fence, at(107)).is_ok());
    }

    #[test]
    fn a_node_is_replaced_by_a_majority_that_fenced_the_same_epoch() {
        let mut standing = Standing { epoch: 3, replaced: false };
        let mut replacement = standing.replace(node(1), voters());
        assert_eq!((standing.epoch, replacement.fence().epoch), (4, 4));
        let answer = |epoch, voter| Fenced { fence: Fence { holder: node(1), epoch }, voter };
        assert!(!replacement.fenced(&answer(4, Voter::Controller)));
        assert!(!replacement.fenced(&answer(3, Voter::Node(node(2)))), "an earlier attempt");
        assert!(!replacement.fenced(&answer(4, Voter::Node(node(9)))), "no voter");
        assert!(replacement.fenced(&answer(4, Voter::Node(node(2)))));
        assert_eq!(standing.replace(node(1), voters()).fence().epoch, 4, "goes on after a restart");
        standing.settle();
        assert_eq!(standing.replace(node(1), voters()).fence().epoch, 5);
    }
}
