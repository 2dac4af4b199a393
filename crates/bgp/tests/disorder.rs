//! Random disorder: calls in any order, and networks that break at any time.

mod common;

use std::time::{Duration, Instant};

use causeway_bgp::{Action, ConnKind, ConnectError, Event, Session, State};
use causeway_model::Family;
use common::{Net, config, open_policy};
use proptest::prelude::*;

const SUBNETS: [&[&str]; 2] = [&["10.1.0.0/24"], &["192.168.7.0/24", "192.168.8.0/24"]];

/// What a caller, a network and a peer can do to a session.
#[derive(Clone, Debug)]
enum Call {
    Enable(bool),
    Shutdown,
    Policy(bool),
    Connected(ConnKind),
    ConnectFailed(ConnectError),
    Closed(ConnKind),
    /// One of the messages below.
    Message(ConnKind, usize),
    Garbage(ConnKind, Vec<u8>),
    Unsent(ConnKind, usize),
    /// Milliseconds pass, with the timers handled on the way.
    Pass(u64),
    /// The clock jumps without the timers being handled.
    Late(u64),
}

fn kind() -> impl Strategy<Value = ConnKind> {
    prop_oneof![Just(ConnKind::Outgoing), Just(ConnKind::Incoming)]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        2 => any::<bool>().prop_map(Call::Enable),
        1 => Just(Call::Shutdown),
        1 => any::<bool>().prop_map(Call::Policy),
        6 => kind().prop_map(Call::Connected),
        1 => prop_oneof![Just(ConnectError::Refused), Just(ConnectError::TimedOut)].prop_map(Call::ConnectFailed),
        1 => kind().prop_map(Call::Closed),
        12 => (kind(), 0_usize..10).prop_map(|(kind, message)| Call::Message(kind, message)),
        1 => (kind(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, octets)| Call::Garbage(kind, octets)),
        1 => (kind(), 0_usize..3).prop_map(|(kind, unsent)| Call::Unsent(kind, unsent)),
        2 => (0_u64..100_000).prop_map(Call::Pass),
        1 => (0_u64..100_000).prop_map(Call::Late),
    ]
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("short enough");
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

fn messages() -> [Vec<u8>; 10] {
    let open = |asn: u8| {
        let body = [4, 0xfd, asn, 0, 9, 10, 0, 0, 2, 14, 2, 12, 1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfd, asn];
        message(1, &body)
    };
    // Graceful restart for IPv4, 40 s.
    let graceful = |forwarding: u8| {
        let mut body = vec![4, 0xfd, 0xe9, 0, 9, 10, 0, 0, 2, 22, 2, 20, 1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfd, 0xe9];
        body.extend([64, 6, 0, 40, 0, 1, 1, forwarding]);
        message(1, &body)
    };
    let attributes = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9, 0x40, 3, 4, 169, 254, 100, 2];
    let update = [&[0, 0, 0, 20][..], &attributes, &[24, 192, 168, 7]].concat();
    [
        open(0xe9),
        open(0xe8),
        message(4, &[]),
        message(2, &update),
        message(2, &[0, 4, 24, 192, 168, 7, 0, 0]),
        message(3, &[6, 7]),
        message(5, &[0, 1, 0, 1]),
        graceful(0),
        graceful(0x80),
        // End-of-RIB.
        message(2, &[0; 4]),
    ]
}

/// The caller's side of the contract, and what it may rely on.
struct Checker {
    session: Session,
    now: Instant,
    open: [bool; 2],
    connecting: bool,
    up: bool,
}

impl Checker {
    fn check(&mut self) {
        let index = |kind: ConnKind| usize::from(kind == ConnKind::Incoming);
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Connect => {
                    assert!(!self.connecting && !self.open[0], "two attempts at once");
                    self.connecting = true;
                }
                Action::Send(kind, octets) => {
                    assert!(self.open[index(kind)], "sent on a closed connection");
                    assert!((19..=4096).contains(&octets.len()));
                    assert_eq!(octets[16..18], u16::try_from(octets.len()).expect("short enough").to_be_bytes());
                }
                Action::Close(kind) => {
                    assert!(self.open[index(kind)] || self.connecting, "closed what is not open");
                    if !std::mem::take(&mut self.open[index(kind)]) {
                        self.connecting = false;
                    }
                }
            }
        }
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Up => assert!(!std::mem::replace(&mut self.up, true), "up twice"),
                Event::Down(_) => self.up = false,
                Event::RoutesChanged => {}
            }
        }
        assert_eq!(self.up, self.session.is_up());
        assert_eq!(self.session.state() == State::Established, self.session.is_up());
        assert_eq!(self.session.accepted_routes().count(), self.session.accepted_count() as usize);
        if !self.session.is_up() {
            assert_eq!(self.session.announced_count(), 0);
            assert_eq!(self.session.received_count(), self.session.stale_count());
            let fault = self.session.fault().expect("a fault");
            assert_eq!(fault.evidence.contains_key("stale_routes"), self.session.stale_count() > 0);
        }
        // What is left of a session needs a tunnel and has an end.
        if self.session.stale_count() > 0 {
            assert!(self.session.state() != State::Idle);
            assert!(self.session.stale_until().is_some_and(|until| until <= self.now + Duration::from_secs(120)));
        }
        // Whoever is enabled and not up has a way on: a connection, an attempt, or a time to try again.
        if self.session.state() != State::Idle && !self.session.is_up() {
            assert!(self.session.poll_timeout().is_some(), "stuck in {:?}", self.session.state());
        }
    }

    fn call(&mut self, call: &Call) {
        let index = |kind: ConnKind| usize::from(kind == ConnKind::Incoming);
        let now = self.now;
        match call {
            Call::Enable(enabled) => self.session.set_enabled(now, *enabled),
            Call::Shutdown => self.session.shutdown(now, "reason"),
            Call::Policy(propagate) => {
                let policy = causeway_bgp::Policy { propagate: *propagate, ..open_policy(SUBNETS[0]) };
                self.session.set_policy(now, policy);
            }
            Call::Connected(ConnKind::Outgoing) if !self.connecting => {}
            Call::Connected(kind) => {
                if *kind == ConnKind::Outgoing {
                    self.connecting = false;
                }
                self.open[index(*kind)] = true;
                self.session.handle_connected(now, *kind);
            }
            Call::ConnectFailed(error) => {
                if std::mem::take(&mut self.connecting) {
                    self.session.handle_connect_failed(now, *error);
                }
            }
            Call::Closed(kind) => {
                if std::mem::take(&mut self.open[index(*kind)]) {
                    self.session.handle_closed(now, *kind);
                }
            }
            Call::Message(kind, message) => self.session.handle_bytes(now, *kind, &messages()[*message]),
            Call::Garbage(kind, octets) => self.session.handle_bytes(now, *kind, octets),
            Call::Unsent(kind, unsent) => self.session.handle_unsent(now, *kind, *unsent),
            Call::Pass(milliseconds) => {
                let end = now + Duration::from_millis(*milliseconds);
                while let Some((at, _)) = self.session.poll_timeout().filter(|(at, _)| *at <= end) {
                    self.now = self.now.max(at);
                    self.session.handle_timeout(self.now);
                    self.check();
                    let next = self.session.poll_timeout();
                    assert!(next.is_none_or(|(at, _)| at > self.now), "{next:?} is not done at {:?}", self.now);
                }
                self.now = end;
            }
            Call::Late(milliseconds) => self.now += Duration::from_millis(*milliseconds),
        }
        self.check();
    }
}

/// What can happen between two sessions.
#[derive(Clone, Debug)]
enum Trouble {
    Cut(bool),
    Listen(usize, bool),
    Enable(usize, bool),
    Shutdown(usize),
    Policy(usize, bool),
    Kill(usize),
    Close(usize),
}

fn trouble() -> impl Strategy<Value = (Trouble, u64)> {
    let what = prop_oneof![
        any::<bool>().prop_map(Trouble::Cut),
        (0_usize..2, any::<bool>()).prop_map(|(side, on)| Trouble::Listen(side, on)),
        (0_usize..2, any::<bool>()).prop_map(|(side, on)| Trouble::Enable(side, on)),
        (0_usize..2).prop_map(Trouble::Shutdown),
        (0_usize..2, any::<bool>()).prop_map(|(side, on)| Trouble::Policy(side, on)),
        (0_usize..2).prop_map(Trouble::Kill),
        (0_usize..2).prop_map(Trouble::Close),
    ];
    (what, prop_oneof![0_u64..40, 0_u64..3000, 0_u64..90_000])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn calls_in_any_order_keep_the_contract(calls in prop::collection::vec(call(), 1..60)) {
        let now = Instant::now();
        let session = Session::new(config(0, Family::Ipv4), now);
        let mut checker = Checker { session, now, open: [false; 2], connecting: false, up: false };
        checker.call(&Call::Enable(true));
        for call in &calls {
            checker.call(call);
        }
    }

    #[test]
    fn whatever_happened_two_sessions_find_together_again(troubles in prop::collection::vec(trouble(), 0..12)) {
        let mut net = Net::family(Family::Ipv4);
        net.enable();
        for (trouble, milliseconds) in troubles {
            let now = net.now;
            match trouble {
                Trouble::Cut(cut) => net.cut = cut,
                Trouble::Listen(side, on) => net.listening[side] = on,
                Trouble::Enable(side, on) => net.set_enabled(side, on),
                Trouble::Shutdown(side) => net.sides[side].shutdown(now, "trouble"),
                Trouble::Kill(side) => net.kill(side),
                Trouble::Close(side) => net.close(side),
                Trouble::Policy(side, propagate) => {
                    net.set_policy(side, causeway_bgp::Policy { propagate, ..open_policy(SUBNETS[side]) });
                }
            }
            net.run_ms(milliseconds);
        }
        net.cut = false;
        net.listening = [true, true];
        net.enable();
        for (side, subnets) in SUBNETS.into_iter().enumerate() {
            net.set_policy(side, open_policy(subnets));
        }
        // A connection that died in the dark is noticed by its hold timer first.
        net.run(Duration::from_secs(100));
        prop_assert!(net.both_up(), "{:?} {:?}", net.sides[0].fault(), net.sides[1].fault());
        prop_assert_eq!(net.prefixes(0), SUBNETS[1]);
        prop_assert_eq!(net.prefixes(1), SUBNETS[0]);
    }
}
