//! InterLink's catalogue as one file: the same again changes nothing, and what cannot be done leaves everything as it was.

use causeway_model::command::{CatalogueFile, FiledConnection, FiledPort, LinkFilter, PopFilter};
use causeway_model::resource::{LinkBandwidth, PortAttachment, VlanRange};
use causeway_model::status::DedicatedConnectionStatus;
use causeway_model::{PartnerId, PopId};

use crate::harness::{REGION, World, kind, list, meta};
use crate::interlink::{SIZES, new_partner, new_pop};

pub(crate) fn port(name: &str, pop: &str, partner: Option<&str>, dedicated: Option<&str>) -> FiledPort {
    FiledPort {
        id: None,
        name: name.to_owned(),
        pop: pop.to_owned(),
        partner: partner.map(ToOwned::to_owned),
        dedicated_connection: dedicated.map(ToOwned::to_owned),
        node: None,
        attachment: PortAttachment::Vlan { interface: name.to_owned() },
        vlan_range: None,
        capacity_mbps: 10_000,
        enabled: true,
    }
}

fn whole() -> CatalogueFile {
    let mut pop = new_pop("- Telehouse TH2");
    pop.id = Some(PopId(uuid::uuid!("fd046cc9-d9bf-4a87-9c32-d299fe4bf4d7")));
    let mut partner = new_partner("FranceIX");
    partner.id = Some(PartnerId(uuid::uuid!("89d00734-eddb-4192-8b16-bc16f0b0f5a5")));
    let connection = FiledConnection {
        id: None,
        meta: meta("cross-connect"),
        pop: "DC5".to_owned(),
        bandwidth_mbps: 10_000,
        demarcation_info: None,
        vlan_range: None,
        state: DedicatedConnectionStatus::Active,
    };
    let size = |(bandwidth_mbps, price_per_hour)| LinkBandwidth { bandwidth_mbps, price_per_hour };
    CatalogueFile {
        link_bandwidths: Some(SIZES.map(size).to_vec()),
        pops: Some(vec![pop, new_pop("DC5")]),
        partners: Some(vec![partner]),
        dedicated_connections: Some(vec![connection]),
        ports: Some(vec![
            port("eth1", "fd046cc9-d9bf-4a87-9c32-d299fe4bf4d7", Some("FranceIX"), None),
            port("eth2", "DC5", None, Some("cross-connect")),
        ]),
    }
}

/// Kind, name and what becomes of it.
async fn apply(world: &World, file: &CatalogueFile, dry_run: bool) -> Vec<(&'static str, String, &'static str)> {
    let done = world.controller.apply_catalogue(&world.operator, file, dry_run).await.expect("applies");
    done.into_iter().map(|difference| (difference.kind, difference.name, difference.change)).collect()
}

async fn refusal(world: &World, file: &CatalogueFile) -> String {
    kind(&world.controller.apply_catalogue(&world.operator, file, false).await.expect_err("refused"))
}

#[tokio::test]
async fn the_same_file_again_changes_nothing() {
    let world = World::new().await;
    let c = &world.controller;
    let file = whole();
    let shown = apply(&world, &file, true).await;
    assert_eq!(shown.len(), 4 + 2 + 1 + 1 + 2);
    assert!(shown.iter().all(|(.., change)| *change == "create"));
    let pops = async || c.list_pops(&world.operator, REGION, &list(), &PopFilter::default()).await.expect("listed");
    assert_eq!(pops().await.total, 0, "showing changes nothing");
    assert_eq!(apply(&world, &file, false).await, shown);
    assert_eq!(pops().await.total, 2);
    assert!(apply(&world, &file, false).await.is_empty());
    let again = c.apply_catalogue(&world.operator, &file, true).await.expect("shows");
    assert!(again.is_empty());

    let mut changed = file.clone();
    changed.partners.iter_mut().flatten().for_each(|partner| partner.fields.asn = 64999);
    changed.link_bandwidths.iter_mut().flatten().take(1).for_each(|size| size.price_per_hour = 1);
    let done = c.apply_catalogue(&world.operator, &changed, false).await.expect("applies");
    let fields: Vec<(&str, String, String)> = done
        .iter()
        .map(|difference| {
            let text = |fields| serde_json::Value::Object(fields).to_string();
            (difference.kind, text(difference.before.clone()), text(difference.after.clone()))
        })
        .collect();
    let expected = [
        ("link_bandwidth", r#"{"price_per_hour":10000}"#, r#"{"price_per_hour":1}"#),
        ("partner", r#"{"asn":39801}"#, r#"{"asn":64999}"#),
    ];
    assert_eq!(fields, expected.map(|(kind, before, after)| (kind, before.to_owned(), after.to_owned())));

    let only_ports = CatalogueFile { ports: Some(Vec::new()), ..CatalogueFile::default() };
    let done = apply(&world, &only_ports, false).await;
    assert_eq!(done.iter().map(|(kind, _, change)| (*kind, *change)).collect::<Vec<_>>(), [("port", "delete"); 2]);
    assert_eq!(pops().await.total, 2, "a part that is not there stays");
    let nothing = CatalogueFile {
        link_bandwidths: Some(Vec::new()),
        pops: Some(Vec::new()),
        partners: Some(Vec::new()),
        dedicated_connections: Some(Vec::new()),
        ports: Some(Vec::new()),
    };
    assert!(apply(&world, &nothing, false).await.iter().all(|(.., change)| *change == "delete"));
    assert_eq!(pops().await.total, 0);
}

#[tokio::test]
async fn a_file_is_applied_whole_or_not_at_all() {
    let world = World::new().await;
    let c = &world.controller;
    let tenant = world.tenant().await;
    let error = c.apply_catalogue(&tenant, &whole(), true).await.expect_err("not an operator");
    assert_eq!(kind(&error), "403 catalogue");
    let broken = |edit: fn(&mut CatalogueFile)| {
        let mut file = whole();
        edit(&mut file);
        file
    };
    type Spoil = fn(&mut CatalogueFile);
    let cases: [(Spoil, &str); 7] = [
        (|file| file.ports.iter_mut().flatten().for_each(|port| port.pop = "TH3".into()), "400 port[eth1].pop"),
        (|file| file.ports.iter_mut().flatten().for_each(|port| port.partner = None), "400 port[eth1].partner"),
        (
            |file| file.ports.iter_mut().flatten().for_each(|port| port.capacity_mbps = 0),
            "400 port[eth1].capacity_mbps",
        ),
        (|file| file.pops.iter_mut().flatten().for_each(|pop| pop.fields.name = "A".into()), "400"),
        (
            |file| file.pops.iter_mut().flatten().for_each(|pop| pop.fields.link_bandwidths_mbps.push(7)),
            "400 pop[- Telehouse TH2].link_bandwidths_mbps",
        ),
        (
            |file| file.partners.iter_mut().flatten().for_each(|partner| partner.fields.asn = 12876),
            "400 partner[FranceIX].asn",
        ),
        (|file| file.ports.iter_mut().flatten().for_each(|port| port.name = "x".into()), "400 port[x]"),
    ];
    for (edit, expected) in cases {
        let refused = refusal(&world, &broken(edit)).await;
        assert!(refused.starts_with(expected), "{refused} instead of {expected}");
        let page = c.list_pops(&world.operator, REGION, &list(), &PopFilter::default()).await.expect("listed");
        assert_eq!((page.total, c.link_bandwidths(&world.operator).await.expect("listed").len()), (0, 0), "{expected}");
    }

    apply(&world, &whole(), false).await;
    let pop = PopId(uuid::uuid!("fd046cc9-d9bf-4a87-9c32-d299fe4bf4d7"));
    let partner = PartnerId(uuid::uuid!("89d00734-eddb-4192-8b16-bc16f0b0f5a5"));
    let new = causeway_model::command::NewLink {
        meta: meta("link"),
        pop_id: pop,
        bandwidth_mbps: 50,
        connection_id: None,
        partner_id: Some(partner),
        peer_asn: None,
        vlan: None,
        routing_policy_v4_id: None,
        routing_policy_v6_id: None,
    };
    world.order(new).await;
    let mut without = whole();
    without.ports.iter_mut().for_each(|ports| ports.retain(|port| port.partner.is_none()));
    assert_eq!(refusal(&world, &without).await, "412 resource_still_in_use");
    assert!(apply(&world, &whole(), false).await.is_empty(), "nothing was half done");
    let page = c.list_links(&world.operator, REGION, &list(), &LinkFilter::default()).await.expect("listed");
    assert_eq!(page.total, 1);
}

/// The port of a name in a file.
fn of<'a>(file: &'a mut CatalogueFile, name: &str) -> &'a mut FiledPort {
    let found = file.ports.iter_mut().flatten().find(|port| port.name == name);
    found.expect("there")
}

#[tokio::test]
async fn a_file_says_how_it_is_in_the_end_whatever_has_to_shrink_first() {
    let world = World::new().await;
    apply(&world, &whole(), false).await;
    let narrow = |file: &mut CatalogueFile, range| {
        file.dedicated_connections.iter_mut().flatten().for_each(|connection| connection.vlan_range = Some(range));
    };
    let range = |start, end| VlanRange { start, end };
    let changed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let names = |done: Vec<(&str, String, &str)>| done.into_iter().map(|(_, name, _)| name).collect::<Vec<_>>();

    let mut follows = whole();
    narrow(&mut follows, range(2000, 2099));
    assert_eq!(names(apply(&world, &follows, false).await), changed(&["cross-connect", "eth2"]), "it follows");
    let mut both = follows.clone();
    narrow(&mut both, range(2000, 2049));
    of(&mut both, "eth2").vlan_range = Some(range(2000, 2009));
    assert_eq!(names(apply(&world, &both, false).await), changed(&["cross-connect", "eth2"]));
    let mut one = both.clone();
    narrow(&mut one, range(2005, 2049));
    assert_eq!(refusal(&world, &one).await, "400 dedicated_connection[cross-connect].vlan_range");
    let without_ports = CatalogueFile { ports: None, ..one };
    assert_eq!(refusal(&world, &without_ports).await, "400 dedicated_connection[cross-connect].vlan_range");

    let mut swapped = both.clone();
    let on = |interface: &str| PortAttachment::Vlan { interface: interface.to_owned() };
    of(&mut swapped, "eth1").attachment = on("eth2");
    of(&mut swapped, "eth2").attachment = on("eth1");
    assert_eq!(names(apply(&world, &swapped, false).await), changed(&["eth1", "eth2"]));
    let mut same = swapped.clone();
    of(&mut same, "eth1").attachment = on("eth1");
    assert_eq!(refusal(&world, &same).await, "409 exists port");
    assert!(apply(&world, &swapped, false).await.is_empty(), "nothing was half done");
}
