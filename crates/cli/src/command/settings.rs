//! Settings of the whole service.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use crate::failure::Failure;
use crate::session::{Api, Session};

/// What can be done with settings.
#[derive(Subcommand)]
pub enum Action {
    /// Show the settings
    Get,
    /// Change settings
    Edit(Edit),
}

/// `settings edit`
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Edit {
    /// Whom tenants turn to where a reason says "contact support": an address or a link
    #[arg(long, value_name = "TEXT")]
    support_contact: Option<String>,
    /// Name nobody
    #[arg(long)]
    no_support_contact: bool,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let target = session.at(Api::Operator, ["settings"]);
        let settings = match self {
            Self::Get => session.get(&target).await?,
            // One of both flags is given, and without a contact it is the other.
            Self::Edit(edit) => {
                session.send(Method::PATCH, &target, &json!({"support_contact": edit.support_contact})).await?
            }
        };
        session.show(&settings)
    }
}
