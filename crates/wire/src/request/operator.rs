//! Bodies of the operator's API (wire-ext.md §2) and of account v3 (wire-api.md §8.1).

use causeway_model::command::GatewayTypeChange;
use causeway_model::resource::Role;
use causeway_model::{Error, OrganizationId, PartnerId, ProjectId, Timestamp};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Body, Fields, MAX_DESCRIPTION};
use crate::errors::excerpt;

/// The roles of keys and their words.
pub const ROLES: [(Role, &str); 5] = [
    (Role::Operator, "operator"),
    (Role::Tenant, "tenant"),
    (Role::Partner, "partner"),
    (Role::Support, "support"),
    (Role::Node, "node"),
];

/// Names of zones and types in one list at most.
const MAX_NAMES: usize = 100;

/// A project, or an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewProject {
    /// Name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Its organization; `None`: the caller's.
    pub organization_id: Option<OrganizationId>,
}

/// What to change of a project; `None`: leave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateProject {
    /// Name.
    pub name: Option<String>,
    /// Free text; may become empty.
    pub description: Option<String>,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What it may do.
    pub role: Role,
    /// Its project; `None`: the caller's.
    pub project_id: Option<ProjectId>,
    /// The partner of a partner's key.
    pub partner_id: Option<PartnerId>,
    /// Free text.
    pub description: String,
    /// From when on it is refused; `None`: never.
    pub expires_at: Option<Timestamp>,
}

/// A gateway type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGatewayType {
    /// Name.
    pub name: String,
    /// Bits per second in each direction.
    pub bandwidth: u64,
    /// Connections at most.
    pub allowed_connections: u32,
    /// Where it can be ordered; `None`: in every zone.
    pub zones: Option<Vec<String>>,
    /// Millionths of the currency.
    pub price_per_hour: u64,
}

/// What to change of the settings; `None`: leave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateSettings {
    /// Whom tenants turn to; `Some(None)`: nobody.
    pub support_contact: Option<Option<String>>,
}

impl Fields<'_> {
    /// An integer of `0..=2⁶³-1`, which is what the store holds.
    pub(super) fn large(&self, name: &str, least: u64) -> Option<u64> {
        const MOST: u64 = i64::MAX.unsigned_abs();
        self.is(name, || json!({"type": "integer", "minimum": least, "maximum": MOST}));
        let value = self.value(name)?;
        let number = value.as_u64().filter(|number| (least..=MOST).contains(number));
        match (number, value) {
            (None, Value::Number(number)) if number.is_i64() || number.is_u64() => {
                self.constraint(name, format!("must be an integer from {least} to {MOST}"));
            }
            (None, _) => self.format(name, format!("must be an integer from {least} to {MOST}")),
            (Some(_), _) => {}
        }
        number
    }

    /// Text that `null` or an empty one takes away.
    pub(super) fn clearable(&self, name: &str, most: usize) -> Option<Option<String>> {
        self.is(name, || json!({"type": ["string", "null"], "maxLength": most}));
        match self.map.get(name)? {
            Value::Null => Some(None),
            Value::String(text) if text.is_empty() => Some(None),
            _ => self.bounded_text(name, most).map(Some),
        }
    }

    /// Text that may become empty, but is left alone where it is null.
    pub(super) fn replaceable(&self, name: &str) -> Option<String> {
        match self.map.get(name) {
            Some(Value::String(text)) if text.is_empty() => Some(String::new()),
            _ => self.bounded_text(name, MAX_DESCRIPTION),
        }
    }

    fn names(&self, name: &str) -> Option<Vec<String>> {
        self.is(&format!("{name}[0]"), || json!({"type": "string"}));
        let items = self.array(name, MAX_NAMES)?;
        let mut names = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item.as_str() {
                Some(text) => names.push(text.to_owned()),
                None => self.format(&format!("{name}[{index}]"), "must be a string"),
            }
        }
        Some(names)
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        self.is(name, || json!({"type": "string", "description": "An instant (RFC 3339), or a day (UTC)."}));
        let text = self.text(name)?;
        let time = Timestamp::parse(text);
        if time.is_none() {
            let help = format!(
                "`{}` is neither an instant like 2027-01-01T00:00:00Z nor a day like 2027-01-01",
                excerpt(text)
            );
            self.format(name, help);
        }
        time
    }
}

impl Body {
    /// Create a project or an organization.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_project(&self) -> Result<NewProject, Error> {
        self.read(|fields| NewProject {
            name: fields.required("name", fields.name(), "give a name").unwrap_or_default(),
            description: fields.bounded_text("description", MAX_DESCRIPTION).unwrap_or_default(),
            organization_id: fields.id("organization_id"),
        })
    }

    /// Update a project.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_project(&self) -> Result<UpdateProject, Error> {
        self.read(|fields| UpdateProject { name: fields.name(), description: fields.replaceable("description") })
    }

    /// A name, which is all that there is.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn only_name(&self) -> Result<String, Error> {
        self.read(|fields| fields.required("name", fields.name(), "give a name").unwrap_or_default())
    }

    /// Create an API key.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_key(&self) -> Result<NewKey, Error> {
        self.read(|fields| {
            let role = fields.word("role", ROLES.into_iter());
            let help = "give one of `operator`, `tenant`, `partner`, `support`, `node`";
            NewKey {
                // With the error there is no key, so that the role is nobody's.
                role: fields.required("role", role, help).unwrap_or(Role::Tenant),
                project_id: fields.id("project_id"),
                partner_id: fields.id("partner_id"),
                description: fields.bounded_text("description", MAX_DESCRIPTION).unwrap_or_default(),
                expires_at: fields.time("expires_at"),
            }
        })
    }

    /// Set a quota.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn quota(&self) -> Result<u64, Error> {
        self.read(|fields| {
            let quota = fields.large("quota", 0);
            fields.required("quota", quota, "say how many there may be").unwrap_or_default()
        })
    }

    /// Add a zone.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_zone(&self) -> Result<String, Error> {
        self.only_name()
    }

    /// Create a gateway type.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_gateway_type(&self) -> Result<NewGatewayType, Error> {
        self.read(|fields| {
            let bandwidth = fields.large("bandwidth", 1);
            let connections = fields.number("allowed_connections", 1, u32::MAX);
            NewGatewayType {
                name: fields.required("name", fields.name(), "give a name").unwrap_or_default(),
                bandwidth: fields
                    .required("bandwidth", bandwidth, "give the bits per second of each direction")
                    .unwrap_or_default(),
                allowed_connections: fields
                    .required("allowed_connections", connections, "say how many connections a gateway may have")
                    .unwrap_or_default(),
                zones: fields.names("zones"),
                price_per_hour: fields.large("price_per_hour", 0).unwrap_or_default(),
            }
        })
    }

    /// Update a gateway type.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_gateway_type(&self) -> Result<GatewayTypeChange, Error> {
        self.read(|fields| GatewayTypeChange {
            bandwidth: fields.large("bandwidth", 1),
            allowed_connections: fields.number("allowed_connections", 1, u32::MAX),
            zones: fields.names("zones"),
            price_per_hour: fields.large("price_per_hour", 0),
        })
    }

    /// Add a prefix to a zone's public pools.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_public_pool(&self) -> Result<(String, IpNet), Error> {
        self.read(|fields| {
            let zone = fields.bounded_text("zone", MAX_DESCRIPTION);
            let zone = fields.required("zone", zone, "name the zone");
            let prefix = fields.required("prefix", fields.network("prefix"), "give a prefix in CIDR notation");
            zone.zip(prefix)
        })?
        .ok_or_else(|| Error::Internal("a pool without an error lacks its zone or prefix".to_owned()))
    }

    /// Update the settings.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_settings(&self) -> Result<UpdateSettings, Error> {
        self.read(|fields| UpdateSettings { support_contact: fields.clearable("support_contact", MAX_DESCRIPTION) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Body {
        Body::parse(text.as_bytes()).expect("a JSON object")
    }

    fn wrong<T>(result: Result<T, Error>) -> Vec<String> {
        match result {
            Err(Error::InvalidArguments(arguments)) => arguments.into_iter().map(|argument| argument.name).collect(),
            Err(other) => panic!("{other:?}"),
            Ok(_) => Vec::new(),
        }
    }

    #[test]
    fn a_key_has_a_role_and_perhaps_an_end() {
        let key = body(r#"{"role":"support","expires_at":"2027-01-01","description":"d"}"#).new_key().expect("a key");
        assert_eq!((key.role, key.project_id, key.description.as_str()), (Role::Support, None, "d"));
        assert_eq!(key.expires_at, Timestamp::parse("2027-01-01T00:00:00Z"));
        assert_eq!(wrong(body("{}").new_key()), ["role"]);
        assert_eq!(wrong(body(r#"{"role":"unknown_role"}"#).new_key()), ["role"]);
        let text = r#"{"role":"root","project_id":1,"expires_at":"soon","description":[]}"#;
        assert_eq!(wrong(body(text).new_key()), ["role", "project_id", "description", "expires_at"]);
    }

    #[test]
    fn large_numbers_are_bounded_by_what_is_stored() {
        let most = i64::MAX.unsigned_abs();
        assert_eq!(body(&format!(r#"{{"quota":{most}}}"#)).quota(), Ok(most));
        for text in
            ["{}", r#"{"quota":-1}"#, r#"{"quota":1.5}"#, r#"{"quota":"1"}"#, r#"{"quota":9223372036854775808}"#]
        {
            assert_eq!(wrong(body(text).quota()), ["quota"], "{text}");
        }
    }

    #[test]
    fn a_type_names_everything_that_is_wrong_at_once() {
        let text = r#"{"bandwidth":0,"allowed_connections":0,"zones":["z",1],"price_per_hour":-1}"#;
        let expected = ["bandwidth", "allowed_connections", "name", "zones[1]", "price_per_hour"];
        assert_eq!(wrong(body(text).new_gateway_type()), expected);
        assert_eq!(body(r#"{"zones":[]}"#).update_gateway_type().expect("a change").zones, Some(Vec::new()));
        assert_eq!(body(r#"{"zones":null}"#).update_gateway_type().expect("a change").zones, None);
        assert_eq!(wrong(body(r#"{"prefix":"192.0.2.0"}"#).new_public_pool()), ["zone", "prefix"]);
    }

    #[test]
    fn what_can_be_empty_can_be_emptied() {
        let update = |text: &str| body(text).update_project().expect("a change");
        assert_eq!(update(r#"{"name":"","description":""}"#).description, Some(String::new()));
        assert_eq!(update(r#"{"name":"","description":null}"#), UpdateProject { name: None, description: None });
        let contact = |text: &str| body(text).update_settings().expect("a change").support_contact;
        assert_eq!(contact("{}"), None);
        assert_eq!(contact(r#"{"support_contact":null}"#), Some(None));
        assert_eq!(contact(r#"{"support_contact":"a@b"}"#), Some(Some("a@b".to_owned())));
    }
}
