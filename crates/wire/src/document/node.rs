//! Gateway nodes and their join tokens (wire-ext.md §2). Keys are alphabetical.

use causeway_model::{NodeId, VpnGatewayId};
use serde::{Serialize, Serializer};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Time;
use super::event::EventDocument;
use super::extension::{ReasonDocument, Reasons};
use crate::schema::documents;

documents! {
/// The lease that a gateway node forwards by, where its gateways may be started elsewhere without its word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeLeaseDocument {
    /// Whether it has said that it forwards by this lease: before that, it is not replaced.
    pub acknowledged: bool,
    /// While it is being replaced: who has said that it forwards nothing any more, `controller` or a node's id.
    pub answered: Vec<String>,
    /// The epoch of its configuration; raised whenever it is about to be replaced.
    pub epoch: u64,
    /// Until when it forwards if nobody answers it any more, as it said last; null: it does not.
    pub held_until: Option<Time>,
    /// While it is being replaced: who has not said that it forwards nothing any more.
    pub missing: Vec<String>,
    /// Since when it is being replaced, or waits for its earlier machine to be over; null: neither.
    pub replaced_since: Option<Time>,
    /// The number of its newest terms.
    pub terms: u64,
    /// Why its kernel does not do what the lease needs.
    pub trouble: Option<String>,
    /// Who votes by its newest terms: `controller`, and the ids of nodes.
    pub voters: Vec<String>,
}
}

documents! {
/// A gateway node's tunnel to another node of its zone, by which the two vouch and vote for each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeTunnelDocument {
    /// Whether the node asks the other one through it; otherwise it is only asked.
    pub asks: bool,
    /// Where the other node's end is, address and port of UDP.
    pub endpoint: String,
    /// The other node.
    pub node_id: NodeId,
    /// How often its Child SA was rekeyed.
    pub rekeys: u32,
    /// Since when it is up or down, by the node's clock.
    pub since: Time,
    /// Why it is down: a code, as reasons have it.
    pub trouble: Option<&'static str>,
    /// Whether it is up.
    pub up: bool,
}
}

documents! {
/// A gateway node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeDocument {
    /// The revision of its configuration that it reported on last.
    pub applied_revision: u64,
    /// Nothing new is placed on it.
    pub cordoned: bool,
    /// What it carries goes to other nodes as far as they have room.
    pub draining: bool,
    /// When it joined; null: it is inside the service's own process.
    pub enrolled_at: Option<Time>,
    /// The VPN gateways placed on it.
    pub gateways: Vec<VpnGatewayId>,
    /// Its states, and what became of attempts to replace it (`replacing`, `called_off`, `replaced`) or of another machine that it came on (`moving`, `moved`), the newest first; in lists only the newest.
    pub history: Vec<EventDocument>,
    /// Id.
    pub id: NodeId,
    /// Its forwarding lease; null: it needs none.
    pub lease: Option<NodeLeaseDocument>,
    /// Bits per second that the types of its gateways may add up to; null: no limit.
    pub max_bandwidth: Option<u64>,
    /// Connections that the types of its gateways may add up to; null: no limit.
    pub max_connections: Option<u64>,
    /// What people call it.
    pub name: String,
    /// Why its state is not better.
    pub reason: Option<ReasonDocument>,
    /// Its last report that said anything new.
    pub reported_at: Option<Time>,
    /// The newest revision of its configuration.
    pub revision: u64,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
    /// What it carries is shown as last observed.
    pub silent: bool,
    /// `waiting`, `up`, `down`, `keepalive_fail` or `config_fail`.
    pub state: &'static str,
    /// Since when.
    pub state_since: Time,
    /// Its tunnels to other nodes of the zone, as it said last.
    pub tunnels: Vec<NodeTunnelDocument>,
    /// Version of its program.
    pub version: String,
    /// Its zone.
    pub zone: String,
}
}

impl Reasons for NodeDocument {
    fn reasons(&mut self) -> Vec<&mut ReasonDocument> {
        self.reason.iter_mut().chain(self.history.iter_mut().flat_map(EventDocument::reasons)).collect()
    }
}

documents! {
/// One check of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeCheckDocument {
    /// What was seen.
    pub evidence: String,
    /// Its name.
    pub name: &'static str,
    /// What to do, where it failed.
    pub remedy: Option<String>,
    /// `passed`, `failed`, `unknown` (it cannot be told now) or `skipped` (it does not concern this node).
    pub verdict: &'static str,
}
}

documents! {
/// What is the matter with a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeDiagnosisDocument {
    /// The checks in their order.
    pub checks: Vec<NodeCheckDocument>,
    /// The name of the first check that failed: the one to begin with.
    pub failed: Option<&'static str>,
    /// The node.
    pub node_id: NodeId,
    /// What it is called.
    pub node_name: String,
    /// Where the controller has probed it.
    pub probed: Option<String>,
    /// `waiting`, `up`, `down`, `keepalive_fail` or `config_fail`.
    pub state: &'static str,
    /// When this was.
    pub taken_at: Time,
    /// When the node said last what it sees of itself.
    pub told_at: Option<Time>,
}
}

documents! {
/// A join token without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JoinTokenDocument {
    /// Creation.
    pub created_at: Time,
    /// Free text.
    pub description: String,
    /// Until when it works.
    pub expires_at: Time,
    /// Id.
    pub id: Uuid,
    /// The node that joined by it.
    pub node_id: Option<NodeId>,
    /// When that was.
    pub used_at: Option<Time>,
    /// The zone of the node that joins by it.
    pub zone: String,
}
}

documents! {
/// A join token that was just made, with its text, which is shown this once.
#[derive(Serialize)]
pub struct NewJoinTokenDocument {
    /// Creation.
    pub created_at: Time,
    /// Free text.
    pub description: String,
    /// Until when it works.
    pub expires_at: Time,
    /// Id.
    pub id: Uuid,
    /// What `causeway node join` is given.
    #[serde(serialize_with = "text")]
    pub token: Zeroizing<String>,
    /// The zone of the node that joins by it.
    pub zone: String,
}
}

fn text<S: Serializer>(text: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
