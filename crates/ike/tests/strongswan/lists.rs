//! Lists of several proposals: whoever responds decides by his own order, as charon does, and nobody gets less than his list allows.

use causeway_ike::Event;
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};

use crate::swan::{Lab, Swan, Us, config};
use crate::{cipher, swan_text};

/// From the strongest to the weakest, and how charon names what it installs of each.
const LIST: [(Cipher, &str); 4] = [
    (cipher(Encryption::Aes256Gcm, Some(Integrity::Sha384), DhGroup::Curve25519), "AES_GCM_16-256"),
    (cipher(Encryption::ChaCha20Poly1305, Some(Integrity::Sha512), DhGroup::Ecp384), "CHACHA20_POLY1305"),
    (cipher(Encryption::Aes256, Some(Integrity::Sha512), DhGroup::Modp3072), "AES_CBC-256/HMAC_SHA2_512_256"),
    (cipher(Encryption::Aes128, Some(Integrity::Sha256), DhGroup::Modp2048), "AES_CBC-128/HMAC_SHA2_256_128"),
];

/// charon's list for IKE or ESP.
fn swan_list<'c>(ciphers: impl Iterator<Item = &'c Cipher>) -> (String, String) {
    let (ike, esp): (Vec<_>, Vec<_>) = ciphers.map(|cipher| swan_text(*cipher)).unzip();
    (ike.join(","), esp.join(","))
}

/// Brings a tunnel up with these lists and says what was agreed: the IKE SA's encryption and group, and charon's list.
fn agreed(lab: &Lab, ours: &[Cipher], theirs: &[Cipher], we_initiate: bool) -> (String, String) {
    let (ike, esp) = swan_list(theirs.iter());
    lab.load(&Swan { ike: &ike, esp: &esp, ..Swan::default() });
    let mut peer = config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP);
    peer.ike_proposals = ours.to_vec();
    // What an AEAD has of a hash is IKE's PRF.
    let plain =
        |cipher: &Cipher| Cipher { integrity: cipher.integrity.filter(|_| !cipher.encryption.is_aead()), ..*cipher };
    peer.esp_proposals = ours.iter().map(plain).collect();
    let mut us = Us::new(peer);
    let swanctl = (!we_initiate).then(|| lab.swanctl_later(&["-i", "--child", "c1", "--timeout", "10"]));
    if we_initiate {
        us.start();
    }
    let up = us.wait("IKE SA", |event| matches!(event, Event::IkeEstablished { .. }));
    let Event::IkeEstablished { info, .. } = up else { unreachable!("it was waited for") };
    us.settle(lab, |listed| listed.contains("INSTALLED"));
    if let Some(swanctl) = swanctl {
        swanctl.wait_with_output().expect("swanctl ends");
    }
    let listed = lab.swanctl(&["-l"]);
    us.endpoint.remove_peer(std::time::Instant::now(), us.key);
    us.settle(lab, |listed| !listed.contains("t1"));
    (info.suite, listed)
}

#[track_caller]
fn assert_agreed((suite, listed): (String, String), (cipher, esp): (Cipher, &str)) {
    let (begin, end) = (format!("{}-", cipher.encryption), format!("-{}", cipher.dh_group.expect("a group")));
    assert!(suite.starts_with(&begin) && suite.ends_with(&end), "{suite} instead of {begin}…{end}");
    assert!(listed.contains(esp), "{esp} is not in {listed}");
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn of_lists_in_opposite_orders_the_responders_first_is_agreed() {
    let lab = Lab::new("order");
    let ours = LIST.map(|(cipher, _)| cipher);
    let mut theirs = ours;
    theirs.reverse();
    // The peer offers its weakest first, and gets our strongest.
    assert_agreed(agreed(&lab, &ours, &theirs, false), LIST[0]);
    // Our first choice is our strongest; the responder insists on another one that is in our list.
    assert_agreed(agreed(&lab, &ours, &theirs, true), LIST[3]);
    // Ours is the weakest, and the peer's order decides again.
    assert_agreed(agreed(&lab, &theirs, &ours, true), LIST[0]);
    assert_agreed(agreed(&lab, &theirs, &ours, false), LIST[3]);
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn of_lists_that_share_their_first_nothing_weaker_is_agreed() {
    let lab = Lab::new("first");
    let ours = LIST.map(|(cipher, _)| cipher);
    for we_initiate in [true, false] {
        assert_agreed(agreed(&lab, &ours, &ours, we_initiate), LIST[0]);
        // Neither end's first is known to the other.
        assert_agreed(agreed(&lab, &ours[..3], &[ours[3], ours[2]], we_initiate), LIST[2]);
    }
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn an_aead_without_integrity_takes_whichever_prf_the_peer_has() {
    let lab = Lab::new("prf");
    for prf in [Integrity::Sha256, Integrity::Sha384, Integrity::Sha512] {
        for we_initiate in [true, false] {
            let free = cipher(Encryption::Aes128Gcm, None, DhGroup::Curve25519);
            let bound = Cipher { integrity: Some(prf), ..free };
            let (suite, listed) = agreed(&lab, &[free], &[bound], we_initiate);
            assert_eq!(suite, format!("aes128gcm-prf{prf}-curve25519"));
            assert!(listed.contains("AES_GCM_16-128"), "{listed}");
        }
    }
}
