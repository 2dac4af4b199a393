//! The operator's commands, and what the others may not do.

use serde_json::Value;

use crate::harness::{Place, Service};

#[test]
fn projects_organizations_and_keys() {
    let service = Service::start(Place::Here);
    let organization = service.json(&["organization", "create", "acme"]);
    let organization = organization["id"].as_str().expect("an id");
    assert_eq!(service.json(&["organization", "get", "acme"])["id"], organization);
    assert_eq!(service.json(&["organization", "edit", "acme", "--name", "acme corp"])["name"], "acme corp");
    assert!(service.names(&["organization", "list", "--name", "corp"]).contains(&"acme corp".to_owned()));
    let project = service.json(&["project", "create", "p", "--organization", "acme corp", "--description", "d"]);
    let project = project["id"].as_str().expect("an id");
    assert_eq!(service.names(&["project", "list", "--organization", "acme corp", "--name", "p"]), ["p"]);
    service.fails(&["organization", "delete", "acme corp"], 1, "delete them first");
    assert_eq!(service.json(&["project", "edit", project, "--name", "q"])["name"], "q");
    assert_eq!(service.json(&["project", "get", project])["description"], "d");

    let key = service.json(&["key", "create", "--role", "tenant", "--description", "k", "--project-id", project]);
    let access_key = key["access_key"].as_str().expect("an access key");
    let secret_key = key["secret_key"].as_str().expect("a secret key");
    let tenant = |words: &[&str]| {
        let mut command = service.command(words);
        command.env("SCW_SECRET_KEY", secret_key).env("SCW_DEFAULT_PROJECT_ID", project).output().expect("it starts")
    };
    assert!(tenant(&["vpc", "create", "mine"]).status.success());
    let denied = tenant(&["settings", "edit", "--support-contact", "x"]);
    let said = String::from_utf8_lossy(&denied.stderr);
    assert_eq!(denied.status.code(), Some(1), "{said}");
    assert!(said.contains("write settings is not allowed with this key"), "{said}");
    assert_eq!(service.json(&["key", "get", access_key])["description"], "k");
    let keys = service.json(&["key", "list", "--role", "tenant"]);
    assert_eq!(keys.as_array().map(Vec::len), Some(1), "{keys}");
    assert!(keys[0].get("secret_key").is_none());
    service.ok(&["key", "delete", access_key]);
    let refused = tenant(&["vpc", "list"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("authentication is denied"));
    assert_eq!(service.json(&["key", "list", "--role", "tenant"]).as_array().map(Vec::len), Some(0));
    let all = service.json(&["key", "list", "--role", "tenant", "--include-revoked"]);
    assert!(all[0]["revoked_at"].is_string(), "{all}");
    let wrong = ["key", "create", "--expires-at", "soon"];
    service.fails(&wrong, 1, "  --expires-at: `soon` is neither an instant");

    service.ok(&["vpc", "delete", "mine", "--project-id", project]);
    for vpc in service.names(&["vpc", "list", "--project-id", project]) {
        service.ok(&["vpc", "delete", &vpc, "--project-id", project]);
    }
    service.ok(&["project", "delete", project]);
    service.ok(&["organization", "delete", "acme corp"]);
    service.fails(&["organization", "get", organization], 1, "resource is not found");
}

#[test]
fn quotas() {
    let service = Service::start(Place::Here);
    let quotas = service.json(&["quota", "list"]);
    let of = |quotas: &Value, kind: &str| {
        let quotas = quotas.as_array().expect("a list");
        quotas.iter().find(|quota| quota["resource"] == kind).cloned().expect("a quota")
    };
    let default = of(&quotas, "vpcs");
    assert_eq!(default["is_default"], true);
    let used = default["used"].as_u64().expect("a number");
    let most = (used + 1).to_string();
    assert_eq!(service.json(&["quota", "set", "vpcs", &most])["quota"].as_u64(), Some(used + 1));
    service.ok(&["vpc", "create", "last"]);
    service.fails(&["vpc", "create", "one more"], 1, &format!("vpcs: {most} of {most} used"));
    service.ok(&["quota", "reset", "vpcs"]);
    assert_eq!(of(&service.json(&["quota", "list"]), "vpcs")["quota"], default["quota"]);
    service.ok(&["vpc", "create", "one more"]);
    service.fails(&["quota", "set", "horses", "1"], 1, "horses");
    service.fails(&["quota", "set", "vpcs", "-1"], 2, "-1");
}

#[test]
fn the_catalogue() {
    let service = Service::start(Place::Here);
    assert_eq!(service.names(&["region", "list"]), ["fr-par"]);
    assert_eq!(service.names(&["zone", "list"]), ["fr-par-1"]);
    assert_eq!(service.json(&["zone", "create", "fr-par-2"])["name"], "fr-par-2");
    assert_eq!(service.json(&["zone", "get", "fr-par-2"])["region"], "fr-par");
    let pool = service.json(&["pool", "create", "198.51.100.0/24", "--zone", "fr-par-2"]);
    assert_eq!(pool["used"], 0);
    assert_eq!(service.json(&["pool", "get", "198.51.100.0/24", "--zone", "fr-par-2"]), pool);
    assert_eq!(service.json(&["pool", "list", "--zone", "fr-par-2"]).as_array().map(Vec::len), Some(1));
    let booked = service.json(&["ip", "create", "--public=fr-par-2"]);
    let remove = ["pool", "delete", "198.51.100.0/24", "--zone", "fr-par-2"];
    service.fails(&remove, 1, "precondition is not respected");
    service.ok(&["ip", "delete", booked["id"].as_str().expect("an id")]);
    service.ok(&remove);
    service.fails(&["pool", "create", "198.51.100.0"], 1, "prefix: ");
    service.ok(&["zone", "delete", "fr-par-2"]);
    service.fails(&["zone", "get", "fr-par-2"], 1, "resource is not found");

    let create =
        ["gateway-type", "create", "VGW-T", "--bandwidth", "250M", "--connections", "7", "--price-per-hour", "0.125"];
    let offer = service.json(&create);
    assert_eq!((offer["bandwidth"].as_u64(), offer["price_per_hour"].as_u64()), (Some(250_000_000), Some(125_000)));
    assert!(service.names(&["gateway-type", "list"]).contains(&"VGW-T".to_owned()));
    assert!(service.ok(&["gateway-type", "list", "--prices"]).contains("0.125 EUR"));
    let edited = service.json(&["gateway-type", "edit", "VGW-T", "--connections", "8", "--no-zones"]);
    assert_eq!((edited["allowed_connections"].as_u64(), edited["zones"].as_array().map(Vec::len)), (Some(8), Some(0)));
    assert_eq!(service.json(&["gateway-type", "get", "VGW-T"]), edited);
    service.ok(&["gateway-type", "delete", "VGW-T"]);
    service.fails(&["gateway-type", "get", "VGW-T"], 1, "resource is not found");
    service.fails(&["gateway-type", "create", "X", "--bandwidth", "fast", "--connections", "1"], 2, "100M or 1G");
}

#[test]
fn settings_and_the_audit_trail() {
    let service = Service::start(Place::Here);
    assert!(service.json(&["settings", "get"])["support_contact"].is_null());
    let set = service.json(&["settings", "edit", "--support-contact", "help@example.net"]);
    assert_eq!(set["support_contact"], "help@example.net");
    assert_eq!(service.json(&["settings", "get"]), set);
    service.json(&["settings", "edit", "--no-support-contact"]);
    service.fails(&["settings", "edit"], 2, "--support-contact");
    let records = service.json(&["audit", "list", "--resource", "settings"]);
    let records = records.as_array().expect("a list");
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[1]["after"]["support_contact"], "help@example.net");
    let request = records[0]["request_id"].as_str().expect("a request id");
    assert_eq!(service.json(&["audit", "list", "--request-id", request]).as_array().map(Vec::len), Some(1));
    let last = service.run(&["audit", "list", "--last", "1", "--resource", "settings"]);
    assert_eq!((last.out.lines().count(), last.err.as_str()), (2, "1 of 2; --last shows more, filters fewer\n"));
    assert_eq!(service.json(&["audit", "list", "--to", "2020-01-01"]).as_array().map(Vec::len), Some(0));
    service.fails(&["audit", "list", "--from", "soon"], 1, "  --from: ");
}
