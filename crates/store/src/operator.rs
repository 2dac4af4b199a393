//! What the operator manages: projects, keys, quotas, the catalogue, zones and their pools, and what is billed.

use causeway_model::command::ListQuery;
use causeway_model::resource::{GatewayType, Role};
use causeway_model::{PartnerId, ProjectId, Timestamp};
use ipnet::IpNet;
use sqlx::{QueryBuilder, Sqlite};
use uuid::Uuid;

use crate::identity::{ApiKey, api_key};
use crate::list::{Scope, window};
use crate::row::{RowExt, address_blob, blob, word};
use crate::{Reader, Result, Writer};

/// What one resource was used for and costs; hours and amounts are the caller's arithmetic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The object.
    pub resource_id: Uuid,
    /// The API's name of the kind: `vpn_gateway`.
    pub kind: String,
    /// Its last name.
    pub name: String,
    /// Its project.
    pub project_id: ProjectId,
    /// Its region.
    pub region: String,
    /// Its zone.
    pub zone: String,
    /// What was ordered: the gateway type's name.
    pub commercial_type: String,
    /// Millionths of the currency per hour, as agreed when it was ordered.
    pub price_per_hour: u64,
    /// From the order.
    pub started_at: Timestamp,
    /// Until its deletion.
    pub ended_at: Option<Timestamp>,
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Reader {
    /// Keys in the order of their creation, and how many there are.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn api_keys(
        &mut self,
        list: &ListQuery,
        role: Option<Role>,
        include_revoked: bool,
    ) -> Result<(Vec<ApiKey>, u64)> {
        let filter = |query: &mut QueryBuilder<Sqlite>| {
            query.push(" FROM api_key JOIN project ON project.id = api_key.project_id WHERE 1");
            if let Some(project) = list.project_id {
                query.push(" AND api_key.project_id = ").push_bind(blob(project.0));
            }
            if let Some(organization) = list.organization_id {
                query.push(" AND project.organization_id = ").push_bind(blob(organization.0));
            }
            if let Some(role) = role {
                query.push(" AND role = ").push_bind(word(role));
            }
            if !include_revoked {
                query.push(" AND revoked_at IS NULL");
            }
        };
        let mut count = QueryBuilder::new("SELECT count(*) AS total");
        filter(&mut count);
        let total = count.build().fetch_one(self.connection()).await?.number("total")?;
        let mut query = QueryBuilder::new("SELECT api_key.*, project.organization_id");
        filter(&mut query);
        let (limit, offset) = window(list.page, list.page_size);
        let direction = if list.descending { "DESC" } else { "ASC" };
        query.push(" ORDER BY api_key.created_at ").push(direction).push(", access_key ").push(direction);
        query.push(" LIMIT ").push_bind(limit).push(" OFFSET ").push_bind(offset);
        let rows = query.build().fetch_all(self.connection()).await?;
        Ok((rows.iter().map(api_key).collect::<Result<_>>()?, total))
    }

    /// How many keys of a role work at `now`.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn live_keys(&mut self, role: Role, now: Timestamp) -> Result<u64> {
        sqlx::query(
            "SELECT count(*) AS total FROM api_key WHERE role = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)",
        )
        .bind(word(role))
        .bind(now.0)
        .fetch_one(self.connection())
        .await?
        .number("total")
    }

    /// The quota of a project for a kind of objects, if it is not the default, and how many objects there are.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn quota(&mut self, project: ProjectId, resource: &str) -> Result<(Option<u64>, u64)> {
        let row = sqlx::query(
            "SELECT (SELECT quota FROM project_quota WHERE project_id = ?1 AND resource = ?2) AS quota, \
             coalesce((SELECT used FROM project_usage WHERE project_id = ?1 AND resource = ?2), 0) AS used",
        )
        .bind(blob(project.0))
        .bind(resource)
        .fetch_one(self.connection())
        .await?;
        Ok((row.opt_number("quota")?, row.number("used")?))
    }

    /// How many objects a project has of all kinds, those that came along with others and those still reserved included, and how many keys
    /// that are not revoked.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn project_contents(&mut self, project: ProjectId) -> Result<(u64, u64)> {
        let row = sqlx::query(
            "SELECT (SELECT coalesce(sum(used), 0) FROM project_usage WHERE project_id = ?1 \
              AND resource NOT IN ('routing_prefixes', 'secret_octets')) \
             + (SELECT count(*) FROM vpn_gateway WHERE project_id = ?1 AND gone_at IS NOT NULL) \
             + (SELECT count(*) FROM link WHERE project_id = ?1 AND deleted_at IS NOT NULL) \
             + (SELECT count(*) FROM ip WHERE project_id = ?1 AND allotted = 1) AS objects, \
             (SELECT count(*) FROM api_key WHERE project_id = ?1 AND revoked_at IS NULL) AS keys",
        )
        .bind(blob(project.0))
        .fetch_one(self.connection())
        .await?;
        Ok((row.number("objects")?, row.number("keys")?))
    }

    /// Millionths of the currency that an hour of a gateway type costs.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn gateway_type_price(&mut self, name: &str) -> Result<Option<u64>> {
        let row = sqlx::query("SELECT price_per_hour FROM gateway_type WHERE name = ?")
            .bind(name)
            .fetch_optional(self.connection())
            .await?;
        row.map(|row| row.number("price_per_hour")).transpose()
    }

    /// How many gateways of a type there are, those still reserved included.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn gateways_of_type(&mut self, name: &str) -> Result<u64> {
        sqlx::query("SELECT count(*) AS total FROM vpn_gateway WHERE gateway_type = ?")
            .bind(name)
            .fetch_one(self.connection())
            .await?
            .number("total")
    }

    /// What keeps a zone: gateways, nodes and addresses, in that order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn zone_contents(&mut self, zone: &str) -> Result<[u64; 3]> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM vpn_gateway WHERE zone = ?1) AS gateways, (SELECT count(*) FROM node WHERE zone = ?1) AS nodes, \
             (SELECT count(*) FROM ip WHERE zone = ?1) AS ips",
        )
        .bind(zone)
        .fetch_one(self.connection())
        .await?;
        Ok([row.number("gateways")?, row.number("nodes")?, row.number("ips")?])
    }

    /// What was used at any time from `from` on and before `to`, oldest first, and how many records there are.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn usage_rows(
        &mut self,
        region: &str,
        scope: Scope,
        project: Option<ProjectId>,
        (from, to): (Timestamp, Timestamp),
        (page, page_size): (u32, u32),
    ) -> Result<(Vec<UsageRow>, u64)> {
        let filter = |query: &mut QueryBuilder<Sqlite>| {
            query.push(" FROM usage_record WHERE region = ").push_bind(region.to_owned());
            match scope {
                Scope::All => {}
                Scope::Project(project) => _ = query.push(" AND project_id = ").push_bind(blob(project.0)),
                Scope::Nothing => _ = query.push(" AND 0"),
            }
            if let Some(project) = project {
                query.push(" AND project_id = ").push_bind(blob(project.0));
            }
            query.push(" AND started_at < ").push_bind(to.0);
            query.push(" AND (ended_at IS NULL OR ended_at > ").push_bind(from.0).push(")");
        };
        let mut count = QueryBuilder::new("SELECT count(*) AS total");
        filter(&mut count);
        let total = count.build().fetch_one(self.connection()).await?.number("total")?;
        let mut query = QueryBuilder::new("SELECT *");
        filter(&mut query);
        let (limit, offset) = window(page, page_size);
        query.push(" ORDER BY started_at, seq LIMIT ").push_bind(limit).push(" OFFSET ").push_bind(offset);
        let rows = query.build().fetch_all(self.connection()).await?;
        let rows = rows.iter().map(|row| {
            Ok(UsageRow {
                resource_id: row.id("resource_id")?,
                kind: row.text("kind")?,
                name: row.text("name")?,
                project_id: row.id("project_id")?,
                region: row.text("region")?,
                zone: row.text("zone")?,
                commercial_type: row.text("commercial_type")?,
                price_per_hour: row.number("price_per_hour")?,
                started_at: row.time("started_at")?,
                ended_at: row.opt_time("ended_at")?,
            })
        });
        Ok((rows.collect::<Result<_>>()?, total))
    }

    /// How many public addresses within a prefix are in use.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn used_in_pool(&mut self, prefix: &IpNet) -> Result<u64> {
        sqlx::query(
            "SELECT count(*) AS total FROM ip WHERE zone IS NOT NULL AND is_ipv6 = ? AND address BETWEEN ? AND ?",
        )
        .bind(matches!(prefix, IpNet::V6(_)))
        .bind(address_blob(prefix.network()))
        .bind(address_blob(prefix.broadcast()))
        .fetch_one(self.connection())
        .await?
        .number("total")
    }
}

impl Writer {
    /// Parts the revoked keys of a partner from it, so that it can go.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn forget_revoked_keys(&mut self, partner: PartnerId) -> Result<()> {
        sqlx::query("UPDATE api_key SET partner_id = NULL WHERE partner_id = ? AND revoked_at IS NOT NULL")
            .bind(blob(partner.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Sets a project's name and description.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_project(&mut self, id: ProjectId, name: &str, description: &str, now: Timestamp) -> Result<()> {
        sqlx::query("UPDATE project SET name = ?, description = ?, updated_at = ? WHERE id = ?")
            .bind(name)
            .bind(description)
            .bind(now.0)
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Removes an empty project with its revoked keys and its quotas.
    ///
    /// # Errors
    /// If an object still belongs to it.
    pub async fn delete_project(&mut self, id: ProjectId) -> Result<()> {
        sqlx::query("DELETE FROM api_key WHERE project_id = ? AND revoked_at IS NOT NULL")
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        sqlx::query("DELETE FROM project WHERE id = ?").bind(blob(id.0)).execute(self.connection()).await?;
        Ok(())
    }

    /// Revokes a key for good.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn revoke_api_key(&mut self, access_key: &str, now: Timestamp) -> Result<()> {
        sqlx::query("UPDATE api_key SET revoked_at = ? WHERE access_key = ? AND revoked_at IS NULL")
            .bind(now.0)
            .bind(access_key)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Sets a project's quota; `None`: the default again.
    ///
    /// # Errors
    /// If the project does not exist.
    pub async fn set_quota(&mut self, project: ProjectId, resource: &str, quota: Option<u64>) -> Result<()> {
        let Some(quota) = quota else {
            sqlx::query("DELETE FROM project_quota WHERE project_id = ? AND resource = ?")
                .bind(blob(project.0))
                .bind(resource)
                .execute(self.connection())
                .await?;
            return Ok(());
        };
        sqlx::query(
            "INSERT INTO project_quota (project_id, resource, quota) VALUES (?, ?, ?) \
             ON CONFLICT (project_id, resource) DO UPDATE SET quota = excluded.quota",
        )
        .bind(blob(project.0))
        .bind(resource)
        .bind(signed(quota))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Sets the price of a gateway type for gateways ordered from now on.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_gateway_type_price(&mut self, name: &str, price_per_hour: u64) -> Result<()> {
        sqlx::query("UPDATE gateway_type SET price_per_hour = ? WHERE name = ?")
            .bind(signed(price_per_hour))
            .bind(name)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Adds a gateway type after all others.
    ///
    /// # Errors
    /// If it exists, or a zone does not.
    pub async fn append_gateway_type(&mut self, gateway_type: &GatewayType) -> Result<()> {
        let position = sqlx::query("SELECT coalesce(max(position) + 1, 0) AS next FROM gateway_type")
            .fetch_one(self.connection())
            .await?
            .number("next")?;
        self.insert_gateway_type(gateway_type, position).await
    }

    /// Sets a gateway type's bandwidth, limit and zones.
    ///
    /// # Errors
    /// If a zone does not exist.
    pub async fn set_gateway_type(&mut self, gateway_type: &GatewayType) -> Result<()> {
        sqlx::query("UPDATE gateway_type SET bandwidth = ?, allowed_connections = ? WHERE name = ?")
            .bind(signed(gateway_type.bandwidth))
            .bind(gateway_type.allowed_connections)
            .bind(&gateway_type.name)
            .execute(self.connection())
            .await?;
        sqlx::query("DELETE FROM gateway_type_zone WHERE gateway_type = ?")
            .bind(&gateway_type.name)
            .execute(self.connection())
            .await?;
        for zone in &gateway_type.zones {
            self.offer_in(&gateway_type.name, zone).await?;
        }
        Ok(())
    }

    /// Removes a gateway type.
    ///
    /// # Errors
    /// If a gateway is of it.
    pub async fn delete_gateway_type(&mut self, name: &str) -> Result<()> {
        sqlx::query("DELETE FROM gateway_type WHERE name = ?").bind(name).execute(self.connection()).await?;
        Ok(())
    }

    /// Adds a zone without pools after all others.
    ///
    /// # Errors
    /// If it exists.
    pub async fn append_zone(&mut self, zone: &str, region: &str) -> Result<()> {
        let position = sqlx::query("SELECT coalesce(max(position) + 1, 0) AS next FROM zone")
            .fetch_one(self.connection())
            .await?
            .number("next")?;
        self.insert_zone(zone, region, position, &[]).await
    }

    /// Removes a zone with its pools; no gateway type is on offer there any more.
    ///
    /// # Errors
    /// If a gateway, a node or an address is in it.
    pub async fn delete_zone(&mut self, zone: &str) -> Result<()> {
        for sql in [
            "DELETE FROM public_pool WHERE zone = ?",
            "DELETE FROM gateway_type_zone WHERE zone = ?",
            "DELETE FROM zone WHERE name = ?",
        ] {
            sqlx::query(sql).bind(zone).execute(self.connection()).await?;
        }
        Ok(())
    }

    /// Adds a prefix to a zone's public addresses, after all others.
    ///
    /// # Errors
    /// If the zone has it already.
    pub async fn insert_public_pool(&mut self, zone: &str, prefix: &IpNet) -> Result<()> {
        sqlx::query(
            "INSERT INTO public_pool (zone, prefix, position) \
             VALUES (?1, ?2, (SELECT coalesce(max(position) + 1, 0) FROM public_pool WHERE zone = ?1))",
        )
        .bind(zone)
        .bind(prefix.trunc().to_string())
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Takes a prefix from a zone's public addresses.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn delete_public_pool(&mut self, zone: &str, prefix: &IpNet) -> Result<()> {
        sqlx::query("DELETE FROM public_pool WHERE zone = ? AND prefix = ?")
            .bind(zone)
            .bind(prefix.trunc().to_string())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    async fn offer_in(&mut self, gateway_type: &str, zone: &str) -> Result<()> {
        sqlx::query("INSERT OR IGNORE INTO gateway_type_zone (gateway_type, zone) VALUES (?, ?)")
            .bind(gateway_type)
            .bind(zone)
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
