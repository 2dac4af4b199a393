//! Deliveries to a receiver that the test plays, from the order of a link to the receiver's answer.

use std::path::Path;
use std::time::Duration;

use causeway_controller::{Controller, KeyRequest, Settings, WebhookRules, ZoneSettings};
use causeway_crypto::envelope::Kek;
use causeway_crypto::hmac_sha256;
use causeway_model::command::{
    ListQuery, NewPartner, NewPop, NewPort, NewWebhook, OrderField, PartnerFields, PopFields,
};
use causeway_model::command::{NewLink, NewMeta};
use causeway_model::resource::{Caller, LinkBandwidth, PortAttachment, PortOwner, Role, WebhookDelivery};
use causeway_model::watch::KeepaliveProfile;
use causeway_model::{PartnerId, PopId, ProjectId, WebhookId};
use causeway_store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
const REGION: &str = "fr-par";

struct World {
    controller: Controller,
    operator: Caller,
    pop: PopId,
    partner: PartnerId,
    _directory: tempfile::TempDir,
}

async fn world() -> World {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Settings {
        region: REGION.to_owned(),
        zones: vec![ZoneSettings { name: "fr-par-1".to_owned(), public_pools: Vec::new() }],
        provider_asn: 12876,
        support_contact: None,
        gateway_types: Settings::default_gateway_types(),
        keepalive: KeepaliveProfile::default(),
    };
    let store = Store::open(&directory.path().join("causeway.db")).await.expect("opens");
    let c = Controller::open(store, settings, Kek::new([7; 32])).await.expect("opens");
    let first = c.bootstrap().await.expect("bootstraps").expect("is the first start");
    let operator = c.authenticate(&first.secret_key, Uuid::new_v4()).await.expect("the key works");
    c.set_link_bandwidth(&operator, LinkBandwidth { bandwidth_mbps: 50, price_per_hour: 1 }).await.expect("priced");
    let fields = PopFields {
        name: "TH2".to_owned(),
        display_name: String::new(),
        city: String::new(),
        address: String::new(),
        hosting_provider_name: String::new(),
        logo_url: String::new(),
        link_bandwidths_mbps: vec![50],
        capacity_mbps: None,
    };
    let pop = c.create_pop(&operator, NewPop { id: None, fields }).await.expect("made").id;
    let fields = PartnerFields {
        name: "FranceIX".to_owned(),
        contact_email: "noc@example.net".to_owned(),
        logo_url: String::new(),
        portal_url: String::new(),
        asn: 39801,
        l3_connectivity: false,
        notify: false,
    };
    let partner = c.create_partner(&operator, NewPartner { id: None, fields }).await.expect("made").id;
    let port = NewPort {
        id: None,
        name: "eth1".to_owned(),
        pop_id: pop,
        node_id: None,
        owner: PortOwner::Partner(partner),
        attachment: PortAttachment::Vlan { interface: "eth1".to_owned() },
        vlan_range: None,
        capacity_mbps: 1000,
        enabled: true,
    };
    c.create_port(&operator, port).await.expect("made");
    World { controller: c, operator, pop, partner, _directory: directory }
}

impl World {
    async fn webhook(&self, url: &str) -> (WebhookId, String) {
        let new = NewWebhook { url: url.to_owned(), events: vec!["link.requested".to_owned()] };
        let made = self.controller.create_webhook(&self.operator, new).await.expect("made");
        (made.webhook.id, made.secret.as_str().to_owned())
    }

    async fn order(&self) {
        self.order_as(&self.operator).await;
    }

    async fn order_as(&self, caller: &Caller) {
        let new = NewLink {
            meta: NewMeta { project_id: None, name: "link".to_owned(), tags: Vec::new() },
            pop_id: self.pop,
            bandwidth_mbps: 50,
            connection_id: None,
            partner_id: Some(self.partner),
            peer_asn: None,
            vlan: None,
            routing_policy_v4_id: None,
            routing_policy_v6_id: None,
        };
        self.controller.create_link(caller, REGION, new).await.expect("ordered");
    }

    /// The newest delivery of a webhook, once it was tried.
    async fn tried(&self, id: WebhookId) -> WebhookDelivery {
        self.tried_as(&self.operator, id).await
    }

    async fn tried_as(&self, caller: &Caller, id: WebhookId) -> WebhookDelivery {
        let list = newest();
        let look = async {
            loop {
                let page = self.controller.webhook_deliveries(caller, id, &list).await.expect("listed");
                if let Some(delivery) = page.items.into_iter().next().filter(|delivery| delivery.attempts > 0) {
                    return delivery;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), look).await.expect("in time")
    }
}

/// A tenant of a project.
async fn tenant_of(c: &Controller, operator: &Caller, project_id: ProjectId) -> Caller {
    let request =
        KeyRequest { role: Role::Tenant, project_id, partner_id: None, description: String::new(), expires_at: None };
    let key = c.issue_api_key(operator, request).await.expect("made");
    c.authenticate(&key.secret_key, Uuid::new_v4()).await.expect("the key works")
}

/// Rules that lead to receivers of this machine's, over plain http.
fn loopback_rules() -> WebhookRules {
    let allowed_networks = vec!["127.0.0.0/8".parse().expect("a network")];
    WebhookRules { allow_http: true, allowed_networks, ..WebhookRules::default() }
}

/// The first of a list.
fn newest() -> ListQuery {
    ListQuery {
        order: OrderField::CreatedAt,
        descending: false,
        page: 1,
        page_size: 1,
        project_id: None,
        organization_id: None,
        name: None,
        tags: Vec::new(),
    }
}

/// Reads one request, head and body, and answers it.
async fn receive(listener: &TcpListener, answer: &str) -> (String, String) {
    let (mut socket, _): (TcpStream, _) = listener.accept().await.expect("somebody calls");
    let mut octets = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = socket.read(&mut part).await.expect("readable");
        octets.extend(part.iter().take(read));
        let text = String::from_utf8_lossy(&octets).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").parse::<usize>().expect("a length");
            if body.len() >= length {
                socket.write_all(answer.as_bytes()).await.expect("writable");
                return (head.to_owned(), body.to_owned());
            }
        }
        assert!(read > 0, "the request breaks off: {text}");
    }
}

fn header(head: &str, name: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.unwrap_or_else(|| panic!("no {name} in {head}")).1.to_owned()
}

#[tokio::test]
async fn a_receiver_gets_what_it_can_verify_and_its_refusal_is_noted() {
    let world = world().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let rules = loopback_rules();
    world.controller.set_webhook_rules(&world.operator, rules).await.expect("set");
    let (id, secret) = world.webhook(&format!("http://127.0.0.1:{port}/in?x=1")).await;
    let task = causeway_notify::spawn(world.controller.clone(), Path::new(AUTHORITIES)).expect("starts");
    world.order().await;
    let (head, body) = receive(&listener, "HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(head.starts_with("POST /in?x=1 HTTP/1.1"), "{head}");
    assert_eq!(header(&head, "host"), format!("127.0.0.1:{port}"));
    let signature = header(&head, "causeway-signature");
    let (time, tag) = signature.split_once(",v1=").expect("two parts");
    let time = time.strip_prefix("t=").expect("a time");
    let expected = hmac_sha256(secret.as_bytes(), &[time.as_bytes(), b".", body.as_bytes()]);
    assert_eq!(tag, expected.iter().map(|octet| format!("{octet:02x}")).collect::<String>());
    let told: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((told["type"].as_str(), told["data"]["status"].as_str()), (Some("link.requested"), Some("requested")));
    assert_eq!(told["id"], header(&head, "causeway-delivery"));
    assert!(world.tried(id).await.delivered_at.is_some());

    for (answer, expected) in [
        ("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", "status 500"),
        ("HTTP/1.1 302 Elsewhere\r\nlocation: http://127.0.0.1/\r\n\r\n", "status 302; redirections are not followed"),
    ] {
        world.controller.delete_webhook(&world.operator, id).await.ok();
        let (id, _) = world.webhook(&format!("http://127.0.0.1:{port}/")).await;
        world.order().await;
        receive(&listener, answer).await;
        let delivery = world.tried(id).await;
        assert_eq!(delivery.last_error.as_deref(), Some(expected));
        assert!(delivery.delivered_at.is_none() && delivery.next_at.is_some());
        world.controller.delete_webhook(&world.operator, id).await.expect("deleted");
    }
    task.abort();
}

#[tokio::test]
async fn receivers_that_say_nothing_hold_up_nobody_else() {
    let world = world().await;
    let c = &world.controller;
    let rules = loopback_rules();
    c.set_webhook_rules(&world.operator, rules).await.expect("set");
    let project = c.create_project(&world.operator, "other".to_owned(), String::new()).await.expect("made");
    let tenant = tenant_of(c, &world.operator, project.id).await;
    // The kernel takes their connections; nobody reads.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let mut of_tenant = Vec::new();
    for number in 0..20 {
        let new = NewWebhook { url: format!("http://127.0.0.1:{port}/{number}"), events: Vec::new() };
        of_tenant.push(c.create_webhook(&tenant, new).await.expect("made").webhook.id);
    }
    for _ in 0..3 {
        world.order_as(&tenant).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    world.webhook(&format!("http://127.0.0.1:{port}/")).await;
    world.order().await;
    let task = causeway_notify::spawn(world.controller.clone(), Path::new(AUTHORITIES)).expect("starts");
    receive(&listener, "HTTP/1.1 204 No Content\r\n\r\n").await;
    for id in of_tenant {
        let page = c.webhook_deliveries(&tenant, id, &newest()).await.expect("listed");
        assert!(page.items.iter().all(|delivery| delivery.attempts == 0), "nobody waited for the silent ones");
    }
    task.abort();
}

#[tokio::test]
async fn tenants_do_not_see_closed_ports_from_silent_ones() {
    let world = world().await;
    let c = &world.controller;
    c.set_webhook_rules(&world.operator, loopback_rules()).await.expect("set");
    let project = c.create_project(&world.operator, "other".to_owned(), String::new()).await.expect("made");
    let tenant = tenant_of(c, &world.operator, project.id).await;
    // Bound and let go again: nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound").port();
    let url = format!("http://127.0.0.1:{closed}/");
    let of_tenant = c.create_webhook(&tenant, NewWebhook { url: url.clone(), events: Vec::new() }).await.expect("made");
    let (of_operator, _) = world.webhook(&url).await;
    let task = causeway_notify::spawn(world.controller.clone(), Path::new(AUTHORITIES)).expect("starts");
    world.order_as(&tenant).await;
    let error = world.tried_as(&tenant, of_tenant.webhook.id).await.last_error.expect("refused");
    assert!(error.starts_with("no HTTP answer in time"), "{error}");
    let error = world.tried(of_operator).await.last_error.expect("refused");
    assert!(error.starts_with(&format!("127.0.0.1:{closed}: ")), "the operator knows: {error}");
    task.abort();
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_connected_to() {
    let world = world().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (id, _) = world.webhook(&format!("https://localhost:{port}/")).await;
    let task = causeway_notify::spawn(world.controller.clone(), Path::new(AUTHORITIES)).expect("starts");
    world.order().await;
    let delivery = world.tried(id).await;
    let error = delivery.last_error.expect("refused");
    assert!(error.starts_with("it resolves to no address that webhooks may lead to"), "{error}");
    let called = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
    assert!(called.is_err(), "nobody called");
    task.abort();
}

#[tokio::test]
async fn a_file_without_authorities_is_an_error_that_names_it() {
    let world = world().await;
    let error = causeway_notify::spawn(world.controller, Path::new("/nonexistent.pem")).expect_err("no such file");
    assert!(error.to_string().contains("/nonexistent.pem"), "{error}");
}
