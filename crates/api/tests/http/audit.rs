//! The audit trail over every call that changes something: who, what, before and after, and never a secret.

mod links;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use causeway_fleet::door::{Gatekeeper as _, JoinRequest};
use serde_json::{Value, json};

use crate::operator::call_as;
use crate::service::{Answer, Service};

const REGION: &str = "fr-par";
const VPC: &str = "/vpc/v2/regions/{region}";
const IPAM: &str = "/ipam/v1/regions/{region}";
const S2S: &str = "/s2s-vpn/v1alpha1/regions/{region}";
const SECRETS: &str = "/secret-manager/v1beta1/regions/{region}";
const EXTENSION: &str = "/causeway/v1/regions/{region}";
const OPERATOR: &str = "/causeway/v1/operator";

/// What a record has to say.
#[derive(Clone, Copy, Debug)]
enum Says {
    /// Every field after; nothing was there before.
    Made,
    /// Every field before; nothing is there after.
    Gone,
    /// These fields before and after, and no others.
    Changed(&'static [&'static str]),
}

/// A service, and the calls that were made: methods and paths as the document has them.
struct Trail {
    service: Service,
    made: BTreeSet<String>,
}

fn text<'a>(document: &'a Value, key: &str) -> &'a str {
    document[key].as_str().unwrap_or_else(|| panic!("no {key} in {document}"))
}

fn keys(fields: &Value) -> Vec<&str> {
    fields.as_object().map(|fields| fields.keys().map(String::as_str).collect()).unwrap_or_default()
}

impl Trail {
    async fn start() -> Self {
        Self { service: Service::start().await, made: BTreeSet::new() }
    }

    /// Makes a call that must succeed and leave one record, which says this.
    async fn call(&mut self, says: Says, method: &str, template: &str, ids: &[&str], body: Value) -> Value {
        self.made.insert(format!("{method} {template}"));
        let mut path = template.replace("{region}", REGION);
        for id in ids {
            let (from, to) = (path.find('{').expect("a parameter"), path.find('}').expect("its end"));
            path.replace_range(from..=to, id);
        }
        let answer = self.service.call(method, &path, &body.to_string()).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
        self.recorded(says, &format!("{method} {path}"), &answer, &self.service.access_key).await;
        if answer.text.is_empty() { Value::Null } else { answer.json() }
    }

    /// What a partner does with a link.
    async fn partner(&mut self, key: &Value, link: &str, verb: &str, body: Value) {
        let links = "/causeway/v1/partner/links";
        self.made.insert(format!("POST {links}/{{id}}/{verb}"));
        let path = format!("{links}/{link}/{verb}");
        let answer = call_as(&self.service, text(key, "secret_key"), "POST", &path, &body).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text);
        self.recorded(Says::Changed(&["life"]), &path, &answer, text(key, "access_key")).await;
    }

    async fn recorded(&self, says: Says, call: &str, answer: &Answer, access_key: &str) {
        let request = answer.headers["x-request-id"].to_str().expect("a text");
        let path = format!("{OPERATOR}/audit-records?request_id={request}");
        let list = self.service.get(&path).await.ok();
        let records = list["audit_records"].as_array().expect("a list");
        let own: Vec<&Value> = records.iter().filter(|record| record["details"]["with"].is_null()).collect();
        let [record] = own[..] else { panic!("{call}: {list}") };
        // With a connection goes the secret that was made for it; nothing else of these goes along.
        let of = format!("{} {}", text(record, "resource"), text(record, "resource_id"));
        let goes_along = (text(record, "action"), text(record, "resource")) == ("delete", "connection");
        let expected = Vec::from_iter(goes_along.then_some(("delete", "secret", of.as_str())));
        let beside = records.iter().filter(|record| !record["details"]["with"].is_null());
        let beside =
            beside.map(|record| (text(record, "action"), text(record, "resource"), text(&record["details"], "with")));
        assert_eq!(beside.collect::<Vec<_>>(), expected, "{call}: {list}");
        assert_eq!(record["access_key"], access_key, "{call}");
        let (before, after) = (&record["before"], &record["after"]);
        match says {
            Says::Made => assert!(before.is_null() && !keys(after).is_empty(), "{call}: {record}"),
            Says::Gone => assert!(after.is_null() && !keys(before).is_empty(), "{call}: {record}"),
            Says::Changed(fields) => {
                assert!(before.is_object() && after.is_object(), "{call}: {record}");
                let both: BTreeSet<&str> = keys(before).into_iter().chain(keys(after)).collect();
                assert_eq!(both, fields.iter().copied().collect(), "{call}: {record}");
                assert!(fields.iter().all(|field| before.get(field) != after.get(field)), "{call}: {record}");
            }
        }
    }

    async fn get(&self, path: &str) -> Value {
        self.service.get(&path.replace("{region}", REGION)).await.ok()
    }

    /// Waits until a gateway changes no more by itself.
    async fn settled(&self, gateway: &str) {
        for _ in 0..1000 {
            let status = self.get(&format!("{S2S}/vpn-gateways/{gateway}")).await["status"].clone();
            if !["configuring", "provisioning"].map(Value::from).contains(&status) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway did not settle within 10 s");
    }
}

/// The data of secrets, and how calls have them: no record has either.
const DATA: [(&str, &str); 2] = [("correct horse battery", "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5"), ("staple", "c3RhcGxl")];

/// What operators do with gateway nodes.
async fn nodes(t: &mut Trail, hidden: &mut Vec<String>) {
    use Says::{Changed, Gone, Made};
    let tokens = format!("{OPERATOR}/node-join-tokens");
    let zone = json!({"zone": "fr-par-1"});
    let token = t.call(Made, "POST", &tokens, &[], zone.clone()).await;
    hidden.push(text(&token, "token").to_owned());
    t.call(Gone, "DELETE", &format!("{tokens}/{{node_join_token_id}}"), &[text(&token, "id")], json!({})).await;
    let token = t.service.post(&tokens, &zone).await.ok();
    let (_, request) = causeway_fleet::authority::request().expect("made");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let (name, version) = ("edge".to_owned(), "1".to_owned());
    let join = JoinRequest { token: text(&token, "token").to_owned(), request, name, version, now };
    let node = t.service.controller.join(join).await.expect("joins").node.to_string();
    let path = format!("{OPERATOR}/nodes/{{node_id}}");
    t.call(Changed(&["name"]), "PATCH", &path, &[&node], json!({"name": "edge 2"})).await;
    t.call(Changed(&["cordoned"]), "POST", &format!("{path}/cordon"), &[&node], json!({})).await;
    t.call(Changed(&["cordoned"]), "POST", &format!("{path}/uncordon"), &[&node], json!({})).await;
    t.call(Changed(&["cordoned", "draining"]), "POST", &format!("{path}/drain"), &[&node], json!({})).await;
    t.call(Changed(&["revision"]), "POST", &format!("{path}/retry"), &[&node], json!({})).await;
    t.call(Gone, "POST", &format!("{path}/revoke"), &[&node], json!({})).await;
}

#[tokio::test]
async fn every_change_is_recorded_with_before_and_after_and_without_secrets() {
    use Says::{Changed, Gone, Made};
    let mut trail = Trail::start().await;
    let t = &mut trail;
    let mut hidden: Vec<String> =
        DATA.iter().flat_map(|(data, sent)| [data, sent].map(|text| (*text).to_owned())).collect();

    // The operator's side.
    let path = format!("{OPERATOR}/organizations");
    let organization = t.call(Made, "POST", &path, &[], json!({"name": "o"})).await;
    let path = format!("{path}/{{organization_id}}");
    let id = text(&organization, "id");
    t.call(Changed(&["name"]), "PATCH", &path, &[id], json!({"name": "o2"})).await;
    t.call(Gone, "DELETE", &path, &[id], json!({})).await;
    for path in [format!("{OPERATOR}/projects"), "/account/v3/projects".to_owned()] {
        let project = t.call(Made, "POST", &path, &[], json!({"name": "p", "description": "d"})).await;
        let (path, id) = (format!("{path}/{{project_id}}"), text(&project, "id"));
        t.call(Changed(&["description", "name"]), "PATCH", &path, &[id], json!({"name": "q", "description": "e"}))
            .await;
        t.call(Gone, "DELETE", &path, &[id], json!({})).await;
    }
    let path = format!("{OPERATOR}/api-keys");
    let key = t.call(Made, "POST", &path, &[], json!({"role": "support", "description": "night"})).await;
    hidden.push(text(&key, "secret_key").to_owned());
    let path = format!("{path}/{{access_key}}");
    t.call(Changed(&["revoked_at"]), "DELETE", &path, &[text(&key, "access_key")], json!({})).await;
    let path = format!("{OPERATOR}/quotas/{{project_id}}/{{resource}}");
    let project = t.service.project_id.clone();
    const QUOTA: &[&str] = &["is_default", "quota"];
    t.call(Changed(QUOTA), "PUT", &path, &[&project, "vpcs"], json!({"quota": 77})).await;
    t.call(Changed(QUOTA), "DELETE", &path, &[&project, "vpcs"], json!({})).await;
    let contact = json!({"support_contact": "help@example.net"});
    t.call(Changed(&["support_contact"]), "PATCH", &format!("{OPERATOR}/settings"), &[], contact).await;
    let path = format!("{OPERATOR}/zones");
    t.call(Made, "POST", &path, &[], json!({"name": "fr-par-2"})).await;
    let pool = json!({"zone": "fr-par-2", "prefix": "198.51.100.0/29"});
    t.call(Made, "POST", &format!("{OPERATOR}/public-pools"), &[], pool).await;
    let pool = format!("{OPERATOR}/public-pools/{{zone}}/{{address}}/{{length}}");
    t.call(Gone, "DELETE", &pool, &["fr-par-2", "198.51.100.0", "29"], json!({})).await;
    t.call(Gone, "DELETE", &format!("{path}/{{zone}}"), &["fr-par-2"], json!({})).await;
    let path = format!("{OPERATOR}/gateway-types");
    let new = json!({"name": "VGW-XS", "bandwidth": 1000, "allowed_connections": 1, "price_per_hour": 10});
    t.call(Made, "POST", &path, &[], new).await;
    let path = format!("{path}/{{name}}");
    t.call(Changed(&["price_per_hour"]), "PATCH", &path, &["VGW-XS"], json!({"price_per_hour": 20})).await;
    t.call(Gone, "DELETE", &path, &["VGW-XS"], json!({})).await;

    // Networks.
    let path = format!("{VPC}/vpcs");
    let vpc = t.call(Made, "POST", &path, &[], json!({"name": "v"})).await;
    let (path, vpc) = (format!("{path}/{{vpc_id}}"), text(&vpc, "id"));
    t.call(Changed(&["name", "tags"]), "PATCH", &path, &[vpc], json!({"name": "w", "tags": ["a"]})).await;
    t.call(Changed(&[]), "POST", &format!("{path}/enable-routing"), &[vpc], json!({})).await;
    const PROPAGATION: &[&str] = &["custom_routes_propagation_enabled"];
    let off = json!({"custom_routes_propagation_enabled": false});
    t.call(Changed(PROPAGATION), "PATCH", &format!("{EXTENSION}/vpcs/{{id}}/options"), &[vpc], off).await;
    let on = format!("{path}/enable-custom-routes-propagation");
    t.call(Changed(PROPAGATION), "POST", &on, &[vpc], json!({})).await;
    let rule = json!({"action": "drop", "source": "0.0.0.0/0", "destination": "10.0.0.0/24", "protocol": "icmp"});
    let acl = json!({"rules": [rule], "is_ipv6": false, "default_policy": "accept"});
    const ACL: &[&str] = &["added", "removed", "rules"];
    t.call(Changed(ACL), "PUT", &format!("{path}/acl-rules"), &[vpc], acl).await;
    let networks = format!("{VPC}/private-networks");
    let new = json!({"name": "n", "vpc_id": vpc, "subnets": ["10.0.0.0/24"]});
    let network = t.call(Made, "POST", &networks, &[], new).await;
    let (one_network, network) = (format!("{networks}/{{private_network_id}}"), text(&network, "id"));
    let change = json!({"default_route_propagation_enabled": true});
    t.call(Changed(&["default_route_propagation_enabled"]), "PATCH", &one_network, &[network], change).await;
    t.call(Changed(&[]), "POST", &format!("{one_network}/enable-dhcp"), &[network], json!({})).await;
    let attachment = format!("{OPERATOR}/private-network-attachments/{{private_network_id}}");
    t.call(Changed(&["interface"]), "PUT", &attachment, &[network], json!({"interface": "br-lan"})).await;
    t.call(Gone, "DELETE", &attachment, &[network], json!({})).await;

    // Addresses and routes.
    let ips = format!("{IPAM}/ips");
    let book = json!({"source": {"private_network_id": network}, "is_ipv6": false});
    let ip = t.call(Made, "POST", &ips, &[], book.clone()).await;
    let (one_ip, ip) = (format!("{ips}/{{ip_id}}"), text(&ip, "id"));
    let change = json!({"tags": ["t"], "reverses": [{"hostname": "router.example.net", "address": null}]});
    t.call(Changed(&["reverses", "tags"]), "PATCH", &one_ip, &[ip], change).await;
    let (first, second) = (json!({"mac_address": "02:00:00:00:00:01"}), json!({"mac_address": "02:00:00:00:00:02"}));
    let resource = json!({"resource": first});
    t.call(Changed(&["resource"]), "POST", &format!("{one_ip}/attach"), &[ip], resource).await;
    let moved = json!({"from_resource": first, "to_resource": second});
    t.call(Changed(&["resource"]), "POST", &format!("{one_ip}/move"), &[ip], moved).await;
    let routes = format!("{VPC}/routes");
    let new = json!({"vpc_id": vpc, "destination": "10.9.0.0/16", "nexthop_resource_id": ip, "description": "d"});
    let route = t.call(Made, "POST", &routes, &[], new).await;
    let (one_route, route) = (format!("{routes}/{{route_id}}"), text(&route, "id"));
    let change = json!({"destination": "10.10.0.0/16", "tags": ["r"]});
    t.call(Changed(&["destination", "tags"]), "PATCH", &one_route, &[route], change).await;
    t.call(Gone, "DELETE", &one_route, &[route], json!({})).await;
    let resource = json!({"resource": second});
    t.call(Changed(&["resource"]), "POST", &format!("{one_ip}/detach"), &[ip], resource).await;
    t.call(Gone, "DELETE", &one_ip, &[ip], json!({})).await;
    let ip = t.call(Made, "POST", &ips, &[], book).await;
    let set = json!({"ip_ids": [ip["id"]]});
    t.call(Gone, "POST", &format!("{IPAM}/ip-sets/release"), &[], set).await;

    // Secrets.
    let secrets = format!("{SECRETS}/secrets");
    let new = json!({"name": "s", "type": "opaque", "protected": false});
    let secret = t.call(Made, "POST", &secrets, &[], new).await;
    let (one_secret, secret) = (format!("{secrets}/{{secret_id}}"), text(&secret, "id"));
    t.call(
        Changed(&["description", "path"]),
        "PATCH",
        &one_secret,
        &[secret],
        json!({"description": "d", "path": "/p"}),
    )
    .await;
    t.call(Changed(&["protected"]), "POST", &format!("{one_secret}/protect"), &[secret], json!({})).await;
    t.call(Changed(&["protected"]), "POST", &format!("{one_secret}/unprotect"), &[secret], json!({})).await;
    t.call(Changed(&["used_by"]), "POST", &format!("{one_secret}/add-owner"), &[secret], json!({"product": "s2s_vpn"}))
        .await;
    let versions = format!("{one_secret}/versions");
    for (_, data) in DATA {
        t.call(Made, "POST", &versions, &[secret], json!({"data": data})).await;
    }
    let version = format!("{versions}/{{revision}}");
    t.call(Changed(&["description"]), "PATCH", &version, &[secret, "1"], json!({"description": "d"})).await;
    t.call(Changed(&["status"]), "POST", &format!("{version}/disable"), &[secret, "1"], json!({})).await;
    t.call(Changed(&["status"]), "POST", &format!("{version}/enable"), &[secret, "1"], json!({})).await;

    // The VPN.
    let gateways = format!("{S2S}/vpn-gateways");
    let new = json!({"name": "g", "gateway_type": "VGW-S", "private_network_id": network});
    let gateway = t.call(Made, "POST", &gateways, &[], new).await;
    let (one_gateway, gateway) = (format!("{gateways}/{{gateway_id}}"), text(&gateway, "id"));
    t.settled(gateway).await;
    t.call(Changed(&["name"]), "PATCH", &one_gateway, &[gateway], json!({"name": "h"})).await;
    let lock = "/causeway/v1/vpn-gateways/{id}";
    t.call(Changed(&["locked"]), "POST", &format!("{lock}/lock"), &[gateway], json!({"reason": "r"})).await;
    t.call(Changed(&["locked"]), "POST", &format!("{lock}/unlock"), &[gateway], json!({})).await;
    let customers = format!("{S2S}/customer-gateways");
    let new = json!({"name": "c", "ipv4_public": "198.51.100.7", "asn": 65000});
    let customer = t.call(Made, "POST", &customers, &[], new).await;
    let (one_customer, customer) = (format!("{customers}/{{gateway_id}}"), text(&customer, "id"));
    t.call(Changed(&["asn"]), "PATCH", &one_customer, &[customer], json!({"asn": 65001})).await;
    let policies = format!("{S2S}/routing-policies");
    let new = json!({"name": "r", "is_ipv6": false, "prefix_filter_in": ["10.9.0.0/16"]});
    let policy = t.call(Made, "POST", &policies, &[], new).await;
    let (one_policy, policy) = (format!("{policies}/{{routing_policy_id}}"), text(&policy, "id"));
    let change = json!({"prefix_filter_in": ["10.8.0.0/16"]});
    t.call(Changed(&["prefix_filter_in"]), "PATCH", &one_policy, &[policy], change).await;
    let connections = format!("{S2S}/connections");
    let new = json!({"name": "n", "vpn_gateway_id": gateway, "customer_gateway_id": customer});
    let connection = t.call(Made, "POST", &connections, &[], new).await["connection"].clone();
    let (one, id) = (format!("{connections}/{{connection_id}}"), text(&connection, "id"));
    let own = text(&connection, "secret_id");
    t.settled(gateway).await;
    let change = json!({"name": "m", "initiation_policy": "customer_gateway"});
    t.call(Changed(&["initiation_policy", "name"]), "PATCH", &one, &[id], change).await;
    const ROUTES: &[&str] = &["route_propagation_enabled"];
    t.call(Changed(ROUTES), "POST", &format!("{one}/enable-route-propagation"), &[id], json!({})).await;
    t.call(Changed(ROUTES), "POST", &format!("{one}/disable-route-propagation"), &[id], json!({})).await;
    let session = json!({"routing_policy_v4": policy});
    t.call(Changed(&["bgp_ipv4"]), "POST", &format!("{one}/set-routing-policy"), &[id], session.clone()).await;
    t.call(Changed(&["bgp_ipv4"]), "POST", &format!("{one}/detach-routing-policy"), &[id], session).await;
    let renewed = json!({"generate_revision": true});
    t.call(Changed(&["secret_revision"]), "POST", &format!("{one}/renew-psk"), &[id], renewed).await;
    for revision in [1, 2] {
        let access = t.get(&format!("{secrets}/{own}/versions/{revision}/access")).await;
        hidden.push(text(&access, "data").to_owned());
    }
    let extension = format!("{EXTENSION}/connections/{{id}}");
    t.call(Changed(&["previous_key"]), "POST", &format!("{extension}/revoke-previous-psk"), &[id], json!({})).await;
    t.call(Changed(&[]), "POST", &format!("{extension}/reauthenticate"), &[id], json!({})).await;
    let change = json!({"secret": {"id": secret, "revision": 2}});
    const KEY: &[&str] = &["secret_id"];
    t.call(Changed(KEY), "POST", &format!("{one}/change-psk"), &[id], change).await;
    let options = json!({"dpd": {"delay": 7}});
    t.call(Changed(&["dpd_delay"]), "PATCH", &format!("{extension}/options"), &[id], options).await;
    let lock = "/causeway/v1/connections/{id}";
    t.call(Changed(&["locked"]), "POST", &format!("{lock}/lock"), &[id], json!({"reason": "r"})).await;
    t.call(Changed(&["locked"]), "POST", &format!("{lock}/unlock"), &[id], json!({})).await;
    t.call(Gone, "DELETE", &one, &[id], json!({})).await;
    t.call(Gone, "DELETE", &one_policy, &[policy], json!({})).await;
    t.call(Gone, "DELETE", &one_customer, &[customer], json!({})).await;
    t.settled(gateway).await;
    t.call(Gone, "DELETE", &one_gateway, &[gateway], json!({})).await;

    t.call(Changed(&["deleted_at", "status"]), "DELETE", &version, &[secret, "1"], json!({})).await;
    t.call(Gone, "DELETE", &one_secret, &[secret], json!({})).await;
    let spare = t.service.post(&networks.replace("{region}", REGION), &json!({"name": "x", "vpc_id": vpc})).await.ok();
    t.call(Gone, "DELETE", &one_network, &[text(&spare, "id")], json!({})).await;
    let spare = t.service.post(&format!("{VPC}/vpcs").replace("{region}", REGION), &json!({"name": "x"})).await.ok();
    t.call(Gone, "DELETE", &path, &[text(&spare, "id")], json!({})).await;

    let hooks = format!("{EXTENSION}/webhooks");
    let hook = t.call(Made, "POST", &hooks, &[], json!({"url": "https://hooks.example.net/"})).await;
    hidden.push(text(&hook, "secret").to_owned());
    let one = format!("{hooks}/{{id}}");
    t.call(Changed(&["events"]), "PATCH", &one, &[text(&hook, "id")], json!({"events": ["link.down"]})).await;
    t.call(Gone, "DELETE", &one, &[text(&hook, "id")], json!({})).await;
    let rules = json!({"allow_http": true, "allowed_networks": ["10.0.0.0/8"], "denied_networks": ["9.9.9.0/24"]});
    const RULES: &[&str] = &["allow_http", "allowed_networks", "denied_networks"];
    t.call(Changed(RULES), "PUT", &format!("{OPERATOR}/webhook-rules"), &[], rules).await;
    links::links(t).await;
    nodes(t, &mut hidden).await;

    let document = trail.get("/openapi.json").await;
    let paths = document["paths"].as_object().expect("paths");
    let calls = paths.iter().flat_map(|(path, calls)| {
        let calls = calls.as_object().expect("calls").iter();
        let changing = calls.filter(|(method, call)| *method != "get" && call["responses"].get("501").is_none());
        changing.map(move |(method, _)| format!("{} {path}", method.to_uppercase()))
    });
    let offered: BTreeSet<String> = calls.collect();
    let left_out: Vec<_> = offered.difference(&trail.made).collect();
    assert!(left_out.is_empty(), "calls whose records nobody has looked at: {left_out:#?}");

    let all = trail.service.get(&format!("{OPERATOR}/audit-records?page_size=1000")).await;
    assert!(all.text.contains("secret_revision"), "the records were read");
    for secret in hidden {
        assert!(!all.text.contains(&secret), "a record holds {secret}");
    }
}
