//! InterLink over HTTP: what the documents say, who may do what, and every bad input with its error.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::operator::{call_as, names, tenant};
use crate::service::{Answer, EXTENSION, SECRETS, Service, VPC};

const I: &str = "/interlink/v1beta1/regions/fr-par";
const O: &str = "/causeway/v1/operator";
const P: &str = "/causeway/v1/partner/links";

fn id(document: &Value) -> String {
    document["id"].as_str().expect("an id").to_owned()
}

/// A service with something to order: a partner whose port has two VLANs, and a dedicated connection of 150 Mbit/s.
struct Offer {
    service: Service,
    pop: String,
    partner: String,
    port: String,
    dedicated: String,
    /// The secret of the partner's key.
    key: String,
}

impl Offer {
    async fn start() -> Self {
        let service = Service::start().await;
        for size in [50, 100, 1000] {
            let path = format!("{O}/link-bandwidths/{size}");
            service.call("PUT", &path, r#"{"price_per_hour":50000}"#).await.ok();
        }
        let pop =
            json!({"name": "- TH2", "hosting_provider_name": "TeleHouse", "link_bandwidths_mbps": [50, 100, 1000]});
        let pop = id(&service.post(&format!("{O}/pops"), &pop).await.ok());
        let partner = json!({"name": "FranceIX", "asn": 39801, "contact_email": "l2@example.net"});
        let partner = id(&service.post(&format!("{O}/partners"), &partner).await.ok());
        let dedicated = json!({
            "name": "d", "project_id": service.project_id, "pop_id": pop, "bandwidth_mbps": 150,
            "vlan_range": {"start": 1500, "end": 1599},
        });
        let dedicated = id(&service.post(&format!("{O}/dedicated-connections"), &dedicated).await.ok());
        let vlans = |interface: &str| json!({"kind": "vlan", "interface": interface});
        let port = json!({
            "name": "p", "pop_id": pop, "partner_id": partner, "attachment": vlans("eth1"), "capacity_mbps": 1000,
            "vlan_range": {"start": 2000, "end": 2001},
        });
        let port = id(&service.post(&format!("{O}/ports"), &port).await.ok());
        let own = json!({
            "name": "o", "pop_id": pop, "connection_id": dedicated, "attachment": vlans("eth2"), "capacity_mbps": 150,
        });
        service.post(&format!("{O}/ports"), &own).await.ok();
        let key = service.post(&format!("{O}/api-keys"), &json!({"role": "partner", "partner_id": partner})).await.ok();
        assert_eq!(key["partner_id"], json!(partner));
        let key = key["secret_key"].as_str().expect("a secret").to_owned();
        Self { service, pop, partner, port, dedicated, key }
    }

    /// The body of an order through the partner, with `more`.
    fn hosted(&self, more: Value) -> Value {
        merged(json!({"name": "l", "pop_id": self.pop, "bandwidth_mbps": 50, "partner_id": self.partner}), more)
    }

    /// The body of an order on the dedicated connection, with `more`.
    fn own(&self, more: Value) -> Value {
        merged(json!({"name": "l", "pop_id": self.pop, "bandwidth_mbps": 50, "connection_id": self.dedicated}), more)
    }

    async fn order(&self, body: &Value) -> Answer {
        self.service.post(&format!("{I}/links"), body).await
    }

    async fn link(&self) -> String {
        id(&self.order(&self.hosted(json!({}))).await.ok())
    }

    async fn act(&self, link: &str, verb: &str, body: &Value) -> Answer {
        self.service.post(&format!("{I}/links/{link}/{verb}"), body).await
    }

    /// What the partner does.
    async fn answer(&self, link: &str, verb: &str, body: &Value) -> Answer {
        call_as(&self.service, &self.key, "POST", &format!("{P}/{link}/{verb}"), body).await
    }

    async fn status(&self, link: &str) -> String {
        let link = self.service.get(&format!("{I}/links/{link}")).await.ok();
        link["status"].as_str().expect("a status").to_owned()
    }

    /// What the partner's list has.
    async fn addressed(&self, query: &str) -> Value {
        call_as(&self.service, &self.key, "GET", &format!("{P}?{query}"), &Value::Null).await.ok()
    }

    async fn vpc(&self) -> String {
        id(&self.service.post(&format!("{VPC}/vpcs"), &json!({"name": "v"})).await.ok())
    }

    async fn policy(&self, is_ipv6: bool) -> String {
        let body = json!({"name": "p", "is_ipv6": is_ipv6});
        id(&self.service.post(&format!("{I}/routing-policies"), &body).await.ok())
    }
}

fn merged(mut body: Value, more: Value) -> Value {
    let (Some(body_fields), Value::Object(more)) = (body.as_object_mut(), more) else { panic!("objects") };
    body_fields.extend(more);
    body
}

fn constraint(name: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), "constraint".to_owned())]
}

#[tokio::test]
async fn an_order_is_requested_at_once_and_has_everything() {
    let offer = Offer::start().await;
    let answer = offer.order(&offer.hosted(json!({"tags": ["a"]}))).await;
    let link = answer.ok();
    assert_eq!(link["status"], "requested");
    assert_eq!((&link["scw_bgp_config"]["asn"], &link["peer_bgp_config"]["asn"]), (&json!(12876), &json!(39801)));
    assert_eq!((&link["created_at"], &link["project_id"]), (&link["updated_at"], &json!(offer.service.project_id)));
    assert!([2000, 2001].contains(&link["vlan"].as_u64().expect("a VLAN")));
    assert!(!answer.text.contains("null") && !answer.text.contains(": "), "{}", answer.text);
    let read = offer.service.get(&format!("{I}/links/{}", id(&link))).await;
    assert_eq!(read.text, answer.text);
    assert_eq!(read.headers["content-type"], "application/json");
    let state = offer.service.get(&format!("{EXTENSION}/links/{}/state", id(&link))).await.ok();
    assert_eq!(
        (&state["status"], &state["turn"], &state["lifecycle"]),
        (&json!("requested"), &json!("partner"), &json!("requested"))
    );
    assert_eq!(
        (&state["reason"]["code"], &state["bandwidth"]),
        (&json!("awaiting_partner_answer"), &json!(50_000_000))
    );
    assert!(state["deadline"].is_string() && state["next_reminder_at"].is_string());
    let events = offer.service.get(&format!("{EXTENSION}/links/{}/events", id(&link))).await.ok();
    assert!(events["total_count"].as_u64() > Some(0), "{events}");
}

#[tokio::test]
async fn the_partner_finds_a_link_by_its_key_and_takes_one_step_after_the_other() {
    let offer = Offer::start().await;
    let link = offer.order(&offer.hosted(json!({}))).await.ok();
    let (id, pairing) = (id(&link), link["partner"]["pairing_key"].as_str().expect("a key").to_owned());
    let found = offer.addressed(&format!("pairing_key={pairing}")).await;
    assert_eq!(names(&found, "links", "id"), [id.as_str()]);
    assert_eq!((&found["links"][0]["vlan"], &found["links"][0]["turn"]), (&link["vlan"], &json!("partner")));
    assert!(found["links"][0].get("project_id").is_none(), "whose it is, is not the partner's business");
    for stale in
        ["pairing_key=no-key".to_owned(), format!("pairing_key={}", Uuid::new_v4()), "status=active".to_owned()]
    {
        assert_eq!(offer.addressed(&stale).await["total_count"], 0, "{stale}");
    }
    // Out of order.
    for verb in ["provisioned", "start-deprovisioning", "deprovisioned"] {
        let refused = offer.answer(&id, verb, &json!({})).await.error(412, "precondition_failed");
        assert!(refused["help_message"].as_str().is_some_and(|help| help.contains("requested")), "{refused}");
    }
}

#[tokio::test]
async fn both_sides_delete() {
    let offer = Offer::start().await;
    let link = offer.link().await;
    offer.answer(&link, "provisioned", &json!({})).await.error(412, "precondition_failed");
    assert_eq!(offer.answer(&link, "accept", &json!({})).await.ok()["status"], "provisioning");
    offer.answer(&link, "accept", &json!({})).await.error(412, "precondition_failed");
    offer.answer(&link, "refuse", &json!({"reason": "too late"})).await.error(412, "precondition_failed");
    let provisioned = offer.answer(&link, "provisioned", &json!({})).await.ok()["status"].clone();
    assert!(provisioned == "configuring" || provisioned == "active", "the node is told: {provisioned}");
    while offer.status(&link).await == "configuring" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(offer.status(&link).await, "active");
    offer.act(&link, "enable-route-propagation", &json!({})).await.ok();
    let held = offer.service.delete(&format!("{I}/links/{link}")).await.error(412, "precondition_failed");
    assert!(held["help_message"].as_str().is_some_and(|help| help.contains("disable-route-propagation")), "{held}");
    offer.act(&link, "disable-route-propagation", &json!({})).await.ok();
    assert_eq!(offer.service.delete(&format!("{I}/links/{link}")).await.ok()["status"], "deprovisioning");
    let again = offer.service.delete(&format!("{I}/links/{link}")).await.error(409, "transient_state");
    assert_eq!((&again["current_state"], &again["resource"]), (&json!("deprovisioning"), &json!("link")));
    assert_eq!(offer.answer(&link, "deprovisioned", &json!({})).await.ok()["status"], "deleted");
    assert_eq!(offer.status(&link).await, "deleted", "readable for a day");
    let listed = offer.service.get(&format!("{I}/links")).await.ok();
    assert_eq!(listed["total_count"], 0, "but not listed");
    // The partner first.
    let link = offer.link().await;
    offer.answer(&link, "accept", &json!({})).await.ok();
    offer.answer(&link, "provisioned", &json!({})).await.ok();
    assert_eq!(offer.answer(&link, "start-deprovisioning", &json!({})).await.ok()["status"], "deprovisioning");
    assert_eq!(offer.answer(&link, "deprovisioned", &json!({})).await.ok()["status"], "deprovisioning");
    assert_eq!(offer.service.delete(&format!("{I}/links/{link}")).await.ok()["status"], "deleted");
}

#[tokio::test]
async fn a_refusal_is_final_and_carries_the_partners_words() {
    let offer = Offer::start().await;
    let link = offer.link().await;
    let nothing = offer.answer(&link, "refuse", &json!({})).await.arguments();
    assert_eq!(nothing, [("reason".to_owned(), "required".to_owned())]);
    offer.answer(&link, "refuse", &json!({"reason": "no port is free"})).await.ok();
    let refused = offer.service.get(&format!("{I}/links/{link}")).await.ok();
    assert_eq!(
        (&refused["status"], &refused["partner"]["disapproved_reason"]),
        (&json!("refused"), &json!("no port is free"))
    );
    offer.answer(&link, "accept", &json!({})).await.error(412, "precondition_failed");
    offer.act(&link, "enable-route-propagation", &json!({})).await.error(412, "precondition_failed");
    assert_eq!(offer.service.delete(&format!("{I}/links/{link}")).await.ok()["status"], "deleted");
    let gone = offer.service.get(&format!("{I}/links/{link}")).await.error(404, "not_found");
    assert_eq!((&gone["resource"], &gone["resource_id"]), (&json!("link"), &json!(link)));
}

#[tokio::test]
async fn bad_orders_and_nothing_half_done() {
    let offer = Offer::start().await;
    let both = offer.hosted(json!({"connection_id": offer.dedicated}));
    assert_eq!(offer.order(&both).await.arguments(), constraint("partner_id"));
    let none = json!({"name": "l", "pop_id": offer.pop, "bandwidth_mbps": 50});
    assert_eq!(offer.order(&none).await.arguments(), constraint("partner_id"));
    for (body, wrong) in [
        (offer.hosted(json!({"bandwidth_mbps": 51})), "bandwidth_mbps"),
        (offer.hosted(json!({"vlan": 2000})), "vlan"),
        (offer.hosted(json!({"peer_asn": 65001})), "peer_asn"),
        (offer.own(json!({"vlan": 1499})), "vlan"),
        (offer.own(json!({"vlan": 1600})), "vlan"),
        (offer.own(json!({"peer_asn": 12876})), "peer_asn"),
        (offer.hosted(json!({"routing_policy_v6_id": offer.policy(false).await})), "routing_policy_v6_id"),
    ] {
        assert_eq!(offer.order(&body).await.arguments(), constraint(wrong), "{body}");
    }
    // A partner that is not at the PoP, and a dedicated connection that ends at another one.
    let elsewhere = json!({"name": "DC2", "link_bandwidths_mbps": [50]});
    let elsewhere = id(&offer.service.post(&format!("{O}/pops"), &elsewhere).await.ok());
    let order = offer.hosted(json!({"pop_id": elsewhere}));
    assert_eq!(offer.order(&order).await.arguments(), constraint("partner_id"));
    let order = offer.own(json!({"pop_id": elsewhere}));
    assert_eq!(offer.order(&order).await.arguments(), constraint("pop_id"));
    let nobody = Uuid::new_v4().to_string();
    for (body, resource) in [
        (offer.hosted(json!({"pop_id": nobody})), "pop"),
        (offer.hosted(json!({"partner_id": nobody})), "partner"),
        (offer.own(json!({"connection_id": nobody})), "dedicated_connection"),
        (offer.hosted(json!({"routing_policy_v4_id": nobody})), "routing_policy"),
    ] {
        let missing = offer.order(&body).await.error(404, "not_found");
        assert_eq!((&missing["resource"], &missing["resource_id"]), (&json!(resource), &json!(nobody)));
    }
    // The region.
    let order = offer.hosted(json!({}));
    let other = offer.service.post("/interlink/v1beta1/regions/nl-ams/links", &order).await;
    assert_eq!(other.arguments(), constraint("region"));
    for list in ["links", "pops", "partners", "dedicated-connections", "routing-policies"] {
        let empty = offer.service.get(&format!("/interlink/v1beta1/regions/nl-ams/{list}")).await.ok();
        assert_eq!(empty["total_count"], 0, "{list}");
    }
    let links = offer.service.get(&format!("{I}/links")).await.ok();
    assert_eq!(links["total_count"], 0, "nothing half done");
}

#[tokio::test]
async fn capacity_and_vlans_are_used_once() {
    let offer = Offer::start().await;
    let own = offer.order(&offer.own(json!({"vlan": 1500, "bandwidth_mbps": 100}))).await.ok();
    assert_eq!(own["self"]["connection_id"], json!(offer.dedicated));
    assert_eq!(offer.order(&offer.own(json!({"vlan": 1500}))).await.arguments(), constraint("vlan"));
    let full = offer.order(&offer.own(json!({"bandwidth_mbps": 100}))).await.error(503, "out_of_stock");
    assert!(full["resource"].is_string());
    let left = offer.service.get(&format!("{I}/dedicated-connections/{}", offer.dedicated)).await.ok();
    assert_eq!(left["available_link_bandwidths"], json!([50]));
    // Two VLANs at the partner's port: the third order has none.
    let (first, second) = (offer.link().await, offer.link().await);
    let vlans = offer.service.get(&format!("{I}/links?partner_id={}", offer.partner)).await.ok();
    let mut vlans: Vec<_> =
        vlans["links"].as_array().expect("links").iter().map(|link| link["vlan"].as_u64()).collect();
    vlans.sort_unstable();
    assert_eq!(vlans, [Some(2000), Some(2001)]);
    offer.order(&offer.hosted(json!({}))).await.error(503, "out_of_stock");
    // What is in use stays.
    for path in [
        format!("ports/{}", offer.port),
        format!("partners/{}", offer.partner),
        format!("pops/{}", offer.pop),
        format!("dedicated-connections/{}", offer.dedicated),
        "link-bandwidths/50".to_owned(),
    ] {
        let held = offer.service.delete(&format!("{O}/{path}")).await.error(412, "precondition_failed");
        assert_eq!(held["precondition"], "resource_still_in_use", "{path}");
    }
    offer.service.delete(&format!("{I}/links/{first}")).await.ok();
    let third = offer.link().await;
    assert_ne!(third, second);
}

#[tokio::test]
async fn a_link_has_one_vpc_and_a_policy_for_each_family() {
    let offer = Offer::start().await;
    let link = offer.link().await;
    let (one, other) = (offer.vpc().await, offer.vpc().await);
    assert_eq!(offer.act(&link, "attach-vpc", &json!({"vpc_id": one})).await.ok()["vpc_id"], json!(one));
    let second = offer.act(&link, "attach-vpc", &json!({"vpc_id": other})).await.error(412, "precondition_failed");
    assert!(second["help_message"].as_str().is_some_and(|help| help.contains("detach-vpc")), "{second}");
    let missing = offer.act(&link, "attach-vpc", &json!({"vpc_id": Uuid::new_v4()})).await.error(404, "not_found");
    assert_eq!(missing["resource"], "vpc");
    assert!(offer.act(&link, "detach-vpc", &json!({})).await.ok().get("vpc_id").is_none());
    let nothing = offer.act(&link, "detach-vpc", &json!({})).await.error(412, "precondition_failed");
    assert_eq!(nothing["precondition"], "attribute_must_be_set");

    let (v4, other, v6) = (offer.policy(false).await, offer.policy(false).await, offer.policy(true).await);
    let body = |policy: &str| json!({"routing_policy_id": policy});
    let attached = offer.act(&link, "attach-routing-policy", &body(&v4)).await.ok();
    assert_eq!((&attached["routing_policy_v4_id"], &attached["bgp_v4_status"]), (&json!(v4), &json!("down")));
    let taken = offer.act(&link, "attach-routing-policy", &body(&other)).await.error(412, "precondition_failed");
    assert!(taken["help_message"].as_str().is_some_and(|help| help.contains("set-routing-policy")), "{taken}");
    assert_eq!(offer.act(&link, "set-routing-policy", &body(&other)).await.ok()["routing_policy_v4_id"], json!(other));
    assert_eq!(offer.act(&link, "attach-routing-policy", &body(&v6)).await.ok()["routing_policy_v6_id"], json!(v6));
    assert_eq!(
        offer.act(&link, "detach-routing-policy", &body(&v4)).await.arguments(),
        constraint("routing_policy_id")
    );
    let held = offer.service.delete(&format!("{I}/routing-policies/{v6}")).await.error(412, "precondition_failed");
    assert_eq!(held["precondition"], "resource_still_in_use");
    // Policies of VPNs are others.
    let vpn = json!({"name": "p", "is_ipv6": false});
    let vpn = id(&offer.service.post("/s2s-vpn/v1alpha1/regions/fr-par/routing-policies", &vpn).await.ok());
    offer.act(&link, "set-routing-policy", &body(&vpn)).await.error(404, "not_found");
    offer.service.get(&format!("{I}/routing-policies/{vpn}")).await.error(404, "not_found");
    let found = offer.service.get(&format!("{I}/routing-policies?ipv6=True")).await.ok();
    assert_eq!(names(&found, "routing_policies", "id"), [v6.as_str()]);
}

#[tokio::test]
async fn nobody_touches_what_is_not_theirs() {
    let offer = Offer::start().await;
    let link = offer.link().await;
    let (_, stranger) = tenant(&offer.service).await;
    let rival = json!({"name": "rival", "asn": 64999, "contact_email": "rival@example.net"});
    let rival = id(&offer.service.post(&format!("{O}/partners"), &rival).await.ok());
    let rival =
        offer.service.post(&format!("{O}/api-keys"), &json!({"role": "partner", "partner_id": rival})).await.ok();
    let rival = rival["secret_key"].as_str().expect("a secret").to_owned();
    for (key, method, path, status, kind) in [
        (&stranger, "GET", format!("{I}/links/{link}"), 404, "not_found"),
        (&stranger, "DELETE", format!("{I}/links/{link}"), 404, "not_found"),
        (&stranger, "GET", format!("{I}/dedicated-connections/{}", offer.dedicated), 404, "not_found"),
        (&stranger, "POST", format!("{P}/{link}/accept"), 403, "permissions_denied"),
        (&stranger, "POST", format!("{O}/links/{link}/repair"), 403, "permissions_denied"),
        (&stranger, "POST", format!("{O}/pops"), 403, "permissions_denied"),
        (&rival, "GET", format!("{P}/{link}"), 404, "not_found"),
        (&rival, "POST", format!("{P}/{link}/accept"), 404, "not_found"),
        (&rival, "POST", format!("{P}/{link}/deprovisioned"), 404, "not_found"),
        (&offer.key, "POST", format!("{O}/ports"), 403, "permissions_denied"),
    ] {
        let body = json!({
            "name": "n", "pop_id": offer.pop, "partner_id": offer.partner, "capacity_mbps": 1,
            "attachment": {"kind": "vlan", "interface": "eth9"},
        });
        let answer = call_as(&offer.service, key, method, &path, &body).await;
        answer.error(status, kind);
    }
    // What everybody orders from, everybody sees; partners are not tenants.
    assert_eq!(
        call_as(&offer.service, &stranger, "GET", &format!("{I}/pops"), &Value::Null).await.ok()["total_count"],
        1
    );
    let as_partner = call_as(&offer.service, &offer.key, "GET", &format!("{I}/links/{link}"), &Value::Null).await;
    as_partner.error(404, "not_found");
    assert_eq!(call_as(&offer.service, &rival, "GET", P, &Value::Null).await.ok()["total_count"], 0);
    assert_eq!(offer.status(&link).await, "requested");
}

#[tokio::test]
async fn a_locked_link_is_read_only_to_its_tenant() {
    let offer = Offer::start().await;
    let link = offer.link().await;
    let (id, key) = tenant(&offer.service).await;
    let theirs = offer.hosted(json!({"project_id": id}));
    let theirs = call_as(&offer.service, &key, "POST", &format!("{I}/links"), &theirs).await.ok();
    let theirs = theirs["id"].as_str().expect("an id");
    call_as(&offer.service, &key, "POST", &format!("/causeway/v1/links/{theirs}/lock"), &json!({"reason": "r"}))
        .await
        .error(403, "permissions_denied");
    for link in [link.as_str(), theirs] {
        let lock = format!("/causeway/v1/links/{link}/lock");
        assert_eq!(offer.service.post(&lock, &json!({})).await.arguments()[0].0, "reason");
        assert_eq!(offer.service.post(&lock, &json!({"reason": "abuse"})).await.ok()["status"], "locked");
    }
    for (method, path) in [
        ("DELETE", format!("{I}/links/{theirs}")),
        ("PATCH", format!("{I}/links/{theirs}")),
        ("POST", format!("{I}/links/{theirs}/enable-route-propagation")),
        ("POST", format!("{I}/links/{theirs}/detach-vpc")),
    ] {
        let locked = call_as(&offer.service, &key, method, &path, &json!({"name": "n"})).await.error(423, "locked");
        assert_eq!((&locked["resource"], &locked["resource_id"]), (&json!("link"), &json!(theirs)));
    }
    offer.service.post(&format!("/causeway/v1/links/{link}/unlock"), &json!({})).await.ok();
    assert_eq!(offer.status(&link).await, "requested");
    // A dedicated connection, too: nothing is ordered on it while it is locked.
    let lock = format!("/causeway/v1/dedicated-connections/{}/lock", offer.dedicated);
    assert_eq!(offer.service.post(&lock, &json!({"reason": "unpaid"})).await.ok()["status"], "locked");
    let locked = offer.order(&offer.own(json!({}))).await.error(423, "locked");
    assert_eq!(locked["resource"], "dedicated_connection");
}

#[tokio::test]
async fn the_catalogue_is_the_operators() {
    let offer = Offer::start().await;
    let service = &offer.service;
    let sizes = service.get(&format!("{O}/link-bandwidths")).await.ok();
    assert_eq!(sizes["total_count"], 3);
    assert_eq!(sizes["link_bandwidths"][0], json!({"bandwidth_mbps": 50, "currency": "EUR", "price_per_hour": 50_000}));
    assert_eq!(service.call("PUT", &format!("{O}/link-bandwidths/fast"), "{}").await.status, 404);
    let wished = Uuid::new_v4().to_string();
    let pop = json!({"id": wished, "name": "DC3", "city": "Vitry-sur-Seine"});
    assert_eq!(id(&service.post(&format!("{O}/pops"), &pop).await.ok()), wished);
    service.post(&format!("{O}/pops"), &pop).await.error(409, "already_exists");
    let changed = service
        .call("PATCH", &format!("{O}/pops/{wished}"), r#"{"city":"Paris","link_bandwidths_mbps":[100,50]}"#)
        .await
        .ok();
    assert_eq!((&changed["city"], &changed["name"]), (&json!("Paris"), &json!("DC3")));
    assert_eq!(changed["link_bandwidths_mbps"], json!([50, 100]));
    // Names sort without their leading punctuation: "DC3" comes before "- TH2".
    let pops = service.get(&format!("{I}/pops?order_by=name_asc")).await.ok();
    assert_eq!(names(&pops, "pops", "name"), ["DC3", "- TH2"]);
    assert_eq!(service.get(&format!("{I}/pops?name=th2")).await.ok()["total_count"], 1);
    // A list has what is free, a PoP by its id what is on offer.
    assert_eq!(pops["pops"][0]["available_link_bandwidths_mbps"], json!([]));
    let one = service.get(&format!("{I}/pops/{wished}")).await.ok();
    assert_eq!(one["available_link_bandwidths_mbps"], json!([50, 100]));
    assert_eq!(service.delete(&format!("{O}/pops/{wished}")).await.status, 204);
    service.get(&format!("{O}/pops/{wished}")).await.error(404, "not_found");

    let path = format!("{O}/partners/{}", offer.partner);
    let partner = service.call("PATCH", &path, r#"{"notify":true,"portal_url":"https://example.net/"}"#).await.ok();
    assert_eq!((&partner["notify"], &partner["asn"]), (&json!(true), &json!(39801)));
    let public = service.get(&format!("{I}/partners/{}", offer.partner)).await.ok();
    assert!(public.get("notify").is_none() && public.get("asn").is_none(), "{public}");
    assert_eq!(service.get(&format!("{O}/partners")).await.ok()["total_count"], 1);

    let ports = service.get(&format!("{O}/ports?partner_id={}", offer.partner)).await.ok();
    assert_eq!(names(&ports, "ports", "id"), [offer.port.as_str()]);
    let path = format!("{O}/ports/{}", offer.port);
    assert_eq!(service.get(&path).await.ok(), ports["ports"][0]);
    let wrong = service.call("PATCH", &path, r#"{"attachment":{"kind":"vlan","interface":"lo"}}"#).await;
    assert_eq!(wrong.error(400, "invalid_arguments")["details"][0]["reason"], "constraint");
    offer.link().await;
    // It can't get less than its links have.
    let less = service.call("PATCH", &path, r#"{"capacity_mbps":49}"#).await;
    assert_eq!(less.arguments(), [("capacity_mbps".to_owned(), "constraint".to_owned())]);
    let off = service.call("PATCH", &path, r#"{"enabled":false}"#).await.ok();
    assert_eq!(off["enabled"], false);
    // An order waits for the port, for as long as orders may.
    let waiting = offer.order(&offer.hosted(json!({}))).await.ok();
    assert_eq!(waiting["status"], "configuring");
    let busy = offer.act(&id(&waiting), "enable-route-propagation", &json!({})).await.error(409, "transient_state");
    assert_eq!(busy["current_state"], "configuring");
    service.post(&format!("{O}/links/{}/repair", id(&waiting)), &json!({})).await.error(412, "precondition_failed");
}

#[tokio::test]
async fn a_link_has_the_options_of_bgp_and_routes() {
    let offer = Offer::start().await;
    let service = &offer.service;
    let link = id(&offer.order(&offer.own(json!({}))).await.ok());
    let path = format!("{EXTENSION}/links/{link}/options");
    let change = async |body: &str| service.call("PATCH", &path, body).await;
    let bgp = |hold_time: u16, gtsm: bool| {
        let secret = Value::Null;
        json!({"bgp": {"gtsm": gtsm, "hold_time": hold_time, "max_prefixes": 1000, "md5_secret_id": secret, "md5_secret_revision": secret}})
    };
    assert_eq!(service.get(&path).await.ok(), bgp(60, false));
    assert_eq!(change(r#"{"bgp":{"hold_time":9,"gtsm":true}}"#).await.ok(), bgp(9, true));
    assert_eq!(service.get(&path).await.ok(), bgp(9, true));
    let wrong = change(r#"{"bgp":{"hold_time":2,"max_prefixes":0,"bfd":{"interval":1}}}"#).await;
    let mut names: Vec<_> = wrong.arguments().into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(names, ["bgp.bfd", "bgp.hold_time", "bgp.max_prefixes"]);

    let secret = id(&service.post(&format!("{SECRETS}/secrets"), &json!({"name": "md5"})).await.ok());
    // `secret`, in base64.
    service.post(&format!("{SECRETS}/secrets/{secret}/versions"), &json!({"data": "c2VjcmV0"})).await.ok();
    let signed = change(&json!({"bgp": {"md5_secret_id": secret}}).to_string()).await.ok();
    assert_eq!((&signed["bgp"]["md5_secret_id"], &signed["bgp"]["md5_secret_revision"]), (&json!(secret), &json!(1)));
    let held = service.delete(&format!("{SECRETS}/secrets/{secret}")).await.error(412, "precondition_failed");
    assert!(held.to_string().contains(&link), "{held}");
    let unsigned = change(r#"{"bgp":{"md5_secret_id":null}}"#).await.ok();
    assert!(unsigned["bgp"]["md5_secret_id"].is_null());

    let routes = format!("{EXTENSION}/links/{link}/routes");
    for direction in ["", "?direction=received", "?direction=announced"] {
        let page = service.get(&format!("{routes}{direction}")).await.ok();
        assert_eq!(page, json!({"routes": [], "total_count": 0}), "{direction}");
    }
    service.get(&format!("{routes}?direction=both")).await.error(400, "invalid_arguments");
    let missing = Uuid::new_v4();
    for what in ["options", "routes"] {
        service.get(&format!("{EXTENSION}/links/{missing}/{what}")).await.error(404, "not_found");
    }
}
