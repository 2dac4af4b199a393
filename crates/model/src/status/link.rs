//! The InterLink table of system.md §3.

use super::{LinkStatus, NodeState, NodeView, PLATFORM_DEADLINE, owed_fault};
use crate::id::NodeId;
use crate::link::{FIRST_SESSION_GRACE, LinkKind, LinkLife, Stage};
use crate::net::Family;
use crate::observed::Refusal;
use crate::reason::{Fault, ReasonCode};
use crate::time::Timestamp;

/// A BGP session that a link should have: its family has a routing policy.
#[derive(Clone, Debug)]
pub struct LinkSession {
    /// Its family.
    pub family: Family,
    /// When the policy was attached.
    pub policy_since: Timestamp,
    /// Whether it is Established.
    pub up: bool,
    /// Whether it ever was.
    pub ever_up: bool,
    /// While down, why; while up, what is not as it should be.
    pub fault: Option<Fault>,
}

/// A link as its table sees it.
#[derive(Clone, Debug)]
pub struct LinkView<'a> {
    /// What all parties did.
    pub life: &'a LinkLife,
    /// The node of its port.
    pub node: NodeView,
    /// Seconds for which a newer configuration is unacknowledged.
    pub pending_for: Option<f64>,
    /// The node's refusal of the newest configuration.
    pub refused: Option<Refusal>,
    /// The sessions of the families with a policy.
    pub expected: &'a [LinkSession],
    /// Whether any session ever was up, one whose policy is gone included.
    pub ever_up: bool,
    /// Whether a VPC is attached.
    pub vpc: bool,
    /// The node that routes the VPC, where that is not the link's own.
    pub vpc_elsewhere: Option<NodeId>,
    /// Whether routes are exchanged.
    pub propagation: bool,
    /// Now.
    pub now: Timestamp,
}

/// The status, and why it is not better. `deleted` is what the answer to DELETE says; how long the link can be read after that is
/// [`LinkLife::readable_until`].
#[must_use]
pub fn link_status(view: &LinkView<'_>) -> (LinkStatus, Option<Fault>) {
    use LinkStatus as S;
    let life = view.life;
    if life.deleted_at().is_some() {
        return (S::Deleted, None);
    }
    if life.is_deprovisioning() {
        return (S::Deprovisioning, Some(deprovisioning_fault(life).into()));
    }
    if life.locked {
        return (S::Locked, Some(ReasonCode::Locked.into()));
    }
    let since = match &life.stage {
        Stage::Refused { reason, .. } => {
            return (S::Refused, Some(Fault::new(ReasonCode::PartnerRefused).with("partner_reason", reason.clone())));
        }
        Stage::Expired { at } => {
            return (S::Expired, Some(Fault::new(ReasonCode::RequestExpired).with("expired_at", at.to_string())));
        }
        Stage::Failed { error, .. } => {
            return (S::Failed, Some(Fault::new(ReasonCode::OrderFailed).with("error", error.clone())));
        }
        Stage::Requested { .. } => return (S::Requested, Some(ReasonCode::AwaitingPartnerAnswer.into())),
        Stage::Provisioning { .. } => return (S::Provisioning, Some(ReasonCode::AwaitingPartnerProvisioning.into())),
        Stage::Ordered { obstacle, .. } => {
            let fault = Fault::new(ReasonCode::ConfigPending);
            let fault = match obstacle {
                Some(obstacle) => fault.with("waiting_for", obstacle.clone()),
                None => fault,
            };
            return (S::Configuring, Some(fault));
        }
        Stage::InService { since } => *since,
    };
    if view.node.is_lost() {
        return (S::AllDown, Some(ReasonCode::NodeUnreachable.into()));
    }
    if view.node.state == NodeState::KeepaliveFail || view.node.silent {
        return (observed(view, since).0, Some(ReasonCode::NodeUnreachable.into()));
    }
    if let Some(refusal) = &view.refused {
        return (observed(view, since).0, Some(owed_fault(0.0, Some(refusal), true)));
    }
    match view.pending_for {
        Some(seconds) if seconds < PLATFORM_DEADLINE => (S::Configuring, Some(ReasonCode::ConfigPending.into())),
        Some(seconds) => (observed(view, since).0, Some(owed_fault(seconds, None, true))),
        None => observed(view, since),
    }
}

fn deprovisioning_fault(life: &LinkLife) -> ReasonCode {
    match (life.tenant_deleted_at, life.kind) {
        (Some(_), LinkKind::Hosted) => ReasonCode::AwaitingPartnerDeprovisioning,
        (Some(_), LinkKind::SelfHosted) => ReasonCode::AwaitingRemoval,
        (None, _) => ReasonCode::AwaitingTenantDeletion,
    }
}

/// Rows 9 to 11.
fn observed(view: &LinkView<'_>, in_service_since: Timestamp) -> (LinkStatus, Option<Fault>) {
    use LinkStatus as S;
    let hosted = view.life.kind == LinkKind::Hosted;
    if !hosted && !view.ever_up {
        let fault = view.expected.iter().find_map(|session| session.fault.clone());
        let nothing_to_expect =
            if view.expected.is_empty() { ReasonCode::NoRoutingPolicy } else { ReasonCode::AwaitingFirstSession };
        return (S::Ready, Some(fault.unwrap_or_else(|| nothing_to_expect.into())));
    }
    if view.expected.is_empty() {
        return (S::Active, Some(ReasonCode::NoRoutingPolicy.into()));
    }
    let in_grace = |session: &LinkSession| {
        let from = in_service_since.max(session.policy_since);
        hosted && !session.ever_up && view.now < from.plus_seconds(FIRST_SESSION_GRACE)
    };
    let down: Vec<&LinkSession> = view.expected.iter().filter(|session| !session.up && !in_grace(session)).collect();
    let up = view.expected.iter().filter(|session| session.up).count();
    let Some(first) = down.first() else {
        return (S::Active, active_fault(view, up));
    };
    let mut fault = first
        .fault
        .clone()
        .unwrap_or_else(|| ReasonCode::BgpConnecting.into())
        .with("family", first.family.to_string());
    for session in down.iter().skip(1) {
        let code = session.fault.as_ref().map_or(ReasonCode::BgpConnecting, |fault| fault.code);
        fault = fault.with(&format!("{}_session", session.family), code.as_str());
    }
    (if up == 0 { S::AllDown } else { S::LimitedConnectivity }, Some(fault))
}

/// Why nothing, or not everything, flows over a link that is active.
fn active_fault(view: &LinkView<'_>, up: usize) -> Option<Fault> {
    if up < view.expected.len() {
        return Some(ReasonCode::AwaitingFirstSession.into());
    }
    if !view.vpc {
        return Some(ReasonCode::NoVpc.into());
    }
    if let Some(node) = view.vpc_elsewhere {
        return Some(Fault::new(ReasonCode::VpcElsewhere).with("vpc_node", node.to_string()));
    }
    if !view.propagation {
        return Some(ReasonCode::PropagationDisabled.into());
    }
    view.expected.iter().find_map(|session| session.fault.clone())
}

#[cfg(test)]
mod tests;
