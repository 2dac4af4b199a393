//! Two nodes on one wire, each in a namespace of its own with its own packet threads, and nothing of a gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use causeway_crypto::SystemEntropy;
use causeway_datapath::{Datapath, DatapathConfig};
use causeway_linux::Namespace;
use causeway_model::diagnosis::{NodeFacts, PeerTunnel};
use causeway_model::{Fault, Psk, ReasonCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::dispatch::Directory;
use crate::host::Host;
use crate::lease::LeaseGate;

const PATIENCE: Duration = Duration::from_secs(60);

/// A node's machine, and its tunnels.
struct Node {
    id: NodeId,
    machine: Namespace,
    address: SocketAddr,
    peering: Peering,
    board: Board,
    life: Option<(CancellationToken, JoinHandle<()>)>,
    state_dir: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
        let _ = Namespace::delete(self.machine.name());
        let _ = std::fs::remove_dir_all(&self.state_dir);
    }
}

impl Node {
    fn new(test: &str, number: u8) -> Self {
        let name = format!("cwnd-{test}-{number}");
        let _ = Namespace::delete(&name);
        let machine = Namespace::create(&name).expect("a namespace");
        let state_dir = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        let board = Board::new(NodeFacts::default());
        Self {
            id: NodeId::random(),
            machine,
            address: SocketAddr::from(([192, 0, 2, number], PORT)),
            // Both see the other one's address on the way to a controller that is on the same wire and never spoken to.
            peering: Peering::new(("192.0.2.9".to_owned(), 443), Some(board.clone())),
            board,
            life: None,
            state_dir,
        }
    }

    fn sh(&self, line: &str) -> String {
        let output = self.machine.command(&["sh", "-c", line]).expect("a shell");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs the node's tunnels on a thread of its machine, as a process would.
    fn run(&mut self) {
        let (id, peering, state_dir) = (self.id, self.peering.clone(), self.state_dir.clone());
        let (machine, stop) = (self.machine.clone(), CancellationToken::new());
        let ended = stop.clone();
        let life = async move || {
            let gate = LeaseGate::new("cwnd-none").expect("a gate");
            let host = Arc::new(Host::open(&state_dir, "cwnd-none", gate).await.expect("a host"));
            let (datapath, ike) = Datapath::start(DatapathConfig::default()).expect("packet threads");
            let (datapath, directory) = (Arc::new(datapath), Arc::<Directory>::default());
            let events = datapath.events().expect("the first call");
            let dispatcher = tokio::spawn(Arc::clone(&directory).serve(ike, events));
            let around =
                Around { host: Arc::clone(&host), datapath, directory, entropy: || Box::new(SystemEntropy::new()) };
            let running = start(peering, id, around, Sharing::new().1);
            ended.cancelled().await;
            running.stop().await;
            dispatcher.abort();
            host.close().await;
        };
        let thread = std::thread::spawn(move || {
            let on_machine = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(life());
            };
            machine.run(on_machine).expect("the machine's namespace");
        });
        self.life = Some((stop, thread));
    }

    fn stop(&mut self) {
        if let Some((stop, thread)) = self.life.take() {
            stop.cancel();
            let _ = thread.join();
        }
    }

    fn lead_to(&self, other: &Self, key: &[u8]) {
        let key = Some(Psk::new(key.to_vec()));
        self.peering.lead_to(&[Peer { node: other.id, address: other.address, key, asks: true }]);
    }

    /// Waits until the node says this of its tunnel.
    async fn says(&self, what: &str, holds: impl Fn(&PeerTunnel) -> bool) {
        let mut facts = self.board.subscribe();
        let wait = facts.wait_for(|facts| facts.tunnels.first().is_some_and(&holds));
        let in_time = timeout(PATIENCE, wait).await.is_ok();
        assert!(in_time, "{} never says {what}: {:?}", self.machine.name(), self.board.borrow().tunnels);
    }

    async fn is_up(&self) {
        self.says("up", |tunnel| tunnel.up && tunnel.fault.is_none()).await;
    }

    /// Waits until the tunnel is down for one of these reasons, whatever attempts have met since.
    async fn is_down(&self, codes: &[ReasonCode]) {
        let is_one = |told: &str| codes.iter().any(|code| code.as_str() == told);
        let says = |fault: &Fault| {
            is_one(fault.code.as_str()) || fault.evidence.get(actor::WENT_DOWN).is_some_and(|went| is_one(went))
        };
        let because = |tunnel: &PeerTunnel| !tunnel.up && tunnel.fault.as_ref().is_some_and(says);
        self.says(&format!("{codes:?}"), because).await;
    }

    /// Waits until the tunnel is down because the other end has gone. It says good-bye to every IKE SA that it knows; of two that both ends have begun at
    /// the same moment, it may not know the other end's view of one yet, and that one ends by its silence.
    async fn is_left(&self) {
        self.is_down(&[ReasonCode::PeerDeletedSa, ReasonCode::DpdTimeout]).await;
    }

    /// Packets of a named counter.
    fn counted(&self, name: &str) -> u64 {
        let text = self.sh(&format!("nft list counter inet seen {name}"));
        let packets = text.split_whitespace().skip_while(|word| *word != "packets").nth(1);
        packets.and_then(|number| number.parse().ok()).expect("a number")
    }
}

/// A question and its answer through the tunnel from `from` to `to`.
async fn exchange(from: &Node, to: &Node, listener: &TcpListener) {
    let asks = async {
        let mut stream = from.peering.connect(to.id, PATIENCE).await.expect("a connection");
        stream.write_all(b"there?").await.expect("sent");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"yes!");
    };
    let answers = async {
        // What an earlier attempt left may come first.
        loop {
            let (mut stream, peer) = listener.accept().await.expect("accepted");
            let mut question = [0; 6];
            if stream.read_exact(&mut question).await.is_ok() {
                assert_eq!(peer.ip(), IpAddr::V6(inside_address(from.id)));
                stream.write_all(b"yes!").await.expect("sent");
                return;
            }
        }
    };
    timeout(PATIENCE, async { tokio::join!(asks, answers) }).await.expect("in time");
}

/// Two machines on one wire, each of which counts what comes by it.
fn pair(test: &str) -> [Node; 2] {
    let nodes = [1, 2].map(|number| Node::new(test, number));
    let [one, two] = &nodes;
    one.sh(&format!("ip link add up0 type veth peer name up0 netns {}", two.machine.path().display()));
    for (number, node) in (1..).zip(&nodes) {
        node.sh(&format!("ip link set lo up; ip link set up0 up; ip address add 192.0.2.{number}/24 dev up0"));
        node.sh("nft 'add table inet seen; add counter inet seen tunnel; add counter inet seen other; \
             add chain inet seen input { type filter hook input priority -10; }; \
             add rule inet seen input iifname up0 udp dport 4431 counter name tunnel accept; \
             add rule inet seen input iifname up0 meta l4proto { tcp, udp, esp } counter name other'");
    }
    nodes
}

#[tokio::test]
#[ignore = "needs root; `make test` runs it"]
async fn nodes_meet_in_a_tunnel_alone_with_the_right_key_and_again_after_it_was_cut() {
    let mut nodes = pair("peer");
    nodes.iter_mut().for_each(Node::run);
    let [one, two] = &nodes;
    // Keys that differ.
    one.lead_to(two, b"one key");
    two.lead_to(one, b"another key");
    one.is_down(&[ReasonCode::AuthenticationFailed]).await;
    two.is_down(&[ReasonCode::AuthenticationFailed]).await;
    two.lead_to(one, b"one key");
    for node in [one, two] {
        node.is_up().await;
        assert_eq!(node.peering.end(), Some(node.address));
    }
    let listener = two.peering.listen().await.expect("a listener");
    exchange(one, two, &listener).await;
    assert!(two.counted("tunnel") > 0);
    assert_eq!((one.counted("other"), two.counted("other")), (0, 0), "nothing beside the tunnel");
    // Nothing else goes in or out there.
    let inside = Namespace::open(&namespace_name(one.id)).expect("it is there");
    let ping = inside.command(&["ping", "-c", "1", "-W", "1", &inside_address(two.id).to_string()]).expect("ping");
    assert!(!ping.status.success());
    let filtered = inside.command(&["nft", "list", "counter", "inet", "causeway", "drop_output_peering"]);
    assert!(!String::from_utf8_lossy(&filtered.expect("nft").stdout).contains("packets 0 "), "it never left");

    // The packets of the tunnel are lost in one direction, then not.
    two.sh("nft 'add table inet cut; add chain inet cut in { type filter hook input priority 0; }; \
         add rule inet cut in udp dport 4431 drop'");
    two.is_down(&[ReasonCode::DpdTimeout]).await;
    one.says("down", |tunnel| !tunnel.up).await;
    two.sh("nft delete table inet cut");
    one.is_up().await;
    two.is_up().await;
    exchange(one, two, &listener).await;
}

#[tokio::test]
#[ignore = "needs root; `make test` runs it"]
async fn a_node_that_starts_anew_has_its_tunnel_again_and_leaves_nothing_when_it_ends() {
    let mut nodes = pair("again");
    nodes.iter_mut().for_each(Node::run);
    let [one, two] = &mut nodes;
    one.lead_to(two, b"key");
    two.lead_to(one, b"key");
    one.is_up().await;
    two.is_up().await;
    two.stop();
    one.is_left().await;
    assert!(!Namespace::exists(&namespace_name(two.id)));
    two.run();
    one.is_up().await;
    two.is_up().await;
    let listener = two.peering.listen().await.expect("a listener");
    exchange(one, two, &listener).await;
    // The management address moves; the other node is told by the controller.
    two.sh("ip address delete 192.0.2.2/24 dev up0; ip address add 192.0.2.3/24 dev up0");
    two.address = SocketAddr::from(([192, 0, 2, 3], PORT));
    let mut facts = two.board.subscribe();
    let moved = facts.wait_for(|facts| facts.tunnels_end == Some(two.address));
    timeout(PATIENCE, moved).await.expect("in time").expect("open");
    one.lead_to(two, b"key");
    one.says("the new place", |tunnel| tunnel.up && tunnel.endpoint == two.address).await;
    exchange(one, two, &listener).await;
    // A node that is none any more.
    one.peering.lead_to(&[]);
    two.is_left().await;
}
