//! What a change costs where there are many nodes: as much as where there is one.

use std::sync::Arc;

use causeway_controller::Controller;
use causeway_crypto::envelope::Kek;
use causeway_model::NodeId;
use causeway_store::Store;

use crate::harness::{FakeNode, KEK, REGION, TestClock, World, settings, until};

/// Nodes beside the one that is concerned.
const OTHERS: usize = 64;

/// A world and what is under its controller.
async fn over_a_store() -> (World, Store) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("causeway.db")).await.expect("the store opens");
    let clock = Arc::new(TestClock::default());
    let opened = Controller::open_with_clock(store.clone(), settings(), Kek::new(KEK), clock.clone()).await;
    (World::first_start(opened.expect("the controller opens"), clock, directory).await, store)
}

/// Waits until a node's acknowledgement of a revision is known.
async fn applied(world: &World, node: NodeId, revision: u64) {
    until(&world.controller, async || world.node(node).await.node.applied_revision == revision).await;
}

#[tokio::test]
async fn a_change_of_one_connection_wakes_its_node_and_no_other_one() {
    let (world, store) = over_a_store().await;
    let (mut node, _, connection) = world.connected().await;
    let mut others = Vec::with_capacity(OTHERS);
    for _ in 0..OTHERS {
        let mut other = FakeNode::attach(&world.controller).await;
        let revision = other.acknowledge_until(|_| true).await.revision;
        applied(&world, other.id, revision).await;
        others.push(other);
    }
    let mut told: Vec<_> = others.iter().map(FakeNode::desired).collect();
    told.iter_mut().for_each(|told| told.mark_unchanged());
    let revisions: Vec<_> = others.iter().map(|other| store.node_revision(other.id)).collect();
    let (before, own) = (store.snapshots(), store.node_revision(node.id));
    let id = connection.connection.id;
    world.controller.set_route_propagation(&world.operator, REGION, id, false).await.expect("changed");
    assert!(own.has_changed().expect("open"), "known before the change is answered");
    let has_it = |connection: &causeway_model::desired::ConnectionDesired| !connection.propagate;
    node.acknowledge_until(|desired| desired.gateways.iter().flat_map(|at| &at.connections).any(has_it)).await;
    until(&world.controller, async || {
        let state = world.controller.connection_state(&world.operator, REGION, id).await.expect("there");
        state.applied_revision == state.desired_revision
    })
    .await;
    let asked = store.snapshots() - before;
    assert!(asked < OTHERS as u64, "{asked} snapshots for one change: the sessions of other nodes looked, too");
    assert!(told.iter().all(|told| !told.has_changed().expect("open")), "another node was sent something");
    assert!(revisions.iter().all(|revision| !revision.has_changed().expect("open")));
}
