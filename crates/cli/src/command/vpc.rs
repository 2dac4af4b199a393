//! VPCs.

use clap::{Args, Subcommand};
use serde_json::json;

use super::explain::ExplainRoute;
use super::{Filters, New, Object, Objects, delete, edit, edits, get};
use crate::failure::Failure;
use crate::output::Column;
use crate::session::{Api, Kind, Session, set, text};

pub(crate) const VPC: Kind = Kind { noun: "VPC", api: Api::Vpc, collection: "vpcs", list_key: "vpcs" };

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |vpc| text(vpc, "/name") },
    Column { title: "ID", cell: |vpc| text(vpc, "/id") },
    Column { title: "NETWORKS", cell: |vpc| text(vpc, "/private_network_count") },
    Column { title: "DEFAULT", cell: |vpc| text(vpc, "/is_default") },
    Column { title: "CREATED", cell: |vpc| text(vpc, "/created_at") },
];

/// What can be done with VPCs.
#[derive(Subcommand)]
pub enum Action {
    /// List VPCs
    List(List),
    /// Show a VPC
    Get(Get),
    /// Create a VPC
    Create(Create),
    /// Change a VPC's name or tags
    Edit(Edit),
    /// Explain where a prefix or a packet goes in a VPC, and why
    ExplainRoute(ExplainRoute),
    /// Delete VPCs
    Delete(Delete),
}

/// `vpc list`
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    filters: Filters,
}

/// `vpc get`
#[derive(Args)]
pub struct Get {
    #[command(flatten)]
    vpc: Object,
}

/// `vpc create`
#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    new: New,
}

/// `vpc edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    vpc: Object,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Its new name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its tags from now on; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Take all tags away
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
}

/// `vpc delete`
#[derive(Args)]
pub struct Delete {
    #[command(flatten)]
    vpcs: Objects,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let found = session.list(&VPC, &list.filters.query()).await?;
                session.show_list("VPCs", COLUMNS, found)
            }
            Self::Get(wanted) => get(session, &VPC, &wanted.vpc.object).await,
            Self::Create(create) => {
                let mut body = create.new.body();
                set(&mut body, "enable_routing", json!(true));
                let vpc = session.create(&VPC, body).await?;
                session.show(&vpc)
            }
            Self::Edit(Edit { vpc, changes }) => {
                let body = edits(changes.name.as_ref(), &changes.tags, changes.no_tags);
                edit(session, &VPC, &vpc.object, &body).await
            }
            Self::ExplainRoute(wanted) => wanted.run(session).await,
            Self::Delete(wanted) => delete(session, &VPC, &wanted.vpcs.objects).await,
        }
    }
}
