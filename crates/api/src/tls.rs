//! TLS: the certificate from files, or one of our own making, and the rules of the handshake.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is not a PEM file with {expected}: {detail}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// What the parser said.
        detail: String,
    },
    /// The key is not the certificate's, or of a kind that is not supported.
    #[error("the certificate and its key cannot be used")]
    Unusable(#[source] rustls::Error),
    /// A self-signed certificate could not be made.
    #[error("cannot make a certificate")]
    Generate(#[source] rcgen::Error),
}

/// How the listener proves who it is. TLS 1.2 and 1.3; HTTP/2 and HTTP/1.1, as the client prefers. While it is served, the files are
/// looked at now and then: a renewed certificate is used for new connections, without a restart.
#[derive(Clone)]
pub struct TlsConfig {
    pub(crate) config: Arc<ServerConfig>,
    identity: Arc<Identity>,
}

/// The certificate and the key that are in use, and the files that they come from.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

/// What the two files hold.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl TlsConfig {
    /// The certificate chain (the server's own first) and its key, both in PEM.
    ///
    /// # Errors
    /// A file cannot be read, is not PEM, or the two do not belong together.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = Files::read(certificate, key)?.certified(certificate, key)?;
        let identity = Arc::new(Identity {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(Arc::new(current)),
        });
        // The provider is named, so that no other part of the process decides it.
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), identity })
    }

    /// Looks at the files every `interval` and uses what they hold, for ever. Files that cannot be used leave everything as it is; that is
    /// logged once for each state of them.
    pub(crate) async fn follow_files(self, interval: Duration) {
        let mut known = None;
        loop {
            let identity = Arc::clone(&self.identity);
            let look = tokio::task::spawn_blocking(move || {
                let seen = Files::read(&identity.certificate, &identity.key).map_err(|error| error.to_string());
                if known.as_ref() != Some(&seen) {
                    identity.renew(&seen, known.is_some());
                }
                Some(seen)
            });
            known = look.await.unwrap_or_default();
            tokio::time::sleep(interval).await;
        }
    }

    /// The files `tls-certificate.pem` and `tls-key.pem` of `directory`. If both are missing they are made: a self-signed certificate for
    /// `names` (host names and addresses), which clients have to be told to trust. Returns the certificate's path and whether it is new.
    ///
    /// # Errors
    /// As [`Self::from_files`]; also if the directory cannot be written.
    pub fn self_signed(directory: &Path, names: &[String]) -> Result<(Self, PathBuf, bool), TlsError> {
        let (certificate, key) = (directory.join("tls-certificate.pem"), directory.join("tls-key.pem"));
        let made = !certificate.exists() && !key.exists();
        if made {
            let (chain, private) = generate(names).map_err(TlsError::Generate)?;
            write(&key, private.as_bytes(), 0o600)?;
            write(&certificate, chain.as_bytes(), 0o644)?;
        }
        Ok((Self::from_files(&certificate, &key)?, certificate, made))
    }
}

impl Files {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { certificate: read(certificate)?, key: Zeroizing::new(read(key)?) })
    }

    /// The chain and its key, if they belong together.
    fn certified(&self, certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
        let expected = "at least one certificate";
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| pem(certificate, expected, &error))?;
        if chain.is_empty() {
            return Err(pem(certificate, expected, &"there is none"));
        }
        let private = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| pem(key, "a private key", &error))?;
        CertifiedKey::from_der(chain, private, &default_provider()).map_err(TlsError::Unusable)
    }
}

impl Identity {
    /// Uses what the files hold. `is_change`: they held something else before.
    fn renew(&self, files: &Result<Files, String>, is_change: bool) {
        let certified = match files {
            Ok(files) => files.certified(&self.certificate, &self.key).map_err(|error| with_cause(&error)),
            Err(error) => Err(error.clone()),
        };
        match certified {
            Ok(certified) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
                if is_change {
                    tracing::info!(certificate = %self.certificate.display(), "new connections get the renewed certificate");
                }
            }
            Err(error) => {
                let certificate = self.certificate.display();
                tracing::warn!(%certificate, error, "the certificate's files changed and cannot be used; the one before stays in use");
            }
        }
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

// Keys are not printed.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

fn with_cause(error: &TlsError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// A certificate that is its own authority, and its key, in PEM.
fn generate(names: &[String]) -> Result<(String, Zeroizing<String>), rcgen::Error> {
    // An unspecified address is no name that a client could use.
    let usable = |name: &&String| name.parse().map_or(true, |address: IpAddr| !address.is_unspecified());
    let mut alternatives: Vec<String> = names.iter().filter(usable).cloned().collect();
    if !alternatives.iter().any(|name| name == "localhost") {
        alternatives.push("localhost".to_owned());
    }
    let mut params = CertificateParams::new(alternatives)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "Causeway, self-signed");
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Io { path: path.to_owned(), source })
}

fn write(path: &Path, text: &[u8], mode: u32) -> Result<(), TlsError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .map_err(|source| TlsError::Io { path: path.to_owned(), source })
}

fn pem(path: &Path, expected: &'static str, detail: &dyn ToString) -> TlsError {
    TlsError::Pem { path: path.to_owned(), expected, detail: detail.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_nobody_elses() {
        let directory = tempfile::tempdir().expect("a directory");
        let names = ["0.0.0.0".to_owned(), "192.0.2.1".to_owned()];
        let (_, path, made) = TlsConfig::self_signed(directory.path(), &names).expect("a certificate");
        assert!(made);
        let first = std::fs::read(&path).expect("a file");
        let (_, _, made) = TlsConfig::self_signed(directory.path(), &names).expect("the same");
        assert!(!made);
        assert_eq!(std::fs::read(&path).expect("a file"), first);
        let key = std::fs::metadata(directory.path().join("tls-key.pem")).expect("a file");
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let (_, certificate, _) = TlsConfig::self_signed(directory.path(), &[]).expect("a certificate");
        let key = directory.path().join("tls-key.pem");
        let error = |certificate: &Path, key: &Path| TlsConfig::from_files(certificate, key).err().expect("an error");
        assert!(matches!(error(&directory.path().join("none"), &key), TlsError::Io { .. }));
        assert!(error(&key, &key).to_string().contains("tls-key.pem is not a PEM file with at least one certificate"));
        assert!(error(&certificate, &certificate).to_string().contains("a private key"));
        let other = tempfile::tempdir().expect("a directory");
        TlsConfig::self_signed(other.path(), &[]).expect("another certificate");
        assert!(matches!(error(&certificate, &other.path().join("tls-key.pem")), TlsError::Unusable(_)));
    }
}
