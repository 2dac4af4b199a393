//! Payload chains (RFC 7296 §3.2): what one message says, as meaning instead of octets.

use std::fmt;
use std::net::IpAddr;

use super::{DecodeError, Proposal, Reader, Selector, length_field, proposal, selectors};

/// Payload types (RFC 7296 §3.2).
pub(crate) const SA: u8 = 33;
pub(crate) const KE: u8 = 34;
pub(crate) const ID_I: u8 = 35;
pub(crate) const ID_R: u8 = 36;
pub(crate) const AUTH: u8 = 39;
pub(crate) const NONCE: u8 = 40;
pub(crate) const NOTIFY: u8 = 41;
pub(crate) const DELETE: u8 = 42;
pub(crate) const TS_I: u8 = 44;
pub(crate) const TS_R: u8 = 45;
pub(crate) const SEALED: u8 = 46;
/// Encrypted fragment (RFC 7383 §2.5).
pub(crate) const FRAGMENT: u8 = 53;
/// Payloads of RFC 7296 itself, whose critical bit is ignored even where we do not act upon them (§2.5).
const KNOWN: std::ops::RangeInclusive<u8> = 33..=48;

/// More payloads than this in one message is an attack or a bug.
const MAX_PAYLOADS: usize = 64;
/// SPIs in one Delete payload.
const MAX_DELETED: usize = 256;

/// Notify message types (RFC 7296 §3.10.1).
pub(crate) mod notify {
    pub(crate) const UNSUPPORTED_CRITICAL_PAYLOAD: u16 = 1;
    pub(crate) const INVALID_MAJOR_VERSION: u16 = 5;
    pub(crate) const INVALID_SYNTAX: u16 = 7;
    pub(crate) const NO_PROPOSAL_CHOSEN: u16 = 14;
    pub(crate) const INVALID_KE_PAYLOAD: u16 = 17;
    pub(crate) const AUTHENTICATION_FAILED: u16 = 24;
    pub(crate) const NO_ADDITIONAL_SAS: u16 = 35;
    pub(crate) const TS_UNACCEPTABLE: u16 = 38;
    pub(crate) const TEMPORARY_FAILURE: u16 = 43;
    pub(crate) const CHILD_SA_NOT_FOUND: u16 = 44;
    /// Types below this are errors.
    pub(crate) const FIRST_STATUS: u16 = 16384;
    pub(crate) const INITIAL_CONTACT: u16 = 16384;
    pub(crate) const NAT_DETECTION_SOURCE_IP: u16 = 16388;
    pub(crate) const NAT_DETECTION_DESTINATION_IP: u16 = 16389;
    pub(crate) const COOKIE: u16 = 16390;
    pub(crate) const USE_TRANSPORT_MODE: u16 = 16391;
    pub(crate) const REKEY_SA: u16 = 16393;
    pub(crate) const FRAGMENTATION_SUPPORTED: u16 = 16430;

    /// The RFC's name of an error, for evidence.
    pub(crate) fn name(kind: u16) -> String {
        match kind {
            UNSUPPORTED_CRITICAL_PAYLOAD => "UNSUPPORTED_CRITICAL_PAYLOAD".to_owned(),
            4 => "INVALID_IKE_SPI".to_owned(),
            INVALID_MAJOR_VERSION => "INVALID_MAJOR_VERSION".to_owned(),
            INVALID_SYNTAX => "INVALID_SYNTAX".to_owned(),
            9 => "INVALID_MESSAGE_ID".to_owned(),
            11 => "INVALID_SPI".to_owned(),
            NO_PROPOSAL_CHOSEN => "NO_PROPOSAL_CHOSEN".to_owned(),
            INVALID_KE_PAYLOAD => "INVALID_KE_PAYLOAD".to_owned(),
            AUTHENTICATION_FAILED => "AUTHENTICATION_FAILED".to_owned(),
            34 => "SINGLE_PAIR_REQUIRED".to_owned(),
            NO_ADDITIONAL_SAS => "NO_ADDITIONAL_SAS".to_owned(),
            36 => "INTERNAL_ADDRESS_FAILURE".to_owned(),
            37 => "FAILED_CP_REQUIRED".to_owned(),
            TS_UNACCEPTABLE => "TS_UNACCEPTABLE".to_owned(),
            39 => "INVALID_SELECTORS".to_owned(),
            TEMPORARY_FAILURE => "TEMPORARY_FAILURE".to_owned(),
            CHILD_SA_NOT_FOUND => "CHILD_SA_NOT_FOUND".to_owned(),
            other => other.to_string(),
        }
    }
}

/// A Notify payload (RFC 7296 §3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notify {
    pub(crate) protocol: u8,
    pub(crate) spi: Vec<u8>,
    pub(crate) kind: u16,
    pub(crate) data: Vec<u8>,
}

/// A Delete payload (RFC 7296 §3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delete {
    /// The IKE SA that carries it.
    Ike,
    /// Child SAs by the SPI that the sender receives on.
    Esp(Vec<u32>),
    /// Another protocol's.
    Other,
}

/// An identification as it came (RFC 7296 §3.5).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RawIdentity {
    /// ID type.
    pub(crate) kind: u8,
    pub(crate) data: Vec<u8>,
    /// The whole body, reserved octets included: what AUTH covers.
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for RawIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawIdentity({}, {} octets)", self.kind, self.data.len())
    }
}

/// Everything in one chain of payloads that we act upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) proposals: Option<Vec<Proposal>>,
    /// Group and public value.
    pub(crate) exchange: Option<(u16, Vec<u8>)>,
    pub(crate) id_i: Option<RawIdentity>,
    pub(crate) id_r: Option<RawIdentity>,
    /// Method and data.
    pub(crate) auth: Option<(u8, Vec<u8>)>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) notifies: Vec<Notify>,
    pub(crate) deletes: Vec<Delete>,
    pub(crate) ts_i: Option<Vec<Selector>>,
    pub(crate) ts_r: Option<Vec<Selector>>,
}

impl Content {
    /// Reads a chain whose first payload is of type `first`.
    pub(crate) fn decode(first: u8, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut content = Self::default();
        let mut reader = Reader::new(bytes);
        let mut kind = first;
        let mut count = 0;
        while kind != 0 {
            count += 1;
            if count > MAX_PAYLOADS {
                return Err(DecodeError::TooMany);
            }
            let next = reader.u8()?;
            let critical = reader.u8()? & 0x80 != 0;
            let length = usize::from(reader.u16()?);
            let body = reader.take(length.checked_sub(4).ok_or(DecodeError::Length)?)?;
            content.take(kind, critical, body)?;
            kind = next;
        }
        if reader.is_empty() { Ok(content) } else { Err(DecodeError::Length) }
    }

    fn take(&mut self, kind: u8, critical: bool, body: &[u8]) -> Result<(), DecodeError> {
        match kind {
            SA => once(&mut self.proposals, kind, proposal::decode(body)?),
            KE => {
                let mut reader = Reader::new(body);
                let group = reader.u16()?;
                reader.u16()?;
                once(&mut self.exchange, kind, (group, reader.rest().to_vec()))
            }
            ID_I => once(&mut self.id_i, kind, decode_identity(body)?),
            ID_R => once(&mut self.id_r, kind, decode_identity(body)?),
            AUTH => {
                let mut reader = Reader::new(body);
                let method = reader.u8()?;
                reader.take(3)?;
                once(&mut self.auth, kind, (method, reader.rest().to_vec()))
            }
            NONCE if (16..=256).contains(&body.len()) => once(&mut self.nonce, kind, body.to_vec()),
            NONCE => Err(DecodeError::Value("nonce")),
            NOTIFY => {
                self.notifies.push(decode_notify(body)?);
                Ok(())
            }
            DELETE => {
                self.deletes.push(decode_delete(body)?);
                Ok(())
            }
            TS_I => once(&mut self.ts_i, kind, selectors::decode(body)?),
            TS_R => once(&mut self.ts_r, kind, selectors::decode(body)?),
            SEALED | FRAGMENT => Err(DecodeError::Value("nested encrypted payload")),
            other if critical && !KNOWN.contains(&other) => Err(DecodeError::UnknownCritical(other)),
            _ => Ok(()),
        }
    }

    /// The first notify of `kind`.
    pub(crate) fn notify(&self, kind: u16) -> Option<&Notify> {
        self.notifies.iter().find(|notify| notify.kind == kind)
    }

    /// The first error notify.
    pub(crate) fn error(&self) -> Option<&Notify> {
        self.notifies.iter().find(|notify| notify.kind < notify::FIRST_STATUS)
    }
}

fn once<T>(slot: &mut Option<T>, kind: u8, value: T) -> Result<(), DecodeError> {
    if slot.is_some() {
        return Err(DecodeError::Duplicate(kind));
    }
    *slot = Some(value);
    Ok(())
}

fn decode_identity(body: &[u8]) -> Result<RawIdentity, DecodeError> {
    let mut reader = Reader::new(body);
    let kind = reader.u8()?;
    reader.take(3)?;
    Ok(RawIdentity { kind, data: reader.rest().to_vec(), body: body.to_vec() })
}

fn decode_notify(body: &[u8]) -> Result<Notify, DecodeError> {
    let mut reader = Reader::new(body);
    let protocol = reader.u8()?;
    let spi_len = usize::from(reader.u8()?);
    let kind = reader.u16()?;
    let spi = reader.take(spi_len)?.to_vec();
    Ok(Notify { protocol, spi, kind, data: reader.rest().to_vec() })
}

fn decode_delete(body: &[u8]) -> Result<Delete, DecodeError> {
    let mut reader = Reader::new(body);
    let protocol = reader.u8()?;
    let spi_len = reader.u8()?;
    let count = usize::from(reader.u16()?);
    match (protocol, spi_len) {
        (proposal::PROTOCOL_IKE, 0) => Ok(Delete::Ike),
        (proposal::PROTOCOL_ESP, 4) if count <= MAX_DELETED => {
            let spis = (0..count).map(|_| reader.u32()).collect::<Result<Vec<_>, _>>()?;
            if reader.is_empty() { Ok(Delete::Esp(spis)) } else { Err(DecodeError::Length) }
        }
        (proposal::PROTOCOL_ESP, 4) => Err(DecodeError::TooMany),
        (proposal::PROTOCOL_IKE | proposal::PROTOCOL_ESP, _) => Err(DecodeError::Value("SPI size")),
        _ => Ok(Delete::Other),
    }
}

/// Builds a chain of payloads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    /// Type of the first payload; 0 while empty.
    pub(crate) first: u8,
    pub(crate) bytes: Vec<u8>,
    /// Where the last payload's "next payload" octet is.
    last: usize,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends a payload.
    pub(crate) fn push(&mut self, kind: u8, parts: &[&[u8]]) {
        if self.first == 0 {
            self.first = kind;
        } else if let Some(octet) = self.bytes.get_mut(self.last) {
            *octet = kind;
        }
        self.last = self.bytes.len();
        let length = 4 + parts.iter().map(|part| part.len()).sum::<usize>();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&length_field(length));
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }

    pub(crate) fn proposals(&mut self, proposals: &[Proposal]) {
        self.push(SA, &[&proposal::encode(proposals)]);
    }

    pub(crate) fn exchange(&mut self, group: u16, public: &[u8]) {
        self.push(KE, &[&group.to_be_bytes(), &[0, 0], public]);
    }

    pub(crate) fn notify(&mut self, kind: u16, data: &[u8]) {
        self.push(NOTIFY, &[&[0, 0], &kind.to_be_bytes(), data]);
    }

    pub(crate) fn notify_esp(&mut self, kind: u16, spi: u32) {
        self.push(NOTIFY, &[&[proposal::PROTOCOL_ESP, 4], &kind.to_be_bytes(), &spi.to_be_bytes()]);
    }

    pub(crate) fn auth(&mut self, method: u8, data: &[u8]) {
        self.push(AUTH, &[&[method, 0, 0, 0], data]);
    }

    pub(crate) fn selectors(&mut self, ts_i: &[Selector], ts_r: &[Selector]) {
        self.push(TS_I, &[&selectors::encode(ts_i)]);
        self.push(TS_R, &[&selectors::encode(ts_r)]);
    }

    pub(crate) fn delete_ike(&mut self) {
        self.push(DELETE, &[&[proposal::PROTOCOL_IKE, 0, 0, 0]]);
    }

    pub(crate) fn delete_esp(&mut self, spis: &[u32]) {
        let octets: Vec<u8> = spis.iter().flat_map(|spi| spi.to_be_bytes()).collect();
        self.push(DELETE, &[&[proposal::PROTOCOL_ESP, 4], &length_field(spis.len()), &octets]);
    }
}

/// The body of an identification payload.
pub(crate) fn identity_body(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0], data].concat()
}

/// An address as an identification's data: ID_IPV4_ADDR or ID_IPV6_ADDR.
pub(crate) fn address_octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::Family;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Transform;

    fn sample() -> (Chain, Content) {
        let proposals =
            vec![Proposal { number: 1, protocol: 3, spi: vec![1, 2, 3, 4], transforms: vec![Transform::new(5, 0)] }];
        let all = vec![Selector::all(Family::Ipv4), Selector::all(Family::Ipv6)];
        let mut chain = Chain::new();
        chain.push(ID_I, &[&identity_body(2, b"site")]);
        chain.push(ID_R, &[&identity_body(1, &[192, 0, 2, 1])]);
        chain.auth(2, &[7; 32]);
        chain.notify(notify::INITIAL_CONTACT, &[]);
        chain.notify_esp(notify::REKEY_SA, 0x0102_0304);
        chain.proposals(&proposals);
        chain.exchange(31, &[5; 32]);
        chain.push(NONCE, &[&[6; 32]]);
        chain.selectors(&all, &all);
        chain.delete_ike();
        chain.delete_esp(&[1, 2]);
        let content = Content {
            proposals: Some(proposals),
            exchange: Some((31, vec![5; 32])),
            id_i: Some(RawIdentity { kind: 2, data: b"site".to_vec(), body: b"\x02\0\0\0site".to_vec() }),
            id_r: Some(RawIdentity { kind: 1, data: vec![192, 0, 2, 1], body: vec![1, 0, 0, 0, 192, 0, 2, 1] }),
            auth: Some((2, vec![7; 32])),
            nonce: Some(vec![6; 32]),
            notifies: vec![
                Notify { protocol: 0, spi: vec![], kind: notify::INITIAL_CONTACT, data: vec![] },
                Notify { protocol: 3, spi: vec![1, 2, 3, 4], kind: notify::REKEY_SA, data: vec![] },
            ],
            deletes: vec![Delete::Ike, Delete::Esp(vec![1, 2])],
            ts_i: Some(all.clone()),
            ts_r: Some(all),
        };
        (chain, content)
    }

    #[test]
    fn every_payload_round_trips() {
        let (chain, content) = sample();
        assert_eq!(Content::decode(chain.first, &chain.bytes), Ok(content));
    }

    #[test]
    fn duplicates_unknown_critical_and_nesting_are_refused() {
        let mut chain = Chain::new();
        chain.push(NONCE, &[&[6; 32]]);
        chain.push(NONCE, &[&[6; 32]]);
        assert_eq!(Content::decode(chain.first, &chain.bytes), Err(DecodeError::Duplicate(NONCE)));

        let mut unknown = Chain::new();
        unknown.push(200, &[&[1, 2, 3]]);
        assert_eq!(Content::decode(unknown.first, &unknown.bytes), Ok(Content::default()));
        unknown.bytes[1] = 0x80;
        assert_eq!(Content::decode(unknown.first, &unknown.bytes), Err(DecodeError::UnknownCritical(200)));

        let mut nested = Chain::new();
        nested.push(SEALED, &[&[0; 40]]);
        assert!(Content::decode(nested.first, &nested.bytes).is_err());

        let mut many = Chain::new();
        for _ in 0..=MAX_PAYLOADS {
            many.notify(1, &[]);
        }
        assert_eq!(Content::decode(many.first, &many.bytes), Err(DecodeError::TooMany));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(first in any::<u8>(), bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(content) = Content::decode(first, &bytes) {
                prop_assert!(content.notifies.len() + content.deletes.len() <= MAX_PAYLOADS);
            }
        }

        #[test]
        fn a_cut_message_is_refused(cut in any::<prop::sample::Index>()) {
            let (chain, _) = sample();
            prop_assert!(Content::decode(chain.first, &chain.bytes[..cut.index(chain.bytes.len())]).is_err());
        }

        #[test]
        fn a_mutated_message_never_panics(at in any::<prop::sample::Index>(), value in any::<u8>()) {
            let (chain, _) = sample();
            let mut bytes = chain.bytes.clone();
            let at = at.index(bytes.len());
            bytes[at] = value;
            if let Ok(content) = Content::decode(chain.first, &bytes) {
                prop_assert!(content.notifies.len() <= MAX_PAYLOADS);
            }
        }
    }
}
