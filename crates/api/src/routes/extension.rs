//! The extension API (wire-ext.md).

use causeway_controller::{ConnectionRoutes, DEVICE_FORMATS};
use causeway_model::command::Page;
use causeway_model::desired::PolicyDesired;
use causeway_model::error::{ArgumentError, ArgumentReason};
use causeway_model::explain::OwnRoute;
use causeway_model::net::whitelist_entry;
use causeway_model::observed::ReceivedRoute;
use causeway_model::{ConnectionId, Error, Family, VpnGatewayId};
use causeway_wire::document::List;
use causeway_wire::document::extension::{
    AnnouncedRouteDocument, ConnectionStateDocument, DeviceFormatDocument, GatewayStateDocument, ReceivedRouteDocument,
    decision_word, own_decision_word,
};
use causeway_wire::document::s2s::{ConnectionDocument, VpnGatewayDocument};

use super::table::{Routes, either, get, many_or, one, post};
use super::{list, window};
use crate::answer::{Answer, Failure, explained, json, text};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    const X: &str = "/causeway/v1/regions/{region}";
    const V: &str = "/causeway/v1";
    Routes::new("extension")
        .route(&format!("{X}/vpn-gateways/{{id}}/state"), get(gateway_state, one::<GatewayStateDocument>()))
        .route(&format!("{X}/connections/{{id}}/state"), get(connection_state, one::<ConnectionStateDocument>()))
        .route(
            &format!("{X}/connections/{{id}}/routes"),
            get(connection_routes, either::<ReceivedRouteDocument, AnnouncedRouteDocument>("routes")),
        )
        .route(
            &format!("{X}/connections/{{id}}/device-configuration"),
            get(device_configuration, many_or::<DeviceFormatDocument>("formats", "text/plain; charset=utf-8")),
        )
        .route(&format!("{V}/vpn-gateways/{{id}}/lock"), post(lock_gateway, one::<VpnGatewayDocument>()))
        .route(&format!("{V}/vpn-gateways/{{id}}/unlock"), post(unlock_gateway, one::<VpnGatewayDocument>()))
        .route(&format!("{V}/connections/{{id}}/lock"), post(lock_connection, one::<ConnectionDocument>()))
        .route(&format!("{V}/connections/{{id}}/unlock"), post(unlock_connection, one::<ConnectionDocument>()))
}

fn gateway_id(call: &Call) -> Result<VpnGatewayId, Failure> {
    call.id("id", "vpn_gateway")
}

fn connection_id(call: &Call) -> Result<ConnectionId, Failure> {
    call.id("id", "connection")
}

async fn gateway_state(call: Call) -> Answer {
    let state = call.controller.gateway_state(&call.caller, &call.region, gateway_id(&call)?).await?;
    explained(&call.controller, GatewayStateDocument::from(state)).await
}

async fn connection_state(call: Call) -> Answer {
    let state = call.controller.connection_state(&call.caller, &call.region, connection_id(&call)?).await?;
    explained(&call.controller, ConnectionStateDocument::from(state)).await
}

/// A page of what the device announced, or of what it is told.
async fn connection_routes(call: Call) -> Answer {
    let id = connection_id(&call)?;
    page_of_routes(&call, call.controller.connection_routes(&call.caller, &call.region, id)).await
}

/// A page of `routes`, which are asked for only if the rest of the request is right.
pub(super) async fn page_of_routes(
    call: &Call,
    routes: impl Future<Output = causeway_controller::Result<ConnectionRoutes>>,
) -> Answer {
    let query = call.query();
    let direction = query.text("direction");
    let (page, filter) = (query.list(&[]), query.received_routes());
    query.finish()?;
    let received = match direction.as_deref() {
        None | Some("received") => true,
        Some("announced") => false,
        Some(_) => return Err(bad_direction()),
    };
    let routes = routes.await?;
    if received {
        let shown = |route: &ReceivedRoute| filter.admits(&route.prefix, decision_word(&route.decision));
        let Page { items, total } = window(routes.received.into_iter().filter(shown).collect(), &page);
        let judged = items.into_iter().map(|route| {
            let policy = routes.policies.iter().find(|(family, _, _)| *family == Family::of_net(&route.prefix));
            let entry = |lists: &PolicyDesired| whitelist_entry(&lists.prefix_filter_in, &route.prefix).copied();
            let policy = policy.map(|(_, id, lists)| (*id, entry(lists)));
            ReceivedRouteDocument::new(route, policy)
        });
        json(&list::<_, ReceivedRouteDocument>("routes", Page { items: judged.collect(), total }))
    } else {
        let shown = |route: &OwnRoute| filter.admits(&route.prefix, own_decision_word(route.decision));
        let Page { items, total } = window(routes.own.into_iter().filter(shown).collect(), &page);
        let items = items.into_iter().map(|route| AnnouncedRouteDocument::new(route, routes.asn)).collect();
        json(&list::<_, AnnouncedRouteDocument>("routes", Page { items, total }))
    }
}

fn bad_direction() -> Failure {
    let (name, reason) = ("direction".to_owned(), ArgumentReason::Format);
    let help = "must be `received` (the default) or `announced`".to_owned();
    Failure(Error::InvalidArguments(vec![ArgumentError { name, reason, help }]))
}

/// Without `format`: the formats that there are.
async fn device_configuration(call: Call) -> Answer {
    let id = connection_id(&call)?;
    let Some(format) = call.query().text("format") else {
        call.controller.connection(&call.caller, &call.region, id).await?;
        let formats = DEVICE_FORMATS.iter();
        let formats = formats.map(|format| DeviceFormatDocument { description: format.description, name: format.name });
        return json(&whole_list("formats", formats.collect()));
    };
    Ok(text(call.controller.device_configuration(&call.caller, &call.region, id, Some(&format)).await?))
}

fn whole_list<D>(key: &'static str, items: Vec<D>) -> List<D> {
    let count = items.len() as u64;
    List::alphabetical(key, items, count)
}

// Locks have no region in their path: a service has one.

async fn lock_gateway(call: Call) -> Answer {
    let reason = call.body()?.lock_reason()?;
    gateway_lock(call, Some(reason)).await
}

async fn unlock_gateway(call: Call) -> Answer {
    gateway_lock(call, None).await
}

async fn gateway_lock(call: Call, reason: Option<String>) -> Answer {
    let (id, region) = (gateway_id(&call)?, call.controller.region());
    let view = call.controller.set_vpn_gateway_locked(&call.caller, region, id, reason).await?;
    json(&VpnGatewayDocument::from(view))
}

async fn lock_connection(call: Call) -> Answer {
    let reason = call.body()?.lock_reason()?;
    connection_lock(call, Some(reason)).await
}

async fn unlock_connection(call: Call) -> Answer {
    connection_lock(call, None).await
}

async fn connection_lock(call: Call, reason: Option<String>) -> Answer {
    let (id, region) = (connection_id(&call)?, call.controller.region());
    let view = call.controller.set_connection_locked(&call.caller, region, id, reason).await?;
    json(&ConnectionDocument::from(view))
}
