//! Many clients at once on the same objects, over HTTP, against the program as it is. Which of two calls wins may differ from run to run;
//! that both ends of each reference agree, that nothing is allotted twice and that nothing leaks may not.

use anyhow::{Result, ensure};
use causeway_load::contend::{Kind, Shared, Until};
use causeway_load::service::Service;
use causeway_load::{check, contend};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_and_allocations_stay_consistent() -> Result<()> {
    let (service, endpoint) = Service::start(&Service::program()?).await?;
    let vpc = contend::prepare(&endpoint).await?;
    let known = Shared::default();
    contend::run(&endpoint, &vpc, 1, Until::Calls(250), &known).await?;
    let known = std::mem::take(&mut *known.lock());
    for kind in Kind::ALL {
        ensure!(known.created.iter().any(|(created, _)| *created == kind), "no {kind:?} was created");
    }
    // Gateways wait for their first node, and with them their network, until all that is left is deleted.
    for kind in [Kind::Connection, Kind::Policy, Kind::Customer, Kind::Ip] {
        ensure!(known.deleted.iter().any(|(deleted, _)| *deleted == kind), "no {kind:?} was deleted");
    }
    check::settle(&endpoint, &known).await?;
    let faults = check::faults(&endpoint, &known, true).await?;
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    let remains = check::remains(&endpoint).await?;
    ensure!(remains.is_empty(), "{}", remains.join("\n"));
    service.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_a_kill() -> Result<()> {
    let (mut service, endpoint) = Service::start(&Service::program()?).await?;
    let vpc = contend::prepare(&endpoint).await?;
    let known = Shared::default();
    let running = {
        let (endpoint, known) = (endpoint.clone(), known.clone());
        tokio::spawn(async move { contend::run(&endpoint, &vpc, 2, Until::Calls(usize::MAX), &known).await })
    };
    while known.lock().created.len() < 200 {
        ensure!(!running.is_finished(), "the clients have ended: {:?}", running.await);
        tokio::task::yield_now().await;
    }
    let endpoint = service.kill_and_restart().await?;
    ensure!(running.await?.is_err(), "the clients have noticed nothing");
    let known = std::mem::take(&mut *known.lock());
    check::settle(&endpoint, &known).await?;
    let faults = check::faults(&endpoint, &known, false).await?;
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    service.stop().await
}
