//! Addresses of IPAM. An address is its own name.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::network::NETWORK;
use super::optional_id;
use crate::failure::Failure;
use crate::output::Column;
use crate::session::{Api, Kind, Session, is_id, set, set_some, single, text};

pub(crate) const IP: Kind = Kind { noun: "IP address", api: Api::Ipam, collection: "ips", list_key: "ips" };

const COLUMNS: &[Column] = &[
    Column { title: "ADDRESS", cell: |ip| text(ip, "/address") },
    Column { title: "ID", cell: |ip| text(ip, "/id") },
    Column { title: "SOURCE", cell: source },
    Column { title: "USED BY", cell: used_by },
];

fn source(ip: &Value) -> String {
    match text(ip, "/source/zonal") {
        zone if !zone.is_empty() => format!("public, {zone}"),
        _ => ["/source/private_network_id", "/source/subnet_id", "/source/vpc_id"]
            .iter()
            .map(|key| text(ip, key))
            .find(|id| !id.is_empty())
            .map(|id| format!("subnet {id}"))
            .unwrap_or_default(),
    }
}

fn used_by(ip: &Value) -> String {
    let name = text(ip, "/resource/name");
    let which = if name.is_empty() { text(ip, "/resource/id") } else { name };
    format!("{} {which}", text(ip, "/resource/type")).trim().to_owned()
}

/// What can be done with addresses.
#[derive(Subcommand)]
pub enum Action {
    /// List addresses
    List(List),
    /// Show an address
    Get(Get),
    /// Book an address
    #[command(visible_alias = "book")]
    Create(Create),
    /// Change an address's tags and names
    Edit(Edit),
    /// Attach an address of a Private Network to something of yours
    Attach(Attach),
    /// Move an address from one thing of yours to another
    Move(Move),
    /// Detach an address from what it was attached to by hand
    Detach(Detach),
    /// Give addresses back
    #[command(visible_alias = "release")]
    Delete(Delete),
}

/// `ip list`
#[derive(Args)]
pub struct List {
    /// Only those in use
    #[arg(long, conflicts_with = "free")]
    attached: bool,
    /// Only those not in use
    #[arg(long)]
    free: bool,
    /// Only those of this Private Network
    #[arg(long, value_name = "NAME|ID")]
    private_network: Option<String>,
    /// Only those with this tag, or one of these
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

/// `ip get`
#[derive(Args)]
pub struct Get {
    #[command(flatten)]
    ip: Address,
}

#[derive(Args)]
struct Address {
    /// The address, or its id
    #[arg(value_name = "ADDRESS|ID")]
    ip: String,
}

/// `ip create`
#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    source: Source,
    /// An IPv6 address
    #[arg(long)]
    ipv6: bool,
    /// This very address, of the Private Network
    #[arg(long, value_name = "ADDRESS", conflicts_with = "public")]
    address: Option<String>,
    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// From this Private Network
    #[arg(long, value_name = "NAME|ID")]
    private_network: Option<String>,
    /// From the public addresses of this zone [default: $SCW_DEFAULT_ZONE]
    #[arg(long, value_name = "ZONE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    public: Option<String>,
}

/// `ip edit`
#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    ip: Address,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Its tags from now on; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Take all tags away
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
    /// The names that it is looked up as from now on; may be given several times
    #[arg(long = "reverse", value_name = "HOSTNAME")]
    reverses: Vec<String>,
    /// Take all names away
    #[arg(long, conflicts_with = "reverses")]
    no_reverses: bool,
}

/// `ip attach`
#[derive(Args)]
pub struct Attach {
    #[command(flatten)]
    ip: Address,
    /// The MAC address of what uses it
    #[arg(value_name = "MAC")]
    mac_address: String,
    /// What that is called
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// `ip move`
#[derive(Args)]
pub struct Move {
    #[command(flatten)]
    ip: Address,
    /// The MAC address of what uses it from now on
    #[arg(value_name = "MAC")]
    mac_address: String,
    /// What that is called
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// `ip detach`
#[derive(Args)]
pub struct Detach {
    #[command(flatten)]
    ip: Address,
}

/// `ip delete`
#[derive(Args)]
pub struct Delete {
    /// The addresses, or their ids
    #[arg(value_name = "ADDRESS|ID", required = true)]
    ips: Vec<String>,
}

/// The object with this id or address.
pub(crate) async fn find(session: &mut Session<'_>, wanted: &str) -> Result<Value, Failure> {
    if is_id(wanted) {
        return session.get(&session.object(&IP, wanted)).await;
    }
    let mut found = session.list(&IP, &[]).await?;
    let bare = |address: &str| address.split('/').next().and_then(|bare| bare.parse::<std::net::IpAddr>().ok());
    let Some(address) = bare(wanted) else {
        return Err(Failure::Usage(format!("{wanted:?} is neither an address nor an id")));
    };
    found.retain(|ip| bare(&text(ip, "/address")) == Some(address));
    single(IP.noun, wanted, found)
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let network = optional_id(session, &NETWORK, list.private_network.as_ref()).await?;
                let mut query: Vec<(&str, &str)> = list.tags.iter().map(|tag| ("tags", tag.as_str())).collect();
                if list.attached || list.free {
                    query.push(("attached", if list.attached { "true" } else { "false" }));
                }
                query.extend(network.as_deref().map(|id| ("private_network_id", id)));
                let found = session.list(&IP, &query).await?;
                session.show_list("IP addresses", COLUMNS, found)
            }
            Self::Get(wanted) => {
                let ip = find(session, &wanted.ip.ip).await?;
                session.show(&ip)
            }
            Self::Create(create) => {
                let source = match (create.source.private_network, create.source.public) {
                    (Some(network), _) => json!({"private_network_id": session.id(&NETWORK, &network).await?}),
                    (None, zone) => {
                        let zone = zone.filter(|zone| !zone.is_empty()).or_else(|| session.zone().map(str::to_owned));
                        let Some(zone) = zone else {
                            return Err(Failure::Usage("say which zone: --public=ZONE".to_owned()));
                        };
                        json!({"zonal": zone})
                    }
                };
                let mut body = json!({"source": source, "is_ipv6": create.ipv6, "tags": create.tags});
                set_some(&mut body, "address", create.address);
                let ip = session.create(&IP, body).await?;
                session.show(&ip)
            }
            Self::Edit(edit) => {
                let id = text(&find(session, &edit.ip.ip).await?, "/id");
                let Changes { tags, no_tags, reverses, no_reverses } = edit.changes;
                let mut body = json!({});
                if no_tags || !tags.is_empty() {
                    set(&mut body, "tags", json!(tags));
                }
                if no_reverses || !reverses.is_empty() {
                    let names: Vec<_> = reverses.iter().map(|name| json!({"hostname": name})).collect();
                    set(&mut body, "reverses", Value::Array(names));
                }
                let ip = session.edit(&IP, &id, &body).await?;
                session.show(&ip)
            }
            Self::Attach(attach) => {
                let id = text(&find(session, &attach.ip.ip).await?, "/id");
                let body = json!({"resource": {"mac_address": attach.mac_address, "name": attach.name}});
                let ip = session.send(Method::POST, &session.object(&IP, &id).join("attach"), &body).await?;
                session.show(&ip)
            }
            Self::Move(wanted) => {
                let ip = find(session, &wanted.ip.ip).await?;
                let body = json!({
                    "from_resource": {"mac_address": text(&ip, "/resource/mac_address")},
                    "to_resource": {"mac_address": wanted.mac_address, "name": wanted.name},
                });
                let target = session.object(&IP, &text(&ip, "/id")).join("move");
                let ip = session.send(Method::POST, &target, &body).await?;
                session.show(&ip)
            }
            Self::Detach(wanted) => {
                let ip = find(session, &wanted.ip.ip).await?;
                let body = json!({"resource": {"mac_address": text(&ip, "/resource/mac_address")}});
                let target = session.object(&IP, &text(&ip, "/id")).join("detach");
                let ip = session.send(Method::POST, &target, &body).await?;
                session.show(&ip)
            }
            Self::Delete(wanted) => {
                let mut found = Vec::new();
                for ip in &wanted.ips {
                    found.push(find(session, ip).await?);
                }
                for ip in found {
                    let target = session.object(&IP, &text(&ip, "/id"));
                    let answer = session.delete(&target).await?;
                    session.done(&format!("released {}", text(&ip, "/address")), &answer)?;
                }
                Ok(())
            }
        }
    }
}
