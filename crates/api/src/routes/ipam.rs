//! IPAM v1 (wire-api.md §6).

use causeway_model::IpId;
use causeway_wire::document::ipam::IpDocument;
use causeway_wire::query::Order;

use super::list;
use super::table::{Routes, get, many, nothing, one, post};
use crate::answer::{Answer, Failure, json, no_content};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    const P: &str = "/ipam/v1/regions/{region}";
    Routes::new("ipam")
        .route(&format!("{P}/ips"), get(list_ips, many::<IpDocument>("ips")).post(book, one::<IpDocument>()))
        .route(
            &format!("{P}/ips/{{ip_id}}"),
            get(ip, one::<IpDocument>()).patch(update, one::<IpDocument>()).delete(release, nothing()),
        )
        .route(&format!("{P}/ips/{{ip_id}}/attach"), post(attach, one::<IpDocument>()))
        .route(&format!("{P}/ips/{{ip_id}}/detach"), post(detach, one::<IpDocument>()))
        .route(&format!("{P}/ips/{{ip_id}}/move"), post(move_ip, one::<IpDocument>()))
        .route(&format!("{P}/ip-sets/release"), post(release_set, nothing()))
}

fn ip_id(call: &Call) -> Result<IpId, Failure> {
    call.id("ip_id", "ip")
}

async fn list_ips(call: Call) -> Answer {
    let query = call.query();
    let (page, filter) = (query.list(Order::IPS), query.ips());
    query.finish()?;
    let ips = call.controller.list_ips(&call.caller, &call.region, &page, &filter).await?;
    json(&list::<_, IpDocument>("ips", ips))
}

async fn book(call: Call) -> Answer {
    let new = call.body()?.new_ip()?;
    let ip = call.controller.book_ip(&call.caller, &call.region, new).await?;
    json(&IpDocument::from(ip))
}

async fn ip(call: Call) -> Answer {
    let ip = call.controller.ip(&call.caller, &call.region, ip_id(&call)?).await?;
    json(&IpDocument::from(ip))
}

async fn update(call: Call) -> Answer {
    let (id, change) = (ip_id(&call)?, call.body()?.update_ip()?);
    let ip = call.controller.update_ip(&call.caller, &call.region, id, change).await?;
    json(&IpDocument::from(ip))
}

async fn release(call: Call) -> Answer {
    call.controller.release_ip(&call.caller, &call.region, ip_id(&call)?).await?;
    Ok(no_content())
}

async fn attach(call: Call) -> Answer {
    let (id, resource) = (ip_id(&call)?, call.body()?.ip_resource()?);
    let ip = call.controller.attach_ip(&call.caller, &call.region, id, resource).await?;
    json(&IpDocument::from(ip))
}

async fn detach(call: Call) -> Answer {
    let (id, resource) = (ip_id(&call)?, call.body()?.ip_resource()?);
    let ip = call.controller.move_ip(&call.caller, &call.region, id, ("resource", resource), None).await?;
    json(&IpDocument::from(ip))
}

/// Without `to_resource`: the address is detached.
async fn move_ip(call: Call) -> Answer {
    let (id, (from, to)) = (ip_id(&call)?, call.body()?.move_ip()?);
    let ip = call.controller.move_ip(&call.caller, &call.region, id, ("from_resource", from), to).await?;
    json(&IpDocument::from(ip))
}

async fn release_set(call: Call) -> Answer {
    let ids = call.body()?.ip_ids()?;
    call.controller.release_ips(&call.caller, &call.region, &ids).await?;
    Ok(no_content())
}
