//! API keys.

use causeway_controller::{ApiKey, KeyRequest};
use causeway_wire::document::List;
use causeway_wire::document::operator::{KeyDocument, NewKeyDocument};
use causeway_wire::query::Order;
use causeway_wire::request::operator::ROLES;

use super::O;
use crate::answer::{Answer, json, no_content};
use crate::call::Call;
use crate::routes::table::{Routes, get, many, nothing, one};

pub(super) fn routes() -> Routes {
    Routes::new("operator")
        .route(
            &format!("{O}/api-keys"),
            get(list_keys, many::<KeyDocument>("api_keys")).post(create_key, one::<NewKeyDocument>()),
        )
        .route(&format!("{O}/api-keys/{{access_key}}"), get(key, one::<KeyDocument>()).delete(revoke_key, nothing()))
}

async fn list_keys(call: Call) -> Answer {
    let query = call.query();
    let page = query.list(Order::CREATED);
    let role = query.choice("role", &ROLES);
    let revoked = query.boolean("include_revoked").unwrap_or(false);
    query.finish()?;
    let keys = call.controller.list_api_keys(&call.caller, &page, role, revoked).await?;
    let items = keys.items.into_iter().map(document).collect();
    json(&List::alphabetical("api_keys", items, keys.total))
}

async fn create_key(call: Call) -> Answer {
    let new = call.body()?.new_key()?;
    let request = KeyRequest {
        partner_id: new.partner_id,
        role: new.role,
        project_id: new.project_id.unwrap_or(call.caller.project_id),
        description: new.description,
        expires_at: new.expires_at,
    };
    let made = call.controller.issue_api_key(&call.caller, request).await?;
    json(&NewKeyDocument::new(document(made.key), made.secret_key))
}

async fn key(call: Call) -> Answer {
    let key = call.controller.api_key(&call.caller, call.param("access_key")).await?;
    json(&document(key))
}

/// The key stays on record; `include_revoked` lists it.
async fn revoke_key(call: Call) -> Answer {
    call.controller.revoke_api_key(&call.caller, call.param("access_key")).await?;
    Ok(no_content())
}

fn document(key: ApiKey) -> KeyDocument {
    let role = ROLES.into_iter().find(|(role, _)| *role == key.role).map_or("", |(_, word)| word);
    KeyDocument {
        access_key: key.access_key,
        created_at: key.created_at.into(),
        description: key.description,
        expires_at: key.expires_at.map(Into::into),
        organization_id: key.organization_id,
        partner_id: key.partner_id,
        project_id: key.project_id,
        revoked_at: key.revoked_at.map(Into::into),
        role,
    }
}
