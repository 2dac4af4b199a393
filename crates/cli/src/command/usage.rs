//! Usage: what projects are billed for.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::client::Target;
use crate::failure::Failure;
use crate::output::{Column, price};
use crate::session::{Api, Session, text};

const CSV: &str = "text/csv";

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |usage| text(usage, "/name") },
    Column { title: "KIND", cell: |usage| text(usage, "/kind") },
    Column { title: "TYPE", cell: |usage| text(usage, "/commercial_type") },
    Column { title: "ID", cell: |usage| text(usage, "/resource_id") },
    Column { title: "FROM", cell: |usage| text(usage, "/started_at") },
    Column { title: "TO", cell: |usage| text(usage, "/ended_at") },
    Column { title: "HOURS", cell: |usage| text(usage, "/hours") },
    Column { title: "AMOUNT", cell: amount },
];

fn amount(usage: &Value) -> String {
    format!("{} {}", price(usage.get("amount")), text(usage, "/currency")).trim().to_owned()
}

/// What can be done with usage.
#[derive(Subcommand)]
pub enum Action {
    /// List what was used
    List(Period),
    /// Print the same as comma-separated values, with a head line
    Csv(Csv),
}

#[derive(Args)]
pub struct Period {
    /// From this instant or day (UTC) on, for example 2027-01-01 [default: the begin of this month]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Until this instant or day [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

/// `usage csv`
#[derive(Args)]
pub struct Csv {
    #[command(flatten)]
    period: Period,
    /// Write to this file instead of standard output
    #[arg(short = 'O', long, value_name = "FILE")]
    output_file: Option<PathBuf>,
}

impl Period {
    fn target(&self, session: &Session<'_>) -> Target {
        let mut target = session.at(Api::Extension, ["usage"]);
        let project = session.chosen_project();
        let filters = [("from", self.from.as_deref()), ("to", self.to.as_deref()), ("project_id", project)];
        for (name, value) in filters {
            if let Some(value) = value {
                target = target.with(name, value);
            }
        }
        target
    }
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(period) => {
                let target = period.target(session);
                let found = session.pages(target, "usage").await?;
                session.show_list("usage", COLUMNS, found)
            }
            Self::Csv(wanted) => csv(session, wanted).await,
        }
    }
}

/// The table piece by piece, however long it is.
async fn csv(session: &mut Session<'_>, wanted: Csv) -> Result<(), Failure> {
    let mut stream = session.open(&wanted.period.target(session), CSV, None).await?;
    let Some(path) = &wanted.output_file else {
        while let Some(piece) = stream.next().await? {
            session.console.verbatim(&piece)?;
        }
        return Ok(());
    };
    let failed = |error| Failure::File { verb: "write", path: path.display().to_string(), error };
    let mut file = std::fs::File::create(path).map_err(failed)?;
    while let Some(piece) = stream.next().await? {
        file.write_all(&piece).map_err(failed)?;
    }
    session.console.note(&format!("wrote {}", path.display()));
    Ok(())
}
