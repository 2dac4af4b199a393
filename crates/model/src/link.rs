//! The life of an InterLink: who did what, when, and what may follow (system.md §3 and §4). Pure; time is an argument.
//!
//! Stored are only the facts of this page. The status is derived from them and from what the node observes
//! ([`crate::status::link_status`]); it is never written by hand.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Seconds that a partner has to answer a request, unless the operator has configured another time.
pub const REQUEST_DEADLINE: u32 = 10 * 86_400;
/// Seconds that the platform has to place an order.
pub const PLACEMENT_DEADLINE: i64 = 30;
/// Seconds for which a deleted link that had passed through `deprovisioning` stays readable by its id.
pub const DELETED_READABLE: i64 = DAY;
/// Seconds after the partner finished, or after a policy was attached, from which on a session that was never up is expected to be.
pub const FIRST_SESSION_GRACE: i64 = 60;

const DAY: i64 = 86_400;
/// When the tenant is reminded of an unanswered request, in tenths of the time that the partner has.
const REQUEST_REMINDERS: [i64; 3] = [3, 7, 9];
/// Interval of the reminders in `provisioning` and `deprovisioning`.
const REPEATED_REMINDER: i64 = 7 * DAY;

/// The stages as they are stored, and what people call them ([`LinkLife::stage_name`]); what is called with a space can be written without.
pub const STAGES: [(&str, &str); 8] = [
    ("ordered", "configuring"),
    ("requested", "requested"),
    ("provisioning", "provisioning"),
    ("in_service", "in service"),
    ("in_service", "in_service"),
    ("refused", "refused"),
    ("expired", "expired"),
    ("failed", "failed"),
];

/// How a link reaches the customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// Through a partner.
    Hosted,
    /// On a dedicated connection.
    SelfHosted,
}

/// How far the order got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// Port, VLAN, addresses and key are being allotted.
    Ordered {
        /// Since when.
        since: Timestamp,
        /// What it waits for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        obstacle: Option<String>,
    },
    /// Waiting for the partner's answer.
    Requested {
        /// Since when: the ten days run from here.
        since: Timestamp,
    },
    /// The partner is preparing its side.
    Provisioning {
        /// Since when.
        since: Timestamp,
    },
    /// Both sides are set up.
    InService {
        /// Since when.
        since: Timestamp,
    },
    /// The partner refused. Terminal.
    Refused {
        /// When.
        at: Timestamp,
        /// In the partner's words.
        reason: String,
    },
    /// No answer in time. Terminal.
    Expired {
        /// When.
        at: Timestamp,
    },
    /// The platform could not place the order; the operator repairs it.
    Failed {
        /// When.
        at: Timestamp,
        /// Why.
        error: String,
    },
}

/// Everything that decides a link's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkLife {
    /// Hosted or self-hosted.
    pub kind: LinkKind,
    /// How far the order got.
    pub stage: Stage,
    /// The tenant deleted it.
    pub tenant_deleted_at: Option<Timestamp>,
    /// The partner began to take its side down.
    pub partner_left_at: Option<Timestamp>,
    /// The partner finished taking its side down.
    pub partner_gone_at: Option<Timestamp>,
    /// A self-hosted link's node no longer has it.
    pub removed_at: Option<Timestamp>,
    /// Locked by support.
    pub locked: bool,
    /// Since when; `None`: it is not, or that was not noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_at: Option<Timestamp>,
    /// Seconds that the partner has to answer; `None`: [`REQUEST_DEADLINE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_seconds: Option<u32>,
}

/// What somebody does to a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The platform placed the order.
    Placed,
    /// The operator repaired what had failed.
    Repaired,
    /// The partner accepts the request.
    Accepted,
    /// The partner refuses it, with its reason.
    Refused(String),
    /// The partner finished its side.
    Provisioned,
    /// The partner begins to take its side down.
    DeprovisioningStarted,
    /// The partner's side is gone.
    Deprovisioned,
    /// The tenant deletes the link.
    TenantDeleted,
    /// The node of a self-hosted link has removed it.
    Removed,
    /// Support locks it.
    Locked,
    /// Support unlocks it.
    Unlocked,
}

/// Why an event is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefusal {
    /// The link is deleted on both sides: it is not there any more.
    #[error("the link is deleted")]
    Deleted,
    /// Support locked it: the tenant's changes wait.
    #[error("the link is locked by support")]
    Locked,
    /// The order is still being placed.
    #[error("the order is being placed; wait until the link is no longer `configuring`")]
    BeingPlaced,
    /// A self-hosted link has no partner.
    #[error("a self-hosted link has no partner")]
    NoPartner,
    /// The step does not follow from where the link is.
    #[error("not possible while the link is {0}")]
    OutOfOrder(&'static str),
}

impl LinkLife {
    /// A new order.
    #[must_use]
    pub const fn ordered(kind: LinkKind, now: Timestamp) -> Self {
        Self {
            kind,
            stage: Stage::Ordered { since: now, obstacle: None },
            tenant_deleted_at: None,
            partner_left_at: None,
            partner_gone_at: None,
            removed_at: None,
            locked: false,
            locked_at: None,
            answer_seconds: None,
        }
    }

    /// Seconds that the partner has to answer.
    const fn answer_time(&self) -> i64 {
        match self.answer_seconds {
            Some(seconds) => seconds as i64,
            None => REQUEST_DEADLINE as i64,
        }
    }

    /// When the tenant is reminded of a request that was made at `since`.
    fn request_reminders(&self, since: Timestamp) -> [Timestamp; 3] {
        let microseconds = self.answer_time().saturating_mul(1_000_000);
        REQUEST_REMINDERS.map(|tenths| Timestamp(since.0.saturating_add(microseconds / 10 * tenths)))
    }

    /// The stage's name as the status would call it.
    #[must_use]
    pub const fn stage_name(&self) -> &'static str {
        match self.stage {
            Stage::Ordered { .. } => "configuring",
            Stage::Requested { .. } => "requested",
            Stage::Provisioning { .. } => "provisioning",
            Stage::InService { .. } => "in service",
            Stage::Refused { .. } => "refused",
            Stage::Expired { .. } => "expired",
            Stage::Failed { .. } => "failed",
        }
    }

    /// Whether the partner finished provisioning at some time. A link that was never provisioned needs no second deletion.
    #[must_use]
    pub const fn was_provisioned(&self) -> bool {
        matches!(self.stage, Stage::InService { .. })
    }

    /// When row 1 of the table came to hold, if it does: nobody has anything left to do.
    #[must_use]
    pub fn deleted_at(&self) -> Option<Timestamp> {
        let ours = self.tenant_deleted_at?;
        match self.kind {
            LinkKind::Hosted if self.was_provisioned() => self.partner_gone_at.map(|theirs| theirs.max(ours)),
            LinkKind::Hosted => Some(ours),
            LinkKind::SelfHosted => self.removed_at.map(|removed| removed.max(ours)),
        }
    }

    /// Whether one side has deleted and the other has something left to do: row 2.
    #[must_use]
    pub fn is_deprovisioning(&self) -> bool {
        self.deleted_at().is_none()
            && (self.tenant_deleted_at.is_some() || self.partner_left_at.is_some() || self.partner_gone_at.is_some())
    }

    /// Until when the deleted link can still be read by its id; `None`: it is not deleted. A link that was never `deprovisioning` is gone
    /// at once.
    #[must_use]
    pub fn readable_until(&self) -> Option<Timestamp> {
        let at = self.deleted_at()?;
        let passed_through = self.was_provisioned() || self.partner_left_at.is_some();
        Some(if passed_through { at.plus_seconds(DELETED_READABLE) } else { at })
    }

    /// What the passing of time does: an order that could not be placed fails, a request without an answer expires. True if it did something.
    pub fn elapse(&mut self, now: Timestamp) -> bool {
        if self.tenant_deleted_at.is_some() {
            return false;
        }
        match &self.stage {
            Stage::Ordered { since, obstacle } if now >= since.plus_seconds(PLACEMENT_DEADLINE) => {
                let cause = obstacle.as_deref().map_or_else(String::new, |obstacle| format!(": {obstacle}"));
                let error = format!("the order could not be placed within {PLACEMENT_DEADLINE} s{cause}");
                self.stage = Stage::Failed { at: since.plus_seconds(PLACEMENT_DEADLINE), error };
                true
            }
            Stage::Requested { since }
                if now >= since.plus_seconds(self.answer_time()) && self.partner_left_at.is_none() =>
            {
                self.stage = Stage::Expired { at: since.plus_seconds(self.answer_time()) };
                true
            }
            _ => false,
        }
    }

    /// Notes what keeps the order from being placed; it is told while the order waits, and with its failure.
    pub fn hindered(&mut self, by: String) {
        if let Stage::Ordered { obstacle, .. } = &mut self.stage {
            *obstacle = Some(by);
        }
    }

    /// When [`Self::elapse`] has something to do next.
    #[must_use]
    pub const fn deadline(&self) -> Option<Timestamp> {
        if self.tenant_deleted_at.is_some() {
            return None;
        }
        match self.stage {
            Stage::Ordered { since, .. } => Some(since.plus_seconds(PLACEMENT_DEADLINE)),
            Stage::Requested { since } => Some(since.plus_seconds(self.answer_time())),
            _ => None,
        }
    }

    /// Applies `event`. The passing of time comes first, so that a late answer meets an expired request however late the clock was looked at.
    ///
    /// # Errors
    /// If the event does not follow from where the link is; nothing is changed then, but for what time did.
    pub fn apply(&mut self, event: LinkEvent, now: Timestamp) -> Result<(), LinkRefusal> {
        self.elapse(now);
        if self.deleted_at().is_some() && !matches!(event, LinkEvent::Removed) {
            return Err(LinkRefusal::Deleted);
        }
        self.check_party(&event)?;
        let stage = self.stage_name();
        let out_of_order = Err(LinkRefusal::OutOfOrder(stage));
        match (event, &self.stage) {
            (LinkEvent::Placed, Stage::Ordered { .. }) => {
                self.stage = match self.kind {
                    LinkKind::Hosted => Stage::Requested { since: now },
                    LinkKind::SelfHosted => Stage::InService { since: now },
                };
            }
            (LinkEvent::Repaired, Stage::Failed { .. }) if self.tenant_deleted_at.is_none() => {
                self.stage = match self.kind {
                    LinkKind::Hosted => Stage::Requested { since: now },
                    LinkKind::SelfHosted => Stage::Ordered { since: now, obstacle: None },
                };
            }
            (LinkEvent::Accepted, Stage::Requested { .. }) => self.stage = Stage::Provisioning { since: now },
            (LinkEvent::Refused(reason), Stage::Requested { .. }) => self.stage = Stage::Refused { at: now, reason },
            (LinkEvent::Provisioned, Stage::Provisioning { .. }) if self.partner_left_at.is_none() => {
                self.stage = Stage::InService { since: now };
            }
            (LinkEvent::DeprovisioningStarted, Stage::Provisioning { .. } | Stage::InService { .. })
                if self.partner_left_at.is_none() =>
            {
                self.partner_left_at = Some(now);
            }
            (LinkEvent::Deprovisioned, Stage::Provisioning { .. } | Stage::InService { .. })
                if self.partner_gone_at.is_none() =>
            {
                self.partner_left_at.get_or_insert(now);
                self.partner_gone_at = Some(now);
            }
            (LinkEvent::TenantDeleted, _) if self.tenant_deleted_at.is_none() => {
                self.tenant_deleted_at = Some(now);
                // An order that never reached its node has nothing to be removed there.
                if self.kind == LinkKind::SelfHosted && !matches!(self.stage, Stage::InService { .. }) {
                    self.removed_at = Some(now);
                }
            }
            (LinkEvent::Removed, _) if self.kind == LinkKind::SelfHosted && self.tenant_deleted_at.is_some() => {
                self.removed_at.get_or_insert(now);
            }
            (LinkEvent::Locked, _) if self.locked => {}
            (LinkEvent::Locked, _) => (self.locked, self.locked_at) = (true, Some(now)),
            (LinkEvent::Unlocked, _) => (self.locked, self.locked_at) = (false, None),
            _ => return out_of_order,
        }
        Ok(())
    }

    /// Whether the one behind `event` may act at all.
    fn check_party(&self, event: &LinkEvent) -> Result<(), LinkRefusal> {
        match event {
            LinkEvent::Accepted
            | LinkEvent::Refused(_)
            | LinkEvent::Provisioned
            | LinkEvent::DeprovisioningStarted
            | LinkEvent::Deprovisioned => {
                // A lock does not stop the partner: what it says is what it has done to its equipment.
                if self.kind == LinkKind::SelfHosted {
                    return Err(LinkRefusal::NoPartner);
                }
            }
            LinkEvent::TenantDeleted => {
                if self.locked {
                    return Err(LinkRefusal::Locked);
                }
                if matches!(self.stage, Stage::Ordered { .. }) {
                    return Err(LinkRefusal::BeingPlaced);
                }
            }
            LinkEvent::Placed | LinkEvent::Repaired | LinkEvent::Removed | LinkEvent::Locked | LinkEvent::Unlocked => {}
        }
        Ok(())
    }

    /// Whose turn it is.
    #[must_use]
    pub fn turn(&self) -> Party {
        if self.deleted_at().is_some() {
            return Party::Nobody;
        }
        if self.tenant_deleted_at.is_some() {
            return match self.kind {
                LinkKind::Hosted => Party::Partner,
                LinkKind::SelfHosted => Party::Platform,
            };
        }
        if self.partner_left_at.is_some() {
            return Party::Tenant;
        }
        match self.stage {
            Stage::Ordered { .. } => Party::Platform,
            Stage::Requested { .. } | Stage::Provisioning { .. } => Party::Partner,
            Stage::InService { .. } => Party::Nobody,
            Stage::Refused { .. } | Stage::Expired { .. } => Party::Tenant,
            Stage::Failed { .. } => Party::Operator,
        }
    }

    /// The reminders that fall due after `after` and not later than `now`, in order. Every one is counted from the moment at which the wait
    /// began, so that a restart neither repeats nor forgets one. At most 64 are returned, the newest.
    #[must_use]
    pub fn reminders(&self, after: Timestamp, now: Timestamp) -> Vec<Reminder> {
        if self.deleted_at().is_some() {
            return Vec::new();
        }
        let due = |at: Timestamp| at > after && at <= now;
        if self.is_deprovisioning() {
            let to = self.turn();
            let Some(since) = [self.tenant_deleted_at, self.partner_left_at].into_iter().flatten().min() else {
                return Vec::new();
            };
            return repeated(since, after, now)
                .into_iter()
                .map(|at| Reminder { at, to, of: Wait::Deprovisioning })
                .collect();
        }
        match self.stage {
            Stage::Requested { since } => self
                .request_reminders(since)
                .into_iter()
                .filter(|at| due(*at))
                .map(|at| Reminder { at, to: Party::Tenant, of: Wait::Request })
                .collect(),
            Stage::Provisioning { since } => repeated(since, after, now)
                .into_iter()
                .map(|at| Reminder { at, to: Party::Partner, of: Wait::Provisioning })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Since when the one whose turn it is is waited for; `None`: nobody is.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Timestamp> {
        if self.deleted_at().is_some() {
            return None;
        }
        if self.is_deprovisioning() {
            return [self.tenant_deleted_at, self.partner_left_at].into_iter().flatten().min();
        }
        match self.stage {
            Stage::Ordered { since, .. } | Stage::Requested { since } | Stage::Provisioning { since } => Some(since),
            Stage::InService { .. } | Stage::Refused { .. } | Stage::Expired { .. } | Stage::Failed { .. } => None,
        }
    }

    /// Since when it is as it is, where that is the parties' doing; `None`: it is in service, and its sessions decide.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        if self.locked && !self.is_deprovisioning() {
            return self.locked_at;
        }
        match self.stage {
            Stage::Refused { at, .. } | Stage::Expired { at } | Stage::Failed { at, .. } => Some(at),
            _ => self.waiting_since(),
        }
    }

    /// When the first reminder after `after` falls due.
    #[must_use]
    pub fn next_reminder(&self, after: Timestamp) -> Option<Timestamp> {
        let since = self.waiting_since()?;
        if !self.is_deprovisioning() {
            match self.stage {
                Stage::Requested { .. } => {
                    return self.request_reminders(since).into_iter().find(|at| *at > after);
                }
                Stage::Provisioning { .. } => {}
                _ => return None,
            }
        }
        let past = after.0.saturating_sub(since.0).div_euclid(REPEATED_REMINDER * 1_000_000);
        Some(since.plus_seconds((past + 1).max(1).saturating_mul(REPEATED_REMINDER)))
    }

    /// The clock was set by `microseconds`: what is waited for has lasted as long as before, and goes on for as long as it had left.
    pub const fn clock_set(&mut self, microseconds: i64) {
        const fn shift(at: &mut Timestamp, microseconds: i64) {
            at.0 = at.0.saturating_add(microseconds);
        }
        match &mut self.stage {
            Stage::Ordered { since, .. } | Stage::Requested { since } | Stage::Provisioning { since } => {
                shift(since, microseconds);
            }
            Stage::InService { .. } | Stage::Refused { .. } | Stage::Expired { .. } | Stage::Failed { .. } => {}
        }
        if let Some(at) = &mut self.tenant_deleted_at {
            shift(at, microseconds);
        }
        if let Some(at) = &mut self.partner_left_at {
            shift(at, microseconds);
        }
        if let Some(at) = &mut self.partner_gone_at {
            shift(at, microseconds);
        }
        if let Some(at) = &mut self.removed_at {
            shift(at, microseconds);
        }
    }
}

fn repeated(since: Timestamp, after: Timestamp, now: Timestamp) -> Vec<Timestamp> {
    const MOST: i64 = 64;
    let period = REPEATED_REMINDER * 1_000_000;
    let index = |at: Timestamp| at.0.saturating_sub(since.0).div_euclid(period);
    let last = index(now);
    let first = (index(after) + 1).max(1).max(last - MOST + 1);
    (first..=last).map(|index| since.plus_seconds(index * REPEATED_REMINDER)).collect()
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// No one.
    Nobody,
    /// The tenant.
    Tenant,
    /// The partner.
    Partner,
    /// The platform by itself.
    Platform,
    /// Whoever operates the service.
    Operator,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// The partner's answer.
    Request,
    /// The partner's work.
    Provisioning,
    /// The other side's deletion.
    Deprovisioning,
}

/// A reminder that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reminder {
    /// Since when.
    pub at: Timestamp,
    /// To whom. To a partner it is sent only if the operator switched that on.
    pub to: Party,
    /// Of what.
    pub of: Wait,
}

#[cfg(test)]
mod tests;
