//! A connection of the peer that comes while a session is up: it is nobody's until its OPEN says that it may be the peer's.

use causeway_model::Family;

use crate::codec::{Framer, Message};
use crate::types::SessionConfig;

/// What came over such a connection. It is kept apart from the session, so that whoever can connect (a monitor, a port scan on the device)
/// does not end it (RFC 4271 §6.8).
#[derive(Debug)]
pub struct Newcomer {
    family: Family,
    peer_asn: u32,
    framer: Framer,
    octets: Vec<u8>,
}

impl Newcomer {
    /// For a session of this configuration; nothing has come yet.
    #[must_use]
    pub fn new(config: &SessionConfig) -> Self {
        Self { family: config.family, peer_asn: config.peer_asn, framer: Framer::default(), octets: Vec::new() }
    }

    /// Takes octets. `None` until the first message is whole, which takes 4,096 octets at most; then whether it is an OPEN that the session would
    /// not refuse for its AS number or family. Not to be called again after that.
    pub fn hear(&mut self, mut bytes: &[u8]) -> Option<bool> {
        self.octets.extend_from_slice(bytes);
        self.framer.fill(&mut bytes);
        match self.framer.next() {
            Ok(None) => None,
            Ok(Some(Message::Open(open))) => Some(open.asn == self.peer_asn && open.families.contains(&self.family)),
            Ok(Some(_)) | Err(_) => Some(false),
        }
    }

    /// Everything that came, for [`crate::Session::handle_bytes`].
    #[must_use]
    pub fn into_octets(self) -> Vec<u8> {
        self.octets
    }
}
