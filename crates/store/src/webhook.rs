//! Webhooks and their deliveries.

use causeway_model::resource::{Webhook, WebhookDelivery, WebhookOwner};
use causeway_model::{PartnerId, ProjectId, Timestamp, WebhookId};
use sqlx::QueryBuilder;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::list::window;
use crate::row::{RowExt, blob, to_json};
use crate::{Reader, Result, Writer};

/// A webhook with its secret's envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRecord {
    /// The webhook.
    pub webhook: Webhook,
    /// The secret that signs, as an envelope.
    pub secret: Vec<u8>,
}

/// A delivery that is to be tried now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueDelivery {
    /// The delivery.
    pub delivery: WebhookDelivery,
    /// What is sent.
    pub body: String,
    /// To whom.
    pub record: WebhookRecord,
}

const fn party(owner: &WebhookOwner) -> (&'static str, Option<ProjectId>, Option<PartnerId>) {
    match owner {
        WebhookOwner::Operator => ("operator", None, None),
        WebhookOwner::Tenant(project) => ("tenant", Some(*project), None),
        WebhookOwner::Partner(partner) => ("partner", None, Some(*partner)),
    }
}

fn record(row: &SqliteRow, id: &'static str, created: &'static str) -> Result<WebhookRecord> {
    let owner = match (row.opt_id("project_id")?, row.opt_id("partner_id")?) {
        (Some(project), _) => WebhookOwner::Tenant(project),
        (None, Some(partner)) => WebhookOwner::Partner(partner),
        (None, None) => WebhookOwner::Operator,
    };
    let webhook = Webhook {
        id: row.id(id)?,
        owner,
        url: row.text("url")?,
        events: row.json("events")?,
        created_at: row.time(created)?,
    };
    Ok(WebhookRecord { webhook, secret: row.bytes("secret")? })
}

fn delivery(row: &SqliteRow) -> Result<WebhookDelivery> {
    Ok(WebhookDelivery {
        id: row.id("id")?,
        webhook_id: row.id("webhook_id")?,
        event: row.text("event")?,
        created_at: row.time("created_at")?,
        attempts: row.number("attempts")?,
        next_at: row.opt_time("next_at")?,
        delivered_at: row.opt_time("delivered_at")?,
        last_error: row.opt_text("last_error")?,
    })
}

fn push_owner(query: &mut QueryBuilder<sqlx::Sqlite>, owner: &WebhookOwner) {
    let (party, project, partner) = party(owner);
    query.push(" WHERE party = ").push_bind(party);
    if let Some(project) = project {
        query.push(" AND project_id = ").push_bind(blob(project.0));
    }
    if let Some(partner) = partner {
        query.push(" AND partner_id = ").push_bind(blob(partner.0));
    }
}

impl Reader {
    /// A webhook.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn webhook(&mut self, id: WebhookId) -> Result<Option<WebhookRecord>> {
        self.row("webhook", id.0).await?.as_ref().map(|row| record(row, "id", "created_at")).transpose()
    }

    /// The webhooks of a party, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn webhooks(&mut self, owner: &WebhookOwner) -> Result<Vec<WebhookRecord>> {
        let mut query = QueryBuilder::new("SELECT * FROM webhook");
        push_owner(&mut query, owner);
        query.push(" ORDER BY seq");
        let rows = query.build().fetch_all(self.connection()).await?;
        rows.iter().map(|row| record(row, "id", "created_at")).collect()
    }

    /// Deliveries of a webhook, newest first, and how many are kept.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn webhook_deliveries(
        &mut self,
        id: WebhookId,
        page: u32,
        page_size: u32,
    ) -> Result<(Vec<WebhookDelivery>, u64)> {
        let total = sqlx::query("SELECT count(*) AS total FROM webhook_delivery WHERE webhook_id = ?")
            .bind(blob(id.0))
            .fetch_one(self.connection())
            .await?
            .number("total")?;
        let (limit, offset) = window(page, page_size);
        let rows =
            sqlx::query("SELECT * FROM webhook_delivery WHERE webhook_id = ? ORDER BY seq DESC LIMIT ? OFFSET ?")
                .bind(blob(id.0))
                .bind(limit)
                .bind(offset)
                .fetch_all(self.connection())
                .await?;
        Ok((rows.iter().map(delivery).collect::<Result<_>>()?, total))
    }

    /// The number of the newest delivery of a webhook; 0: there is none, or from before they had numbers. It is in what is sent.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn newest_delivery(&mut self, id: WebhookId) -> Result<u64> {
        let row = sqlx::query(
            "SELECT json_extract(body, '$.sequence') AS sequence FROM webhook_delivery WHERE webhook_id = ? ORDER BY seq DESC LIMIT 1",
        )
        .bind(blob(id.0))
        .fetch_optional(self.connection())
        .await?;
        let number = row.map(|row| row.opt_number("sequence")).transpose()?;
        Ok(number.flatten().unwrap_or(0))
    }

    /// Deliveries that are to be tried now: of each webhook the oldest, of each owner at most `per_owner`, the longest due first; none to one of
    /// `except`.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn due_deliveries(
        &mut self,
        now: Timestamp,
        per_owner: u32,
        except: &[WebhookId],
        limit: u32,
    ) -> Result<Vec<DueDelivery>> {
        let except: Vec<String> = except.iter().map(|id| id.0.simple().to_string()).collect();
        let rows = sqlx::query(
            "WITH oldest AS (SELECT webhook_id, min(seq) AS seq, min(next_at) AS due FROM webhook_delivery WHERE next_at <= ?1 \
             AND webhook_id NOT IN (SELECT unhex(value) FROM json_each(?2)) GROUP BY webhook_id), \
             ranked AS (SELECT oldest.seq, due, row_number() OVER (PARTITION BY project_id, partner_id ORDER BY due, oldest.seq) AS place \
             FROM oldest JOIN webhook ON webhook.id = webhook_id) \
             SELECT webhook_delivery.*, project_id, partner_id, url, events, secret, webhook.created_at AS webhook_created_at \
             FROM ranked JOIN webhook_delivery ON webhook_delivery.seq = ranked.seq JOIN webhook ON webhook.id = webhook_id \
             WHERE place <= ?3 ORDER BY due, ranked.seq LIMIT ?4",
        )
        .bind(now.0)
        .bind(to_json(&except))
        .bind(per_owner)
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        rows.iter()
            .map(|row| {
                let record = record(row, "webhook_id", "webhook_created_at")?;
                Ok(DueDelivery { delivery: delivery(row)?, body: row.text("body")?, record })
            })
            .collect()
    }

    /// When the next delivery is to be tried that is not yet at `after`.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn next_delivery(&mut self, after: Timestamp) -> Result<Option<Timestamp>> {
        sqlx::query("SELECT min(next_at) AS next FROM webhook_delivery WHERE next_at > ?")
            .bind(after.0)
            .fetch_one(self.connection())
            .await?
            .opt_time("next")
    }
}

impl Writer {
    /// Lets all deliveries be tried later by so many microseconds.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn move_deliveries(&mut self, by: i64) -> Result<()> {
        sqlx::query("UPDATE webhook_delivery SET next_at = next_at + ? WHERE next_at IS NOT NULL")
            .bind(by)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Adds a webhook.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_webhook(&mut self, record: &WebhookRecord) -> Result<()> {
        let webhook = &record.webhook;
        let (party, project, partner) = party(&webhook.owner);
        sqlx::query(
            "INSERT INTO webhook (id, party, project_id, partner_id, url, events, secret, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(blob(webhook.id.0))
        .bind(party)
        .bind(project.map(|id| blob(id.0)))
        .bind(partner.map(|id| blob(id.0)))
        .bind(&webhook.url)
        .bind(to_json(&webhook.events))
        .bind(&record.secret)
        .bind(webhook.created_at.0)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Writes where a webhook leads and what it is told.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_webhook(&mut self, webhook: &Webhook) -> Result<()> {
        sqlx::query("UPDATE webhook SET url = ?, events = ? WHERE id = ?")
            .bind(&webhook.url)
            .bind(to_json(&webhook.events))
            .bind(blob(webhook.id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Removes a webhook with its deliveries.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn delete_webhook(&mut self, id: WebhookId) -> Result<()> {
        sqlx::query("DELETE FROM webhook WHERE id = ?").bind(blob(id.0)).execute(self.connection()).await?;
        Ok(())
    }

    /// Adds a delivery to be tried at once. Of each webhook the newest thousand are kept.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_delivery(
        &mut self,
        webhook: WebhookId,
        id: Uuid,
        event: &str,
        body: &str,
        now: Timestamp,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO webhook_delivery (id, webhook_id, event, body, created_at, attempts, next_at) VALUES (?, ?, ?, ?, ?, 0, ?)",
        )
        .bind(blob(id))
        .bind(blob(webhook.0))
        .bind(event)
        .bind(body)
        .bind(now.0)
        .bind(now.0)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Writes what became of a delivery.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_delivery(&mut self, delivery: &WebhookDelivery) -> Result<()> {
        sqlx::query(
            "UPDATE webhook_delivery SET attempts = ?, next_at = ?, delivered_at = ?, last_error = ? WHERE id = ?",
        )
        .bind(delivery.attempts)
        .bind(delivery.next_at.map(|at| at.0))
        .bind(delivery.delivered_at.map(|at| at.0))
        .bind(&delivery.last_error)
        .bind(blob(delivery.id))
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
