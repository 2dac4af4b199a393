//! The recorded documents of InterLink (wire-api.md §4.4, §4.7, §4.8, Appendix A), byte for byte. `l3_connectivity` and a partner's `region`
//! came after the recordings: they stand where the alphabet puts them.

use std::collections::BTreeMap;

use causeway_model::link::{LinkEvent, LinkKind, LinkLife};
use causeway_model::resource::{
    DedicatedConnection, Link, LinkAddresses, LinkHost, LinkPolicy, Meta, Partner, Pop, Port, PortAttachment,
    PortOwner, VLANS,
};
use causeway_model::status::{BgpStatus, DedicatedConnectionStatus, LinkStatus};
use causeway_model::view::{DedicatedConnectionView, LinkState, LinkStatuses, PopView};
use causeway_model::{OrganizationId, ProjectId, Timestamp};
use causeway_wire::document::List;
use causeway_wire::document::interlink::{DedicatedConnectionDocument, LinkDocument, PartnerDocument, PopDocument};
use causeway_wire::document::link::{LinkStateDocument, PartnerLinkDocument};
use causeway_wire::document::offer::{PartnerOfferDocument, PortDocument};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

const ORG: &str = "10000000-0000-4000-8000-000000000000";
const PROJECT: &str = "10000000-0000-4000-8000-000000000001";
const ID: &str = "10000000-0000-4000-8000-000000000002";
const POP: &str = "fd046cc9-d9bf-4a87-9c32-d299fe4bf4d7";
const PARTNER: &str = "89d00734-eddb-4192-8b16-bc16f0b0f5a5";

fn parse<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

fn id<T: From<Uuid>>(text: &str) -> T {
    parse::<Uuid>(text).into()
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("an instant")
}

fn meta(name: &str, at: &str) -> Meta {
    Meta {
        organization_id: id::<OrganizationId>(ORG),
        project_id: id::<ProjectId>(PROJECT),
        region: "fr-par".to_owned(),
        name: name.to_owned(),
        tags: Vec::new(),
        created_at: time(at),
        updated_at: time(at),
    }
}

/// `sample` with its placeholders replaced.
#[track_caller]
fn check(document: &impl Serialize, sample: &str) {
    let expected = sample.replace("<org>", ORG).replace("<prj>", PROJECT).replace("<id>", ID).replace("<pop>", POP);
    assert_eq!(serde_json::to_string(document).expect("JSON"), expected);
}

const AT: &str = "2026-04-19T20:29:51.721706Z";

fn link() -> LinkStatuses {
    let mut life = LinkLife::ordered(LinkKind::Hosted, time(AT));
    life.apply(LinkEvent::Placed, time(AT)).expect("placed");
    let link = Link {
        id: parse("0bb8f7cf-88a6-43ff-ac07-ac0a705da1a8"),
        meta: meta("l", AT),
        pop_id: parse(POP),
        port_id: id(ID),
        host: LinkHost::Partner {
            partner_id: parse(PARTNER),
            pairing_key: parse("222461a1-5b81-4ef4-86ba-e7612cc30e6b"),
            l3_connectivity: false,
        },
        bandwidth_mbps: 50,
        vlan: 1991,
        provider_asn: 12876,
        peer_asn: 39801,
        ipv4: LinkAddresses { ours: parse("169.254.0.98/31"), theirs: parse("169.254.0.99/31") },
        ipv6: LinkAddresses {
            ours: parse("2001:1bc8:3812:fc60:56de:818e:4e3f:5300/127"),
            theirs: parse("2001:1bc8:3812:fc60:56de:818e:4e3f:5301/127"),
        },
        vpc_id: None,
        routing_policy_v4: None,
        routing_policy_v6: None,
        route_propagation_enabled: false,
        life,
    };
    LinkStatuses {
        link,
        status: LinkStatus::Requested,
        bgp_v4_status: BgpStatus::Disabled,
        bgp_v6_status: BgpStatus::Disabled,
    }
}

const LINK: &str = r#"{"bandwidth_mbps":50,"bgp_v4_status":"disabled","bgp_v6_status":"disabled","created_at":"2026-04-19T20:29:51.721706Z","enable_route_propagation":false,"id":"0bb8f7cf-88a6-43ff-ac07-ac0a705da1a8","name":"l","organization_id":"<org>","partner":{"disapproved_reason":"","l3_connectivity":false,"pairing_key":"222461a1-5b81-4ef4-86ba-e7612cc30e6b","partner_id":"89d00734-eddb-4192-8b16-bc16f0b0f5a5"},"peer_bgp_config":{"asn":39801,"ipv4":"169.254.0.99/31","ipv6":"2001:1bc8:3812:fc60:56de:818e:4e3f:5301/127"},"pop_id":"fd046cc9-d9bf-4a87-9c32-d299fe4bf4d7","project_id":"<prj>","region":"fr-par","scw_bgp_config":{"asn":12876,"ipv4":"169.254.0.98/31","ipv6":"2001:1bc8:3812:fc60:56de:818e:4e3f:5300/127"},"status":"requested","tags":[],"updated_at":"2026-04-19T20:29:51.721706Z","vlan":1991}"#;

#[test]
fn a_hosted_link() {
    check(&LinkDocument::from(link()), LINK);
    let list = List::alphabetical("links", vec![LinkDocument::from(link())], 1);
    check(&list, &format!(r#"{{"links":[{LINK}],"total_count":1}}"#));
}

#[test]
fn a_self_hosted_link_differs_by_self_in_the_partners_place() {
    let mut view = link();
    view.link.host = LinkHost::Dedicated { connection_id: id(ID) };
    let partner = r#""partner":{"disapproved_reason":"","l3_connectivity":false,"pairing_key":"222461a1-5b81-4ef4-86ba-e7612cc30e6b","partner_id":"89d00734-eddb-4192-8b16-bc16f0b0f5a5"},"#;
    let expected = LINK.replace(partner, "").replace(r#""status""#, r#""self":{"connection_id":"<id>"},"status""#);
    check(&LinkDocument::from(view), &expected);
}

#[test]
fn what_is_attached_has_a_key_and_nothing_is_null() {
    let mut view = link();
    view.link.vpc_id = Some(id(ID));
    view.link.routing_policy_v4 = Some(LinkPolicy { id: id(ORG), since: time(AT) });
    view.link.routing_policy_v6 = Some(LinkPolicy { id: id(PROJECT), since: time(AT) });
    let refused = LinkEvent::Refused("no port is free".to_owned());
    view.link.life.apply(refused, time(AT)).expect("refused");
    let document = serde_json::to_value(LinkDocument::from(view)).expect("JSON");
    assert_eq!(document["vpc_id"], ID);
    assert_eq!((&document["routing_policy_v4_id"], &document["routing_policy_v6_id"]), (&json!(ORG), &json!(PROJECT)));
    assert_eq!(document["partner"]["disapproved_reason"], "no port is free");
    assert!(document.get("routing_policy_id").is_none(), "the deprecated key is left out");
    let keys: Vec<_> = document.as_object().expect("an object").keys().collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(keys, sorted, "keys are alphabetical");
    assert!(document.as_object().expect("an object").values().all(|value| !value.is_null()));
}

#[test]
fn a_pop_and_a_partner() {
    let pop = Pop {
        id: parse(POP),
        region: "fr-par".to_owned(),
        name: "- Telehouse TH2".to_owned(),
        display_name: "Paris - TeleHouse TH2".to_owned(),
        city: "Paris".to_owned(),
        address: "137 Boulevard Voltaire".to_owned(),
        hosting_provider_name: "TeleHouse".to_owned(),
        logo_url: "https://www.telehouse.fr/wp-content/uploads/2020/03/telehouse-vector-white-logo.svg".to_owned(),
        link_bandwidths_mbps: vec![50, 100],
        capacity_mbps: Some(100),
    };
    let view = PopView { pop, available_link_bandwidths_mbps: vec![50, 100, 200, 500, 1000, 2000, 5000, 10000, 25000] };
    check(
        &PopDocument::from(view),
        r#"{"address":"137 Boulevard Voltaire","available_link_bandwidths_mbps":[50,100,200,500,1000,2000,5000,10000,25000],"city":"Paris","display_name":"Paris - TeleHouse TH2","hosting_provider_name":"TeleHouse","id":"fd046cc9-d9bf-4a87-9c32-d299fe4bf4d7","logo_url":"https://www.telehouse.fr/wp-content/uploads/2020/03/telehouse-vector-white-logo.svg","name":"- Telehouse TH2","region":"fr-par"}"#,
    );
    check(
        &PartnerDocument::from(partner()),
        r#"{"contact_email":"l2-support@franceix.net","created_at":"2025-04-08T16:09:15.661184Z","id":"89d00734-eddb-4192-8b16-bc16f0b0f5a5","l3_connectivity":false,"logo_url":"https://www.franceix.net/static/django_franceix/images/navbar-logo.svg","name":"FranceIX","portal_url":"https://www.franceix.net/en/services/cloud/cloud-access/","region":"fr-par","updated_at":"2025-06-26T09:14:51.368612Z"}"#,
    );
}

fn partner() -> Partner {
    Partner {
        id: parse(PARTNER),
        region: "fr-par".to_owned(),
        name: "FranceIX".to_owned(),
        contact_email: "l2-support@franceix.net".to_owned(),
        logo_url: "https://www.franceix.net/static/django_franceix/images/navbar-logo.svg".to_owned(),
        portal_url: "https://www.franceix.net/en/services/cloud/cloud-access/".to_owned(),
        asn: 39801,
        l3_connectivity: false,
        notify: true,
        created_at: time("2025-04-08T16:09:15.661184Z"),
        updated_at: time("2025-06-26T09:14:51.368612Z"),
    }
}

#[test]
fn what_the_operator_says_of_a_partner_is_not_in_the_public_document() {
    let public = serde_json::to_value(PartnerDocument::from(partner())).expect("JSON");
    let offer = serde_json::to_value(PartnerOfferDocument::from(partner())).expect("JSON");
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    let more: Vec<_> = keys(&offer).into_iter().filter(|key| !keys(&public).contains(key)).collect();
    assert_eq!(more, ["asn", "notify"]);
}

#[test]
fn a_dedicated_connection() {
    let connection = DedicatedConnection {
        id: id(ID),
        meta: meta("n", "2026-01-01T00:00:00.000000Z"),
        pop_id: parse(POP),
        bandwidth_mbps: 10_000,
        demarcation_info: Some("text".to_owned()),
        vlan_range: VLANS,
        state: DedicatedConnectionStatus::Active,
        locked: false,
    };
    let view =
        |connection| DedicatedConnectionView { connection, available_link_bandwidths: vec![50, 100, 200, 500, 1000] };
    let sample = r#"{"available_link_bandwidths":[50,100,200,500,1000],"bandwidth_mbps":10000,"created_at":"2026-01-01T00:00:00.000000Z","demarcation_info":"text","id":"<id>","name":"n","organization_id":"<org>","pop_id":"<pop>","project_id":"<prj>","region":"fr-par","status":"active","tags":[],"updated_at":"2026-01-01T00:00:00.000000Z","vlan_range":{"end":3899,"start":1500}}"#;
    check(&DedicatedConnectionDocument::from(view(connection.clone())), sample);
    // The key of the list is not that of the path.
    let items = vec![DedicatedConnectionDocument::from(view(connection.clone()))];
    check(&List::alphabetical("connections", items, 1), &format!(r#"{{"connections":[{sample}],"total_count":1}}"#));
    let locked = DedicatedConnection { locked: true, demarcation_info: None, ..connection };
    let expected = sample.replace(r#""demarcation_info":"text","#, "").replace(r#""active""#, r#""locked""#);
    check(&DedicatedConnectionDocument::from(view(locked)), &expected);
}

#[test]
fn a_port_is_its_owners_and_shows_what_it_is_on_its_node() {
    let port = Port {
        id: id(ID),
        region: "fr-par".to_owned(),
        name: "th2-1".to_owned(),
        pop_id: parse(POP),
        node_id: None,
        owner: PortOwner::Partner(parse(PARTNER)),
        attachment: PortAttachment::Vxlan { remote: parse("2001:db8::1"), vni_base: 4096 },
        vlan_range: VLANS,
        capacity_mbps: 10_000,
        enabled: true,
        created_at: time(AT),
        updated_at: time(AT),
    };
    check(
        &PortDocument::from(port.clone()),
        r#"{"attachment":{"kind":"vxlan","remote":"2001:db8::1","vni_base":4096},"capacity_mbps":10000,"created_at":"2026-04-19T20:29:51.721706Z","enabled":true,"id":"<id>","name":"th2-1","partner_id":"89d00734-eddb-4192-8b16-bc16f0b0f5a5","pop_id":"<pop>","region":"fr-par","updated_at":"2026-04-19T20:29:51.721706Z","vlan_range":{"end":3899,"start":1500}}"#,
    );
    let own = Port {
        owner: PortOwner::DedicatedConnection(id(ID)),
        attachment: PortAttachment::Interface { interface: "eth1".to_owned() },
        node_id: Some(parse(ID)),
        ..port
    };
    let document = serde_json::to_value(PortDocument::from(own)).expect("JSON");
    assert_eq!(document["attachment"], json!({"interface": "eth1", "kind": "interface"}));
    assert_eq!((document["connection_id"].as_str(), document.get("partner_id")), (Some(ID), None));
    assert_eq!(document["node_id"], ID);
}

fn state() -> LinkState {
    let statuses = link();
    let life = &statuses.link.life;
    LinkState {
        reason: None,
        lifecycle: life.stage_name(),
        turn: life.turn(),
        waiting_since: Some(time(AT)),
        deadline: life.deadline(),
        next_reminder: Some(time("2026-04-22T20:29:51.721706Z")),
        bgp_sessions: Vec::new(),
        observed_at: None,
        desired_revision: 3,
        applied_revision: 2,
        node: None,
        carrier: Some(true),
        mtu: 1450,
        drops: BTreeMap::from([("shaped".to_owned(), 7)]),
        statuses,
    }
}

#[test]
fn a_partner_sees_no_more_of_a_link_than_it_needs() {
    let document = serde_json::to_value(PartnerLinkDocument::from(state())).expect("JSON");
    for secret in ["name", "tags", "organization_id", "project_id", "vpc_id", "routing_policy_v4_id"] {
        assert!(document.get(secret).is_none(), "{secret} is none of the partner's business");
    }
    assert_eq!(document["pairing_key"], "222461a1-5b81-4ef4-86ba-e7612cc30e6b");
    assert_eq!((&document["vlan"], &document["status"]), (&json!(1991), &json!("requested")));
    assert_eq!(document["deadline"], "2026-04-29T20:29:51.721706Z", "ten days");
    assert_eq!(document["turn"], "partner");
}

#[test]
fn a_links_state_says_whose_turn_it_is_and_until_when() {
    check(
        &LinkStateDocument::from(state()),
        r#"{"applied_revision":2,"bandwidth":50000000,"bgp_sessions":[],"carrier":true,"deadline":"2026-04-29T20:29:51.721706Z","desired_revision":3,"drops":{"shaped":7},"lifecycle":"requested","mtu":1450,"next_reminder_at":"2026-04-22T20:29:51.721706Z","node":null,"observed_at":null,"reason":null,"status":"requested","turn":"partner","waiting_since":"2026-04-19T20:29:51.721706Z"}"#,
    );
}
