//! Both ends of a node session as machines without I/O: text in, meaning or a violation out. Whoever breaks the rules is named by the
//! owner, who knows the peer's certificate; its session ends.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_model::desired::NodeDesired;
use causeway_model::diagnosis::NodeFacts;
use causeway_model::observed::NodeReport;
use causeway_model::watch::Service;
use causeway_model::{ConnectionId, LinkId, MachineId, NodeId, VpcId, VpnGatewayId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::delta::Delta;
use crate::frame::{ControllerFrame, MAX_FRAME, NodeFrame, Numbered};
use crate::lease::keeper::Held;
use crate::lease::{Ask, Fence, Fenced, MAX_VOTERS, Promise, Unanswered, Voter};
use crate::witness::Answered;
use crate::{FromNode, PROTOCOL, Place};

/// Revisions under way at most; the next one waits for a report, and says everything that came meanwhile.
const WINDOW: usize = 8;
/// Services that a keepalive names at most, and octets of each text.
const MAX_SERVICES: usize = 32;
const MAX_TEXT: usize = 1024;
/// Octets of what a node says of itself.
const MAX_FACTS: usize = 64 * 1024;
/// Nodes that a node vouches for at most; it is told to ask three.
const MAX_ANSWERED: usize = 16;

/// What a peer did against the rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} octets; at most {MAX_FRAME} are taken")]
    TooLong(usize),
    /// No frame, or one of a kind that is not known.
    #[error("an unreadable frame: {0}")]
    Unreadable(String),
    /// A number that is not the next one: repeated, reordered or lost.
    #[error("frame {found} where frame {expected} was due")]
    OutOfOrder {
        /// The next one.
        expected: u64,
        /// Its number.
        found: u64,
    },
    /// A frame that has no place at this moment.
    #[error("{0}")]
    Unexpected(&'static str),
    /// Another version of the protocol.
    #[error("protocol {found}; this end speaks {PROTOCOL}: run the same version of the program on both")]
    Protocol {
        /// The peer's.
        found: u32,
    },
    /// Speaks for somebody else.
    #[error("its certificate is node {expected}'s, and it says that it is {found}")]
    OtherNode {
        /// By certificate.
        expected: NodeId,
        /// By word.
        found: String,
    },
    /// Reports a revision that it was never sent, or one older than it has reported.
    #[error("a report of revision {found}; it was sent {sent}")]
    Revision {
        /// The report's.
        found: u64,
        /// What it may report.
        sent: String,
    },
    /// Reports what is not its own.
    #[error("a report about {0}, which is not this node's")]
    Foreign(String),
    /// Beyond a bound.
    #[error("too much: {0}")]
    TooMuch(&'static str),
}

/// Numbers frames, and writes and reads their text.
#[derive(Debug, Default)]
struct Wire {
    sent: u64,
    received: u64,
}

impl Wire {
    fn write<F: Serialize>(&mut self, frame: F) -> String {
        let text = serde_json::to_string(&Numbered { number: self.sent, frame });
        self.sent += 1;
        text.expect("frames have string keys only")
    }

    fn read<F: DeserializeOwned>(&mut self, text: &str) -> Result<F, Violation> {
        if text.len() > MAX_FRAME {
            return Err(Violation::TooLong(text.len()));
        }
        let Numbered { number, frame } =
            serde_json::from_str(text).map_err(|error| Violation::Unreadable(shortened(&error.to_string())))?;
        if number != self.received {
            return Err(Violation::OutOfOrder { expected: self.received, found: number });
        }
        self.received += 1;
        Ok(frame)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

/// What a node was sent and may report.
#[derive(Debug)]
struct Sent {
    revision: u64,
    gateways: Vec<(VpnGatewayId, u64)>,
    connections: BTreeSet<ConnectionId>,
    vpcs: BTreeSet<VpcId>,
    links: BTreeSet<LinkId>,
}

impl Sent {
    fn of(desired: &NodeDesired) -> Self {
        let connections = desired.gateways.iter().flat_map(|gateway| &gateway.connections);
        Self {
            revision: desired.revision,
            gateways: desired.gateways.iter().map(|gateway| (gateway.id, gateway.revision)).collect(),
            connections: connections.map(|connection| connection.id).collect(),
            vpcs: desired.vpcs.iter().map(|vpc| vpc.id).collect(),
            links: desired.links.iter().map(|link| link.id).collect(),
        }
    }

    fn check(&self, report: &NodeReport) -> Result<(), Violation> {
        for facts in &report.gateways {
            let known = self.gateways.iter().find(|(id, _)| *id == facts.id);
            let (_, revision) = known.ok_or_else(|| Violation::Foreign(format!("gateway {}", facts.id)))?;
            if facts.applied > *revision {
                return Err(Violation::Revision { found: facts.applied, sent: revision.to_string() });
            }
        }
        if let Some(facts) = report.connections.iter().find(|facts| !self.connections.contains(&facts.id)) {
            return Err(Violation::Foreign(format!("connection {}", facts.id)));
        }
        if let Some(facts) = report.vpcs.iter().find(|facts| !self.vpcs.contains(&facts.id)) {
            return Err(Violation::Foreign(format!("VPC {}", facts.id)));
        }
        if let Some(facts) = report.links.iter().find(|facts| !self.links.contains(&facts.id)) {
            return Err(Violation::Foreign(format!("link {}", facts.id)));
        }
        Ok(())
    }
}

/// The controller's end of a session with the node that a certificate names.
#[derive(Debug)]
pub struct ControllerSession {
    node: NodeId,
    /// Where it said that it is.
    machine: Option<MachineId>,
    wire: Wire,
    /// What it ran when it said hello; `None`: it has not.
    running: Option<u64>,
    base: Option<Arc<NodeDesired>>,
    sent: VecDeque<Sent>,
}

impl ControllerSession {
    /// A session of `node`.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self { node, machine: None, wire: Wire::default(), running: None, base: None, sent: VecDeque::new() }
    }

    /// The first frame.
    pub fn welcome(&mut self, period: Duration) -> String {
        let keepalive_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        self.wire.write(ControllerFrame::Welcome { protocol: PROTOCOL, keepalive_ms })
    }

    /// The last frame.
    pub fn closing(&mut self, code: &str, message: &str) -> String {
        self.wire.write(ControllerFrame::Closing { code: code.to_owned(), message: message.to_owned() })
    }

    /// An answer to a question of the node's lease.
    pub fn promise(&mut self, promise: Promise) -> String {
        self.wire.write(ControllerFrame::Promise { promise })
    }

    /// Another node's question, which this one is asked as a voter.
    pub fn asked(&mut self, ask: Ask) -> String {
        self.wire.write(ControllerFrame::Asked { ask })
    }

    /// What the node, as a voter, has to answer.
    pub fn fence(&mut self, fence: Fence) -> String {
        self.wire.write(ControllerFrame::Fence { fence })
    }

    /// Whether newer desired state may be sent now.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.running.is_some() && self.sent.len() < WINDOW
    }

    /// The frame that brings the node to `desired`; `None` if it was sent already.
    pub fn desired(&mut self, desired: &Arc<NodeDesired>) -> Option<String> {
        if self.base.as_ref().is_some_and(|base| base.revision >= desired.revision) {
            return None;
        }
        let delta = self.base.as_ref().and_then(|base| Delta::between(base, desired));
        let frame = match delta {
            Some(delta) => ControllerFrame::Delta { delta },
            None => ControllerFrame::Snapshot { desired: NodeDesired::clone(desired) },
        };
        self.sent.push_back(Sent::of(desired));
        self.base = Some(Arc::clone(desired));
        Some(self.wire.write(frame))
    }

    /// Takes a text that came from the node.
    ///
    /// # Errors
    /// If it breaks the rules; nothing of it may be believed.
    pub fn receive(&mut self, text: &str) -> Result<FromNode, Violation> {
        match self.wire.read(text)? {
            NodeFrame::Hello { protocol, .. } if protocol != PROTOCOL => Err(Violation::Protocol { found: protocol }),
            NodeFrame::Hello { .. } if self.running.is_some() => Err(Violation::Unexpected("a second hello")),
            NodeFrame::Hello { node, .. } if node != self.node => {
                Err(Violation::OtherNode { expected: self.node, found: node.to_string() })
            }
            NodeFrame::Hello { zone, version, .. } if zone.len() > MAX_TEXT || version.len() > MAX_TEXT => {
                Err(Violation::TooMuch("the length of zone or version"))
            }
            NodeFrame::Hello { machine: None, .. } => Err(Violation::Unexpected("a hello that names no machine")),
            NodeFrame::Hello { protocol, node, boot, zone, version, revision, machine: Some(machine) } => {
                (self.running, self.machine) = (Some(revision), Some(machine));
                let on = Some(Place { machine, is_blank: revision == 0 });
                Ok(FromNode::Hello { protocol, node, boot, zone, version, on })
            }
            NodeFrame::Facts { .. }
            | NodeFrame::Keepalive { .. }
            | NodeFrame::Report { .. }
            | NodeFrame::Peering { .. }
            | NodeFrame::Ask { .. }
            | NodeFrame::AskOthers { .. }
            | NodeFrame::Promised { .. }
            | NodeFrame::Fenced { .. }
                if self.running.is_none() =>
            {
                Err(Violation::Unexpected("a frame before hello"))
            }
            NodeFrame::Facts { .. } if text.len() > MAX_FACTS => {
                Err(Violation::TooMuch("the length of what the node sees of itself"))
            }
            NodeFrame::Facts { facts } => Ok(FromNode::Facts(facts)),
            NodeFrame::Keepalive { services } => {
                let long = |service: &Service| {
                    service.name.len() > MAX_TEXT || service.dead.as_ref().is_some_and(|text| text.len() > MAX_TEXT)
                };
                if services.len() > MAX_SERVICES || services.iter().any(long) {
                    return Err(Violation::TooMuch("services in a keepalive"));
                }
                Ok(FromNode::Keepalive { services })
            }
            NodeFrame::Peering { answered, .. } if answered.len() > MAX_ANSWERED => {
                Err(Violation::TooMuch("nodes that have answered"))
            }
            NodeFrame::Peering { lease: Some(Held { trouble: Some(text), .. }), .. } if text.len() > MAX_TEXT => {
                Err(Violation::TooMuch("what is said of a lease"))
            }
            NodeFrame::Peering { listens, answered, lease } => Ok(FromNode::Peering { listens, answered, lease }),
            NodeFrame::Ask { ask } | NodeFrame::AskOthers { ask, .. } if ask.holder != self.node => {
                Err(Violation::OtherNode { expected: self.node, found: ask.holder.to_string() })
            }
            NodeFrame::Ask { ask } => Ok(FromNode::Ask(ask)),
            NodeFrame::AskOthers { voters, .. } if voters.len() > MAX_VOTERS => {
                Err(Violation::TooMuch("voters that a question is for"))
            }
            NodeFrame::AskOthers { ask, voters } => Ok(FromNode::AskOthers(Unanswered { ask, voters })),
            NodeFrame::Fenced { fenced: Fenced { voter, .. } }
            | NodeFrame::Promised { promise: Promise { voter, .. } }
                if voter != Voter::Node(self.node) =>
            {
                let found = match voter {
                    Voter::Controller => "the controller".to_owned(),
                    Voter::Node(node) => node.to_string(),
                };
                Err(Violation::OtherNode { expected: self.node, found })
            }
            NodeFrame::Fenced { fenced } => Ok(FromNode::Fenced(fenced)),
            NodeFrame::Promised { promise } if promise.machine != self.machine => {
                Err(Violation::Unexpected("a promise from another machine than hello's"))
            }
            NodeFrame::Promised { promise } => Ok(FromNode::Promised(promise)),
            NodeFrame::Report { report } => {
                self.check(&report)?;
                Ok(FromNode::Report(report))
            }
        }
    }

    /// A report is about what the node said it runs, or about a revision that it was sent, and never goes back.
    fn check(&mut self, report: &NodeReport) -> Result<(), Violation> {
        if let Some(at) = self.sent.iter().position(|sent| sent.revision == report.revision) {
            if let Some(sent) = self.sent.get(at) {
                sent.check(report)?;
            }
            self.sent.drain(..at);
            // It has gone beyond what it came with.
            self.running = Some(report.revision);
            return Ok(());
        }
        if self.running == Some(report.revision) {
            return Ok(());
        }
        let revisions: Vec<String> = self.sent.iter().map(|sent| sent.revision.to_string()).collect();
        Err(Violation::Revision { found: report.revision, sent: revisions.join(", ") })
    }
}

/// What the controller says.
#[derive(Clone, Debug)]
pub enum ToNode {
    /// The session is open; a keepalive is due every so often.
    Welcome {
        /// From one keepalive to the next.
        period: Duration,
    },
    /// The newest desired state, whole.
    Desired(Arc<NodeDesired>),
    /// An answer to a question of its lease: the controller's, or one that it has passed on.
    Promise(Promise),
    /// Another node's question, which it has to answer as a voter.
    Asked(Ask),
    /// A fence that it has to answer as a voter.
    Fence(Fence),
    /// The session ends.
    Closing {
        /// `revoked`, `superseded`, …
        code: String,
        /// For people.
        message: String,
    },
}

/// The node's end of a session.
#[derive(Debug, Default)]
pub struct NodeSession {
    wire: Wire,
    welcome: bool,
    base: Option<Arc<NodeDesired>>,
    /// What it may report on: what it said it runs, then what it was sent, from the last one that it has reported on.
    reportable: VecDeque<u64>,
    answered: bool,
}

impl NodeSession {
    /// A new session.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The first frame.
    pub fn hello(
        &mut self,
        (node, machine): (NodeId, MachineId),
        boot: Uuid,
        zone: &str,
        version: &str,
        revision: u64,
    ) -> String {
        self.reportable.push_back(revision);
        let (zone, version) = (zone.to_owned(), version.to_owned());
        self.wire.write(NodeFrame::Hello {
            protocol: PROTOCOL,
            node,
            boot,
            zone,
            version,
            revision,
            machine: Some(machine),
        })
    }

    /// What is observed; `None` while it is about a revision that was not sent on this channel.
    pub fn report(&mut self, report: &NodeReport) -> Option<String> {
        let at = self.reportable.iter().rposition(|revision| *revision == report.revision)?;
        self.reportable.drain(..at);
        self.answered |= at > 0;
        Some(self.wire.write(NodeFrame::Report { report: report.clone() }))
    }

    /// Whether it has reported on what it was sent on this channel.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.answered
    }

    /// A keepalive.
    pub fn keepalive(&mut self, services: &[Service]) -> String {
        self.wire.write(NodeFrame::Keepalive { services: services.to_vec() })
    }

    /// What the node sees of itself.
    pub fn facts(&mut self, facts: NodeFacts) -> String {
        self.wire.write(NodeFrame::Facts { facts: Box::new(facts) })
    }

    /// Where it answers other nodes, which of them have answered it, and how its lease is.
    pub fn peering(&mut self, listens: Option<SocketAddr>, answered: Vec<Answered>, mut lease: Option<Held>) -> String {
        if let Some(trouble) = lease.as_mut().and_then(|lease| lease.trouble.as_mut()) {
            *trouble = shortened(trouble);
        }
        self.wire.write(NodeFrame::Peering { listens, answered, lease })
    }

    /// A question of its lease.
    pub fn ask(&mut self, ask: Ask) -> String {
        self.wire.write(NodeFrame::Ask { ask })
    }

    /// The same question, for voters that have not answered it.
    pub fn ask_others(&mut self, question: Unanswered) -> String {
        let Unanswered { ask, voters } = question;
        self.wire.write(NodeFrame::AskOthers { ask, voters })
    }

    /// The answer to another node's question.
    pub fn promised(&mut self, promise: Promise) -> String {
        self.wire.write(NodeFrame::Promised { promise })
    }

    /// The answer to a fence.
    pub fn fenced(&mut self, fenced: Fenced) -> String {
        self.wire.write(NodeFrame::Fenced { fenced })
    }

    /// Takes a text that came from the controller.
    ///
    /// # Errors
    /// If it breaks the rules; nothing of it may be believed.
    pub fn receive(&mut self, text: &str) -> Result<ToNode, Violation> {
        match self.wire.read(text)? {
            ControllerFrame::Closing { code, message } => {
                Ok(ToNode::Closing { code: shortened(&code), message: shortened(&message) })
            }
            ControllerFrame::Welcome { protocol, .. } if protocol != PROTOCOL => {
                Err(Violation::Protocol { found: protocol })
            }
            ControllerFrame::Welcome { .. } if self.welcome => Err(Violation::Unexpected("a second welcome")),
            ControllerFrame::Welcome { keepalive_ms, .. } => {
                self.welcome = true;
                Ok(ToNode::Welcome { period: Duration::from_millis(keepalive_ms.clamp(100, 600_000)) })
            }
            _ if !self.welcome => Err(Violation::Unexpected("a frame before welcome")),
            ControllerFrame::Promise { promise } => Ok(ToNode::Promise(promise)),
            ControllerFrame::Asked { ask } => Ok(ToNode::Asked(ask)),
            ControllerFrame::Fence { fence } => Ok(ToNode::Fence(fence)),
            ControllerFrame::Snapshot { desired } => Ok(self.take(desired)),
            ControllerFrame::Delta { delta } => {
                let base = self.base.as_ref().ok_or(Violation::Unexpected("a delta before a snapshot"))?;
                let made = delta.apply(base).map_err(|error| Violation::Unreadable(error.to_string()))?;
                Ok(self.take(made))
            }
        }
    }

    fn take(&mut self, desired: NodeDesired) -> ToNode {
        let desired = Arc::new(desired);
        self.reportable.push_back(desired.revision);
        self.base = Some(Arc::clone(&desired));
        ToNode::Desired(desired)
    }
}

#[cfg(test)]
mod tests;
