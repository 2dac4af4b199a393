//! Connections with their sessions, interconnection subnets, tunnels and keys.

use std::collections::BTreeMap;
use std::net::IpAddr;

use causeway_model::command::{ConnectionFilter, ListQuery};
use causeway_model::desired::Timers;
use causeway_model::resource::{BgpSession, Connection};
use causeway_model::status::ConnectionStatus;
use causeway_model::{ConnectionId, CustomerGatewayId, Family, NodeId, Timestamp, VpcId, VpnGatewayId};
use ipnet::IpNet;
use sqlx::sqlite::SqliteRow;

use crate::catalog::Filter;
use crate::fleet::ConnectionObserved;
use crate::list::{Kind, Scope};
use crate::options::BgpOptions;
use crate::row::{RowExt, address_blob, blob, octet_array, to_json, word};
use crate::{Reader, Result, Writer};

/// A connection with everything that its status derives from, its gateway and node excepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRecord {
    /// The connection.
    pub connection: Connection,
    /// The newest configuration.
    pub config_revision: u64,
    /// The one that the lock came with; means nothing of what is not locked.
    pub lock_revision: u64,
    /// Since when the node owes its acknowledgement.
    pub pending_since: Option<Timestamp>,
    /// The stored copy of the status.
    pub status: ConnectionStatus,
    /// What the node said last.
    pub observed: Option<ConnectionObserved>,
    /// Whether a previous key is still accepted.
    pub has_previous_key: bool,
    /// Timers and limits.
    pub timers: Timers,
    /// Seconds for which a replaced key is accepted; `None`: the default.
    pub psk_overlap: Option<u32>,
    /// What its BGP sessions ask of the peer beyond the protocol.
    pub bgp_options: BgpOptions,
    /// How often it was asked to reauthenticate.
    pub reauthentications: u64,
    /// How often an earlier key was revoked.
    pub revocations: u64,
}

/// What tells one tunnel from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Our public address.
    pub local: IpAddr,
    /// The peer's.
    pub peer: IpAddr,
    /// The identity that the peer proves; `None`: its address.
    pub identity: Option<String>,
}

/// A key that a connection had, as an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousKey {
    /// Greater than that of any earlier one.
    pub number: u64,
    /// The envelope.
    pub data: Vec<u8>,
    /// When it stops being accepted.
    pub until: Timestamp,
}

/// The units of two addresses that an interconnection subnet holds.
fn units(subnet: &IpNet) -> Vec<Vec<u8>> {
    let unit = match subnet {
        IpNet::V4(_) => 31,
        IpNet::V6(_) => 127,
    };
    match subnet.trunc().subnets(unit.max(subnet.prefix_len())) {
        Ok(units) => units.map(|unit| address_blob(unit.network())).collect(),
        Err(_) => Vec::new(),
    }
}

/// Connections with all that a record holds, in one statement.
pub(crate) const CONNECTION: &str = "SELECT connection.*, \
     v4.private_ip AS ipv4_private_ip, v4.peer_private_ip AS ipv4_peer_private_ip, v4.routing_policy_id AS ipv4_policy, \
     v6.private_ip AS ipv6_private_ip, v6.peer_private_ip AS ipv6_peer_private_ip, v6.routing_policy_id AS ipv6_policy, \
     EXISTS (SELECT 1 FROM secret WHERE secret.id = connection.secret_id AND owner_connection = connection.id) AS owns_secret, \
     EXISTS (SELECT 1 FROM previous_key WHERE connection_id = connection.id) AS has_previous_key, \
     observed.applied_revision, observed.refusal, observed.ever_acknowledged, observed.ever_up, observed.facts, observed.observed_at \
     FROM connection \
     LEFT JOIN bgp_session AS v4 ON v4.connection_id = connection.id AND v4.is_ipv6 = 0 \
     LEFT JOIN bgp_session AS v6 ON v6.connection_id = connection.id AND v6.is_ipv6 = 1 \
     LEFT JOIN connection_observed AS observed ON observed.connection_id = connection.id";

fn session(
    row: &SqliteRow,
    ours: &'static str,
    theirs: &'static str,
    policy: &'static str,
) -> Result<Option<BgpSession>> {
    if row.opt_text(ours)?.is_none() {
        return Ok(None);
    }
    let (private_ip, peer_private_ip) = (row.parse(ours)?, row.parse(theirs)?);
    Ok(Some(BgpSession { private_ip, peer_private_ip, routing_policy_id: row.opt_id(policy)? }))
}

pub(crate) fn record(row: &SqliteRow) -> Result<ConnectionRecord> {
    let connection = Connection {
        id: row.id("id")?,
        meta: row.meta()?,
        vpn_gateway_id: row.id("vpn_gateway_id")?,
        customer_gateway_id: row.id("customer_gateway_id")?,
        tunnels: row.word("tunnels")?,
        initiation_policy: row.word("initiation_policy")?,
        ikev2_ciphers: row.json("ikev2_ciphers")?,
        esp_ciphers: row.json("esp_ciphers")?,
        secret_id: row.id("secret_id")?,
        secret_revision: row.number("secret_revision")?,
        owns_secret: row.flag("owns_secret")?,
        bgp_ipv4: session(row, "ipv4_private_ip", "ipv4_peer_private_ip", "ipv4_policy")?,
        bgp_ipv6: session(row, "ipv6_private_ip", "ipv6_peer_private_ip", "ipv6_policy")?,
        route_propagation_enabled: row.flag("route_propagation_enabled")?,
        peer_identity: row.opt_text("peer_identity")?,
        locked: row.flag("locked")?,
    };
    Ok(ConnectionRecord {
        connection,
        config_revision: row.number("config_revision")?,
        lock_revision: row.number("lock_revision")?,
        pending_since: row.opt_time("pending_since")?,
        status: row.word("status")?,
        observed: crate::fleet::connection_observed(row)?,
        has_previous_key: row.flag("has_previous_key")?,
        timers: crate::options::timers(row)?,
        psk_overlap: row.opt_number("psk_overlap")?,
        bgp_options: crate::options::bgp(row)?,
        reauthentications: row.number("reauthentications")?,
        revocations: row.number("revocations")?,
    })
}

pub(crate) fn tunnel(row: &SqliteRow) -> Result<Tunnel> {
    let identity = row.text("identity")?;
    Ok(Tunnel {
        local: row.address("local")?,
        peer: row.address("peer")?,
        identity: (!identity.is_empty()).then_some(identity),
    })
}

impl ConnectionRecord {
    /// A connection as [`Writer::insert_connection`] adds it with the status `ready`.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self {
            config_revision: 1,
            lock_revision: 0,
            pending_since: Some(connection.meta.created_at),
            status: ConnectionStatus::Ready,
            observed: None,
            has_previous_key: false,
            timers: Timers::default(),
            psk_overlap: None,
            bgp_options: BgpOptions::default(),
            reauthentications: 0,
            revocations: 0,
            connection,
        }
    }
}

impl Reader {
    /// A connection.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn connection_by_id(&mut self, id: ConnectionId) -> Result<Option<ConnectionRecord>> {
        self.rows(CONNECTION, "connection.id = ?", id.0).await?.first().map(record).transpose()
    }

    /// A page of connections.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn connections(
        &mut self,
        region: &str,
        scope: Scope,
        list: &ListQuery,
        filter: &ConnectionFilter,
    ) -> Result<(Vec<ConnectionRecord>, u64)> {
        let mut statuses: Vec<&'static str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        if filter.statuses.contains(&ConnectionStatus::Down) {
            statuses.push(ConnectionStatus::Ready.as_str());
        }
        let tunnels =
            filter.is_ipv6.map_or(&[][..], |is_ipv6| if is_ipv6 { &["ipv6", "both"] } else { &["ipv4", "both"] });
        let filters = vec![
            Filter::texts("status", statuses),
            Filter::texts("tunnels", tunnels.iter().copied()),
            Filter::flag("route_propagation_enabled", filter.route_propagation_enabled),
            Filter::ids("vpn_gateway_id", filter.vpn_gateway_ids.iter().map(|id| id.0)),
            Filter::ids("customer_gateway_id", filter.customer_gateway_ids.iter().map(|id| id.0)),
            Filter::ids("routing_policy_id", filter.routing_policy_ids.iter().map(|id| id.0)),
        ];
        let (rows, total) = self.listed("connection", CONNECTION, region, scope, list, filters).await?;
        Ok((rows.iter().map(record).collect::<Result<_>>()?, total))
    }

    /// The connections of a VPN gateway with their state, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn connection_records(&mut self, gateway: VpnGatewayId) -> Result<Vec<ConnectionRecord>> {
        let rows = self.rows(CONNECTION, "connection.vpn_gateway_id = ? ORDER BY connection.seq", gateway.0).await?;
        rows.iter().map(record).collect()
    }

    /// Of each VPN gateway of a node that has connections: how many, and the sum of their newest revisions. While a gateway has the same
    /// connections, the sum grows with each change of one of them.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn connection_revisions(&mut self, node: NodeId) -> Result<BTreeMap<VpnGatewayId, (u64, u64)>> {
        let rows = sqlx::query(
            "SELECT gateway.id, count(*) AS connections, sum(connection.config_revision) AS revisions FROM vpn_gateway AS gateway \
             CROSS JOIN connection ON connection.vpn_gateway_id = gateway.id WHERE gateway.node_id = ? GROUP BY gateway.id",
        )
        .bind(blob(node.0))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| Ok((row.id("id")?, (row.number("connections")?, row.number("revisions")?)))).collect()
    }

    /// The tunnels of a connection, IPv4 first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn tunnels(&mut self, id: ConnectionId) -> Result<Vec<Tunnel>> {
        let rows = sqlx::query("SELECT * FROM tunnel WHERE connection_id = ? ORDER BY is_ipv6")
            .bind(blob(id.0))
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(tunnel).collect()
    }

    /// The connection that has this very tunnel.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn connection_with_tunnel(&mut self, tunnel: &Tunnel) -> Result<Option<ConnectionId>> {
        let row = sqlx::query("SELECT connection_id FROM tunnel WHERE local = ? AND peer = ? AND identity = ?")
            .bind(address_blob(tunnel.local))
            .bind(address_blob(tunnel.peer))
            .bind(tunnel.identity.clone().unwrap_or_default())
            .fetch_optional(self.connection())
            .await?;
        row.map(|row| row.id("connection_id")).transpose()
    }

    /// The first addresses of the units of two that interconnection subnets take at either gateway, in order.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn taken_interconnections(
        &mut self,
        gateway: VpnGatewayId,
        customer: CustomerGatewayId,
        family: Family,
    ) -> Result<Vec<IpAddr>> {
        let rows = sqlx::query(
            "SELECT unit FROM interconnection WHERE vpn_gateway_id = ?1 AND is_ipv6 = ?3 UNION \
             SELECT unit FROM interconnection WHERE customer_gateway_id = ?2 AND is_ipv6 = ?3 ORDER BY unit",
        )
        .bind(blob(gateway.0))
        .bind(blob(customer.0))
        .bind(family.is_ipv6())
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.address("unit")).collect()
    }

    /// The interconnection subnets of the connections of all gateways in a VPC.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn vpc_interconnections(&mut self, vpc: VpcId) -> Result<Vec<IpNet>> {
        let rows = sqlx::query(
            "SELECT bgp_session.private_ip AS subnet FROM private_network AS network \
             JOIN vpn_gateway AS gateway ON gateway.private_network_id = network.id \
             JOIN connection ON connection.vpn_gateway_id = gateway.id \
             JOIN bgp_session ON bgp_session.connection_id = connection.id WHERE network.vpc_id = ? ORDER BY connection.seq, is_ipv6",
        )
        .bind(blob(vpc.0))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| row.parse("subnet").map(|subnet: IpNet| subnet.trunc())).collect()
    }

    /// The keys that a connection had before the current one and that are not forgotten, the newest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn previous_keys(&mut self, id: ConnectionId) -> Result<Vec<PreviousKey>> {
        let rows = sqlx::query("SELECT * FROM previous_key WHERE connection_id = ? ORDER BY number DESC")
            .bind(blob(id.0))
            .fetch_all(self.connection())
            .await?;
        let key = |row: &SqliteRow| {
            Ok(PreviousKey { number: row.number("number")?, data: row.bytes("data")?, until: row.time("until")? })
        };
        rows.iter().map(key).collect()
    }

    /// The connections that have a previous key past its time.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn expired_previous_keys(&mut self, now: Timestamp) -> Result<Vec<ConnectionId>> {
        let rows = sqlx::query("SELECT DISTINCT connection_id FROM previous_key WHERE until <= ?")
            .bind(now.0)
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(|row| row.id("connection_id")).collect()
    }
}

impl Writer {
    /// Lets the windows of all earlier keys end later by so many microseconds.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn move_key_windows(&mut self, by: i64) -> Result<()> {
        sqlx::query("UPDATE previous_key SET until = until + ?").bind(by).execute(self.connection()).await?;
        Ok(())
    }

    /// Adds a connection with its sessions and tunnels; its first configuration is revision 1 and owed from its creation on. `status`: the
    /// first copy.
    ///
    /// # Errors
    /// If a tunnel or an interconnection subnet is taken.
    pub async fn insert_connection(
        &mut self,
        connection: &Connection,
        tunnels: &[Tunnel],
        status: ConnectionStatus,
    ) -> Result<()> {
        let columns = [
            "vpn_gateway_id",
            "customer_gateway_id",
            "tunnels",
            "initiation_policy",
            "ikev2_ciphers",
            "esp_ciphers",
            "secret_id",
            "secret_revision",
            "route_propagation_enabled",
            "peer_identity",
            "locked",
            "config_revision",
            "pending_since",
            "status",
        ];
        self.insert(Kind::Connection, connection.id.0, &connection.meta, &columns, |values| {
            values
                .push_bind(blob(connection.vpn_gateway_id.0))
                .push_bind(blob(connection.customer_gateway_id.0))
                .push_bind(word(connection.tunnels))
                .push_bind(word(connection.initiation_policy))
                .push_bind(to_json(&connection.ikev2_ciphers))
                .push_bind(to_json(&connection.esp_ciphers))
                .push_bind(blob(connection.secret_id.0))
                .push_bind(connection.secret_revision)
                .push_bind(connection.route_propagation_enabled)
                .push_bind(connection.peer_identity.clone())
                .push_bind(connection.locked)
                .push_bind(1_i64)
                .push_bind(connection.meta.created_at.0)
                .push_bind(word(status));
        })
        .await?;
        for family in Family::ALL {
            if let Some(session) = connection.bgp(family) {
                self.insert_bgp_session(connection, family, session).await?;
            }
        }
        self.insert_tunnels(connection.id, tunnels).await
    }

    pub(crate) async fn insert_tunnels(&mut self, id: ConnectionId, tunnels: &[Tunnel]) -> Result<()> {
        for tunnel in tunnels {
            let sql = "INSERT INTO tunnel (connection_id, is_ipv6, local, peer, identity) VALUES (?, ?, ?, ?, ?)";
            self.change(sql, |values| {
                values
                    .push_bind(blob(id.0))
                    .push_bind(tunnel.local.is_ipv6())
                    .push_bind(address_blob(tunnel.local))
                    .push_bind(address_blob(tunnel.peer))
                    .push_bind(tunnel.identity.as_deref().unwrap_or_default());
            })
            .await?;
        }
        Ok(())
    }

    /// Adds the session of one family and takes its interconnection subnet.
    ///
    /// # Errors
    /// If the subnet overlaps another one of either gateway.
    pub async fn insert_bgp_session(
        &mut self,
        connection: &Connection,
        family: Family,
        session: &BgpSession,
    ) -> Result<()> {
        let sql = "INSERT INTO bgp_session (connection_id, is_ipv6, private_ip, peer_private_ip, routing_policy_id) VALUES (?, ?, ?, ?, ?)";
        self.change(sql, |values| {
            values
                .push_bind(blob(connection.id.0))
                .push_bind(family.is_ipv6())
                .push_bind(session.private_ip.to_string())
                .push_bind(session.peer_private_ip.to_string())
                .push_bind(session.routing_policy_id.map(|id| blob(id.0)));
        })
        .await?;
        let sql = "INSERT INTO interconnection (connection_id, vpn_gateway_id, customer_gateway_id, is_ipv6, unit) \
             SELECT ?, ?, ?, ?, unhex(value) FROM json_each(?)";
        self.change(sql, |values| {
            values
                .push_bind(blob(connection.id.0))
                .push_bind(blob(connection.vpn_gateway_id.0))
                .push_bind(blob(connection.customer_gateway_id.0))
                .push_bind(family.is_ipv6())
                .push_bind(octet_array(units(&session.private_ip)));
        })
        .await
    }

    /// Sets which policy a session has; `None` detaches.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_session_policy(
        &mut self,
        id: ConnectionId,
        family: Family,
        policy: Option<causeway_model::RoutingPolicyId>,
    ) -> Result<()> {
        sqlx::query("UPDATE bgp_session SET routing_policy_id = ? WHERE connection_id = ? AND is_ipv6 = ?")
            .bind(policy.map(|id| blob(id.0)))
            .bind(blob(id.0))
            .bind(family.is_ipv6())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Sets initiation policy, ciphers, key and propagation.
    ///
    /// # Errors
    /// If the secret version does not exist.
    pub async fn set_connection(&mut self, connection: &Connection) -> Result<()> {
        sqlx::query(
            "UPDATE connection SET initiation_policy = ?, ikev2_ciphers = ?, esp_ciphers = ?, secret_id = ?, secret_revision = ?, \
             route_propagation_enabled = ? WHERE id = ?",
        )
        .bind(word(connection.initiation_policy))
        .bind(to_json(&connection.ikev2_ciphers))
        .bind(to_json(&connection.esp_ciphers))
        .bind(blob(connection.secret_id.0))
        .bind(connection.secret_revision)
        .bind(connection.route_propagation_enabled)
        .bind(blob(connection.id.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Gives a connection's tunnel of one family another peer: the peer was never seen at that address.
    ///
    /// # Errors
    /// If another connection has that tunnel.
    pub async fn set_tunnel_peer(&mut self, id: ConnectionId, peer: IpAddr, identity: Option<&str>) -> Result<()> {
        sqlx::query("UPDATE tunnel SET peer = ?, identity = ? WHERE connection_id = ? AND is_ipv6 = ?")
            .bind(address_blob(peer))
            .bind(identity.unwrap_or_default())
            .bind(blob(id.0))
            .bind(peer.is_ipv6())
            .execute(self.connection())
            .await?;
        sqlx::query("UPDATE connection_observed SET ever_up = 0 WHERE connection_id = ?")
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The next configuration revision of a connection. The deadline of one that the node has neither acknowledged nor refused goes on.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn bump_connection(&mut self, id: ConnectionId, now: Timestamp) -> Result<()> {
        let sql = "UPDATE connection SET pending_since = CASE WHEN pending_since IS NULL OR EXISTS (SELECT 1 FROM connection_observed \
             WHERE connection_id = connection.id AND json_extract(refusal, '$.revision') = connection.config_revision) \
             THEN ? ELSE pending_since END, config_revision = config_revision + 1 WHERE id = ?";
        self.change(sql, |values| {
            values.push_bind(now.0).push_bind(blob(id.0));
        })
        .await
    }

    /// Sets since when the node owes an acknowledgement.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_connection_pending(&mut self, id: ConnectionId, since: Option<Timestamp>) -> Result<()> {
        sqlx::query("UPDATE connection SET pending_since = ? WHERE id = ?")
            .bind(since.map(|time| time.0))
            .bind(blob(id.0))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Locks a connection for a reason, from the next configuration on, or unlocks it.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_connection_lock(&mut self, id: ConnectionId, reason: Option<&str>) -> Result<()> {
        sqlx::query(
            "UPDATE connection SET locked = ?, lock_reason = ?, lock_revision = config_revision + 1 WHERE id = ?",
        )
        .bind(reason.is_some())
        .bind(reason)
        .bind(blob(id.0))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Writes the copy of the status.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn set_connection_status(&mut self, id: ConnectionId, status: ConnectionStatus) -> Result<()> {
        let (sql, status) = ("UPDATE connection SET status = ? WHERE id = ? AND status <> ?", status.as_str());
        self.change(sql, |values| {
            values.push_bind(status).push_bind(blob(id.0)).push_bind(status);
        })
        .await
    }

    /// Keeps a key that is being replaced, an envelope, until its time is over.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn add_previous_key(&mut self, id: ConnectionId, data: &[u8], until: Timestamp) -> Result<()> {
        sqlx::query("INSERT INTO previous_key (connection_id, data, until) VALUES (?, ?, ?)")
            .bind(blob(id.0))
            .bind(data)
            .bind(until.0)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Forgets one previous key.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn delete_previous_key(&mut self, key: &PreviousKey) -> Result<()> {
        sqlx::query("DELETE FROM previous_key WHERE number = ?")
            .bind(i64::try_from(key.number).unwrap_or(i64::MAX))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Forgets a connection's previous keys whose time is over at `now`, or all of them; whether there was one.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn delete_previous_keys(&mut self, id: ConnectionId, now: Option<Timestamp>) -> Result<bool> {
        let done = sqlx::query("DELETE FROM previous_key WHERE connection_id = ? AND until <= ?")
            .bind(blob(id.0))
            .bind(now.map_or(i64::MAX, |now| now.0))
            .execute(self.connection())
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_subnets_share_a_unit_and_others_do_not() {
        let units_of = |text: &str| units(&text.parse().expect("a prefix"));
        assert_eq!(units_of("169.254.0.1/30"), [[169, 254, 0, 0], [169, 254, 0, 2]]);
        assert_eq!(units_of("169.254.0.2/31"), [[169, 254, 0, 2]]);
        assert_eq!(units_of("fd00::1/126").len(), 2);
        assert_eq!(units_of("fd00::1/127").len(), 1);
        assert!(units_of("169.254.0.4/30").iter().all(|unit| !units_of("169.254.0.0/30").contains(unit)));
    }
}
