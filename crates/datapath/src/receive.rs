//! The thread that moves packets from UDP to TUN devices, and everything that is not ESP to where it belongs.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use causeway_model::{Family, VpnGatewayId};
use rustix::event::{Timespec, epoll};

use crate::backlog::Backlog;
use crate::counters::DropReason;
use crate::early::Early;
use crate::event::{Event, IkeDatagram};
use crate::shaper::Group;
use crate::socket::{NON_ESP_MARKER, Socket};
use crate::sys::{self, RECV_SLOTS, Receiver};
use crate::tables::{Shared, Tables, WAKE};
use crate::tunnel::{Installed, Tunnel};

/// Calls per socket and wake-up, so that a flooded one does not starve the others.
const ROUNDS: usize = 4;
/// Entries of a socket's error queue per wake-up.
const ERROR_ROUNDS: usize = 64;
/// How long the memory of an empty backlog is kept for the next one.
const BACKLOG_REST: Duration = Duration::from_secs(1);
/// The IKE header, octets (RFC 7296 §3.1): nothing shorter is a message.
const IKE_HEADER: usize = 28;
/// The longest IKE message that we take, octets. RFC 7296 §2 asks for 3000.
const MAX_IKE: usize = 16 * 1024;
/// SPI and sequence number, octets (RFC 4303 §2).
const ESP_HEADER: usize = 8;
/// A NAT keepalive (RFC 3948 §2.3).
const KEEPALIVE: [u8; 1] = [0xff];

/// Runs until the stop flag is set.
pub(crate) fn run(shared: &Shared) -> io::Result<()> {
    let mut backlogs = Backlogs::default();
    let mut early = Early::default();
    let mut receiver = Receiver::new();
    let mut ready: Vec<epoll::Event> = Vec::with_capacity(64);
    while !shared.stop.load(Ordering::Acquire) {
        shared.receive.beat();
        ready.clear();
        let timeout = sleep(&backlogs, &early, shared.heartbeat);
        match epoll::wait(&shared.receive.epoll, rustix::buffer::spare_capacity(&mut ready), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let tables = shared.tables();
        backlogs.release(&tables, Instant::now());
        retry(shared, &tables, &mut backlogs, &mut early);
        for event in &ready {
            let token = event.data.u64();
            if token == WAKE {
                shared.receive.drain_wake();
            } else if let Some(socket) = tables.sockets.get(&token) {
                if { event.flags }.contains(epoll::EventFlags::ERR) {
                    read_errors(shared, socket);
                }
                serve(shared, (token, socket), &mut receiver, &mut backlogs, &mut early);
            }
        }
    }
    Ok(())
}

/// How long there is nothing to do here.
fn sleep(backlogs: &Backlogs, early: &Early, most: Duration) -> Timespec {
    let sleep = [backlogs.sleep(), early.sleep()].into_iter().flatten().fold(most, Duration::min);
    Timespec { tv_sec: sleep.as_secs().cast_signed(), tv_nsec: i64::from(sleep.subsec_nanos()) }
}

/// Opens what came before its association, if that is here now, and drops what has waited in vain.
fn retry(shared: &Shared, tables: &Tables, backlogs: &mut Backlogs, early: &mut Early) {
    let now = Instant::now();
    for mut packet in early.take() {
        let socket = tables.sockets.get(&packet.socket);
        let opened = socket.is_some_and(|socket| {
            let mut demultiplexer = Demultiplexer { shared, socket, tables, backlogs, last: None, now };
            demultiplexer.esp(packet.source, &mut packet.octets)
        });
        if opened {
            continue;
        }
        if packet.is_over(now) {
            shared.drops.count(DropReason::UnknownSpi);
        } else {
            early.put_back(packet);
        }
    }
}

/// Takes what waits on the socket, within the rounds' limit.
fn serve(
    shared: &Shared,
    (token, socket): (u64, &Socket),
    receiver: &mut Receiver,
    backlogs: &mut Backlogs,
    early: &mut Early,
) {
    let now = Instant::now();
    for _ in 0..ROUNDS {
        let count = match receiver.receive(socket.as_fd()) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // What an earlier datagram met (IP_RECVERR); reporting it has cleared it.
            Err(_) => continue,
        };
        // Taken after the datagrams: an association that was installed before its first packet was sent is certainly in it.
        let tables = &*shared.tables();
        let mut demultiplexer = Demultiplexer { shared, socket, tables, backlogs, last: None, now };
        for slot in 0..count {
            let Some(received) = receiver.received(slot) else { continue };
            if received.truncated {
                shared.drops.count(DropReason::Oversize);
                continue;
            }
            if received.bytes.is_empty() {
                shared.drops.count(DropReason::Runt);
            }
            for datagram in received.bytes.chunks_mut(received.segment) {
                let known = demultiplexer.datagram(received.source, datagram);
                if !known && !early.hold(token, received.source, datagram, now) {
                    shared.drops.count(DropReason::UnknownSpi);
                }
            }
        }
        if count < RECV_SLOTS {
            return;
        }
    }
}

fn read_errors(shared: &Shared, socket: &Socket) {
    for _ in 0..ERROR_ROUNDS {
        match sys::next_error(socket.as_fd()) {
            Ok(Some(report)) if report.unreachable => {
                shared.hint(Event::Unreachable { local: socket.local.ip(), remote: report.remote.ip() });
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// The gateways over their rate.
#[derive(Default)]
pub(crate) struct Backlogs(HashMap<VpnGatewayId, GatewayBacklog>);

struct GatewayBacklog {
    packets: Backlog,
    limits: Arc<Group>,
    /// When to look again: the next packet may pass, or, if there is none, the memory is given back.
    next: Instant,
}

impl Backlogs {
    /// Whether a packet passes at once. If so, it is paid for.
    pub(crate) fn passes(&self, tunnel: &Tunnel, octets: usize, now: Instant) -> bool {
        let limit = &tunnel.limits.inbound;
        if !limit.limited() && self.0.is_empty() {
            return true;
        }
        let waiting = self.0.get(&tunnel.group).is_some_and(|backlog| !backlog.packets.is_empty());
        let passes = !waiting && limit.ready(now).is_ok();
        if passes {
            limit.take(octets);
        }
        passes
    }

    /// Lets a packet wait; `false` if too many do.
    pub(crate) fn add(&mut self, tunnel: &Tunnel, family: Family, packet: &[u8], now: Instant) -> bool {
        let backlog = self.0.entry(tunnel.group).or_insert_with(|| GatewayBacklog {
            packets: Backlog::new(tunnel.limits.inbound.rate().unwrap_or_default()),
            limits: Arc::clone(&tunnel.limits),
            next: now,
        });
        if backlog.packets.is_empty() {
            backlog.next = now;
        }
        backlog.packets.push(tunnel.token, family, packet)
    }

    /// How long none of them has anything to do.
    fn sleep(&self) -> Option<Duration> {
        if self.0.is_empty() {
            return None;
        }
        let now = Instant::now();
        self.0.values().map(|backlog| backlog.next.saturating_duration_since(now)).min()
    }

    /// Delivers what may pass by now.
    pub(crate) fn release(&mut self, tables: &Tables, now: Instant) {
        self.0.retain(|_, backlog| {
            if backlog.next > now {
                return true;
            }
            if backlog.packets.is_empty() {
                return false;
            }
            while let Some(waiting) = backlog.packets.front() {
                if let Err(wait) = backlog.limits.inbound.ready(now) {
                    backlog.next = now + wait;
                    return true;
                }
                backlog.limits.inbound.take(waiting.packet.len());
                // A tunnel that was removed meanwhile takes its packets with it.
                if let Some(tunnel) = tables.tunnels.get(&waiting.tunnel) {
                    tunnel.deliver(waiting.family, waiting.packet);
                }
                backlog.packets.pop();
            }
            backlog.next = now + BACKLOG_REST;
            true
        });
    }
}

/// Tells the datagrams of one socket apart.
struct Demultiplexer<'a> {
    shared: &'a Shared,
    socket: &'a Socket,
    tables: &'a Tables,
    backlogs: &'a mut Backlogs,
    /// The association of the datagram before: most come in trains.
    last: Option<&'a Arc<Installed>>,
    now: Instant,
}

impl Demultiplexer<'_> {
    /// Whether it is done with: not if it is of an association that is not here.
    fn datagram(&mut self, source: SocketAddr, datagram: &mut [u8]) -> bool {
        if !self.socket.encapsulates {
            self.ike(source, datagram);
        } else if let Some(message) = datagram.strip_prefix(&NON_ESP_MARKER) {
            self.ike(source, message);
        } else if *datagram != KEEPALIVE {
            return self.esp(source, datagram);
        }
        true
    }

    fn ike(&self, source: SocketAddr, message: &[u8]) {
        let reason = match message.len() {
            ..IKE_HEADER => DropReason::Runt,
            IKE_HEADER..=MAX_IKE if self.shared.can_deliver() => {
                let payload = message.to_vec();
                self.shared.deliver(IkeDatagram { local: self.socket.local, remote: source, payload });
                return;
            }
            IKE_HEADER..=MAX_IKE => DropReason::IkeOverflow,
            _ => DropReason::Oversize,
        };
        self.shared.drops.count(reason);
    }

    /// Whether its association is known, or it has none.
    fn esp(&mut self, source: SocketAddr, packet: &mut [u8]) -> bool {
        let Some(([s0, s1, s2, s3, n0, n1, n2, n3], _)) = packet.split_first_chunk::<ESP_HEADER>() else {
            self.shared.drops.count(DropReason::Runt);
            return true;
        };
        let spi = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
        let sequence = u32::from_be_bytes([*n0, *n1, *n2, *n3]);
        let known = match self.last {
            Some(last) if last.spi == spi => Some(last),
            _ => self.tables.inbound.get(&(self.socket.local.ip(), spi)),
        };
        let Some(installed) = known else { return false };
        self.last = Some(installed);
        if let Err(reason) = self.open(installed, source, sequence, packet) {
            installed.tunnel.counters.family(installed.family).drops.count(reason);
        }
        true
    }

    /// Authenticates the packet and hands what is in it to the tunnel's device.
    fn open(
        &mut self,
        installed: &Installed,
        source: SocketAddr,
        sequence: u32,
        packet: &mut [u8],
    ) -> Result<(), DropReason> {
        let tunnel = &installed.tunnel;
        let opened = installed.sa.open(packet).map_err(|error| DropReason::of_open(&error))?;
        installed.authenticated(
            sequence,
            source,
            || self.shared.report(Event::FirstInbound { tunnel: tunnel.id, spi: installed.spi }),
            || self.shared.report(Event::RemoteMoved { tunnel: tunnel.id, spi: installed.spi, remote: source }),
        );
        if opened.next_header == causeway_esp::NEXT_HEADER_DUMMY {
            return Ok(());
        }
        // One whole packet of the family that the next header names: opening has checked it.
        let inner = opened.inner;
        if let Some(source) = tunnel.source_seen(inner) {
            self.shared.hint(Event::SourceSeen { tunnel: tunnel.id, source });
        }
        if self.backlogs.passes(tunnel, inner.len(), self.now) {
            tunnel.deliver(installed.family, inner);
            return Ok(());
        }
        if self.backlogs.add(tunnel, installed.family, inner, self.now) { Ok(()) } else { Err(DropReason::Shaped) }
    }
}
