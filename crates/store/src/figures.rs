//! What monitoring asks for: a line for each object, and none of what they are configured with.

use causeway_model::observed::{SessionFacts, TunnelFacts};
use causeway_model::resource::Tunnels;
use causeway_model::status::{BgpStatus, ConnectionStatus, LinkStatus, VpnGatewayStatus};
use causeway_model::{ConnectionId, LinkId, NodeId, ProjectId, VpnGatewayId};

use crate::row::RowExt;
use crate::{Reader, Result};

/// A VPN gateway.
#[derive(Clone, Debug)]
pub struct GatewayFigures {
    /// The gateway.
    pub id: VpnGatewayId,
    /// Its project.
    pub project: ProjectId,
    /// Its zone.
    pub zone: String,
    /// Its type.
    pub gateway_type: String,
    /// Where it runs.
    pub node: Option<NodeId>,
    /// The stored copy of the status.
    pub status: VpnGatewayStatus,
    /// The newest configuration.
    pub config_revision: u64,
    /// The one in force; 0: none.
    pub applied_revision: u64,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct ConnectionFigures {
    /// The connection.
    pub id: ConnectionId,
    /// Its gateway.
    pub gateway: VpnGatewayId,
    /// Its project.
    pub project: ProjectId,
    /// The stored copy of the status.
    pub status: ConnectionStatus,
    /// Which tunnels it is to have.
    pub tunnels: Tunnels,
    /// Whether it has an IPv4 session and an IPv6 session.
    pub families: [bool; 2],
    /// Its tunnels as last observed.
    pub tunnel_facts: Vec<TunnelFacts>,
    /// Its sessions as last observed.
    pub session_facts: Vec<SessionFacts>,
}

/// A link.
#[derive(Clone, Debug)]
pub struct LinkFigures {
    /// The link.
    pub id: LinkId,
    /// Its project.
    pub project: ProjectId,
    /// The stored copy of the status.
    pub status: LinkStatus,
    /// The stored copies of its sessions' statuses: IPv4, IPv6.
    pub sessions: [BgpStatus; 2],
}

const GATEWAYS: &str = "SELECT gateway.id, project_id, zone, gateway_type, node_id, status, config_revision, \
     coalesce(observed.applied_revision, 0) AS applied_revision FROM vpn_gateway AS gateway \
     LEFT JOIN gateway_observed AS observed ON observed.gateway_id = gateway.id WHERE gone_at IS NULL ORDER BY gateway.seq";

/// Of the facts only what is counted: the routes of one connection may be a thousand.
const CONNECTIONS: &str = "SELECT connection.id, vpn_gateway_id, project_id, status, tunnels, \
     EXISTS (SELECT 1 FROM bgp_session WHERE connection_id = connection.id AND is_ipv6 = 0) AS has_ipv4, \
     EXISTS (SELECT 1 FROM bgp_session WHERE connection_id = connection.id AND is_ipv6 = 1) AS has_ipv6, \
     coalesce(json_extract(observed.facts, '$.tunnels'), '[]') AS tunnel_facts, \
     coalesce(json_extract(observed.facts, '$.sessions'), '[]') AS session_facts FROM connection \
     LEFT JOIN connection_observed AS observed ON observed.connection_id = connection.id ORDER BY connection.seq";

const LINKS: &str =
    "SELECT id, project_id, status, bgp_v4_status, bgp_v6_status FROM link WHERE status != 'deleted' ORDER BY seq";

impl Reader {
    /// Every VPN gateway that is there for its tenant, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn gateway_figures(&mut self) -> Result<Vec<GatewayFigures>> {
        let rows = sqlx::query(GATEWAYS).fetch_all(self.connection()).await?;
        let figures = rows.iter().map(|row| {
            Ok(GatewayFigures {
                id: row.id("id")?,
                project: row.id("project_id")?,
                zone: row.text("zone")?,
                gateway_type: row.text("gateway_type")?,
                node: row.opt_id("node_id")?,
                status: row.word("status")?,
                config_revision: row.number("config_revision")?,
                applied_revision: row.number("applied_revision")?,
            })
        });
        figures.collect()
    }

    /// Every connection, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn connection_figures(&mut self) -> Result<Vec<ConnectionFigures>> {
        let rows = sqlx::query(CONNECTIONS).fetch_all(self.connection()).await?;
        let figures = rows.iter().map(|row| {
            Ok(ConnectionFigures {
                id: row.id("id")?,
                gateway: row.id("vpn_gateway_id")?,
                project: row.id("project_id")?,
                status: row.word("status")?,
                tunnels: row.word("tunnels")?,
                families: [row.flag("has_ipv4")?, row.flag("has_ipv6")?],
                tunnel_facts: row.json("tunnel_facts")?,
                session_facts: row.json("session_facts")?,
            })
        });
        figures.collect()
    }

    /// Every link but those that are deleted, oldest first.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn link_figures(&mut self) -> Result<Vec<LinkFigures>> {
        let rows = sqlx::query(LINKS).fetch_all(self.connection()).await?;
        let figures = rows.iter().map(|row| {
            Ok(LinkFigures {
                id: row.id("id")?,
                project: row.id("project_id")?,
                status: row.word("status")?,
                sessions: [row.word("bgp_v4_status")?, row.word("bgp_v6_status")?],
            })
        });
        figures.collect()
    }
}
