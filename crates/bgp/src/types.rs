//! The words between a session and its caller.

use std::net::{IpAddr, Ipv4Addr};

use causeway_model::{Family, Fault};

/// The send hold time that RFC 9687 §6 recommends: eight minutes.
pub const SEND_HOLD: u16 = 480;

/// What a session is made of; fixed for its life. A change of any of it but [`Self::max_prefixes`] is a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// The one address family that is exchanged.
    pub family: Family,
    /// Our AS number.
    pub local_asn: u32,
    /// The customer gateway's AS number; no other is accepted.
    pub peer_asn: u32,
    /// Our BGP identifier; not 0.0.0.0.
    pub router_id: Ipv4Addr,
    /// Our inside address: the next hop of what we announce.
    pub local: IpAddr,
    /// The peer's inside address: the only next hop accepted, beside link-local ones.
    pub peer: IpAddr,
    /// Offered hold time in seconds: 0 (none) or at least 3 (RFC 4271 §4.2); 1 and 2 are raised to 3.
    pub hold_time: u16,
    /// How long, in seconds, the peer may take none of what waits for it; twice the hold time counts if that is longer (RFC 9687 §6).
    /// See [`SEND_HOLD`].
    pub send_hold: u16,
    /// Prefixes accepted at most. More are refused without ending the session.
    pub max_prefixes: u32,
}

/// Which side opened a TCP connection. There is at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnKind {
    /// We connected.
    Outgoing,
    /// The peer connected.
    Incoming,
}

impl ConnKind {
    pub(crate) const BOTH: [Self; 2] = [Self::Outgoing, Self::Incoming];

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Outgoing => 0,
            Self::Incoming => 1,
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Outgoing => Self::Incoming,
            Self::Incoming => Self::Outgoing,
        }
    }
}

/// Why connecting failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// A reset: nothing listens, or it does not want us.
    Refused,
    /// No answer.
    TimedOut,
    /// No route, or an ICMP error.
    Unreachable,
    /// Anything else.
    Other,
}

/// What the caller has to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect from `local` to `peer`, TCP port 179. Ends with `handle_connected` or `handle_connect_failed`.
    Connect,
    /// Send these octets.
    Send(ConnKind, Vec<u8>),
    /// Flush what was sent, then close; or stop connecting. `handle_closed` need not be called for it.
    Close(ConnKind),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Established.
    Up,
    /// No longer Established; or, while down, the reason is another one now.
    Down(Fault),
    /// Something about [`crate::Session::accepted_routes`], [`crate::Session::received`] or [`crate::Session::announced`] changed.
    RoutesChanged,
}

/// The states of RFC 4271 §8.2.2; with two connections, that of the further one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not enabled.
    Idle,
    /// Waiting for the next attempt, or for the peer to connect.
    Active,
    /// Connecting.
    Connect,
    /// TCP is there, our OPEN is out.
    OpenSent,
    /// Both OPENs are fine, the peer's KEEPALIVE is awaited.
    OpenConfirm,
    /// Up.
    Established,
}

impl State {
    /// Whether routes can be exchanged.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Established)
    }
}

/// Counters of the session's whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages received.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// UPDATEs received.
    pub updates_in: u64,
    /// UPDATEs sent, ends of RIB included.
    pub updates_out: u64,
    /// UPDATEs received of which malformed attributes were left out and the rest was taken (RFC 7606 §2, attribute discard).
    pub attributes_discarded: u64,
    /// UPDATEs whose announcements were taken for withdrawals because of malformed attributes (RFC 7606).
    pub treated_as_withdraw: u64,
    /// Connections that ended because the peer broke the protocol.
    pub protocol_errors: u64,
    /// Connections of the peer that were turned away.
    pub turned_away: u64,
}
