//! What nodes owe for long: the one thing that makes a status wrong without anything being written.

use causeway_model::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use crate::row::RowExt;
use crate::{ConnectionRecord, GatewayRecord, Reader, Result, Writer, connection, gateway};

/// How far a look at what is owed has got: everything owed since earlier was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwedMark {
    since: i64,
    seq: i64,
}

impl Default for OwedMark {
    /// Before everything.
    fn default() -> Self {
        Self { since: i64::MIN, seq: i64::MIN }
    }
}

impl OwedMark {
    /// The same mark after the clock was set by so many microseconds, and everything owed was moved with it.
    #[must_use]
    pub const fn moved(self, by: i64) -> Self {
        Self { since: self.since.saturating_add(by), seq: self.seq }
    }

    /// Where the next look begins: `limit` was looked at, or everything until `until`.
    fn after(rows: &[SqliteRow], until: Timestamp, limit: u32) -> Result<Self> {
        Ok(match rows.last() {
            Some(last) if rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX) => {
                Self { since: last.number("pending_since")?, seq: last.number("seq")? }
            }
            // Also where the clock was set back: what is owed from then on is later.
            _ => Self { since: until.0, seq: i64::MAX },
        })
    }
}

/// What is owed of `table` since after a mark and not after a time, in the order of that time. The indexes on `pending_since` end with
/// `seq`, so that this reads what it returns and nothing else.
macro_rules! owed {
    ($table:literal) => {
        concat!(
            " WHERE ",
            $table,
            ".pending_since IS NOT NULL AND (",
            $table,
            ".pending_since, ",
            $table,
            ".seq) > (?, ?) AND ",
            $table,
            ".pending_since <= ? ORDER BY ",
            $table,
            ".pending_since, ",
            $table,
            ".seq LIMIT ?"
        )
    };
}

impl Reader {
    async fn owed(
        &mut self,
        select: &'static str,
        condition: &'static str,
        mark: OwedMark,
        until: Timestamp,
        limit: u32,
    ) -> Result<(Vec<SqliteRow>, OwedMark)> {
        let query = sqlx::query(AssertSqlSafe(format!("{select}{condition}")));
        let query = query.bind(mark.since).bind(mark.seq).bind(until.0).bind(limit);
        let rows = query.fetch_all(self.connection()).await?;
        let next = OwedMark::after(&rows, until, limit)?;
        Ok((rows, next))
    }

    /// The gateways whose own configuration a node owes since after `mark` and not after `until`, in the order of that time, with no
    /// `connection_ids`; at most `limit`. Beside them the next mark. What a VPC's router is told is no such configuration: no status depends
    /// on how long that has been owed.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn gateways_owing(
        &mut self,
        mark: OwedMark,
        until: Timestamp,
        limit: u32,
    ) -> Result<(Vec<GatewayRecord>, OwedMark)> {
        let (rows, next) = self.owed(gateway::gateway!("NULL"), owed!("vpn_gateway"), mark, until, limit).await?;
        Ok((rows.iter().map(gateway::record).collect::<Result<_>>()?, next))
    }

    /// As [`Self::gateways_owing`], of connections.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn connections_owing(
        &mut self,
        mark: OwedMark,
        until: Timestamp,
        limit: u32,
    ) -> Result<(Vec<ConnectionRecord>, OwedMark)> {
        let (rows, next) = self.owed(connection::CONNECTION, owed!("connection"), mark, until, limit).await?;
        Ok((rows.iter().map(connection::record).collect::<Result<_>>()?, next))
    }
}

/// Where the instants are from which deadlines of the platform count, and those at which waits end, beside those of links, of earlier keys and
/// of deliveries: table, column.
const COUNTED: [(&str, &str); 8] = [
    ("vpn_gateway", "pending_since"),
    ("vpn_gateway", "deleting_since"),
    ("vpn_gateway", "failover_since"),
    ("connection", "pending_since"),
    ("vpc", "pending_since"),
    ("flap", "at"),
    ("flap", "calm_at"),
    // Whatever became of it: one that has expired must not be good again.
    ("node_join_token", "expires_at"),
];

impl Reader {
    /// Whether a deadline counts, or a wait lasts, that [`Writer::move_deadlines`] would move.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn any_deadline(&mut self) -> Result<bool> {
        for (table, column) in COUNTED {
            let unused = if table == "node_join_token" { " AND used_at IS NULL" } else { "" };
            let sql = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE {column} IS NOT NULL{unused}) AS found");
            if sqlx::query(AssertSqlSafe(sql)).fetch_one(self.connection()).await?.flag("found")? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Writer {
    /// Moves all instants from which deadlines of the platform count, and those at which waits end, by so many microseconds: those of
    /// gateways, connections and VPCs, of restless histories, and of join tokens.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn move_deadlines(&mut self, by: i64) -> Result<()> {
        for (table, column) in COUNTED {
            let sql = format!("UPDATE {table} SET {column} = {column} + ? WHERE {column} IS NOT NULL");
            sqlx::query(AssertSqlSafe(sql)).bind(by).execute(self.connection()).await?;
        }
        Ok(())
    }
}
