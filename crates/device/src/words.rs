//! The API's words for proposals in strongSwan's spelling (its `proposals` and `esp_proposals` keywords).

use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};

/// strongSwan's keyword; its AEADs carry the length of the ICV in octets.
const fn encryption(cipher: Encryption) -> &'static str {
    match cipher {
        Encryption::Aes128 => "aes128",
        Encryption::Aes192 => "aes192",
        Encryption::Aes256 => "aes256",
        Encryption::Aes128Gcm => "aes128gcm16",
        Encryption::Aes192Gcm => "aes192gcm16",
        Encryption::Aes256Gcm => "aes256gcm16",
        Encryption::Aes128Ccm => "aes128ccm16",
        Encryption::Aes256Ccm => "aes256ccm16",
        Encryption::ChaCha20Poly1305 => "chacha20poly1305",
    }
}

fn hashes(integrity: Option<Integrity>) -> Vec<Integrity> {
    integrity.map_or_else(|| Integrity::ALL.to_vec(), |one| vec![one])
}

/// One IKE proposal. An AEAD names its PRF, a CBC cipher gets its PRF from the integrity algorithm.
pub(crate) fn ike_proposal(cipher: Cipher) -> String {
    let prefix = if cipher.encryption.is_aead() { "prf" } else { "" };
    let mut words = vec![encryption(cipher.encryption).to_owned()];
    words.extend(hashes(cipher.integrity).into_iter().map(|hash| format!("{prefix}{hash}")));
    words.push(cipher.dh_group.unwrap_or(DhGroup::Curve25519).to_string());
    words.join("-")
}

/// One ESP proposal. Without a group there is no PFS. Extended sequence numbers are off unless a proposal names them, and none does.
pub(crate) fn esp_proposal(cipher: Cipher) -> String {
    let mut words = vec![encryption(cipher.encryption).to_owned()];
    if !cipher.encryption.is_aead() {
        words.extend(hashes(cipher.integrity).iter().map(ToString::to_string));
    }
    words.extend(cipher.dh_group.map(|group| group.to_string()));
    words.join("-")
}

/// The list as it is used: an empty one means the platform's default.
pub(crate) fn effective_ike(ciphers: &[Cipher]) -> Vec<Cipher> {
    if ciphers.is_empty() { vec![Cipher::DEFAULT_IKE] } else { ciphers.to_vec() }
}

/// As [`effective_ike`], for ESP.
pub(crate) fn effective_esp(ciphers: &[Cipher]) -> Vec<Cipher> {
    if ciphers.is_empty() { vec![Cipher::DEFAULT_ESP] } else { ciphers.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(encryption: Encryption, integrity: Option<Integrity>, dh_group: Option<DhGroup>) -> Cipher {
        Cipher { encryption, integrity, dh_group }
    }

    #[test]
    fn every_kind_of_proposal() {
        use DhGroup::{Ecp256, Modp2048};
        use Encryption::{Aes128Gcm, Aes256, ChaCha20Poly1305};
        use Integrity::Sha256;
        assert_eq!(ike_proposal(Cipher::DEFAULT_IKE), "aes256gcm16-prfsha384-curve25519");
        assert_eq!(ike_proposal(cipher(Aes128Gcm, None, None)), "aes128gcm16-prfsha256-prfsha384-prfsha512-curve25519");
        assert_eq!(ike_proposal(cipher(Aes256, Some(Sha256), Some(Modp2048))), "aes256-sha256-modp2048");
        assert_eq!(ike_proposal(cipher(Aes256, None, Some(Ecp256))), "aes256-sha256-sha384-sha512-ecp256");
        assert_eq!(esp_proposal(Cipher::DEFAULT_ESP), "aes256gcm16-curve25519");
        assert_eq!(esp_proposal(cipher(ChaCha20Poly1305, Some(Sha256), None)), "chacha20poly1305");
        assert_eq!(esp_proposal(cipher(Aes256, Some(Sha256), Some(Modp2048))), "aes256-sha256-modp2048");
    }
}
