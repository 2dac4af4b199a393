//! JSON schemas of what is answered, for the OpenAPI document: the declaration of a document is its description.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_model::acl::{AclAction, AclProtocol};
use causeway_model::link::Party;
use causeway_model::reason::{Layer, ReasonCode, Turn};
use causeway_model::resource::{InitiationPolicy, SecretVersionStatus};
use causeway_model::status::{
    BgpStatus, ConnectionStatus, DedicatedConnectionStatus, LinkStatus, TunnelStatus, VpnGatewayStatus,
};
use causeway_model::suite::{DhGroup, Encryption, Integrity};
use causeway_model::{
    ConnectionId, CustomerGatewayId, DedicatedConnectionId, Family, IpId, LinkId, NodeId, OrganizationId, PartnerId,
    PopId, PortId, PrivateNetworkId, ProjectId, RoutingPolicyId, SecretId, SubnetId, VpcId, VpnGatewayId, WebhookId,
};
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::document::Time;

/// Schemas by name, referred to from elsewhere.
#[derive(Debug, Default)]
pub struct Components(BTreeMap<String, Value>);

/// A field as it is declared.
#[derive(Debug)]
pub struct Field {
    /// Its name in Rust.
    pub name: &'static str,
    /// Its attributes.
    pub attributes: &'static [&'static str],
    /// What its type says.
    pub schema: Value,
}

impl Components {
    /// A reference to the object `name`, which is described if it is new.
    pub fn object(&mut self, name: &str, attributes: &[&str], fields: impl FnOnce(&mut Self) -> Vec<Field>) -> Value {
        let name = name.strip_suffix("Document").unwrap_or(name);
        if !self.0.contains_key(name) {
            // Known before its fields are, so that a document could hold itself.
            self.0.insert(name.to_owned(), Value::Null);
            let fields = fields(self);
            let mut properties = Map::new();
            let mut required = Vec::new();
            for field in fields {
                let name = field.name.strip_prefix("r#").unwrap_or(field.name);
                // What no raw identifier can be: `self`.
                let key = renamed(field.attributes).unwrap_or(name);
                let has = |what: &str| field.attributes.iter().any(|attribute| attribute.contains(what));
                let optional = has("skip_serializing_if");
                let mut schema = match field.schema.pointer("/anyOf/0") {
                    // Left out where it would be null.
                    Some(schema) if optional => schema.clone(),
                    _ if has("serialize_with") => json!({"type": "string"}),
                    _ => field.schema,
                };
                if let Some(description) = description(field.attributes) {
                    schema["description"] = description.into();
                }
                properties.insert(key.to_owned(), schema);
                if !optional {
                    required.push(key);
                }
            }
            let mut object = json!({"type": "object", "properties": properties, "required": required});
            if let Some(description) = description(attributes) {
                object["description"] = description.into();
            }
            self.0.insert(name.to_owned(), object);
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// Everything that was described.
    #[must_use]
    pub fn into_schemas(self) -> BTreeMap<String, Value> {
        self.0
    }
}

/// What a field is called in JSON, if not as in Rust.
fn renamed(attributes: &[&'static str]) -> Option<&'static str> {
    let (_, rest) = attributes.iter().find_map(|attribute| attribute.split_once("rename = \""))?;
    rest.split('"').next()
}

/// The text of documentation comments.
fn description(attributes: &[&str]) -> Option<String> {
    let lines = attributes.iter().filter_map(|attribute| {
        // What stands before the text is a space, or the line break that `stringify!` puts before a long one.
        let text = attribute.strip_prefix("doc =")?.trim_start().trim_start_matches('r').trim_matches('"');
        Some(text.trim().replace("\\\"", "\""))
    });
    let text = lines.collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// What has a JSON schema.
pub trait Schema {
    /// The schema; objects add theirs to `components` and are referred to.
    fn schema(components: &mut Components) -> Value;
}

/// Declares documents, and describes them by their declaration.
macro_rules! documents {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* $visibility:vis $field:ident: $type:ty),* $(,)? })+) => {$(
        $(#[$meta])*
        pub struct $name { $($(#[$field_meta])* $visibility $field: $type),* }

        impl $crate::schema::Schema for $name {
            fn schema(components: &mut $crate::schema::Components) -> serde_json::Value {
                components.object(stringify!($name), &[$(stringify!($meta)),*], |components| {
                    vec![$($crate::schema::Field {
                        name: stringify!($field),
                        attributes: &[$(stringify!($field_meta)),*],
                        schema: <$type as $crate::schema::Schema>::schema(components),
                    }),*]
                })
            }
        }
    )+};
}
pub(crate) use documents;

macro_rules! schemas {
    ($($type:ty),+ => $schema:expr) => {$(
        impl Schema for $type {
            fn schema(_: &mut Components) -> Value {
                $schema
            }
        }
    )+};
}

schemas!(
    ConnectionId, CustomerGatewayId, DedicatedConnectionId, IpId, LinkId, NodeId, OrganizationId, PartnerId, PopId,
    PortId, PrivateNetworkId, ProjectId, RoutingPolicyId, SecretId, SubnetId, VpcId, VpnGatewayId, WebhookId, Uuid => json!({"type": "string", "format": "uuid"})
);
schemas!(String, &'static str, Zeroizing<String> => json!({"type": "string"}));
schemas!(IpAddr => json!({"type": "string", "description": "An IP address."}));
schemas!(Ipv4Addr => json!({"type": "string", "format": "ipv4"}));
schemas!(Ipv6Addr => json!({"type": "string", "format": "ipv6"}));
schemas!(IpNet => json!({"type": "string", "description": "An address or network with its prefix length (CIDR)."}));
schemas!(Time => json!({"type": "string", "format": "date-time"}));
schemas!(bool => json!({"type": "boolean"}));
schemas!(u16, u32, u64 => json!({"type": "integer", "minimum": 0}));
schemas!(() => json!({"type": "null"}));
schemas!([(); 0] => json!({"type": "array", "maxItems": 0}));
schemas!(Family => json!({"type": "string", "enum": ["ipv4", "ipv6"]}));
schemas!(InitiationPolicy => json!({"type": "string", "enum": ["vpn_gateway", "customer_gateway"]}));
schemas!(SecretVersionStatus => json!({"type": "string", "enum": ["enabled", "disabled", "deleted"]}));
schemas!(AclAction => json!({"type": "string", "enum": ["accept", "drop"]}));
schemas!(AclProtocol => json!({"type": "string", "enum": ["any", "tcp", "udp", "icmp"]}));
schemas!(Layer => json!({"type": "string", "enum": ["platform", "ike", "child", "bgp", "route"]}));
schemas!(Party => json!({"type": "string", "enum": ["nobody", "tenant", "partner", "platform", "operator"]}));
schemas!(Turn => json!({"type": "string", "enum": ["nobody", "tenant", "device", "partner", "operator"]}));

macro_rules! words {
    ($($type:ty),+ $(,)?) => {$(
        impl Schema for $type {
            fn schema(_: &mut Components) -> Value {
                let words: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
                json!({"type": "string", "enum": words})
            }
        }
    )+};
}

words!(
    BgpStatus,
    ConnectionStatus,
    DedicatedConnectionStatus,
    DhGroup,
    Encryption,
    Integrity,
    LinkStatus,
    ReasonCode,
    TunnelStatus,
    VpnGatewayStatus,
);

impl<T: Schema> Schema for Vec<T> {
    fn schema(components: &mut Components) -> Value {
        json!({"type": "array", "items": T::schema(components)})
    }
}

impl<T: Schema> Schema for Option<T> {
    fn schema(components: &mut Components) -> Value {
        let schema = T::schema(components);
        if schema["type"] == "null" { schema } else { json!({"anyOf": [schema, {"type": "null"}]}) }
    }
}

impl<T: Schema> Schema for BTreeMap<String, T> {
    fn schema(components: &mut Components) -> Value {
        json!({"type": "object", "additionalProperties": T::schema(components)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::s2s::ConnectionDocument;
    use crate::document::secret::SecretDocument;

    #[test]
    fn a_document_is_described_by_its_declaration() {
        let mut components = Components::default();
        assert_eq!(ConnectionDocument::schema(&mut components), json!({"$ref": "#/components/schemas/Connection"}));
        SecretDocument::schema(&mut components);
        let schemas = components.into_schemas();
        let connection = &schemas["Connection"];
        assert_eq!(connection["description"], "A connection (§3.7).");
        assert_eq!(connection["properties"]["bgp_session_ipv4"]["$ref"], "#/components/schemas/BgpSession");
        let required = connection["required"].as_array().expect("an array");
        assert!(required.contains(&json!("status")) && !required.contains(&json!("bgp_session_ipv4")));
        assert_eq!(schemas["BgpSession"]["properties"]["routing_policy_id"]["type"], "string");
        assert_eq!(schemas["Secret"]["properties"]["type"]["type"], "string");
        assert_eq!(schemas["Secret"]["properties"]["deletion_requested_at"]["anyOf"][1]["type"], "null");
    }
}
