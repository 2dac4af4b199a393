//! Customer gateways.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Filters, New, Object, Objects, delete, edit, edits, get, list};
use crate::failure::Failure;
use crate::output::{Column, count};
use crate::session::{Api, Kind, Session, set_some, text};

pub(crate) const CUSTOMER: Kind =
    Kind { noun: "customer gateway", api: Api::S2s, collection: "customer-gateways", list_key: "gateways" };

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |gateway| text(gateway, "/name") },
    Column { title: "ID", cell: |gateway| text(gateway, "/id") },
    Column { title: "ASN", cell: |gateway| text(gateway, "/asn") },
    Column { title: "ADDRESSES", cell: |gateway| addresses(gateway).join(", ") },
    Column { title: "CONNECTIONS", cell: |gateway| count(gateway, "connection_ids") },
];

/// Its public addresses.
pub(crate) fn addresses(gateway: &Value) -> Vec<String> {
    ["/public_ipv4", "/public_ipv6"]
        .iter()
        .map(|key| text(gateway, key))
        .filter(|address| !address.is_empty())
        .collect()
}

/// What can be done with customer gateways.
#[derive(Subcommand)]
pub enum Action {
    /// List customer gateways
    List(Filters),
    /// Show a customer gateway
    Get(Object),
    /// Create a customer gateway
    Create(Create),
    /// Change a customer gateway
    Edit(Edit),
    /// Delete customer gateways
    Delete(Objects),
}

/// `customer-gateway create`
#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    new: New,
    /// Its AS number
    #[arg(long, value_name = "ASN")]
    asn: u32,
    /// Its public IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    ipv4: Option<String>,
    /// Its public IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    ipv6: Option<String>,
}

/// `customer-gateway edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    gateway: Object,
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
    /// Its AS number from now on
    #[arg(long, value_name = "ASN")]
    asn: Option<u32>,
    /// Its public IPv4 address from now on
    #[arg(long, value_name = "ADDRESS")]
    ipv4: Option<String>,
    /// Its public IPv6 address from now on
    #[arg(long, value_name = "ADDRESS")]
    ipv6: Option<String>,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(filters) => list(session, &CUSTOMER, "customer gateways", COLUMNS, &filters.query()).await,
            Self::Get(wanted) => get(session, &CUSTOMER, &wanted.object).await,
            Self::Create(create) => {
                let mut body = create.new.body();
                set_some(&mut body, "asn", Some(create.asn));
                set_some(&mut body, "ipv4_public", create.ipv4);
                set_some(&mut body, "ipv6_public", create.ipv6);
                let gateway = session.create(&CUSTOMER, body).await?;
                session.show(&gateway)
            }
            Self::Edit(Edit { gateway, changes }) => {
                let mut body = edits(changes.name.as_ref(), &changes.tags, changes.no_tags);
                set_some(&mut body, "asn", changes.asn);
                set_some(&mut body, "ipv4_public", changes.ipv4);
                set_some(&mut body, "ipv6_public", changes.ipv6);
                edit(session, &CUSTOMER, &gateway.object, &body).await
            }
            Self::Delete(wanted) => delete(session, &CUSTOMER, &wanted.objects).await,
        }
    }
}
