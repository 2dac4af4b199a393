//! InterLink's records.

use serde_json::{Value, json};

use super::Says::{Changed, Gone, Made};
use super::{EXTENSION, OPERATOR, REGION, Trail, VPC, text};

const I: &str = "/interlink/v1beta1/regions/{region}";
const L: &str = "/interlink/v1beta1/regions/{region}/links/{link_id}";
/// Who did what, and when.
const LIFE: &[&str] = &["life"];

/// Makes every call about links and their catalogue.
pub(super) async fn links(t: &mut Trail) {
    let size = format!("{OPERATOR}/link-bandwidths/{{bandwidth_mbps}}");
    t.call(Made, "PUT", &size, &["50"], json!({"price_per_hour": 1})).await;
    t.call(Changed(&["price_per_hour"]), "PUT", &size, &["50"], json!({"price_per_hour": 2})).await;
    let file = json!({"link_bandwidths": [{"bandwidth_mbps": 50, "price_per_hour": 3}]});
    filed(t, &file).await;
    t.call(Made, "PUT", &size, &["60"], json!({"price_per_hour": 1})).await;
    t.call(Gone, "DELETE", &size, &["60"], json!({})).await;
    let vlan = json!({"kind": "vlan", "interface": "eth1"});
    let fields = json!({"name": "th2", "link_bandwidths_mbps": [50]});
    let pop = made_and_renamed(t, "pops", &fields).await;
    let fields = json!({"name": "ix", "asn": 39801, "contact_email": "l2@example.net"});
    let partner = made_and_renamed(t, "partners", &fields).await;
    let fields = json!({"name": "d", "project_id": t.service.project_id, "pop_id": pop, "bandwidth_mbps": 100});
    let dedicated = made_and_renamed(t, "dedicated-connections", &fields).await;
    let fields = json!({"name": "p", "pop_id": pop, "partner_id": partner, "attachment": vlan, "capacity_mbps": 1000});
    made_and_renamed(t, "ports", &fields).await;
    let lock = "/causeway/v1/dedicated-connections/{id}";
    t.call(Changed(&["locked"]), "POST", &format!("{lock}/lock"), &[&dedicated], json!({"reason": "r"})).await;
    t.call(Changed(&["locked"]), "POST", &format!("{lock}/unlock"), &[&dedicated], json!({})).await;

    let policies = format!("{I}/routing-policies");
    let one = format!("{policies}/{{routing_policy_id}}");
    let policy = t.call(Made, "POST", &policies, &[], json!({"name": "p", "is_ipv6": false})).await;
    let other = t.call(Made, "POST", &policies, &[], json!({"name": "q", "is_ipv6": false})).await;
    let (policy, other) = (text(&policy, "id"), text(&other, "id"));
    t.call(Changed(&["name"]), "PATCH", &one, &[policy], json!({"name": "r"})).await;
    let vpcs = format!("{VPC}/vpcs").replace("{region}", REGION);
    let vpc = t.service.post(&vpcs, &json!({"name": "l"})).await.ok();

    let order = json!({"name": "l", "pop_id": pop, "bandwidth_mbps": 50, "partner_id": partner});
    let link = t.call(Made, "POST", &format!("{I}/links"), &[], order.clone()).await;
    let id = text(&link, "id");
    t.call(Changed(&["name"]), "PATCH", L, &[id], json!({"name": "m"})).await;
    t.call(Changed(&["vpc_id"]), "POST", &format!("{L}/attach-vpc"), &[id], json!({"vpc_id": text(&vpc, "id")})).await;
    t.call(Changed(&["vpc_id"]), "POST", &format!("{L}/detach-vpc"), &[id], json!({})).await;
    const POLICY: &[&str] = &["routing_policy_v4"];
    let attached = json!({"routing_policy_id": policy});
    t.call(Changed(POLICY), "POST", &format!("{L}/attach-routing-policy"), &[id], attached).await;
    let set = json!({"routing_policy_id": other});
    t.call(Changed(POLICY), "POST", &format!("{L}/set-routing-policy"), &[id], set.clone()).await;
    t.call(Changed(POLICY), "POST", &format!("{L}/detach-routing-policy"), &[id], set).await;
    const ROUTES: &[&str] = &["route_propagation_enabled"];
    t.call(Changed(ROUTES), "POST", &format!("{L}/enable-route-propagation"), &[id], json!({})).await;
    t.call(Changed(ROUTES), "POST", &format!("{L}/disable-route-propagation"), &[id], json!({})).await;
    let options = json!({"bgp": {"hold_time": 30}});
    t.call(Changed(&["hold_time"]), "PATCH", &format!("{EXTENSION}/links/{{id}}/options"), &[id], options).await;
    let lock = "/causeway/v1/links/{id}";
    t.call(Changed(LIFE), "POST", &format!("{lock}/lock"), &[id], json!({"reason": "r"})).await;
    t.call(Changed(LIFE), "POST", &format!("{lock}/unlock"), &[id], json!({})).await;

    let key = json!({"role": "partner", "partner_id": partner});
    let key = t.service.post(&format!("{OPERATOR}/api-keys"), &key).await.ok();
    for verb in ["accept", "provisioned", "start-deprovisioning", "deprovisioned"] {
        t.partner(&key, id, verb, json!({})).await;
    }
    let link = t.call(Made, "POST", &format!("{I}/links"), &[], order).await;
    let id = text(&link, "id");
    t.partner(&key, id, "refuse", json!({"reason": "full"})).await;
    t.call(Gone, "DELETE", L, &[id], json!({})).await;
    t.call(Gone, "DELETE", &one, &[policy], json!({})).await;
    // A link has failed after 30 s at the earliest: the controller's tests repair one, in virtual time, and look at its record.
    t.made.insert(format!("POST {OPERATOR}/links/{{id}}/repair"));
}

/// Applies a catalogue that changes one object: a record of the file, and one of what it changed.
async fn filed(t: &mut Trail, file: &Value) {
    let path = format!("{OPERATOR}/catalogue");
    let answer = t.service.post(&path, file).await;
    let request = answer.headers["x-request-id"].to_str().expect("a text").to_owned();
    answer.ok();
    let list = t.get(&format!("{OPERATOR}/audit-records?request_id={request}")).await;
    let records = list["audit_records"].as_array().expect("records");
    let of = |resource: &str| records.iter().find(|record| record["resource"] == resource).expect("a record");
    assert_eq!((records.len(), &of("catalogue")["details"]), (2, &json!({"differences": "1"})));
    let changed = of("link_bandwidth");
    assert_eq!((&changed["before"], &changed["after"]), (&json!({"price_per_hour": 2}), &json!({"price_per_hour": 3})));
    t.made.insert(format!("POST {path}"));
}

/// Makes two of a kind, renames the first and deletes the second; the first one's id.
async fn made_and_renamed(t: &mut Trail, kind: &str, fields: &Value) -> String {
    let all = format!("{OPERATOR}/{kind}");
    let one = format!("{all}/{{id}}");
    let kept = t.call(Made, "POST", &all, &[], fields.clone()).await;
    let mut spare = fields.clone();
    spare["name"] = json!("spare");
    if let Some(interface) = spare.pointer_mut("/attachment/interface") {
        *interface = json!("eth2");
    }
    let spare = t.call(Made, "POST", &all, &[], spare).await;
    t.call(Changed(&["name"]), "PATCH", &one, &[text(&kept, "id")], json!({"name": "renamed"})).await;
    t.call(Gone, "DELETE", &one, &[text(&spare, "id")], json!({})).await;
    text(&kept, "id").to_owned()
}
