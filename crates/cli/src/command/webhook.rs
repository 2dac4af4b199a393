//! Webhooks: who is told of links, and where to. Whose they are is the key's business: a tenant's, a partner's, the operator's.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::{Switch, edit};
use crate::failure::Failure;
use crate::output::Column;
use crate::session::{Api, Kind, Session, set, text};
use crate::text::printable;

const WEBHOOK: Kind = Kind { noun: "webhook", api: Api::Extension, collection: "webhooks", list_key: "webhooks" };

const COLUMNS: &[Column] = &[
    Column { title: "ID", cell: |webhook| text(webhook, "/id") },
    Column { title: "URL", cell: |webhook| text(webhook, "/url") },
    Column { title: "EVENTS", cell: events },
    Column { title: "CREATED", cell: |webhook| text(webhook, "/created_at") },
];

const DELIVERIES: &[Column] = &[
    Column { title: "CREATED", cell: |delivery| text(delivery, "/created_at") },
    Column { title: "EVENT", cell: |delivery| text(delivery, "/event") },
    Column { title: "ATTEMPTS", cell: |delivery| text(delivery, "/attempts") },
    Column { title: "DELIVERED", cell: |delivery| text(delivery, "/delivered_at") },
    Column { title: "NEXT ATTEMPT", cell: |delivery| text(delivery, "/next_attempt_at") },
    Column { title: "LAST ERROR", cell: |delivery| text(delivery, "/last_error") },
];

fn events(webhook: &Value) -> String {
    let events = webhook.get("events").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let events: Vec<&str> = events.collect();
    if events.is_empty() { "all".to_owned() } else { events.join(", ") }
}

/// What can be done with webhooks.
#[derive(Subcommand)]
pub enum Action {
    /// List your webhooks
    List,
    /// Show a webhook, without its secret
    Get(Webhook),
    /// Create a webhook. What its deliveries are signed with is shown this once
    Create(Create),
    /// Change where a webhook leads, or what it is told
    #[command(visible_alias = "update")]
    Edit(Edit),
    /// Delete webhooks, with what they were not told yet
    Delete(Delete),
    /// List what a webhook was told, newest first
    Deliveries(Deliveries),
    /// Show where webhooks may lead; operators only
    Rules,
    /// Set where webhooks may lead; what is not named is nothing. Operators only
    SetRules(SetRules),
}

/// One webhook.
#[derive(Args)]
pub struct Webhook {
    /// Its id
    #[arg(value_name = "ID")]
    id: String,
}

/// `webhook create`
#[derive(Args)]
pub struct Create {
    /// Where to: https://HOST[:PORT]/PATH
    #[arg(value_name = "URL")]
    url: String,
    /// What to tell, for example `link.failed`; may be given several times [default: everything]
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
}

/// `webhook edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    webhook: Webhook,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Where to from now on
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// What to tell from now on; may be given several times
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// Tell everything
    #[arg(long, conflicts_with = "events")]
    all_events: bool,
}

/// `webhook delete`
#[derive(Args)]
pub struct Delete {
    /// Their ids
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

/// `webhook deliveries`
#[derive(Args)]
pub struct Deliveries {
    #[command(flatten)]
    webhook: Webhook,
    /// How many at most; a thousand are kept
    #[arg(long, value_name = "NUMBER", default_value = "20", value_parser = clap::value_parser!(u16).range(1..=1000))]
    last: u16,
}

/// `webhook set-rules`
#[derive(Args)]
pub struct SetRules {
    /// Whether plain http is allowed
    #[arg(long, value_enum, default_value = "off")]
    allow_http: Switch,
    /// A network that is allowed although its addresses are not public; may be given several times
    #[arg(long = "allow", value_name = "PREFIX")]
    allowed: Vec<String>,
    /// A network that is not allowed although its addresses are public; may be given several times
    #[arg(long = "deny", value_name = "PREFIX")]
    denied: Vec<String>,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List => {
                let target = session.at(WEBHOOK.api, [WEBHOOK.collection]);
                let found = session.pages(target, WEBHOOK.list_key).await?;
                session.show_list("webhooks", COLUMNS, found)
            }
            Self::Get(wanted) => {
                let webhook = session.get(&session.object(&WEBHOOK, &wanted.id)).await?;
                session.show(&webhook)
            }
            Self::Create(create) => {
                let body = json!({"url": create.url, "events": create.events});
                let target = session.at(WEBHOOK.api, [WEBHOOK.collection]);
                let webhook = session.send(Method::POST, &target, &body).await?;
                session.show(&webhook)?;
                session
                    .console
                    .warn("the secret is shown this once and kept nowhere else; store it at the receiver now");
                Ok(())
            }
            Self::Edit(wanted) => {
                let Changes { url, events, all_events } = wanted.changes;
                let mut body = json!({});
                if let Some(url) = url {
                    set(&mut body, "url", json!(url));
                }
                if all_events || !events.is_empty() {
                    set(&mut body, "events", json!(events));
                }
                edit(session, &WEBHOOK, &wanted.webhook.id, &body).await
            }
            Self::Delete(wanted) => {
                for id in &wanted.ids {
                    let answer = session.delete(&session.object(&WEBHOOK, id)).await?;
                    session.done(&format!("deleted webhook {}", printable(id)), &answer)?;
                }
                Ok(())
            }
            Self::Deliveries(wanted) => wanted.run(session).await,
            Self::Rules => {
                let rules = session.get(&session.at(Api::Operator, ["webhook-rules"])).await?;
                session.show(&rules)
            }
            Self::SetRules(wanted) => {
                let body = json!({
                    "allow_http": wanted.allow_http.is_on(),
                    "allowed_networks": wanted.allowed,
                    "denied_networks": wanted.denied,
                });
                let rules = session.send(Method::PUT, &session.at(Api::Operator, ["webhook-rules"]), &body).await?;
                session.show(&rules)
            }
        }
    }
}

impl Deliveries {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let target = session.object(&WEBHOOK, &self.webhook.id).join("deliveries");
        let (found, total) = session.first(target, "deliveries", self.last.into()).await?;
        let shown = found.len() as u64;
        session.show_list("deliveries", DELIVERIES, found)?;
        if let Some(total) = total.filter(|total| session.is_table() && *total > shown) {
            session.console.note(&format!("{shown} of {total}; --last shows more"));
        }
        Ok(())
    }
}
