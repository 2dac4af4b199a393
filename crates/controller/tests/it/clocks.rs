//! A clock that is set by an hour either way while the service runs: deadlines last as long, and nothing counts as lost (system.md §4).

use causeway_controller::EventQuery;
use causeway_model::VpnGatewayId;
use causeway_model::status::{NodeState, VpnGatewayStatus};

use crate::harness::{FakeNode, REGION, World, ZONE, until};

const HOUR: i64 = 3600;

impl World {
    async fn gateway_status(&self, id: VpnGatewayId) -> VpnGatewayStatus {
        self.controller.vpn_gateway(&self.operator, REGION, id).await.expect("there").status
    }

    /// What the history says of a gateway's status, the newest first.
    async fn told(&self, id: VpnGatewayId) -> Vec<String> {
        let query = EventQuery { after: None, before: None, limit: 10 };
        let events = self.controller.vpn_gateway_events(&self.operator, REGION, id, &query).await.expect("read");
        events.into_iter().filter(|event| event.kind == "status").map(|event| event.subject).collect()
    }
}

#[tokio::test]
async fn a_node_has_its_thirty_seconds_whoever_sets_the_clock() {
    for set in [HOUR, -HOUR] {
        let world = World::new().await;
        let _node = FakeNode::attach(&world.controller).await;
        let network = world.network(&world.operator).await;
        let id = world.gateway(&world.operator, &network).await.gateway.id;
        world.pass_heard(15).await;
        world.set_clock(set).await;
        assert_eq!(world.gateway_status(id).await, VpnGatewayStatus::Provisioning, "set by {set} s");
        world.pass_heard(10).await;
        assert_eq!(world.gateway_status(id).await, VpnGatewayStatus::Provisioning, "set by {set} s");
        world.pass_heard(6).await;
        assert_eq!(world.gateway_status(id).await, VpnGatewayStatus::Failed, "set by {set} s");
        assert_eq!(world.told(id).await.first().map(String::as_str), Some("failed"), "set by {set} s");
    }
}

#[tokio::test]
async fn what_is_overdue_when_the_clock_is_set_is_told() {
    for set in [HOUR, -HOUR] {
        let world = World::new().await;
        let _node = FakeNode::attach(&world.controller).await;
        let network = world.network(&world.operator).await;
        let id = world.gateway(&world.operator, &network).await.gateway.id;
        world.pass_heard(28).await;
        // The same look at the deadlines finds that the clock was set, and that the time is over.
        world.clock_forward(3);
        world.set_clock(set).await;
        assert_eq!(world.told(id).await.first().map(String::as_str), Some("failed"), "set by {set} s");
    }
}

#[tokio::test]
async fn a_deleted_gateway_is_shown_for_its_minute_whoever_sets_the_clock() {
    for set in [HOUR, -HOUR] {
        let world = World::new().await;
        let mut node = FakeNode::attach(&world.controller).await;
        let network = world.network(&world.operator).await;
        let id = world.gateway(&world.operator, &network).await.gateway.id;
        node.acknowledge_until(|desired| desired.gateways.len() == 1).await;
        until(&world.controller, async || world.gateway_status(id).await == VpnGatewayStatus::Active).await;
        world.controller.delete_vpn_gateway(&world.operator, REGION, id).await.expect("deleted");
        world.pass_heard(30).await;
        world.set_clock(set).await;
        assert_eq!(world.gateway_status(id).await, VpnGatewayStatus::Deprovisioning, "set by {set} s");
        world.pass_heard(31).await;
        let gone = world.controller.vpn_gateway(&world.operator, REGION, id).await;
        assert!(gone.is_err(), "set by {set} s: {gone:?}");
    }
}

#[tokio::test]
async fn a_join_token_is_good_for_its_hour_whoever_sets_the_clock() {
    for set in [2 * HOUR, -2 * HOUR] {
        let world = World::new().await;
        let c = &world.controller;
        let made =
            c.create_join_token(&world.operator, ZONE.to_owned(), String::new(), None).await.expect("made").token;
        let left = async || {
            let tokens = c.list_join_tokens(&world.operator).await.expect("listed");
            let token = tokens.iter().find(|token| token.id == made.id).expect("there");
            token.expires_at.seconds_since(c.time())
        };
        c.run_deadlines().await.expect("deadlines");
        world.set_clock(set).await;
        let seconds = left().await;
        assert!((3500.0..=3600.0).contains(&seconds), "set by {set} s: {seconds} s are left");
    }
}

#[tokio::test]
async fn no_node_is_lost_by_a_clock_that_is_set() {
    for set in [HOUR, -HOUR] {
        let world = World::new().await;
        let node = world.up().await;
        world.pass(50).await;
        node.keepalive().await;
        node.keepalive().await;
        let before = world.controller.node(&world.operator, node.id).await.expect("there");
        world.set_clock(set).await;
        world.pass(15).await;
        let after = world.controller.node(&world.operator, node.id).await.expect("there");
        assert_eq!(after.node.state, NodeState::Up, "set by {set} s");
        assert_eq!(after.history.len(), before.history.len(), "set by {set} s: {:?}", after.history);
    }
}
