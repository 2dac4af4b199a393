//! A connection's options: what the public API has no word for.

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::{CONNECTION, finish};
use crate::command::bgp::{BgpChanges, is_filled, no_change};
use crate::command::{Object, label};
use crate::failure::Failure;
use crate::session::{Api, Session, set, set_some, text};
use crate::wait::Wait;

/// Which tunnels a connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Tunnels {
    /// One between the IPv4 addresses
    Ipv4,
    /// One between the IPv6 addresses
    Ipv6,
    /// One of each: traffic and BGP stay when one fails
    Both,
}

/// `connection set-options`
#[derive(Args)]
pub struct SetOptions {
    #[command(flatten)]
    connection: Object,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Args)]
struct Changes {
    /// Which tunnels it has
    #[arg(long, value_enum)]
    tunnels: Option<Tunnels>,
    /// The identity that the device proves, as its configuration has it: an address or a name
    #[arg(long, value_name = "ID")]
    peer_identity: Option<String>,
    /// The device proves its public address
    #[arg(long, conflicts_with = "peer_identity")]
    no_peer_identity: bool,
    /// For how long an IKE SA is used
    #[arg(long, value_name = "SECONDS")]
    ike_lifetime: Option<u32>,
    /// For how long a Child SA is used
    #[arg(long, value_name = "SECONDS")]
    child_lifetime: Option<u32>,
    /// For how many packets a Child SA is used
    #[arg(long, value_name = "NUMBER")]
    child_packets: Option<u64>,
    /// Silence of the device before it is asked whether it lives
    #[arg(long, value_name = "SECONDS")]
    dpd_delay: Option<u32>,
    /// From the question to the verdict
    #[arg(long, value_name = "SECONDS")]
    dpd_timeout: Option<u32>,
    #[command(flatten)]
    bgp: BgpChanges,
    /// For how long a replaced pre-shared key works beside its successor
    #[arg(long, value_name = "SECONDS")]
    psk_overlap: Option<u32>,
}

/// What can be changed beside BGP, as it is written.
const OTHERS: [&str; 9] = [
    "--tunnels",
    "--peer-identity",
    "--no-peer-identity",
    "--ike-lifetime",
    "--child-lifetime",
    "--child-packets",
    "--dpd-delay",
    "--dpd-timeout",
    "--psk-overlap",
];

pub(super) async fn show(session: &mut Session<'_>, wanted: Object) -> Result<(), Failure> {
    let id = session.id(&CONNECTION, &wanted.object).await?;
    let options = session.get(&session.at(Api::Extension, [CONNECTION.collection, &id, "options"])).await?;
    session.show(&options)
}

pub(super) async fn change(session: &mut Session<'_>, wanted: SetOptions) -> Result<(), Failure> {
    let connection = session.find(&CONNECTION, &wanted.connection.object).await?;
    let bgp = wanted.changes.bgp.part(session).await?;
    let body = wanted.changes.body(bgp);
    if !is_filled(&body) {
        return Err(no_change(&OTHERS));
    }
    let target = session.at(Api::Extension, [CONNECTION.collection, &text(&connection, "/id"), "options"]);
    let options = session.send(Method::PATCH, &target, &body).await?;
    if session.is_table() {
        let message = format!("changed the options of {}", label(&connection));
        finish(session, &connection, wanted.wait, &message, &options).await?;
        return session.show(&options);
    }
    finish(session, &connection, wanted.wait, "", &options).await
}

impl Changes {
    /// What is left out stays as it is.
    fn body(&self, bgp: Value) -> Value {
        let (mut body, mut lifetimes, mut dpd) = (json!({}), json!({}), json!({}));
        let tunnels = self.tunnels.map(|tunnels| match tunnels {
            Tunnels::Ipv4 => "ipv4",
            Tunnels::Ipv6 => "ipv6",
            Tunnels::Both => "both",
        });
        set_some(&mut body, "tunnels", tunnels);
        set_some(&mut body, "peer_identity", self.peer_identity.as_ref());
        if self.no_peer_identity {
            set(&mut body, "peer_identity", Value::Null);
        }
        set_some(&mut body, "psk_overlap", self.psk_overlap);
        set_some(&mut lifetimes, "ike", self.ike_lifetime);
        set_some(&mut lifetimes, "child", self.child_lifetime);
        set_some(&mut lifetimes, "child_packets", self.child_packets);
        set_some(&mut dpd, "delay", self.dpd_delay);
        set_some(&mut dpd, "timeout", self.dpd_timeout);
        for (name, part) in [("lifetimes", lifetimes), ("dpd", dpd), ("bgp", bgp)] {
            if is_filled(&part) {
                set(&mut body, name, part);
            }
        }
        body
    }
}
