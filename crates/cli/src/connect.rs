//! Connections to the API: plain, or TLS.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::failure::Failure;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Where the authorities are that this machine trusts, unless a variable names another file.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// As other programs know it.
pub(crate) const AUTHORITIES_VARIABLE: &str = "SSL_CERT_FILE";

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// A connection, of whichever sort.
pub(crate) struct Wire(TokioIo<Box<dyn Socket>>);

/// Opens connections: TLS where the scheme says so.
#[derive(Clone)]
pub(crate) struct Connector {
    plain: HttpConnector,
    tls: Option<TlsConnector>,
}

impl Connector {
    /// Plain connections.
    pub(crate) fn plain() -> Self {
        let mut plain = HttpConnector::new();
        plain.set_connect_timeout(Some(CONNECT));
        plain.set_nodelay(true);
        // The scheme is looked at here.
        plain.enforce_http(false);
        Self { plain, tls: None }
    }

    /// TLS 1.2 or 1.3 with whoever has a certificate of one of the authorities in `file`, or is one of them itself.
    pub(crate) fn tls(file: Option<&Path>) -> Result<Self, Failure> {
        let path = file.map_or_else(|| PathBuf::from(AUTHORITIES), Path::to_owned);
        let failed = |error| Failure::File { verb: "read", path: path.display().to_string(), error };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&path).map_err(|error| failed(io::Error::other(error)))? {
            // One that is broken or of an unknown kind does not keep the others from being trusted.
            let _ = roots.add(certificate.map_err(|error| failed(io::Error::other(error)))?);
        }
        if roots.is_empty() {
            return Err(failed(io::Error::other("it has no certificate")));
        }
        // The provider is named, so that no other part of the process decides it.
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(io::Error::other(error)))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Some(TlsConnector::from(Arc::new(config))), ..Self::plain() })
    }
}

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.plain.poll_ready(context).map_err(io::Error::other)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let connecting = self.plain.call(uri);
        Box::pin(async move {
            let socket = connecting.await.map_err(io::Error::other)?.into_inner();
            let socket: Box<dyn Socket> = match tls {
                None => Box::new(socket),
                Some(tls) => {
                    let name = ServerName::try_from(host).map_err(io::Error::other)?;
                    let shaking = tokio::time::timeout(CONNECT, tls.connect(name, socket));
                    Box::new(shaking.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??)
                }
            };
            Ok(Wire(TokioIo::new(socket)))
        })
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
