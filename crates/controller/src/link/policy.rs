//! Routing policies of InterLinks: a collection of their own (wire-api.md §4.9).

use causeway_model::RoutingPolicyId;
use causeway_model::command::{LinkPolicyFilter, ListQuery, NewRoutingPolicy, Page, Rename};
use causeway_model::resource::{Caller, RoutingPolicy};
use causeway_store::{Kind, Reader};
use ipnet::IpNet;

use super::{in_use, node};
use crate::access::Intent::{self, Read, Write};
use crate::access::{checked, paging, scope};
use crate::audit::policy_change;
use crate::customer::{edit_policy, new_policy};
use crate::quota::QuotaResource;
use crate::{Controller, Result};

/// The public API's name; the audit trail tells them from the VPN's.
pub(super) const POLICY: &str = "routing_policy";
const AUDITED: &str = "link_routing_policy";

async fn find(reader: &mut Reader, caller: &Caller, intent: Intent, id: RoutingPolicyId) -> Result<RoutingPolicy> {
    checked(caller, intent, reader.link_routing_policy(id).await?, |policy| policy.meta.project_id, POLICY, id)
}

impl Controller {
    /// Creates a routing policy for links.
    ///
    /// # Errors
    /// [`InvalidArguments`](causeway_model::Error::InvalidArguments), [`PermissionsDenied`](causeway_model::Error::PermissionsDenied), [`NotFound`](causeway_model::Error::NotFound), [`QuotasExceeded`](causeway_model::Error::QuotasExceeded).
    pub async fn create_link_routing_policy(
        &self,
        caller: &Caller,
        region: &str,
        new: NewRoutingPolicy,
    ) -> Result<RoutingPolicy> {
        let mut unit = self.unit(caller, region).await?;
        let project = unit.project(new.meta.project_id, POLICY).await?;
        unit.within_quota(project.id, QuotaResource::LinkRoutingPolicies).await?;
        let policy = new_policy(&mut unit, &project, new).await?;
        unit.insert_link_routing_policy(&policy).await?;
        unit.finish("create", AUDITED, policy.id, &policy_change(None, Some(&policy))).await?;
        Ok(policy)
    }

    /// A routing policy for links.
    ///
    /// # Errors
    /// [`NotFound`](causeway_model::Error::NotFound).
    pub async fn link_routing_policy(
        &self,
        caller: &Caller,
        region: &str,
        id: RoutingPolicyId,
    ) -> Result<RoutingPolicy> {
        self.in_region(region)?;
        find(&mut self.read().await?, caller, Read, id).await
    }

    /// A page of routing policies for links.
    ///
    /// # Errors
    /// If the paging is out of bounds.
    pub async fn list_link_routing_policies(
        &self,
        caller: &Caller,
        region: &str,
        list: &ListQuery,
        filter: LinkPolicyFilter,
    ) -> Result<Page<RoutingPolicy>> {
        self.in_region(region)?;
        paging(list)?;
        let (items, total) = self.read().await?.link_routing_policies(region, scope(caller), list, filter).await?;
        Ok(Page { items, total })
    }

    /// Changes a routing policy for links.
    ///
    /// # Errors
    /// [`InvalidArguments`](causeway_model::Error::InvalidArguments), [`NotFound`](causeway_model::Error::NotFound).
    pub async fn update_link_routing_policy(
        &self,
        caller: &Caller,
        region: &str,
        id: RoutingPolicyId,
        rename: Rename,
        prefix_filter_in: Option<Vec<IpNet>>,
        prefix_filter_out: Option<Vec<IpNet>>,
    ) -> Result<RoutingPolicy> {
        let mut unit = self.unit(caller, region).await?;
        let before = find(&mut unit, caller, Write, id).await?;
        let mut policy = before.clone();
        let edited = edit_policy(&mut unit, &mut policy, prefix_filter_in, prefix_filter_out).await?;
        unit.rename(Kind::LinkRoutingPolicy, id.0, &mut policy.meta, rename).await?;
        if edited {
            unit.set_link_routing_policy(&policy).await?;
            let (links, now) = (unit.links_with_policy(id).await?, unit.now);
            node::shared_changed(&mut unit, links, now).await?;
        }
        unit.finish("update", AUDITED, id, &policy_change(Some(&before), Some(&policy))).await?;
        Ok(policy)
    }

    /// Deletes a routing policy that no link has.
    ///
    /// # Errors
    /// [`NotFound`](causeway_model::Error::NotFound), [`PreconditionFailed`](causeway_model::Error::PreconditionFailed).
    pub async fn delete_link_routing_policy(&self, caller: &Caller, region: &str, id: RoutingPolicyId) -> Result<()> {
        let mut unit = self.unit(caller, region).await?;
        let policy = find(&mut unit, caller, Write, id).await?;
        if let Some(link) = unit.links_with_policy(id).await?.first() {
            return Err(in_use(format!("detach it from its links first: {link}")));
        }
        unit.delete(Kind::LinkRoutingPolicy, id.0).await?;
        unit.finish("delete", AUDITED, id, &policy_change(Some(&policy), None)).await
    }
}
