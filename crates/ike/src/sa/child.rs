//! Child SAs: negotiation in IKE_AUTH and CREATE_CHILD_SA, rekeying, and collisions (RFC 7296 §1.3, §2.8, §2.9, §2.25.1).

use std::time::{Duration, Instant};

use causeway_crypto::{KeyExchange, Secret};
use causeway_model::suite::DhGroup;
use causeway_model::{Family, Fault, ReasonCode};

use super::init::lower;
use super::window::Reply;
use super::{ACTIVATE_AFTER, Child, ChildAgreement, ChildRequest, Farewell, Fate, IkeSa, REPLACED_WAIT, Request};
use crate::Endpoint;
use crate::codec::message::{NONCE, notify};
use crate::codec::proposal::{PROTOCOL_AH, PROTOCOL_ESP, PROTOCOL_IKE};
use crate::codec::{Chain, Content, Exchange, Selector, selectors};
use crate::config::PeerConfig;
use crate::event::{ChildId, ChildSa, Event};
use crate::suite::{
    accept_esp, answer_esp, choose_esp, describe_ciphers, describe_proposals, propose_esp, with_difference,
};

/// Pause after TEMPORARY_FAILURE (RFC 7296 §2.25: not at once).
pub(crate) const TEMPORARY_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a refusal that is not temporary.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// What we want to carry: everything (system.md §5: route-based).
pub(crate) fn our_selectors() -> Vec<Selector> {
    Family::ALL.iter().map(|family| Selector::all(*family)).collect()
}

/// The families that both lists carry completely; what the peer wants beyond our range, or less of it, is narrowed away.
fn common_families(content: &Content) -> Vec<Selector> {
    let covers = |list: &Option<Vec<Selector>>, all: &Selector| list.as_ref().is_some_and(|list| list.contains(all));
    our_selectors().into_iter().filter(|all| covers(&content.ts_i, all) && covers(&content.ts_r, all)).collect()
}

/// The families of selectors that carry a family each.
fn families_of(selectors: &[Selector]) -> Vec<Family> {
    Family::ALL.into_iter().filter(|family| selectors.contains(&Selector::all(*family))).collect()
}

fn selector_text(content: &Content) -> String {
    let text = |list: &Option<Vec<Selector>>| {
        let list = list.as_deref().unwrap_or_default();
        let shown = list.len().min(8);
        let text = selectors::describe(list.get(..shown).unwrap_or_default());
        if shown < list.len() { format!("{text},…") } else { text }
    };
    format!("{} === {}", text(&content.ts_i), text(&content.ts_r))
}

/// How a Child SA is put in place.
pub(crate) struct Installation<'a> {
    pub(crate) spi: u32,
    pub(crate) shared: Option<&'a Secret>,
    pub(crate) nonces: (&'a [u8], &'a [u8]),
    /// Whether we initiated the exchange.
    pub(crate) initiator: bool,
    pub(crate) rekeys: Option<ChildId>,
    /// Whether to send on it at once.
    pub(crate) send: bool,
}

impl Endpoint {
    /// A fault about the Child SA with our list, and theirs where it is known.
    pub(crate) fn child_fault(&self, config: &PeerConfig, code: ReasonCode, theirs: Option<String>) -> Fault {
        let ours = match code {
            ReasonCode::TsUnacceptable | ReasonCode::TransportMode => selectors::describe(&our_selectors()),
            _ => describe_ciphers(&config.esp_proposals),
        };
        let mut fault = Fault::new(code);
        fault.ours = Some(ours);
        fault.theirs = theirs;
        fault
    }

    /// As responder: the suite and the selectors of the peer's request, or what to answer instead.
    pub(crate) fn agree_child(
        &self,
        config: &PeerConfig,
        content: &Content,
        with_group: bool,
    ) -> Result<(ChildAgreement, Vec<Selector>), (u16, Fault)> {
        let theirs = content.proposals.as_deref().unwrap_or_default();
        let chosen = choose_esp(&config.esp_proposals, theirs, with_group);
        let chosen = chosen.and_then(|chosen| Some((chosen.suite, chosen.number, peer_spi(&chosen.spi)?)));
        let Some((suite, number, peer_spi)) = chosen else {
            let ah_only = !theirs.is_empty() && theirs.iter().all(|proposal| proposal.protocol == PROTOCOL_AH);
            let code = if ah_only {
                ReasonCode::AhOffered
            } else if with_group && choose_esp(&config.esp_proposals, theirs, false).is_some() {
                ReasonCode::PfsMismatch
            } else {
                ReasonCode::ChildNoProposalChosen
            };
            let mut fault = self.child_fault(config, code, Some(describe_proposals(theirs)));
            if code == ReasonCode::ChildNoProposalChosen {
                fault = with_difference(fault, &propose_esp(&config.esp_proposals, 0, with_group), theirs);
            }
            return Err((notify::NO_PROPOSAL_CHOSEN, fault));
        };
        let families = common_families(content);
        if families.is_empty() {
            // Transport mode has no room for more than the two hosts, so it is what makes the selectors what they are.
            let transport = content.notify(notify::USE_TRANSPORT_MODE).is_some();
            let code = if transport { ReasonCode::TransportMode } else { ReasonCode::TsUnacceptable };
            let fault = self.child_fault(config, code, Some(selector_text(content)));
            return Err((notify::TS_UNACCEPTABLE, fault));
        }
        let carried = families_of(&families);
        Ok((ChildAgreement { suite, number, peer_spi, families: carried }, families))
    }

    /// As initiator: what the peer agreed to.
    pub(crate) fn accept_child(
        &self,
        config: &PeerConfig,
        content: &Content,
        with_group: bool,
    ) -> Result<ChildAgreement, Fault> {
        if let Some(error) = content.error().filter(|_| content.proposals.is_none()) {
            let code = match error.kind {
                notify::TS_UNACCEPTABLE => ReasonCode::TsUnacceptable,
                notify::INVALID_SYNTAX | notify::UNSUPPORTED_CRITICAL_PAYLOAD => ReasonCode::MalformedMessage,
                _ => ReasonCode::ChildNoProposalChosen,
            };
            return Err(self.child_fault(config, code, None).with("peer_says", notify::name(error.kind)));
        }
        let answer = content.proposals.as_deref().unwrap_or_default();
        let chosen = accept_esp(&config.esp_proposals, answer, with_group);
        let chosen = chosen.and_then(|chosen| Some((chosen.suite, chosen.number, peer_spi(&chosen.spi)?)));
        let Some((suite, number, peer_spi)) = chosen else {
            return Err(self.child_fault(config, ReasonCode::ChildNoProposalChosen, Some(describe_proposals(answer))));
        };
        let families = families_of(&common_families(content));
        if families.is_empty() {
            return Err(self.child_fault(config, ReasonCode::TsUnacceptable, Some(selector_text(content))));
        }
        Ok(ChildAgreement { suite, number, peer_spi, families })
    }

    /// A Child SA could not be made. While another carries the tunnel that is told, and remembered in case it is the last word.
    pub(crate) fn child_failed(&mut self, sa: &mut IkeSa, fault: Fault, ours: bool) {
        self.count(fault.code.as_str());
        sa.fault = Some(fault.clone());
        let Some(key) = sa.peer else { return };
        match self.peers.get(&key).map(|peer| peer.children.is_empty()) {
            Some(true) => self.attempt_failed(key, fault, ours),
            Some(false) => self.emit(Event::Trouble { peer: key, fault }),
            None => {}
        }
    }

    /// Puts a Child SA in place and tells the owner.
    pub(crate) fn install(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        agreement: &ChildAgreement,
        how: &Installation<'_>,
    ) -> Option<ChildId> {
        let key = sa.peer?;
        let keys = sa.keys.as_ref()?;
        let (from_initiator, from_responder) = keys.child(agreement.suite, how.shared, how.nonces.0, how.nonces.1);
        let (inbound_keymat, outbound_keymat) =
            if how.initiator { (from_responder, from_initiator) } else { (from_initiator, from_responder) };
        let timers = self.timers(sa);
        let lifetime = Duration::from_secs(u64::from(timers.child_lifetime.max(1)));
        let soft = self.jitter(lifetime, 800, 950);
        let permille = self.jitter(Duration::from_millis(1000), 800, 950).as_millis();
        let packets = u128::from(timers.child_packets) * permille / 1000;
        let id = self.free_child_id();
        let rekeys = how.rekeys.and_then(|old| sa.child(old)).map_or(0, |old| old.rekeys.saturating_add(1));
        sa.children.push(Child {
            id,
            inbound_spi: how.spi,
            outbound_spi: agreement.peer_spi,
            installed_at: now,
            rekeys,
            rekey_at: now + soft,
            expires_at: now + lifetime,
            packet_limit: u64::try_from(packets).unwrap_or(u64::MAX).max(1),
            delete: false,
            replaced: false,
            activate_at: (!how.send && !how.initiator).then_some(now + ACTIVATE_AFTER),
            replaces: how.rekeys,
            carried: false,
        });
        sa.childless_since = None;
        sa.next_child_at = None;
        sa.fault = None;
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.children.push(id);
            if how.send {
                peer.sending = Some(id);
            }
            peer.up_since.get_or_insert(now);
        }
        self.emit(Event::ChildInstalled {
            peer: key,
            child: ChildSa {
                id,
                inbound_spi: how.spi,
                outbound_spi: agreement.peer_spi,
                suite: (agreement.suite.encryption, agreement.suite.integrity),
                inbound_keymat,
                outbound_keymat,
                local: sa.local,
                remote: sa.remote,
                suite_text: agreement.suite.to_string(),
                families: agreement.families.clone(),
                rekeys,
                use_for_sending: how.send,
            },
        });
        Some(id)
    }

    /// Sends CREATE_CHILD_SA for a new Child SA, or for the successor of `rekeys`. `group` overrides the guess of the PFS group.
    pub(crate) fn start_child(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        rekeys: Option<ChildId>,
        group: Option<DhGroup>,
    ) {
        let Some(config) = self.peer_config(sa.peer) else { return };
        let group = group.or_else(|| config.esp_proposals.first().and_then(|cipher| cipher.dh_group));
        let exchange = match group.map(|group| KeyExchange::generate(group, self.entropy.as_mut())) {
            Some(Ok(exchange)) => Some(exchange),
            Some(Err(_)) => return,
            None => None,
        };
        let spi = self.free_esp_spi(sa);
        let nonce = self.nonce();
        let mut chain = Chain::new();
        if let Some(old) = rekeys.and_then(|id| sa.child(id)) {
            chain.notify_esp(notify::REKEY_SA, old.inbound_spi);
        }
        chain.proposals(&propose_esp(&config.esp_proposals, spi, true));
        chain.push(NONCE, &[&nonce]);
        if let Some(exchange) = &exchange {
            chain.exchange(exchange.group().iana(), exchange.public());
        }
        let ours = our_selectors();
        chain.selectors(&ours, &ours);
        let request = ChildRequest { rekeys, spi, nonce, exchange, collision: None };
        self.request(now, sa, Exchange::CreateChild, &chain, Request::Child(Box::new(request)));
    }

    /// The peer's CREATE_CHILD_SA.
    pub(crate) fn on_create_child_request(&mut self, now: Instant, sa: &mut IkeSa, content: Content) -> Reply {
        let Some(config) = self.peer_config(sa.peer).filter(|_| sa.phase.is_established() && sa.closing.is_none())
        else {
            self.count("temporary_failure");
            return Reply::error(notify::TEMPORARY_FAILURE, &[]);
        };
        let (Some(first), Some(nonce)) = (content.proposals.as_ref().and_then(|list| list.first()), &content.nonce)
        else {
            self.count("malformed");
            self.malformed(now, sa, "CREATE_CHILD_SA without SA or nonce");
            return Reply::error(notify::INVALID_SYNTAX, &[]).last();
        };
        if first.protocol == PROTOCOL_IKE {
            return self.on_rekey_request(now, sa, &config, &content, nonce);
        }
        if matches!(sa.pending.as_ref().map(|pending| &pending.what), Some(Request::RekeyIke(_))) {
            self.count("temporary_failure");
            return Reply::error(notify::TEMPORARY_FAILURE, &[]);
        }
        let rekeys = match content.notify(notify::REKEY_SA) {
            None => None,
            Some(rekey) => {
                let spi = peer_spi(&rekey.spi).filter(|_| rekey.protocol == PROTOCOL_ESP);
                let old = sa.children.iter().find(|child| Some(child.outbound_spi) == spi);
                let Some(old) = old else {
                    self.count("child_sa_not_found");
                    let mut chain = Chain::new();
                    chain.notify_esp(notify::CHILD_SA_NOT_FOUND, spi.unwrap_or_default());
                    return Reply::with(chain);
                };
                if old.delete || old.replaced {
                    self.count("temporary_failure");
                    return Reply::error(notify::TEMPORARY_FAILURE, &[]);
                }
                Some(old.id)
            }
        };
        if sa.children.len() >= self.config.max_children {
            self.count("no_additional_sas");
            return Reply::error(notify::NO_ADDITIONAL_SAS, &[]);
        }
        let (agreement, families) = match self.agree_child(&config, &content, true) {
            Ok(agreed) => agreed,
            Err((kind, fault)) => {
                self.child_failed(sa, fault, false);
                return Reply::error(kind, &[]);
            }
        };
        let half = match self.answer_exchange(agreement.suite.group, &content) {
            Ok(half) => half,
            Err(reply) => return reply,
        };
        let spi = self.free_esp_spi(sa);
        let nonce_r = self.nonce();
        let mut chain = Chain::new();
        chain.proposals(&[answer_esp(agreement.suite, agreement.number, spi)]);
        chain.push(NONCE, &[&nonce_r]);
        if let Some((group, public, _)) = &half {
            chain.exchange(group.iana(), public);
        }
        chain.selectors(&families, &families);
        let how = Installation {
            spi,
            shared: half.as_ref().map(|(_, _, shared)| shared),
            nonces: (nonce, &nonce_r),
            initiator: false,
            rekeys,
            send: rekeys.is_none(),
        };
        let installed = self.install(now, sa, &agreement, &how);
        if let (Some(new), Some(old)) = (installed, rekeys) {
            if let Some(old) = sa.child_mut(old) {
                old.replaced = true;
                // The peer deletes it once it has our answer; our own clock must not be faster.
                old.expires_at = old.expires_at.max(now + REPLACED_WAIT);
            }
            match sa.pending.as_mut().map(|pending| &mut pending.what) {
                Some(Request::Child(ours)) if ours.rekeys == Some(old) => {
                    ours.collision = Some((new, lower(nonce, &nonce_r).to_vec()));
                }
                _ => {}
            }
        }
        Reply::with(chain)
    }

    /// Our half of a CREATE_CHILD_SA's key exchange, and the shared secret; INVALID_KE_PAYLOAD if the peer guessed another group.
    pub(crate) fn answer_exchange(
        &mut self,
        group: Option<DhGroup>,
        content: &Content,
    ) -> Result<Option<(DhGroup, Vec<u8>, Secret)>, Reply> {
        let Some(group) = group else { return Ok(None) };
        let Some((_, public)) = content.exchange.as_ref().filter(|(theirs, _)| *theirs == group.iana()) else {
            self.count("invalid_ke_payload");
            return Err(Reply::error(notify::INVALID_KE_PAYLOAD, &group.iana().to_be_bytes()));
        };
        let agreed = KeyExchange::generate(group, self.entropy.as_mut())
            .and_then(|exchange| Ok((exchange.public().to_vec(), exchange.agree(public)?)));
        match agreed {
            Ok((ours, shared)) => Ok(Some((group, ours, shared))),
            Err(_) => {
                self.count("malformed");
                Err(Reply::error(notify::NO_PROPOSAL_CHOSEN, &[]))
            }
        }
    }

    /// The answer to our CREATE_CHILD_SA for a Child SA.
    pub(crate) fn on_child_response(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        request: ChildRequest,
        content: &Content,
    ) -> Fate {
        let Some(config) = self.peer_config(sa.peer) else { return Fate::Keep };
        if let Some(error) = content.error().filter(|_| content.proposals.is_none()) {
            let group =
                error.data.first_chunk::<2>().and_then(|octets| DhGroup::from_iana(u16::from_be_bytes(*octets)));
            self.child_refused(now, sa, &config, &request, error.kind, group, content);
            return Fate::Keep;
        }
        let agreed = self.accept_child(&config, content, true);
        let agreed = agreed.and_then(|agreement| {
            let bad = || Fault::new(ReasonCode::MalformedMessage).with("message", "CREATE_CHILD_SA response");
            let nonce = content.nonce.as_ref().ok_or_else(bad)?;
            let shared = match (agreement.suite.group, request.exchange) {
                (None, _) => None,
                (Some(group), Some(exchange)) if exchange.group() == group => {
                    let public =
                        content.exchange.as_ref().filter(|(theirs, _)| *theirs == group.iana()).ok_or_else(bad)?;
                    Some(exchange.agree(&public.1).map_err(|_| bad())?)
                }
                (Some(_), _) => return Err(bad()),
            };
            Ok((agreement, nonce, shared))
        });
        let (agreement, nonce_r, shared) = match agreed {
            Ok(agreed) => agreed,
            Err(fault) => {
                // The peer has a Child SA that we cannot use: only a new beginning gets both ends to the same state.
                self.child_failed(sa, fault.clone(), sa.began_it);
                self.bury_children(now, sa, &fault);
                sa.closing = Some(Farewell::Delete);
                self.begin_close(now, sa);
                return Fate::Keep;
            }
        };
        let rival = request.collision.filter(|(child, _)| sa.child(*child).is_some());
        let lowest = lower(&request.nonce, nonce_r);
        // RFC 7296 §2.8.1: the Child SA made with the lowest of the four nonces is redundant, and its creator deletes it.
        let lost = rival.as_ref().is_some_and(|(_, theirs)| lowest < theirs.as_slice());
        let how = Installation {
            spi: request.spi,
            shared: shared.as_ref(),
            nonces: (&request.nonce, nonce_r),
            initiator: true,
            rekeys: request.rekeys,
            send: !lost,
        };
        let installed = self.install(now, sa, &agreement, &how);
        if lost {
            if let Some(new) = installed.and_then(|id| sa.child_mut(id)) {
                new.delete = true;
            }
            return Fate::Keep;
        }
        if let Some(rival) = rival.and_then(|(id, _)| sa.child_mut(id)) {
            // The peer deletes it; nothing is to be sent on it.
            rival.activate_at = None;
            rival.replaced = true;
        }
        if let Some(old) = request.rekeys.and_then(|id| sa.child_mut(id)) {
            old.replaced = true;
            old.delete = true;
        }
        Fate::Keep
    }

    fn child_refused(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        config: &PeerConfig,
        request: &ChildRequest,
        kind: u16,
        group: Option<DhGroup>,
        content: &Content,
    ) {
        let offered = |group: &DhGroup| crate::suite::allows_group(&config.esp_proposals, *group, None);
        let other =
            group.filter(|group| offered(group) && request.exchange.as_ref().is_none_or(|ours| ours.group() != *group));
        let pause = match kind {
            _ if request.collision.is_some() => return,
            notify::INVALID_KE_PAYLOAD if other.is_some() => {
                self.start_child(now, sa, request.rekeys, other);
                return;
            }
            notify::CHILD_SA_NOT_FOUND => {
                if let Some(old) = request.rekeys {
                    let fault = Fault::new(ReasonCode::PeerDeletedChild).with("peer_says", notify::name(kind));
                    self.remove_child(now, sa, old, &fault);
                }
                sa.next_child_at = Some(now);
                return;
            }
            notify::TEMPORARY_FAILURE => TEMPORARY_PAUSE,
            _ => {
                if let Err(mut fault) = self.accept_child(config, content, true) {
                    if request.rekeys.is_some() {
                        fault = fault.with("during", "rekey");
                        if kind == notify::NO_PROPOSAL_CHOSEN {
                            // The same ciphers were agreed upon in IKE_AUTH, where the group does not count (RFC 7296 §1.2).
                            fault.code = ReasonCode::PfsMismatch;
                        }
                    }
                    self.child_failed(sa, fault, sa.began_it);
                }
                REFUSED_PAUSE
            }
        };
        let at = now + self.jitter(pause, 1000, 2000);
        match request.rekeys.and_then(|id| sa.child_mut(id)) {
            Some(old) => old.rekey_at = at,
            None => sa.next_child_at = Some(at),
        }
    }
}

fn peer_spi(spi: &[u8]) -> Option<u32> {
    spi.try_into().ok().map(u32::from_be_bytes).filter(|spi| *spi != 0)
}
