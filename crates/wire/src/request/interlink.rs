//! InterLink bodies (wire-api.md §4.5, §4.6), the operator's catalogue of it, and the partner's answers (wire-ext.md §2).

use std::net::IpAddr;

use causeway_model::command::{
    DedicatedConnectionChange, LinkChange, LinkPolicyChange, NewDedicatedConnection, NewLink, NewPartner, NewPop,
    NewPort, PartnerChange, PartnerFields, PopChange, PopFields, PortChange,
};
use causeway_model::resource::{LinkBandwidth, PortAttachment, PortOwner, VLANS, VlanRange};
use causeway_model::status::DedicatedConnectionStatus;
use causeway_model::{DedicatedConnectionId, Error, LinkId, PartnerId, PopId, VpcId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Body, Fields, MAX_DESCRIPTION};
use crate::errors::excerpt;

/// The largest size, in megabits per second (wire-api.md §1.11).
pub const MAX_BANDWIDTH: u32 = 100_000_000;
/// Sizes that a PoP may offer.
const MAX_SIZES: usize = 100;
/// Characters of a partner's or support's reason at most.
const MAX_REASON: usize = 1000;
/// Characters of an interface's name at most: Linux has 15.
const MAX_INTERFACE: usize = 15;
/// Above it there would be VNIs of more than 24 bits (RFC 7348).
const MAX_VNI_BASE: u32 = (1 << 24) - 4096;

/// What the operator can say of a dedicated connection; `locked` and `deleted` come of other calls.
const STATES: [DedicatedConnectionStatus; 5] = [
    DedicatedConnectionStatus::Created,
    DedicatedConnectionStatus::Configuring,
    DedicatedConnectionStatus::Failed,
    DedicatedConnectionStatus::Active,
    DedicatedConnectionStatus::Disabled,
];

impl Body {
    /// Order a link.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_link(&self) -> Result<NewLink, Error> {
        self.read(|fields| {
            let meta = fields.meta();
            let pop = fields.required_id("pop_id", "the PoP where the link begins");
            let bandwidth =
                fields.required("bandwidth_mbps", size(fields), "give one of the sizes that the PoP offers");
            let (connection_id, partner_id) = (fields.id("connection_id"), fields.id("partner_id"));
            match (fields.present("connection_id"), fields.present("partner_id")) {
                (false, false) => fields.constraint(
                    "partner_id",
                    "give either `partner_id` (a hosted link) or `connection_id` (on a dedicated connection)",
                ),
                (true, true) => {
                    fields.constraint("partner_id", "give either `partner_id` or `connection_id`, not both");
                }
                (true, false) | (false, true) => {}
            }
            let (peer_asn, vlan) = (peer_asn(fields), vlan(fields));
            if fields.present("partner_id") && !fields.present("connection_id") {
                for name in ["peer_asn", "vlan"].into_iter().filter(|name| fields.present(name)) {
                    fields.constraint(name, "is for links on a dedicated connection; the partner's is taken here");
                }
            }
            NewLink {
                meta,
                pop_id: pop.unwrap_or(PopId(Uuid::nil())),
                bandwidth_mbps: bandwidth.unwrap_or_default(),
                connection_id,
                partner_id,
                peer_asn,
                vlan,
                routing_policy_v4_id: fields.id("routing_policy_v4_id"),
                routing_policy_v6_id: fields.id("routing_policy_v6_id"),
            }
        })
    }

    /// Update a link.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_link(&self) -> Result<LinkChange, Error> {
        self.read(|fields| LinkChange { rename: fields.rename(), peer_asn: peer_asn(fields) })
    }

    /// attach-vpc.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn attached_vpc(&self) -> Result<VpcId, Error> {
        self.read(|fields| fields.required_id("vpc_id", "the VPC").unwrap_or(VpcId(Uuid::nil())))
    }

    /// attach-, detach- and set-routing-policy of `link`.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn link_policy_change(&self, link: LinkId) -> Result<LinkPolicyChange, Error> {
        self.read(|fields| {
            let policy = fields.required_id("routing_policy_id", "a routing policy of InterLink's");
            LinkPolicyChange { link, policy: policy.unwrap_or(Uuid::nil().into()) }
        })
    }

    /// The partner's reason for refusing a link; its tenant reads it.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn refusal(&self) -> Result<String, Error> {
        self.read(|fields| {
            let reason = fields.bounded_text("reason", MAX_REASON);
            fields.required("reason", reason, "say why: the tenant reads it").unwrap_or_default()
        })
    }

    /// Add a PoP.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_pop(&self) -> Result<NewPop, Error> {
        self.read(new_pop)
    }

    /// Update a PoP.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_pop(&self) -> Result<PopChange, Error> {
        self.read(|fields| {
            let text = |name: &str| fields.replaceable(name);
            PopChange {
                name: fields.name(),
                display_name: text("display_name"),
                city: text("city"),
                address: text("address"),
                hosting_provider_name: text("hosting_provider_name"),
                logo_url: text("logo_url"),
                link_bandwidths_mbps: sizes(fields),
                capacity_mbps: match fields.map.get("capacity_mbps") {
                    Some(Value::Null) => Some(None),
                    _ => megabits(fields, "capacity_mbps").map(Some),
                },
            }
        })
    }

    /// Add a partner.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_partner(&self) -> Result<NewPartner, Error> {
        self.read(new_partner)
    }

    /// Update a partner.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_partner(&self) -> Result<PartnerChange, Error> {
        self.read(|fields| PartnerChange {
            name: fields.name(),
            contact_email: fields.replaceable("contact_email"),
            logo_url: fields.replaceable("logo_url"),
            portal_url: fields.replaceable("portal_url"),
            asn: asn(fields),
            l3_connectivity: fields.boolean("l3_connectivity"),
            notify: fields.boolean("notify"),
        })
    }

    /// Add a port.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_port(&self) -> Result<NewPort, Error> {
        self.read(|fields| {
            let pop = fields.required_id("pop_id", "the PoP");
            let owner = owner(fields);
            let attachment = attachment(fields);
            let capacity = megabits(fields, "capacity_mbps");
            let capacity = fields.required("capacity_mbps", capacity, "say how much its links may have together");
            let attachment = attachment.or_else(|| {
                let help = "say what the port is on its node: `{\"kind\": \"vlan\", \"interface\": \"eth1\"}`";
                fields.required("attachment", None, help)
            });
            let name = fields.required("name", fields.name(), "give a name of 1 to 255 characters");
            NewPort {
                id: fields.id("id"),
                name: name.unwrap_or_default(),
                pop_id: pop.unwrap_or(PopId(Uuid::nil())),
                node_id: fields.id("node_id"),
                owner: owner.unwrap_or(PortOwner::Partner(PartnerId(Uuid::nil()))),
                attachment: attachment.unwrap_or(PortAttachment::Vlan { interface: String::new() }),
                vlan_range: vlan_range(fields),
                capacity_mbps: capacity.unwrap_or_default(),
                enabled: fields.boolean("enabled").unwrap_or(true),
            }
        })
    }

    /// Update a port.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_port(&self) -> Result<PortChange, Error> {
        self.read(|fields| PortChange {
            name: fields.name(),
            node_id: if fields.cleared("node_id") { Some(None) } else { fields.id("node_id").map(Some) },
            attachment: attachment(fields),
            vlan_range: vlan_range(fields),
            capacity_mbps: megabits(fields, "capacity_mbps"),
            enabled: fields.boolean("enabled"),
        })
    }

    /// Add a dedicated connection.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_dedicated_connection(&self) -> Result<NewDedicatedConnection, Error> {
        self.read(|fields| {
            let pop = fields.required_id("pop_id", "the PoP where it ends");
            let bandwidth = fields.required("bandwidth_mbps", size(fields), "say how much its links may have together");
            NewDedicatedConnection {
                id: fields.id("id"),
                meta: fields.meta(),
                pop_id: pop.unwrap_or(PopId(Uuid::nil())),
                bandwidth_mbps: bandwidth.unwrap_or_default(),
                demarcation_info: fields.bounded_text("demarcation_info", MAX_DESCRIPTION),
                vlan_range: vlan_range(fields),
                state: state(fields).unwrap_or(DedicatedConnectionStatus::Active),
            }
        })
    }

    /// Update a dedicated connection.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_dedicated_connection(&self) -> Result<DedicatedConnectionChange, Error> {
        self.read(|fields| DedicatedConnectionChange {
            rename: fields.rename(),
            bandwidth_mbps: size(fields),
            demarcation_info: fields.clearable("demarcation_info", MAX_DESCRIPTION),
            vlan_range: vlan_range(fields),
            state: state(fields),
        })
    }

    /// Offer a size of link, of which the path says the bandwidth.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn link_bandwidth(&self, bandwidth_mbps: u64) -> Result<LinkBandwidth, Error> {
        self.read(|fields| LinkBandwidth {
            bandwidth_mbps,
            price_per_hour: fields.large("price_per_hour", 0).unwrap_or_default(),
        })
    }
}

pub(super) fn new_pop(fields: &Fields<'_>) -> NewPop {
    let name = fields.required("name", fields.name(), "give a name of 1 to 255 characters").unwrap_or_default();
    let text = |name: &str| fields.bounded_text(name, MAX_DESCRIPTION).unwrap_or_default();
    let display_name = text("display_name");
    NewPop {
        id: fields.id("id"),
        fields: PopFields {
            display_name: if display_name.is_empty() { name.clone() } else { display_name },
            city: text("city"),
            address: text("address"),
            hosting_provider_name: text("hosting_provider_name"),
            logo_url: text("logo_url"),
            link_bandwidths_mbps: sizes(fields).unwrap_or_default(),
            capacity_mbps: megabits(fields, "capacity_mbps"),
            name,
        },
    }
}

pub(super) fn new_partner(fields: &Fields<'_>) -> NewPartner {
    let name = fields.required("name", fields.name(), "give a name of 1 to 255 characters");
    let asn = fields.required("asn", asn(fields), "give the AS number of the partner's end of links");
    let text = |name: &str| fields.bounded_text(name, MAX_DESCRIPTION).unwrap_or_default();
    NewPartner {
        id: fields.id("id"),
        fields: PartnerFields {
            name: name.unwrap_or_default(),
            contact_email: text("contact_email"),
            logo_url: text("logo_url"),
            portal_url: text("portal_url"),
            asn: asn.unwrap_or_default(),
            l3_connectivity: fields.boolean("l3_connectivity").unwrap_or(false),
            notify: fields.boolean("notify").unwrap_or(false),
        },
    }
}

/// Megabits per second that can be those of something.
pub(super) fn megabits(fields: &Fields<'_>, name: &str) -> Option<u64> {
    fields.number(name, 1, MAX_BANDWIDTH).map(u64::from)
}

pub(super) fn size(fields: &Fields<'_>) -> Option<u64> {
    megabits(fields, "bandwidth_mbps")
}

fn sizes(fields: &Fields<'_>) -> Option<Vec<u64>> {
    const NAME: &str = "link_bandwidths_mbps";
    fields.is(&format!("{NAME}[0]"), || json!({"type": "integer", "minimum": 1, "maximum": MAX_BANDWIDTH}));
    let items = fields.array(NAME, MAX_SIZES)?;
    let mut sizes = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item.as_u64().filter(|size| (1..=u64::from(MAX_BANDWIDTH)).contains(size)) {
            Some(size) => sizes.push(size),
            None => {
                fields.constraint(&format!("{NAME}[{index}]"), format!("must be an integer from 1 to {MAX_BANDWIDTH}"))
            }
        }
    }
    sizes.sort_unstable();
    sizes.dedup();
    Some(sizes)
}

/// An AS number of a neighbour on a link.
fn peer_asn(fields: &Fields<'_>) -> Option<u32> {
    not_as_trans(fields, "peer_asn", fields.number("peer_asn", 1, u32::MAX - 1)?)
}

fn asn(fields: &Fields<'_>) -> Option<u32> {
    not_as_trans(fields, "asn", fields.number("asn", 1, u32::MAX - 1)?)
}

fn not_as_trans(fields: &Fields<'_>, name: &str, asn: u32) -> Option<u32> {
    const AS_TRANS: u32 = 23456;
    if asn == AS_TRANS {
        fields.constraint(name, "23456 is reserved (AS_TRANS); a private AS number is from 64512 to 65534");
        return None;
    }
    Some(asn)
}

fn vlan(fields: &Fields<'_>) -> Option<u32> {
    fields.number("vlan", VLANS.start.into(), VLANS.end.into())
}

pub(super) fn vlan_range(fields: &Fields<'_>) -> Option<VlanRange> {
    let range = fields.object("vlan_range")?;
    let end = |name: &str| {
        let vlan = range.number(name, VLANS.start.into(), VLANS.end.into());
        let help = format!("give a VLAN id from {} to {}", VLANS.start, VLANS.end);
        range.required(name, vlan, &help).and_then(|vlan| u16::try_from(vlan).ok())
    };
    let (start, end) = (end("start"), end("end"));
    let range = VlanRange { start: start?, end: end? };
    if range.start > range.end {
        fields.constraint("vlan_range", "ends before it starts; both ends are included");
        return None;
    }
    Some(range)
}

fn owner(fields: &Fields<'_>) -> Option<PortOwner> {
    let partner = fields.id::<PartnerId>("partner_id");
    let connection = fields.id::<DedicatedConnectionId>("connection_id");
    match (fields.present("partner_id"), fields.present("connection_id")) {
        (true, false) => partner.map(PortOwner::Partner),
        (false, true) => connection.map(PortOwner::DedicatedConnection),
        (true, true) | (false, false) => {
            fields.constraint("partner_id", "give either `partner_id` or `connection_id`: whose links it carries");
            None
        }
    }
}

/// What a port is on its node; `None` where nothing is said, or something wrong, which is recorded then.
pub(super) fn attachment(fields: &Fields<'_>) -> Option<PortAttachment> {
    const KINDS: [(&str, &str); 3] = [("vlan", "vlan"), ("interface", "interface"), ("vxlan", "vxlan")];
    let attachment = fields.object("attachment")?;
    let kind =
        attachment.required("kind", attachment.word("kind", KINDS.into_iter()), "say `vlan`, `interface` or `vxlan`");
    let (interface, remote) = (interface(&attachment), remote(&attachment));
    let vni_base = attachment.number("vni_base", 0, MAX_VNI_BASE);
    let of_interface = |interface: Option<String>| {
        attachment.required("interface", interface, "name the interface of the node, like `eth1`")
    };
    match kind? {
        "vlan" => Some(PortAttachment::Vlan { interface: of_interface(interface)? }),
        "interface" => Some(PortAttachment::Interface { interface: of_interface(interface)? }),
        _ => {
            let remote = attachment.required("remote", remote, "give the address of the far end");
            Some(PortAttachment::Vxlan { remote: remote?, vni_base: vni_base.unwrap_or(0) })
        }
    }
}

/// A name that Linux takes for an interface.
fn interface(fields: &Fields<'_>) -> Option<String> {
    let name = fields.bounded_text("interface", MAX_INTERFACE)?;
    let wrong = |character: char| character == '/' || character.is_whitespace() || character.is_control();
    if name == "." || name == ".." || name.len() > MAX_INTERFACE || name.contains(wrong) {
        fields.constraint("interface", format!("`{}` can't be an interface's name", excerpt(&name)));
        return None;
    }
    Some(name)
}

fn remote(fields: &Fields<'_>) -> Option<IpAddr> {
    let text = fields.text("remote")?;
    let address = text.parse::<IpAddr>().ok();
    if address.is_none() {
        fields.format("remote", format!("`{}` is not an address", excerpt(text)));
    }
    address
}

pub(super) fn state(fields: &Fields<'_>) -> Option<DedicatedConnectionStatus> {
    fields.word("status", STATES.iter().map(|state| (*state, state.as_str())))
}

#[cfg(test)]
mod tests;
