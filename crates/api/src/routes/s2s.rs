//! Site-to-Site VPN v1alpha1: all 27 calls (wire-api.md §3.1).

use causeway_model::{ConnectionId, CustomerGatewayId, Error, RoutingPolicyId, VpnGatewayId};
use causeway_wire::document::s2s::{
    ConnectionDocument, ConnectionWithKeyDocument, CustomerGatewayDocument, GatewayTypeDocument, RoutingPolicyDocument,
    VpnGatewayDocument, WrappedConnectionDocument,
};
use causeway_wire::query::Order;

use super::list;
use super::table::{Routes, get, many, nothing, one, post};
use crate::answer::{Answer, Failure, json, no_content};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    const P: &str = "/s2s-vpn/v1alpha1/regions/{region}";
    const C: &str = "/s2s-vpn/v1alpha1/regions/{region}/connections/{connection_id}";
    Routes::new("s2s")
        .route(&format!("{P}/vpn-gateway-types"), get(list_gateway_types, many::<GatewayTypeDocument>("gateway_types")))
        .route(
            &format!("{P}/vpn-gateways"),
            get(list_vpn_gateways, many::<VpnGatewayDocument>("gateways"))
                .post(create_vpn_gateway, one::<VpnGatewayDocument>()),
        )
        .route(
            &format!("{P}/vpn-gateways/{{gateway_id}}"),
            get(vpn_gateway, one::<VpnGatewayDocument>())
                .patch(update_vpn_gateway, one::<VpnGatewayDocument>())
                .delete(delete_vpn_gateway, one::<VpnGatewayDocument>()),
        )
        .route(
            &format!("{P}/connections"),
            get(list_connections, many::<ConnectionDocument>("connections"))
                .post(create_connection, one::<ConnectionWithKeyDocument>()),
        )
        .route(
            C,
            get(connection, one::<ConnectionDocument>())
                .patch(update_connection, one::<ConnectionDocument>())
                .delete(delete_connection, nothing()),
        )
        .route(&format!("{C}/renew-psk"), post(renew_psk, one::<ConnectionWithKeyDocument>()))
        .route(&format!("{C}/change-psk"), post(change_psk, one::<WrappedConnectionDocument>()))
        .route(&format!("{C}/set-routing-policy"), post(set_routing_policy, one::<ConnectionDocument>()))
        .route(&format!("{C}/detach-routing-policy"), post(detach_routing_policy, one::<ConnectionDocument>()))
        .route(&format!("{C}/enable-route-propagation"), post(enable_route_propagation, one::<ConnectionDocument>()))
        .route(&format!("{C}/disable-route-propagation"), post(disable_route_propagation, one::<ConnectionDocument>()))
        .route(
            &format!("{P}/customer-gateways"),
            get(list_customer_gateways, many::<CustomerGatewayDocument>("gateways"))
                .post(create_customer_gateway, one::<CustomerGatewayDocument>()),
        )
        .route(
            &format!("{P}/customer-gateways/{{gateway_id}}"),
            get(customer_gateway, one::<CustomerGatewayDocument>())
                .patch(update_customer_gateway, one::<CustomerGatewayDocument>())
                .delete(delete_customer_gateway, nothing()),
        )
        .route(
            &format!("{P}/routing-policies"),
            get(list_routing_policies, many::<RoutingPolicyDocument>("routing_policies"))
                .post(create_routing_policy, one::<RoutingPolicyDocument>()),
        )
        .route(
            &format!("{P}/routing-policies/{{routing_policy_id}}"),
            get(routing_policy, one::<RoutingPolicyDocument>())
                .patch(update_routing_policy, one::<RoutingPolicyDocument>())
                .delete(delete_routing_policy, nothing()),
        )
}

fn vpn_gateway_id(call: &Call) -> Result<VpnGatewayId, Failure> {
    call.id("gateway_id", "vpn_gateway")
}

fn connection_id(call: &Call) -> Result<ConnectionId, Failure> {
    call.id("connection_id", "connection")
}

fn customer_gateway_id(call: &Call) -> Result<CustomerGatewayId, Failure> {
    call.id("gateway_id", "customer_gateway")
}

fn routing_policy_id(call: &Call) -> Result<RoutingPolicyId, Failure> {
    call.id("routing_policy_id", "routing_policy")
}

async fn list_gateway_types(call: Call) -> Answer {
    let query = call.query();
    let page = query.list(&[]);
    query.finish()?;
    let types = call.controller.gateway_types(&call.caller, &call.region, &page).await?;
    json(&list::<_, GatewayTypeDocument>("gateway_types", types))
}

async fn list_vpn_gateways(call: Call) -> Answer {
    let query = call.query();
    let (page, filter) = (query.list(Order::VPN_GATEWAYS), query.vpn_gateways());
    query.finish()?;
    let gateways = call.controller.list_vpn_gateways(&call.caller, &call.region, &page, &filter).await?;
    json(&list::<_, VpnGatewayDocument>("gateways", gateways))
}

async fn create_vpn_gateway(call: Call) -> Answer {
    let new = call.body()?.new_vpn_gateway()?;
    let view = call.controller.create_vpn_gateway(&call.caller, &call.region, new).await?;
    json(&VpnGatewayDocument::from(view))
}

async fn vpn_gateway(call: Call) -> Answer {
    let view = call.controller.vpn_gateway(&call.caller, &call.region, vpn_gateway_id(&call)?).await?;
    json(&VpnGatewayDocument::from(view))
}

async fn update_vpn_gateway(call: Call) -> Answer {
    let (id, update) = (vpn_gateway_id(&call)?, call.body()?.update_vpn_gateway()?);
    if let Some(network) = update.private_network_id {
        // A gateway's network never changes, so reading it before the update is no race.
        let view = call.controller.vpn_gateway(&call.caller, &call.region, id).await?;
        if view.gateway.private_network_id != network {
            let help = "the Private Network of a gateway can't be changed; create a gateway on the other network";
            return Err(Failure(Error::constraint("private_network_id", help)));
        }
    }
    let view = call.controller.update_vpn_gateway(&call.caller, &call.region, id, update.rename).await?;
    json(&VpnGatewayDocument::from(view))
}

/// The only DELETE with a body.
async fn delete_vpn_gateway(call: Call) -> Answer {
    let view = call.controller.delete_vpn_gateway(&call.caller, &call.region, vpn_gateway_id(&call)?).await?;
    json(&VpnGatewayDocument::from(view))
}

async fn list_connections(call: Call) -> Answer {
    let query = call.query();
    let (page, filter) = (query.list(Order::CONNECTIONS), query.connections());
    query.finish()?;
    let connections = call.controller.list_connections(&call.caller, &call.region, &page, &filter).await?;
    json(&list::<_, ConnectionDocument>("connections", connections))
}

async fn create_connection(call: Call) -> Answer {
    let new = call.body()?.new_connection()?;
    let view = call.controller.create_connection(&call.caller, &call.region, new).await?;
    json(&ConnectionWithKeyDocument::from(view))
}

async fn connection(call: Call) -> Answer {
    let view = call.controller.connection(&call.caller, &call.region, connection_id(&call)?).await?;
    json(&ConnectionDocument::from(view))
}

async fn update_connection(call: Call) -> Answer {
    let (id, change) = (connection_id(&call)?, call.body()?.update_connection()?);
    let view = call.controller.update_connection(&call.caller, &call.region, id, change).await?;
    json(&ConnectionDocument::from(view))
}

async fn delete_connection(call: Call) -> Answer {
    call.controller.delete_connection(&call.caller, &call.region, connection_id(&call)?).await?;
    Ok(no_content())
}

async fn renew_psk(call: Call) -> Answer {
    let (id, generate_revision) = (connection_id(&call)?, call.body()?.renew_psk()?);
    let view = call.controller.renew_psk(&call.caller, &call.region, id, generate_revision).await?;
    json(&ConnectionWithKeyDocument::from(view))
}

async fn change_psk(call: Call) -> Answer {
    let (id, (secret, revision)) = (connection_id(&call)?, call.body()?.change_psk()?);
    let view = call.controller.change_psk(&call.caller, &call.region, id, secret, revision).await?;
    json(&WrappedConnectionDocument::from(view))
}

async fn set_routing_policy(call: Call) -> Answer {
    let change = call.body()?.policy_change(connection_id(&call)?)?;
    let view = call.controller.set_routing_policy(&call.caller, &call.region, change).await?;
    json(&ConnectionDocument::from(view))
}

async fn detach_routing_policy(call: Call) -> Answer {
    let change = call.body()?.policy_change(connection_id(&call)?)?;
    let view = call.controller.detach_routing_policy(&call.caller, &call.region, change).await?;
    json(&ConnectionDocument::from(view))
}

async fn enable_route_propagation(call: Call) -> Answer {
    route_propagation(call, true).await
}

async fn disable_route_propagation(call: Call) -> Answer {
    route_propagation(call, false).await
}

async fn route_propagation(call: Call, enabled: bool) -> Answer {
    let id = connection_id(&call)?;
    let view = call.controller.set_route_propagation(&call.caller, &call.region, id, enabled).await?;
    json(&ConnectionDocument::from(view))
}

async fn list_customer_gateways(call: Call) -> Answer {
    let query = call.query();
    let page = query.list(Order::CREATED_NAME);
    query.finish()?;
    let gateways = call.controller.list_customer_gateways(&call.caller, &call.region, &page).await?;
    json(&list::<_, CustomerGatewayDocument>("gateways", gateways))
}

async fn create_customer_gateway(call: Call) -> Answer {
    let new = call.body()?.new_customer_gateway()?;
    let gateway = call.controller.create_customer_gateway(&call.caller, &call.region, new).await?;
    json(&CustomerGatewayDocument::from(gateway))
}

async fn customer_gateway(call: Call) -> Answer {
    let gateway = call.controller.customer_gateway(&call.caller, &call.region, customer_gateway_id(&call)?).await?;
    json(&CustomerGatewayDocument::from(gateway))
}

async fn update_customer_gateway(call: Call) -> Answer {
    let (id, update) = (customer_gateway_id(&call)?, call.body()?.update_customer_gateway()?);
    let (rename, asn, v4, v6) = (update.rename, update.asn, update.public_ipv4, update.public_ipv6);
    let gateway = call.controller.update_customer_gateway(&call.caller, &call.region, id, rename, asn, v4, v6).await?;
    json(&CustomerGatewayDocument::from(gateway))
}

async fn delete_customer_gateway(call: Call) -> Answer {
    call.controller.delete_customer_gateway(&call.caller, &call.region, customer_gateway_id(&call)?).await?;
    Ok(no_content())
}

async fn list_routing_policies(call: Call) -> Answer {
    let query = call.query();
    let (page, is_ipv6) = (query.list(Order::CREATED_NAME), query.boolean("ipv6"));
    query.finish()?;
    let policies = call.controller.list_routing_policies(&call.caller, &call.region, &page, is_ipv6).await?;
    json(&list::<_, RoutingPolicyDocument>("routing_policies", policies))
}

async fn create_routing_policy(call: Call) -> Answer {
    let new = call.body()?.new_routing_policy()?;
    let policy = call.controller.create_routing_policy(&call.caller, &call.region, new).await?;
    json(&RoutingPolicyDocument::from(policy))
}

async fn routing_policy(call: Call) -> Answer {
    let policy = call.controller.routing_policy(&call.caller, &call.region, routing_policy_id(&call)?).await?;
    json(&RoutingPolicyDocument::from(policy))
}

async fn update_routing_policy(call: Call) -> Answer {
    let (id, update) = (routing_policy_id(&call)?, call.body()?.update_routing_policy()?);
    let (rename, prefixes_in, prefixes_out) = (update.rename, update.prefix_filter_in, update.prefix_filter_out);
    let policy = call
        .controller
        .update_routing_policy(&call.caller, &call.region, id, rename, prefixes_in, prefixes_out)
        .await?;
    json(&RoutingPolicyDocument::from(policy))
}

async fn delete_routing_policy(call: Call) -> Answer {
    call.controller.delete_routing_policy(&call.caller, &call.region, routing_policy_id(&call)?).await?;
    Ok(no_content())
}
