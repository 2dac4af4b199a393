//! One task per BGP session: it owns the sans-IO machine, its clock and its at most two TCP connections.

mod stream;
mod totals;
mod transport;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use causeway_bgp::{Action, ConnKind, ConnectError, Event, Newcomer, Policy, Route, Session, SessionConfig, Verdict};
use causeway_linux::Namespace;
use causeway_model::observed::SessionFacts;
use causeway_model::{ConnectionId, Family, Fault, Timestamp};
use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::sleep_until;
use transport::Drops;

use crate::clock::wall_clock;
pub use totals::Totals;
pub use transport::{Guard, Listener, Watch, listen};

/// BGP's port.
pub(crate) const PORT: u16 = 179;
/// TCP gets this long to connect: the inside of a tunnel is never farther away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that comes while the session is up gets this long for its OPEN, which every speaker sends at once.
const NEWCOMER_TIMEOUT: Duration = Duration::from_secs(10);
/// Where a message has its type, and the one of the message that is a speaker's last (RFC 4271 §4.1).
const TYPE: usize = 18;
const NOTIFICATION: u8 = 3;
/// Octets waiting for a slow peer; beyond that the connection is given up. The largest table in one go is a fraction of it, and a peer
/// that does not read is found by the send-hold timer (RFC 9687) unless policies are edited very often.
const UNSENT_MAX: usize = 32 << 20;
/// A session gets this long for its last word.
const SHUTDOWN_PATIENCE: Duration = Duration::from_millis(200);
/// Changes are published at most this often, so that a full table does not become a snapshot for each UPDATE.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(20);
/// and not so often that the snapshots of a large table take more than this part of the time.
const PUBLISH_SHARE: u32 = 8;

/// Which session of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    /// The connection.
    pub connection: ConnectionId,
    /// The session's family.
    pub family: Family,
}

/// To the task.
#[derive(Debug)]
pub enum Command {
    /// A tunnel is up, or none is.
    Enable(bool),
    /// New filters.
    Policy(Policy),
    /// Another [`SessionConfig::max_prefixes`].
    MaxPrefixes(u32),
    /// The peer connected to our port.
    Incoming(TcpStream),
    /// The listener that the peer connects to.
    Listening(Watch),
    /// The device was seen using our inside address as its own.
    AddressesSwapped,
    /// Find out at once whether the peer still knows the session.
    Probe,
    /// Close with this text (RFC 9003), then end.
    Shutdown(&'static str),
}

/// A snapshot for the gateway.
#[derive(Clone, Debug)]
pub struct SessionUpdate {
    /// Whose.
    pub key: SessionKey,
    /// The session's facts.
    pub facts: SessionFacts,
    /// Everything received and the machine's verdict on it.
    pub received: Vec<(Arc<Route>, Verdict)>,
    /// What of that is left of the previous session, and has not been announced again yet (graceful restart, RFC 4724).
    pub stale: BTreeSet<IpNet>,
    /// What we announce.
    pub announced: Vec<IpNet>,
}

impl SessionUpdate {
    /// Routes that pass the policy.
    pub fn accepted(&self) -> impl Iterator<Item = &Route> {
        self.received.iter().filter(|(_, verdict)| verdict.is_accepted()).map(|(route, _)| route.as_ref())
    }
}

/// The gateway's hold on a session's task; dropping it ends the task at once.
pub struct SessionHandle {
    commands: mpsc::Sender<Command>,
    task: AbortHandle,
}

impl SessionHandle {
    /// Starts the task. Its sockets live in `namespace`, and ask of the peer what `guard` says. It goes on counting from `totals`.
    #[must_use]
    pub fn start(
        key: SessionKey,
        config: SessionConfig,
        guard: Guard,
        totals: Totals,
        namespace: Namespace,
        updates: mpsc::Sender<SessionUpdate>,
    ) -> Self {
        let (commands, commands_rx) = mpsc::channel(16);
        let task = SessionTask::new(key, config, guard, totals, namespace, commands_rx, updates);
        let task = tokio::spawn(task.run()).abort_handle();
        Self { commands, task }
    }

    /// Hands over a command; the task takes them in order and never for long.
    pub async fn send(&self, command: Command) {
        // A closed channel means that the task has ended, and with it the need for the command.
        let _ = self.commands.send(command).await;
    }

    /// Whether the task has ended, which it does by itself only when something went wrong.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends sessions with a word to the peer, all at the same time.
    pub async fn shutdown(sessions: Vec<(Self, &'static str)>) {
        for (session, text) in &sessions {
            session.send(Command::Shutdown(text)).await;
        }
        // A task ends by itself once the word is on its way; give them a moment before drop aborts them.
        let ended = async {
            for (session, _) in &sessions {
                session.commands.closed().await;
            }
        };
        let _ = tokio::time::timeout(SHUTDOWN_PATIENCE, ended).await;
    }
}

impl Drop for SessionHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// From the helpers of the task to the task.
struct Input {
    kind: ConnKind,
    /// Which connection of that kind: late words of a closed one are ignored.
    generation: u64,
    what: What,
}

enum What {
    Connected(TcpStream),
    ConnectFailed(ConnectError),
    Bytes(Vec<u8>),
    Closed,
    /// The peer's OPEN, and maybe more, over a connection that came while the session was up.
    Newcomer(TcpStream, Vec<u8>),
}

/// One TCP connection, or the attempt at one.
struct Conn {
    generation: u64,
    /// Bounded by `unsent`.
    writer: Option<mpsc::UnboundedSender<Vec<u8>>>,
    /// Octets handed to the writer that TCP has not taken yet: a peer that never reads is found by them (RFC 9687).
    unsent: Arc<AtomicUsize>,
    drops: Watch,
    /// What `drops` looks at.
    _socket: Option<Arc<OwnedFd>>,
    helper: Helper,
}

/// What works for a [`Conn`] as long as there is one.
enum Helper {
    /// The attempt at a connection.
    Connecting(AbortHandle),
    /// The reader of one.
    Reading {
        task: AbortHandle,
        /// When this goes, the reader hears that nobody listens any more.
        _wanted: oneshot::Sender<Infallible>,
        /// A NOTIFICATION was said, which the peer has yet to read.
        last_word: bool,
    },
}

impl Drop for Helper {
    fn drop(&mut self) {
        match self {
            Self::Reading { last_word: true, .. } => {}
            Self::Connecting(task) | Self::Reading { task, .. } => task.abort(),
        }
    }
}

/// A connection of the peer that came while the session was up, and has to say first who it is.
struct Waiting {
    generation: u64,
    helper: AbortHandle,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.helper.abort();
    }
}

struct SessionTask {
    key: SessionKey,
    session: Session,
    local: IpAddr,
    peer: IpAddr,
    guard: Guard,
    totals: Totals,
    drops: Drops,
    listener: Watch,
    namespace: Namespace,
    commands: mpsc::Receiver<Command>,
    updates: mpsc::Sender<SessionUpdate>,
    inputs_tx: mpsc::Sender<Input>,
    inputs: mpsc::Receiver<Input>,
    outgoing: Option<Conn>,
    incoming: Option<Conn>,
    newcomer: Option<Waiting>,
    /// The readers that were last left to hear the peer's end, one for each kind: a peer that connects and connects holds no more.
    lingering: [Option<AbortHandle>; 2],
    generation: u64,
    facts: SessionFacts,
    /// [`Session::stale_until`], and the same by the wall clock.
    stale_until: Option<(Instant, Timestamp)>,
    publish_at: Option<Instant>,
    published: Instant,
    /// What the last snapshot took.
    snapshot: Duration,
}

impl SessionTask {
    fn new(
        key: SessionKey,
        config: SessionConfig,
        guard: Guard,
        totals: Totals,
        namespace: Namespace,
        commands: mpsc::Receiver<Command>,
        updates: mpsc::Sender<SessionUpdate>,
    ) -> Self {
        let (inputs_tx, inputs) = mpsc::channel(64);
        let now = Instant::now();
        let facts = SessionFacts::new(key.family, wall_clock());
        Self {
            key,
            local: config.local,
            peer: config.peer,
            session: Session::new(config, now),
            guard,
            totals: totals.next(),
            drops: Drops::default(),
            listener: Watch::default(),
            namespace,
            commands,
            updates,
            inputs_tx,
            inputs,
            outgoing: None,
            incoming: None,
            newcomer: None,
            lingering: [None, None],
            generation: 0,
            facts,
            stale_until: None,
            publish_at: Some(now),
            published: now,
            snapshot: Duration::ZERO,
        }
    }

    async fn run(mut self) {
        loop {
            self.drain();
            let timer = self.session.poll_timeout().map(|(at, _)| at);
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                command = self.commands.recv() => {
                    let now = Instant::now();
                    match command {
                        Some(Command::Enable(enabled)) => {
                            if enabled {
                                self.begin_drops();
                            }
                            self.session.set_enabled(now, enabled);
                        }
                        Some(Command::Policy(policy)) => {
                            self.session.set_policy(now, policy);
                            self.touch();
                        }
                        Some(Command::MaxPrefixes(limit)) => {
                            self.session.set_max_prefixes(limit);
                            self.touch();
                        }
                        Some(Command::Incoming(stream)) => self.accept(stream),
                        Some(Command::Listening(watch)) if watch.is_of_the_same(&self.listener) => {}
                        Some(Command::Listening(watch)) => self.listener = watch,
                        Some(Command::AddressesSwapped) => self.session.note_addresses_swapped(now),
                        Some(Command::Probe) => self.session.probe(),
                        Some(Command::Shutdown(text)) => {
                            self.session.shutdown(now, text);
                            self.drain();
                            // Writers flush what is queued before they end.
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            return;
                        }
                        None => return,
                    }
                }
                Some(input) = self.inputs.recv() => self.input(input),
                () = sleep_until(timer.unwrap_or(far).into()) => {
                    self.note_unsent();
                    self.look_for_drops();
                    self.session.handle_timeout(Instant::now());
                }
                () = sleep_until(self.publish_at.unwrap_or(far).into()), if self.publish_at.is_some() => self.publish(),
            }
        }
    }

    /// What the kernel dropped at our sockets before is not what the session is down for.
    fn begin_drops(&mut self) {
        self.saw_drops();
        self.drops.begin(&self.namespace);
    }

    /// Before a socket goes, and now and then: while the session is down, what the kernel dropped may be why.
    fn look_for_drops(&mut self) {
        if !self.session.is_up() {
            let ours = self.saw_drops();
            self.drops.look(&self.namespace, ours);
        }
    }

    /// Asks every socket, since each tells what is new only once.
    fn saw_drops(&mut self) -> bool {
        let connections = [&mut self.outgoing, &mut self.incoming].into_iter().flatten().map(|conn| &mut conn.drops);
        connections.chain([&mut self.listener]).filter_map(|watch| watch.saw_drops().then_some(())).count() > 0
    }

    /// Tells the machine how much TCP has not taken.
    fn note_unsent(&mut self) {
        for kind in [ConnKind::Outgoing, ConnKind::Incoming] {
            if let Some(unsent) = self.conn(kind).as_ref().map(|conn| conn.unsent.load(Ordering::Relaxed)) {
                self.session.handle_unsent(Instant::now(), kind, unsent);
            }
        }
    }

    /// One mutation, then everything it asks for.
    fn drain(&mut self) {
        self.note_unsent();
        loop {
            while let Some(action) = self.session.poll_action() {
                match action {
                    Action::Connect => self.connect(),
                    Action::Close(kind) => {
                        self.look_for_drops();
                        self.close(kind);
                    }
                    Action::Send(kind, bytes) => self.send(kind, bytes),
                }
            }
            let Some(event) = self.session.poll_event() else { break };
            match event {
                Event::Up => {
                    self.facts.up = true;
                    self.facts.since = wall_clock();
                }
                Event::Down(fault) => {
                    if self.facts.up {
                        self.facts.since = wall_clock();
                    }
                    if self.facts.up {
                        self.begin_drops();
                    }
                    self.facts.up = false;
                    self.facts.fault = Some(fault);
                }
                Event::RoutesChanged => {}
            }
            self.touch();
        }
        if self.totals.note(&self.session) || self.fault() != self.facts.fault {
            self.touch();
        }
    }

    /// Ends a connection from our side.
    fn close(&mut self, kind: ConnKind) {
        let Some(conn) = self.conn(kind).take() else { return };
        if let Helper::Reading { task, last_word: true, .. } = &conn.helper {
            let place = usize::from(kind == ConnKind::Incoming);
            if let Some(before) = self.lingering.get_mut(place).and_then(|place| place.replace(task.clone())) {
                before.abort();
            }
        }
    }

    const fn conn(&mut self, kind: ConnKind) -> &mut Option<Conn> {
        match kind {
            ConnKind::Outgoing => &mut self.outgoing,
            ConnKind::Incoming => &mut self.incoming,
        }
    }

    fn input(&mut self, input: Input) {
        if let What::Newcomer(stream, octets) = input.what {
            if self.newcomer.take_if(|waiting| waiting.generation == input.generation).is_some()
                && (!self.session.is_up() || self.session.admits_newcomer())
            {
                self.take(stream);
                self.session.handle_bytes(Instant::now(), ConnKind::Incoming, &octets);
            }
            return;
        }
        let current = self.conn(input.kind).as_ref().is_some_and(|conn| conn.generation == input.generation);
        if !current {
            return;
        }
        let now = Instant::now();
        match input.what {
            What::Connected(stream) => {
                self.open(ConnKind::Outgoing, stream);
                self.session.handle_connected(now, ConnKind::Outgoing);
            }
            What::ConnectFailed(error) => {
                self.look_for_drops();
                self.outgoing = None;
                self.session.handle_connect_failed(now, error);
            }
            What::Bytes(bytes) => self.session.handle_bytes(now, input.kind, &bytes),
            What::Newcomer(..) => {}
            What::Closed => {
                self.look_for_drops();
                *self.conn(input.kind) = None;
                self.session.handle_closed(now, input.kind);
            }
        }
    }

    fn connect(&mut self) {
        self.generation += 1;
        let generation = self.generation;
        let (local, peer) = (self.local, self.peer);
        let made = self.namespace.run(|| transport::outgoing(local, peer, &self.guard));
        let made = made.map_err(io::Error::other).and_then(|made| made);
        let (socket, drops) = made.as_ref().ok().map(watched).unwrap_or_default();
        let inputs = self.inputs_tx.clone();
        let helper = tokio::spawn(async move {
            let attempt = async { made?.connect(SocketAddr::new(peer, PORT)).await };
            let what = match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
                Ok(Ok(stream)) => What::Connected(stream),
                Ok(Err(error)) => What::ConnectFailed(connect_error(&error)),
                Err(_) => What::ConnectFailed(ConnectError::TimedOut),
            };
            let _ = inputs.send(Input { kind: ConnKind::Outgoing, generation, what }).await;
        });
        let unsent = Arc::default();
        let helper = Helper::Connecting(helper.abort_handle());
        self.outgoing = Some(Conn { generation, writer: None, unsent, drops, _socket: socket, helper });
    }

    fn accept(&mut self, stream: TcpStream) {
        // The listener may have taken it under what an earlier configuration asked for.
        if let Err(error) = self.guard.apply(&stream, self.peer) {
            tracing::warn!(%error, peer = %self.peer, "a connection cannot be asked for what the session asks for");
            return;
        }
        if self.session.is_up() {
            // It may know the session no more: then this draws a reset, and the way is free when its OPEN is there.
            self.session.probe();
            self.hear_out(stream);
        } else {
            self.take(stream);
        }
    }

    /// Waits for the OPEN of a connection that came while the session is up; of several the last one counts.
    fn hear_out(&mut self, mut stream: TcpStream) {
        self.generation += 1;
        let generation = self.generation;
        let mut newcomer = Newcomer::new(self.session.config());
        let inputs = self.inputs_tx.clone();
        let helper = tokio::spawn(async move {
            let said = async {
                let mut buffer = vec![0; 4096];
                loop {
                    let length = stream.read(&mut buffer).await.ok().filter(|length| *length > 0)?;
                    match newcomer.hear(buffer.get(..length)?) {
                        Some(true) => return Some((stream, newcomer.into_octets())),
                        Some(false) => return None,
                        None => {}
                    }
                }
            };
            if let Ok(Some((stream, octets))) = tokio::time::timeout(NEWCOMER_TIMEOUT, said).await {
                let what = What::Newcomer(stream, octets);
                let _ = inputs.send(Input { kind: ConnKind::Incoming, generation, what }).await;
            }
        });
        self.newcomer = Some(Waiting { generation, helper: helper.abort_handle() });
    }

    fn take(&mut self, stream: TcpStream) {
        if self.incoming.is_some() {
            // A peer that connects twice has given the first one up.
            self.incoming = None;
            self.session.handle_closed(Instant::now(), ConnKind::Incoming);
            self.drain();
        }
        self.open(ConnKind::Incoming, stream);
        self.session.handle_connected(Instant::now(), ConnKind::Incoming);
    }

    /// Starts the reader and the writer of a connected stream.
    fn open(&mut self, kind: ConnKind, stream: TcpStream) {
        // Latency matters more than segments on a session that sends little.
        let _ = stream.set_nodelay(true);
        self.generation += 1;
        let generation = self.generation;
        let (socket, drops) = watched(&stream);
        let (read, write) = stream.into_split();
        let (writer, queue) = mpsc::unbounded_channel::<Vec<u8>>();
        let unsent = Arc::new(AtomicUsize::new(0));
        tokio::spawn(stream::write(write, queue, Arc::clone(&unsent)));
        let inputs = self.inputs_tx.clone();
        let hear = async move |octets: &[u8]| {
            let what = if octets.is_empty() { What::Closed } else { What::Bytes(octets.to_vec()) };
            inputs.send(Input { kind, generation, what }).await.is_ok()
        };
        let (hold, wanted) = oneshot::channel();
        let task = tokio::spawn(stream::read(read, wanted, hear)).abort_handle();
        let helper = Helper::Reading { task, _wanted: hold, last_word: false };
        *self.conn(kind) = Some(Conn { generation, writer: Some(writer), unsent, drops, _socket: socket, helper });
    }

    fn send(&mut self, kind: ConnKind, bytes: Vec<u8>) {
        let Some(conn) = self.conn(kind).as_mut() else { return };
        let Some(writer) = conn.writer.as_ref() else { return };
        if let Helper::Reading { last_word, .. } = &mut conn.helper {
            *last_word |= bytes.get(TYPE) == Some(&NOTIFICATION);
        }
        let unsent = conn.unsent.fetch_add(bytes.len(), Ordering::Relaxed);
        if unsent > UNSENT_MAX {
            // With its connection it forgets what waits.
            self.session.handle_overflow(Instant::now(), kind, unsent);
        } else if writer.send(bytes).is_err() {
            *self.conn(kind) = None;
            self.session.handle_closed(Instant::now(), kind);
        }
    }

    /// Something changed that the gateway should know.
    fn touch(&mut self) {
        if self.publish_at.is_none() {
            self.publish_at =
                Some((self.published + PUBLISH_INTERVAL.max(self.snapshot * PUBLISH_SHARE)).max(Instant::now()));
        }
    }

    /// The machine's fault; if it keeps routes of a session that broke off (RFC 4724), with the time until which it does.
    fn fault(&mut self) -> Option<Fault> {
        let until = self.session.stale_until();
        if self.stale_until.map(|(until, _)| until) != until {
            let seconds = |until: Instant| until.saturating_duration_since(Instant::now()).as_secs();
            let wall = |until| wall_clock().plus_seconds(i64::try_from(seconds(until)).unwrap_or(i64::MAX));
            self.stale_until = until.map(|until| (until, wall(until)));
        }
        let fault = self.session.fault()?;
        let fault = if self.session.is_up() { fault } else { self.drops.explain(fault, &self.guard) };
        Some(match self.stale_until {
            Some((_, until)) if !self.session.is_up() => fault.with("stale_until", until.to_string()),
            _ => fault,
        })
    }

    fn publish(&mut self) {
        self.publish_at = None;
        self.published = Instant::now();
        self.facts.fault = self.fault();
        let received = self.session.received();
        let stale = self.session.stale_prefixes();
        let announced: Vec<IpNet> = self.session.announced().copied().collect();
        self.facts.received = count(received.len());
        self.facts.accepted = self.session.accepted_count();
        self.facts.announced = count(announced.len());
        self.totals.tell(&mut self.facts);
        let update = SessionUpdate { key: self.key, facts: self.facts.clone(), received, stale, announced };
        self.snapshot = self.published.elapsed();
        // Never waits: the gateway may be waiting for this task at this moment.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.updates.try_send(update) {
            self.touch();
        }
    }
}

/// A second hold on a socket, for as long as a connection is of interest, and what looks at it.
fn watched(socket: &impl AsFd) -> (Option<Arc<OwnedFd>>, Watch) {
    let socket = socket.as_fd().try_clone_to_owned().ok().map(Arc::new);
    let watch = socket.as_ref().map(Watch::new).unwrap_or_default();
    (socket, watch)
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn connect_error(error: &io::Error) -> ConnectError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError::Refused,
        io::ErrorKind::TimedOut => ConnectError::TimedOut,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ConnectError::Unreachable,
        _ => ConnectError::Other,
    }
}
