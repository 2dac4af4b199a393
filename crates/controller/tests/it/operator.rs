//! Projects, keys, quotas, the catalogue, and what is billed.

use causeway_controller::{
    AuditFilter, Clock as _, GatewayTypeOffer, KeyRequest, QuotaResource, SystemClock, UsageQuery,
};
use causeway_model::command::{
    ConnectionChange, GatewayTypeChange, IpChange, NewIp, NewIpSource, NewPublicAddress, NewRoutingPolicy, NewSecret,
    NewSecretVersion, NewVpc, OptionsChange, PolicyChange, Rename, RevisionRef,
};
use causeway_model::resource::{Caller, GatewayType, Role};
use causeway_model::route::{NewNextHop, NewRoute};
use causeway_model::{Family, Timestamp};
use uuid::Uuid;

use crate::harness::{
    FakeNode, REGION, World, ZONE, kind, list, meta, new_connection, new_customer, new_gateway, new_policy,
};

fn offer(name: &str, zones: &[&str]) -> GatewayTypeOffer {
    let gateway_type = GatewayType {
        name: name.to_owned(),
        bandwidth: 100,
        allowed_connections: 1,
        zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
        region: REGION.to_owned(),
    };
    GatewayTypeOffer { gateway_type, price_per_hour: 1_000 }
}

#[tokio::test]
async fn keys_end_and_are_revoked() {
    let world = World::new().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let request = |role, expires_at| KeyRequest {
        partner_id: None,
        role,
        project_id: operator.project_id,
        description: "k".to_owned(),
        expires_at,
    };
    let soon = Timestamp(causeway_controller::Clock::now(&*world.clock).0).plus_seconds(60);
    let made = controller.issue_api_key(operator, request(Role::Tenant, Some(soon))).await.expect("made");
    controller.authenticate(&made.secret_key, Uuid::new_v4()).await.expect("works");
    world.clock_forward(61);
    let error = controller.authenticate(&made.secret_key, Uuid::new_v4()).await.expect_err("ended");
    assert_eq!(kind(&error), "401 expired");
    let error = controller.issue_api_key(operator, request(Role::Tenant, Some(soon))).await.err().expect("past");
    assert_eq!(kind(&error), "400 expires_at");

    let made = controller.issue_api_key(operator, request(Role::Support, None)).await.expect("made");
    let all = controller.list_api_keys(operator, &list(), None, false).await.expect("listed");
    assert_eq!(all.total, 3);
    let support = controller.list_api_keys(operator, &list(), Some(Role::Support), false).await.expect("listed");
    assert_eq!(support.items, std::slice::from_ref(&made.key));
    for _ in 0..2 {
        let caller = controller.authenticate(&made.secret_key, Uuid::new_v4()).await.expect("works");
        assert_eq!((caller.access_key, caller.role), (made.key.access_key.clone(), Role::Support));
    }
    let revoked = controller.revoke_api_key(operator, &made.key.access_key).await.expect("revoked");
    assert!(revoked.revoked_at.is_some());
    assert_eq!(controller.revoke_api_key(operator, &made.key.access_key).await.expect("again"), revoked);
    let error = controller.authenticate(&made.secret_key, Uuid::new_v4()).await.expect_err("revoked");
    assert_eq!(kind(&error), "401 not_found");
    let support = controller.list_api_keys(operator, &list(), Some(Role::Support), false).await.expect("listed");
    assert_eq!(support.total, 0);
    let error = controller.revoke_api_key(operator, &operator.access_key).await.expect_err("the last one");
    assert_eq!(kind(&error), "412 resource_still_in_use");
    controller.issue_api_key(operator, request(Role::Operator, None)).await.expect("made");
    controller.revoke_api_key(operator, &operator.access_key).await.expect("another one is there");
}

#[tokio::test]
async fn projects_go_when_they_are_empty() {
    let world = World::new().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let tenant = world.tenant().await;
    let id = tenant.project_id;
    let renamed = controller.update_project(operator, id, Some("new".into()), None).await.expect("renamed");
    assert_eq!((renamed.name.as_str(), renamed.description.as_str()), ("new", ""));
    let error = controller.update_project(operator, id, Some(String::new()), None).await.expect_err("no name");
    assert_eq!(kind(&error), "400 name");
    let delete = async || controller.delete_project(operator, id).await.map_err(|error| kind(&error));
    assert_eq!(delete().await, Err("412 resource_still_in_use".to_owned()), "a key");
    let customer = world.customer(&tenant, 1).await;
    controller.revoke_api_key(operator, &tenant.access_key).await.expect("revoked");
    assert_eq!(delete().await, Err("412 resource_still_in_use".to_owned()), "an object");
    controller.delete_customer_gateway(operator, REGION, customer.id).await.expect("deleted");
    assert_eq!(delete().await, Ok(()));
    assert_eq!(delete().await, Err("404 project_id".to_owned()));
    let error = controller.delete_project(operator, operator.project_id).await.expect_err("the default one");
    assert_eq!(kind(&error), "412 resource_still_in_use");
}

/// What is counted within objects; all others count objects.
const AMOUNTS: [QuotaResource; 2] = [QuotaResource::RoutingPrefixes, QuotaResource::SecretOctets];

#[tokio::test]
async fn what_objects_hold_has_quotas_too() {
    let world = World::new().await;
    let (controller, tenant) = (&world.controller, world.tenant().await);
    let used = async |resource: QuotaResource| {
        let quotas = controller.quotas(&tenant, tenant.project_id).await.expect("its own");
        quotas.iter().find(|quota| quota.resource == resource).expect("there").used
    };
    let set = async |resource, quota| {
        controller.set_quota(&world.operator, tenant.project_id, resource, Some(quota)).await.expect("set");
    };
    let prefixes = QuotaResource::RoutingPrefixes;
    set(prefixes, 5).await;
    let first = controller.create_routing_policy(&tenant, REGION, new_policy(false)).await.expect("two");
    let second = controller.create_link_routing_policy(&tenant, REGION, new_policy(true)).await.expect("four");
    let error = controller.create_routing_policy(&tenant, REGION, new_policy(false)).await.expect_err("six");
    assert_eq!(kind(&error), "403 quota routing_prefixes");
    let edit = async |count: u8| {
        let list = (0..count).map(|number| format!("10.{number}.0.0/16").parse().expect("a prefix")).collect();
        let rename = Rename::default();
        controller.update_routing_policy(&tenant, REGION, first.id, rename, Some(list), None).await
    };
    edit(2).await.expect("five");
    assert_eq!(kind(&edit(3).await.expect_err("six")), "403 quota routing_prefixes");
    set(prefixes, 1).await;
    edit(1).await.expect("less is more than it may have, and less all the same");
    assert_eq!(used(prefixes).await, 4);
    controller.delete_routing_policy(&tenant, REGION, first.id).await.expect("deleted");
    controller.delete_link_routing_policy(&tenant, REGION, second.id).await.expect("deleted");
    assert_eq!(used(prefixes).await, 0);

    let octets = QuotaResource::SecretOctets;
    set(octets, 3000).await;
    let new = NewSecret {
        meta: meta("secret"),
        description: String::new(),
        kind: "opaque".to_owned(),
        path: "/".to_owned(),
        protected: false,
    };
    let secret = controller.create_secret(&tenant, REGION, new).await.expect("made");
    let add = async |length: usize| {
        let data = zeroize::Zeroizing::new(vec![7; length]);
        let new = NewSecretVersion { data, description: None, disable_previous: false, data_crc32: None };
        controller.create_secret_version(&tenant, REGION, secret.id, new).await
    };
    let version = add(1000).await.expect("fits");
    let one = used(octets).await;
    assert!((1000..1500).contains(&one), "{one}: the data and their envelope");
    add(1000).await.expect("fits");
    assert_eq!(kind(&add(1000).await.expect_err("too much")), "403 quota secret_octets");
    let revision = RevisionRef::Number(version.revision);
    controller.delete_secret_version(&tenant, REGION, secret.id, revision).await.expect("deleted");
    assert_eq!(used(octets).await, one);
    add(1000).await.expect("fits again");
    controller.delete_secret(&tenant, REGION, secret.id).await.expect("deleted");
    assert_eq!(used(octets).await, 0);
}

#[tokio::test]
async fn old_audit_records_go_and_the_rest_is_counted() {
    let world = World::new().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let count = async || {
        let page = controller.audit_records(operator, &list(), &AuditFilter::default()).await.expect("listed");
        assert_eq!(page.total, page.items.len() as u64, "all of them are on the page");
        page.total
    };
    for _ in 0..3 {
        controller.create_vpc(operator, REGION, NewVpc { meta: meta("old") }).await.expect("made");
    }
    let old = count().await;
    world.clock_forward(1000);
    controller.create_vpc(operator, REGION, NewVpc { meta: meta("young") }).await.expect("made");
    let between = SystemClock.now().plus_seconds(500);
    assert_eq!(controller.trim_audit(between).await.expect("trimmed"), old);
    assert_eq!(count().await, 1);
    assert_eq!(controller.trim_audit(between).await.expect("trimmed"), 0);
    controller.create_vpc(operator, REGION, NewVpc { meta: meta("newer") }).await.expect("made");
    assert_eq!(count().await, 2);
}

#[tokio::test]
async fn a_long_whitelist_makes_a_short_record() {
    let world = World::new().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let long = |from: u8, to: u8| -> Vec<ipnet::IpNet> {
        let prefix = |number| format!("10.{number}.0.0/16").parse().expect("a prefix");
        (from..to).map(prefix).collect()
    };
    let new = NewRoutingPolicy { prefix_filter_in: long(0, 200), ..new_policy(false) };
    let policy = controller.create_routing_policy(operator, REGION, new).await.expect("made");
    let rename = Rename::default();
    let edited = controller.update_routing_policy(operator, REGION, policy.id, rename, Some(long(3, 202)), None).await;
    edited.expect("changed");
    controller.delete_routing_policy(operator, REGION, policy.id).await.expect("deleted");
    let filter = AuditFilter { resource_id: Some(policy.id.to_string()), ..AuditFilter::default() };
    let records = controller.audit_records(operator, &list(), &filter).await.expect("listed").items;
    let list = |action: &str, side: &str| -> serde_json::Value {
        let record = records.iter().find(|record| record.action == action).expect("recorded");
        assert!(record.details[side].len() < 2500, "{}", record.details[side]);
        let fields: serde_json::Value = serde_json::from_str(&record.details[side]).expect("JSON");
        fields["prefix_filter_in"].clone()
    };
    let made = list("create", "after");
    assert_eq!((&made["prefixes"], made["only_here"].as_array().map(Vec::len)), (&200.into(), Some(50)));
    let (before, after) = (list("update", "before"), list("update", "after"));
    let gone = serde_json::json!({"prefixes": 200, "only_here": ["10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16"]});
    assert_eq!(before, gone);
    assert_eq!(after, serde_json::json!({"prefixes": 199, "only_here": ["10.200.0.0/16", "10.201.0.0/16"]}));
    assert_eq!(list("delete", "before")["prefixes"], 199);
}

#[tokio::test]
async fn quotas_are_kept() {
    let world = World::new().await;
    let controller = &world.controller;
    let tenant = world.tenant().await;
    let network = world.network(&tenant).await;
    let kinds = || QuotaResource::ALL.into_iter().filter(|resource| !AMOUNTS.contains(resource));
    for resource in kinds() {
        controller.set_quota(&world.operator, tenant.project_id, resource, Some(1)).await.expect("set");
    }
    let refused = |error: causeway_model::Error| kind(&error);
    let vpc = controller.create_vpc(&tenant, REGION, NewVpc { meta: meta("vpc") }).await;
    assert_eq!(vpc.map_err(refused).err(), Some("403 quota vpcs".to_owned()), "the first came with the network");
    let gateway = world.gateway(&tenant, &network).await;
    let again = controller.create_vpn_gateway(&tenant, REGION, new_gateway(&network)).await;
    assert_eq!(again.map_err(refused).err(), Some("403 quota vpn_gateways".to_owned()));
    let customer = world.customer(&tenant, 1).await;
    let again = controller.create_customer_gateway(&tenant, REGION, new_customer(2)).await;
    assert_eq!(again.map_err(refused).err(), Some("403 quota customer_gateways".to_owned()));
    let policy = world.policy(&tenant, false).await;
    let again = controller.create_routing_policy(&tenant, REGION, new_policy(false)).await;
    assert_eq!(again.map_err(refused).err(), Some("403 quota routing_policies".to_owned()));
    let new = || new_connection(&gateway, &customer, Some(&policy));
    let connection = controller.create_connection(&tenant, REGION, new()).await.expect("made");
    let again = controller.create_connection(&tenant, REGION, new()).await;
    assert_eq!(again.map_err(refused).err(), Some("403 quota connections".to_owned()));
    let book = async || {
        let source = NewIpSource::PrivateNetwork(network.id);
        let new = NewIp { project_id: None, source, is_ipv6: false, address: None, resource: None, tags: Vec::new() };
        controller.book_ip(&tenant, REGION, new).await
    };
    let ip = book().await.expect("the gateway's addresses do not count");
    assert_eq!(book().await.map_err(refused).err(), Some("403 quota ips".to_owned()));
    let secret = async || {
        let new = NewSecret {
            meta: meta("secret"),
            description: String::new(),
            kind: "opaque".to_owned(),
            path: "/".to_owned(),
            protected: false,
        };
        controller.create_secret(&tenant, REGION, new).await
    };
    secret().await.expect("the connection's secret does not count");
    assert_eq!(secret().await.map_err(refused).err(), Some("403 quota secrets".to_owned()));

    let route = async |destination: &str| {
        let new = NewRoute {
            description: String::new(),
            tags: Vec::new(),
            vpc_id: network.vpc_id,
            destination: destination.parse().expect("a prefix"),
            next_hop: NewNextHop { resource: None, network: Some(network.id) },
        };
        controller.create_route(&tenant, REGION, new).await
    };
    route("10.9.0.0/16").await.expect("the subnets' routes do not count");
    assert_eq!(route("10.8.0.0/16").await.map_err(refused).err(), Some("403 quota routes".to_owned()));

    let catalogue = world.catalogue().await;
    let order = async || controller.create_link(&tenant, REGION, catalogue.hosted(50)).await;
    order().await.expect("ordered");
    assert_eq!(order().await.map_err(refused).err(), Some("403 quota links".to_owned()));
    let link_policy = async || controller.create_link_routing_policy(&tenant, REGION, new_policy(false)).await;
    link_policy().await.expect("the VPN's policies do not count");
    assert_eq!(link_policy().await.map_err(refused).err(), Some("403 quota link_routing_policies".to_owned()));

    let quotas = controller.quotas(&tenant, tenant.project_id).await.expect("its own");
    assert_eq!(quotas.len(), kinds().count() + AMOUNTS.len());
    for quota in quotas.into_iter().filter(|quota| !AMOUNTS.contains(&quota.resource)) {
        assert_eq!((quota.quota, quota.used, quota.is_default), (1, 1, false), "{}", quota.resource);
    }
    controller.release_ip(&tenant, REGION, ip.id).await.expect("released");
    book().await.expect("there is room again");
    controller.delete_connection(&tenant, REGION, connection.connection.id).await.expect("deleted");
    controller.create_connection(&tenant, REGION, new()).await.expect("there is room again");
    let project = tenant.project_id;
    let set = controller.set_quota(&world.operator, project, QuotaResource::Vpcs, None).await.expect("set");
    assert_eq!((set.quota, set.is_default), (QuotaResource::Vpcs.default_quota(), true));
    let error = controller.set_quota(&tenant, project, QuotaResource::Vpcs, None).await.expect_err("not its business");
    assert_eq!(kind(&error), "403 quota");
    let error = controller.quotas(&tenant, world.operator.project_id).await.expect_err("not its project");
    assert_eq!(kind(&error), "404 project_id");
}

#[tokio::test]
async fn the_catalogue_changes_and_what_is_in_use_stays() {
    let world = World::new().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let network = world.network(operator).await;
    let made = controller.create_gateway_type(operator, REGION, offer("VGW-XS", &[ZONE])).await.expect("made");
    assert_eq!(made, offer("VGW-XS", &[ZONE]));
    let error = controller.create_gateway_type(operator, REGION, offer("VGW-XS", &[ZONE])).await.expect_err("twice");
    assert_eq!(kind(&error), "409 exists gateway_type");
    for (name, zones, expected) in [("a b", &[ZONE][..], "400 name"), ("x", &["nowhere"][..], "400 zones")] {
        let error = controller.create_gateway_type(operator, REGION, offer(name, zones)).await.expect_err(name);
        assert_eq!(kind(&error), expected);
    }
    let mut new = new_gateway(&network);
    new.gateway_type = "VGW-XS".to_owned();
    let gateway = controller.create_vpn_gateway(operator, REGION, new).await.expect("it is on offer");
    let mut node = FakeNode::attach(controller).await;
    node.wait_for(|desired| desired.gateways.iter().any(|gateway| gateway.bandwidth == 100)).await;
    let change = GatewayTypeChange { bandwidth: Some(200), ..GatewayTypeChange::default() };
    let changed = controller.update_gateway_type(operator, REGION, "VGW-XS", change).await.expect("changed");
    assert_eq!(changed.gateway_type.bandwidth, 200);
    node.wait_for(|desired| desired.gateways.iter().any(|gateway| gateway.bandwidth == 200)).await;
    let error = controller.delete_gateway_type(operator, REGION, "VGW-XS").await.expect_err("in use");
    assert_eq!(kind(&error), "412 resource_still_in_use");
    controller.delete_gateway_type(operator, REGION, "VGW-L").await.expect("nobody has it");
    let types = controller.gateway_types(operator, REGION, &list()).await.expect("listed");
    let names: Vec<&str> = types.items.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["VGW-S", "VGW-M", "VGW-XS"]);

    let prefix = |text: &str| text.parse::<ipnet::IpNet>().expect("a prefix");
    let error = controller.remove_public_pool(operator, REGION, ZONE, prefix("192.0.2.0/24")).await.expect_err("used");
    assert_eq!(kind(&error), "412 resource_still_in_use");
    for (text, expected) in [
        ("192.0.2.128/25", "400 prefix"),
        ("203.0.113.1/24", "400 prefix"),
        ("127.0.0.0/8", "400 prefix"),
        ("203.0.113.0/31", "400 prefix"),
        ("0.0.0.0/0", "400 prefix"),
    ] {
        let error = controller.add_public_pool(operator, REGION, ZONE, prefix(text)).await.expect_err(text);
        assert_eq!(kind(&error), expected, "{text}");
    }
    controller.add_zone(operator, REGION, "fr-par-3").await.expect("added");
    assert_eq!(kind(&controller.add_zone(operator, REGION, "fr-par-3").await.expect_err("twice")), "409 exists zone");
    let pool = controller.add_public_pool(operator, REGION, "fr-par-3", prefix("203.0.113.0/24")).await.expect("added");
    assert_eq!(pool.used, 0);
    let mut new = new_gateway(&network);
    new.zone = Some("fr-par-3".to_owned());
    new.public_ipv6 = NewPublicAddress::Absent;
    let error = controller.create_vpn_gateway(operator, REGION, new.clone()).await.expect_err("not on offer there");
    assert_eq!(kind(&error), "400 zone");
    let zones = Some(vec![ZONE.to_owned(), "fr-par-3".to_owned()]);
    let change = GatewayTypeChange { zones, ..GatewayTypeChange::default() };
    controller.update_gateway_type(operator, REGION, "VGW-S", change).await.expect("changed");
    controller.create_vpn_gateway(operator, REGION, new).await.expect("on offer there now");
    let pools = controller.public_pools(operator, REGION, Some("fr-par-3")).await.expect("listed");
    assert_eq!(pools.first().map(|pool| pool.used), Some(1));
    let error = controller.remove_zone(operator, REGION, "fr-par-3").await.expect_err("has a gateway");
    assert_eq!(kind(&error), "412 resource_still_in_use");
    controller.remove_zone(operator, REGION, "fr-par-2").await.expect("is empty");
    let zones = controller.list_zones(operator, REGION).await.expect("listed");
    let names: Vec<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
    assert_eq!(names, [ZONE, "fr-par-3"]);
    assert_eq!(gateway.gateway.gateway_type, "VGW-XS");
}

#[tokio::test]
async fn usage_survives_its_gateway() {
    let world = World::new().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let tenant = world.tenant().await;
    let network = world.network(&tenant).await;
    let start = causeway_controller::Clock::now(&*world.clock);
    let gateway = world.gateway(&tenant, &network).await.gateway;
    let node = FakeNode::attach(controller).await;
    drop(node.run());
    world.clock_forward(90 * 60);
    crate::harness::until(controller, async || {
        controller.delete_vpn_gateway(&tenant, REGION, gateway.id).await.is_ok()
    })
    .await;
    crate::harness::until(controller, async || controller.vpn_gateway(&tenant, REGION, gateway.id).await.is_err())
        .await;
    world.clock_forward(10 * 3600);
    let query = UsageQuery { from: start, to: start.plus_seconds(86400), project_id: None, page: 1, page_size: 10 };
    let usage = controller.usage(&tenant, REGION, &query).await.expect("its own");
    let record = usage.items.first().expect("one");
    assert_eq!((usage.total, record.resource_id, record.hours), (1, gateway.id.0, 2));
    assert_eq!((record.amount, record.price_per_hour, record.currency), (100_000, 50_000, "EUR"));
    assert_eq!(record.commercial_type, "VGW-S");
    assert!(record.ended_at.is_some());
    let other = UsageQuery { project_id: Some(operator.project_id), ..query };
    assert_eq!(controller.usage(&tenant, REGION, &other).await.expect("nothing").total, 0);
    assert_eq!(controller.usage(operator, REGION, &query).await.expect("everybody's").total, 1);
    let later = UsageQuery { from: start.plus_seconds(3 * 3600), ..query };
    assert_eq!(controller.usage(operator, REGION, &later).await.expect("nothing").total, 0);
    let error = controller.usage(operator, REGION, &UsageQuery { to: start, ..query }).await.expect_err("empty");
    assert_eq!(kind(&error), "400 to");
}

/// Every call that names an object, with one of another project; and every call that is the operator's.
#[tokio::test]
async fn nobody_sees_another_project() {
    let world = World::new().await;
    let c = &world.controller;
    let (_node, gateway, connection) = world.connected().await;
    let owner = &world.operator;
    let customer = connection.connection.customer_gateway_id;
    let policy = connection.connection.bgp_ipv4.as_ref().and_then(|bgp| bgp.routing_policy_id).expect("attached");
    let (secret, connection) = (connection.connection.secret_id, connection.connection.id);
    let network = gateway.gateway.private_network_id;
    let vpc = c.private_network(owner, REGION, network).await.expect("there").vpc_id;
    let (ip, gateway) = (gateway.gateway.ipam_private_ipv4_id, gateway.gateway.id);
    let foreign: Caller = world.tenant().await;
    let f = &foreign;
    let none = || Rename { name: None, tags: None };
    let change = PolicyChange { connection, family: Family::Ipv4, policy };
    let number = RevisionRef::Number(1);
    macro_rules! missing {
        ($($call:expr),+ $(,)?) => {$(
            let error = $call.await.map(|_| ()).expect_err(stringify!($call));
            assert!(kind(&error).starts_with("404 "), "{}: {error:?}", stringify!($call));
        )+};
    }
    missing!(
        c.vpc(f, REGION, vpc),
        c.update_vpc(f, REGION, vpc, none()),
        c.delete_vpc(f, REGION, vpc),
        c.private_network(f, REGION, network),
        c.update_private_network(f, REGION, network, none(), None),
        c.delete_private_network(f, REGION, network),
        c.ip(f, REGION, ip),
        c.update_ip(f, REGION, ip, IpChange::default()),
        c.release_ip(f, REGION, ip),
        c.secret(f, REGION, secret),
        c.update_secret(f, REGION, secret, none(), None, None),
        c.set_secret_protected(f, REGION, secret, true),
        c.delete_secret(f, REGION, secret),
        c.list_secret_versions(f, REGION, secret, &list(), &[]),
        c.secret_version(f, REGION, secret, number),
        c.update_secret_version(f, REGION, secret, number, None),
        c.set_secret_version_enabled(f, REGION, secret, number, false),
        c.delete_secret_version(f, REGION, secret, number),
        c.access_secret_version(f, REGION, secret, number),
        c.vpn_gateway(f, REGION, gateway),
        c.gateway_state(f, REGION, gateway),
        c.update_vpn_gateway(f, REGION, gateway, none()),
        c.delete_vpn_gateway(f, REGION, gateway),
        c.customer_gateway(f, REGION, customer),
        c.update_customer_gateway(f, REGION, customer, none(), None, None, None),
        c.delete_customer_gateway(f, REGION, customer),
        c.routing_policy(f, REGION, policy),
        c.update_routing_policy(f, REGION, policy, none(), None, None),
        c.delete_routing_policy(f, REGION, policy),
        c.connection(f, REGION, connection),
        c.connection_state(f, REGION, connection),
        c.connection_routes(f, REGION, connection),
        c.device_configuration(f, REGION, connection, None),
        c.update_connection(f, REGION, connection, ConnectionChange::default()),
        c.set_route_propagation(f, REGION, connection, false),
        c.set_routing_policy(f, REGION, change),
        c.detach_routing_policy(f, REGION, change),
        c.renew_psk(f, REGION, connection, true),
        c.change_psk(f, REGION, connection, secret, None),
        c.connection_options(f, REGION, connection),
        c.update_connection_options(f, REGION, connection, OptionsChange::default()),
        c.reauthenticate(f, REGION, connection),
        c.revoke_previous_psk(f, REGION, connection),
        c.delete_connection(f, REGION, connection),
        c.project(f, owner.project_id),
        c.quotas(f, owner.project_id),
        c.api_key(f, &owner.access_key),
    );
    assert_eq!(c.list_vpcs(f, REGION, &list(), &Default::default()).await.expect("listed").total, 0);
    assert_eq!(c.list_connections(f, REGION, &list(), &Default::default()).await.expect("listed").total, 0);
    assert_eq!(c.list_vpn_gateways(f, REGION, &list(), &Default::default()).await.expect("listed").total, 0);
    assert_eq!(c.list_secrets(f, REGION, &list(), &Default::default()).await.expect("listed").total, 0);
    assert_eq!(c.list_ips(f, REGION, &list(), &Default::default()).await.expect("listed").total, 0);
    assert_eq!(c.list_customer_gateways(f, REGION, &list()).await.expect("listed").total, 0);
    assert_eq!(c.list_routing_policies(f, REGION, &list(), None).await.expect("listed").total, 0);
    macro_rules! denied {
        ($($call:expr),+ $(,)?) => {$(
            let error = $call.await.map(|_| ()).expect_err(stringify!($call));
            assert!(kind(&error).starts_with("403 "), "{}: {error:?}", stringify!($call));
        )+};
    }
    let pool = || "198.18.0.0/24".parse().expect("a prefix");
    let key = || KeyRequest {
        role: Role::Operator,
        project_id: f.project_id,
        partner_id: None,
        description: String::new(),
        expires_at: None,
    };
    denied!(
        c.create_project(f, "p".into(), String::new()),
        c.update_project(f, f.project_id, None, None),
        c.delete_project(f, f.project_id),
        c.issue_api_key(f, key()),
        c.list_api_keys(f, &list(), None, true),
        c.revoke_api_key(f, &owner.access_key),
        c.set_quota(f, f.project_id, QuotaResource::Vpcs, None),
        c.gateway_type_offers(f, REGION),
        c.create_gateway_type(f, REGION, offer("x", &[ZONE])),
        c.update_gateway_type(f, REGION, "VGW-S", GatewayTypeChange::default()),
        c.delete_gateway_type(f, REGION, "VGW-L"),
        c.list_zones(f, REGION),
        c.add_zone(f, REGION, "fr-par-9"),
        c.remove_zone(f, REGION, "fr-par-2"),
        c.public_pools(f, REGION, None),
        c.add_public_pool(f, REGION, ZONE, pool()),
        c.remove_public_pool(f, REGION, ZONE, pool()),
        c.audit_records(f, &list(), &Default::default()),
        c.set_vpn_gateway_locked(f, REGION, gateway, None),
        c.set_connection_locked(f, REGION, connection, None),
    );
}
