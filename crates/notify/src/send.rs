//! One attempt.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use causeway_controller::Outgoing;
use causeway_model::resource::WebhookOwner;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a receiver may take from the look at its name to its status line.
const PATIENCE: Duration = Duration::from_secs(10);

/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;

/// What everyone but the operator reads of an attempt that met no HTTP answer: closed ports and silent ones are not told apart, so that nobody
/// can look around with webhooks.
const UNREACHED: &str =
    "no HTTP answer in time; see whether the receiver listens, and whether its certificate is valid for the name";

/// Why an attempt failed.
#[derive(Debug, PartialEq, Eq)]
enum Failed {
    /// In words for whoever owns the webhook.
    Told(String),
    /// In words for the operator.
    Unreached(String),
}

/// Whether an address is the machine's own: it would answer itself. Nothing is sent for this.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let local = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    local.is_ok_and(|local| local.ip() == address)
}

/// Why nothing can be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file of authorities.
    #[error("cannot read the certificate authorities in {path}: {cause}")]
    Authorities {
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
    /// TLS itself.
    #[error("cannot set TLS up: {0}")]
    Tls(#[from] rustls::Error),
}

/// TLS towards whoever has a certificate of one of the authorities in a PEM file.
pub(crate) fn connector(authorities: &Path) -> Result<TlsConnector, StartError> {
    let failed = |cause: String| StartError::Authorities { path: authorities.display().to_string(), cause };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(authorities).map_err(|error| failed(error.to_string()))?;
    for certificate in certificates {
        // One that is broken or of an unknown kind does not keep the others from being trusted.
        let _ = roots.add(certificate.map_err(|error| failed(error.to_string()))?);
    }
    if roots.is_empty() {
        return Err(failed("it has no certificate".to_owned()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Makes attempts.
pub struct Sender {
    tls: TlsConnector,
}

/// TCP, or TLS over it.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

impl Sender {
    /// Trusts receivers with a certificate of one of the authorities in a PEM file.
    ///
    /// # Errors
    /// If the file cannot be read or has no certificate.
    pub fn new(authorities: &Path) -> Result<Self, StartError> {
        Ok(Self { tls: connector(authorities)? })
    }

    /// Sends a delivery once. Whatever answers with 2xx has taken it; redirections are not followed, since they lead elsewhere.
    ///
    /// # Errors
    /// Why the receiver has not taken it, in words for whoever owns the webhook.
    pub async fn attempt(&self, outgoing: &Outgoing) -> Result<(), String> {
        let result = match tokio::time::timeout(PATIENCE, self.exchange(outgoing)).await {
            Ok(result) => result,
            Err(_) => Err(Failed::Unreached(format!("no answer within {} s", PATIENCE.as_secs()))),
        };
        result.map_err(|failed| match failed {
            Failed::Told(error) => error,
            Failed::Unreached(error) if outgoing.owner == WebhookOwner::Operator => error,
            Failed::Unreached(error) => {
                tracing::debug!(webhook = %outgoing.webhook, error, "a webhook's receiver was not reached");
                UNREACHED.to_owned()
            }
        })
    }

    async fn exchange(&self, outgoing: &Outgoing) -> Result<(), Failed> {
        let socket = self.connect(outgoing).await?;
        let said = |error: hyper::Error| Failed::Unreached(format!("HTTP: {error}"));
        let (mut requests, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(said)?;
        let connection = tokio::spawn(connection);
        let target = &outgoing.target;
        let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
        let request = Request::builder()
            .method(Method::POST)
            .uri(&target.path)
            .header("host", format!("{host}:{}", target.port))
            .header("content-type", "application/json")
            .header("user-agent", concat!("causeway/", env!("CARGO_PKG_VERSION")))
            .header("causeway-delivery", outgoing.id.to_string())
            .header("causeway-signature", &outgoing.signature)
            .body(Full::new(Bytes::from(outgoing.body.clone())))
            .map_err(|error| Failed::Told(error.to_string()))?;
        let answer = requests.send_request(request).await.map_err(said);
        // What else it says is not read.
        connection.abort();
        let status = answer?.status();
        if status.is_success() {
            return Ok(());
        }
        let redirected = if status.is_redirection() { "; redirections are not followed" } else { "" };
        Err(Failed::Told(format!("status {}{redirected}", status.as_u16())))
    }

    async fn connect(&self, outgoing: &Outgoing) -> Result<Box<dyn Socket>, Failed> {
        let target = &outgoing.target;
        let resolved = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let resolved = resolved.map_err(|error| Failed::Told(format!("the name does not resolve: {error}")))?;
        // The very addresses that were judged are connected to: a second look at the name could say something else.
        let rules = &outgoing.rules;
        let may = |address: IpAddr| rules.allow(address) && (rules.name(address) || !is_own(address));
        let allowed: Vec<SocketAddr> = resolved.filter(|address| may(address.ip())).take(ADDRESSES).collect();
        let mut failure = Failed::Told(
            "it resolves to no address that webhooks may lead to; an operator can allow its network".to_owned(),
        );
        for address in allowed {
            match TcpStream::connect(address).await {
                Ok(socket) => {
                    let wrapped = self.wrap(outgoing, socket).await;
                    return wrapped.map_err(|error| Failed::Unreached(format!("TLS: {error}")));
                }
                Err(error) => failure = Failed::Unreached(format!("{address}: {error}")),
            }
        }
        Err(failure)
    }

    async fn wrap(&self, outgoing: &Outgoing, socket: TcpStream) -> io::Result<Box<dyn Socket>> {
        if !outgoing.target.https {
            return Ok(Box::new(socket));
        }
        let name = ServerName::try_from(outgoing.target.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(self.tls.connect(name, socket).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_knows_its_own_addresses() {
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        // TEST-NET-1 (RFC 5737).
        assert!(!is_own(Ipv4Addr::new(192, 0, 2, 77).into()));
    }
}
