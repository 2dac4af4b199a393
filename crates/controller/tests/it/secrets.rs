//! Secrets that connections have in common, and those that outlive their connection.

use causeway_controller::{AuditFilter, EventQuery, QuotaResource};
use causeway_model::ConnectionId;
use causeway_model::command::{NewConnection, NewSecret, NewSecretVersion};
use causeway_model::resource::Caller;
use zeroize::Zeroizing;

use crate::harness::{REGION, World, kind, list, meta, new_connection};

/// Two connections of a tenant with one key.
async fn two_with_one_key(world: &World, tenant: &Caller) -> [ConnectionId; 2] {
    let network = world.network(tenant).await;
    let gateway = world.gateway(tenant, &network).await;
    let mut made = Vec::new();
    for number in [1, 2] {
        let customer = world.customer(tenant, number).await;
        let secret = made.first().map(|first: &causeway_model::resource::Connection| (first.secret_id, None));
        let new = NewConnection { secret, ..new_connection(&gateway, &customer, None) };
        made.push(world.controller.create_connection(tenant, REGION, new).await.expect("made").connection);
    }
    [made[0].id, made[1].id]
}

#[tokio::test]
async fn a_key_in_place_changes_no_connection_that_may_not_change() {
    let world = World::new().await;
    let (controller, operator, tenant) = (&world.controller, &world.operator, world.tenant().await);
    let [first, second] = two_with_one_key(&world, &tenant).await;
    controller.set_connection_locked(operator, REGION, second, Some("abuse".into())).await.expect("locked");
    let refused = controller.renew_psk(&tenant, REGION, first, false).await.expect_err("the other one is locked");
    assert!(refused.to_string().contains("locked"), "{refused}");
    assert!(
        matches!(&refused, causeway_model::Error::Locked { resource: "connection", id } if *id == second.to_string()),
        "{refused:?}"
    );
    controller.set_connection_locked(operator, REGION, second, None).await.expect("unlocked");
    controller.renew_psk(&tenant, REGION, first, false).await.expect("renewed");

    // Each connection's history has it, and the audit trail names all of them.
    let all = EventQuery { after: None, before: None, limit: 200 };
    for (id, detail, other) in [(first, "others", second), (second, "through", first)] {
        let events = controller.connection_events(&tenant, REGION, id, &all).await.expect("listed");
        let event = events.iter().find(|event| event.subject == "renew_psk").expect("told");
        assert_eq!(event.details[detail], other.to_string());
        let filter = AuditFilter {
            resource_id: Some(id.to_string()),
            action: Some("renew_psk".into()),
            ..AuditFilter::default()
        };
        let records = controller.audit_records(operator, &list(), &filter).await.expect("listed").items;
        assert_eq!(records.len(), 1);
        assert_eq!((&records[0].access_key, &records[0].details[detail]), (&tenant.access_key, &other.to_string()));
    }
    // A revision of its own is nobody else's business.
    controller.set_connection_locked(operator, REGION, second, Some("abuse".into())).await.expect("locked");
    let own = controller.renew_psk(&tenant, REGION, first, true).await.expect("renewed").connection;
    let theirs = controller.connection(&tenant, REGION, second).await.expect("there").connection;
    assert_ne!(own.secret_revision, theirs.secret_revision);
}

#[tokio::test]
async fn a_connections_own_secret_that_is_protected_outlives_it() {
    let world = World::new().await;
    let (controller, tenant) = (&world.controller, world.tenant().await);
    let network = world.network(&tenant).await;
    let gateway = world.gateway(&tenant, &network).await;
    let customer = world.customer(&tenant, 1).await;
    let connect = async |secret| {
        let new = NewConnection { secret, ..new_connection(&gateway, &customer, None) };
        controller.create_connection(&tenant, REGION, new).await.expect("made").connection
    };
    let counted = async || {
        let quotas = controller.quotas(&tenant, tenant.project_id).await.expect("its own");
        quotas.iter().find(|quota| quota.resource == QuotaResource::Secrets).expect("there").used
    };
    let first = connect(None).await;
    let secret = first.secret_id;
    controller.set_secret_protected(&tenant, REGION, secret, true).await.expect("protected");
    controller.delete_connection(&tenant, REGION, first.id).await.expect("deleted");
    let kept = controller.secret(&tenant, REGION, secret).await.expect("stays");
    assert_eq!((kept.protected, kept.managed, counted().await), (true, false, 1));
    let successor = connect(Some((secret, None))).await;
    assert_eq!((successor.secret_id, successor.owns_secret), (secret, false));
    controller.delete_connection(&tenant, REGION, successor.id).await.expect("deleted");
    let refused = controller.delete_secret(&tenant, REGION, secret).await.expect_err("protected");
    assert_eq!(kind(&refused), "412 protected_resource");
    controller.set_secret_protected(&tenant, REGION, secret, false).await.expect("unprotected");
    controller.delete_secret(&tenant, REGION, secret).await.expect("deleted");
    assert_eq!(counted().await, 0);
}

#[tokio::test]
async fn a_typed_secret_is_no_key() {
    let world = World::new().await;
    let (_node, _, made) = world.connected().await;
    let (controller, operator, id) = (&world.controller, &world.operator, made.connection.id);
    for (kind_of, data, expected) in [
        ("basic_credentials", &br#"{"username":"u","password":"p"}"#[..], Some("400 secret.id")),
        ("opaque", &b"an octet for each letter"[..], None),
    ] {
        let new = NewSecret {
            meta: meta("key"),
            description: String::new(),
            kind: kind_of.to_owned(),
            path: "/".to_owned(),
            protected: false,
        };
        let secret = controller.create_secret(operator, REGION, new).await.expect("made").id;
        let data = Zeroizing::new(data.to_vec());
        let version = NewSecretVersion { data, description: None, disable_previous: false, data_crc32: None };
        controller.create_secret_version(operator, REGION, secret, version).await.expect("made");
        let changed = controller.change_psk(operator, REGION, id, secret, None).await;
        assert_eq!(changed.err().as_ref().map(kind).as_deref(), expected, "{kind_of}");
    }
}
