//! TLS and HTTP/2, over real sockets.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Version};
use causeway_api::TlsConfig;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::service::{Service, VPC};

const PATIENCE: Duration = Duration::from_secs(10);

/// A client that trusts the certificate in `path` and offers `protocols`.
fn connector(path: &std::path::Path, protocols: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path).expect("a certificate")).expect("an authority");
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn both_versions_of_http_over_tls_beside_a_client_that_says_nothing() {
    let service = Service::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (tls, certificate, _) = TlsConfig::self_signed(directory.path(), &["127.0.0.1".to_owned()]).expect("TLS");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving =
        tokio::spawn(causeway_api::serve(listener, Some(tls), service.router.clone(), std::future::pending()));

    let mut silent = TcpStream::connect(address).await.expect("a connection");
    for (protocols, version) in [
        (&[b"h2".as_slice(), b"http/1.1"][..], Version::HTTP_2),
        (&[b"http/1.1".as_slice()], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let stream = connector(&certificate, protocols).connect(name, stream).await.expect("a handshake");
        let request = Request::get(format!("https://{address}{VPC}/vpcs"))
            .version(version)
            .header("host", address.to_string())
            .header("x-auth-token", &service.secret_key)
            .body(Body::empty())
            .expect("a request");
        let io = TokioIo::new(stream);
        let answer = if version == Version::HTTP_2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
            tokio::spawn(connection);
            timeout(PATIENCE, sender.send_request(request)).await
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("HTTP/1.1");
            tokio::spawn(connection);
            timeout(PATIENCE, sender.send_request(request)).await
        };
        let answer = answer.expect("in time").expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert_eq!(answer.headers()["strict-transport-security"], "max-age=63072000");
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        assert!(body.starts_with(b"{\"total_count\":"), "{body:?}");
    }
    let mut octet = [0];
    let waits = silent.try_read(&mut octet).expect_err("the silent client is neither answered nor gone yet");
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock, "nobody waited for it");
    let read = timeout(PATIENCE, silent.read(&mut octet)).await.expect("closed in time");
    assert_eq!(read.unwrap_or(0), 0, "nothing was said to it");
    serving.abort();
}

#[tokio::test]
async fn clear_text_on_a_tls_listener_ends_the_connection() {
    use tokio::io::AsyncWriteExt as _;
    let service = Service::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (tls, ..) = TlsConfig::self_signed(directory.path(), &[]).expect("TLS");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving =
        tokio::spawn(causeway_api::serve(listener, Some(tls), service.router.clone(), std::future::pending()));
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a socket that writes");
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time");
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    serving.abort();
}
