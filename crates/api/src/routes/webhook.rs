//! Webhooks: signed notifications of the caller's own objects (wire-ext.md §1), and the operator's rules for them.

use causeway_controller::{CatalogueDifference, WebhookRules};
use causeway_model::WebhookId;
use causeway_model::command::Page;
use causeway_wire::document::webhook::{
    CatalogueDifferenceDocument, NewWebhookDocument, WebhookDeliveryDocument, WebhookDocument, WebhookRulesDocument,
};
use causeway_wire::query::Order;
use serde_json::{Map, Value};

use super::table::{Routes, get, many, nothing, one, post};
use super::{list, window};
use crate::answer::{Answer, Failure, json, no_content};
use crate::call::Call;

pub(crate) fn routes() -> Routes {
    const W: &str = "/causeway/v1/regions/{region}/webhooks";
    const O: &str = "/causeway/v1/operator";
    Routes::new("webhooks")
        .route(
            W,
            get(list_webhooks, many::<WebhookDocument>("webhooks")).post(create_webhook, one::<NewWebhookDocument>()),
        )
        .route(
            &format!("{W}/{{id}}"),
            get(webhook, one::<WebhookDocument>())
                .patch(update_webhook, one::<WebhookDocument>())
                .delete(delete_webhook, nothing()),
        )
        .route(
            &format!("{W}/{{id}}/deliveries"),
            get(list_webhook_deliveries, many::<WebhookDeliveryDocument>("deliveries")),
        )
        .route(
            &format!("{O}/webhook-rules"),
            get(webhook_rules, one::<WebhookRulesDocument>()).put(set_webhook_rules, one::<WebhookRulesDocument>()),
        )
        .route(&format!("{O}/catalogue"), post(apply_catalogue, many::<CatalogueDifferenceDocument>("differences")))
}

fn id(call: &Call) -> Result<WebhookId, Failure> {
    call.id("id", "webhook")
}

async fn list_webhooks(call: Call) -> Answer {
    let query = call.query();
    let page = query.catalogue(Order::CREATED);
    query.finish()?;
    let all = call.controller.list_webhooks(&call.caller).await?;
    json(&list::<_, WebhookDocument>("webhooks", window(all, &page)))
}

async fn create_webhook(call: Call) -> Answer {
    let new = call.body()?.new_webhook()?;
    let made = call.controller.create_webhook(&call.caller, new).await?;
    json(&NewWebhookDocument::new(made.webhook, made.secret))
}

async fn webhook(call: Call) -> Answer {
    json(&WebhookDocument::from(call.controller.webhook(&call.caller, id(&call)?).await?))
}

async fn update_webhook(call: Call) -> Answer {
    let change = call.body()?.update_webhook()?;
    json(&WebhookDocument::from(call.controller.update_webhook(&call.caller, id(&call)?, change).await?))
}

async fn delete_webhook(call: Call) -> Answer {
    call.controller.delete_webhook(&call.caller, id(&call)?).await?;
    Ok(no_content())
}

async fn list_webhook_deliveries(call: Call) -> Answer {
    let query = call.query();
    let page = query.catalogue(Order::CREATED);
    query.finish()?;
    let deliveries = call.controller.webhook_deliveries(&call.caller, id(&call)?, &page).await?;
    json(&list::<_, WebhookDeliveryDocument>("deliveries", deliveries))
}

fn rules(rules: WebhookRules) -> WebhookRulesDocument {
    WebhookRulesDocument {
        allow_http: rules.allow_http,
        allowed_networks: rules.allowed_networks,
        denied_networks: rules.denied_networks,
    }
}

async fn webhook_rules(call: Call) -> Answer {
    json(&rules(call.controller.webhook_rules(&call.caller).await?))
}

async fn set_webhook_rules(call: Call) -> Answer {
    let (allow_http, allowed_networks, denied_networks) = call.body()?.webhook_rules()?;
    let wanted = WebhookRules { allow_http, allowed_networks, denied_networks, ..WebhookRules::default() };
    json(&rules(call.controller.set_webhook_rules(&call.caller, wanted).await?))
}

/// Makes InterLink's catalogue what the body says; with `dry_run=true` it only says what would change.
async fn apply_catalogue(call: Call) -> Answer {
    let query = call.query();
    let dry_run = query.boolean("dry_run").unwrap_or(false);
    query.finish()?;
    let file = call.body()?.catalogue_file()?;
    let items = call.controller.apply_catalogue(&call.caller, &file, dry_run).await?;
    let total = items.len() as u64;
    let items = items.into_iter().map(difference).collect();
    json(&list::<_, CatalogueDifferenceDocument>("differences", Page { items, total }))
}

fn difference(difference: CatalogueDifference) -> CatalogueDifferenceDocument {
    let texts =
        |fields: Map<String, Value>| fields.into_iter().map(|(name, value)| (name, value.to_string())).collect();
    CatalogueDifferenceDocument {
        after: texts(difference.after),
        before: texts(difference.before),
        change: difference.change.to_owned(),
        id: difference.id,
        kind: difference.kind.to_owned(),
        name: difference.name,
    }
}
