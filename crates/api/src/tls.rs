//! TLS: the certificate from files, or one of our own making, and the rules of the handshake.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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

/// How the listener proves who it is. TLS 1.2 and 1.3; HTTP/2 and HTTP/1.1, as the client prefers.
#[derive(Clone)]
pub struct TlsConfig(pub(crate) Arc<ServerConfig>);

impl TlsConfig {
    /// The certificate chain (the server's own first) and its key, both in PEM.
    ///
    /// # Errors
    /// A file cannot be read, is not PEM, or the two do not belong together.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let expected = "at least one certificate";
        let text = read(certificate)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| pem(certificate, expected, &error))?;
        if chain.is_empty() {
            return Err(pem(certificate, expected, &"there is none"));
        }
        let text = zeroize::Zeroizing::new(read(key)?);
        let private = PrivateKeyDer::from_pem_slice(&text).map_err(|error| pem(key, "a private key", &error))?;
        Self::new(chain, private)
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

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        // The provider is named, so that no other part of the process decides it.
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// A certificate that is its own authority, and its key, in PEM.
fn generate(names: &[String]) -> Result<(String, zeroize::Zeroizing<String>), rcgen::Error> {
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
    Ok((certificate.pem(), zeroize::Zeroizing::new(key.serialize_pem())))
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
