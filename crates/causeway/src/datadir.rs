//! The data directory: one process at a time, the master key, the node's id, and the operator's environment file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use causeway_controller::Bootstrap;
use causeway_crypto::{Kek, SystemEntropy};
use causeway_model::NodeId;
use zeroize::Zeroizing;

use crate::config::Config;

/// The key that secrets are encrypted under.
const MASTER_KEY: &str = "master.key";
/// The one that replaces it, while that is being done.
const NEXT_KEY: &str = "master.key.next";

/// So long a lock that is held is waited for. A program that a process was about to start when it was killed holds that one's lock until it has
/// begun, and whoever supervises the process may start the next one before that.
const PATIENCE: Duration = Duration::from_secs(3);

/// The directory, held by this process alone.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Takes the lock of the directory at `path`, which ends with this process.
fn take(lock: &File, path: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => bail!("{} is in use by another causeway process", path.display()),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
}

impl DataDir {
    /// Makes the directory (mode 0700) if there is none, and takes its lock.
    ///
    /// # Errors
    /// It cannot be made, or another process holds it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .with_context(|| format!("cannot make the data directory {}", path.display()))?;
        }
        let path = path.canonicalize().with_context(|| format!("data directory {}", path.display()))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .with_context(|| format!("cannot open {}", lock_path.display()))?;
        take(&lock, &path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The key that secrets are encrypted under, made at the first start.
    ///
    /// # Errors
    /// The file is readable by others, damaged, or missing beside a database that needs it.
    pub(crate) fn master_key(&self, database: &Path) -> anyhow::Result<Kek> {
        let path = self.path.join(MASTER_KEY);
        if !path.exists() {
            if database.exists() {
                bail!(
                    "{} is missing, but the database's secrets are encrypted under it; restore it from the backup",
                    path.display()
                );
            }
            let kek = Kek::generate(&mut SystemEntropy::new());
            write_private(&path, kek.expose())?;
            return Ok(kek);
        }
        read_key(&path)
    }

    /// The key of the database, which says that its secrets are encrypted under `wanted` (`None`: the key never changed). That is `kek`,
    /// or the next one where a change of the key was interrupted after it was committed; an uncommitted next one is thrown away.
    ///
    /// # Errors
    /// None of the files holds the key, or they cannot be read or written.
    pub(crate) fn settled_key(&self, kek: Kek, wanted: Option<u32>) -> anyhow::Result<Kek> {
        let (path, next_path) = (self.path.join(MASTER_KEY), self.path.join(NEXT_KEY));
        let mut current = kek;
        if next_path.exists() {
            let next = read_key(&next_path)?;
            if wanted == Some(next.id()) {
                self.adopt_next_key()?;
                current = next;
            } else {
                std::fs::remove_file(&next_path).with_context(|| format!("cannot remove {}", next_path.display()))?;
            }
        }
        if let Some(wanted) = wanted.filter(|wanted| *wanted != current.id()) {
            bail!(
                "{} is not the key ({wanted:08x}) that the database's secrets are encrypted under; restore both from the same backup",
                path.display()
            );
        }
        Ok(current)
    }

    /// Makes the key that is to replace the current one, in a file of its own.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn next_key(&self) -> anyhow::Result<Kek> {
        let kek = Kek::generate(&mut SystemEntropy::new());
        write_private(&self.path.join(NEXT_KEY), kek.expose())?;
        self.sync()?;
        Ok(kek)
    }

    /// Puts the next key in the place of the current one.
    ///
    /// # Errors
    /// The file cannot be renamed.
    pub(crate) fn adopt_next_key(&self) -> anyhow::Result<()> {
        let path = self.path.join(MASTER_KEY);
        std::fs::rename(self.path.join(NEXT_KEY), &path)
            .with_context(|| format!("cannot replace {}", path.display()))?;
        self.sync()
    }

    /// Makes what files the directory has durable.
    fn sync(&self) -> anyhow::Result<()> {
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// The node's id, the same after every restart.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else.
    pub(crate) fn node_id(&self) -> anyhow::Result<NodeId> {
        let dir = self.path.join("node");
        std::fs::create_dir_all(&dir)?;
        let path = dir.join("id");
        if path.exists() {
            let text = std::fs::read_to_string(&path)?;
            return NodeId::from_str(text.trim()).with_context(|| format!("{} holds no node id", path.display()));
        }
        let id = NodeId::random();
        write_private(&path, format!("{id}\n").as_bytes())?;
        Ok(id)
    }

    /// Where clients find the operator's key.
    pub(crate) fn environment_file(&self) -> PathBuf {
        self.path.join("operator.env")
    }

    /// Writes `operator.env` at the first start, and corrects its URL when the listener has changed. Returns its path if it is there: it may
    /// have been deleted, or not been restored with the database.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub(crate) fn write_environment(
        &self,
        url: &str,
        config: &Config,
        bootstrap: Option<&Bootstrap>,
    ) -> anyhow::Result<Option<PathBuf>> {
        let path = self.environment_file();
        let url = format!("export SCW_API_URL={url}");
        if let Some(bootstrap) = bootstrap {
            let zone = config.node_zone();
            let text = Zeroizing::new(format!(
                "{url}\nexport SCW_ACCESS_KEY={}\nexport SCW_SECRET_KEY={}\nexport SCW_DEFAULT_ORGANIZATION_ID={}\n\
                 export SCW_DEFAULT_PROJECT_ID={}\nexport SCW_DEFAULT_REGION={}\nexport SCW_DEFAULT_ZONE={zone}\n",
                bootstrap.access_key,
                bootstrap.secret_key.as_str(),
                bootstrap.organization_id,
                bootstrap.project_id,
                config.region,
            ));
            write_private(&path, text.as_bytes())?;
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let text = Zeroizing::new(text);
            let corrected: Vec<&str> = text
                .lines()
                .map(|line| if line.starts_with("export SCW_API_URL=") { url.as_str() } else { line })
                .collect();
            let corrected = Zeroizing::new(corrected.join("\n") + "\n");
            if *corrected != *text {
                write_private(&path, corrected.as_bytes())?;
            }
        } else {
            return Ok(None);
        }
        Ok(Some(path))
    }
}

/// The 32 octets of a key file that nobody else can read.
fn read_key(path: &Path) -> anyhow::Result<Kek> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{} can be read by others (mode {:o}); run: chmod 600 {}", path.display(), mode & 0o777, path.display());
    }
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)?.read_to_end(&mut bytes)?;
    let key: [u8; 32] =
        bytes.as_slice().try_into().with_context(|| format!("{} must have exactly 32 octets", path.display()))?;
    Ok(Kek::new(key))
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    causeway_fleet::identity::write_private(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_goes_in_a_moment_is_waited_for_and_another_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = DataDir::open(directory.path()).expect("the first one");
        let refused = DataDir::open(directory.path()).map(drop).expect_err("held by the first one");
        assert!(refused.to_string().contains("in use by another causeway process"), "{refused}");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| DataDir::open(directory.path()).map(drop));
            std::thread::sleep(Duration::from_millis(100));
            drop(first);
            second.join().expect("it ends").expect("the lock was let go");
        });
    }
}
