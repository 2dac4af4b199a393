//! Sessions over real TCP inside a network namespace, and the foreign daemon in another one.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use causeway_bgp::{Action, ConnKind, ConnectError, Event, Policy, Session, SessionConfig};
use causeway_model::{Family, Fault};
use ipnet::IpNet;

/// Ours and the device's inside addresses.
pub(crate) const LOCAL: [&str; 2] = ["169.254.100.1", "fd00:100::1"];
pub(crate) const PEER: [&str; 2] = ["169.254.100.2", "fd00:100::2"];

/// Runs a command and returns what it printed; panics if it fails.
pub(crate) fn run(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output().expect("the command starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command} {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Two namespaces and the link between them; gone when dropped.
pub(crate) struct Namespaces {
    pub(crate) ours: String,
    pub(crate) theirs: String,
    pub(crate) directory: PathBuf,
}

impl Namespaces {
    pub(crate) fn new(name: &str) -> Self {
        let ours = format!("cwbgp-{name}-gw");
        let theirs = format!("cwbgp-{name}-dev");
        for namespace in [&ours, &theirs] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).stderr(Stdio::null()).status();
            run("ip", &["netns", "add", namespace]);
            run("ip", &["-n", namespace, "link", "set", "lo", "up"]);
        }
        let directory = std::env::temp_dir().join(format!("cwbgp-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let namespaces = Self { ours, theirs, directory };
        let (ours, theirs) = (namespaces.ours.as_str(), namespaces.theirs.as_str());
        run("ip", &["-n", ours, "link", "add", "e0", "type", "veth", "peer", "name", "e0", "netns", theirs]);
        for (namespace, addresses) in [(ours, LOCAL), (theirs, PEER)] {
            run("ip", &["-n", namespace, "link", "set", "e0", "up"]);
            run("ip", &["-n", namespace, "addr", "add", &format!("{}/30", addresses[0]), "dev", "e0"]);
            run("ip", &["-n", namespace, "addr", "add", &format!("{}/126", addresses[1]), "dev", "e0", "nodad"]);
        }
        namespaces
    }

    /// Runs this very test again inside our namespace.
    pub(crate) fn reenter(&self, test: &str) {
        let program = std::env::current_exe().expect("this program");
        let status = Command::new("ip")
            .args(["netns", "exec", &self.ours])
            .arg(program)
            .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
            .env("CWBGP_DEVICE", &self.theirs)
            .env("CWBGP_DIRECTORY", &self.directory)
            .status()
            .expect("the test starts");
        assert!(status.success(), "inside the namespace: {status}");
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in [&self.ours, &self.theirs] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A daemon in the device's namespace; killed when dropped.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn start(namespace: &str, program: &str, arguments: &[&str], log: &Path) -> Self {
        let log = std::fs::File::create(log).expect("a log");
        let child = Command::new("ip")
            .args(["netns", "exec", namespace, program])
            .args(arguments)
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        Self(child)
    }

    /// SIGTERM, and waits until it is gone.
    pub(crate) fn terminate(mut self) {
        run("kill", &["-TERM", &self.0.id().to_string()]);
        let _ = self.0.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

enum Input {
    Accepted(TcpStream),
    Connected(u64, Result<TcpStream, ErrorKind>),
    Bytes(ConnKind, u64, Vec<u8>),
    Closed(ConnKind, u64),
}

/// A session with its sockets.
pub(crate) struct Speaker {
    pub(crate) session: Session,
    pub(crate) log: Vec<Event>,
    sockets: [Option<(u64, TcpStream)>; 2],
    generation: u64,
    attempt: u64,
    sender: Sender<Input>,
    receiver: Receiver<Input>,
}

const fn index(kind: ConnKind) -> usize {
    match kind {
        ConnKind::Outgoing => 0,
        ConnKind::Incoming => 1,
    }
}

impl Speaker {
    pub(crate) fn new(family: Family) -> Self {
        let side = usize::from(family.is_ipv6());
        let local: IpAddr = LOCAL[side].parse().expect("an address");
        let config = SessionConfig {
            family,
            local_asn: 64512,
            peer_asn: 65001,
            router_id: Ipv4Addr::new(169, 254, 100, 1),
            local,
            peer: PEER[side].parse().expect("an address"),
            hold_time: 60,
            send_hold: causeway_bgp::SEND_HOLD,
            max_prefixes: 1000,
        };
        let (sender, receiver) = mpsc::channel();
        let listener = TcpListener::bind(SocketAddr::new(local, 179)).expect("port 179");
        let accepted = sender.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepted.send(Input::Accepted(stream)).is_err() {
                    return;
                }
            }
        });
        Self {
            session: Session::new(config, Instant::now()),
            log: Vec::new(),
            sockets: [None, None],
            generation: 0,
            attempt: 0,
            sender,
            receiver,
        }
    }

    fn forget(&mut self) {
        for (_, stream) in self.sockets.iter_mut().filter_map(Option::take) {
            // So that nothing is left that would send its FIN again later.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket option");
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.attempt += 1;
        self.session = Session::new(*self.session.config(), Instant::now());
        self.log.clear();
    }

    fn adopt(&mut self, kind: ConnKind, stream: TcpStream) {
        self.generation += 1;
        let generation = self.generation;
        let mut reader = stream.try_clone().expect("a second handle");
        let _ = stream.set_nodelay(true);
        let sender = self.sender.clone();
        thread::spawn(move || {
            let mut buffer = [0; 3000];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(Input::Bytes(kind, generation, buffer[..length].to_vec())).is_err() {
                    return;
                }
            }
            let _ = sender.send(Input::Closed(kind, generation));
        });
        self.sockets[index(kind)] = Some((generation, stream));
        self.session.handle_connected(Instant::now(), kind);
    }

    fn input(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Accepted(stream) if self.session.accepts_incoming(now) => self.adopt(ConnKind::Incoming, stream),
            Input::Accepted(_) => {}
            Input::Connected(attempt, _) if attempt != self.attempt => {}
            Input::Connected(_, Ok(stream)) => self.adopt(ConnKind::Outgoing, stream),
            Input::Connected(_, Err(kind)) => self.session.handle_connect_failed(
                now,
                match kind {
                    ErrorKind::ConnectionRefused => ConnectError::Refused,
                    ErrorKind::TimedOut => ConnectError::TimedOut,
                    ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => ConnectError::Unreachable,
                    _ => ConnectError::Other,
                },
            ),
            Input::Bytes(kind, generation, octets) => {
                if matches!(self.sockets[index(kind)], Some((current, _)) if current == generation) {
                    self.session.handle_bytes(now, kind, &octets);
                }
            }
            Input::Closed(kind, generation) => {
                if self.sockets[index(kind)].take_if(|(current, _)| *current == generation).is_some() {
                    self.session.handle_closed(now, kind);
                }
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Connect => {
                    self.attempt += 1;
                    let attempt = self.attempt;
                    let peer = SocketAddr::new(self.session.config().peer, 179);
                    let sender = self.sender.clone();
                    thread::spawn(move || {
                        let result = TcpStream::connect_timeout(&peer, Duration::from_secs(10));
                        let _ = sender.send(Input::Connected(attempt, result.map_err(|error| error.kind())));
                    });
                }
                Action::Send(kind, octets) => {
                    if let Some((_, stream)) = &mut self.sockets[index(kind)] {
                        let _ = stream.write_all(&octets);
                    }
                }
                Action::Close(kind) => {
                    if kind == ConnKind::Outgoing {
                        self.attempt += 1;
                    }
                    if let Some((_, stream)) = self.sockets[index(kind)].take() {
                        // Its reader goes on until the peer has closed: a socket that is gone would answer what the peer still writes with
                        // a reset, for which BIRD forgets what it has not read yet.
                        let _ = stream.shutdown(Shutdown::Write);
                    }
                }
            }
        }
        self.log.extend(std::iter::from_fn(|| self.session.poll_event()));
    }

    fn step(&mut self) {
        self.act();
        if let Ok(input) = self.receiver.recv_timeout(Duration::from_millis(2)) {
            self.input(input);
        }
        let now = Instant::now();
        if self.session.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.session.handle_timeout(now);
        }
        self.act();
    }

    pub(crate) fn prefixes(&self) -> Vec<String> {
        self.session.accepted_routes().map(|route| route.prefix.to_string()).collect()
    }

    pub(crate) fn fault(&self) -> Fault {
        self.session.fault().expect("a fault")
    }
}

/// What the peer sees if this process is killed together with its tunnel and started again: connections end without a FIN or a reset,
/// and sessions begin that know nothing of the ones before.
pub(crate) fn kill(speakers: &mut [Speaker; 2]) {
    run("nft", &["add table inet cwbgp; add chain inet cwbgp out { type filter hook output priority 0; }"]);
    run("nft", &["add rule inet cwbgp out tcp flags & (fin|rst) != 0 drop"]);
    speakers.iter_mut().for_each(Speaker::forget);
    // The readers let go of their handles.
    let start = Instant::now();
    let open = || run("ss", &["-Htan", "( sport = :179 or dport = :179 )"]);
    while open().lines().any(|line| !line.starts_with("LISTEN")) {
        assert!(start.elapsed() < Duration::from_secs(25), "{}", open());
        thread::sleep(Duration::from_millis(20));
    }
    run("nft", &["delete table inet cwbgp"]);
}

/// Runs both until `condition` holds; how long that took.
pub(crate) fn until(speakers: &mut [Speaker; 2], what: &str, condition: impl Fn(&[Speaker; 2]) -> bool) {
    let start = Instant::now();
    loop {
        for speaker in speakers.iter_mut() {
            speaker.step();
        }
        if condition(speakers) {
            return;
        }
        let facts: Vec<_> = speakers.iter().map(|speaker| (&speaker.log, speaker.session.received())).collect();
        assert!(start.elapsed() < Duration::from_secs(25), "{what}: {facts:#?}");
    }
}

/// Runs both until what `look` returns is as it is `wanted`, and returns that.
pub(crate) fn shown(
    speakers: &mut [Speaker; 2],
    what: &str,
    look: impl Fn() -> String,
    wanted: impl Fn(&str) -> bool,
) -> String {
    let start = Instant::now();
    loop {
        let seen = look();
        if wanted(&seen) {
            return seen;
        }
        assert!(start.elapsed() < Duration::from_secs(25), "{what}: {seen}");
        during(speakers, 50);
    }
}

/// Runs both for `milliseconds`.
pub(crate) fn during(speakers: &mut [Speaker; 2], milliseconds: u64) {
    let end = Instant::now() + Duration::from_millis(milliseconds);
    until(speakers, "time passes", |_| Instant::now() >= end);
}

pub(crate) fn enable(speakers: &mut [Speaker; 2], enabled: bool) {
    for speaker in speakers {
        speaker.session.set_enabled(Instant::now(), enabled);
    }
}

pub(crate) fn set_policy(speakers: &mut [Speaker; 2], policy: &Policy) {
    for speaker in speakers {
        speaker.session.set_policy(Instant::now(), policy.clone());
    }
}

pub(crate) fn both_up(speakers: &[Speaker; 2]) -> bool {
    speakers.iter().all(|speaker| speaker.session.is_up())
}

pub(crate) fn policy() -> Policy {
    let nets = |list: &[&str]| -> Vec<IpNet> { list.iter().map(|text| text.parse().expect("a prefix")).collect() };
    Policy {
        propagate: true,
        accept: nets(&["192.168.0.0/16", "fd20::/16"]),
        announce: nets(&["10.1.0.0/16", "fd10::/16"]),
        local_subnets: nets(&["10.1.0.0/24", "10.1.1.0/24", "10.9.0.0/24", "fd10::/64"]),
        custom_routes: Vec::new(),
        interconnections: Vec::new(),
    }
}
