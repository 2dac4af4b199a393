//! InterLinks: orders, their capacity, what tenants, partners and support do with them, and what time does.

use causeway_controller::{AuditFilter, EventQuery, KeyRequest, PartnerAction, UsageQuery};
use causeway_model::command::{
    DedicatedConnectionChange, LinkChange, LinkFilter, LinkKindFilter, LinkPolicyChange, ListQuery, NewVpc,
    PartnerFilter, PartnerLinkFilter, PopChange, PopFilter, PortChange, Rename,
};
use causeway_model::link::Party;
use causeway_model::resource::{LinkHost, PortAttachment, PortOwner, Role};
use causeway_model::status::{BgpStatus, DedicatedConnectionStatus, LinkStatus};
use causeway_model::view::LinkStatuses;
use causeway_model::{DedicatedConnectionId, LinkId, PartnerId, ReasonCode};

use crate::harness::{FakeNode, REGION, World, kind, list, meta, until};
use crate::interlink::{Catalogue, DAY, new_port};

fn pairing_key(link: &LinkStatuses) -> uuid::Uuid {
    match link.link.host {
        LinkHost::Partner { pairing_key, .. } => pairing_key,
        LinkHost::Dedicated { .. } => panic!("self-hosted"),
    }
}

async fn status(world: &World, id: LinkId) -> LinkStatus {
    world.controller.link(&world.operator, REGION, id).await.expect("there").status
}

/// The status once the node has acknowledged what is new.
async fn settled(world: &World, id: LinkId) -> LinkStatus {
    let settled = async || {
        let state = world.controller.link_state(&world.operator, REGION, id).await.expect("there");
        state.applied_revision == state.desired_revision && state.statuses.status != LinkStatus::Configuring
    };
    until(&world.controller, settled).await;
    status(world, id).await
}

async fn why(world: &World, id: LinkId) -> ReasonCode {
    let state = world.controller.link_state(&world.operator, REGION, id).await.expect("there");
    state.reason.expect("a reason").code
}

async fn acts(world: &World, catalogue: &Catalogue, id: LinkId, actions: &[PartnerAction]) {
    for action in actions {
        let done = world.controller.act_as_partner(&catalogue.as_partner, id, action.clone()).await;
        done.unwrap_or_else(|error| panic!("{action:?}: {error:?}"));
    }
}

async fn found(world: &World, list: &ListQuery, filter: LinkFilter) -> u64 {
    world.controller.list_links(&world.operator, REGION, list, &filter).await.expect("listed").total
}

#[tokio::test]
async fn a_hosted_link_lives_as_the_documents_say() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let ordered = world.order(catalogue.hosted(50)).await;
    let link = &ordered.link;
    assert_eq!(ordered.status, LinkStatus::Requested, "as recorded");
    assert_eq!((ordered.bgp_v4_status, ordered.bgp_v6_status), (BgpStatus::Disabled, BgpStatus::Disabled));
    assert_eq!((link.provider_asn, link.peer_asn), (12876, 39801));
    assert_eq!(link.ipv4.ours.to_string(), "169.254.170.0/31");
    assert_eq!(link.ipv4.theirs.to_string(), "169.254.170.1/31");
    assert_eq!((link.ipv6.ours.prefix_len(), link.ipv6.theirs.prefix_len()), (127, 127));
    assert!(catalogue.port.vlan_range.contains(link.vlan));
    let id = link.id;

    let state = c.link_state(&world.operator, REGION, id).await.expect("there");
    assert_eq!(state.reason.expect("a reason").code, ReasonCode::AwaitingPartnerAnswer);
    assert_eq!(state.deadline, Some(link.meta.created_at.plus_seconds(10 * DAY)));
    assert_eq!(state.next_reminder, Some(link.meta.created_at.plus_seconds(3 * DAY)));

    let requested = Some(LinkStatus::Requested);
    let wanted = PartnerLinkFilter { pairing_key: Some(pairing_key(&ordered)), status: requested, stage: None };
    let page = c.partner_links(&catalogue.as_partner, &list(), &wanted).await.expect("listed");
    assert_eq!((page.total, page.items[0].statuses.link.id), (1, id));
    let other = PartnerLinkFilter { pairing_key: Some(uuid::Uuid::new_v4()), ..PartnerLinkFilter::default() };
    assert_eq!(c.partner_links(&catalogue.as_partner, &list(), &other).await.expect("listed").total, 0);

    acts(&world, &catalogue, id, &[PartnerAction::Accept]).await;
    assert_eq!(status(&world, id).await, LinkStatus::Provisioning);
    assert_eq!(why(&world, id).await, ReasonCode::AwaitingPartnerProvisioning);
    acts(&world, &catalogue, id, &[PartnerAction::Provisioned]).await;
    let state = c.link_state(&world.operator, REGION, id).await.expect("there");
    assert_eq!(
        (state.statuses.status, state.reason.map(|reason| reason.code)),
        (LinkStatus::AllDown, Some(ReasonCode::NoNode))
    );
    FakeNode::attach(c).await.run();
    assert_eq!(settled(&world, id).await, LinkStatus::Active);

    let (v4, v6) = (world.link_policy(false).await, world.link_policy(true).await);
    let change = |policy| LinkPolicyChange { link: id, policy };
    let with = c.attach_link_policy(&world.operator, REGION, change(v4.id)).await.expect("attached");
    assert_eq!((with.status, with.bgp_v4_status), (LinkStatus::Configuring, BgpStatus::Down));
    assert_eq!(settled(&world, id).await, LinkStatus::Active, "the first 60 s");
    let state = c.link_state(&world.operator, REGION, id).await.expect("there");
    assert_eq!(state.reason.expect("a reason").code, ReasonCode::AwaitingFirstSession);
    world.pass_heard(61).await;
    let filter = LinkFilter { status: Some(LinkStatus::AllDown), ..LinkFilter::default() };
    assert_eq!(found(&world, &list(), filter).await, 1, "the copy that lists filter by follows the time");
    let second = world.link_policy(false).await;
    let error = c.attach_link_policy(&world.operator, REGION, change(second.id)).await.expect_err("one is there");
    assert_eq!(kind(&error), "412 resource_still_in_use");
    let set = c.set_link_policy(&world.operator, REGION, change(second.id)).await.expect("set");
    assert_eq!(set.status, LinkStatus::Configuring);
    assert_eq!(settled(&world, id).await, LinkStatus::AllDown, "the session is the same as before");
    c.attach_link_policy(&world.operator, REGION, change(v6.id)).await.expect("attached");
    let error = c.detach_link_policy(&world.operator, REGION, change(v4.id)).await.expect_err("another one is there");
    assert_eq!(kind(&error), "400 routing_policy_id");
    let error = c.delete_link_routing_policy(&world.operator, REGION, v6.id).await.expect_err("in use");
    assert_eq!(kind(&error), "412 resource_still_in_use");
    c.detach_link_policy(&world.operator, REGION, change(second.id)).await.expect("detached");
    c.detach_link_policy(&world.operator, REGION, change(v6.id)).await.expect("detached");
    c.delete_link_routing_policy(&world.operator, REGION, v6.id).await.expect("free");

    c.set_link_propagation(&world.operator, REGION, id, true).await.expect("on");
    let error = c.delete_link(&world.operator, REGION, id).await.expect_err("propagation is on");
    assert_eq!(kind(&error), "412 unknown_precondition");
    c.set_link_propagation(&world.operator, REGION, id, false).await.expect("off");
    let deleted = c.delete_link(&world.operator, REGION, id).await.expect("deleted");
    assert_eq!(deleted.status, LinkStatus::Deprovisioning);
    assert_eq!(why(&world, id).await, ReasonCode::AwaitingPartnerDeprovisioning);
    let error = c.delete_link(&world.operator, REGION, id).await.expect_err("deleted already");
    assert_eq!(kind(&error), "409 deprovisioning");
    acts(&world, &catalogue, id, &[PartnerAction::StartDeprovisioning, PartnerAction::Deprovisioned]).await;
    assert_eq!(status(&world, id).await, LinkStatus::Deleted, "readable for a day");
    assert_eq!(found(&world, &list(), LinkFilter::default()).await, 0);
    world.pass(DAY + 1).await;
    let error = c.link(&world.operator, REGION, id).await.expect_err("gone");
    assert_eq!(kind(&error), "404 link");
}

#[tokio::test]
async fn an_order_that_nobody_took_up_goes_at_once() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let ordered = world.order(catalogue.hosted(50)).await.link;
    let deleted = c.delete_link(&world.operator, REGION, ordered.id).await.expect("deleted");
    assert_eq!(deleted.status, LinkStatus::Deleted);
    assert_eq!(deleted.link.meta.updated_at, ordered.meta.updated_at, "as recorded");
    assert_eq!(kind(&c.link(&world.operator, REGION, ordered.id).await.expect_err("gone")), "404 link");
    let filter = PartnerLinkFilter::default();
    assert_eq!(c.partner_links(&catalogue.as_partner, &list(), &filter).await.expect("listed").total, 0);
    let done = c.act_as_partner(&catalogue.as_partner, ordered.id, PartnerAction::Accept).await;
    assert_eq!(kind(&done.expect_err("a stale request")), "404 link");
    let again = world.order(catalogue.hosted(50)).await.link;
    assert_eq!(again.ipv4, ordered.ipv4, "addresses are used again");
}

#[tokio::test]
async fn refusal_expiry_and_failure_end_an_order() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let refused = world.order(catalogue.hosted(50)).await.link.id;
    let empty = c.act_as_partner(&catalogue.as_partner, refused, PartnerAction::Refuse(" ".to_owned())).await;
    assert_eq!(kind(&empty.expect_err("why?")), "400 reason");
    acts(&world, &catalogue, refused, &[PartnerAction::Refuse("no such customer".to_owned())]).await;
    let state = c.link_state(&world.operator, REGION, refused).await.expect("there");
    assert_eq!(state.statuses.status, LinkStatus::Refused);
    let reason = state.reason.expect("a reason");
    assert_eq!(reason.code, ReasonCode::PartnerRefused);
    assert_eq!(reason.evidence["partner_reason"], "no such customer");

    let expired = world.order(catalogue.hosted(50)).await.link.id;
    world.pass(10 * DAY - 5).await;
    assert_eq!(status(&world, expired).await, LinkStatus::Requested);
    world.pass(6).await;
    assert_eq!(status(&world, expired).await, LinkStatus::Expired);
    assert_eq!(why(&world, expired).await, ReasonCode::RequestExpired);
    let late = c.act_as_partner(&catalogue.as_partner, expired, PartnerAction::Accept).await;
    assert_eq!(kind(&late.expect_err("too late")), "412 unknown_precondition");
    for over in [refused, expired] {
        let vpc = c.create_vpc(&world.operator, REGION, NewVpc { meta: meta("vpc") }).await.expect("made").id;
        let error = c.attach_link_vpc(&world.operator, REGION, over, vpc).await.expect_err("over");
        assert_eq!(kind(&error), "412 unknown_precondition");
        let deleted = c.delete_link(&world.operator, REGION, over).await.expect("deleted");
        assert_eq!(deleted.status, LinkStatus::Deleted);
    }

    let off = PortChange { enabled: Some(false), ..PortChange::default() };
    let on = PortChange { enabled: Some(true), ..PortChange::default() };
    c.update_port(&world.operator, catalogue.port.id, off.clone()).await.expect("off");
    let waiting = world.order(catalogue.hosted(50)).await;
    assert_eq!(waiting.status, LinkStatus::Configuring);
    let error = c.delete_link(&world.operator, REGION, waiting.link.id).await.expect_err("being placed");
    assert_eq!(kind(&error), "409 configuring");
    c.update_port(&world.operator, catalogue.port.id, on.clone()).await.expect("on");
    assert_eq!(status(&world, waiting.link.id).await, LinkStatus::Requested, "placed in time");

    c.update_port(&world.operator, catalogue.port.id, off).await.expect("off");
    let failed = world.order(catalogue.hosted(50)).await.link.id;
    world.pass(31).await;
    assert_eq!(status(&world, failed).await, LinkStatus::Failed);
    assert_eq!(why(&world, failed).await, ReasonCode::OrderFailed);
    let tenant = world.tenant().await;
    assert_eq!(kind(&c.repair_link(&tenant, REGION, failed).await.expect_err("not an operator")), "403 link");
    let error = c.repair_link(&world.operator, REGION, failed).await.expect_err("the port is still off");
    assert_eq!(kind(&error), "412 unknown_precondition");
    c.update_port(&world.operator, catalogue.port.id, on).await.expect("on");
    world.pass(5 * DAY).await;
    let repaired = c.repair_link(&world.operator, REGION, failed).await.expect("repaired");
    assert_eq!(repaired.status, LinkStatus::Requested);
    let filter = AuditFilter {
        resource_id: Some(failed.to_string()),
        action: Some("repair".to_owned()),
        ..AuditFilter::default()
    };
    let records = c.audit_records(&world.operator, &list(), &filter).await.expect("listed").items;
    let [record] = records.as_slice() else { panic!("one repair succeeded: {records:?}") };
    assert_eq!(record.access_key, world.operator.access_key);
    assert_ne!(record.details["before"], record.details["after"]);
    world.pass(10 * DAY - 5).await;
    assert_eq!(status(&world, failed).await, LinkStatus::Requested, "the ten days start again");
    let error = c.repair_link(&world.operator, REGION, failed).await.expect_err("it has not failed");
    assert_eq!(kind(&error), "412 unknown_precondition");
}

#[tokio::test]
async fn reminders_come_once_and_survive_a_restart() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let id = world.order(catalogue.hosted(50)).await.link.id;
    let reminders = async |world: &World| {
        let query = EventQuery { after: None, before: None, limit: 200 };
        let events = world.controller.link_events(&world.operator, REGION, id, &query).await.expect("events");
        events.iter().filter(|event| event.subject == "reminder").count()
    };
    for (days, expected) in [(2, 0), (4, 1), (6, 1), (7, 2), (8, 2), (9, 3)] {
        let past = world.time().seconds_since(catalogue.port.created_at) as i64;
        world.pass(days * DAY + 60 - past).await;
        assert_eq!(reminders(&world).await, expected, "day {days}");
    }
    let path = world.directory.path().join("causeway.db");
    world.controller.close().await;
    let controller = crate::harness::open(&path, world.clock.clone()).await;
    let world = World { controller, ..world };
    world.pass(60).await;
    assert_eq!(reminders(&world).await, 3, "none is repeated");
    world.pass(DAY).await;
    assert_eq!(status(&world, id).await, LinkStatus::Expired, "the deadline is kept through the restart");
}

#[tokio::test]
async fn a_lock_stops_the_tenant_but_not_the_partner_or_the_time() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let support = world.caller(Role::Support, world.operator.project_id).await;
    let tenant = world.caller(Role::Tenant, world.operator.project_id).await;
    let [one, two] = [world.order(catalogue.hosted(50)).await.link.id, world.order(catalogue.hosted(50)).await.link.id];
    for id in [one, two] {
        let error = c.set_link_locked(&tenant, REGION, id, Some("x".to_owned())).await.expect_err("a tenant");
        assert_eq!(kind(&error), "403 link");
        let locked = c.set_link_locked(&support, REGION, id, Some("abuse".to_owned())).await.expect("locked");
        assert_eq!(locked.status, LinkStatus::Locked);
        for error in [
            c.delete_link(&tenant, REGION, id).await.expect_err("locked"),
            c.set_link_propagation(&tenant, REGION, id, true).await.expect_err("locked"),
            c.detach_link_vpc(&tenant, REGION, id).await.expect_err("locked"),
            c.update_link(&tenant, REGION, id, LinkChange::default()).await.expect_err("locked"),
        ] {
            assert_eq!(kind(&error), "423 link");
        }
    }
    let state = c.link_state(&tenant, REGION, one).await.expect("reading goes on");
    let reason = state.reason.expect("a reason");
    assert_eq!(reason.evidence["reason"], "abuse");
    let since = reason.since.expect("a time");
    assert!(since > state.waiting_since.expect("the partner is waited for"), "when it was locked");
    let mine = PartnerLinkFilter { stage: Some("requested"), ..PartnerLinkFilter::default() };
    assert_eq!(c.partner_links(&catalogue.as_partner, &list(), &mine).await.expect("listed").total, 2, "it may answer");
    let mine = PartnerLinkFilter { stage: Some("in_service"), ..PartnerLinkFilter::default() };
    assert_eq!(c.partner_links(&catalogue.as_partner, &list(), &mine).await.expect("listed").total, 0);
    acts(&world, &catalogue, one, &[PartnerAction::Accept, PartnerAction::Provisioned]).await;
    assert_eq!(status(&world, one).await, LinkStatus::Locked);
    FakeNode::attach(c).await.run();
    c.set_link_locked(&support, REGION, one, None).await.expect("unlocked");
    assert_eq!(settled(&world, one).await, LinkStatus::Active);
    world.pass(10 * DAY + 1).await;
    let unlocked = c.set_link_locked(&support, REGION, two, None).await.expect("unlocked");
    assert_eq!(unlocked.status, LinkStatus::Expired, "the ten days went on");
}

#[tokio::test]
async fn a_self_hosted_link_is_ready_and_its_vlan_its_own() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let mut new = catalogue.self_hosted(100);
    new.vlan = Some(2001);
    let first = world.order(new.clone()).await;
    assert_eq!(first.status, LinkStatus::AllDown, "nobody carries it");
    FakeNode::attach(c).await.run();
    assert_eq!(settled(&world, first.link.id).await, LinkStatus::Ready);
    assert_eq!((first.link.vlan, first.link.peer_asn), (2001, 65010));
    let refusals = [
        ("400 vlan", {
            let mut new = new.clone();
            new.vlan = Some(2001);
            new
        }),
        ("400 vlan", {
            let mut new = new.clone();
            new.vlan = Some(1500);
            new
        }),
        ("400 vlan", {
            let mut new = new.clone();
            new.vlan = Some(70_000);
            new
        }),
        ("400 peer_asn", {
            let mut new = catalogue.self_hosted(100);
            new.peer_asn = Some(12876);
            new
        }),
        ("400 pop_id", {
            let mut new = catalogue.self_hosted(100);
            new.pop_id = catalogue.pop.id;
            new
        }),
        ("400 partner_id", {
            let mut new = catalogue.self_hosted(100);
            new.partner_id = Some(catalogue.partner.id);
            new
        }),
        ("400 partner_id", {
            let mut new = catalogue.hosted(100);
            new.partner_id = None;
            new
        }),
        ("400 partner_id", {
            let mut new = catalogue.hosted(100);
            new.pop_id = catalogue.other_pop.id;
            new
        }),
        ("400 peer_asn,vlan", {
            let mut new = catalogue.hosted(100);
            new.peer_asn = Some(1);
            new.vlan = Some(2);
            new
        }),
        ("400 bandwidth_mbps", catalogue.hosted(51)),
        ("404 partner", {
            let mut new = catalogue.hosted(50);
            new.partner_id = Some(PartnerId::random());
            new
        }),
        ("404 pop", {
            let mut new = catalogue.hosted(50);
            new.pop_id = causeway_model::PopId::random();
            new
        }),
        ("404 dedicated_connection", {
            let mut new = catalogue.self_hosted(50);
            new.connection_id = Some(DedicatedConnectionId::random());
            new
        }),
        ("404 routing_policy", {
            let mut new = catalogue.hosted(50);
            new.routing_policy_v4_id = Some(causeway_model::RoutingPolicyId::random());
            new
        }),
        ("400 routing_policy_v6_id", {
            let mut new = catalogue.hosted(50);
            new.routing_policy_v6_id = Some(world.link_policy(false).await.id);
            new
        }),
    ];
    for (expected, new) in refusals {
        let error = c.create_link(&world.operator, REGION, new).await.expect_err(expected);
        assert_eq!(kind(&error), expected);
    }
    let tenant = world.tenant().await;
    let error = c.create_link(&tenant, REGION, catalogue.self_hosted(50)).await.expect_err("another project's");
    assert_eq!(kind(&error), "404 dedicated_connection");
    for _ in 0..3 {
        world.order(catalogue.self_hosted(50)).await;
    }
    let error = c.create_link(&world.operator, REGION, catalogue.self_hosted(50)).await.expect_err("four VLAN ids");
    assert_eq!(kind(&error), "503");
    let change = LinkChange { peer_asn: Some(65011), ..LinkChange::default() };
    let changed = c.update_link(&world.operator, REGION, first.link.id, change.clone()).await.expect("changed");
    assert_eq!(changed.link.peer_asn, 65011);
    let hosted = world.order(catalogue.hosted(50)).await.link.id;
    let error = c.update_link(&world.operator, REGION, hosted, change).await.expect_err("the partner's");
    assert_eq!(kind(&error), "400 peer_asn");
    let error = c.act_as_partner(&catalogue.as_partner, first.link.id, PartnerAction::Accept).await;
    assert_eq!(kind(&error.expect_err("not hosted")), "404 link");
    let deleted = c.delete_link(&world.operator, REGION, first.link.id).await.expect("deleted");
    assert_eq!(deleted.status, LinkStatus::Deprovisioning, "its node has it");
    until(c, async || status(&world, first.link.id).await == LinkStatus::Deleted).await;
    assert_eq!(world.order(catalogue.self_hosted(50)).await.link.vlan, 2001, "the one that is free again");
}

#[tokio::test]
async fn orders_wait_for_their_dedicated_connection() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let to = |state| DedicatedConnectionChange { state: Some(state), ..DedicatedConnectionChange::default() };
    let id = catalogue.dedicated.id;
    let set = async |state| c.update_dedicated_connection(&world.operator, id, to(state)).await.expect("set");
    for early in [DedicatedConnectionStatus::Created, DedicatedConnectionStatus::Configuring] {
        set(early).await;
        let error = c.create_link(&world.operator, REGION, catalogue.self_hosted(50)).await.expect_err("not yet");
        assert_eq!(kind(&error), "412 unknown_precondition");
    }
    set(DedicatedConnectionStatus::Active).await;
    let off = PortChange { enabled: Some(false), ..PortChange::default() };
    c.update_port(&world.operator, catalogue.dedicated_port.id, off).await.expect("off");
    let waiting = world.order(catalogue.self_hosted(50)).await;
    assert_eq!(waiting.status, LinkStatus::Configuring);
    set(DedicatedConnectionStatus::Configuring).await;
    let on = PortChange { enabled: Some(true), ..PortChange::default() };
    c.update_port(&world.operator, catalogue.dedicated_port.id, on).await.expect("on");
    let state = c.link_state(&world.operator, REGION, waiting.link.id).await.expect("there");
    assert_eq!(state.statuses.status, LinkStatus::Configuring);
    let waits_for = &state.reason.expect("a reason").evidence["waiting_for"];
    assert_eq!(waits_for, "the dedicated connection is configuring", "what it waits for now");
    set(DedicatedConnectionStatus::Active).await;
    FakeNode::attach(c).await.run();
    assert_eq!(settled(&world, waiting.link.id).await, LinkStatus::Ready);
    set(DedicatedConnectionStatus::Disabled).await;
    let error = c.create_link(&world.operator, REGION, catalogue.self_hosted(50)).await.expect_err("out of service");
    assert_eq!(kind(&error), "412 unknown_precondition");
    let support = world.caller(Role::Support, world.operator.project_id).await;
    let reason = Some("fraud".to_owned());
    let locked = c.set_dedicated_connection_locked(&support, REGION, id, reason).await.expect("locked");
    assert_eq!(locked.connection.status(), DedicatedConnectionStatus::Locked);
    let error = c.create_link(&world.operator, REGION, catalogue.self_hosted(50)).await.expect_err("locked");
    assert_eq!(kind(&error), "423 dedicated_connection");
}

#[tokio::test]
async fn capacity_is_kept_at_every_level() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let big = world.order(catalogue.hosted(500)).await.link.id;
    let room = async || {
        let page = c.list_pops(&world.operator, REGION, &list(), &PopFilter::default()).await.expect("listed");
        let pop = page.items.iter().find(|view| view.pop.id == catalogue.pop.id).expect("there");
        pop.available_link_bandwidths_mbps.clone()
    };
    assert_eq!(room().await, [50, 100, 500]);
    let whole = c.pop(&world.operator, REGION, catalogue.pop.id).await.expect("there");
    assert_eq!(whole.available_link_bandwidths_mbps, [50, 100, 500, 1000], "by id all on offer");
    let error = c.create_link(&world.operator, REGION, catalogue.hosted(1000)).await.expect_err("the port is full");
    assert_eq!(kind(&error), "503");
    let less = PortChange { capacity_mbps: Some(499), ..PortChange::default() };
    let error = c.update_port(&world.operator, catalogue.port.id, less).await.expect_err("its links need more");
    assert_eq!(kind(&error), "400 capacity_mbps");
    let capacity = |mbps| PopChange { capacity_mbps: Some(Some(mbps)), ..PopChange::default() };
    let error = c.update_pop(&world.operator, catalogue.pop.id, capacity(499)).await.expect_err("too little");
    assert_eq!(kind(&error), "400 capacity_mbps");
    c.update_pop(&world.operator, catalogue.pop.id, capacity(550)).await.expect("set");
    assert_eq!(room().await, [50]);
    let error = c.create_link(&world.operator, REGION, catalogue.hosted(100)).await.expect_err("the PoP is full");
    assert_eq!(kind(&error), "503");
    world.order(catalogue.hosted(50)).await;
    assert_eq!(room().await, [0_u64; 0]);
    c.delete_link(&world.operator, REGION, big).await.expect("deleted");
    assert_eq!(room().await, [50, 100, 500]);

    let owner = PortOwner::Partner(catalogue.partner.id);
    let mut plain = new_port("eth9", catalogue.other_pop.id, owner, 1000);
    plain.attachment = PortAttachment::Interface { interface: "eth9".to_owned() };
    c.create_port(&world.operator, plain).await.expect("made");
    let mut there = catalogue.hosted(50);
    there.pop_id = catalogue.other_pop.id;
    world.order(there.clone()).await;
    let error = c.create_link(&world.operator, REGION, there).await.expect_err("one link without tags");
    assert_eq!(kind(&error), "503");
}

#[tokio::test]
async fn a_vpc_is_attached_once_and_cannot_go_meanwhile() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let vpc =
        async |name: &str| c.create_vpc(&world.operator, REGION, NewVpc { meta: meta(name) }).await.expect("made").id;
    let (one, two) = (vpc("one").await, vpc("two").await);
    let id = world.order(catalogue.hosted(50)).await.link.id;
    let attached = c.attach_link_vpc(&world.operator, REGION, id, one).await.expect("attached");
    assert_eq!((attached.link.vpc_id, attached.status), (Some(one), LinkStatus::Requested));
    let error = c.attach_link_vpc(&world.operator, REGION, id, two).await.expect_err("a second one");
    assert_eq!(kind(&error), "412 resource_still_in_use");
    assert_eq!(
        kind(&c.delete_vpc(&world.operator, REGION, one).await.expect_err("in use")),
        "412 resource_still_in_use"
    );
    let tenant = world.tenant().await;
    let foreign = c.create_vpc(&tenant, REGION, NewVpc { meta: meta("foreign") }).await.expect("made").id;
    let other = world.order(catalogue.hosted(50)).await.link.id;
    let error = c.attach_link_vpc(&world.operator, REGION, other, foreign).await.expect_err("another project's");
    assert_eq!(kind(&error), "404 vpc");
    let filter = LinkFilter { vpc_id: Some(one), ..LinkFilter::default() };
    assert_eq!(found(&world, &list(), filter).await, 1);
    c.detach_link_vpc(&world.operator, REGION, id).await.expect("detached");
    let error = c.detach_link_vpc(&world.operator, REGION, id).await.expect_err("none is there");
    assert_eq!(kind(&error), "412 attribute_must_be_set");
    c.delete_vpc(&world.operator, REGION, one).await.expect("free");
}

#[tokio::test]
async fn every_filter_of_the_list() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let policy = world.link_policy(true).await.id;
    let mut new = catalogue.hosted(100);
    new.meta.tags = vec!["red".to_owned()];
    new.routing_policy_v6_id = Some(policy);
    let one = world.order(new).await;
    FakeNode::attach(&world.controller).await.run();
    let own = world.order(catalogue.self_hosted(50)).await;
    assert_eq!(settled(&world, own.link.id).await, LinkStatus::Ready);
    let none = LinkFilter::default;
    let cases = [
        (2, none()),
        (1, LinkFilter { status: Some(LinkStatus::Requested), ..none() }),
        (1, LinkFilter { status: Some(LinkStatus::Ready), ..none() }),
        (1, LinkFilter { bgp_v6_status: Some(BgpStatus::Down), ..none() }),
        (2, LinkFilter { bgp_v4_status: Some(BgpStatus::Disabled), ..none() }),
        (1, LinkFilter { pop_id: Some(catalogue.pop.id), ..none() }),
        (1, LinkFilter { bandwidth_mbps: Some(100), ..none() }),
        (1, LinkFilter { partner_id: Some(catalogue.partner.id), ..none() }),
        (1, LinkFilter { connection_id: Some(catalogue.dedicated.id), ..none() }),
        (1, LinkFilter { routing_policy_id: Some(policy), ..none() }),
        (1, LinkFilter { pairing_key: Some(pairing_key(&one)), ..none() }),
        (0, LinkFilter { pairing_key: Some(uuid::Uuid::new_v4()), ..none() }),
        (1, LinkFilter { kind: Some(LinkKindFilter::Hosted), ..none() }),
        (1, LinkFilter { kind: Some(LinkKindFilter::L2Hosted), ..none() }),
        (0, LinkFilter { kind: Some(LinkKindFilter::L3Hosted), ..none() }),
        (1, LinkFilter { kind: Some(LinkKindFilter::SelfHosted), ..none() }),
        (0, LinkFilter { impossible: true, ..none() }),
    ];
    for (expected, filter) in cases {
        assert_eq!(found(&world, &list(), filter.clone()).await, expected, "{filter:?}");
    }
    let tagged = ListQuery { tags: vec!["red".to_owned()], ..list() };
    assert_eq!(found(&world, &tagged, none()).await, 1);
    let rename = Rename { name: Some("Zürich".to_owned()), tags: Some(Vec::new()) };
    let change = LinkChange { rename, peer_asn: None };
    world.controller.update_link(&world.operator, REGION, one.link.id, change).await.expect("renamed");
    assert_eq!(found(&world, &tagged, none()).await, 0);
    let named = ListQuery { name: Some("zÜr".to_owned()), ..list() };
    assert_eq!(found(&world, &named, none()).await, 1);

    let c = &world.controller;
    let pops =
        async |filter: PopFilter| c.list_pops(&world.operator, REGION, &list(), &filter).await.expect("listed").total;
    let none = PopFilter::default;
    assert_eq!(pops(none()).await, 2);
    assert_eq!(pops(PopFilter { partner_id: Some(catalogue.partner.id), ..none() }).await, 1);
    assert_eq!(pops(PopFilter { hosting_provider_name: Some("HOUSE".to_owned()), ..none() }).await, 2);
    assert_eq!(pops(PopFilter { dedicated_available: Some(true), ..none() }).await, 1);
    assert_eq!(pops(PopFilter { link_bandwidth_mbps: Some(1000), ..none() }).await, 2);
    assert_eq!(pops(PopFilter { link_bandwidth_mbps: Some(2000), ..none() }).await, 0);
    assert_eq!(pops(PopFilter { l3_connectivity_partners: Some(true), ..none() }).await, 0);
    let partners = async |filter: PartnerFilter| {
        c.list_partners(&world.operator, REGION, &list(), &filter).await.expect("listed").total
    };
    assert_eq!(partners(PartnerFilter { pop_ids: vec![catalogue.pop.id], l3_connectivity: None }).await, 1);
    assert_eq!(partners(PartnerFilter { pop_ids: vec![catalogue.other_pop.id], l3_connectivity: None }).await, 0);
    assert_eq!(partners(PartnerFilter { pop_ids: Vec::new(), l3_connectivity: Some(true) }).await, 0);
}

#[tokio::test]
async fn partners_have_their_own_links_and_nothing_else() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let id = world.order(catalogue.hosted(50)).await.link.id;
    let stranger = world.caller(Role::Partner, world.operator.project_id).await;
    for action in [PartnerAction::Accept, PartnerAction::Refuse("no".to_owned()), PartnerAction::Provisioned] {
        let error = c.act_as_partner(&stranger, id, action).await.expect_err("another partner's");
        assert_eq!(kind(&error), "404 link");
    }
    assert_eq!(kind(&c.partner_link(&stranger, id).await.expect_err("another partner's")), "404 link");
    let tenant = world.caller(Role::Tenant, world.operator.project_id).await;
    let error = c.act_as_partner(&tenant, id, PartnerAction::Accept).await.expect_err("not a partner");
    assert_eq!(kind(&error), "403 partner_link");
    for error in [
        c.link(&catalogue.as_partner, REGION, id).await.expect_err("the tenant's view"),
        c.delete_link(&catalogue.as_partner, REGION, id).await.expect_err("the tenant's call"),
    ] {
        assert_eq!(kind(&error), "404 link");
    }
    for action in [PartnerAction::Provisioned, PartnerAction::StartDeprovisioning, PartnerAction::Deprovisioned] {
        let error = c.act_as_partner(&catalogue.as_partner, id, action).await.expect_err("out of order");
        assert_eq!(kind(&error), "412 unknown_precondition");
    }
    let request = |role, partner_id| KeyRequest {
        role,
        project_id: world.operator.project_id,
        partner_id,
        description: String::new(),
        expires_at: None,
    };
    for (role, partner, expected) in [
        (Role::Partner, None, "400 partner_id"),
        (Role::Tenant, Some(catalogue.partner.id), "400 partner_id"),
        (Role::Partner, Some(PartnerId::random()), "404 partner"),
    ] {
        let error = c.issue_api_key(&world.operator, request(role, partner)).await.map(drop).expect_err(expected);
        assert_eq!(kind(&error), expected);
    }
}

#[tokio::test]
async fn links_are_billed_until_their_tenant_deletes_them() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let ordered = world.order(catalogue.hosted(50)).await.link;
    acts(&world, &catalogue, ordered.id, &[PartnerAction::Accept, PartnerAction::Provisioned]).await;
    world.pass(90 * 60).await;
    c.delete_link(&world.operator, REGION, ordered.id).await.expect("deleted");
    world.pass(5 * DAY).await;
    let (from, to) = (ordered.meta.created_at.plus_seconds(-1), world.time());
    let query = UsageQuery { from, to, project_id: None, page: 1, page_size: 10 };
    let page = c.usage(&world.operator, REGION, &query).await.expect("usage");
    let records: Vec<_> = page.items.iter().filter(|record| record.resource_id == ordered.id.0).collect();
    let [record] = records[..] else { panic!("one record: {records:?}") };
    assert_eq!((record.kind.as_str(), record.hours, record.amount), ("link", 2, 20_000));
    assert_eq!((record.zone.as_str(), record.commercial_type.as_str()), ("TH2", "hosted 50 Mbit/s"));
    assert_eq!(status(&world, ordered.id).await, LinkStatus::Deprovisioning, "whatever the partner does");
    let state = c.link_state(&world.operator, REGION, ordered.id).await.expect("there");
    assert_eq!(state.turn, Party::Partner);
}

#[tokio::test]
async fn the_catalogue_is_the_operators_and_keeps_what_is_used() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let tenant = world.tenant().await;
    let id = world.order(catalogue.hosted(50)).await.link.id;
    for (expected, error) in [
        ("403 pop", c.delete_pop(&tenant, catalogue.pop.id).await.expect_err("a tenant")),
        ("403 partner", c.delete_partner(&tenant, catalogue.partner.id).await.expect_err("a tenant")),
        ("403 port", c.delete_port(&tenant, catalogue.port.id).await.expect_err("a tenant")),
        ("403 link_bandwidth", c.delete_link_bandwidth(&tenant, 50).await.expect_err("a tenant")),
        ("412 resource_still_in_use", c.delete_pop(&world.operator, catalogue.pop.id).await.expect_err("used")),
        ("412 resource_still_in_use", c.delete_partner(&world.operator, catalogue.partner.id).await.expect_err("used")),
        ("412 resource_still_in_use", c.delete_port(&world.operator, catalogue.port.id).await.expect_err("used")),
        ("412 resource_still_in_use", c.delete_link_bandwidth(&world.operator, 50).await.expect_err("used")),
        (
            "412 resource_still_in_use",
            c.delete_dedicated_connection(&world.operator, catalogue.dedicated.id).await.expect_err("has a port"),
        ),
    ] {
        assert_eq!(kind(&error), expected);
    }
    let owner = PortOwner::DedicatedConnection(catalogue.dedicated.id);
    let second = new_port("eth3", catalogue.other_pop.id, owner, 100);
    assert_eq!(kind(&c.create_port(&world.operator, second).await.expect_err("a second one")), "409 exists port");
    let owner = PortOwner::Partner(catalogue.partner.id);
    let same = new_port("eth1", catalogue.pop.id, owner, 100);
    assert_eq!(kind(&c.create_port(&world.operator, same).await.expect_err("one interface")), "409 exists port");
    let named = new_port("cw-1", catalogue.pop.id, owner, 100);
    let error = c.create_port(&world.operator, named).await.expect_err("a name of the node's own");
    assert_eq!(kind(&error), "400 attachment.interface");
    c.delete_link(&world.operator, REGION, id).await.expect("deleted");
    world.pass(1).await;
    c.delete_port(&world.operator, catalogue.port.id).await.expect("nothing is on it");
    c.delete_port(&world.operator, catalogue.dedicated_port.id).await.expect("nothing is on it");
    c.delete_dedicated_connection(&world.operator, catalogue.dedicated.id).await.expect("nothing is on it");
    let error = c.delete_partner(&world.operator, catalogue.partner.id).await.expect_err("it has a key");
    assert_eq!(kind(&error), "412 resource_still_in_use");
    c.revoke_api_key(&world.operator, &catalogue.as_partner.access_key).await.expect("revoked");
    c.delete_partner(&world.operator, catalogue.partner.id).await.expect("free");
    c.delete_pop(&world.operator, catalogue.pop.id).await.expect("free");
}
