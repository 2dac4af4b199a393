//! The calls around the VPN, seen from outside: other tenants, support, wrong ids, pages and orders, and what is refused with which field.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::service::{Answer, EXTENSION, IPAM, SECRETS, Service, VPC};

const MAC: &str = "02:00:00:00:00:01";

fn id(document: &Value) -> String {
    document["id"].as_str().unwrap_or_else(|| panic!("no id in {document}")).to_owned()
}

/// One object of each kind.
struct World {
    service: Service,
    vpc: String,
    network: Value,
    ip: String,
    route: String,
    secret: String,
}

impl World {
    async fn new() -> Self {
        let service = Service::start().await;
        let vpc = id(&service.post(&format!("{VPC}/vpcs"), &json!({"name": "v"})).await.ok());
        let network = json!({"name": "n", "vpc_id": vpc, "subnets": ["10.0.0.0/24"]});
        let network = service.post(&format!("{VPC}/private-networks"), &network).await.ok();
        let source = json!({"private_network_id": network["id"]});
        let ip = json!({"source": source, "is_ipv6": false, "resource": {"mac_address": MAC, "name": "router"}});
        let ip = id(&service.post(&format!("{IPAM}/ips"), &ip).await.ok());
        let route = json!({"vpc_id": vpc, "destination": "10.9.0.0/16", "nexthop_resource_id": ip, "description": "d"});
        let route = id(&service.post(&format!("{VPC}/routes"), &route).await.ok());
        let secret = json!({"name": "s", "protected": false, "path": "/p"});
        let secret = id(&service.post(&format!("{SECRETS}/secrets"), &secret).await.ok());
        Self { service, vpc, network, ip, route, secret }
    }

    /// The secret of a key of another project.
    async fn key(&self, role: &str) -> String {
        let project = json!({"name": role, "description": ""});
        let project = id(&self.service.post("/account/v3/projects", &project).await.ok());
        let key = json!({"role": role, "project_id": project});
        let key = self.service.post("/causeway/v1/operator/api-keys", &key).await.ok();
        key["secret_key"].as_str().expect("a secret").to_owned()
    }

    async fn call_as(&self, key: &str, method: &str, path: &str, body: &Value) -> Answer {
        let request = Request::builder().method(method).uri(path).header("x-auth-token", key);
        self.service.send(request.body(Body::from(body.to_string())).expect("a request")).await
    }

    /// Every call on one object: method, path, body, and what it is on.
    fn calls(&self) -> Vec<(&'static str, String, Value, &'static str)> {
        let Self { vpc, ip, route, secret, .. } = self;
        let user = json!({"resource": {"mac_address": MAC}});
        let moved = json!({"from_resource": {"mac_address": MAC}, "to_resource": {"mac_address": "02:00:00:00:00:02"}});
        let acl = json!({"rules": [], "is_ipv6": false, "default_policy": "accept"});
        let new = json!({"vpc_id": vpc, "destination": "10.8.0.0/16", "nexthop_resource_id": ip});
        let none = json!({});
        vec![
            ("GET", format!("{VPC}/routes/{route}"), none.clone(), "unknown"),
            ("PATCH", format!("{VPC}/routes/{route}"), json!({"description": "e"}), "unknown"),
            ("DELETE", format!("{VPC}/routes/{route}"), none.clone(), "unknown"),
            ("POST", format!("{VPC}/routes"), new, "vpc"),
            ("GET", format!("{VPC}/vpcs/{vpc}/acl-rules?is_ipv6=true"), none.clone(), "vpc"),
            ("PUT", format!("{VPC}/vpcs/{vpc}/acl-rules"), acl, "vpc"),
            ("POST", format!("{VPC}/vpcs/{vpc}/enable-routing"), none.clone(), "vpc"),
            ("POST", format!("{VPC}/vpcs/{vpc}/enable-custom-routes-propagation"), none.clone(), "vpc"),
            ("GET", format!("{EXTENSION}/vpcs/{vpc}/state"), none.clone(), "vpc"),
            ("GET", format!("{EXTENSION}/vpcs/{vpc}/options"), none, "vpc"),
            (
                "PATCH",
                format!("{EXTENSION}/vpcs/{vpc}/options"),
                json!({"custom_routes_propagation_enabled": false}),
                "vpc",
            ),
            ("PATCH", format!("{IPAM}/ips/{ip}"), json!({"tags": ["x"]}), "ip"),
            ("POST", format!("{IPAM}/ips/{ip}/attach"), user.clone(), "ip"),
            ("POST", format!("{IPAM}/ips/{ip}/detach"), user, "ip"),
            ("POST", format!("{IPAM}/ips/{ip}/move"), moved, "ip"),
            ("POST", format!("{IPAM}/ip-sets/release"), json!({"ip_ids": [ip]}), "ip"),
            ("POST", format!("{SECRETS}/secrets/{secret}/add-owner"), json!({"product": "s2s_vpn"}), "secret"),
        ]
    }
}

#[tokio::test]
async fn to_another_tenant_nothing_is_there() {
    let world = World::new().await;
    let stranger = world.key("tenant").await;
    for (method, path, body, resource) in world.calls() {
        let refused = world.call_as(&stranger, method, &path, &body).await.error(404, "not_found");
        assert_eq!(refused["resource"], resource, "{method} {path}");
    }
    let own = json!({"source": {"private_network_id": world.network["id"]}, "is_ipv6": false});
    let refused = world.call_as(&stranger, "POST", &format!("{IPAM}/ips"), &own).await.error(404, "not_found");
    assert_eq!(refused["resource"], "private_network");
    let project = world.service.project_id.as_str();
    let query = format!("secret_path=%2Fp&secret_name=s&project_id={project}");
    let path = format!("{SECRETS}/secrets-by-path/versions/latest/access?{query}");
    world.call_as(&stranger, "GET", &path, &json!({})).await.error(404, "not_found");
    for list in [
        format!("{VPC}/routes-with-nexthop"),
        format!("{VPC}/routes-with-nexthop?vpc_id={}", world.vpc),
        format!("{VPC}/subnets"),
        format!("{IPAM}/ips?private_network_id={}", id(&world.network)),
        format!("{SECRETS}/tags"),
        format!("{SECRETS}/secrets?path=%2Fp&scheduled_for_deletion=false"),
    ] {
        let found = world.call_as(&stranger, "GET", &list, &json!({})).await.ok();
        assert_eq!(found["total_count"], 0, "{list}");
    }
}

#[tokio::test]
async fn support_looks_and_does_not_touch() {
    let world = World::new().await;
    let support = world.key("support").await;
    for (method, path, body, _) in world.calls() {
        let answer = world.call_as(&support, method, &path, &body).await;
        if method == "GET" {
            answer.ok();
        } else {
            answer.error(403, "permissions_denied");
        }
    }
    let unchanged = world.service.get(&format!("{VPC}/routes/{}", world.route)).await.ok();
    assert_eq!(unchanged["description"], "d");
}

#[tokio::test]
async fn an_id_that_is_none_or_nobodys_is_not_found() {
    let world = World::new().await;
    let nobody = "0ae4cf90-0405-4318-a169-e45b3bef7676";
    for (method, path, body, resource) in world.calls() {
        let ids = [&world.vpc, &world.ip, &world.route, &world.secret];
        let Some(known) = ids.into_iter().find(|known| path.contains(known.as_str())) else { continue };
        for wrong in [nobody, "no-id", "00000000-0000-0000-0000-000000000000"] {
            let path = path.replace(known.as_str(), wrong);
            let refused = world.service.call(method, &path, &body.to_string()).await.error(404, "not_found");
            assert_eq!(refused["resource"], resource, "{method} {path}");
            let named = if resource == "unknown" { "" } else { wrong };
            assert_eq!(refused["resource_id"], named, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn routes_page_by_page_in_every_order() {
    let world = World::new().await;
    let service = &world.service;
    for (destination, tag) in [("10.16.0.0/12", "a"), ("0.0.0.0/0", "b"), ("192.0.2.0/24", "a")] {
        let body = json!({
            "vpc_id": world.vpc, "destination": destination, "nexthop_resource_id": world.ip, "tags": [tag],
        });
        service.post(&format!("{VPC}/routes"), &body).await.ok();
    }
    let list = format!("{VPC}/routes-with-nexthop?vpc_id={}&is_ipv6=false", world.vpc);
    let destinations = async |query: &str| {
        let answer = service.get(&format!("{list}&{query}")).await.ok();
        let routes = answer["routes"].as_array().expect("routes").iter();
        routes.map(|item| item["route"]["destination"].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    let by_creation = ["10.0.0.0/24", "10.9.0.0/16", "10.16.0.0/12", "0.0.0.0/0", "192.0.2.0/24"];
    let by_destination = ["0.0.0.0/0", "10.0.0.0/24", "10.9.0.0/16", "10.16.0.0/12", "192.0.2.0/24"];
    assert_eq!(destinations("").await, by_creation);
    assert_eq!(destinations("order_by=created_at_asc").await, by_creation);
    assert_eq!(destinations("order_by=destination_asc").await, by_destination);
    for (up, down) in [("created_at_asc", "created_at_desc"), ("destination_asc", "destination_desc")] {
        let mut reversed = destinations(&format!("order_by={up}")).await;
        reversed.reverse();
        assert_eq!(destinations(&format!("order_by={down}")).await, reversed);
    }
    let lengths = async |order: &str| {
        let all = destinations(order).await;
        all.iter().map(|text| text.rsplit('/').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lengths("order_by=prefix_len_asc").await, ["0", "12", "16", "24", "24"]);
    assert_eq!(lengths("order_by=prefix_len_desc").await, ["24", "24", "16", "12", "0"]);
    let mut read = Vec::new();
    for page in 1..=3 {
        read.extend(destinations(&format!("order_by=destination_asc&page={page}&page_size=2")).await);
    }
    assert_eq!(read, by_destination);
    assert!(destinations("page=4&page_size=2").await.is_empty(), "beyond the last page");
    assert_eq!(destinations("tags=a").await, ["10.16.0.0/12", "192.0.2.0/24"]);
    assert_eq!(destinations("contains=10.9.0.0%2F24&order_by=prefix_len_asc").await, ["0.0.0.0/0", "10.9.0.0/16"]);
    let wrong = service.get(&format!("{list}&order_by=name_asc&page=0&page_size=1001&nexthop_resource_id=x")).await;
    let wrong: Vec<_> = wrong.arguments().into_iter().map(|(name, _)| name).collect();
    assert_eq!(wrong, ["order_by", "page", "page_size", "nexthop_resource_id"]);
}

#[tokio::test]
async fn each_wrong_field_is_named() {
    let world = World::new().await;
    let service = &world.service;
    let (routes, ips) = (format!("{VPC}/routes"), format!("{IPAM}/ips"));
    let route = |change: Value| {
        let mut body = json!({"vpc_id": world.vpc, "destination": "10.7.0.0/16", "nexthop_resource_id": world.ip});
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        body
    };
    let nobody = "0ae4cf90-0405-4318-a169-e45b3bef7676";
    for (change, field) in [
        (json!({"destination": "10.0.0.0/25"}), "destination"),
        (json!({"destination": "10.7.0.1/16"}), "destination"),
        (json!({"destination": "224.0.0.0/8"}), "destination"),
        (json!({"destination": "fd12::/32"}), "nexthop_resource_id"),
        (json!({"description": "x".repeat(4097)}), "description"),
        (json!({"tags": [1]}), "tags[0]"),
        (json!({"nexthop_private_network_id": "x"}), "nexthop_private_network_id"),
    ] {
        let wrong = service.post(&routes, &route(change.clone())).await.arguments();
        assert_eq!(wrong.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [field], "{change}");
    }
    let connector = service.post(&routes, &route(json!({"nexthop_vpc_connector_id": nobody}))).await;
    let missing = connector.error(501, "not_implemented");
    assert!(
        missing["help_message"].as_str().is_some_and(|help| help.contains("nexthop_vpc_connector_id")),
        "{missing}"
    );
    for (change, resource) in [
        (json!({"nexthop_resource_id": nobody}), "ip"),
        (json!({"nexthop_private_network_id": nobody}), "private_network"),
        (json!({"vpc_id": nobody}), "vpc"),
    ] {
        let missing = service.post(&routes, &route(change)).await.error(404, "not_found");
        assert_eq!((&missing["resource"], &missing["resource_id"]), (&json!(resource), &json!(nobody)));
    }
    for (source, field) in [
        (json!({"vpc_id": world.vpc}), "source.vpc_id"),
        (json!({"regional": true}), "source.regional"),
        (json!({}), "source"),
        (json!({"zonal": "mars-1"}), "source.zonal"),
    ] {
        let wrong = service.post(&ips, &json!({"source": source, "is_ipv6": false})).await.arguments();
        assert_eq!(wrong.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [field], "{source}");
    }
    let one = format!("{ips}/{}", world.ip);
    for (action, body, field) in [
        ("attach", json!({}), "resource"),
        ("attach", json!({"resource": {"mac_address": "01:00:5e:00:00:01"}}), "resource.mac_address"),
        ("detach", json!({"resource": {"mac_address": "02:00:00:00:00:09"}}), "resource.mac_address"),
        ("move", json!({"to_resource": {"mac_address": MAC}}), "from_resource"),
        ("move", json!({"from_resource": {"mac_address": "02:00:00:00:00:09"}}), "from_resource.mac_address"),
    ] {
        let wrong = service.post(&format!("{one}/{action}"), &body).await.arguments();
        assert_eq!(wrong.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [field], "{action} {body}");
    }
    let taken = service.post(&format!("{one}/attach"), &json!({"resource": {"mac_address": MAC}})).await;
    assert_eq!(taken.error(412, "precondition_failed")["precondition"], "resource_still_in_use");
    let public = service.post(&ips, &json!({"source": {"zonal": "fr-par-1"}, "is_ipv6": false})).await.ok();
    let body = json!({"resource": {"mac_address": MAC}});
    let wrong = service.post(&format!("{ips}/{}/attach", id(&public)), &body).await.arguments();
    assert_eq!(wrong, [("resource".to_owned(), "constraint".to_owned())]);
    let acl = json!({
        "rules": [{"protocol": "icmp", "source": "10.0.0.0/8", "destination": "0.0.0.0/0", "dst_port_low": 1, "dst_port_high": 2, "action": "drop"}],
        "is_ipv6": false, "default_policy": "accept",
    });
    let path = format!("{VPC}/vpcs/{}/acl-rules", world.vpc);
    let wrong = service.call("PUT", &path, &acl.to_string()).await.arguments();
    assert_eq!(wrong, [("rules[0].dst_port_low".to_owned(), "constraint".to_owned())]);
    let rule = json!({"source": "10.0.0.0/8", "destination": "0.0.0.0/0", "action": "drop"});
    let many = json!({"rules": vec![rule; 1001], "is_ipv6": false, "default_policy": "accept"});
    let wrong = service.call("PUT", &path, &many.to_string()).await.arguments();
    assert_eq!(wrong, [("rules".to_owned(), "constraint".to_owned())]);
}

#[tokio::test]
async fn addresses_have_names() {
    let world = World::new().await;
    let path = format!("{IPAM}/ips/{}", world.ip);
    let patch = async |body: Value| world.service.call("PATCH", &path, &body.to_string()).await;
    let names =
        json!([{"address": "10.0.0.2", "hostname": "a.example.net"}, {"address": null, "hostname": "b.example.net"}]);
    let sent = json!([{"hostname": "A.example.net.", "address": "10.0.0.2"}, {"hostname": "b.example.net"}]);
    let named = patch(json!({"reverses": sent})).await.ok();
    assert_eq!((&named["reverses"], &named["tags"]), (&names, &json!([])));
    assert!(named["updated_at"].as_str() > named["created_at"].as_str());
    let tagged = patch(json!({"tags": ["t"], "reverses": null})).await.ok();
    assert_eq!((&tagged["reverses"], &tagged["tags"]), (&names, &json!(["t"])));
    assert_eq!(world.service.get(&path).await.ok(), tagged);
    let other = patch(json!({"reverses": [{"hostname": "a.example.net", "address": "10.0.0.3"}]})).await.arguments();
    assert_eq!(other, [("reverses[0].address".to_owned(), "constraint".to_owned())]);
    let name = |number: usize| json!({"hostname": format!("n{number}.example.net")});
    let many = patch(json!({"reverses": (0..11).map(name).collect::<Vec<_>>()})).await.arguments();
    assert_eq!(many, [("reverses".to_owned(), "constraint".to_owned())]);
    assert_eq!(patch(json!({"reverses": []})).await.ok()["reverses"], json!([]));
}

#[tokio::test]
async fn data_have_to_fit_the_type_of_their_secret() {
    let service = Service::start().await;
    let secrets = format!("{SECRETS}/secrets");
    // Type, data that fit, data that do not: {"a":"b"} and {"a":1}, {"password":"p"} and {"username":"u"},
    // {"ssh_private_key":"k"} and k.
    for (kind, fitting, wrong) in [
        ("key_value", "eyJhIjoiYiJ9", "eyJhIjoxfQ=="),
        ("basic_credentials", "eyJwYXNzd29yZCI6InAifQ==", "eyJ1c2VybmFtZSI6InUifQ=="),
        ("ssh_key", "eyJzc2hfcHJpdmF0ZV9rZXkiOiJrIn0=", "aw=="),
    ] {
        let secret = service.post(&secrets, &json!({"name": kind, "type": kind, "protected": false})).await.ok();
        assert_eq!(secret["type"], kind);
        let versions = format!("{secrets}/{}/versions", id(&secret));
        let refused = service.post(&versions, &json!({"data": wrong})).await;
        assert_eq!(refused.arguments(), [("data".to_owned(), "format".to_owned())], "{kind}");
        assert_eq!(service.post(&versions, &json!({"data": fitting})).await.ok()["revision"], 1, "{kind}");
        let read = service.get(&format!("{versions}/1/access")).await.ok();
        assert_eq!((&read["data"], &read["type"]), (&json!(fitting), &json!(kind)));
    }
}

#[tokio::test]
async fn what_is_not_offered_says_so() {
    let world = World::new().await;
    let World { service, vpc, secret, .. } = &world;
    let network = id(&world.network);
    let nobody = "0ae4cf90-0405-4318-a169-e45b3bef7676";
    for (method, path) in [
        ("GET", format!("{VPC}/vpc-connectors")),
        ("POST", format!("{VPC}/vpc-connectors")),
        ("GET", format!("{VPC}/vpc-connectors/{nobody}")),
        ("PATCH", format!("{VPC}/vpc-connectors/{nobody}")),
        ("DELETE", format!("{VPC}/vpc-connectors/{nobody}")),
        ("GET", format!("{VPC}/vpc-connectors/{nobody}/subnet-overlaps")),
        ("GET", format!("{VPC}/ingress-rules")),
        ("POST", format!("{VPC}/ingress-rules")),
        ("DELETE", format!("{VPC}/ingress-rules/{nobody}")),
        ("POST", format!("{VPC}/object-storage-private-access/{vpc}/enable")),
        ("PUT", format!("{VPC}/object-storage-private-access/{vpc}/private-networks")),
        ("POST", format!("{VPC}/private-networks/{network}/subnets")),
        ("DELETE", format!("{VPC}/private-networks/{network}/subnets")),
        ("GET", format!("{SECRETS}/secrets/browse?prefix=%2F")),
        ("POST", format!("{SECRETS}/secrets/{secret}/restore")),
        ("POST", format!("{SECRETS}/secrets/{secret}/versions/1/restore")),
    ] {
        service.call(method, &path, "{}").await.error(501, "not_implemented");
    }
}
