//! Writers take turns on one connection, and those that queue share one commit.
//!
//! A turn is a savepoint within an open transaction; who keeps his changes leaves a fresh one to the next. Whoever opens the transaction also queues the task that will commit it, behind the
//! writers that wait already: their changes and this one become durable with one sync to disk, and each of them gets its answer only
//! after it. A turn that is given up is undone to its savepoint and costs the others nothing. If the commit fails, it has failed for all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _, SqliteConnection};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use tokio::time::timeout;

use crate::catalog::{Catalog, Touched};
use crate::gather::Gathered;
use crate::{PATIENCE, Result, StoreError};

/// A commit takes in whoever has come meanwhile this often.
const ROUNDS: u32 = 3;

/// It does so while fewer writers than this wait for it.
const CROWD: usize = 64;

/// The queue.
#[derive(Debug)]
pub(crate) struct Turns {
    batch: Arc<Mutex<Batch>>,
    waiting: AtomicUsize,
    pace: std::sync::Mutex<Pace>,
    catalog: Arc<Catalog>,
}

/// How long turns last while others wait.
#[derive(Debug, Default)]
struct Pace {
    /// When the newest turn began.
    begun: Option<Instant>,
    /// The average of about the last [`PACE_SPAN`] turns, commits included.
    turn: Option<Duration>,
}

/// Enough turns to have several commits among them.
const PACE_SPAN: u32 = 64;

impl Pace {
    /// A turn begins at `now`, at once after the one before it if somebody had to wait for it.
    fn begin(&mut self, now: Instant, waited: bool) {
        if let Some(begun) = self.begun.filter(|_| waited) {
            let last = now.saturating_duration_since(begun);
            let average = self.turn.unwrap_or(last);
            self.turn = Some((average * (PACE_SPAN - 1) + last) / PACE_SPAN);
        }
        self.begun = Some(now);
    }
}

/// What became of the savepoint on top of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Savepoint {
    /// It is a running turn's, or one's that was given up.
    Loose,
    /// Nothing was done since: the changes of the turn before stay.
    Fresh,
}

/// Keeps a turn's changes and is ready for the next one.
const KEEP: &str = "RELEASE use_case; SAVEPOINT use_case";

type Answer = oneshot::Sender<Result<(), Arc<StoreError>>>;

/// The connection, and the transaction that is open on it.
#[derive(Debug)]
struct Batch {
    options: SqliteConnectOptions,
    connection: SqliteConnection,
    touched: Touched,
    /// `None`: there is no transaction.
    top: Option<Savepoint>,
    /// Who waits for the commit.
    members: Vec<Answer>,
    closed: bool,
}

/// One writer's turn. Dropped without [`Turn::commit`] it leaves nothing behind.
pub(crate) struct Turn {
    batch: OwnedMutexGuard<Batch>,
}

impl Turns {
    /// A queue for `connection`.
    pub(crate) async fn new(
        options: SqliteConnectOptions,
        mut connection: SqliteConnection,
        catalog: Arc<Catalog>,
    ) -> Result<Arc<Self>> {
        let touched = Touched::default();
        Catalog::watch(&mut connection, Arc::clone(&touched)).await?;
        let batch = Batch { options, connection, touched, top: None, members: Vec::new(), closed: false };
        let (waiting, pace) = (AtomicUsize::new(0), std::sync::Mutex::default());
        Ok(Arc::new(Self { batch: Arc::new(Mutex::new(batch)), waiting, pace, catalog }))
    }

    /// Waits for a turn.
    pub(crate) async fn take(self: &Arc<Self>) -> Result<Turn> {
        let batch = {
            let _waiting = Waiting::new(&self.waiting);
            let free = Arc::clone(&self.batch).try_lock_owned();
            let waited = free.is_err();
            let batch = match free {
                Ok(batch) => batch,
                Err(_) => {
                    let turn = Arc::clone(&self.batch).lock_owned();
                    timeout(PATIENCE, turn).await.map_err(|_| sqlx::Error::PoolTimedOut)?
                }
            };
            self.pace.lock().unwrap_or_else(PoisonError::into_inner).begin(Instant::now(), waited);
            batch
        };
        if batch.top == Some(Savepoint::Fresh) && !batch.closed {
            return Ok(Turn::new(batch));
        }
        let turns = Arc::clone(self);
        // In a task of its own, which ends even where the caller is gone: half a statement would leave the transaction in doubt.
        let begun = tokio::spawn(async move { turns.begin(batch).await });
        begun.await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }

    async fn begin(self: Arc<Self>, mut batch: OwnedMutexGuard<Batch>) -> Result<Turn> {
        if batch.closed {
            return Err(sqlx::Error::PoolClosed.into());
        }
        match batch.top {
            None => {}
            Some(Savepoint::Fresh) => return Ok(Turn::new(batch)),
            Some(Savepoint::Loose) => match batch.connection.execute("ROLLBACK TO use_case").await {
                Ok(_) => return Ok(Turn::new(batch)),
                // SQLite gives up a whole transaction when it cannot write.
                Err(error) => batch.fail(error.into()).await,
            },
        }
        const BEGIN: &str = "BEGIN IMMEDIATE; SAVEPOINT use_case";
        if batch.connection.execute(BEGIN).await.is_err() {
            batch.reconnect().await?;
            batch.connection.execute(BEGIN).await?;
        }
        tokio::spawn(self.commit_later());
        Ok(Turn::new(batch))
    }

    /// Commits when everybody who waits now has had his turn.
    async fn commit_later(self: Arc<Self>) {
        let mut rounds = 0;
        loop {
            let mut batch = self.batch.lock().await;
            let alone = self.waiting.load(Ordering::Relaxed) == 0;
            if alone || rounds == ROUNDS || batch.members.len() >= CROWD {
                return batch.commit(&self.catalog).await;
            }
            rounds += 1;
        }
    }

    /// How long the queue is.
    pub(crate) fn backlog(&self) -> Duration {
        let waiting = u32::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        let turn = self.pace.lock().unwrap_or_else(PoisonError::into_inner).turn;
        turn.unwrap_or_default().saturating_mul(waiting)
    }

    /// Writes the whole database anew, so that nothing of what was deleted or replaced is left in its pages.
    pub(crate) async fn compact(&self) -> Result<()> {
        let mut batch = self.batch.lock().await;
        batch.commit(&self.catalog).await;
        for sql in ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            batch.connection.execute(sql).await?;
        }
        Ok(())
    }

    /// Commits what is done and refuses everything else.
    pub(crate) async fn close(&self) {
        let mut batch = self.batch.lock().await;
        batch.commit(&self.catalog).await;
        batch.closed = true;
        // What fails here is done by the next start.
        let _ = batch.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
    }
}

/// Counts one who waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turn {
    fn new(mut batch: OwnedMutexGuard<Batch>) -> Self {
        batch.top = Some(Savepoint::Loose);
        Self { batch }
    }

    /// The connection.
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.batch.connection
    }

    /// Keeps what was done, makes the changes that still wait, and waits until everything is durable.
    pub(crate) async fn commit(mut self, mut gathered: Gathered) -> Result<()> {
        let (answer, durable) = oneshot::channel();
        // In a task of its own, as where it began.
        let kept = tokio::spawn(async move {
            let batch = &mut *self.batch;
            gathered.flush_with(&mut batch.connection, KEEP).await?;
            batch.top = Some(Savepoint::Fresh);
            batch.members.push(answer);
            Ok::<_, StoreError>(())
        });
        kept.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
        durable.await.map_err(|_| sqlx::Error::WorkerCrashed)?.map_err(StoreError::Commit)
    }
}

impl Batch {
    /// Ends the transaction, if there is one.
    async fn commit(&mut self, catalog: &Catalog) {
        if self.top.is_none() {
            return;
        }
        match self.try_commit(catalog).await {
            Ok(()) => {
                self.top = None;
                for member in self.members.drain(..) {
                    // Whoever does not wait any more does not need the answer.
                    let _ = member.send(Ok(()));
                }
            }
            Err(error) => self.fail(error).await,
        }
    }

    async fn try_commit(&mut self, catalog: &Catalog) -> Result<()> {
        if self.top == Some(Savepoint::Loose) {
            self.connection.execute("ROLLBACK TO use_case").await?;
        }
        if self.members.is_empty() {
            self.connection.execute("ROLLBACK").await?;
            self.touched.lock().unwrap_or_else(PoisonError::into_inner).clear();
            return Ok(());
        }
        let changes = catalog.read(&mut self.connection, &self.touched).await?;
        self.connection.execute("COMMIT").await?;
        catalog.apply(changes);
        Ok(())
    }

    /// Undoes the transaction and tells everybody whose changes were in it.
    async fn fail(&mut self, error: StoreError) {
        let error = Arc::new(error);
        for member in self.members.drain(..) {
            let _ = member.send(Err(Arc::clone(&error)));
        }
        self.top = None;
        // If SQLite has undone it already this is refused; if the connection is lost, the next turn makes another.
        let _ = self.connection.execute("ROLLBACK").await;
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn reconnect(&mut self) -> Result<()> {
        self.connection = self.options.connect().await?;
        Catalog::watch(&mut self.connection, Arc::clone(&self.touched)).await
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::Error;

    use super::*;
    use crate::Store;

    #[test]
    fn only_turns_that_others_waited_for_tell_how_long_one_lasts() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        pace.begin(at(0), false);
        pace.begin(at(100), false);
        assert_eq!(pace.turn, None, "nobody waited for the idle time between");
        pace.begin(at(164), true);
        assert_eq!(pace.turn, Some(Duration::from_secs(64)));
        pace.begin(at(164), true);
        assert_eq!(pace.turn, Some(Duration::from_secs(63)));
    }

    #[tokio::test]
    async fn a_full_disk_is_unavailable_to_all_who_share_the_commit_and_passes() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("store.db")).await.expect("opens");
        let limit = async |pages: u32| {
            let mut batch = store.turns.batch.lock().await;
            let sql = format!("PRAGMA max_page_count = {pages}");
            batch.connection.execute(sqlx::AssertSqlSafe(sql)).await.expect("a limit");
        };
        let write = async || {
            let mut tx = store.write().await?;
            tx.set_setting("long", &"x".repeat(1 << 20)).await?;
            tx.commit().await
        };
        // Fewer than there are: SQLite takes the present number.
        limit(1).await;
        let error = write().await.expect_err("no room");
        let Error::Unavailable { help, retry_after } = Error::from(error) else { panic!("another error") };
        assert!(help.contains("disk") && retry_after > 0, "{help}");
        limit(u32::MAX - 1).await;
        write().await.expect("room again");
        let shared = StoreError::Commit(Arc::new(sqlx::Error::PoolTimedOut.into()));
        assert!(matches!(Error::from(shared), Error::Unavailable { .. }));
        store.close().await;
        let error = store.write().await.err().expect("closed");
        assert!(matches!(Error::from(error), Error::Unavailable { .. }));
        let broken = StoreError::Corrupt { column: "c", problem: "p".to_owned() };
        assert!(matches!(Error::from(broken), Error::Internal(_)));
    }
}
