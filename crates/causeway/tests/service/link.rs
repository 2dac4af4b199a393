//! InterLink from the command line, by all its parties: the operator's catalogue, the tenant's links, the partner's answers.

use serde_json::Value;

use crate::harness::{Place, Service};

fn text<'a>(document: &'a Value, key: &str) -> &'a str {
    document[key].as_str().unwrap_or_else(|| panic!("no {key} in {document}"))
}

/// A catalogue with one PoP, one partner and a port between them.
fn stocked(service: &Service) {
    service.ok(&["link-bandwidth", "set", "100M", "--price-per-hour", "0.05"]);
    service.ok(&["pop", "create", "th2", "--bandwidth", "100M"]);
    service.ok(&["partner", "create", "ix", "--asn", "39801", "--contact-email", "noc@example.net"]);
    let port = ["port", "create", "p1", "--pop", "th2", "--partner", "ix", "--attachment", "vlan:eth1"];
    service.ok(&[&port[..], &["--capacity", "1G"]].concat());
}

#[test]
fn the_catalogue_of_links() {
    let service = Service::start(Place::Here);
    stocked(&service);
    service.ok(&["link-bandwidth", "set", "200M"]);
    service.ok(&["link-bandwidth", "delete", "200M"]);
    assert_eq!(service.json(&["link-bandwidth", "list"]).as_array().map(Vec::len), Some(1));

    assert_eq!(service.json(&["pop", "edit", "th2", "--city", "Paris"])["city"], "Paris");
    assert_eq!(service.json(&["pop", "get", "th2"])["city"], "Paris");
    assert_eq!(service.names(&["pop", "list"]), ["th2"]);
    assert_eq!(service.json(&["partner", "edit", "ix", "--portal-url", "https://ix.example.net/"])["name"], "ix");
    assert_eq!(text(&service.json(&["partner", "get", "ix"]), "portal_url"), "https://ix.example.net/");
    assert_eq!(service.names(&["partner", "list"]), ["ix"]);

    let create = ["dedicated-connection", "create", "dc", "--pop", "th2", "--bandwidth", "10G", "--vlans", "1500-1600"];
    assert_eq!(text(&service.json(&create), "name"), "dc");
    let edit = ["dedicated-connection", "edit", "dc", "--demarcation", "rack 7"];
    assert_eq!(text(&service.json(&edit), "demarcation_info"), "rack 7");
    service.ok(&["dedicated-connection", "lock", "dc", "--reason", "unpaid"]);
    assert_eq!(text(&service.json(&["dedicated-connection", "get", "dc"]), "status"), "locked");
    service.ok(&["dedicated-connection", "unlock", "dc"]);
    assert_eq!(service.names(&["dedicated-connection", "list"]), ["dc"]);
    service.ok(&["dedicated-connection", "delete", "dc"]);

    service.fails(&["port", "create", "x", "--pop", "th2", "--attachment", "wire:eth1", "--capacity", "1G"], 2, "wire");
    service.fails(&["pop", "delete", "th2"], 1, "precondition is not respected");
    service.ok(&["port", "edit", "p1", "--enabled", "off"]);
    assert_eq!(service.json(&["port", "get", "p1"])["enabled"], false);
    assert_eq!(service.names(&["port", "list"]), ["p1"]);
    service.ok(&["port", "delete", "p1"]);
    service.ok(&["partner", "delete", "ix"]);
    service.ok(&["pop", "delete", "th2"]);

    let file = service.file("catalogue.toml", "[[pops]]\nname = \"dc5\"\nlink_bandwidths_mbps = [100]\n");
    let file = file.to_str().expect("a path");
    assert!(service.ok(&["catalogue", "apply", file]).contains("dc5"), "it is shown");
    assert_eq!(service.names(&["pop", "list"]), [""; 0]);
    service.ok(&["catalogue", "apply", file, "--yes"]);
    assert_eq!(service.names(&["pop", "list"]), ["dc5"]);
}

#[test]
fn a_link_from_its_order_to_its_deletion() {
    let service = Service::start(Place::Here);
    stocked(&service);
    let policy = |words: &[&str]| service.ok(&[&["link-policy", "create"], words].concat());
    policy(&["v4", "--accept", "10.9.0.0/16", "--announce", "10.0.0.0/8"]);
    policy(&["other"]);
    service.ok(&["link-policy", "edit", "other", "--name", "spare"]);
    assert_eq!(service.json(&["link-policy", "get", "spare"])["is_ipv6"], false);
    let mut names = service.names(&["link-policy", "list"]);
    names.sort();
    assert_eq!(names, ["spare", "v4"]);

    let order = ["link", "create", "site", "--pop", "th2", "--bandwidth", "100M", "--partner", "ix"];
    let link = service.json(&order);
    let key = text(&link["partner"], "pairing_key");
    assert_eq!(text(&link, "status"), "requested");
    service.fails(&["link", "create", "x", "--pop", "th2", "--bandwidth", "7M", "--partner", "ix"], 1, "--bandwidth");
    service.ok(&["link", "edit", "site", "--tag", "paris"]);
    service.ok(&["vpc", "create", "v"]);
    service.ok(&["link", "attach-vpc", "site", "v"]);
    service.ok(&["link", "attach-policy", "site", "v4"]);
    service.ok(&["link", "set-policy", "site", "spare"]);
    service.ok(&["link", "enable-route-propagation", "site"]);
    let shown = service.json(&["link", "get", "site"]);
    assert_eq!((shown["enable_route_propagation"].as_bool(), text(&shown, "status")), (Some(true), "requested"));
    assert_eq!(service.names(&["link", "list"]), ["site"]);
    service.fails(&["link", "repair", "site"], 1, "precondition is not respected");

    // The partner, with a key of its own.
    let partner_key = service.json(&["key", "create", "--role", "partner", "--partner", "ix"]);
    let partner = |words: &[&str]| -> Value {
        let mut command = service.command(&[words, &["-o", "json"]].concat());
        let output = command.env("SCW_SECRET_KEY", text(&partner_key, "secret_key")).output().expect("it starts");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let requests = partner(&["partner-link", "list", "--pairing-key", key]);
    assert_eq!(requests.as_array().map(Vec::len), Some(1), "{requests}");
    partner(&["partner-link", "accept", key]);
    assert_eq!(text(&service.json(&["link", "get", "site"]), "status"), "provisioning");
    let state = service.json(&["link", "state", "site"]);
    assert_eq!(text(&state, "status"), "provisioning");
    partner(&["partner-link", "provisioned", key]);
    let changed = service.json(&["link", "set-options", "site", "--hold-time", "9", "--gtsm", "on"]);
    assert_eq!((changed["bgp"]["hold_time"].as_u64(), changed["bgp"]["gtsm"].as_bool()), (Some(9), Some(true)));
    assert_eq!(service.json(&["link", "options", "site"]), changed);
    service.fails(&["link", "set-options", "site"], 2, "--hold-time");
    assert_eq!(service.json(&["link", "routes", "site"]).as_array().map(Vec::len), Some(0));
    service.ok(&["link", "lock", "site", "--reason", "abuse"]);
    service.fails(&["link", "edit", "site", "--name", "n"], 1, "locked");
    service.ok(&["link", "unlock", "site"]);

    service.fails(&["link", "delete", "site"], 1, "precondition is not respected");
    service.ok(&["link", "disable-route-propagation", "site"]);
    service.ok(&["link", "detach-policy", "site", "spare"]);
    service.ok(&["link", "detach-vpc", "site"]);
    service.ok(&["link", "delete", "site"]);
    assert_eq!(text(&service.json(&["link", "get", text(&link, "id")]), "status"), "deprovisioning");
    partner(&["partner-link", "start-deprovisioning", key]);
    partner(&["partner-link", "deprovisioned", key]);
    assert_eq!(text(&partner(&["partner-link", "get", text(&link, "id")]), "status"), "deleted");
    assert!(service.ok(&["link", "events", text(&link, "id")]).contains("deprovisioning"));
    service.ok(&["link-policy", "delete", "v4", "spare"]);

    let refused = service.json(&order);
    partner(&["partner-link", "refuse", text(&refused["partner"], "pairing_key"), "--reason", "no room in the rack"]);
    let state = service.json(&["link", "state", text(&refused, "id")]);
    assert_eq!(text(&state, "status"), "refused");
    assert!(state["reason"].to_string().contains("no room in the rack"), "{state}");
    service.ok(&["link", "delete", text(&refused, "id")]);
}

#[test]
fn webhooks_and_where_they_may_lead() {
    let service = Service::start(Place::Here);
    let hook = service.json(&["webhook", "create", "https://hooks.example.net/x", "--event", "link.failed"]);
    let id = text(&hook, "id");
    assert!(!text(&hook, "secret").is_empty());
    let shown = service.json(&["webhook", "get", id]);
    assert!(shown["secret"].is_null(), "what deliveries are signed with is shown once");
    assert_eq!(service.json(&["webhook", "list"]), Value::Array(vec![shown]));
    service.ok(&["webhook", "edit", id, "--all-events"]);
    assert_eq!(service.json(&["webhook", "get", id])["events"].as_array().map(Vec::len), Some(0));
    assert_eq!(service.json(&["webhook", "deliveries", id]).as_array().map(Vec::len), Some(0));
    service.fails(&["webhook", "create", "http://10.1.2.3/"], 1, "https");
    service.ok(&["webhook", "set-rules", "--allow-http", "on", "--allow", "10.0.0.0/8", "--deny", "9.9.9.0/24"]);
    let rules = service.json(&["webhook", "rules"]);
    assert_eq!((rules["allow_http"].as_bool(), &rules["denied_networks"][0]), (Some(true), &"9.9.9.0/24".into()));
    service.ok(&["webhook", "create", "http://10.1.2.3/"]);
    service.ok(&["webhook", "delete", id]);
    service.fails(&["webhook", "get", id], 1, "not found");
}
