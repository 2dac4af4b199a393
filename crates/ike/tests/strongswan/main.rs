//! The endpoint against strongSwan's charon, over UDP between two namespaces.
//!
//! `cargo test -p causeway-ike --test strongswan -- --ignored`

mod interop;
mod lists;
mod packets;
mod swan;

use std::time::Duration;

use causeway_ike::Event;
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};
use causeway_model::{Psk, ReasonCode};

use swan::{Lab, Swan, Us, config};

const fn cipher(encryption: Encryption, integrity: Option<Integrity>, group: DhGroup) -> Cipher {
    Cipher { encryption, integrity, dh_group: Some(group) }
}

/// Our list entry as strongSwan writes it: IKE and ESP proposal.
fn swan_text(cipher: Cipher) -> (String, String) {
    let group = cipher.dh_group.expect("a group");
    let hash = cipher.integrity.unwrap_or(Integrity::Sha256);
    match cipher.encryption {
        Encryption::Aes128 | Encryption::Aes192 | Encryption::Aes256 => {
            let name = cipher.encryption;
            (format!("{name}-{hash}-{group}"), format!("{name}-{hash}-{group}"))
        }
        Encryption::ChaCha20Poly1305 => {
            (format!("chacha20poly1305-prf{hash}-{group}"), format!("chacha20poly1305-{group}"))
        }
        aead => (format!("{aead}16-prf{hash}-{group}"), format!("{aead}16-{group}")),
    }
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn we_initiate() {
    let lab = Lab::new("init");
    lab.load(&Swan::default());
    let mut us = Us::new(config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP));
    us.start();
    us.wait(
        "IKE SA",
        |event| matches!(event, Event::IkeEstablished { info, .. } if info.suite == "aes256gcm-prfsha384-curve25519"),
    );
    us.settle(&lab, |listed| listed.contains("INSTALLED"));
    assert_eq!(child_count(&us), 1);
}

fn failed_with(code: ReasonCode) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::AttemptFailed { fault, .. } if fault.code == code)
}

fn child_count(us: &Us) -> usize {
    let installed = us.events.iter().filter(|event| matches!(event, Event::ChildInstalled { .. })).count();
    let removed = us.events.iter().filter(|event| matches!(event, Event::ChildRemoved { .. })).count();
    installed - removed
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn it_initiates() {
    let lab = Lab::new("resp");
    lab.load(&Swan::default());
    let mut us = Us::new(config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP));
    let swanctl = lab.swanctl_later(&["-i", "--child", "c1", "--timeout", "10"]);
    let child = us.wait_child();
    assert!(child.use_for_sending);
    assert_eq!((child.local.port(), child.remote.port()), (4500, 4500));
    let printed = swanctl.wait_with_output().expect("swanctl ends");
    assert!(String::from_utf8_lossy(&printed.stdout).contains("completed successfully"));
    let listed = lab.swanctl(&["-l"]);
    assert!(listed.contains(&format!("{:08x}", child.inbound_spi)), "{listed}");
    assert!(listed.contains(&format!("{:08x}", child.outbound_spi)), "{listed}");
}

/// For every suite and several groups: both directions of initiation, then a rekey of the Child SA (with PFS) and one of the IKE SA, from
/// each end. charon answers with the right SPIs only if every key is right.
fn matrix(name: &str, suites: &[(Encryption, Option<Integrity>)], groups: &[DhGroup]) {
    let lab = Lab::new(name);
    for (encryption, integrity) in suites {
        for group in groups {
            let ike = cipher(*encryption, Some(integrity.unwrap_or(Integrity::Sha384)), *group);
            let (ike_text, esp_text) = swan_text(ike);
            lab.load(&Swan { ike: &ike_text, esp: &esp_text, ..Swan::default() });

            let mut us = Us::new(config(ike, cipher(*encryption, *integrity, *group)));
            us.start();
            let child = us.wait_child();
            exercise(&lab, &mut us, child);
            us.endpoint.remove_peer(std::time::Instant::now(), us.key);
            us.settle(&lab, |listed| !listed.contains("t1"));
            assert_eq!(child_count(&us), 0);
            drop(us);

            let mut us = Us::new(config(ike, cipher(*encryption, *integrity, *group)));
            let swanctl = lab.swanctl_later(&["-i", "--child", "c1", "--timeout", "10"]);
            let child = us.wait_child();
            swanctl.wait_with_output().expect("swanctl ends");
            exercise(&lab, &mut us, child);
            let swanctl = lab.swanctl_later(&["-t", "--ike", "t1", "--timeout", "10"]);
            let down = us.wait("end", |event| matches!(event, Event::TunnelDown { .. }));
            assert!(matches!(down, Event::TunnelDown { fault, .. } if fault.code == ReasonCode::PeerDeletedSa));
            us.run_for(Duration::from_millis(20));
            swanctl.wait_with_output().expect("swanctl ends");
        }
    }
}

/// Rekeys of both kinds from both ends.
fn exercise(lab: &Lab, us: &mut Us, first: causeway_ike::ChildSa) {
    let mut child = first;
    for by_them in [true, false] {
        if by_them {
            let swanctl = lab.swanctl_later(&["--rekey", "--child", "c1"]);
            let next = us.wait_child();
            assert!(!next.use_for_sending, "the responder of a rekey waits for the initiator");
            us.wait("removal", |event| matches!(event, Event::ChildRemoved { child: old, .. } if *old == child.id));
            assert!(us.events.contains(&Event::ChildActivated { peer: us.key, child: next.id }));
            child = next;
            swanctl.wait_with_output().expect("swanctl ends");
            let swanctl = lab.swanctl_later(&["--rekey", "--ike", "t1"]);
            us.wait("IKE rekey", |event| matches!(event, Event::IkeRekeyed { info, .. } if !info.initiator));
            us.run_for(Duration::from_millis(30));
            swanctl.wait_with_output().expect("swanctl ends");
        } else {
            us.endpoint.handle_packets_sent(std::time::Instant::now(), child.id, u64::MAX);
            let next = us.wait_child();
            assert!(next.use_for_sending);
            assert_eq!(next.rekeys, 2);
            us.wait("removal", |event| matches!(event, Event::ChildRemoved { child: old, .. } if *old == child.id));
            child = next;
        }
        let spis = [child.inbound_spi, child.outbound_spi].map(|spi| format!("{spi:08x}"));
        let agreed = |listed: &str| {
            spis.iter().all(|spi| listed.contains(spi))
                && listed.matches("ESTABLISHED").count() == 1
                && !listed.contains("REKEY")
        };
        us.settle(lab, agreed);
        assert_eq!(child_count(us), 1);
    }
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn aead_suites() {
    let suites = [Encryption::Aes128Gcm, Encryption::Aes256Gcm, Encryption::ChaCha20Poly1305];
    matrix("aead", &suites.map(|suite| (suite, None)), &[DhGroup::Curve25519, DhGroup::Ecp256, DhGroup::Modp2048]);
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn cbc_suites() {
    let groups = [DhGroup::Curve25519, DhGroup::Ecp256, DhGroup::Modp2048];
    matrix("cbc", &[(Encryption::Aes256, Some(Integrity::Sha256))], &groups);
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn the_other_suites_and_groups() {
    let suites = [
        (Encryption::Aes128, Some(Integrity::Sha512)),
        (Encryption::Aes192, Some(Integrity::Sha384)),
        (Encryption::Aes192Gcm, None),
        (Encryption::Aes128Ccm, None),
        (Encryption::Aes256Ccm, None),
    ];
    matrix("other", &suites, &[DhGroup::Ecp384, DhGroup::Ecp521]);
    matrix("modp", &[(Encryption::Aes128Gcm, None)], &[DhGroup::Modp3072, DhGroup::Modp4096]);
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn we_rekey_the_ike_sa() {
    let lab = Lab::new("ikerk");
    lab.load(&Swan::default());
    let mut peer = config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP);
    peer.timers.ike_lifetime = 2;
    let mut us = Us::new(peer);
    us.start();
    us.wait_child();
    for rekeys in 1..=3 {
        us.wait(
            "IKE rekey",
            |event| matches!(event, Event::IkeRekeyed { info, .. } if info.initiator && info.rekeys == rekeys),
        );
    }
    us.settle(&lab, |listed| listed.matches("ESTABLISHED").count() == 1);
    assert_eq!(child_count(&us), 1);
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn both_ends_rekey_all_the_time() {
    let lab = Lab::new("both");
    lab.load(&Swan {
        connection: "rekey_time = 2s\n over_time = 2s\n rand_time = 0s",
        child: "rekey_time = 1s\n rand_time = 0s\n life_time = 20s",
        ..Swan::default()
    });
    let mut peer = config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP);
    peer.timers.ike_lifetime = 3;
    peer.timers.child_lifetime = 2;
    let mut us = Us::new(peer);
    us.start();
    us.wait_child();
    us.run_for(Duration::from_secs(12));
    assert!(!us.events.iter().any(|event| matches!(event, Event::TunnelDown { .. })), "{:#?}", us.events);
    let rekeys = us.events.iter().filter(|event| matches!(event, Event::ChildInstalled { .. })).count();
    assert!(rekeys > 8, "{rekeys} Child SAs");
    assert!(child_count(&us) >= 1);
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn it_dies_and_comes_back() {
    let mut lab = Lab::new("dpd");
    lab.load(&Swan::default());
    let mut peer = config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP);
    peer.initiate = true;
    peer.timers.dpd_delay = 1;
    peer.timers.dpd_timeout = 2;
    let mut us = Us::new(peer);
    us.start();
    us.wait_child();
    us.run_for(Duration::from_secs(3));
    assert_eq!(child_count(&us), 1, "liveness checks are answered");
    lab.kill_charon();
    let down = us.wait("verdict", |event| matches!(event, Event::TunnelDown { .. }));
    assert!(matches!(down, Event::TunnelDown { fault, .. } if fault.code == ReasonCode::DpdTimeout));
    us.wait("failure", failed_with(ReasonCode::PeerSilent));
    lab.start_charon();
    lab.load(&Swan::default());
    us.wait_child();
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn it_restarts_and_initiates_anew() {
    let mut lab = Lab::new("anew");
    lab.load(&Swan::default());
    let mut us = Us::new(config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP));
    us.start();
    let old = us.wait_child();
    lab.kill_charon();
    lab.start_charon();
    lab.load(&Swan::default());
    let swanctl = lab.swanctl_later(&["-i", "--child", "c1", "--timeout", "10"]);
    let new = us.wait_child();
    swanctl.wait_with_output().expect("swanctl ends");
    us.run_for(Duration::from_secs(3));
    assert!(us.events.contains(&Event::ChildRemoved { peer: us.key, child: old.id }));
    assert!(!us.events.contains(&Event::ChildRemoved { peer: us.key, child: new.id }));
    assert!(!us.events.iter().any(|event| matches!(event, Event::TunnelDown { .. })));
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn wrong_keys_proposals_identities_and_selectors_have_names() {
    let lab = Lab::new("wrong");
    let attempt = |swan: &Swan<'_>, by_them: bool, code: ReasonCode| {
        lab.load(swan);
        let mut us = Us::new(config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP));
        let swanctl = by_them.then(|| lab.swanctl_later(&["-i", "--child", "c1", "--timeout", "5"]));
        if !by_them {
            us.start();
        }
        let failed = us.wait(code.as_str(), failed_with(code));
        us.run_for(Duration::from_millis(50));
        if let Some(mut swanctl) = swanctl {
            let _ = swanctl.kill();
            let _ = swanctl.wait();
        }
        us.endpoint.remove_peer(std::time::Instant::now(), us.key);
        us.run_for(Duration::from_millis(50));
        lab.swanctl(&["-t", "--ike", "t1", "--force", "--timeout", "1"]);
        match failed {
            Event::AttemptFailed { fault, .. } => (fault.ours, fault.theirs),
            other => panic!("unexpected {other:?}"),
        }
    };
    for by_them in [false, true] {
        let key = Swan { secret: "another", ..Swan::default() };
        attempt(&key, by_them, ReasonCode::AuthenticationFailed);

        let identity = Swan { local_id: "site.example", ..Swan::default() };
        let (ours, theirs) = attempt(&identity, by_them, ReasonCode::IdentityMismatch);
        assert_eq!((ours.as_deref(), theirs.as_deref()), (Some(swan::THEIRS), Some("site.example")));

        let ike = Swan { ike: "aes256-sha256-modp2048", ..Swan::default() };
        let (ours, theirs) = attempt(&ike, by_them, ReasonCode::NoProposalChosen);
        assert_eq!(ours.as_deref(), Some("aes256gcm-sha384-curve25519"));
        assert_eq!(theirs.as_deref(), by_them.then_some("aes256-sha256-prfsha256-modp2048"));

        let esp = Swan { esp: "aes128-sha256", ..Swan::default() };
        let (ours, theirs) = attempt(&esp, by_them, ReasonCode::ChildNoProposalChosen);
        assert_eq!(ours.as_deref(), Some("aes256gcm-curve25519"));
        assert_eq!(theirs.as_deref(), by_them.then_some("aes128-sha256"));
    }
    let selectors = Swan { selectors: "10.1.0.0/16", ..Swan::default() };
    let (_, theirs) = attempt(&selectors, true, ReasonCode::TsUnacceptable);
    assert!(theirs.is_some_and(|theirs| theirs.contains("10.1.0.0/16")));
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn the_older_key_is_tried_after_the_newer_one() {
    let lab = Lab::new("psk");
    lab.load(&Swan::default());
    let mut peer = config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP);
    peer.psks.insert(0, Psk::new(b"the key of tomorrow".to_vec()));
    let mut us = Us::new(peer);
    us.start();
    us.wait_child();
    assert!(!us.events.iter().any(|event| matches!(event, Event::AttemptFailed { .. })));
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn another_group_is_agreed_both_ways() {
    let lab = Lab::new("group");
    let mut peer = config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP);
    peer.ike_proposals.push(cipher(Encryption::Aes256Gcm, None, DhGroup::Ecp256));
    lab.load(&Swan { ike: "aes256gcm16-prfsha384-ecp256", ..Swan::default() });
    let mut us = Us::new(peer.clone());
    us.start();
    us.wait("IKE SA", |event| matches!(event, Event::IkeEstablished { info, .. } if info.suite.ends_with("ecp256")));
    us.endpoint.remove_peer(std::time::Instant::now(), us.key);
    us.run_for(Duration::from_millis(100));
    drop(us);

    lab.load(&Swan { ike: "aes256gcm16-prfsha384-modp3072-curve25519", ..Swan::default() });
    let mut us = Us::new(peer);
    let swanctl = lab.swanctl_later(&["-i", "--child", "c1", "--timeout", "10"]);
    us.wait(
        "IKE SA",
        |event| matches!(event, Event::IkeEstablished { info, .. } if info.suite.ends_with("curve25519")),
    );
    us.run_for(Duration::from_millis(50));
    swanctl.wait_with_output().expect("swanctl ends");
    assert_eq!(us.endpoint.drops().get("invalid_ke_payload"), Some(&1));
}
