//! What every adapter of the store has to do: transactions, uniqueness, references, order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use causeway_model::command::{IpFilter, ListQuery, OrderField, VpcFilter};
use causeway_model::desired::LeaseTerms;
use causeway_model::resource::{
    BgpSession, Caller, Connection, CustomerGateway, InitiationPolicy, Ip, IpResource, IpSource, Meta, PrivateNetwork,
    Role, Secret, SecretVersion, SecretVersionStatus, Subnet, Tunnels, Vpc, VpnGateway,
};
use causeway_model::status::ConnectionStatus;
use causeway_model::{
    ConnectionId, CustomerGatewayId, Family, IpId, MachineId, NodeId, OrganizationId, PrivateNetworkId, ProjectId,
    SecretId, SubnetId, Timestamp, VpcId, VpnGatewayId,
};
use causeway_store::{
    Among, AuditFilter, ConnectionRecord, Kind, NodeLease, OwedMark, Project, Scope, SecretRecord, Store, StoreError,
    TakenUnits, Tunnel, Writer,
};
use ipnet::IpNet;
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_000_000);
const REGION: &str = "fr-par";
const ZONE: &str = "fr-par-1";

struct Fixture {
    store: Store,
    directory: tempfile::TempDir,
    organization: OrganizationId,
    project: ProjectId,
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

impl Fixture {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&directory.path().join("store.db")).await.expect("opens");
        let (organization, project) = (OrganizationId::random(), ProjectId::random());
        let mut tx = store.write().await.expect("begins");
        tx.insert_organization(organization, "o", NOW).await.expect("inserts");
        let (name, description) = ("p".to_owned(), String::new());
        let row = Project {
            id: project,
            organization_id: organization,
            name,
            description,
            ula: [0xfd, 0, 0, 0, 0, 1],
            created_at: NOW,
            updated_at: NOW,
        };
        tx.insert_project(&row).await.expect("inserts");
        let pools = [net("192.0.2.0/24"), net("2001:db8::/64")];
        tx.insert_zone(ZONE, REGION, 0, &pools).await.expect("inserts");
        let gateway_type = causeway_model::resource::GatewayType {
            name: "VGW-S".into(),
            bandwidth: 1,
            allowed_connections: 10,
            zones: vec![ZONE.into()],
            region: REGION.into(),
        };
        tx.insert_gateway_type(&gateway_type, 0).await.expect("inserts");
        tx.commit().await.expect("commits");
        Self { store, directory, organization, project }
    }

    fn meta(&self, name: &str) -> Meta {
        Meta {
            organization_id: self.organization,
            project_id: self.project,
            region: REGION.into(),
            name: name.into(),
            tags: vec!["t".into(), name.into()],
            created_at: NOW,
            updated_at: NOW,
        }
    }

    fn vpc(&self, name: &str) -> Vpc {
        Vpc {
            id: VpcId::random(),
            meta: self.meta(name),
            is_default: false,
            custom_routes_propagation_enabled: true,
            private_network_count: 0,
        }
    }

    fn network(&self, vpc: VpcId, subnets: &[&str]) -> PrivateNetwork {
        let subnet =
            |text: &&str| Subnet { id: SubnetId::random(), subnet: net(text), created_at: NOW, updated_at: NOW };
        PrivateNetwork {
            id: PrivateNetworkId::random(),
            meta: self.meta("network"),
            vpc_id: vpc,
            subnets: subnets.iter().map(subnet).collect(),
            default_route_propagation_enabled: false,
            dhcp_enabled: true,
        }
    }

    fn ip(&self, source: IpSource, text: &str) -> Ip {
        let zone = match &source {
            IpSource::Zonal(zone) => Some(zone.clone()),
            IpSource::Subnet(_) => None,
        };
        Ip {
            id: IpId::random(),
            project_id: self.project,
            region: REGION.into(),
            zone,
            address: net(text),
            source,
            resource: None,
            reverses: Vec::new(),
            tags: Vec::new(),
            created_at: NOW,
            updated_at: NOW,
        }
    }

    /// A VPN gateway on a network of its own, with what it needs.
    async fn gateway(&self, tx: &mut Writer, number: u8) -> VpnGateway {
        let vpc = self.vpc("vpc");
        tx.insert_vpc(&vpc).await.expect("inserts");
        let network = self.network(vpc.id, &["10.0.0.0/24", "fd00::/64"]);
        tx.insert_private_network(&network).await.expect("inserts");
        let ips = [
            self.ip(IpSource::Subnet(network.subnets[0].id), "10.0.0.2/24"),
            self.ip(IpSource::Subnet(network.subnets[1].id), "fd00::2/64"),
            self.ip(IpSource::Zonal(ZONE.into()), &format!("192.0.2.{number}/32")),
        ];
        for ip in &ips {
            tx.insert_ip(ip, false).await.expect("inserts");
        }
        let gateway = VpnGateway {
            id: VpnGatewayId::random(),
            meta: self.meta("gateway"),
            zone: ZONE.into(),
            gateway_type: "VGW-S".into(),
            asn: 12876,
            private_network_id: network.id,
            ipam_private_ipv4_id: ips[0].id,
            ipam_private_ipv6_id: ips[1].id,
            public_ipv4_id: Some(ips[2].id),
            public_ipv6_id: None,
            connection_ids: Vec::new(),
            deleting_since: None,
            locked: false,
        };
        tx.insert_vpn_gateway(&gateway, None).await.expect("inserts");
        gateway
    }

    async fn customer(&self, tx: &mut Writer) -> CustomerGatewayId {
        let gateway = CustomerGateway {
            id: CustomerGatewayId::random(),
            meta: self.meta("customer"),
            asn: 65000,
            public_ipv4: Some([203, 0, 113, 1].into()),
            public_ipv6: None,
            connection_ids: Vec::new(),
        };
        tx.insert_customer_gateway(&gateway).await.expect("inserts");
        gateway.id
    }

    async fn connection(
        &self,
        tx: &mut Writer,
        gateway: VpnGatewayId,
        customer: CustomerGatewayId,
        inside: &str,
        tunnel: (&str, &str),
    ) -> Result<Connection, StoreError> {
        let id = ConnectionId::random();
        let secret = Secret {
            id: SecretId::random(),
            meta: self.meta("secret"),
            description: String::new(),
            managed: true,
            kind: "opaque".into(),
            protected: false,
            path: "/".into(),
            used_by: Vec::new(),
            version_count: 0,
        };
        let secret_id = secret.id;
        tx.insert_secret(&SecretRecord { secret, owner_connection: Some(id) }).await?;
        tx.insert_secret_version(&version(secret_id, 1), b"sealed").await?;
        let session = BgpSession { private_ip: net(inside), peer_private_ip: net(inside), routing_policy_id: None };
        let connection = Connection {
            id,
            meta: self.meta("connection"),
            vpn_gateway_id: gateway,
            customer_gateway_id: customer,
            tunnels: Tunnels::Ipv4,
            initiation_policy: InitiationPolicy::VpnGateway,
            ikev2_ciphers: Vec::new(),
            esp_ciphers: Vec::new(),
            secret_id,
            secret_revision: 1,
            owns_secret: true,
            bgp_ipv4: Some(session),
            bgp_ipv6: None,
            route_propagation_enabled: true,
            peer_identity: None,
            locked: false,
        };
        let tunnel = Tunnel { local: address(tunnel.0), peer: address(tunnel.1), identity: None };
        tx.insert_connection(&connection, &[tunnel], ConnectionStatus::Ready).await?;
        Ok(connection)
    }
}

fn version(secret_id: SecretId, revision: u32) -> SecretVersion {
    SecretVersion {
        secret_id,
        revision,
        status: SecretVersionStatus::Enabled,
        description: None,
        latest: true,
        data_crc32: Some(7),
        created_at: NOW,
        updated_at: NOW,
        deleted_at: None,
        region: REGION.into(),
    }
}

fn list() -> ListQuery {
    ListQuery {
        order: OrderField::CreatedAt,
        descending: false,
        page: 1,
        page_size: 50,
        project_id: None,
        organization_id: None,
        name: None,
        tags: Vec::new(),
    }
}

#[tokio::test]
async fn what_is_not_committed_never_was() {
    let fixture = Fixture::new().await;
    let vpc = fixture.vpc("a");
    let mut tx = fixture.store.write().await.expect("begins");
    tx.insert_vpc(&vpc).await.expect("inserts");
    assert!(tx.vpc(vpc.id).await.expect("reads").is_some(), "a writer sees its own changes");
    let mut outside = fixture.store.read().await.expect("begins");
    assert!(outside.vpc(vpc.id).await.expect("reads").is_none(), "nobody else does");
    drop(tx);
    let mut tx = fixture.store.write().await.expect("the turn is free again");
    assert!(tx.vpc(vpc.id).await.expect("reads").is_none());
    tx.insert_vpc(&vpc).await.expect("inserts");
    tx.commit().await.expect("commits");
    assert!(outside.vpc(vpc.id).await.expect("reads").is_none(), "a snapshot stays what it was");
    drop(outside);
    let mut reader = fixture.store.read().await.expect("begins");
    assert_eq!(reader.vpc(vpc.id).await.expect("reads"), Some(vpc));
}

#[tokio::test]
async fn writers_take_turns() {
    let fixture = Fixture::new().await;
    let first = fixture.store.write().await.expect("begins");
    let second = fixture.store.write();
    let waited = tokio::time::timeout(std::time::Duration::from_millis(100), second).await;
    assert!(waited.is_err(), "the second has to wait");
    first.commit().await.expect("commits");
    fixture.store.write().await.expect("now it is free");
}

#[tokio::test]
async fn it_is_all_there_after_opening_again() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.store.write().await.expect("begins");
    let gateway = fixture.gateway(&mut tx, 2).await;
    let customer = fixture.customer(&mut tx).await;
    let outside = ("192.0.2.2", "203.0.113.1");
    let connection =
        fixture.connection(&mut tx, gateway.id, customer, "169.254.0.1/30", outside).await.expect("inserts");
    tx.commit().await.expect("commits");
    fixture.store.close().await;
    let store = Store::open(&fixture.directory.path().join("store.db")).await.expect("opens again");
    let mut reader = store.read().await.expect("begins");
    let record = reader.connection_by_id(connection.id).await.expect("reads").expect("there");
    assert_eq!(record.connection, connection);
    assert_eq!((record.config_revision, record.pending_since), (1, Some(NOW)));
    let record = reader.vpn_gateway(gateway.id).await.expect("reads").expect("there");
    assert_eq!(record.gateway, VpnGateway { connection_ids: vec![connection.id], ..gateway });
}

#[tokio::test]
async fn addresses_are_booked_once() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.store.write().await.expect("begins");
    let (a, b) = (fixture.vpc("a"), fixture.vpc("b"));
    let networks = [&a, &b].map(|vpc| fixture.network(vpc.id, &["10.0.0.0/24"]));
    for (vpc, network) in [&a, &b].into_iter().zip(&networks) {
        tx.insert_vpc(vpc).await.expect("inserts");
        tx.insert_private_network(network).await.expect("inserts: another VPC may have the same range");
    }
    let subnet = |at: usize| IpSource::Subnet(networks[at].subnets[0].id);
    tx.insert_ip(&fixture.ip(subnet(0), "10.0.0.2/24"), false).await.expect("free");
    tx.insert_ip(&fixture.ip(subnet(1), "10.0.0.2/24"), false).await.expect("free in another subnet");
    let zonal = || IpSource::Zonal(ZONE.into());
    tx.insert_ip(&fixture.ip(zonal(), "192.0.2.9/32"), false).await.expect("free");
    for taken in [fixture.ip(subnet(0), "10.0.0.2/24"), fixture.ip(zonal(), "192.0.2.9/32")] {
        let error = tx.insert_ip(&taken, false).await.expect_err("taken");
        assert!(error.is_unique_violation(), "{error}");
    }
    let taken = tx.taken_publicly(&net("192.0.2.0/24")).await.expect("reads");
    assert_eq!(taken, [address("192.0.2.9")]);
}

#[tokio::test]
async fn subnets_of_one_vpc_do_not_overlap() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.store.write().await.expect("begins");
    let vpc = fixture.vpc("a");
    tx.insert_vpc(&vpc).await.expect("inserts");
    tx.insert_private_network(&fixture.network(vpc.id, &["10.0.0.0/23", "fd00::/64"])).await.expect("free");
    tx.insert_private_network(&fixture.network(vpc.id, &["10.0.2.0/24", "fd00:0:0:1::/64"])).await.expect("beside it");
    for overlapping in ["10.0.1.0/24", "10.0.0.0/8", "fd00::8000:0:0:0/65"] {
        let network = fixture.network(vpc.id, &[overlapping]);
        tx.insert_private_network(&network).await.expect_err(overlapping);
    }
}

#[tokio::test]
async fn interconnection_subnets_are_unique_per_gateway_on_either_side() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.store.write().await.expect("begins");
    let gateways = [fixture.gateway(&mut tx, 2).await.id, fixture.gateway(&mut tx, 3).await.id];
    let customers = [fixture.customer(&mut tx).await, fixture.customer(&mut tx).await];
    let cases = [
        (0, 0, "169.254.0.1/30", true),
        (0, 1, "169.254.0.1/30", false),
        (1, 0, "169.254.0.1/30", false),
        (1, 1, "169.254.0.1/30", true),
        (0, 1, "169.254.0.2/31", false),
        (0, 1, "169.254.0.5/30", true),
    ];
    for (at, (gateway, customer, inside, fits)) in cases.into_iter().enumerate() {
        let peer = format!("203.0.113.{}", at + 10);
        let outside = ("192.0.2.2", peer.as_str());
        let made = fixture.connection(&mut tx, gateways[gateway], customers[customer], inside, outside).await;
        assert_eq!(made.is_ok(), fits, "{at}: {inside} {made:?}");
        assert!(made.err().is_none_or(|error| error.is_unique_violation()));
    }
    let taken = tx.taken_interconnections(gateways[1], customers[0], Family::Ipv4).await.expect("reads");
    assert_eq!(taken, ["169.254.0.0", "169.254.0.2"].map(address), "of either gateway");
}

#[tokio::test]
async fn a_tunnel_is_one_connections() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.store.write().await.expect("begins");
    let gateway = fixture.gateway(&mut tx, 2).await.id;
    let customers = [fixture.customer(&mut tx).await, fixture.customer(&mut tx).await];
    let outside = ("192.0.2.2", "203.0.113.1");
    let first = fixture.connection(&mut tx, gateway, customers[0], "169.254.0.1/30", outside).await.expect("free");
    let again = fixture.connection(&mut tx, gateway, customers[1], "169.254.0.5/30", outside).await;
    assert!(again.expect_err("taken").is_unique_violation());
    let tunnel = Tunnel { local: address(outside.0), peer: address(outside.1), identity: None };
    assert_eq!(tx.connection_with_tunnel(&tunnel).await.expect("reads"), Some(first.id));
    tx.delete(Kind::Connection, first.id.0).await.expect("deletes");
    tx.delete_owned_secrets(first.id).await.expect("deletes");
    assert_eq!(tx.connection_with_tunnel(&tunnel).await.expect("reads"), None);
    assert!(tx.secret(first.secret_id).await.expect("reads").is_none());
    fixture.connection(&mut tx, gateway, customers[0], "169.254.0.1/30", outside).await.expect("free again");
}

#[tokio::test]
async fn a_connection_s_premises_are_what_the_single_looks_say() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.store.write().await.expect("begins").gathering();
    let gateways = [fixture.gateway(&mut tx, 2).await, fixture.gateway(&mut tx, 3).await];
    let customer = fixture.customer(&mut tx).await;
    let outside = ("192.0.2.2", "203.0.113.1");
    let id = gateways[0].id;
    let made = fixture.connection(&mut tx, id, customer, "169.254.0.1/30", outside).await.expect("inserts");
    fixture
        .connection(&mut tx, gateways[1].id, customer, "169.254.0.5/30", ("192.0.2.3", outside.1))
        .await
        .expect("inserts");
    let record = tx.connection_by_id(made.id).await.expect("reads").expect("there");
    assert_eq!(record, ConnectionRecord::new(made.clone()), "the record that a new connection has");
    tx.set_quota(fixture.project, "connections", Some(7)).await.expect("sets");

    let premises = tx.premises(fixture.project, id, customer, [None, None]).await.expect("reads");
    assert_eq!(premises.project, tx.project(fixture.project).await.expect("reads"));
    assert_eq!(premises.gateway, tx.carrier(id).await.expect("reads"));
    assert_eq!(premises.node, None, "it is on none");
    assert_eq!(
        (premises.public.as_slice(), premises.connections, premises.allowed),
        (&[address(outside.0)][..], 1, Some(10))
    );
    assert_eq!(premises.customer.as_ref().map(|customer| customer.id), Some(customer));
    assert_eq!(premises.quota, tx.quota(fixture.project, "connections").await.expect("reads"));
    assert_eq!(premises.quota, (Some(7), 2));
    let [neighbour] = premises.between.as_slice() else { panic!("one tunnel is between them: {:?}", premises.between) };
    let tunnel = Tunnel { local: address(outside.0), peer: address(outside.1), identity: None };
    assert_eq!((neighbour.connection, &neighbour.tunnel), (made.id, &tunnel));
    let units = |count, ends: Option<[&str; 2]>| {
        let [first, last] = ends.map_or([None, None], |ends| ends.map(|end| Some(address(end))));
        TakenUnits { count, first, last }
    };
    let expected = [units(2, Some(["169.254.0.0", "169.254.0.2"])), units(4, Some(["169.254.0.0", "169.254.0.6"]))];
    assert_eq!(premises.taken(Family::Ipv4), expected, "one connection at the gateway and two at the customer's");
    assert_eq!(premises.taken(Family::Ipv6), [units(0, None); 2]);
    assert!(premises.own.is_empty() && premises.policies.is_empty());

    let node = NodeId::random();
    tx.register_node(node, ZONE, Uuid::new_v4(), "1", NOW).await.expect("registers");
    tx.place_gateway(id, node).await.expect("places");
    let premises = tx.premises(fixture.project, id, customer, [None, None]).await.expect("reads");
    assert_eq!(premises.node.map(|node| node.id), Some(node));
    let nowhere = (ProjectId::random(), VpnGatewayId::random(), CustomerGatewayId::random());
    let premises = tx.premises(nowhere.0, nowhere.1, nowhere.2, [None, None]).await.expect("reads");
    assert!(premises.project.is_none() && premises.gateway.is_none() && premises.customer.is_none());
    assert_eq!((premises.connections, premises.allowed, premises.quota), (0, None, (None, 0)));
}

#[tokio::test]
async fn what_is_referred_to_cannot_go() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.store.write().await.expect("begins");
    let gateway = fixture.gateway(&mut tx, 2).await;
    let customer = fixture.customer(&mut tx).await;
    let outside = ("192.0.2.2", "203.0.113.1");
    let made = fixture.connection(&mut tx, gateway.id, customer, "169.254.0.1/30", outside).await.expect("inserts");
    tx.delete(Kind::CustomerGateway, customer.0).await.expect_err("has a connection");
    tx.delete(Kind::VpnGateway, gateway.id.0).await.expect_err("has a connection");
    tx.delete(Kind::PrivateNetwork, gateway.private_network_id.0).await.expect_err("has a gateway");
    tx.delete(Kind::Secret, made.secret_id.0).await.expect_err("is a key");
    tx.delete_ip(gateway.ipam_private_ipv4_id).await.expect_err("is a gateway's");
}

#[tokio::test]
async fn revisions_count_and_the_deadline_does_not_start_over() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.store.write().await.expect("begins");
    let id = fixture.gateway(&mut tx, 2).await.id;
    let later = NOW.plus_seconds(5);
    let mut bumped = tx.vpn_gateway(id).await.expect("reads").expect("there");
    bumped.bump(later);
    tx.bump_gateway(id, later).await.expect("bumps");
    let record = tx.vpn_gateway(id).await.expect("reads").expect("there");
    assert_eq!((record.config_revision, record.pending_since), (2, Some(NOW)), "still the first one's deadline");
    assert_eq!(record, bumped, "the record follows the row");
    let refusal = causeway_model::observed::Refusal { revision: 2, item: "i".into(), error: "e".into() };
    let observed = causeway_store::GatewayObserved {
        applied_revision: 1,
        refusal: Some(refusal),
        ever_acknowledged: true,
        observed_at: NOW,
    };
    tx.set_gateway_observed(id, &observed).await.expect("writes");
    let mut bumped = tx.carrier(id).await.expect("reads").expect("there");
    bumped.bump(later);
    tx.bump_gateway(id, later).await.expect("bumps");
    let record = tx.vpn_gateway(id).await.expect("reads").expect("there");
    assert_eq!(record, bumped, "the record follows the row");
    assert_eq!((record.config_revision, record.pending_since), (3, Some(later)), "a refused one was answered");
    assert_eq!(record.observed, Some(observed));
    let node = NodeId::random();
    tx.register_node(node, ZONE, Uuid::new_v4(), "1", NOW).await.expect("registers");
    assert_eq!(tx.bump_node(node).await.expect("bumps"), 2);
    tx.register_node(node, ZONE, Uuid::new_v4(), "1", NOW).await.expect("registers again");
    let record = tx.node(node).await.expect("reads").expect("there");
    assert_eq!(record.revision, 3, "never backwards");
}

#[tokio::test]
async fn the_neighbours_in_the_ring_of_a_zone_are_on_both_sides_of_a_node() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.store.write().await.expect("begins");
    let id = |number: u128| NodeId(Uuid::from_u128(number << 96 | 7));
    for number in [4, 1, 6, 2, 5, 3] {
        tx.register_node(id(number), ZONE, Uuid::new_v4(), "1", NOW).await.expect("registers");
        let address = format!("192.0.2.{number}:4431").parse().expect("an address");
        tx.set_node_peering(id(number), (number != 5).then_some(address), None).await.expect("listens");
    }
    let mut asked = Vec::new();
    for (number, limit) in [(1, 1), (3, 1), (4, 1), (4, 2), (5, 10), (6, 1)] {
        let ring = tx.ring(ZONE, id(number), limit).await.expect("reads");
        asked.push(ring.iter().map(|near| near.id.0.as_u128() >> 96).collect::<Vec<_>>());
    }
    let expected = [vec![2, 6], vec![2, 4], vec![3, 6], vec![1, 2, 3, 6], vec![1, 2, 3, 4, 6], vec![1, 4]];
    assert_eq!(asked, expected, "who does not listen is not in it");
    assert_eq!(tx.ring("elsewhere", id(1), 3).await.expect("reads"), []);
    assert_eq!(tx.first_node().await.expect("reads"), Some(id(4)), "the first to come");
    let found = tx.nodes_by_id([id(3), id(9), id(4)]).await.expect("reads");
    assert_eq!(found.iter().map(|node| node.id).collect::<Vec<_>>(), [id(4), id(3)]);
}

#[tokio::test]
async fn a_vpc_is_routed_where_it_is_written_down_and_by_its_links_or_the_first_node_without() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.store.write().await.expect("begins");
    let gateway = fixture.gateway(&mut tx, 2).await;
    let vpc = tx.vpn_gateway(gateway.id).await.expect("reads").expect("there").vpc;
    let [first, home, leg] = [NodeId::random(), NodeId::random(), NodeId::random()];
    let places = async |tx: &mut Writer| -> Vec<(Option<String>, NodeId, bool)> {
        let all = tx.vpc_places(&Among::All).await.expect("reads");
        assert_eq!(all, tx.vpc_places(&Among::Some([vpc].into())).await.expect("reads"));
        assert!(tx.vpc_places(&Among::Some(BTreeSet::new())).await.expect("reads").is_empty());
        all.into_iter().map(|place| (place.zone, place.node, place.leaving)).collect()
    };
    assert_eq!(places(&mut tx).await, [], "there is no node");
    for node in [first, home, leg] {
        tx.register_node(node, ZONE, Uuid::new_v4(), "1", NOW).await.expect("registers");
    }
    assert_eq!(places(&mut tx).await, [(None, first, false)]);
    assert_eq!(tx.vpc_fallback(vpc, ZONE).await.expect("reads"), Some(first));
    tx.set_vpc_router(vpc, ZONE, home).await.expect("writes");
    tx.place_gateway(gateway.id, leg).await.expect("writes");
    assert_eq!(places(&mut tx).await, [(Some(ZONE.to_owned()), home, false)]);
    assert_eq!(tx.vpc_fallback(vpc, ZONE).await.expect("reads"), Some(first), "without this router");
    assert_eq!(tx.vpc_fallback(vpc, "elsewhere").await.expect("reads"), None, "with it");
    let record = tx.vpn_gateway(gateway.id).await.expect("reads").expect("there");
    assert_eq!((record.node, record.router), (Some(leg), Some(home)));
    for (node, count) in [(home, 1), (leg, 1), (first, 0)] {
        let cables = tx.cables(node).await.expect("reads");
        assert_eq!(cables.len(), count);
        for cable in cables {
            assert_eq!((cable.vpc, cable.router, cable.node, cable.seq), (vpc, home, leg, 1));
            assert_eq!(cable.addresses, [net("10.0.0.2/24"), net("fd00::2/64")]);
        }
        assert_eq!(tx.vpcs_of_node(node).await.expect("reads").len(), count);
    }
    let placed = tx.placed_gateways(vpc, ZONE).await.expect("reads");
    assert!(matches!(placed.as_slice(), [placed] if placed.node == leg && placed.stays()), "{placed:?}");
    let before = tx.nodes().await.expect("reads");
    tx.advance_nodes_of_vpc(vpc, ZONE).await.expect("writes");
    let after = tx.nodes().await.expect("reads");
    let told: Vec<NodeId> = after
        .iter()
        .zip(&before)
        .filter(|(after, before)| after.revision > before.revision)
        .map(|(node, _)| node.id)
        .collect();
    assert_eq!(told, [home, leg]);

    // What the router does only its own node says, as long as it has it.
    tx.bump_vpc(vpc, NOW).await.expect("writes");
    let facts = |applied| causeway_model::observed::VpcFacts {
        id: vpc,
        applied,
        refused: None,
        networks: Default::default(),
        acl: Default::default(),
    };
    tx.set_vpcs_observed(leg, &[facts(1)], NOW).await.expect("writes");
    assert_eq!(tx.vpc_observed(vpc).await.expect("reads"), (Vec::new(), false));
    let owed = tx.vpn_gateway(gateway.id).await.expect("reads").expect("there").vpc_owed.map(|owed| owed.revision);
    assert_eq!(owed, Some(1));
    tx.set_vpcs_observed(home, &[facts(1)], NOW).await.expect("writes");
    let (observed, complete) = tx.vpc_observed(vpc).await.expect("reads");
    assert!(complete && matches!(observed.as_slice(), [observed] if observed.node == home));
    assert_eq!(tx.vpc_config(vpc).await.expect("reads").pending_since, None);
    assert_eq!(tx.vpn_gateway(gateway.id).await.expect("reads").expect("there").vpc_owed, None);
    tx.set_router_leaving(vpc, ZONE, Some(7)).await.expect("writes");
    assert_eq!(places(&mut tx).await, [(Some(ZONE.to_owned()), home, true)]);
    let leaving = tx.leaving_routers(home).await.expect("reads");
    assert!(matches!(leaving.as_slice(), [router] if router.leaving_revision == Some(7)), "{leaving:?}");
    tx.set_vpc_router(vpc, ZONE, leg).await.expect("writes");
    assert_eq!(tx.vpc_observed(vpc).await.expect("reads"), (Vec::new(), false), "what the former one said is history");
    let router = tx.vpc_router(vpc, ZONE).await.expect("reads").expect("there");
    assert_eq!((router.node, router.leaving_revision), (leg, None));
    assert_eq!(tx.routers_of_vpc(vpc).await.expect("reads"), std::slice::from_ref(&router));
    assert_eq!(tx.routers_of_node(leg).await.expect("reads"), [router]);
    assert_eq!(tx.cables(leg).await.expect("reads"), [], "it hangs on none");
    tx.delete_vpc_router(vpc, ZONE).await.expect("writes");
    assert_eq!(places(&mut tx).await, [(None, first, false)]);
}

#[tokio::test]
async fn a_commit_tells_the_revisions_that_it_has_changed_and_no_others() {
    let fixture = Fixture::new().await;
    let (node, other, unknown) = (NodeId::random(), NodeId::random(), NodeId::random());
    let mut early = fixture.store.node_revision(node);
    assert_eq!(*early.borrow_and_update(), 0, "not known yet");
    let mut tx = fixture.store.write().await.expect("begins");
    tx.register_node(node, ZONE, Uuid::new_v4(), "1", NOW).await.expect("registers");
    tx.register_node(other, ZONE, Uuid::new_v4(), "1", NOW).await.expect("registers");
    assert!(!early.has_changed().expect("open"), "not before the commit");
    tx.commit().await.expect("commits");
    assert_eq!(*early.borrow_and_update(), 1);
    let mut others = fixture.store.node_revision(other);
    assert_eq!(*others.borrow_and_update(), 1);
    let mut tx = fixture.store.write().await.expect("begins");
    tx.bump_node(node).await.expect("bumps");
    tx.advance_node(node).await.expect("bumps");
    tx.set_node_report(other, 1, NOW).await.expect("reports");
    tx.commit().await.expect("commits");
    assert_eq!(*early.borrow_and_update(), 3);
    assert!(!others.has_changed().expect("open"), "a report is no revision");
    let mut tx = fixture.store.write().await.expect("begins");
    tx.bump_node(node).await.expect("bumps");
    drop(tx);
    let mut tx = fixture.store.write().await.expect("begins");
    tx.bump_all_nodes().await.expect("bumps");
    tx.commit().await.expect("commits");
    assert_eq!((*early.borrow(), *others.borrow()), (4, 2), "what was given up does not count");
    assert_eq!(*fixture.store.node_revision(unknown).borrow(), 0);
    fixture.store.close().await;
    let again = Store::open(&fixture.directory.path().join("store.db")).await.expect("opens again");
    assert_eq!(*again.node_revision(node).borrow(), 4);
}

#[tokio::test]
async fn secret_versions() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.store.write().await.expect("begins");
    let secret = Secret {
        id: SecretId::random(),
        meta: fixture.meta("secret"),
        description: "d".into(),
        managed: false,
        kind: "opaque".into(),
        protected: false,
        path: "/".into(),
        used_by: Vec::new(),
        version_count: 0,
    };
    let id = secret.id;
    tx.insert_secret(&SecretRecord { secret, owner_connection: None }).await.expect("inserts");
    for revision in [1, 2] {
        tx.insert_secret_version(&version(id, revision), b"sealed").await.expect("inserts");
    }
    assert!(tx.insert_secret_version(&version(id, 2), b"x").await.expect_err("exists").is_unique_violation());
    tx.set_secret_version_status(id, 2, SecretVersionStatus::Disabled, NOW).await.expect("writes");
    let newest = tx.latest_secret_version(id, false).await.expect("reads").expect("there");
    let enabled = tx.latest_secret_version(id, true).await.expect("reads").expect("there");
    assert_eq!((newest.version.revision, newest.version.latest), (2, true));
    assert_eq!((enabled.version.revision, enabled.version.latest), (1, false));
    tx.set_secret_version_status(id, 1, SecretVersionStatus::Deleted, NOW).await.expect("writes");
    let gone = tx.secret_version(id, 1).await.expect("reads").expect("there");
    assert_eq!((gone.data, gone.version.deleted_at), (None, Some(NOW)), "its data is wiped");
    assert_eq!(tx.secret(id).await.expect("reads").expect("there").secret.version_count, 1);
}

#[tokio::test]
async fn lists_are_scoped_and_find_tags() {
    let fixture = Fixture::new().await;
    let mut tx = fixture.store.write().await.expect("begins");
    for name in ["one", "Two", "three"] {
        tx.insert_vpc(&fixture.vpc(name)).await.expect("inserts");
    }
    let all = tx.vpcs(REGION, Scope::All, &list(), &VpcFilter::default()).await.expect("reads");
    assert_eq!((all.0.len(), all.1), (3, 3));
    for (scope, expected) in
        [(Scope::Nothing, 0), (Scope::Project(fixture.project), 3), (Scope::Project(ProjectId::random()), 0)]
    {
        assert_eq!(tx.vpcs(REGION, scope, &list(), &VpcFilter::default()).await.expect("reads").1, expected);
    }
    let tagged = ListQuery { tags: vec!["Two".into(), "three".into(), "none".into()], ..list() };
    assert_eq!(tx.vpcs(REGION, Scope::All, &tagged, &VpcFilter::default()).await.expect("reads").1, 2);
    let named = ListQuery { name: Some("TW".into()), ..list() };
    let mut two = tx.vpcs(REGION, Scope::All, &named, &VpcFilter::default()).await.expect("reads").0.remove(0);
    assert_eq!(two.meta.tags, ["t", "Two"], "in the order given");
    two.meta.tags = vec!["new".into()];
    tx.set_meta(Kind::Vpc, two.id.0, &two.meta).await.expect("writes");
    assert_eq!(tx.vpcs(REGION, Scope::All, &tagged, &VpcFilter::default()).await.expect("reads").1, 1);
    // What looks like SQL or a pattern is only text.
    for name in ["%", "'; DROP TABLE vpc; --"] {
        let named = ListQuery { name: Some(name.into()), ..list() };
        assert_eq!(tx.vpcs(REGION, Scope::All, &named, &VpcFilter::default()).await.expect("reads").1, 0);
    }
}

#[tokio::test]
async fn records_and_events_keep_their_order() {
    let fixture = Fixture::new().await;
    let caller = Caller {
        access_key: "SCW".into(),
        role: Role::Operator,
        organization_id: fixture.organization,
        project_id: fixture.project,
        partner_id: None,
        request_id: Uuid::new_v4(),
    };
    let mut tx = fixture.store.write().await.expect("begins");
    for number in 0..5 {
        let details = [("n".to_owned(), number.to_string())].into();
        tx.record(&caller, None, NOW, "create", "vpc", "id", &details).await.expect("writes");
    }
    let page = ListQuery { page: 2, page_size: 2, descending: true, ..list() };
    let (records, total) = tx.audit_records(&page, &AuditFilter::default()).await.expect("reads");
    let numbers: Vec<_> = records.iter().map(|record| record.details["n"].as_str()).collect();
    assert_eq!((numbers.as_slice(), total), (&["2", "1"][..], 5), "newest first");
    assert_eq!(tx.newest_event().await.expect("reads"), 5);
    tx.trim_outbox(2).await.expect("trims");
    tx.emit(NOW, "vpc", "delete", "id").await.expect("writes");
    assert_eq!(tx.newest_event().await.expect("reads"), 6, "numbers are not used again");
}

#[tokio::test]
async fn what_is_owed_is_seen_once_and_in_its_order() {
    let world = Fixture::new().await;
    let mut tx = world.store.write().await.expect("begins");
    let mut ids = Vec::new();
    for (number, since) in [(1, 30), (2, 10), (3, 20), (4, 20)] {
        let id = world.gateway(&mut tx, number).await.id;
        tx.set_gateway_pending(id, Some(Timestamp(since))).await.expect("owes");
        ids.push(id);
    }
    tx.commit().await.expect("commits");
    let mut reader = world.store.read().await.expect("begins");
    let look = async |reader: &mut causeway_store::Reader, mark, until, limit| {
        let (found, mark) = reader.gateways_owing(mark, Timestamp(until), limit).await.expect("looks");
        (found.iter().map(|record| record.gateway.id).collect::<Vec<_>>(), mark)
    };
    let (found, mark) = look(&mut reader, OwedMark::default(), 25, 2).await;
    assert_eq!(found, [ids[1], ids[2]], "of two since the same time the older object comes first");
    let (found, mark) = look(&mut reader, mark, 25, 2).await;
    assert_eq!(found, [ids[3]], "a look that was full goes on in the middle of a time");
    let (found, mark) = look(&mut reader, mark, 25, 2).await;
    assert_eq!(found, []);
    let (found, _) = look(&mut reader, mark, 30, 2).await;
    assert_eq!(found, [ids[0]]);
    let (found, mark) = look(&mut reader, mark, 15, 2).await;
    assert_eq!(found, [], "the clock was set back");
    let (found, _) = look(&mut reader, mark, 20, 2).await;
    assert_eq!(found, [ids[2], ids[3]], "what comes due after that is looked at, even if it was before");
}

#[tokio::test]
async fn a_nodes_lease_is_kept_and_replacements_are_found() {
    let fixture = Fixture::new().await;
    let (one, other) = (NodeId::random(), NodeId::random());
    let mut tx = fixture.store.write().await.expect("begins");
    for node in [one, other] {
        tx.register_node(node, ZONE, Uuid::new_v4(), "1", NOW).await.expect("registers");
    }
    assert_eq!(tx.node(one).await.expect("reads").expect("there").lease, NodeLease::default());
    let (machine, before) = (MachineId::random(), MachineId::random());
    let machines = BTreeMap::from([(one, before), (other, MachineId::random())]);
    let terms = |number| LeaseTerms { number, voters: vec![one, other], lease_ms: 6000, machines: machines.clone() };
    let lease = NodeLease {
        epoch: 7,
        replaced_since: Some(NOW),
        moving: true,
        free: false,
        machine: Some(machine),
        terms: vec![terms(3), terms(4)],
        number: 4,
        acknowledged: Some(3),
    };
    tx.set_node_lease(one, &lease).await.expect("writes");
    tx.commit().await.expect("commits");
    // A new start of the node's process changes nothing of it.
    let mut tx = fixture.store.write().await.expect("begins");
    tx.register_node(one, ZONE, Uuid::new_v4(), "2", NOW).await.expect("registers");
    tx.commit().await.expect("commits");
    let mut reader = fixture.store.read().await.expect("begins");
    let replaced = reader.replaced_nodes().await.expect("reads");
    assert_eq!(replaced.iter().map(|node| (node.id, node.lease.clone())).collect::<Vec<_>>(), [(one, lease.clone())]);
    assert_eq!(reader.node(other).await.expect("reads").expect("there").lease, NodeLease::default());
    drop(reader);
    let mut tx = fixture.store.write().await.expect("begins");
    let settled = NodeLease { replaced_since: None, moving: false, acknowledged: None, ..lease };
    tx.set_node_lease(one, &settled).await.expect("writes");
    assert!(tx.replaced_nodes().await.expect("reads").is_empty());
    assert_eq!(tx.node(one).await.expect("reads").expect("there").lease, settled);
    // Its voters shall know, although nobody waits for them.
    let free = NodeLease { free: true, ..settled };
    tx.set_node_lease(one, &free).await.expect("writes");
    let told = tx.replaced_nodes().await.expect("reads");
    assert_eq!(told.iter().map(|node| (node.id, node.lease.clone())).collect::<Vec<_>>(), [(one, free)]);
    let at = SocketAddr::from(([192, 0, 2, 1], 4431));
    tx.set_node_peering(one, Some(at), Some(machine)).await.expect("writes");
    let node = tx.node(one).await.expect("reads").expect("there");
    assert_eq!((node.peering, node.peering_machine), (Some(at), Some(machine)));
    tx.set_node_peering(one, None, None).await.expect("writes");
    let node = tx.node(one).await.expect("reads").expect("there");
    assert_eq!((node.peering, node.peering_machine), (None, None));
}

#[tokio::test]
async fn gateways_end_without_a_node_or_after_their_time() {
    let world = Fixture::new().await;
    let mut tx = world.store.write().await.expect("begins");
    let node = NodeId::random();
    tx.register_node(node, ZONE, Uuid::new_v4(), "1", Timestamp(0)).await.expect("attaches");
    let mut ids = Vec::new();
    for (number, placed, since) in [(1, true, 10), (2, true, 20), (3, false, 30), (4, true, 5)] {
        let id = world.gateway(&mut tx, number).await.id;
        if placed {
            tx.place_gateway(id, node).await.expect("places");
        }
        tx.start_gateway_deletion(id, Timestamp(since), placed.then_some(1)).await.expect("begins to end");
        ids.push(id);
    }
    world.gateway(&mut tx, 5).await;
    tx.hide_gateway(ids[3], Timestamp(9)).await.expect("hides");
    tx.commit().await.expect("commits");
    let mut reader = world.store.read().await.expect("begins");
    let found = reader.gateways_to_end(Timestamp(15), 10).await.expect("looks");
    let found: Vec<_> = found.iter().map(|record| record.gateway.id).collect();
    assert_eq!(found, [ids[0], ids[2]], "overdue, and on no node; neither under way, nor hidden, nor alive");
}

#[tokio::test]
async fn projects_and_organizations_are_listed_in_order_and_found_by_name() {
    let world = Fixture::new().await;
    let mut tx = world.store.write().await.expect("begins");
    let names = ["École", "- atelier", "Zoo", "ÉCOLE 2"];
    for (at, name) in names.into_iter().enumerate() {
        let (id, number) = (ProjectId::random(), u8::try_from(at).expect("few"));
        let (created_at, updated_at) = (NOW.plus_seconds(i64::from(number)), NOW.plus_seconds(i64::from(9 - number)));
        let project = Project {
            id,
            organization_id: world.organization,
            name: name.to_owned(),
            description: String::new(),
            ula: [0xfd, 1, 0, 0, 0, number],
            created_at,
            updated_at,
        };
        tx.insert_project(&project).await.expect("inserts");
        tx.insert_organization(OrganizationId::random(), name, created_at).await.expect("inserts");
    }
    assert_eq!(tx.project_count(world.organization).await.expect("counts"), 5);
    let cases: [(ListQuery, &[&str], u64); 5] = [
        (ListQuery { order: OrderField::Name, ..list() }, &["- atelier", "p", "Zoo", "École", "ÉCOLE 2"], 5),
        (ListQuery { order: OrderField::Name, descending: true, page_size: 2, ..list() }, &["ÉCOLE 2", "École"], 5),
        (ListQuery { descending: true, page: 2, page_size: 2, ..list() }, &["- atelier", "École"], 5),
        (ListQuery { name: Some("école".to_owned()), ..list() }, &["École", "ÉCOLE 2"], 2),
        (ListQuery { name: Some("OO".to_owned()), page: 2, ..list() }, &[], 1),
    ];
    for (query, expected, count) in cases {
        let (projects, total) = tx.projects(None, &query).await.expect("reads");
        let found: Vec<&str> = projects.iter().map(|project| project.name.as_str()).collect();
        assert_eq!((found.as_slice(), total), (expected, count), "{query:?}");
        let (organizations, total) = tx.organizations(&query).await.expect("reads");
        // The fixture's are called `p` and `o`.
        let found =
            organizations.iter().map(|object| if object.name == "o" { "p".to_owned() } else { object.name.clone() });
        assert_eq!(
            (found.collect::<Vec<_>>(), total),
            (expected.iter().map(|name| (*name).to_owned()).collect(), count)
        );
    }
    let only = tx.projects(Some(&[world.project]), &list()).await.expect("reads");
    assert_eq!((only.0.len(), only.1), (1, 1));
    let elsewhere = ListQuery { organization_id: Some(OrganizationId::random()), ..list() };
    assert_eq!(tx.projects(None, &elsewhere).await.expect("reads"), (Vec::new(), 0));
}

#[tokio::test]
async fn addresses_are_found_by_their_resource_s_name_and_leave_no_tags() {
    let world = Fixture::new().await;
    let mut tx = world.store.write().await.expect("begins");
    let mut ids = Vec::new();
    for (number, name) in [(7, "Élan"), (8, "plan")] {
        let mut ip = world.ip(IpSource::Zonal(ZONE.into()), &format!("192.0.2.{number}/32"));
        let (kind, id) = ("custom_resource".to_owned(), Uuid::new_v4());
        ip.resource = Some(IpResource { kind, id, name: Some(name.to_owned()), mac_address: None });
        ip.tags = vec!["t".to_owned()];
        tx.insert_ip(&ip, true).await.expect("inserts");
        ids.push((ip.id, id));
    }
    let filter = |name: &str| IpFilter { resource_name: Some(name.to_owned()), ..IpFilter::default() };
    for (name, expected) in [("ÉLAN", &ids[..1]), ("LAN", &ids[..]), ("élan%", &[])] {
        for (scope, seen) in [(Scope::All, true), (Scope::Project(world.project), true), (Scope::Nothing, false)] {
            let (found, total) = tx.ips(REGION, scope, &list(), &filter(name)).await.expect("reads");
            let expected: Vec<IpId> = expected.iter().filter(|_| seen).map(|(id, _)| *id).collect();
            assert_eq!(found.iter().map(|ip| ip.id).collect::<Vec<_>>(), expected, "{name} {scope:?}");
            assert_eq!(total, u64::try_from(expected.len()).expect("few"));
        }
    }
    tx.release_resource_ips(ids[0].1, NOW).await.expect("releases");
    tx.commit().await.expect("commits");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(world.directory.path().join("store.db"));
    let mut connection = sqlx::ConnectOptions::connect(&options).await.expect("opens");
    let owners: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT owner FROM tag").fetch_all(&mut connection).await.expect("reads");
    assert_eq!(owners, [ids[1].0.0.as_bytes()], "another's address keeps its own");
}

#[tokio::test]
async fn tags_of_secrets_are_those_of_the_organization_that_is_asked_for() {
    let world = Fixture::new().await;
    let mut tx = world.store.write().await.expect("begins");
    let mut secret = Secret {
        id: SecretId::random(),
        meta: world.meta("secret"),
        description: String::new(),
        managed: false,
        kind: "opaque".into(),
        protected: false,
        path: "/".into(),
        used_by: Vec::new(),
        version_count: 0,
    };
    secret.meta.tags = vec!["b".to_owned(), "a".to_owned(), "b".to_owned()];
    tx.insert_secret(&SecretRecord { secret, owner_connection: None }).await.expect("inserts");
    let of = |organization_id| ListQuery { organization_id, ..list() };
    for (organization, expected) in
        [(None, &["a", "b"][..]), (Some(world.organization), &["a", "b"]), (Some(OrganizationId::random()), &[])]
    {
        let (tags, total) = tx.secret_tags(REGION, Scope::All, &of(organization)).await.expect("reads");
        assert_eq!(tags, expected);
        assert_eq!(total, u64::try_from(expected.len()).expect("few"));
    }
}
