//! What the measured lists are made of: connections between many gateways and many customers, with names and tags to look for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{Client, Endpoint, text};

/// VPN gateways. With their type's limit of 200 connections they carry 100,000.
const GATEWAYS: usize = 500;
/// Customer gateways; every connection is between another pair.
const CUSTOMERS: usize = 500;
/// Towns in the names and tags: each stands in every tenth one.
const TOWNS: [&str; 10] = ["Lyon", "Lille", "Nantes", "Rennes", "Nice", "Metz", "Dijon", "Brest", "Tours", "Reims"];
/// Quotas that never stand in the way.
const PLENTY: u64 = 10_000_000;

/// The objects, connection by connection.
#[derive(Debug)]
pub struct World {
    gateways: Vec<String>,
    customers: Vec<String>,
    policy: String,
    connections: Vec<String>,
}

/// How creating went.
#[derive(Clone, Copy, Debug)]
pub struct Created {
    /// Objects.
    pub count: usize,
    /// In this time.
    pub took: Duration,
}

impl Created {
    /// Objects per second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        per_second(self.count, self.took)
    }
}

/// `count` in `took`, per second.
#[must_use]
pub fn per_second(count: usize, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

/// Lets the operator's project have as much as it wants.
///
/// # Errors
/// A call failed.
pub async fn lift_quotas(client: &mut Client) -> Result<()> {
    let project = client.endpoint().project.clone();
    let quotas = client.must("GET", "/causeway/v1/operator/quotas?page_size=100", None).await?;
    for quota in quotas.get("quotas").and_then(Value::as_array).context("no quotas")? {
        let path = format!("/causeway/v1/operator/quotas/{project}/{}", text(quota, "/resource")?);
        client.must("PUT", &path, Some(&json!({"quota": PLENTY}))).await?;
    }
    Ok(())
}

/// Sends `count` requests that create something, over `clients` connections at once; `body` makes the path and the document of the nth.
/// The answers are in the order of the requests.
///
/// # Errors
/// A call failed.
pub async fn create(
    endpoint: &Endpoint,
    clients: usize,
    count: usize,
    body: impl Fn(usize) -> (String, Value) + Send + Sync + 'static,
) -> Result<(Vec<Value>, Created)> {
    let (body, next) = (Arc::new(body), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    let mut connected = Vec::with_capacity(clients);
    for _ in 0..clients {
        connected.push(Client::connect(endpoint).await?);
    }
    let begun = Instant::now();
    for mut client in connected {
        let (body, next) = (Arc::clone(&body), Arc::clone(&next));
        tasks.spawn(async move {
            let mut made = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return Ok::<_, anyhow::Error>(made);
                }
                let (path, document) = body(index);
                made.push((index, client.must("POST", &path, Some(&document)).await?));
            }
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(made) = tasks.join_next().await {
        all.extend(made??);
    }
    let took = begun.elapsed();
    all.sort_by_key(|(index, _)| *index);
    Ok((all.into_iter().map(|(_, made)| made).collect(), Created { count, took }))
}

/// A customer gateway's document; `index` below 65,536 decides its address.
fn customer(index: usize) -> Value {
    let address = format!("45.90.{}.{}", index / 250, index % 250 + 1);
    json!({"name": format!("customer {index}"), "tags": [], "asn": 65_000, "ipv4_public": address})
}

impl World {
    /// Everything but the connections.
    ///
    /// # Errors
    /// A call failed.
    pub async fn new(endpoint: &Endpoint) -> Result<Self> {
        let mut client = Client::connect(endpoint).await?;
        lift_quotas(&mut client).await?;
        let vpc = client.must("POST", &endpoint.vpc("vpcs"), Some(&json!({"name": "load", "tags": []}))).await?;
        let body = json!({"name": "load", "tags": [], "vpc_id": text(&vpc, "/id")?, "subnets": ["10.64.0.0/16"]});
        let network = text(&client.must("POST", &endpoint.vpc("private-networks"), Some(&body)).await?, "/id")?;
        let body = json!({"name": "load", "tags": [], "is_ipv6": false, "prefix_filter_in": ["10.0.0.0/8"], "prefix_filter_out": []});
        let policy = text(&client.must("POST", &endpoint.vpn("routing-policies"), Some(&body)).await?, "/id")?;
        let ids = |made: Vec<Value>| made.iter().map(|made| text(made, "/id")).collect::<Result<Vec<_>>>();
        let path = endpoint.vpn("vpn-gateways");
        let gateway = move |index: usize| {
            let body = json!({"name": format!("gateway {index}"), "tags": [], "gateway_type": "VGW-L", "private_network_id": network});
            (path.clone(), body)
        };
        let gateways = ids(create(endpoint, 8, GATEWAYS, gateway).await?.0)?;
        let path = endpoint.vpn("customer-gateways");
        let customers = ids(create(endpoint, 8, CUSTOMERS, move |index| (path.clone(), customer(index))).await?.0)?;
        Ok(Self { gateways, customers, policy, connections: Vec::new() })
    }

    /// The ids of the connections.
    #[must_use]
    pub fn connections(&self) -> &[String] {
        &self.connections
    }

    /// A customer gateway of every 500th connection.
    #[must_use]
    pub fn a_customer(&self) -> &str {
        self.customers.first().map_or("", String::as_str)
    }

    /// A VPN gateway of every 500th connection.
    #[must_use]
    pub fn a_gateway(&self) -> &str {
        self.gateways.first().map_or("", String::as_str)
    }

    /// Creates connections, over `clients` HTTP connections at once, until there are `size`. Each is durable before it is answered, and
    /// brings a secret of its own.
    ///
    /// # Errors
    /// A call failed.
    pub async fn grow(&mut self, endpoint: &Endpoint, clients: usize, size: usize) -> Result<Created> {
        ensure!(size <= GATEWAYS * CUSTOMERS, "at most {} pairs", GATEWAYS * CUSTOMERS);
        let first = self.connections.len();
        let (gateways, customers, policy) = (self.gateways.clone(), self.customers.clone(), self.policy.clone());
        let path = endpoint.vpn("connections");
        let body = move |index: usize| {
            let index = first + index;
            let (gateway, town) = (index % GATEWAYS, TOWNS.get(index / 7 % 10).copied().unwrap_or_default());
            let customer = (gateway + index / GATEWAYS) % CUSTOMERS;
            let body = json!({
                "name": format!("{town} site {:05}", index.wrapping_mul(7919) % 100_000),
                "tags": [format!("town:{town}"), format!("batch:{}", index / 1000)],
                "is_ipv6": false, "initiation_policy": "vpn_gateway", "ikev2_ciphers": [], "esp_ciphers": [],
                "enable_route_propagation": true,
                "vpn_gateway_id": gateways.get(gateway), "customer_gateway_id": customers.get(customer),
                "bgp_config_ipv4": {"routing_policy_id": policy},
            });
            (path.clone(), body)
        };
        let (made, created) = create(endpoint, clients, size.saturating_sub(first), body).await?;
        for made in &made {
            self.connections.push(text(made, "/connection/id")?);
        }
        Ok(created)
    }

    /// Creates `count` customer gateways beside those that connections use: the smallest object.
    ///
    /// # Errors
    /// A call failed.
    pub async fn more_customers(&self, endpoint: &Endpoint, clients: usize, count: usize) -> Result<Created> {
        let path = endpoint.vpn("customer-gateways");
        Ok(create(endpoint, clients, count, move |index| (path.clone(), customer(CUSTOMERS + index % 10_000))).await?.1)
    }
}
