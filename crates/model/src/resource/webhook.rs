//! Webhooks: who is told what happens.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{PartnerId, ProjectId, WebhookId};
use crate::time::Timestamp;

/// Whose objects a webhook tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookOwner {
    /// Everybody's.
    Operator,
    /// Those of one project.
    Tenant(ProjectId),
    /// Those addressed to one partner, if the operator lets it be notified.
    Partner(PartnerId),
}

/// An address that is told what happens, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Id.
    pub id: WebhookId,
    /// Whose objects it tells of.
    pub owner: WebhookOwner,
    /// Where to.
    pub url: String,
    /// The kinds of events that it wants; empty: all.
    pub events: Vec<String>,
    /// Creation.
    pub created_at: Timestamp,
}

/// One notification, delivered or to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookDelivery {
    /// Id: the same in every attempt, so that the receiver knows a repetition.
    pub id: Uuid,
    /// Its webhook.
    pub webhook_id: WebhookId,
    /// What it tells of: `link.accepted`.
    pub event: String,
    /// When that happened.
    pub created_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; `None`: it is over.
    pub next_at: Option<Timestamp>,
    /// When it was taken.
    pub delivered_at: Option<Timestamp>,
    /// What the last attempt met.
    pub last_error: Option<String>,
}
