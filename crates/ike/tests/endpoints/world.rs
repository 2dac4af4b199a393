//! Two endpoints, a simulated network between them, and an owner for each that does what its events say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use causeway_crypto::SeededEntropy;
use causeway_ike::{ChildId, ChildSa, Endpoint, EndpointConfig, Event, PeerConfig, PeerKey};
use causeway_model::desired::Timers;
use causeway_model::suite::Cipher;
use causeway_model::{ConnectionId, Family, Fault, Psk, ReasonCode};
use causeway_netsim::{Conditions, Network};

/// What travels: IKE, or an ESP packet of which only the SPI matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Ike(Vec<u8>),
    Esp(u32),
}

/// One gateway: an endpoint and the packet path that obeys it.
pub(crate) struct End {
    pub(crate) endpoint: Endpoint,
    pub(crate) config: PeerConfig,
    /// What is installed.
    pub(crate) children: BTreeMap<ChildId, ChildSa>,
    /// What is sent on.
    pub(crate) sending: Option<ChildId>,
    /// Whether the packet path refuses new Child SAs, and those that it refused.
    pub(crate) refuses: bool,
    pub(crate) refused: BTreeSet<ChildId>,
    /// Every event with its time.
    pub(crate) events: Vec<(Duration, Event)>,
    pub(crate) esp_received: u64,
    /// ESP packets whose SPI was not installed.
    pub(crate) esp_unknown: u64,
    pub(crate) ticks_down: u64,
    address: IpAddr,
    /// Off: it neither sends nor hears.
    pub(crate) powered: bool,
}

/// The whole simulation.
pub(crate) struct World {
    pub(crate) network: Network<Packet>,
    pub(crate) ends: [End; 2],
    seed: u64,
    started: Duration,
    next_tick: Duration,
    /// Everything sent so far, if an attacker listens.
    pub(crate) overheard: Option<Vec<(SocketAddr, SocketAddr, Vec<u8>)>>,
    apart_since: Option<Duration>,
    /// How long both ends may be up with nothing in common.
    pub(crate) patience: Duration,
    /// Whether traffic is not sent, while IKE is.
    pub(crate) silence_esp: bool,
    /// Ticks of simulated traffic.
    pub(crate) ticks: u64,
}

/// Time between two packets of each direction.
const TICK: Duration = Duration::from_millis(100);

pub(crate) fn address(end: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, if end == 0 { 1 } else { 2 }])
}

pub(crate) fn key() -> PeerKey {
    PeerKey { connection: ConnectionId(Default::default()), family: Family::Ipv4 }
}

/// The configuration of one end; end 0 initiates.
pub(crate) fn config(end: usize) -> PeerConfig {
    PeerConfig {
        key: key(),
        local: address(end),
        remote: address(1 - end),
        local_identity: address(end).to_string().parse().expect("identity"),
        remote_identity: address(1 - end).to_string().parse().expect("identity"),
        initiate: end == 0,
        ike_proposals: vec![Cipher::DEFAULT_IKE],
        esp_proposals: vec![Cipher::DEFAULT_ESP],
        psks: vec![Psk::new(b"a pre-shared key".to_vec())],
        timers: Timers::default(),
    }
}

/// The usual rough weather.
pub(crate) fn rough() -> Conditions {
    Conditions { latency: Duration::from_millis(10), jitter: Duration::from_millis(150), loss: 0.2, duplication: 0.1 }
}

pub(crate) fn calm() -> Conditions {
    Conditions { latency: Duration::from_millis(20), ..Conditions::default() }
}

impl World {
    pub(crate) fn new(seed: u64, conditions: Conditions, configs: [PeerConfig; 2]) -> Self {
        // One round trip when nothing is lost, the time to a verdict otherwise.
        let patience = if conditions.loss > 0.0 { Duration::from_secs(16) } else { conditions.latency * 2 };
        let network = Network::new(seed, conditions);
        let now = network.now();
        let mut number = 0;
        let ends = configs.map(|config| {
            let end = End::new(seed.wrapping_mul(1000).wrapping_add(number), now, config);
            number += 1;
            end
        });
        Self {
            network,
            ends,
            seed,
            started: Duration::ZERO,
            next_tick: TICK,
            overheard: None,
            apart_since: None,
            patience,
            silence_esp: false,
            ticks: 0,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.network.now()
    }

    pub(crate) fn elapsed(&mut self) -> Duration {
        self.network.clock().elapsed()
    }

    /// From the start on, this end never ends an IKE SA because it has another one.
    pub(crate) fn keeps_duplicates(&mut self, end: usize) {
        let config = EndpointConfig { supersede_grace: Duration::from_secs(24 * 60 * 60), ..EndpointConfig::default() };
        let seed = self.seed.wrapping_mul(1000) + 10;
        let mut endpoint = Endpoint::new(config, Box::new(SeededEntropy::new(seed)));
        endpoint.set_peer(self.now(), self.ends[end].config.clone());
        self.ends[end].endpoint = endpoint;
    }

    pub(crate) fn start(&mut self, end: usize) {
        let now = self.now();
        self.ends[end].endpoint.start(now, key());
        self.drain();
    }

    pub(crate) fn set(&mut self, end: usize, change: impl FnOnce(&mut PeerConfig)) {
        let now = self.now();
        change(&mut self.ends[end].config);
        let config = self.ends[end].config.clone();
        self.ends[end].endpoint.set_peer(now, config);
        self.drain();
    }

    /// Forgets everything of one end, as a crash does.
    pub(crate) fn crash(&mut self, end: usize) {
        let now = self.now();
        self.started += Duration::from_nanos(1);
        let seed = self.seed ^ 0x5eed_0000 ^ u64::from(self.started.subsec_nanos());
        let old = &self.ends[end];
        let mut fresh = End::new(seed, now, old.config.clone());
        fresh.events.clone_from(&old.events);
        self.ends[end] = fresh;
    }

    /// Runs for `time`, checking what must always hold.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.elapsed() + time;
        while self.step(until) {}
    }

    /// Runs until `done`, at most for `time`. Returns whether it came to be.
    pub(crate) fn run_until(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let until = self.elapsed() + time;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(until) {
                return false;
            }
        }
    }

    fn step(&mut self, until: Duration) -> bool {
        let timeouts = self.ends.iter().filter(|end| end.powered).filter_map(|end| end.endpoint.poll_timeout());
        let earliest = timeouts.map(|(at, _)| at).chain(self.network.next_arrival()).min();
        let clock = self.network.clock();
        let next = earliest.map_or(self.next_tick, |at| clock.since_base(at)).min(self.next_tick);
        if next > until {
            let rest = until.saturating_sub(clock.elapsed());
            clock.advance(rest);
            return false;
        }
        let step = next.saturating_sub(clock.elapsed());
        clock.advance(step);
        let now = self.now();
        while let Some(datagram) = self.network.receive() {
            let Some(end) = self.ends.iter_mut().find(|end| end.address == datagram.destination.ip() && end.powered)
            else {
                continue;
            };
            match datagram.payload {
                Packet::Ike(message) => {
                    end.endpoint.handle_datagram(now, datagram.destination, datagram.source, &message)
                }
                Packet::Esp(spi) => end.receive_esp(now, spi),
            }
            self.drain();
        }
        for end in self.ends.iter_mut().filter(|end| end.powered) {
            if end.endpoint.poll_timeout().is_some_and(|(at, _)| at <= now) {
                end.endpoint.handle_timeout(now);
                let next = end.endpoint.poll_timeout();
                assert!(next.is_none_or(|(at, _)| at > now), "handle_timeout left {next:?} undone");
            }
        }
        self.drain();
        if self.elapsed() >= self.next_tick {
            self.next_tick += TICK;
            self.ticks += 1;
            self.traffic();
        }
        self.check();
        true
    }

    fn traffic(&mut self) {
        if self.silence_esp {
            return;
        }
        for end in 0..2 {
            let state = &mut self.ends[end];
            let child = state.sending.and_then(|id| state.children.get(&id)).filter(|_| state.powered);
            match child {
                Some(child) => self.network.send(child.local, child.remote, Packet::Esp(child.outbound_spi)),
                None => state.ticks_down += 1,
            }
        }
    }

    fn drain(&mut self) {
        let (elapsed, now) = (self.elapsed(), self.now());
        for end in &mut self.ends {
            while let Some(event) = end.endpoint.poll_event() {
                if let Some(child) = end.obey(&event) {
                    let fault = Fault::new(ReasonCode::ChildInstallFailed).with("item", "the packet path");
                    end.endpoint.refuse_child(now, child, fault);
                }
                end.events.push((elapsed, event));
            }
            while let Some(transmit) = end.endpoint.poll_transmit() {
                if !end.powered {
                    continue;
                }
                if let Some(overheard) = &mut self.overheard {
                    overheard.push((transmit.local, transmit.remote, transmit.payload.clone()));
                }
                self.network.send(transmit.local, transmit.remote, Packet::Ike(transmit.payload));
            }
        }
    }

    pub(crate) fn up(&self) -> bool {
        self.ends.iter().all(|end| !end.children.is_empty())
    }

    /// Child SAs that both ends have, with the same keys crosswise.
    pub(crate) fn common(&self) -> usize {
        let [a, b] = &self.ends;
        a.children.values().filter(|child| b.children.values().any(|other| fits(child, other))).count()
    }

    /// A responder has its Child SA before the initiator hears of it, so for a moment both may be up with nothing in common; never
    /// for longer than it takes to notice.
    fn check(&mut self) {
        let apart = self.up() && self.common() == 0 && self.ends.iter().all(|end| end.powered);
        if !apart {
            self.apart_since = None;
            return;
        }
        let elapsed = self.elapsed();
        let since = *self.apart_since.get_or_insert(elapsed);
        if elapsed - since > self.patience {
            let story = self.ends.each_ref().map(End::tail);
            panic!("seed {}: both ends are up with nothing in common since {since:?}; {story:#?}", self.seed);
        }
    }

    /// Both ends are up, have one Child SA each, and send on it.
    pub(crate) fn settled(&self) -> bool {
        self.common() == 1 && self.ends.iter().all(|end| end.children.len() == 1 && end.sending.is_some())
    }
}

fn fits(a: &ChildSa, b: &ChildSa) -> bool {
    a.inbound_spi == b.outbound_spi
        && a.outbound_spi == b.inbound_spi
        && a.inbound_keymat == b.outbound_keymat
        && a.outbound_keymat == b.inbound_keymat
        && a.suite == b.suite
}

impl End {
    fn new(seed: u64, now: Instant, config: PeerConfig) -> Self {
        let mut endpoint = Endpoint::new(EndpointConfig::default(), Box::new(SeededEntropy::new(seed)));
        let address = config.local;
        endpoint.set_peer(now, config.clone());
        Self {
            endpoint,
            config,
            children: BTreeMap::new(),
            sending: None,
            refuses: false,
            refused: BTreeSet::new(),
            events: Vec::new(),
            esp_received: 0,
            esp_unknown: 0,
            ticks_down: 0,
            address,
            powered: true,
        }
    }

    fn receive_esp(&mut self, now: Instant, spi: u32) {
        match self.children.values().find(|child| child.inbound_spi == spi).map(|child| child.id) {
            Some(child) => {
                self.esp_received += 1;
                self.endpoint.handle_inbound_traffic(now, key());
                self.endpoint.handle_inbound_on_child(now, child);
            }
            None => self.esp_unknown += 1,
        }
    }

    /// Does what an event says, and returns the Child SA that was refused.
    fn obey(&mut self, event: &Event) -> Option<ChildId> {
        match event {
            Event::ChildInstalled { child, .. } if self.refuses => {
                assert!(self.refused.insert(child.id), "an id is used once");
                return Some(child.id);
            }
            Event::ChildActivated { child, .. } if self.refused.contains(child) => {}
            Event::ChildRemoved { child, .. } if self.refused.contains(child) => {}
            Event::ChildInstalled { child, .. } => {
                if child.use_for_sending {
                    self.sending = Some(child.id);
                }
                assert!(self.children.insert(child.id, child.clone()).is_none(), "an id is used once");
            }
            Event::ChildActivated { child, .. } => {
                assert!(self.children.contains_key(child), "what is activated is installed");
                self.sending = Some(*child);
            }
            Event::ChildRemoved { child, .. } => {
                assert!(self.children.remove(child).is_some(), "what is removed was installed");
                if self.sending == Some(*child) {
                    self.sending = None;
                }
                assert!(self.children.is_empty() || self.sending.is_some(), "another is sent on");
            }
            Event::TunnelDown { .. } => assert!(self.children.is_empty(), "down means nothing is left"),
            Event::RemoteMoved { remote, .. } => {
                for child in self.children.values_mut() {
                    child.remote = *remote;
                }
            }
            Event::IkeEstablished { .. }
            | Event::IkeRekeyed { .. }
            | Event::AttemptFailed { .. }
            | Event::Trouble { .. } => {}
        }
        None
    }

    /// The latest events, for the message of a failure.
    fn tail(&self) -> Vec<String> {
        let from = self.events.len().saturating_sub(16);
        let line = |(at, event): &(Duration, Event)| {
            let text = format!("{event:?}");
            format!("{at:?} {}", text.get(..150).unwrap_or(&text))
        };
        self.events.iter().skip(from).map(line).collect()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| wanted(event)).count()
    }

    pub(crate) fn downs(&self) -> Vec<Fault> {
        let fault = |(_, event): &(Duration, Event)| match event {
            Event::TunnelDown { fault, .. } => Some(fault.clone()),
            _ => None,
        };
        self.events.iter().filter_map(fault).collect()
    }

    pub(crate) fn troubles(&self) -> Vec<Fault> {
        let fault = |(_, event): &(Duration, Event)| match event {
            Event::Trouble { fault, .. } => Some(fault.clone()),
            _ => None,
        };
        self.events.iter().filter_map(fault).collect()
    }

    pub(crate) fn failures(&self) -> Vec<Fault> {
        let fault = |(_, event): &(Duration, Event)| match event {
            Event::AttemptFailed { fault, .. } => Some(fault.clone()),
            _ => None,
        };
        self.events.iter().filter_map(fault).collect()
    }
}
