//! InterLink's catalogue: sizes, PoPs, partners, dedicated connections and ports.

use causeway_model::command::{DedicatedConnectionFilter, ListQuery};
use causeway_model::resource::{DedicatedConnection, LinkBandwidth, Partner, Pop, Port, PortOwner, VlanRange};
use causeway_model::{DedicatedConnectionId, NodeId, PartnerId, PopId, PortId};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::catalog::Filter;
use crate::list::{Kind, Scope};
use crate::row::{RowExt, blob, to_json, word};
use crate::{Reader, Result, Writer};

/// What the operator's catalogue consists of, beside the sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogueKind {
    /// A PoP.
    Pop,
    /// A partner.
    Partner,
    /// A dedicated connection.
    DedicatedConnection,
    /// A port.
    Port,
}

impl CatalogueKind {
    /// The table, which is also the API's name of the kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pop => "pop",
            Self::Partner => "partner",
            Self::DedicatedConnection => "dedicated_connection",
            Self::Port => "port",
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn vlans(row: &SqliteRow) -> Result<VlanRange> {
    Ok(VlanRange { start: row.number("vlan_start")?, end: row.number("vlan_end")? })
}

fn pop(row: &SqliteRow) -> Result<Pop> {
    Ok(Pop {
        id: row.id("id")?,
        region: row.text("region")?,
        name: row.text("name")?,
        display_name: row.text("display_name")?,
        city: row.text("city")?,
        address: row.text("address")?,
        hosting_provider_name: row.text("hosting_provider_name")?,
        logo_url: row.text("logo_url")?,
        link_bandwidths_mbps: row.json("link_bandwidths_mbps")?,
        capacity_mbps: row.opt_number("capacity_mbps")?,
    })
}

fn partner(row: &SqliteRow) -> Result<Partner> {
    Ok(Partner {
        id: row.id("id")?,
        region: row.text("region")?,
        name: row.text("name")?,
        contact_email: row.text("contact_email")?,
        logo_url: row.text("logo_url")?,
        portal_url: row.text("portal_url")?,
        asn: row.number("asn")?,
        l3_connectivity: row.flag("l3_connectivity")?,
        notify: row.flag("notify")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn dedicated(row: &SqliteRow) -> Result<DedicatedConnection> {
    Ok(DedicatedConnection {
        id: row.id("id")?,
        meta: row.meta()?,
        pop_id: row.id("pop_id")?,
        bandwidth_mbps: row.number("bandwidth_mbps")?,
        demarcation_info: row.opt_text("demarcation_info")?,
        vlan_range: vlans(row)?,
        state: row.word("state")?,
        locked: row.flag("locked")?,
    })
}

fn port(row: &SqliteRow) -> Result<Port> {
    let owner = match row.opt_id("partner_id")? {
        Some(partner) => PortOwner::Partner(partner),
        None => PortOwner::DedicatedConnection(row.id("dedicated_connection_id")?),
    };
    Ok(Port {
        id: row.id("id")?,
        region: row.text("region")?,
        name: row.text("name")?,
        pop_id: row.id("pop_id")?,
        node_id: row.opt_id("node_id")?,
        owner,
        attachment: row.json("attachment")?,
        vlan_range: vlans(row)?,
        capacity_mbps: row.number("capacity_mbps")?,
        enabled: row.flag("enabled")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

impl Reader {
    /// The sizes on offer, the smallest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn link_bandwidths(&mut self) -> Result<Vec<LinkBandwidth>> {
        let rows =
            sqlx::query("SELECT * FROM link_bandwidth ORDER BY bandwidth_mbps").fetch_all(self.connection()).await?;
        let size = |row: &SqliteRow| {
            Ok(LinkBandwidth {
                bandwidth_mbps: row.number("bandwidth_mbps")?,
                price_per_hour: row.number("price_per_hour")?,
            })
        };
        rows.iter().map(size).collect()
    }

    /// How many links of a size are kept.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn links_of_bandwidth(&mut self, bandwidth_mbps: u64) -> Result<u64> {
        sqlx::query("SELECT count(*) AS total FROM link WHERE bandwidth_mbps = ?")
            .bind(signed(bandwidth_mbps))
            .fetch_one(self.connection())
            .await?
            .number("total")
    }

    /// A PoP.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn pop(&mut self, id: PopId) -> Result<Option<Pop>> {
        self.row("pop", id.0).await?.as_ref().map(pop).transpose()
    }

    /// The PoPs, in the order in which they were added.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn pops(&mut self) -> Result<Vec<Pop>> {
        let rows = sqlx::query("SELECT * FROM pop ORDER BY seq").fetch_all(self.connection()).await?;
        rows.iter().map(pop).collect()
    }

    /// A partner.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn partner(&mut self, id: PartnerId) -> Result<Option<Partner>> {
        self.row("partner", id.0).await?.as_ref().map(partner).transpose()
    }

    /// The partners, in the order in which they were added.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn partners(&mut self) -> Result<Vec<Partner>> {
        let rows = sqlx::query("SELECT * FROM partner ORDER BY seq").fetch_all(self.connection()).await?;
        rows.iter().map(partner).collect()
    }

    /// A dedicated connection.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn dedicated_connection(&mut self, id: DedicatedConnectionId) -> Result<Option<DedicatedConnection>> {
        self.row("dedicated_connection", id.0).await?.as_ref().map(dedicated).transpose()
    }

    /// A page of dedicated connections.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn dedicated_connections(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filter: &DedicatedConnectionFilter,
    ) -> Result<(Vec<DedicatedConnection>, u64)> {
        let filters = vec![
            Filter::texts("status", filter.status.map(|status| status.as_str())),
            Filter::texts("bandwidth_mbps", filter.bandwidth_mbps.map(|size| size.to_string())),
            Filter::ids("pop_id", filter.pop_id.map(|id| id.0)),
        ];
        let select = "SELECT * FROM dedicated_connection";
        let (rows, total) = self.listed("dedicated_connection", select, region, scope, list, filters).await?;
        Ok((rows.iter().map(dedicated).collect::<Result<_>>()?, total))
    }

    /// Every dedicated connection, in the order in which they were added.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn all_dedicated_connections(&mut self) -> Result<Vec<DedicatedConnection>> {
        let rows = sqlx::query("SELECT * FROM dedicated_connection ORDER BY seq").fetch_all(self.connection()).await?;
        rows.iter().map(dedicated).collect()
    }

    /// A port.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn port(&mut self, id: PortId) -> Result<Option<Port>> {
        self.row("port", id.0).await?.as_ref().map(port).transpose()
    }

    /// The ports, in the order in which they were added: orders take the first that fits.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn ports(&mut self) -> Result<Vec<Port>> {
        let rows = sqlx::query("SELECT * FROM port ORDER BY seq").fetch_all(self.connection()).await?;
        rows.iter().map(port).collect()
    }

    /// The nodes that carry links of a port, those included that have still to remove one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn nodes_of_port(&mut self, id: PortId) -> Result<Vec<NodeId>> {
        let rows = sqlx::query("SELECT DISTINCT node_id FROM link WHERE port_id = ? AND node_id IS NOT NULL")
            .bind(blob(id.0))
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(|row| row.id("node_id")).collect()
    }

    /// Mbit/s that the links of each port and of each PoP have together; those without links are missing.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn link_loads(&mut self) -> Result<(Vec<(PortId, u64, u64)>, Vec<(PopId, u64)>)> {
        let ports = sqlx::query(
            "SELECT port_id AS id, sum(bandwidth_mbps) AS used, count(*) AS links FROM link_allocation GROUP BY port_id",
        )
        .fetch_all(self.connection())
        .await?;
        let pops = sqlx::query("SELECT pop_id AS id, sum(bandwidth_mbps) AS used FROM link_allocation GROUP BY pop_id")
            .fetch_all(self.connection())
            .await?;
        let port = |row: &SqliteRow| Ok((row.id("id")?, row.number("used")?, row.number("links")?));
        let pop = |row: &SqliteRow| Ok((row.id("id")?, row.number("used")?));
        Ok((ports.iter().map(port).collect::<Result<_>>()?, pops.iter().map(pop).collect::<Result<_>>()?))
    }

    /// What refers to an object of the catalogue, the most telling first: `links`, `ports`, `dedicated connections` or `keys` and how many.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn catalogue_users(&mut self, kind: CatalogueKind, id: Uuid) -> Result<Vec<(&'static str, u64)>> {
        let users: &[(&'static str, &'static str)] = match kind {
            CatalogueKind::Pop => &[
                ("links", "SELECT count(*) AS total FROM link WHERE pop_id = ?"),
                ("ports", "SELECT count(*) AS total FROM port WHERE pop_id = ?"),
                ("dedicated connections", "SELECT count(*) AS total FROM dedicated_connection WHERE pop_id = ?"),
            ],
            CatalogueKind::Partner => &[
                ("links", "SELECT count(*) AS total FROM link WHERE partner_id = ?"),
                ("ports", "SELECT count(*) AS total FROM port WHERE partner_id = ?"),
                ("keys", "SELECT count(*) AS total FROM api_key WHERE partner_id = ? AND revoked_at IS NULL"),
            ],
            CatalogueKind::DedicatedConnection => &[
                ("links", "SELECT count(*) AS total FROM link WHERE connection_id = ?"),
                ("ports", "SELECT count(*) AS total FROM port WHERE dedicated_connection_id = ?"),
            ],
            CatalogueKind::Port => &[("links", "SELECT count(*) AS total FROM link WHERE port_id = ?")],
        };
        let mut found = Vec::new();
        for (what, sql) in users {
            let total = sqlx::query(*sql).bind(blob(id)).fetch_one(self.connection()).await?.number("total")?;
            if total > 0 {
                found.push((*what, total));
            }
        }
        Ok(found)
    }
}

impl Writer {
    /// Puts a size on offer, or gives it another price. Links that exist keep the price that they were ordered at.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_link_bandwidth(&mut self, size: LinkBandwidth) -> Result<()> {
        sqlx::query(
            "INSERT INTO link_bandwidth (bandwidth_mbps, price_per_hour) VALUES (?, ?) \
             ON CONFLICT DO UPDATE SET price_per_hour = excluded.price_per_hour",
        )
        .bind(signed(size.bandwidth_mbps))
        .bind(signed(size.price_per_hour))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Takes a size from the offer.
    ///
    /// # Errors
    /// If a link has it.
    pub async fn delete_link_bandwidth(&mut self, bandwidth_mbps: u64) -> Result<()> {
        sqlx::query("DELETE FROM link_bandwidth WHERE bandwidth_mbps = ?")
            .bind(signed(bandwidth_mbps))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Adds a PoP, or changes the one with its id.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_pop(&mut self, pop: &Pop) -> Result<()> {
        sqlx::query(
            "INSERT INTO pop (id, region, name, display_name, city, address, hosting_provider_name, logo_url, link_bandwidths_mbps, \
             capacity_mbps) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
             display_name = excluded.display_name, city = excluded.city, address = excluded.address, \
             hosting_provider_name = excluded.hosting_provider_name, logo_url = excluded.logo_url, \
             link_bandwidths_mbps = excluded.link_bandwidths_mbps, capacity_mbps = excluded.capacity_mbps",
        )
        .bind(blob(pop.id.0))
        .bind(&pop.region)
        .bind(&pop.name)
        .bind(&pop.display_name)
        .bind(&pop.city)
        .bind(&pop.address)
        .bind(&pop.hosting_provider_name)
        .bind(&pop.logo_url)
        .bind(to_json(&pop.link_bandwidths_mbps))
        .bind(pop.capacity_mbps.map(signed))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Adds a partner, or changes the one with its id.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_partner(&mut self, partner: &Partner) -> Result<()> {
        sqlx::query(
            "INSERT INTO partner (id, region, name, contact_email, logo_url, portal_url, asn, l3_connectivity, notify, created_at, \
             updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, \
             contact_email = excluded.contact_email, logo_url = excluded.logo_url, portal_url = excluded.portal_url, \
             asn = excluded.asn, l3_connectivity = excluded.l3_connectivity, notify = excluded.notify, updated_at = excluded.updated_at",
        )
        .bind(blob(partner.id.0))
        .bind(&partner.region)
        .bind(&partner.name)
        .bind(&partner.contact_email)
        .bind(&partner.logo_url)
        .bind(&partner.portal_url)
        .bind(partner.asn)
        .bind(partner.l3_connectivity)
        .bind(partner.notify)
        .bind(partner.created_at.0)
        .bind(partner.updated_at.0)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Adds a dedicated connection.
    ///
    /// # Errors
    /// If the PoP does not exist.
    pub async fn insert_dedicated_connection(&mut self, connection: &DedicatedConnection) -> Result<()> {
        let columns = ["pop_id", "bandwidth_mbps", "demarcation_info", "vlan_start", "vlan_end", "state", "locked"];
        self.insert(Kind::DedicatedConnection, connection.id.0, &connection.meta, &columns, |values| {
            values
                .push_bind(blob(connection.pop_id.0))
                .push_bind(signed(connection.bandwidth_mbps))
                .push_bind(connection.demarcation_info.clone())
                .push_bind(connection.vlan_range.start)
                .push_bind(connection.vlan_range.end)
                .push_bind(word(connection.state))
                .push_bind(connection.locked);
        })
        .await
    }

    /// Sets what an operator says of a dedicated connection.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_dedicated_connection(&mut self, connection: &DedicatedConnection) -> Result<()> {
        sqlx::query(
            "UPDATE dedicated_connection SET bandwidth_mbps = ?, demarcation_info = ?, vlan_start = ?, vlan_end = ?, state = ? WHERE id = ?",
        )
        .bind(signed(connection.bandwidth_mbps))
        .bind(&connection.demarcation_info)
        .bind(connection.vlan_range.start)
        .bind(connection.vlan_range.end)
        .bind(word(connection.state))
        .bind(blob(connection.id.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Locks a dedicated connection for a reason, or unlocks it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_dedicated_connection_lock(
        &mut self,
        id: DedicatedConnectionId,
        reason: Option<&str>,
    ) -> Result<()> {
        sqlx::query("UPDATE dedicated_connection SET locked = ?, lock_reason = ? WHERE id = ?")
            .bind(reason.is_some())
            .bind(reason)
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Adds a port, or changes the one with its id; where it is and whose it is stays.
    ///
    /// # Errors
    /// If the PoP or the owner does not exist, or the dedicated connection has a port.
    pub async fn set_port(&mut self, port: &Port) -> Result<()> {
        let (partner, connection) = match port.owner {
            PortOwner::Partner(id) => (Some(id.0), None),
            PortOwner::DedicatedConnection(id) => (None, Some(id.0)),
        };
        sqlx::query(
            "INSERT INTO port (id, region, name, pop_id, partner_id, dedicated_connection_id, attachment, vlan_start, vlan_end, \
             capacity_mbps, enabled, created_at, updated_at, node_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, node_id = excluded.node_id, attachment = excluded.attachment, vlan_start = excluded.vlan_start, \
             vlan_end = excluded.vlan_end, capacity_mbps = excluded.capacity_mbps, enabled = excluded.enabled, \
             updated_at = excluded.updated_at",
        )
        .bind(blob(port.id.0))
        .bind(&port.region)
        .bind(&port.name)
        .bind(blob(port.pop_id.0))
        .bind(partner.map(blob))
        .bind(connection.map(blob))
        .bind(to_json(&port.attachment))
        .bind(port.vlan_range.start)
        .bind(port.vlan_range.end)
        .bind(signed(port.capacity_mbps))
        .bind(port.enabled)
        .bind(port.created_at.0)
        .bind(port.updated_at.0)
        .bind(port.node_id.map(|id| blob(id.0)))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Removes an object of the catalogue.
    ///
    /// # Errors
    /// If something refers to it.
    pub async fn delete_catalogue_object(&mut self, kind: CatalogueKind, id: Uuid) -> Result<()> {
        let sql = AssertSqlSafe(format!("DELETE FROM {} WHERE id = ?", kind.as_str()));
        sqlx::query(sql).bind(blob(id)).execute(self.connection()).await?;
        self.index_tags(id, &[]).await
    }
}
