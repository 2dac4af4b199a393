//! What operators do with nodes: look, give join tokens, cordon, revoke, ask again.

use std::collections::BTreeSet;

use causeway_fleet::token::JoinToken;
use causeway_model::diagnosis::PeerTunnel;
use causeway_model::resource::Caller;
use causeway_model::{Error, NodeId, Timestamp, VpnGatewayId};
use causeway_store::{JoinTokenRecord, NodeRecord, ObjectEvent, Reader};
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::access::operator;
use crate::audit::{changed, gone, made};
use crate::identity::check_text;
use crate::lease::LeaseInfo;
use crate::peering::ring_changed;
use crate::{Controller, Result, link};

pub(crate) const NODE: &str = "node";
const TOKEN: &str = "node_join_token";

/// A join token's life, seconds: by default, at least and at most.
const TOKEN_LIFE: u32 = 3600;
const TOKEN_LIFE_LEAST: u32 = 60;
const TOKEN_LIFE_MOST: u32 = 30 * 24 * 3600;

/// Events of a node that are shown with it.
const HISTORY: u32 = 100;

/// A node with what it carries.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// The node.
    pub node: NodeRecord,
    /// The gateways placed on it.
    pub gateways: Vec<VpnGatewayId>,
    /// Its states and the attempts to replace it, the newest first.
    pub history: Vec<ObjectEvent>,
    /// Its forwarding lease; `None`: it needs none.
    pub lease: Option<LeaseInfo>,
    /// Its tunnels to other nodes, as it has said last.
    pub tunnels: Vec<PeerTunnel>,
}

/// A join token that was just made. Its text is shown this once.
pub struct NewJoinToken {
    /// The token.
    pub token: JoinTokenRecord,
    /// Its text.
    pub text: Zeroizing<String>,
}

/// What an operator changes about a node; `None`: as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeChange {
    /// What people call it.
    pub name: Option<String>,
    /// Bits per second that it may carry; `Some(None)`: no limit.
    pub max_bandwidth: Option<Option<u64>>,
    /// Connections that it may carry; `Some(None)`: no limit.
    pub max_connections: Option<Option<u64>>,
    /// Whether nothing new is placed on it.
    pub cordoned: Option<bool>,
}

pub(crate) async fn known(reader: &mut Reader, id: NodeId) -> Result<NodeRecord> {
    let missing = || Error::NotFound { resource: NODE, id: id.to_string() };
    reader.node(id).await?.ok_or_else(missing)
}

async fn info(controller: &Controller, reader: &mut Reader, node: NodeRecord, history: u32) -> Result<NodeInfo> {
    let lease = controller.lease_info(&node);
    let gateways = reader.gateways_of_node(node.id).await?.iter().map(|record| record.gateway.id).collect();
    let history = reader.object_events(node.id.0, None, None, history).await?;
    let contact = reader.node_contact(node.id).await?;
    let tunnels = contact.map(|contact| contact.facts.tunnels).unwrap_or_default();
    Ok(NodeInfo { node, gateways, history, lease, tunnels })
}

pub(crate) fn document(node: &NodeRecord) -> serde_json::Value {
    json!({
        "name": node.name, "zone": node.zone, "cordoned": node.cordoned, "draining": node.draining, "revoked_at": node.revoked_at,
        "max_bandwidth": node.max_bandwidth, "max_connections": node.max_connections,
    })
}

fn token_document(token: &JoinTokenRecord) -> serde_json::Value {
    json!({"zone": token.zone, "description": token.description, "expires_at": token.expires_at})
}

impl Controller {
    /// Every node; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn list_nodes(&self, caller: &Caller) -> Result<Vec<NodeInfo>> {
        operator(caller, "read", NODE)?;
        let mut reader = self.read().await?;
        let mut all = Vec::new();
        for node in reader.nodes().await? {
            all.push(info(self, &mut reader, node, 1).await?);
        }
        Ok(all)
    }

    /// A node with its history; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn node(&self, caller: &Caller, id: NodeId) -> Result<NodeInfo> {
        operator(caller, "read", NODE)?;
        let mut reader = self.read().await?;
        let node = known(&mut reader, id).await?;
        info(self, &mut reader, node, HISTORY).await
    }

    /// Changes what an operator decides about a node; operators only. What it carries stays.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::InvalidArguments`].
    pub async fn change_node(&self, caller: &Caller, id: NodeId, change: NodeChange) -> Result<NodeInfo> {
        operator(caller, "write", NODE)?;
        if let Some(name) = &change.name {
            check_text("name", name)?;
        }
        let mut unit = self.unit(caller, self.region()).await?;
        let before = known(&mut unit, id).await?;
        let name = change.name.unwrap_or_else(|| before.name.clone());
        let cordoned = change.cordoned.unwrap_or(before.cordoned);
        let bandwidth = change.max_bandwidth.unwrap_or(before.max_bandwidth);
        let connections = change.max_connections.unwrap_or(before.max_connections);
        unit.set_node_settings(id, &name, cordoned, (bandwidth, connections)).await?;
        unit.set_node_draining(id, before.draining && cordoned).await?;
        let after = known(&mut unit, id).await?;
        let now = unit.now;
        self.place_waiting(&mut unit, &before.zone, now).await?;
        let details = changed(&document(&before), &document(&after));
        let action = match change.cordoned {
            Some(true) => "cordon",
            Some(false) => "uncordon",
            None => "update",
        };
        unit.finish(action, NODE, id, &details).await?;
        self.node(caller, id).await
    }

    /// Ends a node's membership: its channel is closed, its certificate is worth nothing from now on, and its gateways and links are free to be
    /// placed again. The node stops them when it hears of it; a machine that cannot hear it has to be switched off first. Operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn revoke_node(&self, caller: &Caller, id: NodeId) -> Result<NodeInfo> {
        operator(caller, "write", NODE)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let node = known(&mut unit, id).await?;
        if node.enrolled_at.is_none() {
            let help = "the node inside the service's own process never joined; set node.enabled = \"no\" instead";
            return Err(Error::PreconditionFailed { precondition: "node_joined", help: help.to_owned() });
        }
        let now = unit.now;
        unit.revoke_node(id, now).await?;
        unit.forget_learned_routes(id).await?;
        let mut vpcs = BTreeSet::new();
        for record in unit.gateways_of_node(id).await? {
            if record.gateway.deleting_since.is_some() {
                self.finish_deletion(&mut unit, &record, now).await?;
            } else {
                vpcs.insert((record.vpc, record.gateway.zone.clone()));
                unit.unplace_gateway(record.gateway.id, false).await?;
                unit.bump_gateway(&record).await?;
                unit.refresh(record.gateway.id).await?;
            }
        }
        ring_changed(&mut unit, &node.zone).await?;
        self.tell_failover(&mut unit).await?;
        // Gateways come to where the links of their VPC end.
        link::leave(&mut unit, id, now).await?;
        vpcs.append(&mut self.move_routers(&mut unit, id, now).await?);
        self.place_waiting(&mut unit, &node.zone, now).await?;
        self.settle_routers(&mut unit, &vpcs, now).await?;
        unit.finish("revoke", NODE, id, &gone(&document(&node))).await?;
        self.node_forgotten(id);
        self.end_session(id);
        self.node(caller, id).await
    }

    /// Has a node apply its configuration once more now, instead of after its back-off; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn retry_node(&self, caller: &Caller, id: NodeId) -> Result<NodeInfo> {
        operator(caller, "write", NODE)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let node = known(&mut unit, id).await?;
        unit.bump_node(Some(id)).await?;
        let after = known(&mut unit, id).await?;
        let (before, after) = (json!({"revision": node.revision}), json!({"revision": after.revision}));
        unit.finish("retry", NODE, id, &changed(&before, &after)).await?;
        self.node(caller, id).await
    }

    /// The join tokens, newest first; operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`].
    pub async fn list_join_tokens(&self, caller: &Caller) -> Result<Vec<JoinTokenRecord>> {
        operator(caller, "read", TOKEN)?;
        Ok(self.read().await?.join_tokens().await?)
    }

    /// Makes a join token for one node of a zone, which works once and for so many seconds (an hour by default); operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::InvalidArguments`].
    pub async fn create_join_token(
        &self,
        caller: &Caller,
        zone: String,
        description: String,
        life: Option<u32>,
    ) -> Result<NewJoinToken> {
        operator(caller, "write", TOKEN)?;
        check_text("description", &description)?;
        let life = life.unwrap_or(TOKEN_LIFE);
        if !(TOKEN_LIFE_LEAST..=TOKEN_LIFE_MOST).contains(&life) {
            let help = format!("must be {TOKEN_LIFE_LEAST} to {TOKEN_LIFE_MOST} seconds");
            return Err(Error::constraint("expires_in", help));
        }
        let secret = JoinToken::generate(self.node_authority().await?.fingerprint());
        let mut unit = self.unit(caller, self.region()).await?;
        let zones = unit.zones().await?;
        if !zones.contains(&zone) {
            return Err(Error::constraint("zone", format!("there are: {}", zones.join(", "))));
        }
        let created_at: Timestamp = unit.now;
        let token = JoinTokenRecord {
            id: Uuid::new_v4(),
            zone,
            description,
            created_at,
            expires_at: created_at.plus_seconds(i64::from(life)),
            used_at: None,
            node: None,
        };
        unit.insert_join_token(&token, &secret.hash()).await?;
        unit.finish("create", TOKEN, token.id, &made(&token_document(&token))).await?;
        Ok(NewJoinToken { token, text: secret.text() })
    }

    /// Takes a join token back; a node that has joined by it stays. Operators only.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn delete_join_token(&self, caller: &Caller, id: Uuid) -> Result<()> {
        operator(caller, "write", TOKEN)?;
        let mut unit = self.unit(caller, self.region()).await?;
        let token = unit.join_tokens().await?.into_iter().find(|token| token.id == id);
        let token = token.ok_or_else(|| Error::NotFound { resource: TOKEN, id: id.to_string() })?;
        unit.delete_join_token(id).await?;
        unit.finish("delete", TOKEN, id, &gone(&token_document(&token))).await
    }
}
