//! Quotas. A tenant may look at those of its own project.

use std::str::FromStr as _;

use causeway_controller::{Quota, QuotaResource};
use causeway_model::{Error, ProjectId};
use causeway_wire::document::operator::QuotaDocument;

use super::{O, paged};
use crate::answer::{Answer, Failure, json, no_content};
use crate::call::Call;
use crate::routes::table::{Routes, get, many, nothing, one, put};

pub(super) fn routes() -> Routes {
    Routes::new("operator").route(&format!("{O}/quotas"), get(list_quotas, many::<QuotaDocument>("quotas"))).route(
        &format!("{O}/quotas/{{project_id}}/{{resource}}"),
        put(set_quota, one::<QuotaDocument>()).delete(reset_quota, nothing()),
    )
}

/// Of the caller's project, if none is named.
async fn list_quotas(call: Call) -> Answer {
    let query = call.query();
    let project = query.id("project_id").unwrap_or(call.caller.project_id);
    let wanted = query.page();
    query.finish()?;
    let quotas = call.controller.quotas(&call.caller, project).await?;
    json(&paged("quotas", quotas, wanted, |quota| document(project, quota)))
}

async fn set_quota(call: Call) -> Answer {
    let limit = call.body()?.quota()?;
    let (project, resource) = named(&call)?;
    let quota = call.controller.set_quota(&call.caller, project, resource, Some(limit)).await?;
    json(&document(project, quota))
}

/// The default again.
async fn reset_quota(call: Call) -> Answer {
    let (project, resource) = named(&call)?;
    call.controller.set_quota(&call.caller, project, resource, None).await?;
    Ok(no_content())
}

fn named(call: &Call) -> Result<(ProjectId, QuotaResource), Failure> {
    let project = call.id("project_id", "project_id")?;
    let resource = call.param("resource");
    let missing = |_| Error::NotFound { resource: "quota", id: resource.to_owned() };
    Ok((project, QuotaResource::from_str(resource).map_err(missing)?))
}

fn document(project_id: ProjectId, quota: Quota) -> QuotaDocument {
    QuotaDocument {
        is_default: quota.is_default,
        project_id,
        quota: quota.quota,
        resource: quota.resource.as_str(),
        used: quota.used,
    }
}
