//! The secret manager: pre-shared keys live here. Data are sealed before they reach the store.

use causeway_model::command::{ListQuery, NewSecret, NewSecretVersion, Page, Rename, RevisionRef, SecretFilter};
use causeway_model::resource::{Caller, Role, Secret, SecretVersion, SecretVersionStatus};
use causeway_model::{Error, ProjectId, SecretId};
use causeway_store::{Kind, Reader, SecretRecord, StoredVersion};
use zeroize::Zeroizing;

use crate::access::Intent::{self, Read, Write};
use crate::access::{checked, denied, paging, scope};
use crate::audit::{and, changed, gone, made};
use crate::quota::QuotaResource;
use crate::unit::Unit;
use crate::{Controller, Result, key, typed};

pub(crate) const SECRET: &str = "secret";
const VERSION: &str = "secret_version";

/// Largest data of a version: that of the public service.
const MAX_DATA: usize = 64 * 1024;

/// Versions of one secret at most, deleted ones included: each costs up to [`MAX_DATA`].
const MAX_REVISION: u32 = 10_000;

/// A secret version that was read.
pub struct AccessedSecret {
    /// The version.
    pub version: SecretVersion,
    /// The secret's type.
    pub kind: String,
    /// Its data.
    pub data: Zeroizing<Vec<u8>>,
}

/// What an envelope of a version's data is bound to.
pub(crate) fn context(id: SecretId, revision: u32) -> String {
    format!("secret_version|data|{id}|{revision}")
}

async fn find_secret(reader: &mut Reader, caller: &Caller, intent: Intent, id: SecretId) -> Result<SecretRecord> {
    checked(caller, intent, reader.secret(id).await?, |record| record.secret.meta.project_id, SECRET, id)
}

async fn find_version(reader: &mut Reader, id: SecretId, revision: RevisionRef) -> Result<StoredVersion> {
    let found = match revision {
        RevisionRef::Number(revision) => reader.secret_version(id, revision).await?,
        RevisionRef::Latest => reader.latest_secret_version(id, false).await?,
        RevisionRef::LatestEnabled => reader.latest_secret_version(id, true).await?,
    };
    let word = match revision {
        RevisionRef::Number(revision) => revision.to_string(),
        RevisionRef::Latest => "latest".to_owned(),
        RevisionRef::LatestEnabled => "latest_enabled".to_owned(),
    };
    found.ok_or_else(|| Error::NotFound { resource: VERSION, id: format!("{id}/{word}") })
}

fn in_use(help: impl Into<String>) -> Error {
    Error::PreconditionFailed { precondition: "resource_still_in_use", help: help.into() }
}

/// Refuses what would take the key away from a connection (system.md §5).
async fn unused(reader: &mut Reader, id: SecretId, revision: Option<u32>) -> Result<()> {
    let users = reader.connections_with_secret(id, revision).await?;
    if let Some(first) = users.first() {
        return Err(in_use(format!("the key of connection {first}; give it another key first")));
    }
    let signers = reader.connections_signing_with(id, revision).await?;
    let links = reader.links_signing_with(id, revision).await?;
    let users = signers.iter().map(|id| format!("connection {id}")).chain(links.iter().map(|id| format!("link {id}")));
    let Some(first) = users.into_iter().next() else { return Ok(()) };
    Err(in_use(format!("signs the BGP sessions of {first}; set its option `bgp.md5_secret_id` anew first")))
}

impl Unit<'_> {
    /// Adds a version with these data.
    pub(crate) async fn add_version(
        &mut self,
        id: SecretId,
        revision: u32,
        data: &[u8],
        description: Option<String>,
        data_crc32: Option<u32>,
    ) -> Result<SecretVersion> {
        let version = SecretVersion {
            secret_id: id,
            revision,
            status: SecretVersionStatus::Enabled,
            description,
            latest: true,
            data_crc32,
            created_at: self.now,
            updated_at: self.now,
            deleted_at: None,
            region: self.controller.region().to_owned(),
        };
        let sealed = self.controller.inner.kek.seal(&context(id, revision), data);
        self.insert_secret_version(&version, &sealed).await?;
        Ok(version)
    }

    /// The revision after the newest.
    pub(crate) async fn next_revision(&mut self, id: SecretId) -> Result<u32> {
        let newest = self.latest_secret_version(id, false).await?.map_or(0, |stored| stored.version.revision);
        if newest >= MAX_REVISION {
            let (resource, quota) = ("secret_versions".to_owned(), u64::from(MAX_REVISION));
            return Err(Error::QuotasExceeded { resource, quota, current: u64::from(newest) });
        }
        if let Some(record) = self.secret(id).await? {
            self.within_amount(record.secret.meta.project_id, QuotaResource::SecretOctets, 1).await?;
        }
        Ok(newest + 1)
    }
}

impl Controller {
    /// The data of a stored version.
    pub(crate) fn open_version(&self, stored: &StoredVersion) -> Result<Zeroizing<Vec<u8>>> {
        let version = &stored.version;
        let missing =
            || Error::NotFound { resource: VERSION, id: format!("{}/{}", version.secret_id, version.revision) };
        let sealed = stored.data.as_deref().ok_or_else(missing)?;
        let context = context(version.secret_id, version.revision);
        let opened = self.inner.kek.open(&context, sealed).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Zeroizing::new(opened.slice().to_vec()))
    }

    /// Creates a secret without versions.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn create_secret(&self, caller: &Caller, region: &str, new: NewSecret) -> Result<Secret> {
        let mut unit = self.unit(caller, region).await?;
        let project = unit.project(new.meta.project_id, SECRET).await?;
        unit.within_quota(project.id, QuotaResource::Secrets).await?;
        let secret = Secret {
            id: SecretId::random(),
            meta: unit.meta(&project, new.meta),
            description: new.description,
            managed: false,
            kind: new.kind,
            protected: new.protected,
            path: new.path,
            used_by: Vec::new(),
            version_count: 0,
        };
        let record = SecretRecord { secret, owner_connection: None };
        unit.insert_secret(&record).await?;
        unit.finish("create", SECRET, record.secret.id, &made(&record.secret)).await?;
        Ok(record.secret)
    }

    /// A secret.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn secret(&self, caller: &Caller, region: &str, id: SecretId) -> Result<Secret> {
        self.in_region(region)?;
        Ok(find_secret(&mut self.read().await?, caller, Read, id).await?.secret)
    }

    /// A page of secrets.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_secrets(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: &SecretFilter,
    ) -> Result<Page<Secret>> {
        self.in_region(region)?;
        paging(list)?;
        let (items, total) = self.read().await?.secrets(region, scope(caller), list, filter).await?;
        Ok(Page { items, total })
    }

    /// Changes a secret's name, tags, description or folder.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn update_secret(
        &self,
        caller: &Caller,
        region: &str,
        id: SecretId,
        rename: Rename,
        description: Option<String>,
        path: Option<String>,
    ) -> Result<Secret> {
        let mut unit = self.unit(caller, region).await?;
        let before = find_secret(&mut unit, caller, Write, id).await?.secret;
        let mut secret = before.clone();
        unit.rename(Kind::Secret, id.0, &mut secret.meta, rename).await?;
        secret.description = description.unwrap_or(secret.description);
        secret.path = path.unwrap_or(secret.path);
        unit.set_secret(id, &secret.description, &secret.path, secret.protected).await?;
        unit.finish("update", SECRET, id, &changed(&before, &secret)).await?;
        Ok(secret)
    }

    /// Protects a secret from deletion, or no longer.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn set_secret_protected(
        &self,
        caller: &Caller,
        region: &str,
        id: SecretId,
        protected: bool,
    ) -> Result<Secret> {
        let mut unit = self.unit(caller, region).await?;
        let before = find_secret(&mut unit, caller, Write, id).await?.secret;
        let mut secret = before.clone();
        secret.protected = protected;
        secret.meta.updated_at = unit.now;
        let now = unit.now;
        unit.set_secret(id, &secret.description, &secret.path, protected).await?;
        unit.touch(Kind::Secret, id.0, now).await?;
        let action = if protected { "protect" } else { "unprotect" };
        unit.finish(action, SECRET, id, &changed(&before, &secret)).await?;
        Ok(secret)
    }

    /// Deletes a secret and its versions.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`] if it is protected or in use.
    pub async fn delete_secret(&self, caller: &Caller, region: &str, id: SecretId) -> Result<()> {
        let mut unit = self.unit(caller, region).await?;
        let secret = find_secret(&mut unit, caller, Write, id).await?.secret;
        if secret.protected {
            let help = "cannot delete a protected secret".to_owned();
            return Err(Error::PreconditionFailed { precondition: "protected_resource", help });
        }
        unused(&mut unit, id, None).await?;
        unit.belongs_to(secret.meta.project_id);
        unit.delete(Kind::Secret, id.0).await?;
        unit.finish("delete", SECRET, id, &gone(&secret)).await
    }

    /// Adds a version.
    ///
    /// # Errors
    /// [`Error::InvalidArguments`], [`Error::NotFound`], [`Error::PreconditionFailed`] if the previous one is in use and shall be disabled.
    pub async fn create_secret_version(
        &self,
        caller: &Caller,
        region: &str,
        id: SecretId,
        new: NewSecretVersion,
    ) -> Result<SecretVersion> {
        if new.data.len() > MAX_DATA {
            return Err(Error::constraint("data", format!("at most {MAX_DATA} octets")));
        }
        if new.data_crc32.is_some_and(|crc| crc != key::crc32(&new.data)) {
            return Err(Error::constraint("data_crc32", "does not match `data`: send the data again"));
        }
        let mut unit = self.unit(caller, region).await?;
        let secret = find_secret(&mut unit, caller, Write, id).await?.secret;
        typed::check(&secret.kind, &new.data)?;
        unit.within_amount(secret.meta.project_id, QuotaResource::SecretOctets, new.data.len()).await?;
        let now = unit.now;
        if new.disable_previous
            && let Some(previous) = unit.latest_secret_version(id, true).await?
        {
            let revision = previous.version.revision;
            unused(&mut unit, id, Some(revision)).await?;
            unit.set_secret_version_status(id, revision, SecretVersionStatus::Disabled, now).await?;
        }
        let revision = unit.next_revision(id).await?;
        let version = unit.add_version(id, revision, &new.data, new.description, new.data_crc32).await?;
        unit.touch(Kind::Secret, id.0, now).await?;
        unit.finish("create_version", SECRET, id, &made(&version)).await?;
        Ok(version)
    }

    /// Lets a product use a secret, which its `used_by` shows from then on.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn add_secret_owner(&self, caller: &Caller, region: &str, id: SecretId, product: &str) -> Result<()> {
        let mut unit = self.unit(caller, region).await?;
        let before = find_secret(&mut unit, caller, Write, id).await?.secret;
        let now = unit.now;
        unit.add_secret_owner(id, product).await?;
        unit.touch(Kind::Secret, id.0, now).await?;
        let after = find_secret(&mut unit, caller, Read, id).await?.secret;
        unit.finish("add_owner", SECRET, id, &changed(&before, &after)).await
    }

    /// A page of the tags of all secrets that the caller sees, in order.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_secret_tags(&self, caller: &Caller, region: &str, list: &ListQuery) -> Result<Page<String>> {
        self.in_region(region)?;
        paging(list)?;
        let (items, total) = self.read().await?.secret_tags(region, scope(caller), list).await?;
        Ok(Page { items, total })
    }

    /// Reads the data of the secret with this name in this folder.
    ///
    /// # Errors
    /// As [`Self::access_secret_version`]; [`Error::PreconditionFailed`] if two secrets have that name there.
    pub async fn access_secret_by_path(
        &self,
        caller: &Caller,
        region: &str,
        (project, path, name): (Option<ProjectId>, &str, &str),
        revision: RevisionRef,
    ) -> Result<AccessedSecret> {
        self.in_region(region)?;
        let project = project.unwrap_or(caller.project_id);
        let missing = || Error::NotFound { resource: SECRET, id: format!("{}/{name}", path.trim_end_matches('/')) };
        if !caller.owns(project) {
            return Err(missing());
        }
        let found = self.read().await?.secrets_at(region, project, path, name).await?;
        match found.as_slice() {
            [id] => self.access_secret_version(caller, region, *id, revision).await,
            [] => Err(missing()),
            _ => {
                let help = "several secrets have this name in this folder; read them by id, or rename one".to_owned();
                Err(Error::PreconditionFailed { precondition: "unknown_precondition", help })
            }
        }
    }

    /// A page of a secret's versions with one of `statuses` (none: all), newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn list_secret_versions(
        &self,
        caller: &Caller,
        region: &str,
        id: SecretId,
        list: &ListQuery,
        statuses: &[SecretVersionStatus],
    ) -> Result<Page<SecretVersion>> {
        self.in_region(region)?;
        paging(list)?;
        let mut reader = self.read().await?;
        find_secret(&mut reader, caller, Read, id).await?;
        let (items, total) = reader.secret_versions(id, statuses, list.page, list.page_size).await?;
        Ok(Page { items, total })
    }

    /// A version without its data.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn secret_version(
        &self,
        caller: &Caller,
        region: &str,
        id: SecretId,
        revision: RevisionRef,
    ) -> Result<SecretVersion> {
        self.in_region(region)?;
        let mut reader = self.read().await?;
        find_secret(&mut reader, caller, Read, id).await?;
        Ok(find_version(&mut reader, id, revision).await?.version)
    }

    /// Reads a version's data. Operators read only their own project's (system.md §5).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionsDenied`], [`Error::PreconditionFailed`] if it is disabled.
    pub async fn access_secret_version(
        &self,
        caller: &Caller,
        region: &str,
        id: SecretId,
        revision: RevisionRef,
    ) -> Result<AccessedSecret> {
        self.in_region(region)?;
        let mut reader = self.read().await?;
        let record = find_secret(&mut reader, caller, Read, id).await?;
        let readable = matches!(caller.role, Role::Operator | Role::Tenant);
        if !readable || record.secret.meta.project_id != caller.project_id {
            return Err(denied("read", VERSION));
        }
        let stored = find_version(&mut reader, id, revision).await?;
        match stored.version.status {
            SecretVersionStatus::Enabled => {}
            SecretVersionStatus::Disabled => {
                let help = "the version is disabled; enable it to read it".to_owned();
                return Err(Error::PreconditionFailed { precondition: "unknown_precondition", help });
            }
            SecretVersionStatus::Deleted => {
                return Err(Error::NotFound { resource: VERSION, id: format!("{id}/{}", stored.version.revision) });
            }
        }
        let data = self.open_version(&stored)?;
        Ok(AccessedSecret { version: stored.version, kind: record.secret.kind, data })
    }

    /// Changes a version's description.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn update_secret_version(
        &self,
        caller: &Caller,
        region: &str,
        id: SecretId,
        revision: RevisionRef,
        description: Option<String>,
    ) -> Result<SecretVersion> {
        let mut unit = self.unit(caller, region).await?;
        find_secret(&mut unit, caller, Write, id).await?;
        let before = find_version(&mut unit, id, revision).await?.version;
        let mut version = before.clone();
        if description.is_some() {
            version.description = description;
            version.updated_at = unit.now;
            let now = unit.now;
            unit.set_secret_version_description(id, version.revision, version.description.as_deref(), now).await?;
        }
        let details = and(changed(&before, &version), [("revision", version.revision.to_string())]);
        unit.finish("update_version", SECRET, id, &details).await?;
        Ok(version)
    }

    /// Enables or disables a version.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`] if it is a connection's key, or deleted.
    pub async fn set_secret_version_enabled(
        &self,
        caller: &Caller,
        region: &str,
        id: SecretId,
        revision: RevisionRef,
        enabled: bool,
    ) -> Result<SecretVersion> {
        let status = if enabled { SecretVersionStatus::Enabled } else { SecretVersionStatus::Disabled };
        let action = if enabled { "enable_version" } else { "disable_version" };
        self.change_version(caller, region, id, revision, status, action).await
    }

    /// Deletes a version and wipes its data.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`] if it is a connection's key.
    pub async fn delete_secret_version(
        &self,
        caller: &Caller,
        region: &str,
        id: SecretId,
        revision: RevisionRef,
    ) -> Result<()> {
        let status = SecretVersionStatus::Deleted;
        self.change_version(caller, region, id, revision, status, "delete_version").await.map(drop)
    }

    async fn change_version(
        &self,
        caller: &Caller,
        region: &str,
        id: SecretId,
        revision: RevisionRef,
        status: SecretVersionStatus,
        action: &str,
    ) -> Result<SecretVersion> {
        let mut unit = self.unit(caller, region).await?;
        find_secret(&mut unit, caller, Write, id).await?;
        let before = find_version(&mut unit, id, revision).await?.version;
        let version = &before;
        if version.status == SecretVersionStatus::Deleted {
            return Err(Error::NotFound { resource: VERSION, id: format!("{id}/{}", version.revision) });
        }
        if status != SecretVersionStatus::Enabled {
            unused(&mut unit, id, Some(version.revision)).await?;
        }
        let now = unit.now;
        unit.set_secret_version_status(id, version.revision, status, now).await?;
        let version = find_version(&mut unit, id, RevisionRef::Number(version.revision)).await?.version;
        let details = and(changed(&before, &version), [("revision", version.revision.to_string())]);
        unit.finish(action, SECRET, id, &details).await?;
        Ok(version)
    }
}
