//! TLS of the node channel, in both directions, and what its failures mean.

use std::io;
use std::sync::Arc;

use causeway_crypto::constant_time_eq;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs::default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::authority::{Authority, Credentials, fingerprint};

/// What one end trusts and shows when it dials.
pub type Trust = Arc<ClientConfig>;

/// TLS cannot be set up with what is at hand.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Text that is no PEM, or a key that is not the certificate's.
    #[error("{what}: {detail}")]
    Unusable {
        /// What was looked at.
        what: &'static str,
        /// What the library said.
        detail: String,
    },
}

fn unusable<E: ToString>(what: &'static str) -> impl Fn(E) -> TlsError {
    move |error| TlsError::Unusable { what, detail: error.to_string() }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn chain_and_key(
    credentials: &Credentials,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = CertificateDer::pem_slice_iter(credentials.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(unusable("certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(credentials.key.as_bytes()).map_err(unusable("key of the certificate"))?;
    Ok((chain, key))
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(unusable("authority"))?;
    Ok(Arc::new(roots))
}

/// The controller's side: its certificate with the authority's behind it, and clients that have a certificate of the authority or none
/// (those that join).
///
/// # Errors
/// If the credentials cannot be used.
pub fn server(authority: &Authority, credentials: &Credentials) -> Result<Arc<ServerConfig>, TlsError> {
    let (mut chain, key) = chain_and_key(credentials)?;
    chain.push(authority.certificate().clone());
    let clients = WebPkiClientVerifier::builder_with_provider(roots(authority.certificate())?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(unusable("authority"))?;
    serving(clients, chain, key)
}

fn serving(
    clients: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_client_cert_verifier(clients).with_single_cert(chain, key))
        .map_err(unusable("certificate"))?;
    Ok(Arc::new(config))
}

/// A node's side, once it has joined: it trusts its controller's authority and shows its own certificate.
///
/// # Errors
/// If the credentials cannot be used.
pub fn client(authority: &str, credentials: &Credentials) -> Result<Arc<ClientConfig>, TlsError> {
    let authority = CertificateDer::from_pem_slice(authority.as_bytes()).map_err(unusable("authority"))?;
    let (chain, key) = chain_and_key(credentials)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable("TLS 1.3"))?
        .with_root_certificates(roots(&authority)?)
        .with_client_auth_cert(chain, key)
        .map_err(unusable("certificate"))?;
    Ok(Arc::new(config))
}

/// A node's own listener: its certificate, and clients that have one of its controller's authority.
///
/// # Errors
/// If the credentials cannot be used.
pub fn node(authority: &str, credentials: &Credentials) -> Result<Arc<ServerConfig>, TlsError> {
    let authority = CertificateDer::from_pem_slice(authority.as_bytes()).map_err(unusable("authority"))?;
    let (chain, key) = chain_and_key(credentials)?;
    let clients = WebPkiClientVerifier::builder_with_provider(roots(&authority)?, provider())
        .build()
        .map_err(unusable("authority"))?;
    serving(clients, chain, key)
}

/// A node's side while it joins: it trusts the authority with this fingerprint, if the server presents it.
///
/// # Errors
/// If TLS 1.3 is not to be had.
pub fn joining(trusted: [u8; 32]) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable("TLS 1.3"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { trusted, provider: provider() }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Finds the authority by its fingerprint among what the server presents; everything else is verified as always, with that as root.
#[derive(Debug)]
struct Pinned {
    trusted: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let known = |certificate: &&CertificateDer<'_>| constant_time_eq(&fingerprint(certificate), &self.trusted);
        let authority = intermediates.iter().find(known);
        let authority = authority.ok_or(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a failed handshake, or a connection that broke off right after it, means for whoever runs the node.
#[must_use]
pub fn explain(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let clock = "set this machine's clock (NTP) and compare it with the controller's";
    Some(match error {
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => format!("by this machine's clock the controller's certificate is not valid now ({error}); {clock}"),
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature | CertificateError::NotValidForName,
        ) => "the server is not certified by this node's controller: the URL leads elsewhere, or the controller has \
              another authority than when the token was made; join again with a new token"
            .to_owned(),
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            format!("the controller finds this node's certificate expired; {clock}, or join again with a new token")
        }
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::DecryptError,
        ) => "the controller does not know the authority of this node's certificate; join again with a new token"
            .to_owned(),
        rustls::Error::InvalidMessage(_) => {
            "the server does not speak TLS: the URL has to be that of the controller's node listener".to_owned()
        }
        other => format!("TLS: {other}"),
    })
}
