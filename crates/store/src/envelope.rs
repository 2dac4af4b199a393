//! Envelopes as such, whatever is in them: what a change of the key that wraps them has to touch.

use causeway_model::{ConnectionId, SecretId, WebhookId};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use crate::row::{RowExt, blob};
use crate::{Reader, Result, StoreError, Writer};

/// Envelopes that are read at once.
const BATCH: u32 = 500;

/// What an envelope is the data of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeOf {
    /// A version of a secret, by its revision.
    SecretVersion(SecretId, u32),
    /// A key that a connection had before.
    PreviousKey(ConnectionId),
    /// What a webhook signs with.
    Webhook(WebhookId),
    /// What certifies nodes, by its id.
    NodeAuthority(Uuid),
}

/// A table with an envelope in each row.
struct Table {
    name: &'static str,
    /// The column with the id that the envelope belongs to.
    id: &'static str,
    /// The column with the envelope.
    data: &'static str,
    of: fn(Uuid) -> EnvelopeOf,
}

const TABLES: [Table; 3] = [
    Table { name: "previous_key", id: "connection_id", data: "data", of: |id| EnvelopeOf::PreviousKey(id.into()) },
    Table { name: "webhook", id: "id", data: "secret", of: |id| EnvelopeOf::Webhook(id.into()) },
    Table { name: "node_authority", id: "id", data: "key", of: EnvelopeOf::NodeAuthority },
];

impl Writer {
    /// Replaces every envelope by what `replace` makes of it, and says how many there were.
    ///
    /// # Errors
    /// If the database fails, or `replace` does.
    pub async fn replace_envelopes<E: From<StoreError>>(
        &mut self,
        mut replace: impl FnMut(EnvelopeOf, &[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<u64, E> {
        let mut count = 0;
        let (mut secret, mut revision) = (SecretId::from(Uuid::nil()), 0);
        loop {
            let batch = self.secret_envelopes(secret, revision).await?;
            let Some((last, newest, _)) = batch.last() else { break };
            (secret, revision) = (*last, *newest);
            for (id, revision, data) in &batch {
                let data = replace(EnvelopeOf::SecretVersion(*id, *revision), data)?;
                self.set_secret_envelope(*id, *revision, &data).await?;
                count += 1;
            }
        }
        for table in &TABLES {
            let mut row = i64::MIN;
            loop {
                let batch = self.envelopes_of(table, row).await?;
                let Some((last, ..)) = batch.last() else { break };
                row = *last;
                for (row, id, data) in &batch {
                    let data = replace((table.of)(*id), data)?;
                    self.set_envelope_of(table, *row, &data).await?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    async fn secret_envelopes(&mut self, after: SecretId, revision: u32) -> Result<Vec<(SecretId, u32, Vec<u8>)>> {
        let rows = sqlx::query(
            "SELECT secret_id, revision, data FROM secret_version \
             WHERE data IS NOT NULL AND (secret_id, revision) > (?, ?) ORDER BY secret_id, revision LIMIT ?",
        )
        .bind(blob(after.0))
        .bind(revision)
        .bind(BATCH)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| Ok((row.id("secret_id")?, row.number("revision")?, row.bytes("data")?))).collect()
    }

    async fn set_secret_envelope(&mut self, id: SecretId, revision: u32, data: &[u8]) -> Result<()> {
        sqlx::query("UPDATE secret_version SET data = ? WHERE secret_id = ? AND revision = ?")
            .bind(data)
            .bind(blob(id.0))
            .bind(revision)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    async fn envelopes_of(&mut self, table: &Table, after: i64) -> Result<Vec<(i64, Uuid, Vec<u8>)>> {
        let Table { name, id, data, .. } = table;
        let sql = format!(
            "SELECT rowid AS number, {id} AS id, {data} AS data FROM {name} WHERE rowid > ? ORDER BY rowid LIMIT ?"
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(after).bind(BATCH);
        let rows = query.fetch_all(self.connection()).await?;
        rows.iter().map(|row| Ok((row.number("number")?, row.id("id")?, row.bytes("data")?))).collect()
    }

    async fn set_envelope_of(&mut self, table: &Table, row: i64, data: &[u8]) -> Result<()> {
        let sql = format!("UPDATE {} SET {} = ? WHERE rowid = ?", table.name, table.data);
        sqlx::query(AssertSqlSafe(sql)).bind(data).bind(row).execute(self.connection()).await?;
        Ok(())
    }
}

impl Reader {
    /// Tables with a column of octets in which some value begins with `prefix`: where something may have been overlooked.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn tables_with_octets(&mut self, prefix: &[u8]) -> Result<Vec<String>> {
        let columns = sqlx::query(
            "SELECT t.name AS name, c.name AS column FROM sqlite_master AS t, pragma_table_info(t.name) AS c \
             WHERE t.type = 'table' AND c.type = 'BLOB' ORDER BY t.name",
        )
        .fetch_all(self.connection())
        .await?;
        let length = i64::try_from(prefix.len()).unwrap_or(i64::MAX);
        let mut found = Vec::new();
        for row in columns {
            let (table, column): (String, String) = (row.try_get("name")?, row.try_get("column")?);
            // The names are the schema's.
            let sql = format!("SELECT 1 FROM \"{table}\" WHERE substr(\"{column}\", 1, ?) = ? LIMIT 1");
            let query = sqlx::query(AssertSqlSafe(sql)).bind(length).bind(prefix);
            if query.fetch_optional(self.connection()).await?.is_some() {
                found.push(table);
            }
        }
        Ok(found)
    }
}
