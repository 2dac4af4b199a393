//! Routing policies.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Family, Filters, New, Object, Objects, delete, edit, edits, get, list};
use crate::failure::Failure;
use crate::output::{Column, inline};
use crate::session::{Api, Kind, Session, set, text};

pub(crate) const POLICY: Kind =
    Kind { noun: "routing policy", api: Api::S2s, collection: "routing-policies", list_key: "routing_policies" };

/// Links have their own, as they have in the API.
pub(crate) const LINK_POLICY: Kind = Kind {
    noun: "link routing policy",
    api: Api::Interlink,
    collection: "routing-policies",
    list_key: "routing_policies",
};

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |policy| text(policy, "/name") },
    Column { title: "ID", cell: |policy| text(policy, "/id") },
    Column { title: "FAMILY", cell: |policy| family(policy).to_owned() },
    Column { title: "ACCEPTS", cell: |policy| prefixes(policy, "prefix_filter_in") },
    Column { title: "ANNOUNCES", cell: |policy| prefixes(policy, "prefix_filter_out") },
];

/// Prefixes that a cell shows.
const SHOWN: usize = 3;

fn family(policy: &Value) -> &'static str {
    if is_ipv6(policy) { "ipv6" } else { "ipv4" }
}

/// Whether it is a policy for IPv6 prefixes.
pub(crate) fn is_ipv6(policy: &Value) -> bool {
    policy.get("is_ipv6").and_then(Value::as_bool).unwrap_or(false)
}

/// The first few prefixes of a filter and how many more there are.
pub(crate) fn prefixes(policy: &Value, filter: &str) -> String {
    let all = policy.get(filter).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut shown = all.iter().take(SHOWN).map(inline).collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN {
        shown.push_str(&format!(" +{}", all.len() - SHOWN));
    }
    shown
}

/// What can be done with routing policies.
#[derive(Subcommand)]
pub enum Action {
    /// List routing policies
    List(List),
    /// Show a routing policy
    Get(Object),
    /// Create a routing policy
    Create(Create),
    /// Change a routing policy; what uses it follows at once
    Edit(Edit),
    /// Delete routing policies
    Delete(Objects),
}

/// `policy list`
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    filters: Filters,
    /// Only those of this family
    #[arg(long, value_enum)]
    family: Option<Family>,
}

/// `policy create`
#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    new: New,
    /// A prefix that is accepted from the device, with what lies in it; may be given several times
    #[arg(long = "accept", value_name = "CIDR")]
    accepted: Vec<String>,
    /// A prefix that is announced to the device, with what lies in it; may be given several times
    #[arg(long = "announce", value_name = "CIDR")]
    announced: Vec<String>,
    /// For IPv6 prefixes [default: what the prefixes are]
    #[arg(long)]
    ipv6: bool,
}

/// `policy edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    policy: Object,
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
    /// The prefixes that are accepted from now on; may be given several times
    #[arg(long = "accept", value_name = "CIDR")]
    accepted: Vec<String>,
    /// Accept nothing
    #[arg(long, conflicts_with = "accepted")]
    accept_none: bool,
    /// The prefixes that are announced from now on; may be given several times
    #[arg(long = "announce", value_name = "CIDR")]
    announced: Vec<String>,
    /// Announce nothing
    #[arg(long, conflicts_with = "announced")]
    announce_none: bool,
}

/// What can be done with routing policies of links: the same, elsewhere.
#[derive(Subcommand)]
pub enum LinkAction {
    #[command(flatten)]
    Of(Action),
}

impl LinkAction {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self::Of(action) = self;
        action.run_for(session, &LINK_POLICY).await
    }
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        self.run_for(session, &POLICY).await
    }

    async fn run_for(self, session: &mut Session<'_>, kind: &Kind) -> Result<(), Failure> {
        match self {
            Self::List(wanted) => {
                let mut query = wanted.filters.query();
                // This filter's name differs from the field's.
                query.extend(
                    wanted.family.map(|family| ("ipv6", if family == Family::Ipv6 { "true" } else { "false" })),
                );
                list(session, kind, "routing policies", COLUMNS, &query).await
            }
            Self::Get(wanted) => get(session, kind, &wanted.object).await,
            Self::Create(create) => {
                let mut body = create.new.body();
                let ipv6 =
                    create.ipv6 || create.accepted.iter().chain(&create.announced).any(|prefix| prefix.contains(':'));
                set(&mut body, "is_ipv6", json!(ipv6));
                set(&mut body, "prefix_filter_in", json!(create.accepted));
                set(&mut body, "prefix_filter_out", json!(create.announced));
                let policy = session.create(kind, body).await?;
                session.show(&policy)
            }
            Self::Edit(Edit { policy, changes }) => {
                let mut body = edits(changes.name.as_ref(), &changes.tags, changes.no_tags);
                if changes.accept_none || !changes.accepted.is_empty() {
                    set(&mut body, "prefix_filter_in", json!(changes.accepted));
                }
                if changes.announce_none || !changes.announced.is_empty() {
                    set(&mut body, "prefix_filter_out", json!(changes.announced));
                }
                edit(session, kind, &policy.object, &body).await
            }
            Self::Delete(wanted) => delete(session, kind, &wanted.objects).await,
        }
    }
}
