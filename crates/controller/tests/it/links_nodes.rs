//! Links where there are several nodes: which one carries a link, and which one routes its VPC.

use causeway_controller::NodeChange;
use causeway_model::command::{CatalogueFile, PortChange};
use causeway_model::desired::NodeDesired;
use causeway_model::resource::{PortAttachment, PortOwner};
use causeway_model::route::{RouteFilter, RouteKind};
use causeway_model::status::LinkStatus;
use causeway_model::{Family, LinkId, NodeId, PortId, ReasonCode, VpcId};

use crate::catalogue_file::port;
use crate::harness::{FakeNode, REGION, World, kind, list, new_gateway, until};
use crate::interlink::{Catalogue, new_port};
use crate::links_node::{hear, only, reaches, report, state};

/// Puts a port on a node, or on the first one.
async fn put(world: &World, port: PortId, node: Option<NodeId>) {
    let change = PortChange { node_id: Some(node), ..PortChange::default() };
    world.controller.update_port(&world.operator, port, change).await.expect("put");
}

fn routes(desired: &NodeDesired, vpc: VpcId) -> bool {
    desired.vpcs.iter().any(|known| known.id == vpc)
}

/// The second of two nodes has the dedicated connection's port and a link on it that has a policy.
struct Two {
    catalogue: Catalogue,
    first: FakeNode,
    second: FakeNode,
    link: LinkId,
}

async fn two(world: &World) -> Two {
    let catalogue = world.catalogue().await;
    let (mut first, mut second) = (FakeNode::attach(&world.controller).await, world.up().await);
    hear(world, &mut first).await;
    hear(world, &mut second).await;
    put(world, catalogue.dedicated_port.id, Some(second.id)).await;
    let mut new = catalogue.self_hosted(100);
    new.routing_policy_v4_id = Some(world.link_policy(false).await.id);
    let link = world.order(new).await.link.id;
    let desired = second.wait_for(|desired| desired.links.len() == 1).await;
    second.report(report(&desired, &Family::ALL)).await;
    reaches(world, link, LinkStatus::Active, Some(ReasonCode::NoVpc)).await;
    assert_eq!(state(world, link).await.node, Some(second.id));
    Two { catalogue, first, second, link }
}

#[tokio::test]
async fn a_link_ends_on_the_node_of_its_port_and_its_vpc_comes_to_it() {
    let world = World::new().await;
    let c = &world.controller;
    let network = world.network(&world.operator).await;
    let vpc = network.vpc_id;
    let Two { mut first, mut second, link, .. } = two(&world).await;
    let desired = first.wait_for(|desired| routes(desired, vpc)).await;
    assert!(desired.links.is_empty(), "the port is on the other node");

    c.attach_link_vpc(&world.operator, REGION, link, vpc).await.expect("attached");
    let desired = second.wait_for(|desired| routes(desired, vpc) && only(desired).vpc == Some(vpc)).await;
    second.report(report(&desired, &Family::ALL)).await;
    first.wait_for(|desired| !routes(desired, vpc)).await;
    reaches(&world, link, LinkStatus::Active, Some(ReasonCode::PropagationDisabled)).await;

    // Both nodes are empty, so that without the link the gateway would go to the one that came first.
    let gateway = world.gateway(&world.operator, &network).await;
    let placed = c.gateway_state(&world.operator, REGION, gateway.gateway.id).await.expect("there").node;
    assert_eq!(placed, Some(second.id));
    second.wait_for(|desired| desired.gateways.len() == 1 && only(desired).vpc == Some(vpc)).await;

    // Without the link the gateway alone keeps the VPC there, and without both the first node has it again.
    let desired = second.wait_for(|_| true).await;
    second.report(report(&desired, &Family::ALL)).await;
    c.detach_link_vpc(&world.operator, REGION, link).await.expect("detached");
    let desired = second.wait_for(|desired| only(desired).vpc.is_none()).await;
    assert!(routes(&desired, vpc));
    second.report(report(&desired, &Family::ALL)).await;
    until(c, async || c.delete_vpn_gateway(&world.operator, REGION, gateway.gateway.id).await.is_ok()).await;
    let desired = second.wait_for(|desired| desired.gateways.is_empty()).await;
    second.report(report(&desired, &Family::ALL)).await;
    first.wait_for(|desired| routes(desired, vpc)).await;
    second.wait_for(|desired| !routes(desired, vpc)).await;
}

#[tokio::test]
async fn a_link_says_that_another_node_routes_its_vpc() {
    let world = World::new().await;
    let c = &world.controller;
    let network = world.network(&world.operator).await;
    let vpc = network.vpc_id;
    let Two { mut first, mut second, link, .. } = two(&world).await;
    let gateway = world.gateway(&world.operator, &network).await.gateway.id;
    let placed = c.gateway_state(&world.operator, REGION, gateway).await.expect("there").node;
    assert_eq!(placed, Some(first.id), "no link leads there yet");
    c.attach_link_vpc(&world.operator, REGION, link, vpc).await.expect("attached");
    let newest = state(&world, link).await.desired_revision;
    let desired = second.wait_for(|desired| only(desired).revision == newest).await;
    assert_eq!(only(&desired).vpc, None);
    second.report(report(&desired, &Family::ALL)).await;
    reaches(&world, link, LinkStatus::Active, Some(ReasonCode::VpcElsewhere)).await;
    let reason = state(&world, link).await.reason.expect("a reason");
    assert_eq!(reason.evidence["vpc_node"], first.id.to_string());
    c.set_link_propagation(&world.operator, REGION, link, true).await.expect("on");
    let desired = second.wait_for(|desired| only(desired).propagate).await;
    let mut said = report(&desired, &Family::ALL);
    said.links[0].received = vec![causeway_model::observed::ReceivedRoute {
        prefix: "10.99.1.0/24".parse().expect("a prefix"),
        next_hop: only(&desired).bgp[0].peer.addr(),
        as_path: vec![65010],
        med: None,
        communities: Vec::new(),
        decision: causeway_model::observed::RouteDecision::Installed,
        stale: false,
    }];
    second.report(said.clone()).await;
    reaches(&world, link, LinkStatus::Active, Some(ReasonCode::VpcElsewhere)).await;
    let learned = RouteFilter { resource: Some(link.0), ..RouteFilter::default() };
    let learned = async || c.list_routes(&world.operator, REGION, &list(), &learned).await.expect("listed").items;
    assert!(learned().await.is_empty(), "nothing goes that way");

    // As the remedy says: without the gateway the VPC comes to the link, and the gateway that is made anew, too.
    let desired = first.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    assert!(routes(&desired, vpc));
    until(c, async || c.delete_vpn_gateway(&world.operator, REGION, gateway).await.is_ok()).await;
    first.acknowledge_until(|desired| desired.gateways.is_empty()).await;
    second.wait_for(|desired| routes(desired, vpc) && only(desired).vpc == Some(vpc)).await;
    reaches(&world, link, LinkStatus::Active, None).await;
    let kinds: Vec<_> = learned().await.iter().map(|shown| shown.route.kind).collect();
    assert_eq!(kinds, [RouteKind::Interlink]);
    let gateway = c.create_vpn_gateway(&world.operator, REGION, new_gateway(&network)).await.expect("made");
    let placed = c.gateway_state(&world.operator, REGION, gateway.gateway.id).await.expect("there").node;
    assert_eq!(placed, Some(second.id));
}

#[tokio::test]
async fn a_vpc_whose_gateway_has_lost_its_node_comes_to_its_link() {
    let world = World::new().await;
    let c = &world.controller;
    let network = world.network(&world.operator).await;
    let vpc = network.vpc_id;
    let Two { first, mut second, link, .. } = two(&world).await;
    let third = world.up().await;
    let cordon = async |node: NodeId| {
        let change = NodeChange { cordoned: Some(true), ..NodeChange::default() };
        c.change_node(&world.operator, node, change).await.expect("cordoned");
    };
    cordon(first.id).await;
    cordon(second.id).await;
    let gateway = world.gateway(&world.operator, &network).await.gateway.id;
    let placed = async || c.gateway_state(&world.operator, REGION, gateway).await.expect("there").node;
    assert_eq!(placed().await, Some(third.id), "the only one that takes any");
    c.attach_link_vpc(&world.operator, REGION, link, vpc).await.expect("attached");
    let newest = state(&world, link).await.desired_revision;
    let desired = second.wait_for(|desired| only(desired).revision == newest).await;
    second.report(report(&desired, &Family::ALL)).await;
    reaches(&world, link, LinkStatus::Active, Some(ReasonCode::VpcElsewhere)).await;

    // Nobody takes the gateway, so that the link alone says where its VPC is routed.
    c.revoke_node(&world.operator, third.id).await.expect("revoked");
    assert_eq!(placed().await, None);
    let desired = second.wait_for(|desired| routes(desired, vpc) && only(desired).vpc == Some(vpc)).await;
    second.report(report(&desired, &Family::ALL)).await;
    reaches(&world, link, LinkStatus::Active, Some(ReasonCode::PropagationDisabled)).await;
}

#[tokio::test]
async fn a_port_names_a_node_that_there_is_and_shares_no_wire_of_it() {
    let world = World::new().await;
    let c = &world.controller;
    let Two { catalogue, first, second, link } = two(&world).await;
    let owner = PortOwner::Partner(catalogue.partner.id);
    let named = |name: &str, interface: &str, node: Option<NodeId>| {
        let mut new = new_port(name, catalogue.pop.id, owner, 1000);
        new.attachment = PortAttachment::Vlan { interface: interface.to_owned() };
        new.node_id = node;
        new
    };
    let error = c.create_port(&world.operator, named("x", "eth9", Some(NodeId::random()))).await.expect_err("unknown");
    assert_eq!(kind(&error), "404 node");
    let taken = "409 exists port";
    // `eth2` is the second node's, and `eth1` may be on any, since its port names none.
    for (interface, node) in [("eth2", Some(second.id)), ("eth2", None), ("eth1", Some(second.id))] {
        let error = c.create_port(&world.operator, named("x", interface, node)).await.expect_err("one wire");
        assert_eq!(kind(&error), taken, "{interface}");
    }
    let apart =
        c.create_port(&world.operator, named("eth2 of the first", "eth2", Some(first.id))).await.expect("apart");
    let moved = PortChange { node_id: Some(Some(second.id)), ..PortChange::default() };
    let error = c.update_port(&world.operator, apart.id, moved.clone()).await.expect_err("one wire");
    assert_eq!(kind(&error), taken);

    let used = catalogue.dedicated_port.id;
    for node in [Some(first.id), None] {
        let change = PortChange { node_id: Some(node), ..PortChange::default() };
        let error = c.update_port(&world.operator, used, change).await.expect_err("a link is on it");
        assert_eq!(kind(&error), "412 resource_still_in_use");
    }

    // Where a node is gone for good, its ports wait for another one, and so do their links.
    c.revoke_node(&world.operator, second.id).await.expect("revoked");
    reaches(&world, link, LinkStatus::AllDown, Some(ReasonCode::NoNode)).await;
    let error = c.update_port(&world.operator, apart.id, moved).await.expect_err("revoked");
    assert_eq!(kind(&error), "400 node_id");
    let ordered = c.create_link(&world.operator, REGION, catalogue.self_hosted(50)).await.expect("ordered");
    assert_eq!(ordered.status, LinkStatus::Configuring);
    let waits_for = state(&world, ordered.link.id).await.reason.expect("a reason").evidence["waiting_for"].clone();
    assert!(waits_for.contains("was revoked"), "{waits_for}");
    c.delete_port(&world.operator, apart.id).await.expect("unused");
    put(&world, used, Some(first.id)).await;
    let mut first = first;
    let desired = first.wait_for(|desired| desired.links.len() == 2).await;
    first.report(report(&desired, &Family::ALL)).await;
    reaches(&world, link, LinkStatus::Active, Some(ReasonCode::NoVpc)).await;
    assert_eq!(state(&world, link).await.node, Some(first.id));
}

#[tokio::test]
async fn the_catalogue_file_names_nodes() {
    let world = World::new().await;
    let c = &world.controller;
    let catalogue = world.catalogue().await;
    let second = world.up().await;
    let name = c.node(&world.operator, second.id).await.expect("there").node.name;
    let mut filed = port("eth1", &catalogue.pop.name, Some(&catalogue.partner.name), None);
    filed.node = Some(name);
    let mut own = port("eth2", &catalogue.other_pop.name, None, Some("cross-connect"));
    own.node = Some(second.id.to_string());
    let file = CatalogueFile { ports: Some(vec![filed, own]), ..CatalogueFile::default() };
    let done = c.apply_catalogue(&world.operator, &file, false).await.expect("applied");
    let of: Vec<_> = done.iter().map(|difference| (difference.name.as_str(), &difference.after["node_id"])).collect();
    let id = serde_json::json!(second.id);
    assert_eq!(of, [("eth1", &id), ("eth2", &id)]);
    assert!(c.apply_catalogue(&world.operator, &file, true).await.expect("compared").is_empty());
    let mut wrong = file.clone();
    for port in wrong.ports.iter_mut().flatten() {
        port.node = Some("nowhere".to_owned());
    }
    let error = c.apply_catalogue(&world.operator, &wrong, false).await.expect_err("unknown");
    assert_eq!(kind(&error), "400 port[eth1].node");
}
