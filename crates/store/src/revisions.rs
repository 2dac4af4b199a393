//! The newest revision of each node's desired state in memory, so that whoever serves a node sleeps through all changes of other nodes.
//!
//! As the index of lists, it is brought up to date with every commit: SQLite says which rows a transaction touched, and what they say is
//! told right after the commit, before anybody learns that it is done.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use causeway_model::NodeId;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use tokio::sync::watch;

use crate::Result;
use crate::row::{RowExt, to_json};

/// The table whose changes are noted.
pub(crate) const TABLE: &str = "node";

/// What the last commit has left.
#[derive(Debug, Default)]
pub(crate) struct Revisions(Mutex<BTreeMap<NodeId, watch::Sender<u64>>>);

impl Revisions {
    /// Enters what was read.
    pub(crate) fn apply(&self, revisions: Vec<(NodeId, u64)>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (node, revision) in revisions {
            known.entry(node).or_default().send_if_modified(|newest| std::mem::replace(newest, revision) != revision);
        }
    }

    /// The newest revision of a node's desired state, and each later one; 0: the node is not known.
    pub(crate) fn follow(&self, node: NodeId) -> watch::Receiver<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(node).or_default().subscribe()
    }
}

fn revision(row: &SqliteRow) -> Result<(NodeId, u64)> {
    Ok((row.id("id")?, row.number("revision")?))
}

/// Those of all nodes.
pub(crate) async fn read_all(connection: &mut SqliteConnection) -> Result<Vec<(NodeId, u64)>> {
    sqlx::query("SELECT id, revision FROM node").fetch_all(connection).await?.iter().map(revision).collect()
}

/// Those in these rows.
pub(crate) async fn read(connection: &mut SqliteConnection, seqs: &[i64]) -> Result<Vec<(NodeId, u64)>> {
    let sql = "SELECT id, revision FROM node WHERE seq IN (SELECT value FROM json_each(?))";
    sqlx::query(sql).bind(to_json(&seqs)).fetch_all(connection).await?.iter().map(revision).collect()
}
