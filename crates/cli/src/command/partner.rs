//! The partner's side: requests addressed to it, found by their pairing keys, and what it does with them.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::interlink::megabits;
use super::{get, label, list};
use crate::failure::Failure;
use crate::output::Column;
use crate::session::{Api, Kind, Session, is_id, single, text};

const LINK: Kind = Kind { noun: "link", api: Api::Partner, collection: "links", list_key: "links" };

const COLUMNS: &[Column] = &[
    Column { title: "ID", cell: |link| text(link, "/id") },
    Column { title: "STATUS", cell: |link| text(link, "/status") },
    Column { title: "PAIRING KEY", cell: |link| text(link, "/pairing_key") },
    Column { title: "BANDWIDTH", cell: |link| megabits(link.get("bandwidth_mbps")) },
    Column { title: "VLAN", cell: |link| text(link, "/vlan") },
    Column { title: "DEADLINE", cell: |link| text(link, "/deadline") },
];

/// What a partner can do with the links addressed to it.
#[derive(Subcommand)]
pub enum Action {
    /// List the links addressed to you
    List(List),
    /// Show a link
    Get(Link),
    /// Accept a request: you will set your side up
    Accept(Link),
    /// Refuse a request, for good
    Refuse(Refuse),
    /// Say that your side is set up
    Provisioned(Link),
    /// Say that you begin to take your side down
    StartDeprovisioning(Link),
    /// Say that your side is taken down
    Deprovisioned(Link),
}

/// `partner-link list`
#[derive(Args)]
pub struct List {
    /// Only those with this status, for example `requested`
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Only those whose order has got so far, locked ones included: requested, provisioning, in_service, refused, expired, failed
    #[arg(long, value_name = "STAGE")]
    lifecycle: Option<String>,
    /// Only the one with this pairing key
    #[arg(long, value_name = "KEY")]
    pairing_key: Option<String>,
}

/// One link.
#[derive(Args)]
pub struct Link {
    /// Its pairing key, as the tenant tells it, or its id
    #[arg(value_name = "KEY|ID")]
    link: String,
}

/// `partner-link refuse`
#[derive(Args)]
pub struct Refuse {
    #[command(flatten)]
    link: Link,
    /// Why; the tenant reads it
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(wanted) => {
                let filters = [
                    ("status", wanted.status.as_deref()),
                    ("lifecycle", wanted.lifecycle.as_deref()),
                    ("pairing_key", wanted.pairing_key.as_deref()),
                ];
                let query: Vec<_> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                list(session, &LINK, "links", COLUMNS, &query).await
            }
            Self::Get(wanted) => {
                let link = wanted.find(session).await?;
                get(session, &LINK, &text(&link, "/id")).await
            }
            Self::Accept(wanted) => wanted.act(session, "accept", &json!({}), "accepted").await,
            Self::Refuse(wanted) => {
                wanted.link.act(session, "refuse", &json!({"reason": wanted.reason}), "refused").await
            }
            Self::Provisioned(wanted) => wanted.act(session, "provisioned", &json!({}), "provisioned").await,
            Self::StartDeprovisioning(wanted) => {
                wanted.act(session, "start-deprovisioning", &json!({}), "started to deprovision").await
            }
            Self::Deprovisioned(wanted) => wanted.act(session, "deprovisioned", &json!({}), "deprovisioned").await,
        }
    }
}

impl Link {
    /// Keys and ids look alike; a key is tried first, since that is what a tenant tells.
    async fn find(&self, session: &mut Session<'_>) -> Result<Value, Failure> {
        if !is_id(&self.link) {
            return Err(Failure::NoSuchName { noun: LINK.noun, name: self.link.clone() });
        }
        let found = session.list(&LINK, &[("pairing_key", &self.link)]).await?;
        if found.is_empty() {
            return session.get(&session.object(&LINK, &self.link)).await;
        }
        single(LINK.noun, &self.link, found)
    }

    async fn act(&self, session: &mut Session<'_>, verb: &str, body: &Value, done: &str) -> Result<(), Failure> {
        let link = self.find(session).await?;
        let target = session.object(&LINK, &text(&link, "/id")).join(verb);
        let answer = session.send(Method::POST, &target, body).await?;
        session.done(&format!("{done} link {}", label(&answer)), &answer)
    }
}
