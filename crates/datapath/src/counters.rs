//! Counters that packet threads raise and control tasks read. Relaxed everywhere: each is a statistic, none guards data.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use causeway_esp::{OpenError, SealError};
use causeway_model::Family;
use causeway_model::observed::TunnelCounters;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal),+ $(,)?) => {
        /// Why a packet or datagram went no further.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DropReason { $($(#[$doc])* $variant),+ }

        impl DropReason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name under which it is counted.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }
        }
    };
}

drop_reasons! {
    /// Outbound while the tunnel has no security association.
    NoSa = "no_sa",
    /// Outbound from an address that is not bound.
    NoSocket = "no_socket",
    /// The integrity check failed.
    Auth = "auth",
    /// A sequence number that was seen before, or is older than the window.
    Replay = "replay",
    /// An SPI that is not installed on the address. Counted for the whole node.
    UnknownSpi = "unknown_spi",
    /// Authentic, but the padding or the inner packet is malformed.
    BadPacket = "bad_packet",
    /// Too large for the path or for us.
    TooBig = "too_big",
    /// Outbound after the last sequence number of the association.
    SequenceExhausted = "sequence_exhausted",
    /// The socket did not take it: no route, or its buffer stayed full.
    SendFailed = "send_failed",
    /// The kernel had no room for the inner packet.
    TunFull = "tun_full",
    /// The TUN device is down or gone.
    TunDown = "tun_down",
    /// Over the gateway's bandwidth.
    Shaped = "shaped",
    /// Too short for what it claims to be. Counted for the whole node, or for a tunnel if its SPI is known.
    Runt = "runt",
    /// An IKE message longer than we accept. Counted for the whole node.
    Oversize = "oversize",
    /// IKE messages that the control task did not take in time. Counted for the whole node.
    IkeOverflow = "ike_overflow",
    /// Events that the control task did not take in time; those that matter are offered again. Counted for the whole node.
    EventOverflow = "event_overflow",
}

impl DropReason {
    pub(crate) fn of_open(error: &OpenError) -> Self {
        match error {
            OpenError::TooShort => Self::Runt,
            OpenError::Replayed | OpenError::Stale => Self::Replay,
            OpenError::Authentication => Self::Auth,
            OpenError::UnknownSpi(_) => Self::UnknownSpi,
            OpenError::Length | OpenError::Padding | OpenError::NextHeader(_) | OpenError::Inner => Self::BadPacket,
        }
    }

    pub(crate) fn of_seal(error: &SealError) -> Self {
        match error {
            SealError::Exhausted => Self::SequenceExhausted,
            SealError::OutputTooSmall(_) => Self::TooBig,
            SealError::NotIp | SealError::Cipher(_) => Self::BadPacket,
        }
    }
}

/// One counter for each [`DropReason`].
#[derive(Default)]
pub(crate) struct Drops([AtomicU64; DropReason::ALL.len()]);

impl Drops {
    pub(crate) fn count(&self, reason: DropReason) {
        self.add(reason, 1);
    }

    pub(crate) fn add(&self, reason: DropReason, packets: u64) {
        // The discriminants are 0..ALL.len(), so the slot always exists.
        if let Some(slot) = self.0.get(reason as usize) {
            slot.fetch_add(packets, Ordering::Relaxed);
        }
    }

    pub(crate) fn add_to(&self, sums: &mut BTreeMap<String, u64>) {
        for (reason, slot) in DropReason::ALL.iter().zip(&self.0) {
            let packets = slot.load(Ordering::Relaxed);
            if packets > 0 {
                *sums.entry(reason.label().to_owned()).or_default() += packets;
            }
        }
    }
}

/// What passed through one outer family of a tunnel.
#[derive(Default)]
pub(crate) struct FamilyCounters {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    packets_in: AtomicU64,
    packets_out: AtomicU64,
    pub(crate) drops: Drops,
}

impl FamilyCounters {
    pub(crate) fn received(&self, packets: u64, octets: u64) {
        self.packets_in.fetch_add(packets, Ordering::Relaxed);
        self.bytes_in.fetch_add(octets, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, packets: u64, octets: u64) {
        self.packets_out.fetch_add(packets, Ordering::Relaxed);
        self.bytes_out.fetch_add(octets, Ordering::Relaxed);
    }

    pub(crate) fn add_to(&self, sums: &mut TunnelCounters) {
        sums.bytes_in += self.bytes_in.load(Ordering::Relaxed);
        sums.bytes_out += self.bytes_out.load(Ordering::Relaxed);
        sums.packets_in += self.packets_in.load(Ordering::Relaxed);
        sums.packets_out += self.packets_out.load(Ordering::Relaxed);
        self.drops.add_to(&mut sums.drops);
    }
}

/// The counters of a tunnel: one set per outer family, and drops that happen before a family is chosen.
#[derive(Default)]
pub(crate) struct Counters {
    ipv4: FamilyCounters,
    ipv6: FamilyCounters,
    pub(crate) unsent: Drops,
}

impl Counters {
    pub(crate) fn family(&self, family: Family) -> &FamilyCounters {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }

    pub(crate) fn snapshot(&self, family: Option<Family>) -> TunnelCounters {
        let mut sums = TunnelCounters::default();
        match family {
            Some(family) => self.family(family).add_to(&mut sums),
            None => {
                self.ipv4.add_to(&mut sums);
                self.ipv6.add_to(&mut sums);
                self.unsent.add_to(&mut sums.drops);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_distinct_labels_and_slots() {
        let drops = Drops::default();
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            drops.add(*reason, index as u64 + 1);
        }
        let mut sums = BTreeMap::new();
        drops.add_to(&mut sums);
        assert_eq!(sums.len(), DropReason::ALL.len());
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(sums.get(reason.label()), Some(&(index as u64 + 1)));
        }
    }

    #[test]
    fn a_total_is_the_sum_of_families_and_of_what_never_got_one() {
        let counters = Counters::default();
        counters.family(Family::Ipv4).sent(2, 300);
        counters.family(Family::Ipv6).sent(1, 50);
        counters.family(Family::Ipv6).drops.count(DropReason::Replay);
        counters.unsent.count(DropReason::NoSa);
        let total = counters.snapshot(None);
        assert_eq!((total.packets_out, total.bytes_out), (3, 350));
        assert_eq!(total.drops.get("no_sa"), Some(&1));
        let ipv6 = counters.snapshot(Some(Family::Ipv6));
        assert_eq!((ipv6.packets_out, ipv6.drops.get("replay"), ipv6.drops.get("no_sa")), (1, Some(&1), None));
    }
}
