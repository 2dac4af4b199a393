//! Whole data paths in one process, without privileges: socket pairs for TUN devices, loopback with ports that the kernel chose.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use causeway_esp::{EspKeys, EspSuite, InboundSa, OutboundSa};
use causeway_model::suite::Encryption;
use causeway_model::{ConnectionId, VpnGatewayId};
use causeway_tun::Tun;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::{Datapath, DatapathConfig, DatapathError, Event, EventReceiver, IkeReceiver, Inbound, Outbound};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(10);

/// The kernel's side of a tunnel's device.
struct Host(OwnedFd);

impl Host {
    /// A device and its other side.
    fn pair() -> (Tun, Self) {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
                .expect("a socket pair");
        (Tun::from_fd(ours, "test").expect("a device"), Self(theirs))
    }

    fn wait(&self, events: PollFlags, patience: Duration) -> bool {
        let patience =
            Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: i64::from(patience.subsec_nanos()) };
        poll(&mut [PollFd::new(&self.0, events)], Some(&patience)).expect("poll") > 0
    }

    fn send(&self, packet: &[u8]) {
        assert!(self.wait(PollFlags::OUT, PATIENCE), "the data path does not read its device");
        rustix::io::write(&self.0, packet).expect("write");
    }

    fn receive(&self) -> Vec<u8> {
        self.receive_within(PATIENCE).expect("a packet within the time")
    }

    fn receive_within(&self, patience: Duration) -> Option<Vec<u8>> {
        if !self.wait(PollFlags::IN, patience) {
            return None;
        }
        let mut buffer = vec![0; 2000];
        let length = rustix::io::read(&self.0, &mut buffer).expect("read");
        buffer.truncate(length);
        Some(buffer)
    }
}

/// One node with one tunnel.
struct Node {
    datapath: Datapath,
    ike: IkeReceiver,
    events: EventReceiver,
    id: ConnectionId,
    gateway: VpnGatewayId,
    host: Host,
}

impl Node {
    fn new(config: DatapathConfig) -> Self {
        let (datapath, ike) = Datapath::start(config).expect("a data path");
        let events = datapath.events().expect("the first call");
        assert!(datapath.events().is_none());
        let (tun, host) = Host::pair();
        let (id, gateway) = (ConnectionId::random(), VpnGatewayId::random());
        datapath.add_tunnel(id, gateway, tun).expect("a tunnel");
        Self { datapath, ike, events, id, gateway, host }
    }

    fn bound(address: IpAddr) -> Self {
        let node = Self::new(DatapathConfig::default());
        node.datapath.bind_ports(address, 0, 0).expect("sockets");
        node
    }

    fn address(&self, encapsulates: bool) -> SocketAddr {
        let tables = self.datapath.shared.tables();
        tables.sockets.values().find(|socket| socket.encapsulates == encapsulates).expect("a socket").local
    }

    fn esp(&self) -> SocketAddr {
        self.address(true)
    }

    fn event(&mut self) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(event) = self.events.try_recv() {
                return event;
            }
            assert!(Instant::now() < deadline, "no event");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn drops(&self, reason: &str) -> u64 {
        let own = self.datapath.counters(self.id).expect("a tunnel").drops.get(reason).copied().unwrap_or(0);
        own + self.datapath.drops().get(reason).copied().unwrap_or(0)
    }

    fn await_drops(&self, reason: &str, count: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.drops(reason) != count {
            assert!(
                Instant::now() < deadline,
                "{reason}: {:?} {:?}",
                self.datapath.counters(self.id),
                self.datapath.drops()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn expect(&self, spi: u32, sa: InboundSa) {
        let inbound = Inbound { spi, local: self.esp().ip(), sa: Arc::new(sa) };
        self.datapath.install_inbound(self.id, inbound).expect("an association");
    }

    fn send_with(&self, sa: OutboundSa, remote: SocketAddr) {
        let outbound = Outbound { sa: Arc::new(sa), local: self.esp(), remote };
        self.datapath.set_outbound(self.id, Some(outbound)).expect("a tunnel");
    }
}

/// Both halves of one direction.
fn association(spi: u32) -> (OutboundSa, InboundSa) {
    let suite = EspSuite::new(Encryption::Aes128Gcm, None);
    let keymat: Vec<u8> = (0..suite.keymat_len()).map(|index| (index as u8) ^ (spi as u8)).collect();
    let (keys, _) = EspKeys::split(suite, &keymat).expect("keys");
    (OutboundSa::new(spi, suite, &keys).expect("an SA"), InboundSa::new(spi, suite, &keys).expect("an SA"))
}

fn connect(from: &Node, to: &Node, spi: u32) {
    let (sending, receiving) = association(spi);
    to.expect(spi, receiving);
    from.send_with(sending, to.esp());
}

/// An inner packet that carries `number`.
fn packet(ipv6: bool, length: usize, number: u32) -> Vec<u8> {
    let mut packet = vec![0; length];
    if ipv6 {
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&u16::try_from(length - 40).expect("short").to_be_bytes());
    } else {
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&u16::try_from(length).expect("short").to_be_bytes());
    }
    packet[length - 4..].copy_from_slice(&number.to_be_bytes());
    packet
}

fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(*packet.last_chunk().expect("a packet"))
}

#[test]
fn both_inner_families_pass_in_both_directions_over_both_outer_families() {
    for outer in [V4, V6] {
        let (mut a, mut b) = (Node::bound(outer), Node::bound(outer));
        connect(&a, &b, 0x1001);
        connect(&b, &a, 0x1002);
        let mut octets = 0;
        for (count, ipv6) in [(1, false), (2, true)] {
            let sent = packet(ipv6, 40 + count * 300, 7);
            octets += sent.len() as u64;
            a.host.send(&sent);
            assert_eq!(b.host.receive(), sent);
            b.host.send(&sent);
            assert_eq!(a.host.receive(), sent);
        }
        assert_eq!(a.event(), Event::FirstInbound { tunnel: a.id, spi: 0x1002 });
        assert_eq!(b.event(), Event::FirstInbound { tunnel: b.id, spi: 0x1001 });
        assert!(a.events.try_recv().is_err() && b.events.try_recv().is_err());
        for node in [&a, &b] {
            let family = causeway_model::Family::of(outer);
            let deadline = Instant::now() + PATIENCE;
            let total = loop {
                let total = node.datapath.counters(node.id).expect("a tunnel");
                if (total.packets_in, total.packets_out) == (2, 2) || Instant::now() > deadline {
                    break total;
                }
            };
            assert_eq!((total.bytes_in, total.bytes_out), (octets, octets));
            assert!(total.drops.is_empty(), "{:?}", total.drops);
            assert_eq!(node.datapath.family_counters(node.id, family), Some(total));
            assert_eq!(node.datapath.sent_packets(node.id), Some(2));
        }
        assert_eq!(b.datapath.inbound_packets(outer, 0x1001), Some(2));
        assert_eq!(b.datapath.inbound_packets(outer, 0x1002), None);
    }
}

#[test]
fn nothing_is_lost_or_reordered_while_associations_change() {
    const PACKETS: u32 = 20_000;
    let (a, b) = (Node::bound(V4), Node::bound(V4));
    connect(&a, &b, 1);
    let arrived = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let (sender, receiver) = (&a, &b);
        let arrived = &arrived;
        scope.spawn(move || {
            for n in 0..PACKETS {
                // A socket pair holds fewer packets than a device: what it can't hold would be lost there.
                let deadline = Instant::now() + PATIENCE;
                while n.saturating_sub(arrived.load(Ordering::Relaxed)) > 64 {
                    assert!(Instant::now() < deadline, "{n} sent, {arrived:?} arrived");
                    std::thread::yield_now();
                }
                sender.host.send(&packet(false, 100 + (n as usize * 7) % 1300, n));
            }
        });
        scope.spawn(move || {
            // A rekey: the receiver knows the new association before it is used, and the old one until it is not.
            for spi in 2..22 {
                connect(sender, receiver, spi);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        for n in 0..PACKETS {
            assert_eq!(number(&receiver.host.receive()), n, "{:?}", receiver.datapath.drops());
            arrived.store(n + 1, Ordering::Relaxed);
        }
    });
    assert_eq!(a.datapath.counters(a.id).expect("a tunnel").drops.len(), 0);
    assert_eq!(b.datapath.counters(b.id).expect("a tunnel").drops.len(), 0);
    assert!(b.datapath.inbound_packets(V4, 21).is_some_and(|packets| packets > 0), "the last association was used");
}

/// A responder sends on a Child SA as soon as it has it, which is before its answer has reached us.
#[test]
fn what_comes_before_its_association_waits_for_it() {
    let (a, b) = (Node::bound(V4), Node::bound(V4));
    let (sending, receiving) = association(0x3001);
    a.send_with(sending, b.esp());
    for n in 0..3 {
        a.host.send(&packet(false, 100, n));
    }
    // They have left before the other side hears of the association.
    let deadline = Instant::now() + PATIENCE;
    while a.datapath.sent_packets(a.id) != Some(3) {
        assert!(Instant::now() < deadline, "not sent");
        std::thread::yield_now();
    }
    b.expect(0x3001, receiving);
    for n in 0..3 {
        assert_eq!(number(&b.host.receive()), n);
    }
    assert_eq!(b.drops("unknown_spi"), 0);
    // Of an association that never comes nothing waits for ever.
    let (sending, _) = association(0x3002);
    a.send_with(sending, b.esp());
    a.host.send(&packet(false, 100, 9));
    b.await_drops("unknown_spi", 1);
    assert!(b.host.receive_within(Duration::ZERO).is_none());
}

#[test]
fn hostile_datagrams_are_counted_by_reason_and_change_nothing() {
    let node = Node::bound(V4);
    let (sending, receiving) = association(0x2001);
    node.expect(0x2001, receiving);
    let peer = UdpSocket::bind((V4, 0)).expect("a socket");
    let send = |datagram: &[u8]| peer.send_to(datagram, node.esp()).map(drop).expect("send");
    let seal = |inner: &[u8]| {
        let mut sealed = vec![0; inner.len() + 100];
        let length = sending.seal(inner, &mut sealed).expect("sealed");
        sealed.truncate(length);
        sealed
    };

    let good = seal(&packet(false, 100, 1));
    send(&good);
    assert_eq!(number(&node.host.receive()), 1);
    send(&good);
    node.await_drops("replay", 1);

    let mut forged = seal(&packet(false, 100, 2));
    forged[20] ^= 1;
    send(&forged);
    node.await_drops("auth", 1);

    for end in [1, 3, 4, 7] {
        send(&good[..end]);
    }
    node.await_drops("runt", 4);
    for end in 8..30 {
        send(&good[..end]);
    }
    // Too short for the suite, or of a sequence number that was seen: neither reaches the cipher.
    let short = |node: &Node| node.drops("runt") + node.drops("replay") + node.drops("auth");
    let deadline = Instant::now() + PATIENCE;
    while short(&node) < 6 + 22 {
        assert!(Instant::now() < deadline, "{:?}", node.datapath.counters(node.id));
    }

    let mut unknown = good;
    unknown[3] ^= 0xff;
    send(&unknown);
    send(&[0xab; 1400]);
    node.await_drops("unknown_spi", 2);

    // An authentic packet with an inner length that lies.
    let mut lying = packet(false, 100, 3);
    lying[2..4].copy_from_slice(&500_u16.to_be_bytes());
    send(&seal(&lying));
    node.await_drops("bad_packet", 1);

    // A NAT keepalive and an empty datagram.
    let runts = node.drops("runt");
    send(&[0xff]);
    send(&[]);
    node.await_drops("runt", runts + 1);

    // Everything that is not good was dropped, and the tunnel still works.
    send(&seal(&packet(false, 100, 4)));
    assert_eq!(number(&node.host.receive()), 4);
    assert!(node.host.receive_within(Duration::from_millis(20)).is_none());
    assert_eq!(node.datapath.inbound_packets(V4, 0x2001), Some(3), "two delivered and one that lied");
}

#[test]
fn random_datagrams_do_no_harm() {
    let node = Node::bound(V4);
    let (sending, receiving) = association(0x2101);
    node.expect(0x2101, receiving);
    let peer = UdpSocket::bind((V4, 0)).expect("a socket");
    // A small linear generator: reproducible, and good enough to vary lengths and octets.
    let mut state = 0x0123_4567_89ab_cdef_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    for round in 0..3000 {
        let length = (next() % 200) as usize;
        let mut datagram: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        if round % 3 == 0
            && let Some(spi) = datagram.first_chunk_mut::<4>()
        {
            *spi = 0x2101_u32.to_be_bytes();
        }
        let to = node.address(round % 7 != 0);
        peer.send_to(&datagram, to).expect("send");
        if round % 100 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let mut sealed = [0; 300];
    let length = sending.seal(&packet(true, 100, 5), &mut sealed).expect("sealed");
    peer.send_to(&sealed[..length], node.esp()).expect("send");
    assert_eq!(number(&node.host.receive()), 5);
    assert!(node.datapath.heartbeats().iter().all(|beat| beat.running));
}

#[test]
fn ike_messages_pass_on_both_ports_and_the_marker_stays_on_the_wire() {
    let (mut a, mut b) = (Node::bound(V4), Node::bound(V4));
    let message: Vec<u8> = (0..200).map(|octet| octet as u8).collect();
    for encapsulated in [false, true] {
        let (local, remote) = (a.address(encapsulated), b.address(encapsulated));
        a.datapath.send_ike(local, remote, &message).expect("sent");
        let received = b.ike.blocking_recv().expect("a message");
        assert_eq!((received.local, received.remote, &received.payload), (remote, local, &message));
        b.datapath.send_ike(received.local, received.remote, &message).expect("sent");
        assert_eq!(a.ike.blocking_recv().expect("a message").payload, message);
    }
    let peer = UdpSocket::bind((V4, 0)).expect("a socket");
    peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    a.datapath.send_ike(a.esp(), peer.local_addr().expect("an address"), &message).expect("sent");
    let mut wire = [0; 300];
    let (length, _) = peer.recv_from(&mut wire).expect("a datagram");
    assert_eq!((&wire[..4], &wire[4..length]), (&[0; 4][..], &message[..]));
    let unbound = SocketAddr::new(V4, 9);
    let error = a.datapath.send_ike(unbound, b.esp(), &message).expect_err("not bound");
    assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
}

#[test]
fn ike_is_bounded_in_size_and_number() {
    let mut node = Node::new(DatapathConfig { ike_queue: 3, event_queue: 1, ..DatapathConfig::default() });
    node.datapath.bind_ports(V4, 0, 0).expect("sockets");
    let peer = UdpSocket::bind((V4, 0)).expect("a socket");
    let plain = node.address(false);
    peer.send_to(&[1; 27], plain).expect("send");
    node.await_drops("runt", 1);
    peer.send_to(&[1; 20_000], plain).expect("send");
    node.await_drops("oversize", 1);
    // ESP has no business on port 500: there it is an odd IKE message, for IKE to refuse.
    for _ in 0..5 {
        peer.send_to(&[1; 28], plain).expect("send");
    }
    node.await_drops("ike_overflow", 2);
    for _ in 0..3 {
        assert_eq!(node.ike.blocking_recv().expect("a message").payload.len(), 28);
    }
    assert!(node.ike.try_recv().is_err());
}

#[test]
fn the_tunnel_follows_a_peer_whose_endpoint_moves() {
    let mut node = Node::bound(V4);
    let (sending, receiving) = association(0x3001);
    node.expect(0x3001, receiving);
    let peers: Vec<UdpSocket> = (0..2)
        .map(|_| {
            let peer = UdpSocket::bind((V4, 0)).expect("a socket");
            peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            peer
        })
        .collect();
    let endpoint = |index: usize| peers[index].local_addr().expect("an address");
    node.send_with(association(0x3002).0, endpoint(0));
    let seal = |n: u32| {
        let mut sealed = vec![0; 200];
        let length = sending.seal(&packet(false, 60, n), &mut sealed).expect("sealed");
        sealed.truncate(length);
        sealed
    };
    let (first, late, moved) = (seal(1), seal(2), seal(3));
    peers[0].send_to(&first, node.esp()).expect("send");
    assert_eq!(node.event(), Event::FirstInbound { tunnel: node.id, spi: 0x3001 });
    peers[1].send_to(&moved, node.esp()).expect("send");
    assert_eq!(node.event(), Event::RemoteMoved { tunnel: node.id, spi: 0x3001, remote: endpoint(1) });
    assert_eq!(node.datapath.remote(node.id), Some(endpoint(1)));
    // Overtaken on the way from the old endpoint: delivered, but no reason to move back.
    peers[0].send_to(&late, node.esp()).expect("send");
    let numbers: Vec<_> = (0..3).map(|_| number(&node.host.receive())).collect();
    assert_eq!(numbers, [1, 3, 2]);
    node.host.send(&packet(false, 60, 9));
    assert!(peers[1].recv_from(&mut [0; 200]).is_ok());
    // A forgery from elsewhere moves nothing.
    let mut forged = seal(4);
    forged[30] ^= 1;
    peers[0].send_to(&forged, node.esp()).expect("send");
    node.await_drops("auth", 1);
    assert_eq!(node.datapath.remote(node.id), Some(endpoint(1)));
    assert!(node.events.try_recv().is_err());
    // The right packet from another address moves nothing either: it was captured and sent on.
    let elsewhere = UdpSocket::bind((IpAddr::from([127, 0, 0, 77]), 0)).expect("a socket");
    elsewhere.send_to(&seal(5), node.esp()).expect("send");
    assert_eq!(number(&node.host.receive()), 5);
    assert_eq!(node.datapath.remote(node.id), Some(endpoint(1)));
    // IKE may tell of a move as well, but only for the address that the tunnel sends from.
    node.datapath.set_remote(node.id, V6, endpoint(0)).expect("a tunnel");
    assert_eq!(node.datapath.remote(node.id), Some(endpoint(1)));
    node.datapath.set_remote(node.id, V4, endpoint(0)).expect("a tunnel");
    assert_eq!(node.datapath.remote(node.id), Some(endpoint(0)));
}

#[test]
fn a_source_that_is_watched_is_reported_once() {
    let mut node = Node::bound(V4);
    let (sending, receiving) = association(0x2701);
    node.expect(0x2701, receiving);
    let peer = Node::bound(V4);
    peer.send_with(sending, node.esp());
    let from = |source: [u8; 4], number: u32| {
        let mut packet = packet(false, 100, number);
        packet[12..16].copy_from_slice(&source);
        peer.host.send(&packet);
        assert_eq!(crate::tests::number(&node.host.receive()), number, "watching takes nothing away");
    };
    let (inside, other) = ([169, 254, 1, 1], [169, 254, 1, 2]);
    from(inside, 1);
    node.datapath.watch_sources(node.id, vec![inside.into()]).expect("a tunnel");
    from(other, 2);
    from(inside, 3);
    from(inside, 4);
    node.datapath.watch_sources(node.id, Vec::new()).expect("a tunnel");
    from(inside, 5);
    let mut sources = Vec::new();
    while let Ok(event) = node.events.try_recv() {
        if let Event::SourceSeen { tunnel, source } = event {
            sources.push((tunnel, source));
        }
    }
    assert_eq!(sources, [(node.id, IpAddr::from(inside))]);
}

#[test]
fn events_that_found_the_queue_full_are_offered_again() {
    let mut node = Node::new(DatapathConfig { ike_queue: 1, event_queue: 1, ..DatapathConfig::default() });
    node.datapath.bind_ports(V4, 0, 0).expect("sockets");
    let peer = UdpSocket::bind((V4, 0)).expect("a socket");
    let associations: Vec<_> = [0x4001, 0x4002].map(association).into_iter().collect();
    let mut sending = Vec::new();
    for (outbound, inbound) in associations {
        node.expect(inbound.spi(), inbound);
        sending.push(outbound);
    }
    let send = |node: &Node, index: usize| {
        let mut sealed = [0; 200];
        let length = sending[index].seal(&packet(false, 60, 1), &mut sealed).expect("sealed");
        peer.send_to(&sealed[..length], node.esp()).expect("send");
        node.host.receive();
    };
    send(&node, 0);
    send(&node, 1);
    assert_eq!(node.drops("event_overflow"), 1);
    assert_eq!(node.events.try_recv(), Ok(Event::FirstInbound { tunnel: node.id, spi: 0x4001 }));
    send(&node, 1);
    assert_eq!(node.events.try_recv(), Ok(Event::FirstInbound { tunnel: node.id, spi: 0x4002 }));
}

#[test]
fn an_unreachable_peer_is_reported() {
    let mut node = Node::bound(V4);
    let closed = {
        let gone = UdpSocket::bind((V4, 0)).expect("a socket");
        gone.local_addr().expect("an address")
    };
    node.datapath.send_ike(node.esp(), closed, &[0; 40]).expect("sent");
    assert_eq!(node.event(), Event::Unreachable { local: V4, remote: V4 });
    // The error is not charged to the next message.
    let peer = UdpSocket::bind((V4, 0)).expect("a socket");
    peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    node.datapath.send_ike(node.esp(), closed, &[0; 40]).expect("sent");
    std::thread::sleep(Duration::from_millis(5));
    node.datapath.send_ike(node.esp(), peer.local_addr().expect("an address"), &[0; 40]).expect("sent");
    assert!(peer.recv_from(&mut [0; 100]).is_ok());
}

#[test]
fn without_an_association_or_a_socket_packets_are_dropped_and_counted() {
    let node = Node::bound(V4);
    node.host.send(&packet(false, 60, 1));
    node.await_drops("no_sa", 1);
    let outbound = Outbound { sa: Arc::new(association(1).0), local: SocketAddr::new(V6, 4500), remote: node.esp() };
    node.datapath.set_outbound(node.id, Some(outbound)).expect("a tunnel");
    node.host.send(&packet(false, 60, 2));
    node.await_drops("no_socket", 1);
    node.send_with(association(2).0, node.esp());
    node.host.send(&[0x99; 60]);
    node.await_drops("bad_packet", 1);
}

#[test]
fn a_lone_port_has_nothing_to_do_with_those_of_its_address() {
    let mut node = Node::new(DatapathConfig::default());
    let lone = node.datapath.bind_alone(SocketAddr::new(V4, 0)).expect("a socket");
    assert!(matches!(node.datapath.bind_alone(lone), Err(DatapathError::Bind { port, .. }) if port == lone.port()));
    assert!(matches!(node.datapath.unbind(V4), Err(DatapathError::NotBound(_))), "it is no public address's");
    node.datapath.bind_ports(V4, 0, 0).expect("sockets");
    node.datapath.unbind(V4).expect("bound");
    // Still there, with the marker before IKE in both directions, and ESP.
    let peer = UdpSocket::bind((V4, 0)).expect("a socket");
    peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let there = peer.local_addr().expect("an address");
    peer.send_to(&[&[0; 4][..], &[7; 40]].concat(), lone).expect("send");
    let heard = node.ike.blocking_recv().expect("a message");
    assert_eq!((heard.local, heard.remote, heard.payload.as_slice()), (lone, there, &[7; 40][..]));
    node.datapath.send_ike(lone, there, &[8; 40]).expect("sent");
    let mut wire = [0; 64];
    let (length, from) = peer.recv_from(&mut wire).expect("a datagram");
    assert_eq!((from, &wire[..4], length), (lone, &[0; 4][..], 44));
    peer.send_to(&[9; 40], lone).expect("send");
    node.await_drops("unknown_spi", 1);
    node.datapath.unbind_alone(lone).expect("bound");
    assert!(matches!(node.datapath.unbind_alone(lone), Err(DatapathError::NotBound(_))));
}

#[test]
fn requests_that_contradict_what_is_there_are_refused() {
    let node = Node::bound(V4);
    let unknown = ConnectionId::random();
    assert!(matches!(node.datapath.bind_ports(V4, 0, 0), Err(DatapathError::AlreadyBound(address)) if address == V4));
    let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    assert!(matches!(node.datapath.bind(elsewhere), Err(DatapathError::Bind { address, .. }) if address == elsewhere));
    assert!(matches!(node.datapath.unbind(elsewhere), Err(DatapathError::NotBound(_))));
    let (tun, _host) = Host::pair();
    let again = node.datapath.add_tunnel(node.id, node.gateway, tun);
    assert!(matches!(again, Err(DatapathError::TunnelExists(id)) if id == node.id));
    node.expect(1, association(1).1);
    let inbound = Inbound { spi: 1, local: V4, sa: Arc::new(association(1).1) };
    let taken = node.datapath.install_inbound(node.id, inbound.clone());
    assert!(matches!(taken, Err(DatapathError::SpiInUse { spi: 1, .. })));
    assert!(matches!(node.datapath.install_inbound(unknown, inbound), Err(DatapathError::NoTunnel(_))));
    assert!(matches!(node.datapath.remove_tunnel(unknown), Err(DatapathError::NoTunnel(_))));
    assert!(node.datapath.remove_inbound(V4, 1));
    assert!(!node.datapath.remove_inbound(V4, 1));
    assert_eq!(node.datapath.counters(unknown), None);
}

#[test]
fn removing_closes_and_what_is_left_goes_on() {
    let (a, b) = (Node::bound(V4), Node::bound(V4));
    connect(&a, &b, 0x5001);
    connect(&b, &a, 0x5002);
    let (tun, other) = Host::pair();
    let id = ConnectionId::random();
    a.datapath.add_tunnel(id, a.gateway, tun).expect("a tunnel");
    let inbound = Inbound { spi: 0x5003, local: V4, sa: Arc::new(association(0x5003).1) };
    a.datapath.install_inbound(id, inbound).expect("an association");
    a.datapath.remove_tunnel(id).expect("a tunnel");
    // The other end of a closed pair reads its end.
    assert_eq!(other.receive_within(Duration::ZERO), Some(Vec::new()));
    assert_eq!(a.datapath.inbound_packets(V4, 0x5003), None);
    a.host.send(&packet(false, 60, 1));
    assert_eq!(number(&b.host.receive()), 1);

    let freed = b.esp();
    b.datapath.unbind(V4).expect("bound");
    let again = UdpSocket::bind(freed).expect("the port is free at once");
    a.host.send(&packet(false, 60, 2));
    again.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(again.recv_from(&mut [0; 200]).is_ok());
}

#[test]
fn a_device_that_ends_is_let_go_without_a_busy_loop() {
    let node = Node::bound(V4);
    let Node { datapath, host, .. } = node;
    drop(host);
    std::thread::sleep(Duration::from_millis(20));
    let before = datapath.heartbeats();
    std::thread::sleep(Duration::from_millis(200));
    let after = datapath.heartbeats();
    for (before, after) in before.iter().zip(&after) {
        assert!(after.running);
        assert!(after.beats - before.beats < 10, "{}: {} rounds in 200 ms", after.thread, after.beats - before.beats);
    }
}

#[test]
fn an_idle_node_beats_and_stops_at_once() {
    let until = |node: &Node, what: &str, holds: &dyn Fn([u64; 2]) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let beats = node.datapath.heartbeats();
            assert!(beats.iter().all(|beat| beat.running), "{beats:?}");
            if holds(beats.map(|beat| beat.beats)) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {beats:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let node = Node::bound(V4);
    let before = node.datapath.heartbeats().map(|beat| beat.beats);
    until(&node, "two more beats of each thread", &|now| {
        now.iter().zip(before).all(|(now, before)| *now >= before + 2)
    });
    // One that would beat in an hour: it makes no round without a reason, and its end is one.
    let node = Node::new(DatapathConfig { heartbeat: Duration::from_secs(3600), ..DatapathConfig::default() });
    node.datapath.bind_ports(V4, 0, 0).expect("sockets");
    let seen = std::cell::Cell::new([0; 2]);
    until(&node, "two looks that find the same", &|now| seen.replace(now) == now && now.iter().all(|beats| *beats > 0));
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(node);
        let _ = ended.send(());
    });
    end.recv_timeout(PATIENCE).expect("its threads hear of its end");
}

/// Inner octets per second that arrive at `to` in one second while `from` is offered more.
fn rate(from: &Node, to: &Node, spi: u32) -> f64 {
    connect(from, to, spi);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let full = packet(false, 1400, 0);
            while !stop.load(Ordering::Relaxed) {
                if from.host.wait(PollFlags::OUT, Duration::from_millis(5)) {
                    let _ = rustix::io::write(&from.host.0, &full);
                }
            }
        });
        let (started, mut octets) = (Instant::now(), 0);
        // The first burst is not the rate.
        while started.elapsed() < Duration::from_millis(1500) {
            let Some(packet) = to.host.receive_within(Duration::from_millis(50)) else { continue };
            if started.elapsed() > Duration::from_millis(500) {
                octets += packet.len();
            }
        }
        stop.store(true, Ordering::Relaxed);
        octets as f64
    })
}

/// The first of some rates that is as `wanted`, else the last: what else the machine has to do may spoil some of them. Each association is a new one.
fn some_rate(from: &Node, to: &Node, spis: Range<u32>, wanted: impl Fn(f64) -> bool) -> f64 {
    let mut found = 0.0;
    for spi in spis {
        found = rate(from, to, spi);
        if wanted(found) {
            break;
        }
    }
    found
}

#[test]
fn a_gateways_bandwidth_holds_in_each_direction() {
    const BITS: u64 = 40_000_000;
    let expected = BITS as f64 / 8.0;
    let close = |rate: f64| (rate / expected - 1.0).abs() < 0.15;
    let (limited, free) = (Node::bound(V4), Node::bound(V4));
    limited.datapath.set_limits(limited.gateway, BITS);
    let outbound = some_rate(&limited, &free, 1..6, close);
    let inbound = some_rate(&free, &limited, 11..16, close);
    for (direction, rate) in [("outbound", outbound), ("inbound", inbound)] {
        assert!(close(rate), "{direction}: {rate} of {expected} octets/s");
    }
    assert_eq!(limited.datapath.counters(limited.id).expect("a tunnel").drops.get("no_sa"), None);
    assert!(limited.drops("shaped") > 0, "what comes in too fast is dropped");
    limited.datapath.set_limits(limited.gateway, 0);
    let much = |rate: f64| rate > 3.0 * expected;
    let lifted = some_rate(&free, &limited, 21..26, much);
    assert!(much(lifted), "{lifted} octets/s without the limit");
}
