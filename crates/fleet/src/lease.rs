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
//!   the element that the newest [`Holder::promise`] named is alive ([`Gate`], driven by [`keeper`]).
//! - A node asks for an epoch only once it runs that epoch's configuration, and nothing of an older one.
//! - What a [`Ballot`] keeps is on disk before anybody hears of it ([`desk`]).
//! - The controller's epochs and whether a replacement is under way are in its store; while one is, the node gets no configuration.
//! - Terms name the machine that they are for, and nobody asks by them on another one: a copy of a node's directory knows them, too, and has
//!   the node's own vote. They name the machines of the voters, and a promise from another one counts for nothing. Of one node, one identity at
//!   a time may have a copy that runs.
//! - Questions and promises may be passed on by whoever is there, late, twice and out of order: a promise is to one question of one process, and
//!   names its voter and that one's machine. Who passes promises on is trusted with whose they are (ADR 0038).
//! - The controller keeps all [`LeaseTerms`] that a node was sent since those that it has acknowledged, and it acknowledges those that its
//!   kernel counts by. A replacement needs a majority by each of them.

pub mod desk;
mod gate;
pub mod keeper;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causeway_model::desired::{LeaseDesired, LeaseTerms};
use causeway_model::{MachineId, NodeId};
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

/// The longest lease that anybody promises.
pub const LONGEST: Duration = Duration::from_secs(600);

/// What a lease is longer by for those who wait for its end: the rates of two clocks may differ by one part in so many.
const MARGIN_PART: u32 = 10;

/// How long a voter waits, by its own clock, for the end of a lease that the kernel of another machine counts.
#[must_use]
pub fn wait(lease: Duration) -> Duration {
    lease.saturating_add(lease / MARGIN_PART)
}

/// Who votes by these terms.
#[must_use]
pub fn voters(terms: &LeaseTerms) -> BTreeSet<Voter> {
    terms.voters.iter().copied().map(Voter::Node).chain([Voter::Controller]).collect()
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
    /// For how long its kernel will count the answer, from before the question, milliseconds.
    pub lease_ms: u64,
}

impl Ask {
    /// [`Self::lease_ms`].
    #[must_use]
    pub const fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

/// A voter's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// To what.
    pub ask: Ask,
    /// Whose.
    pub voter: Voter,
    /// Where the voter is; `None`: in the controller's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineId>,
}

/// How a promise came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the voter itself.
    Direct,
    /// The controller has passed it on.
    Relayed,
}

/// A question for voters that have not promised, which the controller shall pass on to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// The question.
    pub ask: Ask,
    /// The nodes that it is for.
    pub voters: Vec<NodeId>,
}

/// What the controller passes on to a node, from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// To a voter.
    Question(Ask),
    /// To the node that asked.
    Promise(Promise),
}

/// Nodes that are named with a question that shall be passed on, at most; terms name up to five.
pub(crate) const MAX_VOTERS: usize = 16;

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

/// What a voter has to have on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Of each node the first epoch that counts.
    pub fences: BTreeMap<NodeId, u64>,
    /// The longest lease that it has promised, milliseconds.
    pub longest_ms: u64,
}

/// Nodes that a voter keeps promises and fences of, at most: those of a zone and of its past.
const HOLDERS: usize = 4096;

/// A voter.
#[derive(Clone, Debug)]
pub struct Ballot {
    me: Voter,
    machine: Option<MachineId>,
    kept: Kept,
    /// When the last promise to each has run out.
    promised: BTreeMap<NodeId, Duration>,
    /// What was promised before this process began has run out by then.
    began: Duration,
}

impl Ballot {
    /// A voter on `machine` (`None`: the controller) that begins `now`, by a clock that only goes forward, with what it has on disk.
    #[must_use]
    pub fn new((me, machine): (Voter, Option<MachineId>), kept: Kept, now: Duration) -> Self {
        let began = now.saturating_add(wait(Duration::from_millis(kept.longest_ms)));
        Self { me, machine, kept, promised: BTreeMap::new(), began }
    }

    /// What has to be on disk before an answer leaves, if it is other than before the question.
    #[must_use]
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Answers a node that the caller knows for one of the zone, or that the controller does which has passed the question on; `None`: its epoch
    /// is over, or it asks for what nobody promises.
    pub fn ask(&mut self, ask: &Ask, now: Duration) -> Option<Promise> {
        if self.kept.fences.get(&ask.holder).is_some_and(|epoch| ask.epoch < *epoch) || ask.lease() > LONGEST {
            return None;
        }
        if !self.promised.contains_key(&ask.holder) && self.promised.len() >= HOLDERS {
            self.promised.retain(|_, until| *until > now);
            if self.promised.len() >= HOLDERS {
                return None;
            }
        }
        self.kept.longest_ms = ask.lease_ms.max(self.kept.longest_ms);
        let until = now.saturating_add(wait(ask.lease()));
        let promised = self.promised.entry(ask.holder).or_insert(until);
        *promised = until.max(*promised);
        Some(Promise { ask: *ask, voter: self.me, machine: self.machine })
    }

    /// Takes the controller's word.
    pub fn raise(&mut self, fence: &Fence) {
        let epoch = self.kept.fences.entry(fence.holder).or_default();
        *epoch = fence.epoch.max(*epoch);
    }

    /// The answer to the controller.
    ///
    /// # Errors
    /// For how long there is none yet.
    pub fn fenced(&self, fence: &Fence, now: Duration) -> Result<Fenced, Duration> {
        let free = self.promised.get(&fence.holder).map_or(self.began, |promised| self.began.max(*promised));
        let raised = self.kept.fences.get(&fence.holder).is_some_and(|epoch| *epoch >= fence.epoch);
        match free.checked_sub(now) {
            Some(rest) if !rest.is_zero() => Err(rest),
            _ if !raised => Err(wait(LONGEST)),
            _ => Ok(Fenced { fence: *fence, voter: self.me }),
        }
    }
}

fn is_majority(some: &BTreeSet<Voter>, of: &BTreeSet<Voter>) -> bool {
    2 * some.intersection(of).count() > of.len()
}

/// Where these terms say that a voter is; `None`: in the controller's process, or nowhere.
fn named(terms: &LeaseTerms, voter: &Voter) -> Option<MachineId> {
    match voter {
        Voter::Controller => None,
        Voter::Node(node) => terms.machines.get(node).copied(),
    }
}

/// Questions that may still be answered, at most.
const OPEN: usize = 8;

/// Who has promised.
#[derive(Clone, Debug, Default)]
struct Answers {
    all: BTreeSet<Voter>,
    direct: BTreeSet<Voter>,
}

/// A node that wants to forward. It needs no clock: its kernel has one.
#[derive(Clone, Debug)]
pub struct Holder {
    me: NodeId,
    machine: MachineId,
    boot: u64,
    lease: Option<LeaseDesired>,
    voters: BTreeSet<Voter>,
    asked: BTreeMap<u64, Answers>,
    number: u64,
    granted: u64,
}

impl Holder {
    /// A node whose process has begun on `machine`: `boot` is random.
    #[must_use]
    pub const fn new(me: NodeId, machine: MachineId, boot: u64) -> Self {
        Self { me, machine, boot, lease: None, voters: BTreeSet::new(), asked: BTreeMap::new(), number: 0, granted: 0 }
    }

    /// Whether these terms are for this machine: by others it never asks.
    #[must_use]
    pub fn may_ask_by(&self, terms: &LeaseTerms) -> bool {
        terms.are_for(self.me, self.machine)
    }

    /// What it asks for.
    #[must_use]
    pub const fn lease(&self) -> Option<&LeaseDesired> {
        self.lease.as_ref()
    }

    /// It runs the configuration that came with this lease now. What was promised by another one counts until its end, and no answer to a
    /// question that was asked by it counts any more.
    pub fn run(&mut self, lease: Option<LeaseDesired>) {
        let lease = lease.filter(|lease| self.may_ask_by(&lease.terms));
        if lease != self.lease {
            self.voters = lease.as_ref().map(|lease| voters(&lease.terms)).unwrap_or_default();
            self.lease = lease;
            self.asked.clear();
        }
    }

    /// The next question; its number has to be in the kernel before it leaves. `None`: it needs no lease.
    pub fn ask(&mut self) -> Option<Ask> {
        let lease = self.lease.as_ref()?;
        self.number += 1;
        while self.asked.len() >= OPEN {
            self.asked.pop_first();
        }
        self.asked.insert(self.number, Answers::default());
        let (epoch, lease_ms) = (lease.epoch, lease.terms.lease_ms);
        Some(Ask { holder: self.me, epoch, boot: self.boot, number: self.number, lease_ms })
    }

    /// Takes an answer. `Some(number)`: a majority has promised, and the kernel may forward while this number's element is alive.
    ///
    /// A voter counts once, by whatever ways its promises come, and only on the machine that the terms name: anywhere else it may be a copy.
    pub fn promise(&mut self, promise: &Promise, way: Way) -> Option<u64> {
        let Promise { ask, voter, machine } = promise;
        let lease = self.lease.as_ref()?;
        let wanted = (self.me, self.boot, lease.epoch, lease.terms.lease_ms);
        if (ask.holder, ask.boot, ask.epoch, ask.lease_ms) != wanted || *machine != named(&lease.terms, voter) {
            return None;
        }
        let answers = self.asked.get_mut(&ask.number)?;
        answers.all.insert(*voter);
        if way == Way::Direct {
            answers.direct.insert(*voter);
        }
        if ask.number <= self.granted || !is_majority(&answers.all, &self.voters) {
            return None;
        }
        self.granted = ask.number;
        self.asked = self.asked.split_off(&ask.number);
        Some(self.granted)
    }

    /// Whether a majority has promised to the newest question, and if so whether one has without what was passed on.
    #[must_use]
    pub fn granted(&self) -> Option<Way> {
        let answers = self.asked.get(&self.number).filter(|_| self.granted == self.number)?;
        Some(if is_majority(&answers.direct, &self.voters) { Way::Direct } else { Way::Relayed })
    }

    /// The other nodes that have not promised to the newest question; none if a majority has.
    #[must_use]
    pub fn unanswered(&self) -> Vec<NodeId> {
        let Some(answers) = self.asked.get(&self.number).filter(|_| self.granted < self.number) else {
            return Vec::new();
        };
        let open = self.voters.difference(&answers.all).filter_map(|voter| match voter {
            Voter::Node(node) if *node != self.me => Some(*node),
            _ => None,
        });
        open.take(MAX_VOTERS).collect()
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

/// Who shall forward when a node on one machine does not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// Other nodes: a majority has to agree.
    Others,
    /// The same node on another machine. Nothing of it moves, so that it is enough if the earlier machine can have no majority any more. Its own
    /// vote says nothing: that is the one of the new machine.
    Machine,
}

/// The controller's replacement of a node.
#[derive(Clone, Debug)]
pub struct Replacement {
    fence: Fence,
    successor: Successor,
    terms: Vec<LeaseTerms>,
    /// Who has answered, on which machine; `None`: a vote that the controller casts.
    fenced: BTreeSet<(Voter, Option<MachineId>)>,
}

impl Standing {
    /// Begins to replace a node, or goes on after a restart. The store has to have the new standing before the fence leaves. `terms`: all
    /// that the node may count by.
    pub fn replace(&mut self, holder: NodeId, terms: &[LeaseTerms], successor: Successor) -> Replacement {
        if !self.replaced {
            *self = Self { epoch: self.epoch + 1, replaced: true };
        }
        let fence = Fence { holder, epoch: self.epoch };
        Replacement { fence, successor, terms: terms.to_vec(), fenced: BTreeSet::new() }
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

    /// Another successor; what was answered counts.
    pub const fn turn(&mut self, successor: Successor) {
        self.successor = successor;
    }

    /// Takes an answer from a voter on `machine` (`None`: the controller casts this vote). A node's own vote counts only on the machine that
    /// its terms are for.
    pub fn fenced(&mut self, fenced: &Fenced, machine: Option<MachineId>) {
        let holder = fenced.fence.holder;
        let is_other = |machine| !self.terms.iter().all(|terms| terms.are_for(holder, machine));
        let is_copy = fenced.voter == Voter::Node(holder) && machine.is_none_or(is_other);
        if fenced.fence == self.fence && !is_copy {
            self.fenced.insert((fenced.voter, machine));
        }
    }

    /// Whether the node forwards nothing any more, by all terms that it may count by, so that its gateways may be started elsewhere, or on its
    /// new machine.
    #[must_use]
    pub fn is_done(&self) -> bool {
        !self.terms.is_empty() && self.terms.iter().all(|terms| self.is_over(terms))
    }

    fn is_over(&self, terms: &LeaseTerms) -> bool {
        let of = voters(terms);
        // A voter that has come to another machine since may be a copy, and the other one may promise still. One identity at a time has a copy:
        // where the holder is that one, this voter has started anew; where it is not, of all such voters one is.
        let (mut sure, mut came) = (BTreeSet::new(), BTreeSet::new());
        for (voter, machine) in &self.fenced {
            if named(terms, voter) == *machine {
                sure.insert(*voter)
            } else {
                came.insert(*voter)
            };
        }
        let sure: BTreeSet<Voter> = sure.intersection(&of).copied().collect();
        let came = came.intersection(&of).filter(|voter| !sure.contains(voter)).count();
        match self.successor {
            Successor::Others => 2 * (sure.len() + came.saturating_sub(1)) > of.len(),
            Successor::Machine => 2 * (of.len() - sure.len() - came) <= of.len(),
        }
    }

    /// Who has answered.
    #[must_use]
    pub fn answered(&self) -> BTreeSet<Voter> {
        self.fenced.iter().map(|(voter, _)| *voter).collect()
    }

    /// Who has not.
    pub fn missing(&self) -> impl Iterator<Item = Voter> {
        let all: BTreeSet<Voter> = self.terms.iter().flat_map(voters).collect();
        let answered = self.answered();
        all.into_iter().filter(move |voter| !answered.contains(voter))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LEASE: u64 = 10_000;

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn terms(number: u64, voters: &[u128]) -> LeaseTerms {
        let machines = voters.iter().map(|voter| (node(*voter), machine(*voter))).collect();
        LeaseTerms { number, voters: voters.iter().map(|voter| node(*voter)).collect(), lease_ms: LEASE, machines }
    }

    /// Where a node is, before it comes to another machine.
    fn machine(number: u128) -> MachineId {
        MachineId(Uuid::from_u128(number))
    }

    /// What a voter answers.
    fn answer(replacement: &mut Replacement, number: u128, on: u128) {
        let voter = Voter::Node(node(number));
        replacement.fenced(&Fenced { fence: replacement.fence(), voter }, Some(machine(on)));
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn question(epoch: u64) -> Ask {
        Ask { holder: node(1), epoch, boot: 1, number: 1, lease_ms: LEASE }
    }

    /// A promise from where the terms name the voter.
    fn promise(ask: Ask, number: u128) -> Promise {
        match number {
            0 => Promise { ask, voter: Voter::Controller, machine: None },
            _ => Promise { ask, voter: Voter::Node(node(number)), machine: Some(machine(number)) },
        }
    }

    #[test]
    fn a_majority_of_promises_to_one_question_of_this_start_and_epoch_counts() {
        use Way::Direct;
        let mut holder = Holder::new(node(1), machine(1), 7);
        assert_eq!(holder.ask(), None, "without a lease there is nothing to ask");
        holder.run(Some(LeaseDesired { epoch: 3, terms: terms(1, &[1, 2]) }));
        let (first, second) = (holder.ask().expect("a lease"), holder.ask().expect("a lease"));
        assert_eq!(holder.promise(&promise(first, 0), Direct), None);
        assert_eq!(holder.promise(&promise(second, 1), Direct), None, "one each is no majority");
        assert_eq!(holder.promise(&promise(second, 1), Direct), None, "twice the same one");
        assert_eq!(holder.promise(&promise(second, 9), Direct), None, "no voter");
        let wrong = [
            Ask { boot: 8, ..second },
            Ask { epoch: 2, ..second },
            Ask { holder: node(2), ..second },
            Ask { lease_ms: 1, ..second },
            Ask { number: 3, ..second },
        ];
        for wrong in wrong {
            assert_eq!(holder.promise(&promise(wrong, 2), Direct), None, "{wrong:?}");
        }
        assert_eq!(holder.promise(&promise(second, 2), Direct), Some(2));
        assert_eq!(holder.promise(&promise(first, 2), Direct), None, "older than what holds");
        let third = holder.ask().expect("a lease");
        holder.run(Some(LeaseDesired { epoch: 4, terms: terms(1, &[1, 2]) }));
        assert_eq!(holder.promise(&promise(third, 0), Direct), None);
        assert_eq!(holder.promise(&promise(third, 2), Direct), None, "of an epoch that is over");
        let fourth = holder.ask().expect("a lease");
        assert_eq!((fourth.number, fourth.epoch), (4, 4));
        holder.run(Some(LeaseDesired { epoch: 4, terms: terms(2, &[1, 2]) }));
        assert_eq!(holder.promise(&promise(fourth, 0), Direct), None);
        assert_eq!(holder.promise(&promise(fourth, 2), Direct), None, "asked by other terms");
    }

    #[test]
    fn a_promise_counts_once_by_whatever_way_it_comes_and_it_is_known_by_which() {
        let mut holder = Holder::new(node(1), machine(1), 7);
        assert_eq!((holder.granted(), holder.unanswered()), (None, vec![]));
        holder.run(Some(LeaseDesired { epoch: 3, terms: terms(1, &[1, 2, 3, 4]) }));
        assert_eq!(holder.unanswered(), [], "nothing was asked");
        let first = holder.ask().expect("a lease");
        assert_eq!(holder.unanswered(), [2, 3, 4].map(node), "neither itself nor the controller");
        for (voter, way) in [(1, Way::Direct), (2, Way::Relayed), (2, Way::Direct), (2, Way::Relayed)] {
            assert_eq!(holder.promise(&promise(first, voter), way), None, "two of five");
        }
        assert_eq!((holder.granted(), holder.unanswered()), (None, vec![node(3), node(4)]));
        assert_eq!(holder.promise(&promise(first, 3), Way::Relayed), Some(1));
        assert_eq!((holder.granted(), holder.unanswered()), (Some(Way::Relayed), vec![]));
        assert_eq!(holder.promise(&promise(first, 4), Way::Direct), None, "which changes nothing");
        assert_eq!(holder.granted(), Some(Way::Direct), "three have answered by themselves");
        let second = holder.ask().expect("a lease");
        assert_eq!((holder.granted(), holder.unanswered().len()), (None, 3));
        // What was passed on so late that the next question is out says nothing about that one.
        for voter in [0, 1, 2, 3, 4] {
            holder.promise(&promise(first, voter), Way::Relayed);
        }
        assert_eq!((holder.granted(), holder.unanswered().len()), (None, 3));
        for voter in [0, 1, 2] {
            holder.promise(&promise(second, voter), Way::Direct);
        }
        assert_eq!(holder.granted(), Some(Way::Direct));
    }

    #[test]
    fn a_promise_counts_from_the_machine_that_the_terms_name_for_its_voter() {
        let mut holder = Holder::new(node(1), machine(1), 7);
        holder.run(Some(LeaseDesired { epoch: 3, terms: terms(1, &[1, 2]) }));
        let ask = holder.ask().expect("a lease");
        assert_eq!(holder.promise(&promise(ask, 1), Way::Direct), None);
        for (voter, on) in [
            (Voter::Node(node(2)), Some(machine(22))),
            (Voter::Node(node(2)), None),
            (Voter::Node(node(2)), Some(machine(1))),
            (Voter::Node(node(1)), Some(machine(2))),
            (Voter::Controller, Some(machine(2))),
        ] {
            for way in [Way::Direct, Way::Relayed] {
                assert_eq!(holder.promise(&Promise { ask, voter, machine: on }, way), None, "{voter:?} {on:?}");
            }
        }
        assert_eq!(holder.promise(&promise(ask, 2), Way::Relayed), Some(1));
        // By terms that name another one, that one counts.
        let mut next = terms(2, &[1, 2]);
        next.machines.insert(node(2), machine(22));
        holder.run(Some(LeaseDesired { epoch: 3, terms: next }));
        let ask = holder.ask().expect("a lease");
        holder.promise(&promise(ask, 1), Way::Direct);
        assert_eq!(holder.promise(&promise(ask, 2), Way::Direct), None);
        assert_eq!(holder.promise(&Promise { machine: Some(machine(22)), ..promise(ask, 2) }, Way::Direct), Some(2));
        // A vote that the controller casts for a node inside its process, which the terms name nowhere.
        let mut local = terms(3, &[1, 2]);
        local.machines.remove(&node(2));
        holder.run(Some(LeaseDesired { epoch: 3, terms: local }));
        let ask = holder.ask().expect("a lease");
        holder.promise(&promise(ask, 1), Way::Direct);
        assert_eq!(holder.promise(&promise(ask, 2), Way::Direct), None);
        assert_eq!(holder.promise(&Promise { machine: None, ..promise(ask, 2) }, Way::Relayed), Some(3));
    }

    #[test]
    fn a_voter_says_that_it_is_fenced_when_its_promise_has_run_out_and_promises_nothing_more() {
        let (ask, fence) = (question(3), Fence { holder: node(1), epoch: 4 });
        let mut voter = Ballot::new((Voter::Controller, None), Kept::default(), at(0));
        assert!(voter.ask(&ask, at(10)).is_some());
        assert!(voter.fenced(&fence, at(60)).is_err(), "not raised yet");
        voter.raise(&fence);
        voter.raise(&Fence { epoch: 2, ..fence });
        assert_eq!(voter.kept().fences[&node(1)], 4, "an older one changes nothing");
        assert_eq!(voter.fenced(&fence, at(12)), Err(at(9)), "the lease, and a tenth of it");
        assert_eq!(voter.ask(&ask, at(12)), None, "which prolongs nothing");
        assert_eq!(voter.fenced(&fence, at(21)), Ok(Fenced { fence, voter: Voter::Controller }));
        assert!(voter.ask(&question(4), at(22)).is_some());
        assert!(voter.ask(&Ask { holder: node(2), ..ask }, at(22)).is_some(), "the fence is about one node");
        let endless = Ask { holder: node(2), lease_ms: u64::MAX, ..ask };
        assert_eq!(voter.ask(&endless, at(22)), None, "nobody promises that");
    }

    #[test]
    fn a_voter_that_has_just_begun_may_have_promised_anything() {
        let fence = Fence { holder: node(1), epoch: 4 };
        let kept = Kept { fences: BTreeMap::from([(node(1), 4)]), longest_ms: LEASE };
        let mut voter = Ballot::new((Voter::Node(node(2)), Some(machine(2))), kept, at(100));
        assert_eq!(voter.fenced(&fence, at(101)), Err(at(10)));
        assert_eq!(voter.ask(&question(3), at(101)), None);
        assert!(voter.fenced(&fence, at(111)).is_ok());
        let kept = Kept { longest_ms: 0, ..voter.kept().clone() };
        let fresh = Ballot::new((Voter::Node(node(2)), Some(machine(2))), kept, at(100));
        assert!(fresh.fenced(&fence, at(100)).is_ok(), "it has never promised anything");
    }

    #[test]
    fn a_voter_keeps_promises_of_a_bounded_number_of_nodes() {
        let mut voter = Ballot::new((Voter::Controller, None), Kept::default(), at(0));
        let promises = |voter: &mut Ballot, number, now| {
            voter.ask(&Ask { holder: node(number), ..question(1) }, at(now)).is_some()
        };
        for number in 0..HOLDERS as u128 {
            assert!(promises(&mut voter, number, 1));
        }
        assert!(!promises(&mut voter, 5000, 2));
        assert!(promises(&mut voter, 7, 2), "known already");
        assert!(promises(&mut voter, 5000, 13), "what has run out makes room");
    }

    #[test]
    fn nobody_asks_by_terms_that_are_for_another_machine() {
        let mut holder = Holder::new(node(1), machine(7), 7);
        let lease = |terms| Some(LeaseDesired { epoch: 3, terms });
        holder.run(lease(terms(1, &[1, 2])));
        assert_eq!((holder.ask(), holder.lease()), (None, None), "a copy");
        let machines = BTreeMap::from([(node(1), machine(7))]);
        holder.run(lease(LeaseTerms { machines, ..terms(2, &[1, 2]) }));
        let ask = holder.ask().expect("its own");
        holder.run(lease(terms(3, &[1, 2])));
        for voter in [0, 1, 2] {
            assert_eq!(holder.promise(&promise(ask, voter), Way::Direct), None);
        }
        holder.run(lease(LeaseTerms { machines: BTreeMap::new(), ..terms(4, &[1, 2]) }));
        assert_eq!(holder.ask(), None, "for nobody");
    }

    #[test]
    fn a_node_is_replaced_by_a_majority_that_fenced_the_same_epoch() {
        let mut standing = Standing { epoch: 3, replaced: false };
        let mut replacement = standing.replace(node(1), &[terms(1, &[1, 2])], Successor::Others);
        assert_eq!((standing.epoch, replacement.fence().epoch), (4, 4));
        let done = |replacement: &mut Replacement, epoch, voter, on| {
            replacement.fenced(&Fenced { fence: Fence { holder: node(1), epoch }, voter }, on);
            replacement.is_done()
        };
        assert!(!done(&mut replacement, 4, Voter::Controller, None));
        assert!(!done(&mut replacement, 3, Voter::Node(node(2)), Some(machine(2))), "an earlier attempt");
        assert!(!done(&mut replacement, 4, Voter::Node(node(9)), Some(machine(9))), "no voter");
        assert!(!done(&mut replacement, 4, Voter::Node(node(1)), Some(machine(7))), "a copy of the node");
        assert_eq!(replacement.missing().collect::<Vec<_>>(), [Voter::Node(node(1)), Voter::Node(node(2))]);
        assert!(done(&mut replacement, 4, Voter::Node(node(2)), Some(machine(2))));
        let replace = |standing: &mut Standing| standing.replace(node(1), &[], Successor::Others);
        assert_eq!(replace(&mut standing).fence().epoch, 4, "goes on after a restart");
        assert!(!replace(&mut standing).is_done(), "nobody to ask is no majority");
        standing.settle();
        assert_eq!(replace(&mut standing).fence().epoch, 5);
    }

    #[test]
    fn a_node_that_may_count_by_several_terms_is_replaced_by_a_majority_of_each() {
        let terms = [terms(4, &[1, 2, 3, 4]), terms(5, &[1, 5, 6])];
        let mut replacement = Standing::default().replace(node(1), &terms, Successor::Others);
        replacement.fenced(&Fenced { fence: replacement.fence(), voter: Voter::Controller }, None);
        answer(&mut replacement, 5, 5);
        answer(&mut replacement, 6, 6);
        assert!(!replacement.is_done(), "by the newest terms alone");
        answer(&mut replacement, 2, 2);
        assert!(!replacement.is_done());
        answer(&mut replacement, 4, 4);
        assert!(replacement.is_done());
    }

    #[test]
    fn of_voters_on_other_machines_than_the_terms_name_one_may_be_a_copy() {
        let terms = [terms(1, &[1, 2, 3, 4])];
        let mut replacement = Standing::default().replace(node(1), &terms, Successor::Others);
        replacement.fenced(&Fenced { fence: replacement.fence(), voter: Voter::Controller }, None);
        answer(&mut replacement, 2, 22);
        answer(&mut replacement, 3, 33);
        assert!(!replacement.is_done(), "the other one of either may promise");
        answer(&mut replacement, 4, 4);
        assert!(replacement.is_done());
        let mut one = Standing::default().replace(node(1), &terms, Successor::Others);
        answer(&mut one, 2, 22);
        answer(&mut one, 3, 3);
        answer(&mut one, 2, 2);
        assert!(!one.is_done(), "two voters, however often");
        answer(&mut one, 1, 1);
        assert!(one.is_done(), "its own vote, on its own machine");
    }

    #[test]
    fn a_new_machine_waits_until_the_earlier_one_can_have_no_majority_and_votes_for_nothing() {
        // The controller and three nodes: two of four cannot be without these two.
        let four = [terms(1, &[1, 2, 3])];
        let mut replacement = Standing::default().replace(node(1), &four, Successor::Machine);
        answer(&mut replacement, 1, 11);
        answer(&mut replacement, 2, 22);
        assert!(!replacement.is_done());
        replacement.fenced(&Fenced { fence: replacement.fence(), voter: Voter::Controller }, None);
        assert!(replacement.is_done(), "all machines have started anew, as after a loss of power");
        replacement.turn(Successor::Others);
        assert!(!replacement.is_done(), "which is no majority for anything else");
        let five = [terms(1, &[1, 2, 3, 4])];
        let mut replacement = Standing::default().replace(node(1), &five, Successor::Machine);
        answer(&mut replacement, 2, 2);
        answer(&mut replacement, 3, 3);
        assert!(!replacement.is_done(), "the controller, the fourth and the earlier machine are three");
        answer(&mut replacement, 4, 44);
        assert!(replacement.is_done());
    }
}
