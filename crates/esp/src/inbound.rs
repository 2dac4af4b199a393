//! Opening.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use causeway_crypto::{Opener, SuiteError};

use crate::replay::{Verdict, Window};
use crate::{EspKeys, EspSuite, HEADER_LEN, NEXT_HEADER_DUMMY, NEXT_HEADER_IPV4, NEXT_HEADER_IPV6, TRAILER_LEN};

/// A packet was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than the shortest ESP packet of the suite.
    #[error("the packet is shorter than any of its suite")]
    TooShort,
    /// Of another SA.
    #[error("the packet's SPI is {0:08x}")]
    UnknownSpi(u32),
    /// The sequence number was seen already.
    #[error("the packet is a replay")]
    Replayed,
    /// The sequence number is older than the window reaches, or 0.
    #[error("the packet is older than the replay window")]
    Stale,
    /// The ciphertext is no multiple of the cipher's block.
    #[error("the ciphertext's length does not fit the cipher")]
    Length,
    /// The integrity check failed.
    #[error("the integrity check failed")]
    Authentication,
    /// Authentic, but the padding is not that of RFC 4303 §2.4.
    #[error("the padding is not 1, 2, 3, …")]
    Padding,
    /// Authentic, but neither IPv4, IPv6 nor a dummy.
    #[error("the next header is {0}")]
    NextHeader(u8),
    /// Authentic, but the inner packet is not of the family that the next header names, or longer than what arrived.
    #[error("the inner packet is malformed")]
    Inner,
}

impl OpenError {
    /// A stable word for counters.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::UnknownSpi(_) => "unknown_spi",
            Self::Replayed => "replayed",
            Self::Stale => "stale",
            Self::Length => "length",
            Self::Authentication => "authentication",
            Self::Padding => "padding",
            Self::NextHeader(_) => "next_header",
            Self::Inner => "inner",
        }
    }
}

/// An authentic packet's content.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The inner IP packet, as long as its own header says: traffic flow padding (RFC 4303 §2.7) is cut off. For a dummy: whatever
    /// it carried.
    pub inner: &'a [u8],
    /// [`NEXT_HEADER_IPV4`], [`NEXT_HEADER_IPV6`], or [`NEXT_HEADER_DUMMY`], which the caller drops silently.
    pub next_header: u8,
}

/// The receiving half of a Child SA.
pub struct InboundSa {
    spi: u32,
    suite: EspSuite,
    opener: Opener,
    window: Mutex<Window>,
    received: AtomicU64,
}

impl InboundSa {
    /// `spi` is ours.
    ///
    /// # Errors
    /// If the keys do not fit the suite.
    pub fn new(spi: u32, suite: EspSuite, keys: &EspKeys) -> Result<Self, SuiteError> {
        let opener = Opener::new(suite.crypto(), keys.encryption(), keys.integrity())?;
        Ok(Self { spi, suite, opener, window: Mutex::new(Window::new()), received: AtomicU64::new(0) })
    }

    /// Our SPI.
    #[must_use]
    pub const fn spi(&self) -> u32 {
        self.spi
    }

    /// The suite.
    #[must_use]
    pub const fn suite(&self) -> EspSuite {
        self.suite
    }

    /// Authentic packets so far, replays excepted: each proves that the peer lives.
    #[must_use]
    pub fn packets_received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The highest sequence number of an authentic packet.
    #[must_use]
    pub fn newest_sequence(&self) -> u32 {
        self.window().newest()
    }

    /// The SPI of an ESP packet, to find its SA by; `None` if it is shorter than its header.
    #[must_use]
    pub fn spi_of(packet: &[u8]) -> Option<u32> {
        Some(header_of(packet)?.0)
    }

    /// Opens an ESP packet (SPI to ICV) where it is. After an error `packet` holds nothing of use.
    ///
    /// # Errors
    /// If the packet is malformed, of another SA, a replay, or not authentic; or authentic with a content that is not for us.
    pub fn open<'a>(&self, packet: &'a mut [u8]) -> Result<Opened<'a>, OpenError> {
        let crypto = self.suite.crypto();
        let (spi, sequence) = header_of(packet).ok_or(OpenError::TooShort)?;
        if spi != self.spi {
            return Err(OpenError::UnknownSpi(spi));
        }
        // Before the expensive part, but not yet marked: a forged packet must not shut out the true one (RFC 4303 §3.4.3).
        verdict(self.window().check(sequence))?;

        let text_len = packet
            .len()
            .checked_sub(HEADER_LEN + crypto.iv_len() + crypto.icv_len())
            .filter(|len| *len >= TRAILER_LEN)
            .ok_or(OpenError::TooShort)?;
        let (header, rest) = packet.split_at_mut(HEADER_LEN);
        let (iv, rest) = rest.split_at_mut(crypto.iv_len());
        let (text, icv) = rest.split_at_mut(text_len);
        self.opener.open_in_place(header, iv, text, icv).map_err(|error| match error {
            causeway_crypto::OpenError::Length => OpenError::Length,
            causeway_crypto::OpenError::Authentication => OpenError::Authentication,
        })?;
        // Checked again: another thread may have had the same packet meanwhile.
        verdict(self.window().accept(sequence))?;
        self.received.fetch_add(1, Ordering::Relaxed);

        let [payload @ .., padding_len, next_header] = &*text else {
            return Err(OpenError::TooShort);
        };
        let inner_len = payload.len().checked_sub(usize::from(*padding_len)).ok_or(OpenError::Padding)?;
        let (inner, padding) = payload.split_at(inner_len);
        if padding.iter().zip(1_u8..).any(|(octet, expected)| *octet != expected) {
            return Err(OpenError::Padding);
        }
        let inner = match *next_header {
            NEXT_HEADER_IPV4 | NEXT_HEADER_IPV6 => trim(inner, *next_header).ok_or(OpenError::Inner)?,
            NEXT_HEADER_DUMMY => inner,
            other => return Err(OpenError::NextHeader(other)),
        };
        Ok(Opened { inner, next_header: *next_header })
    }

    /// A panic while the window was held cannot leave it half changed in a way that admits a replay of a marked packet.
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn verdict(verdict: Verdict) -> Result<(), OpenError> {
    match verdict {
        Verdict::Fresh => Ok(()),
        Verdict::Replayed => Err(OpenError::Replayed),
        Verdict::Stale => Err(OpenError::Stale),
    }
}

/// SPI and sequence number.
fn header_of(packet: &[u8]) -> Option<(u32, u32)> {
    let (spi, rest) = packet.split_first_chunk::<4>()?;
    let (sequence, _) = rest.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*spi), u32::from_be_bytes(*sequence)))
}

/// The packet without what follows its own length; `None` if it is not of the family or cut short.
fn trim(inner: &[u8], next_header: u8) -> Option<&[u8]> {
    let u16_at = |at: usize| Some(usize::from(u16::from_be_bytes([*inner.get(at)?, *inner.get(at + 1)?])));
    let (version, len, min) = match next_header {
        NEXT_HEADER_IPV4 => (4, u16_at(2)?, 20),
        _ => (6, 40 + u16_at(4)?, 40),
    };
    if inner.first()? >> 4 != version || len < min {
        return None;
    }
    inner.get(..len)
}

impl fmt::Debug for InboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundSa")
            .field("spi", &format_args!("{:08x}", self.spi))
            .field("suite", &self.suite)
            .field("packets_received", &self.packets_received())
            .finish_non_exhaustive()
    }
}
