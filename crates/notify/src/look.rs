//! Asks an HTTP endpoint of the operator's own. It is named in the configuration, so that no rule says where it may be.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::send::{Socket, StartError, connector};

/// How long an answer may take from the look at the name to its last octet.
const PATIENCE: Duration = Duration::from_secs(10);

/// Octets of an answer; none is expected to have more than a word.
const LONGEST: usize = 1024;

/// Why nothing was learned. The address itself is not in the text: it may hold a token.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// It is no address that can be asked.
    #[error("it is no http or https address of a host")]
    Address,
    /// It is an https address, and nobody's certificates are trusted.
    #[error("there are no certificate authorities to trust")]
    Authorities,
    /// It could not be reached, or said nothing sensible.
    #[error("{0}")]
    Exchange(String),
    /// It answered with a status other than 200.
    #[error("status {0}")]
    Status(u16),
    /// No answer.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
}

/// Asks endpoints over TLS, or in plain HTTP where the address says so.
pub struct Looker {
    tls: Option<TlsConnector>,
}

impl Looker {
    /// Trusts endpoints with a certificate of one of the authorities in a PEM file.
    ///
    /// # Errors
    /// If the file cannot be read or has no certificate.
    pub fn new(authorities: &Path) -> Result<Self, StartError> {
        Ok(Self { tls: Some(connector(authorities)?) })
    }

    /// Asks in plain HTTP only.
    #[must_use]
    pub const fn plain() -> Self {
        Self { tls: None }
    }

    /// What a GET of an address answers with status 200: at most 1,024 octets. Redirections are not followed.
    ///
    /// # Errors
    /// Why there is no such answer.
    pub async fn get(&self, address: &Uri) -> Result<Bytes, LookError> {
        tokio::time::timeout(PATIENCE, self.exchange(address)).await.unwrap_or(Err(LookError::Late))
    }

    async fn exchange(&self, address: &Uri) -> Result<Bytes, LookError> {
        let said = |error: &dyn std::fmt::Display| LookError::Exchange(error.to_string());
        let https = match address.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(LookError::Address),
        };
        let authority = address.authority().ok_or(LookError::Address)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        let socket = TcpStream::connect((host, port)).await.map_err(|error| said(&error))?;
        let socket: Box<dyn Socket> = if https {
            let name = ServerName::try_from(host.to_owned()).map_err(|_| LookError::Address)?;
            let tls = self.tls.as_ref().ok_or(LookError::Authorities)?;
            Box::new(tls.connect(name, socket).await.map_err(|error| said(&format_args!("TLS: {error}")))?)
        } else {
            Box::new(socket)
        };
        let (mut requests, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(|error| said(&error))?;
        let connection = tokio::spawn(connection);
        let request = Request::get(address.path_and_query().map_or("/", |path| path.as_str()))
            .header("host", format!("{}:{port}", authority.host()))
            .header("user-agent", concat!("causeway/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|_| LookError::Address)?;
        let body = match requests.send_request(request).await {
            Ok(answer) if answer.status() == 200 => {
                let body = Limited::new(answer.into_body(), LONGEST).collect().await;
                body.map(http_body_util::Collected::to_bytes).map_err(|error| LookError::Exchange(error.to_string()))
            }
            Ok(answer) => Err(LookError::Status(answer.status().as_u16())),
            Err(error) => Err(said(&error)),
        };
        connection.abort();
        body
    }
}
