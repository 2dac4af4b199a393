//! Account v3, IAM v1alpha1, `/metadata` and health: what clients ask for around the VPN (wire-api.md §1.9, §8).

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use causeway_controller::Project;
use causeway_model::ProjectId;
use causeway_wire::document::List;
use causeway_wire::document::account::{ApiKeyDocument, MetadataDocument, ProjectDocument};
use causeway_wire::document::extension::HealthDocument;
use causeway_wire::error::ErrorResponse;
use causeway_wire::query::Order;

use super::table::{Routes, get, many, nothing, one};
use crate::App;
use crate::answer::{Answer, json, no_content};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    Routes::new("account")
        .route(
            "/account/v3/projects",
            get(list_projects, many::<ProjectDocument>("projects")).post(create_project, one::<ProjectDocument>()),
        )
        .route(
            "/account/v3/projects/{project_id}",
            get(project, one::<ProjectDocument>())
                .patch(update_project, one::<ProjectDocument>())
                .delete(delete_project, nothing()),
        )
        .route("/iam/v1alpha1/api-keys/{access_key}", get(api_key, one::<ApiKeyDocument>()))
        .route("/metadata", get(metadata, one::<MetadataDocument>()))
        .route("/healthz", get(healthy, one::<HealthDocument>()))
        .route("/readyz", get(ready, one::<HealthDocument>()))
}

pub(super) async fn project(call: Call) -> Answer {
    let id: ProjectId = call.id("project_id", "project_id")?;
    let project = call.controller.project(&call.caller, id).await?;
    json(&project_document(project))
}

pub(super) async fn list_projects(call: Call) -> Answer {
    let query = call.query();
    let page = query.list(Order::CREATED_NAME);
    let ids: Vec<ProjectId> = query.ids("project_ids");
    query.finish()?;
    let projects = call.controller.list_projects(&call.caller, &page, &ids).await?;
    let items = projects.items.into_iter().map(project_document).collect();
    json(&List::items_first("projects", items, projects.total))
}

pub(super) async fn create_project(call: Call) -> Answer {
    let new = call.body()?.new_project()?;
    let project =
        call.controller.create_project_in(&call.caller, new.organization_id, new.name, new.description).await?;
    json(&project_document(project))
}

pub(super) async fn update_project(call: Call) -> Answer {
    let update = call.body()?.update_project()?;
    let id: ProjectId = call.id("project_id", "project_id")?;
    let project = call.controller.update_project(&call.caller, id, update.name, update.description).await?;
    json(&project_document(project))
}

pub(super) async fn delete_project(call: Call) -> Answer {
    let id: ProjectId = call.id("project_id", "project_id")?;
    call.controller.delete_project(&call.caller, id).await?;
    Ok(no_content())
}

async fn api_key(call: Call) -> Answer {
    let key = call.controller.api_key(&call.caller, call.param("access_key")).await?;
    json(&ApiKeyDocument {
        access_key: key.access_key,
        secret_key: None,
        description: key.description,
        created_at: key.created_at.into(),
        updated_at: key.created_at.into(),
        expires_at: key.expires_at.map(Into::into),
        default_project_id: key.project_id,
        editable: false,
        deletable: false,
        managed: false,
        creation_ip: "",
        application_id: key.project_id,
    })
}

fn project_document(project: Project) -> ProjectDocument {
    ProjectDocument {
        id: project.id,
        name: project.name,
        organization_id: project.organization_id,
        created_at: project.created_at.into(),
        updated_at: project.updated_at.into(),
        description: project.description,
        qualification: None,
    }
}

/// The same for everyone, so that no token is asked for.
pub(crate) async fn metadata() -> Answer {
    json(&MetadataDocument::default())
}

/// The process answers.
pub(crate) async fn healthy() -> Answer {
    json(&HealthDocument::OK)
}

/// The store answers. Whoever asks has no token, so the error is in the log only.
pub(crate) async fn ready(State(app): State<App>) -> Response {
    match app.controller.ready().await {
        Ok(()) => json(&HealthDocument::OK).into_response(),
        Err(error) => {
            tracing::warn!(%error, "the store does not answer");
            crate::answer::error(ErrorResponse::unavailable("the store cannot be read or written"))
        }
    }
}
