//! Security proposals: the API's enumerations (wire-api.md §3.3) and the platform's default.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value, in the API's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The API's word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text { $($word => Ok(Self::$variant),)+ _ => Err(UnknownWord) }
            }
        }
    };
}

/// The text is none of the enumeration's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known value")]
pub struct UnknownWord;

word_enum! {
    /// Encryption of an IKE SA or Child SA. AEADs have a 16-octet ICV.
    Encryption {
        /// AES-CBC, 128-bit key.
        Aes128 = "aes128",
        /// AES-CBC, 192-bit key.
        Aes192 = "aes192",
        /// AES-CBC, 256-bit key.
        Aes256 = "aes256",
        /// AES-GCM-16, 128-bit key.
        Aes128Gcm = "aes128gcm",
        /// AES-GCM-16, 192-bit key.
        Aes192Gcm = "aes192gcm",
        /// AES-GCM-16, 256-bit key.
        Aes256Gcm = "aes256gcm",
        /// AES-CCM-16, 128-bit key.
        Aes128Ccm = "aes128ccm",
        /// AES-CCM-16, 256-bit key.
        Aes256Ccm = "aes256ccm",
        /// ChaCha20-Poly1305 (RFC 7634).
        ChaCha20Poly1305 = "chacha20poly1305",
    }
}

impl Encryption {
    /// Whether the cipher authenticates by itself, so that no integrity transform goes with it.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        !matches!(self, Self::Aes128 | Self::Aes192 | Self::Aes256)
    }
}

word_enum! {
    /// Integrity (with AES-CBC) or, beside an AEAD in an IKE proposal, the PRF's hash.
    Integrity {
        /// HMAC-SHA2-256-128.
        Sha256 = "sha256",
        /// HMAC-SHA2-384-192.
        Sha384 = "sha384",
        /// HMAC-SHA2-512-256.
        Sha512 = "sha512",
    }
}

word_enum! {
    /// Diffie-Hellman group.
    DhGroup {
        /// Group 14.
        Modp2048 = "modp2048",
        /// Group 15.
        Modp3072 = "modp3072",
        /// Group 16.
        Modp4096 = "modp4096",
        /// Group 19.
        Ecp256 = "ecp256",
        /// Group 20.
        Ecp384 = "ecp384",
        /// Group 21.
        Ecp521 = "ecp521",
        /// Group 31.
        Curve25519 = "curve25519",
    }
}

impl DhGroup {
    /// The IANA transform id (RFC 7296 §3.3.2, RFC 8031).
    #[must_use]
    pub const fn iana(self) -> u16 {
        match self {
            Self::Modp2048 => 14,
            Self::Modp3072 => 15,
            Self::Modp4096 => 16,
            Self::Ecp256 => 19,
            Self::Ecp384 => 20,
            Self::Ecp521 => 21,
            Self::Curve25519 => 31,
        }
    }

    /// The inverse of [`Self::iana`].
    #[must_use]
    pub fn from_iana(id: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|group| group.iana() == id)
    }
}

/// One entry of a proposal list as the tenant wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cipher {
    /// The cipher.
    pub encryption: Encryption,
    /// Integrity or PRF hash; `None` = all of SHA-256/384/512 offered (system.md §5). Meaningless for an AEAD Child SA.
    pub integrity: Option<Integrity>,
    /// Key exchange; for a Child SA the group of its PFS. `None`: curve25519 for IKE, no PFS for a Child SA.
    pub dh_group: Option<DhGroup>,
}

impl Cipher {
    /// What an empty `ikev2_ciphers` list means (system.md §5).
    pub const DEFAULT_IKE: Self = Self {
        encryption: Encryption::Aes256Gcm,
        integrity: Some(Integrity::Sha384),
        dh_group: Some(DhGroup::Curve25519),
    };
    /// What an empty `esp_ciphers` list means (system.md §5).
    pub const DEFAULT_ESP: Self =
        Self { encryption: Encryption::Aes256Gcm, integrity: None, dh_group: Some(DhGroup::Curve25519) };
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        if let Some(group) = self.dh_group {
            write!(f, "-{group}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for group in DhGroup::ALL {
            assert_eq!(group.as_str().parse(), Ok(*group));
            assert_eq!(DhGroup::from_iana(group.iana()), Some(*group));
        }
        assert_eq!("aes192ccm".parse::<Encryption>(), Err(UnknownWord));
        assert_eq!(Cipher::DEFAULT_IKE.to_string(), "aes256gcm-sha384-curve25519");
    }
}
