//! A link's status, and what time and events make of it.

use std::collections::BTreeSet;

use causeway_model::link::{LinkEvent, LinkKind, LinkLife, Stage};
use causeway_model::observed::SessionFacts;
use causeway_model::reason::Fault;
use causeway_model::reason::ReasonCode;
use causeway_model::resource::{LinkHost, WebhookOwner};
use causeway_model::status::{
    BgpStatus, LinkSession, LinkStatus, LinkView, NodeState, NodeView, PLATFORM_DEADLINE, link_status,
};
use causeway_model::view::{LinkState, LinkStatuses};
use causeway_model::{Family, LinkId, NodeId, Timestamp};
use causeway_store::{EventText, LinkRecord, Writer};
use ipnet::IpNet;
use serde_json::json;

use super::{LINK, node};
use crate::Result;
use crate::flap::{self, Change};
use crate::hearing::installed;
use crate::webhook::{Event, tell};

/// Links looked at in one tick; the rest has its turn in the next.
pub(crate) const BATCH: u32 = 500;

fn session(record: &LinkRecord, family: Family) -> Option<&SessionFacts> {
    record.observed.as_ref()?.facts.sessions.iter().find(|session| session.family == family)
}

/// The sessions that a link should have, as its node sees them.
fn sessions(record: &LinkRecord) -> Vec<LinkSession> {
    let link = &record.link;
    let expected =
        Family::ALL.into_iter().zip([0, 1]).filter_map(|(family, at)| Some((family, at, link.policy(family)?)));
    let observed = record.observed.as_ref();
    let no_carrier = observed.is_some_and(|observed| !observed.facts.carrier && observed.facts.applied > 0);
    expected
        .map(|(family, at, policy)| {
            let facts = session(record, family);
            let fault = facts.and_then(|facts| facts.fault.clone());
            LinkSession {
                family,
                policy_since: policy.since,
                up: facts.is_some_and(|facts| facts.up),
                ever_up: observed.and_then(|observed| observed.ever_up.get(at)).is_some_and(|ever| *ever),
                fault: fault.or_else(|| no_carrier.then(|| ReasonCode::NoCarrier.into())),
            }
        })
        .collect()
}

/// The node of a link as its table sees it. On none is as if it were lost: nobody carries the link.
fn node_view(record: &LinkRecord) -> NodeView {
    let none = NodeView { state: NodeState::Down, silent: true, waiting_overdue: false };
    record.node.map_or(none, |node| NodeView { state: node.state, silent: node.silent, waiting_overdue: node.overdue })
}

/// The table of system.md §3.
pub(super) fn status(record: &LinkRecord, now: Timestamp) -> (LinkStatus, Option<Fault>) {
    let (link, expected) = (&record.link, sessions(record));
    let observed = record.observed.as_ref();
    let refused = observed.and_then(|observed| observed.facts.refused.clone());
    let (status, fault) = link_status(&LinkView {
        life: &link.life,
        node: node_view(record),
        pending_for: record.pending_since.map(|since| now.seconds_since(since)),
        refused: refused.filter(|refused| refused.revision == record.config_revision),
        expected: &expected,
        ever_up: observed.is_some_and(|observed| observed.ever_up.contains(&true)),
        vpc: link.vpc_id.is_some(),
        vpc_elsewhere: elsewhere(record),
        propagation: link.route_propagation_enabled,
        now,
    });
    let nobody = record.node.is_none() && fault.as_ref().is_some_and(|fault| fault.code == ReasonCode::NodeUnreachable);
    (status, if nobody { Some(ReasonCode::NoNode.into()) } else { fault })
}

/// The node that routes a link's VPC, where that is not the link's own.
fn elsewhere(record: &LinkRecord) -> Option<NodeId> {
    record.vpc_node.filter(|vpc_node| record.node.is_some_and(|node| node.id != *vpc_node))
}

/// Why nothing carries a link, if so.
pub(crate) fn uncarried(record: &LinkRecord, now: Timestamp) -> Option<Fault> {
    let in_service = matches!(record.link.life.stage, Stage::InService { .. });
    let facts = record.observed.as_ref().map(|observed| &observed.facts).filter(|_| in_service);
    match facts.filter(|facts| facts.applied > 0) {
        Some(facts) if !facts.carrier => Some(ReasonCode::NoCarrier.into()),
        Some(_) => elsewhere(record).map(|_| ReasonCode::VpcElsewhere.into()),
        None => Some(status(record, now).1.unwrap_or_else(|| ReasonCode::ConfigPending.into())),
    }
}

fn bgp_status(record: &LinkRecord, family: Family) -> BgpStatus {
    match record.link.policy(family) {
        None => BgpStatus::Disabled,
        Some(_) if node_view(record).is_lost() => BgpStatus::Down,
        Some(_) if session(record, family).is_some_and(|session| session.up) => BgpStatus::Up,
        Some(_) => BgpStatus::Down,
    }
}

/// What a record says, its copies of statuses being right.
pub(super) fn statuses(record: LinkRecord) -> LinkStatuses {
    LinkStatuses {
        link: record.link,
        status: record.status,
        bgp_v4_status: record.bgp_v4_status,
        bgp_v6_status: record.bgp_v6_status,
    }
}

/// What a record comes to by the time that has passed since it was written.
pub(super) fn now(mut record: LinkRecord, now: Timestamp) -> LinkStatuses {
    record.link.life.elapse(now);
    record.status = status(&record, now).0;
    statuses(record)
}

/// `state` of a link.
pub(super) fn state(mut record: LinkRecord, now: Timestamp) -> LinkState {
    record.link.life.elapse(now);
    let (status, fault) = status(&record, now);
    record.status = status;
    let life = &record.link.life;
    let code = fault.as_ref().map(|fault| fault.code.as_str());
    let noted = record.settled_status == status && record.settled_reason.as_deref() == code;
    let in_service = if status == LinkStatus::Configuring {
        record.pending_since
    } else if noted {
        record.settled_since
    } else {
        // Not noted yet: nobody knows since when.
        None
    };
    let since = life.since().or(in_service).unwrap_or(record.link.meta.updated_at);
    let reason = fault.map(|fault| match &record.lock_reason {
        Some(reason) if status == LinkStatus::Locked => fault.with("reason", reason.clone()),
        _ => fault,
    });
    LinkState {
        reason: reason.map(|fault| fault.explain(Some(since))),
        lifecycle: life.stage_name(),
        turn: life.turn(),
        waiting_since: life.waiting_since(),
        deadline: life.deadline(),
        next_reminder: life.next_reminder(record.reminded_at),
        bgp_sessions: record.observed.as_ref().map(|observed| observed.facts.sessions.clone()).unwrap_or_default(),
        observed_at: record.observed.as_ref().map(|observed| observed.observed_at),
        desired_revision: record.config_revision,
        applied_revision: record.observed.as_ref().map_or(0, |observed| observed.facts.applied),
        node: record.node.map(|node| node.id),
        carrier: record.observed.as_ref().map(|observed| observed.facts.carrier),
        mtu: record.observed.as_ref().map_or(0, |observed| observed.facts.mtu),
        drops: record.observed.as_ref().map(|observed| observed.facts.drops.clone()).unwrap_or_default(),
        statuses: statuses(record),
    }
}

/// When time alone changes something of a link next.
fn due_at(record: &LinkRecord, now: Timestamp) -> Option<Timestamp> {
    let life = &record.link.life;
    if let Some(until) = life.readable_until() {
        return Some(until);
    }
    let grace = match (&life.stage, life.kind) {
        (Stage::InService { since }, LinkKind::Hosted) => Some(*since),
        _ => None,
    };
    let policies = Family::ALL.into_iter().filter_map(|family| record.link.policy(family));
    let graces = policies
        .filter_map(|policy| Some(grace?.max(policy.since).plus_seconds(causeway_model::link::FIRST_SESSION_GRACE)));
    let graces = graces.filter(|end| *end > now);
    let overdue = record.pending_since.map(|since| since.plus_seconds(PLATFORM_DEADLINE as i64));
    let overdue = overdue.filter(|at| *at > now);
    [life.deadline(), life.next_reminder(record.reminded_at), overdue].into_iter().flatten().chain(graces).min()
}

/// What a link has brought into its VPC's table.
fn learned(record: &LinkRecord) -> BTreeSet<IpNet> {
    let carried = node::runs(&record.link) && !node_view(record).is_lost() && elsewhere(record).is_none();
    let observed = record.observed.as_ref().filter(|_| carried);
    observed.map(|observed| installed(&observed.facts.received)).unwrap_or_default()
}

/// Writes a link that something happened to, and tells what has become of it.
pub(super) async fn save(writer: &mut Writer, record: &mut LinkRecord, now: Timestamp) -> Result<()> {
    let life = &mut record.link.life;
    life.elapse(now);
    // No node carries it, so none has anything to remove.
    if life.kind == LinkKind::SelfHosted
        && life.tenant_deleted_at.is_some()
        && life.removed_at.is_none()
        && record.node.is_none()
    {
        life.removed_at = Some(now);
    }
    // What its tenant has deleted holds nothing, however long the other side takes (wire-api.md §1.10).
    if life.tenant_deleted_at.is_some() {
        record.link.vpc_id = None;
        record.link.routing_policy_v4 = None;
        record.link.routing_policy_v6 = None;
    }
    let stored = writer.link(record.link.id).await?;
    node::follow(writer, record, stored.as_ref(), now).await?;
    let (status, fault) = status(record, now);
    let before = std::mem::replace(&mut record.status, status);
    let settled = record.settled_status;
    if status != LinkStatus::Configuring {
        let code = fault.as_ref().map(|fault| fault.code.as_str());
        if status != settled || code != record.settled_reason.as_deref() || record.settled_since.is_none() {
            record.settled_since = Some(now);
            record.settled_reason = code.map(str::to_owned);
        }
        record.settled_status = status;
    }
    record.bgp_v4_status = bgp_status(record, Family::Ipv4);
    record.bgp_v6_status = bgp_status(record, Family::Ipv6);
    record.due_at = due_at(record, now);
    writer.set_link(record).await?;
    writer.set_link_routes(&record.link, &learned(record), now).await?;
    if let Some(stored) = stored {
        tell_beside_status(writer, record, &stored.link.life, before == status, now).await?;
    }
    if before != status {
        let id = record.link.id;
        let text = EventText { subject: status.to_string(), fault, details: Default::default() };
        flap::tell(
            writer,
            id.0,
            now,
            Change { kind: "status", topic: String::new(), text, weight: 1.0, may_wait: false },
        )
        .await?;
        writer.emit(now, LINK, status.as_str(), &id.to_string()).await?;
        // What a change passes through is nobody's news.
        if let Some(kind) = notice(settled, status).filter(|_| settled != status) {
            notify(writer, record, kind, now).await?;
        }
    }
    Ok(())
}

/// Tells what the status does not: that an order has failed, to the operator's log; what has happened under a lock; and a lock that something
/// else hides.
async fn tell_beside_status(
    writer: &mut Writer,
    record: &LinkRecord,
    before: &LinkLife,
    same_status: bool,
    now: Timestamp,
) -> Result<()> {
    let (link, life) = (&record.link, &record.link.life);
    let moved = before.stage_name() != life.stage_name();
    if let Stage::Failed { error, .. } = &life.stage
        && moved
    {
        tracing::error!(link = %link.id, error, "a link's order has failed; mend the cause, then repair the link");
    }
    if moved && (before.locked || life.locked) {
        let details = [("lifecycle".to_owned(), life.stage_name().to_owned())].into();
        let text = EventText { subject: record.status.to_string(), fault: status(record, now).1, details };
        writer.add_object_event(link.id.0, now, "status", &text).await?;
        let kind = match life.stage {
            Stage::Ordered { .. } => None,
            Stage::Requested { .. } => Some("link.requested"),
            Stage::Provisioning { .. } => Some("link.accepted"),
            Stage::InService { .. } => Some("link.active"),
            Stage::Refused { .. } => Some("link.refused"),
            Stage::Expired { .. } => Some("link.expired"),
            Stage::Failed { .. } => Some("link.failed"),
        };
        if let Some(kind) = kind {
            notify(writer, record, kind, now).await?;
        }
    }
    if before.locked != life.locked && same_status {
        notify(writer, record, if life.locked { "link.locked" } else { "link.unlocked" }, now).await?;
    }
    Ok(())
}

/// What a change of status is called where it is told.
const fn notice(before: LinkStatus, after: LinkStatus) -> Option<&'static str> {
    use LinkStatus as S;
    Some(match (before, after) {
        (_, S::Configuring) => return None,
        (_, S::Deprovisioning) => "link.deletion_waiting",
        (_, S::Deleted) => "link.deleted",
        // What a lock has hidden was told when it happened.
        (S::Locked, _) => "link.unlocked",
        (_, S::Locked) => "link.locked",
        (_, S::Refused) => "link.refused",
        (_, S::Expired) => "link.expired",
        (_, S::Failed) => "link.failed",
        (_, S::Requested) => "link.requested",
        (_, S::Provisioning) => "link.accepted",
        (S::AllDown | S::LimitedConnectivity, S::Active) => "link.up",
        (_, S::Active) => "link.active",
        (_, S::LimitedConnectivity) => "link.limited",
        (_, S::AllDown) => "link.down",
        (_, S::Ready) => return None,
    })
}

/// Tells the webhooks of all parties; a partner's only if the operator has switched that on for it (system.md §3).
async fn notify(writer: &mut Writer, record: &LinkRecord, kind: &'static str, now: Timestamp) -> Result<()> {
    let link = &record.link;
    let (status, fault) = status(record, now);
    let mut data = json!({
        "link_id": link.id,
        "name": link.meta.name,
        "project_id": link.meta.project_id,
        "region": link.meta.region,
        "status": status,
        "lifecycle": link.life.stage_name(),
        "reason": fault.map(|fault| fault.explain(None)).map(|reason| json!({
            "code": reason.code,
            "message": reason.message,
            "remedy": reason.remedy,
            "evidence": reason.evidence,
        })),
        "turn": link.life.turn(),
        "deadline": link.life.deadline().map(|at| at.to_string()),
    });
    if let Stage::Refused { reason, .. } = &link.life.stage {
        data["disapproved_reason"] = json!(reason);
    }
    let owners = [WebhookOwner::Tenant(link.meta.project_id), WebhookOwner::Operator];
    tell(writer, now, Event { kind, owners: &owners, data: data.clone() }).await?;
    let LinkHost::Partner { partner_id, pairing_key, .. } = link.host else { return Ok(()) };
    if writer.partner(partner_id).await?.is_some_and(|partner| partner.notify) {
        // What the tenant calls its link and where it belongs is no business of the partner's.
        for field in ["name", "project_id"] {
            data.as_object_mut().map(|data| data.remove(field));
        }
        data["pairing_key"] = json!(pairing_key);
        tell(writer, now, Event { kind, owners: &[WebhookOwner::Partner(partner_id)], data }).await?;
    }
    Ok(())
}

/// Does what is due for a link: expiry, failure, reminders, the end of a grace, its end.
pub(crate) async fn elapse(writer: &mut Writer, id: LinkId, now: Timestamp) -> Result<()> {
    let Some(mut record) = writer.link(id).await? else { return Ok(()) };
    if record.link.life.readable_until().is_some_and(|until| until <= now) {
        return Ok(writer.delete(causeway_store::Kind::Link, id.0).await?);
    }
    let before = record.status;
    record.link.life.elapse(now);
    for reminder in record.link.life.reminders(record.reminded_at, now) {
        let text = EventText {
            subject: "reminder".to_owned(),
            fault: status(&record, now).1,
            details: [("turn".to_owned(), format!("{:?}", reminder.to).to_lowercase())].into(),
        };
        writer.add_object_event(id.0, reminder.at, "status", &text).await?;
        writer.emit(now, LINK, "reminder", &id.to_string()).await?;
        notify(writer, &record, "link.reminder", reminder.at).await?;
    }
    record.reminded_at = record.reminded_at.max(now);
    if status(&record, now).0 != before {
        record.link.meta.updated_at = now;
    }
    save(writer, &mut record, now).await
}

/// Places orders that waited for a port, now that it may carry them.
pub(crate) async fn place_waiting(unit: &mut crate::unit::Unit<'_>, port: causeway_model::PortId) -> Result<()> {
    let now = unit.now;
    for id in unit.links_ordered_on(port).await? {
        let Some(mut record) = unit.link(id).await? else { continue };
        match unit.obstacle(&record.link).await? {
            Some(obstacle) => record.link.life.hindered(obstacle),
            None if record.link.life.apply(LinkEvent::Placed, now).is_ok() => record.link.meta.updated_at = now,
            None => continue,
        }
        save(unit, &mut record, now).await?;
    }
    Ok(())
}
