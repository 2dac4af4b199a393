//! The bandwidth of a gateway in virtual time, octet by octet: the rounds of both packet threads with a clock of the test's own, socket pairs for
//! TUN devices, and packets of both families from two tunnels that share one gateway's limit.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_esp::{EspKeys, EspSuite, OutboundSa};
use causeway_model::suite::Encryption;
use causeway_model::{ConnectionId, Family, VpnGatewayId};
use causeway_tun::Tun;
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::sync::mpsc;

use crate::receive::Backlogs;
use crate::shaper::Group;
use crate::socket::Socket;
use crate::tables::Shared;
use crate::transmit::Transmitter;
use crate::tunnel::{Outbound, Tunnel};

/// Octets of a burst at `rate` octets per second: what passes in 50 ms, at least 64 KiB.
fn burst(rate: u64) -> u64 {
    (rate / 20).max(65_536)
}

/// An inner packet.
fn packet(family: Family, length: usize) -> Vec<u8> {
    let mut packet = vec![0; length];
    if family.is_ipv6() {
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&u16::try_from(length - 40).expect("short").to_be_bytes());
    } else {
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&u16::try_from(length).expect("short").to_be_bytes());
    }
    packet
}

/// Two tunnels of one gateway, and the kernel's sides of their devices.
struct Stand {
    shared: Shared,
    limits: Arc<Group>,
    tunnels: [Arc<Tunnel>; 2],
    hosts: [OwnedFd; 2],
}

impl Stand {
    fn new() -> Self {
        // Nobody listens: there are no events here.
        let (shared, limits) = (
            Shared::new(mpsc::channel(1).0, mpsc::channel(1).0, Duration::from_secs(1)).expect("shared"),
            Arc::<Group>::default(),
        );
        let (gateway, mut hosts) = (VpnGatewayId::random(), Vec::new());
        let tunnels = [(); 2].map(|()| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair");
            hosts.push(theirs);
            let tun = Tun::from_fd(ours, "test").expect("a device");
            let tunnel =
                Arc::new(Tunnel::new(ConnectionId::random(), shared.token(), tun, gateway, Arc::clone(&limits)));
            shared.change(|tables| drop(tables.tunnels.insert(tunnel.token, Arc::clone(&tunnel))));
            let data = epoll::EventData::new_u64(tunnel.token);
            epoll::add(&shared.transmit.epoll, &tunnel.tun, data, epoll::EventFlags::IN).expect("watched");
            tunnel
        });
        let hosts = hosts.try_into().expect("two");
        Self { shared, limits, tunnels, hosts }
    }

    /// What has come out of the devices since: octets of IPv4 and of IPv6.
    fn drain(&self) -> [u64; 2] {
        let mut octets = [0; 2];
        let mut buffer = [0; 2000];
        for host in &self.hosts {
            while let Ok(length) = rustix::io::read(host, &mut buffer) {
                octets[usize::from(buffer[0] >> 4 == 6)] += length as u64;
            }
        }
        octets
    }
}

const LENGTHS: [usize; 3] = [1400, 60, 577];

/// Checks that exactly what rate and burst allow has passed by `elapsed`: not an octet more than the last packet overdraws, and not a packet less.
fn exactly(octets: u64, rate: u64, elapsed: Duration) {
    let allowed = burst(rate) + u64::try_from(u128::from(rate) * elapsed.as_nanos() / 1_000_000_000).expect("fits");
    let longest = LENGTHS[0] as u64;
    assert!(octets <= allowed + longest, "{octets} octets where {allowed} are allowed, after {elapsed:?}");
    assert!(octets + longest > allowed, "{octets} octets where {allowed} are allowed, after {elapsed:?}");
}

#[test]
fn what_leaves_is_exactly_burst_and_rate() {
    for rate in [250_000_u64, 2_500_000, 12_500_000] {
        let stand = Stand::new();
        let start = Instant::now();
        stand.limits.outbound.set(rate * 8, start);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let socket = Arc::new(Socket::bind(local, 0, true, 1).expect("a socket"));
        // Its buffer overflows, which is none of the sender's business.
        let sink = UdpSocket::bind((local, 0)).expect("a socket");
        let remote = sink.local_addr().expect("an address");
        stand.shared.change(|tables| drop(tables.by_address.insert(socket.local, Arc::clone(&socket))));
        for (tunnel, spi) in stand.tunnels.iter().zip([7, 8]) {
            let suite = EspSuite::new(Encryption::Aes128Gcm, None);
            let (keys, _) = EspKeys::split(suite, &vec![1; suite.keymat_len()]).expect("keys");
            let sa = Arc::new(OutboundSa::new(spi, suite, &keys).expect("an association"));
            tunnel.set_outbound(Some(Outbound { sa, local: socket.local, remote }));
        }
        let mut transmitter = Transmitter::new(&stand.shared);
        let mut now = start;
        let mut number = 0;
        // The devices are never empty: every family and length in turn.
        let mut fill = |stand: &Stand| {
            for (host, family) in stand.hosts.iter().zip(Family::ALL) {
                while rustix::io::write(host, &packet(family, LENGTHS[number % LENGTHS.len()])).is_ok() {
                    number += 1;
                }
            }
        };
        let sent = || stand.tunnels.each_ref().map(|tunnel| tunnel.counters.snapshot(None).bytes_out);
        let rests = |transmitter: &Transmitter<'_>, tunnel: &Tunnel| {
            transmitter.resting().iter().any(|(_, token)| *token == tunnel.token)
        };
        let end = start + Duration::from_secs(4);
        while now < end {
            fill(&stand);
            for tunnel in &stand.tunnels {
                if !rests(&transmitter, tunnel) {
                    transmitter.serve(tunnel, now);
                }
            }
            if stand.tunnels.iter().all(|tunnel| rests(&transmitter, tunnel)) {
                exactly(sent().iter().sum(), rate, now - start);
                now = transmitter.resting().iter().map(|(until, _)| *until).min().expect("both rest");
                transmitter.end_rests(&stand.shared.tables(), now);
            }
        }
        let [ipv4, ipv6] = sent();
        assert!(ipv4 > 0 && ipv6 > 0, "both tunnels, each of which has its family: {ipv4} {ipv6}");
        assert!(stand.tunnels.iter().all(|tunnel| tunnel.counters.snapshot(None).drops.is_empty()));
    }
}

#[test]
fn what_arrives_is_exactly_burst_and_rate() {
    for rate in [250_000_u64, 2_500_000, 12_500_000] {
        let stand = Stand::new();
        let start = Instant::now();
        stand.limits.inbound.set(rate * 8, start);
        let tables = stand.shared.tables();
        let mut backlogs = Backlogs::default();
        let mut passed = [0; 2];
        let mut dropped = 0_u64;
        let mut offered = 0_u64;
        let mut number = 0;
        // Twice the rate, evenly, in steps of a millisecond.
        for step in 0..4000_u64 {
            let now = start + Duration::from_millis(step);
            backlogs.release(&tables, now);
            while offered < burst(rate) + 2 * rate * step / 1000 {
                let (tunnel, family) = (&stand.tunnels[number % 2], Family::ALL[number / 2 % 2]);
                let packet = packet(family, LENGTHS[number % LENGTHS.len()]);
                number += 1;
                offered += packet.len() as u64;
                if backlogs.passes(tunnel, packet.len(), now) {
                    tunnel.deliver(family, &packet);
                } else if !backlogs.add(tunnel, family, &packet, now) {
                    dropped += packet.len() as u64;
                }
                let [ipv4, ipv6] = stand.drain();
                passed = [passed[0] + ipv4, passed[1] + ipv6];
            }
            // More was offered than may pass, so the limit is what decides, at every moment.
            exactly(passed.iter().sum(), rate, now - start);
        }
        assert!(passed.iter().all(|octets| *octets > 0) && dropped > 0, "{passed:?} {dropped}");
        // What waits is bounded: all the rest was dropped.
        let waiting = offered - dropped - passed.iter().sum::<u64>();
        assert!(waiting <= (rate / 10).clamp(128 * 1024, 2 * 1024 * 1024), "{waiting} octets wait");
    }
}

#[test]
fn directions_do_not_share_and_a_pause_saves_no_more_than_a_burst() {
    let stand = Stand::new();
    let (start, rate) = (Instant::now(), 1_000_000_u64);
    for bucket in [&stand.limits.inbound, &stand.limits.outbound] {
        bucket.set(rate * 8, start);
    }
    let take = |bucket: &crate::shaper::Bucket, now: Instant| {
        let mut octets = 0;
        while bucket.ready(now).is_ok() {
            bucket.take(1000);
            octets += 1000;
        }
        octets
    };
    let full = burst(rate).next_multiple_of(1000);
    assert_eq!(take(&stand.limits.inbound, start), full);
    assert_eq!(take(&stand.limits.outbound, start), full, "untouched by the other direction");
    let later = start + Duration::from_secs(3600);
    assert_eq!(take(&stand.limits.inbound, later), full, "an hour of silence");
    // A second of waiting is worth a second's octets, debt included, to the octet.
    let mut total = 0;
    let mut now = later;
    while now < later + Duration::from_secs(10) {
        now += Duration::from_millis(7);
        total += take(&stand.limits.inbound, now);
    }
    let elapsed = u64::try_from((now - later).as_millis()).expect("seconds");
    let debt = full - burst(rate);
    assert_eq!(total, (elapsed * rate / 1000 - debt).next_multiple_of(1000));
}
