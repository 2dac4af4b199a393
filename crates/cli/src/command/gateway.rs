//! VPN gateways.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::events::Events;
use super::{Filters, New, Object, Objects, Relabel, ip, label};
use crate::failure::Failure;
use crate::output::{Column, align, count, inline};
use crate::session::{Api, Kind, Session, set, set_some, text};
use crate::state::{bandwidth, head};
use crate::text::printable;
use crate::wait::{Goal, Wait, delete_when_settled, until, until_gone};

use super::network::NETWORK;

pub(crate) const GATEWAY: Kind =
    Kind { noun: "VPN gateway", api: Api::S2s, collection: "vpn-gateways", list_key: "gateways" };

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |gateway| text(gateway, "/name") },
    Column { title: "ID", cell: |gateway| text(gateway, "/id") },
    Column { title: "STATUS", cell: |gateway| text(gateway, "/status") },
    Column { title: "TYPE", cell: |gateway| text(gateway, "/gateway_type") },
    Column { title: "ZONE", cell: |gateway| text(gateway, "/zone") },
    Column { title: "CONNECTIONS", cell: |gateway| count(gateway, "connection_ids") },
    Column { title: "REASON", cell: |gateway| text(gateway, "/reason") },
];

/// What can be done with VPN gateways.
#[derive(Subcommand)]
pub enum Action {
    /// List VPN gateways
    List(List),
    /// Show a VPN gateway
    Get(Object),
    /// Create a VPN gateway
    Create(Create),
    /// Change a VPN gateway's name or tags
    Edit(Relabel),
    /// Delete VPN gateways
    Delete(Delete),
    /// Show what a VPN gateway is doing, and why it is not better
    State(State),
    /// Show what happened to a VPN gateway: changes of its status with reasons, and who changed what
    Events(Events),
    /// Lock a VPN gateway: its traffic stops and its tenant can change nothing; support and operators only
    Lock(Lock),
    /// Unlock a VPN gateway; support and operators only
    Unlock(Object),
}

/// `gateway list`
#[derive(Args)]
pub struct List {
    #[command(flatten)]
    filters: Filters,
    /// Only those with this status, or one of these
    #[arg(long = "status", value_name = "STATUS")]
    statuses: Vec<String>,
}

/// Which public addresses a gateway has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Public {
    /// One of each family
    Dual,
    /// IPv4 only
    Ipv4,
    /// IPv6 only
    Ipv6,
}

/// `gateway create`
#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    new: New,
    /// Its type; `causeway gateway-type list` lists them
    #[arg(long = "type", value_name = "TYPE")]
    gateway_type: String,
    /// The Private Network that it connects
    #[arg(long, value_name = "NAME|ID")]
    private_network: String,
    /// Its zone [default: $SCW_DEFAULT_ZONE if that is one of the region]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Which public addresses it gets
    #[arg(long, value_enum, default_value = "dual")]
    public: Public,
    /// A booked public IPv4 address to use
    #[arg(long, value_name = "ADDRESS|ID")]
    public_ipv4: Option<String>,
    /// A booked public IPv6 address to use
    #[arg(long, value_name = "ADDRESS|ID")]
    public_ipv6: Option<String>,
    /// A booked IPv4 address of the Private Network to use
    #[arg(long, value_name = "ADDRESS|ID")]
    private_ipv4: Option<String>,
    /// A booked IPv6 address of the Private Network to use
    #[arg(long, value_name = "ADDRESS|ID")]
    private_ipv6: Option<String>,
    #[command(flatten)]
    wait: Wait,
}

/// `gateway delete`
#[derive(Args)]
pub struct Delete {
    #[command(flatten)]
    gateways: Objects,
    #[command(flatten)]
    wait: Wait,
}

/// `gateway state`
#[derive(Args)]
pub struct State {
    #[command(flatten)]
    gateway: Object,
    #[command(flatten)]
    wait: Wait,
}

/// `gateway lock`
#[derive(Args)]
pub struct Lock {
    #[command(flatten)]
    gateway: Object,
    /// Why; kept in the audit records
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let mut query = list.filters.query();
                query.extend(list.statuses.iter().map(|status| ("statuses", status.as_str())));
                let found = session.list(&GATEWAY, &query).await?;
                let found = session.with_reasons(&GATEWAY, found).await;
                session.show_list("VPN gateways", COLUMNS, found)
            }
            Self::Get(wanted) => {
                let gateway = session.find(&GATEWAY, &wanted.object).await?;
                let gateway = session.with_reason(&GATEWAY, gateway).await;
                session.show(&gateway)
            }
            Self::Create(new) => create(session, new).await,
            Self::Edit(changes) => changes.run(session, &GATEWAY).await,
            Self::Delete(wanted) => delete(session, wanted).await,
            Self::State(wanted) => state(session, wanted).await,
            Self::Events(wanted) => wanted.run(session, &GATEWAY).await,
            Self::Lock(lock) => {
                let body = json!({"reason": lock.reason});
                set_locked(session, &GATEWAY, &lock.gateway.object, Some(&body)).await
            }
            Self::Unlock(unlock) => set_locked(session, &GATEWAY, &unlock.object, None).await,
        }
    }
}

async fn create(session: &mut Session<'_>, new: Create) -> Result<(), Failure> {
    let wanted = [
        (&new.public_ipv4, new.public != Public::Ipv6, "--public-ipv4"),
        (&new.public_ipv6, new.public != Public::Ipv4, "--public-ipv6"),
    ];
    if let Some((.., flag)) = wanted.iter().find(|(address, fits, _)| address.is_some() && !fits) {
        return Err(Failure::Usage(format!("{flag} does not go with this --public")));
    }
    let mut body = new.new.body();
    set(&mut body, "gateway_type", json!(new.gateway_type));
    set(&mut body, "private_network_id", json!(session.id(&NETWORK, &new.private_network).await?));
    let mut addresses = Vec::new();
    for address in [&new.public_ipv4, &new.public_ipv6, &new.private_ipv4, &new.private_ipv6] {
        addresses.push(match address {
            Some(address) => Some(text(&ip::find(session, address).await?, "/id")),
            None => None,
        });
    }
    let mut addresses = addresses.into_iter();
    let mut next = || addresses.next().flatten();
    let (public_ipv4, public_ipv6) = (next(), next());
    set_some(&mut body, "ipam_private_ipv4_id", next());
    set_some(&mut body, "ipam_private_ipv6_id", next());
    set_some(&mut body, "public_tunnel_config", tunnels(new.public, public_ipv4, public_ipv6));
    set_some(&mut body, "zone", new.zone.as_deref().or(session.zone()));
    let mut gateway = session.create(&GATEWAY, body).await?;
    let id = text(&gateway, "/id");
    if let Some(limit) = new.wait.limit() {
        if session.is_table() {
            session.console.note(&printable(&format!("created VPN gateway {}", label(&gateway))));
        }
        until(session, &GATEWAY, &id, &label(&gateway), Goal::Active, limit).await?;
        gateway = session.get(&session.object(&GATEWAY, &id)).await?;
    }
    let gateway = session.with_reason(&GATEWAY, gateway).await;
    session.show(&gateway)?;
    if session.is_table() && new.wait.limit().is_none() {
        session.console.hint(&format!("watch it become active: causeway gateway state {id} --wait"));
    }
    Ok(())
}

/// `public_tunnel_config`; nothing where the service's default says the same.
fn tunnels(public: Public, ipv4: Option<String>, ipv6: Option<String>) -> Option<Value> {
    let mut inner = json!({});
    let variant = match public {
        Public::Dual if ipv4.is_none() && ipv6.is_none() => return None,
        Public::Dual => {
            set_some(&mut inner, "ipam_ipv4_id", ipv4);
            set_some(&mut inner, "ipam_ipv6_id", ipv6);
            "dual_ipv4v6_tunnel"
        }
        Public::Ipv4 => {
            set_some(&mut inner, "ipam_id", ipv4);
            "single_ipv4_tunnel"
        }
        Public::Ipv6 => {
            set_some(&mut inner, "ipam_id", ipv6);
            "single_ipv6_tunnel"
        }
    };
    let mut config = json!({});
    set(&mut config, variant, inner);
    Some(config)
}

async fn delete(session: &mut Session<'_>, wanted: Delete) -> Result<(), Failure> {
    let mut found = Vec::new();
    for name in &wanted.gateways.objects {
        found.push(session.find(&GATEWAY, name).await?);
    }
    for gateway in found {
        let target = session.object(&GATEWAY, &text(&gateway, "/id"));
        if let Some(limit) = wanted.wait.limit() {
            let answer = delete_when_settled(session, &target, limit).await?;
            until_gone(session, &GATEWAY, &target, &label(&gateway), limit).await?;
            session.done(&format!("deleted VPN gateway {}", label(&gateway)), &answer)?;
        } else {
            let answer = session.delete(&target).await?;
            session.done(&format!("deleting VPN gateway {}", label(&gateway)), &answer)?;
        }
    }
    Ok(())
}

async fn state(session: &mut Session<'_>, wanted: State) -> Result<(), Failure> {
    let gateway = session.find(&GATEWAY, &wanted.gateway.object).await?;
    let id = text(&gateway, "/id");
    let state = match wanted.wait.limit() {
        Some(limit) => until(session, &GATEWAY, &id, &label(&gateway), Goal::Active, limit).await?,
        None => session.get(&session.at(Api::Extension, [GATEWAY.collection, &id, "state"])).await?,
    };
    if !session.is_table() {
        return session.show(&state);
    }
    let mut rows = head(&gateway, &state);
    let mut row = |title: &str, value: String| rows.push(vec![title.to_owned(), printable(&value).into_owned()]);
    row("node", state.get("node").map(inline).unwrap_or_default());
    row("bandwidth", bandwidth(state.get("bandwidth")));
    row("public", state.get("public_addresses").map(inline).unwrap_or_default());
    row("private", state.get("private_addresses").map(inline).unwrap_or_default());
    Ok(session.console.verbatim(align(&rows).as_bytes())?)
}

/// Locks an object, or unlocks it: these paths are the operator's, without a region.
pub(crate) async fn set_locked(
    session: &mut Session<'_>,
    kind: &Kind,
    name: &str,
    lock: Option<&Value>,
) -> Result<(), Failure> {
    let object = session.find(kind, name).await?;
    let id = text(&object, "/id");
    let verb = if lock.is_some() { "lock" } else { "unlock" };
    let target = session.at(Api::Causeway, [kind.collection, &id, verb]);
    let answer = session.send(hyper::Method::POST, &target, lock.unwrap_or(&json!({}))).await?;
    session.done(&format!("{verb}ed {} {}", kind.noun, label(&object)), &answer)
}
