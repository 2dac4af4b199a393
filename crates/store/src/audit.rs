//! The audit trail: who changed what.

use causeway_model::command::ListQuery;
use causeway_model::resource::AuditRecord;
use causeway_model::{ProjectId, Timestamp};
use sqlx::{QueryBuilder, Sqlite};

use crate::list::window;
use crate::row::{RowExt, blob};
use crate::{Reader, Result, Writer};

/// Which audit records to show; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Done with this key.
    pub access_key: Option<String>,
    /// To an object of this kind: the API's name of it.
    pub resource: Option<String>,
    /// To this object.
    pub resource_id: Option<String>,
    /// `create`, `update`, `delete`, …
    pub action: Option<String>,
    /// By this request.
    pub request_id: Option<uuid::Uuid>,
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
}

impl AuditFilter {
    fn push(&self, query: &mut QueryBuilder<Sqlite>, project: Option<ProjectId>) {
        query.push(" FROM audit_record WHERE 1");
        for (column, text) in [
            ("access_key", &self.access_key),
            ("resource", &self.resource),
            ("resource_id", &self.resource_id),
            ("action", &self.action),
        ] {
            if let Some(text) = text {
                query.push(" AND ").push(column).push(" = ").push_bind(text.clone());
            }
        }
        if let Some(id) = self.request_id {
            query.push(" AND request_id = ").push_bind(blob(id));
        }
        if let Some(from) = self.from {
            query.push(" AND at >= ").push_bind(from.0);
        }
        if let Some(to) = self.to {
            query.push(" AND at < ").push_bind(to.0);
        }
        if let Some(project) = project {
            query.push(" AND project_id = ").push_bind(blob(project.0));
        }
    }
}

impl Reader {
    /// Audit records in the order of `list`, of its project if it names one, and how many there are.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn audit_records(&mut self, list: &ListQuery, filter: &AuditFilter) -> Result<(Vec<AuditRecord>, u64)> {
        let mut count = QueryBuilder::new("SELECT count(*) AS total");
        if *filter == AuditFilter::default() && list.project_id.is_none() {
            // Numbers are given one by one, and the oldest records go first: looking at both ends says how many there are.
            let ends = "(SELECT max(seq) FROM audit_record) - (SELECT min(seq) FROM audit_record) + 1";
            count = QueryBuilder::new(format!("SELECT coalesce({ends}, 0) AS total"));
        } else {
            filter.push(&mut count, list.project_id);
        }
        let total = count.build().fetch_one(self.connection()).await?.number("total")?;
        let mut query = QueryBuilder::new("SELECT *");
        filter.push(&mut query, list.project_id);
        let (limit, offset) = window(list.page, list.page_size);
        query.push(" ORDER BY seq ").push(if list.descending { "DESC" } else { "ASC" });
        query.push(" LIMIT ").push_bind(limit).push(" OFFSET ").push_bind(offset);
        let rows = query.build().fetch_all(self.connection()).await?;
        let records = rows.iter().map(|row| {
            Ok(AuditRecord {
                at: row.time("at")?,
                access_key: row.text("access_key")?,
                request_id: row.id("request_id")?,
                action: row.text("action")?,
                resource: row.text("resource")?,
                resource_id: row.text("resource_id")?,
                project_id: row.opt_id("project_id")?,
                details: row.json("details")?,
            })
        });
        Ok((records.collect::<Result<_>>()?, total))
    }
}

/// Kinds whose objects have a project in the table of that name.
const OWNED: [&str; 12] = [
    "route",
    "vpc",
    "private_network",
    "secret",
    "vpn_gateway",
    "customer_gateway",
    "routing_policy",
    "connection",
    "ip",
    "link",
    "link_routing_policy",
    "dedicated_connection",
];

impl Writer {
    /// Drops the oldest records from before `time`, at most so many, without gaps; how many it were.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn trim_audit(&mut self, time: Timestamp, most: u32) -> Result<u64> {
        let oldest = sqlx::query("SELECT seq, at FROM audit_record ORDER BY seq LIMIT ?").bind(most);
        let rows = oldest.fetch_all(self.connection()).await?;
        let mut last = None;
        for row in &rows {
            // A clock that was set back may have younger records before older ones: they wait.
            if row.time("at")? >= time {
                break;
            }
            last = Some(i64::try_from(row.number::<u64>("seq")?).unwrap_or(i64::MAX));
        }
        let Some(last) = last else { return Ok(0) };
        let deleted =
            sqlx::query("DELETE FROM audit_record WHERE seq <= ?").bind(last).execute(self.connection()).await?;
        Ok(deleted.rows_affected())
    }

    /// The project of an object that an audit record is about. What has just been deleted is known by its earlier records.
    pub(crate) async fn project_of(&mut self, resource: &str, id: &str) -> Result<Option<ProjectId>> {
        let table = OWNED.into_iter().find(|kind| *kind == resource);
        let row = match (table, uuid::Uuid::try_parse(id)) {
            (Some(table), Ok(id)) => {
                let mut query = QueryBuilder::<Sqlite>::new("SELECT project_id FROM ");
                query.push(table).push(" WHERE id = ").push_bind(blob(id));
                query.build().fetch_optional(self.connection()).await?
            }
            (None, Ok(id)) if resource == "project" => return Ok(Some(id.into())),
            _ if resource == "api_key" => {
                let query = sqlx::query("SELECT project_id FROM api_key WHERE access_key = ?").bind(id);
                query.fetch_optional(self.connection()).await?
            }
            _ => None,
        };
        let row = match row {
            Some(row) => Some(row),
            None => {
                let sql = "SELECT project_id FROM audit_record WHERE resource_id = ? AND project_id IS NOT NULL ORDER BY seq DESC LIMIT 1";
                sqlx::query(sql).bind(id).fetch_optional(self.connection()).await?
            }
        };
        row.map(|row| row.id("project_id")).transpose()
    }
}
