//! The accept loop: bounds on connections, on the time that a handshake and headers may take, and on how long shutting down may take.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::feed::Closing;
use crate::guests::{Guest, Guests};
use crate::last::Last;
use crate::refusal::Refusing;
use crate::shares::Held;
use crate::tls::TlsConfig;

/// From a connection's first octet to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/1: octets of headers and URL at most.
pub(crate) const MAX_HEADERS: usize = 64 * 1024;
/// HTTP/2: requests at once on one connection.
const MAX_STREAMS: u32 = 128;
/// HTTP/2: octets of headers at most.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// HTTP/2: a silent connection is asked this often whether it is alive, …
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// … and closed if it takes longer than this to say so.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// A peer that acknowledges nothing, or takes nothing of what is sent, for this long is gone.
const PEER_TIMEOUT: Duration = Duration::from_secs(90);
/// A silent peer is asked this often by TCP whether it is alive.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long requests under way may take after the shutdown was asked for.
const GRACE: Duration = Duration::from_secs(10);
/// Pause after a failed accept: what fails it (no file descriptors) does not pass at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may take.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Connections at once.
    connections: usize,
    /// Connections at once from one network: as many as there may be streams of events, so that a proxy can bring all of them.
    of_network: usize,
    /// How long a connection is kept without a request, and how long the headers of one may take.
    idle: Duration,
    /// After which a connection that was told to end is cut.
    linger: Duration,
    /// How long a piece of an answer may wait for the client. HTTP/2 has no time limit for that: TCP goes on, answered by pings.
    stuck: Duration,
    /// How often the certificate's files are looked at.
    certificate: Duration,
}

const BOUNDS: Bounds = Bounds {
    connections: 1024,
    of_network: crate::feed::MAX_STREAMS as usize,
    idle: Duration::from_secs(60),
    linger: Duration::from_secs(10),
    stuck: Duration::from_secs(30),
    certificate: Duration::from_secs(60),
};

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
    serve_within(BOUNDS, listener, tls, router, shutdown).await
}

async fn serve_within(
    bounds: Bounds,
    listener: TcpListener,
    tls: Option<TlsConfig>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let guests = Guests::new(bounds.connections, bounds.of_network);
    let acceptor = tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.config)));
    // Ends with this function.
    let mut helpers = JoinSet::new();
    if let Some(tls) = tls {
        helpers.spawn(tls.follow_files(bounds.certificate));
    }
    let (ending, closing) = Closing::new();
    // Every connection holds the one end until it is over.
    let (open, mut all_closed) = mpsc::channel::<()>(1);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(guest) = guests.enter(peer.ip()) else {
            tracing::debug!("a connection is refused: too many have requests under way");
            continue;
        };
        let connection =
            Connection { bounds, peer, guest: Arc::new(guest), closing: closing.clone(), router: router.clone() };
        let (acceptor, open) = (acceptor.clone(), open.clone());
        tokio::spawn(async move {
            let guest = Arc::clone(&connection.guest);
            tokio::select! {
                () = connection.run(stream, acceptor) => {}
                () = guest.stuck(bounds.stuck) => tracing::debug!("a client did not take its answer"),
                () = guest.displaced() => tracing::debug!("an idle connection made way for another"),
            }
            drop(open);
        });
    }
    drop((listener, open));
    // Streams would go on for ever.
    ending.send_replace(true);
    if tokio::time::timeout(GRACE, all_closed.recv()).await.is_err() {
        tracing::warn!("requests were still under way when their time to finish ran out");
    }
    Ok(())
}

/// One connection from its first octet to its end.
struct Connection {
    bounds: Bounds,
    peer: SocketAddr,
    guest: Arc<Guest>,
    closing: Closing,
    router: Router,
}

impl Connection {
    async fn run(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "cannot set a socket's options");
        }
        let Some(acceptor) = acceptor else { return self.http(TokioIo::new(stream), false).await };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.http(TokioIo::new(stream), http2).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn http<I: Read + Write + Unpin + Send + 'static>(self, io: I, http2: bool) {
        let Self { bounds, peer, guest, mut closing, router } = self;
        let (host, end) = (Arc::clone(&guest), closing.clone());
        let service = tower::service_fn(move |mut request: hyper::Request<Incoming>| {
            let under_way = host.ask();
            request.extensions_mut().insert(Peer(peer.ip()));
            request.extensions_mut().insert(end.clone());
            request.extensions_mut().insert(under_way.asked());
            let answer = router.clone().oneshot(request);
            async move {
                answer.await.map(|mut answer: Response| {
                    let held = answer.extensions_mut().remove::<Held>();
                    answer.map(|body: Body| Last::new(body, under_way, held))
                })
            }
        });
        let service = TowerToHyperService::new(service);
        // The handshake has settled which of the two is spoken, so that nothing is guessed from the first octets.
        // What is written as HTTP/2 never begins like an answer of HTTP/1.
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder = if http2 { builder.http2_only() } else { builder.http1_only() };
        builder.http1().timer(TokioTimer::new()).header_read_timeout(bounds.idle).max_buf_size(MAX_HEADERS);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        let mut connection = std::pin::pin!(builder.serve_connection(Refusing::new(io), service));
        let over = tokio::select! {
            over = connection.as_mut() => Some(over),
            // Also before the first request: a peer may never say that it speaks HTTP/2, and one that only answers pings says nothing.
            () = guest.idle(bounds.idle) => None,
            () = closing.wait() => None,
        };
        let over = match over {
            Some(over) => Ok(over),
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    over = connection.as_mut() => Ok(over),
                    () = guest.idle(bounds.linger) => Err("it did not end when it was told to"),
                }
            }
        };
        match over {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error, "a connection ended"),
            Err(reason) => tracing::debug!(reason, "a connection was cut"),
        }
    }
}

/// Answers go out at once, and a peer that is gone is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    socket.set_tcp_user_timeout(Some(PEER_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use axum::routing::get;
    use rustls::RootCertStore;
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpSocket;
    use tokio::time::timeout;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A service whose `/slow` takes that long, and its address.
    async fn start(bounds: Bounds, tls: Option<TlsConfig>, slow: Duration) -> SocketAddr {
        let slow = async move || tokio::time::sleep(slow).await;
        let router = Router::new().route("/", get(async || "here")).route("/slow", get(slow));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve_within(bounds, listener, tls, router, std::future::pending()));
        address
    }

    /// A connection from this address of the loopback network.
    async fn connect(from: u8, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, from], 0))).expect("a local address");
        socket.connect(to).await.expect("a connection")
    }

    async fn is_served(stream: &mut TcpStream) {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a socket that writes");
        let mut answer = [0; 15];
        let read = timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("in time");
        read.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }

    /// The preface of HTTP/2, settings that let nothing be sent, and a request for `/` with an answer that has a body.
    const WINDOW_OF_ZERO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
        \0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0\
        \0\0\x03\x01\x05\0\0\0\x01\x82\x84\x87";

    /// Reads frames of HTTP/2, acknowledging settings and pings as every client does, until the connection ends.
    async fn only_answers_pings(stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin)) {
        let to_the_end = async {
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let mut payload = vec![0; length];
                if stream.read_exact(&mut payload).await.is_err() {
                    return;
                }
                let asks = head[4] & 1 == 0;
                assert_ne!(head[3], 0, "nothing can be sent within a window of zero");
                if asks && (head[3] == 4 || head[3] == 6) {
                    let echo = if head[3] == 6 { payload } else { Vec::new() };
                    let mut answer = vec![0, 0, echo.len() as u8, head[3], 1, 0, 0, 0, 0];
                    answer.extend(echo);
                    // It may have been cut meanwhile.
                    let _ = stream.write_all(&answer).await;
                }
            }
        };
        timeout(PATIENCE, to_the_end).await.expect("closed in time");
    }

    async fn is_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time");
    }

    #[tokio::test]
    async fn connections_that_ask_for_nothing_keep_nobody_out() {
        let bounds = Bounds { connections: 8, of_network: 4, idle: PATIENCE * 10, linger: PATIENCE, ..BOUNDS };
        let address = start(bounds, None, Duration::ZERO).await;
        let mut silent = Vec::new();
        for _ in 0..5 {
            silent.push(connect(1, address).await);
        }
        is_served(&mut connect(1, address).await).await;
        is_closed(&mut silent[0]).await;
        for network in 2..10 {
            for _ in 0..4 {
                silent.push(connect(network, address).await);
            }
        }
        is_served(&mut connect(100, address).await).await;
        is_closed(&mut silent[9]).await;
        // The newest have not been concerned.
        is_served(silent.last_mut().expect("many")).await;
    }

    async fn http2(certificate: &std::path::Path, address: SocketAddr) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(certificate).expect("a file") {
            roots.add(certificate.expect("a certificate")).expect("an authority");
        }
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TcpStream::connect(address).await.expect("a connection");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake")
    }

    #[tokio::test]
    async fn http2_without_requests_is_ended_and_a_slow_request_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let (tls, certificate, _) = TlsConfig::self_signed(directory.path(), &[]).expect("TLS");
        let idle = Duration::from_millis(300);
        let bounds = Bounds { idle, linger: idle, ..BOUNDS };
        let address = start(bounds, Some(tls), idle * 5).await;
        // It never says that it speaks HTTP/2.
        is_closed(&mut http2(&certificate, address).await).await;
        let io = TokioIo::new(http2(&certificate, address).await);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let request = Request::get("https://localhost/slow").body(Body::empty()).expect("a request");
        let answer = timeout(PATIENCE, sender.send_request(request)).await.expect("in time").expect("an answer");
        assert_eq!(answer.status(), 200);
        drop(answer);
        // From here on it only answers what the protocol asks.
        timeout(PATIENCE, connection).await.expect("ended in time").expect("no panic").expect("in order");
        drop(sender);
    }

    #[tokio::test]
    async fn http2_that_is_told_to_end_and_does_not_is_cut() {
        let directory = tempfile::tempdir().expect("a directory");
        let (tls, certificate, _) = TlsConfig::self_signed(directory.path(), &[]).expect("TLS");
        let bounds = Bounds { idle: Duration::from_millis(100), linger: Duration::from_millis(100), ..BOUNDS };
        let address = start(bounds, Some(tls), Duration::ZERO).await;
        let mut stream = http2(&certificate, address).await;
        // The preface and empty settings; afterwards nothing is answered, the acknowledgement that a graceful end awaits neither.
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        stream.write_all(preface).await.expect("a socket that writes");
        is_closed(&mut stream).await;
    }

    #[tokio::test]
    async fn http2_that_takes_no_answer_is_cut_and_makes_way() {
        let directory = tempfile::tempdir().expect("a directory");
        let (tls, certificate, _) = TlsConfig::self_signed(directory.path(), &[]).expect("TLS");
        let bounds = Bounds { idle: PATIENCE * 10, stuck: Duration::from_millis(500), ..BOUNDS };
        let address = start(bounds, Some(tls), Duration::ZERO).await;
        let mut stream = http2(&certificate, address).await;
        stream.write_all(WINDOW_OF_ZERO).await.expect("a socket that writes");
        only_answers_pings(&mut stream).await;
        // Where nobody is cut, the next ones come in all the same: strangers keep no place.
        let (tls, certificate, _) = TlsConfig::self_signed(directory.path(), &[]).expect("TLS");
        let bounds = Bounds { of_network: 2, stuck: PATIENCE * 10, ..bounds };
        let address = start(bounds, Some(tls), Duration::ZERO).await;
        let (mut first, mut second) = (http2(&certificate, address).await, http2(&certificate, address).await);
        for stream in [&mut first, &mut second] {
            stream.write_all(WINDOW_OF_ZERO).await.expect("a socket that writes");
            // Settings, and the head of the answer.
            let mut some = [0; 64];
            timeout(PATIENCE, stream.read(&mut some)).await.expect("in time").expect("an answer");
        }
        let io = TokioIo::new(http2(&certificate, address).await);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = Request::get("https://localhost/").body(Body::empty()).expect("a request");
        let answer = timeout(PATIENCE, sender.send_request(request)).await.expect("in time").expect("an answer");
        assert_eq!(answer.status(), 200);
        only_answers_pings(&mut first).await;
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let (tls, certificate, _) = TlsConfig::self_signed(directory.path(), &[]).expect("TLS");
        let bounds = Bounds { certificate: Duration::from_millis(20), ..BOUNDS };
        let address = start(bounds, Some(tls), Duration::ZERO).await;
        let presented = async |trusted: &std::path::Path| {
            let stream = http2(trusted, address).await;
            stream.get_ref().1.peer_certificates().expect("some")[0].as_ref().to_vec()
        };
        let (elsewhere, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("another"));
        let (_, renewed, _) = TlsConfig::self_signed(elsewhere.path(), &[]).expect("TLS");
        TlsConfig::self_signed(other.path(), &[]).expect("TLS");
        let old = presented(&certificate).await;
        // A client that trusts both, since nobody knows which it will get.
        let both = directory.path().join("both.pem");
        let texts = [&certificate, &renewed].map(|path| std::fs::read_to_string(path).expect("a file"));
        std::fs::write(&both, texts.concat()).expect("a file");
        // Halfway: the certificate is new, the key is not.
        std::fs::copy(&renewed, &certificate).expect("a copy");
        for _ in 0..20 {
            assert_eq!(presented(&both).await, old);
            tokio::time::sleep(bounds.certificate).await;
        }
        std::fs::copy(elsewhere.path().join("tls-key.pem"), directory.path().join("tls-key.pem")).expect("a copy");
        let until_new = async {
            while presented(&both).await == old {
                tokio::time::sleep(bounds.certificate).await;
            }
        };
        timeout(PATIENCE, until_new).await.expect("the new one in time");
        // And broken again: what works stays.
        let new = presented(&both).await;
        std::fs::remove_file(directory.path().join("tls-key.pem")).expect("removed");
        for _ in 0..20 {
            assert_eq!(presented(&both).await, new);
            tokio::time::sleep(bounds.certificate).await;
        }
    }
}
