//! All IKE of one VPN gateway: its peers, their SAs, and what goes in and out.

mod cookie;
mod peers;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_crypto::Entropy;
use causeway_model::{Fault, ReasonCode};

use crate::codec::message::notify;
use crate::codec::{Chain, DecodeError, Exchange, Header};
use crate::config::{EndpointConfig, PeerConfig, PeerKey};
use crate::event::{ChildId, Event, IkeInfo, Transmit};
use crate::sa::{Fate, IkeSa, InitRequest, Phase};

use cookie::CookieJar;
pub(crate) use peers::Peer;

/// Passes of settling after one call. Each pass that goes on has sent a request, and an SA has at most one, so few are needed;
/// the bound only keeps a mistake from looping.
const MAX_PASSES: usize = 16;

/// IKE of one VPN gateway.
///
/// Feed it (`handle_*`, `set_peer`, …), then drain [`Self::poll_transmit`] and [`Self::poll_event`]. `now` must not go back.
pub struct Endpoint {
    pub(crate) config: EndpointConfig,
    pub(crate) entropy: Box<dyn Entropy>,
    pub(crate) peers: BTreeMap<PeerKey, Peer>,
    /// By the SPI that we chose.
    pub(crate) sas: BTreeMap<u64, IkeSa>,
    /// SAs that the peer began, by its address and SPI, to know retransmissions of IKE_SA_INIT.
    pub(crate) inits: BTreeMap<(IpAddr, u64), u64>,
    pub(crate) cookies: CookieJar,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    drops: BTreeMap<&'static str, u64>,
    next_child: u64,
}

impl Endpoint {
    /// An endpoint without peers.
    #[must_use]
    pub fn new(config: EndpointConfig, entropy: Box<dyn Entropy>) -> Self {
        Self {
            config,
            entropy,
            peers: BTreeMap::new(),
            sas: BTreeMap::new(),
            inits: BTreeMap::new(),
            cookies: CookieJar::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            drops: BTreeMap::new(),
            next_child: 1,
        }
    }

    /// Adds or updates a peer. Changed keys, proposals and timers take effect with the next exchange that needs them; changed
    /// addresses or identities close the tunnel and begin anew. A new peer only answers until [`Self::start`] is called for it.
    ///
    /// A tunnel outlives the key that authenticated it: rekeying uses no pre-shared key. So a key that is taken off the list admits
    /// nobody any more, but ends nothing either. [`crate::IkeInfo::psk`] tells which key an SA rests on;
    /// [`Self::reauthenticate`] moves the tunnel to the newest without an outage. To revoke a key at once: [`Self::remove_peer`],
    /// then this with the remaining keys, then [`Self::start`].
    pub fn set_peer(&mut self, now: Instant, config: PeerConfig) {
        let key = config.key;
        let moved = self.peers.get(&key).is_some_and(|peer| {
            let old = &peer.config;
            (old.local, old.remote, &old.local_identity, &old.remote_identity)
                != (config.local, config.remote, &config.local_identity, &config.remote_identity)
        });
        if moved {
            self.close_all(
                now,
                key,
                Fault::new(ReasonCode::ClosedByUs).with("because", "the tunnel's addresses or identities changed"),
            );
        }
        match self.peers.get_mut(&key) {
            Some(peer) => {
                let old = Arc::clone(&peer.config);
                for sa in self.sas.values_mut().filter(|sa| sa.peer == Some(key)) {
                    let proven = old.psks.get(sa.psk);
                    let position = proven.and_then(|proven| config.psks.iter().position(|psk| psk == proven));
                    sa.psk = position.unwrap_or(config.psks.len());
                }
                peer.reconfigure(config, moved, now);
            }
            None => {
                self.peers.insert(key, Peer::new(config));
            }
        }
        self.settle(now);
    }

    /// Removes a peer: sends DELETE and forgets it.
    pub fn remove_peer(&mut self, now: Instant, key: PeerKey) {
        if self.peers.contains_key(&key) {
            self.close_all(now, key, Fault::new(ReasonCode::ClosedByUs).with("because", "the tunnel was removed"));
            self.peers.remove(&key);
        }
        self.settle(now);
    }

    /// Makes the first attempt after a start of the gateway, with INITIAL_CONTACT, whoever normally initiates (system.md §5).
    /// Afterwards only peers with `initiate` are tried again, for ever.
    pub fn start(&mut self, now: Instant, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.started = true;
            peer.attempt_at = Some(now);
        }
        self.settle(now);
    }

    /// Authenticates the peer anew with the newest key, make before break: a second IKE SA with a Child SA of its own, and the old
    /// one goes only after the new Child SA has carried traffic. Nothing happens if an attempt is under way already. If it fails,
    /// [`Event::AttemptFailed`] says why, once, and the tunnel stays as it was. A peer that is down is tried once.
    pub fn reauthenticate(&mut self, now: Instant, key: PeerKey) {
        let under_way =
            self.ike_sas(key).any(|(_, sa)| matches!(sa.phase, Phase::Initiating(_) | Phase::Authenticating(..)));
        if self.peers.contains_key(&key) && !under_way {
            let up = self.ike_sas(key).any(|(_, sa)| sa.phase.is_established() && sa.closing.is_none());
            self.initiate(now, key, up);
        }
        self.settle(now);
    }

    /// Takes an IKE message; the non-ESP marker is already removed.
    pub fn handle_datagram(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, message: &[u8]) {
        match Header::decode(message) {
            Err(DecodeError::Version(version)) if version > 2 => self.refuse_version(local, remote, message),
            Err(DecodeError::Version(1)) => {
                self.count("ike_version");
                let candidates = self.candidates(local, remote);
                self.doubtful_failure(now, &candidates, |_| {
                    Fault::new(ReasonCode::IkeVersion).values("IKEv2", "IKEv1")
                });
            }
            Err(_) => self.count("malformed"),
            Ok((header, body)) => match (header.exchange, header.response) {
                (Exchange::Init, false) => {
                    self.on_init_request(now, &InitRequest { local, remote, header, body, message });
                }
                (Exchange::Init, true) => self.on_init_response(now, remote, header, body, message),
                (Exchange::Unknown(_), _) => self.count("unknown_exchange"),
                _ => self.on_protected(now, local, remote, header, message),
            },
        }
        self.settle(now);
    }

    /// Authenticated ESP of this tunnel came: the peer lives.
    pub fn handle_inbound_traffic(&mut self, now: Instant, key: PeerKey) {
        for sa in self.sas.values_mut().filter(|sa| sa.peer == Some(key) && sa.phase.is_established()) {
            if !sa.children.is_empty() {
                sa.last_input = sa.last_input.max(now);
            }
        }
    }

    /// Authenticated ESP came on this Child SA. Calls for the first packet are enough; it activates a Child SA that waits for that,
    /// and proves a reauthentication.
    pub fn handle_inbound_on_child(&mut self, now: Instant, child: ChildId) {
        let news = |sa: &IkeSa| sa.child(child).is_some_and(|child| child.activate_at.is_some() || !child.carried);
        if let Some(spi) = self.sas.iter().find(|(_, sa)| news(sa)).map(|(spi, _)| *spi) {
            self.with_sa(spi, |endpoint, sa| {
                sa.confirmed = true;
                let entry = sa.child_mut(child);
                let waits = entry.is_some_and(|entry| {
                    entry.carried = true;
                    entry.activate_at.is_some()
                });
                if waits {
                    endpoint.activate(sa, child);
                }
                Fate::Keep
            });
        }
        self.settle(now);
    }

    /// The owner could not install this Child SA. It is deleted at the peer, too (RFC 7296 §1.4.1), which would send into nothing until the next
    /// rekey, and made again where that is ours to do. `fault` becomes the reason of the tunnel if no other Child SA carries it.
    pub fn refuse_child(&mut self, now: Instant, child: ChildId, fault: Fault) {
        let of = self.sas.iter().find(|(_, sa)| sa.child(child).is_some()).map(|(spi, _)| *spi);
        if let Some(spi) = of {
            self.count(fault.code.as_str());
            self.with_sa(spi, |_, sa| {
                if let Some(entry) = sa.child_mut(child) {
                    entry.delete = true;
                    entry.activate_at = None;
                }
                sa.fault = Some(fault);
                Fate::Keep
            });
        }
        self.settle(now);
    }

    /// Facts about the IKE SA of a tunnel, whether or not a Child SA is there: the one authenticated last.
    #[must_use]
    pub fn ike_info(&self, key: PeerKey) -> Option<IkeInfo> {
        let lives = |sa: &&IkeSa| sa.phase.is_established() && sa.closing.is_none();
        let sas = self.ike_sas(key).map(|(_, sa)| sa).filter(lives);
        sas.max_by_key(|sa| (sa.authenticated_at, sa.rekeys)).map(IkeSa::info)
    }

    /// Packets sent on a Child SA so far: at the limit it is rekeyed.
    pub fn handle_packets_sent(&mut self, now: Instant, child: ChildId, packets: u64) {
        let child = self.sas.values_mut().find_map(|sa| sa.child_mut(child));
        if let Some(child) = child.filter(|child| packets >= child.packet_limit && child.rekey_at > now) {
            child.rekey_at = now;
            child.packet_limit = u64::MAX;
            self.settle(now);
        }
    }

    /// The network said that `remote` is unreachable. That is a hint for the reason, never a reason to give up.
    pub fn handle_unreachable(&mut self, _now: Instant, remote: IpAddr) {
        for peer in self.peers.values_mut().filter(|peer| peer.config.remote == remote) {
            peer.unreachable = true;
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.settle(now);
    }

    /// When to call [`Self::handle_timeout`] next, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let sas = self.sas.values().filter_map(|sa| self.sa_deadline(sa));
        let peers = self.peers.values().filter_map(|peer| peer.attempt_at.map(|at| (at, "attempt")));
        sas.chain(peers).min()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Messages that were dropped or answered with an error, by reason.
    #[must_use]
    pub const fn drops(&self) -> &BTreeMap<&'static str, u64> {
        &self.drops
    }

    /// Runs everything that is due until nothing more happens.
    fn settle(&mut self, now: Instant) {
        for _ in 0..MAX_PASSES {
            let mut busy = false;
            let due = |sa: &IkeSa| self.sa_deadline(sa).is_some_and(|(at, _)| at <= now);
            let spis: Vec<u64> = self.sas.iter().filter(|(_, sa)| due(sa)).map(|(spi, _)| *spi).collect();
            for spi in spis {
                self.with_sa(spi, |endpoint, sa| {
                    let (fate, acted) = endpoint.drive(now, sa);
                    busy |= acted;
                    fate
                });
            }
            busy |= self.drive_peers(now);
            if !busy {
                return;
            }
        }
    }

    /// Takes an SA out of the map while `work` runs, and puts it back unless it is over.
    pub(crate) fn with_sa(&mut self, spi: u64, work: impl FnOnce(&mut Self, &mut IkeSa) -> Fate) {
        let Some(mut sa) = self.sas.remove(&spi) else { return };
        match work(self, &mut sa) {
            Fate::Keep => {
                self.sas.insert(spi, sa);
            }
            Fate::Drop => {
                if let Some(key) = sa.init_key {
                    self.inits.remove(&key);
                }
            }
        }
    }

    /// RFC 7296 §2.5: a higher major version is answered with ours, to known peers only.
    fn refuse_version(&mut self, local: SocketAddr, remote: SocketAddr, message: &[u8]) {
        self.count("major_version");
        let known =
            self.peers.values().any(|peer| peer.config.local == local.ip() && peer.config.remote == remote.ip());
        let (Some(spi_i), Some(id)) = (field::<8>(message, 0), field::<4>(message, 20)) else { return };
        // Bit 5 of the flags: a response is never answered.
        let is_response = message.get(19).is_none_or(|flags| flags & crate::codec::header::FLAG_RESPONSE != 0);
        if !known || is_response {
            return;
        }
        let mut chain = Chain::new();
        chain.notify(notify::INVALID_MAJOR_VERSION, &[]);
        let header = Header {
            spi_i: u64::from_be_bytes(spi_i),
            spi_r: 0,
            next: 0,
            exchange: Exchange::from_wire(message.get(18).copied().unwrap_or_default()),
            from_initiator: false,
            response: true,
            id: u32::from_be_bytes(id),
        };
        let payload = plain(header, &chain);
        self.transmit(local, remote, payload);
    }

    pub(crate) fn transmit(&mut self, local: SocketAddr, remote: SocketAddr, payload: Vec<u8>) {
        self.transmits.push_back(Transmit { local, remote, payload });
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(crate) fn count(&mut self, reason: &'static str) {
        *self.drops.entry(reason).or_default() += 1;
    }

    pub(crate) fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut octets = [0; N];
        self.entropy.fill(&mut octets);
        octets
    }

    /// A fresh nonce: 256 bits suit every PRF on offer (RFC 7296 §2.10).
    pub(crate) fn nonce(&mut self) -> Vec<u8> {
        self.random::<32>().to_vec()
    }

    /// An IKE SPI that is free.
    pub(crate) fn free_ike_spi(&mut self) -> u64 {
        loop {
            let spi = u64::from_be_bytes(self.random());
            if spi != 0 && !self.sas.contains_key(&spi) {
                return spi;
            }
        }
    }

    /// An ESP SPI that no Child SA receives on. `current` is the SA that is out of the map.
    pub(crate) fn free_esp_spi(&mut self, current: &IkeSa) -> u32 {
        loop {
            let spi = u32::from_be_bytes(self.random());
            let taken =
                self.sas.values().chain([current]).flat_map(|sa| &sa.children).any(|child| child.inbound_spi == spi);
            // 1 to 255 are reserved (RFC 4303 §2.1).
            if spi > 255 && !taken {
                return spi;
            }
        }
    }

    pub(crate) const fn free_child_id(&mut self) -> ChildId {
        let id = ChildId(self.next_child);
        self.next_child += 1;
        id
    }

    /// `base` times a random factor between `low` and `high` per mille.
    pub(crate) fn jitter(&mut self, base: Duration, low: u32, high: u32) -> Duration {
        let span = u64::from(high.saturating_sub(low)) + 1;
        let permille = u64::from(low) + u64::from(u32::from_be_bytes(self.random())) % span;
        let nanos = u128::from(permille) * base.as_nanos() / 1000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A message without encryption.
pub(crate) fn plain(mut header: Header, chain: &Chain) -> Vec<u8> {
    header.next = chain.first;
    let length = crate::codec::header::HEADER_LEN + chain.bytes.len();
    [&header.encode(length)[..], &chain.bytes].concat()
}

fn field<const N: usize>(message: &[u8], at: usize) -> Option<[u8; N]> {
    message.get(at..)?.first_chunk::<N>().copied()
}
