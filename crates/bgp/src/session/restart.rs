//! Graceful restart (RFC 4724), the peer's side of it: a session that breaks off leaves its routes for a while. Our own restarts need
//! nothing but the capability in the OPEN and the End-of-RIB that ends every first announcement.

use std::time::{Duration, Instant};

use causeway_model::Fault;

use super::Session;
use crate::codec::Notification;
use crate::types::{Action, ConnKind};

/// Nothing is kept longer than this after a session broke off, whatever restart time the peer names (up to 4,095 s), and whether or
/// not it ever sends its End-of-RIB.
const KEEP_AT_MOST: Duration = Duration::from_secs(120);
/// A connection of the peer that comes within this time of Established may have been on its way before (a collision); after it, the
/// peer has restarted.
const COLLISION_WINDOW: Duration = Duration::from_secs(2);

/// Routes of the previous session are still there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stale {
    /// When that session broke off.
    since: Instant,
    /// When they go: after the peer's restart time, or [`KEEP_AT_MOST`] once it is back and has yet to send its End-of-RIB.
    pub(super) until: Instant,
}

impl Session {
    /// How long the routes of the connection `kind` may outlive it; zero if the peer does not preserve the family.
    ///
    /// Only a TCP connection that ends without a word is a restart. A NOTIFICATION in either direction, the expired hold timer's
    /// included, ends the routes with the session (RFC 4724 §4 and §5; the extension of RFC 8538 is not offered): a peer that is
    /// silent for a whole hold time while its tunnel answers does not forward by these routes as it should either.
    pub(super) fn restart_time(&self, kind: ConnKind) -> Duration {
        self.connections[kind.index()]
            .as_ref()
            .and_then(|connection| connection.open.as_ref()?.restart.as_ref())
            .filter(|restart| restart.forwarding(self.config.family).is_some())
            .map_or(Duration::ZERO, |restart| restart.time.min(KEEP_AT_MOST))
    }

    /// The session over `kind` that broke off leaves its routes for `time`. Whether any route went.
    pub(super) fn keep_routes(&mut self, now: Instant, time: Duration) -> bool {
        if time.is_zero() {
            self.stale = None;
            return self.adj_in.clear();
        }
        let changed = self.adj_in.make_stale(self.filter.as_ref());
        self.stale = (self.adj_in.stale() > 0).then(|| Stale { since: now, until: now + time });
        changed
    }

    /// The peer is back over `kind`. If it did not go on forwarding, or does not say so, its old routes are void at once (RFC 4724
    /// §4.2); else they wait for its End-of-RIB.
    pub(super) fn resume(&mut self, kind: ConnKind) {
        let family = self.config.family;
        let forwarding = self.connections[kind.index()]
            .as_ref()
            .and_then(|connection| connection.open.as_ref()?.restart.as_ref()?.forwarding(family));
        match self.stale.as_mut() {
            Some(stale) if forwarding == Some(true) => stale.until = stale.since + KEEP_AT_MOST,
            _ => self.drop_stale(),
        }
    }

    /// Forgets what is left of the previous session.
    pub(super) fn drop_stale(&mut self) {
        if self.stale.take().is_some() && self.adj_in.remove_stale(self.filter.as_ref()) {
            self.routes_changed();
        }
    }

    /// The peer refuses the session, so the routes of the previous one are not worth waiting for. A lost collision and a connection
    /// that comes too early say nothing of that.
    pub(super) fn refused(&mut self, notification: &Notification) {
        let passing = notification.code == Notification::CEASE
            && matches!(notification.subcode, Notification::REJECTED | Notification::COLLISION);
        if !passing {
            self.drop_stale();
        }
    }

    /// A connection of the peer while the session is up over our own: a peer that restarts gracefully has lost that one, so the new
    /// one takes its place at once (RFC 4724 §5, events 16 and 17).
    ///
    /// Not while routes of the session before wait for its End-of-RIB: a connection that was made in a collision may be taken
    /// arbitrarily late by a busy process, and as a second restart in a row it would cost those routes (RFC 4724 §4.2). A peer
    /// that did restart again answers the KEEPALIVE which it gets instead with a reset, and is then taken back.
    pub(super) fn give_way(&mut self, now: Instant) {
        let up = ConnKind::Outgoing;
        let settled = now.saturating_duration_since(self.since) >= COLLISION_WINDOW;
        if self.up == Some(up) && settled && self.stale.is_none() && !self.restart_time(up).is_zero() {
            self.lost(now, up, "replaced by a new connection of the peer");
            self.actions.push_back(Action::Close(up));
        }
    }

    /// The fault of a session that left routes behind says so.
    pub(super) fn with_stale(&self, fault: Fault) -> Fault {
        match self.stale_count() {
            0 => fault,
            stale => fault.with("stale_routes", stale.to_string()),
        }
    }
}
