//! The wire format of IKEv2 (RFC 7296 §3): checked reading, bounded, and writing.
//!
//! Nothing here knows of keys or state. Reading never indexes: every octet comes through [`Reader`], which ends with
//! [`DecodeError::Truncated`] instead of a panic.

pub(crate) mod header;
pub(crate) mod message;
pub(crate) mod proposal;
pub(crate) mod selectors;

pub(crate) use header::{Exchange, Header};
pub(crate) use message::{Chain, Content, Delete, RawIdentity};
pub(crate) use proposal::{Proposal, Transform};
pub(crate) use selectors::Selector;

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// It ends too early.
    #[error("truncated")]
    Truncated,
    /// A length field contradicts the message.
    #[error("bad length")]
    Length,
    /// The major version is not 2.
    #[error("major version {0}")]
    Version(u8),
    /// A payload that we do not know is marked critical (RFC 7296 §2.5).
    #[error("unknown critical payload {0}")]
    UnknownCritical(u8),
    /// A payload that may be there once is there twice.
    #[error("duplicate payload {0}")]
    Duplicate(u8),
    /// More elements than any sane peer sends.
    #[error("too many elements")]
    TooMany,
    /// A field has a value that the RFC forbids.
    #[error("bad value of {0}")]
    Value(&'static str),
}

/// Takes octets from the front of a slice.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.bytes.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.bytes = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.bytes.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.bytes = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.bytes
    }
}

/// A length field. What we write is always far below 64 KiB; the cap keeps the arithmetic total.
pub(crate) fn length_field(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}
