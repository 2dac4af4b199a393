//! Peers that speak the protocol by hand: what they can do before, without and with authentication.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use causeway_crypto::{Entropy, KeyExchange, SeededEntropy};
use causeway_model::suite::{Cipher, DhGroup};
use causeway_model::{ConnectionId, Family, Psk, ReasonCode};
use proptest::prelude::*;

use super::child::our_selectors;
use super::init::lower;
use crate::codec::message::{ID_I, NONCE, notify};
use crate::codec::{Chain, Content, Exchange, Header};
use crate::endpoint::plain;
use crate::keys::{IkeKeys, Inputs};
use crate::suite::{accept_ike, propose_esp, propose_ike};
use crate::{Endpoint, EndpointConfig, Event, PeerConfig, PeerKey};

const SPI: u64 = 0x0102_0304_0506_0708;

/// An initiator that does what a test says, and the endpoint it attacks.
struct Hostile {
    endpoint: Endpoint,
    now: Instant,
    us: SocketAddr,
    peer: SocketAddr,
    keys: IkeKeys,
    spi_i: u64,
    spi_r: u64,
    next_id: u32,
    request: Vec<u8>,
    nonce_r: Vec<u8>,
    events: Vec<Event>,
}

fn key() -> PeerKey {
    PeerKey { connection: ConnectionId(Default::default()), family: Family::Ipv4 }
}

fn peer_config() -> PeerConfig {
    PeerConfig {
        key: key(),
        local: [192, 0, 2, 1].into(),
        remote: [192, 0, 2, 2].into(),
        local_identity: "192.0.2.1".parse().expect("identity"),
        remote_identity: "192.0.2.2".parse().expect("identity"),
        initiate: false,
        ike_proposals: vec![Cipher::DEFAULT_IKE],
        esp_proposals: vec![Cipher::DEFAULT_ESP],
        psks: vec![Psk::new(b"right".to_vec())],
        timers: Default::default(),
    }
}

/// IKE_SA_INIT with curve25519.
fn init_request(spi_i: u64, public: &[u8], nonce: &[u8]) -> Vec<u8> {
    let mut chain = Chain::new();
    chain.proposals(&propose_ike(&[Cipher::DEFAULT_IKE], &[]));
    chain.exchange(31, public);
    chain.push(NONCE, &[nonce]);
    chain.notify(notify::NAT_DETECTION_SOURCE_IP, &[0; 20]);
    let exchange = Exchange::Init;
    plain(Header { spi_i, spi_r: 0, next: 0, exchange, from_initiator: true, response: false, id: 0 }, &chain)
}

impl Hostile {
    /// After IKE_SA_INIT: it shares keys with the endpoint, but has proven nothing.
    fn connect() -> Self {
        let now = Instant::now();
        let mut endpoint = Endpoint::new(EndpointConfig::default(), Box::new(SeededEntropy::new(2)));
        endpoint.set_peer(now, peer_config());
        Self::open(endpoint, now, SPI)
    }

    /// One more IKE_SA_INIT at the same endpoint.
    fn connect_again(self) -> Self {
        let Self { endpoint, now, spi_i, events, .. } = self;
        Self { events, ..Self::open(endpoint, now, spi_i + 1) }
    }

    fn open(mut endpoint: Endpoint, now: Instant, spi_i: u64) -> Self {
        let (us, peer) = (SocketAddr::from(([192, 0, 2, 1], 500)), SocketAddr::from(([192, 0, 2, 2], 500)));
        let mut entropy = SeededEntropy::new(spi_i);
        let exchange = KeyExchange::generate(DhGroup::Curve25519, &mut entropy).expect("a key pair");
        let mut nonce_i = vec![0; 32];
        entropy.fill(&mut nonce_i);
        let request = init_request(spi_i, exchange.public(), &nonce_i);
        endpoint.handle_datagram(now, us, peer, &request);
        let response = endpoint.poll_transmit().expect("an answer").payload;
        let (header, body) = Header::decode(&response).expect("a header");
        let content = Content::decode(header.next, body).expect("payloads");
        let suite = accept_ike(&[Cipher::DEFAULT_IKE], &content.proposals.expect("SA"), 0).expect("ours").suite;
        let shared = exchange.agree(&content.exchange.expect("KE").1).expect("a secret");
        let nonce_r = content.nonce.expect("a nonce");
        let spi_r = header.spi_r;
        let inputs = Inputs { suite, nonce_i: &nonce_i, nonce_r: &nonce_r, spi_i, spi_r, initiator: true };
        let keys = IkeKeys::first(inputs, &shared).expect("keys");
        Self { endpoint, now, us, peer, keys, spi_i, spi_r, next_id: 1, request, nonce_r, events: Vec::new() }
    }

    /// Rekeys the IKE SA and goes on with the new one, without deleting the old. The error, if it is refused.
    fn rekey(&mut self) -> Result<(), u16> {
        let spi_i = self.spi_i + (1 << 32);
        let mut entropy = SeededEntropy::new(spi_i);
        let exchange = KeyExchange::generate(DhGroup::Curve25519, &mut entropy).expect("a key pair");
        let mut chain = Chain::new();
        chain.proposals(&propose_ike(&[Cipher::DEFAULT_IKE], &spi_i.to_be_bytes()));
        chain.push(NONCE, &[&[3; 32]]);
        chain.exchange(31, exchange.public());
        let content = self.ask(Exchange::CreateChild, &chain).expect("an answer");
        if let Some(error) = content.error() {
            return Err(error.kind);
        }
        let chosen = accept_ike(&[Cipher::DEFAULT_IKE], &content.proposals.expect("SA"), 8).expect("ours");
        let shared = exchange.agree(&content.exchange.expect("KE").1).expect("a secret");
        let spi_r = u64::from_be_bytes(chosen.spi.try_into().expect("eight octets"));
        let nonce_r = content.nonce.expect("a nonce");
        let inputs =
            Inputs { suite: chosen.suite, nonce_i: &[3; 32], nonce_r: &nonce_r, spi_i, spi_r, initiator: true };
        self.keys = self.keys.rekeyed(inputs, &shared).expect("keys");
        (self.spi_i, self.spi_r, self.next_id) = (spi_i, spi_r, 0);
        Ok(())
    }

    /// Sends one request; the answer, if there is one.
    fn ask(&mut self, exchange: Exchange, chain: &Chain) -> Option<Content> {
        let header = Header {
            spi_i: self.spi_i,
            spi_r: self.spi_r,
            next: 0,
            exchange,
            from_initiator: true,
            response: false,
            id: self.next_id,
        };
        let message = self.keys.seal(header, chain).expect("sealed");
        self.endpoint.handle_datagram(self.now, self.us, self.peer, &message);
        while let Some(event) = self.endpoint.poll_event() {
            self.events.push(event);
        }
        let answer = self.endpoint.poll_transmit()?.payload;
        let (header, _) = Header::decode(&answer).expect("a header");
        if !header.response {
            return None;
        }
        self.next_id += 1;
        let (first, inner) = self.keys.open(&header, &answer).expect("authentic");
        Some(Content::decode(first, &inner).expect("payloads"))
    }

    fn authenticate(&mut self, psk: &[u8]) -> Option<Content> {
        let identity = peer_config().remote_identity.body();
        let auth = self.keys.auth(true, psk, &self.request, &self.nonce_r, &identity);
        let mut chain = Chain::new();
        chain.push(ID_I, &[&identity]);
        chain.auth(2, auth.slice());
        chain.proposals(&propose_esp(&[Cipher::DEFAULT_ESP], 0x0a0b_0c0d, false));
        chain.selectors(&our_selectors(), &our_selectors());
        self.ask(Exchange::Auth, &chain)
    }

    fn child_request() -> Chain {
        let mut entropy = SeededEntropy::new(9);
        let exchange = KeyExchange::generate(DhGroup::Curve25519, &mut entropy).expect("a key pair");
        let mut chain = Chain::new();
        chain.proposals(&propose_esp(&[Cipher::DEFAULT_ESP], 0x0102_0304, true));
        chain.push(NONCE, &[&[7; 32]]);
        chain.exchange(31, exchange.public());
        chain.selectors(&our_selectors(), &our_selectors());
        chain
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.endpoint.drops().get(reason).copied().unwrap_or_default()
    }

    fn failed(&self, code: ReasonCode) -> bool {
        self.events.iter().any(|event| matches!(event, Event::AttemptFailed { fault, .. } if fault.code == code))
    }
}

#[test]
fn nothing_but_ike_auth_is_taken_before_authentication() {
    let mut hostile = Hostile::connect();
    assert_eq!(hostile.ask(Exchange::CreateChild, &Hostile::child_request()), None);
    assert_eq!(hostile.ask(Exchange::Informational, &Chain::new()), None);
    assert_eq!(hostile.dropped("unexpected_exchange"), 2);
    assert_eq!(hostile.events, []);
    // The same SA still lets the rightful peer in.
    assert!(hostile.authenticate(b"right").is_some_and(|answer| answer.auth.is_some()));
    assert!(hostile.events.iter().any(|event| matches!(event, Event::ChildInstalled { .. })));
}

#[test]
fn after_a_failed_authentication_nothing_is_taken_at_all() {
    let mut hostile = Hostile::connect();
    let answer = hostile.authenticate(b"wrong").expect("an answer");
    assert!(answer.notify(notify::AUTHENTICATION_FAILED).is_some() && answer.auth.is_none());
    assert!(hostile.failed(ReasonCode::AuthenticationFailed));
    assert_eq!(hostile.authenticate(b"right"), None);
    assert_eq!(hostile.ask(Exchange::CreateChild, &Hostile::child_request()), None);
    assert_eq!(hostile.ask(Exchange::Informational, &Chain::new()), None);
    assert_eq!(hostile.dropped("unexpected_exchange"), 3);
    hostile.endpoint.handle_timeout(hostile.now + Duration::from_secs(60));
    assert_eq!(hostile.endpoint.poll_timeout(), None, "and nothing is left of it");
}

#[test]
fn ike_auth_without_auth_is_refused() {
    let mut hostile = Hostile::connect();
    let mut chain = Chain::new();
    chain.push(ID_I, &[&peer_config().remote_identity.body()]);
    let answer = hostile.ask(Exchange::Auth, &chain).expect("an answer");
    assert!(answer.notify(notify::AUTHENTICATION_FAILED).is_some());
}

#[test]
fn an_unknown_critical_payload_is_named() {
    let mut hostile = Hostile::connect();
    hostile.authenticate(b"right").expect("an answer");
    let mut chain = Chain::new();
    chain.push(200, &[&[]]);
    chain.bytes[1] = 0x80;
    let answer = hostile.ask(Exchange::Informational, &chain).expect("an answer");
    assert_eq!(answer.notify(notify::UNSUPPORTED_CRITICAL_PAYLOAD).map(|notify| &notify.data[..]), Some(&[200][..]));
    // The SA lives on.
    assert_eq!(hostile.ask(Exchange::Informational, &Chain::new()), Some(Content::default()));
}

#[test]
fn an_authentic_message_that_breaks_the_protocol_ends_the_sa_with_a_reason() {
    let mut hostile = Hostile::connect();
    hostile.authenticate(b"right").expect("an answer");
    let mut chain = Chain::new();
    chain.push(NONCE, &[&[1; 3]]);
    let answer = hostile.ask(Exchange::CreateChild, &chain).expect("an answer");
    assert!(answer.notify(notify::INVALID_SYNTAX).is_some());
    let down =
        |event: &Event| matches!(event, Event::TunnelDown { fault, .. } if fault.code == ReasonCode::MalformedMessage);
    assert!(hostile.events.iter().any(down));
}

#[test]
fn one_peer_cannot_make_child_sas_without_end() {
    let mut hostile = Hostile::connect();
    hostile.authenticate(b"right").expect("an answer");
    let answers: Vec<_> =
        (0..40).filter_map(|_| hostile.ask(Exchange::CreateChild, &Hostile::child_request())).collect();
    let refused = answers.iter().filter(|answer| answer.notify(notify::NO_ADDITIONAL_SAS).is_some()).count();
    assert_eq!((answers.len(), refused), (40, 40 - (EndpointConfig::default().max_children - 1)));
}

#[test]
fn a_rekey_of_what_is_not_there_is_refused_as_the_rfc_says() {
    let mut hostile = Hostile::connect();
    hostile.authenticate(b"right").expect("an answer");
    let mut chain = Hostile::child_request();
    chain.notify_esp(notify::REKEY_SA, 0xdead_beef);
    let answer = hostile.ask(Exchange::CreateChild, &chain).expect("an answer");
    let refusal = answer.notify(notify::CHILD_SA_NOT_FOUND).expect("CHILD_SA_NOT_FOUND");
    assert_eq!(refusal.spi, 0xdead_beef_u32.to_be_bytes());
    // Deleting what is not there is answered with nothing.
    let mut chain = Chain::new();
    chain.delete_esp(&[1, 2, 3]);
    assert_eq!(hostile.ask(Exchange::Informational, &chain), Some(Content::default()));
    let mut chain = Chain::new();
    chain.delete_esp(&[0x0a0b_0c0d]);
    let answer = hostile.ask(Exchange::Informational, &chain).expect("an answer");
    assert_eq!(answer.deletes.len(), 1);
}

/// The fault of the last attempt that failed.
fn last_failure(hostile: &Hostile) -> causeway_model::Fault {
    let mut faults = hostile.events.iter().filter_map(|event| match event {
        Event::AttemptFailed { fault, .. } | Event::Trouble { fault, .. } => Some(fault.clone()),
        _ => None,
    });
    faults.next_back().expect("a failure")
}

#[test]
fn what_is_wrong_with_a_child_sa_is_told_apart() {
    use crate::codec::{Proposal, Selector};
    let mut hostile = Hostile::connect();
    hostile.authenticate(b"right").expect("an answer");
    let group = Cipher { dh_group: Some(DhGroup::Ecp256), ..Cipher::DEFAULT_ESP };
    let other = Cipher { encryption: causeway_model::suite::Encryption::Aes128Gcm, ..Cipher::DEFAULT_ESP };
    let esp = |cipher: Cipher| propose_esp(&[cipher], 0x0102_0304, true);
    let ah =
        esp(Cipher::DEFAULT_ESP).into_iter().map(|proposal| Proposal { protocol: 2, ..proposal }).collect::<Vec<_>>();
    let host = |last: u8| {
        let address = std::net::IpAddr::from([192, 0, 2, last]);
        vec![Selector::Range { protocol: 0, ports: (0, u16::MAX), addresses: (address, address) }]
    };
    let cases = [
        (esp(group), false, ReasonCode::PfsMismatch, Some("aes256gcm-curve25519"), None),
        (ah, false, ReasonCode::AhOffered, Some("aes256gcm-curve25519"), None),
        (esp(other), false, ReasonCode::ChildNoProposalChosen, Some("aes256gcm-curve25519"), Some("encryption")),
        (esp(Cipher::DEFAULT_ESP), true, ReasonCode::TransportMode, Some("0.0.0.0/0,::/0"), None),
    ];
    for (proposals, transport, code, ours, differs) in cases {
        let exchange = KeyExchange::generate(DhGroup::Curve25519, &mut SeededEntropy::new(9)).expect("a key pair");
        let mut chain = Chain::new();
        if transport {
            chain.notify(notify::USE_TRANSPORT_MODE, &[]);
        }
        chain.proposals(&proposals);
        chain.push(NONCE, &[&[7; 32]]);
        chain.exchange(31, exchange.public());
        let (i, r) = if transport { (host(2), host(1)) } else { (our_selectors(), our_selectors()) };
        chain.selectors(&i, &r);
        let answer = hostile.ask(Exchange::CreateChild, &chain).expect("an answer");
        assert!(answer.error().is_some(), "{code}");
        let fault = last_failure(&hostile);
        assert_eq!((fault.code, fault.ours.as_deref()), (code, ours));
        assert!(fault.theirs.as_ref().is_some_and(|theirs| !theirs.is_empty()), "{fault:?}");
        assert_eq!(fault.evidence.get("differs").map(String::as_str), differs);
    }
}

#[test]
fn a_deleted_child_sa_and_a_deleted_ike_sa_are_told_apart() {
    for (only_child, code) in [(true, ReasonCode::PeerDeletedChild), (false, ReasonCode::PeerDeletedSa)] {
        let mut hostile = Hostile::connect();
        hostile.authenticate(b"right").expect("an answer");
        let mut chain = Chain::new();
        if only_child {
            chain.delete_esp(&[0x0a0b_0c0d]);
        } else {
            chain.delete_ike();
        }
        hostile.ask(Exchange::Informational, &chain).expect("an answer");
        let down = hostile.events.iter().find_map(|event| match event {
            Event::TunnelDown { fault, .. } => Some(fault.code),
            _ => None,
        });
        assert_eq!(down, Some(code));
    }
}

#[test]
fn a_peer_that_does_not_look_for_nat_gets_no_tunnel_and_a_reason() {
    let now = Instant::now();
    let (us, peer) = (SocketAddr::from(([192, 0, 2, 1], 500)), SocketAddr::from(([192, 0, 2, 2], 500)));
    let mut endpoint = Endpoint::new(EndpointConfig::default(), Box::new(SeededEntropy::new(2)));
    endpoint.set_peer(now, peer_config());
    let exchange = KeyExchange::generate(DhGroup::Curve25519, &mut SeededEntropy::new(3)).expect("a key pair");
    let mut chain = Chain::new();
    chain.proposals(&propose_ike(&[Cipher::DEFAULT_IKE], &[]));
    chain.exchange(31, exchange.public());
    chain.push(NONCE, &[&[5; 32]]);
    let (kind, spi_i) = (Exchange::Init, SPI);
    let header = Header { spi_i, spi_r: 0, next: 0, exchange: kind, from_initiator: true, response: false, id: 0 };
    endpoint.handle_datagram(now, us, peer, &plain(header, &chain));
    let answer = endpoint.poll_transmit().expect("an answer").payload;
    let (header, body) = Header::decode(&answer).expect("a header");
    let content = Content::decode(header.next, body).expect("payloads");
    assert!(content.notify(notify::NO_PROPOSAL_CHOSEN).is_some() && header.spi_r == 0);
    let event = endpoint.poll_event().expect("an event");
    assert!(matches!(event, Event::AttemptFailed { fault, .. } if fault.code == ReasonCode::NatTraversalOff));
}

#[test]
fn a_message_of_which_fragments_are_missing_is_the_reason() {
    let mut hostile = Hostile::connect();
    hostile.endpoint.sas.values_mut().for_each(|sa| sa.fragments = true);
    let mut chain = Chain::new();
    (0..3).for_each(|_| chain.push(200, &[&[0; 1000]]));
    let (spi_i, spi_r, exchange) = (SPI, hostile.spi_r, Exchange::Auth);
    let header = Header { spi_i, spi_r, next: 0, exchange, from_initiator: true, response: false, id: 1 };
    let messages = hostile.keys.seal_fragments(header, &chain, 1200).expect("sealed");
    hostile.endpoint.handle_datagram(hostile.now, hostile.us, hostile.peer, &messages[0]);
    while let Some((at, _)) = hostile.endpoint.poll_timeout() {
        if hostile.endpoint.sas.is_empty() {
            break;
        }
        hostile.now = hostile.now.max(at);
        hostile.endpoint.handle_timeout(hostile.now);
    }
    hostile.events.extend(std::iter::from_fn(|| hostile.endpoint.poll_event()));
    let fault = last_failure(&hostile);
    assert_eq!(fault.code, ReasonCode::FragmentsIncomplete);
    assert_eq!(fault.evidence["fragments_arrived"], format!("1 of {}", messages.len()));
}

#[test]
fn lowest_nonces_compare_as_octet_strings() {
    assert_eq!(lower(&[1, 255], &[2]), [1, 255]);
    assert_eq!(lower(&[1, 2], &[1]), [1]);
}

#[test]
fn a_worthless_public_value_counts_against_the_limits_like_any_other() {
    let mut hostile = Hostile::connect();
    for number in 0..100u64 {
        // The point of order one: both sides' shared secret is zero (RFC 8031 §2).
        let request = init_request(number + 1, &[0; 32], &[1; 32]);
        hostile.endpoint.handle_datagram(hostile.now, hostile.us, hostile.peer, &request);
    }
    // One half-open SA was there before.
    assert_eq!((hostile.dropped("malformed"), hostile.dropped("cookie_demanded")), (3, 97));
    let short = init_request(1000, &[9; 31], &[1; 32]);
    let mut fresh = Hostile::connect();
    fresh.endpoint.handle_datagram(fresh.now, fresh.us, fresh.peer, &short);
    assert_eq!((fresh.dropped("malformed"), fresh.endpoint.sas.len()), (1, 1), "no key exchange is spent on it");
    let later = hostile.now + Duration::from_secs(60);
    hostile.endpoint.handle_timeout(later);
    assert!(hostile.endpoint.sas.is_empty() && hostile.endpoint.inits.is_empty());
}

#[test]
fn what_is_kept_of_a_stranger_is_small() {
    let mut hostile = Hostile::connect();
    let request = init_request(7, &[9; 32], &[1; 32]);
    let mut chain = Chain::new();
    (0..40).for_each(|_| chain.push(200, &[&[0; 1000]]));
    let mut long = [&request[..], &chain.bytes].concat();
    let length = u32::try_from(long.len()).expect("short").to_be_bytes();
    long[24..28].copy_from_slice(&length);
    hostile.endpoint.handle_datagram(hostile.now, hostile.us, hostile.peer, &long);
    assert_eq!((hostile.dropped("oversized"), hostile.endpoint.sas.len()), (1, 1));
}

#[test]
fn forged_refusals_are_told_once_in_a_while() {
    let mut hostile = Hostile::connect();
    let mut chain = Chain::new();
    let weak = Cipher { dh_group: Some(DhGroup::Modp2048), ..Cipher::DEFAULT_IKE };
    chain.proposals(&propose_ike(&[weak], &[]));
    chain.exchange(14, &[1; 256]);
    chain.push(NONCE, &[&[1; 32]]);
    for number in 0..50 {
        let header = Header { spi_i: number + 1, ..Header::decode(&hostile.request).expect("a header").0 };
        let request = plain(header, &chain);
        hostile.endpoint.handle_datagram(hostile.now, hostile.us, hostile.peer, &request);
    }
    let told = std::iter::from_fn(|| hostile.endpoint.poll_event()).count();
    assert_eq!((told, hostile.dropped("no_proposal_chosen")), (1, 50));
}

#[test]
fn ike_auth_comes_by_the_addresses_of_ike_sa_init() {
    let mut hostile = Hostile::connect();
    let mut other = peer_config();
    other.key.connection = ConnectionId::random();
    other.remote = [192, 0, 2, 3].into();
    hostile.endpoint.set_peer(hostile.now, other);
    hostile.peer.set_ip([192, 0, 2, 3].into());
    assert_eq!(hostile.authenticate(b"right"), None);
    assert_eq!(hostile.dropped("foreign_address"), 1);
    // Another port is what a NAT makes of it.
    hostile.peer = ([192, 0, 2, 2], 61_000).into();
    assert!(hostile.authenticate(b"right").is_some_and(|answer| answer.auth.is_some()));
}

#[test]
fn an_authenticated_peer_cannot_point_the_tunnel_at_others() {
    let mut hostile = Hostile::connect();
    hostile.authenticate(b"right").expect("an answer");
    let moved =
        |hostile: &Hostile| hostile.events.iter().filter(|event| matches!(event, Event::RemoteMoved { .. })).count();
    hostile.peer = ([198, 51, 100, 9], 4500).into();
    assert!(hostile.ask(Exchange::Informational, &Chain::new()).is_some(), "answered where it came from");
    assert_eq!((moved(&hostile), hostile.dropped("foreign_address")), (0, 1));
    hostile.endpoint.handle_timeout(hostile.now + Duration::from_secs(6));
    let liveness = hostile.endpoint.poll_transmit().expect("a liveness check");
    assert_eq!(liveness.remote, SocketAddr::from(([192, 0, 2, 2], 500)));
    // Its own other ports it may use.
    hostile.peer = ([192, 0, 2, 2], 61_000).into();
    hostile.us.set_port(4500);
    hostile.ask(Exchange::Informational, &Chain::new());
    assert_eq!(moved(&hostile), 1);
    hostile.us.set_port(500);
    hostile.ask(Exchange::Informational, &Chain::new());
    assert_eq!((moved(&hostile), hostile.dropped("foreign_address")), (1, 2), "but never back from the encapsulation");
}

#[test]
fn one_peer_cannot_make_ike_sas_without_end() {
    let limit = EndpointConfig::default().max_ike_sas;
    let mut hostile = Hostile::connect();
    for _ in 0..40 {
        assert!(hostile.authenticate(b"right").is_some_and(|answer| answer.auth.is_some()));
        assert!(hostile.endpoint.sas.len() <= limit);
        hostile = hostile.connect_again();
    }
    assert_eq!(hostile.dropped("ike_sa_limit"), 40 - u64::try_from(limit).expect("small"));
    let count = |wanted: fn(&Event) -> bool| hostile.events.iter().filter(|event| wanted(event)).count();
    let installed = count(|event| matches!(event, Event::ChildInstalled { .. }));
    let removed = count(|event| matches!(event, Event::ChildRemoved { .. }));
    assert_eq!(installed - removed, limit);
}

#[test]
fn one_peer_cannot_rekey_without_end() {
    let limit = EndpointConfig::default().max_ike_sas;
    let mut hostile = Hostile::connect();
    hostile.authenticate(b"right").expect("an answer");
    let outcomes: Vec<_> = (0..20).map(|_| hostile.rekey()).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), limit - 1);
    assert_eq!(outcomes.last(), Some(&Err(notify::TEMPORARY_FAILURE)));
    // A peer that does delete what it replaced, or waits, goes on.
    hostile.now += super::REPLACED_WAIT;
    let mut answered = hostile.ask(Exchange::Informational, &Chain::new());
    answered.get_or_insert_default();
    assert_eq!(hostile.rekey(), Ok(()));
    assert!(!hostile.events.iter().any(|event| matches!(event, Event::TunnelDown { .. })));
}

#[test]
fn a_suite_that_was_withdrawn_meanwhile_authenticates_nobody() {
    let mut hostile = Hostile::connect();
    let strong = Cipher { dh_group: Some(DhGroup::Ecp384), ..Cipher::DEFAULT_IKE };
    hostile.endpoint.set_peer(hostile.now, PeerConfig { ike_proposals: vec![strong], ..peer_config() });
    let answer = hostile.authenticate(b"right").expect("an answer");
    assert!(answer.notify(notify::AUTHENTICATION_FAILED).is_some() && answer.auth.is_none());
    assert!(hostile.failed(ReasonCode::NoProposalChosen));
}

#[test]
fn what_is_collected_of_fragments_is_bounded_and_only_of_the_message_that_is_awaited() {
    let mut hostile = Hostile::connect();
    hostile.endpoint.sas.values_mut().for_each(|sa| sa.fragments = true);
    let mut chain = Chain::new();
    (0..60).for_each(|_| chain.push(200, &[&[0; 1000]]));
    let header = Header {
        spi_i: SPI,
        spi_r: hostile.spi_r,
        next: 0,
        exchange: Exchange::Auth,
        from_initiator: true,
        response: false,
        id: 1,
    };
    let held = |hostile: &Hostile| hostile.endpoint.sas.values().map(super::IkeSa::collected).sum::<usize>();
    // Too many pieces; then large ones.
    for limit in [600, 2000] {
        let messages = hostile.keys.seal_fragments(header, &chain, limit).expect("sealed");
        for message in &messages {
            hostile.endpoint.handle_datagram(hostile.now, hostile.us, hostile.peer, message);
            assert!(held(&hostile) <= 16_384);
        }
    }
    assert!(hostile.dropped("not_authentic") > 100);
    let later = hostile.keys.seal_fragments(Header { id: 9, ..header }, &chain, 2000).expect("sealed");
    let before = (held(&hostile), hostile.dropped("message_id"));
    hostile.endpoint.handle_datagram(hostile.now, hostile.us, hostile.peer, &later[0]);
    assert_eq!((held(&hostile), hostile.dropped("message_id")), (before.0, before.1 + 1));
    assert!(hostile.authenticate(b"right").is_some_and(|answer| answer.auth.is_some()), "and the SA is as it was");
    assert_eq!(held(&hostile), 0);
}

#[test]
fn an_answer_that_breaks_the_protocol_is_met_with_delete() {
    let mut hostile = Hostile::connect();
    hostile.authenticate(b"right").expect("an answer");
    hostile.now += Duration::from_secs(6);
    hostile.endpoint.handle_timeout(hostile.now);
    let liveness = hostile.endpoint.poll_transmit().expect("a liveness check").payload;
    let (header, _) = Header::decode(&liveness).expect("a header");
    let mut chain = Chain::new();
    chain.push(NONCE, &[&[1; 3]]);
    let answer = Header { response: true, from_initiator: true, ..header };
    let answer = hostile.keys.seal(answer, &chain).expect("sealed");
    hostile.endpoint.handle_datagram(hostile.now, hostile.us, hostile.peer, &answer);
    let farewell = hostile.endpoint.poll_transmit().expect("DELETE").payload;
    let (header, _) = Header::decode(&farewell).expect("a header");
    let (first, inner) = hostile.keys.open(&header, &farewell).expect("authentic");
    assert_eq!(Content::decode(first, &inner).expect("payloads").deletes, [crate::codec::Delete::Ike]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever an authenticated peer sends, nothing panics, and what is over is over.
    #[test]
    fn an_authenticated_peer_that_sends_noise(
        exchange in prop::sample::select(vec![Exchange::CreateChild, Exchange::Informational]),
        first in 33u8..50,
        noise in prop::collection::vec(any::<u8>(), 0..120),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut hostile = Hostile::connect();
        hostile.authenticate(b"right").expect("an answer");
        let mut chain = Hostile::child_request();
        let at = flip.index(chain.bytes.len());
        chain.bytes[at] = value;
        hostile.ask(Exchange::CreateChild, &chain);
        chain.bytes.truncate(cut.index(chain.bytes.len()));
        hostile.ask(exchange, &chain);
        let mut chain = Chain::new();
        chain.push(first, &[&noise]);
        hostile.ask(exchange, &chain);
        hostile.endpoint.handle_timeout(hostile.now + Duration::from_secs(120));
        let installed = hostile.events.iter().filter(|event| matches!(event, Event::ChildInstalled { .. })).count();
        prop_assert!((1..=3).contains(&installed));
    }
}
