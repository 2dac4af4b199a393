//! Routes of VPCs: all are listed, the tenant's own are made and changed.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::gateway::GATEWAY;
use super::network::NETWORK;
use super::vpc::VPC;
use super::{Family, ip, optional_id};
use crate::failure::Failure;
use crate::output::Column;
use crate::session::{Api, Kind, Session, is_id, set, set_some, single, text};

const ROUTE: Kind = Kind { noun: "route", api: Api::Vpc, collection: "routes", list_key: "routes" };
const LIST: Kind = Kind { noun: "route", api: Api::Vpc, collection: "routes-with-nexthop", list_key: "routes" };

const COLUMNS: &[Column] = &[
    Column { title: "DESTINATION", cell: |shown| text(shown, "/route/destination") },
    Column { title: "TYPE", cell: |shown| text(shown, "/route/type") },
    Column { title: "NEXT HOP", cell: next_hop },
    Column { title: "ID", cell: |shown| text(shown, "/route/id") },
    Column { title: "DESCRIPTION", cell: |shown| text(shown, "/route/description") },
];

/// `router (10.0.0.2)`, or the network that answers itself.
fn next_hop(shown: &Value) -> String {
    let (name, address) = (text(shown, "/nexthop_name"), text(shown, "/nexthop_ip"));
    match (name.is_empty(), address.is_empty()) {
        (false, false) => format!("{name} ({address})"),
        (true, false) => address,
        (false, true) => name,
        (true, true) => "on the network".to_owned(),
    }
}

/// What can be done with routes.
#[derive(Subcommand)]
pub enum Action {
    /// List the routes of VPCs: of subnets, your own, and learned ones
    List(List),
    /// Show a route of your own
    Get(Get),
    /// Add a route
    Create(Create),
    /// Change a route
    Edit(Edit),
    /// Delete routes of your own
    Delete(Delete),
}

/// `route list`
#[derive(Args)]
pub struct List {
    /// Only those of this VPC
    #[arg(long, value_name = "NAME|ID")]
    vpc: Option<String>,
    /// Only those whose destination contains this address or prefix
    #[arg(long, value_name = "CIDR")]
    contains: Option<String>,
    /// Only those that this VPN gateway learned
    #[arg(long, value_name = "NAME|ID")]
    gateway: Option<String>,
    /// Only those of this family
    #[arg(long, value_enum)]
    family: Option<Family>,
    /// Only those with this tag, or one of these
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

/// `route get`
#[derive(Args)]
pub struct Get {
    #[command(flatten)]
    route: Wanted,
}

#[derive(Args)]
struct Wanted {
    /// Its id, or its destination
    #[arg(value_name = "CIDR|ID")]
    route: String,
    /// The VPC, where a destination is in several
    #[arg(long, value_name = "NAME|ID")]
    vpc: Option<String>,
}

/// `route create`
#[derive(Args)]
pub struct Create {
    /// Where it leads
    #[arg(value_name = "CIDR")]
    destination: String,
    /// The VPC
    #[arg(long, value_name = "NAME|ID")]
    vpc: String,
    #[command(flatten)]
    next_hop: NextHop,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct NextHop {
    /// The next hop: an address that is attached to a resource of yours
    #[arg(long, value_name = "ADDRESS|ID")]
    via: Option<String>,
    /// The Private Network of the next hop; alone: the destination answers there itself
    #[arg(long, value_name = "NAME|ID")]
    private_network: Option<String>,
}

/// `route edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    route: Wanted,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Where it leads from now on
    #[arg(long, value_name = "CIDR")]
    destination: Option<String>,
    /// The next hop from now on
    #[arg(long, value_name = "ADDRESS|ID")]
    via: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Its tags from now on; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Take all tags away
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
}

/// `route delete`
#[derive(Args)]
pub struct Delete {
    #[command(flatten)]
    route: Wanted,
}

/// The custom route with this id or destination.
async fn find(session: &mut Session<'_>, wanted: &Wanted) -> Result<Value, Failure> {
    if is_id(&wanted.route) {
        return session.get(&session.object(&ROUTE, &wanted.route)).await;
    }
    let vpc = optional_id(session, &VPC, wanted.vpc.as_ref()).await?;
    let mut query = vec![("contains", wanted.route.as_str())];
    query.extend(vpc.as_deref().map(|id| ("vpc_id", id)));
    let mut found = session.list(&LIST, &query).await?;
    let own =
        |shown: &Value| text(shown, "/route/type") == "custom" && text(shown, "/route/destination") == wanted.route;
    found.retain(own);
    let routes = found.iter().filter_map(|shown| shown.get("route").cloned()).collect();
    single(ROUTE.noun, &wanted.route, routes)
}

/// The resource that an address is attached to.
async fn resource(session: &mut Session<'_>, via: &str) -> Result<String, Failure> {
    let ip = ip::find(session, via).await?;
    let id = text(&ip, "/resource/id");
    if id.is_empty() {
        let address = text(&ip, "/address");
        return Err(Failure::Usage(format!("{address} is attached to nothing; attach it first: ip attach")));
    }
    Ok(id)
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let vpc = optional_id(session, &VPC, list.vpc.as_ref()).await?;
                let gateway = optional_id(session, &GATEWAY, list.gateway.as_ref()).await?;
                let mut query: Vec<(&str, &str)> = list.tags.iter().map(|tag| ("tags", tag.as_str())).collect();
                query.push(("order_by", "destination_asc"));
                query.extend(vpc.as_deref().map(|id| ("vpc_id", id)));
                query.extend(gateway.as_deref().map(|id| ("nexthop_resource_id", id)));
                query.extend(list.contains.as_deref().map(|prefix| ("contains", prefix)));
                query.extend(
                    list.family.map(|family| ("is_ipv6", if family == Family::Ipv6 { "true" } else { "false" })),
                );
                let found = session.list(&LIST, &query).await?;
                session.show_list("routes", COLUMNS, found)
            }
            Self::Get(wanted) => {
                let route = find(session, &wanted.route).await?;
                session.show(&route)
            }
            Self::Create(create) => {
                let mut body = json!({
                    "vpc_id": session.id(&VPC, &create.vpc).await?,
                    "destination": create.destination,
                    "description": create.description.unwrap_or_default(),
                    "tags": create.tags,
                });
                if let Some(via) = &create.next_hop.via {
                    set(&mut body, "nexthop_resource_id", json!(resource(session, via).await?));
                }
                if let Some(network) = &create.next_hop.private_network {
                    set(&mut body, "nexthop_private_network_id", json!(session.id(&NETWORK, network).await?));
                }
                let route = session.send(Method::POST, &session.at(Api::Vpc, ["routes"]), &body).await?;
                session.show(&route)
            }
            Self::Edit(Edit { route, changes }) => {
                let id = text(&find(session, &route).await?, "/id");
                let mut body = json!({});
                set_some(&mut body, "destination", changes.destination);
                set_some(&mut body, "description", changes.description);
                if let Some(via) = &changes.via {
                    set(&mut body, "nexthop_resource_id", json!(resource(session, via).await?));
                }
                if changes.no_tags || !changes.tags.is_empty() {
                    set(&mut body, "tags", json!(changes.tags));
                }
                let route = session.edit(&ROUTE, &id, &body).await?;
                session.show(&route)
            }
            Self::Delete(wanted) => {
                let route = find(session, &wanted.route).await?;
                let answer = session.delete(&session.object(&ROUTE, &text(&route, "/id"))).await?;
                session.done(&format!("deleted the route to {}", text(&route, "/destination")), &answer)
            }
        }
    }
}
