//! Secret Manager v1beta1 (wire-api.md §7). Keys in the messages' declaration order, nulls explicit.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use causeway_model::resource::{Secret, SecretVersion, SecretVersionStatus};
use causeway_model::{ProjectId, SecretId};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::Time;
use crate::schema::documents;

documents! {
/// A secret (§7.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretDocument {
    id: SecretId,
    project_id: ProjectId,
    name: String,
    status: &'static str,
    created_at: Time,
    updated_at: Time,
    tags: Vec<String>,
    version_count: u32,
    description: String,
    managed: bool,
    r#type: String,
    protected: bool,
    path: String,
    ephemeral_policy: Option<()>,
    used_by: Vec<String>,
    deletion_requested_at: Option<Time>,
    key_id: Option<()>,
    region: String,
}
}

impl From<Secret> for SecretDocument {
    fn from(secret: Secret) -> Self {
        Self {
            id: secret.id,
            project_id: secret.meta.project_id,
            name: secret.meta.name,
            status: "ready",
            created_at: secret.meta.created_at.into(),
            updated_at: secret.meta.updated_at.into(),
            tags: secret.meta.tags,
            version_count: secret.version_count,
            description: secret.description,
            managed: secret.managed,
            r#type: secret.kind,
            protected: secret.protected,
            path: secret.path,
            ephemeral_policy: None,
            used_by: secret.used_by,
            deletion_requested_at: None,
            key_id: None,
            region: secret.meta.region,
        }
    }
}

documents! {
/// A version of a secret (§7.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretVersionDocument {
    revision: u32,
    secret_id: SecretId,
    status: SecretVersionStatus,
    created_at: Time,
    updated_at: Time,
    deleted_at: Option<Time>,
    description: Option<String>,
    latest: bool,
    ephemeral_properties: Option<()>,
    deletion_requested_at: Option<Time>,
    region: String,
}
}

impl From<SecretVersion> for SecretVersionDocument {
    fn from(version: SecretVersion) -> Self {
        Self {
            revision: version.revision,
            secret_id: version.secret_id,
            status: version.status,
            created_at: version.created_at.into(),
            updated_at: version.updated_at.into(),
            deleted_at: version.deleted_at.map(Into::into),
            description: version.description,
            latest: version.latest,
            ephemeral_properties: None,
            deletion_requested_at: None,
            region: version.region,
        }
    }
}

documents! {
/// The data of a version. No `Debug`: it holds a secret, and wipes it when dropped.
#[derive(Serialize)]
pub struct AccessDocument {
    secret_id: SecretId,
    revision: u32,
    #[serde(serialize_with = "text")]
    data: Zeroizing<String>,
    data_crc32: Option<u32>,
    r#type: String,
}
}

impl AccessDocument {
    /// The data of `version` of a secret of type `kind`.
    #[must_use]
    pub fn new(version: &SecretVersion, kind: String, data: &[u8]) -> Self {
        Self {
            secret_id: version.secret_id,
            revision: version.revision,
            data: Zeroizing::new(STANDARD.encode(data)),
            data_crc32: version.data_crc32,
            r#type: kind,
        }
    }
}

fn text<S: Serializer>(text: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
