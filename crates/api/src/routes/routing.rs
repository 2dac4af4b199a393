//! The extension API of VPCs (wire-ext.md §1), and the operator's mapping of Private Networks to bridges (§2).

use causeway_controller::AttachmentView;
use causeway_model::command::Page;
use causeway_model::{PrivateNetworkId, VpcId};
use causeway_wire::document::routing::{AttachmentDocument, VpcOptionsDocument, VpcStateDocument};
use causeway_wire::query::Order;

use super::list;
use super::table::{Routes, get, many, nothing, one, put};
use crate::answer::{Answer, Failure, explained, json, name_support, no_content};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    const X: &str = "/causeway/v1/regions/{region}";
    const O: &str = "/causeway/v1/operator/private-network-attachments";
    Routes::new("extension")
        .route(&format!("{X}/vpcs/{{id}}/state"), get(vpc_state, one::<VpcStateDocument>()))
        .route(
            &format!("{X}/vpcs/{{id}}/options"),
            get(vpc_options, one::<VpcOptionsDocument>()).patch(set_vpc_options, one::<VpcOptionsDocument>()),
        )
        .route(O, get(list_attachments, many::<AttachmentDocument>("private_network_attachments")))
        .route(
            &format!("{O}/{{private_network_id}}"),
            put(set_attachment, one::<AttachmentDocument>()).delete(delete_attachment, nothing()),
        )
}

fn vpc_id(call: &Call) -> Result<VpcId, Failure> {
    call.id("id", "vpc")
}

fn network_id(call: &Call) -> Result<PrivateNetworkId, Failure> {
    call.id("private_network_id", "private_network")
}

fn document(view: AttachmentView) -> AttachmentDocument {
    let AttachmentView { attachment, reason } = view;
    let (created_at, updated_at) = (attachment.created_at, attachment.updated_at);
    AttachmentDocument::new(attachment.network, attachment.interface, reason, created_at, updated_at)
}

async fn vpc_state(call: Call) -> Answer {
    let state = call.controller.vpc_state(&call.caller, &call.region, vpc_id(&call)?).await?;
    explained(&call.controller, VpcStateDocument::from(state)).await
}

async fn vpc_options(call: Call) -> Answer {
    let vpc = call.controller.vpc(&call.caller, &call.region, vpc_id(&call)?).await?;
    json(&VpcOptionsDocument { custom_routes_propagation_enabled: vpc.custom_routes_propagation_enabled })
}

async fn set_vpc_options(call: Call) -> Answer {
    let (id, enabled) = (vpc_id(&call)?, call.body()?.vpc_options()?);
    let vpc = call.controller.set_custom_routes_propagation(&call.caller, &call.region, id, enabled).await?;
    json(&VpcOptionsDocument { custom_routes_propagation_enabled: vpc.custom_routes_propagation_enabled })
}

async fn list_attachments(call: Call) -> Answer {
    let query = call.query();
    let page = query.list(Order::CREATED);
    query.finish()?;
    let Page { items, total } = call.controller.list_attachments(&call.caller, &page).await?;
    let mut items: Vec<AttachmentDocument> = items.into_iter().map(document).collect();
    for item in &mut items {
        name_support(&call.controller, item).await?;
    }
    json(&list::<_, AttachmentDocument>("private_network_attachments", Page { items, total }))
}

async fn set_attachment(call: Call) -> Answer {
    let (id, interface) = (network_id(&call)?, call.body()?.attachment()?);
    let view = call.controller.set_attachment(&call.caller, id, interface).await?;
    explained(&call.controller, document(view)).await
}

async fn delete_attachment(call: Call) -> Answer {
    call.controller.delete_attachment(&call.caller, network_id(&call)?).await?;
    Ok(no_content())
}
