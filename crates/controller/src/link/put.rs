//! Checked changes of InterLink's catalogue, within a transaction: what single calls and whole files do alike.

use causeway_model::error::ArgumentErrors;
use causeway_model::error::ArgumentReason::{Constraint, Format, Required};
use causeway_model::resource::{
    DedicatedConnection, LinkBandwidth, Partner, Pop, Port, PortAttachment, PortOwner, VLANS, VlanRange,
};
use causeway_model::status::DedicatedConnectionStatus;
use causeway_model::{DedicatedConnectionId, Error, PartnerId, PopId, PortId};
use causeway_store::{CatalogueKind, Kind, Reader};
use uuid::Uuid;

use super::place::node_of;
use super::{DEDICATED, PARTNER, POP, PORT, check_peer_asn, in_use, life, missing, node};
use crate::Result;
use crate::attachment::{Wire, is_interface};
use crate::node::NODE;
use crate::unit::Unit;

pub(super) const BANDWIDTH: &str = "link_bandwidth";

/// Characters of a name, and of every other text, at most.
const MAX_NAME: usize = 255;
const MAX_TEXT: usize = 1000;
/// Sizes at one PoP at most.
const MAX_SIZES: usize = 100;
/// Mbit/s at most: a petabit, so that sums stay far from overflowing.
const MAX_MBPS: u64 = 1_000_000_000;
/// The highest base that leaves room for every VLAN id below 2^24 (RFC 7348 §5).
const MAX_VNI_BASE: u32 = (1 << 24) - 4096;

fn check_name(name: &str, errors: &mut ArgumentErrors) {
    if name.trim().is_empty() {
        errors.push("name", Required, "give a name of 1 to 255 characters");
    } else if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        errors.push("name", Format, format!("1 to {MAX_NAME} characters, none of them control characters"));
    }
}

fn check_texts(texts: &[(&str, &str)], errors: &mut ArgumentErrors) {
    for (field, text) in texts {
        if text.chars().count() > MAX_TEXT || text.chars().any(char::is_control) {
            errors.push(*field, Format, format!("at most {MAX_TEXT} characters, none of them control characters"));
        }
    }
}

fn check_mbps(field: &str, mbps: u64, errors: &mut ArgumentErrors) {
    if !(1..=MAX_MBPS).contains(&mbps) {
        errors.push(field, Constraint, format!("1 to {MAX_MBPS} Mbit/s"));
    }
}

fn check_vlans(range: VlanRange, errors: &mut ArgumentErrors) {
    if !range.within(VLANS) {
        let help = format!("`start` to `end` have to lie within {} to {}", VLANS.start, VLANS.end);
        errors.push("vlan_range", Constraint, help);
    }
}

fn check_pop(pop: &Pop, sizes: &[LinkBandwidth], errors: &mut ArgumentErrors) {
    check_name(&pop.name, errors);
    let texts = [
        ("display_name", pop.display_name.as_str()),
        ("city", &pop.city),
        ("address", &pop.address),
        ("hosting_provider_name", &pop.hosting_provider_name),
        ("logo_url", &pop.logo_url),
    ];
    check_texts(&texts, errors);
    if pop.link_bandwidths_mbps.len() > MAX_SIZES {
        errors.push("link_bandwidths_mbps", Constraint, format!("at most {MAX_SIZES} sizes"));
    }
    let unknown = |size: &&u64| !sizes.iter().any(|known| known.bandwidth_mbps == **size);
    if let Some(size) = pop.link_bandwidths_mbps.iter().find(unknown) {
        let help = format!("{size} Mbit/s has no price; set one first (link-bandwidths)");
        errors.push("link_bandwidths_mbps", Constraint, help);
    }
    if let Some(capacity) = pop.capacity_mbps {
        check_mbps("capacity_mbps", capacity, errors);
    }
}

fn check_partner(partner: &Partner, provider_asn: u32, errors: &mut ArgumentErrors) {
    check_name(&partner.name, errors);
    let texts = [
        ("contact_email", partner.contact_email.as_str()),
        ("logo_url", &partner.logo_url),
        ("portal_url", &partner.portal_url),
    ];
    check_texts(&texts, errors);
    if partner.contact_email.is_empty() && partner.portal_url.is_empty() {
        errors.push(
            "contact_email",
            Required,
            "tenants have to ask the partner somewhere: `contact_email` or `portal_url`",
        );
    }
    check_peer_asn("asn", partner.asn, provider_asn, errors);
}

fn check_attachment(attachment: &PortAttachment, errors: &mut ArgumentErrors) {
    match attachment {
        PortAttachment::Vlan { interface } | PortAttachment::Interface { interface } => {
            if let Err(help) = is_interface(interface) {
                errors.push("attachment.interface", Constraint, help);
            }
        }
        PortAttachment::Vxlan { remote, vni_base } => {
            if remote.is_unspecified() || remote.is_loopback() || remote.is_multicast() {
                errors.push("attachment.remote", Constraint, "not an address that frames can be sent to");
            }
            if *vni_base > MAX_VNI_BASE {
                errors.push("attachment.vni_base", Constraint, format!("0 to {MAX_VNI_BASE}"));
            }
        }
    }
}

fn check_dedicated(connection: &DedicatedConnection, errors: &mut ArgumentErrors) {
    check_name(&connection.meta.name, errors);
    check_texts(&[("demarcation_info", connection.demarcation_info.as_deref().unwrap_or_default())], errors);
    check_mbps("bandwidth_mbps", connection.bandwidth_mbps, errors);
    check_vlans(connection.vlan_range, errors);
    if matches!(connection.state, DedicatedConnectionStatus::Locked | DedicatedConnectionStatus::Deleted) {
        errors.push(
            "status",
            Constraint,
            "one of created, configuring, failed, active, disabled; lock and delete are calls",
        );
    }
}

fn check_port(port: &Port, owner: Option<&DedicatedConnection>, errors: &mut ArgumentErrors) {
    check_name(&port.name, errors);
    check_attachment(&port.attachment, errors);
    check_vlans(port.vlan_range, errors);
    check_mbps("capacity_mbps", port.capacity_mbps, errors);
    if let Some(connection) = owner {
        if connection.pop_id != port.pop_id {
            errors.push(
                "pop_id",
                Constraint,
                format!("the dedicated connection ends at the PoP {}", connection.pop_id),
            );
        }
        if !port.vlan_range.within(connection.vlan_range) {
            let range = connection.vlan_range;
            let help = format!("the dedicated connection has VLAN ids {} to {}", range.start, range.end);
            errors.push("vlan_range", Constraint, help);
        }
    }
}

/// The VNIs of a port's links, both ends included.
fn vnis(port: &Port) -> Option<(u32, u32)> {
    match port.attachment {
        PortAttachment::Vxlan { vni_base, .. } => {
            let vni = |vlan: u16| vni_base.saturating_add(vlan.into());
            Some((vni(port.vlan_range.start), vni(port.vlan_range.end)))
        }
        PortAttachment::Vlan { .. } | PortAttachment::Interface { .. } => None,
    }
}

/// What two ports would share: both would be one wire, unless they are on different machines. A node takes a VNI once, whatever the far end (its devices share one UDP port).
fn shared(one: &Port, other: &Port) -> Option<String> {
    if Option::zip(one.node_id, other.node_id).is_some_and(|(one, other)| one != other) {
        return None;
    }
    if let (Some((first, last)), Some((start, end))) = (vnis(one), vnis(other)) {
        return (first <= end && start <= last).then(|| format!("has the VNIs {start} to {end}"));
    }
    let (wire, taken) = (Wire::of_port(one)?, Wire::of_port(other)?);
    wire.meets(&taken).then(|| format!("is on `{}`", taken.interface()))
}

pub(super) fn sorted(mut sizes: Vec<u64>) -> Vec<u64> {
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

impl Unit<'_> {
    async fn unused(&mut self, kind: CatalogueKind, id: Uuid) -> Result<()> {
        let users = self.catalogue_users(kind, id).await?;
        if users.is_empty() {
            return Ok(());
        }
        let users: Vec<String> = users.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let help = format!("it has {}; remove them first (a deleted link is kept for a day)", users.join(", "));
        Err(in_use(help))
    }

    pub(super) async fn known_pop(&mut self, id: PopId) -> Result<Pop> {
        self.pop(id).await?.ok_or_else(|| missing(POP, id))
    }

    pub(super) async fn known_dedicated(&mut self, id: DedicatedConnectionId) -> Result<DedicatedConnection> {
        self.dedicated_connection(id).await?.ok_or_else(|| missing(DEDICATED, id))
    }

    pub(super) async fn known_port(&mut self, id: PortId) -> Result<Port> {
        self.port(id).await?.ok_or_else(|| missing(PORT, id))
    }

    /// Refuses less than what the links of a port have.
    async fn keeps_links(&mut self, port: PortId, mbps: (&str, u64), range: VlanRange) -> Result<()> {
        let mut errors = ArgumentErrors::new();
        let used = self.bandwidth_of_port(port).await?;
        let (field, mbps) = mbps;
        if used > mbps {
            errors.push(field, Constraint, format!("its links have {used} Mbit/s together"));
        }
        if let Some(vlan) = self.vlans_of_port(port).await?.into_iter().find(|vlan| !range.contains(*vlan)) {
            errors.push("vlan_range", Constraint, format!("a link has the VLAN id {vlan}"));
        }
        errors.finish()
    }

    /// Refuses to take the frames of another port or of a Private Network, at whatever PoP: the interfaces are the node's. A port that names no
    /// node may be on any.
    pub(super) async fn has_its_wire(&mut self, port: &Port) -> Result<()> {
        let taken = |resource, id: String, help| Err(Error::AlreadyExists { resource, id, help });
        for other in self.ports().await?.into_iter().filter(|other| other.id != port.id) {
            if let Some(what) = shared(port, &other) {
                return taken(PORT, other.id.to_string(), format!("the port {} {what} already", other.name));
            }
        }
        let Some(wire) = Wire::of_port(port) else { return Ok(()) };
        for network in self.attachments().await? {
            if wire.meets(&Wire::whole(&network.interface)) {
                let help = format!("`{}` belongs to the Private Network {}", network.interface, network.network);
                return taken("private_network_attachment", network.network.to_string(), help);
            }
        }
        Ok(())
    }

    /// Refuses VLAN ids of a dedicated connection's port that the connection does not have.
    pub(super) async fn holds_its_port(&mut self, connection: &DedicatedConnection) -> Result<()> {
        let owner = PortOwner::DedicatedConnection(connection.id);
        let port = self.ports().await?.into_iter().find(|port| port.owner == owner);
        match port.filter(|port| !port.vlan_range.within(connection.vlan_range)) {
            Some(port) => {
                let help = format!("narrow its port's first: {} to {}", port.vlan_range.start, port.vlan_range.end);
                Err(Error::constraint("vlan_range", help))
            }
            None => Ok(()),
        }
    }

    /// Orders that waited for the port of a dedicated connection go on.
    pub(super) async fn place_on_connection(&mut self, id: DedicatedConnectionId) -> Result<()> {
        let owner = PortOwner::DedicatedConnection(id);
        if let Some(port) = self.ports().await?.into_iter().find(|port| port.owner == owner) {
            life::place_waiting(self, port.id).await?;
        }
        Ok(())
    }

    pub(super) async fn known_partner(&mut self, id: PartnerId) -> Result<Partner> {
        self.partner(id).await?.ok_or_else(|| missing(PARTNER, id))
    }

    /// Gives a size a price; answers the one that it had.
    pub(super) async fn put_size(&mut self, size: LinkBandwidth) -> Result<Option<LinkBandwidth>> {
        let mut errors = ArgumentErrors::new();
        check_mbps("bandwidth_mbps", size.bandwidth_mbps, &mut errors);
        if i64::try_from(size.price_per_hour).is_err() {
            errors.push("price_per_hour", Constraint, "too large");
        }
        errors.finish()?;
        let all = Reader::link_bandwidths(self).await?;
        self.set_link_bandwidth(size).await?;
        Ok(all.into_iter().find(|known| known.bandwidth_mbps == size.bandwidth_mbps))
    }

    /// Takes the price from a size that neither a link nor a PoP has.
    pub(super) async fn drop_size(&mut self, bandwidth_mbps: u64) -> Result<LinkBandwidth> {
        let all = Reader::link_bandwidths(self).await?;
        let size = all.into_iter().find(|known| known.bandwidth_mbps == bandwidth_mbps);
        let size = size.ok_or_else(|| missing(BANDWIDTH, bandwidth_mbps))?;
        let links = self.links_of_bandwidth(bandwidth_mbps).await?;
        if links > 0 {
            return Err(in_use(format!(
                "{links} links have {bandwidth_mbps} Mbit/s (a deleted link is kept for a day)"
            )));
        }
        let pops = self.pops().await?;
        if let Some(pop) = pops.iter().find(|pop| pop.link_bandwidths_mbps.contains(&bandwidth_mbps)) {
            return Err(in_use(format!(
                "the PoP {} has {bandwidth_mbps} Mbit/s on offer; take it from there first",
                pop.name
            )));
        }
        self.delete_link_bandwidth(bandwidth_mbps).await?;
        Ok(size)
    }

    /// Adds a PoP, or makes the one with its id what it says.
    pub(super) async fn put_pop(&mut self, pop: &Pop) -> Result<()> {
        let mut errors = ArgumentErrors::new();
        check_pop(pop, &Reader::link_bandwidths(self).await?, &mut errors);
        let used = self.bandwidth_of_pop(pop.id).await?;
        if pop.capacity_mbps.is_some_and(|capacity| capacity < used) {
            errors.push("capacity_mbps", Constraint, format!("its links have {used} Mbit/s together"));
        }
        errors.finish()?;
        Ok(self.set_pop(pop).await?)
    }

    /// Adds a partner, or makes the one with its id what it says.
    pub(super) async fn put_partner(&mut self, partner: &Partner) -> Result<()> {
        let mut errors = ArgumentErrors::new();
        check_partner(partner, self.controller.provider_asn(), &mut errors);
        errors.finish()?;
        Ok(self.set_partner(partner).await?)
    }

    /// Adds a dedicated connection, or makes the one with its id what it says; orders that waited for it go on.
    pub(super) async fn put_dedicated(&mut self, connection: &DedicatedConnection) -> Result<()> {
        self.holds_its_port(connection).await?;
        self.write_dedicated(connection).await
    }

    /// As [`Self::put_dedicated`]; its port is looked at by the caller, later.
    pub(super) async fn write_dedicated(&mut self, connection: &DedicatedConnection) -> Result<()> {
        let mut errors = ArgumentErrors::new();
        check_dedicated(connection, &mut errors);
        errors.finish()?;
        let id = connection.id;
        if Reader::dedicated_connection(self, id).await?.is_none() {
            self.known_pop(connection.pop_id).await?;
            return Ok(self.insert_dedicated_connection(connection).await?);
        }
        let owner = PortOwner::DedicatedConnection(id);
        if let Some(port) = self.ports().await?.into_iter().find(|port| port.owner == owner) {
            self.keeps_links(port.id, ("bandwidth_mbps", connection.bandwidth_mbps), connection.vlan_range).await?;
        }
        self.set_meta(Kind::DedicatedConnection, id.0, &connection.meta).await?;
        self.set_dedicated_connection(connection).await?;
        self.place_on_connection(id).await
    }

    /// Adds a port, or makes the one with its id what it says; orders that waited for it go on.
    pub(super) async fn put_port(&mut self, port: &Port) -> Result<()> {
        let before = Reader::port(self, port.id).await?;
        self.write_port(port).await?;
        let wire = |port: &Port| (port.node_id, port.attachment.clone(), port.vlan_range);
        let same = |before: Port| wire(&before) == wire(port);
        if before.is_some_and(same) { Ok(()) } else { self.has_its_wire(port).await }
    }

    /// As [`Self::put_port`]; who else is on its interface is looked at by the caller, later.
    pub(super) async fn write_port(&mut self, port: &Port) -> Result<()> {
        self.known_pop(port.pop_id).await?;
        let owner = match port.owner {
            PortOwner::Partner(id) => {
                self.known_partner(id).await?;
                None
            }
            PortOwner::DedicatedConnection(id) => Some(self.known_dedicated(id).await?),
        };
        let mut errors = ArgumentErrors::new();
        check_port(port, owner.as_ref(), &mut errors);
        let nodes = self.nodes().await?;
        if let Some(id) = port.node_id.filter(|id| !nodes.iter().any(|node| node.id == *id)) {
            return Err(missing(NODE, id));
        }
        errors.finish()?;
        let all = self.ports().await?;
        let before = all.iter().find(|known| known.id == port.id);
        let same = |known: &&Port| known.id != port.id && owner.is_some() && known.owner == port.owner;
        if let Some(other) = all.iter().find(same) {
            let help = format!("the dedicated connection has the port {}; it can't have two", other.name);
            return Err(Error::AlreadyExists { resource: PORT, id: other.id.to_string(), help });
        }
        if let Err(revoked) = node_of(port, &nodes)
            && before.is_none_or(|before| before.node_id != port.node_id)
        {
            return Err(Error::constraint("node_id", format!("{} was revoked; name another node", revoked.name)));
        }
        if let Some(before) = before {
            self.keeps_links(port.id, ("capacity_mbps", port.capacity_mbps), port.vlan_range).await?;
            if port.attachment != before.attachment && !self.vlans_of_port(port.id).await?.is_empty() {
                return Err(in_use("links are on it; its attachment can change when they are gone"));
            }
            let moves = before.node_id != port.node_id;
            if let Some(node) = self.nodes_of_port(port.id).await?.iter().find(|node| port.node_id != Some(**node))
                && moves
            {
                let help = "links of it end there; its node can change when they are gone, or the node is revoked";
                return Err(in_use(format!("it is on the node {node}: {help}")));
            }
        }
        self.set_port(port).await?;
        life::place_waiting(self, port.id).await?;
        let now = self.now;
        node::place_unplaced(self, now).await
    }

    /// Removes what nothing refers to.
    pub(super) async fn drop_object(&mut self, kind: CatalogueKind, id: Uuid) -> Result<()> {
        self.unused(kind, id).await?;
        if kind == CatalogueKind::Partner {
            self.forget_revoked_keys(id.into()).await?;
        }
        Ok(self.delete_catalogue_object(kind, id).await?)
    }
}
