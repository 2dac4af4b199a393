//! A peer made of hand-built octets, so that no codec of ours vouches for itself.
#![allow(dead_code, reason = "no test uses all of it")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use causeway_bgp::{Action, ConnKind, Event, Policy, Session, SessionConfig, Verdict};
use causeway_model::{Family, ReasonCode};

pub(crate) const OURS: u32 = 64512;
pub(crate) const THEIRS: u32 = 65001;

pub(crate) fn config(family: Family) -> SessionConfig {
    let (local, peer): (IpAddr, IpAddr) = match family {
        Family::Ipv4 => ([169, 254, 0, 1].into(), [169, 254, 0, 2].into()),
        Family::Ipv6 => ("fd00::1".parse().expect("an address"), "fd00::2".parse().expect("an address")),
    };
    SessionConfig {
        family,
        local_asn: OURS,
        peer_asn: THEIRS,
        router_id: Ipv4Addr::new(10, 0, 0, 1),
        local,
        peer,
        hold_time: 60,
        send_hold: causeway_bgp::SEND_HOLD,
        max_prefixes: 100,
    }
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("short enough");
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

pub(crate) fn mp(afi: u8) -> Vec<u8> {
    vec![1, 4, 0, afi, 0, 1]
}

pub(crate) fn as4(asn: u32) -> Vec<u8> {
    [&[65, 4][..], &asn.to_be_bytes()].concat()
}

pub(crate) fn open_with(my_as: u16, hold: u16, id: [u8; 4], capabilities: &[Vec<u8>]) -> Vec<u8> {
    let capabilities = capabilities.concat();
    let mut body = vec![4];
    body.extend(my_as.to_be_bytes());
    body.extend(hold.to_be_bytes());
    body.extend(id);
    if capabilities.is_empty() {
        body.push(0);
    } else {
        let length = u8::try_from(capabilities.len()).expect("short enough");
        body.extend([length + 2, 2, length]);
        body.extend(capabilities);
    }
    message(1, &body)
}

pub(crate) fn open() -> Vec<u8> {
    open_with(65001, 90, [10, 0, 0, 2], &[mp(1), mp(2), vec![2, 0], as4(THEIRS)])
}

pub(crate) fn keepalive() -> Vec<u8> {
    message(4, &[])
}

pub(crate) fn update(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = |part: &[u8]| u16::try_from(part.len()).expect("short enough").to_be_bytes();
    message(2, &[&length(withdrawn)[..], withdrawn, &length(attributes), attributes, nlri].concat())
}

pub(crate) fn attribute(flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    [&[flags, kind, u8::try_from(value.len()).expect("short enough")], value].concat()
}

pub(crate) fn path(asns: &[u32]) -> Vec<u8> {
    let mut value = vec![2, u8::try_from(asns.len()).expect("short enough")];
    value.extend(asns.iter().flat_map(|asn| asn.to_be_bytes()));
    attribute(0x40, 2, &value)
}

pub(crate) fn attributes(asns: &[u32], next_hop: [u8; 4]) -> Vec<u8> {
    [attribute(0x40, 1, &[0]), path(asns), attribute(0x40, 3, &next_hop)].concat()
}

pub(crate) fn plain() -> Vec<u8> {
    attributes(&[THEIRS], [169, 254, 0, 2])
}

pub(crate) struct Peer {
    pub(crate) now: Instant,
    pub(crate) session: Session,
    pub(crate) events: Vec<Event>,
    pub(crate) sent: Vec<Vec<u8>>,
    pub(crate) closed: bool,
}

impl Peer {
    /// A session whose connection from the peer is there.
    pub(crate) fn connected(family: Family) -> Self {
        let now = Instant::now();
        let mut session = Session::new(config(family), now);
        session.set_policy(
            now,
            Policy {
                propagate: true,
                accept: vec!["0.0.0.0/0".parse().expect("a prefix"), "::/0".parse().expect("a prefix")],
                ..Policy::default()
            },
        );
        session.set_enabled(now, true);
        session.handle_connected(now, ConnKind::Incoming);
        let mut peer = Self { now, session, events: Vec::new(), sent: Vec::new(), closed: false };
        peer.drain();
        peer
    }

    pub(crate) fn established(family: Family) -> Self {
        let mut peer = Self::connected(family);
        peer.bytes(&open());
        peer.bytes(&keepalive());
        assert!(peer.session.is_up());
        peer.sent.clear();
        peer
    }

    pub(crate) fn drain(&mut self) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Send(ConnKind::Incoming, octets) => self.sent.push(octets),
                Action::Close(ConnKind::Incoming) => self.closed = true,
                _ => {}
            }
        }
        self.events.extend(std::iter::from_fn(|| self.session.poll_event()));
    }

    pub(crate) fn bytes(&mut self, octets: &[u8]) {
        self.session.handle_bytes(self.now, ConnKind::Incoming, octets);
        self.drain();
    }

    /// Code and subcode of the NOTIFICATION sent last.
    pub(crate) fn notification(&self) -> Option<(u8, u8)> {
        let last = self.sent.last().filter(|octets| octets[18] == 3)?;
        Some((last[19], last[20]))
    }

    pub(crate) fn fault(&self) -> ReasonCode {
        self.session.fault().expect("a fault").code
    }

    pub(crate) fn prefixes(&self) -> Vec<String> {
        self.session.accepted_routes().map(|route| route.prefix.to_string()).collect()
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let received = self.session.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received[0].1.clone()
    }
}
