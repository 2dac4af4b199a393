//! More to store than the service can: it says so at once, and what it can do meanwhile it does.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use causeway_api::Memory;
use hyper::body::Frame;
use serde_json::json;
use tokio::sync::mpsc;
use tower::ServiceExt;

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
    let stranger = Request::post(format!("{VPC}/vpcs")).body("{}".into()).expect("a request");
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
async fn who_does_not_take_answers_gets_no_more_of_them_and_others_do() {
    let mut service = Service::start().await;
    let tag = "t".repeat(255);
    for _ in 0..20 {
        let vpc = json!({"name": "v", "tags": vec![&tag; 16]});
        service.post(&format!("{VPC}/vpcs"), &vpc).await.ok();
    }
    let page = format!("{VPC}/vpcs?page_size=100");
    let length = service.get(&page).await.text.len();
    service.give_memory(Memory { of_key: length * 3, of_all: length * 5 });
    let other = service.post("/causeway/v1/operator/api-keys", &json!({"role": "operator"})).await.ok();
    let other = other["secret_key"].as_str().expect("a key").to_owned();
    let open = async |key: &str| {
        let request = Request::get(&page).header("x-auth-token", key).body(Body::empty()).expect("a request");
        service.router.clone().oneshot(request).await.expect("infallible")
    };
    let own = service.secret_key.clone();
    let mut untaken = Vec::new();
    for _ in 0..3 {
        let answer = open(&own).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        untaken.push(answer);
    }
    let refused = service.get(&page).await;
    let help = refused.error(503, "unavailable")["help_message"].as_str().expect("a text").to_owned();
    assert!(help.contains("page_size"), "{help}");
    assert_eq!(refused.headers["retry-after"], "1");
    untaken.push(open(&other).await);
    untaken.push(open(&other).await);
    assert!(untaken.iter().all(|answer| answer.status() == 200));
    assert_eq!(open(&other).await.status(), 503, "all together have what they may");
    untaken.remove(0);
    service.get(&page).await.ok();
}

/// A body whose pieces come when the test sends them.
struct Coming(mpsc::Receiver<Bytes>);

impl HttpBody for Coming {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_to_its_end_counts_as_far_as_it_has_come() {
    let mut service = Service::start().await;
    let page = format!("{VPC}/vpcs");
    let length = service.get(&page).await.text.len();
    let most = 1 << 20;
    service.give_memory(Memory { of_key: most + length - 1, of_all: usize::MAX });
    let (sender, receiver) = mpsc::channel(1);
    let request = Request::post(&page).header("x-auth-token", &service.secret_key);
    let request = request.body(Body::new(Coming(receiver))).expect("a request");
    let request = tokio::spawn(service.router.clone().oneshot(request));
    sender.send(vec![b' '; most - 1].into()).await.expect("it is read");
    // The second empty piece fits in when the first was taken, and that is asked for when the octets before it are kept.
    for _ in 0..2 {
        sender.send(Bytes::new()).await.expect("it is read");
    }
    service.get(&page).await.error(503, "unavailable");
    drop(sender);
    let answer = request.await.expect("no panic").expect("infallible");
    assert_eq!(answer.status(), 400, "spaces are no JSON");
    drop(answer);
    service.get(&page).await.ok();
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
