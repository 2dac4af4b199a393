//! Every rule that ends in a 4xx, one row each.

use std::net::IpAddr;

use causeway_model::command::{
    NewBgp, NewIp, NewIpSource, NewPrivateNetwork, NewPublicAddress, NewVpc, PolicyChange, Rename, RevisionRef,
};
use causeway_model::resource::Role;
use causeway_model::view::VpnGatewayView;
use causeway_model::{Family, IpId, PrivateNetworkId, SecretId, VpcId, VpnGatewayId};
use ipnet::IpNet;
use uuid::Uuid;

use crate::harness::{REGION, World, kind, list, meta, new_connection, new_customer, new_gateway, new_policy};

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

#[tokio::test]
async fn authentication() {
    let world = World::new().await;
    let unknown = world.controller.authenticate(&Uuid::new_v4().to_string(), Uuid::new_v4()).await;
    assert_eq!(kind(&unknown.expect_err("unknown")), "401 not_found");
    let malformed = world.controller.authenticate("x", Uuid::new_v4()).await;
    assert_eq!(kind(&malformed.expect_err("malformed")), "401 invalid_argument");
    assert!(world.controller.bootstrap().await.expect("answers").is_none(), "the key is made once");
}

#[tokio::test]
async fn another_region_is_unknown() {
    let world = World::new().await;
    let error =
        world.controller.list_vpcs(&world.operator, "nl-ams", &list(), &Default::default()).await.expect_err("unknown");
    assert_eq!(kind(&error), "400 region");
}

#[tokio::test]
async fn private_networks() {
    let world = World::new().await;
    let vpc = NewVpc { meta: meta("vpc") };
    let vpc = world.controller.create_vpc(&world.operator, REGION, vpc).await.expect("made").id;
    let new = |vpc_id: Option<VpcId>, subnets: &[&str]| NewPrivateNetwork {
        meta: meta("network"),
        subnets: subnets.iter().map(|text| net(text)).collect(),
        vpc_id,
        default_route_propagation_enabled: false,
    };
    let create = async |new| world.controller.create_private_network(&world.operator, REGION, new).await;
    let first = create(new(Some(vpc), &["10.0.0.0/24"])).await.expect("made");
    assert_eq!(first.subnets[0].subnet, net("10.0.0.0/24"));
    assert_eq!(first.subnets[1].subnet.prefix_len(), 64);
    let second = create(new(Some(vpc), &[])).await.expect("made");
    let both = |network: &causeway_model::resource::PrivateNetwork| match network.subnets[1].subnet.network() {
        IpAddr::V6(address) => address.segments()[..3].to_vec(),
        IpAddr::V4(_) => Vec::new(),
    };
    assert_eq!(second.subnets[0].subnet, net("172.16.0.0/22"));
    assert_eq!(both(&first), both(&second), "one /48 per project");
    let cases: &[(Option<VpcId>, &[&str], &str)] = &[
        (Some(vpc), &["10.0.0.128/25"], "400 subnets"),
        (Some(vpc), &["10.0.0.0/16"], "400 subnets"),
        (Some(vpc), &["10.1.0.1/24"], "400 subnets"),
        (Some(vpc), &["10.1.0.0/30"], "400 subnets"),
        (Some(vpc), &["169.254.4.0/24"], "400 subnets"),
        (Some(vpc), &["10.1.0.0/24", "10.2.0.0/24"], "400 subnets"),
        (Some(vpc), &["10.1.0.0/24", "fe80::/64"], "400 subnets"),
        (Some(VpcId::random()), &[], "404 vpc"),
    ];
    for (vpc, subnets, expected) in cases {
        let error = create(new(*vpc, subnets)).await.expect_err(&format!("{subnets:?}"));
        assert_eq!(kind(&error), *expected, "{subnets:?}");
    }
    let in_default = create(new(None, &["10.0.0.0/24"])).await.expect("the default project has a default VPC");
    assert_ne!(in_default.vpc_id, vpc);
    let tenant = world.tenant().await;
    let error = world.controller.create_private_network(&tenant, REGION, new(None, &[])).await.expect_err("has none");
    assert_eq!(kind(&error), "400 vpc_id");
    let error = world.controller.create_private_network(&tenant, REGION, new(Some(vpc), &[])).await;
    assert_eq!(kind(&error.expect_err("not its VPC")), "404 vpc");
    let error = world.controller.delete_vpc(&world.operator, REGION, vpc).await.expect_err("has networks");
    assert_eq!(kind(&error), "412 resource_still_in_use");
}

#[tokio::test]
async fn private_networks_and_the_inside_of_connections_keep_apart() {
    let world = World::new().await;
    let (_node, gateway, made) = world.connected().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let network =
        controller.private_network(operator, REGION, gateway.gateway.private_network_id).await.expect("there");
    let customer = world.customer(operator, 9).await;
    let policy = world.policy(operator, true).await;
    let pair = |ours: Option<&str>| NewBgp {
        routing_policy_id: Some(policy.id),
        private_ip: ours.map(net),
        peer_private_ip: None,
    };
    let mut new = new_connection(&gateway, &customer, None);
    new.bgp_ipv6 = Some(pair(Some("fd99:1::1/126")));
    controller.create_connection(operator, REGION, new).await.expect("made");
    let change = PolicyChange { connection: made.connection.id, family: Family::Ipv6, policy: policy.id };
    let set = controller.set_routing_policy(operator, REGION, change).await.expect("set").connection;
    let allotted = set.bgp_ipv6.expect("a subnet was allotted").private_ip;
    let create = async |vpc_id, subnet: IpNet| {
        let new = NewPrivateNetwork {
            meta: meta("network"),
            subnets: vec![subnet],
            vpc_id: Some(vpc_id),
            default_route_propagation_enabled: false,
        };
        controller.create_private_network(operator, REGION, new).await
    };
    let own = IpNet::new_assert(allotted.addr(), 48).trunc();
    for subnet in [net("fd99:1::/64"), net("fd99:1::/124"), own, IpNet::new_assert(own.addr(), 64)] {
        let error = create(network.vpc_id, subnet).await.expect_err(&subnet.to_string());
        assert_eq!(kind(&error), "400 subnets", "{subnet}");
    }
    create(network.vpc_id, net("fd99:2::/64")).await.expect("beside them");
    let other = controller.create_vpc(operator, REGION, NewVpc { meta: meta("other") }).await.expect("made").id;
    create(other, net("fd99:1::/64")).await.expect("another VPC has no such connection");
    assert_eq!(kind(&create(other, own).await.expect_err("connections come later")), "400 subnets");
}

#[tokio::test]
async fn addresses() {
    let world = World::new().await;
    let network = world.network(&world.operator).await;
    let new = |source: NewIpSource, is_ipv6, address: Option<&str>| NewIp {
        project_id: None,
        source,
        is_ipv6,
        address: address.map(|text| text.parse().expect("an address")),
        resource: None,
        tags: Vec::new(),
    };
    let book = async |new| world.controller.book_ip(&world.operator, REGION, new).await;
    let inside = || NewIpSource::PrivateNetwork(network.id);
    let first = book(new(inside(), false, None)).await.expect("booked");
    assert_eq!(first.address.to_string(), "172.16.0.2/22");
    let chosen =
        book(new(NewIpSource::Subnet(network.subnets[0].id), false, Some("172.16.0.3"))).await.expect("booked");
    assert_eq!(book(new(inside(), false, None)).await.expect("booked").address.to_string(), "172.16.0.4/22");
    let zonal = || NewIpSource::Zonal("fr-par-2".to_owned());
    let cases: Vec<(NewIp, &str)> = vec![
        (new(inside(), false, Some("172.16.0.3")), "400 address"),
        (new(inside(), false, Some("172.16.0.1")), "400 address"),
        (new(inside(), false, Some("10.0.0.9")), "400 address"),
        (new(inside(), true, Some("172.16.0.9")), "400 address"),
        (new(NewIpSource::Subnet(network.subnets[0].id), true, None), "400 is_ipv6"),
        (new(NewIpSource::Zonal("xx".to_owned()), false, None), "400 source.zonal"),
        (new(zonal(), false, Some("198.51.100.3")), "400 address"),
        (new(zonal(), true, None), "503"),
        (new(NewIpSource::PrivateNetwork(PrivateNetworkId::random()), false, None), "404 private_network"),
        (new(NewIpSource::Subnet(causeway_model::SubnetId::random()), false, None), "404 subnet"),
    ];
    for (new, expected) in cases {
        let text = format!("{new:?}");
        assert_eq!(kind(&book(new).await.expect_err(&text)), expected, "{text}");
    }
    for _ in 0..5 {
        book(new(zonal(), false, None)).await.expect("a /29 has five hosts beside the router");
    }
    assert_eq!(kind(&book(new(zonal(), false, None)).await.expect_err("is full")), "503");
    world.controller.release_ip(&world.operator, REGION, chosen.id).await.expect("released");
    let again = book(new(inside(), false, None)).await.expect("booked");
    assert_eq!(again.address, chosen.address, "a released address is free");
    let gateway = world.gateway(&world.operator, &network).await.gateway;
    let error = world.controller.release_ip(&world.operator, REGION, gateway.ipam_private_ipv4_id).await;
    assert_eq!(kind(&error.expect_err("attached")), "412 resource_still_in_use");
}

#[tokio::test]
async fn gateways() {
    let world = World::new().await;
    let network = world.network(&world.operator).await;
    let other = world.network(&world.operator).await;
    let book = async |source, is_ipv6| {
        let new = NewIp { project_id: None, source, is_ipv6, address: None, resource: None, tags: Vec::new() };
        world.controller.book_ip(&world.operator, REGION, new).await.expect("booked").id
    };
    let private = book(NewIpSource::PrivateNetwork(network.id), false).await;
    let foreign = book(NewIpSource::PrivateNetwork(other.id), false).await;
    let public = book(NewIpSource::Zonal("fr-par-1".into()), false).await;
    let elsewhere = book(NewIpSource::Zonal("fr-par-2".into()), false).await;
    let public_v6 = book(NewIpSource::Zonal("fr-par-1".into()), true).await;
    let with = |change: &dyn Fn(&mut causeway_model::command::NewVpnGateway)| {
        let mut new = new_gateway(&network);
        change(&mut new);
        new
    };
    let cases = [
        (with(&|new| new.gateway_type = "VGW-X".into()), "400 gateway_type"),
        (with(&|new| new.zone = Some("fr-par-9".into())), "400 zone"),
        (
            with(&|new| {
                new.gateway_type = "VGW-X".into();
                new.zone = Some("fr-par-9".into());
                new.public_ipv4 = NewPublicAddress::Absent;
                new.public_ipv6 = NewPublicAddress::Absent;
            }),
            "400 gateway_type,public_config,zone",
        ),
        (with(&|new| new.private_network_id = PrivateNetworkId::random()), "404 private_network"),
        (with(&|new| new.ipam_private_ipv4_id = Some(IpId::random())), "404 ip"),
        (with(&|new| new.ipam_private_ipv4_id = Some(foreign)), "400 ipam_private_ipv4_id"),
        (with(&|new| new.ipam_private_ipv6_id = Some(private)), "400 ipam_private_ipv6_id"),
        (with(&|new| new.public_ipv4 = NewPublicAddress::Booked(elsewhere)), "400 public_config.ipam_ipv4_id"),
        (with(&|new| new.public_ipv4 = NewPublicAddress::Booked(private)), "400 public_config.ipam_ipv4_id"),
        (with(&|new| new.public_ipv4 = NewPublicAddress::Booked(public_v6)), "400 public_config.ipam_ipv4_id"),
        (with(&|new| new.zone = Some("fr-par-2".into())), "503"),
    ];
    for (new, expected) in cases {
        let text = format!("{new:?}");
        let error = world.controller.create_vpn_gateway(&world.operator, REGION, new).await.expect_err(&text);
        assert_eq!(kind(&error), expected, "{text}");
    }
    let new = with(&|new| {
        new.ipam_private_ipv4_id = Some(private);
        new.public_ipv4 = NewPublicAddress::Booked(public);
        new.public_ipv6 = NewPublicAddress::Absent;
    });
    let made = world.controller.create_vpn_gateway(&world.operator, REGION, new.clone()).await.expect("made").gateway;
    assert_eq!((made.ipam_private_ipv4_id, made.public_ipv4_id, made.public_ipv6_id), (private, Some(public), None));
    let error = world.controller.create_vpn_gateway(&world.operator, REGION, new).await.expect_err("attached");
    assert_eq!(kind(&error), "412 resource_still_in_use");
    let ip = world.controller.ip(&world.operator, REGION, public).await.expect("there");
    assert_eq!(ip.resource.map(|resource| (resource.kind, resource.id)), Some(("vpn_gateway".into(), made.id.0)));
    world.pass(31).await;
    world.controller.delete_vpn_gateway(&world.operator, REGION, made.id).await.expect("deleted");
    world.pass(1).await;
    let ip = world.controller.ip(&world.operator, REGION, public).await.expect("what was booked stays booked");
    assert_eq!(ip.resource, None);
}

#[tokio::test]
async fn customer_gateways_and_policies() {
    let world = World::new().await;
    let with = |change: &dyn Fn(&mut causeway_model::command::NewCustomerGateway)| {
        let mut new = new_customer(1);
        change(&mut new);
        new
    };
    let cases = [
        (with(&|new| new.asn = 12876), "400 asn"),
        (with(&|new| new.asn = 0), "400 asn"),
        (with(&|new| new.asn = 23456), "400 asn"),
        (with(&|new| (new.public_ipv4, new.public_ipv6) = (None, None)), "400 ipv4_public"),
        (with(&|new| new.public_ipv4 = Some([224, 0, 0, 5].into())), "400 ipv4_public"),
        (with(&|new| new.public_ipv6 = Some("fe80::1".parse().expect("an address"))), "400 ipv6_public"),
    ];
    for (new, expected) in cases {
        let text = format!("{new:?}");
        let error = world.controller.create_customer_gateway(&world.operator, REGION, new).await.expect_err(&text);
        assert_eq!(kind(&error), expected, "{text}");
    }
    let mut new = new_policy(false);
    new.prefix_filter_out.push(net("fd00::/8"));
    new.prefix_filter_in.push(net("::/0"));
    let error = world.controller.create_routing_policy(&world.operator, REGION, new).await.expect_err("mixed families");
    assert_eq!(kind(&error), "400 prefix_filter_in,prefix_filter_out");
}

#[tokio::test]
async fn connections() {
    let world = World::new().await;
    let (_node, gateway, made) = world.connected().await;
    let customer_id = made.connection.customer_gateway_id;
    let same = world.controller.customer_gateway(&world.operator, REGION, customer_id).await.expect("there");
    let customer = world.customer(&world.operator, 2).await;
    let v4_only = {
        let mut new = new_customer(3);
        new.public_ipv6 = None;
        world.controller.create_customer_gateway(&world.operator, REGION, new).await.expect("made")
    };
    let ours = {
        let mut new = new_customer(4);
        new.public_ipv4 = Some([192, 0, 2, 2].into());
        world.controller.create_customer_gateway(&world.operator, REGION, new).await.expect("made")
    };
    let v6_gateway = {
        let network = world.network(&world.operator).await;
        let mut new = new_gateway(&network);
        new.public_ipv4 = NewPublicAddress::Absent;
        world.controller.create_vpn_gateway(&world.operator, REGION, new).await.expect("made")
    };
    let (v4, v6) = (world.policy(&world.operator, false).await, world.policy(&world.operator, true).await);
    let tenant = world.tenant().await;
    let foreign = world.customer(&tenant, 9).await;
    let bgp = |ours: Option<&str>, theirs: Option<&str>, policy| {
        Some(NewBgp { routing_policy_id: policy, private_ip: ours.map(net), peer_private_ip: theirs.map(net) })
    };
    let base = || new_connection(&gateway, &customer, Some(&v4));
    let with = |change: &dyn Fn(&mut causeway_model::command::NewConnection)| {
        let mut new = base();
        change(&mut new);
        new
    };
    let taken = made.connection.bgp_ipv4.as_ref().expect("has one").private_ip.to_string();
    let cases = [
        (with(&|new| new.vpn_gateway_id = VpnGatewayId::random()), "404 vpn_gateway"),
        (with(&|new| new.customer_gateway_id = foreign.id), "404 customer_gateway"),
        (with(&|new| new.customer_gateway_id = same.id), "409 exists connection"),
        (with(&|new| new.customer_gateway_id = ours.id), "412 unknown_precondition"),
        (
            with(&|new| {
                new.customer_gateway_id = v4_only.id;
                new.is_ipv6 = Some(true);
            }),
            "400 is_ipv6",
        ),
        (
            with(&|new| {
                new.customer_gateway_id = v4_only.id;
                new.vpn_gateway_id = v6_gateway.gateway.id;
                new.is_ipv6 = None;
            }),
            "400 customer_gateway_id",
        ),
        (
            with(&|new| new.bgp_ipv4 = bgp(None, None, Some(causeway_model::RoutingPolicyId::random()))),
            "404 routing_policy",
        ),
        (with(&|new| new.bgp_ipv4 = bgp(None, None, Some(v6.id))), "400 bgp_config_ipv4.routing_policy_id"),
        (with(&|new| new.bgp_ipv4 = bgp(Some(&taken), None, Some(v4.id))), "400 bgp_config_ipv4.private_ip"),
        (with(&|new| new.bgp_ipv4 = bgp(Some("169.254.0.0/31"), None, Some(v4.id))), "400 bgp_config_ipv4.private_ip"),
        (
            with(&|new| {
                new.bgp_ipv4 = bgp(Some("169.254.3.1/29"), None, None);
                new.bgp_ipv6 = bgp(Some("fd00:1::1/126"), Some("fd00:1::6/126"), None);
            }),
            "400 bgp_config_ipv4.private_ip,bgp_config_ipv6.peer_private_ip",
        ),
        (with(&|new| new.secret = Some((SecretId::random(), None))), "404 secret"),
        (with(&|new| new.secret = Some((made.connection.secret_id, Some(9)))), "404 secret_version"),
        (with(&|new| new.meta.project_id = Some(tenant.project_id)), "404 vpn_gateway"),
    ];
    for (new, expected) in cases {
        let text = format!("{new:?}");
        let error = world.controller.create_connection(&world.operator, REGION, new).await.expect_err(&text);
        assert_eq!(kind(&error), expected, "{text}");
    }
    let secrets = world.controller.list_secrets(&world.operator, REGION, &list(), &Default::default()).await;
    assert_eq!(secrets.expect("listed").total, 1, "what fails leaves nothing behind");
    let chosen = with(&|new| new.bgp_ipv4 = bgp(Some("169.254.9.1/30"), Some("169.254.9.2/30"), Some(v4.id)));
    let chosen = world.controller.create_connection(&world.operator, REGION, chosen).await.expect("made").connection;
    let session = chosen.bgp_ipv4.expect("has one");
    assert_eq!((session.private_ip, session.peer_private_ip), (net("169.254.9.1/30"), net("169.254.9.2/30")));
    still_in_use(&world, &gateway, customer.id, v4.id).await;
    // An update of a customer gateway is held to the same rules.
    let moved = |address: [u8; 4]| {
        let rename = Rename::default();
        let address = Some(address.into());
        world.controller.update_customer_gateway(&world.operator, REGION, customer.id, rename, None, address, None)
    };
    assert_eq!(kind(&moved([192, 0, 2, 2]).await.expect_err("our own")), "412 unknown_precondition");
    assert_eq!(kind(&moved([203, 0, 113, 1]).await.expect_err("another's")), "409 exists connection");
    for host in 20..28 {
        let customer = world.customer(&world.operator, host).await;
        let new = new_connection(&gateway, &customer, None);
        world.controller.create_connection(&world.operator, REGION, new).await.expect("VGW-S has ten");
    }
    let last = world.customer(&world.operator, 99).await;
    let error =
        world.controller.create_connection(&world.operator, REGION, new_connection(&gateway, &last, None)).await;
    assert_eq!(kind(&error.expect_err("is full")), "403 quota connections_per_vpn_gateway");
}

async fn still_in_use(
    world: &World,
    gateway: &VpnGatewayView,
    customer: causeway_model::CustomerGatewayId,
    policy: causeway_model::RoutingPolicyId,
) {
    let caller = &world.operator;
    let errors = [
        world.controller.delete_vpn_gateway(caller, REGION, gateway.gateway.id).await.map(drop),
        world.controller.delete_customer_gateway(caller, REGION, customer).await,
        world.controller.delete_routing_policy(caller, REGION, policy).await,
        world.controller.delete_private_network(caller, REGION, gateway.gateway.private_network_id).await,
    ];
    for (at, error) in errors.into_iter().enumerate() {
        assert_eq!(kind(&error.expect_err("in use")), "412 resource_still_in_use", "{at}");
    }
}

#[tokio::test]
async fn tenants_see_and_touch_only_their_own() {
    let world = World::new().await;
    let (_node, gateway, made) = world.connected().await;
    let tenant = world.tenant().await;
    let partner = world.caller(Role::Partner, world.operator.project_id).await;
    let (id, connection) = (gateway.gateway.id, &made.connection);
    for stranger in [&tenant, &partner] {
        let c = &world.controller;
        let errors = [
            kind(&c.vpn_gateway(stranger, REGION, id).await.expect_err("foreign")),
            kind(&c.delete_vpn_gateway(stranger, REGION, id).await.expect_err("foreign")),
            kind(&c.connection(stranger, REGION, connection.id).await.expect_err("foreign")),
            kind(&c.set_route_propagation(stranger, REGION, connection.id, false).await.expect_err("foreign")),
            kind(&c.secret(stranger, REGION, connection.secret_id).await.expect_err("foreign")),
            kind(&c.connection_state(stranger, REGION, connection.id).await.expect_err("foreign")),
        ];
        let expected = ["vpn_gateway", "vpn_gateway", "connection", "connection", "secret", "connection"];
        assert_eq!(errors, expected.map(|resource| format!("404 {resource}")));
    }
    let mut new = NewVpc { meta: meta("vpc") };
    new.meta.project_id = Some(world.operator.project_id);
    let error = world.controller.create_vpc(&tenant, REGION, new.clone()).await.expect_err("another's project");
    assert_eq!(kind(&error), "403 vpc");
    new.meta.project_id = Some(causeway_model::ProjectId::random());
    let error = world.controller.create_vpc(&world.operator, REGION, new).await.expect_err("no such project");
    assert_eq!(kind(&error), "404 project_id");
    let support = world.caller(Role::Support, world.operator.project_id).await;
    world.controller.gateway_state(&support, REGION, id).await.expect("support diagnoses");
    let error =
        world.controller.delete_connection(&support, REGION, connection.id).await.expect_err("but changes nothing");
    assert_eq!(kind(&error), "403 connection");
    let error =
        world.controller.audit_records(&tenant, &list(), &Default::default()).await.expect_err("operators only");
    assert_eq!(kind(&error), "403 audit_record");
    let change =
        PolicyChange { connection: connection.id, family: Family::Ipv4, policy: world.policy(&tenant, false).await.id };
    let error =
        world.controller.set_routing_policy(&world.operator, REGION, change).await.expect_err("another project's");
    assert_eq!(kind(&error), "404 routing_policy");
}

#[tokio::test]
async fn secrets_are_their_tenants() {
    let world = World::new().await;
    let tenant = world.tenant().await;
    let new = causeway_model::command::NewSecret {
        meta: meta("s"),
        description: String::new(),
        kind: "opaque".into(),
        path: "/".into(),
        protected: true,
    };
    let id = world.controller.create_secret(&tenant, REGION, new).await.expect("made").id;
    let version = causeway_model::command::NewSecretVersion {
        data: zeroize::Zeroizing::new(b"data".to_vec()),
        description: None,
        disable_previous: false,
        data_crc32: None,
    };
    world.controller.create_secret_version(&tenant, REGION, id, version).await.expect("made");
    let latest = RevisionRef::LatestEnabled;
    let read = world.controller.access_secret_version(&tenant, REGION, id, latest).await.expect("readable");
    assert_eq!(read.data.as_slice(), b"data");
    let error = world.controller.access_secret_version(&world.operator, REGION, id, latest).await;
    assert_eq!(kind(&error.err().expect("operators do not read")), "403 secret_version");
    let error = world.controller.delete_secret(&tenant, REGION, id).await.expect_err("protected");
    assert_eq!(kind(&error), "412 protected_resource");
    world.controller.set_secret_version_enabled(&tenant, REGION, id, RevisionRef::Number(1), false).await.expect("off");
    let error = world.controller.access_secret_version(&tenant, REGION, id, RevisionRef::Number(1)).await;
    assert_eq!(kind(&error.err().expect("disabled")), "412 unknown_precondition");
    let error = world.controller.access_secret_version(&tenant, REGION, id, latest).await;
    assert_eq!(kind(&error.err().expect("none is enabled")), "404 secret_version");
    world.controller.delete_secret_version(&tenant, REGION, id, RevisionRef::Latest).await.expect("deleted");
    world.controller.set_secret_protected(&tenant, REGION, id, false).await.expect("unprotected");
    world.controller.delete_secret(&tenant, REGION, id).await.expect("deleted");
}
