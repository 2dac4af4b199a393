//! A VPC's gateways on several nodes: where its router is, what each node is told, and who takes over what (ADR 0039).

use std::net::SocketAddr;
use std::sync::Arc;

use causeway_controller::{Controller, NodeChange};
use causeway_model::desired::{CableDesired, NodeDesired, VpcDesired};
use causeway_model::explain::{Origin, Outcome, Question};
use causeway_model::observed::{Counter, ReceivedRoute, RouteDecision, VpcFacts};
use causeway_model::resource::PrivateNetwork;
use causeway_model::status::VpnGatewayStatus;
use causeway_model::watch::MachineState;
use causeway_model::{NodeId, ReasonCode, VpcId, VpnGatewayId};

use crate::harness::{FakeNode, REGION, World, ZONE, acknowledgement, new_connection, open, until};

/// Where a node answers others.
pub(crate) fn end(number: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, u8::try_from(number).expect("few")], 4431))
}

pub(crate) fn vpc_of(desired: &NodeDesired, vpc: VpcId) -> Option<&VpcDesired> {
    desired.vpcs.iter().find(|known| known.id == vpc)
}

/// Whether a node is to have a VPC's router.
pub(crate) fn routes(desired: &NodeDesired, vpc: VpcId) -> bool {
    vpc_of(desired, vpc).is_some_and(|vpc| vpc.router.is_none())
}

fn gateways(desired: &NodeDesired) -> Vec<VpnGatewayId> {
    desired.gateways.iter().map(|gateway| gateway.id).collect()
}

impl World {
    /// A zone with failover and so many nodes that have ends of tunnels.
    pub(crate) async fn meshed(count: usize) -> (Self, Vec<FakeNode>) {
        let world = Self::new().await;
        world.controller.set_failover([ZONE.to_owned()].into()).await.expect("set");
        let mut nodes = Vec::with_capacity(count);
        for number in 1..=count {
            let node = world.up().await;
            node.peering(Some(end(number)), &[]).await;
            nodes.push(node);
        }
        for node in &mut nodes {
            node.acknowledge_until(|desired| desired.failover && desired.peers.len() + 1 == count).await;
        }
        (world, nodes)
    }

    async fn on(&self, network: &PrivateNetwork) -> (VpnGatewayId, NodeId) {
        let id = self.gateway(&self.operator, network).await.gateway.id;
        (id, self.carrier(id).await.expect("placed"))
    }

    /// The node that has a VPC's router.
    pub(crate) async fn router(&self, vpc: VpcId) -> Option<NodeId> {
        let state = self.controller.vpc_state(&self.operator, REGION, vpc).await.expect("there");
        state.routers.iter().find(|(zone, _)| zone == ZONE).map(|(_, node)| *node)
    }

    async fn cordon(&self, node: NodeId, cordoned: bool) {
        let change = NodeChange { cordoned: Some(cordoned), ..NodeChange::default() };
        self.controller.change_node(&self.operator, node, change).await.expect("changed");
    }

    /// Switches a node's machine off, and lets it be noticed.
    async fn lose(&self, node: FakeNode) -> NodeId {
        let id = node.id;
        drop(node);
        self.controller.node_machine(id, MachineState::Stopped).await.expect("noted");
        self.pass(25).await;
        id
    }

    async fn delete(&self, id: VpnGatewayId) {
        until(&self.controller, async || self.controller.delete_vpn_gateway(&self.operator, REGION, id).await.is_ok())
            .await;
    }

    async fn is_active(&self, id: VpnGatewayId) {
        until(&self.controller, async || self.reason(id).await == (VpnGatewayStatus::Active, None)).await;
    }
}

/// Two gateways of one VPC on two of three nodes, all in force.
struct Spread {
    world: World,
    network: PrivateNetwork,
    home: FakeNode,
    leg: FakeNode,
    third: FakeNode,
    one: VpnGatewayId,
    two: VpnGatewayId,
}

impl Spread {
    fn vpc(&self) -> VpcId {
        self.network.vpc_id
    }
}

async fn spread() -> Spread {
    let (world, nodes) = World::meshed(3).await;
    let Ok([mut home, mut leg, third]) = <[FakeNode; 3]>::try_from(nodes) else { panic!("three") };
    let network = world.network(&world.operator).await;
    let (one, at) = world.on(&network).await;
    assert_eq!(at, home.id);
    let (two, at) = world.on(&network).await;
    assert_eq!(at, leg.id, "away from the other one");
    let vpc = network.vpc_id;
    home.acknowledge_until(|desired| vpc_of(desired, vpc).is_some_and(|vpc| vpc.cables.len() == 1)).await;
    leg.acknowledge_until(|desired| gateways(desired) == [two]).await;
    world.is_active(one).await;
    world.is_active(two).await;
    Spread { world, network, home, leg, third, one, two }
}

#[tokio::test]
async fn a_vpcs_second_gateway_hangs_by_a_cable_on_the_router_of_the_first_ones_node() {
    let Spread { world, network, mut home, mut leg, mut third, one, two } = spread().await;
    let vpc = network.vpc_id;
    let [of_home, of_leg] = [home.wait_for(|_| true).await, leg.wait_for(|_| true).await];
    let (there, here) = (vpc_of(&of_home, vpc).expect("told"), vpc_of(&of_leg, vpc).expect("told"));
    assert_eq!((there.router, here.router), (None, Some(home.id)));
    assert_eq!(there.networks, here.networks);
    assert_eq!((gateways(&of_home), gateways(&of_leg)), (vec![one], vec![two]));
    let cable = CableDesired {
        gateway: two,
        node: leg.id,
        number: 2,
        network: network.id,
        addresses: of_leg.gateways[0].private_addresses.clone(),
    };
    assert_eq!(there.cables, std::slice::from_ref(&cable));
    assert_eq!(here.cables, [CableDesired { node: home.id, ..cable }]);
    assert_eq!(of_leg.gateways[0].private_addresses.len(), 2);
    let key = |desired: &NodeDesired, node| {
        desired.peers.iter().find(|peer| peer.node == node).and_then(|peer| peer.key.clone())
    };
    assert!(key(&of_home, leg.id).is_some() && key(&of_home, leg.id) == key(&of_leg, home.id));
    assert_eq!(world.router(vpc).await, Some(home.id));
    assert!(!third.wait_for(|_| true).await.vpcs.iter().any(|known| known.id == vpc), "it has nothing to do with it");

    // The third one goes where none is, the fourth where the fewest of the project are, and other VPCs go by load as ever.
    let (three, at) = world.on(&network).await;
    assert_eq!(at, third.id);
    let cables = |desired: &NodeDesired| vpc_of(desired, vpc).map_or(0, |vpc| vpc.cables.len());
    assert_eq!(cables(&*home.wait_for(|desired| cables(desired) == 2).await), 2);
    assert_eq!(cables(&*third.wait_for(|desired| gateways(desired) == [three]).await), 1, "its own only");
    assert_eq!(cables(&*leg.wait_for(|_| true).await), 1);

    // A change of what the VPC's router does is every end's.
    world.controller.set_custom_routes_propagation(&world.operator, REGION, vpc, false).await.expect("set");
    for node in [&mut home, &mut leg, &mut third] {
        node.wait_for(|desired| vpc_of(desired, vpc).is_some_and(|vpc| !vpc.announce_custom_routes)).await;
    }
}

#[tokio::test]
async fn what_a_vpcs_router_does_is_what_its_own_node_says() {
    let Spread { world, network, mut home, mut leg, .. } = spread().await;
    let vpc = network.vpc_id;
    world.controller.set_custom_routes_propagation(&world.operator, REGION, vpc, false).await.expect("set");
    let newest = |desired: &NodeDesired| vpc_of(desired, vpc).is_some_and(|vpc| vpc.revision == 1);
    let of_leg = leg.wait_for(newest).await;
    let mut said = acknowledgement(&of_leg, None);
    let mut facts =
        VpcFacts { id: vpc, applied: 1, refused: None, networks: Default::default(), acl: Default::default() };
    facts.acl.ipv4_default = Counter { packets: 7, bytes: 700 };
    said.vpcs.push(facts.clone());
    leg.report(said.clone()).await;
    let applied = async |node: NodeId, revision| {
        until(&world.controller, async || world.node(node).await.node.applied_revision == revision).await;
    };
    applied(leg.id, said.revision).await;
    let state = async || world.controller.vpc_state(&world.operator, REGION, vpc).await.expect("there");
    assert_eq!((state().await.applied_revision, state().await.desired_revision), (0, 1), "its word counts for nothing");
    let of_home = home.acknowledge_until(newest).await;
    applied(home.id, of_home.revision).await;
    assert_eq!(state().await.applied_revision, 1);
    assert_eq!(state().await.acl_ipv4.default, Some(Counter::default()), "and its counters neither");
    assert_eq!(state().await.reason, None);
    world.on(&network).await;
    leg.wait_for(|_| true).await;
    leg.report(said).await;
    leg.keepalive().await;
    until(&world.controller, async || !world.node(leg.id).await.node.silent).await;
}

#[tokio::test]
async fn without_failover_or_an_end_of_tunnels_a_vpc_stays_together() {
    let world = World::new().await;
    let (mut first, second, without) = (world.up().await, world.up().await, world.up().await);
    let network = world.network(&world.operator).await;
    let (_, home) = world.on(&network).await;
    assert_eq!(home, first.id);
    first.peering(Some(end(1)), &[]).await;
    second.peering(Some(end(2)), &[]).await;
    first.wait_for(|desired| desired.peers.len() == 1).await;
    assert_eq!(world.on(&network).await.1, home, "no failover");
    world.controller.set_failover([ZONE.to_owned()].into()).await.expect("set");
    assert_eq!(world.on(&network).await.1, second.id, "not where no cable ends, though it is empty");
    for other in [home, second.id] {
        world.cordon(other, true).await;
    }
    let apart = world.apart().await;
    assert_eq!(world.on(&apart).await.1, without.id, "a router needs no cable");
    for other in [home, second.id] {
        world.cordon(other, false).await;
    }
    assert_eq!(world.on(&apart).await.1, without.id, "and its other gateways cannot have one");
    // What waits goes to where it reaches its VPC and nowhere else.
    for other in [home, second.id] {
        world.cordon(other, true).await;
    }
    let waits = world.gateway(&world.operator, &network).await.gateway.id;
    assert_eq!(world.carrier(waits).await, None);
    world.cordon(home, false).await;
    assert_eq!(world.carrier(waits).await, Some(home));
}

#[tokio::test]
async fn a_router_stays_while_any_gateway_is_placed_and_goes_with_the_last() {
    let (world, nodes) = World::meshed(3).await;
    let Ok([mut first, mut home, mut leg]) = <[FakeNode; 3]>::try_from(nodes) else { panic!("three") };
    let network = world.network(&world.operator).await;
    let vpc = network.vpc_id;
    first.wait_for(|desired| routes(desired, vpc)).await;
    world.cordon(first.id, true).await;
    let (one, at) = world.on(&network).await;
    assert_eq!(at, home.id);
    let (two, at) = world.on(&network).await;
    assert_eq!(at, leg.id);
    first.wait_for(|desired| !routes(desired, vpc)).await;
    home.acknowledge_until(|desired| vpc_of(desired, vpc).is_some_and(|vpc| vpc.cables.len() == 1)).await;
    leg.acknowledge_until(|desired| gateways(desired) == [two]).await;
    world.is_active(two).await;
    world.delete(one).await;
    let alone = home.acknowledge_until(|desired| desired.gateways.is_empty()).await;
    assert!(routes(&alone, vpc) && vpc_of(&alone, vpc).is_some_and(|vpc| vpc.cables.len() == 1));
    until(&world.controller, async || world.controller.gateway_state(&world.operator, REGION, one).await.is_err())
        .await;
    assert_eq!(world.router(vpc).await, Some(home.id), "the other one hangs on it");
    assert_eq!(world.carrier(two).await, Some(leg.id));
    let (three, at) = world.on(&network).await;
    assert_eq!(at, home.id, "none of the VPC's is there");
    home.acknowledge_until(|desired| gateways(desired) == [three]).await;
    world.is_active(three).await;

    // With the last one the router goes, and the node that came first has it once the home has let go.
    world.delete(two).await;
    home.wait_for(|desired| vpc_of(desired, vpc).is_some_and(|vpc| vpc.cables.is_empty())).await;
    world.delete(three).await;
    let last = home.wait_for(|desired| vpc_of(desired, vpc).is_none()).await;
    leg.acknowledge_until(|desired| desired.gateways.is_empty()).await;
    until(&world.controller, async || world.controller.gateway_state(&world.operator, REGION, two).await.is_err())
        .await;
    assert_eq!(world.router(vpc).await, Some(home.id), "it has not said that it has let go");
    assert!(!routes(&*first.wait_for(|_| true).await, vpc));
    home.acknowledge_until(|desired| desired.revision >= last.revision).await;
    first.wait_for(|desired| routes(desired, vpc)).await;
    assert_eq!(world.router(vpc).await, None);
    // A gateway that comes while the last one goes keeps the router where it is.
    let (four, at) = world.on(&network).await;
    assert_eq!(at, home.id);
    home.acknowledge_until(|desired| gateways(desired) == [four]).await;
    world.is_active(four).await;
    world.delete(four).await;
    home.wait_for(|desired| vpc_of(desired, vpc).is_none()).await;
    world.cordon(leg.id, true).await;
    let (five, at) = world.on(&network).await;
    assert_eq!(at, home.id);
    let kept = home.acknowledge_until(|desired| gateways(desired) == [five]).await;
    assert!(routes(&kept, vpc));
    world.is_active(five).await;
    assert_eq!(world.router(vpc).await, Some(home.id));
}

#[tokio::test]
async fn the_node_of_a_sibling_takes_the_router_of_a_lost_one() {
    let Spread { world, network, home, mut leg, mut third, one, two } = spread().await;
    let vpc = network.vpc_id;
    let lost = world.lose(home).await;
    assert_eq!(world.router(vpc).await, Some(leg.id));
    assert_eq!((world.carrier(one).await, world.carrier(two).await), (Some(third.id), Some(leg.id)));
    let taken = leg.acknowledge_until(|desired| routes(desired, vpc)).await;
    assert_eq!(vpc_of(&taken, vpc).expect("told").cables.iter().map(|cable| cable.gateway).collect::<Vec<_>>(), [one]);
    let moved = third.acknowledge_until(|desired| gateways(desired) == [one]).await;
    assert_eq!(vpc_of(&moved, vpc).expect("told").router, Some(leg.id));
    world.is_active(one).await;
    world.is_active(two).await;
    let mut again = FakeNode::attach_remote(&world.controller, lost).await;
    let told = again.wait_for(|desired| desired.failover).await;
    assert!(told.gateways.is_empty() && !routes(&told, vpc), "it is told that it has nothing");
}

#[tokio::test]
async fn a_lost_node_with_nothing_but_a_router_is_replaced() {
    let Spread { world, network, mut home, mut leg, third, one, two } = spread().await;
    let vpc = network.vpc_id;
    world.delete(one).await;
    home.acknowledge_until(|desired| desired.gateways.is_empty()).await;
    assert_eq!(world.router(vpc).await, Some(home.id));
    let lost = home.id;
    drop(home);
    world.controller.node_machine(lost, MachineState::Stopped).await.expect("noted");
    assert_eq!(world.router(vpc).await, Some(lost), "it was heard a moment ago");
    let state = async || world.controller.gateway_state(&world.operator, REGION, two).await.expect("there");
    assert_eq!(state().await.status, VpnGatewayStatus::Active);
    assert_eq!(state().await.reason.map(|reason| reason.code), Some(ReasonCode::RouterUnreachable));
    world.pass(25).await;
    assert_eq!(world.router(vpc).await, Some(leg.id));
    let taken = leg.acknowledge_until(|desired| routes(desired, vpc)).await;
    assert!(vpc_of(&taken, vpc).is_some_and(|vpc| vpc.cables.is_empty()));
    world.is_active(two).await;
    drop(third);
}

#[tokio::test]
async fn a_lost_leg_goes_where_no_sibling_is() {
    let Spread { world, network, mut home, leg, mut third, two, .. } = spread().await;
    let vpc = network.vpc_id;
    world.lose(leg).await;
    assert_eq!((world.carrier(two).await, world.router(vpc).await), (Some(third.id), Some(home.id)));
    let to = third.id;
    home.wait_for(|desired| vpc_of(desired, vpc).is_some_and(|vpc| vpc.cables.iter().any(|cable| cable.node == to)))
        .await;
    third.acknowledge_until(|desired| gateways(desired) == [two]).await;
    world.is_active(two).await;
    // Then there is only the home left.
    world.lose(third).await;
    assert_eq!((world.carrier(two).await, world.router(vpc).await), (Some(home.id), Some(home.id)));
    let whole = home.acknowledge_until(|desired| desired.gateways.len() == 2).await;
    assert!(vpc_of(&whole, vpc).is_some_and(|vpc| vpc.router.is_none() && vpc.cables.is_empty()));
    world.is_active(two).await;
}

#[tokio::test]
async fn where_both_are_lost_the_next_placement_decides() {
    let Spread { world, network, home, leg, mut third, one, two } = spread().await;
    let vpc = network.vpc_id;
    let (first, second) = (home.id, leg.id);
    drop((home, leg));
    // The leg is silent only: nothing moves off it without a majority.
    for _ in 0..8 {
        world.pass(10).await;
        third.keepalive().await;
        until(&world.controller, async || !world.node(third.id).await.node.silent).await;
    }
    world.controller.node_machine(first, MachineState::Stopped).await.expect("noted");
    world.pass(1).await;
    assert_eq!((world.carrier(one).await, world.carrier(two).await), (Some(third.id), Some(second)));
    assert_eq!(world.router(vpc).await, Some(third.id), "the only one that is up");
    let told = third.acknowledge_until(|desired| gateways(desired) == [one]).await;
    assert!(vpc_of(&told, vpc).is_some_and(|vpc| vpc.router.is_none() && vpc.cables.len() == 1));
    let mut back = FakeNode::attach_remote(&world.controller, second).await;
    let told = back.wait_for(|desired| gateways(desired) == [two]).await;
    assert_eq!(vpc_of(&told, vpc).and_then(|vpc| vpc.router), Some(third.id));
}

#[tokio::test]
async fn a_drained_home_lets_go_of_the_router_before_another_node_has_it() {
    let Spread { world, network, mut home, mut leg, mut third, one, two } = spread().await;
    let vpc = network.vpc_id;
    let before = home.wait_for(|_| true).await;
    world.controller.drain_node(&world.operator, home.id).await.expect("drained");
    let last = home.wait_for(|desired| desired.gateways.is_empty() && vpc_of(desired, vpc).is_none()).await;
    // What it says meanwhile is of before, or that it is not done yet.
    let mut said = acknowledgement(&before, None);
    for (packets, revision) in [(7, before.revision), (8, last.revision)] {
        said.revision = revision;
        said.vpcs[0].acl.ipv4_default = Counter { packets, bytes: 0 };
        home.report(said.clone()).await;
        until(&world.controller, async || {
            let state = world.controller.vpc_state(&world.operator, REGION, vpc).await.expect("there");
            state.acl_ipv4.default.is_some_and(|counter| counter.packets == packets)
        })
        .await;
        assert_eq!(world.router(vpc).await, Some(home.id), "it has not said that it has let go");
    }
    let waiting = leg.wait_for(|desired| vpc_of(desired, vpc).is_some_and(|vpc| vpc.cables.len() == 1)).await;
    assert!(!routes(&waiting, vpc) && !routes(&*third.wait_for(|_| true).await, vpc));
    home.acknowledge_until(|desired| desired.revision >= last.revision).await;
    leg.acknowledge_until(|desired| routes(desired, vpc)).await;
    third.acknowledge_until(|desired| gateways(desired) == [one]).await;
    assert_eq!(world.router(vpc).await, Some(leg.id));
    world.is_active(one).await;
    world.is_active(two).await;
    // Back in service it gets nothing by itself; the next drain takes the other's gateway there.
    world.cordon(home.id, false).await;
    assert_eq!(world.router(vpc).await, Some(leg.id));
    world.controller.drain_node(&world.operator, leg.id).await.expect("drained");
    let last = leg.wait_for(|desired| desired.gateways.is_empty() && vpc_of(desired, vpc).is_none()).await;
    leg.acknowledge_until(|desired| desired.revision >= last.revision).await;
    third.acknowledge_until(|desired| routes(desired, vpc)).await;
    home.acknowledge_until(|desired| gateways(desired) == [two]).await;
    world.is_active(two).await;
}

#[tokio::test]
async fn a_drained_leg_lets_go_of_its_gateway_and_a_drained_router_of_itself() {
    let Spread { world, network, mut home, mut leg, mut third, one, two } = spread().await;
    let vpc = network.vpc_id;
    world.controller.drain_node(&world.operator, leg.id).await.expect("drained");
    let last = leg.wait_for(|desired| desired.gateways.is_empty()).await;
    assert!(vpc_of(&last, vpc).is_none());
    home.wait_for(|desired| vpc_of(desired, vpc).is_some_and(|vpc| vpc.cables.is_empty())).await;
    assert_eq!(world.carrier(two).await, Some(leg.id), "it has not said that it has let go");
    leg.acknowledge_until(|desired| desired.revision >= last.revision).await;
    third.acknowledge_until(|desired| gateways(desired) == [two]).await;
    home.acknowledge_until(|desired| vpc_of(desired, vpc).is_some_and(|vpc| vpc.cables.len() == 1)).await;
    assert_eq!(world.router(vpc).await, Some(home.id));
    world.is_active(two).await;
    world.delete(one).await;
    home.acknowledge_until(|desired| desired.gateways.is_empty()).await;
    until(&world.controller, async || world.controller.gateway_state(&world.operator, REGION, one).await.is_err())
        .await;
    world.controller.drain_node(&world.operator, home.id).await.expect("drained");
    let last = home.wait_for(|desired| vpc_of(desired, vpc).is_none()).await;
    assert_eq!(world.router(vpc).await, Some(home.id));
    home.acknowledge_until(|desired| desired.revision >= last.revision).await;
    let taken = third.acknowledge_until(|desired| routes(desired, vpc)).await;
    assert!(vpc_of(&taken, vpc).is_some_and(|vpc| vpc.cables.is_empty()));
    world.is_active(two).await;
}

#[tokio::test]
async fn a_revoked_node_counts_as_lost_at_once() {
    let Spread { world, network, home, mut leg, mut third, one, two } = spread().await;
    let vpc = network.vpc_id;
    world.controller.revoke_node(&world.operator, home.id).await.expect("revoked");
    assert_eq!(world.router(vpc).await, Some(leg.id));
    assert_eq!((world.carrier(one).await, world.carrier(two).await), (Some(third.id), Some(leg.id)));
    leg.acknowledge_until(|desired| vpc_of(desired, vpc).is_some_and(|vpc| vpc.cables.len() == 1)).await;
    third.acknowledge_until(|desired| gateways(desired) == [one]).await;
    world.controller.revoke_node(&world.operator, third.id).await.expect("revoked");
    assert_eq!((world.carrier(one).await, world.router(vpc).await), (Some(leg.id), Some(leg.id)));
    let whole = leg.acknowledge_until(|desired| desired.gateways.len() == 2).await;
    assert!(vpc_of(&whole, vpc).is_some_and(|vpc| vpc.router.is_none() && vpc.cables.is_empty()));
    world.is_active(one).await;
}

#[tokio::test]
async fn a_controller_that_starts_anew_goes_on_in_each_state() {
    let Spread { world, network, mut home, mut leg, one, .. } = spread().await;
    let vpc = network.vpc_id;
    let (first, second) = (home.id, leg.id);
    let before = [home.wait_for(|_| true).await, leg.wait_for(|_| true).await];
    let restart = async |controller: &Controller| {
        controller.close().await;
        let controller = open(&world.directory.path().join("causeway.db"), world.clock.clone()).await;
        controller.set_failover([ZONE.to_owned()].into()).await.expect("set");
        controller
    };
    let controller = restart(&world.controller).await;
    home = FakeNode::attach_remote(&controller, first).await;
    leg = FakeNode::attach_remote(&controller, second).await;
    let same = |now: &NodeDesired, before: &Arc<NodeDesired>| {
        assert_eq!((&now.vpcs, &now.gateways, &now.peers), (&before.vpcs, &before.gateways, &before.peers));
    };
    same(&*home.wait_for(|_| true).await, &before[0]);
    same(&*leg.wait_for(|_| true).await, &before[1]);

    // The home is told to let go, and says so to the next process.
    let state = async |controller: &Controller| {
        let state = controller.vpc_state(&world.operator, REGION, vpc).await.expect("there");
        state.routers.first().map(|(_, node)| *node)
    };
    let carrier = async |controller: &Controller, id| {
        controller.gateway_state(&world.operator, REGION, id).await.expect("there").node
    };
    for node in [&mut home, &mut leg] {
        node.acknowledge_until(|_| true).await;
    }
    until(&controller, async || {
        let states = [controller.node(&world.operator, first).await, controller.node(&world.operator, second).await];
        states.iter().all(|info| info.as_ref().is_ok_and(|info| !info.node.silent && info.node.state.as_str() == "up"))
    })
    .await;
    controller.drain_node(&world.operator, first).await.expect("drained");
    let last = home.wait_for(|desired| vpc_of(desired, vpc).is_none()).await;
    let controller = restart(&controller).await;
    leg = FakeNode::attach_remote(&controller, second).await;
    home = FakeNode::attach_remote(&controller, first).await;
    assert!(home.wait_for(|desired| desired.revision >= last.revision).await.vpcs.is_empty());
    assert!(!routes(&*leg.wait_for(|_| true).await, vpc));
    assert_eq!((state(&controller).await, carrier(&controller, one).await), (Some(first), Some(first)));
    leg.acknowledge_until(|_| true).await;
    until(&controller, async || {
        controller.node(&world.operator, second).await.is_ok_and(|info| info.node.state.as_str() == "up")
    })
    .await;
    home.acknowledge_until(|desired| desired.revision >= last.revision).await;
    leg.acknowledge_until(|desired| routes(desired, vpc)).await;
    until(&controller, async || state(&controller).await == Some(second)).await;
}

#[tokio::test]
async fn a_route_is_explained_whichever_node_learned_it() {
    let mut spread = spread().await;
    let vpc = spread.vpc();
    let Spread { world, leg, two, .. } = &mut spread;
    let customer = world.customer(&world.operator, 1).await;
    let policy = world.policy(&world.operator, false).await;
    let view = world.controller.vpn_gateway(&world.operator, REGION, *two).await.expect("there");
    let new = new_connection(&view, &customer, Some(&policy));
    let connection =
        world.controller.create_connection(&world.operator, REGION, new).await.expect("made").connection.id;
    let desired = leg.wait_for(|desired| desired.gateways.iter().any(|gateway| gateway.connections.len() == 1)).await;
    let mut said = acknowledgement(&desired, Some((true, true)));
    let prefix = "10.0.1.0/24".parse().expect("a prefix");
    said.connections[0].received = vec![ReceivedRoute {
        prefix,
        next_hop: desired.gateways[0].connections[0].bgp[0].peer.addr(),
        as_path: vec![65000],
        med: None,
        communities: Vec::new(),
        decision: RouteDecision::Installed,
        stale: false,
    }];
    leg.report(said).await;
    let explain = async || {
        let question = Question::Prefix(prefix);
        world.controller.explain_route(&world.operator, REGION, vpc, &question).await.expect("there")
    };
    until(&world.controller, async || explain().await.verdict == "routed").await;
    let answer = explain().await;
    assert_eq!(answer.caveats, []);
    let best = answer.candidates.first().expect("one");
    assert!(best.taken && best.outcome == Outcome::Installed, "{best:?}");
    let is_it = matches!(best.origin, Origin::Learned(causeway_model::explain::Via::Connection { connection: of, gateway })
        if of == connection && gateway == *two);
    assert!(is_it, "{best:?}");
    // Its own node is well; the one that it leads through is not.
    let home = spread.home.id;
    drop(spread.home);
    spread.world.controller.node_machine(home, MachineState::Stopped).await.expect("noted");
    let question = Question::Prefix(prefix);
    let answer = spread.world.controller.explain_route(&spread.world.operator, REGION, vpc, &question).await;
    let caveats = answer.expect("there").caveats;
    let [caveat] = caveats.as_slice() else { panic!("{caveats:?}") };
    assert_eq!((caveat.code, &caveat.evidence["of"]), (ReasonCode::NodeUnreachable, &format!("router of VPC {vpc}")));
}
