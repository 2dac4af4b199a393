//! The recorded documents of wire-api.md (§3.4, §3.5, §3.7, Appendix A), byte for byte. Placeholders stand for ids.

use causeway_model::acl::{Acl, AclAction, AclProtocol, AclRule, PortRange};
use causeway_model::resource::{
    BgpSession, Connection, CustomerGateway, GatewayType, InitiationPolicy, Ip, IpResource, IpSource, Meta,
    PrivateNetwork, RoutingPolicy, Secret, SecretVersion, SecretVersionStatus, Subnet, Tunnels, Vpc, VpnGateway,
};
use causeway_model::route::{Route, RouteKind, RouteWithNextHop};
use causeway_model::status::{BgpStatus, ConnectionStatus, TunnelStatus, VpnGatewayStatus};
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};
use causeway_model::view::{ConnectionStatuses, VpnGatewayView};
use causeway_model::{OrganizationId, ProjectId, SubnetId, Timestamp};
use causeway_wire::document::List;
use causeway_wire::document::account::MetadataDocument;
use causeway_wire::document::instance::{InstanceIpDocument, WrappedInstanceIpDocument};
use causeway_wire::document::ipam::IpDocument;
use causeway_wire::document::s2s::{
    ConnectionDocument, ConnectionWithKeyDocument, CustomerGatewayDocument, GatewayTypeDocument, RoutingPolicyDocument,
    VpnGatewayDocument, WrappedConnectionDocument,
};
use causeway_wire::document::secret::{AccessDocument, SecretDocument, SecretVersionDocument};
use causeway_wire::document::vpc::{
    AclDocument, PrivateNetworkDocument, RouteDocument, RouteWithNexthopDocument, VpcDocument,
};
use serde::Serialize;
use uuid::Uuid;

/// A UUID that a placeholder stands for.
fn uuid(placeholder: &str) -> Uuid {
    const PLACEHOLDERS: [&str; 15] = [
        "<org>", "<prj>", "<id>", "<pn>", "<vpc>", "<s4>", "<s6>", "<gw>", "<cgw>", "<rp>", "<ip>", "<nic>", "<pub>",
        "<four>", "<six>",
    ];
    let index = PLACEHOLDERS.iter().position(|known| *known == placeholder).expect("a known placeholder");
    Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + index as u128)
}

fn id<T: From<Uuid>>(placeholder: &str) -> T {
    uuid(placeholder).into()
}

fn time(text: &str) -> Timestamp {
    // Days from civil, for the few dates of the samples.
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().expect("a number");
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let shifted = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * shifted.0 + shifted.0 / 4 - shifted.0 / 100 + shifted.0 / 400 + (153 * shifted.1 + 2) / 5 + day
        - 1
        - 719_468;
    let seconds = days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19);
    Timestamp(seconds * 1_000_000 + number(20..26))
}

fn meta(name: &str, at: &str) -> Meta {
    Meta {
        organization_id: id("<org>"),
        project_id: id("<prj>"),
        region: "fr-par".to_owned(),
        name: name.to_owned(),
        tags: Vec::new(),
        created_at: time(at),
        updated_at: time(at),
    }
}

#[track_caller]
fn check(document: &impl Serialize, sample: &str) {
    let mut expected = sample.to_owned();
    while let Some(start) = expected.find('<') {
        let end = start + expected[start..].find('>').expect("the placeholder's end") + 1;
        let id = uuid(&expected[start..end]).to_string();
        expected.replace_range(start..end, &id);
    }
    assert_eq!(serde_json::to_string(document).expect("JSON"), expected);
}

fn parse<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn gateway_types() {
    let gateway_type = GatewayType {
        name: "VGW-S".to_owned(),
        bandwidth: 1_000_000_000,
        allowed_connections: 10,
        zones: vec!["fr-par-1".to_owned(), "fr-par-2".to_owned()],
        region: "fr-par".to_owned(),
    };
    let items = vec![GatewayTypeDocument::from(gateway_type)];
    check(
        &List::alphabetical("gateway_types", items, 1),
        r#"{"gateway_types":[{"allowed_connections":10,"bandwidth":1000000000,"name":"VGW-S","region":"fr-par","zones":["fr-par-1","fr-par-2"]}],"total_count":1}"#,
    );
}

fn vpn_gateway() -> VpnGatewayView {
    let gateway = VpnGateway {
        id: parse("c711123c-ba2e-4267-9ede-afa611932580"),
        meta: meta("gw", "2026-07-28T12:29:11.358221Z"),
        zone: "fr-par-1".to_owned(),
        gateway_type: "VGW-S".to_owned(),
        asn: 12876,
        private_network_id: parse("88eb1423-3671-41c0-b9a8-b39c706de059"),
        ipam_private_ipv4_id: parse("8d4e80f7-077b-4e6e-88e7-e0b5b3e5dd61"),
        ipam_private_ipv6_id: parse("e799696e-252f-4f25-af09-6b6c4636c1f7"),
        public_ipv4_id: Some(parse("b72ff6c8-941c-487c-ae63-05dbb6f2bead")),
        public_ipv6_id: Some(parse("298ba396-e098-4b07-b15c-d7602cbca861")),
        connection_ids: Vec::new(),
        deleting_since: None,
        locked: false,
    };
    VpnGatewayView { gateway, status: VpnGatewayStatus::Provisioning }
}

#[test]
fn a_vpn_gateway() {
    check(
        &VpnGatewayDocument::from(vpn_gateway()),
        r#"{"asn":12876,"connection_ids":[],"created_at":"2026-07-28T12:29:11.358221Z","gateway_type":"VGW-S","id":"c711123c-ba2e-4267-9ede-afa611932580","ipam_private_ipv4_id":"8d4e80f7-077b-4e6e-88e7-e0b5b3e5dd61","ipam_private_ipv6_id":"e799696e-252f-4f25-af09-6b6c4636c1f7","name":"gw","organization_id":"<org>","private_network_id":"88eb1423-3671-41c0-b9a8-b39c706de059","project_id":"<prj>","public_config":{"ipam_ipv4_id":"b72ff6c8-941c-487c-ae63-05dbb6f2bead","ipam_ipv6_id":"298ba396-e098-4b07-b15c-d7602cbca861"},"region":"fr-par","status":"provisioning","tags":[],"updated_at":"2026-07-28T12:29:11.358221Z","zone":"fr-par-1"}"#,
    );
}

#[test]
fn a_vpn_gateway_without_a_public_ipv6_address_omits_its_key() {
    let mut view = vpn_gateway();
    view.gateway.public_ipv6_id = None;
    let json = serde_json::to_value(VpnGatewayDocument::from(view)).expect("JSON");
    assert_eq!(json["public_config"], serde_json::json!({"ipam_ipv4_id": "b72ff6c8-941c-487c-ae63-05dbb6f2bead"}));
}

fn connection() -> ConnectionStatuses {
    let cipher = Cipher {
        encryption: Encryption::Aes256,
        integrity: Some(Integrity::Sha256),
        dh_group: Some(DhGroup::Modp2048),
    };
    let connection = Connection {
        id: id("<id>"),
        meta: meta("conn", "2026-07-28T12:29:52.156515Z"),
        vpn_gateway_id: id("<gw>"),
        customer_gateway_id: id("<cgw>"),
        tunnels: Tunnels::Ipv4,
        initiation_policy: InitiationPolicy::CustomerGateway,
        ikev2_ciphers: vec![cipher],
        esp_ciphers: vec![cipher],
        secret_id: parse("5bdd2ffe-4c2d-4c35-bc9e-5aaf509bdd2d"),
        secret_revision: 1,
        owns_secret: true,
        bgp_ipv4: Some(BgpSession {
            private_ip: parse("169.254.0.1/30"),
            peer_private_ip: parse("169.254.0.2/30"),
            routing_policy_id: Some(id("<rp>")),
        }),
        bgp_ipv6: None,
        route_propagation_enabled: true,
        peer_identity: None,
        locked: false,
    };
    ConnectionStatuses {
        connection,
        status: ConnectionStatus::Down,
        tunnel_status: TunnelStatus::Down,
        tunnel_status_ipv4: TunnelStatus::Unknown,
        tunnel_status_ipv6: TunnelStatus::Unknown,
        bgp_status_ipv4: BgpStatus::Down,
        bgp_status_ipv6: BgpStatus::Disabled,
    }
}

const CONNECTION: &str = r#"{"bgp_session_ipv4":{"peer_private_ip":"169.254.0.2/30","private_ip":"169.254.0.1/30","routing_policy_id":"<rp>"},"bgp_status_ipv4":"down","bgp_status_ipv6":"disabled","created_at":"2026-07-28T12:29:52.156515Z","customer_gateway_id":"<cgw>","esp_ciphers":[{"dh_group":"modp2048","encryption":"aes256","integrity":"sha256"}],"id":"<id>","ikev2_ciphers":[{"dh_group":"modp2048","encryption":"aes256","integrity":"sha256"}],"initiation_policy":"customer_gateway","is_ipv6":false,"name":"conn","organization_id":"<org>","project_id":"<prj>","region":"fr-par","route_propagation_enabled":true,"secret_id":"5bdd2ffe-4c2d-4c35-bc9e-5aaf509bdd2d","secret_revision":1,"status":"down","tags":[],"tunnel_status":"down","tunnel_status_ipv4":"unknown_tunnel_status","tunnel_status_ipv6":"unknown_tunnel_status","updated_at":"2026-07-28T12:29:52.156515Z","vpn_gateway_id":"<gw>"}"#;

#[test]
fn a_connection_bare_wrapped_and_with_the_empty_key() {
    check(&ConnectionDocument::from(connection()), CONNECTION);
    check(&WrappedConnectionDocument::from(connection()), &format!(r#"{{"connection":{CONNECTION}}}"#));
    check(
        &ConnectionWithKeyDocument::from(connection()),
        &format!(r#"{{"connection":{CONNECTION},"pre_shared_key":""}}"#),
    );
}

#[test]
fn what_a_connection_has_not_is_omitted_and_a_detached_policy_is_an_empty_string() {
    let mut view = connection();
    view.connection.esp_ciphers = vec![Cipher { encryption: Encryption::Aes256Gcm, integrity: None, dh_group: None }];
    view.connection.ikev2_ciphers.clear();
    view.connection.tunnels = Tunnels::Both;
    if let Some(session) = &mut view.connection.bgp_ipv4 {
        session.routing_policy_id = None;
    }
    view.status = ConnectionStatus::Ready;
    let json = serde_json::to_value(ConnectionDocument::from(view)).expect("JSON");
    assert_eq!(json["esp_ciphers"], serde_json::json!([{"encryption": "aes256gcm"}]));
    assert_eq!(json["ikev2_ciphers"], serde_json::json!([]));
    assert_eq!(json["bgp_session_ipv4"]["routing_policy_id"], "");
    assert_eq!(json["is_ipv6"], false);
    assert_eq!(json["status"], "ready");
    assert!(json.get("bgp_session_ipv6").is_none());
}

#[test]
fn a_customer_gateway() {
    let gateway = CustomerGateway {
        id: id("<id>"),
        meta: meta("n", "2026-07-28T12:29:10.308108Z"),
        asn: 65000,
        public_ipv4: Some(parse("51.15.224.226")),
        public_ipv6: None,
        connection_ids: Vec::new(),
    };
    check(
        &CustomerGatewayDocument::from(gateway),
        r#"{"asn":65000,"connection_ids":[],"created_at":"2026-07-28T12:29:10.308108Z","id":"<id>","name":"n","organization_id":"<org>","project_id":"<prj>","public_ipv4":"51.15.224.226","region":"fr-par","tags":[],"updated_at":"2026-07-28T12:29:10.308108Z"}"#,
    );
}

#[test]
fn a_routing_policy() {
    let policy = RoutingPolicy {
        id: id("<id>"),
        meta: meta("n", "2026-07-28T12:29:09.645322Z"),
        is_ipv6: false,
        prefix_filter_in: vec![parse("10.0.1.0/24")],
        prefix_filter_out: vec![parse("10.0.0.0/24")],
    };
    check(
        &RoutingPolicyDocument::from(policy),
        r#"{"created_at":"2026-07-28T12:29:09.645322Z","id":"<id>","is_ipv6":false,"name":"n","organization_id":"<org>","prefix_filter_in":["10.0.1.0/24"],"prefix_filter_out":["10.0.0.0/24"],"project_id":"<prj>","region":"fr-par","tags":[],"updated_at":"2026-07-28T12:29:09.645322Z"}"#,
    );
}

#[test]
fn a_vpc() {
    let vpc = Vpc {
        id: id("<id>"),
        meta: meta("n", "2026-07-28T12:29:08.356342Z"),
        is_default: false,
        custom_routes_propagation_enabled: true,
        private_network_count: 0,
    };
    check(
        &VpcDocument::from(vpc),
        r#"{"created_at":"2026-07-28T12:29:08.356342Z","custom_routes_propagation_enabled":true,"id":"<id>","is_default":false,"name":"n","organization_id":"<org>","private_network_count":0,"project_id":"<prj>","region":"fr-par","routing_enabled":true,"tags":[],"transitivity_enabled":false,"updated_at":"2026-07-28T12:29:08.356342Z"}"#,
    );
    check(&AclDocument::from(Acl::default()), r#"{"default_policy":"accept","rules":[]}"#);
    let rule = AclRule {
        protocol: AclProtocol::Tcp,
        source: parse("10.0.0.0/24"),
        source_ports: PortRange { low: 0, high: 0 },
        destination: parse("0.0.0.0/0"),
        destination_ports: PortRange { low: 80, high: 443 },
        action: AclAction::Drop,
        description: Some("web".to_owned()),
    };
    let acl = Acl { default_action: AclAction::Drop, rules: vec![AclRule { description: None, ..rule.clone() }, rule] };
    check(
        &AclDocument::from(acl),
        r#"{"default_policy":"drop","rules":[{"action":"drop","destination":"0.0.0.0/0","dst_port_high":443,"dst_port_low":80,"protocol":"tcp","source":"10.0.0.0/24","src_port_high":0,"src_port_low":0},{"action":"drop","description":"web","destination":"0.0.0.0/0","dst_port_high":443,"dst_port_low":80,"protocol":"tcp","source":"10.0.0.0/24","src_port_high":0,"src_port_low":0}]}"#,
    );
}

#[test]
fn a_private_network() {
    let at = "2026-07-28T12:29:09.907019Z";
    let subnet =
        |id: SubnetId, range: &str| Subnet { id, subnet: parse(range), created_at: time(at), updated_at: time(at) };
    let network = PrivateNetwork {
        id: id("<pn>"),
        meta: meta("n", at),
        vpc_id: id("<vpc>"),
        subnets: vec![subnet(id("<s4>"), "10.0.0.0/24"), subnet(id("<s6>"), "fd5f:519c:6d46:70ac::/64")],
        default_route_propagation_enabled: false,
        dhcp_enabled: true,
    };
    check(
        &PrivateNetworkDocument::from(network),
        r#"{"created_at":"2026-07-28T12:29:09.907019Z","default_route_propagation_enabled":false,"dhcp_enabled":true,"id":"<pn>","name":"n","organization_id":"<org>","project_id":"<prj>","region":"fr-par","subnets":[{"created_at":"2026-07-28T12:29:09.907019Z","id":"<s4>","private_network_id":"<pn>","project_id":"<prj>","region":"fr-par","subnet":"10.0.0.0/24","updated_at":"2026-07-28T12:29:09.907019Z","vpc_id":"<vpc>"},{"created_at":"2026-07-28T12:29:09.907019Z","id":"<s6>","private_network_id":"<pn>","project_id":"<prj>","region":"fr-par","subnet":"fd5f:519c:6d46:70ac::/64","updated_at":"2026-07-28T12:29:09.907019Z","vpc_id":"<vpc>"}],"tags":[],"updated_at":"2026-07-28T12:29:09.907019Z","vpc_id":"<vpc>"}"#,
    );
}

#[test]
fn routes() {
    let route = Route {
        id: Some(id("<id>")),
        project_id: id("<prj>"),
        region: "fr-par".to_owned(),
        vpc_id: id("<vpc>"),
        kind: RouteKind::Custom,
        description: "d".to_owned(),
        tags: vec!["tf".to_owned()],
        destination: parse("10.0.0.0/24"),
        network: Some(id("<pn>")),
        resource: Some(uuid("<nic>")),
        created_at: time("2026-07-30T11:57:18.448617Z"),
        updated_at: time("2026-07-30T11:57:18.448617Z"),
    };
    check(
        &RouteDocument::from(route.clone()),
        r#"{"created_at":"2026-07-30T11:57:18.448617Z","description":"d","destination":"10.0.0.0/24","id":"<id>","is_read_only":false,"nexthop_private_network_id":"<pn>","nexthop_resource_id":"<nic>","nexthop_vpc_connector_id":null,"region":"fr-par","tags":["tf"],"type":"custom","updated_at":"2026-07-30T11:57:18.448617Z","vpc_id":"<vpc>"}"#,
    );
    let local = Route {
        id: None,
        kind: RouteKind::Subnet,
        description: "Local Private Network route".to_owned(),
        tags: vec!["MANAGED".to_owned()],
        destination: parse("172.16.32.0/22"),
        resource: None,
        created_at: time("2026-07-30T11:56:25.393560Z"),
        updated_at: time("2026-07-30T11:56:25.393560Z"),
        ..route.clone()
    };
    let item = RouteWithNexthopDocument::from(RouteWithNextHop { route: local, address: None, name: None });
    check(
        &List::alphabetical("routes", vec![item], 1),
        r#"{"routes":[{"nexthop_ip":null,"nexthop_name":null,"nexthop_resource_type":"unknown_type","route":{"created_at":"2026-07-30T11:56:25.393560Z","description":"Local Private Network route","destination":"172.16.32.0/22","id":"","is_read_only":true,"nexthop_private_network_id":"<pn>","nexthop_resource_id":null,"nexthop_vpc_connector_id":null,"region":"fr-par","tags":["MANAGED"],"type":"subnet","updated_at":"2026-07-30T11:56:25.393560Z","vpc_id":"<vpc>"}}],"total_count":1}"#,
    );
    let learned = Route {
        id: None,
        kind: RouteKind::S2sVpn,
        description: "Learned Site-to-Site VPN route".to_owned(),
        tags: vec!["MANAGED".to_owned()],
        resource: Some(uuid("<gw>")),
        ..route.clone()
    };
    let linked = Route {
        id: None,
        kind: RouteKind::Interlink,
        description: "Learned InterLink route".to_owned(),
        tags: vec!["MANAGED".to_owned()],
        network: None,
        resource: Some(uuid("<gw>")),
        ..route
    };
    check(
        &RouteWithNexthopDocument::from(RouteWithNextHop { route: linked, address: None, name: Some("l".to_owned()) }),
        r#"{"nexthop_ip":null,"nexthop_name":"l","nexthop_resource_type":"unknown_type","route":{"created_at":"2026-07-30T11:57:18.448617Z","description":"Learned InterLink route","destination":"10.0.0.0/24","id":"","is_read_only":true,"nexthop_private_network_id":null,"nexthop_resource_id":"<gw>","nexthop_vpc_connector_id":null,"region":"fr-par","tags":["MANAGED"],"type":"interlink","updated_at":"2026-07-30T11:57:18.448617Z","vpc_id":"<vpc>"}}"#,
    );
    let (address, name) = (Some(parse("172.16.32.2")), Some("gw".to_owned()));
    check(
        &RouteWithNexthopDocument::from(RouteWithNextHop { route: learned, address, name }),
        r#"{"nexthop_ip":"172.16.32.2","nexthop_name":"gw","nexthop_resource_type":"vpn_gateway","route":{"created_at":"2026-07-30T11:57:18.448617Z","description":"Learned Site-to-Site VPN route","destination":"10.0.0.0/24","id":"","is_read_only":true,"nexthop_private_network_id":"<pn>","nexthop_resource_id":"<gw>","nexthop_vpc_connector_id":null,"region":"fr-par","tags":["MANAGED"],"type":"s2s_vpn","updated_at":"2026-07-30T11:57:18.448617Z","vpc_id":"<vpc>"}}"#,
    );
}

fn ip() -> Ip {
    Ip {
        id: id("<ip>"),
        project_id: ProjectId(uuid("<prj>")),
        region: "fr-par".to_owned(),
        zone: None,
        address: parse("172.16.32.2/22"),
        source: IpSource::Subnet(id("<s4>")),
        resource: None,
        reverses: Vec::new(),
        tags: Vec::new(),
        created_at: time("2025-06-30T15:02:10.952803Z"),
        updated_at: time("2025-06-30T15:02:10.952803Z"),
    }
}

#[test]
fn ipam_addresses() {
    check(
        &IpDocument::from(ip()),
        r#"{"address":"172.16.32.2/22","created_at":"2025-06-30T15:02:10.952803Z","id":"<ip>","is_ipv6":false,"project_id":"<prj>","region":"fr-par","resource":null,"reverses":[],"source":{"subnet_id":"<s4>"},"tags":[],"updated_at":"2025-06-30T15:02:10.952803Z","zone":null}"#,
    );
    let attached = Ip {
        resource: Some(IpResource {
            kind: "custom".to_owned(),
            id: uuid("<ip>"),
            name: None,
            mac_address: Some("BC:24:11:74:D0:5B".to_owned()),
        }),
        created_at: time("2025-06-30T15:02:10.950535Z"),
        updated_at: time("2025-06-30T15:02:13.232354Z"),
        ..ip()
    };
    check(
        &IpDocument::from(attached),
        r#"{"address":"172.16.32.2/22","created_at":"2025-06-30T15:02:10.950535Z","id":"<ip>","is_ipv6":false,"project_id":"<prj>","region":"fr-par","resource":{"id":"<ip>","mac_address":"BC:24:11:74:D0:5B","name":null,"type":"custom"},"reverses":[],"source":{"subnet_id":"<s4>"},"tags":[],"updated_at":"2025-06-30T15:02:13.232354Z","zone":null}"#,
    );
}

#[test]
fn a_public_address_has_its_zone_as_source() {
    let public = Ip {
        address: parse("2001:db8::1/128"),
        source: IpSource::Zonal("fr-par-1".to_owned()),
        zone: Some("fr-par-1".to_owned()),
        ..ip()
    };
    let json = serde_json::to_value(IpDocument::from(public)).expect("JSON");
    assert_eq!(json["source"], serde_json::json!({"zonal": "fr-par-1"}));
    assert_eq!(json["is_ipv6"], true);
    assert_eq!(json["zone"], "fr-par-1");
    assert_eq!(json["address"], "2001:db8::1/128");
}

#[test]
fn secrets_versions_and_access() {
    let secret = Secret {
        id: id("<id>"),
        meta: meta("n", "2026-07-03T15:27:54.781102Z"),
        description: String::new(),
        managed: false,
        kind: "opaque".to_owned(),
        protected: false,
        path: "/".to_owned(),
        used_by: Vec::new(),
        version_count: 0,
    };
    check(
        &SecretDocument::from(secret),
        r#"{"id":"<id>","project_id":"<prj>","name":"n","status":"ready","created_at":"2026-07-03T15:27:54.781102Z","updated_at":"2026-07-03T15:27:54.781102Z","tags":[],"version_count":0,"description":"","managed":false,"type":"opaque","protected":false,"path":"/","ephemeral_policy":null,"used_by":[],"deletion_requested_at":null,"key_id":null,"region":"fr-par"}"#,
    );
    let version = SecretVersion {
        secret_id: id("<id>"),
        revision: 1,
        status: SecretVersionStatus::Enabled,
        description: Some("version1".to_owned()),
        latest: true,
        data_crc32: None,
        created_at: time("2026-07-03T15:27:55.395862Z"),
        updated_at: time("2026-07-03T15:27:55.395862Z"),
        deleted_at: None,
        region: "fr-par".to_owned(),
    };
    check(
        &AccessDocument::new(&version, "opaque".to_owned(), b"my_super_secret_v1"),
        r#"{"secret_id":"<id>","revision":1,"data":"bXlfc3VwZXJfc2VjcmV0X3Yx","data_crc32":null,"type":"opaque"}"#,
    );
    check(
        &SecretVersionDocument::from(version),
        r#"{"revision":1,"secret_id":"<id>","status":"enabled","created_at":"2026-07-03T15:27:55.395862Z","updated_at":"2026-07-03T15:27:55.395862Z","deleted_at":null,"description":"version1","latest":true,"ephemeral_properties":null,"deletion_requested_at":null,"region":"fr-par"}"#,
    );
}

#[test]
fn an_instance_address() {
    let ip = InstanceIpDocument::detached(
        id("<id>"),
        parse("51.15.224.226"),
        OrganizationId(uuid("<org>")),
        id("<prj>"),
        Vec::new(),
        "fr-par-1".to_owned(),
    );
    check(
        &WrappedInstanceIpDocument { ip },
        r#"{"ip":{"address":"51.15.224.226","id":"<id>","ipam_id":"<id>","organization":"<org>","prefix":null,"project":"<prj>","reverse":null,"server":null,"state":"detached","tags":[],"type":"routed_ipv4","zone":"fr-par-1"}}"#,
    );
}

#[test]
fn metadata() {
    check(&MetadataDocument::default(), r#"{"platform":"external","partition":"scw","domain":"scw.eu"}"#);
}
