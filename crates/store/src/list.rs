//! What all kinds of objects share: common columns, tags, lists with filters, order and paging.

use std::collections::HashMap;
use std::sync::Arc;

use causeway_model::command::{ListQuery, OrderField};
use causeway_model::resource::Meta;
use causeway_model::{OrganizationId, ProjectId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, QueryBuilder, Sqlite};
use uuid::Uuid;

use crate::catalog::{Catalog, Filter};
use crate::gather::{Values, insertion};
use crate::row::{RowExt, blob, name_forms, name_matches, to_json};
use crate::{Reader, Result, Session, Writer};

/// The kinds of objects that have the common columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// VPC.
    Vpc,
    /// Private Network.
    PrivateNetwork,
    /// Secret.
    Secret,
    /// VPN gateway.
    VpnGateway,
    /// Customer gateway.
    CustomerGateway,
    /// Routing policy.
    RoutingPolicy,
    /// Connection.
    Connection,
    /// InterLink.
    Link,
    /// Routing policy of InterLinks.
    LinkRoutingPolicy,
    /// Dedicated connection.
    DedicatedConnection,
}

impl Kind {
    /// The table, which is also what audit records call the kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vpc => "vpc",
            Self::PrivateNetwork => "private_network",
            Self::Secret => "secret",
            Self::VpnGateway => "vpn_gateway",
            Self::CustomerGateway => "customer_gateway",
            Self::RoutingPolicy => "routing_policy",
            Self::Connection => "connection",
            Self::Link => "link",
            Self::LinkRoutingPolicy => "link_routing_policy",
            Self::DedicatedConnection => "dedicated_connection",
        }
    }
}

impl Kind {
    /// Whether tags of its objects have rows of their own: the list of the tags that secrets have is read from these. For all other kinds
    /// the catalogue knows the tags.
    const fn has_tag_rows(self) -> bool {
        matches!(self, Self::Secret)
    }
}

/// Whose objects a list may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    All,
    /// Those of one project.
    Project(ProjectId),
    /// None.
    Nothing,
}

/// The columns of what all kinds have in common.
const COMMON: [&str; 10] = [
    "id",
    "organization_id",
    "project_id",
    "region",
    "name",
    "name_folded",
    "name_sort",
    "tags",
    "created_at",
    "updated_at",
];

/// How often a page is looked up whose objects are being deleted.
const TRIES: u32 = 3;

/// `LIMIT` and `OFFSET` of a page.
pub(crate) fn window(page: u32, page_size: u32) -> (i64, i64) {
    (i64::from(page_size), i64::from(page.max(1) - 1) * i64::from(page_size))
}

/// Appends ` AND column IN (…)` unless `ids` is empty.
pub(crate) fn push_ids(query: &mut QueryBuilder<Sqlite>, column: &str, ids: impl ExactSizeIterator<Item = Uuid>) {
    push_any(query, column, ids.map(blob));
}

/// Appends ` AND column IN (…)` unless `values` is empty.
pub(crate) fn push_any<T>(query: &mut QueryBuilder<Sqlite>, column: &str, values: impl ExactSizeIterator<Item = T>)
where
    T: Send + 'static + for<'q> sqlx::Encode<'q, Sqlite> + sqlx::Type<Sqlite>,
{
    if values.len() == 0 {
        return;
    }
    query.push(" AND ").push(column).push(" IN (");
    let mut list = query.separated(", ");
    for value in values {
        list.push_bind(value);
    }
    query.push(")");
}

/// Appends a filter that nothing passes, if `impossible`.
pub(crate) fn push_impossible(query: &mut QueryBuilder<Sqlite>, impossible: bool) {
    if impossible {
        query.push(" AND 0");
    }
}

/// The filters that every list has.
fn push_common(query: &mut QueryBuilder<Sqlite>, table: &str, region: &str, scope: Scope, list: &ListQuery) {
    query.push(" WHERE region = ").push_bind(region.to_owned());
    match scope {
        Scope::All => {}
        Scope::Project(project) => {
            query.push(" AND project_id = ").push_bind(blob(project.0));
        }
        Scope::Nothing => {
            query.push(" AND 0");
        }
    }
    if let Some(project) = list.project_id {
        query.push(" AND project_id = ").push_bind(blob(project.0));
    }
    if let Some(organization) = list.organization_id {
        query.push(" AND organization_id = ").push_bind(blob(organization.0));
    }
    if !list.tags.is_empty() {
        query.push(" AND EXISTS (SELECT 1 FROM tag WHERE tag.owner = ").push(table).push(".id");
        push_any(query, "tag.tag", list.tags.iter().cloned());
        query.push(")");
    }
}

fn push_order(query: &mut QueryBuilder<Sqlite>, list: &ListQuery, columns: &[(OrderField, &str)]) {
    let column = columns.iter().find(|(field, _)| *field == list.order).map_or("created_at", |(_, column)| *column);
    let direction = if list.descending { " DESC" } else { " ASC" };
    query.push(" ORDER BY ");
    for column in column.split(", ") {
        query.push(column).push(direction).push(", ");
    }
    query.push("seq").push(direction);
    let (limit, offset) = window(list.page, list.page_size);
    query.push(" LIMIT ").push_bind(limit).push(" OFFSET ").push_bind(offset);
}

/// Whether `row` is of a region, project and organization that the list is about.
fn is_asked(row: &SqliteRow, region: &str, scope: Scope, list: &ListQuery) -> Result<bool> {
    let project: ProjectId = row.id("project_id")?;
    let may_see = match scope {
        Scope::All => true,
        Scope::Project(own) => own == project,
        Scope::Nothing => false,
    };
    let organization: OrganizationId = row.id("organization_id")?;
    Ok(may_see
        && list.project_id.is_none_or(|asked| asked == project)
        && list.organization_id.is_none_or(|asked| asked == organization)
        && row.text("region")? == region)
}

/// The `seq`s of the page of objects that are few enough to look at each, and the count before paging. `rows` have `seq`, `name`,
/// `created_at` and `updated_at`; the list's project and organization are the caller's to look at.
pub(crate) fn named(rows: &[SqliteRow], list: &ListQuery) -> Result<(Vec<i64>, u64)> {
    let mut found = Vec::new();
    for row in rows {
        let name = row.text("name")?;
        if list.name.as_ref().is_some_and(|part| !name_matches(&name, part)) {
            continue;
        }
        let (text, time) = match list.order {
            OrderField::Name => (name_forms(&name).1, 0),
            OrderField::UpdatedAt => (String::new(), row.number::<i64>("updated_at")?),
            _ => (String::new(), row.number("created_at")?),
        };
        found.push((text, time, row.number::<i64>("seq")?));
    }
    found.sort_unstable();
    if list.descending {
        found.reverse();
    }
    let total = u64::try_from(found.len()).unwrap_or(u64::MAX);
    let (size, offset) = window(list.page, list.page_size);
    let [size, offset] = [size, offset].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    Ok((found.into_iter().skip(offset).take(size).map(|(_, _, seq)| seq).collect(), total))
}

impl Reader {
    /// The rows of `table` that have these rowids, in their order.
    pub(crate) async fn rows_in_order(&mut self, table: &'static str, page: &[i64]) -> Result<Vec<SqliteRow>> {
        let sql = format!(
            "SELECT {table}.* FROM json_each(?) AS wanted CROSS JOIN {table} ON {table}.rowid = wanted.value ORDER BY wanted.key"
        );
        Ok(sqlx::query(AssertSqlSafe(sql)).bind(to_json(&page)).fetch_all(self.connection()).await?)
    }

    /// Rows of one page of `table` and the count before paging. `select` reads the objects whole, up to its `WHERE`.
    ///
    /// Who is on the page says the catalogue, which a commit reaches a moment after the database: an object that was deleted within that
    /// moment has no row any more, and the page is looked up again.
    pub(crate) async fn listed(
        &mut self,
        table: &'static str,
        select: &'static str,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filters: Vec<Filter>,
    ) -> Result<(Vec<SqliteRow>, u64)> {
        let sql = format!("{select} WHERE {table}.seq IN (SELECT value FROM json_each(?))");
        let mut tries = 0;
        let catalog = match self.session {
            Session::Snapshot(_) => Arc::clone(&self.catalog),
            // What a writer has changed is in no catalogue yet.
            Session::Turn(..) => Catalog::load_only(self.connection().settled().await?, table).await?,
        };
        loop {
            let (page, total) = catalog.page(table, region, scope, list, filters.clone()).await?;
            let query = sqlx::query(AssertSqlSafe(sql.clone())).bind(to_json(&page));
            let mut rows = HashMap::with_capacity(page.len());
            for row in query.fetch_all(self.connection()).await? {
                // A `seq` that is free again may be somebody else's by now.
                if is_asked(&row, region, scope, list)? {
                    rows.insert(row.number::<i64>("seq")?, row);
                }
            }
            tries += 1;
            if rows.len() == page.len() || tries == TRIES {
                return Ok((page.iter().filter_map(|seq| rows.remove(seq)).collect(), total));
            }
            tokio::task::yield_now().await;
        }
    }

    /// Rows of one page and the count before paging, looked up in the database: for what the catalogue does not hold. `extra` appends its
    /// filters as ` AND …`.
    pub(crate) async fn page(
        &mut self,
        table: &'static str,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        extra: impl Fn(&mut QueryBuilder<Sqlite>),
    ) -> Result<(Vec<SqliteRow>, u64)> {
        let mut count = QueryBuilder::new("SELECT count(*) AS total FROM ");
        count.push(table);
        push_common(&mut count, table, region, scope, list);
        extra(&mut count);
        let total = count.build().fetch_one(self.connection()).await?.number("total")?;
        let mut query = QueryBuilder::new("SELECT * FROM ");
        query.push(table);
        push_common(&mut query, table, region, scope, list);
        extra(&mut query);
        let columns: &[(OrderField, &str)] = match table {
            "ip" => &[
                (OrderField::UpdatedAt, "updated_at"),
                (OrderField::AttachedAt, "attached_at"),
                (OrderField::Address, "is_ipv6, address"),
                (OrderField::MacAddress, "resource_mac"),
            ],
            "route" => {
                &[(OrderField::Destination, "is_ipv6, first, prefix_len"), (OrderField::PrefixLength, "prefix_len")]
            }
            _ => &[(OrderField::UpdatedAt, "updated_at")],
        };
        push_order(&mut query, list, columns);
        Ok((query.build().fetch_all(self.connection()).await?, total))
    }

    /// The row of an object.
    pub(crate) async fn row(&mut self, table: &'static str, id: Uuid) -> Result<Option<SqliteRow>> {
        let sql = AssertSqlSafe(format!("SELECT * FROM {table} WHERE id = ?"));
        Ok(sqlx::query(sql).bind(blob(id)).fetch_optional(self.connection()).await?)
    }

    /// The rows that `select`, up to its `WHERE`, and `condition` with one value give.
    pub(crate) async fn rows(
        &mut self,
        select: &'static str,
        condition: &'static str,
        value: Uuid,
    ) -> Result<Vec<SqliteRow>> {
        let sql = AssertSqlSafe(format!("{select} WHERE {condition}"));
        Ok(sqlx::query(sql).bind(blob(value)).fetch_all(self.connection()).await?)
    }
}

impl Writer {
    /// A row with the common columns and those of `more`.
    pub(crate) async fn insert(
        &mut self,
        kind: Kind,
        id: Uuid,
        meta: &Meta,
        more: &[&'static str],
        bind: impl FnOnce(&mut Values),
    ) -> Result<()> {
        let (folded, sort) = name_forms(&meta.name);
        let sql = insertion(kind.as_str(), COMMON.iter().chain(more).copied());
        self.change(&sql, |values| {
            values
                .push_bind(blob(id))
                .push_bind(blob(meta.organization_id.0))
                .push_bind(blob(meta.project_id.0))
                .push_bind(&meta.region)
                .push_bind(&meta.name)
                .push_bind(folded)
                .push_bind(sort)
                .push_bind(to_json(&meta.tags))
                .push_bind(meta.created_at.0)
                .push_bind(meta.updated_at.0);
            bind(values);
        })
        .await?;
        if kind.has_tag_rows() { self.add_tags(id, &meta.tags).await } else { Ok(()) }
    }

    /// Sets name, tags and the time of change.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_meta(&mut self, kind: Kind, id: Uuid, meta: &Meta) -> Result<()> {
        let (folded, sort) = name_forms(&meta.name);
        let table = kind.as_str();
        let sql = format!(
            "UPDATE {table} SET name = ?, name_folded = ?, name_sort = ?, tags = ?, updated_at = ? WHERE id = ?"
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(&meta.name)
            .bind(folded)
            .bind(sort)
            .bind(to_json(&meta.tags))
            .bind(meta.updated_at.0)
            .bind(blob(id))
            .execute(self.connection())
            .await?;
        if kind.has_tag_rows() { self.index_tags(id, &meta.tags).await } else { Ok(()) }
    }

    /// Sets the time of change alone.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn touch(&mut self, kind: Kind, id: Uuid, now: Timestamp) -> Result<()> {
        let sql = AssertSqlSafe(format!("UPDATE {} SET updated_at = ? WHERE id = ?", kind.as_str()));
        sqlx::query(sql).bind(now.0).bind(blob(id)).execute(self.connection()).await?;
        Ok(())
    }

    /// Removes an object; what belongs to it goes with it, and what refers to it makes this fail.
    ///
    /// # Errors
    /// If something still refers to it.
    pub async fn delete(&mut self, kind: Kind, id: Uuid) -> Result<()> {
        let sql = AssertSqlSafe(format!("DELETE FROM {} WHERE id = ?", kind.as_str()));
        sqlx::query(sql).bind(blob(id)).execute(self.connection()).await?;
        if kind.has_tag_rows() { self.index_tags(id, &[]).await } else { Ok(()) }
    }

    /// Makes `tags` the ones that the filter finds the object by.
    pub(crate) async fn index_tags(&mut self, id: Uuid, tags: &[String]) -> Result<()> {
        self.change("DELETE FROM tag WHERE owner = ?", |values| {
            values.push_bind(blob(id));
        })
        .await?;
        self.add_tags(id, tags).await
    }

    async fn add_tags(&mut self, id: Uuid, tags: &[String]) -> Result<()> {
        if tags.is_empty() {
            return Ok(());
        }
        let sql = "INSERT OR IGNORE INTO tag (tag, owner) SELECT value, ? FROM json_each(?)";
        self.change(sql, |values| {
            values.push_bind(blob(id)).push_bind(to_json(&tags));
        })
        .await
    }
}
