//! Peers: attempts to bring a tunnel up, its Child SAs, and what is said when it goes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_model::desired::Timers;
use causeway_model::{Fault, ReasonCode};

use super::Endpoint;
use crate::config::{PeerConfig, PeerKey};
use crate::event::{ChildId, Event};
use crate::sa::{Farewell, Fate, IkeSa, Phase};

/// A tunnel that was up for this long begins its back-off anew.
const STABLE: Duration = Duration::from_secs(10);

/// Pause between two failures that may be forged.
const DOUBT_PAUSE: Duration = Duration::from_secs(1);

/// How long a stranger's request counts as a hint for the silence of a peer.
const STRANGER_COUNTS: Duration = Duration::from_secs(60);

/// One tunnel and what is known of it.
pub(crate) struct Peer {
    pub(crate) config: Arc<PeerConfig>,
    /// Whether [`Endpoint::start`] was called.
    pub(crate) started: bool,
    /// When to initiate.
    pub(crate) attempt_at: Option<Instant>,
    /// Failed attempts in a row.
    pub(crate) failures: u32,
    /// Position in the list of the key that the next attempt uses.
    pub(crate) psk: usize,
    /// Installed Child SAs, oldest first.
    pub(crate) children: Vec<ChildId>,
    /// The one that is sent on.
    pub(crate) sending: Option<ChildId>,
    pub(crate) up_since: Option<Instant>,
    /// ICMP said so since the last message of the peer.
    pub(crate) unreachable: bool,
    /// When one of two IKE SAs was ended last because the other one does.
    pub(crate) duplicate_ended_at: Option<Instant>,
    /// When the last failure was told that nobody vouches for.
    doubted_at: Option<Instant>,
    /// Who asked for a tunnel last without being anybody's peer, and when that was told.
    stranger: Option<(IpAddr, Instant)>,
}

impl Peer {
    pub(crate) fn new(config: PeerConfig) -> Self {
        Self {
            config: Arc::new(config),
            started: false,
            attempt_at: None,
            failures: 0,
            psk: 0,
            children: Vec::new(),
            sending: None,
            up_since: None,
            unreachable: false,
            duplicate_ended_at: None,
            doubted_at: None,
            stranger: None,
        }
    }

    pub(crate) fn reconfigure(&mut self, config: PeerConfig, moved: bool, now: Instant) {
        if self.config.psks != config.psks {
            self.psk = 0;
        }
        let hastened = *self.config != config;
        self.config = Arc::new(config);
        if moved {
            self.failures = 0;
            self.unreachable = false;
            self.attempt_at = self.started.then_some(now);
        } else if hastened && self.started && self.config.initiate {
            // Whatever was wrong may be mended now; an SA that lives makes this a no-op.
            self.failures = 0;
            self.attempt_at = Some(now);
        }
    }
}

impl Endpoint {
    pub(crate) fn peer_config(&self, key: Option<PeerKey>) -> Option<Arc<PeerConfig>> {
        key.and_then(|key| self.peers.get(&key)).map(|peer| Arc::clone(&peer.config))
    }

    /// The peer's timers; the defaults once it is removed and only its DELETE is under way.
    pub(crate) fn timers(&self, sa: &IkeSa) -> Timers {
        sa.peer.and_then(|key| self.peers.get(&key)).map_or_else(Timers::default, |peer| peer.config.timers)
    }

    /// Peers between two addresses, in the order of their names.
    pub(crate) fn candidates(&self, local: SocketAddr, remote: SocketAddr) -> Vec<Arc<PeerConfig>> {
        self.peers
            .values()
            .filter(|peer| peer.config.local == local.ip() && peer.config.remote == remote.ip())
            .map(|peer| Arc::clone(&peer.config))
            .collect()
    }

    /// Initiates where it is time. Returns whether something was sent.
    pub(crate) fn drive_peers(&mut self, now: Instant) -> bool {
        let alive: BTreeSet<PeerKey> = self
            .sas
            .values()
            .filter(|sa| sa.phase.is_alive() && sa.closing.is_none())
            .filter_map(|sa| sa.peer)
            .collect();
        let mut due = Vec::new();
        let mut waiting = Vec::new();
        for (key, peer) in &mut self.peers {
            match peer.attempt_at {
                _ if alive.contains(key) => peer.attempt_at = None,
                Some(at) if at <= now => due.push(*key),
                None if peer.started && peer.config.initiate => waiting.push((*key, peer.failures)),
                Some(_) | None => {}
            }
        }
        for (key, failures) in waiting {
            let pause = self.retry_pause(failures);
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.attempt_at = Some(now + pause);
            }
        }
        for key in &due {
            if let Some(peer) = self.peers.get_mut(key) {
                peer.attempt_at = None;
            }
            self.initiate(now, *key, false);
        }
        !due.is_empty()
    }

    /// 1 s, 2 s, 4 s … 30 s by default, each give or take a quarter, so that peers of a restarted device do not march in step.
    fn retry_pause(&mut self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let pause = self.config.retry_first.saturating_mul(1 << doublings).min(self.config.retry_cap);
        self.jitter(pause, 750, 1250).min(self.config.retry_cap)
    }

    /// An attempt of either side failed.
    pub(crate) fn attempt_failed(&mut self, key: PeerKey, fault: Fault, ours: bool) {
        if let Some(peer) = self.peers.get_mut(&key) {
            if ours && !peer.children.is_empty() {
                // The peer's own attempt succeeded meanwhile.
                return;
            }
            if ours {
                peer.failures = peer.failures.saturating_add(1);
                peer.psk = 0;
            }
            self.emit(Event::AttemptFailed { peer: key, fault, ours });
        }
    }

    /// A failure that nobody vouches for, so that it may be forged: it counts for the peers that are down only, and not more often
    /// than [`DOUBT_PAUSE`], however many there are.
    pub(crate) fn doubtful_failure(
        &mut self,
        now: Instant,
        candidates: &[Arc<PeerConfig>],
        fault: impl Fn(&PeerConfig) -> Fault,
    ) {
        for config in candidates {
            let Some(peer) = self.peers.get_mut(&config.key).filter(|peer| peer.children.is_empty()) else { continue };
            if peer.doubted_at.is_none_or(|at| now.saturating_duration_since(at) >= DOUBT_PAUSE) {
                peer.doubted_at = Some(now);
                self.attempt_failed(config.key, fault(config), false);
            }
        }
    }

    /// A request from an address that no peer has: whoever is down may be behind it. Told no more often than other doubts are.
    pub(crate) fn stranger(&mut self, now: Instant, local: IpAddr, remote: IpAddr) {
        let fresh = |peer: &Peer| peer.stranger.is_none_or(|(_, at)| now.saturating_duration_since(at) >= DOUBT_PAUSE);
        let concerns = |peer: &Peer| peer.config.local == local && peer.config.remote.is_ipv4() == remote.is_ipv4();
        let keys: Vec<PeerKey> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.children.is_empty() && concerns(peer) && fresh(peer))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            peer.stranger = Some((remote, now));
            let fault =
                Fault::new(ReasonCode::UnknownSource).values(peer.config.remote.to_string(), remote.to_string());
            self.attempt_failed(key, fault, false);
        }
    }

    /// The IKE SAs of a peer, whatever their phase.
    pub(crate) fn ike_sas(&self, key: PeerKey) -> impl Iterator<Item = (u64, &IkeSa)> {
        self.sas.iter().filter(move |(_, sa)| sa.peer == Some(key)).map(|(spi, sa)| (*spi, sa))
    }

    /// Before one more IKE SA of a peer: beyond the limit the least useful one goes, without a word.
    pub(crate) fn make_room(&mut self, now: Instant, key: PeerKey) {
        while self.ike_sas(key).count() >= self.config.max_ike_sas.max(1) {
            let useful = |sa: &IkeSa| sa.phase.is_established() && sa.closing.is_none() && !sa.children.is_empty();
            let least = self.ike_sas(key).min_by_key(|(_, sa)| (useful(sa), sa.authenticated_at)).map(|(spi, _)| spi);
            let Some(spi) = least else { return };
            self.count("ike_sa_limit");
            self.with_sa(spi, |endpoint, sa| {
                let fault = Fault::new(ReasonCode::ClosedByUs).with("because", "the peer made too many IKE SAs");
                endpoint.bury_children(now, sa, &fault);
                Fate::Drop
            });
        }
    }

    /// The fault of an attempt that met silence.
    pub(crate) fn silence(&mut self, now: Instant, key: PeerKey, otherwise: ReasonCode) -> Fault {
        let Some(peer) = self.peers.get_mut(&key) else { return Fault::new(otherwise) };
        // What the way to the peer says outweighs strangers, who may be anybody on the Internet.
        if std::mem::take(&mut peer.unreachable) {
            return Fault::new(ReasonCode::PeerUnreachable).with("peer", peer.config.remote.to_string());
        }
        let stranger = peer.stranger.filter(|(_, at)| now.saturating_duration_since(*at) < STRANGER_COUNTS);
        if let Some((stranger, _)) = stranger.filter(|_| otherwise == ReasonCode::PeerSilent) {
            return Fault::new(ReasonCode::UnknownSource).values(peer.config.remote.to_string(), stranger.to_string());
        }
        Fault::new(otherwise).with("peer", peer.config.remote.to_string())
    }

    /// Sends on `child` from now on.
    pub(crate) fn activate(&mut self, sa: &mut IkeSa, child: ChildId) {
        let Some(entry) = sa.child_mut(child) else { return };
        entry.activate_at = None;
        let Some(key) = sa.peer else { return };
        if let Some(peer) = self.peers.get_mut(&key).filter(|peer| peer.sending != Some(child)) {
            peer.sending = Some(child);
            self.emit(Event::ChildActivated { peer: key, child });
        }
    }

    /// Takes a Child SA away. With the last one the tunnel is down, and `fault` says why.
    pub(crate) fn remove_child(&mut self, now: Instant, sa: &mut IkeSa, child: ChildId, fault: &Fault) {
        let Some(position) = sa.children.iter().position(|entry| entry.id == child) else { return };
        let removed = sa.children.remove(position);
        let Some(key) = sa.peer else { return };
        // Whoever waits for the end of this one sends on its own now.
        let heir = sa.children.iter_mut().find(|entry| entry.replaces == Some(child) && entry.activate_at.is_some());
        let heir = heir.map(|entry| {
            entry.activate_at = None;
            entry.id
        });
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.children.retain(|entry| *entry != child);
        let mut activated = None;
        if peer.sending == Some(child) || heir.is_some() {
            activated = heir.or_else(|| peer.children.last().copied());
            peer.sending = activated;
        }
        let down = peer.children.is_empty() && peer.up_since.is_some();
        if down {
            let up_for = peer.up_since.take().map(|since| now.saturating_duration_since(since));
            peer.failures = if up_for.is_some_and(|time| time >= STABLE) { 0 } else { peer.failures.saturating_add(1) };
        }
        if let Some(child) = activated {
            self.emit(Event::ChildActivated { peer: key, child });
        }
        self.emit(Event::ChildRemoved { peer: key, child });
        if down {
            self.emit(Event::TunnelDown { peer: key, fault: fault.clone() });
        }
        if sa.children.is_empty() {
            let stable = now.saturating_duration_since(removed.installed_at) >= STABLE;
            sa.short_lived = if stable { 0 } else { sa.short_lived.saturating_add(1) };
            sa.childless_since = Some(now);
            self.pause_children(now, sa);
        }
    }

    /// The next Child SA is ours to make: at once after one that worked or the first that did not, then later and later, so that two ends of which
    /// one undoes what the other does are not busy with that.
    fn pause_children(&mut self, now: Instant, sa: &mut IkeSa) {
        let ours = self.peer_config(sa.peer).is_some_and(|config| config.initiate);
        if ours && sa.short_lived > 1 {
            // Neither end may take the IKE SA for abandoned meanwhile.
            let pause = self.retry_pause(sa.short_lived - 1).min(self.config.childless_timeout / 2);
            sa.next_child_at = Some(now + pause);
        }
    }

    /// The SA is dead or dying: its Child SAs go to its successor if there is one, and away otherwise.
    pub(crate) fn bury_children(&mut self, now: Instant, sa: &mut IkeSa, fault: &Fault) {
        if self.bequeath(now, sa) {
            return;
        }
        while let Some(id) = sa.children.first().map(|child| child.id) {
            self.remove_child(now, sa, id, fault);
        }
    }

    /// Closes everything of a peer; the DELETEs are sent by the tasks that follow.
    pub(crate) fn close_all(&mut self, now: Instant, key: PeerKey, fault: Fault) {
        let spis: Vec<u64> = self.sas.iter().filter(|(_, sa)| sa.peer == Some(key)).map(|(spi, _)| *spi).collect();
        for spi in spis {
            self.with_sa(spi, |endpoint, sa| {
                sa.successor = None;
                endpoint.bury_children(now, sa, &fault);
                match sa.phase {
                    Phase::Initiating(_) | Phase::Authenticating(..) | Phase::HalfOpen(_) => Fate::Drop,
                    Phase::Established => {
                        sa.closing = Some(Farewell::Delete);
                        // Nothing that was asked for matters any more.
                        endpoint.begin_close(now, sa);
                        Fate::Keep
                    }
                    Phase::Replaced | Phase::Closing | Phase::Over => Fate::Keep,
                }
            });
        }
    }
}
