//! Connections.

mod advice;
mod arguments;
mod key;
mod options;
mod pair;

use std::path::Path;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::bgp::Routes;
use super::events::Events;
use super::{Object, Objects, delete, edits, label, on_off, optional_id};
use crate::failure::Failure;
use crate::output::{Column, align};
use crate::session::{Api, Kind, Session, set, set_some, text};
use crate::state::{head, tunnels_and_sessions};
use crate::text::shell_word;
use crate::wait::{Goal, Wait, until};

use super::customer::CUSTOMER;
use super::gateway::{GATEWAY, set_locked};
use super::policy::{POLICY, is_ipv6};
use super::secret::SECRET;
use arguments::{
    Attach, Change, ChangePsk, Cipher, Create, DeviceConfiguration, Edit, Inside, List, Lock, Pairs, Psk, RenewPsk,
};
use options::SetOptions;

pub(crate) const CONNECTION: Kind =
    Kind { noun: "connection", api: Api::S2s, collection: "connections", list_key: "connections" };

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |connection| text(connection, "/name") },
    Column { title: "ID", cell: |connection| text(connection, "/id") },
    Column { title: "STATUS", cell: |connection| text(connection, "/status") },
    Column { title: "TUNNEL", cell: |connection| text(connection, "/tunnel_status") },
    Column { title: "BGP4", cell: |connection| text(connection, "/bgp_status_ipv4") },
    Column { title: "BGP6", cell: |connection| text(connection, "/bgp_status_ipv6") },
    Column { title: "ROUTES", cell: |connection| on_off(connection, PROPAGATION).to_owned() },
    Column { title: "REASON", cell: |connection| text(connection, "/reason") },
];

/// The field of a connection that says whether routes are exchanged.
const PROPAGATION: &str = "route_propagation_enabled";
const FORMATS: &[Column] = &[
    Column { title: "FORMAT", cell: |format| text(format, "/name") },
    Column { title: "FOR", cell: |format| text(format, "/description") },
];

/// What can be done with connections.
#[derive(Subcommand)]
pub enum Action {
    /// List connections
    List(List),
    /// List redundant pairs: a connection over IPv4 and one over IPv6 between the same gateways
    Pairs(Pairs),
    /// Show a connection
    Get(Object),
    /// Create a connection
    Create(Box<Create>),
    /// Change a connection's name, tags, ciphers or who starts it
    Edit(Edit),
    /// Delete connections
    Delete(Objects),
    /// Show what a connection is doing, and why it is not better
    State(State),
    /// Show what happened to a connection: changes of its status with reasons, tunnels, sessions, and who changed what
    Events(Events),
    /// Show what the public API has no word for: tunnels, identity, lifetimes, timers, BGP
    Options(Object),
    /// Change what the public API has no word for
    SetOptions(Box<SetOptions>),
    /// Show the routes that the device announces, or that are announced to it
    Routes(Routes),
    /// Print the configuration for the device at the other end
    DeviceConfiguration(DeviceConfiguration),
    /// Exchange routes, so that traffic can flow
    EnableRoutePropagation(Change),
    /// Exchange no routes: sessions stay up, traffic stops
    DisableRoutePropagation(Change),
    /// Attach a routing policy, in place of the one of its family
    SetPolicy(Attach),
    /// Detach a routing policy: the session of its family ends
    DetachPolicy(Attach),
    /// Print the pre-shared key, in clear
    Psk(Psk),
    /// Make a new pre-shared key; the old one works beside it for a while
    RenewPsk(RenewPsk),
    /// Take the pre-shared key from another secret, or another version; the old one works beside it for a while
    ChangePsk(ChangePsk),
    /// End the time in which the old pre-shared key works beside the new one
    RevokePreviousPsk(Object),
    /// Authenticate again now, which proves that the device has the new pre-shared key
    Reauthenticate(Change),
    /// Lock a connection: its traffic stops and its tenant can change nothing; support and operators only
    Lock(Lock),
    /// Unlock a connection; support and operators only
    Unlock(Object),
}

/// `connection state`
#[derive(Args)]
pub struct State {
    #[command(flatten)]
    connection: Object,
    #[command(flatten)]
    wait: Wait,
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(wanted) => list(session, wanted).await,
            Self::Pairs(wanted) => pair::list(session, wanted).await,
            Self::Get(wanted) => {
                let connection = session.find(&CONNECTION, &wanted.object).await?;
                let connection = session.with_reason(&CONNECTION, connection).await;
                session.show(&connection)
            }
            Self::Create(new) => create(session, *new).await,
            Self::Edit(wanted) => edit(session, wanted).await,
            Self::Delete(wanted) => delete(session, &CONNECTION, &wanted.objects).await,
            Self::State(wanted) => state(session, wanted).await,
            Self::Events(wanted) => wanted.run(session, &CONNECTION).await,
            Self::Options(wanted) => options::show(session, wanted).await,
            Self::SetOptions(wanted) => options::change(session, *wanted).await,
            Self::Routes(wanted) => wanted.run(session, &CONNECTION).await,
            Self::DeviceConfiguration(wanted) => device_configuration(session, wanted).await,
            Self::EnableRoutePropagation(wanted) => {
                act(session, wanted, Api::S2s, "enable-route-propagation", "enabled route propagation of").await
            }
            Self::DisableRoutePropagation(wanted) => {
                act(session, wanted, Api::S2s, "disable-route-propagation", "disabled route propagation of").await
            }
            Self::SetPolicy(wanted) => policy(session, wanted, "set-routing-policy", "attached").await,
            Self::DetachPolicy(wanted) => policy(session, wanted, "detach-routing-policy", "detached").await,
            Self::Psk(wanted) => key::print(session, wanted).await,
            Self::RenewPsk(wanted) => key::renew(session, wanted).await,
            Self::ChangePsk(wanted) => key::change(session, wanted).await,
            Self::RevokePreviousPsk(wanted) => {
                let connection = session.find(&CONNECTION, &wanted.object).await?;
                let id = text(&connection, "/id");
                let target = session.at(Api::Extension, [CONNECTION.collection, &id, "revoke-previous-psk"]);
                let answer = session.act(&target).await?;
                session.done(&format!("revoked the previous pre-shared key of {}", label(&connection)), &answer)
            }
            Self::Reauthenticate(wanted) => {
                act(session, wanted, Api::Extension, "reauthenticate", "asked for a new authentication of").await
            }
            Self::Lock(wanted) => {
                let body = json!({"reason": wanted.reason});
                set_locked(session, &CONNECTION, &wanted.connection.object, Some(&body)).await
            }
            Self::Unlock(wanted) => set_locked(session, &CONNECTION, &wanted.object, None).await,
        }
    }
}

async fn list(session: &mut Session<'_>, wanted: List) -> Result<(), Failure> {
    let gateway = optional_id(session, &GATEWAY, wanted.gateway.as_ref()).await?;
    let customer = optional_id(session, &CUSTOMER, wanted.customer_gateway.as_ref()).await?;
    let mut query = wanted.filters.query();
    query.extend(wanted.statuses.iter().map(|status| ("statuses", status.as_str())));
    query.extend(gateway.as_deref().map(|id| ("vpn_gateway_ids", id)));
    query.extend(customer.as_deref().map(|id| ("customer_gateway_ids", id)));
    let found = session.list(&CONNECTION, &query).await?;
    let mut found = session.with_reasons(&CONNECTION, found).await;
    let columns = if session.is_table() { pair::with_pairs(COLUMNS, &mut found) } else { COLUMNS.to_vec() };
    session.show_list("connections", &columns, found)
}

async fn create(session: &mut Session<'_>, new: Create) -> Result<(), Failure> {
    let gateway = session.find(&GATEWAY, &new.gateway).await?;
    let customer = session.find(&CUSTOMER, &new.customer_gateway).await?;
    let mut policies: [Option<Value>; 2] = [None, None];
    for name in &new.policies {
        let policy = session.find(&POLICY, name).await?;
        let [ipv4, ipv6] = &mut policies;
        let (slot, family) = if is_ipv6(&policy) { (ipv6, "IPv6") } else { (ipv4, "IPv4") };
        if slot.replace(policy).is_some() {
            return Err(Failure::Usage(format!("two policies are for {family}; a connection has one for each family")));
        }
    }
    let mut body = new.new.body();
    set(&mut body, "vpn_gateway_id", json!(text(&gateway, "/id")));
    set(&mut body, "customer_gateway_id", json!(text(&customer, "/id")));
    set(&mut body, "is_ipv6", json!(new.ipv6));
    set(&mut body, "initiation_policy", json!(new.initiator.word()));
    set(&mut body, "ikev2_ciphers", Cipher::list(&new.ike));
    set(&mut body, "esp_ciphers", Cipher::list(&new.esp));
    set(&mut body, "enable_route_propagation", json!(new.enable_route_propagation));
    let [ipv4, ipv6] = &policies;
    set_some(&mut body, "bgp_config_ipv4", bgp(ipv4.as_ref(), new.inside_ipv4.as_ref(), "--inside-ipv4")?);
    set_some(&mut body, "bgp_config_ipv6", bgp(ipv6.as_ref(), new.inside_ipv6.as_ref(), "--inside-ipv6")?);
    if let Some(secret) = &new.secret {
        let mut wanted = json!({"id": session.id(&SECRET, secret).await?});
        set_some(&mut wanted, "revision", new.secret_revision);
        set(&mut body, "secret", wanted);
    }
    let answer = session.create(&CONNECTION, body).await?;
    // The one document in a wrapper; a service that leaves it away is understood too.
    let mut connection = answer.get("connection").cloned().unwrap_or(answer);
    let id = text(&connection, "/id");
    if let Some(limit) = new.wait.limit() {
        if session.is_table() {
            // Whoever waits for the device has to know meanwhile what to do on it.
            advice::next_steps(session, &connection, &gateway, &customer, &policies).await;
        }
        until(session, &CONNECTION, &id, &label(&connection), Goal::Active, limit).await?;
        connection = session.get(&session.object(&CONNECTION, &id)).await?;
    }
    let connection = session.with_reason(&CONNECTION, connection).await;
    session.show(&connection)?;
    if session.is_table() && new.wait.limit().is_none() {
        advice::next_steps(session, &connection, &gateway, &customer, &policies).await;
    }
    Ok(())
}

/// `bgp_config_…` of a family; nothing without a policy.
fn bgp(policy: Option<&Value>, inside: Option<&Inside>, flag: &str) -> Result<Option<Value>, Failure> {
    let Some(policy) = policy else {
        return match inside {
            Some(_) => Err(Failure::Usage(format!("{flag} makes no sense without a --policy of that family"))),
            None => Ok(None),
        };
    };
    let mut config = json!({"routing_policy_id": text(policy, "/id")});
    if let Some(inside) = inside {
        set(&mut config, "private_ip", json!(inside.ours));
        set(&mut config, "peer_private_ip", json!(inside.theirs));
    }
    Ok(Some(config))
}

async fn edit(session: &mut Session<'_>, wanted: Edit) -> Result<(), Failure> {
    let changes = wanted.changes;
    let mut body = edits(changes.name.as_ref(), &changes.tags, changes.no_tags);
    set_some(&mut body, "initiation_policy", changes.initiator.map(|initiator| initiator.word()));
    if !changes.ike.is_empty() {
        set(&mut body, "ikev2_ciphers", Cipher::list(&changes.ike));
    }
    if !changes.esp.is_empty() {
        set(&mut body, "esp_ciphers", Cipher::list(&changes.esp));
    }
    let id = session.id(&CONNECTION, &wanted.connection.object).await?;
    let mut connection = session.edit(&CONNECTION, &id, &body).await?;
    if let Some(limit) = wanted.wait.limit() {
        until(session, &CONNECTION, &id, &label(&connection), Goal::Applied, limit).await?;
        connection = session.get(&session.object(&CONNECTION, &id)).await?;
    }
    session.show(&connection)
}

async fn state(session: &mut Session<'_>, wanted: State) -> Result<(), Failure> {
    let connection = session.find(&CONNECTION, &wanted.connection.object).await?;
    let id = text(&connection, "/id");
    let state = match wanted.wait.limit() {
        Some(limit) => until(session, &CONNECTION, &id, &label(&connection), Goal::Active, limit).await?,
        None => session.get(&session.at(Api::Extension, [CONNECTION.collection, &id, "state"])).await?,
    };
    if !session.is_table() {
        return session.show(&state);
    }
    let shown = align(&head(&connection, &state)) + &tunnels_and_sessions(&state);
    Ok(session.console.verbatim(shown.as_bytes())?)
}

async fn device_configuration(session: &mut Session<'_>, wanted: DeviceConfiguration) -> Result<(), Failure> {
    let connection = session.find(&CONNECTION, &wanted.connection.object).await?;
    let id = text(&connection, "/id");
    let target = session.at(Api::Extension, [CONNECTION.collection, &id, "device-configuration"]);
    if wanted.list_formats {
        let formats = session.array(&target).await?;
        return session.show_list("formats", FORMATS, formats);
    }
    let reply = session.fetch(&target.with("format", &wanted.format)).await?;
    let Some(path) = &wanted.output_file else {
        return Ok(session.console.verbatim(&reply.body)?);
    };
    write_file(path, &reply.body)?;
    session.console.note(&format!("wrote {}; its head says how to install it", path.display()));
    let name = text(&connection, "/name");
    session.console.hint(&format!("the pre-shared key is not in it: causeway connection psk {}", shell_word(&name)));
    Ok(())
}

fn write_file(path: &Path, octets: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, octets).map_err(|error| Failure::File {
        verb: "write",
        path: path.display().to_string(),
        error,
    })
}

/// An action without parameters, and what comes of it.
async fn act(session: &mut Session<'_>, wanted: Change, api: Api, verb: &str, done: &str) -> Result<(), Failure> {
    let connection = session.find(&CONNECTION, &wanted.connection.object).await?;
    let id = text(&connection, "/id");
    let answer = session.act(&session.at(api, [CONNECTION.collection, &id, verb])).await?;
    finish(session, &connection, wanted.wait, &format!("{done} {}", label(&connection)), &answer).await
}

async fn policy(session: &mut Session<'_>, wanted: Attach, verb: &str, done: &str) -> Result<(), Failure> {
    let connection = session.find(&CONNECTION, &wanted.connection).await?;
    let policy = session.find(&POLICY, &wanted.policy).await?;
    let key = if is_ipv6(&policy) { "routing_policy_v6" } else { "routing_policy_v4" };
    let mut body = json!({});
    set(&mut body, key, json!(text(&policy, "/id")));
    let target = session.object(&CONNECTION, &text(&connection, "/id")).join(verb);
    let answer = session.send(Method::POST, &target, &body).await?;
    let message = format!("{done} {} at connection {}", label(&policy), label(&connection));
    finish(session, &connection, wanted.wait, &message, &answer).await
}

/// Waits until the node has the change, if that is wanted, and says what was done.
async fn finish(
    session: &mut Session<'_>,
    connection: &Value,
    wait: Wait,
    message: &str,
    answer: &Value,
) -> Result<(), Failure> {
    if let Some(limit) = wait.limit() {
        until(session, &CONNECTION, &text(connection, "/id"), &label(connection), Goal::Applied, limit).await?;
    }
    session.done(message, answer)
}
