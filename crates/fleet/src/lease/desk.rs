//! A node's vote: the [`Ballot`] with its file.

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

use causeway_model::{MachineId, NodeId};

use super::{Ask, Ballot, Fence, Fenced, Kept, Promise, Voter};
use crate::identity::write_private;

/// The file in the node's directory: what it has promised and fenced, JSON.
const FILE: &str = "votes.json";

/// Why a node cannot vote.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The file cannot be read.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file says something else.
    #[error(
        "{path} is damaged, and without it this node does not know which nodes are being replaced; revoke the node, and join with a new token"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it stops being one.
        #[source]
        source: serde_json::Error,
    },
}

/// A node's vote. What it has to remember is on its disk before anybody hears of it.
#[derive(Debug)]
pub struct Desk {
    ballot: Ballot,
    began: Instant,
    path: PathBuf,
    written: Kept,
    /// The last write failed; said once.
    broken: bool,
}

impl Desk {
    /// The vote of the node whose directory this is, on this machine. A process that begins may have promised anything before.
    ///
    /// # Errors
    /// If what the directory has cannot be read.
    pub fn open(directory: &Path, (me, machine): (NodeId, MachineId)) -> Result<Self, DeskError> {
        let path = directory.join(FILE);
        let kept: Kept = match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|source| DeskError::Damaged { path: path.clone(), source })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(source) => return Err(DeskError::Io { path, source }),
        };
        let ballot = Ballot::new((Voter::Node(me), Some(machine)), kept.clone(), std::time::Duration::ZERO);
        Ok(Self { ballot, began: Instant::now(), path, written: kept, broken: false })
    }

    /// Answers a node that has proven that it is [`Ask::holder`], to this node or to the controller, which has passed its question on.
    pub fn ask(&mut self, ask: &Ask) -> Option<Promise> {
        let promise = self.ballot.ask(ask, self.began.elapsed())?;
        self.write().then_some(promise)
    }

    /// Answers the controller; `None`: not yet.
    pub fn fence(&mut self, fence: &Fence) -> Option<Fenced> {
        self.ballot.raise(fence);
        if !self.write() {
            return None;
        }
        self.ballot.fenced(fence, self.began.elapsed()).ok()
    }

    /// Whether the disk has what the ballot has.
    fn write(&mut self) -> bool {
        if self.written == *self.ballot.kept() {
            return true;
        }
        let kept = self.ballot.kept().clone();
        let done =
            serde_json::to_vec(&kept).map_err(io::Error::other).and_then(|text| write_private(&self.path, &text));
        match done {
            Ok(()) => {
                self.written = kept;
                self.broken = false;
            }
            Err(error) if !self.broken => {
                tracing::error!(%error, path = %self.path.display(), "this node has no vote: what it promises cannot be written");
                self.broken = true;
            }
            Err(_) => {}
        }
        !self.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FENCED: u64 = 4;

    fn someone() -> (NodeId, MachineId) {
        (NodeId::random(), MachineId::random())
    }

    fn ask(holder: NodeId, epoch: u64) -> Ask {
        Ask { holder, epoch, boot: 1, number: 1, lease_ms: 1 }
    }

    /// Asks until the promises of before have run out.
    fn fenced(desk: &mut Desk, fence: &Fence) -> Fenced {
        for _ in 0..3000 {
            if let Some(fenced) = desk.fence(fence) {
                return fenced;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("never fenced");
    }

    #[test]
    fn what_was_fenced_and_promised_is_known_after_a_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let (me, holder) = (someone(), NodeId::random());
        let mut desk = Desk::open(directory.path(), me).expect("opens");
        let question = ask(holder, FENCED - 1);
        let promise = Promise { ask: question, voter: Voter::Node(me.0), machine: Some(me.1) };
        assert_eq!(desk.ask(&question), Some(promise));
        let fence = Fence { holder, epoch: FENCED };
        assert_eq!(fenced(&mut desk, &fence), Fenced { fence, voter: Voter::Node(me.0) });
        assert!(desk.ask(&ask(holder, FENCED - 1)).is_none());
        assert!(desk.ask(&Ask { lease_ms: 600_000, ..ask(holder, FENCED) }).is_some());
        drop(desk);
        let mut desk = Desk::open(directory.path(), me).expect("opens");
        assert!(desk.ask(&ask(holder, FENCED - 1)).is_none(), "the fence is on disk");
        assert!(desk.ask(&ask(holder, FENCED)).is_some());
        let next = Fence { holder, epoch: FENCED + 1 };
        assert!(desk.fence(&next).is_none(), "the process before has promised ten minutes");
    }

    #[test]
    fn without_its_file_nothing_is_answered() {
        let directory = tempfile::tempdir().expect("a directory");
        let (me, holder) = (someone(), NodeId::random());
        let gone = directory.path().join("gone");
        fs::create_dir(&gone).expect("made");
        let mut desk = Desk::open(&gone, me).expect("opens");
        fs::remove_dir(&gone).expect("removed");
        let fence = Fence { holder, epoch: FENCED };
        assert!(desk.ask(&ask(holder, 1)).is_none());
        assert!(desk.fence(&fence).is_none());
        fs::create_dir(&gone).expect("made");
        fenced(&mut desk, &fence);
        fs::write(gone.join(FILE), b"{}").expect("written");
        assert!(matches!(Desk::open(&gone, me), Err(DeskError::Damaged { .. })));
    }
}
