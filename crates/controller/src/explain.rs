//! Where prefixes and packets go in a VPC, and why: the store's objects and facts as [`causeway_model::explain`] takes them.

use causeway_model::desired::PolicyDesired;
use causeway_model::explain::{Explanation, Own, OwnRoute, Picture, Question, Via, Way, explain, own_routes};
use causeway_model::observed::{ReceivedRoute, Refusal, SessionFacts};
use causeway_model::reason::{Fault, ReasonCode};
use causeway_model::resource::Caller;
use causeway_model::status::{NodeState, owed_fault};
use causeway_model::{ConnectionId, Family, LinkId, RoutingPolicyId, Timestamp, VpcId};
use causeway_store::{ConnectionRecord, GatewayRecord, LinkRecord, NodeRecord, Reader};

use crate::access::Intent::Read;
use crate::connection::{find, gateway_of, policy_desired};
use crate::network::{find_network, find_vpc};
use crate::status::node_of;
use crate::{Controller, Result, acl, link};

/// Routes of a connection or link as its node last reported them, and what decides about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionRoutes {
    /// Received from the customer, each with what became of it.
    pub received: Vec<ReceivedRoute>,
    /// The VPC's own prefixes, each with what became of it.
    pub own: Vec<OwnRoute>,
    /// The attached policies, at most one of each family.
    pub policies: Vec<(Family, RoutingPolicyId, PolicyDesired)>,
    /// The provider's AS number: the path of what is announced.
    pub asn: u32,
}

impl Controller {
    /// The routes of a connection in both directions.
    ///
    /// # Errors
    /// [`causeway_model::Error::NotFound`].
    pub async fn connection_routes(&self, caller: &Caller, region: &str, id: ConnectionId) -> Result<ConnectionRoutes> {
        self.in_region(region)?;
        let mut reader = self.read().await?;
        let record = find(&mut reader, caller, Read, id).await?;
        let gateway = gateway_of(&mut reader, &record).await?;
        let vpc = find_network(&mut reader, caller, Read, gateway.gateway.private_network_id).await?.vpc_id;
        let own = self.own(&mut reader, vpc).await?;
        let announced = record.observed.as_ref().map(|observed| observed.facts.announced.clone()).unwrap_or_default();
        let way = way(&mut reader, record, gateway.gateway.locked).await?;
        let own = own_routes(&way, &own, &announced);
        Ok(ConnectionRoutes { received: way.received, own, policies: way.policies, asn: gateway.gateway.asn })
    }

    /// The routes of a link in both directions. One that leads to no VPC has nothing to announce.
    ///
    /// # Errors
    /// [`causeway_model::Error::NotFound`].
    pub async fn link_routes(&self, caller: &Caller, region: &str, id: LinkId) -> Result<ConnectionRoutes> {
        self.in_region(region)?;
        let now = self.now();
        let mut reader = self.read().await?;
        let record = link::find(&mut reader, caller, Read, id, now).await?;
        let own = match record.link.vpc_id {
            Some(vpc) => self.own(&mut reader, vpc).await?,
            None => Own::default(),
        };
        let announced = record.observed.as_ref().map(|observed| observed.facts.announced.clone()).unwrap_or_default();
        let asn = record.link.provider_asn;
        let way = link_way(&mut reader, record, now).await?;
        let own = own_routes(&way, &own, &announced);
        Ok(ConnectionRoutes { received: way.received, own, policies: way.policies, asn })
    }

    /// What a VPC may announce.
    async fn own(&self, reader: &mut Reader, vpc: VpcId) -> Result<Own> {
        let custom = reader.custom_routes_of(vpc).await?;
        Ok(Own {
            subnets: reader.vpc_subnets(vpc).await?,
            custom: custom.into_iter().map(|route| route.destination).collect(),
            announce_custom: reader.vpc_config(vpc).await?.announce_custom_routes,
        })
    }

    /// Explains where a prefix or a packet goes in a VPC, and why.
    ///
    /// # Errors
    /// [`causeway_model::Error::NotFound`].
    pub async fn explain_route(
        &self,
        caller: &Caller,
        region: &str,
        vpc: VpcId,
        question: &Question,
    ) -> Result<Explanation> {
        self.in_region(region)?;
        let mut reader = self.read().await?;
        find_vpc(&mut reader, caller, Read, vpc).await?;
        let picture = self.picture(&mut reader, vpc).await?;
        Ok(explain(&picture, question))
    }

    async fn picture(&self, reader: &mut Reader, vpc: VpcId) -> Result<Picture> {
        let config = reader.vpc_config(vpc).await?;
        let (revision, now) = (config.revision, self.now());
        let acl::Owed { applied, fault, .. } = acl::owed(reader, vpc, &config, now).await?;
        let mut picture = Picture {
            networks: reader.networks_of(vpc).await?,
            custom_routes: reader.custom_routes_of(vpc).await?,
            acl_ipv4: config.acl_ipv4,
            acl_ipv6: config.acl_ipv6,
            gateways: Vec::new(),
            ways: Vec::new(),
            caveats: fault
                .map(|fault| caveat(fault, &format!("router of VPC {vpc}"), applied, revision))
                .into_iter()
                .collect(),
        };
        for gateway in reader.gateways_of_vpc(vpc).await? {
            let mut addresses = Vec::with_capacity(2);
            for id in [gateway.gateway.ipam_private_ipv4_id, gateway.gateway.ipam_private_ipv6_id] {
                addresses.extend(reader.ip(id).await?.map(|ip| ip.address.addr()));
            }
            picture.gateways.push((gateway.gateway.id, addresses));
            let node = node_of(reader, &gateway).await?;
            // One that hangs on another node's router goes through that one.
            let router = match gateway.router.filter(|router| gateway.node.is_some_and(|node| node != *router)) {
                Some(router) => unheard(reader.node(router).await?.as_ref(), &format!("router of VPC {vpc}")),
                None => None,
            };
            for record in reader.connection_records(gateway.gateway.id).await? {
                let mut caveats = caveats(&gateway, &record, node.as_ref(), now);
                caveats.extend(router.clone());
                picture.ways.push(Way { caveats, ..way(reader, record, gateway.gateway.locked).await? });
            }
        }
        for record in reader.links_of_vpc(vpc).await? {
            let caveats = link_caveats(reader, &record, now).await?;
            picture.ways.push(Way { caveats, ..link_way(reader, record, now).await? });
        }
        Ok(picture)
    }
}

/// What a node has not put in force of `item`, in numbers.
fn caveat(fault: Fault, item: &str, applied: u64, desired: u64) -> Fault {
    fault.with("of", item).with("applied_revision", applied.to_string()).with("desired_revision", desired.to_string())
}

/// What the node owes a connection and its gateway, or that nothing is heard of it.
fn caveats(
    gateway: &GatewayRecord,
    record: &ConnectionRecord,
    node: Option<&NodeRecord>,
    now: Timestamp,
) -> Vec<Fault> {
    let name = format!("VPN gateway {}", gateway.gateway.id);
    let unheard = unheard(node, &name);
    let seen = gateway.observed.as_ref();
    let of_gateway = Owed {
        item: name,
        applied: seen.map_or(0, |seen| seen.applied_revision),
        desired: gateway.config_revision,
        since: gateway.pending_since,
        refusal: seen.and_then(|seen| seen.refusal.as_ref()),
    };
    let seen = record.observed.as_ref();
    let of_connection = Owed {
        item: format!("connection {}", record.connection.id),
        applied: seen.map_or(0, |seen| seen.applied_revision),
        desired: record.config_revision,
        since: record.pending_since,
        refusal: seen.and_then(|seen| seen.refusal.as_ref()),
    };
    unheard.into_iter().chain(of_gateway.caveat(now)).chain(of_connection.caveat(now)).collect()
}

/// The same of a link.
async fn link_caveats(reader: &mut Reader, record: &LinkRecord, now: Timestamp) -> Result<Vec<Fault>> {
    let name = format!("link {}", record.link.id);
    let node = match record.node {
        Some(node) => reader.node(node.id).await?,
        None => None,
    };
    let unheard = unheard(node.as_ref(), &name);
    let seen = record.observed.as_ref().map(|observed| &observed.facts);
    let owed = Owed {
        item: name,
        applied: seen.map_or(0, |seen| seen.applied),
        desired: record.config_revision,
        since: record.pending_since,
        refusal: seen.and_then(|seen| seen.refused.as_ref()),
    };
    Ok(unheard.into_iter().chain(owed.caveat(now)).collect())
}

/// That nothing is heard of what runs `of`, if so.
fn unheard(node: Option<&NodeRecord>, of: &str) -> Option<Fault> {
    let silent = node.is_none_or(|node| node.silent || !matches!(node.state, NodeState::Up | NodeState::ConfigFail));
    let heard = node.and_then(|node| node.reported_at).map_or("never".to_owned(), |at| at.to_string());
    silent.then(|| Fault::new(ReasonCode::NodeUnreachable).with("of", of).with("last_heard", heard))
}

/// What a node may owe.
struct Owed<'a> {
    item: String,
    applied: u64,
    desired: u64,
    since: Option<Timestamp>,
    refusal: Option<&'a Refusal>,
}

impl Owed<'_> {
    fn caveat(self, now: Timestamp) -> Option<Fault> {
        if self.applied >= self.desired {
            return None;
        }
        let seconds = self.since.map_or(0.0, |since| now.seconds_since(since));
        let fault =
            owed_fault(seconds, self.refusal.filter(|refusal| refusal.revision == self.desired), self.applied > 0);
        Some(caveat(fault, &self.item, self.applied, self.desired))
    }
}

/// A link as far as routes and packets are concerned.
async fn link_way(reader: &mut Reader, record: LinkRecord, now: Timestamp) -> Result<Way> {
    let link = &record.link;
    let mut policies = Vec::with_capacity(2);
    let mut inside = Vec::with_capacity(4);
    for family in Family::ALL {
        let addresses = link.addresses(family);
        inside.extend([addresses.ours, addresses.theirs]);
        if let (Some(policy), Some(lists)) = (link.policy(family), link::lists(reader, link, family).await?) {
            policies.push((family, policy.id, lists));
        }
    }
    let (via, locked, propagation) = (Via::Link(link.id), link.life.locked, link.route_propagation_enabled);
    let tunnel_fault = link::uncarried(&record, now);
    let (sessions, received) =
        record.observed.map(|observed| (observed.facts.sessions, observed.facts.received)).unwrap_or_default();
    let (sessions_up, session_faults) = judged(sessions);
    Ok(Way {
        via,
        locked,
        propagation,
        policies,
        inside,
        tunnels_up: Vec::new(),
        tunnel_fault,
        sessions_up,
        session_faults,
        received,
        caveats: Vec::new(),
    })
}

/// The families whose sessions are up, and why others are not.
fn judged(sessions: Vec<SessionFacts>) -> (Vec<Family>, Vec<(Family, Fault)>) {
    let up = sessions.iter().filter(|session| session.up).map(|session| session.family).collect();
    let down = sessions.into_iter().filter(|session| !session.up);
    (up, down.filter_map(|session| Some((session.family, session.fault?))).collect())
}

async fn way(reader: &mut Reader, record: ConnectionRecord, gateway_locked: bool) -> Result<Way> {
    let connection = &record.connection;
    let mut policies = Vec::with_capacity(2);
    let mut inside = Vec::with_capacity(4);
    for family in Family::ALL {
        let Some(session) = connection.bgp(family) else { continue };
        inside.extend([session.private_ip, session.peer_private_ip]);
        if let (Some(id), Some(lists)) = (session.routing_policy_id, policy_desired(reader, Some(session)).await?) {
            policies.push((family, id, lists));
        }
    }
    let (connection, gateway) = (connection.id, connection.vpn_gateway_id);
    let (locked, propagation) =
        (gateway_locked || record.connection.locked, record.connection.route_propagation_enabled);
    let facts = record.observed.map(|observed| observed.facts);
    let (tunnels, sessions, received) =
        facts.map(|facts| (facts.tunnels, facts.sessions, facts.received)).unwrap_or_default();
    let (sessions_up, session_faults) = judged(sessions);
    Ok(Way {
        via: Via::Connection { connection, gateway },
        locked,
        propagation,
        policies,
        inside,
        tunnel_fault: tunnels.iter().filter(|tunnel| !tunnel.up).find_map(|tunnel| tunnel.fault.clone()),
        tunnels_up: tunnels.iter().filter(|tunnel| tunnel.up).map(|tunnel| tunnel.family).collect(),
        sessions_up,
        session_faults,
        received,
        caveats: Vec::new(),
    })
}
