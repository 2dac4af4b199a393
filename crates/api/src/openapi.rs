//! The OpenAPI 3.1 document: made from the table of routes, from what the handlers read, and from how the documents are declared; served
//! as it was committed, since a test compares the two.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::body::Body;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderValue, Request};
use axum::response::Response;
use causeway_controller::Controller;
use causeway_wire::record::Recorder;
use causeway_wire::schema::Components;
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::ApiConfig;
use crate::routes::table::Operation;

/// The committed document.
const DOCUMENT: &str = include_str!("../../../openapi/causeway.json");

/// Makes the document. `controller` is asked for nothing but objects that do not exist.
pub async fn openapi(controller: Controller) -> Value {
    let region = controller.region().to_owned();
    let (router, operations) = crate::assemble(controller, ApiConfig::new(vec![region.clone()]));
    let mut components = Components::default();
    let mut paths: Map<String, Value> = Map::new();
    let mut names = BTreeSet::new();
    for operation in &operations {
        let recorder = record(&router, operation, &region).await;
        let described = describe(operation, &recorder, &mut components, &mut names);
        let path = paths.entry(operation.path.clone()).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = described;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Causeway",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Site-to-site VPN and private links as a service. Unknown fields and parameters are ignored; `null`, empty texts and \
                `unknown_…` words count as absent, but where a field of a PATCH may be null: there null takes the value away.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(components),
            "responses": {"Error": {
                "description": "Why not. `type` says which of the other fields are there.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            }},
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
        },
    })
}

/// Runs the call with empty hands, to see what it reaches for.
async fn record(router: &axum::Router, operation: &Operation, region: &str) -> Recorder {
    let recorder = Recorder::default();
    let mut path =
        operation.path.replace("{region}", region).replace("{revision}", "1").replace("{bandwidth_mbps}", "50");
    for parameter in parameters(&operation.path) {
        path = path.replace(&format!("{{{parameter}}}"), &Uuid::nil().to_string());
    }
    let request = Request::builder().method(&operation.method).uri(path).extension(recorder.clone());
    if let Ok(request) = request.body(Body::empty()) {
        let Ok(_) = router.clone().oneshot(request).await;
    }
    recorder
}

/// Names in the braces of a path.
fn parameters(path: &str) -> Vec<&str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
}

fn describe(
    operation: &Operation,
    recorder: &Recorder,
    components: &mut Components,
    names: &mut BTreeSet<String>,
) -> Value {
    let mut list: Vec<Value> = parameters(&operation.path)
        .into_iter()
        .map(|name| {
            let schema = match name {
                "access_key" | "address" | "name" | "region" | "resource" | "zone" => json!({"type": "string"}),
                "bandwidth_mbps" => json!({"type": "integer", "minimum": 1}),
                "length" => json!({"type": "integer", "minimum": 0, "maximum": 128}),
                "revision" => json!({"type": "string", "pattern": "^([1-9][0-9]*|latest|latest_enabled)$"}),
                _ => json!({"type": "string", "format": "uuid"}),
            };
            json!({"name": name, "in": "path", "required": true, "schema": schema})
        })
        .collect();
    list.extend(
        recorder.parameters().into_iter().map(|(name, schema)| json!({"name": name, "in": "query", "schema": schema})),
    );
    let (status, response) = operation.answers.responses(components);
    let mut described = json!({
        "operationId": unique(operation, names),
        "tags": [operation.tag],
        "parameters": list,
        "responses": {status: response, "default": {"$ref": "#/components/responses/Error"}},
    });
    if !recorder.needs_token() {
        described["security"] = json!([]);
    }
    if let Some(body) = recorder.body() {
        let required = body.get("required").is_some();
        described["requestBody"] = json!({"required": required, "content": {"application/json": {"schema": body}}});
    }
    described
}

/// The handler's name, made unique by the path's end.
fn unique(operation: &Operation, names: &mut BTreeSet<String>) -> String {
    let mut name = format!("{}_{}", operation.tag, operation.name);
    if operation.name == "not_offered" || names.contains(&name) {
        let path: Vec<_> =
            operation.path.split('/').skip(2).filter(|part| *part != "regions" && *part != "{region}").collect();
        let path = path.join("_").replace(['{', '}'], "").replace('-', "_");
        name = format!("{}_{}_{path}", operation.tag, operation.method.as_str().to_ascii_lowercase());
    }
    names.insert(name.clone());
    name
}

fn schemas(components: Components) -> Value {
    let mut schemas: Map<String, Value> = components.into_schemas().into_iter().collect();
    let types = [
        "already_exists",
        "denied_authentication",
        "internal",
        "invalid_arguments",
        "locked",
        "method_not_allowed",
        "not_found",
        "not_implemented",
        "out_of_stock",
        "permissions_denied",
        "precondition_failed",
        "quotas_exceeded",
        "too_many_requests",
        "transient_state",
        "unavailable",
    ];
    let text = || json!({"type": "string"});
    let detail = json!({
        "type": "object",
        "description": "An argument, a permission or a quota.",
        "properties": {
            "action": text(), "argument_name": text(), "current": {"type": "integer"}, "help_message": text(),
            "quota": {"type": "integer"}, "reason": text(), "resource": text(),
        },
    });
    let error = json!({
        "type": "object",
        "properties": {
            "current_state": text(),
            "details": {"type": "array", "items": detail},
            "help_message": text(),
            "limit": {
                "type": "object",
                "properties": {"quota": {"type": "integer"}, "window_seconds": {"type": "integer"}},
                "required": ["quota"],
            },
            "message": text(),
            "method": text(),
            "precondition": text(),
            "reason": text(),
            "reset_seconds": {"type": "integer"},
            "resource": text(),
            "resource_id": text(),
            "type": {"type": "string", "enum": types},
        },
        "required": ["message", "type"],
    });
    schemas.insert("Error".to_owned(), error);
    Value::Object(schemas)
}

/// `/openapi.json`.
pub(crate) async fn document() -> Response {
    let mut response = Response::new(Body::from(DOCUMENT));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `/docs`: the document for people. Everything is in the page: no script, nothing to load.
pub(crate) async fn page() -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(|| render(&serde_json::from_str(DOCUMENT).unwrap_or_default()));
    let mut response = Response::new(Body::from(PAGE.as_str()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
    code,pre{font-family:ui-monospace,monospace;font-size:.9em}pre{background:#f4f6f8;padding:.8rem;overflow:auto;border-radius:6px}\
    summary{cursor:pointer;padding:.25rem 0}b{display:inline-block;width:4.5rem}table{border-collapse:collapse}\
    td,th{text-align:left;padding:.15rem 1rem .15rem 0;vertical-align:top}\
    @media(prefers-color-scheme:dark){body{color:#e6e8ea;background:#14171a}pre{background:#1f2429}a{color:#8ab4f8}}";

fn render(document: &Value) -> String {
    let empty = Map::new();
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Causeway API</title><style>{STYLE}</style><h1>Causeway API {}</h1><p>{}</p>\
         <p>The document for programs: <a href=\"/openapi.json\">openapi.json</a>.</p>\
         <p>There is no web console. What a console would do is done by the <code>causeway</code> command line: \
         <code>causeway gateway create</code> orders a VPN gateway, <code>causeway partner list</code> lists partners, \
         <code>causeway link create</code> orders an InterLink, each explained by <code>--help</code>; by the official SDKs; or by Terraform.</p>",
        escape(document["info"]["version"].as_str().unwrap_or_default()),
        escape(document["info"]["description"].as_str().unwrap_or_default()),
    );
    let mut tag = String::new();
    for (path, methods) in document["paths"].as_object().unwrap_or(&empty) {
        for (method, operation) in methods.as_object().unwrap_or(&empty) {
            let this = operation["tags"][0].as_str().unwrap_or_default();
            if this != tag {
                tag = this.to_owned();
                let _ = write!(html, "<h2>{}</h2>", escape(&tag));
            }
            let offered = operation["responses"].get("501").map_or("", |_| " (not offered)");
            let _ = write!(
                html,
                "<details><summary><b>{}</b><code>{}</code>{offered}</summary>",
                method.to_uppercase(),
                escape(path)
            );
            render_operation(&mut html, operation);
            html.push_str("</details>");
        }
    }
    html.push_str("<h2>Documents</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap_or(&empty) {
        let _ = write!(
            html,
            "<details id=\"{0}\"><summary><code>{0}</code></summary>{1}</details>",
            escape(name),
            pre(schema)
        );
    }
    html
}

fn render_operation(html: &mut String, operation: &Value) {
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        html.push_str("<table><tr><th>parameter<th>in<th>schema");
        for parameter in parameters {
            let text = |name: &str| escape(parameter[name].as_str().unwrap_or_default());
            let schema = escape(&parameter["schema"].to_string());
            let _ = write!(html, "<tr><td><code>{}</code><td>{}<td><code>{schema}</code>", text("name"), text("in"));
        }
        html.push_str("</table>");
    }
    if let Some(body) = operation.pointer("/requestBody/content/application~1json/schema") {
        let _ = write!(html, "<p>Body</p>{}", pre(body));
    }
    let empty = Map::new();
    for (status, response) in operation["responses"].as_object().unwrap_or(&empty) {
        let schema = response.pointer("/content/application~1json/schema").map(pre).unwrap_or_default();
        let _ = write!(html, "<p>Answer {}</p>{schema}", escape(status));
    }
}

fn pre(value: &Value) -> String {
    format!("<pre>{}</pre>", escape(&serde_json::to_string_pretty(value).unwrap_or_default()))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_call_and_loads_nothing() {
        let document: Value = serde_json::from_str(DOCUMENT).expect("JSON");
        let page = render(&document);
        for path in document["paths"].as_object().expect("paths").keys() {
            assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
        }
        for loads in ["<script", "src=", "http://", "https://", "@import", "url("] {
            assert!(!page.contains(loads), "{loads}");
        }
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
