//! Waiting for what a call set in motion, with progress on standard error.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use crate::client::Target;
use crate::failure::Failure;
use crate::session::{Api, Kind, Session, reason, text};
use crate::text::printable;

/// Between looks, at first and once it takes longer.
const QUICK: Duration = Duration::from_millis(200);
const SLOW: Duration = Duration::from_secs(1);
/// From when on it takes longer.
const PATIENT_AFTER: Duration = Duration::from_secs(10);

/// `--wait`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Wait {
    /// Wait until it is so, at most this long [default: 300]; exit code 1 and the reason if it is not
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "300",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: Option<u64>,
}

impl Wait {
    /// How long, if at all.
    pub(crate) fn limit(self) -> Option<Duration> {
        self.wait.map(Duration::from_secs)
    }
}

/// What is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Status `active`.
    Active,
    /// A link's order is placed.
    Placed,
    /// The node has the newest configuration.
    Applied,
}

/// What a state means for a goal.
enum Verdict {
    Reached,
    NotYet,
    /// Waiting longer makes no sense.
    Never,
}

impl Goal {
    fn judge(self, state: &Value) -> Verdict {
        let status = text(state, "/status");
        match (self, status.as_str()) {
            (Self::Active, "active") => Verdict::Reached,
            (_, "failed" | "locked") => Verdict::Never,
            // Where a link's life ends.
            (_, "refused" | "expired" | "deleted") => Verdict::Never,
            (Self::Active, _) | (Self::Placed, "configuring") => Verdict::NotYet,
            (Self::Placed, _) => Verdict::Reached,
            (Self::Applied, _) => match text(state, "/reason/code").as_str() {
                "config_refused" | "node_refused" => Verdict::Never,
                "config_pending" | "gateway_not_ready" => Verdict::NotYet,
                _ => {
                    let revision = |name: &str| state.get(name).and_then(Value::as_u64);
                    // A service that does not tell revisions tells reasons.
                    match (revision("desired_revision"), revision("applied_revision")) {
                        (Some(desired), Some(applied)) if applied < desired => Verdict::NotYet,
                        _ => Verdict::Reached,
                    }
                }
            },
        }
    }

    const fn phrase(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Placed => "placed",
            Self::Applied => "applied",
        }
    }
}

/// `ready (peer_silent: the peer does not answer on UDP 500)`.
pub(crate) fn summary(state: &Value) -> String {
    let status = text(state, "/status");
    match state.get("reason").map(reason).filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("{status} ({reason})"),
        None => status,
    }
}

/// Prints a line when there is something new to say.
struct Progress {
    start: Instant,
    last: String,
}

impl Progress {
    fn new() -> Self {
        Self { start: Instant::now(), last: String::new() }
    }

    fn tell(&mut self, session: &mut Session<'_>, text: String) {
        if text != self.last {
            session.console.note(&format!("{:>7.1} s  {}", self.start.elapsed().as_secs_f64(), printable(&text)));
            self.last = text;
        }
    }

    async fn pause(&self, limit: Duration) {
        let pause = if self.start.elapsed() < PATIENT_AFTER { QUICK } else { SLOW };
        tokio::time::sleep(pause.min(limit.saturating_sub(self.start.elapsed()))).await;
    }

    fn is_over(&self, limit: Duration) -> bool {
        self.start.elapsed() >= limit
    }
}

/// Waits until the object's state is as it should be, and returns the state.
pub(crate) async fn until(
    session: &mut Session<'_>,
    kind: &Kind,
    id: &str,
    name: &str,
    goal: Goal,
    limit: Duration,
) -> Result<Value, Failure> {
    let target = session.at(Api::Extension, [kind.collection, id, "state"]);
    let mut progress = Progress::new();
    loop {
        let state = session.get(&target).await?;
        progress.tell(session, summary(&state));
        let verdict = goal.judge(&state);
        if matches!(verdict, Verdict::Reached) {
            return Ok(state);
        }
        if matches!(verdict, Verdict::Never) || progress.is_over(limit) {
            let seconds = progress.start.elapsed().as_secs();
            return Err(Failure::NotReached {
                what: format!("{} {name} is not {} after {seconds} s", kind.noun, goal.phrase()),
                seen: summary(&state),
                remedy: Some(text(&state, "/reason/remedy")).filter(|remedy| !remedy.is_empty()),
            });
        }
        progress.pause(limit).await;
    }
}

/// Deletes an object; while it is changing and must not be deleted, tries again.
pub(crate) async fn delete_when_settled(
    session: &mut Session<'_>,
    target: &Target,
    limit: Duration,
) -> Result<Value, Failure> {
    let mut progress = Progress::new();
    loop {
        match session.delete(target).await {
            Err(failure) if failure.is_transient() && !progress.is_over(limit) => {
                progress.tell(session, failure.to_string());
                progress.pause(limit).await;
            }
            result => return result,
        }
    }
}

/// Waits until the object is not there any more.
pub(crate) async fn until_gone(
    session: &mut Session<'_>,
    kind: &Kind,
    target: &Target,
    name: &str,
    limit: Duration,
) -> Result<(), Failure> {
    let mut progress = Progress::new();
    loop {
        let status = match session.get(target).await {
            Ok(object) => text(&object, "/status"),
            Err(failure) if failure.status() == Some(404) => return Ok(()),
            Err(failure) => return Err(failure),
        };
        progress.tell(session, status.clone());
        // A link can be read for a day after the last side has deleted it.
        if status == "deleted" {
            return Ok(());
        }
        if progress.is_over(limit) {
            return Err(Failure::NotReached {
                what: format!("{} {name} is not gone after {} s", kind.noun, limit.as_secs()),
                seen: status,
                remedy: None,
            });
        }
        progress.pause(limit).await;
    }
}
