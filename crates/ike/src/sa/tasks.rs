//! What an SA does by itself: retransmit, give up, rekey, check liveness, delete. Derived from its state each time, so
//! that nothing is forgotten and nothing is queued twice.

use std::time::{Duration, Instant};

use causeway_model::{Fault, ReasonCode};

use super::{CLOSE_TIMEOUT, Farewell, Fate, IkeSa, Phase, Request};
use crate::Endpoint;
use crate::codec::message::notify;
use crate::codec::{Chain, Exchange};

/// A request that the peer leaves unanswered for this long, though it shows other signs of life, ends the SA.
const STUCK: Duration = Duration::from_secs(60);

impl Endpoint {
    /// Starts the clock of an SA that was just made.
    pub(crate) fn begin_life(&mut self, now: Instant, sa: &mut IkeSa) {
        let lifetime = Duration::from_secs(u64::from(self.timers(sa).ike_lifetime.max(1)));
        sa.rekey_at = Some(now + self.jitter(lifetime, 800, 950));
        sa.expires_at = Some(now + lifetime);
    }

    /// [`IkeSa::closing`] was set: the DELETE goes out as soon as the window allows, and within a bound either way.
    pub(crate) fn begin_close(&self, now: Instant, sa: &mut IkeSa) {
        sa.rekey_at = None;
        sa.expires_at = Some(now + CLOSE_TIMEOUT);
    }

    /// When something is next due on `sa`. Mirrors [`Self::drive`].
    pub(crate) fn sa_deadline(&self, sa: &IkeSa) -> Option<(Instant, &'static str)> {
        let mut soonest = sa.expires_at.map(|at| (at, "expiry"));
        let mut add = |at: Option<Instant>, label| {
            if let Some(at) = at {
                soonest = Some(soonest.map_or((at, label), |soonest| soonest.min((at, label))));
            }
        };
        add(sa.pending.as_ref().map(|pending| pending.resend_at), "retransmit");
        if !sa.phase.is_established() {
            return soonest;
        }
        add(self.verdict_at(sa), "verdict");
        for child in &sa.children {
            add(child.activate_at, "activate");
            add((!child.delete && !sa.is_rekeying(child.id)).then_some(child.expires_at), "child_expiry");
        }
        let unsent = sa.closing.is_some() || sa.children.iter().any(|child| child.delete);
        add((unsent && sa.pending.is_none()).then_some(sa.last_input), "delete");
        if sa.closing.is_some() {
            return soonest;
        }
        add(sa.superseded_at, "supersede");
        add(sa.childless_since.map(|since| since + self.config.childless_timeout), "childless");
        if sa.pending.is_none() {
            add(Some(self.liveness_at(sa)), "liveness");
            if sa.superseded_at.is_none() && sa.successor.is_none() {
                add(sa.rekey_at, "ike_rekey");
                for child in sa.children.iter().filter(|child| !child.delete && !child.replaced) {
                    add(Some(child.rekey_at), "child_rekey");
                }
                if self.wants_child(sa) {
                    add(Some(sa.next_child_at.unwrap_or(sa.last_input)), "child");
                }
            }
        }
        soonest
    }

    /// Does what is due. Returns whether more may follow at once.
    pub(crate) fn drive(&mut self, now: Instant, sa: &mut IkeSa) -> (Fate, bool) {
        if sa.expires_at.is_some_and(|at| at <= now) {
            return self.expired(now, sa);
        }
        if sa.phase.is_established() {
            if self.verdict_at(sa).is_some_and(|at| at <= now) {
                return (self.given_up(now, sa), true);
            }
            self.child_timers(now, sa);
            if sa.closing.is_none() {
                self.supersession(now, sa);
            }
        }
        self.retransmit(now, sa);
        if !sa.phase.is_established() || sa.pending.is_some() {
            return (Fate::Keep, false);
        }
        self.next_task(now, sa);
        if sa.pending.is_none() && self.sa_deadline(sa).is_some_and(|(at, _)| at <= now) {
            // What is due cannot be sent, and would be due for ever.
            self.count("unable_to_send");
            let fault = self.end_of_life(sa);
            self.bury_children(now, sa, &fault);
            return (Fate::Drop, true);
        }
        (Fate::Keep, sa.pending.is_some())
    }

    fn next_task(&mut self, now: Instant, sa: &mut IkeSa) {
        if let Some(farewell) = sa.closing {
            let mut chain = Chain::new();
            if farewell == Farewell::NotAuthenticated {
                chain.notify(notify::AUTHENTICATION_FAILED, &[]);
            }
            chain.delete_ike();
            let fault = self.end_of_life(sa);
            self.bury_children(now, sa, &fault);
            sa.phase = Phase::Closing;
            self.begin_close(now, sa);
            self.request(now, sa, Exchange::Informational, &chain, Request::DeleteIke);
            return;
        }
        if sa.children.iter().any(|child| child.delete) {
            self.send_child_deletes(now, sa);
            return;
        }
        if sa.superseded_at.is_none() && sa.successor.is_none() {
            if sa.rekey_at.is_some_and(|at| at <= now) {
                self.start_rekey(now, sa, None);
                return;
            }
            let due = sa.children.iter().find(|child| !child.replaced && child.rekey_at <= now).map(|child| child.id);
            if due.is_some() {
                self.start_child(now, sa, due, None);
                return;
            }
            if self.wants_child(sa) && sa.next_child_at.is_none_or(|at| at <= now) {
                self.start_child(now, sa, None, None);
                return;
            }
        }
        if self.liveness_at(sa) <= now {
            self.request(now, sa, Exchange::Informational, &Chain::new(), Request::Liveness);
        }
    }

    /// Whether a Child SA is missing that is ours to make.
    fn wants_child(&self, sa: &IkeSa) -> bool {
        let initiate = || self.peer_config(sa.peer).is_some_and(|config| config.initiate);
        sa.children.is_empty() && (sa.next_child_at.is_some() || initiate())
    }

    fn liveness_at(&self, sa: &IkeSa) -> Instant {
        sa.last_input + Duration::from_secs(u64::from(self.timers(sa).dpd_delay.max(1)))
    }

    /// When the pending request of an established SA makes the peer count as dead.
    fn verdict_at(&self, sa: &IkeSa) -> Option<Instant> {
        let pending = sa.pending.as_ref()?;
        let timeout = Duration::from_secs(u64::from(self.timers(sa).dpd_timeout.max(1)));
        let silent = pending.sent_at.max(sa.last_input) + timeout;
        Some(silent.min(pending.sent_at + STUCK.max(timeout * 2)))
    }

    fn given_up(&mut self, now: Instant, sa: &mut IkeSa) -> Fate {
        let silent_for = now.saturating_duration_since(sa.last_input).as_secs();
        let fault = Fault::new(ReasonCode::DpdTimeout).with("silent_for_seconds", silent_for.to_string());
        self.bury_children(now, sa, &fault);
        let peer = sa.peer.and_then(|key| self.peers.get_mut(&key));
        if let Some(peer) = peer.filter(|peer| peer.started && peer.config.initiate && peer.children.is_empty()) {
            peer.attempt_at = Some(now);
        }
        Fate::Drop
    }

    fn expired(&mut self, now: Instant, sa: &mut IkeSa) -> (Fate, bool) {
        match &sa.phase {
            Phase::Initiating(initiating) => {
                let claimed = initiating.fault.clone();
                if let Some(key) = sa.peer {
                    let silence = self.silence(now, key, ReasonCode::PeerSilent);
                    self.attempt_failed(key, claimed.unwrap_or(silence), !sa.reauthenticates);
                }
            }
            Phase::Authenticating(..) => {
                if let Some(key) = sa.peer {
                    let silence = self.silence(now, key, ReasonCode::PeerSilentAfterInit);
                    let fault = sa.incomplete().map_or(silence, incomplete);
                    self.attempt_failed(key, fault, !sa.reauthenticates);
                }
            }
            Phase::HalfOpen(_) => {
                self.count("half_open_timeout");
                // Only where the addresses name one peer: the identity is not known yet.
                let candidates = self.candidates(sa.local, sa.remote);
                if candidates.len() == 1 {
                    self.doubtful_failure(now, &candidates, |_| {
                        let silence = Fault::new(ReasonCode::PeerSilentAfterInit);
                        sa.incomplete().map_or(silence, incomplete).with("peer", sa.remote.to_string())
                    });
                }
            }
            Phase::Established if sa.closing.is_none() => {
                let fault = self.end_of_life(sa);
                self.bury_children(now, sa, &fault);
                sa.closing = Some(Farewell::Delete);
                self.begin_close(now, sa);
                return (Fate::Keep, true);
            }
            Phase::Established | Phase::Replaced | Phase::Closing | Phase::Over => {
                let fault = self.end_of_life(sa);
                self.bury_children(now, sa, &fault);
            }
        }
        (Fate::Drop, true)
    }

    fn child_timers(&mut self, now: Instant, sa: &mut IkeSa) {
        let due: Vec<_> = sa
            .children
            .iter()
            .filter(|child| child.activate_at.is_some_and(|at| at <= now))
            .map(|child| child.id)
            .collect();
        for child in due {
            self.activate(sa, child);
        }
        let over: Vec<_> = sa
            .children
            .iter()
            .filter(|child| child.expires_at <= now && !sa.is_rekeying(child.id))
            .map(|child| child.id)
            .collect();
        for child in sa.children.iter_mut().filter(|child| over.contains(&child.id)) {
            child.delete = true;
        }
    }

    /// Ends an SA that a better one has replaced, or that never got a Child SA.
    fn supersession(&mut self, now: Instant, sa: &mut IkeSa) {
        if sa.superseded_at.is_some_and(|at| at <= now) {
            sa.superseded_at = None;
            let better = |other: &IkeSa| {
                other.peer == sa.peer
                    && other.phase.is_established()
                    && other.closing.is_none()
                    && other.superseded_at.is_none()
                    && !other.children.is_empty()
            };
            let needs_traffic = sa.traffic_until.is_some_and(|until| now < until);
            // As its responder we do not know that the initiator has our answer until something comes on it.
            let proven =
                |other: &IkeSa| other.children.iter().any(|child| child.carried) || (other.confirmed && !needs_traffic);
            let mut successors = self.sas.values().filter(|other| better(other)).peekable();
            if successors.peek().is_some() {
                if successors.any(proven) {
                    if let Some(peer) = sa.peer.and_then(|key| self.peers.get_mut(&key)) {
                        peer.duplicate_ended_at = Some(now);
                    }
                    sa.closing = Some(Farewell::Delete);
                    self.begin_close(now, sa);
                } else {
                    sa.superseded_at = Some(now + self.config.supersede_grace);
                }
            }
        }
        if sa.childless_since.is_some_and(|since| since + self.config.childless_timeout <= now) {
            sa.closing = Some(Farewell::Delete);
            self.begin_close(now, sa);
        }
    }
}

/// The fault of a message of which only some fragments came: how many, and of how many.
fn incomplete((arrived, total): (usize, usize)) -> Fault {
    Fault::new(ReasonCode::FragmentsIncomplete).with("fragments_arrived", format!("{arrived} of {total}"))
}
