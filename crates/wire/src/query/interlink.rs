//! InterLink's filters (wire-api.md §4.2).

use causeway_model::command::{
    DedicatedConnectionFilter, LinkFilter, LinkKindFilter, LinkPolicyFilter, ListQuery, PartnerFilter,
    PartnerLinkFilter, PopFilter, PortFilter,
};
use causeway_model::status::{BgpStatus, DedicatedConnectionStatus, LinkStatus};
use uuid::Uuid;

use super::{Order, Query, uuid};

const KINDS: [(LinkKindFilter, &str); 4] = [
    (LinkKindFilter::Hosted, "hosted"),
    (LinkKindFilter::SelfHosted, "self_hosted"),
    (LinkKindFilter::L2Hosted, "l2_hosted"),
    (LinkKindFilter::L3Hosted, "l3_hosted"),
];

impl Order {
    /// Links.
    pub const LINKS: &'static [Self] = Self::CONNECTIONS;
    /// Dedicated connections.
    pub const DEDICATED_CONNECTIONS: &'static [Self] = &[
        Self::CREATED_AT_ASC,
        Self::CREATED_AT_DESC,
        Self::UPDATED_AT_ASC,
        Self::UPDATED_AT_DESC,
        Self::NAME_ASC,
        Self::NAME_DESC,
        Self::STATUS_ASC,
        Self::STATUS_DESC,
    ];
    /// Partners and PoPs.
    pub const NAME: &'static [Self] = &[Self::NAME_ASC, Self::NAME_DESC];
}

impl Query {
    /// The page of a list that belongs to no project: order, number and size.
    pub fn catalogue(&self, orders: &[Order]) -> ListQuery {
        let order = self.order(orders);
        let (page, page_size) = self.page();
        ListQuery {
            order: order.field,
            descending: order.descending,
            page,
            page_size,
            project_id: None,
            organization_id: None,
            name: None,
            tags: Vec::new(),
        }
    }

    /// Filters of the link list.
    pub fn links(&self) -> LinkFilter {
        let (pairing_key, stale) = self.pairing_key();
        LinkFilter {
            status: self.link_status(),
            bgp_v4_status: self.bgp_status("bgp_v4_status"),
            bgp_v6_status: self.bgp_status("bgp_v6_status"),
            pop_id: self.id("pop_id"),
            bandwidth_mbps: self.count("bandwidth_mbps"),
            partner_id: self.id("partner_id"),
            vpc_id: self.id("vpc_id"),
            routing_policy_id: self.id("routing_policy_id"),
            pairing_key,
            kind: self.choice("kind", &KINDS),
            connection_id: self.id("connection_id"),
            impossible: stale,
        }
    }

    /// Filters of the partner list.
    pub fn partners(&self) -> PartnerFilter {
        PartnerFilter { pop_ids: self.ids("pop_ids"), l3_connectivity: self.boolean("l3_connectivity") }
    }

    /// Filters of the PoP list.
    pub fn pops(&self) -> PopFilter {
        PopFilter {
            hosting_provider_name: self.text("hosting_provider_name"),
            partner_id: self.id("partner_id"),
            link_bandwidth_mbps: self.count("link_bandwidth_mbps"),
            dedicated_available: self.boolean("dedicated_available"),
            l3_connectivity_partners: self.boolean("l3_connectivity_partners"),
        }
    }

    /// Filters of the dedicated connections' list.
    pub fn dedicated_connections(&self) -> DedicatedConnectionFilter {
        let statuses: Vec<_> = DedicatedConnectionStatus::ALL.iter().map(|status| (*status, status.as_str())).collect();
        DedicatedConnectionFilter {
            status: self.choice("status", &statuses),
            bandwidth_mbps: self.count("bandwidth_mbps"),
            pop_id: self.id("pop_id"),
        }
    }

    /// Filters of the list of links' routing policies.
    pub fn link_policies(&self) -> LinkPolicyFilter {
        LinkPolicyFilter { is_ipv6: self.boolean("ipv6") }
    }

    /// What a partner looks for. The second value: whether nothing can match.
    pub fn partner_links(&self) -> (PartnerLinkFilter, bool) {
        let (pairing_key, stale) = self.pairing_key();
        let stage = self.choice("lifecycle", &causeway_model::link::STAGES);
        (PartnerLinkFilter { status: self.link_status(), pairing_key, stage }, stale)
    }

    /// Filters of the operator's list of ports.
    pub fn ports(&self) -> PortFilter {
        PortFilter {
            pop_id: self.id("pop_id"),
            partner_id: self.id("partner_id"),
            connection_id: self.id("connection_id"),
            project_id: self.id("project_id"),
        }
    }

    fn link_status(&self) -> Option<LinkStatus> {
        let statuses: Vec<_> = LinkStatus::ALL.iter().map(|status| (*status, status.as_str())).collect();
        self.choice("status", &statuses)
    }

    fn bgp_status(&self, name: &str) -> Option<BgpStatus> {
        let statuses: Vec<_> = BgpStatus::ALL.iter().map(|status| (*status, status.as_str())).collect();
        self.choice(name, &statuses)
    }

    /// A key is free text to those who ask. The second value: that it can be no link's.
    fn pairing_key(&self) -> (Option<Uuid>, bool) {
        let Some(text) = self.text("pairing_key") else { return (None, false) };
        let key = uuid(&text);
        (key, key.is_none())
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::Error;
    use causeway_model::command::OrderField;

    use super::*;

    const ID: &str = "88eb1423-3671-41c0-b9a8-b39c706de059";

    #[test]
    fn a_lookup_by_name_as_terraform_makes_it_has_no_filters() {
        let query = Query::parse(
            "bgp_v4_status=unknown_bgp_status&bgp_v6_status=unknown_bgp_status&name=n&order_by=created_at_asc&status=unknown_link_status",
        );
        assert_eq!(query.links(), LinkFilter::default());
        let list = query.list(Order::LINKS);
        assert_eq!((list.order, list.descending, list.name.as_deref()), (OrderField::CreatedAt, false, Some("n")));
        query.finish().expect("no errors");
    }

    #[test]
    fn every_filter_of_links() {
        let query = Query::parse(&format!(
            "status=requested&bgp_v4_status=up&bgp_v6_status=disabled&pop_id={ID}&bandwidth_mbps=50&partner_id={ID}&vpc_id={ID}\
             &routing_policy_id={ID}&pairing_key={ID}&kind=self_hosted&connection_id={ID}"
        ));
        let id = uuid(ID).expect("a UUID");
        let expected = LinkFilter {
            status: Some(LinkStatus::Requested),
            bgp_v4_status: Some(BgpStatus::Up),
            bgp_v6_status: Some(BgpStatus::Disabled),
            pop_id: Some(id.into()),
            bandwidth_mbps: Some(50),
            partner_id: Some(id.into()),
            vpc_id: Some(id.into()),
            routing_policy_id: Some(id.into()),
            pairing_key: Some(id),
            kind: Some(LinkKindFilter::SelfHosted),
            connection_id: Some(id.into()),
            impossible: false,
        };
        assert_eq!(query.links(), expected);
        query.finish().expect("no errors");
    }

    #[test]
    fn a_key_that_is_none_finds_nothing_and_is_no_error() {
        let query = Query::parse("pairing_key=12345");
        assert!(query.links().impossible);
        assert_eq!(query.partner_links(), (PartnerLinkFilter::default(), true));
        query.finish().expect("no errors");
    }

    #[test]
    fn the_catalogues_filters_in_the_sdks_spellings() {
        let query = Query::parse(&format!("pop_ids={ID}&pop_ids={ID}&l3_connectivity=True"));
        assert_eq!((query.partners().pop_ids.len(), query.partners().l3_connectivity), (2, Some(true)));
        let query = Query::parse(&format!(
            "hosting_provider_name=Telehouse+2&partner_id={ID}&link_bandwidth_mbps=100&dedicated_available=False&l3_connectivity_partners=true"
        ));
        let pops = query.pops();
        assert_eq!(pops.hosting_provider_name.as_deref(), Some("Telehouse 2"));
        assert_eq!((pops.link_bandwidth_mbps, pops.dedicated_available), (Some(100), Some(false)));
        assert_eq!(pops.l3_connectivity_partners, Some(true));
        let dedicated = Query::parse("status=unknown_status&bandwidth_mbps=10000&order_by=updated_at_desc");
        assert_eq!(dedicated.dedicated_connections().status, None);
        assert_eq!(dedicated.dedicated_connections().bandwidth_mbps, Some(10_000));
        let list = dedicated.list(Order::DEDICATED_CONNECTIONS);
        assert_eq!((list.order, list.descending), (OrderField::UpdatedAt, true));
        assert_eq!(Query::parse("").list(Order::NAME).order, OrderField::Name);
        assert_eq!(Query::parse("ipv6=True").link_policies().is_ipv6, Some(true));
    }

    #[test]
    fn every_bad_filter_is_named() {
        let query = Query::parse(
            "status=up&bgp_v4_status=requested&bgp_v6_status=x&pop_id=1&bandwidth_mbps=fast&kind=l4&connection_id=x&order_by=vlan_asc",
        );
        query.links();
        query.list(Order::LINKS);
        let Err(Error::InvalidArguments(wrong)) = query.finish() else { panic!("errors") };
        let names: Vec<_> = wrong.iter().map(|argument| argument.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "status",
                "bgp_v4_status",
                "bgp_v6_status",
                "pop_id",
                "bandwidth_mbps",
                "kind",
                "connection_id",
                "order_by"
            ]
        );
    }
}
