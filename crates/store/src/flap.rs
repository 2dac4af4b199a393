//! What of an object's history changes so often that not every change is told.

use std::collections::BTreeMap;

use causeway_model::{Fault, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use uuid::Uuid;

use crate::row::{RowExt, blob, to_json};
use crate::{Reader, Result, Writer};

/// What an event says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EventText {
    /// The new status, `IPv4 up`, or what was done.
    pub subject: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// More of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// How restless one topic of an object is.
#[derive(Clone, Debug, PartialEq)]
pub struct Flap {
    /// The penalty at [`Self::at`]; it decays.
    pub penalty: f64,
    /// When it changed last.
    pub at: Timestamp,
    /// Changes that were not told, if some are not.
    pub untold: Option<u32>,
    /// What the last change said.
    pub last: EventText,
    /// When it counts as calm if nothing more happens.
    pub calm_at: Timestamp,
}

/// Whose, and which topic of which kind of event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The object.
    pub object: Uuid,
    /// The kind of event.
    pub kind: String,
    /// `IPv4`, `IPv4 routes`; empty where the kind has one topic.
    pub name: String,
}

fn flap(row: &sqlx::sqlite::SqliteRow) -> Result<Flap> {
    Ok(Flap {
        penalty: row.try_get("penalty")?,
        at: row.time("at")?,
        untold: row.opt_number("untold")?,
        last: row.json("last")?,
        calm_at: row.time("calm_at")?,
    })
}

impl Reader {
    /// How restless a topic is; `None`: it is calm.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn flap(&mut self, topic: &Topic) -> Result<Option<Flap>> {
        let row = sqlx::query("SELECT * FROM flap WHERE object_id = ? AND kind = ? AND topic = ?")
            .bind(blob(topic.object))
            .bind(&topic.kind)
            .bind(&topic.name)
            .fetch_optional(self.connection())
            .await?;
        row.as_ref().map(flap).transpose()
    }

    /// Up to `limit` topics that have become calm.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn calmed(&mut self, now: Timestamp, limit: u32) -> Result<Vec<(Topic, Flap)>> {
        let rows = sqlx::query("SELECT * FROM flap WHERE calm_at <= ? ORDER BY calm_at LIMIT ?")
            .bind(now.0)
            .bind(limit)
            .fetch_all(self.connection())
            .await?;
        rows.iter()
            .map(|row| {
                let topic = Topic { object: row.id("object_id")?, kind: row.text("kind")?, name: row.text("topic")? };
                Ok((topic, flap(row)?))
            })
            .collect()
    }
}

impl Writer {
    /// Notes how restless a topic is.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_flap(&mut self, topic: &Topic, flap: &Flap) -> Result<()> {
        let sql = "INSERT INTO flap (object_id, kind, topic, penalty, at, untold, last, calm_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (object_id, kind, topic) DO UPDATE SET penalty = excluded.penalty, at = excluded.at, untold = excluded.untold, \
             last = excluded.last, calm_at = excluded.calm_at";
        self.change(sql, |values| {
            values
                .push_bind(blob(topic.object))
                .push_bind(&topic.kind)
                .push_bind(&topic.name)
                .push_bind(flap.penalty)
                .push_bind(flap.at.0)
                .push_bind(flap.untold)
                .push_bind(to_json(&flap.last))
                .push_bind(flap.calm_at.0);
        })
        .await
    }

    /// Forgets a topic that is calm.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn delete_flap(&mut self, topic: &Topic) -> Result<()> {
        sqlx::query("DELETE FROM flap WHERE object_id = ? AND kind = ? AND topic = ?")
            .bind(blob(topic.object))
            .bind(&topic.kind)
            .bind(&topic.name)
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
