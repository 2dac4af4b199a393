//! Gateway nodes.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::{Object, edit, label, list};
use crate::failure::Failure;
use crate::output::{Column, inline};
use crate::session::{Api, Kind, Session, reason, set_some, text};

pub(super) const NODE: Kind = Kind { noun: "node", api: Api::Operator, collection: "nodes", list_key: "nodes" };

const TOKENS: &str = "node-join-tokens";

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |node| text(node, "/name") },
    Column { title: "ID", cell: |node| text(node, "/id") },
    Column { title: "ZONE", cell: |node| text(node, "/zone") },
    Column { title: "STATE", cell: state },
    Column { title: "REASON", cell: |node| text(node, "/reason/code") },
    Column { title: "SINCE", cell: |node| text(node, "/state_since") },
    Column {
        title: "GATEWAYS",
        cell: |node| node.pointer("/gateways").and_then(Value::as_array).map_or(0, Vec::len).to_string(),
    },
    Column { title: "VERSION", cell: |node| text(node, "/version") },
];

const TOKEN_COLUMNS: &[Column] = &[
    Column { title: "ID", cell: |token| text(token, "/id") },
    Column { title: "ZONE", cell: |token| text(token, "/zone") },
    Column { title: "EXPIRES", cell: |token| text(token, "/expires_at") },
    Column { title: "USED", cell: |token| text(token, "/used_at") },
    Column { title: "NODE", cell: |token| text(token, "/node_id") },
    Column { title: "DESCRIPTION", cell: |token| text(token, "/description") },
];

const HISTORY_COLUMNS: &[Column] = &[
    Column { title: "AT", cell: |event| text(event, "/at") },
    Column { title: "STATE", cell: |event| text(event, "/subject") },
    Column { title: "REASON", cell: |event| event.get("reason").map(reason).unwrap_or_default() },
    Column { title: "EVIDENCE", cell: |event| event.pointer("/reason/evidence").map(inline).unwrap_or_default() },
];

/// What people call a state: whoever is revoked is no node.
fn state(node: &Value) -> String {
    if node.get("revoked_at").is_some_and(Value::is_string) {
        return "revoked".to_owned();
    }
    let cordoned = node.get("cordoned").and_then(Value::as_bool).unwrap_or_default();
    let state = text(node, "/state");
    let draining = node.get("draining").and_then(Value::as_bool).unwrap_or_default();
    match (draining, cordoned) {
        (true, _) => format!("{state}, draining"),
        (false, true) => format!("{state}, cordoned"),
        (false, false) => state,
    }
}

/// What operators do with nodes.
#[derive(Subcommand)]
pub enum Action {
    /// List the gateway nodes with their states; operators only
    List,
    /// Show a node with its reason, its history and its gateways; operators only
    Get(Object),
    /// List a node's states with their reasons, the newest first; operators only
    History(Object),
    /// Change a node's name, or how much it may carry; operators only
    Edit(Edit),
    /// Place nothing new on a node; what it carries stays; operators only
    Cordon(Object),
    /// Place nothing new on a node, and move what it carries to others, as far as they have room; operators only
    Drain(Object),
    /// Place on a node again; operators only
    Uncordon(Object),
    /// Have a node apply its configuration once more, now; operators only
    Retry(Object),
    /// End a node's membership; its gateways go to other nodes of the zone; operators only
    Revoke(Object),
    /// Join tokens, by which machines become nodes; operators only
    Token {
        /// What to do
        #[command(subcommand)]
        action: TokenAction,
    },
}

/// `node edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    node: Object,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Its new name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Bits per second that the types of its gateways may add up to
    #[arg(long, value_name = "BITS")]
    max_bandwidth: Option<u64>,
    /// Connections that the types of its gateways may add up to
    #[arg(long, value_name = "NUMBER")]
    max_connections: Option<u64>,
    /// Take both limits away
    #[arg(long, conflicts_with_all = ["max_bandwidth", "max_connections"])]
    no_limits: bool,
}

/// What can be done with join tokens.
#[derive(Subcommand)]
pub enum TokenAction {
    /// List the join tokens
    List,
    /// Make a join token for one node; its text is shown this once
    Create(CreateToken),
    /// Take a join token back; a node that has joined by it stays
    Delete(DeleteToken),
}

/// `node token create`
#[derive(Args)]
pub struct CreateToken {
    /// The zone of the node that shall join [default: $SCW_DEFAULT_ZONE]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Seconds until it expires [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    expires_in: Option<u32>,
}

/// `node token delete`
#[derive(Args)]
pub struct DeleteToken {
    /// Its id
    #[arg(value_name = "ID")]
    id: String,
}

/// A node with all of its history: what lists have of it is the newest state.
async fn whole(session: &mut Session<'_>, wanted: &Object) -> Result<Value, Failure> {
    let id = session.id(&NODE, &wanted.object).await?;
    session.get(&session.object(&NODE, &id)).await
}

async fn act(session: &mut Session<'_>, wanted: &Object, action: &str, done: &str) -> Result<(), Failure> {
    let id = session.id(&NODE, &wanted.object).await?;
    let target = session.object(&NODE, &id).join(action);
    let node = session.act(&target).await?;
    session.done(&format!("{done} node {}", label(&node)), &node)
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List => list(session, &NODE, "nodes", COLUMNS, &[]).await,
            Self::Get(wanted) => {
                let node = whole(session, &wanted).await?;
                session.show(&node)
            }
            Self::History(wanted) => {
                let node = whole(session, &wanted).await?;
                let states = node.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
                session.show_list("states", HISTORY_COLUMNS, states)
            }
            Self::Edit(Edit { node, changes }) => {
                let mut body = json!({});
                set_some(&mut body, "name", changes.name);
                set_some(&mut body, "max_bandwidth", changes.max_bandwidth);
                set_some(&mut body, "max_connections", changes.max_connections);
                if changes.no_limits {
                    set_some(&mut body, "max_bandwidth", Some(Value::Null));
                    set_some(&mut body, "max_connections", Some(Value::Null));
                }
                edit(session, &NODE, &node.object, &body).await
            }
            Self::Cordon(wanted) => act(session, &wanted, "cordon", "cordoned").await,
            Self::Drain(wanted) => act(session, &wanted, "drain", "draining").await,
            Self::Uncordon(wanted) => act(session, &wanted, "uncordon", "uncordoned").await,
            Self::Retry(wanted) => act(session, &wanted, "retry", "asked").await,
            Self::Revoke(wanted) => act(session, &wanted, "revoke", "revoked").await,
            Self::Token { action } => action.run(session).await,
        }
    }
}

impl TokenAction {
    async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List => {
                let target = session.at(Api::Operator, [TOKENS]);
                let found = session.pages(target, "node_join_tokens").await?;
                session.show_list("join tokens", TOKEN_COLUMNS, found)
            }
            Self::Create(new) => {
                let zone = new.zone.or_else(|| session.zone().map(str::to_owned));
                let mut body = json!({"description": new.description});
                set_some(&mut body, "zone", zone);
                set_some(&mut body, "expires_in", new.expires_in);
                let target = session.at(Api::Operator, [TOKENS]);
                let token = session.send(Method::POST, &target, &body).await?;
                session.show(&token)?;
                session.console.warn("the token is shown this once and kept nowhere; one machine joins by it: causeway node join URL --token TOKEN");
                Ok(())
            }
            Self::Delete(wanted) => {
                let answer = session.delete(&session.at(Api::Operator, [TOKENS, &wanted.id])).await?;
                session.done(&format!("took join token {} back", crate::text::printable(&wanted.id)), &answer)
            }
        }
    }
}
