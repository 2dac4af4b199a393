//! Account v3, IAM v1alpha1 and `/metadata`: what clients ask for around the VPN (wire-api.md §1.9, §8).

use causeway_model::{OrganizationId, ProjectId};
use serde::Serialize;

use super::Time;
use crate::schema::documents;

documents! {
/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProjectDocument {
    /// Id.
    pub id: ProjectId,
    /// Name.
    pub name: String,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Creation.
    pub created_at: Time,
    /// Last change.
    pub updated_at: Time,
    /// Free text.
    pub description: String,
    /// Never given here.
    pub qualification: Option<()>,
}
}

documents! {
/// An API key. Its secret is shown once, at creation, so never here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiKeyDocument {
    /// `SCW…`.
    pub access_key: String,
    /// Always null.
    pub secret_key: Option<()>,
    /// Free text.
    pub description: String,
    /// Creation.
    pub created_at: Time,
    /// Last change.
    pub updated_at: Time,
    /// From when on it is refused.
    pub expires_at: Option<Time>,
    /// The project that requests without one go to.
    pub default_project_id: ProjectId,
    /// Whether the caller may edit it.
    pub editable: bool,
    /// Whether the caller may delete it.
    pub deletable: bool,
    /// Whether a product made it.
    pub managed: bool,
    /// Not kept, so empty.
    pub creation_ip: &'static str,
    /// What the key belongs to. There are no applications of IAM's here: the id is that of the key's project.
    pub application_id: ProjectId,
}
}

documents! {
/// `/metadata`: a constant (§1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MetadataDocument {
    platform: &'static str,
    partition: &'static str,
    domain: &'static str,
}
}

impl Default for MetadataDocument {
    fn default() -> Self {
        Self { platform: "external", partition: "scw", domain: "scw.eu" }
    }
}
