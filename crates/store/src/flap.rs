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
    /// While it is restless, the changes that the history does not have.
    pub untold: Option<u32>,
    /// What the last change said.
    pub last: EventText,
    /// Whether the history has the last change.
    pub told: bool,
    /// When it is calm, and once it is, when it is forgotten, if nothing more happens.
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
        told: row.flag("told")?,
        calm_at: row.time("calm_at")?,
    })
}

impl Reader {
    /// How restless a topic is; `None`: it has been calm for long.
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

    /// Up to `limit` restless topics that have become calm.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn calmed(&mut self, now: Timestamp, limit: u32) -> Result<Vec<(Topic, Flap)>> {
        let rows = sqlx::query("SELECT * FROM flap WHERE calm_at <= ? AND untold IS NOT NULL ORDER BY calm_at LIMIT ?")
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

    /// Whether a topic has become calm, or can be forgotten.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn has_calmed(&mut self, now: Timestamp) -> Result<bool> {
        let row = sqlx::query("SELECT 1 FROM flap WHERE calm_at <= ? LIMIT 1");
        Ok(row.bind(now.0).fetch_optional(self.connection()).await?.is_some())
    }
}

impl Writer {
    /// Notes how restless a topic is.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_flap(&mut self, topic: &Topic, flap: &Flap) -> Result<()> {
        let sql = "INSERT INTO flap (object_id, kind, topic, penalty, at, untold, last, told, calm_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (object_id, kind, topic) DO UPDATE SET penalty = excluded.penalty, at = excluded.at, untold = excluded.untold, \
             last = excluded.last, told = excluded.told, calm_at = excluded.calm_at";
        self.change(sql, |values| {
            values
                .push_bind(blob(topic.object))
                .push_bind(&topic.kind)
                .push_bind(&topic.name)
                .push_bind(flap.penalty)
                .push_bind(flap.at.0)
                .push_bind(flap.untold)
                .push_bind(to_json(&flap.last))
                .push_bind(flap.told)
                .push_bind(flap.calm_at.0);
        })
        .await
    }

    /// Forgets up to `limit` topics that have been calm for long.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn forget_flaps(&mut self, now: Timestamp, limit: u32) -> Result<()> {
        let sql = "DELETE FROM flap WHERE (object_id, kind, topic) IN \
             (SELECT object_id, kind, topic FROM flap WHERE calm_at <= ? AND untold IS NULL ORDER BY calm_at LIMIT ?)";
        self.change(sql, |values| {
            values.push_bind(now.0).push_bind(limit);
        })
        .await
    }
}
