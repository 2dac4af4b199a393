//! Every suite that the API offers with every group, against strongSwan: `make interop`.

use std::any::Any;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use causeway_ike::{ChildSa, Event};
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};

use crate::packets::{Path, THEIRS_INSIDE};
use crate::swan::{Lab, OURS_6, Swan, THEIRS_6, Us, config};
use crate::{cipher, swan_text};

/// Milliseconds from the first step of each to an echo reply through the tunnel.
struct Cell {
    /// We initiate.
    ours: u128,
    /// charon does; its command's start included.
    theirs: u128,
    /// Our rekey of the Child SA, with a fresh key exchange.
    rekey: u128,
}

/// The fifteen suites: AES-CBC with each integrity algorithm, and the AEADs.
fn suites() -> Vec<(Encryption, Option<Integrity>)> {
    let hashes = |encryption: Encryption| match encryption.is_aead() {
        true => vec![None],
        false => Integrity::ALL.iter().copied().map(Some).collect(),
    };
    Encryption::ALL
        .iter()
        .flat_map(|encryption| hashes(*encryption).into_iter().map(|hash| (*encryption, hash)))
        .collect()
}

/// One suite and one group, for IKE and ESP alike, in both roles.
fn cell(lab: &Lab, encryption: Encryption, integrity: Option<Integrity>, prf: Integrity, group: DhGroup) -> Cell {
    let ike = cipher(encryption, Some(integrity.unwrap_or(prf)), group);
    let esp = cipher(encryption, integrity, group);
    let (ike_text, esp_text) = swan_text(ike);
    lab.load(&Swan { ike: &ike_text, esp: &esp_text, ..Swan::default() });
    let (ours, rekey) = we_initiate(lab, ike, esp);
    let theirs = they_initiate(lab, ike, esp);
    Cell { ours, theirs, rekey }
}

fn is_suite(event: &Event, ike: Cipher) -> bool {
    let group = ike.dh_group.map(|group| group.to_string()).unwrap_or_default();
    let encryption = ike.encryption.to_string();
    matches!(event, Event::IkeEstablished { info, .. }
        if info.suite.starts_with(&format!("{encryption}-")) && info.suite.ends_with(&group) && info.psk == 0)
}

fn we_initiate(lab: &Lab, ike: Cipher, esp: Cipher) -> (u128, u128) {
    let mut us = Us::new(config(ike, esp));
    let begun = Instant::now();
    us.start();
    let first = us.wait_child();
    Path::new(&first).ping(&mut us);
    let ours = begun.elapsed().as_millis();
    assert!(us.events.iter().any(|event| is_suite(event, ike)), "{:?}", us.events.first());

    let begun = Instant::now();
    us.endpoint.handle_packets_sent(Instant::now(), first.id, u64::MAX);
    let second = us.wait_child();
    Path::new(&second).ping(&mut us);
    let rekey = begun.elapsed().as_millis();
    assert_eq!((second.rekeys, second.suite), (1, first.suite));
    // charon names the group of a Child SA's own key exchange in its suite.
    let group = esp.dh_group.map(|group| group.to_string()).unwrap_or_default().to_uppercase();
    let spi = format!("{:08x}", second.inbound_spi);
    us.settle(lab, |listed| listed.contains(&spi) && esp_line(listed).is_some_and(|line| pfs_is(line, &group)));
    us.endpoint.remove_peer(Instant::now(), us.key);
    us.settle(lab, |listed| !listed.contains("t1"));
    (ours, rekey)
}

fn esp_line(listed: &str) -> Option<&str> {
    listed.lines().find(|line| line.contains("INSTALLED"))
}

/// strongSwan's names of the groups.
fn pfs_is(line: &str, group: &str) -> bool {
    let name = match group.strip_prefix("MODP").or_else(|| group.strip_prefix("ECP")) {
        Some(bits) => format!("{}_{bits}", group.trim_end_matches(bits)),
        None => "CURVE_25519".to_owned(),
    };
    line.contains(&name)
}

fn they_initiate(lab: &Lab, ike: Cipher, esp: Cipher) -> u128 {
    let mut us = Us::new(config(ike, esp));
    let begun = Instant::now();
    let swanctl = lab.swanctl_later(&["-i", "--child", "c1", "--timeout", "10"]);
    let first = us.wait_child();
    Path::new(&first).ping(&mut us);
    let theirs = begun.elapsed().as_millis();
    swanctl.wait_with_output().expect("swanctl ends");
    assert!(us.events.iter().any(|event| is_suite(event, ike)), "{:?}", us.events.first());

    let swanctl = lab.swanctl_later(&["--rekey", "--child", "c1"]);
    let second = us.wait_child();
    us.wait("activation", |event| matches!(event, Event::ChildRemoved { child, .. } if *child == first.id));
    swanctl.wait_with_output().expect("swanctl ends");
    Path::new(&second).ping(&mut us);

    let swanctl = lab.swanctl_later(&["--rekey", "--ike", "t1"]);
    us.wait("IKE rekey", |event| matches!(event, Event::IkeRekeyed { .. }));
    us.run_for(Duration::from_millis(20));
    swanctl.wait_with_output().expect("swanctl ends");
    // The new IKE SA's keys are right if its own CREATE_CHILD_SA is understood.
    us.endpoint.handle_packets_sent(Instant::now(), second.id, u64::MAX);
    let third: ChildSa = us.wait_child();
    Path::new(&third).ping(&mut us);

    let swanctl = lab.swanctl_later(&["-t", "--ike", "t1", "--timeout", "10"]);
    us.wait("end", |event| matches!(event, Event::TunnelDown { .. }));
    us.run_for(Duration::from_millis(20));
    swanctl.wait_with_output().expect("swanctl ends");
    theirs
}

fn reason(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic").lines().next().unwrap_or_default().to_owned()
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces; takes minutes"]
fn the_whole_matrix() {
    let lab = Lab::new("matrix");
    lab.inside(&THEIRS_INSIDE.to_string());
    let mut table = String::from("| suite |");
    for group in DhGroup::ALL {
        let _ = write!(table, " {group} |");
    }
    table.push_str("\n|---|");
    DhGroup::ALL.iter().for_each(|_| table.push_str("---|"));
    let mut failures = Vec::new();
    let mut cells = 0;
    for (number, (encryption, integrity)) in suites().into_iter().enumerate() {
        // An AEAD says nothing about the PRF: each gets its turn.
        let prf = Integrity::ALL[number % Integrity::ALL.len()];
        let name = integrity.map_or_else(|| format!("{encryption}, prf {prf}"), |hash| format!("{encryption}-{hash}"));
        let _ = write!(table, "\n| {name} |");
        for group in DhGroup::ALL {
            cells += 1;
            match catch_unwind(AssertUnwindSafe(|| cell(&lab, encryption, integrity, prf, *group))) {
                Ok(Cell { ours, theirs, rekey }) => {
                    let _ = write!(table, " {ours} / {theirs} / {rekey} |");
                }
                Err(panic) => {
                    let _ = write!(table, " **failed** |");
                    failures.push(format!("{name} with {group}: {}", reason(&*panic)));
                    lab.swanctl(&["-t", "--ike", "t1", "--force", "--timeout", "1"]);
                }
            }
        }
    }
    let _ = writeln!(std::io::stdout(), "\n{table}\n\n{} of {cells} cells work.", cells - failures.len());
    assert_eq!((cells, failures), (105, Vec::new()));
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn packets_go_through_over_ipv6() {
    let lab = Lab::new("six");
    lab.inside(&THEIRS_INSIDE.to_string());
    lab.load(&Swan { addresses: (OURS_6, THEIRS_6), local_id: THEIRS_6, remote_id: OURS_6, ..Swan::default() });
    let mut peer = config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP);
    peer.key.family = causeway_model::Family::Ipv6;
    (peer.local, peer.remote) = (OURS_6.parse().expect("address"), THEIRS_6.parse().expect("address"));
    peer.local_identity = OURS_6.parse().expect("identity");
    peer.remote_identity = THEIRS_6.parse().expect("identity");

    let mut us = Us::new(peer.clone());
    us.start();
    let child = us.wait_child();
    assert_eq!((child.local.port(), child.remote.port()), (4500, 4500));
    Path::new(&child).ping(&mut us);
    us.endpoint.remove_peer(Instant::now(), us.key);
    us.settle(&lab, |listed| !listed.contains("t1"));
    drop(us);

    let mut us = Us::new(peer);
    let swanctl = lab.swanctl_later(&["-i", "--child", "c1", "--timeout", "10"]);
    let child = us.wait_child();
    Path::new(&child).ping(&mut us);
    swanctl.wait_with_output().expect("swanctl ends");
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn a_reauthentication_moves_packets_to_the_new_key() {
    let lab = Lab::new("reauth");
    lab.inside(&THEIRS_INSIDE.to_string());
    lab.load(&Swan::default());
    let mut us = Us::new(config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP));
    us.start();
    let old = us.wait_child();
    let mut old_path = Path::new(&old);
    old_path.ping(&mut us);

    let mut changed = config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP);
    changed.key = us.key;
    changed.psks.insert(0, causeway_model::Psk::new(b"the newer key".to_vec()));
    us.endpoint.set_peer(Instant::now(), changed);
    // The device does not have it yet.
    us.endpoint.reauthenticate(Instant::now(), us.key);
    us.wait("failure", |event| matches!(event, Event::AttemptFailed { .. }));
    old_path.ping(&mut us);
    lab.load(&Swan { secret: "the newer key", ..Swan::default() });
    us.endpoint.reauthenticate(Instant::now(), us.key);
    let new = us.wait_child();
    assert!(us.events.iter().any(|event| matches!(event, Event::IkeEstablished { info, .. } if info.psk == 0)));
    us.run_for(Duration::from_secs(5));
    let removed = Event::ChildRemoved { peer: us.key, child: old.id };
    assert!(!us.events.contains(&removed), "no traffic, no break");
    let mut new_path = Path::new(&new);
    new_path.ping(&mut us);
    us.endpoint.handle_inbound_on_child(Instant::now(), new.id);
    us.settle(&lab, |listed| listed.matches("ESTABLISHED").count() == 1);
    assert!(us.events.contains(&removed));
    new_path.ping(&mut us);
    assert!(!us.events.iter().any(|event| matches!(event, Event::TunnelDown { .. })));
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn another_pfs_group_shows_at_the_rekey_only_and_has_a_name() {
    let lab = Lab::new("pfs");
    lab.inside(&THEIRS_INSIDE.to_string());
    lab.load(&Swan { esp: "aes256gcm16-ecp256", ..Swan::default() });
    let mut us = Us::new(config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP));
    us.start();
    let child = us.wait_child();
    let mut path = Path::new(&child);
    path.ping(&mut us);
    us.endpoint.handle_packets_sent(Instant::now(), child.id, u64::MAX);
    // As often as wanted, and no more.
    let refused = |us: &mut Us, count: u64| {
        let deadline = Instant::now() + Duration::from_secs(15);
        while us.endpoint.drops().get("pfs_mismatch") != Some(&count) {
            assert!(Instant::now() < deadline, "{:?}", us.endpoint.drops());
            us.run_for(Duration::from_millis(10));
        }
        us.run_for(Duration::from_secs(1));
        assert_eq!(us.endpoint.drops().get("pfs_mismatch"), Some(&count));
    };
    refused(&mut us, 1);
    // The rekey is refused; what works goes on working until its lifetime ends.
    path.ping(&mut us);
    let swanctl = lab.swanctl_later(&["--rekey", "--child", "c1"]);
    refused(&mut us, 2);
    swanctl.wait_with_output().expect("swanctl ends");
    path.ping(&mut us);
}

#[test]
#[ignore = "needs root, strongSwan and network namespaces"]
fn long_messages_travel_in_fragments_both_ways() {
    let lab = Lab::with_fragments("frag", 576);
    lab.inside(&THEIRS_INSIDE.to_string());
    // Enough on either side's list that IKE_AUTH does not fit one packet; only the last of each is common.
    let hash = |encryption: Encryption| (!encryption.is_aead()).then_some(Integrity::Sha512);
    let suites = Encryption::ALL.iter().filter(|encryption| **encryption != Encryption::Aes256Gcm);
    let ours = suites.flat_map(|suite| DhGroup::ALL.iter().rev().map(|group| cipher(*suite, hash(*suite), *group)));
    let mut peer = config(Cipher::DEFAULT_IKE, Cipher::DEFAULT_ESP);
    peer.esp_proposals = ours.chain([Cipher::DEFAULT_ESP]).collect();
    let hashes = ["sha256", "sha384"].iter().flat_map(|hash| {
        ["aes128", "aes192", "aes256", "camellia128", "camellia192", "camellia256"]
            .map(|suite| format!("{suite}-{hash}"))
    });
    let theirs: Vec<String> =
        hashes.flat_map(|suite| ["modp2048", "ecp256", "ecp521"].map(|group| format!("{suite}-{group}"))).collect();
    let esp = format!("{},aes256gcm16-curve25519", theirs.join(","));
    lab.load(&Swan { esp: &esp, ..Swan::default() });

    let mut us = Us::new(peer.clone());
    us.start();
    let child = us.wait_child();
    assert_eq!(child.suite_text, "aes256gcm");
    Path::new(&child).ping(&mut us);
    us.endpoint.remove_peer(Instant::now(), us.key);
    us.settle(&lab, |listed| !listed.contains("t1"));
    drop(us);

    let mut us = Us::new(peer);
    let swanctl = lab.swanctl_later(&["-i", "--child", "c1", "--timeout", "10"]);
    let child = us.wait_child();
    assert_eq!(child.suite_text, "aes256gcm");
    Path::new(&child).ping(&mut us);
    swanctl.wait_with_output().expect("swanctl ends");
    let log = lab.log();
    assert!(log.contains("received fragment #1 of "), "ours came in pieces");
    assert!(log.contains("splitting IKE message "), "and its own left in pieces");
}
