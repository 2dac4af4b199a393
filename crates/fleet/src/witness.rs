//! Nodes of a zone ask each other whether they are there. Who had an answer vouches for the other one while the controller misses its
//! keepalives (system.md §3, gateway node, row 3).
//!
//! A question is a number of eight octets, and so is its answer: the same one. It travels over TLS that the controller's authority certifies in
//! both directions, from the node's management address (the one that it reaches its controller from) to that of the other one, port [`PORT`].

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use causeway_model::NodeId;
use causeway_model::desired::Peer;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::authority::{node_name, node_of};

/// Where a node answers others of its zone, TCP.
pub const PORT: u16 = 4431;
/// Exchanges of each peer in a keepalive period. What is heard of them is up to two exchanges old when it counts.
pub(crate) const EXCHANGES: u32 = 4;
/// Peers that ask a node at once; three do, and each may have an old connection that is not given up yet.
const MAX_ASKING: usize = 32;
/// From a connection's first octet to the end of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that asks nothing for so long is gone: more than a period of any profile.
const IDLE: Duration = Duration::from_secs(120);
/// Between two attempts to listen.
const LISTEN_PAUSE: Duration = Duration::from_secs(5);

/// A node that answered, and how long ago it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// Who.
    pub node: NodeId,
    /// Milliseconds from the question to now.
    pub age_ms: u64,
}

/// What both directions are certified with.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

/// A node's part: its listener, and its questions to others. Dropping it ends both.
pub(crate) struct Witness {
    tls: watch::Sender<Tls>,
    listens: watch::Receiver<Option<SocketAddr>>,
    listener: AbortHandle,
    asking: BTreeMap<Peer, AbortHandle>,
    period: Duration,
    answered: Arc<Mutex<BTreeMap<NodeId, Instant>>>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.listener.abort();
        for task in self.asking.values() {
            task.abort();
        }
    }
}

impl Witness {
    /// Begins to listen at the address that the controller at `host` and `port` is reached from.
    pub(crate) fn start(host: String, port: u16, tls: Tls) -> Self {
        let (tls, tls_rx) = watch::channel(tls);
        let (listens_tx, listens) = watch::channel(None);
        let listener = tokio::spawn(async move { listen(&host, port, &tls_rx, &listens_tx).await }).abort_handle();
        let (asking, answered) = (BTreeMap::new(), Arc::default());
        Self { tls, listens, listener, asking, period: Duration::from_secs(1), answered }
    }

    /// The certificate was renewed.
    pub(crate) fn renewed(&self, tls: Tls) {
        self.tls.send_replace(tls);
    }

    /// Where others reach it, once it listens.
    pub(crate) fn listens(&self) -> Option<SocketAddr> {
        *self.listens.borrow()
    }

    /// Asks these peers from now on, so often that what is known is never older than a part of `period`.
    pub(crate) fn ask(&mut self, peers: &[Peer], period: Duration) {
        let is_other_pace = period != self.period;
        self.period = period;
        self.asking.retain(|peer, task| {
            let stays = peers.contains(peer) && !is_other_pace;
            if !stays {
                task.abort();
            }
            stays
        });
        for peer in peers {
            let answered = Arc::clone(&self.answered);
            let (tls, peer) = (self.tls.subscribe(), *peer);
            self.asking.entry(peer).or_insert_with(|| {
                tokio::spawn(async move { ask(peer, period / EXCHANGES, &tls, &answered).await }).abort_handle()
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

/// The address that packets to the controller leave from. Nothing is sent.
async fn management_address(host: &str, port: u16) -> io::Result<SocketAddr> {
    let target = lookup_host((host, port)).await?.next().ok_or_else(|| io::Error::other("the name has no address"))?;
    let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    socket.local_addr()
}

async fn listen(host: &str, port: u16, tls: &watch::Receiver<Tls>, listens: &watch::Sender<Option<SocketAddr>>) {
    let mut told = String::new();
    loop {
        let bound = async {
            let mut address = management_address(host, port).await?;
            address.set_port(PORT);
            Ok::<_, io::Error>((TcpListener::bind(address).await?, address))
        };
        match bound.await {
            Ok((listener, address)) => {
                listens.send_replace(Some(address));
                return serve(&listener, tls).await;
            }
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

async fn serve(listener: &TcpListener, tls: &watch::Receiver<Tls>) {
    let permits = Arc::new(Semaphore::new(MAX_ASKING));
    // Its tasks end with it.
    let mut asked = tokio::task::JoinSet::new();
    loop {
        while asked.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let config = Arc::clone(&tls.borrow().server);
                asked.spawn(async move {
                    if let Err(error) = answer(stream, config).await {
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

/// Answers until the peer goes.
async fn answer(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream =
        timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await.map_err(|_| late())??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    if certificate.and_then(node_of).is_none() {
        return Err(io::Error::other("its certificate is no node's"));
    }
    let mut question = [0; 8];
    loop {
        timeout(IDLE, stream.read_exact(&mut question)).await.map_err(|_| late())??;
        timeout(IDLE, stream.write_all(&question)).await.map_err(|_| late())??;
        timeout(IDLE, stream.flush()).await.map_err(|_| late())??;
    }
}

/// Asks a peer for ever.
async fn ask(peer: Peer, every: Duration, tls: &watch::Receiver<Tls>, answered: &Mutex<BTreeMap<NodeId, Instant>>) {
    loop {
        let config = Arc::clone(&tls.borrow().client);
        if let Err(error) = exchanges(peer, every, config, answered).await {
            tracing::debug!(node = %peer.node, %error, "another node does not answer");
        }
        sleep(every).await;
    }
}

async fn exchanges(
    peer: Peer,
    every: Duration,
    config: Arc<ClientConfig>,
    answered: &Mutex<BTreeMap<NodeId, Instant>>,
) -> io::Result<()> {
    let patience = every * EXCHANGES;
    let name = ServerName::try_from(node_name(peer.node)).map_err(io::Error::other)?;
    let stream = timeout(patience, TcpStream::connect(peer.address)).await.map_err(|_| late())??;
    stream.set_nodelay(true)?;
    let mut stream =
        timeout(patience, TlsConnector::from(config).connect(name, stream)).await.map_err(|_| late())??;
    for number in 0_u64.. {
        let asked = Instant::now();
        let exchange = async {
            stream.write_all(&number.to_be_bytes()).await?;
            stream.flush().await?;
            let mut answer = [0; 8];
            stream.read_exact(&mut answer).await?;
            Ok::<_, io::Error>(u64::from_be_bytes(answer))
        };
        let answer = timeout(patience, exchange).await.map_err(|_| late())??;
        if answer != number {
            return Err(io::Error::other("it answers another question"));
        }
        answered.lock().unwrap_or_else(PoisonError::into_inner).insert(peer.node, asked);
        sleep(every).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::authority::{Authority, Credentials, request};
    use crate::tls;

    const PATIENCE: Duration = Duration::from_secs(30);
    const PERIOD: Duration = Duration::from_millis(400);

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

    async fn answering(tls: Tls) -> (SocketAddr, AbortHandle) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (sender, receiver) = watch::channel(tls);
        let task = tokio::spawn(async move {
            serve(&listener, &receiver).await;
            drop(sender);
        });
        (address, task.abort_handle())
    }

    fn asking(tls: Tls) -> Witness {
        Witness::start("127.0.0.1".to_owned(), 9, tls)
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
        let (address, task) = answering(certified(&authority, other)).await;
        let mut witness = asking(certified(&authority, me));
        witness.ask(&[Peer { node: other, address }], PERIOD);
        until(|| witness.answered().iter().any(|answered| answered.node == other)).await;
        task.abort();
        until(|| witness.answered().is_empty()).await;
    }

    #[tokio::test]
    async fn whoever_is_certified_as_somebody_else_or_by_nobody_known_vouches_for_nothing() {
        let authority = authority();
        let (me, other) = (NodeId::random(), NodeId::random());
        let (impostor, _task) = answering(certified(&authority, NodeId::random())).await;
        let (stranger, _task) = answering(certified(&self::authority(), other)).await;
        let (right, _task) = answering(certified(&authority, other)).await;
        let mut witness = asking(certified(&authority, me));
        let at = |address| Peer { node: other, address };
        let named = ServerName::try_from(node_name(other)).expect("a name");
        for wrong in [impostor, stranger] {
            let config = certified(&authority, me).client;
            let stream = TcpStream::connect(wrong).await.expect("it listens");
            TlsConnector::from(config).connect(named.clone(), stream).await.expect_err("no trust");
        }
        // Without a certificate of this authority nothing is answered.
        let config = certified(&self::authority(), me);
        let refused = exchanges(at(right), PERIOD, config.client, &Mutex::default()).await;
        assert!(refused.is_err());
        assert!(witness.answered().is_empty());
        witness.ask(&[at(right)], PERIOD);
        until(|| !witness.answered().is_empty()).await;
    }
}
