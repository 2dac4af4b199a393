//! The history of objects.

use causeway_controller::{AuditFilter, EventQuery, ObjectEvent};
use causeway_model::command::PolicyChange;
use causeway_model::observed::{IkeFacts, ReceivedRoute, RouteDecision};
use causeway_model::resource::Role;
use causeway_model::status::ConnectionStatus;
use causeway_model::{Family, Fault, ReasonCode, Timestamp};

use crate::harness::{REGION, World, acknowledgement, kind, list, until};

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
}

#[tokio::test]
async fn a_session_that_ends_with_its_gateways_lock_says_so() {
    let world = World::new().await;
    let (mut node, gateway, connection) = world.connected().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let id = connection.connection.id;
    let events = async || controller.connection_events(operator, REGION, id, &ALL).await.expect("listed");
    let told = async |subject: &str| events().await.into_iter().find(|event| event.subject == subject);
    node.report_tunnels(true, true).await;
    until(controller, async || told("IPv4 up").await.is_some()).await;
    let set = controller.set_vpn_gateway_locked(operator, REGION, gateway.gateway.id, Some("unpaid".into())).await;
    set.expect("locked");
    node.acknowledge_until(|desired| desired.gateways.iter().any(|gateway| gateway.locked)).await;
    let ended =
        async || events().await.into_iter().find(|event| event.kind == "session" && event.subject == "IPv4 down");
    until(controller, async || ended().await.is_some()).await;
    let reason = ended().await.and_then(|event| event.reason).map(|reason| reason.code);
    assert_eq!(reason, Some(ReasonCode::Locked));
}

/// What a tenant reads of a lock says neither why nor who of the operator's people it was; the audit trail says both.
#[tokio::test]
async fn a_locks_reason_and_author_are_in_the_audit_trail_only() {
    const WHY: &str = "reported to the police";
    let world = World::new().await;
    let (_node, gateway, connection) = world.connected().await;
    let controller = &world.controller;
    let (gateway, id) = (gateway.gateway.id, connection.connection.id);
    let tenant = world.caller(Role::Tenant, world.operator.project_id).await;
    let support = world.caller(Role::Support, world.tenant().await.project_id).await;
    let elsewhere = world.caller(Role::Operator, world.tenant().await.project_id).await;
    for (author, shown) in [(&support, "support"), (&elsewhere, "operator")] {
        for reason in [Some(WHY.to_owned()), None] {
            controller.set_vpn_gateway_locked(author, REGION, gateway, reason.clone()).await.expect("done");
            controller.set_connection_locked(author, REGION, id, reason).await.expect("done");
        }
        let of_connection = controller.connection_events(&tenant, REGION, id, &ALL).await.expect("listed");
        let of_gateway = controller.vpn_gateway_events(&tenant, REGION, gateway, &ALL).await.expect("listed");
        for events in [of_connection, of_gateway] {
            for action in ["lock", "unlock"] {
                let event = events.iter().find(|event| event.subject == action).expect("told");
                assert_eq!(event.actor.as_deref(), Some(shown), "{action}");
            }
            let told = format!("{events:?}");
            assert!(!told.contains(WHY) && !told.contains(&author.access_key), "{told}");
        }
        for object in [gateway.to_string(), id.to_string()] {
            let filter =
                AuditFilter { resource_id: Some(object), action: Some("lock".into()), ..AuditFilter::default() };
            let records = controller.audit_records(&world.operator, &list(), &filter).await.expect("listed").items;
            let record = records.iter().find(|record| record.access_key == author.access_key).expect("recorded");
            assert_eq!(record.details["reason"], WHY);
        }
    }
}

fn received(prefix: &str) -> ReceivedRoute {
    ReceivedRoute {
        prefix: prefix.parse().expect("a prefix"),
        next_hop: "169.254.0.2".parse().expect("an address"),
        as_path: vec![65000],
        med: None,
        communities: Vec::new(),
        decision: RouteDecision::Installed,
        stale: false,
    }
}

/// The history waits; the facts, and with them the routes of the VPC, do not.
#[tokio::test]
async fn routes_that_flap_are_told_once_and_again_when_they_are_calm() {
    let world = World::new().await;
    let (mut node, _, connection) = world.connected().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let id = connection.connection.id;
    let desired = node.wait_for(|_| true).await;
    let report = async |routes: &[&str]| {
        let mut report = acknowledgement(&desired, Some((true, true)));
        for facts in &mut report.connections {
            facts.received = routes.iter().map(|prefix| received(prefix)).collect();
        }
        node.report(report).await;
        until(controller, async || {
            let known = controller.connection_routes(operator, REGION, id).await.expect("read");
            known.received.len() == routes.len()
        })
        .await;
    };
    report(&["10.9.0.0/24"]).await;
    for round in 0..40 {
        report(if round % 2 == 0 { &["10.9.0.0/24", "10.9.1.0/24"] } else { &["10.9.0.0/24"] }).await;
    }
    let of_routes = async || -> Vec<ObjectEvent> {
        let events = controller.connection_events(operator, REGION, id, &ALL).await.expect("listed");
        events.into_iter().rev().filter(|event| event.subject.starts_with("IPv4 routes")).collect()
    };
    let events = of_routes().await;
    let first = events.first().expect("told");
    assert_eq!((first.kind.as_str(), first.details["came"].as_str()), ("session", "10.9.1.0/24"));
    let went = events.iter().find_map(|event| event.details.get("went"));
    assert_eq!(went.map(String::as_str), Some("10.9.1.0/24"));
    assert!(events.len() < 20, "{} of 40 changes are told", events.len());
    assert_eq!(events.last().map(|event| event.subject.as_str()), Some("IPv4 routes flapping"));
    // The tunnel is told of all the same.
    let up = controller.connection_events(operator, REGION, id, &ALL).await.expect("listed");
    assert!(up.iter().any(|event| event.subject == "IPv4 up" && event.kind == "session"));

    world.pass(60).await;
    assert_eq!(of_routes().await.len(), events.len(), "not calm yet");
    world.pass(600).await;
    let calm = of_routes().await;
    assert_eq!(calm.len(), events.len() + 1);
    let last = calm.last().expect("told");
    assert_eq!(last.subject, "IPv4 routes");
    let untold: usize = last.details["changes_not_told"].parse().expect("a number");
    assert_eq!(untold + events.len(), 40);
    // From now on each is told again.
    report(&["10.9.0.0/24", "10.9.1.0/24"]).await;
    assert_eq!(of_routes().await.len(), calm.len() + 1);
}

/// A tunnel that goes up and down all the time does not fill the history, and its last outage is in it at once, with what it stands for.
#[tokio::test]
async fn an_outage_is_told_at_once_however_restless_the_connection_is() {
    let world = World::new().await;
    let (mut node, _, connection) = world.connected().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let id = connection.connection.id;
    let desired = node.wait_for(|_| true).await;
    let events = async || -> Vec<ObjectEvent> {
        let events = controller.connection_events(operator, REGION, id, &ALL).await.expect("listed");
        events.into_iter().rev().collect()
    };
    let last = async |kind: &str| events().await.into_iter().rfind(|event| event.kind == kind);
    let report = async |fault: Option<ReasonCode>| {
        let up = fault.is_none();
        let mut report = acknowledgement(&desired, Some((up, up)));
        for facts in &mut report.connections {
            for tunnel in &mut facts.tunnels {
                tunnel.fault = fault.map(Fault::from);
            }
        }
        node.report(report).await;
        let words = if up { ["IPv4 up", "IPv4 up", "active"] } else { ["IPv4 down", "IPv4 down", "down"] };
        until(controller, async || {
            for (kind, word) in ["tunnel", "session", "status"].into_iter().zip(words) {
                let event = last(kind).await;
                let tells = event.is_some_and(|event| {
                    event.subject == word && (kind != "tunnel" || event.reason.map(|reason| reason.code) == fault)
                });
                if !tells {
                    return false;
                }
            }
            true
        })
        .await;
    };
    report(None).await;
    for _ in 0..30 {
        report(Some(ReasonCode::DpdTimeout)).await;
        report(None).await;
    }
    report(Some(ReasonCode::PeerDeletedSa)).await;
    let all = events().await;
    assert!(all.len() < 40, "{} of 180 changes are kept", all.len());
    assert_eq!(all.first().map(|event| event.subject.as_str()), Some("create"), "what came before is still there");
    let of_tunnel: Vec<&ObjectEvent> = all.iter().filter(|event| event.kind == "tunnel").collect();
    let outage = of_tunnel.last().expect("told");
    let untold: usize = outage.details["changes_not_told"].parse().expect("a number");
    assert_eq!(of_tunnel.len() + untold, 62);
    let reasons = outage.details["reasons_not_told"].strip_prefix("dpd_timeout ").expect("the reason");
    assert!(reasons.parse::<u32>().expect("a count") > 20, "{reasons}");

    // When it is calm it stays, and the next change is told beside it.
    world.pass(60).await;
    world.pass(600).await;
    // Its node has been silent all the time, too.
    node.keepalive().await;
    node.keepalive().await;
    report(None).await;
    let later = events().await;
    let position = later.iter().position(|event| event.sequence == outage.sequence).expect("still there");
    assert!(later[position + 1..].iter().any(|event| event.kind == "tunnel" && event.subject == "IPv4 up"));
}

#[tokio::test]
async fn the_history_has_both_values_what_was_agreed_and_the_root_first() {
    let world = World::new().await;
    let (mut node, _, connection) = world.connected().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let id = connection.connection.id;
    let desired = node.wait_for(|_| true).await;
    let told = async |what: &str| -> Vec<ObjectEvent> {
        until(controller, async || {
            let events = controller.connection_events(operator, REGION, id, &ALL).await.expect("listed");
            events.iter().any(|event| format!("{} {}", event.kind, event.subject) == what)
        })
        .await;
        let events = controller.connection_events(operator, REGION, id, &ALL).await.expect("listed");
        events.into_iter().rev().collect()
    };
    let mut up = acknowledgement(&desired, Some((true, true)));
    for tunnel in up.connections.iter_mut().flat_map(|facts| &mut facts.tunnels) {
        tunnel.ike = Some(IkeFacts {
            suite: "aes256gcm-prfsha384-curve25519".to_owned(),
            established_at: Timestamp(1),
            initiator: false,
            rekeys: 0,
            peer_endpoint: "198.51.100.7:4500".to_owned(),
            psk: 0,
        });
    }
    node.report(up.clone()).await;
    let events = told("status active").await;
    let tunnel = events.iter().find(|event| event.subject == "IPv4 up" && event.kind == "tunnel").expect("told");
    assert_eq!(tunnel.details["ike"], "aes256gcm-prfsha384-curve25519");
    assert_eq!(tunnel.details["started_by"], "customer_gateway");

    let mut down = acknowledgement(&desired, Some((false, false)));
    for facts in &mut down.connections {
        facts.tunnels.iter_mut().for_each(|tunnel| {
            tunnel.fault = Some(Fault::new(ReasonCode::IdentityMismatch).values("198.51.100.7", "office.example.com"));
        });
        facts.sessions.iter_mut().for_each(|session| {
            session.fault = Some(ReasonCode::TunnelDown.into());
            session.updates_in = 7;
        });
    }
    node.report(down.clone()).await;
    let events = told("status down").await;
    let position = |kind: &str, subject: &str| {
        events.iter().position(|event| event.kind == kind && event.subject == subject).expect("told")
    };
    let (tunnel, session, status) =
        (position("tunnel", "IPv4 down"), position("session", "IPv4 down"), position("status", "down"));
    assert!(tunnel < session && session < status);
    for root in [tunnel, status] {
        let reason = events[root].reason.as_ref().expect("why");
        assert_eq!(
            (reason.evidence["ours"].as_str(), reason.evidence["theirs"].as_str()),
            ("198.51.100.7", "office.example.com")
        );
    }
    assert_eq!(events[session].reason.as_ref().map(|reason| reason.code), Some(ReasonCode::TunnelDown));
    assert_eq!(events[session].details["updates_in"], "7");

    // The same cause with another value is news; the same again is not.
    for tunnel in down.connections.iter_mut().flat_map(|facts| &mut facts.tunnels) {
        tunnel.fault = Some(Fault::new(ReasonCode::IdentityMismatch).values("198.51.100.7", "branch.example.com"));
    }
    node.report(down.clone()).await;
    node.report(down).await;
    node.report(up).await;
    until(controller, async || {
        let status = controller.connection(operator, REGION, id).await.expect("there").status;
        status == ConnectionStatus::Active
    })
    .await;
    let events = controller.connection_events(operator, REGION, id, &ALL).await.expect("listed");
    let branch = events.iter().filter(|event| {
        let reason = event.reason.as_ref().filter(|_| event.kind == "tunnel");
        reason.is_some_and(|reason| reason.evidence.get("theirs").is_some_and(|theirs| theirs == "branch.example.com"))
    });
    assert_eq!(branch.count(), 1);
}

#[tokio::test]
async fn a_detached_policy_ends_its_session_in_the_history_and_in_the_state() {
    let world = World::new().await;
    let (mut node, _, connection) = world.connected().await;
    let (controller, operator) = (&world.controller, &world.operator);
    let id = connection.connection.id;
    node.report_tunnels(true, true).await;
    let state = async || controller.connection_state(operator, REGION, id).await.expect("there");
    until(controller, async || state().await.bgp_sessions.iter().any(|session| session.up)).await;
    let policy = connection.connection.bgp_ipv4.as_ref().and_then(|bgp| bgp.routing_policy_id).expect("a policy");
    let change = PolicyChange { connection: id, family: Family::Ipv4, policy };
    controller.detach_routing_policy(operator, REGION, change).await.expect("detached");
    node.wait_for(|desired| desired.gateways[0].connections[0].bgp.iter().all(|bgp| bgp.policy.is_none())).await;
    node.report_tunnels(true, true).await;
    until(controller, async || state().await.bgp_sessions.iter().all(|session| !session.up)).await;
    let shown = state().await.bgp_sessions;
    let session = shown.iter().find(|session| session.family == Family::Ipv4).expect("it is shown");
    assert_eq!(session.fault.as_ref().map(|fault| fault.code), Some(ReasonCode::BgpDisabled));
    let events = controller.connection_events(operator, REGION, id, &ALL).await.expect("listed");
    let down = events.iter().find(|event| event.kind == "session" && event.subject == "IPv4 down").expect("told");
    assert_eq!(down.reason.as_ref().map(|reason| reason.code), Some(ReasonCode::BgpDisabled));
}
