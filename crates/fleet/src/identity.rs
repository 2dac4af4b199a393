//! Who a node is, in its directory: one file with its id, its controller and its certificate, and the key that its secrets are encrypted
//! under. Both are for their owner alone (mode 0600) and written whole or not at all.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use causeway_crypto::{Kek, SystemEntropy};
use causeway_model::NodeId;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::authority::Credentials;

const FILE: &str = "identity.json";
const KEY: &str = "state.key";

/// Why a directory is no node's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nobody has joined from here.
    #[error("{path} is not there; `causeway node join` makes it")]
    NotJoined {
        /// The file.
        path: PathBuf,
    },
    /// Something else.
    #[error("{path} does not hold what it should; join again with a new token")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// What `causeway node join` leaves behind.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Identity {
    /// Who it is.
    #[zeroize(skip)]
    pub node: NodeId,
    /// Its zone.
    #[zeroize(skip)]
    pub zone: String,
    /// The controller's node listener: `https://HOST[:PORT]`.
    #[zeroize(skip)]
    pub url: String,
    /// The controller's authority, PEM.
    #[zeroize(skip)]
    pub authority: String,
    /// Its certificate, PEM.
    #[zeroize(skip)]
    pub certificate: String,
    /// The certificate's key, PEM.
    key: String,
    /// When half of the certificate's life is over, seconds since the epoch.
    #[zeroize(skip)]
    pub renew_at: u64,
}

impl Identity {
    /// A new one.
    #[must_use]
    pub fn new(node: NodeId, zone: String, url: String, authority: String, renew_at: u64) -> Self {
        Self { node, zone, url, authority, certificate: String::new(), key: String::new(), renew_at }
    }

    /// With this certificate and key.
    pub fn set_credentials(&mut self, credentials: &Credentials) {
        self.certificate.clone_from(&credentials.certificate);
        self.key.zeroize();
        self.key = credentials.key.as_str().to_owned();
    }

    /// Its certificate and key.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials { certificate: self.certificate.clone(), key: Zeroizing::new(self.key.clone()) }
    }

    /// Reads the identity of a directory.
    ///
    /// # Errors
    /// If there is none.
    pub fn load(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(IdentityError::NotJoined { path }),
            Err(source) => return Err(IdentityError::Io { path, source }),
        };
        serde_json::from_slice(&text).map_err(|_| IdentityError::Damaged { path })
    }

    /// Writes it.
    ///
    /// # Errors
    /// If the disk refuses; then an earlier one stays.
    pub fn save(&self, directory: &Path) -> Result<(), IdentityError> {
        let path = directory.join(FILE);
        let io = |source| IdentityError::Io { path: path.clone(), source };
        let text = Zeroizing::new(serde_json::to_vec(self).map_err(io::Error::other).map_err(io)?);
        write_private(&path, &text).map_err(io)
    }
}

/// The key that what the node keeps is encrypted under, made when it is first asked for.
///
/// # Errors
/// If the file cannot be read or written, or is no key.
pub fn state_key(directory: &Path) -> Result<Kek, IdentityError> {
    let path = directory.join(KEY);
    match std::fs::read(&path).map(Zeroizing::new) {
        Ok(octets) => match <[u8; 32]>::try_from(octets.as_slice()) {
            Ok(key) => Ok(Kek::new(key)),
            Err(_) => Err(IdentityError::Damaged { path }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let kek = Kek::generate(&mut SystemEntropy::new());
            write_private(&path, kek.expose()).map_err(|source| IdentityError::Io { path, source })?;
            Ok(kek)
        }
        Err(source) => Err(IdentityError::Io { path, source }),
    }
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// If the disk refuses; then an earlier file stays.
pub fn write_private(path: &Path, octets: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    // A leftover of a killed predecessor might have another mode.
    let _ = std::fs::remove_file(&temporary);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    let written =
        file.write_all(octets).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // Half a file takes the room that somebody else may need.
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    // The rename itself is durable with its directory.
    match path.parent() {
        Some(parent) => std::fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_identity_is_for_its_owner_alone_and_comes_back() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(matches!(Identity::load(directory.path()), Err(IdentityError::NotJoined { .. })));
        let mut identity =
            Identity::new(NodeId::random(), "fr-par-1".to_owned(), "https://a".to_owned(), "CA".to_owned(), 7);
        identity.set_credentials(&Credentials { certificate: "C".to_owned(), key: Zeroizing::new("K".to_owned()) });
        identity.save(directory.path()).expect("written");
        let read = Identity::load(directory.path()).expect("there");
        assert_eq!((read.node, read.credentials().key.as_str()), (identity.node, "K"));
        let mode =
            |name: &str| std::fs::metadata(directory.path().join(name)).expect("a file").permissions().mode() & 0o777;
        let first = state_key(directory.path()).expect("made");
        assert_eq!(first.id(), state_key(directory.path()).expect("read").id());
        assert_eq!((mode(FILE), mode(KEY)), (0o600, 0o600));
        std::fs::write(directory.path().join(FILE), b"{}").expect("written");
        assert!(matches!(Identity::load(directory.path()), Err(IdentityError::Damaged { .. })));
    }
}
