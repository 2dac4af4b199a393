//! InterLink's catalogue (wire-ext.md §2): PoPs, partners, dedicated connections, ports, and sizes with their prices.

use causeway_model::resource::LinkBandwidth;
use causeway_model::{DedicatedConnectionId, Error, LinkId, PartnerId, PopId, PortId};
use causeway_wire::document::interlink::{DedicatedConnectionDocument, LinkDocument};
use causeway_wire::document::offer::{LinkBandwidthDocument, PartnerOfferDocument, PopOfferDocument, PortDocument};
use causeway_wire::query::Order;

use super::{O, paged};
use crate::answer::{Answer, Failure, json, no_content};
use crate::call::Call;
use crate::routes::list;
use crate::routes::table::{Routes, get, many, nothing, one, post, put};

pub(super) fn routes() -> Routes {
    Routes::new("operator")
        .route(
            &format!("{O}/pops"),
            get(list_pop_offers, many::<PopOfferDocument>("pops")).post(create_pop, one::<PopOfferDocument>()),
        )
        .route(
            &format!("{O}/pops/{{id}}"),
            get(pop_offer, one::<PopOfferDocument>())
                .patch(update_pop, one::<PopOfferDocument>())
                .delete(delete_pop, nothing()),
        )
        .route(
            &format!("{O}/partners"),
            get(list_partner_offers, many::<PartnerOfferDocument>("partners"))
                .post(create_partner, one::<PartnerOfferDocument>()),
        )
        .route(
            &format!("{O}/partners/{{id}}"),
            get(partner_offer, one::<PartnerOfferDocument>())
                .patch(update_partner, one::<PartnerOfferDocument>())
                .delete(delete_partner, nothing()),
        )
        .route(
            &format!("{O}/dedicated-connections"),
            get(list_all_dedicated_connections, many::<DedicatedConnectionDocument>("connections"))
                .post(create_dedicated_connection, one::<DedicatedConnectionDocument>()),
        )
        .route(
            &format!("{O}/dedicated-connections/{{id}}"),
            get(any_dedicated_connection, one::<DedicatedConnectionDocument>())
                .patch(update_dedicated_connection, one::<DedicatedConnectionDocument>())
                .delete(delete_dedicated_connection, nothing()),
        )
        .route(
            &format!("{O}/ports"),
            get(list_ports, many::<PortDocument>("ports")).post(create_port, one::<PortDocument>()),
        )
        .route(
            &format!("{O}/ports/{{id}}"),
            get(port, one::<PortDocument>()).patch(update_port, one::<PortDocument>()).delete(delete_port, nothing()),
        )
        .route(
            &format!("{O}/link-bandwidths"),
            get(list_link_bandwidths, many::<LinkBandwidthDocument>("link_bandwidths")),
        )
        .route(
            &format!("{O}/link-bandwidths/{{bandwidth_mbps}}"),
            put(set_link_bandwidth, one::<LinkBandwidthDocument>()).delete(delete_link_bandwidth, nothing()),
        )
        .route(&format!("{O}/links/{{id}}/repair"), post(repair_link, one::<LinkDocument>()))
}

fn pop_id(call: &Call) -> Result<PopId, Failure> {
    call.id("id", "pop")
}

fn partner_id(call: &Call) -> Result<PartnerId, Failure> {
    call.id("id", "partner")
}

fn connection_id(call: &Call) -> Result<DedicatedConnectionId, Failure> {
    call.id("id", "dedicated_connection")
}

fn port_id(call: &Call) -> Result<PortId, Failure> {
    call.id("id", "port")
}

async fn list_pop_offers(call: Call) -> Answer {
    let query = call.query();
    let mut page = query.catalogue(Order::NAME);
    page.name = query.text("name");
    query.finish()?;
    json(&list::<_, PopOfferDocument>("pops", call.controller.pop_catalogue(&call.caller, &page).await?))
}

async fn create_pop(call: Call) -> Answer {
    let new = call.body()?.new_pop()?;
    json(&PopOfferDocument::from(call.controller.create_pop(&call.caller, new).await?))
}

async fn pop_offer(call: Call) -> Answer {
    let view = call.controller.pop(&call.caller, call.controller.region(), pop_id(&call)?).await?;
    json(&PopOfferDocument::from(view.pop))
}

async fn update_pop(call: Call) -> Answer {
    let (id, change) = (pop_id(&call)?, call.body()?.update_pop()?);
    json(&PopOfferDocument::from(call.controller.update_pop(&call.caller, id, change).await?))
}

async fn delete_pop(call: Call) -> Answer {
    call.controller.delete_pop(&call.caller, pop_id(&call)?).await?;
    Ok(no_content())
}

async fn list_partner_offers(call: Call) -> Answer {
    let query = call.query();
    let (page, filter) = (query.catalogue(Order::NAME), query.partners());
    query.finish()?;
    let partners = call.controller.list_partners(&call.caller, call.controller.region(), &page, &filter).await?;
    json(&list::<_, PartnerOfferDocument>("partners", partners))
}

async fn create_partner(call: Call) -> Answer {
    let new = call.body()?.new_partner()?;
    json(&PartnerOfferDocument::from(call.controller.create_partner(&call.caller, new).await?))
}

async fn partner_offer(call: Call) -> Answer {
    let partner = call.controller.partner(&call.caller, call.controller.region(), partner_id(&call)?).await?;
    json(&PartnerOfferDocument::from(partner))
}

async fn update_partner(call: Call) -> Answer {
    let (id, change) = (partner_id(&call)?, call.body()?.update_partner()?);
    json(&PartnerOfferDocument::from(call.controller.update_partner(&call.caller, id, change).await?))
}

async fn delete_partner(call: Call) -> Answer {
    call.controller.delete_partner(&call.caller, partner_id(&call)?).await?;
    Ok(no_content())
}

async fn list_all_dedicated_connections(call: Call) -> Answer {
    let query = call.query();
    let (page, filter) = (query.list(Order::DEDICATED_CONNECTIONS), query.dedicated_connections());
    query.finish()?;
    let region = call.controller.region();
    let found = call.controller.list_dedicated_connections(&call.caller, region, &page, &filter).await?;
    json(&list::<_, DedicatedConnectionDocument>("connections", found))
}

async fn create_dedicated_connection(call: Call) -> Answer {
    let new = call.body()?.new_dedicated_connection()?;
    let view = call.controller.create_dedicated_connection(&call.caller, new).await?;
    json(&DedicatedConnectionDocument::from(view))
}

async fn any_dedicated_connection(call: Call) -> Answer {
    let (id, region) = (connection_id(&call)?, call.controller.region());
    json(&DedicatedConnectionDocument::from(call.controller.dedicated_connection(&call.caller, region, id).await?))
}

async fn update_dedicated_connection(call: Call) -> Answer {
    let (id, change) = (connection_id(&call)?, call.body()?.update_dedicated_connection()?);
    let view = call.controller.update_dedicated_connection(&call.caller, id, change).await?;
    json(&DedicatedConnectionDocument::from(view))
}

async fn delete_dedicated_connection(call: Call) -> Answer {
    call.controller.delete_dedicated_connection(&call.caller, connection_id(&call)?).await?;
    Ok(no_content())
}

async fn list_ports(call: Call) -> Answer {
    let query = call.query();
    let mut page = query.catalogue(Order::CREATED_NAME);
    page.name = query.text("name");
    let filter = query.ports();
    query.finish()?;
    json(&list::<_, PortDocument>("ports", call.controller.list_ports(&call.caller, &page, &filter).await?))
}

async fn create_port(call: Call) -> Answer {
    let new = call.body()?.new_port()?;
    json(&PortDocument::from(call.controller.create_port(&call.caller, new).await?))
}

async fn port(call: Call) -> Answer {
    json(&PortDocument::from(call.controller.port(&call.caller, port_id(&call)?).await?))
}

async fn update_port(call: Call) -> Answer {
    let (id, change) = (port_id(&call)?, call.body()?.update_port()?);
    json(&PortDocument::from(call.controller.update_port(&call.caller, id, change).await?))
}

async fn delete_port(call: Call) -> Answer {
    call.controller.delete_port(&call.caller, port_id(&call)?).await?;
    Ok(no_content())
}

async fn list_link_bandwidths(call: Call) -> Answer {
    let query = call.query();
    let wanted = query.page();
    query.finish()?;
    let sizes = call.controller.link_bandwidths(&call.caller).await?;
    json(&paged("link_bandwidths", sizes, wanted, |size| bandwidth_document(&call, size)))
}

/// Offers a size, or changes its price.
async fn set_link_bandwidth(call: Call) -> Answer {
    let size = call.body()?.link_bandwidth(bandwidth(&call)?)?;
    let size = call.controller.set_link_bandwidth(&call.caller, size).await?;
    json(&bandwidth_document(&call, size))
}

async fn delete_link_bandwidth(call: Call) -> Answer {
    call.controller.delete_link_bandwidth(&call.caller, bandwidth(&call)?).await?;
    Ok(no_content())
}

/// The size in the path. What is no number names none.
fn bandwidth(call: &Call) -> Result<u64, Failure> {
    let text = call.param("bandwidth_mbps");
    // While calls are recorded, paths have their parameters' names.
    let plain = text.bytes().all(|octet| octet.is_ascii_digit());
    let size = text.parse().ok().filter(|_| plain);
    size.ok_or_else(|| Failure(Error::NotFound { resource: "link_bandwidth", id: text.to_owned() }))
}

fn bandwidth_document(call: &Call, size: LinkBandwidth) -> LinkBandwidthDocument {
    LinkBandwidthDocument::new(size, call.controller.currency())
}

async fn repair_link(call: Call) -> Answer {
    let id: LinkId = call.id("id", "link")?;
    json(&LinkDocument::from(call.controller.repair_link(&call.caller, call.controller.region(), id).await?))
}
