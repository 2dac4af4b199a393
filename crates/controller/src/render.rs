//! The desired state of a node, rendered from the store. A pure reading: the same store gives the same document.
//!
//! A connection's revision grows with everything that its part of the document says, and a gateway's with its set of connections. So what has
//! the revision that it had in the document before is taken from there, and no key is opened again.

use std::collections::{BTreeMap, BTreeSet};

use causeway_model::desired::{
    BgpDesired, CableDesired, ConnectionDesired, GatewayDesired, LeaseDesired, NetworkDesired, NodeDesired,
    TunnelDesired, VpcDesired,
};
use causeway_model::resource::{GatewayType, InitiationPolicy, VpnGateway};
use causeway_model::suite::Cipher;
use causeway_model::{ConnectionId, Error, Family, IpId, NodeId, Psk, VpcId, VpnGatewayId};
use causeway_store::{Among, Cable, ConnectionRecord, GatewayRecord, NodeLease, Reader};
use ipnet::IpNet;

use crate::connection::policy_desired;
use crate::{Controller, Result, peering};

/// Whether every key of a connection could be read: one that could not may be readable the next time.
fn is_whole(connection: &ConnectionDesired) -> bool {
    let is_read = |key: &Psk| !key.expose().is_empty();
    !connection.psks.is_empty() && connection.psks.iter().chain(&connection.bgp_md5).all(is_read)
}

/// Whether the connections of a gateway are as they were in an earlier document. `connections` and `revisions`: how many there are now, and
/// the sum of their revisions.
fn is_current(before: &GatewayDesired, revision: u64, (connections, revisions): (u64, u64)) -> bool {
    before.revision == revision
        && u64::try_from(before.connections.len()) == Ok(connections)
        && before.connections.iter().map(|connection| connection.revision).sum::<u64>() == revisions
        && before.connections.iter().all(is_whole)
}

/// The number of a gateway's cable: 24 bits and never 0 (RFC 7348 §5), and another one for each of the last 16 million gateways.
fn cable_number(seq: u64) -> u32 {
    const NUMBERS: u64 = 0xff_fffe;
    u32::try_from(1 + seq.saturating_sub(1) % NUMBERS).unwrap_or(1)
}

/// The ends of a node's cables.
struct Cables(Vec<Cable>);

impl Cables {
    /// The other end of a cable as `node` sees it.
    fn other_end(cable: &Cable, node: NodeId) -> NodeId {
        if cable.router == node { cable.node } else { cable.router }
    }

    /// The nodes at the other ends.
    fn ends(&self, node: NodeId) -> BTreeSet<NodeId> {
        self.0.iter().map(|cable| Self::other_end(cable, node)).collect()
    }

    /// The node that has the router of a VPC on which gateways of `node` hang.
    fn router(&self, vpc: VpcId, node: NodeId) -> Option<NodeId> {
        let hangs = |cable: &&Cable| cable.vpc == vpc && cable.node == node;
        self.0.iter().find(hangs).map(|cable| cable.router)
    }

    /// Those of a VPC.
    fn of(&self, vpc: VpcId, node: NodeId) -> Vec<CableDesired> {
        let of_vpc = self.0.iter().filter(|cable| cable.vpc == vpc);
        of_vpc
            .map(|cable| CableDesired {
                gateway: cable.gateway,
                node: Self::other_end(cable, node),
                number: cable_number(cable.seq),
                network: cable.network,
                addresses: cable.addresses.clone(),
            })
            .collect()
    }
}

/// What the gateways of a node are rendered from together.
struct Shared {
    addresses: BTreeMap<IpId, IpNet>,
    types: Vec<GatewayType>,
}

impl Controller {
    /// Everything that a node shall run, at its newest revision. `before`: an earlier document for the same node. `None`: it is being replaced,
    /// and must not ask for the new epoch with what it had.
    pub(crate) async fn render(&self, node: NodeId, before: &NodeDesired) -> Result<Option<NodeDesired>> {
        // One snapshot: the epoch is that of what is placed.
        let mut reader = self.read().await?;
        let missing = || Error::Internal(format!("node {node} is not registered"));
        let record = reader.node(node).await?.ok_or_else(missing)?;
        if record.lease.replaced_since.is_some() {
            return Ok(None);
        }
        let revision = record.revision;
        // It has the routers of the VPCs that nothing draws to another one.
        let first = reader.first_node().await?;
        // What a change costs must not grow with what other nodes have.
        let among = if first == Some(node) { Among::All } else { Among::Some(reader.vpcs_of_node(node).await?) };
        let networks = reader.networks_by_vpc(self.region(), &among).await?;
        let configs = reader.vpc_configs(self.region(), &among).await?;
        let mut routes = reader.custom_routes(self.region(), &among).await?;
        let mut interfaces = reader.interfaces(&among).await?;
        let before: BTreeMap<VpnGatewayId, &GatewayDesired> =
            before.gateways.iter().map(|gateway| (gateway.id, gateway)).collect();
        let revisions = reader.connection_revisions(node).await?;
        let shared = Shared {
            addresses: reader.addresses_of_node(node).await?,
            types: reader.gateway_types(self.region()).await?,
        };
        let mut gateways = Vec::new();
        for record in reader.gateways_of_node(node).await? {
            if record.leaving_revision.is_none() && record.gateway.deleting_since.is_none() && !record.gone {
                let id = record.gateway.id;
                let before = before.get(&id).copied();
                let revisions = revisions.get(&id).copied().unwrap_or_default();
                gateways.push(self.render_gateway(&mut reader, &shared, &record, (before, revisions)).await?);
            }
        }
        let places = reader.vpc_places(&among).await?;
        let routed: BTreeSet<VpcId> =
            places.into_iter().filter(|place| place.node == node && !place.leaving).map(|place| place.vpc).collect();
        let cables = Cables(reader.cables(node).await?);
        let hanging: BTreeSet<VpcId> = gateways.iter().map(|gateway| gateway.vpc).collect();
        let mut vpcs: Vec<VpcDesired> = Vec::new();
        for (vpc, id, subnets) in networks {
            if !routed.contains(&vpc) && !hanging.contains(&vpc) {
                continue;
            }
            let network = NetworkDesired { id, subnets, bridge: interfaces.remove(&id) };
            // Networks come VPC by VPC.
            match vpcs.last_mut().filter(|known| known.id == vpc) {
                Some(known) => known.networks.push(network),
                None => {
                    let mut desired = VpcDesired::new(vpc, vec![network]);
                    if let Some(config) = configs.get(&vpc) {
                        desired.revision = config.revision;
                        desired.announce_custom_routes = config.announce_custom_routes;
                        desired.acl_ipv4 = config.acl_ipv4.clone();
                        desired.acl_ipv6 = config.acl_ipv6.clone();
                    }
                    desired.custom_routes = routes.remove(&vpc).unwrap_or_default();
                    desired.router = cables.router(vpc, node).filter(|_| !routed.contains(&vpc));
                    desired.cables = cables.of(vpc, node);
                    vpcs.push(desired);
                }
            }
        }
        let failover = record.failover_revision.is_some();
        let ends = cables.ends(node);
        let near = peering::neighbours(&mut reader, &record, &ends).await?;
        let mut peers = self.node_tunnels(&record, &near, &ends).await?;
        let NodeLease { epoch, terms, .. } = record.lease;
        if let Some(terms) = terms.last() {
            // A voter is asked on the machine that the terms name, which is the one whose answer ends a lease for certain.
            let machine = |node| near.iter().find(|known| known.id == node).and_then(|known| known.peering_machine);
            for peer in &mut peers {
                peer.asks &= terms.machines.get(&peer.node).copied() == machine(peer.node);
            }
        }
        let lease = terms.last().cloned().map(|terms| LeaseDesired { epoch, terms });
        let ids: Vec<VpcId> = vpcs.iter().filter(|vpc| vpc.router.is_none()).map(|vpc| vpc.id).collect();
        let links = self.render_links(&mut reader, node, &ids).await?;
        Ok(Some(NodeDesired { revision, vpcs, gateways, failover, links, peers, lease }))
    }

    async fn render_gateway(
        &self,
        reader: &mut Reader,
        shared: &Shared,
        record: &GatewayRecord,
        (before, revisions): (Option<&GatewayDesired>, (u64, u64)),
    ) -> Result<GatewayDesired> {
        let gateway = &record.gateway;
        let address = |id: IpId| shared.addresses.get(&id).copied();
        let private_addresses = [gateway.ipam_private_ipv4_id, gateway.ipam_private_ipv6_id];
        let public_addresses = [gateway.public_ipv4_id, gateway.public_ipv6_id].into_iter().flatten();
        // A gateway's lock is in each of its connections and in none of their revisions.
        let before = before.filter(|before| before.locked == gateway.locked);
        let connections = match before.filter(|before| is_current(before, record.config_revision, revisions)) {
            Some(before) => before.connections.clone(),
            None => {
                let before = before.map_or(&[][..], |before| &before.connections);
                self.render_connections(reader, gateway, before).await?
            }
        };
        let bandwidth = shared.types.iter().find(|gateway_type| gateway_type.name == gateway.gateway_type);
        Ok(GatewayDesired {
            id: gateway.id,
            vpc: record.vpc,
            network: gateway.private_network_id,
            revision: record.config_revision,
            asn: gateway.asn,
            private_addresses: private_addresses.into_iter().filter_map(address).collect(),
            public_addresses: public_addresses.filter_map(address).map(|address| address.addr()).collect(),
            bandwidth: bandwidth.map_or(0, |gateway_type| gateway_type.bandwidth),
            locked: gateway.locked,
            connections,
        })
    }

    async fn render_connections(
        &self,
        reader: &mut Reader,
        gateway: &VpnGateway,
        before: &[ConnectionDesired],
    ) -> Result<Vec<ConnectionDesired>> {
        let before: BTreeMap<(ConnectionId, u64), &ConnectionDesired> = before
            .iter()
            .filter(|connection| is_whole(connection))
            .map(|connection| ((connection.id, connection.revision), connection))
            .collect();
        let mut connections = Vec::with_capacity(gateway.connection_ids.len());
        for record in reader.connection_records(gateway.id).await? {
            connections.push(match before.get(&(record.connection.id, record.config_revision)) {
                Some(before) => (*before).clone(),
                None => self.render_connection(reader, &record, gateway.locked).await?,
            });
        }
        Ok(connections)
    }

    async fn render_connection(
        &self,
        reader: &mut Reader,
        record: &ConnectionRecord,
        gateway_locked: bool,
    ) -> Result<ConnectionDesired> {
        let connection = &record.connection;
        let id = connection.customer_gateway_id;
        let missing = || Error::Internal(format!("customer gateway {id} is missing"));
        let customer = reader.customer_gateway(id).await?.ok_or_else(missing)?;
        // A key that cannot be opened stops this connection from authenticating, not all others of the node from changing.
        let psks = self.psks(reader, record).await.unwrap_or_else(|error| {
            tracing::error!(connection = %connection.id, %error, "the connection's key cannot be read");
            Vec::new()
        });
        let bgp_md5 = self.md5_key(reader, record).await;
        let mut bgp = Vec::with_capacity(2);
        for family in Family::ALL {
            if let Some(session) = connection.bgp(family) {
                let policy = policy_desired(reader, Some(session)).await?;
                bgp.push(BgpDesired { local: session.private_ip, peer: session.peer_private_ip, policy });
            }
        }
        let or_default = |ciphers: &[Cipher], default: Cipher| {
            if ciphers.is_empty() { vec![default] } else { ciphers.to_vec() }
        };
        let tunnels = reader.tunnels(connection.id).await?;
        Ok(ConnectionDesired {
            id: connection.id,
            revision: record.config_revision,
            tunnels: tunnels.iter().map(|tunnel| TunnelDesired { local: tunnel.local, peer: tunnel.peer }).collect(),
            peer_identity: connection.peer_identity.clone(),
            initiate: connection.initiation_policy == InitiationPolicy::VpnGateway,
            ike_proposals: or_default(&connection.ikev2_ciphers, Cipher::DEFAULT_IKE),
            esp_proposals: or_default(&connection.esp_ciphers, Cipher::DEFAULT_ESP),
            psks,
            peer_asn: customer.asn,
            bgp,
            propagate: connection.route_propagation_enabled,
            locked: connection.locked || gateway_locked,
            timers: record.timers,
            bgp_md5,
            bgp_gtsm: record.bgp_options.gtsm,
            reauthenticate: record.reauthentications,
            revocations: record.revocations,
        })
    }
}
