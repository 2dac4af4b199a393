//! A node's end against a controller that breaks the rules: nothing of it reaches the node, which goes on and dials again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use causeway_fleet::authority::Authority;
use causeway_fleet::witness::NoTunnels;
use causeway_fleet::{FromNode, MAX_FRAME, NodeEnd, PROTOCOL, client, in_process, tls};
use causeway_model::NodeId;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::{Controller, MACHINE, NoTraffic, PATIENCE, log, state};

fn text(number: u64, frame: &Value) -> Message {
    Message::text(json!({"number": number, "frame": frame}).to_string())
}

fn welcome() -> Value {
    json!({"type": "welcome", "protocol": PROTOCOL, "keepalive_ms": 200})
}

fn snapshot(revision: u64) -> Value {
    json!({"type": "snapshot", "desired": *state(revision)})
}

/// Answers each connection with the next of `scripts`, and holds it until the node has ended it; the last one stays open.
async fn play(listener: TcpListener, tls: TlsAcceptor, scripts: Vec<Vec<Message>>) {
    for script in scripts {
        let (stream, _) = listener.accept().await.expect("a node");
        let stream = tls.accept(stream).await.expect("a node");
        let mut channel = tokio_tungstenite::accept_async(stream).await.expect("a channel");
        for message in script {
            // The node may have had enough before the end.
            if channel.send(message).await.is_err() {
                break;
            }
        }
        while let Some(Ok(_)) = channel.next().await {}
    }
}

async fn begin(end: &NodeEnd, node: NodeId) {
    let (boot, zone, version) = (Uuid::new_v4(), "fr-par-1".to_owned(), "1".to_owned());
    end.reports.send(FromNode::Hello { protocol: PROTOCOL, node, boot, zone, version, on: None }).await.expect("open");
}

/// A controller of the same authority that does as it likes: each script in a connection of its own.
async fn unruly(authority: &Authority, scripts: Vec<Vec<Message>>) -> SocketAddr {
    let credentials = authority.controller(SystemTime::now()).expect("certified");
    let config = tls::server(authority, &credentials).expect("usable");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(play(listener, TlsAcceptor::from(config), scripts));
    address
}

#[tokio::test]
async fn a_node_believes_nothing_that_breaks_the_rules_and_comes_back() {
    let controller = Controller::start().await;
    let delta = json!({"type": "delta", "delta": {"from": 4, "to": 9}});
    let cases: Vec<(Vec<Message>, &str)> = vec![
        (vec![text(0, &snapshot(9))], "before welcome"),
        (vec![text(0, &welcome()), text(2, &snapshot(9))], "frame 2 where frame 1 was due"),
        (vec![text(0, &welcome()), text(0, &welcome())], "frame 0 where frame 1 was due"),
        (vec![text(0, &welcome()), text(1, &welcome())], "a second welcome"),
        (vec![text(0, &welcome()), text(1, &json!({"type": "obey"}))], "unknown variant"),
        (vec![text(0, &welcome()), text(1, &delta)], "a delta before a snapshot"),
        (vec![text(0, &welcome()), Message::binary(vec![1, 2, 3])], "unreadable"),
        (vec![text(0, &json!({"type": "welcome", "protocol": PROTOCOL + 1, "keepalive_ms": 1}))], "speaks"),
        (vec![text(0, &welcome()), Message::text("x".repeat(MAX_FRAME + 1))], "broke off"),
    ];
    log();
    // Each with a node of its own, at once: a node rests longer after each failure.
    let mut nodes = Vec::new();
    for (script, rule) in cases {
        let directory = tempfile::tempdir().expect("a directory");
        let mut identity = controller.join(directory.path()).await;
        let address =
            unruly(&controller.authority, vec![script, vec![text(0, &welcome()), text(1, &snapshot(5))]]).await;
        identity.url = format!("https://{address}");
        identity.save(directory.path()).expect("saved");
        let (controller_end, end) = in_process();
        let (path, shutdown) = (directory.path().to_owned(), CancellationToken::new());
        let ending = shutdown.clone();
        let channel = tokio::spawn(async move {
            client::run(&path, controller_end, None, (NoTraffic, MACHINE), NoTunnels, ending).await
        });
        begin(&end, identity.node).await;
        nodes.push((directory, end, channel, shutdown, rule));
    }
    for (_directory, mut end, channel, shutdown, rule) in nodes {
        let wait = end.desired.wait_for(|desired| desired.revision > 0);
        let first = Arc::clone(&*tokio::time::timeout(PATIENCE, wait).await.expect("in time").expect("open"));
        assert_eq!(first.revision, 5, "{rule}: the first thing that it is handed came by the rules");
        shutdown.cancel();
        channel.await.expect("no panic").expect("ends in order");
        let lines = log().lines("no channel to the controller");
        assert!(lines.iter().any(|line| line.contains(rule)), "{rule}: {lines:?}");
    }
}
