//! The audit trail.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::output::{Column, inline};
use crate::session::{Api, Session, text};

const COLUMNS: &[Column] = &[
    Column { title: "AT", cell: |record| text(record, "/at") },
    Column { title: "WHO", cell: |record| text(record, "/access_key") },
    Column { title: "ACTION", cell: |record| text(record, "/action") },
    Column { title: "ON", cell: |record| text(record, "/resource") },
    Column { title: "ID", cell: |record| text(record, "/resource_id") },
    Column { title: "DETAILS", cell: changes },
    Column { title: "REQUEST", cell: |record| text(record, "/request_id") },
];

/// `name: a → b` for each field that was changed, and what else there is to say. What was made or deleted has all its fields in `-o json`.
pub(super) fn changes(record: &Value) -> String {
    let (before, after) = (fields(record, "before"), fields(record, "after"));
    let mut shown = Vec::new();
    if let (Some(before), Some(after)) = (&before, &after) {
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let value = |fields: &Map<String, Value>, name: &str| inline(fields.get(name).unwrap_or(&Value::Null));
        shown.extend(names.into_iter().map(|name| format!("{name}: {} → {}", value(before, name), value(after, name))));
    }
    for (key, value) in record.get("details").and_then(Value::as_object).into_iter().flatten() {
        let is_told = match key.as_str() {
            "before" => before.is_some(),
            "after" => after.is_some(),
            _ => false,
        };
        if !is_told {
            shown.push(format!("{key}: {}", inline(value)));
        }
    }
    shown.join(", ")
}

/// Fields before or after: audit records have them as they are, events as text among their details.
fn fields(record: &Value, name: &str) -> Option<Map<String, Value>> {
    match record.get(name) {
        Some(Value::Object(fields)) => Some(fields.clone()),
        _ => serde_json::from_str(record.get("details")?.get(name)?.as_str()?).ok(),
    }
}

/// What can be done with audit records.
#[derive(Subcommand)]
pub enum Action {
    /// List audit records, newest first
    List(Box<List>),
}

/// `audit list`
#[derive(Args)]
pub struct List {
    /// How many at most
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    last: u32,
    /// Only what this key did
    #[arg(long, value_name = "ACCESS_KEY")]
    access_key: Option<String>,
    /// Only what was done to objects of this kind, for example `connection`
    #[arg(long, value_name = "KIND")]
    resource: Option<String>,
    /// Only what was done to this object
    #[arg(long, value_name = "ID")]
    resource_id: Option<String>,
    /// Only actions of this kind, for example `create`
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what this request did
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Only from this instant or day (UTC) on, for example 2027-01-01
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only before this instant or day
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self::List(wanted) = self;
        let mut target = session.at(Api::Operator, ["audit-records"]);
        let filters = [
            ("access_key", &wanted.access_key),
            ("resource", &wanted.resource),
            ("resource_id", &wanted.resource_id),
            ("action", &wanted.action),
            ("request_id", &wanted.request_id),
            ("from", &wanted.from),
            ("to", &wanted.to),
        ];
        for (name, value) in filters {
            if let Some(value) = value {
                target = target.with(name, value);
            }
        }
        if let Some(project) = session.chosen_project() {
            target = target.with("project_id", project);
        }
        let most = usize::try_from(wanted.last).unwrap_or(usize::MAX);
        let (found, total) = session.first(target, "audit_records", most).await?;
        let shown = found.len();
        session.show_list("audit records", COLUMNS, found)?;
        if session.is_table() && total.is_some_and(|total| total > shown as u64) {
            let total = total.unwrap_or_default();
            session.console.note(&format!("{shown} of {total}; --last shows more, filters fewer"));
        }
        Ok(())
    }
}
