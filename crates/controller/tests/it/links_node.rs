//! Links on their node: what it is told, and what its reports make of their statuses.

use std::sync::Arc;

use causeway_controller::EventQuery;
use causeway_model::LinkId;
use causeway_model::command::{LinkChange, LinkPolicyChange, NewVpc, Rename};
use causeway_model::desired::{AttachmentDesired, LinkDesired, NodeDesired};
use causeway_model::explain::{Origin, OwnDecision, Question, Via};
use causeway_model::observed::{NodeReport, ReceivedRoute, Refusal, RouteDecision};
use causeway_model::route::{RouteFilter, RouteKind};
use causeway_model::status::{BgpStatus, LinkStatus};
use causeway_model::view::LinkState;
use causeway_model::{Family, ReasonCode};

use crate::harness::{FakeNode, REGION, World, acknowledgement, list, meta, until};
use crate::webhooks::{made, told};

pub(crate) async fn state(world: &World, id: LinkId) -> LinkState {
    world.controller.link_state(&world.operator, REGION, id).await.expect("there")
}

pub(crate) async fn reaches(world: &World, id: LinkId, status: LinkStatus, reason: Option<ReasonCode>) {
    until(&world.controller, async || {
        let state = state(world, id).await;
        (state.statuses.status, state.reason.map(|reason| reason.code)) == (status, reason)
    })
    .await;
}

pub(crate) fn only(desired: &NodeDesired) -> &LinkDesired {
    let [link] = desired.links.as_slice() else { panic!("one link: {desired:?}") };
    link
}

/// Until its first report a node counts as silent.
pub(crate) async fn hear(world: &World, node: &mut FakeNode) {
    node.acknowledge_until(|_| true).await;
    let c = &world.controller;
    until(c, async || !c.node(&world.operator, node.id).await.expect("there").node.silent).await;
}

/// A report in which the sessions of these families are up.
pub(crate) fn report(desired: &NodeDesired, up: &[Family]) -> NodeReport {
    let mut report = acknowledgement(desired, Some((true, true)));
    for session in report.links.iter_mut().flat_map(|link| &mut link.sessions) {
        session.up = up.contains(&session.family);
        session.fault = (!session.up).then(|| ReasonCode::BgpTimeout.into());
    }
    report
}

#[tokio::test]
async fn the_node_is_told_and_its_sessions_decide() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let network = world.network(&world.operator).await;
    let (v4, v6) = (world.link_policy(false).await.id, world.link_policy(true).await.id);
    let mut node = FakeNode::attach(c).await;
    hear(&world, &mut node).await;
    let ordered = world.order(catalogue.self_hosted(100)).await;
    let id = ordered.link.id;
    assert_eq!(ordered.status, LinkStatus::Configuring, "the node does not have it yet");
    let desired = node.wait_for(|desired| desired.links.len() == 1).await;
    let link = only(&desired);
    let attachment = AttachmentDesired::Vlan { interface: "eth2".to_owned(), vlan: ordered.link.vlan };
    assert_eq!((link.id, &link.attachment, link.bandwidth, link.vpc), (id, &attachment, 100_000_000, None));
    assert_eq!((link.asn, link.peer_asn, link.hold_time, link.propagate), (12876, 65010, 60, false));
    let addresses: Vec<_> = link.bgp.iter().map(|bgp| (bgp.local, bgp.peer, bgp.policy.is_some())).collect();
    let (ipv4, ipv6) = (ordered.link.ipv4, ordered.link.ipv6);
    assert_eq!(addresses, [(ipv4.ours, ipv4.theirs, false), (ipv6.ours, ipv6.theirs, false)]);
    node.report(acknowledgement(&desired, None)).await;
    reaches(&world, id, LinkStatus::Ready, Some(ReasonCode::NoRoutingPolicy)).await;

    for policy in [v4, v6] {
        c.attach_link_policy(&world.operator, REGION, LinkPolicyChange { link: id, policy }).await.expect("attached");
        let newest = state(&world, id).await.desired_revision;
        let desired = node.wait_for(|desired| only(desired).revision == newest).await;
        node.report(acknowledgement(&desired, None)).await;
        until(c, async || state(&world, id).await.applied_revision == newest).await;
    }
    c.attach_link_vpc(&world.operator, REGION, id, network.vpc_id).await.expect("attached");
    let desired = node.wait_for(|desired| only(desired).vpc == Some(network.vpc_id)).await;
    assert!(only(&desired).bgp.iter().all(|bgp| bgp.policy.is_some()));
    node.report(report(&desired, &[])).await;
    reaches(&world, id, LinkStatus::Ready, Some(ReasonCode::BgpTimeout)).await;

    node.report(report(&desired, &Family::ALL)).await;
    reaches(&world, id, LinkStatus::Active, Some(ReasonCode::PropagationDisabled)).await;
    let link = c.link(&world.operator, REGION, id).await.expect("there");
    assert_eq!((link.bgp_v4_status, link.bgp_v6_status), (BgpStatus::Up, BgpStatus::Up));
    c.set_link_propagation(&world.operator, REGION, id, true).await.expect("on");
    let desired = node.wait_for(|desired| only(desired).propagate).await;
    node.report(report(&desired, &Family::ALL)).await;
    reaches(&world, id, LinkStatus::Active, None).await;
    node.report(report(&desired, &[Family::Ipv4])).await;
    reaches(&world, id, LinkStatus::LimitedConnectivity, Some(ReasonCode::BgpTimeout)).await;
    node.report(report(&desired, &[])).await;
    reaches(&world, id, LinkStatus::AllDown, Some(ReasonCode::BgpTimeout)).await;
    node.report(report(&desired, &Family::ALL)).await;
    reaches(&world, id, LinkStatus::Active, None).await;

    // What the node refuses is named, and what runs goes on.
    c.set_link_propagation(&world.operator, REGION, id, false).await.expect("off");
    let desired = node.wait_for(|desired| !only(desired).propagate).await;
    let mut refused = report(&desired, &Family::ALL);
    let revision = only(&desired).revision;
    let refusal = Refusal { revision, item: "interface eth2".to_owned(), error: "it is not there".to_owned() };
    for link in &mut refused.links {
        link.applied = revision - 1;
        link.refused = Some(refusal.clone());
    }
    node.report(refused).await;
    reaches(&world, id, LinkStatus::Active, Some(ReasonCode::ConfigRefused)).await;
    let reason = state(&world, id).await.reason.expect("a reason");
    assert!(reason.evidence.values().any(|value| value == "interface eth2"), "{reason:?}");
    node.report(report(&desired, &Family::ALL)).await;
    reaches(&world, id, LinkStatus::Active, Some(ReasonCode::PropagationDisabled)).await;

    // A policy that links share is the node's business, too.
    let all = vec!["0.0.0.0/0".parse().expect("a prefix")];
    let rename = Rename::default();
    c.update_link_routing_policy(&world.operator, REGION, v4, rename, Some(all.clone()), None).await.expect("edited");
    let desired = node
        .wait_for(|desired| {
            only(desired).bgp.iter().any(|bgp| bgp.policy.as_ref().is_some_and(|p| p.prefix_filter_in == all))
        })
        .await;
    node.report(report(&desired, &Family::ALL)).await;
    reaches(&world, id, LinkStatus::Active, Some(ReasonCode::PropagationDisabled)).await;

    // It is deleted when the node has let go of it, and its VLAN id is taken until then.
    let deleted = c.delete_link(&world.operator, REGION, id).await.expect("deleted");
    assert_eq!(deleted.status, LinkStatus::Deprovisioning);
    let reason = state(&world, id).await.reason.expect("a reason");
    assert_eq!(reason.code, ReasonCode::AwaitingRemoval);
    let desired = node.wait_for(|desired| desired.links.is_empty()).await;
    node.report(acknowledgement(&desired, None)).await;
    until(c, async || state(&world, id).await.statuses.status == LinkStatus::Deleted).await;
}

#[tokio::test]
async fn a_silent_configuration_is_overdue_and_a_lost_node_takes_its_links_down() {
    let world = World::new().await;
    let catalogue = world.catalogue().await;
    let c = &world.controller;
    let mut node = FakeNode::attach(c).await;
    hear(&world, &mut node).await;
    let id = world.order(catalogue.self_hosted(100)).await.link.id;
    node.wait_for(|desired| desired.links.len() == 1).await;
    reaches(&world, id, LinkStatus::Configuring, Some(ReasonCode::ConfigPending)).await;
    let error = c.attach_link_vpc(&world.operator, REGION, id, vpc(&world).await).await.expect_err("no actions");
    assert_eq!(crate::harness::kind(&error), "409 configuring");
    world.pass_heard(31).await;
    reaches(&world, id, LinkStatus::Ready, Some(ReasonCode::ConfigOverdue)).await;
    let desired = node.wait_for(|desired| desired.links.len() == 1).await;
    node.report(acknowledgement(&desired, None)).await;
    reaches(&world, id, LinkStatus::Ready, Some(ReasonCode::NoRoutingPolicy)).await;
    world.pass(30).await;
    reaches(&world, id, LinkStatus::Ready, Some(ReasonCode::NodeUnreachable)).await;
    drop(node);
    reaches(&world, id, LinkStatus::AllDown, Some(ReasonCode::NodeUnreachable)).await;
}

pub(crate) async fn vpc(world: &World) -> causeway_model::VpcId {
    world.controller.create_vpc(&world.operator, REGION, NewVpc { meta: meta("vpc") }).await.expect("made").id
}

/// A link with both policies whose sessions were never up, and what its node was told of it.
async fn ordered(world: &World, node: &mut FakeNode) -> (LinkId, Arc<NodeDesired>) {
    let mut new = world.catalogue().await.self_hosted(100);
    new.routing_policy_v4_id = Some(world.link_policy(false).await.id);
    new.routing_policy_v6_id = Some(world.link_policy(true).await.id);
    hear(world, node).await;
    let id = world.order(new).await.link.id;
    (id, node.wait_for(|desired| desired.links.len() == 1).await)
}

#[tokio::test]
async fn its_tenant_is_told_when_a_link_is_active_limited_down_and_up_again() {
    let world = World::new().await;
    let c = &world.controller;
    let (hook, _) = made(&world, &world.operator, &["link.active", "link.limited", "link.down", "link.up"]).await;
    let mut node = FakeNode::attach(c).await;
    let (id, desired) = ordered(&world, &mut node).await;
    let mut expected = Vec::new();
    for (up, status, event) in [
        (&Family::ALL[..], LinkStatus::Active, "link.active"),
        (&Family::ALL[1..], LinkStatus::LimitedConnectivity, "link.limited"),
        (&[][..], LinkStatus::AllDown, "link.down"),
        (&Family::ALL[..], LinkStatus::Active, "link.up"),
    ] {
        node.report(report(&desired, up)).await;
        expected.push(event);
        until(c, async || told(&world, &world.operator, hook).await == expected).await;
        assert_eq!(state(&world, id).await.statuses.status, status);
    }
    let sessions = sessions_told(&world, id).await;
    let story = ["IPv4 up", "IPv6 up", "IPv4 down", "IPv6 down", "IPv4 up", "IPv6 up"];
    assert_eq!(sessions.iter().map(|(subject, _)| subject.as_str()).collect::<Vec<_>>(), story);
    assert!(sessions.iter().all(|(subject, code)| code.is_some() == subject.ends_with("down")), "{sessions:?}");
    // What a change of its configuration passes through is no news.
    c.set_link_propagation(&world.operator, REGION, id, true).await.expect("on");
    let desired = node.wait_for(|desired| only(desired).propagate).await;
    node.report(report(&desired, &Family::ALL)).await;
    let applied = only(&desired).revision;
    until(c, async || state(&world, id).await.applied_revision == applied).await;
    assert_eq!(told(&world, &world.operator, hook).await, expected);
}

/// What the history of a link says of its sessions, oldest first, with the reasons.
async fn sessions_told(world: &World, id: LinkId) -> Vec<(String, Option<ReasonCode>)> {
    let query = EventQuery { after: Some(0), before: None, limit: 200 };
    let events = world.controller.link_events(&world.operator, REGION, id, &query).await.expect("there");
    let sessions = events.into_iter().filter(|event| event.kind == "session" && !event.subject.contains("routes"));
    sessions.map(|event| (event.subject, event.reason.map(|reason| reason.code))).collect()
}

#[tokio::test]
async fn the_end_of_a_session_is_told_with_its_cause() {
    let world = World::new().await;
    let c = &world.controller;
    let mut node = FakeNode::attach(c).await;
    let (id, desired) = ordered(&world, &mut node).await;
    node.report(report(&desired, &Family::ALL)).await;
    reaches(&world, id, LinkStatus::Active, Some(ReasonCode::NoVpc)).await;
    let policy = state(&world, id).await.statuses.link.routing_policy_v6.expect("attached").id;
    c.detach_link_policy(&world.operator, REGION, LinkPolicyChange { link: id, policy }).await.expect("detached");
    let desired = node.wait_for(|desired| only(desired).bgp.iter().any(|bgp| bgp.policy.is_none())).await;
    node.report(report(&desired, &Family::ALL)).await;
    reaches(&world, id, LinkStatus::Active, Some(ReasonCode::NoVpc)).await;
    let last = sessions_told(&world, id).await.pop().expect("told");
    assert_eq!(last, ("IPv6 down".to_owned(), Some(ReasonCode::BgpDisabled)));
}

#[tokio::test]
async fn a_reason_says_since_when_it_holds_whatever_else_changes() {
    let world = World::new().await;
    let c = &world.controller;
    let mut node = FakeNode::attach(c).await;
    let (id, desired) = ordered(&world, &mut node).await;
    let since = async || state(&world, id).await.reason.expect("a reason").since.expect("a time");
    node.report(report(&desired, &Family::ALL)).await;
    reaches(&world, id, LinkStatus::Active, Some(ReasonCode::NoVpc)).await;
    let no_vpc = since().await;
    world.pass_heard(5).await;
    let rename = Rename { name: Some("renamed".to_owned()), tags: None };
    c.update_link(&world.operator, REGION, id, LinkChange { rename, peer_asn: None }).await.expect("renamed");
    assert_eq!(since().await, no_vpc, "a name is no reason");

    node.report(report(&desired, &[])).await;
    reaches(&world, id, LinkStatus::AllDown, Some(ReasonCode::BgpTimeout)).await;
    let down = since().await;
    assert!(down >= no_vpc.plus_seconds(5));
    let remedy = state(&world, id).await.reason.expect("a reason").remedy;
    assert!(remedy.ends_with("; if it stays so, contact support"), "{remedy}");
    world.pass_heard(5).await;
    c.attach_link_vpc(&world.operator, REGION, id, vpc(&world).await).await.expect("attached");
    reaches(&world, id, LinkStatus::Configuring, Some(ReasonCode::ConfigPending)).await;
    assert!(since().await >= down.plus_seconds(5));
    let newest = state(&world, id).await.desired_revision;
    let desired = node.wait_for(|desired| only(desired).revision == newest).await;
    node.report(report(&desired, &[])).await;
    reaches(&world, id, LinkStatus::AllDown, Some(ReasonCode::BgpTimeout)).await;
    assert_eq!(since().await, down, "it was down all the time");
}

#[tokio::test]
async fn its_routes_are_shown_and_explained() {
    let world = World::new().await;
    let (c, caller) = (&world.controller, &world.operator);
    let vpc = world.network(caller).await.vpc_id;
    let mut node = FakeNode::attach(c).await;
    let (id, desired) = ordered(&world, &mut node).await;
    node.report(report(&desired, &Family::ALL)).await;
    reaches(&world, id, LinkStatus::Active, Some(ReasonCode::NoVpc)).await;
    let before = c.link_routes(caller, REGION, id).await.expect("there");
    assert!(before.own.is_empty() && before.received.is_empty(), "it leads to no VPC");
    c.attach_link_vpc(caller, REGION, id, vpc).await.expect("attached");
    let desired = node.wait_for(|desired| only(desired).vpc == Some(vpc)).await;
    node.report(report(&desired, &Family::ALL)).await;
    reaches(&world, id, LinkStatus::Active, Some(ReasonCode::PropagationDisabled)).await;
    c.set_link_propagation(caller, REGION, id, true).await.expect("on");
    let desired = node.wait_for(|desired| only(desired).propagate).await;

    let prefix = "10.99.1.0/24".parse().expect("a prefix");
    let subnet = *desired.vpcs[0].networks[0].subnets.iter().find(|subnet| subnet.addr().is_ipv4()).expect("IPv4");
    let mut said = report(&desired, &Family::ALL);
    said.links[0].announced = vec![subnet];
    said.links[0].received = vec![ReceivedRoute {
        prefix,
        next_hop: only(&desired).bgp[0].peer.addr(),
        as_path: vec![65010],
        med: None,
        communities: Vec::new(),
        decision: RouteDecision::Installed,
        stale: false,
    }];
    node.report(said.clone()).await;
    reaches(&world, id, LinkStatus::Active, None).await;
    let routes = c.link_routes(caller, REGION, id).await.expect("there");
    assert_eq!((routes.received.len(), routes.policies.len(), routes.asn), (1, 2, 12876));
    let own = routes.own.iter().find(|route| route.prefix == subnet.trunc()).expect("the subnet");
    assert_eq!((own.decision, own.next_hop), (OwnDecision::Announced, Some(only(&desired).bgp[0].local.addr())));
    let explained = async || c.explain_route(caller, REGION, vpc, &Question::Prefix(prefix)).await.expect("explained");
    let answer = explained().await;
    assert_eq!((answer.verdict, answer.caveats.as_slice()), ("routed", &[][..]));
    assert_eq!(answer.candidates[0].origin, Origin::Learned(Via::Link(id)));

    let of_link = RouteFilter { resource: Some(id.0), ..RouteFilter::default() };
    let listed = async || c.list_routes(caller, REGION, &list(), &of_link).await.expect("listed").items;
    let [shown]: [_; 1] = listed().await.try_into().expect("one route");
    assert_eq!((shown.route.kind, shown.route.destination, shown.route.vpc_id), (RouteKind::Interlink, prefix, vpc));
    assert_eq!((shown.route.id, shown.route.network, shown.address), (None, None, None));
    assert_eq!(shown.name, Some(state(&world, id).await.statuses.link.meta.name));

    // Its carrier is lost: that is the root, not what follows from it.
    let link = &mut said.links[0];
    (link.carrier, link.received, link.announced) = (false, Vec::new(), Vec::new());
    for session in &mut link.sessions {
        (session.up, session.fault) = (false, Some(ReasonCode::BgpTimeout.into()));
    }
    node.report(said).await;
    reaches(&world, id, LinkStatus::AllDown, Some(ReasonCode::BgpTimeout)).await;
    assert!(listed().await.is_empty());
    let answer = explained().await;
    assert_eq!((answer.verdict, answer.fault.map(|fault| fault.code)), ("unrouted", Some(ReasonCode::NoCarrier)));
    let routes = c.link_routes(caller, REGION, id).await.expect("there");
    let own = routes.own.iter().find(|route| route.prefix == subnet.trunc()).expect("the subnet");
    assert_eq!(own.decision, OwnDecision::Withheld("session_down"));
    c.set_link_propagation(caller, REGION, id, false).await.expect("off");
    let routes = c.link_routes(caller, REGION, id).await.expect("there");
    assert!(routes.own.iter().all(|route| route.decision == OwnDecision::Filtered("propagation_disabled")));
}
