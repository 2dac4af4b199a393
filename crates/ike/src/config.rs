//! What an endpoint is told about itself and about its peers.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use causeway_model::desired::Timers;
use causeway_model::suite::Cipher;
use causeway_model::{ConnectionId, Family, Psk};

use crate::codec::RawIdentity;
use crate::codec::message::{address_octets, identity_body};

/// Names one tunnel: a connection has at most one of each outer family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    /// The connection.
    pub connection: ConnectionId,
    /// The tunnel's outer family.
    pub family: Family,
}

/// Everything about one tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its name.
    pub key: PeerKey,
    /// Our outside address.
    pub local: IpAddr,
    /// The peer's outside address.
    pub remote: IpAddr,
    /// What we say we are.
    pub local_identity: Identity,
    /// What the peer must prove to be.
    pub remote_identity: Identity,
    /// Whether we start the tunnel and retry for ever; otherwise the peer does.
    pub initiate: bool,
    /// IKE proposals in order of preference.
    pub ike_proposals: Vec<Cipher>,
    /// ESP proposals in order of preference.
    pub esp_proposals: Vec<Cipher>,
    /// Pre-shared keys that are accepted, the newest first.
    pub psks: Vec<Psk>,
    /// Lifetimes and liveness.
    pub timers: Timers,
}

/// An IKE identity (RFC 7296 §3.5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// ID_IPV4_ADDR or ID_IPV6_ADDR.
    Address(IpAddr),
    /// ID_FQDN. Compared without regard to case.
    Fqdn(String),
    /// ID_RFC822_ADDR. Compared without regard to case.
    Email(String),
    /// ID_KEY_ID. Text form `keyid:` and the text, or `keyid:0x` and hexadecimal digits.
    KeyId(Vec<u8>),
}

const ID_IPV4_ADDR: u8 = 1;
const ID_FQDN: u8 = 2;
const ID_RFC822_ADDR: u8 = 3;
const ID_IPV6_ADDR: u8 = 5;
const ID_DER_ASN1_DN: u8 = 9;
const ID_KEY_ID: u8 = 11;

/// The text is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identity is an IP address, a name, an e-mail address, or keyid: and a key id, of at most 255 octets")]
pub struct IdentityError;

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if text.is_empty() || text.len() > 255 || !text.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(IdentityError);
        }
        if let Some(key_id) = text.strip_prefix("keyid:") {
            let octets = match key_id.strip_prefix("0x") {
                Some(digits) => from_hex(digits).ok_or(IdentityError)?,
                None => key_id.as_bytes().to_vec(),
            };
            return if octets.is_empty() { Err(IdentityError) } else { Ok(Self::KeyId(octets)) };
        }
        match text.find('@') {
            None => Ok(Self::Fqdn(text.to_owned())),
            // strongSwan's way to force ID_FQDN.
            Some(0) if text.len() > 1 => Ok(Self::Fqdn(text[1..].to_owned())),
            Some(0) => Err(IdentityError),
            Some(_) => Ok(Self::Email(text.to_owned())),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Fqdn(name) | Self::Email(name) => f.write_str(name),
            Self::KeyId(octets) => write_key_id(f, octets),
        }
    }
}

fn write_key_id(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    match std::str::from_utf8(octets) {
        Ok(text) if text.bytes().all(|octet| octet.is_ascii_graphic()) && !text.starts_with("0x") => {
            write!(f, "keyid:{text}")
        }
        _ => {
            f.write_str("keyid:0x")?;
            octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
        }
    }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            std::str::from_utf8(pair)
                .ok()
                .filter(|text| text.len() == 2)
                .and_then(|text| u8::from_str_radix(text, 16).ok())
        })
        .collect()
}

impl Identity {
    fn wire(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Address(address @ IpAddr::V4(_)) => (ID_IPV4_ADDR, address_octets(*address)),
            Self::Address(address @ IpAddr::V6(_)) => (ID_IPV6_ADDR, address_octets(*address)),
            Self::Fqdn(name) => (ID_FQDN, name.as_bytes().to_vec()),
            Self::Email(name) => (ID_RFC822_ADDR, name.as_bytes().to_vec()),
            Self::KeyId(octets) => (ID_KEY_ID, octets.clone()),
        }
    }

    /// The body of an IDi or IDr payload.
    pub(crate) fn body(&self) -> Vec<u8> {
        let (kind, data) = self.wire();
        identity_body(kind, &data)
    }

    /// Whether what came is this identity.
    pub(crate) fn matches(&self, raw: &RawIdentity) -> bool {
        let (kind, data) = self.wire();
        kind == raw.kind
            && match self {
                Self::Fqdn(_) | Self::Email(_) => data.eq_ignore_ascii_case(&raw.data),
                Self::Address(_) | Self::KeyId(_) => data == raw.data,
            }
    }
}

/// The longest identity that is shown as it came. It comes from a peer that has proven nothing yet.
const MAX_SHOWN: usize = 255;

impl fmt::Display for RawIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.data.len() > MAX_SHOWN {
            return write!(f, "an identity of {} octets", self.data.len());
        }
        // Only what a reader sees as it is: no control characters, and none that turn or hide their neighbours.
        let plain = |c: char| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ';
        let text = |f: &mut fmt::Formatter<'_>| match std::str::from_utf8(&self.data) {
            Ok(text) if text.chars().all(plain) => f.write_str(text),
            _ => write!(f, "{} octets that are no text", self.data.len()),
        };
        match self.kind {
            ID_IPV4_ADDR => match <[u8; 4]>::try_from(self.data.as_slice()) {
                Ok(octets) => IpAddr::from(octets).fmt(f),
                Err(_) => f.write_str("a malformed IPv4 address"),
            },
            ID_IPV6_ADDR => match <[u8; 16]>::try_from(self.data.as_slice()) {
                Ok(octets) => IpAddr::from(octets).fmt(f),
                Err(_) => f.write_str("a malformed IPv6 address"),
            },
            ID_FQDN => {
                // The same text as an address is another identity: the type must show.
                if std::str::from_utf8(&self.data).is_ok_and(|name| name.parse::<IpAddr>().is_ok()) {
                    f.write_str("the name ")?;
                }
                text(f)
            }
            ID_RFC822_ADDR => text(f),
            ID_KEY_ID => write_key_id(f, &self.data),
            ID_DER_ASN1_DN => f.write_str("a distinguished name"),
            other => write!(f, "identity type {other}"),
        }
    }
}

/// Limits and timing of an [`crate::Endpoint`]; the defaults are for production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointConfig {
    /// UDP port of both ends where IKE begins.
    pub ike_port: u16,
    /// UDP port of both ends where it goes on, and where ESP is (RFC 7296 §2.23). May be the same one, if all of IKE has the non-ESP marker there.
    pub encapsulation_port: u16,
    /// Half-open IKE SAs in all, from which on a cookie is demanded (RFC 7296 §2.6).
    pub cookie_threshold: usize,
    /// The same for one source address.
    pub cookie_threshold_per_source: usize,
    /// Half-open IKE SAs in all, above which IKE_SA_INIT is dropped.
    pub max_half_open: usize,
    /// The same for one source address.
    pub max_half_open_per_source: usize,
    /// How long a half-open IKE SA waits for IKE_AUTH.
    pub half_open_timeout: Duration,
    /// Child SAs of one IKE SA, rekeyed ones included.
    pub max_children: usize,
    /// IKE SAs of one peer, those included that only wait for their end. A peer that has the key is no reason to grow without end.
    pub max_ike_sas: usize,
    /// First retransmission of a request after this; the interval doubles.
    pub retransmit_first: Duration,
    /// The interval's upper bound.
    pub retransmit_cap: Duration,
    /// How long IKE_SA_INIT and IKE_AUTH each wait for an answer.
    pub attempt_timeout: Duration,
    /// Pause after the first failed attempt; it doubles.
    pub retry_first: Duration,
    /// The pause's upper bound.
    pub retry_cap: Duration,
    /// How long the superseded one of two IKE SAs of a peer is kept beside its successor.
    pub supersede_grace: Duration,
    /// How long an IKE SA may be without a Child SA.
    pub childless_timeout: Duration,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            ike_port: 500,
            encapsulation_port: 4500,
            cookie_threshold: 32,
            cookie_threshold_per_source: 4,
            max_half_open: 256,
            max_half_open_per_source: 16,
            half_open_timeout: Duration::from_secs(30),
            max_children: 16,
            max_ike_sas: 8,
            retransmit_first: Duration::from_millis(500),
            retransmit_cap: Duration::from_secs(2),
            attempt_timeout: Duration::from_secs(10),
            retry_first: Duration::from_secs(1),
            retry_cap: Duration::from_secs(30),
            supersede_grace: Duration::from_secs(2),
            childless_timeout: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_and_print() {
        for text in ["192.0.2.1", "2001:db8::1", "site.example", "ops@site.example", "keyid:branch-7", "keyid:0x00ff"] {
            let identity: Identity = text.parse().expect(text);
            assert_eq!(identity.to_string(), text);
        }
        assert_eq!("192.0.2.1".parse(), Ok(Identity::Address([192, 0, 2, 1].into())));
        assert_eq!("@site".parse(), Ok(Identity::Fqdn("site".to_owned())));
        for bad in ["", "@", "keyid:", "keyid:0x0", "a b", &"x".repeat(256)] {
            assert_eq!(bad.parse::<Identity>(), Err(IdentityError), "{bad}");
        }
    }

    #[test]
    fn an_identity_is_its_type_and_its_data() {
        let raw = |kind, data: &[u8]| RawIdentity { kind, data: data.to_vec(), body: identity_body(kind, data) };
        let name: Identity = "Site.example".parse().expect("a name");
        assert!(name.matches(&raw(ID_FQDN, b"site.EXAMPLE")));
        assert!(!name.matches(&raw(ID_RFC822_ADDR, b"site.example")));
        let address: Identity = "192.0.2.1".parse().expect("an address");
        assert!(address.matches(&raw(ID_IPV4_ADDR, &[192, 0, 2, 1])));
        assert!(!address.matches(&raw(ID_FQDN, b"192.0.2.1")));
        assert_eq!(raw(ID_FQDN, b"192.0.2.1").to_string(), "the name 192.0.2.1");
        assert_eq!(raw(ID_IPV4_ADDR, &[1]).to_string(), "a malformed IPv4 address");
        assert_eq!(raw(ID_FQDN, "x\u{202e}y".as_bytes()).to_string(), "5 octets that are no text");
        assert_eq!(raw(ID_KEY_ID, &[0; 60_000]).to_string(), "an identity of 60000 octets");
    }
}
