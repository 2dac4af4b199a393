//! The commands, one module for each kind of object.

pub(crate) mod acl;
pub(crate) mod audit;
pub(crate) mod bgp;
pub(crate) mod catalogue;
pub(crate) mod catalogue_file;
pub(crate) mod connection;
pub(crate) mod customer;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod gateway;
pub(crate) mod interlink;
pub(crate) mod ip;
pub(crate) mod key;
pub(crate) mod link;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod organization;
pub(crate) mod partner;
pub(crate) mod policy;
pub(crate) mod project;
pub(crate) mod quota;
pub(crate) mod route;
pub(crate) mod secret;
pub(crate) mod settings;
pub(crate) mod usage;
pub(crate) mod vpc;
pub(crate) mod webhook;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Column;
use crate::session::{Common, Kind, Session, set, text};

/// The actions for one kind of object.
#[derive(Args)]
pub struct Group<A: Subcommand> {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    action: A,
}

impl Command {
    /// A command about nodes, from a program that has read its flags itself.
    #[must_use]
    pub fn node(common: Common, action: node::Action) -> Self {
        Self::Node(Group { common, action })
    }
}

/// The groups: each is a variant, and runs its own actions.
macro_rules! groups {
    ($($(#[$documentation:meta])* $name:ident: $action:ty,)+) => {
        /// The commands for objects of the service. To be flattened into a program's own.
        #[derive(Subcommand)]
        pub enum Command {
            $($(#[$documentation])* $name(Group<$action>),)+
        }

        impl Command {
            pub(crate) const fn common(&self) -> &Common {
                match self {
                    $(Self::$name(group) => &group.common,)+
                }
            }

            pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
                match self {
                    $(Self::$name(group) => group.action.run(session).await,)+
                }
            }
        }
    };
}

groups! {
    /// VPCs: isolated networks with their own router
    Vpc: vpc::Action,
    /// Private Networks: the subnets of a VPC
    PrivateNetwork: network::Action,
    /// Routes of VPCs: of subnets, your own, and learned ones
    Route: route::Action,
    /// Access lists: what may cross a VPC's router
    Acl: acl::Action,
    /// Addresses booked in Private Networks and in the public pools
    Ip: ip::Action,
    /// Secrets and their versions; pre-shared keys are kept there
    Secret: secret::Action,
    /// What kinds of VPN gateway can be ordered
    GatewayType: catalogue::TypeAction,
    /// VPN gateways: this side's ends of tunnels
    Gateway: gateway::Action,
    /// Customer gateways: the devices at the other ends
    CustomerGateway: customer::Action,
    /// Routing policies: which prefixes a connection accepts and announces
    Policy: policy::Action,
    /// Connections: a tunnel between a VPN gateway and a customer gateway, with BGP inside
    Connection: connection::Action,
    /// Points of presence: where links begin
    Pop: interlink::PopAction,
    /// Partners: who hosts links
    Partner: interlink::PartnerAction,
    /// Dedicated connections: what self-hosted links are on
    DedicatedConnection: interlink::DedicatedAction,
    /// Links: private ways to a VPC through a partner or on a dedicated connection
    Link: link::Action,
    /// Routing policies of links: which prefixes a link accepts and announces
    LinkPolicy: policy::LinkAction,
    /// The links addressed to a partner, as the partner sees them; partners only
    PartnerLink: partner::Action,
    /// Webhooks: signed notifications of your own links
    Webhook: webhook::Action,
    /// What projects are billed for
    Usage: usage::Action,
    /// Projects: what objects belong to
    Project: project::Action,
    /// API keys
    Key: key::Action,
    /// How many objects of each kind a project may have
    Quota: quota::Action,
    /// Organizations: what projects belong to; operators only
    Organization: organization::Action,
    /// Regions of the service; operators only
    Region: catalogue::RegionAction,
    /// Zones of the region; operators only
    Zone: catalogue::ZoneAction,
    /// Prefixes of public addresses; operators only
    Pool: catalogue::PoolAction,
    /// Ports: what carries links at a PoP, with its VLANs and capacity; operators only
    Port: interlink::PortAction,
    /// Bandwidths that links can be ordered with, and their prices; operators only
    LinkBandwidth: interlink::BandwidthAction,
    /// InterLink's whole catalogue as one file; operators only
    Catalogue: catalogue_file::Action,
    /// Find out what is the matter: checks in their order, each with its evidence, and what to do about the first that fails; operators only
    Doctor: doctor::Action,
    /// Audit records: who did what, and when; operators only
    Audit: audit::Action,
    /// Settings of the whole service; operators only
    Settings: settings::Action,
    /// Gateway nodes. A program has more commands of that name, and flattens [`node::Action`] into them.
    #[command(skip)]
    Node: node::Action,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Family {
    /// IPv4
    Ipv4,
    /// IPv6
    Ipv6,
}

/// What stands for on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// On
    On,
    /// Off
    Off,
}

impl Switch {
    pub(crate) fn is_on(self) -> bool {
        self == Self::On
    }
}

/// One object.
#[derive(Args, Debug)]
pub struct Object {
    /// Its id, or its exact name
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
}

/// One object or several.
#[derive(Args, Debug)]
pub struct Objects {
    /// Their ids, or exact names
    #[arg(value_name = "NAME|ID", required = true)]
    pub(crate) objects: Vec<String>,
}

/// Filters that most lists have.
#[derive(Args, Debug)]
pub struct Filters {
    /// Only those whose name contains this
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only those with this tag, or one of these
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

impl Filters {
    pub(crate) fn query(&self) -> Vec<(&str, &str)> {
        let name = self.name.iter().map(|name| ("name", name.as_str()));
        name.chain(self.tags.iter().map(|tag| ("tags", tag.as_str()))).collect()
    }
}

/// What most objects are created with.
#[derive(Args, Debug)]
pub struct New {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

impl New {
    /// A body to add to.
    pub(crate) fn body(&self) -> Value {
        json!({"name": self.name, "tags": self.tags})
    }
}

/// The edit of an object of which only names and tags change.
#[derive(Args)]
pub struct Relabel {
    #[command(flatten)]
    object: Object,
    #[command(flatten)]
    changes: Labels,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Labels {
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

impl Relabel {
    /// Sends the edit and prints the object.
    pub(crate) async fn run(self, session: &mut Session<'_>, kind: &Kind) -> Result<(), Failure> {
        let Self { object, changes } = self;
        let body = edits(changes.name.as_ref(), &changes.tags, changes.no_tags);
        edit(session, kind, &object.object, &body).await
    }
}

/// The part of an edit that most objects have: a new name and new tags.
pub(crate) fn edits(name: Option<&String>, tags: &[String], no_tags: bool) -> Value {
    let mut body = json!({});
    if let Some(name) = name {
        set(&mut body, "name", json!(name));
    }
    if no_tags || !tags.is_empty() {
        set(&mut body, "tags", json!(tags));
    }
    body
}

/// `"office" (0ae4…)`: what messages call an object.
pub(crate) fn label(object: &Value) -> String {
    let (name, id) = (text(object, "/name"), text(object, "/id"));
    if name.is_empty() { id } else { format!("{name} ({id})") }
}

/// A field that is true or false, for people.
pub(crate) fn on_off(object: &Value, field: &str) -> &'static str {
    match object.get(field).and_then(Value::as_bool) {
        Some(true) => "on",
        Some(false) => "off",
        None => "",
    }
}

/// Prints the objects that the filters leave; `nouns` is what they are called.
pub(crate) async fn list(
    session: &mut Session<'_>,
    kind: &Kind,
    nouns: &str,
    columns: &[Column],
    query: &[(&str, &str)],
) -> Result<(), Failure> {
    let found = session.list(kind, query).await?;
    session.show_list(nouns, columns, found)
}

/// The id of an object that a filter names, if it names one.
pub(crate) async fn optional_id(
    session: &mut Session<'_>,
    kind: &Kind,
    name: Option<&String>,
) -> Result<Option<String>, Failure> {
    match name {
        Some(name) => session.id(kind, name).await.map(Some),
        None => Ok(None),
    }
}

/// Deletes objects one after the other; all are looked up before the first is deleted, so that a typing error deletes nothing.
pub(crate) async fn delete(session: &mut Session<'_>, kind: &Kind, names: &[String]) -> Result<(), Failure> {
    let mut found = Vec::new();
    for name in names {
        found.push(session.find(kind, name).await?);
    }
    for object in found {
        let target = session.object(kind, &text(&object, "/id"));
        let answer = session.delete(&target).await?;
        session.done(&format!("deleted {} {}", kind.noun, label(&object)), &answer)?;
    }
    Ok(())
}

/// Prints the object with this name or id.
pub(crate) async fn get(session: &mut Session<'_>, kind: &Kind, name: &str) -> Result<(), Failure> {
    let object = session.find(kind, name).await?;
    session.show(&object)
}

/// Sends an edit and prints the object.
pub(crate) async fn edit(session: &mut Session<'_>, kind: &Kind, name: &str, body: &Value) -> Result<(), Failure> {
    let id = session.id(kind, name).await?;
    let object = session.edit(kind, &id, body).await?;
    session.show(&object)
}
