//! ESP packets that come before their association.
//!
//! A peer that answers IKE_AUTH may send on the new Child SA as soon as it has it, which is before its answer has reached us and been worked through.
//! So a packet of an SPI that nobody knows waits for a moment.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a packet waits: more than an answer needs through a busy node.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bounds, whoever sends.
const MAX_PACKETS: usize = 64;
const MAX_OCTETS: usize = 128 * 1024;
/// How long the thread may sleep while packets wait.
const LOOK: Duration = Duration::from_millis(2);

/// A packet that waits.
pub(crate) struct Packet {
    /// Of the socket that it came on.
    pub(crate) socket: u64,
    pub(crate) source: SocketAddr,
    pub(crate) octets: Vec<u8>,
    until: Instant,
}

impl Packet {
    /// Whether it has waited long enough.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.until <= now
    }
}

/// Packets in the order of their arrival.
#[derive(Default)]
pub(crate) struct Early {
    packets: VecDeque<Packet>,
    octets: usize,
}

impl Early {
    /// Lets a packet wait; `false` if too many do.
    pub(crate) fn hold(&mut self, socket: u64, source: SocketAddr, packet: &[u8], now: Instant) -> bool {
        if self.packets.len() >= MAX_PACKETS || self.octets + packet.len() > MAX_OCTETS {
            return false;
        }
        self.octets += packet.len();
        self.packets.push_back(Packet { socket, source, octets: packet.to_vec(), until: now + PATIENCE });
        true
    }

    /// Takes all that wait; those that are still nobody's come back by [`Self::put_back`].
    pub(crate) fn take(&mut self) -> VecDeque<Packet> {
        self.octets = 0;
        std::mem::take(&mut self.packets)
    }

    /// It waits on.
    pub(crate) fn put_back(&mut self, packet: Packet) {
        self.octets += packet.octets.len();
        self.packets.push_back(packet);
    }

    /// How long the thread may sleep.
    pub(crate) fn sleep(&self) -> Option<Duration> {
        (!self.packets.is_empty()).then_some(LOOK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_in_packets_octets_and_time() {
        let (now, source) = (Instant::now(), SocketAddr::from(([192, 0, 2, 1], 4500)));
        let mut early = Early::default();
        assert_eq!(early.sleep(), None);
        let small = (0..1000).filter(|_| early.hold(1, source, &[0; 100], now)).count();
        assert_eq!((small, early.sleep()), (MAX_PACKETS, Some(LOOK)));
        let packets = early.take();
        assert!(packets.iter().all(|packet| !packet.is_over(now) && packet.is_over(now + PATIENCE)));
        assert_eq!(early.sleep(), None);
        let large = (0..1000).filter(|_| early.hold(1, source, &[0; 60_000], now)).count();
        assert_eq!(large, MAX_OCTETS / 60_000);
        for packet in early.take() {
            early.put_back(packet);
        }
        assert!(!early.hold(1, source, &[0; 60_000], now), "put back counts");
        assert!(early.hold(1, source, &[0; 10], now));
    }
}
