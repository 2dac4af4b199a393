//! Organizations.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use super::{Object, Objects, delete, edit, get, list};
use crate::failure::Failure;
use crate::output::Column;
use crate::session::{Api, Kind, Session, text};

pub(crate) const ORGANIZATION: Kind =
    Kind { noun: "organization", api: Api::Operator, collection: "organizations", list_key: "organizations" };

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |organization| text(organization, "/name") },
    Column { title: "ID", cell: |organization| text(organization, "/id") },
    Column { title: "CREATED", cell: |organization| text(organization, "/created_at") },
];

/// What can be done with organizations.
#[derive(Subcommand)]
pub enum Action {
    /// List organizations
    List(List),
    /// Show an organization
    Get(Object),
    /// Create an organization
    Create(Create),
    /// Change an organization's name
    Edit(Edit),
    /// Delete organizations; their projects have to go first
    Delete(Objects),
}

/// `organization list`
#[derive(Args)]
pub struct List {
    /// Only those whose name contains this
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
}

/// `organization create`
#[derive(Args)]
pub struct Create {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
}

/// `organization edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    organization: Object,
    /// Its new name
    #[arg(long, value_name = "NAME")]
    name: String,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(wanted) => {
                let query: Vec<(&str, &str)> = wanted.name.iter().map(|name| ("name", name.as_str())).collect();
                list(session, &ORGANIZATION, "organizations", COLUMNS, &query).await
            }
            Self::Get(wanted) => get(session, &ORGANIZATION, &wanted.object).await,
            Self::Create(new) => {
                let target = session.at(ORGANIZATION.api, [ORGANIZATION.collection]);
                let organization = session.send(Method::POST, &target, &json!({"name": new.name})).await?;
                session.show(&organization)
            }
            Self::Edit(change) => {
                edit(session, &ORGANIZATION, &change.organization.object, &json!({"name": change.name})).await
            }
            Self::Delete(wanted) => delete(session, &ORGANIZATION, &wanted.objects).await,
        }
    }
}
