//! Quotas: how many objects of each kind a project may have.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Column;
use crate::session::{Api, Session, text};
use crate::text::printable;

const QUOTAS: &str = "quotas";

const COLUMNS: &[Column] = &[
    Column { title: "KIND", cell: |quota| text(quota, "/resource") },
    Column { title: "USED", cell: |quota| text(quota, "/used") },
    Column { title: "AT MOST", cell: |quota| text(quota, "/quota") },
    Column {
        title: "SET BY",
        cell: |quota| {
            let is_default = quota.get("is_default").and_then(Value::as_bool).unwrap_or_default();
            if is_default { "default".to_owned() } else { "operator".to_owned() }
        },
    },
];

/// What can be done with quotas.
#[derive(Subcommand)]
pub enum Action {
    /// List a project's quotas and what is used of them
    List,
    /// Set a quota of a project; operators only
    Set(Set),
    /// Give a project the default quota again; operators only
    Reset(Reset),
}

/// `quota set`
#[derive(Args)]
pub struct Set {
    #[command(flatten)]
    resource: Resource,
    /// How many there may be; 0: none
    #[arg(value_name = "NUMBER")]
    quota: u64,
}

/// `quota reset`
#[derive(Args)]
pub struct Reset {
    #[command(flatten)]
    resource: Resource,
}

#[derive(Args)]
struct Resource {
    /// The kind of object, as `quota list` names it
    #[arg(value_name = "KIND")]
    resource: String,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let project = session.project()?.to_owned();
        match self {
            Self::List => {
                let target = session.at(Api::Operator, [QUOTAS]).with("project_id", &project);
                let found = session.pages(target, QUOTAS).await?;
                session.show_list("quotas", COLUMNS, found)
            }
            Self::Set(Set { resource: Resource { resource }, quota }) => {
                let target = session.at(Api::Operator, [QUOTAS, &project, &resource]);
                let answer = session.send(Method::PUT, &target, &json!({"quota": quota})).await?;
                let used = text(&answer, "/used");
                let message = format!("project {project} may have {quota} {} ({used} used)", printable(&resource));
                session.done(&message, &answer)
            }
            Self::Reset(Reset { resource: Resource { resource } }) => {
                let target = session.at(Api::Operator, [QUOTAS, &project, &resource]);
                let answer = session.delete(&target).await?;
                session.done(&format!("project {project} has the default for {}", printable(&resource)), &answer)
            }
        }
    }
}
