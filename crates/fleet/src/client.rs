//! The node's end of the channel: joining, the connection that is made again for ever, the certificate that is renewed, and the last good
//! configuration that does without all of it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use causeway_model::desired::NodeDesired;
use causeway_model::diagnosis::{ChannelTrouble, NodeFacts, TroubleKind};
use causeway_model::observed::NodeReport;
use causeway_model::watch::Service;
use causeway_model::{MachineId, Timestamp};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_util::sync::CancellationToken;

use crate::authority::{self, AuthorityError, CONTROLLER_NAME, Credentials, NODE_LIFE};
use crate::door::{CHANNEL, Denied, JOIN, JoinRequest, Membership, RENEW, RenewRequest};
use crate::good::{GoodError, LastGood};
use crate::identity::{Identity, IdentityError, state_key};
use crate::lease::desk::{Desk, DeskError};
use crate::lease::keeper::Keeper;
use crate::lease::{Gate, Voter, Way};
use crate::listener::Board;
use crate::patience::Patience;
use crate::server::{ELSEWHERE, SUPERSEDED, limits, next_text, send_text};
use crate::session::{NodeSession, ToNode, Violation};
use crate::token::JoinToken;
use crate::witness::{EXCHANGES, Lease, Tls, Tunnels, Witness};
use crate::{ControllerEnd, FromNode, tls};

/// The port of a URL that names none.
const DEFAULT_PORT: u16 = 443;
/// To connect, and again for the handshake, and again for an answer.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Another process with this node's identity has taken its place: two that took turns would only disturb each other.
const SUPERSEDED_PAUSE: Duration = Duration::from_secs(60);
/// The node speaks from another machine: perhaps it does not any more.
const ELSEWHERE_PAUSE: Duration = Duration::from_secs(5);
/// The node's main task says every two seconds that it is there.
const BEAT_PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to renew.
const RENEW_PAUSE: Duration = Duration::from_secs(300);
/// What became good is written at once, so that a kill at any moment loses nothing; after that writing rests so many times as long as it took,
/// so that a large node under many changes is at it for a fifth of the time at most…
const WRITE_REST: u32 = 4;
/// …and no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// Between two attempts to write what the disk refused: from the first, doubled, to the last.
const WRITE_FIRST: Duration = Duration::from_secs(1);
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// States that were handed to the node and that it has not reported on.
const UNREPORTED: usize = 16;
/// Octets of an answer at most.
const MAX_ANSWER: usize = 64 * 1024;
/// Characters of what is said of a failed attempt.
const MAX_TROUBLE: usize = 500;
/// Keepalive periods in a lease, as the profiles have them.
const PERIODS: u32 = 3;
/// A lease that came from the disk is not asked for more often than in such a period.
const LEAST_PERIOD: Duration = Duration::from_millis(100);
/// What the node sees of itself is told at most this often.
const FACTS_REST: Duration = Duration::from_secs(1);

/// Why a node does not get through.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none.
    #[error("{0:?} is not the URL of a controller's node listener; it looks like https://HOST or https://HOST:PORT")]
    Url(String),
    /// No connection.
    #[error(
        "cannot reach the controller at {address}: {detail}; is it running, and does every filter on the way let TCP to this port pass?"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// What the system said.
        detail: String,
    },
    /// No trust.
    #[error("{0}")]
    Trust(String),
    /// The controller said no.
    #[error("the controller refuses this node ({}): {}", .0.code, .0.message)]
    Denied(Denied),
    /// Something that makes no sense came back.
    #[error("the controller's answer makes no sense: {0}")]
    Answer(String),
    /// The controller broke the rules of the channel.
    #[error("the controller broke the rules of the channel: {0}")]
    Violation(#[from] Violation),
    /// The channel broke off.
    #[error("the channel to the controller broke off")]
    Lost,
    /// No key could be made.
    #[error(transparent)]
    Request(#[from] AuthorityError),
    /// The node's directory.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The last good configuration.
    #[error(transparent)]
    Good(#[from] GoodError),
    /// The node's vote.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The stored certificate.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

impl ClientError {
    /// Whether this node is none any more.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Denied(denied) if denied.code == "revoked")
    }

    /// How far the node came.
    fn trouble(&self) -> ChannelTrouble {
        let kind = match self {
            Self::Unreachable { .. } => TroubleKind::Unreachable,
            Self::Trust(_) => TroubleKind::Trust,
            Self::Denied(_) => TroubleKind::Denied,
            _ => TroubleKind::Broken,
        };
        ChannelTrouble { kind, text: self.to_string().chars().take(MAX_TROUBLE).collect() }
    }
}

/// This machine's clock.
pub(crate) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// When a node's certificate ends, by its own clock: as long after the half of its life as that was long.
#[must_use]
pub fn ends(identity: &Identity) -> Timestamp {
    let ends = identity.renew_at.saturating_add(NODE_LIFE.as_secs() / 2);
    Timestamp::default().plus_seconds(i64::try_from(ends).unwrap_or(i64::MAX))
}

fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Host and port of a controller's URL.
///
/// # Errors
/// [`ClientError::Url`].
pub fn address(url: &str) -> Result<(String, u16), ClientError> {
    let wrong = || ClientError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https") && plain).ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(DEFAULT_PORT)))
}

async fn dial(url: &str, config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, ClientError> {
    let (host, port) = address(url)?;
    let unreachable = |detail: String| ClientError::Unreachable { address: format!("{host}:{port}"), detail };
    let stream = match timeout(STEP_TIMEOUT, TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(error.to_string())),
        Err(_) => return Err(unreachable("no answer".to_owned())),
    };
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(CONTROLLER_NAME).map_err(|error| ClientError::Answer(error.to_string()))?;
    match timeout(STEP_TIMEOUT, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(broken(&error).unwrap_or_else(|| unreachable(error.to_string()))),
        Err(_) => Err(unreachable("the TLS handshake was not answered".to_owned())),
    }
}

/// What an I/O error says about trust, if it does.
fn broken(error: &io::Error) -> Option<ClientError> {
    tls::explain(error).map(ClientError::Trust)
}

/// What any error says about trust: the controller's verdict on our certificate comes with the first octets after the handshake.
pub(crate) fn trust(error: &(dyn std::error::Error + 'static)) -> Option<ClientError> {
    let mut error = Some(error);
    while let Some(this) = error {
        if let Some(explained) = this.downcast_ref::<io::Error>().and_then(broken) {
            return Some(explained);
        }
        error = this.source();
    }
    None
}

/// One call over a connection of its own.
async fn call<Q: Serialize, A: DeserializeOwned>(
    url: &str,
    config: Arc<ClientConfig>,
    path: &str,
    question: &Q,
) -> Result<A, ClientError> {
    let stream = dial(url, config).await?;
    let of = |error: hyper::Error| trust(&error).unwrap_or_else(|| ClientError::Answer(error.to_string()));
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(of)?;
        let connection = tokio::spawn(connection);
        let text = serde_json::to_vec(question).map_err(|error| ClientError::Answer(error.to_string()))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, CONTROLLER_NAME)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(text)))
            .map_err(|error| ClientError::Answer(error.to_string()))?;
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            // The connection knows better why.
            Err(error) => {
                let told = connection.await.ok().and_then(Result::err);
                return Err(told.and_then(|told| trust(&told)).unwrap_or_else(|| of(error)));
            }
        };
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| ClientError::Answer(error.to_string()))?.to_bytes();
        if status.is_success() {
            serde_json::from_slice(&body).map_err(|error| ClientError::Answer(error.to_string()))
        } else {
            Err(denied(status.as_u16(), &body))
        }
    };
    timeout(3 * STEP_TIMEOUT, exchange).await.unwrap_or(Err(ClientError::Lost))
}

fn denied(status: u16, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<Denied>(body) {
        Ok(denied) => ClientError::Denied(denied),
        Err(_) => ClientError::Answer(format!("status {status} without a reason")),
    }
}

/// Joins the controller at `url` with a token, and leaves the node's identity in `directory`.
///
/// # Errors
/// Everything that keeps this machine from becoming a node, with what to do about it.
pub async fn join(
    url: &str,
    token: &JoinToken,
    directory: &Path,
    name: &str,
    version: &str,
) -> Result<Identity, ClientError> {
    address(url)?;
    let (key, request) = authority::request()?;
    let text = token.text().as_str().to_owned();
    let question =
        JoinRequest { token: text, request, name: name.to_owned(), version: version.to_owned(), now: epoch_seconds() };
    let config = tls::joining(token.fingerprint())?;
    let membership: Membership = call(url, config, JOIN, &question).await?;
    let renew_at = epoch_seconds().saturating_add(membership.renew_after);
    let mut identity = Identity::new(membership.node, membership.zone, url.to_owned(), membership.authority, renew_at);
    identity.set_credentials(&Credentials { certificate: membership.certificate, key });
    // What cannot be used must not be kept.
    tls::client(&identity.authority, &identity.credentials())?;
    state_key(directory)?;
    identity.save(directory)?;
    Ok(identity)
}

/// A new certificate for a new key.
async fn renew(mut identity: Identity, directory: std::path::PathBuf) -> Result<Identity, ClientError> {
    let (key, request) = authority::request()?;
    let config = tls::client(&identity.authority, &identity.credentials())?;
    let membership: Membership = call(&identity.url, config, RENEW, &RenewRequest { request }).await?;
    identity.set_credentials(&Credentials { certificate: membership.certificate, key });
    identity.renew_at = epoch_seconds().saturating_add(membership.renew_after);
    tls::client(&identity.authority, &identity.credentials())?;
    identity.save(&directory)?;
    Ok(identity)
}

type Channel = WebSocketStream<TlsStream<TcpStream>>;

async fn open(identity: Identity) -> Result<Channel, ClientError> {
    let config = tls::client(&identity.authority, &identity.credentials())?;
    let stream = dial(&identity.url, config).await?;
    let url = format!("wss://{CONTROLLER_NAME}{CHANNEL}");
    let opening = tokio_tungstenite::client_async_with_config(url, stream, Some(limits()));
    match timeout(STEP_TIMEOUT, opening).await {
        Ok(Ok((channel, _))) => Ok(channel),
        Ok(Err(WsError::Http(response))) => {
            Err(denied(response.status().as_u16(), response.body().as_deref().unwrap_or_default()))
        }
        Ok(Err(error)) => Err(trust(&error).unwrap_or_else(|| ClientError::Answer(error.to_string()))),
        Err(_) => Err(ClientError::Lost),
    }
}

/// Whether the controller lets this node in now: opens a channel and closes it again, for diagnosis.
///
/// # Errors
/// Why not.
pub async fn probe(identity: &Identity) -> Result<(), ClientError> {
    let mut channel = open(identity.clone()).await?;
    let _ = timeout(STEP_TIMEOUT, channel.close(None)).await;
    Ok(())
}

/// What the node has said and been told, whatever becomes of connections.
struct Link<T> {
    end: ControllerEnd,
    board: Option<Board>,
    good: LastGood,
    hello: Option<FromNode>,
    report: Option<NodeReport>,
    services: Vec<Service>,
    /// When the node's main task said something last, or could begin to: what it had is set up before its first word.
    beat: Instant,
    /// What it was handed, the newest last.
    handed: Vec<Arc<NodeDesired>>,
    write_at: Option<Instant>,
    rests_until: Instant,
    /// What is waited for after the next refusal of the disk.
    write_pause: Duration,
    witness: Witness<T>,
    desk: Arc<Mutex<Desk>>,
    keeper: Keeper,
    machine: MachineId,
    /// From one keepalive to the next, as the controller said last, or as is known of the lease.
    period: Duration,
}

/// What a node is certified with towards others of its zone.
fn peer_tls(identity: &Identity) -> Result<Tls, ClientError> {
    let credentials = identity.credentials();
    let server = tls::node(&identity.authority, &credentials)?;
    Ok(Tls { server, client: tls::client(&identity.authority, &credentials)? })
}

impl<T: Tunnels> Link<T> {
    fn note(&mut self, word: FromNode) {
        match word {
            FromNode::Hello { .. } => self.hello = Some(word),
            FromNode::Keepalive { services } => {
                self.post(|facts| facts.services.clone_from(&services));
                self.services = services;
                self.beat = Instant::now();
            }
            // Nobody inside the node says this.
            FromNode::Facts(_) => {}
            FromNode::Report(report) => {
                if let Some(at) = self.handed.iter().position(|state| state.revision == report.revision) {
                    if let Some(state) = self.handed.get(at).map(Arc::clone) {
                        self.good.reported(&state, &report);
                        // The controller may act on what this acknowledges: a new start has to know of it.
                        if self.good.is_owed() && !self.write() && !self.good.withdraw() {
                            return;
                        }
                        // It runs this configuration, and nothing of an older one. By other terms, voters may be elsewhere.
                        self.witness.ask(&state.peers, self.period);
                        self.keeper.run(state.lease.clone());
                    }
                    self.handed.drain(..at);
                    self.write_at = self.write_at.or(Some(self.rests_until));
                }
                self.report = Some(report);
            }
            // The witness says this, and the keeper of the lease; the node's main task knows nothing of it.
            FromNode::Peering { .. }
            | FromNode::Ask(_)
            | FromNode::AskOthers(_)
            | FromNode::Promised(_)
            | FromNode::Fenced(_) => {}
        }
    }

    /// Writes on the board.
    fn post(&self, write: impl FnOnce(&mut NodeFacts)) {
        let Some(board) = &self.board else { return };
        board.send_if_modified(|facts| {
            let before = facts.clone();
            write(facts);
            before != *facts
        });
    }

    fn hand(&mut self, state: Arc<NodeDesired>) {
        if self.handed.len() >= UNREPORTED {
            self.handed.remove(0);
        }
        self.handed.push(Arc::clone(&state));
        self.end.desired.send_replace(state);
    }

    /// Whether it is on disk now.
    fn write(&mut self) -> bool {
        self.write_at = None;
        let begun = Instant::now();
        let refused = self.good.write().err().map(|error| error.to_string());
        match &refused {
            Some(error) => {
                tracing::error!(
                    error,
                    "the last good configuration cannot be written; a restart would begin with an older one"
                );
                self.write_at = Some(begun + self.write_pause);
                self.write_pause = (self.write_pause * 2).min(WRITE_LIMIT);
            }
            None => self.write_pause = WRITE_FIRST,
        }
        self.post(|facts| facts.unkept = refused);
        self.rests_until = Instant::now() + (begun.elapsed() * WRITE_REST).min(LONGEST_REST);
        self.write_at.is_none()
    }

    /// Drives `work` while the node goes on talking; `None`: the node or the process ends.
    async fn during<D>(&mut self, work: impl Future<Output = D>, shutdown: &CancellationToken) -> Option<D> {
        let mut work = std::pin::pin!(work);
        loop {
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                done = &mut work => return Some(done),
                () = shutdown.cancelled() => return None,
                word = self.end.reports.recv() => self.note(word?),
                () = sleep_until(self.write_at.unwrap_or(far)), if self.write_at.is_some() => drop(self.write()),
            }
        }
    }

    /// What a keepalive says: the node's own word, or that it has stopped speaking.
    fn health(&self) -> Vec<Service> {
        let silent = self.beat.elapsed() > BEAT_PATIENCE;
        let mut services = self.services.clone();
        if silent {
            let dead = format!("its main task has said nothing for {} s", BEAT_PATIENCE.as_secs());
            services.push(Service { name: "node".to_owned(), dead: Some(dead) });
        }
        services
    }
}

/// Runs the node's end of the channel until `shutdown`, or until the controller has revoked the node. `end` is the other end of what
/// [`crate::in_process`] gave the node. Begins with the last good configuration. What is on the board is told to the controller, and how the
/// channel is stands there. `gate` is the node's kernel, for its lease, and `machine` is where that is; `tunnels` lead to other nodes of its zone.
///
/// # Errors
/// The node was revoked, or its directory is none.
pub async fn run(
    directory: &Path,
    end: ControllerEnd,
    board: Option<Board>,
    (gate, machine): (impl Gate, MachineId),
    tunnels: impl Tunnels,
    shutdown: CancellationToken,
) -> Result<(), ClientError> {
    let mut identity = Identity::load(directory)?;
    let good = LastGood::open(directory, state_key(directory)?)?;
    let start = Arc::new(good.state().clone());
    let desk = Arc::new(Mutex::new(Desk::open(directory, (identity.node, machine))?));
    // Where nothing is known, the node may be one that can be replaced.
    let may_be_leased = start.failover || start.lease.is_some() || start.revision == 0;
    let keeper = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        keeper = Keeper::start(gate, (identity.node, machine), Arc::clone(&desk), may_be_leased) => keeper,
    };
    let lease = Lease { desk: Arc::clone(&desk), asks: keeper.asks(), promises: keeper.promises() };
    let witness = Witness::start(tunnels, peer_tls(&identity)?, lease);
    // Others may ask before the controller is there.
    witness.lead_to(&start.peers);
    let mut link = Link {
        end,
        board,
        good,
        hello: None,
        report: None,
        services: Vec::new(),
        beat: Instant::now(),
        handed: Vec::new(),
        write_at: None,
        rests_until: Instant::now(),
        write_pause: WRITE_FIRST,
        witness,
        desk,
        keeper,
        machine,
        period: STEP_TIMEOUT,
    };
    let terms = start.lease.as_ref().map(|lease| &lease.terms);
    let terms = terms.filter(|terms| terms.are_for(identity.node, machine));
    if let Some(terms) = terms {
        // Its voters know whether it was replaced, and they are asked once it runs this.
        tracing::info!(
            revision = start.revision,
            "starting with the last good configuration, closed until a majority of its voters answers"
        );
        link.period = (Duration::from_millis(terms.lease_ms) / PERIODS).max(LEAST_PERIOD);
        link.hand(start);
    } else if start.failover {
        tracing::info!("what this node had may run elsewhere by now; waiting for the controller");
    } else if start.revision > 0 {
        tracing::info!(
            revision = start.revision,
            gateways = start.gateways.len(),
            "starting with the last good configuration"
        );
        link.hand(start);
    }
    let mut patience = Patience::new();
    let mut told = String::new();
    loop {
        let Some(opened) = link.during(open(identity.clone()), &shutdown).await else { return Ok(()) };
        let since = Instant::now();
        let ends = ends(&identity);
        link.post(|facts| facts.certificate_ends = ends);
        let ended = match opened {
            Ok(channel) => {
                tracing::info!(controller = identity.url, "connected to the controller");
                session(&mut link, &mut identity, directory, channel, &shutdown).await
            }
            Err(error) => Err(error),
        };
        let error = match ended {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.is_final() {
            if let Err(error) = link.good.forget() {
                tracing::error!(%error, "the last good configuration of a revoked node cannot be removed");
            }
            return Err(error);
        }
        if patience.after(since.elapsed()) {
            told = String::new();
        }
        link.post(|facts| facts.channel = Some(error.trouble()));
        let text = error.to_string();
        if text != told {
            tracing::warn!(
                error = text,
                "no channel to the controller; the node goes on with what it has and tries again"
            );
            told = text;
        }
        let leased = link.good.state().lease.as_ref();
        let pause = patience.pause(leased.map(|lease| Duration::from_millis(lease.terms.lease_ms) / PERIODS));
        let rest = match &error {
            ClientError::Denied(denied) if denied.code == SUPERSEDED => SUPERSEDED_PAUSE,
            ClientError::Denied(denied) if denied.code == ELSEWHERE => ELSEWHERE_PAUSE,
            _ => pause,
        };
        if link.during(sleep(rest), &shutdown).await.is_none() {
            return Ok(());
        }
    }
}

/// One session; `Ok` only if the node or the process ends.
async fn session(
    link: &mut Link<impl Tunnels>,
    identity: &mut Identity,
    directory: &Path,
    mut channel: Channel,
    shutdown: &CancellationToken,
) -> Result<(), ClientError> {
    while link.hello.is_none() {
        let Some(word) = link.end.reports.recv().await else { return Ok(()) };
        link.note(word);
    }
    let Some(FromNode::Hello { boot, version, .. }) = link.hello.clone() else { return Ok(()) };
    let mut session = NodeSession::new();
    let running = match &link.report {
        Some(report) => report.revision,
        None => link.handed.last().map_or(0, |state| state.revision),
    };
    let hello = session.hello((identity.node, link.machine), boot, &identity.zone, &version, running);
    say(&mut channel, hello).await?;
    let mut period: Option<Duration> = None;
    let mut keepalive_at = Instant::now();
    // The second keepalive need not wait for its time: what was sent has been applied, so both directions work.
    let mut answered = false;
    let mut renew_at = Instant::now() + Duration::from_secs(identity.renew_at.saturating_sub(epoch_seconds()));
    let mut renewal = None;
    let mut news = link.board.as_ref().map(Board::subscribe);
    let mut facts_at = Instant::now();
    let mut peering_at = Instant::now();
    let mut said_to_listen = None;
    let mut asks = link.keeper.asks();
    asks.mark_changed();
    let mut unanswered = link.keeper.unanswered();
    loop {
        let far = Instant::now() + Duration::from_secs(3600);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            text = next_text(&mut channel) => match text {
                Some(Ok(text)) => match session.receive(&text)? {
                    ToNode::Welcome { period: every } => {
                        period = Some(every);
                        link.period = every;
                        link.post(|facts| facts.channel = None);
                        if let Some(news) = &mut news {
                            news.mark_changed();
                        }
                        keepalive_at = Instant::now();
                        peering_at = keepalive_at;
                        if let Some(text) = link.report.as_ref().and_then(|report| session.report(report)) {
                            say(&mut channel, text).await?;
                        }
                    }
                    ToNode::Desired(state) => {
                        if state.lease.is_none() {
                            link.witness.ask(&state.peers, link.period);
                        }
                        if link.handed.is_empty() && state.lease.is_none() {
                            // Nothing runs yet, and what will needs no lease.
                            link.keeper.run(None);
                        }
                        link.hand(state);
                    }
                    ToNode::Promise(promise) => {
                        let way = if promise.voter == Voter::Controller { Way::Direct } else { Way::Relayed };
                        // If the keeper is behind, it asks again.
                        let _ = link.keeper.promises().try_send((promise, way));
                    }
                    ToNode::Asked(ask) => {
                        let promise = link.desk.lock().unwrap_or_else(PoisonError::into_inner).ask(&ask);
                        if let Some(promise) = promise {
                            say(&mut channel, session.promised(promise)).await?;
                        }
                    }
                    ToNode::Fence(fence) => {
                        let fenced = link.desk.lock().unwrap_or_else(PoisonError::into_inner).fence(&fence);
                        if let Some(fenced) = fenced {
                            say(&mut channel, session.fenced(fenced)).await?;
                        }
                    }
                    ToNode::Closing { code, message } => {
                        // The controller learns that this process is there, and has heard it.
                        let _ = timeout(STEP_TIMEOUT, channel.close(None)).await;
                        return Err(ClientError::Denied(Denied::new(0, &code, message)));
                    }
                },
                Some(Err(error)) => return Err(trust(&error).unwrap_or(ClientError::Lost)),
                None => return Err(ClientError::Lost),
            },
            word = link.end.reports.recv() => {
                let Some(word) = word else { return Ok(()) };
                let is_news = matches!(word, FromNode::Report(_)) && period.is_some();
                link.note(word);
                let report = link.report.as_ref().filter(|_| is_news);
                if let Some(text) = report.and_then(|report| session.report(report)) {
                    say(&mut channel, text).await?;
                    if !answered && session.is_answered() {
                        answered = true;
                        say(&mut channel, session.keepalive(&link.health())).await?;
                    }
                }
            }
            () = sleep_until(keepalive_at), if period.is_some() => {
                keepalive_at = Instant::now() + period.unwrap_or(STEP_TIMEOUT);
                say(&mut channel, session.keepalive(&link.health())).await?;
            }
            facts = newest(news.as_mut(), facts_at), if period.is_some() => {
                facts_at = Instant::now() + FACTS_REST;
                say(&mut channel, session.facts(facts)).await?;
            }
            () = sleep_until(peering_at), if period.is_some() => {
                peering_at = Instant::now() + period.unwrap_or(STEP_TIMEOUT) / EXCHANGES;
                let (listens, answered) = (link.witness.listens(), link.witness.answered());
                let lease = link.keeper.held();
                if said_to_listen != listens || !answered.is_empty() || lease.is_some() {
                    said_to_listen = listens;
                    say(&mut channel, session.peering(listens, answered, lease)).await?;
                }
            }
            Ok(()) = asks.changed(), if period.is_some() => {
                let ask = *asks.borrow_and_update();
                if let Some(ask) = ask {
                    say(&mut channel, session.ask(ask)).await?;
                }
            }
            Ok(()) = unanswered.changed(), if period.is_some() => {
                let question = unanswered.borrow_and_update().clone();
                // There may be a newer one.
                if let Some(question) = question.filter(|question| *asks.borrow() == Some(question.ask)) {
                    say(&mut channel, session.ask_others(question)).await?;
                }
            }
            () = sleep_until(link.write_at.unwrap_or(far)), if link.write_at.is_some() => drop(link.write()),
            () = sleep_until(renew_at), if renewal.is_none() => {
                renewal = Some(tokio::spawn(renew(identity.clone(), directory.to_owned())));
            }
            renewed = async { match renewal.as_mut() { Some(task) => task.await, None => std::future::pending().await } } => {
                renewal = None;
                match renewed {
                    Ok(Ok(new)) => {
                        tracing::info!("the node's certificate was renewed");
                        *identity = new;
                        link.witness.renewed(peer_tls(identity)?);
                        renew_at = Instant::now() + Duration::from_secs(identity.renew_at.saturating_sub(epoch_seconds()));
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the node's certificate was not renewed; trying again");
                        renew_at = Instant::now() + RENEW_PAUSE;
                    }
                    Err(_) => renew_at = Instant::now() + RENEW_PAUSE,
                }
            }
        }
    }
}

/// What is on the board once it has changed, not before `at`; never where there is none.
async fn newest(news: Option<&mut watch::Receiver<NodeFacts>>, at: Instant) -> NodeFacts {
    let Some(news) = news else { return std::future::pending().await };
    sleep_until(at).await;
    if news.changed().await.is_err() {
        return std::future::pending().await;
    }
    let mut facts = news.borrow_and_update().clone();
    facts.taken_at = wall_clock();
    facts
}

async fn say(channel: &mut Channel, text: String) -> Result<(), ClientError> {
    if send_text(channel, text).await { Ok(()) } else { Err(ClientError::Lost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_host_and_perhaps_a_port() {
        let read = |url: &str| address(url).ok();
        assert_eq!(read("https://controller.example"), Some(("controller.example".to_owned(), 443)));
        assert_eq!(read("https://192.0.2.1:8443/"), Some(("192.0.2.1".to_owned(), 8443)));
        assert_eq!(read("https://[2001:db8::1]:8443"), Some(("2001:db8::1".to_owned(), 8443)));
        for wrong in ["", "controller.example", "http://a", "https://a/b", "https://a?b", "https://"] {
            assert!(matches!(address(wrong), Err(ClientError::Url(_))), "{wrong}");
        }
    }
}
