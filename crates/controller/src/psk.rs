//! A connection's pre-shared key: which it is, and changing it without an outage (system.md §5).
//!
//! A changed key is accepted at once; the one before stays accepted for the overlap window, in an envelope of its own, so that it works
//! whatever becomes of the secret that it came from. A change that is sent twice, or made again before the device has followed, takes no
//! key away within its window: the one that the device has is among them (docs/adr/0020-several-earlier-keys.md).

use std::collections::BTreeSet;

use causeway_model::command::NewMeta;
use causeway_model::resource::{Caller, Connection, Secret, SecretVersionStatus};
use causeway_model::view::ConnectionStatuses;
use causeway_model::{ConnectionId, Error, Psk, SecretId};
use causeway_store::{ConnectionRecord, Kind, PreviousKey, Project, Reader, SecretRecord, StoredVersion};
use zeroize::Zeroizing;

use crate::access::referenced;
use crate::audit::{and, changed};
use crate::connection::CONNECTION;
use crate::unit::Unit;
use crate::{Controller, Result, key, secret, status};

/// Seconds for which the old key is accepted beside the new one.
pub(crate) const OVERLAP: u32 = 24 * 3600;

/// Earlier keys of a connection at most. Each costs the responder one more comparison, and the initiator one more attempt.
const MAX_EARLIER: usize = 4;

/// Octets of a tenant's own key at most: what every device's configuration can carry is far less.
const MAX_KEY: usize = 1024;

/// What the fields of a request are called that name a key.
pub(crate) struct KeyFields {
    id: &'static str,
    revision: &'static str,
}

impl KeyFields {
    /// In `secret`, when a connection is made and by change-psk.
    pub(crate) const SECRET: Self = Self { id: "secret.id", revision: "secret.revision" };
    /// In an update.
    pub(crate) const UPDATE: Self = Self { id: "secret_id", revision: "secret_revision" };
}

/// What an envelope of an earlier key is bound to.
pub(crate) fn previous_context(id: ConnectionId) -> String {
    format!("previous_key|data|{id}")
}

impl Controller {
    /// The keys that a connection accepts, the newest first.
    pub(crate) async fn psks(&self, reader: &mut Reader, record: &ConnectionRecord) -> Result<Vec<Psk>> {
        let connection = &record.connection;
        let stored = reader.secret_version(connection.secret_id, connection.secret_revision).await?;
        let missing = || Error::Internal(format!("the key of connection {} is missing", connection.id));
        let mut keys = vec![Psk::new(self.open_version(&stored.ok_or_else(missing)?)?.to_vec())];
        for earlier in reader.previous_keys(connection.id).await? {
            if earlier.until > self.now() {
                let key = Psk::new(self.open_earlier(connection.id, &earlier)?.to_vec());
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }

    fn open_earlier(&self, id: ConnectionId, key: &PreviousKey) -> Result<Zeroizing<Vec<u8>>> {
        let opened = self.inner.kek.open(&previous_context(id), &key.data);
        let opened = opened.map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Zeroizing::new(opened.slice().to_vec()))
    }

    /// Gives a connection a new random key: as the next revision of its secret, or in place of the current one, which gives it to every
    /// connection with the same revision of the same secret.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Locked`] and [`Error::TransientState`], of any connection whose key that is.
    pub async fn renew_psk(
        &self,
        caller: &Caller,
        region: &str,
        id: ConnectionId,
        generate_revision: bool,
    ) -> Result<ConnectionStatuses> {
        let mut unit = self.unit(caller, region).await?;
        let mut record = unit.changeable_connection(id).await?;
        let before = record.connection.clone();
        let (secret_id, revision) = (record.connection.secret_id, record.connection.secret_revision);
        let new = key::psk();
        let (mut users, mut signers) = (vec![id], Vec::new());
        if !generate_revision {
            users = unit.connections_with_secret(secret_id, Some(revision)).await?;
            signers = unit.connections_signing_with(secret_id, Some(revision)).await?;
        }
        // What cannot be changed cannot be changed through another connection either.
        for other in users.iter().chain(&signers).filter(|other| **other != id) {
            unit.changeable_connection(*other).await?;
        }
        for user in &users {
            unit.keep_key(*user).await?;
        }
        let now = unit.now;
        if generate_revision {
            let next = unit.next_revision(secret_id).await?;
            unit.add_version(secret_id, next, &new, None, None).await?;
            record.connection.secret_revision = next;
            unit.set_connection(&record.connection).await?;
        } else {
            let sealed = self.inner.kek.seal(&secret::context(secret_id, revision), &new);
            unit.set_secret_version_data(secret_id, revision, &sealed, now).await?;
            unit.bump_connections(&signers).await?;
        }
        unit.touch(Kind::Secret, secret_id.0, now).await?;
        for user in &users {
            unit.touch(Kind::Connection, user.0, now).await?;
        }
        unit.bump_connections(&users).await?;
        let revision = record.connection.secret_revision.to_string();
        // Their own histories say it too: their devices need the new key as well.
        let others: BTreeSet<ConnectionId> = users.into_iter().chain(signers).filter(|other| *other != id).collect();
        for other in &others {
            let details = [("revision".to_owned(), revision.clone()), ("through".to_owned(), id.to_string())];
            let project = Some(record.connection.meta.project_id);
            unit.record(caller, project, now, "renew_psk", CONNECTION, &other.to_string(), &details.into()).await?;
        }
        // A key in place of the current one changes nothing that may be written down.
        let mut details = and(changed(&before, &record.connection), [("revision", revision)]);
        if !others.is_empty() {
            let others: Vec<String> = others.iter().map(ToString::to_string).collect();
            details.push(("others", others.join(", ")));
        }
        unit.finish_connection("renew_psk", id, &details).await
    }

    /// Gives a connection the key of another secret or revision; `None`: the newest that is enabled.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`], [`Error::Locked`], [`Error::TransientState`].
    pub async fn change_psk(
        &self,
        caller: &Caller,
        region: &str,
        id: ConnectionId,
        secret: SecretId,
        revision: Option<u32>,
    ) -> Result<ConnectionStatuses> {
        let mut unit = self.unit(caller, region).await?;
        let mut record = unit.changeable_connection(id).await?;
        let project = record.connection.meta.project_id;
        let stored = unit.usable_key(project, secret, revision, &KeyFields::SECRET).await?;
        let before = record.connection.clone();
        let old = (before.secret_id, before.secret_revision);
        if old != (secret, stored.version.revision) {
            unit.keep_key(id).await?;
            record.connection.secret_id = secret;
            record.connection.secret_revision = stored.version.revision;
            let now = unit.now;
            unit.set_connection(&record.connection).await?;
            unit.touch(Kind::Connection, id.0, now).await?;
            unit.bump_connections(&[id]).await?;
        }
        unit.finish_connection("change_psk", id, &changed(&before, &record.connection)).await
    }
}

impl Unit<'_> {
    /// Keeps a connection's current key for the overlap window: it is about to get another one.
    async fn keep_key(&mut self, id: ConnectionId) -> Result<()> {
        let Some(record) = self.connection_by_id(id).await? else { return Ok(()) };
        let connection = &record.connection;
        let Some(stored) = self.secret_version(connection.secret_id, connection.secret_revision).await? else {
            return Ok(());
        };
        let key: Zeroizing<Vec<u8>> = self.controller.open_version(&stored)?;
        self.make_room(&record, &key).await?;
        let data = self.controller.inner.kek.seal(&previous_context(id), &key);
        let until = self.now.plus_seconds(record.psk_overlap.unwrap_or(OVERLAP).into());
        Ok(self.add_previous_key(id, &data, until).await?)
    }

    /// Forgets earlier keys that the device cannot need once `key`, the current one, is kept too.
    async fn make_room(&mut self, record: &ConnectionRecord, key: &[u8]) -> Result<()> {
        let id = record.connection.id;
        if status::psk_proven(record) {
            self.delete_previous_keys(id, None).await?;
            return Ok(());
        }
        let mut earlier = self.previous_keys(id).await?;
        // It has been the current one before, and is the newest of the earlier ones now.
        let same = |known: &mut PreviousKey| self.controller.open_earlier(id, known).is_ok_and(|known| *known == *key);
        let mut forgotten: Vec<PreviousKey> = earlier.extract_if(.., same).collect();
        // The oldest is what the device had before the first of these changes, the newest may be on their way to it.
        while earlier.len() >= MAX_EARLIER {
            forgotten.push(earlier.remove(earlier.len() - 2));
        }
        for key in &forgotten {
            self.delete_previous_key(key).await?;
        }
        Ok(())
    }

    /// Gives `connection` the key that an update names, if it is another one, and says whether it is. A secret without a revision means
    /// the number of the current one, as the clients' documents have it; that it is there is for the caller to see to, so a secret
    /// without it is an error of the field.
    pub(crate) async fn other_key(
        &mut self,
        connection: &mut Connection,
        secret: Option<SecretId>,
        revision: Option<u32>,
    ) -> Result<bool> {
        let old = (connection.secret_id, connection.secret_revision);
        let new = (secret.unwrap_or(old.0), revision.unwrap_or(old.1));
        if new == old {
            return Ok(false);
        }
        let (project, fields) = (connection.meta.project_id, KeyFields::UPDATE);
        self.usable_key(project, new.0, Some(new.1), &fields).await.map_err(|error| match error {
            Error::NotFound { resource: "secret_version", .. } if revision.is_none() => {
                let help =
                    format!("secret {} has no revision {}, the connection's current one; name one", new.0, new.1);
                Error::constraint(fields.revision, help)
            }
            error => error,
        })?;
        self.keep_key(connection.id).await?;
        (connection.secret_id, connection.secret_revision) = new;
        Ok(true)
    }

    /// A tenant's own key: its secret is of the same project, the version is enabled and has something in it.
    pub(crate) async fn usable_key(
        &mut self,
        project: causeway_model::ProjectId,
        id: SecretId,
        revision: Option<u32>,
        fields: &KeyFields,
    ) -> Result<StoredVersion> {
        let record = referenced(project, self.secret(id).await?, |record| record.secret.meta.project_id, "secret", id)?;
        if record.secret.kind != "opaque" {
            let help =
                format!("a key has to be a secret of type opaque, not {}: its octets are the key", record.secret.kind);
            return Err(Error::constraint(fields.id, help));
        }
        let stored = match revision {
            Some(revision) => self.secret_version(id, revision).await?,
            None => self.latest_secret_version(id, true).await?,
        };
        let word = revision.map_or_else(|| "latest_enabled".to_owned(), |revision| revision.to_string());
        let missing = || Error::NotFound { resource: "secret_version", id: format!("{id}/{word}") };
        let stored =
            stored.filter(|stored| stored.version.status != SecretVersionStatus::Deleted).ok_or_else(missing)?;
        if stored.version.status == SecretVersionStatus::Disabled {
            return Err(Error::constraint(fields.revision, "this version is disabled; enable it or name another one"));
        }
        let length = self.controller.open_version(&stored)?.len();
        if !(1..=MAX_KEY).contains(&length) {
            return Err(Error::constraint(fields.id, format!("the key must have 1 to {MAX_KEY} octets, not {length}")));
        }
        Ok(stored)
    }

    /// A secret of a connection's own with a random key as revision 1.
    pub(crate) async fn make_own_secret(&mut self, project: &Project, connection: ConnectionId) -> Result<SecretId> {
        let name = format!("s2s-vpn-{connection}");
        let secret = Secret {
            id: SecretId::random(),
            meta: self.meta(project, NewMeta { project_id: Some(project.id), name, tags: Vec::new() }),
            description: String::new(),
            managed: true,
            kind: "opaque".to_owned(),
            protected: false,
            path: "/".to_owned(),
            used_by: Vec::new(),
            version_count: 0,
        };
        let id = secret.id;
        self.insert_secret(&SecretRecord { secret, owner_connection: Some(connection) }).await?;
        self.add_version(id, 1, &key::psk(), None, None).await?;
        Ok(id)
    }
}
