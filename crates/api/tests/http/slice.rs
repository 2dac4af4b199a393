//! The product through its API: network, gateways, policies, connections, keys, and every error that a tenant can cause.

use std::time::Duration;

use crate::service::{Answer, EXTENSION, IPAM, S2S, SECRETS, Service, VPC};
use axum::http::StatusCode;
use serde_json::{Value, json};

fn id(document: &Value) -> &str {
    document["id"].as_str().expect("an id")
}

/// A service with one active gateway.
struct Tenant {
    service: Service,
    vpc: Value,
    network: Value,
    gateway: Value,
}

impl Tenant {
    async fn new() -> Self {
        let service = Service::start().await;
        let vpc = json!({"name": "v", "project_id": service.project_id, "tags": [], "enable_routing": false});
        let vpc = service.post(&format!("{VPC}/vpcs"), &vpc).await.ok();
        let network = json!({"name": "p", "subnets": ["10.0.0.0/24"], "vpc_id": id(&vpc), "tags": null});
        let network = service.post(&format!("{VPC}/private-networks"), &network).await.ok();
        let mut tenant = Self { service, vpc, network, gateway: Value::Null };
        tenant.gateway = tenant.create_gateway("g").await.ok();
        let id = id(&tenant.gateway).to_owned();
        tenant.gateway = tenant.settled(&id).await;
        tenant
    }

    async fn create_gateway(&self, name: &str) -> Answer {
        let body = json!({"name": name, "gateway_type": "VGW-S", "private_network_id": id(&self.network)});
        self.service.post(&format!("{S2S}/vpn-gateways"), &body).await
    }

    /// Waits until the gateway's status is none of the transient ones.
    async fn settled(&self, id: &str) -> Value {
        for _ in 0..500 {
            let gateway = self.service.get(&format!("{S2S}/vpn-gateways/{id}")).await.ok();
            if !["configuring", "provisioning", "deprovisioning"].map(Value::from).contains(&gateway["status"]) {
                return gateway;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway did not settle within 5 s");
    }

    async fn customer(&self, address: &str) -> Value {
        let body = json!({"name": "c", "ipv4_public": address, "asn": 65000});
        self.service.post(&format!("{S2S}/customer-gateways"), &body).await.ok()
    }

    async fn policy(&self) -> Value {
        let body = json!({
            "name": "r",
            "is_ipv6": false,
            "prefix_filter_in": ["10.9.0.0/16"],
            "prefix_filter_out": ["10.0.0.0/24"],
        });
        self.service.post(&format!("{S2S}/routing-policies"), &body).await.ok()
    }

    async fn connect(&self, customer: &Value, policy: Option<&Value>, extra: Value) -> Answer {
        let mut body = json!({
            "name": "conn",
            "is_ipv6": false,
            "initiation_policy": "unknown_initiation_policy",
            "ikev2_ciphers": [{"encryption": "aes256", "integrity": "sha256", "dh_group": "modp2048"}],
            "esp_ciphers": [{"encryption": "aes256gcm", "integrity": null, "dh_group": "curve25519"}],
            "enable_route_propagation": false,
            "vpn_gateway_id": id(&self.gateway),
            "customer_gateway_id": id(customer),
            "bgp_config_ipv4": policy.map(|policy| json!({"routing_policy_id": id(policy)})),
        });
        let fields = body.as_object_mut().expect("an object");
        fields.extend(extra.as_object().expect("an object").clone());
        self.service.post(&format!("{S2S}/connections"), &body).await
    }

    async fn action(&self, connection: &Value, action: &str, body: Value) -> Answer {
        self.service.post(&format!("{S2S}/connections/{}/{action}", id(connection)), &body).await
    }
}

#[tokio::test]
async fn a_gateway_from_provisioning_to_404() {
    let tenant = Tenant::new().await;
    let service = &tenant.service;
    let created = tenant.create_gateway("second").await.ok();
    assert_eq!(created["status"], "provisioning");
    assert_eq!((&created["asn"], &created["zone"]), (&json!(12876), &json!("fr-par-1")));
    assert_eq!(created["created_at"], created["updated_at"]);
    let path = format!("{S2S}/vpn-gateways/{}", id(&created));
    let settled = tenant.settled(id(&created)).await;
    assert_eq!(settled["status"], "active");
    assert!(settled["updated_at"].as_str() > created["updated_at"].as_str());

    let state = service.get(&format!("{EXTENSION}/vpn-gateways/{}/state", id(&created))).await.ok();
    assert_eq!(
        (&state["status"], &state["reason"], &state["lifecycle"]),
        (&json!("active"), &Value::Null, &json!("present"))
    );
    assert_eq!(state["bandwidth"], 1_000_000_000);
    assert!(state["observed_at"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 27));

    for member in ["ipam_ipv4_id", "ipam_ipv6_id"] {
        let address = settled["public_config"][member].as_str().expect("an id");
        let ip = service.get(&format!("{IPAM}/ips/{address}")).await.ok();
        assert_eq!((&ip["resource"]["type"], &ip["resource"]["id"]), (&json!("vpn_gateway"), &created["id"]));
        assert_eq!(ip["source"], json!({"zonal": "fr-par-1"}));
        service.delete(&format!("{IPAM}/ips/{address}")).await.error(412, "precondition_failed");
    }

    let renamed = service.call("PATCH", &path, r#"{"name":"other","tags":["a"]}"#).await.ok();
    assert_eq!((&renamed["name"], &renamed["tags"]), (&json!("other"), &json!(["a"])));
    let same = json!({"private_network_id": id(&tenant.network)}).to_string();
    service.call("PATCH", &path, &same).await.ok();
    let another = json!({"private_network_id": id(&tenant.vpc)}).to_string();
    let answer = service.call("PATCH", &path, &another).await;
    assert_eq!(answer.arguments(), [("private_network_id".to_owned(), "constraint".to_owned())]);

    let deleted = service.delete(&path).await.ok();
    assert_eq!((&deleted["id"], &deleted["status"]), (&created["id"], &json!("deprovisioning")));
    for _ in 0..500 {
        if service.get(&path).await.status == StatusCode::NOT_FOUND {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the gateway was still there 5 s after its deletion");
}

#[tokio::test]
async fn a_connection_with_its_key() {
    let tenant = Tenant::new().await;
    let service = &tenant.service;
    let (customer, policy) = (tenant.customer("198.51.100.7/32").await, tenant.policy().await);
    assert_eq!(customer["public_ipv4"], "198.51.100.7");
    let created = tenant.connect(&customer, Some(&policy), json!({})).await.ok();
    assert_eq!(created["pre_shared_key"], "");
    let connection = &created["connection"];
    let path = format!("{S2S}/connections/{}", id(connection));
    for (key, value) in [
        ("initiation_policy", json!("vpn_gateway")),
        ("ikev2_ciphers", json!([{"dh_group": "modp2048", "encryption": "aes256", "integrity": "sha256"}])),
        ("esp_ciphers", json!([{"dh_group": "curve25519", "encryption": "aes256gcm"}])),
        ("tunnel_status", json!("down")),
        ("tunnel_status_ipv4", json!("unknown_tunnel_status")),
        ("bgp_status_ipv4", json!("down")),
        ("bgp_status_ipv6", json!("disabled")),
        ("route_propagation_enabled", json!(false)),
        ("secret_revision", json!(1)),
        ("is_ipv6", json!(false)),
    ] {
        assert_eq!(connection[key], value, "{key}");
    }
    assert_eq!(connection["bgp_session_ipv4"]["private_ip"], "169.254.0.1/30");
    assert_eq!(connection["bgp_session_ipv4"]["peer_private_ip"], "169.254.0.2/30");
    let gateway = service.get(&format!("{S2S}/vpn-gateways/{}", id(&tenant.gateway))).await.ok();
    assert_eq!(gateway["connection_ids"], json!([connection["id"]]));

    for (is_ipv6, found) in [("false", 1), ("True", 0)] {
        let policies = service.get(&format!("{S2S}/routing-policies?ipv6={is_ipv6}&name=r")).await.ok();
        assert_eq!(policies["total_count"], found, "ipv6={is_ipv6}");
    }
    let subnets = service.get(&format!("{VPC}/subnets?vpc_id={}", id(&tenant.vpc))).await.ok();
    assert_eq!(subnets, json!({"subnets": tenant.network["subnets"], "total_count": 2}));
    let second = id(&tenant.network["subnets"][1]);
    let subnets = service.get(&format!("{VPC}/subnets?subnet_ids={second}")).await.ok();
    assert_eq!((&subnets["subnets"][0], &subnets["total_count"]), (&tenant.network["subnets"][1], &json!(1)));

    // The key, as clients read it.
    let secret = connection["secret_id"].as_str().expect("an id");
    let secret = format!("{SECRETS}/secrets/{secret}");
    let document = service.get(&secret).await.ok();
    assert_eq!((&document["managed"], &document["used_by"]), (&json!(true), &json!(["s2s_vpn"])));
    let access = service.get(&format!("{secret}/versions/1/access")).await;
    assert!(access.ok()["data"].as_str().is_some_and(|data| data.len() >= 44), "256 bits at least");
    assert!(access.text.starts_with(r#"{"secret_id":"#), "declaration order");
    let body = service.post(&format!("{secret}/versions/1/disable"), &json!({})).await;
    assert_eq!(body.error(412, "precondition_failed")["precondition"], "resource_still_in_use");

    for (action, enabled) in [("enable-route-propagation", true), ("disable-route-propagation", false)] {
        let document = tenant.action(connection, action, json!({})).await.ok();
        assert_eq!(document["route_propagation_enabled"], enabled);
    }
    let quirk =
        r#"{"name":"n2","initiation_policy":"unknown_initiation_policy","ikev2_ciphers":null,"esp_ciphers":null}"#;
    let updated = service.call("PATCH", &path, quirk).await.ok();
    assert_eq!((&updated["name"], &updated["ikev2_ciphers"]), (&json!("n2"), &connection["ikev2_ciphers"]));
    assert_eq!(updated["initiation_policy"], "vpn_gateway");

    let detached = json!({"routing_policy_v4": id(&policy)});
    let document = tenant.action(connection, "detach-routing-policy", detached.clone()).await.ok();
    assert_eq!(document["bgp_session_ipv4"]["routing_policy_id"], "");
    assert_eq!(document["bgp_status_ipv4"], "disabled");
    let document = tenant.action(connection, "set-routing-policy", detached).await.ok();
    assert_eq!(document["bgp_session_ipv4"]["routing_policy_id"], policy["id"]);

    let renewed = tenant.action(connection, "renew-psk", json!({"generate_revision": true})).await.ok();
    assert_eq!((&renewed["connection"]["secret_revision"], &renewed["pre_shared_key"]), (&json!(2), &json!("")));
    let changed = json!({"secret": {"id": connection["secret_id"], "revision": 1}});
    let changed = tenant.action(connection, "change-psk", changed).await.ok();
    assert_eq!(changed["connection"]["secret_revision"], 1);
    assert!(changed.get("pre_shared_key").is_none());

    let extension = format!("{EXTENSION}/connections/{}", id(connection));
    let state = service.get(&format!("{extension}/state")).await.ok();
    assert_eq!(state["lifecycle"], "present");
    assert!(state["reason"]["remedy"].is_string());
    let formats = service.get(&format!("{extension}/device-configuration")).await.ok();
    let names: Vec<_> = formats["formats"].as_array().expect("a list").iter().map(|format| &format["name"]).collect();
    assert!(names.contains(&&json!("strongswan-bird")), "{formats}");
    let file = service.get(&format!("{extension}/device-configuration?format=strongswan-bird")).await;
    assert_eq!(file.status, StatusCode::OK);
    assert_eq!(file.headers["content-type"], "text/plain; charset=utf-8");
    assert!(file.text.contains("169.254.0.2"));
    let answer = service.get(&format!("{extension}/device-configuration?format=telepathy")).await;
    assert_eq!(answer.arguments()[0].0, "format");
    let received = service.get(&format!("{extension}/routes?direction=received")).await.ok();
    assert_eq!(received, json!({"routes": [], "total_count": 0}));
    let announced = service.get(&format!("{extension}/routes?direction=announced")).await.ok();
    let own = announced["routes"].as_array().expect("routes");
    let details: Vec<_> = own.iter().map(|route| (&route["decision"], &route["detail"])).collect();
    let filtered = json!("filtered");
    assert_eq!(details, [(&filtered, &json!("propagation_disabled")), (&filtered, &json!("no_policy"))]);
    assert_eq!(service.get(&format!("{extension}/routes?direction=up")).await.arguments()[0].0, "direction");

    assert_eq!(service.delete(&path).await.status, StatusCode::NO_CONTENT);
    service.get(&path).await.error(404, "not_found");
    service.get(&secret).await.error(404, "not_found");
    // Policy and customer gateway may go in the same second.
    for path in
        [format!("{S2S}/routing-policies/{}", id(&policy)), format!("{S2S}/customer-gateways/{}", id(&customer))]
    {
        assert_eq!(service.delete(&path).await.status, StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn an_own_secret() {
    let tenant = Tenant::new().await;
    let service = &tenant.service;
    let secret = service.post(&format!("{SECRETS}/secrets"), &json!({"name": "s", "protected": true})).await;
    assert!(secret.text.starts_with(r#"{"id":"#) && secret.text.ends_with(r#""region":"fr-par"}"#), "{}", secret.text);
    let secret = secret.ok();
    let path = format!("{SECRETS}/secrets/{}", id(&secret));
    let data = json!({"data": "MTIzNDU2Nzg5", "data_crc32": 3_421_780_262_u32, "description": "d"});
    let version = service.post(&format!("{path}/versions"), &data).await.ok();
    assert_eq!(
        (&version["revision"], &version["latest"], &version["status"]),
        (&json!(1), &json!(true), &json!("enabled"))
    );
    let access = service.get(&format!("{path}/versions/latest/access")).await.ok();
    assert_eq!((&access["data"], &access["data_crc32"]), (&json!("MTIzNDU2Nzg5"), &json!(3_421_780_262_u32)));
    let versions = service.get(&format!("{path}/versions")).await;
    assert!(versions.text.starts_with(r#"{"versions":["#) && versions.text.ends_with(r#""total_count":1}"#));

    let body = service.delete(&path).await.error(412, "precondition_failed");
    assert_eq!(body["precondition"], "protected_resource");
    assert_eq!(service.post(&format!("{path}/unprotect"), &json!({})).await.ok()["protected"], false);
    assert_eq!(service.post(&format!("{path}/versions/1/disable"), &json!({})).await.ok()["status"], "disabled");
    assert_eq!(service.post(&format!("{path}/versions/1/enable"), &json!({})).await.ok()["status"], "enabled");

    let customer = tenant.customer("198.51.100.8").await;
    let own = json!({"secret": {"id": id(&secret)}});
    let created = tenant.connect(&customer, None, own).await.ok();
    assert_eq!(
        (&created["connection"]["secret_id"], &created["connection"]["secret_revision"]),
        (&secret["id"], &json!(1))
    );
    service.delete(&path).await.error(412, "precondition_failed");
    let connection = format!("{S2S}/connections/{}", id(&created["connection"]));
    // As the Go SDK's update of a connection does it.
    service.post(&format!("{path}/versions"), &json!({"data": "OTg3NjU0MzIx"})).await.ok();
    let update = json!({"name": "n2", "initiation_policy": "unknown_initiation_policy", "secret_revision": 2});
    let updated = service.call("PATCH", &connection, &update.to_string()).await.ok();
    assert_eq!((&updated["name"], &updated["secret_id"]), (&json!("n2"), &secret["id"]));
    assert_eq!(updated["secret_revision"], 2);
    let wrong = service.call("PATCH", &connection, &json!({"secret_revision": 9}).to_string()).await;
    assert_eq!(wrong.error(404, "not_found")["resource"], "secret_version");
    assert_eq!(service.delete(&connection).await.status, StatusCode::NO_CONTENT);
    assert_eq!(service.delete(&path).await.status, StatusCode::NO_CONTENT, "an own secret outlives the connection");
}

#[tokio::test]
async fn what_a_tenant_may_not_do() {
    let tenant = Tenant::new().await;
    let service = &tenant.service;
    let (customer, policy) = (tenant.customer("198.51.100.7").await, tenant.policy().await);
    let connection = tenant.connect(&customer, Some(&policy), json!({})).await.ok()["connection"].clone();

    // 409 of both kinds.
    let second = tenant.connect(&customer, Some(&policy), json!({})).await.error(409, "already_exists");
    assert_eq!((&second["resource"], &second["resource_id"]), (&json!("connection"), &connection["id"]));
    // 412: everything that is still needed.
    tenant.settled(id(&tenant.gateway)).await;
    for path in [
        format!("{S2S}/vpn-gateways/{}", id(&tenant.gateway)),
        format!("{S2S}/customer-gateways/{}", id(&customer)),
        format!("{S2S}/routing-policies/{}", id(&policy)),
        format!("{VPC}/private-networks/{}", id(&tenant.network)),
        format!("{VPC}/vpcs/{}", id(&tenant.vpc)),
    ] {
        let body = service.delete(&path).await.error(412, "precondition_failed");
        assert_eq!(body["precondition"], "resource_still_in_use", "{path}");
    }
    // 404: a reference that leads nowhere, with the name of what it should lead to.
    let nowhere = json!({"id": "0ae4cf90-0405-4318-a169-e45b3bef7676"});
    let body = tenant.connect(&nowhere, None, json!({})).await.error(404, "not_found");
    assert_eq!((&body["resource"], &body["resource_id"]), (&json!("customer_gateway"), &nowhere["id"]));
    // 400: the provider's own AS number; a family that the customer gateway lacks.
    let own_asn = json!({"name": "c", "ipv4_public": "198.51.100.9", "asn": 12876});
    let answer = service.post(&format!("{S2S}/customer-gateways"), &own_asn).await;
    assert_eq!(answer.arguments(), [("asn".to_owned(), "constraint".to_owned())]);
    let other = tenant.customer("198.51.100.10").await;
    let answer = tenant.connect(&other, None, json!({"is_ipv6": true})).await;
    assert_eq!(answer.arguments(), [("is_ipv6".to_owned(), "constraint".to_owned())]);
    // 423 while locked.
    let lock = format!("/causeway/v1/connections/{}", id(&connection));
    let locked = service.post(&format!("{lock}/lock"), &json!({"reason": "abuse"})).await.ok();
    assert_eq!(locked["status"], "locked");
    assert_eq!(service.post(&format!("{lock}/lock"), &json!({})).await.arguments()[0].0, "reason");
    let unlocked = service.post(&format!("{lock}/unlock"), &json!({})).await.ok();
    assert_ne!(unlocked["status"], "locked");
    // 403: the type's limit.
    let mut created = 1;
    let refusal = loop {
        let customer = tenant.customer(&format!("198.51.100.{}", 100 + created)).await;
        let answer = tenant.connect(&customer, None, json!({})).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        created += 1;
        assert!(created <= 10, "VGW-S has ten connections");
    };
    let detail = &refusal.error(403, "quotas_exceeded")["details"][0];
    assert_eq!((&detail["quota"], &detail["current"], created), (&json!(10), &json!(10), 10));

    let records = service.get("/causeway/v1/operator/audit-records?page_size=5").await.ok();
    assert_eq!(records["audit_records"].as_array().map(Vec::len), Some(5));
    assert_eq!(records["audit_records"][0]["access_key"], service.access_key.as_str());
}

#[tokio::test]
async fn public_addresses_run_out() {
    let service = Service::start().await;
    let book = json!({"source": {"zonal": "fr-par-1"}, "is_ipv6": false});
    let mut booked = Vec::new();
    let refusal = loop {
        let answer = service.post(&format!("{IPAM}/ips"), &book).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        booked.push(id(&answer.json()).to_owned());
        assert!(booked.len() <= 16, "the pool is a /28");
    };
    refusal.error(503, "out_of_stock");
    assert!(booked.len() >= 13, "{}", booked.len());
    assert_eq!(service.delete(&format!("{IPAM}/ips/{}", booked[0])).await.status, StatusCode::NO_CONTENT);
    service.post(&format!("{IPAM}/ips"), &book).await.ok();
}
