//! A connection's life: statuses from facts, keys, policies.

use causeway_controller::QuotaResource;
use causeway_model::acl::{Acl, AclAction, AclPacket, AclProtocol};
use causeway_model::command::{
    ConnectionChange, ConnectionFilter, NewConnection, NewSecret, NewSecretVersion, PolicyChange, Rename, RevisionRef,
};
use causeway_model::desired::NodeDesired;
use causeway_model::explain::Question;
use causeway_model::reason::ReasonCode;
use causeway_model::resource::Role;
use causeway_model::status::{BgpStatus, ConnectionStatus, TunnelStatus, VpnGatewayStatus};
use causeway_model::{ConnectionId, Family};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::harness::{FakeNode, REGION, World, kind, list, meta, new_connection, until};

async fn status(world: &World, id: ConnectionId) -> (ConnectionStatus, Option<ReasonCode>) {
    let state = world.controller.connection_state(&world.operator, REGION, id).await.expect("there");
    (state.status, state.reason.map(|reason| reason.code))
}

/// How many connections a list filtered by a status has: the stored copy, as opposed to [`status`].
async fn listed(world: &World, status: ConnectionStatus) -> u64 {
    let filter = ConnectionFilter { statuses: vec![status], ..ConnectionFilter::default() };
    world.controller.list_connections(&world.operator, REGION, &list(), &filter).await.expect("listed").total
}

#[tokio::test]
async fn from_ready_to_active_and_down() {
    let world = World::new().await;
    let (mut node, gateway, made) = world.connected().await;
    let id = made.connection.id;
    assert_eq!((made.status, made.tunnel_status), (ConnectionStatus::Ready, TunnelStatus::Down));
    assert_eq!((made.bgp_status_ipv4, made.bgp_status_ipv6), (BgpStatus::Down, BgpStatus::Disabled));
    assert_eq!(made.tunnel_status_ipv4, TunnelStatus::Unknown);
    let gateway = world.controller.vpn_gateway(&world.operator, REGION, gateway.gateway.id).await.expect("there");
    assert_eq!((gateway.status, gateway.gateway.connection_ids.as_slice()), (VpnGatewayStatus::Active, &[id][..]));
    assert_eq!(status(&world, id).await, (ConnectionStatus::Ready, Some(ReasonCode::AwaitingDevice)));
    assert_eq!(listed(&world, ConnectionStatus::Down).await, 1, "down also matches ready");
    let cases = [
        (true, false, ConnectionStatus::Down, Some(ReasonCode::BgpConnecting)),
        (true, true, ConnectionStatus::Active, None),
        (false, true, ConnectionStatus::Down, Some(ReasonCode::AwaitingDevice)),
        (true, true, ConnectionStatus::Active, None),
    ];
    for (tunnels, sessions, expected, reason) in cases {
        node.report_tunnels(tunnels, sessions).await;
        until(&world.controller, async || status(&world, id).await == (expected, reason)).await;
        assert_eq!(listed(&world, expected).await, 1, "the copy follows: {expected}");
    }
    let view = world.controller.connection(&world.operator, REGION, id).await.expect("there");
    assert_eq!((view.tunnel_status, view.bgp_status_ipv4), (TunnelStatus::Up, BgpStatus::Up));
    drop(node);
    until(&world.controller, async || status(&world, id).await.1 == Some(ReasonCode::NodeUnreachable)).await;
    assert_eq!(listed(&world, ConnectionStatus::Active).await, 0);
}

#[tokio::test]
async fn a_connection_makes_its_gateway_configuring_and_a_switch_does_not() {
    let world = World::new().await;
    let (mut node, gateway, made) = world.connected().await;
    let (id, gateway) = (made.connection.id, gateway.gateway.id);
    let gateway_status =
        async || world.controller.vpn_gateway(&world.operator, REGION, gateway).await.expect("there").status;
    let off = world.controller.set_route_propagation(&world.operator, REGION, id, false).await.expect("off");
    assert!(!off.connection.route_propagation_enabled);
    assert_eq!(gateway_status().await, VpnGatewayStatus::Active);
    let desired = node.acknowledge_until(|desired| !desired.gateways[0].connections[0].propagate).await;
    assert_eq!((desired.gateways[0].revision, desired.gateways[0].connections[0].revision), (2, 2));
    node.report_tunnels(true, true).await;
    let expected = (ConnectionStatus::Active, Some(ReasonCode::PropagationDisabled));
    until(&world.controller, async || status(&world, id).await == expected).await;
    world.controller.set_route_propagation(&world.operator, REGION, id, true).await.expect("on");
    assert_eq!(status(&world, id).await, (ConnectionStatus::Active, Some(ReasonCode::ConfigPending)));
    world.controller.delete_connection(&world.operator, REGION, id).await.expect("deleted");
    assert_eq!(gateway_status().await, VpnGatewayStatus::Configuring);
    let refused = world.controller.delete_vpn_gateway(&world.operator, REGION, gateway).await.expect_err("changing");
    assert_eq!(kind(&refused), "409 configuring");
    node.acknowledge_until(|desired| desired.gateways[0].connections.is_empty()).await;
    until(&world.controller, async || gateway_status().await == VpnGatewayStatus::Active).await;
    let gone = world.controller.connection(&world.operator, REGION, id).await.expect_err("gone");
    assert_eq!(kind(&gone), "404 connection");
}

#[tokio::test]
async fn a_connection_waits_for_its_gateway() {
    let world = World::new().await;
    let network = world.network(&world.operator).await;
    let gateway = world.gateway(&world.operator, &network).await;
    let (customer, policy) = (world.customer(&world.operator, 1).await, world.policy(&world.operator, false).await);
    world.pass(31).await;
    let new = new_connection(&gateway, &customer, Some(&policy));
    let made = world.controller.create_connection(&world.operator, REGION, new).await.expect("made");
    let id = made.connection.id;
    assert_eq!(status(&world, id).await, (ConnectionStatus::Down, Some(ReasonCode::GatewayNotReady)));
    let mut node = FakeNode::attach(&world.controller).await;
    node.acknowledge_until(|desired| desired.gateways.iter().any(|gateway| gateway.connections.len() == 1)).await;
    let expected = (ConnectionStatus::Ready, Some(ReasonCode::AwaitingDevice));
    until(&world.controller, async || status(&world, id).await == expected).await;
}

/// Also on its own network a gateway is behind the router, and for customers' sites it is nothing that can be reached.
#[tokio::test]
async fn a_gateways_own_address_is_explained_as_one() {
    let world = World::new().await;
    let (mut node, gateway, _) = world.connected().await;
    node.report_tunnels(true, true).await;
    let (controller, operator, gateway) = (&world.controller, &world.operator, gateway.gateway);
    let network = controller.private_network(operator, REGION, gateway.private_network_id).await.expect("there");
    let vpc = network.vpc_id;
    let closed = Acl { default_action: AclAction::Drop, rules: Vec::new() };
    controller.set_vpc_acl(operator, REGION, vpc, Family::Ipv4, closed).await.expect("set");
    let own = controller.ip(operator, REGION, gateway.ipam_private_ipv4_id).await.expect("there").address;
    let host = own.hosts().rfind(|host| *host != own.addr()).expect("a host");
    let asked = async |protocol| {
        let packet =
            AclPacket { protocol, source: host, source_port: None, destination: own.addr(), destination_port: None };
        let answer = controller.explain_route(operator, REGION, vpc, &Question::Packet(packet)).await.expect("there");
        (answer.verdict, answer.fault.map(|fault| fault.code))
    };
    assert_eq!(asked(AclProtocol::Icmp).await, ("dropped", Some(ReasonCode::AclDenied)));
    controller.set_vpc_acl(operator, REGION, vpc, Family::Ipv4, Acl::default()).await.expect("set");
    assert_eq!(asked(AclProtocol::Icmp).await, ("delivered", None));
    assert_eq!(asked(AclProtocol::Tcp).await, ("dropped", Some(ReasonCode::PlatformAddress)));
}

#[tokio::test]
async fn a_late_acknowledgement_is_overdue() {
    let world = World::new().await;
    let (_node, gateway, made) = world.connected().await;
    world.controller.delete_connection(&world.operator, REGION, made.connection.id).await.expect("deleted");
    world.pass(31).await;
    let state = world.controller.gateway_state(&world.operator, REGION, gateway.gateway.id).await.expect("there");
    assert_eq!(state.status, VpnGatewayStatus::Active);
    assert_eq!(state.reason.map(|reason| reason.code), Some(ReasonCode::ConfigOverdue));
}

#[tokio::test]
async fn its_own_secret_comes_and_goes_with_it() {
    let world = World::new().await;
    let (mut node, _, made) = world.connected().await;
    let id = made.connection.id;
    let secret = made.connection.secret_id;
    let view = world.controller.secret(&world.operator, REGION, secret).await.expect("there");
    assert_eq!((view.meta.name.as_str(), view.managed), (format!("s2s-vpn-{id}").as_str(), true));
    assert_eq!((view.used_by, view.version_count), (vec!["s2s_vpn".to_owned()], 1));
    let latest = RevisionRef::Latest;
    let access = async || world.controller.access_secret_version(&world.operator, REGION, secret, latest).await;
    let key = access().await.expect("readable").data;
    assert_eq!(key.len(), 43);
    let desired = node.wait_for(|desired| !desired.gateways[0].connections.is_empty()).await;
    assert_eq!(desired.gateways[0].connections[0].psks[0].expose(), key.as_slice());
    let no = world.controller.delete_secret(&world.operator, REGION, secret).await.expect_err("in use");
    assert_eq!(kind(&no), "412 resource_still_in_use");
    let no = world.controller.set_secret_version_enabled(&world.operator, REGION, secret, latest, false).await;
    assert_eq!(kind(&no.expect_err("in use")), "412 resource_still_in_use");
    let no = world.controller.delete_secret_version(&world.operator, REGION, secret, latest).await.expect_err("in use");
    assert_eq!(kind(&no), "412 resource_still_in_use");
    world.controller.delete_connection(&world.operator, REGION, id).await.expect("deleted");
    let gone = world.controller.secret(&world.operator, REGION, secret).await.expect_err("gone");
    assert_eq!(kind(&gone), "404 secret");
}

#[tokio::test]
async fn its_own_secret_stays_while_another_connection_uses_it() {
    let world = World::new().await;
    let (controller, tenant) = (&world.controller, world.tenant().await);
    let network = world.network(&tenant).await;
    let gateway = world.gateway(&tenant, &network).await;
    let connect = async |number, secret| {
        let customer = world.customer(&tenant, number).await;
        let new = NewConnection { secret, ..new_connection(&gateway, &customer, None) };
        controller.create_connection(&tenant, REGION, new).await.expect("made").connection
    };
    let first = connect(1, None).await;
    let second = connect(2, Some((first.secret_id, None))).await;
    let counted = async || {
        let quotas = controller.quotas(&tenant, tenant.project_id).await.expect("its own");
        quotas.iter().find(|quota| quota.resource == QuotaResource::Secrets).expect("there").used
    };
    assert_eq!(counted().await, 0);
    controller.delete_connection(&tenant, REGION, first.id).await.expect("deleted");
    assert_eq!(counted().await, 1, "the tenant's own from now on");
    controller.delete_connection(&tenant, REGION, second.id).await.expect("deleted");
    controller.secret(&tenant, REGION, first.secret_id).await.expect("stays");
    controller.delete_secret(&tenant, REGION, first.secret_id).await.expect("deleted");
    assert_eq!(counted().await, 0);
}

#[tokio::test]
async fn a_renewed_key_is_accepted_beside_the_old_one_for_the_window() {
    let world = World::new().await;
    let (mut node, _, made) = world.connected().await;
    let (id, secret) = (made.connection.id, made.connection.secret_id);
    let keys = |desired: &NodeDesired| -> Vec<Vec<u8>> {
        desired.gateways[0].connections[0].psks.iter().map(|psk| psk.expose().to_vec()).collect()
    };
    let first = keys(&*node.wait_for(|_| true).await).remove(0);
    let in_place = world.controller.renew_psk(&world.operator, REGION, id, false).await.expect("renewed");
    assert_eq!(in_place.connection.secret_revision, 1);
    let after = keys(&*node.acknowledge_until(|desired| desired.gateways[0].connections[0].psks.len() == 2).await);
    assert_eq!(after[1], first);
    assert_ne!(after[0], first);
    let next = world.controller.renew_psk(&world.operator, REGION, id, true).await.expect("renewed");
    assert_eq!(next.connection.secret_revision, 2);
    let latest =
        keys(&*node.acknowledge_until(|desired| desired.gateways[0].connections[0].psks[0].expose() != after[0]).await);
    assert_eq!(latest[1..], [after[0].clone(), first], "the first is within its window still");
    let read = world.controller.access_secret_version(&world.operator, REGION, secret, RevisionRef::Number(2)).await;
    assert_eq!(*read.expect("readable").data, latest[0]);
    node.report_tunnels(true, true).await;
    let unproven = (ConnectionStatus::Active, Some(ReasonCode::PskChangeUnproven));
    until(&world.controller, async || status(&world, id).await == unproven).await;
    world.pass(24 * 3600 + 1).await;
    let over = keys(&*node.wait_for(|desired| desired.gateways[0].connections[0].psks.len() == 1).await);
    assert_eq!(over[0], latest[0]);
}

/// A report with the tunnel up, authenticated with the key at `place` of the list.
fn proved(desired: &NodeDesired, place: u32) -> causeway_model::observed::NodeReport {
    let mut report = crate::harness::acknowledgement(desired, Some((true, true)));
    for tunnel in report.connections.iter_mut().flat_map(|connection| &mut connection.tunnels) {
        tunnel.ike = Some(causeway_model::observed::IkeFacts {
            suite: "aes256gcm-prfsha384-curve25519".to_owned(),
            established_at: tunnel.since,
            initiator: false,
            rekeys: 0,
            peer_endpoint: "203.0.113.1:4500".to_owned(),
            psk: place,
        });
    }
    report
}

#[tokio::test]
async fn a_changed_key_is_proven_by_what_the_node_says_was_used() {
    let world = World::new().await;
    let (mut node, _, made) = world.connected().await;
    let id = made.connection.id;
    let unproven = (ConnectionStatus::Active, Some(ReasonCode::PskChangeUnproven));
    let proven = (ConnectionStatus::Active, None);
    world.controller.renew_psk(&world.operator, REGION, id, true).await.expect("renewed");
    let both = node.wait_for(|desired| desired.gateways[0].connections[0].psks.len() == 2).await;
    for (place, expected) in [(1, unproven), (0, proven), (1, unproven)] {
        node.report(proved(&both, place)).await;
        until(&world.controller, async || status(&world, id).await == expected).await;
    }
    // The window's end deletes nothing: what the old key made stays, off the list now, and unproven.
    world.pass(24 * 3600 + 1).await;
    let one = node.wait_for(|desired| desired.gateways[0].connections[0].psks.len() == 1).await;
    for (place, expected) in [(1, unproven), (0, proven)] {
        node.report(proved(&one, place)).await;
        until(&world.controller, async || status(&world, id).await == expected).await;
    }
}

fn accepted(desired: &NodeDesired) -> Vec<Vec<u8>> {
    desired.gateways[0].connections[0].psks.iter().map(|psk| psk.expose().to_vec()).collect()
}

/// A change whose answer was lost is sent again, and nobody has told the device of any of them.
#[tokio::test]
async fn however_often_the_key_changes_the_one_that_the_device_has_is_accepted() {
    let world = World::new().await;
    let (mut node, _, made) = world.connected().await;
    let (controller, operator, id) = (&world.controller, &world.operator, made.connection.id);
    let at_first = accepted(&*node.wait_for(|_| true).await);
    let [first] = &at_first[..] else { panic!("one key: {}", at_first.len()) };
    let mut newest: Vec<Vec<u8>> = Vec::new();
    for round in 0..7 {
        controller.renew_psk(operator, REGION, id, round % 2 == 0).await.expect("renewed");
        let is_new = |key: &Vec<u8>| key != first && !newest.contains(key);
        let desired = node.wait_for(|desired| is_new(&accepted(desired)[0])).await;
        newest.insert(0, accepted(&desired).remove(0));
        let keys = accepted(&desired);
        let kept = newest.len().min(4);
        assert_eq!((&keys[..kept], &keys[kept..]), (&newest[..kept], &at_first[..]), "round {round}");
        // The device has what it had before all this.
        let place = u32::try_from(keys.len() - 1).expect("a few");
        node.report(proved(&desired, place)).await;
        let unproven = (ConnectionStatus::Active, Some(ReasonCode::PskChangeUnproven));
        until(controller, async || status(&world, id).await == unproven).await;
    }
    // It has moved on to the newest: the next change keeps that, and nothing older.
    let desired = node.wait_for(|_| true).await;
    node.report(proved(&desired, 0)).await;
    until(controller, async || status(&world, id).await == (ConnectionStatus::Active, None)).await;
    controller.renew_psk(operator, REGION, id, true).await.expect("renewed");
    let desired = node.wait_for(|desired| accepted(desired)[0] != newest[0]).await;
    assert_eq!(accepted(&desired)[1..], newest[..1]);
    assert!(!accepted(&desired).contains(first));
    controller.revoke_previous_psk(operator, REGION, id).await.expect("revoked");
    node.wait_for(|desired| accepted(desired).len() == 1).await;
}

#[tokio::test]
async fn each_earlier_key_has_a_window_of_its_own() {
    let world = World::new().await;
    let (mut node, _, made) = world.connected().await;
    let id = made.connection.id;
    let first = accepted(&*node.wait_for(|_| true).await).remove(0);
    let renew = async || world.controller.renew_psk(&world.operator, REGION, id, true).await.expect("renewed");
    renew().await;
    let second = accepted(&*node.wait_for(|desired| accepted(desired).len() == 2).await).remove(0);
    world.pass(20 * 3600).await;
    renew().await;
    let all = accepted(&*node.wait_for(|desired| accepted(desired).len() == 3).await);
    assert_eq!(all[1..], [second.clone(), first]);
    world.pass(5 * 3600).await;
    let left = accepted(&*node.wait_for(|desired| accepted(desired).len() == 2).await);
    assert_eq!(left, [all[0].clone(), second]);
    world.pass(20 * 3600).await;
    assert_eq!(accepted(&*node.wait_for(|desired| accepted(desired).len() == 1).await), all[..1]);
}

#[tokio::test]
async fn a_tenants_own_key() {
    let world = World::new().await;
    let (mut node, _, made) = world.connected().await;
    let id = made.connection.id;
    let new = NewSecret {
        meta: meta("mine"),
        description: String::new(),
        kind: "opaque".into(),
        path: "/".into(),
        protected: false,
    };
    let secret = world.controller.create_secret(&world.operator, REGION, new).await.expect("made").id;
    let missing = world.controller.change_psk(&world.operator, REGION, id, secret, None).await.expect_err("no version");
    assert_eq!(kind(&missing), "404 secret_version");
    let version = |data: &[u8], crc| NewSecretVersion {
        data: Zeroizing::new(data.to_vec()),
        description: None,
        disable_previous: true,
        data_crc32: crc,
    };
    let wrong =
        world.controller.create_secret_version(&world.operator, REGION, secret, version(b"123456789", Some(1))).await;
    assert_eq!(kind(&wrong.expect_err("wrong checksum")), "400 data_crc32");
    let right = version(b"123456789", Some(0xcbf4_3926));
    let made = world.controller.create_secret_version(&world.operator, REGION, secret, right).await.expect("made");
    assert_eq!((made.revision, made.latest), (1, true));
    let changed = world.controller.change_psk(&world.operator, REGION, id, secret, None).await.expect("changed");
    assert_eq!((changed.connection.secret_id, changed.connection.secret_revision), (secret, 1));
    assert!(!changed.connection.owns_secret);
    node.wait_for(|desired| desired.gateways[0].connections[0].psks[0].expose() == b"123456789").await;
    let no = world.controller.create_secret_version(&world.operator, REGION, secret, version(b"x", None)).await;
    assert_eq!(kind(&no.expect_err("would disable a key in use")), "412 resource_still_in_use");
    world.controller.delete_connection(&world.operator, REGION, id).await.expect("deleted");
    let kept = world.controller.secret(&world.operator, REGION, secret).await.expect("the tenant's own stays");
    assert!(kept.used_by.is_empty());
}

/// The Go SDK's update: "if not given it will not change; if secret_id is updated, secret_revision should be set accordingly".
#[tokio::test]
async fn an_update_changes_the_key_as_change_psk_does() {
    let world = World::new().await;
    let (mut node, _, made) = world.connected().await;
    let (controller, operator, id) = (&world.controller, &world.operator, made.connection.id);
    let renewed = controller.renew_psk(operator, REGION, id, true).await.expect("renewed").connection;
    assert_eq!(renewed.secret_revision, 2);
    let new = NewSecret {
        meta: meta("mine"),
        description: String::new(),
        kind: "opaque".into(),
        path: "/".into(),
        protected: false,
    };
    let secret = controller.create_secret(operator, REGION, new).await.expect("made").id;
    let add = async |data: &[u8]| {
        let data = Zeroizing::new(data.to_vec());
        let version = NewSecretVersion { data, description: None, disable_previous: false, data_crc32: None };
        controller.create_secret_version(operator, REGION, secret, version).await.expect("made").revision
    };
    assert_eq!(add(b"the first").await, 1);
    let update = async |secret_id, secret_revision| {
        let rename = Rename { name: Some(format!("{secret_revision:?}")), tags: None };
        let change = ConnectionChange { rename, secret_id, secret_revision, ..ConnectionChange::default() };
        let changed = controller.update_connection(operator, REGION, id, change).await;
        changed.map(|view| (view.connection.secret_id, view.connection.secret_revision)).map_err(|error| kind(&error))
    };
    // The revision's number stays where none is given, and the whole update fails where it does not lead to a key.
    assert_eq!(update(Some(secret), None).await.err().as_deref(), Some("400 secret_revision"));
    assert_eq!(update(Some(secret), Some(7)).await.err().as_deref(), Some("404 secret_version"));
    assert_eq!(update(Some(Uuid::new_v4().into()), Some(1)).await.err().as_deref(), Some("404 secret"));
    let read = controller.connection(operator, REGION, id).await.expect("there").connection;
    assert_eq!((&read.meta.name, read.secret_id), (&renewed.meta.name, renewed.secret_id), "nothing was changed");
    assert_eq!(update(Some(secret), Some(1)).await, Ok((secret, 1)));
    node.wait_for(|desired| desired.gateways[0].connections[0].psks[0].expose() == b"the first").await;
    assert_eq!(add(b"the second").await, 2);
    assert_eq!(update(None, Some(2)).await, Ok((secret, 2)), "of the secret that it has");
    let both = [b"the second".to_vec(), b"the first".to_vec()];
    node.wait_for(|desired| accepted(desired).starts_with(&both)).await;
    assert_eq!(update(Some(renewed.secret_id), None).await, Ok((renewed.secret_id, 2)), "the number is the same");
    controller
        .set_secret_version_enabled(operator, REGION, secret, RevisionRef::Number(1), false)
        .await
        .expect("unused");
    assert_eq!(update(Some(secret), Some(1)).await.err().as_deref(), Some("400 secret_revision"), "disabled");
}

#[tokio::test]
async fn policies_are_set_detached_and_edited() {
    let world = World::new().await;
    let (mut node, _, made) = world.connected().await;
    let connection = made.connection.id;
    let v4 = made.connection.bgp_ipv4.as_ref().and_then(|session| session.routing_policy_id).expect("has one");
    let v6 = world.policy(&world.operator, true).await.id;
    let change = |family, policy| PolicyChange { connection, family, policy };
    let wrong = world.controller.set_routing_policy(&world.operator, REGION, change(Family::Ipv4, v6)).await;
    assert_eq!(kind(&wrong.expect_err("wrong family")), "400 routing_policy_v4");
    let set =
        world.controller.set_routing_policy(&world.operator, REGION, change(Family::Ipv6, v6)).await.expect("set");
    let session = set.connection.bgp_ipv6.expect("a subnet was allotted");
    assert_eq!((session.private_ip.prefix_len(), session.routing_policy_id), (126, Some(v6)));
    node.wait_for(|desired| desired.gateways[0].connections[0].bgp.len() == 2).await;
    let in_use = world.controller.delete_routing_policy(&world.operator, REGION, v6).await.expect_err("attached");
    assert_eq!(kind(&in_use), "412 resource_still_in_use");
    let wrong = world.controller.detach_routing_policy(&world.operator, REGION, change(Family::Ipv4, v6)).await;
    assert_eq!(kind(&wrong.expect_err("another one is attached")), "400 routing_policy_v4");
    let detached = world.controller.detach_routing_policy(&world.operator, REGION, change(Family::Ipv4, v4)).await;
    let session = detached.expect("detached").connection.bgp_ipv4.expect("the subnet stays");
    assert_eq!(session.routing_policy_id, None);
    let prefix = "10.9.0.0/16".parse().expect("a prefix");
    let set = change(Family::Ipv4, v4);
    world.controller.set_routing_policy(&world.operator, REGION, set).await.expect("set again");
    let edit = Some(vec![prefix]);
    world
        .controller
        .update_routing_policy(&world.operator, REGION, v4, Rename::default(), edit, None)
        .await
        .expect("ok");
    node.wait_for(|desired| {
        let policy = desired.gateways[0].connections[0].bgp[0].policy.as_ref();
        policy.is_some_and(|policy| policy.prefix_filter_in == [prefix])
    })
    .await;
}

#[tokio::test]
async fn a_new_peer_address_starts_over() {
    let world = World::new().await;
    let (mut node, _, made) = world.connected().await;
    let id = made.connection.id;
    node.report_tunnels(true, true).await;
    until(&world.controller, async || status(&world, id).await.0 == ConnectionStatus::Active).await;
    node.report_tunnels(false, false).await;
    until(&world.controller, async || status(&world, id).await.0 == ConnectionStatus::Down).await;
    let moved = [203, 0, 113, 99].into();
    let customer = made.connection.customer_gateway_id;
    let update = world.controller.update_customer_gateway(
        &world.operator,
        REGION,
        customer,
        Rename::default(),
        Some(65001),
        Some(moved),
        None,
    );
    assert_eq!(update.await.expect("updated").asn, 65001);
    // The old tunnel was up, but to another address.
    node.report_tunnels(true, true).await;
    node.wait_for(|desired| desired.gateways[0].connections[0].tunnels[0].peer == std::net::IpAddr::V4(moved)).await;
    node.report_tunnels(false, false).await;
    until(&world.controller, async || status(&world, id).await.0 == ConnectionStatus::Ready).await;
}

#[tokio::test]
async fn two_tunnels_and_redundancy() {
    let world = World::new().await;
    let (mut node, gateway, _) = world.connected().await;
    let customer = world.customer(&world.operator, 7).await;
    let policy = world.policy(&world.operator, false).await;
    let mut new = new_connection(&gateway, &customer, Some(&policy));
    new.is_ipv6 = None;
    let made = world.controller.create_connection(&world.operator, REGION, new).await.expect("made");
    let id = made.connection.id;
    assert_eq!((made.tunnel_status_ipv4, made.tunnel_status_ipv6), (TunnelStatus::Down, TunnelStatus::Down));
    let desired = node.wait_for(|desired| desired.gateways[0].connections.len() == 2).await;
    let mut report = crate::harness::acknowledgement(&desired, Some((true, true)));
    let facts = report.connections.iter_mut().find(|facts| facts.id == id).expect("reported");
    assert_eq!(facts.tunnels.len(), 2);
    facts.tunnels[1].up = false;
    node.report(report).await;
    let expected = (ConnectionStatus::Active, Some(ReasonCode::TunnelRedundancyLost));
    until(&world.controller, async || status(&world, id).await == expected).await;
    let view = world.controller.connection(&world.operator, REGION, id).await.expect("there");
    assert_eq!((view.tunnel_status_ipv4, view.tunnel_status_ipv6), (TunnelStatus::Up, TunnelStatus::Down));
    for is_ipv6 in [true, false] {
        let filter = ConnectionFilter { is_ipv6: Some(is_ipv6), ..ConnectionFilter::default() };
        let page = world.controller.list_connections(&world.operator, REGION, &list(), &filter).await.expect("listed");
        assert!(page.items.iter().any(|view| view.connection.id == id), "matches both values");
    }
}

#[tokio::test]
async fn a_lock_stops_changes_and_reaches_the_node() {
    let world = World::new().await;
    let (mut node, gateway, made) = world.connected().await;
    let (id, gateway) = (made.connection.id, gateway.gateway.id);
    let support = world.caller(Role::Support, world.operator.project_id).await;
    let tenant = world.caller(Role::Tenant, world.operator.project_id).await;
    let no = world.controller.set_vpn_gateway_locked(&tenant, REGION, gateway, Some("abuse".into())).await;
    assert_eq!(kind(&no.expect_err("a tenant may not")), "403 vpn_gateway");
    let locked = world.controller.set_vpn_gateway_locked(&support, REGION, gateway, Some("abuse".into())).await;
    assert_eq!(locked.expect("locked").status, VpnGatewayStatus::Locked);
    assert_eq!(status(&world, id).await.0, ConnectionStatus::Locked);
    node.acknowledge_until(|desired| desired.gateways[0].locked && desired.gateways[0].connections[0].locked).await;
    until(&world.controller, async || {
        let state = world.controller.gateway_state(&tenant, REGION, gateway).await.expect("there");
        state.applied_revision == state.desired_revision
    })
    .await;
    let no = world.controller.set_route_propagation(&tenant, REGION, id, false).await.expect_err("locked");
    assert_eq!(kind(&no), "423 connection");
    let no =
        world.controller.update_vpn_gateway(&tenant, REGION, gateway, Rename::default()).await.expect_err("locked");
    assert_eq!(kind(&no), "423 vpn_gateway");
    let no = world.controller.delete_vpn_gateway(&tenant, REGION, gateway).await.expect_err("locked");
    assert_eq!(kind(&no), "423 vpn_gateway", "the lock comes before the connections that are in the way");
    let unlocked = world.controller.set_vpn_gateway_locked(&support, REGION, gateway, None).await.expect("unlocked");
    assert_eq!(unlocked.status, VpnGatewayStatus::Active);
    let locked =
        world.controller.set_connection_locked(&support, REGION, id, Some("abuse".into())).await.expect("locked");
    assert_eq!(locked.status, ConnectionStatus::Locked);
    let no = world.controller.delete_connection(&tenant, REGION, id).await.expect_err("locked");
    assert_eq!(kind(&no), "423 connection");
}

#[tokio::test]
async fn a_lock_that_the_node_has_not_put_in_force_says_so() {
    let world = World::new().await;
    let (mut node, gateway, made) = world.connected().await;
    let (controller, operator, id) = (&world.controller, &world.operator, made.connection.id);
    let gateway = gateway.gateway.id;
    let made_revision = node.wait_for(|_| true).await.gateways[0].connections[0].revision;
    let evidence = async |name: &str| {
        let of_gateway = controller.gateway_state(operator, REGION, gateway).await.expect("there").reason;
        let of_connection = controller.connection_state(operator, REGION, id).await.expect("there").reason;
        [of_gateway, of_connection].map(|reason| {
            let reason = reason.filter(|reason| reason.code == ReasonCode::Locked)?;
            Some(reason.evidence.get(name).cloned().unwrap_or_default())
        })
    };
    let all = |text: &str| [Some(text.to_owned()), Some(text.to_owned())];
    let reason = || Some("abuse".to_owned());
    controller.set_vpn_gateway_locked(operator, REGION, gateway, reason()).await.expect("locked");
    assert_eq!(evidence("lock").await, all("not yet enforced"));
    assert_eq!(evidence("node").await, all("has not acknowledged it"));
    // A report about the configuration before.
    let desired = node.wait_for(|desired| desired.gateways[0].locked).await;
    let mut report = crate::harness::acknowledgement(&desired, None);
    report.gateways[0].applied -= 1;
    report.gateways[0].refused = Some(causeway_model::observed::Refusal {
        revision: desired.gateways[0].revision,
        item: "packet filter".to_owned(),
        error: "EPERM".to_owned(),
    });
    node.report(report).await;
    until(controller, async || evidence("error").await == all("EPERM")).await;
    assert_eq!(evidence("lock").await, all("not yet enforced"));
    node.acknowledge_until(|desired| desired.gateways[0].locked).await;
    until(controller, async || evidence("lock").await == all("")).await;
    // A connection whose gateway is locked may have a lock of its own, and one in force is enough.
    controller.set_connection_locked(operator, REGION, id, reason()).await.expect("locked");
    assert_eq!(evidence("lock").await, all(""));
    node.acknowledge_until(|desired| desired.gateways[0].connections[0].revision > made_revision).await;
    controller.set_vpn_gateway_locked(operator, REGION, gateway, None).await.expect("unlocked");
    until(controller, async || evidence("lock").await == [None, Some(String::new())]).await;
    // What is in force stays so, whatever becomes of the node.
    let number = node.id;
    drop(node);
    until(controller, async || {
        let view = controller.vpn_gateway(operator, REGION, gateway).await.expect("there");
        view.status == VpnGatewayStatus::Failed
    })
    .await;
    assert_eq!(evidence("lock").await, [None, Some(String::new())]);
    controller.set_connection_locked(operator, REGION, id, None).await.expect("unlocked");
    controller.set_vpn_gateway_locked(operator, REGION, gateway, reason()).await.expect("locked");
    assert_eq!(evidence("node").await, all("is not heard"));
    let mut node = FakeNode::attach_as(controller, number).await;
    node.acknowledge_until(|desired| desired.gateways[0].locked).await;
    until(controller, async || evidence("lock").await == all("")).await;
}

/// The node cannot be told anything, so that nothing that it would have to know may change; a name it does not know.
#[tokio::test]
async fn names_and_tags_can_be_edited_while_the_node_cannot_be_told() {
    let world = World::new().await;
    let (node, _, made) = world.connected().await;
    let (controller, operator, id) = (&world.controller, &world.operator, made.connection.id);
    let store = causeway_store::Store::open(&world.directory.path().join("causeway.db")).await.expect("opens");
    let mut writer = store.write().await.expect("a turn");
    let state = causeway_model::status::NodeState::KeepaliveFail;
    let now = causeway_controller::Clock::now(&causeway_controller::SystemClock);
    let verdict = causeway_store::NodeVerdict { state, fault: None, silent: false, overdue: false };
    writer.set_node_verdict(node.id, &verdict, now).await.expect("set");
    writer.commit().await.expect("written");
    let rename = |name: &str| Rename { name: Some(name.to_owned()), tags: Some(vec!["edited".to_owned()]) };
    let same = &made.connection;
    let whole = ConnectionChange {
        rename: rename("renamed"),
        initiation_policy: Some(same.initiation_policy),
        ikev2_ciphers: Some(same.ikev2_ciphers.clone()),
        esp_ciphers: Some(same.esp_ciphers.clone()),
        ..ConnectionChange::default()
    };
    let renamed = controller.update_connection(operator, REGION, id, whole).await.expect("renamed").connection;
    assert_eq!((renamed.meta.name.as_str(), &renamed.meta.tags[..]), ("renamed", &["edited".to_owned()][..]));
    let other = causeway_model::resource::InitiationPolicy::CustomerGateway;
    let change =
        ConnectionChange { rename: rename("no"), initiation_policy: Some(other), ..ConnectionChange::default() };
    let refused = controller.update_connection(operator, REGION, id, change).await.expect_err("the node has to know");
    assert_eq!(kind(&refused), "409 keepalive_fail");
    let read = controller.connection(operator, REGION, id).await.expect("there").connection;
    assert_eq!((read.meta.name.as_str(), read.initiation_policy), ("renamed", same.initiation_policy));
}

#[tokio::test]
async fn the_device_file_has_no_key_in_it() {
    let world = World::new().await;
    let (_node, _, made) = world.connected().await;
    let (id, secret) = (made.connection.id, made.connection.secret_id);
    let file = world.controller.device_configuration(&world.operator, REGION, id, None).await.expect("rendered");
    let key = world.controller.access_secret_version(&world.operator, REGION, secret, RevisionRef::Latest).await;
    let key = String::from_utf8(key.expect("readable").data.to_vec()).expect("text");
    assert!(file.contains("192.0.2.2") && file.contains("65000"), "{file}");
    assert!(!file.contains(&key));
    let no =
        world.controller.device_configuration(&world.operator, REGION, id, Some("junos")).await.expect_err("unknown");
    assert_eq!(kind(&no), "400 format");
}
