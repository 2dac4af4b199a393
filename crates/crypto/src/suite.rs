//! What a negotiated suite needs: key, IV and ICV sizes.

use causeway_model::suite::{Encryption, Integrity};

/// The suite cannot work, or a key does not fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuiteError {
    /// AES-CBC without an integrity transform.
    #[error("{0} needs an integrity algorithm")]
    MissingIntegrity(Encryption),
    /// A key has another length than the suite's.
    #[error("a {kind} key of {actual} octets where {expected} are needed")]
    KeyLength {
        /// `encryption` or `integrity`.
        kind: &'static str,
        /// Octets that the suite takes.
        expected: usize,
        /// Octets that were given.
        actual: usize,
    },
    /// The library refused a key of the right length.
    #[error("the cipher refused the key")]
    Refused,
}

/// An encryption with its integrity. For an AEAD the integrity is ignored: in an IKE proposal it names the PRF's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Suite {
    /// The cipher.
    pub encryption: Encryption,
    /// The integrity algorithm; needed with AES-CBC.
    pub integrity: Option<Integrity>,
}

impl Suite {
    /// A suite.
    #[must_use]
    pub const fn new(encryption: Encryption, integrity: Option<Integrity>) -> Self {
        Self { encryption, integrity }
    }

    /// Whether the cipher authenticates by itself.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        self.encryption.is_aead()
    }

    /// Octets of key material for one direction's encryption, the salt included: 4 for AES-GCM (RFC 4106 §8.1) and
    /// ChaCha20-Poly1305 (RFC 7634 §2), 3 for AES-CCM (RFC 4309 §7.1).
    #[must_use]
    pub const fn encryption_key_len(self) -> usize {
        self.cipher_key_len() + self.salt_len()
    }

    /// Octets of the salt at the end of the encryption key material.
    #[must_use]
    pub const fn salt_len(self) -> usize {
        match self.encryption {
            Encryption::Aes128 | Encryption::Aes192 | Encryption::Aes256 => 0,
            Encryption::Aes128Gcm | Encryption::Aes192Gcm | Encryption::Aes256Gcm | Encryption::ChaCha20Poly1305 => 4,
            Encryption::Aes128Ccm | Encryption::Aes256Ccm => 3,
        }
    }

    /// Octets of key material for one direction's integrity; 0 for an AEAD (RFC 4868 §2.1.1: the hash's length).
    #[must_use]
    pub const fn integrity_key_len(self) -> usize {
        match (self.is_aead(), self.integrity) {
            (true, _) | (false, None) => 0,
            (false, Some(Integrity::Sha256)) => 32,
            (false, Some(Integrity::Sha384)) => 48,
            (false, Some(Integrity::Sha512)) => 64,
        }
    }

    /// Octets of the IV in every message: 8 for AEADs, 16 for AES-CBC.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        if self.is_aead() { 8 } else { 16 }
    }

    /// Octets of the integrity check value: 16 for AEADs, half of the hash otherwise (RFC 4868 §2.3). 0 for AES-CBC without
    /// integrity, which [`crate::Sealer`] and [`crate::Opener`] refuse.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match (self.is_aead(), self.integrity) {
            (true, _) => 16,
            (false, None) => 0,
            (false, Some(Integrity::Sha256)) => 16,
            (false, Some(Integrity::Sha384)) => 24,
            (false, Some(Integrity::Sha512)) => 32,
        }
    }

    /// The plaintext, padding included, must be a multiple of this: 16 for AES-CBC, 1 for AEADs. ESP aligns to 4 by itself.
    #[must_use]
    pub const fn block_len(self) -> usize {
        if self.is_aead() { 1 } else { 16 }
    }

    pub(crate) const fn cipher_key_len(self) -> usize {
        match self.encryption {
            Encryption::Aes128 | Encryption::Aes128Gcm | Encryption::Aes128Ccm => 16,
            Encryption::Aes192 | Encryption::Aes192Gcm => 24,
            Encryption::Aes256 | Encryption::Aes256Gcm | Encryption::Aes256Ccm | Encryption::ChaCha20Poly1305 => 32,
        }
    }

    pub(crate) fn check_keys(self, encryption_key: &[u8], integrity_key: &[u8]) -> Result<(), SuiteError> {
        if !self.is_aead() && self.integrity.is_none() {
            return Err(SuiteError::MissingIntegrity(self.encryption));
        }
        for (kind, expected, actual) in [
            ("encryption", self.encryption_key_len(), encryption_key.len()),
            ("integrity", self.integrity_key_len(), integrity_key.len()),
        ] {
            if expected != actual {
                return Err(SuiteError::KeyLength { kind, expected, actual });
            }
        }
        Ok(())
    }
}
