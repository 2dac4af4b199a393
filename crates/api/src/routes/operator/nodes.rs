//! Gateway nodes and the tokens that they join by.

use causeway_controller::{Diagnosis, JoinTokenRecord, LeaseInfo, NodeChange, NodeInfo};
use causeway_model::NodeId;
use causeway_model::diagnosis::{Check, PeerTunnel, root};
use causeway_wire::document::node::{
    JoinTokenDocument, NewJoinTokenDocument, NodeCheckDocument, NodeDiagnosisDocument, NodeDocument, NodeLeaseDocument,
    NodeTunnelDocument,
};

use super::{O, paged};
use crate::answer::{Answer, Failure, json, no_content};
use crate::call::Call;
use crate::routes::events::document as event;
use crate::routes::table::{Routes, delete, get, many, nothing, one, post};

pub(super) fn routes() -> Routes {
    let node = |action: &str| format!("{O}/nodes/{{node_id}}{action}");
    Routes::new("operator")
        .route(&format!("{O}/nodes"), get(list_nodes, many::<NodeDocument>("nodes")))
        .route(&node(""), get(node_by_id, one::<NodeDocument>()).patch(update_node, one::<NodeDocument>()))
        .route(&node("/cordon"), post(cordon_node, one::<NodeDocument>()))
        .route(&node("/uncordon"), post(uncordon_node, one::<NodeDocument>()))
        .route(&node("/drain"), post(drain_node, one::<NodeDocument>()))
        .route(&node("/retry"), post(retry_node, one::<NodeDocument>()))
        .route(&node("/diagnosis"), get(diagnose_node, one::<NodeDiagnosisDocument>()))
        .route(&node("/revoke"), post(revoke_node, one::<NodeDocument>()))
        .route(
            &format!("{O}/node-join-tokens"),
            get(list_join_tokens, many::<JoinTokenDocument>("node_join_tokens"))
                .post(create_join_token, one::<NewJoinTokenDocument>()),
        )
        .route(&format!("{O}/node-join-tokens/{{node_join_token_id}}"), delete(delete_join_token, nothing()))
}

fn id(call: &Call) -> Result<NodeId, Failure> {
    call.id("node_id", "node")
}

async fn list_nodes(call: Call) -> Answer {
    let query = call.query();
    let page = query.page();
    let (name, zone) = (query.text("name").map(|name| name.to_lowercase()), query.text("zone"));
    query.finish()?;
    let mut nodes = call.controller.list_nodes(&call.caller).await?;
    nodes.retain(|info| name.as_ref().is_none_or(|name| info.node.name.to_lowercase().contains(name)));
    nodes.retain(|info| zone.as_ref().is_none_or(|zone| info.node.zone == *zone));
    json(&paged("nodes", nodes, page, document))
}

async fn node_by_id(call: Call) -> Answer {
    json(&document(call.controller.node(&call.caller, id(&call)?).await?))
}

async fn update_node(call: Call) -> Answer {
    let wanted = call.body()?.update_node()?;
    let change = NodeChange {
        name: wanted.name,
        max_bandwidth: wanted.max_bandwidth,
        max_connections: wanted.max_connections,
        cordoned: None,
    };
    json(&document(call.controller.change_node(&call.caller, id(&call)?, change).await?))
}

async fn set_cordoned(call: Call, cordoned: bool) -> Answer {
    let change = NodeChange { cordoned: Some(cordoned), ..NodeChange::default() };
    json(&document(call.controller.change_node(&call.caller, id(&call)?, change).await?))
}

async fn cordon_node(call: Call) -> Answer {
    set_cordoned(call, true).await
}

async fn uncordon_node(call: Call) -> Answer {
    set_cordoned(call, false).await
}

async fn drain_node(call: Call) -> Answer {
    json(&document(call.controller.drain_node(&call.caller, id(&call)?).await?))
}

async fn retry_node(call: Call) -> Answer {
    json(&document(call.controller.retry_node(&call.caller, id(&call)?).await?))
}

async fn revoke_node(call: Call) -> Answer {
    json(&document(call.controller.revoke_node(&call.caller, id(&call)?).await?))
}

async fn diagnose_node(call: Call) -> Answer {
    let Diagnosis { node, checks, evidence } = call.controller.diagnose_node(&call.caller, id(&call)?).await?;
    let failed = root(&checks).map(|check| check.name);
    let document = |check: Check| NodeCheckDocument {
        evidence: check.evidence,
        name: check.name,
        remedy: check.remedy,
        verdict: check.verdict.as_str(),
    };
    json(&NodeDiagnosisDocument {
        checks: checks.into_iter().map(document).collect(),
        failed,
        node_id: node.id,
        node_name: node.name,
        probed: evidence.probed.map(|address| address.to_string()),
        state: node.state.as_str(),
        taken_at: evidence.now.into(),
        told_at: evidence.told.map(|told| told.at.into()),
    })
}

async fn list_join_tokens(call: Call) -> Answer {
    let query = call.query();
    let page = query.page();
    query.finish()?;
    let tokens = call.controller.list_join_tokens(&call.caller).await?;
    json(&paged("node_join_tokens", tokens, page, token))
}

async fn create_join_token(call: Call) -> Answer {
    let new = call.body()?.new_join_token()?;
    let made = call.controller.create_join_token(&call.caller, new.zone, new.description, new.expires_in).await?;
    json(&NewJoinTokenDocument {
        created_at: made.token.created_at.into(),
        description: made.token.description,
        expires_at: made.token.expires_at.into(),
        id: made.token.id,
        token: made.text,
        zone: made.token.zone,
    })
}

async fn delete_join_token(call: Call) -> Answer {
    let id: uuid::Uuid = call.id("node_join_token_id", "node_join_token")?;
    call.controller.delete_join_token(&call.caller, id).await?;
    Ok(no_content())
}

fn token(token: JoinTokenRecord) -> JoinTokenDocument {
    JoinTokenDocument {
        created_at: token.created_at.into(),
        description: token.description,
        expires_at: token.expires_at.into(),
        id: token.id,
        node_id: token.node,
        used_at: token.used_at.map(Into::into),
        zone: token.zone,
    }
}

fn lease(info: LeaseInfo) -> NodeLeaseDocument {
    let name = |voter: Option<NodeId>| voter.map_or_else(|| "controller".to_owned(), |node| node.to_string());
    let names = |voters: Vec<Option<NodeId>>| voters.into_iter().map(name).collect();
    let newest = info.lease.terms.last().map(|terms| terms.voters.as_slice()).unwrap_or_default();
    NodeLeaseDocument {
        acknowledged: info.lease.acknowledged.is_some(),
        answered: names(info.answered),
        epoch: info.lease.epoch,
        held_until: info.held_until.map(Into::into),
        missing: names(info.missing),
        replaced_since: info.lease.replaced_since.map(Into::into),
        terms: info.lease.number,
        trouble: info.trouble,
        voters: names(std::iter::once(None).chain(newest.iter().copied().map(Some)).collect()),
    }
}

fn tunnel(of: PeerTunnel) -> NodeTunnelDocument {
    NodeTunnelDocument {
        asks: of.asks,
        endpoint: of.endpoint.to_string(),
        node_id: of.node,
        rekeys: of.rekeys,
        since: of.since.into(),
        trouble: of.fault.map(|fault| fault.code.as_str()),
        up: of.up,
    }
}

fn document(info: NodeInfo) -> NodeDocument {
    let NodeInfo { node, gateways, history, lease: of, tunnels } = info;
    NodeDocument {
        applied_revision: node.applied_revision,
        cordoned: node.cordoned,
        draining: node.draining,
        enrolled_at: node.enrolled_at.map(Into::into),
        gateways,
        history: history.into_iter().map(event).collect(),
        id: node.id,
        lease: of.map(lease),
        max_bandwidth: node.max_bandwidth,
        max_connections: node.max_connections,
        name: node.name,
        reason: node.fault.map(|fault| fault.explain(Some(node.state_since)).into()),
        reported_at: node.reported_at.map(Into::into),
        revision: node.revision,
        revoked_at: node.revoked_at.map(Into::into),
        silent: node.silent,
        state: node.state.as_str(),
        state_since: node.state_since.into(),
        tunnels: tunnels.into_iter().map(tunnel).collect(),
        version: node.version,
        zone: node.zone,
    }
}
