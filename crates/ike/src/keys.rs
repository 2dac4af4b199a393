//! Key derivation (RFC 7296 §2.14, §2.15, §2.17, §2.18) and the protection of SK payloads (§3.14).

use causeway_crypto::{Opener, Prf, Sealer, Secret, Suite, SuiteError};

use crate::codec::header::HEADER_LEN;
use crate::codec::message::{FRAGMENT, SEALED};
use crate::codec::{Chain, Header, length_field};
use crate::suite::{EspSuite, IkeSuite};

/// Pads the pre-shared key for AUTH (RFC 7296 §2.15).
const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// The keys of one IKE SA, as one of its ends holds them.
pub(crate) struct IkeKeys {
    prf: Prf,
    /// SK_d.
    derive: Secret,
    /// SK_pi and SK_pr.
    auth_i: Secret,
    auth_r: Secret,
    sealer: Sealer,
    opener: Opener,
    /// Messages sealed so far: the source of IVs.
    sealed: u64,
}

/// What goes into an IKE SA's keys besides the shared secret.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) suite: IkeSuite,
    pub(crate) nonce_i: &'a [u8],
    pub(crate) nonce_r: &'a [u8],
    pub(crate) spi_i: u64,
    pub(crate) spi_r: u64,
    /// Whether we are the initiator of this SA.
    pub(crate) initiator: bool,
}

impl IkeKeys {
    /// The keys of an SA from IKE_SA_INIT (RFC 7296 §2.14).
    pub(crate) fn first(inputs: Inputs<'_>, shared: &Secret) -> Result<Self, SuiteError> {
        let prf = Prf::new(inputs.suite.prf);
        let seed = prf.compute(&[inputs.nonce_i, inputs.nonce_r].concat(), &[shared.slice()]);
        Self::expand(inputs, prf, &seed)
    }

    /// The keys of an SA that replaces the one with `self` (RFC 7296 §2.18): SKEYSEED comes from the OLD SA's PRF.
    pub(crate) fn rekeyed(&self, inputs: Inputs<'_>, shared: &Secret) -> Result<Self, SuiteError> {
        let seed = self.prf.compute(self.derive.slice(), &[shared.slice(), inputs.nonce_i, inputs.nonce_r]);
        Self::expand(inputs, Prf::new(inputs.suite.prf), &seed)
    }

    fn expand(inputs: Inputs<'_>, prf: Prf, skeyseed: &Secret) -> Result<Self, SuiteError> {
        let suite = Suite::new(inputs.suite.encryption, inputs.suite.integrity);
        let (p, a, e) = (prf.key_len(), suite.integrity_key_len(), suite.encryption_key_len());
        let (spi_i, spi_r) = (inputs.spi_i.to_be_bytes(), inputs.spi_r.to_be_bytes());
        let seed = [inputs.nonce_i, inputs.nonce_r, &spi_i, &spi_r];
        let stream = prf.plus(skeyseed.slice(), &seed, 3 * p + 2 * a + 2 * e);
        // SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr
        let (derive, rest) = stream.slice().split_at(p);
        let (integrity_i, rest) = rest.split_at(a);
        let (integrity_r, rest) = rest.split_at(a);
        let (encryption_i, rest) = rest.split_at(e);
        let (encryption_r, rest) = rest.split_at(e);
        let (auth_i, auth_r) = rest.split_at(p);
        let (sealer, opener) = if inputs.initiator {
            (Sealer::new(suite, encryption_i, integrity_i)?, Opener::new(suite, encryption_r, integrity_r)?)
        } else {
            (Sealer::new(suite, encryption_r, integrity_r)?, Opener::new(suite, encryption_i, integrity_i)?)
        };
        Ok(Self { prf, derive: derive.into(), auth_i: auth_i.into(), auth_r: auth_r.into(), sealer, opener, sealed: 0 })
    }

    /// The AUTH data of one end (RFC 7296 §2.15): `message` is that end's IKE_SA_INIT message, `nonce` the other end's nonce,
    /// `identity` the body of that end's ID payload.
    pub(crate) fn auth(&self, of_initiator: bool, psk: &[u8], message: &[u8], nonce: &[u8], identity: &[u8]) -> Secret {
        let key = if of_initiator { &self.auth_i } else { &self.auth_r };
        let maced_identity = self.prf.compute(key.slice(), &[identity]);
        let padded = self.prf.compute(psk, &[KEY_PAD]);
        self.prf.compute(padded.slice(), &[message, nonce, maced_identity.slice()])
    }

    /// KEYMAT of a Child SA, initiator's direction first (RFC 7296 §2.17). `shared` is that of its own exchange, if it had PFS.
    pub(crate) fn child(
        &self,
        suite: EspSuite,
        shared: Option<&Secret>,
        nonce_i: &[u8],
        nonce_r: &[u8],
    ) -> (Secret, Secret) {
        let protection = Suite::new(suite.encryption, suite.integrity);
        let each = protection.encryption_key_len() + protection.integrity_key_len();
        let shared = shared.map_or(&[][..], Secret::slice);
        let stream = self.prf.plus(self.derive.slice(), &[shared, nonce_i, nonce_r], 2 * each);
        let (from_initiator, from_responder) = stream.slice().split_at(each);
        (from_initiator.into(), from_responder.into())
    }

    /// A whole message whose only payload is the encrypted `chain` (RFC 7296 §3.14).
    pub(crate) fn seal(&mut self, header: Header, chain: &Chain) -> Option<Vec<u8>> {
        self.seal_payload(header, SEALED, chain.first, &[], &chain.bytes)
    }

    /// The same as one message if that has at most `limit` octets, as fragments of at most that otherwise (RFC 7383 §2.5).
    pub(crate) fn seal_fragments(&mut self, header: Header, chain: &Chain, limit: usize) -> Option<Vec<Vec<u8>>> {
        let suite = self.sealer.suite();
        let fixed = HEADER_LEN + 4 + suite.iv_len() + suite.icv_len();
        // Padding and its length.
        let tail = suite.block_len();
        if fixed + chain.bytes.len() + tail <= limit {
            return Some(vec![self.seal(header, chain)?]);
        }
        let room = limit.checked_sub(fixed + FRAGMENT_FIELDS + tail).filter(|room| *room > 0)?;
        let total = u16::try_from(chain.bytes.len().div_ceil(room)).ok()?;
        let parts = chain.bytes.chunks(room).zip(1..=total);
        parts
            .map(|(part, number)| {
                let fields = [number.to_be_bytes(), total.to_be_bytes()].concat();
                let first = if number == 1 { chain.first } else { 0 };
                self.seal_payload(header, FRAGMENT, first, &fields, part)
            })
            .collect()
    }

    fn seal_payload(
        &mut self,
        mut header: Header,
        kind: u8,
        first: u8,
        fields: &[u8],
        plaintext: &[u8],
    ) -> Option<Vec<u8>> {
        let suite = self.sealer.suite();
        let (iv_len, icv_len, block) = (suite.iv_len(), suite.icv_len(), suite.block_len());
        let padding = (block - (plaintext.len() + 1) % block) % block;
        let inner = plaintext.len() + padding + 1;
        let payload = 4 + fields.len() + iv_len + inner + icv_len;
        header.next = kind;
        let mut message = Vec::with_capacity(HEADER_LEN + payload);
        message.extend_from_slice(&header.encode(HEADER_LEN + payload));
        message.extend_from_slice(&[first, 0]);
        message.extend_from_slice(&length_field(payload));
        message.extend_from_slice(fields);
        let aad_len = message.len();
        message.resize(aad_len + iv_len, 0);
        message.extend_from_slice(plaintext);
        message.resize(message.len() + padding, 0);
        message.push(u8::try_from(padding).ok()?);
        message.resize(message.len() + icv_len, 0);

        let (aad, rest) = message.split_at_mut_checked(aad_len)?;
        let (iv, rest) = rest.split_at_mut_checked(iv_len)?;
        let (data, icv) = rest.split_at_mut_checked(inner)?;
        self.sealed = self.sealed.checked_add(1)?;
        self.sealer.derive_iv(self.sealed, iv).ok()?;
        self.sealer.seal_in_place(aad, iv, data, icv).ok()?;
        Some(message)
    }

    /// The decrypted chain of a message whose only payload is SK: type of the first payload, and the octets.
    /// `None`: not authentic, or not of that form.
    pub(crate) fn open(&self, header: &Header, message: &[u8]) -> Option<(u8, Vec<u8>)> {
        (header.next == SEALED).then(|| self.open_payload(message, 0)).flatten()
    }

    /// One fragment of a chain (RFC 7383 §2.5); `None` as for [`Self::open`].
    pub(crate) fn open_fragment(&self, header: &Header, message: &[u8]) -> Option<Fragment> {
        let fields = message.get(HEADER_LEN + 4..)?.first_chunk::<FRAGMENT_FIELDS>()?;
        let [number, total] = [[fields[0], fields[1]], [fields[2], fields[3]]].map(u16::from_be_bytes);
        if header.next != FRAGMENT || number == 0 || number > total {
            return None;
        }
        let (first, part) = self.open_payload(message, FRAGMENT_FIELDS)?;
        Some(Fragment { number, total, first, part })
    }

    fn open_payload(&self, message: &[u8], fields: usize) -> Option<(u8, Vec<u8>)> {
        let suite = self.opener.suite();
        let (aad, rest) = message.split_at_checked(HEADER_LEN + 4 + fields)?;
        let [first, _, high, low] = *aad.get(HEADER_LEN..)?.first_chunk::<4>()?;
        if usize::from(u16::from_be_bytes([high, low])) + HEADER_LEN != message.len() {
            return None;
        }
        let (iv, rest) = rest.split_at_checked(suite.iv_len())?;
        let (data, icv) = rest.split_at_checked(rest.len().checked_sub(suite.icv_len())?)?;
        let mut data = data.to_vec();
        self.opener.open_in_place(aad, iv, &mut data, icv).ok()?;
        let padding = usize::from(data.pop()?);
        data.truncate(data.len().checked_sub(padding)?);
        Some((first, data))
    }
}

/// Octets of a fragment's number and of how many there are.
const FRAGMENT_FIELDS: usize = 4;

/// An authentic fragment.
pub(crate) struct Fragment {
    /// From 1 to `total`.
    pub(crate) number: u16,
    pub(crate) total: u16,
    /// Type of the chain's first payload; of the first fragment only.
    pub(crate) first: u8,
    pub(crate) part: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use causeway_model::suite::{DhGroup, Encryption, Integrity};
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Exchange;

    fn pair(encryption: Encryption) -> (IkeKeys, IkeKeys) {
        let integrity = (!encryption.is_aead()).then_some(Integrity::Sha384);
        let suite = IkeSuite { encryption, integrity, prf: Integrity::Sha384, group: DhGroup::Curve25519 };
        let keys = |initiator| {
            let inputs = Inputs { suite, nonce_i: &[1; 32], nonce_r: &[2; 32], spi_i: 3, spi_r: 4, initiator };
            IkeKeys::first(inputs, &Secret::new(vec![5; 32])).expect("a suite that works")
        };
        (keys(true), keys(false))
    }

    fn header() -> Header {
        Header {
            spi_i: 3,
            spi_r: 4,
            next: 0,
            exchange: Exchange::Informational,
            from_initiator: true,
            response: false,
            id: 9,
        }
    }

    proptest! {
        #[test]
        fn what_one_end_seals_only_the_other_opens(length in 0usize..200, flip in any::<prop::sample::Index>(), suite in 0usize..9) {
            let (mut initiator, responder) = pair(Encryption::ALL[suite]);
            let mut chain = Chain::new();
            if length > 0 {
                chain.push(40, &[&vec![7; length]]);
            }
            let message = initiator.seal(header(), &chain).expect("sealed");
            let (read, _) = Header::decode(&message).expect("a header");
            prop_assert_eq!(responder.open(&read, &message), Some((chain.first, chain.bytes.clone())));
            prop_assert_eq!(initiator.open(&read, &message), None);
            prop_assert_ne!(initiator.seal(header(), &chain).expect("sealed"), &message[..]);

            let mut altered = message.clone();
            altered[flip.index(message.len())] ^= 0x10;
            if let Ok((read, _)) = Header::decode(&altered) {
                prop_assert_eq!(responder.open(&read, &altered), None);
            }
            let cut = &message[..flip.index(message.len())];
            prop_assert_eq!(responder.open(&read, cut), None);
        }
    }

    proptest! {
        #[test]
        fn fragments_are_short_and_make_the_whole_again(length in 0usize..5000, limit in 200usize..1500, suite in 0usize..9) {
            let (mut initiator, responder) = pair(Encryption::ALL[suite]);
            let mut chain = Chain::new();
            chain.push(40, &[&vec![7; length]]);
            let messages = initiator.seal_fragments(header(), &chain, limit).expect("sealed");
            prop_assert!(messages.iter().all(|message| message.len() <= limit));
            let mut whole = Vec::new();
            for (position, message) in messages.iter().enumerate() {
                let (read, _) = Header::decode(message).expect("a header");
                if let Some((first, inner)) = responder.open(&read, message) {
                    prop_assert_eq!((messages.len(), first), (1, chain.first));
                    whole = inner;
                } else {
                    let fragment = responder.open_fragment(&read, message).expect("authentic");
                    prop_assert_eq!(usize::from(fragment.number), position + 1);
                    prop_assert_eq!(usize::from(fragment.total), messages.len());
                    prop_assert_eq!(fragment.first, if position == 0 { chain.first } else { 0 });
                    whole.extend_from_slice(&fragment.part);
                    // Its number is authenticated.
                    let mut altered = message.clone();
                    altered[HEADER_LEN + 5] ^= 1;
                    prop_assert!(responder.open_fragment(&read, &altered).is_none());
                }
            }
            prop_assert_eq!(whole, chain.bytes);
        }
    }

    #[test]
    fn rekeyed_and_child_keys_agree_and_depend_on_every_input() {
        let (initiator, responder) = pair(Encryption::Aes256);
        let suite = EspSuite { encryption: Encryption::Aes256Gcm, integrity: None, group: None, esn_named: true };
        let shared = Secret::new(vec![8; 32]);
        let (there, back) = initiator.child(suite, None, &[1; 16], &[2; 16]);
        assert_eq!((there.clone(), back.clone()), responder.child(suite, None, &[1; 16], &[2; 16]));
        assert_eq!(there.len(), 36);
        assert_ne!(there, back);
        assert_ne!(there, initiator.child(suite, Some(&shared), &[1; 16], &[2; 16]).0);
        assert_ne!(there, initiator.child(suite, None, &[3; 16], &[2; 16]).0);
    }
}
