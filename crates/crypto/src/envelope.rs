//! Secrets at rest: every record has a data key of its own, which the key-encryption key (KEK) wraps.
//!
//! ```text
//! octets   1        4        12        48          12        n + 16
//!        version | kek id | nonce | wrapped key | nonce | ciphertext
//! ```
//!
//! Both layers are AES-256-GCM-SIV (RFC 8452), which survives a repeated nonce. The *context* says what the record is
//! (`secret_version|data|<id>`) and is authenticated, not stored: a row's bytes are useless in another row. Rotating the KEK
//! rewraps the data keys ([`Kek::rewrap`]) and leaves the ciphertexts alone.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Entropy, Secret, SystemEntropy, sha256};

const VERSION: u8 = 1;
const KEK_ID_LEN: usize = 4;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const KEY_LEN: usize = 32;
const WRAPPED_LEN: usize = NONCE_LEN + KEY_LEN + TAG_LEN;

/// A record was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Too short, or of a version that is not known.
    #[error("the record is not an envelope of version {VERSION}")]
    Format,
    /// Wrapped by another key.
    #[error("the record is wrapped by the key {0:08x}, not by this one")]
    OtherKey(u32),
    /// Changed, or of another context.
    #[error("the record's integrity check failed")]
    Authentication,
}

/// A key-encryption key: wiped on drop; `Debug` shows its id only.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Kek([u8; KEY_LEN]);

impl Kek {
    /// A key that was made before.
    #[must_use]
    pub const fn new(key: [u8; KEY_LEN]) -> Self {
        Self(key)
    }

    /// A new key.
    #[must_use]
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        let mut key = [0; KEY_LEN];
        entropy.fill(&mut key);
        let kek = Self(key);
        key.zeroize();
        kek
    }

    /// The key's octets, to write its file. Never log them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Which key this is; public.
    #[must_use]
    pub fn id(&self) -> u32 {
        let [a, b, c, d, ..] = sha256(&[b"causeway kek id", &self.0]);
        u32::from_be_bytes([a, b, c, d])
    }

    /// What every envelope that this key wraps begins with; public.
    #[must_use]
    pub fn mark(&self) -> [u8; 1 + KEK_ID_LEN] {
        let [a, b, c, d] = self.id().to_be_bytes();
        [VERSION, a, b, c, d]
    }

    /// The envelope of `plaintext`, which [`Self::open`] opens with the same `context` only.
    ///
    /// # Panics
    /// If `plaintext` has more than 64 GiB.
    #[must_use]
    pub fn seal(&self, context: &str, plaintext: &[u8]) -> Vec<u8> {
        let mut entropy = SystemEntropy::new();
        let mut data_key = Zeroizing::new([0; KEY_LEN]);
        entropy.fill(data_key.as_mut());
        let mut out = self.wrap(context, &data_key, &mut entropy);
        out.reserve(NONCE_LEN + plaintext.len() + TAG_LEN);
        encrypt(&data_key, &record_aad(context), plaintext, &mut entropy, &mut out);
        out
    }

    /// The plaintext of an envelope.
    ///
    /// # Errors
    /// If it is none, is wrapped by another key, was changed, or belongs to another context.
    pub fn open(&self, context: &str, envelope: &[u8]) -> Result<Secret, EnvelopeError> {
        let (data_key, record) = self.unwrap(context, envelope)?;
        decrypt(&data_key, &record_aad(context), record)
    }

    /// The same envelope wrapped by `new`: the ciphertext stays as it is.
    ///
    /// # Errors
    /// As [`Self::open`], except that the ciphertext is not looked at.
    pub fn rewrap(&self, new: &Self, context: &str, envelope: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let (data_key, record) = self.unwrap(context, envelope)?;
        let mut out = new.wrap(context, &data_key, &mut SystemEntropy::new());
        out.extend_from_slice(record);
        Ok(out)
    }

    /// The id of the key that an envelope is wrapped by.
    ///
    /// # Errors
    /// If it is no envelope.
    pub fn id_of(envelope: &[u8]) -> Result<u32, EnvelopeError> {
        let (version, rest) = envelope.split_first().ok_or(EnvelopeError::Format)?;
        let (id, _) = rest.split_first_chunk::<KEK_ID_LEN>().ok_or(EnvelopeError::Format)?;
        if *version != VERSION { Err(EnvelopeError::Format) } else { Ok(u32::from_be_bytes(*id)) }
    }

    fn wrap(&self, context: &str, data_key: &[u8; KEY_LEN], entropy: &mut dyn Entropy) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + KEK_ID_LEN + WRAPPED_LEN);
        out.extend_from_slice(&self.mark());
        encrypt(&self.0, &self.key_aad(context), data_key, entropy, &mut out);
        out
    }

    fn unwrap<'a>(
        &self,
        context: &str,
        envelope: &'a [u8],
    ) -> Result<(Zeroizing<[u8; KEY_LEN]>, &'a [u8]), EnvelopeError> {
        let id = Self::id_of(envelope)?;
        if id != self.id() {
            return Err(EnvelopeError::OtherKey(id));
        }
        let body = envelope.get(1 + KEK_ID_LEN..).ok_or(EnvelopeError::Format)?;
        let (wrapped, record) = body.split_at_checked(WRAPPED_LEN).ok_or(EnvelopeError::Format)?;
        let key = decrypt(&self.0, &self.key_aad(context), wrapped)?;
        let mut data_key = Zeroizing::new([0; KEY_LEN]);
        data_key.copy_from_slice(key.slice().get(..KEY_LEN).ok_or(EnvelopeError::Format)?);
        Ok((data_key, record))
    }

    fn key_aad(&self, context: &str) -> Vec<u8> {
        [&[VERSION][..], &self.id().to_be_bytes(), b"key|", context.as_bytes()].concat()
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kek({:08x})", self.id())
    }
}

/// Without the KEK's id, so that a rewrapped record still opens.
fn record_aad(context: &str) -> Vec<u8> {
    [&[VERSION][..], b"data|", context.as_bytes()].concat()
}

/// Appends `nonce | ciphertext | tag`.
fn encrypt(key: &[u8; KEY_LEN], aad: &[u8], plaintext: &[u8], entropy: &mut dyn Entropy, out: &mut Vec<u8>) {
    let mut nonce = [0; NONCE_LEN];
    entropy.fill(&mut nonce);
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(plaintext);
    let tag = aead(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut out[start..])
        .expect("records have less than 64 GiB");
    out.extend_from_slice(tag.as_ref());
}

fn decrypt(key: &[u8; KEY_LEN], aad: &[u8], sealed: &[u8]) -> Result<Secret, EnvelopeError> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(EnvelopeError::Format)?;
    let (ciphertext, tag) = text.split_last_chunk::<TAG_LEN>().ok_or(EnvelopeError::Format)?;
    let mut plaintext = ciphertext.to_vec();
    aead(key)
        .open_in_place_separate_tag(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), tag, &mut plaintext)
        .map_err(|_| EnvelopeError::Authentication)?;
    Ok(Secret::new(plaintext))
}

fn aead(key: &[u8; KEY_LEN]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key).expect("AES-256-GCM-SIV takes 32 octets"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededEntropy;

    fn kek(seed: u64) -> Kek {
        Kek::generate(&mut SeededEntropy::new(seed))
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let kek = kek(1);
        let envelope = kek.seal("secret_version|data|1", b"a pre-shared key");
        assert_eq!(format!("{kek:?}"), format!("Kek({:08x})", kek.id()));
        assert_eq!(envelope.len(), 1 + 4 + 60 + 12 + 16 + 16);
        assert_eq!(kek.open("secret_version|data|1", &envelope).expect("opens").slice(), b"a pre-shared key");
        assert_eq!(kek.open("secret_version|data|2", &envelope).err(), Some(EnvelopeError::Authentication));
        for at in 0..envelope.len() {
            let mut changed = envelope.clone();
            changed[at] ^= 1;
            assert!(kek.open("secret_version|data|1", &changed).is_err(), "octet {at}");
            assert!(kek.open("secret_version|data|1", &envelope[..at]).is_err(), "cut to {at}");
        }
    }

    #[test]
    fn two_envelopes_of_one_text_share_nothing() {
        let kek = kek(1);
        let (a, b) = (kek.seal("c", &[0; 64]), kek.seal("c", &[0; 64]));
        assert_eq!(a[..5], b[..5]);
        assert_ne!(a[5..65], b[5..65]);
        assert_ne!(a[77..], b[77..]);
        assert!(kek.open("c", &kek.seal("c", b"")).expect("opens").is_empty());
    }

    #[test]
    fn rotation_rewraps_the_key_only() {
        let (old, new) = (kek(1), kek(2));
        let envelope = old.seal("c", b"text");
        let rewrapped = old.rewrap(&new, "c", &envelope).expect("rewraps");
        assert_eq!(envelope[65..], rewrapped[65..]);
        assert_eq!(new.open("c", &rewrapped).expect("opens").slice(), b"text");
        assert_eq!(old.open("c", &rewrapped).err(), Some(EnvelopeError::OtherKey(new.id())));
        assert_eq!(Kek::id_of(&rewrapped), Ok(new.id()));
        assert!(old.rewrap(&new, "d", &envelope).is_err());
    }
}
