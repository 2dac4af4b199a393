//! The accept loop: bounds on connections, on the time that a handshake and headers may take, and on how long shutting down may take.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::feed::Closing;
use crate::tls::TlsConfig;

/// Connections at once. More wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// From a connection's first octet to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/1: from the first octet that is awaited to the end of the headers; also how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// HTTP/1: octets of headers and URL at most.
const MAX_HEADERS: usize = 64 * 1024;
/// HTTP/2: requests at once on one connection.
const MAX_STREAMS: u32 = 128;
/// HTTP/2: octets of headers at most.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// HTTP/2: a silent connection is asked this often whether it is alive, …
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// … and closed if it takes longer than this to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long requests under way may take after the shutdown was asked for.
const GRACE: Duration = Duration::from_secs(10);
/// Pause after a failed accept: what fails it (no file descriptors) does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Serves `router` on `listener` until `shutdown` completes, then lets requests under way finish. With `tls`: HTTP/1.1 and HTTP/2 over
/// TLS; without: HTTP/1.1 in clear, for loopback addresses.
///
/// # Errors
/// None at present: an accept that fails is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsConfig>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let acceptor = tls.map(|tls| TlsAcceptor::from(tls.0));
    let graceful = GracefulShutdown::new();
    let (ending, closing) = Closing::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), graceful.watcher());
        let origin = (peer, closing.clone());
        tokio::spawn(async move {
            connection(stream, origin, acceptor, router, watcher).await;
            drop(permit);
        });
    }
    drop(listener);
    // Streams would go on for ever.
    ending.send_replace(true);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way when their time to finish ran out");
    }
    Ok(())
}

/// One connection from its first octet to its end.
async fn connection(
    stream: TcpStream,
    origin: (SocketAddr, Closing),
    acceptor: Option<TlsAcceptor>,
    router: Router,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch Nagle's algorithm off");
    }
    let Some(acceptor) = acceptor else { return http(TokioIo::new(stream), false, origin, router, watcher).await };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            http(TokioIo::new(stream), http2, origin, router, watcher).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

async fn http<I: Read + Write + Unpin + Send + 'static>(
    io: I,
    http2: bool,
    (peer, closing): (SocketAddr, Closing),
    router: Router,
    watcher: Watcher,
) {
    let service = router.map_request(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        request.extensions_mut().insert(closing.clone());
        request
    });
    let service = TowerToHyperService::new(service);
    // The handshake has settled which of the two is spoken, so that nothing is guessed from the first octets.
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder = if http2 { builder.http2_only() } else { builder.http1_only() };
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let connection = builder.serve_connection(io, service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error, "a connection ended");
    }
}
