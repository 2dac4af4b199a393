//! A connection's options, and what proves or ends its keys now (wire-ext.md §1).

use causeway_controller::ConnectionOptions;
use causeway_model::ConnectionId;
use causeway_wire::document::options::{
    BgpOptionsDocument, ConnectionOptionsDocument, DpdOptionsDocument, LifetimesDocument,
};
use causeway_wire::document::s2s::ConnectionDocument;
use causeway_wire::request::options::TUNNELS;

use super::table::{Routes, get, one, post};
use crate::answer::{Answer, Failure, json};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    const C: &str = "/causeway/v1/regions/{region}/connections/{id}";
    Routes::new("extension")
        .route(
            &format!("{C}/options"),
            get(connection_options, one::<ConnectionOptionsDocument>())
                .patch(update_connection_options, one::<ConnectionOptionsDocument>()),
        )
        .route(&format!("{C}/reauthenticate"), post(reauthenticate, one::<ConnectionDocument>()))
        .route(&format!("{C}/revoke-previous-psk"), post(revoke_previous_psk, one::<ConnectionDocument>()))
}

fn id(call: &Call) -> Result<ConnectionId, Failure> {
    call.id("id", "connection")
}

async fn connection_options(call: Call) -> Answer {
    let options = call.controller.connection_options(&call.caller, &call.region, id(&call)?).await?;
    json(&document(options))
}

async fn update_connection_options(call: Call) -> Answer {
    let change = call.body()?.update_options()?;
    let id = id(&call)?;
    let options = call.controller.update_connection_options(&call.caller, &call.region, id, change).await?;
    json(&document(options))
}

async fn reauthenticate(call: Call) -> Answer {
    let view = call.controller.reauthenticate(&call.caller, &call.region, id(&call)?).await?;
    json(&ConnectionDocument::from(view))
}

async fn revoke_previous_psk(call: Call) -> Answer {
    let view = call.controller.revoke_previous_psk(&call.caller, &call.region, id(&call)?).await?;
    json(&ConnectionDocument::from(view))
}

fn document(options: ConnectionOptions) -> ConnectionOptionsDocument {
    let tunnels = TUNNELS.into_iter().find(|(tunnels, _)| *tunnels == options.tunnels);
    ConnectionOptionsDocument {
        bgp: BgpOptionsDocument {
            gtsm: options.gtsm,
            hold_time: options.hold_time,
            max_prefixes: options.max_prefixes,
            md5_secret_id: options.md5.map(|(id, _)| id),
            md5_secret_revision: options.md5.map(|(_, revision)| revision),
        },
        dpd: DpdOptionsDocument { delay: options.dpd_delay, timeout: options.dpd_timeout },
        lifetimes: LifetimesDocument {
            child: options.child_lifetime,
            child_packets: options.child_packets,
            ike: options.ike_lifetime,
        },
        peer_identity: options.peer_identity,
        psk_overlap: options.psk_overlap,
        tunnels: tunnels.map_or("", |(_, word)| word),
    }
}
