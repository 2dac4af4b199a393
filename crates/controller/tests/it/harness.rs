//! A controller over a temporary store, with a clock that the test moves and a node that the test plays.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use causeway_controller::{Clock, Controller, KeyRequest, Settings, SystemClock, ZoneSettings};
use causeway_crypto::envelope::Kek;
use causeway_fleet::door::Gatekeeper;
use causeway_fleet::lease::Relayed;
use causeway_fleet::{Answered, FromNode, Held, NodeEnd, PROTOCOL, Place, Refusal, in_process};
use causeway_model::command::{
    ListQuery, NewBgp, NewConnection, NewCustomerGateway, NewMeta, NewPrivateNetwork, NewPublicAddress,
    NewRoutingPolicy, NewVpnGateway, OrderField,
};
use causeway_model::desired::NodeDesired;
use causeway_model::diagnosis::NodeFacts;
use causeway_model::observed::{
    AclCounters, ConnectionFacts, GatewayFacts, LinkFacts, NodeReport, SessionFacts, TunnelFacts, VpcFacts,
};
use causeway_model::resource::{Caller, CustomerGateway, InitiationPolicy, PrivateNetwork, Role, RoutingPolicy};
use causeway_model::status::VpnGatewayStatus;
use causeway_model::view::{ConnectionStatuses, VpnGatewayView};
use causeway_model::watch::{KeepaliveProfile, Service};
use causeway_model::{Error, Family, MachineId, NodeId, PartnerId, ProjectId, Timestamp};
use causeway_store::Store;
use uuid::Uuid;

pub(crate) const REGION: &str = "fr-par";
pub(crate) const ZONE: &str = "fr-par-1";
pub(crate) const KEK: [u8; 32] = [7; 32];

/// The machine's clock plus what the test adds.
#[derive(Default)]
pub(crate) struct TestClock {
    added: AtomicI64,
    /// What of it nodes were heard in all the time.
    heard: AtomicI64,
    /// By how much it was set, which makes nothing last longer.
    set: AtomicI64,
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.reading().0
    }

    fn reading(&self) -> (Timestamp, Option<Duration>) {
        let passed = SystemClock.now().0 + self.added.load(Ordering::SeqCst);
        let running = Duration::from_micros(u64::try_from(passed).expect("after 1970"));
        (Timestamp(passed + self.set.load(Ordering::SeqCst)), Some(running))
    }

    fn monotonic(&self) -> Duration {
        let passed = SystemClock.now().0 + self.added.load(Ordering::SeqCst);
        let measured = passed - self.heard.load(Ordering::SeqCst);
        Duration::from_micros(u64::try_from(measured).expect("after 1970"))
    }
}

pub(crate) struct World {
    pub(crate) controller: Controller,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) operator: Caller,
    pub(crate) directory: tempfile::TempDir,
}

pub(crate) fn settings() -> Settings {
    let net = |text: &str| text.parse().expect("a prefix");
    Settings {
        region: REGION.to_owned(),
        zones: vec![
            ZoneSettings { name: ZONE.to_owned(), public_pools: vec![net("192.0.2.0/24"), net("2001:db8:0:1::/64")] },
            ZoneSettings { name: "fr-par-2".to_owned(), public_pools: vec![net("198.51.100.0/29")] },
        ],
        provider_asn: 12876,
        support_contact: Some("support@example.net".to_owned()),
        gateway_types: Settings::default_gateway_types(),
        keepalive: KeepaliveProfile::Medium,
    }
}

pub(crate) async fn open(path: &Path, clock: Arc<dyn Clock>) -> Controller {
    let store = Store::open(path).await.expect("the store opens");
    Controller::open_with_clock(store, settings(), Kek::new(KEK), clock).await.expect("the controller opens")
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(TestClock::default());
        let controller = open(&directory.path().join("causeway.db"), clock.clone()).await;
        Self::first_start(controller, clock, directory).await
    }

    /// A service that has just been started for the first time.
    pub(crate) async fn first_start(
        controller: Controller,
        clock: Arc<TestClock>,
        directory: tempfile::TempDir,
    ) -> Self {
        let first = controller.bootstrap().await.expect("bootstraps").expect("is the first start");
        let operator = controller.authenticate(&first.secret_key, Uuid::new_v4()).await.expect("the key works");
        Self { controller, clock, operator, directory }
    }

    /// Moves the clock and does what is due.
    pub(crate) async fn pass(&self, seconds: i64) {
        self.clock_forward(seconds);
        self.controller.run_deadlines().await.expect("deadlines");
    }

    /// Sets the clock to another time, and does what is due.
    pub(crate) async fn set_clock(&self, seconds: i64) {
        self.clock.set.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
        self.controller.run_deadlines().await.expect("deadlines");
    }

    /// Moves the clock only.
    pub(crate) fn clock_forward(&self, seconds: i64) {
        self.clock.added.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// As [`Self::pass`], while the keepalives of all nodes go on arriving: what silence is measured with stands still.
    pub(crate) async fn pass_heard(&self, seconds: i64) {
        self.clock.heard.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
        self.pass(seconds).await;
    }

    /// A second project and its tenant.
    pub(crate) async fn tenant(&self) -> Caller {
        let project =
            self.controller.create_project(&self.operator, "other".into(), String::new()).await.expect("made");
        self.caller(Role::Tenant, project.id).await
    }

    pub(crate) async fn caller(&self, role: Role, project: ProjectId) -> Caller {
        let partner_id = match role {
            Role::Partner => Some(self.partner("a partner").await.id),
            _ => None,
        };
        self.caller_for(role, project, partner_id).await
    }

    /// A key, of a partner if it is a partner's.
    pub(crate) async fn caller_for(&self, role: Role, project: ProjectId, partner_id: Option<PartnerId>) -> Caller {
        let request =
            KeyRequest { role, project_id: project, partner_id, description: String::new(), expires_at: None };
        let made = self.controller.issue_api_key(&self.operator, request).await.expect("made");
        self.controller.authenticate(&made.secret_key, Uuid::new_v4()).await.expect("the key works")
    }

    pub(crate) async fn network(&self, caller: &Caller) -> PrivateNetwork {
        let vpc_id = match self
            .controller
            .list_vpcs(caller, REGION, &list(), &Default::default())
            .await
            .expect("listed")
            .items
            .first()
        {
            Some(vpc) => vpc.id,
            None => {
                let new = causeway_model::command::NewVpc { meta: meta("vpc") };
                self.controller.create_vpc(caller, REGION, new).await.expect("made").id
            }
        };
        let new = NewPrivateNetwork {
            meta: meta("network"),
            subnets: Vec::new(),
            vpc_id: Some(vpc_id),
            default_route_propagation_enabled: false,
        };
        self.controller.create_private_network(caller, REGION, new).await.expect("made")
    }

    pub(crate) async fn gateway(&self, caller: &Caller, network: &PrivateNetwork) -> VpnGatewayView {
        self.controller.create_vpn_gateway(caller, REGION, new_gateway(network)).await.expect("made")
    }

    pub(crate) async fn customer(&self, caller: &Caller, host: u8) -> CustomerGateway {
        self.controller.create_customer_gateway(caller, REGION, new_customer(host)).await.expect("made")
    }

    pub(crate) async fn policy(&self, caller: &Caller, is_ipv6: bool) -> RoutingPolicy {
        self.controller.create_routing_policy(caller, REGION, new_policy(is_ipv6)).await.expect("made")
    }

    /// A gateway that is active, on a node that acknowledges everything, and a connection of it.
    pub(crate) async fn connected(&self) -> (FakeNode, VpnGatewayView, ConnectionStatuses) {
        let mut node = FakeNode::attach(&self.controller).await;
        let network = self.network(&self.operator).await;
        let gateway = self.gateway(&self.operator, &network).await;
        let customer = self.customer(&self.operator, 1).await;
        let policy = self.policy(&self.operator, false).await;
        node.acknowledge_until(|desired| desired.gateways.len() == 1).await;
        until(&self.controller, async || {
            let view = self.controller.vpn_gateway(&self.operator, REGION, gateway.gateway.id).await.expect("there");
            view.status == VpnGatewayStatus::Active
        })
        .await;
        let new = new_connection(&gateway, &customer, Some(&policy));
        let connection = self.controller.create_connection(&self.operator, REGION, new).await.expect("made");
        node.acknowledge_until(|desired| desired.gateways.iter().any(|gateway| gateway.connections.len() == 1)).await;
        let id = connection.connection.id;
        until(&self.controller, async || {
            let state = self.controller.connection_state(&self.operator, REGION, id).await.expect("there");
            state.applied_revision == state.desired_revision
        })
        .await;
        (node, gateway, connection)
    }
}

/// Waits until `holds`, looking again at every change.
pub(crate) async fn until(controller: &Controller, mut holds: impl AsyncFnMut() -> bool) {
    let mut changes = controller.subscribe();
    let wait = async {
        loop {
            changes.borrow_and_update();
            if holds().await {
                return;
            }
            changes.changed().await.expect("the controller lives");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it comes true in time");
}

pub(crate) fn list() -> ListQuery {
    ListQuery {
        order: OrderField::CreatedAt,
        descending: false,
        page: 1,
        page_size: 100,
        project_id: None,
        organization_id: None,
        name: None,
        tags: Vec::new(),
    }
}

pub(crate) fn meta(name: &str) -> NewMeta {
    NewMeta { project_id: None, name: name.to_owned(), tags: Vec::new() }
}

pub(crate) fn new_gateway(network: &PrivateNetwork) -> NewVpnGateway {
    NewVpnGateway {
        meta: meta("gateway"),
        gateway_type: "VGW-S".to_owned(),
        private_network_id: network.id,
        public_ipv4: NewPublicAddress::Allot,
        public_ipv6: NewPublicAddress::Allot,
        ipam_private_ipv4_id: None,
        ipam_private_ipv6_id: None,
        zone: Some(ZONE.to_owned()),
    }
}

pub(crate) fn new_customer(host: u8) -> NewCustomerGateway {
    NewCustomerGateway {
        meta: meta("customer"),
        asn: 65000,
        public_ipv4: Some([203, 0, 113, host].into()),
        public_ipv6: Some(format!("2001:db8:0:2::{host:x}").parse().expect("an address")),
    }
}

pub(crate) fn new_policy(is_ipv6: bool) -> NewRoutingPolicy {
    let (inside, outside) = if is_ipv6 { ("fd99::/48", "fd00::/8") } else { ("10.0.1.0/24", "172.16.0.0/12") };
    NewRoutingPolicy {
        meta: meta("policy"),
        is_ipv6,
        prefix_filter_in: vec![inside.parse().expect("a prefix")],
        prefix_filter_out: vec![outside.parse().expect("a prefix")],
    }
}

pub(crate) fn new_connection(
    gateway: &VpnGatewayView,
    customer: &CustomerGateway,
    policy: Option<&RoutingPolicy>,
) -> NewConnection {
    NewConnection {
        meta: meta("connection"),
        is_ipv6: Some(false),
        initiation_policy: InitiationPolicy::VpnGateway,
        ikev2_ciphers: Vec::new(),
        esp_ciphers: Vec::new(),
        enable_route_propagation: true,
        secret: None,
        vpn_gateway_id: gateway.gateway.id,
        customer_gateway_id: customer.id,
        bgp_ipv4: policy.map(|policy| NewBgp {
            routing_policy_id: Some(policy.id),
            private_ip: None,
            peer_private_ip: None,
        }),
        bgp_ipv6: None,
    }
}

/// The field that a 400 is about, or how the error is called.
pub(crate) fn kind(error: &Error) -> String {
    match error {
        Error::InvalidArguments(fields) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            format!("400 {}", names.join(","))
        }
        Error::DeniedAuthentication { reason } => format!("401 {reason}"),
        Error::PermissionsDenied { resource, .. } => format!("403 {resource}"),
        Error::QuotasExceeded { resource, .. } => format!("403 quota {resource}"),
        Error::NotFound { resource, .. } => format!("404 {resource}"),
        Error::TransientState { current_state, .. } => format!("409 {current_state}"),
        Error::AlreadyExists { resource, .. } => format!("409 exists {resource}"),
        Error::PreconditionFailed { precondition, .. } => format!("412 {precondition}"),
        Error::Locked { resource, .. } => format!("423 {resource}"),
        Error::NotImplemented { .. } => "501".to_owned(),
        Error::OutOfStock { .. } | Error::Unavailable { .. } => "503".to_owned(),
        Error::Internal(text) => format!("500 {text}"),
    }
}

/// A node that runs whatever it is told and says so when the test wants it to.
pub(crate) struct FakeNode {
    pub(crate) id: NodeId,
    end: NodeEnd,
}

impl FakeNode {
    pub(crate) async fn attach(controller: &Controller) -> Self {
        Self::attach_as(controller, NodeId::random()).await
    }

    pub(crate) async fn attach_as(controller: &Controller, id: NodeId) -> Self {
        let (controller_end, end) = in_process();
        drop(controller.attach_node(controller_end));
        Self::begin(id, end).await
    }

    /// A node of another machine, which has joined before.
    pub(crate) async fn attach_remote(controller: &Controller, id: NodeId) -> Self {
        let mut node = Self::attach_on(controller, id, machine_of(id)).await;
        node.is_told().await;
        node
    }

    /// The same, on a machine that is named; it may be told nothing there.
    pub(crate) async fn attach_on(controller: &Controller, id: NodeId, machine: MachineId) -> Self {
        let (controller_end, end) = in_process();
        Gatekeeper::attach(controller, id, ([192, 0, 2, 9], 443).into(), controller_end);
        Self::hello(id, end, Some(Place { machine, is_blank: true })).await
    }

    async fn begin(id: NodeId, end: NodeEnd) -> Self {
        let mut node = Self::hello(id, end, None).await;
        node.is_told().await;
        node
    }

    async fn hello(id: NodeId, end: NodeEnd, on: Option<Place>) -> Self {
        let (node, zone, version) = (id, ZONE.to_owned(), "test".to_owned());
        let hello = FromNode::Hello { protocol: PROTOCOL, node, boot: Uuid::new_v4(), zone, version, on };
        end.reports.send(hello).await.expect("the controller listens");
        Self { id, end }
    }

    /// Waits for what it is to run, and is up.
    pub(crate) async fn is_told(&mut self) {
        self.wait_for(|desired| desired.revision > 0).await;
        self.keepalive().await;
        self.keepalive().await;
    }

    /// What it is told, whatever becomes of the node.
    pub(crate) fn desired(&self) -> tokio::sync::watch::Receiver<Arc<NodeDesired>> {
        self.end.desired.clone()
    }

    /// A keepalive that says how these critical services are.
    pub(crate) async fn services(&self, services: Vec<Service>) {
        self.end.reports.send(FromNode::Keepalive { services }).await.expect("the controller listens");
    }

    /// What it sees of itself.
    pub(crate) async fn facts(&self, facts: NodeFacts) {
        self.end.reports.send(FromNode::Facts(Box::new(facts))).await.expect("the controller listens");
    }

    pub(crate) async fn keepalive(&self) {
        self.services(Vec::new()).await;
    }

    /// Says where it answers others, and that these answered it just now.
    pub(crate) async fn peering(&self, listens: Option<SocketAddr>, answered: &[NodeId]) {
        let answered = answered.iter().map(|node| Answered { node: *node, age_ms: 0 }).collect();
        self.end
            .reports
            .send(FromNode::Peering { listens, answered, lease: None })
            .await
            .expect("the controller listens");
    }

    /// Says what becomes of its lease, and where it answers others.
    pub(crate) async fn holds(&self, listens: SocketAddr, lease: Option<Held>) {
        let word = FromNode::Peering { listens: Some(listens), answered: Vec::new(), lease };
        self.end.reports.send(word).await.expect("the controller listens");
    }

    /// The newest desired state that fulfils a condition; says nothing.
    pub(crate) async fn wait_for(&mut self, holds: impl Fn(&NodeDesired) -> bool) -> Arc<NodeDesired> {
        let wait = self.end.desired.wait_for(|desired| holds(desired));
        let desired = tokio::time::timeout(Duration::from_secs(20), wait).await.expect("in time").expect("open");
        Arc::clone(&desired)
    }

    /// Waits until the controller has ended the channel; whether it has refused it, and why.
    pub(crate) async fn ended(&mut self) -> Option<Refusal> {
        tokio::time::timeout(Duration::from_secs(20), self.end.reports.closed()).await.expect("the channel ends");
        self.end.refusal()
    }

    /// What other nodes have said to it since the last look.
    pub(crate) fn relayed(&mut self) -> Vec<Relayed> {
        std::iter::from_fn(|| self.end.relayed.try_recv().ok()).collect()
    }

    pub(crate) async fn report(&self, report: NodeReport) {
        self.end.reports.send(FromNode::Report(report)).await.expect("the controller listens");
    }

    /// Waits for a desired state and acknowledges all of it.
    pub(crate) async fn acknowledge_until(&mut self, holds: impl Fn(&NodeDesired) -> bool) -> Arc<NodeDesired> {
        let desired = self.wait_for(holds).await;
        self.report(acknowledgement(&desired, None)).await;
        desired
    }

    /// The newest desired state, acknowledged with what the tunnels and sessions are like.
    pub(crate) async fn report_tunnels(&mut self, tunnels_up: bool, sessions_up: bool) {
        let desired = Arc::clone(&self.end.desired.borrow_and_update());
        self.report(acknowledgement(&desired, Some((tunnels_up, sessions_up)))).await;
    }

    /// Acknowledges everything at once, until the controller goes.
    pub(crate) fn run(mut self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                let desired = Arc::clone(&self.end.desired.borrow_and_update());
                if self.end.reports.send(FromNode::Report(acknowledgement(&desired, None))).await.is_err() {
                    return;
                }
                if self.end.desired.changed().await.is_err() {
                    return;
                }
            }
        })
    }
}

/// The machine that a node is on unless a test says something else.
pub(crate) fn machine_of(id: NodeId) -> MachineId {
    MachineId(id.0)
}

pub(crate) fn acknowledgement(desired: &NodeDesired, up: Option<(bool, bool)>) -> NodeReport {
    let now = SystemClock.now();
    let gateways = desired.gateways.iter();
    let connections = desired.gateways.iter().flat_map(|gateway| &gateway.connections).map(|connection| {
        let tunnel = |tunnel: &causeway_model::desired::TunnelDesired, up| TunnelFacts {
            family: tunnel.family(),
            local: tunnel.local,
            peer: tunnel.peer,
            up,
            ever_up: up,
            since: now,
            fault: None,
            ike: None,
            child: None,
            mtu: 1400,
            counters: causeway_model::observed::TunnelCounters::default(),
        };
        let session = |family: Family, up| SessionFacts { up, ..SessionFacts::new(family, now) };
        let sessions = connection.bgp.iter().filter(|session| session.policy.is_some());
        ConnectionFacts {
            id: connection.id,
            applied: connection.revision,
            refused: None,
            tunnels: up.map_or_else(Vec::new, |(up, _)| connection.tunnels.iter().map(|at| tunnel(at, up)).collect()),
            sessions: up.map_or_else(Vec::new, |(_, up)| sessions.map(|at| session(at.family(), up)).collect()),
            received: Vec::new(),
            announced: Vec::new(),
        }
    });
    let links = desired.links.iter().map(|link| {
        let session = |family: Family, up| SessionFacts { up, ..SessionFacts::new(family, now) };
        let sessions = link.bgp.iter().filter(|session| session.policy.is_some());
        LinkFacts {
            id: link.id,
            applied: link.revision,
            refused: None,
            carrier: true,
            carrier_since: Some(now),
            mtu: 1500,
            sessions: up.map_or_else(Vec::new, |(_, up)| sessions.map(|at| session(at.family(), up)).collect()),
            received: Vec::new(),
            announced: Vec::new(),
            drops: BTreeMap::new(),
        }
    });
    NodeReport {
        revision: desired.revision,
        links: links.collect(),
        connections: connections.collect(),
        gateways: gateways
            .map(|gateway| GatewayFacts { id: gateway.id, applied: gateway.revision, refused: None })
            .collect(),
        vpcs: desired
            .vpcs
            .iter()
            .filter(|vpc| vpc.router.is_none())
            .map(|vpc| VpcFacts {
                id: vpc.id,
                applied: vpc.revision,
                refused: None,
                networks: BTreeMap::new(),
                acl: AclCounters::default(),
            })
            .collect(),
    }
}
