//! What nodes owe for long: the one thing that makes a status wrong without anything being written.

use causeway_model::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use crate::row::RowExt;
use crate::{ConnectionRecord, GatewayRecord, Reader, Result, connection, gateway};

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
