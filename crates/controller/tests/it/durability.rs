//! What must hold whatever happens at once, and after a restart.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use causeway_controller::{Controller, master_key_id, rotate_master_key};
use causeway_crypto::Kek;
use causeway_model::Error;
use causeway_model::command::{
    ConnectionFilter, IpFilter, NewSecretVersion, NewWebhook, RevisionRef, VpnGatewayFilter,
};
use causeway_model::status::{ConnectionStatus, VpnGatewayStatus};
use causeway_store::Store;
use zeroize::Zeroizing;

use crate::harness::{
    FakeNode, KEK, REGION, World, list, new_connection, new_customer, new_gateway, open, settings, until,
};

/// Rounds of each task.
const ROUNDS: u8 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_changes_leave_references_and_allocations_consistent() {
    let world = Arc::new(World::new().await);
    let node = FakeNode::attach(&world.controller).await.run();
    let network = world.network(&world.operator).await;
    let mut large = new_gateway(&network);
    large.gateway_type = "VGW-L".to_owned();
    let shared = world.controller.create_vpn_gateway(&world.operator, REGION, large).await.expect("made");
    let policy = world.policy(&world.operator, false).await;
    let tasks = (0..8_u8).map(|task| {
        let (world, network, shared, policy) = (Arc::clone(&world), network.clone(), shared.clone(), policy.clone());
        tokio::spawn(async move {
            let (controller, operator) = (&world.controller, &world.operator);
            for round in 0..ROUNDS {
                let own = controller.create_vpn_gateway(operator, REGION, new_gateway(&network)).await.expect("made");
                let customer = new_customer(task * ROUNDS + round + 1);
                let customer = controller.create_customer_gateway(operator, REGION, customer).await.expect("made");
                // At the shared gateway every task is after the lowest free interconnection subnet.
                let both = [&shared, &own].map(|gateway| new_connection(gateway, &customer, Some(&policy)));
                let mut made = Vec::new();
                for new in both {
                    made.push(controller.create_connection(operator, REGION, new).await.expect("made").connection);
                }
                let [first, second] = made.as_slice() else { unreachable!("two were made") };
                let subnet = |connection: &causeway_model::resource::Connection| {
                    connection.bgp_ipv4.as_ref().expect("has a session").private_ip
                };
                assert_ne!(subnet(first), subnet(second), "unique per customer gateway");
                if round % 2 == 0 {
                    controller.delete_connection(operator, REGION, first.id).await.expect("deleted");
                }
                controller.delete_connection(operator, REGION, second.id).await.expect("deleted");
                let mut changes = controller.subscribe();
                loop {
                    let view = controller.vpn_gateway(operator, REGION, own.gateway.id).await.expect("there");
                    if view.status == VpnGatewayStatus::Active {
                        break;
                    }
                    let change = tokio::time::timeout(Duration::from_secs(20), changes.changed()).await;
                    change.expect("in time").expect("the controller lives");
                }
                controller.delete_vpn_gateway(operator, REGION, own.gateway.id).await.expect("deleted");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no task fails");
    }
    let (controller, operator) = (&world.controller, &world.operator);
    until(controller, async || {
        let page = controller.list_vpn_gateways(operator, REGION, &list(), &VpnGatewayFilter::default()).await;
        page.expect("listed").total == 1
    })
    .await;
    let connections = controller.list_connections(operator, REGION, &list(), &ConnectionFilter::default()).await;
    let connections = connections.expect("listed");
    assert_eq!(connections.total, 8 * u64::from(ROUNDS) / 2);
    let gateway = controller.vpn_gateway(operator, REGION, shared.gateway.id).await.expect("there").gateway;
    let listed: BTreeSet<_> = connections.items.iter().map(|view| view.connection.id).collect();
    assert_eq!(gateway.connection_ids.iter().copied().collect::<BTreeSet<_>>(), listed);
    let subnets: BTreeSet<_> = connections
        .items
        .iter()
        .map(|view| view.connection.bgp_ipv4.as_ref().expect("has a session").private_ip.trunc())
        .collect();
    assert_eq!(subnets.len(), listed.len(), "no interconnection subnet twice at one gateway");
    let ips = controller.list_ips(operator, REGION, &list(), &IpFilter::default()).await.expect("listed");
    assert_eq!(ips.total, 4, "only the shared gateway has addresses");
    let secrets = controller.list_secrets(operator, REGION, &list(), &Default::default()).await.expect("listed");
    assert_eq!(secrets.total, connections.total, "deleted connections took their keys along");
    // The filters look at the stored copies; what they find is derived anew.
    for status in ConnectionStatus::ALL.iter().copied().filter(|status| *status != ConnectionStatus::Down) {
        let filter = ConnectionFilter { statuses: vec![status], ..ConnectionFilter::default() };
        let found = controller.list_connections(operator, REGION, &list(), &filter).await.expect("listed");
        let derived = connections.items.iter().filter(|view| view.status == status).count();
        assert_eq!(found.items.len(), derived, "{status}");
        assert!(found.items.iter().all(|view| view.status == status), "{status}");
    }
    node.abort();
}

#[tokio::test]
async fn a_restart_loses_nothing() {
    let world = World::new().await;
    let (mut node, gateway, made) = world.connected().await;
    node.report_tunnels(true, true).await;
    let id = made.connection.id;
    let status =
        async |controller: &Controller| controller.connection(&world.operator, REGION, id).await.expect("there").status;
    until(&world.controller, async || status(&world.controller).await == ConnectionStatus::Active).await;
    let before = world.controller.connection(&world.operator, REGION, id).await.expect("there");
    let node_id = node.id;
    let psks = node.wait_for(|_| true).await.gateways[0].connections[0].psks.clone();
    // The process is killed: nothing is closed, nothing gets to say that the node is lost.
    let again = open(&world.directory.path().join("causeway.db"), world.clock.clone()).await;
    assert!(again.bootstrap().await.expect("answers").is_none());
    let after = again.connection(&world.operator, REGION, id).await.expect("there");
    assert_eq!(before, after, "as last observed");
    let reason = again.connection_state(&world.operator, REGION, id).await.expect("there").reason;
    assert_eq!(reason.map(|reason| reason.code.as_str()), Some("node_unreachable"));
    let mut node = FakeNode::attach_as(&again, node_id).await;
    let desired = node.wait_for(|desired| !desired.gateways.is_empty()).await;
    assert_eq!(desired.gateways[0].id, gateway.gateway.id);
    assert_eq!(desired.gateways[0].connections[0].psks, psks);
    node.report_tunnels(true, true).await;
    until(&again, async || {
        let state = again.connection_state(&world.operator, REGION, id).await.expect("there");
        state.status == ConnectionStatus::Active && state.reason.is_none()
    })
    .await;
}

#[tokio::test]
async fn after_a_restart_an_unheard_node_is_lost_when_its_time_is_over() {
    let world = World::new().await;
    let (_node, gateway, _) = world.connected().await;
    let again = open(&world.directory.path().join("causeway.db"), world.clock.clone()).await;
    let id = gateway.gateway.id;
    assert_eq!(again.vpn_gateway(&world.operator, REGION, id).await.expect("there").status, VpnGatewayStatus::Active);
    world.clock_forward(61);
    again.run_deadlines().await.expect("deadlines");
    assert_eq!(again.vpn_gateway(&world.operator, REGION, id).await.expect("there").status, VpnGatewayStatus::Failed);
}

#[tokio::test]
async fn keys_are_encrypted_at_rest() {
    let world = World::new().await;
    let (mut node, _, made) = world.connected().await;
    world.controller.renew_psk(&world.operator, REGION, made.connection.id, false).await.expect("renewed");
    let desired = node.wait_for(|desired| desired.gateways[0].connections[0].psks.len() == 2).await;
    let path = world.directory.path().join("causeway.db");
    let mut raw = Vec::new();
    for file in ["causeway.db", "causeway.db-wal"] {
        raw.extend(std::fs::read(path.with_file_name(file)).unwrap_or_default());
    }
    assert!(contains(&raw, made.connection.id.0.as_bytes()), "this is where the connection is");
    for psk in &desired.gateways[0].connections[0].psks {
        assert!(!contains(&raw, psk.expose()), "a key is readable in the database's files");
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn every_change_leaves_an_audit_record_and_an_event() {
    let world = World::new().await;
    let network = world.network(&world.operator).await;
    let records =
        world.controller.audit_records(&world.operator, &list(), &Default::default()).await.expect("read").items;
    let record = records.last().expect("there are some");
    assert_eq!((record.action.as_str(), record.resource.as_str()), ("create", "private_network"));
    assert_eq!(record.resource_id, network.id.to_string());
    assert_eq!((&record.access_key, record.request_id), (&world.operator.access_key, world.operator.request_id));
    let store = Store::open(&world.directory.path().join("causeway.db")).await.expect("opens");
    let before = store.read().await.expect("reads").newest_event().await.expect("reads");
    world.controller.delete_private_network(&world.operator, REGION, network.id).await.expect("deleted");
    let after = store.read().await.expect("reads").newest_event().await.expect("reads");
    assert_eq!(after, before + 1);
}

#[tokio::test]
async fn every_envelope_is_wrapped_by_the_new_key_or_none() {
    let world = World::new().await;
    let (_, _, made) = world.connected().await;
    let id = made.connection.id;
    world.controller.renew_psk(&world.operator, REGION, id, true).await.expect("renewed");
    // Enough that pages are split and have free space.
    const MORE: u64 = 200;
    for number in 0..MORE {
        let data = Zeroizing::new(vec![b'k'; 20 + usize::try_from(number).expect("small")]);
        let new = NewSecretVersion { data, description: None, disable_previous: false, data_crc32: None };
        let secret = made.connection.secret_id;
        world.controller.create_secret_version(&world.operator, REGION, secret, new).await.expect("made");
    }
    let hook = NewWebhook { url: "https://hooks.example.net/in".to_owned(), events: Vec::new() };
    world.controller.create_webhook(&world.operator, hook).await.expect("made");
    let fingerprint = world.controller.node_authority().await.expect("made").fingerprint();
    let (secret, revision) = (made.connection.secret_id, RevisionRef::Number(2));
    let before = world.controller.access_secret_version(&world.operator, REGION, secret, revision).await.expect("read");
    world.controller.close().await;
    let path = world.directory.path().join("causeway.db");
    let (old, new) = (Kek::new(KEK), Kek::new([9; 32]));
    let store = Store::open(&path).await.expect("opens");
    let wrong = rotate_master_key(&store, &Kek::new([8; 32]), &new).await.expect_err("another key");
    assert!(matches!(wrong, Error::Internal(_)), "{wrong:?}");
    assert_eq!(master_key_id(&store).await, Ok(None), "nothing has changed");
    // Two versions and those that were added, the key that is accepted beside, the webhook's, and the key of the nodes' authority.
    assert_eq!(rotate_master_key(&store, &old, &new).await, Ok(MORE + 5));
    assert_eq!(master_key_id(&store).await, Ok(Some(new.id())));
    let mut reader = store.read().await.expect("a reader");
    assert_eq!(reader.tables_with_octets(&old.mark()).await.expect("read"), Vec::<String>::new());
    assert_eq!(
        reader.tables_with_octets(&new.mark()).await.expect("read"),
        ["node_authority", "previous_key", "secret_version", "webhook"]
    );
    drop(reader);
    store.close().await;
    let file = std::fs::read(&path).expect("the database");
    assert!(!file.windows(old.mark().len()).any(|octets| octets == old.mark()), "nor in what the file has free");
    let store = Store::open(&path).await.expect("opens");
    let controller = Controller::open(store, settings(), new).await.expect("opens");
    let after = controller.access_secret_version(&world.operator, REGION, secret, revision).await.expect("read");
    assert_eq!(*after.data, *before.data);
    assert_eq!(controller.node_authority().await.expect("opened").fingerprint(), fingerprint);
}
