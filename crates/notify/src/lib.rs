//! Sends what webhooks are told. What is sent, to whom, signed how and how often is the controller's business; here it goes out: over
//! TLS unless the operator allows plain HTTP, and only to addresses that the operator's rules allow, whatever a name resolves to.

mod send;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use causeway_controller::{Controller, Outgoing};
use causeway_model::Timestamp;
use tokio::task::{JoinHandle, JoinSet};

pub use send::{Sender, StartError};

/// Webhooks that are served at once. Of each only one delivery is under way, so that a receiver that is slow or gone holds up its own.
const AT_ONCE: u32 = 16;

/// The longest rest between two looks at what is due.
const REST: Duration = Duration::from_secs(60);

/// Sends deliveries until the task is aborted. `authorities`: the PEM file of those whose certificates receivers may have.
///
/// # Errors
/// If the file cannot be read or has no certificate.
pub fn spawn(controller: Controller, authorities: &Path) -> Result<JoinHandle<()>, StartError> {
    let sender = Arc::new(Sender::new(authorities)?);
    Ok(tokio::spawn(async move {
        let mut changes = controller.subscribe();
        loop {
            changes.borrow_and_update();
            let busy = round(&controller, &sender).await;
            if busy {
                continue;
            }
            let rest = match controller.next_outgoing().await {
                Ok(Some(next)) => until(next, &controller).min(REST),
                Ok(None) => REST,
                Err(error) => {
                    tracing::error!(%error, "webhooks cannot be looked at");
                    REST
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }))
}

/// From now until `next`, at least a moment, so that a clock that runs backwards makes nobody spin.
fn until(next: Timestamp, controller: &Controller) -> Duration {
    let micros = next.0.saturating_sub(controller.time().0).max(50_000);
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// Sends what is due; whether there was anything.
async fn round(controller: &Controller, sender: &Arc<Sender>) -> bool {
    let due = match controller.outgoing(AT_ONCE).await {
        Ok(due) => due,
        Err(error) => {
            tracing::error!(%error, "webhooks cannot be looked at");
            return false;
        }
    };
    let mut attempts = JoinSet::new();
    for outgoing in due {
        let sender = Arc::clone(sender);
        attempts.spawn(async move {
            let result = sender.attempt(&outgoing).await;
            (outgoing, result)
        });
    }
    let mut busy = false;
    while let Some(attempt) = attempts.join_next().await {
        // What was not noted stays due.
        busy |= match attempt {
            Ok((outgoing, result)) => noted(controller, outgoing, result).await,
            Err(error) => {
                tracing::error!(%error, "a webhook's attempt broke off");
                false
            }
        };
    }
    busy
}

async fn noted(controller: &Controller, outgoing: Outgoing, result: Result<(), String>) -> bool {
    if let Err(error) = controller.sent(outgoing, result).await {
        tracing::error!(%error, "a webhook's attempt could not be noted");
        return false;
    }
    true
}
