//! Many clients that create, change and delete the same objects at once.
//!
//! What each of them does follows from a seed; in which order the service takes it does not. So single answers may differ from run to
//! run, and what has to hold of the whole is in [`crate::check`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{Answer, Client, Endpoint, text};
use crate::world::lift_quotas;

/// Clients at once.
const CLIENTS: u64 = 8;
/// Objects of a kind beyond which a client deletes one instead of creating another: few, so that clients meet.
const MANY: usize = 24;

/// When the clients stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many calls of each.
    Calls(usize),
    /// After this time.
    Time(Duration),
}

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Private Network.
    Network,
    /// Address.
    Ip,
    /// VPN gateway.
    Gateway,
    /// Customer gateway.
    Customer,
    /// Routing policy.
    Policy,
    /// Connection.
    Connection,
}

impl Kind {
    /// Every kind, what uses others first.
    pub const ALL: [Self; 6] = [Self::Connection, Self::Policy, Self::Customer, Self::Gateway, Self::Ip, Self::Network];

    /// Path and key of the list.
    #[must_use]
    pub fn list(self, endpoint: &Endpoint) -> (String, &'static str) {
        match self {
            Self::Network => (endpoint.vpc("private-networks"), "private_networks"),
            Self::Ip => (endpoint.ipam("ips"), "ips"),
            Self::Gateway => (endpoint.vpn("vpn-gateways"), "gateways"),
            Self::Customer => (endpoint.vpn("customer-gateways"), "gateways"),
            Self::Policy => (endpoint.vpn("routing-policies"), "routing_policies"),
            Self::Connection => (endpoint.vpn("connections"), "connections"),
        }
    }
}

/// What the clients know together.
#[derive(Debug, Default)]
pub struct Known {
    /// Objects that may exist: what calls choose from.
    alive: BTreeMap<Kind, Vec<String>>,
    /// Objects whose creation was answered.
    pub created: BTreeSet<(Kind, String)>,
    /// Objects that somebody has tried to delete.
    pub doomed: BTreeSet<(Kind, String)>,
    /// Objects whose deletion was answered.
    pub deleted: BTreeSet<(Kind, String)>,
    /// How often each call was answered how.
    pub answers: BTreeMap<(&'static str, u16), u64>,
}

/// The shared knowledge.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Known>>);

impl Shared {
    /// The knowledge, while no one else changes it.
    pub fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Numbers from a seed (SplitMix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(limit.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}

/// One client.
struct Contender {
    client: Client,
    vpc: String,
    known: Shared,
    dice: Dice,
}

/// Makes the VPC that everything is in. Returns its id.
///
/// # Errors
/// A call failed.
pub async fn prepare(endpoint: &Endpoint) -> Result<String> {
    let mut client = Client::connect(endpoint).await?;
    lift_quotas(&mut client).await?;
    let vpc = client.must("POST", &endpoint.vpc("vpcs"), Some(&json!({"name": "contended", "tags": []}))).await?;
    text(&vpc, "/id")
}

/// Lets the clients loose on the VPC.
///
/// # Errors
/// A call was not answered, or with a status that no such call may have.
pub async fn run(endpoint: &Endpoint, vpc: &str, seed: u64, until: Until, known: &Shared) -> Result<()> {
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        let mut contender = Contender {
            client: Client::connect(endpoint).await?,
            vpc: vpc.to_owned(),
            known: known.clone(),
            dice: Dice(seed.wrapping_mul(CLIENTS).wrapping_add(number)),
        };
        tasks.spawn(async move {
            let begun = Instant::now();
            let mut calls = 0;
            while match until {
                Until::Calls(limit) => calls < limit,
                Until::Time(limit) => begun.elapsed() < limit,
            } {
                contender.act().await?;
                calls += 1;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    // The first error is the cause: others may follow from it.
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        outcome = outcome.and(ended.context("a client panicked").and_then(|ended| ended));
    }
    outcome
}

impl Contender {
    async fn act(&mut self) -> Result<()> {
        match self.dice.below(40) {
            0..2 => self.create_network().await,
            2 => self.delete(Kind::Network).await,
            3..6 => self.create_gateway().await,
            6 => self.delete(Kind::Gateway).await,
            7..10 => self.create_customer().await,
            10..12 => self.delete(Kind::Customer).await,
            12..14 => self.create_policy().await,
            14 => self.delete(Kind::Policy).await,
            15..24 => self.create_connection().await,
            24..29 => self.delete(Kind::Connection).await,
            29..32 => self.book().await,
            32..34 => self.delete(Kind::Ip).await,
            34..36 => self.set_policy().await,
            36 => self.detach_policy().await,
            37 => self.renew().await,
            38 => self.rename().await,
            _ => self.connection("switch propagation", "POST", "/disable-route-propagation", &json!({})).await,
        }
    }

    fn any(&mut self, kind: Kind) -> Option<String> {
        let known = self.known.lock();
        let alive = known.alive.get(&kind)?;
        alive.get(self.dice.below(alive.len())).cloned()
    }

    /// Makes one call and notes its answer. What the service cannot blame on the caller is an error.
    async fn call(&mut self, what: &'static str, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let answer = self.client.call(method, path, body).await?;
        *self.known.lock().answers.entry((what, answer.status)).or_default() += 1;
        let fine = matches!(answer.status, 200..300 | 400 | 403 | 404 | 409 | 412);
        ensure!(fine, "{what}: {method} {path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(answer)
    }

    async fn create(&mut self, what: &'static str, kind: Kind, pointer: &str, body: &Value) -> Result<()> {
        if self.known.lock().alive.get(&kind).is_some_and(|alive| alive.len() >= MANY) {
            return self.delete(kind).await;
        }
        let (path, _) = kind.list(self.client.endpoint());
        let answer = self.call(what, "POST", &path, Some(body)).await?;
        if answer.status < 300 {
            let id = text(&answer.document()?, pointer)?;
            let mut known = self.known.lock();
            known.created.insert((kind, id.clone()));
            known.alive.entry(kind).or_default().push(id);
        }
        Ok(())
    }

    async fn delete(&mut self, kind: Kind) -> Result<()> {
        let Some(id) = self.any(kind) else { return Ok(()) };
        self.known.lock().doomed.insert((kind, id.clone()));
        let path = format!("{}/{id}", kind.list(self.client.endpoint()).0);
        let what = match kind {
            Kind::Network => "delete network",
            Kind::Ip => "release address",
            Kind::Gateway => "delete gateway",
            Kind::Customer => "delete customer",
            Kind::Policy => "delete policy",
            Kind::Connection => "delete connection",
        };
        let answer = self.call(what, "DELETE", &path, None).await?;
        let mut known = self.known.lock();
        if answer.status < 300 {
            let first = known.deleted.insert((kind, id.clone()));
            // A gateway that is going may be deleted again; everything else is there or not.
            ensure!(first || kind == Kind::Gateway, "{what}: {id} was deleted twice");
        }
        if (answer.status < 300 || answer.status == 404)
            && let Some(alive) = known.alive.get_mut(&kind)
        {
            alive.retain(|other| *other != id);
        }
        Ok(())
    }

    /// One of four subnets, of which each overlaps one other.
    async fn create_network(&mut self) -> Result<()> {
        let subnet = ["10.65.0.0/24", "10.65.0.0/23", "10.65.2.0/24", "10.65.2.0/23"].get(self.dice.below(4)).copied();
        let body = json!({"name": "contended", "tags": [], "vpc_id": self.vpc, "subnets": [subnet]});
        self.create("create network", Kind::Network, "/id", &body).await
    }

    async fn create_gateway(&mut self) -> Result<()> {
        let Some(network) = self.any(Kind::Network) else { return Ok(()) };
        let body = json!({"name": "contended", "tags": [], "gateway_type": "VGW-S", "private_network_id": network});
        self.create("create gateway", Kind::Gateway, "/id", &body).await
    }

    async fn create_customer(&mut self) -> Result<()> {
        let address = format!("45.90.0.{}", 1 + self.dice.below(4));
        let body = json!({"name": "contended", "tags": [], "asn": 65_000, "ipv4_public": address});
        self.create("create customer", Kind::Customer, "/id", &body).await
    }

    async fn create_policy(&mut self) -> Result<()> {
        let body = json!({"name": "contended", "tags": [], "is_ipv6": false, "prefix_filter_in": ["10.0.0.0/8"], "prefix_filter_out": []});
        self.create("create policy", Kind::Policy, "/id", &body).await
    }

    async fn create_connection(&mut self) -> Result<()> {
        let (Some(gateway), Some(customer)) = (self.any(Kind::Gateway), self.any(Kind::Customer)) else {
            return Ok(());
        };
        let policy = self.any(Kind::Policy);
        let body = json!({
            "name": "contended", "tags": ["contended"], "is_ipv6": false, "initiation_policy": "vpn_gateway",
            "ikev2_ciphers": [], "esp_ciphers": [], "enable_route_propagation": true,
            "vpn_gateway_id": gateway, "customer_gateway_id": customer, "bgp_config_ipv4": {"routing_policy_id": policy},
        });
        self.create("create connection", Kind::Connection, "/connection/id", &body).await
    }

    /// Books one of few addresses.
    async fn book(&mut self) -> Result<()> {
        let Some(network) = self.any(Kind::Network) else { return Ok(()) };
        let address = format!("10.65.{}.{}/24", self.dice.below(4), 100 + self.dice.below(4));
        let address = address.trim_end_matches("/24");
        let body = json!({"source": {"private_network_id": network}, "is_ipv6": false, "address": address, "tags": []});
        self.create("book address", Kind::Ip, "/id", &body).await
    }

    async fn connection(&mut self, what: &'static str, method: &str, action: &str, body: &Value) -> Result<()> {
        let Some(id) = self.any(Kind::Connection) else { return Ok(()) };
        let path = self.client.endpoint().vpn(&format!("connections/{id}{action}"));
        self.call(what, method, &path, Some(body)).await.map(|_| ())
    }

    async fn set_policy(&mut self) -> Result<()> {
        let Some(policy) = self.any(Kind::Policy) else { return Ok(()) };
        self.connection("set policy", "POST", "/set-routing-policy", &json!({"routing_policy_v4": policy})).await
    }

    async fn detach_policy(&mut self) -> Result<()> {
        let Some(policy) = self.any(Kind::Policy) else { return Ok(()) };
        self.connection("detach policy", "POST", "/detach-routing-policy", &json!({"routing_policy_v4": policy})).await
    }

    async fn renew(&mut self) -> Result<()> {
        let body = json!({"generate_revision": self.dice.below(2) == 0});
        self.connection("renew key", "POST", "/renew-psk", &body).await
    }

    async fn rename(&mut self) -> Result<()> {
        let name = format!("contended {}", self.dice.below(100));
        self.connection("rename connection", "PATCH", "", &json!({"name": name})).await
    }
}
