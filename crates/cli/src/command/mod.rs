//! The commands, one module for each kind of object.

pub(crate) mod acl;
pub(crate) mod connection;
pub(crate) mod customer;
pub(crate) mod explain;
pub(crate) mod gateway;
pub(crate) mod ip;
pub(crate) mod key;
pub(crate) mod network;
pub(crate) mod policy;
pub(crate) mod project;
pub(crate) mod route;
pub(crate) mod secret;
pub(crate) mod vpc;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::session::{Common, Kind, Session, set, text};

/// The commands for objects of the service. To be flattened into a program's own.
#[derive(Subcommand)]
pub enum Command {
    /// VPCs: isolated networks with their own router
    Vpc(Group<vpc::Action>),
    /// Private Networks: the subnets of a VPC
    PrivateNetwork(Group<network::Action>),
    /// Routes of VPCs: of subnets, your own, and learned ones
    Route(Group<route::Action>),
    /// Access lists: what may cross a VPC's router
    Acl(Group<acl::Action>),
    /// Addresses booked in Private Networks and in the public pools
    Ip(Group<ip::Action>),
    /// Secrets and their versions; pre-shared keys are kept there
    Secret(Group<secret::Action>),
    /// What kinds of VPN gateway can be ordered
    GatewayType(Group<gateway::TypeAction>),
    /// VPN gateways: this side's ends of tunnels
    Gateway(Group<gateway::Action>),
    /// Customer gateways: the devices at the other ends
    CustomerGateway(Group<customer::Action>),
    /// Routing policies: which prefixes a connection accepts and announces
    Policy(Group<policy::Action>),
    /// Connections: a tunnel between a VPN gateway and a customer gateway, with BGP inside
    Connection(Group<connection::Action>),
    /// Projects: what objects belong to
    Project(Group<project::Action>),
    /// API keys
    Key(Group<key::Action>),
}

/// The actions for one kind of object.
#[derive(Args)]
pub struct Group<A: Subcommand> {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    action: A,
}

impl Command {
    pub(crate) const fn common(&self) -> &Common {
        match self {
            Self::Vpc(group) => &group.common,
            Self::PrivateNetwork(group) => &group.common,
            Self::Route(group) => &group.common,
            Self::Acl(group) => &group.common,
            Self::Ip(group) => &group.common,
            Self::Secret(group) => &group.common,
            Self::GatewayType(group) => &group.common,
            Self::Gateway(group) => &group.common,
            Self::CustomerGateway(group) => &group.common,
            Self::Policy(group) => &group.common,
            Self::Connection(group) => &group.common,
            Self::Project(group) => &group.common,
            Self::Key(group) => &group.common,
        }
    }

    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Vpc(group) => group.action.run(session).await,
            Self::PrivateNetwork(group) => group.action.run(session).await,
            Self::Route(group) => group.action.run(session).await,
            Self::Acl(group) => group.action.run(session).await,
            Self::Ip(group) => group.action.run(session).await,
            Self::Secret(group) => group.action.run(session).await,
            Self::GatewayType(group) => group.action.run(session).await,
            Self::Gateway(group) => group.action.run(session).await,
            Self::CustomerGateway(group) => group.action.run(session).await,
            Self::Policy(group) => group.action.run(session).await,
            Self::Connection(group) => group.action.run(session).await,
            Self::Project(group) => group.action.run(session).await,
            Self::Key(group) => group.action.run(session).await,
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Family {
    /// IPv4
    Ipv4,
    /// IPv6
    Ipv6,
}

/// One object.
#[derive(Args, Debug)]
pub(crate) struct Object {
    /// Its id, or its exact name
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
}

/// One object or several.
#[derive(Args, Debug)]
pub(crate) struct Objects {
    /// Their ids, or exact names
    #[arg(value_name = "NAME|ID", required = true)]
    pub(crate) objects: Vec<String>,
}

/// Filters that most lists have.
#[derive(Args, Debug)]
pub(crate) struct Filters {
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
pub(crate) struct New {
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
