//! What the public API has no word for: what a link's BGP sessions ask of the peer (wire-ext.md §1).

use causeway_model::LinkId;
use causeway_model::command::OptionsChange;
use causeway_model::error::ArgumentErrors;
use causeway_model::resource::Caller;
use causeway_store::LinkOptions;

use super::{LINK, find, life};
use crate::access::Intent::Read;
use crate::audit::changed;
use crate::options::check_bgp;
use crate::{Controller, Result};

impl Controller {
    /// A link's options.
    ///
    /// # Errors
    /// [`causeway_model::Error::NotFound`].
    pub async fn link_options(&self, caller: &Caller, region: &str, id: LinkId) -> Result<LinkOptions> {
        self.in_region(region)?;
        Ok(find(&mut self.read().await?, caller, Read, id, self.now()).await?.options)
    }

    /// Changes a link's options. What does not concern BGP is no option of a link and stays unread.
    ///
    /// # Errors
    /// [`causeway_model::Error::NotFound`], [`causeway_model::Error::InvalidArguments`], [`causeway_model::Error::Locked`],
    /// [`causeway_model::Error::TransientState`].
    pub async fn update_link_options(
        &self,
        caller: &Caller,
        region: &str,
        id: LinkId,
        change: OptionsChange,
    ) -> Result<LinkOptions> {
        self.settle_link(id).await?;
        let mut unit = self.unit(caller, region).await?;
        let mut record = unit.changeable_link(id, false).await?;
        let old = record.options;
        let mut new = LinkOptions {
            hold_time: change.hold_time.unwrap_or(old.hold_time),
            max_prefixes: change.max_prefixes.unwrap_or(old.max_prefixes),
            gtsm: change.gtsm.unwrap_or(old.gtsm),
            md5: old.md5,
        };
        let mut errors = ArgumentErrors::new();
        check_bgp(&mut errors, new.hold_time, new.max_prefixes, change.bfd);
        errors.finish()?;
        if let Some(secret) = change.md5_secret_id {
            new.md5 = match secret {
                Some(secret) => Some(unit.md5_version(record.link.meta.project_id, secret).await?),
                None => None,
            };
        }
        if new == old {
            return Ok(old);
        }
        let now = unit.now;
        record.options = new;
        record.link.meta.updated_at = now;
        life::save(&mut unit, &mut record, now).await?;
        unit.finish("update_options", LINK, id, &changed(&old, &new)).await?;
        Ok(new)
    }
}
