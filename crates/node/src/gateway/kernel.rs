//! The gateway's namespace: its attachment to the VPC's router, TUN devices, listeners, packet filter and routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_linux::filter::{ConnectionFilter, GatewayFilter, InterLinkFilter};
use causeway_linux::{AddressOptions, NextHop, RouteSpec, sysctl};
use causeway_model::{ConnectionId, Family};
use causeway_tun::{Tun, TunOptions};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::connection::Connection;
use super::tunnel::inside_mtu;
use super::{Gateway, Incoming, RETRY_FIRST, Uplink, VpcRoutes};
use crate::error::SetupError;
use crate::host::host_net;
use crate::peering::CABLE_MTU;
use crate::session::{self, Guard};
use crate::table::{Hops, Wish, join};
use crate::vpc::{BARE, GATEWAY_LINK, GATEWAY_LINK_LOCAL, ROUTER_LINK_LOCAL, apply_filter};

/// TCP over IPv4 and over IPv6: headers without options, octets.
const HEADERS_V4: u32 = 40;
const HEADERS_V6: u32 = 60;

impl Gateway {
    /// The link to the router: up, with our addresses as /32 and /128.
    pub(super) async fn apply_attachment(&self) -> Result<(), SetupError> {
        if self.desired.vpc.is_none() {
            return Ok(());
        }
        let item = match self.desired.network {
            Some(network) => format!("attachment to Private Network {network}"),
            None => "attachment to the VPC".to_owned(),
        };
        let step = || SetupError::at::<causeway_linux::Error>(&item);
        let index = self.netlink.index(GATEWAY_LINK).await.map_err(step())?;
        self.netlink.set_up(index, true).await.map_err(step())?;
        let local = IpNet::new_assert(IpAddr::V6(GATEWAY_LINK_LOCAL), 64);
        let options = AddressOptions { no_prefix_route: false, no_dad: true, never_chosen: false };
        self.netlink.ensure_address(index, local, options).await.map_err(step())?;
        let addresses: Vec<IpNet> = self.desired.private_addresses.iter().map(|net| host_net(net.addr())).collect();
        self.netlink.apply_addresses(index, &addresses, BARE).await.map_err(step())
    }

    /// Opens the TUN device of a connection and hands it to the packet path.
    pub(super) async fn make_tun(&self, id: ConnectionId, name: &str, mtu: u32) -> Result<u32, SetupError> {
        let item = format!("tunnel device {name}");
        let tun = self
            .namespace
            .run(|| Tun::open_with(name, TunOptions::default().exclusive(true)))
            .map_err(SetupError::at(&item))?
            .map_err(SetupError::at(&item))?;
        let made = async {
            let settings = sysctl::forwarding_link(name)?;
            sysctl::apply(&self.namespace, &settings)?;
            let index = self.netlink.index(name).await?;
            self.netlink.set_mtu(index, mtu).await?;
            self.netlink.set_up(index, true).await?;
            Ok::<u32, causeway_linux::Error>(index)
        };
        let index = made.await.map_err(SetupError::at(&item))?;
        self.around.datapath.add_tunnel(id, self.id, tun).map_err(SetupError::at(&item))?;
        Ok(index)
    }

    /// The inside addresses of a connection.
    pub(super) async fn apply_inside(&self, id: ConnectionId) -> Result<(), SetupError> {
        let Some(connection) = self.connections.get(&id) else { return Ok(()) };
        let addresses: Vec<IpNet> = connection.desired.bgp.iter().map(|bgp| bgp.local).collect();
        let options = AddressOptions { no_prefix_route: false, no_dad: true, never_chosen: false };
        self.netlink
            .apply_addresses(connection.tun_index, &addresses, options)
            .await
            .map_err(SetupError::at(&format!("inside addresses of {}", connection.tun)))
    }

    /// Brings the MTU inside to what the tunnels leave. The MSS follows with the filter.
    pub(super) async fn apply_mtu(&mut self, id: ConnectionId) -> Result<bool, SetupError> {
        // A link's is what its device says.
        let tunnelled = |connection: &&mut Connection| connection.carrier.is_none();
        let Some(connection) = self.connections.get_mut(&id).filter(tunnelled) else { return Ok(false) };
        let mtu = inside_mtu(connection, self.underlay_mtu);
        if mtu == connection.mtu {
            return Ok(false);
        }
        let item = format!("MTU of {}", connection.tun);
        self.netlink.set_mtu(connection.tun_index, mtu).await.map_err(SetupError::at(&item))?;
        connection.mtu = mtu;
        for facts in &mut connection.tunnels {
            facts.mtu = mtu;
        }
        Ok(true)
    }

    /// BGP listeners on exactly the inside addresses of the connection that have a session.
    pub(super) fn apply_listeners(&mut self, id: ConnectionId) -> Result<(), SetupError> {
        let Some(connection) = self.connections.get(&id) else { return Ok(()) };
        let wanted: BTreeSet<IpAddr> = connection.sessions.values().map(|session| session.config.local).collect();
        for address in wanted {
            let item = format!("BGP listener on {address}");
            let sessions = self.connections.values().flat_map(|connection| connection.sessions.values());
            let peers: Vec<(IpAddr, &Guard)> = sessions
                .filter(|session| session.config.local == address)
                .map(|session| (session.config.peer, &session.guard))
                .collect();
            if self.listeners.get(&address).is_none_or(|(_, task)| task.is_finished()) {
                let (listener, accepting) = self
                    .namespace
                    .run(|| session::listen(address, &peers))
                    .map_err(SetupError::at(&item))?
                    .map_err(SetupError::at(&item))?;
                let accepting = TcpListener::from_std(accepting).map_err(SetupError::at(&item))?;
                let task = tokio::spawn(accept(accepting, address, self.incoming_tx.clone()));
                self.listeners.insert(address, (listener, task.abort_handle()));
            }
            if let Some((listener, task)) = self.listeners.get_mut(&address)
                && let Err(error) = listener.guard(&peers)
            {
                // Better none than one that takes what it should not.
                task.abort();
                self.listeners.remove(&address);
                return Err(SetupError::at(&item)(error));
            }
        }
        Ok(())
    }

    /// Closes the listeners that no session needs any more.
    pub(super) fn drop_listeners(&mut self) {
        let wanted: BTreeSet<IpAddr> = self
            .connections
            .values()
            .flat_map(|connection| connection.sessions.values().map(|session| session.config.local))
            .collect();
        for (_, (_, task)) in self.listeners.extract_if(.., |address, _| !wanted.contains(address)) {
            task.abort();
        }
    }

    /// Default deny, and what system.md §2.7 admits.
    pub(super) async fn apply_filter(&mut self) -> Result<(), SetupError> {
        let connections = self.connections.values().map(|connection| self.connection_filter(connection)).collect();
        let filter = GatewayFilter {
            vpc_link: GATEWAY_LINK.to_owned(),
            vpc_subnets: self.vpc.subnets.clone(),
            vpc_routes: self.vpc.custom.clone(),
            locked: self.desired.locked,
            connections,
        };
        if self.filter.as_ref() != Some(&filter) {
            apply_filter(&self.namespace, "packet filter of the gateway", &filter).await?;
            self.filter = Some(filter);
        }
        Ok(())
    }

    fn connection_filter(&self, connection: &Connection) -> ConnectionFilter {
        let desired = &connection.desired;
        let policies = || desired.bgp.iter().filter_map(|bgp| bgp.policy.as_ref());
        let uplink = if matches!(self.vpc.uplink, Uplink::Cable(..)) { CABLE_MTU } else { u32::MAX };
        let mtu = connection.mtu.min(uplink);
        let mss = |headers: u32| u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX);
        ConnectionFilter {
            tun: connection.tun.clone(),
            propagate: desired.propagate,
            locked: desired.locked,
            inside: desired.bgp.iter().map(|bgp| (bgp.local, bgp.peer)).collect(),
            accept_in: policies().flat_map(|policy| policy.prefix_filter_in.iter().copied()).collect(),
            announce_out: policies().flat_map(|policy| policy.prefix_filter_out.iter().copied()).collect(),
            mss_v4: mss(HEADERS_V4),
            mss_v6: mss(HEADERS_V6),
            interlink: connection.carrier.map(|_| InterLinkFilter { bandwidth: self.desired.bandwidth }),
        }
    }

    /// Has the table brought to what it shall hold: the VPC through its router, and what was learned through the tunnels. A learned route that
    /// the kernel does not take is no reason to refuse the configuration: the peer chose it. It is tried again. `fresh`: links or addresses
    /// changed, or something failed.
    pub(super) async fn wish_routes(&mut self, fresh: bool) -> Result<(), SetupError> {
        let item = format!("routes of gateway {}", self.id);
        let own = match self.desired.vpc {
            Some(_) => {
                let index = self.netlink.index(GATEWAY_LINK).await.map_err(SetupError::at(&item))?;
                own_routes(&self.vpc, &self.desired.private_addresses, index)
            }
            None => BTreeMap::new(),
        };
        // What has no tunnel carries nothing, however long the choice among all gateways takes to hear of it.
        let carrying = self.connections.iter().filter(|(_, connection)| connection.is_carried());
        let hops = carrying.map(|(id, connection)| (*id, hops(connection))).collect();
        self.table.wish(Wish { own, learned: Arc::clone(&self.routes), hops }, fresh);
        Ok(())
    }

    /// Looks at how far the routes are: with its own in place, the configuration is in force. After news, and after a change.
    pub(super) fn settle(&mut self) {
        let untaken = self.table.untaken();
        if *untaken != *self.untaken {
            self.untaken = untaken;
            self.touch();
        }
        if !self.table.own_is_done() {
            return;
        }
        let before = (self.applied, self.refused.clone());
        let trouble = self.table.trouble();
        let nets = || self.vpc.subnets.iter().chain(&self.vpc.custom).map(IpNet::trunc);
        let own: Vec<(IpNet, String)> =
            trouble.iter().filter(|(prefix, _)| nets().any(|net| net == *prefix)).cloned().collect();
        let error = self.table.error().map(|error| error.to_string());
        let error = error.or_else(|| (!own.is_empty()).then(|| join(&own)));
        if let Some(revision) = self.applying {
            match error {
                Some(error) => {
                    let error = SetupError { item: format!("routes of gateway {}", self.id), error };
                    self.refused = Some(error.refusal(revision));
                }
                None => {
                    self.refused = None;
                    self.applied = revision;
                }
            }
        }
        if self.table.has_failed() {
            self.retry_soon();
        } else if self.refused.is_none() && self.refusals.is_empty() && self.retry_at.is_none() {
            self.retry_delay = RETRY_FIRST;
        }
        if before != (self.applied, self.refused.clone()) {
            self.touch();
        }
    }
}

/// Everything of the VPC's own goes through its router, which alone knows where it is. `index`: of the link to it.
pub(crate) fn own_routes(vpc: &VpcRoutes, private: &[IpNet], index: u32) -> BTreeMap<IpNet, RouteSpec> {
    let mut routes = BTreeMap::new();
    for net in vpc.subnets.iter().chain(&vpc.custom) {
        let source = private.iter().find(|own| Family::of_net(own) == Family::of_net(net));
        let mut route = RouteSpec::unicast(net.trunc(), vec![NextHop::onlink(IpAddr::V6(ROUTER_LINK_LOCAL), index)]);
        route.pref_src = source.map(IpNet::addr);
        routes.insert(net.trunc(), route);
    }
    routes
}

async fn accept(listener: TcpListener, local: IpAddr, incoming: mpsc::Sender<Incoming>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if incoming.send(Incoming { local, peer: peer.ip(), stream }).await.is_err() {
                    return;
                }
            }
            // Out of descriptors, or the peer was gone before we looked: breathe, then go on.
            Err(error) => {
                tracing::debug!(%error, address = %local, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The ways into a tunnel: by the peer's inside address of each family, so that several can share the load.
fn hops(connection: &Connection) -> Hops {
    Family::ALL.map(|family| {
        let session = connection.sessions.get(&family)?;
        Some(NextHop::onlink(session.config.peer, connection.tun_index))
    })
}
