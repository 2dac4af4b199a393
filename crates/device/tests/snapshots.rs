//! Whole texts against committed ones. `UPDATE_SNAPSHOTS=1 cargo test -p causeway-device` writes them anew; read the difference.

use std::path::PathBuf;
use std::process::Command;

use causeway_device::{DeviceInput, FORMATS, Names, SPLIT_COMMAND, render};
use causeway_model::desired::{PolicyDesired, Timers, TunnelDesired};
use causeway_model::id::{
    ConnectionId, CustomerGatewayId, OrganizationId, ProjectId, RoutingPolicyId, SecretId, VpnGatewayId,
};
use causeway_model::resource::{BgpSession, Connection, InitiationPolicy, Meta, Tunnels};
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};
use causeway_model::time::Timestamp;

fn parsed<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().expect("a value of the test")
}

fn session(ours: &str, theirs: &str) -> BgpSession {
    BgpSession {
        private_ip: parsed(ours),
        peer_private_ip: parsed(theirs),
        routing_policy_id: Some(parsed::<RoutingPolicyId>("66666666-6666-4666-8666-666666666666")),
    }
}

fn simple() -> DeviceInput {
    DeviceInput {
        connection: Connection {
            id: parsed::<ConnectionId>("1f2e3d4c-0000-4000-8000-000000000001"),
            meta: Meta {
                organization_id: parsed::<OrganizationId>("11111111-1111-4111-8111-111111111111"),
                project_id: parsed::<ProjectId>("22222222-2222-4222-8222-222222222222"),
                region: "fr-par".to_owned(),
                name: "Lyon".to_owned(),
                tags: Vec::new(),
                created_at: Timestamp(0),
                updated_at: Timestamp(0),
            },
            vpn_gateway_id: parsed::<VpnGatewayId>("33333333-3333-4333-8333-333333333333"),
            customer_gateway_id: parsed::<CustomerGatewayId>("44444444-4444-4444-8444-444444444444"),
            tunnels: Tunnels::Ipv4,
            initiation_policy: InitiationPolicy::CustomerGateway,
            ikev2_ciphers: Vec::new(),
            esp_ciphers: Vec::new(),
            secret_id: parsed::<SecretId>("55555555-5555-4555-8555-555555555555"),
            secret_revision: 1,
            owns_secret: true,
            bgp_ipv4: Some(session("169.254.0.1/30", "169.254.0.2/30")),
            bgp_ipv6: Some(session("fd00:c0de::1/126", "fd00:c0de::2/126")),
            route_propagation_enabled: true,
            peer_identity: None,
            locked: false,
        },
        tunnels: vec![TunnelDesired { local: parsed("192.0.2.1"), peer: parsed("203.0.113.10") }],
        provider_asn: 12876,
        customer_asn: 65001,
        peer_identity: None,
        policy_v4: Some(PolicyDesired {
            prefix_filter_in: vec![parsed("10.20.0.0/16")],
            prefix_filter_out: vec![parsed("172.16.0.0/22"), parsed("172.16.8.0/22")],
        }),
        policy_v6: Some(PolicyDesired {
            prefix_filter_in: vec![parsed("fd20::/32")],
            prefix_filter_out: vec![parsed("fd5f:519c:6d46::/64")],
        }),
        vpc_subnets: vec![parsed("172.16.0.0/22"), parsed("fd5f:519c:6d46::/64")],
        timers: Timers::default(),
        md5: None,
        gtsm: false,
        generated_for: Names { vpn_gateway: "gw".to_owned(), customer_gateway: "office".to_owned() },
    }
}

/// Two tunnels that we start, proposals of every kind, a device with a name, words that try to break out, one family without a policy.
fn rich() -> DeviceInput {
    let mut input = simple();
    input.connection.meta.name = "two\n# ---- file: /etc/shadow".to_owned();
    input.connection.tunnels = Tunnels::Both;
    input.connection.initiation_policy = InitiationPolicy::VpnGateway;
    input.connection.ikev2_ciphers = vec![
        Cipher {
            encryption: Encryption::Aes256,
            integrity: Some(Integrity::Sha256),
            dh_group: Some(DhGroup::Modp2048),
        },
        Cipher { encryption: Encryption::ChaCha20Poly1305, integrity: None, dh_group: Some(DhGroup::Ecp256) },
    ];
    input.connection.esp_ciphers =
        vec![Cipher { encryption: Encryption::Aes128, integrity: Some(Integrity::Sha512), dh_group: None }];
    input.tunnels.push(TunnelDesired { local: parsed("2001:db8:0:1::1"), peer: parsed("2001:db8:0:2::10") });
    input.peer_identity = Some("office\"\n}.example.com".to_owned());
    input.policy_v6 = None;
    input.md5 = Some((parsed::<SecretId>("77777777-7777-4777-8777-777777777777"), 3));
    input.gtsm = true;
    input.timers = Timers { dpd_delay: 2, dpd_timeout: 6, hold_time: 9, ..Timers::default() };
    input
}

fn compare(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("snapshot folder");
        std::fs::write(&path, text).expect("snapshot written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "{} differs; got:\n{text}", path.display());
}

#[test]
fn texts_are_the_committed_ones() {
    for format in FORMATS {
        for (case, input) in [("simple", simple()), ("rich", rich())] {
            let text = render(format.name, &input).expect("a known format");
            compare(&format!("{}.{case}.txt", format.name), &text);
        }
    }
}

#[test]
fn an_unknown_format_is_refused() {
    assert!(render("strongswan", &simple()).is_err());
}

#[test]
fn the_printed_command_splits_the_text_into_exactly_its_files() {
    let root = std::env::temp_dir().join(format!("causeway-device-{}", std::process::id()));
    std::fs::create_dir_all(&root).expect("a folder");
    let text = render("strongswan-libipsec-bird", &rich()).expect("a known format");
    assert!(text.contains(SPLIT_COMMAND));
    std::fs::write(root.join("device.conf"), &text).expect("text written");
    let status = Command::new("sh")
        .args(["-c", SPLIT_COMMAND])
        .current_dir(&root)
        .env("ROOT", &root)
        .status()
        .expect("sh and awk");
    assert!(status.success());
    let mut files = Vec::new();
    let mut folders = vec![root.join("etc")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(&root).expect("below the root").display().to_string());
            }
        }
    }
    files.sort();
    let bird = std::fs::read_to_string(root.join("etc/bird/bird.conf")).expect("bird.conf");
    std::fs::remove_dir_all(&root).expect("removed");
    assert_eq!(
        files,
        [
            "etc/bird/bird.conf",
            "etc/causeway/1f2e3d4c.up.sh",
            "etc/strongswan.conf",
            "etc/swanctl/conf.d/1f2e3d4c-0000-4000-8000-000000000001.conf",
            "etc/sysctl.d/60-causeway-1f2e3d4c.conf",
        ]
    );
    assert!(bird.starts_with("log stderr all;"), "{bird}");
    assert!(bird.trim_end().ends_with("so there is no session."), "{bird}");
}
