//! The operator's side of InterLink: sizes with prices, PoPs, partners, dedicated connections, ports (wire-ext.md §2).

use causeway_model::command::{
    DedicatedConnectionChange, ListQuery, NewDedicatedConnection, NewPartner, NewPop, NewPort, Page, PartnerChange,
    PopChange, PortChange, PortFilter,
};
use causeway_model::resource::{Caller, DedicatedConnection, LinkBandwidth, Partner, Pop, Port, PortOwner, VLANS};
use causeway_model::view::DedicatedConnectionView;
use causeway_model::{DedicatedConnectionId, Error, PartnerId, PopId, PortId};
use causeway_store::{CatalogueKind, Kind, Reader};

use super::put::{BANDWIDTH, sorted};
use super::stock::{Stock, dedicated_view, page_by_name};
use super::{DEDICATED, PARTNER, POP, PORT, check_reason, missing};
use crate::access::{operator, paging};
use crate::audit::{and, changed, gone, made};
use crate::gateway::may_lock;
use crate::{Controller, Result};

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
        let mut unit = self.unit(caller, self.region()).await?;
        let (action, details) = match unit.put_size(size).await? {
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
        let size = unit.drop_size(bandwidth_mbps).await?;
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
        if Reader::pop(&mut unit, pop.id).await?.is_some() {
            return Err(exists(POP, pop.id));
        }
        unit.put_pop(&pop).await?;
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
        unit.put_pop(&pop).await?;
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
        unit.drop_object(CatalogueKind::Pop, id.0).await?;
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
        if Reader::partner(&mut unit, partner.id).await?.is_some() {
            return Err(exists(PARTNER, partner.id));
        }
        unit.put_partner(&partner).await?;
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
        let before = unit.known_partner(id).await?;
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
        unit.put_partner(&partner).await?;
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
        let partner = unit.known_partner(id).await?;
        unit.drop_object(CatalogueKind::Partner, id.0).await?;
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
        if Reader::dedicated_connection(&mut unit, connection.id).await?.is_some() {
            return Err(exists(DEDICATED, connection.id));
        }
        unit.put_dedicated(&connection).await?;
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
        connection.meta.name = change.rename.name.unwrap_or(connection.meta.name);
        connection.meta.tags = change.rename.tags.unwrap_or(connection.meta.tags);
        connection.meta.updated_at = unit.now;
        unit.put_dedicated(&connection).await?;
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
        unit.drop_object(CatalogueKind::DedicatedConnection, id.0).await?;
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
        let whole = match new.owner {
            PortOwner::Partner(_) => VLANS,
            PortOwner::DedicatedConnection(id) => unit.known_dedicated(id).await?.vlan_range,
        };
        let port = Port {
            id: new.id.unwrap_or_else(PortId::random),
            region: self.region().to_owned(),
            name: new.name,
            pop_id: new.pop_id,
            node_id: new.node_id,
            owner: new.owner,
            attachment: new.attachment,
            vlan_range: new.vlan_range.unwrap_or(whole),
            capacity_mbps: new.capacity_mbps,
            enabled: new.enabled,
            created_at: unit.now,
            updated_at: unit.now,
        };
        if Reader::port(&mut unit, port.id).await?.is_some() {
            return Err(exists(PORT, port.id));
        }
        unit.put_port(&port).await?;
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
        port.node_id = change.node_id.unwrap_or(port.node_id);
        port.attachment = change.attachment.unwrap_or(port.attachment);
        port.vlan_range = change.vlan_range.unwrap_or(port.vlan_range);
        port.capacity_mbps = change.capacity_mbps.unwrap_or(port.capacity_mbps);
        port.enabled = change.enabled.unwrap_or(port.enabled);
        port.updated_at = unit.now;
        unit.put_port(&port).await?;
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
        unit.drop_object(CatalogueKind::Port, id.0).await?;
        unit.finish("delete", PORT, id, &gone(&port)).await
    }
}
