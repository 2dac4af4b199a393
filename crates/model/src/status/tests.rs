//! One case per row of the two tables of system.md §3, and for each reason that a row names one.

use std::collections::BTreeSet;

use super::*;
use crate::observed::TunnelCounters;
use crate::time::Timestamp;

/// The rows of the gateway's table with the reasons that the specification puts there.
const GATEWAY_ROWS: &[(&str, &[ReasonCode])] = &[
    ("1", &[]),
    ("2", &[ReasonCode::Locked]),
    ("3", &[]),
    ("4", &[ReasonCode::NodeRefused, ReasonCode::NoCapacity, ReasonCode::NoNode]),
    ("5", &[ReasonCode::Failover]),
    ("6", &[ReasonCode::NoHealthyNode, ReasonCode::NoMajority]),
    ("7", &[ReasonCode::NodeKeepaliveFail]),
    ("8", &[]),
    ("9", &[ReasonCode::ConfigOverdue, ReasonCode::ConfigRefused]),
    ("10", &[ReasonCode::RouterUnreachable]),
];

/// The same of the connection's table. Rows 5, 6, 8 and 9 show what tunnels and sessions met, whatever that is.
const CONNECTION_ROWS: &[(&str, &[ReasonCode])] = &[
    ("1", &[ReasonCode::Locked]),
    ("2", &[ReasonCode::GatewayNotReady]),
    ("3", &[ReasonCode::NodeUnreachable]),
    ("4", &[ReasonCode::NodeUnreachable]),
    ("4a", &[ReasonCode::ConfigRefused, ReasonCode::ConfigOverdue]),
    ("5", &[ReasonCode::AwaitingDevice]),
    ("6", &[]),
    ("7", &[ReasonCode::NoRoutingPolicy]),
    ("8", &[]),
    ("9", &[]),
    (
        "10",
        &[
            ReasonCode::ConfigRefused,
            ReasonCode::ConfigPending,
            ReasonCode::TunnelRedundancyLost,
            ReasonCode::PskChangeUnproven,
            ReasonCode::PropagationDisabled,
        ],
    ),
];

/// That every row has a case and every reason of a row one, and that no case belongs to no row.
fn nothing_is_missing(table: &[(&str, &[ReasonCode])], cases: &[(&str, Option<ReasonCode>)]) {
    let row = |label: &str| label.split(' ').next().unwrap_or_default().to_owned();
    let rows: BTreeSet<String> = table.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(cases.iter().map(|(label, _)| row(label)).collect::<BTreeSet<_>>(), rows);
    for (name, codes) in table {
        for code in *codes {
            let found = cases.iter().any(|(label, shown)| row(label) == *name && *shown == Some(*code));
            assert!(found, "row {name} has no case with {code}");
        }
    }
}

/// What is late or refused says what is in force instead: in the rows of a first configuration nothing is.
fn names_what_is_in_force(row: &str, fault: Option<&Fault>) {
    let owed = [ReasonCode::ConfigOverdue, ReasonCode::ConfigRefused];
    let Some(fault) = fault.filter(|fault| owed.contains(&fault.code)) else { return };
    let shown = fault.explain(None).message;
    let expected = if row.starts_with('4') { "; in force: nothing" } else { "; in force: the last good configuration" };
    assert!(shown.ends_with(expected), "row {row}: {shown}");
}

fn refusal() -> Refusal {
    Refusal { revision: 2, item: "underlay address 192.0.2.1".to_owned(), error: "EEXIST".to_owned() }
}

fn node(state: NodeState) -> NodeView {
    NodeView { state, silent: false, waiting_overdue: false }
}

fn gateway() -> GatewayView {
    GatewayView {
        deleting: false,
        locked: false,
        lock_owed: None,
        placement: Placement::Placed(NodeView::UP),
        ever_acknowledged: true,
        pending_for: None,
        refused: None,
        failover_for: None,
        replaced_for: None,
        is_moving: false,
        router: None,
    }
}

#[test]
fn every_row_of_the_gateway_table() {
    use ReasonCode as R;
    use VpnGatewayStatus as S;
    let base = gateway();
    let fresh = GatewayView { ever_acknowledged: false, pending_for: Some(1.0), ..base.clone() };
    let lost = GatewayView { placement: Placement::Placed(node(NodeState::Down)), ..base.clone() };
    let waiting = NodeView { waiting_overdue: true, ..node(NodeState::Waiting) };
    let cases: Vec<(&str, GatewayView, S, Option<R>)> = vec![
        ("1", GatewayView { deleting: true, locked: true, ..base.clone() }, S::Deprovisioning, None),
        ("2", GatewayView { locked: true, ever_acknowledged: false, ..base.clone() }, S::Locked, Some(R::Locked)),
        ("3", fresh.clone(), S::Provisioning, None),
        ("3 to the last moment", GatewayView { pending_for: Some(29.9), ..fresh.clone() }, S::Provisioning, None),
        (
            "3 on a node that is lost",
            GatewayView { placement: Placement::Placed(node(NodeState::Down)), ..fresh.clone() },
            S::Provisioning,
            None,
        ),
        ("3 without a node", GatewayView { placement: Placement::NoNode, ..fresh.clone() }, S::Provisioning, None),
        ("4 late", GatewayView { pending_for: Some(30.0), ..fresh.clone() }, S::Failed, Some(R::ConfigOverdue)),
        ("4 refused", GatewayView { refused: Some(refusal()), ..fresh.clone() }, S::Failed, Some(R::NodeRefused)),
        (
            "4 no room",
            GatewayView { placement: Placement::NoCapacity, ..fresh.clone() },
            S::Failed,
            Some(R::NoCapacity),
        ),
        (
            "4 no node",
            GatewayView { placement: Placement::NoNode, pending_for: Some(31.0), ..fresh },
            S::Failed,
            Some(R::NoNode),
        ),
        ("5", GatewayView { failover_for: Some(3.0), ..lost.clone() }, S::Configuring, Some(R::Failover)),
        (
            "5 to the last moment",
            GatewayView { failover_for: Some(29.9), refused: Some(refusal()), ..lost.clone() },
            S::Configuring,
            Some(R::Failover),
        ),
        (
            "5 waiting for too long",
            GatewayView { placement: Placement::Placed(waiting), failover_for: Some(0.0), ..base.clone() },
            S::Configuring,
            Some(R::Failover),
        ),
        (
            "5 being replaced",
            GatewayView { replaced_for: Some(29.9), ..lost.clone() },
            S::Configuring,
            Some(R::Failover),
        ),
        (
            "5 on another machine",
            GatewayView { replaced_for: Some(29.9), is_moving: true, ..base.clone() },
            S::Configuring,
            Some(R::Failover),
        ),
        (
            "6 on another machine",
            GatewayView { replaced_for: Some(30.0), is_moving: true, ..base.clone() },
            S::Failed,
            Some(R::NoMajority),
        ),
        ("6", lost.clone(), S::Failed, Some(R::NoHealthyNode)),
        ("6 no majority", GatewayView { replaced_for: Some(30.0), ..lost.clone() }, S::Failed, Some(R::NoMajority)),
        (
            "6 waiting for too long",
            GatewayView { placement: Placement::Placed(waiting), ..base.clone() },
            S::Failed,
            Some(R::NoHealthyNode),
        ),
        ("6 late", GatewayView { failover_for: Some(30.0), ..lost }, S::Failed, Some(R::NoHealthyNode)),
        (
            "7",
            GatewayView {
                placement: Placement::Placed(node(NodeState::KeepaliveFail)),
                pending_for: Some(1.0),
                ..base.clone()
            },
            S::Active,
            Some(R::NodeKeepaliveFail),
        ),
        (
            "7 whatever is refused",
            GatewayView {
                placement: Placement::Placed(node(NodeState::KeepaliveFail)),
                refused: Some(refusal()),
                ..base.clone()
            },
            S::Active,
            Some(R::NodeKeepaliveFail),
        ),
        ("8", GatewayView { pending_for: Some(29.9), ..base.clone() }, S::Configuring, Some(R::ConfigPending)),
        ("9 late", GatewayView { pending_for: Some(30.0), ..base.clone() }, S::Active, Some(R::ConfigOverdue)),
        (
            "9 refused",
            GatewayView { pending_for: Some(1.0), refused: Some(refusal()), ..base.clone() },
            S::Active,
            Some(R::ConfigRefused),
        ),
        (
            "10 while its node has just restarted",
            GatewayView { placement: Placement::Placed(node(NodeState::Waiting)), ..base.clone() },
            S::Active,
            None,
        ),
        (
            "10 on a node that refused something else",
            GatewayView { placement: Placement::Placed(node(NodeState::ConfigFail)), ..base.clone() },
            S::Active,
            None,
        ),
        (
            "10 on the router of another node",
            GatewayView { router: Some(NodeView::UP), ..base.clone() },
            S::Active,
            None,
        ),
        (
            "10 on a router that is not heard, and may forward",
            GatewayView { router: Some(node(NodeState::KeepaliveFail)), ..base.clone() },
            S::Active,
            None,
        ),
        (
            "10 on a router whose node is lost",
            GatewayView { router: Some(node(NodeState::Down)), ..base.clone() },
            S::Active,
            Some(R::RouterUnreachable),
        ),
        (
            "10 on a router whose node does not come back",
            GatewayView { router: Some(waiting), ..base.clone() },
            S::Active,
            Some(R::RouterUnreachable),
        ),
        (
            "8 whatever becomes of the router",
            GatewayView { router: Some(node(NodeState::Down)), pending_for: Some(1.0), ..base.clone() },
            S::Configuring,
            Some(R::ConfigPending),
        ),
        ("10", base, S::Active, None),
    ];
    nothing_is_missing(GATEWAY_ROWS, &cases.iter().map(|(row, _, _, code)| (*row, *code)).collect::<Vec<_>>());
    for (row, view, status, code) in cases {
        let (got, fault) = gateway_status(&view);
        names_what_is_in_force(row, fault.as_ref());
        assert_eq!((got, fault.map(|fault| fault.code)), (status, code), "row {row}");
    }
}

fn tunnel(family: Family, up: bool, fault: Option<Fault>) -> TunnelFacts {
    let (local, peer) = match family {
        Family::Ipv4 => ("192.0.2.1", "203.0.113.1"),
        Family::Ipv6 => ("2001:db8::1", "2001:db8:1::1"),
    };
    TunnelFacts {
        family,
        local: local.parse().expect("an address"),
        peer: peer.parse().expect("an address"),
        up,
        ever_up: up,
        since: Timestamp(0),
        fault,
        ike: None,
        child: None,
        mtu: 1400,
        counters: TunnelCounters::default(),
    }
}

fn session(family: Family, up: bool, fault: Option<Fault>) -> SessionFacts {
    SessionFacts { up, fault, ..SessionFacts::new(family, Timestamp(0)) }
}

struct Case {
    row: &'static str,
    change: fn(&mut ConnectionView<'_>),
    tunnels: Vec<TunnelFacts>,
    sessions: Vec<SessionFacts>,
    expected: Vec<Family>,
    status: ConnectionStatus,
    code: Option<ReasonCode>,
}

#[test]
fn every_row_of_the_connection_table() {
    use ConnectionStatus as S;
    use Family::{Ipv4, Ipv6};
    use ReasonCode as R;
    let up = || vec![tunnel(Ipv4, true, None)];
    let down = |code: R| vec![tunnel(Ipv4, false, Some(code.into()))];
    let both = || vec![session(Ipv4, true, None), session(Ipv6, true, None)];
    let half = || vec![session(Ipv4, true, None), session(Ipv6, false, Some(R::TcpRefused.into()))];
    let none =
        || vec![session(Ipv4, false, Some(R::BgpAsnMismatch.into())), session(Ipv6, false, Some(R::TcpRefused.into()))];
    let narrowed = vec![tunnel(Ipv4, true, Some(Fault::new(R::TsNarrowed).with("not_carried", "IPv6")))];
    let two = vec![Ipv4, Ipv6];
    let case = |row, change: fn(&mut ConnectionView<'_>), tunnels, sessions, status, code| Case {
        row,
        change,
        tunnels,
        sessions,
        expected: two.clone(),
        status,
        code,
    };
    let cases = vec![
        case("1", |v| v.locked = true, up(), both(), S::Locked, Some(R::Locked)),
        case(
            "1 before all others",
            |v| {
                v.locked = true;
                v.gateway_acknowledged = false;
                v.node = node(NodeState::Down);
            },
            vec![],
            vec![],
            S::Locked,
            Some(R::Locked),
        ),
        case(
            "2 never acknowledged",
            |v| v.gateway_acknowledged = false,
            up(),
            both(),
            S::Down,
            Some(R::GatewayNotReady),
        ),
        case("2 deleting", |v| v.gateway_deleting = true, up(), both(), S::Down, Some(R::GatewayNotReady)),
        case("3", |v| v.node = node(NodeState::KeepaliveFail), up(), both(), S::Active, Some(R::NodeUnreachable)),
        case(
            "2 before the node",
            |v| {
                v.gateway_acknowledged = false;
                v.node = node(NodeState::Down);
            },
            up(),
            both(),
            S::Down,
            Some(R::GatewayNotReady),
        ),
        case(
            "3 just restarted",
            |v| v.node = node(NodeState::Waiting),
            up(),
            both(),
            S::Active,
            Some(R::NodeUnreachable),
        ),
        case(
            "3 as it was last observed",
            |v| v.node.silent = true,
            down(R::DpdTimeout),
            none(),
            S::Down,
            Some(R::NodeUnreachable),
        ),
        case("3 silent", |v| v.node.silent = true, up(), half(), S::LimitedConnectivity, Some(R::NodeUnreachable)),
        case(
            "3 never observed",
            |v| {
                v.node = node(NodeState::KeepaliveFail);
                v.ever_up = false;
            },
            vec![],
            vec![],
            S::Ready,
            Some(R::NodeUnreachable),
        ),
        case("4", |v| v.node = node(NodeState::Down), up(), both(), S::Down, Some(R::NodeUnreachable)),
        case(
            "4 waiting past its verdict",
            |v| v.node = NodeView { waiting_overdue: true, ..node(NodeState::Waiting) },
            up(),
            both(),
            S::Down,
            Some(R::NodeUnreachable),
        ),
        case(
            "4a refused",
            |v| {
                v.ever_acknowledged = false;
                v.refused = Some(refusal());
            },
            vec![],
            vec![],
            S::Down,
            Some(R::ConfigRefused),
        ),
        case(
            "4a overdue",
            |v| {
                v.ever_acknowledged = false;
                v.pending_for = Some(30.0);
            },
            vec![],
            vec![],
            S::Down,
            Some(R::ConfigOverdue),
        ),
        case(
            "5 silent device",
            |v| {
                v.ever_acknowledged = false;
                v.pending_for = Some(1.0);
                v.ever_up = false;
            },
            vec![],
            vec![],
            S::Ready,
            Some(R::AwaitingDevice),
        ),
        case(
            "5 typed failure",
            |v| v.ever_up = false,
            down(R::NoProposalChosen),
            none(),
            S::Ready,
            Some(R::NoProposalChosen),
        ),
        case("6", |_| {}, down(R::DpdTimeout), none(), S::Down, Some(R::DpdTimeout)),
        Case { expected: vec![], ..case("7", |_| {}, up(), vec![], S::Down, Some(R::NoRoutingPolicy)) },
        case("8", |_| {}, up(), none(), S::Down, Some(R::BgpAsnMismatch)),
        Case {
            expected: vec![Ipv6],
            ..case("8 of the only family", |_| {}, up(), half(), S::Down, Some(R::TcpRefused))
        },
        case("8 sessions that have not begun", |_| {}, up(), vec![], S::Down, Some(R::BgpConnecting)),
        case("9", |_| {}, up(), half(), S::LimitedConnectivity, Some(R::TcpRefused)),
        case("9 root in the tunnel", |_| {}, narrowed.clone(), half(), S::LimitedConnectivity, Some(R::TsNarrowed)),
        case(
            "9 where the other tunnel carries the family",
            |_| {},
            vec![narrowed[0].clone(), tunnel(Ipv6, true, None)],
            half(),
            S::LimitedConnectivity,
            Some(R::TcpRefused),
        ),
        case("10 of a session that is up all the same", |_| {}, narrowed, both(), S::Active, Some(R::TsNarrowed)),
        Case { expected: vec![Ipv4], ..case("10 one family", |_| {}, up(), half(), S::Active, None) },
        case("10", |_| {}, up(), both(), S::Active, None),
        case("10 refused", |v| v.refused = Some(refusal()), up(), both(), S::Active, Some(R::ConfigRefused)),
        case(
            "10 refused before pending",
            |v| {
                v.refused = Some(refusal());
                v.pending_for = Some(1.0);
            },
            up(),
            both(),
            S::Active,
            Some(R::ConfigRefused),
        ),
        case(
            "10 pending before redundancy",
            |v| v.pending_for = Some(1.0),
            vec![tunnel(Ipv4, true, None), tunnel(Ipv6, false, Some(R::PeerSilent.into()))],
            both(),
            S::Active,
            Some(R::ConfigPending),
        ),
        case(
            "10 key before propagation",
            |v| {
                v.psk_unproven = true;
                v.propagation = false;
            },
            up(),
            both(),
            S::Active,
            Some(R::PskChangeUnproven),
        ),
        case("10 pending", |v| v.pending_for = Some(1.0), up(), both(), S::Active, Some(R::ConfigPending)),
        case("10 overdue", |v| v.pending_for = Some(30.0), up(), both(), S::Active, Some(R::ConfigOverdue)),
        case(
            "10 redundancy",
            |v| v.psk_unproven = true,
            vec![tunnel(Ipv4, true, None), tunnel(Ipv6, false, Some(R::PeerSilent.into()))],
            both(),
            S::Active,
            Some(R::TunnelRedundancyLost),
        ),
        case("10 key", |v| v.psk_unproven = true, up(), both(), S::Active, Some(R::PskChangeUnproven)),
        case("10 propagation", |v| v.propagation = false, up(), both(), S::Active, Some(R::PropagationDisabled)),
    ];
    nothing_is_missing(CONNECTION_ROWS, &cases.iter().map(|case| (case.row, case.code)).collect::<Vec<_>>());
    for case in cases {
        let mut view = ConnectionView {
            locked: false,
            lock_owed: None,
            gateway_acknowledged: true,
            gateway_deleting: false,
            node: NodeView::UP,
            ever_acknowledged: true,
            pending_for: None,
            refused: None,
            expected: &case.expected,
            tunnels: &case.tunnels,
            ever_up: true,
            sessions: &case.sessions,
            propagation: true,
            psk_unproven: false,
        };
        (case.change)(&mut view);
        let (status, fault) = connection_status(&view);
        names_what_is_in_force(case.row, fault.as_ref());
        assert_eq!((status, fault.map(|fault| fault.code)), (case.status, case.code), "row {}", case.row);
    }
}

#[test]
fn sessions_are_down_at_once_when_no_tunnel_is_up() {
    let tunnels = [tunnel(Family::Ipv4, false, None)];
    let sessions = [session(Family::Ipv4, true, None)];
    let expected = [Family::Ipv4];
    let view = ConnectionView {
        locked: false,
        lock_owed: None,
        gateway_acknowledged: true,
        gateway_deleting: false,
        node: NodeView::UP,
        ever_acknowledged: true,
        pending_for: None,
        refused: None,
        expected: &expected,
        tunnels: &tunnels,
        ever_up: true,
        sessions: &sessions,
        propagation: true,
        psk_unproven: false,
    };
    assert_eq!(bgp_status(&view, Family::Ipv4), BgpStatus::Down);
    assert_eq!(bgp_status(&view, Family::Ipv6), BgpStatus::Disabled);
}

#[test]
fn a_lock_that_is_not_in_force_says_so_and_what_is_in_its_way() {
    let refused = Some(LockOwed { refused: Some(refusal()) });
    let owed = Some(LockOwed::default());
    let silent = NodeView { silent: true, ..NodeView::UP };
    type Case<'a> = (Option<LockOwed>, NodeView, &'a [(&'a str, &'a str)]);
    let cases: [Case<'_>; 6] = [
        (None, NodeView::UP, &[]),
        (None, silent, &[]),
        (owed.clone(), NodeView::UP, &[("lock", "not yet enforced"), ("node", "has not acknowledged it")]),
        (owed.clone(), silent, &[("lock", "not yet enforced"), ("node", "is not heard")]),
        (owed, node(NodeState::KeepaliveFail), &[("lock", "not yet enforced"), ("node", "is not heard")]),
        (
            refused,
            NodeView::UP,
            &[("error", "EEXIST"), ("item", "underlay address 192.0.2.1"), ("lock", "not yet enforced")],
        ),
    ];
    for (lock_owed, node, expected) in cases {
        let evidence = |fault: Option<Fault>| {
            let fault = fault.expect("locked");
            assert_eq!(fault.code, ReasonCode::Locked);
            let evidence = fault.evidence.iter().map(|(name, text)| (name.clone(), text.clone()));
            evidence.collect::<Vec<(String, String)>>()
        };
        let expected: Vec<_> = expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let view =
            GatewayView { locked: true, lock_owed: lock_owed.clone(), placement: Placement::Placed(node), ..gateway() };
        assert_eq!(evidence(gateway_status(&view).1), expected);
        let view = ConnectionView {
            locked: true,
            lock_owed,
            gateway_acknowledged: true,
            gateway_deleting: false,
            node,
            ever_acknowledged: true,
            pending_for: None,
            refused: None,
            expected: &[],
            tunnels: &[],
            ever_up: false,
            sessions: &[],
            propagation: true,
            psk_unproven: false,
        };
        assert_eq!(evidence(connection_status(&view).1), expected);
    }
}
