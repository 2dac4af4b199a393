//! The control plane's use cases: what every call of the API does, what nodes are told, and what becomes of what they report.
//!
//! One use case is one transaction of the store: references are resolved, rules checked, the change written, revisions bumped, statuses
//! refreshed, the audit record and the outbox event added, all or nothing. After the commit the sessions of the nodes that it
//! concerns wake up, render the newest desired state and push it; nothing polls. Nothing lives in memory only, so that a restart loses nothing.

mod access;
mod acl;
mod address;
mod attachment;
mod audit;
mod catalogue;
mod channel;
mod clock;
mod connection;
mod customer;
mod diagnosis;
mod door;
mod drain;
mod event;
mod explain;
mod failover;
mod figures;
mod flap;
mod gateway;
mod hearing;
mod identity;
mod interconnect;
mod ipam;
mod jobs;
mod key;
mod lease;
mod link;
mod network;
mod node;
mod options;
mod organization;
mod pace;
mod peering;
mod placement;
mod psk;
mod quota;
mod render;
mod rotation;
mod route;
mod router;
mod secret;
mod status;
mod typed;
mod unit;
mod usage;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use causeway_crypto::envelope::Kek;
use causeway_crypto::{Entropy, SystemEntropy};
use causeway_model::resource::Caller;
use causeway_model::watch::KeepaliveProfile;
use causeway_model::{Error, Timestamp};
use causeway_store::{Reader, Store};
use ipnet::IpNet;
use tokio::sync::watch;

pub use acl::MAX_ACL_RULES;
pub use attachment::AttachmentView;
pub use catalogue::{GatewayTypeOffer, PublicPool, Zone};
pub use causeway_device::FORMATS as DEVICE_FORMATS;
pub use causeway_store::{
    ApiKey, AuditFilter, JoinTokenRecord, LinkOptions, NodeRecord, ObjectEvent, Organization, Project,
};
pub use clock::{Clock, SystemClock};
pub use diagnosis::{Diagnosis, FindFilters};
pub use event::EventQuery;
pub use explain::ConnectionRoutes;
pub use figures::Figures;
pub use identity::{Bootstrap, KeyRequest, NewApiKey};
pub use lease::LeaseInfo;
pub use link::{CatalogueDifference, PartnerAction};
pub use node::{NewJoinToken, NodeChange, NodeInfo};
pub use options::ConnectionOptions;
pub use quota::{Quota, QuotaResource};
pub use rotation::{master_key_id, rotate_master_key};
pub use secret::AccessedSecret;
pub use usage::{UsageQuery, UsageRecord};
pub use webhook::{MadeWebhook, Outgoing, WEBHOOK_EVENTS, WebhookRules, WebhookTarget};

/// What every use case returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Values that the first start writes into the store; later starts take them from there (wire-ext.md §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The region: `fr-par`.
    pub region: String,
    /// Its zones, the preferred one first.
    pub zones: Vec<ZoneSettings>,
    /// The AS number of new gateways.
    pub provider_asn: u32,
    /// Whom tenants turn to: address or link.
    pub support_contact: Option<String>,
    /// The catalogue; see [`Settings::default_gateway_types`].
    pub gateway_types: Vec<GatewayTypeSettings>,
    /// How often nodes say that they are there. Not kept: each start takes it from here.
    pub keepalive: KeepaliveProfile,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneSettings {
    /// Its name: `fr-par-1`.
    pub name: String,
    /// Its public prefixes, of both families. Without one of a family, that family is out of stock.
    pub public_pools: Vec<IpNet>,
}

/// A gateway type, on offer in every zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayTypeSettings {
    /// Its name: `VGW-S`.
    pub name: String,
    /// Bits per second in each direction.
    pub bandwidth: u64,
    /// Connections at most.
    pub allowed_connections: u32,
    /// Millionths of the currency.
    pub price_per_hour: u64,
}

impl Settings {
    /// VGW-S, VGW-M and VGW-L.
    #[must_use]
    pub fn default_gateway_types() -> Vec<GatewayTypeSettings> {
        [
            ("VGW-S", 1_000_000_000, 10, 50_000),
            ("VGW-M", 2_500_000_000, 50, 150_000),
            ("VGW-L", 10_000_000_000, 200, 500_000),
        ]
        .into_iter()
        .map(|(name, bandwidth, allowed_connections, price_per_hour)| GatewayTypeSettings {
            name: name.to_owned(),
            bandwidth,
            allowed_connections,
            price_per_hour,
        })
        .collect()
    }
}

/// How long it is believed that the store can be written, once it was.
const READINESS_INTERVAL: Duration = Duration::from_secs(1);

/// What the store says about the service itself; fixed after the first start.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) region: String,
    pub(crate) provider_asn: u32,
    /// The /48 of this service (RFC 4193) that IPv6 interconnection subnets come from.
    pub(crate) ula: [u8; 6],
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) kek: Kek,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) service: Service,
    /// Counts commits, for whoever waits for something of the store; node sessions wait for their node's revision instead.
    pub(crate) changed: watch::Sender<u64>,
    /// When readiness was last proven by writing.
    pub(crate) written: tokio::sync::Mutex<Option<Instant>>,
    /// Held by whoever looks at deadlines: what the one before has judged is in the store then.
    pub(crate) deadlines: tokio::sync::Mutex<()>,
    /// How far deadlines were looked at.
    pub(crate) marks: jobs::Marks,
    /// What the clock said last.
    pub(crate) clock_seen: link::ClockSeen,
    /// Numbers node sessions, so that the end of an old one is not taken for the end of its successor.
    pub(crate) sessions: AtomicU64,
    /// How nodes and this process reach each other.
    pub(crate) ways: diagnosis::Ways,
    /// What is heard of nodes.
    pub(crate) watches: hearing::Watches,
    pub(crate) current_sessions: std::sync::Mutex<channel::Sessions>,
    /// What is known of nodes' leases.
    pub(crate) leases: lease::Leases,
    /// Zones whose gateways are started on another node when theirs is lost, once that was said.
    pub(crate) failover: std::sync::Mutex<Option<std::collections::BTreeSet<String>>>,
    /// Seconds that partners have to answer requests that are made from now on.
    pub(crate) answer_seconds: AtomicU32,
    /// What the keys of nodes' tunnels are made of, once one was asked for.
    pub(crate) tunnel_root: tokio::sync::OnceCell<causeway_crypto::Secret>,
}

/// The control plane. Clones share it.
#[derive(Clone)]
pub struct Controller {
    pub(crate) inner: Arc<Inner>,
}

impl Controller {
    /// Opens the control plane over `store`; the first start seeds it from `settings`. Deadlines are watched until the last clone is dropped.
    ///
    /// # Errors
    /// If the store fails or the settings contradict themselves.
    pub async fn open(store: Store, settings: Settings, kek: Kek) -> Result<Self> {
        Self::open_with_clock(store, settings, kek, Arc::new(SystemClock)).await
    }

    /// As [`Self::open`], with another clock.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with_clock(store: Store, settings: Settings, kek: Kek, clock: Arc<dyn Clock>) -> Result<Self> {
        let watches = hearing::Watches::new(settings.keepalive);
        let service = identity::seed(&store, &settings, clock.now()).await?;
        let inner = Inner {
            store,
            kek,
            clock,
            service,
            changed: watch::Sender::new(0),
            written: tokio::sync::Mutex::default(),
            sessions: AtomicU64::new(0),
            watches,
            ways: diagnosis::Ways::default(),
            current_sessions: std::sync::Mutex::default(),
            leases: lease::Leases::new(),
            failover: std::sync::Mutex::default(),
            answer_seconds: AtomicU32::new(causeway_model::link::REQUEST_DEADLINE),
            deadlines: tokio::sync::Mutex::default(),
            marks: jobs::Marks::default(),
            clock_seen: link::ClockSeen::default(),
            tunnel_root: tokio::sync::OnceCell::new(),
        };
        let controller = Self { inner: Arc::new(inner) };
        // Before anything is judged by a clock that went back while nothing ran.
        controller.follow_clock().await?;
        let nodes = controller.read().await?.nodes().await?;
        controller.inner.leases.begin(&nodes, controller.inner.clock.monotonic());
        controller.take_nodes_over().await?;
        jobs::spawn(&controller);
        Ok(controller)
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.inner.service.region
    }

    /// Our AS number: the one that new gateways get.
    #[must_use]
    pub fn provider_asn(&self) -> u32 {
        self.inner.service.provider_asn
    }

    /// Whether the store can be read and written. It is written at most once a second, whoever asks.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn ready(&self) -> Result<()> {
        self.read().await?.newest_event().await?;
        let mut written = self.inner.written.lock().await;
        if written.is_none_or(|at| at.elapsed() >= READINESS_INTERVAL) {
            let mut writer = self.inner.store.write().await?;
            writer.set_setting("readiness", &self.now().to_string()).await?;
            writer.commit().await?;
            *written = Some(Instant::now());
        }
        Ok(())
    }

    /// How long a change that is asked for now will wait for its turn, as far as those before it tell.
    #[must_use]
    pub fn backlog(&self) -> Duration {
        self.inner.store.backlog()
    }

    /// Counts the changes of the store: whoever waits for one looks again when this moves.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Ends every use of the store.
    pub async fn close(&self) {
        self.inner.store.close().await;
    }

    /// What the control plane's clock says.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.now()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock_seen.now(self.inner.clock.as_ref())
    }

    pub(crate) async fn read(&self) -> Result<Reader> {
        Ok(self.inner.store.read().await?)
    }

    /// Wakes everybody who waits for a change.
    pub(crate) fn announce(&self) {
        self.inner.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Checks the region of a call.
    pub(crate) fn in_region(&self, region: &str) -> Result<()> {
        if region == self.inner.service.region {
            return Ok(());
        }
        Err(Error::constraint("region", format!("unknown region; this service has `{}`", self.inner.service.region)))
    }
}

/// `N` random octets.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    SystemEntropy::new().fill(&mut octets);
    octets
}

/// A caller that stands for the platform itself in audit records.
pub(crate) fn platform(service: &Service) -> Caller {
    Caller {
        access_key: format!("causeway:{}", service.region),
        role: causeway_model::resource::Role::Node,
        organization_id: causeway_model::OrganizationId(uuid::Uuid::nil()),
        project_id: causeway_model::ProjectId(uuid::Uuid::nil()),
        partner_id: None,
        request_id: uuid::Uuid::new_v4(),
    }
}
