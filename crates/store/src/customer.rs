//! Customer gateways and routing policies: the objects that connections share.

use causeway_model::command::{LinkPolicyFilter, ListQuery};
use causeway_model::resource::{CustomerGateway, RoutingPolicy};
use causeway_model::{ConnectionId, CustomerGatewayId, RoutingPolicyId};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use crate::catalog::Filter;
use crate::list::{Kind, Scope};
use crate::row::{RowExt, address_blob, blob, to_json};
use crate::{Reader, Result, StoreError, Writer};

pub(crate) fn policy(row: &SqliteRow) -> Result<RoutingPolicy> {
    Ok(RoutingPolicy {
        id: row.id("id")?,
        meta: row.meta()?,
        is_ipv6: row.flag("is_ipv6")?,
        prefix_filter_in: row.json("prefix_filter_in")?,
        prefix_filter_out: row.json("prefix_filter_out")?,
    })
}

fn narrow<T: TryFrom<Vec<u8>>>(row: &SqliteRow, column: &'static str) -> Result<Option<T>> {
    let Some(bytes) = row.opt_bytes(column)? else { return Ok(None) };
    T::try_from(bytes).map(Some).map_err(|_| StoreError::Corrupt { column, problem: "has the wrong length".to_owned() })
}

/// Customer gateways with their connections, in one statement.
const CUSTOMER: &str = "SELECT customer_gateway.*, (SELECT group_concat(hex(connection.id), '' ORDER BY connection.seq) FROM connection \
     WHERE customer_gateway_id = customer_gateway.id) AS connection_ids FROM customer_gateway";

pub(crate) fn customer(row: &SqliteRow) -> Result<CustomerGateway> {
    Ok(CustomerGateway {
        id: row.id("id")?,
        meta: row.meta()?,
        asn: row.number("asn")?,
        public_ipv4: narrow::<[u8; 4]>(row, "public_ipv4")?.map(Into::into),
        public_ipv6: narrow::<[u8; 16]>(row, "public_ipv6")?.map(Into::into),
        connection_ids: row.ids("connection_ids")?,
    })
}

impl Reader {
    /// A customer gateway.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn customer_gateway(&mut self, id: CustomerGatewayId) -> Result<Option<CustomerGateway>> {
        self.rows(CUSTOMER, "id = ?", id.0).await?.first().map(customer).transpose()
    }

    /// A page of customer gateways.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn customer_gateways(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
    ) -> Result<(Vec<CustomerGateway>, u64)> {
        let (rows, total) = self.listed("customer_gateway", CUSTOMER, region, scope, list, Vec::new()).await?;
        Ok((rows.iter().map(customer).collect::<Result<_>>()?, total))
    }

    /// A routing policy.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn routing_policy(&mut self, id: RoutingPolicyId) -> Result<Option<RoutingPolicy>> {
        self.row("routing_policy", id.0).await?.as_ref().map(policy).transpose()
    }

    /// A page of routing policies; of one address family, if one is named.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn routing_policies(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        is_ipv6: Option<bool>,
    ) -> Result<(Vec<RoutingPolicy>, u64)> {
        let select = "SELECT * FROM routing_policy";
        let filters = vec![Filter::flag("is_ipv6", is_ipv6)];
        let (rows, total) = self.listed("routing_policy", select, region, scope, list, filters).await?;
        Ok((rows.iter().map(policy).collect::<Result<_>>()?, total))
    }

    /// A routing policy of InterLinks.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn link_routing_policy(&mut self, id: RoutingPolicyId) -> Result<Option<RoutingPolicy>> {
        self.row("link_routing_policy", id.0).await?.as_ref().map(policy).transpose()
    }

    /// A page of InterLinks' routing policies.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn link_routing_policies(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filter: LinkPolicyFilter,
    ) -> Result<(Vec<RoutingPolicy>, u64)> {
        let select = "SELECT * FROM link_routing_policy";
        let filters = vec![Filter::flag("is_ipv6", filter.is_ipv6)];
        let (rows, total) = self.listed("link_routing_policy", select, region, scope, list, filters).await?;
        Ok((rows.iter().map(policy).collect::<Result<_>>()?, total))
    }

    /// The connections that a policy is attached to, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn connections_with_policy(&mut self, id: RoutingPolicyId) -> Result<Vec<ConnectionId>> {
        let rows = sqlx::query(
            "SELECT connection.id FROM bgp_session JOIN connection ON connection.id = bgp_session.connection_id \
             WHERE routing_policy_id = ? ORDER BY seq",
        )
        .bind(blob(id.0))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.id("id")).collect()
    }
}

impl Writer {
    /// Adds a customer gateway.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_customer_gateway(&mut self, gateway: &CustomerGateway) -> Result<()> {
        let columns = ["asn", "public_ipv4", "public_ipv6"];
        self.insert(Kind::CustomerGateway, gateway.id.0, &gateway.meta, &columns, |values| {
            values
                .push_bind(gateway.asn)
                .push_bind(gateway.public_ipv4.map(|address| address_blob(address.into())))
                .push_bind(gateway.public_ipv6.map(|address| address_blob(address.into())));
        })
        .await
    }

    /// Sets a customer gateway's AS number and addresses.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_customer_gateway(&mut self, gateway: &CustomerGateway) -> Result<()> {
        sqlx::query("UPDATE customer_gateway SET asn = ?, public_ipv4 = ?, public_ipv6 = ? WHERE id = ?")
            .bind(gateway.asn)
            .bind(gateway.public_ipv4.map(|address| address_blob(address.into())))
            .bind(gateway.public_ipv6.map(|address| address_blob(address.into())))
            .bind(blob(gateway.id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Adds a routing policy.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_routing_policy(&mut self, policy: &RoutingPolicy) -> Result<()> {
        self.insert_policy(Kind::RoutingPolicy, policy).await
    }

    /// Adds a routing policy of InterLinks.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn insert_link_routing_policy(&mut self, policy: &RoutingPolicy) -> Result<()> {
        self.insert_policy(Kind::LinkRoutingPolicy, policy).await
    }

    async fn insert_policy(&mut self, kind: Kind, policy: &RoutingPolicy) -> Result<()> {
        let columns = ["is_ipv6", "prefix_filter_in", "prefix_filter_out"];
        self.insert(kind, policy.id.0, &policy.meta, &columns, |values| {
            values
                .push_bind(policy.is_ipv6)
                .push_bind(to_json(&policy.prefix_filter_in))
                .push_bind(to_json(&policy.prefix_filter_out));
        })
        .await
    }

    /// Sets a routing policy's whitelists.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_routing_policy(&mut self, policy: &RoutingPolicy) -> Result<()> {
        self.set_whitelists(Kind::RoutingPolicy, policy).await
    }

    /// Sets the whitelists of a routing policy of InterLinks.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_link_routing_policy(&mut self, policy: &RoutingPolicy) -> Result<()> {
        self.set_whitelists(Kind::LinkRoutingPolicy, policy).await
    }

    async fn set_whitelists(&mut self, kind: Kind, policy: &RoutingPolicy) -> Result<()> {
        let sql = format!("UPDATE {} SET prefix_filter_in = ?, prefix_filter_out = ? WHERE id = ?", kind.as_str());
        sqlx::query(AssertSqlSafe(sql))
            .bind(to_json(&policy.prefix_filter_in))
            .bind(to_json(&policy.prefix_filter_out))
            .bind(blob(policy.id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }
}
