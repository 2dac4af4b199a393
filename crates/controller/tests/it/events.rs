//! The history of objects.

use causeway_controller::EventQuery;
use causeway_model::ReasonCode;
use causeway_model::resource::Role;
use causeway_model::status::ConnectionStatus;

use crate::harness::{REGION, World, kind, until};

const ALL: EventQuery = EventQuery { after: None, before: None, limit: 200 };

#[tokio::test]
async fn what_happened_is_told_newest_first_and_bounded() {
    let world = World::new().await;
    let (mut node, gateway, connection) = world.connected().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let (gateway, id) = (gateway.gateway.id, connection.connection.id);
    let became = async |status: ConnectionStatus| {
        let same = async || controller.connection(operator, REGION, id).await.expect("there").status == status;
        until(controller, same).await;
    };
    node.report_tunnels(true, true).await;
    became(ConnectionStatus::Active).await;
    node.report_tunnels(true, false).await;
    became(ConnectionStatus::Down).await;
    let events = controller.connection_events(operator, REGION, id, &ALL).await.expect("listed");
    let told: Vec<String> = events.iter().rev().map(|event| format!("{} {}", event.kind, event.subject)).collect();
    let position = |text: &str| told.iter().position(|line| line == text);
    assert_eq!(events.last().and_then(|event| event.actor.as_ref()), Some(&operator.access_key));
    for pair in ["change create", "tunnel IPv4 up", "session IPv4 up", "status active", "status down"].windows(2) {
        assert!(position(pair[0]).is_some() && position(pair[0]) < position(pair[1]), "{pair:?}: {told:?}");
    }
    let down = events.iter().find(|event| event.subject == "down").expect("told");
    assert!(down.reason.is_some(), "and why");
    assert!(events.is_sorted_by(|newer, older| newer.sequence > older.sequence));
    let later = EventQuery { after: events.last().map(|event| event.sequence), before: None, limit: 1 };
    let next = controller.connection_events(operator, REGION, id, &later).await.expect("listed");
    assert_eq!(next.first().map(|event| event.sequence), events.iter().rev().nth(1).map(|event| event.sequence));

    let of_gateway = controller.vpn_gateway_events(operator, REGION, gateway, &ALL).await.expect("listed");
    assert!(of_gateway.iter().any(|event| event.kind == "status" && event.subject == "active"));
    let support = world.caller(Role::Support, operator.project_id).await;
    controller.connection_events(&support, REGION, id, &ALL).await.expect("support diagnoses");
    let tenant = world.tenant().await;
    let error = controller.connection_events(&tenant, REGION, id, &ALL).await.expect_err("not its own");
    assert_eq!(kind(&error), "404 connection");
    let error = controller.vpn_gateway_events(&tenant, REGION, gateway, &ALL).await.expect_err("not its own");
    assert_eq!(kind(&error), "404 vpn_gateway");

    for round in 0..210 {
        controller.set_route_propagation(operator, REGION, id, round % 2 == 0).await.expect("switched");
    }
    let events = controller.connection_events(operator, REGION, id, &ALL).await.expect("listed");
    assert_eq!(events.len(), 200);
    assert_eq!(events.first().map(|event| event.subject.as_str()), Some("disable_route_propagation"));
    let oldest = EventQuery { before: events.last().map(|event| event.sequence), ..ALL };
    assert!(controller.connection_events(operator, REGION, id, &oldest).await.expect("listed").is_empty());
    let many = EventQuery { limit: 201, ..ALL };
    assert_eq!(kind(&controller.connection_events(operator, REGION, id, &many).await.expect_err("many")), "400 limit");
    controller.set_connection_locked(operator, REGION, id, Some("abuse".into())).await.expect("locked");
    let events = controller.connection_events(operator, REGION, id, &ALL).await.expect("listed");
    let locked = events.iter().find(|event| event.subject == "locked").expect("told");
    assert_eq!(locked.reason.as_ref().map(|reason| reason.code), Some(ReasonCode::Locked));
    let change = events.iter().find(|event| event.subject == "lock").expect("told");
    assert_eq!(change.details.get("reason").map(String::as_str), Some("abuse"));
}
