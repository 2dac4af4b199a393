//! What the operator has on offer: gateway types with their prices, zones, and the zones' public addresses.

use causeway_model::Error;
use causeway_model::command::GatewayTypeChange;
use causeway_model::error::ArgumentErrors;
use causeway_model::error::ArgumentReason::{Constraint, Format, Required};
use causeway_model::resource::{Caller, GatewayType};
use causeway_store::Reader;
use ipnet::IpNet;
use serde::Serialize;
use serde_json::json;

use crate::access::operator;
use crate::address::overlap;
use crate::unit::Unit;
use crate::{Controller, Result, audit};

const TYPE: &str = "gateway_type";
const ZONE: &str = "zone";
const POOL: &str = "public_pool";

/// Characters of a name at most.
const MAX_NAME: usize = 63;

/// A gateway type and what it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayTypeOffer {
    /// The type.
    pub gateway_type: GatewayType,
    /// Millionths of the currency.
    pub price_per_hour: u64,
}

/// A zone and its public prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Name.
    pub name: String,
    /// Region.
    pub region: String,
    /// Prefixes, in the order in which they are used.
    pub pools: Vec<IpNet>,
}

/// A prefix of a zone's public addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicPool {
    /// The zone.
    pub zone: String,
    /// The prefix.
    pub prefix: IpNet,
    /// Addresses of it in use.
    pub used: u64,
}

fn in_use(help: String) -> Error {
    Error::PreconditionFailed { precondition: "resource_still_in_use", help }
}

fn missing(resource: &'static str, id: impl ToString) -> Error {
    Error::NotFound { resource, id: id.to_string() }
}

fn check_name(name: &str, errors: &mut ArgumentErrors) {
    if name.is_empty() {
        errors.push("name", Required, "give a name");
    } else if name.len() > MAX_NAME || !name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-') {
        errors.push("name", Format, format!("1 to {MAX_NAME} letters, digits and hyphens"));
    }
}

fn check_type(offer: &GatewayTypeOffer, zones: &[String], errors: &mut ArgumentErrors) {
    let gateway_type = &offer.gateway_type;
    check_name(&gateway_type.name, errors);
    if gateway_type.bandwidth == 0 || i64::try_from(gateway_type.bandwidth).is_err() {
        errors.push("bandwidth", Constraint, "bits per second, at least 1");
    }
    if gateway_type.allowed_connections == 0 {
        errors.push("allowed_connections", Constraint, "at least 1");
    }
    if i64::try_from(offer.price_per_hour).is_err() {
        errors.push("price_per_hour", Constraint, "too large");
    }
    if let Some(unknown) = gateway_type.zones.iter().find(|zone| !zones.contains(zone)) {
        errors.push("zones", Constraint, format!("`{unknown}` is not one of: {}", zones.join(", ")));
    }
}

/// Public prefixes have to hold addresses that a device can reach, and be small enough to be searched.
fn check_pool(prefix: &IpNet, others: &[(String, IpNet)], errors: &mut ArgumentErrors) {
    let address = prefix.network();
    if *prefix != prefix.trunc() {
        errors.push("prefix", Constraint, format!("has host bits; did you mean {}?", prefix.trunc()));
    } else if address.is_loopback() || address.is_multicast() || address.is_unspecified() {
        errors.push("prefix", Constraint, "not addresses that a device can be reached at");
    } else if prefix.max_prefix_len() - prefix.prefix_len() < 2 {
        errors.push(
            "prefix",
            Constraint,
            "holds no address to hand out: the first, its router's and the last are kept",
        );
    } else if matches!(prefix, IpNet::V4(net) if net.prefix_len() < 8)
        || matches!(prefix, IpNet::V6(net) if net.prefix_len() < 32)
    {
        errors.push("prefix", Constraint, "too large: at most a /8 of IPv4 or a /32 of IPv6");
    } else if let Some((zone, other)) = others.iter().find(|(_, other)| overlap(other, prefix)) {
        errors.push("prefix", Constraint, format!("overlaps {other} of zone {zone}"));
    }
}

pub(crate) async fn pools(reader: &mut Reader) -> Result<Vec<(String, IpNet)>> {
    let mut pools = Vec::new();
    for zone in reader.zones().await? {
        let prefixes = reader.public_pools(&zone).await?;
        pools.extend(prefixes.into_iter().map(|prefix| (zone.clone(), prefix)));
    }
    Ok(pools)
}

/// A gateway type of the catalogue.
pub(crate) async fn gateway_type(reader: &mut Reader, region: &str, name: &str) -> Result<Option<GatewayType>> {
    Ok(reader.gateway_types(region).await?.into_iter().find(|gateway_type| gateway_type.name == name))
}

impl Unit<'_> {
    async fn offer(&mut self, name: &str) -> Result<GatewayTypeOffer> {
        let region = self.controller.region();
        let gateway_type = gateway_type(self, region, name).await?.ok_or_else(|| missing(TYPE, name))?;
        let price_per_hour = self.gateway_type_price(name).await?.unwrap_or_default();
        Ok(GatewayTypeOffer { gateway_type, price_per_hour })
    }

    async fn known_zone(&mut self, zone: &str) -> Result<()> {
        if self.zones().await?.iter().any(|known| known == zone) { Ok(()) } else { Err(missing(ZONE, zone)) }
    }
}

impl Controller {
    /// What prices are in (ISO 4217).
    #[must_use]
    pub const fn currency(&self) -> &'static str {
        "EUR"
    }

    /// The zones, the preferred one first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn zones(&self) -> Result<Vec<String>> {
        Ok(self.read().await?.zones().await?)
    }

    /// The gateway types with their prices; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn gateway_type_offers(&self, caller: &Caller, region: &str) -> Result<Vec<GatewayTypeOffer>> {
        operator(caller, "read", TYPE)?;
        self.in_region(region)?;
        let mut reader = self.read().await?;
        let mut offers = Vec::new();
        for gateway_type in reader.gateway_types(region).await? {
            let price_per_hour = reader.gateway_type_price(&gateway_type.name).await?.unwrap_or_default();
            offers.push(GatewayTypeOffer { gateway_type, price_per_hour });
        }
        Ok(offers)
    }

    /// Adds a gateway type; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::InvalidArguments`], [`Error::AlreadyExists`].
    pub async fn create_gateway_type(
        &self,
        caller: &Caller,
        region: &str,
        mut offer: GatewayTypeOffer,
    ) -> Result<GatewayTypeOffer> {
        operator(caller, "write", TYPE)?;
        let mut unit = self.unit(caller, region).await?;
        region.clone_into(&mut offer.gateway_type.region);
        offer.gateway_type.zones.sort_unstable();
        offer.gateway_type.zones.dedup();
        let mut errors = ArgumentErrors::new();
        check_type(&offer, &unit.zones().await?, &mut errors);
        errors.finish()?;
        let name = offer.gateway_type.name.clone();
        if gateway_type(&mut unit, region, &name).await?.is_some() {
            let help = "choose another name, or update it".to_owned();
            return Err(Error::AlreadyExists { resource: TYPE, id: name, help });
        }
        unit.append_gateway_type(&offer.gateway_type).await?;
        unit.set_gateway_type_price(&name, offer.price_per_hour).await?;
        let made = unit.offer(&name).await?;
        unit.finish("create", TYPE, name, &audit::made(&made)).await?;
        Ok(made)
    }

    /// Changes a gateway type; operators only. Its gateways get the new bandwidth at once.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn update_gateway_type(
        &self,
        caller: &Caller,
        region: &str,
        name: &str,
        change: GatewayTypeChange,
    ) -> Result<GatewayTypeOffer> {
        operator(caller, "write", TYPE)?;
        let mut unit = self.unit(caller, region).await?;
        let old = unit.offer(name).await?;
        let mut offer = old.clone();
        let gateway_type = &mut offer.gateway_type;
        gateway_type.bandwidth = change.bandwidth.unwrap_or(gateway_type.bandwidth);
        gateway_type.allowed_connections = change.allowed_connections.unwrap_or(gateway_type.allowed_connections);
        if let Some(zones) = change.zones {
            gateway_type.zones = zones;
        }
        offer.price_per_hour = change.price_per_hour.unwrap_or(offer.price_per_hour);
        let mut errors = ArgumentErrors::new();
        check_type(&offer, &unit.zones().await?, &mut errors);
        errors.finish()?;
        unit.set_gateway_type(&offer.gateway_type).await?;
        unit.set_gateway_type_price(name, offer.price_per_hour).await?;
        if offer.gateway_type.bandwidth != old.gateway_type.bandwidth {
            unit.bump_all_nodes().await?;
        }
        let changed = unit.offer(name).await?;
        unit.finish("update", TYPE, name, &audit::changed(&old, &changed)).await?;
        Ok(changed)
    }

    /// Removes a gateway type that no gateway has; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn delete_gateway_type(&self, caller: &Caller, region: &str, name: &str) -> Result<()> {
        operator(caller, "write", TYPE)?;
        let mut unit = self.unit(caller, region).await?;
        let offer = unit.offer(name).await?;
        let gateways = unit.gateways_of_type(name).await?;
        if gateways > 0 {
            return Err(in_use(format!(
                "{gateways} gateways are of this type; take its zones away to stop new orders"
            )));
        }
        unit.delete_gateway_type(name).await?;
        unit.finish("delete", TYPE, name, &audit::gone(&offer)).await
    }

    /// The zones with their public prefixes; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn list_zones(&self, caller: &Caller, region: &str) -> Result<Vec<Zone>> {
        operator(caller, "read", ZONE)?;
        self.in_region(region)?;
        let mut reader = self.read().await?;
        let mut zones = Vec::new();
        for name in reader.zones().await? {
            let pools = reader.public_pools(&name).await?;
            zones.push(Zone { name, region: region.to_owned(), pools });
        }
        Ok(zones)
    }

    /// Adds a zone without public addresses and without gateway types; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::InvalidArguments`], [`Error::AlreadyExists`].
    pub async fn add_zone(&self, caller: &Caller, region: &str, name: &str) -> Result<Zone> {
        operator(caller, "write", ZONE)?;
        let mut unit = self.unit(caller, region).await?;
        let mut errors = ArgumentErrors::new();
        check_name(name, &mut errors);
        errors.finish()?;
        if unit.known_zone(name).await.is_ok() {
            let help = "choose another name".to_owned();
            return Err(Error::AlreadyExists { resource: ZONE, id: name.to_owned(), help });
        }
        unit.append_zone(name, region).await?;
        unit.finish("create", ZONE, name, &audit::made(&json!({"name": name}))).await?;
        Ok(Zone { name: name.to_owned(), region: region.to_owned(), pools: Vec::new() })
    }

    /// Removes a zone that nothing is in, with its pools; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn remove_zone(&self, caller: &Caller, region: &str, name: &str) -> Result<()> {
        operator(caller, "write", ZONE)?;
        let mut unit = self.unit(caller, region).await?;
        unit.known_zone(name).await?;
        let [gateways, nodes, ips] = unit.zone_contents(name).await?;
        if gateways + nodes + ips > 0 {
            return Err(in_use(format!("the zone has {gateways} gateways, {nodes} nodes and {ips} addresses in use")));
        }
        if unit.zones().await?.len() == 1 {
            return Err(in_use("it is the only zone".to_owned()));
        }
        unit.delete_zone(name).await?;
        unit.finish("delete", ZONE, name, &audit::gone(&json!({"name": name}))).await
    }

    /// The public prefixes of one zone or all; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn public_pools(&self, caller: &Caller, region: &str, zone: Option<&str>) -> Result<Vec<PublicPool>> {
        operator(caller, "read", POOL)?;
        self.in_region(region)?;
        let mut reader = self.read().await?;
        let mut all = Vec::new();
        for (name, prefix) in pools(&mut reader).await? {
            if zone.is_none_or(|zone| zone == name) {
                let used = reader.used_in_pool(&prefix).await?;
                all.push(PublicPool { zone: name, prefix, used });
            }
        }
        Ok(all)
    }

    /// Adds a prefix to a zone's public addresses; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn add_public_pool(
        &self,
        caller: &Caller,
        region: &str,
        zone: &str,
        prefix: IpNet,
    ) -> Result<PublicPool> {
        operator(caller, "write", POOL)?;
        let mut unit = self.unit(caller, region).await?;
        unit.known_zone(zone).await?;
        let mut errors = ArgumentErrors::new();
        check_pool(&prefix, &pools(&mut unit).await?, &mut errors);
        errors.finish()?;
        unit.insert_public_pool(zone, &prefix).await?;
        unit.finish("create", POOL, prefix, &audit::made(&json!({"zone": zone}))).await?;
        Ok(PublicPool { zone: zone.to_owned(), prefix, used: 0 })
    }

    /// Takes a prefix from a zone's public addresses, if none of them is in use; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn remove_public_pool(&self, caller: &Caller, region: &str, zone: &str, prefix: IpNet) -> Result<()> {
        operator(caller, "write", POOL)?;
        let mut unit = self.unit(caller, region).await?;
        unit.known_zone(zone).await?;
        if !unit.public_pools(zone).await?.contains(&prefix) {
            return Err(missing(POOL, prefix));
        }
        let used = unit.used_in_pool(&prefix).await?;
        if used > 0 {
            return Err(in_use(format!("{used} addresses of {prefix} are in use")));
        }
        unit.delete_public_pool(zone, &prefix).await?;
        unit.finish("delete", POOL, prefix, &audit::gone(&json!({"zone": zone}))).await
    }
}
