//! What two nodes that share a VPC tell each other of its routes (ADR 0039), inside the tunnel between them: the node of a gateway says what the
//! gateway learned, the node of the VPC's router says what became of it. By level: each text replaces the one before about the same gateway.
//!
//! The tunnel proves who speaks: both ends of its key were dealt by the controller, and nothing of another node's address comes out of it. The gateway's
//! node connects. Each text is JSON after its length, four octets. Who says nothing for some seconds is gone, and so is what it said.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_bgp::LinkKind;
use causeway_model::observed::RouteDecision;
use causeway_model::{ConnectionId, NodeId, VpnGatewayId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Peering;
use super::place::inside_address;
use crate::gateway::Decisions;
use crate::routes::Learned;

/// Where the node of a VPC's router answers inside of tunnels, TCP.
pub(crate) const SHARE_PORT: u16 = 4432;

/// Something is said at least this often.
const BEAT: Duration = Duration::from_secs(1);
/// Who says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(4);
/// Octets that are written at once.
const CHUNK: usize = 64 << 10;
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(500);
/// Octets of a text at most.
const MAX_TEXT: u32 = 32 << 20;
/// Routes of one node at most.
const MAX_ROUTES: usize = 1 << 20;
/// Gateways of one node at most.
const MAX_GATEWAYS: usize = 4096;
/// What was heard and waits for the node's main task.
const QUEUE: usize = 64;

/// A learned route, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedRoute {
    connection: ConnectionId,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    interlink: bool,
    prefix: IpNet,
    preference: u32,
    as_path_length: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    med: Option<u32>,
    /// Milliseconds since it was received.
    age_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Text {
    /// Nothing new.
    Beat,
    /// Everything that a gateway has learned.
    Learned { gateway: VpnGatewayId, routes: Vec<SharedRoute> },
    /// A gateway hangs on a router here, and this became of everything that it has learned.
    Decided { gateway: VpnGatewayId, decisions: Vec<(ConnectionId, IpNet, RouteDecision)> },
    /// A gateway does not hang here any more.
    Unhung { gateway: VpnGatewayId },
}

/// What this node says to others, by level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// To nodes that route VPCs of gateways here: what these have learned.
    pub(crate) learned: BTreeMap<NodeId, BTreeMap<VpnGatewayId, Arc<Vec<Learned>>>>,
    /// To nodes of gateways that hang on routers here: what became of their routes.
    pub(crate) decided: BTreeMap<NodeId, BTreeMap<VpnGatewayId, Arc<Decisions>>>,
}

/// What others said.
#[derive(Debug)]
pub(crate) enum Heard {
    /// What a gateway on `node` has learned.
    Learned { node: NodeId, gateway: VpnGatewayId, routes: Arc<Vec<Learned>> },
    /// A gateway here hangs on a router of `node`, and this became of what it has learned.
    Decided { node: NodeId, gateway: VpnGatewayId, decisions: Arc<Decisions> },
    /// A gateway here does not hang on a router of `node` any more.
    Unhung { node: NodeId, gateway: VpnGatewayId },
    /// A node of gateways has gone silent: what it said does not hold any more.
    Gone { node: NodeId },
    /// A node of routers has gone silent.
    Silent { node: NodeId },
}

/// The main task's end of the exchange.
pub(crate) struct Sharing {
    said: watch::Sender<Said>,
    heard: mpsc::Receiver<Heard>,
}

/// The other end.
pub(crate) struct Exchange {
    said: watch::Receiver<Said>,
    heard: mpsc::Sender<Heard>,
}

impl Sharing {
    /// Both ends.
    pub(crate) fn new() -> (Self, Exchange) {
        let (said, said_rx) = watch::channel(Said::default());
        let (heard, heard_rx) = mpsc::channel(QUEUE);
        (Self { said, heard: heard_rx }, Exchange { said: said_rx, heard })
    }

    /// Changes what is said.
    pub(crate) fn say(&self, change: impl FnOnce(&mut Said) -> bool) {
        self.said.send_if_modified(change);
    }

    /// What is heard next.
    pub(crate) async fn hear(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            // The exchange has ended: nothing is heard any more.
            None => std::future::pending().await,
        }
    }
}

fn violation(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), text: &Text) -> io::Result<()> {
    let json = serde_json::to_vec(text).map_err(io::Error::other)?;
    let Some(length) = u32::try_from(json.len()).ok().filter(|length| *length <= MAX_TEXT) else {
        // Whatever is said of other gateways still counts.
        tracing::error!(
            octets = json.len(),
            "a gateway has more routes than can be told to the node of its VPC's router"
        );
        return Ok(());
    };
    let framed = [&length.to_be_bytes()[..], &json].concat();
    // However long it is: what counts is that it goes on.
    for chunk in framed.chunks(CHUNK) {
        timeout(SILENCE, stream.write_all(chunk)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    }
    timeout(SILENCE, stream.flush()).await.map_err(|_| io::ErrorKind::TimedOut)?
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Text> {
    let length = timeout(SILENCE, stream.read_u32()).await.map_err(|_| io::ErrorKind::TimedOut)??;
    if length > MAX_TEXT {
        return Err(violation(format!("a text of {length} octets; at most {MAX_TEXT} are taken")));
    }
    // Room is made for what comes, not for what is announced.
    let mut json = Vec::new();
    let mut rest = stream.take(u64::from(length));
    while rest.limit() > 0 {
        let read = timeout(SILENCE, rest.read_buf(&mut json)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    serde_json::from_slice(&json).map_err(|error| violation(format!("an unreadable text: {error}")))
}

fn shared(routes: &[Learned]) -> Vec<SharedRoute> {
    let share = |route: &Learned| SharedRoute {
        connection: route.connection,
        interlink: route.kind == LinkKind::InterLink,
        prefix: route.prefix,
        preference: route.preference,
        as_path_length: route.as_path_length,
        med: route.med,
        age_ms: u64::try_from(route.received_at.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    routes.iter().map(share).collect()
}

fn learned(gateway: VpnGatewayId, routes: Vec<SharedRoute>) -> Vec<Learned> {
    let now = Instant::now();
    let learn = |route: SharedRoute| Learned {
        gateway,
        connection: route.connection,
        kind: if route.interlink { LinkKind::InterLink } else { LinkKind::Vpn },
        prefix: route.prefix,
        preference: route.preference,
        as_path_length: route.as_path_length,
        med: route.med,
        received_at: now.checked_sub(Duration::from_millis(route.age_ms)).unwrap_or(now),
    };
    routes.into_iter().map(learn).collect()
}

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Of gateways: says what they learned.
    Gateways,
    /// Of routers: says what became of it.
    Routers,
}

/// What was said last of each gateway, to be compared by identity: what is the same object need not be said again.
#[derive(Default)]
struct Sent {
    learned: BTreeMap<VpnGatewayId, Arc<Vec<Learned>>>,
    decided: BTreeMap<VpnGatewayId, Arc<Decisions>>,
}

impl Sent {
    /// What `node` has to be told now.
    fn news(&mut self, side: Side, node: NodeId, said: &Said) -> Vec<Text> {
        let mut texts = Vec::new();
        match side {
            Side::Gateways => {
                let now = said.learned.get(&node).cloned().unwrap_or_default();
                let is_news = |(id, routes): &(&VpnGatewayId, &Arc<Vec<Learned>>)| {
                    self.learned.get(id).is_none_or(|sent| !Arc::ptr_eq(sent, routes))
                };
                texts.extend(
                    now.iter()
                        .filter(is_news)
                        .map(|(id, routes)| Text::Learned { gateway: *id, routes: shared(routes) }),
                );
                // What is not the other one's any more brings nothing there.
                let gone = self.learned.keys().filter(|id| !now.contains_key(id));
                texts.extend(gone.map(|id| Text::Learned { gateway: *id, routes: Vec::new() }));
                self.learned = now;
            }
            Side::Routers => {
                let now = said.decided.get(&node).cloned().unwrap_or_default();
                let is_news = |(id, decisions): &(&VpnGatewayId, &Arc<Decisions>)| {
                    self.decided.get(id).is_none_or(|sent| !Arc::ptr_eq(sent, decisions))
                };
                texts.extend(now.iter().filter(is_news).map(|(id, decisions)| {
                    Text::Decided {
                        gateway: *id,
                        decisions: decisions
                            .iter()
                            .map(|((connection, prefix), decision)| (*connection, *prefix, decision.clone()))
                            .collect(),
                    }
                }));
                let gone = self.decided.keys().filter(|id| !now.contains_key(id));
                texts.extend(gone.map(|id| Text::Unhung { gateway: *id }));
                self.decided = now;
            }
        }
        texts
    }
}

/// Says everything that is to be said, until the other end is gone.
async fn speak(
    stream: &mut (impl AsyncWrite + Unpin),
    (side, node): (Side, NodeId),
    said: &mut watch::Receiver<Said>,
) -> io::Result<()> {
    let mut sent = Sent::default();
    said.mark_changed();
    loop {
        let changed = timeout(BEAT, said.changed()).await;
        let texts = match changed {
            Ok(Ok(())) => {
                let newest = said.borrow_and_update().clone();
                sent.news(side, node, &newest)
            }
            Ok(Err(_)) => return Ok(()),
            Err(_) => vec![Text::Beat],
        };
        for text in &texts {
            write(stream, text).await?;
        }
    }
}

/// Hears what the other end says, until it is silent for too long or breaks the rules.
async fn listen(
    stream: &mut (impl AsyncRead + Unpin),
    (side, node): (Side, NodeId),
    heard: &mpsc::Sender<Heard>,
) -> io::Result<()> {
    let mut held: BTreeMap<VpnGatewayId, usize> = BTreeMap::new();
    loop {
        let text = read(stream).await?;
        let word = match (side, text) {
            (_, Text::Beat) => continue,
            (Side::Routers, Text::Learned { gateway, routes }) => {
                held.insert(gateway, routes.len());
                if held.len() > MAX_GATEWAYS || held.values().sum::<usize>() > MAX_ROUTES {
                    return Err(violation("it has more to say than is taken from one node"));
                }
                Heard::Learned { node, gateway, routes: Arc::new(learned(gateway, routes)) }
            }
            (Side::Gateways, Text::Decided { gateway, decisions }) => {
                let decisions = decisions.into_iter().map(|(connection, prefix, what)| ((connection, prefix), what));
                Heard::Decided { node, gateway, decisions: Arc::new(decisions.collect()) }
            }
            (Side::Gateways, Text::Unhung { gateway }) => Heard::Unhung { node, gateway },
            (_, Text::Learned { .. } | Text::Decided { .. } | Text::Unhung { .. }) => {
                return Err(violation("it says what the other end says"));
            }
        };
        if heard.send(word).await.is_err() {
            return Ok(());
        }
    }
}

/// Speaks and listens until one of both ends.
async fn converse(
    stream: TcpStream,
    who: (Side, NodeId),
    said: &mut watch::Receiver<Said>,
    heard: &mpsc::Sender<Heard>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    tokio::select! {
        ended = speak(&mut writer, who, said) => ended,
        ended = listen(&mut reader, who, heard) => ended,
    }
}

/// A task that ends in order: what it has to say last is said before its successor begins.
struct Talk {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Talk {
    async fn end(self) {
        self.stop.cancel();
        // Fails only if it panicked, and then it says nothing any more either.
        let _ = self.task.await;
    }
}

/// Does what is to be done inside of tunnels for as long as these last.
pub(super) async fn run(peering: Peering, mut exchange: Exchange, stop: CancellationToken) {
    let (mut towards, mut from) = (BTreeMap::<NodeId, Talk>::new(), BTreeMap::<NodeId, Talk>::new());
    let mut listener = None;
    exchange.said.mark_changed();
    loop {
        if listener.is_none() && !exchange.said.borrow().decided.is_empty() {
            listener = match peering.listen_on(SHARE_PORT).await {
                Ok(listener) => Some(listener),
                Err(error) => {
                    tracing::warn!(%error, "cannot listen for routes of other nodes; trying again");
                    None
                }
            };
        }
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            changed = exchange.said.changed() => {
                if changed.is_err() {
                    break;
                }
                let (homes, guests) = {
                    let said = exchange.said.borrow_and_update();
                    let homes: Vec<NodeId> = said.learned.keys().copied().collect();
                    let guests: Vec<NodeId> = said.decided.keys().copied().collect();
                    (homes, guests)
                };
                for (_, talk) in towards.extract_if(.., |node, _| !homes.contains(node)).collect::<Vec<_>>() {
                    talk.end().await;
                }
                for (_, talk) in from.extract_if(.., |node, _| !guests.contains(node)).collect::<Vec<_>>() {
                    talk.end().await;
                }
                if guests.is_empty() {
                    // Nobody shall think that somebody listens.
                    listener = None;
                }
                for node in homes {
                    towards.entry(node).or_insert_with(|| call(node, &peering, &exchange, &stop));
                }
            }
            accepted = accept => match accepted {
                Ok((stream, address)) => {
                    let said = exchange.said.borrow().decided.keys().copied().find(|node| is_of(*node, address));
                    let Some(node) = said else {
                        tracing::debug!(%address, "a node that shares no VPC with this one wants to tell routes");
                        continue;
                    };
                    if let Some(before) = from.remove(&node) {
                        before.end().await;
                    }
                    from.insert(node, answer(node, stream, &exchange, &stop));
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::time::sleep(AGAIN).await;
                }
            },
            () = tokio::time::sleep(AGAIN), if listener.is_none() => {}
        }
    }
    for (_, talk) in towards.into_iter().chain(from) {
        talk.end().await;
    }
}

fn is_of(node: NodeId, address: SocketAddr) -> bool {
    address.ip() == IpAddr::V6(inside_address(node))
}

/// Tells the node of a router what gateways here have learned, for ever.
fn call(node: NodeId, peering: &Peering, exchange: &Exchange, stop: &CancellationToken) -> Talk {
    let (peering, mut said, heard) = (peering.clone(), exchange.said.clone(), exchange.heard.clone());
    let stop = stop.child_token();
    let ended = stop.clone();
    let task = tokio::spawn(async move {
        let calling = async {
            loop {
                if let Ok(stream) = peering.connect_to(node, SHARE_PORT, SILENCE).await {
                    if let Err(error) = converse(stream, (Side::Gateways, node), &mut said, &heard).await {
                        tracing::debug!(%node, %error, "the node of a VPC's router is not heard");
                    }
                    // Fails only if the main task is gone.
                    let _ = heard.send(Heard::Silent { node }).await;
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::select! {
            () = ended.cancelled() => {}
            () = calling => {}
        }
        let _ = heard.send(Heard::Silent { node }).await;
    });
    Talk { stop, task }
}

/// Hears what the gateways of `node` have learned, and tells it what became of that.
fn answer(node: NodeId, stream: TcpStream, exchange: &Exchange, stop: &CancellationToken) -> Talk {
    let (mut said, heard) = (exchange.said.clone(), exchange.heard.clone());
    let stop = stop.child_token();
    let ended = stop.clone();
    let task = tokio::spawn(async move {
        tokio::select! {
            () = ended.cancelled() => {}
            result = converse(stream, (Side::Routers, node), &mut said, &heard) => {
                if let Err(error) = result {
                    tracing::debug!(%node, %error, "a node of gateways is not heard");
                }
            }
        }
        // Fails only if the main task is gone.
        let _ = heard.send(Heard::Gone { node }).await;
    });
    Talk { stop, task }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(gateway: VpnGatewayId, prefix: &str) -> Learned {
        Learned {
            gateway,
            connection: ConnectionId::random(),
            kind: LinkKind::Vpn,
            prefix: prefix.parse().expect("a prefix"),
            preference: 90,
            as_path_length: 2,
            med: Some(7),
            received_at: Instant::now(),
        }
    }

    fn said(node: NodeId, gateways: &[(VpnGatewayId, Arc<Vec<Learned>>)]) -> Said {
        Said { learned: [(node, gateways.iter().cloned().collect())].into(), ..Said::default() }
    }

    #[test]
    fn what_was_said_is_not_said_again_and_what_is_gone_is_taken_back() {
        let (node, other) = (NodeId::random(), NodeId::random());
        let [first, second] = [(); 2].map(|()| VpnGatewayId::random());
        let routes = Arc::new(vec![route(first, "10.9.0.0/16")]);
        let mut sent = Sent::default();
        let about = |texts: &[Text]| -> Vec<(VpnGatewayId, usize)> {
            let of = |text: &Text| match text {
                Text::Learned { gateway, routes } => (*gateway, routes.len()),
                text => panic!("{text:?}"),
            };
            texts.iter().map(of).collect()
        };
        let both = said(node, &[(first, Arc::clone(&routes)), (second, Arc::default())]);
        let mut told = about(&sent.news(Side::Gateways, node, &both));
        told.sort_unstable();
        let mut expected = vec![(first, 1), (second, 0)];
        expected.sort_unstable();
        assert_eq!(told, expected);
        assert!(sent.news(Side::Gateways, node, &both).is_empty());
        let mut told = about(&sent.news(Side::Gateways, node, &said(node, &[])));
        told.sort_unstable();
        assert_eq!(told, expected.iter().map(|(gateway, _)| (*gateway, 0)).collect::<Vec<_>>());
        assert!(Sent::default().news(Side::Gateways, other, &both).is_empty(), "it is another node's");
    }

    #[test]
    fn a_route_arrives_as_it_was() {
        let gateway = VpnGatewayId::random();
        let routes = vec![route(gateway, "10.9.0.0/16"), route(gateway, "fd00:9::/48")];
        let arrived = learned(gateway, shared(&routes));
        let plain = |route: &Learned| Learned { received_at: routes[0].received_at, ..route.clone() };
        assert_eq!(arrived.iter().map(plain).collect::<Vec<_>>(), routes.iter().map(plain).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn whoever_breaks_the_rules_is_not_listened_to() {
        let node = NodeId::random();
        let gateway = VpnGatewayId::random();
        let hears = async |side: Side, octets: &[u8]| {
            let (sender, mut receiver) = mpsc::channel(8);
            let ended = listen(&mut &octets[..], (side, node), &sender).await.expect_err("it ends");
            drop(sender);
            (ended.kind(), receiver.recv().await)
        };
        let framed =
            |json: &str| [&u32::try_from(json.len()).expect("short").to_be_bytes()[..], json.as_bytes()].concat();
        let mut octets = Vec::new();
        write(&mut octets, &Text::Beat).await.expect("written");
        write(&mut octets, &Text::Learned { gateway, routes: Vec::new() }).await.expect("written");
        let (ended, heard) = hears(Side::Routers, &octets).await;
        assert_eq!(ended, io::ErrorKind::UnexpectedEof);
        assert!(matches!(heard, Some(Heard::Learned { gateway: of, .. }) if of == gateway), "{heard:?}");
        // The other end does not say such a thing.
        let (ended, heard) = hears(Side::Gateways, &octets).await;
        assert!(ended == io::ErrorKind::InvalidData && heard.is_none());
        let announced = (MAX_TEXT + 1).to_be_bytes();
        for wrong in [&announced[..], &framed("{}"), &framed("{\"else\": 1}"), &framed("beat")] {
            let (ended, heard) = hears(Side::Routers, wrong).await;
            assert!(ended == io::ErrorKind::InvalidData && heard.is_none(), "{wrong:?}");
        }
        let (ended, _) = hears(Side::Routers, &[0, 0, 0, 9, b'"']).await;
        assert_eq!(ended, io::ErrorKind::UnexpectedEof, "a text that breaks off");
    }

    #[tokio::test]
    async fn one_node_has_no_endless_room() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut octets = Vec::new();
        for _ in 0..=MAX_GATEWAYS {
            write(&mut octets, &Text::Learned { gateway: VpnGatewayId::random(), routes: Vec::new() })
                .await
                .expect("written");
        }
        let draining = async { while receiver.recv().await.is_some() {} };
        let listening = async {
            let sender = sender;
            listen(&mut &octets[..], (Side::Routers, NodeId::random()), &sender).await
        };
        let (ended, ()) = tokio::join!(listening, draining);
        assert_eq!(ended.expect_err("too many").kind(), io::ErrorKind::InvalidData);
    }
}
