//! What the public API has no word for about links (wire-ext.md §1, §2): their state and routes, and support's locks. Their events and options
//! are with those of connections.

use causeway_model::{DedicatedConnectionId, LinkId};
use causeway_wire::document::extension::{AnnouncedRouteDocument, ReceivedRouteDocument};
use causeway_wire::document::interlink::{DedicatedConnectionDocument, LinkDocument};
use causeway_wire::document::link::LinkStateDocument;

use super::extension::page_of_routes;
use super::table::{Routes, either, get, one, post};
use crate::answer::{Answer, Failure, explained, json};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    const X: &str = "/causeway/v1/regions/{region}";
    const V: &str = "/causeway/v1";
    Routes::new("extension")
        .route(&format!("{X}/links/{{id}}/state"), get(link_state, one::<LinkStateDocument>()))
        .route(
            &format!("{X}/links/{{id}}/routes"),
            get(link_routes, either::<ReceivedRouteDocument, AnnouncedRouteDocument>("routes")),
        )
        .route(&format!("{V}/links/{{id}}/lock"), post(lock_link, one::<LinkDocument>()))
        .route(&format!("{V}/links/{{id}}/unlock"), post(unlock_link, one::<LinkDocument>()))
        .route(
            &format!("{V}/dedicated-connections/{{id}}/lock"),
            post(lock_dedicated_connection, one::<DedicatedConnectionDocument>()),
        )
        .route(
            &format!("{V}/dedicated-connections/{{id}}/unlock"),
            post(unlock_dedicated_connection, one::<DedicatedConnectionDocument>()),
        )
}

fn link_id(call: &Call) -> Result<LinkId, Failure> {
    call.id("id", "link")
}

async fn link_state(call: Call) -> Answer {
    let state = call.controller.link_state(&call.caller, &call.region, link_id(&call)?).await?;
    explained(&call.controller, LinkStateDocument::from(state)).await
}

async fn link_routes(call: Call) -> Answer {
    let id = link_id(&call)?;
    page_of_routes(&call, call.controller.link_routes(&call.caller, &call.region, id)).await
}

async fn lock_link(call: Call) -> Answer {
    let reason = call.body()?.lock_reason()?;
    link_lock(call, Some(reason)).await
}

async fn unlock_link(call: Call) -> Answer {
    link_lock(call, None).await
}

async fn link_lock(call: Call, reason: Option<String>) -> Answer {
    let (id, region) = (link_id(&call)?, call.controller.region());
    json(&LinkDocument::from(call.controller.set_link_locked(&call.caller, region, id, reason).await?))
}

async fn lock_dedicated_connection(call: Call) -> Answer {
    let reason = call.body()?.lock_reason()?;
    dedicated_connection_lock(call, Some(reason)).await
}

async fn unlock_dedicated_connection(call: Call) -> Answer {
    dedicated_connection_lock(call, None).await
}

async fn dedicated_connection_lock(call: Call, reason: Option<String>) -> Answer {
    let id: DedicatedConnectionId = call.id("id", "dedicated_connection")?;
    let region = call.controller.region();
    let view = call.controller.set_dedicated_connection_locked(&call.caller, region, id, reason).await?;
    json(&DedicatedConnectionDocument::from(view))
}
