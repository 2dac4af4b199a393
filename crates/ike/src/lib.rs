//! IKEv2 (RFC 7296) for site-to-site tunnels: both roles, pre-shared keys, route-based selectors, no I/O.
//!
//! An [`Endpoint`] serves one VPN gateway. Its owner feeds it datagrams and the time, and after every call drains
//! [`Endpoint::poll_transmit`] and [`Endpoint::poll_event`]; one call settles everything, none has to be repeated. It calls
//! [`Endpoint::handle_timeout`] when [`Endpoint::poll_timeout`] says so.
//!
//! | module | what | RFC 7296 |
//! |---|---|---|
//! | `codec` | octets to meaning and back | §3 |
//! | `suite` | negotiation | §2.7, §3.3 |
//! | `keys` | key derivation, SK payloads | §2.14 to §2.18, §3.14 |
//! | `sa` | the exchanges of one IKE SA | §1, §2.8, §2.25 |
//! | `endpoint` | peers, attempts, half-open limits, duplicates | §2.4, §2.6 |

mod codec;
mod config;
mod endpoint;
mod event;
mod keys;
mod sa;
mod suite;

pub use config::{EndpointConfig, Identity, IdentityError, PeerConfig, PeerKey};
pub use endpoint::Endpoint;
pub use event::{ChildId, ChildSa, Event, IkeInfo, Transmit};
