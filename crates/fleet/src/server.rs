//! The controller's listener for nodes: TLS 1.3 with certificates of its own authority, three calls, and the WebSocket of the channel.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use causeway_model::NodeId;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::authority::node_of;
use crate::door::{Admission, CHANNEL, Denied, Gatekeeper, JOIN, RENEW};
use crate::frame::MAX_FRAME;
use crate::lease::Relayed;
use crate::session::ControllerSession;
use crate::{FromNode, Place, Refusal, in_process};

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 4096;
/// From a connection's first octet to the end of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the head and the body of a request each.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Octets of a body at most.
const MAX_BODY: usize = 64 * 1024;
/// From the channel's opening to hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that takes nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Why a session ends whose place another one has taken.
pub(crate) const SUPERSEDED: &str = "superseded";
/// Why a session ends that was not begun: the node speaks from another machine.
pub(crate) const ELSEWHERE: &str = "elsewhere";
/// Pause after a failed accept: what fails it does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Fences that were not answered are sent this often.
const FENCE_PERIOD: Duration = Duration::from_secs(1);

/// Questions and promises of one node that are passed on at once, and how long it takes until there may be one more: a node has some in a keepalive
/// period, and others wait in the same queues.
const RELAYS: u32 = 64;
const RELAY_REST: Duration = Duration::from_millis(10);

/// What may be passed on for one node.
struct Allowance {
    left: u32,
    counted: Instant,
}

impl Allowance {
    /// Whether one more may be, now.
    fn take(&mut self, now: Instant) -> bool {
        let rests = now.saturating_duration_since(self.counted).as_millis() / RELAY_REST.as_millis();
        if rests > 0 {
            self.left = self.left.saturating_add(u32::try_from(rests).unwrap_or(RELAYS)).min(RELAYS);
            self.counted = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// Octets that are read at once. They are wiped before each attempt to read, also where nothing has come.
const READ_BUFFER: usize = 16 * 1024;

/// Serves nodes until `shutdown`. `tls` is looked at for each connection, so that a renewed certificate takes effect.
pub async fn serve<G: Gatekeeper>(
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    gatekeeper: G,
    shutdown: impl Future<Output = ()>,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut shutdown => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (config, gatekeeper) = (Arc::clone(&tls.borrow()), gatekeeper.clone());
                tokio::spawn(async move {
                    connection(stream, peer, config, gatekeeper).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a node's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<G: Gatekeeper>(stream: TcpStream, peer: SocketAddr, config: Arc<ServerConfig>, gatekeeper: G) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch Nagle's algorithm off");
    }
    let stream = match timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%peer, %error, "a node's TLS handshake failed");
            gatekeeper.turned_away(None, peer, &format!("TLS: {error}"));
            return;
        }
        Err(_) => {
            tracing::debug!(%peer, "a node's TLS handshake took too long");
            return;
        }
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let node = certificate.and_then(node_of);
    let service = service_fn(move |request| {
        let gatekeeper = gatekeeper.clone();
        async move { Ok::<_, Infallible>(answer(request, node, peer, gatekeeper).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .max_buf_size(MAX_BODY)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(%peer, %error, "a node's connection ended");
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer<G: Gatekeeper>(
    request: Request<Incoming>,
    node: Option<NodeId>,
    peer: SocketAddr,
    gatekeeper: G,
) -> Answer {
    let path = request.uri().path().to_owned();
    let watcher = gatekeeper.clone();
    let result = match (request.method(), path.as_str()) {
        (&Method::POST, JOIN) => match body(request).await {
            Ok(request) => gatekeeper.join(request).await.map(|membership| json(StatusCode::OK, &membership)),
            Err(denied) => Err(denied),
        },
        (&Method::POST, RENEW) => renew(request, node, &gatekeeper).await,
        (&Method::GET, CHANNEL) => channel(request, node, peer, gatekeeper).await,
        _ => Err(Denied::new(404, "not_found", "this is a listener for gateway nodes; there is no such call")),
    };
    result.unwrap_or_else(|denied| {
        let who = node.map(|node| node.to_string());
        if node.is_some() || path == JOIN {
            watcher.turned_away(node, peer, &format!("{}: {}", denied.code, denied.message));
        }
        tracing::warn!(%peer, node = who, path, code = denied.code, message = denied.message, "a node was refused");
        json(StatusCode::from_u16(denied.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &denied)
    })
}

fn known(node: Option<NodeId>) -> Result<NodeId, Denied> {
    let help = "this call needs a node's certificate; `causeway node join` gets one";
    node.ok_or_else(|| Denied::new(401, "no_certificate", help))
}

async fn renew<G: Gatekeeper>(
    request: Request<Incoming>,
    node: Option<NodeId>,
    gatekeeper: &G,
) -> Result<Answer, Denied> {
    let node = known(node)?;
    Ok(json(StatusCode::OK, &gatekeeper.renew(node, body(request).await?).await?))
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Denied> {
    let invalid = |detail: String| Denied::new(400, "invalid_request", format!("the request's body: {detail}"));
    let read = Limited::new(request.into_body(), MAX_BODY).collect();
    let octets = match timeout(REQUEST_TIMEOUT, read).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(invalid(error.to_string())),
        Err(_) => return Err(invalid("it did not arrive in time".to_owned())),
    };
    serde_json::from_slice(&octets).map_err(|error| invalid(error.to_string()))
}

fn json<T: Serialize>(status: StatusCode, document: &T) -> Answer {
    let text = serde_json::to_vec(document).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Answers the opening handshake (RFC 6455 §4.2) and leaves the session to a task of its own.
async fn channel<G: Gatekeeper>(
    mut request: Request<Incoming>,
    node: Option<NodeId>,
    peer: SocketAddr,
    gatekeeper: G,
) -> Result<Answer, Denied> {
    let node = known(node)?;
    let headers = request.headers();
    let version = headers.get("sec-websocket-version").is_some_and(|version| version == "13");
    let key = headers.get("sec-websocket-key").filter(|_| version).map(|key| derive_accept_key(key.as_bytes()));
    let key = key.ok_or_else(|| Denied::new(400, "invalid_request", "this call is a WebSocket (RFC 6455)"))?;
    let key = HeaderValue::from_str(&key).map_err(|error| Denied::new(500, "internal", error.to_string()))?;
    let admission = gatekeeper.admit(node).await?;
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let upgraded = match upgraded.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => {
                tracing::debug!(%peer, %node, %error, "a node's channel was not opened");
                return;
            }
        };
        let stream = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(limits())).await;
        session(stream, node, peer, admission, gatekeeper).await;
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", key);
    Ok(response)
}

pub(crate) fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME))
        .max_write_buffer_size(2 * MAX_FRAME)
}

/// The next text; `None`: the channel is at its end.
pub(crate) async fn next_text<S>(stream: &mut WebSocketStream<S>) -> Option<Result<String, WsError>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        return Some(match stream.next().await? {
            Ok(Message::Text(text)) => Ok(text.as_str().to_owned()),
            // Binary frames are no JSON, and get the error that this makes of them.
            Ok(Message::Binary(_)) => Ok(String::new()),
            Ok(Message::Close(_)) => return None,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
            Err(error) => Err(error),
        });
    }
}

/// Sends a text; whether the peer took it in time.
pub(crate) async fn send_text<S>(stream: &mut WebSocketStream<S>, text: String) -> bool
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    matches!(timeout(WRITE_TIMEOUT, stream.send(Message::text(text))).await, Ok(Ok(())))
}

/// One session, from hello to its end.
async fn session<S, G>(
    mut stream: WebSocketStream<S>,
    node: NodeId,
    peer: SocketAddr,
    admission: Admission,
    gatekeeper: G,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send,
    G: Gatekeeper,
{
    let mut session = ControllerSession::new(node);
    let hello = match timeout(HELLO_TIMEOUT, next_text(&mut stream)).await {
        Ok(Some(Ok(text))) => session.receive(&text),
        _ => {
            tracing::info!(%peer, %node, "a node opened its channel and said nothing");
            return;
        }
    };
    let hello = match hello {
        Ok(hello) => hello,
        Err(violation) => return refuse(&mut stream, &mut session, (node, peer), &violation.to_string()).await,
    };
    let FromNode::Hello { boot, on: Some(Place { machine, .. }), .. } = hello else { return };
    let began = Instant::now();
    let (controller_end, mut end) = in_process();
    gatekeeper.attach(node, peer, controller_end);
    if end.reports.send(hello).await.is_err() || !send_text(&mut stream, session.welcome(admission.period)).await {
        return;
    }
    // A node that is silent for long is judged by its keepalives; its connection is only given up, so that it does not stay for ever.
    let patience = admission.period * 10 + WRITE_TIMEOUT;
    let mut fences_at = Instant::now();
    let mut relays = Allowance { left: RELAYS, counted: fences_at };
    loop {
        tokio::select! {
            text = timeout(patience, next_text(&mut stream)) => {
                let text = match text {
                    Ok(Some(Ok(text))) => text,
                    Ok(Some(Err(error))) if broke_rules(&error) => {
                        return refuse(&mut stream, &mut session, (node, peer), &error.to_string()).await;
                    }
                    _ => {
                        tracing::info!(%peer, %node, "a node's channel ended");
                        return;
                    }
                };
                match session.receive(&text) {
                    Ok(FromNode::Ask(ask)) => {
                        for promise in gatekeeper.ask(&ask) {
                            if !send_text(&mut stream, session.promise(promise)).await {
                                return;
                            }
                        }
                    }
                    Ok(FromNode::AskOthers(_) | FromNode::Promised(_)) if !relays.take(Instant::now()) => {}
                    Ok(FromNode::AskOthers(question)) => gatekeeper.ask_others(&question),
                    Ok(FromNode::Promised(promise)) => gatekeeper.promised(&promise),
                    Ok(FromNode::Fenced(fenced)) => gatekeeper.fenced(&fenced, machine),
                    Ok(word) => if !hand_over(&end.reports, word).await { break },
                    Err(violation) => {
                        return refuse(&mut stream, &mut session, (node, peer), &violation.to_string()).await;
                    }
                }
            }
            changed = end.desired.changed(), if session.may_send() => {
                if changed.is_err() {
                    break;
                }
                let desired = Arc::clone(&end.desired.borrow_and_update());
                if let Some(text) = session.desired(&desired)
                    && !send_text(&mut stream, text).await
                {
                    return;
                }
            }
            Some(relayed) = end.relayed.recv() => {
                let text = match relayed {
                    Relayed::Question(ask) => session.asked(ask),
                    Relayed::Promise(promise) => session.promise(promise),
                };
                if !send_text(&mut stream, text).await {
                    return;
                }
            }
            () = sleep_until(fences_at) => {
                fences_at = next_fences(Instant::now());
                for fence in gatekeeper.fences(node) {
                    if !send_text(&mut stream, session.fence(fence)).await {
                        return;
                    }
                }
            }
            () = end.reports.closed() => break,
        }
    }
    // The controller has ended it.
    let admitted = gatekeeper.admit(node).await;
    let other = gatekeeper.attached(node);
    let (code, message) = match admitted {
        Err(denied) => (denied.code, denied.message),
        Ok(_) if end.refusal() == Some(Refusal::Elsewhere) || other.is_some_and(|other| other != machine) => (
            ELSEWHERE.to_owned(),
            "this node speaks from another machine, which is heard, or was until a moment ago".to_owned(),
        ),
        Ok(_) if other.is_some() => {
            (SUPERSEDED.to_owned(), "another session of this node has taken the place of this one".to_owned())
        }
        Ok(_) => ("ended".to_owned(), "the controller has ended the session".to_owned()),
    };
    send_text(&mut stream, session.closing(&code, &message)).await;
    if part(&mut stream).await && other.is_some() && (code == SUPERSEDED || code == ELSEWHERE) {
        gatekeeper.outlived(node, boot, peer, began.elapsed());
    }
}

/// When all sessions look for fences the next time: together, since waking up for each of many costs more than what they do then.
fn next_fences(now: Instant) -> Instant {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let passed = now.saturating_duration_since(*BEGUN.get_or_init(|| now));
    // Their period is a second.
    now + FENCE_PERIOD.saturating_sub(Duration::from_nanos(u64::from(passed.subsec_nanos())))
}

/// Ends a channel in order; whether the process at its other end was there to say so, too.
async fn part<S>(stream: &mut WebSocketStream<S>) -> bool
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let answered = async {
        let _ = stream.close(None).await;
        loop {
            match stream.next().await {
                Some(Ok(Message::Close(_))) => return true,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return false,
            }
        }
    };
    timeout(WRITE_TIMEOUT, answered).await.unwrap_or(false)
}

/// Whether a channel ended because of what came over it: too long for a frame, no text, no WebSocket.
fn broke_rules(error: &WsError) -> bool {
    matches!(error, WsError::Capacity(_) | WsError::Protocol(_) | WsError::Utf8(_))
        && !matches!(error, WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake))
}

/// Waits while the controller is slow, and with it the node: its next report says the same and more.
async fn hand_over(reports: &mpsc::Sender<FromNode>, word: FromNode) -> bool {
    reports.send(word).await.is_ok()
}

async fn refuse<S>(
    stream: &mut WebSocketStream<S>,
    session: &mut ControllerSession,
    (node, peer): (NodeId, SocketAddr),
    violation: &str,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    tracing::warn!(%peer, %node, violation, "a node broke the rules of the channel; its session is ended");
    send_text(stream, session.closing("violation", violation)).await;
    let _ = timeout(WRITE_TIMEOUT, stream.close(None)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_without_an_end_is_passed_on_no_more_often_than_another_one() {
        let begun = Instant::now();
        let mut relays = Allowance { left: RELAYS, counted: begun };
        let passed = |relays: &mut Allowance, at: Duration| (0..1000).filter(|_| relays.take(begun + at)).count();
        assert_eq!(passed(&mut relays, Duration::ZERO), 64);
        assert_eq!(passed(&mut relays, Duration::from_millis(9)), 0);
        assert_eq!(passed(&mut relays, Duration::from_millis(30)), 3);
        assert_eq!(passed(&mut relays, Duration::from_secs(3600)), 64, "nothing is saved up");
        // A node that asks as nodes do is never held up.
        for second in 3601..3700 {
            assert!((0..8).all(|_| relays.take(begun + Duration::from_secs(second))));
        }
    }
}
