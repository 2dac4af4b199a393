//! A Child SA's suite, its keys, and the sizes that follow.

use std::fmt;

use causeway_crypto::{Secret, Suite};
use causeway_model::Family;
use causeway_model::suite::{Encryption, Integrity};

use crate::{HEADER_LEN, TRAILER_LEN};

/// The negotiated transforms of a Child SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EspSuite {
    /// The cipher.
    pub encryption: Encryption,
    /// The integrity algorithm; needed with AES-CBC, ignored with an AEAD.
    pub integrity: Option<Integrity>,
}

impl EspSuite {
    /// A suite.
    #[must_use]
    pub const fn new(encryption: Encryption, integrity: Option<Integrity>) -> Self {
        Self { encryption, integrity }
    }

    /// The sizes of its parts.
    #[must_use]
    pub const fn crypto(self) -> Suite {
        Suite::new(self.encryption, self.integrity)
    }

    /// Octets of KEYMAT for both directions (RFC 7296 §2.17): what [`EspKeys::split`] takes.
    #[must_use]
    pub const fn keymat_len(self) -> usize {
        2 * self.direction_len()
    }

    /// Octets of the ESP packet, from the SPI to the ICV, around an inner packet of `inner_len` octets.
    #[must_use]
    pub const fn sealed_len(self, inner_len: usize) -> usize {
        let suite = self.crypto();
        HEADER_LEN + suite.iv_len() + inner_len + self.padding_len(inner_len) + TRAILER_LEN + suite.icv_len()
    }

    /// Octets of padding after an inner packet of `inner_len` octets: the trailer ends on a multiple of 4 and of the cipher's
    /// block (RFC 4303 §2.4).
    pub(crate) const fn padding_len(self, inner_len: usize) -> usize {
        let align = self.align();
        (align - (inner_len + TRAILER_LEN) % align) % align
    }

    const fn align(self) -> usize {
        let block = self.crypto().block_len();
        if block < 4 { 4 } else { block }
    }

    const fn direction_len(self) -> usize {
        self.crypto().encryption_key_len() + self.crypto().integrity_key_len()
    }
}

impl From<Suite> for EspSuite {
    fn from(suite: Suite) -> Self {
        Self::new(suite.encryption, suite.integrity)
    }
}

/// The largest inner packet, in octets, whose ESP packet fits an outer MTU of `outer_mtu` octets, exactly: the outer IP header
/// without options or extension headers, UDP encapsulation (RFC 3948), IV, padding to the cipher's block, trailer, ICV.
/// 0 if nothing fits.
#[must_use]
pub const fn inner_mtu(outer_mtu: u32, outer: Family, udp_encapsulated: bool, suite: EspSuite) -> u32 {
    let crypto = suite.crypto();
    let fixed = outer_header_len(outer, udp_encapsulated) + HEADER_LEN + crypto.iv_len() + crypto.icv_len();
    let space = (outer_mtu as usize).saturating_sub(fixed);
    let inner = (space - space % suite.align()).saturating_sub(TRAILER_LEN);
    if inner > MAX_INNER { MAX_INNER as u32 } else { inner as u32 }
}

/// Octets of the outer IP packet around an inner packet of `inner_len` octets. See [`inner_mtu`] for what is counted.
#[must_use]
pub const fn outer_len(inner_len: usize, outer: Family, udp_encapsulated: bool, suite: EspSuite) -> usize {
    outer_header_len(outer, udp_encapsulated) + suite.sealed_len(inner_len)
}

/// An IP packet's own length has 16 bits; ours are below even for IPv6, where they count without the header.
const MAX_INNER: usize = 65_535;

const fn outer_header_len(outer: Family, udp_encapsulated: bool) -> usize {
    let ip = match outer {
        Family::Ipv4 => 20,
        Family::Ipv6 => 40,
    };
    if udp_encapsulated { ip + 8 } else { ip }
}

/// The key material cannot be the suite's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key material of {actual} octets where the suite takes {expected}")]
pub struct KeysError {
    /// [`EspSuite::keymat_len`].
    pub expected: usize,
    /// What was given.
    pub actual: usize,
}

/// The keys of one direction: wiped on drop, hidden from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct EspKeys {
    /// With the salt at its end.
    encryption: Secret,
    /// Empty for an AEAD.
    integrity: Secret,
}

impl EspKeys {
    /// The keys of both directions, in the order of RFC 7296 §2.17: first those of packets **from the initiator** of the exchange
    /// that made this Child SA to its responder, then those of the other direction; in each, encryption before integrity.
    ///
    /// # Errors
    /// If `keymat` has not exactly [`EspSuite::keymat_len`] octets.
    pub fn split(suite: EspSuite, keymat: &[u8]) -> Result<(Self, Self), KeysError> {
        let wrong = KeysError { expected: suite.keymat_len(), actual: keymat.len() };
        if wrong.expected != wrong.actual {
            return Err(wrong);
        }
        let (from_initiator, from_responder) = keymat.split_at_checked(suite.direction_len()).ok_or(wrong)?;
        let direction = |part: &[u8]| {
            let (encryption, integrity) = part.split_at_checked(suite.crypto().encryption_key_len())?;
            Some(Self { encryption: Secret::from(encryption), integrity: Secret::from(integrity) })
        };
        direction(from_initiator).zip(direction(from_responder)).ok_or(wrong)
    }

    /// Keys from elsewhere than an exchange: `encryption` ends with the salt, `integrity` is empty for an AEAD.
    #[must_use]
    pub const fn new(encryption: Secret, integrity: Secret) -> Self {
        Self { encryption, integrity }
    }

    pub(crate) const fn encryption(&self) -> &[u8] {
        self.encryption.slice()
    }

    pub(crate) const fn integrity(&self) -> &[u8] {
        self.integrity.slice()
    }
}

impl fmt::Debug for EspKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EspKeys(<hidden>)")
    }
}
