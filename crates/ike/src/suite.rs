//! Negotiation (RFC 7296 §2.7, §3.3): from the tenant's list to proposals on the wire and back to one suite.

use std::fmt;

use causeway_model::Fault;
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};

use crate::codec::proposal::{PROTOCOL_ESP, PROTOCOL_IKE, TYPE_DH, TYPE_ENCR, TYPE_ESN, TYPE_INTEG, TYPE_PRF};
use crate::codec::{Proposal, Transform};

/// What an IKE SA negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IkeSuite {
    pub(crate) encryption: Encryption,
    /// `None` with an AEAD.
    pub(crate) integrity: Option<Integrity>,
    pub(crate) prf: Integrity,
    pub(crate) group: DhGroup,
}

impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        write!(f, "-prf{}-{}", self.prf, self.group)
    }
}

/// What a Child SA negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EspSuite {
    pub(crate) encryption: Encryption,
    /// `None` with an AEAD.
    pub(crate) integrity: Option<Integrity>,
    /// PFS; always `None` for the Child SA of IKE_AUTH.
    pub(crate) group: Option<DhGroup>,
    /// The peer named the ESN transform, so the answer has to as well.
    pub(crate) esn_named: bool,
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        self.integrity.map_or(Ok(()), |integrity| write!(f, "-{integrity}"))
    }
}

/// One proposal of ours before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct IkeOffer {
    encryption: Encryption,
    /// With AES-CBC one hash serves as integrity and PRF, so each hash is a proposal of its own.
    hashes: Vec<Integrity>,
    group: DhGroup,
}

fn ike_offers(ciphers: &[Cipher]) -> Vec<IkeOffer> {
    let mut offers = Vec::new();
    for cipher in ciphers {
        let group = cipher.dh_group.unwrap_or(DhGroup::Curve25519);
        let encryption = cipher.encryption;
        match cipher.integrity {
            Some(hash) => offers.push(IkeOffer { encryption, hashes: vec![hash], group }),
            None if encryption.is_aead() => {
                offers.push(IkeOffer { encryption, hashes: Integrity::ALL.to_vec(), group });
            }
            None => {
                offers.extend(Integrity::ALL.iter().map(|hash| IkeOffer { encryption, hashes: vec![*hash], group }));
            }
        }
    }
    offers.truncate(usize::from(u8::MAX));
    offers
}

/// The group that our first IKE_SA_INIT guesses.
pub(crate) fn preferred_ike_group(ciphers: &[Cipher]) -> DhGroup {
    ciphers.first().and_then(|cipher| cipher.dh_group).unwrap_or(DhGroup::Curve25519)
}

/// Whether one of the proposals allows `group`.
pub(crate) fn allows_group(ciphers: &[Cipher], group: DhGroup, default: Option<DhGroup>) -> bool {
    ciphers.iter().any(|cipher| cipher.dh_group.or(default) == Some(group))
}

/// Whether one of the proposals is `suite`.
pub(crate) fn allows_ike(ciphers: &[Cipher], suite: IkeSuite) -> bool {
    ike_offers(ciphers).iter().any(|offer| {
        (offer.encryption, offer.group) == (suite.encryption, suite.group) && offer.hashes.contains(&suite.prf)
    })
}

/// The SA payload of a request to make an IKE SA. `spi` is empty in IKE_SA_INIT.
pub(crate) fn propose_ike(ciphers: &[Cipher], spi: &[u8]) -> Vec<Proposal> {
    number(ike_offers(ciphers).iter().map(|offer| {
        let mut transforms = vec![encryption_transform(offer.encryption)];
        transforms.extend(offer.hashes.iter().map(|hash| Transform::new(TYPE_PRF, prf_id(*hash))));
        if !offer.encryption.is_aead() {
            transforms.extend(offer.hashes.iter().map(|hash| Transform::new(TYPE_INTEG, integrity_id(*hash))));
        }
        transforms.push(Transform::new(TYPE_DH, offer.group.iana()));
        (PROTOCOL_IKE, spi.to_vec(), transforms)
    }))
}

/// The SA payload of a request to make a Child SA; `with_group` everywhere but in IKE_AUTH.
pub(crate) fn propose_esp(ciphers: &[Cipher], spi: u32, with_group: bool) -> Vec<Proposal> {
    number(ciphers.iter().take(usize::from(u8::MAX)).map(|cipher| {
        let mut transforms = vec![encryption_transform(cipher.encryption)];
        let hashes = esp_hashes(cipher);
        transforms.extend(hashes.iter().map(|hash| Transform::new(TYPE_INTEG, integrity_id(*hash))));
        if let Some(group) = cipher.dh_group.filter(|_| with_group) {
            transforms.push(Transform::new(TYPE_DH, group.iana()));
        }
        transforms.push(Transform::new(TYPE_ESN, 0));
        (PROTOCOL_ESP, spi.to_be_bytes().to_vec(), transforms)
    }))
}

fn esp_hashes(cipher: &Cipher) -> Vec<Integrity> {
    if cipher.encryption.is_aead() {
        Vec::new()
    } else {
        cipher.integrity.map_or_else(|| Integrity::ALL.to_vec(), |hash| vec![hash])
    }
}

fn number(proposals: impl Iterator<Item = (u8, Vec<u8>, Vec<Transform>)>) -> Vec<Proposal> {
    proposals
        .zip(1u8..=u8::MAX)
        .map(|((protocol, spi, transforms), number)| Proposal { number, protocol, spi, transforms })
        .collect()
}

/// A suite that both sides can, and the proposal of the peer's that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen<S> {
    pub(crate) suite: S,
    pub(crate) number: u8,
    /// The peer's SPI as the proposal carries it.
    pub(crate) spi: Vec<u8>,
}

/// The first of OUR entries that one of the peer's proposals contains.
pub(crate) fn choose_ike(ciphers: &[Cipher], theirs: &[Proposal], spi_len: usize) -> Option<Chosen<IkeSuite>> {
    let usable = |proposal: &&Proposal| proposal.protocol == PROTOCOL_IKE && proposal.spi.len() == spi_len;
    ike_offers(ciphers).iter().find_map(|offer| {
        theirs.iter().filter(usable).find_map(|proposal| {
            let suite = match_ike(offer, proposal)?;
            Some(Chosen { suite, number: proposal.number, spi: proposal.spi.clone() })
        })
    })
}

/// The same for a Child SA; `with_group` everywhere but in IKE_AUTH, where the group is ignored (RFC 7296 §1.2).
pub(crate) fn choose_esp(ciphers: &[Cipher], theirs: &[Proposal], with_group: bool) -> Option<Chosen<EspSuite>> {
    let usable = |proposal: &&Proposal| proposal.protocol == PROTOCOL_ESP && proposal.spi.len() == 4;
    ciphers.iter().find_map(|cipher| {
        theirs.iter().filter(usable).find_map(|proposal| {
            let suite = match_esp(cipher, proposal, with_group)?;
            Some(Chosen { suite, number: proposal.number, spi: proposal.spi.clone() })
        })
    })
}

fn match_ike(offer: &IkeOffer, proposal: &Proposal) -> Option<IkeSuite> {
    // RFC 7296 §3.3.6: a proposal with a transform type that we do not know must not be chosen.
    if proposal.transforms.iter().any(|t| !matches!(t.kind, TYPE_ENCR | TYPE_PRF | TYPE_INTEG | TYPE_DH)) {
        return None;
    }
    let aead = offer.encryption.is_aead();
    has(proposal, encryption_transform(offer.encryption)).then_some(())?;
    has(proposal, Transform::new(TYPE_DH, offer.group.iana())).then_some(())?;
    let prf = *offer.hashes.iter().find(|hash| {
        has(proposal, Transform::new(TYPE_PRF, prf_id(**hash)))
            && (aead || has(proposal, Transform::new(TYPE_INTEG, integrity_id(**hash))))
    })?;
    if aead && !absent_or_none(proposal, TYPE_INTEG) {
        return None;
    }
    let integrity = (!aead).then_some(prf);
    Some(IkeSuite { encryption: offer.encryption, integrity, prf, group: offer.group })
}

fn match_esp(cipher: &Cipher, proposal: &Proposal, with_group: bool) -> Option<EspSuite> {
    if proposal.transforms.iter().any(|t| !matches!(t.kind, TYPE_ENCR | TYPE_INTEG | TYPE_DH | TYPE_ESN)) {
        return None;
    }
    has(proposal, encryption_transform(cipher.encryption)).then_some(())?;
    let hashes = esp_hashes(cipher);
    let integrity = hashes.iter().copied().find(|hash| has(proposal, Transform::new(TYPE_INTEG, integrity_id(*hash))));
    if integrity.is_none() && !(hashes.is_empty() && absent_or_none(proposal, TYPE_INTEG)) {
        return None;
    }
    let esn_named = proposal.transforms.iter().any(|t| t.kind == TYPE_ESN);
    if esn_named && !has(proposal, Transform::new(TYPE_ESN, 0)) {
        return None;
    }
    let group = cipher.dh_group.filter(|_| with_group);
    let group_fits = match group {
        Some(group) => has(proposal, Transform::new(TYPE_DH, group.iana())),
        None => !with_group || absent_or_none(proposal, TYPE_DH),
    };
    group_fits.then_some(EspSuite { encryption: cipher.encryption, integrity, group, esn_named })
}

fn has(proposal: &Proposal, wanted: Transform) -> bool {
    proposal.transforms.contains(&wanted)
}

fn absent_or_none(proposal: &Proposal, kind: u8) -> bool {
    let mut of_kind = proposal.transforms.iter().filter(|t| t.kind == kind).peekable();
    of_kind.peek().is_none() || of_kind.any(|t| t.id == 0)
}

/// The answer to the chosen proposal of an IKE SA.
pub(crate) fn answer_ike(suite: IkeSuite, number: u8, spi: &[u8]) -> Proposal {
    let mut transforms = vec![encryption_transform(suite.encryption), Transform::new(TYPE_PRF, prf_id(suite.prf))];
    transforms.extend(suite.integrity.map(|hash| Transform::new(TYPE_INTEG, integrity_id(hash))));
    transforms.push(Transform::new(TYPE_DH, suite.group.iana()));
    Proposal { number, protocol: PROTOCOL_IKE, spi: spi.to_vec(), transforms }
}

/// The answer to the chosen proposal of a Child SA.
pub(crate) fn answer_esp(suite: EspSuite, number: u8, spi: u32) -> Proposal {
    let mut transforms = vec![encryption_transform(suite.encryption)];
    transforms.extend(suite.integrity.map(|hash| Transform::new(TYPE_INTEG, integrity_id(hash))));
    transforms.extend(suite.group.map(|group| Transform::new(TYPE_DH, group.iana())));
    transforms.extend(suite.esn_named.then_some(Transform::new(TYPE_ESN, 0)));
    Proposal { number, protocol: PROTOCOL_ESP, spi: spi.to_be_bytes().to_vec(), transforms }
}

/// Reads the responder's choice: exactly one proposal, one transform of each type, all of them ours (RFC 7296 §3.3).
pub(crate) fn accept_ike(ciphers: &[Cipher], answer: &[Proposal], spi_len: usize) -> Option<Chosen<IkeSuite>> {
    let [proposal] = answer else { return None };
    one_of_each(proposal).then(|| choose_ike(ciphers, answer, spi_len)).flatten()
}

/// The same for a Child SA.
pub(crate) fn accept_esp(ciphers: &[Cipher], answer: &[Proposal], with_group: bool) -> Option<Chosen<EspSuite>> {
    let [proposal] = answer else { return None };
    one_of_each(proposal).then(|| choose_esp(ciphers, answer, with_group)).flatten()
}

fn one_of_each(proposal: &Proposal) -> bool {
    let mut kinds: Vec<u8> = proposal.transforms.iter().map(|transform| transform.kind).collect();
    kinds.sort_unstable();
    kinds.windows(2).all(|pair| pair[0] != pair[1])
}

const fn encryption_transform(encryption: Encryption) -> Transform {
    let (id, bits) = match encryption {
        Encryption::Aes128 => (12, Some(128)),
        Encryption::Aes192 => (12, Some(192)),
        Encryption::Aes256 => (12, Some(256)),
        Encryption::Aes128Ccm => (16, Some(128)),
        Encryption::Aes256Ccm => (16, Some(256)),
        Encryption::Aes128Gcm => (20, Some(128)),
        Encryption::Aes192Gcm => (20, Some(192)),
        Encryption::Aes256Gcm => (20, Some(256)),
        Encryption::ChaCha20Poly1305 => (28, None),
    };
    Transform::keyed(TYPE_ENCR, id, bits)
}

const fn prf_id(hash: Integrity) -> u16 {
    match hash {
        Integrity::Sha256 => 5,
        Integrity::Sha384 => 6,
        Integrity::Sha512 => 7,
    }
}

const fn integrity_id(hash: Integrity) -> u16 {
    match hash {
        Integrity::Sha256 => 12,
        Integrity::Sha384 => 13,
        Integrity::Sha512 => 14,
    }
}

/// A tenant's list as text.
pub(crate) fn describe_ciphers(ciphers: &[Cipher]) -> String {
    ciphers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// `fault` with the kinds of transform of which the two lists have none in common, as evidence `differs`. Where each kind has a common one and
/// no proposal has them together, it is the combination that differs.
pub(crate) fn with_difference(fault: Fault, ours: &[Proposal], theirs: &[Proposal]) -> Fault {
    let kinds = [(TYPE_ENCR, "encryption"), (TYPE_INTEG, "integrity"), (TYPE_PRF, "prf"), (TYPE_DH, "group")];
    let of = |list: &'_ [Proposal], kind: u8| -> Vec<Transform> {
        list.iter().flat_map(|proposal| &proposal.transforms).filter(|t| t.kind == kind).copied().collect()
    };
    let differs = |kind: u8| {
        let (ours, theirs) = (of(ours, kind), of(theirs, kind));
        !ours.is_empty() && !ours.iter().any(|transform| theirs.contains(transform))
    };
    let names: Vec<&str> = kinds.into_iter().filter(|(kind, _)| differs(*kind)).map(|(_, name)| name).collect();
    fault.with("differs", if names.is_empty() { "combination".to_owned() } else { names.join(", ") })
}

/// The peer's proposals as text; alternatives within one proposal are separated by `/`.
pub(crate) fn describe_proposals(proposals: &[Proposal]) -> String {
    // What an attacker may make us write into a reason is bounded.
    const MAX: usize = 16;
    let mut texts: Vec<String> = proposals.iter().take(MAX).map(describe_proposal).collect();
    if proposals.len() > MAX {
        texts.push(format!("{} more", proposals.len() - MAX));
    }
    texts.join(", ")
}

fn describe_proposal(proposal: &Proposal) -> String {
    let kinds = [TYPE_ENCR, TYPE_INTEG, TYPE_PRF, TYPE_DH];
    let mut parts: Vec<String> = kinds
        .iter()
        .map(|kind| {
            let of_kind = proposal.transforms.iter().filter(|transform| transform.kind == *kind).take(16);
            of_kind.map(describe_transform).collect::<Vec<_>>().join("/")
        })
        .filter(|part| !part.is_empty())
        .collect();
    if proposal.transforms.iter().any(|t| t.kind == TYPE_ESN && t.id == 1) {
        parts.push("esn".to_owned());
    }
    parts.join("-")
}

fn describe_transform(transform: &Transform) -> String {
    let known = match transform.kind {
        TYPE_ENCR => Encryption::ALL
            .iter()
            .find(|encryption| {
                let ours = encryption_transform(**encryption);
                ours.id == transform.id && ours.key_length == transform.key_length
            })
            .map(|encryption| encryption.as_str().to_owned()),
        TYPE_PRF => Integrity::ALL.iter().find(|hash| prf_id(**hash) == transform.id).map(|hash| format!("prf{hash}")),
        TYPE_INTEG => Integrity::ALL.iter().find(|hash| integrity_id(**hash) == transform.id).map(ToString::to_string),
        TYPE_DH => DhGroup::from_iana(transform.id).map(|group| group.to_string()),
        _ => None,
    };
    known.unwrap_or_else(|| {
        let name = match (transform.kind, transform.id) {
            (TYPE_ENCR, 3) => "3des",
            (TYPE_PRF, 2) => "prfsha1",
            (TYPE_PRF, 4) => "prfaesxcbc",
            (TYPE_PRF, 8) => "prfaescmac",
            (TYPE_INTEG, 2) => "sha1",
            (TYPE_INTEG, 5) => "aesxcbc",
            (TYPE_DH, 2) => "modp1024",
            (TYPE_DH, 5) => "modp1536",
            (_, 0) => "none",
            (TYPE_ENCR, id) => return format!("encr{id}"),
            (TYPE_PRF, id) => return format!("prf{id}"),
            (TYPE_INTEG, id) => return format!("integ{id}"),
            (_, id) => return format!("group{id}"),
        };
        name.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn cipher(encryption: Encryption, integrity: Option<Integrity>, dh_group: Option<DhGroup>) -> Cipher {
        Cipher { encryption, integrity, dh_group }
    }

    #[test]
    fn every_combination_agrees_with_itself() {
        for encryption in Encryption::ALL {
            for integrity in [None, Some(Integrity::Sha256), Some(Integrity::Sha384), Some(Integrity::Sha512)] {
                for group in DhGroup::ALL {
                    let list = [cipher(*encryption, integrity, Some(*group))];
                    let offer = propose_ike(&list, &[]);
                    let chosen = choose_ike(&list, &offer, 0).expect("our own offer");
                    assert_eq!(chosen.suite.integrity.is_none(), encryption.is_aead());
                    let answer = [answer_ike(chosen.suite, chosen.number, &[])];
                    assert_eq!(accept_ike(&list, &answer, 0), Some(chosen));

                    for with_group in [false, true] {
                        let offer = propose_esp(&list, 7, with_group);
                        let chosen = choose_esp(&list, &offer, with_group).expect("our own offer");
                        assert_eq!(chosen.spi, [0, 0, 0, 7]);
                        assert_eq!(chosen.suite.group.is_some(), with_group);
                        let answer = [answer_esp(chosen.suite, chosen.number, 7)];
                        assert_eq!(accept_esp(&list, &answer, with_group), Some(chosen));
                    }
                }
            }
        }
    }

    #[test]
    fn the_responder_follows_its_own_order() {
        let ours = [
            cipher(Encryption::Aes256Gcm, Some(Integrity::Sha384), Some(DhGroup::Ecp256)),
            cipher(Encryption::Aes128, Some(Integrity::Sha256), Some(DhGroup::Modp2048)),
        ];
        let theirs: Vec<Cipher> = ours.iter().rev().copied().collect();
        let chosen = choose_ike(&ours, &propose_ike(&theirs, &[]), 0).expect("common");
        assert_eq!((chosen.suite.encryption, chosen.number), (Encryption::Aes256Gcm, 2));
    }

    #[test]
    fn a_choice_must_be_single_and_ours() {
        let ours = [cipher(Encryption::Aes128Gcm, None, Some(DhGroup::Curve25519))];
        // Three PRFs: an offer, not a choice.
        assert_eq!(accept_ike(&ours, &propose_ike(&ours, &[]), 0), None);
        let other = [cipher(Encryption::Aes256Gcm, Some(Integrity::Sha256), Some(DhGroup::Curve25519))];
        assert_eq!(accept_ike(&ours, &propose_ike(&other, &[]), 0), None);
    }

    #[test]
    fn esn_only_unknown_types_and_unusable_transforms_are_not_chosen() {
        let ours = [cipher(Encryption::Aes128Gcm, None, None)];
        let mut offer = propose_esp(&ours, 1, true);
        offer[0].transforms.retain(|t| t.kind != TYPE_ESN);
        assert!(choose_esp(&ours, &offer, true).is_some_and(|chosen| !chosen.suite.esn_named));
        offer[0].transforms.push(Transform::new(TYPE_ESN, 1));
        assert_eq!(choose_esp(&ours, &offer, true), None);
        offer[0].transforms.push(Transform::new(TYPE_ESN, 0));
        assert!(choose_esp(&ours, &offer, true).is_some());
        offer[0].transforms.push(Transform::new(6, 35));
        assert_eq!(choose_esp(&ours, &offer, true), None);
        offer[0].transforms.pop();
        offer[0].transforms[0].unusable = true;
        assert_eq!(choose_esp(&ours, &offer, true), None);
    }

    #[test]
    fn pfs_is_agreed_or_refused() {
        let with = [cipher(Encryption::Aes128Gcm, None, Some(DhGroup::Ecp256))];
        let without = [cipher(Encryption::Aes128Gcm, None, None)];
        assert_eq!(choose_esp(&with, &propose_esp(&without, 1, true), true), None);
        assert_eq!(choose_esp(&without, &propose_esp(&with, 1, true), true), None);
        assert!(choose_esp(&without, &propose_esp(&with, 1, true), false).is_some());
    }

    #[test]
    fn texts_name_what_was_offered() {
        let list = [
            cipher(Encryption::Aes256, Some(Integrity::Sha256), Some(DhGroup::Modp2048)),
            cipher(Encryption::ChaCha20Poly1305, None, None),
        ];
        assert_eq!(
            describe_proposals(&propose_ike(&list, &[])),
            "aes256-sha256-prfsha256-modp2048, chacha20poly1305-prfsha256/prfsha384/prfsha512-curve25519"
        );
        assert_eq!(describe_proposals(&propose_esp(&list, 1, true)), "aes256-sha256-modp2048, chacha20poly1305");
        let weak = Proposal {
            number: 1,
            protocol: PROTOCOL_IKE,
            spi: vec![],
            transforms: vec![Transform::new(TYPE_ENCR, 3), Transform::new(TYPE_DH, 2), Transform::new(TYPE_ENCR, 99)],
        };
        assert_eq!(describe_proposals(&[weak]), "3des/encr99-modp1024");
    }
}
