//! How nodes join and leave, and how much they carry.

use std::net::SocketAddr;

use causeway_model::diagnosis::NodeFacts;
use causeway_model::placement::Load;
use causeway_model::{NodeId, ProjectId, Timestamp, VpcId, VpnGatewayId};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::row::{RowExt, blob, to_json};
use crate::{Reader, Result, Writer};

/// A join token; its secret is kept by nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTokenRecord {
    /// Id.
    pub id: Uuid,
    /// The zone of the node that uses it.
    pub zone: String,
    /// What it is for.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it works.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
    /// By which node.
    pub node: Option<NodeId>,
}

/// What a node said last of itself, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeContact {
    /// When that was heard.
    pub at: Timestamp,
    /// From where its channel came.
    pub peer: Option<SocketAddr>,
    /// What it said.
    pub facts: NodeFacts,
}

/// The authority of the service's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAuthorityRecord {
    /// Id.
    pub id: Uuid,
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its key in an envelope.
    pub key: Vec<u8>,
}

fn token(row: &SqliteRow) -> Result<JoinTokenRecord> {
    Ok(JoinTokenRecord {
        id: row.id("id")?,
        zone: row.text("zone")?,
        description: row.text("description")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        used_at: row.opt_time("used_at")?,
        node: row.opt_id("node_id")?,
    })
}

impl Reader {
    /// What a node said last of itself, and from where.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn node_contact(&mut self, id: NodeId) -> Result<Option<NodeContact>> {
        let row = sqlx::query("SELECT contact FROM node WHERE id = ?").bind(blob(id.0));
        let row = row.fetch_optional(self.connection()).await?;
        row.as_ref().map_or(Ok(None), |row| row.opt_json("contact"))
    }

    /// What each node has said of itself last, where it has said anything; those that were revoked left out.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn node_contacts(&mut self) -> Result<Vec<(NodeId, NodeContact)>> {
        let sql = "SELECT id, contact FROM node WHERE contact IS NOT NULL AND revoked_at IS NULL ORDER BY seq";
        let rows = sqlx::query(sql).fetch_all(self.connection()).await?;
        let contact = |row: &SqliteRow| Ok(row.opt_json("contact")?.map(|contact| Ok((row.id("id")?, contact))));
        rows.iter().filter_map(|row| contact(row).transpose()).map(Result::flatten).collect()
    }

    /// Since when a node has owed the acknowledgement of something that it carries.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn node_pending_since(&mut self, id: NodeId) -> Result<Option<Timestamp>> {
        let sql = "SELECT min(since) AS since FROM (SELECT pending_since AS since FROM vpn_gateway WHERE node_id = ?1 \
                   UNION ALL SELECT connection.pending_since FROM connection JOIN vpn_gateway ON vpn_gateway.id = vpn_gateway_id \
                   WHERE node_id = ?1)";
        let row = sqlx::query(sql).bind(blob(id.0)).fetch_optional(self.connection()).await?;
        row.as_ref().map_or(Ok(None), |row| row.opt_time("since"))
    }

    /// The authority of the service's nodes, once it was made.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn node_authority(&mut self) -> Result<Option<NodeAuthorityRecord>> {
        let row = sqlx::query("SELECT id, certificate, key FROM node_authority ORDER BY seq DESC LIMIT 1")
            .fetch_optional(self.connection())
            .await?;
        let record = |row: SqliteRow| {
            Ok(NodeAuthorityRecord { id: row.id("id")?, certificate: row.text("certificate")?, key: row.bytes("key")? })
        };
        row.map(record).transpose()
    }

    /// Every join token, newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn join_tokens(&mut self) -> Result<Vec<JoinTokenRecord>> {
        let rows = sqlx::query("SELECT * FROM node_join_token ORDER BY seq DESC").fetch_all(self.connection()).await?;
        rows.iter().map(token).collect()
    }

    /// The join token with this hash.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn join_token(&mut self, hash: &[u8; 32]) -> Result<Option<JoinTokenRecord>> {
        let row = sqlx::query("SELECT * FROM node_join_token WHERE hash = ?")
            .bind(hash.as_slice())
            .fetch_optional(self.connection())
            .await?;
        row.as_ref().map(token).transpose()
    }

    /// What each node of a zone carries that may carry more: healthy, not cordoned, not revoked; and how many of `project`'s gateways and of `vpc`'s.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn node_loads(
        &mut self,
        zone: &str,
        project: Option<ProjectId>,
        vpc: Option<VpcId>,
    ) -> Result<Vec<Load>> {
        let rows = sqlx::query(
            "SELECT node.id, node.max_bandwidth, node.max_connections, count(gateway.id) AS gateways, \
             coalesce(sum(type.bandwidth), 0) AS bandwidth, coalesce(sum(type.allowed_connections), 0) AS connections, \
             count(CASE WHEN gateway.project_id = ? AND gateway.gone_at IS NULL THEN 1 END) AS kin, \
             count(CASE WHEN network.vpc_id = ? AND gateway.deleting_since IS NULL THEN 1 END) AS siblings, \
             node.enrolled_at IS NOT NULL AND node.peering IS NOT NULL AS meets \
             FROM node LEFT JOIN vpn_gateway AS gateway ON gateway.node_id = node.id \
             LEFT JOIN private_network AS network ON network.id = gateway.private_network_id \
             LEFT JOIN gateway_type AS type ON type.name = gateway.gateway_type \
             WHERE node.zone = ? AND node.state IN ('up', 'config_fail') AND node.cordoned = 0 AND node.revoked_at IS NULL \
             GROUP BY node.id ORDER BY node.seq",
        )
        .bind(project.map(|project| blob(project.0)))
        .bind(vpc.map(|vpc| blob(vpc.0)))
        .bind(zone)
        .fetch_all(self.connection())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Load {
                    node: row.id("id")?,
                    max_bandwidth: row.opt_number("max_bandwidth")?,
                    max_connections: row.opt_number("max_connections")?,
                    bandwidth: row.number("bandwidth")?,
                    connections: row.number("connections")?,
                    gateways: row.number("gateways")?,
                    kin: row.number("kin")?,
                    siblings: row.number("siblings")?,
                    meets: row.flag("meets")?,
                })
            })
            .collect()
    }

    /// The node of a zone on which the first link to a VPC ends.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn link_home(&mut self, vpc: VpcId, zone: &str) -> Result<Option<NodeId>> {
        let row = sqlx::query(
            "SELECT link.node_id FROM link JOIN node ON node.id = link.node_id \
             WHERE link.vpc_id = ? AND node.zone = ? AND link.removing_revision IS NULL ORDER BY link.seq LIMIT 1",
        )
        .bind(blob(vpc.0))
        .bind(zone)
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| row.id("node_id")).transpose()
    }
}

impl Writer {
    /// Keeps what a node said of itself.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_node_contact(&mut self, id: NodeId, contact: &NodeContact) -> Result<()> {
        self.change("UPDATE node SET contact = ? WHERE id = ?", |values| {
            values.push_bind(to_json(contact)).push_bind(blob(id.0));
        })
        .await
    }

    /// Keeps the authority of the service's nodes.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_node_authority(&mut self, record: &NodeAuthorityRecord) -> Result<()> {
        sqlx::query("INSERT INTO node_authority (id, certificate, key) VALUES (?, ?, ?)")
            .bind(blob(record.id))
            .bind(&record.certificate)
            .bind(&record.key)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Adds a join token.
    ///
    /// # Errors
    /// If its zone does not exist.
    pub async fn insert_join_token(&mut self, record: &JoinTokenRecord, hash: &[u8; 32]) -> Result<()> {
        sqlx::query(
            "INSERT INTO node_join_token (id, hash, zone, description, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(blob(record.id))
        .bind(hash.as_slice())
        .bind(&record.zone)
        .bind(&record.description)
        .bind(record.created_at.0)
        .bind(record.expires_at.0)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Removes a join token.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn delete_join_token(&mut self, id: Uuid) -> Result<()> {
        sqlx::query("DELETE FROM node_join_token WHERE id = ?").bind(blob(id)).execute(self.connection()).await?;
        Ok(())
    }

    /// A node joins by a token, which is used up.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn enrol_node(
        &mut self,
        token: &JoinTokenRecord,
        (id, name, version): (NodeId, &str, &str),
        now: Timestamp,
    ) -> Result<()> {
        sqlx::query("UPDATE node_join_token SET used_at = ?, node_id = ? WHERE id = ? AND used_at IS NULL")
            .bind(now.0)
            .bind(blob(id.0))
            .bind(blob(token.id))
            .execute(self.connection())
            .await?;
        sqlx::query(
            "INSERT INTO node (id, zone, boot, version, state, state_since, silent, revision, applied_revision, name, enrolled_at) \
             VALUES (?1, ?2, ?3, ?4, 'waiting', ?5, 1, 1, 0, ?6, ?5)",
        )
        .bind(blob(id.0))
        .bind(&token.zone)
        .bind(blob(Uuid::nil()))
        .bind(version)
        .bind(now.0)
        .bind(name)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Sets what an operator decides about a node.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_node_settings(
        &mut self,
        id: NodeId,
        name: &str,
        cordoned: bool,
        (max_bandwidth, max_connections): (Option<u64>, Option<u64>),
    ) -> Result<()> {
        let signed = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
        sqlx::query("UPDATE node SET name = ?, cordoned = ?, max_bandwidth = ?, max_connections = ? WHERE id = ?")
            .bind(name)
            .bind(cordoned)
            .bind(signed(max_bandwidth))
            .bind(signed(max_connections))
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// A node is none any more.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn revoke_node(&mut self, id: NodeId, now: Timestamp) -> Result<()> {
        sqlx::query("UPDATE node SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?")
            .bind(now.0)
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Takes a gateway off its node, or notes why it is on none: there is no room, or no node.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn unplace_gateway(&mut self, id: VpnGatewayId, no_room: bool) -> Result<()> {
        sqlx::query("UPDATE vpn_gateway SET node_id = NULL, leaving_revision = NULL, no_room = ? WHERE id = ?")
            .bind(no_room)
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
