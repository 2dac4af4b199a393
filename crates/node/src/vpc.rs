//! A VPC's router on this node: a namespace with `.1` and `::1` on every Private Network, and the gateways behind it.
//!
//! A gateway hangs on the router by a veth pair of its own, so nothing reaches it but through the router. Neighbours on the Private
//! Network still find its address, because the router answers for it (proxy ARP and ND). Both directions use link-local IPv6 next
//! hops, IPv4 included (RFC 5549's way): the pair needs no IPv4 subnet and no ARP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_linux::filter::{self, NetworkFilter, RouterFilter};
use causeway_linux::{AddressOptions, Namespace, Netlink, NextHop, ROUTE_PROTOCOL, RouteSpec, VethEnd, sysctl};
use causeway_model::desired::{NetworkDesired, VpcDesired};
use causeway_model::{PrivateNetworkId, VpcId, VpnGatewayId};
use ipnet::IpNet;

use crate::error::SetupError;
use crate::host::{Host, host_net};
use crate::ownership::Thing;

/// The router's end of a gateway's pair.
pub(crate) const ROUTER_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The gateway's end.
pub(crate) const GATEWAY_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// The gateway's end of the pair, by name.
pub(crate) const GATEWAY_LINK: &str = "vpc0";

/// Addresses of ours that must not make a route of their own.
pub(crate) const BARE: AddressOptions = AddressOptions { no_prefix_route: true, no_dad: true };

struct Network {
    port: String,
    index: u32,
}

struct GatewayLink {
    network: PrivateNetworkId,
    addresses: Vec<IpAddr>,
    index: u32,
}

/// The router.
pub(crate) struct VpcRouter {
    id: VpcId,
    name: String,
    namespace: Namespace,
    netlink: Netlink,
    networks: BTreeMap<PrivateNetworkId, Network>,
    gateways: BTreeMap<VpnGatewayId, GatewayLink>,
    learned: BTreeMap<IpNet, Vec<VpnGatewayId>>,
}

/// The bridge of a Private Network.
pub(crate) fn bridge_name(network: &NetworkDesired) -> String {
    network.bridge.clone().unwrap_or_else(|| format!("cwbr-{}", network.id.short()))
}

/// The first host address of a subnet: the router's.
pub(crate) fn router_address(subnet: &IpNet) -> IpNet {
    let first = match subnet.network() {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from(u32::from(address).saturating_add(1))),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address).saturating_add(1))),
    };
    IpNet::new_assert(first, subnet.prefix_len())
}

impl VpcRouter {
    /// Makes an empty router.
    pub(crate) async fn create(host: &Host, id: VpcId) -> Result<Self, SetupError> {
        let name = format!("cwv-{}", id.short());
        let namespace = host.make_namespace(&name)?;
        let item = format!("router of VPC {id}");
        let made = async {
            let netlink = Netlink::open(&namespace).map_err(SetupError::at(&item))?;
            filter::apply(&namespace, &RouterFilter::default()).await.map_err(SetupError::at(&item))?;
            Ok(netlink)
        };
        match made.await {
            Ok(netlink) => Ok(Self {
                id,
                name,
                namespace,
                netlink,
                networks: BTreeMap::new(),
                gateways: BTreeMap::new(),
                learned: BTreeMap::new(),
            }),
            Err(error) => {
                host.remove_namespace(&name);
                Err(error)
            }
        }
    }

    /// Brings the Private Networks to what is desired.
    pub(crate) async fn apply(&mut self, host: &Host, desired: &VpcDesired) -> Result<(), SetupError> {
        let gone: Vec<PrivateNetworkId> = self
            .networks
            .keys()
            .copied()
            .filter(|id| !desired.networks.iter().any(|network| network.id == *id))
            .collect();
        for id in gone {
            self.networks.remove(&id);
            let outer = outer_port(id);
            host.netlink.delete_link_by_name(&outer).await.map_err(SetupError::at(&format!("port {outer}")))?;
        }
        for network in &desired.networks {
            self.apply_network(host, network).await?;
        }
        let networks = desired.networks.iter().filter_map(|network| {
            let port = self.networks.get(&network.id)?.port.clone();
            Some(NetworkFilter { link: port, subnets: network.subnets.clone() })
        });
        let filter = RouterFilter { networks: networks.collect() };
        let item = format!("packet filter of VPC {}", self.id);
        filter::apply(&self.namespace, &filter).await.map_err(SetupError::at(&item))
    }

    async fn apply_network(&mut self, host: &Host, desired: &NetworkDesired) -> Result<(), SetupError> {
        let bridge = bridge_name(desired);
        let bridge_index = host.ensure_bridge(&bridge).await?;
        let item = format!("Private Network {}", desired.id);
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        if !self.networks.contains_key(&desired.id) {
            let (port, outer) = (format!("p-{}", desired.id.short()), outer_port(desired.id));
            // A killed predecessor's router may still be on its way out of the kernel.
            host.netlink.delete_link_by_name(&outer).await.map_err(step())?;
            host.netlink
                .create_veth(&VethEnd::new(&outer), &VethEnd::new(&port).within(&self.namespace))
                .await
                .map_err(step())?;
            let outer_index = host.netlink.index(&outer).await.map_err(step())?;
            sysctl::layer_two_only(&outer).and_then(|settings| sysctl::apply_here(&settings)).map_err(step())?;
            host.netlink.set_master(outer_index, Some(bridge_index)).await.map_err(step())?;
            let settings = sysctl::proxy_neighbours(&port).map_err(step())?;
            sysctl::apply(&self.namespace, &settings).map_err(step())?;
            let index = self.netlink.index(&port).await.map_err(step())?;
            self.networks.insert(desired.id, Network { port, index });
            self.netlink.set_up(index, true).await.map_err(step())?;
            host.netlink.set_up(outer_index, true).await.map_err(step())?;
        }
        let Some(network) = self.networks.get(&desired.id) else { return Ok(()) };
        let addresses: Vec<IpNet> = desired.subnets.iter().map(router_address).collect();
        let options = AddressOptions { no_prefix_route: false, no_dad: true };
        self.netlink.apply_addresses(network.index, &addresses, options).await.map_err(step())?;
        let hosts: Vec<IpAddr> = addresses.iter().map(IpNet::addr).collect();
        let link = self.netlink.link(&network.port).await.map_err(step())?;
        causeway_linux::announce(&self.namespace, &link, &hosts).map_err(step())
    }

    /// Hangs a gateway's namespace on the router. The gateway's end is named [`GATEWAY_LINK`].
    pub(crate) async fn attach(
        &mut self,
        id: VpnGatewayId,
        namespace: &Namespace,
        network: PrivateNetworkId,
        addresses: &[IpNet],
    ) -> Result<(), SetupError> {
        let item = format!("attachment of gateway {id} to Private Network {network}");
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        if !self.networks.contains_key(&network) {
            let error = format!("VPC {} has no such network on this node", self.id);
            return Err(SetupError { item, error });
        }
        let link = gateway_port(id);
        self.netlink.delete_link_by_name(&link).await.map_err(step())?;
        self.netlink
            .create_veth(&VethEnd::new(&link), &VethEnd::new(GATEWAY_LINK).within(namespace))
            .await
            .map_err(step())?;
        let index = self.netlink.index(&link).await.map_err(step())?;
        let local = IpNet::new_assert(IpAddr::V6(ROUTER_LINK_LOCAL), 64);
        let options = AddressOptions { no_prefix_route: false, no_dad: true };
        self.netlink.set_up(index, true).await.map_err(step())?;
        self.netlink.ensure_address(index, local, options).await.map_err(step())?;
        let addresses = addresses.iter().map(IpNet::addr).collect();
        self.gateways.insert(id, GatewayLink { network, addresses, index });
        self.apply_proxies(network).await?;
        self.apply_routes().await
    }

    /// Takes a gateway off.
    pub(crate) async fn detach(&mut self, id: VpnGatewayId) -> Result<(), SetupError> {
        let Some(link) = self.gateways.remove(&id) else { return Ok(()) };
        let item = format!("attachment of gateway {id}");
        self.netlink.delete_link_by_name(&gateway_port(id)).await.map_err(SetupError::at(&item))?;
        for hops in self.learned.values_mut() {
            hops.retain(|gateway| *gateway != id);
        }
        self.learned.retain(|_, hops| !hops.is_empty());
        if self.networks.contains_key(&link.network) {
            self.apply_proxies(link.network).await?;
        }
        self.apply_routes().await
    }

    /// Installs what the gateways learned.
    pub(crate) async fn set_learned(&mut self, learned: BTreeMap<IpNet, Vec<VpnGatewayId>>) -> Result<(), SetupError> {
        if self.learned == learned {
            return Ok(());
        }
        self.learned = learned;
        self.apply_routes().await
    }

    /// Removes the router. Its gateways must be off.
    pub(crate) async fn remove(self, host: &Host) {
        for id in self.networks.keys() {
            if let Err(error) = host.netlink.delete_link_by_name(&outer_port(*id)).await {
                tracing::warn!(%error, "cannot remove a port");
            }
        }
        host.remove_namespace(&self.name);
        host.forget(&Thing::Namespace(self.name));
    }

    async fn apply_proxies(&self, network: PrivateNetworkId) -> Result<(), SetupError> {
        let Some(port) = self.networks.get(&network) else { return Ok(()) };
        let addresses: Vec<IpAddr> = self
            .gateways
            .values()
            .filter(|link| link.network == network)
            .flat_map(|link| link.addresses.iter().copied())
            .collect();
        let item = format!("proxied neighbours of Private Network {network}");
        self.netlink.apply_proxies(port.index, &addresses).await.map_err(SetupError::at(&item))
    }

    async fn apply_routes(&self) -> Result<(), SetupError> {
        let hop = |link: &GatewayLink| NextHop::onlink(IpAddr::V6(GATEWAY_LINK_LOCAL), link.index);
        let own = self.gateways.values().flat_map(|link| {
            link.addresses.iter().map(move |address| RouteSpec::unicast(host_net(*address), vec![hop(link)]))
        });
        let learned = self.learned.iter().map(|(prefix, gateways)| {
            let hops = gateways.iter().filter_map(|id| self.gateways.get(id)).map(hop).collect();
            RouteSpec::unicast(*prefix, hops)
        });
        let routes: Vec<RouteSpec> = own.chain(learned).collect();
        apply_routes(&self.netlink, &format!("routes of VPC {}", self.id), &routes).await
    }
}

/// Applies `routes` as all of ours in the main table, and complains of those that are not in place.
pub(crate) async fn apply_routes(netlink: &Netlink, item: &str, routes: &[RouteSpec]) -> Result<(), SetupError> {
    let applied = netlink
        .apply_routes(ROUTE_PROTOCOL, causeway_linux::route::MAIN_TABLE, routes)
        .await
        .map_err(SetupError::at(item))?;
    if applied.is_complete() {
        return Ok(());
    }
    let failed = applied.failed.iter().map(|(prefix, why)| format!("{prefix}: {why}"));
    let foreign = applied.foreign.iter().map(|prefix| format!("{prefix}: somebody else's route is in its place"));
    Err(SetupError { item: item.to_owned(), error: failed.chain(foreign).collect::<Vec<_>>().join("; ") })
}

fn outer_port(network: PrivateNetworkId) -> String {
    format!("cwvr-{}", network.short())
}

fn gateway_port(gateway: VpnGatewayId) -> String {
    format!("g-{}", gateway.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_has_the_first_address() {
        let address = |text: &str| router_address(&text.parse().expect("a prefix")).to_string();
        assert_eq!(address("10.0.0.0/24"), "10.0.0.1/24");
        assert_eq!(address("fd00:1::/64"), "fd00:1::1/64");
    }
}
