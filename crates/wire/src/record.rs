//! What the readers of queries and bodies ask for, for the OpenAPI document: the code that reads a request is what describes it.
//!
//! A recording [`Query`](crate::query::Query) or [`Body`](crate::request::Body) is empty and notes every field that is read, with its type
//! and bounds. Readers therefore look at every field whatever the others hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use causeway_model::Error;
use serde_json::{Map, Value, json};

/// Notes of one request, shared by whoever reads a part of it.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    parameters: BTreeMap<String, Value>,
    fields: BTreeMap<String, Value>,
    required: BTreeSet<String>,
    has_body: bool,
    needs_token: bool,
}

impl Recorder {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn parameter(&self, name: &str, schema: Value) {
        self.notes().parameters.entry(name.to_owned()).or_insert(schema);
    }

    pub(crate) fn field(&self, path: String, schema: Value) {
        self.notes().fields.entry(path).or_insert(schema);
    }

    pub(crate) fn require(&self, path: String) {
        self.notes().required.insert(path);
    }

    /// Ends the reading of a body: with an error, so that nothing is done with what was not there.
    pub(crate) fn finish_body(&self) -> Error {
        self.notes().has_body = true;
        Error::Internal("a request was recorded".to_owned())
    }

    /// What an array holds while it is recorded.
    pub(crate) fn one_item(&self) -> &'static [Value] {
        static ITEM: LazyLock<[Value; 1]> = LazyLock::new(|| [Value::Object(Map::new())]);
        ITEM.as_slice()
    }

    /// Notes that the call asks who makes it.
    pub fn token(&self) {
        self.notes().needs_token = true;
    }

    /// Whether the call asks who makes it.
    #[must_use]
    pub fn needs_token(&self) -> bool {
        self.notes().needs_token
    }

    /// Parameters of the query and their schemas.
    #[must_use]
    pub fn parameters(&self) -> BTreeMap<String, Value> {
        self.notes().parameters.clone()
    }

    /// The schema of the body, if one was read.
    #[must_use]
    pub fn body(&self) -> Option<Value> {
        let notes = self.notes();
        notes.has_body.then(|| notes.object(""))
    }
}

impl Notes {
    /// The schema of the object whose fields have the path `prefix` and a name.
    fn object(&self, prefix: &str) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for (path, schema) in &self.fields {
            let Some(name) = path.strip_prefix(prefix).filter(|name| !name.contains(['.', '['])) else { continue };
            let mut schema = schema.clone();
            if schema["type"] == "object" {
                schema = self.object(&format!("{path}."));
            } else if schema["type"] == "array" {
                let item = format!("{path}[0]");
                schema["items"] = match self.fields.get(&item) {
                    Some(schema) => schema.clone(),
                    None => self.object(&format!("{item}.")),
                };
            }
            properties.insert(name.to_owned(), schema);
            if self.required.contains(path) {
                required.push(name);
            }
        }
        let mut object = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            object["required"] = json!(required);
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Order, Query};
    use crate::request::Body;

    fn recorded<T>(read: impl FnOnce(&Body) -> Result<T, Error>) -> Value {
        let recorder = Recorder::default();
        assert!(read(&Body::recording(recorder.clone())).is_err(), "nothing is done with a recorded body");
        recorder.body().expect("a body was read")
    }

    #[test]
    fn a_body_is_described_by_what_reads_it() {
        let body = recorded(Body::new_connection);
        assert_eq!(body["required"], json!(["customer_gateway_id", "name", "vpn_gateway_id"]));
        let cipher = &body["properties"]["esp_ciphers"]["items"];
        assert_eq!(cipher["required"], json!(["encryption"]));
        assert_eq!(cipher["properties"]["encryption"]["enum"].as_array().map(Vec::len), Some(9));
        assert_eq!(body["properties"]["secret"]["properties"]["revision"]["minimum"], 1);
        assert_eq!(body["properties"]["tags"]["items"]["type"], "string");
    }

    #[test]
    fn alternatives_are_all_recorded() {
        let gateway = recorded(Body::new_vpn_gateway);
        let tunnels = &gateway["properties"]["public_tunnel_config"]["properties"];
        assert_eq!(tunnels["dual_ipv4v6_tunnel"]["properties"]["ipam_ipv6_id"]["format"], "uuid");
        assert_eq!(tunnels["single_ipv4_tunnel"]["properties"]["ipam_id"]["format"], "uuid");
        let source = recorded(Body::new_ip)["properties"]["source"]["properties"].clone();
        assert!(["zonal", "subnet_id", "private_network_id"].iter().all(|name| source[name].is_object()), "{source}");
        let policies = recorded(|body| body.policy_change(uuid::Uuid::nil().into()));
        assert_eq!(policies["properties"].as_object().map(Map::len), Some(2));
        assert!(policies.get("required").is_none(), "one of the two");
    }

    #[test]
    fn a_query_is_described_by_what_reads_it() {
        let recorder = Recorder::default();
        let query = Query::recording(recorder.clone());
        let _ = (query.list(Order::CONNECTIONS), query.connections());
        query.finish().expect("nothing is wrong with an empty query");
        let parameters = recorder.parameters();
        assert_eq!(parameters["page_size"]["maximum"], 1000);
        assert_eq!(parameters["order_by"]["default"], "created_at_asc");
        assert_eq!(parameters["is_ipv6"]["type"], "boolean");
        assert_eq!(parameters["vpn_gateway_ids"]["items"]["format"], "uuid");
    }
}
