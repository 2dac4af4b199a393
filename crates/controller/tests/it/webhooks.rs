//! Webhooks: who is told what, signed how, and how often it is tried.

use std::collections::BTreeMap;

use causeway_controller::{EventQuery, Outgoing, PartnerAction, WebhookRules};
use causeway_crypto::hmac_sha256;
use causeway_model::command::{NewWebhook, PartnerChange, PortChange, WebhookChange};
use causeway_model::resource::{Caller, Role};
use causeway_model::status::LinkStatus;
use causeway_model::{LinkId, ReasonCode, Timestamp, WebhookId};
use causeway_store::Store;
use serde_json::Value;
use uuid::Uuid;

use crate::harness::{FakeNode, REGION, World, ZONE, kind, list, until};
use crate::interlink::DAY;

const URL: &str = "https://hooks.example.net/in";

fn wanted(url: &str, events: &[&str]) -> NewWebhook {
    NewWebhook { url: url.to_owned(), events: events.iter().map(ToString::to_string).collect() }
}

pub(crate) async fn made(world: &World, caller: &Caller, events: &[&str]) -> (WebhookId, String) {
    let made = world.controller.create_webhook(caller, wanted(URL, events)).await.expect("made");
    (made.webhook.id, made.secret.as_str().to_owned())
}

/// The kinds of events that a webhook was told, oldest first.
pub(crate) async fn told(world: &World, caller: &Caller, id: WebhookId) -> Vec<String> {
    let page = world.controller.webhook_deliveries(caller, id, &list()).await.expect("its own");
    page.items.into_iter().rev().map(|delivery| delivery.event).collect()
}

fn body(outgoing: &Outgoing) -> Value {
    serde_json::from_str(&outgoing.body).expect("JSON")
}

#[tokio::test]
async fn every_party_is_told_of_its_own_links_and_the_partner_only_if_switched_on() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let tenant = world.caller(Role::Tenant, world.operator.project_id).await;
    let stranger = world.tenant().await;
    let (of_tenant, _) = made(&world, &tenant, &[]).await;
    let (of_stranger, _) = made(&world, &stranger, &[]).await;
    let (of_operator, _) = made(&world, &world.operator, &["link.failed", "link.expired"]).await;
    let (of_partner, _) = made(&world, &catalogue.as_partner, &[]).await;
    let id = world.order(catalogue.hosted(50)).await.link.id;
    assert_eq!(told(&world, &tenant, of_tenant).await, ["link.requested"]);
    assert!(told(&world, &catalogue.as_partner, of_partner).await.is_empty(), "the tenant asks the partner");
    let notify = PartnerChange { notify: Some(true), ..PartnerChange::default() };
    c.update_partner(&world.operator, catalogue.partner.id, notify).await.expect("switched on");
    world.pass(3 * DAY + 1).await;
    assert_eq!(told(&world, &tenant, of_tenant).await, ["link.requested", "link.reminder"]);
    assert_eq!(told(&world, &catalogue.as_partner, of_partner).await, ["link.reminder"]);
    FakeNode::attach(c).await.run();
    for action in [PartnerAction::Accept, PartnerAction::Provisioned] {
        c.act_as_partner(&catalogue.as_partner, id, action).await.expect("in order");
    }
    let active = async || c.link(&tenant, REGION, id).await.expect("there").status == LinkStatus::Active;
    until(c, active).await;
    // What the node is given in between is nobody's news.
    c.set_link_propagation(&tenant, REGION, id, true).await.expect("on");
    until(c, active).await;
    c.act_as_partner(&catalogue.as_partner, id, PartnerAction::StartDeprovisioning).await.expect("in order");
    let refused = world.order(catalogue.hosted(50)).await.link.id;
    let no = PartnerAction::Refuse("no such customer".to_owned());
    c.act_as_partner(&catalogue.as_partner, refused, no).await.expect("refused");
    world.order(catalogue.hosted(50)).await;
    world.pass(10 * DAY + 1).await;
    let seen = told(&world, &tenant, of_tenant).await;
    for event in
        ["link.accepted", "link.active", "link.deletion_waiting", "link.refused", "link.expired", "link.reminder"]
    {
        assert!(seen.iter().any(|told| told == event), "{event}: {seen:?}");
    }
    assert_eq!(seen.iter().filter(|told| *told == "link.active").count(), 1, "{seen:?}");
    assert_eq!(told(&world, &world.operator, of_operator).await, ["link.expired"], "what it asked for");
    assert!(told(&world, &stranger, of_stranger).await.is_empty());

    let mut outgoing = Vec::new();
    loop {
        let round = c.outgoing(100, &BTreeMap::new()).await.expect("read");
        if round.is_empty() {
            break;
        }
        assert!(round.len() <= 3, "one of each webhook at once");
        for one in round {
            outgoing.push(one.clone());
            c.sent(one, Ok(())).await.expect("noted");
        }
    }
    let of = |event: &str, field: &str| {
        let found = outgoing.iter().map(body).find(|body| body["type"] == event && !body["data"][field].is_null());
        found.unwrap_or_else(|| panic!("{event} with {field}"))
    };
    assert_eq!(of("link.refused", "project_id")["data"]["disapproved_reason"], "no such customer");
    assert_eq!(of("link.accepted", "project_id")["data"]["link_id"], id.to_string());
    let to_partner = of("link.accepted", "pairing_key");
    assert!(to_partner["data"]["name"].is_null() && to_partner["data"]["project_id"].is_null(), "{to_partner}");
}

#[tokio::test]
async fn an_order_that_fails_is_told_to_the_operator() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let (of_operator, _) = made(&world, &world.operator, &["link.failed"]).await;
    let off = PortChange { enabled: Some(false), ..PortChange::default() };
    c.update_port(&world.operator, catalogue.port.id, off).await.expect("off");
    let id = world.order(catalogue.hosted(50)).await.link.id;
    assert!(told(&world, &world.operator, of_operator).await.is_empty(), "it has its time");
    world.pass(31).await;
    assert_eq!(told(&world, &world.operator, of_operator).await, ["link.failed"]);
    let outgoing = c.outgoing(100, &BTreeMap::new()).await.expect("read");
    let [one] = outgoing.as_slice() else { panic!("one: {}", outgoing.len()) };
    assert_eq!((&body(one)["type"], &body(one)["data"]["link_id"]), (&"link.failed".into(), &id.to_string().into()));
}

#[tokio::test]
async fn what_happens_under_a_lock_is_told_when_it_happens() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let (hook, _) = made(&world, &world.operator, &[]).await;
    let mut expected = Vec::new();
    let mut next = async |events: &[&str]| {
        expected.extend(events.iter().map(ToString::to_string));
        assert_eq!(told(&world, &world.operator, hook).await, expected);
    };
    let locked = async |lock: bool, id: LinkId| {
        let reason = lock.then(|| "abuse".to_owned());
        c.set_link_locked(&world.operator, REGION, id, reason).await.expect("set").status
    };
    let acts = async |id: LinkId, action: PartnerAction| {
        let state = c.act_as_partner(&catalogue.as_partner, id, action).await.expect("in order");
        assert_eq!(state.statuses.status, LinkStatus::Locked);
    };
    let order = async || world.order(catalogue.hosted(50)).await.link.id;

    let served = order().await;
    locked(true, served).await;
    next(&["link.requested", "link.locked"]).await;
    acts(served, PartnerAction::Accept).await;
    next(&["link.accepted"]).await;
    acts(served, PartnerAction::Provisioned).await;
    next(&["link.active"]).await;
    assert_ne!(locked(false, served).await, LinkStatus::Locked);
    next(&["link.unlocked"]).await;
    let query = EventQuery { after: None, before: None, limit: 200 };
    let events = c.link_events(&world.operator, REGION, served, &query).await.expect("events");
    let hidden: Vec<_> = events.iter().filter_map(|event| event.details.get("lifecycle")).collect();
    assert_eq!(hidden, ["in service", "provisioning"], "newest first");

    let refused = order().await;
    locked(true, refused).await;
    acts(refused, PartnerAction::Refuse("no such customer".to_owned())).await;
    next(&["link.requested", "link.locked", "link.refused"]).await;
    assert_eq!(locked(false, refused).await, LinkStatus::Refused);
    next(&["link.unlocked"]).await;

    let expired = order().await;
    locked(true, expired).await;
    next(&["link.requested", "link.locked"]).await;
    for days in [3, 4, 2] {
        world.pass(days * DAY + 1).await;
        next(&["link.reminder"]).await;
    }
    world.pass(DAY).await;
    next(&["link.expired"]).await;
    assert_eq!(locked(false, expired).await, LinkStatus::Expired);
    next(&["link.unlocked"]).await;

    c.act_as_partner(&catalogue.as_partner, served, PartnerAction::StartDeprovisioning).await.expect("in order");
    let state = world.controller.link_state(&world.operator, REGION, served).await.expect("there");
    assert_eq!(state.reason.expect("a reason").code, ReasonCode::AwaitingTenantDeletion);
    assert_eq!(locked(true, served).await, LinkStatus::Deprovisioning, "a lock does not show");
    next(&["link.deletion_waiting", "link.locked"]).await;
}

#[tokio::test]
async fn deliveries_are_signed_tried_again_and_given_up() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let (id, secret) = made(&world, &world.operator, &["link.requested"]).await;
    world.order(catalogue.hosted(50)).await;
    let [first] = c.outgoing(10, &BTreeMap::new()).await.expect("read").try_into().expect("one");
    let (time, tag) = first.signature.split_once(",v1=").expect("two parts");
    let time = time.strip_prefix("t=").expect("a time");
    let expected = hmac_sha256(secret.as_bytes(), &[time.as_bytes(), b".", first.body.as_bytes()]);
    assert_eq!(tag, expected.iter().map(|octet| format!("{octet:02x}")).collect::<String>());
    assert!((time.parse::<i64>().expect("seconds") - world.time().0 / 1_000_000).abs() < 100);
    assert_eq!((&body(&first)["id"], &body(&first)["sequence"]), (&first.id.to_string().into(), &1.into()));

    let delivery = first.id;
    c.sent(first, Err("connection refused".to_owned())).await.expect("noted");
    assert!(c.outgoing(10, &BTreeMap::new()).await.expect("read").is_empty(), "not before its time");
    let page = c.webhook_deliveries(&world.operator, id, &list()).await.expect("listed");
    assert_eq!((page.items[0].attempts, page.items[0].last_error.as_deref()), (1, Some("connection refused")));
    let mut waited = 0;
    for attempt in 2..=13 {
        let next = c.next_outgoing(Timestamp(0)).await.expect("read").expect("one waits");
        let wait = (next.0 - world.time().0) / 1_000_000 + 1;
        assert!(wait >= waited, "attempt {attempt} waits {wait} s after {waited} s");
        waited = wait * 4 / 5 - 2;
        world.clock_forward(wait);
        let [again] = c.outgoing(10, &BTreeMap::new()).await.expect("read").try_into().expect("one");
        assert_eq!(again.id, delivery);
        c.sent(again, Err("status 500".to_owned())).await.expect("noted");
    }
    assert_eq!(c.next_outgoing(Timestamp(0)).await.expect("read"), None, "given up after three days");

    world.order(catalogue.hosted(50)).await;
    let [taken] = c.outgoing(10, &BTreeMap::new()).await.expect("read").try_into().expect("one");
    assert_eq!(body(&taken)["sequence"], 2, "what was overtaken can be told");
    c.sent(taken, Ok(())).await.expect("noted");
    let page = c.webhook_deliveries(&world.operator, id, &list()).await.expect("listed");
    assert!(page.items[0].delivered_at.is_some() && page.items[1].delivered_at.is_none());
    assert!(c.outgoing(10, &BTreeMap::new()).await.expect("read").is_empty());
}

#[tokio::test]
async fn addresses_that_lead_inside_are_refused_unless_the_operator_allows_them() {
    let world = World::new().await;
    let c = &world.controller;
    let cases = [
        ("http://hooks.example.net/", "400 url"),
        ("https://127.0.0.1/", "400 url"),
        ("https://[::1]/", "400 url"),
        ("https://10.0.0.1/", "400 url"),
        ("https://169.254.169.254/latest/meta-data", "400 url"),
        ("hooks.example.net", "400 url"),
        ("", "400 url"),
    ];
    for (url, expected) in cases {
        let error = c.create_webhook(&world.operator, wanted(url, &[])).await.err().expect(url);
        assert_eq!(kind(&error), expected, "{url}");
    }
    let error = c.create_webhook(&world.operator, wanted(URL, &["link.exploded"])).await.err().expect("unknown");
    assert_eq!(kind(&error), "400 events");
    let tenant = world.tenant().await;
    let pool = "8.8.8.0/24".parse().expect("a prefix");
    c.add_public_pool(&world.operator, REGION, ZONE, pool).await.expect("added");
    let error = c.create_webhook(&tenant, wanted("https://8.8.8.8/", &[])).await.err().expect("a gateway's address");
    assert_eq!(kind(&error), "400 url");
    let allowed_networks = vec!["10.0.0.0/8".parse().expect("a network")];
    let denied_networks = vec!["9.9.9.0/24".parse().expect("a network")];
    let rules = WebhookRules { allow_http: true, allowed_networks, denied_networks, ..WebhookRules::default() };
    let error = c.set_webhook_rules(&tenant, rules.clone()).await.expect_err("not the operator");
    assert_eq!(kind(&error), "403 settings");
    c.set_webhook_rules(&world.operator, rules.clone()).await.expect("set");
    assert_eq!(c.webhook_rules(&world.operator).await.expect("read"), rules);
    let error = c.create_webhook(&tenant, wanted("https://9.9.9.9/", &[])).await.err().expect("denied");
    assert_eq!(kind(&error), "400 url");
    let inside = c.create_webhook(&tenant, wanted("http://10.0.0.1:8080/x", &[])).await.expect("allowed").webhook;
    let error = c.delete_webhook(&world.operator, inside.id).await.expect_err("the tenant's");
    assert_eq!(kind(&error), "404 webhook");
    let support = world.caller(Role::Support, world.operator.project_id).await;
    assert_eq!(kind(&c.list_webhooks(&support).await.expect_err("no party")), "403 webhook");
    assert_eq!(c.list_webhooks(&tenant).await.expect("its own"), std::slice::from_ref(&inside));
    let to = |url: &str| WebhookChange { url: Some(url.to_owned()), events: None };
    let error = c.update_webhook(&tenant, inside.id, to("https://9.9.9.9/")).await.expect_err("denied");
    assert_eq!(kind(&error), "400 url");
    let error = c.update_webhook(&world.operator, inside.id, to(URL)).await.expect_err("the tenant's");
    assert_eq!(kind(&error), "404 webhook");
    let change = WebhookChange { url: None, events: Some(vec!["link.down".to_owned()]) };
    let changed = c.update_webhook(&tenant, inside.id, change).await.expect("changed");
    assert_eq!((changed.url, changed.events), (inside.url, vec!["link.down".to_owned()]));
    assert_eq!(c.update_webhook(&tenant, inside.id, to(URL)).await.expect("changed").url, URL);
    c.delete_webhook(&tenant, inside.id).await.expect("deleted");
    assert!(c.list_webhooks(&tenant).await.expect("its own").is_empty());
    for _ in 0..20 {
        made(&world, &tenant, &[]).await;
    }
    let error = c.create_webhook(&tenant, wanted(URL, &[])).await.err().expect("too many");
    assert_eq!(kind(&error), "403 quota webhooks");
}

#[tokio::test]
async fn a_queue_that_nobody_empties_is_bounded_and_secrets_are_not_in_the_clear() {
    let world = World::new().await;
    let (id, secret) = made(&world, &world.operator, &[]).await;
    let path = world.directory.path().join("causeway.db");
    world.controller.close().await;
    let store = Store::open(&path).await.expect("opens");
    let mut writer = store.write().await.expect("begins");
    let mut last = Uuid::nil();
    for _ in 0..1005 {
        last = Uuid::new_v4();
        writer.insert_delivery(id, last, "link.down", "{}", world.time()).await.expect("inserted");
    }
    writer.commit().await.expect("commits");
    let (newest, total) = store.read().await.expect("reads").webhook_deliveries(id, 1, 1).await.expect("listed");
    assert_eq!((total, newest[0].id), (1000, last));
    store.close().await;
    let file = std::fs::read(&path).expect("readable");
    assert!(!file.windows(secret.len()).any(|window| window == secret.as_bytes()));
}
