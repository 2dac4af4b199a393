//! One IKE SA and the exchanges on it.
//!
//! The files add methods to [`crate::Endpoint`], one file for each kind of exchange, because an exchange on one SA touches others:
//! a rekey makes one, a duplicate ends one. While a message is handled its SA is taken out of the endpoint's map.

mod auth;
mod child;
mod fragments;
#[cfg(test)]
mod hostile;
mod informational;
mod init;
mod rekey;
mod tasks;
mod window;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_crypto::KeyExchange;
use causeway_model::{Family, Fault};

use crate::codec::Exchange;
use crate::config::{PeerConfig, PeerKey};
use crate::event::{ChildId, IkeInfo};
use crate::keys::IkeKeys;
use crate::suite::{EspSuite, IkeSuite};

pub(crate) use init::InitRequest;

/// How long an SA that is over still answers retransmissions of the peer's last request.
pub(crate) const LINGER: Duration = Duration::from_secs(10);
/// How long an SA that the peer replaced waits for the peer's DELETE before we send ours.
pub(crate) const REPLACED_WAIT: Duration = Duration::from_secs(30);
/// How long our DELETE of an IKE SA is repeated.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);
/// The responder of a Child SA that takes another one's place sends on it after this at the latest.
pub(crate) const ACTIVATE_AFTER: Duration = Duration::from_secs(2);

/// One end of one IKE SA.
pub(crate) struct IkeSa {
    pub(crate) spi_i: u64,
    pub(crate) spi_r: u64,
    /// Whether we initiated this SA.
    pub(crate) initiator: bool,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Unknown in a half-open SA: several peers may share both addresses.
    pub(crate) peer: Option<PeerKey>,
    pub(crate) phase: Phase,
    pub(crate) suite: Option<IkeSuite>,
    pub(crate) keys: Option<IkeKeys>,
    pub(crate) rekeys: u32,
    /// When IKE_SA_INIT was sent or came; inherited through rekeys, as the three below.
    pub(crate) begun_at: Instant,
    /// When the peer was authenticated.
    pub(crate) authenticated_at: Instant,
    /// Whether we initiated the first SA of the line.
    pub(crate) began_it: bool,
    /// The lower nonce of the exchange that began the line.
    pub(crate) lowest_nonce: Vec<u8>,
    /// The id of our next request.
    pub(crate) next_id: u32,
    pub(crate) pending: Option<Pending>,
    /// The id of the peer's next request.
    pub(crate) expected_id: u32,
    pub(crate) answered: Option<Answered>,
    /// Both ends announced that they take fragments.
    pub(crate) fragments: bool,
    pub(crate) assembly: Option<fragments::Assembly>,
    pub(crate) children: Vec<Child>,
    /// When something authentic and new came last.
    pub(crate) last_input: Instant,
    pub(crate) rekey_at: Option<Instant>,
    /// The end of the phase, or of the SA's life.
    pub(crate) expires_at: Option<Instant>,
    /// We want to send DELETE.
    pub(crate) closing: Option<Farewell>,
    /// The SA that inherits our Child SAs.
    pub(crate) successor: Option<u64>,
    /// Another IKE SA of the peer is better; this one goes then.
    pub(crate) superseded_at: Option<Instant>,
    /// Until then only a successor whose Child SA has carried traffic ends it.
    pub(crate) traffic_until: Option<Instant>,
    /// Something new came on it since it was established, so the peer knows that it was.
    pub(crate) confirmed: bool,
    /// Our attempt to replace an SA that works, by a fresh authentication.
    pub(crate) reauthenticates: bool,
    /// Position of the key that authenticated the peer.
    pub(crate) psk: usize,
    pub(crate) childless_since: Option<Instant>,
    pub(crate) next_child_at: Option<Instant>,
    /// Child SAs in a row that did not live long enough to count as a tunnel that works.
    pub(crate) short_lived: u32,
    /// What went wrong on it last; becomes the reason if it dies of that.
    pub(crate) fault: Option<Fault>,
    /// The identity that the initiator asked us to have, if it is not ours.
    pub(crate) asked_identity: Option<String>,
    /// Key in the endpoint's index of IKE_SA_INIT requests.
    pub(crate) init_key: Option<(IpAddr, u64)>,
}

/// Where an IKE SA is in its life.
pub(crate) enum Phase {
    /// We sent IKE_SA_INIT.
    Initiating(Box<Initiating>),
    /// We answered IKE_SA_INIT.
    HalfOpen(Box<Opening>),
    /// We sent IKE_AUTH.
    Authenticating(Box<Opening>, Box<Authenticating>),
    /// The peer is authenticated.
    Established,
    /// The peer replaced it and will delete it.
    Replaced,
    /// We sent DELETE.
    Closing,
    /// Over; answers retransmissions of the last request until it expires.
    Over,
}

impl Phase {
    pub(crate) const fn is_established(&self) -> bool {
        matches!(self, Self::Established)
    }

    /// Whether it counts against the half-open limits.
    pub(crate) const fn is_half_open(&self) -> bool {
        matches!(self, Self::HalfOpen(_) | Self::Over)
    }

    /// Whether it is or may become a tunnel of ours.
    pub(crate) const fn is_alive(&self) -> bool {
        matches!(self, Self::Initiating(_) | Self::Authenticating(..) | Self::Established)
    }
}

/// Our IKE_SA_INIT that awaits its answer.
pub(crate) struct Initiating {
    pub(crate) exchange: Option<KeyExchange>,
    pub(crate) nonce: Vec<u8>,
    pub(crate) message: Vec<u8>,
    pub(crate) cookie: Option<Vec<u8>>,
    /// Times that we started over for a cookie or another group.
    pub(crate) restarts: u8,
    /// What an answer without authentication claimed.
    pub(crate) fault: Option<Fault>,
}

/// What AUTH covers.
pub(crate) struct Opening {
    pub(crate) nonce_i: Vec<u8>,
    pub(crate) nonce_r: Vec<u8>,
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
}

/// Our IKE_AUTH that awaits its answer.
pub(crate) struct Authenticating {
    pub(crate) child_spi: u32,
    /// Position of the key in the peer's list.
    pub(crate) psk: usize,
}

/// A request of ours without an answer.
pub(crate) struct Pending {
    pub(crate) id: u32,
    pub(crate) exchange: Exchange,
    /// The message, or its fragments.
    pub(crate) messages: Vec<Vec<u8>>,
    pub(crate) sent_at: Instant,
    pub(crate) resend_at: Instant,
    pub(crate) interval: Duration,
    pub(crate) what: Request,
}

/// What a pending request is about.
pub(crate) enum Request {
    Init,
    Auth,
    Child(Box<ChildRequest>),
    RekeyIke(Box<RekeyRequest>),
    DeleteChildren(Vec<ChildId>),
    DeleteIke,
    Liveness,
}

/// Our CREATE_CHILD_SA for a Child SA.
pub(crate) struct ChildRequest {
    /// The Child SA that it rekeys.
    pub(crate) rekeys: Option<ChildId>,
    pub(crate) spi: u32,
    pub(crate) nonce: Vec<u8>,
    pub(crate) exchange: Option<KeyExchange>,
    /// The Child SA that the peer made by rekeying the same one meanwhile, and the lower nonce of that exchange.
    pub(crate) collision: Option<(ChildId, Vec<u8>)>,
}

/// Our CREATE_CHILD_SA that rekeys the IKE SA.
pub(crate) struct RekeyRequest {
    pub(crate) spi: u64,
    pub(crate) nonce: Vec<u8>,
    pub(crate) exchange: KeyExchange,
    /// The IKE SA that the peer made meanwhile, and the lower nonce of that exchange.
    pub(crate) collision: Option<(u64, Vec<u8>)>,
    /// What we offered from; the peer may be changed or removed before the answer comes.
    pub(crate) config: Arc<PeerConfig>,
}

/// Our answer to the peer's last request.
pub(crate) struct Answered {
    /// SHA-256 of the request or its first fragment: only the same octets get the same answer.
    pub(crate) digest: [u8; 32],
    /// The message, or its fragments.
    pub(crate) response: Vec<Vec<u8>>,
}

/// What to say when we delete an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    Delete,
    /// With AUTHENTICATION_FAILED: the responder did not prove to be the peer (RFC 7296 §2.21.2).
    NotAuthenticated,
}

/// One Child SA: both directions.
pub(crate) struct Child {
    pub(crate) id: ChildId,
    pub(crate) inbound_spi: u32,
    pub(crate) outbound_spi: u32,
    pub(crate) installed_at: Instant,
    pub(crate) rekeys: u32,
    pub(crate) rekey_at: Instant,
    pub(crate) expires_at: Instant,
    /// Rekey once this many packets were sent.
    pub(crate) packet_limit: u64,
    /// We want to delete it.
    pub(crate) delete: bool,
    /// A rekey has replaced it.
    pub(crate) replaced: bool,
    /// Send on it then, if nothing says so earlier.
    pub(crate) activate_at: Option<Instant>,
    /// The Child SA whose deletion activates it.
    pub(crate) replaces: Option<ChildId>,
    /// Authentic traffic came on it.
    pub(crate) carried: bool,
}

/// What became of an SA that was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Keep,
    Drop,
}

/// The outcome of negotiating one Child SA.
pub(crate) struct ChildAgreement {
    pub(crate) suite: EspSuite,
    pub(crate) number: u8,
    pub(crate) peer_spi: u32,
    pub(crate) families: Vec<Family>,
}

impl IkeSa {
    pub(crate) fn new(
        now: Instant,
        initiator: bool,
        spi: (u64, u64),
        local: SocketAddr,
        remote: SocketAddr,
        phase: Phase,
    ) -> Self {
        Self {
            spi_i: spi.0,
            spi_r: spi.1,
            initiator,
            local,
            remote,
            peer: None,
            phase,
            suite: None,
            keys: None,
            rekeys: 0,
            begun_at: now,
            authenticated_at: now,
            began_it: initiator,
            lowest_nonce: Vec::new(),
            next_id: 0,
            pending: None,
            expected_id: 0,
            answered: None,
            fragments: false,
            assembly: None,
            children: Vec::new(),
            last_input: now,
            rekey_at: None,
            expires_at: None,
            closing: None,
            successor: None,
            superseded_at: None,
            traffic_until: None,
            confirmed: false,
            reauthenticates: false,
            psk: 0,
            childless_since: None,
            next_child_at: None,
            short_lived: 0,
            fault: None,
            asked_identity: None,
            init_key: None,
        }
    }

    pub(crate) fn info(&self) -> IkeInfo {
        IkeInfo {
            suite: self.suite.map(|suite| suite.to_string()).unwrap_or_default(),
            initiator: self.initiator,
            remote: self.remote,
            rekeys: self.rekeys,
            psk: self.psk,
        }
    }

    pub(crate) fn child(&self, id: ChildId) -> Option<&Child> {
        self.children.iter().find(|child| child.id == id)
    }

    pub(crate) fn child_mut(&mut self, id: ChildId) -> Option<&mut Child> {
        self.children.iter_mut().find(|child| child.id == id)
    }

    /// Whether our request to rekey this Child SA is under way. It outlives its lifetime until the answer.
    pub(crate) fn is_rekeying(&self, child: ChildId) -> bool {
        matches!(
            self.pending.as_ref().map(|pending| &pending.what),
            Some(Request::Child(request)) if request.rekeys == Some(child)
        )
    }

    /// Ends it, but keeps the last answer for retransmissions.
    pub(crate) fn end(&mut self, now: Instant) {
        self.phase = Phase::Over;
        self.pending = None;
        self.closing = None;
        self.rekey_at = None;
        self.expires_at = Some(now + LINGER);
    }
}
