//! What has to hold of a store that many have changed at once, seen through the API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::time::sleep;

use crate::client::{Client, Endpoint, text};
use crate::contend::{Kind, Known};

/// Within this time gateways that are being deleted are gone.
const PATIENCE: Duration = Duration::from_secs(120);

/// Everything that the API lists, by kind.
struct Found {
    objects: BTreeMap<Kind, BTreeMap<String, Value>>,
    secrets: Vec<Value>,
    subnets: Vec<Value>,
    used: BTreeMap<String, u64>,
}

impl Found {
    async fn look(client: &mut Client) -> Result<Self> {
        let endpoint = client.endpoint().clone();
        let mut objects = BTreeMap::new();
        for kind in Kind::ALL {
            let (path, key) = kind.list(&endpoint);
            let items = client.all(&path, key).await?;
            let count = items.len();
            let items =
                items.into_iter().map(|item| Ok((text(&item, "/id")?, item))).collect::<Result<BTreeMap<_, _>>>()?;
            ensure!(items.len() == count, "{path} lists an object twice");
            objects.insert(kind, items);
        }
        let quotas = client.must("GET", "/causeway/v1/operator/quotas?page_size=100", None).await?;
        let mut used = BTreeMap::new();
        for quota in quotas.get("quotas").and_then(Value::as_array).context("no quotas")? {
            used.insert(text(quota, "/resource")?, quota.get("used").and_then(Value::as_u64).context("no use")?);
        }
        Ok(Self {
            objects,
            secrets: client.all(&endpoint.secret("secrets"), "secrets").await?,
            subnets: client.all(&endpoint.vpc("subnets"), "subnets").await?,
            used,
        })
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = (&String, &Value)> {
        self.objects.get(&kind).into_iter().flatten()
    }

    fn has(&self, kind: Kind, id: &str) -> bool {
        self.objects.get(&kind).is_some_and(|objects| objects.contains_key(id))
    }
}

/// What is wrong, in words; nothing if all is right. `certain`: every call was answered, so that nothing is there that nobody knows.
///
/// # Errors
/// A call failed.
pub async fn faults(endpoint: &Endpoint, known: &Known, certain: bool) -> Result<Vec<String>> {
    let mut client = Client::connect(endpoint).await?;
    let found = Found::look(&mut client).await?;
    let mut faults = Vec::new();
    acknowledged(&found, known, certain, &mut faults);
    references(&found, &mut faults)?;
    addresses(&found, &mut faults)?;
    interconnections(&found, &mut faults)?;
    secrets(&found, &mut faults)?;
    quotas(&found, &mut faults);
    Ok(faults)
}

/// What was answered is so.
fn acknowledged(found: &Found, known: &Known, certain: bool, faults: &mut Vec<String>) {
    for (kind, id) in known.created.difference(&known.doomed) {
        if !found.has(*kind, id) {
            faults.push(format!("{kind:?} {id} was created and is lost"));
        }
    }
    for (kind, id) in &known.deleted {
        // A gateway's deletion goes on after its answer.
        if *kind != Kind::Gateway && found.has(*kind, id) {
            faults.push(format!("{kind:?} {id} was deleted and is there"));
        }
    }
    for kind in Kind::ALL.into_iter().filter(|kind| certain && *kind != Kind::Ip) {
        for (id, _) in found.of(kind).filter(|(id, _)| !known.created.contains(&(kind, (*id).clone()))) {
            faults.push(format!("{kind:?} {id} is there and nobody was told"));
        }
    }
}

fn id_at(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

/// Both ends of each reference agree.
fn references(found: &Found, faults: &mut Vec<String>) -> Result<()> {
    let ends = [
        (Kind::Gateway, "/vpn_gateway_id"),
        (Kind::Customer, "/customer_gateway_id"),
        (Kind::Policy, "/bgp_session_ipv4/routing_policy_id"),
    ];
    for (kind, pointer) in ends {
        let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (id, connection) in found.of(Kind::Connection) {
            let Some(other) = id_at(connection, pointer).filter(|other| !other.is_empty()) else { continue };
            if !found.has(kind, &other) {
                faults.push(format!("connection {id} refers to {kind:?} {other}, which is not there"));
            }
            expected.entry(other).or_default().insert(id.clone());
        }
        // A policy does not say who uses it.
        if kind == Kind::Policy {
            continue;
        }
        for (id, object) in found.of(kind) {
            let ids = object.get("connection_ids").and_then(Value::as_array).context("no connection_ids")?;
            let ids: Vec<String> = ids.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            let set: BTreeSet<String> = ids.iter().cloned().collect();
            if set.len() != ids.len() || set != expected.remove(id).unwrap_or_default() {
                faults.push(format!("connection_ids of {kind:?} {id} are {ids:?}"));
            }
        }
    }
    for (id, gateway) in found.of(Kind::Gateway) {
        if !found.has(Kind::Network, &text(gateway, "/private_network_id")?) {
            faults.push(format!("the network of gateway {id} is not there"));
        }
    }
    let mut pairs = BTreeSet::new();
    for (id, connection) in found.of(Kind::Connection) {
        let gateway = text(connection, "/vpn_gateway_id")?;
        let customer = id_at(connection, "/customer_gateway_id")
            .and_then(|customer| found.objects.get(&Kind::Customer)?.get(&customer))
            .and_then(|customer| id_at(customer, "/public_ipv4"));
        if let Some(customer) = customer
            && !pairs.insert((gateway, customer.clone()))
        {
            faults.push(format!("connection {id} is the second one to {customer} from its gateway"));
        }
    }
    Ok(())
}

/// No address is taken twice, none is held for what is not there, and every gateway has its own.
fn addresses(found: &Found, faults: &mut Vec<String>) -> Result<()> {
    let mut taken = BTreeSet::new();
    let mut held: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, ip) in found.of(Kind::Ip) {
        let place = ip.get("source").map(Value::to_string).unwrap_or_default();
        let address = text(ip, "/address")?;
        if !taken.insert((place, address.clone())) {
            faults.push(format!("address {address} is taken twice"));
        }
        if let Some(holder) = id_at(ip, "/resource/id") {
            if !found.has(Kind::Gateway, &holder) {
                faults.push(format!("address {address} is held for {holder}, which is not there"));
            }
            held.entry(holder).or_default().insert(id.clone());
        }
        let subnet = id_at(ip, "/source/subnet_id");
        if let Some(subnet) = subnet
            && !found.subnets.iter().any(|other| id_at(other, "/id").as_deref() == Some(&*subnet))
        {
            faults.push(format!("address {address} is of subnet {subnet}, which is not there"));
        }
    }
    for (id, gateway) in found.of(Kind::Gateway) {
        let fields = [
            "/ipam_private_ipv4_id",
            "/ipam_private_ipv6_id",
            "/public_config/ipam_ipv4_id",
            "/public_config/ipam_ipv6_id",
        ];
        let own: BTreeSet<String> = fields.iter().filter_map(|pointer| id_at(gateway, pointer)).collect();
        let holds = held.remove(id).unwrap_or_default();
        if own.len() != fields.len() || own != holds {
            faults.push(format!("gateway {id} has the addresses {own:?} and holds {holds:?}"));
        }
    }
    let mut nets: Vec<(u32, u32)> = Vec::new();
    for subnet in &found.subnets {
        let network = text(subnet, "/private_network_id")?;
        if !found.has(Kind::Network, &network) {
            faults.push(format!("a subnet of network {network}, which is not there"));
        }
        let Some((first, last)) = ipv4_range(&text(subnet, "/subnet")?) else { continue };
        if nets.iter().any(|(from, to)| first <= *to && *from <= last) {
            faults.push(format!("{subnet} overlaps another subnet"));
        }
        nets.push((first, last));
    }
    Ok(())
}

/// First and last address of an IPv4 prefix.
fn ipv4_range(prefix: &str) -> Option<(u32, u32)> {
    let (address, length) = prefix.split_once('/')?;
    let address = u32::from(address.parse::<std::net::Ipv4Addr>().ok()?);
    let size = 1_u64 << 32_u32.checked_sub(length.parse().ok()?)?;
    Some((address, u32::try_from(u64::from(address) + size - 1).ok()?))
}

/// Connections that share a gateway or a customer gateway have interconnection subnets of their own.
fn interconnections(found: &Found, faults: &mut Vec<String>) -> Result<()> {
    for pointer in ["/vpn_gateway_id", "/customer_gateway_id"] {
        let mut taken = BTreeSet::new();
        for (id, connection) in found.of(Kind::Connection) {
            let subnet = text(connection, "/bgp_session_ipv4/private_ip")?;
            let subnet = ipv4_range(&subnet).map(|(address, _)| address & !3).context("no IPv4 subnet")?;
            if !taken.insert((text(connection, pointer)?, subnet)) {
                faults.push(format!("connection {id} shares an interconnection subnet by its {pointer}"));
            }
        }
    }
    Ok(())
}

/// Each connection has its key, and there is no key without its connection.
fn secrets(found: &Found, faults: &mut Vec<String>) -> Result<()> {
    let kept = found.secrets.iter().map(|secret| text(secret, "/id")).collect::<Result<BTreeSet<_>>>()?;
    let wanted = found.of(Kind::Connection).map(|(_, connection)| text(connection, "/secret_id"));
    let wanted = wanted.collect::<Result<BTreeSet<_>>>()?;
    if kept != wanted {
        let (orphans, missing) = (kept.difference(&wanted).count(), wanted.difference(&kept).count());
        faults.push(format!("{orphans} secrets without a connection, {missing} connections without a secret"));
    }
    Ok(())
}

/// What projects use is what is there.
fn quotas(found: &Found, faults: &mut Vec<String>) {
    let count = |kind| u64::try_from(found.of(kind).count()).unwrap_or(u64::MAX);
    let booked = found.of(Kind::Ip).filter(|(_, ip)| id_at(ip, "/resource/id").is_none()).count();
    let counts = [
        ("private_networks", count(Kind::Network)),
        ("vpn_gateways", count(Kind::Gateway)),
        ("customer_gateways", count(Kind::Customer)),
        ("routing_policies", count(Kind::Policy)),
        ("connections", count(Kind::Connection)),
        ("ips", u64::try_from(booked).unwrap_or(u64::MAX)),
        ("secrets", 0),
    ];
    for (resource, count) in counts {
        let used = found.used.get(resource).copied();
        if used != Some(count) {
            faults.push(format!("{count} {resource}, and the quota says {used:?}"));
        }
    }
}

/// Waits until no gateway is being deleted.
///
/// # Errors
/// A call failed, or one stays.
pub async fn settle(endpoint: &Endpoint, known: &Known) -> Result<()> {
    let mut client = Client::connect(endpoint).await?;
    let begun = Instant::now();
    loop {
        let gateways = client.all(&endpoint.vpn("vpn-gateways"), "gateways").await?;
        let going = gateways.iter().filter_map(|gateway| id_at(gateway, "/id"));
        let going = going.filter(|id| known.deleted.contains(&(Kind::Gateway, id.clone()))).count();
        if going == 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "{going} gateways are still being deleted");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Deletes what nothing uses. A gateway that waits for its first node is refused until that wait is given up.
async fn delete(client: &mut Client, path: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = client.call("DELETE", path, None).await?;
        if answer.status != 409 {
            return answer.document().map(|_| ()).with_context(|| format!("DELETE {path}"));
        }
        ensure!(begun.elapsed() < PATIENCE, "{path} cannot be deleted");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Deletes everything and says what stays.
///
/// # Errors
/// A call failed: what is used by nothing can be deleted.
pub async fn remains(endpoint: &Endpoint) -> Result<Vec<String>> {
    let mut client = Client::connect(endpoint).await?;
    let mut known = Known::default();
    for kind in Kind::ALL {
        let (path, key) = kind.list(endpoint);
        for object in client.all(&path, key).await? {
            let id = text(&object, "/id")?;
            // A gateway takes its addresses along.
            if kind == Kind::Ip && id_at(&object, "/resource/id").is_some() {
                continue;
            }
            delete(&mut client, &format!("{path}/{id}")).await?;
            known.deleted.insert((kind, id));
        }
        settle(endpoint, &known).await?;
    }
    let found = Found::look(&mut client).await?;
    let mut remains = Vec::new();
    for kind in Kind::ALL {
        remains.extend(found.of(kind).map(|(id, _)| format!("{kind:?} {id}")));
    }
    remains.extend(found.secrets.iter().map(|secret| format!("secret {secret}")));
    remains.extend(found.subnets.iter().map(|subnet| format!("subnet {subnet}")));
    remains.extend(
        found
            .used
            .iter()
            .filter(|(resource, used)| **used > 0 && *resource != "vpcs")
            .map(|(r, u)| format!("{u} {r} in use")),
    );
    Ok(remains)
}
