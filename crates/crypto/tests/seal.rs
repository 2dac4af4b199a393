//! Sealing and opening: published vectors of every cipher, and what must hold for all of them.

mod common;

use causeway_crypto::{OpenError, Opener, Prf, SealError, Sealer, Suite, SuiteError};
use causeway_model::suite::{Encryption, Integrity};
use common::{every_suite, hex};
use proptest::prelude::*;

struct Vector {
    suite: Suite,
    key: &'static str,
    integrity_key: &'static str,
    aad: &'static str,
    iv: &'static str,
    plaintext: &'static str,
    /// Ciphertext and ICV.
    sealed: &'static str,
}

const GCM_128: Suite = Suite::new(Encryption::Aes128Gcm, None);
const GCM_192: Suite = Suite::new(Encryption::Aes192Gcm, None);
const GCM_256: Suite = Suite::new(Encryption::Aes256Gcm, None);

/// draft-mcgrew-gcm-test-01 §4, AES-GCM; those with 12 octets of AAD use extended sequence numbers. Keys are followed by the salt.
const MCGREW: [(Suite, &str, &str, &str, &str, &str); 14] = [
    (
        GCM_128,
        "4c80cdefbb5d10da906ac73c3613a6342e443b68",
        "000043218765432100000000",
        "4956ed7e3b244cfe",
        "45000048699a000080114db7c0a80102c0a801010a9bf15638d301000001000000000000045f736970045f7564700373
         69700963796265726369747902646b000021000101020201",
        "fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34cfa2436f14a3f3cf65925bf1f4a13c5d
         15b21e1884f5ff6247aeabb786b93bce61bc17d768fd9732459018148f6cbe722fd04796562dfdb4",
    ),
    (
        GCM_128,
        "feffe9928665731c6d6a8f9467308308cafebabe",
        "0000a5f80000000a",
        "facedbaddecaf888",
        "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d0010000010000000000000373697009637962
         65726369747902646b00000100010001",
        "deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c3de81827c10e9a4f51330d0eec416642
         cfbb85a5b47e48a4ec3b9ba95d918bd183b70d3aa8bc6ee4c309e9d85a41ad4a",
    ),
    (
        GCM_256,
        "abbccddef00112233445566778899aababbccddef00112233445566778899aab11223344",
        "4a2cbfe300000002",
        "0102030405060708",
        "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee0000000007002400020bf0000020405b401010402
         01020201",
        "ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763748a637985771d347f0545659f14e99d
         ef842d8eb335f4eecfdbf831824b4c4915956c96",
    ),
    (
        GCM_128,
        "0000000000000000000000000000000000000000",
        "0000000000000001",
        "0000000000000000",
        "4500003c99c500008001cb7a40679318010101010800075c020044006162636465666768696a6b6c6d6e6f7071727374
         75767761626364656667686901020201",
        "4688daf2f973a392732909c331d56d60f694abaa414b5e7ff5fdcdfff5e9a284456476492719ffb64de7d9dca1e1d894
         bc3bd57873ed4d181d19d4d5c8c18af3f821d496eeb096e98ad2b69e4799c71d",
    ),
    (
        GCM_128,
        "3de09874b388e6491988d0c3607eae1f57690e43",
        "42f67e3f1010101010101010",
        "4e280000a2fca1a3",
        "4500003c99c300008001cb7c40679318010101010800085c020043006162636465666768696a6b6c6d6e6f7071727374
         75767761626364656667686901020201",
        "fba2caa4853cf9f0f22cb10d86dd83b0fec75691cf1a04b00d1138ec9c35791765acbd8701ad79845bf9fe3fba487bc9
         1755e6662b4c8d0d1f5e22739530320ae0d731cc978ecafaeae88f00e80d6e48",
    ),
    (
        GCM_128,
        "3de09874b388e6491988d0c3607eae1f57690e43",
        "42f67e3f1010101010101010",
        "4e280000a2fca1a3",
        "4500001c42a200008001441f406793b6e00000020a00f5ff01020201",
        "fba2ca845e5df9f0f22c3e6e86dd831e1fc65792cd1af9130e1379ed369f071f35e034be95f112e4e7d05d35",
    ),
    (
        GCM_192,
        "feffe9928665731c6d6a8f9467308308feffe9928665731ccafebabe",
        "0000a5f80000000a",
        "facedbaddecaf888",
        "45000028a4ad4000400678800a01038f0a010612802306b8cb712602dd6bb03e501016d075680001",
        "a5b1f8066029aea40e598b8122de02420938b3ab33f828e687b8858b5bfbdbd0315b27452144cc7795457b9652037f53
         18027b5b4cd7a636",
    ),
    (
        GCM_128,
        "abbccddef00112233445566778899aabdecaf888",
        "000001000000000000000001",
        "cafedebaceface74",
        "4500004933ba00007f119106c3fb1d10c2b1d326c02831ce0035dd7b800302d500004e20001e8c18d75b81dc91baa047
         6b91b924b280389d92c963bac046ec959b6266c04722b14923010101",
        "18a6fd42f72cbf4ab2a2ea901f73d814e3e7f243d95412e1c349c1d2fbec168f9190feebaf2cb01984e65863965d7472
         b79da345e0e780191f0d2f0e0f496c226f2127b27db35724e7845d68651f57e65f354f75ff17015769623436",
    ),
    (
        GCM_256,
        "abbccddef00112233445566778899aababbccddef00112233445566778899aab73616c74",
        "17405e67156f3126dd0db99b",
        "616e640169766563",
        "45080028732c00004006e9f90a0106120a01038f06b88023dd6bafbecb71260250101f646d540001",
        "f2d69ecdbd5a0d5b8d5ef38bad4da58d1f278fde98ef67549d524a3018d9a57ff4d3a31ce673119e451626c2415771e3
         b7eebca614c89b35",
    ),
    (
        GCM_128,
        "3de09874b388e6491988d0c3607eae1f57690e43",
        "42f67e3f1010101010101010",
        "4e280000a2fca1a3",
        "45000049333e00007f119182c3fb1d10c2b1d326c02831ce0035cb458003025b000001e0001e8c18d65759d52284a035
         2c71475c8880391c764d6e5ee0496b325ae270c03899493915010101",
        "fba2cad12fc1f9f00d3cebf305410db83d7784b607323d220f24b0a97d54182800cadb0f68d99ef0e0c0c89ae9bea888
         4e52d65bc1afd0740f742444747b5b39ab533163aad4550ee5160975cdb608c5769189609763b8e18caa81e2",
    ),
    (
        GCM_256,
        "abbccddef00112233445566778899aababbccddef00112233445566778899aab73616c74",
        "17405e67156f3126dd0db99b",
        "616e640169766563",
        "636973636f0172756c657301746865016e6574776501646566696e6501746865746563686e6f6c6f6769657301746861
         7477696c6c01646566696e65746f6d6f72726f7701020201",
        "d4b7ed86a1777f2ea13d6973d324c69e7b43f826fb56831226508bebd2dceb18d0a6df10e5487df074113e14c641024e
         3e6773d91a62ee429b043a10e3efe6b012a49363412364f8c0cac587f249e56b11e24f30e44ccc76",
    ),
    (
        GCM_128,
        "7d773d00c144c525ac619d18c84a3f47d9664267",
        "335467aeffffffff",
        "43457e9182443bc6",
        "01020201",
        "437f866bcb3f699fe9b0822bac961c4504bef270",
    ),
    (
        GCM_128,
        "abbccddef00112233445566778899aabdecaf888",
        "000001000000000000000001",
        "cafedebaceface74",
        "746f016265016f72016e6f7401746f0162650001",
        "29c9fc69a197d038ccdd14e2ddfcaa0543332164412503524303ed3c6c5f283843af8c3e",
    ),
    (
        GCM_256,
        "6c6567616c697a656d6172696a75616e61616e64646f69746265666f726569617475726e",
        "796b6963ffffffffffffffff",
        "333021696765746d",
        "45000030da3a00008001df3bc0a80005c0a800010800c6cd020007006162636465666768696a6b6c6d6e6f7071727374
         01020201",
        "f97ab2aa356d8edce17644ac8c78e25dd24dedbb29ebf1b64a274b39b49c3a864cd3d78ca4ae68a32b42458fb57dbe82
         1dcc63b9d0937ba2945f669368661a329fb4c053",
    ),
];

fn check(vector: &Vector) {
    let (key, integrity_key) = (hex(vector.key), hex(vector.integrity_key));
    let (aad, iv, plaintext, sealed) = (hex(vector.aad), hex(vector.iv), hex(vector.plaintext), hex(vector.sealed));
    let sealer = Sealer::new(vector.suite, &key, &integrity_key).expect("a sealer");
    let opener = Opener::new(vector.suite, &key, &integrity_key).expect("an opener");
    let (ciphertext, icv) = sealed.split_at(plaintext.len());

    let mut data = plaintext.clone();
    let mut tag = vec![0; vector.suite.icv_len()];
    sealer.seal_in_place(&aad, &iv, &mut data, &mut tag).expect("seals");
    assert_eq!((data.as_slice(), tag.as_slice()), (ciphertext, icv), "{:?}", vector.suite);

    for cut in [0, plaintext.len() / 2, plaintext.len()] {
        let mut out = vec![0xee; sealed.len()];
        let (head, tail) = plaintext.split_at(cut);
        sealer.seal_into(&aad, &iv, head, tail, &mut out).expect("seals");
        assert_eq!(out, sealed, "{:?}, trailer from {cut}", vector.suite);
    }

    opener.open_in_place(&aad, &iv, &mut data, &tag).expect("opens");
    assert_eq!(data, plaintext, "{:?}", vector.suite);
}

#[test]
fn draft_mcgrew_gcm_test() {
    for (suite, key, aad, iv, plaintext, sealed) in MCGREW {
        check(&Vector { suite, key, integrity_key: "", aad, iv, plaintext, sealed });
    }
}

/// RFC 7634, appendix A.
#[test]
fn rfc_7634() {
    check(&Vector {
        suite: Suite::new(Encryption::ChaCha20Poly1305, None),
        key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3",
        integrity_key: "",
        aad: "0102030400000005",
        iv: "1011121314151617",
        plaintext: "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10
                    0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223
                    2425262728292a2b2c2d2e2f303132333435363701020204",
        sealed: "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6
                 14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3
                 cbec163fac469b502773f6fb94e664da9165b82829f641e0
                 76aaa8266b7fb0f7b11b369907e1ad43",
    });
}

/// NIST CAVS vectors with the nonce of 11 octets that RFC 4309 has, as Linux's self-test publishes them.
#[test]
fn aes_ccm() {
    let (ccm_128, ccm_256) = (Suite::new(Encryption::Aes128Ccm, None), Suite::new(Encryption::Aes256Ccm, None));
    for vector in [
        Vector {
            suite: ccm_128,
            key: "83ac5466c2ebe5052e01d1fc5d82662e96ac59",
            integrity_key: "",
            aad: "",
            iv: "3007a1e2a2c75524",
            plaintext: "19c881f6e986ff930b7867e5bbb7fc6e8377b3a60c8c9f9c352eade062f991a1",
            sealed: "ab6fe1691d1999a892a0c46f7ee28bb170bb8ca64c6e978a572bbe5d98a6b132
                     da24ead9a13998fda4bed9f21a6d22a8",
        },
        Vector {
            suite: ccm_128,
            key: "1e2c7e01419aefc00d58966e5ca24bd34fa319",
            integrity_key: "",
            aad: "dae6289c452dfd635eda4cb6e6fcf9b70c56cbe4e0057ae10a630978bc2c55de",
            iv: "d3015ad830601556",
            plaintext: "87a336fd96b39378a92863ba12a31485571e06c97b21ef767f387e8e29a43e7e",
            sealed: "8a1e11f0026be219fc70c46d8eb799abc54ba2acd3f348ff3bb5ce53efdebb02
                     a986156c13feda0a22b8293dd8399a23",
        },
        Vector {
            suite: ccm_256,
            key: "abd0e9330726e5838c7695d4b6dcf346f98fade3021383773fb0f1a1a1220f2b24a78b",
            integrity_key: "",
            aad: "d4db301d03fefd5f87d48cb6b6f17a5dab90658d8eca4d4f160c40904bc73673",
            iv: "07cbcc0ee633bff5",
            plaintext: "f5c67d48c1b7e692975acac4a96df93d6cdebcf190ea6ab2358636af5cfe4b3a",
            sealed: "836f408772cfc113efbb8021046c5809071bfcdfc03f5bc7e079a86e717c3fcf
                     5cdab233e513e20d74d1efb50f3ab5f8",
        },
    ] {
        check(&vector);
    }
}

/// NIST SP 800-38A §F.2, one block of each key length; the ICV is checked against the PRF, which has vectors of its own.
#[test]
fn aes_cbc() {
    for (encryption, key, ciphertext) in [
        (Encryption::Aes128, "2b7e151628aed2a6abf7158809cf4f3c", "7649abac8119b246cee98e9b12e9197d"),
        (Encryption::Aes192, "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", "4f021db243bc633d7178183a9fa071e8"),
        (
            Encryption::Aes256,
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "f58c4c04d6e5f1ba779eabfb5f7bfbd6",
        ),
    ] {
        for integrity in Integrity::ALL {
            let suite = Suite::new(encryption, Some(*integrity));
            let (key, mac_key) = (hex(key), vec![0x5a; suite.integrity_key_len()]);
            let (aad, iv) = (b"before the IV".to_vec(), hex("000102030405060708090a0b0c0d0e0f"));
            let mut data = hex("6bc1bee22e409f96e93d7e117393172a");
            let mut icv = vec![0; suite.icv_len()];
            let sealer = Sealer::new(suite, &key, &mac_key).expect("a sealer");
            sealer.seal_in_place(&aad, &iv, &mut data, &mut icv).expect("seals");
            assert_eq!(data, hex(ciphertext), "{suite:?}");
            let tag = Prf::new(*integrity).compute(&mac_key, &[&aad, &iv, &data]);
            assert_eq!(icv, tag.slice()[..tag.len() / 2], "{suite:?}");
        }
    }
}

#[test]
fn sizes_of_every_suite() {
    let sizes = |encryption, integrity| {
        let suite = Suite::new(encryption, integrity);
        [suite.encryption_key_len(), suite.integrity_key_len(), suite.iv_len(), suite.icv_len(), suite.block_len()]
    };
    assert_eq!(sizes(Encryption::Aes128, Some(Integrity::Sha256)), [16, 32, 16, 16, 16]);
    assert_eq!(sizes(Encryption::Aes192, Some(Integrity::Sha384)), [24, 48, 16, 24, 16]);
    assert_eq!(sizes(Encryption::Aes256, Some(Integrity::Sha512)), [32, 64, 16, 32, 16]);
    assert_eq!(sizes(Encryption::Aes128Gcm, None), [20, 0, 8, 16, 1]);
    // An AEAD's integrity is the PRF's: no key of its own.
    assert_eq!(sizes(Encryption::Aes192Gcm, Some(Integrity::Sha384)), [28, 0, 8, 16, 1]);
    assert_eq!(sizes(Encryption::Aes256Gcm, None), [36, 0, 8, 16, 1]);
    assert_eq!(sizes(Encryption::Aes128Ccm, None), [19, 0, 8, 16, 1]);
    assert_eq!(sizes(Encryption::Aes256Ccm, None), [35, 0, 8, 16, 1]);
    assert_eq!(sizes(Encryption::ChaCha20Poly1305, None), [36, 0, 8, 16, 1]);
}

#[test]
fn keys_that_do_not_fit_are_refused() {
    let cbc = Suite::new(Encryption::Aes128, None);
    assert_eq!(Sealer::new(cbc, &[0; 16], &[]).err(), Some(SuiteError::MissingIntegrity(Encryption::Aes128)));
    assert_eq!(Opener::new(cbc, &[0; 16], &[]).err(), Some(SuiteError::MissingIntegrity(Encryption::Aes128)));
    for suite in every_suite() {
        let (encryption, integrity) = (suite.encryption_key_len(), suite.integrity_key_len());
        for (encryption, integrity) in
            [(encryption - 1, integrity), (encryption + 1, integrity), (encryption, integrity + 1)]
        {
            let (a, b) = (vec![0; encryption], vec![0; integrity]);
            assert!(matches!(Sealer::new(suite, &a, &b).err(), Some(SuiteError::KeyLength { .. })), "{suite:?}");
            assert!(matches!(Opener::new(suite, &a, &b).err(), Some(SuiteError::KeyLength { .. })), "{suite:?}");
        }
    }
}

fn keys(suite: Suite, fill: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![fill; suite.encryption_key_len()], vec![fill ^ 0xff; suite.integrity_key_len()])
}

fn pair(suite: Suite) -> (Sealer, Opener) {
    let (a, b) = keys(suite, 0x42);
    (Sealer::new(suite, &a, &b).expect("a sealer"), Opener::new(suite, &a, &b).expect("an opener"))
}

#[test]
fn derived_ivs() {
    for suite in every_suite() {
        let (sealer, _) = pair(suite);
        let (a, b) = keys(suite, 0x43);
        let other = Sealer::new(suite, &a, &b).expect("a sealer");
        let iv = |sealer: &Sealer, counter| {
            let mut out = vec![0; suite.iv_len()];
            sealer.derive_iv(counter, &mut out).expect("an IV");
            out
        };
        assert_ne!(iv(&sealer, 1), iv(&sealer, 2), "{suite:?}");
        if suite.is_aead() {
            assert_eq!(iv(&sealer, 0x0102_0304_0506_0708), [1, 2, 3, 4, 5, 6, 7, 8]);
        } else {
            assert_eq!(iv(&sealer, 1), iv(&sealer, 1));
            assert_ne!(iv(&sealer, 1), iv(&other, 1), "not to be guessed without the key");
            assert_ne!(iv(&sealer, 1)[..8], [0; 8]);
        }
        assert_eq!(sealer.derive_iv(1, &mut [0; 7]), Err(SealError::IvLength));
    }
}

#[test]
fn lengths_that_do_not_fit_are_errors() {
    for suite in every_suite() {
        let (sealer, opener) = pair(suite);
        let (iv, mut icv) = (vec![1; suite.iv_len()], vec![0; suite.icv_len()]);
        let mut data = [0; 32];
        assert_eq!(sealer.seal_in_place(b"", &[1; 5], &mut data, &mut icv), Err(SealError::IvLength), "{suite:?}");
        assert_eq!(sealer.seal_in_place(b"", &iv, &mut data, &mut icv[1..]), Err(SealError::OutputLength));
        assert_eq!(sealer.seal_into(b"", &iv, &data, b"", &mut [0; 40]), Err(SealError::OutputLength));
        assert_eq!(opener.open_in_place(b"", &[1; 5], &mut data, &icv), Err(OpenError::Length));
        assert_eq!(opener.open_in_place(b"", &iv, &mut data, &icv[1..]), Err(OpenError::Length));
        assert_eq!(opener.open_in_place(b"", &iv, &mut data, &icv), Err(OpenError::Authentication));
        if suite.block_len() > 1 {
            assert_eq!(sealer.seal_in_place(b"", &iv, &mut data[..31], &mut icv), Err(SealError::PlaintextLength));
            assert_eq!(opener.open_in_place(b"", &iv, &mut data[..31], &icv), Err(OpenError::Length));
        }
    }
}

proptest! {
    #[test]
    fn round_trip_and_any_flipped_bit_fails(
        which in prop::sample::select(every_suite()),
        blocks in 0_usize..100,
        odd in 0_usize..16,
        aad in prop::collection::vec(any::<u8>(), 0..40),
        counter in any::<u64>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let (sealer, opener) = pair(which);
        let len = if which.block_len() == 1 { blocks * 16 + odd } else { blocks * 16 };
        let plaintext: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let (mut iv, mut icv) = (vec![0; which.iv_len()], vec![0; which.icv_len()]);
        sealer.derive_iv(counter, &mut iv).expect("an IV");
        let mut data = plaintext.clone();
        sealer.seal_in_place(&aad, &iv, &mut data, &mut icv).expect("seals");

        // One message: aad | iv | ciphertext | icv, and one bit of it.
        let mut message = [aad.as_slice(), &iv, &data, &icv].concat();
        let bit = flip.index(message.len() * 8);
        message[bit / 8] ^= 1 << (bit % 8);
        let (bad_aad, rest) = message.split_at(aad.len());
        let (bad_iv, rest) = rest.split_at(iv.len());
        let (bad_data, bad_icv) = rest.split_at(len);
        prop_assert_eq!(
            opener.open_in_place(bad_aad, bad_iv, &mut bad_data.to_vec(), bad_icv),
            Err(OpenError::Authentication)
        );

        opener.open_in_place(&aad, &iv, &mut data, &icv).expect("opens");
        prop_assert_eq!(data, plaintext);
    }

    #[test]
    fn garbage_is_refused(
        which in prop::sample::select(every_suite()),
        aad in prop::collection::vec(any::<u8>(), 0..16),
        iv in prop::collection::vec(any::<u8>(), 0..20),
        mut data in prop::collection::vec(any::<u8>(), 0..80),
        icv in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (_, opener) = pair(which);
        prop_assert!(opener.open_in_place(&aad, &iv, &mut data, &icv).is_err());
    }
}
