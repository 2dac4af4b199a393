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

impl Hostile {
    /// After IKE_SA_INIT: it shares keys with the endpoint, but has proven nothing.
    fn connect() -> Self {
        let now = Instant::now();
        let mut entropy = SeededEntropy::new(1);
        let mut endpoint = Endpoint::new(EndpointConfig::default(), Box::new(SeededEntropy::new(2)));
        endpoint.set_peer(now, peer_config());
        let (us, peer) = (SocketAddr::from(([192, 0, 2, 1], 500)), SocketAddr::from(([192, 0, 2, 2], 500)));
        let exchange = KeyExchange::generate(DhGroup::Curve25519, &mut entropy).expect("a key pair");
        let mut nonce_i = vec![0; 32];
        entropy.fill(&mut nonce_i);
        let mut chain = Chain::new();
        chain.proposals(&propose_ike(&[Cipher::DEFAULT_IKE], &[]));
        chain.exchange(31, exchange.public());
        chain.push(NONCE, &[&nonce_i]);
        let header = Header {
            spi_i: SPI,
            spi_r: 0,
            next: 0,
            exchange: Exchange::Init,
            from_initiator: true,
            response: false,
            id: 0,
        };
        let request = plain(header, &chain);
        endpoint.handle_datagram(now, us, peer, &request);
        let response = endpoint.poll_transmit().expect("an answer").payload;
        let (header, body) = Header::decode(&response).expect("a header");
        let content = Content::decode(header.next, body).expect("payloads");
        let suite = accept_ike(&[Cipher::DEFAULT_IKE], &content.proposals.expect("SA"), 0).expect("ours").suite;
        let shared = exchange.agree(&content.exchange.expect("KE").1).expect("a secret");
        let nonce_r = content.nonce.expect("a nonce");
        let inputs =
            Inputs { suite, nonce_i: &nonce_i, nonce_r: &nonce_r, spi_i: SPI, spi_r: header.spi_r, initiator: true };
        let keys = IkeKeys::first(inputs, &shared).expect("keys");
        Self { endpoint, now, us, peer, keys, spi_r: header.spi_r, next_id: 1, request, nonce_r, events: Vec::new() }
    }

    /// Sends one request; the answer, if there is one.
    fn ask(&mut self, exchange: Exchange, chain: &Chain) -> Option<Content> {
        let header = Header {
            spi_i: SPI,
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

#[test]
fn lowest_nonces_compare_as_octet_strings() {
    assert_eq!(lower(&[1, 255], &[2]), [1, 255]);
    assert_eq!(lower(&[1, 2], &[1]), [1]);
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
