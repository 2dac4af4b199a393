//! Secrets and their versions. Data are envelopes: opaque octets here.

use causeway_model::command::{ListQuery, SecretFilter};
use causeway_model::resource::{Secret, SecretVersion, SecretVersionStatus};
use causeway_model::{ConnectionId, ProjectId, SecretId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use crate::catalog::Filter;
use crate::list::{Kind, Scope, push_any, push_ids, push_impossible, window};
use crate::row::{RowExt, blob, word};
use crate::{Reader, Result, Writer};

/// A secret and the connection that it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRecord {
    /// The secret.
    pub secret: Secret,
    /// It goes with this connection.
    pub owner_connection: Option<ConnectionId>,
}

/// A version with its envelope; `None` once deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVersion {
    /// The version.
    pub version: SecretVersion,
    /// The envelope.
    pub data: Option<Vec<u8>>,
}

fn version(row: &SqliteRow) -> Result<StoredVersion> {
    Ok(StoredVersion {
        version: SecretVersion {
            secret_id: row.id("secret_id")?,
            revision: row.number("revision")?,
            status: row.word("status")?,
            description: row.opt_text("description")?,
            latest: row.flag("latest")?,
            data_crc32: row.opt_number("data_crc32")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            deleted_at: row.opt_time("deleted_at")?,
            region: row.text("region")?,
        },
        data: row.opt_bytes("data")?,
    })
}

const VERSIONS: &str = "SELECT secret_version.*, secret.region, secret_version.revision = (SELECT max(revision) FROM secret_version AS newest \
     WHERE newest.secret_id = secret_version.secret_id) AS latest FROM secret_version JOIN secret ON secret.id = secret_version.secret_id";

/// Secrets with all that a record holds, in one statement.
const SECRET: &str = "SELECT secret.*, \
     (SELECT count(*) FROM secret_version WHERE secret_id = secret.id AND status <> 'deleted') AS version_count, \
     (SELECT json_group_array(product ORDER BY product) FROM secret_product WHERE secret_id = secret.id) AS products, \
     (EXISTS (SELECT 1 FROM connection WHERE secret_id = secret.id) \
     OR EXISTS (SELECT 1 FROM connection WHERE md5_secret_id = secret.id)) AS used FROM secret";

fn record(row: &SqliteRow) -> Result<SecretRecord> {
    let owner_connection: Option<ConnectionId> = row.opt_id("owner_connection")?;
    let mut used_by: Vec<String> = row.json("products")?;
    if row.flag("used")? && !used_by.iter().any(|product| product == "s2s_vpn") {
        used_by.push("s2s_vpn".to_owned());
    }
    let secret = Secret {
        id: row.id("id")?,
        meta: row.meta()?,
        description: row.text("description")?,
        managed: owner_connection.is_some(),
        kind: row.text("kind")?,
        protected: row.flag("protected")?,
        path: row.text("path")?,
        used_by,
        version_count: row.number("version_count")?,
    };
    Ok(SecretRecord { secret, owner_connection })
}

impl Reader {
    /// A secret.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn secret(&mut self, id: SecretId) -> Result<Option<SecretRecord>> {
        self.rows(SECRET, "id = ?", id.0).await?.first().map(record).transpose()
    }

    /// A page of secrets.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn secrets(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filter: &SecretFilter,
    ) -> Result<(Vec<Secret>, u64)> {
        let filters = vec![
            Filter::texts("path", filter.path.iter().cloned()),
            Filter::texts("kind", filter.kind.iter().cloned()),
        ];
        let (rows, total) = self.listed("secret", SECRET, region, scope, list, filters).await?;
        Ok((rows.iter().map(|row| Ok(record(row)?.secret)).collect::<Result<_>>()?, total))
    }

    /// The secrets of a project with this name in this folder; names are not unique.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn secrets_at(
        &mut self,
        region: &str,
        project: ProjectId,
        path: &str,
        name: &str,
    ) -> Result<Vec<SecretId>> {
        let rows = sqlx::query(
            "SELECT id FROM secret WHERE project_id = ? AND region = ? AND path = ? AND name = ? ORDER BY seq LIMIT 2",
        )
        .bind(blob(project.0))
        .bind(region)
        .bind(path)
        .bind(name)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.id("id")).collect()
    }

    /// A page of the tags that secrets have, in order, and how many there are.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn secret_tags(&mut self, region: &str, scope: Scope, list: &ListQuery) -> Result<(Vec<String>, u64)> {
        let only = |query: &mut QueryBuilder<Sqlite>| {
            query.push(" FROM tag JOIN secret ON secret.id = tag.owner WHERE region = ").push_bind(region.to_owned());
            match scope {
                Scope::All => {}
                Scope::Project(project) => {
                    query.push(" AND project_id = ").push_bind(blob(project.0));
                }
                Scope::Nothing => push_impossible(query, true),
            }
            push_ids(query, "project_id", list.project_id.iter().map(|id| id.0));
            push_ids(query, "organization_id", list.organization_id.iter().map(|id| id.0));
        };
        let mut count = QueryBuilder::new("SELECT count(DISTINCT tag) AS total");
        only(&mut count);
        let total = count.build().fetch_one(self.connection()).await?.number("total")?;
        let mut query = QueryBuilder::new("SELECT DISTINCT tag");
        only(&mut query);
        let (limit, offset) = window(list.page, list.page_size);
        query.push(" ORDER BY tag LIMIT ").push_bind(limit).push(" OFFSET ").push_bind(offset);
        let rows = query.build().fetch_all(self.connection()).await?;
        Ok((rows.iter().map(|row| row.text("tag")).collect::<Result<_>>()?, total))
    }

    /// A version by its number.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn secret_version(&mut self, id: SecretId, revision: u32) -> Result<Option<StoredVersion>> {
        let sql = format!("{VERSIONS} WHERE secret_id = ? AND revision = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(blob(id.0))
            .bind(revision)
            .fetch_optional(self.connection())
            .await?;
        row.as_ref().map(version).transpose()
    }

    /// The newest version, or the newest that is enabled.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn latest_secret_version(&mut self, id: SecretId, enabled: bool) -> Result<Option<StoredVersion>> {
        let only = if enabled { " AND secret_version.status = 'enabled'" } else { "" };
        let sql = format!("{VERSIONS} WHERE secret_id = ?{only} ORDER BY revision DESC LIMIT 1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(blob(id.0)).fetch_optional(self.connection()).await?;
        row.as_ref().map(version).transpose()
    }

    /// A page of the versions with one of `statuses` (none: all), newest first, and their count.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn secret_versions(
        &mut self,
        id: SecretId,
        statuses: &[SecretVersionStatus],
        page: u32,
        page_size: u32,
    ) -> Result<(Vec<SecretVersion>, u64)> {
        let only = |query: &mut QueryBuilder<Sqlite>| {
            query.push(" WHERE secret_id = ").push_bind(blob(id.0));
            push_any(query, "secret_version.status", statuses.iter().copied().map(word));
        };
        let mut count = QueryBuilder::new("SELECT count(*) AS total FROM secret_version");
        only(&mut count);
        let total = count.build().fetch_one(self.connection()).await?.number("total")?;
        let mut query = QueryBuilder::new(VERSIONS);
        only(&mut query);
        let (limit, offset) = window(page, page_size);
        query.push(" ORDER BY revision DESC LIMIT ").push_bind(limit).push(" OFFSET ").push_bind(offset);
        let rows = query.build().fetch_all(self.connection()).await?;
        Ok((rows.iter().map(|row| version(row).map(|stored| stored.version)).collect::<Result<_>>()?, total))
    }

    /// The connections whose key this version is.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn connections_with_secret(&mut self, id: SecretId, revision: Option<u32>) -> Result<Vec<ConnectionId>> {
        let rows = sqlx::query(
            "SELECT id FROM connection WHERE secret_id = ?1 AND (?2 IS NULL OR secret_revision = ?2) ORDER BY seq",
        )
        .bind(blob(id.0))
        .bind(revision)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.id("id")).collect()
    }
}

impl Writer {
    /// Adds a secret.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_secret(&mut self, record: &SecretRecord) -> Result<()> {
        let secret = &record.secret;
        let columns = ["description", "kind", "protected", "path", "owner_connection"];
        self.insert(Kind::Secret, secret.id.0, &secret.meta, &columns, |values| {
            values
                .push_bind(secret.description.clone())
                .push_bind(secret.kind.clone())
                .push_bind(secret.protected)
                .push_bind(secret.path.clone())
                .push_bind(record.owner_connection.map(|id| blob(id.0)));
        })
        .await
    }

    /// Sets what a secret's owner may change beside name and tags.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_secret(&mut self, id: SecretId, description: &str, path: &str, protected: bool) -> Result<()> {
        sqlx::query("UPDATE secret SET description = ?, path = ?, protected = ? WHERE id = ?")
            .bind(description)
            .bind(path)
            .bind(protected)
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Lets a product use a secret.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn add_secret_owner(&mut self, id: SecretId, product: &str) -> Result<()> {
        sqlx::query("INSERT OR IGNORE INTO secret_product (secret_id, product) VALUES (?, ?)")
            .bind(blob(id.0))
            .bind(product)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Adds a version; `latest` and `region` are derived.
    ///
    /// # Errors
    /// If the revision exists.
    pub async fn insert_secret_version(&mut self, version: &SecretVersion, data: &[u8]) -> Result<()> {
        let sql = "INSERT INTO secret_version (secret_id, revision, status, description, data_crc32, data, created_at, updated_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        self.change(sql, |values| {
            values
                .push_bind(blob(version.secret_id.0))
                .push_bind(version.revision)
                .push_bind(word(version.status))
                .push_bind(&version.description)
                .push_bind(version.data_crc32)
                .push_bind(data)
                .push_bind(version.created_at.0)
                .push_bind(version.updated_at.0);
        })
        .await
    }

    /// Sets a version's status. Deleting wipes its data.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_secret_version_status(
        &mut self,
        id: SecretId,
        revision: u32,
        status: SecretVersionStatus,
        now: Timestamp,
    ) -> Result<()> {
        let deleted = status == SecretVersionStatus::Deleted;
        sqlx::query(
            "UPDATE secret_version SET status = ?1, updated_at = ?2, deleted_at = CASE WHEN ?3 THEN ?2 END, \
             data = CASE WHEN ?3 THEN NULL ELSE data END WHERE secret_id = ?4 AND revision = ?5",
        )
        .bind(word(status))
        .bind(now.0)
        .bind(deleted)
        .bind(blob(id.0))
        .bind(revision)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Sets a version's description.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_secret_version_description(
        &mut self,
        id: SecretId,
        revision: u32,
        description: Option<&str>,
        now: Timestamp,
    ) -> Result<()> {
        sqlx::query("UPDATE secret_version SET description = ?, updated_at = ? WHERE secret_id = ? AND revision = ?")
            .bind(description)
            .bind(now.0)
            .bind(blob(id.0))
            .bind(revision)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Replaces a version's envelope: a key that is renewed in place.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_secret_version_data(
        &mut self,
        id: SecretId,
        revision: u32,
        data: &[u8],
        now: Timestamp,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE secret_version SET data = ?, data_crc32 = NULL, updated_at = ? WHERE secret_id = ? AND revision = ?",
        )
        .bind(data)
        .bind(now.0)
        .bind(blob(id.0))
        .bind(revision)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Removes the secrets that were made for a connection, which has to be gone. One that is protected or that another connection uses stays
    /// and is the tenant's own from now on.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn delete_owned_secrets(&mut self, connection: ConnectionId) -> Result<Vec<SecretId>> {
        for sql in [
            "UPDATE secret SET owner_connection = NULL WHERE owner_connection = ? \
             AND (protected OR EXISTS (SELECT 1 FROM connection WHERE secret_id = secret.id OR md5_secret_id = secret.id))",
            "DELETE FROM tag WHERE owner IN (SELECT id FROM secret WHERE owner_connection = ?)",
        ] {
            sqlx::query(sql).bind(blob(connection.0)).execute(self.connection()).await?;
        }
        let rows = sqlx::query("DELETE FROM secret WHERE owner_connection = ? RETURNING id")
            .bind(blob(connection.0))
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(|row| row.id("id")).collect()
    }
}
