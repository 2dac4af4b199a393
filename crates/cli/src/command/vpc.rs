//! VPCs.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use super::explain::ExplainRoute;
use super::{Filters, New, Object, Objects, Relabel, Switch, delete, get, list};
use crate::failure::Failure;
use crate::output::{Column, align};
use crate::session::{Api, Kind, Session, set, text};
use crate::state::head;

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
    List(Filters),
    /// Show a VPC
    Get(Object),
    /// Create a VPC
    Create(New),
    /// Change a VPC's name or tags
    Edit(Relabel),
    /// Show whether a VPC's routes and access lists are in force, and why not
    State(Object),
    /// Show what the public API has no word for
    Options(Object),
    /// Change what the public API has no word for
    SetOptions(SetOptions),
    /// Explain where a prefix or a packet goes in a VPC, and why
    ExplainRoute(ExplainRoute),
    /// Delete VPCs
    Delete(Objects),
}

/// `vpc set-options`
#[derive(Args)]
pub struct SetOptions {
    #[command(flatten)]
    vpc: Object,
    /// Whether VPN gateways announce the VPC's custom routes, as far as a routing policy lets them
    #[arg(long, value_enum)]
    custom_routes_propagation: Switch,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(filters) => list(session, &VPC, "VPCs", COLUMNS, &filters.query()).await,
            Self::Get(wanted) => get(session, &VPC, &wanted.object).await,
            Self::Create(new) => {
                let mut body = new.body();
                set(&mut body, "enable_routing", json!(true));
                let vpc = session.create(&VPC, body).await?;
                session.show(&vpc)
            }
            Self::Edit(changes) => changes.run(session, &VPC).await,
            Self::State(wanted) => state(session, &wanted.object).await,
            Self::Options(wanted) => {
                let id = session.id(&VPC, &wanted.object).await?;
                let options = session.get(&session.at(Api::Extension, [VPC.collection, &id, "options"])).await?;
                session.show(&options)
            }
            Self::SetOptions(change) => {
                let id = session.id(&VPC, &change.vpc.object).await?;
                let body = json!({"custom_routes_propagation_enabled": change.custom_routes_propagation.is_on()});
                let target = session.at(Api::Extension, [VPC.collection, &id, "options"]);
                let options = session.send(Method::PATCH, &target, &body).await?;
                session.show(&options)
            }
            Self::ExplainRoute(wanted) => wanted.run(session).await,
            Self::Delete(wanted) => delete(session, &VPC, &wanted.objects).await,
        }
    }
}

async fn state(session: &mut Session<'_>, name: &str) -> Result<(), Failure> {
    let vpc = session.find(&VPC, name).await?;
    let id = text(&vpc, "/id");
    let state = session.get(&session.at(Api::Extension, [VPC.collection, &id, "state"])).await?;
    session.show_as(&state, |state| {
        let mut rows = head(&vpc, state);
        for (title, key) in [("IPv4 rules", "/acl_ipv4/rules"), ("IPv6 rules", "/acl_ipv6/rules")] {
            let rules = state.pointer(key).and_then(serde_json::Value::as_array).map_or(0, Vec::len);
            rows.push(vec![title.to_owned(), rules.to_string()]);
        }
        let announced = text(state, "/custom_routes_propagation_enabled");
        rows.push(vec!["announces custom routes".to_owned(), announced]);
        let routers = state.pointer("/routers").and_then(serde_json::Value::as_array);
        for router in routers.into_iter().flatten() {
            let at = format!("node {} in {}", text(router, "/node"), text(router, "/zone"));
            rows.push(vec!["routed by".to_owned(), at]);
        }
        align(&rows)
    })
}
