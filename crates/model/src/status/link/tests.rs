//! One case per row of the InterLink table of system.md §3.

use super::*;
use crate::link::LinkEvent;
use crate::status::NodeView;

const T0: Timestamp = Timestamp(1_000_000_000_000);

fn life(kind: LinkKind, events: &[LinkEvent]) -> LinkLife {
    let mut life = LinkLife::ordered(kind, T0);
    for event in events {
        life.apply(event.clone(), T0).unwrap_or_else(|refusal| panic!("{event:?}: {refusal}"));
    }
    life
}

fn session(family: Family, up: bool) -> LinkSession {
    LinkSession { family, policy_since: T0, up, ever_up: true, fault: (!up).then(|| ReasonCode::BgpTimeout.into()) }
}

fn new_session(family: Family) -> LinkSession {
    LinkSession { ever_up: false, ..session(family, false) }
}

fn node(state: NodeState) -> NodeView {
    NodeView { state, silent: false, waiting_overdue: false }
}

fn refusal() -> Refusal {
    Refusal { revision: 2, item: "attachment eth9".to_owned(), error: "no such interface".to_owned() }
}

/// A link whose node is up and has all that is asked of it, as seen at `T0`.
fn working_link<'a>(life: &'a LinkLife, expected: &'a [LinkSession]) -> LinkView<'a> {
    LinkView {
        life,
        node: NodeView::UP,
        pending_for: None,
        refused: None,
        expected,
        ever_up: true,
        vpc: true,
        vpc_elsewhere: None,
        propagation: true,
        now: T0,
    }
}

#[test]
fn every_row_of_the_link_table() {
    use LinkEvent as E;
    use LinkStatus as S;
    use ReasonCode as R;
    let placed = [E::Placed];
    let working = [E::Placed, E::Accepted, E::Provisioned];
    let with = |events: &[E], more: &[E]| [events, more].concat();
    let hosted = |events: &[E]| life(LinkKind::Hosted, events);
    let own = |events: &[E]| life(LinkKind::SelfHosted, events);
    let both_up = [session(Family::Ipv4, true), session(Family::Ipv6, true)];
    let one_up = [session(Family::Ipv4, true), session(Family::Ipv6, false)];
    let none_up = [session(Family::Ipv4, false), session(Family::Ipv6, false)];
    let fresh = [session(Family::Ipv4, true), new_session(Family::Ipv6)];
    let none: [LinkSession; 0] = [];
    let mut expired = hosted(&placed);
    assert!(expired.elapse(T0.plus_seconds(10 * 86_400)), "ten days");
    let mut failed = hosted(&[]);
    assert!(failed.elapse(T0.plus_seconds(30)), "half a minute");
    let mut failed_and_deleted = failed.clone();
    failed_and_deleted.apply(E::TenantDeleted, T0).expect("deletes");
    let lives = [
        ("1 both", hosted(&with(&working, &[E::TenantDeleted, E::Deprovisioned])), S::Deleted, None),
        ("1 partner first", hosted(&with(&working, &[E::Deprovisioned, E::TenantDeleted])), S::Deleted, None),
        ("1 requested", hosted(&[E::Placed, E::TenantDeleted]), S::Deleted, None),
        ("1 provisioning", hosted(&[E::Placed, E::Accepted, E::TenantDeleted]), S::Deleted, None),
        ("1 refused", hosted(&[E::Placed, E::Refused("full".to_owned()), E::TenantDeleted]), S::Deleted, None),
        ("1 failed", failed_and_deleted, S::Deleted, None),
        ("1 self-hosted", own(&[E::Placed, E::TenantDeleted, E::Removed]), S::Deleted, None),
        (
            "2 ours",
            hosted(&with(&working, &[E::TenantDeleted])),
            S::Deprovisioning,
            Some(R::AwaitingPartnerDeprovisioning),
        ),
        (
            "2 ours, theirs begun",
            hosted(&with(&working, &[E::TenantDeleted, E::DeprovisioningStarted])),
            S::Deprovisioning,
            Some(R::AwaitingPartnerDeprovisioning),
        ),
        (
            "2 theirs begun",
            hosted(&with(&working, &[E::DeprovisioningStarted])),
            S::Deprovisioning,
            Some(R::AwaitingTenantDeletion),
        ),
        (
            "2 theirs done",
            hosted(&with(&working, &[E::Deprovisioned])),
            S::Deprovisioning,
            Some(R::AwaitingTenantDeletion),
        ),
        ("2 self-hosted", own(&[E::Placed, E::TenantDeleted]), S::Deprovisioning, Some(R::AwaitingRemoval)),
        (
            "2 before 3",
            hosted(&with(&working, &[E::TenantDeleted, E::Locked])),
            S::Deprovisioning,
            Some(R::AwaitingPartnerDeprovisioning),
        ),
        ("3", hosted(&with(&working, &[E::Locked])), S::Locked, Some(R::Locked)),
        ("3 requested", hosted(&[E::Placed, E::Locked]), S::Locked, Some(R::Locked)),
        ("4 refused", hosted(&[E::Placed, E::Refused("full".to_owned())]), S::Refused, Some(R::PartnerRefused)),
        ("4 expired", expired, S::Expired, Some(R::RequestExpired)),
        ("4 failed", failed, S::Failed, Some(R::OrderFailed)),
        ("5 requested", hosted(&placed), S::Requested, Some(R::AwaitingPartnerAnswer)),
        ("5 provisioning", hosted(&[E::Placed, E::Accepted]), S::Provisioning, Some(R::AwaitingPartnerProvisioning)),
        ("6", hosted(&[]), S::Configuring, Some(R::ConfigPending)),
    ];
    for (row, life, status, reason) in &lives {
        let view = LinkView { pending_for: Some(1.0), ..working_link(life, &both_up) };
        let (got, fault) = link_status(&view);
        assert_eq!((got, fault.map(|fault| fault.code)), (*status, *reason), "row {row}");
    }

    let hosted = hosted(&working);
    let own = own(&placed);
    let base = LinkView { now: T0.plus_seconds(FIRST_SESSION_GRACE), ..working_link(&hosted, &both_up) };
    let silent = NodeView { silent: true, ..NodeView::UP };
    let self_hosted = LinkView { life: &own, ever_up: false, ..base.clone() };
    let cases: Vec<(&str, LinkView<'_>, S, Option<R>)> = vec![
        (
            "7 keepalive_fail",
            LinkView { node: node(NodeState::KeepaliveFail), ..base.clone() },
            S::Active,
            Some(R::NodeUnreachable),
        ),
        (
            "7 silent",
            LinkView { node: silent, expected: &one_up, ..base.clone() },
            S::LimitedConnectivity,
            Some(R::NodeUnreachable),
        ),
        ("7a", LinkView { node: node(NodeState::Down), ..base.clone() }, S::AllDown, Some(R::NodeUnreachable)),
        ("8", LinkView { pending_for: Some(29.0), ..base.clone() }, S::Configuring, Some(R::ConfigPending)),
        ("8 late", LinkView { pending_for: Some(30.0), ..base.clone() }, S::Active, Some(R::ConfigOverdue)),
        (
            "8 refused",
            LinkView { refused: Some(refusal()), expected: &none_up, ..base.clone() },
            S::AllDown,
            Some(R::ConfigRefused),
        ),
        ("9", LinkView { expected: &none_up, ..self_hosted.clone() }, S::Ready, Some(R::BgpTimeout)),
        ("9 no policy", LinkView { expected: &none, ..self_hosted.clone() }, S::Ready, Some(R::NoRoutingPolicy)),
        ("10", LinkView { expected: &none, ..base.clone() }, S::Active, Some(R::NoRoutingPolicy)),
        (
            "10 self-hosted",
            LinkView { expected: &none, ever_up: true, ..self_hosted.clone() },
            S::Active,
            Some(R::NoRoutingPolicy),
        ),
        ("11 all", base.clone(), S::Active, None),
        ("11 all, no VPC", LinkView { vpc: false, ..base.clone() }, S::Active, Some(R::NoVpc)),
        (
            "11 all, another node routes its VPC",
            LinkView { vpc_elsewhere: Some(NodeId::random()), propagation: false, ..base.clone() },
            S::Active,
            Some(R::VpcElsewhere),
        ),
        (
            "11 all, no propagation",
            LinkView { propagation: false, ..base.clone() },
            S::Active,
            Some(R::PropagationDisabled),
        ),
        ("11 some", LinkView { expected: &one_up, ..base.clone() }, S::LimitedConnectivity, Some(R::BgpTimeout)),
        ("11 none", LinkView { expected: &none_up, ..base.clone() }, S::AllDown, Some(R::BgpTimeout)),
        (
            "11 in grace",
            LinkView { expected: &fresh, now: T0.plus_seconds(59), ..base.clone() },
            S::Active,
            Some(R::AwaitingFirstSession),
        ),
        ("11 grace over", LinkView { expected: &fresh, ..base.clone() }, S::LimitedConnectivity, Some(R::BgpTimeout)),
        (
            "11 no grace for what was up",
            LinkView { expected: &one_up, now: T0, ..base.clone() },
            S::LimitedConnectivity,
            Some(R::BgpTimeout),
        ),
        (
            "11 self-hosted has no grace",
            LinkView { expected: &fresh, ever_up: true, now: T0, ..self_hosted.clone() },
            S::LimitedConnectivity,
            Some(R::BgpTimeout),
        ),
    ];
    for (row, view, status, reason) in cases {
        let (got, fault) = link_status(&view);
        assert_eq!((got, fault.map(|fault| fault.code)), (status, reason), "row {row}");
    }
}

#[test]
fn a_policy_attached_later_has_its_own_grace() {
    let life = life(LinkKind::Hosted, &[LinkEvent::Placed, LinkEvent::Accepted, LinkEvent::Provisioned]);
    let attached = T0.plus_seconds(3600);
    let expected = [LinkSession { policy_since: attached, ..new_session(Family::Ipv4) }];
    let view = LinkView { ever_up: false, now: attached.plus_seconds(59), ..working_link(&life, &expected) };
    assert_eq!(link_status(&view).0, LinkStatus::Active);
    let late = LinkView { now: attached.plus_seconds(60), ..view };
    assert_eq!(link_status(&late).0, LinkStatus::AllDown);
}

#[test]
fn both_sessions_are_named_with_their_causes() {
    let life = life(LinkKind::Hosted, &[LinkEvent::Placed, LinkEvent::Accepted, LinkEvent::Provisioned]);
    let expected = [
        session(Family::Ipv4, false),
        LinkSession { fault: Some(ReasonCode::TcpRefused.into()), ..session(Family::Ipv6, false) },
    ];
    let view = working_link(&life, &expected);
    let fault = link_status(&view).1.expect("a reason");
    assert_eq!(fault.evidence["family"], "IPv4");
    assert_eq!(fault.evidence["IPv6_session"], "tcp_refused");
}
