//! NIST's vectors for the IKEv2 key derivation (CAVP, SP 800-135), with HMAC-SHA-256, 384 and 512, and RFC 4231.

#[expect(dead_code, reason = "shared by several test files")]
mod common;

use causeway_crypto::Prf;
use causeway_model::suite::Integrity;
use common::hex;
use proptest::prelude::*;

struct Derivation {
    integrity: Integrity,
    ni: &'static str,
    nr: &'static str,
    spi_i: &'static str,
    spi_r: &'static str,
    g_ir: &'static str,
    skeyseed: &'static str,
    /// 132 octets of `prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)`.
    dkm: &'static str,
    /// The shared secret of the rekeying exchange, which repeats the nonces.
    g_ir_new: &'static str,
    skeyseed_rekey: &'static str,
}

const DERIVATIONS: [Derivation; 3] = [
    Derivation {
        integrity: Integrity::Sha256,
        ni: "3f302be1abcb28e1",
        nr: "8c332ee006064c9b",
        spi_i: "40dac39e1e1a8640",
        spi_r: "8619a1cf9a6e4c07",
        g_ir: "0f4d257d7a58fc4545c7d7a88119eee5d5c9690c5b4c989171d3abbfd99d1d29",
        skeyseed: "5f00d1bd2c58ec224b1e6b71fa0f19a1faa7a193952c444411b47c1a9d8ba6fe",
        dkm: "0b137d669b0947d7d026d593f0305ad401ff0c471357d695778a9c7f4b4869ece98aca531
              188d16041b3bb936d2dbb3b4993a6e768a809160de45d0283f273a6cdf6854379e31be72b
              8d3d1fa990cf9c5b015ca9f918a7df6253c958114a09d4e1c19bdcd4db14b29d98db1a74a
              d405c588662c14a04d0d36aa4ab55e90f8986d12d4aad",
        g_ir_new: "25f3b12d6f282739256e39bf54eda53b60ffcf379bb7bcc90c27b4c4c578616c",
        skeyseed_rekey: "2d63f6debc92048b4fef3889c4c99ca67d6496e0fac14a2bca9a2d6566ff2398",
    },
    Derivation {
        integrity: Integrity::Sha384,
        ni: "fd1b572a8e735591",
        nr: "6013b0ef88dacd3d",
        spi_i: "2116ad07ce61f749",
        spi_r: "24880e55f11a65b7",
        g_ir: "d3288cd87565101e88fe3bad918f31939d8dd26ff1071f8b2d7f447524e58d7c",
        skeyseed: "69fe7a1ac94adaeb711295f5fe004b1a8d6a0b65d05692758ce8ad2f7a45f59d7d0b596f5
                   1f7dfcf3330061888f6a94f",
        dkm: "4f904c2025c90c817ea5ff9b662a6fdb445a73b57cdf09eacd379b95e1f03cacb04cd6dee
              da4f952191dd9bc1f7a9502471a648d74dc06d38112de48a42501f6b1a3ad55c2099cd9a6
              48e5f17e5bf3e34bf9b5953decb768a34f875fe2b78dca0c2fcca81ec1a412006dfaed38f
              a06882e61f4c148105fb8e231fdb33c4d484c001721d4",
        g_ir_new: "3358f620539473aee8d07e779764c4c6a9aabddc79a28e136b3bac021dbde44a",
        skeyseed_rekey: "e0548c1682e13bce454026b3b1bdf42985b24e4e7408095a7c529de38c3d1fcb04c9fe686
                         8042a34c9614c6c99e3fcea",
    },
    Derivation {
        integrity: Integrity::Sha512,
        ni: "97c41a9b0a03e74c",
        nr: "a659fd06e1746600",
        spi_i: "ff43c5c689b95481",
        spi_r: "e2ba607f30079bb7",
        g_ir: "276255c3eaace5c6db32b609aa86c0ef07bba4bf2dc4c262995efd95ca607c3f",
        skeyseed: "d6e74966b75fd2afab48be319d63d97c8a5d2ffe2e320763a462c664b36c3a944067d867c
                   3a55fd8a7e5cca64b22e24415987e15549f09a81b455adaa5303df8",
        dkm: "22259105314717dc73c210919ee9cb3ded774dc087e866aa3960404c0ed7b8e78e79b9938
              88388e2e5cb238d4bfcb4cdee9da074a26e329d6c2f2f660cc9c711c941a2fb3d85a2e5d0
              1e579c8f2c9d00fa6fabe76a137b00c7ff1b291899906588c26f073d819063238c4c844f0
              f8d221b65b76dbc9ed6f6368e5dba86b3e81b60eb44a1",
        g_ir_new: "bb4015f7727b35532021336a9e4a6370ac8729b01fbb8f15d52236820fac4709",
        skeyseed_rekey: "ecdaf3ccb990abc898a453b03fd56f9975275f150e1e571b0560b3cb2ee67289e82b899cd
                         c2129fd821fe8aebea796f190765c25798f5883f923526551f16a4b",
    },
];

#[test]
fn nist_ikev2_key_derivation() {
    for vector in DERIVATIONS {
        let prf = Prf::new(vector.integrity);
        let (ni, nr) = (hex(vector.ni), hex(vector.nr));
        let skeyseed = prf.compute(&[ni.as_slice(), &nr].concat(), &[&hex(vector.g_ir)]);
        assert_eq!(skeyseed.slice(), hex(vector.skeyseed), "SKEYSEED, {}", vector.integrity);
        assert_eq!(skeyseed.len(), prf.output_len());

        let seed = [ni.as_slice(), &nr, &hex(vector.spi_i), &hex(vector.spi_r)];
        let dkm = hex(vector.dkm);
        assert_eq!(prf.plus(skeyseed.slice(), &seed, dkm.len()).slice(), dkm, "prf+, {}", vector.integrity);

        let sk_d = &dkm[..prf.key_len()];
        let rekeyed = prf.compute(sk_d, &[&hex(vector.g_ir_new), &ni, &nr]);
        assert_eq!(rekeyed.slice(), hex(vector.skeyseed_rekey), "SKEYSEED after rekeying, {}", vector.integrity);
    }
}

/// RFC 4231 §4.7: a key longer than the hash's block.
#[test]
fn a_long_key() {
    let expected = [
        (Integrity::Sha256, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        (
            Integrity::Sha384,
            "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
        ),
        (
            Integrity::Sha512,
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352
             6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
        ),
    ];
    for (integrity, tag) in expected {
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(Prf::new(integrity).compute(&[0xaa; 131], &[message]).slice(), hex(tag), "{integrity}");
    }
}

#[test]
fn the_longest_expansion() {
    let prf = Prf::new(Integrity::Sha256);
    let all = prf.plus(b"key", &[b"seed"], prf.max_plus_len());
    assert_eq!(all.len(), 8160);
    let (before, last) = all.slice().split_at(8160 - 32);
    let expected = prf.compute(b"key", &[&before[before.len() - 32..], b"seed", &[255]]);
    assert_eq!(last, expected.slice());
    assert!(prf.plus(b"key", &[], 0).is_empty());
}

proptest! {
    /// The definition of RFC 7296 §2.13, written the long way; and how the seed is cut into parts does not matter.
    #[test]
    fn plus_is_its_definition(
        which in 0_usize..3,
        key in prop::collection::vec(any::<u8>(), 0..200),
        seed in prop::collection::vec(any::<u8>(), 0..100),
        cut in any::<prop::sample::Index>(),
        len in 0_usize..600,
    ) {
        let prf = Prf::new(Integrity::ALL[which]);
        let mut expected = Vec::new();
        let mut block = Vec::new();
        let mut counter = 1_u8;
        while expected.len() < len {
            block.extend_from_slice(&seed);
            block.push(counter);
            block = prf.compute(&key, &[&block]).slice().to_vec();
            expected.extend_from_slice(&block);
            counter += 1;
        }
        expected.truncate(len);
        let (head, tail) = seed.split_at(cut.index(seed.len() + 1));
        let got = prf.plus(&key, &[head, tail], len);
        prop_assert_eq!(got.slice(), expected);
    }
}
