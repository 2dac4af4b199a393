//! What a VPC's router is told beside its networks and routes, and what nodes say of it.

use std::collections::{BTreeMap, BTreeSet};

use causeway_model::acl::Acl;
use causeway_model::observed::{AclCounters, Refusal, VpcFacts};
use causeway_model::{Family, NodeId, PrivateNetworkId, Timestamp, VpcId};

use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};

use crate::row::{RowExt, blob, id_array, to_json};
use crate::{Reader, Result, Writer};

/// What the router of a VPC is told, its networks and routes excepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VpcConfig {
    /// Revision of routes, lists and attachments; 0 before the first.
    pub revision: u64,
    /// Since when a node owes its acknowledgement.
    pub pending_since: Option<Timestamp>,
    /// Whether gateways announce the custom routes.
    pub announce_custom_routes: bool,
    /// IPv4 list.
    pub acl_ipv4: Acl,
    /// IPv6 list.
    pub acl_ipv6: Acl,
}

/// What a node said of a VPC's router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcObserved {
    /// The node.
    pub node: NodeId,
    /// Revision in force.
    pub applied_revision: u64,
    /// What of the newest is not in force, and why.
    pub refusal: Option<Refusal>,
    /// The Private Networks that are not in place, and why.
    pub networks: BTreeMap<PrivateNetworkId, Refusal>,
    /// Counters of the lists in force.
    pub acl: AclCounters,
    /// When this was first said.
    pub observed_at: Timestamp,
}

/// What the node of its router owes a gateway's VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcOwed {
    /// The newest revision, which is not in force.
    pub revision: u64,
    /// Since when.
    pub since: Option<Timestamp>,
    /// The node's last refusal.
    pub refusal: Option<Refusal>,
}

/// A bridge or interface that the operator has named for a Private Network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The Private Network.
    pub network: PrivateNetworkId,
    /// The bridge or interface.
    pub interface: String,
    /// When it was first named.
    pub created_at: Timestamp,
    /// When it was named last.
    pub updated_at: Timestamp,
}

const CONFIG: &str = "SELECT id, config_revision, pending_since, custom_routes_propagation_enabled, \
     (SELECT acl FROM vpc_acl WHERE vpc_id = vpc.id AND is_ipv6 = 0) AS acl_ipv4, \
     (SELECT acl FROM vpc_acl WHERE vpc_id = vpc.id AND is_ipv6 = 1) AS acl_ipv6 FROM vpc";

fn config(row: &SqliteRow) -> Result<VpcConfig> {
    Ok(VpcConfig {
        revision: row.number("config_revision")?,
        pending_since: row.opt_time("pending_since")?,
        announce_custom_routes: row.flag("custom_routes_propagation_enabled")?,
        acl_ipv4: row.opt_json("acl_ipv4")?.unwrap_or_default(),
        acl_ipv6: row.opt_json("acl_ipv6")?.unwrap_or_default(),
    })
}

/// What the node of its router owes a gateway's VPC, from a row that is joined with it; `None`: nothing.
pub(crate) fn vpc_owed(row: &SqliteRow) -> Result<Option<VpcOwed>> {
    let Some(revision) = row.opt_number("owed_revision")? else { return Ok(None) };
    Ok(Some(VpcOwed { revision, since: row.opt_time("owed_since")?, refusal: row.opt_json("owed_refusal")? }))
}

/// Which VPCs a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Among {
    /// All of them.
    All,
    /// These.
    Some(BTreeSet<VpcId>),
}

impl Among {
    /// That the VPC in this column is one of them.
    pub(crate) fn condition(&self, column: &str) -> String {
        match self {
            Self::All => "true".to_owned(),
            Self::Some(_) => format!("{column} IN (SELECT unhex(value) FROM json_each(?))"),
        }
    }

    /// The value of the `?` in [`Self::condition`], if it has one.
    pub(crate) fn bind<'q>(&self, query: Query<'q, Sqlite, SqliteArguments>) -> Query<'q, Sqlite, SqliteArguments> {
        match self {
            Self::All => query,
            Self::Some(vpcs) => query.bind(id_array(vpcs.iter().map(|vpc| vpc.0))),
        }
    }
}

impl Reader {
    /// The VPCs that a node may have to know because of what is on it: those of its routers, of its gateways, and of the links that end on it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpcs_of_node(&mut self, node: NodeId) -> Result<BTreeSet<VpcId>> {
        let rows = sqlx::query(
            "SELECT vpc_id AS id FROM vpc_router WHERE node_id = ?1 UNION SELECT network.vpc_id FROM vpn_gateway AS gateway \
             JOIN private_network AS network ON network.id = gateway.private_network_id WHERE gateway.node_id = ?1 \
             UNION SELECT vpc_id FROM link WHERE node_id = ?1 AND vpc_id IS NOT NULL",
        )
        .bind(blob(node.0))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.id("id")).collect()
    }

    /// The interfaces that Private Networks are mapped to.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn interfaces(&mut self, among: &Among) -> Result<BTreeMap<PrivateNetworkId, String>> {
        let sql = format!(
            "SELECT network.id, interface FROM private_network_attachment AS attachment \
             JOIN private_network AS network ON network.id = attachment.private_network_id WHERE {}",
            among.condition("network.vpc_id")
        );
        let rows = among.bind(sqlx::query(sqlx::AssertSqlSafe(sql))).fetch_all(self.connection()).await?;
        rows.iter().map(|row| Ok((row.id("id")?, row.text("interface")?))).collect()
    }

    /// What the VPCs of a region are told.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpc_configs(&mut self, region: &str, among: &Among) -> Result<BTreeMap<VpcId, VpcConfig>> {
        let sql = format!("{CONFIG} WHERE region = ? AND {}", among.condition("id"));
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(region);
        let rows = among.bind(query).fetch_all(self.connection()).await?;
        rows.iter().map(|row| Ok((row.id("id")?, config(row)?))).collect()
    }

    /// What a VPC is told.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpc_config(&mut self, id: VpcId) -> Result<VpcConfig> {
        let sql = format!("{CONFIG} WHERE id = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(blob(id.0)).fetch_optional(self.connection()).await?;
        row.map_or_else(|| Ok(VpcConfig::default()), |row| config(&row))
    }

    /// The list of one family.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpc_acl(&mut self, id: VpcId, family: Family) -> Result<Acl> {
        let row = sqlx::query("SELECT acl FROM vpc_acl WHERE vpc_id = ? AND is_ipv6 = ?")
            .bind(blob(id.0))
            .bind(family.is_ipv6())
            .fetch_optional(self.connection())
            .await?;
        row.map_or_else(|| Ok(Acl::default()), |row| row.json("acl"))
    }

    /// What nodes say of a VPC's routers, and whether every node that has one because of gateways says something.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpc_observed(&mut self, id: VpcId) -> Result<(Vec<VpcObserved>, bool)> {
        let rows = sqlx::query("SELECT * FROM vpc_observed WHERE vpc_id = ? ORDER BY node_id")
            .bind(blob(id.0))
            .fetch_all(self.connection())
            .await?;
        let observed = rows.iter().map(|row| {
            Ok(VpcObserved {
                node: row.id("node_id")?,
                applied_revision: row.number("applied_revision")?,
                refusal: row.opt_json("refusal")?,
                networks: row.json("networks")?,
                acl: row.json("acl")?,
                observed_at: row.time("observed_at")?,
            })
        });
        let observed = observed.collect::<Result<Vec<_>>>()?;
        let silent = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM vpc_router AS router WHERE router.vpc_id = ?1 AND NOT EXISTS \
             (SELECT 1 FROM vpc_observed WHERE vpc_id = ?1 AND vpc_observed.node_id = router.node_id)) AS silent",
        )
        .bind(blob(id.0))
        .fetch_one(self.connection())
        .await?
        .flag("silent")?;
        Ok((observed, !silent))
    }

    /// Every attachment, the oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn attachments(&mut self) -> Result<Vec<Attachment>> {
        let rows = sqlx::query("SELECT * FROM private_network_attachment ORDER BY created_at, private_network_id")
            .fetch_all(self.connection())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Attachment {
                    network: row.id("private_network_id")?,
                    interface: row.text("interface")?,
                    created_at: row.time("created_at")?,
                    updated_at: row.time("updated_at")?,
                })
            })
            .collect()
    }
}

impl Writer {
    /// Sets the list of one family.
    ///
    /// # Errors
    /// If the VPC does not exist.
    pub async fn set_vpc_acl(&mut self, id: VpcId, family: Family, acl: &Acl) -> Result<()> {
        sqlx::query(
            "INSERT INTO vpc_acl (vpc_id, is_ipv6, acl) VALUES (?1, ?2, ?3) ON CONFLICT (vpc_id, is_ipv6) DO UPDATE SET acl = ?3",
        )
        .bind(blob(id.0))
        .bind(family.is_ipv6())
        .bind(to_json(acl))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Sets whether gateways announce a VPC's custom routes.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_custom_routes_propagation(&mut self, id: VpcId, enabled: bool) -> Result<()> {
        sqlx::query("UPDATE vpc SET custom_routes_propagation_enabled = ? WHERE id = ?")
            .bind(enabled)
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The next revision of what a VPC's router is told.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn bump_vpc(&mut self, id: VpcId, now: Timestamp) -> Result<()> {
        sqlx::query(
            "UPDATE vpc SET config_revision = config_revision + 1, pending_since = coalesce(pending_since, ?) WHERE id = ?",
        )
        .bind(now.0)
        .bind(blob(id.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Stores what a node says of the VPCs' routers that it has; what it does not name it does not run, and of those that another node of its zone
    /// has it knows nothing.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_vpcs_observed(&mut self, node: NodeId, facts: &[VpcFacts], now: Timestamp) -> Result<()> {
        let rows = sqlx::query("SELECT * FROM vpc_observed WHERE node_id = ?")
            .bind(blob(node.0))
            .fetch_all(self.connection())
            .await?;
        let mut known = BTreeMap::new();
        for row in &rows {
            let id: VpcId = row.id("vpc_id")?;
            let (applied, refused) = (row.number("applied_revision")?, row.opt_json("refusal")?);
            known.insert(id, VpcFacts { id, applied, refused, networks: row.json("networks")?, acl: row.json("acl")? });
        }
        let mut settled = true;
        for said in facts {
            let before = known.remove(&said.id);
            if before.as_ref() == Some(said) {
                continue;
            }
            settled &= before.is_some_and(|before| before.applied == said.applied);
            // A report may still name a VPC that was deleted.
            sqlx::query(
                "INSERT INTO vpc_observed (vpc_id, node_id, applied_revision, refusal, acl, observed_at, networks) \
                 SELECT id, ?2, ?3, ?4, ?5, ?6, ?7 FROM vpc WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM vpc_router AS router \
                 JOIN node ON node.zone = router.zone WHERE router.vpc_id = ?1 AND node.id = ?2 AND router.node_id <> ?2) ON CONFLICT (vpc_id, node_id) DO UPDATE SET \
                 applied_revision = ?3, refusal = ?4, acl = ?5, observed_at = ?6, networks = ?7",
            )
            .bind(blob(said.id.0))
            .bind(blob(node.0))
            .bind(i64::try_from(said.applied).unwrap_or(i64::MAX))
            .bind(said.refused.as_ref().map(to_json))
            .bind(to_json(&said.acl))
            .bind(now.0)
            .bind(to_json(&said.networks))
            .execute(self.connection())
            .await?;
        }
        for gone in known.keys() {
            settled = false;
            sqlx::query("DELETE FROM vpc_observed WHERE vpc_id = ? AND node_id = ?")
                .bind(blob(gone.0))
                .bind(blob(node.0))
                .execute(self.connection())
                .await?;
        }
        if settled { Ok(()) } else { self.settle_vpcs(now).await }
    }

    /// Begins and ends what nodes owe VPCs, after what they run has changed.
    async fn settle_vpcs(&mut self, now: Timestamp) -> Result<()> {
        sqlx::query(
            "UPDATE vpc SET pending_since = NULL WHERE pending_since IS NOT NULL \
             AND EXISTS (SELECT 1 FROM vpc_observed WHERE vpc_id = vpc.id) \
             AND NOT EXISTS (SELECT 1 FROM vpc_observed WHERE vpc_id = vpc.id AND applied_revision < config_revision) \
             AND NOT EXISTS (SELECT 1 FROM vpc_router AS router WHERE router.vpc_id = vpc.id AND NOT EXISTS \
             (SELECT 1 FROM vpc_observed WHERE vpc_observed.vpc_id = vpc.id AND vpc_observed.node_id = router.node_id))",
        )
        .execute(self.connection())
        .await?;
        sqlx::query(
            "UPDATE vpc SET pending_since = ? WHERE pending_since IS NULL AND config_revision > 0 AND NOT EXISTS \
             (SELECT 1 FROM vpc_observed WHERE vpc_id = vpc.id AND applied_revision >= config_revision)",
        )
        .bind(now.0)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Names a bridge or interface for a Private Network.
    ///
    /// # Errors
    /// If another one has it.
    pub async fn set_attachment(&mut self, id: PrivateNetworkId, interface: &str, now: Timestamp) -> Result<()> {
        sqlx::query(
            "INSERT INTO private_network_attachment (private_network_id, interface, created_at, updated_at) VALUES (?1, ?2, ?3, ?3) \
             ON CONFLICT (private_network_id) DO UPDATE SET interface = ?2, updated_at = ?3",
        )
        .bind(blob(id.0))
        .bind(interface)
        .bind(now.0)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Lets the node make the Private Network's bridge again.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn delete_attachment(&mut self, id: PrivateNetworkId) -> Result<()> {
        sqlx::query("DELETE FROM private_network_attachment WHERE private_network_id = ?")
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
