//! INFORMATIONAL (RFC 7296 §1.4): liveness, DELETE, and what the peer has to complain about.

use std::time::Instant;

use causeway_model::{Fault, ReasonCode};

use super::window::Reply;
use super::{Fate, IkeSa, Request};
use crate::Endpoint;
use crate::codec::message::notify;
use crate::codec::{Chain, Content, Delete, Exchange};
use crate::event::ChildId;

impl Endpoint {
    /// The peer's INFORMATIONAL. An empty one is a liveness check and gets an empty answer.
    pub(crate) fn on_informational_request(&mut self, now: Instant, sa: &mut IkeSa, content: Content) -> Reply {
        if let Some(error) = content.notifies.iter().find(|notify| is_fatal(notify.kind)) {
            let fault = self.complaint(sa, error.kind);
            let key = sa.peer;
            let was_up = !sa.children.is_empty();
            self.bury_children(now, sa, &fault);
            if let Some(key) = key.filter(|_| !was_up && sa.phase.is_established()) {
                self.attempt_failed(key, fault, sa.began_it);
            }
            return Reply::empty().last();
        }
        if content.deletes.contains(&Delete::Ike) {
            let fault = Fault::new(ReasonCode::PeerDeletedSa);
            self.bury_children(now, sa, &fault);
            return Reply::empty().last();
        }
        let mut answer = Vec::new();
        for delete in &content.deletes {
            let Delete::Esp(spis) = delete else { continue };
            for spi in spis {
                answer.extend(self.child_deleted(now, sa, *spi));
            }
        }
        let mut chain = Chain::new();
        if !answer.is_empty() {
            chain.delete_esp(&answer);
        }
        Reply::with(chain)
    }

    /// The peer deletes the Child SA that it receives on with `spi`. Returns our side of it, unless we are deleting it too
    /// (RFC 7296 §1.4.1).
    fn child_deleted(&mut self, now: Instant, sa: &mut IkeSa, spi: u32) -> Option<u32> {
        let child = sa.children.iter().find(|child| child.outbound_spi == spi)?;
        let (id, inbound) = (child.id, child.inbound_spi);
        let ours_too = matches!(
            sa.pending.as_ref().map(|pending| &pending.what),
            Some(Request::DeleteChildren(ids)) if ids.contains(&id)
        );
        // A Child SA that could not be renewed is deleted by whoever sees its end first: that is not the cause.
        let fault = sa.fault.clone().unwrap_or_else(|| Fault::new(ReasonCode::PeerDeletedChild));
        self.remove_child(now, sa, id, &fault);
        (!ours_too).then_some(inbound)
    }

    /// What a peer that took us for authenticated and then did not like us means.
    fn complaint(&self, sa: &IkeSa, kind: u16) -> Fault {
        let fault = match (kind, &sa.asked_identity, self.peer_config(sa.peer)) {
            (notify::AUTHENTICATION_FAILED, Some(asked), Some(config)) => {
                Fault::new(ReasonCode::IdentityMismatch).values(config.local_identity.to_string(), asked.clone())
            }
            (notify::AUTHENTICATION_FAILED, ..) => Fault::new(ReasonCode::AuthenticationFailed),
            _ => Fault::new(ReasonCode::MalformedMessage),
        };
        fault.with("peer_says", notify::name(kind))
    }

    /// Deletes the Child SAs that are marked.
    pub(crate) fn send_child_deletes(&mut self, now: Instant, sa: &mut IkeSa) {
        let (ids, spis): (Vec<ChildId>, Vec<u32>) =
            sa.children.iter().filter(|child| child.delete).map(|child| (child.id, child.inbound_spi)).unzip();
        let mut chain = Chain::new();
        chain.delete_esp(&spis);
        self.request(now, sa, Exchange::Informational, &chain, Request::DeleteChildren(ids));
    }

    /// The peer confirmed the deletion of Child SAs.
    pub(crate) fn on_children_deleted(&mut self, now: Instant, sa: &mut IkeSa, children: &[ChildId]) -> Fate {
        let fault = self.end_of_life(sa);
        for child in children {
            self.remove_child(now, sa, *child, &fault);
        }
        Fate::Keep
    }

    /// The reason of an SA that ends because its lifetime does.
    pub(crate) fn end_of_life(&self, sa: &IkeSa) -> Fault {
        sa.fault.clone().unwrap_or_else(|| Fault::new(ReasonCode::LifetimeExpired))
    }
}

/// Errors in an INFORMATIONAL that end the IKE SA (RFC 7296 §2.21.2, §2.21.3).
const fn is_fatal(kind: u16) -> bool {
    matches!(kind, notify::AUTHENTICATION_FAILED | notify::INVALID_SYNTAX | notify::UNSUPPORTED_CRITICAL_PAYLOAD)
}
