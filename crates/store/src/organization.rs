//! Organizations: what projects belong to.

use causeway_model::command::ListQuery;
use causeway_model::{OrganizationId, Timestamp};
use serde::Serialize;

use crate::list::named;
use crate::row::{RowExt, blob};
use crate::{Reader, Result, Writer};

/// An organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Organization {
    /// Id.
    pub id: OrganizationId,
    /// Name.
    pub name: String,
    /// Creation.
    pub created_at: Timestamp,
}

fn organization(row: &sqlx::sqlite::SqliteRow) -> Result<Organization> {
    Ok(Organization { id: row.id("id")?, name: row.text("name")?, created_at: row.time("created_at")? })
}

impl Reader {
    /// An organization.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn organization(&mut self, id: OrganizationId) -> Result<Option<Organization>> {
        self.row("organization", id.0).await?.as_ref().map(organization).transpose()
    }

    /// A page of organizations and their count.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn organizations(&mut self, list: &ListQuery) -> Result<(Vec<Organization>, u64)> {
        let sql = "SELECT rowid AS seq, name, created_at, created_at AS updated_at FROM organization";
        let (page, total) = named(&sqlx::query(sql).fetch_all(self.connection()).await?, list)?;
        let rows = self.rows_in_order("organization", &page).await?;
        Ok((rows.iter().map(organization).collect::<Result<_>>()?, total))
    }
}

impl Writer {
    /// Gives an organization another name.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn rename_organization(&mut self, id: OrganizationId, name: &str) -> Result<()> {
        sqlx::query("UPDATE organization SET name = ? WHERE id = ?")
            .bind(name)
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Removes an organization.
    ///
    /// # Errors
    /// If a project still belongs to it.
    pub async fn delete_organization(&mut self, id: OrganizationId) -> Result<()> {
        sqlx::query("DELETE FROM organization WHERE id = ?").bind(blob(id.0)).execute(self.connection()).await?;
        Ok(())
    }

    /// Takes a setting away.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn delete_setting(&mut self, key: &str) -> Result<()> {
        sqlx::query("DELETE FROM setting WHERE key = ?").bind(key).execute(self.connection()).await?;
        Ok(())
    }
}
