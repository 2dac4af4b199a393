//! Key exchange: every group with itself, published vectors, and peers that cheat.

#[expect(dead_code, reason = "shared by several test files")]
mod common;

use causeway_crypto::{Entropy, KeyExchange, KeyExchangeError, SeededEntropy, sha256};
use causeway_model::suite::DhGroup;
use common::hex;

/// Gives the octets of a published private key.
struct Given(Vec<u8>);

impl Entropy for Given {
    fn fill(&mut self, out: &mut [u8]) {
        out.copy_from_slice(&self.0);
    }
}

fn pair(group: DhGroup, seed: u64) -> KeyExchange {
    KeyExchange::generate(group, &mut SeededEntropy::new(seed)).expect("a key pair")
}

fn given(group: DhGroup, private: &[u8]) -> KeyExchange {
    KeyExchange::generate(group, &mut Given(private.to_vec())).expect("a key pair")
}

#[test]
fn both_sides_agree_in_every_group() {
    for group in DhGroup::ALL {
        for seed in 0..8 {
            let (ours, theirs) = (pair(*group, 2 * seed), pair(*group, 2 * seed + 1));
            assert_eq!(ours.public().len(), KeyExchange::public_len(*group));
            assert_ne!(ours.public(), theirs.public());
            let (our_public, their_public) = (ours.public().to_vec(), theirs.public().to_vec());
            let (a, b) = (ours.agree(&their_public).expect("agrees"), theirs.agree(&our_public).expect("agrees"));
            assert_eq!(a, b, "{group}");
            let expected = match group {
                DhGroup::Ecp256 | DhGroup::Ecp384 | DhGroup::Ecp521 => KeyExchange::public_len(*group) / 2,
                _ => KeyExchange::public_len(*group),
            };
            assert_eq!(a.len(), expected, "{group}");
        }
    }
}

/// RFC 5903 §8: private keys, public values as the KE payload has them, the shared secret (x only).
#[test]
fn rfc_5903() {
    let vectors = [
        (
            DhGroup::Ecp256,
            "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
            "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180
             5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
            "C6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53",
            "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63
             56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
            "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
        ),
        (
            DhGroup::Ecp384,
            "099F3C7034D4A2C699884D73A375A67F7624EF7C6B3C0F160647B67414DCE655E35B538041E649EE3FAEF896783AB194",
            "667842D7D180AC2CDE6F74F37551F55755C7645C20EF73E31634FE72B4C55EE6DE3AC808ACB4BDB4C88732AEE95F41AA
             9482ED1FC0EEB9CAFC4984625CCFC23F65032149E0E144ADA024181535A0F38EEB9FCFF3C2C947DAE69B4C634573A81C",
            "41CB0779B4BDB85D47846725FBEC3C9430FAB46CC8DC5060855CC9BDA0AA2942E0308312916B8ED2960E4BD55A7448FC",
            "E558DBEF53EECDE3D3FCCFC1AEA08A89A987475D12FD950D83CFA41732BC509D0D1AC43A0336DEF96FDA41D0774A3571
             DCFBEC7AACF3196472169E838430367F66EEBE3C6E70C416DD5F0C68759DD1FFF83FA40142209DFF5EAAD96DB9E6386C",
            "11187331C279962D93D604243FD592CB9D0A926F422E47187521287E7156C5C4D603135569B9E9D09CF5D4A270F59746",
        ),
        (
            DhGroup::Ecp521,
            "0037ADE9319A89F4DABDB3EF411AACCCA5123C61ACAB57B5393DCE47608172A095AA85
             A30FE1C2952C6771D937BA9777F5957B2639BAB072462F68C27A57382D4A52",
            "0015417E84DBF28C0AD3C278713349DC7DF153C897A1891BD98BAB4357C9ECBEE1E3BF
             42E00B8E380AEAE57C2D107564941885942AF5A7F4601723C4195D176CED3E
             017CAE20B6641D2EEB695786D8C946146239D099E18E1D5A514C739D7CB4A10AD8A788
             015AC405D7799DC75E7B7D5B6CF2261A6A7F1507438BF01BEB6CA3926F9582",
            "0145BA99A847AF43793FDD0E872E7CDFA16BE30FDC780F97BCCC3F078380201E9C677D
             600B343757A3BDBF2A3163E4C2F869CCA7458AA4A4EFFC311F5CB151685EB9",
            "00D0B3975AC4B799F5BEA16D5E13E9AF971D5E9B984C9F39728B5E5739735A219B97C3
             56436ADC6E95BB0352F6BE64A6C2912D4EF2D0433CED2B6171640012D9460F
             015C68226383956E3BD066E797B623C27CE0EAC2F551A10C2C724D9852077B87220B65
             36C5C408A1D2AEBB8E86D678AE49CB57091F4732296579AB44FCD17F0FC56A",
            "01144C7D79AE6956BC8EDB8E7C787C4521CB086FA64407F97894E5E6B2D79B04
             D1427E73CA4BAA240A34786859810C06B3C715A3A8CC3151F2BEE417996D19F3DDEA",
        ),
    ];
    for (group, i, gi, r, gr, shared) in vectors {
        let (initiator, responder) = (given(group, &hex(i)), given(group, &hex(r)));
        assert_eq!(initiator.public(), hex(gi), "{group}");
        assert_eq!(responder.public(), hex(gr), "{group}");
        assert_eq!(initiator.agree(&hex(gr)).expect("agrees").slice(), hex(shared), "{group}");
        assert_eq!(responder.agree(&hex(gi)).expect("agrees").slice(), hex(shared), "{group}");
    }
}

/// RFC 7748 §6.1.
#[test]
fn rfc_7748() {
    let group = DhGroup::Curve25519;
    let alice = given(group, &hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
    let bob = given(group, &hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
    let bobs = hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
    assert_eq!(alice.public(), hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"));
    assert_eq!(bob.public(), bobs);
    assert_eq!(
        alice.agree(&bobs).expect("agrees").slice(),
        hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    );
}

/// Against another implementation of modular powers: SHA-256 of both public values and of the shared secret, for the
/// exponents `81 88 8f …` and `c3 ce d9 …` (steps of 7 and 11), as long as the group's private exponents.
#[test]
fn modp_powers() {
    let vectors = [
        (
            DhGroup::Modp2048,
            "f080f3ba53af3707b159b2a9083277ad52a6587c704c7efa11a6be3dd7c5b9f1",
            "c094247ab2656af0ac581379f286595cd62dc657048bbdae665c1573c639aed6",
            "9d0e038f0c86c9ccf569c45e4887ee0377b8a8fb9b2dfb77c5e93b5a51e12528",
        ),
        (
            DhGroup::Modp3072,
            "bae1a65961cf3a179383ed95158f801e476512b463774c31f7a469a4d7ba2fff",
            "a18605dcc0f1a91a8b3472db7b453b4098ff0245014e09ca567941f22e75c65d",
            "e22dda471e787df8138eb66932ba23dd4e12ca7f0c94114ceaa7e599157f1e1e",
        ),
        (
            DhGroup::Modp4096,
            "b5436bbfcf85ce0e93493df058b9429154d79ea4c683cc5f8ba6e8826323826e",
            "c6a5326eb860347ebe98b017e7c7c7e8f1305064fc8c0f253d15db42d7e75d24",
            "f74934603f9830efbc2b23ef460473db7dc460fae3c78dca742e24b1455880e6",
        ),
    ];
    for (group, gi, gr, gir) in vectors {
        let len = match group {
            DhGroup::Modp2048 => 32,
            DhGroup::Modp3072 => 40,
            _ => 48,
        };
        let exponent = |first: u8, step: u8| -> Vec<u8> {
            let mut octets: Vec<u8> = (0..len).map(|i| first.wrapping_add(step.wrapping_mul(i))).collect();
            octets[0] |= 0x80;
            octets
        };
        let (initiator, responder) = (given(group, &exponent(0x81, 7)), given(group, &exponent(0xc3, 11)));
        assert_eq!(sha256(&[initiator.public()]).to_vec(), hex(gi), "{group}");
        assert_eq!(sha256(&[responder.public()]).to_vec(), hex(gr), "{group}");
        let shared = initiator.agree(responder.public()).expect("agrees");
        assert_eq!(sha256(&[shared.slice()]).to_vec(), hex(gir), "{group}");
    }
}

#[test]
fn wrong_lengths_are_refused() {
    for group in DhGroup::ALL {
        let expected = KeyExchange::public_len(*group);
        for actual in [0, 1, expected - 1, expected + 1, 4096] {
            assert_eq!(
                pair(*group, 1).agree(&vec![2; actual]).err(),
                Some(KeyExchangeError::Length { group: *group, expected, actual })
            );
        }
    }
}

#[test]
fn points_off_the_curve_are_refused() {
    for group in [DhGroup::Ecp256, DhGroup::Ecp384, DhGroup::Ecp521] {
        let mut peer = pair(group, 2).public().to_vec();
        let invalid = Some(KeyExchangeError::InvalidPublicValue(group));
        *peer.last_mut().expect("octets") ^= 1;
        assert_eq!(pair(group, 1).agree(&peer).err(), invalid);
        assert_eq!(pair(group, 1).agree(&vec![0; peer.len()]).err(), invalid);
        assert_eq!(pair(group, 1).agree(&vec![0xff; peer.len()]).err(), invalid);
    }
}

/// RFC 7748 §6.1 and RFC 8031 §5: values of small order give the all-zero secret.
#[test]
fn small_orders_are_refused() {
    let small = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for peer in small {
        assert_eq!(
            pair(DhGroup::Curve25519, 1).agree(&hex(peer)).err(),
            Some(KeyExchangeError::InvalidPublicValue(DhGroup::Curve25519)),
            "{peer}"
        );
    }
}

#[test]
fn a_broken_source_is_an_error_and_not_a_loop() {
    struct Zeros;
    impl Entropy for Zeros {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0);
        }
    }
    for group in [DhGroup::Ecp256, DhGroup::Ecp384, DhGroup::Ecp521] {
        assert_eq!(KeyExchange::generate(group, &mut Zeros).err(), Some(KeyExchangeError::Entropy(group)));
    }
}
