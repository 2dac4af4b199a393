//! Routes, access lists, attachments, and what else IPAM and the secret manager offer beside what gateways need.

use std::time::Duration;

use serde_json::{Value, json};

use crate::service::{Answer, EXTENSION, IPAM, SECRETS, Service, VPC};

const OPERATOR: &str = "/causeway/v1/operator";

fn id(document: &Value) -> &str {
    document["id"].as_str().expect("an id")
}

async fn put(service: &Service, path: &str, body: &Value) -> Answer {
    service.call("PUT", path, &body.to_string()).await
}

async fn network(service: &Service) -> Value {
    let vpc = service.post(&format!("{VPC}/vpcs"), &json!({"name": "v"})).await.ok();
    let network = json!({"name": "p", "subnets": ["10.0.0.0/24"], "vpc_id": id(&vpc)});
    service.post(&format!("{VPC}/private-networks"), &network).await.ok()
}

async fn router(service: &Service, network: &Value) -> Value {
    let body = json!({
        "source": {"private_network_id": id(network)},
        "is_ipv6": false,
        "resource": {"mac_address": "bc:24:11:74:d0:5b", "name": "router"},
    });
    service.post(&format!("{IPAM}/ips"), &body).await.ok()
}

#[tokio::test]
async fn routes_from_creation_to_404() {
    let service = Service::start().await;
    let network = network(&service).await;
    let ip = router(&service, &network).await;
    assert_eq!(
        ip["resource"],
        json!({"id": id(&ip), "mac_address": "BC:24:11:74:D0:5B", "name": "router", "type": "custom"})
    );
    let body = json!({
        "description": "",
        "vpc_id": network["vpc_id"],
        "destination": "10.9.0.0/16",
        "nexthop_resource_id": id(&ip),
        "tags": ["tf"],
    });
    let routes = format!("{VPC}/routes");
    let route = service.post(&routes, &body).await.ok();
    assert_eq!(
        (&route["description"], &route["type"], &route["is_read_only"]),
        (&json!("Custom route"), &json!("custom"), &json!(false))
    );
    assert_eq!(
        (&route["nexthop_private_network_id"], &route["nexthop_vpc_connector_id"]),
        (&network["id"], &Value::Null)
    );
    let path = format!("{routes}/{}", id(&route));
    assert_eq!(service.get(&path).await.ok(), route);
    let duplicate = service.post(&routes, &body).await.error(409, "already_exists");
    assert_eq!((&duplicate["resource"], &duplicate["resource_id"]), (&json!("route"), &route["id"]));
    let changed = service.call("PATCH", &path, r#"{"description":"d","nexthop_resource_id":null}"#).await.ok();
    assert_eq!(
        (&changed["description"], &changed["nexthop_resource_id"]),
        (&json!("d"), &route["nexthop_resource_id"])
    );

    let list = format!("{VPC}/routes-with-nexthop?vpc_id={}", network["vpc_id"].as_str().expect("an id"));
    let all = service.get(&format!("{list}&order_by=destination_asc&nexthop_resource_type=unknown_type")).await.ok();
    assert_eq!(all["total_count"], 3);
    let kinds: Vec<_> =
        all["routes"].as_array().expect("routes").iter().map(|item| item["route"]["type"].clone()).collect();
    assert_eq!(kinds, ["subnet", "custom", "subnet"]);
    let local = &all["routes"][0];
    assert_eq!((&local["route"]["id"], &local["route"]["tags"]), (&json!(""), &json!(["MANAGED"])));
    assert_eq!((&local["nexthop_ip"], &local["nexthop_resource_type"]), (&Value::Null, &json!("unknown_type")));
    assert_eq!(
        (&all["routes"][1]["nexthop_ip"], &all["routes"][1]["nexthop_name"]),
        (&json!("10.0.0.2"), &json!("router"))
    );
    for (filter, count) in [
        ("contains=10.9.1.1", 1),
        ("is_ipv6=True", 1),
        ("tags=tf", 1),
        ("nexthop_resource_type=vpn_gateway", 0),
        ("nexthop_resource_type=instance_private_nic", 0),
        (&format!("nexthop_resource_id={}", id(&ip)), 1),
        ("page=2&page_size=2", 3),
    ] {
        assert_eq!(service.get(&format!("{list}&{filter}")).await.ok()["total_count"], count, "{filter}");
    }
    assert_eq!(service.get(&format!("{list}&contains=x")).await.arguments(), [("contains".into(), "format".into())]);

    let user = json!({"resource": {"mac_address": "bc:24:11:74:d0:5b"}});
    let held = service.post(&format!("{IPAM}/ips/{}/detach", id(&ip)), &user).await;
    assert_eq!(held.error(412, "precondition_failed")["precondition"], "resource_still_in_use");
    assert_eq!(service.delete(&path).await.status, 204);
    let missing = service.get(&path).await.error(404, "not_found");
    assert_eq!((&missing["resource"], &missing["resource_id"]), (&json!("unknown"), &json!("")));
    service.get(&format!("{routes}/none")).await.error(404, "not_found");
    let empty = service.post(&routes, &json!({})).await;
    let fields: Vec<_> = empty.arguments().into_iter().map(|(name, _)| name).collect();
    assert_eq!(fields, ["destination", "vpc_id", "nexthop_resource_id"]);
}

#[tokio::test]
async fn access_lists_and_their_counters() {
    let service = Service::start().await;
    let network = network(&service).await;
    let vpc = network["vpc_id"].as_str().expect("an id");
    let path = format!("{VPC}/vpcs/{vpc}/acl-rules");
    let fresh = json!({"default_policy": "accept", "rules": []});
    assert_eq!(service.get(&path).await.ok(), fresh);
    let rule = json!({
        "action": "drop",
        "description": "no telnet",
        "destination": "10.0.0.0/24",
        "dst_port_high": 23,
        "dst_port_low": 23,
        "protocol": "tcp",
        "source": "0.0.0.0/0",
        "src_port_high": 0,
        "src_port_low": 0,
    });
    let body = json!({"rules": [rule], "is_ipv6": false, "default_policy": "accept"});
    let set = put(&service, &path, &body).await.ok();
    assert_eq!(set, json!({"default_policy": "accept", "rules": [rule]}));
    assert_eq!(service.get(&format!("{path}?is_ipv6=False")).await.ok(), set);
    assert_eq!(service.get(&format!("{path}?is_ipv6=true")).await.ok(), fresh);
    let state = format!("{EXTENSION}/vpcs/{vpc}/state");
    let mut counted = service.get(&state).await.ok();
    for _ in 0..500 {
        if counted["applied_revision"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        counted = service.get(&state).await.ok();
    }
    assert_eq!((&counted["applied_revision"], &counted["desired_revision"]), (&json!(1), &json!(1)));
    assert_eq!(counted["reason"], Value::Null);
    let first = &counted["acl_ipv4"]["rules"][0];
    assert_eq!((&first["packets"], &first["bytes"], &first["action"]), (&json!(1), &json!(60), &json!("drop")));
    assert_eq!(counted["acl_ipv4"]["default"], json!({"action": "accept", "bytes": 60, "packets": 1}));
    let bad = json!({"rules": [{"action": "unknown_action", "source": "0.0.0.0/0", "destination": "::/0"}], "is_ipv6": false, "default_policy": "accept"});
    let fields: Vec<_> = put(&service, &path, &bad).await.arguments().into_iter().map(|(name, _)| name).collect();
    assert_eq!(fields, ["rules[0].action", "rules[0].destination"]);
    assert_eq!(service.get(&path).await.ok(), set, "a bad list changes nothing");
    let cleared = json!({"rules": null, "is_ipv6": false, "default_policy": "drop"});
    assert_eq!(put(&service, &path, &cleared).await.ok(), json!({"default_policy": "drop", "rules": []}));
    let missing = service.get(&format!("{VPC}/vpcs/{}/acl-rules", id(&network))).await.error(404, "not_found");
    assert_eq!(missing["resource"], "vpc");

    let options = format!("{EXTENSION}/vpcs/{vpc}/options");
    let off = service.call("PATCH", &options, r#"{"custom_routes_propagation_enabled":false}"#).await.ok();
    assert_eq!(off, json!({"custom_routes_propagation_enabled": false}));
    assert_eq!(service.get(&format!("{VPC}/vpcs/{vpc}")).await.ok()["custom_routes_propagation_enabled"], false);
    let on = service.post(&format!("{VPC}/vpcs/{vpc}/enable-custom-routes-propagation"), &json!({})).await.ok();
    assert_eq!(on["custom_routes_propagation_enabled"], true);
    assert_eq!(service.get(&options).await.ok(), json!({"custom_routes_propagation_enabled": true}));
    assert_eq!(
        service.post(&format!("{VPC}/vpcs/{vpc}/enable-routing"), &json!({})).await.ok()["routing_enabled"],
        true
    );
}

#[tokio::test]
async fn filters_of_networks_and_subnets() {
    let service = Service::start().await;
    let network = network(&service).await;
    let count = async |path: &str| service.get(path).await.ok()["total_count"].clone();
    for (filter, expected) in [
        ("", 2),
        ("is_default=False", 1),
        ("is_default=true", 1),
        ("routing_enabled=false", 0),
        ("s3_integration_enabled=true", 0),
    ] {
        assert_eq!(count(&format!("{VPC}/vpcs?{filter}")).await, expected, "{filter}");
    }
    for (filter, expected) in
        [("dhcp_enabled=true", 1), ("dhcp_enabled=false", 0), ("object_storage_private_access_enabled=true", 0)]
    {
        assert_eq!(count(&format!("{VPC}/private-networks?{filter}")).await, expected, "{filter}");
    }
    let subnets = service.get(&format!("{VPC}/subnets?order_by=created_at_desc&page_size=1")).await.ok();
    assert_eq!((&subnets["total_count"], &subnets["subnets"][0]), (&json!(2), &network["subnets"][0]));
    let six = id(&network["subnets"][1]);
    let one = service.get(&format!("{VPC}/subnets?subnet_ids={six}")).await.ok();
    assert_eq!(one, json!({"subnets": [network["subnets"][1]], "total_count": 1}));
    let enabled = format!("{VPC}/private-networks/{}/enable-dhcp", id(&network));
    assert_eq!(service.post(&enabled, &json!({})).await.ok()["dhcp_enabled"], true);
}

#[tokio::test]
async fn addresses_of_custom_resources() {
    let service = Service::start().await;
    let network = network(&service).await;
    let ip = router(&service, &network).await;
    let path = format!("{IPAM}/ips/{}", id(&ip));
    let body = json!({"source": {"private_network_id": id(&network)}, "is_ipv6": false});
    let loose = service.post(&format!("{IPAM}/ips"), &body).await.ok();
    let count = async |filter: &str| service.get(&format!("{IPAM}/ips?{filter}")).await.ok()["total_count"].clone();
    for (filter, expected) in [
        ("mac_address=bc%3A24%3A11%3A74%3Ad0%3A5b", 1),
        ("mac_address=02%3A00%3A00%3A00%3A00%3A01", 0),
        ("resource_name=OUT", 1),
        ("resource_name=x", 0),
        ("regional=false", 2),
        ("regional=true", 0),
        ("resource_type=custom", 1),
        ("attached=True", 1),
        (&format!("source_vpc_id={}", network["vpc_id"].as_str().expect("an id")), 0),
    ] {
        assert_eq!(count(filter).await, expected, "{filter}");
    }
    let first =
        async |order: &str| service.get(&format!("{IPAM}/ips?order_by={order}")).await.ok()["ips"][0]["id"].clone();
    for (order, expected) in [
        ("ip_address_asc", &ip),
        ("ip_address_desc", &loose),
        ("attached_at_desc", &ip),
        ("mac_address_desc", &ip),
        ("attached_at_asc", &loose),
    ] {
        assert_eq!(&first(order).await, &expected["id"], "{order}");
    }
    let other = json!({"mac_address": "02:00:00:00:00:01", "name": null});
    let moved = json!({"from_resource": {"mac_address": "BC:24:11:74:D0:5B"}, "to_resource": other});
    let moved = service.post(&format!("{path}/move"), &moved).await.ok();
    assert_eq!(
        moved["resource"],
        json!({"id": id(&ip), "mac_address": "02:00:00:00:00:01", "name": null, "type": "custom"})
    );
    let wrong = json!({"resource": {"mac_address": "bc:24:11:74:d0:5b"}});
    let refused = service.post(&format!("{path}/detach"), &wrong).await.arguments();
    assert_eq!(refused, [("resource.mac_address".to_owned(), "constraint".to_owned())]);
    assert_eq!(
        service.post(&format!("{path}/detach"), &json!({"resource": other})).await.ok()["resource"],
        Value::Null
    );
    assert_eq!(service.post(&format!("{path}/attach"), &wrong).await.ok()["resource"]["name"], Value::Null);
    let set = format!("{IPAM}/ip-sets/release");
    service.post(&set, &json!({"ip_ids": [id(&loose), id(&ip)]})).await.error(412, "precondition_failed");
    service.post(&format!("{path}/detach"), &wrong).await.ok();
    assert_eq!(service.post(&set, &json!({"ip_ids": [id(&loose), id(&ip)]})).await.status, 204);
    service.get(&path).await.error(404, "not_found");
}

#[tokio::test]
async fn secrets_by_path_with_owners_and_tags() {
    let service = Service::start().await;
    let secrets = format!("{SECRETS}/secrets");
    let new = |name: &str, tags: Value| json!({"name": name, "path": "/vpn", "protected": false, "type": "opaque", "tags": tags});
    let secret = service.post(&secrets, &new("key", json!(["b", "a"]))).await.ok();
    service.post(&secrets, &new("other", json!(["a", "c"]))).await.ok();
    let path = format!("{secrets}/{}", id(&secret));
    service.post(&format!("{path}/versions"), &json!({"data": "cHNr"})).await.ok();
    let by_path = |query: &str| format!("{SECRETS}/secrets-by-path/versions/latest_enabled/access?{query}");
    let access = service.get(&by_path("secret_path=%2Fvpn&secret_name=key")).await.ok();
    assert_eq!((&access["secret_id"], &access["data"]), (&secret["id"], &json!("cHNr")));
    service.get(&by_path("secret_name=key")).await.error(404, "not_found");
    let project = "11111111-1111-4111-8111-111111111111";
    service
        .get(&by_path(&format!("secret_path=%2Fvpn&secret_name=key&project_id={project}")))
        .await
        .error(404, "not_found");
    assert_eq!(
        service.get(&by_path("secret_path=/vpn")).await.arguments(),
        [("secret_name".into(), "required".into())]
    );
    service.post(&secrets, &new("key", json!([]))).await.ok();
    service.get(&by_path("secret_path=%2Fvpn&secret_name=key")).await.error(412, "precondition_failed");

    assert_eq!(service.get(&format!("{SECRETS}/tags")).await.text, r#"{"tags":["a","b","c"],"total_count":3}"#);
    let second = service.get(&format!("{SECRETS}/tags?page=2&page_size=2")).await.ok();
    assert_eq!(second, json!({"tags": ["c"], "total_count": 3}));
    let types = service.get(&format!("{SECRETS}/secret-types")).await.ok();
    assert_eq!((&types["total_count"], &types["types"][0]), (&json!(6), &json!("opaque")));
    for _ in 0..2 {
        let added = service.post(&format!("{path}/add-owner"), &json!({"product": "s2s_vpn"})).await;
        assert_eq!(added.status, 204, "{}", added.text);
    }
    assert_eq!(service.get(&path).await.ok()["used_by"], json!(["s2s_vpn"]));
    service.post(&format!("{path}/versions"), &json!({"data": "cHNr", "disable_previous": true})).await.ok();
    let versions =
        async |status: &str| service.get(&format!("{path}/versions?{status}")).await.ok()["total_count"].clone();
    for (status, expected) in
        [("", 2), ("status=enabled", 1), ("status=enabled&status=disabled", 2), ("status=scheduled_for_deletion", 0)]
    {
        assert_eq!(versions(status).await, expected, "{status}");
    }
}

#[tokio::test]
async fn private_networks_on_the_operators_bridges() {
    let service = Service::start().await;
    let network = network(&service).await;
    let path = format!("{OPERATOR}/private-network-attachments");
    let one = format!("{path}/{}", id(&network));
    let set = put(&service, &one, &json!({"interface": "br-lan"})).await.ok();
    assert_eq!((&set["interface"], &set["private_network_id"]), (&json!("br-lan"), &network["id"]));
    let list = service.get(&path).await.ok();
    assert_eq!(list, json!({"private_network_attachments": [set], "total_count": 1}));
    let bad = put(&service, &one, &json!({"interface": "a/b"})).await.arguments();
    assert_eq!(bad, [("interface".to_owned(), "constraint".to_owned())]);
    assert_eq!(put(&service, &one, &json!({})).await.arguments(), [("interface".to_owned(), "required".to_owned())]);
    assert_eq!(service.delete(&one).await.status, 204);
    service.delete(&one).await.error(404, "not_found");
}
