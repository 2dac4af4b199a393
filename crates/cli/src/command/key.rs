//! API keys. They have no names: the access key is what names one, and it is no secret.

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::json;

use super::interlink::PARTNER;
use super::optional_id;
use crate::client::Target;
use crate::failure::Failure;
use crate::output::Column;
use crate::session::{Api, Session, set_some, text};
use crate::text::printable;

const COLUMNS: &[Column] = &[
    Column { title: "ACCESS KEY", cell: |key| text(key, "/access_key") },
    Column { title: "ROLE", cell: |key| text(key, "/role") },
    Column {
        title: "PROJECT",
        cell: |key| {
            Some(text(key, "/project_id"))
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| text(key, "/default_project_id"))
        },
    },
    Column { title: "DESCRIPTION", cell: |key| text(key, "/description") },
    Column { title: "EXPIRES", cell: |key| text(key, "/expires_at") },
    Column { title: "REVOKED", cell: |key| text(key, "/revoked_at") },
];

/// Who a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Everything within one project
    Tenant,
    /// Everything but reading tenants' secrets
    Operator,
    /// Lock, unlock, diagnose
    Support,
    /// The links addressed to one partner
    Partner,
    /// A gateway node
    Node,
}

impl Role {
    const fn word(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Operator => "operator",
            Self::Support => "support",
            Self::Partner => "partner",
            Self::Node => "node",
        }
    }
}

/// What can be done with API keys.
#[derive(Subcommand)]
pub enum Action {
    /// List API keys; operators only
    List(List),
    /// Show an API key, without its secret
    Get(Get),
    /// Create an API key; operators only. Its secret is shown this once
    Create(Create),
    /// Revoke API keys; operators only
    #[command(visible_alias = "revoke")]
    Delete(Delete),
}

/// `key list`
#[derive(Args)]
pub struct List {
    /// Only those for this role
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Those that were revoked, too
    #[arg(long)]
    include_revoked: bool,
}

/// `key get`
#[derive(Args)]
pub struct Get {
    /// Its access key
    #[arg(value_name = "ACCESS_KEY")]
    access_key: String,
}

/// `key create`
#[derive(Args)]
pub struct Create {
    /// Who it is for
    #[arg(long, value_enum, default_value = "tenant")]
    role: Role,
    /// The partner whose links it shows, for the role `partner`
    #[arg(long, value_name = "NAME|ID")]
    partner: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// From when on it is refused, for example 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
}

/// `key delete`
#[derive(Args)]
pub struct Delete {
    /// Their access keys
    #[arg(value_name = "ACCESS_KEY", required = true)]
    access_keys: Vec<String>,
}

fn collection(session: &Session<'_>) -> Target {
    session.at(Api::Operator, ["api-keys"])
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(wanted) => {
                let mut target = collection(session);
                if let Some(role) = wanted.role {
                    target = target.with("role", role.word());
                }
                if wanted.include_revoked {
                    target = target.with("include_revoked", "true");
                }
                if let Some(project) = session.chosen_project() {
                    target = target.with("project_id", project);
                }
                let found = session.pages(target, "api_keys").await?;
                session.show_list("API keys", COLUMNS, found)
            }
            Self::Get(wanted) => {
                let target = Target::new(["iam", "v1alpha1", "api-keys", &wanted.access_key]);
                let key = session.get(&target).await?;
                session.show(&key)
            }
            Self::Create(create) => {
                let mut body = json!({
                    "role": create.role.word(), "description": create.description, "project_id": session.project()?,
                });
                set_some(&mut body, "partner_id", optional_id(session, &PARTNER, create.partner.as_ref()).await?);
                set_some(&mut body, "expires_at", create.expires_at);
                let key = session.send(Method::POST, &collection(session), &body).await?;
                session.show(&key)?;
                session.console.warn("the secret key is shown this once and kept nowhere; store it now");
                Ok(())
            }
            Self::Delete(wanted) => {
                for access_key in &wanted.access_keys {
                    let answer = session.delete(&collection(session).join(access_key)).await?;
                    session.done(&format!("revoked API key {}", printable(access_key)), &answer)?;
                }
                Ok(())
            }
        }
    }
}
