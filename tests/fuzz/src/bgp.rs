//! BGP: the session, its framer, its UPDATEs and its policy.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use causeway_bgp::{Action, ConnKind, ConnectError, Policy, Session, State, Verdict};
use causeway_model::Family;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::input::Input;
use crate::model::{self, Step};
use crate::peer::{self, OURS, Peer, THEIRS, as4, config, keepalive, message, mp, open_with};

/// Steps of one run at most.
const STEPS: usize = 256;

fn family(input: &mut Input<'_>) -> Family {
    Family::from_is_ipv6(input.octet() & 1 == 1)
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// A few policies: none, everything, some, and with subnets of our own.
fn policy(number: u8) -> Policy {
    let all = || vec![net("0.0.0.0/0"), net("::/0")];
    let own = || vec![net("10.1.0.0/24"), net("fd20:1::/64")];
    match number % 5 {
        0 => Policy::default(),
        1 => Policy { propagate: true, accept: all(), announce: all(), local_subnets: own(), ..Policy::default() },
        2 => Policy { propagate: true, accept: vec![net("10.0.0.0/8"), net("fd20::/16")], ..Policy::default() },
        3 => Policy { propagate: false, accept: all(), announce: all(), local_subnets: own(), ..Policy::default() },
        _ => Policy {
            propagate: true,
            accept: all(),
            announce: vec![net("172.16.0.0/12"), net("fd30::/16")],
            custom_routes: vec![net("172.16.5.0/24"), net("fd30:5::/64")],
            ..Policy::default()
        },
    }
}

/// What holds of a session at any time.
fn check(session: &Session) {
    assert_eq!(session.is_up(), session.state() == State::Established);
    let received = session.received();
    let accepted: BTreeSet<IpNet> =
        received.iter().filter(|(_, verdict)| *verdict == Verdict::Accepted).map(|(route, _)| route.prefix).collect();
    assert_eq!(session.accepted_routes().map(|route| route.prefix).collect::<BTreeSet<_>>(), accepted);
    assert_eq!(session.accepted_count() as usize, accepted.len());
    assert!(accepted.len() <= session.config().max_prefixes as usize, "more than max_prefixes");
    assert!(session.stale_count() <= session.received_count());
    let listed = |list: &[IpNet], prefix: &IpNet| {
        list.iter().any(|range| range.contains(prefix) && (prefix.prefix_len() > 0 || range.prefix_len() == 0))
    };
    let policy = session.policy().cloned().unwrap_or_default();
    for route in session.accepted_routes() {
        assert!(policy.propagate && listed(&policy.accept, &route.prefix), "{} was accepted", route.prefix);
        assert!(!route.as_path.contains(&OURS), "our own AS number is in the path");
        assert_eq!(Family::of_net(&route.prefix), session.config().family);
        assert_eq!(route.prefix, route.prefix.trunc(), "host bits");
    }
    for prefix in session.announced() {
        assert!(session.is_up() && policy.propagate && listed(&policy.announce, prefix), "{prefix} was announced");
    }
    if !session.is_up() {
        assert!(session.fault().is_some(), "down without a reason");
        assert!(received.is_empty() || session.stale_until().is_some(), "routes of a session that is gone");
    }
}

/// A session and what its owner has to do for it.
struct Owner {
    session: Session,
    now: Instant,
}

impl Owner {
    fn drain(&mut self) {
        while let Some(action) = self.session.poll_action() {
            if let Action::Send(_, octets) = action {
                let length = usize::from(u16::from_be_bytes([octets[16], octets[17]]));
                assert!(octets.starts_with(&[0xff; 16]) && length == octets.len() && (19..=4096).contains(&length));
                assert!((1..=5).contains(&octets[18]), "an unknown message");
            }
        }
        while self.session.poll_event().is_some() {}
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0;
        while let Some((at, what)) = self.session.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            self.drain();
            steps += 1;
            assert!(steps < 10_000, "{what} does not come to rest");
        }
        self.now = end;
    }
}

/// An OPEN that is right but for what `flavour` says.
fn open(flavour: u8) -> Vec<u8> {
    let mut capabilities = vec![mp(1), mp(2)];
    if flavour & 1 == 0 {
        capabilities.push(as4(THEIRS));
    }
    if flavour & 2 != 0 {
        capabilities.push(vec![2, 0]);
    }
    if flavour & 4 != 0 {
        let forwarding = if flavour & 8 == 0 { 0 } else { 0x80 };
        capabilities.push(vec![64, 10, 0x80, 30, 0, 1, 1, forwarding, 0, 2, 1, forwarding]);
    }
    open_with(65001, if flavour & 16 == 0 { 90 } else { 3 }, [10, 0, 0, 2], &capabilities)
}

/// Everything that peers, networks and tenants do to a session, in any order.
pub fn bgp_session(octets: &[u8]) {
    let mut input = Input::new(octets);
    let now = Instant::now();
    let mut owner = Owner { session: Session::new(config(family(&mut input)), now), now };
    owner.session.set_policy(now, policy(1));
    owner.session.set_enabled(now, true);
    owner.drain();
    for _ in 0..STEPS {
        let Some(choice) = input.next() else { break };
        let kind = if choice & 0x80 == 0 { ConnKind::Incoming } else { ConnKind::Outgoing };
        let (session, now) = (&mut owner.session, owner.now);
        match choice & 0x0f {
            0 => {
                let length = usize::from(input.octet());
                session.handle_bytes(now, kind, input.take(length));
            }
            1 => session.handle_bytes(now, kind, &message(1 + choice / 16 % 5, input.take(20))),
            2 => {
                let length = usize::from(input.two() % 4078);
                session.handle_bytes(now, kind, &message(2, input.take(length)));
            }
            3 => session.handle_bytes(now, kind, &open(input.octet())),
            4 => session.handle_bytes(now, kind, &keepalive()),
            5 => session.handle_bytes(now, kind, &message(3, &[input.octet() % 8, input.octet() % 12])),
            6 => {
                let prefixes = [net(&format!("10.{}.0.0/16", input.octet())), net("fd20:7::/32")];
                let prefix = prefixes.into_iter().find(|prefix| Family::of_net(prefix) == session.config().family);
                let update = prefix.map(|prefix| model::announcement(prefix.network().is_ipv6(), &[prefix], &[], true));
                session.handle_bytes(now, kind, &update.unwrap_or_default());
            }
            7 => {
                let end = match session.config().family {
                    Family::Ipv4 => peer::update(&[], &[], &[]),
                    Family::Ipv6 => peer::update(&[], &[0x80, 15, 3, 0, 2, 1], &[]),
                };
                session.handle_bytes(now, kind, &end);
            }
            8 => owner.pass(Duration::from_millis(u64::from(input.two()) * 4)),
            9 | 10 => session.handle_connected(now, kind),
            11 => session.handle_closed(now, kind),
            12 => {
                let errors = [ConnectError::Refused, ConnectError::TimedOut, ConnectError::Unreachable];
                session.handle_connect_failed(now, errors[usize::from(input.octet() % 3)]);
            }
            13 => session.handle_unsent(now, kind, usize::from(input.octet()) * 64),
            14 => session.set_policy(now, policy(input.octet())),
            _ => match input.octet() % 8 {
                0 => session.set_enabled(now, false),
                1 => session.shutdown(now, &String::from_utf8_lossy(input.take(12))),
                2 => session.handle_overflow(now, kind, 33 << 20),
                3 => session.note_addresses_swapped(now),
                4 => session.probe(),
                _ => session.set_enabled(now, true),
            },
        }
        owner.drain();
        check(&owner.session);
    }
}

/// What arrives in pieces is what arrives at once.
pub fn bgp_framer(octets: &[u8]) {
    let mut input = Input::new(octets);
    let family = family(&mut input);
    let mut sizes = Input::new(input.take(8));
    let stream = input.rest();
    let mut whole = Peer::connected(family);
    let mut parts = Peer::connected(family);
    parts.now = whole.now;
    for peer in [&mut whole, &mut parts] {
        peer.session.handle_bytes(peer.now, ConnKind::Incoming, &[peer::open(), keepalive()].concat());
        peer.drain();
    }
    whole.bytes(stream);
    let mut left = Input::new(stream);
    loop {
        let size = sizes.next().unwrap_or(1).max(1);
        let part = left.take(usize::from(size));
        if part.is_empty() {
            break;
        }
        parts.bytes(part);
    }
    assert_eq!(whole.sent, parts.sent);
    assert_eq!((whole.closed, whole.session.state()), (parts.closed, parts.session.state()));
    assert_eq!(whole.session.fault(), parts.session.fault());
    assert_eq!(whole.session.counters(), parts.session.counters());
    assert_eq!(whole.session.received(), parts.session.received());
    check(&whole.session);
}

/// UPDATEs of any content: one that comes twice says what it said once, and what is withdrawn is gone.
pub fn bgp_update(octets: &[u8]) {
    let mut input = Input::new(octets);
    let flavour = input.octet();
    let family = Family::from_is_ipv6(flavour & 1 == 1);
    let mut peer = Peer::connected(family);
    peer.bytes(&[open(flavour >> 1), keepalive()].concat());
    assert!(peer.session.is_up());
    for _ in 0..16 {
        let length = usize::from(input.two() % 4078);
        let body = input.take(length);
        if body.is_empty() {
            break;
        }
        let update = message(2, body);
        peer.bytes(&update);
        check(&peer.session);
        if !peer.session.is_up() {
            return;
        }
        let once = peer.session.received();
        peer.bytes(&update);
        assert_eq!(peer.session.received(), once, "said twice");
    }
    let v6 = family.is_ipv6();
    for (route, _) in peer.session.received() {
        peer.bytes(&model::withdrawal(v6, &[route.prefix]));
    }
    assert!(peer.session.is_up() && peer.session.received().is_empty(), "withdrawn and still there");
}

/// A prefix out of a few that meet each other and the edges, or any.
fn prefix(input: &mut Input<'_>, v6: bool) -> IpNet {
    let choice = input.octet();
    if choice < 0xc0 {
        const V4: [&str; 12] = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.1.0/24",
            "10.1.1.1/32",
            "192.168.0.0/16",
            "192.168.0.0/17",
            "192.168.128.0/17",
            "169.254.0.0/30",
            "127.0.0.0/8",
            "224.0.0.0/4",
            "0.0.0.0/1",
        ];
        const V6: [&str; 12] = [
            "::/0",
            "fd00::/8",
            "fd20::/16",
            "fd20:1::/32",
            "fd20:1::1/128",
            "2001:db8::/32",
            "2001:db8::/33",
            "2001:db8:8000::/33",
            "fd00::/126",
            "fe80::/10",
            "ff00::/8",
            "::/1",
        ];
        return net(if v6 { V6 } else { V4 }[usize::from(choice % 12)]);
    }
    let length = input.octet();
    if v6 {
        let mut address = [0; 16];
        let taken = input.take(usize::from(choice % 16) + 1);
        address[..taken.len()].copy_from_slice(taken);
        IpNet::V6(Ipv6Net::new_assert(address.into(), length % 129).trunc())
    } else {
        let mut address = [0; 4];
        let taken = input.take(4);
        address[..taken.len()].copy_from_slice(taken);
        IpNet::V4(Ipv4Net::new_assert(address.into(), length % 33).trunc())
    }
}

/// Up to `most` prefixes.
fn prefixes(input: &mut Input<'_>, v6: bool, most: u8) -> Vec<IpNet> {
    let count = input.octet() % (most + 1);
    (0..count).map(|_| prefix(input, v6)).collect()
}

fn any_policy(input: &mut Input<'_>, v6: bool) -> Policy {
    let flags = input.octet();
    // Now and then a list of the other family's, which must mean nothing.
    let of = |bit: u8| v6 != (flags & (1 << bit) != 0);
    Policy {
        propagate: flags & 1 == 0,
        accept: prefixes(input, of(1), 4),
        announce: prefixes(input, of(2), 4),
        local_subnets: prefixes(input, of(3), 4),
        custom_routes: prefixes(input, of(4), 3),
        interconnections: Vec::new(),
    }
}

/// Announcements, withdrawals and edits of the policy, against the model.
pub fn bgp_policy(octets: &[u8]) {
    let mut input = Input::new(octets);
    let v6 = family(&mut input).is_ipv6();
    let mut steps = Vec::new();
    // Together shorter than the hold time.
    while let Some(choice) = input.next().filter(|_| steps.len() < 64) {
        steps.push(match choice % 8 {
            0..=2 => {
                let behind = [OURS, 65002, 65003, 4_200_000_000];
                let path = (0..choice / 8 % 3).map(|_| behind[usize::from(input.octet() % 4)]).collect();
                let from_peer = choice < 0xe0;
                let mut all = prefixes(&mut input, v6, 12);
                all.push(prefix(&mut input, v6));
                Step::Announce(all, path, from_peer)
            }
            3 | 4 => {
                let mut all = prefixes(&mut input, v6, 12);
                all.push(prefix(&mut input, v6));
                Step::Withdraw(all)
            }
            5 => Step::Policy(any_policy(&mut input, v6)),
            6 => Step::Repeat,
            _ if choice & 0x80 == 0 => Step::Refresh,
            _ => Step::Pass(u16::from(input.octet()) * 3),
        });
    }
    model::run(v6, steps);
}
