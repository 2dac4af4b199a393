//! Many clients at once on the same objects, while a node acknowledges what they do: gateways become active and go, reports come in between,
//! and deletions that the clients began are ended by the node.

use causeway_load::check;
use causeway_load::client::Endpoint;
use causeway_load::contend::{self, Kind, Shared, Until};
use tokio::net::TcpListener;

use crate::service::Service;

/// Times that the clients go on until something of every kind was deleted.
const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_and_allocations_stay_consistent_while_a_node_answers() {
    let service = Service::start_roomy().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = Endpoint {
        address: listener.local_addr().expect("an address"),
        token: service.secret_key.clone(),
        project: service.project_id.clone(),
        region: "fr-par".to_owned(),
    };
    let serving = tokio::spawn(causeway_api::serve(listener, None, service.router.clone(), std::future::pending()));
    let vpc = contend::prepare(&endpoint).await.expect("prepared");
    let known = Shared::default();
    let ends = [Kind::Connection, Kind::Policy, Kind::Customer, Kind::Gateway, Kind::Ip];
    // A gateway is deleted only by who meets it when its node has acknowledged everything: how soon that is depends on the machine.
    for _ in 0..ROUNDS {
        contend::run(&endpoint, &vpc, 3, Until::Calls(250), &known).await.expect("every call is answered");
        let known = known.lock();
        if ends.iter().all(|kind| known.deleted.iter().any(|(deleted, _)| deleted == kind)) {
            break;
        }
    }
    let known = std::mem::take(&mut *known.lock());
    for kind in Kind::ALL {
        assert!(known.created.iter().any(|(created, _)| *created == kind), "no {kind:?} was created");
    }
    for kind in ends {
        assert!(known.deleted.iter().any(|(deleted, _)| *deleted == kind), "no {kind:?} was deleted");
    }
    check::settle(&endpoint, &known).await.expect("what is deleted goes");
    let faults = check::faults(&endpoint, &known, true).await.expect("looked at");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let remains = check::remains(&endpoint).await.expect("deleted");
    assert!(remains.is_empty(), "{}", remains.join("\n"));
    serving.abort();
}
