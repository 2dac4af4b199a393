//! Where prefixes and packets go in a VPC, and why: the store's objects and facts as [`causeway_model::explain`] takes them.

use causeway_model::explain::{Explanation, Picture, Question, Way, explain};
use causeway_model::resource::Caller;
use causeway_model::{Family, VpcId};
use causeway_store::{ConnectionRecord, Reader};

use crate::access::Intent::Read;
use crate::connection::policy_desired;
use crate::network::find_vpc;
use crate::{Controller, Result};

impl Controller {
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
        let networks = reader.networks_by_vpc(self.region()).await?;
        let networks = networks.into_iter().filter(|(of, _, _)| *of == vpc).map(|(_, id, subnets)| (id, subnets));
        let config = reader.vpc_config(vpc).await?;
        let mut picture = Picture {
            networks: networks.collect(),
            custom_routes: reader.custom_routes(self.region()).await?.remove(&vpc).unwrap_or_default(),
            acl_ipv4: config.acl_ipv4,
            acl_ipv6: config.acl_ipv6,
            ways: Vec::new(),
        };
        for gateway in reader.gateways_of_vpc(vpc).await? {
            for record in reader.connection_records(gateway.gateway.id).await? {
                picture.ways.push(way(reader, record, gateway.gateway.locked).await?);
            }
        }
        Ok(picture)
    }
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
    Ok(Way {
        connection,
        gateway,
        locked,
        propagation,
        policies,
        inside,
        tunnel_fault: tunnels.iter().filter(|tunnel| !tunnel.up).find_map(|tunnel| tunnel.fault.clone()),
        tunnels_up: tunnels.iter().filter(|tunnel| tunnel.up).map(|tunnel| tunnel.family).collect(),
        sessions_up: sessions.iter().filter(|session| session.up).map(|session| session.family).collect(),
        session_faults: sessions
            .into_iter()
            .filter(|session| !session.up)
            .filter_map(|session| Some((session.family, session.fault?)))
            .collect(),
        received,
    })
}
