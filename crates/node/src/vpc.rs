//! A VPC's router on this node: a namespace with `.1` and `::1` on every Private Network, and the gateways behind it.
//!
//! A gateway hangs on the router by a veth pair of its own, so nothing reaches it but through the router. Neighbours on the Private
//! Network still find its address, because the router answers for it (proxy ARP and ND). Both directions use link-local IPv6 next
//! hops, IPv4 included (RFC 5549's way): the pair needs no IPv4 subnet and no ARP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use causeway_linux::filter::{self, NetworkFilter, RouterFilter, Ruleset};
use causeway_linux::{AddressOptions, Link, Namespace, Netlink, NextHop, ROUTE_PROTOCOL, RouteSpec, VethEnd, sysctl};
use causeway_model::desired::{NetworkDesired, VpcDesired};
use causeway_model::{PrivateNetworkId, VpcId, VpnGatewayId};
use ipnet::IpNet;

use crate::error::SetupError;
use crate::host::{Host, announce, host_net};

/// The router's end of a gateway's pair.
pub(crate) const ROUTER_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The gateway's end.
pub(crate) const GATEWAY_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// The gateway's end of the pair, by name.
pub(crate) const GATEWAY_LINK: &str = "vpc0";

/// `nft` takes milliseconds.
const FILTER_PATIENCE: Duration = Duration::from_secs(10);

/// Addresses of ours that must not make a route of their own.
pub(crate) const BARE: AddressOptions = AddressOptions { no_prefix_route: true, no_dad: true };

struct Network {
    port: String,
    index: u32,
    addresses: Vec<IpNet>,
}

/// What could not be set up: of one Private Network, or of the router as a whole.
pub(crate) type Trouble = (Option<PrivateNetworkId>, SetupError);

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
    /// Whether the last application of routes succeeded.
    routed: bool,
    /// The packet filter in force.
    filter: RouterFilter,
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
            apply_filter(&namespace, &item, &RouterFilter::default()).await?;
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
                routed: true,
                filter: RouterFilter::default(),
            }),
            Err(error) => {
                host.remove_namespace(&name);
                Err(error)
            }
        }
    }

    /// Brings the Private Networks to what is desired, each as far as it goes.
    pub(crate) async fn apply(&mut self, host: &Host, desired: &VpcDesired) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let gone: Vec<PrivateNetworkId> = self
            .networks
            .keys()
            .copied()
            .filter(|id| !desired.networks.iter().any(|network| network.id == *id))
            .collect();
        for id in gone {
            let outer = outer_port(id);
            match host.netlink().delete_link_by_name(&outer).await {
                Ok(_) => drop(self.networks.remove(&id)),
                Err(error) => troubles.push((Some(id), SetupError::at(&format!("port {outer}"))(error))),
            }
        }
        for network in &desired.networks {
            if let Err(error) = self.apply_network(host, network).await {
                troubles.push((Some(network.id), error));
            }
        }
        let networks = desired.networks.iter().filter_map(|network| {
            let port = self.networks.get(&network.id)?.port.clone();
            Some(NetworkFilter { link: port, subnets: network.subnets.clone() })
        });
        let filter = RouterFilter { networks: networks.collect() };
        if filter != self.filter {
            match apply_filter(&self.namespace, &format!("packet filter of VPC {}", self.id), &filter).await {
                Ok(()) => self.filter = filter,
                Err(error) => troubles.push((None, error)),
            }
        }
        if !self.routed
            && let Err(error) = self.apply_routes().await
        {
            troubles.push((None, error));
        }
        troubles
    }

    /// By level: a port that somebody took away is made again, one that lost its bridge is put back.
    async fn apply_network(&mut self, host: &Host, desired: &NetworkDesired) -> Result<(), SetupError> {
        let bridge = host.ensure_bridge(&bridge_name(desired), desired.bridge.is_none()).await?;
        let item = format!("Private Network {}", desired.id);
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        let outer_name = outer_port(desired.id);
        let there = host.netlink().find_link(&outer_name).await.map_err(step())?;
        let outer = match there.filter(|_| self.networks.contains_key(&desired.id)) {
            Some(outer) => outer,
            None => self.make_port(host, desired.id, &outer_name).await.map_err(step())?,
        };
        if outer.master != Some(bridge) {
            host.netlink().set_master(outer.index, Some(bridge)).await.map_err(step())?;
        }
        if !outer.up {
            host.netlink().set_up(outer.index, true).await.map_err(step())?;
        }
        let Some(network) = self.networks.get_mut(&desired.id) else { return Ok(()) };
        self.netlink.set_up(network.index, true).await.map_err(step())?;
        let addresses: Vec<IpNet> = desired.subnets.iter().map(router_address).collect();
        let options = AddressOptions { no_prefix_route: false, no_dad: true };
        self.netlink.apply_addresses(network.index, &addresses, options).await.map_err(step())?;
        if network.addresses != addresses {
            let hosts: Vec<IpAddr> = addresses.iter().map(IpNet::addr).collect();
            let link = self.netlink.link(&network.port).await.map_err(step())?;
            announce(self.namespace.clone(), link, hosts);
            network.addresses = addresses;
        }
        self.apply_proxies(desired.id).await
    }

    /// Makes the veth pair between the router and the bridge.
    async fn make_port(
        &mut self,
        host: &Host,
        id: PrivateNetworkId,
        outer: &str,
    ) -> Result<Link, causeway_linux::Error> {
        let port = format!("p-{}", id.short());
        self.networks.remove(&id);
        // A killed predecessor's router may still be on its way out of the kernel.
        host.netlink().delete_link_by_name(outer).await?;
        let inner = VethEnd { mac: Some(router_mac(id)), ..VethEnd::new(&port).within(&self.namespace) };
        host.netlink().create_veth(&VethEnd::new(outer), &inner).await?;
        sysctl::apply_here(&sysctl::layer_two_only(outer)?)?;
        sysctl::apply(&self.namespace, &sysctl::proxy_neighbours(&port)?)?;
        let index = self.netlink.index(&port).await?;
        let link = host.netlink().link(outer).await?;
        self.networks.insert(id, Network { port, index, addresses: Vec::new() });
        Ok(link)
    }

    /// The name of its namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.name
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
        let deleted = self.netlink.delete_link_by_name(&gateway_port(id)).await.map_err(SetupError::at(&item));
        for hops in self.learned.values_mut() {
            hops.retain(|gateway| *gateway != id);
        }
        self.learned.retain(|_, hops| !hops.is_empty());
        let proxies = self.apply_proxies(link.network).await;
        let routes = self.apply_routes().await;
        deleted.and(proxies).and(routes)
    }

    /// Whether every route is in place.
    pub(crate) const fn is_routed(&self) -> bool {
        self.routed
    }

    /// Installs what the gateways learned.
    pub(crate) async fn set_learned(&mut self, learned: BTreeMap<IpNet, Vec<VpnGatewayId>>) -> Result<(), SetupError> {
        if self.learned == learned && self.routed {
            return Ok(());
        }
        self.learned = learned;
        self.apply_routes().await
    }

    /// Removes the router. Its gateways must be off.
    pub(crate) async fn remove(self, host: &Host) {
        for id in self.networks.keys() {
            if let Err(error) = host.netlink().delete_link_by_name(&outer_port(*id)).await {
                tracing::warn!(%error, "cannot remove a port");
            }
        }
        host.remove_namespace(&self.name);
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

    async fn apply_routes(&mut self) -> Result<(), SetupError> {
        let hop = |link: &GatewayLink| NextHop::onlink(IpAddr::V6(GATEWAY_LINK_LOCAL), link.index);
        let own = self.gateways.values().flat_map(|link| {
            link.addresses.iter().map(move |address| RouteSpec::unicast(host_net(*address), vec![hop(link)]))
        });
        let learned = self.learned.iter().map(|(prefix, gateways)| {
            let hops = gateways.iter().filter_map(|id| self.gateways.get(id)).map(hop).collect();
            RouteSpec::unicast(*prefix, hops)
        });
        let routes: Vec<RouteSpec> = own.chain(learned).collect();
        self.routed = false;
        let item = format!("routes of VPC {}", self.id);
        let trouble = apply_routes(&self.netlink, &routes).await.map_err(SetupError::at(&item))?;
        self.routed = trouble.is_empty();
        let is_own = |prefix: &IpNet| {
            self.gateways.values().flat_map(|link| &link.addresses).any(|address| host_net(*address) == *prefix)
        };
        let (own, learned): (Vec<_>, Vec<_>) = trouble.into_iter().partition(|(prefix, _)| is_own(prefix));
        if !learned.is_empty() {
            tracing::warn!(vpc = %self.id, routes = %join(&learned), "learned routes are not in place");
        }
        if own.is_empty() { Ok(()) } else { Err(SetupError { item, error: join(&own) }) }
    }
}

/// Applies a packet filter; a program that hangs is an error like any other.
pub(crate) async fn apply_filter(
    namespace: &Namespace,
    item: &str,
    filter: &(impl Ruleset + Sync),
) -> Result<(), SetupError> {
    match tokio::time::timeout(FILTER_PATIENCE, filter::apply(namespace, filter)).await {
        Ok(applied) => applied.map_err(SetupError::at(item)),
        Err(_) => Err(SetupError { item: item.to_owned(), error: "nft does not end".to_owned() }),
    }
}

/// Applies `routes` as all of ours in the main table. Returns those that are not in place, with the reason.
pub(crate) async fn apply_routes(
    netlink: &Netlink,
    routes: &[RouteSpec],
) -> Result<Vec<(IpNet, String)>, causeway_linux::Error> {
    let applied = netlink.apply_routes(ROUTE_PROTOCOL, causeway_linux::route::MAIN_TABLE, routes).await?;
    let foreign = applied.foreign.into_iter();
    let foreign = foreign.map(|prefix| (prefix, "somebody else's route is in its place".to_owned()));
    Ok(applied.failed.into_iter().chain(foreign).collect())
}

/// What [`apply_routes`] says, for people.
pub(crate) fn join(trouble: &[(IpNet, String)]) -> String {
    trouble.iter().map(|(prefix, why)| format!("{prefix}: {why}")).collect::<Vec<_>>().join("; ")
}

/// The router's Ethernet address on a Private Network: locally administered, and the same after every restart and on every node, so that
/// what hosts remember stays true.
fn router_mac(network: PrivateNetworkId) -> [u8; 6] {
    let [a, b, c, d, e, ..] = network.0.into_bytes();
    [0x02, a, b, c, d, e]
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
