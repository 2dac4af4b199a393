//! Join tokens: what an operator carries from the controller to a new node.

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use causeway_crypto::{Entropy as _, SystemEntropy, sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const PREFIX: &str = "cwjoin-";

/// A join token: the fingerprint of the authority that the node shall trust, and a secret that only this token has.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct JoinToken {
    #[zeroize(skip)]
    fingerprint: [u8; 32],
    secret: [u8; 32],
}

/// A text that is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no join token; copy the whole text that `causeway node token create` printed (it begins with {PREFIX})"
)]
pub struct NoToken;

impl JoinToken {
    /// A new token of the authority with this fingerprint.
    #[must_use]
    pub fn generate(fingerprint: [u8; 32]) -> Self {
        let mut secret = [0; 32];
        SystemEntropy::new().fill(&mut secret);
        let token = Self { fingerprint, secret };
        secret.zeroize();
        token
    }

    /// Its text, to be shown once.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let octets = Zeroizing::new([self.fingerprint, self.secret].concat());
        Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(octets.as_slice())))
    }

    /// What the store keeps. The secret has 256 random bits, so no salt is needed against guessing.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&[b"causeway join token", &self.secret])
    }

    /// The authority that the node shall trust.
    #[must_use]
    pub const fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

impl FromStr for JoinToken {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(NoToken)?;
        let octets = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| NoToken)?);
        let (fingerprint, secret) = octets.split_first_chunk::<32>().ok_or(NoToken)?;
        let secret = <[u8; 32]>::try_from(secret).map_err(|_| NoToken)?;
        Ok(Self { fingerprint: *fingerprint, secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is_one() {
        let token = JoinToken::generate([7; 32]);
        let text = token.text();
        let read: JoinToken = format!(" {}\n", text.as_str()).parse().expect("a token");
        assert_eq!((read.fingerprint(), read.hash()), ([7; 32], token.hash()));
        assert_ne!(JoinToken::generate([7; 32]).hash(), token.hash());
        let cut = text.get(..text.len() - 1).unwrap_or_default().to_owned();
        for other in [String::new(), "cwjoin-".to_owned(), cut, text.to_uppercase(), format!("{}A", text.as_str())] {
            assert!(other.parse::<JoinToken>().is_err(), "{other}");
        }
    }
}
