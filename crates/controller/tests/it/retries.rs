//! A client that has lost an answer sends the same again (system.md §6): what is so already is no error, and nothing is changed by it.

use causeway_controller::AuditFilter;
use causeway_model::command::{CustomResource, NewIp, NewIpSource, PolicyChange};
use causeway_model::{Family, IpId};

use crate::harness::{REGION, World, kind, list};

/// What the audit trail says of the newest record of an action on an object.
async fn changed(world: &World, action: &str, id: &str) -> (String, String) {
    let filter =
        AuditFilter { resource_id: Some(id.to_owned()), action: Some(action.to_owned()), ..AuditFilter::default() };
    let records = world.controller.audit_records(&world.operator, &list(), &filter).await.expect("listed").items;
    let details = &records.last().expect("recorded").details;
    (details["before"].clone(), details["after"].clone())
}

fn nothing() -> (String, String) {
    ("{}".to_owned(), "{}".to_owned())
}

#[tokio::test]
async fn a_policy_is_detached_once() {
    let world = World::new().await;
    let (_node, _, made) = world.connected().await;
    let (controller, operator, connection) = (&world.controller, &world.operator, made.connection.id);
    let policy = made.connection.bgp_ipv4.as_ref().and_then(|session| session.routing_policy_id).expect("has one");
    let detach = async |family, policy| {
        controller.detach_routing_policy(operator, REGION, PolicyChange { connection, family, policy }).await
    };
    let first = detach(Family::Ipv4, policy).await.expect("detached");
    assert_ne!(changed(&world, "detach_routing_policy", &connection.to_string()).await, nothing());
    assert_eq!(detach(Family::Ipv4, policy).await.expect("again").connection, first.connection);
    assert_eq!(changed(&world, "detach_routing_policy", &connection.to_string()).await, nothing());
    let wrong = detach(Family::Ipv6, policy).await.expect_err("of the other family");
    assert_eq!(kind(&wrong), "400 routing_policy_v6");
}

#[tokio::test]
async fn an_address_is_attached_moved_and_detached_once() {
    const MACS: [&str; 2] = ["BC:24:11:74:D0:5B", "02:00:00:00:00:01"];
    let world = World::new().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let network = world.network(operator).await;
    let new = NewIp {
        project_id: None,
        source: NewIpSource::PrivateNetwork(network.id),
        is_ipv6: false,
        address: None,
        resource: None,
        tags: Vec::new(),
    };
    let id: IpId = controller.book_ip(operator, REGION, new).await.expect("booked").id;
    let [first, second] = MACS.map(|mac| CustomResource { mac_address: mac.to_owned(), name: None });
    let transfer = async |to| controller.move_ip(operator, REGION, id, ("resource", first.clone()), to).await;
    for action in ["attach", "move", "detach"] {
        let mut answers = Vec::new();
        for _ in 0..2 {
            let answer = match action {
                "attach" => controller.attach_ip(operator, REGION, id, first.clone()).await,
                "move" => transfer(Some(second.clone())).await,
                _ => controller.move_ip(operator, REGION, id, ("resource", second.clone()), None).await,
            };
            answers.push((answer.expect(action), changed(&world, action, &id.to_string()).await));
        }
        assert_ne!(answers[0].1, nothing(), "{action}");
        assert_eq!(answers[1], (answers[0].0.clone(), nothing()), "{action}");
    }
    // To move what nothing has is another thing than to move it again.
    assert_eq!(kind(&transfer(Some(second)).await.expect_err("attached to nothing")), "400 resource");
}
