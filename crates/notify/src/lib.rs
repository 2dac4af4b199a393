//! Sends what webhooks are told. What is sent, to whom, signed how and how often is the controller's business; here it goes out: over
//! TLS unless the operator allows plain HTTP, and only to addresses that the operator's rules allow, whatever a name resolves to.

mod look;
mod send;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use causeway_controller::{Controller, Outgoing};
use causeway_model::resource::WebhookOwner;
use causeway_model::{Timestamp, WebhookId};
use tokio::task::{Id, JoinHandle, JoinSet};

pub use look::{LookError, Looker};
pub use send::{Sender, StartError};

/// Deliveries that are under way at once, of each webhook one.
const AT_ONCE: usize = 256;

/// The longest rest between two looks at what is due.
const REST: Duration = Duration::from_secs(60);

/// How long a webhook rests whose attempt could not be noted: it is still due.
const PAUSE: Duration = Duration::from_secs(5);

/// Attempts, and whom they are for.
#[derive(Default)]
struct UnderWay {
    attempts: JoinSet<()>,
    webhooks: BTreeMap<WebhookId, WebhookOwner>,
    of: HashMap<Id, WebhookId>,
}

impl UnderWay {
    /// Tries a delivery and notes what became of it.
    fn begin(&mut self, controller: &Controller, sender: &Arc<Sender>, outgoing: Outgoing) {
        let (controller, sender) = (controller.clone(), Arc::clone(sender));
        let (webhook, owner) = (outgoing.webhook, outgoing.owner);
        let task = self.attempts.spawn(async move {
            let result = sender.attempt(&outgoing).await;
            if let Err(error) = controller.sent(outgoing, result).await {
                tracing::error!(%error, "a webhook's attempt could not be noted");
                tokio::time::sleep(PAUSE).await;
            }
        });
        self.webhooks.insert(webhook, owner);
        self.of.insert(task.id(), webhook);
    }

    /// Waits until one ends; for ever if there is none.
    async fn ended(&mut self) {
        let id = match self.attempts.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => {
                tracing::error!(%error, "a webhook's attempt broke off");
                error.id()
            }
            None => return std::future::pending().await,
        };
        if let Some(webhook) = self.of.remove(&id) {
            self.webhooks.remove(&webhook);
        }
    }
}

/// Sends deliveries until the task is aborted. `authorities`: the PEM file of those whose certificates receivers may have.
///
/// # Errors
/// If the file cannot be read or has no certificate.
pub fn spawn(controller: Controller, authorities: &Path) -> Result<JoinHandle<()>, StartError> {
    let sender = Arc::new(Sender::new(authorities)?);
    Ok(tokio::spawn(async move {
        let mut changes = controller.subscribe();
        let mut under_way = UnderWay::default();
        loop {
            changes.borrow_and_update();
            let rest = look(&controller, &sender, &mut under_way).await.unwrap_or_else(|error| {
                tracing::error!(%error, "webhooks cannot be looked at");
                REST
            });
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = under_way.ended() => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }))
}

/// Begins what is due, and says how long there is nothing more to do unless an attempt ends.
async fn look(
    controller: &Controller,
    sender: &Arc<Sender>,
    under_way: &mut UnderWay,
) -> Result<Duration, causeway_model::Error> {
    let now = controller.time();
    for outgoing in controller.outgoing(AT_ONCE, &under_way.webhooks).await? {
        under_way.begin(controller, sender, outgoing);
    }
    let next = controller.next_outgoing(now).await?;
    Ok(next.map_or(REST, |next| until(next, controller).min(REST)))
}

/// From now until `next`, at least a moment, so that a clock that runs backwards makes nobody spin.
fn until(next: Timestamp, controller: &Controller) -> Duration {
    let micros = next.0.saturating_sub(controller.time().0).max(50_000);
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
