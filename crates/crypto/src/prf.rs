//! The pseudo-random function of an IKE SA and its expansion (RFC 7296 §2.13).

use aws_lc_rs::hmac;
use causeway_model::suite::Integrity;

use crate::Secret;

/// PRF_HMAC_SHA2_256, 384 or 512 (RFC 4868).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prf(Integrity);

impl Prf {
    /// The PRF with the hash of `integrity`.
    #[must_use]
    pub const fn new(integrity: Integrity) -> Self {
        Self(integrity)
    }

    /// The hash.
    #[must_use]
    pub const fn integrity(self) -> Integrity {
        self.0
    }

    /// Preferred key length in octets: what SK_d, SK_pi and SK_pr take from the key material. Keys of other lengths work too.
    #[must_use]
    pub const fn key_len(self) -> usize {
        self.output_len()
    }

    /// Output length in octets.
    #[must_use]
    pub const fn output_len(self) -> usize {
        match self.0 {
            Integrity::Sha256 => 32,
            Integrity::Sha384 => 48,
            Integrity::Sha512 => 64,
        }
    }

    /// The longest output of [`Self::plus`] in octets: its counter is one octet.
    #[must_use]
    pub const fn max_plus_len(self) -> usize {
        255 * self.output_len()
    }

    /// `prf(key, parts[0] | parts[1] | …)`.
    #[must_use]
    pub fn compute(&self, key: &[u8], parts: &[&[u8]]) -> Secret {
        let mut context = hmac::Context::with_key(&self.key(key));
        for part in parts {
            context.update(part);
        }
        Secret::from(context.sign().as_ref())
    }

    /// `prf+(key, seed)`, the first `len` octets: `T1 = prf(key, S | 0x01)`, `Tn = prf(key, Tn-1 | S | n)`.
    ///
    /// # Panics
    /// If `len` exceeds [`Self::max_plus_len`] (8,160 octets at least). Lengths come from suites, never from a message.
    #[must_use]
    pub fn plus(&self, key: &[u8], seed: &[&[u8]], len: usize) -> Secret {
        assert!(len <= self.max_plus_len(), "prf+ yields at most {} octets", self.max_plus_len());
        let key = self.key(key);
        let mut out = Vec::with_capacity(len);
        let mut last: Option<hmac::Tag> = None;
        for counter in 1..=u8::MAX {
            if out.len() == len {
                break;
            }
            let mut context = hmac::Context::with_key(&key);
            if let Some(tag) = &last {
                context.update(tag.as_ref());
            }
            for part in seed {
                context.update(part);
            }
            context.update(&[counter]);
            let tag = context.sign();
            let missing = len - out.len();
            out.extend(tag.as_ref().iter().take(missing));
            last = Some(tag);
        }
        Secret::new(out)
    }

    fn key(self, bytes: &[u8]) -> hmac::Key {
        hmac::Key::new(algorithm(self.0), bytes)
    }
}

/// The HMAC of an integrity transform.
pub(crate) const fn algorithm(integrity: Integrity) -> hmac::Algorithm {
    match integrity {
        Integrity::Sha256 => hmac::HMAC_SHA256,
        Integrity::Sha384 => hmac::HMAC_SHA384,
        Integrity::Sha512 => hmac::HMAC_SHA512,
    }
}
