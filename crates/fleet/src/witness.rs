//! Nodes of a zone ask each other whether they are there. Who had an answer vouches for the other one while the controller misses its
//! keepalives (system.md §3, gateway node, row 3).
//!
//! A question has a number, and so has its answer: the same one. With it goes the newest question of the node's lease ([`crate::lease`]), and
//! the promise of the other one comes back with the answer. Each is a JSON text after its length, two octets. They travel over TLS that the
//! controller's authority certifies in both directions, through the tunnel between the two nodes ([`Tunnels`], ADR 0037): who is answered has proven
//! that packets pass through both nodes as those of customers do.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use causeway_model::NodeId;
use causeway_model::desired::Peer;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use crate::authority::{node_name, node_of};
use crate::lease::desk::Desk;
use crate::lease::{Ask, Promise, Voter, Way};

/// Where the tunnels between nodes of a zone end, UDP on their management addresses; inside them, where a node answers, TCP.
pub const PORT: u16 = 4431;
/// Exchanges of each peer in a keepalive period. What is heard of them is up to two exchanges old when it counts.
pub(crate) const EXCHANGES: u32 = 4;
/// Peers that ask a node at once; three do, and each may be about to connect anew.
const MAX_ASKING: usize = 32;
/// From a connection's first octet to the end of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that asks nothing for so long is gone: more than a period of any profile.
const IDLE: Duration = Duration::from_secs(120);
/// Between two attempts to listen.
const LISTEN_PAUSE: Duration = Duration::from_secs(5);
/// Octets of a question or an answer at most.
const MAX_TEXT: u16 = 1024;

/// The tunnels between a node and others of its zone, as its kernel and its packet threads carry them. Clones are handles of the same ones.
pub trait Tunnels: Clone + Send + Sync + 'static {
    /// From now on there are tunnels to these nodes, and to no others.
    fn lead_to(&self, peers: &[Peer]);

    /// Where the tunnels end on this node, an address and a port of UDP; `None`: nowhere yet.
    fn end(&self) -> Option<SocketAddr>;

    /// A listener that nothing reaches but what comes out of a tunnel. Waits until there can be one.
    fn listen(&self) -> impl Future<Output = io::Result<TcpListener>> + Send;

    /// A connection through the tunnel to `node`. Waits until there is a tunnel, and then for `patience` at most.
    fn connect(&self, node: NodeId, patience: Duration) -> impl Future<Output = io::Result<TcpStream>> + Send;
}

/// No tunnels: of a node without a kernel, which asks nobody and answers nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTunnels;

impl Tunnels for NoTunnels {
    fn lead_to(&self, _: &[Peer]) {}

    fn end(&self) -> Option<SocketAddr> {
        None
    }

    async fn listen(&self) -> io::Result<TcpListener> {
        std::future::pending().await
    }

    async fn connect(&self, _: NodeId, _: Duration) -> io::Result<TcpStream> {
        std::future::pending().await
    }
}

/// A node that answered, and how long ago it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// Who.
    pub node: NodeId,
    /// Milliseconds from the question to now.
    pub age_ms: u64,
}

/// From the one that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ask: Option<Ask>,
}

/// From the one that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    promise: Option<Promise>,
}

/// A peer broke the rules.
fn violation(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

async fn write<W: AsyncWrite + Unpin>(stream: &mut W, what: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(what).map_err(io::Error::other)?;
    let length = u16::try_from(text.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes()[..], &text].concat();
    stream.write_all(&framed).await?;
    stream.flush().await
}

async fn read<R: AsyncRead + Unpin, T: DeserializeOwned>(stream: &mut R) -> io::Result<T> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let length = u16::from_be_bytes(length);
    if length > MAX_TEXT {
        return Err(violation(format!("a text of {length} octets; at most {MAX_TEXT} are taken")));
    }
    let mut text = vec![0; usize::from(length)];
    stream.read_exact(&mut text).await?;
    serde_json::from_slice(&text).map_err(|error| violation(format!("an unreadable text: {error}")))
}

/// How a node asks for its lease, and votes for those of others.
#[derive(Clone)]
pub(crate) struct Lease {
    pub(crate) desk: Arc<Mutex<Desk>>,
    pub(crate) asks: watch::Receiver<Option<Ask>>,
    pub(crate) promises: mpsc::Sender<(Promise, Way)>,
}

/// What both directions are certified with.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

/// A node's part: its listener, and its questions to others. Dropping it ends both.
pub(crate) struct Witness<T> {
    tunnels: T,
    tls: watch::Sender<Tls>,
    listener: AbortHandle,
    asking: BTreeMap<NodeId, AbortHandle>,
    period: Duration,
    answered: Arc<Mutex<BTreeMap<NodeId, Instant>>>,
    lease: Lease,
}

impl<T> Drop for Witness<T> {
    fn drop(&mut self) {
        self.listener.abort();
        for task in self.asking.values() {
            task.abort();
        }
    }
}

impl<T: Tunnels> Witness<T> {
    /// Begins to listen behind the node's tunnels.
    pub(crate) fn start(tunnels: T, tls: Tls, lease: Lease) -> Self {
        let (tls, tls_rx) = watch::channel(tls);
        let (behind, desk) = (tunnels.clone(), Arc::clone(&lease.desk));
        let listener = tokio::spawn(async move { listen(&behind, &tls_rx, &desk).await }).abort_handle();
        let (asking, answered) = (BTreeMap::new(), Arc::default());
        Self { tunnels, tls, listener, asking, period: Duration::from_secs(1), answered, lease }
    }

    /// The certificate was renewed.
    pub(crate) fn renewed(&self, tls: Tls) {
        self.tls.send_replace(tls);
    }

    /// Where others reach it, once they can.
    pub(crate) fn listens(&self) -> Option<SocketAddr> {
        self.tunnels.end()
    }

    /// Has tunnels to these nodes and to no others, by which it is asked.
    pub(crate) fn lead_to(&self, peers: &[Peer]) {
        self.tunnels.lead_to(peers);
    }

    /// As [`Self::lead_to`], and asks those of them that it is to ask from now on, so often that what is known is never older than a part of `period`.
    pub(crate) fn ask(&mut self, peers: &[Peer], period: Duration) {
        self.tunnels.lead_to(peers);
        let is_other_pace = period != self.period;
        self.period = period;
        let asked = |node: &NodeId| peers.iter().any(|peer| peer.asks && peer.node == *node);
        self.asking.retain(|node, task| {
            let stays = asked(node) && !is_other_pace;
            if !stays {
                task.abort();
            }
            stays
        });
        for peer in peers.iter().filter(|peer| peer.asks) {
            let (node, tunnels, answered) = (peer.node, self.tunnels.clone(), Arc::clone(&self.answered));
            let (tls, lease) = (self.tls.subscribe(), self.lease.clone());
            self.asking.entry(node).or_insert_with(|| {
                tokio::spawn(async move { ask(&tunnels, node, period / EXCHANGES, &tls, &answered, lease).await })
                    .abort_handle()
            });
        }
    }

    /// Who answered within the last period.
    pub(crate) fn answered(&self) -> Vec<Answered> {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.retain(|_, asked| asked.elapsed() <= self.period);
        let age = |asked: &Instant| u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        answered.iter().map(|(node, asked)| Answered { node: *node, age_ms: age(asked) }).collect()
    }
}

async fn listen<T: Tunnels>(tunnels: &T, tls: &watch::Receiver<Tls>, desk: &Arc<Mutex<Desk>>) {
    let mut told = String::new();
    loop {
        match tunnels.listen().await {
            Ok(listener) => return serve(&listener, tls, desk).await,
            Err(error) => {
                let text = error.to_string();
                if text != told {
                    tracing::warn!(error = text, "cannot listen for other nodes' questions; trying again");
                    told = text;
                }
                sleep(LISTEN_PAUSE).await;
            }
        }
    }
}

/// The newest connection of each node. An older one is of a way that it has given up, and would keep others' places.
#[derive(Clone, Default)]
struct Newest(Arc<Mutex<BTreeMap<NodeId, CancellationToken>>>);

impl Newest {
    /// Takes the place of the node's connection before, which ends. What it answers is cancelled by the next one.
    fn take(&self, node: NodeId) -> CancellationToken {
        let ours = CancellationToken::new();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, token| !token.is_cancelled());
        if let Some(before) = known.insert(node, ours.clone()) {
            before.cancel();
        }
        ours
    }
}

async fn serve(listener: &TcpListener, tls: &watch::Receiver<Tls>, desk: &Arc<Mutex<Desk>>) {
    let permits = Arc::new(Semaphore::new(MAX_ASKING));
    let newest = Newest::default();
    // Its tasks end with it.
    let mut asked = tokio::task::JoinSet::new();
    loop {
        while asked.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (config, desk, newest) = (Arc::clone(&tls.borrow().server), Arc::clone(desk), newest.clone());
                asked.spawn(async move {
                    if let Err(error) = answer(stream, peer, config, &desk, &newest).await {
                        tracing::debug!(%peer, %error, "another node's questions ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept another node's connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it took too long")
}

/// Answers until the peer goes, connects anew, or breaks the rules.
async fn answer(
    stream: TcpStream,
    peer: SocketAddr,
    config: Arc<ServerConfig>,
    desk: &Mutex<Desk>,
    newest: &Newest,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream =
        timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await.map_err(|_| late())??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let Some(node) = certificate.and_then(node_of) else {
        return Err(io::Error::other("its certificate is no node's"));
    };
    let replaced = newest.take(node);
    let ended = tokio::select! {
        ended = answers(&mut stream, node, desk) => ended,
        () = replaced.cancelled() => Err(io::Error::other("it has connected anew")),
    };
    replaced.cancel();
    if let Err(error) = &ended
        && error.kind() == io::ErrorKind::InvalidData
    {
        tracing::warn!(%node, %peer, %error, "another node broke the rules of questions; its connection is closed");
    }
    ended
}

async fn answers<S>(stream: &mut S, node: NodeId, desk: &Mutex<Desk>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let Question { number, ask } = timeout(IDLE, read(stream)).await.map_err(|_| late())??;
        let promise = match ask {
            Some(ask) if ask.holder != node => {
                return Err(violation(format!("it asks for node {}, whose certificate it does not have", ask.holder)));
            }
            Some(ask) => desk.lock().unwrap_or_else(PoisonError::into_inner).ask(&ask),
            None => None,
        };
        timeout(IDLE, write(stream, &Answer { number, promise })).await.map_err(|_| late())??;
    }
}

/// Asks a node for ever.
async fn ask<T: Tunnels>(
    tunnels: &T,
    node: NodeId,
    every: Duration,
    tls: &watch::Receiver<Tls>,
    answered: &Mutex<BTreeMap<NodeId, Instant>>,
    mut lease: Lease,
) {
    loop {
        // It waits for its tunnel as long as that takes; in one that is there, a step takes no longer than a period.
        if let Ok(stream) = tunnels.connect(node, every * EXCHANGES).await {
            let config = Arc::clone(&tls.borrow().client);
            if let Err(error) = exchanges(stream, node, every, config, answered, &mut lease).await {
                tracing::debug!(%node, %error, "another node does not answer");
            }
        }
        sleep(every).await;
    }
}

async fn exchanges(
    stream: TcpStream,
    node: NodeId,
    every: Duration,
    config: Arc<ClientConfig>,
    answered: &Mutex<BTreeMap<NodeId, Instant>>,
    lease: &mut Lease,
) -> io::Result<()> {
    let patience = every * EXCHANGES;
    let name = ServerName::try_from(node_name(node)).map_err(io::Error::other)?;
    stream.set_nodelay(true)?;
    let mut stream =
        timeout(patience, TlsConnector::from(config).connect(name, stream)).await.map_err(|_| late())??;
    // A question of the lease goes out once over each connection: what was answered is not asked again.
    let mut told = 0;
    for number in 0_u64.. {
        let newest = *lease.asks.borrow_and_update();
        let ask = newest.filter(|ask| ask.number > told);
        let asked = Instant::now();
        let exchange = async {
            write(&mut stream, &Question { number, ask }).await?;
            read::<_, Answer>(&mut stream).await
        };
        let answer = timeout(patience, exchange).await.map_err(|_| late())??;
        if answer.number != number {
            return Err(violation("it answers another question"));
        }
        if let Some(promise) = answer.promise {
            if ask != Some(promise.ask) || promise.voter != Voter::Node(node) {
                return Err(violation("it promises what nobody asked it"));
            }
            // If the keeper is behind, it asks again.
            let _ = lease.promises.try_send((promise, Way::Direct));
        }
        told = ask.map_or(told, |ask| ask.number);
        answered.lock().unwrap_or_else(PoisonError::into_inner).insert(node, asked);
        tokio::select! {
            () = sleep(every) => {}
            Ok(()) = lease.asks.changed() => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use causeway_model::MachineId;

    use super::*;
    use crate::authority::{Authority, Credentials, request};
    use crate::tls;

    const PATIENCE: Duration = Duration::from_secs(30);
    const PERIOD: Duration = Duration::from_millis(400);
    /// Where everybody votes.
    const MACHINE: MachineId = MachineId(uuid::Uuid::from_u128(7));

    fn promised(ask: Ask, by: NodeId) -> Promise {
        Promise { ask, voter: Voter::Node(by), machine: Some(MACHINE) }
    }

    fn certified(authority: &Authority, node: NodeId) -> Tls {
        let (key, request) = request().expect("made");
        let certificate = authority.certify(node, &request, SystemTime::now()).expect("certified");
        let credentials = Credentials { certificate, key };
        let server = tls::node(authority.pem(), &credentials).expect("usable");
        Tls { server, client: tls::client(authority.pem(), &credentials).expect("usable") }
    }

    fn authority() -> Authority {
        Authority::load(&Authority::generate(SystemTime::now()).expect("made")).expect("loads")
    }

    /// A vote with its file.
    fn desk(node: NodeId) -> (Arc<Mutex<Desk>>, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        (Arc::new(Mutex::new(Desk::open(directory.path(), (node, MACHINE)).expect("opens"))), directory)
    }

    /// No tunnels, but places that are reached directly: what is said is what is tested here.
    #[derive(Clone)]
    struct Places(BTreeMap<NodeId, SocketAddr>);

    impl Tunnels for Places {
        fn lead_to(&self, _: &[Peer]) {}

        fn end(&self) -> Option<SocketAddr> {
            None
        }

        async fn listen(&self) -> io::Result<TcpListener> {
            std::future::pending().await
        }

        async fn connect(&self, node: NodeId, _: Duration) -> io::Result<TcpStream> {
            TcpStream::connect(self.0.get(&node).ok_or(io::ErrorKind::NotFound)?).await
        }
    }

    fn asked(node: NodeId, address: SocketAddr) -> Peer {
        Peer { node, address, key: None, asks: true }
    }

    async fn answering(tls: Tls, node: NodeId) -> (SocketAddr, AbortHandle, tempfile::TempDir) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (sender, receiver) = watch::channel(tls);
        let (desk, directory) = desk(node);
        let task = tokio::spawn(async move {
            serve(&listener, &receiver, &desk).await;
            drop(sender);
        });
        (address, task.abort_handle(), directory)
    }

    /// A node that asks, and what the test sees and says of its lease.
    struct Asking {
        witness: Witness<Places>,
        lease: Lease,
        asks: watch::Sender<Option<Ask>>,
        promises: mpsc::Receiver<(Promise, Way)>,
        _directory: tempfile::TempDir,
    }

    fn asking(tls: Tls, node: NodeId, places: impl IntoIterator<Item = (NodeId, SocketAddr)>) -> Asking {
        let (desk, directory) = desk(node);
        let (asks, asks_rx) = watch::channel(None);
        let (promises_tx, promises) = mpsc::channel(8);
        let lease = Lease { desk, asks: asks_rx, promises: promises_tx };
        let witness = Witness::start(Places(places.into_iter().collect()), tls, lease.clone());
        Asking { witness, lease, asks, promises, _directory: directory }
    }

    fn question(holder: NodeId, number: u64) -> Ask {
        Ask { holder, epoch: 1, boot: 7, number, lease_ms: 60_000 }
    }

    async fn until(mut holds: impl FnMut() -> bool) {
        let waits = async {
            while !holds() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waits).await.expect("in time");
    }

    #[tokio::test]
    async fn a_node_that_answers_is_vouched_for_until_it_stops() {
        let authority = authority();
        let (me, other) = (NodeId::random(), NodeId::random());
        let (address, task, _directory) = answering(certified(&authority, other), other).await;
        let mut witness = asking(certified(&authority, me), me, [(other, address)]).witness;
        witness.ask(&[Peer { asks: false, ..asked(other, address) }], PERIOD);
        assert!(witness.asking.is_empty(), "that one asks");
        witness.ask(&[asked(other, address)], PERIOD);
        until(|| witness.answered().iter().any(|answered| answered.node == other)).await;
        task.abort();
        until(|| witness.answered().is_empty()).await;
    }

    #[tokio::test]
    async fn whoever_is_certified_as_somebody_else_or_by_nobody_known_vouches_for_nothing() {
        let authority = authority();
        let (me, other) = (NodeId::random(), NodeId::random());
        let (impostor, _task, _first) = answering(certified(&authority, NodeId::random()), other).await;
        let (stranger, _task, _second) = answering(certified(&self::authority(), other), other).await;
        let (right, _task, _third) = answering(certified(&authority, other), other).await;
        let Asking { mut witness, mut lease, .. } = asking(certified(&authority, me), me, [(other, right)]);
        let named = ServerName::try_from(node_name(other)).expect("a name");
        for wrong in [impostor, stranger] {
            let config = certified(&authority, me).client;
            let stream = TcpStream::connect(wrong).await.expect("it listens");
            TlsConnector::from(config).connect(named.clone(), stream).await.expect_err("no trust");
        }
        // Without a certificate of this authority nothing is answered.
        let config = certified(&self::authority(), me);
        let stream = TcpStream::connect(right).await.expect("it listens");
        let refused = exchanges(stream, other, PERIOD, config.client, &Mutex::default(), &mut lease).await;
        assert!(refused.is_err());
        assert!(witness.answered().is_empty());
        witness.ask(&[asked(other, right)], PERIOD);
        until(|| !witness.answered().is_empty()).await;
    }

    #[tokio::test]
    async fn a_question_of_the_lease_travels_at_once_and_comes_back_as_a_promise() {
        let authority = authority();
        let (me, other) = (NodeId::random(), NodeId::random());
        let (address, _task, _directory) = answering(certified(&authority, other), other).await;
        let mut node = asking(certified(&authority, me), me, [(other, address)]);
        // So seldom that only the question itself can be why it is asked.
        node.witness.ask(&[asked(other, address)], Duration::from_secs(4 * 3600));
        until(|| node.witness.answered().iter().any(|answered| answered.node == other)).await;
        for number in [1, 2] {
            let ask = question(me, number);
            node.asks.send_replace(Some(ask));
            let promise = timeout(PATIENCE, node.promises.recv()).await.expect("in time").expect("open");
            assert_eq!(promise, (promised(ask, other), Way::Direct));
        }
        assert!(node.promises.try_recv().is_err(), "each is answered once");
    }

    /// What becomes of a connection of `me` that sends these octets.
    async fn sends(authority: &Authority, (me, other): (NodeId, NodeId), octets: &[u8]) -> Option<Answer> {
        let (address, _task, _directory) = answering(certified(authority, other), other).await;
        let stream = TcpStream::connect(address).await.expect("it listens");
        let name = ServerName::try_from(node_name(other)).expect("a name");
        let connector = TlsConnector::from(certified(authority, me).client);
        let mut stream = connector.connect(name, stream).await.expect("trust");
        stream.write_all(octets).await.expect("sent");
        stream.flush().await.expect("sent");
        timeout(PATIENCE, read(&mut stream)).await.expect("it is answered or closed").ok()
    }

    #[tokio::test]
    async fn a_node_that_connects_anew_ends_its_older_connection_and_nobody_elses() {
        let authority = authority();
        let (me, another, other) = (NodeId::random(), NodeId::random(), NodeId::random());
        let (address, _task, _directory) = answering(certified(&authority, other), other).await;
        let connect = async |node: NodeId| {
            let stream = TcpStream::connect(address).await.expect("it listens");
            let name = ServerName::try_from(node_name(other)).expect("a name");
            let connector = TlsConnector::from(certified(&authority, node).client);
            connector.connect(name, stream).await.expect("trust")
        };
        let is_answered = async |stream: &mut tokio_rustls::client::TlsStream<TcpStream>, number: u64| {
            write(stream, &Question { number, ask: None }).await.expect("sent");
            let answer = timeout(PATIENCE, read::<_, Answer>(stream)).await.expect("answered or closed");
            answer.is_ok_and(|answer| answer.number == number)
        };
        let (mut older, mut others) = (connect(me).await, connect(another).await);
        assert!(is_answered(&mut older, 1).await && is_answered(&mut others, 1).await);
        let mut newer = connect(me).await;
        assert!(is_answered(&mut newer, 1).await);
        let closed = timeout(PATIENCE, read::<_, Answer>(&mut older)).await.expect("closed");
        assert!(closed.is_err());
        assert!(is_answered(&mut others, 2).await && is_answered(&mut newer, 2).await);
    }

    #[tokio::test]
    async fn whoever_breaks_the_rules_of_questions_is_cut_off() {
        let authority = authority();
        let (me, other) = (NodeId::random(), NodeId::random());
        let text =
            |text: &str| [&u16::try_from(text.len()).expect("short").to_be_bytes()[..], text.as_bytes()].concat();
        let json = |question: &Question| text(&serde_json::to_string(question).expect("JSON"));
        let ask = question(me, 1);
        let fine = sends(&authority, (me, other), &json(&Question { number: 4, ask: Some(ask) })).await;
        let promise = Some(promised(ask, other));
        assert_eq!(fine, Some(Answer { number: 4, promise }));
        let foreign = Question { number: 4, ask: Some(question(NodeId::random(), 1)) };
        let oversized = [&(MAX_TEXT + 1).to_be_bytes()[..], &vec![b' '; usize::from(MAX_TEXT) + 1]].concat();
        for wrong in [json(&foreign), oversized, text("{\"number\": 1, \"else\": 2}"), text(""), text("no JSON")] {
            assert_eq!(sends(&authority, (me, other), &wrong).await, None, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_node_that_promises_what_nobody_asked_is_not_believed() {
        let authority = authority();
        let (me, other) = (NodeId::random(), NodeId::random());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = certified(&authority, other).server;
        let liar = tokio::spawn(async move {
            for turn in 0.. {
                let (stream, _) = listener.accept().await.expect("accepts");
                let mut stream = TlsAcceptor::from(Arc::clone(&server)).accept(stream).await.expect("trust");
                let question: Question = read(&mut stream).await.expect("a question");
                let ask = question.ask.expect("of the lease");
                let promise = match turn % 2 {
                    0 => Promise { voter: Voter::Controller, ..promised(ask, other) },
                    _ => promised(Ask { number: ask.number + 1, ..ask }, other),
                };
                write(&mut stream, &Answer { number: question.number, promise: Some(promise) }).await.expect("sent");
            }
        });
        let Asking { mut lease, asks, mut promises, .. } = asking(certified(&authority, me), me, []);
        asks.send_replace(Some(question(me, 1)));
        for _ in 0..2 {
            let config = certified(&authority, me).client;
            let stream = TcpStream::connect(address).await.expect("it listens");
            let ended = exchanges(stream, other, Duration::from_secs(60), config, &Mutex::default(), &mut lease).await;
            assert_eq!(ended.expect_err("a violation").kind(), io::ErrorKind::InvalidData);
        }
        assert!(promises.try_recv().is_err());
        liar.abort();
    }
}
