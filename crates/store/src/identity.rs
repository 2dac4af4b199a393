//! Organizations, projects, API keys, and the catalogue that the operator seeds: settings, zones, types, pools.

use causeway_model::command::ListQuery;
use causeway_model::resource::{GatewayType, Role};
use causeway_model::{OrganizationId, PartnerId, ProjectId, Timestamp};
use ipnet::IpNet;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;

use crate::list::named;
use crate::row::{RowExt, blob, id_array, word};
use crate::{Reader, Result, Writer};

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Project {
    /// Id.
    pub id: ProjectId,
    /// Its organization.
    pub organization_id: OrganizationId,
    /// Name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// `fd` and 40 random bits: the /48 that its Private Networks' IPv6 subnets come from (RFC 4193 §3.1).
    pub ula: [u8; 6],
    /// Creation.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// An API key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// `SCW` and 17 characters: its public name.
    pub access_key: String,
    /// What it may do.
    pub role: Role,
    /// Its project.
    pub project_id: ProjectId,
    /// That project's organization.
    pub organization_id: OrganizationId,
    /// The partner whose links it shows: a partner's key has one.
    pub partner_id: Option<PartnerId>,
    /// Free text.
    pub description: String,
    /// Creation.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
}

/// A prefix of a zone's public addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The zone.
    pub zone: String,
    /// The prefix.
    pub prefix: IpNet,
}

pub(crate) fn project(row: &SqliteRow) -> Result<Project> {
    let ula = row.bytes("ula")?;
    Ok(Project {
        id: row.id("id")?,
        organization_id: row.id("organization_id")?,
        name: row.text("name")?,
        description: row.text("description")?,
        ula: ula
            .try_into()
            .map_err(|_| crate::StoreError::Corrupt { column: "ula", problem: "not 6 octets".into() })?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub(crate) fn api_key(row: &SqliteRow) -> Result<ApiKey> {
    Ok(ApiKey {
        access_key: row.text("access_key")?,
        role: row.word("role")?,
        project_id: row.id("project_id")?,
        organization_id: row.id("organization_id")?,
        partner_id: row.opt_id("partner_id")?,
        description: row.text("description")?,
        created_at: row.time("created_at")?,
        expires_at: row.opt_time("expires_at")?,
        revoked_at: row.opt_time("revoked_at")?,
    })
}

impl Reader {
    /// A setting.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn setting(&mut self, key: &str) -> Result<Option<String>> {
        let row =
            sqlx::query("SELECT value FROM setting WHERE key = ?").bind(key).fetch_optional(self.connection()).await?;
        row.map(|row| row.text("value")).transpose()
    }

    /// A project.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn project(&mut self, id: ProjectId) -> Result<Option<Project>> {
        self.row("project", id.0).await?.as_ref().map(project).transpose()
    }

    /// A page of projects and their count; of some of them or all.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn projects(&mut self, only: Option<&[ProjectId]>, list: &ListQuery) -> Result<(Vec<Project>, u64)> {
        let mut query =
            sqlx::QueryBuilder::<sqlx::Sqlite>::new("SELECT seq, name, created_at, updated_at FROM project WHERE 1");
        if let Some(ids) = only {
            query.push(" AND id IN (SELECT unhex(value) FROM json_each(");
            query.push_bind(id_array(ids.iter().map(|id| id.0))).push("))");
        }
        if let Some(id) = list.organization_id {
            query.push(" AND organization_id = ").push_bind(blob(id.0));
        }
        let (page, total) = named(&query.build().fetch_all(self.connection()).await?, list)?;
        let rows = self.rows_in_order("project", &page).await?;
        Ok((rows.iter().map(project).collect::<Result<_>>()?, total))
    }

    /// How many projects an organization has.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn project_count(&mut self, organization: OrganizationId) -> Result<u64> {
        sqlx::query("SELECT count(*) AS total FROM project WHERE organization_id = ?")
            .bind(blob(organization.0))
            .fetch_one(self.connection())
            .await?
            .number("total")
    }

    /// The key whose secret has this SHA-256.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn api_key_by_hash(&mut self, hash: &[u8; 32]) -> Result<Option<ApiKey>> {
        let row = sqlx::query(
            "SELECT api_key.*, project.organization_id FROM api_key JOIN project ON project.id = api_key.project_id WHERE secret_hash = ?",
        )
        .bind(hash.as_slice())
        .fetch_optional(self.connection())
        .await?;
        row.as_ref().map(api_key).transpose()
    }

    /// A key by its public name.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn api_key(&mut self, access_key: &str) -> Result<Option<ApiKey>> {
        let row = sqlx::query(
            "SELECT api_key.*, project.organization_id FROM api_key JOIN project ON project.id = api_key.project_id WHERE access_key = ?",
        )
        .bind(access_key)
        .fetch_optional(self.connection())
        .await?;
        row.as_ref().map(api_key).transpose()
    }

    /// The zones in the operator's order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn zones(&mut self) -> Result<Vec<String>> {
        let rows = sqlx::query("SELECT name FROM zone ORDER BY position").fetch_all(self.connection()).await?;
        rows.iter().map(|row| row.text("name")).collect()
    }

    /// The public prefixes of a zone in the operator's order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn public_pools(&mut self, zone: &str) -> Result<Vec<IpNet>> {
        let rows = sqlx::query("SELECT prefix FROM public_pool WHERE zone = ? ORDER BY position")
            .bind(zone)
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(|row| row.parse("prefix")).collect()
    }

    /// The catalogue of gateway types in the operator's order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn gateway_types(&mut self, region: &str) -> Result<Vec<GatewayType>> {
        let rows = sqlx::query(
            "SELECT gateway_type.*, (SELECT coalesce(json_group_array(zone.name ORDER BY zone.position), '[]') FROM gateway_type_zone \
             JOIN zone ON zone.name = gateway_type_zone.zone WHERE gateway_type_zone.gateway_type = gateway_type.name AND zone.region = ?) \
             AS zones FROM gateway_type ORDER BY position",
        )
        .bind(region)
        .fetch_all(self.connection())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(GatewayType {
                    name: row.text("name")?,
                    bandwidth: row.number("bandwidth")?,
                    allowed_connections: row.number("allowed_connections")?,
                    zones: row.json("zones")?,
                    region: region.to_owned(),
                })
            })
            .collect()
    }
}

impl Writer {
    /// Sets a setting.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_setting(&mut self, key: &str, value: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(key)
        .bind(value)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Adds an organization.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_organization(&mut self, id: OrganizationId, name: &str, now: Timestamp) -> Result<()> {
        sqlx::query("INSERT INTO organization (id, name, created_at) VALUES (?, ?, ?)")
            .bind(blob(id.0))
            .bind(name)
            .bind(now.0)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Adds a project.
    ///
    /// # Errors
    /// If the database fails, or its ULA bits are another project's.
    pub async fn insert_project(&mut self, project: &Project) -> Result<()> {
        sqlx::query(
            "INSERT INTO project (id, organization_id, name, description, ula, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(blob(project.id.0))
        .bind(blob(project.organization_id.0))
        .bind(&project.name)
        .bind(&project.description)
        .bind(project.ula.as_slice())
        .bind(project.created_at.0)
        .bind(project.updated_at.0)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Adds an API key.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_api_key(&mut self, key: &ApiKey, hash: &[u8; 32]) -> Result<()> {
        sqlx::query(
            "INSERT INTO api_key (access_key, secret_hash, role, project_id, partner_id, description, created_at, expires_at, \
             revoked_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&key.access_key)
        .bind(hash.as_slice())
        .bind(word(key.role))
        .bind(blob(key.project_id.0))
        .bind(key.partner_id.map(|id| blob(id.0)))
        .bind(&key.description)
        .bind(key.created_at.0)
        .bind(key.expires_at.map(|time| time.0))
        .bind(key.revoked_at.map(|time| time.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Adds a zone with its public prefixes.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_zone(&mut self, zone: &str, region: &str, position: u32, pools: &[IpNet]) -> Result<()> {
        sqlx::query("INSERT INTO zone (name, position, region) VALUES (?, ?, ?)")
            .bind(zone)
            .bind(position)
            .bind(region)
            .execute(self.connection())
            .await?;
        for (position, prefix) in pools.iter().enumerate() {
            sqlx::query("INSERT INTO public_pool (zone, prefix, position) VALUES (?, ?, ?)")
                .bind(zone)
                .bind(prefix.trunc().to_string())
                .bind(i64::try_from(position).unwrap_or(i64::MAX))
                .execute(self.connection())
                .await?;
        }
        Ok(())
    }

    /// Adds a gateway type.
    ///
    /// # Errors
    /// If the database fails, or a zone does not exist.
    pub async fn insert_gateway_type(&mut self, gateway_type: &GatewayType, position: u32) -> Result<()> {
        sqlx::query("INSERT INTO gateway_type (name, position, bandwidth, allowed_connections) VALUES (?, ?, ?, ?)")
            .bind(&gateway_type.name)
            .bind(position)
            .bind(i64::try_from(gateway_type.bandwidth).unwrap_or(i64::MAX))
            .bind(gateway_type.allowed_connections)
            .execute(self.connection())
            .await?;
        for zone in &gateway_type.zones {
            sqlx::query("INSERT INTO gateway_type_zone (gateway_type, zone) VALUES (?, ?)")
                .bind(&gateway_type.name)
                .bind(zone)
                .execute(self.connection())
                .await?;
        }
        Ok(())
    }
}
