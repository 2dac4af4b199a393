//! InterLinks with their sessions and what they take of the catalogue.

use causeway_model::command::{LinkFilter, LinkKindFilter, ListQuery, PartnerLinkFilter};
use causeway_model::observed::LinkFacts;
use causeway_model::resource::{Link, LinkHost, LinkPolicy};
use causeway_model::status::{BgpStatus, LinkStatus, NodeState};
use causeway_model::{Family, LinkId, NodeId, PartnerId, PopId, PortId, RoutingPolicyId, SecretId, Timestamp, VpcId};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use crate::catalog::Filter;
use crate::list::{Kind, Scope, window};
use crate::row::{RowExt, blob, name_forms, to_json, word};
use crate::{Reader, Result, StoreError, Writer};

/// A link with the copies of what derives from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRecord {
    /// The link.
    pub link: Link,
    /// Why support locked it.
    pub lock_reason: Option<String>,
    /// The stored copy of the status.
    pub status: LinkStatus,
    /// The stored copy of the IPv4 session's.
    pub bgp_v4_status: BgpStatus,
    /// The stored copy of the IPv6 session's.
    pub bgp_v6_status: BgpStatus,
    /// Up to when reminders were given.
    pub reminded_at: Timestamp,
    /// When time alone changes something.
    pub due_at: Option<Timestamp>,
    /// The node that it ends on.
    pub node: Option<LinkNode>,
    /// The node that routes its VPC, while it is on one itself and leads to a VPC.
    pub vpc_node: Option<NodeId>,
    /// Grows with every change that concerns the node.
    pub config_revision: u64,
    /// Since when the node owes the acknowledgement of the newest configuration.
    pub pending_since: Option<Timestamp>,
    /// The revision of its node's desired state from which on it is not part of it any more.
    pub removing_revision: Option<u64>,
    /// The last status that was not `configuring`.
    pub settled_status: LinkStatus,
    /// The code of the reason that went with it.
    pub settled_reason: Option<String>,
    /// Since when both are as they are; `None`: that was not noted.
    pub settled_since: Option<Timestamp>,
    /// What its node said last.
    pub observed: Option<LinkObserved>,
    /// What its sessions ask of the peer.
    pub options: LinkOptions,
}

/// The node of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkNode {
    /// Its id.
    pub id: NodeId,
    /// Its state.
    pub state: NodeState,
    /// Connected, but nothing was reported yet; or not heard.
    pub silent: bool,
    /// Waiting for longer than its verdict may take.
    pub overdue: bool,
}

/// What a node said of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkObserved {
    /// The facts.
    pub facts: LinkFacts,
    /// Whether the session of IPv4, and that of IPv6, was ever up.
    pub ever_up: [bool; 2],
    /// When this was first said.
    pub observed_at: Timestamp,
}

/// What a link's BGP sessions ask of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LinkOptions {
    /// Hold time, seconds; 0 or at least 3.
    pub hold_time: u16,
    /// Prefixes accepted at most, per session.
    pub max_prefixes: u32,
    /// The version of a secret whose data sign every segment (RFC 2385); `None`: unsigned.
    pub md5: Option<(SecretId, u32)>,
    /// Whether the peer must be a neighbour by hop limit (RFC 5082).
    pub gtsm: bool,
}

impl Default for LinkOptions {
    fn default() -> Self {
        let timers = causeway_model::desired::Timers::default();
        Self { hold_time: timers.hold_time, max_prefixes: timers.max_prefixes, md5: None, gtsm: false }
    }
}

/// Which /31 and which /127 of the service's blocks a link has, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkUnits {
    /// Of 169.254.0.0/16.
    pub ipv4: u32,
    /// Of the service's own /64: the upper 63 of the 64 host bits.
    pub ipv6: u64,
}

/// Links with all that a record holds, in one statement. Of several nodes that route the VPC the link's own is the one.
const LINK: &str = "SELECT link.*, CASE WHEN link.vpc_id IS NOT NULL AND link.node_id IS NOT NULL THEN coalesce((SELECT router.node_id \
     FROM vpc_router AS router WHERE router.vpc_id = link.vpc_id AND router.node_id = link.node_id LIMIT 1), (SELECT router.node_id \
     FROM vpc_router AS router WHERE router.vpc_id = link.vpc_id ORDER BY router.zone LIMIT 1), \
     (SELECT fallback.node_id FROM vpc_fallback AS fallback WHERE fallback.vpc_id = link.vpc_id)) END AS vpc_node, v4.routing_policy_id AS v4_policy, v4.since AS v4_since, v6.routing_policy_id AS v6_policy, \
     v6.since AS v6_since, node.state AS node_state, node.silent AS node_silent, node.overdue AS node_overdue \
     FROM link LEFT JOIN node ON node.id = link.node_id LEFT JOIN link_session AS v4 ON v4.link_id = link.id AND v4.is_ipv6 = 0 \
     LEFT JOIN link_session AS v6 ON v6.link_id = link.id AND v6.is_ipv6 = 1";

fn policy(row: &SqliteRow, id: &'static str, since: &'static str) -> Result<Option<LinkPolicy>> {
    let Some(id) = row.opt_id(id)? else { return Ok(None) };
    Ok(Some(LinkPolicy { id, since: row.time(since)? }))
}

fn host(row: &SqliteRow) -> Result<LinkHost> {
    Ok(match row.opt_id("partner_id")? {
        Some(partner_id) => LinkHost::Partner {
            partner_id,
            pairing_key: row.id("pairing_key")?,
            l3_connectivity: row.text("kind")? == "l3_hosted",
        },
        None => LinkHost::Dedicated { connection_id: row.id("connection_id")? },
    })
}

const fn kind(host: &LinkHost) -> &'static str {
    match host {
        LinkHost::Partner { l3_connectivity: false, .. } => "l2_hosted",
        LinkHost::Partner { l3_connectivity: true, .. } => "l3_hosted",
        LinkHost::Dedicated { .. } => "self_hosted",
    }
}

fn record(row: &SqliteRow) -> Result<LinkRecord> {
    let link = Link {
        id: row.id("id")?,
        meta: row.meta()?,
        pop_id: row.id("pop_id")?,
        port_id: row.id("port_id")?,
        host: host(row)?,
        bandwidth_mbps: row.number("bandwidth_mbps")?,
        vlan: row.number("vlan")?,
        provider_asn: row.number("provider_asn")?,
        peer_asn: row.number("peer_asn")?,
        ipv4: row.json("ipv4")?,
        ipv6: row.json("ipv6")?,
        vpc_id: row.opt_id("vpc_id")?,
        routing_policy_v4: policy(row, "v4_policy", "v4_since")?,
        routing_policy_v6: policy(row, "v6_policy", "v6_since")?,
        route_propagation_enabled: row.flag("route_propagation_enabled")?,
        life: row.json("life")?,
    };
    Ok(LinkRecord {
        link,
        lock_reason: row.opt_text("lock_reason")?,
        status: row.word("status")?,
        bgp_v4_status: row.word("bgp_v4_status")?,
        bgp_v6_status: row.word("bgp_v6_status")?,
        reminded_at: row.time("reminded_at")?,
        due_at: row.opt_time("due_at")?,
        node: node(row)?,
        vpc_node: row.opt_id("vpc_node")?,
        config_revision: row.number("config_revision")?,
        pending_since: row.opt_time("pending_since")?,
        removing_revision: row.opt_number("removing_revision")?,
        settled_status: if row.opt_text("settled_status")?.is_some() {
            row.word("settled_status")?
        } else {
            row.word("status")?
        },
        settled_reason: row.opt_text("settled_reason")?,
        settled_since: row.opt_time("settled_since")?,
        observed: row.opt_json("observed")?,
        options: options(row)?,
    })
}

fn node(row: &SqliteRow) -> Result<Option<LinkNode>> {
    let Some(id) = row.opt_id("node_id")? else { return Ok(None) };
    let (state, silent) = (row.word("node_state")?, row.flag("node_silent")?);
    Ok(Some(LinkNode { id, state, silent, overdue: row.flag("node_overdue")? }))
}

fn options(row: &SqliteRow) -> Result<LinkOptions> {
    let default = LinkOptions::default();
    let (secret, revision) = (row.opt_id("md5_secret_id")?, row.opt_number("md5_secret_revision")?);
    Ok(LinkOptions {
        hold_time: row.opt_number("hold_time")?.unwrap_or(default.hold_time),
        max_prefixes: row.opt_number("max_prefixes")?.unwrap_or(default.max_prefixes),
        md5: Option::zip(secret, revision),
        gtsm: row.flag("gtsm")?,
    })
}

fn number(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| StoreError::Corrupt { column: "number", problem: format!("{value} is too large") })
}

impl Reader {
    /// A link, deleted ones included as long as they are kept.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn link(&mut self, id: LinkId) -> Result<Option<LinkRecord>> {
        self.rows(LINK, "link.id = ?", id.0).await?.first().map(record).transpose()
    }

    /// A page of links.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn links(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filter: &LinkFilter,
    ) -> Result<(Vec<LinkRecord>, u64)> {
        if filter.impossible {
            return Ok((Vec::new(), 0));
        }
        let kinds: &[&'static str] = match filter.kind {
            None => &[],
            Some(LinkKindFilter::Hosted) => &["l2_hosted", "l3_hosted"],
            Some(LinkKindFilter::SelfHosted) => &["self_hosted"],
            Some(LinkKindFilter::L2Hosted) => &["l2_hosted"],
            Some(LinkKindFilter::L3Hosted) => &["l3_hosted"],
        };
        let filters = vec![
            Filter::texts("status", filter.status.map(|status| status.as_str())),
            Filter::texts("bgp_v4_status", filter.bgp_v4_status.map(|status| status.as_str())),
            Filter::texts("bgp_v6_status", filter.bgp_v6_status.map(|status| status.as_str())),
            Filter::texts("kind", kinds.iter().copied()),
            Filter::texts("bandwidth_mbps", filter.bandwidth_mbps.map(|size| size.to_string())),
            Filter::ids("pop_id", filter.pop_id.map(|id| id.0)),
            Filter::ids("partner_id", filter.partner_id.map(|id| id.0)),
            Filter::ids("vpc_id", filter.vpc_id.map(|id| id.0)),
            Filter::ids("connection_id", filter.connection_id.map(|id| id.0)),
            Filter::ids("pairing_key", filter.pairing_key),
            Filter::ids("routing_policy_id", filter.routing_policy_id.map(|id| id.0)),
        ];
        let (rows, total) = self.listed("link", LINK, region, scope, list, filters).await?;
        Ok((rows.iter().map(record).collect::<Result<_>>()?, total))
    }

    /// A page of the links addressed to a partner, oldest first unless asked otherwise, and their count.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn partner_links(
        &mut self,
        partner: PartnerId,
        list: &ListQuery,
        filter: &PartnerLinkFilter,
    ) -> Result<(Vec<LinkRecord>, u64)> {
        let push = |query: &mut sqlx::QueryBuilder<sqlx::Sqlite>| {
            query.push(" WHERE link.deleted_at IS NULL AND link.partner_id = ").push_bind(blob(partner.0));
            if let Some(status) = filter.status {
                query.push(" AND link.status = ").push_bind(status.as_str());
            }
            if let Some(stage) = filter.stage {
                query.push(" AND json_extract(link.life, '$.stage.stage') = ").push_bind(stage);
            }
            if let Some(key) = filter.pairing_key {
                query.push(" AND link.pairing_key = ").push_bind(blob(key));
            }
        };
        let mut count = sqlx::QueryBuilder::new("SELECT count(*) AS total FROM link");
        push(&mut count);
        let total = count.build().fetch_one(self.connection()).await?.number("total")?;
        let mut query = sqlx::QueryBuilder::new(LINK);
        push(&mut query);
        query.push(if list.descending { " ORDER BY link.seq DESC" } else { " ORDER BY link.seq" });
        let (limit, offset) = window(list.page, list.page_size);
        query.push(" LIMIT ").push_bind(limit).push(" OFFSET ").push_bind(offset);
        let rows = query.build().fetch_all(self.connection()).await?;
        Ok((rows.iter().map(record).collect::<Result<_>>()?, total))
    }

    /// The links for which time alone changes something until `now`, the longest due first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn links_due(&mut self, now: Timestamp, limit: u32) -> Result<Vec<LinkId>> {
        let rows = sqlx::query("SELECT id FROM link WHERE due_at <= ? ORDER BY due_at LIMIT ?")
            .bind(now.0)
            .bind(limit)
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(|row| row.id("id")).collect()
    }

    /// Whether anything in the store waits for an instant: a link, the window of an earlier key, a webhook's delivery.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn anything_waits(&mut self) -> Result<bool> {
        sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM link WHERE due_at IS NOT NULL OR deleted_at IS NULL) OR EXISTS (SELECT 1 FROM previous_key) \
             OR EXISTS (SELECT 1 FROM webhook_delivery WHERE next_at IS NOT NULL) AS found",
        )
        .fetch_one(self.connection())
        .await?
        .flag("found")
    }

    /// Every link that is not deleted, and those that are kept for a while after it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn links_kept(&mut self) -> Result<Vec<LinkRecord>> {
        let sql =
            AssertSqlSafe(format!("{LINK} WHERE link.due_at IS NOT NULL OR link.deleted_at IS NULL ORDER BY link.seq"));
        sqlx::query(sql).fetch_all(self.connection()).await?.iter().map(record).collect()
    }

    /// The orders that wait for a port, or for its dedicated connection.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn links_ordered_on(&mut self, port: PortId) -> Result<Vec<LinkId>> {
        let rows = sqlx::query(
            "SELECT id FROM link WHERE port_id = ? AND deleted_at IS NULL AND json_extract(life, '$.stage.stage') = 'ordered' ORDER BY seq",
        )
        .bind(blob(port.0))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.id("id")).collect()
    }

    /// The links that a routing policy is attached to, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn links_with_policy(&mut self, id: RoutingPolicyId) -> Result<Vec<LinkId>> {
        let rows = sqlx::query(
            "SELECT link.id FROM link_session JOIN link ON link.id = link_session.link_id WHERE routing_policy_id = ? ORDER BY seq",
        )
        .bind(blob(id.0))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.id("id")).collect()
    }

    /// The links of a node, those included that it still has to remove, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn links_of_node(&mut self, node: NodeId) -> Result<Vec<LinkRecord>> {
        let sql = AssertSqlSafe(format!("{LINK} WHERE link.node_id = ? ORDER BY link.seq"));
        sqlx::query(sql).bind(blob(node.0)).fetch_all(self.connection()).await?.iter().map(record).collect()
    }

    /// The links in service that are on no node, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn links_without_node(&mut self) -> Result<Vec<LinkRecord>> {
        let sql = AssertSqlSafe(format!(
            "{LINK} WHERE link.node_id IS NULL AND link.tenant_deleted_at IS NULL AND link.deleted_at IS NULL \
             AND json_extract(link.life, '$.stage.stage') = 'in_service' ORDER BY link.seq"
        ));
        sqlx::query(sql).fetch_all(self.connection()).await?.iter().map(record).collect()
    }

    /// The links whose BGP sessions are signed with this secret, or this version of it, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn links_signing_with(&mut self, id: SecretId, revision: Option<u32>) -> Result<Vec<LinkId>> {
        let rows = sqlx::query(
            "SELECT id FROM link WHERE md5_secret_id = ?1 AND (?2 IS NULL OR md5_secret_revision = ?2) AND deleted_at IS NULL ORDER BY seq",
        )
        .bind(blob(id.0))
        .bind(revision)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.id("id")).collect()
    }

    /// The links that lead to a VPC, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn links_of_vpc(&mut self, vpc: VpcId) -> Result<Vec<LinkRecord>> {
        let sql = AssertSqlSafe(format!("{LINK} WHERE link.vpc_id = ? ORDER BY link.seq"));
        sqlx::query(sql).bind(blob(vpc.0)).fetch_all(self.connection()).await?.iter().map(record).collect()
    }

    /// A link that leads to a VPC.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn link_of_vpc(&mut self, vpc: VpcId) -> Result<Option<LinkId>> {
        let row = sqlx::query("SELECT id FROM link WHERE vpc_id = ? ORDER BY seq LIMIT 1")
            .bind(blob(vpc.0))
            .fetch_optional(self.connection())
            .await?;
        row.map(|row| row.id("id")).transpose()
    }

    /// The VLAN ids in use on a port, ascending.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vlans_of_port(&mut self, port: PortId) -> Result<Vec<u16>> {
        let rows = sqlx::query("SELECT vlan FROM link_allocation WHERE port_id = ? ORDER BY vlan")
            .bind(blob(port.0))
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(|row| row.number("vlan")).collect()
    }

    /// Mbit/s that the links of a port have together.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn bandwidth_of_port(&mut self, port: PortId) -> Result<u64> {
        sqlx::query("SELECT coalesce(sum(bandwidth_mbps), 0) AS used FROM link_allocation WHERE port_id = ?")
            .bind(blob(port.0))
            .fetch_one(self.connection())
            .await?
            .number("used")
    }

    /// Mbit/s that the links of a PoP have together.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn bandwidth_of_pop(&mut self, pop: PopId) -> Result<u64> {
        sqlx::query("SELECT coalesce(sum(bandwidth_mbps), 0) AS used FROM link_allocation WHERE pop_id = ?")
            .bind(blob(pop.0))
            .fetch_one(self.connection())
            .await?
            .number("used")
    }

    /// The lowest /31 that no link has, counted from 0; those from `skipped.0` and before `skipped.1` are never anyone's, and those before them
    /// come last: connections have their subnets from there.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn free_ipv4_unit(&mut self, end: u32, skipped: (u32, u32)) -> Result<Option<u32>> {
        sqlx::query(
            "SELECT unit FROM (SELECT 0 AS unit UNION ALL SELECT ?2 UNION ALL SELECT ipv4_unit + 1 FROM link_allocation) \
             WHERE unit < ?3 AND (unit < ?1 OR unit >= ?2) AND unit NOT IN (SELECT ipv4_unit FROM link_allocation) \
             ORDER BY unit < ?2, unit LIMIT 1",
        )
        .bind(skipped.0)
        .bind(skipped.1)
        .bind(end)
        .fetch_optional(self.connection())
        .await?
        .map(|row| row.number("unit"))
        .transpose()
    }

    /// Whether a link has this /127.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn is_ipv6_unit_taken(&mut self, unit: u64) -> Result<bool> {
        sqlx::query("SELECT EXISTS (SELECT 1 FROM link_allocation WHERE ipv6_unit = ?) AS taken")
            .bind(number(unit)?)
            .fetch_one(self.connection())
            .await?
            .flag("taken")
    }
}

impl Writer {
    /// Adds a link with what it takes of the catalogue. It is billed from now on.
    ///
    /// # Errors
    /// If the port, its PoP or its dedicated connection has not enough left, or the VLAN id or an address is taken.
    pub async fn insert_link(&mut self, record: &LinkRecord, units: LinkUnits) -> Result<()> {
        let link = &record.link;
        let columns = [
            "pop_id",
            "port_id",
            "partner_id",
            "pairing_key",
            "connection_id",
            "kind",
            "bandwidth_mbps",
            "vlan",
            "provider_asn",
            "peer_asn",
            "ipv4",
            "ipv6",
            "route_propagation_enabled",
            "life",
            "status",
            "bgp_v4_status",
            "bgp_v6_status",
            "reminded_at",
        ];
        let (partner, key, connection) = match link.host {
            LinkHost::Partner { partner_id, pairing_key, .. } => (Some(partner_id.0), Some(pairing_key), None),
            LinkHost::Dedicated { connection_id } => (None, None, Some(connection_id.0)),
        };
        let bandwidth = number(link.bandwidth_mbps)?;
        self.insert(Kind::Link, link.id.0, &link.meta, &columns, |values| {
            values
                .push_bind(blob(link.pop_id.0))
                .push_bind(blob(link.port_id.0))
                .push_bind(partner.map(blob))
                .push_bind(key.map(blob))
                .push_bind(connection.map(blob))
                .push_bind(kind(&link.host))
                .push_bind(bandwidth)
                .push_bind(link.vlan)
                .push_bind(link.provider_asn)
                .push_bind(link.peer_asn)
                .push_bind(to_json(&link.ipv4))
                .push_bind(to_json(&link.ipv6))
                .push_bind(link.route_propagation_enabled)
                .push_bind(to_json(&link.life))
                .push_bind(word(record.status))
                .push_bind(word(record.bgp_v4_status))
                .push_bind(word(record.bgp_v6_status))
                .push_bind(record.reminded_at.0);
        })
        .await?;
        sqlx::query(
            "INSERT INTO link_allocation (link_id, port_id, pop_id, vlan, bandwidth_mbps, ipv4_unit, ipv6_unit) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(blob(link.id.0))
        .bind(blob(link.port_id.0))
        .bind(blob(link.pop_id.0))
        .bind(link.vlan)
        .bind(bandwidth)
        .bind(units.ipv4)
        .bind(number(units.ipv6)?)
        .execute(self.connection())
        .await?;
        self.set_link(record).await
    }

    /// Writes everything of a link that can change. What is deleted on both sides gives back what it took of the catalogue.
    ///
    /// # Errors
    /// If the VPC or a policy does not exist.
    pub async fn set_link(&mut self, record: &LinkRecord) -> Result<()> {
        let link = &record.link;
        for family in Family::ALL {
            match link.policy(family) {
                Some(policy) => {
                    sqlx::query(
                        "INSERT INTO link_session (link_id, is_ipv6, routing_policy_id, since) VALUES (?, ?, ?, ?) \
                         ON CONFLICT DO UPDATE SET routing_policy_id = excluded.routing_policy_id, since = excluded.since",
                    )
                    .bind(blob(link.id.0))
                    .bind(family.is_ipv6())
                    .bind(blob(policy.id.0))
                    .bind(policy.since.0)
                    .execute(self.connection())
                    .await?;
                }
                None => {
                    sqlx::query("DELETE FROM link_session WHERE link_id = ? AND is_ipv6 = ?")
                        .bind(blob(link.id.0))
                        .bind(family.is_ipv6())
                        .execute(self.connection())
                        .await?;
                }
            }
        }
        let (folded, sort) = name_forms(&link.meta.name);
        sqlx::query(
            "UPDATE link SET name = ?, name_folded = ?, name_sort = ?, tags = ?, updated_at = ?, peer_asn = ?, vpc_id = ?, \
             route_propagation_enabled = ?, life = ?, lock_reason = ?, status = ?, bgp_v4_status = ?, bgp_v6_status = ?, \
             tenant_deleted_at = ?, deleted_at = ?, reminded_at = ?, due_at = ?, node_id = ?, config_revision = ?, pending_since = ?, \
             removing_revision = ?, settled_status = ?, settled_reason = ?, settled_since = ?, observed = ?, hold_time = ?, max_prefixes = ?, gtsm = ?, md5_secret_id = ?, md5_secret_revision = ? \
             WHERE id = ?",
        )
        .bind(&link.meta.name)
        .bind(folded)
        .bind(sort)
        .bind(to_json(&link.meta.tags))
        .bind(link.meta.updated_at.0)
        .bind(link.peer_asn)
        .bind(link.vpc_id.map(|id| blob(id.0)))
        .bind(link.route_propagation_enabled)
        .bind(to_json(&link.life))
        .bind(&record.lock_reason)
        .bind(word(record.status))
        .bind(word(record.bgp_v4_status))
        .bind(word(record.bgp_v6_status))
        .bind(link.life.tenant_deleted_at.map(|at| at.0))
        .bind(link.life.deleted_at().map(|at| at.0))
        .bind(record.reminded_at.0)
        .bind(record.due_at.map(|at| at.0))
        .bind(record.node.map(|node| blob(node.id.0)))
        .bind(number(record.config_revision)?)
        .bind(record.pending_since.map(|at| at.0))
        .bind(record.removing_revision.map(number).transpose()?)
        .bind(word(record.settled_status))
        .bind(&record.settled_reason)
        .bind(record.settled_since.map(|at| at.0))
        .bind(record.observed.as_ref().map(to_json))
        .bind(i64::from(record.options.hold_time))
        .bind(i64::from(record.options.max_prefixes))
        .bind(record.options.gtsm)
        .bind(record.options.md5.map(|(secret, _)| blob(secret.0)))
        .bind(record.options.md5.map(|(_, revision)| revision))
        .bind(blob(link.id.0))
        .execute(self.connection())
        .await?;
        self.index_tags(link.id.0, &link.meta.tags).await
    }
}
