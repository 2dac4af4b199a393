//! The session: up to two connections, the timers between them, collision, policy, and what the caller has to do and to know.

mod broken;
mod facts;
mod restart;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use causeway_model::{Family, Fault, ReasonCode};
use ipnet::IpNet;

use crate::codec::{self, Announcer, Message, Notification, Open, ProtocolError};
use crate::connection::{Connection, Phase};
use crate::fault;
use crate::jitter::Jitter;
use crate::rib::{self, AdjRibIn, Filter, Judge, Policy};
use crate::select;
use crate::types::{Action, ConnKind, ConnectError, Counters, Event, SessionConfig};
use broken::Broken;
use restart::Stale;

/// How long one attempt to connect may take. The kernel repeats the SYN after 1 s and 3 s, so this sees both answers.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Wait before connecting again for the first [`EAGER`] times: a tunnel often comes up just before the device's BGP does.
const RETRY_EAGER: Duration = Duration::from_millis(100);
/// Two seconds of attempts that are refused at once.
const EAGER: u32 = 20;
/// The wait after those; doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The same after a protocol error in either direction: the peer's configuration has to change, so there is less hurry.
const IDLE_FIRST: Duration = Duration::from_secs(1);
const IDLE_MAX: Duration = Duration::from_secs(10);
/// After a protocol error the peer's connections are turned away for this long, which bounds the work that a peer in a loop causes.
const TURN_AWAY: Duration = Duration::from_secs(1);
/// A session that was up for this long starts its waits anew.
const STABLE: Duration = Duration::from_secs(60);
/// ROUTE-REFRESH is answered at most this often; requests in between are answered together.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// One BGP session: a (connection, family). After every call drain [`Self::poll_action`] and [`Self::poll_event`].
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    /// Communities that decide (system.md §2.4).
    tags: Vec<u32>,
    filter: Option<Filter>,
    enabled: bool,
    /// Since when `Connect` is under way.
    connecting: Option<Instant>,
    retry_at: Option<Instant>,
    /// Failures since it was last up for long.
    attempts: u32,
    strikes: u32,
    turn_away_until: Option<Instant>,
    /// Outgoing, incoming.
    connections: [Option<Connection>; 2],
    up: Option<ConnKind>,
    since: Instant,
    flaps: u32,
    fault: Fault,
    fault_at: Instant,
    /// It has not been up yet, and the peer may remember the session of a process before this one.
    fresh: bool,
    stale: Option<Stale>,
    adj_in: AdjRibIn,
    adj_out: BTreeSet<IpNet>,
    broken: Broken,
    refresh_asked: bool,
    refresh_at: Option<Instant>,
    counters: Counters,
    jitter: Jitter,
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

impl Session {
    /// A session that is not enabled and has no policy.
    #[must_use]
    pub fn new(config: SessionConfig, now: Instant) -> Self {
        let hold_time = if config.hold_time == 0 { 0 } else { config.hold_time.max(3) };
        let config = SessionConfig { hold_time, ..config };
        let judge = Judge { local_asn: config.local_asn, local: config.local, peer: config.peer };
        Self {
            config,
            tags: select::tags(config.local_asn),
            filter: None,
            enabled: false,
            connecting: None,
            retry_at: None,
            attempts: 0,
            strikes: 0,
            turn_away_until: None,
            connections: [None, None],
            up: None,
            since: now,
            flaps: 0,
            fault: ReasonCode::TunnelDown.into(),
            fault_at: now,
            fresh: true,
            stale: None,
            adj_in: AdjRibIn::new(judge, config.max_prefixes),
            adj_out: BTreeSet::new(),
            broken: Broken::default(),
            refresh_asked: false,
            refresh_at: None,
            counters: Counters::default(),
            jitter: Jitter::new(&config),
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// `true` once the tunnel is up: connects at once. `false` when it is gone: down at once with `tunnel_down` and without a
    /// NOTIFICATION, which could not arrive.
    pub fn set_enabled(&mut self, now: Instant, enabled: bool) {
        if enabled == self.enabled {
            return;
        }
        if enabled {
            self.enabled = true;
            self.attempts = 0;
            self.strikes = 0;
            self.turn_away_until = None;
            self.replace_fault(now, ReasonCode::BgpConnecting.into());
            self.connect(now);
        } else {
            self.stop(now, ReasonCode::TunnelDown.into(), None);
        }
    }

    /// Ends the session with Cease, administrative shutdown and `reason` (RFC 9003, the successor of RFC 8203; cut at 128 octets),
    /// and stays idle until it is enabled again.
    pub fn shutdown(&mut self, now: Instant, reason: &str) {
        let fault = Fault::new(ReasonCode::BgpDisabled).with("shutdown", codec::bounded(reason));
        self.stop(now, fault, Some(&Notification::shutdown(reason)));
    }

    /// The peer may have begun anew: says something that it answers with a reset if it knows nothing of the session, which ends
    /// it at once instead of after the hold time. Does nothing to a session that is well, or not up.
    pub fn probe(&mut self) {
        if let Some(up) = self.up {
            self.send(up, codec::keepalive());
        }
    }

    /// Sets what may be accepted and announced. The session is not touched: what the peer announced is judged anew, and what it was
    /// told is corrected.
    pub fn set_policy(&mut self, _now: Instant, policy: Policy) {
        if self.policy() == Some(&policy) {
            return;
        }
        self.filter = Some(Filter::new(policy));
        let mut changed = self.adj_in.reevaluate(self.filter.as_ref());
        changed |= self.correct_announcements();
        if changed {
            self.routes_changed();
        }
    }

    /// Sets how many prefixes are accepted at most. The session is not touched: what was refused for the old limit moves up, oldest first, or what
    /// came last is refused; the peer is asked for what was not even remembered (RFC 2918).
    pub fn set_max_prefixes(&mut self, max_prefixes: u32) {
        self.config.max_prefixes = max_prefixes;
        if self.adj_in.set_limit(max_prefixes, self.filter.as_ref()) {
            self.routes_changed();
        }
        if let Some(up) = self.up {
            self.ask_for_lost(up);
        }
    }

    /// The device was seen using our inside address as its own, which only whoever sees the packets can know. Counts while down.
    pub fn note_addresses_swapped(&mut self, now: Instant) {
        if self.enabled && self.up.is_none() {
            let fault = Fault::new(ReasonCode::BgpAddressesSwapped)
                .values(self.config.local.to_string(), self.config.local.to_string())
                .with("expected_peer_address", self.config.peer.to_string());
            self.replace_fault(now, fault);
        }
    }

    // === transport ===

    /// Whether a connection of the peer is welcome at all now; if not, refuse it at TCP or hand it over to be closed.
    #[must_use]
    pub fn accepts_incoming(&self, now: Instant) -> bool {
        self.enabled && self.turn_away_until.is_none_or(|until| now >= until)
    }

    /// Whether a connection of the peer, which has sent an OPEN over it that may be one ([`crate::Newcomer`]), is to be handed over by
    /// [`Self::handle_connected`] while the session is up. If not, the caller closes it and leaves the session alone (RFC 4271 §6.8), and the peer is
    /// asked whether it still knows the session: where it does not, that draws a reset, which ends it at once.
    ///
    /// A session over an incoming connection gives way only with graceful restart (RFC 4724 §5): then a new connection says that the peer restarted.
    pub fn admits_newcomer(&mut self) -> bool {
        let stands = self.up == Some(ConnKind::Incoming) && self.restart_time(ConnKind::Incoming).is_zero();
        if stands {
            self.counters.turned_away += 1;
            self.probe();
        }
        !stands
    }

    /// TCP is established. A second incoming connection replaces the first, whose socket the caller drops: a peer that connects
    /// again has given the first one up. While the session is up it comes here only as [`Self::admits_newcomer`] says. It replaces our own
    /// connection too if the session over that one is older than a collision can be, graceful restart is negotiated, and no routes
    /// wait for the End-of-RIB of a restart.
    pub fn handle_connected(&mut self, now: Instant, kind: ConnKind) {
        if kind == ConnKind::Outgoing {
            if self.connecting.take().is_none() {
                self.actions.push_back(Action::Close(kind));
                return;
            }
        } else if self.connections[kind.index()].is_some() {
            self.lost(now, kind, "replaced by a new connection of the peer");
        } else if self.accepts_incoming(now) {
            self.give_way(now);
        }
        if let Some(up) = self.up {
            // Late in a collision, or the peer has forgotten the session: then this draws a reset, which ends it at once.
            self.send(up, codec::keepalive());
        }
        if !self.enabled || self.up.is_some() || (kind == ConnKind::Incoming && !self.accepts_incoming(now)) {
            self.counters.turned_away += 1;
            self.actions.push_back(Action::Close(kind));
            return;
        }
        self.retry_at = None;
        self.connections[kind.index()] = Some(Connection::new(now));
        let SessionConfig { local_asn, hold_time, router_id, family, .. } = self.config;
        self.send(kind, codec::open(local_asn, hold_time, router_id, family, self.fresh));
    }

    /// An attempt to connect failed.
    pub fn handle_connect_failed(&mut self, now: Instant, error: ConnectError) {
        if self.connecting.take().is_none() {
            return;
        }
        let peer = self.config.peer.to_string();
        let fault = match error {
            ConnectError::Refused => Fault::new(ReasonCode::TcpRefused),
            ConnectError::TimedOut => Fault::new(ReasonCode::BgpTimeout).with("cause", "no answer"),
            ConnectError::Unreachable => Fault::new(ReasonCode::BgpTimeout).with("cause", "unreachable"),
            ConnectError::Other => Fault::new(ReasonCode::BgpTimeout).with("cause", "connecting failed"),
        };
        self.not_up(now, fault.with("peer", peer));
        self.retry_later(now);
    }

    /// The peer closed a connection, or TCP gave it up. For `Outgoing` while still connecting see [`Self::handle_connect_failed`].
    pub fn handle_closed(&mut self, now: Instant, kind: ConnKind) {
        if self.connections[kind.index()].is_some() {
            self.lost(now, kind, "closed by the peer");
        }
    }

    /// Octets arrived.
    pub fn handle_bytes(&mut self, now: Instant, kind: ConnKind, mut bytes: &[u8]) {
        loop {
            let Some(connection) = self.connections[kind.index()].as_mut() else { return };
            match connection.framer.next() {
                Ok(Some(message)) => self.handle_message(now, kind, message),
                Ok(None) if bytes.is_empty() => return,
                Ok(None) => connection.framer.fill(&mut bytes),
                Err(error) => self.protocol_error(now, kind, &error),
            }
        }
    }

    /// The caller's queue towards the peer holds `unsent` octets that TCP did not take; call it when that changes. A peer that takes
    /// nothing for the send hold time is given up (RFC 9687).
    pub fn handle_unsent(&mut self, now: Instant, kind: ConnKind, unsent: usize) {
        let send_hold = Duration::from_secs(self.config.send_hold.into());
        if let Some(connection) = self.connections[kind.index()].as_mut() {
            connection.unsent(now, unsent, send_hold);
        }
    }

    /// The caller gives a connection up because `unsent` octets wait for a peer that takes them more slowly than we have to say them. What
    /// this asks to be sent may be left out.
    pub fn handle_overflow(&mut self, now: Instant, kind: ConnKind, unsent: usize) {
        let Some(connection) = &self.connections[kind.index()] else { return };
        let fault = Fault::new(ReasonCode::BgpConnectionLost)
            .with("state", connection.phase.as_str())
            .with("cause", "the peer does not read fast enough what it is told")
            .with("unsent", unsent.to_string());
        self.close(now, kind, fault, Some(&Notification::new(Notification::CEASE, Notification::OUT_OF_RESOURCES)));
    }

    // === timers ===

    /// The next time that [`Self::handle_timeout`] has something to do, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let own = [
            (self.connecting.map(|since| since + CONNECT_WAIT), "connect"),
            (self.retry_at, "connect_retry"),
            (self.refresh_at.filter(|_| self.refresh_asked), "route_refresh"),
            (self.stale_until(), "stale_routes"),
        ];
        let connections = self.connections.iter().flatten().flat_map(|connection| {
            [
                (connection.hold_at, "hold"),
                (connection.keepalive_at, "keepalive"),
                (connection.send_hold_at, "send_hold"),
            ]
        });
        own.into_iter().chain(connections).filter_map(|(at, name)| Some((at?, name))).min_by_key(|(at, _)| *at)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        for kind in ConnKind::BOTH {
            let Some(connection) = self.connections[kind.index()].as_mut() else { continue };
            if due(connection.hold_at) {
                let phase = connection.phase;
                let seconds = connection.hold_time.as_secs();
                let fault = Fault::new(ReasonCode::BgpHoldTimerExpired)
                    .with("state", phase.as_str())
                    .with("hold_time", seconds.to_string());
                self.close(now, kind, fault, Some(&Notification::new(Notification::HOLD_TIMER, 0)));
            } else if due(connection.send_hold_at) {
                let fault = Fault::new(ReasonCode::BgpHoldTimerExpired)
                    .with("timer", "send_hold")
                    .with("unsent", connection.unsent.to_string());
                self.close(now, kind, fault, Some(&Notification::new(Notification::SEND_HOLD_TIMER, 0)));
            } else if due(connection.keepalive_at) {
                connection.schedule_keepalive(now, &mut self.jitter);
                self.send(kind, codec::keepalive());
            }
        }
        if due(self.connecting.map(|since| since + CONNECT_WAIT)) {
            self.actions.push_back(Action::Close(ConnKind::Outgoing));
            self.handle_connect_failed(now, ConnectError::TimedOut);
        }
        if due(self.retry_at) {
            self.connect(now);
        }
        if self.refresh_asked && due(self.refresh_at) {
            self.answer_refresh(now);
        }
        if due(self.stale_until()) {
            self.drop_stale();
        }
    }

    // === what the caller does next ===

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What happened since.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // === messages ===

    fn handle_message(&mut self, now: Instant, kind: ConnKind, message: Message) {
        self.counters.messages_in += 1;
        let Some(connection) = self.connections[kind.index()].as_mut() else { return };
        match (connection.phase, message) {
            (_, Message::Notification(notification)) => self.notified(now, kind, &notification),
            (Phase::OpenSent, Message::Open(open)) => self.opened(now, kind, open),
            (Phase::OpenConfirm, Message::Keepalive) => {
                connection.heard(now);
                connection.phase = Phase::Established;
                self.established(now, kind);
            }
            (Phase::Established, Message::Keepalive) => connection.heard(now),
            (Phase::Established, Message::Update(update)) => {
                connection.heard(now);
                let four_octet = connection.four_octet();
                self.counters.updates_in += 1;
                match codec::parse_update(&update, self.config.family, four_octet, &self.tags) {
                    Ok(update) => self.updated(now, kind, &update),
                    Err(error) => self.protocol_error(now, kind, &error),
                }
            }
            (Phase::Established, Message::Refresh { afi, safi, plain }) => {
                connection.heard(now);
                let [_, _, high, low, _, ours] = codec::multiprotocol_capability(self.config.family);
                if plain && afi == u16::from_be_bytes([high, low]) && safi == ours {
                    self.refresh_asked = true;
                    if self.refresh_at.is_none_or(|at| at <= now) {
                        self.answer_refresh(now);
                    }
                }
            }
            (phase, message) => {
                let what = match message {
                    Message::Open(_) => "OPEN",
                    Message::Update(_) => "UPDATE",
                    Message::Keepalive => "KEEPALIVE",
                    _ => "ROUTE-REFRESH",
                };
                let error = ProtocolError {
                    notification: Notification::new(Notification::FSM_ERROR, phase.fsm_subcode()),
                    detail: format!("{what} in state {}", phase.as_str()),
                };
                self.protocol_error(now, kind, &error);
            }
        }
    }

    fn opened(&mut self, now: Instant, kind: ConnKind, open: Open) {
        let config = self.config;
        let refusal = if open.asn != config.peer_asn {
            let notification = Notification::new(Notification::OPEN_ERROR, Notification::BAD_PEER_AS);
            Some((fault::wrong_asn(config.peer_asn, open.asn), notification))
        } else if open.router_id.is_unspecified() {
            let notification = Notification::new(Notification::OPEN_ERROR, Notification::BAD_IDENTIFIER);
            Some((fault::no_router_id(config.router_id), notification))
        } else if matches!(open.hold_time, 1 | 2) {
            let notification = Notification::new(Notification::OPEN_ERROR, Notification::BAD_HOLD_TIME);
            Some((fault::hold_time(config.hold_time, open.hold_time), notification))
        } else if !open.families.contains(&config.family) {
            let offered: Vec<String> = open.families.iter().map(Family::to_string).collect();
            let offered = if offered.is_empty() { "none of IPv4 and IPv6".to_owned() } else { offered.join(", ") };
            let notification = Notification::new(Notification::OPEN_ERROR, Notification::UNSUPPORTED_CAPABILITY)
                .with_data(&codec::multiprotocol_capability(config.family));
            Some((Fault::new(ReasonCode::BgpNoCommonFamily).values(config.family.to_string(), offered), notification))
        } else {
            None
        };
        if let Some((fault, notification)) = refusal {
            self.counters.protocol_errors += 1;
            self.drop_stale();
            self.close(now, kind, fault, Some(&notification));
            self.strike(now);
            return;
        }
        if !self.survives_collision(now, kind, &open) {
            return;
        }
        if let Some(connection) = self.connections[kind.index()].as_mut() {
            connection.negotiate(now, config.hold_time, open, &mut self.jitter);
            self.send(kind, codec::keepalive());
            self.stop_connecting();
        }
    }

    /// RFC 4271 §6.8: of two connections whose OPENs are known the one stays that the side with the higher identifier opened; with
    /// equal identifiers the AS number decides (RFC 6286 §2.3). Both sides come to the same result.
    fn survives_collision(&mut self, now: Instant, kind: ConnKind, open: &Open) -> bool {
        let other = kind.other();
        let Some(rival) = &self.connections[other.index()] else { return true };
        let keep = match rival.phase {
            Phase::OpenSent => return true,
            Phase::Established => other,
            Phase::OpenConfirm => {
                let ours = (self.config.router_id, self.config.local_asn);
                if ours > (open.router_id, open.asn) { ConnKind::Outgoing } else { ConnKind::Incoming }
            }
        };
        let fault = Fault::new(ReasonCode::BgpCollision);
        self.close(now, keep.other(), fault, Some(&Notification::new(Notification::CEASE, Notification::COLLISION)));
        keep == kind
    }

    fn notified(&mut self, now: Instant, kind: ConnKind, notification: &Notification) {
        let theirs = self.connections[kind.index()]
            .as_ref()
            .and_then(|connection| connection.open.as_ref())
            .map(|open| open.asn);
        let fault = fault::notified(notification, &self.config, theirs);
        let collision = fault.code == ReasonCode::BgpCollision;
        self.refused(notification);
        self.close(now, kind, fault, None);
        if !collision {
            self.strike(now);
        }
    }

    fn protocol_error(&mut self, now: Instant, kind: ConnKind, error: &ProtocolError) {
        self.counters.protocol_errors += 1;
        self.drop_stale();
        self.close(now, kind, fault::protocol(error), Some(&error.notification));
        self.strike(now);
    }

    fn established(&mut self, now: Instant, kind: ConnKind) {
        if self.connections[kind.other().index()].is_some() {
            // Its OPEN has not come yet, or it would have lost or won the collision.
            let cease = Notification::new(Notification::CEASE, Notification::COLLISION);
            self.close(now, kind.other(), Fault::new(ReasonCode::BgpCollision), Some(&cease));
        }
        self.stop_connecting();
        self.up = Some(kind);
        self.since = now;
        self.attempts = 0;
        self.retry_at = None;
        self.refresh_asked = false;
        self.refresh_at = None;
        self.fresh = false;
        self.events.push_back(Event::Up);
        self.resume(kind);
        self.announce_all(kind);
        if !self.adj_out.is_empty() {
            self.routes_changed();
        }
    }

    fn updated(&mut self, now: Instant, kind: ConnKind, update: &codec::Update) {
        self.counters.treated_as_withdraw += u64::from(update.treated_as_withdraw.is_some());
        self.counters.attributes_discarded += u64::from(update.discarded);
        self.broken.note(update);
        let changed = self.adj_in.apply(now, update, self.filter.as_ref());
        if changed {
            self.routes_changed();
        }
        if update.end_of_rib {
            self.drop_stale();
        }
        self.ask_for_lost(kind);
    }

    /// Asks for what was not even remembered, once there is room for it.
    fn ask_for_lost(&mut self, kind: ConnKind) {
        let refresh = self.connections[kind.index()]
            .as_ref()
            .and_then(|connection| connection.open.as_ref())
            .is_some_and(|open| open.refresh);
        if refresh && self.adj_in.take_room_for_lost() {
            self.send(kind, codec::route_refresh(self.config.family));
        }
    }

    // === announcements ===

    fn announcer(&self, kind: ConnKind) -> Announcer {
        Announcer {
            family: self.config.family,
            local_asn: self.config.local_asn,
            next_hop: self.config.local,
            four_octet: self.connections[kind.index()].as_ref().is_some_and(Connection::four_octet),
        }
    }

    fn announce_all(&mut self, kind: ConnKind) {
        self.adj_out = rib::to_announce(self.filter.as_ref(), self.config.family);
        let announcer = self.announcer(kind);
        let prefixes: Vec<IpNet> = self.adj_out.iter().copied().collect();
        for update in announcer.announce(&prefixes) {
            self.send_update(kind, update);
        }
        self.send_update(kind, announcer.end_of_rib());
    }

    /// Tells the peer the difference. Whether there was one.
    fn correct_announcements(&mut self) -> bool {
        let Some(kind) = self.up else { return false };
        let wanted = rib::to_announce(self.filter.as_ref(), self.config.family);
        let gone: Vec<IpNet> = self.adj_out.difference(&wanted).copied().collect();
        let new: Vec<IpNet> = wanted.difference(&self.adj_out).copied().collect();
        let announcer = self.announcer(kind);
        for update in announcer.withdraw(&gone).into_iter().chain(announcer.announce(&new)) {
            self.send_update(kind, update);
        }
        self.adj_out = wanted;
        !gone.is_empty() || !new.is_empty()
    }

    fn answer_refresh(&mut self, now: Instant) {
        let Some(kind) = self.up else {
            self.refresh_asked = false;
            return;
        };
        self.refresh_at = Some(now + REFRESH_EVERY);
        // A peer that asks and does not read gets one answer at a time.
        let takes = self.connections[kind.index()].as_ref().is_some_and(|connection| connection.unsent == 0);
        self.refresh_asked = !takes;
        if takes {
            self.announce_all(kind);
        }
    }

    // === connections and waits ===

    fn send(&mut self, kind: ConnKind, octets: Vec<u8>) {
        if !octets.is_empty() {
            self.counters.messages_out += 1;
            self.actions.push_back(Action::Send(kind, octets));
        }
    }

    fn send_update(&mut self, kind: ConnKind, octets: Vec<u8>) {
        self.counters.updates_out += 1;
        self.send(kind, octets);
    }

    fn connect(&mut self, now: Instant) {
        self.retry_at = None;
        if self.enabled && self.connecting.is_none() && self.connections.iter().all(Option::is_none) {
            self.connecting = Some(now);
            self.actions.push_back(Action::Connect);
        }
    }

    /// Gives our own attempt up: one of the peer's has won, or nothing is wanted any more. A peer that negotiated graceful restart would
    /// take a connection that gets through this late for a restart of ours.
    fn stop_connecting(&mut self) {
        if self.connecting.take().is_some() {
            self.actions.push_back(Action::Close(ConnKind::Outgoing));
        }
    }

    fn retry_later(&mut self, now: Instant) {
        if self.enabled && self.connecting.is_none() && self.connections.iter().all(Option::is_none) {
            let wait = match self.attempts.checked_sub(EAGER) {
                None => RETRY_EAGER,
                Some(later) => RETRY_FIRST.saturating_mul(1 << later.min(5)).min(RETRY_MAX),
            };
            self.attempts = self.attempts.saturating_add(1);
            self.retry_at = Some(now + self.jitter.of(wait));
        }
    }

    /// A protocol error: waits longer, and turns the peer away for a moment.
    fn strike(&mut self, now: Instant) {
        if self.enabled && self.up.is_none() {
            let wait = IDLE_FIRST.saturating_mul(1 << self.strikes.min(4)).min(IDLE_MAX);
            self.strikes = self.strikes.saturating_add(1);
            self.turn_away_until = Some(now + TURN_AWAY);
            if self.retry_at.is_some() {
                self.retry_at = Some(now + self.jitter.of(wait));
            }
        }
    }

    /// A connection ended without our doing.
    fn lost(&mut self, now: Instant, kind: ConnKind, how: &str) {
        let Some(phase) = self.connections[kind.index()].as_ref().map(|connection| connection.phase) else { return };
        let fault = Fault::new(ReasonCode::BgpConnectionLost).with("state", phase.as_str()).with("cause", how);
        let keep = self.restart_time(kind);
        self.connections[kind.index()] = None;
        self.connection_gone(now, kind, fault, keep);
    }

    /// Ends a connection, telling the peer if `notification` is given.
    fn close(&mut self, now: Instant, kind: ConnKind, fault: Fault, notification: Option<&Notification>) {
        if self.connections[kind.index()].take().is_none() {
            return;
        }
        if let Some(notification) = notification {
            self.send(kind, notification.encode());
        }
        self.actions.push_back(Action::Close(kind));
        self.connection_gone(now, kind, fault, Duration::ZERO);
    }

    /// `keep`: how long its routes may outlive it.
    fn connection_gone(&mut self, now: Instant, kind: ConnKind, fault: Fault, keep: Duration) {
        let last = self.connections.iter().all(Option::is_none) && self.connecting.is_none();
        if self.up == Some(kind) {
            if now.saturating_duration_since(self.since) >= STABLE {
                self.strikes = 0;
            }
            self.went_down(now, fault, keep);
        } else if self.up.is_none() && (last || fault::is_specific(fault.code)) {
            self.not_up(now, fault);
        }
        self.retry_later(now);
    }

    fn stop(&mut self, now: Instant, fault: Fault, notification: Option<&Notification>) {
        self.enabled = false;
        self.retry_at = None;
        self.stop_connecting();
        for kind in ConnKind::BOTH {
            if self.connections[kind.index()].take().is_some() {
                if let Some(notification) = notification {
                    self.send(kind, notification.encode());
                }
                self.actions.push_back(Action::Close(kind));
            }
        }
        if self.up.is_some() {
            self.went_down(now, fault, Duration::ZERO);
        } else {
            self.drop_stale();
            self.replace_fault(now, fault);
        }
    }

    fn went_down(&mut self, now: Instant, fault: Fault, keep: Duration) {
        self.up = None;
        self.since = now;
        self.flaps = self.flaps.saturating_add(1);
        self.refresh_asked = false;
        self.broken = Broken::default();
        let changed = self.keep_routes(now, keep) | !std::mem::take(&mut self.adj_out).is_empty();
        self.fault = fault.clone();
        self.fault_at = now;
        self.events.push_back(Event::Down(self.with_stale(fault)));
        if changed {
            self.routes_changed();
        }
    }

    /// An attempt came to nothing. What named a cause stands for a while against what only says that it does not work.
    fn not_up(&mut self, now: Instant, fault: Fault) {
        let stands = fault::is_specific(self.fault.code)
            && !fault::is_specific(fault.code)
            && now.saturating_duration_since(self.fault_at) < fault::STANDS_FOR;
        if !stands {
            self.replace_fault(now, fault);
        }
    }

    fn replace_fault(&mut self, now: Instant, fault: Fault) {
        self.fault_at = now;
        if fault != self.fault {
            self.fault = fault.clone();
            self.events.push_back(Event::Down(fault));
        }
    }

    fn routes_changed(&mut self) {
        if self.events.back() != Some(&Event::RoutesChanged) {
            self.events.push_back(Event::RoutesChanged);
        }
    }
}
