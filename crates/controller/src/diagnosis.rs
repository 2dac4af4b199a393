//! What is known about how nodes and this controller reach each other: probes of nodes' own listeners, attempts that were turned away,
//! what nodes say of themselves; and the diagnosis made of it.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use causeway_fleet::listener;
use causeway_fleet::tls::{self, Trust};
use causeway_model::diagnosis::{Attempt, Check, Door, Evidence, Known, NodeFacts, Probe, Told, examine};
use causeway_model::resource::Caller;
use causeway_model::{Error, NodeId, Timestamp};
use causeway_store::{NodeContact, NodeRecord};
use tokio::task::JoinSet;

use crate::access::operator;
use crate::node::{NODE, known};
use crate::{Controller, Result};

/// Attempts that are remembered, of all nodes together.
const ATTEMPTS: usize = 256;
/// Of which a diagnosis shows this many.
const SHOWN: usize = 5;
/// Seconds after which an attempt says nothing any more.
const RECENT: f64 = 600.0;
/// Probes at once.
const AT_ONCE: usize = 16;
/// Characters of what a stranger's attempt met.
const MAX_TEXT: usize = 500;

/// Looks for filters on the controller's own machine that drop what comes to a TCP port.
pub type FindFilters = Arc<dyn Fn(u16) -> Pin<Box<dyn Future<Output = Vec<String>> + Send>> + Send + Sync>;

/// What a probe of a node met.
type Met = (NodeId, SocketAddr, Result<NodeFacts, Probe>);

/// What one process knows of the ways between it and its nodes.
#[derive(Default)]
pub(crate) struct Ways {
    attempts: Mutex<VecDeque<(Option<NodeId>, Attempt)>>,
    /// From where the channel of each node came.
    peers: Mutex<BTreeMap<NodeId, SocketAddr>>,
    door: OnceLock<(SocketAddr, FindFilters)>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ways {
    pub(crate) fn came(&self, node: NodeId, peer: SocketAddr) {
        lock(&self.peers).insert(node, peer);
    }

    pub(crate) fn turned_away(&self, node: Option<NodeId>, attempt: Attempt) {
        let mut attempts = lock(&self.attempts);
        if attempts.len() >= ATTEMPTS {
            attempts.pop_back();
        }
        let text = attempt.text.chars().take(MAX_TEXT).collect();
        attempts.push_front((node, Attempt { text, ..attempt }));
    }

    fn peer(&self, node: NodeId) -> Option<SocketAddr> {
        lock(&self.peers).get(&node).copied()
    }

    /// The attempts that were the node's: by its certificate, or by where its channel came from.
    fn attempts(&self, node: NodeId, peer: Option<IpAddr>, now: Timestamp) -> Vec<Attempt> {
        let attempts = lock(&self.attempts);
        let its = attempts.iter().filter(|(by, attempt)| {
            by.map_or_else(|| peer == Some(attempt.peer.ip()), |by| by == node)
                && now.seconds_since(attempt.at) < RECENT
        });
        its.take(SHOWN).map(|(_, attempt)| attempt.clone()).collect()
    }
}

/// A diagnosis with what it was made of.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The node.
    pub node: NodeRecord,
    /// The checks in their order.
    pub checks: Vec<Check>,
    /// What they looked at.
    pub evidence: Evidence,
}

/// Where a node is probed.
fn target(contact: Option<&NodeContact>) -> Result<SocketAddr, &'static str> {
    let contact = contact.ok_or("the node has not said where it listens")?;
    let listener = contact.facts.listener.as_ref().ok_or("the node was told to have no listener")?;
    if !listener.address.ip().is_unspecified() {
        return Ok(listener.address);
    }
    let peer = contact.peer.ok_or("it is not known where the node is")?;
    Ok(SocketAddr::new(peer.ip().to_canonical(), listener.address.port()))
}

/// An address under which this machine reaches a listener of its own.
fn own(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

impl Controller {
    /// Says where this process listens for nodes, and has their listeners probed from now on.
    ///
    /// # Errors
    /// If it was said before.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn listens_for_nodes(&self, listen: SocketAddr, filters: FindFilters) -> Result<()> {
        if self.inner.ways.door.set((listen, filters)).is_err() {
            return Err(Error::Internal("this process listens for nodes already".to_owned()));
        }
        let weak = Arc::downgrade(&self.inner);
        let period = self.inner.watches.profile().period();
        tokio::spawn(async move {
            let mut periods = tokio::time::interval(period);
            periods.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut trust = None;
            loop {
                periods.tick().await;
                let Some(inner) = weak.upgrade() else { return };
                let controller = Self { inner };
                if controller.inner.store.is_closed() {
                    return;
                }
                if let Err(error) = controller.probe_nodes(&mut trust).await
                    && !controller.inner.store.is_closed()
                {
                    tracing::error!(%error, "the nodes' listeners could not be probed");
                }
            }
        });
        Ok(())
    }

    /// What proves this controller to nodes, and nodes to it.
    async fn trust(&self) -> Result<Trust> {
        let internal = |error: &dyn ToString| Error::Internal(error.to_string());
        let authority = self.node_authority().await?;
        let credentials = authority.controller(self.system_time()).map_err(|error| internal(&error))?;
        tls::client(authority.pem(), &credentials).map_err(|error| internal(&error))
    }

    async fn probe_nodes(&self, trust: &mut Option<(Timestamp, Trust)>) -> Result<()> {
        let mut reader = self.read().await?;
        let nodes = reader.nodes().await?;
        let mut targets = Vec::new();
        for node in nodes.iter().filter(|node| node.revoked_at.is_none() && node.enrolled_at.is_some()) {
            if let Ok(address) = target(reader.node_contact(node.id).await?.as_ref()) {
                targets.push((node.id, address));
            }
        }
        drop(reader);
        if targets.is_empty() {
            return Ok(());
        }
        let life = Self::controller_certificate_life().as_secs_f64() / 2.0;
        let now = self.now();
        let config = match trust {
            Some((made, config)) if (0.0..life).contains(&now.seconds_since(*made)) => Arc::clone(config),
            _ => {
                let config = self.trust().await?;
                *trust = Some((now, Arc::clone(&config)));
                config
            }
        };
        let mut probes = JoinSet::new();
        for (node, address) in targets {
            if probes.len() >= AT_ONCE {
                self.probed(probes.join_next().await).await?;
            }
            let config = Arc::clone(&config);
            probes.spawn(async move { (node, address, listener::probe(address, node, config).await) });
        }
        while let Some(done) = probes.join_next().await {
            self.probed(Some(done)).await?;
        }
        Ok(())
    }

    async fn probed(&self, done: Option<std::result::Result<Met, tokio::task::JoinError>>) -> Result<()> {
        let Some(Ok((node, address, met))) = done else { return Ok(()) };
        let unreachable = met.err().map(|probe| match probe {
            Probe::Refused(why) | Probe::Silent(why) | Probe::Stuck(why) | Probe::Trust(why) | Probe::None(why) => {
                format!("{address}: {why}")
            }
            Probe::Answered => address.to_string(),
        });
        self.node_probed(node, unreachable).await
    }

    /// A node has said what it sees of itself.
    pub(crate) async fn node_told(&self, node: NodeId, facts: &NodeFacts) -> Result<()> {
        let contact = NodeContact { at: self.now(), peer: self.inner.ways.peer(node), facts: facts.clone() };
        let mut writer = self.inner.store.write().await?;
        writer.set_node_contact(node, &contact).await?;
        writer.commit().await?;
        self.node_disk(node, facts).await
    }

    /// From where the newest channel of a node came.
    pub(crate) fn came_from(&self, node: NodeId) -> Option<SocketAddr> {
        self.inner.ways.peer(node)
    }

    /// What is the matter with a node; operators only. Probes it, and waits some seconds for its answer.
    ///
    /// # Errors
    /// [`Error::PermissionsDenied`], [`Error::NotFound`].
    pub async fn diagnose_node(&self, caller: &Caller, id: NodeId) -> Result<Diagnosis> {
        operator(caller, "read", NODE)?;
        let mut reader = self.read().await?;
        let node = known(&mut reader, id).await?;
        let contact = reader.node_contact(id).await?;
        let pending = reader.node_pending_since(id).await?;
        drop(reader);
        let local = node.enrolled_at.is_none();
        let door = if local { Door::default() } else { self.door().await? };
        let address = target(contact.as_ref());
        let mut told = contact.as_ref().map(|contact| Told { at: contact.at, facts: contact.facts.clone() });
        let probe = match (local, address) {
            (true, _) => Probe::None("the node is inside the service's own process".to_owned()),
            (false, Err(why)) => Probe::None(why.to_owned()),
            (false, Ok(address)) => match listener::probe(address, id, self.trust().await?).await {
                Ok(facts) => {
                    told = Some(Told { at: self.now(), facts });
                    Probe::Answered
                }
                Err(met) => met,
            },
        };
        let now = self.now();
        let peer = self.inner.ways.peer(id).or_else(|| contact.and_then(|contact| contact.peer));
        let heard = self.heard(id);
        let evidence = Evidence {
            now,
            node: Known {
                state: node.state,
                since: node.state_since,
                fault: node.fault.clone(),
                local,
                revoked_at: node.revoked_at,
                revision: node.revision,
                applied_revision: node.applied_revision,
                pending_for: pending.map(|since| now.seconds_since(since)),
            },
            door,
            heard_at: heard.map(|ago| before(now, ago)),
            heard: heard.is_some_and(|ago| ago <= 2 * self.inner.watches.profile().period()),
            peer,
            attempts: self.inner.ways.attempts(id, peer.map(|peer| peer.ip()), now),
            probe,
            probed: address.ok(),
            machine: self.machine_of(id),
            told,
        };
        Ok(Diagnosis { node, checks: examine(&evidence), evidence })
    }

    async fn door(&self) -> Result<Door> {
        let Some((listen, filters)) = self.inner.ways.door.get() else { return Ok(Door::default()) };
        let deaf = listener::greet(own(*listen), self.trust().await?).await.err();
        Ok(Door { listen: Some(*listen), deaf, filters: filters(listen.port()).await })
    }
}

fn before(now: Timestamp, ago: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX)))
}
