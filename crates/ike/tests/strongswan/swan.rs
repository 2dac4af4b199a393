//! A charon in a namespace of its own, and an [`Endpoint`] on real sockets in another.

use std::collections::VecDeque;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use causeway_crypto::SystemEntropy;
use causeway_ike::{ChildSa, Endpoint, EndpointConfig, Event, PeerConfig, PeerKey};
use causeway_model::desired::Timers;
use causeway_model::suite::Cipher;
use causeway_model::{ConnectionId, Family, Psk};

pub(crate) const OURS: &str = "10.98.0.1";
pub(crate) const THEIRS: &str = "10.98.0.2";
/// The same over IPv6.
pub(crate) const OURS_6: &str = "fd98::1";
pub(crate) const THEIRS_6: &str = "fd98::2";
pub(crate) const SECRET: &str = "psk-0123456789";

/// Two connected namespaces, a charon in one of them; everything goes with it.
pub(crate) struct Lab {
    ours: String,
    theirs: String,
    directory: tempfile::TempDir,
    charon: Option<Child>,
    fragment_size: u16,
}

/// What charon shall be configured with.
pub(crate) struct Swan<'a> {
    /// Ours and charon's.
    pub(crate) addresses: (&'a str, &'a str),
    pub(crate) ike: &'a str,
    pub(crate) esp: &'a str,
    pub(crate) secret: &'a str,
    pub(crate) local_id: &'a str,
    pub(crate) remote_id: &'a str,
    pub(crate) selectors: &'a str,
    /// More lines of the connection.
    pub(crate) connection: &'a str,
    /// More lines of the child.
    pub(crate) child: &'a str,
}

impl Default for Swan<'_> {
    fn default() -> Self {
        Self {
            addresses: (OURS, THEIRS),
            ike: "aes256gcm16-prfsha384-curve25519",
            esp: "aes256gcm16-curve25519",
            secret: SECRET,
            local_id: THEIRS,
            remote_id: OURS,
            selectors: "0.0.0.0/0,::/0",
            connection: "",
            child: "",
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the program starts");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

impl Lab {
    /// Namespaces `cwike-<name>-a` (this thread enters it) and `-b` with a running charon.
    pub(crate) fn new(name: &str) -> Self {
        Self::with_fragments(name, 1280)
    }

    /// The same; charon splits what is longer than `size` octets of IP.
    pub(crate) fn with_fragments(name: &str, size: u16) -> Self {
        let (ours, theirs) = (format!("cwike-{name}-a"), format!("cwike-{name}-b"));
        for namespace in [&ours, &theirs] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).stderr(Stdio::null()).status();
            run("ip", &["netns", "add", namespace]);
            run("ip", &["-n", namespace, "link", "set", "lo", "up"]);
        }
        run("ip", &["-n", &ours, "link", "add", "e0", "type", "veth", "peer", "name", "e0", "netns", &theirs]);
        for (namespace, address, address_6) in [(&ours, OURS, OURS_6), (&theirs, THEIRS, THEIRS_6)] {
            run("ip", &["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", "e0"]);
            run("ip", &["-n", namespace, "addr", "add", &format!("{address_6}/64"), "dev", "e0", "nodad"]);
            run("ip", &["-n", namespace, "link", "set", "e0", "up"]);
        }
        let directory = tempfile::tempdir().expect("a directory");
        let mut lab = Self { ours, theirs, directory, charon: None, fragment_size: size };
        lab.start_charon();
        lab.enter();
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Moves this thread into our namespace: sockets that it makes are there.
    fn enter(&self) {
        let file = fs::File::open(format!("/run/netns/{}", self.ours)).expect("our namespace");
        rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&file),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .expect("entering a namespace needs root");
    }

    pub(crate) fn start_charon(&mut self) {
        let dir = self.directory.path().display().to_string();
        for sub in [
            "x509", "x509ca", "x509ocsp", "x509aa", "x509ac", "x509crl", "bliss", "pkcs12", "private", "pkcs8", "rsa",
            "ecdsa", "pubkey", "conf.d",
        ] {
            fs::create_dir_all(self.path("swanctl").join(sub)).expect("a directory");
        }
        let text = format!(
            "charon-systemd {{
  load_modular = no
  load = random nonce openssl hmac kdf ccm chapoly kernel-libipsec kernel-netlink socket-default vici
  install_routes = no
  install_virtual_ip = no
  interfaces_ignore = ipsec0,ipsec1,lo
  routing_table = 220
  routing_table_prio = 40000
  fragment_size = {}
  retransmit_timeout = 0.5
  retransmit_base = 1.5
  retransmit_tries = 4
  filelog {{ f {{ path = {dir}/charon.log
      append = yes
      flush_line = yes
      default = 1
      cfg = 2 }} }}
  journal {{ default = -1 }}
  plugins {{ vici {{ socket = unix://{dir}/vici.sock }} }}
}}
swanctl {{ socket = unix://{dir}/vici.sock
}}
",
            self.fragment_size
        );
        fs::write(self.path("strongswan.conf"), text).expect("written");
        let _ = fs::remove_file(self.path("vici.sock"));
        let charon = Command::new("ip")
            .args(["netns", "exec", &self.theirs, "/usr/sbin/charon-systemd"])
            .env("STRONGSWAN_CONF", self.path("strongswan.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("charon starts");
        self.charon = Some(charon);
        let deadline = Instant::now() + Duration::from_secs(10);
        // The file is there before anybody listens.
        while UnixStream::connect(self.path("vici.sock")).is_err() {
            assert!(Instant::now() < deadline, "charon does not answer: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Gives charon's end of the tunnel an inside address, with the other end of its /30 for us.
    pub(crate) fn inside(&self, address: &str) {
        for key in ["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.ipsec0.rp_filter=0"] {
            run("ip", &["netns", "exec", &self.theirs, "sysctl", "-qw", key]);
        }
        run("ip", &["-n", &self.theirs, "addr", "add", &format!("{address}/30"), "dev", "ipsec0"]);
    }

    /// Loads one connection `t1` with one child `c1`.
    pub(crate) fn load(&self, swan: &Swan<'_>) {
        let text = format!(
            "connections {{ t1 {{
  version = 2
  local_addrs = {}
  remote_addrs = {}
  proposals = {}
  mobike = no
  {}
  local {{ auth = psk
    id = {} }}
  remote {{ auth = psk
    id = {} }}
  children {{ c1 {{
    local_ts = {}
    remote_ts = {}
    esp_proposals = {}
    start_action = none
    {}
  }} }}
}} }}
secrets {{ ike1 {{ secret = \"{}\" }} }}
",
            swan.addresses.1,
            swan.addresses.0,
            swan.ike,
            swan.connection,
            swan.local_id,
            swan.remote_id,
            swan.selectors,
            swan.selectors,
            swan.esp,
            swan.child,
            swan.secret
        );
        fs::write(self.path("swanctl/swanctl.conf"), text).expect("written");
        let loaded = self.swanctl_command(&["-q", "--clear"]).output().expect("swanctl runs");
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    }

    /// Runs swanctl; what it prints.
    pub(crate) fn swanctl(&self, arguments: &[&str]) -> String {
        let output = self.swanctl_command(arguments).output().expect("swanctl runs");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    fn swanctl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("swanctl");
        command
            .args(arguments)
            .env("STRONGSWAN_CONF", self.path("strongswan.conf"))
            .env("SWANCTL_DIR", self.path("swanctl"));
        command
    }

    /// Runs swanctl beside the test, for what needs our answers.
    pub(crate) fn swanctl_later(&self, arguments: &[&str]) -> Child {
        self.swanctl_command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("swanctl runs")
    }

    /// Stops the charon without a word, as a power cut does.
    pub(crate) fn kill_charon(&mut self) {
        if let Some(mut charon) = self.charon.take() {
            let _ = charon.kill();
            let _ = charon.wait();
        }
    }

    /// What charon wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("charon.log")).unwrap_or_default()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            for line in tail.iter().rev() {
                // Captured by the test harness; the only way to see why the peer did what it did.
                let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{line}\n"));
            }
        }
        self.kill_charon();
        for namespace in [&self.ours, &self.theirs] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// Our end.
pub(crate) struct Us {
    pub(crate) endpoint: Endpoint,
    pub(crate) key: PeerKey,
    sockets: [UdpSocket; 2],
    remote: IpAddr,
    /// ESP that came, oldest first.
    pub(crate) esp: VecDeque<Vec<u8>>,
    /// Every event so far.
    pub(crate) events: Vec<Event>,
    /// Whether datagrams are lost both ways.
    pub(crate) deaf: bool,
}

pub(crate) fn config(ike: Cipher, esp: Cipher) -> PeerConfig {
    let (local, remote): (IpAddr, IpAddr) = (OURS.parse().expect("address"), THEIRS.parse().expect("address"));
    PeerConfig {
        key: PeerKey { connection: ConnectionId::random(), family: Family::Ipv4 },
        local,
        remote,
        local_identity: OURS.parse().expect("identity"),
        remote_identity: THEIRS.parse().expect("identity"),
        initiate: false,
        ike_proposals: vec![ike],
        esp_proposals: vec![esp],
        psks: vec![Psk::new(SECRET.as_bytes().to_vec())],
        timers: Timers::default(),
    }
}

/// A socket of the namespace that this thread is in. A process that another thread is about to start may hold the last one's
/// socket for a moment, and an IPv6 address is there once the kernel has looked at the link's carrier.
fn bind(address: IpAddr, port: u16) -> UdpSocket {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match UdpSocket::bind((address, port)) {
            Ok(socket) => {
                socket.set_nonblocking(true).expect("non-blocking");
                return socket;
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("binding port {port}: {error}"),
        }
    }
}

impl Us {
    pub(crate) fn new(config: PeerConfig) -> Self {
        let sockets = [500, 4500].map(|port| bind(config.local, port));
        let remote = config.remote;
        let mut endpoint = Endpoint::new(EndpointConfig::default(), Box::new(SystemEntropy::new()));
        let key = config.key;
        endpoint.set_peer(Instant::now(), config);
        Self { endpoint, key, sockets, remote, esp: VecDeque::new(), events: Vec::new(), deaf: false }
    }

    pub(crate) fn start(&mut self) {
        self.endpoint.start(Instant::now(), self.key);
    }

    /// Runs until an event from now on satisfies `wanted`.
    pub(crate) fn wait(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let from = self.events.len();
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            self.turn();
            if let Some(event) = self.events.iter().skip(from).find(|event| wanted(event)) {
                return event.clone();
            }
            assert!(
                Instant::now() < deadline,
                "no {what}; events: {:#?}; drops: {:?}",
                self.events.get(from..),
                self.endpoint.drops()
            );
        }
    }

    /// Runs for a while.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            self.turn();
        }
    }

    /// Runs until charon's list of SAs is as wanted.
    pub(crate) fn settle(&mut self, lab: &Lab, wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            self.run_for(Duration::from_millis(30));
            let listed = lab.swanctl(&["-l"]);
            if wanted(&listed) {
                return;
            }
            assert!(Instant::now() < deadline, "not as wanted: {listed}");
        }
    }

    pub(crate) fn wait_child(&mut self) -> ChildSa {
        match self.wait("Child SA", |event| matches!(event, Event::ChildInstalled { .. })) {
            Event::ChildInstalled { child, .. } => child,
            other => panic!("unexpected {other:?}"),
        }
    }

    /// Does what is due, and takes what came.
    pub(crate) fn turn(&mut self) {
        self.endpoint.handle_timeout(Instant::now());
        self.flush();
        let mut idle = true;
        let mut buffer = [0u8; 65536];
        for port in [0, 1] {
            match self.sockets[port].recv_from(&mut buffer) {
                Ok((length, remote)) => {
                    idle = false;
                    let local = self.sockets[port].local_addr().expect("bound");
                    self.take(local, remote, buffer.get(..length).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    self.endpoint.handle_unreachable(Instant::now(), self.remote);
                }
                Err(error) => panic!("receiving: {error}"),
            }
        }
        self.flush();
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn take(&mut self, local: SocketAddr, remote: SocketAddr, datagram: &[u8]) {
        if self.deaf {
            return;
        }
        let message = if local.port() == 4500 { datagram.strip_prefix(&[0; 4]) } else { Some(datagram) };
        match message {
            Some(message) => self.endpoint.handle_datagram(Instant::now(), local, remote, message),
            None => self.esp.push_back(datagram.to_vec()),
        }
    }

    /// Sends an ESP packet, encapsulated.
    pub(crate) fn send_esp(&self, remote: SocketAddr, packet: &[u8]) {
        self.sockets[1].send_to(packet, remote).expect("sent");
    }

    fn flush(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let encapsulated = transmit.local.port() == 4500;
            let datagram = if encapsulated { [&[0; 4][..], &transmit.payload].concat() } else { transmit.payload };
            if !self.deaf {
                let _ = self.sockets[usize::from(encapsulated)].send_to(&datagram, transmit.remote);
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.events.push(event);
        }
    }
}
