//! Organizations, and projects as account v3 has them.

use causeway_controller::Organization;
use causeway_model::OrganizationId;
use causeway_wire::document::List;
use causeway_wire::document::account::ProjectDocument;
use causeway_wire::document::operator::OrganizationDocument;
use causeway_wire::query::Order;

use super::O;
use crate::answer::{Answer, Failure, json, no_content};
use crate::call::Call;
use crate::routes::account::{create_project, delete_project, list_projects, project, update_project};
use crate::routes::table::{Routes, get, many, nothing, one};

pub(super) fn routes() -> Routes {
    Routes::new("operator")
        .route(
            &format!("{O}/organizations"),
            get(list_organizations, many::<OrganizationDocument>("organizations"))
                .post(create_organization, one::<OrganizationDocument>()),
        )
        .route(
            &format!("{O}/organizations/{{organization_id}}"),
            get(organization, one::<OrganizationDocument>())
                .patch(rename_organization, one::<OrganizationDocument>())
                .delete(delete_organization, nothing()),
        )
        .route(
            &format!("{O}/projects"),
            get(list_projects, many::<ProjectDocument>("projects")).post(create_project, one::<ProjectDocument>()),
        )
        .route(
            &format!("{O}/projects/{{project_id}}"),
            get(project, one::<ProjectDocument>())
                .patch(update_project, one::<ProjectDocument>())
                .delete(delete_project, nothing()),
        )
}

fn id(call: &Call) -> Result<OrganizationId, Failure> {
    call.id("organization_id", "organization")
}

async fn list_organizations(call: Call) -> Answer {
    let query = call.query();
    let page = query.list(Order::CREATED);
    query.finish()?;
    let organizations = call.controller.list_organizations(&call.caller, &page).await?;
    let items = organizations.items.into_iter().map(document).collect();
    json(&List::alphabetical("organizations", items, organizations.total))
}

async fn create_organization(call: Call) -> Answer {
    let name = call.body()?.only_name()?;
    json(&document(call.controller.create_organization(&call.caller, name).await?))
}

async fn organization(call: Call) -> Answer {
    json(&document(call.controller.organization(&call.caller, id(&call)?).await?))
}

async fn rename_organization(call: Call) -> Answer {
    let name = call.body()?.only_name()?;
    json(&document(call.controller.rename_organization(&call.caller, id(&call)?, name).await?))
}

async fn delete_organization(call: Call) -> Answer {
    call.controller.delete_organization(&call.caller, id(&call)?).await?;
    Ok(no_content())
}

fn document(organization: Organization) -> OrganizationDocument {
    OrganizationDocument { created_at: organization.created_at.into(), id: organization.id, name: organization.name }
}
