//! The controller's end against nodes that break the rules: each has proven who it is, and is called by its name.

use std::time::Duration;

use causeway_fleet::identity::Identity;
use causeway_fleet::{ControllerEnd, FromNode, MAX_FRAME, PROTOCOL, Refusal, tls};
use causeway_model::desired::{GatewayDesired, NodeDesired, VpcDesired};
use causeway_model::observed::{AclCounters, ConnectionFacts, GatewayFacts, LinkFacts, NodeReport, VpcFacts};
use causeway_model::{ConnectionId, LinkId, MachineId, NodeId, PrivateNetworkId, VpcId, VpnGatewayId};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use uuid::Uuid;

use crate::harness::{Controller, MACHINE, PATIENCE, log};

const NAME: &str = "controller.causeway.internal";

type Channel = WebSocketStream<TlsStream<TcpStream>>;

/// A channel by hand, before hello.
async fn dial(controller: &Controller, identity: &Identity) -> Channel {
    let config = tls::client(&identity.authority, &identity.credentials()).expect("usable");
    let stream = TcpStream::connect(controller.address).await.expect("connected");
    let name = ServerName::try_from(NAME).expect("a name");
    let stream = TlsConnector::from(config).connect(name, stream).await.expect("trusted");
    let url = format!("wss://{NAME}/causeway/v1/node/channel");
    let limits = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    tokio_tungstenite::client_async_with_config(url, stream, Some(limits)).await.expect("opened").0
}

fn numbered(number: u64, frame: &Value) -> Message {
    Message::text(json!({"number": number, "frame": frame}).to_string())
}

fn hello(node: NodeId, protocol: u32) -> Value {
    json!({
        "type": "hello", "protocol": protocol, "node": node, "boot": Uuid::new_v4(), "zone": "fr-par-1", "version": "1", "revision": 0,
        "machine": Uuid::new_v4(),
    })
}

fn keepalive() -> Value {
    json!({"type": "keepalive", "services": []})
}

fn report(report: &NodeReport) -> Value {
    json!({"type": "report", "report": report})
}

/// A question that the controller is to pass on.
fn ask_others(holder: NodeId, voters: &[NodeId]) -> Value {
    json!({"type": "ask_others", "ask": {"holder": holder, "epoch": 0, "boot": 1, "number": 1, "lease_ms": 6000}, "voters": voters})
}

/// A promise to such a question.
fn promised(voter: NodeId, machine: MachineId) -> Value {
    let ask = json!({"holder": NodeId::random(), "epoch": 0, "boot": 1, "number": 1, "lease_ms": 6000});
    json!({"type": "promised", "promise": {"ask": ask, "voter": {"node": voter}, "machine": machine}})
}

fn gateway(id: u128) -> VpnGatewayId {
    VpnGatewayId(Uuid::from_u128(id))
}

/// Revision 3: gateway 1 in VPC 9.
fn desired() -> Arc<NodeDesired> {
    let vpc = VpcId(Uuid::from_u128(9));
    let gateways = vec![GatewayDesired {
        id: gateway(1),
        vpc,
        network: PrivateNetworkId(Uuid::from_u128(8)),
        revision: 3,
        asn: 12876,
        private_addresses: Vec::new(),
        public_addresses: Vec::new(),
        bandwidth: 0,
        locked: false,
        connections: Vec::new(),
    }];
    Arc::new(NodeDesired {
        revision: 3,
        vpcs: vec![VpcDesired::new(vpc, Vec::new())],
        gateways,
        ..NodeDesired::default()
    })
}

fn facts(id: u128, applied: u64) -> NodeReport {
    let gateways = vec![GatewayFacts { id: gateway(id), applied, refused: None }];
    NodeReport { revision: 3, gateways, ..NodeReport::default() }
}

async fn next(end: &mut ControllerEnd) -> Option<FromNode> {
    tokio::time::timeout(PATIENCE, end.reports.recv()).await.expect("in time")
}

/// The texts that still come, until the channel ends.
async fn rest(channel: &mut Channel) -> Vec<Value> {
    let read = async {
        let mut texts = Vec::new();
        while let Some(Ok(message)) = channel.next().await {
            if let Message::Text(text) = message {
                texts.push(serde_json::from_str(&text).expect("JSON"));
            }
        }
        texts
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the channel ends")
}

/// A session that has said hello and was sent the desired state.
async fn open(controller: &mut Controller, identity: &Identity) -> (Channel, ControllerEnd) {
    let mut channel = dial(controller, identity).await;
    channel.send(numbered(0, &hello(identity.node, PROTOCOL))).await.expect("sent");
    let (node, mut end) = controller.session().await;
    assert_eq!(node, identity.node);
    assert!(matches!(next(&mut end).await, Some(FromNode::Hello { .. })));
    end.desired.send_replace(desired());
    for expected in ["welcome", "snapshot"] {
        let text = channel.next().await.expect("open").expect("a frame").into_text().expect("text");
        let text: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(text["frame"]["type"], expected);
    }
    (channel, end)
}

/// Sends this to an open session; the node is told and logged to have broken the rule in these words, and nothing of it is believed.
async fn refused(controller: &mut Controller, identity: &Identity, messages: Vec<Message>, rule: &str) {
    let (mut channel, mut end) = open(controller, identity).await;
    let name = identity.node.to_string();
    let before = log().lines(&name).len();
    for message in messages {
        // What was wrong before may have ended the channel already.
        let _ = channel.send(message).await;
    }
    let told = rest(&mut channel).await;
    let closing = told.iter().map(|text| &text["frame"]).find(|frame| frame["type"] == "closing");
    if let Some(closing) = closing {
        assert_eq!(closing["code"], "violation", "{rule}");
        assert!(closing["message"].as_str().is_some_and(|text| text.contains(rule)), "{rule}: {closing}");
    } else {
        // It is not read to its end, so that the answer may be lost with it.
        assert!(rule.contains("too long"), "{rule}: {told:?}");
    }
    assert!(next(&mut end).await.is_none_or(|word| matches!(word, FromNode::Keepalive { .. })), "{rule}");
    let lines = log().lines(&name);
    let line = lines.iter().skip(before).find(|line| line.contains("broke the rules"));
    let line = line.unwrap_or_else(|| panic!("{rule}: {lines:?}"));
    assert!(line.contains("peer=127.0.0.1:") && line.contains(rule), "{rule}: {line}");
}

#[tokio::test]
async fn whoever_breaks_the_rules_is_told_named_in_the_log_and_not_believed() {
    let mut controller = Controller::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let good = controller.join(directory.path()).await;
    let (mut witness, mut witness_end) = open(&mut controller, &good).await;
    let identity = controller.join(tempfile::tempdir().expect("a directory").path()).await;
    log();
    let raw = |text: &str| vec![Message::text(text.to_owned())];
    let one = |number, frame: Value| vec![numbered(number, &frame)];
    let foreign_connection = ConnectionFacts {
        id: ConnectionId(Uuid::from_u128(7)),
        applied: 3,
        refused: None,
        tunnels: Vec::new(),
        sessions: Vec::new(),
        received: Vec::new(),
        announced: Vec::new(),
    };
    let mut foreign_vpc = facts(1, 3);
    let (networks, acl) = (std::collections::BTreeMap::new(), AclCounters::default());
    foreign_vpc.vpcs = vec![VpcFacts { id: VpcId(Uuid::from_u128(10)), applied: 3, refused: None, networks, acl }];
    let mut foreign_link = facts(1, 3);
    foreign_link.links = vec![LinkFacts {
        id: LinkId(Uuid::from_u128(11)),
        applied: 3,
        refused: None,
        carrier: true,
        carrier_since: None,
        mtu: 1500,
        sessions: Vec::new(),
        received: Vec::new(),
        announced: Vec::new(),
        drops: std::collections::BTreeMap::new(),
    }];
    let services = vec![json!({"name": "ike"}); 33];
    let machine = MachineId::random();
    let mut later = facts(1, 3);
    later.revision = 4;
    let cases: Vec<(Vec<Message>, &str)> = vec![
        // Repeated, reordered, lost, from far in the future.
        (vec![numbered(1, &keepalive()), numbered(1, &keepalive())], "frame 1 where frame 2 was due"),
        (vec![numbered(2, &keepalive()), numbered(1, &keepalive())], "frame 2 where frame 1 was due"),
        (one(0, hello(identity.node, PROTOCOL)), "frame 0 where frame 1 was due"),
        (one(u64::MAX, keepalive()), "where frame 1 was due"),
        // Unknown, unreadable.
        (one(1, json!({"type": "takeover"})), "unknown variant"),
        (one(1, json!({"type": "keepalive", "services": [], "more": 1})), "unknown field"),
        (one(1, json!({"type": "snapshot", "desired": {}})), "unknown variant"),
        (raw("{"), "unreadable"),
        (raw("{\"number\":-1,\"frame\":{}}"), "unreadable"),
        (raw(&"[".repeat(100_000)), "unreadable"),
        (vec![Message::binary(vec![0xff; 10])], "unreadable"),
        // Out of place.
        (one(1, hello(identity.node, PROTOCOL)), "a second hello"),
        // From the future, and about what is another node's.
        (one(1, report(&later)), "a report of revision 4"),
        (one(1, report(&facts(1, 4))), "a report of revision 4"),
        (one(1, report(&facts(2, 3))), "gateway 00000000-0000-0000-0000-000000000002"),
        (one(1, report(&NodeReport { connections: vec![foreign_connection], ..facts(1, 3) })), "connection 0000"),
        (one(1, report(&foreign_vpc)), "VPC 0000"),
        (one(1, report(&foreign_link)), "link 0000"),
        // For another node, from another one, and from another machine.
        (one(1, ask_others(NodeId::random(), &[])), "says that it is"),
        (one(1, promised(NodeId::random(), machine)), "says that it is"),
        (one(1, promised(identity.node, machine)), "from another machine"),
        // Too much.
        (one(1, ask_others(identity.node, &vec![good.node; 17])), "voters"),
        (one(1, json!({"type": "keepalive", "services": services})), "services"),
        (one(1, json!({"type": "keepalive", "services": [{"name": "x".repeat(2000)}]})), "services"),
        (vec![Message::text("x".repeat(MAX_FRAME + 1))], "Message too long"),
    ];
    for (messages, rule) in cases {
        refused(&mut controller, &identity, messages, rule).await;
    }

    // Nobody else notices.
    witness.send(numbered(1, &report(&facts(1, 3)))).await.expect("still open");
    assert!(matches!(next(&mut witness_end).await, Some(FromNode::Report(told)) if told == facts(1, 3)));
    // And a node that keeps the rules again is believed again.
    let (mut channel, mut end) = open(&mut controller, &identity).await;
    channel.send(numbered(1, &report(&facts(1, 3)))).await.expect("open");
    assert!(matches!(next(&mut end).await, Some(FromNode::Report(told)) if told == facts(1, 3)));
}

#[tokio::test]
async fn nobody_begins_a_session_but_with_his_own_hello() {
    let mut controller = Controller::start().await;
    let identity = controller.join(tempfile::tempdir().expect("a directory").path()).await;
    log();
    let stranger = NodeId::random();
    for (first, rule) in [
        (keepalive(), "before hello".to_owned()),
        (hello(stranger, PROTOCOL), format!("says that it is {stranger}")),
        (hello(identity.node, PROTOCOL + 1), "speaks".to_owned()),
    ] {
        let mut channel = dial(&controller, &identity).await;
        channel.send(numbered(0, &first)).await.expect("sent");
        let told = rest(&mut channel).await;
        let closing = told.first().unwrap_or_else(|| panic!("{rule}: it is not told"));
        assert_eq!(closing["frame"]["code"], "violation", "{rule}");
        let lines = log().lines(&format!("node={}", identity.node));
        assert!(lines.iter().any(|line| line.contains(&rule)), "{rule}, by its certificate: {lines:?}");
        let met = tokio::time::timeout(Duration::from_millis(1), controller.sessions.recv()).await;
        assert!(met.is_err(), "{rule}: no session was opened");
    }
}

#[tokio::test]
async fn a_node_that_is_refused_for_its_machine_is_told_so_whether_another_one_has_a_session_or_not() {
    let mut controller = Controller::start().await;
    let identity = controller.join(tempfile::tempdir().expect("a directory").path()).await;
    for (refused, code) in [(true, "elsewhere"), (false, "superseded")] {
        let mut channel = dial(&controller, &identity).await;
        // The session that counts is on this machine, says the harness.
        let mut here = hello(identity.node, PROTOCOL);
        here["machine"] = json!(MACHINE);
        channel.send(numbered(0, &here)).await.expect("sent");
        let (_, end) = controller.session().await;
        if refused {
            end.refuse(Refusal::Elsewhere);
        } else {
            drop(end);
        }
        let told = rest(&mut channel).await;
        let closing = told.iter().map(|text| &text["frame"]).find(|frame| frame["type"] == "closing");
        assert!(closing.is_some_and(|closing| closing["code"] == code), "{told:?}");
    }
}
