//! Keys and names that have to be random.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use causeway_crypto::{Entropy, SystemEntropy};
use zeroize::{Zeroize, Zeroizing};

/// Letters and digits of an access key (wire-api.md §1.2).
const ALPHABET: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// `SCW` and 17 random letters and digits.
pub(crate) fn access_key() -> String {
    let mut entropy = SystemEntropy::new();
    let mut key = String::from("SCW");
    while key.len() < 20 {
        let mut octet = [0];
        entropy.fill(&mut octet);
        // 252 is the largest multiple of 36 that an octet holds: beyond it the first letters would be likelier.
        if let [octet @ 0..252] = octet
            && let Some(letter) = ALPHABET.get(usize::from(octet) % ALPHABET.len())
        {
            key.push(char::from(*letter));
        }
    }
    key
}

/// A pre-shared key of 256 random bits, as text that every device's configuration can carry.
pub(crate) fn psk() -> Zeroizing<Vec<u8>> {
    let mut octets = crate::random::<32>();
    let text = URL_SAFE_NO_PAD.encode(octets);
    octets.zeroize();
    Zeroizing::new(text.into_bytes())
}

/// `fd` and 40 random bits (RFC 4193 §3.1).
pub(crate) fn ula() -> [u8; 6] {
    let [a, b, c, d, e] = crate::random::<5>();
    [0xfd, a, b, c, d, e]
}

/// CRC-32 as in IEEE 802.3: what the secret manager verifies data with.
pub(crate) fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_keys_have_the_form_that_clients_check() {
        let key = access_key();
        assert_eq!(key.len(), 20);
        assert!(key.starts_with("SCW"));
        assert!(key.bytes().all(|octet| ALPHABET.contains(&octet)), "{key}");
        assert_ne!(key, access_key());
    }

    #[test]
    fn a_psk_is_43_letters_of_base64url() {
        let key = psk();
        assert_eq!(key.len(), 43);
        assert!(key.iter().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(octet)));
        assert_ne!(*key, *psk());
    }

    #[test]
    fn crc32_has_its_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
