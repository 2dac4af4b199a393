//! The channel between controller and node: what travels, and the in-process transport.
//!
//! Desired state is level-triggered: a node always sees the newest revision and may skip older ones. Reports are complete
//! documents, so a lost one is repaired by the next. The same messages travel over WebSocket and mutual TLS when nodes are separate:
//!
//! ```text
//!  controller ── ControllerEnd ⇄ [server: session] ══ TLS 1.3, both certified by [authority] ══ [client: session] ⇄ NodeEnd ── node
//! ```
//!
//! The [`session`] machines have no I/O; [`authority`] certifies; [`door`] is what the transport asks of the controller.

pub mod authority;
pub mod client;
mod delta;
pub mod door;
mod frame;
pub mod good;
pub mod identity;
pub mod lease;
pub mod listener;
mod patience;
pub mod server;
pub mod session;
pub mod tls;
pub mod token;
pub mod witness;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use causeway_model::desired::NodeDesired;
use causeway_model::diagnosis::NodeFacts;
use causeway_model::observed::NodeReport;
use causeway_model::watch::Service;
use causeway_model::{MachineId, NodeId};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::lease::{Ask, Fenced, Promise, Relayed, Unanswered};

pub use delta::{Delta, WrongBase};
pub use frame::MAX_FRAME;
pub use lease::keeper::Held;
pub use token::JoinToken;
pub use witness::Answered;

/// Version of the messages. A node that speaks another one is refused.
pub const PROTOCOL: u32 = 4;

/// Reports under way at most; the node waits when the controller is slow, and its next report says the same and more.
const REPORT_QUEUE: usize = 64;
/// What was passed on to a node and is not sent yet, at most; who has no answer asks again.
const RELAY_QUEUE: usize = 64;

/// Where a node's process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The machine.
    pub machine: MachineId,
    /// It runs nothing, and its gate is closed until it is told something.
    pub is_blank: bool,
}

/// From a node.
#[derive(Clone, Debug)]
pub enum FromNode {
    /// The first message of a session.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The node.
        node: NodeId,
        /// New at every start of the node's process.
        boot: Uuid,
        /// Its zone.
        zone: String,
        /// Version of the program.
        version: String,
        /// Where it runs, which the node's end of a channel adds; `None`: inside the controller's process.
        on: Option<Place>,
    },
    /// What is observed.
    Report(NodeReport),
    /// What it sees of itself and its machine, when that changes.
    Facts(Box<NodeFacts>),
    /// Still there.
    Keepalive {
        /// How its critical services are.
        services: Vec<Service>,
    },
    /// What it knows of the other nodes of its zone.
    Peering {
        /// Where it answers them; `None`: it does not listen.
        listens: Option<SocketAddr>,
        /// Who has answered it.
        answered: Vec<Answered>,
        /// What it says of its lease; `None`: it has none.
        lease: Option<Held>,
    },
    /// A question of its lease, which the channel's end answers.
    Ask(Ask),
    /// The same question, which the channel's end passes on.
    AskOthers(Unanswered),
    /// What another node's question was answered with, which the channel's end passes on.
    Promised(Promise),
    /// What a fence was answered with, which the channel's end takes.
    Fenced(Fenced),
}

/// Why a session is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The node may still speak from another machine.
    Elsewhere,
}

/// The controller's end.
pub struct ControllerEnd {
    /// The newest desired state.
    pub desired: watch::Sender<Arc<NodeDesired>>,
    /// What the node says.
    pub reports: mpsc::Receiver<FromNode>,
    /// What other nodes say to the node.
    pub relayed: mpsc::Sender<Relayed>,
    refusal: Arc<OnceLock<Refusal>>,
}

impl ControllerEnd {
    /// Closes the channel, and says why to whoever has the other end.
    pub fn refuse(self, why: Refusal) {
        let _ = self.refusal.set(why);
    }
}

/// The node's end.
pub struct NodeEnd {
    /// The newest desired state.
    pub desired: watch::Receiver<Arc<NodeDesired>>,
    /// To the controller.
    pub reports: mpsc::Sender<FromNode>,
    /// What other nodes say; nobody does to a node inside the controller's process.
    pub relayed: mpsc::Receiver<Relayed>,
    refusal: Arc<OnceLock<Refusal>>,
}

impl NodeEnd {
    /// Why the other end was closed, if that was said.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().copied()
    }
}

/// A channel within one process (`causeway serve` with a node).
#[must_use]
pub fn in_process() -> (ControllerEnd, NodeEnd) {
    let (desired_tx, desired_rx) = watch::channel(Arc::new(NodeDesired::default()));
    let (report_tx, report_rx) = mpsc::channel(REPORT_QUEUE);
    let (relayed_tx, relayed_rx) = mpsc::channel(RELAY_QUEUE);
    let refusal = Arc::<OnceLock<Refusal>>::default();
    let controller =
        ControllerEnd { desired: desired_tx, reports: report_rx, relayed: relayed_tx, refusal: Arc::clone(&refusal) };
    (controller, NodeEnd { desired: desired_rx, reports: report_tx, relayed: relayed_rx, refusal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_node_sees_the_newest_revision_only() {
        let (controller, mut node) = in_process();
        for revision in 1..=3 {
            let state = NodeDesired { revision, ..NodeDesired::default() };
            controller.desired.send(Arc::new(state)).expect("the node's end is open");
        }
        node.desired.changed().await.expect("the controller's end is open");
        assert_eq!(node.desired.borrow_and_update().revision, 3);
        assert!(!node.desired.has_changed().expect("the controller's end is open"));
    }
}
