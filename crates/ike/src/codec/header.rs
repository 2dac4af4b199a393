//! The IKE header (RFC 7296 §3.1).

use super::{DecodeError, Reader};

/// Octets of the header.
pub(crate) const HEADER_LEN: usize = 28;
/// The sender is the original initiator of the SA.
pub(crate) const FLAG_INITIATOR: u8 = 0x08;
/// The message is a response.
pub(crate) const FLAG_RESPONSE: u8 = 0x20;

/// Exchange types (RFC 7296 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    Init,
    Auth,
    CreateChild,
    Informational,
    Unknown(u8),
}

impl Exchange {
    pub(crate) const fn to_wire(self) -> u8 {
        match self {
            Self::Init => 34,
            Self::Auth => 35,
            Self::CreateChild => 36,
            Self::Informational => 37,
            Self::Unknown(value) => value,
        }
    }

    pub(crate) const fn from_wire(value: u8) -> Self {
        match value {
            34 => Self::Init,
            35 => Self::Auth,
            36 => Self::CreateChild,
            37 => Self::Informational,
            other => Self::Unknown(other),
        }
    }
}

/// The header's fields; the length is the message's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) spi_i: u64,
    pub(crate) spi_r: u64,
    pub(crate) next: u8,
    pub(crate) exchange: Exchange,
    /// The sender is the SA's original initiator.
    pub(crate) from_initiator: bool,
    pub(crate) response: bool,
    pub(crate) id: u32,
}

impl Header {
    /// Reads the header of `message`, which must be exactly as long as it says.
    pub(crate) fn decode(message: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut reader = Reader::new(message);
        let spi_i = reader.u64()?;
        let spi_r = reader.u64()?;
        let next = reader.u8()?;
        let version = reader.u8()?;
        let exchange = Exchange::from_wire(reader.u8()?);
        let flags = reader.u8()?;
        let id = reader.u32()?;
        let length = reader.u32()?;
        if version >> 4 != 2 {
            return Err(DecodeError::Version(version >> 4));
        }
        if usize::try_from(length) != Ok(message.len()) {
            return Err(DecodeError::Length);
        }
        let header = Self {
            spi_i,
            spi_r,
            next,
            exchange,
            from_initiator: flags & FLAG_INITIATOR != 0,
            response: flags & FLAG_RESPONSE != 0,
            id,
        };
        Ok((header, reader.rest()))
    }

    /// The header's octets for a message of `length` octets in all.
    pub(crate) fn encode(&self, length: usize) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let flags =
            if self.from_initiator { FLAG_INITIATOR } else { 0 } | if self.response { FLAG_RESPONSE } else { 0 };
        out[..8].copy_from_slice(&self.spi_i.to_be_bytes());
        out[8..16].copy_from_slice(&self.spi_r.to_be_bytes());
        out[16] = self.next;
        out[17] = 0x20;
        out[18] = self.exchange.to_wire();
        out[19] = flags;
        out[20..24].copy_from_slice(&self.id.to_be_bytes());
        out[24..].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_length_check() {
        let header = Header {
            spi_i: 0x0102_0304_0506_0708,
            spi_r: 9,
            next: 33,
            exchange: Exchange::Auth,
            from_initiator: true,
            response: true,
            id: 7,
        };
        let mut message = header.encode(HEADER_LEN + 2).to_vec();
        message.extend_from_slice(&[1, 2]);
        assert_eq!(Header::decode(&message), Ok((header, &[1u8, 2][..])));
        message.push(0);
        assert_eq!(Header::decode(&message), Err(DecodeError::Length));
        message[17] = 0x30;
        assert_eq!(Header::decode(&message), Err(DecodeError::Version(3)));
        assert_eq!(Header::decode(&message[..27]), Err(DecodeError::Truncated));
    }
}
