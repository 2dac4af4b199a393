//! What is heard of nodes becomes their states. Watches live in memory, since they are about this process's own hearing; what they say
//! is in the store, and the next process begins with that (system.md §3).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use causeway_fleet::Answered;
use causeway_model::diagnosis::NodeFacts;
use causeway_model::observed::{ReceivedRoute, Refusal, RouteDecision};
use causeway_model::reason::{Fault, ReasonCode};
use causeway_model::status::NodeState;
use causeway_model::watch::{KeepaliveProfile, MachineState, NodeWatch, Service};
use causeway_model::{MachineId, NodeId, Timestamp};
use causeway_store::{EventText, NodeRecord, NodeVerdict, Writer};
use uuid::Uuid;

use crate::{Controller, Result, status};

/// Between two looks whether a node was heard.
const LOOK: Duration = Duration::from_millis(200);
/// Within this, who has superseded a session is in the store.
const OTHER_PATIENCE: Duration = Duration::from_secs(10);

/// A node that is watched.
struct Watched {
    watch: NodeWatch,
    /// Since when it is waiting, if it is.
    waiting: Option<Duration>,
    /// What the store has; `None`: it is not known, since something could not be stored.
    shown: Option<NodeVerdict>,
    zone: String,
    /// Where it answers other nodes and on which machine, as the store has it.
    listens: Option<Listens>,
}

/// Where a node answers others.
pub(crate) type Listens = (SocketAddr, Option<MachineId>);

/// Every node.
pub(crate) struct Watches {
    profile: KeepaliveProfile,
    nodes: Mutex<BTreeMap<NodeId, Watched>>,
}

impl Watches {
    pub(crate) fn new(profile: KeepaliveProfile) -> Self {
        Self { profile, nodes: Mutex::default() }
    }

    pub(crate) const fn profile(&self) -> KeepaliveProfile {
        self.profile
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Watched>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a node that the store has; one that is watched already goes on being watched.
    fn add(&self, record: &NodeRecord, now: Duration) {
        let shown = NodeVerdict {
            state: record.state,
            fault: record.fault.clone(),
            silent: record.silent,
            overdue: record.overdue,
        };
        let never_heard = record.reported_at.is_none() && record.state == NodeState::Waiting;
        let watch = if never_heard {
            NodeWatch::enrolled(self.profile)
        } else {
            NodeWatch::taken_over(self.profile, record.state, now)
        };
        let waiting = (record.state == NodeState::Waiting).then_some(now);
        let listens = record.peering.map(|address| (address, record.peering_machine));
        let zone = record.zone.clone();
        self.lock().entry(record.id).or_insert(Watched { watch, waiting, shown: Some(shown), zone, listens });
    }

    pub(crate) fn with(&self, node: NodeId, change: impl FnOnce(&mut NodeWatch)) {
        if let Some(watched) = self.lock().get_mut(&node) {
            change(&mut watched.watch);
        }
    }

    /// Lets a node vouch for those of its zone that have answered it. Whether it listens where the store says.
    pub(crate) fn peering(&self, by: NodeId, listens: Option<Listens>, answered: &[Answered], now: Duration) -> bool {
        let mut nodes = self.lock();
        let Some(witness) = nodes.get_mut(&by) else { return true };
        // A node that has not begun to listen answers where it did, once it has.
        let is_known = listens.is_none() || std::mem::replace(&mut witness.listens, listens) == listens;
        let zone = witness.zone.clone();
        for answered in answered.iter().filter(|answered| answered.node != by) {
            if let Some(watched) = nodes.get_mut(&answered.node).filter(|watched| watched.zone == zone) {
                watched.watch.vouch(by, now.saturating_sub(Duration::from_millis(answered.age_ms)));
            }
        }
        is_known
    }

    /// The verdict now, and whether the store has another one.
    fn verdict(&self, node: NodeId, now: Duration) -> Option<(NodeVerdict, bool)> {
        let mut nodes = self.lock();
        let watched = nodes.get_mut(&node)?;
        watched.watch.tick(now);
        let (state, fault) = watched.watch.state();
        let is_waiting = state == NodeState::Waiting;
        let since = *watched.waiting.get_or_insert(now);
        if !is_waiting {
            watched.waiting = None;
        }
        let overdue = is_waiting && now.saturating_sub(since) >= self.profile.interval();
        let verdict = NodeVerdict { state, fault, silent: watched.watch.is_silent(now), overdue };
        let is_new = watched.shown.as_ref() != Some(&verdict);
        Some((verdict, is_new))
    }

    fn show(&self, node: NodeId, verdict: NodeVerdict) {
        if let Some(watched) = self.lock().get_mut(&node) {
            watched.shown = Some(verdict);
        }
    }

    /// Something was not stored, a verdict perhaps, or where a node listens: all is held against the store at the next look.
    pub(crate) fn doubt(&self) {
        for watched in self.lock().values_mut() {
            (watched.shown, watched.listens) = (None, None);
        }
    }

    fn forget(&self, node: NodeId) {
        self.lock().remove(&node);
    }

    /// The nodes of which the store says something else than their watch.
    pub(crate) fn changed(&self, now: Duration) -> Vec<NodeId> {
        let nodes: Vec<NodeId> = self.lock().keys().copied().collect();
        nodes.into_iter().filter(|node| self.verdict(*node, now).is_some_and(|(_, is_new)| is_new)).collect()
    }
}

impl Controller {
    fn monotonic(&self) -> Duration {
        self.inner.clock.monotonic()
    }

    /// After a start: every node's last state stands until one full interval is over, and what it carries is as last observed.
    pub(crate) async fn take_nodes_over(&self) -> Result<()> {
        let mut writer = self.inner.store.write().await?;
        let now = self.now();
        let nodes = writer.nodes().await?;
        for record in nodes.iter().filter(|record| record.revoked_at.is_none()) {
            self.inner.watches.add(record, self.monotonic());
            self.judge(&mut writer, record.id, now).await?;
        }
        self.tell_failover(&mut writer).await?;
        Ok(writer.commit().await?)
    }

    /// A node has said hello: `boot` is new or known.
    pub(crate) async fn node_came(&self, writer: &mut Writer, record: &NodeRecord, is_new_boot: bool) -> Result<()> {
        self.inner.watches.add(record, self.monotonic());
        let now = self.monotonic();
        self.inner.watches.with(record.id, |watch| {
            watch.machine(MachineState::Unknown);
            if is_new_boot {
                watch.restarted(now);
            }
            watch.frame(now);
        });
        let now = self.now();
        self.judge(writer, record.id, now).await
    }

    /// A node that is watched has said something.
    pub(crate) fn node_heard(&self, node: NodeId) {
        let now = self.monotonic();
        self.inner.watches.with(node, |watch| watch.frame(now));
    }

    /// The node's process, which is a part of this one, has ended.
    pub(crate) async fn node_ended(&self, node: NodeId) -> Result<()> {
        self.inner.watches.with(node, |watch| watch.machine(MachineState::Stopped));
        self.judge_if_new(node).await
    }

    /// What the operator's own means say of a node's machine.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn node_machine(&self, node: NodeId, state: MachineState) -> Result<()> {
        self.inner.watches.with(node, |watch| watch.machine(state));
        self.judge_if_new(node).await
    }

    /// A keepalive: nothing is written unless it changes something.
    pub(crate) async fn node_keepalive(&self, node: NodeId, services: &[Service]) -> Result<()> {
        let now = self.monotonic();
        self.inner.watches.with(node, |watch| {
            watch.services(services);
            watch.keepalive(now);
        });
        self.judge_if_new(node).await
    }

    /// What a node says of its disk.
    pub(crate) async fn node_disk(&self, node: NodeId, facts: &NodeFacts) -> Result<()> {
        let unwritable = facts.disk.error.clone().or_else(|| facts.unkept.clone());
        self.inner.watches.with(node, |watch| watch.disk(unwritable));
        self.judge_if_new(node).await
    }

    /// A node's own listener was probed; if it could not be, why.
    pub(crate) async fn node_probed(&self, node: NodeId, unreachable: Option<String>) -> Result<()> {
        self.inner.watches.with(node, |watch| watch.probed(unreachable));
        self.judge_if_new(node).await
    }

    /// Two processes use a node's identity: one whose session of this `age` was superseded or not begun, of `boot` and at `peer`, is alive beside
    /// the one that speaks now.
    pub(crate) async fn node_outlived(&self, node: NodeId, boot: Uuid, peer: SocketAddr, age: Duration) -> Result<()> {
        // The other one is alive if it was heard since: it may be gone, and nobody has noticed yet.
        let deadline = Instant::now() + 2 * self.inner.watches.profile().period();
        let began = self.monotonic().saturating_sub(age);
        while self.heard(node).is_none_or(|ago| self.monotonic().saturating_sub(ago) < began) {
            if Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        let mut changed = self.subscribe();
        // The other one may still be on its way into the store. A process that came back over another connection is the same one.
        let other = async {
            loop {
                changed.borrow_and_update();
                match self.read().await?.node(node).await? {
                    Some(record) if record.boot == boot => {}
                    record => return Ok::<_, causeway_model::Error>(record),
                }
                if changed.changed().await.is_err() {
                    return Ok(None);
                }
            }
        };
        let Ok(found) = tokio::time::timeout(OTHER_PATIENCE, other).await else { return Ok(()) };
        if found?.is_none_or(|record| record.revoked_at.is_some()) {
            return Ok(());
        }
        let mut fault = Fault::new(ReasonCode::DuplicateIdentity).with("superseded", peer.to_string());
        if let Some(newest) = self.came_from(node) {
            fault = fault.with("speaks_now", newest.to_string());
        }
        tracing::warn!(%node, superseded = %peer, "two processes use the identity of one node");
        let at = self.monotonic();
        self.inner.watches.with(node, |watch| watch.twin(fault, at));
        self.judge_if_new(node).await
    }

    /// How long ago the newest frame of a node came.
    pub(crate) fn heard(&self, node: NodeId) -> Option<Duration> {
        let mut at = None;
        self.inner.watches.with(node, |watch| at = watch.heard_at());
        at.map(|at| self.monotonic().saturating_sub(at))
    }

    /// What is known of a node's machine.
    pub(crate) fn machine_of(&self, node: NodeId) -> MachineState {
        let mut state = MachineState::Unknown;
        self.inner.watches.with(node, |watch| state = watch.machine_state());
        state
    }

    /// A report, of which the caller stores the rest.
    pub(crate) async fn node_reported(
        &self,
        writer: &mut Writer,
        node: NodeId,
        refusal: Option<Refusal>,
        now: Timestamp,
    ) -> Result<()> {
        let at = self.monotonic();
        self.inner.watches.with(node, |watch| watch.report(refusal, at));
        self.judge(writer, node, now).await
    }

    /// A node is none any more.
    pub(crate) fn node_forgotten(&self, node: NodeId) {
        self.inner.watches.forget(node);
        self.inner.leases.forget(node);
    }

    pub(crate) async fn judge_if_new(&self, node: NodeId) -> Result<()> {
        if !self.inner.watches.verdict(node, self.monotonic()).is_some_and(|(_, is_new)| is_new) {
            return Ok(());
        }
        let judged = async {
            let mut writer = self.inner.store.write().await?;
            let now = self.now();
            self.judge(&mut writer, node, now).await?;
            Ok(writer.commit().await?)
        };
        self.or_doubt(judged.await)?;
        self.announce();
        Ok(())
    }

    /// After a transaction with verdicts: what was not stored has to be stored yet, once there is room.
    pub(crate) fn or_doubt<T>(&self, stored: Result<T>) -> Result<T> {
        if stored.is_err() {
            self.inner.watches.doubt();
        }
        stored
    }

    pub(crate) fn judged_anew(&self) -> Vec<NodeId> {
        self.inner.watches.changed(self.monotonic())
    }

    /// Writes a node's verdict if it is another one, with everything that follows from it.
    pub(crate) async fn judge(&self, writer: &mut Writer, node: NodeId, now: Timestamp) -> Result<()> {
        let Some((verdict, is_new)) = self.inner.watches.verdict(node, self.monotonic()) else { return Ok(()) };
        if !is_new {
            return Ok(());
        }
        let Some(before) = writer.node(node).await? else { return Ok(()) };
        writer.set_node_verdict(node, &verdict, now).await?;
        // Of reasons that leave the state as it is, this one is worth a line of the history.
        let twin =
            |fault: &Option<Fault>| fault.as_ref().is_some_and(|fault| fault.code == ReasonCode::DuplicateIdentity);
        if verdict.state != before.state || twin(&verdict.fault) && !twin(&before.fault) {
            let text =
                EventText { subject: verdict.state.to_string(), fault: verdict.fault.clone(), ..EventText::default() };
            writer.add_object_event(node.0, now, "status", &text).await?;
            writer.emit(now, "node", verdict.state.as_str(), &node.to_string()).await?;
            let reason = verdict.fault.as_ref().map(|fault| fault.code.as_str());
            if verdict.state == NodeState::Up {
                tracing::info!(%node, "node is up");
            } else {
                tracing::warn!(%node, state = %verdict.state, reason, "node");
            }
        }
        if verdict.state == NodeState::Down && before.state != NodeState::Down {
            writer.forget_learned_routes(node).await?;
        }
        let is_back = before.state == NodeState::Down && verdict.state != NodeState::Down;
        if is_back {
            restore_learned_routes(writer, node, now).await?;
        }
        self.replace_if_lost(writer, &before, &verdict, now).await?;
        let zone = before.zone;
        self.refresh_node(writer, node, now).await?;
        if matches!(verdict.state, NodeState::Up | NodeState::ConfigFail) {
            self.place_waiting(writer, &zone, now).await?;
        }
        self.inner.watches.show(node, verdict);
        Ok(())
    }

    /// Refreshes the copies of the statuses of everything that a node carries.
    pub(crate) async fn refresh_node(&self, writer: &mut Writer, node: NodeId, now: Timestamp) -> Result<()> {
        for record in writer.gateways_of_node(node).await? {
            status::refresh(writer, record.gateway.id, now).await?;
        }
        crate::link::refresh_links(writer, node, now).await
    }
}

/// What the connections of a node had brought into VPCs' tables, as last observed: it is heard again.
async fn restore_learned_routes(writer: &mut Writer, node: NodeId, now: Timestamp) -> Result<()> {
    for record in writer.gateways_of_node(node).await? {
        for connection in writer.connection_records(record.gateway.id).await? {
            let received = connection.observed.as_ref().map_or(&[][..], |observed| &observed.facts.received);
            let installed = installed(received);
            writer.set_learned_routes(record.gateway.id, connection.connection.id, &installed, now).await?;
        }
    }
    Ok(())
}

/// The prefixes that a node has in its tables.
pub(crate) fn installed(received: &[ReceivedRoute]) -> std::collections::BTreeSet<ipnet::IpNet> {
    let learned = |route: &&ReceivedRoute| route.decision == RouteDecision::Installed;
    received.iter().filter(learned).map(|route| route.prefix.trunc()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_that_was_not_stored_is_looked_at_again() {
        let node = NodeId::random();
        let now = Duration::from_secs(100);
        let watches = Watches::new(KeepaliveProfile::Fast);
        let (watch, zone) = (NodeWatch::enrolled(KeepaliveProfile::Fast), "fr-par-1".to_owned());
        watches.lock().insert(node, Watched { watch, waiting: None, shown: None, zone, listens: None });
        let (verdict, is_new) = watches.verdict(node, now).expect("watched");
        assert!(is_new);
        watches.show(node, verdict);
        assert_eq!(watches.changed(now), []);
        watches.doubt();
        assert_eq!(watches.changed(now), [node]);
    }
}
