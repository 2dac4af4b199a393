//! Secret Manager v1beta1 (wire-api.md §7).

use causeway_controller::AccessedSecret;
use causeway_model::command::{Page, RevisionRef};
use causeway_model::{Error, SecretId};
use causeway_wire::document::List;
use causeway_wire::document::secret::{AccessDocument, SecretDocument, SecretVersionDocument};
use causeway_wire::query::Order;
use causeway_wire::request::secret::{SECRET_TYPES, revision};

use super::table::{Routes, get, many, not_offered_yet, nothing, one, post};
use super::window;
use crate::answer::{Answer, Failure, json, no_content, not_offered, secret_json};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    const P: &str = "/secret-manager/v1beta1/regions/{region}";
    const S: &str = "/secret-manager/v1beta1/regions/{region}/secrets/{secret_id}";
    const V: &str = "/secret-manager/v1beta1/regions/{region}/secrets/{secret_id}/versions/{revision}";
    Routes::new("secret")
        .route(
            &format!("{P}/secrets"),
            get(list_secrets, many::<SecretDocument>("secrets")).post(create, one::<SecretDocument>()),
        )
        .route(&format!("{P}/secrets/browse"), get(not_offered, not_offered_yet()))
        .route(S, get(secret, one::<SecretDocument>()).patch(update, one::<SecretDocument>()).delete(delete, nothing()))
        .route(&format!("{S}/protect"), post(protect, one::<SecretDocument>()))
        .route(&format!("{S}/unprotect"), post(unprotect, one::<SecretDocument>()))
        .route(&format!("{S}/restore"), post(not_offered, not_offered_yet()))
        .route(&format!("{S}/add-owner"), post(add_owner, nothing()))
        .route(
            &format!("{S}/versions"),
            get(list_versions, many::<SecretVersionDocument>("versions"))
                .post(create_version, one::<SecretVersionDocument>()),
        )
        .route(
            V,
            get(version, one::<SecretVersionDocument>())
                .patch(update_version, one::<SecretVersionDocument>())
                .delete(delete_version, nothing()),
        )
        .route(&format!("{V}/access"), get(access, one::<AccessDocument>()))
        .route(&format!("{V}/enable"), post(enable_version, one::<SecretVersionDocument>()))
        .route(&format!("{V}/disable"), post(disable_version, one::<SecretVersionDocument>()))
        .route(&format!("{V}/restore"), post(not_offered, not_offered_yet()))
        .route(
            &format!("{P}/secrets-by-path/versions/{{revision}}/access"),
            get(access_by_path, one::<AccessDocument>()),
        )
        .route(&format!("{P}/tags"), get(list_tags, many::<String>("tags")))
        .route(&format!("{P}/secret-types"), get(list_types, many::<String>("types")))
}

fn secret_id(call: &Call) -> Result<SecretId, Failure> {
    call.id("secret_id", "secret")
}

fn version_ref(call: &Call) -> Result<(SecretId, RevisionRef), Failure> {
    let text = call.param("revision");
    let not_found = || Failure(Error::NotFound { resource: "secret_version", id: text.to_owned() });
    Ok((secret_id(call)?, revision(text).ok_or_else(not_found)?))
}

fn list<T, D: From<T>>(key: &'static str, page: Page<T>) -> List<D> {
    List::items_first(key, page.items.into_iter().map(D::from).collect(), page.total)
}

async fn list_secrets(call: Call) -> Answer {
    let query = call.query();
    let (page, (filter, nothing)) = (query.list(Order::SECRETS), query.secrets());
    query.finish()?;
    if nothing {
        return json(&List::<SecretDocument>::items_first("secrets", Vec::new(), 0));
    }
    let secrets = call.controller.list_secrets(&call.caller, &call.region, &page, &filter).await?;
    json(&list::<_, SecretDocument>("secrets", secrets))
}

async fn create(call: Call) -> Answer {
    let new = call.body()?.new_secret()?;
    let secret = call.controller.create_secret(&call.caller, &call.region, new).await?;
    json(&SecretDocument::from(secret))
}

async fn secret(call: Call) -> Answer {
    let secret = call.controller.secret(&call.caller, &call.region, secret_id(&call)?).await?;
    json(&SecretDocument::from(secret))
}

async fn update(call: Call) -> Answer {
    let (id, update) = (secret_id(&call)?, call.body()?.update_secret()?);
    let (rename, description, path) = (update.rename, update.description, update.path);
    let secret = call.controller.update_secret(&call.caller, &call.region, id, rename, description, path).await?;
    json(&SecretDocument::from(secret))
}

async fn delete(call: Call) -> Answer {
    call.controller.delete_secret(&call.caller, &call.region, secret_id(&call)?).await?;
    Ok(no_content())
}

async fn protect(call: Call) -> Answer {
    let secret = call.controller.set_secret_protected(&call.caller, &call.region, secret_id(&call)?, true).await?;
    json(&SecretDocument::from(secret))
}

async fn unprotect(call: Call) -> Answer {
    let secret = call.controller.set_secret_protected(&call.caller, &call.region, secret_id(&call)?, false).await?;
    json(&SecretDocument::from(secret))
}

async fn add_owner(call: Call) -> Answer {
    let (id, product) = (secret_id(&call)?, call.body()?.secret_owner()?);
    call.controller.add_secret_owner(&call.caller, &call.region, id, product).await?;
    Ok(no_content())
}

async fn list_tags(call: Call) -> Answer {
    let query = call.query();
    let page = query.list(&[]);
    query.finish()?;
    let tags = call.controller.list_secret_tags(&call.caller, &call.region, &page).await?;
    json(&list::<_, String>("tags", tags))
}

/// The types are the same for every project.
async fn list_types(call: Call) -> Answer {
    let query = call.query();
    let page = query.list(&[]);
    query.finish()?;
    json(&list::<_, String>("types", window(SECRET_TYPES.to_vec(), &page)))
}

async fn list_versions(call: Call) -> Answer {
    let query = call.query();
    let (page, (statuses, nothing)) = (query.list(&[]), query.secret_version_statuses());
    query.finish()?;
    let id = secret_id(&call)?;
    let mut versions = call.controller.list_secret_versions(&call.caller, &call.region, id, &page, &statuses).await?;
    if nothing {
        versions = Page { items: Vec::new(), total: 0 };
    }
    json(&list::<_, SecretVersionDocument>("versions", versions))
}

async fn create_version(call: Call) -> Answer {
    let (id, new) = (secret_id(&call)?, call.body()?.new_secret_version()?);
    let version = call.controller.create_secret_version(&call.caller, &call.region, id, new).await?;
    json(&SecretVersionDocument::from(version))
}

async fn version(call: Call) -> Answer {
    let (id, revision) = version_ref(&call)?;
    let version = call.controller.secret_version(&call.caller, &call.region, id, revision).await?;
    json(&SecretVersionDocument::from(version))
}

async fn update_version(call: Call) -> Answer {
    let ((id, revision), description) = (version_ref(&call)?, call.body()?.update_secret_version()?);
    let version = call.controller.update_secret_version(&call.caller, &call.region, id, revision, description).await?;
    json(&SecretVersionDocument::from(version))
}

async fn delete_version(call: Call) -> Answer {
    let (id, revision) = version_ref(&call)?;
    call.controller.delete_secret_version(&call.caller, &call.region, id, revision).await?;
    Ok(no_content())
}

async fn access(call: Call) -> Answer {
    let (id, revision) = version_ref(&call)?;
    let accessed = call.controller.access_secret_version(&call.caller, &call.region, id, revision).await?;
    accessed_json(accessed)
}

fn accessed_json(accessed: AccessedSecret) -> Answer {
    // Base64, and around it ids and words.
    let expected = accessed.data.len() / 3 * 4 + 1024;
    secret_json(&AccessDocument::new(&accessed.version, accessed.kind, &accessed.data), expected)
}

/// The folder is `/` unless the query says another one.
async fn access_by_path(call: Call) -> Answer {
    let text = call.param("revision");
    let not_found = || Failure(Error::NotFound { resource: "secret_version", id: text.to_owned() });
    let revision = revision(text).ok_or_else(not_found)?;
    let query = call.query();
    let (path, name) = (query.text("secret_path"), query.required_text("secret_name", "give the secret's name"));
    let project = query.id("project_id");
    query.finish()?;
    let at = (project, path.as_deref().unwrap_or("/"), name.as_str());
    let accessed = call.controller.access_secret_by_path(&call.caller, &call.region, at, revision).await?;
    accessed_json(accessed)
}

async fn enable_version(call: Call) -> Answer {
    set_enabled(call, true).await
}

async fn disable_version(call: Call) -> Answer {
    set_enabled(call, false).await
}

async fn set_enabled(call: Call, enabled: bool) -> Answer {
    let (id, revision) = version_ref(&call)?;
    let version = call.controller.set_secret_version_enabled(&call.caller, &call.region, id, revision, enabled).await?;
    json(&SecretVersionDocument::from(version))
}
