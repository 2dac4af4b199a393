//! IKE: two endpoints that speak, and whoever can change, repeat and invent what they say.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use causeway_crypto::SeededEntropy;
use causeway_ike::{Endpoint, EndpointConfig, PeerConfig, PeerKey, Transmit};
use causeway_model::desired::Timers;
use causeway_model::suite::Cipher;
use causeway_model::{ConnectionId, Family, Psk};

use crate::input::Input;

/// Steps of one run at most: each may cost a key exchange.
const STEPS: usize = 48;
/// Messages under way at most; a run that floods itself drops the oldest.
const UNDER_WAY: usize = 32;
/// Nothing of ours is longer.
const LONGEST: usize = 65_507;

fn address(end: usize) -> IpAddr {
    [192, 0, 2, if end == 0 { 1 } else { 2 }].into()
}

fn endpoint(end: usize, now: Instant) -> Endpoint {
    let entropy = Box::new(SeededEntropy::new(end as u64 + 1));
    let mut endpoint = Endpoint::new(EndpointConfig::default(), entropy);
    let identity = |end| address(end).to_string().parse().expect("an identity");
    let key = PeerKey { connection: ConnectionId(Default::default()), family: Family::Ipv4 };
    let config = PeerConfig {
        key,
        local: address(end),
        remote: address(1 - end),
        local_identity: identity(end),
        remote_identity: identity(1 - end),
        initiate: end == 0,
        ike_proposals: vec![Cipher::DEFAULT_IKE],
        esp_proposals: vec![Cipher::DEFAULT_ESP],
        psks: vec![Psk::new(b"a pre-shared key".to_vec())],
        timers: Timers::default(),
    };
    endpoint.set_peer(now, config);
    if end == 0 {
        endpoint.start(now, key);
    }
    endpoint
}

struct World {
    ends: [Endpoint; 2],
    under_way: Vec<(usize, Transmit)>,
    now: Instant,
}

impl World {
    fn drain(&mut self) {
        for (end, endpoint) in self.ends.iter_mut().enumerate() {
            let mut messages = 0;
            while endpoint.poll_event().is_some() {}
            while let Some(transmit) = endpoint.poll_transmit() {
                assert!(transmit.payload.len() <= LONGEST && transmit.payload.len() >= 28, "no IKE message");
                self.under_way.push((1 - end, transmit));
                messages += 1;
                assert!(messages < 1000, "a flood");
            }
        }
        let many = self.under_way.len().saturating_sub(UNDER_WAY);
        self.under_way.drain(..many);
    }

    fn deliver(&mut self, to: usize, local: SocketAddr, remote: SocketAddr, payload: &[u8]) {
        self.ends[to].handle_datagram(self.now, local, remote, payload);
        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for step in 0.. {
            assert!(step < 10_000, "the endpoints do not come to rest");
            let next = self.ends.iter().filter_map(|end| end.poll_timeout().map(|(at, _)| at)).min();
            let Some(at) = next.filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            for end in &mut self.ends {
                end.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = until;
    }
}

/// Messages delivered, changed, repeated, cut and invented.
pub fn ike_datagrams(octets: &[u8]) {
    let mut input = Input::new(octets);
    let now = Instant::now();
    let mut world = World { ends: [endpoint(0, now), endpoint(1, now)], under_way: Vec::new(), now };
    world.drain();
    for _ in 0..STEPS {
        let Some(choice) = input.next() else { break };
        let chosen =
            if world.under_way.is_empty() { None } else { Some(usize::from(choice >> 3) % world.under_way.len()) };
        match (choice & 7, chosen) {
            // As it is; most of the time, so that runs get far.
            (0..=2, Some(chosen)) => {
                let (to, transmit) = world.under_way.remove(chosen);
                world.deliver(to, transmit.remote, transmit.local, &transmit.payload);
            }
            // Changed, while the right one is still to come.
            (3, Some(chosen)) => {
                let (to, mut transmit) = world.under_way[chosen].clone();
                for _ in 0..=input.octet() % 4 {
                    let at = usize::from(input.two()) % transmit.payload.len();
                    transmit.payload[at] ^= input.octet();
                }
                world.deliver(to, transmit.remote, transmit.local, &transmit.payload);
            }
            // Cut, or with more behind it, the length in the header made to fit.
            (4, Some(chosen)) => {
                let (to, mut transmit) = world.under_way[chosen].clone();
                let length = usize::from(input.two()) % transmit.payload.len();
                transmit.payload.truncate(length.max(28));
                let more = usize::from(input.octet());
                transmit.payload.extend_from_slice(input.take(more));
                let length = u32::try_from(transmit.payload.len()).expect("short").to_be_bytes();
                transmit.payload[24..28].copy_from_slice(&length);
                world.deliver(to, transmit.remote, transmit.local, &transmit.payload);
            }
            (5, Some(_)) => {
                world.under_way.remove(0);
            }
            (6, _) => world.pass(Duration::from_millis(u64::from(input.two()))),
            // Invented.
            _ => {
                let length = usize::from(input.two()) % 2048;
                let payload = input.take(length);
                let to = usize::from(choice >> 7);
                let port = if choice & 0x40 == 0 { 500 } else { 4500 };
                let [local, remote] = [to, 1 - to].map(|end| SocketAddr::new(address(end), port));
                world.deliver(to, local, remote, payload);
            }
        }
    }
}
