//! Diffie-Hellman key exchange in the forms that the IKE KE payload carries (RFC 7296 §3.4).
//!
//! | group | public value | shared secret |
//! |---|---|---|
//! | modp2048, 3072, 4096 (RFC 3526) | the number, as long as the prime | the number, as long as the prime |
//! | ecp256, 384, 521 (RFC 5903) | `x | y` | `x` |
//! | curve25519 (RFC 8031) | `u` | `u` |
//!
//! A key pair is used once: [`KeyExchange::agree`] consumes it.

mod curve;
mod modp;

use std::fmt;

use causeway_model::suite::DhGroup;

use crate::{Entropy, Secret};

/// A key exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyExchangeError {
    /// The peer's public value has not the group's length.
    #[error("a public value of {actual} octets where {group} has {expected}")]
    Length {
        /// The group.
        group: DhGroup,
        /// Octets of the group's public values.
        expected: usize,
        /// Octets received.
        actual: usize,
    },
    /// The peer's public value is none of the group: out of range, not on the curve, or of small order.
    #[error("the public value is not valid in {0}")]
    InvalidPublicValue(DhGroup),
    /// No private key came of the entropy, which only a broken source does.
    #[error("no private key for {0} from this entropy")]
    Entropy(DhGroup),
}

enum Private {
    Modp(modp::Private),
    Curve(curve::Private),
}

/// Our half of an exchange: a private key and its public value.
pub struct KeyExchange {
    group: DhGroup,
    private: Private,
    public: Vec<u8>,
}

impl KeyExchange {
    /// A fresh key pair.
    ///
    /// # Errors
    /// If the entropy is broken.
    pub fn generate(group: DhGroup, entropy: &mut dyn Entropy) -> Result<Self, KeyExchangeError> {
        let (private, public) = match group {
            DhGroup::Modp2048 | DhGroup::Modp3072 | DhGroup::Modp4096 => {
                let (private, public) = modp::generate(group, entropy);
                (Private::Modp(private), public)
            }
            DhGroup::Ecp256 | DhGroup::Ecp384 | DhGroup::Ecp521 | DhGroup::Curve25519 => {
                let (private, public) = curve::generate(group, entropy)?;
                (Private::Curve(private), public)
            }
        };
        Ok(Self { group, private, public })
    }

    /// The group.
    #[must_use]
    pub const fn group(&self) -> DhGroup {
        self.group
    }

    /// Our public value as the KE payload carries it.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Octets of a public value of `group` in the KE payload.
    #[must_use]
    pub const fn public_len(group: DhGroup) -> usize {
        match group {
            DhGroup::Modp2048 => 256,
            DhGroup::Modp3072 => 384,
            DhGroup::Modp4096 => 512,
            DhGroup::Ecp256 => 64,
            DhGroup::Ecp384 => 96,
            DhGroup::Ecp521 => 132,
            DhGroup::Curve25519 => 32,
        }
    }

    /// The shared secret with the peer whose public value is `peer`.
    ///
    /// # Errors
    /// If `peer` is none of the group's public values.
    pub fn agree(self, peer: &[u8]) -> Result<Secret, KeyExchangeError> {
        let expected = Self::public_len(self.group);
        if peer.len() != expected {
            return Err(KeyExchangeError::Length { group: self.group, expected, actual: peer.len() });
        }
        match &self.private {
            Private::Modp(private) => private.agree(peer),
            Private::Curve(private) => private.agree(self.group, peer),
        }
        .ok_or(KeyExchangeError::InvalidPublicValue(self.group))
    }
}

impl fmt::Debug for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyExchange").field("group", &self.group).finish_non_exhaustive()
    }
}
