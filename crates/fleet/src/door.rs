//! What passes the door: who joins, who is renewed, who may open a session. The transport asks, the controller decides.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use causeway_model::{MachineId, NodeId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::ControllerEnd;
use crate::lease::{Ask, Fence, Fenced, Promise, Unanswered};

/// Paths of the node listener.
pub(crate) const JOIN: &str = "/causeway/v1/node/join";
pub(crate) const RENEW: &str = "/causeway/v1/node/renew";
pub(crate) const CHANNEL: &str = "/causeway/v1/node/channel";

/// What a new node sends. Wiped when it is dropped, since the token is a secret.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The token's text.
    pub token: String,
    /// Its certificate signing request, PEM.
    pub request: String,
    /// What people call it.
    pub name: String,
    /// Version of its program.
    pub version: String,
    /// Seconds since the epoch by its clock.
    pub now: u64,
}

/// What a node is given when it joins or renews.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// Who it is.
    pub node: NodeId,
    /// Its zone.
    pub zone: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The authority, PEM.
    pub authority: String,
    /// Seconds until half of the certificate's life is over: then it is renewed.
    pub renew_after: u64,
}

/// What a node sends to renew its certificate.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// Its certificate signing request, PEM.
    pub request: String,
}

/// Why the door stays shut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// HTTP's status.
    pub status: u16,
    /// `token_expired`, `token_used`, `token_unknown`, `clock`, `revoked`, `unknown_node`, `no_certificate`, `invalid_request`, `internal`.
    pub code: String,
    /// What is the matter and what to do.
    pub message: String,
}

impl Denied {
    /// A refusal.
    #[must_use]
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }
}

/// Clocks may differ by this much at joining, seconds: certificates would fail later, when nobody looks.
const CLOCK_TOLERANCE: u64 = 300;

/// Whether two clocks, in seconds since the epoch, differ too much for certificates.
#[must_use]
pub const fn clocks_differ(a: u64, b: u64) -> bool {
    a.abs_diff(b) > CLOCK_TOLERANCE
}

/// Who may open a session.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// How often it has to say that it is there.
    pub period: Duration,
}

/// Decides. Implemented by the controller.
pub trait Gatekeeper: Clone + Send + Sync + 'static {
    /// Takes a new node in, once for each token.
    fn join(&self, request: JoinRequest) -> impl Future<Output = Result<Membership, Denied>> + Send;

    /// A new certificate for a node that has proven who it is.
    fn renew(&self, node: NodeId, request: RenewRequest) -> impl Future<Output = Result<Membership, Denied>> + Send;

    /// Whether a node that has proven who it is may open a session now.
    fn admit(&self, node: NodeId) -> impl Future<Output = Result<Admission, Denied>> + Send;

    /// Somebody, a node if that was proven, was turned away, or turned away himself.
    fn turned_away(&self, node: Option<NodeId>, peer: SocketAddr, why: &str) {
        let _ = (node, peer, why);
    }

    /// Answers a question of a node's lease at once, or not at all: with the controller's vote, and those of nodes inside its process.
    fn ask(&self, ask: &Ask) -> Vec<Promise> {
        let _ = ask;
        Vec::new()
    }

    /// Passes a node's question on to those voters of the ones that it names that have a session, and lets the others be.
    fn ask_others(&self, question: &Unanswered) {
        let _ = question;
    }

    /// Passes a voter's promise on to the node that has asked, if that has a session.
    fn promised(&self, promise: &Promise) {
        let _ = promise;
    }

    /// The fences that a node, as a voter, has not answered yet.
    fn fences(&self, node: NodeId) -> Vec<Fence> {
        let _ = node;
        Vec::new()
    }

    /// A node has answered a fence, on this machine.
    fn fenced(&self, fenced: &Fenced, machine: MachineId) {
        let _ = (fenced, machine);
    }

    /// A session of the node, `age` old, has been superseded or was not begun, and the process behind it, of this boot and at this address, has
    /// answered its end: it is still alive.
    fn outlived(&self, node: NodeId, boot: Uuid, peer: SocketAddr, age: Duration) {
        let _ = (node, boot, peer, age);
    }

    /// The machine that the node's session is with that is being served; `None`: there is none.
    fn attached(&self, node: NodeId) -> Option<MachineId>;

    /// A session is open, from `peer`: serves it until either end closes, or closes it.
    fn attach(&self, node: NodeId, peer: SocketAddr, end: ControllerEnd);
}
