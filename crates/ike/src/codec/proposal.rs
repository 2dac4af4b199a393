//! Security Association payloads (RFC 7296 §3.3): proposals, transforms, attributes.

use super::{DecodeError, Reader, length_field};

/// Protocol ids (RFC 7296 §3.3.1).
pub(crate) const PROTOCOL_IKE: u8 = 1;
pub(crate) const PROTOCOL_AH: u8 = 2;
pub(crate) const PROTOCOL_ESP: u8 = 3;

/// Transform types (RFC 7296 §3.3.2).
pub(crate) const TYPE_ENCR: u8 = 1;
pub(crate) const TYPE_PRF: u8 = 2;
pub(crate) const TYPE_INTEG: u8 = 3;
pub(crate) const TYPE_DH: u8 = 4;
pub(crate) const TYPE_ESN: u8 = 5;

const ATTRIBUTE_KEY_LENGTH: u16 = 14;
/// A proposal number is one octet, so an honest payload never holds more.
const MAX_PROPOSALS: usize = 255;

/// One transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transform {
    pub(crate) kind: u8,
    pub(crate) id: u16,
    /// Bits.
    pub(crate) key_length: Option<u16>,
    /// Carries an attribute that we do not know, so it must not be chosen (RFC 7296 §3.3.6).
    pub(crate) unusable: bool,
}

impl Transform {
    pub(crate) const fn new(kind: u8, id: u16) -> Self {
        Self { kind, id, key_length: None, unusable: false }
    }

    pub(crate) const fn keyed(kind: u8, id: u16, key_length: Option<u16>) -> Self {
        Self { kind, id, key_length, unusable: false }
    }
}

/// One proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) number: u8,
    pub(crate) protocol: u8,
    pub(crate) spi: Vec<u8>,
    pub(crate) transforms: Vec<Transform>,
}

/// Reads an SA payload's body.
pub(crate) fn decode(body: &[u8]) -> Result<Vec<Proposal>, DecodeError> {
    let mut proposals = Vec::new();
    let mut reader = Reader::new(body);
    while !reader.is_empty() {
        if proposals.len() == MAX_PROPOSALS {
            return Err(DecodeError::TooMany);
        }
        let last = reader.u8()?;
        reader.u8()?;
        let length = usize::from(reader.u16()?);
        let inner = reader.take(length.checked_sub(4).ok_or(DecodeError::Length)?)?;
        proposals.push(decode_proposal(inner)?);
        if (last == 0) != reader.is_empty() {
            return Err(DecodeError::Length);
        }
    }
    if proposals.is_empty() { Err(DecodeError::Value("SA")) } else { Ok(proposals) }
}

fn decode_proposal(inner: &[u8]) -> Result<Proposal, DecodeError> {
    let mut reader = Reader::new(inner);
    let number = reader.u8()?;
    let protocol = reader.u8()?;
    let spi_len = usize::from(reader.u8()?);
    let count = usize::from(reader.u8()?);
    let spi = reader.take(spi_len)?.to_vec();
    let mut transforms = Vec::with_capacity(count.min(inner.len() / 8));
    for _ in 0..count {
        reader.u8()?;
        reader.u8()?;
        let length = usize::from(reader.u16()?);
        let transform = reader.take(length.checked_sub(4).ok_or(DecodeError::Length)?)?;
        transforms.push(decode_transform(transform)?);
    }
    if reader.is_empty() { Ok(Proposal { number, protocol, spi, transforms }) } else { Err(DecodeError::Length) }
}

fn decode_transform(inner: &[u8]) -> Result<Transform, DecodeError> {
    let mut reader = Reader::new(inner);
    let kind = reader.u8()?;
    reader.u8()?;
    let mut transform = Transform::new(kind, reader.u16()?);
    while !reader.is_empty() {
        let attribute = reader.u16()?;
        let value = reader.u16()?;
        if attribute & 0x8000 == 0 {
            reader.take(usize::from(value))?;
            transform.unusable = true;
        } else if attribute & 0x7fff == ATTRIBUTE_KEY_LENGTH && transform.key_length.is_none() {
            transform.key_length = Some(value);
        } else {
            transform.unusable = true;
        }
    }
    Ok(transform)
}

/// Writes an SA payload's body.
pub(crate) fn encode(proposals: &[Proposal]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, proposal) in proposals.iter().enumerate() {
        let mut transforms = Vec::new();
        for (position, transform) in proposal.transforms.iter().enumerate() {
            let last = position + 1 == proposal.transforms.len();
            let length = if transform.key_length.is_some() { 12 } else { 8 };
            transforms.extend_from_slice(&[if last { 0 } else { 3 }, 0]);
            transforms.extend_from_slice(&length_field(length));
            transforms.extend_from_slice(&[transform.kind, 0]);
            transforms.extend_from_slice(&transform.id.to_be_bytes());
            if let Some(bits) = transform.key_length {
                transforms.extend_from_slice(&(0x8000 | ATTRIBUTE_KEY_LENGTH).to_be_bytes());
                transforms.extend_from_slice(&bits.to_be_bytes());
            }
        }
        let last = index + 1 == proposals.len();
        out.extend_from_slice(&[if last { 0 } else { 2 }, 0]);
        out.extend_from_slice(&length_field(8 + proposal.spi.len() + transforms.len()));
        out.push(proposal.number);
        out.push(proposal.protocol);
        out.push(u8::try_from(proposal.spi.len()).unwrap_or(u8::MAX));
        out.push(u8::try_from(proposal.transforms.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&proposal.spi);
        out.extend_from_slice(&transforms);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn transforms() -> impl Strategy<Value = Transform> {
        (any::<u8>(), any::<u16>(), any::<Option<u16>>()).prop_map(|(kind, id, bits)| Transform::keyed(kind, id, bits))
    }

    fn proposals() -> impl Strategy<Value = Proposal> {
        (any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..9), prop::collection::vec(transforms(), 0..12))
            .prop_map(|(number, protocol, spi, transforms)| Proposal { number, protocol, spi, transforms })
    }

    proptest! {
        #[test]
        fn round_trip(list in prop::collection::vec(proposals(), 1..8)) {
            prop_assert_eq!(decode(&encode(&list)), Ok(list));
        }

        #[test]
        fn any_prefix_of_a_payload_is_refused(list in prop::collection::vec(proposals(), 1..4), cut in any::<prop::sample::Index>()) {
            let bytes = encode(&list);
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(list) = decode(&bytes) {
                prop_assert!(list.len() <= MAX_PROPOSALS);
            }
        }
    }

    #[test]
    fn unknown_attributes_make_a_transform_unusable() {
        // One proposal, one transform with the variable-length attribute 1 of two octets.
        let body = [0, 0, 0, 22, 1, 1, 0, 1, 0, 0, 0, 14, 1, 0, 0, 12, 0, 1, 0, 2, 9, 9];
        let proposals = decode(&body).expect("well-formed");
        assert!(proposals[0].transforms[0].unusable);
    }
}
