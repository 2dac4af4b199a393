//! Desired state: what a node shall run, as one versioned document. The controller renders it from the store; a node applies
//! the difference to what it runs and acknowledges the revision, or refuses items of it (architecture: decision 5).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::acl::Acl;
use crate::id::{ConnectionId, LinkId, MachineId, NodeId, PrivateNetworkId, RouteId, VpcId, VpnGatewayId};
use crate::net::Family;
use crate::secret::Psk;
use crate::suite::Cipher;

/// Everything one node shall run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDesired {
    /// Grows with every change that concerns this node.
    pub revision: u64,
    /// The VPCs whose router lives on this node.
    pub vpcs: Vec<VpcDesired>,
    /// The gateways placed on this node.
    pub gateways: Vec<GatewayDesired>,
    /// What is placed on this node may be started elsewhere while it is away: when it starts, it waits for the controller's word.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failover: bool,
    /// The InterLinks that end on this node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkDesired>,
    /// The nodes that this one has a tunnel to: those that it asks whether they are there, so that it can vouch for them, and those that ask it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
    /// On what terms the node forwards; `None`: on none, whatever becomes of the controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseDesired>,
}

/// The lease that a node needs where its gateways may be started elsewhere without its word (docs/fleet.md, "Forwarding lease").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseDesired {
    /// The epoch of this configuration: raised whenever the node is about to be replaced.
    pub epoch: u64,
    /// Who votes, and for how long a majority of them counts.
    pub terms: LeaseTerms,
}

/// Terms of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseTerms {
    /// Of one node 1, 2, …: other terms have another number.
    pub number: u64,
    /// The nodes that have a vote; the controller has one, too.
    pub voters: Vec<NodeId>,
    /// For how long the node forwards after a question that a majority has answered, milliseconds.
    pub lease_ms: u64,
    /// On which machines the voters were when these terms were made. The node's own entry is the machine that they are for: on any other one
    /// nobody may ask by them.
    #[serde(default)]
    pub machines: BTreeMap<NodeId, MachineId>,
}

impl LeaseTerms {
    /// Whether `node` may ask by these terms on `machine`.
    #[must_use]
    pub fn are_for(&self, node: NodeId, machine: MachineId) -> bool {
        self.machines.get(&node) == Some(&machine)
    }
}

/// Another node of the zone, and the tunnel to it (ADR 0037).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Which.
    pub node: NodeId,
    /// Where its end of the tunnel is: an address and a port of UDP.
    pub address: SocketAddr,
    /// What both ends prove to each other; `None`: it was told before there were tunnels, so that there is none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Psk>,
    /// Whether this node asks that one; otherwise it is only asked by it.
    #[serde(default)]
    pub asks: bool,
}

/// A VPC's router and its Private Networks on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcDesired {
    /// The VPC.
    pub id: VpcId,
    /// Its Private Networks. The router owns `.1` and `::1` on each.
    pub networks: Vec<NetworkDesired>,
    /// Revision of the routes and lists below; acknowledged per VPC.
    #[serde(default)]
    pub revision: u64,
    /// Custom routes: below the VPC's subnets, above what is learned (system.md §2.3).
    #[serde(default)]
    pub custom_routes: Vec<CustomRouteDesired>,
    /// Whether gateways announce the custom routes (as far as a policy lets them).
    #[serde(default)]
    pub announce_custom_routes: bool,
    /// What may cross the router, IPv4.
    #[serde(default)]
    pub acl_ipv4: Acl,
    /// What may cross the router, IPv6.
    #[serde(default)]
    pub acl_ipv6: Acl,
    /// The node that has the VPC's router, if that is another one: the gateways here hang on it by cables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<NodeId>,
    /// The cables that end here: those of gateways on other nodes where the router is, and those of the gateways here where it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cables: Vec<CableDesired>,
}

impl VpcDesired {
    /// A router without custom routes that lets everything pass.
    #[must_use]
    pub fn new(id: VpcId, networks: Vec<NetworkDesired>) -> Self {
        Self {
            id,
            networks,
            revision: 0,
            custom_routes: Vec::new(),
            announce_custom_routes: false,
            acl_ipv4: Acl::default(),
            acl_ipv6: Acl::default(),
            router: None,
            cables: Vec::new(),
        }
    }
}

/// What a gateway hangs by on its VPC's router, if that is on another node: a VXLAN (RFC 7348) in the tunnel between both nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CableDesired {
    /// The gateway.
    pub gateway: VpnGatewayId,
    /// The node at the other end.
    pub node: NodeId,
    /// The VXLAN's network identifier, 24 bits: of all cables of a node each has another one.
    pub number: u32,
    /// The Private Network that the gateway is attached to.
    pub network: PrivateNetworkId,
    /// The gateway's addresses on it, with the subnet's mask.
    pub addresses: Vec<IpNet>,
}

/// A tenant's own route in a VPC's router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomRouteDesired {
    /// The route.
    pub id: RouteId,
    /// Where it leads.
    pub destination: IpNet,
    /// The Private Network that the next hop is on.
    pub network: PrivateNetworkId,
    /// The next hop, of the destination's family; `None`: every address of the destination answers on the network itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<IpAddr>,
}

/// One Private Network on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDesired {
    /// The Private Network.
    pub id: PrivateNetworkId,
    /// Its subnets, at most one of each family.
    pub subnets: Vec<IpNet>,
    /// An existing bridge to use, or an existing interface that the node makes a port of its own bridge; `None`: the node makes one named `cwbr-<first 8 digits of the id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
}

/// One VPN gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayDesired {
    /// The gateway.
    pub id: VpnGatewayId,
    /// Its VPC, which is in [`NodeDesired::vpcs`].
    pub vpc: VpcId,
    /// The Private Network that it is attached to.
    pub network: PrivateNetworkId,
    /// Revision of the gateway's own configuration and its set of connections; acknowledged per gateway.
    pub revision: u64,
    /// Our AS number.
    pub asn: u32,
    /// Its addresses on the Private Network, with the subnet's mask.
    pub private_addresses: Vec<IpNet>,
    /// Its public addresses, at most one of each family.
    pub public_addresses: Vec<IpAddr>,
    /// Bits per second in each direction; 0 = unlimited.
    pub bandwidth: u64,
    /// Traffic stops while locked.
    pub locked: bool,
    /// Its connections.
    pub connections: Vec<ConnectionDesired>,
}

/// One connection of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionDesired {
    /// The connection.
    pub id: ConnectionId,
    /// Revision of everything below, shared objects included; acknowledged per connection.
    pub revision: u64,
    /// One or two tunnels, IPv4 first.
    pub tunnels: Vec<TunnelDesired>,
    /// The identity that the peer must prove; `None`: its public address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_identity: Option<String>,
    /// Whether this side starts.
    pub initiate: bool,
    /// IKE proposals in order of preference; never empty here (the default is filled in).
    pub ike_proposals: Vec<Cipher>,
    /// ESP proposals in order of preference; never empty here.
    pub esp_proposals: Vec<Cipher>,
    /// Keys accepted, the newest first: that one is tried first when initiating.
    pub psks: Vec<Psk>,
    /// The customer's AS number.
    pub peer_asn: u32,
    /// One entry per family that has an interconnection subnet.
    pub bgp: Vec<BgpDesired>,
    /// Whether routes are exchanged and traffic forwarded.
    pub propagate: bool,
    /// Traffic stops while locked.
    pub locked: bool,
    /// Timers and limits.
    pub timers: Timers,
    /// Key of the sessions' TCP MD5 signatures (RFC 2385); `None`: unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp_md5: Option<Psk>,
    /// Whether both ends of a session must be neighbours by hop limit (RFC 5082).
    #[serde(default)]
    pub bgp_gtsm: bool,
    /// Grows whenever both sides shall prove the current key: a new IKE SA, made before the old one ends.
    #[serde(default)]
    pub reauthenticate: u64,
    /// Grows whenever an earlier key is revoked: an IKE SA that was authenticated with a key outside `psks` ends.
    #[serde(default)]
    pub revocations: u64,
}

/// The outside of one tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelDesired {
    /// Our public address.
    pub local: IpAddr,
    /// The customer's public address, of the same family.
    pub peer: IpAddr,
}

impl TunnelDesired {
    /// The outer family.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.local)
    }
}

/// The BGP session of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpDesired {
    /// Our inside address with the interconnection subnet's mask.
    pub local: IpNet,
    /// The customer's inside address with the same mask.
    pub peer: IpNet,
    /// The attached policy; `None`: the session is disabled, the subnet stays reserved.
    pub policy: Option<PolicyDesired>,
}

impl BgpDesired {
    /// The session's family.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of_net(&self.local)
    }
}

/// One InterLink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkDesired {
    /// The link.
    pub id: LinkId,
    /// Revision of everything below, shared objects included; acknowledged per link.
    pub revision: u64,
    /// The VPC that it leads to, which is in [`NodeDesired::vpcs`]; sessions run without one, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<VpcId>,
    /// What carries it.
    pub attachment: AttachmentDesired,
    /// Bits per second in each direction; 0 = unlimited.
    pub bandwidth: u64,
    /// Our AS number.
    pub asn: u32,
    /// The other side's AS number.
    pub peer_asn: u32,
    /// One entry per family.
    pub bgp: Vec<BgpDesired>,
    /// Whether routes are exchanged and traffic forwarded.
    pub propagate: bool,
    /// Sessions end and traffic stops while locked.
    pub locked: bool,
    /// BGP hold time, seconds; 0 or at least 3.
    pub hold_time: u16,
    /// BGP prefixes accepted at most, per session.
    pub max_prefixes: u32,
    /// Key of the sessions' TCP MD5 signatures (RFC 2385); `None`: unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp_md5: Option<Psk>,
    /// Whether both ends of a session must be neighbours by hop limit (RFC 5082).
    #[serde(default)]
    pub bgp_gtsm: bool,
}

/// What carries an InterLink on its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AttachmentDesired {
    /// A VLAN (IEEE 802.1Q) of an interface.
    Vlan {
        /// The interface's name.
        interface: String,
        /// The VLAN id, 1 to 4094.
        vlan: u16,
    },
    /// An interface as it is.
    Interface {
        /// Its name.
        interface: String,
    },
    /// A VXLAN (RFC 7348).
    Vxlan {
        /// The far end.
        remote: IpAddr,
        /// The network identifier, 24 bits.
        vni: u32,
    },
}

/// A routing policy's whitelists (system.md §2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyDesired {
    /// Accepted from the customer.
    pub prefix_filter_in: Vec<IpNet>,
    /// Announced to the customer.
    pub prefix_filter_out: Vec<IpNet>,
}

/// Timers and limits of a connection, all in seconds unless said otherwise (system.md §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// IKE SA lifetime.
    pub ike_lifetime: u32,
    /// Child SA lifetime.
    pub child_lifetime: u32,
    /// Child SA lifetime in packets sent.
    pub child_packets: u64,
    /// Silence before a liveness check.
    pub dpd_delay: u32,
    /// From the check to the verdict.
    pub dpd_timeout: u32,
    /// BGP hold time; 0 or at least 3.
    pub hold_time: u16,
    /// BGP prefixes accepted at most, per session.
    pub max_prefixes: u32,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            ike_lifetime: 8 * 3600,
            child_lifetime: 3600,
            child_packets: 1 << 30,
            dpd_delay: 5,
            dpd_timeout: 10,
            hold_time: 60,
            max_prefixes: 1000,
        }
    }
}
