//! Elliptic curves: ECP groups as RFC 5903 puts them on the wire, and curve25519.

use aws_lc_rs::agreement::{self, Algorithm, PrivateKey, UnparsedPublicKey};
use causeway_model::suite::DhGroup;
use zeroize::Zeroizing;

use super::KeyExchangeError;
use crate::{Entropy, Secret};

/// The encoding of an uncompressed point begins with this (SEC 1 §2.3.3); IKE leaves it out.
const UNCOMPRESSED: u8 = 4;

/// A draw is refused if it is not below the curve's order: at worst one in two (P-521), so that only a broken source fails so often.
const DRAWS: usize = 128;

pub(super) struct Private(PrivateKey);

pub(super) fn generate(group: DhGroup, entropy: &mut dyn Entropy) -> Result<(Private, Vec<u8>), KeyExchangeError> {
    let (algorithm, len, first_octet_mask) = match group {
        DhGroup::Ecp256 => (&agreement::ECDH_P256, 32, 0xff),
        DhGroup::Ecp384 => (&agreement::ECDH_P384, 48, 0xff),
        // 521 bits in 66 octets: one bit of the first.
        DhGroup::Ecp521 => (&agreement::ECDH_P521, 66, 0x01),
        _ => (&agreement::X25519, 32, 0xff),
    };
    let mut scalar = Zeroizing::new(vec![0; len]);
    for _ in 0..DRAWS {
        entropy.fill(&mut scalar);
        if let Some(first) = scalar.first_mut() {
            *first &= first_octet_mask;
        }
        if let Some(pair) = from_scalar(algorithm, &scalar) {
            return Ok(pair);
        }
    }
    Err(KeyExchangeError::Entropy(group))
}

/// The key pair with the private value `scalar`, unless that is out of range.
pub(super) fn from_scalar(algorithm: &'static Algorithm, scalar: &[u8]) -> Option<(Private, Vec<u8>)> {
    let private = PrivateKey::from_private_key(algorithm, scalar).ok()?;
    let public = private.compute_public_key().ok()?;
    let octets = public.as_ref();
    let wire = if *algorithm == agreement::X25519 { octets } else { octets.strip_prefix(&[UNCOMPRESSED])? };
    Some((Private(private), wire.to_vec()))
}

impl Private {
    /// `peer` has the group's length already. The library refuses points off the curve and the all-zero secret of small orders
    /// (RFC 7748 §6.1); the second is checked again, since RFC 8031 §5 rests on it.
    pub(super) fn agree(&self, group: DhGroup, peer: &[u8]) -> Option<Secret> {
        let point = match group {
            DhGroup::Curve25519 => peer.to_vec(),
            _ => [&[UNCOMPRESSED], peer].concat(),
        };
        let peer = UnparsedPublicKey::new(self.0.algorithm(), point);
        agreement::agree(&self.0, peer, (), |secret| Ok(Secret::from(secret)))
            .ok()
            .filter(|secret| secret.slice().iter().any(|octet| *octet != 0))
    }
}
