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
    taken: [[TakenUnits; 2]; 2],
}

/// What interconnection subnets of one family take at one gateway, in units of two addresses. Which ones they are is the dearest thing to
/// know of a gateway with many connections, and mostly need not be known: they follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenUnits {
    /// How many.
    pub count: u64,
    /// The first address of the lowest; `None`: there is none.
    pub first: Option<IpAddr>,
    /// The first address of the highest.
    pub last: Option<IpAddr>,
}

impl Premises {
    /// What is taken of a family at the VPN gateway and at the customer gateway.
    #[must_use]
    pub const fn taken(&self, family: Family) -> [TakenUnits; 2] {
        let [ipv4, ipv6] = self.taken;
        if family.is_ipv6() { ipv6 } else { ipv4 }
    }
}

/// Number, lowest and highest of the units that `$gateway` takes of a family, as columns that `$name` begins.
macro_rules! taken {
    ($column:literal, $gateway:literal, $is_ipv6:literal, $name:literal) => {
        concat!(
            taken!(@ "count(*)", $column, $gateway, $is_ipv6),
            $name,
            "_count, ",
            taken!(@ "min(unit)", $column, $gateway, $is_ipv6),
            $name,
            "_first, ",
            taken!(@ "max(unit)", $column, $gateway, $is_ipv6),
            $name,
            "_last"
        )
    };
    (@ $what:literal, $column:literal, $gateway:literal, $is_ipv6:literal) => {
        concat!("(SELECT ", $what, " FROM interconnection WHERE ", $column, " = ", $gateway, " AND is_ipv6 = ", $is_ipv6, ") AS ")
    };
}

/// One statement after another, each with the ids that it names.
const STATEMENTS: &str = concat!(
    "SELECT * FROM project WHERE id = ?; ",
    gateway::gateway!("NULL"),
    " WHERE vpn_gateway.id = ? AND vpn_gateway.gone_at IS NULL; \
     SELECT node.* FROM vpn_gateway JOIN node ON node.id = vpn_gateway.node_id WHERE vpn_gateway.id = ?; \
     SELECT customer_gateway.*, NULL AS connection_ids FROM customer_gateway WHERE id = ?; \
     SELECT * FROM routing_policy WHERE id IN (?, ?); \
     SELECT tunnel.*, ikev2_ciphers FROM vpn_gateway AS gateway CROSS JOIN customer_gateway AS customer \
     CROSS JOIN ip ON ip.id IN (gateway.public_ipv4_id, gateway.public_ipv6_id) \
     CROSS JOIN tunnel ON local = ip.address AND peer IN (customer.public_ipv4, customer.public_ipv6) \
     CROSS JOIN connection ON connection.id = tunnel.connection_id WHERE gateway.id = ? AND customer.id = ? ORDER BY connection.seq; \
     WITH wanted (project, gateway, customer) AS (VALUES (?, ?, ?)) SELECT \
     (SELECT quota FROM project_quota WHERE project_id = project AND resource = 'connections') AS quota, \
     coalesce((SELECT used FROM project_usage WHERE project_id = project AND resource = 'connections'), 0) AS used, \
     (SELECT address FROM vpn_gateway JOIN ip ON ip.id = public_ipv4_id WHERE vpn_gateway.id = gateway) AS public_ipv4, \
     (SELECT address FROM vpn_gateway JOIN ip ON ip.id = public_ipv6_id WHERE vpn_gateway.id = gateway) AS public_ipv6, \
     (SELECT count(*) FROM connection WHERE vpn_gateway_id = gateway) AS connections, \
     (SELECT allowed_connections FROM vpn_gateway JOIN gateway_type ON gateway_type.name = gateway_type \
     WHERE vpn_gateway.id = gateway) AS allowed, \
     (SELECT address FROM customer_gateway JOIN ip ON address = customer_gateway.public_ipv4 \
     WHERE customer_gateway.id = customer AND ip.zone IS NOT NULL AND resource_kind = 'vpn_gateway') AS own_ipv4, \
     (SELECT address FROM customer_gateway JOIN ip ON address = customer_gateway.public_ipv6 \
     WHERE customer_gateway.id = customer AND ip.zone IS NOT NULL AND resource_kind = 'vpn_gateway') AS own_ipv6, ",
    taken!("vpn_gateway_id", "gateway", "0", "gateway_ipv4"),
    ", ",
    taken!("vpn_gateway_id", "gateway", "1", "gateway_ipv6"),
    ", ",
    taken!("customer_gateway_id", "customer", "0", "customer_ipv4"),
    ", ",
    taken!("customer_gateway_id", "customer", "1", "customer_ipv6"),
    " FROM wanted"
);

fn neighbour(row: &SqliteRow) -> Result<Neighbour> {
    Ok(Neighbour {
        connection: row.id("connection_id")?,
        tunnel: tunnel(row)?,
        ikev2_ciphers: row.json("ikev2_ciphers")?,
    })
}

fn taken(row: &SqliteRow, count: &'static str, first: &'static str, last: &'static str) -> Result<TakenUnits> {
    Ok(TakenUnits { count: row.number(count)?, first: row.opt_address(first)?, last: row.opt_address(last)? })
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
        values
            .push_bind(&project)
            .push_bind(&gateway)
            .push_bind(&gateway)
            .push_bind(&customer)
            .push_bind(first)
            .push_bind(second)
            .push_bind(&gateway)
            .push_bind(&customer)
            .push_bind(&project)
            .push_bind(&gateway)
            .push_bind(&customer);
        let mut answers = self.several(STATEMENTS, values).await?.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let mut premises = Premises {
            project: next().first().map(identity::project).transpose()?,
            gateway: next().first().map(gateway::record).transpose()?,
            node: next().first().map(fleet::node).transpose()?,
            customer: next().first().map(customer::customer).transpose()?,
            policies: next().iter().map(customer::policy).collect::<Result<_>>()?,
            between: next().iter().map(neighbour).collect::<Result<_>>()?,
            ..Premises::default()
        };
        if let Some(row) = next().first() {
            premises.quota = (row.opt_number("quota")?, row.number("used")?);
            premises.public.extend(row.opt_address("public_ipv4")?);
            premises.public.extend(row.opt_address("public_ipv6")?);
            premises.connections = row.number("connections")?;
            premises.allowed = row.opt_number("allowed")?;
            premises.own.extend(row.opt_address("own_ipv4")?);
            premises.own.extend(row.opt_address("own_ipv6")?);
            premises.taken = [
                [
                    taken(row, "gateway_ipv4_count", "gateway_ipv4_first", "gateway_ipv4_last")?,
                    taken(row, "customer_ipv4_count", "customer_ipv4_first", "customer_ipv4_last")?,
                ],
                [
                    taken(row, "gateway_ipv6_count", "gateway_ipv6_first", "gateway_ipv6_last")?,
                    taken(row, "customer_ipv6_count", "customer_ipv6_first", "customer_ipv6_last")?,
                ],
            ];
        }
        Ok(premises)
    }
}
