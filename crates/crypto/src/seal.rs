//! Protecting one message: the encrypted payload of IKE (RFC 7296 §3.14, RFC 5282) and an ESP packet (RFC 4303) differ only in what
//! comes before the IV, which is the caller's `aad`.
//!
//! | suite | nonce or IV | authenticated |
//! |---|---|---|
//! | AES-GCM, ChaCha20-Poly1305 | salt (4) and IV (8) | `aad`, ciphertext |
//! | AES-CCM | salt (3) and IV (8) | `aad`, ciphertext |
//! | AES-CBC with HMAC | IV (16) | `aad`, IV, ciphertext |
//!
//! A sealer never checks that an IV is new: the owner of the message counter does. [`Sealer::derive_iv`] makes the right IV of a
//! counter for every suite.

use std::fmt;

use aes::{Aes128, Aes256};
use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, hmac};
use causeway_model::suite::Encryption;
use ccm::aead::AeadInOut;
use ccm::consts::{U11, U16};
use ccm::{Ccm, KeyInit};
use zeroize::Zeroize;

use crate::prf;
use crate::suite::{Suite, SuiteError};

type Aes128Ccm = Ccm<Aes128, U16, U11>;
type Aes256Ccm = Ccm<Aes256, U16, U11>;

/// A message was not sealed. None of these depends on key or content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The IV has not the suite's length.
    #[error("the IV has not the suite's length")]
    IvLength,
    /// The space for the ICV has not the suite's length, or the output not that of the plaintext.
    #[error("the output has not the right length")]
    OutputLength,
    /// The plaintext is no multiple of the suite's block, or longer than the cipher can take.
    #[error("the plaintext's length does not fit the cipher")]
    PlaintextLength,
}

/// A message was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The IV, the ICV or the ciphertext cannot be the suite's by its length.
    #[error("the message's lengths do not fit the suite")]
    Length,
    /// The integrity check failed.
    #[error("the integrity check failed")]
    Authentication,
}

enum SealKey {
    Aead(LessSafeKey, [u8; 4]),
    Ccm128(Box<Aes128Ccm>, [u8; 3]),
    Ccm256(Box<Aes256Ccm>, [u8; 3]),
    Cbc { cipher: EncryptingKey, iv: EncryptingKey, mac: hmac::Key },
}

enum OpenKey {
    Aead(LessSafeKey, [u8; 4]),
    Ccm128(Box<Aes128Ccm>, [u8; 3]),
    Ccm256(Box<Aes256Ccm>, [u8; 3]),
    Cbc { cipher: DecryptingKey, mac: hmac::Key },
}

/// One direction's keys, for sending. Shared by threads.
pub struct Sealer {
    suite: Suite,
    key: SealKey,
}

/// One direction's keys, for receiving. Shared by threads.
pub struct Opener {
    suite: Suite,
    key: OpenKey,
}

impl Sealer {
    /// `encryption_key` ends with the salt, as it comes from the key material; `integrity_key` is empty for an AEAD.
    ///
    /// # Errors
    /// If a key has not the suite's length or AES-CBC comes without integrity.
    pub fn new(suite: Suite, encryption_key: &[u8], integrity_key: &[u8]) -> Result<Self, SuiteError> {
        suite.check_keys(encryption_key, integrity_key)?;
        let (cipher_key, salt) = encryption_key.split_at(suite.cipher_key_len());
        let key = match suite.encryption {
            Encryption::Aes128Ccm => SealKey::Ccm128(Box::new(ccm_key(cipher_key)?), salt_of(salt)?),
            Encryption::Aes256Ccm => SealKey::Ccm256(Box::new(ccm_key(cipher_key)?), salt_of(salt)?),
            Encryption::Aes128 | Encryption::Aes192 | Encryption::Aes256 => SealKey::Cbc {
                cipher: EncryptingKey::cbc(cbc_key(suite, cipher_key)?).map_err(|_| SuiteError::Refused)?,
                iv: iv_key(cipher_key, integrity_key)?,
                mac: mac_key(suite, integrity_key)?,
            },
            _ => SealKey::Aead(aead_key(suite, cipher_key)?, salt_of(salt)?),
        };
        Ok(Self { suite, key })
    }

    /// The suite.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The IV of message number `counter`, into `out`. AEADs need it unique: it is the counter. AES-CBC needs it unpredictable
    /// (RFC 3602 §2.1): it is the counter encrypted under a key of its own, which is derived from the direction's keys
    /// (NIST SP 800-38A, appendix C).
    ///
    /// # Errors
    /// If `out` has not the suite's IV length.
    pub fn derive_iv(&self, counter: u64, out: &mut [u8]) -> Result<(), SealError> {
        if out.len() != self.suite.iv_len() {
            return Err(SealError::IvLength);
        }
        let (head, tail) = out.split_at_mut(out.len() - 8);
        head.fill(0);
        tail.copy_from_slice(&counter.to_be_bytes());
        if let SealKey::Cbc { iv, .. } = &self.key {
            iv.less_safe_encrypt(out, EncryptionContext::None).map_err(|_| SealError::IvLength)?;
        }
        Ok(())
    }

    /// Encrypts `data` where it is and writes the ICV. `aad` is what comes before the IV in the message.
    ///
    /// # Errors
    /// If a length does not fit the suite.
    pub fn seal_in_place(&self, aad: &[u8], iv: &[u8], data: &mut [u8], icv_out: &mut [u8]) -> Result<(), SealError> {
        if icv_out.len() != self.suite.icv_len() {
            return Err(SealError::OutputLength);
        }
        match &self.key {
            SealKey::Aead(key, salt) => {
                let nonce = Nonce::assume_unique_for_key(nonce(salt, iv).ok_or(SealError::IvLength)?);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), data)
                    .map_err(|_| SealError::PlaintextLength)?;
                icv_out.copy_from_slice(tag.as_ref());
            }
            SealKey::Ccm128(key, salt) => ccm_seal(&**key, salt, aad, iv, data, icv_out)?,
            SealKey::Ccm256(key, salt) => ccm_seal(&**key, salt, aad, iv, data, icv_out)?,
            SealKey::Cbc { cipher, mac, .. } => {
                let first = <[u8; 16]>::try_from(iv).map_err(|_| SealError::IvLength)?;
                cipher
                    .less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(first)))
                    .map_err(|_| SealError::PlaintextLength)?;
                let tag = mac_of(mac, aad, iv, data);
                let truncated = tag.as_ref().get(..icv_out.len()).ok_or(SealError::OutputLength)?;
                icv_out.copy_from_slice(truncated);
            }
        }
        Ok(())
    }

    /// Encrypts `plaintext` followed by `trailer` into `out`, which takes both and the ICV: one pass without a copy for AES-GCM and
    /// ChaCha20-Poly1305.
    ///
    /// # Errors
    /// If a length does not fit the suite.
    pub fn seal_into(
        &self,
        aad: &[u8],
        iv: &[u8],
        plaintext: &[u8],
        trailer: &[u8],
        out: &mut [u8],
    ) -> Result<(), SealError> {
        let text_len = plaintext.len() + trailer.len();
        if out.len() != text_len + self.suite.icv_len() {
            return Err(SealError::OutputLength);
        }
        if let SealKey::Aead(key, salt) = &self.key {
            let nonce = Nonce::assume_unique_for_key(nonce(salt, iv).ok_or(SealError::IvLength)?);
            let (body, tail) = out.split_at_mut(plaintext.len());
            return key
                .seal_out_of_place_scatter(nonce, Aad::from(aad), plaintext, body, trailer, tail)
                .map_err(|_| SealError::PlaintextLength);
        }
        let (text, icv) = out.split_at_mut(text_len);
        let (head, tail) = text.split_at_mut(plaintext.len());
        head.copy_from_slice(plaintext);
        tail.copy_from_slice(trailer);
        self.seal_in_place(aad, iv, text, icv)
    }
}

impl Opener {
    /// As [`Sealer::new`].
    ///
    /// # Errors
    /// As [`Sealer::new`].
    pub fn new(suite: Suite, encryption_key: &[u8], integrity_key: &[u8]) -> Result<Self, SuiteError> {
        suite.check_keys(encryption_key, integrity_key)?;
        let (cipher_key, salt) = encryption_key.split_at(suite.cipher_key_len());
        let key = match suite.encryption {
            Encryption::Aes128Ccm => OpenKey::Ccm128(Box::new(ccm_key(cipher_key)?), salt_of(salt)?),
            Encryption::Aes256Ccm => OpenKey::Ccm256(Box::new(ccm_key(cipher_key)?), salt_of(salt)?),
            Encryption::Aes128 | Encryption::Aes192 | Encryption::Aes256 => OpenKey::Cbc {
                cipher: DecryptingKey::cbc(cbc_key(suite, cipher_key)?).map_err(|_| SuiteError::Refused)?,
                mac: mac_key(suite, integrity_key)?,
            },
            _ => OpenKey::Aead(aead_key(suite, cipher_key)?, salt_of(salt)?),
        };
        Ok(Self { suite, key })
    }

    /// The suite.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Verifies `aad`, `iv` and `data` against `icv`, then decrypts `data` where it is. After an error `data` holds nothing of use.
    ///
    /// # Errors
    /// If a length does not fit the suite or the ICV is wrong.
    pub fn open_in_place(&self, aad: &[u8], iv: &[u8], data: &mut [u8], icv: &[u8]) -> Result<(), OpenError> {
        if icv.len() != self.suite.icv_len() || !data.len().is_multiple_of(self.suite.block_len()) {
            return Err(OpenError::Length);
        }
        match &self.key {
            OpenKey::Aead(key, salt) => {
                let nonce = Nonce::assume_unique_for_key(nonce(salt, iv).ok_or(OpenError::Length)?);
                key.open_in_place_separate_tag(nonce, Aad::from(aad), icv, data)
                    .map_err(|_| OpenError::Authentication)?;
            }
            OpenKey::Ccm128(key, salt) => ccm_open(&**key, salt, aad, iv, data, icv)?,
            OpenKey::Ccm256(key, salt) => ccm_open(&**key, salt, aad, iv, data, icv)?,
            OpenKey::Cbc { cipher, mac } => {
                let first = <[u8; 16]>::try_from(iv).map_err(|_| OpenError::Length)?;
                let tag = mac_of(mac, aad, iv, data);
                let truncated = tag.as_ref().get(..icv.len()).ok_or(OpenError::Length)?;
                constant_time::verify_slices_are_equal(truncated, icv).map_err(|_| OpenError::Authentication)?;
                cipher
                    .decrypt(data, DecryptionContext::Iv128(FixedLength::from(first)))
                    .map_err(|_| OpenError::Length)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("suite", &self.suite).finish_non_exhaustive()
    }
}

/// `salt | iv`, or nothing if the IV's length is wrong.
fn nonce<const SALT: usize, const NONCE: usize>(salt: &[u8; SALT], iv: &[u8]) -> Option<[u8; NONCE]> {
    let mut nonce = [0; NONCE];
    if iv.len() + SALT != NONCE {
        return None;
    }
    let (head, tail) = nonce.split_at_mut(SALT);
    head.copy_from_slice(salt);
    tail.copy_from_slice(iv);
    Some(nonce)
}

fn salt_of<const N: usize>(salt: &[u8]) -> Result<[u8; N], SuiteError> {
    salt.try_into().map_err(|_| SuiteError::Refused)
}

fn aead_key(suite: Suite, key: &[u8]) -> Result<LessSafeKey, SuiteError> {
    let algorithm = match suite.encryption {
        Encryption::Aes128Gcm => &aead::AES_128_GCM,
        Encryption::Aes192Gcm => &aead::AES_192_GCM,
        Encryption::Aes256Gcm => &aead::AES_256_GCM,
        Encryption::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        _ => return Err(SuiteError::Refused),
    };
    UnboundKey::new(algorithm, key).map(LessSafeKey::new).map_err(|_| SuiteError::Refused)
}

fn cbc_key(suite: Suite, key: &[u8]) -> Result<UnboundCipherKey, SuiteError> {
    let algorithm = match suite.cipher_key_len() {
        16 => &cipher::AES_128,
        24 => &cipher::AES_192,
        _ => &cipher::AES_256,
    };
    UnboundCipherKey::new(algorithm, key).map_err(|_| SuiteError::Refused)
}

fn iv_key(encryption_key: &[u8], integrity_key: &[u8]) -> Result<EncryptingKey, SuiteError> {
    let mut derived = crate::hmac_sha256(integrity_key, &[b"causeway cbc iv", encryption_key]);
    let key = UnboundCipherKey::new(&cipher::AES_256, &derived).and_then(EncryptingKey::ecb);
    derived.zeroize();
    key.map_err(|_| SuiteError::Refused)
}

fn mac_key(suite: Suite, key: &[u8]) -> Result<hmac::Key, SuiteError> {
    let integrity = suite.integrity.ok_or(SuiteError::MissingIntegrity(suite.encryption))?;
    Ok(hmac::Key::new(prf::algorithm(integrity), key))
}

fn mac_of(key: &hmac::Key, aad: &[u8], iv: &[u8], ciphertext: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(aad);
    context.update(iv);
    context.update(ciphertext);
    context.sign()
}

fn ccm_key<C: KeyInit>(key: &[u8]) -> Result<C, SuiteError> {
    C::new_from_slice(key).map_err(|_| SuiteError::Refused)
}

fn ccm_seal<C>(
    key: &C,
    salt: &[u8; 3],
    aad: &[u8],
    iv: &[u8],
    data: &mut [u8],
    icv_out: &mut [u8],
) -> Result<(), SealError>
where
    C: AeadInOut<NonceSize = U11, TagSize = U16>,
{
    let nonce: [u8; 11] = nonce(salt, iv).ok_or(SealError::IvLength)?;
    let tag = key.encrypt_inout_detached(&nonce.into(), aad, data.into()).map_err(|_| SealError::PlaintextLength)?;
    icv_out.copy_from_slice(&tag);
    Ok(())
}

fn ccm_open<C>(key: &C, salt: &[u8; 3], aad: &[u8], iv: &[u8], data: &mut [u8], icv: &[u8]) -> Result<(), OpenError>
where
    C: AeadInOut<NonceSize = U11, TagSize = U16>,
{
    let nonce: [u8; 11] = nonce(salt, iv).ok_or(OpenError::Length)?;
    let tag = <[u8; 16]>::try_from(icv).map_err(|_| OpenError::Length)?;
    key.decrypt_inout_detached(&nonce.into(), aad, data.into(), &tag.into()).map_err(|_| OpenError::Authentication)
}
