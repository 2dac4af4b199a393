//! The inside of a node's tunnels: a namespace with an address of the node's own, a TUN device for each tunnel, and a packet filter that knows the
//! exchanges between nodes, cables, and nothing else. Nothing is forwarded there.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use causeway_fleet::witness::PORT;
use causeway_linux::filter::PeeringFilter;
use causeway_linux::{AddressOptions, Namespace, Netlink, NextHop, ROUTE_PROTOCOL, RouteSpec, Upper};
use causeway_model::{ConnectionId, NodeId};
use causeway_tun::{Tun, TunOptions};
use ipnet::{IpNet, Ipv6Net};
use tokio::net::TcpSocket;

use super::Cables;
use super::share::SHARE_PORT;
use crate::error::SetupError;
use crate::gateway::tun_name;
use crate::host::{Host, host_net};
use crate::vpc::apply_filter;

/// What nodes have inside their tunnels: a network of unique local addresses (RFC 4193) that is never seen outside.
const PREFIX: [u16; 4] = [0xfd63, 0x6175, 0x7365, 0x7761];
/// MTU of a cable: what IPv6 needs everywhere (RFC 8200 §5).
pub(crate) const CABLE_MTU: u32 = 1280;
/// The Ethernet address of a cable's end at the router, and at the gateway. They outlive the devices: a node that starts anew is not looked for where it
/// was.
pub(crate) const CABLE_MACS: [[u8; 6]; 2] =
    [[0x02, 0xca, 0xb1, 0xe0, 0x00, 0x01], [0x02, 0xca, 0xb1, 0xe0, 0x00, 0x02]];
/// What a cable adds to a packet, octets: IPv6, UDP and VXLAN headers, and the inner Ethernet header.
const CABLE_OVERHEAD: u32 = 40 + 8 + 8 + 14;
/// MTU inside. With the headers of ESP it fits an underlay of 1440 octets.
const MTU: u32 = CABLE_MTU + CABLE_OVERHEAD;

/// A node's address inside of tunnels.
pub(crate) fn inside_address(node: NodeId) -> Ipv6Addr {
    let [a, b, c, d] = PREFIX;
    // These are random (ADR 0023).
    let [.., e, f, g, h, i, j, k, l] = node.0.into_bytes();
    let low = [[e, f], [g, h], [i, j], [k, l]].map(u16::from_be_bytes);
    Ipv6Addr::new(a, b, c, d, low[0], low[1], low[2], low[3])
}

/// The name of the namespace inside the tunnels of `node`.
pub(crate) fn namespace_name(node: NodeId) -> String {
    format!("cwp-{}", ConnectionId(node.0).short())
}

/// The inside, for whoever speaks there.
#[derive(Clone)]
pub(crate) struct Inside {
    namespace: Namespace,
    netlink: Netlink,
    /// The node's own address.
    pub(crate) own: Ipv6Addr,
}

impl Inside {
    /// Makes this end of the cable `number` to `node`: the device `name` in `namespace`, down. It goes with that namespace, and with this one.
    pub(crate) async fn make_cable(
        &self,
        name: &str,
        (node, number): (NodeId, u32),
        mac: [u8; 6],
        namespace: &Namespace,
    ) -> Result<(), SetupError> {
        let item = format!("cable {number} to node {node}");
        let upper = Upper::Vxlan { remote: IpAddr::V6(inside_address(node)), vni: number, mac: Some(mac) };
        let made = async {
            self.netlink.create_upper(name, upper, namespace).await?;
            let netlink = Netlink::open(namespace)?;
            netlink.set_mtu(netlink.index(name).await?, CABLE_MTU).await
        };
        made.await.map_err(SetupError::at(&item))
    }

    /// A socket in there.
    pub(crate) fn socket(&self) -> io::Result<TcpSocket> {
        self.namespace.run(TcpSocket::new_v6).map_err(io::Error::other)?
    }
}

/// The inside, for whoever makes tunnels.
pub(crate) struct Place {
    inside: Inside,
}

impl Place {
    /// Makes it, without any tunnel.
    pub(crate) async fn make(host: &Host, node: NodeId) -> Result<Self, SetupError> {
        let name = namespace_name(node);
        // An attempt that came half-way.
        host.remove_namespace(&name);
        let namespace = host.make_closed_namespace(&name)?;
        let item = format!("namespace {name}");
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        let own = inside_address(node);
        let netlink = Netlink::open(&namespace).map_err(step())?;
        let lo = netlink.index("lo").await.map_err(step())?;
        netlink.set_up(lo, true).await.map_err(step())?;
        let options = AddressOptions { no_prefix_route: true, no_dad: true, never_chosen: false };
        netlink.ensure_address(lo, host_net(IpAddr::V6(own)), options).await.map_err(step())?;
        let place = Self { inside: Inside { namespace, netlink, own } };
        place.admit(&Cables::new()).await?;
        Ok(place)
    }

    /// Lets pass what the tunnels to these nodes are for: from each one only what is from its own address, and of cables those to it.
    pub(crate) async fn admit(&self, nodes: &Cables) -> Result<(), SetupError> {
        let own = self.inside.own;
        let filter = PeeringFilter {
            network: Ipv6Net::new_assert(own, 64).trunc(),
            own,
            ports: [PORT, SHARE_PORT],
            tunnels: nodes
                .iter()
                .map(|(node, cables)| (tun_name(ConnectionId(node.0)), (inside_address(*node), cables.clone())))
                .collect(),
        };
        apply_filter(&self.inside.namespace, "packet filter inside the tunnels of nodes", &filter).await
    }

    /// For whoever speaks in there.
    pub(crate) const fn inside(&self) -> &Inside {
        &self.inside
    }

    /// The inner end of the tunnel to `node`.
    pub(crate) async fn make_tun(&self, node: NodeId) -> Result<Tun, SetupError> {
        let name = tun_name(ConnectionId(node.0));
        let item = format!("tunnel device {name} of node {node}");
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        let open = || Tun::open_with(&name, TunOptions::default().exclusive(true));
        let tun = self.inside.namespace.run(open).map_err(step())?.map_err(SetupError::at(&item))?;
        let index = self.inside.netlink.index(&name).await.map_err(step())?;
        self.inside.netlink.set_mtu(index, MTU).await.map_err(step())?;
        self.inside.netlink.set_up(index, true).await.map_err(step())?;
        let there = IpNet::V6(Ipv6Net::new_assert(inside_address(node), 128));
        let route = RouteSpec::unicast(there, vec![NextHop::dev(index)]);
        self.inside.netlink.replace_route(ROUTE_PROTOCOL, &route).await.map_err(step())?;
        Ok(tun)
    }
}

/// The address that packets from `outside` to `target` leave from. Nothing is sent.
pub(crate) fn address_towards(outside: &Namespace, target: SocketAddr) -> io::Result<IpAddr> {
    let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let ask = || {
        let socket = UdpSocket::bind(any)?;
        socket.connect(target)?;
        socket.local_addr()
    };
    Ok(outside.run(ask).map_err(io::Error::other)??.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_its_own_address_inside() {
        let node = NodeId("6e1f2a90-0000-4000-8123-456789abcdef".parse().expect("an id"));
        assert_eq!(inside_address(node).to_string(), "fd63:6175:7365:7761:8123:4567:89ab:cdef");
        assert_eq!(namespace_name(node), "cwp-6e1f2a90");
        let addresses: std::collections::BTreeSet<_> = (0..1000).map(|_| inside_address(NodeId::random())).collect();
        assert_eq!(addresses.len(), 1000);
    }
}
