//! The bounded history of an object.

use std::collections::BTreeMap;

use causeway_model::{Fault, Reason, Timestamp};
use uuid::Uuid;

use crate::row::{RowExt, blob, to_json};
use crate::{EventText, Reader, Result, Topic, Writer};

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectEvent {
    /// Grows with every event of the service.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// `status`, `tunnel`, `session` or `change`.
    pub kind: String,
    /// The new status, `IPv4 up`, `IPv4 routes`, `IPv4 routes flapping`, or what was done.
    pub subject: String,
    /// The access key of whoever did it; `support` or `operator` for the operator's people.
    pub actor: Option<String>,
    /// Why.
    pub reason: Option<Reason>,
    /// More of it.
    pub details: BTreeMap<String, String>,
}

impl Reader {
    /// Events of an object: those after a sequence number, oldest first, or else those before one (or all), newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn object_events(
        &mut self,
        object: Uuid,
        after: Option<u64>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<ObjectEvent>> {
        let sql = if after.is_some() {
            "SELECT * FROM object_event WHERE object_id = ? AND seq > ? AND seq < ? ORDER BY seq LIMIT ?"
        } else {
            "SELECT * FROM object_event WHERE object_id = ? AND seq > ? AND seq < ? ORDER BY seq DESC LIMIT ?"
        };
        let bound = |value: Option<u64>, other| value.map_or(other, |value| i64::try_from(value).unwrap_or(i64::MAX));
        let rows = sqlx::query(sql)
            .bind(blob(object))
            .bind(bound(after, 0))
            .bind(bound(before, i64::MAX))
            .bind(limit)
            .fetch_all(self.connection())
            .await?;
        rows.iter()
            .map(|row| {
                let at = row.time("at")?;
                let fault: Option<Fault> = row.opt_json("fault")?;
                Ok(ObjectEvent {
                    sequence: row.number("seq")?,
                    at,
                    kind: row.text("kind")?,
                    subject: row.text("subject")?,
                    actor: row.opt_text("actor")?,
                    reason: fault.map(|fault| fault.explain(Some(at))),
                    details: row.json("details")?,
                })
            })
            .collect()
    }
}

impl Writer {
    /// Adds an event of the platform's or a node's; its sequence number is given by the store.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn add_object_event(&mut self, object: Uuid, at: Timestamp, kind: &str, text: &EventText) -> Result<()> {
        let of = (None, text.fault.as_ref());
        self.insert_object_event(object, at, (kind, &text.subject), of, &text.details, None).await
    }

    /// Adds the last change of a topic, in the place of the one added like this before, if there is one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn fold_object_event(&mut self, topic: &Topic, at: Timestamp, text: &EventText) -> Result<()> {
        self.of_folded("DELETE FROM object_event WHERE object_id = ? AND kind = ? AND folds = ?", topic).await?;
        let of = (None, text.fault.as_ref());
        let said = (topic.kind.as_str(), text.subject.as_str());
        self.insert_object_event(topic.object, at, said, of, &text.details, Some(&topic.name)).await
    }

    /// The last change of a topic stays, whatever comes after it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn settle_object_event(&mut self, topic: &Topic) -> Result<()> {
        let sql = "UPDATE object_event SET folds = NULL WHERE object_id = ? AND kind = ? AND folds = ?";
        self.of_folded(sql, topic).await
    }

    async fn of_folded(&mut self, sql: &str, topic: &Topic) -> Result<()> {
        self.change(sql, |values| {
            values.push_bind(blob(topic.object)).push_bind(topic.kind.clone()).push_bind(topic.name.clone());
        })
        .await
    }

    pub(crate) async fn insert_object_event(
        &mut self,
        object: Uuid,
        at: Timestamp,
        (kind, subject): (&str, &str),
        (actor, fault): (Option<&str>, Option<&Fault>),
        details: &BTreeMap<String, String>,
        folds: Option<&str>,
    ) -> Result<()> {
        let sql = "INSERT INTO object_event (object_id, at, kind, subject, actor, fault, details, folds) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        self.change(sql, |values| {
            values
                .push_bind(blob(object))
                .push_bind(at.0)
                .push_bind(kind)
                .push_bind(subject)
                .push_bind(actor)
                .push_bind(fault.map(to_json))
                .push_bind(to_json(details))
                .push_bind(folds);
        })
        .await
    }
}
