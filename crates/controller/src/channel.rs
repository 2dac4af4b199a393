//! Node sessions: desired state goes out whenever it is newer than what was sent, reports come in and become facts.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use causeway_fleet::lease::Relayed;
use causeway_fleet::{ControllerEnd, FromNode, PROTOCOL, Place, Refusal};
use causeway_model::diagnosis::NodeFacts;
use causeway_model::observed::{ConnectionFacts, NodeReport};
use causeway_model::{ConnectionId, Error, NodeId, Timestamp, VpnGatewayId};
use causeway_store::{ConnectionObserved, ConnectionRecord, GatewayObserved, GatewayRecord, Kind, NodeRecord, Writer};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::pace::{Known, Pace};
use crate::{Controller, Result, event, hearing, link, status};

/// The first message of a session.
struct Hello {
    node: NodeId,
    boot: Uuid,
    zone: String,
    version: String,
    on: Option<Place>,
}

/// Whose channel it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A node inside this process: its end is the node's.
    Local,
    /// A node that its certificate names, and where it came from: the end of its channel says nothing about the node.
    Remote(NodeId, SocketAddr),
}

/// The session of a node that counts. The one before it learns that it does not by losing what was in its place.
pub(crate) struct Session {
    number: u64,
    /// `None`: inside this process.
    on: Option<Place>,
    relayed: mpsc::Sender<Relayed>,
    _in_place: oneshot::Sender<Infallible>,
}

/// The sessions that count.
pub(crate) type Sessions = BTreeMap<NodeId, Session>;

impl Controller {
    /// Serves a node of this process until its channel closes, which means that the node has ended.
    pub fn attach_node(&self, end: ControllerEnd) -> JoinHandle<()> {
        let controller = self.clone();
        tokio::spawn(async move { controller.serve_node(end, Origin::Local).await })
    }

    /// Serves a node that has proven who it is, until its channel closes or another one takes its place.
    pub(crate) fn attach_remote(&self, node: NodeId, peer: SocketAddr, end: ControllerEnd) {
        let controller = self.clone();
        drop(tokio::spawn(async move { controller.serve_node(end, Origin::Remote(node, peer)).await }));
    }

    async fn serve_node(&self, mut end: ControllerEnd, origin: Origin) {
        let Some(hello) = first_message(&mut end).await else { return };
        let node = hello.node;
        if matches!(origin, Origin::Remote(proven, _) if proven != node) {
            tracing::error!(%node, ?origin, "a node says that it is another one");
            return;
        }
        let session = self.inner.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_elsewhere(&hello).await {
            tracing::warn!(%node, ?origin, "a node's process on another machine than the one that is heard is refused");
            return end.refuse(Refusal::Elsewhere);
        }
        let (in_place, mut ended) = oneshot::channel();
        let current = Session { number: session, on: hello.on, relayed: end.relayed.clone(), _in_place: in_place };
        self.with_sessions(|sessions| sessions.insert(node, current));
        if let Origin::Remote(_, peer) = origin {
            self.inner.ways.came(node, peer);
        }
        let registered = match self.register(&hello, origin, session).await {
            Err(error @ Error::Unavailable { .. }) => self.hear_on(&hello, error).await,
            registered => registered,
        };
        match self.or_doubt(registered) {
            Ok(()) => {
                tracing::info!(%node, zone = hello.zone, version = hello.version, "node attached");
                self.exchange((node, hello.on), &mut ended, &mut end).await;
            }
            Err(error) => tracing::error!(%node, zone = hello.zone, ?error, "node refused"),
        }
        let was_current =
            self.with_sessions(|sessions| is(sessions, node, session) && sessions.remove(&node).is_some());
        if !was_current {
            return;
        }
        match origin {
            Origin::Local => match self.node_ended(node).await {
                Ok(()) => tracing::warn!(%node, "node lost"),
                Err(error) => tracing::error!(%node, %error, "the loss of a node could not be stored"),
            },
            Origin::Remote(..) => {
                tracing::info!(%node, "the node's channel is closed; its keepalives decide what it counts as")
            }
        }
    }

    fn with_sessions<T>(&self, with: impl FnOnce(&mut Sessions) -> T) -> T {
        with(&mut self.inner.current_sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Whether the node speaks from another machine, as far as anybody can know yet. Otherwise its newest session is the one that counts. Two that
    /// took turns would only disturb each other, and one that was moved on purpose is heard no more.
    async fn is_elsewhere(&self, hello: &Hello) -> bool {
        let (node, Some(place)) = (hello.node, hello.on) else { return false };
        let session = self.with_sessions(|sessions| sessions.get(&node).map(|session| session.on));
        let known = match session {
            Some(on) => on.map(|place| place.machine),
            None => match self.read().await {
                Ok(mut reader) => reader.node(node).await.ok().flatten().and_then(|known| known.lease.machine),
                Err(_) => None,
            },
        };
        if known.is_none_or(|known| known == place.machine) {
            return false;
        }
        let period = self.inner.watches.profile().period();
        match (session, self.heard(node)) {
            (Some(_), Some(ago)) => ago <= 2 * period,
            (None, Some(ago)) => ago <= period.min(COMES_BACK),
            (_, None) => self.inner.leases.age(self.inner.clock.monotonic()) <= BEGINS,
        }
    }

    /// Where the node is whose session counts; `None`: it has none, or is inside this process.
    pub(crate) fn place_of(&self, node: NodeId) -> Option<Place> {
        self.with_sessions(|sessions| sessions.get(&node).and_then(|session| session.on))
    }

    /// Whether a node has a session.
    pub(crate) fn has_session(&self, node: NodeId) -> bool {
        self.with_sessions(|sessions| sessions.contains_key(&node))
    }

    /// Passes on to a node what another one says. It is lost if the node has no session, or takes nothing: who asks hears nothing then.
    pub(crate) fn pass(&self, to: NodeId, what: Relayed) {
        self.with_sessions(|sessions| {
            if let Some(session) = sessions.get(&to) {
                let _ = session.relayed.try_send(what);
            }
        });
    }

    /// Ends the session of a node, if it has one.
    pub(crate) fn end_session(&self, node: NodeId) {
        self.with_sessions(|sessions| sessions.remove(&node));
    }

    /// Pushes and takes until either end closes, or another session has taken this one's place.
    ///
    /// It wakes for changes of this node's revision only: with many nodes, nearly all changes are other ones'.
    async fn exchange(
        &self,
        (node, on): (NodeId, Option<Place>),
        ended: &mut oneshot::Receiver<Infallible>,
        end: &mut ControllerEnd,
    ) {
        let machine = on.map(|place| place.machine);
        let mut revision = self.inner.store.node_revision(node);
        let mut changed = self.subscribe();
        let mut sent = 0;
        let mut waits = false;
        let mut pace = Pace::default();
        let mut known = Known::default();
        let mut unstored = Unstored::default();
        loop {
            changed.borrow_and_update();
            let newest = *revision.borrow_and_update();
            if matches!(ended.try_recv(), Err(TryRecvError::Closed)) {
                tracing::warn!(%node, "a session of the node has been replaced or ended by the operator");
                return;
            }
            if newest > sent
                && let Some(begun) = pace.begin(Instant::now())
            {
                // A document that cannot be rendered now is tried again at the next change of anything: the node runs on with the last good
                // one. So is that of a node whose replacement may end.
                let pushed = self.push(node, end).await.unwrap_or_else(|error| {
                    tracing::error!(%node, %error, "the node's desired state could not be rendered");
                    None
                });
                (sent, waits) = (pushed.unwrap_or(sent), pushed.is_none());
                pace.end(begun, Instant::now());
            }
            tokio::select! {
                _ = &mut *ended => {}
                _ = revision.changed() => {}
                _ = changed.changed(), if waits => {}
                () = pace.rest() => {}
                () = unstored.rest() => self.store_again(node, &mut unstored, &mut known).await,
                message = end.reports.recv() => match message {
                    Some(FromNode::Report(report)) => {
                        // It says all that an earlier one said.
                        unstored.report = None;
                        self.report_came(node, report, &mut unstored, &mut known).await;
                    }
                    Some(FromNode::Keepalive { services }) => {
                        if let Err(error) = self.node_keepalive(node, &services).await {
                            tracing::error!(%node, %error, "what a keepalive changed could not be stored");
                        }
                    }
                    Some(FromNode::Facts(facts)) => {
                        unstored.facts = None;
                        self.facts_came(node, facts, &mut unstored).await;
                    }
                    Some(FromNode::Peering { listens, answered, lease }) => {
                        if let Err(error) = self.node_peering((node, machine), listens, &answered).await {
                            tracing::error!(%node, %error, "where a node answers others could not be stored");
                        }
                        if let Err(error) = self.node_holds(node, lease).await {
                            tracing::error!(%node, %error, "what a node says of its lease could not be stored");
                        }
                    }
                    // The other end of the channel has answered and taken them.
                    Some(
                        FromNode::Ask(_) | FromNode::AskOthers(_) | FromNode::Promised(_) | FromNode::Fenced(_),
                    ) => {}
                    Some(FromNode::Hello { .. }) => tracing::warn!(%node, "a second hello in one session is ignored"),
                    None => return,
                },
                () = end.desired.closed() => return,
            }
        }
    }

    async fn report_came(&self, node: NodeId, report: NodeReport, unstored: &mut Unstored, known: &mut Known) {
        if let Err((error, report)) = self.take_report(node, report, known).await {
            tracing::error!(%node, %error, "the node's report could not be stored");
            unstored.report = Some(report);
            unstored.wait();
        }
    }

    async fn facts_came(&self, node: NodeId, facts: Box<NodeFacts>, unstored: &mut Unstored) {
        if let Err(error) = self.node_told(node, &facts).await {
            tracing::error!(%node, %error, "what the node says of itself could not be stored");
            unstored.facts = Some(facts);
            unstored.wait();
        }
    }

    async fn store_again(&self, node: NodeId, unstored: &mut Unstored, known: &mut Known) {
        unstored.at = None;
        if let Some(report) = unstored.report.take() {
            self.report_came(node, report, unstored, known).await;
        }
        if let Some(facts) = unstored.facts.take() {
            self.facts_came(node, facts, unstored).await;
        }
    }

    /// Sends the desired state; answers its revision. `None`: the node is being replaced, and told nothing.
    async fn push(&self, node: NodeId, end: &ControllerEnd) -> Result<Option<u64>> {
        let before = Arc::clone(&end.desired.borrow());
        let Some(desired) = self.render(node, &before).await? else { return Ok(None) };
        let revision = desired.revision;
        end.desired.send_replace(Arc::new(desired));
        Ok(Some(revision))
    }

    /// A node is there, unless another session has taken the place of this one.
    async fn register(&self, hello: &Hello, origin: Origin, session: u64) -> Result<()> {
        let mut writer = self.inner.store.write().await?;
        if self.with_sessions(|sessions| !is(sessions, hello.node, session)) {
            return Err(Error::Internal("the session ended before it was begun".to_owned()));
        }
        let zones = writer.zones().await?;
        if !zones.contains(&hello.zone) {
            let help = format!("`{}` is none of this service's zones: {}", hello.zone, zones.join(", "));
            return Err(Error::constraint("zone", help));
        }
        let known = writer.node(hello.node).await?;
        let missing = || Error::NotFound { resource: "node", id: hello.node.to_string() };
        if matches!(origin, Origin::Remote(..)) {
            let known = known.as_ref().filter(|known| known.revoked_at.is_none()).ok_or_else(missing)?;
            if known.zone != hello.zone {
                let help = format!("the node joined zone {}, and says that it is in `{}`", known.zone, hello.zone);
                return Err(Error::constraint("zone", help));
            }
        }
        let is_new_boot = known.as_ref().is_none_or(|known| known.boot != hello.boot);
        let now = self.now();
        writer.register_node(hello.node, &hello.zone, hello.boot, &hello.version, now).await?;
        let is_elsewhere = match hello.on {
            Some(place) => self.machine_came(&mut writer, hello.node, place, now).await?,
            None => false,
        };
        let record = writer.node(hello.node).await?.ok_or_else(missing)?;
        self.node_came(&mut writer, &record, is_new_boot).await?;
        if known.is_none() || is_elsewhere {
            // One more that may have a vote, or other terms.
            self.tell_failover(&mut writer).await?;
        }
        link::place_unplaced(&mut writer, now).await?;
        writer.emit(now, "node", "attached", &hello.node.to_string()).await?;
        writer.commit().await?;
        self.announce();
        Ok(())
    }

    /// A process that the store knows has come back over another connection, and the store takes nothing now, because its disk is full for
    /// example: there is nothing new to store, and a node that is not heard would count as lost.
    ///
    /// # Errors
    /// `error`, if it is another process.
    async fn hear_on(&self, hello: &Hello, error: Error) -> Result<()> {
        let known = self.read().await?.node(hello.node).await?;
        let same =
            |known: &NodeRecord| known.boot == hello.boot && known.zone == hello.zone && known.revoked_at.is_none();
        if !known.as_ref().is_some_and(same) {
            return Err(error);
        }
        tracing::warn!(node = %hello.node, %error, "a node came back, which could not be stored");
        self.node_heard(hello.node);
        Ok(())
    }

    /// Turns a report into facts: acknowledgements, refusals, tunnels, sessions, and the end of gateways that were being deleted.
    ///
    /// # Errors
    /// The store's, with the report, which was not taken.
    async fn take_report(
        &self,
        node: NodeId,
        report: NodeReport,
        known: &mut Known,
    ) -> std::result::Result<(), (Error, NodeReport)> {
        let stored = self.store_report(node, &report, known).await;
        match self.or_doubt(stored) {
            Ok(gateways) => {
                let connections = report.connections.into_iter().map(|facts| (facts.id, facts)).collect();
                *known = Known { gateways, connections };
                self.announce();
                Ok(())
            }
            Err(error) => Err((error, report)),
        }
    }

    /// Stores what is news of a report; answers the gateways that it is about.
    async fn store_report(&self, node: NodeId, report: &NodeReport, known: &Known) -> Result<BTreeSet<VpnGatewayId>> {
        let mut writer = self.inner.store.write().await?;
        let now = self.now();
        let before = writer.node(node).await?;
        let refusals = report.gateways.iter().map(|facts| &facts.refused);
        let refusals = refusals.chain(report.connections.iter().map(|facts| &facts.refused));
        let refusals = refusals.chain(report.links.iter().map(|facts| &facts.refused));
        let refusal = refusals.chain(report.vpcs.iter().map(|facts| &facts.refused)).flatten().next().cloned();
        self.node_reported(&mut writer, node, refusal, now).await?;
        let after = writer.node(node).await?;
        writer.set_node_report(node, report.revision, now).await?;
        writer.set_vpcs_observed(node, &report.vpcs, now).await?;
        let gateways: BTreeMap<VpnGatewayId, _> = report.gateways.iter().map(|facts| (facts.id, facts)).collect();
        let connections: BTreeMap<_, _> = report.connections.iter().map(|facts| (facts.id, facts)).collect();
        let heard_again =
            before.is_none_or(|before| before.silent || after.as_ref().is_none_or(|after| before.state != after.state));
        let mut seen = BTreeSet::new();
        let (mut left, mut vpcs) = (Vec::new(), BTreeSet::new());
        for record in writer.gateways_of_node(node).await? {
            let id = record.gateway.id;
            let facts = gateways.get(&id);
            if let Some(revision) = record.deleting_revision {
                if facts.is_none() && report.revision >= revision {
                    self.finish_deletion(&mut writer, &record, now).await?;
                }
                continue;
            }
            if let Some(revision) = record.leaving_revision {
                if facts.is_none() && report.revision >= revision {
                    self.take_off(&mut writer, &record, now).await?;
                    left.push(id);
                    vpcs.insert((record.vpc, record.gateway.zone));
                }
                continue;
            }
            let (applied, refusal) = facts.map_or((0, None), |facts| (facts.applied, facts.refused.clone()));
            let changed = gateway_facts(&mut writer, &record, applied, refusal, now).await?;
            let ids = &record.gateway.connection_ids;
            let told = |connection: &ConnectionId| connections.get(connection).copied();
            let is_news = |connection: &&ConnectionId| heard_again || known.is_news(id, **connection, told(connection));
            let news: BTreeSet<ConnectionId> = ids.iter().filter(is_news).copied().collect();
            let mut new = Vec::new();
            for connection in connections_of(&mut writer, id, ids.len(), &news).await? {
                let facts = told(&connection.connection.id);
                if connection_facts(&mut writer, &connection, facts, now).await? {
                    new.push(connection.connection.id);
                }
                let received = facts.map_or(&[][..], |facts| &facts.received);
                let known = connection.observed.as_ref().map_or(&[][..], |observed| &observed.facts.received);
                if heard_again || received != known {
                    let installed = hearing::installed(received);
                    writer.set_learned_routes(id, connection.connection.id, &installed, now).await?;
                }
            }
            if changed || heard_again {
                status::refresh(&mut writer, id, now).await?;
            } else if !new.is_empty() {
                status::refresh_some(&mut writer, id, &new, now).await?;
            }
            seen.insert(id);
        }
        link::take_facts(&mut writer, node, report, heard_again, now).await?;
        vpcs.append(&mut self.routers_left(&mut writer, node, report, now).await?);
        if let Some(node) = after.filter(|_| !vpcs.is_empty()) {
            self.place_waiting(&mut writer, &node.zone, now).await?;
            self.settle_routers(&mut writer, &vpcs, now).await?;
            for id in left {
                status::refresh(&mut writer, id, now).await?;
            }
        }
        writer.commit().await?;
        Ok(seen)
    }
}

/// A node whose connection broke off tries again within this, several times.
const COMES_BACK: Duration = Duration::from_secs(5);
/// When the controller was away for long, this is longer than a node's pause between two attempts.
const BEGINS: Duration = Duration::from_secs(25);
/// Between two attempts to store what was said.
const STORE_AGAIN: Duration = Duration::from_secs(5);

/// What a node has said and the store has not taken, because its disk is full for example: a node says it again only when it changes.
#[derive(Default)]
struct Unstored {
    report: Option<NodeReport>,
    facts: Option<Box<NodeFacts>>,
    /// When it is tried again.
    at: Option<Instant>,
}

impl Unstored {
    fn wait(&mut self) {
        self.at = Some(Instant::now() + STORE_AGAIN);
    }

    /// Waits until it is time to try again; for ever if there is nothing.
    async fn rest(&self) {
        match self.at {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    }
}

/// Whether this session of a node is the one that counts.
fn is(sessions: &Sessions, node: NodeId, number: u64) -> bool {
    sessions.get(&node).is_some_and(|session| session.number == number)
}

async fn first_message(end: &mut ControllerEnd) -> Option<Hello> {
    match end.reports.recv().await? {
        FromNode::Hello { protocol: PROTOCOL, node, boot, zone, version, on } => {
            Some(Hello { node, boot, zone, version, on })
        }
        FromNode::Hello { protocol, node, .. } => {
            tracing::error!(%node, protocol, "the node speaks another protocol; this controller speaks {PROTOCOL}");
            None
        }
        FromNode::Report(_)
        | FromNode::Facts(_)
        | FromNode::Keepalive { .. }
        | FromNode::Peering { .. }
        | FromNode::Ask(_)
        | FromNode::AskOthers(_)
        | FromNode::Promised(_)
        | FromNode::Fenced(_) => {
            tracing::error!("a node did not begin with hello");
            None
        }
    }
}

/// Of the `count` connections of a gateway those in `wanted`: one by one, or all at once where they are many.
async fn connections_of(
    writer: &mut Writer,
    gateway: VpnGatewayId,
    count: usize,
    wanted: &BTreeSet<ConnectionId>,
) -> Result<Vec<ConnectionRecord>> {
    let mut records = Vec::with_capacity(wanted.len());
    if wanted.len() * 4 > count {
        records = writer.connection_records(gateway).await?;
        records.retain(|record| wanted.contains(&record.connection.id));
    } else {
        for id in wanted {
            records.extend(writer.connection_by_id(*id).await?);
        }
    }
    Ok(records)
}

impl Controller {
    /// Removes a gateway that its node has let go of, frees its addresses, and gives its room to whoever waits for some.
    pub(crate) async fn finish_deletion(
        &self,
        writer: &mut Writer,
        record: &GatewayRecord,
        now: Timestamp,
    ) -> Result<()> {
        let id = record.gateway.id;
        writer.delete(Kind::VpnGateway, id.0).await?;
        writer.release_resource_ips(id.0, now).await?;
        writer.emit(now, "vpn_gateway", "deleted", &id.to_string()).await?;
        self.settle_router(writer, (record.vpc, &record.gateway.zone), now).await?;
        self.place_waiting(writer, &record.gateway.zone, now).await
    }
}

/// Since when an acknowledgement is owed, given what is in force now.
fn owed(config: u64, applied: u64, since: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    if applied >= config { None } else { since.or(Some(now)) }
}

/// Stores what a node says of a gateway; whether that is anything new.
async fn gateway_facts(
    writer: &mut Writer,
    record: &GatewayRecord,
    applied: u64,
    refusal: Option<causeway_model::observed::Refusal>,
    now: Timestamp,
) -> Result<bool> {
    let id = record.gateway.id;
    let old = record.observed.as_ref();
    let observed = GatewayObserved {
        applied_revision: applied,
        refusal,
        ever_acknowledged: applied > 0 || old.is_some_and(|old| old.ever_acknowledged),
        observed_at: old.map_or(now, |old| old.observed_at),
    };
    let pending = owed(record.config_revision, applied, record.pending_since, now);
    let changed = old != Some(&observed);
    if changed {
        writer.set_gateway_observed(id, &GatewayObserved { observed_at: now, ..observed }).await?;
    }
    if pending != record.pending_since {
        writer.set_gateway_pending(id, pending).await?;
    }
    let taken_over = record.failover_since.is_some() && applied >= record.config_revision;
    if taken_over {
        writer.set_gateway_failover(id, None).await?;
    }
    Ok(changed || taken_over || pending != record.pending_since)
}

/// Stores what a node says of a connection, or that it does not run it; whether that is anything new.
pub(crate) async fn connection_facts(
    writer: &mut Writer,
    record: &ConnectionRecord,
    facts: Option<&ConnectionFacts>,
    now: Timestamp,
) -> Result<bool> {
    let id = record.connection.id;
    let old = record.observed.as_ref();
    let facts = match (facts, old) {
        (Some(facts), _) => facts.clone(),
        // Never seen and still not there: there is nothing to say.
        (None, None) => return Ok(false),
        (None, Some(_)) => ConnectionFacts {
            id,
            applied: 0,
            refused: None,
            tunnels: Vec::new(),
            sessions: Vec::new(),
            received: Vec::new(),
            announced: Vec::new(),
        },
    };
    let mut ever_up = old.is_some_and(|old| old.ever_up);
    if !ever_up && facts.tunnels.iter().any(|tunnel| tunnel.up || tunnel.ever_up) {
        // A report may still be about the address that the peer had before.
        let peers = writer.tunnels(id).await?;
        ever_up = facts
            .tunnels
            .iter()
            .any(|tunnel| (tunnel.up || tunnel.ever_up) && peers.iter().any(|known| known.peer == tunnel.peer));
    }
    let observed = ConnectionObserved {
        applied_revision: facts.applied,
        refusal: facts.refused.clone(),
        ever_acknowledged: facts.applied > 0 || old.is_some_and(|old| old.ever_acknowledged),
        ever_up,
        observed_at: old.map_or(now, |old| old.observed_at),
        facts,
    };
    let pending = owed(record.config_revision, observed.applied_revision, record.pending_since, now);
    let changed = old != Some(&observed);
    if changed {
        event::note_facts(writer, record, old.map(|old| &old.facts), &observed.facts, now).await?;
        writer.set_connection_observed(id, &ConnectionObserved { observed_at: now, ..observed }).await?;
    }
    if pending != record.pending_since {
        writer.set_connection_pending(id, pending).await?;
    }
    Ok(changed || pending != record.pending_since)
}
