//! The OpenAPI document that is committed and served is the one that the code makes.

use std::path::Path;

use serde_json::Value;

use crate::service::Service;

#[tokio::test]
async fn the_committed_document_is_the_codes() {
    let service = Service::start().await;
    let made = causeway_api::openapi(service.controller.clone()).await;
    let text = serde_json::to_string_pretty(&made).expect("JSON") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi/causeway.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &text).expect("a file that can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("a file");
    assert!(committed == text, "openapi/causeway.json is not what the code makes; run this test with UPDATE_OPENAPI=1");
}

#[tokio::test]
async fn every_call_is_described() {
    let service = Service::start().await;
    let document = causeway_api::openapi(service.controller.clone()).await;
    let s2s = document["paths"].as_object().expect("paths").iter().filter(|(path, _)| path.starts_with("/s2s-vpn/"));
    let calls: usize = s2s.map(|(_, methods)| methods.as_object().map_or(0, serde_json::Map::len)).sum();
    assert_eq!(calls, 27);
    let create = &document["paths"]["/s2s-vpn/v1alpha1/regions/{region}/connections"]["post"];
    let body = &create["requestBody"]["content"]["application/json"]["schema"];
    assert!(body["properties"]["bgp_config_ipv6"]["properties"]["peer_private_ip"].is_object(), "{create}");
    let list = &document["paths"]["/s2s-vpn/v1alpha1/regions/{region}/connections"]["get"]["parameters"];
    assert!(list.as_array().expect("parameters").iter().any(|parameter| parameter["name"] == "customer_gateway_ids"));
    // Nothing is referred to that is not there, and no call has the name of another.
    let mut references = Vec::new();
    collect(&document, "$ref", &mut references);
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    // Where no token is asked for, the document says so; what is not offered asks for one like the rest.
    let metadata = &document["paths"]["/metadata"]["get"];
    assert_eq!(metadata["security"], serde_json::json!([]), "{metadata}");
    for (path, method) in [("/vpc/v2/regions/{region}/vpc-connectors", "get"), ("/account/v3/projects", "get")] {
        let call = &document["paths"][path][method];
        assert!(call.is_object() && call.get("security").is_none(), "{path}: {call}");
    }
    let mut names = Vec::new();
    collect(&document, "operationId", &mut names);
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

fn collect(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(key).and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| collect(value, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_and_its_page_are_served_to_everyone() {
    let service = Service::start().await;
    let get = |path: &str| axum::http::Request::get(path).body(axum::body::Body::empty()).expect("a request");
    let document = service.send(get("/openapi.json")).await;
    assert_eq!(document.headers["content-type"], "application/json");
    assert_eq!(document.ok()["openapi"], "3.1.0");
    let page = service.send(get("/docs")).await;
    assert_eq!(
        (page.status.as_u16(), &page.headers["content-type"]),
        (200, &"text/html; charset=utf-8".parse().expect("a value"))
    );
    assert!(
        page.headers["content-security-policy"].to_str().expect("ASCII").starts_with("default-src 'none'; style-src")
    );
    assert_eq!(page.headers["x-frame-options"], "DENY");
    // Who looks for a web console is told that there is none, and what to use.
    for words in ["There is no web console", "causeway link create", "causeway partner list"] {
        assert!(page.text.contains(words), "{words} is not in {}", page.text);
    }
}
