//! A connection of a gateway: its TUN device, its IKE peers and its BGP sessions, brought to the desired state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use causeway_bgp::{Policy, SessionConfig};
use causeway_ike::{ChildId, Identity, PeerConfig, PeerKey};
use causeway_model::desired::{BgpDesired, ConnectionDesired, TunnelDesired};
use causeway_model::observed::{Refusal, TunnelFacts};
use causeway_model::{ConnectionId, Family};

use super::tunnel::{Child, assumed_mtu, new_tunnel_facts};
use super::{Gateway, Incoming};
use crate::error::SetupError;
use crate::session::{self, SessionHandle, SessionKey, SessionUpdate};

/// One BGP session and its last snapshot.
pub(super) struct Bgp {
    pub(super) config: SessionConfig,
    pub(super) handle: SessionHandle,
    pub(super) update: Option<SessionUpdate>,
}

/// A connection as it runs.
pub(super) struct Connection {
    pub(super) desired: ConnectionDesired,
    pub(super) tun: String,
    pub(super) tun_index: u32,
    /// Inside MTU in force, octets.
    pub(super) mtu: u32,
    pub(super) tunnels: Vec<TunnelFacts>,
    /// The tunnels that IKE knows.
    pub(super) peers: BTreeSet<Family>,
    pub(super) children: BTreeMap<ChildId, Child>,
    /// The child that we send on.
    pub(super) sending: Option<ChildId>,
    pub(super) sessions: BTreeMap<Family, Bgp>,
    pub(super) applied: u64,
    pub(super) refused: Option<Refusal>,
}

impl Connection {
    /// Whether routes and traffic may pass at all.
    pub(super) const fn is_open(&self) -> bool {
        !self.desired.locked
    }
}

/// The TUN device of a connection.
pub(super) fn tun_name(id: ConnectionId) -> String {
    format!("cw-{}", id.short())
}

impl Gateway {
    pub(super) async fn apply_connection(&mut self, desired: ConnectionDesired) -> Result<(), SetupError> {
        let id = desired.id;
        if !self.connections.contains_key(&id) {
            self.make_connection(desired.clone()).await?;
        }
        let locked = desired.locked || self.desired.locked;
        let before = match self.connections.get_mut(&id) {
            Some(connection) => std::mem::replace(&mut connection.desired, desired.clone()),
            None => return Ok(()),
        };
        self.apply_inside(id).await?;
        self.apply_peers(&before.tunnels, &desired, locked)?;
        self.apply_sessions(&desired, locked).await;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.applied = desired.revision;
            connection.refused = None;
        }
        Ok(())
    }

    async fn make_connection(&mut self, desired: ConnectionDesired) -> Result<(), SetupError> {
        let id = desired.id;
        let tun = tun_name(id);
        let mtu = assumed_mtu(&desired, self.around.underlay_mtu);
        let tun_index = self.make_tun(id, &tun, mtu).await?;
        let connection = Connection {
            tunnels: desired.tunnels.iter().map(|tunnel| new_tunnel_facts(tunnel, mtu)).collect(),
            desired,
            tun,
            tun_index,
            mtu,
            peers: BTreeSet::new(),
            children: BTreeMap::new(),
            sending: None,
            sessions: BTreeMap::new(),
            applied: 0,
            refused: None,
        };
        self.connections.insert(id, connection);
        Ok(())
    }

    /// Tells IKE which tunnels there shall be.
    fn apply_peers(
        &mut self,
        before: &[TunnelDesired],
        desired: &ConnectionDesired,
        locked: bool,
    ) -> Result<(), SetupError> {
        let now = Instant::now();
        let Some(connection) = self.connections.get_mut(&desired.id) else { return Ok(()) };
        let wanted: &[TunnelDesired] = if locked { &[] } else { &desired.tunnels };
        for tunnel in before {
            if !wanted.iter().any(|other| other.family() == tunnel.family()) {
                self.ike.remove_peer(now, PeerKey { connection: desired.id, family: tunnel.family() });
                connection.peers.remove(&tunnel.family());
            }
        }
        connection.tunnels.retain(|facts| desired.tunnels.iter().any(|tunnel| tunnel.family() == facts.family));
        for tunnel in &desired.tunnels {
            match connection.tunnels.iter_mut().find(|facts| facts.family == tunnel.family()) {
                Some(facts) if (facts.local, facts.peer) == (tunnel.local, tunnel.peer) => {}
                Some(facts) => *facts = new_tunnel_facts(tunnel, connection.mtu),
                None => connection.tunnels.push(new_tunnel_facts(tunnel, connection.mtu)),
            }
        }
        for tunnel in wanted {
            let key = PeerKey { connection: desired.id, family: tunnel.family() };
            let config = peer_config(key, tunnel, desired)?;
            self.ike.set_peer(now, config);
            if connection.peers.insert(tunnel.family()) {
                self.ike.start(now, key);
            }
        }
        Ok(())
    }

    /// Starts, changes and ends sessions, and hands them their policy.
    async fn apply_sessions(&mut self, desired: &ConnectionDesired, locked: bool) {
        let router_id = self.router_id();
        let local_asn = self.desired.asn;
        let local_subnets = self.vpc_subnets.clone();
        let Some(connection) = self.connections.get_mut(&desired.id) else { return };
        for family in Family::ALL {
            let wanted = desired.bgp.iter().find(|bgp| bgp.family() == family && bgp.policy.is_some() && !locked);
            let config = wanted.map(|bgp| session_config(bgp, local_asn, router_id, desired));
            let running = connection.sessions.get(&family).map(|session| session.config);
            if running.is_some()
                && running != config
                && let Some(session) = connection.sessions.remove(&family)
            {
                let text = if config.is_some() { "configuration changed" } else { "routing policy detached" };
                session.handle.shutdown(text).await;
            }
            let (Some(bgp), Some(config)) = (wanted, config) else { continue };
            let up = connection.sending.is_some();
            let session = connection.sessions.entry(family).or_insert_with(|| {
                let key = SessionKey { connection: desired.id, family };
                let handle = SessionHandle::start(key, config, self.namespace.clone(), self.updates_tx.clone());
                Bgp { config, handle, update: None }
            });
            let filters = bgp.policy.clone().unwrap_or_default();
            let policy = Policy {
                propagate: desired.propagate,
                accept: filters.prefix_filter_in,
                announce: filters.prefix_filter_out,
                local_subnets: local_subnets.clone(),
            };
            session.handle.send(session::Command::Policy(policy)).await;
            session.handle.send(session::Command::Enable(up)).await;
        }
    }

    /// The sessions of `id` follow its tunnel at once, without waiting for any hold timer.
    pub(super) async fn enable_sessions(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        let up = connection.sending.is_some();
        for session in connection.sessions.values() {
            session.handle.send(session::Command::Enable(up)).await;
        }
    }

    pub(super) async fn remove_connection(&mut self, id: ConnectionId, why: &'static str) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        for (_, session) in std::mem::take(&mut connection.sessions) {
            session.handle.shutdown(why).await;
        }
        let families: Vec<Family> = connection.desired.tunnels.iter().map(TunnelDesired::family).collect();
        for family in families {
            self.ike.remove_peer(Instant::now(), PeerKey { connection: id, family });
        }
        self.drain_ike().await;
        self.connections.remove(&id);
        if let Err(error) = self.around.datapath.remove_tunnel(id) {
            tracing::warn!(%error, connection = %id, "cannot remove a tunnel");
        }
        self.touch();
    }

    pub(super) fn session_update(&mut self, update: SessionUpdate) {
        let session = self
            .connections
            .get_mut(&update.key.connection)
            .and_then(|connection| connection.sessions.get_mut(&update.key.family));
        if let Some(session) = session {
            session.update = Some(update);
            self.touch();
        }
    }

    pub(super) async fn session_incoming(&mut self, incoming: Incoming) {
        let session = self
            .connections
            .values()
            .flat_map(|connection| connection.sessions.values())
            .find(|session| session.config.local == incoming.local && session.config.peer == incoming.peer);
        // Without a session the stream is dropped, which the peer sees as a closed connection.
        if let Some(session) = session {
            session.handle.send(session::Command::Incoming(incoming.stream)).await;
        }
    }

    /// A BGP identifier: the public IPv4 address, else the private one.
    fn router_id(&self) -> Ipv4Addr {
        let public = self.desired.public_addresses.iter().copied();
        let private = self.desired.private_addresses.iter().map(ipnet::IpNet::addr);
        public
            .chain(private)
            .find_map(|address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .unwrap_or(Ipv4Addr::new(192, 0, 0, 8))
    }
}

fn peer_config(key: PeerKey, tunnel: &TunnelDesired, desired: &ConnectionDesired) -> Result<PeerConfig, SetupError> {
    let remote_identity = match &desired.peer_identity {
        Some(text) => text.parse().map_err(SetupError::at("peer_identity"))?,
        None => Identity::Address(tunnel.peer),
    };
    Ok(PeerConfig {
        key,
        local: tunnel.local,
        remote: tunnel.peer,
        local_identity: Identity::Address(tunnel.local),
        remote_identity,
        initiate: desired.initiate,
        ike_proposals: desired.ike_proposals.clone(),
        esp_proposals: desired.esp_proposals.clone(),
        psks: desired.psks.clone(),
        timers: desired.timers,
    })
}

fn session_config(bgp: &BgpDesired, local_asn: u32, router_id: Ipv4Addr, desired: &ConnectionDesired) -> SessionConfig {
    SessionConfig {
        family: bgp.family(),
        local_asn,
        peer_asn: desired.peer_asn,
        router_id,
        local: bgp.local.addr(),
        peer: bgp.peer.addr(),
        hold_time: desired.timers.hold_time,
        max_prefixes: desired.timers.max_prefixes,
    }
}
