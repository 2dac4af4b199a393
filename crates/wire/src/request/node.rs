//! Bodies about gateway nodes (wire-ext.md §2).

use causeway_model::Error;
use serde_json::Value;

use super::{Body, Fields, MAX_DESCRIPTION};

/// What to change of a node; `None`: leave it, `Some(None)`: no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateNode {
    /// What people call it.
    pub name: Option<String>,
    /// Bits per second.
    pub max_bandwidth: Option<Option<u64>>,
    /// Connections.
    pub max_connections: Option<Option<u64>>,
}

/// A join token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJoinToken {
    /// The zone of the node that joins by it.
    pub zone: String,
    /// Free text.
    pub description: String,
    /// Seconds until it expires; `None`: the default.
    pub expires_in: Option<u32>,
}

impl Fields<'_> {
    /// A limit that `null` takes away.
    fn limit(&self, name: &str) -> Option<Option<u64>> {
        match self.map.get(name) {
            Some(Value::Null) => Some(None),
            _ => self.large(name, 0).map(Some),
        }
    }
}

impl Body {
    /// Change a node.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn update_node(&self) -> Result<UpdateNode, Error> {
        self.read(|fields| UpdateNode {
            name: fields.name(),
            max_bandwidth: fields.limit("max_bandwidth"),
            max_connections: fields.limit("max_connections"),
        })
    }

    /// Make a join token.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn new_join_token(&self) -> Result<NewJoinToken, Error> {
        self.read(|fields| {
            let zone = fields.bounded_text("zone", MAX_DESCRIPTION);
            NewJoinToken {
                zone: fields.required("zone", zone, "name the zone of the node that shall join").unwrap_or_default(),
                description: fields.bounded_text("description", MAX_DESCRIPTION).unwrap_or_default(),
                expires_in: fields.number("expires_in", 1, u32::MAX),
            }
        })
    }
}
