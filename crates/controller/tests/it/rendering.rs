//! The documents that a node is sent one after another: each is made from the one before and says what one made from nothing says.

use std::sync::Arc;

use causeway_model::ConnectionId;
use causeway_model::command::{ConnectionChange, NewBgp, OptionsChange, PolicyChange, Rename};
use causeway_model::desired::{ConnectionDesired, NodeDesired};
use causeway_model::resource::InitiationPolicy;
use causeway_model::{Family, NodeId};

use crate::harness::{FakeNode, REGION, World, new_connection, new_customer, new_gateway, until};

/// Waits until the node has acknowledged everything.
async fn settle(world: &World, connections: &[ConnectionId]) {
    until(&world.controller, async || {
        for id in connections {
            let state = world.controller.connection_state(&world.operator, REGION, *id).await.expect("there");
            if state.applied_revision < state.desired_revision {
                return false;
            }
        }
        let list = crate::harness::list();
        let gateways = world.controller.list_vpn_gateways(&world.operator, REGION, &list, &Default::default()).await;
        gateways.expect("listed").items.iter().all(|gateway| gateway.status.as_str() != "configuring")
    })
    .await;
}

fn connection_of(desired: &NodeDesired, id: ConnectionId) -> Option<&ConnectionDesired> {
    desired.gateways.iter().flat_map(|gateway| &gateway.connections).find(|connection| connection.id == id)
}

#[tokio::test]
async fn a_document_made_from_the_one_before_says_what_one_made_from_nothing_says() {
    let world = World::new().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let id = NodeId::random();
    let node = FakeNode::attach_as(controller, id).await;
    let mut desired = node.desired();
    node.run();
    let network = world.network(operator).await;
    let policies = [world.policy(operator, false).await, world.policy(operator, false).await];
    let mut made = Vec::new();
    let mut gateways = Vec::new();
    for number in 0..2 {
        let new = causeway_model::command::NewVpnGateway { gateway_type: "VGW-L".to_owned(), ..new_gateway(&network) };
        gateways.push(controller.create_vpn_gateway(operator, REGION, new).await.expect("made"));
        settle(&world, &[]).await;
        for host in 0..6_u8 {
            let customer = controller.create_customer_gateway(operator, REGION, new_customer(host + 1 + 10 * number));
            let customer = customer.await.expect("made");
            let mut new = new_connection(&gateways[usize::from(number)], &customer, Some(&policies[0]));
            if host == 5 {
                let routing_policy_id = Some(policies[1].id);
                new.bgp_ipv4 = Some(NewBgp { routing_policy_id, private_ip: None, peer_private_ip: None });
            }
            made.push((controller.create_connection(operator, REGION, new).await.expect("made").connection, customer));
            let ids: Vec<ConnectionId> = made.iter().map(|(connection, _)| connection.id).collect();
            settle(&world, &ids).await;
        }
    }
    let ids: Vec<ConnectionId> = made.iter().map(|(connection, _)| connection.id).collect();
    let first = Arc::clone(&desired.borrow_and_update());

    let options = OptionsChange { dpd_delay: Some(7), ..OptionsChange::default() };
    controller.update_connection_options(operator, REGION, ids[0], options).await.expect("changed");
    settle(&world, &ids).await;
    controller.renew_psk(operator, REGION, ids[1], false).await.expect("renewed");
    settle(&world, &ids).await;
    controller.renew_psk(operator, REGION, ids[2], true).await.expect("renewed");
    settle(&world, &ids).await;
    controller.set_connection_locked(operator, REGION, ids[3], Some("why".to_owned())).await.expect("locked");
    let change =
        ConnectionChange { initiation_policy: Some(InitiationPolicy::CustomerGateway), ..ConnectionChange::default() };
    settle(&world, &ids).await;
    controller.update_connection(operator, REGION, ids[4], change).await.expect("changed");
    settle(&world, &ids).await;
    let filter = Some(vec!["10.7.0.0/16".parse().expect("a prefix")]);
    let policy = controller.update_routing_policy(operator, REGION, policies[1].id, Rename::default(), filter, None);
    policy.await.expect("changed");
    settle(&world, &ids).await;
    let customer = made[6].1.id;
    let asn =
        controller.update_customer_gateway(operator, REGION, customer, Rename::default(), Some(65_009), None, None);
    asn.await.expect("changed");
    settle(&world, &ids).await;
    let change = PolicyChange { connection: ids[7], family: Family::Ipv4, policy: policies[0].id };
    controller.detach_routing_policy(operator, REGION, change).await.expect("detached");
    settle(&world, &ids).await;
    controller.delete_connection(operator, REGION, ids[8]).await.expect("deleted");
    let ids: Vec<ConnectionId> = ids.into_iter().enumerate().filter(|(at, _)| *at != 8).map(|(_, id)| id).collect();
    settle(&world, &ids).await;
    let gateway = gateways[1].gateway.id;
    controller.set_vpn_gateway_locked(operator, REGION, gateway, Some("why".to_owned())).await.expect("locked");
    settle(&world, &ids).await;

    // A lock is in no revision that the node owes.
    let locked = desired.wait_for(|desired| desired.gateways.iter().any(|gateway| gateway.locked));
    let last = tokio::time::timeout(std::time::Duration::from_secs(20), locked).await.expect("in time").expect("open");
    let last = Arc::clone(&last);
    let differ = ids.iter().filter(|id| connection_of(&first, **id) != connection_of(&last, **id)).count();
    assert_eq!(differ, 11, "each connection that is left, by itself or by its gateway's lock");
    let mut again = FakeNode::attach_as(controller, id).await;
    let fresh = again.wait_for(|desired| desired.revision > last.revision).await;
    assert_eq!(fresh.gateways, last.gateways);
    assert_eq!(fresh.vpcs, last.vpcs);
}
