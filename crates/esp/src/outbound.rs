//! Sealing.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use causeway_crypto::{Sealer, SuiteError};

use crate::{EspKeys, EspSuite, HEADER_LEN, NEXT_HEADER_IPV4, NEXT_HEADER_IPV6, TRAILER_LEN};

/// The last sequence number that an SA may use without ESN.
const LAST_SEQUENCE: u64 = u32::MAX as u64;

/// Room for an AES-CBC block of padding and the trailer.
const MAX_TAIL: usize = 15 + TRAILER_LEN;

/// 1, 2, 3, …: the padding of RFC 4303 §2.4.
const PADDING: [u8; 15] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// A packet was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The inner packet's first octet says neither IPv4 nor IPv6.
    #[error("the inner packet is neither IPv4 nor IPv6")]
    NotIp,
    /// The output is shorter than the ESP packet.
    #[error("the output has less than the {0} octets that the packet takes")]
    OutputTooSmall(usize),
    /// All sequence numbers are used: only a rekey helps (RFC 4303 §3.3.3).
    #[error("the security association has used all its sequence numbers")]
    Exhausted,
    /// The cipher refused the packet's length.
    #[error(transparent)]
    Cipher(causeway_crypto::SealError),
}

impl SealError {
    /// A stable word for counters.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotIp => "not_ip",
            Self::OutputTooSmall(_) => "output_too_small",
            Self::Exhausted => "sequence_exhausted",
            Self::Cipher(_) => "cipher",
        }
    }
}

/// The sending half of a Child SA.
pub struct OutboundSa {
    spi: u32,
    suite: EspSuite,
    sealer: Sealer,
    /// Sequence numbers drawn, including those beyond the last that may be used.
    drawn: AtomicU64,
}

impl OutboundSa {
    /// `spi` is the receiver's.
    ///
    /// # Errors
    /// If the keys do not fit the suite.
    pub fn new(spi: u32, suite: EspSuite, keys: &EspKeys) -> Result<Self, SuiteError> {
        let sealer = Sealer::new(suite.crypto(), keys.encryption(), keys.integrity())?;
        Ok(Self { spi, suite, sealer, drawn: AtomicU64::new(0) })
    }

    /// The receiver's SPI.
    #[must_use]
    pub const fn spi(&self) -> u32 {
        self.spi
    }

    /// The suite.
    #[must_use]
    pub const fn suite(&self) -> EspSuite {
        self.suite
    }

    /// Sequence numbers used, which the packet lifetime is measured by.
    #[must_use]
    pub fn packets_sent(&self) -> u64 {
        self.drawn.load(Ordering::Relaxed).min(LAST_SEQUENCE)
    }

    /// Seals the IP packet `inner` into `out` and returns the ESP packet's length, which is [`EspSuite::sealed_len`].
    ///
    /// # Errors
    /// If the packet is no IP packet, `out` is too short, or the sequence numbers are used up.
    pub fn seal(&self, inner: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let next_header = match inner.first().map(|octet| octet >> 4) {
            Some(4) => NEXT_HEADER_IPV4,
            Some(6) => NEXT_HEADER_IPV6,
            _ => return Err(SealError::NotIp),
        };
        let crypto = self.suite.crypto();
        let len = self.suite.sealed_len(inner.len());
        let packet = out.get_mut(..len).ok_or(SealError::OutputTooSmall(len))?;

        let padding = self.suite.padding_len(inner.len());
        let mut tail = [0; MAX_TAIL];
        tail[..padding].copy_from_slice(&PADDING[..padding]);
        tail[padding] = padding as u8;
        tail[padding + 1] = next_header;

        // Drawn last: a packet that could not be sent anyway costs no number.
        let sequence = self.draw()?;
        let (header, rest) = packet.split_at_mut(HEADER_LEN);
        let (spi_octets, sequence_octets) = header.split_at_mut(4);
        spi_octets.copy_from_slice(&self.spi.to_be_bytes());
        sequence_octets.copy_from_slice(&sequence.to_be_bytes());
        let (iv, body) = rest.split_at_mut(crypto.iv_len());
        self.sealer.derive_iv(u64::from(sequence), iv).map_err(SealError::Cipher)?;
        self.sealer.seal_into(header, iv, inner, &tail[..padding + TRAILER_LEN], body).map_err(SealError::Cipher)?;
        Ok(len)
    }

    /// The next sequence number. The counter has 64 bits, so that it does not come round however often it is asked after the end.
    fn draw(&self) -> Result<u32, SealError> {
        let before = self.drawn.fetch_add(1, Ordering::Relaxed);
        u32::try_from(before.saturating_add(1)).map_err(|_| SealError::Exhausted)
    }
}

impl fmt::Debug for OutboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundSa")
            .field("spi", &format_args!("{:08x}", self.spi))
            .field("suite", &self.suite)
            .field("packets_sent", &self.packets_sent())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::suite::Encryption;

    use super::*;

    #[test]
    fn refuses_to_send_after_the_last_number() {
        let suite = EspSuite::new(Encryption::Aes128Gcm, None);
        let (keys, _) = EspKeys::split(suite, &[7; 40]).expect("keys");
        let sa = OutboundSa::new(1, suite, &keys).expect("an SA");
        sa.drawn.store(LAST_SEQUENCE - 1, Ordering::Relaxed);
        let (inner, mut out) = ([0x45; 40], [0; 128]);
        assert!(sa.seal(&inner, &mut out).is_ok());
        assert_eq!(out[4..8], [0xff; 4]);
        for _ in 0..3 {
            assert_eq!(sa.seal(&inner, &mut out), Err(SealError::Exhausted));
        }
        assert_eq!(sa.packets_sent(), LAST_SEQUENCE);
    }

    #[test]
    fn a_refused_packet_costs_no_number() {
        let suite = EspSuite::new(Encryption::Aes128Gcm, None);
        let (keys, _) = EspKeys::split(suite, &[7; 40]).expect("keys");
        let sa = OutboundSa::new(1, suite, &keys).expect("an SA");
        let mut out = [0; 128];
        assert_eq!(sa.seal(&[], &mut out), Err(SealError::NotIp));
        assert_eq!(sa.seal(&[0x55; 20], &mut out), Err(SealError::NotIp));
        assert_eq!(sa.seal(&[0x45; 20], &mut out[..55]), Err(SealError::OutputTooSmall(56)));
        assert_eq!(sa.packets_sent(), 0);
        assert_eq!(sa.seal(&[0x45; 20], &mut out), Ok(56));
        assert_eq!(sa.packets_sent(), 1);
    }
}
