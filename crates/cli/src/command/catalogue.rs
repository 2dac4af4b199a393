//! The operator's catalogue: regions, zones, gateway types, and pools of public addresses.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use crate::client::Target;
use crate::failure::Failure;
use crate::output::{Column, inline, price};
use crate::session::{Api, Kind, Session, set, set_some, text};
use crate::state::bandwidth;
use crate::text::printable;

/// What everybody can order.
const TYPE: Kind =
    Kind { noun: "gateway type", api: Api::S2s, collection: "vpn-gateway-types", list_key: "gateway_types" };
/// The same with prices, to be changed.
const OFFERS: &str = "gateway-types";
const REGIONS: &str = "regions";
const ZONES: &str = "zones";
const POOLS: &str = "public-pools";

const TYPE_COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |gateway_type| text(gateway_type, "/name") },
    Column { title: "BANDWIDTH", cell: |gateway_type| bandwidth(gateway_type.get("bandwidth")) },
    Column { title: "CONNECTIONS", cell: |gateway_type| text(gateway_type, "/allowed_connections") },
    Column { title: "ZONES", cell: |gateway_type| gateway_type.get("zones").map(inline).unwrap_or_default() },
];

const OFFER_COLUMNS: &[Column] = &[
    TYPE_COLUMNS[0],
    TYPE_COLUMNS[1],
    TYPE_COLUMNS[2],
    Column {
        title: "PER HOUR",
        cell: |offer| format!("{} {}", price(offer.get("price_per_hour")), text(offer, "/currency")),
    },
    TYPE_COLUMNS[3],
];

const REGION_COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |region| text(region, "/name") },
    Column { title: "AS", cell: |region| text(region, "/provider_asn") },
    Column { title: "CURRENCY", cell: |region| text(region, "/currency") },
    Column { title: "ZONES", cell: |region| region.get("zones").map(inline).unwrap_or_default() },
];

const ZONE_COLUMNS: &[Column] = &[
    Column { title: "NAME", cell: |zone| text(zone, "/name") },
    Column { title: "REGION", cell: |zone| text(zone, "/region") },
    Column { title: "PUBLIC POOLS", cell: |zone| zone.get("public_pools").map(inline).unwrap_or_default() },
];

const POOL_COLUMNS: &[Column] = &[
    Column { title: "PREFIX", cell: |pool| text(pool, "/prefix") },
    Column { title: "ZONE", cell: |pool| text(pool, "/zone") },
    Column { title: "USED", cell: |pool| text(pool, "/used") },
];

/// What can be done with gateway types.
#[derive(Subcommand)]
pub enum TypeAction {
    /// List gateway types
    List(ListTypes),
    /// Show a gateway type with its price; operators only
    Get(Named),
    /// Add a gateway type; operators only
    Create(CreateType),
    /// Change a gateway type, for gateways ordered from now on; operators only
    Edit(EditType),
    /// Take gateway types out of the catalogue; operators only
    Delete(Several),
}

/// `gateway-type list`
#[derive(Args)]
pub struct ListTypes {
    /// With what they cost; operators only
    #[arg(long)]
    prices: bool,
}

/// Something that is called by its name.
#[derive(Args)]
pub struct Named {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
}

/// Some that are called by their names.
#[derive(Args)]
pub struct Several {
    /// Their names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// `gateway-type create`
#[derive(Args)]
pub struct CreateType {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// Bits per second in each direction, like 100M or 1G
    #[arg(long, value_name = "BITS", value_parser = bits)]
    bandwidth: u64,
    /// Connections of one gateway at most
    #[arg(long, value_name = "NUMBER")]
    connections: u32,
    /// What an hour costs, like 0.05
    #[arg(long, value_name = "PRICE", value_parser = millionths, default_value = "0")]
    price_per_hour: u64,
    /// A zone where it can be ordered; may be given several times [default: every zone]
    #[arg(long = "zone", value_name = "ZONE")]
    zones: Vec<String>,
}

/// `gateway-type edit`
#[derive(Args)]
pub struct EditType {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    changes: TypeChanges,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct TypeChanges {
    /// Bits per second in each direction, like 100M or 1G
    #[arg(long, value_name = "BITS", value_parser = bits)]
    bandwidth: Option<u64>,
    /// Connections of one gateway at most
    #[arg(long, value_name = "NUMBER")]
    connections: Option<u32>,
    /// What an hour costs, like 0.05
    #[arg(long, value_name = "PRICE", value_parser = millionths)]
    price_per_hour: Option<u64>,
    /// The zones where it can be ordered from now on; may be given several times
    #[arg(long = "zone", value_name = "ZONE")]
    zones: Vec<String>,
    /// Let it be ordered nowhere
    #[arg(long, conflicts_with = "zones")]
    no_zones: bool,
}

/// `100M`: bits per second.
pub(super) fn bits(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u64); 3] = [('k', 1_000), ('M', 1_000_000), ('G', 1_000_000_000)];
    let unit = UNITS.into_iter().find_map(|(letter, factor)| Some((text.strip_suffix(letter)?, factor)));
    let (digits, factor) = unit.unwrap_or((text, 1));
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| "expected bits per second, for example 100M or 1G".to_owned())
}

/// `0.05`: millionths of it.
pub(super) fn millionths(text: &str) -> Result<u64, String> {
    const PLACES: usize = 6;
    let wrong = || "expected an amount with at most six decimal places, for example 0.05".to_owned();
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    if !digits(whole) || !digits(places) || places.len() > PLACES {
        return Err(wrong());
    }
    let fraction: u64 = format!("{places:0<PLACES$}").parse().map_err(|_| wrong())?;
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000).and_then(|whole| whole.checked_add(fraction)).ok_or_else(wrong)
}

/// Prints what has this name in one of the operator's lists.
async fn show(session: &mut Session<'_>, collection: &str, name: &str) -> Result<(), Failure> {
    let found = session.get(&session.at(Api::Operator, [collection, name])).await?;
    session.show(&found)
}

/// Prints one of the operator's lists.
pub(super) async fn show_all(
    session: &mut Session<'_>,
    target: Target,
    key: &str,
    columns: &[Column],
) -> Result<(), Failure> {
    let found = session.pages(target, key).await?;
    session.show_list(&key.replace('_', " "), columns, found)
}

/// Deletes what has these names, one after the other.
pub(super) async fn remove(
    session: &mut Session<'_>,
    collection: &str,
    noun: &str,
    names: &[String],
) -> Result<(), Failure> {
    for name in names {
        let answer = session.delete(&session.at(Api::Operator, [collection, name])).await?;
        session.done(&format!("deleted {noun} {}", printable(name)), &answer)?;
    }
    Ok(())
}

impl TypeAction {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::List(ListTypes { prices: true }) => {
                let target = session.at(Api::Operator, [OFFERS]);
                show_all(session, target, TYPE.list_key, OFFER_COLUMNS).await
            }
            Self::List(ListTypes { prices: false }) => {
                let target = session.at(TYPE.api, [TYPE.collection]);
                show_all(session, target, TYPE.list_key, TYPE_COLUMNS).await
            }
            Self::Get(wanted) => show(session, OFFERS, &wanted.name).await,
            Self::Create(new) => {
                let mut body = json!({
                    "name": new.name, "bandwidth": new.bandwidth, "allowed_connections": new.connections,
                    "price_per_hour": new.price_per_hour,
                });
                if !new.zones.is_empty() {
                    set(&mut body, "zones", json!(new.zones));
                }
                let offer = session.send(Method::POST, &session.at(Api::Operator, [OFFERS]), &body).await?;
                session.show(&offer)
            }
            Self::Edit(EditType { name, changes }) => {
                let mut body = json!({});
                set_some(&mut body, "bandwidth", changes.bandwidth);
                set_some(&mut body, "allowed_connections", changes.connections);
                set_some(&mut body, "price_per_hour", changes.price_per_hour);
                if changes.no_zones || !changes.zones.is_empty() {
                    set(&mut body, "zones", json!(changes.zones));
                }
                let offer = session.send(Method::PATCH, &session.at(Api::Operator, [OFFERS, &name]), &body).await?;
                session.show(&offer)
            }
            Self::Delete(wanted) => remove(session, OFFERS, TYPE.noun, &wanted.names).await,
        }
    }
}

/// What can be done with regions.
#[derive(Subcommand)]
pub enum RegionAction {
    /// List regions
    List,
}

impl RegionAction {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let Self::List = self;
        let target = session.at(Api::Operator, [REGIONS]);
        show_all(session, target, REGIONS, REGION_COLUMNS).await
    }
}

/// What can be done with zones.
#[derive(Subcommand)]
pub enum ZoneAction {
    /// List zones
    List,
    /// Show a zone
    Get(Named),
    /// Add a zone to the region
    Create(Named),
    /// Remove zones; what is in them has to go first
    Delete(Several),
}

impl ZoneAction {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let all = session.at(Api::Operator, [ZONES]);
        match self {
            Self::List => show_all(session, all, ZONES, ZONE_COLUMNS).await,
            Self::Get(wanted) => show(session, ZONES, &wanted.name).await,
            Self::Create(new) => {
                let zone = session.send(Method::POST, &all, &json!({"name": new.name})).await?;
                session.show(&zone)
            }
            Self::Delete(wanted) => remove(session, ZONES, "zone", &wanted.names).await,
        }
    }
}

/// What can be done with pools of public addresses.
#[derive(Subcommand)]
pub enum PoolAction {
    /// List pools and how many of their addresses are in use
    List(ListPools),
    /// Show a pool
    Get(Pool),
    /// Add a prefix to the public addresses of a zone
    Create(Pool),
    /// Remove a prefix; none of its addresses may be in use
    Delete(Pool),
}

/// `pool list`
#[derive(Args)]
pub struct ListPools {
    /// Only those of this zone
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

/// One pool.
#[derive(Args)]
pub struct Pool {
    /// The prefix
    #[arg(value_name = "CIDR")]
    prefix: String,
    /// The zone [default: $SCW_DEFAULT_ZONE if that is one of the region]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

impl Pool {
    fn zone(&self, session: &Session<'_>) -> Result<String, Failure> {
        let zone = self.zone.as_deref().or(session.zone());
        zone.map(str::to_owned).ok_or_else(|| Failure::Usage("say which zone: --zone ZONE".to_owned()))
    }

    /// The path has the prefix as it is written.
    fn target(&self, session: &Session<'_>) -> Result<Target, Failure> {
        let wrong = || Failure::Usage(format!("{:?} is no prefix, as 192.0.2.0/24 is one", self.prefix));
        let (address, length) = self.prefix.split_once('/').ok_or_else(wrong)?;
        Ok(session.at(Api::Operator, [POOLS, &self.zone(session)?, address, length]))
    }
}

impl PoolAction {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        let all = session.at(Api::Operator, [POOLS]);
        match self {
            Self::List(wanted) => {
                let target = match &wanted.zone {
                    Some(zone) => all.with("zone", zone),
                    None => all,
                };
                show_all(session, target, "public_pools", POOL_COLUMNS).await
            }
            Self::Get(wanted) => {
                let pool = session.get(&wanted.target(session)?).await?;
                session.show(&pool)
            }
            Self::Create(new) => {
                let body: Value = json!({"prefix": new.prefix, "zone": new.zone(session)?});
                let pool = session.send(Method::POST, &all, &body).await?;
                session.show(&pool)
            }
            Self::Delete(wanted) => {
                let answer = session.delete(&wanted.target(session)?).await?;
                session.done(&format!("deleted pool {}", printable(&wanted.prefix)), &answer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidths_and_prices_are_exact() {
        assert_eq!(bits("100M"), Ok(100_000_000));
        assert_eq!((bits("64k"), bits("10G"), bits("9600")), (Ok(64_000), Ok(10_000_000_000), Ok(9_600)));
        assert_eq!(
            (millionths("0.05"), millionths("12"), millionths("1.000001")),
            (Ok(50_000), Ok(12_000_000), Ok(1_000_001))
        );
        for wrong in ["", "M", "1.5G", "-1", "1T", "99999999999999999999", "18446744073709551615k"] {
            assert!(bits(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", ".", "1.", ".5", "0.0000001", "-1", "1e3", "+1", "99999999999999999999"] {
            assert!(millionths(wrong).is_err(), "{wrong}");
        }
    }
}
