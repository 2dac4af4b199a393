//! What has to become of routes and announcements, by a model that is too simple to be wrong, and a run of both against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use causeway_bgp::{Policy, Verdict};
use causeway_model::Family;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::peer::{self, OURS, Peer, THEIRS, attribute, attributes, config, path, update};

/// Of one peer; [`config`] says it.
const LIMIT: usize = 100;

/// What a peer and its tenant do.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Prefixes announced together, with the AS numbers of the path behind the peer's, and whether the next hop is the peer.
    Announce(Vec<IpNet>, Vec<u32>, bool),
    Withdraw(Vec<IpNet>),
    Policy(Policy),
    Refresh,
    /// The peer says one of everything again, in the order of the prefixes.
    Repeat,
    Pass(u16),
}

/// RFC 4271 §4.3.
fn nlri(prefixes: &[IpNet]) -> Vec<u8> {
    let mut octets = Vec::new();
    for prefix in prefixes {
        let address = match prefix.network() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        octets.push(prefix.prefix_len());
        octets.extend(address.iter().take(usize::from(prefix.prefix_len()).div_ceil(8)));
    }
    octets
}

/// An optional attribute with the extended length.
fn long(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("short enough").to_be_bytes();
    [&[0x90, kind][..], &length, value].concat()
}

pub(crate) fn announcement(v6: bool, prefixes: &[IpNet], asns: &[u32], from_peer: bool) -> Vec<u8> {
    let asns = [&[THEIRS], asns].concat();
    if v6 {
        let hop: [u8; 16] =
            if from_peer { "fd00::2" } else { "fd00::77" }.parse::<std::net::Ipv6Addr>().expect("an address").octets();
        let reach = [&[0, 2, 1, 16][..], &hop, &[0], &nlri(prefixes)].concat();
        update(&[], &[attribute(0x40, 1, &[0]), path(&asns), long(14, &reach)].concat(), &[])
    } else {
        let hop = if from_peer { [169, 254, 0, 2] } else { [169, 254, 0, 77] };
        update(&[], &attributes(&asns, hop), &nlri(prefixes))
    }
}

pub(crate) fn withdrawal(v6: bool, prefixes: &[IpNet]) -> Vec<u8> {
    if v6 {
        update(&[], &long(15, &[&[0, 2, 1][..], &nlri(prefixes)].concat()), &[])
    } else {
        update(&nlri(prefixes), &[], &[])
    }
}

/// Whether `inner` lies in `outer`, bit by bit.
fn within(inner: &IpNet, outer: &IpNet) -> bool {
    let bits = |address: IpAddr| -> u128 {
        match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        }
    };
    let length = u32::from(outer.prefix_len());
    let differs = bits(inner.addr()) ^ bits(outer.addr());
    Family::of_net(inner) == Family::of_net(outer)
        && inner.prefix_len() >= outer.prefix_len()
        && (length == 0 || differs >> (128 - length) == 0)
}

/// system.md §2.2: inside one of the ranges; a default route only where it is named.
fn admitted(list: &[IpNet], prefix: &IpNet) -> bool {
    list.iter().any(|range| within(prefix, range) && (prefix.prefix_len() > 0 || range.prefix_len() == 0))
}

fn martian(prefix: &IpNet) -> bool {
    let listed =
        ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/8", "fe80::/10", "ff00::/8"];
    listed.iter().any(|range| within(prefix, &range.parse().expect("a prefix")))
}

/// What the peer has said last of each prefix, in order of arrival, and what has to become of it.
#[derive(Default)]
struct Model {
    said: BTreeMap<IpNet, (Vec<u32>, bool)>,
    arrived: Vec<IpNet>,
    policy: Policy,
}

impl Model {
    fn announce(&mut self, prefix: IpNet, asns: &[u32], from_peer: bool) {
        if self.said.insert(prefix, (asns.to_vec(), from_peer)).is_none() {
            self.arrived.push(prefix);
        }
    }

    fn withdraw(&mut self, prefix: &IpNet) {
        self.said.remove(prefix);
        self.arrived.retain(|other| other != prefix);
    }

    fn verdicts(&self, v6: bool) -> BTreeMap<IpNet, Verdict> {
        let places: BTreeSet<&IpNet> = self.arrived.iter().take(LIMIT).collect();
        let inside: IpNet = if v6 { "fd00::/126" } else { "169.254.0.0/30" }.parse().expect("a prefix");
        let judge = |(prefix, (asns, from_peer)): (&IpNet, &(Vec<u32>, bool))| {
            let verdict = if asns.contains(&OURS) {
                Verdict::Filtered("own_asn_in_path")
            } else if martian(prefix) {
                Verdict::Filtered("martian")
            } else if within(prefix, &inside) {
                Verdict::Filtered("interconnection_subnet")
            } else if !from_peer {
                Verdict::Filtered("third_party_next_hop")
            } else if !places.contains(prefix) {
                Verdict::Filtered("max_prefixes")
            } else if !self.policy.propagate {
                Verdict::Filtered("propagation_disabled")
            } else if !admitted(&self.policy.accept, prefix) {
                Verdict::Filtered("not_in_prefix_filter_in")
            } else {
                let subnets = self.policy.local_subnets.iter().filter(|subnet| within(prefix, subnet));
                match subnets.min_by_key(|subnet| subnet.prefix_len()) {
                    Some(subnet) => Verdict::OverlapsLocal(*subnet),
                    None => Verdict::Accepted,
                }
            };
            (*prefix, verdict)
        };
        self.said.iter().map(judge).collect()
    }

    fn announced(&self, v6: bool) -> BTreeSet<IpNet> {
        let own = self.policy.local_subnets.iter().chain(&self.policy.custom_routes);
        own.filter(|route| self.policy.propagate && Family::of_net(route).is_ipv6() == v6)
            .filter(|route| admitted(&self.policy.announce, route))
            .map(IpNet::trunc)
            .collect()
    }
}

/// What the peer knows of us, from our own octets. An UPDATE that the model cannot read fails the test.
fn hear(v6: bool, sent: &[Vec<u8>], known: &mut BTreeSet<IpNet>) {
    for message in sent.iter().filter(|message| message[18] == 2) {
        let body = &message[19..];
        let length = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        let withdrawn = &body[2..2 + length(0)];
        let start = 4 + length(0);
        let mut attributes = &body[start..start + length(2 + length(0))];
        let announced = &body[start + attributes.len()..];
        let mut changes = vec![(false, withdrawn), (true, announced)];
        while !attributes.is_empty() {
            let extended = attributes[0] & 0x10 != 0;
            let (header, length) = if extended {
                (4, usize::from(u16::from_be_bytes([attributes[2], attributes[3]])))
            } else {
                (3, usize::from(attributes[2]))
            };
            let value = &attributes[header..header + length];
            match attributes[1] {
                14 => changes.push((true, &value[5 + usize::from(value[3])..])),
                15 => changes.push((false, &value[3..])),
                _ => {}
            }
            attributes = &attributes[header + length..];
        }
        for (announced, mut octets) in changes {
            while let Some((length, rest)) = octets.split_first() {
                let (address, rest) = rest.split_at(usize::from(*length).div_ceil(8));
                let mut whole = [0; 16];
                whole[..address.len()].copy_from_slice(address);
                let prefix = if v6 {
                    IpNet::V6(Ipv6Net::new_assert(whole.into(), *length))
                } else {
                    IpNet::V4(Ipv4Net::new_assert([whole[0], whole[1], whole[2], whole[3]].into(), *length))
                };
                if announced {
                    known.insert(prefix);
                } else {
                    assert!(known.remove(&prefix), "{prefix} was withdrawn and never announced");
                }
                octets = rest;
            }
        }
    }
}

/// A session that is up goes through `steps`; after each one every verdict, announcement and count is the model's.
pub(crate) fn run(v6: bool, steps: Vec<Step>) {
    let mut peer = Peer::established(Family::from_is_ipv6(v6));
    assert_eq!(config(Family::from_is_ipv6(v6)).max_prefixes as usize, LIMIT);
    let mut model = Model { policy: peer.session.policy().cloned().expect("set"), ..Model::default() };
    let mut known = BTreeSet::new();
    for step in steps {
        match step {
            Step::Announce(prefixes, asns, from_peer) => {
                for prefix in &prefixes {
                    model.announce(*prefix, &asns, from_peer);
                }
                peer.bytes(&announcement(v6, &prefixes, &asns, from_peer));
            }
            Step::Withdraw(prefixes) => {
                for prefix in &prefixes {
                    model.withdraw(prefix);
                }
                peer.bytes(&withdrawal(v6, &prefixes));
            }
            Step::Policy(policy) => {
                model.policy = policy.clone();
                peer.session.set_policy(peer.now, policy);
                peer.drain();
            }
            Step::Refresh => peer.bytes(&peer::message(5, &[0, 1 + u8::from(v6), 0, 1])),
            Step::Repeat => {
                for (prefix, (asns, from_peer)) in &model.said {
                    peer.bytes(&announcement(v6, &[*prefix], asns, *from_peer));
                }
            }
            Step::Pass(milliseconds) => {
                peer.now += Duration::from_millis(milliseconds.into());
                peer.session.handle_timeout(peer.now);
                peer.drain();
            }
        }
        hear(v6, &std::mem::take(&mut peer.sent), &mut known);
        assert!(peer.session.is_up());
        let wanted = model.verdicts(v6);
        let seen: BTreeMap<IpNet, Verdict> =
            peer.session.received().into_iter().map(|(route, verdict)| (route.prefix, verdict)).collect();
        assert_eq!(&seen, &wanted);
        assert_eq!(
            peer.session.accepted_count() as usize,
            wanted.values().filter(|verdict| verdict.is_accepted()).count()
        );
        assert_eq!(&known, &model.announced(v6));
        assert!(peer.session.announced().eq(known.iter()));
        assert_eq!(peer.session.fault().is_some(), model.arrived.len() > LIMIT);
    }
}
