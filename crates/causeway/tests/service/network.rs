//! VPCs and what is in them: Private Networks, routes, access lists, addresses, secrets.

use crate::harness::{Place, Service};

#[test]
fn vpcs() {
    let service = Service::start(Place::Here);
    let vpc = service.json(&["vpc", "create", "v", "--tag", "a", "--tag", "b"]);
    let id = vpc["id"].as_str().expect("an id");
    assert_eq!(service.json(&["vpc", "get", "v"]), service.json(&["vpc", "get", id]));
    assert!(service.names(&["vpc", "list", "--tag", "b"]).contains(&"v".to_owned()));
    assert!(service.names(&["vpc", "list", "--name", "nobody"]).is_empty());
    let edited = service.json(&["vpc", "edit", "v", "--name", "w", "--no-tags"]);
    assert_eq!((edited["name"].as_str(), edited["tags"].as_array().map(Vec::len)), (Some("w"), Some(0)));
    service.json(&["vpc", "set-options", "w", "--custom-routes-propagation", "on"]);
    let options = service.json(&["vpc", "options", "w"]);
    assert_eq!(options["custom_routes_propagation_enabled"], true);
    assert!(service.json(&["vpc", "state", "w"])["desired_revision"].is_u64());
    assert!(service.ok(&["vpc", "state", "w"]).contains("announces custom routes  true"));
    let explained = service.json(&["vpc", "explain-route", "w", "--prefix", "10.9.0.0/24"]);
    assert_eq!(explained["verdict"], "unrouted");
    service.fails(&["vpc", "get", "v"], 1, "no VPC is named \"v\"");
    service.fails(&["vpc", "edit", "w"], 2, "--name");
    service.fails(&["vpc", "list", "--region", "nowhere"], 1, "--region: this service has the region(s) fr-par");
    assert!(service.ok(&["vpc", "delete", "w"]).starts_with("deleted VPC w ("));
    service.fails(&["vpc", "delete", "w"], 1, "no VPC is named");
    service.fails(&["vpc", "get", id], 1, "resource is not found");
    // YAML says the same.
    service.ok(&["vpc", "create", "third"]);
    assert!(service.ok(&["vpc", "get", "third", "-o", "yaml"]).contains("\nname: third\n"));
}

#[test]
fn private_networks_and_routes() {
    let service = Service::start(Place::Here);
    service.ok(&["vpc", "create", "v"]);
    let create = ["private-network", "create", "lan", "--vpc", "v", "--subnet", "10.1.0.0/24"];
    let network = service.json(&create);
    assert_eq!(network["subnets"][0]["subnet"], "10.1.0.0/24");
    service.fails(&create, 1, "10.1.0.0/24");
    let bad = ["private-network", "create", "bad", "--vpc", "v", "--subnet", "10.1.0.0"];
    service.fails(&bad, 1, "  --subnet, number 1: ");
    assert_eq!(service.names(&["private-network", "list", "--vpc", "v"]), ["lan"]);
    assert_eq!(service.json(&["private-network", "get", "lan"])["id"], network["id"]);
    assert_eq!(service.json(&["private-network", "edit", "lan", "--tag", "t"])["tags"][0], "t");
    let mapped = service.json(&["private-network", "attach", "lan", "--interface", "br-lan"]);
    assert_eq!(mapped["interface"], "br-lan");
    let all = service.json(&["private-network", "attachments"]);
    assert_eq!(all[0]["private_network_id"], network["id"]);
    service.ok(&["private-network", "detach", "lan"]);
    assert_eq!(service.json(&["private-network", "attachments"]).as_array().map(Vec::len), Some(0));
    let wrong = ["private-network", "attach", "lan", "--interface", "much too long for an interface"];
    service.fails(&wrong, 1, "  --interface: ");

    let address = service.json(&["ip", "create", "--private-network", "lan", "--address", "10.1.0.77"]);
    assert_eq!(address["address"], "10.1.0.77/24");
    service.fails(&["route", "create", "10.7.0.0/16", "--vpc", "v", "--via", "10.1.0.77"], 2, "attach it first");
    let attached = service.json(&["ip", "attach", "10.1.0.77", "02:00:00:00:00:01", "--name", "router"]);
    assert_eq!(attached["resource"]["name"], "router");
    let route = service.json(&["route", "create", "10.7.0.0/16", "--vpc", "v", "--via", "10.1.0.77", "--tag", "t"]);
    assert_eq!(route["destination"], "10.7.0.0/16");
    assert_eq!(service.json(&["route", "get", "10.7.0.0/16"])["id"], route["id"]);
    let edited = service.json(&["route", "edit", "10.7.0.0/16", "--description", "to the lab"]);
    assert_eq!(edited["description"], "to the lab");
    assert!(service.ok(&["route", "list", "--vpc", "v"]).contains("10.7.0.0/16"));
    let elsewhere = service.json(&["route", "list", "--contains", "192.168.0.1"]);
    assert_eq!(elsewhere.as_array().map(Vec::len), Some(0));
    service.ok(&["route", "delete", "10.7.0.0/16"]);
    service.fails(&["route", "get", "10.7.0.0/16"], 1, "no route is named");

    let moved = service.json(&["ip", "move", "10.1.0.77", "02:00:00:00:00:02"]);
    assert_eq!(moved["resource"]["mac_address"], "02:00:00:00:00:02");
    service.ok(&["ip", "detach", "10.1.0.77"]);
    service.ok(&["ip", "delete", "10.1.0.77"]);
    assert!(service.ok(&["private-network", "delete", "lan"]).starts_with("deleted Private Network lan ("));
}

#[test]
fn addresses() {
    let service = Service::start(Place::Here);
    let public = service.json(&["ip", "create", "--public"]);
    assert_eq!(public["source"]["zonal"], "fr-par-1");
    let address = public["address"].as_str().and_then(|address| address.split('/').next()).expect("an address");
    assert_eq!(service.json(&["ip", "get", address])["id"], public["id"]);
    assert_eq!(service.json(&["ip", "edit", address, "--tag", "t"])["tags"][0], "t");
    assert_eq!(service.json(&["ip", "list", "--free", "--tag", "t"]).as_array().map(Vec::len), Some(1));
    assert_eq!(service.json(&["ip", "list", "--attached", "--tag", "t"]).as_array().map(Vec::len), Some(0));
    service.fails(&["ip", "create", "--public=fr-par-9"], 1, "  --public: unknown zone; there are: fr-par-1");
    service.fails(&["ip", "get", "nothing"], 2, "neither an address nor an id");
    assert_eq!(
        service.ok(&["ip", "delete", address]),
        format!("released {}\n", public["address"].as_str().expect("text"))
    );
    service.fails(&["ip", "get", address], 1, "no IP address is named");
}

#[test]
fn access_lists() {
    let service = Service::start(Place::Here);
    service.ok(&["vpc", "create", "v"]);
    let rule = "drop tcp 0.0.0.0/0 10.0.0.0/24 dport 22-23";
    assert_eq!(service.ok(&["acl", "set", "v", "--default", "accept", "--rule", rule]), "1 rules, else accept\n");
    let shown = service.ok(&["acl", "get", "v"]);
    assert!(shown.contains("10.0.0.0/24 port 22-23") && shown.contains("else"), "{shown}");
    let list = service.json(&["acl", "get", "v"]);
    assert_eq!(
        (list["rules"][0]["dst_port_low"].as_u64(), list["default_policy"].as_str()),
        (Some(22), Some("accept"))
    );
    // What was read can be written.
    let file = service.file("rules.json", &list.to_string());
    let file = file.to_str().expect("UTF-8");
    service.ok(&["acl", "set", "v", "--default", "drop", "--file", file]);
    assert_eq!(service.json(&["acl", "get", "v"])["rules"], list["rules"]);
    service.ok(&["acl", "set", "v", "--ipv6", "--default", "drop"]);
    assert_eq!(service.json(&["acl", "get", "v", "--ipv6"])["default_policy"], "drop");
    service.fails(
        &["acl", "set", "v", "--default", "drop", "--rule", "drop everything"],
        2,
        "is not a rule; an example",
    );
    let wrong = "drop tcp 0.0.0.0/0 10.0.0.300/24";
    service.fails(&["acl", "set", "v", "--default", "drop", "--rule", wrong], 1, "  --rule, number 1, destination: ");
    service.fails(&["acl", "set", "v", "--default", "drop", "--file", "/nonexistent"], 1, "cannot read /nonexistent");
}

#[test]
fn secrets() {
    let service = Service::start(Place::Here);
    let first = service.file("first", "one\n");
    let second = service.file("second", "two\n");
    let (first, second) = (first.to_str().expect("UTF-8"), second.to_str().expect("UTF-8"));
    let create = ["secret", "create", "s", "--description", "d", "--data-file", first, "--protected"];
    assert_eq!(service.json(&create)["version_count"], 1);
    assert_eq!(service.ok(&["secret", "access", "s"]), "one");
    assert_eq!(service.json(&["secret", "add-version", "s", "--data-file", second])["revision"], 2);
    assert_eq!(service.ok(&["secret", "access", "s"]), "two");
    assert_eq!(service.ok(&["secret", "access", "s", "--revision", "1"]), "one");
    assert_eq!(service.json(&["secret", "edit-version", "s", "2", "--description", "new"])["description"], "new");
    service.ok(&["secret", "disable-version", "s", "2"]);
    service.fails(&["secret", "access", "s", "--revision", "2"], 1, "error: ");
    assert_eq!(service.ok(&["secret", "access", "s"]), "one", "the latest that is enabled");
    service.ok(&["secret", "enable-version", "s", "2"]);
    let versions = service.json(&["secret", "versions", "s"]);
    assert!(versions.as_array().expect("a list").iter().all(|version| version["status"] == "enabled"), "{versions}");
    service.ok(&["secret", "delete-version", "s", "2"]);
    assert_eq!(service.names(&["secret", "list"]), ["s"]);
    assert_eq!(service.json(&["secret", "edit", "s", "--name", "t"])["name"], "t");
    assert_eq!(service.json(&["secret", "get", "t"])["protected"], true);
    service.fails(&["secret", "delete", "t"], 1, "error: ");
    service.ok(&["secret", "unprotect", "t"]);
    service.ok(&["secret", "protect", "t"]);
    service.ok(&["secret", "unprotect", "t"]);
    assert!(service.ok(&["secret", "delete", "t"]).starts_with("deleted secret t ("));
    service.fails(&["secret", "create", "u", "--data-file", "/nonexistent"], 1, "cannot read /nonexistent");
    assert!(service.names(&["secret", "list"]).is_empty(), "what cannot be read leaves nothing behind");
}
