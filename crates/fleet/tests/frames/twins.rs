//! Two processes with one identity: the one whose session is superseded says that it is there, and one that has ended cannot.

use std::path::Path;
use std::time::Duration;

use causeway_fleet::client::{self, ClientError};
use causeway_fleet::witness::NoTunnels;
use causeway_fleet::{ControllerEnd, FromNode, NodeEnd, PROTOCOL, in_process};
use causeway_model::{MachineId, NodeId};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::{Controller, MACHINE, NoTraffic, PATIENCE, log, state};

/// A node's process.
struct Process {
    boot: Uuid,
    channel: JoinHandle<Result<(), ClientError>>,
    _end: NodeEnd,
}

async fn start(directory: &Path, node: NodeId, machine: MachineId) -> Process {
    let (controller_end, end) = in_process();
    let (path, boot) = (directory.to_owned(), Uuid::new_v4());
    let run = async move {
        client::run(&path, controller_end, None, (NoTraffic, machine), NoTunnels, CancellationToken::new()).await
    };
    let channel = tokio::spawn(run);
    let (zone, version) = ("fr-par-1".to_owned(), "1".to_owned());
    end.reports.send(FromNode::Hello { protocol: PROTOCOL, node, boot, zone, version, on: None }).await.expect("open");
    Process { boot, channel, _end: end }
}

async fn hello(controller: &mut Controller) -> (Uuid, ControllerEnd) {
    let (_, mut end) = controller.session().await;
    match tokio::time::timeout(PATIENCE, end.reports.recv()).await.expect("in time") {
        Some(FromNode::Hello { boot, .. }) => (boot, end),
        other => panic!("{other:?}"),
    }
}

/// Waits until a node is told this.
async fn told(word: &str) {
    let told = async {
        while log().lines("no channel to the controller").iter().all(|line| !line.contains(word)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the one without a session is told");
}

#[tokio::test]
async fn the_superseded_one_of_two_processes_is_told_and_says_that_it_is_there() {
    log();
    let mut controller = Controller::start().await;
    let [first, copy] = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let identity = controller.join(first.path()).await;
    let one = start(first.path(), identity.node, MACHINE).await;
    let (boot, end) = hello(&mut controller).await;
    assert_eq!(boot, one.boot);
    identity.save(copy.path()).expect("copied");
    let other = start(copy.path(), identity.node, MACHINE).await;
    let (boot, newer) = hello(&mut controller).await;
    assert_eq!(boot, other.boot);
    // As a controller does with the older of two sessions.
    drop(end);
    let outlived = tokio::time::timeout(PATIENCE, controller.outlived.recv()).await.expect("in time");
    assert_eq!(outlived, Some((identity.node, one.boot)));
    told("superseded").await;
    assert!(newer.desired.send(state(1)).is_ok(), "the newer one goes on");

    // One that ended before it was superseded says nothing.
    other.channel.abort();
    let third = start(first.path(), identity.node, MACHINE).await;
    let (boot, _newest) = hello(&mut controller).await;
    assert_eq!(boot, third.boot);
    drop(newer);
    let met = tokio::time::timeout(Duration::from_millis(500), controller.outlived.recv()).await;
    assert!(met.is_err(), "{met:?}");
    one.channel.abort();

    // As a controller does with one on another machine than the one that is heard.
    let elsewhere = tempfile::tempdir().expect("a directory");
    identity.save(elsewhere.path()).expect("copied");
    let stranger = start(elsewhere.path(), identity.node, MachineId::random()).await;
    let (boot, refused) = hello(&mut controller).await;
    assert_eq!(boot, stranger.boot);
    drop(refused);
    let outlived = tokio::time::timeout(PATIENCE, controller.outlived.recv()).await.expect("in time");
    assert_eq!(outlived, Some((identity.node, stranger.boot)));
    told("speaks from another machine").await;
}
