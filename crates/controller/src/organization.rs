//! Organizations, and what an operator sets for the whole service.

use causeway_model::command::{ListQuery, Page};
use causeway_model::resource::Caller;
use causeway_model::{Error, OrganizationId};
use causeway_store::{Organization, Reader};
use serde_json::json;

use crate::access::{operator, paging};
use crate::audit::{changed, gone, made};
use crate::identity::{DEFAULT_PROJECT, SUPPORT_CONTACT, check_project, check_text};
use crate::unit::Unit;
use crate::{Controller, Result};

const ORGANIZATION: &str = "organization";
const SETTINGS: &str = "settings";

fn in_use(help: String) -> Error {
    Error::PreconditionFailed { precondition: "resource_still_in_use", help }
}

/// An organization that there is.
pub(crate) async fn known(reader: &mut Reader, id: OrganizationId) -> Result<Organization> {
    let missing = || Error::NotFound { resource: ORGANIZATION, id: id.to_string() };
    reader.organization(id).await?.ok_or_else(missing)
}

impl Unit<'_> {
    /// Whether this is the organization of the default project.
    async fn is_default(&mut self, id: OrganizationId) -> Result<bool> {
        let project = self.setting(DEFAULT_PROJECT).await?.and_then(|text| text.parse().ok());
        let Some(project) = project else { return Ok(false) };
        Ok(Reader::project(self, project).await?.is_some_and(|project| project.organization_id == id))
    }
}

impl Controller {
    /// The organizations; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], or if the paging is out of bounds.
    pub async fn list_organizations(&self, caller: &Caller, list: &ListQuery) -> Result<Page<Organization>> {
        operator(caller, "read", ORGANIZATION)?;
        paging(list)?;
        let (items, total) = self.read().await?.organizations(list).await?;
        Ok(Page { items, total })
    }

    /// An organization; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn organization(&self, caller: &Caller, id: OrganizationId) -> Result<Organization> {
        operator(caller, "read", ORGANIZATION)?;
        known(&mut self.read().await?, id).await
    }

    /// Adds an organization without projects; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::InvalidArguments`].
    pub async fn create_organization(&self, caller: &Caller, name: String) -> Result<Organization> {
        operator(caller, "write", ORGANIZATION)?;
        check_project(&name, "")?;
        let mut unit = self.unit(caller, self.region()).await?;
        let organization = Organization { id: OrganizationId::random(), name, created_at: unit.now };
        let now = unit.now;
        unit.insert_organization(organization.id, &organization.name, now).await?;
        unit.finish("create", ORGANIZATION, organization.id, &made(&organization)).await?;
        Ok(organization)
    }

    /// Gives an organization another name; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn rename_organization(&self, caller: &Caller, id: OrganizationId, name: String) -> Result<Organization> {
        operator(caller, "write", ORGANIZATION)?;
        check_project(&name, "")?;
        let mut unit = self.unit(caller, self.region()).await?;
        let old = known(&mut unit, id).await?;
        unit.rename_organization(id, &name).await?;
        let renamed = Organization { name, ..old.clone() };
        unit.finish("update", ORGANIZATION, id, &changed(&old, &renamed)).await?;
        Ok(renamed)
    }

    /// Deletes an organization that has no projects; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_organization(&self, caller: &Caller, id: OrganizationId) -> Result<()> {
        operator(caller, "write", ORGANIZATION)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let organization = known(&mut unit, id).await?;
        if unit.is_default(id).await? {
            return Err(in_use("the default project's organization stays".to_owned()));
        }
        let projects = unit.project_count(id).await?;
        if projects > 0 {
            return Err(in_use(format!("the organization has {projects} projects; delete them first")));
        }
        unit.delete_organization(id).await?;
        unit.finish("delete", ORGANIZATION, id, &gone(&organization)).await
    }

    /// Whom tenants turn to: an address or a link.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn support_contact(&self) -> Result<Option<String>> {
        Ok(self.read().await?.setting(SUPPORT_CONTACT).await?)
    }

    /// As [`Self::support_contact`], among the settings; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn settings(&self, caller: &Caller) -> Result<Option<String>> {
        operator(caller, "read", SETTINGS)?;
        self.support_contact().await
    }

    /// Says whom tenants turn to: an address or a link; `None`: nobody. Operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::InvalidArguments`].
    pub async fn set_support_contact(&self, caller: &Caller, contact: Option<String>) -> Result<Option<String>> {
        operator(caller, "write", SETTINGS)?;
        if let Some(text) = &contact {
            check_text("support_contact", text)?;
            if text.chars().any(char::is_control) {
                return Err(Error::constraint("support_contact", "must not contain control characters"));
            }
        }
        let mut unit = self.unit(caller, self.region()).await?;
        let before = unit.setting(SUPPORT_CONTACT).await?;
        match &contact {
            Some(contact) => unit.set_setting(SUPPORT_CONTACT, contact).await?,
            None => unit.delete_setting(SUPPORT_CONTACT).await?,
        }
        let fields = |contact: &Option<String>| json!({SUPPORT_CONTACT: contact});
        let details = changed(&fields(&before), &fields(&contact));
        unit.finish("update", SETTINGS, SUPPORT_CONTACT, &details).await?;
        Ok(contact)
    }
}
