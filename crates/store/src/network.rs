//! VPCs, Private Networks, their subnets, and addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_model::command::{IpFilter, ListQuery, PrivateNetworkFilter, SubnetFilter, VpcFilter};
use causeway_model::resource::{Ip, IpResource, IpSource, PlacedSubnet, PrivateNetwork, Subnet, Vpc};
use causeway_model::{IpId, NodeId, PrivateNetworkId, ProjectId, SubnetId, Timestamp, VpcId};
use ipnet::IpNet;
use serde::Deserialize;
use sqlx::QueryBuilder;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::catalog::Filter;
use crate::list::{Kind, Scope, push_any, push_ids, push_impossible, window};
use crate::row::{RowExt, address_blob, blob, name_matches, to_json};
use crate::{Among, Reader, Result, StoreError, Writer};

/// VPCs with the number of their networks, in one statement.
const VPC: &str =
    "SELECT vpc.*, (SELECT count(*) FROM private_network WHERE vpc_id = vpc.id) AS private_network_count FROM vpc";

/// Private Networks with their VPC and subnets.
const PLACED: &str = "SELECT private_network.vpc_id, private_network.id, (SELECT coalesce(json_group_array(subnet ORDER BY is_ipv6), '[]') \
    FROM subnet WHERE private_network_id = private_network.id) AS subnets FROM private_network JOIN vpc ON vpc.id = private_network.vpc_id";

/// Private Networks with their subnets, in one statement.
const NETWORK: &str = "SELECT private_network.*, (SELECT json_group_array(json_object('id', lower(hex(id)), 'subnet', subnet, \
     'created_at', created_at, 'updated_at', updated_at) ORDER BY is_ipv6) FROM subnet WHERE private_network_id = private_network.id) \
     AS subnets FROM private_network";

/// A subnet within [`NETWORK`].
#[derive(Deserialize)]
struct SubnetColumns {
    id: Uuid,
    subnet: IpNet,
    created_at: i64,
    updated_at: i64,
}

impl From<SubnetColumns> for Subnet {
    fn from(columns: SubnetColumns) -> Self {
        Self {
            id: columns.id.into(),
            subnet: columns.subnet,
            created_at: Timestamp(columns.created_at),
            updated_at: Timestamp(columns.updated_at),
        }
    }
}

fn network(row: &SqliteRow) -> Result<PrivateNetwork> {
    Ok(PrivateNetwork {
        id: row.id("id")?,
        meta: row.meta()?,
        vpc_id: row.id("vpc_id")?,
        subnets: row.json::<Vec<SubnetColumns>>("subnets")?.into_iter().map(Into::into).collect(),
        default_route_propagation_enabled: row.flag("default_route_propagation_enabled")?,
        dhcp_enabled: row.flag("dhcp_enabled")?,
    })
}

fn vpc(row: &SqliteRow) -> Result<Vpc> {
    Ok(Vpc {
        id: row.id("id")?,
        meta: row.meta()?,
        is_default: row.flag("is_default")?,
        custom_routes_propagation_enabled: row.flag("custom_routes_propagation_enabled")?,
        private_network_count: row.number("private_network_count")?,
    })
}

fn subnet(row: &SqliteRow) -> Result<Subnet> {
    Ok(Subnet {
        id: row.id("id")?,
        subnet: row.parse("subnet")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub(crate) fn ip(row: &SqliteRow) -> Result<Ip> {
    let address = IpNet::new(row.address("address")?, row.number("prefix_len")?)
        .map_err(|error| StoreError::Corrupt { column: "prefix_len", problem: error.to_string() })?;
    let zone = row.opt_text("zone")?;
    let resource = match (row.opt_text("resource_kind")?, row.opt_id("resource_id")?) {
        (Some(kind), Some(id)) => Some(IpResource {
            kind,
            id,
            name: row.opt_text("resource_name")?,
            mac_address: row.opt_text("resource_mac")?,
        }),
        _ => None,
    };
    Ok(Ip {
        id: row.id("id")?,
        project_id: row.id("project_id")?,
        region: row.text("region")?,
        source: match &zone {
            Some(zone) => IpSource::Zonal(zone.clone()),
            None => IpSource::Subnet(row.id("subnet_id")?),
        },
        zone,
        address,
        resource,
        reverses: row.json("reverses")?,
        tags: row.json("tags")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

impl Reader {
    /// A VPC.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpc(&mut self, id: VpcId) -> Result<Option<Vpc>> {
        self.rows(VPC, "id = ?", id.0).await?.first().map(vpc).transpose()
    }

    /// The default VPC of a project.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn default_vpc(&mut self, project: ProjectId, region: &str) -> Result<Option<VpcId>> {
        let row = sqlx::query("SELECT id FROM vpc WHERE project_id = ? AND region = ? AND is_default = 1")
            .bind(blob(project.0))
            .bind(region)
            .fetch_optional(self.connection())
            .await?;
        row.map(|row| row.id("id")).transpose()
    }

    /// A page of VPCs.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpcs(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filter: &VpcFilter,
    ) -> Result<(Vec<Vpc>, u64)> {
        if filter.impossible {
            return Ok((Vec::new(), 0));
        }
        let filters = vec![Filter::flag("is_default", filter.is_default)];
        let (rows, total) = self.listed("vpc", VPC, region, scope, list, filters).await?;
        Ok((rows.iter().map(vpc).collect::<Result<_>>()?, total))
    }

    /// A Private Network.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn private_network(&mut self, id: PrivateNetworkId) -> Result<Option<PrivateNetwork>> {
        self.rows(NETWORK, "id = ?", id.0).await?.first().map(network).transpose()
    }

    /// A page of Private Networks.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn private_networks(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filter: &PrivateNetworkFilter,
    ) -> Result<(Vec<PrivateNetwork>, u64)> {
        if filter.impossible {
            return Ok((Vec::new(), 0));
        }
        let filters = vec![
            Filter::ids("vpc_id", filter.vpc_id.iter().map(|id| id.0)),
            Filter::ids("id", filter.private_network_ids.iter().map(|id| id.0)),
            Filter::flag("dhcp_enabled", filter.dhcp_enabled),
        ];
        let (rows, total) = self.listed("private_network", NETWORK, region, scope, list, filters).await?;
        Ok((rows.iter().map(network).collect::<Result<_>>()?, total))
    }

    /// Every Private Network of the region, VPC by VPC: what routers are rendered from.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn networks_by_vpc(
        &mut self,
        region: &str,
        among: &Among,
    ) -> Result<Vec<(VpcId, PrivateNetworkId, Vec<IpNet>)>> {
        let condition = among.condition("private_network.vpc_id");
        let sql =
            format!("{PLACED} WHERE private_network.region = ? AND {condition} ORDER BY vpc.seq, private_network.seq");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(region);
        let rows = among.bind(query).fetch_all(self.connection()).await?;
        rows.iter().map(|row| Ok((row.id("vpc_id")?, row.id("id")?, row.json("subnets")?))).collect()
    }

    /// The Private Networks of one VPC, with their subnets.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn networks_of(&mut self, vpc: VpcId) -> Result<Vec<(PrivateNetworkId, Vec<IpNet>)>> {
        let sql = format!("{PLACED} WHERE private_network.vpc_id = ? ORDER BY private_network.seq");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(blob(vpc.0)).fetch_all(self.connection()).await?;
        rows.iter().map(|row| Ok((row.id("id")?, row.json("subnets")?))).collect()
    }

    /// The subnets of a VPC.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpc_subnets(&mut self, id: VpcId) -> Result<Vec<IpNet>> {
        let rows = sqlx::query("SELECT subnet FROM subnet WHERE vpc_id = ? ORDER BY is_ipv6, first")
            .bind(blob(id.0))
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(|row| row.parse("subnet")).collect()
    }

    /// The subnets of all of a project's VPCs.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn project_subnets(&mut self, id: ProjectId) -> Result<Vec<IpNet>> {
        let rows = sqlx::query(
            "SELECT subnet FROM subnet JOIN private_network ON private_network.id = subnet.private_network_id WHERE project_id = ? \
             ORDER BY is_ipv6, first",
        )
        .bind(blob(id.0))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.parse("subnet")).collect()
    }

    /// A page of subnets, each with its project, region, Private Network and VPC.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn subnets(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filter: &SubnetFilter,
    ) -> Result<(Vec<PlacedSubnet>, u64)> {
        let only = |query: &mut QueryBuilder<sqlx::Sqlite>| {
            query.push(" FROM subnet JOIN private_network AS network ON network.id = subnet.private_network_id");
            query.push(" WHERE network.region = ").push_bind(region.to_owned());
            match scope {
                Scope::All => {}
                Scope::Project(project) => {
                    query.push(" AND network.project_id = ").push_bind(blob(project.0));
                }
                Scope::Nothing => push_impossible(query, true),
            }
            push_ids(query, "network.project_id", list.project_id.iter().map(|id| id.0));
            push_ids(query, "network.organization_id", list.organization_id.iter().map(|id| id.0));
            push_ids(query, "subnet.vpc_id", filter.vpc_id.iter().map(|id| id.0));
            push_ids(query, "subnet.id", filter.subnet_ids.iter().map(|id| id.0));
        };
        let mut count = QueryBuilder::new("SELECT count(*) AS total");
        only(&mut count);
        let total = count.build().fetch_one(self.connection()).await?.number("total")?;
        let mut query = QueryBuilder::new("SELECT subnet.*, network.project_id, network.region");
        only(&mut query);
        let direction = if list.descending { " DESC" } else { "" };
        for (column, last) in [("subnet.created_at", false), ("network.seq", false), ("subnet.is_ipv6", true)] {
            query.push(if column == "subnet.created_at" { " ORDER BY " } else { ", " }).push(column);
            // Within a network IPv4 stands first in any order.
            query.push(if last { "" } else { direction });
        }
        let (limit, offset) = window(list.page, list.page_size);
        query.push(" LIMIT ").push_bind(limit).push(" OFFSET ").push_bind(offset);
        let rows = query.build().fetch_all(self.connection()).await?;
        let subnets = rows.iter().map(|row| {
            Ok(PlacedSubnet {
                subnet: subnet(row)?,
                project_id: row.id("project_id")?,
                region: row.text("region")?,
                private_network_id: row.id("private_network_id")?,
                vpc_id: row.id("vpc_id")?,
            })
        });
        Ok((subnets.collect::<Result<_>>()?, total))
    }

    /// A subnet, its Private Network and its VPC.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn subnet(&mut self, id: SubnetId) -> Result<Option<(Subnet, PrivateNetworkId, VpcId)>> {
        let Some(row) = self.row("subnet", id.0).await? else { return Ok(None) };
        Ok(Some((subnet(&row)?, row.id("private_network_id")?, row.id("vpc_id")?)))
    }

    /// An address.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn ip(&mut self, id: IpId) -> Result<Option<Ip>> {
        self.row("ip", id.0).await?.as_ref().map(ip).transpose()
    }

    /// The addresses of a node's gateways, with the length of their subnets.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn addresses_of_node(&mut self, node: NodeId) -> Result<BTreeMap<IpId, IpNet>> {
        let rows = sqlx::query(
            "SELECT ip.* FROM vpn_gateway AS gateway JOIN ip ON ip.id IN (gateway.ipam_private_ipv4_id, \
             gateway.ipam_private_ipv6_id, gateway.public_ipv4_id, gateway.public_ipv6_id) WHERE gateway.node_id = ?",
        )
        .bind(blob(node.0))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| ip(row).map(|ip| (ip.id, ip.address))).collect()
    }

    /// A page of addresses.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn ips(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filter: &IpFilter,
    ) -> Result<(Vec<Ip>, u64)> {
        let names = match &filter.resource_name {
            Some(name) => Some(to_json(&self.resource_names(scope, name).await?)),
            None => None,
        };
        let (rows, total) = self
            .page("ip", region, scope, list, |query| {
                if let Some(id) = filter.vpc_id {
                    query
                        .push(" AND subnet_id IN (SELECT id FROM subnet WHERE vpc_id = ")
                        .push_bind(blob(id.0))
                        .push(")");
                }
                if let Some(id) = filter.private_network_id {
                    query.push(" AND subnet_id IN (SELECT id FROM subnet WHERE private_network_id = ");
                    query.push_bind(blob(id.0)).push(")");
                }
                push_ids(query, "subnet_id", filter.subnet_id.iter().map(|id| id.0));
                push_any(query, "zone", filter.zonal.iter().cloned());
                match filter.attached {
                    Some(true) => _ = query.push(" AND resource_id IS NOT NULL"),
                    Some(false) => _ = query.push(" AND resource_id IS NULL"),
                    None => {}
                }
                push_ids(query, "resource_id", filter.resource_ids.iter().copied());
                push_any(query, "resource_kind", filter.resource_types.iter().cloned());
                if let Some(names) = &names {
                    query
                        .push(" AND resource_name IN (SELECT value FROM json_each(")
                        .push_bind(names.clone())
                        .push("))");
                }
                push_any(query, "resource_mac", filter.mac_address.iter().cloned());
                if let Some(is_ipv6) = filter.is_ipv6 {
                    query.push(" AND is_ipv6 = ").push_bind(is_ipv6);
                }
                push_ids(query, "id", filter.ip_ids.iter().map(|id| id.0));
                push_impossible(query, filter.sourceless);
            })
            .await?;
        Ok((rows.iter().map(ip).collect::<Result<_>>()?, total))
    }

    /// The names of resources that contain `part`, as all name filters compare them: SQLite itself knows the case of ASCII alone.
    async fn resource_names(&mut self, scope: Scope, part: &str) -> Result<Vec<String>> {
        let mut query = QueryBuilder::new("SELECT DISTINCT resource_name FROM ip WHERE resource_name IS NOT NULL");
        match scope {
            Scope::All => {}
            Scope::Project(project) => _ = query.push(" AND project_id = ").push_bind(blob(project.0)),
            Scope::Nothing => push_impossible(&mut query, true),
        }
        let rows = query.build().fetch_all(self.connection()).await?;
        let mut names = rows.iter().map(|row| row.text("resource_name")).collect::<Result<Vec<_>>>()?;
        names.retain(|name| name_matches(name, part));
        Ok(names)
    }

    /// The addresses that are taken in a subnet, in order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn taken_in_subnet(&mut self, id: SubnetId) -> Result<Vec<IpAddr>> {
        let rows = sqlx::query("SELECT address FROM ip WHERE subnet_id = ? ORDER BY address")
            .bind(blob(id.0))
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(|row| row.address("address")).collect()
    }

    /// The public addresses that are taken within a prefix, in order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn taken_publicly(&mut self, prefix: &IpNet) -> Result<Vec<IpAddr>> {
        let rows = sqlx::query(
            "SELECT address FROM ip WHERE zone IS NOT NULL AND is_ipv6 = ? AND address BETWEEN ? AND ? ORDER BY address",
        )
        .bind(matches!(prefix, IpNet::V6(_)))
        .bind(address_blob(prefix.network()))
        .bind(address_blob(prefix.broadcast()))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.address("address")).collect()
    }

    /// How many addresses of a Private Network resources use.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn attached_in_network(&mut self, id: PrivateNetworkId) -> Result<u64> {
        sqlx::query(
            "SELECT count(*) AS total FROM ip JOIN subnet ON subnet.id = ip.subnet_id WHERE private_network_id = ? AND resource_id IS NOT NULL",
        )
        .bind(blob(id.0))
        .fetch_one(self.connection())
        .await?
        .number("total")
    }

    /// Whether `address` is a public address of one of our own VPN gateways.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn is_own_public_address(&mut self, address: IpAddr) -> Result<bool> {
        let row = sqlx::query(
            "SELECT count(*) AS total FROM ip WHERE zone IS NOT NULL AND resource_kind = 'vpn_gateway' AND address = ?",
        )
        .bind(address_blob(address))
        .fetch_one(self.connection())
        .await?;
        Ok(row.number::<u64>("total")? > 0)
    }
}

impl Writer {
    /// Adds a VPC.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_vpc(&mut self, vpc: &Vpc) -> Result<()> {
        let columns = ["is_default", "custom_routes_propagation_enabled"];
        self.insert(Kind::Vpc, vpc.id.0, &vpc.meta, &columns, |values| {
            values.push_bind(vpc.is_default).push_bind(vpc.custom_routes_propagation_enabled);
        })
        .await
    }

    /// Adds a Private Network with its subnets.
    ///
    /// # Errors
    /// If a subnet overlaps another one of the VPC.
    pub async fn insert_private_network(&mut self, network: &PrivateNetwork) -> Result<()> {
        let columns = ["vpc_id", "default_route_propagation_enabled", "dhcp_enabled"];
        self.insert(Kind::PrivateNetwork, network.id.0, &network.meta, &columns, |values| {
            values
                .push_bind(blob(network.vpc_id.0))
                .push_bind(network.default_route_propagation_enabled)
                .push_bind(network.dhcp_enabled);
        })
        .await?;
        for subnet in &network.subnets {
            sqlx::query(
                "INSERT INTO subnet (id, private_network_id, vpc_id, is_ipv6, first, last, subnet, created_at, updated_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(blob(subnet.id.0))
            .bind(blob(network.id.0))
            .bind(blob(network.vpc_id.0))
            .bind(matches!(subnet.subnet, IpNet::V6(_)))
            .bind(address_blob(subnet.subnet.network()))
            .bind(address_blob(subnet.subnet.broadcast()))
            .bind(subnet.subnet.to_string())
            .bind(subnet.created_at.0)
            .bind(subnet.updated_at.0)
            .execute(self.connection())
            .await?;
        }
        Ok(())
    }

    /// Sets whether the default route is propagated.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_default_route_propagation(&mut self, id: PrivateNetworkId, enabled: bool) -> Result<()> {
        sqlx::query("UPDATE private_network SET default_route_propagation_enabled = ? WHERE id = ?")
            .bind(enabled)
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Removes the addresses of a Private Network that nothing uses.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn release_unattached_ips(&mut self, id: PrivateNetworkId) -> Result<Vec<IpId>> {
        let doomed = "resource_id IS NULL AND subnet_id IN (SELECT id FROM subnet WHERE private_network_id = ?)";
        let tags = format!("DELETE FROM tag WHERE owner IN (SELECT id FROM ip WHERE {doomed})");
        sqlx::query(sqlx::AssertSqlSafe(tags)).bind(blob(id.0)).execute(self.connection()).await?;
        let ips = format!("DELETE FROM ip WHERE {doomed} RETURNING id");
        let rows = sqlx::query(sqlx::AssertSqlSafe(ips)).bind(blob(id.0)).fetch_all(self.connection()).await?;
        rows.iter().map(|row| row.id("id")).collect()
    }

    /// Adds an address. `allotted`: released together with its resource.
    ///
    /// # Errors
    /// If the address is taken.
    pub async fn insert_ip(&mut self, ip: &Ip, allotted: bool) -> Result<()> {
        let mut query = QueryBuilder::new(
            "INSERT INTO ip (id, project_id, organization_id, region, zone, subnet_id, is_ipv6, address, prefix_len, allotted, \
             resource_kind, resource_id, resource_name, resource_mac, attached_at, reverses, tags, created_at, updated_at) \
             SELECT ",
        );
        let subnet = match &ip.source {
            IpSource::Subnet(id) => Some(blob(id.0)),
            IpSource::Zonal(_) => None,
        };
        let resource = ip.resource.as_ref();
        let mut values = query.separated(", ");
        values
            .push_bind(blob(ip.id.0))
            .push_bind(blob(ip.project_id.0))
            .push("organization_id")
            .push_bind(ip.region.clone())
            .push_bind(ip.zone.clone())
            .push_bind(subnet)
            .push_bind(matches!(ip.address, IpNet::V6(_)))
            .push_bind(address_blob(ip.address.addr()))
            .push_bind(i64::from(ip.address.prefix_len()))
            .push_bind(allotted)
            .push_bind(resource.map(|resource| resource.kind.clone()))
            .push_bind(resource.map(|resource| blob(resource.id)))
            .push_bind(resource.and_then(|resource| resource.name.clone()))
            .push_bind(resource.and_then(|resource| resource.mac_address.clone()))
            .push_bind(resource.map(|_| ip.created_at.0))
            .push_bind(to_json(&ip.reverses))
            .push_bind(to_json(&ip.tags))
            .push_bind(ip.created_at.0)
            .push_bind(ip.updated_at.0);
        query.push(" FROM project WHERE id = ").push_bind(blob(ip.project_id.0));
        query.build().execute(self.connection()).await?;
        self.index_tags(ip.id.0, &ip.tags).await
    }

    /// Sets what uses an address.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn attach_ip(&mut self, id: IpId, resource: &IpResource, now: Timestamp) -> Result<()> {
        sqlx::query(
            "UPDATE ip SET resource_kind = ?1, resource_id = ?2, resource_name = ?3, resource_mac = ?4, attached_at = ?5, updated_at = ?5 \
             WHERE id = ?6",
        )
        .bind(&resource.kind)
        .bind(blob(resource.id))
        .bind(&resource.name)
        .bind(&resource.mac_address)
        .bind(now.0)
        .bind(blob(id.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Lets nothing use an address any more.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn detach_ip(&mut self, id: IpId, now: Timestamp) -> Result<()> {
        sqlx::query(
            "UPDATE ip SET resource_kind = NULL, resource_id = NULL, resource_name = NULL, resource_mac = NULL, attached_at = NULL, \
             updated_at = ? WHERE id = ?",
        )
        .bind(now.0)
        .bind(blob(id.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Gives a resource's new name to its addresses.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn rename_ip_resource(&mut self, resource: Uuid, name: &str) -> Result<()> {
        sqlx::query("UPDATE ip SET resource_name = ? WHERE resource_id = ?")
            .bind(name)
            .bind(blob(resource))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Sets an address's names and tags.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_ip(&mut self, ip: &Ip) -> Result<()> {
        sqlx::query("UPDATE ip SET reverses = ?, tags = ?, updated_at = ? WHERE id = ?")
            .bind(to_json(&ip.reverses))
            .bind(to_json(&ip.tags))
            .bind(ip.updated_at.0)
            .bind(blob(ip.id.0))
            .execute(self.connection())
            .await?;
        self.index_tags(ip.id.0, &ip.tags).await
    }

    /// Removes an address.
    ///
    /// # Errors
    /// If something refers to it.
    pub async fn delete_ip(&mut self, id: IpId) -> Result<()> {
        sqlx::query("DELETE FROM ip WHERE id = ?").bind(blob(id.0)).execute(self.connection()).await?;
        self.index_tags(id.0, &[]).await
    }

    /// Lets go of a resource's addresses: those allotted for it are released, those booked before are free again.
    ///
    /// # Errors
    /// If something refers to one that is to be released.
    pub async fn release_resource_ips(&mut self, resource: Uuid, now: Timestamp) -> Result<()> {
        for sql in [
            "DELETE FROM tag WHERE owner IN (SELECT id FROM ip WHERE resource_id = ? AND allotted = 1)",
            "DELETE FROM ip WHERE resource_id = ? AND allotted = 1",
        ] {
            sqlx::query(sql).bind(blob(resource)).execute(self.connection()).await?;
        }
        sqlx::query(
            "UPDATE ip SET resource_kind = NULL, resource_id = NULL, resource_name = NULL, resource_mac = NULL, attached_at = NULL, \
             updated_at = ? WHERE resource_id = ?",
        )
        .bind(now.0)
        .bind(blob(resource))
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
