//! What an order gets, what it waits for, and what nobody can have: lists and orders say the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_controller::{Controller, Settings};
use causeway_crypto::envelope::Kek;
use causeway_model::command::{
    DedicatedConnectionChange, LinkChange, NewWebhook, PartnerFilter, PopFilter, PortChange, Rename,
};
use causeway_model::resource::{PortAttachment, PortOwner, Role, VlanRange};
use causeway_model::status::{DedicatedConnectionStatus, LinkStatus};
use causeway_store::Store;

use crate::harness::{KEK, REGION, World, kind, list, settings};
use crate::interlink::{Catalogue, new_port};

fn enabled(enabled: bool) -> PortChange {
    PortChange { enabled: Some(enabled), ..PortChange::default() }
}

/// The sizes that the list of PoPs shows.
async fn shown(world: &World, pop: causeway_model::PopId) -> Vec<u64> {
    let page = world.controller.list_pops(&world.operator, REGION, &list(), &PopFilter::default()).await;
    let views = page.expect("listed").items;
    let view = views.into_iter().find(|view| view.pop.id == pop).expect("there");
    view.available_link_bandwidths_mbps
}

/// The sizes that the dedicated connection shows.
async fn of_connection(world: &World, catalogue: &Catalogue) -> Vec<u64> {
    let view = world.controller.dedicated_connection(&world.operator, REGION, catalogue.dedicated.id).await;
    view.expect("there").available_link_bandwidths
}

#[tokio::test]
async fn an_order_waits_only_where_no_port_is_in_service() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let owner = PortOwner::Partner(catalogue.partner.id);
    let mut spare = new_port("eth5", catalogue.pop.id, owner, 1000);
    spare.enabled = false;
    let spare = c.create_port(&world.operator, spare).await.expect("made").id;
    let whole = world.order(catalogue.hosted(1000)).await.link.id;
    assert_eq!(shown(&world, catalogue.pop.id).await, [0_u64; 0]);
    let error =
        c.create_link(&world.operator, REGION, catalogue.hosted(50)).await.expect_err("full, and off for weeks");
    assert_eq!(kind(&error), "503");
    c.delete_link(&world.operator, REGION, whole).await.expect("deleted");

    c.update_port(&world.operator, catalogue.port.id, enabled(false)).await.expect("off");
    let waiting = world.order(catalogue.hosted(50)).await;
    assert_eq!(waiting.status, LinkStatus::Configuring, "there is no other");
    let state = c.link_state(&world.operator, REGION, waiting.link.id).await.expect("there");
    let waits_for = state.reason.expect("a reason").evidence["waiting_for"].clone();
    assert!(waits_for.contains("is not in service"), "{waits_for}");
    let port = waiting.link.port_id;
    assert!([spare, catalogue.port.id].contains(&port));
    c.update_port(&world.operator, port, enabled(true)).await.expect("on");
    let placed = c.link(&world.operator, REGION, waiting.link.id).await.expect("there");
    assert_eq!(placed.status, LinkStatus::Requested);
}

#[tokio::test]
async fn a_failed_order_says_why_to_log_and_webhook_at_once() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let hook = NewWebhook { url: "https://hooks.example.net/in".to_owned(), events: vec!["link.failed".to_owned()] };
    c.create_webhook(&world.operator, hook).await.expect("made");
    c.update_port(&world.operator, catalogue.port.id, enabled(false)).await.expect("off");
    let id = world.order(catalogue.hosted(50)).await.link.id;
    let path = world.directory.path().join("log");
    let log = Arc::new(std::fs::File::create(&path).expect("a file"));
    let subscriber = tracing_subscriber::fmt().with_writer(log).with_ansi(false).finish();
    {
        let _guard = tracing::subscriber::set_default(subscriber);
        world.pass(31).await;
    }
    let cause = "the order could not be placed within 30 s: the port eth1 is not in service";
    let state = c.link_state(&world.operator, REGION, id).await.expect("there");
    let reason = state.reason.expect("a reason");
    assert_eq!(reason.evidence["error"], cause);
    assert!(!reason.remedy.contains("notified"), "nobody promises what depends on a webhook: {}", reason.remedy);
    let failed_at = reason.since.expect("a time");
    world.pass(3600).await;
    let change = LinkChange { rename: Rename { name: Some("new".to_owned()), tags: None }, peer_asn: None };
    c.update_link(&world.operator, REGION, id, change).await.expect("renamed");
    let reason = c.link_state(&world.operator, REGION, id).await.expect("there").reason.expect("a reason");
    assert_eq!(reason.since, Some(failed_at), "a new name changes nothing of it");
    let told = c.outgoing(10, &BTreeMap::new()).await.expect("read");
    let [told] = told.as_slice() else { panic!("one delivery: {told:?}") };
    let body: serde_json::Value = serde_json::from_str(&told.body).expect("JSON");
    assert_eq!((&body["type"], &body["data"]["link_id"]), (&"link.failed".into(), &id.to_string().into()));
    assert_eq!(body["data"]["reason"]["evidence"]["error"], cause);
    let log = std::fs::read_to_string(&path).expect("text");
    let line = log.lines().find(|line| line.contains("ERROR")).expect("the operator's log has it");
    assert!(line.contains(&id.to_string()) && line.contains(cause), "{line}");
}

#[tokio::test]
async fn lists_promise_nothing_that_cannot_be_had() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let pops =
        async |filter: PopFilter| c.list_pops(&world.operator, REGION, &list(), &filter).await.expect("listed").total;
    let dedicated = || PopFilter { dedicated_available: Some(true), ..PopFilter::default() };
    assert_eq!(of_connection(&world, &catalogue).await, [50, 100, 500, 1000]);
    let mut links = Vec::new();
    for _ in 0..4 {
        links.push(world.order(catalogue.self_hosted(50)).await.link.id);
    }
    assert_eq!(of_connection(&world, &catalogue).await, [0_u64; 0], "its four VLAN ids are taken");
    assert_eq!(shown(&world, catalogue.other_pop.id).await, [0_u64; 0]);
    assert_eq!(pops(dedicated()).await, 1, "room is not looked at");
    c.delete_link(&world.operator, REGION, links.remove(0)).await.expect("deleted");
    assert_eq!(of_connection(&world, &catalogue).await, [50, 100, 500]);

    let support = world.caller(Role::Support, world.operator.project_id).await;
    let lock = async |reason: Option<&str>| {
        let reason = reason.map(ToOwned::to_owned);
        c.set_dedicated_connection_locked(&support, REGION, catalogue.dedicated.id, reason).await.expect("set");
    };
    lock(Some("fraud")).await;
    assert_eq!(of_connection(&world, &catalogue).await, [0_u64; 0], "locked");
    assert_eq!(shown(&world, catalogue.other_pop.id).await, [0_u64; 0], "locked");
    assert_eq!(pops(dedicated()).await, 0, "not usable for self-hosted links");
    lock(None).await;
    let failed = DedicatedConnectionChange {
        state: Some(DedicatedConnectionStatus::Failed),
        ..DedicatedConnectionChange::default()
    };
    c.update_dedicated_connection(&world.operator, catalogue.dedicated.id, failed).await.expect("set");
    assert_eq!(of_connection(&world, &catalogue).await, [0_u64; 0], "failed");
    assert_eq!(pops(dedicated()).await, 0, "failed");

    c.update_port(&world.operator, catalogue.port.id, enabled(false)).await.expect("off");
    let partner = Some(catalogue.partner.id);
    assert_eq!(pops(PopFilter { partner_id: partner, ..PopFilter::default() }).await, 0);
    assert_eq!(pops(PopFilter { link_bandwidth_mbps: Some(50), ..PopFilter::default() }).await, 0);
    let filter = PartnerFilter { pop_ids: vec![catalogue.pop.id], l3_connectivity: None };
    assert_eq!(c.list_partners(&world.operator, REGION, &list(), &filter).await.expect("listed").total, 0);
}

#[tokio::test]
async fn two_ports_never_share_a_wire() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let owner = PortOwner::Partner(catalogue.partner.id);
    let port = |name: &str, pop, attachment| {
        let mut port = new_port(name, pop, owner, 100);
        port.attachment = attachment;
        port
    };
    let vxlan = |name: &str, remote: &str, vni_base: u32, range: (u16, u16)| {
        let remote = remote.parse().expect("an address");
        let mut port = port(name, catalogue.pop.id, PortAttachment::Vxlan { remote, vni_base });
        port.vlan_range = Some(VlanRange { start: range.0, end: range.1 });
        port
    };
    let whole = |interface: &str| PortAttachment::Interface { interface: interface.to_owned() };
    let made = c.create_port(&world.operator, vxlan("x0", "192.0.2.1", 0, (1500, 1600))).await.expect("the first");
    let apart = c.create_port(&world.operator, vxlan("x1", "192.0.2.1", 101, (1500, 1600))).await.expect("1601 on");
    let refused = [
        ("one VNI more", vxlan("x2", "192.0.2.1", 1, (1500, 1500))),
        ("another remote", vxlan("x2", "198.51.100.1", 0, (1600, 1700))),
        ("another PoP", port("e1", catalogue.other_pop.id, PortAttachment::Vlan { interface: "eth1".to_owned() })),
        ("a VLAN of eth1", port("e1", catalogue.pop.id, whole("eth1.1600"))),
    ];
    for (what, new) in refused {
        let error = c.create_port(&world.operator, new).await.expect_err(what);
        assert_eq!(kind(&error), "409 exists port", "{what}");
    }
    let down = PortChange { vlan_range: Some(VlanRange { start: 1500, end: 1601 }), ..PortChange::default() };
    let error = c.update_port(&world.operator, made.id, down).await.expect_err("its neighbour has VNI 1601");
    assert_eq!(kind(&error), "409 exists port");
    c.delete_port(&world.operator, apart.id).await.expect("unused");

    let network = world.network(&world.operator).await.id;
    for taken in ["eth1", "eth1.1600"] {
        let error = c.set_attachment(&world.operator, network, taken.to_owned()).await.expect_err(taken);
        assert_eq!(kind(&error), "409 exists port", "{taken}");
    }
    c.set_attachment(&world.operator, network, "eth7".to_owned()).await.expect("its own");
    let error = c.create_port(&world.operator, port("e7", catalogue.pop.id, whole("eth7"))).await.expect_err("taken");
    assert_eq!(kind(&error), "409 exists private_network_attachment");
}

#[tokio::test]
async fn nobody_gets_the_service_s_own_as_number() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::default();
    let store = Store::open(&directory.path().join("causeway.db")).await.expect("the store opens");
    let settings = Settings { provider_asn: 64512, ..settings() };
    let controller = Controller::open_with_clock(store, settings, Kek::new(KEK), Arc::clone(&clock) as _).await;
    let world = World::first_start(controller.expect("opens"), clock, directory).await;
    let catalogue = world.catalogue().await;
    let mut new = catalogue.self_hosted(50);
    new.peer_asn = None;
    let link = world.order(new).await.link;
    assert_eq!((link.provider_asn, link.peer_asn), (64512, 64513));
}
