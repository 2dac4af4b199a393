//! What happened to gateways, connections and links (wire-ext.md §1): in pages, or as a stream of server-sent events that goes on.

use std::time::Duration;

use causeway_controller::{Controller, EventQuery, ObjectEvent};
use causeway_model::resource::Caller;
use causeway_model::{ConnectionId, Error, LinkId, VpnGatewayId};
use causeway_wire::document::List;
use causeway_wire::document::event::EventDocument;
use tokio::time::Instant;

use super::table::{Routes, get, many_or};
use crate::answer::{Answer, json, name_support, streamed, too_many_streams};
use crate::call::Call;
use crate::feed::{Closing, Feed, Gone, Place, closed};

const STREAM: &str = "text/event-stream";
/// Events that are kept of an object, and read at once.
const MOST: u32 = 200;
/// Between looks, however much changes.
const PAUSE: Duration = Duration::from_millis(100);
/// A stream's longest life; its client comes again.
const LIFETIME: Duration = Duration::from_secs(3600);

pub(crate) fn routes() -> Routes {
    const X: &str = "/causeway/v1/regions/{region}";
    Routes::new("extension")
        .route(
            &format!("{X}/vpn-gateways/{{id}}/events"),
            get(gateway_events, many_or::<EventDocument>("events", STREAM)),
        )
        .route(
            &format!("{X}/connections/{{id}}/events"),
            get(connection_events, many_or::<EventDocument>("events", STREAM)),
        )
        .route(&format!("{X}/links/{{id}}/events"), get(link_events, many_or::<EventDocument>("events", STREAM)))
}

/// Whose events.
#[derive(Clone, Copy)]
enum Object {
    Gateway(VpnGatewayId),
    Connection(ConnectionId),
    Link(LinkId),
}

async fn gateway_events(call: Call) -> Answer {
    let query = call.query();
    // Whatever the id is: the document has to see what is read.
    let asked = Asked::read(&call, query)?;
    let id = call.id("id", "vpn_gateway")?;
    events(call, Object::Gateway(id), asked).await
}

async fn connection_events(call: Call) -> Answer {
    let query = call.query();
    let asked = Asked::read(&call, query)?;
    let id = call.id("id", "connection")?;
    events(call, Object::Connection(id), asked).await
}

async fn link_events(call: Call) -> Answer {
    let query = call.query();
    let asked = Asked::read(&call, query)?;
    let id = call.id("id", "link")?;
    events(call, Object::Link(id), asked).await
}

struct Asked {
    follow: bool,
    after: Option<u64>,
    page: (u32, u32),
}

impl Asked {
    /// A client that comes again says in a header where it was; that is newer than what its URL says.
    fn read(call: &Call, query: causeway_wire::query::Query) -> Result<Self, Error> {
        let asked = Self {
            follow: query.boolean("follow").unwrap_or(false) || call.prefers(STREAM),
            after: call.last_event_id.or(query.count("after")),
            page: query.page(),
        };
        query.finish()?;
        Ok(asked)
    }
}

/// Reads an object's events.
struct Source {
    controller: Controller,
    caller: Caller,
    region: String,
    object: Object,
}

impl Source {
    async fn read(&self, after: Option<u64>, limit: u32) -> Result<Vec<EventDocument>, Error> {
        let query = EventQuery { after, before: None, limit };
        let (controller, caller, region) = (&self.controller, &self.caller, &self.region);
        let events = match self.object {
            Object::Gateway(id) => controller.vpn_gateway_events(caller, region, id, &query).await?,
            Object::Connection(id) => controller.connection_events(caller, region, id, &query).await?,
            Object::Link(id) => controller.link_events(caller, region, id, &query).await?,
        };
        let mut events: Vec<_> = events.into_iter().map(document).collect();
        for event in &mut events {
            name_support(controller, event).await?;
        }
        Ok(events)
    }
}

async fn events(call: Call, object: Object, asked: Asked) -> Answer {
    let Call { controller, caller, region, followers, heartbeat, closing, .. } = call;
    let source = Source { controller, caller, region, object };
    if !asked.follow {
        let mut all = source.read(asked.after, MOST).await?;
        if asked.after.is_some() {
            all.reverse();
        }
        let total = all.len() as u64;
        let (page, size) = asked.page;
        let skipped = usize::try_from(u64::from(page.saturating_sub(1)) * u64::from(size)).unwrap_or(usize::MAX);
        let items = all.into_iter().skip(skipped).take(size as usize).collect();
        return json(&List::alphabetical("events", items, total));
    }
    let place = match followers.enter(&source.caller.access_key) {
        Ok(place) => place,
        Err(most) => return Ok(too_many_streams(most)),
    };
    // Who does not say where to begin begins now.
    let after = match asked.after {
        Some(after) => {
            source.read(Some(after), 1).await?;
            after
        }
        None => source.read(None, 1).await?.first().map_or(0, |event| event.sequence),
    };
    let (feed, body) = Feed::new();
    tokio::spawn(follow(source, after, feed, heartbeat, closing, place));
    Ok(streamed(STREAM, body))
}

/// Sends what happens until the client, the service, the key or the object has gone, or the stream has lived long enough.
async fn follow(
    source: Source,
    after: u64,
    feed: Feed,
    heartbeat: Duration,
    mut closing: Option<Closing>,
    place: Place,
) {
    tokio::select! {
        _ = closed(&mut closing) => {}
        () = feed.gone() => {}
        () = tokio::time::sleep(LIFETIME) => {}
        // Whoever cannot be sent anything to has gone.
        _ = send(&source, after, &feed, heartbeat) => {}
    }
    drop(place);
}

async fn send(source: &Source, mut after: u64, feed: &Feed, heartbeat: Duration) -> Result<(), Gone> {
    let mut changes = source.controller.subscribe();
    let mut confirmed = Instant::now();
    // The first line shows a client that it is heard; how soon it may come again follows.
    feed.send(": events\nretry: 2000\n\n").await?;
    loop {
        changes.borrow_and_update();
        let events = match source.read(Some(after), MOST).await {
            Ok(events) => events,
            Err(Error::NotFound { .. }) => return feed.send("event: end\ndata: {\"reason\":\"deleted\"}\n\n").await,
            Err(error) => {
                tracing::error!(%error, "events cannot be read");
                return Ok(());
            }
        };
        let mut text = String::new();
        for event in events {
            after = event.sequence;
            if let Err(error) = event.stream(&mut text) {
                tracing::error!(%error, "an event cannot be written");
                return Ok(());
            }
        }
        let silent = text.is_empty();
        if !silent {
            feed.send(text).await?;
        }
        let next = confirmed + heartbeat;
        tokio::select! {
            // Whoever changes the store outlives this, since the source has it.
            _ = changes.changed() => tokio::time::sleep(PAUSE).await,
            () = tokio::time::sleep_until(next) => {}
        }
        if Instant::now() >= next {
            match source.controller.confirm(&source.caller).await {
                Ok(()) => {}
                Err(Error::DeniedAuthentication { .. }) => {
                    return feed.send("event: end\ndata: {\"reason\":\"denied\"}\n\n").await;
                }
                // The follower comes back and is asked again.
                Err(error) => {
                    tracing::warn!(%error, "a follower's key cannot be looked up");
                    return Ok(());
                }
            }
            confirmed = Instant::now();
            feed.send(":\n\n").await?;
        }
    }
}

pub(super) fn document(event: ObjectEvent) -> EventDocument {
    EventDocument {
        actor: event.actor,
        at: event.at.into(),
        details: event.details,
        kind: event.kind,
        reason: event.reason.map(Into::into),
        sequence: event.sequence,
        subject: event.subject,
    }
}
