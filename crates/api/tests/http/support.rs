//! Whom tenants turn to: every remedy that sends them to the operator's support says where that is (system.md §4).

use serde_json::{Value, json};

use super::extension::{connected, open_with, read};
use crate::service::{EXTENSION, Service};

const SETTINGS: &str = "/causeway/v1/operator/settings";

async fn remedy(service: &Service, path: &str) -> String {
    let state = service.get(&format!("{EXTENSION}/{path}/state")).await.ok();
    assert_eq!(state["reason"]["code"], "locked", "{state}");
    state["reason"]["remedy"].as_str().expect("a remedy").to_owned()
}

#[tokio::test]
async fn a_remedy_names_the_support_contact_wherever_it_is_shown() {
    let service = Service::start().await;
    let (gateway, connection) = connected(&service).await;
    let set = |contact: Value| json!({"support_contact": contact}).to_string();
    service.call("PATCH", SETTINGS, &set(json!("https://help.example.net"))).await.ok();
    for (kind, id) in [("vpn-gateways", &gateway), ("connections", &connection)] {
        service.post(&format!("/causeway/v1/{kind}/{id}/lock"), &json!({"reason": "r"})).await.ok();
        let remedy = remedy(&service, &format!("{kind}/{id}")).await;
        assert!(remedy.contains("support contact (https://help.example.net)"), "{remedy}");
        let path = format!("{EXTENSION}/{kind}/{id}/events");
        let history = service.get(&path).await.ok();
        let events = history["events"].as_array().expect("a list");
        let locked = events.iter().find(|event| event["reason"]["code"] == "locked");
        let Some(locked) = locked else { continue };
        assert_eq!(locked["reason"]["remedy"], json!(remedy));
        let whole = format!("{path}?follow=true&after=0");
        let (_, _, mut stream) = open_with(&service, &service.secret_key, &whole, &[]).await;
        read(&mut stream, Some("support contact (https://help.example.net)")).await;
    }
    // As it is at the moment of reading.
    service.call("PATCH", SETTINGS, &set(json!("+33 1 23 45 67 89"))).await.ok();
    assert!(
        remedy(&service, &format!("connections/{connection}")).await.contains("support contact (+33 1 23 45 67 89)")
    );
    service.call("PATCH", SETTINGS, &set(Value::Null)).await.ok();
    assert!(remedy(&service, &format!("connections/{connection}")).await.ends_with("support contact"));
}
