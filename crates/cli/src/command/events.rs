//! What happened to an object: its history, and a stream of it that goes on after every break.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::audit::changes;
use super::{Object, label};
use crate::client::Target;
use crate::failure::Failure;
use crate::output::{Column, Format};
use crate::session::{Api, Kind, Session, reason, text};
use crate::sse::{Message, Parser};
use crate::text::printable;

const STREAM: &str = "text/event-stream";
/// Events from before that a stream begins with.
const BEFORE: u32 = 10;
/// Until the service says something else, and what it may say at most.
const RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

const COLUMNS: &[Column] = &[
    Column { title: "AT", cell: |event| text(event, "/at") },
    Column { title: "KIND", cell: |event| text(event, "/kind") },
    Column { title: "WHAT", cell: |event| text(event, "/subject") },
    Column { title: "WHY", cell: |event| event.get("reason").map(reason).unwrap_or_default() },
    Column { title: "DETAILS", cell: changes },
    Column { title: "WHO", cell: |event| text(event, "/actor") },
];

/// `gateway events` and `connection events`
#[derive(Args)]
pub struct Events {
    #[command(flatten)]
    object: Object,
    /// Go on with what happens until interrupted; `-o json` prints one document in each line
    #[arg(long)]
    follow: bool,
    /// How many from before at most [default: all that are kept; with --follow: 10]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(0..=1000))]
    last: Option<u32>,
    /// Only those after this one: a `sequence` of `-o json`
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
}

impl Events {
    pub(crate) async fn run(self, session: &mut Session<'_>, kind: &Kind) -> Result<(), Failure> {
        let object = session.find(kind, &self.object.object).await?;
        let mut target = session.at(Api::Extension, [kind.collection, &text(&object, "/id"), "events"]);
        if !self.follow {
            if let Some(after) = self.after {
                target = target.with("after", &after.to_string());
            }
            let most = self.last.map_or(usize::MAX, |last| usize::try_from(last).unwrap_or(usize::MAX));
            let (found, _) = session.first(target, "events", most).await?;
            return session.show_list("events", COLUMNS, found);
        }
        let after = match (self.after, self.last) {
            // The stream itself has them all.
            (Some(after), None) => Some(after),
            (after, last) => {
                let mut before = target.clone();
                if let Some(after) = after {
                    before = before.with("after", &after.to_string());
                }
                let most = usize::try_from(last.unwrap_or(BEFORE)).unwrap_or(usize::MAX);
                // One is needed to know where the stream begins, even if none is wanted.
                let (mut found, _) = session.first(before, "events", most.max(1)).await?;
                let newest = found.first().and_then(|event| event.get("sequence")).and_then(Value::as_u64);
                found.truncate(most);
                for event in found.iter().rev() {
                    show(session, event)?;
                }
                newest.or(after)
            }
        };
        let name = format!("{} {}", kind.noun, label(&object));
        Follower { target, name, last: after, retry: RETRY, opened: false, broken: false }.run(session).await
    }
}

/// One event of a stream. Whoever reads it wants to see it at once.
fn show(session: &mut Session<'_>, event: &Value) -> Result<(), Failure> {
    match session.format {
        Format::Table => {
            let cells = COLUMNS.iter().map(|column| (column.cell)(event)).filter(|cell| !cell.is_empty());
            let line = cells.collect::<Vec<_>>().join("  ");
            session.console.line(&printable(&line))?;
        }
        Format::Json => session.console.line(&event.to_string())?,
        Format::Yaml => {
            session.console.line("---")?;
            session.console.document(Format::Yaml, event)?;
        }
    }
    Ok(session.console.out.flush()?)
}

/// Follows a stream over its breaks.
struct Follower {
    target: Target,
    name: String,
    last: Option<u64>,
    retry: Duration,
    /// Whether there was a stream at all: what never begins is an error, what breaks off comes again.
    opened: bool,
    /// Whether somebody has been told that the stream broke off.
    broken: bool,
}

/// How a stream ended.
enum End {
    /// Broke off; there is more to come.
    Broken,
    /// The object has gone.
    Deleted,
}

impl Follower {
    async fn run(mut self, session: &mut Session<'_>) -> Result<(), Failure> {
        loop {
            match self.once(session).await {
                Ok(End::Deleted) => {
                    session.console.note(&printable(&format!("{} has been deleted", self.name)));
                    return Ok(());
                }
                Ok(End::Broken) => {}
                Err(failure) if failure.status() == Some(404) && self.opened => {
                    session.console.note(&printable(&format!("{} has been deleted", self.name)));
                    return Ok(());
                }
                Err(failure) if !self.opened || !failure.may_pass() => return Err(failure),
                Err(failure) => {
                    if !self.broken {
                        let why = format!("the stream broke off ({failure}); trying to go on");
                        session.console.note(&printable(&why));
                    }
                    self.broken = true;
                }
            }
            tokio::time::sleep(self.retry).await;
        }
    }

    /// One stream from its beginning to its end.
    async fn once(&mut self, session: &mut Session<'_>) -> Result<End, Failure> {
        let target = self.target.clone().with("follow", "true");
        let mut stream = session.open(&target, STREAM, self.last).await?;
        self.opened = true;
        let mut parser = Parser::default();
        while let Some(piece) = stream.next().await? {
            if self.broken {
                self.broken = false;
                session.console.note("the stream goes on");
            }
            for message in parser.take(&piece).map_err(|why| stream.wrong(why))? {
                match message {
                    Message::Retry(retry) => self.retry = retry.min(LONGEST_RETRY),
                    Message::Event { kind, id, data } => {
                        let document: Value =
                            serde_json::from_str(&data).map_err(|error| stream.wrong(error.to_string()))?;
                        if kind == "end" {
                            return match text(&document, "/reason").as_str() {
                                "deleted" => Ok(End::Deleted),
                                why => Err(Failure::Ended { what: self.name.clone(), why: why.to_owned() }),
                            };
                        }
                        self.last = id.or(self.last);
                        show(session, &document)?;
                    }
                }
            }
        }
        Ok(End::Broken)
    }
}
