//! What monitoring asks for: every object that is configured, in the state in which it is.

use causeway_model::diagnosis::PeerTunnel;
use causeway_model::resource::{Caller, Role};
use causeway_model::{Error, NodeId};
use causeway_store::{ConnectionFigures, GatewayFigures, LinkFigures, NodeRecord};

use crate::access::denied;
use crate::lease::LeaseInfo;
use crate::{Controller, Result};

/// All objects at one moment.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The nodes, those that were revoked excepted.
    pub nodes: Vec<NodeRecord>,
    /// The tunnels between nodes, as each end has said last.
    pub tunnels: Vec<(NodeId, PeerTunnel)>,
    /// The forwarding leases of those that need one.
    pub leases: Vec<(NodeId, LeaseInfo)>,
    /// VPN gateways.
    pub gateways: Vec<GatewayFigures>,
    /// Connections.
    pub connections: Vec<ConnectionFigures>,
    /// Links.
    pub links: Vec<LinkFigures>,
}

impl Controller {
    /// What monitoring sees; operators and support only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn figures(&self, caller: &Caller) -> Result<Figures> {
        if !matches!(caller.role, Role::Operator | Role::Support) {
            return Err(denied("read", "metrics"));
        }
        self.all_figures().await
    }

    /// As [`Self::figures`], for a listener that the operator has opened for monitoring alone.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn all_figures(&self) -> Result<Figures, Error> {
        let mut reader = self.read().await?;
        let mut nodes = reader.nodes().await?;
        nodes.retain(|node| node.revoked_at.is_none());
        let leases = nodes.iter().filter_map(|node| Some((node.id, self.lease_info(node)?))).collect();
        let contacts = reader.node_contacts().await?.into_iter();
        let tunnels = contacts.flat_map(|(node, contact)| contact.facts.tunnels.into_iter().map(move |of| (node, of)));
        Ok(Figures {
            tunnels: tunnels.collect(),
            nodes,
            leases,
            gateways: reader.gateway_figures().await?,
            connections: reader.connection_figures().await?,
            links: reader.link_figures().await?,
        })
    }
}
