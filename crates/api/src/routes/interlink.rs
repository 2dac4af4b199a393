//! InterLink v1beta1: all 23 calls (wire-api.md §4.1).

use causeway_model::{DedicatedConnectionId, LinkId, PartnerId, PopId, RoutingPolicyId};
use causeway_wire::document::interlink::{DedicatedConnectionDocument, LinkDocument, PartnerDocument, PopDocument};
use causeway_wire::document::s2s::RoutingPolicyDocument;
use causeway_wire::query::Order;

use super::list;
use super::table::{Routes, get, many, nothing, one, post};
use crate::answer::{Answer, Failure, json, no_content};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    const P: &str = "/interlink/v1beta1/regions/{region}";
    const L: &str = "/interlink/v1beta1/regions/{region}/links/{link_id}";
    Routes::new("interlink")
        .route(
            &format!("{P}/dedicated-connections"),
            get(list_dedicated_connections, many::<DedicatedConnectionDocument>("connections")),
        )
        .route(
            &format!("{P}/dedicated-connections/{{connection_id}}"),
            get(dedicated_connection, one::<DedicatedConnectionDocument>()),
        )
        .route(&format!("{P}/partners"), get(list_partners, many::<PartnerDocument>("partners")))
        .route(&format!("{P}/partners/{{partner_id}}"), get(partner, one::<PartnerDocument>()))
        .route(&format!("{P}/pops"), get(list_pops, many::<PopDocument>("pops")))
        .route(&format!("{P}/pops/{{pop_id}}"), get(pop, one::<PopDocument>()))
        .route(
            &format!("{P}/links"),
            get(list_links, many::<LinkDocument>("links")).post(create_link, one::<LinkDocument>()),
        )
        .route(
            L,
            get(link, one::<LinkDocument>())
                .patch(update_link, one::<LinkDocument>())
                .delete(delete_link, one::<LinkDocument>()),
        )
        .route(&format!("{L}/attach-vpc"), post(attach_vpc, one::<LinkDocument>()))
        .route(&format!("{L}/detach-vpc"), post(detach_vpc, one::<LinkDocument>()))
        .route(&format!("{L}/attach-routing-policy"), post(attach_link_policy, one::<LinkDocument>()))
        .route(&format!("{L}/detach-routing-policy"), post(detach_link_policy, one::<LinkDocument>()))
        .route(&format!("{L}/set-routing-policy"), post(set_link_policy, one::<LinkDocument>()))
        .route(&format!("{L}/enable-route-propagation"), post(enable_link_propagation, one::<LinkDocument>()))
        .route(&format!("{L}/disable-route-propagation"), post(disable_link_propagation, one::<LinkDocument>()))
        .route(
            &format!("{P}/routing-policies"),
            get(list_link_policies, many::<RoutingPolicyDocument>("routing_policies"))
                .post(create_link_policy, one::<RoutingPolicyDocument>()),
        )
        .route(
            &format!("{P}/routing-policies/{{routing_policy_id}}"),
            get(link_policy, one::<RoutingPolicyDocument>())
                .patch(update_link_policy, one::<RoutingPolicyDocument>())
                .delete(delete_link_policy, nothing()),
        )
}

fn link_id(call: &Call) -> Result<LinkId, Failure> {
    call.id("link_id", "link")
}

fn routing_policy_id(call: &Call) -> Result<RoutingPolicyId, Failure> {
    call.id("routing_policy_id", "routing_policy")
}

async fn list_dedicated_connections(call: Call) -> Answer {
    let query = call.query();
    let (page, filter) = (query.list(Order::DEDICATED_CONNECTIONS), query.dedicated_connections());
    query.finish()?;
    let found = call.controller.list_dedicated_connections(&call.caller, &call.region, &page, &filter).await?;
    json(&list::<_, DedicatedConnectionDocument>("connections", found))
}

async fn dedicated_connection(call: Call) -> Answer {
    let id: DedicatedConnectionId = call.id("connection_id", "dedicated_connection")?;
    let view = call.controller.dedicated_connection(&call.caller, &call.region, id).await?;
    json(&DedicatedConnectionDocument::from(view))
}

async fn list_partners(call: Call) -> Answer {
    let query = call.query();
    let (page, filter) = (query.catalogue(Order::NAME), query.partners());
    query.finish()?;
    let partners = call.controller.list_partners(&call.caller, &call.region, &page, &filter).await?;
    json(&list::<_, PartnerDocument>("partners", partners))
}

async fn partner(call: Call) -> Answer {
    let id: PartnerId = call.id("partner_id", "partner")?;
    let partner = call.controller.partner(&call.caller, &call.region, id).await?;
    json(&PartnerDocument::from(partner))
}

async fn list_pops(call: Call) -> Answer {
    let query = call.query();
    let mut page = query.catalogue(Order::NAME);
    page.name = query.text("name");
    let filter = query.pops();
    query.finish()?;
    let pops = call.controller.list_pops(&call.caller, &call.region, &page, &filter).await?;
    json(&list::<_, PopDocument>("pops", pops))
}

async fn pop(call: Call) -> Answer {
    let id: PopId = call.id("pop_id", "pop")?;
    json(&PopDocument::from(call.controller.pop(&call.caller, &call.region, id).await?))
}

async fn list_links(call: Call) -> Answer {
    let query = call.query();
    let (page, filter) = (query.list(Order::LINKS), query.links());
    query.finish()?;
    let links = call.controller.list_links(&call.caller, &call.region, &page, &filter).await?;
    json(&list::<_, LinkDocument>("links", links))
}

async fn create_link(call: Call) -> Answer {
    let new = call.body()?.new_link()?;
    let view = call.controller.create_link(&call.caller, &call.region, new).await?;
    json(&LinkDocument::from(view))
}

async fn link(call: Call) -> Answer {
    let view = call.controller.link(&call.caller, &call.region, link_id(&call)?).await?;
    json(&LinkDocument::from(view))
}

async fn update_link(call: Call) -> Answer {
    let (id, change) = (link_id(&call)?, call.body()?.update_link()?);
    let view = call.controller.update_link(&call.caller, &call.region, id, change).await?;
    json(&LinkDocument::from(view))
}

/// Answers the link as it is then: gone, or waiting for the other side.
async fn delete_link(call: Call) -> Answer {
    let view = call.controller.delete_link(&call.caller, &call.region, link_id(&call)?).await?;
    json(&LinkDocument::from(view))
}

async fn attach_vpc(call: Call) -> Answer {
    let (id, vpc) = (link_id(&call)?, call.body()?.attached_vpc()?);
    let view = call.controller.attach_link_vpc(&call.caller, &call.region, id, vpc).await?;
    json(&LinkDocument::from(view))
}

async fn detach_vpc(call: Call) -> Answer {
    let view = call.controller.detach_link_vpc(&call.caller, &call.region, link_id(&call)?).await?;
    json(&LinkDocument::from(view))
}

async fn attach_link_policy(call: Call) -> Answer {
    let change = call.body()?.link_policy_change(link_id(&call)?)?;
    let view = call.controller.attach_link_policy(&call.caller, &call.region, change).await?;
    json(&LinkDocument::from(view))
}

async fn detach_link_policy(call: Call) -> Answer {
    let change = call.body()?.link_policy_change(link_id(&call)?)?;
    let view = call.controller.detach_link_policy(&call.caller, &call.region, change).await?;
    json(&LinkDocument::from(view))
}

async fn set_link_policy(call: Call) -> Answer {
    let change = call.body()?.link_policy_change(link_id(&call)?)?;
    let view = call.controller.set_link_policy(&call.caller, &call.region, change).await?;
    json(&LinkDocument::from(view))
}

async fn enable_link_propagation(call: Call) -> Answer {
    link_propagation(call, true).await
}

async fn disable_link_propagation(call: Call) -> Answer {
    link_propagation(call, false).await
}

async fn link_propagation(call: Call, enabled: bool) -> Answer {
    let id = link_id(&call)?;
    let view = call.controller.set_link_propagation(&call.caller, &call.region, id, enabled).await?;
    json(&LinkDocument::from(view))
}

async fn list_link_policies(call: Call) -> Answer {
    let query = call.query();
    let (page, filter) = (query.list(Order::CREATED_NAME), query.link_policies());
    query.finish()?;
    let policies = call.controller.list_link_routing_policies(&call.caller, &call.region, &page, filter).await?;
    json(&list::<_, RoutingPolicyDocument>("routing_policies", policies))
}

async fn create_link_policy(call: Call) -> Answer {
    let new = call.body()?.new_routing_policy()?;
    let policy = call.controller.create_link_routing_policy(&call.caller, &call.region, new).await?;
    json(&RoutingPolicyDocument::from(policy))
}

async fn link_policy(call: Call) -> Answer {
    let policy = call.controller.link_routing_policy(&call.caller, &call.region, routing_policy_id(&call)?).await?;
    json(&RoutingPolicyDocument::from(policy))
}

async fn update_link_policy(call: Call) -> Answer {
    let (id, update) = (routing_policy_id(&call)?, call.body()?.update_routing_policy()?);
    let (prefixes_in, prefixes_out) = (update.prefix_filter_in, update.prefix_filter_out);
    let controller = &call.controller;
    let policy = controller
        .update_link_routing_policy(&call.caller, &call.region, id, update.rename, prefixes_in, prefixes_out)
        .await?;
    json(&RoutingPolicyDocument::from(policy))
}

async fn delete_link_policy(call: Call) -> Answer {
    call.controller.delete_link_routing_policy(&call.caller, &call.region, routing_policy_id(&call)?).await?;
    Ok(no_content())
}
