//! Connections that dawdle and break off at any octet, between real nodes and a real listener: both ends get over it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use causeway_fleet::witness::NoTunnels;
use causeway_fleet::{ControllerEnd, FromNode, PROTOCOL, client, in_process};
use causeway_model::NodeId;
use causeway_model::observed::NodeReport;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::{Controller, MACHINE, NoTraffic, PATIENCE, state};

/// The revision that everybody is to come to.
const LAST: u64 = 3;

/// Octets in both directions until a connection is cut.
type Budget = Arc<AtomicU64>;

/// Copies piece by piece, each of another small size, until the budget is spent; the last octets before that still arrive.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, budget: Budget, cut: CancellationToken, seed: u64) {
    let mut dice = seed;
    let mut piece = [0; 512];
    loop {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let most = usize::try_from(dice >> 55).unwrap_or(1).max(1);
        let taken = tokio::select! {
            () = cut.cancelled() => return,
            taken = from.read(&mut piece[..most]) => taken.unwrap_or(0),
        };
        let may = budget.load(Ordering::SeqCst).min(taken as u64);
        budget.fetch_sub(may, Ordering::SeqCst);
        let passed = to.write_all(&piece[..usize::try_from(may).unwrap_or(0)]).await;
        if taken == 0 || may < taken as u64 || passed.is_err() {
            // Both directions at once, as a cable does.
            cut.cancel();
            return;
        }
        // Whatever else there is to do comes between any two octets.
        tokio::task::yield_now().await;
    }
}

/// A way to `target` whose first connection breaks off after so many octets; all later ones are whole. Both dawdle.
async fn way(target: SocketAddr, first: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut budget = first;
        loop {
            let (near, _) = listener.accept().await.expect("a node");
            let far = TcpStream::connect(target).await.expect("the listener is there");
            let (cut, left) = (CancellationToken::new(), Arc::new(AtomicU64::new(budget)));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(copy(near_in, far_out, Arc::clone(&left), cut.clone(), first));
            tokio::spawn(copy(far_in, near_out, left, cut, first + 1));
            budget = u64::MAX;
        }
    });
    address
}

/// What was reported by whom, in its order; each session begins with another hello.
type Told = Arc<Mutex<BTreeMap<NodeId, Vec<u64>>>>;

/// Serves a session: every revision in turn, and what is said of them.
async fn serve(node: NodeId, mut end: ControllerEnd, told: Told, news: watch::Sender<()>) {
    let mut revision = 1;
    end.desired.send_replace(state(revision));
    while let Some(word) = end.reports.recv().await {
        if let FromNode::Report(report) = word {
            told.lock().expect("not poisoned").entry(node).or_default().push(report.revision);
            news.send_replace(());
            if report.revision >= revision && revision < LAST {
                revision = report.revision + 1;
                end.desired.send_replace(state(revision));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_may_break_off_at_any_octet() {
    let mut controller = Controller::start().await;
    let told: Told = Arc::default();
    let (news, mut changed) = watch::channel(());
    // A handshake, hello and all frames until the last report have some 6,000 octets.
    let cuts = (0..20).map(|step| step * 97).chain((4..24).map(|step| step * 311));
    let shutdown = CancellationToken::new();
    let mut nodes = BTreeMap::new();
    for cut in cuts {
        let directory = tempfile::tempdir().expect("a directory");
        let mut identity = controller.join(directory.path()).await;
        identity.url = format!("https://{}", way(controller.address, cut).await);
        identity.save(directory.path()).expect("saved");
        let (controller_end, mut end) = in_process();
        let (path, ending, node) = (directory.path().to_owned(), shutdown.clone(), identity.node);
        let channel = tokio::spawn(async move {
            client::run(&path, controller_end, None, (NoTraffic, MACHINE), NoTunnels, ending).await
        });
        let run = tokio::spawn(async move {
            let (boot, zone, version) = (Uuid::new_v4(), "fr-par-1".to_owned(), "1".to_owned());
            let hello = FromNode::Hello { protocol: PROTOCOL, node, boot, zone, version, on: None };
            end.reports.send(hello).await.expect("open");
            // A node that reports on each revision that it is handed.
            while end.desired.changed().await.is_ok() {
                let revision = end.desired.borrow_and_update().revision;
                let report = NodeReport { revision, ..NodeReport::default() };
                if end.reports.send(FromNode::Report(report)).await.is_err() {
                    return;
                }
            }
        });
        nodes.insert(node, (cut, directory, channel, run));
    }
    let (done_tx, mut done) = mpsc::channel::<()>(1);
    let everybody = {
        let (told, count) = (Arc::clone(&told), nodes.len());
        async move {
            loop {
                let all = told.lock().expect("not poisoned").values().filter(|told| told.contains(&LAST)).count();
                if all == count {
                    drop(done_tx);
                    return;
                }
                changed.changed().await.expect("the test runs");
            }
        }
    };
    let sessions = async {
        loop {
            tokio::select! {
                session = controller.sessions.recv() => {
                    let (node, end) = session.expect("the listener is there");
                    tokio::spawn(serve(node, end, Arc::clone(&told), news.clone()));
                }
                _ = done.recv() => return,
            }
        }
    };
    let both = async { tokio::join!(everybody, sessions) };
    if tokio::time::timeout(PATIENCE, both).await.is_err() {
        let told = told.lock().expect("not poisoned");
        let late = nodes.iter().filter(|(node, _)| !told.get(node).is_some_and(|told| told.contains(&LAST)));
        let late: Vec<u64> = late.map(|(_, node)| node.0).collect();
        panic!("cut after so many octets, and never got over it: {late:?}");
    }
    shutdown.cancel();
    for (cut, _directory, channel, run) in nodes.into_values() {
        channel.await.expect("no panic").unwrap_or_else(|error| panic!("cut after {cut} octets: {error}"));
        run.await.expect("no panic");
    }
}
