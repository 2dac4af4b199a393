//! What the caller reads of a session.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use causeway_model::{Fault, ReasonCode};
use ipnet::IpNet;

use super::Session;
use crate::connection::Phase;
use crate::rib::{Filter, Policy, Route, Verdict};
use crate::types::{Counters, SessionConfig, State};

impl Session {
    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The policy in force; `None` until one is set.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.filter.as_ref().map(Filter::policy)
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        let furthest = self.connections.iter().flatten().map(|connection| connection.phase).max();
        match furthest {
            Some(Phase::Established) => State::Established,
            Some(Phase::OpenConfirm) => State::OpenConfirm,
            Some(Phase::OpenSent) => State::OpenSent,
            None if self.connecting.is_some() => State::Connect,
            None if self.enabled => State::Active,
            None => State::Idle,
        }
    }

    /// Whether it is Established.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// Since when it is up or down.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// While down, why, and how many routes are kept nevertheless (`stale_routes`); while up, what is not as it should be.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        if self.up.is_none() {
            return Some(self.with_stale(self.fault.clone()));
        }
        if self.adj_in.exceeded() {
            let fault = Fault::new(ReasonCode::MaxPrefixesExceeded);
            return Some(fault.values(self.adj_in.limit().to_string(), self.adj_in.at_least()));
        }
        self.broken.fault()
    }

    /// Routes that passed everything, in order of their prefixes. While down only those that graceful restart
    /// keeps, see [`Self::stale_until`].
    pub fn accepted_routes(&self) -> impl Iterator<Item = &Route> {
        self.adj_in.accepted_routes()
    }

    /// Everything that the peer announced, with what became of it.
    #[must_use]
    pub fn received(&self) -> Vec<(Arc<Route>, Verdict)> {
        self.adj_in.all().map(|(route, verdict)| (Arc::clone(route), verdict.clone())).collect()
    }

    /// When what is left of the previous session goes, unless the peer announces it again before; `None` if nothing is left.
    #[must_use]
    pub fn stale_until(&self) -> Option<Instant> {
        self.stale.map(|stale| stale.until)
    }

    /// Prefixes that the peer has not announced again since the previous session broke off.
    #[must_use]
    pub fn stale_count(&self) -> u32 {
        self.stale.map_or(0, |_| count(self.adj_in.stale()))
    }

    /// As [`Self::stale_count`], by name.
    #[must_use]
    pub fn stale_prefixes(&self) -> BTreeSet<IpNet> {
        self.stale.map(|_| self.adj_in.stale_prefixes().collect()).unwrap_or_default()
    }

    /// What the peer was told. Empty while down.
    pub fn announced(&self) -> impl Iterator<Item = &IpNet> {
        self.adj_out.iter()
    }

    /// Prefixes received.
    #[must_use]
    pub fn received_count(&self) -> u32 {
        count(self.adj_in.received())
    }

    /// Prefixes accepted.
    #[must_use]
    pub fn accepted_count(&self) -> u32 {
        count(self.adj_in.accepted())
    }

    /// Prefixes announced.
    #[must_use]
    pub fn announced_count(&self) -> u32 {
        count(self.adj_out.len())
    }

    /// Times it left Established.
    #[must_use]
    pub const fn flaps(&self) -> u32 {
        self.flaps
    }

    /// Hold time agreed with the peer, in seconds; `None` while down.
    #[must_use]
    pub fn negotiated_hold_time(&self) -> Option<u64> {
        let connection = self.connections[self.up?.index()].as_ref()?;
        Some(connection.hold_time.as_secs())
    }

    /// The peer's BGP identifier; `None` while down.
    #[must_use]
    pub fn peer_router_id(&self) -> Option<Ipv4Addr> {
        let connection = self.connections[self.up?.index()].as_ref()?;
        connection.open.as_ref().map(|open| open.router_id)
    }

    /// Counters.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
