//! A connection's options, and what proves or ends its keys now; a link's options (wire-ext.md §1).

use causeway_controller::{ConnectionOptions, LinkOptions};
use causeway_model::{ConnectionId, LinkId};
use causeway_wire::document::options::{
    BgpOptionsDocument, ConnectionOptionsDocument, DpdOptionsDocument, LifetimesDocument, LinkOptionsDocument,
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
        .route(
            "/causeway/v1/regions/{region}/links/{id}/options",
            get(link_options, one::<LinkOptionsDocument>()).patch(update_link_options, one::<LinkOptionsDocument>()),
        )
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

fn link_id(call: &Call) -> Result<LinkId, Failure> {
    call.id("id", "link")
}

async fn link_options(call: Call) -> Answer {
    let options = call.controller.link_options(&call.caller, &call.region, link_id(&call)?).await?;
    json(&of_link(options))
}

async fn update_link_options(call: Call) -> Answer {
    let change = call.body()?.update_link_options()?;
    let id = link_id(&call)?;
    json(&of_link(call.controller.update_link_options(&call.caller, &call.region, id, change).await?))
}

fn of_link(options: LinkOptions) -> LinkOptionsDocument {
    let LinkOptions { hold_time, max_prefixes, md5, gtsm } = options;
    let (md5_secret_id, md5_secret_revision) = md5.unzip();
    LinkOptionsDocument {
        bgp: BgpOptionsDocument { gtsm, hold_time, max_prefixes, md5_secret_id, md5_secret_revision },
    }
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
