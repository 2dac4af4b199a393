//! The gateway's BGP speaker (RFC 4271), one [`Session`] per connection and address family.
//!
//! Sans-IO: the caller owns TCP and the clock. It tells the session what happened (`handle_*`, with the time) and then drains
//! [`Session::poll_action`] and [`Session::poll_event`] until both are empty; [`Session::poll_timeout`] says when to call
//! [`Session::handle_timeout`].
//!
//! ```
//! use std::time::Instant;
//!
//! use causeway_bgp::{Action, Session, SessionConfig};
//! use causeway_model::Family;
//!
//! let now = Instant::now();
//! let mut session = Session::new(
//!     SessionConfig {
//!         family: Family::Ipv4,
//!         local_asn: 64512,
//!         peer_asn: 65001,
//!         router_id: [169, 254, 0, 1].into(),
//!         local: [169, 254, 0, 1].into(),
//!         peer: [169, 254, 0, 2].into(),
//!         hold_time: 60,
//!         send_hold: causeway_bgp::SEND_HOLD,
//!         max_prefixes: 1000,
//!     },
//!     now,
//! );
//! session.set_enabled(now, true);
//! assert_eq!(session.poll_action(), Some(Action::Connect));
//! ```
//!
//! The dialect is narrow on purpose: external BGP with one configured neighbour, one unicast family per session, four-octet AS
//! numbers, route refresh, revised error handling (RFC 7606), default deny (RFC 8212), send hold time (RFC 9687). Extended
//! messages are not offered, so no message is longer than 4,096 octets.
//!
//! Graceful restart (RFC 4724) has two sides. Ours: the capability says that we take 10 s and preserve nothing, which makes the peer
//! accept our new connection at once instead of defending a session that died with the process. The peer's: when TCP breaks without
//! a NOTIFICATION, its routes stay ([`Session::accepted_routes`] while down) until its End-of-RIB after it came back, or
//! [`Session::stale_until`]. `set_enabled(false)` ends them at once: the tunnel, not the restart time, says whether there is a way.
//!
//! Prefixes that came with broken attributes count as withdrawn (RFC 7606) and are named by [`Session::fault`] while they are missing.
//!
//! The codec is `rustbgpd-wire`; none of its types leave this crate.

mod codec;
mod connection;
mod fault;
mod jitter;
mod newcomer;
mod rib;
mod select;
mod session;
mod types;

pub use newcomer::Newcomer;
pub use rib::{Policy, Route, Verdict};
pub use select::{Beaten, Candidate, LinkKind, MAX_ECMP, Selection, Step, best_paths, preference, select};
pub use session::Session;
pub use types::{Action, ConnKind, ConnectError, Counters, Event, SEND_HOLD, SessionConfig, State};
