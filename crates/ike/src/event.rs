//! What an endpoint tells its owner.

use std::fmt;
use std::net::SocketAddr;

use causeway_crypto::Secret;
use causeway_model::suite::{Encryption, Integrity};
use causeway_model::{Family, Fault};

use crate::config::PeerKey;

/// Names one Child SA within an [`crate::Endpoint`]; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub u64);

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Facts about an established IKE SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeInfo {
    /// `aes256gcm-prfsha384-curve25519`.
    pub suite: String,
    /// Whether we initiated it (after a rekey: whether we initiated that).
    pub initiator: bool,
    /// The peer's address and port as seen.
    pub remote: SocketAddr,
    /// Rekeys since the first one of its line.
    pub rekeys: u32,
    /// Position in [`crate::PeerConfig::psks`], as it is now, of the key that the peer proved: 0 is the newest. The list's
    /// length if the key was taken off the list since. Rekeying does not use the key, so this is the last authentication's.
    pub psk: usize,
}

/// A Child SA to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSa {
    /// Its name.
    pub id: ChildId,
    /// The SPI of packets to us.
    pub inbound_spi: u32,
    /// The SPI of packets to the peer.
    pub outbound_spi: u32,
    /// The ciphers; no integrity with an AEAD.
    pub suite: (Encryption, Option<Integrity>),
    /// Keys of packets to us: encryption with its salt, then integrity (RFC 7296 §2.17).
    pub inbound_keymat: Secret,
    /// Keys of packets to the peer, in the same order.
    pub outbound_keymat: Secret,
    /// Our end of the UDP encapsulation.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// `aes256gcm`.
    pub suite_text: String,
    /// Rekeys since the first one of its line.
    pub rekeys: u32,
    /// The families that it carries, at least one.
    pub families: Vec<Family>,
    /// Whether to send on it at once; otherwise [`Event::ChildActivated`] says when.
    pub use_for_sending: bool,
}

/// Something happened. The owner drains events after every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer is authenticated.
    IkeEstablished {
        /// The tunnel.
        peer: PeerKey,
        /// The SA.
        info: IkeInfo,
    },
    /// The IKE SA was replaced by a fresh one.
    IkeRekeyed {
        /// The tunnel.
        peer: PeerKey,
        /// The new SA.
        info: IkeInfo,
    },
    /// Install this Child SA for receiving, and for sending if it says so.
    ChildInstalled {
        /// The tunnel.
        peer: PeerKey,
        /// The SA.
        child: ChildSa,
    },
    /// Send on this Child SA from now on.
    ChildActivated {
        /// The tunnel.
        peer: PeerKey,
        /// The SA.
        child: ChildId,
    },
    /// Remove this Child SA.
    ChildRemoved {
        /// The tunnel.
        peer: PeerKey,
        /// The SA.
        child: ChildId,
    },
    /// An authenticated message came from another port of the peer's address: send there. Never another address: nobody vouches
    /// that who sends from there wants what we would send.
    RemoteMoved {
        /// The tunnel.
        peer: PeerKey,
        /// Where the peer is now.
        remote: SocketAddr,
    },
    /// The last Child SA is gone.
    TunnelDown {
        /// The tunnel.
        peer: PeerKey,
        /// Why.
        fault: Fault,
    },
    /// The tunnel is up, but its Child SA could not be renewed or joined by another. It may go down for that reason.
    Trouble {
        /// The tunnel.
        peer: PeerKey,
        /// Why.
        fault: Fault,
    },
    /// An attempt to bring the tunnel up, ours or the peer's, failed.
    AttemptFailed {
        /// The tunnel.
        peer: PeerKey,
        /// Why.
        fault: Fault,
        /// Whether the attempt was ours.
        ours: bool,
    },
}

/// A datagram to send. On the port of the encapsulation (4500) the sender puts the non-ESP marker before it (RFC 3948 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From.
    pub local: SocketAddr,
    /// To.
    pub remote: SocketAddr,
    /// The IKE message.
    pub payload: Vec<u8>,
}
