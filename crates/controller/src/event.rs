//! The history of gateways and connections: what became of them, why, and who changed what.

use std::collections::BTreeMap;

use causeway_model::observed::{ConnectionFacts, LinkFacts, ReceivedRoute, RouteDecision, SessionFacts, TunnelFacts};
use causeway_model::reason::{Fault, ReasonCode};
use causeway_model::resource::Caller;
use causeway_model::{ConnectionId, Error, Family, Timestamp, VpnGatewayId};
use causeway_store::{ConnectionRecord, EventText, LinkRecord, ObjectEvent, Writer};
use ipnet::IpNet;

use crate::access::Intent::Read;
use crate::connection::find;
use crate::flap::{self, Change};
use crate::gateway::find_gateway;
use crate::status::has_no_policy;
use crate::{Controller, Result};

/// Events that are kept of an object, and shown at once, at most.
const MAX_EVENTS: u32 = 200;
/// Prefixes that an event names at most of each kind.
const EXAMPLES: usize = 8;

/// Which events to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// Only later ones, then oldest first: to follow what happens.
    pub after: Option<u64>,
    /// Only earlier ones.
    pub before: Option<u64>,
    /// 1 to 200.
    pub limit: u32,
}

pub(crate) fn check(query: &EventQuery) -> Result<()> {
    if (1..=MAX_EVENTS).contains(&query.limit) {
        return Ok(());
    }
    Err(Error::constraint("limit", format!("must be 1 to {MAX_EVENTS}")))
}

impl Controller {
    /// What happened to a VPN gateway, newest first unless followed.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn vpn_gateway_events(
        &self,
        caller: &Caller,
        region: &str,
        id: VpnGatewayId,
        query: &EventQuery,
    ) -> Result<Vec<ObjectEvent>> {
        self.in_region(region)?;
        check(query)?;
        let mut reader = self.read().await?;
        find_gateway(&mut reader, caller, Read, id).await?;
        Ok(reader.object_events(id.0, query.after, query.before, query.limit).await?)
    }

    /// What happened to a connection, newest first unless followed.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn connection_events(
        &self,
        caller: &Caller,
        region: &str,
        id: ConnectionId,
        query: &EventQuery,
    ) -> Result<Vec<ObjectEvent>> {
        self.in_region(region)?;
        check(query)?;
        let mut reader = self.read().await?;
        find(&mut reader, caller, Read, id).await?;
        Ok(reader.object_events(id.0, query.after, query.before, query.limit).await?)
    }
}

/// Notes which tunnels, sessions and routes came, went, or met another fault than before. Tunnels come first: what their sessions and
/// routes do follows from them.
pub(crate) async fn note_facts(
    writer: &mut Writer,
    record: &ConnectionRecord,
    old: Option<&ConnectionFacts>,
    new: &ConnectionFacts,
    now: Timestamp,
) -> Result<()> {
    let mut changes = Vec::new();
    for tunnel in &new.tunnels {
        let before = old.and_then(|old| old.tunnels.iter().find(|before| before.family == tunnel.family));
        changes.extend(tunnel_change(tunnel, before));
    }
    let before = old.map(|old| Bgp { sessions: &old.sessions, received: &old.received });
    let after = Bgp { sessions: &new.sessions, received: &new.received };
    changes.extend(after.changes(before));
    for session in after.ended(before) {
        let gateway = writer.vpn_gateway(record.connection.vpn_gateway_id).await?;
        let locked = record.connection.locked || gateway.is_some_and(|record| record.gateway.locked);
        changes.extend(end(session, (locked, has_no_policy(record, session.family)), now));
    }
    for change in changes {
        flap::tell(writer, new.id.0, now, change).await?;
    }
    Ok(())
}

/// As [`note_facts`], of a link, which has no tunnels.
pub(crate) async fn note_link_facts(
    writer: &mut Writer,
    record: &LinkRecord,
    new: &LinkFacts,
    now: Timestamp,
) -> Result<()> {
    let before = record.observed.as_ref().map(|old| &old.facts);
    let before = before.map(|old| Bgp { sessions: &old.sessions, received: &old.received });
    let after = Bgp { sessions: &new.sessions, received: &new.received };
    let mut changes = after.changes(before);
    for session in after.ended(before) {
        let no_policy = record.link.policy(session.family).is_none();
        changes.extend(end(session, (record.link.life.locked, no_policy), now));
    }
    for change in changes {
        flap::tell(writer, new.id.0, now, change).await?;
    }
    Ok(())
}

/// The sessions of a connection or a link, and what they brought.
#[derive(Clone, Copy)]
struct Bgp<'a> {
    sessions: &'a [SessionFacts],
    received: &'a [ReceivedRoute],
}

impl<'a> Bgp<'a> {
    fn session(&self, family: Family) -> Option<&'a SessionFacts> {
        self.sessions.iter().find(|session| session.family == family)
    }

    /// What became of the sessions that there are.
    fn changes(&self, before: Option<Self>) -> Vec<Change> {
        let mut changes = Vec::new();
        for session in self.sessions {
            let known = before.and_then(|before| before.session(session.family));
            changes.extend(session_change(session, known));
            if let (Some(before), Some(known)) = (before, known)
                && known.up
                && session.up
            {
                changes.extend(route_change(session, before.received, self.received));
            }
        }
        changes
    }

    /// The sessions that were up and are not reported any more: without a policy, or of something that is locked.
    fn ended(&self, before: Option<Self>) -> Vec<&'a SessionFacts> {
        let before = before.map_or(&[][..], |before| before.sessions);
        before.iter().filter(|before| before.up && self.session(before.family).is_none()).collect()
    }
}

/// The end of a session that is not reported any more.
fn end(before: &SessionFacts, (locked, no_policy): (bool, bool), now: Timestamp) -> Option<Change> {
    let fault =
        if locked { Some(ReasonCode::Locked.into()) } else { no_policy.then(|| ReasonCode::BgpDisabled.into()) };
    session_change(&SessionFacts { up: false, since: now, fault, ..before.clone() }, Some(before))
}

/// What of a fault makes it another one: its further evidence grows by itself.
fn core(fault: Option<&Fault>) -> Option<(ReasonCode, Option<&str>, Option<&str>)> {
    fault.map(|fault| (fault.code, fault.ours.as_deref(), fault.theirs.as_deref()))
}

fn up_or_down(family: Family, up: bool) -> String {
    format!("{family} {}", if up { "up" } else { "down" })
}

/// A tunnel that came with what was agreed, went, was authenticated anew, or met something.
fn tunnel_change(tunnel: &TunnelFacts, before: Option<&TunnelFacts>) -> Option<Change> {
    let was_up = before.is_some_and(|before| before.up);
    let established = |tunnel: &TunnelFacts| tunnel.ike.as_ref().map(|ike| ike.established_at);
    let anew = tunnel.up && was_up && before.and_then(established) != established(tunnel);
    let other = core(tunnel.fault.as_ref()) != core(before.and_then(|before| before.fault.as_ref()));
    if tunnel.up == was_up && !anew && !other {
        return None;
    }
    let mut details = BTreeMap::new();
    if let (true, Some(ike)) = (tunnel.up, &tunnel.ike) {
        details.insert("ike".to_owned(), ike.suite.clone());
        details.insert("peer".to_owned(), ike.peer_endpoint.clone());
        details
            .insert("started_by".to_owned(), if ike.initiator { "vpn_gateway" } else { "customer_gateway" }.to_owned());
        if let Some(child) = &tunnel.child {
            details.insert("esp".to_owned(), child.suite.clone());
        }
    }
    let subject = if anew && !other {
        format!("{} authenticated anew", tunnel.family)
    } else {
        up_or_down(tunnel.family, tunnel.up)
    };
    let text = EventText { subject, fault: tunnel.fault.clone(), details };
    Some(Change { kind: "tunnel", topic: tunnel.family.to_string(), text, weight: 1.0, may_wait: false })
}

/// A session that came, went with what it had counted, or met something.
fn session_change(session: &SessionFacts, before: Option<&SessionFacts>) -> Option<Change> {
    let was_up = before.is_some_and(|before| before.up);
    let other = core(session.fault.as_ref()) != core(before.and_then(|before| before.fault.as_ref()));
    if session.up == was_up && !other {
        return None;
    }
    let mut details = BTreeMap::new();
    if session.up != was_up {
        let counters = [
            ("flaps", u64::from(session.flaps)),
            ("updates_in", session.updates_in),
            ("updates_out", session.updates_out),
        ];
        details.extend(counters.map(|(name, count)| (name.to_owned(), count.to_string())));
    }
    let subject = up_or_down(session.family, session.up);
    let text = EventText { subject, fault: session.fault.clone(), details };
    Some(Change { kind: "session", topic: session.family.to_string(), text, weight: 1.0, may_wait: false })
}

/// Routes of a session that stays: how many came, went, or are decided on otherwise, and some of them.
fn route_change(session: &SessionFacts, old: &[ReceivedRoute], new: &[ReceivedRoute]) -> Option<Change> {
    let of = |routes: &'_ [ReceivedRoute]| -> BTreeMap<IpNet, RouteDecision> {
        let family = routes.iter().filter(|route| Family::of_net(&route.prefix) == session.family);
        family.map(|route| (route.prefix, route.decision.clone())).collect()
    };
    let (old, new) = (of(old), of(new));
    let came: Vec<&IpNet> = new.keys().filter(|prefix| !old.contains_key(prefix)).collect();
    let went: Vec<&IpNet> = old.keys().filter(|prefix| !new.contains_key(prefix)).collect();
    let decided =
        |(prefix, decision): &(&IpNet, &RouteDecision)| old.get(prefix).is_some_and(|before| before != *decision);
    let otherwise: Vec<&IpNet> = new.iter().filter(decided).map(|(prefix, _)| prefix).collect();
    if came.is_empty() && went.is_empty() && otherwise.is_empty() {
        return None;
    }
    let shown = |prefixes: &[&IpNet]| {
        let mut text: Vec<String> = prefixes.iter().take(EXAMPLES).map(ToString::to_string).collect();
        if prefixes.len() > EXAMPLES {
            text.push(format!("{} more", prefixes.len() - EXAMPLES));
        }
        text.join(", ")
    };
    let mut details = BTreeMap::from([
        ("received".to_owned(), session.received.to_string()),
        ("accepted".to_owned(), session.accepted.to_string()),
    ]);
    for (name, prefixes) in [("came", &came), ("went", &went), ("decided_otherwise", &otherwise)] {
        if !prefixes.is_empty() {
            details.insert(name.to_owned(), shown(prefixes));
        }
    }
    // A table that arrives piece by piece is no flapping.
    let weight = if went.is_empty() { 0.2 } else { 1.0 };
    let topic = format!("{} routes", session.family);
    let text = EventText { subject: topic.clone(), fault: None, details };
    Some(Change { kind: "session", topic, text, weight, may_wait: true })
}
