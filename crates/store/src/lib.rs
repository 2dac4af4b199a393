//! The authority: every object, fact and revision lives here and nowhere else.
//!
//! A use case opens one [`Writer`], reads what it has to check, writes, records what it did ([`Writer::record`]: audit record and
//! outbox event) and commits: all of it or nothing. There is one writer at a time (SQLite has one anyway), so that what was checked
//! still holds at the commit; writers that queue share one sync to disk ([`turn`]). Readers have a snapshot each and never wait.
//! Lists are looked up in an index in memory ([`catalog`]), their objects read from the database.
//! The database enforces uniqueness itself, so that a mistake in a check is an error and not a double booking.
//!
//! Secrets arrive and leave as envelopes: this crate never sees a key.

mod audit;
mod callers;
mod catalog;
mod connection;
mod customer;
mod enrolment;
mod envelope;
mod event;
mod figures;
mod flap;
mod fleet;
mod gateway;
mod gather;
mod identity;
mod interlink;
mod link;
mod list;
mod network;
mod operator;
mod options;
mod organization;
mod owed;
mod premises;
mod revisions;
mod route;
mod router;
mod row;
mod secret;
mod turn;
mod vpc;
mod webhook;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use causeway_model::resource::{Caller, Role};
use causeway_model::{Error, NodeId, ProjectId, Timestamp};
use futures_util::TryStreamExt as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Either, Executor as _, Sqlite, Transaction};
use tokio::sync::watch;

pub use audit::AuditFilter;
pub use connection::{ConnectionRecord, PreviousKey, Tunnel};
pub use enrolment::{JoinTokenRecord, NodeAuthorityRecord, NodeContact};
pub use envelope::EnvelopeOf;
pub use event::ObjectEvent;
pub use figures::{ConnectionFigures, GatewayFigures, LinkFigures};
pub use flap::{EventText, Flap, Topic};
pub use fleet::{ConnectionObserved, GatewayObserved, NodeLease, NodeRecord, NodeVerdict};
pub use gateway::GatewayRecord;
pub use identity::{ApiKey, Pool, Project};
pub use interlink::CatalogueKind;
pub use link::{LinkNode, LinkObserved, LinkOptions, LinkRecord, LinkUnits};
pub use list::{Kind, Scope};
pub use operator::UsageRow;
pub use options::BgpOptions;
pub use organization::Organization;
pub use owed::OwedMark;
pub use premises::{Neighbour, Premises, TakenUnits};
pub use route::NextHopCandidate;
pub use router::{Cable, PlacedGateway, VpcPlace, VpcRouter};
pub use secret::{SecretRecord, StoredVersion};
pub use vpc::{Among, Attachment, VpcConfig, VpcObserved, VpcOwed};
pub use webhook::{DueDelivery, WebhookRecord};

use catalog::Catalog;
use gather::{Gathered, Link, Values};
use row::{RowExt, blob};
use turn::{Turn, Turns};

/// Readers at once. Two cores serve them; more would only queue in the page cache.
const READERS: u32 = 4;

/// How long a caller waits for its turn to write or read.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pages that the writer keeps in memory, in KiB: what changes of many objects touch at random, so that it is neither read again nor
/// written before its commit. Taken as it is needed.
const WRITER_CACHE: u32 = 64 << 10;

/// The same of each reader.
const READER_CACHE: u32 = 8 << 10;

/// Pages of 4 KiB in the write-ahead log until it is folded into the database: a page that many commits change is folded once.
const LOG_PAGES: u32 = 16_384;

/// Statements that a connection keeps prepared: more than there are in this crate.
const STATEMENTS: usize = 400;

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused: a constraint, a full disk, a lock.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("migration: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The transaction that several writers shared was not committed.
    #[error("commit: {0}")]
    Commit(#[source] Arc<StoreError>),
    /// A row does not say what its column must.
    #[error("column `{column}`: {problem}")]
    Corrupt {
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl StoreError {
    /// Whether a uniqueness rule was broken.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Whether the disk refuses: full, read-only, or not this user's.
    #[must_use]
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Commit(error) => error.is_of_the_disk(),
            Self::Database(sqlx::Error::Database(error))
            | Self::Migration(sqlx::migrate::MigrateError::Execute(sqlx::Error::Database(error))) => {
                // SQLITE_READONLY, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN
                matches!(kind(error.as_ref()), Some(8 | 10 | 13 | 14))
            }
            _ => false,
        }
    }
}

/// SQLite's kind of an error: the lower octet of its code (<https://sqlite.org/rescode.html>).
fn kind(error: &dyn sqlx::error::DatabaseError) -> Option<u32> {
    Some(error.code()?.parse::<u32>().ok()? & 0xff)
}

impl StoreError {
    /// Why nothing can be stored or read for now, and for how many seconds it may well last; `None`: it is another kind of error.
    fn passing(&self) -> Option<(&'static str, u32)> {
        match self {
            Self::Commit(error) => error.passing(),
            Self::Database(_) if self.is_of_the_disk() => {
                Some(("the service cannot write to its disk, which may be full; tell its operator", 30))
            }
            Self::Database(sqlx::Error::PoolTimedOut) => {
                Some(("the service has more to store than it can; send the call again later", 10))
            }
            Self::Database(sqlx::Error::PoolClosed) => Some(("the service is about to stop; send the call again", 5)),
            Self::Database(sqlx::Error::Database(error)) => {
                // SQLITE_BUSY, SQLITE_LOCKED
                matches!(kind(error.as_ref()), Some(5 | 6))
                    .then_some(("the service's database is in use by another program; send the call again later", 10))
            }
            _ => None,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error.passing() {
            Some((help, retry_after)) => {
                tracing::warn!(%error, "the store does not answer");
                Self::Unavailable { help: help.to_owned(), retry_after }
            }
            None => Self::Internal(error.to_string()),
        }
    }
}

/// What this crate's calls return.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The database. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    turns: Arc<Turns>,
    readers: SqlitePool,
    catalog: Arc<Catalog>,
    snapshots: Arc<AtomicU64>,
}

impl Store {
    /// Opens the database at `path`, makes it if it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// If the file cannot be opened or belongs to a newer version.
    pub async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE)
            .statement_cache_capacity(STATEMENTS)
            // What a savepoint would need to undo itself stays out of the file system.
            .pragma("temp_store", "MEMORY")
            // Deleted and replaced envelopes are overwritten: else whoever has an old key could read them in the file.
            .pragma("secure_delete", "ON")
            .pragma("wal_autocheckpoint", LOG_PAGES.to_string());
        // Negative: in KiB.
        let cached = |size: u32| options.clone().pragma("cache_size", format!("-{size}"));
        let (writing, reading) = (cached(WRITER_CACHE), cached(READER_CACHE));
        let mut writer = writing.connect().await?;
        sqlx::migrate!().run(&mut writer).await?;
        let catalog = Arc::new(Catalog::load(&mut writer).await?);
        let turns = Turns::new(writing, writer, Arc::clone(&catalog)).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(PATIENCE)
            // A file does not hang up: asking before each use would only cost a round trip.
            .test_before_acquire(false)
            .connect_with(reading.pragma("query_only", "ON"))
            .await?;
        Ok(Self { turns, readers, catalog, snapshots: Arc::default() })
    }

    /// Writes the whole database anew, so that nothing of what was deleted or replaced is left in the file. Nothing else may use the store.
    ///
    /// # Errors
    /// If the database fails, or there is no room for a second copy of it.
    pub async fn compact(&self) -> Result<()> {
        self.turns.compact().await
    }

    /// A snapshot to read.
    ///
    /// # Errors
    /// If no connection is free in time.
    pub async fn read(&self) -> Result<Reader> {
        self.snapshots.fetch_add(1, Ordering::Relaxed);
        let session = Session::Snapshot(self.readers.begin().await?);
        Ok(Reader { session, catalog: Arc::clone(&self.catalog) })
    }

    /// The key whose secret has this SHA-256, as of the last commit.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn caller(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>> {
        let generation = match self.catalog.callers().find(hash) {
            Ok(key) => return Ok(Some(key)),
            Err(generation) => generation,
        };
        let key = self.read().await?.api_key_by_hash(hash).await?;
        if let Some(key) = &key {
            self.catalog.callers().remember(generation, *hash, key.clone());
        }
        Ok(key)
    }

    /// How many snapshots were asked for since this was opened.
    #[must_use]
    pub fn snapshots(&self) -> u64 {
        self.snapshots.load(Ordering::Relaxed)
    }

    /// The newest revision of a node's desired state as of the last commit, and each later one; 0: the node is not known. A commit that changes
    /// no revision of this node wakes nobody here.
    #[must_use]
    pub fn node_revision(&self, node: NodeId) -> watch::Receiver<u64> {
        self.catalog.revisions().follow(node)
    }

    /// The one transaction that may write; waits for its turn. Dropped without [`Writer::commit`] it leaves nothing behind.
    ///
    /// # Errors
    /// If the turn does not come in time.
    pub async fn write(&self) -> Result<Writer> {
        let session = Session::Turn(self.turns.take().await?, Gathered::default());
        Ok(Writer { reader: Reader { session, catalog: Arc::clone(&self.catalog) } })
    }

    /// How long whoever wants to write now will wait for his turn, as far as those before him tell.
    #[must_use]
    pub fn backlog(&self) -> Duration {
        self.turns.backlog()
    }

    /// Whether [`Self::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.readers.is_closed()
    }

    /// Ends every use; the write-ahead log is folded into the database.
    pub async fn close(&self) {
        self.readers.close().await;
        self.turns.close().await;
    }
}

/// A transaction that reads.
pub struct Reader {
    session: Session,
    catalog: Arc<Catalog>,
}

enum Session {
    /// A snapshot.
    Snapshot(Transaction<'static, Sqlite>),
    /// A turn to write, and changes that wait for their way.
    Turn(Turn, Gathered),
}

impl Reader {
    fn connection(&mut self) -> Link<'_> {
        match &mut self.session {
            Session::Snapshot(transaction) => Link::new(transaction, None),
            Session::Turn(turn, gathered) => Link::new(turn.connection(), Some(gathered)),
        }
    }

    /// The rows of several statements, statement by statement, in one way to the database. Every `?` has its value, none is numbered.
    pub(crate) async fn several(&mut self, sql: &'static str, values: Values) -> Result<Vec<Vec<SqliteRow>>> {
        let mut answers = vec![Vec::new()];
        let mut steps = self.connection().fetch_many(values.query(sql)?);
        while let Some(step) = steps.try_next().await? {
            match (step, answers.last_mut()) {
                (Either::Right(row), Some(rows)) => rows.push(row),
                (Either::Left(_), _) | (_, None) => answers.push(Vec::new()),
            }
        }
        Ok(answers)
    }

    /// Number of the newest outbox event; 0 before the first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn newest_event(&mut self) -> Result<u64> {
        let row =
            sqlx::query("SELECT coalesce(max(sequence), 0) AS newest FROM outbox").fetch_one(self.connection()).await?;
        row.number("newest")
    }
}

/// The detail of a change that its audit record alone has. An object's history is its tenant's to read; why support has locked it is not.
const AUDIT_ONLY: &str = "reason";

/// Whom the history of an object of `project` says to have changed it. Who of the operator's people it was, its audit record says.
fn actor(caller: &Caller, project: Option<ProjectId>) -> &str {
    match caller.role {
        Role::Support => "support",
        Role::Operator if project != Some(caller.project_id) => "operator",
        _ => &caller.access_key,
    }
}

/// The transaction that writes. Everything that a [`Reader`] does, it does too, and sees its own changes.
pub struct Writer {
    reader: Reader,
}

impl Deref for Writer {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl DerefMut for Writer {
    fn deref_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }
}

impl Writer {
    /// Changes go together from now on, with the next look at the database or at the commit: what it refuses, it refuses then.
    #[must_use]
    pub fn gathering(mut self) -> Self {
        if let Session::Turn(_, gathered) = &mut self.reader.session {
            gathered.waits = true;
        }
        self
    }

    /// A change whose answer nobody waits for. Every `?` has its value, none is numbered.
    pub(crate) async fn change(&mut self, sql: &str, bind: impl FnOnce(&mut Values)) -> Result<()> {
        if let Session::Turn(turn, gathered) = &mut self.reader.session {
            gathered.add(sql, bind);
            if gathered.is_due() {
                gathered.flush(turn.connection()).await?;
            }
        }
        Ok(())
    }

    /// Makes everything written durable and visible. Once this is called, that happens even if nobody waits for the answer.
    ///
    /// # Errors
    /// If the database fails; then nothing was written.
    pub async fn commit(self) -> Result<()> {
        match self.reader.session {
            Session::Turn(turn, gathered) => turn.commit(gathered).await,
            Session::Snapshot(transaction) => Ok(transaction.commit().await?),
        }
    }

    /// The audit record and the outbox event of one change by a caller. `project`: the object's, where it is known; else it is looked up.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn record(
        &mut self,
        caller: &Caller,
        project: Option<ProjectId>,
        now: Timestamp,
        action: &str,
        resource: &str,
        resource_id: &str,
        details: &BTreeMap<String, String>,
    ) -> Result<()> {
        let project = match project {
            Some(project) => Some(project),
            None => self.project_of(resource, resource_id).await?,
        };
        let sql = "INSERT INTO audit_record (at, access_key, request_id, action, resource, resource_id, project_id, details) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        self.change(sql, |values| {
            values
                .push_bind(now.0)
                .push_bind(&caller.access_key)
                .push_bind(blob(caller.request_id))
                .push_bind(action)
                .push_bind(resource)
                .push_bind(resource_id)
                .push_bind(project.map(|id| blob(id.0)))
                .push_bind(row::to_json(details));
        })
        .await?;
        // What is deleted at once has no history any more.
        let kept = matches!(resource, "vpn_gateway" | "link") || resource == "connection" && action != "delete";
        if kept && let Ok(id) = resource_id.parse() {
            let actor = Some(actor(caller, project));
            let mut told = details.clone();
            told.retain(|name, _| name != AUDIT_ONLY);
            self.insert_object_event(id, now, ("change", action), (actor, None), &told, None).await?;
        }
        self.emit(now, resource, action, resource_id).await
    }

    /// An outbox event without an audit record: what the platform itself or a node did.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn emit(&mut self, now: Timestamp, kind: &str, action: &str, object_id: &str) -> Result<()> {
        let sql = "INSERT INTO outbox (at, kind, action, object_id) VALUES (?, ?, ?, ?)";
        self.change(sql, |values| {
            values.push_bind(now.0).push_bind(kind).push_bind(action).push_bind(object_id);
        })
        .await
    }

    /// Forgets all but the newest `keep` outbox events.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn trim_outbox(&mut self, keep: u32) -> Result<()> {
        sqlx::query("DELETE FROM outbox WHERE sequence <= (SELECT max(sequence) FROM outbox) - ?")
            .bind(keep)
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
