//! More to store than the service can: it says so at once, and what it can do meanwhile it does.

use std::time::Duration;

use serde_json::json;

use crate::service::{Service, VPC};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_change_that_would_wait_too_long_is_put_off() {
    let service = Service::start().await;
    // Turns that last, one after the other, so that the queue knows its pace.
    let mut held = service.store.write().await.expect("a turn");
    for _ in 0..3 {
        let store = service.store.clone();
        let next = tokio::spawn(async move { store.write().await.expect("a turn") });
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(held);
        held = next.await.expect("no panic");
    }
    let mut queue = Vec::new();
    while service.controller.backlog() < Duration::from_secs(10) {
        let store = service.store.clone();
        queue.push(tokio::spawn(async move { drop(store.write().await) }));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let refused = service.post(&format!("{VPC}/vpcs"), &json!({"name": "v"})).await;
    assert!(refused.error(503, "unavailable")["help_message"].as_str().is_some_and(|help| help.contains("later")));
    let seconds: u64 = refused.headers["retry-after"].to_str().expect("text").parse().expect("a number");
    assert!(seconds >= 10, "{seconds}");
    // A stranger is told nothing of it, and reading goes on.
    let stranger = axum::http::Request::post(format!("{VPC}/vpcs")).body("{}".into()).expect("a request");
    service.send(stranger).await.error(401, "denied_authentication");
    assert_eq!(
        service.get(&format!("{VPC}/vpcs")).await.ok()["vpcs"].as_array().map(Vec::len),
        Some(1),
        "the default one"
    );
    drop(held);
    for waiting in queue {
        waiting.await.expect("no panic");
    }
    service.post(&format!("{VPC}/vpcs"), &json!({"name": "v"})).await.ok();
}

#[tokio::test]
async fn only_a_service_that_can_write_is_ready() {
    let service = Service::start().await;
    let held = service.store.write().await.expect("a turn");
    let asked = service.get("/readyz");
    let answered = tokio::time::timeout(Duration::from_millis(300), asked).await;
    assert!(answered.is_err(), "reading alone proves nothing");
    drop(held);
    service.get("/readyz").await.ok();
    service.store.close().await;
    service.get("/readyz").await.error(503, "unavailable");
}
