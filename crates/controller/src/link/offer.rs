//! The operator's side of InterLink: sizes with prices, PoPs, partners, dedicated connections, ports (wire-ext.md §2).

use causeway_model::command::{
    DedicatedConnectionChange, ListQuery, NewDedicatedConnection, NewPartner, NewPop, NewPort, Page, PartnerChange,
    PopChange, PortChange, PortFilter,
};
use causeway_model::error::ArgumentErrors;
use causeway_model::error::ArgumentReason::{Constraint, Format, Required};
use causeway_model::resource::{
    Caller, DedicatedConnection, LinkBandwidth, Partner, Pop, Port, PortAttachment, PortOwner, VLANS, VlanRange,
};
use causeway_model::status::DedicatedConnectionStatus;
use causeway_model::view::DedicatedConnectionView;
use causeway_model::{DedicatedConnectionId, Error, PartnerId, PopId, PortId};
use causeway_store::{CatalogueKind, Kind, Reader};
use uuid::Uuid;

use super::stock::{Stock, dedicated_view, page_by_name};
use super::{DEDICATED, PARTNER, POP, PORT, check_peer_asn, check_reason, in_use, life, missing};
use crate::access::{operator, paging};
use crate::attachment::is_interface;
use crate::audit::{and, changed, gone, made};
use crate::gateway::may_lock;
use crate::unit::Unit;
use crate::{Controller, Result};

const BANDWIDTH: &str = "link_bandwidth";

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

/// What ports are on: two on one interface would be one.
fn place_of(attachment: &PortAttachment) -> String {
    match attachment {
        PortAttachment::Vlan { interface } | PortAttachment::Interface { interface } => interface.clone(),
        PortAttachment::Vxlan { remote, vni_base } => format!("{remote} from VNI {vni_base} on"),
    }
}

fn sorted(mut sizes: Vec<u64>) -> Vec<u64> {
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

    async fn known_pop(&mut self, id: PopId) -> Result<Pop> {
        self.pop(id).await?.ok_or_else(|| missing(POP, id))
    }

    async fn known_dedicated(&mut self, id: DedicatedConnectionId) -> Result<DedicatedConnection> {
        self.dedicated_connection(id).await?.ok_or_else(|| missing(DEDICATED, id))
    }

    async fn known_port(&mut self, id: PortId) -> Result<Port> {
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

    /// Refuses a second port on one interface.
    async fn free_attachment(&mut self, port: &Port) -> Result<()> {
        let place = place_of(&port.attachment);
        let others = self.ports().await?;
        let same =
            |other: &&Port| other.id != port.id && other.pop_id == port.pop_id && place_of(&other.attachment) == place;
        match others.iter().find(same) {
            Some(other) => Err(Error::AlreadyExists {
                resource: PORT,
                id: other.id.to_string(),
                help: format!("the port {} is on {place} already", other.name),
            }),
            None => Ok(()),
        }
    }

    /// Orders that waited for the port of a dedicated connection go on.
    async fn place_on_connection(&mut self, id: DedicatedConnectionId) -> Result<()> {
        let owner = PortOwner::DedicatedConnection(id);
        if let Some(port) = self.ports().await?.into_iter().find(|port| port.owner == owner) {
            life::place_waiting(self, port.id).await?;
        }
        Ok(())
    }
}

fn exists(resource: &'static str, id: impl ToString) -> Error {
    let help = "this id is taken; leave it out, or update what has it".to_owned();
    Error::AlreadyExists { resource, id: id.to_string(), help }
}

impl Controller {
    /// The sizes on offer with their prices; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn link_bandwidths(&self, caller: &Caller) -> Result<Vec<LinkBandwidth>> {
        operator(caller, "read", BANDWIDTH)?;
        Ok(self.read().await?.link_bandwidths().await?)
    }

    /// Gives a size a price; links that exist keep theirs. Operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::InvalidArguments`].
    pub async fn set_link_bandwidth(&self, caller: &Caller, size: LinkBandwidth) -> Result<LinkBandwidth> {
        operator(caller, "write", BANDWIDTH)?;
        let mut errors = ArgumentErrors::new();
        check_mbps("bandwidth_mbps", size.bandwidth_mbps, &mut errors);
        if i64::try_from(size.price_per_hour).is_err() {
            errors.push("price_per_hour", Constraint, "too large");
        }
        errors.finish()?;
        let mut unit = self.unit(caller, self.region()).await?;
        let all = Reader::link_bandwidths(&mut unit).await?;
        let before = all.into_iter().find(|known| known.bandwidth_mbps == size.bandwidth_mbps);
        unit.set_link_bandwidth(size).await?;
        let (action, details) = match before {
            Some(before) => ("update", changed(&before, &size)),
            None => ("create", made(&size)),
        };
        unit.finish(action, BANDWIDTH, size.bandwidth_mbps, &details).await?;
        Ok(size)
    }

    /// Takes the price from a size that neither a link nor a PoP has; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_link_bandwidth(&self, caller: &Caller, bandwidth_mbps: u64) -> Result<()> {
        operator(caller, "write", BANDWIDTH)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let all = Reader::link_bandwidths(&mut unit).await?;
        let size = all.into_iter().find(|known| known.bandwidth_mbps == bandwidth_mbps);
        let size = size.ok_or_else(|| missing(BANDWIDTH, bandwidth_mbps))?;
        let links = unit.links_of_bandwidth(bandwidth_mbps).await?;
        if links > 0 {
            return Err(in_use(format!("{links} links have this size (a deleted link is kept for a day)")));
        }
        let pops = unit.pops().await?;
        if let Some(pop) = pops.iter().find(|pop| pop.link_bandwidths_mbps.contains(&bandwidth_mbps)) {
            return Err(in_use(format!("the PoP {} has it on offer; take it from there first", pop.name)));
        }
        unit.delete_link_bandwidth(bandwidth_mbps).await?;
        unit.finish("delete", BANDWIDTH, bandwidth_mbps, &gone(&size)).await
    }

    /// A page of PoPs as the operator keeps them; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], or if the paging is out of bounds.
    pub async fn pop_catalogue(&self, caller: &Caller, list: &ListQuery) -> Result<Page<Pop>> {
        operator(caller, "read", POP)?;
        paging(list)?;
        Ok(page_by_name(self.read().await?.pops().await?, list, |pop| &pop.name))
    }

    /// Adds a PoP; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::InvalidArguments`], [`Error::AlreadyExists`].
    pub async fn create_pop(&self, caller: &Caller, new: NewPop) -> Result<Pop> {
        operator(caller, "write", POP)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let fields = new.fields;
        let pop = Pop {
            id: new.id.unwrap_or_else(PopId::random),
            region: self.region().to_owned(),
            name: fields.name,
            display_name: fields.display_name,
            city: fields.city,
            address: fields.address,
            hosting_provider_name: fields.hosting_provider_name,
            logo_url: fields.logo_url,
            link_bandwidths_mbps: sorted(fields.link_bandwidths_mbps),
            capacity_mbps: fields.capacity_mbps,
        };
        let mut errors = ArgumentErrors::new();
        check_pop(&pop, &Reader::link_bandwidths(&mut unit).await?, &mut errors);
        errors.finish()?;
        if Reader::pop(&mut unit, pop.id).await?.is_some() {
            return Err(exists(POP, pop.id));
        }
        unit.set_pop(&pop).await?;
        unit.finish("create", POP, pop.id, &made(&pop)).await?;
        Ok(pop)
    }

    /// Changes a PoP; operators only. Links that exist stay.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn update_pop(&self, caller: &Caller, id: PopId, change: PopChange) -> Result<Pop> {
        operator(caller, "write", POP)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let before = unit.known_pop(id).await?;
        let old = before.clone();
        let pop = Pop {
            id,
            region: old.region,
            name: change.name.unwrap_or(old.name),
            display_name: change.display_name.unwrap_or(old.display_name),
            city: change.city.unwrap_or(old.city),
            address: change.address.unwrap_or(old.address),
            hosting_provider_name: change.hosting_provider_name.unwrap_or(old.hosting_provider_name),
            logo_url: change.logo_url.unwrap_or(old.logo_url),
            link_bandwidths_mbps: change.link_bandwidths_mbps.map_or(old.link_bandwidths_mbps, sorted),
            capacity_mbps: change.capacity_mbps.unwrap_or(old.capacity_mbps),
        };
        let mut errors = ArgumentErrors::new();
        check_pop(&pop, &Reader::link_bandwidths(&mut unit).await?, &mut errors);
        let used = unit.bandwidth_of_pop(id).await?;
        if pop.capacity_mbps.is_some_and(|capacity| capacity < used) {
            errors.push("capacity_mbps", Constraint, format!("its links have {used} Mbit/s together"));
        }
        errors.finish()?;
        unit.set_pop(&pop).await?;
        unit.finish("update", POP, id, &changed(&before, &pop)).await?;
        Ok(pop)
    }

    /// Removes a PoP that nothing is at; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_pop(&self, caller: &Caller, id: PopId) -> Result<()> {
        operator(caller, "write", POP)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let pop = unit.known_pop(id).await?;
        unit.unused(CatalogueKind::Pop, id.0).await?;
        unit.delete_catalogue_object(CatalogueKind::Pop, id.0).await?;
        unit.finish("delete", POP, id, &gone(&pop)).await
    }

    /// Adds a partner; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::InvalidArguments`], [`Error::AlreadyExists`].
    pub async fn create_partner(&self, caller: &Caller, new: NewPartner) -> Result<Partner> {
        operator(caller, "write", PARTNER)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let fields = new.fields;
        let partner = Partner {
            id: new.id.unwrap_or_else(PartnerId::random),
            region: self.region().to_owned(),
            name: fields.name,
            contact_email: fields.contact_email,
            logo_url: fields.logo_url,
            portal_url: fields.portal_url,
            asn: fields.asn,
            l3_connectivity: fields.l3_connectivity,
            notify: fields.notify,
            created_at: unit.now,
            updated_at: unit.now,
        };
        let mut errors = ArgumentErrors::new();
        check_partner(&partner, self.provider_asn(), &mut errors);
        errors.finish()?;
        if Reader::partner(&mut unit, partner.id).await?.is_some() {
            return Err(exists(PARTNER, partner.id));
        }
        unit.set_partner(&partner).await?;
        unit.finish("create", PARTNER, partner.id, &made(&partner)).await?;
        Ok(partner)
    }

    /// Changes a partner; operators only. Links keep the AS number that they were ordered with.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn update_partner(&self, caller: &Caller, id: PartnerId, change: PartnerChange) -> Result<Partner> {
        operator(caller, "write", PARTNER)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let before = Reader::partner(&mut unit, id).await?.ok_or_else(|| missing(PARTNER, id))?;
        let old = before.clone();
        let partner = Partner {
            id,
            region: old.region,
            name: change.name.unwrap_or(old.name),
            contact_email: change.contact_email.unwrap_or(old.contact_email),
            logo_url: change.logo_url.unwrap_or(old.logo_url),
            portal_url: change.portal_url.unwrap_or(old.portal_url),
            asn: change.asn.unwrap_or(old.asn),
            l3_connectivity: change.l3_connectivity.unwrap_or(old.l3_connectivity),
            notify: change.notify.unwrap_or(old.notify),
            created_at: old.created_at,
            updated_at: unit.now,
        };
        let mut errors = ArgumentErrors::new();
        check_partner(&partner, self.provider_asn(), &mut errors);
        errors.finish()?;
        unit.set_partner(&partner).await?;
        unit.finish("update", PARTNER, id, &changed(&before, &partner)).await?;
        Ok(partner)
    }

    /// Removes a partner without ports, links and keys; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_partner(&self, caller: &Caller, id: PartnerId) -> Result<()> {
        operator(caller, "write", PARTNER)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let partner = Reader::partner(&mut unit, id).await?.ok_or_else(|| missing(PARTNER, id))?;
        unit.unused(CatalogueKind::Partner, id.0).await?;
        unit.forget_revoked_keys(id).await?;
        unit.delete_catalogue_object(CatalogueKind::Partner, id.0).await?;
        unit.finish("delete", PARTNER, id, &gone(&partner)).await
    }

    /// Adds a dedicated connection to a project; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`], [`Error::AlreadyExists`].
    pub async fn create_dedicated_connection(
        &self,
        caller: &Caller,
        new: NewDedicatedConnection,
    ) -> Result<DedicatedConnectionView> {
        operator(caller, "write", DEDICATED)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let project = unit.project(new.meta.project_id, DEDICATED).await?;
        unit.known_pop(new.pop_id).await?;
        let connection = DedicatedConnection {
            id: new.id.unwrap_or_else(DedicatedConnectionId::random),
            meta: unit.meta(&project, new.meta),
            pop_id: new.pop_id,
            bandwidth_mbps: new.bandwidth_mbps,
            demarcation_info: new.demarcation_info,
            vlan_range: new.vlan_range.unwrap_or(VLANS),
            state: new.state,
            locked: false,
        };
        let mut errors = ArgumentErrors::new();
        check_dedicated(&connection, &mut errors);
        errors.finish()?;
        if Reader::dedicated_connection(&mut unit, connection.id).await?.is_some() {
            return Err(exists(DEDICATED, connection.id));
        }
        unit.insert_dedicated_connection(&connection).await?;
        let view = dedicated_view(&Stock::read(&mut unit).await?, connection);
        unit.finish("create", DEDICATED, view.connection.id, &made(&view.connection)).await?;
        Ok(view)
    }

    /// Changes a dedicated connection; operators only. Orders that waited for it go on once it is `active`.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn update_dedicated_connection(
        &self,
        caller: &Caller,
        id: DedicatedConnectionId,
        change: DedicatedConnectionChange,
    ) -> Result<DedicatedConnectionView> {
        operator(caller, "write", DEDICATED)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let before = unit.known_dedicated(id).await?;
        let mut connection = before.clone();
        connection.bandwidth_mbps = change.bandwidth_mbps.unwrap_or(connection.bandwidth_mbps);
        connection.vlan_range = change.vlan_range.unwrap_or(connection.vlan_range);
        connection.state = change.state.unwrap_or(connection.state);
        if let Some(info) = change.demarcation_info {
            connection.demarcation_info = info;
        }
        let mut errors = ArgumentErrors::new();
        check_dedicated(&connection, &mut errors);
        errors.finish()?;
        let owner = PortOwner::DedicatedConnection(id);
        if let Some(port) = unit.ports().await?.into_iter().find(|port| port.owner == owner) {
            unit.keeps_links(port.id, ("bandwidth_mbps", connection.bandwidth_mbps), connection.vlan_range).await?;
            if !port.vlan_range.within(connection.vlan_range) {
                let help = format!("narrow its port's first: {} to {}", port.vlan_range.start, port.vlan_range.end);
                return Err(Error::constraint("vlan_range", help));
            }
        }
        unit.rename(Kind::DedicatedConnection, id.0, &mut connection.meta, change.rename).await?;
        unit.set_dedicated_connection(&connection).await?;
        unit.place_on_connection(id).await?;
        let view = dedicated_view(&Stock::read(&mut unit).await?, connection);
        unit.finish("update", DEDICATED, id, &changed(&before, &view.connection)).await?;
        Ok(view)
    }

    /// Removes a dedicated connection without links and ports; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_dedicated_connection(&self, caller: &Caller, id: DedicatedConnectionId) -> Result<()> {
        operator(caller, "write", DEDICATED)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let connection = unit.known_dedicated(id).await?;
        unit.unused(CatalogueKind::DedicatedConnection, id.0).await?;
        unit.delete_catalogue_object(CatalogueKind::DedicatedConnection, id.0).await?;
        unit.finish("delete", DEDICATED, id, &gone(&connection)).await
    }

    /// Locks a dedicated connection for a reason, or unlocks it: support and operators. No link can be ordered on it meanwhile.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn set_dedicated_connection_locked(
        &self,
        caller: &Caller,
        region: &str,
        id: DedicatedConnectionId,
        reason: Option<String>,
    ) -> Result<DedicatedConnectionView> {
        may_lock(caller, DEDICATED)?;
        if let Some(reason) = &reason {
            check_reason(reason)?;
        }
        let mut unit = self.unit(caller, region).await?;
        let before = unit.known_dedicated(id).await?;
        unit.set_dedicated_connection_lock(id, reason.as_deref()).await?;
        let now = unit.now;
        unit.touch(Kind::DedicatedConnection, id.0, now).await?;
        unit.place_on_connection(id).await?;
        let after = unit.known_dedicated(id).await?;
        let action = if reason.is_some() { "lock" } else { "unlock" };
        let details = and(changed(&before, &after), [("reason", reason.unwrap_or_default())]);
        let view = dedicated_view(&Stock::read(&mut unit).await?, after);
        unit.finish(action, DEDICATED, id, &details).await?;
        Ok(view)
    }

    /// A page of ports; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], or if the paging is out of bounds.
    pub async fn list_ports(&self, caller: &Caller, list: &ListQuery, filter: &PortFilter) -> Result<Page<Port>> {
        operator(caller, "read", PORT)?;
        paging(list)?;
        let stock = Stock::read(&mut self.read().await?).await?;
        let owned = |port: &Port| match port.owner {
            PortOwner::Partner(_) => None,
            PortOwner::DedicatedConnection(id) => stock.dedicated.iter().find(|connection| connection.id == id),
        };
        let passes = |port: &&Port| {
            let partner = filter.partner_id.map(PortOwner::Partner);
            let connection = filter.connection_id.map(PortOwner::DedicatedConnection);
            filter.pop_id.is_none_or(|id| port.pop_id == id)
                && partner.is_none_or(|owner| port.owner == owner)
                && connection.is_none_or(|owner| port.owner == owner)
                && filter.project_id.is_none_or(|id| owned(port).is_some_and(|own| own.meta.project_id == id))
        };
        Ok(page_by_name(stock.ports.iter().filter(passes).cloned().collect(), list, |port| &port.name))
    }

    /// A port; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn port(&self, caller: &Caller, id: PortId) -> Result<Port> {
        operator(caller, "read", PORT)?;
        self.read().await?.port(id).await?.ok_or_else(|| missing(PORT, id))
    }

    /// Adds a port; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`], [`Error::AlreadyExists`].
    pub async fn create_port(&self, caller: &Caller, new: NewPort) -> Result<Port> {
        operator(caller, "write", PORT)?;
        let mut unit = self.unit(caller, self.region()).await?;
        unit.known_pop(new.pop_id).await?;
        let owner = match new.owner {
            PortOwner::Partner(id) => {
                Reader::partner(&mut unit, id).await?.ok_or_else(|| missing(PARTNER, id))?;
                None
            }
            PortOwner::DedicatedConnection(id) => Some(unit.known_dedicated(id).await?),
        };
        let port = Port {
            id: new.id.unwrap_or_else(PortId::random),
            region: self.region().to_owned(),
            name: new.name,
            pop_id: new.pop_id,
            owner: new.owner,
            attachment: new.attachment,
            vlan_range: new.vlan_range.unwrap_or(owner.as_ref().map_or(VLANS, |owner| owner.vlan_range)),
            capacity_mbps: new.capacity_mbps,
            enabled: new.enabled,
            created_at: unit.now,
            updated_at: unit.now,
        };
        let mut errors = ArgumentErrors::new();
        check_port(&port, owner.as_ref(), &mut errors);
        errors.finish()?;
        let all = unit.ports().await?;
        if all.iter().any(|known| known.id == port.id) {
            return Err(exists(PORT, port.id));
        }
        if let Some(other) = all.iter().find(|known| owner.is_some() && known.owner == port.owner) {
            let help = format!("the dedicated connection has the port {}; it can't have two", other.name);
            return Err(Error::AlreadyExists { resource: PORT, id: other.id.to_string(), help });
        }
        unit.free_attachment(&port).await?;
        unit.set_port(&port).await?;
        unit.finish("create", PORT, port.id, &made(&port)).await?;
        Ok(port)
    }

    /// Changes a port; operators only. Orders that waited for it go on once it is in service.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`], [`Error::AlreadyExists`],
    /// [`Error::PreconditionFailed`].
    pub async fn update_port(&self, caller: &Caller, id: PortId, change: PortChange) -> Result<Port> {
        operator(caller, "write", PORT)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let before = unit.known_port(id).await?;
        let mut port = before.clone();
        port.name = change.name.unwrap_or(port.name);
        port.attachment = change.attachment.unwrap_or(port.attachment);
        port.vlan_range = change.vlan_range.unwrap_or(port.vlan_range);
        port.capacity_mbps = change.capacity_mbps.unwrap_or(port.capacity_mbps);
        port.enabled = change.enabled.unwrap_or(port.enabled);
        port.updated_at = unit.now;
        let owner = match port.owner {
            PortOwner::Partner(_) => None,
            PortOwner::DedicatedConnection(id) => Some(unit.known_dedicated(id).await?),
        };
        let mut errors = ArgumentErrors::new();
        check_port(&port, owner.as_ref(), &mut errors);
        errors.finish()?;
        unit.keeps_links(id, ("capacity_mbps", port.capacity_mbps), port.vlan_range).await?;
        if port.attachment != before.attachment {
            unit.free_attachment(&port).await?;
            if !unit.vlans_of_port(id).await?.is_empty() {
                return Err(in_use("links are on it; its attachment can change when they are gone"));
            }
        }
        unit.set_port(&port).await?;
        life::place_waiting(&mut unit, id).await?;
        unit.finish("update", PORT, id, &changed(&before, &port)).await?;
        Ok(port)
    }

    /// Removes a port without links; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_port(&self, caller: &Caller, id: PortId) -> Result<()> {
        operator(caller, "write", PORT)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let port = unit.known_port(id).await?;
        unit.unused(CatalogueKind::Port, id.0).await?;
        unit.delete_catalogue_object(CatalogueKind::Port, id.0).await?;
        unit.finish("delete", PORT, id, &gone(&port)).await
    }
}
