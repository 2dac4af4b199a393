//! The stage: two machines on one wire, a node on each as a process of its own, a host on each node's Private Network.
//!
//! ```text
//! host a ── bridge [machine a: node] up0 ──── up0 [machine b: node] bridge ── host b
//! 10.1.0.10  fd00:1::10                                          10.2.0.10  fd00:2::10
//! ```
//! Machines and hosts are namespaces `cwnd-<test>-…`; the nodes' own are named after random ids. So tests run side by side.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use causeway_linux::{Namespace, filter};
use causeway_model::desired::{
    BgpDesired, ConnectionDesired, GatewayDesired, NetworkDesired, NodeDesired, PolicyDesired, Timers, TunnelDesired,
    VpcDesired,
};
use causeway_model::observed::{ConnectionFacts, NodeReport, RouteDecision, VpcFacts};
use causeway_model::suite::Cipher;
use causeway_model::{ConnectionId, Family, PrivateNetworkId, VpcId, VpnGatewayId};

/// What a change, a tunnel and its sessions may take; nothing here is a measurement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `look` finds something.
pub(crate) fn wait<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until `look` says yes.
pub(crate) fn wait_for(what: &str, mut look: impl FnMut() -> bool) {
    wait(what, PATIENCE, || look().then_some(()));
}

/// Runs `line` in a namespace; its output if it succeeded.
pub(crate) fn within(namespace: &Namespace, line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = namespace.command(&words).expect("the program can be started");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The counters of the packet filter in a gateway's or a router's namespace.
pub(crate) fn counters_of(namespace: &Namespace) -> BTreeMap<String, u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(filter::read_counters(namespace)).expect("counters")
}

/// Runs `line`, which must succeed.
pub(crate) fn sh(namespace: &Namespace, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = namespace.command(&words).expect("the program can be started");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn example() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps/TEST");
    let example = profile.join("examples/run_desired");
    assert!(
        example.exists(),
        "{} is missing: run `cargo test -p causeway-node`, which builds it, without --test",
        example.display()
    );
    example
}

/// A namespace that goes with the test.
pub(crate) struct Room(pub(crate) Namespace);

impl Room {
    pub(crate) fn new(name: &str) -> Self {
        Namespace::delete(name).expect("an earlier one is cleared away");
        let room = Self(Namespace::create(name).expect("a namespace"));
        sh(&room.0, "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
        room
    }

    /// Who answers on the way to `target`, once all of them have in time.
    pub(crate) fn hops(&self, target: &str) -> Vec<String> {
        wait(&format!("every hop to {target} answers"), PATIENCE, || {
            let traced = sh(&self.0, &format!("traceroute -n -I -q 1 -w 1 {target}"));
            let hop = |line: &str| line.split_whitespace().nth(1).map(ToOwned::to_owned);
            let hops: Vec<String> = traced.lines().skip(1).filter_map(hop).collect();
            (!hops.is_empty() && hops.iter().all(|hop| hop != "*")).then_some(hops)
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = Namespace::delete(self.0.name());
    }
}

/// Which outer families the connection uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outside {
    Ipv4,
    Ipv6,
    Both,
}

/// One side: its machine, its node and its host.
pub(crate) struct Side {
    pub(crate) number: u8,
    pub(crate) machine: Room,
    pub(crate) host: Room,
    pub(crate) desired: NodeDesired,
    pub(crate) directory: PathBuf,
    /// Where the node looks for programs, before everything else.
    pub(crate) programs: Option<PathBuf>,
    /// What its lease is told, where it has one.
    pub(crate) lease: Option<PathBuf>,
    /// Its id and where its controller would be, where it has tunnels to other nodes.
    pub(crate) peering: Option<String>,
    process: Option<Child>,
    latest: Arc<Mutex<NodeReport>>,
}

pub(crate) struct World {
    pub(crate) a: Side,
    pub(crate) b: Side,
}

impl World {
    /// Starts both nodes and connects the hosts, but waits for nothing.
    pub(crate) fn new(test: &str, outside: Outside) -> Self {
        let (mut a, mut b) = (Side::new(test, 1, outside), Side::new(test, 2, outside));
        let far = b.machine.0.path().display().to_string();
        sh(&a.machine.0, &format!("ip link add up0 type veth peer name up0 netns {far}"));
        for side in [&a, &b] {
            side.address_underlay();
        }
        for side in [&mut a, &mut b] {
            side.start();
            side.connect_host();
        }
        Self { a, b }
    }

    /// Waits for both sessions on both sides.
    pub(crate) fn wait_up(&self) {
        for side in [&self.a, &self.b] {
            wait_for("the sessions of both families", || side.sessions_up() == 2);
        }
    }

    /// Both hosts reach each other over `family`.
    pub(crate) fn flows(&self, family: Family) -> bool {
        self.a.pings(self.b.host_address(family)) && self.b.pings(self.a.host_address(family))
    }

    pub(crate) fn wait_flow(&self) {
        for family in Family::ALL {
            wait_for(&format!("{family} in both directions"), || self.flows(family));
        }
    }

    /// From host to host a packet of so many octets passes whole, one more does not and says what would.
    pub(crate) fn fits_exactly(&self, mtu: u32) {
        let host = &self.a.host.0;
        let ping = |octets: u32| format!("ping -n -c 1 -W 2 -M do -s {} 10.2.0.10", octets - 28);
        sh(host, "ip route flush cache");
        wait_for("a packet of the MTU", || within(host, &ping(mtu)).is_some());
        let output = host.command(&ping(mtu + 1).split(' ').collect::<Vec<_>>()).expect("ping starts");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(&format!("mtu = {mtu}")), "{said}");
        sh(host, "ip route flush cache");
    }

    /// Nothing comes through, in neither direction.
    pub(crate) fn wait_silence(&self, family: Family) {
        let silent = |from: &Side, to: &Side| !from.pings(to.host_address(family));
        wait_for(&format!("{family} stops"), || silent(&self.a, &self.b) && silent(&self.b, &self.a));
    }
}

impl Side {
    pub(crate) fn new(test: &str, number: u8, outside: Outside) -> Self {
        let letter = match number {
            1 => 'a',
            2 => 'b',
            _ => 'c',
        };
        let room = |kind: &str| Room::new(&format!("cwnd-{test}-{kind}{letter}"));
        let directory = std::env::temp_dir().join(format!("cwnd-{test}-{letter}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        Self {
            number,
            machine: room(""),
            host: room("h"),
            desired: desired(number, outside),
            directory,
            programs: None,
            lease: None,
            peering: None,
            process: None,
            latest: Arc::default(),
        }
    }

    /// The machine's own addresses on the wire.
    pub(crate) fn address_underlay(&self) {
        let number = self.number;
        sh(&self.machine.0, "ip link set up0 up");
        sh(&self.machine.0, &format!("ip addr add 192.0.2.25{number}/24 dev up0"));
        sh(&self.machine.0, &format!("ip addr add 2001:db8::f{number}/64 dev up0 nodad"));
    }

    /// After the interface was down: IPv4 addresses stay, IPv6 ones go.
    pub(crate) fn address_underlay_again(&self) {
        sh(&self.machine.0, "ip link set up0 up");
        sh(&self.machine.0, &format!("ip addr replace 2001:db8::f{}/64 dev up0 nodad", self.number));
    }

    /// Starts the node's process.
    pub(crate) fn start(&mut self) {
        self.write();
        let log = std::fs::File::create(self.directory.join("log")).expect("a log file");
        let mut command = Command::new(example());
        command.arg(self.directory.join("state")).arg("up0").arg(self.directory.join("desired.json"));
        command.args(&self.lease);
        if let Some(programs) = &self.programs {
            let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
            command.env("PATH", format!("{}:{path}", programs.display()));
        }
        command.envs(self.peering.iter().map(|peering| ("PEERING", peering)));
        command.env("CAUSEWAY_LOG", "info").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = self.machine.0.spawn(&mut command).expect("the node starts");
        let out = BufReader::new(child.stdout.take().expect("its standard output"));
        self.latest = Arc::default();
        let latest = Arc::clone(&self.latest);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let report = serde_json::from_str(&line).expect("a report");
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = report;
            }
        });
        self.process = Some(child);
    }

    /// Waits for the bridge of the Private Network, and hangs the host on it.
    pub(crate) fn connect_host(&self) {
        self.connect_host_on(&self.machine.0);
    }

    /// As [`Self::connect_host`], on the machine where the VPC's router is.
    pub(crate) fn connect_host_on(&self, machine: &Namespace) {
        let (host, n) = (&self.host.0, self.number);
        let bridge = self.bridge();
        wait_for("the bridge", || within(machine, &format!("ip link show {bridge}")).is_some());
        let path = host.path().display().to_string();
        sh(machine, &format!("ip link add host type veth peer name eth0 netns {path}"));
        sh(machine, &format!("ip link set host master {bridge} up"));
        sh(host, "ip link set eth0 up");
        sh(host, &format!("ip addr add 10.{n}.0.10/24 dev eth0"));
        sh(host, &format!("ip addr add fd00:{n}::10/64 dev eth0 nodad"));
        sh(host, &format!("ip route add default via 10.{n}.0.1"));
        sh(host, &format!("ip -6 route add default via fd00:{n}::1"));
    }

    pub(crate) fn bridge(&self) -> String {
        format!("cwbr-{}", self.desired.vpcs[0].networks[0].id.short())
    }

    pub(crate) fn gateway_namespace(&self) -> String {
        format!("cwg-{}", self.desired.gateways[0].id.short())
    }

    pub(crate) fn router_namespace(&self) -> String {
        format!("cwv-{}", self.desired.vpcs[0].id.short())
    }

    pub(crate) fn host_address(&self, family: Family) -> IpAddr {
        let n = self.number;
        let text = if family.is_ipv6() { format!("fd00:{n}::10") } else { format!("10.{n}.0.10") };
        text.parse().expect("an address")
    }

    /// Changes what the node shall run.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut NodeDesired)) {
        change(&mut self.desired);
        self.desired.revision += 1;
        let revision = self.desired.revision;
        for vpc in &mut self.desired.vpcs {
            vpc.revision = revision;
        }
        for gateway in &mut self.desired.gateways {
            gateway.revision = revision;
            for connection in &mut gateway.connections {
                connection.revision = revision;
            }
        }
        for link in &mut self.desired.links {
            link.revision = revision;
        }
        self.write();
    }

    pub(crate) fn edit_connection(&mut self, change: impl FnOnce(&mut ConnectionDesired)) {
        self.edit(|desired| change(&mut desired.gateways[0].connections[0]));
    }

    /// Waits until the newest revision is in force everywhere.
    pub(crate) fn wait_applied(&self) {
        let revision = self.desired.revision;
        wait_for("the newest revision in force", || {
            let report = self.report();
            let gateways = report.gateways.iter().all(|facts| facts.applied == revision && facts.refused.is_none());
            let routed = || self.desired.vpcs.iter().filter(|vpc| vpc.router.is_none());
            let vpcs = routed().all(|vpc| {
                let facts = report.vpcs.iter().find(|facts| facts.id == vpc.id);
                facts.is_some_and(|facts| facts.applied == vpc.revision && facts.refused.is_none())
            });
            let connections =
                report.connections.iter().all(|facts| facts.applied == revision && facts.refused.is_none());
            let links = report.links.iter().all(|facts| facts.applied == revision && facts.refused.is_none());
            report.revision == revision
                && report.gateways.len() == self.desired.gateways.len()
                && report.connections.len() == self.desired.gateways.iter().map(|g| g.connections.len()).sum::<usize>()
                && report.vpcs.len() == routed().count()
                && report.links.len() == self.desired.links.len()
                && links
                && vpcs
                && gateways
                && connections
        });
    }

    fn write(&self) {
        let temporary = self.directory.join("desired.new");
        std::fs::write(&temporary, serde_json::to_vec(&self.desired).expect("JSON")).expect("written");
        std::fs::rename(temporary, self.directory.join("desired.json")).expect("in place");
    }

    pub(crate) fn report(&self) -> NodeReport {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn vpc(&self) -> Option<VpcFacts> {
        self.report().vpcs.into_iter().next()
    }

    /// The refusal of something of the VPC.
    pub(crate) fn vpc_refusal(&self, item: &str) -> Option<String> {
        let refusal = self.vpc()?.refused?;
        (refusal.item == item && refusal.revision == self.desired.revision).then_some(refusal.error)
    }

    pub(crate) fn connection(&self) -> Option<ConnectionFacts> {
        self.report().connections.into_iter().next()
    }

    /// What became of a prefix that the peer announced.
    pub(crate) fn received(&self, prefix: &str) -> Option<RouteDecision> {
        let prefix: ipnet::IpNet = prefix.parse().expect("a prefix");
        let received = self.connection()?.received;
        received.into_iter().find(|route| route.prefix == prefix).map(|route| route.decision)
    }

    pub(crate) fn sessions_up(&self) -> usize {
        self.connection().map_or(0, |facts| facts.sessions.iter().filter(|session| session.up).count())
    }

    pub(crate) fn tunnel_up(&self, family: Family) -> bool {
        self.connection().is_some_and(|facts| facts.tunnels.iter().any(|tunnel| tunnel.family == family && tunnel.up))
    }

    pub(crate) fn pings(&self, address: IpAddr) -> bool {
        within(&self.host.0, &format!("ping -n -c 1 -W 1 {address}")).is_some()
    }

    /// The counters of the gateway's packet filter.
    pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
        counters_of(&Namespace::open(&self.gateway_namespace()).expect("the gateway's namespace"))
    }

    /// Sends the process a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(self.process.as_ref().expect("it runs"));
        rustix::process::kill_process(process, signal).expect("a signal");
    }

    /// Kills the process as an operator's mistake or the kernel would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("killed");
            process.wait().expect("its end");
        }
    }

    /// Ends it in order; whether it ended well.
    pub(crate) fn terminate(&mut self) -> bool {
        let Some(mut process) = self.process.take() else { return true };
        let id = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a signal");
        let status = wait("the end of the node", PATIENCE, || process.try_wait().expect("its state"));
        status.success()
    }

    /// What a node must not leave in its machine: everything but the wire, the host's port and loopback.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let links = sh(&self.machine.0, "ip -br link");
        let names = links.lines().filter_map(|line| line.split(['@', ' ']).next().map(str::to_owned));
        let mut left: Vec<String> = names.filter(|name| !matches!(name.as_str(), "lo" | "up0" | "host")).collect();
        left.extend(
            [self.gateway_namespace(), self.router_namespace()].into_iter().filter(|name| Namespace::exists(name)),
        );
        let addresses = sh(&self.machine.0, "ip -o addr show dev up0");
        let public = self.desired.gateways.iter().flat_map(|gateway| &gateway.public_addresses);
        left.extend(public.map(ToString::to_string).filter(|address| addresses.contains(&format!(" {address}/"))));
        left
    }
}

impl Drop for Side {
    #[expect(clippy::print_stderr, reason = "what a failed test needs to be understood")]
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            eprintln!("--- node {}\n{log}\n{:#?}", self.number, self.report());
        }
        let gateways = self.desired.gateways.iter().map(|gateway| format!("cwg-{}", gateway.id.short()));
        let routers = self.desired.vpcs.iter().map(|vpc| format!("cwv-{}", vpc.id.short()));
        let links = self.desired.links.iter().map(|link| format!("cwl-{}", link.id.short()));
        let inside = self.peering.iter().filter_map(|peering| Some(format!("cwp-{}", peering.get(..8)?)));
        for name in gateways.chain(routers).chain(links).chain(inside) {
            let _ = Namespace::delete(&name);
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn desired(me: u8, outside: Outside) -> NodeDesired {
    let other = 3 - me;
    let net = |text: String| text.parse().expect("a prefix");
    let subnets = |n: u8| vec![net(format!("10.{n}.0.0/24")), net(format!("fd00:{n}::/64"))];
    let (vpc, network) = (VpcId::random(), PrivateNetworkId::random());
    let public = |n: u8| {
        let ipv4: IpAddr = format!("192.0.2.{n}").parse().expect("an address");
        let ipv6: IpAddr = format!("2001:db8::{n}").parse().expect("an address");
        match outside {
            Outside::Ipv4 => vec![ipv4],
            Outside::Ipv6 => vec![ipv6],
            Outside::Both => vec![ipv4, ipv6],
        }
    };
    let tunnels = public(me).into_iter().zip(public(other)).map(|(local, peer)| TunnelDesired { local, peer });
    let bgp = subnets(me).into_iter().zip(subnets(other)).map(|(ours, theirs): (ipnet::IpNet, ipnet::IpNet)| {
        let inside = |n: u8| match ours.addr() {
            IpAddr::V4(_) => net(format!("169.254.0.{n}/30")),
            IpAddr::V6(_) => net(format!("fd99::{n}/126")),
        };
        let policy = PolicyDesired { prefix_filter_in: vec![theirs], prefix_filter_out: vec![ours] };
        BgpDesired { local: inside(me), peer: inside(other), policy: Some(policy) }
    });
    let connection = ConnectionDesired {
        id: ConnectionId::random(),
        revision: 1,
        tunnels: tunnels.collect(),
        peer_identity: None,
        initiate: me == 1,
        ike_proposals: vec![Cipher::DEFAULT_IKE],
        esp_proposals: vec![Cipher::DEFAULT_ESP],
        psks: vec![serde_json::from_value(serde_json::json!(b"only for this test".to_vec())).expect("a key")],
        reauthenticate: 0,
        revocations: 0,
        peer_asn: 64512 + u32::from(other),
        bgp: bgp.collect(),
        propagate: true,
        locked: false,
        bgp_md5: None,
        bgp_gtsm: false,
        timers: Timers { dpd_delay: 1, dpd_timeout: 2, ..Timers::default() },
    };
    let gateway = GatewayDesired {
        id: VpnGatewayId::random(),
        vpc,
        network,
        revision: 1,
        asn: 64512 + u32::from(me),
        private_addresses: vec![net(format!("10.{me}.0.2/24")), net(format!("fd00:{me}::2/64"))],
        public_addresses: public(me),
        bandwidth: 0,
        locked: false,
        connections: vec![connection],
    };
    let networks = vec![NetworkDesired { id: network, subnets: subnets(me), bridge: None }];
    let vpcs = vec![VpcDesired::new(vpc, networks)];
    NodeDesired {
        revision: 1,
        vpcs,
        gateways: vec![gateway],
        failover: false,
        links: Vec::new(),
        peers: Vec::new(),
        lease: None,
    }
}
