//! The partner's API (wire-ext.md §2): the links addressed to it. Its paths have no region: a service has one.

use causeway_controller::PartnerAction;
use causeway_model::LinkId;
use causeway_model::command::Page;
use causeway_wire::document::link::PartnerLinkDocument;
use causeway_wire::query::Order;

use super::list;
use super::table::{Routes, get, many, one, post};
use crate::answer::{Answer, Failure, json};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    const L: &str = "/causeway/v1/partner/links";
    Routes::new("partner")
        .route(L, get(list_partner_links, many::<PartnerLinkDocument>("links")))
        .route(&format!("{L}/{{id}}"), get(partner_link, one::<PartnerLinkDocument>()))
        .route(&format!("{L}/{{id}}/accept"), post(accept, one::<PartnerLinkDocument>()))
        .route(&format!("{L}/{{id}}/refuse"), post(refuse, one::<PartnerLinkDocument>()))
        .route(&format!("{L}/{{id}}/provisioned"), post(provisioned, one::<PartnerLinkDocument>()))
        .route(&format!("{L}/{{id}}/start-deprovisioning"), post(start_deprovisioning, one::<PartnerLinkDocument>()))
        .route(&format!("{L}/{{id}}/deprovisioned"), post(deprovisioned, one::<PartnerLinkDocument>()))
}

fn id(call: &Call) -> Result<LinkId, Failure> {
    call.id("id", "link")
}

async fn list_partner_links(call: Call) -> Answer {
    let query = call.query();
    let (page, (filter, nothing)) = (query.catalogue(Order::CREATED), query.partner_links());
    query.finish()?;
    let mut links = call.controller.partner_links(&call.caller, &page, &filter).await?;
    if nothing {
        links = Page { items: Vec::new(), total: 0 };
    }
    json(&list::<_, PartnerLinkDocument>("links", links))
}

async fn partner_link(call: Call) -> Answer {
    json(&PartnerLinkDocument::from(call.controller.partner_link(&call.caller, id(&call)?).await?))
}

async fn act(call: Call, action: PartnerAction) -> Answer {
    let state = call.controller.act_as_partner(&call.caller, id(&call)?, action).await?;
    json(&PartnerLinkDocument::from(state))
}

async fn accept(call: Call) -> Answer {
    act(call, PartnerAction::Accept).await
}

async fn refuse(call: Call) -> Answer {
    let reason = call.body()?.refusal()?;
    act(call, PartnerAction::Refuse(reason)).await
}

async fn provisioned(call: Call) -> Answer {
    act(call, PartnerAction::Provisioned).await
}

async fn start_deprovisioning(call: Call) -> Answer {
    act(call, PartnerAction::StartDeprovisioning).await
}

async fn deprovisioned(call: Call) -> Answer {
    act(call, PartnerAction::Deprovisioned).await
}
