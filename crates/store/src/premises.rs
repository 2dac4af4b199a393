//! What a new connection depends on, read in one way to the database.

use std::net::IpAddr;

use causeway_model::resource::{CustomerGateway, RoutingPolicy};
use causeway_model::suite::Cipher;
use causeway_model::{ConnectionId, CustomerGatewayId, Family, ProjectId, RoutingPolicyId, VpnGatewayId};
use sqlx::sqlite::SqliteRow;

use crate::connection::{Tunnel, tunnel};
use crate::gather::Values;
use crate::row::{RowExt, blob};
use crate::{GatewayRecord, NodeRecord, Project, Reader, Result, customer, fleet, gateway, identity};

/// A tunnel between two addresses that a new connection may have too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Whose it is.
    pub connection: ConnectionId,
    /// What tells it from others.
    pub tunnel: Tunnel,
    /// The connection's IKE proposals; none: the default.
    pub ikev2_ciphers: Vec<Cipher>,
}

/// What a new connection depends on. What does not exist is `None`.
#[derive(Clone, Debug, Default)]
pub struct Premises {
    /// Its project.
    pub project: Option<Project>,
    /// Its VPN gateway, with no `connection_ids`.
    pub gateway: Option<GatewayRecord>,
    /// The gateway's node.
    pub node: Option<NodeRecord>,
    /// The gateway's public addresses.
    pub public: Vec<IpAddr>,
    /// Connections that the gateway has.
    pub connections: u64,
    /// Connections that a gateway of its type may have; `None`: there is no such type any more.
    pub allowed: Option<u64>,
    /// Its customer gateway, with no `connection_ids`.
    pub customer: Option<CustomerGateway>,
    /// The customer gateway's addresses that are VPN gateways' of this service.
    pub own: Vec<IpAddr>,
    /// Its routing policies.
    pub policies: Vec<RoutingPolicy>,
    /// The quota that the operator has set for the project's connections, and how many it has.
    pub quota: (Option<u64>, u64),
    /// Tunnels between the two gateways' addresses, of whatever identity and whosoever, oldest first.
    pub between: Vec<Neighbour>,
    taken: [Vec<IpAddr>; 2],
}

impl Premises {
    /// The first addresses of the units of two that interconnection subnets of a family take at either gateway, in no order.
    #[must_use]
    pub fn taken(&self, family: Family) -> &[IpAddr] {
        let [ipv4, ipv6] = &self.taken;
        if family.is_ipv6() { ipv6 } else { ipv4 }
    }
}

/// One statement after another, each with the ids that it names.
const STATEMENTS: &str = concat!(
    "SELECT * FROM project WHERE id = ?; ",
    gateway::gateway!("NULL"),
    " WHERE vpn_gateway.id = ? AND vpn_gateway.gone_at IS NULL; \
     SELECT node.* FROM vpn_gateway JOIN node ON node.id = vpn_gateway.node_id WHERE vpn_gateway.id = ?; \
     SELECT address FROM vpn_gateway JOIN ip ON ip.id IN (public_ipv4_id, public_ipv6_id) WHERE vpn_gateway.id = ?; \
     SELECT count(*) AS connections FROM connection WHERE vpn_gateway_id = ?; \
     SELECT allowed_connections FROM vpn_gateway JOIN gateway_type ON gateway_type.name = gateway_type WHERE vpn_gateway.id = ?; \
     SELECT customer_gateway.*, NULL AS connection_ids FROM customer_gateway WHERE id = ?; \
     SELECT address FROM customer_gateway JOIN ip ON address IN (public_ipv4, public_ipv6) \
     WHERE customer_gateway.id = ? AND zone IS NOT NULL AND resource_kind = 'vpn_gateway'; \
     SELECT * FROM routing_policy WHERE id IN (?, ?); \
     SELECT (SELECT quota FROM project_quota WHERE project_id = project.id AND resource = 'connections') AS quota, \
     coalesce((SELECT used FROM project_usage WHERE project_id = project.id AND resource = 'connections'), 0) AS used \
     FROM project WHERE id = ?; \
     SELECT tunnel.*, ikev2_ciphers FROM vpn_gateway AS gateway CROSS JOIN customer_gateway AS customer \
     CROSS JOIN ip ON ip.id IN (gateway.public_ipv4_id, gateway.public_ipv6_id) \
     CROSS JOIN tunnel ON local = ip.address AND peer IN (customer.public_ipv4, customer.public_ipv6) \
     CROSS JOIN connection ON connection.id = tunnel.connection_id WHERE gateway.id = ? AND customer.id = ? ORDER BY connection.seq; \
     SELECT group_concat(hex(unit), '') AS units FROM interconnection WHERE vpn_gateway_id = ? AND is_ipv6 = 0; \
     SELECT group_concat(hex(unit), '') AS units FROM interconnection WHERE customer_gateway_id = ? AND is_ipv6 = 0; \
     SELECT group_concat(hex(unit), '') AS units FROM interconnection WHERE vpn_gateway_id = ? AND is_ipv6 = 1; \
     SELECT group_concat(hex(unit), '') AS units FROM interconnection WHERE customer_gateway_id = ? AND is_ipv6 = 1"
);

fn neighbour(row: &SqliteRow) -> Result<Neighbour> {
    Ok(Neighbour {
        connection: row.id("connection_id")?,
        tunnel: tunnel(row)?,
        ikev2_ciphers: row.json("ikev2_ciphers")?,
    })
}

impl Reader {
    /// What a connection of `project` between these two gateways depends on.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn premises(
        &mut self,
        project: ProjectId,
        gateway: VpnGatewayId,
        customer: CustomerGatewayId,
        policies: [Option<RoutingPolicyId>; 2],
    ) -> Result<Premises> {
        let (project, gateway, customer) = (blob(project.0), blob(gateway.0), blob(customer.0));
        let [first, second] = policies.map(|policy| policy.map(|id| blob(id.0)));
        let mut values = Values::default();
        values.push_bind(&project);
        for _ in 0..5 {
            values.push_bind(&gateway);
        }
        values.push_bind(&customer).push_bind(&customer).push_bind(first).push_bind(second).push_bind(&project);
        for _ in 0..3 {
            values.push_bind(&gateway).push_bind(&customer);
        }
        let mut answers = self.several(STATEMENTS, values).await?.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let mut premises = Premises {
            project: next().first().map(identity::project).transpose()?,
            gateway: next().first().map(gateway::record).transpose()?,
            node: next().first().map(fleet::node).transpose()?,
            public: next().iter().map(|row| row.address("address")).collect::<Result<_>>()?,
            connections: next().first().map_or(Ok(0), |row| row.number("connections"))?,
            allowed: next().first().map(|row| row.number("allowed_connections")).transpose()?,
            customer: next().first().map(customer::customer).transpose()?,
            own: next().iter().map(|row| row.address("address")).collect::<Result<_>>()?,
            policies: next().iter().map(customer::policy).collect::<Result<_>>()?,
            ..Premises::default()
        };
        if let Some(row) = next().first() {
            premises.quota = (row.opt_number("quota")?, row.number("used")?);
        }
        premises.between = next().iter().map(neighbour).collect::<Result<_>>()?;
        for (family, taken) in Family::ALL.into_iter().zip(&mut premises.taken) {
            for row in next().iter().chain(&next()) {
                taken.extend(row.addresses("units", family)?);
            }
        }
        Ok(premises)
    }
}
