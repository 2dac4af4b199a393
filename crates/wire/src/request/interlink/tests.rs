//! One row per quirk and per error.

use ArgumentReason::{Constraint, Format, Required};
use causeway_model::command::Rename;
use causeway_model::error::ArgumentReason;

use super::*;

const A: &str = "88eb1423-3671-41c0-b9a8-b39c706de059";
const B: &str = "c711123c-ba2e-4267-9ede-afa611932580";

/// `text` with `A` and `B` replaced by UUIDs, as a body.
fn body(text: &str) -> Body {
    let text = text.replace("\"A\"", &format!("\"{A}\"")).replace("\"B\"", &format!("\"{B}\""));
    Body::parse(text.as_bytes()).expect("a JSON object")
}

fn id<T: From<Uuid>>(text: &str) -> T {
    text.parse::<Uuid>().expect("a UUID").into()
}

#[track_caller]
fn check<T>(read: impl Fn(&Body) -> Result<T, Error>, rows: &[(&str, &[(&str, ArgumentReason)])]) {
    for (text, expected) in rows {
        let Err(Error::InvalidArguments(wrong)) = read(&body(text)) else { panic!("{text}: no field errors") };
        assert!(wrong.iter().all(|argument| !argument.help.is_empty()), "every error says how to mend it");
        let found: Vec<_> = wrong.iter().map(|argument| (argument.name.as_str(), argument.reason)).collect();
        assert_eq!(&found, expected, "{text}");
    }
}

#[test]
fn what_terraform_and_the_sdks_send() {
    let order = r#"{"project_id":"A","name":"n","tags":[],"pop_id":"B","bandwidth_mbps":50,"partner_id":"A"}"#;
    let link = body(order).new_link().expect("valid");
    assert_eq!((link.pop_id, link.bandwidth_mbps), (id(B), 50));
    assert_eq!((link.partner_id, link.connection_id), (Some(id(A)), None));
    assert_eq!((link.peer_asn, link.vlan, link.routing_policy_v4_id), (None, None, None));
    assert_eq!((link.meta.project_id, link.meta.name.as_str()), (Some(id(A)), "n"));
    // Go writes null where there are no tags; what else it does not give it leaves out. Python writes the project even if it has none.
    let quirks = [
        r#"{"project_id":null,"name":"n","tags":null,"pop_id":"B","bandwidth_mbps":50,"partner_id":"A"}"#,
        r#"{"project_id":"","name":"n","pop_id":"B","bandwidth_mbps":50,"partner_id":"A","connection_id":null,"vlan":null,"peer_asn":null}"#,
        r#"{"name":"n","pop_id":"B","bandwidth_mbps":50,"partner_id":"A","connection_id":"","routing_policy_v4_id":"","srn":"srn://x"}"#,
    ];
    for text in quirks {
        let link = body(text).new_link().expect("valid");
        assert_eq!((link.meta.project_id, link.connection_id, link.meta.tags), (None, None, Vec::new()), "{text}");
    }
    let dedicated = body(
        r#"{"name":"n","pop_id":"B","bandwidth_mbps":1000,"connection_id":"A","peer_asn":65001,"vlan":1500,"routing_policy_v6_id":"B"}"#,
    );
    let dedicated = dedicated.new_link().expect("valid");
    assert_eq!((dedicated.connection_id, dedicated.peer_asn, dedicated.vlan), (Some(id(A)), Some(65001), Some(1500)));
    assert_eq!((dedicated.routing_policy_v4_id, dedicated.routing_policy_v6_id), (None, Some(id(B))));
}

#[test]
fn an_update_changes_what_it_names() {
    let update = |text: &str| body(text).update_link().expect("valid");
    assert_eq!(update("{}"), LinkChange::default());
    assert_eq!(update(r#"{"name":null,"tags":null,"peer_asn":null}"#), LinkChange::default());
    assert_eq!(update(r#"{"name":""}"#), LinkChange::default());
    let renamed = Rename { name: Some("n2".to_owned()), tags: Some(vec!["tag1".to_owned(), "tag2".to_owned()]) };
    assert_eq!(update(r#"{"name":"n2","tags":["tag1","tag2"]}"#), LinkChange { rename: renamed, peer_asn: None });
    assert_eq!(update(r#"{"tags":[],"peer_asn":65002}"#).rename.tags, Some(Vec::new()));
    check(
        Body::update_link,
        &[
            (r#"{"peer_asn":0}"#, &[("peer_asn", Constraint)]),
            (r#"{"peer_asn":4294967295}"#, &[("peer_asn", Constraint)]),
            (r#"{"peer_asn":23456}"#, &[("peer_asn", Constraint)]),
            (
                r#"{"name":1,"tags":"t","peer_asn":"65001"}"#,
                &[("name", Format), ("tags", Format), ("peer_asn", Format)],
            ),
        ],
    );
}

#[test]
fn every_wrong_field_of_an_order_is_named() {
    check(
        Body::new_link,
        &[
            (
                "{}",
                &[("name", Required), ("pop_id", Required), ("bandwidth_mbps", Required), ("partner_id", Constraint)],
            ),
            (
                r#"{"name":"n","pop_id":"paris","bandwidth_mbps":"50","partner_id":"x"}"#,
                &[("pop_id", Format), ("bandwidth_mbps", Format), ("partner_id", Format)],
            ),
            (
                r#"{"name":"n","pop_id":"A","bandwidth_mbps":50,"partner_id":"A","connection_id":"B"}"#,
                &[("partner_id", Constraint)],
            ),
            (r#"{"name":"n","pop_id":"A","bandwidth_mbps":0,"partner_id":"A"}"#, &[("bandwidth_mbps", Constraint)]),
            (
                r#"{"name":"n","pop_id":"A","bandwidth_mbps":100000001,"partner_id":"A"}"#,
                &[("bandwidth_mbps", Constraint)],
            ),
            (
                r#"{"name":"n","pop_id":"A","bandwidth_mbps":50,"partner_id":"A","peer_asn":65001,"vlan":2000}"#,
                &[("peer_asn", Constraint), ("vlan", Constraint)],
            ),
            (
                r#"{"name":"n","pop_id":"A","bandwidth_mbps":50,"connection_id":"A","peer_asn":4294967295,"vlan":1499}"#,
                &[("peer_asn", Constraint), ("vlan", Constraint)],
            ),
            (
                r#"{"name":"n","pop_id":"A","bandwidth_mbps":50,"connection_id":"A","vlan":3900}"#,
                &[("vlan", Constraint)],
            ),
            (
                r#"{"name":"n","pop_id":"A","bandwidth_mbps":-1,"connection_id":"A","vlan":1.5,"routing_policy_v4_id":4}"#,
                &[("bandwidth_mbps", Constraint), ("vlan", Format), ("routing_policy_v4_id", Format)],
            ),
        ],
    );
}

#[test]
fn actions_name_what_they_are_about() {
    assert_eq!(body(r#"{"vpc_id":"A"}"#).attached_vpc(), Ok(id(A)));
    check(Body::attached_vpc, &[("{}", &[("vpc_id", Required)]), (r#"{"vpc_id":"v"}"#, &[("vpc_id", Format)])]);
    let change = |body: &Body| body.link_policy_change(id(A));
    assert_eq!(change(&body(r#"{"routing_policy_id":"B"}"#)), Ok(LinkPolicyChange { link: id(A), policy: id(B) }));
    check(change, &[(r#"{"routing_policy_v4":"A"}"#, &[("routing_policy_id", Required)])]);
    assert_eq!(body(r#"{"reason":"no port"}"#).refusal(), Ok("no port".to_owned()));
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(1001));
    check(Body::refusal, &[("{}", &[("reason", Required)]), (&long, &[("reason", Constraint)])]);
}

#[test]
fn the_catalogue_names_what_is_wrong_with_it() {
    let pop = body(r#"{"id":"A","name":"- TH2","link_bandwidths_mbps":[100,50,100]}"#).new_pop().expect("valid");
    assert_eq!((pop.id, pop.fields.display_name.as_str()), (Some(id(A)), "- TH2"));
    assert_eq!((pop.fields.link_bandwidths_mbps, pop.fields.capacity_mbps), (vec![50, 100], None));
    let changed = body(r#"{"city":"","capacity_mbps":null}"#).update_pop().expect("valid");
    assert_eq!((changed.city, changed.capacity_mbps, changed.address), (Some(String::new()), Some(None), None));
    check(
        Body::new_pop,
        &[
            ("{}", &[("name", Required)]),
            (
                r#"{"name":"p","link_bandwidths_mbps":[50,0,"x"],"capacity_mbps":0}"#,
                &[
                    ("link_bandwidths_mbps[1]", Constraint),
                    ("link_bandwidths_mbps[2]", Constraint),
                    ("capacity_mbps", Constraint),
                ],
            ),
        ],
    );
    let partner = body(r#"{"name":"FranceIX","asn":39801}"#).new_partner().expect("valid").fields;
    assert_eq!((partner.asn, partner.notify, partner.l3_connectivity), (39801, false, false));
    check(
        Body::new_partner,
        &[(r#"{"name":"p","asn":0}"#, &[("asn", Constraint)]), ("{}", &[("name", Required), ("asn", Required)])],
    );
}

#[test]
fn a_port_is_somebodys_and_something() {
    let port = |owner: &str, attachment: &str| {
        body(&format!(r#"{{"name":"p","pop_id":"A","capacity_mbps":10000,{owner},"attachment":{attachment}}}"#))
            .new_port()
    };
    let vlan = port(r#""partner_id":"B""#, r#"{"kind":"vlan","interface":"eth1"}"#).expect("valid");
    assert_eq!(vlan.owner, PortOwner::Partner(id(B)));
    assert_eq!(vlan.attachment, PortAttachment::Vlan { interface: "eth1".to_owned() });
    assert_eq!((vlan.enabled, vlan.vlan_range, vlan.node_id), (true, None, None));
    for (text, node) in [("{}", None), (r#"{"node_id":""}"#, Some(None)), (r#"{"node_id":"B"}"#, Some(Some(id(B))))] {
        assert_eq!(body(text).update_port().expect("a change").node_id, node, "{text}");
    }
    let vxlan =
        port(r#""connection_id":"B""#, r#"{"kind":"vxlan","remote":"2001:db8::1","vni_base":100}"#).expect("valid");
    let remote = "2001:db8::1".parse().expect("an address");
    assert_eq!(vxlan.attachment, PortAttachment::Vxlan { remote, vni_base: 100 });
    check(
        Body::new_port,
        &[
            (
                "{}",
                &[
                    ("pop_id", Required),
                    ("partner_id", Constraint),
                    ("capacity_mbps", Required),
                    ("attachment", Required),
                    ("name", Required),
                ],
            ),
            (
                r#"{"name":"p","pop_id":"A","partner_id":"A","connection_id":"B","capacity_mbps":1,"attachment":{"kind":"fibre"}}"#,
                &[("partner_id", Constraint), ("attachment.kind", Format)],
            ),
            (
                r#"{"name":"p","pop_id":"A","partner_id":"A","capacity_mbps":1,"attachment":{"kind":"vlan","interface":"a/b"}}"#,
                &[("attachment.interface", Constraint)],
            ),
            (
                r#"{"name":"p","pop_id":"A","partner_id":"A","capacity_mbps":1,"attachment":{"kind":"interface"}}"#,
                &[("attachment.interface", Required)],
            ),
            (
                r#"{"name":"p","pop_id":"A","partner_id":"A","capacity_mbps":1,"attachment":{"kind":"vxlan","remote":"far","vni_base":16773121}}"#,
                &[("attachment.remote", Format), ("attachment.vni_base", Constraint)],
            ),
            (
                r#"{"name":"p","pop_id":"A","partner_id":"A","capacity_mbps":1,"attachment":{"kind":"vlan","interface":"e"},"vlan_range":{"start":2000,"end":1999}}"#,
                &[("vlan_range", Constraint)],
            ),
            (
                r#"{"name":"p","pop_id":"A","partner_id":"A","capacity_mbps":1,"attachment":{"kind":"vlan","interface":"e"},"vlan_range":{"start":1}}"#,
                &[("vlan_range.start", Constraint), ("vlan_range.end", Required)],
            ),
        ],
    );
}

#[test]
fn a_dedicated_connection_is_as_the_operator_says() {
    let text =
        r#"{"name":"d","project_id":"A","pop_id":"B","bandwidth_mbps":10000,"vlan_range":{"start":1500,"end":3899}}"#;
    let new = body(text).new_dedicated_connection().expect("valid");
    assert_eq!((new.state, new.vlan_range), (DedicatedConnectionStatus::Active, Some(VLANS)));
    let change = body(r#"{"status":"disabled","demarcation_info":null}"#).update_dedicated_connection().expect("valid");
    assert_eq!((change.state, change.demarcation_info), (Some(DedicatedConnectionStatus::Disabled), Some(None)));
    check(
        Body::update_dedicated_connection,
        &[
            (r#"{"status":"locked"}"#, &[("status", Format)]),
            (r#"{"bandwidth_mbps":0}"#, &[("bandwidth_mbps", Constraint)]),
        ],
    );
}
