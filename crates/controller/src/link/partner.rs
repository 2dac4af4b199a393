//! The partner's side: the links addressed to it, and what it does with them (wire-ext.md §2).

use causeway_model::command::{ListQuery, Page, PartnerLinkFilter};
use causeway_model::link::LinkEvent;
use causeway_model::resource::{Caller, Role};
use causeway_model::view::LinkState;
use causeway_model::{LinkId, PartnerId, Timestamp};
use causeway_store::{LinkRecord, Reader};

use super::{LINK, check_reason, is_readable, life, missing};
use crate::access::{denied, paging};
use crate::audit::{and, changed};
use crate::{Controller, Result};

/// What a partner does with a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartnerAction {
    /// It agrees to provision it.
    Accept,
    /// It does not, and says why.
    Refuse(String),
    /// Its side is set up.
    Provisioned,
    /// It begins to take its side down.
    StartDeprovisioning,
    /// Its side is gone.
    Deprovisioned,
}

impl PartnerAction {
    /// The word in the API and in the audit trail.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Refuse(_) => "refuse",
            Self::Provisioned => "provisioned",
            Self::StartDeprovisioning => "start_deprovisioning",
            Self::Deprovisioned => "deprovisioned",
        }
    }

    fn event(self) -> LinkEvent {
        match self {
            Self::Accept => LinkEvent::Accepted,
            Self::Refuse(reason) => LinkEvent::Refused(reason),
            Self::Provisioned => LinkEvent::Provisioned,
            Self::StartDeprovisioning => LinkEvent::DeprovisioningStarted,
            Self::Deprovisioned => LinkEvent::Deprovisioned,
        }
    }
}

/// The partner that the caller acts for.
fn partner_of(caller: &Caller, action: &str) -> Result<PartnerId> {
    match (caller.role, caller.partner_id) {
        (Role::Partner, Some(partner)) => Ok(partner),
        _ => Err(denied(action, "partner_link")),
    }
}

/// A link addressed to `partner`; to others it does not exist.
async fn find(reader: &mut Reader, partner: PartnerId, id: LinkId, now: Timestamp) -> Result<LinkRecord> {
    let record = reader.link(id).await?.filter(|record| is_readable(record, now));
    record.filter(|record| record.link.partner_id() == Some(partner)).ok_or_else(|| missing(LINK, id))
}

impl Controller {
    /// The links addressed to the caller's partner, those that are deleted excepted.
    ///
    /// # Errors
    /// [`PermissionsDenied`](causeway_model::Error::PermissionsDenied), or if the paging is out of bounds.
    pub async fn partner_links(
        &self,
        caller: &Caller,
        list: &ListQuery,
        filter: &PartnerLinkFilter,
    ) -> Result<Page<LinkState>> {
        let partner = partner_of(caller, "read")?;
        paging(list)?;
        let now = self.now();
        let (records, total) = self.read().await?.partner_links(partner, list, filter).await?;
        Ok(Page { items: records.into_iter().map(|record| life::state(record, now)).collect(), total })
    }

    /// A link addressed to the caller's partner.
    ///
    /// # Errors
    /// [`PermissionsDenied`](causeway_model::Error::PermissionsDenied), [`NotFound`](causeway_model::Error::NotFound).
    pub async fn partner_link(&self, caller: &Caller, id: LinkId) -> Result<LinkState> {
        let partner = partner_of(caller, "read")?;
        let now = self.now();
        Ok(life::state(find(&mut self.read().await?, partner, id, now).await?, now))
    }

    /// What a partner does with a link addressed to it. A lock does not stop it.
    ///
    /// # Errors
    /// [`PermissionsDenied`](causeway_model::Error::PermissionsDenied), [`NotFound`](causeway_model::Error::NotFound), [`InvalidArguments`](causeway_model::Error::InvalidArguments), [`PreconditionFailed`](causeway_model::Error::PreconditionFailed) if it does not follow
    /// from where the link is.
    pub async fn act_as_partner(&self, caller: &Caller, id: LinkId, action: PartnerAction) -> Result<LinkState> {
        let partner = partner_of(caller, "write")?;
        let mut details = Vec::new();
        if let PartnerAction::Refuse(reason) = &action {
            check_reason(reason)?;
            details.push(("reason", reason.clone()));
        }
        let mut unit = self.unit(caller, self.region()).await?;
        let now = unit.now;
        let mut record = find(&mut unit, partner, id, now).await?;
        let before = record.link.clone();
        let word = action.as_str();
        unit.happens(&mut record, action.event())?;
        record.link.meta.updated_at = now;
        life::save(&mut unit, &mut record, now).await?;
        let details = and(changed(&before, &record.link), details);
        unit.finish(word, LINK, id, &details).await?;
        Ok(life::state(record, now))
    }
}
