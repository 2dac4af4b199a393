//! IKE_SA_INIT (RFC 7296 §1.2): key exchange without authentication, cookies, another group, NAT detection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_crypto::{KeyExchange, sha1};
use causeway_model::suite::DhGroup;
use causeway_model::{Fault, ReasonCode};

use super::{Authenticating, Fate, IkeSa, Initiating, Opening, Phase, Request};
use crate::Endpoint;
use crate::codec::message::{NONCE, SA, notify};
use crate::codec::{Chain, Content, Exchange, Header};
use crate::config::{PeerConfig, PeerKey};
use crate::endpoint::plain;
use crate::keys::{IkeKeys, Inputs};
use crate::suite::{
    accept_ike, allows_group, answer_ike, choose_ike, describe_ciphers, describe_proposals, preferred_ike_group,
    propose_ike, with_difference,
};

/// Cookies and group changes that one attempt follows.
const MAX_RESTARTS: u8 = 8;
/// How long an attempt goes on after an error that nobody vouches for (RFC 7296 §2.21.1: it may be forged).
const DOUBT: Duration = Duration::from_secs(1);

/// A request to begin is kept until IKE_AUTH, which covers it. An offer of every suite there is takes a third of this.
const MAX_INIT: usize = 16_384;

/// An IKE_SA_INIT request as it came.
pub(crate) struct InitRequest<'a> {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) header: Header,
    pub(crate) body: &'a [u8],
    pub(crate) message: &'a [u8],
}

/// NAT detection that never matches (system.md §5): the hash is of the address zero, so either end takes the other to be behind
/// a NAT and puts ESP into UDP.
fn add_nat_detection(chain: &mut Chain, spi_i: u64, spi_r: u64) {
    for kind in [notify::NAT_DETECTION_SOURCE_IP, notify::NAT_DETECTION_DESTINATION_IP] {
        let hash = sha1(&[&spi_i.to_be_bytes(), &spi_r.to_be_bytes(), &[0; 4], &[0; 2]]);
        chain.notify(kind, &hash);
    }
}

pub(crate) fn lower<'a>(a: &'a [u8], b: &'a [u8]) -> &'a [u8] {
    a.min(b)
}

impl Endpoint {
    /// Begins an attempt.
    pub(crate) fn initiate(&mut self, now: Instant, key: PeerKey, reauthenticates: bool) {
        let Some(config) = self.peer_config(Some(key)) else { return };
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.unreachable = false;
        }
        let spi = self.free_ike_spi();
        let local = SocketAddr::new(config.local, self.config.ike_port);
        let remote = SocketAddr::new(config.remote, self.config.ike_port);
        let initiating = Initiating {
            exchange: None,
            nonce: self.nonce(),
            message: Vec::new(),
            cookie: None,
            restarts: 0,
            fault: None,
        };
        let mut sa = IkeSa::new(now, true, (spi, 0), local, remote, Phase::Initiating(Box::new(initiating)));
        sa.peer = Some(key);
        sa.reauthenticates = reauthenticates;
        let group = preferred_ike_group(&config.ike_proposals);
        self.send_init(now, &mut sa, &config, Some(group));
        sa.expires_at = Some(now + self.config.attempt_timeout);
        self.sas.insert(spi, sa);
    }

    /// Sends IKE_SA_INIT, with a fresh key pair if `group` says so.
    fn send_init(&mut self, now: Instant, sa: &mut IkeSa, config: &PeerConfig, group: Option<DhGroup>) {
        let fresh = group.and_then(|group| KeyExchange::generate(group, self.entropy.as_mut()).ok());
        let Phase::Initiating(initiating) = &mut sa.phase else { return };
        if fresh.is_some() {
            initiating.exchange = fresh;
        }
        let Some(exchange) = &initiating.exchange else { return };
        let mut chain = Chain::new();
        if let Some(cookie) = &initiating.cookie {
            chain.notify(notify::COOKIE, cookie);
        }
        chain.proposals(&propose_ike(&config.ike_proposals, &[]));
        chain.exchange(exchange.group().iana(), exchange.public());
        chain.push(NONCE, &[&initiating.nonce]);
        add_nat_detection(&mut chain, sa.spi_i, 0);
        chain.notify(notify::FRAGMENTATION_SUPPORTED, &[]);
        let header = Header {
            spi_i: sa.spi_i,
            spi_r: 0,
            next: 0,
            exchange: Exchange::Init,
            from_initiator: true,
            response: false,
            id: 0,
        };
        let message = plain(header, &chain);
        initiating.message.clone_from(&message);
        sa.next_id = 0;
        self.begin_request(now, sa, Exchange::Init, vec![message], Request::Init);
    }

    /// The answer to our IKE_SA_INIT. Nothing in it is authentic, so nothing in it can end the attempt by itself.
    pub(crate) fn on_init_response(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        header: Header,
        body: &[u8],
        message: &[u8],
    ) {
        let awaited =
            |sa: &IkeSa| matches!(sa.phase, Phase::Initiating(_)) && sa.remote == remote && !header.from_initiator;
        if header.id != 0 || !self.sas.get(&header.spi_i).is_some_and(awaited) {
            self.count("unexpected_response");
            return;
        }
        let Ok(content) = Content::decode(header.next, body) else {
            self.count("malformed");
            let fault = Fault::new(ReasonCode::MalformedMessage).with("message", "IKE_SA_INIT response");
            self.doubt(now, header.spi_i, fault);
            return;
        };
        self.with_sa(header.spi_i, |endpoint, sa| {
            endpoint.init_answered(now, sa, header, &content, message);
            Fate::Keep
        });
    }

    fn init_answered(&mut self, now: Instant, sa: &mut IkeSa, header: Header, content: &Content, message: &[u8]) {
        let Some(config) = self.peer_config(sa.peer) else { return };
        let Phase::Initiating(initiating) = &mut sa.phase else { return };
        if content.proposals.is_none() {
            let cookie =
                content.notify(notify::COOKIE).map(|notify| &notify.data).filter(|data| (1..=64).contains(&data.len()));
            let group = content.notify(notify::INVALID_KE_PAYLOAD).and_then(|notify| notify.data.first_chunk::<2>());
            let group = group.and_then(|octets| DhGroup::from_iana(u16::from_be_bytes(*octets)));
            let group = group.filter(|group| {
                allows_group(&config.ike_proposals, *group, Some(DhGroup::Curve25519))
                    && initiating.exchange.as_ref().is_some_and(|exchange| exchange.group() != *group)
            });
            if (cookie.is_some() || group.is_some()) && initiating.restarts < MAX_RESTARTS {
                initiating.restarts += 1;
                if let Some(cookie) = cookie {
                    initiating.cookie = Some(cookie.clone());
                }
                self.send_init(now, sa, &config, group);
                return;
            }
            self.count("init_refused");
            initiating.fault = Some(refusal(&config, content));
            shorten(now, sa);
            return;
        }
        let chosen = content.proposals.as_deref().and_then(|answer| accept_ike(&config.ike_proposals, answer, 0));
        let (Some(chosen), Some((group, public)), Some(nonce)) = (chosen, &content.exchange, &content.nonce) else {
            self.count("init_refused");
            let theirs = content.proposals.as_deref().unwrap_or_default();
            let fault = Fault::new(ReasonCode::NoProposalChosen)
                .values(describe_ciphers(&config.ike_proposals), describe_proposals(theirs));
            initiating.fault = Some(with_difference(fault, &propose_ike(&config.ike_proposals, &[]), theirs));
            shorten(now, sa);
            return;
        };
        if !looks_for_nat(content) {
            self.count("nat_traversal_off");
            initiating.fault = Some(Fault::new(ReasonCode::NatTraversalOff));
            shorten(now, sa);
            return;
        }
        let fits = initiating.exchange.as_ref().is_some_and(|exchange| {
            exchange.group() == chosen.suite.group
                && *group == chosen.suite.group.iana()
                && public.len() == KeyExchange::public_len(exchange.group())
        });
        if !fits || header.spi_r == 0 {
            self.count("malformed");
            return;
        }
        let Some(shared) = initiating.exchange.take().and_then(|exchange| exchange.agree(public).ok()) else {
            // A forged public value; the private one is used up, so begin again.
            self.count("malformed");
            self.send_init(now, sa, &config, Some(chosen.suite.group));
            return;
        };
        let opening = Opening {
            nonce_i: std::mem::take(&mut initiating.nonce),
            nonce_r: nonce.clone(),
            request: std::mem::take(&mut initiating.message),
            response: message.to_vec(),
        };
        let inputs = Inputs {
            suite: chosen.suite,
            nonce_i: &opening.nonce_i,
            nonce_r: &opening.nonce_r,
            spi_i: sa.spi_i,
            spi_r: header.spi_r,
            initiator: true,
        };
        let Ok(keys) = IkeKeys::first(inputs, &shared) else { return };
        sa.lowest_nonce = lower(&opening.nonce_i, &opening.nonce_r).to_vec();
        sa.keys = Some(keys);
        sa.suite = Some(chosen.suite);
        sa.spi_r = header.spi_r;
        sa.fragments = content.notify(notify::FRAGMENTATION_SUPPORTED).is_some();
        sa.pending = None;
        sa.local.set_port(self.config.encapsulation_port);
        sa.remote.set_port(self.config.encapsulation_port);
        // A reauthentication is to prove the newest.
        let peer = sa.peer.filter(|_| !sa.reauthenticates).and_then(|key| self.peers.get(&key));
        let psk = peer.map_or(0, |peer| peer.psk);
        let child_spi = self.free_esp_spi(sa);
        sa.expires_at = Some(now + self.config.attempt_timeout);
        sa.phase = Phase::Authenticating(Box::new(opening), Box::new(Authenticating { child_spi, psk }));
        self.send_auth(now, sa, &config);
    }

    /// Remembers what an unauthenticated answer claims and gives a better one a moment to come.
    fn doubt(&mut self, now: Instant, spi: u64, fault: Fault) {
        let Some(sa) = self.sas.get_mut(&spi) else { return };
        if let Phase::Initiating(initiating) = &mut sa.phase {
            initiating.fault = Some(fault);
            shorten(now, sa);
        }
    }

    /// A request to begin.
    pub(crate) fn on_init_request(&mut self, now: Instant, request: &InitRequest<'_>) {
        let header = request.header;
        if header.id != 0 || header.spi_r != 0 || header.spi_i == 0 || !header.from_initiator {
            self.count("malformed");
            return;
        }
        let candidates = self.candidates(request.local, request.remote);
        let Some(first) = candidates.first().cloned() else {
            self.count("unknown_peer");
            self.stranger(now, request.local.ip(), request.remote.ip());
            return;
        };
        if request.message.len() > MAX_INIT {
            self.count("oversized");
            return;
        }
        if self.repeat_init_answer(request) {
            return;
        }
        let content = match Content::decode(header.next, request.body) {
            Ok(content) => content,
            Err(error) => {
                self.count("malformed");
                if let crate::codec::DecodeError::UnknownCritical(kind) = error {
                    self.refuse_init(request, notify::UNSUPPORTED_CRITICAL_PAYLOAD, &[kind]);
                }
                return;
            }
        };
        let (Some(proposals), Some((group, public)), Some(nonce)) =
            (&content.proposals, &content.exchange, &content.nonce)
        else {
            self.count("malformed");
            return;
        };
        if !self.admit(now, request, &content, nonce) {
            return;
        }
        let Some(chosen) = choose_ike(&first.ike_proposals, proposals, 0) else {
            self.count("no_proposal_chosen");
            self.doubtful_failure(now, &candidates, |config| {
                let fault = Fault::new(ReasonCode::NoProposalChosen)
                    .values(describe_ciphers(&config.ike_proposals), describe_proposals(proposals));
                with_difference(fault, &propose_ike(&config.ike_proposals, &[]), proposals)
            });
            self.refuse_init(request, notify::NO_PROPOSAL_CHOSEN, &[]);
            return;
        };
        if request.local.port() == self.config.ike_port && !looks_for_nat(&content) {
            // It would send ESP as protocol 50 and show a tunnel that carries nothing.
            self.count("nat_traversal_off");
            self.doubtful_failure(now, &candidates, |_| Fault::new(ReasonCode::NatTraversalOff));
            self.refuse_init(request, notify::NO_PROPOSAL_CHOSEN, &[]);
            return;
        }
        if *group != chosen.suite.group.iana() {
            self.count("invalid_ke_payload");
            self.refuse_init(request, notify::INVALID_KE_PAYLOAD, &chosen.suite.group.iana().to_be_bytes());
            return;
        }
        if public.len() != KeyExchange::public_len(chosen.suite.group) {
            self.count("malformed");
            return;
        }
        let agreed = KeyExchange::generate(chosen.suite.group, self.entropy.as_mut())
            .and_then(|exchange| Ok((exchange.public().to_vec(), exchange.agree(public)?)));
        let spi = self.free_ike_spi();
        let Ok((ours, shared)) = agreed else {
            self.count("malformed");
            // It cost us a key exchange all the same, so it counts against the limits, or it would go round the cookies.
            let mut sa = IkeSa::new(now, false, (header.spi_i, spi), request.local, request.remote, Phase::Over);
            sa.end(now);
            self.remember_init(request, spi, sa);
            return;
        };
        let nonce_r = self.nonce();
        let mut chain = Chain::new();
        chain.proposals(&[answer_ike(chosen.suite, chosen.number, &[])]);
        chain.exchange(chosen.suite.group.iana(), &ours);
        chain.push(NONCE, &[&nonce_r]);
        add_nat_detection(&mut chain, header.spi_i, spi);
        let fragments = content.notify(notify::FRAGMENTATION_SUPPORTED).is_some();
        if fragments {
            chain.notify(notify::FRAGMENTATION_SUPPORTED, &[]);
        }
        let response = plain(Header { spi_r: spi, next: SA, from_initiator: false, response: true, ..header }, &chain);
        let inputs = Inputs {
            suite: chosen.suite,
            nonce_i: nonce,
            nonce_r: &nonce_r,
            spi_i: header.spi_i,
            spi_r: spi,
            initiator: false,
        };
        let Ok(keys) = IkeKeys::first(inputs, &shared) else { return };
        let opening =
            Opening { nonce_i: nonce.clone(), nonce_r, request: request.message.to_vec(), response: response.clone() };
        let lowest = lower(&opening.nonce_i, &opening.nonce_r).to_vec();
        let phase = Phase::HalfOpen(Box::new(opening));
        let mut sa = IkeSa::new(now, false, (header.spi_i, spi), request.local, request.remote, phase);
        sa.lowest_nonce = lowest;
        sa.keys = Some(keys);
        sa.suite = Some(chosen.suite);
        sa.expected_id = 1;
        sa.fragments = fragments;
        sa.expires_at = Some(now + self.config.half_open_timeout);
        self.remember_init(request, spi, sa);
        self.transmit(request.local, request.remote, response);
    }

    fn remember_init(&mut self, request: &InitRequest<'_>, spi: u64, mut sa: IkeSa) {
        let key = (request.remote.ip(), request.header.spi_i);
        sa.init_key = Some(key);
        self.inits.insert(key, spi);
        self.sas.insert(spi, sa);
    }

    /// Answers a retransmission of a request that is half-open already. Returns whether it was one.
    fn repeat_init_answer(&mut self, request: &InitRequest<'_>) -> bool {
        let known = self.inits.get(&(request.remote.ip(), request.header.spi_i)).and_then(|spi| self.sas.get(spi));
        let Some(sa) = known else { return false };
        match &sa.phase {
            Phase::HalfOpen(opening) if opening.request == request.message => {
                let response = opening.response.clone();
                self.count("retransmission");
                self.transmit(request.local, request.remote, response);
            }
            _ => self.count("duplicate_init"),
        }
        true
    }

    /// Limits on half-open SAs: first cookies, then silence (RFC 7296 §2.6).
    fn admit(&mut self, now: Instant, request: &InitRequest<'_>, content: &Content, nonce: &[u8]) -> bool {
        let half_open = || self.sas.values().filter(|sa| sa.phase.is_half_open());
        let total = half_open().count();
        let from_source = half_open().filter(|sa| sa.remote.ip() == request.remote.ip()).count();
        let spi = request.header.spi_i;
        if total >= self.config.cookie_threshold || from_source >= self.config.cookie_threshold_per_source {
            let entropy = self.entropy.as_mut();
            let presented = content.notifies.first().filter(|first| first.kind == notify::COOKIE);
            let good = presented
                .is_some_and(|cookie| self.cookies.check(now, entropy, request.remote, spi, nonce, &cookie.data));
            if !good {
                let cookie = self.cookies.make(now, self.entropy.as_mut(), request.remote, spi, nonce);
                self.count("cookie_demanded");
                self.refuse_init(request, notify::COOKIE, &cookie);
                return false;
            }
        }
        if total >= self.config.max_half_open || from_source >= self.config.max_half_open_per_source {
            self.count("half_open_limit");
            return false;
        }
        true
    }

    fn refuse_init(&mut self, request: &InitRequest<'_>, kind: u16, data: &[u8]) {
        let mut chain = Chain::new();
        chain.notify(kind, data);
        let header = Header { spi_r: 0, from_initiator: false, response: true, ..request.header };
        self.transmit(request.local, request.remote, plain(header, &chain));
    }
}

/// Whether the peer takes part in NAT detection (RFC 7296 §2.23), without which it does not put ESP into UDP.
fn looks_for_nat(content: &Content) -> bool {
    content.notify(notify::NAT_DETECTION_SOURCE_IP).is_some()
        || content.notify(notify::NAT_DETECTION_DESTINATION_IP).is_some()
}

/// What the peer's refusal of our IKE_SA_INIT means.
fn refusal(config: &Arc<PeerConfig>, content: &Content) -> Fault {
    let kind = content.error().map_or(0, |notify| notify.kind);
    let code = match kind {
        notify::NO_PROPOSAL_CHOSEN | notify::INVALID_KE_PAYLOAD => ReasonCode::NoProposalChosen,
        _ => ReasonCode::MalformedMessage,
    };
    let mut fault = Fault::new(code).with("peer_says", notify::name(kind));
    if code == ReasonCode::NoProposalChosen {
        fault.ours = Some(describe_ciphers(&config.ike_proposals));
    }
    fault
}

fn shorten(now: Instant, sa: &mut IkeSa) {
    let soon = now + DOUBT;
    sa.expires_at = Some(sa.expires_at.map_or(soon, |at| at.min(soon)));
}
