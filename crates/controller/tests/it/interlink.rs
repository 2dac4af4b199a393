//! A catalogue to order links from: two PoPs, a partner at the first, a dedicated connection at the second.

use causeway_model::command::{
    NewDedicatedConnection, NewLink, NewPartner, NewPop, NewPort, NewRoutingPolicy, PartnerFields, PopFields,
};
use causeway_model::resource::{
    Caller, DedicatedConnection, LinkBandwidth, Partner, Pop, Port, PortAttachment, PortOwner, Role, RoutingPolicy,
    VlanRange,
};
use causeway_model::status::DedicatedConnectionStatus;
use causeway_model::view::LinkStatuses;
use causeway_model::{PopId, Timestamp};

use crate::harness::{REGION, World, meta, new_policy};

pub(crate) const DAY: i64 = 86_400;

/// The sizes on offer and their prices.
pub(crate) const SIZES: [(u64, u64); 4] = [(50, 10_000), (100, 18_000), (500, 70_000), (1000, 120_000)];

/// What links are ordered from.
pub(crate) struct Catalogue {
    pub(crate) pop: Pop,
    pub(crate) other_pop: Pop,
    pub(crate) partner: Partner,
    pub(crate) port: Port,
    pub(crate) dedicated: DedicatedConnection,
    pub(crate) dedicated_port: Port,
    pub(crate) as_partner: Caller,
}

pub(crate) fn new_pop(name: &str) -> NewPop {
    let fields = PopFields {
        name: name.to_owned(),
        display_name: format!("Paris - {name}"),
        city: "Paris".to_owned(),
        address: "1 rue".to_owned(),
        hosting_provider_name: "Houses".to_owned(),
        logo_url: String::new(),
        link_bandwidths_mbps: SIZES.map(|(size, _)| size).to_vec(),
        capacity_mbps: None,
    };
    NewPop { id: None, fields }
}

pub(crate) fn new_partner(name: &str) -> NewPartner {
    let fields = PartnerFields {
        name: name.to_owned(),
        contact_email: "noc@example.net".to_owned(),
        logo_url: String::new(),
        portal_url: String::new(),
        asn: 39801,
        l3_connectivity: false,
        notify: false,
    };
    NewPartner { id: None, fields }
}

pub(crate) fn new_port(name: &str, pop: PopId, owner: PortOwner, capacity_mbps: u64) -> NewPort {
    NewPort {
        id: None,
        name: name.to_owned(),
        pop_id: pop,
        node_id: None,
        owner,
        attachment: PortAttachment::Vlan { interface: name.to_owned() },
        vlan_range: None,
        capacity_mbps,
        enabled: true,
    }
}

impl World {
    pub(crate) async fn partner(&self, name: &str) -> Partner {
        self.controller.create_partner(&self.operator, new_partner(name)).await.expect("made")
    }

    pub(crate) async fn catalogue(&self) -> Catalogue {
        let c = &self.controller;
        for (bandwidth_mbps, price_per_hour) in SIZES {
            let size = LinkBandwidth { bandwidth_mbps, price_per_hour };
            c.set_link_bandwidth(&self.operator, size).await.expect("priced");
        }
        let pop = c.create_pop(&self.operator, new_pop("TH2")).await.expect("made");
        let other_pop = c.create_pop(&self.operator, new_pop("DC5")).await.expect("made");
        let partner = self.partner("FranceIX").await;
        let owner = PortOwner::Partner(partner.id);
        let port = c.create_port(&self.operator, new_port("eth1", pop.id, owner, 1000)).await.expect("made");
        let new = NewDedicatedConnection {
            id: None,
            meta: meta("cross-connect"),
            pop_id: other_pop.id,
            bandwidth_mbps: 1000,
            demarcation_info: Some("row 7".to_owned()),
            vlan_range: Some(VlanRange { start: 2000, end: 2003 }),
            state: DedicatedConnectionStatus::Active,
        };
        let dedicated = c.create_dedicated_connection(&self.operator, new).await.expect("made").connection;
        let owner = PortOwner::DedicatedConnection(dedicated.id);
        let new = new_port("eth2", other_pop.id, owner, 10_000);
        let dedicated_port = c.create_port(&self.operator, new).await.expect("made");
        let as_partner = self.caller_for(Role::Partner, self.operator.project_id, Some(partner.id)).await;
        Catalogue { pop, other_pop, partner, port, dedicated, dedicated_port, as_partner }
    }

    pub(crate) async fn link_policy(&self, is_ipv6: bool) -> RoutingPolicy {
        let new: NewRoutingPolicy = new_policy(is_ipv6);
        self.controller.create_link_routing_policy(&self.operator, REGION, new).await.expect("made")
    }

    pub(crate) async fn order(&self, new: NewLink) -> LinkStatuses {
        self.controller.create_link(&self.operator, REGION, new).await.expect("ordered")
    }

    pub(crate) fn time(&self) -> Timestamp {
        causeway_controller::Clock::now(self.clock.as_ref())
    }
}

impl Catalogue {
    pub(crate) fn hosted(&self, bandwidth_mbps: u64) -> NewLink {
        NewLink {
            meta: meta("link"),
            pop_id: self.pop.id,
            bandwidth_mbps,
            connection_id: None,
            partner_id: Some(self.partner.id),
            peer_asn: None,
            vlan: None,
            routing_policy_v4_id: None,
            routing_policy_v6_id: None,
        }
    }

    pub(crate) fn self_hosted(&self, bandwidth_mbps: u64) -> NewLink {
        NewLink {
            pop_id: self.other_pop.id,
            connection_id: Some(self.dedicated.id),
            partner_id: None,
            peer_asn: Some(65010),
            ..self.hosted(bandwidth_mbps)
        }
    }
}
