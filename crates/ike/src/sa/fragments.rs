//! Messages that come in fragments (RFC 7383): collected until the whole is there, within bounds.

use causeway_crypto::sha256;

use super::IkeSa;
use crate::codec::Header;
use crate::codec::message::FRAGMENT;
use crate::keys::Fragment;

/// The longest message that we send in one piece. With UDP, the non-ESP marker and IPv6 around it that is the 1280 octets which any
/// path carries.
pub(crate) const MAX_WHOLE: usize = 1280 - 40 - 8 - 4;
/// The longest chain that is put together, and the number of its pieces. Who sends it may not be authenticated yet.
const MAX_LENGTH: usize = 16_384;
const MAX_FRAGMENTS: u16 = 64;

/// What is there of a message.
pub(crate) struct Assembly {
    id: u32,
    response: bool,
    parts: Vec<Option<Vec<u8>>>,
    /// Type of the chain's first payload.
    first: u8,
    /// SHA-256 of the first fragment's message.
    digest: [u8; 32],
}

/// A message's content, once it is there.
pub(crate) enum Unsealed {
    /// The first payload's type, the chain, and what tells a retransmission: RFC 7383 §2.6.1 has the first fragment do so.
    Whole(u8, Vec<u8>, [u8; 32]),
    /// Authentic, but there is more to come.
    Part,
    Bad,
}

impl IkeSa {
    /// Octets that wait for the rest of their message.
    #[cfg(test)]
    pub(crate) fn collected(&self) -> usize {
        self.assembly.iter().flat_map(|assembly| &assembly.parts).flatten().map(Vec::len).sum()
    }

    /// Of a message that is not complete: how many fragments have come, and how many there are.
    pub(crate) fn incomplete(&self) -> Option<(usize, usize)> {
        self.assembly.as_ref().map(|assembly| (assembly.parts.iter().flatten().count(), assembly.parts.len()))
    }

    /// Opens a message whose id is the one that is awaited.
    pub(crate) fn unseal(&mut self, header: &Header, message: &[u8]) -> Unsealed {
        let Some(keys) = &self.keys else { return Unsealed::Bad };
        if header.next != FRAGMENT {
            let Some((first, chain)) = keys.open(header, message) else { return Unsealed::Bad };
            self.assembly = None;
            return Unsealed::Whole(first, chain, sha256(&[message]));
        }
        let fragment = keys.open_fragment(header, message).filter(|_| self.fragments);
        let Some(fragment) = fragment.filter(|fragment| fragment.total <= MAX_FRAGMENTS) else { return Unsealed::Bad };
        self.collect(header, message, fragment)
    }

    fn collect(&mut self, header: &Header, message: &[u8], fragment: Fragment) -> Unsealed {
        let total = usize::from(fragment.total);
        // More and smaller fragments of the same message replace fewer; fewer are late (RFC 7383 §2.6).
        let fits = |old: &Assembly| (old.id, old.response) == (header.id, header.response) && old.parts.len() >= total;
        if !self.assembly.as_ref().is_some_and(fits) {
            let parts = vec![None; total];
            self.assembly =
                Some(Assembly { id: header.id, response: header.response, parts, first: 0, digest: [0; 32] });
        }
        let Some(assembly) = self.assembly.as_mut().filter(|assembly| assembly.parts.len() == total) else {
            return Unsealed::Part;
        };
        if fragment.number == 1 {
            assembly.first = fragment.first;
            assembly.digest = sha256(&[message]);
        }
        if let Some(slot) = assembly.parts.get_mut(usize::from(fragment.number) - 1) {
            *slot = Some(fragment.part);
        }
        if assembly.parts.iter().flatten().map(Vec::len).sum::<usize>() > MAX_LENGTH {
            self.assembly = None;
            return Unsealed::Bad;
        }
        let Some(parts) = assembly.parts.iter().cloned().collect::<Option<Vec<_>>>() else { return Unsealed::Part };
        let (first, digest) = (assembly.first, assembly.digest);
        self.assembly = None;
        Unsealed::Whole(first, parts.concat(), digest)
    }
}
