//! The TCP below a session: what is asked of the peer there, and what the kernel drops because of it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use causeway_linux::Namespace;
use causeway_linux::tcp::{self, Refused};
use causeway_model::{Fault, Psk, ReasonCode};
use tokio::net::TcpSocket;

use super::PORT;
use crate::error::SetupError;

/// Connections of peers that may wait to be accepted.
const BACKLOG: i32 = 16;

/// What a session asks of the peer below BGP; both ends have to be configured for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// The key that signs every segment (RFC 2385), of 1 to 80 octets.
    pub md5: Option<Psk>,
    /// Whether only neighbours by hop limit are heard (RFC 5082).
    pub gtsm: bool,
}

impl Guard {
    /// Whether this kernel can do it, before anything depends on it.
    ///
    /// # Errors
    /// With the option concerned and what to do.
    pub fn check(&self) -> Result<(), SetupError> {
        let Some(key) = &self.md5 else { return Ok(()) };
        let item = "bgp.md5_secret_id".to_owned();
        if !(1..=tcp::MD5_KEY_MAX).contains(&key.expose().len()) {
            let error =
                "the key cannot be read, or has not 1 to 80 octets; name the secret again, or take the option away";
            return Err(SetupError { item, error: error.to_owned() });
        }
        tcp::can_sign().map_err(|error| SetupError {
            item,
            error: format!(
                "this node's kernel cannot sign TCP segments ({error}); give it one with CONFIG_TCP_MD5SIG, or take the option away"
            ),
        })
    }

    /// Makes `socket` ask it of `peer`.
    pub(super) fn apply(&self, socket: &impl AsFd, peer: IpAddr) -> io::Result<()> {
        if let Some(key) = &self.md5 {
            tcp::sign(socket, peer, key.expose())?;
        }
        if self.gtsm {
            tcp::only_neighbours(socket, peer.is_ipv6(), true)?;
        }
        Ok(())
    }
}

/// A socket bound to our inside address, towards `peer`. To be called by a thread that is inside the gateway's namespace.
pub(super) fn outgoing(local: IpAddr, peer: IpAddr, guard: &Guard) -> io::Result<TcpSocket> {
    let socket = stream(local)?;
    guard.apply(&socket, peer)?;
    socket.bind(&SocketAddr::new(local, 0).into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

fn stream(local: IpAddr) -> io::Result<socket2::Socket> {
    let domain = socket2::Domain::for_address(SocketAddr::new(local, 0));
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A listener on port 179 of `local` that asks of `peers` what [`Listener::guard`] says, from the first segment on. To be called by a thread that
/// is inside the gateway's namespace.
///
/// # Errors
/// If the kernel refuses.
pub fn listen(local: IpAddr, peers: &[(IpAddr, &Guard)]) -> io::Result<(Listener, std::net::TcpListener)> {
    let socket = stream(local)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(local, PORT).into())?;
    let accepting = socket.try_clone()?;
    let mut listener = Listener { socket: Arc::new(socket.into()), local, signed: Vec::new(), gtsm: false };
    listener.guard(peers)?;
    accepting.listen(BACKLOG)?;
    Ok((listener, accepting.into()))
}

/// A second hold on a listening socket, to change what it asks of whom.
#[derive(Debug)]
pub struct Listener {
    socket: Arc<OwnedFd>,
    local: IpAddr,
    signed: Vec<(IpAddr, Psk)>,
    gtsm: bool,
}

impl Listener {
    /// Asks of each of these peers what its session asks of it. The hop limit can be asked of all or none: an address has one session,
    /// as interconnection subnets do not overlap.
    ///
    /// # Errors
    /// If the kernel refuses; then it is not known what is asked, and the listener should go.
    pub fn guard(&mut self, peers: &[(IpAddr, &Guard)]) -> io::Result<()> {
        let wanted: Vec<(IpAddr, Psk)> =
            peers.iter().filter_map(|(peer, guard)| Some((*peer, guard.md5.clone()?))).collect();
        for (peer, _) in self.signed.iter().filter(|(peer, _)| !wanted.iter().any(|(wanted, _)| wanted == peer)) {
            tcp::sign(&*self.socket, *peer, &[])?;
        }
        for (peer, key) in wanted.iter().filter(|wanted| !self.signed.contains(wanted)) {
            tcp::sign(&*self.socket, *peer, key.expose())?;
        }
        self.signed = wanted;
        let gtsm = !peers.is_empty() && peers.iter().all(|(_, guard)| guard.gtsm);
        if gtsm != self.gtsm {
            tcp::only_neighbours(&*self.socket, self.local.is_ipv6(), gtsm)?;
            self.gtsm = gtsm;
        }
        Ok(())
    }

    /// For the session whose peer connects here.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::new(&self.socket)
    }
}

/// Sees what the kernel drops at a socket, and does not keep it open.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    socket: Weak<OwnedFd>,
    /// What was counted before.
    seen: u32,
}

impl Watch {
    pub(super) fn new(socket: &Arc<OwnedFd>) -> Self {
        Self { socket: Arc::downgrade(socket), seen: tcp::dropped(&**socket).unwrap_or(0) }
    }

    pub(super) fn is_of_the_same(&self, other: &Self) -> bool {
        self.socket.ptr_eq(&other.socket)
    }

    /// Whether anything was dropped since it was asked last.
    pub(super) fn saw_drops(&mut self) -> bool {
        let dropped = self.socket.upgrade().and_then(|socket| tcp::dropped(&*socket).ok()).unwrap_or(self.seen);
        std::mem::replace(&mut self.seen, dropped) != dropped
    }
}

/// What the kernel drops of the peer's segments while a session is down: the only trace of a wrong password or a hop limit, which to both
/// ends look like silence. Why it dropped something it says for the whole namespace only; whether it did, for each socket.
#[derive(Debug, Default)]
pub(super) struct Drops {
    /// The counters at the last look.
    before: Option<Refused>,
    /// What the last look found that found anything: the peer may have been configured otherwise since an earlier one.
    latest: Refused,
}

impl Drops {
    /// The session begins to be down: what was dropped before is not its concern.
    pub(super) fn begin(&mut self, namespace: &Namespace) {
        self.before = Refused::of(namespace).ok();
        self.latest = Refused::default();
    }

    /// An attempt ends, or another one begins. `ours`: something was dropped at a socket of ours since the last look.
    pub(super) fn look(&mut self, namespace: &Namespace, ours: bool) {
        if let Ok(now) = Refused::of(namespace) {
            self.note(now, ours);
        }
    }

    fn note(&mut self, now: Refused, ours: bool) {
        let grown = now.since(self.before.replace(now).unwrap_or(now));
        if ours && grown != Refused::default() {
            self.latest = grown;
        }
    }

    /// Adds to the fault of a session that nobody answers what can be known of the reason. The numbers are those of the whole gateway, and
    /// the evidence says so.
    pub(super) fn explain(&self, fault: Fault, guard: &Guard) -> Fault {
        // A listener of BIRD answers with hop limit 255 and speaks with 1 thereafter: then there is a connection without an OPEN.
        let silent = matches!(
            fault.code,
            ReasonCode::BgpTimeout
                | ReasonCode::BgpConnecting
                | ReasonCode::TcpRefused
                | ReasonCode::BgpConnectionLost
                | ReasonCode::BgpHoldTimerExpired
        );
        if !silent {
            return fault;
        }
        let Refused { unsigned, unexpected, wrong_signature, hop_limit } = self.latest;
        let signed = guard.md5.is_some();
        let causes = [
            (
                wrong_signature,
                signed,
                "dropped_wrong_signature",
                "the peer signs with another MD5 password than `bgp.md5_secret_id` holds",
            ),
            (
                unsigned,
                signed,
                "dropped_unsigned",
                "the peer does not sign its segments, which `bgp.md5_secret_id` asks for",
            ),
            (
                unexpected,
                !signed,
                "dropped_signed",
                "the peer signs its segments (TCP MD5), but the connection has no `bgp.md5_secret_id`",
            ),
            (
                hop_limit,
                guard.gtsm,
                "dropped_hop_limit",
                "the peer does not send with hop limit 255, which `bgp.gtsm` asks for",
            ),
        ];
        let mut fault = fault;
        let mut known = None;
        for (count, applies, name, cause) in causes {
            if count > 0 && applies {
                fault = fault.with(name, format!("{count} in this gateway"));
                known = known.or(Some(cause));
            }
        }
        match (known, signed, guard.gtsm) {
            (Some(cause), _, _) => fault.with("cause", cause),
            // The peer drops what we send, and says nothing.
            (None, true, _) if fault.code == ReasonCode::BgpTimeout => {
                fault.with("md5", "signed; a peer with another password, or none, looks like one that does not answer")
            }
            (None, false, true) if fault.code == ReasonCode::BgpTimeout => fault.with(
                "gtsm",
                "on; if the device's counterpart (`ttl security`) is off, it may look like one that does not answer",
            ),
            _ => fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(md5: bool, gtsm: bool) -> Guard {
        Guard { md5: md5.then(|| Psk::new(b"k".to_vec())), gtsm }
    }

    fn drops(latest: Refused) -> Drops {
        Drops { before: None, latest }
    }

    #[test]
    fn a_key_that_is_none_is_refused_by_name() {
        for key in [Vec::new(), vec![b'k'; 81]] {
            let error = Guard { md5: Some(Psk::new(key)), gtsm: false }.check().expect_err("no key");
            assert_eq!(error.item, "bgp.md5_secret_id");
        }
        guard(false, true).check().expect("asks nothing of the kernel that it could lack");
    }

    #[test]
    fn what_was_dropped_at_sockets_of_others_is_not_ours() {
        let refused = |wrong_signature| Refused { wrong_signature, ..Refused::default() };
        let mut drops = Drops { before: Some(refused(3)), latest: Refused::default() };
        drops.note(refused(5), false);
        assert_eq!(drops.latest, Refused::default());
        // Nor is it later, when a socket of ours drops something.
        drops.note(refused(6), true);
        assert_eq!(drops.latest, refused(1));
        drops.note(refused(6), true);
        assert_eq!(drops.latest, refused(1), "what dropped it then has no name");
    }

    #[test]
    fn what_was_dropped_says_why_nobody_answers() {
        let silent = || Fault::new(ReasonCode::BgpTimeout).with("cause", "no answer");
        let cause = |since, guard| drops(since).explain(silent(), &guard).evidence["cause"].clone();
        let one = Refused { unsigned: 1, ..Refused::default() };
        assert!(cause(one, guard(true, false)).starts_with("the peer does not sign"));
        let two = Refused { wrong_signature: 2, ..one };
        assert!(cause(two, guard(true, true)).starts_with("the peer signs with another"));
        assert!(cause(Refused { unexpected: 1, ..Refused::default() }, guard(false, false)).contains("has no"));
        assert!(cause(Refused { hop_limit: 1, ..Refused::default() }, guard(false, true)).contains("hop limit 255"));
        // What other sessions of the gateway ask for is not this one's reason.
        for since in [two, Refused { hop_limit: 1, ..Refused::default() }] {
            assert_eq!(cause(since, guard(false, false)), "no answer");
        }
        let fault = drops(two).explain(silent(), &guard(true, false));
        assert_eq!(fault.evidence["dropped_wrong_signature"], "2 in this gateway");
        // Nothing is dropped here, but may be there.
        let fault = drops(Refused::default()).explain(silent(), &guard(true, false));
        assert!(fault.evidence.contains_key("md5") && fault.evidence["cause"] == "no answer");
        // A connection on which nothing is heard is silence, too.
        let lost = Fault::new(ReasonCode::BgpConnectionLost).with("cause", "closed by the peer");
        let dropped = Refused { hop_limit: 1, ..Refused::default() };
        assert!(drops(dropped).explain(lost, &guard(false, true)).evidence["cause"].contains("hop limit 255"));
        // A peer that speaks is not silent for these reasons.
        let spoken = Fault::new(ReasonCode::BgpAsnMismatch);
        assert_eq!(drops(two).explain(spoken.clone(), &guard(true, false)), spoken);
    }
}
