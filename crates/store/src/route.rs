//! The routes of VPCs: one table for all of them, whoever made them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use causeway_model::command::ListQuery;
use causeway_model::desired::CustomRouteDesired;
use causeway_model::resource::Link;
use causeway_model::route::{Route, RouteFilter, RouteKind, RouteWithNextHop};
use causeway_model::{ConnectionId, Family, IpId, PrivateNetworkId, RouteId, Timestamp, VpcId, VpnGatewayId};
use ipnet::IpNet;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::list::{Scope, push_any, push_ids};
use crate::row::{RowExt, address_blob, blob, to_json};
use crate::{Among, Reader, Result, Writer};

/// The tag of every route that the platform makes.
const MANAGED: &str = "MANAGED";

/// What a node is told of custom routes.
const CUSTOM: &str = "SELECT route.id, route.vpc_id, destination, private_network_id, ip.address FROM route LEFT JOIN ip \
    ON ip.id = route.ip_id WHERE route.kind = 'custom'";

fn custom_route(row: &SqliteRow) -> Result<CustomRouteDesired> {
    Ok(CustomRouteDesired {
        id: row.id("id")?,
        destination: row.parse("destination")?,
        network: row.id("private_network_id")?,
        next_hop: row.opt_address("address")?,
    })
}

/// What holds an address: a candidate for a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHopCandidate {
    /// The address's id.
    pub ip: IpId,
    /// The address.
    pub address: IpAddr,
    /// The Private Network that it is on.
    pub network: PrivateNetworkId,
    /// That network's VPC.
    pub vpc: VpcId,
    /// What kind of resource holds it.
    pub kind: String,
}

fn route(row: &SqliteRow) -> Result<Route> {
    Ok(Route {
        id: row.opt_id("id")?,
        project_id: row.id("project_id")?,
        region: row.text("region")?,
        vpc_id: row.id("vpc_id")?,
        kind: row.word("kind")?,
        description: row.text("description")?,
        tags: row.json("tags")?,
        destination: row.parse("destination")?,
        network: row.opt_id("private_network_id")?,
        resource: row.opt_id("resource_id")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// A next hop as lists show it: its address and its name.
type Shown = (Option<IpAddr>, Option<String>);

impl Reader {
    /// A tenant's own route.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn route(&mut self, id: RouteId) -> Result<Option<Route>> {
        self.row("route", id.0).await?.as_ref().map(route).transpose()
    }

    /// A page of all routes with their next hops.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn routes(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filter: &RouteFilter,
    ) -> Result<(Vec<RouteWithNextHop>, u64)> {
        let tags = &list.tags;
        let list = ListQuery { tags: Vec::new(), ..list.clone() };
        let (rows, total) = self
            .page("route", region, scope, &list, |query| {
                push_ids(query, "vpc_id", filter.vpc_id.iter().map(|id| id.0));
                push_ids(query, "resource_id", filter.resource.iter().copied());
                push_ids(query, "private_network_id", filter.network.iter().map(|id| id.0));
                push_any(query, "kind", filter.kind.iter().map(|kind| kind.as_str()));
                if let Some(is_ipv6) = filter.is_ipv6 {
                    query.push(" AND is_ipv6 = ").push_bind(is_ipv6);
                }
                if let Some(inner) = &filter.contains {
                    query.push(" AND is_ipv6 = ").push_bind(Family::of_net(inner).is_ipv6());
                    query.push(" AND first <= ").push_bind(address_blob(inner.network()));
                    query.push(" AND last >= ").push_bind(address_blob(inner.broadcast()));
                }
                if !tags.is_empty() {
                    // Managed routes all have the same one, and are too many to be indexed for it.
                    query.push(" AND ((kind <> 'custom' AND ").push_bind(tags.iter().any(|tag| tag == MANAGED));
                    query.push(") OR EXISTS (SELECT 1 FROM tag WHERE tag.owner = route.id");
                    push_any(query, "tag.tag", tags.iter().cloned());
                    query.push("))");
                }
            })
            .await?;
        let mut known: BTreeMap<(Uuid, bool), Shown> = BTreeMap::new();
        let mut routes = Vec::with_capacity(rows.len());
        for row in &rows {
            let (route, ip) = (route(row)?, row.opt_id::<IpId>("ip_id")?);
            let is_ipv6 = Family::of_net(&route.destination).is_ipv6();
            let key = match (ip, route.resource) {
                (Some(ip), _) => Some((ip.0, is_ipv6)),
                (None, Some(gateway)) => Some((gateway, is_ipv6)),
                (None, None) => None,
            };
            let (address, name) = match key {
                None => (None, None),
                Some(key) => match known.get(&key) {
                    Some(shown) => shown.clone(),
                    None => {
                        let shown = self.next_hop(key.0, route.kind, is_ipv6).await?;
                        known.insert(key, shown.clone());
                        shown
                    }
                },
            };
            routes.push(RouteWithNextHop { route, address, name });
        }
        Ok((routes, total))
    }

    /// The address and name of a next hop: an IPAM address of a custom route, a VPN gateway or link of a learned one.
    async fn next_hop(&mut self, id: Uuid, kind: RouteKind, is_ipv6: bool) -> Result<Shown> {
        let sql = match kind {
            RouteKind::S2sVpn => {
                "SELECT ip.address, vpn_gateway.name AS name FROM vpn_gateway JOIN ip \
                 ON ip.id = CASE WHEN ?2 THEN ipam_private_ipv6_id ELSE ipam_private_ipv4_id END WHERE vpn_gateway.id = ?1"
            }
            // On no Private Network, so without an address there, of either family.
            RouteKind::Interlink => "SELECT NULL AS address, name FROM link WHERE id = ?1 AND ?2 IN (0, 1)",
            RouteKind::Custom | RouteKind::Subnet => {
                "SELECT address, resource_name AS name FROM ip WHERE id = ?1 AND is_ipv6 = ?2"
            }
        };
        let row = sqlx::query(sql).bind(blob(id)).bind(is_ipv6).fetch_optional(self.connection()).await?;
        match row {
            Some(row) => Ok((row.opt_address("address")?, row.opt_text("name")?)),
            None => Ok((None, None)),
        }
    }

    /// The tenant's own route to exactly this destination.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn custom_route_to(&mut self, vpc: VpcId, destination: &IpNet) -> Result<Option<RouteId>> {
        let row = sqlx::query(
            "SELECT id FROM route WHERE vpc_id = ? AND is_ipv6 = ? AND first = ? AND prefix_len = ? AND kind = 'custom'",
        )
        .bind(blob(vpc.0))
        .bind(Family::of_net(destination).is_ipv6())
        .bind(address_blob(destination.network()))
        .bind(i64::from(destination.prefix_len()))
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| row.id("id")).transpose()
    }

    /// The destinations of a VPC's custom routes.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn custom_destinations(&mut self, vpc: VpcId) -> Result<Vec<IpNet>> {
        let rows = sqlx::query("SELECT destination FROM route WHERE vpc_id = ? AND kind = 'custom' ORDER BY seq")
            .bind(blob(vpc.0))
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(|row| row.parse("destination")).collect()
    }

    /// What a node is told of the custom routes of a region, VPC by VPC.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn custom_routes(
        &mut self,
        region: &str,
        among: &Among,
    ) -> Result<BTreeMap<VpcId, Vec<CustomRouteDesired>>> {
        let sql = format!("{CUSTOM} AND route.region = ? AND {} ORDER BY route.seq", among.condition("route.vpc_id"));
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(region);
        let rows = among.bind(query).fetch_all(self.connection()).await?;
        let mut routes: BTreeMap<VpcId, Vec<CustomRouteDesired>> = BTreeMap::new();
        for row in &rows {
            routes.entry(row.id("vpc_id")?).or_default().push(custom_route(row)?);
        }
        Ok(routes)
    }

    /// The same of one VPC.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn custom_routes_of(&mut self, vpc: VpcId) -> Result<Vec<CustomRouteDesired>> {
        let sql = format!("{CUSTOM} AND route.vpc_id = ? ORDER BY route.seq");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(blob(vpc.0)).fetch_all(self.connection()).await?;
        rows.iter().map(custom_route).collect()
    }

    /// The addresses on Private Networks of one project that a resource holds, the oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn next_hop_candidates(
        &mut self,
        project: causeway_model::ProjectId,
        resource: Uuid,
    ) -> Result<Vec<NextHopCandidate>> {
        let rows = sqlx::query(
            "SELECT ip.id, ip.address, ip.resource_kind, subnet.private_network_id, subnet.vpc_id FROM ip \
             JOIN subnet ON subnet.id = ip.subnet_id WHERE ip.resource_id = ? AND ip.project_id = ? ORDER BY ip.seq",
        )
        .bind(blob(resource))
        .bind(blob(project.0))
        .fetch_all(self.connection())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(NextHopCandidate {
                    ip: row.id("id")?,
                    address: row.address("address")?,
                    network: row.id("private_network_id")?,
                    vpc: row.id("vpc_id")?,
                    kind: row.text("resource_kind")?,
                })
            })
            .collect()
    }

    /// A custom route whose next hop this address is, if there is one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn route_through_ip(&mut self, id: IpId) -> Result<Option<RouteId>> {
        let row = sqlx::query("SELECT id FROM route WHERE ip_id = ? ORDER BY seq LIMIT 1")
            .bind(blob(id.0))
            .fetch_optional(self.connection())
            .await?;
        row.map(|row| row.id("id")).transpose()
    }

    /// A custom route that leads to or through this Private Network, if there is one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn route_through_network(&mut self, id: PrivateNetworkId) -> Result<Option<RouteId>> {
        let row =
            sqlx::query("SELECT id FROM route WHERE private_network_id = ? AND kind = 'custom' ORDER BY seq LIMIT 1")
                .bind(blob(id.0))
                .fetch_optional(self.connection())
                .await?;
        row.map(|row| row.id("id")).transpose()
    }
}

impl Writer {
    /// Adds a tenant's own route. `ip`: the address of its next hop.
    ///
    /// # Errors
    /// If the VPC has one to this destination.
    pub async fn insert_route(&mut self, id: RouteId, route: &Route, ip: Option<IpId>) -> Result<()> {
        let destination = &route.destination;
        sqlx::query(
            "INSERT INTO route (id, organization_id, project_id, region, vpc_id, kind, description, tags, destination, is_ipv6, first, last, \
             prefix_len, private_network_id, resource_id, ip_id, created_at, updated_at) \
             SELECT ?1, organization_id, id, ?3, ?4, 'custom', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16 FROM project WHERE id = ?2",
        )
        .bind(blob(id.0))
        .bind(blob(route.project_id.0))
        .bind(&route.region)
        .bind(blob(route.vpc_id.0))
        .bind(&route.description)
        .bind(to_json(&route.tags))
        .bind(destination.to_string())
        .bind(Family::of_net(destination).is_ipv6())
        .bind(address_blob(destination.network()))
        .bind(address_blob(destination.broadcast()))
        .bind(i64::from(destination.prefix_len()))
        .bind(route.network.map(|id| blob(id.0)))
        .bind(route.resource.map(blob))
        .bind(ip.map(|id| blob(id.0)))
        .bind(route.created_at.0)
        .bind(route.updated_at.0)
        .execute(self.connection())
        .await?;
        self.index_tags(id.0, &route.tags).await
    }

    /// Changes a tenant's own route. `ip`: the address of its next hop.
    ///
    /// # Errors
    /// If the VPC has another one to this destination.
    pub async fn update_route(&mut self, id: RouteId, route: &Route, ip: Option<IpId>) -> Result<()> {
        let destination = &route.destination;
        sqlx::query(
            "UPDATE route SET description = ?, tags = ?, destination = ?, is_ipv6 = ?, first = ?, last = ?, prefix_len = ?, \
             private_network_id = ?, resource_id = ?, ip_id = ?, updated_at = ? WHERE id = ?",
        )
        .bind(&route.description)
        .bind(to_json(&route.tags))
        .bind(destination.to_string())
        .bind(Family::of_net(destination).is_ipv6())
        .bind(address_blob(destination.network()))
        .bind(address_blob(destination.broadcast()))
        .bind(i64::from(destination.prefix_len()))
        .bind(route.network.map(|id| blob(id.0)))
        .bind(route.resource.map(blob))
        .bind(ip.map(|id| blob(id.0)))
        .bind(route.updated_at.0)
        .bind(blob(id.0))
        .execute(self.connection())
        .await?;
        self.index_tags(id.0, &route.tags).await
    }

    /// Removes a tenant's own route.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn delete_route(&mut self, id: RouteId) -> Result<()> {
        sqlx::query("DELETE FROM route WHERE id = ?").bind(blob(id.0)).execute(self.connection()).await?;
        self.index_tags(id.0, &[]).await
    }

    /// Makes `installed` what a connection of `gateway` has brought into its VPC's table. What stays keeps its time.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_learned_routes(
        &mut self,
        gateway: VpnGatewayId,
        connection: ConnectionId,
        installed: &BTreeSet<IpNet>,
        now: Timestamp,
    ) -> Result<()> {
        let rows = sqlx::query("SELECT destination FROM learned_route WHERE connection_id = ?")
            .bind(blob(connection.0))
            .fetch_all(self.connection())
            .await?;
        let known: BTreeSet<IpNet> = rows.iter().map(|row| row.parse("destination")).collect::<Result<_>>()?;
        for gone in known.difference(installed) {
            sqlx::query(
                "DELETE FROM learned_route WHERE connection_id = ? AND is_ipv6 = ? AND first = ? AND prefix_len = ?",
            )
            .bind(blob(connection.0))
            .bind(Family::of_net(gone).is_ipv6())
            .bind(address_blob(gone.network()))
            .bind(i64::from(gone.prefix_len()))
            .execute(self.connection())
            .await?;
        }
        for new in installed.difference(&known) {
            sqlx::query(
                "INSERT INTO learned_route (connection_id, vpn_gateway_id, is_ipv6, first, last, prefix_len, destination, learned_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(blob(connection.0))
            .bind(blob(gateway.0))
            .bind(Family::of_net(new).is_ipv6())
            .bind(address_blob(new.network()))
            .bind(address_blob(new.broadcast()))
            .bind(i64::from(new.prefix_len()))
            .bind(new.to_string())
            .bind(now.0)
            .execute(self.connection())
            .await?;
        }
        Ok(())
    }

    /// Makes `installed` what a link has brought into its VPC's table, and takes away what it had brought into another one. What stays keeps
    /// its time.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_link_routes(&mut self, link: &Link, installed: &BTreeSet<IpNet>, now: Timestamp) -> Result<()> {
        let rows =
            sqlx::query("SELECT seq, destination, vpc_id FROM route WHERE kind = 'interlink' AND resource_id = ?")
                .bind(blob(link.id.0))
                .fetch_all(self.connection())
                .await?;
        let mut known = BTreeSet::new();
        for row in &rows {
            let (seq, destination) = (row.number::<i64>("seq")?, row.parse("destination")?);
            if link.vpc_id == Some(row.id("vpc_id")?) && installed.contains(&destination) {
                known.insert(destination);
                continue;
            }
            sqlx::query("DELETE FROM route WHERE seq = ?").bind(seq).execute(self.connection()).await?;
        }
        let Some(vpc) = link.vpc_id else { return Ok(()) };
        for new in installed.difference(&known) {
            sqlx::query(
                "INSERT INTO route (organization_id, project_id, region, vpc_id, kind, description, tags, destination, is_ipv6, first, last, \
                 prefix_len, resource_id, created_at, updated_at) \
                 SELECT organization_id, id, ?2, ?3, 'interlink', 'Learned InterLink route', '[\"MANAGED\"]', ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10 \
                 FROM project WHERE id = ?1",
            )
            .bind(blob(link.meta.project_id.0))
            .bind(&link.meta.region)
            .bind(blob(vpc.0))
            .bind(new.to_string())
            .bind(Family::of_net(new).is_ipv6())
            .bind(address_blob(new.network()))
            .bind(address_blob(new.broadcast()))
            .bind(i64::from(new.prefix_len()))
            .bind(blob(link.id.0))
            .bind(now.0)
            .execute(self.connection())
            .await?;
        }
        Ok(())
    }

    /// Forgets what the connections of a lost node had brought into VPCs' tables.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn forget_learned_routes(&mut self, node: causeway_model::NodeId) -> Result<()> {
        sqlx::query("DELETE FROM learned_route WHERE vpn_gateway_id IN (SELECT id FROM vpn_gateway WHERE node_id = ?)")
            .bind(blob(node.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
