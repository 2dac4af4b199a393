//! What holds for every suite: sizes, round trips, damage, replays, threads.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use causeway_crypto::{Opener, Sealer, Secret};
use causeway_esp::{
    EspKeys, EspSuite, InboundSa, NEXT_HEADER_DUMMY, NEXT_HEADER_IPV4, NEXT_HEADER_IPV6, OpenError, OutboundSa, WINDOW,
    inner_mtu, outer_len,
};
use causeway_model::Family;
use causeway_model::suite::{Encryption, Integrity};
use proptest::prelude::*;

const SPI: u32 = 0xc0ff_ee01;

fn every_suite() -> Vec<EspSuite> {
    let mut suites = Vec::new();
    for encryption in Encryption::ALL {
        if encryption.is_aead() {
            suites.push(EspSuite::new(*encryption, None));
        } else {
            suites.extend(Integrity::ALL.iter().map(|integrity| EspSuite::new(*encryption, Some(*integrity))));
        }
    }
    suites
}

fn keymat(suite: EspSuite) -> Vec<u8> {
    (0..suite.keymat_len()).map(|at| (at * 7) as u8).collect()
}

fn pair(suite: EspSuite) -> (OutboundSa, InboundSa) {
    let (keys, _) = EspKeys::split(suite, &keymat(suite)).expect("keys");
    (OutboundSa::new(SPI, suite, &keys).expect("an SA"), InboundSa::new(SPI, suite, &keys).expect("an SA"))
}

/// An IP packet of `len` octets, which is at least its header's.
fn ip(family: Family, len: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..len).map(|at| at as u8).collect();
    match family {
        Family::Ipv4 => {
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        }
        Family::Ipv6 => {
            packet[0] = 0x60;
            packet[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
        }
    }
    packet
}

fn sealed(sa: &OutboundSa, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![0xee; sa.suite().sealed_len(inner.len()) + 3];
    let len = sa.seal(inner, &mut out).expect("seals");
    assert_eq!(out[len..], [0xee; 3], "nothing behind the packet is touched");
    out.truncate(len);
    out
}

/// An authentic packet with a plaintext that our sealing would not make.
fn crafted(suite: EspSuite, sequence: u32, plaintext: &[u8]) -> Vec<u8> {
    let crypto = suite.crypto();
    let material = keymat(suite);
    let (encryption, rest) = material.split_at(crypto.encryption_key_len());
    let sealer = Sealer::new(crypto, encryption, &rest[..crypto.integrity_key_len()]).expect("a sealer");
    let header = [SPI.to_be_bytes(), sequence.to_be_bytes()].concat();
    let mut iv = vec![0; crypto.iv_len()];
    sealer.derive_iv(u64::from(sequence), &mut iv).expect("an IV");
    let mut body = vec![0; plaintext.len() + crypto.icv_len()];
    sealer.seal_into(&header, &iv, plaintext, &[], &mut body).expect("seals");
    [header, iv, body].concat()
}

#[test]
fn keys_come_in_the_order_of_rfc_7296() {
    let suite = EspSuite::new(Encryption::Aes128, Some(Integrity::Sha256));
    assert_eq!(suite.keymat_len(), 2 * (16 + 32));
    let material = keymat(suite);
    let (from_initiator, from_responder) = EspKeys::split(suite, &material).expect("keys");
    let part = |from: usize, to: usize| Secret::from(&material[from..to]);
    assert_eq!(from_initiator, EspKeys::new(part(0, 16), part(16, 48)));
    assert_eq!(from_responder, EspKeys::new(part(48, 64), part(64, 96)));
    for len in [0, 95, 97] {
        assert!(EspKeys::split(suite, &vec![0; len]).is_err(), "{len}");
    }
    assert_eq!(EspSuite::new(Encryption::Aes256Gcm, None).keymat_len(), 72);
    assert_eq!(EspSuite::new(Encryption::Aes128Ccm, None).keymat_len(), 38);
}

#[test]
fn a_packet_has_the_form_of_rfc_4303() {
    let (outbound, _) = pair(EspSuite::new(Encryption::Aes128Gcm, None));
    let packet = sealed(&outbound, &ip(Family::Ipv4, 21));
    assert_eq!(packet[..4], SPI.to_be_bytes());
    assert_eq!(packet[4..8], [0, 0, 0, 1]);
    assert_eq!(packet[8..16], [0, 0, 0, 0, 0, 0, 0, 1]);
    // 21 and the trailer make 23: one octet of padding.
    assert_eq!(packet.len(), 16 + 24 + 16);
    assert_eq!(sealed(&outbound, &ip(Family::Ipv4, 21))[4..8], [0, 0, 0, 2]);
}

/// Padding 1, 2, 3, …, its length, and the next header, to a whole number of blocks and of 4 octets.
#[test]
fn the_trailer_has_the_form_of_rfc_4303() {
    for suite in every_suite() {
        let crypto = suite.crypto();
        let material = keymat(suite);
        let (encryption, rest) = material.split_at(crypto.encryption_key_len());
        let opener = Opener::new(crypto, encryption, &rest[..crypto.integrity_key_len()]).expect("an opener");
        let (outbound, _) = pair(suite);
        for len in 40..80 {
            let inner = ip(Family::Ipv6, len);
            let packet = sealed(&outbound, &inner);
            let (header, rest) = packet.split_at(8);
            let (iv, rest) = rest.split_at(crypto.iv_len());
            let (text, icv) = rest.split_at(rest.len() - crypto.icv_len());
            let mut text = text.to_vec();
            opener.open_in_place(header, iv, &mut text, icv).expect("opens");
            let align = crypto.block_len().max(4);
            let padding = (align - (len + 2) % align) % align;
            let mut expected = inner;
            expected.extend(1..=padding as u8);
            expected.extend([padding as u8, NEXT_HEADER_IPV6]);
            assert_eq!(text, expected, "{suite:?}, {len}");
        }
    }
}

/// The sums by hand, for 1500 octets outside.
#[test]
fn inner_mtus_by_hand() {
    let gcm = EspSuite::new(Encryption::Aes256Gcm, None);
    let cbc = EspSuite::new(Encryption::Aes256, Some(Integrity::Sha256));
    // 1500 - 20 - 8 (SPI, sequence) - 8 (IV) - 16 (ICV) = 1448, a multiple of 4; less 2.
    assert_eq!(inner_mtu(1500, Family::Ipv4, false, gcm), 1446);
    assert_eq!(inner_mtu(1500, Family::Ipv4, true, gcm), 1438);
    assert_eq!(inner_mtu(1500, Family::Ipv6, true, gcm), 1418);
    // 1500 - 20 - 8 (UDP) - 8 - 16 - 16 = 1432 = 89 * 16 + 8; 1424 - 2.
    assert_eq!(inner_mtu(1500, Family::Ipv4, true, cbc), 1422);
    assert_eq!(inner_mtu(0, Family::Ipv4, true, gcm), 0);
    assert_eq!(inner_mtu(60, Family::Ipv6, false, cbc), 0);
    assert_eq!(inner_mtu(u32::MAX, Family::Ipv4, false, gcm), 65_535);
}

#[test]
fn only_ip_and_dummies_come_out() {
    for suite in every_suite() {
        let (_, inbound) = pair(suite);
        let mut sequence = 0;
        // To a whole number of blocks, with the right padding.
        let mut open = |inner: &[u8], next_header: u8| {
            sequence += 1;
            let mut text = inner.to_vec();
            let padding = (16 - (inner.len() + 2) % 16) % 16;
            text.extend(1..=padding as u8);
            text.extend([padding as u8, next_header]);
            let mut packet = crafted(suite, sequence, &text);
            inbound.open(&mut packet).map(|opened| (opened.inner.to_vec(), opened.next_header))
        };
        let (v4, v6) = (ip(Family::Ipv4, 33), ip(Family::Ipv6, 47));
        assert_eq!(open(&v4, NEXT_HEADER_IPV4), Ok((v4.clone(), NEXT_HEADER_IPV4)));
        assert_eq!(open(&v6, NEXT_HEADER_IPV6), Ok((v6.clone(), NEXT_HEADER_IPV6)));
        assert_eq!(open(b"noise", NEXT_HEADER_DUMMY), Ok((b"noise".to_vec(), NEXT_HEADER_DUMMY)));
        // Traffic flow padding behind the packet.
        assert_eq!(open(&[v4.as_slice(), &[0; 9]].concat(), NEXT_HEADER_IPV4), Ok((v4.clone(), NEXT_HEADER_IPV4)));

        assert_eq!(open(&v4, 6), Err(OpenError::NextHeader(6)));
        assert_eq!(open(&v4, NEXT_HEADER_IPV6), Err(OpenError::Inner));
        assert_eq!(open(&v6, NEXT_HEADER_IPV4), Err(OpenError::Inner));
        assert_eq!(open(&v4[..32], NEXT_HEADER_IPV4), Err(OpenError::Inner));
        assert_eq!(open(&v6[..5], NEXT_HEADER_IPV6), Err(OpenError::Inner));
        assert_eq!(open(&[], NEXT_HEADER_IPV4), Err(OpenError::Inner));
        assert_eq!(open(&[0x45, 0, 0, 4], NEXT_HEADER_IPV4), Err(OpenError::Inner));
        assert_eq!(inbound.packets_received(), 11, "all of them prove that the peer lives");
    }
}

#[test]
fn wrong_padding_is_refused() {
    for suite in every_suite() {
        let (_, inbound) = pair(suite);
        let mut last = [0; 16];
        last[14] = 200;
        last[15] = NEXT_HEADER_IPV4;
        assert_eq!(inbound.open(&mut crafted(suite, 1, &last)), Err(OpenError::Padding), "longer than the packet");
        last[14] = 2;
        assert_eq!(inbound.open(&mut crafted(suite, 2, &last)), Err(OpenError::Padding), "zeros");
    }
}

#[test]
fn a_forged_packet_does_not_shut_out_the_true_one() {
    let (outbound, inbound) = pair(EspSuite::new(Encryption::Aes128Gcm, None));
    let inner = ip(Family::Ipv4, 60);
    let packet = sealed(&outbound, &inner);
    let mut forged = packet.clone();
    forged[20] ^= 1;
    assert_eq!(inbound.open(&mut forged), Err(OpenError::Authentication));
    // Nor does one move the window.
    let mut far = packet.clone();
    far[4] = 0xff;
    assert_eq!(inbound.open(&mut far), Err(OpenError::Authentication));
    assert_eq!(inbound.newest_sequence(), 0);
    assert!(inbound.open(&mut packet.clone()).is_ok());
    assert_eq!(inbound.open(&mut packet.clone()), Err(OpenError::Replayed));

    let mut late = sealed(&outbound, &inner);
    for _ in 0..WINDOW {
        assert!(inbound.open(&mut sealed(&outbound, &inner)).is_ok());
    }
    assert_eq!(inbound.open(&mut late), Err(OpenError::Stale));
    let mut other = packet;
    other[0] ^= 0xff;
    assert_eq!(inbound.open(&mut other), Err(OpenError::UnknownSpi(SPI ^ 0xff00_0000)));
}

/// Four threads seal, four open every packet twice: no number is drawn twice, and each packet comes out once.
#[test]
fn threads_share_an_sa() {
    const THREADS: usize = 4;
    const PACKETS: usize = 200;
    let (outbound, inbound) = pair(EspSuite::new(Encryption::Aes256Gcm, None));
    let packets = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..PACKETS {
                    let packet = sealed(&outbound, &ip(Family::Ipv6, 100));
                    packets.lock().expect("not poisoned").push(packet);
                }
            });
        }
    });
    let packets = packets.into_inner().expect("not poisoned");
    let numbers: HashSet<&[u8]> = packets.iter().map(|packet| &packet[4..8]).collect();
    assert_eq!(numbers.len(), THREADS * PACKETS);
    assert_eq!(outbound.packets_sent(), (THREADS * PACKETS) as u64);

    let (opened, replayed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for packet in &packets {
                    match inbound.open(&mut packet.clone()) {
                        Ok(_) => opened.fetch_add(1, Ordering::Relaxed),
                        Err(OpenError::Replayed) => replayed.fetch_add(1, Ordering::Relaxed),
                        Err(error) => panic!("{error}"),
                    };
                }
            });
        }
    });
    // 800 packets lie within the window in whatever order they come.
    assert_eq!(opened.into_inner(), THREADS * PACKETS);
    assert_eq!(replayed.into_inner(), (THREADS - 1) * THREADS * PACKETS);
}

proptest! {
    #[test]
    fn round_trip(
        which in prop::sample::select(every_suite()),
        v6 in any::<bool>(),
        len in 40_usize..2000,
    ) {
        let (outbound, inbound) = pair(which);
        let family = Family::from_is_ipv6(v6);
        let inner = ip(family, len);
        let mut packet = sealed(&outbound, &inner);
        prop_assert_eq!(packet.len(), which.sealed_len(len));
        let opened = inbound.open(&mut packet).expect("opens");
        prop_assert_eq!(opened.inner, inner);
        prop_assert_eq!(opened.next_header, if v6 { NEXT_HEADER_IPV6 } else { NEXT_HEADER_IPV4 });
    }

    #[test]
    fn any_flipped_bit_fails(
        which in prop::sample::select(every_suite()),
        len in 20_usize..200,
        flip in any::<prop::sample::Index>(),
    ) {
        let (outbound, inbound) = pair(which);
        let mut packet = sealed(&outbound, &ip(Family::Ipv4, len));
        let bit = flip.index(packet.len() * 8);
        packet[bit / 8] ^= 1 << (bit % 8);
        let expected = match bit / 8 {
            0..4 => OpenError::UnknownSpi(InboundSa::spi_of(&packet).expect("an SPI")),
            // Number 1 becomes 0.
            7 if bit % 8 == 0 => OpenError::Stale,
            _ => OpenError::Authentication,
        };
        prop_assert_eq!(inbound.open(&mut packet), Err(expected));
        prop_assert_eq!(inbound.newest_sequence(), 0);
    }

    #[test]
    fn a_cut_packet_fails(
        which in prop::sample::select(every_suite()),
        len in 20_usize..200,
        cut in any::<prop::sample::Index>(),
    ) {
        let (outbound, inbound) = pair(which);
        let mut packet = sealed(&outbound, &ip(Family::Ipv4, len));
        packet.truncate(cut.index(packet.len()));
        let error = inbound.open(&mut packet).expect_err("cut");
        prop_assert!(matches!(error, OpenError::TooShort | OpenError::Length | OpenError::Authentication), "{}", error);
    }

    #[test]
    fn garbage_fails(
        which in prop::sample::select(every_suite()),
        ours in any::<bool>(),
        mut packet in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (_, inbound) = pair(which);
        if ours {
            packet.iter_mut().zip(SPI.to_be_bytes()).for_each(|(octet, spi)| *octet = spi);
        }
        prop_assert!(inbound.open(&mut packet).is_err());
    }

    /// Authentic garbage: a peer that has the keys cannot make us panic either.
    #[test]
    fn authentic_garbage_does_not_panic(
        which in prop::sample::select(every_suite()),
        blocks in prop::collection::vec(any::<[u8; 16]>(), 1..6),
        next_header in prop::sample::select(vec![0, NEXT_HEADER_IPV4, NEXT_HEADER_IPV6, NEXT_HEADER_DUMMY, 255]),
        padding_len in prop_oneof![0_u8..4, any::<u8>()],
    ) {
        let (_, inbound) = pair(which);
        let mut text = blocks.concat();
        let len = text.len();
        text[len - 2] = padding_len;
        text[len - 1] = next_header;
        let result = inbound.open(&mut crafted(which, 1, &text)).map(|opened| opened.inner.len());
        prop_assert!(!matches!(result, Err(OpenError::Authentication | OpenError::TooShort | OpenError::Length)));
        prop_assert_eq!(inbound.packets_received(), 1);
    }

    /// The MTU is exact: what fits does, and one octet more does not.
    #[test]
    fn the_inner_mtu_is_exact(
        which in prop::sample::select(every_suite()),
        v6 in any::<bool>(),
        udp in any::<bool>(),
        outer in 200_u32..9100,
    ) {
        let family = Family::from_is_ipv6(v6);
        let inner = inner_mtu(outer, family, udp, which) as usize;
        prop_assert!(outer_len(inner, family, udp, which) <= outer as usize);
        prop_assert!(outer_len(inner + 1, family, udp, which) > outer as usize);
        prop_assert_eq!(
            outer_len(inner, family, udp, which),
            which.sealed_len(inner) + if v6 { 40 } else { 20 } + if udp { 8 } else { 0 }
        );
    }
}
