//! What nodes owe for long: the one thing that makes a status wrong without anything being written.

use causeway_model::{Timestamp, VpnGatewayId};
use sqlx::AssertSqlSafe;

use crate::row::RowExt;
use crate::{Reader, Result};

/// Whose configuration a node owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owing {
    /// A VPN gateway's.
    Gateway,
    /// A connection's.
    Connection,
}

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

impl Reader {
    /// The gateways that a configuration of this kind concerns, if it is owed since after `mark` and not after `until`, in the order of that
    /// time; at most `limit` configurations are looked at. Beside them the next mark. What a VPC's router is told is no such configuration:
    /// no status depends on how long that has been owed.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn gateways_owing(
        &mut self,
        owing: Owing,
        mark: OwedMark,
        until: Timestamp,
        limit: u32,
    ) -> Result<(Vec<VpnGatewayId>, OwedMark)> {
        // The indexes on `pending_since` end with `seq`, so that this reads what it returns and nothing else.
        let (table, gateway) = match owing {
            Owing::Gateway => ("vpn_gateway", "id"),
            Owing::Connection => ("connection", "vpn_gateway_id"),
        };
        let sql = format!(
            "SELECT seq, pending_since, {gateway} AS id FROM {table} WHERE pending_since IS NOT NULL \
             AND (pending_since, seq) > (?, ?) AND pending_since <= ? ORDER BY pending_since, seq LIMIT ?"
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(mark.since).bind(mark.seq).bind(until.0).bind(limit);
        let rows = query.fetch_all(self.connection()).await?;
        let next = match rows.last() {
            Some(last) if rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX) => {
                OwedMark { since: last.number("pending_since")?, seq: last.number("seq")? }
            }
            // Also where the clock was set back: what is owed from then on is later.
            _ => OwedMark { since: until.0, seq: i64::MAX },
        };
        let mut gateways = rows.iter().map(|row| row.id("id")).collect::<Result<Vec<_>>>()?;
        gateways.dedup();
        Ok((gateways, next))
    }
}
