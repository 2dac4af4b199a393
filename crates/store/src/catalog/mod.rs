//! An index of the listed objects in memory: which objects match a list's filters, in which order, and how many they are.
//!
//! The database stays the authority. The index is filled from it at the start and brought up to date with every commit: SQLite says which
//! rows a transaction touched (its update hook), these are read again before the commit and entered right after it, before anybody is
//! told that it is done. Whoever has got an answer finds his change in the next list, and no statement that changes a row can be forgotten.

mod names;
mod spec;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use causeway_model::NodeId;
use causeway_model::command::ListQuery;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use uuid::Uuid;

use crate::callers::{self, Callers};
use crate::list::Scope;
use crate::revisions::{self, Revisions};
use crate::row::RowExt;
use crate::{Result, StoreError};

use spec::{Form, SPECS, Spec};
use table::{Cell, Entry, Key, Keys, Table, Wanted};

pub(crate) use table::Filter;

/// Rows that a transaction has touched: kind and `seq`.
pub(crate) type Touched = Arc<Mutex<Vec<(usize, i64)>>>;

/// What a transaction has changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// What became of rows; `None`: lists show them no more.
    rows: Vec<(usize, i64, Option<Fresh>)>,
    /// The revisions of nodes that may have changed.
    revisions: Vec<(NodeId, u64)>,
    /// Whether callers may have changed.
    callers: bool,
}

/// What the catalogue is to know of a row.
#[derive(Debug)]
pub(crate) struct Fresh(Entry);

/// Slots beyond which a list is looked up off the threads that answer requests.
const LARGE: usize = 10_000;

/// The index.
#[derive(Debug)]
pub(crate) struct Catalog {
    keys: Keys,
    tables: Vec<RwLock<Table>>,
    callers: Callers,
    revisions: Revisions,
}

/// Stands for what callers are read from among the kinds.
const CALLERS: usize = SPECS.len();
/// Stands for nodes among the kinds.
const NODES: usize = CALLERS + 1;

/// The kind whose changes are noted.
fn noted(table: &str) -> Option<usize> {
    match table {
        revisions::TABLE => Some(NODES),
        table if callers::TABLES.contains(&table) => Some(CALLERS),
        table => kind(table),
    }
}

fn kind(table: &str) -> Option<usize> {
    SPECS.iter().position(|spec| spec.table == table)
}

fn select(spec: &Spec, condition: &str) -> String {
    let (folded, sort) = spec.names;
    let mut sql = format!(
        "SELECT seq, region, project_id, organization_id, created_at, updated_at, {folded} AS folded, {sort} AS sort, tags"
    );
    for column in spec.columns {
        sql.push_str(&format!(", {} AS x_{}", column.sql, column.name));
    }
    sql.push_str(&format!(" FROM {} WHERE {}{condition}", spec.table, spec.visible));
    sql
}

impl Catalog {
    /// Reads everything.
    pub(crate) async fn load(connection: &mut SqliteConnection) -> Result<Self> {
        Self::of(connection, |_| true).await
    }

    /// Reads one kind as `connection` sees it: with the changes of its own transaction.
    pub(crate) async fn load_only(connection: &mut SqliteConnection, table: &str) -> Result<Arc<Self>> {
        Ok(Arc::new(Self::of(connection, |spec| spec.table == table).await?))
    }

    async fn of(connection: &mut SqliteConnection, wanted: impl Fn(&Spec) -> bool) -> Result<Self> {
        let keys = Keys::default();
        let mut tables = Vec::with_capacity(SPECS.len());
        for spec in &SPECS {
            let mut table = Table::new(spec);
            let mut last = wanted(spec).then_some(i64::MIN);
            while let Some(after) = last {
                // In portions, so that the start does not need twice the memory.
                let sql = select(spec, " AND seq > ? ORDER BY seq LIMIT 5000");
                let rows = sqlx::query(AssertSqlSafe(sql)).bind(after).fetch_all(&mut *connection).await?;
                for row in &rows {
                    table.put(row.number("seq")?, Some(entry(&keys, spec, row)?));
                }
                last = rows.last().map(|row| row.number("seq")).transpose()?;
            }
            tables.push(RwLock::new(table));
        }
        let revisions = Revisions::default();
        revisions.apply(revisions::read_all(connection).await?);
        Ok(Self { keys, tables, callers: Callers::default(), revisions })
    }

    /// Notes in `touched` which rows `connection` changes from now on.
    pub(crate) async fn watch(connection: &mut SqliteConnection, touched: Touched) -> Result<()> {
        connection.lock_handle().await?.set_update_hook(move |change| {
            if let Some(kind) = noted(change.table) {
                let mut touched = touched.lock().unwrap_or_else(PoisonError::into_inner);
                // One row is often changed several times in a row.
                if touched.last() != Some(&(kind, change.rowid)) {
                    touched.push((kind, change.rowid));
                }
            }
        });
        Ok(())
    }

    /// What has become of the rows that were touched, as `connection` sees them.
    pub(crate) async fn read(&self, connection: &mut SqliteConnection, touched: &Touched) -> Result<Changes> {
        let touched = std::mem::take(&mut *touched.lock().unwrap_or_else(PoisonError::into_inner));
        let mut kinds: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        for (kind, seq) in touched {
            kinds.entry(kind).or_default().push(seq);
        }
        let mut changes = Changes::default();
        for (kind, mut seqs) in kinds {
            seqs.sort_unstable();
            seqs.dedup();
            let Some(spec) = SPECS.get(kind) else {
                match kind {
                    NODES => changes.revisions = revisions::read(connection, &seqs).await?,
                    _ => changes.callers = true,
                }
                continue;
            };
            let sql = select(spec, " AND seq IN (SELECT value FROM json_each(?))");
            let rows =
                sqlx::query(AssertSqlSafe(sql)).bind(crate::row::to_json(&seqs)).fetch_all(&mut *connection).await?;
            let mut fresh = BTreeMap::new();
            for row in &rows {
                fresh.insert(row.number::<i64>("seq")?, Fresh(entry(&self.keys, spec, row)?));
            }
            changes.rows.extend(seqs.into_iter().map(|seq| (kind, seq, fresh.remove(&seq))));
        }
        Ok(changes)
    }

    /// Enters what was read.
    pub(crate) fn apply(&self, changes: Changes) {
        for (kind, seq, fresh) in changes.rows {
            if let Some(table) = self.tables.get(kind) {
                table.write().unwrap_or_else(PoisonError::into_inner).put(seq, fresh.map(|fresh| fresh.0));
            }
        }
        if changes.callers {
            self.callers.forget();
        }
        self.revisions.apply(changes.revisions);
    }

    /// The keys that were shown lately.
    pub(crate) const fn callers(&self) -> &Callers {
        &self.callers
    }

    /// The newest revisions of nodes' desired states.
    pub(crate) const fn revisions(&self) -> &Revisions {
        &self.revisions
    }

    /// The `seq`s of a page of `table` in its order, and how many objects match.
    pub(crate) async fn page(
        self: &Arc<Self>,
        table: &'static str,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filters: Vec<Filter>,
    ) -> Result<(Vec<i64>, u64)> {
        let mut projects: Vec<Key> = list.project_id.iter().map(|project| Key::id(project.0)).collect();
        match scope {
            Scope::All => {}
            Scope::Project(project) => projects.push(Key::id(project.0)),
            Scope::Nothing => return Ok((Vec::new(), 0)),
        }
        let wanted = Wanted {
            region: self.keys.text(region),
            projects,
            organization: list.organization_id.map(|organization| Key::id(organization.0)),
        };
        let unknown = || StoreError::Corrupt { column: table, problem: "is in no catalogue".to_owned() };
        let kind = kind(table).filter(|kind| *kind < self.tables.len()).ok_or_else(unknown)?;
        let size = self.tables[kind].read().unwrap_or_else(PoisonError::into_inner).len();
        let (catalog, list) = (Arc::clone(self), list.clone());
        let look = move || {
            let table = catalog.tables[kind].read().unwrap_or_else(PoisonError::into_inner);
            table.page(&catalog.keys, &wanted, &list, &filters)
        };
        let (page, total) = if size > LARGE {
            tokio::task::spawn_blocking(look).await.map_err(|_| sqlx::Error::WorkerCrashed)?
        } else {
            look()
        };
        Ok((page, u64::try_from(total).unwrap_or(u64::MAX)))
    }
}

fn entry(keys: &Keys, spec: &Spec, row: &SqliteRow) -> Result<Entry> {
    let folded = row.text("folded")?;
    let tags: Vec<String> = row.json("tags")?;
    let mut cells = Vec::with_capacity(spec.columns.len());
    for column in spec.columns {
        let name = format!("x_{}", column.name);
        let name = name.as_str();
        let sorted = spec.orders.iter().any(|(_, order)| *order == column.name);
        cells.push(match column.form {
            Form::Id => (Cell::One(row.try_get::<Option<&[u8]>, _>(name)?.map_or(Ok(Key::NULL), key_of_id)?), None),
            Form::Text => {
                let text = row.try_get::<Option<&str>, _>(name)?;
                (Cell::One(text.map_or(Key::NULL, |text| keys.text(text))), text.filter(|_| sorted).map(Into::into))
            }
            Form::Ids => {
                let ids = row.try_get::<Option<&str>, _>(name)?.unwrap_or_default();
                let ids = ids.split(',').filter(|id| !id.is_empty());
                let ids = ids.map(|id| Uuid::try_parse(id).map(Key::id).map_err(|error| not_an_id(&error)));
                (Cell::Many(ids.collect::<Result<_>>()?), None)
            }
        });
    }
    Ok(Entry {
        region: keys.text(row.try_get("region")?),
        project: key_of_id(row.try_get("project_id")?)?,
        organization: key_of_id(row.try_get("organization_id")?)?,
        created: row.number("created_at")?,
        updated: row.number("updated_at")?,
        sort_from: folded.len().saturating_sub(row.text("sort")?.len()),
        folded: folded.into(),
        tags: tags.iter().map(|tag| keys.text(tag)).collect(),
        cells,
    })
}

fn key_of_id(octets: &[u8]) -> Result<Key> {
    Uuid::from_slice(octets).map(Key::id).map_err(|error| not_an_id(&error))
}

fn not_an_id(error: &uuid::Error) -> StoreError {
    StoreError::Corrupt { column: "id", problem: error.to_string() }
}
