//! The whole catalogue as one file says it: what differs, and all of it at once or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use causeway_model::command::{CatalogueFile, FiledConnection, FiledPort, NewPartner, NewPop};
use causeway_model::error::ArgumentReason::Constraint;
use causeway_model::error::{ArgumentError, ArgumentErrors};
use causeway_model::resource::{Caller, DedicatedConnection, LinkBandwidth, Partner, Pop, Port, PortOwner, VLANS};
use causeway_model::{DedicatedConnectionId, Error, PartnerId, PopId, PortId};
use causeway_store::{CatalogueKind, NodeRecord};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::put::{BANDWIDTH, sorted};
use super::stock::Stock;
use super::{DEDICATED, PARTNER, POP, PORT};
use crate::access::operator;
use crate::audit;
use crate::unit::Unit;
use crate::{Controller, Result};

/// What becomes of an object of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueDifference {
    /// `link_bandwidth`, `pop`, `partner`, `dedicated_connection` or `port`.
    pub kind: &'static str,
    /// Its id; of a size, its Mbit/s.
    pub id: String,
    /// Its name; of a size, its Mbit/s.
    pub name: String,
    /// `create`, `update` or `delete`.
    pub change: &'static str,
    /// The fields that differ, as they are; empty for what is new.
    pub before: Map<String, Value>,
    /// The fields that differ, as they will be; empty for what goes.
    pub after: Map<String, Value>,
}

/// Names the object that an error is about.
fn about(kind: &str, name: &str, error: Error) -> Error {
    match error {
        Error::InvalidArguments(arguments) => {
            let named = arguments
                .into_iter()
                .map(|argument| ArgumentError { name: format!("{kind}[{name}].{}", argument.name), ..argument });
            Error::InvalidArguments(named.collect())
        }
        Error::PreconditionFailed { precondition, help } => {
            Error::PreconditionFailed { precondition, help: format!("{kind} {name}: {help}") }
        }
        Error::AlreadyExists { resource, id, help } => {
            Error::AlreadyExists { resource, id, help: format!("{kind} {name}: {help}") }
        }
        other => other,
    }
}

/// The object that the file means: the one with its id, or else with its name.
fn meant<'a, T>(
    all: &'a [T],
    kind: &str,
    id: Option<Uuid>,
    name: &str,
    of: impl Fn(&T) -> (Uuid, &str),
) -> Result<Option<&'a T>> {
    if let Some(id) = id {
        return Ok(all.iter().find(|known| of(known).0 == id));
    }
    let mut named = all.iter().filter(|known| of(known).1 == name);
    match (named.next(), named.next()) {
        (found, None) => Ok(found),
        (_, Some(_)) => Err(Error::constraint(format!("{kind}[{name}].id"), "several have this name; give the id")),
    }
}

/// The id of what a port or a connection refers to by id or by name.
fn referred<T, I: FromStr + From<Uuid>>(
    all: &[T],
    field: String,
    text: &str,
    of: impl Fn(&T) -> (Uuid, &str),
) -> Result<I> {
    if let Ok(id) = text.parse::<I>() {
        return Ok(id);
    }
    let named: Vec<Uuid> = all.iter().map(&of).filter(|(_, name)| *name == text).map(|(id, _)| id).collect();
    match named.as_slice() {
        [id] => Ok(I::from(*id)),
        [] => Err(Error::constraint(field, format!("`{text}` is neither an id nor a name that there is"))),
        _ => Err(Error::constraint(field, format!("several are called `{text}`; give the id"))),
    }
}

/// Refuses a file that names an object twice.
fn check_names(file: &CatalogueFile) -> Result<()> {
    let mut errors = ArgumentErrors::new();
    let mut once = |kind: &str, objects: Vec<(Option<Uuid>, &str)>| {
        let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
        for (id, name) in objects {
            let again = match id {
                Some(id) => !ids.insert(id),
                None => !names.insert(name),
            };
            if again {
                errors.push(format!("{kind}[{name}]"), Constraint, "is there twice");
            }
        }
    };
    let pops = file.pops.iter().flatten().map(|pop| (pop.id.map(|id| id.0), pop.fields.name.as_str()));
    once(POP, pops.collect());
    let partners = file.partners.iter().flatten();
    once(PARTNER, partners.map(|partner| (partner.id.map(|id| id.0), partner.fields.name.as_str())).collect());
    let connections = file.dedicated_connections.iter().flatten();
    once(DEDICATED, connections.map(|known| (known.id.map(|id| id.0), known.meta.name.as_str())).collect());
    let ports = file.ports.iter().flatten().map(|port| (port.id.map(|id| id.0), port.name.as_str()));
    once(PORT, ports.collect());
    let sizes: Vec<String> =
        file.link_bandwidths.iter().flatten().map(|size| size.bandwidth_mbps.to_string()).collect();
    once(BANDWIDTH, sizes.iter().map(|size| (None, size.as_str())).collect());
    errors.finish()
}

/// What was done to the catalogue so far.
#[derive(Default)]
struct Differences(Vec<CatalogueDifference>);

impl Differences {
    fn push<T: Serialize>(
        &mut self,
        kind: &'static str,
        id: impl Display,
        name: &str,
        old: Option<&T>,
        new: Option<&T>,
    ) {
        let change = match (old, new) {
            (None, _) => "create",
            (Some(_), Some(_)) => "update",
            (Some(_), None) => "delete",
        };
        let (before, after) = audit::difference(old, new);
        self.0.push(CatalogueDifference { kind, id: id.to_string(), name: name.to_owned(), change, before, after });
    }
}

fn pop_of(new: &NewPop, id: PopId, region: &str) -> Pop {
    let fields = new.fields.clone();
    Pop {
        id,
        region: region.to_owned(),
        name: fields.name,
        display_name: fields.display_name,
        city: fields.city,
        address: fields.address,
        hosting_provider_name: fields.hosting_provider_name,
        logo_url: fields.logo_url,
        link_bandwidths_mbps: sorted(fields.link_bandwidths_mbps),
        capacity_mbps: fields.capacity_mbps,
    }
}

impl Unit<'_> {
    /// Removes what the parts of the file that are there do not name; sizes go last, when no PoP has them any more.
    async fn drop_unnamed(&mut self, file: &CatalogueFile, stock: &Stock, done: &mut Differences) -> Result<()> {
        let named = |ids: &[Option<Uuid>], names: &[&str], id: Uuid, name: &str| {
            ids.contains(&Some(id)) || ids.iter().zip(names).any(|(id, known)| id.is_none() && *known == name)
        };
        if let Some(ports) = &file.ports {
            let ids: Vec<_> = ports.iter().map(|port| port.id.map(|id| id.0)).collect();
            let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
            for port in stock.ports.iter().filter(|port| !named(&ids, &names, port.id.0, &port.name)) {
                let dropped = self.drop_object(CatalogueKind::Port, port.id.0).await;
                dropped.map_err(|error| about(PORT, &port.name, error))?;
                done.push(PORT, port.id, &port.name, Some(port), None);
            }
        }
        if let Some(connections) = &file.dedicated_connections {
            let ids: Vec<_> = connections.iter().map(|connection| connection.id.map(|id| id.0)).collect();
            let names: Vec<&str> = connections.iter().map(|connection| connection.meta.name.as_str()).collect();
            for known in &stock.dedicated {
                let name = &known.meta.name;
                if !named(&ids, &names, known.id.0, name) {
                    let dropped = self.drop_object(CatalogueKind::DedicatedConnection, known.id.0).await;
                    dropped.map_err(|error| about(DEDICATED, name, error))?;
                    done.push(DEDICATED, known.id, name, Some(known), None);
                }
            }
        }
        if let Some(partners) = &file.partners {
            let ids: Vec<_> = partners.iter().map(|partner| partner.id.map(|id| id.0)).collect();
            let names: Vec<&str> = partners.iter().map(|partner| partner.fields.name.as_str()).collect();
            for known in stock.partners.iter().filter(|known| !named(&ids, &names, known.id.0, &known.name)) {
                let dropped = self.drop_object(CatalogueKind::Partner, known.id.0).await;
                dropped.map_err(|error| about(PARTNER, &known.name, error))?;
                done.push(PARTNER, known.id, &known.name, Some(known), None);
            }
        }
        if let Some(pops) = &file.pops {
            let ids: Vec<_> = pops.iter().map(|pop| pop.id.map(|id| id.0)).collect();
            let names: Vec<&str> = pops.iter().map(|pop| pop.fields.name.as_str()).collect();
            for known in stock.pops.iter().filter(|known| !named(&ids, &names, known.id.0, &known.name)) {
                let dropped = self.drop_object(CatalogueKind::Pop, known.id.0).await;
                dropped.map_err(|error| about(POP, &known.name, error))?;
                done.push(POP, known.id, &known.name, Some(known), None);
            }
        }
        Ok(())
    }

    async fn file_pop(&mut self, new: &NewPop, stock: &Stock, done: &mut Differences) -> Result<()> {
        let name = &new.fields.name;
        let before = meant(&stock.pops, POP, new.id.map(|id| id.0), name, |pop| (pop.id.0, &pop.name))?;
        let id = before.map(|pop| pop.id).or(new.id).unwrap_or_else(PopId::random);
        let pop = pop_of(new, id, self.controller.region());
        if before != Some(&pop) {
            self.put_pop(&pop).await.map_err(|error| about(POP, name, error))?;
            done.push(POP, id, name, before, Some(&pop));
        }
        Ok(())
    }

    async fn file_partner(&mut self, new: &NewPartner, stock: &Stock, done: &mut Differences) -> Result<()> {
        let name = &new.fields.name;
        let before =
            meant(&stock.partners, PARTNER, new.id.map(|id| id.0), name, |partner| (partner.id.0, &partner.name))?;
        let id = before.map(|partner| partner.id).or(new.id).unwrap_or_else(PartnerId::random);
        let fields = new.fields.clone();
        let mut partner = Partner {
            id,
            region: self.controller.region().to_owned(),
            name: fields.name,
            contact_email: fields.contact_email,
            logo_url: fields.logo_url,
            portal_url: fields.portal_url,
            asn: fields.asn,
            l3_connectivity: fields.l3_connectivity,
            notify: fields.notify,
            created_at: before.map_or(self.now, |before| before.created_at),
            updated_at: before.map_or(self.now, |before| before.updated_at),
        };
        if before != Some(&partner) {
            partner.updated_at = self.now;
            self.put_partner(&partner).await.map_err(|error| about(PARTNER, name, error))?;
            done.push(PARTNER, id, name, before, Some(&partner));
        }
        Ok(())
    }

    async fn file_connection(&mut self, new: &FiledConnection, stock: &Stock, done: &mut Differences) -> Result<()> {
        let name = &new.meta.name;
        let of = |known: &DedicatedConnection| known.id.0;
        let id = new.id.map(|id| id.0);
        let before = meant(&stock.dedicated, DEDICATED, id, name, |known| (of(known), &known.meta.name))?;
        let project = self.project(new.meta.project_id, DEDICATED).await?;
        let pops = self.pops().await?;
        let field = format!("{DEDICATED}[{name}].pop");
        let pop_id: PopId = referred(&pops, field, &new.pop, |pop: &Pop| (pop.id.0, &pop.name))?;
        if let Some(before) = before.filter(|before| before.pop_id != pop_id || before.meta.project_id != project.id) {
            let help =
                format!("it is at {} and of project {}; that cannot change", before.pop_id, before.meta.project_id);
            return Err(Error::constraint(format!("{DEDICATED}[{name}]"), help));
        }
        let mut meta = self.meta(&project, new.meta.clone());
        if let Some(before) = before {
            (meta.created_at, meta.updated_at) = (before.meta.created_at, before.meta.updated_at);
        }
        let mut connection = DedicatedConnection {
            id: before.map(|known| known.id).or(new.id).unwrap_or_else(DedicatedConnectionId::random),
            meta,
            pop_id,
            bandwidth_mbps: new.bandwidth_mbps,
            demarcation_info: new.demarcation_info.clone(),
            vlan_range: new.vlan_range.unwrap_or(VLANS),
            state: new.state,
            locked: before.is_some_and(|before| before.locked),
        };
        if before != Some(&connection) {
            connection.meta.updated_at = self.now;
            self.write_dedicated(&connection).await.map_err(|error| about(DEDICATED, name, error))?;
            done.push(DEDICATED, connection.id, name, before, Some(&connection));
        }
        Ok(())
    }

    async fn file_port(&mut self, new: &FiledPort, stock: &Stock, done: &mut Differences) -> Result<()> {
        let name = &new.name;
        let before = meant(&stock.ports, PORT, new.id.map(|id| id.0), name, |port| (port.id.0, &port.name))?;
        let (pops, partners) = (self.pops().await?, self.partners().await?);
        let field = |field: &str| format!("{PORT}[{name}].{field}");
        let pop_id: PopId = referred(&pops, field("pop"), &new.pop, |pop: &Pop| (pop.id.0, &pop.name))?;
        let (owner, whole) = match (&new.partner, &new.dedicated_connection) {
            (Some(text), None) => {
                let id =
                    referred(&partners, field("partner"), text, |partner: &Partner| (partner.id.0, &partner.name))?;
                (PortOwner::Partner(id), VLANS)
            }
            (None, Some(text)) => {
                let all = self.all_dedicated_connections().await?;
                let of = |known: &DedicatedConnection| known.id.0;
                let id: DedicatedConnectionId =
                    referred(&all, field("dedicated_connection"), text, |known| (of(known), &known.meta.name))?;
                (PortOwner::DedicatedConnection(id), self.known_dedicated(id).await?.vlan_range)
            }
            _ => return Err(Error::constraint(field("partner"), "give either `partner` or `dedicated_connection`")),
        };
        if before.is_some_and(|before| before.owner != owner || before.pop_id != pop_id) {
            let help = "where a port is and whose it is stays; make another one";
            return Err(Error::constraint(format!("{PORT}[{name}]"), help));
        }
        let node_id = match &new.node {
            Some(text) => {
                Some(referred(&stock.nodes, field("node"), text, |node: &NodeRecord| (node.id.0, &node.name))?)
            }
            None => None,
        };
        let mut port = Port {
            id: before.map(|port| port.id).or(new.id).unwrap_or_else(PortId::random),
            region: self.controller.region().to_owned(),
            name: name.clone(),
            pop_id,
            node_id,
            owner,
            attachment: new.attachment.clone(),
            vlan_range: new.vlan_range.unwrap_or(whole),
            capacity_mbps: new.capacity_mbps,
            enabled: new.enabled,
            created_at: before.map_or(self.now, |before| before.created_at),
            updated_at: before.map_or(self.now, |before| before.updated_at),
        };
        if before != Some(&port) {
            port.updated_at = self.now;
            self.write_port(&port).await.map_err(|error| about(PORT, name, error))?;
            done.push(PORT, port.id, name, before, Some(&port));
        }
        Ok(())
    }

    /// What ports, connections and interfaces are to each other, when all of them are as the file says: one may take what another leaves.
    async fn fit_together(&mut self, before: &Stock) -> Result<()> {
        for connection in self.all_dedicated_connections().await? {
            let fits = self.holds_its_port(&connection).await;
            fits.map_err(|error| about(DEDICATED, &connection.meta.name, error))?;
        }
        for port in self.ports().await?.iter().filter(|port| !before.ports.contains(port)) {
            self.has_its_wire(port).await.map_err(|error| about(PORT, &port.name, error))?;
        }
        Ok(())
    }

    async fn file_sizes(&mut self, sizes: &[LinkBandwidth], stock: &Stock, done: &mut Differences) -> Result<()> {
        for size in sizes {
            let mbps = size.bandwidth_mbps.to_string();
            let before = stock.sizes.iter().find(|known| known.bandwidth_mbps == size.bandwidth_mbps);
            if before != Some(size) {
                self.put_size(*size).await.map_err(|error| about(BANDWIDTH, &mbps, error))?;
                done.push(BANDWIDTH, &mbps, &mbps, before, Some(size));
            }
        }
        Ok(())
    }
}

impl Controller {
    /// Makes the catalogue what a file says, all of it or nothing; `dry_run`: only says what would differ, with every check that would be
    /// made. Operators only. A part that the file does not have stays; of one that it has, what is not named goes.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::InvalidArguments`], [`Error::NotFound`], [`Error::AlreadyExists`],
    /// [`Error::PreconditionFailed`].
    pub async fn apply_catalogue(
        &self,
        caller: &Caller,
        file: &CatalogueFile,
        dry_run: bool,
    ) -> Result<Vec<CatalogueDifference>> {
        operator(caller, "write", "catalogue")?;
        let mut unit = self.unit(caller, self.region()).await?;
        check_names(file)?;
        let stock = Stock::read(&mut unit).await?;
        let mut done = Differences::default();
        unit.drop_unnamed(file, &stock, &mut done).await?;
        unit.file_sizes(file.link_bandwidths.as_deref().unwrap_or_default(), &stock, &mut done).await?;
        for pop in file.pops.iter().flatten() {
            unit.file_pop(pop, &stock, &mut done).await?;
        }
        for partner in file.partners.iter().flatten() {
            unit.file_partner(partner, &stock, &mut done).await?;
        }
        for connection in file.dedicated_connections.iter().flatten() {
            unit.file_connection(connection, &stock, &mut done).await?;
        }
        for port in file.ports.iter().flatten() {
            unit.file_port(port, &stock, &mut done).await?;
        }
        unit.fit_together(&stock).await?;
        if let Some(sizes) = &file.link_bandwidths {
            let unnamed =
                |known: &&LinkBandwidth| !sizes.iter().any(|size| size.bandwidth_mbps == known.bandwidth_mbps);
            for size in stock.sizes.iter().filter(unnamed) {
                let mbps = size.bandwidth_mbps.to_string();
                let dropped = unit.drop_size(size.bandwidth_mbps).await;
                dropped.map_err(|error| about(BANDWIDTH, &mbps, error))?;
                done.push(BANDWIDTH, &mbps, &mbps, Some(size), None);
            }
        }
        let done = done.0;
        if dry_run {
            return Ok(done);
        }
        let now = unit.now;
        for difference in &done {
            let text = |fields: &Map<String, Value>| Value::Object(fields.clone()).to_string();
            let details = BTreeMap::from([
                ("before".to_owned(), text(&difference.before)),
                ("after".to_owned(), text(&difference.after)),
            ]);
            unit.record(caller, None, now, difference.change, difference.kind, &difference.id, &details).await?;
        }
        if !done.is_empty() {
            let details = [("differences", done.len().to_string())];
            unit.finish("apply", "catalogue", self.region(), &details).await?;
        }
        Ok(done)
    }
}
