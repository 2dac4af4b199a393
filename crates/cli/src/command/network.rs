//! Private Networks.

use clap::{Args, Subcommand};
use serde_json::json;

use super::vpc::VPC;
use super::{Filters, New, Object, Objects, delete, edit, edits, get};
use crate::failure::Failure;
use crate::output::{Column, inline};
use crate::session::{Api, Kind, Session, set, text};

pub(crate) const NETWORK: Kind =
    Kind { noun: "Private Network", api: Api::Vpc, collection: "private-networks", list_key: "private_networks" };

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |network| text(network, "/name") },
    Column { title: "ID", cell: |network| text(network, "/id") },
    Column { title: "SUBNETS", cell: |network| network.get("subnets").map(inline).unwrap_or_default() },
    Column { title: "VPC", cell: |network| text(network, "/vpc_id") },
];

/// What can be done with Private Networks.
#[derive(Subcommand)]
pub enum Action {
    /// List Private Networks
    List(List),
    /// Show a Private Network
    Get(Get),
    /// Create a Private Network
    Create(Create),
    /// Change a Private Network's name or tags
    Edit(Edit),
    /// Delete Private Networks
    Delete(Delete),
}

/// `private-network list`
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    filters: Filters,
    /// Only those of this VPC
    #[arg(long, value_name = "NAME|ID")]
    vpc: Option<String>,
}

/// `private-network get`
#[derive(Args)]
pub struct Get {
    #[command(flatten)]
    network: Object,
}

/// `private-network create`
#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    new: New,
    /// Its VPC; without, the project's default VPC
    #[arg(long, value_name = "NAME|ID")]
    vpc: Option<String>,
    /// A subnet, one for each family at most; for a family without, the service chooses
    #[arg(long = "subnet", value_name = "CIDR")]
    subnets: Vec<String>,
}

/// `private-network edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    network: Object,
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

/// `private-network delete`
#[derive(Args)]
pub struct Delete {
    #[command(flatten)]
    networks: Objects,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let vpc = match &list.vpc {
                    Some(vpc) => Some(session.id(&VPC, vpc).await?),
                    None => None,
                };
                let mut query = list.filters.query();
                query.extend(vpc.as_deref().map(|vpc| ("vpc_id", vpc)));
                let found = session.list(&NETWORK, &query).await?;
                session.show_list("Private Networks", COLUMNS, found)
            }
            Self::Get(wanted) => get(session, &NETWORK, &wanted.network.object).await,
            Self::Create(create) => {
                let mut body = create.new.body();
                if let Some(vpc) = &create.vpc {
                    set(&mut body, "vpc_id", json!(session.id(&VPC, vpc).await?));
                }
                if !create.subnets.is_empty() {
                    set(&mut body, "subnets", json!(create.subnets));
                }
                let network = session.create(&NETWORK, body).await?;
                session.show(&network)
            }
            Self::Edit(Edit { network, changes }) => {
                let body = edits(changes.name.as_ref(), &changes.tags, changes.no_tags);
                edit(session, &NETWORK, &network.object, &body).await
            }
            Self::Delete(wanted) => delete(session, &NETWORK, &wanted.networks.objects).await,
        }
    }
}
