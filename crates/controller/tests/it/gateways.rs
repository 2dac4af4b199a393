//! A gateway's life as its node makes it.

use causeway_model::command::{ListQuery, OrderField, PrivateNetworkFilter, Rename, VpnGatewayFilter};
use causeway_model::observed::{NodeReport, Refusal};
use causeway_model::reason::ReasonCode;
use causeway_model::status::VpnGatewayStatus;

use crate::harness::{FakeNode, REGION, World, acknowledgement, kind, list, until};

async fn status(world: &World, id: causeway_model::VpnGatewayId) -> VpnGatewayStatus {
    world.controller.vpn_gateway(&world.operator, REGION, id).await.expect("there").status
}

async fn reason(world: &World, id: causeway_model::VpnGatewayId) -> Option<ReasonCode> {
    let state = world.controller.gateway_state(&world.operator, REGION, id).await.expect("there");
    state.reason.map(|reason| reason.code)
}

#[tokio::test]
async fn provisioning_until_the_node_acknowledges() {
    let world = World::new().await;
    let mut node = FakeNode::attach(&world.controller).await;
    let network = world.network(&world.operator).await;
    let made = world.gateway(&world.operator, &network).await;
    let id = made.gateway.id;
    assert_eq!(made.status, VpnGatewayStatus::Provisioning);
    assert_eq!(made.gateway.meta.created_at, made.gateway.meta.updated_at);
    let desired = node.wait_for(|desired| desired.gateways.len() == 1).await;
    assert_eq!(status(&world, id).await, VpnGatewayStatus::Provisioning);
    let gateway = &desired.gateways[0];
    assert_eq!((gateway.id, gateway.network, gateway.asn, gateway.revision), (id, network.id, 12876, 1));
    assert_eq!(gateway.bandwidth, 1_000_000_000);
    assert_eq!(
        gateway.public_addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.0.2.2", "2001:db8:0:1::2"]
    );
    assert_eq!(gateway.private_addresses[0].to_string(), "172.16.0.2/22");
    assert!(desired.vpcs.iter().any(|vpc| vpc.id == gateway.vpc && vpc.networks[0].subnets.len() == 2));
    node.report(acknowledgement(&desired, None)).await;
    until(&world.controller, async || status(&world, id).await == VpnGatewayStatus::Active).await;
    let view = world.controller.vpn_gateway(&world.operator, REGION, id).await.expect("there");
    assert!(view.gateway.meta.updated_at > made.gateway.meta.updated_at, "a status change is a change");
    let state = world.controller.gateway_state(&world.operator, REGION, id).await.expect("there");
    assert_eq!((state.desired_revision, state.applied_revision, state.node), (1, 1, Some(node.id)));
    assert_eq!(state.reason, None);
}

#[tokio::test]
async fn without_a_node_it_fails_after_the_deadline_and_recovers_by_itself() {
    let world = World::new().await;
    let network = world.network(&world.operator).await;
    let id = world.gateway(&world.operator, &network).await.gateway.id;
    world.pass(29).await;
    assert_eq!(status(&world, id).await, VpnGatewayStatus::Provisioning);
    world.pass(2).await;
    assert_eq!(status(&world, id).await, VpnGatewayStatus::Failed);
    assert_eq!(reason(&world, id).await, Some(ReasonCode::NoNode));
    let filter = VpnGatewayFilter { statuses: vec![VpnGatewayStatus::Failed], ..VpnGatewayFilter::default() };
    let listed = world.controller.list_vpn_gateways(&world.operator, REGION, &list(), &filter).await.expect("listed");
    assert_eq!(listed.total, 1, "the deadline reached the copy that filters look at");
    let mut node = FakeNode::attach(&world.controller).await;
    node.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    until(&world.controller, async || status(&world, id).await == VpnGatewayStatus::Active).await;
}

#[tokio::test]
async fn a_refusal_names_the_item() {
    let world = World::new().await;
    let mut node = FakeNode::attach(&world.controller).await;
    let network = world.network(&world.operator).await;
    let id = world.gateway(&world.operator, &network).await.gateway.id;
    let desired = node.wait_for(|desired| desired.gateways.len() == 1).await;
    let mut report = acknowledgement(&desired, None);
    report.gateways[0].applied = 0;
    let refusal = Refusal { revision: 1, item: "underlay address 192.0.2.2".into(), error: "EADDRNOTAVAIL".into() };
    report.gateways[0].refused = Some(refusal);
    node.report(report).await;
    until(&world.controller, async || status(&world, id).await == VpnGatewayStatus::Failed).await;
    let state = world.controller.gateway_state(&world.operator, REGION, id).await.expect("there");
    let reason = state.reason.expect("a reason");
    assert_eq!(reason.code, ReasonCode::NodeRefused);
    assert_eq!(reason.evidence.get("item").map(String::as_str), Some("underlay address 192.0.2.2"));
    node.report(acknowledgement(&desired, None)).await;
    until(&world.controller, async || status(&world, id).await == VpnGatewayStatus::Active).await;
}

#[tokio::test]
async fn a_lost_node_fails_its_gateways_and_a_return_restores_them() {
    let world = World::new().await;
    let mut node = FakeNode::attach(&world.controller).await;
    let network = world.network(&world.operator).await;
    let id = world.gateway(&world.operator, &network).await.gateway.id;
    node.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    until(&world.controller, async || status(&world, id).await == VpnGatewayStatus::Active).await;
    let node_id = node.id;
    drop(node);
    until(&world.controller, async || status(&world, id).await == VpnGatewayStatus::Failed).await;
    assert_eq!(reason(&world, id).await, Some(ReasonCode::NoHealthyNode));
    let mut node = FakeNode::attach_as(&world.controller, node_id).await;
    // A restarted node runs nothing yet and says so.
    node.report(NodeReport::default()).await;
    until(&world.controller, async || status(&world, id).await == VpnGatewayStatus::Configuring).await;
    node.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    until(&world.controller, async || status(&world, id).await == VpnGatewayStatus::Active).await;
}

#[tokio::test]
async fn deletion_waits_for_the_node_and_frees_the_addresses() {
    let world = World::new().await;
    let mut node = FakeNode::attach(&world.controller).await;
    let network = world.network(&world.operator).await;
    let made = world.gateway(&world.operator, &network).await;
    let id = made.gateway.id;
    let refused = world.controller.delete_vpn_gateway(&world.operator, REGION, id).await.expect_err("is new");
    assert_eq!(kind(&refused), "409 provisioning");
    let refused = world.controller.update_vpn_gateway(&world.operator, REGION, id, Rename::default()).await;
    assert_eq!(kind(&refused.expect_err("is new")), "409 provisioning");
    let with = node.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    until(&world.controller, async || status(&world, id).await == VpnGatewayStatus::Active).await;
    let deleted = world.controller.delete_vpn_gateway(&world.operator, REGION, id).await.expect("deleted");
    assert_eq!(deleted.status, VpnGatewayStatus::Deprovisioning);
    let again = world.controller.delete_vpn_gateway(&world.operator, REGION, id).await.expect_err("is going");
    assert_eq!(kind(&again), "409 deprovisioning");
    let without = node.wait_for(|desired| desired.gateways.is_empty()).await;
    // A report from before the deletion proves nothing, even if it does not name the gateway.
    node.report(NodeReport { revision: with.revision, ..NodeReport::default() }).await;
    node.report(acknowledgement(&with, None)).await;
    let blocked = world.controller.delete_private_network(&world.operator, REGION, network.id).await;
    assert_eq!(kind(&blocked.expect_err("in use")), "412 resource_still_in_use");
    assert_eq!(status(&world, id).await, VpnGatewayStatus::Deprovisioning);
    node.report(acknowledgement(&without, None)).await;
    until(&world.controller, async || {
        world
            .controller
            .vpn_gateway(&world.operator, REGION, id)
            .await
            .is_err_and(|error| kind(&error) == "404 vpn_gateway")
    })
    .await;
    let ips = world.controller.list_ips(&world.operator, REGION, &list(), &Default::default()).await.expect("listed");
    assert_eq!(ips.total, 0);
    world.controller.delete_private_network(&world.operator, REGION, network.id).await.expect("free now");
}

#[tokio::test]
async fn a_deletion_that_the_node_does_not_confirm_keeps_the_addresses_reserved() {
    let world = World::new().await;
    let mut node = FakeNode::attach(&world.controller).await;
    let network = world.network(&world.operator).await;
    let id = world.gateway(&world.operator, &network).await.gateway.id;
    node.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    until(&world.controller, async || status(&world, id).await == VpnGatewayStatus::Active).await;
    world.controller.delete_vpn_gateway(&world.operator, REGION, id).await.expect("deleted");
    let without = node.wait_for(|desired| desired.gateways.is_empty()).await;
    world.pass(61).await;
    let gone = world.controller.vpn_gateway(&world.operator, REGION, id).await.expect_err("is gone");
    assert_eq!(kind(&gone), "404 vpn_gateway");
    let next = world.gateway(&world.operator, &network).await.gateway;
    let ip = world.controller.ip(&world.operator, REGION, next.public_ipv4_id.expect("has one")).await.expect("there");
    assert_eq!(ip.address.to_string(), "192.0.2.3/32", "192.0.2.2 may still be on the node");
    node.report(acknowledgement(&without, None)).await;
    until(&world.controller, async || {
        let ips =
            world.controller.list_ips(&world.operator, REGION, &list(), &Default::default()).await.expect("listed");
        ips.total == 4
    })
    .await;
}

#[tokio::test]
async fn a_failed_gateway_without_a_node_can_be_deleted() {
    let world = World::new().await;
    let network = world.network(&world.operator).await;
    let id = world.gateway(&world.operator, &network).await.gateway.id;
    world.pass(31).await;
    world.controller.delete_vpn_gateway(&world.operator, REGION, id).await.expect("deleted");
    world.pass(1).await;
    let gone = world.controller.vpn_gateway(&world.operator, REGION, id).await.expect_err("is gone");
    assert_eq!(kind(&gone), "404 vpn_gateway");
}

#[tokio::test]
async fn lists_filter_sort_and_page() {
    let world = World::new().await;
    let network = world.network(&world.operator).await;
    for (name, tag) in [("- b", "x"), ("a", "y"), ("C", "x")] {
        let mut new = crate::harness::new_gateway(&network);
        new.meta.name = name.to_owned();
        new.meta.tags = vec![tag.to_owned(), "all".to_owned()];
        world.controller.create_vpn_gateway(&world.operator, REGION, new).await.expect("made");
    }
    let names = async |list: ListQuery| {
        let filter = VpnGatewayFilter::default();
        let page = world.controller.list_vpn_gateways(&world.operator, REGION, &list, &filter).await.expect("listed");
        let names: Vec<String> = page.items.into_iter().map(|view| view.gateway.meta.name).collect();
        (names.join(","), page.total)
    };
    let by_name = ListQuery { order: OrderField::Name, ..list() };
    assert_eq!(names(list()).await, ("- b,a,C".to_owned(), 3));
    assert_eq!(names(by_name.clone()).await, ("a,- b,C".to_owned(), 3));
    assert_eq!(names(ListQuery { descending: true, ..by_name.clone() }).await, ("C,- b,a".to_owned(), 3));
    assert_eq!(names(ListQuery { page: 2, page_size: 2, ..by_name.clone() }).await, ("C".to_owned(), 3));
    assert_eq!(names(ListQuery { page: 9, ..by_name }).await, (String::new(), 3));
    assert_eq!(names(ListQuery { tags: vec!["x".into()], ..list() }).await, ("- b,C".to_owned(), 2));
    assert_eq!(names(ListQuery { name: Some("c".into()), ..list() }).await, ("C".to_owned(), 1));
    let tenant = world.tenant().await;
    let none = world.controller.list_vpn_gateways(&tenant, REGION, &list(), &VpnGatewayFilter::default()).await;
    assert_eq!(none.expect("listed").total, 0, "a tenant sees its own");
    let filter = PrivateNetworkFilter { private_network_ids: vec![network.id], ..Default::default() };
    let networks =
        world.controller.list_private_networks(&world.operator, REGION, &list(), &filter).await.expect("listed");
    assert_eq!(networks.total, 1);
}
