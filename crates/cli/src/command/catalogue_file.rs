//! InterLink's catalogue as one file.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::session::{Api, Session, text};
use crate::text::printable;

/// `catalogue`
#[derive(Subcommand)]
pub enum Action {
    /// Make the catalogue what a file says; without --yes only show what would change
    Apply(Apply),
}

/// `catalogue apply`
#[derive(Args)]
pub struct Apply {
    /// The file (TOML): link_bandwidths, pops, partners, dedicated_connections, ports. A part that is missing stays as it is
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do it
    #[arg(long)]
    yes: bool,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Apply(wanted) => wanted.run(session).await,
        }
    }
}

impl Apply {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let path = self.file.display().to_string();
        let read = std::fs::read_to_string(&self.file);
        let text = read.map_err(|error| Failure::File { verb: "read", path: path.clone(), error })?;
        let file: Value = toml::from_str(&text).map_err(|error| Failure::Usage(format!("{path}: {error}")))?;
        let dry_run = if self.yes { "false" } else { "true" };
        let target = session.at(Api::Operator, ["catalogue"]).with("dry_run", dry_run);
        let answer = session.send(Method::POST, &target, &file).await?;
        let differences = answer.get("differences").and_then(Value::as_array).cloned().unwrap_or_default();
        let yes = self.yes;
        session.show_as(&answer, |_| shown(&differences, yes))
    }
}

/// A line for each object, and below it one for each field that changes.
fn shown(differences: &[Value], applied: bool) -> String {
    if differences.is_empty() {
        return "the catalogue is as the file says\n".to_owned();
    }
    let mut lines = Vec::new();
    for difference in differences {
        let sign = match text(difference, "/change").as_str() {
            "create" => '+',
            "delete" => '-',
            _ => '~',
        };
        lines.push(format!(
            "{sign} {} {}",
            text(difference, "/kind").replace('_', " "),
            printable(&text(difference, "/name"))
        ));
        if sign == '~' {
            let nothing = json!({});
            let (before, after) = (difference.get("before"), difference.get("after"));
            let (before, after) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
            for (field, value) in after.as_object().into_iter().flatten() {
                let old = before.get(field).and_then(Value::as_str).unwrap_or("nothing");
                lines.push(
                    printable(&format!("    {field}: {old} -> {}", value.as_str().unwrap_or_default())).into_owned(),
                );
            }
        }
    }
    lines.push(if applied { "applied" } else { "nothing was changed; --yes applies it" }.to_owned());
    lines.push(String::new());
    lines.join("\n")
}
