//! Changes that travel to the database together.
//!
//! SQLite runs in a thread of its own, and a statement is a way there and back, which on busy cores takes longer than most statements do.
//! Nobody waits for what a change by itself answers, so that a writer may gather changes: they go along before the next statement that
//! reads, or at the commit, in one way. Whoever reads therefore sees what was changed before, and a change that the database refuses
//! makes the next read or the commit fail, and everything after it.

use std::fmt::Write as _;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _, TryFutureExt as _};
use sqlx::error::BoxDynError;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteQueryResult, SqliteRow, SqliteStatement, SqliteTypeInfo};
use sqlx::{
    Arguments as _, AssertSqlSafe, Describe, Either, Encode, Execute, Executor, SqlSafeStr, SqlStr, Sqlite, Type,
};

/// Changes that go together at most. The text of all of them is prepared and kept as one statement is, so that their number is bounded.
const MOST: usize = 32;

/// Changes that wait for their way.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    sql: String,
    values: Values,
    count: usize,
    /// Whether changes wait at all.
    pub(crate) waits: bool,
    /// Some were given up, so that the rest makes no sense.
    broken: bool,
}

/// What the `?` of changes stand for, one after another: numbered ones would count from the first change on.
#[derive(Debug, Default)]
pub(crate) struct Values {
    arguments: SqliteArguments,
    fault: Option<BoxDynError>,
}

impl Values {
    /// The next one.
    pub(crate) fn push_bind<'q, T: Encode<'q, Sqlite> + Type<Sqlite>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.fault = Some(error);
        }
        self
    }

    /// A query with these values.
    pub(crate) fn query(self, sql: impl SqlSafeStr) -> sqlx::Result<Query<'static, Sqlite, SqliteArguments>> {
        match self.fault {
            Some(fault) => Err(sqlx::Error::Encode(fault)),
            None => Ok(sqlx::query_with(sql, self.arguments)),
        }
    }
}

impl Gathered {
    /// Adds a change.
    pub(crate) fn add(&mut self, sql: &str, bind: impl FnOnce(&mut Values)) {
        if !self.sql.is_empty() {
            self.sql.push_str("; ");
        }
        self.sql.push_str(sql);
        bind(&mut self.values);
        self.count += 1;
    }

    /// Whether the changes should go now.
    pub(crate) const fn is_due(&self) -> bool {
        !self.waits || self.count >= MOST
    }

    /// Makes the changes.
    pub(crate) async fn flush(&mut self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        self.flush_with(connection, "").await
    }

    /// Makes the changes and executes `last`, which has no values.
    pub(crate) async fn flush_with(&mut self, connection: &mut SqliteConnection, last: &str) -> sqlx::Result<()> {
        if self.broken {
            return Err(sqlx::Error::Protocol("a change before this one was refused".to_owned()));
        }
        if !last.is_empty() {
            self.add(last, |_| ());
        }
        if self.count == 0 {
            return Ok(());
        }
        // Until all are made: whoever stops waiting leaves it in doubt how many were. One alone is made or not.
        self.broken = self.waits;
        self.count = 0;
        let sql = AssertSqlSafe(std::mem::take(&mut self.sql));
        std::mem::take(&mut self.values).query(sql)?.execute(connection).await?;
        self.broken = false;
        Ok(())
    }
}

/// `INSERT INTO table (columns) VALUES (?, …)`.
pub(crate) fn insertion<'c>(table: &str, columns: impl IntoIterator<Item = &'c str>) -> String {
    let (mut sql, mut values) = (format!("INSERT INTO {table} ("), String::new());
    for (at, column) in columns.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        // Writing to a text does not fail.
        let _ = write!(sql, "{comma}{column}");
        let _ = write!(values, "{comma}?");
    }
    let _ = write!(sql, ") VALUES ({values})");
    sql
}

/// The way to the database: what waits goes first.
#[derive(Debug)]
pub(crate) struct Link<'c> {
    connection: &'c mut SqliteConnection,
    gathered: Option<&'c mut Gathered>,
}

impl<'c> Link<'c> {
    pub(crate) const fn new(connection: &'c mut SqliteConnection, gathered: Option<&'c mut Gathered>) -> Self {
        Self { connection, gathered }
    }

    /// The connection itself, once nothing waits any more.
    pub(crate) async fn settled(self) -> sqlx::Result<&'c mut SqliteConnection> {
        if let Some(gathered) = self.gathered {
            gathered.flush(self.connection).await?;
        }
        Ok(self.connection)
    }
}

impl<'c> Executor<'c> for Link<'c> {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<SqliteQueryResult, SqliteRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        async move { Ok(self.settled().await?.fetch_many(query)) }.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<SqliteRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        async move { self.settled().await?.fetch_optional(query).await }.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<SqliteStatement>>
    where
        'c: 'e,
    {
        async move { self.settled().await?.prepare_with(sql, parameters).await }.boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Sqlite>>>
    where
        'c: 'e,
    {
        async move { self.settled().await?.describe(sql).await }.boxed()
    }
}
