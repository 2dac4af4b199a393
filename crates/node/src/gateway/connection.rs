//! A connection of a gateway: its TUN device, its IKE peers and its BGP sessions, brought to the desired state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use causeway_bgp::{Policy, SessionConfig};
use causeway_ike::{ChildId, Identity, PeerConfig, PeerKey};
use causeway_model::desired::{BgpDesired, ConnectionDesired, PolicyDesired, TunnelDesired};
use causeway_model::observed::TunnelFacts;
use causeway_model::{ConnectionId, Family, Psk};
use ipnet::IpNet;

use super::carrier::Carrier;
use super::tunnel::{Child, assumed_mtu, new_tunnel_facts};
use super::{Gateway, Incoming, VpcRoutes};
use crate::clock::wall_clock;
use crate::error::SetupError;
use crate::session::{self, Guard, SessionHandle, SessionKey, SessionUpdate, Totals};

/// One BGP session and its last snapshot.
pub(super) struct Bgp {
    pub(super) config: SessionConfig,
    pub(super) guard: Guard,
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
    /// The key that each tunnel's peer proved last; its place in the list of keys is looked up when it is reported.
    pub(super) proved: BTreeMap<Family, Psk>,
    /// The last [`ConnectionDesired::reauthenticate`] that was acted upon.
    pub(super) reauthenticated: u64,
    /// The last [`ConnectionDesired::revocations`] that was acted upon.
    pub(super) revoked: u64,
    pub(super) children: BTreeMap<ChildId, Child>,
    /// The child of each tunnel that IKE has chosen to send on.
    pub(super) active: BTreeMap<Family, ChildId>,
    /// The one of them that we send on.
    pub(super) sending: Option<ChildId>,
    /// From when on the IPv4 tunnel is preferred to the IPv6 one.
    pub(super) ipv4_steady_at: Instant,
    /// What carries it, if no tunnel does: it is an InterLink.
    pub(super) carrier: Option<Carrier>,
    pub(super) sessions: BTreeMap<Family, Bgp>,
    /// What all sessions of each family have counted.
    totals: BTreeMap<Family, Totals>,
    /// The revision in force; 0 until one is.
    pub(super) applied: u64,
}

impl Connection {
    /// Whether routes and traffic may pass at all.
    pub(super) const fn is_open(&self) -> bool {
        !self.desired.locked
    }
}

/// The TUN device of a connection.
pub(crate) fn tun_name(id: ConnectionId) -> String {
    format!("cw-{}", id.short())
}

/// What a session may accept and announce: what its routing policy lists, and of the VPC's own routes.
pub(crate) fn session_policy(
    propagate: bool,
    lists: &PolicyDesired,
    vpc: &VpcRoutes,
    interconnections: Vec<IpNet>,
) -> Policy {
    Policy {
        propagate,
        accept: lists.prefix_filter_in.clone(),
        announce: if vpc.cut { Vec::new() } else { lists.prefix_filter_out.clone() },
        local_subnets: vpc.subnets.clone(),
        custom_routes: if vpc.announce_custom { vpc.custom.clone() } else { Vec::new() },
        interconnections,
    }
}

impl Gateway {
    pub(super) async fn apply_connection(&mut self, desired: ConnectionDesired) -> Result<(), SetupError> {
        let id = desired.id;
        let locked = desired.locked || self.desired.locked;
        // Before anything changes: what cannot be is refused as a whole.
        let peers = prepare(&desired, locked)?;
        if !self.connections.contains_key(&id) {
            self.make_connection(desired.clone()).await?;
        }
        self.apply_carrier(id).await?;
        // Sessions that do not go on say so while their addresses are still there.
        self.end_sessions(&desired, locked).await;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.desired = desired.clone();
        }
        self.apply_inside(id).await?;
        self.apply_peers(&desired, peers).await;
        self.apply_mtu(id).await?;
        self.apply_sessions(&desired, locked).await;
        self.note_narrowed(id);
        self.apply_listeners(id)?;
        self.show_listeners(id).await;
        Ok(())
    }

    /// What gets locked stops carrying all at once, before anything is brought to its new state one after the other.
    pub(super) async fn apply_locks(&mut self) -> Result<(), SetupError> {
        let desired = Arc::clone(&self.desired);
        let mut any = self.filter.as_ref().is_some_and(|filter| desired.locked && !filter.locked);
        let mut ending = Vec::new();
        for wanted in desired.connections.iter().filter(|wanted| wanted.locked || desired.locked) {
            let Some(connection) = self.connections.get_mut(&wanted.id) else { continue };
            any |= wanted.locked && !connection.desired.locked;
            connection.desired.locked = wanted.locked;
            let sessions = std::mem::take(&mut connection.sessions);
            ending.extend(sessions.into_values().map(|session| (session.handle, "locked")));
        }
        // The last words go through what is closed then.
        SessionHandle::shutdown(ending).await;
        if any { self.apply_filter().await } else { Ok(()) }
    }

    async fn make_connection(&mut self, desired: ConnectionDesired) -> Result<(), SetupError> {
        let id = desired.id;
        let tun = tun_name(id);
        let (tun_index, mtu, carrier) = match self.desired.attachment.clone() {
            Some(attachment) => {
                let link = self.ensure_carrier(id, &attachment).await?;
                (link.index, link.mtu, {
                    let (up, since) = (link.up && link.carrier, wall_clock());
                    Some(Carrier { up, since, lapsed: self.lapsed })
                })
            }
            None => {
                let mtu = assumed_mtu(&desired, self.underlay_mtu);
                (self.make_tun(id, &tun, mtu).await?, mtu, None)
            }
        };
        // What was asked before this node had the connection is fulfilled by its first authentication.
        let (reauthenticated, revoked) = (desired.reauthenticate, desired.revocations);
        let connection = Connection {
            tunnels: desired.tunnels.iter().map(|tunnel| new_tunnel_facts(tunnel, mtu)).collect(),
            desired,
            tun,
            tun_index,
            mtu,
            peers: BTreeSet::new(),
            proved: BTreeMap::new(),
            reauthenticated,
            revoked,
            children: BTreeMap::new(),
            active: BTreeMap::new(),
            sending: None,
            ipv4_steady_at: Instant::now(),
            carrier,
            sessions: BTreeMap::new(),
            totals: BTreeMap::new(),
            applied: 0,
        };
        self.connections.insert(id, connection);
        Ok(())
    }

    /// Tells IKE which tunnels there shall be, and makes the facts those of these tunnels.
    async fn apply_peers(&mut self, desired: &ConnectionDesired, peers: Vec<PeerConfig>) {
        let now = Instant::now();
        let id = desired.id;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let gone = |family: &Family| !peers.iter().any(|peer| peer.key.family == *family);
        for family in connection.peers.extract_if(.., gone) {
            self.ike.remove_peer(now, PeerKey { connection: id, family });
        }
        if connection.revoked < desired.revocations {
            connection.revoked = desired.revocations;
            // Only a key that is not accepted any more ends what it made; the peer has to come back with one that is.
            let proved = &connection.proved;
            let stale = |family: &Family| proved.get(family).is_some_and(|key| !desired.psks.contains(key));
            for family in connection.peers.extract_if(.., stale) {
                self.ike.remove_peer(now, PeerKey { connection: id, family });
            }
        }
        for config in peers {
            let key = config.key;
            self.ike.set_peer(now, config);
            if connection.peers.insert(key.family) {
                self.ike.start(now, key);
            }
        }
        if connection.reauthenticated < desired.reauthenticate {
            connection.reauthenticated = desired.reauthenticate;
            for family in connection.peers.iter().copied() {
                self.ike.reauthenticate(now, PeerKey { connection: id, family });
            }
        }
        // What that closes is still about the tunnels as they were.
        self.drain_ike().await;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.tunnels.retain(|facts| desired.tunnels.iter().any(|tunnel| tunnel.family() == facts.family));
        for tunnel in &desired.tunnels {
            match connection.tunnels.iter_mut().find(|facts| facts.family == tunnel.family()) {
                Some(facts) if (facts.local, facts.peer) == (tunnel.local, tunnel.peer) => {}
                Some(facts) => *facts = new_tunnel_facts(tunnel, connection.mtu),
                None => connection.tunnels.push(new_tunnel_facts(tunnel, connection.mtu)),
            }
        }
        connection.tunnels.sort_by_key(|facts| facts.family);
    }

    /// The session that `desired` wants for `family`, if any.
    fn wanted_session<'a>(
        &self,
        desired: &'a ConnectionDesired,
        family: Family,
        locked: bool,
    ) -> Option<(&'a PolicyDesired, SessionConfig)> {
        let bgp = desired.bgp.iter().find(|bgp| bgp.family() == family && !locked)?;
        Some((bgp.policy.as_ref()?, session_config(bgp, self.desired.asn, self.router_id(), desired)))
    }

    /// Ends the sessions that are not wanted as they are.
    async fn end_sessions(&mut self, desired: &ConnectionDesired, locked: bool) {
        let mut ending = Vec::new();
        for family in Family::ALL {
            let wanted = self.wanted_session(desired, family, locked).map(|(_, config)| config);
            let Some(connection) = self.connections.get_mut(&desired.id) else { return };
            let guard = guard(desired);
            let keep = |session: &Bgp| {
                // The limit on prefixes is one that a session takes as it goes.
                let limit = |wanted| SessionConfig { max_prefixes: session.config.max_prefixes, ..wanted };
                Some(session.config) == wanted.map(limit) && session.guard == guard && !session.handle.is_finished()
            };
            if connection.sessions.get(&family).is_some_and(|session| !keep(session))
                && let Some(session) = connection.sessions.remove(&family)
            {
                let why = match wanted {
                    _ if locked => "locked",
                    Some(_) => "configuration changed",
                    None => "routing policy detached",
                };
                ending.push((session.handle, why));
            }
        }
        SessionHandle::shutdown(ending).await;
    }

    /// Starts sessions and hands them their policy.
    async fn apply_sessions(&mut self, desired: &ConnectionDesired, locked: bool) {
        for family in Family::ALL {
            let Some((filters, config)) = self.wanted_session(desired, family, locked) else { continue };
            let policy = session_policy(desired.propagate, filters, &self.vpc, self.interconnections());
            let Some(connection) = self.connections.get_mut(&desired.id) else { return };
            let up = connection.is_carried();
            let totals = connection.totals.entry(family).or_default();
            let session = connection.sessions.entry(family).or_insert_with(|| {
                let key = SessionKey { connection: desired.id, family };
                let guard = guard(desired);
                let (namespace, updates) = (self.namespace.clone(), self.updates_tx.clone());
                let handle = SessionHandle::start(key, config, guard.clone(), totals.clone(), namespace, updates);
                Bgp { config, guard, handle, update: None }
            });
            if session.config != config {
                session.config = config;
                session.handle.send(session::Command::MaxPrefixes(config.max_prefixes)).await;
            }
            session.handle.send(session::Command::Policy(policy)).await;
            session.handle.send(session::Command::Enable(up)).await;
        }
    }

    /// Lets sessions see what the kernel drops where their peers connect.
    async fn show_listeners(&self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        for session in connection.sessions.values() {
            if let Some((listener, _)) = self.listeners.get(&session.config.local) {
                session.handle.send(session::Command::Listening(listener.watch())).await;
            }
        }
    }

    /// The sessions of `id` follow its tunnel at once, without waiting for any hold timer.
    pub(super) async fn enable_sessions(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        let up = connection.is_carried();
        for session in connection.sessions.values() {
            session.handle.send(session::Command::Enable(up)).await;
        }
    }

    /// The peer began anew and may have forgotten its sessions: they ask it.
    pub(super) async fn probe_sessions(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        for session in connection.sessions.values() {
            session.handle.send(session::Command::Probe).await;
        }
    }

    /// Sessions before tunnels, so that what they say arrives.
    pub(super) async fn remove_connections(&mut self, ids: &[ConnectionId], why: &'static str) {
        let mut ending = Vec::new();
        for id in ids {
            if let Some(connection) = self.connections.get_mut(id) {
                let sessions = std::mem::take(&mut connection.sessions);
                ending.extend(sessions.into_values().map(|session| (session.handle, why)));
            }
        }
        SessionHandle::shutdown(ending).await;
        for id in ids {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            for family in std::mem::take(&mut connection.peers) {
                self.ike.remove_peer(Instant::now(), PeerKey { connection: *id, family });
            }
        }
        self.drain_ike().await;
        for id in ids {
            if self.connections.remove(id).is_some_and(|connection| connection.carrier.is_none())
                && let Err(error) = self.around.datapath.remove_tunnel(*id)
            {
                tracing::warn!(%error, connection = %id, "cannot remove a tunnel");
            }
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

    /// The inside of every connection, with a session or without: no device may take another one's.
    fn interconnections(&self) -> Vec<IpNet> {
        self.desired.connections.iter().flat_map(|connection| &connection.bgp).map(|bgp| bgp.local).collect()
    }

    /// A BGP identifier: the public IPv4 address, else the private one.
    fn router_id(&self) -> Ipv4Addr {
        let public = self.desired.public_addresses.iter().copied();
        let private = self.desired.private_addresses.iter().map(IpNet::addr);
        // A link has neither, but an address that its network knows.
        let inside = self.desired.connections.iter().filter(|_| self.desired.attachment.is_some());
        let inside = inside.flat_map(|connection| &connection.bgp).map(|bgp| bgp.local.addr());
        public
            .chain(private)
            .chain(inside)
            .find_map(|address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .unwrap_or(Ipv4Addr::new(192, 0, 0, 8))
    }
}

/// The tunnels that there shall be, if all that is asked for can be. A lock asks for nothing, so that nothing can stand in its way.
fn prepare(desired: &ConnectionDesired, locked: bool) -> Result<Vec<PeerConfig>, SetupError> {
    if locked {
        return Ok(Vec::new());
    }
    guard(desired).check()?;
    desired.tunnels.iter().map(|tunnel| peer_config(tunnel, desired)).collect()
}

fn peer_config(tunnel: &TunnelDesired, desired: &ConnectionDesired) -> Result<PeerConfig, SetupError> {
    let key = PeerKey { connection: desired.id, family: tunnel.family() };
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

/// What the connection's sessions ask of the peer below BGP.
fn guard(desired: &ConnectionDesired) -> Guard {
    Guard { md5: desired.bgp_md5.clone(), gtsm: desired.bgp_gtsm }
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
        send_hold: causeway_bgp::SEND_HOLD,
        max_prefixes: desired.timers.max_prefixes,
    }
}

/// A connection over `tunnel` of which nothing else is said.
#[cfg(test)]
pub(super) fn bare_connection(tunnel: TunnelDesired) -> ConnectionDesired {
    ConnectionDesired {
        id: ConnectionId::random(),
        revision: 1,
        tunnels: vec![tunnel],
        peer_identity: None,
        initiate: true,
        ike_proposals: Vec::new(),
        esp_proposals: Vec::new(),
        psks: Vec::new(),
        peer_asn: 65_000,
        bgp: Vec::new(),
        propagate: true,
        locked: false,
        timers: causeway_model::desired::Timers::default(),
        bgp_md5: None,
        bgp_gtsm: false,
        reauthenticate: 0,
        revocations: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_needs_nothing_that_the_connection_asks_for() {
        let tunnel = TunnelDesired { local: IpAddr::from([192, 0, 2, 1]), peer: IpAddr::from([203, 0, 113, 1]) };
        let unusable = ConnectionDesired { bgp_md5: Some(Psk::new(Vec::new())), ..bare_connection(tunnel) };
        assert_eq!(prepare(&unusable, false).err().map(|error| error.item), Some("bgp.md5_secret_id".to_owned()));
        assert!(prepare(&unusable, true).is_ok_and(|peers| peers.is_empty()), "a lock takes effect nevertheless");
        let unsigned = ConnectionDesired { bgp_md5: None, ..unusable };
        assert_eq!(prepare(&unsigned, false).map(|peers| peers.len()).ok(), Some(1));
    }
}
