//! The first start, API keys, projects and the audit trail.

use causeway_crypto::sha256;
use causeway_model::command::{ListQuery, Page};
use causeway_model::resource::{AuditRecord, Caller, GatewayType, Meta, Role, Vpc};
use causeway_model::{Error, OrganizationId, PartnerId, ProjectId, Timestamp, VpcId};
use causeway_store::{ApiKey, AuditFilter, Project, Reader, Store, Writer};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use crate::access::{operator, paging};
use crate::unit::Unit;
use crate::{Controller, Result, Service, Settings, audit, key, organization, platform};

const REGION: &str = "region";
const PROVIDER_ASN: &str = "provider_asn";
pub(crate) const SUPPORT_CONTACT: &str = "support_contact";
const SERVICE_ULA: &str = "service_ula";
pub(crate) const DEFAULT_PROJECT: &str = "default_project";
const BOOTSTRAPPED: &str = "bootstrapped";

const KEY: &str = "api_key";
const PROJECT: &str = "project";

/// Characters of a project's name and of a free text at most.
const MAX_NAME: usize = 64;
const MAX_TEXT: usize = 200;

pub(crate) fn check_text(field: &str, text: &str) -> Result<()> {
    if text.chars().count() <= MAX_TEXT {
        return Ok(());
    }
    Err(Error::constraint(field, format!("at most {MAX_TEXT} characters")))
}

pub(crate) fn check_project(name: &str, description: &str) -> Result<()> {
    if !(1..=MAX_NAME).contains(&name.chars().count()) {
        return Err(Error::constraint("name", format!("1 to {MAX_NAME} characters")));
    }
    check_text("description", description)
}

/// What the first start has to hand to the operator. The secret is shown this once.
pub struct Bootstrap {
    /// Public name of the operator's key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Zeroizing<String>,
    /// The default organization.
    pub organization_id: OrganizationId,
    /// The default project, to which the key belongs.
    pub project_id: ProjectId,
}

/// What an operator asks for with a new key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRequest {
    /// What it may do.
    pub role: Role,
    /// Its project.
    pub project_id: ProjectId,
    /// The partner whose links it shows: a partner's key has to have one, no other key may.
    pub partner_id: Option<PartnerId>,
    /// Free text, at most 200 characters.
    pub description: String,
    /// From when on it is refused; `None`: never.
    pub expires_at: Option<Timestamp>,
}

/// A key that was just made. The secret is shown this once.
pub struct NewApiKey {
    /// The key.
    pub key: ApiKey,
    /// Its secret.
    pub secret_key: Zeroizing<String>,
}

fn corrupt(key: &str) -> Error {
    Error::Internal(format!("setting `{key}` is missing or wrong"))
}

/// Fills an empty store; then, and at every later start, says what it holds.
pub(crate) async fn seed(store: &Store, settings: &Settings, now: Timestamp) -> Result<Service> {
    let mut tx = store.write().await?;
    if tx.setting(REGION).await?.is_none() {
        fill(&mut tx, settings, now).await?;
    }
    let region = tx.setting(REGION).await?.ok_or_else(|| corrupt(REGION))?;
    let provider_asn = tx.setting(PROVIDER_ASN).await?.and_then(|text| text.parse().ok());
    let ula = tx.setting(SERVICE_ULA).await?.and_then(|text| u64::from_str_radix(&text, 16).ok());
    let [_, _, ula @ ..] = ula.ok_or_else(|| corrupt(SERVICE_ULA))?.to_be_bytes();
    let service = Service { provider_asn: provider_asn.ok_or_else(|| corrupt(PROVIDER_ASN))?, ula, region };
    tx.commit().await?;
    Ok(service)
}

async fn fill(tx: &mut Writer, settings: &Settings, now: Timestamp) -> Result<()> {
    if settings.zones.is_empty() {
        return Err(Error::constraint("zones", "at least one zone is needed"));
    }
    tx.set_setting(REGION, &settings.region).await?;
    tx.set_setting(PROVIDER_ASN, &settings.provider_asn.to_string()).await?;
    if let Some(contact) = &settings.support_contact {
        tx.set_setting(SUPPORT_CONTACT, contact).await?;
    }
    let [a, b, c, d, e, f] = key::ula();
    let ula = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    tx.set_setting(SERVICE_ULA, &format!("{ula:012x}")).await?;
    for (position, zone) in (0..).zip(&settings.zones) {
        tx.insert_zone(&zone.name, &settings.region, position, &zone.public_pools).await?;
    }
    for (position, offer) in (0..).zip(&settings.gateway_types) {
        let gateway_type = GatewayType {
            name: offer.name.clone(),
            bandwidth: offer.bandwidth,
            allowed_connections: offer.allowed_connections,
            zones: settings.zones.iter().map(|zone| zone.name.clone()).collect(),
            region: settings.region.clone(),
        };
        tx.insert_gateway_type(&gateway_type, position).await?;
        tx.set_gateway_type_price(&offer.name, offer.price_per_hour).await?;
    }
    // As in the public service, the default project has its organization's id.
    let id = Uuid::new_v4();
    let (organization_id, project_id) = (OrganizationId(id), ProjectId(id));
    tx.insert_organization(organization_id, "default", now).await?;
    let project = Project {
        id: project_id,
        organization_id,
        name: "default".to_owned(),
        description: String::new(),
        ula: key::ula(),
        created_at: now,
        updated_at: now,
    };
    tx.insert_project(&project).await?;
    tx.set_setting(DEFAULT_PROJECT, &project_id.to_string()).await?;
    let meta = Meta {
        organization_id,
        project_id,
        region: settings.region.clone(),
        name: "default".to_owned(),
        tags: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    let vpc = Vpc {
        id: VpcId::random(),
        meta,
        is_default: true,
        custom_routes_propagation_enabled: true,
        private_network_count: 0,
    };
    Ok(tx.insert_vpc(&vpc).await?)
}

/// Makes and commits an operator's key of the default project.
async fn make_operator_key(mut unit: Unit<'_>, description: &str) -> Result<Bootstrap> {
    let project = unit.setting(DEFAULT_PROJECT).await?.and_then(|text| text.parse().ok());
    let project = project.ok_or_else(|| corrupt(DEFAULT_PROJECT))?;
    let project = Reader::project(&mut unit, project).await?.ok_or_else(|| corrupt(DEFAULT_PROJECT))?;
    let now = unit.now;
    let new = NewKey { role: Role::Operator, partner_id: None, description: description.to_owned(), expires_at: None };
    let made = make_key(&mut unit, &project, new, now).await?;
    unit.set_setting(BOOTSTRAPPED, &now.to_string()).await?;
    let details = audit::made(&made.key);
    let access_key = made.key.access_key;
    unit.finish("create", "api_key", &access_key, &details).await?;
    Ok(Bootstrap {
        access_key,
        secret_key: made.secret_key,
        organization_id: project.organization_id,
        project_id: project.id,
    })
}

/// What a new key is to be.
struct NewKey {
    role: Role,
    partner_id: Option<PartnerId>,
    description: String,
    expires_at: Option<Timestamp>,
}

/// A new key of `project`, and its secret.
async fn make_key(tx: &mut Writer, project: &Project, new: NewKey, now: Timestamp) -> Result<NewApiKey> {
    let secret_key = Zeroizing::new(Uuid::new_v4().to_string());
    let key = ApiKey {
        access_key: key::access_key(),
        role: new.role,
        project_id: project.id,
        organization_id: project.organization_id,
        partner_id: new.partner_id,
        description: new.description,
        created_at: now,
        expires_at: new.expires_at,
        revoked_at: None,
    };
    tx.insert_api_key(&key, &sha256(&[secret_key.as_bytes()])).await?;
    Ok(NewApiKey { key, secret_key })
}

impl Controller {
    /// The operator's key, made by the first call ever; `None` afterwards.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn bootstrap(&self) -> Result<Option<Bootstrap>> {
        let caller = platform(&self.inner.service);
        let mut unit = self.unit(&caller, &self.inner.service.region).await?;
        if unit.setting(BOOTSTRAPPED).await?.is_some() {
            return Ok(None);
        }
        make_operator_key(unit, "operator key of the first start").await.map(Some)
    }

    /// Another operator's key, for whoever holds the data directory and has lost the first one. The others stay valid.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn recover_operator_key(&self) -> Result<Bootstrap> {
        let caller = platform(&self.inner.service);
        let unit = self.unit(&caller, &self.inner.service.region).await?;
        make_operator_key(unit, "operator key made at the data directory").await
    }

    /// Who has this secret key.
    ///
    /// # Errors
    /// [`Error::DeniedAuthentication`] if nobody has, or no longer.
    pub async fn authenticate(&self, secret_key: &str, request_id: Uuid) -> Result<Caller> {
        // Only the canonical form was hashed; clients may write the UUID in capitals.
        let Ok(parsed) = Uuid::parse_str(secret_key) else {
            return Err(Error::DeniedAuthentication { reason: "invalid_argument" });
        };
        let mut canonical = parsed.to_string();
        let hash = sha256(&[canonical.as_bytes()]);
        canonical.zeroize();
        let key = self.inner.store.caller(&hash).await?;
        let key = key.ok_or(Error::DeniedAuthentication { reason: "not_found" })?;
        if key.revoked_at.is_some() {
            return Err(Error::DeniedAuthentication { reason: "not_found" });
        }
        if key.expires_at.is_some_and(|time| time <= self.now()) {
            return Err(Error::DeniedAuthentication { reason: "expired" });
        }
        Ok(Caller {
            access_key: key.access_key,
            role: key.role,
            organization_id: key.organization_id,
            project_id: key.project_id,
            partner_id: key.partner_id,
            request_id,
        })
    }

    /// A key without its secret: the caller's own, or any for an operator.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn api_key(&self, caller: &Caller, access_key: &str) -> Result<ApiKey> {
        let missing = || Error::NotFound { resource: "access_key", id: access_key.to_owned() };
        if caller.role != Role::Operator && caller.access_key != access_key {
            return Err(missing());
        }
        self.read().await?.api_key(access_key).await?.ok_or_else(missing)
    }

    /// Makes a key of a project; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn create_api_key(
        &self,
        caller: &Caller,
        role: Role,
        project: ProjectId,
        description: String,
    ) -> Result<NewApiKey> {
        self.issue_api_key(
            caller,
            KeyRequest { role, project_id: project, partner_id: None, description, expires_at: None },
        )
        .await
    }

    /// Makes a key of a project that may have an end; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn issue_api_key(&self, caller: &Caller, request: KeyRequest) -> Result<NewApiKey> {
        operator(caller, "write", KEY)?;
        let KeyRequest { role, project_id, partner_id, description, expires_at } = request;
        let mut unit = self.unit(caller, self.region()).await?;
        let now = unit.now;
        check_text("description", &description)?;
        if expires_at.is_some_and(|time| time <= now) {
            return Err(Error::constraint("expires_at", "has to be in the future"));
        }
        let project = unit.project(Some(project_id), KEY).await?;
        match (role, partner_id) {
            (Role::Partner, None) => {
                let help = "a partner's key shows the links of one partner; give its id";
                return Err(Error::constraint("partner_id", help));
            }
            (Role::Partner, Some(id)) => {
                let missing = || Error::NotFound { resource: "partner", id: id.to_string() };
                unit.partner(id).await?.ok_or_else(missing)?;
            }
            (_, Some(_)) => return Err(Error::constraint("partner_id", "only for keys of the role `partner`")),
            (_, None) => {}
        }
        let new = NewKey { role, partner_id, description, expires_at };
        let made = make_key(&mut unit, &project, new, now).await?;
        unit.finish("create", KEY, &made.key.access_key, &audit::made(&made.key)).await?;
        Ok(made)
    }

    /// Keys without their secrets; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], or if the paging is out of bounds.
    pub async fn list_api_keys(
        &self,
        caller: &Caller,
        list: &ListQuery,
        role: Option<Role>,
        include_revoked: bool,
    ) -> Result<Page<ApiKey>> {
        operator(caller, "read", KEY)?;
        paging(list)?;
        let (items, total) = self.read().await?.api_keys(list, role, include_revoked).await?;
        Ok(Page { items, total })
    }

    /// Revokes a key: it is refused from now on. Operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`] if no operator could get in any more.
    pub async fn revoke_api_key(&self, caller: &Caller, access_key: &str) -> Result<ApiKey> {
        operator(caller, "write", KEY)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let missing = || Error::NotFound { resource: "access_key", id: access_key.to_owned() };
        let key = Reader::api_key(&mut unit, access_key).await?.ok_or_else(missing)?;
        if key.revoked_at.is_some() {
            return Ok(key);
        }
        let now = unit.now;
        let live = key.expires_at.is_none_or(|time| time > now);
        if key.role == Role::Operator && live && unit.live_keys(Role::Operator, now).await? < 2 {
            let help = "it is the last operator's key; create another one first".to_owned();
            return Err(Error::PreconditionFailed { precondition: "resource_still_in_use", help });
        }
        Writer::revoke_api_key(&mut unit, access_key, now).await?;
        let before = key;
        let key = Reader::api_key(&mut unit, access_key).await?.ok_or_else(missing)?;
        unit.finish("revoke", KEY, access_key, &audit::changed(&before, &key)).await?;
        Ok(key)
    }

    /// Changes a project's name and description; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn update_project(
        &self,
        caller: &Caller,
        id: ProjectId,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<Project> {
        operator(caller, "write", PROJECT)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let before = unit.project(Some(id), PROJECT).await?;
        let mut project = before.clone();
        project.name = name.unwrap_or(project.name);
        project.description = description.unwrap_or(project.description);
        project.updated_at = unit.now;
        check_project(&project.name, &project.description)?;
        unit.set_project(id, &project.name, &project.description, project.updated_at).await?;
        unit.finish("update", PROJECT, id, &audit::changed(&before, &project)).await?;
        Ok(project)
    }

    /// Deletes an empty project; operators only. What it was billed for stays on record.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_project(&self, caller: &Caller, id: ProjectId) -> Result<()> {
        operator(caller, "write", PROJECT)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let project = unit.project(Some(id), PROJECT).await?;
        let refused = |help: String| Err(Error::PreconditionFailed { precondition: "resource_still_in_use", help });
        if unit.setting(DEFAULT_PROJECT).await?.is_some_and(|default| default == id.to_string()) {
            return refused("the default project stays".to_owned());
        }
        let (objects, keys) = unit.project_contents(id).await?;
        if objects + keys > 0 {
            return refused(format!("the project has {objects} objects and {keys} keys; delete and revoke them first"));
        }
        Writer::delete_project(&mut unit, id).await?;
        unit.finish("delete", PROJECT, id, &audit::gone(&project)).await
    }

    /// A project.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn project(&self, caller: &Caller, id: ProjectId) -> Result<Project> {
        let missing = || Error::NotFound { resource: "project_id", id: id.to_string() };
        if !caller.owns(id) {
            return Err(missing());
        }
        self.read().await?.project(id).await?.ok_or_else(missing)
    }

    /// The projects that the caller may see; of `ids` only, unless that is empty.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_projects(&self, caller: &Caller, list: &ListQuery, ids: &[ProjectId]) -> Result<Page<Project>> {
        paging(list)?;
        let single = match caller.role {
            Role::Operator => list.project_id,
            Role::Tenant if list.project_id.is_none_or(|id| id == caller.project_id) => Some(caller.project_id),
            _ => return Ok(Page { items: Vec::new(), total: 0 }),
        };
        let only = match single.as_slice() {
            [] => (!ids.is_empty()).then_some(ids),
            [id] if !ids.is_empty() && !ids.contains(id) => return Ok(Page { items: Vec::new(), total: 0 }),
            single => Some(single),
        };
        let (items, total) = self.read().await?.projects(only, list).await?;
        Ok(Page { items, total })
    }

    /// Adds a project to the caller's organization; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn create_project(&self, caller: &Caller, name: String, description: String) -> Result<Project> {
        self.create_project_in(caller, None, name, description).await
    }

    /// Adds a project to an organization, the caller's if none is named; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn create_project_in(
        &self,
        caller: &Caller,
        organization: Option<OrganizationId>,
        name: String,
        description: String,
    ) -> Result<Project> {
        operator(caller, "write", PROJECT)?;
        check_project(&name, &description)?;
        let mut unit = self.unit(caller, &self.inner.service.region).await?;
        let organization_id = organization.unwrap_or(caller.organization_id);
        organization::known(&mut unit, organization_id).await?;
        let project = Project {
            id: ProjectId::random(),
            organization_id,
            name,
            description,
            ula: key::ula(),
            created_at: unit.now,
            updated_at: unit.now,
        };
        unit.insert_project(&project).await?;
        unit.finish("create", PROJECT, project.id, &audit::made(&project)).await?;
        Ok(project)
    }

    /// What was changed by whom; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn audit_records(
        &self,
        caller: &Caller,
        list: &ListQuery,
        filter: &AuditFilter,
    ) -> Result<Page<AuditRecord>> {
        operator(caller, "read", "audit_record")?;
        paging(list)?;
        let (items, total) = self.read().await?.audit_records(list, filter).await?;
        Ok(Page { items, total })
    }

    /// Whether a key that was good is good still: for what goes on long after it was shown.
    ///
    /// # Errors
    /// [`Error::DeniedAuthentication`].
    pub async fn confirm(&self, caller: &Caller) -> Result<()> {
        let key = self.read().await?.api_key(&caller.access_key).await?;
        let key =
            key.filter(|key| key.revoked_at.is_none()).ok_or(Error::DeniedAuthentication { reason: "not_found" })?;
        if key.expires_at.is_some_and(|time| time <= self.now()) {
            return Err(Error::DeniedAuthentication { reason: "expired" });
        }
        Ok(())
    }
}
