//! What tenants can order links from: PoPs, partners, their own dedicated connections, and the sizes that have room.

use std::cmp::Ordering;

use causeway_model::command::{DedicatedConnectionFilter, ListQuery, OrderField, Page, PartnerFilter, PopFilter};
use causeway_model::resource::{Caller, DedicatedConnection, LinkBandwidth, Partner, Pop, Port, PortOwner, Role};
use causeway_model::status::DedicatedConnectionStatus;
use causeway_model::view::{DedicatedConnectionView, PopView};
use causeway_model::{DedicatedConnectionId, PartnerId, PopId};
use causeway_store::{NodeRecord, Reader};

use super::place::{Loads, node_of};
use super::{DEDICATED, PARTNER, POP, missing};
use crate::access::Intent::Read;
use crate::access::{checked, denied, paging, scope};
use crate::{Controller, Result};

/// The catalogue as it is at one moment.
pub(super) struct Stock {
    pub(super) pops: Vec<Pop>,
    pub(super) partners: Vec<Partner>,
    pub(super) dedicated: Vec<DedicatedConnection>,
    pub(super) ports: Vec<Port>,
    pub(super) sizes: Vec<LinkBandwidth>,
    pub(super) nodes: Vec<NodeRecord>,
    loads: Loads,
}

impl Stock {
    pub(super) async fn read(reader: &mut Reader) -> Result<Self> {
        Ok(Self {
            pops: reader.pops().await?,
            partners: reader.partners().await?,
            dedicated: reader.all_dedicated_connections().await?,
            ports: reader.ports().await?,
            sizes: reader.link_bandwidths().await?,
            nodes: reader.nodes().await?,
            loads: Loads::read(reader).await?,
        })
    }

    fn connection(&self, port: &Port) -> Option<&DedicatedConnection> {
        match port.owner {
            PortOwner::DedicatedConnection(id) => self.dedicated.iter().find(|connection| connection.id == id),
            PortOwner::Partner(_) => None,
        }
    }

    /// Whether orders of the caller may go to `port`: a partner's port is everybody's, a dedicated connection's its tenant's.
    fn is_open(&self, caller: &Caller, port: &Port) -> bool {
        match port.owner {
            PortOwner::Partner(_) => true,
            PortOwner::DedicatedConnection(_) => {
                self.connection(port).is_some_and(|connection| caller.owns(connection.meta.project_id))
            }
        }
    }

    /// Whether orders can go to `port` as things are, room or not.
    fn is_usable(&self, port: &Port) -> bool {
        let active = |own: &DedicatedConnection| own.status() == DedicatedConnectionStatus::Active;
        let here = port.enabled && node_of(port, &self.nodes).is_ok();
        here && (matches!(port.owner, PortOwner::Partner(_)) || self.connection(port).is_some_and(active))
    }

    /// Sizes on offer at a PoP that have a price.
    fn offered<'a>(&'a self, pop: &'a Pop) -> impl Iterator<Item = u64> + 'a {
        let priced = |size: &u64| self.sizes.iter().any(|priced| priced.bandwidth_mbps == *size);
        pop.link_bandwidths_mbps.iter().copied().filter(priced)
    }

    /// Those of them of which one more link has room on one of `ports`.
    fn available<'a>(&self, pop: &Pop, ports: impl Iterator<Item = &'a Port>) -> Vec<u64> {
        let ports = ports.filter(|port| port.pop_id == pop.id && self.is_usable(port));
        let most = ports.map(|port| self.loads.free(pop, port, self.connection(port))).max().unwrap_or(0);
        self.offered(pop).filter(|size| *size <= most).collect()
    }

    fn passes(&self, caller: &Caller, pop: &Pop, filter: &PopFilter) -> bool {
        let here = self.ports.iter().filter(|port| port.pop_id == pop.id && self.is_usable(port));
        let here: Vec<&Port> = here.filter(|port| self.is_open(caller, port)).collect();
        let l3 = |port: &&&Port| match port.owner {
            PortOwner::Partner(id) => self.partners.iter().any(|partner| partner.id == id && partner.l3_connectivity),
            PortOwner::DedicatedConnection(_) => false,
        };
        let dedicated = |port: &&&Port| matches!(port.owner, PortOwner::DedicatedConnection(_));
        let provider = filter.hosting_provider_name.as_ref().map(|name| name.to_lowercase());
        provider.is_none_or(|name| pop.hosting_provider_name.to_lowercase().contains(&name))
            && filter.partner_id.is_none_or(|id| here.iter().any(|port| port.owner == PortOwner::Partner(id)))
            && filter.link_bandwidth_mbps.is_none_or(|size| {
                let fits = |port: &&Port| {
                    let own = self.connection(port).map_or(u64::MAX, |connection| connection.bandwidth_mbps);
                    port.capacity_mbps.min(own) >= size
                };
                self.offered(pop).any(|offered| offered == size) && here.iter().any(fits)
            })
            && filter.dedicated_available.is_none_or(|wanted| here.iter().any(|port| dedicated(&port)) == wanted)
            && filter.l3_connectivity_partners.is_none_or(|wanted| here.iter().any(|port| l3(&port)) == wanted)
    }
}

/// The page of `items` in the order of their names, leading punctuation ignored (wire-api.md §1.8), or in that of their being added.
pub(super) fn page_by_name<T>(mut items: Vec<T>, list: &ListQuery, name: impl Fn(&T) -> &str) -> Page<T> {
    if let Some(part) = list.name.as_ref().map(|part| part.to_lowercase()) {
        items.retain(|item| name(item).to_lowercase().contains(&part));
    }
    let sort = |text: &str| {
        let folded = text.to_lowercase();
        let trimmed = folded.trim_start_matches(|letter: char| !letter.is_alphanumeric());
        if trimmed.is_empty() { folded.clone() } else { trimmed.to_owned() }
    };
    let order = |a: &T, b: &T| match list.order {
        OrderField::Name => sort(name(a)).cmp(&sort(name(b))),
        _ => Ordering::Equal,
    };
    items.sort_by(order);
    if list.descending {
        items.reverse();
    }
    let total = items.len() as u64;
    let (page, size) = (list.page as usize, list.page_size as usize);
    Page { items: items.into_iter().skip((page - 1).saturating_mul(size)).take(size).collect(), total }
}

/// The catalogue is for everybody who can order, look after orders, or be ordered from.
fn may_look(caller: &Caller, resource: &str) -> Result<()> {
    if caller.role == Role::Node { Err(denied("read", resource)) } else { Ok(()) }
}

impl Controller {
    /// A page of PoPs, each with the sizes that have room.
    ///
    /// # Errors
    /// [`PermissionsDenied`](causeway_model::Error::PermissionsDenied), or if the paging is out of bounds.
    pub async fn list_pops(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: &PopFilter,
    ) -> Result<Page<PopView>> {
        self.in_region(region)?;
        may_look(caller, POP)?;
        paging(list)?;
        let stock = Stock::read(&mut self.read().await?).await?;
        let found = stock.pops.iter().filter(|pop| stock.passes(caller, pop, filter));
        let views = found.map(|pop| PopView {
            pop: pop.clone(),
            available_link_bandwidths_mbps: {
                let open = stock.ports.iter().filter(|port| stock.is_open(caller, port));
                stock.available(pop, open)
            },
        });
        Ok(page_by_name(views.collect(), list, |view| &view.pop.name))
    }

    /// A PoP with all sizes on offer there.
    ///
    /// # Errors
    /// [`PermissionsDenied`](causeway_model::Error::PermissionsDenied), [`NotFound`](causeway_model::Error::NotFound).
    pub async fn pop(&self, caller: &Caller, region: &str, id: PopId) -> Result<PopView> {
        self.in_region(region)?;
        may_look(caller, POP)?;
        let stock = Stock::read(&mut self.read().await?).await?;
        let pop = stock.pops.iter().find(|pop| pop.id == id).ok_or_else(|| missing(POP, id))?;
        Ok(PopView { pop: pop.clone(), available_link_bandwidths_mbps: stock.offered(pop).collect() })
    }

    /// A page of partners.
    ///
    /// # Errors
    /// [`PermissionsDenied`](causeway_model::Error::PermissionsDenied), or if the paging is out of bounds.
    pub async fn list_partners(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: &PartnerFilter,
    ) -> Result<Page<Partner>> {
        self.in_region(region)?;
        may_look(caller, PARTNER)?;
        paging(list)?;
        let mut reader = self.read().await?;
        let (mut partners, ports) = (reader.partners().await?, reader.ports().await?);
        partners.retain(|partner| {
            let own = |port: &Port| port.enabled && port.owner == PortOwner::Partner(partner.id);
            let at = |port: &Port| own(port) && filter.pop_ids.contains(&port.pop_id);
            (filter.pop_ids.is_empty() || ports.iter().any(at))
                && filter.l3_connectivity.is_none_or(|wanted| partner.l3_connectivity == wanted)
        });
        Ok(page_by_name(partners, list, |partner| &partner.name))
    }

    /// A partner.
    ///
    /// # Errors
    /// [`PermissionsDenied`](causeway_model::Error::PermissionsDenied), [`NotFound`](causeway_model::Error::NotFound).
    pub async fn partner(&self, caller: &Caller, region: &str, id: PartnerId) -> Result<Partner> {
        self.in_region(region)?;
        may_look(caller, PARTNER)?;
        self.read().await?.partner(id).await?.ok_or_else(|| missing(PARTNER, id))
    }

    /// A page of dedicated connections.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_dedicated_connections(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: &DedicatedConnectionFilter,
    ) -> Result<Page<DedicatedConnectionView>> {
        self.in_region(region)?;
        paging(list)?;
        let mut reader = self.read().await?;
        let (connections, total) = reader.dedicated_connections(region, scope(caller), list, filter).await?;
        let stock = Stock::read(&mut reader).await?;
        let items = connections.into_iter().map(|connection| dedicated_view(&stock, connection));
        Ok(Page { items: items.collect(), total })
    }

    /// A dedicated connection.
    ///
    /// # Errors
    /// [`NotFound`](causeway_model::Error::NotFound).
    pub async fn dedicated_connection(
        &self,
        caller: &Caller,
        region: &str,
        id: DedicatedConnectionId,
    ) -> Result<DedicatedConnectionView> {
        self.in_region(region)?;
        let mut reader = self.read().await?;
        let found = reader.dedicated_connection(id).await?;
        let connection = checked(caller, Read, found, |connection| connection.meta.project_id, DEDICATED, id)?;
        Ok(dedicated_view(&Stock::read(&mut reader).await?, connection))
    }
}

pub(super) fn dedicated_view(stock: &Stock, connection: DedicatedConnection) -> DedicatedConnectionView {
    let owner = PortOwner::DedicatedConnection(connection.id);
    let pop = stock.pops.iter().find(|pop| pop.id == connection.pop_id);
    let sizes = pop.map(|pop| stock.available(pop, stock.ports.iter().filter(|port| port.owner == owner)));
    DedicatedConnectionView { connection, available_link_bandwidths: sizes.unwrap_or_default() }
}
