//! InterLinks: private links to a VPC through a partner, or on a dedicated connection of one's own.

mod arguments;

use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use super::bgp::{Routes, is_filled, no_change};
use super::events::Events;
use super::gateway::set_locked;
use super::interlink::{DEDICATED, PARTNER, POP, megabits};
use super::policy::{LINK_POLICY, is_ipv6};
use super::vpc::VPC;
use super::{Object, edits, label, on_off, optional_id};
use crate::failure::Failure;
use crate::output::{Column, align};
use crate::session::{Api, Kind, Session, set, set_some, text};
use crate::state::{bandwidth, head, tunnels_and_sessions};
use crate::text::{printable, shell_word};
use crate::wait::{Goal, delete_when_settled, until, until_gone};
use arguments::{AttachPolicy, AttachVpc, Change, Create, Delete, Edit, List, Lock, SetOptions, State};

pub(crate) const LINK: Kind = Kind { noun: "link", api: Api::Interlink, collection: "links", list_key: "links" };

const COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |link| text(link, "/name") },
    Column { title: "ID", cell: |link| text(link, "/id") },
    Column { title: "STATUS", cell: |link| text(link, "/status") },
    Column { title: "KIND", cell: |link| kind(link).to_owned() },
    Column { title: "BANDWIDTH", cell: |link| megabits(link.get("bandwidth_mbps")) },
    Column { title: "VLAN", cell: |link| text(link, "/vlan") },
    Column { title: "BGP4", cell: |link| text(link, "/bgp_v4_status") },
    Column { title: "BGP6", cell: |link| text(link, "/bgp_v6_status") },
    Column { title: "ROUTES", cell: |link| on_off(link, "enable_route_propagation").to_owned() },
    Column { title: "REASON", cell: |link| text(link, "/reason") },
];

fn kind(link: &Value) -> &'static str {
    if link.get("self").is_some() { "self-hosted" } else { "hosted" }
}

/// What can be done with links.
#[derive(Subcommand)]
pub enum Action {
    /// List links
    List(List),
    /// Show a link
    Get(Object),
    /// Order a link: through a partner, or on a dedicated connection
    Create(Box<Create>),
    /// Change a link's name, tags, or the AS number of your router
    Edit(Edit),
    /// Delete links; their route propagation has to be off
    Delete(Delete),
    /// Show what a link is doing, why it is not better, and whose turn it is
    State(State),
    /// Show what happened to a link: changes of its status with reasons, sessions, and who changed what
    Events(Events),
    /// Show what the public API has no word for: the hold time and other options of the BGP sessions
    Options(Object),
    /// Change what the public API has no word for
    SetOptions(SetOptions),
    /// Show the routes that your router announces, or that are announced to it
    Routes(Routes),
    /// Attach a VPC; another one has to be detached first
    AttachVpc(AttachVpc),
    /// Detach the VPC
    DetachVpc(Change),
    /// Attach a routing policy to a family that has none; its session starts
    AttachPolicy(AttachPolicy),
    /// Put a routing policy in place of the one of its family; the session stays
    SetPolicy(AttachPolicy),
    /// Detach a routing policy: the session of its family ends
    DetachPolicy(AttachPolicy),
    /// Exchange routes, so that traffic can flow
    EnableRoutePropagation(Change),
    /// Exchange no routes: sessions stay up, traffic stops
    DisableRoutePropagation(Change),
    /// Lock a link: its traffic stops and its tenant can change nothing; support and operators only
    Lock(Lock),
    /// Unlock a link; support and operators only
    Unlock(Object),
    /// Order a failed link again, once its cause is mended; operators only
    Repair(Object),
}

impl Action {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(wanted) => list(session, wanted).await,
            Self::Get(wanted) => {
                let link = session.find(&LINK, &wanted.object).await?;
                let link = session.with_reason(&LINK, link).await;
                session.show(&link)
            }
            Self::Create(new) => create(session, *new).await,
            Self::Edit(wanted) => edit(session, wanted).await,
            Self::Delete(wanted) => delete(session, wanted).await,
            Self::State(wanted) => state(session, wanted).await,
            Self::Events(wanted) => wanted.run(session, &LINK).await,
            Self::Options(wanted) => {
                let id = session.id(&LINK, &wanted.object).await?;
                let options = session.get(&session.at(Api::Extension, [LINK.collection, &id, "options"])).await?;
                session.show(&options)
            }
            Self::SetOptions(wanted) => set_options(session, wanted).await,
            Self::Routes(wanted) => wanted.run(session, &LINK).await,
            Self::AttachVpc(wanted) => {
                let vpc = session.find(&VPC, &wanted.vpc).await?;
                let body = json!({"vpc_id": text(&vpc, "/id")});
                let done = format!("attached VPC {} to", label(&vpc));
                act(session, &wanted.link, "attach-vpc", &body, &done, wanted.wait).await
            }
            Self::DetachVpc(wanted) => wanted.act(session, "detach-vpc", "detached the VPC from").await,
            Self::AttachPolicy(wanted) => policy(session, wanted, "attach-routing-policy", "attached", "to").await,
            Self::SetPolicy(wanted) => policy(session, wanted, "set-routing-policy", "set", "at").await,
            Self::DetachPolicy(wanted) => policy(session, wanted, "detach-routing-policy", "detached", "from").await,
            Self::EnableRoutePropagation(wanted) => {
                wanted.act(session, "enable-route-propagation", "enabled route propagation of").await
            }
            Self::DisableRoutePropagation(wanted) => {
                wanted.act(session, "disable-route-propagation", "disabled route propagation of").await
            }
            Self::Lock(wanted) => {
                let body = json!({"reason": wanted.reason});
                set_locked(session, &LINK, &wanted.link.object, Some(&body)).await
            }
            Self::Unlock(wanted) => set_locked(session, &LINK, &wanted.object, None).await,
            Self::Repair(wanted) => {
                let link = session.find(&LINK, &wanted.object).await?;
                let target = session.at(Api::Operator, [LINK.collection, &text(&link, "/id"), "repair"]);
                let answer = session.act(&target).await?;
                session.done(&format!("ordered link {} again", label(&link)), &answer)
            }
        }
    }
}

async fn list(session: &mut Session<'_>, wanted: List) -> Result<(), Failure> {
    let pop = optional_id(session, &POP, wanted.pop.as_ref()).await?;
    let partner = optional_id(session, &PARTNER, wanted.partner.as_ref()).await?;
    let connection = optional_id(session, &DEDICATED, wanted.connection.as_ref()).await?;
    let vpc = optional_id(session, &VPC, wanted.vpc.as_ref()).await?;
    let policy = optional_id(session, &LINK_POLICY, wanted.policy.as_ref()).await?;
    let filters = [
        ("status", wanted.status.as_deref()),
        ("kind", wanted.kind.map(arguments::LinkKind::word)),
        ("pop_id", pop.as_deref()),
        ("partner_id", partner.as_deref()),
        ("connection_id", connection.as_deref()),
        ("vpc_id", vpc.as_deref()),
        ("routing_policy_id", policy.as_deref()),
        ("pairing_key", wanted.pairing_key.as_deref()),
    ];
    let mut query = wanted.filters.query();
    query.extend(filters.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let found = session.list(&LINK, &query).await?;
    let found = session.with_reasons(&LINK, found).await;
    session.show_list("links", COLUMNS, found)
}

async fn create(session: &mut Session<'_>, new: Create) -> Result<(), Failure> {
    let mut body = new.new.body();
    set(&mut body, "pop_id", json!(session.id(&POP, &new.pop).await?));
    set(&mut body, "bandwidth_mbps", json!(new.bandwidth));
    let partner = match &new.partner {
        Some(partner) => Some(session.find(&PARTNER, partner).await?),
        None => None,
    };
    set_some(&mut body, "partner_id", partner.as_ref().map(|partner| text(partner, "/id")));
    set_some(&mut body, "connection_id", optional_id(session, &DEDICATED, new.connection.as_ref()).await?);
    set_some(&mut body, "peer_asn", new.asn);
    set_some(&mut body, "vlan", new.vlan);
    for name in &new.policies {
        let policy = session.find(&LINK_POLICY, name).await?;
        let (key, family) =
            if is_ipv6(&policy) { ("routing_policy_v6_id", "IPv6") } else { ("routing_policy_v4_id", "IPv4") };
        if body.get(key).is_some() {
            return Err(Failure::Usage(format!("two policies are for {family}; a link has one for each family")));
        }
        set(&mut body, key, json!(text(&policy, "/id")));
    }
    let mut link = session.create(&LINK, body).await?;
    let id = text(&link, "/id");
    if let Some(limit) = new.wait.limit() {
        until(session, &LINK, &id, &label(&link), Goal::Placed, limit).await?;
        link = session.get(&session.object(&LINK, &id)).await?;
    }
    let link = session.with_reason(&LINK, link).await;
    session.show(&link)?;
    if session.is_table() {
        next_steps(session, &link, partner.as_ref());
    }
    Ok(())
}

/// Nobody but the tenant makes the request to the partner, and nothing flows before a VPC, a policy and propagation.
fn next_steps(session: &mut Session<'_>, link: &Value, partner: Option<&Value>) {
    let name = shell_word(&text(link, "/name")).into_owned();
    if let Some(partner) = partner {
        let (who, mail, portal) =
            (text(partner, "/name"), text(partner, "/contact_email"), text(partner, "/portal_url"));
        let contact = [mail, portal].into_iter().filter(|contact| !contact.is_empty()).collect::<Vec<_>>().join(", ");
        let key = text(link, "/partner/pairing_key");
        session.console.hint(&printable(&format!("ask {who} ({contact}) for this link; its pairing key is {key}")));
    }
    session.console.hint(&format!(
        "for traffic: causeway link attach-vpc {name} VPC; link attach-policy {name} POLICY; link enable-route-propagation {name}"
    ));
}

async fn edit(session: &mut Session<'_>, wanted: Edit) -> Result<(), Failure> {
    let changes = wanted.changes;
    let mut body = edits(changes.name.as_ref(), &changes.tags, changes.no_tags);
    set_some(&mut body, "peer_asn", changes.asn);
    super::edit(session, &LINK, &wanted.link.object, &body).await
}

async fn delete(session: &mut Session<'_>, wanted: Delete) -> Result<(), Failure> {
    let mut found = Vec::new();
    for name in &wanted.links.objects {
        found.push(session.find(&LINK, name).await?);
    }
    for link in found {
        let target = session.object(&LINK, &text(&link, "/id"));
        let limit = wanted.wait.limit();
        let answer = match limit {
            Some(limit) => delete_when_settled(session, &target, limit).await?,
            None => session.delete(&target).await?,
        };
        let gone = text(&answer, "/status") == "deleted";
        if let Some(limit) = limit.filter(|_| !gone) {
            until_gone(session, &LINK, &target, &label(&link), limit).await?;
        }
        let verb = if gone || limit.is_some() { "deleted" } else { "deleting" };
        session.done(&format!("{verb} link {}", label(&link)), &answer)?;
        if session.is_table() && verb == "deleting" {
            let name = text(&link, "/id");
            session.console.hint(&format!("the other side has to take its part down: causeway link state {name}"));
        }
    }
    Ok(())
}

async fn state(session: &mut Session<'_>, wanted: State) -> Result<(), Failure> {
    let link = session.find(&LINK, &wanted.link.object).await?;
    let id = text(&link, "/id");
    let state = match wanted.wait.limit() {
        Some(limit) => until(session, &LINK, &id, &label(&link), Goal::Active, limit).await?,
        None => session.get(&session.at(Api::Extension, [LINK.collection, &id, "state"])).await?,
    };
    if !session.is_table() {
        return session.show(&state);
    }
    let mut rows = head(&link, &state);
    let mut row = |title: &str, value: String| {
        if !value.is_empty() {
            rows.push(vec![title.to_owned(), printable(&value).into_owned()]);
        }
    };
    row("waits for", text(&state, "/turn"));
    row("deadline", text(&state, "/deadline"));
    row("reminder", text(&state, "/next_reminder_at"));
    row("bandwidth", bandwidth(state.get("bandwidth")));
    row(
        "carrier",
        state.get("carrier").and_then(Value::as_bool).map_or("", |up| if up { "up" } else { "lost" }).to_owned(),
    );
    let shown = align(&rows) + &tunnels_and_sessions(&state);
    Ok(session.console.verbatim(shown.as_bytes())?)
}

async fn set_options(session: &mut Session<'_>, wanted: SetOptions) -> Result<(), Failure> {
    let link = session.find(&LINK, &wanted.link.object).await?;
    let bgp = wanted.changes.part(session).await?;
    if !is_filled(&bgp) {
        return Err(no_change(&[]));
    }
    let id = text(&link, "/id");
    let target = session.at(Api::Extension, [LINK.collection, &id, "options"]);
    let options = session.send(Method::PATCH, &target, &json!({"bgp": bgp})).await?;
    if let Some(limit) = wanted.wait.limit() {
        until(session, &LINK, &id, &label(&link), Goal::Applied, limit).await?;
    }
    session.show(&options)
}

impl Change {
    async fn act(self, session: &mut Session<'_>, verb: &str, done: &str) -> Result<(), Failure> {
        act(session, &self.link.object, verb, &json!({}), done, self.wait).await
    }
}

/// An action, and what comes of it.
async fn act(
    session: &mut Session<'_>,
    link: &str,
    verb: &str,
    body: &Value,
    done: &str,
    wait: crate::wait::Wait,
) -> Result<(), Failure> {
    let link = session.find(&LINK, link).await?;
    let id = text(&link, "/id");
    let answer = session.send(Method::POST, &session.object(&LINK, &id).join(verb), body).await?;
    if let Some(limit) = wait.limit() {
        until(session, &LINK, &id, &label(&link), Goal::Applied, limit).await?;
    }
    session.done(&format!("{done} {}", label(&link)), &answer)
}

async fn policy(
    session: &mut Session<'_>,
    wanted: AttachPolicy,
    verb: &str,
    done: &str,
    at: &str,
) -> Result<(), Failure> {
    let policy = session.find(&LINK_POLICY, &wanted.policy).await?;
    let body = json!({"routing_policy_id": text(&policy, "/id")});
    let done = format!("{done} {} {at} link", label(&policy));
    act(session, &wanted.link, verb, &body, &done, wanted.wait).await
}
