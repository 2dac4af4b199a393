//! Gateways, policies, connections, usage, and their events.

use serde_json::Value;

use crate::harness::{Following, Place, Service};

/// What a gateway needs.
fn network(service: &Service) {
    service.ok(&["vpc", "create", "v"]);
    service.ok(&["private-network", "create", "lan", "--vpc", "v", "--subnet", "10.1.0.0/24"]);
}

/// What a connection needs besides a gateway.
fn site(service: &Service) {
    let site =
        ["customer-gateway", "create", "site", "--asn", "65010", "--ipv4", "203.0.113.9", "--ipv6", "2001:db8:9::9"];
    service.ok(&site);
    service.ok(&["policy", "create", "v4", "--accept", "10.9.0.0/16", "--announce", "10.1.0.0/24"]);
}

#[test]
fn customer_gateways_and_policies() {
    let service = Service::start(Place::Here);
    let created = service.json(&["customer-gateway", "create", "site", "--asn", "65010", "--ipv4", "203.0.113.9"]);
    assert_eq!(service.json(&["customer-gateway", "get", "site"]), created);
    assert_eq!(service.json(&["customer-gateway", "edit", "site", "--asn", "65011"])["asn"], 65011);
    assert_eq!(service.names(&["customer-gateway", "list"]), ["site"]);
    let wrong = ["customer-gateway", "create", "x", "--asn", "0", "--ipv4", "10.0.0.300"];
    let told = service.fails(&wrong, 1, "error: invalid argument(s)\n");
    assert!(told.contains("  --asn: ") && told.contains("  --ipv4: "), "every field at once: {told}");
    service.ok(&["customer-gateway", "delete", "site"]);
    service.fails(&["customer-gateway", "get", "site"], 1, "no customer gateway is named");

    let policy = service.json(&["policy", "create", "v6", "--accept", "2001:db8:9::/48"]);
    assert_eq!(policy["is_ipv6"], true);
    let edited = service.json(&["policy", "edit", "v6", "--accept-none", "--announce", "2001:db8:1::/48"]);
    assert_eq!(edited["prefix_filter_in"].as_array().map(Vec::len), Some(0));
    assert_eq!(service.json(&["policy", "get", "v6"])["prefix_filter_out"][0], "2001:db8:1::/48");
    assert_eq!(service.names(&["policy", "list", "--family", "ipv6"]), ["v6"]);
    assert!(service.names(&["policy", "list", "--family", "ipv4"]).is_empty());
    service.fails(
        &["policy", "edit", "v6", "--accept", "10.0.0.0/8"],
        1,
        "  --accept: 10.0.0.0/8 is not an IPv6 prefix",
    );
    service.ok(&["policy", "delete", "v6"]);
}

/// Without a node the API works, and says what is missing.
#[test]
fn a_gateway_without_a_node_says_so() {
    let service = Service::start(Place::Here);
    network(&service);
    site(&service);
    service.ok(&["settings", "edit", "--support-contact", "help@example.net"]);
    let create = ["gateway", "create", "gw", "--type", "VGW-S", "--private-network", "lan", "--wait=1"];
    let told = service.run(&create);
    assert_eq!(told.code, Some(1), "{told:#?}");
    assert!(told.err.contains("provisioning") && told.err.contains("is not active after "), "{told:#?}");
    service.fails(&["gateway", "edit", "gw", "--name", "x"], 1, "resource is in a transient state");

    let following = Following::start(service.command(&["gateway", "events", "gw", "--follow", "-o", "json"]));
    following.line("\"subject\":\"create\"");
    connections(&service, false);
    let told = service.run(&["gateway", "state", "gw", "--wait"]);
    assert_eq!(told.code, Some(1), "{told:#?}");
    assert!(told.err.contains("failed (no_node: ") && told.err.contains("\nhint: "), "{told:#?}");
    let event: Value = serde_json::from_str(&following.line("\"subject\":\"failed\"")).expect("a document in a line");
    assert_eq!(event["reason"]["code"], "no_node");
    assert!(service.ok(&["gateway", "list"]).contains("no_node"));

    lock(&service, false);
    service.ok(&["gateway", "delete", "gw", "--wait"]);
    following.line("\"subject\":\"delete\"");
    assert_eq!(following.end().0, Some(0), "the stream ends with its object");
    service.fails(&["gateway", "get", "gw"], 1, "no VPN gateway is named");
}

#[test]
#[ignore = "needs root"]
fn a_gateway_with_a_node_becomes_active_and_takes_changes() {
    let service = Service::start(Place::Apart);
    network(&service);
    site(&service);
    let create = ["gateway", "create", "gw", "--type", "VGW-S", "--private-network", "lan", "--wait"];
    assert_eq!(service.json(&create)["status"], "active");
    assert_eq!(service.json(&["gateway", "edit", "gw", "--tag", "t"])["tags"][0], "t");
    let state = service.ok(&["gateway", "state", "gw", "--wait"]);
    assert!(state.contains("bandwidth  "), "{state}");
    connections(&service, true);
    lock(&service, true);
    service.ok(&["gateway", "delete", "gw", "--wait"]);
}

/// Everything that is done to connections of `gw`.
fn connections(service: &Service, has_node: bool) {
    let wait: &[&str] = if has_node { &["--wait"] } else { &[] };
    let create = ["connection", "create", "c", "--gateway", "gw", "--customer-gateway", "site", "--policy", "v4"];
    let inside = ["--inside-ipv4", "169.254.10.1/30,169.254.10.2/30", "--initiator", "vpn-gateway"];
    let told = service.run(&[&create[..], &inside[..]].concat());
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(told.err.contains("Next steps\n") && told.err.contains("169.254.10.2/30 AS 65010"), "{told:#?}");
    assert_eq!(service.names(&["connection", "list", "--gateway", "gw", "--customer-gateway", "site"]), ["c"]);
    service.ok(&["connection", "pairs"]);
    let connection = service.json(&["connection", "get", "c"]);
    assert_eq!(connection["bgp_session_ipv4"]["private_ip"], "169.254.10.1/30");
    let edited = service.json(&["connection", "edit", "c", "--name", "d", "--esp", "aes256gcm-curve25519"]);
    assert_eq!(edited["esp_ciphers"][0]["encryption"], "aes256gcm");
    service.fails(&["connection", "edit", "d", "--ike", "rot13"], 1, "  --ike, number 1, encryption: ");
    let state = service.json(&["connection", "state", "d"]);
    assert!(state["reason"]["code"].is_string(), "{state}");
    if !has_node {
        assert_eq!(state["reason"]["code"], "gateway_not_ready");
    }
    service.ok(&["connection", "state", "d"]);

    let change = ["connection", "set-options", "d", "--tunnels", "both", "--hold-time", "9", "--gtsm", "on"];
    let options = service.json(&[&change[..], wait].concat());
    assert_eq!((options["tunnels"].as_str(), options["bgp"]["hold_time"].as_u64()), (Some("both"), Some(9)));
    assert_eq!(service.json(&["connection", "options", "d"]), options);
    service.fails(&["connection", "set-options", "d", "--hold-time", "2"], 1, "  --hold-time: ");
    service.fails(&["connection", "set-options", "d"], 2, "--tunnels");

    service.ok(&[&["connection", "enable-route-propagation", "d"], wait].concat());
    assert!(service.ok(&["connection", "list"]).contains("  on  "));
    service.ok(&[&["connection", "disable-route-propagation", "d"], wait].concat());
    service.ok(&[&["connection", "detach-policy", "d", "v4"], wait].concat());
    service.ok(&[&["connection", "set-policy", "d", "v4"], wait].concat());
    service.json(&["connection", "routes", "d"]);
    service.json(&["connection", "routes", "d", "--direction", "announced"]);
    service.fails(&["connection", "routes", "d", "--decision", "lost"], 1, "  --decision: ");

    let file = service.ok(&["connection", "device-configuration", "d"]);
    assert!(file.contains("203.0.113.9"), "{file}");
    assert!(service.ok(&["connection", "device-configuration", "d", "--list-formats"]).contains("strongswan-bird"));
    let path = service.data().join("device.conf");
    let path = path.to_str().expect("UTF-8");
    service.ok(&["connection", "device-configuration", "d", "-O", path]);
    assert_eq!(std::fs::read_to_string(path).expect("a file"), file);
    keys(service, wait);

    let subjects: Vec<String> = service
        .json(&["connection", "events", "d"])
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["subject"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(
        ["create", "update", "enable_route_propagation"]
            .iter()
            .all(|wanted| subjects.iter().any(|seen| seen == wanted)),
        "{subjects:?}"
    );
    service.ok(&["connection", "lock", "d", "--reason", "a test"]);
    assert_eq!(service.json(&["connection", "state", "d"])["reason"]["code"], "locked");
    service.ok(&["connection", "unlock", "d"]);
    service.fails(&["gateway", "delete", "gw"], 1, "error: ");
    service.ok(&["connection", "delete", "d"]);
    service.fails(&["connection", "get", "d"], 1, "no connection is named");

    let usage = service.json(&["usage", "list"]);
    assert_eq!(usage[0]["name"], "gw");
    let table = service.ok(&["usage", "csv"]);
    assert!(table.starts_with("resource_id,") && table.lines().count() == 2, "{table}");
    service.fails(&["usage", "list", "--from", "soon"], 1, "  --from: ");
}

/// The pre-shared key of `d`.
fn keys(service: &Service, wait: &[&str]) {
    let key = service.ok(&["connection", "psk", "d"]);
    service.ok(&[&["connection", "renew-psk", "d"], wait].concat());
    let renewed = service.ok(&["connection", "psk", "d"]);
    assert_ne!(key, renewed);
    service.ok(&[&["connection", "reauthenticate", "d"], wait].concat());
    service.ok(&["connection", "revoke-previous-psk", "d"]);
    let data = service.file("key", "a pre-shared key of the tenant's own choice\n");
    service.ok(&["secret", "create", "mine", "--data-file", data.to_str().expect("UTF-8")]);
    service.ok(&[&["connection", "change-psk", "d", "--secret", "mine"], wait].concat());
    assert_eq!(
        service.ok(&["connection", "psk", "d", "--format", "raw"]),
        "a pre-shared key of the tenant's own choice"
    );
    let alone = service.run(&[&["connection", "renew-psk", "d", "--in-place"], wait].concat());
    assert!(alone.code == Some(0) && !alone.err.contains("their devices"), "{alone:#?}");
    let told = service.run(&["secret", "delete", "mine"]);
    assert_eq!(told.code, Some(1), "what a connection uses cannot go: {told:#?}");
}

/// Locks `gw` and unlocks it.
fn lock(service: &Service, has_node: bool) {
    service.ok(&["gateway", "lock", "gw", "--reason", "a test"]);
    let state = service.json(&["gateway", "state", "gw"]);
    assert_eq!((state["status"].as_str(), state["reason"]["code"].as_str()), (Some("locked"), Some("locked")));
    if !has_node {
        assert!(service.ok(&["gateway", "state", "gw"]).contains("not yet enforced"));
    }
    service.ok(&["gateway", "unlock", "gw"]);
    if has_node {
        // It may owe the lock's acknowledgement still, and cannot be deleted until it has come.
        service.ok(&["gateway", "state", "gw", "--wait"]);
    }
}
