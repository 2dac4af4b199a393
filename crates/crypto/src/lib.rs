//! Cryptography of Causeway: everything that IKEv2, ESP and the store need, and the only crate that touches a cipher.
//!
//! | module | what | specification |
//! |---|---|---|
//! | [`entropy`] | where random bytes come from, as an argument | |
//! | [`secret`] | bytes that are wiped and never printed | |
//! | [`digest`] | hashes, HMAC and comparison outside the negotiated suite | |
//! | [`prf`] | pseudo-random function and `prf+` | RFC 7296 §2.13 |
//! | [`kex`] | Diffie-Hellman in the seven groups of the API | RFC 3526, 5903, 8031 |
//! | [`suite`] | sizes of the nine ciphers with their integrity | RFC 3602, 4106, 4309, 4868, 7634 |
//! | [`seal`] | protecting one message in place: IKE SK payloads and ESP alike | RFC 5282, 4303 |
//! | [`envelope`] | secrets at rest | RFC 8452 |
//!
//! Failures say which step failed, never why a tag was wrong: a caller that could tell would be an oracle.

pub mod digest;
pub mod entropy;
pub mod envelope;
pub mod kex;
pub mod prf;
pub mod seal;
pub mod secret;
pub mod suite;

pub use digest::{constant_time_eq, hmac_sha256, sha1, sha256};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use envelope::{EnvelopeError, Kek};
pub use kex::{KeyExchange, KeyExchangeError};
pub use prf::Prf;
pub use seal::{OpenError, Opener, SealError, Sealer};
pub use secret::Secret;
pub use suite::{Suite, SuiteError};
