//! Published ESP packets, opened as they came.

use causeway_crypto::{Prf, Secret};
use causeway_esp::{EspKeys, EspSuite, InboundSa, NEXT_HEADER_IPV4, OpenError, Opened};
use causeway_model::suite::{Encryption, Integrity};

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn inbound(spi: u32, suite: EspSuite, key: &str, integrity_key: &[u8]) -> InboundSa {
    let keys = EspKeys::new(Secret::new(hex(key)), Secret::from(integrity_key));
    InboundSa::new(spi, suite, &keys).expect("an SA")
}

const GCM_128: EspSuite = EspSuite::new(Encryption::Aes128Gcm, None);
const GCM_192: EspSuite = EspSuite::new(Encryption::Aes192Gcm, None);
const GCM_256: EspSuite = EspSuite::new(Encryption::Aes256Gcm, None);

/// draft-mcgrew-gcm-test-01 §4, the packets without extended sequence numbers: key and salt, SPI, packet, plaintext with the trailer.
/// Their next header is 1, which is authentic but not for a tunnel.
#[test]
fn draft_mcgrew_gcm_test() {
    let vectors = [
        (
            GCM_128,
            "feffe9928665731c6d6a8f9467308308cafebabe",
            0x0000_a5f8,
            "0000a5f80000000afacedbaddecaf888deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d
             114d2a5c3de81827c10e9a4f51330d0eec416642cfbb85a5b47e48a4ec3b9ba95d918bd183b70d3aa8bc6ee4
             c309e9d85a41ad4a",
            "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100000100000000000003736970
             0963796265726369747902646b00000100010001",
        ),
        (
            GCM_256,
            "abbccddef00112233445566778899aababbccddef00112233445566778899aab11223344",
            0x4a2c_bfe3,
            "4a2cbfe3000000020102030405060708ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d
             65a5d763748a637985771d347f0545659f14e99def842d8eb335f4eecfdbf831824b4c4915956c96",
            "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee0000000007002400020bf0000020405b4
             0101040201020201",
        ),
        (
            GCM_128,
            "0000000000000000000000000000000000000000",
            0x0000_0000,
            "000000000000000100000000000000004688daf2f973a392732909c331d56d60f694abaa414b5e7ff5fdcdff
             f5e9a284456476492719ffb64de7d9dca1e1d894bc3bd57873ed4d181d19d4d5c8c18af3f821d496eeb096e9
             8ad2b69e4799c71d",
            "4500003c99c500008001cb7a40679318010101010800075c020044006162636465666768696a6b6c6d6e6f70
             7172737475767761626364656667686901020201",
        ),
        (
            GCM_192,
            "feffe9928665731c6d6a8f9467308308feffe9928665731ccafebabe",
            0x0000_a5f8,
            "0000a5f80000000afacedbaddecaf888a5b1f8066029aea40e598b8122de02420938b3ab33f828e687b8858b
             5bfbdbd0315b27452144cc7795457b9652037f5318027b5b4cd7a636",
            "45000028a4ad4000400678800a01038f0a010612802306b8cb712602dd6bb03e501016d075680001",
        ),
        (
            GCM_128,
            "7d773d00c144c525ac619d18c84a3f47d9664267",
            0x3354_67ae,
            "335467aeffffffff43457e9182443bc6437f866bcb3f699fe9b0822bac961c4504bef270",
            "01020201",
        ),
    ];
    for (suite, key, spi, packet, plaintext) in vectors {
        let (mut packet, plaintext) = (hex(packet), hex(plaintext));
        let sa = inbound(spi, suite, key, &[]);
        assert_eq!(InboundSa::spi_of(&packet), Some(spi));
        let mut forged = packet.clone();
        *forged.last_mut().expect("octets") ^= 1;
        assert_eq!(sa.open(&mut forged), Err(OpenError::Authentication));
        assert_eq!(sa.open(&mut packet.clone()), Err(OpenError::NextHeader(1)), "SPI {spi:08x}");
        assert_eq!(sa.packets_received(), 1);
        assert_eq!(sa.open(&mut packet), Err(OpenError::Replayed));

        // What it decrypted to, in place.
        assert_eq!(inbound(spi, suite, key, &[]).open(&mut packet), Err(OpenError::NextHeader(1)));
        assert_eq!(packet[16..16 + plaintext.len()], plaintext);
    }
}

/// RFC 7634, appendix A.
#[test]
fn rfc_7634() {
    let suite = EspSuite::new(Encryption::ChaCha20Poly1305, None);
    let key = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3";
    let mut packet = hex("01020304000000051011121314151617
         24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6
         14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3
         cbec163fac469b502773f6fb94e664da9165b82829f641e0
         76aaa8266b7fb0f7b11b369907e1ad43");
    let inner = hex("45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10
         0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223
         2425262728292a2b2c2d2e2f3031323334353637");
    let sa = inbound(0x0102_0304, suite, key, &[]);
    assert_eq!(sa.open(&mut packet), Ok(Opened { inner: &inner, next_header: NEXT_HEADER_IPV4 }));
    assert_eq!(sa.newest_sequence(), 5);
}

/// RFC 3602 §4, cases 5 to 8. They come without authentication, which we never do without: the ICV is put behind them here.
#[test]
fn rfc_3602() {
    let transport = "90d382b410eeba7ad938c46cec1a82bf";
    let tunnel = "0123456789abcdef0123456789abcdef";
    let vectors: [(u32, &str, &str, Result<&str, OpenError>); 4] = [
        // Transport mode: authentic, but an ICMP message is no packet for us.
        (
            0x4321,
            transport,
            "0000432100000001e96e8c08ab465763fd098d45dd3ff893f663c25d325c18c6a9453e194e120849
             a4870b66cc6b9965330013b4898dc856a4699e523a55db080b59ec3a8e4b7e52775b07d1db34ed9c
             538ab50c551b874aa269add047ad2d5913ac19b7cfbad4a6",
            Err(OpenError::NextHeader(1)),
        ),
        (
            0x4321,
            transport,
            "000043210000000869d08df7d203329db093fc4924e5bd80f51995881ec4e0c4488987ce742e8109
             689bb379d2d750c0d915dca346a89f75",
            Err(OpenError::NextHeader(1)),
        ),
        (
            0x8765,
            tunnel,
            "0000876500000002f4e765244f6407adf13dc1380f673f37773b5241a4c449225e4f3ce5ed611b0c
             237ca96cf74a93013c1b0ea1a0cf70f8e4ecaec78ac53aad7a0f022b859243c647752e94a859352b
             8a4d4d2decd136e5c177f132ad3fbfb2201ac9904c74ee0a109e0ca1e4dfe9d5a100b842f1c22f0d",
            Ok("45000054090400004001f988c0a87b03c0a87bc808009f76a90a0100b49c083d02a20400
                08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f
                3031323334353637"),
        ),
        (
            0x8765,
            tunnel,
            "000087650000000585d47224b5f3dd5d2101d4ea8dffab2215b92683819596a8047232cc00f7048f
             e45318e11f8a0f62ede3c3fc61203bb50f980a08c9843fd3a1b06d5c07ff9639b7eb7dfb3512e5de
             435e7207ed971ef3d2726d9b5ef6affc6d17a0decbb13892",
            Ok("45000044090c00004001f990c0a87b03c0a87bc80800d63caa0a0200c69c083da3de0300
                ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
        ),
    ];
    for (spi, key, packet, inner) in vectors {
        for integrity in Integrity::ALL {
            let suite = EspSuite::new(Encryption::Aes128, Some(*integrity));
            let mac_key = vec![0x77; suite.crypto().integrity_key_len()];
            let mut packet = hex(packet);
            let tag = Prf::new(*integrity).compute(&mac_key, &[&packet]);
            packet.extend_from_slice(&tag.slice()[..suite.crypto().icv_len()]);
            let sa = inbound(spi, suite, key, &mac_key);
            let opened = sa.open(&mut packet).map(|opened| opened.inner.to_vec());
            assert_eq!(opened, inner.map(hex), "{packet:02x?}");
        }
    }
}
