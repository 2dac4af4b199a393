//! Statuses as pure functions of lifecycle, desired and observed state. The tables of system.md §3 are their specification; in each the
//! first row that matches decides, and the tests below have one case per row.

use serde::{Deserialize, Serialize};

use crate::net::Family;
use crate::observed::{Refusal, SessionFacts, TunnelFacts};
use crate::reason::{Fault, ReasonCode};

/// Seconds that the platform has for provisioning, configuring and failover (system.md §4).
pub const PLATFORM_DEADLINE: f64 = 30.0;

macro_rules! statuses {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The API's word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

statuses! {
    /// Status of a VPN gateway.
    VpnGatewayStatus {
        /// A newer configuration or a failover is under way.
        Configuring = "configuring",
        /// It does not work and the platform keeps trying.
        Failed = "failed",
        /// Being set up for the first time.
        Provisioning = "provisioning",
        /// It works.
        Active = "active",
        /// Being deleted.
        Deprovisioning = "deprovisioning",
        /// Locked by support.
        Locked = "locked",
    }
}

impl VpnGatewayStatus {
    /// Whether update and delete get 409 `transient_state`.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Configuring | Self::Provisioning | Self::Deprovisioning)
    }
}

statuses! {
    /// Status of a connection.
    ConnectionStatus {
        /// Created; the device is awaited.
        Ready = "ready",
        /// Every expected session is up.
        Active = "active",
        /// Some expected sessions are up.
        LimitedConnectivity = "limited_connectivity",
        /// Nothing flows.
        Down = "down",
        /// Locked by support.
        Locked = "locked",
    }
}

statuses! {
    /// Status of a tunnel.
    TunnelStatus {
        /// There is nothing to say: the connection has one tunnel and another field tells it.
        Unknown = "unknown_tunnel_status",
        /// A Child SA is installed.
        Up = "up",
        /// None is.
        Down = "down",
    }
}

statuses! {
    /// Status of a BGP session.
    BgpStatus {
        /// Established.
        Up = "up",
        /// Not established.
        Down = "down",
        /// No policy for that family.
        Disabled = "disabled",
    }
}

statuses! {
    /// State of a gateway node.
    NodeState {
        /// Enrolled or restarted, not yet judged.
        Waiting = "waiting",
        /// Normal.
        Up = "up",
        /// Lost.
        Down = "down",
        /// Unheard by the controller, but vouched for.
        KeepaliveFail = "keepalive_fail",
        /// Up, but refused a configuration.
        ConfigFail = "config_fail",
    }
}

statuses! {
    /// Status of a dedicated connection.
    DedicatedConnectionStatus {
        /// Ordered.
        Created = "created",
        /// Being set up.
        Configuring = "configuring",
        /// It could not be set up.
        Failed = "failed",
        /// Links can be ordered on it.
        Active = "active",
        /// Out of service.
        Disabled = "disabled",
        /// Gone.
        Deleted = "deleted",
        /// Locked by support.
        Locked = "locked",
    }
}

statuses! {
    /// Status of an InterLink.
    LinkStatus {
        /// The order is being placed, or a configuration applied.
        Configuring = "configuring",
        /// The platform could not place the order.
        Failed = "failed",
        /// The partner has not answered yet.
        Requested = "requested",
        /// The partner refused.
        Refused = "refused",
        /// The partner did not answer in time.
        Expired = "expired",
        /// The partner is preparing its side.
        Provisioning = "provisioning",
        /// It works.
        Active = "active",
        /// Some expected sessions are up.
        LimitedConnectivity = "limited_connectivity",
        /// No expected session is up.
        AllDown = "all_down",
        /// One side has deleted it.
        Deprovisioning = "deprovisioning",
        /// Both sides have.
        Deleted = "deleted",
        /// Locked by support.
        Locked = "locked",
        /// A self-hosted link that no router has used yet.
        Ready = "ready",
    }
}

/// The node as the tables see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its state.
    pub state: NodeState,
    /// No frame for two keepalive periods, or restarted with the verdict pending.
    pub silent: bool,
    /// Waiting for longer than one judging interval.
    pub waiting_overdue: bool,
}

impl NodeView {
    /// A node that is heard and judged well.
    pub const UP: Self = Self { state: NodeState::Up, silent: false, waiting_overdue: false };

    /// Whether what it said last is what is the case.
    const fn is_heard(self) -> bool {
        !self.silent && matches!(self.state, NodeState::Up | NodeState::ConfigFail)
    }

    /// Whether it is out of the question that it carries anything.
    #[must_use]
    pub const fn is_lost(self) -> bool {
        matches!(self.state, NodeState::Down) || (matches!(self.state, NodeState::Waiting) && self.waiting_overdue)
    }
}

/// Whether a gateway has a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// On a node.
    Placed(NodeView),
    /// The zone has no node.
    NoNode,
    /// No node of the zone has room.
    NoCapacity,
}

/// A lock that no node has said to be in force (system.md §5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockOwed {
    /// The node's refusal of it.
    pub refused: Option<Refusal>,
}

/// Locked by support; and if the lock is not in force yet, what is in its way.
fn locked(owed: Option<&LockOwed>, heard: bool) -> Fault {
    let fault = Fault::new(ReasonCode::Locked);
    match owed {
        None => fault,
        Some(LockOwed { refused: Some(refusal) }) => {
            refusal_fault(ReasonCode::Locked, refusal).with("lock", "not yet enforced")
        }
        Some(LockOwed { refused: None }) => {
            let node = if heard { "has not acknowledged it" } else { "is not heard" };
            fault.with("lock", "not yet enforced").with("node", node)
        }
    }
}

/// A gateway as its table sees it.
#[derive(Clone, Debug)]
pub struct GatewayView {
    /// Deletion was asked for.
    pub deleting: bool,
    /// Locked by support.
    pub locked: bool,
    /// The lock is not in force yet.
    pub lock_owed: Option<LockOwed>,
    /// Its node.
    pub placement: Placement,
    /// Whether any configuration of it was ever acknowledged.
    pub ever_acknowledged: bool,
    /// Seconds for which a newer configuration of the gateway itself or of its set of connections is unacknowledged.
    pub pending_for: Option<f64>,
    /// The node's refusal of the newest configuration.
    pub refused: Option<Refusal>,
    /// Seconds for which a successor is being set up, if its node is lost.
    pub failover_for: Option<f64>,
    /// Seconds for which its lost node is being replaced: until a majority says that the node forwards nothing any more, nothing moves.
    pub replaced_for: Option<f64>,
    /// Its node has come back on another machine, which runs nothing before a majority has said that the earlier one forwards nothing any more.
    pub is_moving: bool,
    /// The other node that has the router of its VPC, if it hangs on one by a cable.
    pub router: Option<NodeView>,
}

/// Why the newest configuration is not in force, `seconds` after it was made: refused if there is a refusal of it, late, or on its way.
/// `ever`: whether another one is.
#[must_use]
pub fn owed_fault(seconds: f64, refusal: Option<&Refusal>, ever: bool) -> Fault {
    match refusal {
        Some(refusal) => refusal_fault(ReasonCode::ConfigRefused, refusal).in_force(ever),
        None if seconds < PLATFORM_DEADLINE => ReasonCode::ConfigPending.into(),
        None => Fault::new(ReasonCode::ConfigOverdue).in_force(ever),
    }
}

fn refusal_fault(code: ReasonCode, refusal: &Refusal) -> Fault {
    Fault::new(code).with("item", refusal.item.clone()).with("error", refusal.error.clone())
}

/// The gateway table of system.md §3.
#[must_use]
pub fn gateway_status(view: &GatewayView) -> (VpnGatewayStatus, Option<Fault>) {
    use VpnGatewayStatus as S;
    if view.deleting {
        return (S::Deprovisioning, None);
    }
    if view.locked {
        let heard = matches!(view.placement, Placement::Placed(node) if node.is_heard());
        return (S::Locked, Some(locked(view.lock_owed.as_ref(), heard)));
    }
    let pending = view.pending_for.unwrap_or(0.0);
    if !view.ever_acknowledged {
        return match (view.placement, &view.refused) {
            (_, Some(refusal)) => (S::Failed, Some(refusal_fault(ReasonCode::NodeRefused, refusal))),
            (Placement::NoCapacity, None) => (S::Failed, Some(ReasonCode::NoCapacity.into())),
            (_, None) if pending < PLATFORM_DEADLINE => (S::Provisioning, None),
            (Placement::NoNode, None) => (S::Failed, Some(ReasonCode::NoNode.into())),
            (Placement::Placed(_), None) => (S::Failed, Some(owed_fault(pending, None, false))),
        };
    }
    let node = match view.placement {
        Placement::Placed(node) => node,
        Placement::NoNode | Placement::NoCapacity => {
            NodeView { state: NodeState::Down, silent: true, waiting_overdue: false }
        }
    };
    if node.is_lost() || view.is_moving {
        return match view.failover_for {
            Some(seconds) if seconds < PLATFORM_DEADLINE => (S::Configuring, Some(ReasonCode::Failover.into())),
            None if view.replaced_for.is_some_and(|seconds| seconds < PLATFORM_DEADLINE) => {
                (S::Configuring, Some(ReasonCode::Failover.into()))
            }
            None if view.replaced_for.is_some() => (S::Failed, Some(ReasonCode::NoMajority.into())),
            _ => (S::Failed, Some(ReasonCode::NoHealthyNode.into())),
        };
    }
    if node.state == NodeState::KeepaliveFail {
        return (S::Active, Some(ReasonCode::NodeKeepaliveFail.into()));
    }
    if view.pending_for.is_none() && view.refused.is_none() {
        let cut = view.router.is_some_and(NodeView::is_lost);
        return (S::Active, cut.then(|| ReasonCode::RouterUnreachable.into()));
    }
    let status = if view.refused.is_none() && pending < PLATFORM_DEADLINE { S::Configuring } else { S::Active };
    (status, Some(owed_fault(pending, view.refused.as_ref(), true)))
}

/// A connection as its table sees it.
#[derive(Clone, Debug)]
pub struct ConnectionView<'a> {
    /// It or its gateway is locked.
    pub locked: bool,
    /// That lock is not in force yet.
    pub lock_owed: Option<LockOwed>,
    /// Whether its gateway was ever acknowledged.
    pub gateway_acknowledged: bool,
    /// Whether its gateway is being deleted.
    pub gateway_deleting: bool,
    /// The gateway's node.
    pub node: NodeView,
    /// Whether any configuration of it was ever acknowledged.
    pub ever_acknowledged: bool,
    /// Seconds for which a newer configuration is unacknowledged.
    pub pending_for: Option<f64>,
    /// The node's refusal of the newest configuration.
    pub refused: Option<Refusal>,
    /// Families with a routing policy.
    pub expected: &'a [Family],
    /// The tunnels as last observed; empty: never observed.
    pub tunnels: &'a [TunnelFacts],
    /// Whether a tunnel was up since creation or since the peer's address changed.
    pub ever_up: bool,
    /// The sessions as last observed.
    pub sessions: &'a [SessionFacts],
    /// Whether routes are exchanged.
    pub propagation: bool,
    /// A changed key has not been used yet.
    pub psk_unproven: bool,
}

/// The connection table of system.md §3.
#[must_use]
pub fn connection_status(view: &ConnectionView<'_>) -> (ConnectionStatus, Option<Fault>) {
    use ConnectionStatus as S;
    if view.locked {
        return (S::Locked, Some(locked(view.lock_owed.as_ref(), view.node.is_heard())));
    }
    if !view.gateway_acknowledged || view.gateway_deleting {
        return (S::Down, Some(ReasonCode::GatewayNotReady.into()));
    }
    if view.node.is_lost() {
        return (S::Down, Some(ReasonCode::NodeUnreachable.into()));
    }
    if matches!(view.node.state, NodeState::KeepaliveFail | NodeState::Waiting) || view.node.silent {
        if view.tunnels.is_empty() && !view.ever_up {
            return (S::Ready, Some(ReasonCode::NodeUnreachable.into()));
        }
        return (observed_status(view).0, Some(ReasonCode::NodeUnreachable.into()));
    }
    if !view.ever_acknowledged {
        let pending = view.pending_for.unwrap_or(0.0);
        if view.refused.is_some() || pending >= PLATFORM_DEADLINE {
            return (S::Down, Some(owed_fault(pending, view.refused.as_ref(), false)));
        }
    }
    observed_status(view)
}

/// Rows 5 to 10.
fn observed_status(view: &ConnectionView<'_>) -> (ConnectionStatus, Option<Fault>) {
    use ConnectionStatus as S;
    let up = view.tunnels.iter().filter(|tunnel| tunnel.up).count();
    if up == 0 {
        // Both are down and either would do, so both reasons count: the first one's in full.
        let mut known = view.tunnels.iter().filter_map(|tunnel| Some((tunnel.family, tunnel.fault.as_ref()?)));
        let fault = known.next().map(|(_, first)| {
            known.fold(first.clone(), |fault, (family, other)| {
                fault.with(&format!("{family}_tunnel"), other.code.as_str())
            })
        });
        let status = if view.ever_up { S::Down } else { S::Ready };
        return (status, Some(fault.unwrap_or_else(|| ReasonCode::AwaitingDevice.into())));
    }
    if view.expected.is_empty() {
        return (S::Down, Some(ReasonCode::NoRoutingPolicy.into()));
    }
    let missing: Vec<Family> =
        view.expected.iter().copied().filter(|family| bgp_status(view, *family) != BgpStatus::Up).collect();
    if let Some(first) = missing.first() {
        let mut fault = session_fault(view, *first)
            .unwrap_or_else(|| ReasonCode::BgpConnecting.into())
            .with("family", first.to_string());
        for family in missing.iter().skip(1) {
            let code = session_fault(view, *family).map_or(ReasonCode::BgpConnecting, |fault| fault.code);
            fault = fault.with(&format!("{family}_session"), code.as_str());
        }
        let status = if missing.len() == view.expected.len() { S::Down } else { S::LimitedConnectivity };
        return (status, Some(fault));
    }
    (S::Active, active_fault(view, up))
}

/// Why the session of `family` is down. Where no tunnel that is up carries the family, that is the root, and what the session met follows.
fn session_fault(view: &ConnectionView<'_>, family: Family) -> Option<Fault> {
    let name = family.to_string();
    let mut roots = view.tunnels.iter().filter(|tunnel| tunnel.up).map(|tunnel| {
        tunnel.fault.as_ref().filter(|fault| {
            fault.code == ReasonCode::TsNarrowed
                && fault.evidence.get("not_carried").is_some_and(|list| list.split(", ").any(|item| item == name))
        })
    });
    let root = roots.next().flatten().filter(|_| roots.all(|other| other.is_some()));
    root.cloned().or_else(|| {
        view.sessions.iter().find(|session| session.family == family).and_then(|session| session.fault.clone())
    })
}

/// Row 10's reasons, the first that holds.
fn active_fault(view: &ConnectionView<'_>, up: usize) -> Option<Fault> {
    if view.refused.is_some() || view.pending_for.is_some() {
        // A connection that is up has a configuration in force.
        return Some(owed_fault(view.pending_for.unwrap_or(0.0), view.refused.as_ref(), true));
    }
    if up < view.tunnels.len() {
        let lost = view.tunnels.iter().find(|tunnel| !tunnel.up)?;
        let why = lost.fault.as_ref().map_or("unknown", |fault| fault.code.as_str());
        return Some(
            Fault::new(ReasonCode::TunnelRedundancyLost).with("tunnel", lost.family.to_string()).with("why", why),
        );
    }
    if view.psk_unproven {
        return Some(ReasonCode::PskChangeUnproven.into());
    }
    if view.propagation {
        // A tunnel or session that is up may still have something to say: a family that is not carried, prefixes beyond the limit.
        let trouble = view.tunnels.iter().find_map(|tunnel| tunnel.fault.clone());
        return trouble.or_else(|| {
            view.sessions
                .iter()
                .filter(|session| view.expected.contains(&session.family))
                .find_map(|session| session.fault.clone())
        });
    }
    Some(ReasonCode::PropagationDisabled.into())
}

/// Status of the whole tunnel: up if any is.
#[must_use]
pub fn tunnel_status(tunnels: &[TunnelFacts]) -> TunnelStatus {
    if tunnels.iter().any(|tunnel| tunnel.up) { TunnelStatus::Up } else { TunnelStatus::Down }
}

/// Status of the session of `family`: down at once when no tunnel is up.
#[must_use]
pub fn bgp_status(view: &ConnectionView<'_>, family: Family) -> BgpStatus {
    if !view.expected.contains(&family) {
        return BgpStatus::Disabled;
    }
    let tunnel_up = tunnel_status(view.tunnels) == TunnelStatus::Up;
    if tunnel_up && view.sessions.iter().any(|session| session.family == family && session.up) {
        BgpStatus::Up
    } else {
        BgpStatus::Down
    }
}

mod link;

pub use link::{LinkSession, LinkView, link_status};

#[cfg(test)]
mod tests;
