//! Keeps a node's lease: puts each question's element into the kernel, asks, and has the kernel count what a majority has promised.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use causeway_model::desired::LeaseDesired;
use causeway_model::{MachineId, NodeId};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::desk::Desk;
use super::{Ask, Gate, GateError, Holder, LONGEST, Promise, Unanswered, Way};

/// Questions in the time of a lease: two may be lost.
const ASKS: u32 = 3;
/// Least time between two questions.
const LEAST: Duration = Duration::from_millis(100);
/// Parts of the time between two questions, after each of which the controller is asked to pass the newest one on to whoever has not answered.
const LOOKS: u32 = 4;
/// Questions in a row that no majority has answered by itself, after which it is said: as many as a lease has.
const RELAYED: u32 = ASKS;
/// Between two attempts to bring the gate to where it shall be.
const RETRY: Duration = Duration::from_secs(1);
/// Answers that wait for the keeper, at most; who answers when it is slow is asked again.
const PROMISES: usize = 64;

/// What a node says of its lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The terms that its kernel counts by: it forwards by no earlier ones any more. 0: by none yet.
    pub terms: u64,
    /// The epoch that a majority has last promised to.
    pub epoch: u64,
    /// For how long the kernel goes on forwarding if nobody answers any more, milliseconds.
    pub left_ms: u64,
    /// For as long as that there was no majority without promises that the controller has passed on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relayed: bool,
    /// Why its kernel does not do what the lease needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What the kernel counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    terms: u64,
    epoch: u64,
    until: Instant,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    counted: Option<Counted>,
    trouble: Option<String>,
    /// Questions in a row that no majority has answered by itself, and one has with what was passed on.
    relayed: u32,
}

/// The hold on the task that keeps a node's lease. Dropping it ends the task, and with it the lease.
pub(crate) struct Keeper {
    /// `None`: nothing was said yet.
    orders: watch::Sender<Option<Option<LeaseDesired>>>,
    asks: watch::Receiver<Option<Ask>>,
    unanswered: watch::Receiver<Option<Unanswered>>,
    promises: mpsc::Sender<(Promise, Way)>,
    state: watch::Receiver<State>,
    task: AbortHandle,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Keeper {
    /// Brings the gate to where a process begins. Closed, if the node may be replaced, or if it is not known whether it may: returns when it is,
    /// which has to be before anything of a configuration is in force. Otherwise open, which is tried until it succeeds while the node goes on.
    pub(crate) async fn start<G: Gate>(
        mut gate: G,
        (me, machine): (NodeId, MachineId),
        desk: Arc<Mutex<Desk>>,
        closed: bool,
    ) -> Self {
        let mut told = String::new();
        while closed && let Err(error) = gate.close().await {
            let text = error.to_string();
            if text != told {
                tracing::error!(error = text, "this node cannot begin before its gate is closed; trying again");
                told = text;
            }
            sleep(RETRY).await;
        }
        let (orders_tx, orders) = watch::channel(None);
        let (asks_tx, asks) = watch::channel(None);
        let (unanswered_tx, unanswered) = watch::channel(None);
        let (promises_tx, promises) = mpsc::channel(PROMISES);
        let (state_tx, state) = watch::channel(State::default());
        let boot = Uuid::new_v4().as_u64_pair().0;
        let task = Task {
            gate,
            desk,
            holder: Holder::new(me, machine, boot),
            asked: BTreeMap::new(),
            asks: asks_tx,
            unanswered: unanswered_tx,
            state: state_tx,
            next: Instant::now(),
            look: None,
            to_open: !closed,
        };
        let task = tokio::spawn(task.run(orders, promises)).abort_handle();
        Self { orders: orders_tx, asks, unanswered, promises: promises_tx, state, task }
    }

    /// The node runs the configuration that came with this lease, and nothing of an older one; and a start of its process will know.
    pub(crate) fn run(&self, lease: Option<LeaseDesired>) {
        self.orders.send_if_modified(|order| {
            let is_news = order.as_ref() != Some(&lease);
            *order = Some(lease);
            is_news
        });
    }

    /// The newest question, for every voter that the node reaches.
    pub(crate) fn asks(&self) -> watch::Receiver<Option<Ask>> {
        self.asks.clone()
    }

    /// The newest question again, for voters that have not answered it, when the controller shall pass it on to them.
    pub(crate) fn unanswered(&self) -> watch::Receiver<Option<Unanswered>> {
        self.unanswered.clone()
    }

    /// Where answers go.
    pub(crate) fn promises(&self) -> mpsc::Sender<(Promise, Way)> {
        self.promises.clone()
    }

    /// What there is to say of the lease; `None`: there is none.
    pub(crate) fn held(&self) -> Option<Held> {
        self.orders.borrow().as_ref()?.as_ref()?;
        let state = self.state.borrow();
        let relayed = state.relayed >= RELAYED;
        let mut held = Held { trouble: state.trouble.clone(), relayed, ..Held::default() };
        if let Some(counted) = state.counted {
            let left = counted.until.saturating_duration_since(Instant::now()).as_millis();
            (held.terms, held.epoch) = (counted.terms, counted.epoch);
            held.left_ms = u64::try_from(left).unwrap_or(u64::MAX);
        }
        Some(held)
    }
}

struct Task<G> {
    gate: G,
    desk: Arc<Mutex<Desk>>,
    holder: Holder,
    /// Before when the elements were put into the kernel.
    asked: BTreeMap<u64, Instant>,
    asks: watch::Sender<Option<Ask>>,
    unanswered: watch::Sender<Option<Unanswered>>,
    state: watch::Sender<State>,
    next: Instant,
    /// When it is looked at who has not answered the newest question.
    look: Option<Instant>,
    /// There is no lease, and the gate is not open yet.
    to_open: bool,
}

impl<G: Gate> Task<G> {
    async fn run(
        mut self,
        mut orders: watch::Receiver<Option<Option<LeaseDesired>>>,
        mut promises: mpsc::Receiver<(Promise, Way)>,
    ) {
        loop {
            let is_leased = self.holder.lease().is_some();
            let look = self.look;
            tokio::select! {
                changed = orders.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let order = orders.borrow_and_update().clone();
                    if let Some(lease) = order {
                        self.order(lease);
                    }
                }
                Some((promise, way)) = promises.recv() => self.promise(&promise, way).await,
                () = sleep_until(self.next), if is_leased => self.ask().await,
                () = sleep_until(look.unwrap_or(self.next)), if is_leased && look.is_some() => self.look(),
                () = sleep_until(self.next), if !is_leased && self.to_open => self.open().await,
            }
        }
    }

    fn order(&mut self, lease: Option<LeaseDesired>) {
        self.to_open = lease.is_none();
        let foreign = lease.as_ref().is_some_and(|lease| !self.holder.may_ask_by(&lease.terms));
        if lease.is_none() || foreign {
            self.asked.clear();
            self.asks.send_replace(None);
            self.unanswered.send_replace(None);
            self.state.send_modify(|state| state.relayed = 0);
        }
        self.look = None;
        if foreign {
            self.note(Err(GateError("its terms are for another machine".to_owned())));
        }
        self.next = Instant::now();
        self.holder.run(lease);
    }

    async fn open(&mut self) {
        let opened = self.gate.open().await;
        self.to_open = opened.is_err();
        self.next = Instant::now() + RETRY;
        self.state.send_modify(|state| state.counted = None);
        self.note(opened);
    }

    async fn ask(&mut self) {
        let asked = Instant::now();
        let before = self.holder.granted();
        self.look = None;
        let Some(ask) = self.holder.ask() else { return };
        let pace = (ask.lease().min(LONGEST) / ASKS).max(LEAST);
        self.next = asked + pace;
        self.state.send_if_modified(|state| {
            let relayed = match before {
                Some(Way::Direct) => 0,
                Some(Way::Relayed) => state.relayed.saturating_add(1),
                // Nobody knows by which way there would have been a majority.
                None => state.relayed,
            };
            let is_news = state.relayed != relayed;
            state.relayed = relayed;
            is_news
        });
        let armed = if ask.lease() > LONGEST {
            Err(GateError(format!("a lease of {} ms is longer than anybody promises", ask.lease_ms)))
        } else {
            self.gate.arm(ask.number, ask.lease()).await
        };
        if !self.note(armed) {
            return;
        }
        self.asked.insert(ask.number, asked);
        while self.asked.len() > super::OPEN {
            self.asked.pop_first();
        }
        let own = self.desk.lock().unwrap_or_else(PoisonError::into_inner).ask(&ask);
        self.asks.send_replace(Some(ask));
        if let Some(promise) = own {
            self.promise(&promise, Way::Direct).await;
        }
        // Whoever did not answer the last question is not expected to answer this one.
        self.look = Some(if before == Some(Way::Direct) { asked + pace / LOOKS } else { asked });
    }

    /// Has the controller pass the newest question on to whoever has not answered it, while that is no majority.
    fn look(&mut self) {
        let voters = self.holder.unanswered();
        let ask = *self.asks.borrow();
        self.look = None;
        if let Some(ask) = ask.filter(|_| !voters.is_empty()) {
            self.unanswered.send_replace(Some(Unanswered { ask, voters }));
            self.look = Some(Instant::now() + (ask.lease().min(LONGEST) / ASKS).max(LEAST) / LOOKS);
        }
    }

    async fn promise(&mut self, promise: &Promise, way: Way) {
        let Some(lease) = self.holder.lease() else { return };
        let (terms, epoch) = (lease.terms.number, lease.epoch);
        let Some(number) = self.holder.promise(promise, way) else { return };
        let Some(asked) = self.asked.get(&number).copied() else { return };
        if asked.elapsed() >= promise.ask.lease() {
            // What the kernel was given with the question has run out: to name it now would end what counts instead.
            return;
        }
        let counts = self.gate.count(number).await;
        if self.note(counts) {
            let counted = Counted { terms, epoch, until: asked + promise.ask.lease() };
            self.state.send_modify(|state| state.counted = Some(counted));
        }
    }

    /// Whether the kernel did it.
    fn note(&self, done: Result<(), GateError>) -> bool {
        let trouble = done.as_ref().err().map(ToString::to_string);
        self.state.send_if_modified(|state| {
            let is_news = state.trouble != trouble;
            if is_news {
                match &trouble {
                    Some(error) => tracing::error!(error, "this node's kernel does not take the lease"),
                    None => tracing::info!("this node's kernel takes the lease again"),
                }
                state.trouble = trouble;
            }
            is_news
        });
        done.is_ok()
    }
}

#[cfg(test)]
mod tests;
