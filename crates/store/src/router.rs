//! Where VPCs are routed (ADR 0039): on one node of each zone in which they have gateways, which the table `vpc_router` names, and without any on
//! the one node that the view `vpc_fallback` names. Nothing else decides.

use std::collections::BTreeMap;

use causeway_model::status::NodeState;
use causeway_model::{NodeId, PrivateNetworkId, VpcId, VpnGatewayId};
use ipnet::IpNet;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use crate::network::ip;
use crate::row::{RowExt, blob, id_array};
use crate::{Among, Reader, Result, Writer};

/// The node that has a VPC's router in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcRouter {
    /// The VPC.
    pub vpc: VpcId,
    /// The zone.
    pub zone: String,
    /// The node.
    pub node: NodeId,
    /// The revision from which on the node shall not have it any more.
    pub leaving_revision: Option<u64>,
}

/// A node that routes a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcPlace {
    /// The VPC.
    pub vpc: VpcId,
    /// The zone whose gateways hang on this router; `None`: the VPC has no gateway anywhere.
    pub zone: Option<String>,
    /// The node.
    pub node: NodeId,
    /// Whether it is to let go of the router, and must not be told of it any more.
    pub leaving: bool,
}

/// A gateway of a VPC that is on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedGateway {
    /// The gateway.
    pub id: VpnGatewayId,
    /// Its node.
    pub node: NodeId,
    /// The node's state.
    pub state: NodeState,
    /// Whether the node moves what it carries to others.
    pub draining: bool,
    /// Whether the node is to let go of the gateway.
    pub leaving: bool,
    /// Whether the gateway is being deleted.
    pub deleting: bool,
    /// Past its deletion's deadline; only the node's confirmation is awaited.
    pub gone: bool,
}

impl PlacedGateway {
    /// Whether it is on its node to stay.
    #[must_use]
    pub const fn stays(&self) -> bool {
        !self.leaving && !self.deleting && !self.gone
    }
}

/// A gateway that hangs on the router of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cable {
    /// Its VPC.
    pub vpc: VpcId,
    /// The node that has the router.
    pub router: NodeId,
    /// The gateway.
    pub gateway: VpnGatewayId,
    /// The gateway's node.
    pub node: NodeId,
    /// The gateway's number among all that there ever were, from 1 on.
    pub seq: u64,
    /// The Private Network that it is attached to.
    pub network: PrivateNetworkId,
    /// Its addresses there, with the subnet's mask, IPv4 first.
    pub addresses: Vec<IpNet>,
}

fn router(row: &SqliteRow) -> Result<VpcRouter> {
    Ok(VpcRouter {
        vpc: row.id("vpc_id")?,
        zone: row.text("zone")?,
        node: row.id("node_id")?,
        leaving_revision: row.opt_number("leaving_revision")?,
    })
}

/// Gateways that run, or are to run, on another node than their VPC's router is on.
const CABLE: &str = "SELECT router.vpc_id, router.node_id AS router_id, gateway.id, gateway.node_id, gateway.seq AS seq, gateway.private_network_id \
     FROM vpc_router AS router JOIN private_network AS network ON network.vpc_id = router.vpc_id \
     JOIN vpn_gateway AS gateway ON gateway.private_network_id = network.id AND gateway.zone = router.zone \
     WHERE gateway.node_id IS NOT NULL AND gateway.node_id <> router.node_id AND gateway.deleting_since IS NULL \
     AND gateway.gone_at IS NULL AND gateway.leaving_revision IS NULL";

impl Reader {
    /// The node that has a VPC's router in a zone; `None`: no gateway of the VPC is placed there.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpc_router(&mut self, vpc: VpcId, zone: &str) -> Result<Option<VpcRouter>> {
        let row = sqlx::query("SELECT * FROM vpc_router WHERE vpc_id = ? AND zone = ?").bind(blob(vpc.0)).bind(zone);
        row.fetch_optional(self.connection()).await?.as_ref().map(router).transpose()
    }

    /// The nodes that have a VPC's router, one in each zone where it has gateways.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn routers_of_vpc(&mut self, vpc: VpcId) -> Result<Vec<VpcRouter>> {
        let rows = sqlx::query("SELECT * FROM vpc_router WHERE vpc_id = ? ORDER BY zone").bind(blob(vpc.0));
        rows.fetch_all(self.connection()).await?.iter().map(router).collect()
    }

    /// The routers that a node has because of gateways, those included that it is to let go of.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn routers_of_node(&mut self, node: NodeId) -> Result<Vec<VpcRouter>> {
        let rows = sqlx::query("SELECT * FROM vpc_router WHERE node_id = ? ORDER BY vpc_id").bind(blob(node.0));
        rows.fetch_all(self.connection()).await?.iter().map(router).collect()
    }

    /// Those of them that the node is to let go of.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn leaving_routers(&mut self, node: NodeId) -> Result<Vec<VpcRouter>> {
        let sql = "SELECT * FROM vpc_router WHERE node_id = ? AND leaving_revision IS NOT NULL ORDER BY vpc_id";
        let rows = sqlx::query(sql).bind(blob(node.0)).fetch_all(self.connection()).await?;
        rows.iter().map(router).collect()
    }

    /// Which nodes route VPCs.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpc_places(&mut self, among: &Among) -> Result<Vec<VpcPlace>> {
        let condition = among.condition("vpc_id");
        let sql = format!(
            "SELECT vpc_id, zone, node_id, leaving_revision FROM vpc_router WHERE {condition} \
             UNION ALL SELECT vpc_id, NULL, node_id, NULL FROM vpc_fallback WHERE {condition} AND node_id IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM vpc_router WHERE vpc_router.vpc_id = vpc_fallback.vpc_id)"
        );
        let query = among.bind(among.bind(sqlx::query(AssertSqlSafe(sql))));
        let place = |row: &SqliteRow| {
            Ok(VpcPlace {
                vpc: row.id("vpc_id")?,
                zone: row.opt_text("zone")?,
                node: row.id("node_id")?,
                leaving: row.opt_number::<u64>("leaving_revision")?.is_some(),
            })
        };
        query.fetch_all(self.connection()).await?.iter().map(place).collect()
    }

    /// Which node would route a VPC if it had no router in `zone`; `None`: none would for this zone alone.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpc_fallback(&mut self, vpc: VpcId, zone: &str) -> Result<Option<NodeId>> {
        let row = sqlx::query(
            "SELECT node_id FROM vpc_fallback WHERE vpc_id = ?1 AND node_id IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM vpc_router WHERE vpc_id = ?1 AND zone <> ?2)",
        );
        let row = row.bind(blob(vpc.0)).bind(zone).fetch_optional(self.connection()).await?;
        row.map(|row| row.id("node_id")).transpose()
    }

    /// The gateways of a VPC that are on nodes of a zone, those included that are going, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn placed_gateways(&mut self, vpc: VpcId, zone: &str) -> Result<Vec<PlacedGateway>> {
        let rows = sqlx::query(
            "SELECT gateway.id, gateway.node_id, gateway.leaving_revision, gateway.deleting_since, gateway.gone_at, node.state, \
             node.draining FROM private_network AS network JOIN vpn_gateway AS gateway ON gateway.private_network_id = network.id \
             JOIN node ON node.id = gateway.node_id WHERE network.vpc_id = ? AND gateway.zone = ? ORDER BY gateway.seq",
        );
        let rows = rows.bind(blob(vpc.0)).bind(zone).fetch_all(self.connection()).await?;
        let placed = |row: &SqliteRow| {
            Ok(PlacedGateway {
                id: row.id("id")?,
                node: row.id("node_id")?,
                state: row.word("state")?,
                draining: row.flag("draining")?,
                leaving: row.opt_number::<u64>("leaving_revision")?.is_some(),
                deleting: row.opt_time("deleting_since")?.is_some(),
                gone: row.opt_time("gone_at")?.is_some(),
            })
        };
        rows.iter().map(placed).collect()
    }

    /// What hangs on the routers of a node from other nodes, and what of it hangs on those of others, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn cables(&mut self, node: NodeId) -> Result<Vec<Cable>> {
        let sql = format!("{CABLE} AND router.node_id = ?1 UNION ALL {CABLE} AND gateway.node_id = ?1 ORDER BY seq");
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(blob(node.0)).fetch_all(self.connection()).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let gateways = rows.iter().map(|row| row.id("id")).collect::<Result<Vec<VpnGatewayId>>>()?;
        let sql = "SELECT gateway.id AS gateway_id, ip.* FROM vpn_gateway AS gateway \
             JOIN ip ON ip.id IN (gateway.ipam_private_ipv4_id, gateway.ipam_private_ipv6_id) \
             WHERE gateway.id IN (SELECT unhex(value) FROM json_each(?)) ORDER BY ip.is_ipv6";
        let ids = id_array(gateways.into_iter().map(|id| id.0));
        let mut addresses: BTreeMap<VpnGatewayId, Vec<IpNet>> = BTreeMap::new();
        for row in sqlx::query(sql).bind(ids).fetch_all(self.connection()).await? {
            addresses.entry(row.id("gateway_id")?).or_default().push(ip(&row)?.address);
        }
        let cable = |row: &SqliteRow| {
            let gateway = row.id("id")?;
            Ok(Cable {
                vpc: row.id("vpc_id")?,
                router: row.id("router_id")?,
                gateway,
                node: row.id("node_id")?,
                seq: row.number("seq")?,
                network: row.id("private_network_id")?,
                addresses: addresses.get(&gateway).cloned().unwrap_or_default(),
            })
        };
        rows.iter().map(cable).collect()
    }
}

impl Writer {
    /// Puts a VPC's router in a zone on a node, which is to keep it. What the one before said of it is history.
    ///
    /// # Errors
    /// If the VPC, the zone or the node does not exist.
    pub async fn set_vpc_router(&mut self, vpc: VpcId, zone: &str, node: NodeId) -> Result<()> {
        sqlx::query(
            "DELETE FROM vpc_observed WHERE vpc_id = ?1 AND node_id <> ?3 \
             AND node_id = (SELECT node_id FROM vpc_router WHERE vpc_id = ?1 AND zone = ?2)",
        )
        .bind(blob(vpc.0))
        .bind(zone)
        .bind(blob(node.0))
        .execute(self.connection())
        .await?;
        sqlx::query(
            "INSERT INTO vpc_router (vpc_id, zone, node_id) VALUES (?1, ?2, ?3) \
             ON CONFLICT (vpc_id, zone) DO UPDATE SET node_id = ?3, leaving_revision = NULL",
        )
        .bind(blob(vpc.0))
        .bind(zone)
        .bind(blob(node.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Has the node of a VPC's router let go of it from a revision on; `None`: it keeps it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_router_leaving(&mut self, vpc: VpcId, zone: &str, revision: Option<u64>) -> Result<()> {
        sqlx::query("UPDATE vpc_router SET leaving_revision = ? WHERE vpc_id = ? AND zone = ?")
            .bind(revision.map(|revision| i64::try_from(revision).unwrap_or(i64::MAX)))
            .bind(blob(vpc.0))
            .bind(zone)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Takes a VPC's router in a zone off its node: the VPC has no gateway there, or its next one decides.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn delete_vpc_router(&mut self, vpc: VpcId, zone: &str) -> Result<()> {
        sqlx::query("DELETE FROM vpc_router WHERE vpc_id = ? AND zone = ?")
            .bind(blob(vpc.0))
            .bind(zone)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Forgets what a node said of a VPC's router, which it has no longer.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn forget_vpc_observed(&mut self, vpc: VpcId, node: NodeId) -> Result<()> {
        sqlx::query("DELETE FROM vpc_observed WHERE vpc_id = ? AND node_id = ?")
            .bind(blob(vpc.0))
            .bind(blob(node.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The next revision of the desired state of every node of a zone that has a VPC's router or a gateway of it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn advance_nodes_of_vpc(&mut self, vpc: VpcId, zone: &str) -> Result<()> {
        sqlx::query(
            "UPDATE node SET revision = revision + 1 WHERE id IN (SELECT node_id FROM vpc_router WHERE vpc_id = ?1 AND zone = ?2 \
             UNION SELECT gateway.node_id FROM private_network AS network \
             JOIN vpn_gateway AS gateway ON gateway.private_network_id = network.id \
             WHERE network.vpc_id = ?1 AND gateway.zone = ?2 AND gateway.node_id IS NOT NULL)",
        )
        .bind(blob(vpc.0))
        .bind(zone)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
    use uuid::Uuid;

    use super::*;

    /// Where a gateway was before there were routers, by numbers: VPC, zone, node; and `leaving_revision`, `deleting_since` and `gone_at`.
    type Row = (u128, &'static str, Option<u128>, [Option<i64>; 3]);

    async fn insert(connection: &mut SqliteConnection, number: u128, row: &Row) {
        let (vpc, zone, node, [leaving, deleting, gone]) = row;
        let id = |number: u128| blob(Uuid::from_u128(number));
        let (network, gateway) = (id(1000 + vpc), id(2000 + number));
        sqlx::query(
            "INSERT OR IGNORE INTO private_network (id, organization_id, project_id, region, name, name_folded, name_sort, tags, created_at, \
             updated_at, vpc_id, default_route_propagation_enabled, dhcp_enabled) VALUES (?, x'', x'', '', '', '', '', '[]', 0, 0, ?, 0, 0)",
        )
        .bind(&network)
        .bind(id(*vpc))
        .execute(&mut *connection)
        .await
        .expect("inserts");
        sqlx::query(
            "INSERT INTO vpn_gateway (id, organization_id, project_id, region, name, name_folded, name_sort, tags, created_at, updated_at, \
             zone, gateway_type, asn, private_network_id, ipam_private_ipv4_id, ipam_private_ipv6_id, node_id, locked, config_revision, \
             status, leaving_revision, deleting_since, deleting_revision, gone_at) \
             VALUES (?, x'', x'', '', '', '', '', '[]', 0, 0, ?, '', 1, ?, x'', x'', ?, 0, 1, 'active', ?, ?, ?, ?)",
        )
        .bind(gateway)
        .bind(*zone)
        .bind(network)
        .bind(node.map(id))
        .bind(leaving)
        .bind(deleting)
        .bind(deleting.map(|since| since + 1))
        .bind(gone)
        .execute(&mut *connection)
        .await
        .expect("inserts");
    }

    #[tokio::test]
    async fn routers_are_where_the_gateways_were() {
        let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(false);
        let mut connection = options.connect().await.expect("opens");
        let migrations = sqlx::migrate!();
        let (before, after): (Vec<_>, Vec<_>) = migrations.iter().partition(|migration| migration.version < 31);
        for migration in before {
            sqlx::raw_sql(migration.sql.clone()).execute(&mut connection).await.expect("migrates");
        }
        let stays = [None; 3];
        let rows: [Row; 10] = [
            (1, "a", Some(7), stays),
            (1, "a", Some(7), [Some(5), None, None]),
            (1, "b", Some(8), stays),
            (2, "a", None, stays),
            (3, "a", Some(7), [Some(5), None, None]),
            (3, "a", Some(7), [Some(6), None, None]),
            (4, "a", Some(9), [None, Some(40), Some(50)]),
            (4, "a", Some(7), stays),
            (5, "a", Some(9), [None, Some(40), Some(50)]),
            (6, "a", Some(9), [None, Some(40), None]),
        ];
        for (number, row) in rows.iter().enumerate() {
            insert(&mut connection, u128::try_from(number).expect("small"), row).await;
        }
        for migration in after {
            sqlx::raw_sql(migration.sql.clone()).execute(&mut connection).await.expect("migrates");
        }
        let found = sqlx::query("SELECT * FROM vpc_router ORDER BY vpc_id, zone").fetch_all(&mut connection).await;
        let found = found.expect("reads").iter().map(router).collect::<Result<Vec<_>>>().expect("rows");
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.vpc.0.as_u128(), found.zone.as_str(), found.node.0.as_u128(), found.leaving_revision))
            .collect();
        let expected = [
            (1, "a", 7, None),
            (1, "b", 8, None),
            // It goes with the last of them.
            (3, "a", 7, Some(6)),
            (4, "a", 7, None),
            // Hidden: nobody has had it since the deletion began.
            (5, "a", 9, Some(41)),
            (6, "a", 9, None),
        ];
        assert_eq!(found, expected);
        connection.close().await.expect("closes");
    }
}
