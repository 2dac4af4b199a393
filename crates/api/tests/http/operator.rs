//! The operator's API: organizations, projects, keys, quotas, the catalogue, settings and the audit trail.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::service::{Answer, IPAM, S2S, Service, VPC};

const O: &str = "/causeway/v1/operator";

/// A call with somebody else's key.
pub(crate) async fn call_as(service: &Service, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let request = Request::builder().method(method).uri(path).header("x-auth-token", key);
    service.send(request.body(Body::from(body.to_string())).expect("a request")).await
}

/// A new project with a tenant's key: its id and the key's secret.
pub(crate) async fn tenant(service: &Service) -> (String, String) {
    let project = service.post("/account/v3/projects", &json!({"name": "t", "description": "d"})).await.ok();
    let id = project["id"].as_str().expect("an id").to_owned();
    let key = service.post(&format!("{O}/api-keys"), &json!({"role": "tenant", "project_id": id})).await.ok();
    (id, key["secret_key"].as_str().expect("a secret").to_owned())
}

pub(crate) fn names<'a>(list: &'a Value, key: &str, field: &str) -> Vec<&'a str> {
    list[key].as_array().expect("a list").iter().map(|item| item[field].as_str().expect("a text")).collect()
}

#[tokio::test]
async fn projects_are_made_changed_and_deleted_where_sdks_and_where_operators_look() {
    let service = Service::start().await;
    for path in ["/account/v3/projects", "/causeway/v1/operator/projects"] {
        let body = json!({"name": "p", "description": "d", "organization_id": service.organization_id});
        let project = service.post(path, &body).await.ok();
        let keys: Vec<_> = project.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut expected =
            ["id", "name", "organization_id", "created_at", "updated_at", "description", "qualification"];
        expected.sort_unstable();
        assert_eq!(keys, expected);
        let one = format!("{path}/{}", project["id"].as_str().expect("an id"));
        let changed = service.call("PATCH", &one, r#"{"name":"q","description":""}"#).await.ok();
        assert_eq!((changed["name"].as_str(), changed["description"].as_str()), (Some("q"), Some("")));
        assert_eq!(service.get(&one).await.ok(), changed);
        let found = service.get(&format!("{path}?name=Q&order_by=name_asc")).await.ok();
        assert_eq!((found["total_count"].as_u64(), names(&found, "projects", "name")), (Some(1), vec!["q"]));
        assert_eq!(service.delete(&one).await.status, 204);
        service.get(&one).await.error(404, "not_found");
        service.delete(&one).await.error(404, "not_found");
        assert_eq!(service.post(path, &json!({})).await.arguments(), [("name".into(), "required".into())]);
    }
    let own = format!("/account/v3/projects/{}", service.project_id);
    assert_eq!(service.delete(&own).await.error(412, "precondition_failed")["precondition"], "resource_still_in_use");
    let stranger = json!({"name": "p", "organization_id": Uuid::new_v4()});
    let refused = service.post("/account/v3/projects", &stranger).await.error(404, "not_found");
    assert_eq!(refused["resource"], "organization");
}

#[tokio::test]
async fn organizations_hold_projects() {
    let service = Service::start().await;
    let path = format!("{O}/organizations");
    let made = service.post(&path, &json!({"name": "acme"})).await.ok();
    let id = made["id"].as_str().expect("an id");
    let one = format!("{path}/{id}");
    let renamed = service.call("PATCH", &one, r#"{"name":"ACME"}"#).await.ok();
    assert_eq!((&renamed["name"], &renamed["id"]), (&json!("ACME"), &made["id"]));
    assert_eq!(names(&service.get(&path).await.ok(), "organizations", "name"), ["default", "ACME"]);
    assert_eq!(names(&service.get(&format!("{path}?name=acm")).await.ok(), "organizations", "name"), ["ACME"]);
    let project = service.post(&format!("{O}/projects"), &json!({"name": "p", "organization_id": id})).await.ok();
    assert_eq!(project["organization_id"], id);
    let theirs = service.get(&format!("{O}/projects?organization_id={id}")).await.ok();
    assert_eq!(names(&theirs, "projects", "name"), ["p"]);
    service.delete(&one).await.error(412, "precondition_failed");
    let project = format!("{O}/projects/{}", project["id"].as_str().expect("an id"));
    assert_eq!(service.delete(&project).await.status, 204);
    assert_eq!(service.delete(&one).await.status, 204);
    assert_eq!(service.get(&one).await.error(404, "not_found")["resource"], "organization");
    let default = format!("{path}/{}", service.organization_id);
    service.delete(&default).await.error(412, "precondition_failed");
}

#[tokio::test]
async fn a_keys_secret_is_shown_once_and_revoked_keys_are_refused() {
    let service = Service::start().await;
    let path = format!("{O}/api-keys");
    let body = json!({"role": "support", "description": "night shift", "project_id": service.project_id, "expires_at": "2099-01-01"});
    let made = service.post(&path, &body).await.ok();
    assert_eq!((&made["role"], &made["expires_at"]), (&json!("support"), &json!("2099-01-01T00:00:00.000000Z")));
    let (access_key, secret) =
        (made["access_key"].as_str().expect("a name"), made["secret_key"].as_str().expect("a secret"));
    assert!(access_key.starts_with("SCW") && access_key.len() == 20 && Uuid::parse_str(secret).is_ok(), "{made}");
    let shown = service.get(&format!("{path}/{access_key}")).await.ok();
    assert!(shown.get("secret_key").is_none() && shown["description"] == "night shift", "{shown}");
    let iam = service.get(&format!("/iam/v1alpha1/api-keys/{access_key}")).await.ok();
    assert!(iam["secret_key"].is_null() && iam["description"] == "night shift", "{iam}");
    let found = service.get(&format!("{path}?role=support")).await.ok();
    assert_eq!(names(&found, "api_keys", "access_key"), [access_key]);
    call_as(&service, secret, "GET", &format!("{VPC}/vpcs"), &json!({})).await.ok();
    assert_eq!(service.delete(&format!("{path}/{access_key}")).await.status, 204);
    call_as(&service, secret, "GET", &format!("{VPC}/vpcs"), &json!({})).await.error(401, "denied_authentication");
    assert_eq!(service.get(&format!("{path}?role=support")).await.ok()["total_count"], 0);
    let all = service.get(&format!("{path}?role=support&include_revoked=true")).await.ok();
    assert!(all["api_keys"][0]["revoked_at"].is_string(), "{all}");
    let last = service.delete(&format!("{path}/{}", service.access_key)).await;
    assert_eq!(last.error(412, "precondition_failed")["precondition"], "resource_still_in_use");
    let wrong =
        service.post(&path, &json!({"role": "root", "expires_at": "2020-01-01", "project_id": 1})).await.arguments();
    assert_eq!(wrong, [("role".into(), "format".into()), ("project_id".into(), "format".into())]);
    let past = service.post(&path, &json!({"role": "tenant", "expires_at": "2020-01-01"})).await.arguments();
    assert_eq!(past, [("expires_at".into(), "constraint".into())]);
    assert_eq!(service.get(&format!("{path}?role=root")).await.arguments(), [("role".into(), "format".into())]);
    service.get(&format!("{path}/SCWNOBODY")).await.error(404, "not_found");
}

#[tokio::test]
async fn quotas_are_set_shown_and_enforced() {
    let service = Service::start().await;
    let (project, key) = tenant(&service).await;
    let path = format!("{O}/quotas");
    let of = format!("{path}/{project}");
    let set = service.call("PUT", &format!("{of}/vpcs"), r#"{"quota":1}"#).await.ok();
    assert_eq!(set, json!({"is_default": false, "project_id": project, "quota": 1, "resource": "vpcs", "used": 0}));
    let vpcs = format!("{VPC}/vpcs");
    call_as(&service, &key, "POST", &vpcs, &json!({"name": "a"})).await.ok();
    let refused = call_as(&service, &key, "POST", &vpcs, &json!({"name": "b"})).await.error(403, "quotas_exceeded");
    assert_eq!(refused["details"], json!([{"current": 1, "quota": 1, "resource": "vpcs"}]));
    // A tenant may look at its own.
    let own = call_as(&service, &key, "GET", &format!("{path}?page_size=2"), &json!({})).await.ok();
    assert_eq!((own["total_count"].as_u64(), names(&own, "quotas", "resource").len()), (Some(13), 2));
    assert_eq!(own["quotas"][0]["used"], 1);
    let others = call_as(&service, &key, "GET", &format!("{path}?project_id={}", service.project_id), &json!({})).await;
    others.error(404, "not_found");
    call_as(&service, &key, "PUT", &format!("{of}/vpcs"), &json!({"quota": 9})).await.error(403, "permissions_denied");
    assert_eq!(service.delete(&format!("{of}/vpcs")).await.status, 204);
    let list = service.get(&format!("{path}?project_id={project}")).await.ok();
    assert_eq!(list["quotas"][0]["is_default"], true);
    assert_eq!(
        service.call("PUT", &format!("{of}/vpcs"), "{}").await.arguments(),
        [("quota".into(), "required".into())]
    );
    let unknown = service.call("PUT", &format!("{of}/cars"), r#"{"quota":1}"#).await.error(404, "not_found");
    assert_eq!(unknown["resource"], "quota");
}

#[tokio::test]
async fn the_catalogue_is_the_operators() {
    let service = Service::start().await;
    let regions = service.get(&format!("{O}/regions")).await.ok();
    let region = json!({"currency": "EUR", "name": "fr-par", "provider_asn": 12876, "zones": ["fr-par-1"]});
    assert_eq!(regions, json!({"regions": [region], "total_count": 1}));

    let zones = format!("{O}/zones");
    assert_eq!(
        service.post(&zones, &json!({"name": "fr-par-2"})).await.ok(),
        json!({"name": "fr-par-2", "public_pools": [], "region": "fr-par"})
    );
    service.post(&zones, &json!({"name": "fr-par-2"})).await.error(409, "already_exists");
    assert_eq!(names(&service.get(&zones).await.ok(), "zones", "name"), ["fr-par-1", "fr-par-2"]);
    assert_eq!(names(&service.get(&format!("{zones}?page=2&page_size=1")).await.ok(), "zones", "name"), ["fr-par-2"]);

    let pools = format!("{O}/public-pools");
    let pool = json!({"zone": "fr-par-2", "prefix": "198.51.100.0/29"});
    let made = service.post(&pools, &pool).await.ok();
    assert_eq!(made, json!({"prefix": "198.51.100.0/29", "used": 0, "zone": "fr-par-2"}));
    assert_eq!(service.get(&format!("{zones}/fr-par-2")).await.ok()["public_pools"], json!(["198.51.100.0/29"]));
    let wrong = service.post(&pools, &json!({"prefix": "198.51.100.0"})).await.arguments();
    assert_eq!(wrong, [("zone".into(), "required".into()), ("prefix".into(), "format".into())]);
    assert_eq!(service.get(&format!("{pools}?zone=fr-par-2")).await.ok()["total_count"], 1);
    let one = format!("{pools}/fr-par-2/198.51.100.0/29");
    let booked = json!({"source": {"zonal": "fr-par-2"}, "is_ipv6": false});
    let ip = service.post(&format!("{IPAM}/ips"), &booked).await.ok();
    assert_eq!(service.get(&one).await.ok()["used"], 1);
    let used = service.delete(&one).await.error(412, "precondition_failed");
    assert_eq!(used["precondition"], "resource_still_in_use");
    service.delete(&format!("{zones}/fr-par-2")).await.error(412, "precondition_failed");
    assert_eq!(service.delete(&format!("{IPAM}/ips/{}", ip["id"].as_str().expect("an id"))).await.status, 204);
    let v6 = service.post(&pools, &json!({"zone": "fr-par-2", "prefix": "2001:db8:7::/64"})).await.ok();
    assert_eq!(v6["prefix"], "2001:db8:7::/64");
    assert_eq!(service.delete(&format!("{pools}/fr-par-2/2001:db8:7::/64")).await.status, 204);
    for missing in ["fr-par-2/198.51.100.8/29", "fr-par-2/no/prefix", "nowhere/198.51.100.0/29"] {
        service.delete(&format!("{pools}/{missing}")).await.error(404, "not_found");
    }

    let types = format!("{O}/gateway-types");
    let new = json!({"name": "VGW-XS", "bandwidth": 1000, "allowed_connections": 1, "price_per_hour": 10});
    let made = service.post(&types, &new).await.ok();
    let expected = json!({
        "allowed_connections": 1, "bandwidth": 1000, "currency": "EUR", "name": "VGW-XS", "price_per_hour": 10,
        "region": "fr-par", "zones": ["fr-par-1", "fr-par-2"],
    });
    assert_eq!(made, expected);
    service.post(&types, &new).await.error(409, "already_exists");
    let xs = format!("{types}/VGW-XS");
    let changed = service.call("PATCH", &xs, r#"{"zones":[],"price_per_hour":20}"#).await.ok();
    assert_eq!((&changed["zones"], &changed["price_per_hour"]), (&json!([]), &json!(20)));
    let public = service.get(&format!("{S2S}/vpn-gateway-types")).await.ok();
    assert_eq!(names(&public, "gateway_types", "name"), ["VGW-S", "VGW-M", "VGW-L", "VGW-XS"]);
    assert_eq!(
        service.call("PATCH", &xs, r#"{"zones":["x"]}"#).await.arguments(),
        [("zones".into(), "constraint".into())]
    );
    assert_eq!(service.delete(&xs).await.status, 204);
    assert_eq!(service.get(&xs).await.error(404, "not_found")["resource"], "gateway_type");
    assert_eq!(service.delete(&one).await.status, 204);
    assert_eq!(service.delete(&format!("{zones}/fr-par-2")).await.status, 204);
    service.delete(&format!("{zones}/fr-par-1")).await.error(412, "precondition_failed");
}

#[tokio::test]
async fn the_audit_trail_is_filtered_by_who_what_when_and_whose() {
    let service = Service::start().await;
    let (project, key) = tenant(&service).await;
    let vpc = call_as(&service, &key, "POST", &format!("{VPC}/vpcs"), &json!({"name": "v"})).await.ok();
    let vpc = format!("{VPC}/vpcs/{}", vpc["id"].as_str().expect("an id"));
    // Done by the operator, to the tenant's object.
    assert_eq!(service.delete(&vpc).await.status, 204);
    let path = format!("{O}/audit-records");
    let found = async |query: &str| {
        let list = service.get(&format!("{path}?{query}")).await.ok();
        let records = list["audit_records"].as_array().expect("a list").clone();
        assert_eq!(list["total_count"].as_u64(), Some(records.len() as u64), "{query}");
        records
            .iter()
            .map(|record| format!("{} {}", record["action"], record["resource"]).replace('"', ""))
            .collect::<Vec<_>>()
    };
    let of_project = ["delete vpc", "create vpc", "create api_key", "create project"];
    assert_eq!(found(&format!("project_id={project}")).await, of_project, "what was deleted has not lost its project");
    assert_eq!(
        found(&format!("project_id={project}&action=create&order_by=created_at_asc")).await,
        ["create project", "create api_key", "create vpc"]
    );
    assert_eq!(
        found(&format!("project_id={project}&access_key={}", service.access_key)).await,
        ["delete vpc", "create api_key", "create project"]
    );
    assert_eq!(found("resource=vpc&action=delete").await, ["delete vpc"]);
    let id = vpc.rsplit('/').next().expect("an id");
    assert_eq!(found(&format!("resource_id={id}")).await, ["delete vpc", "create vpc"]);
    assert!(found("from=2099-01-01").await.is_empty());
    assert!(found("to=2020-01-01T00:00:00Z").await.is_empty());
    let record = service.get(&format!("{path}?resource_id={id}&page_size=1")).await.ok();
    assert_eq!((record["total_count"].as_u64(), &record["audit_records"][0]["project_id"]), (Some(2), &json!(project)));
    let request = record["audit_records"][0]["request_id"].as_str().expect("an id").to_owned();
    assert_eq!(found(&format!("request_id={request}")).await, ["delete vpc"]);
    assert_eq!(service.get(&format!("{path}?from=now")).await.arguments(), [("from".into(), "format".into())]);
}

#[tokio::test]
async fn settings_can_be_set_and_taken_away() {
    let service = Service::start().await;
    let path = format!("{O}/settings");
    let contact = |value: Value| json!({"support_contact": value});
    assert_eq!(service.get(&path).await.ok(), contact(Value::Null));
    let set = service.call("PATCH", &path, r#"{"support_contact":"help@example.net"}"#).await.ok();
    assert_eq!(set, contact(json!("help@example.net")));
    assert_eq!(service.call("PATCH", &path, "{}").await.ok(), set);
    assert_eq!(service.get(&path).await.ok(), set);
    assert_eq!(service.call("PATCH", &path, r#"{"support_contact":null}"#).await.ok(), contact(Value::Null));
    let wrong = service.call("PATCH", &path, r#"{"support_contact":"a\nb"}"#).await.arguments();
    assert_eq!(wrong, [("support_contact".into(), "constraint".into())]);
}

#[tokio::test]
async fn nodes_and_their_join_tokens() {
    let service = Service::start().await;
    let (nodes, tokens) = (format!("{O}/nodes"), format!("{O}/node-join-tokens"));
    let made = service.post(&tokens, &json!({"zone": "fr-par-1", "description": "rack 4"})).await.ok();
    assert!(made["token"].as_str().is_some_and(|token| token.starts_with("cwjoin-")), "{made}");
    let listed = service.get(&tokens).await.ok();
    assert_eq!((&listed["node_join_tokens"][0]["id"], &listed["total_count"]), (&made["id"], &json!(1)));
    assert!(listed["node_join_tokens"][0].get("token").is_none(), "its text is shown once");
    let wrong = service.post(&tokens, &json!({"expires_in": "soon"})).await.arguments();
    assert_eq!(wrong, [("zone".into(), "required".into()), ("expires_in".into(), "format".into())]);
    let path = format!("{tokens}/{}", made["id"].as_str().expect("an id"));
    assert_eq!(service.delete(&path).await.status, 204);
    service.delete(&path).await.error(404, "not_found");
    let listed = service.get(&nodes).await.ok();
    let node = format!("{nodes}/{}", listed["nodes"][0]["id"].as_str().expect("the node in the process"));
    let shown = service.get(&node).await.ok();
    assert_eq!((&shown["zone"], &shown["enrolled_at"]), (&json!("fr-par-1"), &Value::Null));
    let named =
        service.call("PATCH", &node, r#"{"name":"edge","max_bandwidth":5000000000,"max_connections":7}"#).await.ok();
    assert_eq!(
        (&named["name"], &named["max_bandwidth"], &named["max_connections"]),
        (&json!("edge"), &json!(5_000_000_000_u64), &json!(7))
    );
    let freed = service.call("PATCH", &node, r#"{"max_bandwidth":null}"#).await.ok();
    assert_eq!((&freed["max_bandwidth"], &freed["max_connections"]), (&Value::Null, &json!(7)));
    let wrong = service.call("PATCH", &node, r#"{"max_connections":-1}"#).await.arguments();
    assert_eq!(wrong, [("max_connections".into(), "constraint".into())]);
    assert_eq!(service.post(&format!("{node}/cordon"), &json!({})).await.ok()["cordoned"], true);
    assert_eq!(service.post(&format!("{node}/uncordon"), &json!({})).await.ok()["cordoned"], false);
    let drained = service.post(&format!("{node}/drain"), &json!({})).await.ok();
    assert_eq!((&drained["draining"], &drained["cordoned"]), (&json!(true), &json!(true)));
    let back = service.post(&format!("{node}/uncordon"), &json!({})).await.ok();
    assert_eq!((&back["draining"], &back["cordoned"]), (&json!(false), &json!(false)));
    service.post(&format!("{node}/retry"), &json!({})).await.ok();
    service.post(&format!("{node}/revoke"), &json!({})).await.error(412, "precondition_failed");
    service.get(&format!("{nodes}/{}", Uuid::new_v4())).await.error(404, "not_found");
}

#[tokio::test]
async fn nobody_but_an_operator_gets_in() {
    let service = Service::start().await;
    let (_, tenant) = tenant(&service).await;
    let body = json!({"role": "support"});
    let support =
        service.post(&format!("{O}/api-keys"), &body).await.ok()["secret_key"].as_str().expect("a secret").to_owned();
    let id = Uuid::new_v4();
    let key = json!({"role": "tenant"});
    let quota = json!({"quota": 1});
    let pool = json!({"zone": "fr-par-1", "prefix": "198.51.100.0/29"});
    let gateway_type = json!({"name": "x", "bandwidth": 1, "allowed_connections": 1});
    let name = json!({"name": "x"});
    let none = json!({});
    let node = format!("nodes/{id}");
    let token = json!({"zone": "fr-par-1"});
    let rows: [(&str, String, &Value); 37] = [
        ("GET", "nodes".into(), &none),
        ("GET", node.clone(), &none),
        ("PATCH", node.clone(), &name),
        ("POST", format!("{node}/cordon"), &none),
        ("POST", format!("{node}/uncordon"), &none),
        ("POST", format!("{node}/drain"), &none),
        ("POST", format!("{node}/retry"), &none),
        ("POST", format!("{node}/revoke"), &none),
        ("GET", "node-join-tokens".into(), &none),
        ("POST", "node-join-tokens".into(), &token),
        ("DELETE", format!("node-join-tokens/{id}"), &none),
        ("GET", "organizations".into(), &none),
        ("POST", "organizations".into(), &name),
        ("GET", format!("organizations/{id}"), &none),
        ("PATCH", format!("organizations/{id}"), &name),
        ("DELETE", format!("organizations/{id}"), &none),
        ("POST", "projects".into(), &name),
        ("PATCH", format!("projects/{id}"), &name),
        ("DELETE", format!("projects/{id}"), &none),
        ("GET", "api-keys".into(), &none),
        ("POST", "api-keys".into(), &key),
        ("DELETE", format!("api-keys/{}", service.access_key), &none),
        ("PUT", format!("quotas/{}/vpcs", service.project_id), &quota),
        ("DELETE", format!("quotas/{}/vpcs", service.project_id), &none),
        ("GET", "regions".into(), &none),
        ("GET", "zones".into(), &none),
        ("POST", "zones".into(), &name),
        ("DELETE", "zones/fr-par-1".into(), &none),
        ("GET", "gateway-types".into(), &none),
        ("POST", "gateway-types".into(), &gateway_type),
        ("PATCH", "gateway-types/VGW-S".into(), &none),
        ("DELETE", "gateway-types/VGW-S".into(), &none),
        ("GET", "public-pools".into(), &none),
        ("POST", "public-pools".into(), &pool),
        ("DELETE", "public-pools/fr-par-1/192.0.2.0/28".into(), &none),
        ("GET", "audit-records".into(), &none),
        ("PATCH", "settings".into(), &none),
    ];
    for secret in [&tenant, &support] {
        for (method, path, body) in &rows {
            let answer = call_as(&service, secret, method, &format!("{O}/{path}"), body).await;
            assert_eq!(answer.status.as_u16(), 403, "{method} {path}: {}", answer.text);
            answer.error(403, "permissions_denied");
        }
        // Others' projects and keys are not there.
        for path in [format!("projects/{}", service.project_id), format!("api-keys/{}", service.access_key)] {
            call_as(&service, secret, "GET", &format!("{O}/{path}"), &none).await.error(404, "not_found");
        }
    }
}
