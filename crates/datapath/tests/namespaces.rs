//! Real TUN devices in network namespaces: two nodes on an underlay, each with a gateway's namespace behind it.
//!
//! Needs root, `/dev/net/tun`, `ip` and `ping`: `cargo test -p causeway-datapath --test namespaces -- --ignored`.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use causeway_datapath::{
    Datapath, DatapathConfig, ENCAPSULATION_PORT, Event, EventReceiver, IkeReceiver, Inbound, Outbound,
};
use causeway_esp::{EspKeys, EspSuite, InboundSa, OutboundSa, inner_mtu};
use causeway_model::observed::TunnelCounters;
use causeway_model::suite::{Encryption, Integrity};
use causeway_model::{ConnectionId, Family, VpnGatewayId};
use causeway_tun::{OpenError, Tun, TunOptions};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs a command that must succeed and returns what it printed.
fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().expect("a program")).args(words).output().expect("it runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `work` in a namespace, on a thread that ends with it.
fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let path = format!("/run/netns/{namespace}");
            let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).expect("the namespace");
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&fd), Some(LinkNameSpaceType::Network)).expect("enter");
            work()
        });
        thread.join().expect("the work")
    })
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// Both sides' namespaces; deleted at the end. One test at a time: they use the same names, and count descriptors.
struct Lab {
    _alone: MutexGuard<'static, ()>,
}

const NAMESPACES: [&str; 4] = ["cwdp-t-ua", "cwdp-t-ub", "cwdp-t-ga", "cwdp-t-gb"];

impl Lab {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self::clean();
        for namespace in NAMESPACES {
            run(&format!("ip netns add {namespace}"));
            // What goes through the tunnels is the tests' own.
            run(&format!("ip netns exec {namespace} sysctl -qw net.ipv6.conf.default.router_solicitations=0"));
            run(&format!("ip -n {namespace} link set lo up"));
        }
        run("ip -n cwdp-t-ua link add u type veth peer name u netns cwdp-t-ub");
        for (namespace, host) in [("cwdp-t-ua", 1), ("cwdp-t-ub", 2)] {
            run(&format!("ip -n {namespace} addr add 192.0.2.{host}/24 dev u"));
            run(&format!("ip -n {namespace} addr add 2001:db8::{host}/64 dev u nodad"));
            run(&format!("ip -n {namespace} link set u up"));
        }
        // Without carrier on both ends an IPv6 address can't be bound yet.
        settled("cwdp-t-ub", "u");
        Self { _alone: alone }
    }

    fn clean() {
        for namespace in NAMESPACES {
            // Most times there is nothing to delete.
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        Self::clean();
    }
}

/// Waits until a device's IPv6 addresses can be used: the kernel's own work makes them so, even those of which no duplicates are looked for.
fn settled(namespace: &str, device: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while run(&format!("ip -n {namespace} -6 addr show dev {device}")).contains("tentative")
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(10));
    }
}

struct Node {
    datapath: Datapath,
    _ike: IkeReceiver,
    events: EventReceiver,
    id: ConnectionId,
    gateway: VpnGatewayId,
    local: IpAddr,
    inside: &'static str,
}

impl Node {
    /// `host` is 1 or 2: the last octet of every address.
    fn new(outer: Family, host: u8, mtu: u32) -> Self {
        let (underlay, inside) = if host == 1 { ("cwdp-t-ua", "cwdp-t-ga") } else { ("cwdp-t-ub", "cwdp-t-gb") };
        let local: IpAddr = match outer {
            Family::Ipv4 => format!("192.0.2.{host}"),
            Family::Ipv6 => format!("2001:db8::{host}"),
        }
        .parse()
        .expect("an address");
        let (datapath, ike) = Datapath::start(DatapathConfig::default()).expect("a data path");
        let events = datapath.events().expect("events");
        within(underlay, || datapath.bind(local).expect("bound"));
        let tun = within(inside, || Tun::open("cwdp-t0").expect("a TUN device"));
        let (id, gateway) = (ConnectionId::random(), VpnGatewayId::random());
        datapath.add_tunnel(id, gateway, tun).expect("a tunnel");
        run(&format!("ip -n {inside} addr add 10.6.0.{host}/24 dev cwdp-t0"));
        run(&format!("ip -n {inside} addr add fd06::{host}/64 dev cwdp-t0 nodad"));
        run(&format!("ip -n {inside} link set cwdp-t0 mtu {mtu} up"));
        settled(inside, "cwdp-t0");
        Self { datapath, _ike: ike, events, id, gateway, local, inside }
    }

    fn pair(outer: Family, mtu: u32) -> (Self, Self) {
        (Self::new(outer, 1, mtu), Self::new(outer, 2, mtu))
    }

    fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.local, ENCAPSULATION_PORT)
    }

    /// The tunnel's counters, once they tell of `packets` packets each way: a packet thread counts a burst when it is through with it, and the
    /// last answer of a ping may be back before that.
    fn counted(&self, packets: u64) -> TunnelCounters {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let counters = self.datapath.counters(self.id).expect("a tunnel");
            if counters.packets_in >= packets && counters.packets_out >= packets {
                return counters;
            }
            assert!(Instant::now() < deadline, "not {packets} packets each way: {counters:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Loss, in packets, of a ping with `options`. After its last packet ping waits no longer than its interval, or twice the longest round trip so far:
    /// where nothing may be lost, several go out at once, and the interval is what they get to come back.
    fn ping(&self, options: &str) -> u32 {
        let output = Command::new("ip")
            .args(["netns", "exec", self.inside, "ping", "-q"])
            .args(options.split_whitespace())
            .output()
            .expect("ping");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        let before = |what: &str| -> u32 {
            let at = words.iter().position(|word| word.trim_end_matches(',') == what);
            let number = at.and_then(|at| words.get(at.checked_sub(if what == "received" { 1 } else { 2 })?));
            number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("ping {options}: {text}"))
        };
        before("transmitted") - before("received")
    }
}

fn install(from: &Node, to: &Node, spi: u32, suite: EspSuite) {
    let keymat: Vec<u8> = (0..suite.keymat_len()).map(|index| (index as u8) ^ (spi as u8)).collect();
    let (keys, _) = EspKeys::split(suite, &keymat).expect("keys");
    let sa = Arc::new(InboundSa::new(spi, suite, &keys).expect("an SA"));
    to.datapath.install_inbound(to.id, Inbound { spi, local: to.local, sa }).expect("installed");
    let sa = Arc::new(OutboundSa::new(spi, suite, &keys).expect("an SA"));
    let outbound = Outbound { sa, local: from.endpoint(), remote: to.endpoint() };
    from.datapath.set_outbound(from.id, Some(outbound)).expect("set");
}

const GCM: EspSuite = EspSuite::new(Encryption::Aes128Gcm, None);

/// Has one TCP stream carry `octets` between the gateways' namespaces, from the first one unless `reverse`; how long that took. Plain TCP of the
/// standard library, so that it needs no other program.
fn carry(reverse: bool, octets: usize) -> Duration {
    let listener = within("cwdp-t-gb", || TcpListener::bind("10.6.0.2:5201").expect("a listener"));
    within("cwdp-t-ga", || {
        let limit = Duration::from_secs(60);
        let there = "10.6.0.2:5201".parse().expect("an address");
        let client = TcpStream::connect_timeout(&there, limit).expect("connected");
        let (server, _) = listener.accept().expect("accepted");
        let (mut from, mut to) = if reverse { (server, client) } else { (client, server) };
        let started = Instant::now();
        std::thread::scope(move |scope| {
            from.set_write_timeout(Some(limit)).expect("a timeout");
            scope.spawn(move || from.write_all(&vec![0; octets]).expect("sent"));
            to.set_read_timeout(Some(limit)).expect("a timeout");
            let (mut block, mut arrived) = ([0; 65_536], 0);
            while arrived < octets {
                let length = to.read(&mut block).unwrap_or_else(|error| panic!("{arrived} of {octets}: {error}"));
                assert!(length > 0, "{arrived} of {octets}, then the end");
                arrived += length;
            }
        });
        started.elapsed()
    })
}

/// Bits per second that [`carry`] reaches in the best of some attempts, the first one that reaches `enough` being the last: what else the machine
/// has to do may slow down some of them.
fn best_rate(reverse: bool, octets: usize, enough: f64) -> f64 {
    let mut best = 0.0_f64;
    for _ in 0..5 {
        best = best.max(octets as f64 * 8.0 / carry(reverse, octets).as_secs_f64());
        if best > enough {
            break;
        }
    }
    best
}

/// Raises a flag when dropped: whoever waits for it ends with a test that fails, too.
struct Raise<'f>(&'f AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Of `count` datagrams with `octets` octets each, from the first gateway's namespace to the second's, how many were not sent back. One follows
/// the other when that is back or 10 ms have passed, and not before `pace`; those under way at the end get their time.
fn echoes(count: u32, octets: usize, pace: Duration) -> u32 {
    let bound = |namespace, address: &str| within(namespace, || UdpSocket::bind(address).expect("a socket"));
    let (far, near) = (bound("cwdp-t-gb", "10.6.0.2:7"), bound("cwdp-t-ga", "10.6.0.1:0"));
    near.connect("10.6.0.2:7").expect("connected");
    near.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
    far.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let end = Raise(&done);
        scope.spawn(|| {
            let mut datagram = [0; 2000];
            while !done.load(Ordering::Relaxed) {
                if let Ok((length, from)) = far.recv_from(&mut datagram) {
                    let _ = far.send_to(&datagram[..length], from);
                }
            }
        });
        let mut back = HashSet::new();
        let hear = |back: &mut HashSet<u32>| {
            let mut answer = [0; 2000];
            if let Ok(length) = near.recv(&mut answer) {
                assert_eq!(length, octets, "cut short on its way");
                back.insert(u32::from_be_bytes(answer[..4].try_into().expect("four octets")));
            }
        };
        let mut datagram = vec![0; octets];
        for number in 0..count {
            let (next, patience) = (Instant::now() + pace, Instant::now() + Duration::from_millis(100));
            datagram[..4].copy_from_slice(&number.to_be_bytes());
            let _ = near.send(&datagram);
            hear(&mut back);
            // Fewer on their way than the sockets hold, whoever is held up.
            while number as usize > back.len() + 32 && Instant::now() < patience {
                hear(&mut back);
            }
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while back.len() < count as usize && Instant::now() < deadline {
            hear(&mut back);
        }
        drop(end);
        count - u32::try_from(back.len()).expect("few")
    })
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn pings_of_every_size_pass_over_both_outer_families_and_nothing_stays_open() {
    let _lab = Lab::new();
    let before = descriptors();
    let suites = [
        GCM,
        EspSuite::new(Encryption::Aes256, Some(Integrity::Sha256)),
        EspSuite::new(Encryption::ChaCha20Poly1305, None),
    ];
    for outer in Family::ALL {
        for suite in suites {
            let mtu = inner_mtu(1500, outer, true, suite);
            let (a, b) = Node::pair(outer, mtu);
            install(&a, &b, 0x101, suite);
            install(&b, &a, 0x102, suite);
            assert_eq!(a.ping("-c 3 -l 3 -i 10 -W 10 10.6.0.2"), 0);
            assert_eq!(a.ping("-c 3 -l 3 -i 10 -W 10 fd06::2"), 0);
            // The largest that fits, whole: the outer packet then fits as well.
            assert_eq!(b.ping(&format!("-c 3 -l 3 -i 10 -W 10 -M do -s {} 10.6.0.1", mtu - 28)), 0);
            assert_eq!(b.ping(&format!("-c 3 -l 3 -i 10 -W 10 -M do -s {} fd06::1", mtu - 48)), 0);
            for node in [&a, &b] {
                let counters = node.counted(12);
                // Router solicitations of the new device may come before its association.
                let drops: Vec<_> = counters.drops.keys().filter(|reason| *reason != "no_sa").collect();
                assert!(drops.is_empty() && node.datapath.drops().is_empty(), "{counters:?}");
                node.datapath.remove_tunnel(node.id).expect("removed");
                node.datapath.unbind(node.local).expect("unbound");
            }
            let gone = Command::new("ip").args(["-n", a.inside, "link", "show", "cwdp-t0"]).output().expect("ip");
            assert!(!gone.status.success(), "the device goes with its descriptor");
        }
    }
    assert_eq!(descriptors(), before);
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn rekeys_under_traffic_lose_nothing() {
    let _lab = Lab::new();
    let (a, mut b) = Node::pair(Family::Ipv4, 1400);
    install(&a, &b, 0x1000, GCM);
    install(&b, &a, 0x2000, GCM);
    assert_eq!(a.ping("-c 1 -W 10 10.6.0.2"), 0);
    let lost = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| echoes(5000, 1000, Duration::ZERO));
        let mut spi = 1;
        while !traffic.is_finished() && spi < 200 {
            install(&a, &b, 0x1000 + spi, GCM);
            install(&b, &a, 0x2000 + spi, GCM);
            spi += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        traffic.join().expect("traffic")
    });
    assert_eq!(lost, 0);
    assert_eq!(b.events.try_recv(), Ok(Event::FirstInbound { tunnel: b.id, spi: 0x1000 }));
    assert!(matches!(b.events.try_recv(), Ok(Event::FirstInbound { .. })), "a later association was used");
    assert!(b.datapath.drops().is_empty() && a.datapath.drops().is_empty());
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn a_narrower_underlay_fragments_instead_of_swallowing() {
    let _lab = Lab::new();
    for namespace in ["cwdp-t-ua", "cwdp-t-ub"] {
        run(&format!("ip -n {namespace} link set u mtu 1300"));
    }
    for outer in Family::ALL {
        let (a, b) = Node::pair(outer, 1400);
        install(&a, &b, 0x101, GCM);
        install(&b, &a, 0x102, GCM);
        assert_eq!(a.ping("-c 5 -l 5 -i 10 -W 10 -M do -s 1372 10.6.0.2"), 0, "{outer}");
        // Trains can't be fragmented; their packets can.
        let rate = best_rate(false, 2_500_000, 10e6);
        assert!(rate > 10e6, "{outer}: {rate} bit/s");
        assert_eq!(a.datapath.counters(a.id).expect("a tunnel").drops.get("too_big"), None, "{outer}");
    }
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn tcp_keeps_to_the_gateways_bandwidth_in_both_directions() {
    let _lab = Lab::new();
    let (a, b) = Node::pair(Family::Ipv4, 1400);
    install(&a, &b, 0x101, GCM);
    install(&b, &a, 0x102, GCM);
    let free = best_rate(false, 50_000_000, 200e6);
    assert!(free > 200e6, "{free} bit/s without a limit");
    a.datapath.set_limits(a.gateway, 50_000_000);
    for reverse in [false, true] {
        let limited = best_rate(reverse, 12_500_000, 30e6);
        assert!((30e6..55e6).contains(&limited), "reverse {reverse}: {limited} bit/s of 50 Mbit/s");
    }
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn devices_that_go_down_or_vanish_harm_nothing_else() {
    let _lab = Lab::new();
    let (a, b) = Node::pair(Family::Ipv4, 1400);
    install(&a, &b, 0x101, GCM);
    install(&b, &a, 0x102, GCM);
    assert_eq!(a.ping("-c 1 -W 10 10.6.0.2"), 0);
    run("ip -n cwdp-t-gb link set cwdp-t0 down");
    assert_eq!(a.ping("-c 2 -i 0.05 -W 1 10.6.0.2"), 2);
    assert_eq!(b.datapath.counters(b.id).expect("a tunnel").drops.get("tun_down"), Some(&2));
    run("ip -n cwdp-t-gb link set cwdp-t0 up");
    assert_eq!(a.ping("-c 2 -l 2 -i 10 -W 10 10.6.0.2"), 0);

    run("ip netns del cwdp-t-gb");
    std::thread::sleep(Duration::from_millis(200));
    let before = b.datapath.heartbeats();
    std::thread::sleep(Duration::from_millis(300));
    for (before, after) in before.iter().zip(&b.datapath.heartbeats()) {
        assert!(after.running && after.beats - before.beats < 10, "{before:?} {after:?}");
    }
    b.datapath.remove_tunnel(b.id).expect("removed");
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn a_device_is_made_where_the_caller_is_and_exclusively_if_asked() {
    let _lab = Lab::new();
    run("ip -n cwdp-t-ga tuntap add dev cwdp-t1 mode tun");
    let options = TunOptions::default().exclusive(true);
    let taken = within("cwdp-t-ga", || Tun::open_with("cwdp-t1", options));
    assert!(matches!(taken, Err(OpenError::Device { ref name, .. }) if name == "cwdp-t1"), "{taken:?}");
    let attached = within("cwdp-t-ga", || Tun::open("cwdp-t1").expect("attached"));
    assert_eq!(attached.name(), "cwdp-t1");
    let elsewhere = within("cwdp-t-gb", || Tun::open_with("cwdp-t1", options).expect("made"));
    run("ip -n cwdp-t-gb link show cwdp-t1");
    drop(elsewhere);
    let gone = Command::new("ip").args(["-n", "cwdp-t-gb", "link", "show", "cwdp-t1"]).output().expect("ip");
    assert!(!gone.status.success());
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn an_idle_tunnel_costs_the_process_next_to_nothing() {
    const TUNNELS: u32 = 100;
    let _lab = Lab::new();
    let resident = || -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse().ok()).expect("a number")
    };
    let descriptors_before = descriptors();
    let (datapath, _ike) = Datapath::start(DatapathConfig::default()).expect("a data path");
    within("cwdp-t-ua", || datapath.bind("192.0.2.1".parse().expect("an address")).expect("bound"));
    let before = resident();
    for index in 0..TUNNELS {
        let tun = within("cwdp-t-ga", || Tun::open(&format!("cwdp-m{index}")).expect("a TUN device"));
        let id = ConnectionId::random();
        datapath.add_tunnel(id, VpnGatewayId::random(), tun).expect("a tunnel");
        let (keys, _) = EspKeys::split(GCM, &vec![1; GCM.keymat_len()]).expect("keys");
        let sa = Arc::new(InboundSa::new(index, GCM, &keys).expect("an SA"));
        let local = "192.0.2.1".parse().expect("an address");
        datapath.install_inbound(id, Inbound { spi: index, local, sa }).expect("installed");
    }
    let each = resident().saturating_sub(before) / TUNNELS as usize;
    assert!(each < 100, "{each} kB for each");
    drop(datapath);
    assert_eq!(descriptors(), descriptors_before, "everything is closed with the data path");
}

#[test]
#[ignore = "needs root and /dev/net/tun"]
fn a_flood_of_garbage_does_not_stop_the_tunnel() {
    let _lab = Lab::new();
    let (a, b) = Node::pair(Family::Ipv4, 1400);
    install(&a, &b, 0x101, GCM);
    install(&b, &a, 0x102, GCM);
    let stop = AtomicBool::new(false);
    let (sent, lost) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            within("cwdp-t-ua", || {
                let socket = UdpSocket::bind("192.0.2.1:0").expect("a socket");
                // The SPI in use, so that every datagram costs a look at its ICV; unknown SPIs; IKE without meaning.
                let kinds: [Vec<u8>; 3] = [[vec![0, 0, 1, 1], vec![0x77; 600]].concat(), vec![0x99; 200], vec![0; 64]];
                let mut sent = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    for kind in &kinds {
                        sent += u64::from(socket.send_to(kind, b.endpoint()).is_ok());
                    }
                    if sent.is_multiple_of(300) {
                        std::thread::sleep(Duration::from_micros(500));
                    }
                }
                sent
            })
        });
        let end = Raise(&stop);
        let lost = echoes(200, 64, Duration::from_millis(5));
        drop(end);
        (flood.join().expect("the flood"), lost)
    });
    let own = b.datapath.counters(b.id).expect("a tunnel").drops;
    let all = b.datapath.drops();
    assert!(lost <= 2, "{lost} of 200 lost beside {sent} datagrams; {own:?} {all:?}");
    assert!(own.get("auth").is_some_and(|dropped| *dropped > sent / 10), "{own:?} of {sent}");
    assert!(all.get("unknown_spi").is_some_and(|dropped| *dropped > sent / 10), "{all:?} of {sent}");
    assert!(all.get("ike_overflow").is_some_and(|dropped| *dropped > 0), "nobody takes IKE here: {all:?}");
}
