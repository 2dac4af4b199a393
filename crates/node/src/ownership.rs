//! What this node made in the kernel, on disk before it is made, so that a start after a kill removes exactly that and nothing else.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A thing in the kernel that outlives a killed process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Thing {
    /// A network namespace, by name.
    Namespace(String),
    /// A bridge in the node's own namespace.
    Bridge(String),
    /// A public address on an interface of the node's own namespace.
    Address {
        /// The interface.
        interface: String,
        /// The address.
        address: IpNet,
    },
    /// An interface of the operator's that is a port of a bridge of ours.
    Port {
        /// The interface.
        interface: String,
        /// The bridge.
        bridge: String,
    },
}

/// The list. Every change is on disk before the kernel changes.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    things: BTreeSet<Thing>,
    /// What the file says: while it cannot be written that may be more.
    written: BTreeSet<Thing>,
}

impl Ledger {
    /// Opens the ledger of `dir`, empty if there is none.
    ///
    /// # Errors
    /// The file exists but cannot be read.
    pub(crate) fn open(dir: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join("kernel.json");
        let things: BTreeSet<Thing> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(std::io::Error::other)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, written: things.clone(), things })
    }

    /// Everything on the list.
    pub(crate) fn things(&self) -> impl Iterator<Item = &Thing> {
        self.things.iter()
    }

    /// Puts `thing` on the list; call it before making the thing. What the file names already is made again while the disk is full: a node that
    /// was killed starts on it.
    ///
    /// # Errors
    /// The disk cannot be written: the thing must not be made.
    pub(crate) fn add(&mut self, thing: Thing) -> std::io::Result<()> {
        if self.things.insert(thing.clone()) && !self.written.contains(&thing) {
            self.write().inspect_err(|_| {
                self.things.remove(&thing);
            })?;
        }
        Ok(())
    }

    /// Takes `thing` off the list; call it after the thing is gone.
    ///
    /// # Errors
    /// The disk cannot be written; the list then names a thing that is gone, which does no harm.
    pub(crate) fn remove(&mut self, thing: &Thing) -> std::io::Result<()> {
        if self.things.remove(thing) { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> std::io::Result<()> {
        let bytes = serde_json::to_vec(&self.things).map_err(std::io::Error::other)?;
        let temporary = self.path.with_extension("new");
        let write = || {
            let mut file = std::fs::File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &self.path)
        };
        write().inspect_err(|_| {
            // Half a file takes the room that somebody else may need.
            let _ = std::fs::remove_file(&temporary);
        })?;
        self.written.clone_from(&self.things);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_survives_and_forgets() {
        let dir = std::env::temp_dir().join(format!("causeway-ledger-{}", std::process::id()));
        let namespace = Thing::Namespace("cwg-12345678".to_owned());
        let bridge = Thing::Bridge("cwbr-12345678".to_owned());
        let mut ledger = Ledger::open(&dir).expect("opens");
        ledger.add(namespace.clone()).expect("written");
        ledger.add(bridge.clone()).expect("written");
        ledger.remove(&namespace).expect("written");
        let again = Ledger::open(&dir).expect("opens");
        assert_eq!(again.things().collect::<Vec<_>>(), vec![&bridge]);
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    #[test]
    fn what_the_list_names_is_made_again_on_a_disk_that_takes_nothing() {
        let dir = std::env::temp_dir().join(format!("causeway-ledger-full-{}", std::process::id()));
        let [old, new] = ["cwg-1", "cwg-2"].map(|name| Thing::Namespace(name.to_owned()));
        Ledger::open(&dir).expect("opens").add(old.clone()).expect("written");
        let mut ledger = Ledger::open(&dir).expect("opens");
        // Nothing can be written where a directory is in the way, whoever asks.
        std::fs::create_dir(dir.join("kernel.new")).expect("made");
        ledger.remove(&old).expect_err("not written");
        ledger.add(old.clone()).expect("the file names it");
        ledger.add(new.clone()).expect_err("the file does not");
        assert_eq!(ledger.things().collect::<Vec<_>>(), vec![&old]);
        std::fs::remove_dir(dir.join("kernel.new")).expect("removed");
        ledger.add(new.clone()).expect("written");
        assert_eq!(Ledger::open(&dir).expect("opens").things().collect::<Vec<_>>(), vec![&old, &new]);
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
