//! wire-api.md §1 and §2: what holds for every call, whatever it does.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::service::{EXTENSION, S2S, SECRETS, Service, VPC};
use axum::body::{Body, Bytes};
use axum::http::Request;
use causeway_api::{Rate, RateLimits};
use hyper::body::Frame;
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn every_answer_has_the_headers() {
    let service = Service::start().await;
    let vpc = service.post(&format!("{VPC}/vpcs"), &json!({"name": "n"})).await.ok();
    let vpc = format!("{VPC}/vpcs/{}", vpc["id"].as_str().expect("an id"));
    for (method, path, status) in [
        ("GET", "/metadata", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", vpc.as_str(), 200),
        ("HEAD", vpc.as_str(), 200),
        ("DELETE", vpc.as_str(), 204),
        ("GET", vpc.as_str(), 404),
        ("GET", "/", 404),
        ("GET", "/s2s-vpn/v1alpha1/regions/fr-par", 404),
        ("GET", "/s2s-vpn/v1alpha1/regions/fr-par/connections/", 404),
        ("PUT", "/s2s-vpn/v1alpha1/regions/fr-par/connections", 405),
        ("PUT", "/metadata", 405),
        ("POST", "/vpc/v2/regions/fr-par/vpc-connectors", 501),
    ] {
        let answer = service.call(method, path, "{}").await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text);
        for (name, value) in [
            ("content-type", "application/json"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("server", "Causeway"),
            ("strict-transport-security", "max-age=63072000"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
        ] {
            let found: Vec<_> = answer.headers.get_all(name).iter().collect();
            assert_eq!(found, [value], "{name} of {method} {path}");
        }
        let id = answer.headers["x-request-id"].to_str().expect("ASCII");
        assert_eq!(Uuid::parse_str(id).expect("a UUID").get_version_num(), 4);
        assert!(!answer.headers.contains_key("x-total-count"));
        if status == 204 {
            assert_eq!(answer.text, "");
        } else if method != "HEAD" {
            assert!(answer.json().is_object(), "{method} {path}");
            assert!(!answer.text.ends_with('\n'));
        }
    }
}

#[tokio::test]
async fn who_may_call() {
    let service = Service::start().await;
    let stranger = Uuid::new_v4().to_string();
    let rows = [
        (None, 401, "invalid_argument"),
        (Some(("X-Auth-Token", "")), 401, "invalid_argument"),
        (Some(("X-Auth-Token", "no-uuid")), 401, "invalid_argument"),
        (Some(("x-auth-token", stranger.as_str())), 401, "not_found"),
        (Some(("X-Session-Token", stranger.as_str())), 401, "not_found"),
        (Some(("Authorization", service.secret_key.as_str())), 401, "invalid_argument"),
        (Some(("x-auth-token", service.secret_key.as_str())), 200, ""),
        (Some(("X-AUTH-TOKEN", service.secret_key.as_str())), 200, ""),
        (Some(("X-Session-Token", service.secret_key.as_str())), 200, ""),
    ];
    for (header, status, reason) in rows {
        let mut request = Request::get(format!("{S2S}/connections"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = service.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.status.as_u16(), status, "{header:?}: {}", answer.text);
        if status == 401 {
            let expected = json!({
                "message": "authentication is denied",
                "method": "api_key",
                "reason": reason,
                "type": "denied_authentication",
            });
            assert_eq!(answer.json(), expected, "{header:?}");
        }
    }
}

#[tokio::test]
async fn who_calls_is_asked_before_what_the_body_holds() {
    let service = Service::start().await;
    for (method, path) in
        [("GET", "/vpc-connectors"), ("POST", "/ingress-rules"), ("DELETE", &format!("/ingress-rules/{}", Uuid::nil()))]
    {
        let request = Request::builder().method(method).uri(format!("{VPC}{path}")).body(Body::empty());
        service.send(request.expect("a request")).await.error(401, "denied_authentication");
        service.call(method, &format!("{VPC}{path}"), "{}").await.error(501, "not_implemented");
    }
    let request = Request::post(format!("{S2S}/connections")).body(Body::from("{")).expect("a request");
    service.send(request).await.error(401, "denied_authentication");
}

#[tokio::test]
async fn bodies() {
    let service = Service::start().await;
    let vpcs = format!("{VPC}/vpcs");
    // Too much for a body, and too much for the buffers of a socket, too: the client is still sending when it is refused.
    let [large, huge] = [1 << 20, 16 << 20].map(|length| format!(r#"{{"name":"{}"}}"#, "x".repeat(length)));
    for body in ["{", "[]", "null", "\"x\"", "{\"name\":}", large.as_str(), huge.as_str()] {
        let answer = service.call("POST", &vpcs, body).await;
        assert_eq!(answer.arguments(), [("body".to_owned(), "format".to_owned())], "{:.20}", body);
    }
    // A body of unannounced length is cut off too.
    let request = Request::post(&vpcs)
        .header("x-auth-token", &service.secret_key)
        .body(Body::new(Spaces(40)))
        .expect("a request");
    assert_eq!(service.send(request).await.arguments(), [("body".to_owned(), "format".to_owned())]);
    // Without content type, and with an empty body where nothing is needed.
    let request = Request::post(&vpcs)
        .header("x-auth-token", &service.secret_key)
        .body(Body::from(r#"{"name":"n"}"#))
        .expect("a request");
    let vpc = service.send(request).await.ok();
    let path = format!("{vpcs}/{}", vpc["id"].as_str().expect("an id"));
    service.call("POST", &format!("{path}/enable-routing"), "").await.ok();
    service.call("POST", &format!("{path}/enable-custom-routes-propagation"), "{}").await.ok();
    // Whatever a GET or DELETE carries is ignored.
    service.call("GET", &path, "{ no JSON").await.ok();
    assert_eq!(service.call("DELETE", &path, "{ no JSON").await.status, 204);
}

/// So many frames of 32 KiB, whose number is not announced.
struct Spaces(u32);

impl hyper::body::Body for Spaces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.0.checked_sub(1).map(|left| {
            self.0 = left;
            Ok(Frame::data(Bytes::from_static(&[b' '; 1 << 15])))
        });
        Poll::Ready(frame)
    }
}

#[tokio::test]
async fn regions_and_ids_in_the_path() {
    let service = Service::start().await;
    for path in [
        "/s2s-vpn/v1alpha1/regions/xx/connections",
        "/s2s-vpn/v1alpha1/regions/nl-ams/connections/no-uuid",
        "/vpc/v2/regions/xx/vpcs",
        "/ipam/v1/regions/%20/ips",
    ] {
        let answer = service.get(path).await;
        assert_eq!(answer.arguments(), [("region".to_owned(), "constraint".to_owned())], "{path}");
    }
    let missing = Uuid::new_v4().to_string();
    let bare = missing.replace('-', "");
    for (path, resource) in [
        (format!("{S2S}/vpn-gateways"), "vpn_gateway"),
        (format!("{S2S}/connections"), "connection"),
        (format!("{S2S}/customer-gateways"), "customer_gateway"),
        (format!("{S2S}/routing-policies"), "routing_policy"),
        (format!("{VPC}/vpcs"), "vpc"),
        (format!("{VPC}/private-networks"), "private_network"),
        ("/ipam/v1/regions/fr-par/ips".to_owned(), "ip"),
        (format!("{SECRETS}/secrets"), "secret"),
        ("/account/v3/projects".to_owned(), "project_id"),
        ("/iam/v1alpha1/api-keys".to_owned(), "access_key"),
    ] {
        for id in [missing.as_str(), bare.as_str(), "no-uuid"] {
            let body = service.get(&format!("{path}/{id}")).await.error(404, "not_found");
            assert_eq!((body["resource"].as_str(), body["resource_id"].as_str()), (Some(resource), Some(id)), "{path}");
        }
    }
    for kind in ["vpn-gateways", "connections"] {
        service.get(&format!("{EXTENSION}/{kind}/{missing}/state")).await.error(404, "not_found");
    }
    service.get(&format!("{S2S}/connections/%ff")).await.error(404, "not_found");
    let revision = format!("{SECRETS}/secrets/{missing}/versions/0/access");
    assert_eq!(service.get(&revision).await.error(404, "not_found")["resource"], "secret_version");
}

#[tokio::test]
async fn lists() {
    let service = Service::start().await;
    for name in ["b", "A", "c"] {
        service.post(&format!("{VPC}/vpcs"), &json!({"name": name, "tags": [name]})).await.ok();
    }
    let names = |body: serde_json::Value| -> Vec<String> {
        let vpcs = body["vpcs"].as_array().expect("an array").iter();
        vpcs.map(|vpc| vpc["name"].as_str().expect("a name").to_owned()).filter(|name| name.len() == 1).collect()
    };
    let list = async |query: &str| service.get(&format!("{VPC}/vpcs?{query}")).await.ok();
    assert_eq!(names(list("").await), ["b", "A", "c"]);
    assert_eq!(names(list("order_by=created_at_desc").await), ["c", "A", "b"]);
    assert_eq!(names(list("name=a&tags=A&tags=c").await), ["A"]);
    assert_eq!(names(list("tags=A&tags=c&unheard_of=1").await), ["A", "c"]);
    let mine = format!("organization_id={}&project_id={}", service.organization_id, service.project_id);
    assert_eq!(names(list(&mine).await).len(), 3);
    let others = list(&format!("project_id={}", Uuid::new_v4())).await;
    assert_eq!(others, json!({"total_count": 0, "vpcs": []}));
    let page = list("tags=A&tags=b&tags=c&page_size=2&page=2").await;
    assert_eq!((names(page.clone()), page["total_count"].as_u64()), (vec!["c".to_owned()], Some(3)));
    assert_eq!(names(list("page=1000").await), Vec::<String>::new());
    assert_eq!(names(list("is_default=False&page_size=2&page=2").await), ["c"]);
    assert_eq!(names(list("routing_enabled=false").await), Vec::<String>::new());
    let answer = service.get(&format!("{VPC}/vpcs?page=0&page_size=1001&order_by=size_asc&project_id=x")).await;
    let mut arguments: Vec<_> = answer.arguments().into_iter().map(|(name, _)| name).collect();
    arguments.sort_unstable();
    assert_eq!(arguments, ["order_by", "page", "page_size", "project_id"]);
}

#[tokio::test]
async fn around_the_vpn() {
    let service = Service::start().await;
    assert_eq!(service.get("/metadata").await.text, r#"{"platform":"external","partition":"scw","domain":"scw.eu"}"#);
    let project = service.get(&format!("/account/v3/projects/{}", service.project_id)).await.ok();
    assert_eq!(project["organization_id"], service.organization_id.as_str());
    let projects = service.get(&format!("/account/v3/projects?organization_id={}", service.organization_id)).await.ok();
    assert_eq!((projects["total_count"].as_u64(), &projects["projects"][0]["id"]), (Some(1), &project["id"]));
    let key = service.get(&format!("/iam/v1alpha1/api-keys/{}", service.access_key)).await.ok();
    assert_eq!(key["access_key"], service.access_key.as_str());
    assert_eq!(key["default_project_id"], service.project_id.as_str());
    assert!(key["secret_key"].is_null());
    // One of `application_id` and `user_id` is there.
    assert_eq!((key["application_id"].as_str(), key.get("user_id")), (Some(service.project_id.as_str()), None));
}

#[tokio::test]
async fn a_key_that_sends_too_much_is_told_when_to_come_back() {
    let none = Rate { per_second: 0, burst: 0 };
    let limits = RateLimits { per_address: none, per_key: Rate { per_second: 1, burst: 3 } };
    let service = Service::start_limited(limits).await;
    let mut refused = None;
    for _ in 0..5 {
        let answer = service.get(&format!("{VPC}/vpcs")).await;
        if answer.status != 200 {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("a refusal");
    let body = refused.error(429, "too_many_requests");
    assert_eq!(body["limit"], json!({"quota": 1, "window_seconds": 1}));
    assert_eq!(refused.headers["retry-after"], body["reset_seconds"].to_string());
    assert!(refused.headers.contains_key("x-request-id"));
    // Health is asked for without a key.
    assert_eq!(service.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn lists_of_productions_other_regions_are_empty() {
    let service = Service::start().await;
    for (product, list, key) in [
        ("s2s-vpn/v1alpha1", "vpn-gateway-types", "gateway_types"),
        ("s2s-vpn/v1alpha1", "vpn-gateways", "gateways"),
        ("s2s-vpn/v1alpha1", "connections", "connections"),
        ("s2s-vpn/v1alpha1", "customer-gateways", "gateways"),
        ("s2s-vpn/v1alpha1", "routing-policies", "routing_policies"),
        ("vpc/v2", "vpcs", "vpcs"),
        ("vpc/v2", "private-networks", "private_networks"),
        ("vpc/v2", "subnets", "subnets"),
        ("ipam/v1", "ips", "ips"),
        ("secret-manager/v1beta1", "secrets", "secrets"),
    ] {
        let here = service.get(&format!("/{product}/regions/fr-par/{list}")).await.ok();
        assert!(here[key].is_array(), "{list} has another key here");
        for region in ["it-mil", "nl-ams", "pl-waw"] {
            let there = service.get(&format!("/{product}/regions/{region}/{list}?order_by=name_asc")).await.ok();
            assert_eq!(there, json!({key: [], "total_count": 0}), "{region} {list}");
        }
        let create = service.post(&format!("/{product}/regions/nl-ams/{list}"), &json!({})).await;
        assert!(matches!(create.status.as_u16(), 400 | 405), "{list}: {}", create.text);
    }
    let request = Request::get("/vpc/v2/regions/nl-ams/vpcs").body(Body::empty()).expect("a request");
    service.send(request).await.error(401, "denied_authentication");
}

#[tokio::test]
async fn policies_of_one_family_are_paged_by_themselves() {
    let service = Service::start().await;
    for number in 0..6 {
        let prefix = if number % 2 == 0 { "10.9.0.0/16" } else { "fd09::/64" };
        let policy = json!({
            "name": format!("p{number}"), "is_ipv6": number % 2 == 1,
            "prefix_filter_in": [prefix], "prefix_filter_out": [prefix],
        });
        service.post(&format!("{S2S}/routing-policies"), &policy).await.ok();
    }
    for (family, names) in [("false", ["p4"]), ("true", ["p5"])] {
        let page = service.get(&format!("{S2S}/routing-policies?ipv6={family}&page=2&page_size=2")).await.ok();
        let listed: Vec<_> = page["routing_policies"].as_array().expect("a list").iter().map(|p| &p["name"]).collect();
        assert_eq!(
            (listed, &page["total_count"]),
            (names.iter().map(|name| json!(name)).collect::<Vec<_>>().iter().collect(), &json!(3))
        );
    }
}

#[tokio::test]
async fn projects_are_listed_by_their_ids() {
    let service = Service::start().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let project = service.post("/account/v3/projects", &json!({"name": name})).await.ok();
        ids.push(project["id"].as_str().expect("an id").to_owned());
    }
    let list = async |query: &str| service.get(&format!("/account/v3/projects?{query}")).await.ok();
    let page = list(&format!("project_ids={}&project_ids={}&page=2&page_size=1", ids[0], ids[2])).await;
    assert_eq!((&page["projects"][0]["name"], &page["total_count"]), (&json!("c"), &json!(2)));
    assert_eq!(list("").await["total_count"], 4);
    let both = format!("project_id={}&project_ids={}", ids[0], ids[1]);
    assert_eq!(list(&both).await["total_count"], 0);
}
