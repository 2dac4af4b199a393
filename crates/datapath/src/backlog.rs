//! Inbound packets that wait for their gateway's bandwidth.
//!
//! Dropping at once what exceeds the rate would starve TCP, whose bursts are shorter than its round trips; what leaves through a
//! TUN device can wait in that device's own queue, but what arrives has no queue of its own. So it gets one here: bounded, one per
//! gateway that is over its rate at this moment, given back once it has been empty for a while.

use std::collections::VecDeque;

use causeway_model::Family;

/// How much waiting is allowed, as a share of what the rate moves in a second.
const SECONDS: f64 = 0.1;
/// Bounds of one gateway's backlog, octets.
const MIN_OCTETS: usize = 128 * 1024;
const MAX_OCTETS: usize = 2 * 1024 * 1024;

/// A waiting packet.
#[derive(Clone, Copy)]
struct Entry {
    tunnel: u64,
    family: Family,
    start: usize,
    len: usize,
}

/// The packets of one gateway in the order of arrival.
pub(crate) struct Backlog {
    /// A ring in which every packet lies in one piece.
    ring: Vec<u8>,
    tail: usize,
    entries: VecDeque<Entry>,
}

/// The packet that has waited longest.
pub(crate) struct Waiting<'a> {
    /// The tunnel's token.
    pub(crate) tunnel: u64,
    pub(crate) family: Family,
    pub(crate) packet: &'a [u8],
}

impl Backlog {
    /// For a rate in octets per second.
    pub(crate) fn new(rate: f64) -> Self {
        let octets = ((rate * SECONDS) as usize).clamp(MIN_OCTETS, MAX_OCTETS);
        Self { ring: vec![0; octets], tail: 0, entries: VecDeque::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends a packet; `false` if there is no room.
    pub(crate) fn push(&mut self, tunnel: u64, family: Family, packet: &[u8]) -> bool {
        let len = packet.len();
        let start = match self.entries.front().map(|first| first.start) {
            None => 0,
            // The free room is behind the tail and before the head.
            Some(head) if self.tail > head => {
                if self.ring.len() - self.tail >= len {
                    self.tail
                } else if head >= len {
                    0
                } else {
                    return false;
                }
            }
            // The tail has come round: the free room is between it and the head.
            Some(head) if head - self.tail >= len => self.tail,
            Some(_) => return false,
        };
        let Some(room) = self.ring.get_mut(start..start.saturating_add(len)) else { return false };
        room.copy_from_slice(packet);
        self.tail = start + len;
        self.entries.push_back(Entry { tunnel, family, start, len });
        true
    }

    pub(crate) fn front(&self) -> Option<Waiting<'_>> {
        let Entry { tunnel, family, start, len } = *self.entries.front()?;
        Some(Waiting { tunnel, family, packet: self.ring.get(start..start + len)? })
    }

    pub(crate) fn pop(&mut self) {
        self.entries.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_whole_and_in_order_however_the_ring_wraps() {
        let mut backlog = Backlog::new(0.0);
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let mut state = 1_u64;
        let (mut refused, mut most) = (0, 0);
        for round in 0_u32..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (choice, length) = ((state >> 60) as usize, 20 + ((state >> 33) as usize % 1480));
            // Phases in which it fills and phases in which it drains.
            if choice < if round / 1000 % 2 == 0 { 10 } else { 6 } {
                let packet = vec![round as u8; length];
                if backlog.push(u64::from(round), Family::Ipv4, &packet) {
                    model.push_back(packet);
                } else {
                    refused += 1;
                }
            } else {
                assert_eq!(backlog.front().map(|waiting| waiting.packet), model.front().map(Vec::as_slice));
                backlog.pop();
                model.pop_front();
            }
            assert_eq!(backlog.is_empty(), model.is_empty());
            most = most.max(model.iter().map(Vec::len).sum::<usize>());
        }
        assert!(refused > 0 && most <= MIN_OCTETS && most > MIN_OCTETS - 4000, "{refused} {most}");
    }

    #[test]
    fn its_size_follows_the_rate_within_bounds() {
        assert_eq!(Backlog::new(1e3).ring.len(), MIN_OCTETS);
        assert_eq!(Backlog::new(5e6).ring.len(), 500_000);
        assert_eq!(Backlog::new(1e10).ring.len(), MAX_OCTETS);
        let mut backlog = Backlog::new(0.0);
        assert!(!backlog.push(1, Family::Ipv6, &vec![0; MIN_OCTETS + 1]));
        assert!(backlog.push(1, Family::Ipv6, &vec![0; MIN_OCTETS]));
        assert!(!backlog.push(1, Family::Ipv6, &[0]));
    }
}
