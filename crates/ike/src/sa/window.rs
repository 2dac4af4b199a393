//! Requests and responses on one SA: message ids, a window of one, retransmission, and the cache of the last answer
//! (RFC 7296 §2.1 to §2.3).

use std::net::SocketAddr;
use std::time::Instant;

use causeway_crypto::sha256;
use causeway_model::{Fault, ReasonCode};

use super::fragments::{MAX_WHOLE, Unsealed};
use super::{Answered, Farewell, Fate, IkeSa, Pending, Phase, Request};
use crate::Endpoint;
use crate::codec::message::notify;
use crate::codec::{Chain, Content, DecodeError, Exchange, Header};
use crate::event::Event;

/// What handling a request ends with.
pub(crate) struct Reply {
    pub(crate) chain: Chain,
    /// The SA is over once this is sent.
    pub(crate) ends: bool,
}

impl Reply {
    pub(crate) const fn with(chain: Chain) -> Self {
        Self { chain, ends: false }
    }

    pub(crate) fn empty() -> Self {
        Self::with(Chain::new())
    }

    pub(crate) fn error(kind: u16, data: &[u8]) -> Self {
        let mut chain = Chain::new();
        chain.notify(kind, data);
        Self::with(chain)
    }

    pub(crate) const fn last(mut self) -> Self {
        self.ends = true;
        self
    }
}

impl IkeSa {
    /// Seals a message, in fragments if it is long and the peer takes them.
    fn seal(&mut self, header: Header, chain: &Chain) -> Option<Vec<Vec<u8>>> {
        let limit = if self.fragments { MAX_WHOLE } else { usize::MAX };
        self.keys.as_mut()?.seal_fragments(header, chain, limit)
    }
}

impl Endpoint {
    /// A message of an SA that has keys.
    pub(crate) fn on_protected(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        header: Header,
        message: &[u8],
    ) {
        let own = if header.from_initiator { header.spi_r } else { header.spi_i };
        let fits =
            |sa: &IkeSa| (sa.spi_i, sa.spi_r) == (header.spi_i, header.spi_r) && sa.initiator != header.from_initiator;
        if !self.sas.get(&own).is_some_and(fits) {
            // RFC 7296 §2.21.4 allows INVALID_IKE_SPI; silence gives a forger nothing.
            self.count("unknown_spi");
            return;
        }
        self.with_sa(own, |endpoint, sa| {
            if header.response {
                endpoint.on_response(now, sa, (local, remote), header, message)
            } else {
                endpoint.on_request(now, sa, (local, remote), header, message)
            }
        });
    }

    fn on_request(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: (SocketAddr, SocketAddr),
        header: Header,
        message: &[u8],
    ) -> Fate {
        let repeated =
            |answered: &&Answered| header.id.wrapping_add(1) == sa.expected_id && answered.digest == sha256(&[message]);
        if let Some(answered) = sa.answered.as_ref().filter(repeated) {
            self.count("retransmission");
            for response in answered.response.clone() {
                self.transmit(path.0, path.1, response);
            }
            return Fate::Keep;
        }
        let welcome = match (&sa.phase, header.exchange) {
            (Phase::HalfOpen(_), Exchange::Auth) => true,
            (
                Phase::Established | Phase::Replaced | Phase::Closing,
                Exchange::CreateChild | Exchange::Informational,
            ) => true,
            // In particular nothing but IKE_AUTH is taken from a peer that is not authenticated.
            _ => false,
        };
        if !welcome {
            self.count("unexpected_exchange");
            return Fate::Keep;
        }
        if header.id != sa.expected_id {
            self.count("message_id");
            return Fate::Keep;
        }
        if self.is_astray(sa, path) {
            return Fate::Keep;
        }
        let (first, inner, digest) = match sa.unseal(&header, message) {
            Unsealed::Whole(first, inner, digest) => (first, inner, digest),
            Unsealed::Part => return Fate::Keep,
            Unsealed::Bad => {
                self.count("not_authentic");
                return Fate::Keep;
            }
        };
        sa.expected_id = sa.expected_id.wrapping_add(1);
        sa.last_input = now;
        sa.confirmed = sa.phase.is_established();
        self.follow(sa, path);
        let reply = match Content::decode(first, &inner) {
            Ok(content) => match header.exchange {
                Exchange::Auth => self.on_auth_request(now, sa, content),
                Exchange::CreateChild => self.on_create_child_request(now, sa, content),
                _ => self.on_informational_request(now, sa, content),
            },
            Err(DecodeError::UnknownCritical(kind)) => {
                self.count("unsupported_critical_payload");
                let reply = Reply::error(notify::UNSUPPORTED_CRITICAL_PAYLOAD, &[kind]);
                if sa.phase.is_half_open() { reply.last() } else { reply }
            }
            Err(error) => {
                // RFC 7296 §2.21.3: authentic but wrong is fatal.
                self.count("malformed");
                self.malformed(now, sa, &error.to_string());
                Reply::error(notify::INVALID_SYNTAX, &[]).last()
            }
        };
        self.respond(now, sa, path, header, digest, reply)
    }

    fn respond(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: (SocketAddr, SocketAddr),
        request: Header,
        digest: [u8; 32],
        reply: Reply,
    ) -> Fate {
        let header = Header { from_initiator: sa.initiator, response: true, next: 0, ..request };
        let Some(response) = sa.seal(header, &reply.chain) else { return Fate::Drop };
        // RFC 7296 §2.11: to where the request came from, wherever that is.
        for message in response.clone() {
            self.transmit(path.0, path.1, message);
        }
        sa.answered = Some(Answered { digest, response });
        if reply.ends {
            sa.end(now);
        }
        Fate::Keep
    }

    fn on_response(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        path: (SocketAddr, SocketAddr),
        header: Header,
        message: &[u8],
    ) -> Fate {
        if self.is_astray(sa, path) {
            return Fate::Keep;
        }
        let Some(pending) =
            sa.pending.take_if(|pending| pending.id == header.id && pending.exchange == header.exchange)
        else {
            self.count("unexpected_response");
            return Fate::Keep;
        };
        let (first, inner) = match sa.unseal(&header, message) {
            Unsealed::Whole(first, inner, _) => (first, inner),
            unfinished => {
                sa.pending = Some(pending);
                if matches!(unfinished, Unsealed::Bad) {
                    self.count("not_authentic");
                }
                return Fate::Keep;
            }
        };
        sa.last_input = now;
        self.follow(sa, path);
        let content = match Content::decode(first, &inner) {
            Ok(content) => content,
            Err(error) => {
                self.count("malformed");
                self.malformed(now, sa, &error.to_string());
                if !sa.phase.is_established() {
                    return Fate::Drop;
                }
                // The peer does not know that it broke the protocol.
                sa.closing = Some(Farewell::Delete);
                self.begin_close(now, sa);
                return Fate::Keep;
            }
        };
        sa.confirmed = sa.phase.is_established();
        match pending.what {
            // Closed while the answer was under way; the DELETE of the IKE SA takes the Child SA with it.
            Request::Child(_) if sa.closing.is_some() => Fate::Keep,
            Request::Auth => self.on_auth_response(now, sa, content),
            Request::Child(request) => self.on_child_response(now, sa, *request, &content),
            Request::RekeyIke(request) => self.on_rekey_response(now, sa, *request, &content),
            Request::DeleteChildren(children) => self.on_children_deleted(now, sa, &children),
            Request::DeleteIke => Fate::Drop,
            Request::Init | Request::Liveness => Fate::Keep,
        }
    }

    /// The reason of an SA that ends because the peer broke the protocol.
    pub(crate) fn malformed(&mut self, now: Instant, sa: &mut IkeSa, what: &str) {
        let fault = Fault::new(ReasonCode::MalformedMessage).with("message", what);
        let was_up = !sa.children.is_empty();
        self.bury_children(now, sa, &fault);
        if let Some(key) = sa.peer.filter(|_| !was_up) {
            self.attempt_failed(key, fault, sa.began_it);
        }
    }

    /// Whether a message of an SA that is not yet authenticated comes by other addresses than its IKE_SA_INIT did. Those chose the
    /// peers that it may be, and their proposals.
    fn is_astray(&mut self, sa: &IkeSa, (local, remote): (SocketAddr, SocketAddr)) -> bool {
        let opening = matches!(sa.phase, Phase::HalfOpen(_) | Phase::Authenticating(..));
        let astray = opening && (sa.local.ip(), sa.remote.ip()) != (local.ip(), remote.ip());
        if astray {
            self.count("foreign_address");
        }
        astray
    }

    /// RFC 7296 §2.23: an authentic message shows which port the peer's NAT uses now. Another address is not followed: the peer
    /// could make us send a tunnel's traffic to whom it likes, and so could whoever sees a message and is quicker with it.
    fn follow(&mut self, sa: &mut IkeSa, (local, remote): (SocketAddr, SocketAddr)) {
        if (sa.local, sa.remote) == (local, remote) {
            return;
        }
        // Once on the port of the encapsulation, an SA stays there.
        let port = self.config.encapsulation_port;
        let back = sa.local.port() == port && local.port() != port;
        if back || (sa.local.ip(), sa.remote.ip()) != (local.ip(), remote.ip()) {
            self.count("foreign_address");
            return;
        }
        let moved = sa.remote != remote && sa.phase.is_established();
        sa.local = local;
        sa.remote = remote;
        if let Some(peer) = sa.peer.filter(|_| moved) {
            self.emit(Event::RemoteMoved { peer, remote });
        }
    }

    /// Sends a request. The SA must have keys and no request under way.
    pub(crate) fn request(&mut self, now: Instant, sa: &mut IkeSa, exchange: Exchange, chain: &Chain, what: Request) {
        let header = Header {
            spi_i: sa.spi_i,
            spi_r: sa.spi_r,
            next: 0,
            exchange,
            from_initiator: sa.initiator,
            response: false,
            id: sa.next_id,
        };
        if let Some(messages) = sa.seal(header, chain) {
            self.begin_request(now, sa, exchange, messages, what);
        }
    }

    /// Sends a request that is already written, and remembers it until it is answered.
    pub(crate) fn begin_request(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        exchange: Exchange,
        messages: Vec<Vec<u8>>,
        what: Request,
    ) {
        let interval = self.config.retransmit_first;
        for message in messages.clone() {
            self.transmit(sa.local, sa.remote, message);
        }
        sa.pending = Some(Pending {
            id: sa.next_id,
            exchange,
            messages,
            sent_at: now,
            resend_at: now + interval,
            interval,
            what,
        });
        sa.next_id = sa.next_id.wrapping_add(1);
    }

    /// Repeats the pending request if it is time.
    pub(crate) fn retransmit(&mut self, now: Instant, sa: &mut IkeSa) {
        let Some(pending) = &mut sa.pending else { return };
        if pending.resend_at > now {
            return;
        }
        pending.interval = (pending.interval * 2).min(self.config.retransmit_cap);
        pending.resend_at = now + pending.interval;
        for message in pending.messages.clone() {
            self.transmit(sa.local, sa.remote, message);
        }
    }
}
