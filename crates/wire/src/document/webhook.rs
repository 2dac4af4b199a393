//! Webhooks and what they were told (wire-ext.md §1); what a catalogue's file changes (wire-ext.md §2). Keys are alphabetical.

use std::collections::BTreeMap;

use causeway_model::WebhookId;
use causeway_model::resource::{Webhook, WebhookDelivery};
use ipnet::IpNet;
use serde::Serialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Time;
use crate::schema::documents;

documents! {
/// A webhook, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebhookDocument {
    created_at: Time,
    /// The kinds of events that it wants; empty: all.
    events: Vec<String>,
    id: WebhookId,
    url: String,
}
}

impl From<Webhook> for WebhookDocument {
    fn from(webhook: Webhook) -> Self {
        Self { created_at: webhook.created_at.into(), events: webhook.events, id: webhook.id, url: webhook.url }
    }
}

documents! {
/// A webhook that was just made. What it is sent is `{"id", "sequence", "type", "created_at", "data"}`: `sequence` counts what the webhook is
/// told, since what failed and is tried again may come after what happened later.
#[derive(Serialize)]
pub struct NewWebhookDocument {
    created_at: Time,
    events: Vec<String>,
    id: WebhookId,
    /// The key of the HMAC-SHA256 in `causeway-signature: t=SECONDS,v1=HEX`, over SECONDS, a full stop and the body. Shown this once.
    #[serde(serialize_with = "super::operator::text")]
    secret: Zeroizing<String>,
    url: String,
}
}

impl NewWebhookDocument {
    /// The answer to the creation.
    #[must_use]
    pub fn new(webhook: Webhook, secret: Zeroizing<String>) -> Self {
        Self { created_at: webhook.created_at.into(), events: webhook.events, id: webhook.id, secret, url: webhook.url }
    }
}

documents! {
/// One notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebhookDeliveryDocument {
    attempts: u32,
    created_at: Time,
    /// When it was taken; null: not yet, or given up.
    delivered_at: Option<Time>,
    event: String,
    /// The same in every attempt (header `causeway-delivery`).
    id: Uuid,
    /// What the last attempt met.
    last_error: Option<String>,
    /// When it is tried next; null: it is over.
    next_attempt_at: Option<Time>,
}
}

impl From<WebhookDelivery> for WebhookDeliveryDocument {
    fn from(delivery: WebhookDelivery) -> Self {
        Self {
            attempts: delivery.attempts,
            created_at: delivery.created_at.into(),
            delivered_at: delivery.delivered_at.map(Into::into),
            event: delivery.event,
            id: delivery.id,
            last_error: delivery.last_error,
            next_attempt_at: delivery.next_at.map(Into::into),
        }
    }
}

documents! {
/// Where webhooks may lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebhookRulesDocument {
    /// Whether plain http is allowed.
    pub allow_http: bool,
    /// Networks that are allowed although their addresses are not public.
    pub allowed_networks: Vec<IpNet>,
    /// Networks that are not allowed although their addresses are public. The service's own addresses and pools are not, either.
    pub denied_networks: Vec<IpNet>,
}
}

documents! {
/// What becomes of an object of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CatalogueDifferenceDocument {
    /// The fields that differ, as they will be, each as JSON text.
    pub after: BTreeMap<String, String>,
    /// The fields that differ, as they are, each as JSON text.
    pub before: BTreeMap<String, String>,
    /// `create`, `update` or `delete`.
    pub change: String,
    /// Its id; of a size, its megabits per second.
    pub id: String,
    /// `link_bandwidth`, `pop`, `partner`, `dedicated_connection` or `port`.
    pub kind: String,
    /// Its name; of a size, its megabits per second.
    pub name: String,
}
}
