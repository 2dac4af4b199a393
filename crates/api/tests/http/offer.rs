//! The catalogue as one file, with the sample that ships, and webhooks, over HTTP.

use serde_json::{Value, json};

use crate::operator::{call_as, tenant};
use crate::service::{EXTENSION, Service};

const I: &str = "/interlink/v1beta1/regions/fr-par";
const O: &str = "/causeway/v1/operator";

pub(crate) fn sample() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/interlink-catalogue.toml");
    toml::from_str(&std::fs::read_to_string(path).expect("ships")).expect("TOML")
}

#[tokio::test]
async fn the_sample_makes_the_catalogue_that_was_recorded() {
    let service = Service::start().await;
    let apply = async |file: &Value, query: &str| service.post(&format!("{O}/catalogue{query}"), file).await;
    let shown = apply(&sample(), "?dry_run=True").await.ok();
    assert_eq!(service.get(&format!("{I}/pops")).await.ok()["total_count"], 0, "showing changes nothing");
    let done = apply(&sample(), "").await.ok();
    assert_eq!(done["total_count"], shown["total_count"]);
    assert_eq!(apply(&sample(), "").await.ok(), json!({"differences": [], "total_count": 0}));

    // wire-api.md §4.8: order, ids and sizes as recorded; a PoP without a port shows no size in the list and all by its id.
    let pops = service.get(&format!("{I}/pops?order_by=name_asc")).await.ok();
    let names: Vec<&str> =
        pops["pops"].as_array().expect("a list").iter().filter_map(|pop| pop["name"].as_str()).collect();
    assert_eq!(names, ["DC2", "DC3", "DC5", "- Interxion MRS2", "- Telehouse TH2"]);
    assert_eq!(pops["pops"][0]["available_link_bandwidths_mbps"], json!([]));
    let dc2 = service.get(&format!("{I}/pops/f2e1cf2f-efec-4798-a959-767310ab30ae")).await.ok();
    assert_eq!(dc2["available_link_bandwidths_mbps"], json!([50, 100, 200, 500, 1000, 5000, 10000]));
    let partner = service.get(&format!("{I}/partners/89d00734-eddb-4192-8b16-bc16f0b0f5a5")).await.ok();
    assert_eq!(
        (partner["name"].as_str(), partner["contact_email"].as_str()),
        (Some("FranceIX"), Some("l2-support@franceix.net"))
    );
    let order = json!({
        "name": "l", "pop_id": "fd046cc9-d9bf-4a87-9c32-d299fe4bf4d7", "bandwidth_mbps": 50,
        "partner_id": "89d00734-eddb-4192-8b16-bc16f0b0f5a5",
    });
    let link = service.post(&format!("{I}/links"), &order).await.ok();
    assert_eq!((link["status"].as_str(), link["peer_bgp_config"]["asn"].as_u64()), (Some("requested"), Some(39801)));

    let mut changed = sample();
    changed["partners"][0]["contact_email"] = json!("links@franceix.net");
    let difference = &apply(&changed, "?dry_run=true").await.ok()["differences"][0];
    assert_eq!(
        (difference["change"].as_str(), difference["before"]["contact_email"].as_str()),
        (Some("update"), Some("\"l2-support@franceix.net\""))
    );
    changed["ports"] = json!([]);
    apply(&changed, "").await.error(412, "precondition_failed");
    let broken = json!({"pops": [{"name": "A"}, 7], "ports": [{"pop": "A"}]});
    let fields: Vec<String> = apply(&broken, "").await.arguments().into_iter().map(|(name, _)| name).collect();
    for field in ["pops[1]", "ports[0].name", "ports[0].capacity_mbps", "ports[0].attachment"] {
        assert!(fields.iter().any(|known| known == field), "{field}: {fields:?}");
    }
}

#[tokio::test]
async fn webhooks_are_each_partys_own_and_show_their_secret_once() {
    let service = Service::start().await;
    let w = format!("{EXTENSION}/webhooks");
    let new = json!({"url": "https://hooks.example.net/x", "events": ["link.accepted"]});
    let made = service.post(&w, &new).await.ok();
    assert_eq!(made["secret"].as_str().map(str::len), Some(43));
    let id = made["id"].as_str().expect("an id");
    let listed = service.get(&w).await.ok();
    assert_eq!(
        (listed["total_count"].as_u64(), listed["webhooks"][0]["url"].as_str()),
        (Some(1), Some("https://hooks.example.net/x"))
    );
    assert!(listed["webhooks"][0].get("secret").is_none());
    assert_eq!(service.get(&format!("{w}/{id}/deliveries")).await.ok(), json!({"deliveries": [], "total_count": 0}));
    let (_, key) = tenant(&service).await;
    call_as(&service, &key, "GET", &format!("{w}/{id}"), &json!({})).await.error(404, "not_found");
    let path = format!("{O}/webhook-rules");
    call_as(&service, &key, "PUT", &path, &json!({"allow_http": true})).await.error(403, "permissions_denied");
    let refused = service.post(&w, &json!({"url": "http://10.0.0.1/"})).await.arguments();
    assert_eq!(refused, [("url".to_owned(), "constraint".to_owned())]);
    let rules = json!({"allow_http": true, "allowed_networks": ["10.0.0.0/8"], "denied_networks": ["9.9.9.0/24", "2620:fe::/48"]});
    let set = service.call("PUT", &format!("{O}/webhook-rules"), &rules.to_string()).await.ok();
    assert_eq!((set, service.get(&format!("{O}/webhook-rules")).await.ok()), (rules.clone(), rules));
    service.post(&w, &json!({"url": "http://10.0.0.1/"})).await.ok();
    let change = json!({"events": []}).to_string();
    let changed = service.call("PATCH", &format!("{w}/{id}"), &change).await.ok();
    assert_eq!((&changed["events"], &changed["url"]), (&json!([]), &json!("https://hooks.example.net/x")));
    let refused = service.call("PATCH", &format!("{w}/{id}"), &json!({"events": ["link.exploded"]}).to_string()).await;
    assert_eq!(refused.arguments(), [("events".to_owned(), "unknown".to_owned())]);
    assert_eq!(service.delete(&format!("{w}/{id}")).await.status, 204);
    assert_eq!(service.get(&w).await.ok()["total_count"], 1);
}
