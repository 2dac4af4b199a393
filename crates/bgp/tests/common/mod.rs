//! Two sessions on a simulated network in virtual time.
#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use causeway_bgp::{Action, ConnKind, ConnectError, Event, Policy, Session, SessionConfig};
use causeway_model::Family;
use ipnet::IpNet;

/// One way.
const LATENCY: Duration = Duration::from_millis(5);

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub(crate) fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|text| net(text)).collect()
}

/// Side 0 is the gateway (AS 64512), side 1 the device (AS 65001).
pub(crate) fn config(side: usize, family: Family) -> SessionConfig {
    let address = |side: usize| -> IpAddr {
        match family {
            Family::Ipv4 => format!("169.254.100.{}", side + 1).parse(),
            Family::Ipv6 => format!("fd00:100::{}", side + 1).parse(),
        }
        .expect("an address")
    };
    let asn = |side: usize| [64512, 65001][side];
    SessionConfig {
        family,
        local_asn: asn(side),
        peer_asn: asn(1 - side),
        router_id: Ipv4Addr::new(10, 0, 0, 1 + u8::try_from(side).expect("0 or 1")),
        local: address(side),
        peer: address(1 - side),
        hold_time: 60,
        send_hold: causeway_bgp::SEND_HOLD,
        max_prefixes: 1000,
    }
}

/// A policy that lets `subnets` out and everything of both families in.
pub(crate) fn open_policy(subnets: &[&str]) -> Policy {
    Policy {
        propagate: true,
        accept: nets(&["0.0.0.0/0", "::/0"]),
        announce: nets(&["0.0.0.0/0", "::/0"]),
        local_subnets: nets(subnets),
        custom_routes: Vec::new(),
        interconnections: Vec::new(),
    }
}

#[derive(Debug)]
enum Packet {
    Syn,
    Reset,
    SynAck,
    Data(Vec<u8>),
    Fin,
}

/// The network between two sessions. A TCP connection is named by the side that opened it and a generation.
pub(crate) struct Net {
    pub(crate) now: Instant,
    start: Instant,
    pub(crate) sides: [Session; 2],
    /// What each session reported, with the time since the start.
    pub(crate) log: [Vec<(Duration, Event)>; 2],
    /// Whether each side's port answers.
    pub(crate) listening: [bool; 2],
    /// Nothing arrives any more.
    pub(crate) cut: bool,
    generation: [u64; 2],
    alive: [[bool; 2]; 2],
    /// Octets of this connection towards this side were lost, so nothing behind them can arrive either.
    stalled: [[bool; 2]; 2],
    packets: BTreeMap<(Instant, u64), (usize, usize, u64, Packet)>,
    sequence: u64,
}

impl Net {
    pub(crate) fn new(configs: [SessionConfig; 2]) -> Self {
        let now = Instant::now();
        Self {
            now,
            start: now,
            sides: configs.map(|config| Session::new(config, now)),
            log: [Vec::new(), Vec::new()],
            listening: [true, true],
            cut: false,
            generation: [0, 0],
            alive: [[false; 2]; 2],
            stalled: [[false; 2]; 2],
            packets: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub(crate) fn family(family: Family) -> Self {
        Self::new([config(0, family), config(1, family)])
    }

    pub(crate) fn enable(&mut self) {
        for side in 0..2 {
            self.sides[side].set_enabled(self.now, true);
        }
    }

    pub(crate) fn set_policy(&mut self, side: usize, policy: Policy) {
        self.sides[side].set_policy(self.now, policy);
    }

    pub(crate) fn set_enabled(&mut self, side: usize, enabled: bool) {
        self.sides[side].set_enabled(self.now, enabled);
    }

    /// The process behind `side` dies and is started again, without policy and not enabled; its connections are never closed.
    pub(crate) fn kill(&mut self, side: usize) {
        self.sides[side] = Session::new(*self.sides[side].config(), self.now);
        for opener in 0..2 {
            self.alive[opener][side] = false;
        }
    }

    /// The same, but its kernel closes the connections.
    pub(crate) fn close(&mut self, side: usize) {
        for opener in 0..2 {
            if self.alive[opener][side] {
                self.put(opener, 1 - side, self.generation[opener], Packet::Fin);
            }
        }
        self.kill(side);
    }

    pub(crate) fn prefixes(&self, side: usize) -> Vec<String> {
        self.sides[side].accepted_routes().map(|route| route.prefix.to_string()).collect()
    }

    fn put(&mut self, opener: usize, to: usize, generation: u64, packet: Packet) {
        self.sequence += 1;
        self.packets.insert((self.now + LATENCY, self.sequence), (opener, to, generation, packet));
    }

    fn kind(opener: usize, side: usize) -> ConnKind {
        if opener == side { ConnKind::Outgoing } else { ConnKind::Incoming }
    }

    fn drain(&mut self) {
        for side in 0..2 {
            while let Some(event) = self.sides[side].poll_event() {
                self.log[side].push((self.now - self.start, event));
            }
            while let Some(action) = self.sides[side].poll_action() {
                match action {
                    Action::Connect => {
                        self.generation[side] += 1;
                        self.stalled[side] = [false; 2];
                        self.put(side, 1 - side, self.generation[side], Packet::Syn);
                    }
                    Action::Send(kind, octets) => {
                        let opener = if kind == ConnKind::Outgoing { side } else { 1 - side };
                        assert!(self.alive[opener][side], "sent on a connection that is not there");
                        assert!(octets.len() <= 4096);
                        self.put(opener, 1 - side, self.generation[opener], Packet::Data(octets));
                    }
                    Action::Close(kind) => {
                        let opener = if kind == ConnKind::Outgoing { side } else { 1 - side };
                        self.alive[opener][side] = false;
                        self.put(opener, 1 - side, self.generation[opener], Packet::Fin);
                        if opener == side {
                            self.generation[side] += u64::from(self.sides[side].state() == causeway_bgp::State::Idle);
                        }
                    }
                }
            }
        }
    }

    fn deliver(&mut self, opener: usize, to: usize, generation: u64, packet: Packet) {
        if generation != self.generation[opener] {
            return;
        }
        self.stalled[opener][to] |= self.cut;
        if self.stalled[opener][to] {
            return;
        }
        let kind = Self::kind(opener, to);
        let now = self.now;
        match packet {
            Packet::Syn if self.listening[to] => {
                self.put(opener, opener, generation, Packet::SynAck);
                self.alive[opener][to] = true;
                self.sides[to].handle_connected(now, kind);
            }
            Packet::Syn => self.put(opener, opener, generation, Packet::Reset),
            Packet::Reset => self.sides[to].handle_connect_failed(now, ConnectError::Refused),
            Packet::SynAck => {
                self.alive[opener][to] = true;
                self.sides[to].handle_connected(now, kind);
            }
            Packet::Data(octets) if self.alive[opener][to] => self.sides[to].handle_bytes(now, kind, &octets),
            Packet::Data(_) => {}
            Packet::Fin => {
                if std::mem::take(&mut self.alive[opener][to]) {
                    self.sides[to].handle_closed(now, kind);
                }
            }
        }
    }

    /// Runs until `duration` has passed.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut steps = 0;
        loop {
            self.drain();
            let packet = self.packets.keys().next().map(|(at, _)| *at);
            let timers = self.sides.iter().filter_map(|side| side.poll_timeout().map(|(at, _)| at));
            let Some(next) = timers.chain(packet).min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if packet == Some(next) {
                if let Some((_, (opener, to, generation, packet))) = self.packets.pop_first() {
                    self.deliver(opener, to, generation, packet);
                }
            } else {
                for side in 0..2 {
                    self.sides[side].handle_timeout(self.now);
                }
            }
            steps += 1;
            assert!(steps < 1_000_000, "the sessions do not come to rest");
        }
        self.now = end;
    }

    pub(crate) fn run_ms(&mut self, milliseconds: u64) {
        self.run(Duration::from_millis(milliseconds));
    }

    pub(crate) fn both_up(&self) -> bool {
        self.sides.iter().all(Session::is_up)
    }
}
