//! The gate of the forwarding lease against real packets, and with a writer that is stopped and killed.
//!
//! ```text
//! peer 192.0.2.2 ── up0 [machine 192.0.2.1; public 192.0.2.10, 2001:db8::10]
//! host 10.0.0.10, other 10.0.0.11 ── br0 ── cwvr-1 ── port [router 10.0.0.1]
//! ```

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use causeway_linux::filter::lease::{LeaseGate, dropped};
use causeway_linux::filter::{self, RouterFilter};
use causeway_linux::{Error, Namespace, VethEnd, announce};
use common::{Room, ip};

/// What a change may take; nothing here is a measurement.
const PATIENCE: Duration = Duration::from_secs(20);
/// A life that outlasts every test.
const LONG: Duration = Duration::from_secs(600);
/// One whose end is waited for.
const SHORT: Duration = Duration::from_millis(1500);
const OWN: &str = "192.0.2.1";
const PUBLIC: [&str; 2] = ["192.0.2.10", "2001:db8::10"];
/// The variable that makes a process the writer of the gate in the namespace that it names.
const WRITER: &str = "CAUSEWAY_TEST_LEASE_WRITER";

struct Site {
    machine: Room,
    peer: Room,
    router: Room,
    host: Room,
    other: Room,
    /// In the peer, on ports 500 and 4500 of both families.
    ears: BTreeMap<(bool, u16), UdpSocket>,
}

/// A program that another test is about to start may hold the last socket of this address for a moment.
fn bound(room: &Room, address: &str, port: u16) -> UdpSocket {
    let (address, begun) = (SocketAddr::new(ip(address), port), Instant::now());
    loop {
        match room.ns.run(|| UdpSocket::bind(address)).expect("enter") {
            Err(error) if error.kind() == ErrorKind::AddrInUse && begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            bound => return bound.expect("bind"),
        }
    }
}

impl Site {
    async fn new(name: &str) -> Self {
        let room = |part: &str| Room::new(&format!("{name}{part}"));
        let (machine, peer, router, host, other) = (room("m"), room("p"), room("r"), room("h"), room("o"));
        for room in [&machine, &peer, &router, &host, &other] {
            room.sh("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
        }
        machine.net.create_veth(&VethEnd::new("up0"), &VethEnd::new("up0").within(&peer.ns)).await.expect("veth");
        machine.up("up0", &["192.0.2.1/24", "2001:db8::1/64"]).await;
        peer.up("up0", &["192.0.2.2/24", "2001:db8::2/64"]).await;
        for public in PUBLIC {
            let bits = if public.contains(':') { 128 } else { 32 };
            machine.sh(&format!("ip address add {public}/{bits} dev up0 noprefixroute"));
        }
        machine.net.create_bridge("br0").await.expect("a bridge");
        let bridge = machine.up("br0", &[]).await;
        for (outer, room, address) in
            [("cwvr-1", &router, "10.0.0.1/24"), ("host", &host, "10.0.0.10/24"), ("other", &other, "10.0.0.11/24")]
        {
            machine.net.create_veth(&VethEnd::new(outer), &VethEnd::new("up0").within(&room.ns)).await.expect("veth");
            let port = machine.up(outer, &[]).await;
            machine.net.set_master(port, Some(bridge)).await.expect("a port");
            room.up("up0", &[address]).await;
        }
        let ears = [(false, 500), (false, 4500), (true, 500), (true, 4500)].map(|(six, port)| {
            let ear = bound(&peer, if six { "2001:db8::2" } else { "192.0.2.2" }, port);
            ear.set_read_timeout(Some(PATIENCE)).expect("a limit");
            ((six, port), ear)
        });
        let site = Self { machine, peer, router, host, other, ears: ears.into() };
        site.peer.reaches("192.0.2.2", PUBLIC[0]);
        site.peer.reaches("2001:db8::2", PUBLIC[1]);
        site.host.reaches("10.0.0.10", "10.0.0.1");
        site.host.reaches("10.0.0.10", "10.0.0.11");
        site
    }

    async fn gate(&self) -> LeaseGate {
        let mut gate = LeaseGate::new(self.machine.ns.clone(), "cwvr-").expect("a gate");
        let index = self.machine.net.index("up0").await.expect("the underlay");
        gate.set_underlay(Some(("up0", index)), PATIENCE).await.expect("nothing to do yet");
        for public in PUBLIC {
            gate.include(ip(public), true, PATIENCE).await.expect("nothing to do yet");
        }
        gate
    }

    async fn dropped(&self) -> u64 {
        dropped(&self.machine.ns).await.expect("a listing")
    }

    /// Whether a datagram from this address and port gets out, and to the peer then.
    fn sends(&self, from: &str, port: u16) -> bool {
        let socket = bound(&self.machine, from, port);
        let ear = &self.ears[&(from.contains(':'), port)];
        match socket.send_to(b"question", ear.local_addr().expect("bound")) {
            Ok(_) => {
                let (_, heard) = ear.recv_from(&mut [0; 64]).expect("what has left arrives");
                assert_eq!(heard.ip(), ip(from));
                true
            }
            // What the output hook drops.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
            Err(error) => panic!("{from} port {port}: {error}"),
        }
    }

    /// Whether a datagram gets in.
    async fn hears(&self, to: &str, port: u16) -> bool {
        let socket = bound(&self.machine, to, port);
        let before = self.dropped().await;
        let ear = &self.ears[&(to.contains(':'), port)];
        ear.send_to(b"question", SocketAddr::new(ip(to), port)).expect("sent");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a limit");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if socket.recv_from(&mut [0; 64]).is_ok() {
                return true;
            }
            if self.dropped().await > before {
                return false;
            }
            assert!(Instant::now() < deadline, "neither heard nor dropped");
        }
    }

    /// Whether a neighbour that has forgotten the address finds it.
    fn answers(&self, address: &str) -> bool {
        self.peer.sh("ip neigh flush all");
        self.peer.ping(if address.contains(':') { "2001:db8::2" } else { "192.0.2.2" }, address)
    }

    fn passes(&self) -> bool {
        let all: Vec<bool> =
            PUBLIC.iter().flat_map(|public| [500, 4500].map(|port| self.sends(public, port))).collect();
        assert!(all.iter().all(|one| *one == all[0]), "all or nothing: {all:?}");
        all[0]
    }

    fn wait_until(&self, open: bool) {
        let deadline = Instant::now() + PATIENCE;
        // One port: in between the answers may differ.
        while self.sends(PUBLIC[0], 4500) != open {
            assert!(Instant::now() < deadline, "it does not become {}", if open { "open" } else { "closed" });
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What passes without any lease: the machine's own traffic, and hosts of one network among themselves.
    fn always_passes(&self) {
        assert!(self.sends(OWN, 4500), "an address that is not the gateways'");
        assert!(self.peer.ping("192.0.2.2", OWN));
        assert!(self.peer.ping("2001:db8::2", "2001:db8::1"));
        self.host.reaches("10.0.0.10", "10.0.0.11");
        self.other.reaches("10.0.0.11", "10.0.0.10");
    }

    async fn is_open(&self) {
        assert!(self.passes());
        for public in PUBLIC {
            for port in [500, 4500] {
                assert!(self.hears(public, port).await);
            }
            assert!(self.answers(public), "{public}");
        }
        self.host.sh("ip neigh flush all");
        self.host.reaches("10.0.0.10", "10.0.0.1");
        self.router.reaches("10.0.0.1", "10.0.0.10");
        self.always_passes();
    }

    async fn is_closed(&self) {
        assert!(!self.passes());
        for public in PUBLIC {
            for port in [500, 4500] {
                assert!(!self.hears(public, port).await);
            }
            let before = self.dropped().await;
            assert!(!self.answers(public), "{public}");
            assert!(self.dropped().await > before, "it has tried to answer");
        }
        // In both directions, and nobody learns of the router: each side would find the other by the entry that it has.
        for room in [&self.host, &self.router] {
            room.sh("ip neigh flush all");
        }
        assert!(!self.host.ping("10.0.0.10", "10.0.0.1"));
        assert!(!self.router.ping("10.0.0.1", "10.0.0.10"));
        self.always_passes();
    }
}

#[tokio::test]
#[ignore = "needs root"]
async fn what_gateways_send_and_receive_passes_while_the_counted_element_lives() {
    let site = Site::new("lglife").await;
    let mut gate = site.gate().await;
    site.is_open().await;
    gate.close(PATIENCE).await.expect("closed");
    site.is_closed().await;

    gate.arm(1, SHORT, PATIENCE).await.expect("armed");
    gate.arm(2, LONG, PATIENCE).await.expect("armed");
    assert!(!site.passes(), "nothing counts yet");
    gate.count(1, PATIENCE).await.expect("counted");
    site.wait_until(false);
    assert!(!site.passes(), "another number lives, and does not count");

    gate.count(2, PATIENCE).await.expect("counted");
    site.is_open().await;
    gate.count(1, PATIENCE).await.expect("counted");
    assert!(!site.passes(), "its element is dead");
    gate.count(3, PATIENCE).await.expect("counted");
    assert!(!site.passes(), "there is no such element");
    for number in [2, 3] {
        let error = gate.arm(number, LONG, PATIENCE).await.expect_err("a second life");
        assert!(error.to_string().contains(&format!("element {number}")), "{error}");
    }
    assert!(!site.passes(), "what counts was never armed");

    // What is closed forgets.
    gate.close(PATIENCE).await.expect("closed");
    gate.count(3, PATIENCE).await.expect("counted");
    assert!(!site.passes());
    gate.arm(4, LONG, PATIENCE).await.expect("armed");
    gate.count(4, PATIENCE).await.expect("counted");
    assert!(site.passes());

    gate.open(PATIENCE).await.expect("open");
    site.is_open().await;
    assert_eq!(site.machine.sh("nft list tables"), "", "nothing is left");
}

#[tokio::test]
#[ignore = "needs root"]
async fn switching_on_loses_no_packet() {
    let site = Site::new("lgon").await;
    let mut gate = site.gate().await;
    gate.open(PATIENCE).await.expect("open");
    gate.arm(1, LONG, PATIENCE).await.expect("armed");
    assert!(site.passes(), "an open gate stays open");
    gate.include(ip("192.0.2.77"), true, PATIENCE).await.expect("one more address");
    assert!(site.passes());
    let (end, ended) = mpsc::channel::<()>();
    let sender = std::thread::spawn({
        let socket = bound(&site.machine, PUBLIC[0], 4500);
        move || {
            let mut sent = 0;
            while ended.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
                socket.send_to(b"on", "192.0.2.2:4600").expect("it passes all the time");
                sent += 1;
            }
            sent
        }
    });
    gate.count(1, PATIENCE).await.expect("counted");
    gate.arm(2, LONG, PATIENCE).await.expect("armed");
    gate.count(2, PATIENCE).await.expect("counted");
    drop(end);
    assert!(sender.join().expect("no refusal") > 0);
    site.is_open().await;
    gate.count(9, PATIENCE).await.expect("counted");
    site.is_closed().await;
}

#[tokio::test]
#[ignore = "needs root"]
async fn addresses_come_and_go_and_others_filters_change_nothing() {
    let site = Site::new("lgaddr").await;
    let mut gate = site.gate().await;
    gate.close(PATIENCE).await.expect("closed");
    // One of the operator's own that a gateway uses too: the machine goes on answering for it.
    gate.include(ip(OWN), false, PATIENCE).await.expect("included");
    assert!(!site.sends(OWN, 4500));
    assert!(site.answers(OWN));
    gate.exclude(ip(OWN), PATIENCE).await.expect("excluded");
    site.is_closed().await;
    gate.arm(1, LONG, PATIENCE).await.expect("armed");
    gate.count(1, PATIENCE).await.expect("counted");
    gate.exclude(ip(PUBLIC[1]), PATIENCE).await.expect("excluded");
    gate.include(ip(PUBLIC[1]), true, PATIENCE).await.expect("included");
    assert!(site.passes(), "addresses come and go while it is open");

    // The machine's other filters are replaced as a whole.
    let other = RouterFilter { networks: Vec::new(), gateway_links: "g-".to_owned() };
    filter::apply(&site.machine.ns, &other).await.expect("applied");
    filter::remove(&site.machine.ns).await.expect("removed");
    assert!(site.passes());
    gate.count(2, PATIENCE).await.expect("counted");
    filter::apply(&site.machine.ns, &other).await.expect("applied");
    filter::remove(&site.machine.ns).await.expect("removed");
    site.is_closed().await;

    // Somebody takes everything away, or a part of it.
    for (number, taken) in
        [(10, "nft flush ruleset"), (20, "nft delete table arp causeway_lease"), (30, "nft flush ruleset bridge")]
    {
        site.machine.sh(taken);
        gate.arm(number, LONG, PATIENCE).await.expect("armed");
        site.is_closed().await;
        gate.count(number, PATIENCE).await.expect("counted");
        assert!(site.passes(), "{taken}");
        gate.count(number + 1, PATIENCE).await.expect("counted");
    }
    gate.arm(40, LONG, PATIENCE).await.expect("armed");
    site.machine.sh("nft flush ruleset");
    gate.count(40, PATIENCE).await.expect("counted");
    site.is_closed().await;
    site.machine.sh("nft flush ruleset");
    gate.include(ip("192.0.2.77"), true, PATIENCE).await.expect("included");
    site.is_closed().await;

    // The underlay goes and another one of its name comes, while it is open and while it is closed.
    gate.arm(50, LONG, PATIENCE).await.expect("armed");
    gate.count(50, PATIENCE).await.expect("counted");
    let index = site.machine.net.index("up0").await.expect("the underlay");
    for underlay in [None, Some(("up0", index))] {
        gate.set_underlay(underlay, PATIENCE).await.expect("changed");
        assert!(site.passes());
    }
    gate.count(51, PATIENCE).await.expect("counted");
    let closed = site.machine.sh("nft list chain netdev causeway_lease underlay");
    assert!(closed.contains("up0"), "{closed}");
    gate.set_underlay(None, PATIENCE).await.expect("gone");
    assert!(!site.machine.sh("nft list ruleset netdev").contains("up0"));
    gate.set_underlay(Some(("up0", index)), PATIENCE).await.expect("back");
    site.is_closed().await;
    // Kernels differ in whether they take the name of an interface that is not there.
    let missing = gate.set_underlay(Some(("nowhere", 99)), PATIENCE).await;
    assert!(matches!(missing, Ok(()) | Err(Error::Nft(_))), "{missing:?}");
    site.is_closed().await;
    let unnamed = gate.set_underlay(Some(("up\" drop", 99)), PATIENCE).await;
    assert!(matches!(unnamed, Err(Error::Name { .. })), "{unnamed:?}");
}

/// Announcements are frames of our own making, which no filter of IP sees.
#[tokio::test]
#[ignore = "needs root"]
async fn nobody_hears_of_addresses_without_a_lease() {
    let site = Site::new("lgann").await;
    let mut gate = site.gate().await;
    gate.close(PATIENCE).await.expect("closed");
    let link = site.machine.net.link("up0").await.expect("the underlay");
    let public: Vec<IpAddr> = PUBLIC.iter().map(|public| ip(public)).collect();
    // What is told to all, not what the kernel asks one neighbour.
    let told = "(arp and ether dst ff:ff:ff:ff:ff:ff) or (icmp6 and ip6[40] == 136 and dst host ff02::1)";
    let capture = site.peer.capture("up0", told, 5);
    for address in &public {
        let before = site.dropped().await;
        announce(&site.machine.ns, &link, &[*address]).expect_err("the kernel does not take it");
        // The kernel may have tried to say something of its own at the same moment.
        assert!(site.dropped().await > before, "{address}");
    }
    announce(&site.machine.ns, &link, &[ip(OWN)]).expect("announced");
    gate.arm(1, LONG, PATIENCE).await.expect("armed");
    gate.count(1, PATIENCE).await.expect("counted");
    announce(&site.machine.ns, &link, &public).expect("announced");
    let seen = capture.finish();
    let of = |address: &str| seen.lines().filter(|line| line.contains(&format!("{address} "))).count();
    assert!(seen.contains("192.0.2.1 "), "{seen}");
    let first = seen.find(PUBLIC[0]).expect("announced with a lease");
    assert!(seen.find("192.0.2.1 ").is_some_and(|own| own < first), "not before it was counted: {seen}");
    assert!(of(PUBLIC[0]) > 0, "{seen}");
}

/// Not a test: what the next one starts, stops and kills.
#[tokio::test]
#[ignore = "needs root"]
async fn writer_of_a_gate() {
    let Ok(namespace) = std::env::var(WRITER) else { return };
    let namespace = Namespace::open(&namespace).expect("the machine");
    let mut gate = LeaseGate::new(namespace, "cwvr-").expect("a gate");
    gate.include(ip(PUBLIC[0]), true, PATIENCE).await.expect("nothing to do yet");
    gate.close(PATIENCE).await.expect("closed");
    for number in 1.. {
        let limit = Duration::from_millis(500);
        let told = match gate.arm(number, SHORT, limit).await {
            Ok(()) => gate.count(number, limit).await,
            Err(error) => Err(error),
        };
        let told = told.map_or_else(|error| error.to_string(), |()| "counted".to_owned());
        writeln!(std::io::stderr(), "{told}").expect("somebody listens");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct Writer {
    process: Child,
    told: mpsc::Receiver<String>,
}

impl Writer {
    fn start(site: &Site, programs: &std::path::Path) -> Self {
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a PATH"));
        let mut process = Command::new(std::env::current_exe().expect("the test's own path"))
            .args(["--ignored", "--exact", "--nocapture", "writer_of_a_gate"])
            .env(WRITER, site.machine.ns.name())
            .env("PATH", path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { process, told }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.process.id().to_string()]).status();
        assert!(status.expect("kill").success());
    }

    /// Waits until it says that.
    fn says(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.told.recv_timeout(deadline - Instant::now()).expect("it goes on talking").contains(words) {}
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
#[ignore = "needs root"]
async fn a_writer_that_is_stopped_killed_or_hung_up_makes_it_no_longer() {
    let site = Site::new("lgstop").await;
    let directory = std::env::temp_dir().join(format!("causeway-lease-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let (hangs, nft) = (directory.join("hangs"), directory.join("nft"));
    let script = format!("#!/bin/sh\n[ -e {} ] && exec sleep 3600\nexec /usr/sbin/nft \"$@\"\n", hangs.display());
    std::fs::write(&nft, script).expect("written");
    std::fs::set_permissions(&nft, std::fs::Permissions::from_mode(0o755)).expect("executable");

    let writer = Writer::start(&site, &directory);
    writer.says("counted");
    site.wait_until(true);
    writer.signal("-STOP");
    site.wait_until(false);
    site.is_still_closed();
    writer.signal("-CONT");
    site.wait_until(true);

    std::fs::write(&hangs, "").expect("written");
    writer.says("nft does not end");
    site.wait_until(false);
    std::fs::remove_file(&hangs).expect("removed");
    writer.says("counted");
    site.wait_until(true);

    writer.signal("-KILL");
    site.wait_until(false);
    site.is_still_closed();
    drop(writer);

    // A new process begins with a closed gate, and with numbers that were used before.
    let mut next = site.gate().await;
    next.close(PATIENCE).await.expect("closed");
    next.count(1, PATIENCE).await.expect("counted");
    assert!(!site.sends(PUBLIC[0], 4500));
    next.arm(2, LONG, PATIENCE).await.expect("armed");
    next.count(2, PATIENCE).await.expect("counted");
    assert!(site.sends(PUBLIC[0], 4500));
    std::fs::remove_dir_all(&directory).expect("removed");
}

impl Site {
    /// The kernel keeps it closed: nothing that happens by itself opens it.
    fn is_still_closed(&self) {
        for _ in 0..20 {
            assert!(!self.sends(PUBLIC[0], 4500));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
