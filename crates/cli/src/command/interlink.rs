//! What links are ordered from: PoPs, partners, dedicated connections; and the operator's side of it, ports and bandwidths.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::catalogue::{bits, millionths, remove, show_all};
use super::gateway::set_locked;
use super::node::NODE;
use super::{Filters, New, Object, Objects, Switch, edit, edits, get, label, list, optional_id};
use crate::failure::Failure;
use crate::output::{Column, inline, price};
use crate::session::{Api, Kind, Session, set, set_some, text};
use crate::state::bandwidth;

pub(crate) const POP: Kind = Kind { noun: "PoP", api: Api::Interlink, collection: "pops", list_key: "pops" };
pub(crate) const PARTNER: Kind =
    Kind { noun: "partner", api: Api::Interlink, collection: "partners", list_key: "partners" };
pub(crate) const DEDICATED: Kind = Kind {
    noun: "dedicated connection",
    api: Api::Interlink,
    collection: "dedicated-connections",
    list_key: "connections",
};
const PORT: Kind = Kind { noun: "port", api: Api::Operator, collection: "ports", list_key: "ports" };
const BANDWIDTHS: &str = "link-bandwidths";

const POP_COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |pop| text(pop, "/name") },
    Column { title: "ID", cell: |pop| text(pop, "/id") },
    Column { title: "CITY", cell: |pop| text(pop, "/city") },
    Column { title: "HOST", cell: |pop| text(pop, "/hosting_provider_name") },
    Column { title: "MBIT/S", cell: |pop| pop.get("available_link_bandwidths_mbps").map(inline).unwrap_or_default() },
];

const PARTNER_COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |partner| text(partner, "/name") },
    Column { title: "ID", cell: |partner| text(partner, "/id") },
    Column { title: "CONTACT", cell: |partner| text(partner, "/contact_email") },
    Column { title: "PORTAL", cell: |partner| text(partner, "/portal_url") },
];

const DEDICATED_COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |connection| text(connection, "/name") },
    Column { title: "ID", cell: |connection| text(connection, "/id") },
    Column { title: "STATUS", cell: |connection| text(connection, "/status") },
    Column { title: "BANDWIDTH", cell: |connection| megabits(connection.get("bandwidth_mbps")) },
    Column { title: "VLANS", cell: vlans },
    Column { title: "FREE MBIT/S", cell: |of| of.get("available_link_bandwidths").map(inline).unwrap_or_default() },
];

const PORT_COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |port| text(port, "/name") },
    Column { title: "ID", cell: |port| text(port, "/id") },
    Column { title: "POP", cell: |port| text(port, "/pop_id") },
    Column { title: "PARTNER", cell: |port| text(port, "/partner_id") },
    Column { title: "CONNECTION", cell: |port| text(port, "/connection_id") },
    Column { title: "NODE", cell: |port| text(port, "/node_id") },
    Column { title: "ATTACHMENT", cell: |port| port.get("attachment").map(inline).unwrap_or_default() },
    Column { title: "VLANS", cell: vlans },
    Column { title: "CAPACITY", cell: |port| megabits(port.get("capacity_mbps")) },
    Column { title: "ENABLED", cell: |port| text(port, "/enabled") },
];

const BANDWIDTH_COLUMNS: &[Column] = &[
    Column { title: "BANDWIDTH", cell: |of| megabits(of.get("bandwidth_mbps")) },
    Column { title: "PER HOUR", cell: |of| format!("{} {}", price(of.get("price_per_hour")), text(of, "/currency")) },
];

/// `500 Mbit/s`; the API gives megabits per second.
pub(crate) fn megabits(value: Option<&Value>) -> String {
    let bits = value.and_then(Value::as_u64).map(|megabits| json!(megabits.saturating_mul(1_000_000)));
    bandwidth(bits.as_ref())
}

/// `500M`: megabits per second.
pub(crate) fn megabits_of(text: &str) -> Result<u64, String> {
    const MEGA: u64 = 1_000_000;
    let bits = bits(text)?;
    if bits == 0 || bits % MEGA != 0 {
        return Err("expected whole megabits per second, for example 500M or 1G".to_owned());
    }
    Ok(bits / MEGA)
}

fn vlans(object: &Value) -> String {
    match (text(object, "/vlan_range/start"), text(object, "/vlan_range/end")) {
        (start, end) if start.is_empty() && end.is_empty() => String::new(),
        (start, end) => format!("{start}-{end}"),
    }
}

/// `1500-1999`, or one VLAN.
fn vlan_range(text: &str) -> Result<Value, String> {
    let wrong = || "expected a range of VLANs, for example 1500-1999".to_owned();
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    Ok(json!({"start": number(start)?, "end": number(end)?}))
}

/// The operator's path of an object that tenants can only read.
async fn operated(
    session: &mut Session<'_>,
    kind: &Kind,
    name: &str,
) -> Result<(Value, crate::client::Target), Failure> {
    let object = session.find(kind, name).await?;
    let target = session.at(Api::Operator, [kind.collection, &text(&object, "/id")]);
    Ok((object, target))
}

/// Adds to the operator's catalogue, and prints what came of it.
async fn add(session: &mut Session<'_>, collection: &str, body: &Value) -> Result<(), Failure> {
    let made = session.send(Method::POST, &session.at(Api::Operator, [collection]), body).await?;
    session.show(&made)
}

async fn change(session: &mut Session<'_>, kind: &Kind, name: &str, body: &Value) -> Result<(), Failure> {
    let (_, target) = operated(session, kind, name).await?;
    let changed = session.send(Method::PATCH, &target, body).await?;
    session.show(&changed)
}

/// All are looked up before the first is deleted.
async fn delete(session: &mut Session<'_>, kind: &Kind, names: &[String]) -> Result<(), Failure> {
    let mut found = Vec::new();
    for name in names {
        found.push(operated(session, kind, name).await?);
    }
    for (object, target) in found {
        let answer = session.delete(&target).await?;
        session.done(&format!("deleted {} {}", kind.noun, label(&object)), &answer)?;
    }
    Ok(())
}

/// What can be done with PoPs.
#[derive(Subcommand)]
pub enum PopAction {
    /// List PoPs and the bandwidths that they have links of
    List(ListPops),
    /// Show a PoP
    Get(Object),
    /// Add a PoP; operators only
    Create(CreatePop),
    /// Change a PoP; operators only
    Edit(EditPop),
    /// Take PoPs out of the catalogue; operators only
    Delete(Objects),
}

/// `pop list`
#[derive(Args)]
pub struct ListPops {
    /// Only those whose name contains this
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only those whose host's name contains this
    #[arg(long, value_name = "TEXT")]
    host: Option<String>,
    /// Only those where this partner is
    #[arg(long, value_name = "NAME|ID")]
    partner: Option<String>,
    /// Only those with links of this bandwidth, like 500M or 1G
    #[arg(long, value_name = "BITS", value_parser = megabits_of)]
    bandwidth: Option<u64>,
    /// Only those with a dedicated connection
    #[arg(long)]
    dedicated: bool,
}

/// What a PoP is described by.
#[derive(Args)]
struct PopDetails {
    /// What people call it
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Whose building it is
    #[arg(long, value_name = "TEXT")]
    host: Option<String>,
    /// Its street and number
    #[arg(long, value_name = "TEXT")]
    address: Option<String>,
    /// Its city
    #[arg(long, value_name = "TEXT")]
    city: Option<String>,
    /// A picture of its host
    #[arg(long, value_name = "URL")]
    logo_url: Option<String>,
    /// A bandwidth that links can be ordered with, like 500M or 1G; may be given several times
    #[arg(long = "bandwidth", value_name = "BITS", value_parser = megabits_of)]
    bandwidths: Vec<u64>,
    /// Bits per second that all its links may have together [default: what the ports have]
    #[arg(long, value_name = "BITS", value_parser = megabits_of)]
    capacity: Option<u64>,
}

impl PopDetails {
    fn add_to(&self, body: &mut Value) {
        set_some(body, "display_name", self.display_name.as_ref());
        set_some(body, "hosting_provider_name", self.host.as_ref());
        set_some(body, "address", self.address.as_ref());
        set_some(body, "city", self.city.as_ref());
        set_some(body, "logo_url", self.logo_url.as_ref());
        if !self.bandwidths.is_empty() {
            set(body, "link_bandwidths_mbps", json!(self.bandwidths));
        }
        set_some(body, "capacity_mbps", self.capacity);
    }
}

/// `pop create`
#[derive(Args)]
pub struct CreatePop {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    details: PopDetails,
    /// Its id [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// `pop edit`
#[derive(Args)]
pub struct EditPop {
    #[command(flatten)]
    pop: Object,
    /// Its new name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    details: PopDetails,
}

impl PopAction {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(wanted) => {
                let partner = optional_id(session, &PARTNER, wanted.partner.as_ref()).await?;
                let bandwidth = wanted.bandwidth.map(|bandwidth| bandwidth.to_string());
                let filters = [
                    ("name", wanted.name.as_deref()),
                    ("hosting_provider_name", wanted.host.as_deref()),
                    ("partner_id", partner.as_deref()),
                    ("link_bandwidth_mbps", bandwidth.as_deref()),
                    ("dedicated_available", wanted.dedicated.then_some("true")),
                ];
                let query: Vec<_> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                list(session, &POP, "PoPs", POP_COLUMNS, &query).await
            }
            Self::Get(wanted) => get(session, &POP, &wanted.object).await,
            Self::Create(new) => {
                let mut body = json!({"name": new.name});
                new.details.add_to(&mut body);
                set_some(&mut body, "id", new.id);
                add(session, POP.collection, &body).await
            }
            Self::Edit(wanted) => {
                let mut body = json!({});
                set_some(&mut body, "name", wanted.name);
                wanted.details.add_to(&mut body);
                change(session, &POP, &wanted.pop.object, &body).await
            }
            Self::Delete(wanted) => delete(session, &POP, &wanted.objects).await,
        }
    }
}

/// What can be done with partners.
#[derive(Subcommand)]
pub enum PartnerAction {
    /// List partners and how to reach them
    List(ListPartners),
    /// Show a partner
    Get(Object),
    /// Add a partner; operators only
    Create(CreatePartner),
    /// Change a partner; operators only
    Edit(EditPartner),
    /// Take partners out of the catalogue; operators only
    Delete(Objects),
}

/// `partner list`
#[derive(Args)]
pub struct ListPartners {
    /// Only those at this PoP, or at one of these
    #[arg(long = "pop", value_name = "NAME|ID")]
    pops: Vec<String>,
}

/// What a partner is described by.
#[derive(Args)]
struct PartnerDetails {
    /// The AS number at the far end of its links
    #[arg(long, value_name = "ASN")]
    asn: Option<u32>,
    /// Where tenants write to
    #[arg(long, value_name = "ADDRESS")]
    contact_email: Option<String>,
    /// Where tenants make their requests
    #[arg(long, value_name = "URL")]
    portal_url: Option<String>,
    /// Its picture
    #[arg(long, value_name = "URL")]
    logo_url: Option<String>,
    /// Whether the partner itself is sent reminders and news of its links
    #[arg(long, value_enum)]
    notify: Option<Switch>,
}

impl PartnerDetails {
    fn add_to(&self, body: &mut Value) {
        set_some(body, "asn", self.asn);
        set_some(body, "contact_email", self.contact_email.as_ref());
        set_some(body, "portal_url", self.portal_url.as_ref());
        set_some(body, "logo_url", self.logo_url.as_ref());
        set_some(body, "notify", self.notify.map(Switch::is_on));
    }
}

/// `partner create`
#[derive(Args)]
pub struct CreatePartner {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    details: PartnerDetails,
    /// Its id [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// `partner edit`
#[derive(Args)]
pub struct EditPartner {
    #[command(flatten)]
    partner: Object,
    /// Its new name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    details: PartnerDetails,
}

impl PartnerAction {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(wanted) => {
                let mut pops = Vec::new();
                for pop in &wanted.pops {
                    pops.push(session.id(&POP, pop).await?);
                }
                let query: Vec<_> = pops.iter().map(|pop| ("pop_ids", pop.as_str())).collect();
                list(session, &PARTNER, "partners", PARTNER_COLUMNS, &query).await
            }
            Self::Get(wanted) => get(session, &PARTNER, &wanted.object).await,
            Self::Create(new) => {
                let mut body = json!({"name": new.name});
                new.details.add_to(&mut body);
                set_some(&mut body, "id", new.id);
                add(session, PARTNER.collection, &body).await
            }
            Self::Edit(wanted) => {
                let mut body = json!({});
                set_some(&mut body, "name", wanted.name);
                wanted.details.add_to(&mut body);
                change(session, &PARTNER, &wanted.partner.object, &body).await
            }
            Self::Delete(wanted) => delete(session, &PARTNER, &wanted.objects).await,
        }
    }
}

/// What can be done with dedicated connections.
#[derive(Subcommand)]
pub enum DedicatedAction {
    /// List dedicated connections
    List(ListDedicated),
    /// Show a dedicated connection
    Get(Object),
    /// Add a dedicated connection to the project; operators only
    Create(CreateDedicated),
    /// Change a dedicated connection; operators only
    Edit(EditDedicated),
    /// Remove dedicated connections; operators only
    Delete(Objects),
    /// Lock a dedicated connection; support and operators only
    Lock(LockDedicated),
    /// Unlock a dedicated connection; support and operators only
    Unlock(Object),
}

/// `dedicated-connection list`
#[derive(Args)]
pub struct ListDedicated {
    #[command(flatten)]
    filters: Filters,
    /// Only those with this status
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Only those at this PoP
    #[arg(long, value_name = "NAME|ID")]
    pop: Option<String>,
}

/// `dedicated-connection create`
#[derive(Args)]
pub struct CreateDedicated {
    #[command(flatten)]
    new: New,
    /// Where it ends
    #[arg(long, value_name = "NAME|ID")]
    pop: String,
    /// Bits per second in each direction, like 10G
    #[arg(long, value_name = "BITS", value_parser = megabits_of)]
    bandwidth: u64,
    /// The VLANs of its links, like 1500-1999 [default: all that links can have]
    #[arg(long, value_name = "FIRST-LAST", value_parser = vlan_range)]
    vlans: Option<Value>,
    /// Where exactly the cable goes
    #[arg(long, value_name = "TEXT")]
    demarcation: Option<String>,
    /// Its id [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// `dedicated-connection edit`
#[derive(Args)]
pub struct EditDedicated {
    #[command(flatten)]
    connection: Object,
    /// Its new name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its tags from now on; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Take all tags away
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
    /// Where exactly the cable goes
    #[arg(long, value_name = "TEXT")]
    demarcation: Option<String>,
    /// Bits per second in each direction, like 10G
    #[arg(long, value_name = "BITS", value_parser = megabits_of)]
    bandwidth: Option<u64>,
    /// The VLANs of its links, like 1500-1999
    #[arg(long, value_name = "FIRST-LAST", value_parser = vlan_range)]
    vlans: Option<Value>,
    /// How far it is: created, configuring, failed, active, or disabled
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
}

/// `dedicated-connection lock`
#[derive(Args)]
pub struct LockDedicated {
    #[command(flatten)]
    connection: Object,
    /// Why; kept in the audit records
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl DedicatedAction {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(wanted) => {
                let pop = optional_id(session, &POP, wanted.pop.as_ref()).await?;
                let mut query = wanted.filters.query();
                query.extend(wanted.status.as_deref().map(|status| ("status", status)));
                query.extend(pop.as_deref().map(|pop| ("pop_id", pop)));
                list(session, &DEDICATED, "dedicated connections", DEDICATED_COLUMNS, &query).await
            }
            Self::Get(wanted) => get(session, &DEDICATED, &wanted.object).await,
            Self::Create(new) => {
                let mut body = new.new.body();
                set(&mut body, "project_id", json!(session.project()?));
                set(&mut body, "pop_id", json!(session.id(&POP, &new.pop).await?));
                set(&mut body, "bandwidth_mbps", json!(new.bandwidth));
                set_some(&mut body, "vlan_range", new.vlans);
                set_some(&mut body, "demarcation_info", new.demarcation);
                set_some(&mut body, "id", new.id);
                add(session, DEDICATED.collection, &body).await
            }
            Self::Edit(wanted) => {
                let mut body = edits(wanted.name.as_ref(), &wanted.tags, wanted.no_tags);
                set_some(&mut body, "demarcation_info", wanted.demarcation);
                set_some(&mut body, "bandwidth_mbps", wanted.bandwidth);
                set_some(&mut body, "vlan_range", wanted.vlans);
                set_some(&mut body, "status", wanted.status);
                change(session, &DEDICATED, &wanted.connection.object, &body).await
            }
            Self::Delete(wanted) => delete(session, &DEDICATED, &wanted.objects).await,
            Self::Lock(wanted) => {
                let body = json!({"reason": wanted.reason});
                set_locked(session, &DEDICATED, &wanted.connection.object, Some(&body)).await
            }
            Self::Unlock(wanted) => set_locked(session, &DEDICATED, &wanted.object, None).await,
        }
    }
}

/// What can be done with ports.
#[derive(Subcommand)]
pub enum PortAction {
    /// List ports and how much of them is used
    List(ListPorts),
    /// Show a port
    Get(Object),
    /// Add a port
    Create(CreatePort),
    /// Change a port
    Edit(EditPort),
    /// Remove ports; none may carry a link
    Delete(Objects),
}

/// `port list`
#[derive(Args)]
pub struct ListPorts {
    /// Only those at this PoP
    #[arg(long, value_name = "NAME|ID")]
    pop: Option<String>,
    /// Only those of this partner
    #[arg(long, value_name = "NAME|ID")]
    partner: Option<String>,
}

/// `vlan:eth1`, `interface:eth1`, or `vxlan:192.0.2.1` with the VNI of VLAN 0 behind it: `vxlan:192.0.2.1,4096`.
fn attachment(text: &str) -> Result<Value, String> {
    let wrong = || "expected vlan:INTERFACE, interface:NAME, or vxlan:ADDRESS[,VNI]".to_owned();
    let (kind, what) = text.split_once(':').filter(|(_, what)| !what.is_empty()).ok_or_else(wrong)?;
    match kind {
        "vlan" | "interface" => Ok(json!({"kind": kind, "interface": what})),
        "vxlan" => {
            let (remote, base) = what.split_once(',').unwrap_or((what, "0"));
            Ok(json!({"kind": kind, "remote": remote, "vni_base": base.parse::<u32>().map_err(|_| wrong())?}))
        }
        _ => Err(wrong()),
    }
}

/// `port create`
#[derive(Args)]
pub struct CreatePort {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// Where it is
    #[arg(long, value_name = "NAME|ID")]
    pop: String,
    /// The partner that it leads to
    #[arg(long, value_name = "NAME|ID", required_unless_present = "connection", conflicts_with = "connection")]
    partner: Option<String>,
    /// The dedicated connection that it ends
    #[arg(long, value_name = "NAME|ID")]
    connection: Option<String>,
    /// The gateway node whose machine it is on [default: the one that came first]
    #[arg(long, value_name = "NAME|ID")]
    node: Option<String>,
    /// What it is on its node: vlan:INTERFACE, interface:NAME, or vxlan:ADDRESS[,VNI]
    #[arg(long, value_name = "KIND:WHAT", value_parser = attachment)]
    attachment: Value,
    /// The VLANs that its links may have, like 1500-1999 [default: all that links can have]
    #[arg(long, value_name = "FIRST-LAST", value_parser = vlan_range)]
    vlans: Option<Value>,
    /// Bits per second that its links may have together, like 10G
    #[arg(long, value_name = "BITS", value_parser = megabits_of)]
    capacity: u64,
    /// Take no orders yet
    #[arg(long)]
    disabled: bool,
}

/// `port edit`
#[derive(Args)]
pub struct EditPort {
    #[command(flatten)]
    port: Object,
    /// Its new name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The gateway node whose machine it is on, while no other node carries links of it
    #[arg(long, value_name = "NAME|ID")]
    node: Option<String>,
    /// Name no node: it is on the one that came first
    #[arg(long, conflicts_with = "node")]
    no_node: bool,
    /// What it is on its node, while it carries no links: vlan:INTERFACE, interface:NAME, or vxlan:ADDRESS[,VNI]
    #[arg(long, value_name = "KIND:WHAT", value_parser = attachment)]
    attachment: Option<Value>,
    /// The VLANs that its links may have, like 1500-1999
    #[arg(long, value_name = "FIRST-LAST", value_parser = vlan_range)]
    vlans: Option<Value>,
    /// Bits per second that its links may have together, like 10G
    #[arg(long, value_name = "BITS", value_parser = megabits_of)]
    capacity: Option<u64>,
    /// Whether it takes orders
    #[arg(long, value_enum)]
    enabled: Option<Switch>,
}

impl PortAction {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(wanted) => {
                let pop = optional_id(session, &POP, wanted.pop.as_ref()).await?;
                let partner = optional_id(session, &PARTNER, wanted.partner.as_ref()).await?;
                let filters = [("pop_id", pop.as_deref()), ("partner_id", partner.as_deref())];
                let query: Vec<_> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                list(session, &PORT, "ports", PORT_COLUMNS, &query).await
            }
            Self::Get(wanted) => get(session, &PORT, &wanted.object).await,
            Self::Create(new) => {
                let mut body = json!({
                    "name": new.name, "attachment": new.attachment, "capacity_mbps": new.capacity, "enabled": !new.disabled,
                });
                set(&mut body, "pop_id", json!(session.id(&POP, &new.pop).await?));
                set_some(&mut body, "partner_id", optional_id(session, &PARTNER, new.partner.as_ref()).await?);
                set_some(&mut body, "connection_id", optional_id(session, &DEDICATED, new.connection.as_ref()).await?);
                set_some(&mut body, "node_id", optional_id(session, &NODE, new.node.as_ref()).await?);
                set_some(&mut body, "vlan_range", new.vlans);
                add(session, PORT.collection, &body).await
            }
            Self::Edit(wanted) => {
                let mut body = json!({});
                set_some(&mut body, "name", wanted.name);
                let node = optional_id(session, &NODE, wanted.node.as_ref()).await?;
                set_some(&mut body, "node_id", node.or_else(|| wanted.no_node.then(String::new)));
                set_some(&mut body, "attachment", wanted.attachment);
                set_some(&mut body, "vlan_range", wanted.vlans);
                set_some(&mut body, "capacity_mbps", wanted.capacity);
                set_some(&mut body, "enabled", wanted.enabled.map(Switch::is_on));
                edit(session, &PORT, &wanted.port.object, &body).await
            }
            Self::Delete(wanted) => delete(session, &PORT, &wanted.objects).await,
        }
    }
}

/// What can be done with link bandwidths.
#[derive(Subcommand)]
pub enum BandwidthAction {
    /// List bandwidths and their prices
    List,
    /// Offer a bandwidth, or change its price
    Set(SetBandwidth),
    /// Offer bandwidths no longer; links that have them keep them
    Delete(Bandwidths),
}

/// `link-bandwidth set`
#[derive(Args)]
pub struct SetBandwidth {
    /// Bits per second in each direction, like 500M or 1G
    #[arg(value_name = "BITS", value_parser = megabits_of)]
    bandwidth: u64,
    /// What an hour costs, like 0.05
    #[arg(long, value_name = "PRICE", value_parser = millionths, default_value = "0")]
    price_per_hour: u64,
}

/// Some bandwidths.
#[derive(Args)]
pub struct Bandwidths {
    /// Bits per second in each direction, like 500M or 1G
    #[arg(value_name = "BITS", value_parser = megabits_of, required = true)]
    bandwidths: Vec<u64>,
}

impl BandwidthAction {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List => {
                let target = session.at(Api::Operator, [BANDWIDTHS]);
                show_all(session, target, "link_bandwidths", BANDWIDTH_COLUMNS).await
            }
            Self::Set(wanted) => {
                let target = session.at(Api::Operator, [BANDWIDTHS, &wanted.bandwidth.to_string()]);
                let body = json!({"price_per_hour": wanted.price_per_hour});
                let set = session.send(Method::PUT, &target, &body).await?;
                session.show(&set)
            }
            Self::Delete(wanted) => {
                let names: Vec<_> = wanted.bandwidths.iter().map(u64::to_string).collect();
                remove(session, BANDWIDTHS, "link bandwidth", &names).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidths_are_whole_megabits() {
        assert_eq!((megabits_of("500M"), megabits_of("1G"), megabits_of("1000k")), (Ok(500), Ok(1000), Ok(1)));
        for wrong in ["0", "0M", "500", "1k", "1500k", "M", ""] {
            assert!(megabits_of(wrong).is_err(), "{wrong}");
        }
        assert_eq!(megabits(Some(&json!(2500))), "2.5 Gbit/s");
    }

    #[test]
    fn an_attachment_has_a_kind() {
        assert_eq!(attachment("vlan:eth1"), Ok(json!({"kind": "vlan", "interface": "eth1"})));
        let vxlan = json!({"kind": "vxlan", "remote": "2001:db8::1", "vni_base": 4096});
        assert_eq!(attachment("vxlan:2001:db8::1,4096"), Ok(vxlan));
        for wrong in ["", "eth1", "vlan:", "fibre:x", "vxlan:192.0.2.1,x"] {
            assert!(attachment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn vlans_are_one_or_a_range() {
        assert_eq!(vlan_range("1500-1999"), Ok(json!({"start": 1500, "end": 1999})));
        assert_eq!(vlan_range("1500"), Ok(json!({"start": 1500, "end": 1500})));
        for wrong in ["", "-", "1500-", "a-b", "70000"] {
            assert!(vlan_range(wrong).is_err(), "{wrong}");
        }
    }
}
