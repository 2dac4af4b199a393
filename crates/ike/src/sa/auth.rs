//! IKE_AUTH (RFC 7296 §1.2, §2.15): who the peer is, by a pre-shared key, and the first Child SA.

use std::sync::Arc;
use std::time::{Duration, Instant};

use causeway_crypto::constant_time_eq;
use causeway_model::{Fault, ReasonCode};

use super::child::Installation;
use super::window::Reply;
use super::{Farewell, Fate, IkeSa, Opening, Phase, Request};
use crate::Endpoint;
use crate::codec::message::{ID_I, ID_R, notify};
use crate::codec::{Chain, Content, Exchange, RawIdentity};
use crate::config::PeerConfig;
use crate::event::Event;
use crate::suite::{allows_ike, answer_esp, describe_ciphers, propose_esp};

/// AUTH method: shared key message integrity code.
const METHOD_PSK: u8 = 2;
/// How long a reauthentication waits for traffic before the old SA may go without: longer than an IKE SA lives.
const REAUTHENTICATION_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the responder of our reauthentication has to end the older IKE SA itself, in graces: strongSwan does so 10 s later where it wants one
/// SA for each peer, and begins anew at once (`close_action = start`) if we are faster.
const ADOPTION: u32 = 6;
/// A peer that begins another IKE SA so soon after one of two was ended wants two, or begins anew whenever one goes.
const ANEW: Duration = Duration::from_secs(60);

impl Endpoint {
    /// Our IKE_AUTH.
    pub(crate) fn send_auth(&mut self, now: Instant, sa: &mut IkeSa, config: &Arc<PeerConfig>) {
        let Phase::Authenticating(opening, state) = &sa.phase else { return };
        let (Some(keys), Some(psk)) = (&sa.keys, config.psks.get(state.psk).or_else(|| config.psks.first())) else {
            return;
        };
        let identity = config.local_identity.body();
        let auth = keys.auth(true, psk.expose(), &opening.request, &opening.nonce_r, &identity);
        let alone = !self.sas.values().any(|other| other.peer == sa.peer && other.phase.is_established());
        let ambiguous = self.candidates(sa.local, sa.remote).len() > 1;
        let mut chain = Chain::new();
        chain.push(ID_I, &[&identity]);
        if alone {
            chain.notify(notify::INITIAL_CONTACT, &[]);
        }
        if ambiguous {
            // Only where the addresses leave a choice: a peer that dislikes the name says who it is only if it was not asked.
            chain.push(ID_R, &[&config.remote_identity.body()]);
        }
        chain.auth(METHOD_PSK, auth.slice());
        chain.proposals(&propose_esp(&config.esp_proposals, state.child_spi, false));
        let ours = super::child::our_selectors();
        chain.selectors(&ours, &ours);
        self.request(now, sa, Exchange::Auth, &chain, Request::Auth);
    }

    /// The peer's IKE_AUTH.
    pub(crate) fn on_auth_request(&mut self, now: Instant, sa: &mut IkeSa, content: Content) -> Reply {
        let phase = std::mem::replace(&mut sa.phase, Phase::Over);
        let Phase::HalfOpen(opening) = phase else { return Reply::error(notify::INVALID_SYNTAX, &[]).last() };
        let candidates = self.candidates(sa.local, sa.remote);
        let (Some(id_i), Some((method, data))) = (&content.id_i, &content.auth) else {
            self.count("malformed");
            // Without AUTH the peer wants EAP, which this product does not offer.
            self.doubtful_failure(now, &candidates, |_| {
                Fault::new(ReasonCode::AuthenticationFailed).with("peer_wants", "another method than a pre-shared key")
            });
            return refuse();
        };
        let Some(config) = choose_peer(&candidates, id_i, content.id_r.as_ref()) else {
            self.count("identity_mismatch");
            self.doubtful_failure(now, &candidates, |config| {
                Fault::new(ReasonCode::IdentityMismatch).values(config.remote_identity.to_string(), id_i.to_string())
            });
            return refuse();
        };
        if !sa.suite.is_some_and(|suite| allows_ike(&config.ike_proposals, suite)) {
            // IKE_SA_INIT was answered for another peer between the same addresses, or before the proposals changed.
            self.count("no_proposal_chosen");
            self.doubtful_failure(now, &candidates, |config| {
                let theirs = sa.suite.map(|suite| suite.to_string()).unwrap_or_default();
                Fault::new(ReasonCode::NoProposalChosen).values(describe_ciphers(&config.ike_proposals), theirs)
            });
            return refuse();
        }
        let Some(position) = verify(sa, &opening, true, &config, *method, data, &id_i.body) else {
            self.count("authentication_failed");
            let mut fault = Fault::new(ReasonCode::AuthenticationFailed);
            if *method != METHOD_PSK {
                fault = fault.values("pre-shared key", format!("method {method}"));
            }
            self.attempt_failed(config.key, fault, false);
            return refuse();
        };
        let Some(psk) = config.psks.get(position) else { return refuse() };
        self.make_room(now, config.key);
        sa.peer = Some(config.key);
        sa.psk = position;
        sa.asked_identity =
            content.id_r.as_ref().filter(|asked| !config.local_identity.matches(asked)).map(ToString::to_string);
        let identity = config.local_identity.body();
        let Some(auth) =
            sa.keys.as_ref().map(|keys| keys.auth(false, psk.expose(), &opening.response, &opening.nonce_i, &identity))
        else {
            return refuse();
        };
        self.established(now, sa);
        let mut chain = Chain::new();
        chain.push(ID_R, &[&identity]);
        chain.auth(METHOD_PSK, auth.slice());
        match self.agree_child(&config, &content, false) {
            Ok((agreement, families)) => {
                let spi = self.free_esp_spi(sa);
                chain.proposals(&[answer_esp(agreement.suite, agreement.number, spi)]);
                chain.selectors(&families, &families);
                // While another IKE SA of the peer carries packets they stay there until the peer shows that it has this one.
                let alone = self.peers.get(&config.key).is_none_or(|peer| peer.children.is_empty());
                self.install(now, sa, &agreement, &first_child(spi, &opening, false, alone));
            }
            Err((kind, fault)) => {
                chain.notify(kind, &[]);
                self.child_failed(sa, fault, false);
            }
        }
        let initial_contact = content.notify(notify::INITIAL_CONTACT).is_some();
        self.settle_duplicates(now, sa, initial_contact);
        Reply::with(chain)
    }

    /// The answer to our IKE_AUTH.
    pub(crate) fn on_auth_response(&mut self, now: Instant, sa: &mut IkeSa, content: Content) -> Fate {
        let phase = std::mem::replace(&mut sa.phase, Phase::Over);
        let (Phase::Authenticating(opening, state), Some(config)) = (phase, self.peer_config(sa.peer)) else {
            return Fate::Drop;
        };
        let (Some(id_r), Some((method, data))) = (&content.id_r, &content.auth) else {
            return self.auth_refused(now, sa, &config, &content, state.psk);
        };
        if !config.remote_identity.matches(id_r) {
            let fault =
                Fault::new(ReasonCode::IdentityMismatch).values(config.remote_identity.to_string(), id_r.to_string());
            return self.reject_responder(now, sa, &config, fault);
        }
        let Some(position) = verify(sa, &opening, false, &config, *method, data, &id_r.body) else {
            return self.reject_responder(now, sa, &config, Fault::new(ReasonCode::AuthenticationFailed));
        };
        sa.psk = position;
        sa.confirmed = true;
        self.established(now, sa);
        if let Some(peer) = self.peers.get_mut(&config.key) {
            peer.psk = 0;
        }
        match self.accept_child(&config, &content, false) {
            Ok(agreement) => {
                self.install(now, sa, &agreement, &first_child(state.child_spi, &opening, true, true));
            }
            Err(fault) => {
                self.child_failed(sa, fault, true);
                sa.closing = Some(Farewell::Delete);
                self.begin_close(now, sa);
            }
        }
        self.settle_duplicates(now, sa, false);
        Fate::Keep
    }

    /// The responder did not let us in: an older key is tried before the attempt counts as failed.
    fn auth_refused(&mut self, now: Instant, sa: &IkeSa, config: &PeerConfig, content: &Content, psk: usize) -> Fate {
        let kind = content.error().map_or(0, |notify| notify.kind);
        let fault = match kind {
            notify::AUTHENTICATION_FAILED if psk + 1 < config.psks.len() && !sa.reauthenticates => {
                self.count("older_psk_tried");
                if let Some(peer) = self.peers.get_mut(&config.key) {
                    peer.psk = psk + 1;
                    peer.attempt_at = Some(now);
                }
                return Fate::Drop;
            }
            // The peer does not say whether it dislikes the key or the identity.
            notify::AUTHENTICATION_FAILED => Fault::new(ReasonCode::AuthenticationFailed)
                .with("our_identity", config.local_identity.to_string())
                .with("keys_tried", config.psks.len().to_string()),
            notify::NO_PROPOSAL_CHOSEN => self.child_fault(config, ReasonCode::ChildNoProposalChosen, None),
            notify::TS_UNACCEPTABLE => self.child_fault(config, ReasonCode::TsUnacceptable, None),
            _ => Fault::new(ReasonCode::MalformedMessage),
        };
        self.attempt_failed(config.key, fault.with("peer_says", notify::name(kind)), !sa.reauthenticates);
        Fate::Drop
    }

    /// The responder did not prove to be the peer, but takes us for authenticated: say so (RFC 7296 §2.21.2).
    fn reject_responder(&mut self, now: Instant, sa: &mut IkeSa, config: &PeerConfig, fault: Fault) -> Fate {
        self.count(fault.code.as_str());
        self.attempt_failed(config.key, fault, !sa.reauthenticates);
        sa.phase = Phase::Established;
        sa.closing = Some(Farewell::NotAuthenticated);
        self.begin_close(now, sa);
        Fate::Keep
    }

    fn established(&mut self, now: Instant, sa: &mut IkeSa) {
        sa.phase = Phase::Established;
        sa.authenticated_at = now;
        sa.last_input = now;
        sa.childless_since = Some(now);
        self.begin_life(now, sa);
        if let Some(peer) = sa.peer {
            self.emit(Event::IkeEstablished { peer, info: sa.info() });
        }
    }

    /// Of several IKE SAs of one peer one stays. `sa` was established just now.
    ///
    /// If each side began one while it did not know of the other's, the one with the lowest of the four nonces goes, by the side that
    /// created it, as RFC 7296 §2.8 has it for rekeys. Otherwise the newer one replaces the older: at once if the peer says
    /// that it knows no other (INITIAL_CONTACT), after a moment if not. A peer that answers the end of one with another
    /// (strongSwan's `close_action = start`) would do so for ever, so that then both stay: liveness checks find out whether
    /// one is dead, and [`Self::make_room`] bounds their number.
    fn settle_duplicates(&mut self, now: Instant, sa: &mut IkeSa, initial_contact: bool) {
        if sa.children.is_empty() {
            return;
        }
        let grace = self.config.supersede_grace;
        let ended_at = sa.peer.and_then(|key| self.peers.get(&key)).and_then(|peer| peer.duplicate_ended_at);
        let again = !sa.began_it && ended_at.is_some_and(|at| now.saturating_duration_since(at) < ANEW);
        let others: Vec<u64> = self
            .sas
            .iter()
            .filter(|(_, other)| other.peer == sa.peer && other.closing.is_none())
            .filter(|(_, other)| matches!(other.phase, Phase::Initiating(_) | Phase::Established))
            .map(|(spi, _)| *spi)
            .collect();
        for spi in others {
            self.with_sa(spi, |endpoint, other| {
                if !other.phase.is_established() {
                    // Our own attempt has not even been answered.
                    return Fate::Drop;
                }
                let crossed = crossed(sa, other);
                if crossed {
                    let loser = if other.lowest_nonce < sa.lowest_nonce { &mut *other } else { &mut *sa };
                    // The creator deletes it; the other side does so only if that never happens.
                    loser.superseded_at = Some(now + if loser.began_it { grace } else { 5 * grace });
                } else if initial_contact {
                    let fault = Fault::new(ReasonCode::PeerDeletedSa).with("because", "the peer began anew");
                    other.successor = None;
                    endpoint.bury_children(now, other, &fault);
                    return Fate::Drop;
                } else if again {
                    endpoint.count("duplicate_kept");
                } else {
                    other.superseded_at = Some(now + if sa.reauthenticates { grace * ADOPTION } else { grace });
                    // Make before break: traffic proves the new one. A reauthentication of ours insists on it; a peer that began anew
                    // may have nothing to send.
                    let patience = if sa.reauthenticates { REAUTHENTICATION_WAIT } else { 15 * grace };
                    other.traffic_until = Some(now + patience);
                }
                Fate::Keep
            });
        }
    }
}

/// Whether of two SAs one is ours and one the peer's, and either was begun before the other was established.
fn crossed(a: &IkeSa, b: &IkeSa) -> bool {
    a.began_it != b.began_it && a.authenticated_at > b.begun_at && b.authenticated_at > a.begun_at
}

/// The Child SA of IKE_AUTH takes its nonces from IKE_SA_INIT and has no key exchange of its own.
fn first_child(spi: u32, opening: &Opening, initiator: bool, send: bool) -> Installation<'_> {
    Installation { spi, shared: None, nonces: (&opening.nonce_i, &opening.nonce_r), initiator, rekeys: None, send }
}

fn refuse() -> Reply {
    Reply::error(notify::AUTHENTICATION_FAILED, &[]).last()
}

/// The peer by its identity; among several the one whose own side the initiator asked for (RFC 7296 §2.6: IDr is a wish).
fn choose_peer(
    candidates: &[Arc<PeerConfig>],
    id_i: &RawIdentity,
    id_r: Option<&RawIdentity>,
) -> Option<Arc<PeerConfig>> {
    let named = || candidates.iter().filter(|config| config.remote_identity.matches(id_i));
    let wished = named().find(|config| id_r.is_some_and(|id_r| config.local_identity.matches(id_r)));
    wished.or_else(|| named().next()).cloned()
}

/// The position of the key that `data` was made with.
fn verify(
    sa: &IkeSa,
    opening: &Opening,
    of_initiator: bool,
    config: &PeerConfig,
    method: u8,
    data: &[u8],
    identity: &[u8],
) -> Option<usize> {
    let keys = sa.keys.as_ref().filter(|_| method == METHOD_PSK)?;
    let (message, nonce) =
        if of_initiator { (&opening.request, &opening.nonce_r) } else { (&opening.response, &opening.nonce_i) };
    config
        .psks
        .iter()
        .position(|psk| constant_time_eq(keys.auth(of_initiator, psk.expose(), message, nonce, identity).slice(), data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_attempts_that_overlap_cross() {
        let start = Instant::now();
        let sa = |ours: bool, begun: u64, authenticated: u64| {
            let addresses = (([192, 0, 2, 1], 500).into(), ([192, 0, 2, 2], 500).into());
            let mut sa = IkeSa::new(start, ours, (1, 2), addresses.0, addresses.1, Phase::Established);
            sa.begun_at = start + Duration::from_secs(begun);
            sa.authenticated_at = start + Duration::from_secs(authenticated);
            sa
        };
        let (first, overlapping, later) = ((1, 3), (2, 4), (10, 12));
        for ours in [false, true] {
            let old = sa(ours, first.0, first.1);
            assert!(crossed(&old, &sa(!ours, overlapping.0, overlapping.1)));
            assert!(!crossed(&old, &sa(!ours, later.0, later.1)), "whoever reauthenticates");
            assert!(!crossed(&sa(!ours, later.0, later.1), &old));
            assert!(!crossed(&old, &sa(ours, overlapping.0, overlapping.1)));
        }
    }
}
