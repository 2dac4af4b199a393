//! Nodes of other machines: how they join, what they count as, and what they carry.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway_controller::{Controller, NodeChange, NodeInfo};
use causeway_fleet::authority;
use causeway_fleet::door::{Denied, Gatekeeper, JoinRequest, Membership, RenewRequest};
use causeway_model::command::{NewPrivateNetwork, NewVpc};
use causeway_model::desired::Peer;
use causeway_model::diagnosis::NodeFacts;
use causeway_model::resource::{PrivateNetwork, Role};
use causeway_model::status::{NodeState, VpnGatewayStatus};
use causeway_model::watch::{MachineState, Service};
use causeway_model::{Error, NodeId, ReasonCode, VpnGatewayId};
use causeway_store::ObjectEvent;

use crate::harness::{FakeNode, REGION, World, ZONE, kind, meta, open, until};

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn request(token: &str) -> JoinRequest {
    let (_, request) = authority::request().expect("made");
    let (name, version) = ("a machine".to_owned(), "1".to_owned());
    JoinRequest { token: token.to_owned(), request, name, version, now: seconds_now() }
}

impl World {
    async fn token(&self) -> String {
        let made = self.controller.create_join_token(&self.operator, ZONE.to_owned(), String::new(), None).await;
        made.expect("made").text.as_str().to_owned()
    }

    async fn joined(&self) -> Membership {
        self.controller.join(request(&self.token().await)).await.expect("joins")
    }

    pub(crate) async fn node(&self, id: NodeId) -> NodeInfo {
        self.controller.node(&self.operator, id).await.expect("there")
    }

    pub(crate) async fn node_is(&self, id: NodeId, state: NodeState) {
        until(&self.controller, async || self.node(id).await.node.state == state).await;
    }

    /// A remote node that has joined and is up.
    pub(crate) async fn up(&self) -> FakeNode {
        let id = self.joined().await.node;
        let node = FakeNode::attach_remote(&self.controller, id).await;
        self.node_is(id, NodeState::Up).await;
        node
    }

    /// A Private Network of a VPC of its own.
    pub(crate) async fn apart(&self) -> PrivateNetwork {
        let vpc = self.controller.create_vpc(&self.operator, REGION, NewVpc { meta: meta("apart") }).await;
        let new = NewPrivateNetwork {
            meta: meta("apart"),
            subnets: Vec::new(),
            vpc_id: Some(vpc.expect("made").id),
            default_route_propagation_enabled: false,
        };
        self.controller.create_private_network(&self.operator, REGION, new).await.expect("made")
    }

    pub(crate) async fn carrier(&self, id: VpnGatewayId) -> Option<NodeId> {
        self.controller.gateway_state(&self.operator, REGION, id).await.expect("there").node
    }

    pub(crate) async fn reason(&self, id: VpnGatewayId) -> (VpnGatewayStatus, Option<ReasonCode>) {
        let state = self.controller.gateway_state(&self.operator, REGION, id).await.expect("there");
        (state.status, state.reason.map(|reason| reason.code))
    }
}

fn code(result: Result<Membership, Denied>) -> String {
    result.expect_err("refused").code
}

#[tokio::test]
async fn a_token_works_once_and_for_as_long_as_it_says() {
    let world = World::new().await;
    let token = world.token().await;
    let controller = &world.controller;
    assert_eq!(code(controller.join(request("cwjoin-nonsense")).await), "invalid_request");
    let mut wrong_clock = request(&token);
    wrong_clock.now -= 600;
    let denied = controller.join(wrong_clock).await.expect_err("refused");
    assert!(denied.code == "clock" && denied.message.contains("behind"), "{denied:?}");
    let mut no_key = request(&token);
    no_key.request = "nothing".to_owned();
    assert_eq!(code(controller.join(no_key).await), "invalid_request");
    // None of these has used it up.
    let first = controller.join(request(&token)).await.expect("joins");
    assert_eq!(first.zone, ZONE);
    let denied = controller.join(request(&token)).await.expect_err("used");
    assert!(denied.code == "token_used" && denied.message.contains("node token create"), "{denied:?}");
    let stale = world.token().await;
    world.clock_forward(3601);
    let mut late = request(&stale);
    late.now += 3601;
    assert_eq!(code(controller.join(late).await), "token_expired");
    let tokens = controller.list_join_tokens(&world.operator).await.expect("listed");
    assert_eq!(tokens.iter().filter(|token| token.node == Some(first.node)).count(), 1);
    let unused = tokens.first().expect("the newest");
    controller.delete_join_token(&world.operator, unused.id).await.expect("taken back");
    assert_eq!(code(controller.join(request(&stale)).await), "clock");
    let mut gone = request(&stale);
    gone.now += 3601;
    assert_eq!(code(controller.join(gone).await), "token_unknown");
    let missing = controller.delete_join_token(&world.operator, unused.id).await.expect_err("gone");
    assert_eq!(kind(&missing), "404 node_join_token");
}

#[tokio::test]
async fn tokens_are_for_operators_and_for_zones_that_there_are() {
    let world = World::new().await;
    let create = async |caller: &_, zone: &str, life| {
        let made = world.controller.create_join_token(caller, zone.to_owned(), String::new(), life).await;
        made.map(|made| made.token.zone).map_err(|error: Error| kind(&error))
    };
    assert_eq!(create(&world.operator, "fr-par-2", Some(60)).await.as_deref(), Ok("fr-par-2"));
    assert_eq!(create(&world.operator, "nl-ams-1", None).await, Err("400 zone".to_owned()));
    assert_eq!(create(&world.operator, ZONE, Some(59)).await, Err("400 expires_in".to_owned()));
    let project = world.operator.project_id;
    for role in [Role::Tenant, Role::Support, Role::Partner, Role::Node] {
        let caller = world.caller(role, project).await;
        assert_eq!(create(&caller, ZONE, None).await, Err("403 node_join_token".to_owned()));
        assert_eq!(kind(&world.controller.list_nodes(&caller).await.expect_err("denied")), "403 node");
    }
}

#[tokio::test]
async fn a_node_waits_is_up_at_its_second_keepalive_and_down_when_it_is_silent() {
    let world = World::new().await;
    let id = world.joined().await.node;
    let info = world.node(id).await;
    assert_eq!(info.node.state, NodeState::Waiting);
    assert_eq!(info.node.fault.map(|fault| fault.code), Some(ReasonCode::NodeWaiting));
    let network = world.network(&world.operator).await;
    let gateway = world.gateway(&world.operator, &network).await.gateway.id;
    assert_eq!(world.carrier(gateway).await, None, "nothing is placed on a node that waits");
    let mut node = FakeNode::attach_remote(&world.controller, id).await;
    world.node_is(id, NodeState::Up).await;
    node.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    until(&world.controller, async || world.reason(gateway).await == (VpnGatewayStatus::Active, None)).await;
    // The end of a channel says nothing; its keepalives do.
    drop(node);
    world.pass(30).await;
    assert_eq!(world.node(id).await.node.state, NodeState::Up);
    assert!(world.node(id).await.node.silent, "no frame for two periods");
    world.pass(31).await;
    let info = world.node(id).await;
    assert_eq!(info.node.fault.map(|fault| fault.code), Some(ReasonCode::NodeSilent));
    assert_eq!(world.reason(gateway).await, (VpnGatewayStatus::Failed, Some(ReasonCode::NoHealthyNode)));
    let again = FakeNode::attach_remote(&world.controller, id).await;
    world.node_is(id, NodeState::Up).await;
    assert_eq!(world.carrier(gateway).await, Some(id));
    let history: Vec<String> = world.node(id).await.history.into_iter().map(|event| event.subject).collect();
    assert_eq!(history.first().map(String::as_str), Some("up"));
    assert!(history.iter().any(|subject| subject == "down"), "{history:?}");
    drop(again);
}

#[tokio::test]
async fn a_dead_service_takes_its_node_down_until_it_lives_again() {
    let world = World::new().await;
    let node = world.up().await;
    let ike = |dead: Option<&str>| Service { name: "ike".to_owned(), dead: dead.map(str::to_owned) };
    node.services(vec![ike(Some("its task has ended"))]).await;
    world.node_is(node.id, NodeState::Down).await;
    let fault = world.node(node.id).await.node.fault.expect("a reason");
    assert_eq!(fault.code, ReasonCode::CriticalServiceDead);
    assert_eq!((fault.evidence["service"].as_str(), fault.evidence["error"].as_str()), ("ike", "its task has ended"));
    node.services(vec![ike(None)]).await;
    world.node_is(node.id, NodeState::Up).await;
    assert_eq!(world.node(node.id).await.node.fault, None);
}

#[tokio::test]
async fn a_new_start_of_the_controller_keeps_states_for_one_interval() {
    let world = World::new().await;
    let node = world.up().await;
    let id = node.id;
    world.controller.close().await;
    let controller: Controller = open(&world.directory.path().join("causeway.db"), world.clock.clone()).await;
    let state = async || controller.node(&world.operator, id).await.expect("there").node;
    assert_eq!((state().await.state, state().await.silent), (NodeState::Up, true));
    world.clock_forward(59);
    controller.run_deadlines().await.expect("deadlines");
    assert_eq!(state().await.state, NodeState::Up);
    world.clock_forward(1);
    controller.run_deadlines().await.expect("deadlines");
    assert_eq!(state().await.state, NodeState::Down);
}

#[tokio::test]
async fn gateways_go_where_there_is_room_and_a_vpc_stays_together() {
    let world = World::new().await;
    let nodes = [world.up().await, world.up().await];
    let [first, second] = nodes.map(|node| {
        let id = node.id;
        drop(node.run());
        id
    });
    let network = world.network(&world.operator).await;
    let of = async |network: &PrivateNetwork| world.gateway(&world.operator, network).await.gateway.id;
    let one = of(&network).await;
    assert_eq!(world.carrier(one).await, Some(first));
    let two = of(&network).await;
    assert_eq!(world.carrier(two).await, Some(first), "its VPC's router is there");
    let three = of(&world.apart().await).await;
    assert_eq!(world.carrier(three).await, Some(second), "it carries less");
    let limit = |connections| NodeChange { max_connections: Some(connections), ..NodeChange::default() };
    let change =
        async |node, change| world.controller.change_node(&world.operator, node, change).await.expect("changed");
    change(first, limit(Some(20))).await;
    change(second, NodeChange { cordoned: Some(true), ..NodeChange::default() }).await;
    let four = of(&world.apart().await).await;
    assert_eq!(world.reason(four).await, (VpnGatewayStatus::Failed, Some(ReasonCode::NoCapacity)));
    change(first, limit(Some(30))).await;
    assert_eq!(world.carrier(four).await, Some(first), "room has come");
    let five = of(&world.apart().await).await;
    assert_eq!(world.reason(five).await.1, Some(ReasonCode::NoCapacity));
    change(second, NodeChange { cordoned: Some(false), ..NodeChange::default() }).await;
    assert_eq!(world.carrier(five).await, Some(second));
}

#[tokio::test]
async fn a_tenants_gateways_are_spread_even_to_the_node_with_more_load() {
    let world = World::new().await;
    let nodes = [world.up().await, world.up().await];
    let [first, second] = nodes.map(|node| {
        let id = node.id;
        drop(node.run());
        id
    });
    let tenant = world.tenant().await;
    let theirs = world.network(&tenant).await;
    for _ in 0..2 {
        let gateway = world.gateway(&tenant, &theirs).await.gateway.id;
        assert_eq!(world.carrier(gateway).await, Some(first));
    }
    let of = async |network: &PrivateNetwork| world.gateway(&world.operator, network).await.gateway.id;
    let one = of(&world.apart().await).await;
    assert_eq!(world.carrier(one).await, Some(second), "it carries less");
    let two = of(&world.apart().await).await;
    assert_eq!(world.carrier(two).await, Some(first), "the second still carries less, but has one of the same project");
}

#[tokio::test]
async fn a_revoked_node_is_out_and_what_it_carries_goes_to_another_one() {
    let world = World::new().await;
    let mut first = world.up().await;
    let network = world.network(&world.operator).await;
    let gateway = world.gateway(&world.operator, &network).await.gateway.id;
    let link = world.order(world.catalogue().await.self_hosted(100)).await.link.id;
    first.acknowledge_until(|desired| desired.gateways.len() == 1 && desired.links.len() == 1).await;
    let mut second = world.up().await;
    let id = first.id;
    let info = world.controller.revoke_node(&world.operator, id).await.expect("revoked");
    assert!(info.node.revoked_at.is_some() && info.gateways.is_empty());
    assert_eq!(world.carrier(gateway).await, Some(second.id));
    second.acknowledge_until(|desired| desired.gateways.len() == 1 && desired.links.len() == 1).await;
    until(&world.controller, async || {
        let state = world.controller.link_state(&world.operator, REGION, link).await.expect("there");
        state.node == Some(second.id) && state.applied_revision == state.desired_revision
    })
    .await;
    first.ended().await;
    let controller = &world.controller;
    let denied = controller.admit(id).await.expect_err("revoked");
    assert_eq!((denied.status, denied.code.as_str()), (403, "revoked"));
    let (_, request) = authority::request().expect("made");
    assert_eq!(code(controller.renew(id, RenewRequest { request }).await), "revoked");
    let stranger = controller.admit(NodeId::random()).await.expect_err("unknown");
    assert_eq!(stranger.code, "unknown_node");
    let local = FakeNode::attach(controller).await;
    let refused = controller.revoke_node(&world.operator, local.id).await.expect_err("it never joined");
    assert_eq!(kind(&refused), "412 node_joined");
}

#[tokio::test]
async fn a_second_session_of_a_node_ends_the_first() {
    let world = World::new().await;
    let mut first = world.up().await;
    let second = FakeNode::attach_remote(&world.controller, first.id).await;
    first.ended().await;
    world.node_is(second.id, NodeState::Up).await;
}

/// Two nodes of a zone with failover, and a gateway in force on the first, which knows that it may be replaced.
async fn with_failover() -> (World, FakeNode, FakeNode, VpnGatewayId) {
    let world = World::new().await;
    world.controller.set_failover([ZONE.to_owned()].into()).await.expect("set");
    let mut first = world.up().await;
    let network = world.network(&world.operator).await;
    let gateway = world.gateway(&world.operator, &network).await.gateway.id;
    first.acknowledge_until(|desired| desired.gateways.len() == 1 && desired.failover).await;
    until(&world.controller, async || world.reason(gateway).await == (VpnGatewayStatus::Active, None)).await;
    let second = world.up().await;
    assert_eq!(world.carrier(gateway).await, Some(first.id));
    (world, first, second, gateway)
}

#[tokio::test]
async fn the_gateways_of_a_stopped_machine_are_started_on_another_node() {
    let (world, first, mut second, gateway) = with_failover().await;
    let lost = first.id;
    let stopped = || world.controller.node_machine(lost, MachineState::Stopped);
    stopped().await.expect("noted");
    assert_eq!(world.node(lost).await.node.state, NodeState::Down);
    assert_eq!(world.node(lost).await.node.fault.map(|fault| fault.code), Some(ReasonCode::MachineStopped));
    assert_eq!(world.carrier(gateway).await, Some(lost), "it was heard a moment ago");
    drop(first);
    world.pass(25).await;
    assert_eq!(world.carrier(gateway).await, Some(second.id));
    assert_eq!(world.reason(gateway).await, (VpnGatewayStatus::Configuring, Some(ReasonCode::Failover)));
    second.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    until(&world.controller, async || world.reason(gateway).await == (VpnGatewayStatus::Active, None)).await;
    // The machine is back, and is told that it has nothing.
    let mut again = FakeNode::attach_remote(&world.controller, lost).await;
    assert!(again.wait_for(|desired| desired.failover).await.gateways.is_empty());
    world.node_is(lost, NodeState::Up).await;
    assert_eq!(world.carrier(gateway).await, Some(second.id));
}

#[tokio::test]
async fn nothing_moves_off_a_node_that_is_only_silent_or_does_not_know() {
    let (world, first, second, gateway) = with_failover().await;
    let lost = first.id;
    drop(first);
    // In steps, since a judge that was asleep judges nobody.
    for _ in 0..13 {
        world.pass(10).await;
    }
    assert_eq!(world.node(lost).await.node.fault.map(|fault| fault.code), Some(ReasonCode::NodeSilent));
    assert_eq!(world.carrier(gateway).await, Some(lost), "it may forward still");
    assert_eq!(world.reason(gateway).await, (VpnGatewayStatus::Failed, Some(ReasonCode::NoHealthyNode)));
    // Switched off and on: the node has not acknowledged it again.
    world.controller.set_failover([].into()).await.expect("set");
    world.controller.node_machine(lost, MachineState::Stopped).await.expect("noted");
    assert_eq!(world.carrier(gateway).await, Some(lost), "no failover in this zone");
    world.controller.set_failover([ZONE.to_owned()].into()).await.expect("set");
    world.controller.node_machine(lost, MachineState::Running).await.expect("noted");
    world.controller.node_machine(lost, MachineState::Stopped).await.expect("noted");
    assert_eq!(world.carrier(gateway).await, Some(lost), "it would start with what it had");
    drop(second);
}

#[tokio::test]
async fn a_lost_gateway_without_another_node_is_failed_until_there_is_one() {
    let (world, first, second, gateway) = with_failover().await;
    let (lost, other) = (first.id, second.id);
    let cordon = async |cordoned| {
        let change = NodeChange { cordoned: Some(cordoned), ..NodeChange::default() };
        world.controller.change_node(&world.operator, other, change).await.expect("changed")
    };
    cordon(true).await;
    drop(first);
    world.controller.node_machine(lost, MachineState::Stopped).await.expect("noted");
    world.pass(25).await;
    assert_eq!(world.carrier(gateway).await, None);
    assert_eq!(world.reason(gateway).await, (VpnGatewayStatus::Failed, Some(ReasonCode::NoHealthyNode)));
    cordon(false).await;
    assert_eq!(world.carrier(gateway).await, Some(other));
    drop(second);
}

#[tokio::test]
async fn what_a_draining_node_carries_goes_to_another_once_it_has_let_go() {
    let (world, mut first, mut second, gateway) = with_failover().await;
    let (one, other) = (first.id, second.id);
    let cordon = async |cordoned| {
        let change = NodeChange { cordoned: Some(cordoned), ..NodeChange::default() };
        world.controller.change_node(&world.operator, other, change).await.expect("changed")
    };
    cordon(true).await;
    let drained = world.controller.drain_node(&world.operator, one).await.expect("drained").node;
    assert!(drained.draining && drained.cordoned);
    assert_eq!(world.reason(gateway).await, (VpnGatewayStatus::Active, None), "there is no other node");
    cordon(false).await;
    assert_eq!(world.reason(gateway).await, (VpnGatewayStatus::Configuring, Some(ReasonCode::Failover)));
    let last = first.wait_for(|desired| desired.gateways.is_empty()).await;
    assert!(last.vpcs.is_empty(), "the router goes too");
    assert_eq!(world.carrier(gateway).await, Some(one), "it has not said that it has let go");
    assert!(second.desired().borrow().gateways.is_empty());
    first.acknowledge_until(|desired| desired.revision >= last.revision).await;
    second.acknowledge_until(|desired| desired.gateways.len() == 1 && desired.vpcs.len() == 1).await;
    until(&world.controller, async || world.reason(gateway).await == (VpnGatewayStatus::Active, None)).await;
    assert_eq!(world.carrier(gateway).await, Some(other));
    let change = NodeChange { cordoned: Some(false), ..NodeChange::default() };
    let back = world.controller.change_node(&world.operator, one, change).await.expect("changed").node;
    assert!(!back.draining && !back.cordoned);
    assert_eq!(world.carrier(gateway).await, Some(other), "what has left stays away");
}

#[tokio::test]
async fn two_processes_with_one_identity_are_told_and_written_down_once() {
    let world = World::new().await;
    let node = world.up().await;
    let info = world.node(node.id).await;
    let peer = |port| SocketAddr::from(([192, 0, 2, 9], port));
    // It has only come back over another connection.
    let age = Duration::from_secs(3600);
    world.controller.outlived(node.id, info.node.boot, peer(1), age);
    let fault = async || world.node(node.id).await.node.fault;
    for port in [2, 3] {
        world.controller.outlived(node.id, uuid::Uuid::new_v4(), peer(port), age);
        until(&world.controller, async || {
            fault().await.is_some_and(|fault| fault.evidence["superseded"] == peer(port).to_string())
        })
        .await;
    }
    let told = fault().await.expect("a reason");
    assert_eq!((told.code, &told.evidence["speaks_now"]), (ReasonCode::DuplicateIdentity, &peer(443).to_string()));
    let info = world.node(node.id).await;
    assert_eq!(info.node.state, NodeState::Up);
    let of =
        |event: &&ObjectEvent| event.reason.as_ref().map(|reason| reason.code) == Some(ReasonCode::DuplicateIdentity);
    let events: Vec<_> = info.history.iter().filter(of).collect();
    assert!(events.len() == 1 && events[0].subject == "up", "{events:?}");
    // Whoever is not seen any more is not told of any more.
    world.pass_heard(20).await;
    assert!(fault().await.is_some());
    for _ in 0..10 {
        world.pass(20).await;
        node.keepalive().await;
        node.keepalive().await;
    }
    until(&world.controller, async || fault().await.is_none()).await;
}

#[tokio::test]
async fn a_node_whose_disk_takes_nothing_says_so_until_it_does() {
    let world = World::new().await;
    let node = world.up().await;
    let fault = async || world.node(node.id).await.node.fault;
    let say = async |change: fn(&mut NodeFacts)| {
        let mut facts = NodeFacts::default();
        change(&mut facts);
        node.facts(facts).await;
    };
    let ways: [fn(&mut NodeFacts); 2] = [
        |facts| facts.disk.error = Some("No space left on device".to_owned()),
        |facts| facts.unkept = Some("No space left on device".to_owned()),
    ];
    for full in ways {
        say(full).await;
        until(&world.controller, async || fault().await.is_some_and(|found| found.code == ReasonCode::DiskUnwritable))
            .await;
        assert_eq!(fault().await.expect("a reason").evidence["error"], "No space left on device");
        assert_eq!(world.node(node.id).await.node.state, NodeState::Up);
        say(|_| {}).await;
        until(&world.controller, async || fault().await.is_none()).await;
    }
}

#[tokio::test]
async fn a_silent_node_that_another_one_hears_is_keepalive_fail_and_takes_no_changes() {
    let world = World::new().await;
    let mut first = world.up().await;
    let network = world.network(&world.operator).await;
    let gateway = world.gateway(&world.operator, &network).await.gateway.id;
    first.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    until(&world.controller, async || world.reason(gateway).await == (VpnGatewayStatus::Active, None)).await;
    let mut second = world.up().await;
    let at = |host: u8| SocketAddr::from(([192, 0, 2, host], 4431));
    first.peering(Some(at(1)), &[]).await;
    second.peering(Some(at(2)), &[]).await;
    let told = second.wait_for(|desired| !desired.peers.is_empty()).await;
    let key = told.peers.first().and_then(|peer| peer.key.clone());
    assert_eq!(key.as_ref().map(|key| key.expose().len()), Some(32));
    let peer = |node, address| Peer { node, address, key: key.clone(), asks: true };
    assert_eq!(told.peers, [peer(first.id, at(1))]);
    first.wait_for(|desired| desired.peers == [peer(second.id, at(2))]).await;
    let lost = first.id;
    drop(first);
    let pass_until = async |state: NodeState, vouched: NodeId| {
        let passing = async {
            while world.node(lost).await.node.state != state {
                second.keepalive().await;
                second.peering(Some(at(2)), &[vouched]).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
                world.pass(6).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), passing).await.expect("in time");
    };
    pass_until(NodeState::KeepaliveFail, lost).await;
    let fault = world.node(lost).await.node.fault.map(|fault| fault.code);
    assert_eq!(fault, Some(ReasonCode::NodeKeepaliveFail));
    assert_eq!(
        world.reason(gateway).await,
        (VpnGatewayStatus::Active, Some(ReasonCode::NodeKeepaliveFail)),
        "forwarding is left alone"
    );
    let refused = world.controller.delete_vpn_gateway(&world.operator, REGION, gateway).await.expect_err("refused");
    assert!(
        matches!(&refused, Error::TransientState { current_state, .. } if current_state == "keepalive_fail"),
        "{refused:?}"
    );
    // Nobody vouches for itself, and what nobody says counts no longer.
    pass_until(NodeState::Down, second.id).await;
    assert_eq!(world.node(lost).await.node.fault.map(|fault| fault.code), Some(ReasonCode::NodeSilent));
    assert_eq!(world.carrier(gateway).await, Some(lost));
}
