//! Private Networks.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::vpc::VPC;
use super::{Filters, New, Object, Objects, Relabel, delete, get, label, list, optional_id};
use crate::failure::Failure;
use crate::output::{Column, inline};
use crate::session::{Api, Kind, Session, reason, set, text};
use crate::text::printable;

pub(crate) const NETWORK: Kind =
    Kind { noun: "Private Network", api: Api::Vpc, collection: "private-networks", list_key: "private_networks" };
/// Where the operator's bridges and interfaces are.
const ATTACHMENTS: &str = "private-network-attachments";

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |network| text(network, "/name") },
    Column { title: "ID", cell: |network| text(network, "/id") },
    Column { title: "SUBNETS", cell: |network| network.get("subnets").map(inline).unwrap_or_default() },
    Column { title: "VPC", cell: |network| text(network, "/vpc_id") },
];

/// Why a Private Network is not where it is mapped to: what the node said of it, if it said something.
fn why(attachment: &Value) -> String {
    match (text(attachment, "/reason/code"), text(attachment, "/reason/evidence/error")) {
        (_, error) if error.is_empty() => attachment.get("reason").map(reason).unwrap_or_default(),
        (code, error) => format!("{code}: {error}"),
    }
}

const ATTACHMENT_COLUMNS: &[Column] = &[
    Column { title: "PRIVATE NETWORK", cell: |attachment| text(attachment, "/private_network_id") },
    Column { title: "INTERFACE", cell: |attachment| text(attachment, "/interface") },
    Column { title: "REASON", cell: |attachment| why(attachment) },
    Column { title: "UPDATED", cell: |attachment| text(attachment, "/updated_at") },
];

/// What can be done with Private Networks.
#[derive(Subcommand)]
pub enum Action {
    /// List Private Networks
    List(List),
    /// Show a Private Network
    Get(Object),
    /// Create a Private Network
    Create(Create),
    /// Change a Private Network's name or tags
    Edit(Relabel),
    /// Delete Private Networks
    Delete(Objects),
    /// List the Private Networks that are mapped to bridges or interfaces of the node's machine; operators only
    Attachments,
    /// Map a Private Network to a bridge or interface of the node's machine; operators only
    Attach(Attach),
    /// Let the node make the Private Network's bridge again; operators only
    Detach(Object),
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

/// `private-network attach`
#[derive(Args)]
pub struct Attach {
    #[command(flatten)]
    network: Object,
    /// The bridge, or the interface, on the node's machine
    #[arg(long, value_name = "NAME")]
    interface: String,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(wanted) => {
                let vpc = optional_id(session, &VPC, wanted.vpc.as_ref()).await?;
                let mut query = wanted.filters.query();
                query.extend(vpc.as_deref().map(|vpc| ("vpc_id", vpc)));
                list(session, &NETWORK, "Private Networks", COLUMNS, &query).await
            }
            Self::Get(wanted) => get(session, &NETWORK, &wanted.object).await,
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
            Self::Edit(changes) => changes.run(session, &NETWORK).await,
            Self::Delete(wanted) => delete(session, &NETWORK, &wanted.objects).await,
            Self::Attachments => {
                let target = session.at(Api::Operator, [ATTACHMENTS]);
                let found = session.pages(target, "private_network_attachments").await?;
                session.show_list("mapped Private Networks", ATTACHMENT_COLUMNS, found)
            }
            Self::Attach(Attach { network, interface }) => {
                let network = session.find(&NETWORK, &network.object).await?;
                let target = session.at(Api::Operator, [ATTACHMENTS, &text(&network, "/id")]);
                let answer = session.send(Method::PUT, &target, &json!({"interface": interface})).await?;
                session.done(&format!("mapped {} to {}", label(&network), printable(&interface)), &answer)
            }
            Self::Detach(wanted) => {
                let network = session.find(&NETWORK, &wanted.object).await?;
                let answer = session.delete(&session.at(Api::Operator, [ATTACHMENTS, &text(&network, "/id")])).await?;
                session.done(&format!("{} is on the node's own bridge again", label(&network)), &answer)
            }
        }
    }
}
