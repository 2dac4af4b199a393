//! The thread that moves packets from TUN devices to UDP.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::batch::Batch;
use crate::counters::DropReason;
use crate::tables::{Shared, Tables, WAKE};
use crate::tunnel::{Outbound, Tunnel};

/// Packets of one tunnel per round, so that a busy one does not starve the others.
const ROUND: usize = 64;
/// The longest packet that a TUN device hands over, octets.
const MAX_INNER: usize = 65_535;
/// More than ESP ever adds to a packet, octets: header, IV, padding and ICV together stay below 80.
const MAX_OVERHEAD: usize = 128;
/// How long a tunnel rests after an error that its device should not have.
const ERROR_REST: Duration = Duration::from_millis(100);

pub(crate) struct Transmitter<'a> {
    shared: &'a Shared,
    batch: Batch,
    inner: Vec<u8>,
    /// Tunnels whose device is not watched until the time given, because their gateway used up its bandwidth.
    resting: Vec<(Instant, u64)>,
}

/// Runs until the stop flag is set.
pub(crate) fn run(shared: &Shared) -> io::Result<()> {
    let mut transmitter = Transmitter::new(shared);
    let mut ready = Vec::with_capacity(64);
    while !shared.stop.load(Ordering::Acquire) {
        shared.transmit.beat();
        ready.clear();
        let timeout = transmitter.sleep(Instant::now());
        match epoll::wait(&shared.transmit.epoll, rustix::buffer::spare_capacity(&mut ready), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let (tables, now) = (shared.tables(), Instant::now());
        transmitter.end_rests(&tables, now);
        for event in &ready {
            let token = event.data.u64();
            if token == WAKE {
                shared.transmit.drain_wake();
            } else if let Some(tunnel) = tables.tunnels.get(&token) {
                transmitter.serve(tunnel, now);
            }
        }
    }
    Ok(())
}

impl<'a> Transmitter<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        Self { shared, batch: Batch::new(), inner: vec![0; MAX_INNER], resting: Vec::new() }
    }

    /// The tunnels that rest, by token, and until when.
    #[cfg(test)]
    pub(crate) fn resting(&self) -> &[(Instant, u64)] {
        &self.resting
    }

    /// How long there is nothing to do unless a device says otherwise.
    fn sleep(&self, now: Instant) -> Timespec {
        let until = self.resting.iter().map(|(until, _)| until.saturating_duration_since(now)).min();
        let sleep = until.map_or(self.shared.heartbeat, |until| until.min(self.shared.heartbeat));
        Timespec { tv_sec: sleep.as_secs().cast_signed(), tv_nsec: i64::from(sleep.subsec_nanos()) }
    }

    fn watch(&self, tunnel: &Tunnel, events: epoll::EventFlags) -> bool {
        let data = epoll::EventData::new_u64(tunnel.token);
        epoll::modify(&self.shared.transmit.epoll, &tunnel.tun, data, events).is_ok()
    }

    fn rest(&mut self, tunnel: &Tunnel, until: Instant) {
        // It fails only for a tunnel that was removed meanwhile.
        if self.watch(tunnel, epoll::EventFlags::empty()) {
            self.resting.push((until, tunnel.token));
        }
    }

    pub(crate) fn end_rests(&mut self, tables: &Tables, now: Instant) {
        let mut index = 0;
        while let Some(&(until, token)) = self.resting.get(index) {
            if until > now {
                index += 1;
                continue;
            }
            self.resting.swap_remove(index);
            if let Some(tunnel) = tables.tunnels.get(&token) {
                self.watch(tunnel, epoll::EventFlags::IN);
            }
        }
    }

    /// Moves what waits in the tunnel's device, within a round's limit.
    pub(crate) fn serve(&mut self, tunnel: &Arc<Tunnel>, now: Instant) {
        let limit = &tunnel.limits.outbound;
        if let Err(wait) = limit.ready(now) {
            // Left in the device's own queue, which is where a sender's congestion control notices.
            self.rest(tunnel, now + wait);
            return;
        }
        let allowance = limit.tokens();
        let outbound = tunnel.outbound();
        // Taken after the association: an address that was bound before it was set is certainly in it.
        let tables = self.shared.tables();
        let way = outbound.as_deref().map(|outbound| (outbound, tables.by_address.get(&outbound.local)));
        let mut octets = 0;
        for _ in 0..ROUND {
            if octets > allowance {
                break;
            }
            let length = match tunnel.tun.read(&mut self.inner) {
                Ok(0) => {
                    self.device_gone(tunnel);
                    break;
                }
                Ok(length) => length,
                Err(error) => {
                    self.read_failed(tunnel, &error, now);
                    break;
                }
            };
            let (outbound, socket) = match way {
                Some((outbound, Some(socket))) => (outbound, socket),
                Some((_, None)) => {
                    tunnel.counters.unsent.count(DropReason::NoSocket);
                    continue;
                }
                None => {
                    tunnel.counters.unsent.count(DropReason::NoSa);
                    continue;
                }
            };
            if !self.batch.has_room(length + MAX_OVERHEAD) {
                self.batch.flush(socket, outbound.remote, tunnel.counters.family(socket.family));
            }
            self.seal(tunnel, outbound, length, socket.uses_trains());
            octets += length;
        }
        if let Some((outbound, Some(socket))) = way {
            self.batch.flush(socket, outbound.remote, tunnel.counters.family(socket.family));
        }
        limit.take(octets);
    }

    fn seal(&mut self, tunnel: &Tunnel, outbound: &Outbound, length: usize, trains_allowed: bool) {
        let Some(inner) = self.inner.get(..length) else { return };
        match outbound.sa.seal(inner, self.batch.room()) {
            Ok(sealed) => self.batch.push(sealed, length, trains_allowed),
            Err(error) => tunnel.counters.unsent.count(DropReason::of_seal(&error)),
        }
    }

    fn read_failed(&mut self, tunnel: &Tunnel, error: &io::Error, now: Instant) {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => {}
            Some(libc::EBADFD) => self.device_gone(tunnel),
            _ => {
                tracing::debug!(connection = %tunnel.id, %error, "reading the tunnel's device");
                self.rest(tunnel, now + ERROR_REST);
            }
        }
    }

    /// Stops watching a device that will never have a packet again but reports that for ever.
    fn device_gone(&self, tunnel: &Tunnel) {
        tracing::warn!(connection = %tunnel.id, "the tunnel's device has been deleted");
        let _ = epoll::delete(&self.shared.transmit.epoll, &tunnel.tun);
    }
}
