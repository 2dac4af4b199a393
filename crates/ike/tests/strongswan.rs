//! The endpoint against strongSwan's charon, over UDP between two namespaces.
//!
//! `cargo test -p causeway-ike --test strongswan -- --ignored`

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
    us.run_for(Duration::from_millis(100));
    assert!(us.events.iter().any(|event| matches!(event, Event::ChildInstalled { .. })));
    assert!(lab.swanctl(&["-l"]).contains("INSTALLED"));
}
