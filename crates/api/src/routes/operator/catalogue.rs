//! Regions, zones, gateway types and public pools.

use causeway_controller::{GatewayTypeOffer, PublicPool, Zone};
use causeway_model::Error;
use causeway_model::resource::GatewayType;
use causeway_wire::document::operator::{GatewayTypeOfferDocument, PublicPoolDocument, RegionDocument, ZoneDocument};
use ipnet::IpNet;

use super::{O, paged};
use crate::answer::{Answer, Failure, json, no_content};
use crate::call::Call;
use crate::routes::table::{Routes, get, many, nothing, one};

pub(super) fn routes() -> Routes {
    Routes::new("operator")
        .route(&format!("{O}/regions"), get(list_regions, many::<RegionDocument>("regions")))
        .route(
            &format!("{O}/zones"),
            get(list_zones, many::<ZoneDocument>("zones")).post(add_zone, one::<ZoneDocument>()),
        )
        .route(&format!("{O}/zones/{{zone}}"), get(zone, one::<ZoneDocument>()).delete(remove_zone, nothing()))
        .route(
            &format!("{O}/gateway-types"),
            get(list_gateway_types, many::<GatewayTypeOfferDocument>("gateway_types"))
                .post(create_gateway_type, one::<GatewayTypeOfferDocument>()),
        )
        .route(
            &format!("{O}/gateway-types/{{name}}"),
            get(gateway_type, one::<GatewayTypeOfferDocument>())
                .patch(update_gateway_type, one::<GatewayTypeOfferDocument>())
                .delete(delete_gateway_type, nothing()),
        )
        .route(
            &format!("{O}/public-pools"),
            get(list_public_pools, many::<PublicPoolDocument>("public_pools"))
                .post(add_public_pool, one::<PublicPoolDocument>()),
        )
        // A prefix as it is written, so that nothing in it needs to be encoded.
        .route(
            &format!("{O}/public-pools/{{zone}}/{{address}}/{{length}}"),
            get(public_pool, one::<PublicPoolDocument>()).delete(remove_public_pool, nothing()),
        )
}

async fn list_regions(call: Call) -> Answer {
    let query = call.query();
    let wanted = query.page();
    query.finish()?;
    let controller = &call.controller;
    let zones = controller.list_zones(&call.caller, controller.region()).await?;
    let region = RegionDocument {
        currency: controller.currency(),
        name: controller.region().to_owned(),
        provider_asn: controller.provider_asn(),
        zones: zones.into_iter().map(|zone| zone.name).collect(),
    };
    json(&paged("regions", vec![region], wanted, |region| region))
}

async fn list_zones(call: Call) -> Answer {
    let query = call.query();
    let wanted = query.page();
    query.finish()?;
    let zones = call.controller.list_zones(&call.caller, call.controller.region()).await?;
    json(&paged("zones", zones, wanted, zone_document))
}

async fn zone(call: Call) -> Answer {
    let zones = call.controller.list_zones(&call.caller, call.controller.region()).await?;
    let name = call.param("zone");
    let zone = zones.into_iter().find(|zone| zone.name == name).ok_or_else(|| missing("zone", name))?;
    json(&zone_document(zone))
}

async fn add_zone(call: Call) -> Answer {
    let name = call.body()?.new_zone()?;
    let zone = call.controller.add_zone(&call.caller, call.controller.region(), &name).await?;
    json(&zone_document(zone))
}

async fn remove_zone(call: Call) -> Answer {
    call.controller.remove_zone(&call.caller, call.controller.region(), call.param("zone")).await?;
    Ok(no_content())
}

async fn list_gateway_types(call: Call) -> Answer {
    let query = call.query();
    let wanted = query.page();
    query.finish()?;
    let offers = call.controller.gateway_type_offers(&call.caller, call.controller.region()).await?;
    json(&paged("gateway_types", offers, wanted, |offer| offer_document(&call, offer)))
}

async fn gateway_type(call: Call) -> Answer {
    let offers = call.controller.gateway_type_offers(&call.caller, call.controller.region()).await?;
    let name = call.param("name");
    let offer = offers.into_iter().find(|offer| offer.gateway_type.name == name);
    json(&offer_document(&call, offer.ok_or_else(|| missing("gateway_type", name))?))
}

async fn create_gateway_type(call: Call) -> Answer {
    let new = call.body()?.new_gateway_type()?;
    let region = call.controller.region();
    let zones = match new.zones {
        Some(zones) => zones,
        None => call.controller.zones().await?,
    };
    let gateway_type = GatewayType {
        name: new.name,
        bandwidth: new.bandwidth,
        allowed_connections: new.allowed_connections,
        zones,
        region: region.to_owned(),
    };
    let offer = GatewayTypeOffer { gateway_type, price_per_hour: new.price_per_hour };
    let offer = call.controller.create_gateway_type(&call.caller, region, offer).await?;
    json(&offer_document(&call, offer))
}

async fn update_gateway_type(call: Call) -> Answer {
    let change = call.body()?.update_gateway_type()?;
    let (region, name) = (call.controller.region(), call.param("name"));
    let offer = call.controller.update_gateway_type(&call.caller, region, name, change).await?;
    json(&offer_document(&call, offer))
}

async fn delete_gateway_type(call: Call) -> Answer {
    call.controller.delete_gateway_type(&call.caller, call.controller.region(), call.param("name")).await?;
    Ok(no_content())
}

async fn list_public_pools(call: Call) -> Answer {
    let query = call.query();
    let zone = query.text("zone");
    let wanted = query.page();
    query.finish()?;
    let pools = call.controller.public_pools(&call.caller, call.controller.region(), zone.as_deref()).await?;
    json(&paged("public_pools", pools, wanted, pool_document))
}

async fn add_public_pool(call: Call) -> Answer {
    let (zone, prefix) = call.body()?.new_public_pool()?;
    let pool = call.controller.add_public_pool(&call.caller, call.controller.region(), &zone, prefix).await?;
    json(&pool_document(pool))
}

async fn public_pool(call: Call) -> Answer {
    let (zone, prefix) = named_pool(&call)?;
    let pools = call.controller.public_pools(&call.caller, call.controller.region(), Some(&zone)).await?;
    let pool = pools.into_iter().find(|pool| pool.prefix == prefix);
    json(&pool_document(pool.ok_or_else(|| missing("public_pool", prefix))?))
}

async fn remove_public_pool(call: Call) -> Answer {
    let (zone, prefix) = named_pool(&call)?;
    call.controller.remove_public_pool(&call.caller, call.controller.region(), &zone, prefix).await?;
    Ok(no_content())
}

/// What is no prefix names no pool.
fn named_pool(call: &Call) -> Result<(String, IpNet), Failure> {
    let text = format!("{}/{}", call.param("address"), call.param("length"));
    let prefix = text.parse().map_err(|_| missing("public_pool", &text))?;
    Ok((call.param("zone").to_owned(), prefix))
}

fn missing(resource: &'static str, id: impl ToString) -> Failure {
    Failure(Error::NotFound { resource, id: id.to_string() })
}

fn zone_document(zone: Zone) -> ZoneDocument {
    ZoneDocument { name: zone.name, public_pools: zone.pools, region: zone.region }
}

fn offer_document(call: &Call, offer: GatewayTypeOffer) -> GatewayTypeOfferDocument {
    let gateway_type = offer.gateway_type;
    GatewayTypeOfferDocument {
        allowed_connections: gateway_type.allowed_connections,
        bandwidth: gateway_type.bandwidth,
        currency: call.controller.currency(),
        name: gateway_type.name,
        price_per_hour: offer.price_per_hour,
        region: gateway_type.region,
        zones: gateway_type.zones,
    }
}

fn pool_document(pool: PublicPool) -> PublicPoolDocument {
    PublicPoolDocument { prefix: pool.prefix, used: pool.used, zone: pool.zone }
}
