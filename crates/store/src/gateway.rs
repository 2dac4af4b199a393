//! VPN gateways: the object, its configuration revision, its placement and its end.

use causeway_model::command::{ListQuery, VpnGatewayFilter};
use causeway_model::resource::VpnGateway;
use causeway_model::status::VpnGatewayStatus;
use causeway_model::{NodeId, PrivateNetworkId, Timestamp, VpcId, VpnGatewayId};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use crate::catalog::Filter;
use crate::fleet::{GatewayObserved, gateway_observed};
use crate::list::{Kind, Scope};
use crate::row::{RowExt, blob, id_array, word};
use crate::vpc::{VpcOwed, vpc_owed};
use crate::{Reader, Result, Writer};

/// A VPN gateway with everything that its status derives from, its node excepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRecord {
    /// The gateway.
    pub gateway: VpnGateway,
    /// Its Private Network's VPC.
    pub vpc: VpcId,
    /// Where it runs.
    pub node: Option<NodeId>,
    /// The node that has its VPC's router in its zone, while gateways of the VPC are placed there.
    pub router: Option<NodeId>,
    /// On no node, because none had room.
    pub no_room: bool,
    /// Since when it is off a node that was lost, until it is in force on another one.
    pub failover_since: Option<Timestamp>,
    /// The revision from which on its node shall not run it any more, since it goes to another one.
    pub leaving_revision: Option<u64>,
    /// The newest configuration.
    pub config_revision: u64,
    /// The one that the lock came with; means nothing of what is not locked.
    pub lock_revision: u64,
    /// Since when the node owes its acknowledgement.
    pub pending_since: Option<Timestamp>,
    /// The node's revision that no longer names it.
    pub deleting_revision: Option<u64>,
    /// Past its deletion's deadline; only the node's confirmation is awaited.
    pub gone: bool,
    /// The stored copy of the status.
    pub status: VpnGatewayStatus,
    /// What the node said last.
    pub observed: Option<GatewayObserved>,
    /// What the node of its VPC's router owes the VPC.
    pub vpc_owed: Option<VpcOwed>,
}

/// The columns and joins of a [`GatewayRecord`] after its connections.
macro_rules! gateway {
    ($connections:literal) => {
        concat!(
            "SELECT vpn_gateway.*, network.vpc_id, home.node_id AS router_id, ",
            $connections,
            " AS connection_ids, observed.applied_revision, observed.refusal, observed.ever_acknowledged, observed.observed_at, \
             CASE WHEN vpn_gateway.node_id IS NOT NULL AND vpc.config_revision > coalesce(router.applied_revision, 0) THEN vpc.config_revision END AS owed_revision, vpc.pending_since AS owed_since, router.refusal AS owed_refusal FROM vpn_gateway \
             JOIN private_network AS network ON network.id = vpn_gateway.private_network_id JOIN vpc ON vpc.id = network.vpc_id \
             LEFT JOIN vpc_router AS home ON home.vpc_id = vpc.id AND home.zone = vpn_gateway.zone \
             LEFT JOIN vpc_observed AS router ON router.vpc_id = vpc.id AND router.node_id = home.node_id \
             LEFT JOIN gateway_observed AS observed ON observed.gateway_id = vpn_gateway.id"
        )
    };
}

pub(crate) use gateway;

/// VPN gateways with all that a record holds, in one statement.
const GATEWAY: &str = gateway!(
    "(SELECT group_concat(hex(connection.id), '' ORDER BY connection.seq) FROM connection WHERE vpn_gateway_id = vpn_gateway.id)"
);

/// As [`GATEWAY`], without the connections.
const CARRIER: &str = concat!(gateway!("NULL"), " WHERE vpn_gateway.id IN (SELECT unhex(value) FROM json_each(?))");

pub(crate) fn record(row: &SqliteRow) -> Result<GatewayRecord> {
    Ok(GatewayRecord {
        gateway: VpnGateway {
            id: row.id("id")?,
            meta: row.meta()?,
            zone: row.text("zone")?,
            gateway_type: row.text("gateway_type")?,
            asn: row.number("asn")?,
            private_network_id: row.id("private_network_id")?,
            ipam_private_ipv4_id: row.id("ipam_private_ipv4_id")?,
            ipam_private_ipv6_id: row.id("ipam_private_ipv6_id")?,
            public_ipv4_id: row.opt_id("public_ipv4_id")?,
            public_ipv6_id: row.opt_id("public_ipv6_id")?,
            connection_ids: row.ids("connection_ids")?,
            deleting_since: row.opt_time("deleting_since")?,
            locked: row.flag("locked")?,
        },
        vpc: row.id("vpc_id")?,
        node: row.opt_id("node_id")?,
        router: row.opt_id("router_id")?,
        no_room: row.flag("no_room")?,
        failover_since: row.opt_time("failover_since")?,
        leaving_revision: row.opt_number("leaving_revision")?,
        config_revision: row.number("config_revision")?,
        lock_revision: row.number("lock_revision")?,
        pending_since: row.opt_time("pending_since")?,
        deleting_revision: row.opt_number("deleting_revision")?,
        gone: row.opt_time("gone_at")?.is_some(),
        status: row.word("status")?,
        observed: gateway_observed(row)?,
        vpc_owed: vpc_owed(row)?,
    })
}

impl GatewayRecord {
    /// What [`Writer::bump_gateway`] makes of it.
    pub fn bump(&mut self, now: Timestamp) {
        let refusal = self.observed.as_ref().and_then(|observed| observed.refusal.as_ref());
        if self.pending_since.is_none() || refusal.is_some_and(|refusal| refusal.revision == self.config_revision) {
            self.pending_since = Some(now);
        }
        self.config_revision += 1;
    }
}

impl Reader {
    /// A VPN gateway, unless it is gone.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpn_gateway(&mut self, id: VpnGatewayId) -> Result<Option<GatewayRecord>> {
        self.rows(GATEWAY, "vpn_gateway.id = ? AND vpn_gateway.gone_at IS NULL", id.0)
            .await?
            .first()
            .map(record)
            .transpose()
    }

    /// As [`Self::vpn_gateway`], with no `connection_ids`.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn carrier(&mut self, id: VpnGatewayId) -> Result<Option<GatewayRecord>> {
        Ok(self.carriers([id]).await?.pop().filter(|record| !record.gone))
    }

    /// The VPN gateways with these ids, in no order and with no `connection_ids`: what the statuses of connections derive from.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn carriers(&mut self, ids: impl IntoIterator<Item = VpnGatewayId>) -> Result<Vec<GatewayRecord>> {
        let ids = id_array(ids.into_iter().map(|id| id.0));
        sqlx::query(CARRIER).bind(ids).fetch_all(self.connection()).await?.iter().map(record).collect()
    }

    /// A page of VPN gateways.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpn_gateways(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filter: &VpnGatewayFilter,
    ) -> Result<(Vec<GatewayRecord>, u64)> {
        let filters = vec![
            Filter::texts("status", filter.statuses.iter().map(|status| status.as_str())),
            Filter::texts("gateway_type", filter.gateway_types.iter().cloned()),
            Filter::ids("private_network_id", filter.private_network_ids.iter().map(|id| id.0)),
        ];
        let (rows, total) = self.listed("vpn_gateway", GATEWAY, region, scope, list, filters).await?;
        Ok((rows.iter().map(record).collect::<Result<_>>()?, total))
    }

    /// The gateways of a node, those being deleted included, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn gateways_of_node(&mut self, node: NodeId) -> Result<Vec<GatewayRecord>> {
        self.rows(GATEWAY, "vpn_gateway.node_id = ? ORDER BY vpn_gateway.seq", node.0)
            .await?
            .iter()
            .map(record)
            .collect()
    }

    /// The gateways of a VPC, those that are gone excepted, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn gateways_of_vpc(&mut self, vpc: VpcId) -> Result<Vec<GatewayRecord>> {
        let condition = "network.vpc_id = ? AND vpn_gateway.gone_at IS NULL ORDER BY vpn_gateway.seq";
        self.rows(GATEWAY, condition, vpc.0).await?.iter().map(record).collect()
    }

    /// The gateways being deleted that are on no node, or began before `until`; oldest first, at most `limit`.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn gateways_to_end(&mut self, until: Timestamp, limit: u32) -> Result<Vec<GatewayRecord>> {
        let sql = format!(
            "{GATEWAY} WHERE vpn_gateway.deleting_since IS NOT NULL AND vpn_gateway.gone_at IS NULL \
             AND (vpn_gateway.node_id IS NULL OR vpn_gateway.deleting_since <= ?) ORDER BY vpn_gateway.deleting_since LIMIT ?"
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(until.0).bind(limit).fetch_all(self.connection()).await?;
        rows.iter().map(record).collect()
    }

    /// The gateways of a zone that wait for a node.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn unplaced_gateways(&mut self, zone: &str) -> Result<Vec<GatewayRecord>> {
        let sql = format!(
            "{GATEWAY} WHERE vpn_gateway.zone = ? AND vpn_gateway.node_id IS NULL AND deleting_since IS NULL ORDER BY vpn_gateway.seq"
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(zone).fetch_all(self.connection()).await?;
        rows.iter().map(record).collect()
    }

    /// The VPN gateways on a Private Network, gone ones included: their addresses are still reserved.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn gateways_on_network(&mut self, id: PrivateNetworkId) -> Result<u64> {
        sqlx::query("SELECT count(*) AS total FROM vpn_gateway WHERE private_network_id = ?")
            .bind(blob(id.0))
            .fetch_one(self.connection())
            .await?
            .number("total")
    }
}

impl Writer {
    /// Adds a VPN gateway, whose addresses exist already; its first configuration is revision 1 and owed from its creation on.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_vpn_gateway(&mut self, gateway: &VpnGateway, node: Option<NodeId>) -> Result<()> {
        let columns = [
            "zone",
            "gateway_type",
            "asn",
            "private_network_id",
            "ipam_private_ipv4_id",
            "ipam_private_ipv6_id",
            "public_ipv4_id",
            "public_ipv6_id",
            "node_id",
            "locked",
            "config_revision",
            "pending_since",
            "status",
        ];
        self.insert(Kind::VpnGateway, gateway.id.0, &gateway.meta, &columns, |values| {
            values
                .push_bind(gateway.zone.clone())
                .push_bind(gateway.gateway_type.clone())
                .push_bind(gateway.asn)
                .push_bind(blob(gateway.private_network_id.0))
                .push_bind(blob(gateway.ipam_private_ipv4_id.0))
                .push_bind(blob(gateway.ipam_private_ipv6_id.0))
                .push_bind(gateway.public_ipv4_id.map(|id| blob(id.0)))
                .push_bind(gateway.public_ipv6_id.map(|id| blob(id.0)))
                .push_bind(node.map(|id| blob(id.0)))
                .push_bind(gateway.locked)
                .push_bind(1_i64)
                .push_bind(gateway.meta.created_at.0)
                .push_bind(word(VpnGatewayStatus::Provisioning));
        })
        .await
    }

    /// The next configuration revision of a gateway. The deadline of one that the node has neither acknowledged nor refused goes on.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn bump_gateway(&mut self, id: VpnGatewayId, now: Timestamp) -> Result<()> {
        let sql = "UPDATE vpn_gateway SET pending_since = CASE WHEN pending_since IS NULL OR EXISTS (SELECT 1 FROM gateway_observed \
             WHERE gateway_id = vpn_gateway.id AND json_extract(refusal, '$.revision') = vpn_gateway.config_revision) \
             THEN ? ELSE pending_since END, config_revision = config_revision + 1 WHERE id = ?";
        self.change(sql, |values| {
            values.push_bind(now.0).push_bind(blob(id.0));
        })
        .await
    }

    /// Sets since when the node owes an acknowledgement.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_gateway_pending(&mut self, id: VpnGatewayId, since: Option<Timestamp>) -> Result<()> {
        sqlx::query("UPDATE vpn_gateway SET pending_since = ? WHERE id = ?")
            .bind(since.map(|time| time.0))
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Sets since when a gateway is off a node that was lost.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_gateway_failover(&mut self, id: VpnGatewayId, since: Option<Timestamp>) -> Result<()> {
        sqlx::query("UPDATE vpn_gateway SET failover_since = ? WHERE id = ?")
            .bind(since.map(|time| time.0))
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Has its node let go of a gateway from a revision on, since it goes to another one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_gateway_leaving(&mut self, id: VpnGatewayId, revision: u64) -> Result<()> {
        sqlx::query("UPDATE vpn_gateway SET leaving_revision = ? WHERE id = ?")
            .bind(i64::try_from(revision).unwrap_or(i64::MAX))
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Places a gateway on a node.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn place_gateway(&mut self, id: VpnGatewayId, node: NodeId) -> Result<()> {
        sqlx::query("UPDATE vpn_gateway SET node_id = ?, no_room = 0 WHERE id = ?")
            .bind(blob(node.0))
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Locks a gateway for a reason, from the next configuration on, or unlocks it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_gateway_lock(&mut self, id: VpnGatewayId, reason: Option<&str>) -> Result<()> {
        sqlx::query(
            "UPDATE vpn_gateway SET locked = ?, lock_reason = ?, lock_revision = config_revision + 1 WHERE id = ?",
        )
        .bind(reason.is_some())
        .bind(reason)
        .bind(blob(id.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Starts a gateway's deletion: it is out of its node's desired state from `node_revision` on.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn start_gateway_deletion(
        &mut self,
        id: VpnGatewayId,
        now: Timestamp,
        node_revision: Option<u64>,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE vpn_gateway SET deleting_since = ?, deleting_revision = ?, pending_since = NULL WHERE id = ?",
        )
        .bind(now.0)
        .bind(node_revision.map(|revision| i64::try_from(revision).unwrap_or(i64::MAX)))
        .bind(blob(id.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Hides a gateway whose deletion is past its deadline. Its addresses stay reserved.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn hide_gateway(&mut self, id: VpnGatewayId, now: Timestamp) -> Result<()> {
        sqlx::query("UPDATE vpn_gateway SET gone_at = ? WHERE id = ?")
            .bind(now.0)
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Writes the copy of the status; a change is a change of the gateway.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_gateway_status(
        &mut self,
        id: VpnGatewayId,
        status: VpnGatewayStatus,
        now: Timestamp,
    ) -> Result<()> {
        let sql = "UPDATE vpn_gateway SET status = ?, updated_at = ? WHERE id = ? AND status <> ?";
        self.change(sql, |values| {
            values.push_bind(status.as_str()).push_bind(now.0).push_bind(blob(id.0)).push_bind(status.as_str());
        })
        .await
    }
}
