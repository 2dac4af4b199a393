//! The frames of the node channel, one JSON text each (docs/fleet.md).

use std::net::SocketAddr;

use causeway_model::desired::NodeDesired;
use causeway_model::diagnosis::NodeFacts;
use causeway_model::observed::NodeReport;
use causeway_model::watch::Service;
use causeway_model::{MachineId, NodeId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::delta::Delta;
use crate::lease::keeper::Held;
use crate::lease::{Ask, Fence, Fenced, Promise};
use crate::witness::Answered;

/// Octets of a frame at most, in both directions.
pub const MAX_FRAME: usize = 32 << 20;

/// A frame with its number: 0, 1, 2, … in each direction of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Numbered<F> {
    pub(crate) number: u64,
    pub(crate) frame: F,
}

/// From a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum NodeFrame {
    /// The first one.
    Hello {
        /// [`crate::PROTOCOL`].
        protocol: u32,
        /// As in its certificate.
        node: NodeId,
        /// New at every start of its process.
        boot: Uuid,
        /// Its zone.
        zone: String,
        /// Version of its program.
        version: String,
        /// The revision that it runs; 0: none.
        revision: u64,
        /// Where its process runs; nodes of earlier protocols do not say it.
        #[serde(default)]
        machine: Option<MachineId>,
    },
    /// Still there, and how its critical services are.
    Keepalive { services: Vec<Service> },
    /// What it sees of itself and its machine.
    Facts { facts: Box<NodeFacts> },
    /// Where it answers other nodes of its zone, and which of them have answered it.
    Peering {
        listens: Option<SocketAddr>,
        answered: Vec<Answered>,
        /// What it says of its lease.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<Held>,
    },
    /// Whether the controller promises not to replace it.
    Ask { ask: Ask },
    /// The same question for these of its voters, which have not answered it.
    AskOthers { ask: Ask, voters: Vec<NodeId> },
    /// What it promises another node, whose question was passed on to it.
    Promised { promise: Promise },
    /// Nothing that it promised for an older epoch holds any more.
    Fenced { fenced: Fenced },
    /// Everything observed; acknowledges its revision, or refuses items of it.
    Report { report: NodeReport },
}

/// From the controller.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ControllerFrame {
    /// The first one.
    Welcome {
        /// [`crate::PROTOCOL`].
        protocol: u32,
        /// From one keepalive to the next, milliseconds.
        keepalive_ms: u64,
    },
    /// The whole desired state.
    Snapshot { desired: NodeDesired },
    /// What changed since the last frame of desired state.
    Delta { delta: Delta },
    /// The controller's answer to a question, or that of a voter which it was passed on to.
    Promise { promise: Promise },
    /// Another node's question, passed on.
    Asked { ask: Ask },
    /// Of this node only this epoch and later ones count; sent until it is answered.
    Fence { fence: Fence },
    /// Why the session ends.
    Closing { code: String, message: String },
}
