//! The history of gateways and connections: what became of them, why, and who changed what.

use causeway_model::observed::ConnectionFacts;
use causeway_model::reason::Fault;
use causeway_model::resource::Caller;
use causeway_model::{ConnectionId, Error, Timestamp, VpnGatewayId};
use causeway_store::{ObjectEvent, Writer};

use crate::access::Intent::Read;
use crate::connection::find;
use crate::gateway::find_gateway;
use crate::{Controller, Result};

/// Events that are kept of an object, and shown at once, at most.
const MAX_EVENTS: u32 = 200;

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

fn check(query: &EventQuery) -> Result<()> {
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

/// Notes which tunnels and sessions came, went, or met another fault than before.
pub(crate) async fn note_facts(
    writer: &mut Writer,
    old: Option<&ConnectionFacts>,
    new: &ConnectionFacts,
    now: Timestamp,
) -> Result<()> {
    let mut events: Vec<(&str, String, Option<Fault>)> = Vec::new();
    for tunnel in &new.tunnels {
        let before = old.and_then(|old| old.tunnels.iter().find(|before| before.family == tunnel.family));
        note(&mut events, "tunnel", tunnel.family, (tunnel.up, &tunnel.fault), before.map(|at| (at.up, &at.fault)));
    }
    for session in &new.sessions {
        let before = old.and_then(|old| old.sessions.iter().find(|before| before.family == session.family));
        note(&mut events, "session", session.family, (session.up, &session.fault), before.map(|at| (at.up, &at.fault)));
    }
    for (kind, subject, fault) in events {
        writer.add_object_event(new.id.0, now, kind, &subject, fault.as_ref()).await?;
    }
    Ok(())
}

fn note(
    events: &mut Vec<(&'static str, String, Option<Fault>)>,
    kind: &'static str,
    family: causeway_model::Family,
    (up, fault): (bool, &Option<Fault>),
    before: Option<(bool, &Option<Fault>)>,
) {
    let code = |fault: &Option<Fault>| fault.as_ref().map(|fault| fault.code);
    let (was_up, was) = before.map_or((false, None), |(up, fault)| (up, code(fault)));
    if up != was_up || code(fault) != was {
        events.push((kind, format!("{family} {}", if up { "up" } else { "down" }), fault.clone()));
    }
}
