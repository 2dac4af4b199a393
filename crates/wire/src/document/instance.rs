//! Instance v1: the flexible addresses that clients use as a customer gateway's public address (wire-api.md §8.3).

use std::net::IpAddr;

use crate::schema::documents;
use causeway_model::{IpId, OrganizationId, ProjectId};
use serde::Serialize;

documents! {
/// `{"ip":{…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrappedInstanceIpDocument {
    /// The address.
    pub ip: InstanceIpDocument,
}
}

documents! {
/// A flexible address, keys as recorded. It is never attached to a server here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceIpDocument {
    address: IpAddr,
    id: IpId,
    ipam_id: IpId,
    organization: OrganizationId,
    prefix: Option<()>,
    project: ProjectId,
    reverse: Option<()>,
    server: Option<()>,
    state: &'static str,
    tags: Vec<String>,
    r#type: &'static str,
    zone: String,
}
}

impl InstanceIpDocument {
    /// A detached address.
    #[must_use]
    pub const fn detached(
        id: IpId,
        address: IpAddr,
        organization: OrganizationId,
        project: ProjectId,
        tags: Vec<String>,
        zone: String,
    ) -> Self {
        let r#type = match address {
            IpAddr::V4(_) => "routed_ipv4",
            IpAddr::V6(_) => "routed_ipv6",
        };
        let (prefix, reverse, server) = (None, None, None);
        Self {
            address,
            id,
            ipam_id: id,
            organization,
            prefix,
            project,
            reverse,
            server,
            state: "detached",
            tags,
            r#type,
            zone,
        }
    }
}
