//! The forwarding lease as the controller keeps it: who votes, what nodes acknowledge, and how a lost node is replaced.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_controller::{Controller, LeaseInfo};
use causeway_fleet::door::Gatekeeper;
use causeway_fleet::lease::{Ask, Fence, Fenced, Promise, Relayed, Unanswered, Voter};
use causeway_fleet::{Held, Refusal};
use causeway_model::desired::{LeaseTerms, NodeDesired};
use causeway_model::status::{NodeState, VpnGatewayStatus};
use causeway_model::watch::Service;
use causeway_model::{MachineId, NodeId, ReasonCode, VpnGatewayId};

use crate::harness::{FakeNode, World, ZONE, machine_of, open, until};

/// The lease of this profile, milliseconds.
const LEASE: u64 = 36_000;
/// Shorter than a keepalive period.
const STEP: i64 = 10;

/// A node with the address where it answers others.
struct Peer {
    node: FakeNode,
    address: SocketAddr,
    beats: u64,
}

fn voter(node: NodeId) -> Voter {
    Voter::Node(node)
}

impl Peer {
    async fn new(world: &World, number: u8) -> Self {
        let node = world.up().await;
        let peer = Self { node, address: SocketAddr::from(([192, 0, 2, number], 4431)), beats: 0 };
        peer.node.holds(peer.address, None).await;
        peer
    }

    /// Waits for a lease, takes it, and says that it forwards by it; the newest one, if terms change meanwhile.
    async fn acknowledge(&mut self, world: &World, holds: impl Fn(&LeaseTerms) -> bool) -> LeaseTerms {
        let id = self.node.id;
        let mut newest = 0;
        loop {
            let leased = |desired: &NodeDesired| {
                desired.lease.as_ref().is_some_and(|lease| holds(&lease.terms) && lease.terms.number >= newest)
            };
            let desired = self.node.acknowledge_until(leased).await;
            let lease = desired.lease.clone().expect("it has one");
            let number = lease.terms.number;
            let held = Held { terms: number, epoch: lease.epoch, left_ms: LEASE, ..Held::default() };
            self.node.holds(self.address, Some(held)).await;
            until(&world.controller, async || {
                let Some(known) = world.lease(id).await else { return false };
                newest = known.lease.terms.last().map_or(number, |terms| terms.number);
                newest > number || known.lease.acknowledged == Some(number)
            })
            .await;
            if newest <= number {
                return lease.terms;
            }
        }
    }

    /// A keepalive that the controller has taken when this returns.
    async fn beat(&mut self, world: &World) {
        self.beats += 1;
        let trouble = Some(self.beats.to_string());
        self.node.keepalive().await;
        self.node.holds(self.address, Some(Held { trouble: trouble.clone(), ..Held::default() })).await;
        let taken = async {
            while world.lease(self.node.id).await.is_none_or(|lease| lease.trouble != trouble) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), taken).await.expect("in time");
    }
}

impl World {
    async fn lease(&self, id: NodeId) -> Option<LeaseInfo> {
        self.node(id).await.lease
    }

    /// Lets time pass while these nodes are heard.
    async fn steps(&self, count: usize, heard: &mut [Peer]) {
        for _ in 0..count {
            self.pass(STEP).await;
            for peer in &mut *heard {
                peer.beat(self).await;
            }
        }
    }

    /// Lets time pass until a node counts as lost.
    async fn until_down(&self, id: NodeId, heard: &mut [Peer]) {
        for _ in 0..30 {
            if self.node(id).await.node.state == NodeState::Down {
                // Its voters are asked from now on.
                return self.controller.run_deadlines().await.expect("deadlines");
            }
            self.steps(1, heard).await;
        }
        panic!("it is never lost");
    }

    fn fence(&self, node: NodeId) -> Vec<Fence> {
        self.controller.fences(node)
    }

    async fn answer(&self, fence: Fence, voters: &[Voter]) {
        for voter in voters {
            let Voter::Node(node) = *voter else { panic!("the controller votes by itself") };
            self.controller.fenced(&Fenced { fence, voter: *voter }, machine_of(node));
        }
        self.controller.run_deadlines().await.expect("deadlines");
    }

    async fn subjects(&self, id: NodeId) -> Vec<String> {
        self.node(id).await.history.into_iter().map(|event| event.subject).collect()
    }
}

/// A zone with failover, a gateway on its first node, and two more nodes. None has acknowledged its lease.
async fn zone() -> (World, Peer, Vec<Peer>, VpnGatewayId) {
    let world = World::new().await;
    world.controller.set_failover([ZONE.to_owned()].into()).await.expect("set");
    let mut first = Peer::new(&world, 1).await;
    let network = world.network(&world.operator).await;
    let gateway = world.gateway(&world.operator, &network).await.gateway.id;
    first.node.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    until(&world.controller, async || world.reason(gateway).await == (VpnGatewayStatus::Active, None)).await;
    let others = vec![Peer::new(&world, 2).await, Peer::new(&world, 3).await];
    for peer in &others {
        let id = peer.node.id;
        until(&world.controller, async || world.lease(id).await.is_some()).await;
    }
    (world, first, others, gateway)
}

/// The same, and all of them have acknowledged that all of them vote.
async fn leased() -> (World, Peer, Vec<Peer>, VpnGatewayId) {
    let (world, mut first, mut others, gateway) = zone().await;
    let terms = first.acknowledge(&world, |terms| terms.voters.len() == 3).await;
    assert_eq!(terms.lease_ms, LEASE);
    for peer in &mut others {
        peer.acknowledge(&world, |terms| terms.voters.len() == 3).await;
    }
    (world, first, others, gateway)
}

#[tokio::test]
async fn a_silent_node_is_replaced_when_a_majority_says_that_its_lease_has_run_out() {
    let (world, first, mut others, gateway) = leased().await;
    let lost = first.node.id;
    let ids: Vec<NodeId> = others.iter().map(|peer| peer.node.id).collect();
    drop(first);
    // It asks until shortly before it counts as lost.
    let ask = Ask { holder: lost, epoch: 0, boot: 1, number: 1, lease_ms: LEASE };
    for _ in 0..30 {
        assert_eq!(world.controller.ask(&ask).len(), 1, "the controller's vote");
        world.steps(1, &mut others).await;
        if world.node(lost).await.node.state == NodeState::Down {
            break;
        }
    }
    assert_eq!(world.node(lost).await.node.fault.map(|fault| fault.code), Some(ReasonCode::NodeSilent));
    let lease = world.lease(lost).await.expect("a lease");
    assert!(lease.lease.replaced_since.is_some() && lease.lease.epoch == 1, "{lease:?}");
    assert_eq!(world.carrier(gateway).await, Some(lost), "it may forward still");
    assert_eq!(world.reason(gateway).await, (VpnGatewayStatus::Configuring, Some(ReasonCode::Failover)));
    world.controller.run_deadlines().await.expect("deadlines");
    assert!(world.controller.ask(&ask).is_empty(), "its epoch is over");
    let fence = Fence { holder: lost, epoch: 1 };
    for id in [ids[0], ids[1], lost] {
        assert_eq!(world.fence(id), [fence]);
    }
    assert!(world.fence(NodeId::random()).is_empty());
    world.answer(Fence { epoch: 0, ..fence }, &[voter(ids[1]), voter(lost)]).await;
    world.answer(fence, &[voter(ids[0]), voter(ids[1]), voter(NodeId::random())]).await;
    assert!(world.fence(ids[0]).is_empty(), "answered");
    assert_eq!(world.carrier(gateway).await, Some(lost), "the controller's own promise holds still: two of four");
    assert_eq!(world.lease(lost).await.expect("a lease").missing, [None, Some(lost)]);
    world.steps(4, &mut others).await;
    let carrier = world.carrier(gateway).await.expect("another node");
    assert!(ids.contains(&carrier));
    assert_eq!(world.reason(gateway).await, (VpnGatewayStatus::Configuring, Some(ReasonCode::Failover)));
    let lease = world.lease(lost).await.expect("a lease").lease;
    assert_eq!((lease.epoch, lease.replaced_since), (1, None));
    assert_eq!(world.subjects(lost).await[..2], ["replaced", "replacing"]);
    assert!(world.fence(ids[1]).is_empty());
    let taker = others.iter_mut().find(|peer| peer.node.id == carrier).expect("one of them");
    taker.node.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    until(&world.controller, async || world.reason(gateway).await == (VpnGatewayStatus::Active, None)).await;
    // It comes back to a new epoch with nothing.
    let mut again = FakeNode::attach_remote(&world.controller, lost).await;
    let desired = again.wait_for(|desired| desired.lease.is_some()).await;
    assert!(desired.gateways.is_empty() && desired.lease.as_ref().is_some_and(|lease| lease.epoch == 1));
}

#[tokio::test]
async fn without_a_majority_nothing_moves_and_it_is_said_who_is_missing() {
    let (world, first, mut others, gateway) = leased().await;
    let lost = first.node.id;
    let other = others[0].node.id;
    drop(first);
    world.until_down(lost, &mut others).await;
    let fence = Fence { holder: lost, epoch: 1 };
    world.answer(fence, &[voter(other)]).await;
    world.steps(4, &mut others).await;
    assert_eq!(world.carrier(gateway).await, Some(lost), "the controller and one of three nodes");
    assert_eq!(world.reason(gateway).await, (VpnGatewayStatus::Failed, Some(ReasonCode::NoMajority)));
    let lease = world.lease(lost).await.expect("a lease");
    assert_eq!(lease.answered, [None, Some(other)]);
    let mut missing = [Some(lost), Some(others[1].node.id)];
    missing.sort();
    assert_eq!(lease.missing, missing);
    // Whoever says then that the machine does not run decides.
    world.controller.node_machine(lost, causeway_model::watch::MachineState::Stopped).await.expect("noted");
    assert_ne!(world.carrier(gateway).await, Some(lost));
    assert_eq!(world.lease(lost).await.expect("a lease").lease.replaced_since, None);
}

#[tokio::test]
async fn nothing_moves_off_a_node_that_has_not_acknowledged_its_lease() {
    let (world, first, mut others, gateway) = zone().await;
    for peer in &mut others {
        peer.acknowledge(&world, |terms| terms.voters.len() == 3).await;
    }
    let lost = first.node.id;
    assert_eq!(world.lease(lost).await.expect("a lease").lease.acknowledged, None);
    // What it says of terms that it was never sent is no acknowledgement.
    first.node.holds(first.address, Some(Held { terms: 99, ..Held::default() })).await;
    world.node_is(lost, NodeState::Up).await;
    drop(first);
    world.until_down(lost, &mut others).await;
    world.steps(3, &mut others).await;
    let lease = world.lease(lost).await.expect("a lease").lease;
    assert_eq!((lease.replaced_since, lease.acknowledged, lease.epoch), (None, None, 0));
    assert!(world.fence(others[0].node.id).is_empty());
    assert_eq!(world.carrier(gateway).await, Some(lost));
    assert_eq!(world.reason(gateway).await, (VpnGatewayStatus::Failed, Some(ReasonCode::NoHealthyNode)));
}

#[tokio::test]
async fn a_node_that_comes_back_first_keeps_everything_in_a_new_epoch() {
    let (world, mut first, mut others, gateway) = leased().await;
    let id = first.node.id;
    // Heard all the time, but lost: a service is dead.
    let ike = |dead: Option<&str>| vec![Service { name: "ike".to_owned(), dead: dead.map(str::to_owned) }];
    first.node.services(ike(Some("it has ended"))).await;
    world.node_is(id, NodeState::Down).await;
    assert!(world.lease(id).await.expect("a lease").lease.replaced_since.is_some());
    world.controller.run_deadlines().await.expect("deadlines");
    let fence = Fence { holder: id, epoch: 1 };
    assert_eq!(world.fence(id), [fence], "it votes, too");
    // A change for it that it must not hear of, since it would ask by the new epoch with what it has.
    let before = first.node.desired().borrow().revision;
    world.controller.retry_node(&world.operator, id).await.expect("asked");
    for peer in &mut others {
        world.controller.retry_node(&world.operator, peer.node.id).await.expect("asked");
        let revision = world.node(peer.node.id).await.node.revision;
        peer.node.wait_for(|desired| desired.revision >= revision).await;
    }
    assert_eq!(first.node.desired().borrow().revision, before);
    first.node.services(ike(None)).await;
    world.node_is(id, NodeState::Up).await;
    let lease = world.lease(id).await.expect("a lease").lease;
    assert_eq!((lease.epoch, lease.replaced_since), (1, None));
    let told = first.node.wait_for(|desired| desired.lease.as_ref().is_some_and(|lease| lease.epoch == 1)).await;
    assert_eq!(told.gateways.len(), 1);
    // Answers that come now change nothing.
    let all: Vec<Voter> = others.iter().map(|peer| voter(peer.node.id)).collect();
    world.answer(fence, &all).await;
    world.answer(fence, &[voter(id)]).await;
    assert_eq!(world.carrier(gateway).await, Some(id));
    assert!(world.fence(id).is_empty());
    let subjects = world.subjects(id).await;
    assert!(subjects.contains(&"called_off".to_owned()) && subjects.contains(&"replacing".to_owned()), "{subjects:?}");
}

#[tokio::test]
async fn a_replacement_goes_on_when_another_node_vouches_too_late() {
    let (world, first, mut others, gateway) = leased().await;
    let lost = first.node.id;
    drop(first);
    world.until_down(lost, &mut others).await;
    let fence = Fence { holder: lost, epoch: 1 };
    for _ in 0..30 {
        if world.node(lost).await.node.state == NodeState::KeepaliveFail {
            break;
        }
        for peer in &mut others {
            peer.node.peering(Some(peer.address), &[lost]).await;
            peer.beat(&world).await;
        }
        world.pass(STEP).await;
    }
    world.node_is(lost, NodeState::KeepaliveFail).await;
    assert!(world.lease(lost).await.expect("a lease").lease.replaced_since.is_some());
    assert_eq!(world.fence(others[0].node.id), [fence]);
    assert_eq!(world.carrier(gateway).await, Some(lost));
    let all: Vec<Voter> = others.iter().map(|peer| voter(peer.node.id)).collect();
    world.answer(fence, &all).await;
    assert_ne!(world.carrier(gateway).await, Some(lost), "its lease is over, so somebody else forwards");
}

#[tokio::test]
async fn a_replacement_goes_on_after_a_start_of_the_controller() {
    let (world, first, mut others, gateway) = leased().await;
    let lost = first.node.id;
    let ids: Vec<NodeId> = others.iter().map(|peer| peer.node.id).collect();
    drop(first);
    world.until_down(lost, &mut others).await;
    let fence = Fence { holder: lost, epoch: 1 };
    world.answer(fence, &[voter(ids[0])]).await;
    world.controller.close().await;
    drop(others);
    let controller: Controller = open(&world.directory.path().join("causeway.db"), world.clock.clone()).await;
    controller.set_failover([ZONE.to_owned()].into()).await.expect("set");
    let ask = Ask { holder: lost, epoch: 0, boot: 1, number: 1, lease_ms: LEASE };
    assert!(controller.ask(&ask).is_empty(), "its fence is in the store");
    controller.run_deadlines().await.expect("deadlines");
    for id in &ids {
        assert_eq!(controller.fences(*id), [fence], "every voter is asked again");
    }
    let state =
        async || controller.gateway_state(&world.operator, crate::harness::REGION, gateway).await.expect("there");
    for id in &ids {
        controller.fenced(&Fenced { fence, voter: voter(*id) }, machine_of(*id));
    }
    controller.run_deadlines().await.expect("deadlines");
    assert_eq!(state().await.node, Some(lost), "the process before may have promised a moment before its end");
    world.clock_forward(40);
    controller.run_deadlines().await.expect("deadlines");
    assert_ne!(state().await.node, Some(lost));
}

#[tokio::test]
async fn a_node_that_may_count_by_two_terms_is_replaced_by_a_majority_of_both() {
    let (world, mut first, mut others, gateway) = leased().await;
    let lost = first.node.id;
    let ids: Vec<NodeId> = others.iter().map(|peer| peer.node.id).collect();
    let oldest = world.lease(lost).await.expect("a lease").lease.terms;
    for number in 4..7 {
        others.push(Peer::new(&world, number).await);
    }
    // Of those that are asked now, two at least had no vote before.
    world.controller.revoke_node(&world.operator, ids[0]).await.expect("revoked");
    others.remove(0);
    for peer in &mut others[1..] {
        peer.acknowledge(&world, |terms| terms.voters.len() == 4).await;
    }
    first.node.wait_for(|desired| desired.lease.as_ref().is_some_and(|lease| lease.terms.number > 1)).await;
    let lease = world.lease(lost).await.expect("a lease").lease;
    assert_eq!(lease.terms.first(), oldest.last(), "it has not said that it counts by others");
    let newest = lease.terms.last().expect("some").voters.clone();
    drop(first);
    world.until_down(lost, &mut others).await;
    let lease = world.lease(lost).await.expect("a lease").lease;
    assert_eq!(lease.terms.last().expect("some").voters, newest);
    let fence = Fence { holder: lost, epoch: lease.epoch };
    let old = &lease.terms.first().expect("some").voters;
    let fresh: Vec<Voter> = newest.iter().filter(|node| !old.contains(node)).copied().map(voter).collect();
    assert!(fresh.len() >= 2, "{fresh:?}");
    for terms in &lease.terms {
        let between = terms.voters.iter().filter(|node| !old.contains(node)).copied().map(voter).collect::<Vec<_>>();
        world.answer(fence, &between).await;
    }
    world.steps(4, &mut others).await;
    assert_eq!(
        world.carrier(gateway).await,
        Some(lost),
        "the controller and the new ones are no majority by the old terms"
    );
    world.answer(fence, &[voter(ids[0]), voter(ids[1])]).await;
    assert_ne!(world.carrier(gateway).await, Some(lost));
}

#[tokio::test]
async fn switching_failover_off_ends_leases_and_replacements() {
    let (world, mut first, mut others, gateway) = leased().await;
    let id = first.node.id;
    first.node.services(vec![Service { name: "ike".to_owned(), dead: Some("it has ended".to_owned()) }]).await;
    world.node_is(id, NodeState::Down).await;
    assert!(world.lease(id).await.expect("a lease").lease.replaced_since.is_some());
    world.controller.set_failover([].into()).await.expect("set");
    let told = first.node.wait_for(|desired| desired.lease.is_none()).await;
    assert!(!told.failover && told.gateways.len() == 1);
    assert_eq!(world.lease(id).await, None);
    let fence = Fence { holder: id, epoch: 1 };
    world.steps(1, &mut []).await;
    world.answer(fence, &[voter(others[0].node.id), voter(others[1].node.id)]).await;
    assert_eq!(world.carrier(gateway).await, Some(id));
    // On again, with terms of another number: what was acknowledged before says nothing now.
    world.controller.set_failover([ZONE.to_owned()].into()).await.expect("set");
    let terms = others[0].acknowledge(&world, |terms| terms.voters.len() == 3).await;
    assert!(terms.number > 1);
    assert_eq!(world.lease(id).await.expect("a lease").lease.acknowledged, None);
}

#[tokio::test]
async fn two_nodes_have_a_lease_and_one_alone_has_none() {
    let world = World::new().await;
    world.controller.set_failover([ZONE.to_owned()].into()).await.expect("set");
    let mut first = Peer::new(&world, 1).await;
    first.node.acknowledge_until(|desired| desired.failover).await;
    assert_eq!(world.lease(first.node.id).await, None);
    // A node inside the controller's process decides between two, and needs none itself.
    let local = FakeNode::attach(&world.controller).await;
    let terms = first.acknowledge(&world, |terms| terms.voters.contains(&local.id)).await;
    assert_eq!(terms.voters.len(), 2);
    let ask = Ask { holder: first.node.id, epoch: 0, boot: 1, number: 1, lease_ms: LEASE };
    let votes: Vec<Voter> = world.controller.ask(&ask).into_iter().map(|promise| promise.voter).collect();
    assert_eq!(votes, [Voter::Controller, voter(local.id)]);
    assert_eq!(world.lease(local.id).await, None);
    let second = Peer::new(&world, 2).await;
    first
        .acknowledge(&world, |terms| terms.voters.contains(&second.node.id) && !terms.voters.contains(&local.id))
        .await;
}

/// A node on this machine, which has been told nothing yet.
async fn on(world: &World, id: NodeId, machine: MachineId) -> FakeNode {
    let node = FakeNode::attach_on(&world.controller, id, machine).await;
    until(&world.controller, async || world.lease(id).await.is_some_and(|known| known.lease.machine == Some(machine)))
        .await;
    node
}

#[tokio::test]
async fn a_node_that_starts_anew_is_told_nothing_before_its_voters_let_the_earlier_machine_go() {
    let (world, first, mut others, gateway) = leased().await;
    let (id, here) = (first.node.id, MachineId::random());
    let ids: Vec<NodeId> = others.iter().map(|peer| peer.node.id).collect();
    let ask = Ask { holder: id, epoch: 0, boot: 1, number: 1, lease_ms: LEASE };
    assert_eq!(world.controller.ask(&ask).len(), 1);
    drop(first);
    world.steps(1, &mut others).await;
    let mut again = on(&world, id, here).await;
    let lease = world.lease(id).await.expect("a lease").lease;
    assert!(lease.moving && lease.replaced_since.is_some() && lease.epoch == 1, "{lease:?}");
    assert_eq!(world.reason(gateway).await, (VpnGatewayStatus::Configuring, Some(ReasonCode::Failover)));
    world.controller.run_deadlines().await.expect("deadlines");
    let fence = Fence { holder: id, epoch: 1 };
    for voter in &ids {
        assert_eq!(world.fence(*voter), [fence]);
    }
    // Its own vote is that of this machine, and says nothing of the other one.
    world.controller.fenced(&Fenced { fence, voter: voter(id) }, here);
    world.answer(fence, &[voter(ids[0])]).await;
    assert_eq!(again.desired().borrow().revision, 0, "the controller's own promise holds still");
    for _ in 0..4 {
        again.keepalive().await;
        world.steps(1, &mut others).await;
    }
    assert_eq!(world.carrier(gateway).await, Some(id), "nothing moves elsewhere");
    let told = again.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    let lease = told.lease.clone().expect("a lease");
    assert_eq!((lease.epoch, lease.terms.machines.get(&id)), (1, Some(&here)));
    assert!(told.peers.len() == 2 && lease.terms.voters.len() == 3);
    let kept = world.lease(id).await.expect("a lease").lease;
    assert_eq!((kept.moving, kept.replaced_since, kept.terms.len()), (false, None, 1));
    assert_eq!(kept.acknowledged, Some(lease.terms.number), "its gate was closed, and is by nothing else opened");
    let subjects = world.subjects(id).await;
    assert!(["moved", "moving"].iter().all(|subject| subjects.iter().any(|known| known == subject)), "{subjects:?}");
    until(&world.controller, async || world.reason(gateway).await == (VpnGatewayStatus::Active, None)).await;
    // What votes for others is on another machine, too, once it says where it answers: they get other terms.
    let before = world.lease(ids[0]).await.expect("a lease").lease.number;
    let address = SocketAddr::from(([192, 0, 2, 1], 4431));
    again.holds(address, None).await;
    others[0].acknowledge(&world, |terms| terms.number > before && terms.machines.get(&id) == Some(&here)).await;
}

#[tokio::test]
async fn a_copy_is_refused_while_the_node_is_heard_and_waits_for_its_lease_when_it_is_not() {
    let (world, mut first, mut others, gateway) = leased().await;
    let (id, copy) = (first.node.id, MachineId::random());
    let mut refused = FakeNode::attach_on(&world.controller, id, copy).await;
    assert_eq!(refused.ended().await, Some(Refusal::Elsewhere));
    assert_eq!(world.controller.attached(id), Some(machine_of(id)));
    let lease = world.lease(id).await.expect("a lease").lease;
    assert_eq!((lease.machine, lease.epoch, lease.replaced_since), (Some(machine_of(id)), 0, None));
    first.beat(&world).await;
    // For so long that it is not heard any more, and not so long that it is lost.
    world.steps(3, &mut others).await;
    let waits = on(&world, id, copy).await;
    assert_eq!(first.node.ended().await, None);
    let fence = Fence { holder: id, epoch: 1 };
    world.controller.run_deadlines().await.expect("deadlines");
    assert_eq!(world.fence(others[0].node.id), [fence]);
    // Back where it was, and the copy is gone: the same terms, and no voter has to wait.
    drop(waits);
    world.steps(3, &mut others).await;
    let mut back = on(&world, id, machine_of(id)).await;
    let told = back.acknowledge_until(|desired| desired.gateways.len() == 1).await;
    let lease = told.lease.clone().expect("a lease");
    assert_eq!((lease.epoch, lease.terms.machines.get(&id)), (1, Some(&machine_of(id))));
    assert!(world.subjects(id).await.contains(&"called_off".to_owned()));
    assert_eq!(world.carrier(gateway).await, Some(id));
    world.controller.run_deadlines().await.expect("deadlines");
    assert!(world.fence(others[0].node.id).is_empty());
}

#[tokio::test]
async fn a_machine_that_waits_and_is_lost_is_replaced_by_a_majority() {
    let (world, first, mut others, gateway) = leased().await;
    let (id, here) = (first.node.id, MachineId::random());
    let ids: Vec<NodeId> = others.iter().map(|peer| peer.node.id).collect();
    let ask = Ask { holder: id, epoch: 0, boot: 1, number: 1, lease_ms: LEASE };
    drop(first);
    world.steps(1, &mut others).await;
    let again = on(&world, id, here).await;
    assert_eq!(world.controller.ask(&ask).len(), 1, "the earlier machine asks still");
    // It is lost before it says anything else.
    drop(again);
    world.until_down(id, &mut others).await;
    let lease = world.lease(id).await.expect("a lease").lease;
    assert!(!lease.moving && lease.replaced_since.is_some() && lease.epoch == 1, "{lease:?}");
    let fence = Fence { holder: id, epoch: 1 };
    world.answer(fence, &[voter(ids[0])]).await;
    world.steps(4, &mut others).await;
    assert_eq!(world.carrier(gateway).await, Some(id), "two of four would do for the node itself only");
    world.answer(fence, &[voter(ids[1])]).await;
    assert!(world.carrier(gateway).await.is_some_and(|carrier| ids.contains(&carrier)));
    // Nobody forwards by what it had, and nobody was told anything since: whatever machine comes gets terms at once.
    let mut third = FakeNode::attach_on(&world.controller, id, MachineId::random()).await;
    let told = third.wait_for(|desired| desired.lease.is_some()).await;
    assert!(told.gateways.is_empty());
    assert_eq!(world.lease(id).await.expect("a lease").lease.epoch, 1);
}

#[tokio::test]
async fn the_voters_of_a_stopped_machine_are_told_and_not_waited_for() {
    let (world, first, mut others, gateway) = leased().await;
    let id = first.node.id;
    drop(first);
    world.steps(3, &mut others).await;
    world.controller.node_machine(id, causeway_model::watch::MachineState::Stopped).await.expect("noted");
    assert_ne!(world.carrier(gateway).await, Some(id));
    let lease = world.lease(id).await.expect("a lease").lease;
    assert_eq!((lease.epoch, lease.free, lease.replaced_since), (1, true, None));
    world.controller.run_deadlines().await.expect("deadlines");
    let fence = Fence { holder: id, epoch: 1 };
    let ids: Vec<NodeId> = others.iter().map(|peer| peer.node.id).collect();
    assert_eq!(world.fence(ids[0]), [fence]);
    let ask = Ask { holder: id, epoch: 0, boot: 1, number: 1, lease_ms: LEASE };
    assert!(world.controller.ask(&ask).is_empty(), "what it had is over");
    world.answer(fence, &[voter(ids[0]), voter(ids[1])]).await;
    assert!(world.fence(ids[0]).is_empty(), "told once");
    // It comes back as the same machine, as a container may.
    let mut back = on(&world, id, machine_of(id)).await;
    let told = back.wait_for(|desired| desired.lease.as_ref().is_some_and(|lease| lease.epoch == 1)).await;
    assert!(told.gateways.is_empty());
    assert!(!world.lease(id).await.expect("a lease").lease.free);
}

#[tokio::test]
async fn a_controller_that_has_just_begun_waits_for_the_machine_that_it_knows() {
    let (world, first, _others, _gateway) = leased().await;
    let id = first.node.id;
    world.controller.close().await;
    drop(first);
    let controller: Controller = open(&world.directory.path().join("causeway.db"), world.clock.clone()).await;
    let copy = MachineId::random();
    let mut refused = FakeNode::attach_on(&controller, id, copy).await;
    assert_eq!(refused.ended().await, Some(Refusal::Elsewhere), "so that it is back soon");
    assert_eq!(controller.attached(id), None);
    world.clock_forward(30);
    let _taken = FakeNode::attach_on(&controller, id, copy).await;
    until(&controller, async || controller.attached(id) == Some(copy)).await;
}

#[tokio::test]
async fn a_question_is_passed_on_to_its_voters_and_their_promises_to_whoever_asked() {
    let (world, mut first, mut others, _gateway) = leased().await;
    let (id, ids) = (first.node.id, [others[0].node.id, others[1].node.id]);
    // It has no vote, and a node that has none either asks for it.
    let mut stranger = FakeNode::attach(&world.controller).await;
    let ask = Ask { holder: id, epoch: 0, boot: 1, number: 1, lease_ms: LEASE };
    let question = Unanswered { ask, voters: vec![ids[0], ids[1], stranger.id, id, NodeId::random()] };
    world.controller.ask_others(&question);
    let asked = Relayed::Question(ask);
    assert_eq!([others[0].node.relayed(), others[1].node.relayed()], [[asked], [asked]]);
    assert_eq!((stranger.relayed(), first.node.relayed()), (vec![], vec![]));
    let foreign = Ask { holder: stranger.id, ..ask };
    world.controller.ask_others(&Unanswered { ask: foreign, voters: ids.to_vec() });
    assert_eq!(others[0].node.relayed(), []);
    // The promises, of voters only, and only to whoever has asked.
    let promise = |by| Promise { ask, voter: voter(by), machine: Some(machine_of(by)) };
    for by in [ids[0], stranger.id, ids[1], ids[0]] {
        world.controller.promised(&promise(by));
    }
    world.controller.promised(&Promise { voter: Voter::Controller, machine: None, ..promise(id) });
    let passed = [ids[0], ids[1], ids[0]].map(|by| Relayed::Promise(promise(by)));
    assert_eq!(first.node.relayed(), passed);
    assert_eq!(others[0].node.relayed(), []);
    // Whoever has no session hears nothing, and whoever takes nothing keeps nobody waiting.
    let left = others.remove(1);
    drop(left);
    until(&world.controller, async || world.controller.attached(ids[1]).is_none()).await;
    for _ in 0..1000 {
        world.controller.ask_others(&question);
    }
    let queued = others[0].node.relayed();
    assert!(!queued.is_empty() && queued.len() < 100, "{}", queued.len());
    // Once it is being replaced, nothing that it asks for in its epoch goes on.
    drop(first);
    world.until_down(id, &mut others).await;
    world.controller.run_deadlines().await.expect("deadlines");
    others[0].node.relayed();
    world.controller.ask_others(&question);
    assert_eq!(others[0].node.relayed(), []);
    world.controller.ask_others(&Unanswered { ask: Ask { epoch: 1, ..ask }, ..question });
    assert_eq!(others[0].node.relayed().len(), 1, "of the next epoch");
}

#[tokio::test]
async fn a_node_that_forwards_by_promises_passed_on_is_up_and_says_so() {
    let (world, first, _others, _gateway) = leased().await;
    let id = first.node.id;
    let reason = async || world.node(id).await.node.fault.map(|fault| fault.code);
    let held = |relayed| Some(Held { relayed, left_ms: LEASE, ..Held::default() });
    first.node.holds(first.address, held(true)).await;
    until(&world.controller, async || reason().await == Some(ReasonCode::LeaseRelayed)).await;
    assert_eq!(world.node(id).await.node.state, NodeState::Up);
    first.node.holds(first.address, held(false)).await;
    until(&world.controller, async || reason().await.is_none()).await;
    // It has no lease any more, so that it does not say that either.
    first.node.holds(first.address, held(true)).await;
    until(&world.controller, async || reason().await == Some(ReasonCode::LeaseRelayed)).await;
    world.controller.set_failover([].into()).await.expect("set");
    world.steps(1, &mut []).await;
    until(&world.controller, async || reason().await.is_none()).await;
    for host in [77, 78] {
        let elsewhere = SocketAddr::from(([192, 0, 2, host], 4431));
        first.node.holds(elsewhere, held(true)).await;
        until(&world.controller, async || world.node(id).await.node.peering == Some(elsewhere)).await;
    }
    assert_eq!(reason().await, None, "a word of before");
}
