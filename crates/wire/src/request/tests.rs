//! Validation as tables: one row per quirk and per error.

use ArgumentReason::{Constraint, Format, Required};
use causeway_model::acl::{Acl, AclAction, AclProtocol, PortRange};
use causeway_model::command::{CustomResource, NewIpSource, NewPublicAddress};
use causeway_model::resource::InitiationPolicy;
use causeway_model::route::RouteChange;
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};
use causeway_model::{ConnectionId, Family};

use super::*;

const A: &str = "88eb1423-3671-41c0-b9a8-b39c706de059";
const B: &str = "c711123c-ba2e-4267-9ede-afa611932580";

/// `text` with `A` and `B` replaced by UUIDs, as a body.
fn body(text: &str) -> Body {
    let text = text.replace("\"A\"", &format!("\"{A}\"")).replace("\"B\"", &format!("\"{B}\""));
    Body::parse(text.as_bytes()).expect("a JSON object")
}

#[track_caller]
fn errors<T>(result: Result<T, Error>) -> Vec<(String, ArgumentReason)> {
    match result {
        Err(Error::InvalidArguments(arguments)) => {
            assert!(arguments.iter().all(|argument| !argument.help.is_empty()), "every error says how to mend it");
            arguments.into_iter().map(|argument| (argument.name, argument.reason)).collect()
        }
        Err(other) => panic!("expected field errors, got {other:?}"),
        Ok(_) => panic!("expected field errors"),
    }
}

/// The names of the fields that are wrong.
#[track_caller]
fn names<T>(result: Result<T, Error>) -> Vec<String> {
    errors(result).into_iter().map(|(name, _)| name).collect()
}

#[track_caller]
fn check<T>(read: impl Fn(&Body) -> Result<T, Error>, rows: &[(&str, &[(&str, ArgumentReason)])]) {
    for (text, expected) in rows {
        let expected: Vec<_> = expected.iter().map(|(name, reason)| ((*name).to_owned(), *reason)).collect();
        assert_eq!(errors(read(&body(text))), expected, "{text}");
    }
}

#[test]
fn a_body_is_an_object_or_nothing() {
    assert!(Body::parse(b"").is_ok());
    assert!(Body::parse(b" \r\n").is_ok());
    assert!(Body::parse(b"{}").is_ok());
    let deep = "[".repeat(100_000);
    for text in
        ["[]", "null", "\"x\"", "{", "{\"a\":}", "{\"a\":1,}", "\u{feff}{}", "{\"a\":\"\\ud800\"}", deep.as_str()]
    {
        let result = Body::parse(text.as_bytes()).map(drop);
        assert_eq!(errors(result), [("body".to_owned(), Format)], "{:.20}", text);
    }
    assert_eq!(errors(Body::parse(b"{\"a\":\"\xff\"}").map(drop)), [("body".to_owned(), Format)]);
}

#[test]
fn what_terraform_sends() {
    let gateway = body(
        r#"{"project_id":"A","name":"n","tags":[],"gateway_type":"VGW-S","private_network_id":"B","zone":"fr-par-1"}"#,
    )
    .new_vpn_gateway()
    .expect("valid");
    assert_eq!(gateway.meta.project_id.map(|id| id.to_string()).as_deref(), Some(A));
    assert_eq!((gateway.public_ipv4, gateway.public_ipv6), (NewPublicAddress::Allot, NewPublicAddress::Allot));
    assert_eq!(gateway.zone.as_deref(), Some("fr-par-1"));

    let customer =
        body(r#"{"project_id":"A","name":"n","tags":[],"ipv4_public":"51.15.224.226/32","ipv6_public":"2001:db8::7/128","asn":65000}"#)
            .new_customer_gateway()
            .expect("valid");
    assert_eq!(customer.public_ipv4, Some("51.15.224.226".parse().expect("an address")));
    assert_eq!(customer.public_ipv6, Some("2001:db8::7".parse().expect("an address")));

    let policy =
        body(r#"{"name":"n","tags":null,"is_ipv6":false,"prefix_filter_in":["10.0.1.0/24"],"prefix_filter_out":null}"#)
            .new_routing_policy()
            .expect("valid");
    assert_eq!(policy.prefix_filter_in, ["10.0.1.0/24".parse().expect("a prefix")]);
    assert_eq!(policy.prefix_filter_out, []);

    let connection = body(
        r#"{"project_id":"","name":"n","tags":[],"is_ipv6":false,"initiation_policy":"customer_gateway","ikev2_ciphers":[{"encryption":"aes256","integrity":"sha256","dh_group":"modp2048"}],"esp_ciphers":[{"encryption":"aes256gcm","integrity":null,"dh_group":"unknown_dhgroup"}],"enable_route_propagation":true,"vpn_gateway_id":"A","customer_gateway_id":"B","bgp_config_ipv4":{"routing_policy_id":"A","private_ip":"169.254.0.1/30","peer_private_ip":"169.254.0.2/30"},"bgp_config_ipv6":null,"secret":null,"unheard_of":1}"#,
    )
    .new_connection()
    .expect("valid");
    assert_eq!(connection.meta.project_id, None);
    assert_eq!(connection.is_ipv6, Some(false));
    assert_eq!(connection.initiation_policy, InitiationPolicy::CustomerGateway);
    let ike = Cipher {
        encryption: Encryption::Aes256,
        integrity: Some(Integrity::Sha256),
        dh_group: Some(DhGroup::Modp2048),
    };
    assert_eq!(connection.ikev2_ciphers, [ike]);
    assert_eq!(connection.esp_ciphers, [Cipher { encryption: Encryption::Aes256Gcm, integrity: None, dh_group: None }]);
    let bgp = connection.bgp_ipv4.expect("a session");
    assert_eq!(bgp.private_ip.map(|ip| ip.to_string()).as_deref(), Some("169.254.0.1/30"));
    assert_eq!((connection.bgp_ipv6, connection.secret), (None, None));
}

#[test]
fn gos_empty_update_of_a_connection_changes_the_name_only() {
    let text = r#"{"name":"n2","initiation_policy":"unknown_initiation_policy","ikev2_ciphers":null,"esp_ciphers":[]}"#;
    let update = body(text).update_connection().expect("valid");
    assert_eq!(update.rename.name.as_deref(), Some("n2"));
    assert_eq!(update.rename.tags, None);
    assert_eq!((update.initiation_policy, update.ikev2_ciphers, update.esp_ciphers), (None, None, None));
    assert_eq!((update.secret_id, update.secret_revision), (None, None));
    let update = body(r#"{"secret_id":"A","secret_revision":3}"#).update_connection().expect("valid");
    assert_eq!((update.secret_id.map(|id| id.to_string()).as_deref(), update.secret_revision), (Some(A), Some(3)));
    let wrong = r#"{"secret_id":"x","secret_revision":0}"#;
    check(Body::update_connection, &[(wrong, &[("secret_id", Format), ("secret_revision", Constraint)])]);
}

#[test]
fn what_python_sends() {
    let connection = body(
        r#"{"name":"n","is_ipv6":true,"initiation_policy":"unknown_initiation_policy","ikev2_ciphers":[],"esp_ciphers":[],"enable_route_propagation":false,"vpn_gateway_id":"A","customer_gateway_id":"B","project_id":null,"secret":{"id":"A","revision":null}}"#,
    )
    .new_connection()
    .expect("valid");
    assert_eq!(connection.initiation_policy, InitiationPolicy::VpnGateway);
    assert_eq!(connection.secret.map(|(id, revision)| (id.to_string(), revision)), Some((A.to_owned(), None)));
    // Without `is_ipv6` there is a tunnel for each common family.
    let both = body(r#"{"name":"n","vpn_gateway_id":"A","customer_gateway_id":"B"}"#).new_connection().expect("valid");
    assert_eq!(both.is_ipv6, None);
}

#[test]
fn public_addresses_of_a_gateway() {
    use NewPublicAddress::{Absent, Allot, Booked};
    let booked = Booked(A.parse().expect("a UUID"));
    let rows = [
        ("{}", (Allot, Allot)),
        (r#"{"public_config":{}}"#, (Allot, Allot)),
        (r#"{"public_config":{"ipam_ipv4_id":null,"ipam_ipv6_id":null}}"#, (Allot, Allot)),
        (r#"{"public_config":{"ipam_ipv4_id":"A"}}"#, (booked, Absent)),
        (r#"{"public_config":{"ipam_ipv6_id":"A"}}"#, (Absent, booked)),
        (r#"{"public_tunnel_config":null}"#, (Allot, Allot)),
        (r#"{"public_tunnel_config":{"single_ipv4_tunnel":{}}}"#, (Allot, Absent)),
        (r#"{"public_tunnel_config":{"single_ipv4_tunnel":{"ipam_id":"A"}}}"#, (booked, Absent)),
        (r#"{"public_tunnel_config":{"single_ipv6_tunnel":{"ipam_id":null}}}"#, (Absent, Allot)),
        (r#"{"public_tunnel_config":{"dual_ipv4v6_tunnel":{"ipam_ipv4_id":"A"}}}"#, (booked, Allot)),
    ];
    for (extra, expected) in rows {
        let text = extra.replacen('{', r#"{"name":"n","gateway_type":"VGW-S","private_network_id":"B","#, 1);
        let gateway = body(&text.replace(",}", "}")).new_vpn_gateway().expect("valid");
        assert_eq!((gateway.public_ipv4, gateway.public_ipv6), expected, "{extra}");
    }
}

#[test]
fn errors_of_a_vpn_gateway() {
    let rest = r#""name":"n","gateway_type":"VGW-S","private_network_id":"B""#;
    check(
        Body::new_vpn_gateway,
        &[
            ("{}", &[("gateway_type", Required), ("private_network_id", Required), ("name", Required)]),
            (
                r#"{"name":7,"gateway_type":[],"private_network_id":"x","zone":{},"tags":"t","project_id":"p","ipam_private_ipv4_id":3}"#,
                &[
                    ("gateway_type", Format),
                    ("private_network_id", Format),
                    ("name", Format),
                    ("project_id", Format),
                    ("tags", Format),
                    ("ipam_private_ipv4_id", Format),
                    ("zone", Format),
                ],
            ),
            (
                &format!(
                    r#"{{{rest},"public_config":{{"ipam_ipv4_id":"A"}},"public_tunnel_config":{{"single_ipv4_tunnel":{{}}}}}}"#
                ),
                &[("public_config", Constraint)],
            ),
            (
                &format!(
                    r#"{{{rest},"public_tunnel_config":{{"single_ipv4_tunnel":{{}},"dual_ipv4v6_tunnel":{{}}}}}}"#
                ),
                &[("public_tunnel_config", Constraint)],
            ),
            (
                &format!(r#"{{{rest},"public_tunnel_config":{{"single_ipv6_tunnel":{{"ipam_id":"x"}}}}}}"#),
                &[("public_tunnel_config.single_ipv6_tunnel.ipam_id", Format)],
            ),
        ],
    );
}

#[test]
fn errors_of_names_and_tags() {
    let long = "é".repeat(256);
    let tags = format!("[{}]", vec!["\"t\""; 101].join(","));
    let heavy = format!("[{}]", vec![format!("\"{}\"", "t".repeat(200)); 21].join(","));
    check(
        Body::rename,
        &[
            (&format!(r#"{{"name":"{long}"}}"#), &[("name", Constraint)]),
            (r#"{"name":"a\nb"}"#, &[("name", Constraint)]),
            (r#"{"tags":["a",1,null]}"#, &[("tags[1]", Format), ("tags[2]", Format)]),
            (&format!(r#"{{"tags":{tags}}}"#), &[("tags", Constraint)]),
            (&format!(r#"{{"tags":{heavy}}}"#), &[("tags", Constraint)]),
            (&format!(r#"{{"tags":["{long}"]}}"#), &[("tags[0]", Constraint)]),
        ],
    );
    let most = "é".repeat(255);
    assert_eq!(body(&format!(r#"{{"name":"{most}"}}"#)).rename().expect("valid").name, Some(most));
    assert_eq!(body(r#"{"name":"","tags":[]}"#).rename().expect("valid"), Rename { name: None, tags: Some(vec![]) });
}

#[test]
fn errors_of_a_customer_gateway() {
    check(
        Body::new_customer_gateway,
        &[
            ("{}", &[("ipv4_public", Required), ("asn", Required), ("name", Required)]),
            (r#"{"name":"n","ipv4_public":"198.51.100.7","asn":"65000"}"#, &[("asn", Format)]),
            (r#"{"name":"n","ipv4_public":"198.51.100.7","asn":65000.5}"#, &[("asn", Format)]),
            (r#"{"name":"n","ipv4_public":"198.51.100.7","asn":0}"#, &[("asn", Constraint)]),
            (r#"{"name":"n","ipv4_public":"198.51.100.7","asn":-1}"#, &[("asn", Constraint)]),
            (r#"{"name":"n","ipv4_public":"198.51.100.7","asn":23456}"#, &[("asn", Constraint)]),
            (r#"{"name":"n","ipv4_public":"198.51.100.7","asn":4294967295}"#, &[("asn", Constraint)]),
            (r#"{"name":"n","ipv4_public":"198.51.100.7","asn":18446744073709551616}"#, &[("asn", Format)]),
            (r#"{"name":"n","ipv4_public":"198.51.100.0/24","asn":65000}"#, &[("ipv4_public", Format)]),
            (r#"{"name":"n","ipv4_public":"2001:db8::7","asn":65000}"#, &[("ipv4_public", Format)]),
            (r#"{"name":"n","ipv6_public":"198.51.100.7","asn":65000}"#, &[("ipv6_public", Format)]),
            (r#"{"name":"n","ipv4_public":"host.example","asn":65000}"#, &[("ipv4_public", Format)]),
            (r#"{"name":"n","ipv4_public":"0.0.0.0","asn":65000}"#, &[("ipv4_public", Constraint)]),
            (r#"{"name":"n","ipv4_public":"127.0.0.1","asn":65000}"#, &[("ipv4_public", Constraint)]),
            (r#"{"name":"n","ipv4_public":"224.0.0.5/32","asn":65000}"#, &[("ipv4_public", Constraint)]),
            (r#"{"name":"n","ipv6_public":"fe80::1","asn":65000}"#, &[("ipv6_public", Constraint)]),
            (r#"{"name":"n","ipv6_public":"::ffff:198.51.100.7","asn":65000}"#, &[("ipv6_public", Constraint)]),
        ],
    );
    let bare = body(r#"{"name":"n","ipv6_public":"2001:DB8::7","asn":4294967294}"#).new_customer_gateway();
    assert_eq!(bare.expect("valid").public_ipv6.map(|ip| ip.to_string()).as_deref(), Some("2001:db8::7"));
    let update = body(r#"{"ipv4_public":"","asn":null}"#).update_customer_gateway().expect("valid");
    assert_eq!((update.asn, update.public_ipv4), (None, None));
}

#[test]
fn errors_of_a_routing_policy() {
    check(
        Body::new_routing_policy,
        &[
            (r#"{"name":"n"}"#, &[("is_ipv6", Required)]),
            (r#"{"name":"n","is_ipv6":"false"}"#, &[("is_ipv6", Format)]),
            (
                r#"{"name":"n","is_ipv6":false,"prefix_filter_in":["10.0.0.0/24","fd00::/8"],"prefix_filter_out":["10.0.0.0","x",5,"10.0.0.0/33"]}"#,
                &[
                    ("prefix_filter_in", Constraint),
                    ("prefix_filter_out[0]", Format),
                    ("prefix_filter_out[1]", Format),
                    ("prefix_filter_out[2]", Format),
                    ("prefix_filter_out[3]", Format),
                ],
            ),
            (r#"{"name":"n","is_ipv6":true,"prefix_filter_in":"fd00::/8"}"#, &[("prefix_filter_in", Format)]),
        ],
    );
    let update = body(r#"{"prefix_filter_in":null,"prefix_filter_out":[]}"#).update_routing_policy().expect("valid");
    assert_eq!((update.prefix_filter_in, update.prefix_filter_out), (None, Some(Vec::new())));
}

#[test]
fn errors_of_a_connection() {
    let rest = r#""name":"n","vpn_gateway_id":"A","customer_gateway_id":"B""#;
    let row = |extra: &str| format!("{{{rest},{extra}}}");
    check(
        Body::new_connection,
        &[
            ("{}", &[("vpn_gateway_id", Required), ("customer_gateway_id", Required), ("name", Required)]),
            (&row(r#""initiation_policy":"both""#), &[("initiation_policy", Format)]),
            (
                &row(r#""is_ipv6":"no","enable_route_propagation":1"#),
                &[("is_ipv6", Format), ("enable_route_propagation", Format)],
            ),
            (
                &row(r#""ikev2_ciphers":[{}],"esp_ciphers":[{"encryption":"unknown_encryption"}]"#),
                &[("ikev2_ciphers[0].encryption", Required), ("esp_ciphers[0].encryption", Required)],
            ),
            (
                &row(
                    r#""ikev2_ciphers":[{"encryption":"3des","integrity":"md5","dh_group":"modp1024"}],"esp_ciphers":[1]"#,
                ),
                &[
                    ("ikev2_ciphers[0].encryption", Format),
                    ("ikev2_ciphers[0].integrity", Format),
                    ("ikev2_ciphers[0].dh_group", Format),
                    ("esp_ciphers[0]", Format),
                ],
            ),
            (
                &row(r#""esp_ciphers":[{"encryption":"aes256"},{"encryption":"aes128gcm","integrity":"sha256"}]"#),
                &[("esp_ciphers[1].integrity", Constraint)],
            ),
            (&row(r#""ikev2_ciphers":{}"#), &[("ikev2_ciphers", Format)]),
            (&row(&format!(r#""ikev2_ciphers":[{}]"#, vec!["{}"; 17].join(","))), &[("ikev2_ciphers", Constraint)]),
            (&row(r#""secret":{"revision":0}"#), &[("secret.id", Required), ("secret.revision", Constraint)]),
            (&row(r#""secret":"A""#), &[("secret", Format)]),
            (
                &row(
                    r#""bgp_config_ipv4":{"routing_policy_id":"x","private_ip":"169.254.0.1","peer_private_ip":"fd00::2/126"}"#,
                ),
                &[
                    ("bgp_config_ipv4.private_ip", Format),
                    ("bgp_config_ipv4.peer_private_ip", Constraint),
                    ("bgp_config_ipv4.routing_policy_id", Format),
                ],
            ),
        ],
    );
}

#[test]
fn every_cipher_of_the_engine_is_accepted() {
    for encryption in Encryption::ALL {
        for group in DhGroup::ALL {
            let cipher = format!(r#"[{{"encryption":"{encryption}","dh_group":"{group}"}}]"#);
            let text = format!(r#"{{"ikev2_ciphers":{cipher},"esp_ciphers":{cipher}}}"#);
            let expected = Cipher { encryption: *encryption, integrity: None, dh_group: Some(*group) };
            let update = body(&text).update_connection().expect("valid");
            assert_eq!(update.ikev2_ciphers.as_deref(), Some([expected].as_slice()));
            assert_eq!(update.esp_ciphers.as_deref(), Some([expected].as_slice()));
        }
    }
    // Beside an AEAD the hash of an IKE proposal names the PRF.
    let update = body(r#"{"ikev2_ciphers":[{"encryption":"aes256gcm","integrity":"sha384"}]}"#).update_connection();
    let ciphers = update.expect("valid").ikev2_ciphers.expect("a list");
    assert_eq!(ciphers[0].integrity, Some(Integrity::Sha384));
}

#[test]
fn keys_and_policies_of_a_connection() {
    assert!(!body("{}").renew_psk().expect("valid"));
    assert!(body(r#"{"generate_revision":true}"#).renew_psk().expect("valid"));
    check(Body::renew_psk, &[(r#"{"generate_revision":"yes"}"#, &[("generate_revision", Format)])]);
    assert_eq!(body(r#"{"secret":{"id":"A","revision":3}}"#).change_psk().expect("valid").1, Some(3));
    check(
        Body::change_psk,
        &[
            ("{}", &[("secret", Required)]),
            (r#"{"secret":{}}"#, &[("secret.id", Required)]),
            (r#"{"secret":{"id":"x"}}"#, &[("secret.id", Format)]),
        ],
    );
    let connection = ConnectionId::random();
    let change = body(r#"{"routing_policy_v6":"A"}"#).policy_change(connection).expect("valid");
    assert_eq!((change.connection, change.family, change.policy.to_string()), (connection, Family::Ipv6, A.to_owned()));
    let change =
        body(r#"{"routing_policy_v4":"A","routing_policy_v6":null}"#).policy_change(connection).expect("valid");
    assert_eq!(change.family, Family::Ipv4);
    check(
        |body| body.policy_change(connection),
        &[
            ("{}", &[("routing_policy_v4", Required)]),
            (r#"{"routing_policy_v4":"A","routing_policy_v6":"B"}"#, &[("routing_policy_v6", Constraint)]),
            (r#"{"routing_policy_v6":"x"}"#, &[("routing_policy_v6", Format)]),
        ],
    );
}

#[test]
fn vpcs_and_private_networks() {
    let vpc = body(r#"{"name":"n","project_id":"A","tags":[],"enable_routing":false,"enable_transitivity":false}"#);
    assert_eq!(vpc.new_vpc().expect("valid").meta.name, "n");
    check(
        Body::new_vpc,
        &[(r#"{"name":null,"enable_routing":"x"}"#, &[("enable_routing", Format), ("name", Required)])],
    );
    let network =
        body(r#"{"name":"n","subnets":["10.0.0.0/24"],"vpc_id":"A","default_route_propagation_enabled":true}"#)
            .new_private_network()
            .expect("valid");
    assert_eq!(network.subnets, ["10.0.0.0/24".parse().expect("a prefix")]);
    assert!(network.default_route_propagation_enabled);
    assert!(body(r#"{"name":"n","subnets":null}"#).new_private_network().expect("valid").subnets.is_empty());
    check(
        Body::new_private_network,
        &[
            (r#"{"name":"n","subnets":["10.0.0.1/24"]}"#, &[("subnets[0]", Constraint)]),
            (r#"{"name":"n","subnets":["10.0.0.0/24","10.1.0.0/24"]}"#, &[("subnets[1]", Constraint)]),
            (r#"{"name":"n","subnets":["x"],"vpc_id":5}"#, &[("subnets[0]", Format), ("vpc_id", Format)]),
        ],
    );
}

#[test]
fn addresses() {
    let ip = body(r#"{"project_id":"A","source":{"private_network_id":"B"},"is_ipv6":false,"tags":["t"]}"#);
    let ip = ip.new_ip().expect("valid");
    assert_eq!(ip.source, NewIpSource::PrivateNetwork(B.parse().expect("a UUID")));
    let zonal =
        body(r#"{"source":{"zonal":"fr-par-1","regional":false,"subnet_id":null},"is_ipv6":true,"resource":null}"#);
    assert_eq!(zonal.new_ip().expect("valid").source, NewIpSource::Zonal("fr-par-1".to_owned()));
    check(
        Body::new_ip,
        &[
            ("{}", &[("source", Required)]),
            (r#"{"source":{}}"#, &[("source", Required)]),
            (r#"{"source":{"zonal":"z","subnet_id":"A"}}"#, &[("source", Constraint)]),
            (
                r#"{"source":{"subnet_id":"x"},"address":"10.0.0.2/24"}"#,
                &[("source.subnet_id", Format), ("address", Format)],
            ),
            (r#"{"source":{"subnet_id":"A"},"address":"fd00::2"}"#, &[("address", Constraint)]),
            (r#"{"source":{"zonal":"z"},"address":"192.0.2.2"}"#, &[("address", Constraint)]),
            (r#"{"source":{"zonal":"z"},"resource":{"mac_address":"x"}}"#, &[("resource.mac_address", Format)]),
            (r#"{"source":{"vpc_id":"A"}}"#, &[("source.vpc_id", Constraint)]),
            (r#"{"source":{"regional":true,"zonal":"z"}}"#, &[("source.regional", Constraint)]),
        ],
    );
    let update = body(r#"{"tags":["a"],"reverses":null}"#).update_ip().expect("valid");
    assert_eq!((update.tags, update.reverses), (Some(vec!["a".to_owned()]), None));
    check(Body::update_ip, &[(r#"{"reverses":[{"hostname":"h"}]}"#, &[("reverses[0].hostname", Format)])]);
}

/// The answer is 501 and names these fields.
#[track_caller]
fn assert_not_offered<T: std::fmt::Debug>(result: Result<T, Error>, names: &str) {
    let help = format!("{names}: not offered; leave it out");
    assert_eq!(result.expect_err("not offered"), Error::NotImplemented { help });
}

#[test]
fn what_is_not_offered_is_said_before_what_is_wrong() {
    let secret = body(r#"{"name":"","path":"a","ephemeral_policy":{"action":"delete"},"key_id":"A"}"#);
    assert_not_offered(secret.new_secret(), "`ephemeral_policy`, `key_id`");
    assert_not_offered(body(r#"{"ephemeral_policy":{"action":"delete"}}"#).update_secret(), "`ephemeral_policy`");
    let version = body(r#"{"ephemeral_properties":{"expires_at":null}}"#);
    assert_not_offered(version.update_secret_version(), "`ephemeral_properties`");
    assert_not_offered(body(r#"{"name":"n","enable_transitivity":true}"#).new_vpc(), "`enable_transitivity`");
    // As clients send them that want nothing of it.
    let placeholders = body(r#"{"name":"n","ephemeral_policy":{},"key_id":null}"#);
    placeholders.new_secret().expect("not asked for");
}

#[test]
fn secrets() {
    let secret =
        body(r#"{"name":"n","tags":null,"type":"unknown_type","protected":false}"#).new_secret().expect("valid");
    assert_eq!((secret.kind.as_str(), secret.path.as_str(), secret.protected), ("opaque", "/", false));
    let typed = body(r#"{"name":"n","type":"key_value","path":"/a","protected":true}"#).new_secret().expect("valid");
    assert_eq!((typed.kind.as_str(), typed.path.as_str(), typed.protected), ("key_value", "/a", true));
    check(Body::new_secret, &[(r#"{"name":"n","path":"a"}"#, &[("path", Constraint)])]);
    let version = body(r#"{"data":"MTIzNDU2Nzg5","data_crc32":3421780262}"#).new_secret_version().expect("valid");
    assert_eq!((version.data.as_slice(), version.data_crc32), (b"123456789".as_slice(), Some(0xcbf4_3926)));
    check(
        Body::new_secret_version,
        &[
            ("{}", &[("data", Required)]),
            (r#"{"data":"x"}"#, &[("data", Format)]),
            (r#"{"data":"MTIzNDU2Nzg5","data_crc32":1}"#, &[("data_crc32", Constraint)]),
            (&format!(r#"{{"data":"{}"}}"#, "AAAA".repeat(30_000)), &[("data", Constraint)]),
        ],
    );
}

#[test]
fn the_number_of_errors_is_bounded() {
    let many = format!(r#"{{"name":"n","is_ipv6":false,"prefix_filter_in":[{}]}}"#, vec!["1"; 1000].join(","));
    assert_eq!(errors(body(&many).new_routing_policy()).len(), 100);
    let more = format!(r#"{{"name":"n","is_ipv6":false,"prefix_filter_in":[{}]}}"#, vec!["1"; 1001].join(","));
    assert_eq!(errors(body(&more).new_routing_policy()), [("prefix_filter_in".to_owned(), Constraint)]);
}

#[test]
fn an_acl_names_every_bad_rule() {
    let (family, acl) = body(
        r#"{"is_ipv6":false,"default_policy":"drop","rules":[{"action":"accept","protocol":"TCP","source":"10.0.0.0/8","destination":"192.0.2.7","src_port_low":0,"src_port_high":0,"dst_port_low":22,"dst_port_high":23,"description":null}]}"#,
    )
    .acl()
    .expect("a list");
    assert_eq!((family, acl.default_action), (Family::Ipv4, AclAction::Drop));
    assert_eq!(acl.rules[0].protocol, AclProtocol::Tcp);
    assert_eq!(acl.rules[0].destination.to_string(), "192.0.2.7/32");
    assert_eq!(acl.rules[0].destination_ports, PortRange { low: 22, high: 23 });
    let empty = body(r#"{"is_ipv6":true,"default_policy":"accept","rules":null}"#).acl().expect("a list");
    assert_eq!(empty, (Family::Ipv6, Acl::default()));
    let bad = body(
        r#"{"default_policy":"unknown_action","rules":[7,{"action":"unknown_action","protocol":"sctp","source":"fd00::/8","destination":"10.0.0.1/8","src_port_low":70000},{"action":"drop","protocol":"icmp","source":"0.0.0.0/0","destination":"0.0.0.0/0","dst_port_low":5,"dst_port_high":6},{"protocol":"udp","source":"0.0.0.0/0","dst_port_low":6,"dst_port_high":5}]}"#,
    );
    let names = names(bad.acl());
    let expected = [
        "is_ipv6",
        "default_policy",
        "rules[0]",
        "rules[1].action",
        "rules[1].protocol",
        "rules[1].source",
        "rules[1].destination",
        "rules[1].src_port_low",
        "rules[2].dst_port_low",
        "rules[3].action",
        "rules[3].destination",
        "rules[3].dst_port_low",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_route_says_where_it_leads() {
    const ID: &str = "88eb1423-3671-41c0-b9a8-b39c706de059";
    let new = body(&format!(
        r#"{{"vpc_id":"{ID}","destination":"10.9.0.0/16","description":"","tags":null,"nexthop_resource_id":"{ID}","nexthop_private_network_id":null,"nexthop_vpc_connector_id":null}}"#
    ))
    .new_route()
    .expect("a route");
    assert_eq!((new.description.as_str(), new.next_hop.network), ("", None));
    assert!(new.next_hop.resource.is_some());
    assert_eq!(names(body("{}").new_route()), ["destination", "vpc_id", "nexthop_resource_id"]);
    let connector =
        body(&format!(r#"{{"vpc_id":"{ID}","destination":"10.9.0.0/16","nexthop_vpc_connector_id":"{ID}"}}"#));
    assert_not_offered(connector.new_route(), "`nexthop_vpc_connector_id`");
    assert_eq!(body("{}").update_route(), Ok(RouteChange::default()));
    let absent = body(r#"{"nexthop_resource_id":null,"nexthop_private_network_id":null}"#).update_route();
    assert_eq!(absent, Ok(RouteChange::default()));
    let cleared = body(r#"{"nexthop_resource_id":""}"#).update_route().expect("a change");
    assert_eq!(cleared, RouteChange { no_resource: true, ..RouteChange::default() });
}

#[test]
fn resources_of_addresses() {
    let mac = |mac: &str| CustomResource { mac_address: mac.to_owned(), name: None };
    let attach = body(r#"{"resource":{"mac_address":"bc:24:11:74:d0:5b","name":null}}"#).ip_resource();
    assert_eq!(attach, Ok(mac("BC:24:11:74:D0:5B")));
    let moved = body(r#"{"from_resource":{"mac_address":"bc:24:11:74:d0:5b"},"to_resource":null}"#).move_ip();
    assert_eq!(moved, Ok((mac("BC:24:11:74:D0:5B"), None)));
    for (text, expected) in [
        ("{}", "resource"),
        (r#"{"resource":{}}"#, "resource"),
        (r#"{"resource":7}"#, "resource"),
        (r#"{"resource":{"name":"x"}}"#, "resource.mac_address"),
        (r#"{"resource":{"mac_address":"x"}}"#, "resource.mac_address"),
    ] {
        assert_eq!(names(body(text).ip_resource()), [expected], "{text}");
    }
    assert_eq!(names(body(r#"{"ip_ids":["x"]}"#).ip_ids()), ["ip_ids[0]", "ip_ids"]);
    assert_eq!(names(body("{}").ip_ids()), ["ip_ids"]);
    assert_eq!(body(r#"{"product":"s2s_vpn"}"#).secret_owner(), Ok("s2s_vpn"));
    for text in ["{}", r#"{"product":"unknown_product"}"#, r#"{"product":"x"}"#] {
        assert_eq!(names(body(text).secret_owner()), ["product"], "{text}");
    }
}

#[test]
fn a_catalogue_file_has_no_field_that_nobody_reads() {
    use ArgumentReason::Unknown;
    let rows: [(&str, &[(&str, ArgumentReason)]); 8] = [
        (r#"{"port": [], "pops": []}"#, &[("port", Unknown)]),
        (r#"{"partnrs": []}"#, &[("partnrs", Unknown)]),
        (r#"{"link_bandwidths": [{"bandwidth_mbps": 50, "price": 1}]}"#, &[("link_bandwidths[0].price", Unknown)]),
        (r#"{"pops": [{"name": "a", "capacity": 1}]}"#, &[("pops[0].capacity", Unknown)]),
        (r#"{"partners": [{"name": "a", "asn": 1, "email": "x"}]}"#, &[("partners[0].email", Unknown)]),
        (
            r#"{"dedicated_connections": [{"name": "a", "pop": "b", "bandwidth_mbps": 1, "vlan_range": {"start": 1500, "end": 1501, "of": 1}}]}"#,
            &[("dedicated_connections[0].vlan_range.of", Unknown)],
        ),
        (
            r#"{"ports": [{"name": "a", "pop": "b", "capacity_mbps": 1, "enabeld": false, "attachment": {"kind": "vlan", "interface": "e"}}]}"#,
            &[("ports[0].enabeld", Unknown)],
        ),
        (
            r#"{"ports": [{"name": "a", "pop": "b", "capacity_mbps": 1, "attachment": {"kind": "vlan", "interface": "e", "mtu": 1}}]}"#,
            &[("ports[0].attachment.mtu", Unknown)],
        ),
    ];
    check(Body::catalogue_file, &rows);
    let all = r#"{"link_bandwidths": [{"bandwidth_mbps": 50, "price_per_hour": 1}],
        "pops": [{"id": "A", "name": "a", "display_name": "b", "city": "c", "address": "d", "hosting_provider_name": "e", "logo_url": "f",
            "link_bandwidths_mbps": [50], "capacity_mbps": 1000}],
        "partners": [{"id": "A", "name": "a", "contact_email": "b", "logo_url": "c", "portal_url": "d", "asn": 1, "l3_connectivity": true,
            "notify": true}],
        "dedicated_connections": [{"id": "A", "name": "a", "project_id": "B", "tags": ["t"], "pop": "a", "bandwidth_mbps": 1,
            "demarcation_info": "row", "vlan_range": {"start": 1500, "end": 1501}, "status": "active"}],
        "ports": [{"id": "A", "name": "a", "pop": "a", "partner": "a", "dedicated_connection": "a", "vlan_range": {"start": 1500, "end": 1501},
            "capacity_mbps": 1, "enabled": true, "attachment": {"kind": "vxlan", "remote": "192.0.2.1", "vni_base": 1, "interface": ""}}]}"#;
    body(all).catalogue_file().expect("every field that there is");
}
