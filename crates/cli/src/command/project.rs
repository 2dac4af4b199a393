//! Projects.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use super::organization::ORGANIZATION;
use super::{Object, Objects, delete, edit, get, list};
use crate::failure::Failure;
use crate::output::Column;
use crate::session::{Api, Kind, Session, set_some, text};

const PROJECT: Kind = Kind { noun: "project", api: Api::Account, collection: "projects", list_key: "projects" };

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |project| text(project, "/name") },
    Column { title: "ID", cell: |project| text(project, "/id") },
    Column { title: "DESCRIPTION", cell: |project| text(project, "/description") },
    Column { title: "CREATED", cell: |project| text(project, "/created_at") },
];

/// What can be done with projects.
#[derive(Subcommand)]
pub enum Action {
    /// List projects
    List(List),
    /// Show a project
    Get(Object),
    /// Create a project
    Create(Create),
    /// Change a project's name or description
    Edit(Edit),
    /// Delete projects
    Delete(Objects),
}

/// `project list`
#[derive(Args)]
pub struct List {
    /// Only those whose name contains this
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// The organization [default: $SCW_DEFAULT_ORGANIZATION_ID]
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
}

/// `project create`
#[derive(Args)]
pub struct Create {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Its organization; operators only [default: $SCW_DEFAULT_ORGANIZATION_ID]
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
}

/// `project edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    project: Object,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Its new name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(wanted) => {
                let organization = match &wanted.organization {
                    Some(organization) => Some(session.id(&ORGANIZATION, organization).await?),
                    None => session.organization().map(str::to_owned),
                };
                let mut query: Vec<(&str, &str)> = wanted.name.iter().map(|name| ("name", name.as_str())).collect();
                query.extend(organization.as_deref().map(|id| ("organization_id", id)));
                list(session, &PROJECT, "projects", COLUMNS, &query).await
            }
            Self::Get(wanted) => get(session, &PROJECT, &wanted.object).await,
            Self::Create(create) => {
                let mut body = json!({"name": create.name, "description": create.description});
                let organization = match &create.organization {
                    Some(organization) => Some(session.id(&ORGANIZATION, organization).await?),
                    None => session.organization().map(str::to_owned),
                };
                set_some(&mut body, "organization_id", organization);
                let target = session.at(Api::Account, [PROJECT.collection]);
                let project = session.send(Method::POST, &target, &body).await?;
                session.show(&project)
            }
            Self::Edit(Edit { project, changes }) => {
                let mut body = json!({});
                set_some(&mut body, "name", changes.name);
                set_some(&mut body, "description", changes.description);
                edit(session, &PROJECT, &project.object, &body).await
            }
            Self::Delete(wanted) => delete(session, &PROJECT, &wanted.objects).await,
        }
    }
}
