//! VPC v2 (wire-api.md §5).

use causeway_model::command::{ListQuery, OrderField, PrivateNetworkFilter};
use causeway_model::{PrivateNetworkId, SubnetId, VpcId};
use causeway_wire::document::vpc::{AclDocument, PrivateNetworkDocument, SubnetDocument, VpcDocument};
use causeway_wire::query::Order;

use super::table::{Routes, delete, get, many, not_offered_yet, nothing, one, post};
use super::{everything, list, window};
use crate::answer::{Answer, Failure, json, no_content, not_offered};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    const P: &str = "/vpc/v2/regions/{region}";
    Routes::new("vpc")
        .route(&format!("{P}/vpcs"), get(list_vpcs, many::<VpcDocument>("vpcs")).post(create_vpc, one::<VpcDocument>()))
        .route(
            &format!("{P}/vpcs/{{vpc_id}}"),
            get(vpc, one::<VpcDocument>()).patch(update_vpc, one::<VpcDocument>()).delete(delete_vpc, nothing()),
        )
        // Both are always on.
        .route(&format!("{P}/vpcs/{{vpc_id}}/enable-routing"), post(vpc, one::<VpcDocument>()))
        .route(&format!("{P}/vpcs/{{vpc_id}}/enable-custom-routes-propagation"), post(vpc, one::<VpcDocument>()))
        .route(
            &format!("{P}/vpcs/{{vpc_id}}/acl-rules"),
            get(acl, one::<AclDocument>()).put(not_offered, not_offered_yet()),
        )
        .route(
            &format!("{P}/private-networks"),
            get(list_private_networks, many::<PrivateNetworkDocument>("private_networks"))
                .post(create_private_network, one::<PrivateNetworkDocument>()),
        )
        .route(
            &format!("{P}/private-networks/{{private_network_id}}"),
            get(private_network, one::<PrivateNetworkDocument>())
                .patch(update_private_network, one::<PrivateNetworkDocument>())
                .delete(delete_private_network, nothing()),
        )
        // Always on.
        .route(
            &format!("{P}/private-networks/{{private_network_id}}/enable-dhcp"),
            post(private_network, one::<PrivateNetworkDocument>()),
        )
        .route(&format!("{P}/subnets"), get(list_subnets, many::<SubnetDocument>("subnets")))
        .route(&format!("{P}/routes-with-nexthop"), get(not_offered, not_offered_yet()))
        .route(&format!("{P}/routes"), post(not_offered, not_offered_yet()))
        .route(
            &format!("{P}/routes/{{route_id}}"),
            get(not_offered, not_offered_yet())
                .patch(not_offered, not_offered_yet())
                .delete(not_offered, not_offered_yet()),
        )
        .route(&format!("{P}/vpc-connectors"), get(not_offered, not_offered_yet()).post(not_offered, not_offered_yet()))
        .route(
            &format!("{P}/vpc-connectors/{{id}}"),
            get(not_offered, not_offered_yet())
                .patch(not_offered, not_offered_yet())
                .delete(not_offered, not_offered_yet()),
        )
        .route(&format!("{P}/vpc-connectors/{{id}}/subnet-overlaps"), get(not_offered, not_offered_yet()))
        .route(&format!("{P}/object-storage-private-access/{{vpc_id}}/enable"), post(not_offered, not_offered_yet()))
        .route(&format!("{P}/object-storage-private-access/{{vpc_id}}/disable"), post(not_offered, not_offered_yet()))
        .route(
            &format!("{P}/object-storage-private-access/{{vpc_id}}/private-networks"),
            post(not_offered, not_offered_yet()).put(not_offered, not_offered_yet()),
        )
        .route(
            &format!("{P}/object-storage-private-access/{{vpc_id}}/private-networks/{{id}}"),
            delete(not_offered, not_offered_yet()),
        )
        .route(&format!("{P}/ingress-rules"), get(not_offered, not_offered_yet()).post(not_offered, not_offered_yet()))
        .route(
            &format!("{P}/ingress-rules/{{id}}"),
            get(not_offered, not_offered_yet())
                .patch(not_offered, not_offered_yet())
                .delete(not_offered, not_offered_yet()),
        )
}

fn vpc_id(call: &Call) -> Result<VpcId, Failure> {
    call.id("vpc_id", "vpc")
}

fn private_network_id(call: &Call) -> Result<PrivateNetworkId, Failure> {
    call.id("private_network_id", "private_network")
}

async fn list_vpcs(call: Call) -> Answer {
    let query = call.query();
    let page = query.list(Order::CREATED_NAME);
    let (is_default, routing_enabled) = (query.boolean("is_default"), query.boolean("routing_enabled"));
    query.finish()?;
    if is_default.is_none() && routing_enabled.is_none() {
        let vpcs = call.controller.list_vpcs(&call.caller, &call.region, &page).await?;
        return json(&list::<_, VpcDocument>("vpcs", vpcs));
    }
    let call = &call;
    let fetch = |query| async move { call.controller.list_vpcs(&call.caller, &call.region, &query).await };
    let mut vpcs = everything(&page, fetch).await?;
    // Routing is always on.
    vpcs.retain(|vpc| is_default.is_none_or(|wanted| wanted == vpc.is_default) && routing_enabled != Some(false));
    json(&list::<_, VpcDocument>("vpcs", window(vpcs, &page)))
}

async fn create_vpc(call: Call) -> Answer {
    let new = call.body()?.new_vpc()?;
    let vpc = call.controller.create_vpc(&call.caller, &call.region, new).await?;
    json(&VpcDocument::from(vpc))
}

async fn vpc(call: Call) -> Answer {
    let vpc = call.controller.vpc(&call.caller, &call.region, vpc_id(&call)?).await?;
    json(&VpcDocument::from(vpc))
}

async fn update_vpc(call: Call) -> Answer {
    let (id, rename) = (vpc_id(&call)?, call.body()?.rename()?);
    let vpc = call.controller.update_vpc(&call.caller, &call.region, id, rename).await?;
    json(&VpcDocument::from(vpc))
}

async fn delete_vpc(call: Call) -> Answer {
    call.controller.delete_vpc(&call.caller, &call.region, vpc_id(&call)?).await?;
    Ok(no_content())
}

/// Network ACLs are not offered: a VPC has what a new one has.
async fn acl(call: Call) -> Answer {
    call.controller.vpc(&call.caller, &call.region, vpc_id(&call)?).await?;
    json(&AclDocument::default())
}

async fn list_private_networks(call: Call) -> Answer {
    let query = call.query();
    let (page, filter) = (query.list(Order::CREATED_NAME), query.private_networks());
    query.finish()?;
    let networks = call.controller.list_private_networks(&call.caller, &call.region, &page, &filter).await?;
    json(&list::<_, PrivateNetworkDocument>("private_networks", networks))
}

async fn create_private_network(call: Call) -> Answer {
    let new = call.body()?.new_private_network()?;
    let network = call.controller.create_private_network(&call.caller, &call.region, new).await?;
    json(&PrivateNetworkDocument::from(network))
}

async fn private_network(call: Call) -> Answer {
    let network = call.controller.private_network(&call.caller, &call.region, private_network_id(&call)?).await?;
    json(&PrivateNetworkDocument::from(network))
}

async fn update_private_network(call: Call) -> Answer {
    let id = private_network_id(&call)?;
    let (rename, default_route) = call.body()?.update_private_network()?;
    let network = call.controller.update_private_network(&call.caller, &call.region, id, rename, default_route).await?;
    json(&PrivateNetworkDocument::from(network))
}

async fn delete_private_network(call: Call) -> Answer {
    call.controller.delete_private_network(&call.caller, &call.region, private_network_id(&call)?).await?;
    Ok(no_content())
}

/// The subnets of the networks that the caller sees, in the order of their networks' creation.
async fn list_subnets(call: Call) -> Answer {
    let query = call.query();
    let page = query.list(Order::CREATED);
    let filter = PrivateNetworkFilter { vpc_id: query.id("vpc_id"), ..PrivateNetworkFilter::default() };
    let subnet_ids: Vec<SubnetId> = query.ids("subnet_ids");
    query.finish()?;
    // Subnets have neither names nor tags.
    let networks = ListQuery { order: OrderField::CreatedAt, name: None, tags: Vec::new(), ..page.clone() };
    let (call, filter) = (&call, &filter);
    let fetch =
        |query| async move { call.controller.list_private_networks(&call.caller, &call.region, &query, filter).await };
    let networks = everything(&networks, fetch).await?;
    let subnets = networks.iter().flat_map(|network| {
        let subnets = network.subnets.iter();
        subnets
            .filter(|subnet| subnet_ids.is_empty() || subnet_ids.contains(&subnet.id))
            .map(move |subnet| (network, subnet))
    });
    let documents = subnets.map(|(network, subnet)| SubnetDocument::new(network, subnet)).collect();
    json(&list::<_, SubnetDocument>("subnets", window(documents, &page)))
}
