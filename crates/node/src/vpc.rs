//! A VPC's router on this node: a namespace with `.1` and `::1` on every Private Network, and the gateways behind it.
//!
//! A gateway hangs on the router by a veth pair of its own, so nothing reaches it but through the router. Neighbours on the Private
//! Network still find its address, because the router answers for it (proxy ARP and ND). Both directions use link-local IPv6 next
//! hops, IPv4 included (RFC 5549's way): the pair needs no IPv4 subnet and no ARP.
//!
//! The router knows three kinds of routes, in this order for the same prefix: its Private Networks, the tenant's custom routes, and what
//! gateways learned. Whatever it forwards meets the VPC's access lists.

mod cable;
pub(crate) mod custom;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use causeway_linux::filter::{self, AclFilter, AclReader, AclTable, Counters, NetworkFilter, RouterFilter, Ruleset};
use causeway_linux::route::MAIN_TABLE;
use causeway_linux::{
    AddressOptions, Link, Namespace, Netlink, NextHop, ROUTE_PROTOCOL, RouteSpec, RouteTable, VethEnd, sysctl,
};
use causeway_model::desired::{NetworkDesired, VpcDesired};
use causeway_model::net::router_address;
use causeway_model::observed::AclCounters;
use causeway_model::{NodeId, PrivateNetworkId, RouteId, VpcId, VpnGatewayId};
use ipnet::IpNet;
use tokio::sync::Notify;

use crate::error::SetupError;
use crate::host::{Bridge, Host, announce, host_net};
use crate::peering::Inside;
use crate::table::{Installer, Learnt, Untaken, Wish};
use custom::{Attached, Custom};

/// The router's end of a gateway's pair.
pub(crate) const ROUTER_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The gateway's end.
pub(crate) const GATEWAY_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// The gateway's end of the pair, by name.
pub(crate) const GATEWAY_LINK: &str = "vpc0";

/// `nft` takes milliseconds.
const FILTER_PATIENCE: Duration = Duration::from_secs(10);
/// How the names of the routers' ports begin, in the node's own namespace.
pub(crate) const ROUTER_PORTS: &str = "cwvr-";
/// How the names of the router's links to gateways begin.
const GATEWAY_PORTS: &str = "g-";

/// Addresses of ours that must not make a route of their own.
pub(crate) const BARE: AddressOptions = AddressOptions { no_prefix_route: true, no_dad: true, never_chosen: false };

struct Network {
    port: String,
    index: u32,
    addresses: Vec<IpNet>,
    subnets: Vec<IpNet>,
    /// What the port was last made a port of.
    bridge: Option<Bridge>,
    /// The bridge or interface that the operator names.
    named: Option<String>,
}

/// Whom it concerns that something is not in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concern {
    /// The router as a whole: no gateway can hang on it.
    Router,
    /// One Private Network and the gateways on it.
    Network(PrivateNetworkId),
    /// The VPC's access lists: those that were in force before still are.
    Lists,
    /// One of the VPC's custom routes. All the rest is in force.
    Custom,
    /// The cable of a gateway on another node.
    Cable,
}

/// What could not be set up.
pub(crate) type Trouble = (Concern, SetupError);

struct GatewayLink {
    /// Where neighbours look for its addresses; an InterLink has neither.
    network: Option<PrivateNetworkId>,
    addresses: Vec<IpAddr>,
    index: u32,
    /// The other end, and the number of the cable, if it is on another node.
    cable: Option<(NodeId, u32)>,
}

/// The router.
pub(crate) struct VpcRouter {
    id: VpcId,
    incarnation: u64,
    name: String,
    namespace: Namespace,
    netlink: Netlink,
    networks: BTreeMap<PrivateNetworkId, Network>,
    gateways: BTreeMap<VpnGatewayId, GatewayLink>,
    custom: BTreeMap<IpNet, Custom>,
    /// Those of them that the kernel does not take.
    refused: BTreeSet<IpNet>,
    /// Where the table does not hold what it was to hold.
    untaken: Arc<Untaken>,
    learned: Arc<Learnt<VpnGatewayId>>,
    table: Installer<VpnGatewayId>,
    /// Whether addresses changed, which takes routes along.
    disturbed: bool,
    /// Routes of the newest application that are not in place, but for those that were learned.
    unrouted: Vec<Trouble>,
    /// The packet filter in force.
    filter: RouterFilter,
    acl: AclTable,
    /// The revision that is in force once its routes are; `None` while something else of it is not in place.
    applying: Option<u64>,
    /// The revision in force, but for Private Networks and custom routes that are refused alone; 0 until one is.
    applied: u64,
}

/// The bridge that the node makes for a Private Network, unless the operator names one.
fn bridge_name(network: PrivateNetworkId) -> String {
    format!("cwbr-{}", network.short())
}

impl VpcRouter {
    /// Makes an empty router, the node's `incarnation`th. `news` is notified when routes came into place or could not.
    pub(crate) async fn create(
        host: &Host,
        id: VpcId,
        incarnation: u64,
        news: Arc<Notify>,
    ) -> Result<Self, SetupError> {
        let name = format!("cwv-{}", id.short());
        let namespace = host.make_namespace(&name)?;
        let item = format!("router of VPC {id}");
        let made = async {
            let netlink = Netlink::open(&namespace).map_err(SetupError::at(&item))?;
            apply_filter(&namespace, &item, &router_filter(Vec::new())).await?;
            let acl = in_time(&item, AclTable::create(namespace.clone())).await?;
            Ok((netlink, acl))
        };
        match made.await {
            Ok((netlink, acl)) => Ok(Self {
                id,
                incarnation,
                name,
                namespace,
                networks: BTreeMap::new(),
                gateways: BTreeMap::new(),
                custom: BTreeMap::new(),
                refused: BTreeSet::new(),
                untaken: Arc::default(),
                learned: Arc::default(),
                table: Installer::start(item, RouteTable::new(netlink.clone(), ROUTE_PROTOCOL, MAIN_TABLE), news),
                netlink,
                disturbed: false,
                unrouted: Vec::new(),
                filter: router_filter(Vec::new()),
                acl,
                applying: None,
                applied: 0,
            }),
            Err(error) => {
                host.remove_namespace(&name);
                Err(error)
            }
        }
    }

    /// Brings everything to what is desired, each part as far as it goes. `inside`: of the tunnels to other nodes, where there are cables.
    pub(crate) async fn apply(
        &mut self,
        host: &Host,
        inside: Option<Result<Inside, SetupError>>,
        desired: &VpcDesired,
    ) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let local: Vec<IpNet> = desired.networks.iter().flat_map(|network| network.subnets.iter().copied()).collect();
        // Before anything that could bring packets.
        let acl =
            AclFilter { ipv4: desired.acl_ipv4.clone(), ipv6: desired.acl_ipv6.clone(), vpc_subnets: local.clone() };
        if let Err(error) = in_time(&format!("access lists of VPC {}", self.id), self.acl.apply(&acl)).await {
            troubles.push((Concern::Lists, error));
        }
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
                Err(error) => {
                    troubles.push((Concern::Network(id), SetupError::at(&format!("port {outer}"))(error)));
                }
            }
        }
        for network in &desired.networks {
            if let Err(error) = self.apply_network(host, network).await {
                troubles.push((Concern::Network(network.id), error));
            }
        }
        let networks = desired.networks.iter().filter_map(|network| {
            let port = self.networks.get(&network.id)?.port.clone();
            Some(NetworkFilter { link: port, subnets: network.subnets.clone() })
        });
        let filter = router_filter(networks.collect());
        if filter != self.filter {
            match apply_filter(&self.namespace, &format!("packet filter of VPC {}", self.id), &filter).await {
                Ok(()) => self.filter = filter,
                Err(error) => troubles.push((Concern::Router, error)),
            }
        }
        troubles.extend(self.apply_cables(inside, desired).await);
        let attached = self.networks.iter().map(|(id, network)| {
            let attached = Attached { index: network.index, subnets: &network.subnets };
            (*id, attached)
        });
        let (custom, refused) = custom::resolve(&desired.custom_routes, &attached.collect(), &local);
        troubles.extend(refused.into_iter().map(|error| (Concern::Custom, error)));
        self.custom = custom;
        let hindered = troubles.iter().any(|(concern, _)| matches!(concern, Concern::Router | Concern::Lists));
        self.applying = (!hindered).then_some(desired.revision);
        let fresh = std::mem::take(&mut self.disturbed) || self.table.has_failed();
        self.wish_routes(fresh);
        self.settle();
        troubles
    }

    /// Looks at how far the routes are, after news and after a change. Whether there is something to report.
    pub(crate) fn settle(&mut self) -> bool {
        let untaken = self.table.untaken();
        let moved = *untaken != *self.untaken;
        self.untaken = untaken;
        if !self.table.own_is_done() {
            return moved;
        }
        let (troubles, applied) = (self.route_troubles(), self.applied);
        let trouble = self.table.trouble();
        let refused = trouble.iter().map(|(prefix, _)| *prefix).filter(|prefix| self.custom.contains_key(prefix));
        self.refused = refused.collect();
        if troubles.iter().all(|(concern, _)| *concern != Concern::Router)
            && let Some(revision) = self.applying
        {
            self.applied = revision;
        }
        let changed = moved || self.applied != applied || self.unrouted != troubles;
        self.unrouted = troubles;
        changed
    }

    /// Whether the router's own routes are in place, or known not to be.
    pub(crate) fn is_settled(&self) -> bool {
        self.table.own_is_done()
    }

    /// Whether every route was dealt with.
    #[cfg(test)]
    pub(crate) fn is_done(&self) -> bool {
        self.table.is_done()
    }

    /// Whether some route, learned or not, could not be put in place.
    pub(crate) fn has_failed(&self) -> bool {
        self.table.has_failed()
    }

    /// Which of its own and the tenant's routes are not in place.
    pub(crate) fn unrouted(&self) -> &[Trouble] {
        &self.unrouted
    }

    /// By level: a port that somebody took away is made again, one that lost its bridge is put back.
    async fn apply_network(&mut self, host: &Host, desired: &NetworkDesired) -> Result<(), SetupError> {
        let own = bridge_name(desired.id);
        let bridge = host.attach(&own, desired.bridge.as_deref()).await?;
        let item = format!("Private Network {}", desired.id);
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        let outer_name = outer_port(desired.id);
        let there = host.netlink().find_link(&outer_name).await.map_err(step())?;
        let outer = match there.filter(|_| self.networks.contains_key(&desired.id)) {
            Some(outer) => outer,
            None => self.make_port(host, desired.id, &outer_name).await.map_err(step())?,
        };
        if outer.master != Some(bridge.index) {
            host.netlink().set_master(outer.index, Some(bridge.index)).await.map_err(step())?;
        }
        if !outer.up {
            host.netlink().set_up(outer.index, true).await.map_err(step())?;
        }
        let Some(network) = self.networks.get_mut(&desired.id) else { return Ok(()) };
        network.bridge = Some(bridge);
        network.named.clone_from(&desired.bridge);
        network.subnets.clone_from(&desired.subnets);
        self.netlink.set_up(network.index, true).await.map_err(step())?;
        let addresses: Vec<IpNet> = desired.subnets.iter().map(router_address).collect();
        let options = AddressOptions { no_prefix_route: false, no_dad: true, never_chosen: false };
        self.netlink.apply_addresses(network.index, &addresses, options).await.map_err(step())?;
        if network.addresses != addresses {
            let hosts: Vec<IpAddr> = addresses.iter().map(IpNet::addr).collect();
            let link = self.netlink.link(&network.port).await.map_err(step())?;
            announce(self.namespace.clone(), link, hosts);
            network.addresses = addresses;
            // What led through the addresses that went is gone from the kernel.
            self.disturbed = true;
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
        host.netlink().create_veth(&VethEnd { mac: Some(port_mac(id)), ..VethEnd::new(outer) }, &inner).await?;
        sysctl::apply_here(&sysctl::layer_two_only(outer)?)?;
        sysctl::apply(&self.namespace, &sysctl::proxy_neighbours(&port)?)?;
        let index = self.netlink.index(&port).await?;
        let link = host.netlink().link(outer).await?;
        self.networks
            .insert(id, Network { port, index, addresses: Vec::new(), subnets: Vec::new(), bridge: None, named: None });
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
        network: Option<PrivateNetworkId>,
        addresses: &[IpNet],
    ) -> Result<(), SetupError> {
        let item = match network {
            Some(network) => format!("attachment of gateway {id} to Private Network {network}"),
            None => format!("attachment of link {id} to VPC {}", self.id),
        };
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        if network.is_some_and(|network| !self.networks.contains_key(&network)) {
            let error = format!("VPC {} has no such network on this node", self.id);
            return Err(SetupError { item, error });
        }
        let link = gateway_port(id);
        self.netlink.delete_link_by_name(&link).await.map_err(step())?;
        self.netlink
            .create_veth(&VethEnd::new(&link), &VethEnd::new(GATEWAY_LINK).within(namespace))
            .await
            .map_err(step())?;
        let index = self.lift(&link).await.map_err(step())?;
        let addresses = addresses.iter().map(IpNet::addr).collect();
        self.take_in(id, GatewayLink { network, addresses, index, cable: None }).await
    }

    /// Has the router's end of a gateway's link up, with its address. Its index.
    async fn lift(&self, link: &str) -> Result<u32, causeway_linux::Error> {
        let index = self.netlink.index(link).await?;
        let local = IpNet::new_assert(IpAddr::V6(ROUTER_LINK_LOCAL), 64);
        let options = AddressOptions { no_prefix_route: false, no_dad: true, never_chosen: false };
        self.netlink.set_up(index, true).await?;
        self.netlink.ensure_address(index, local, options).await?;
        Ok(index)
    }

    /// From now on there is a gateway at the other end of this link.
    async fn take_in(&mut self, id: VpnGatewayId, link: GatewayLink) -> Result<(), SetupError> {
        let network = link.network;
        self.gateways.insert(id, link);
        if let Some(network) = network {
            self.apply_proxies(network).await?;
        }
        self.wish_routes(true);
        Ok(())
    }

    /// Takes a gateway off.
    pub(crate) async fn detach(&mut self, id: VpnGatewayId) -> Result<(), SetupError> {
        let Some(link) = self.gateways.remove(&id) else { return Ok(()) };
        let item = format!("attachment of gateway {id}");
        let deleted = self.netlink.delete_link_by_name(&gateway_port(id)).await.map_err(SetupError::at(&item));
        let proxies = match link.network {
            Some(network) => self.apply_proxies(network).await,
            None => Ok(()),
        };
        // The kernel has taken the routes by that link away.
        self.wish_routes(true);
        deleted.and(proxies)
    }

    /// Has installed what the gateways learned.
    pub(crate) fn set_learned(&mut self, learned: Arc<Learnt<VpnGatewayId>>) {
        if !Arc::ptr_eq(&self.learned, &learned) {
            self.learned = learned;
            self.wish_routes(false);
        }
    }

    /// The custom routes in force. What the kernel does not take stands in no learned route's way.
    pub(crate) fn custom_routes(&self) -> BTreeMap<IpNet, RouteId> {
        let taken = self.custom.iter().filter(|(destination, _)| !self.refused.contains(*destination));
        taken.map(|(destination, custom)| (*destination, custom.id)).collect()
    }

    /// Where the table does not hold what it was to hold, as it was looked at last.
    pub(crate) fn untaken(&self) -> Arc<Untaken> {
        Arc::clone(&self.untaken)
    }

    /// The revision in force, but for Private Networks and custom routes that are refused alone; 0 until one is.
    pub(crate) const fn applied(&self) -> u64 {
        self.applied
    }

    /// The counters of the access lists in force, as they were read last.
    pub(crate) fn acl_counters(&self) -> AclCounters {
        self.acl.counters()
    }

    /// Tells this router from others of the same VPC.
    pub(crate) const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// For reading them.
    pub(crate) fn acl_reader(&self) -> AclReader {
        self.acl.reader()
    }

    /// Takes over what was read. Whether anything was counted since.
    pub(crate) fn acl_counted(&mut self, counters: Counters) -> bool {
        self.acl.counted(counters)
    }

    /// The bridges that the node made for its Private Networks.
    pub(crate) fn own_bridges(&self) -> impl Iterator<Item = String> {
        let own = |network: &Network| network.bridge.is_some_and(|bridge| bridge.own);
        self.networks.iter().filter(move |(_, network)| own(network)).map(|(id, _)| bridge_name(*id))
    }

    /// The operator's interfaces that are ports of those, each with its bridge.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (&str, String)> {
        let own = self.networks.iter().filter(|(_, network)| network.bridge.is_some_and(|bridge| bridge.own));
        own.filter_map(|(id, network)| Some((network.named.as_deref()?, bridge_name(*id))))
    }

    /// Whether each of its ports is, among the links of the node's namespace, where it was put.
    pub(crate) fn is_attached(&self, links: &BTreeMap<&str, &Link>) -> bool {
        self.networks.iter().all(|(id, network)| {
            let port = links.get(outer_port(*id).as_str());
            port.is_some_and(|port| port.up && port.master == network.bridge.map(|bridge| bridge.index))
        })
    }

    /// Tells the hosts of its Private Networks where it is: they may have heard another one meanwhile.
    pub(crate) async fn announce(&self) {
        for network in self.networks.values() {
            let hosts: Vec<IpAddr> = network.addresses.iter().map(IpNet::addr).collect();
            match self.netlink.link(&network.port).await {
                Ok(link) => announce(self.namespace.clone(), link, hosts),
                Err(error) => tracing::debug!(%error, "cannot announce a router's addresses"),
            }
        }
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
            .filter(|link| link.network == Some(network))
            .flat_map(|link| link.addresses.iter().copied())
            .collect();
        let item = format!("proxied neighbours of Private Network {network}");
        self.netlink.apply_proxies(port.index, &addresses).await.map_err(SetupError::at(&item))
    }

    /// Has the table brought to what it shall hold, in this order of precedence: gateways, custom routes, what was learned.
    fn wish_routes(&self, fresh: bool) {
        let gateways = self.gateways.iter().map(|(id, link)| (*id, link.index, link.addresses.as_slice()));
        self.table.wish(router_wish(gateways, &self.custom, Arc::clone(&self.learned)), fresh);
    }

    /// What of the router's own and the tenant's routes is not in place.
    fn route_troubles(&self) -> Vec<Trouble> {
        let item = format!("routes of VPC {}", self.id);
        if let Some(error) = self.table.error() {
            return vec![(Concern::Router, SetupError { item, error: error.to_string() })];
        }
        let gateways: Vec<IpNet> =
            self.gateways.values().flat_map(|link| &link.addresses).map(|address| host_net(*address)).collect();
        let mut troubles = Vec::new();
        for (prefix, why) in self.table.trouble().iter() {
            if gateways.contains(prefix) {
                let error = format!("{prefix}: {why}");
                troubles.push((Concern::Router, SetupError { item: item.clone(), error }));
            } else if let Some(custom) = self.custom.get(prefix) {
                let item = format!("custom route {}", custom.id);
                troubles.push((Concern::Custom, SetupError { item, error: why.clone() }));
            }
        }
        troubles
    }
}

/// What a router's table shall hold. `gateways`: each with the index of the link to it and its addresses.
pub(crate) fn router_wish<'a>(
    gateways: impl Iterator<Item = (VpnGatewayId, u32, &'a [IpAddr])>,
    custom: &BTreeMap<IpNet, Custom>,
    learned: Arc<Learnt<VpnGatewayId>>,
) -> Wish<VpnGatewayId> {
    let mut wish = Wish { learned, ..Wish::default() };
    for (id, index, addresses) in gateways {
        let hop = NextHop::onlink(IpAddr::V6(GATEWAY_LINK_LOCAL), index);
        wish.hops.insert(id, [Some(hop); 2]);
        for address in addresses {
            let destination = host_net(*address);
            wish.own.insert(destination, RouteSpec::unicast(destination, vec![hop]));
        }
    }
    for (destination, custom) in custom {
        wish.own.entry(*destination).or_insert_with(|| RouteSpec::unicast(*destination, vec![custom.hop]));
    }
    wish
}

/// Waits for `nft`; a program that hangs is an error like any other.
pub(crate) async fn in_time<T>(
    item: &str,
    work: impl Future<Output = Result<T, causeway_linux::Error>>,
) -> Result<T, SetupError> {
    match tokio::time::timeout(FILTER_PATIENCE, work).await {
        Ok(done) => done.map_err(SetupError::at(item)),
        Err(_) => Err(SetupError { item: item.to_owned(), error: "nft does not end".to_owned() }),
    }
}

/// Applies a packet filter.
pub(crate) async fn apply_filter(
    namespace: &Namespace,
    item: &str,
    filter: &(impl Ruleset + Sync),
) -> Result<(), SetupError> {
    in_time(item, filter::apply(namespace, filter)).await
}

/// The router's Ethernet address on a Private Network: locally administered, and the same after every restart and on every node, so that
/// what hosts remember stays true.
fn router_mac(network: PrivateNetworkId) -> [u8; 6] {
    let [a, b, c, d, e, ..] = network.0.into_bytes();
    [0x02, a, b, c, d, e]
}

/// The Ethernet address of the port's outer end. A bridge without an address of its own takes the lowest one of its ports: this one is as high as
/// can be, so that an operator's bridge keeps the address that its neighbours know.
fn port_mac(network: PrivateNetworkId) -> [u8; 6] {
    let [a, b, c, d, e, ..] = network.0.into_bytes();
    [0xfe, a, b, c, d, e]
}

fn outer_port(network: PrivateNetworkId) -> String {
    format!("{ROUTER_PORTS}{}", network.short())
}

fn gateway_port(gateway: VpnGatewayId) -> String {
    format!("{GATEWAY_PORTS}{}", gateway.short())
}

/// Gateways are told by their ports' names, so that none is without the rule for a moment.
fn router_filter(networks: Vec<NetworkFilter>) -> RouterFilter {
    RouterFilter { networks, gateway_links: GATEWAY_PORTS.to_owned() }
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
