//! What one actor runs, whichever of the two it is: a VPN gateway with its connections, or an InterLink, which to the node is a gateway with a
//! single connection that an interface carries instead of tunnels. So namespace, sessions, route choice, tables and packet filter are the same
//! code for both.

use std::collections::BTreeSet;
use std::net::IpAddr;

use causeway_model::desired::{AttachmentDesired, ConnectionDesired, GatewayDesired, LinkDesired, Timers};
use causeway_model::observed::ConnectionFacts;
use causeway_model::{ConnectionId, LinkId, PrivateNetworkId, VpcId, VpnGatewayId};
use ipnet::IpNet;

/// A gateway or a link, as its actor sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    /// The gateway's id. A link has its own id here, and again as that of its connection: ids of all kinds are drawn from one space.
    pub(crate) id: VpnGatewayId,
    /// The VPC on whose router it hangs; a link may have none.
    pub(crate) vpc: Option<VpcId>,
    /// The gateway's Private Network.
    pub(crate) network: Option<PrivateNetworkId>,
    /// See [`GatewayDesired::revision`].
    pub(crate) revision: u64,
    /// Our AS number.
    pub(crate) asn: u32,
    /// See [`GatewayDesired::private_addresses`].
    pub(crate) private_addresses: Vec<IpNet>,
    /// See [`GatewayDesired::public_addresses`].
    pub(crate) public_addresses: Vec<IpAddr>,
    /// Bits per second in each direction; 0 = unlimited.
    pub(crate) bandwidth: u64,
    /// Traffic stops while locked.
    pub(crate) locked: bool,
    /// What carries a link; `None`: a gateway, whose connections have tunnels.
    pub(crate) attachment: Option<AttachmentDesired>,
    /// A gateway's connections, or the one that stands for a link.
    pub(crate) connections: Vec<ConnectionDesired>,
}

impl Site {
    /// The link that this is.
    pub(crate) fn link(&self) -> Option<LinkId> {
        self.attachment.is_some().then_some(LinkId(self.id.0))
    }

    /// What was told of connections that are still its own. Of one that was deleted the actor tells until it has taken the newer
    /// configuration; to the controller that is somebody else's then, and whoever reports on that loses the channel.
    pub(crate) fn own<'a>(&self, told: &'a [ConnectionFacts]) -> impl Iterator<Item = &'a ConnectionFacts> {
        let known: BTreeSet<ConnectionId> = self.connections.iter().map(|connection| connection.id).collect();
        told.iter().filter(move |facts| known.contains(&facts.id))
    }

    /// The name of its namespace.
    pub(crate) fn namespace(&self) -> String {
        let kind = if self.attachment.is_some() { "cwl" } else { "cwg" };
        format!("{kind}-{}", self.id.short())
    }

    /// Whether nothing changed that only a new start can change. A link goes from VPC to VPC without losing its sessions.
    pub(crate) fn is_in_place_of(&self, before: &Self) -> bool {
        let vpc = self.attachment.is_some() || self.vpc == before.vpc;
        vpc && self.network == before.network
            && self.attachment == before.attachment
            && self.private_addresses == before.private_addresses
            && self.public_addresses == before.public_addresses
    }
}

/// The connection that stands for a link.
pub(crate) fn link_connection(id: LinkId) -> ConnectionId {
    ConnectionId(id.0)
}

impl From<&GatewayDesired> for Site {
    fn from(gateway: &GatewayDesired) -> Self {
        Self {
            id: gateway.id,
            vpc: Some(gateway.vpc),
            network: Some(gateway.network),
            revision: gateway.revision,
            asn: gateway.asn,
            private_addresses: gateway.private_addresses.clone(),
            public_addresses: gateway.public_addresses.clone(),
            bandwidth: gateway.bandwidth,
            locked: gateway.locked,
            attachment: None,
            connections: gateway.connections.clone(),
        }
    }
}

impl From<&LinkDesired> for Site {
    fn from(link: &LinkDesired) -> Self {
        let connection = ConnectionDesired {
            id: link_connection(link.id),
            revision: link.revision,
            tunnels: Vec::new(),
            peer_identity: None,
            initiate: false,
            ike_proposals: Vec::new(),
            esp_proposals: Vec::new(),
            psks: Vec::new(),
            peer_asn: link.peer_asn,
            bgp: link.bgp.clone(),
            propagate: link.propagate,
            locked: link.locked,
            timers: Timers { hold_time: link.hold_time, max_prefixes: link.max_prefixes, ..Timers::default() },
            bgp_md5: link.bgp_md5.clone(),
            bgp_gtsm: link.bgp_gtsm,
            reauthenticate: 0,
            revocations: 0,
        };
        Self {
            id: VpnGatewayId(link.id.0),
            vpc: link.vpc,
            network: None,
            revision: link.revision,
            asn: link.asn,
            private_addresses: Vec::new(),
            public_addresses: Vec::new(),
            bandwidth: link.bandwidth,
            locked: link.locked,
            attachment: Some(link.attachment.clone()),
            connections: vec![connection],
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn nothing_is_told_of_a_connection_that_was_deleted() {
        let facts = |id| ConnectionFacts {
            id,
            applied: 1,
            refused: None,
            tunnels: Vec::new(),
            sessions: Vec::new(),
            received: Vec::new(),
            announced: Vec::new(),
        };
        let link = LinkDesired {
            id: LinkId(Uuid::from_u128(1)),
            revision: 1,
            attachment: AttachmentDesired::Interface { interface: "eth1".to_owned() },
            vpc: None,
            asn: 12876,
            bandwidth: 0,
            locked: false,
            peer_asn: 65000,
            bgp: Vec::new(),
            propagate: true,
            hold_time: 60,
            max_prefixes: 1000,
            bgp_md5: None,
            bgp_gtsm: false,
        };
        let site = Site::from(&link);
        let [own, gone] = [1, 2].map(|id| facts(ConnectionId(Uuid::from_u128(id))));
        let told = [gone, own.clone()];
        assert_eq!(site.own(&told).collect::<Vec<_>>(), [&own]);
    }
}
