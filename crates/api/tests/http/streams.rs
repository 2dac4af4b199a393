//! Streams of events while nothing happens: that they are alive, and that they end with what they rest on.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::extension::{PATIENCE, connected, open_with, read, settled};
use crate::service::{EXTENSION, Service};

/// Short, so that many fit into a test.
const HEARTBEAT: Duration = Duration::from_millis(20);

/// A tenant's key: its access key and its secret.
async fn key(service: &Service) -> (String, String) {
    let key = json!({"role": "tenant", "project_id": service.project_id});
    let key = service.post("/causeway/v1/operator/api-keys", &key).await.ok();
    let text = |name: &str| key[name].as_str().expect("a string").to_owned();
    (text("access_key"), text("secret_key"))
}

#[tokio::test]
async fn a_silent_stream_says_that_it_is_alive() {
    let service = Service::start().await.with_heartbeat(HEARTBEAT);
    let (gateway, connection) = connected(&service).await;
    for path in [format!("vpn-gateways/{gateway}"), format!("connections/{connection}")] {
        let (status, _, mut stream) =
            open_with(&service, &service.secret_key, &format!("{EXTENSION}/{path}/events?follow=true"), &[]).await;
        assert_eq!(status, 200);
        // A comment, which every client of such streams passes over.
        read(&mut stream, Some("\n\n:\n\n:\n\n")).await;
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let service = Service::start().await.with_heartbeat(HEARTBEAT);
    let (gateway, _) = connected(&service).await;
    let (access_key, secret_key) = key(&service).await;
    let (_, other) = key(&service).await;
    let path = format!("{EXTENSION}/vpn-gateways/{gateway}/events?follow=true");
    let (status, _, mut stream) = open_with(&service, &secret_key, &path, &[]).await;
    let (_, _, mut spared) = open_with(&service, &other, &path, &[]).await;
    assert_eq!(status, 200);
    read(&mut stream, Some("\n\n")).await;
    assert_eq!(service.delete(&format!("/causeway/v1/operator/api-keys/{access_key}")).await.status, 204);
    let text = read(&mut stream, None).await;
    assert!(text.ends_with("event: end\ndata: {\"reason\":\"denied\"}\n\n"), "{text}");
    assert_eq!(open_with(&service, &secret_key, &path, &[]).await.0, 401, "nor is there another one");
    read(&mut spared, Some("\n\n:\n\n")).await;
}

#[tokio::test]
async fn a_place_in_the_future_or_of_no_number_is_none() {
    let service = Service::start().await.with_heartbeat(HEARTBEAT);
    let (gateway, connection) = connected(&service).await;
    settled(&service, &gateway, &connection).await;
    let path = format!("{EXTENSION}/vpn-gateways/{gateway}/events");
    // What is no number is no place, so that the stream begins now.
    let headers = [("last-event-id", "x"), ("accept", "text/event-stream")];
    let (status, _, mut stream) = open_with(&service, &service.secret_key, &path, &headers).await;
    assert_eq!(status, 200);
    let text = read(&mut stream, Some("\n\n:\n\n")).await;
    assert!(!text.contains("data: "), "{text}");
    // Beyond all numbers there is nothing to tell.
    let headers = [("last-event-id", "18446744073709551615"), ("accept", "text/event-stream")];
    let (status, _, mut stream) = open_with(&service, &service.secret_key, &path, &headers).await;
    assert_eq!(status, 200);
    let text = read(&mut stream, Some("\n\n:\n\n")).await;
    assert!(!text.contains("data: "), "{text}");
}

#[tokio::test]
async fn many_followers_are_told_the_same() {
    let service = Service::start().await;
    let (gateway, _) = connected(&service).await;
    let path = format!("{EXTENSION}/vpn-gateways/{gateway}/events?follow=true");
    let mut streams = Vec::new();
    for _ in 0..10 {
        let (_, key) = key(&service).await;
        let (status, _, mut stream) = open_with(&service, &key, &path, &[]).await;
        assert_eq!(status, 200);
        read(&mut stream, Some("retry: ")).await;
        streams.push(stream);
    }
    let public = format!("{}/vpn-gateways/{gateway}", crate::service::S2S);
    let renamed = async {
        // While it is being configured, a gateway takes no change.
        while service.call("PATCH", &public, r#"{"name":"renamed"}"#).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, renamed).await.expect("a change");
    for stream in &mut streams {
        read(stream, Some("\"subject\":\"update\"")).await;
    }
}
