//! The controller's part of the forwarding lease (docs/fleet.md, ADR 0034): who votes for a node, the controller's own vote, and the
//! replacement of nodes. What has to survive this process is in the store; the machines and their proof are in `causeway_fleet::lease`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use causeway_fleet::lease::{
    Ask, Ballot, Fence, Fenced, Kept, Promise, Relayed, Replacement, Standing, Successor, Unanswered, Voter,
};
use causeway_fleet::{Held, Place};
use causeway_model::desired::LeaseTerms;
use causeway_model::status::{NodeState, PLATFORM_DEADLINE};
use causeway_model::{MachineId, NodeId, Timestamp};
use causeway_store::{EventText, NodeLease, NodeRecord, Writer};

use crate::{Controller, Result, peering};

/// Voters that make a lease, the controller among them: with fewer, no vote could be missing.
const LEAST_VOTERS: usize = 3;
/// Terms that a node may count by at once: while it acknowledges none of them it gets no others.
const MAX_TERMS: usize = 8;

/// A node's lease as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// What the store has.
    pub lease: NodeLease,
    /// Until when the node forwards if nobody answers it any more, as it said last; `None`: it does not.
    pub held_until: Option<Timestamp>,
    /// Why its kernel does not do what the lease needs.
    pub trouble: Option<String>,
    /// If it is being replaced: the nodes that have said that it forwards nothing any more by what they promised; `None`: the controller.
    pub answered: Vec<Option<NodeId>>,
    /// Those that have not.
    pub missing: Vec<Option<NodeId>>,
}

/// What this process knows of leases.
#[derive(Debug)]
pub(crate) struct Leases(Mutex<State>);

#[derive(Debug)]
struct State {
    ballot: Ballot,
    /// Nodes inside this process: their votes are cast with the controller's own.
    local: BTreeSet<NodeId>,
    /// The nodes that have a vote for each node, by any terms that it may count by.
    voters: BTreeMap<NodeId, BTreeSet<NodeId>>,
    replacements: BTreeMap<NodeId, Replacement>,
    /// Those of which it was said that no majority answers.
    overdue: BTreeSet<NodeId>,
    held: BTreeMap<NodeId, (Held, Duration)>,
    acknowledged: BTreeMap<NodeId, u64>,
    /// When this process began.
    began: Duration,
}

fn node_of(voter: &Voter) -> Option<NodeId> {
    match voter {
        Voter::Controller => None,
        Voter::Node(node) => Some(*node),
    }
}

impl Leases {
    /// A vote that has not begun: [`Self::begin`] says with what.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            ballot: Ballot::new((Voter::Controller, None), Kept::default(), Duration::ZERO),
            local: BTreeSet::new(),
            voters: BTreeMap::new(),
            replacements: BTreeMap::new(),
            overdue: BTreeSet::new(),
            held: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            began: Duration::ZERO,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process begins with what the store has: an earlier one may have promised all of it a moment ago.
    pub(crate) fn begin(&self, nodes: &[NodeRecord], now: Duration) {
        let fences = nodes.iter().filter(|node| node.lease.epoch > 0).map(|node| (node.id, node.lease.epoch));
        let terms = nodes.iter().flat_map(|node| &node.lease.terms);
        let kept =
            Kept { fences: fences.collect(), longest_ms: terms.map(|terms| terms.lease_ms).max().unwrap_or_default() };
        let mut state = self.lock();
        state.ballot = Ballot::new((Voter::Controller, None), kept, now);
        state.voters = nodes.iter().map(|node| (node.id, vote_for(&node.lease))).collect();
        state.began = now;
    }

    /// Whether anybody votes for a node.
    fn has_voters(&self, node: NodeId) -> bool {
        self.lock().voters.get(&node).is_some_and(|voters| !voters.is_empty())
    }

    /// Those of `voters` that a question of `holder` in this epoch may be passed on to: who has a vote for it, unless that epoch is over.
    fn may_ask(&self, ask: &Ask, voters: &[NodeId]) -> BTreeSet<NodeId> {
        let state = self.lock();
        let is_over = state.ballot.kept().fences.get(&ask.holder).is_some_and(|epoch| ask.epoch < *epoch);
        let known = state.voters.get(&ask.holder).filter(|_| !is_over);
        let may = |voter: &&NodeId| **voter != ask.holder && known.is_some_and(|known| known.contains(*voter));
        voters.iter().filter(may).copied().collect()
    }

    /// For how long this process has been there.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.lock().began)
    }

    /// The votes that this process has.
    pub(crate) fn ask(&self, ask: &Ask, now: Duration) -> Vec<Promise> {
        let mut state = self.lock();
        let Some(promise) = state.ballot.ask(ask, now) else { return Vec::new() };
        let local = state.local.iter().map(|node| Promise { voter: Voter::Node(*node), ..promise });
        std::iter::once(promise).chain(local).collect()
    }

    /// What a node has not answered yet.
    pub(crate) fn fences(&self, node: NodeId) -> Vec<Fence> {
        let state = self.lock();
        let open = state.replacements.values().filter(|open| open.missing().any(|voter| voter == Voter::Node(node)));
        open.map(Replacement::fence).collect()
    }

    pub(crate) fn fenced(&self, fenced: &Fenced, machine: MachineId) {
        if let Some(replacement) = self.lock().replacements.get_mut(&fenced.fence.holder) {
            replacement.fenced(fenced, Some(machine));
        }
    }

    /// What a node says of its lease; whether it acknowledges terms that it was not known to count by.
    fn held(&self, node: NodeId, held: Option<Held>, now: Duration) -> Option<u64> {
        let mut state = self.lock();
        let Some(held) = held else {
            state.held.remove(&node);
            return None;
        };
        let terms = held.terms;
        state.held.insert(node, (held, now));
        (terms > 0 && state.acknowledged.get(&node) != Some(&terms)).then_some(terms)
    }

    /// Goes on with the replacements that the store has, and no others: those that are done, and those that have just become overdue. Of nodes
    /// that were replaced without their voters, those are told nevertheless.
    fn follow(&self, nodes: &[NodeRecord], now: Duration, time: Timestamp) -> (Vec<Fence>, Vec<NodeId>) {
        let mut state = self.lock();
        let state = &mut *state;
        state.replacements.retain(|node, replacement| {
            nodes.iter().any(|known| known.id == *node && known.lease.epoch == replacement.fence().epoch)
        });
        state.overdue.retain(|node| nodes.iter().any(|known| known.id == *node));
        let (mut done, mut overdue) = (Vec::new(), Vec::new());
        for node in nodes {
            let successor = if node.lease.moving { Successor::Machine } else { Successor::Others };
            let replacement = state.replacements.entry(node.id).or_insert_with(|| {
                let mut standing = Standing { epoch: node.lease.epoch, replaced: true };
                standing.replace(node.id, &node.lease.terms, successor)
            });
            replacement.turn(successor);
            let fence = replacement.fence();
            state.ballot.raise(&fence);
            if let Ok(fenced) = state.ballot.fenced(&fence, now) {
                replacement.fenced(&fenced, None);
                for node in &state.local {
                    replacement.fenced(&Fenced { voter: Voter::Node(*node), ..fenced }, None);
                }
            }
            if node.lease.replaced_since.is_none() {
                continue;
            }
            let since = node.lease.replaced_since.map_or(0.0, |since| time.seconds_since(since));
            if replacement.is_done() {
                done.push(fence);
            } else if since >= PLATFORM_DEADLINE && state.overdue.insert(node.id) {
                let missing: Vec<String> = replacement.missing().map(|voter| name(node_of(&voter))).collect();
                tracing::warn!(node = %node.id, missing = missing.join(", "), "no majority says that the node forwards nothing any more");
                overdue.push(node.id);
            }
        }
        (done, overdue)
    }

    /// As operators see it; `None`: the node needs none.
    pub(crate) fn info(&self, node: &NodeRecord, now: Duration, time: Timestamp) -> Option<LeaseInfo> {
        if node.lease.terms.is_empty() {
            return None;
        }
        let state = self.lock();
        let held = state.held.get(&node.id);
        let left = held.and_then(|(held, at)| Duration::from_millis(held.left_ms).checked_sub(now.saturating_sub(*at)));
        let micros = left.and_then(|left| i64::try_from(left.as_micros()).ok()).filter(|left| *left > 0);
        let held_until = micros.map(|micros| Timestamp(time.0.saturating_add(micros)));
        let trouble = held.and_then(|(held, _)| held.trouble.clone());
        let replacement = state.replacements.get(&node.id).filter(|_| node.lease.replaced_since.is_some());
        let answered = replacement.map(|open| open.answered().iter().map(node_of).collect());
        let missing = replacement.map(|open| open.missing().map(|voter| node_of(&voter)).collect());
        let (answered, missing) = (answered.unwrap_or_default(), missing.unwrap_or_default());
        Some(LeaseInfo { lease: node.lease.clone(), held_until, trouble, answered, missing })
    }

    pub(crate) fn forget(&self, node: NodeId) {
        let mut state = self.lock();
        state.held.remove(&node);
        state.acknowledged.remove(&node);
        state.replacements.remove(&node);
        state.voters.remove(&node);
    }
}

/// The nodes that have a vote by any of these terms.
fn vote_for(lease: &NodeLease) -> BTreeSet<NodeId> {
    lease.terms.iter().flat_map(|terms| &terms.voters).copied().collect()
}

/// A voter's name for people.
fn name(node: Option<NodeId>) -> String {
    node.map_or_else(|| "controller".to_owned(), |node| node.to_string())
}

/// Who votes for a node beside the controller: itself and those that it asks, and a node inside the controller's process where there would be
/// too few; `None`: there are too few. All of a zone of up to four nodes are among them.
fn voters(node: &NodeRecord, all: &[NodeRecord]) -> Option<Electorate> {
    let mut voters: Vec<NodeId> = peering::peers(node, all).into_iter().map(|peer| peer.node).collect();
    voters.push(node.id);
    let local = all.iter().filter(|other| other.zone == node.zone && is_local(other)).map(|other| other.id);
    // It shares the controller's fate, so that it has a vote only where it decides between two.
    voters.extend(local.take(LEAST_VOTERS.saturating_sub(voters.len() + 1)));
    voters.sort_unstable();
    if voters.len() + 1 < LEAST_VOTERS {
        return None;
    }
    let answers = |voter: &NodeId| all.iter().find(|other| other.id == *voter).and_then(|other| other.peering_machine);
    let mut machines: BTreeMap<NodeId, MachineId> =
        voters.iter().filter_map(|voter| Some((*voter, answers(voter)?))).collect();
    // Where it answers others is known later.
    machines.remove(&node.id);
    machines.extend(node.lease.machine.map(|machine| (node.id, machine)));
    Some(Electorate { voters, machines })
}

/// Who votes for a node beside the controller, and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Electorate {
    voters: Vec<NodeId>,
    /// The node's own entry is the machine that it speaks from.
    machines: BTreeMap<NodeId, MachineId>,
}

/// Whether a node's terms are for this machine.
fn is_for(lease: &NodeLease, node: NodeId, machine: MachineId) -> bool {
    lease.terms.last().is_some_and(|terms| terms.are_for(node, machine))
}

fn is_local(node: &NodeRecord) -> bool {
    node.enrolled_at.is_none() && node.revoked_at.is_none()
}

/// What becomes of a node's lease when these shall vote; `None`: nothing.
fn next(lease: &NodeLease, electorate: Option<Electorate>, lease_ms: u64) -> Option<NodeLease> {
    let Some(Electorate { voters, machines }) = electorate else {
        let NodeLease { epoch, number, machine, .. } = *lease;
        let none = NodeLease { epoch, number, machine, ..NodeLease::default() };
        return (none != *lease).then_some(none);
    };
    let is_current =
        |last: &LeaseTerms| last.voters == voters && last.lease_ms == lease_ms && last.machines == machines;
    // While it is being replaced it is told nothing, and terms are for a machine that it has spoken from.
    if lease.terms.last().is_some_and(is_current) || lease.replaced_since.is_some() || lease.machine.is_none() {
        return None;
    }
    if lease.acknowledged.is_some() && lease.terms.len() >= MAX_TERMS {
        return None;
    }
    let mut lease = lease.clone();
    lease.number += 1;
    lease.terms.push(LeaseTerms { number: lease.number, voters, lease_ms, machines });
    // What was never acknowledged lets nobody replace it: the oldest may be forgotten.
    let surplus = lease.terms.len().saturating_sub(MAX_TERMS);
    lease.terms.drain(..surplus);
    Some(lease)
}

/// A node has acknowledged none of many terms in a row, and its voters are on other machines now than the newest ones name, so that it cannot: it
/// starts from nothing, as on another machine.
fn is_stuck(lease: &NodeLease, electorate: Option<&Electorate>) -> bool {
    let is_full = lease.acknowledged.is_some() && lease.terms.len() >= MAX_TERMS && lease.replaced_since.is_none();
    let named = lease.terms.last().map(|terms| &terms.machines);
    is_full
        && !lease.free
        && electorate.is_some_and(|electorate| named.is_some_and(|named| *named != electorate.machines))
}

impl Controller {
    /// A node's lease as operators see it; `None`: it needs none.
    pub(crate) fn lease_info(&self, node: &NodeRecord) -> Option<LeaseInfo> {
        self.inner.leases.info(node, self.inner.clock.monotonic(), self.now())
    }

    /// Writes the terms of every node's lease that have changed, and tells the node. `in_zones`: whether a node's zone has failover.
    pub(crate) async fn tell_leases(
        &self,
        writer: &mut Writer,
        nodes: &[NodeRecord],
        in_zones: impl Fn(&NodeRecord) -> bool,
    ) -> Result<()> {
        let mut electorates = BTreeMap::new();
        let length = self.inner.watches.profile().lease();
        let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        for node in nodes {
            let wanted = node.enrolled_at.is_some() && node.revoked_at.is_none() && in_zones(node);
            let voters = if wanted { voters(node, nodes) } else { None };
            let electorate: &mut BTreeSet<NodeId> = electorates.entry(node.id).or_insert_with(|| vote_for(&node.lease));
            if let Some(machine) = node.lease.machine.filter(|_| is_stuck(&node.lease, voters.as_ref())) {
                self.move_to(writer, node, machine, self.now()).await?;
                continue;
            }
            if let Some(lease) = next(&node.lease, voters, length) {
                *electorate = vote_for(&lease);
                writer.set_node_lease(node.id, &lease).await?;
                writer.advance_node(node.id).await?;
            }
        }
        for (node, _) in electorates.iter().filter(|(_, electorate)| electorate.is_empty()) {
            self.inner.watches.with(*node, |watch| watch.relayed(false));
        }
        let mut state = self.inner.leases.lock();
        state.local = nodes.iter().filter(|node| is_local(node)).map(|node| node.id).collect();
        // Before any of this is sent. Of what is not stored after all, only that a question reaches somebody whose answer counts for nothing.
        state.voters = electorates;
        Ok(())
    }

    /// Passes a node's question on to voters that it has not heard an answer from.
    pub(crate) fn pass_question(&self, question: &Unanswered) {
        for voter in self.inner.leases.may_ask(&question.ask, &question.voters) {
            self.pass(voter, Relayed::Question(question.ask));
        }
    }

    /// Passes a voter's promise on to the node that has asked.
    pub(crate) fn pass_promise(&self, promise: &Promise) {
        let Promise { ask, voter: Voter::Node(voter), .. } = promise else { return };
        if self.inner.leases.may_ask(ask, &[*voter]).contains(voter) {
            self.pass(ask.holder, Relayed::Promise(*promise));
        }
    }

    /// What a node says of its lease. Only the acknowledgement of other terms is written.
    pub(crate) async fn node_holds(&self, id: NodeId, held: Option<Held>) -> Result<()> {
        let relayed = held.as_ref().is_some_and(|held| held.relayed) && self.inner.leases.has_voters(id);
        self.inner.watches.with(id, |watch| watch.relayed(relayed));
        self.judge_if_new(id).await?;
        let Some(number) = self.inner.leases.held(id, held, self.inner.clock.monotonic()) else { return Ok(()) };
        let mut writer = self.inner.store.write().await?;
        let Some(node) = writer.node(id).await? else { return Ok(()) };
        let mut lease = node.lease.clone();
        if lease.terms.iter().any(|terms| terms.number == number) && lease.acknowledged < Some(number) {
            lease.terms.retain(|terms| terms.number >= number);
            lease.acknowledged = Some(number);
            writer.set_node_lease(id, &lease).await?;
            let now = self.now();
            if node.state == NodeState::Down {
                self.begin_replacement(&mut writer, &NodeRecord { lease, ..node }, now).await?;
            }
            // There may be terms that waited for this.
            self.tell_failover(&mut writer).await?;
        }
        writer.commit().await?;
        self.inner.leases.lock().acknowledged.insert(id, number);
        self.announce();
        Ok(())
    }

    /// Begins to replace a lost node, if it is one that needs a lease to forward and carries anything. From now on until this is over or called
    /// off it gets no configuration.
    pub(crate) async fn begin_replacement(&self, writer: &mut Writer, node: &NodeRecord, now: Timestamp) -> Result<()> {
        let carries =
            !writer.gateways_of_node(node.id).await?.is_empty() || !writer.routers_of_node(node.id).await?.is_empty();
        if node.lease.acknowledged.is_none() || !carries {
            return Ok(());
        }
        if node.lease.replaced_since.is_some() {
            if node.lease.moving {
                // The machine that waits is lost, too; its voters have been told.
                writer.set_node_lease(node.id, &NodeLease { moving: false, ..node.lease.clone() }).await?;
                note(writer, node.id, "replacing", now).await?;
            }
            return Ok(());
        }
        let mut standing = Standing { epoch: node.lease.epoch, replaced: false };
        let fence = standing.replace(node.id, &node.lease.terms, Successor::Others).fence();
        let lease = NodeLease { epoch: fence.epoch, replaced_since: Some(now), free: false, ..node.lease.clone() };
        writer.set_node_lease(node.id, &lease).await?;
        note(writer, node.id, "replacing", now).await?;
        tracing::warn!(node = %node.id, epoch = fence.epoch, "the node is being replaced: its voters are asked to wait for the end of its lease");
        Ok(())
    }

    /// A node is back before it was replaced: it gets its configuration again, unless it is on another machine than it was.
    pub(crate) async fn call_off(&self, writer: &mut Writer, node: &NodeRecord, now: Timestamp) -> Result<()> {
        if node.lease.replaced_since.is_none() || node.lease.moving {
            return Ok(());
        }
        if let Some(machine) = node.lease.machine.filter(|machine| !is_for(&node.lease, node.id, *machine)) {
            return self.move_to(writer, node, machine, now).await;
        }
        let lease = NodeLease { replaced_since: None, ..node.lease.clone() };
        writer.set_node_lease(node.id, &lease).await?;
        writer.advance_node(node.id).await?;
        note(writer, node.id, "called_off", now).await?;
        tracing::info!(node = %node.id, "the node is back before it was replaced");
        // What was to change of its terms meanwhile had to wait: a voter that is on another machine now, say.
        self.tell_failover(writer).await
    }

    /// A node has come on a machine; whether its terms are to be looked at again.
    pub(crate) async fn machine_came(
        &self,
        writer: &mut Writer,
        id: NodeId,
        place: Place,
        now: Timestamp,
    ) -> Result<bool> {
        let Some(node) = writer.node(id).await? else { return Ok(false) };
        let (lease, machine) = (&node.lease, place.machine);
        if lease.terms.is_empty() || is_for(lease, id, machine) {
            // From now on it may get what is of this epoch.
            let is_back = lease.moving && lease.replaced_since.is_some();
            let known = NodeLease { machine: Some(machine), free: false, moving: false, ..lease.clone() };
            if known != *lease {
                writer.set_node_lease(id, &known).await?;
            }
            if is_back {
                self.call_off(writer, &NodeRecord { lease: known.clone(), ..node.clone() }, now).await?;
            }
            return Ok(known != *lease);
        }
        if lease.free {
            self.take_machine(writer, &node, machine, now).await?;
            return Ok(true);
        }
        if !(lease.moving && lease.replaced_since.is_some() && lease.machine == Some(machine)) {
            self.move_to(writer, &node, machine, now).await?;
        }
        Ok(false)
    }

    /// A node has come on another machine than its terms are for: until its voters have said that the earlier one forwards nothing any more, it
    /// gets no configuration.
    async fn move_to(&self, writer: &mut Writer, node: &NodeRecord, machine: MachineId, now: Timestamp) -> Result<()> {
        let mut standing = Standing { epoch: node.lease.epoch, replaced: node.lease.replaced_since.is_some() };
        let epoch = standing.replace(node.id, &node.lease.terms, Successor::Machine).fence().epoch;
        let replaced_since = node.lease.replaced_since.or(Some(now));
        let lease = NodeLease { epoch, replaced_since, moving: true, machine: Some(machine), ..node.lease.clone() };
        writer.set_node_lease(node.id, &lease).await?;
        note(writer, node.id, "moving", now).await?;
        self.refresh_node(writer, node.id, now).await?;
        tracing::warn!(node = %node.id, epoch, "the node has come on another machine: its voters are asked to wait for the end of its lease");
        Ok(())
    }

    /// Nobody forwards by a node's terms: they are forgotten, and new ones are for this machine.
    async fn take_machine(
        &self,
        writer: &mut Writer,
        node: &NodeRecord,
        machine: MachineId,
        now: Timestamp,
    ) -> Result<()> {
        let NodeLease { epoch, number, .. } = node.lease;
        let lease = NodeLease { epoch, number, machine: Some(machine), ..NodeLease::default() };
        writer.set_node_lease(node.id, &lease).await?;
        writer.advance_node(node.id).await?;
        note(writer, node.id, "moved", now).await?;
        tracing::info!(node = %node.id, "the node's machine is another one from now on");
        self.tell_failover(writer).await?;
        let Some(node) = writer.node(node.id).await? else { return Ok(()) };
        // Its gate has been closed since its process began: whatever becomes of it, it forwards by these terms or not at all.
        let is_blank = self.place_of(node.id).is_some_and(|place| place.machine == machine && place.is_blank);
        if let Some(terms) = node.lease.terms.last().filter(|_| is_blank) {
            let lease = NodeLease { acknowledged: Some(terms.number), ..node.lease.clone() };
            writer.set_node_lease(node.id, &lease).await?;
        }
        Ok(())
    }

    /// Goes on with replacements: what a majority has given up is placed elsewhere.
    pub(crate) async fn follow_replacements(&self) -> Result<()> {
        let nodes = self.read().await?.replaced_nodes().await?;
        let (done, overdue) = self.inner.leases.follow(&nodes, self.inner.clock.monotonic(), self.now());
        for fence in done {
            let mut writer = self.inner.store.write().await?;
            let now = self.now();
            // It may have been called off meanwhile.
            let node = writer.node(fence.holder).await?;
            let is_it = |node: &NodeRecord| node.lease.replaced_since.is_some() && node.lease.epoch == fence.epoch;
            if let Some(node) = node.filter(is_it) {
                if let Some(machine) = node.lease.machine.filter(|_| node.lease.moving) {
                    self.take_machine(&mut writer, &node, machine, now).await?;
                    self.refresh_node(&mut writer, node.id, now).await?;
                    writer.commit().await?;
                    self.announce();
                    continue;
                }
                tracing::warn!(node = %node.id, "the node's lease has run out; its gateways go to other nodes");
                self.move_elsewhere(&mut writer, &node, false, now).await?;
            }
            writer.commit().await?;
            self.announce();
        }
        for node in overdue {
            let mut writer = self.inner.store.write().await?;
            self.refresh_node(&mut writer, node, self.now()).await?;
            writer.commit().await?;
            self.announce();
        }
        Ok(())
    }
}

/// An event of the node's history.
pub(crate) async fn note(writer: &mut Writer, node: NodeId, subject: &str, now: Timestamp) -> Result<()> {
    let text = EventText { subject: subject.to_owned(), ..EventText::default() };
    writer.add_object_event(node.0, now, "change", &text).await?;
    Ok(writer.emit(now, "node", subject, &node.to_string()).await?)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use uuid::Uuid;

    use super::*;
    use crate::peering::tests::record;

    fn id(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn numbers(electorate: Option<Electorate>) -> Option<Vec<u128>> {
        electorate.map(|electorate| electorate.voters.into_iter().map(|node| node.0.as_u128()).collect())
    }

    /// Each on the machine of its number.
    fn elects(voters: [u128; 2]) -> Option<Electorate> {
        let machines = voters.map(|voter| (id(voter), MachineId(Uuid::from_u128(voter)))).into();
        Some(Electorate { voters: voters.map(id).into(), machines })
    }

    #[test]
    fn the_zones_nodes_vote_and_of_many_three_and_itself() {
        let mut all: Vec<NodeRecord> = (1..=6).map(|number| record(number, "a")).collect();
        assert_eq!(numbers(voters(&all[0], &all[..1])), None, "alone");
        assert_eq!(numbers(voters(&all[0], &all[..2])), Some(vec![1, 2]));
        assert_eq!(numbers(voters(&all[3], &all[..4])), Some(vec![1, 2, 3, 4]));
        assert_eq!(numbers(voters(&all[4], &all)), Some(vec![1, 2, 5, 6]));
        let on = |electorate: Option<Electorate>, voter| electorate.expect("voters").machines.get(&id(voter)).copied();
        all[0].peering_machine = Some(MachineId(Uuid::from_u128(11)));
        let machine = |number| Some(MachineId(Uuid::from_u128(number)));
        assert_eq!(on(voters(&all[0], &all[..2]), 1), machine(1), "where it speaks from");
        assert_eq!(on(voters(&all[1], &all[..2]), 1), machine(11), "where it answers others");
        // A node inside the controller's process decides between two, and has no vote where there are more.
        all[0].enrolled_at = None;
        all[0].peering = None;
        assert_eq!(numbers(voters(&all[1], &all[..2])), Some(vec![1, 2]));
        assert_eq!(numbers(voters(&all[1], &all[..3])), Some(vec![2, 3]));
        all[2].peering = None::<SocketAddr>;
        assert_eq!(numbers(voters(&all[1], &all[1..3])), None, "the other one does not listen yet");
    }

    #[test]
    fn terms_are_kept_until_later_ones_are_acknowledged() {
        let unheard = NodeLease::default();
        assert_eq!(next(&unheard, elects([1, 2]), 6000), None, "terms are for a machine");
        let machine = Some(MachineId(Uuid::from_u128(1)));
        let lease = NodeLease { machine, ..unheard };
        let mut lease = next(&lease, elects([1, 2]), 6000).expect("terms");
        assert_eq!((lease.number, lease.terms.len()), (1, 1));
        let first = lease.clone();
        assert_eq!(next(&lease, elects([1, 2]), 6000), None, "the same");
        lease.acknowledged = Some(1);
        for other in 0..20 {
            lease = next(&lease, elects([1, other + 5]), 6000).unwrap_or(lease);
        }
        assert_eq!((lease.number, lease.terms.len()), (8, 8), "no more before it has acknowledged some");
        assert_eq!(lease.terms.first().map(|terms| terms.number), Some(1), "it may count by the first ones still");
        let mut elsewhere = elects([1, 2]).expect("some");
        elsewhere.machines.insert(id(2), MachineId(Uuid::from_u128(22)));
        assert_eq!(
            next(&first, Some(elsewhere), 6000).map(|lease| lease.number),
            Some(2),
            "a voter on another machine"
        );
        let replaced =
            NodeLease { replaced_since: Some(Timestamp(1)), terms: lease.terms[..1].to_vec(), ..lease.clone() };
        assert_eq!(next(&replaced, elects([1, 9]), 6000), None, "it is told nothing now");
        let off = next(&NodeLease { epoch: 3, ..replaced }, None, 6000).expect("no lease");
        assert_eq!(off, NodeLease { epoch: 3, number: 8, machine, ..NodeLease::default() }, "numbers only grow");
        assert_eq!(next(&off, None, 6000), None);
        // Nobody replaces a node that has acknowledged nothing, so the newest terms are what it gets.
        let mut lease = off;
        for other in 0..20 {
            lease = next(&lease, elects([1, other + 5]), 6000).expect("other terms");
        }
        assert_eq!((lease.number, lease.terms.len()), (28, 8));
        assert_eq!(next(&lease, elects([1, 24]), 36_000).map(|lease| lease.number), Some(29), "another length");
    }
}
