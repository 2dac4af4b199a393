//! IPAM v1 (wire-api.md §6). Keys are alphabetical, nulls explicit.

use std::net::IpAddr;

use causeway_model::resource::{Ip, IpResource, IpSource, Reverse};
use causeway_model::{IpId, ProjectId, SubnetId};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Time;
use crate::schema::{Components, Schema, documents};

documents! {
/// What uses an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IpResourceDocument {
    id: Uuid,
    mac_address: Option<String>,
    name: Option<String>,
    r#type: String,
}
}

impl From<IpResource> for IpResourceDocument {
    fn from(resource: IpResource) -> Self {
        Self { id: resource.id, mac_address: resource.mac_address, name: resource.name, r#type: resource.kind }
    }
}

documents! {
/// A name of an address. It is kept and shown for the operator's name servers: there is none here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReverseDocument {
    address: Option<IpAddr>,
    hostname: String,
}
}

impl From<Reverse> for ReverseDocument {
    fn from(reverse: Reverse) -> Self {
        Self { address: reverse.address, hostname: reverse.hostname }
    }
}

/// Where an address comes from: exactly one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IpSourceDocument {
    /// A subnet of a Private Network.
    SubnetId(SubnetId),
    /// A zone's public pool.
    Zonal(String),
}

impl Schema for IpSourceDocument {
    fn schema(_: &mut Components) -> Value {
        let one =
            |name: &str, schema: Value| json!({"type": "object", "properties": {name: schema}, "required": [name]});
        let subnet = one("subnet_id", json!({"type": "string", "format": "uuid"}));
        json!({"oneOf": [subnet, one("zonal", json!({"type": "string"}))]})
    }
}

impl From<IpSource> for IpSourceDocument {
    fn from(source: IpSource) -> Self {
        match source {
            IpSource::Subnet(id) => Self::SubnetId(id),
            IpSource::Zonal(zone) => Self::Zonal(zone),
        }
    }
}

documents! {
/// An address (§6.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IpDocument {
    address: IpNet,
    created_at: Time,
    id: IpId,
    is_ipv6: bool,
    project_id: ProjectId,
    region: String,
    resource: Option<IpResourceDocument>,
    /// The names that the address is looked up as.
    reverses: Vec<ReverseDocument>,
    source: IpSourceDocument,
    tags: Vec<String>,
    updated_at: Time,
    zone: Option<String>,
}
}

impl From<Ip> for IpDocument {
    fn from(ip: Ip) -> Self {
        Self {
            address: ip.address,
            created_at: ip.created_at.into(),
            id: ip.id,
            is_ipv6: matches!(ip.address, IpNet::V6(_)),
            project_id: ip.project_id,
            region: ip.region,
            resource: ip.resource.map(Into::into),
            reverses: ip.reverses.into_iter().map(Into::into).collect(),
            source: ip.source.into(),
            tags: ip.tags,
            updated_at: ip.updated_at.into(),
            zone: ip.zone,
        }
    }
}
