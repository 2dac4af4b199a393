//! Gateway nodes and what they report.

use std::net::SocketAddr;

use causeway_model::desired::LeaseTerms;
use causeway_model::observed::{ConnectionFacts, Refusal};
use causeway_model::status::NodeState;
use causeway_model::{ConnectionId, Fault, MachineId, NodeId, Timestamp, VpnGatewayId};
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::row::{RowExt, blob, id_array, to_json, word};
use crate::{Reader, Result, Writer};

/// A gateway node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Id.
    pub id: NodeId,
    /// Its zone.
    pub zone: String,
    /// New at every start of its process.
    pub boot: Uuid,
    /// Version of its program.
    pub version: String,
    /// Its state.
    pub state: NodeState,
    /// Since when.
    pub state_since: Timestamp,
    /// Connected, but nothing was reported yet; or not heard.
    pub silent: bool,
    /// Newest revision of its desired state.
    pub revision: u64,
    /// The one that it applied last.
    pub applied_revision: u64,
    /// Its last report.
    pub reported_at: Option<Timestamp>,
    /// What people call it.
    pub name: String,
    /// When it joined; `None`: it is inside the service's own process.
    pub enrolled_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Nothing new is placed on it.
    pub cordoned: bool,
    /// Why its state is not better.
    pub fault: Option<Fault>,
    /// Waiting for longer than one judging interval.
    pub overdue: bool,
    /// Bits per second that it may carry; `None`: no limit.
    pub max_bandwidth: Option<u64>,
    /// Connections that it may carry; `None`: no limit.
    pub max_connections: Option<u64>,
    /// The revision that told it that its gateways may be started elsewhere; `None`: they may not.
    pub failover_revision: Option<u64>,
    /// What it carries goes to other nodes.
    pub draining: bool,
    /// Where it answers other nodes of its zone.
    pub peering: Option<SocketAddr>,
    /// The machine that answers there.
    pub peering_machine: Option<MachineId>,
    /// Its forwarding lease.
    pub lease: NodeLease,
}

/// A node's forwarding lease, as far as it has to survive the controller's process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLease {
    /// The epoch of its configuration: raised before a replacement begins.
    pub epoch: u64,
    /// Since when it is being replaced; until that is over or called off it gets no configuration.
    pub replaced_since: Option<Timestamp>,
    /// It is being replaced by itself on [`Self::machine`].
    pub moving: bool,
    /// Nobody was sent a configuration of this epoch yet, and nobody forwards by an earlier one: whichever machine comes may have it.
    pub free: bool,
    /// The machine that it spoke from last; `None`: it has not said so yet.
    pub machine: Option<MachineId>,
    /// All terms that it was sent since those that it has acknowledged, the oldest first; empty: it needs no lease.
    pub terms: Vec<LeaseTerms>,
    /// The number of the newest terms so far.
    pub number: u64,
    /// The number of those that its kernel counts by: by no earlier ones any more. `None`: it has acknowledged none.
    pub acknowledged: Option<u64>,
}

/// A judgement on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeVerdict {
    /// Its state.
    pub state: NodeState,
    /// Why it is not better.
    pub fault: Option<Fault>,
    /// What it carries is shown as last observed.
    pub silent: bool,
    /// Waiting for longer than one judging interval.
    pub overdue: bool,
}

/// What a node said of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayObserved {
    /// Revision in force; 0: none.
    pub applied_revision: u64,
    /// Why a newer one is not.
    pub refusal: Option<Refusal>,
    /// Whether any was ever in force.
    pub ever_acknowledged: bool,
    /// When this was first said.
    pub observed_at: Timestamp,
}

/// What a node said of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionObserved {
    /// Revision in force; 0: none.
    pub applied_revision: u64,
    /// Why a newer one is not.
    pub refusal: Option<Refusal>,
    /// Whether any was ever in force.
    pub ever_acknowledged: bool,
    /// Whether a tunnel was up since creation or since the peer's address changed.
    pub ever_up: bool,
    /// The facts.
    pub facts: ConnectionFacts,
    /// When this was first said.
    pub observed_at: Timestamp,
}

pub(crate) fn node(row: &SqliteRow) -> Result<NodeRecord> {
    Ok(NodeRecord {
        id: row.id("id")?,
        zone: row.text("zone")?,
        boot: row.id("boot")?,
        version: row.text("version")?,
        state: row.word("state")?,
        state_since: row.time("state_since")?,
        silent: row.flag("silent")?,
        revision: row.number("revision")?,
        applied_revision: row.number("applied_revision")?,
        reported_at: row.opt_time("reported_at")?,
        name: row.text("name")?,
        enrolled_at: row.opt_time("enrolled_at")?,
        revoked_at: row.opt_time("revoked_at")?,
        cordoned: row.flag("cordoned")?,
        fault: row.opt_json("fault")?,
        overdue: row.flag("overdue")?,
        max_bandwidth: row.opt_number("max_bandwidth")?,
        max_connections: row.opt_number("max_connections")?,
        failover_revision: row.opt_number("failover_revision")?,
        draining: row.flag("draining")?,
        peering: row.opt_text("peering")?.and_then(|text| text.parse().ok()),
        peering_machine: row.opt_id("peering_machine")?,
        lease: NodeLease {
            epoch: row.number("lease_epoch")?,
            replaced_since: row.opt_time("lease_replaced_since")?,
            moving: row.flag("lease_moving")?,
            free: row.flag("lease_free")?,
            machine: row.opt_id("lease_machine")?,
            terms: row.json("lease_terms")?,
            number: row.number("lease_number")?,
            acknowledged: row.opt_number("lease_acknowledged")?,
        },
    })
}

/// What a node said of a gateway, from a row that is joined with it.
pub(crate) fn gateway_observed(row: &SqliteRow) -> Result<Option<GatewayObserved>> {
    let Some(applied_revision) = row.opt_number("applied_revision")? else { return Ok(None) };
    Ok(Some(GatewayObserved {
        applied_revision,
        refusal: row.opt_json("refusal")?,
        ever_acknowledged: row.flag("ever_acknowledged")?,
        observed_at: row.time("observed_at")?,
    }))
}

/// What a node said of a connection, from a row that is joined with it.
pub(crate) fn connection_observed(row: &SqliteRow) -> Result<Option<ConnectionObserved>> {
    let Some(applied_revision) = row.opt_number("applied_revision")? else { return Ok(None) };
    Ok(Some(ConnectionObserved {
        applied_revision,
        refusal: row.opt_json("refusal")?,
        ever_acknowledged: row.flag("ever_acknowledged")?,
        ever_up: row.flag("ever_up")?,
        facts: row.json("facts")?,
        observed_at: row.time("observed_at")?,
    }))
}

impl Reader {
    /// A node.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn node(&mut self, id: NodeId) -> Result<Option<NodeRecord>> {
        self.row("node", id.0).await?.as_ref().map(node).transpose()
    }

    /// Every node, in the order in which they first came.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn nodes(&mut self) -> Result<Vec<NodeRecord>> {
        let rows = sqlx::query("SELECT * FROM node ORDER BY seq").fetch_all(self.connection()).await?;
        rows.iter().map(node).collect()
    }

    /// The nodes with these ids, in the order in which they first came.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn nodes_by_id(&mut self, ids: impl IntoIterator<Item = NodeId>) -> Result<Vec<NodeRecord>> {
        let sql = "SELECT * FROM node WHERE id IN (SELECT unhex(value) FROM json_each(?)) ORDER BY seq";
        let ids = id_array(ids.into_iter().map(|id| id.0));
        sqlx::query(sql).bind(ids).fetch_all(self.connection()).await?.iter().map(node).collect()
    }

    /// The node that came first, of those that are still nodes.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn first_node(&mut self) -> Result<Option<NodeId>> {
        let sql = "SELECT id FROM node WHERE revoked_at IS NULL ORDER BY seq LIMIT 1";
        sqlx::query(sql).fetch_optional(self.connection()).await?.map(|row| row.id("id")).transpose()
    }

    /// Of the nodes of a zone that answer other nodes, which are a ring by id: those next to `node`, at most `limit` after it and as many before it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn ring(&mut self, zone: &str, node: NodeId, limit: usize) -> Result<Vec<NodeRecord>> {
        let rows = sqlx::query(
            "WITH ring AS (SELECT seq, id FROM node WHERE zone = ?1 AND id <> ?2 AND revoked_at IS NULL AND peering IS NOT NULL) \
             SELECT * FROM node WHERE seq IN (SELECT seq FROM (SELECT seq FROM ring ORDER BY id < ?2, id LIMIT ?3)) \
             OR seq IN (SELECT seq FROM (SELECT seq FROM ring ORDER BY id > ?2, id DESC LIMIT ?3)) ORDER BY id",
        )
        .bind(zone)
        .bind(blob(node.0))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(self::node).collect()
    }

    /// The nodes that are being replaced, and those whose voters need not wait any more but shall know.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn replaced_nodes(&mut self) -> Result<Vec<NodeRecord>> {
        let sql = "SELECT * FROM node WHERE lease_replaced_since IS NOT NULL OR lease_free = 1 ORDER BY seq";
        let rows = sqlx::query(sql).fetch_all(self.connection()).await?;
        rows.iter().map(node).collect()
    }
}

impl Writer {
    /// Adds a node, or notes that a known one has come back: a new `boot` begins in `waiting`, silent until its first report.
    ///
    /// # Errors
    /// If its zone does not exist.
    pub async fn register_node(
        &mut self,
        id: NodeId,
        zone: &str,
        boot: Uuid,
        version: &str,
        now: Timestamp,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO node (id, zone, boot, version, state, state_since, silent, revision, applied_revision) \
             VALUES (?1, ?2, ?3, ?4, 'waiting', ?5, 1, 1, 0) ON CONFLICT (id) DO UPDATE SET zone = ?2, version = ?4, \
             silent = CASE WHEN boot = ?3 THEN silent ELSE 1 END, \
             applied_revision = CASE WHEN boot = ?3 THEN applied_revision ELSE 0 END, revision = revision + 1, boot = ?3",
        )
        .bind(blob(id.0))
        .bind(zone)
        .bind(blob(boot))
        .bind(version)
        .bind(now.0)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Writes a judgement on a node.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_node_verdict(&mut self, id: NodeId, verdict: &NodeVerdict, now: Timestamp) -> Result<()> {
        sqlx::query(
            "UPDATE node SET state_since = CASE WHEN state = ?1 THEN state_since ELSE ?2 END, state = ?1, silent = ?3, \
             overdue = ?4, fault = ?5 WHERE id = ?6",
        )
        .bind(word(verdict.state))
        .bind(now.0)
        .bind(verdict.silent)
        .bind(verdict.overdue)
        .bind(verdict.fault.as_ref().map(to_json))
        .bind(blob(id.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Notes a node's report.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_node_report(&mut self, id: NodeId, applied: u64, now: Timestamp) -> Result<()> {
        sqlx::query("UPDATE node SET applied_revision = ?, reported_at = ? WHERE id = ?")
            .bind(i64::try_from(applied).unwrap_or(i64::MAX))
            .bind(now.0)
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The next revision of a node's desired state.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn bump_node(&mut self, id: NodeId) -> Result<u64> {
        sqlx::query("UPDATE node SET revision = revision + 1 WHERE id = ? RETURNING revision")
            .bind(blob(id.0))
            .fetch_one(self.connection())
            .await?
            .number("revision")
    }

    /// Says from which revision on a node's gateways may be started elsewhere; `None`: they may not.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_node_failover(&mut self, id: NodeId, revision: Option<u64>) -> Result<()> {
        sqlx::query("UPDATE node SET failover_revision = ? WHERE id = ?")
            .bind(revision.map(|revision| i64::try_from(revision).unwrap_or(i64::MAX)))
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Writes a node's forwarding lease.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_node_lease(&mut self, id: NodeId, lease: &NodeLease) -> Result<()> {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        sqlx::query(
            "UPDATE node SET lease_epoch = ?, lease_replaced_since = ?, lease_moving = ?, lease_free = ?, lease_machine = ?, \
             lease_terms = ?, lease_number = ?, lease_acknowledged = ? WHERE id = ?",
        )
        .bind(number(lease.epoch))
        .bind(lease.replaced_since.map(|since| since.0))
        .bind(lease.moving)
        .bind(lease.free)
        .bind(lease.machine.map(|machine| blob(machine.0)))
        .bind(to_json(&lease.terms))
        .bind(number(lease.number))
        .bind(lease.acknowledged.map(number))
        .bind(blob(id.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Says whether what a node carries goes to other nodes.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_node_draining(&mut self, id: NodeId, draining: bool) -> Result<()> {
        sqlx::query("UPDATE node SET draining = ? WHERE id = ?")
            .bind(draining)
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Says where a node answers others of its zone, and which machine does.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_node_peering(
        &mut self,
        id: NodeId,
        address: Option<SocketAddr>,
        machine: Option<MachineId>,
    ) -> Result<()> {
        sqlx::query("UPDATE node SET peering = ?, peering_machine = ? WHERE id = ?")
            .bind(address.map(|address| address.to_string()))
            .bind(machine.map(|machine| blob(machine.0)))
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// As [`Self::bump_node`], where nobody asks for the number.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn advance_node(&mut self, id: NodeId) -> Result<()> {
        self.change("UPDATE node SET revision = revision + 1 WHERE id = ?", |values| {
            values.push_bind(blob(id.0));
        })
        .await
    }

    /// The next revision of every node's desired state: something that all of them carry has changed.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn bump_all_nodes(&mut self) -> Result<()> {
        sqlx::query("UPDATE node SET revision = revision + 1").execute(self.connection()).await?;
        Ok(())
    }

    /// Stores what a node says of a gateway.
    ///
    /// # Errors
    /// If the gateway does not exist.
    pub async fn set_gateway_observed(&mut self, id: VpnGatewayId, observed: &GatewayObserved) -> Result<()> {
        sqlx::query(
            "INSERT INTO gateway_observed (gateway_id, applied_revision, refusal, ever_acknowledged, observed_at) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (gateway_id) DO UPDATE SET applied_revision = ?2, refusal = ?3, ever_acknowledged = ?4, observed_at = ?5",
        )
        .bind(blob(id.0))
        .bind(i64::try_from(observed.applied_revision).unwrap_or(i64::MAX))
        .bind(observed.refusal.as_ref().map(to_json))
        .bind(observed.ever_acknowledged)
        .bind(observed.observed_at.0)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Stores what a node says of a connection.
    ///
    /// # Errors
    /// If the connection does not exist.
    pub async fn set_connection_observed(&mut self, id: ConnectionId, observed: &ConnectionObserved) -> Result<()> {
        sqlx::query(
            "INSERT INTO connection_observed (connection_id, applied_revision, refusal, ever_acknowledged, ever_up, facts, observed_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (connection_id) DO UPDATE SET applied_revision = ?2, refusal = ?3, \
             ever_acknowledged = ?4, ever_up = ?5, facts = ?6, observed_at = ?7",
        )
        .bind(blob(id.0))
        .bind(i64::try_from(observed.applied_revision).unwrap_or(i64::MAX))
        .bind(observed.refusal.as_ref().map(to_json))
        .bind(observed.ever_acknowledged)
        .bind(observed.ever_up)
        .bind(to_json(&observed.facts))
        .bind(observed.observed_at.0)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
