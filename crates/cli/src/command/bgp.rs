//! What connections and links have in common: the routes of their sessions, and what those ask of the peer.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::secret::SECRET;
use super::{Object, Switch};
use crate::failure::Failure;
use crate::output::{Column, inline};
use crate::session::{Api, Kind, Session, set, set_some, text};

const RECEIVED: &[Column] = &[
    Column { title: "PREFIX", cell: |route| text(route, "/prefix") },
    Column { title: "DECISION", cell: |route| text(route, "/decision") },
    Column { title: "DETAIL", cell: |route| text(route, "/detail") },
    Column { title: "NEXT HOP", cell: |route| text(route, "/next_hop") },
    Column { title: "AS PATH", cell: |route| route.get("as_path").map(inline).unwrap_or_default().replace(',', "") },
    Column { title: "MED", cell: |route| text(route, "/med") },
    Column { title: "COMMUNITIES", cell: |route| route.get("communities").map(inline).unwrap_or_default() },
];

const ANNOUNCED: &[Column] = &[
    Column { title: "PREFIX", cell: |route| text(route, "/prefix") },
    Column { title: "DECISION", cell: |route| text(route, "/decision") },
    Column { title: "DETAIL", cell: |route| text(route, "/detail") },
    Column { title: "FROM", cell: |route| text(route, "/origin") },
    Column { title: "NEXT HOP", cell: |route| text(route, "/next_hop") },
];

/// Whose routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// What the device announces, and what became of it
    Received,
    /// The VPC's own prefixes, and whether they are announced to the device
    Announced,
}

/// `connection routes` and `link routes`
#[derive(Args)]
pub struct Routes {
    #[command(flatten)]
    of: Object,
    /// Whose routes
    #[arg(long, value_enum, default_value = "received")]
    direction: Direction,
    /// Only those that are this prefix or lie in it
    #[arg(long, value_name = "CIDR")]
    prefix: Option<String>,
    /// Only those that became of this, for example `filtered`
    #[arg(long, value_name = "DECISION")]
    decision: Option<String>,
}

impl Routes {
    pub(super) async fn run(self, session: &mut Session<'_>, kind: &Kind) -> Result<(), Failure> {
        let id = session.id(kind, &self.of.object).await?;
        let (word, columns) = match self.direction {
            Direction::Received => ("received", RECEIVED),
            Direction::Announced => ("announced", ANNOUNCED),
        };
        let mut target = session.at(Api::Extension, [kind.collection, &id, "routes"]).with("direction", word);
        for (name, value) in [("prefix", &self.prefix), ("decision", &self.decision)] {
            if let Some(value) = value {
                target = target.with(name, value);
            }
        }
        let found = session.pages(target, "routes").await?;
        session.show_list(&format!("{word} routes"), columns, found)
    }
}

/// Changes of what sessions ask of the peer.
#[derive(Args)]
pub(crate) struct BgpChanges {
    /// The BGP hold time; 0: none
    #[arg(long, value_name = "SECONDS")]
    hold_time: Option<u16>,
    /// Prefixes accepted from the device at most
    #[arg(long, value_name = "NUMBER")]
    max_prefixes: Option<u32>,
    /// The secret that signs the BGP sessions (TCP MD5)
    #[arg(long, value_name = "NAME|ID")]
    md5_secret: Option<String>,
    /// Sign no sessions
    #[arg(long, conflicts_with = "md5_secret")]
    no_md5_secret: bool,
    /// Whether the device must be a neighbour by hop limit (GTSM)
    #[arg(long, value_enum)]
    gtsm: Option<Switch>,
}

/// As they are written.
const OPTIONS: [&str; 5] = ["--hold-time", "--max-prefixes", "--md5-secret", "--no-md5-secret", "--gtsm"];

impl BgpChanges {
    /// The document's `bgp`. What is left out stays as it is.
    pub(super) async fn part(&self, session: &mut Session<'_>) -> Result<Value, Failure> {
        let md5_secret = match &self.md5_secret {
            Some(secret) => Some(session.id(&SECRET, secret).await?),
            None => None,
        };
        let mut bgp = json!({});
        set_some(&mut bgp, "hold_time", self.hold_time);
        set_some(&mut bgp, "max_prefixes", self.max_prefixes);
        set_some(&mut bgp, "md5_secret_id", md5_secret);
        if self.no_md5_secret {
            set(&mut bgp, "md5_secret_id", Value::Null);
        }
        set_some(&mut bgp, "gtsm", self.gtsm.map(Switch::is_on));
        Ok(bgp)
    }
}

/// Whether a document says anything.
pub(super) fn is_filled(document: &Value) -> bool {
    document.as_object().is_some_and(|fields| !fields.is_empty())
}

/// That there is nothing to do. `others`: the options that there are beside these.
pub(super) fn no_change(others: &[&str]) -> Failure {
    let options: Vec<&str> = others.iter().copied().chain(OPTIONS).collect();
    Failure::Usage(format!("say what to change: at least one of {} is needed", options.join(", ")))
}
