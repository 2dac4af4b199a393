//! Rekeying the IKE SA (RFC 7296 §1.3.2, §2.8, §2.18) and its collisions (§2.8.2, §2.25.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_crypto::KeyExchange;
use causeway_model::suite::DhGroup;
use causeway_model::{Fault, ReasonCode};

use super::init::lower;
use super::window::Reply;
use super::{Farewell, Fate, IkeSa, LINGER, Phase, REPLACED_WAIT, RekeyRequest, Request};
use crate::Endpoint;
use crate::codec::message::{NONCE, notify};
use crate::codec::{Chain, Content, Exchange};
use crate::config::PeerConfig;
use crate::event::Event;
use crate::keys::Inputs;
use crate::suite::{IkeSuite, accept_ike, allows_group, answer_ike, choose_ike, preferred_ike_group, propose_ike};

/// Pause after a refusal to rekey the IKE SA; longer than the round trips of whatever is in its way.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

impl Endpoint {
    /// Sends CREATE_CHILD_SA for the IKE SA itself. `group` overrides the guess.
    pub(crate) fn start_rekey(&mut self, now: Instant, sa: &mut IkeSa, group: Option<DhGroup>) {
        let Some(config) = self.peer_config(sa.peer) else { return };
        let allowed = |group: &DhGroup| allows_group(&config.ike_proposals, *group, Some(DhGroup::Curve25519));
        let group = group
            .or_else(|| sa.suite.map(|suite| suite.group))
            .filter(allowed)
            .unwrap_or_else(|| preferred_ike_group(&config.ike_proposals));
        let Ok(exchange) = KeyExchange::generate(group, self.entropy.as_mut()) else { return };
        let spi = self.free_ike_spi();
        let nonce = self.nonce();
        let mut chain = Chain::new();
        chain.proposals(&propose_ike(&config.ike_proposals, &spi.to_be_bytes()));
        chain.push(NONCE, &[&nonce]);
        chain.exchange(group.iana(), exchange.public());
        let request = RekeyRequest { spi, nonce, exchange, collision: None, config };
        self.request(now, sa, Exchange::CreateChild, &chain, Request::RekeyIke(Box::new(request)));
    }

    /// The peer rekeys the IKE SA.
    pub(crate) fn on_rekey_request(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        config: &PeerConfig,
        content: &Content,
        nonce: &[u8],
    ) -> Reply {
        let busy = match sa.pending.as_ref().map(|pending| &pending.what) {
            Some(Request::Child(_) | Request::DeleteChildren(_)) => true,
            Some(Request::RekeyIke(ours)) => ours.collision.is_some(),
            _ => false,
        };
        // One short of the limit: `sa` itself is out of the map.
        let crowded = self.ike_sas(config.key).count() + 1 >= self.config.max_ike_sas;
        if busy || crowded || sa.successor.is_some() {
            self.count("temporary_failure");
            return Reply::error(notify::TEMPORARY_FAILURE, &[]);
        }
        let chosen = choose_ike(&config.ike_proposals, content.proposals.as_deref().unwrap_or_default(), 8);
        let chosen = chosen.and_then(|chosen| Some((chosen.suite, chosen.number, ike_spi(&chosen.spi)?)));
        let Some((suite, number, peer_spi)) = chosen else {
            self.count("no_proposal_chosen");
            return Reply::error(notify::NO_PROPOSAL_CHOSEN, &[]);
        };
        let (group, public, shared) = match self.answer_exchange(Some(suite.group), content) {
            Ok(Some(half)) => half,
            Ok(None) => return Reply::error(notify::NO_PROPOSAL_CHOSEN, &[]),
            Err(reply) => return reply,
        };
        let spi = self.free_ike_spi();
        let nonce_r = self.nonce();
        let inputs = Inputs { suite, nonce_i: nonce, nonce_r: &nonce_r, spi_i: peer_spi, spi_r: spi, initiator: false };
        let Some(keys) = sa.keys.as_ref().and_then(|keys| keys.rekeyed(inputs, &shared).ok()) else {
            return Reply::error(notify::NO_PROPOSAL_CHOSEN, &[]);
        };
        let mut heir = heir(now, sa, false, (peer_spi, spi), suite);
        heir.keys = Some(keys);
        self.begin_life(now, &mut heir);
        self.sas.insert(spi, heir);
        sa.successor = Some(spi);
        match sa.pending.as_mut().map(|pending| &mut pending.what) {
            // Which of the two SAs inherits is known when our request is answered.
            Some(Request::RekeyIke(ours)) => ours.collision = Some((spi, lower(nonce, &nonce_r).to_vec())),
            _ => self.hand_over(now, sa),
        }
        let mut chain = Chain::new();
        chain.proposals(&[answer_ike(suite, number, &spi.to_be_bytes())]);
        chain.push(NONCE, &[&nonce_r]);
        chain.exchange(group.iana(), &public);
        Reply::with(chain)
    }

    /// The answer to our rekeying of the IKE SA.
    pub(crate) fn on_rekey_response(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        request: RekeyRequest,
        content: &Content,
    ) -> Fate {
        let config = Arc::clone(&request.config);
        let rival = request.collision.filter(|(spi, _)| self.sas.get(spi).is_some_and(|sa| sa.phase.is_established()));
        let chosen = content.proposals.as_deref().and_then(|answer| accept_ike(&config.ike_proposals, answer, 8));
        let chosen = chosen.and_then(|chosen| Some((chosen.suite, ike_spi(&chosen.spi)?)));
        let group = request.exchange.group();
        let public = content.exchange.as_ref().filter(|(theirs, _)| *theirs == group.iana());
        let (Some((suite, peer_spi)), Some((_, public)), Some(nonce_r)) = (chosen, public, &content.nonce) else {
            if rival.is_some() {
                self.hand_over(now, sa);
                return Fate::Keep;
            }
            let wanted = content.notify(notify::INVALID_KE_PAYLOAD).and_then(|notify| notify.data.first_chunk::<2>());
            let wanted = wanted.and_then(|octets| DhGroup::from_iana(u16::from_be_bytes(*octets)));
            let wanted = wanted.filter(|wanted| {
                *wanted != group && allows_group(&config.ike_proposals, *wanted, Some(DhGroup::Curve25519))
            });
            if sa.closing.is_some() {
                return Fate::Keep;
            }
            if wanted.is_some() {
                self.start_rekey(now, sa, wanted);
            } else {
                self.count("rekey_refused");
                // The last word if the lifetime ends before another attempt succeeds.
                let says =
                    content.error().map_or_else(|| "nothing that fits".to_owned(), |error| notify::name(error.kind));
                sa.fault = Some(Fault::new(ReasonCode::LifetimeExpired).with("peer_says", says));
                // Most often a Child SA is being rekeyed by the peer, which ours must not do meanwhile either: the IKE SA has more
                // time than a Child SA, so this end waits for longer and lets that one be first.
                let left = sa.expires_at.map_or(RETRY_PAUSE, |at| at.saturating_duration_since(now) / 4);
                sa.rekey_at = Some(now + self.jitter(RETRY_PAUSE.min(left), 1000, 3000));
            }
            return Fate::Keep;
        };
        let inputs =
            Inputs { suite, nonce_i: &request.nonce, nonce_r, spi_i: request.spi, spi_r: peer_spi, initiator: true };
        let keys = if suite.group == group { request.exchange.agree(public).ok() } else { None };
        let keys = keys.and_then(|shared| sa.keys.as_ref()?.rekeyed(inputs, &shared).ok());
        let Some(keys) = keys else {
            self.malformed(now, sa, "CREATE_CHILD_SA response");
            return Fate::Drop;
        };
        let mut heir = heir(now, sa, true, (request.spi, peer_spi), suite);
        heir.keys = Some(keys);
        self.begin_life(now, &mut heir);
        if sa.closing.is_some() {
            // The tunnel was closed while the answer was under way. The peer has the new SA, so it goes the way of the old one.
            heir.closing = Some(Farewell::Delete);
            self.begin_close(now, &mut heir);
            self.sas.insert(request.spi, heir);
            return Fate::Keep;
        }
        // RFC 7296 §2.8.2: the SA made with the lowest of the four nonces is redundant, and its creator deletes it.
        let lost = rival.as_ref().is_some_and(|(_, theirs)| lower(&request.nonce, nonce_r) < theirs.as_slice());
        if lost {
            heir.closing = Some(Farewell::Delete);
            self.begin_close(now, &mut heir);
            self.sas.insert(request.spi, heir);
            self.hand_over(now, sa);
            return Fate::Keep;
        }
        if let Some(rival) = rival.and_then(|(spi, _)| self.sas.get_mut(&spi)) {
            rival.phase = Phase::Replaced;
            rival.expires_at = Some(now + REPLACED_WAIT);
        }
        self.sas.insert(request.spi, heir);
        sa.successor = Some(request.spi);
        self.hand_over(now, sa);
        sa.phase = Phase::Established;
        sa.closing = Some(Farewell::Delete);
        self.begin_close(now, sa);
        Fate::Keep
    }

    /// The Child SAs go to the successor; this SA only waits for its DELETE.
    fn hand_over(&mut self, now: Instant, sa: &mut IkeSa) {
        if self.bequeath(now, sa) {
            sa.phase = Phase::Replaced;
            sa.rekey_at = None;
            sa.expires_at = Some(now + REPLACED_WAIT);
        }
    }

    /// Moves the Child SAs to the successor, if there is one that lives.
    pub(crate) fn bequeath(&mut self, now: Instant, sa: &mut IkeSa) -> bool {
        let Some(spi) = sa.successor.take() else { return false };
        let Some(heir) = self.sas.get_mut(&spi).filter(|heir| heir.phase.is_established()) else { return false };
        heir.children.append(&mut sa.children);
        heir.childless_since = if heir.children.is_empty() { Some(now) } else { None };
        heir.next_child_at = None;
        let event = sa.peer.map(|peer| Event::IkeRekeyed { peer, info: heir.info() });
        if let Some(event) = event {
            self.emit(event);
        }
        true
    }
}

/// A successor of `sa`.
fn heir(now: Instant, sa: &IkeSa, initiator: bool, spis: (u64, u64), suite: IkeSuite) -> IkeSa {
    let mut heir = IkeSa::new(now, initiator, spis, sa.local, sa.remote, Phase::Established);
    heir.peer = sa.peer;
    heir.suite = Some(suite);
    heir.rekeys = sa.rekeys.saturating_add(1);
    heir.begun_at = sa.begun_at;
    heir.authenticated_at = sa.authenticated_at;
    heir.began_it = sa.began_it;
    heir.lowest_nonce.clone_from(&sa.lowest_nonce);
    heir.superseded_at = sa.superseded_at;
    heir.traffic_until = sa.traffic_until;
    heir.confirmed = sa.confirmed;
    heir.fragments = sa.fragments;
    heir.psk = sa.psk;
    heir.short_lived = sa.short_lived;
    // That an earlier attempt was refused is over, now that one succeeded.
    heir.fault = sa.fault.clone().filter(|fault| fault.code != ReasonCode::LifetimeExpired);
    heir.asked_identity.clone_from(&sa.asked_identity);
    // It is without Child SAs until it inherits; it must not make one of its own meanwhile.
    heir.childless_since = Some(now);
    heir.next_child_at = Some(now + LINGER);
    heir
}

fn ike_spi(spi: &[u8]) -> Option<u64> {
    spi.try_into().ok().map(u64::from_be_bytes).filter(|spi| *spi != 0)
}
