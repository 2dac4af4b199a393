//! ESP in tunnel mode (RFC 4303): sealing and opening one packet, sequence numbers, the replay window, sizes.
//!
//! Nothing here does I/O, reads a clock or allocates per packet. The security associations are shared by threads: sequence numbers
//! are drawn atomically, so that no nonce repeats whoever seals, and the window is updated only for packets that proved authentic.
//! Sequence numbers have 32 bits (no ESN): a Child SA is rekeyed long before they run out, and an SA that reached the end refuses
//! to send (RFC 4303 §3.3.3).

mod inbound;
mod outbound;
mod replay;
mod suite;

pub use inbound::{InboundSa, OpenError, Opened};
pub use outbound::{OutboundSa, SealError};
pub use replay::WINDOW;
pub use suite::{EspKeys, EspSuite, KeysError, inner_mtu, outer_len};

/// Next header of an IPv4 packet inside (RFC 4303 §2.6).
pub const NEXT_HEADER_IPV4: u8 = 4;
/// Next header of an IPv6 packet inside.
pub const NEXT_HEADER_IPV6: u8 = 41;
/// Next header of a dummy packet, which the receiver drops without a word (RFC 4303 §2.6).
pub const NEXT_HEADER_DUMMY: u8 = 59;

/// Octets before the IV: SPI and sequence number.
const HEADER_LEN: usize = 8;
/// Octets after the padding: pad length and next header.
const TRAILER_LEN: usize = 2;
