//! Both ends against each other, and against peers that break the rules.

use causeway_model::desired::{GatewayDesired, VpcDesired};
use causeway_model::observed::GatewayFacts;
use proptest::prelude::*;

use super::*;

fn machine() -> MachineId {
    MachineId(Uuid::from_u128(9))
}

fn node() -> NodeId {
    NodeId(Uuid::from_u128(1))
}

fn desired(revision: u64, gateways: &[u128]) -> Arc<NodeDesired> {
    let vpc = VpcId(Uuid::from_u128(9));
    let gateway = |id: &u128| GatewayDesired {
        id: VpnGatewayId(Uuid::from_u128(*id)),
        vpc,
        network: causeway_model::PrivateNetworkId(Uuid::from_u128(8)),
        revision,
        asn: 12876,
        private_addresses: Vec::new(),
        public_addresses: Vec::new(),
        bandwidth: 0,
        locked: false,
        connections: Vec::new(),
    };
    let vpcs = vec![VpcDesired::new(vpc, Vec::new())];
    let gateways = gateways.iter().map(gateway).collect();
    Arc::new(NodeDesired {
        revision,
        vpcs,
        gateways,
        failover: false,
        links: Vec::new(),
        peers: Vec::new(),
        lease: None,
    })
}

fn report(revision: u64, gateways: &[u128]) -> NodeReport {
    let facts = |id: &u128| GatewayFacts { id: VpnGatewayId(Uuid::from_u128(*id)), applied: revision, refused: None };
    NodeReport { revision, gateways: gateways.iter().map(facts).collect(), ..NodeReport::default() }
}

/// A report as a node that breaks its own rules would send it.
fn raw(away: &mut NodeSession, report: &NodeReport) -> String {
    away.wire.write(NodeFrame::Report { report: report.clone() })
}

fn open() -> (ControllerSession, NodeSession) {
    let (mut controller, mut away) = (ControllerSession::new(node()), NodeSession::new());
    let hello = away.hello((node(), machine()), Uuid::nil(), "fr-par-1", "1", 0);
    assert!(!controller.may_send(), "nobody is there yet");
    assert!(matches!(controller.receive(&hello), Ok(FromNode::Hello { .. })));
    let welcome = controller.welcome(Duration::from_secs(12));
    assert!(matches!(away.receive(&welcome), Ok(ToNode::Welcome { period }) if period == Duration::from_secs(12)));
    (controller, away)
}

fn push(controller: &mut ControllerSession, away: &mut NodeSession, state: &Arc<NodeDesired>) -> String {
    let text = controller.desired(state).expect("it is newer");
    match away.receive(&text) {
        Ok(ToNode::Desired(taken)) => assert_eq!(taken, *state),
        other => panic!("{other:?}"),
    }
    text
}

#[test]
fn a_snapshot_comes_first_and_deltas_follow() {
    let (mut controller, mut away) = open();
    assert!(push(&mut controller, &mut away, &desired(3, &[1, 2])).contains("snapshot"));
    assert!(push(&mut controller, &mut away, &desired(5, &[2, 4])).contains("delta"));
    assert_eq!(controller.desired(&desired(5, &[2, 4])), None, "sent already");
    let text = away.report(&report(5, &[2, 4])).expect("of this channel");
    assert!(matches!(controller.receive(&text), Ok(FromNode::Report(taken)) if taken == report(5, &[2, 4])));
    let text = away.keepalive(&[]);
    assert!(matches!(controller.receive(&text), Ok(FromNode::Keepalive { .. })));
}

#[test]
fn a_node_that_does_not_report_is_not_flooded() {
    let (mut controller, mut away) = open();
    let mut revision = 0;
    while controller.may_send() {
        revision += 1;
        push(&mut controller, &mut away, &desired(revision, &[1]));
    }
    assert_eq!(revision, 8);
    controller.receive(&raw(&mut away, &report(7, &[1]))).expect("one of those sent");
    assert!(controller.may_send());
    let back = controller.receive(&raw(&mut away, &report(3, &[1])));
    assert!(matches!(back, Err(Violation::Revision { found: 3, .. })), "{back:?}");
}

#[test]
fn a_node_reports_what_it_came_with_until_it_has_something_newer() {
    let (mut controller, mut away) = (ControllerSession::new(node()), NodeSession::new());
    controller.receive(&away.hello((node(), machine()), Uuid::nil(), "fr-par-1", "1", 4)).expect("hello");
    away.receive(&controller.welcome(Duration::from_secs(2))).expect("welcome");
    controller.receive(&raw(&mut away, &report(4, &[7]))).expect("from its disk");
    push(&mut controller, &mut away, &desired(9, &[1]));
    controller.receive(&raw(&mut away, &report(4, &[7]))).expect("still");
    controller.receive(&raw(&mut away, &report(9, &[1]))).expect("newer");
    let back = controller.receive(&raw(&mut away, &report(4, &[7])));
    assert!(matches!(back, Err(Violation::Revision { found: 4, .. })), "{back:?}");
}

#[test]
fn whoever_breaks_the_rules_is_refused() {
    let numbered = |number: u64, frame: &str| format!("{{\"number\":{number},\"frame\":{frame}}}");
    let case = |text: String| {
        let (mut controller, mut away) = open();
        push(&mut controller, &mut away, &desired(3, &[1]));
        controller.receive(&text).expect_err("refused")
    };
    let keepalive = r#"{"type":"keepalive","services":[]}"#;
    assert_eq!(case(numbered(0, keepalive)), Violation::OutOfOrder { expected: 1, found: 0 });
    assert_eq!(case(numbered(2, keepalive)), Violation::OutOfOrder { expected: 1, found: 2 });
    assert!(matches!(case(numbered(1, r#"{"type":"takeover"}"#)), Violation::Unreadable(_)));
    assert!(matches!(case("{".to_owned()), Violation::Unreadable(_)));
    assert!(matches!(case(String::new()), Violation::Unreadable(_)));
    assert_eq!(case(" ".repeat(MAX_FRAME + 1)), Violation::TooLong(MAX_FRAME + 1));
    let of = |report: &NodeReport| {
        numbered(1, &format!(r#"{{"type":"report","report":{}}}"#, serde_json::to_string(report).expect("JSON")))
    };
    assert!(matches!(case(of(&report(4, &[1]))), Violation::Revision { found: 4, .. }), "from the future");
    assert!(matches!(case(of(&report(3, &[1, 2]))), Violation::Foreign(_)), "somebody else's gateway");
    let ahead = NodeReport { gateways: report(5, &[1]).gateways, ..report(3, &[]) };
    assert!(matches!(case(of(&ahead)), Violation::Revision { found: 5, .. }));
    let services = format!(r#"{{"type":"keepalive","services":[{}]}}"#, vec![r#"{"name":"a"}"#; 33].join(","));
    assert!(matches!(case(numbered(1, &services)), Violation::TooMuch(_)));
    let hello = |node: NodeId, protocol: u32| {
        format!(
            r#"{{"type":"hello","protocol":{protocol},"node":"{node}","boot":"{node}","zone":"z","version":"1","revision":0,"machine":"{node}"}}"#
        )
    };
    assert!(matches!(case(numbered(1, &hello(node(), PROTOCOL))), Violation::Unexpected(_)));
    let first = |text: &str| ControllerSession::new(node()).receive(text).expect_err("refused");
    let stranger = NodeId(Uuid::from_u128(2));
    assert!(matches!(first(&numbered(0, &hello(stranger, PROTOCOL))), Violation::OtherNode { .. }));
    assert_eq!(first(&numbered(0, &hello(node(), 99))), Violation::Protocol { found: 99 });
    assert!(matches!(first(&numbered(0, keepalive)), Violation::Unexpected(_)));
}

#[test]
fn questions_and_fences_of_leases_travel_and_nobody_speaks_for_another() {
    let (mut controller, mut away) = open();
    let other = NodeId(Uuid::from_u128(2));
    let ask = Ask { holder: node(), epoch: 3, boot: 4, number: 5, lease_ms: 6000 };
    let asked = away.ask(ask);
    assert!(matches!(controller.receive(&asked), Ok(FromNode::Ask(taken)) if taken == ask));
    let promise = Promise { ask, voter: Voter::Controller, machine: None };
    assert!(matches!(away.receive(&controller.promise(promise)), Ok(ToNode::Promise(taken)) if taken == promise));
    let fence = Fence { holder: other, epoch: 7 };
    assert!(matches!(away.receive(&controller.fence(fence)), Ok(ToNode::Fence(taken)) if taken == fence));
    let fenced = Fenced { fence, voter: Voter::Node(node()) };
    let answer = away.fenced(fenced);
    assert!(matches!(controller.receive(&answer), Ok(FromNode::Fenced(taken)) if taken == fenced));
    let refused = |frame: &dyn Fn(&mut NodeSession) -> String| {
        let (mut controller, mut away) = open();
        let text = frame(&mut away);
        controller.receive(&text).expect_err("refused")
    };
    let foreign = refused(&|away| away.ask(Ask { holder: other, ..ask }));
    assert_eq!(foreign, Violation::OtherNode { expected: node(), found: other.to_string() });
    for voter in [Voter::Controller, Voter::Node(other)] {
        assert!(matches!(refused(&|away| away.fenced(Fenced { fence, voter })), Violation::OtherNode { .. }));
    }
    // What is passed on comes from its voter, and from where that one said that it is.
    let question = Unanswered { ask, voters: vec![other] };
    let again = away.ask_others(question.clone());
    assert!(matches!(controller.receive(&again), Ok(FromNode::AskOthers(taken)) if taken == question));
    let foreign = Ask { holder: other, ..ask };
    assert!(matches!(away.receive(&controller.asked(foreign)), Ok(ToNode::Asked(taken)) if taken == foreign));
    let promise = Promise { ask: foreign, voter: Voter::Node(node()), machine: Some(machine()) };
    let promised = away.promised(promise);
    assert!(matches!(controller.receive(&promised), Ok(FromNode::Promised(taken)) if taken == promise));
    assert!(matches!(away.receive(&controller.promise(promise)), Ok(ToNode::Promise(taken)) if taken == promise));
    let stranger = Unanswered { ask: foreign, voters: vec![node()] };
    assert!(matches!(refused(&|away| away.ask_others(stranger.clone())), Violation::OtherNode { .. }));
    let many = Unanswered { ask, voters: vec![other; MAX_VOTERS + 1] };
    assert!(matches!(refused(&|away| away.ask_others(many.clone())), Violation::TooMuch(_)));
    for voter in [Voter::Controller, Voter::Node(other)] {
        assert!(matches!(refused(&|away| away.promised(Promise { voter, ..promise })), Violation::OtherNode { .. }));
    }
    for machine in [None, Some(MachineId(Uuid::from_u128(10)))] {
        let elsewhere = refused(&|away| away.promised(Promise { machine, ..promise }));
        assert!(matches!(elsewhere, Violation::Unexpected(_)), "{elsewhere:?}");
    }
    let trouble = Some("x".repeat(MAX_TEXT + 1));
    let long = Some(Held { trouble, ..Held::default() });
    let long = refused(&|away| {
        away.wire.write(NodeFrame::Peering { listens: None, answered: Vec::new(), lease: long.clone() })
    });
    assert!(matches!(long, Violation::TooMuch(_)));
    let held = Some(Held { terms: 1, trouble: Some("x".repeat(MAX_TEXT + 1)), ..Held::default() });
    let shortened = away.peering(None, Vec::new(), held);
    assert!(matches!(controller.receive(&shortened), Ok(FromNode::Peering { lease: Some(_), .. })));
    // Before hello nothing of it is taken.
    let mut early = NodeSession::new();
    let early = ControllerSession::new(node()).receive(&early.ask(ask));
    assert!(matches!(early, Err(Violation::Unexpected(_))));
    let mut early = NodeSession::new();
    let early = ControllerSession::new(node()).receive(&early.promised(promise));
    assert!(matches!(early, Err(Violation::Unexpected(_))));
    let mut early = ControllerSession::new(node());
    assert!(matches!(NodeSession::new().receive(&early.fence(fence)), Err(Violation::Unexpected(_))));
}

#[test]
fn a_node_believes_nothing_out_of_place() {
    let mut away = NodeSession::new();
    let mut controller = ControllerSession::new(node());
    controller.receive(&NodeSession::new().hello((node(), machine()), Uuid::nil(), "z", "1", 0)).expect("hello");
    let snapshot = controller.desired(&desired(1, &[])).expect("newer");
    assert!(matches!(away.receive(&snapshot), Err(Violation::Unexpected(_))), "before welcome");
    let (_, mut away) = open();
    let delta = r#"{"number":1,"frame":{"type":"delta","delta":{"from":1,"to":2}}}"#;
    assert!(matches!(away.receive(delta), Err(Violation::Unexpected(_))), "nothing to change");
    let (mut controller, mut away) = open();
    push(&mut controller, &mut away, &desired(3, &[]));
    let delta = r#"{"number":2,"frame":{"type":"delta","delta":{"from":2,"to":9}}}"#;
    assert!(matches!(away.receive(delta), Err(Violation::Unreadable(_))), "of another revision");
}

proptest! {
    #[test]
    fn no_text_panics_either_end(text in ".{0,200}", number in 0_u64..3, inner in ".{0,80}") {
        let (mut controller, mut away) = open();
        let _ = controller.receive(&text);
        let _ = away.receive(&text);
        let framed = format!("{{\"number\":{number},\"frame\":{{\"type\":\"report\",{inner}}}}}");
        let _ = controller.receive(&framed);
        let _ = away.receive(&framed);
    }
}
