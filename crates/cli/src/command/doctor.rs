//! What is the matter with an object: the checks in their order, the first one that fails, and a file with the evidence.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Object, label};
use crate::failure::Failure;
use crate::output::{Column, table};
use crate::session::{Session, text};
use crate::tar::Tar;
use crate::text::printable;

const CHECKS: &[Column] = &[
    Column { title: "CHECK", cell: |check| text(check, "/name") },
    Column { title: "RESULT", cell: |check| text(check, "/verdict") },
    Column { title: "EVIDENCE", cell: |check| text(check, "/evidence") },
];

/// What can be examined.
#[derive(Subcommand)]
pub enum Action {
    /// Examine a gateway node: the ways between it and the controller, its machine and services, its configuration; operators only
    Node(Node),
}

/// `doctor node`
#[derive(Args)]
pub struct Node {
    #[command(flatten)]
    node: Object,
    /// Write everything that was found, without secrets, to this file (tar), for whoever helps
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self::Node(Node { node, bundle }) = self;
        let kind = &super::node::NODE;
        let found = session.find(kind, &node.object).await?;
        let target = session.object(kind, &text(&found, "/id")).join("diagnosis");
        let diagnosis = session.get(&target).await?;
        if let Some(path) = bundle {
            let full = session.get(&session.object(kind, &text(&found, "/id"))).await?;
            let pretty = |document: &Value| serde_json::to_string_pretty(document).unwrap_or_default();
            let mut tar = Tar::default();
            tar.add("summary.txt", people(&diagnosis).as_bytes());
            tar.add("diagnosis.json", pretty(&diagnosis).as_bytes());
            tar.add("node.json", pretty(&full).as_bytes());
            tar.add("version.txt", env!("CARGO_PKG_VERSION").as_bytes());
            std::fs::write(&path, tar.end()).map_err(|error| Failure::File {
                verb: "write",
                path: path.display().to_string(),
                error,
            })?;
            session.console.note(&format!("wrote {}", path.display()));
        }
        session.show_as(&diagnosis, people)?;
        match failed(&diagnosis) {
            None => Ok(()),
            Some(check) => Err(Failure::Ailing(format!(
                "node {} fails the check {}: {}",
                label(&found),
                text(check, "/name"),
                text(check, "/evidence"),
            ))),
        }
    }
}

/// The first check that failed.
fn failed(diagnosis: &Value) -> Option<&Value> {
    let name = diagnosis.get("failed").and_then(Value::as_str)?;
    let checks = diagnosis.get("checks").and_then(Value::as_array)?;
    checks.iter().find(|check| text(check, "/name") == name)
}

fn people(diagnosis: &Value) -> String {
    let (name, id) = (text(diagnosis, "/node_name"), text(diagnosis, "/node_id"));
    let state = text(diagnosis, "/state");
    let mut shown = format!("node {} ({id}), state {state}\n\n", printable(&name));
    let checks = diagnosis.get("checks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    shown.push_str(&table(CHECKS, checks));
    match failed(diagnosis) {
        None => {
            let unknown = checks.iter().filter(|check| text(check, "/verdict") == "unknown").count();
            let rest = if unknown == 0 { String::new() } else { format!("; {unknown} could not be made") };
            shown.push_str(&format!("\nno check fails{rest}\n"));
        }
        Some(check) => {
            let (name, evidence) = (text(check, "/name"), text(check, "/evidence"));
            shown.push_str(&format!("\nbegin with {}: {}\n", printable(&name), printable(&evidence)));
            shown.push_str(&format!("remedy: {}\n", printable(&text(check, "/remedy"))));
        }
    }
    shown
}
