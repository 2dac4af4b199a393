//! VPC v2 (wire-api.md §5).

use causeway_model::command::Page;
use causeway_model::route::RouteWithNextHop;
use causeway_model::{Error, Family, PrivateNetworkId, RouteId, VpcId};
use causeway_wire::document::vpc::{
    AclDocument, PrivateNetworkDocument, RouteDocument, RouteWithNexthopDocument, SubnetDocument, VpcDocument,
};
use causeway_wire::query::Order;

use super::list;
use super::table::{Routes, delete, get, many, not_offered_yet, nothing, one, post};
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
        .route(&format!("{P}/vpcs/{{vpc_id}}/enable-routing"), post(enable_routing, one::<VpcDocument>()))
        .route(
            &format!("{P}/vpcs/{{vpc_id}}/enable-custom-routes-propagation"),
            post(enable_custom_routes_propagation, one::<VpcDocument>()),
        )
        .route(
            &format!("{P}/vpcs/{{vpc_id}}/acl-rules"),
            get(acl, one::<AclDocument>()).put(set_acl, one::<AclDocument>()),
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
        .route(
            &format!("{P}/private-networks/{{private_network_id}}/enable-dhcp"),
            post(enable_dhcp, one::<PrivateNetworkDocument>()),
        )
        .route(
            &format!("{P}/private-networks/{{private_network_id}}/subnets"),
            post(not_offered, not_offered_yet()).delete(not_offered, not_offered_yet()),
        )
        .route(&format!("{P}/subnets"), get(list_subnets, many::<SubnetDocument>("subnets")))
        .route(&format!("{P}/routes-with-nexthop"), get(list_routes, many::<RouteWithNexthopDocument>("routes")))
        .route(&format!("{P}/routes"), post(create_route, one::<RouteDocument>()))
        .route(
            &format!("{P}/routes/{{route_id}}"),
            get(route, one::<RouteDocument>())
                .patch(update_route, one::<RouteDocument>())
                .delete(delete_route, nothing()),
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
    let filter = query.vpcs();
    query.finish()?;
    let vpcs = call.controller.list_vpcs(&call.caller, &call.region, &page, &filter).await?;
    json(&list::<_, VpcDocument>("vpcs", vpcs))
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

async fn enable_routing(call: Call) -> Answer {
    let vpc = call.controller.enable_vpc_routing(&call.caller, &call.region, vpc_id(&call)?).await?;
    json(&VpcDocument::from(vpc))
}

async fn enable_custom_routes_propagation(call: Call) -> Answer {
    let (id, controller) = (vpc_id(&call)?, &call.controller);
    let vpc = controller.set_custom_routes_propagation(&call.caller, &call.region, id, true).await?;
    json(&VpcDocument::from(vpc))
}

/// Without `is_ipv6`: the IPv4 list.
async fn acl(call: Call) -> Answer {
    let query = call.query();
    let family = Family::from_is_ipv6(query.boolean("is_ipv6").unwrap_or(false));
    query.finish()?;
    let acl = call.controller.vpc_acl(&call.caller, &call.region, vpc_id(&call)?, family).await?;
    json(&AclDocument::from(acl))
}

async fn set_acl(call: Call) -> Answer {
    let (id, (family, acl)) = (vpc_id(&call)?, call.body()?.acl()?);
    let acl = call.controller.set_vpc_acl(&call.caller, &call.region, id, family, acl).await?;
    json(&AclDocument::from(acl))
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

async fn enable_dhcp(call: Call) -> Answer {
    let network = call.controller.enable_dhcp(&call.caller, &call.region, private_network_id(&call)?).await?;
    json(&PrivateNetworkDocument::from(network))
}

/// Subnets have neither names nor tags.
async fn list_subnets(call: Call) -> Answer {
    let query = call.query();
    let (page, filter) = (query.list(Order::CREATED), query.subnets());
    query.finish()?;
    let subnets = call.controller.list_subnets(&call.caller, &call.region, &page, &filter).await?;
    json(&list::<_, SubnetDocument>("subnets", subnets))
}

/// Production names neither the kind nor the id of a route that is missing (§2.3).
fn route_id(call: &Call) -> Result<RouteId, Failure> {
    let missing = |_| Failure(Error::NotFound { resource: "unknown", id: String::new() });
    call.id("route_id", "unknown").map_err(missing)
}

async fn list_routes(call: Call) -> Answer {
    let query = call.query();
    let (page, (filter, nothing)) = (query.list(Order::ROUTES), query.routes());
    query.finish()?;
    if nothing {
        return json(&list::<RouteWithNextHop, RouteWithNexthopDocument>(
            "routes",
            Page { items: Vec::new(), total: 0 },
        ));
    }
    let routes = call.controller.list_routes(&call.caller, &call.region, &page, &filter).await?;
    json(&list::<_, RouteWithNexthopDocument>("routes", routes))
}

async fn create_route(call: Call) -> Answer {
    let new = call.body()?.new_route()?;
    let route = call.controller.create_route(&call.caller, &call.region, new).await?;
    json(&RouteDocument::from(route))
}

async fn route(call: Call) -> Answer {
    let route = call.controller.route(&call.caller, &call.region, route_id(&call)?).await?;
    json(&RouteDocument::from(route))
}

async fn update_route(call: Call) -> Answer {
    let (id, change) = (route_id(&call)?, call.body()?.update_route()?);
    let route = call.controller.update_route(&call.caller, &call.region, id, change).await?;
    json(&RouteDocument::from(route))
}

async fn delete_route(call: Call) -> Answer {
    call.controller.delete_route(&call.caller, &call.region, route_id(&call)?).await?;
    Ok(no_content())
}
