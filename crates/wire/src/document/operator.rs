//! The operator's API (wire-ext.md §2): organizations, keys, quotas, the catalogue, settings. Keys are alphabetical.

use causeway_model::{OrganizationId, PartnerId, ProjectId};
use ipnet::IpNet;
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::Time;
use crate::schema::documents;

documents! {
/// An organization: what projects belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrganizationDocument {
    /// Creation.
    pub created_at: Time,
    /// Id.
    pub id: OrganizationId,
    /// Name.
    pub name: String,
}
}

documents! {
/// An API key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyDocument {
    /// `SCW…`: its public name.
    pub access_key: String,
    /// Creation.
    pub created_at: Time,
    /// Free text.
    pub description: String,
    /// From when on it is refused.
    pub expires_at: Option<Time>,
    /// Its project's organization.
    pub organization_id: OrganizationId,
    /// The partner that a partner's key is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partner_id: Option<PartnerId>,
    /// Its project.
    pub project_id: ProjectId,
    /// Since when it is refused.
    pub revoked_at: Option<Time>,
    /// `operator`, `tenant`, `partner`, `support` or `node`.
    pub role: &'static str,
}
}

documents! {
/// An API key that was just made, with its secret, which is shown this once.
#[derive(Serialize)]
pub struct NewKeyDocument {
    /// `SCW…`: its public name.
    pub access_key: String,
    /// Creation.
    pub created_at: Time,
    /// Free text.
    pub description: String,
    /// From when on it is refused.
    pub expires_at: Option<Time>,
    /// Its project's organization.
    pub organization_id: OrganizationId,
    /// The partner that a partner's key is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partner_id: Option<PartnerId>,
    /// Its project.
    pub project_id: ProjectId,
    /// Since when it is refused.
    pub revoked_at: Option<Time>,
    /// `operator`, `tenant`, `partner`, `support` or `node`.
    pub role: &'static str,
    /// What goes into `X-Auth-Token`.
    #[serde(serialize_with = "text")]
    pub secret_key: Zeroizing<String>,
}
}

pub(super) fn text<S: Serializer>(text: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl NewKeyDocument {
    /// `key` and its secret.
    #[must_use]
    pub fn new(key: KeyDocument, secret_key: Zeroizing<String>) -> Self {
        Self {
            access_key: key.access_key,
            created_at: key.created_at,
            description: key.description,
            expires_at: key.expires_at,
            organization_id: key.organization_id,
            partner_id: key.partner_id,
            project_id: key.project_id,
            revoked_at: key.revoked_at,
            role: key.role,
            secret_key,
        }
    }
}

documents! {
/// How many objects of a kind a project may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuotaDocument {
    /// Whether the operator has left it as it is by default.
    pub is_default: bool,
    /// The project.
    pub project_id: ProjectId,
    /// At most.
    pub quota: u64,
    /// The kind: `vpn_gateways`, `connections`, …
    pub resource: &'static str,
    /// Now.
    pub used: u64,
}
}

documents! {
/// The region of this service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegionDocument {
    /// What prices are in (ISO 4217).
    pub currency: &'static str,
    /// Name.
    pub name: String,
    /// The AS number of new gateways.
    pub provider_asn: u32,
    /// Its zones, the preferred one first.
    pub zones: Vec<String>,
}
}

documents! {
/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZoneDocument {
    /// Name.
    pub name: String,
    /// Prefixes of public addresses, in the order in which they are used.
    pub public_pools: Vec<IpNet>,
    /// Its region.
    pub region: String,
}
}

documents! {
/// A gateway type and what it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayTypeOfferDocument {
    /// Connections at most.
    pub allowed_connections: u32,
    /// Bits per second in each direction.
    pub bandwidth: u64,
    /// What the price is in (ISO 4217).
    pub currency: &'static str,
    /// Name.
    pub name: String,
    /// Millionths of the currency, for gateways ordered from now on.
    pub price_per_hour: u64,
    /// Region.
    pub region: String,
    /// Where it can be ordered.
    pub zones: Vec<String>,
}
}

documents! {
/// A prefix of a zone's public addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicPoolDocument {
    /// The prefix.
    pub prefix: IpNet,
    /// Addresses of it in use.
    pub used: u64,
    /// The zone.
    pub zone: String,
}
}

documents! {
/// What an operator sets for the whole service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SettingsDocument {
    /// Whom tenants turn to: an address or a link.
    pub support_contact: Option<String>,
}
}

#[cfg(test)]
mod tests {
    use causeway_model::Timestamp;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_new_key_has_its_secret_last_and_in_clear() {
        let key = KeyDocument {
            access_key: "SCWXXXXXXXXXXXXXXXXX".to_owned(),
            created_at: Time(Timestamp(1_785_241_748_356_342)),
            description: "d".to_owned(),
            expires_at: None,
            organization_id: OrganizationId(Uuid::nil()),
            partner_id: None,
            project_id: ProjectId(Uuid::nil()),
            revoked_at: None,
            role: "tenant",
        };
        let new = NewKeyDocument::new(key, Zeroizing::new("s".to_owned()));
        assert_eq!(
            serde_json::to_string(&new).expect("JSON"),
            r#"{"access_key":"SCWXXXXXXXXXXXXXXXXX","created_at":"2026-07-28T12:29:08.356342Z","description":"d","expires_at":null,"organization_id":"00000000-0000-0000-0000-000000000000","project_id":"00000000-0000-0000-0000-000000000000","revoked_at":null,"role":"tenant","secret_key":"s"}"#
        );
    }
}
