//! The inside MTU of a tunnel over an outside of 1500 octets.

use causeway_model::net::Family;
use causeway_model::suite::{Cipher, Integrity};

/// What nearly every path on the Internet carries.
const OUTER_MTU: u16 = 1500;
/// UDP header of the encapsulation (RFC 3948).
const UDP: u16 = 8;
/// SPI and sequence number (RFC 4303 §2).
const ESP: u16 = 8;
/// Pad length and next header (RFC 4303 §2), inside the padded part.
const TRAILER: u16 = 2;

/// The largest inner packet, in octets, that each of `suites` carries over each of `outer` with UDP encapsulation and no
/// fragmentation of the outer packet. A suite without its integrity counts with the longest one.
#[must_use]
pub fn inside_mtu(suites: &[Cipher], outer: impl IntoIterator<Item = Family>) -> u16 {
    let header = outer
        .into_iter()
        .map(|family| match family {
            Family::Ipv4 => 20,
            Family::Ipv6 => 40,
        })
        .max()
        .unwrap_or(40);
    let room = OUTER_MTU - header - UDP - ESP;
    suites.iter().map(|suite| inner(*suite, room)).min().unwrap_or(1280)
}

/// Octets of inner packet in `room` octets of IV, padded payload and ICV.
fn inner(suite: Cipher, room: u16) -> u16 {
    let (iv, icv, block) = if suite.encryption.is_aead() {
        (8, 16, 4)
    } else {
        let icv = match suite.integrity.unwrap_or(Integrity::Sha512) {
            Integrity::Sha256 => 16,
            Integrity::Sha384 => 24,
            Integrity::Sha512 => 32,
        };
        (16, icv, 16)
    };
    let payload = room - iv - icv;
    payload - payload % block - TRAILER
}

#[cfg(test)]
mod tests {
    use causeway_model::suite::Encryption;

    use super::*;

    #[test]
    fn computed_by_hand() {
        use Family::{Ipv4, Ipv6};
        let cbc = |integrity| Cipher { encryption: Encryption::Aes256, integrity: Some(integrity), dh_group: None };
        assert_eq!(inside_mtu(&[Cipher::DEFAULT_ESP], [Ipv4]), 1438);
        assert_eq!(inside_mtu(&[Cipher::DEFAULT_ESP], [Ipv6]), 1418);
        assert_eq!(inside_mtu(&[cbc(Integrity::Sha256)], [Ipv4]), 1422);
        assert_eq!(inside_mtu(&[cbc(Integrity::Sha512)], [Ipv6]), 1390);
        assert_eq!(inside_mtu(&[Cipher::DEFAULT_ESP, cbc(Integrity::Sha256)], [Ipv4, Ipv6]), 1406);
    }
}
