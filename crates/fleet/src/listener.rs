//! A node's own listener: controllers of its authority, and nobody else, ask there what the node knows of itself. And the other end of it:
//! the controller's probe.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use causeway_model::NodeId;
use causeway_model::diagnosis::{Listening, NodeFacts, Probe};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

use crate::authority::{CONTROLLER_NAME, is_controller, node_name};
use crate::identity::Identity;
use crate::tls;

/// The only call.
const DIAGNOSIS: &str = "/causeway/v1/node/diagnosis";
/// Connections at once: there are few controllers.
const MAX_CONNECTIONS: usize = 32;
/// For the handshake, and again for the request.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// After which the node's certificate is read again, and an address that could not be had is tried again.
const AGAIN: Duration = Duration::from_secs(30);
const BIND_AGAIN: Duration = Duration::from_secs(2);
/// Octets of an answer at most.
const MAX_ANSWER: usize = 256 * 1024;
/// Octets of a request's head at most.
const MAX_HEAD: usize = 16 * 1024;

/// Facts that several tasks of a node write, each its own.
pub type Board = watch::Sender<NodeFacts>;

/// Listens on `address` until `shutdown`, with the identity in `directory`. Whether it does is on the board.
pub async fn listen(address: SocketAddr, directory: PathBuf, board: Board, shutdown: CancellationToken) {
    let mut told = None;
    while !shutdown.is_cancelled() {
        let opened = match TcpListener::bind(address).await {
            Ok(listener) => trust(&directory).map(|tls| (listener, tls)),
            Err(error) => Err(error.to_string()),
        };
        let error = opened.as_ref().err().cloned();
        let at = opened.as_ref().ok().and_then(|(listener, _)| listener.local_addr().ok()).unwrap_or(address);
        if told.as_ref() != Some(&error) {
            match &error {
                Some(error) => {
                    tracing::warn!(%address, error, "the node cannot listen for its controllers; it tries again")
                }
                None => tracing::info!(%address, "listening for controllers"),
            }
            told = Some(error.clone());
        }
        board.send_if_modified(|facts| {
            let listener = Some(Listening { address: at, error: error.clone() });
            let is_news = facts.listener != listener;
            facts.listener = listener;
            is_news
        });
        match opened {
            Ok((listener, tls)) => serve(listener, tls, &directory, &board, &shutdown).await,
            Err(_) => tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(BIND_AGAIN) => {}
            },
        }
    }
}

fn trust(directory: &std::path::Path) -> Result<Arc<ServerConfig>, String> {
    let identity = Identity::load(directory).map_err(|error| error.to_string())?;
    tls::node(&identity.authority, &identity.credentials()).map_err(|error| error.to_string())
}

async fn serve(
    listener: TcpListener,
    mut tls: Arc<ServerConfig>,
    directory: &std::path::Path,
    board: &Board,
    shutdown: &CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut again = tokio::time::interval(AGAIN);
    again.reset();
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            // The certificate is renewed while the node runs.
            _ = again.tick() => match trust(directory) {
                Ok(newest) => tls = newest,
                Err(error) => tracing::warn!(error, "the node's certificate cannot be read"),
            },
            (permit, accepted) = accepted => match accepted {
                Ok((stream, peer)) => {
                    let (tls, board) = (Arc::clone(&tls), board.clone());
                    tokio::spawn(async move {
                        connection(stream, peer, tls, board).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a controller's connection");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, tls: Arc<ServerConfig>, board: Board) {
    let stream = match timeout(STEP_TIMEOUT, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::info!(%peer, %error, "a TLS handshake at the node's listener failed"),
        Err(_) => return tracing::debug!(%peer, "a TLS handshake at the node's listener took too long"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    if !certificate.is_some_and(is_controller) {
        return tracing::warn!(%peer, "somebody who is no controller came to the node's listener");
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let known = (request.method(), request.uri().path()) == (&Method::GET, DIAGNOSIS);
        let facts = known.then(|| snapshot(&board));
        async move { Ok::<_, Infallible>(answer(facts.as_ref())) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(STEP_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if !matches!(timeout(2 * STEP_TIMEOUT, connection).await, Ok(Ok(()))) {
        tracing::debug!(%peer, "a connection at the node's listener ended early");
    }
}

/// What the board has, as of now.
#[must_use]
pub fn snapshot(board: &Board) -> NodeFacts {
    let mut facts = board.borrow().clone();
    facts.taken_at = crate::client::wall_clock();
    facts
}

fn answer(facts: Option<&NodeFacts>) -> Response<Full<Bytes>> {
    let text = facts.and_then(|facts| serde_json::to_vec(facts).ok());
    let status = if text.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let mut response = Response::new(Full::new(Bytes::from(text.unwrap_or_default())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Asks the node at `address` what it knows of itself, as a controller whose trust is in `config`.
///
/// # Errors
/// How far it came, as a [`Probe`].
pub async fn probe(address: SocketAddr, node: NodeId, config: Arc<ClientConfig>) -> Result<NodeFacts, Probe> {
    let name = node_name(node);
    let stream = handshake(address, &name, config).await?;
    let of = |error: hyper::Error| {
        let told = crate::client::trust(&error).map(|error| error.to_string());
        Probe::Trust(told.unwrap_or_else(|| error.to_string()))
    };
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(of)?;
        let connection = tokio::spawn(connection);
        let request = Request::get(DIAGNOSIS).header(HOST, name).body(Empty::<Bytes>::new());
        let request = request.map_err(|error| Probe::Trust(error.to_string()))?;
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            // The connection knows better why.
            Err(error) => {
                let told = connection.await.ok().and_then(Result::err);
                return Err(of(told.unwrap_or(error)));
            }
        };
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| Probe::Trust(error.to_string()))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| Probe::Trust(format!("its answer makes no sense: {error}")))
    };
    let late = || Probe::Stuck("the request was not answered".to_owned());
    timeout(STEP_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(late()))
}

/// Whether a controller's listener answers: a connection and a handshake.
///
/// # Errors
/// Why not.
pub async fn greet(address: SocketAddr, config: Arc<ClientConfig>) -> Result<(), String> {
    match handshake(address, CONTROLLER_NAME, config).await {
        Ok(_) => Ok(()),
        Err(Probe::Refused(why) | Probe::Silent(why) | Probe::Stuck(why) | Probe::Trust(why) | Probe::None(why)) => {
            Err(why)
        }
        Err(Probe::Answered) => Err("no answer".to_owned()),
    }
}

async fn handshake(
    address: SocketAddr,
    name: &str,
    config: Arc<ClientConfig>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Probe> {
    let stream = match timeout(STEP_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(Probe::Refused(error.to_string()));
        }
        Ok(Err(error)) => return Err(Probe::Silent(error.to_string())),
        Err(_) => return Err(Probe::Silent("the connection was not answered".to_owned())),
    };
    let name = ServerName::try_from(name.to_owned()).map_err(|error| Probe::Trust(error.to_string()))?;
    match timeout(STEP_TIMEOUT, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Probe::Trust(met(&error))),
        Err(_) => Err(Probe::Stuck("the TLS handshake was not answered".to_owned())),
    }
}

/// What a failed handshake with a node means for whoever runs the controller.
fn met(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match inner {
        Some(error) => format!("TLS: {error}"),
        None => format!("the connection broke off in the TLS handshake: {error}"),
    }
}
