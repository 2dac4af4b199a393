//! What the extension API sets of a connection, and the overlap of keys.

use causeway_model::SecretId;
use causeway_model::command::OptionsChange;
use causeway_model::command::{ConnectionChange, NewSecret, NewSecretVersion, Rename, RevisionRef};
use causeway_model::desired::{ConnectionDesired, NodeDesired, Timers};
use causeway_model::resource::Tunnels;
use causeway_model::suite::{Cipher, Encryption};
use zeroize::Zeroizing;

use crate::harness::{REGION, World, kind, meta, new_connection};

fn only(desired: &NodeDesired) -> Option<&ConnectionDesired> {
    desired.gateways.first().and_then(|gateway| gateway.connections.first())
}

fn identity(text: &str) -> OptionsChange {
    OptionsChange { peer_identity: Some(Some(text.to_owned())), ..OptionsChange::default() }
}

#[tokio::test]
async fn options_reach_the_node() {
    let world = World::new().await;
    let (mut node, _, connection) = world.connected().await;
    let (controller, operator, id) = (&world.controller, &world.operator, connection.connection.id);
    let before = controller.connection_options(operator, REGION, id).await.expect("there");
    let default = Timers::default();
    assert_eq!((before.tunnels, before.peer_identity.as_deref()), (Tunnels::Ipv4, None));
    assert_eq!((before.ike_lifetime, before.hold_time, before.psk_overlap), (default.ike_lifetime, 60, 86_400));
    let change = OptionsChange {
        tunnels: Some(Tunnels::Both),
        peer_identity: Some(Some("Site.Example.NET".to_owned())),
        ike_lifetime: Some(3600),
        child_lifetime: Some(600),
        child_packets: Some(1 << 21),
        dpd_delay: Some(2),
        dpd_timeout: Some(6),
        hold_time: Some(9),
        max_prefixes: Some(5),
        psk_overlap: Some(60),
        ..OptionsChange::default()
    };
    let after = controller.update_connection_options(operator, REGION, id, change).await.expect("changed");
    assert_eq!(controller.connection_options(operator, REGION, id).await.expect("there"), after);
    assert_eq!(after.peer_identity.as_deref(), Some("site.example.net"));
    let desired = node.wait_for(|desired| only(desired).is_some_and(|connection| connection.tunnels.len() == 2)).await;
    let desired = only(&desired).expect("there");
    let timers = Timers {
        ike_lifetime: 3600,
        child_lifetime: 600,
        child_packets: 1 << 21,
        dpd_delay: 2,
        dpd_timeout: 6,
        hold_time: 9,
        max_prefixes: 5,
    };
    assert_eq!((desired.timers, desired.peer_identity.as_deref()), (timers, Some("site.example.net")));
    let file = controller.device_configuration(operator, REGION, id, None).await.expect("rendered");
    assert!(file.contains("site.example.net"), "the device proves what is expected");
    let back = OptionsChange { tunnels: Some(Tunnels::Ipv6), peer_identity: Some(None), ..OptionsChange::default() };
    controller.update_connection_options(operator, REGION, id, back).await.expect("changed");
    let desired = node.wait_for(|desired| only(desired).is_some_and(|connection| connection.tunnels.len() == 1)).await;
    let desired = only(&desired).expect("there");
    assert!(desired.peer_identity.is_none() && desired.tunnels[0].peer.is_ipv6());
    let shown = controller.connection(operator, REGION, id).await.expect("there");
    assert_eq!(shown.connection.tunnels, Tunnels::Ipv6);
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let world = World::new().await;
    let (_node, _, connection) = world.connected().await;
    let id = connection.connection.id;
    let base = OptionsChange::default;
    let cases = [
        (OptionsChange { ike_lifetime: Some(899), ..base() }, "400 lifetimes.ike,lifetimes.child"),
        (OptionsChange { ike_lifetime: Some(1000), ..base() }, "400 lifetimes.child"),
        (OptionsChange { child_lifetime: Some(28_801), ..base() }, "400 lifetimes.child,lifetimes.child"),
        (OptionsChange { child_packets: Some(1), ..base() }, "400 lifetimes.child_packets"),
        (OptionsChange { dpd_delay: Some(0), ..base() }, "400 dpd.delay"),
        (OptionsChange { dpd_timeout: Some(301), ..base() }, "400 dpd.timeout"),
        (OptionsChange { hold_time: Some(2), ..base() }, "400 bgp.hold_time"),
        (OptionsChange { max_prefixes: Some(0), ..base() }, "400 bgp.max_prefixes"),
        (OptionsChange { psk_overlap: Some(604_801), ..base() }, "400 psk_overlap"),
        (OptionsChange { bfd: true, ..base() }, "400 bgp.bfd"),
        (identity("a b"), "400 peer_identity"),
        (identity(""), "400 peer_identity"),
    ];
    for (change, expected) in cases {
        let text = format!("{change:?}");
        let error = world.controller.update_connection_options(&world.operator, REGION, id, change).await;
        assert_eq!(kind(&error.expect_err(&text)), expected, "{text}");
    }
}

#[tokio::test]
async fn a_secret_signs_the_sessions_and_cannot_go_meanwhile() {
    let world = World::new().await;
    let (mut node, _, connection) = world.connected().await;
    let (controller, operator, id) = (&world.controller, &world.operator, connection.connection.id);
    let set = async |md5_secret_id, gtsm| {
        let change = OptionsChange { md5_secret_id, gtsm, ..OptionsChange::default() };
        controller.update_connection_options(operator, REGION, id, change).await
    };
    let secret = async |name: &str| {
        let new = NewSecret {
            meta: meta(name),
            description: String::new(),
            kind: "opaque".to_owned(),
            protected: false,
            path: "/".to_owned(),
        };
        controller.create_secret(operator, REGION, new).await.expect("made").id
    };
    let add = async |secret: SecretId, data: &[u8]| {
        let data = Zeroizing::new(data.to_vec());
        let new = NewSecretVersion { data, description: None, disable_previous: false, data_crc32: None };
        controller.create_secret_version(operator, REGION, secret, new).await.expect("made")
    };
    let other = SecretId::random();
    assert_eq!(kind(&set(Some(Some(other)), None).await.expect_err("nobody's")), "404 secret");
    let signs = secret("signs").await;
    assert_eq!(kind(&set(Some(Some(signs)), None).await.expect_err("empty")), "400 bgp.md5_secret_id");
    for data in [b"has a blank".as_slice(), b"\"quoted\"", &[b'x'; 81], b"\xff"] {
        let unfit = secret(&format!("unfit-{}", data.len())).await;
        add(unfit, data).await;
        assert_eq!(kind(&set(Some(Some(unfit)), None).await.expect_err("unfit")), "400 bgp.md5_secret_id", "{data:?}");
    }
    add(signs, b"first").await;
    let shown = set(Some(Some(signs)), Some(true)).await.expect("set");
    assert_eq!((shown.md5, shown.gtsm), (Some((signs, 1)), true));
    assert_eq!(controller.connection_options(operator, REGION, id).await.expect("there"), shown);
    let key =
        |desired: &NodeDesired| only(desired).and_then(|desired| Some(desired.bgp_md5.as_ref()?.expose().to_vec()));
    let desired = node.wait_for(|desired| key(desired) == Some(b"first".to_vec())).await;
    assert!(only(&desired).expect("there").bgp_gtsm);
    let file = controller.device_configuration(operator, REGION, id, None).await.expect("rendered");
    assert!(
        file.contains("ttl security on;") && file.contains(&signs.to_string()) && !file.contains("first\""),
        "{file}"
    );
    assert_eq!(controller.secret(operator, REGION, signs).await.expect("there").used_by, ["s2s_vpn"]);

    // What signs stays, whatever its owner does.
    let refused = |error: &causeway_model::Error| assert_eq!(kind(error), "412 resource_still_in_use");
    let first = RevisionRef::Number(1);
    refused(&controller.delete_secret(operator, REGION, signs).await.expect_err("in use"));
    refused(&controller.delete_secret_version(operator, REGION, signs, first).await.expect_err("in use"));
    let disabled = controller.set_secret_version_enabled(operator, REGION, signs, first, false).await;
    refused(&disabled.expect_err("in use"));

    // A new version signs when the secret is named again.
    add(signs, b"second").await;
    assert_eq!(controller.connection_options(operator, REGION, id).await.expect("there").md5, Some((signs, 1)));
    assert_eq!(set(Some(Some(signs)), None).await.expect("set").md5, Some((signs, 2)));
    node.wait_for(|desired| key(desired) == Some(b"second".to_vec())).await;
    controller.delete_secret_version(operator, REGION, signs, first).await.expect("free");

    let shown = set(Some(None), Some(false)).await.expect("set");
    assert_eq!((shown.md5, shown.gtsm), (None, false));
    let desired = node.wait_for(|desired| key(desired).is_none()).await;
    assert!(!only(&desired).expect("there").bgp_gtsm);
    controller.delete_secret(operator, REGION, signs).await.expect("free");
}

#[tokio::test]
async fn connections_between_the_same_addresses_differ_in_identity_and_agree_in_proposals() {
    let world = World::new().await;
    let (_node, gateway, first) = world.connected().await;
    let (controller, operator, first) = (&world.controller, &world.operator, first.connection);
    let customer = controller.customer_gateway(operator, REGION, first.customer_gateway_id).await.expect("there");
    let own = customer.public_ipv4.expect("has one").to_string();
    let set = async |id, change| controller.update_connection_options(operator, REGION, id, change).await;
    let create = async |ciphers: Vec<Cipher>| {
        let mut new = new_connection(&gateway, &customer, None);
        new.ikev2_ciphers = ciphers;
        controller.create_connection(operator, REGION, new).await
    };
    assert_eq!(kind(&create(Vec::new()).await.expect_err("same")), "409 exists connection");
    set(first.id, identity(&own)).await.expect("says what holds anyway");
    assert_eq!(kind(&create(Vec::new()).await.expect_err("still the same")), "409 exists connection");
    set(first.id, identity("a.example")).await.expect("another one");
    let other = Cipher { encryption: Encryption::Aes128Gcm, ..Cipher::DEFAULT_IKE };
    assert_ne!(other, Cipher::DEFAULT_IKE);
    assert_eq!(kind(&create(vec![other]).await.expect_err("differs")), "400 ikev2_ciphers");
    let second = create(vec![Cipher::DEFAULT_IKE]).await.expect("the default, spelt out").connection;
    let change = |ciphers| ConnectionChange { ikev2_ciphers: Some(ciphers), ..ConnectionChange::default() };
    let update = controller.update_connection(operator, REGION, second.id, change(vec![other])).await;
    assert_eq!(kind(&update.expect_err("differs")), "400 ikev2_ciphers");
    assert_eq!(kind(&set(second.id, identity("A.example")).await.expect_err("taken")), "409 exists connection");
    let free = OptionsChange { peer_identity: Some(None), ..OptionsChange::default() };
    assert_eq!(kind(&set(first.id, free).await.expect_err("taken")), "409 exists connection");

    // A customer gateway that moves to the other's address takes its connections along.
    let mut moving = crate::harness::new_customer(9);
    moving.public_ipv6 = None;
    let moving = controller.create_customer_gateway(operator, REGION, moving).await.expect("made");
    let mut new = new_connection(&gateway, &moving, None);
    new.ikev2_ciphers = vec![other];
    let third = controller.create_connection(operator, REGION, new).await.expect("elsewhere").connection;
    let move_there = async || {
        let none = Rename { name: None, tags: None };
        controller
            .update_customer_gateway(operator, REGION, moving.id, none, None, customer.public_ipv4, None)
            .await
            .map_err(|error| kind(&error))
    };
    assert_eq!(move_there().await.err().as_deref(), Some("409 exists connection"));
    set(third.id, identity("c.example")).await.expect("another one");
    assert_eq!(move_there().await.err().as_deref(), Some("400 ipv4_public"), "the proposals differ");
    let alike = controller.update_connection(operator, REGION, third.id, change(Vec::new())).await;
    alike.expect("nobody shares its addresses yet");
    move_there().await.expect("three identities, one proposal");
}

#[tokio::test]
async fn an_earlier_key_ends_with_its_window_or_at_once() {
    let world = World::new().await;
    let (mut node, _, connection) = world.connected().await;
    let (controller, operator, id) = (&world.controller, &world.operator, connection.connection.id);
    let short = OptionsChange { psk_overlap: Some(60), ..OptionsChange::default() };
    controller.update_connection_options(operator, REGION, id, short).await.expect("set");
    let keys = |count| move |desired: &NodeDesired| only(desired).is_some_and(|found| found.psks.len() == count);

    controller.revoke_previous_psk(operator, REGION, id).await.expect("nothing to do");
    controller.renew_psk(operator, REGION, id, true).await.expect("renewed");
    let desired = node.wait_for(keys(2)).await;
    let found = only(&desired).expect("there");
    assert_eq!((found.reauthenticate, found.revocations), (0, 0));
    world.pass(61).await;
    let desired = node.wait_for(keys(1)).await;
    let found = only(&desired).expect("there");
    assert_eq!(
        (found.reauthenticate, found.revocations),
        (1, 0),
        "the window's end proves the new key, and ends nothing"
    );

    controller.renew_psk(operator, REGION, id, false).await.expect("renewed");
    node.wait_for(keys(2)).await;
    controller.revoke_previous_psk(operator, REGION, id).await.expect("revoked");
    let desired = node.wait_for(keys(1)).await;
    let found = only(&desired).expect("there");
    assert_eq!((found.reauthenticate, found.revocations), (1, 1));
    controller.reauthenticate(operator, REGION, id).await.expect("asked");
    node.wait_for(|desired| only(desired).is_some_and(|found| found.reauthenticate == 2)).await;
}
