//! Graceful restart (RFC 4724): what outlives a session, and for how long.

mod common;
mod peer;

use std::time::{Duration, Instant};

use causeway_bgp::{Action, ConnKind, ConnectError, Event, Policy, Session, State};
use causeway_model::{Family, Fault, ReasonCode};
use common::Net;
use peer::{Peer, THEIRS, as4, attributes, keepalive, message, mp, open, open_with, plain, update};

/// The restart time that the hand-built peer offers.
const TIME: Duration = Duration::from_secs(30);
/// R bit, F bit.
const R: u8 = 0x80;
const F: u8 = 0x80;

/// The capability with `seconds` of restart time and these families, each an AFI with its flags.
fn restart(flags: u8, seconds: u16, families: &[(u8, u8)]) -> Vec<u8> {
    let [high, low] = seconds.to_be_bytes();
    let length = u8::try_from(2 + 4 * families.len()).expect("short enough");
    let mut capability = vec![64, length, flags | high, low];
    capability.extend(families.iter().flat_map(|(afi, flags)| [0, *afi, 1, *flags]));
    capability
}

fn open_restart(capabilities: &[Vec<u8>]) -> Vec<u8> {
    let common = [mp(1), mp(2), vec![2, 0], as4(THEIRS)];
    open_with(65001, 90, [10, 0, 0, 2], &[&common, capabilities].concat())
}

/// The peer's OPEN with one capability that lists IPv4.
fn graceful(flags: u8) -> Vec<u8> {
    open_restart(&[restart(0, 30, &[(1, flags)])])
}

fn end_of_rib() -> Vec<u8> {
    update(&[], &[], &[])
}

/// Established with `open`, holding 11.0.0.0/8 and 12.0.0.0/8, everything else done.
fn holding(open: &[u8]) -> Peer {
    let mut peer = Peer::connected(Family::Ipv4);
    peer.bytes(&[open, &keepalive(), &update(&[], &plain(), &[8, 11, 8, 12]), &end_of_rib()].concat());
    assert_eq!(peer.prefixes(), ["11.0.0.0/8", "12.0.0.0/8"]);
    peer.events.clear();
    peer.sent.clear();
    peer
}

impl Peer {
    /// TCP breaks.
    fn lose(&mut self) {
        self.session.handle_closed(self.now, ConnKind::Incoming);
        self.drain();
    }

    /// The peer connects and both agree.
    fn back(&mut self, open: &[u8]) {
        self.session.handle_connected(self.now, ConnKind::Incoming);
        self.drain();
        self.bytes(&[open, &keepalive()].concat());
        assert!(self.session.is_up());
    }

    /// Time passes, every attempt to connect failing.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, _)) = self.session.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = at.max(self.now);
            self.session.handle_timeout(self.now);
            self.session.handle_connect_failed(self.now, ConnectError::Refused);
            self.drain();
        }
        self.now = end;
    }

    fn routes_changed(&mut self) -> bool {
        let changed = self.events.contains(&Event::RoutesChanged);
        self.events.clear();
        changed
    }

    fn whole_fault(&self) -> Fault {
        self.session.fault().expect("a fault")
    }
}

#[test]
fn routes_outlive_a_broken_connection_for_the_restart_time() {
    let mut peer = holding(&graceful(0));
    peer.lose();
    assert_eq!((peer.session.is_up(), peer.session.flaps()), (false, 1));
    assert_eq!(peer.prefixes(), ["11.0.0.0/8", "12.0.0.0/8"]);
    assert_eq!((peer.session.received_count(), peer.session.accepted_count(), peer.session.stale_count()), (2, 2, 2));
    assert_eq!(peer.session.stale_until(), Some(peer.now + TIME));
    let fault = peer.whole_fault();
    assert_eq!((fault.code, fault.evidence["stale_routes"].as_str()), (ReasonCode::BgpConnectionLost, "2"));
    assert!(matches!(&peer.events[0], Event::Down(down) if *down == fault));
    // Nothing was announced and nothing went.
    assert!(!peer.routes_changed());

    peer.pass(TIME - Duration::from_millis(1));
    assert_eq!(peer.prefixes().len(), 2);
    assert_eq!(peer.fault(), ReasonCode::TcpRefused);
    assert_eq!(peer.whole_fault().evidence["stale_routes"], "2");
    assert!(!peer.routes_changed());
    peer.pass(Duration::from_millis(1));
    assert_eq!((peer.prefixes().len(), peer.session.received_count(), peer.session.stale_until()), (0, 0, None));
    assert!(!peer.whole_fault().evidence.contains_key("stale_routes"));
    assert!(peer.routes_changed());
}

#[test]
fn no_peer_gets_more_than_two_minutes() {
    let mut peer = holding(&open_restart(&[restart(0, 4095, &[(1, F)])]));
    let lost = peer.now;
    peer.lose();
    assert_eq!(peer.session.stale_until(), Some(lost + Duration::from_secs(120)));
    // Not by coming back without an End-of-RIB either.
    peer.pass(Duration::from_secs(60));
    peer.back(&graceful(F));
    assert_eq!((peer.prefixes().len(), peer.session.stale_until()), (2, Some(lost + Duration::from_secs(120))));
    peer.pass(Duration::from_secs(59));
    assert_eq!(peer.prefixes().len(), 2);
    peer.bytes(&keepalive());
    peer.pass(Duration::from_secs(1));
    assert!(peer.session.is_up() && peer.prefixes().is_empty());
}

#[test]
fn only_a_peer_that_lists_the_family_and_takes_time_is_waited_for() {
    let cases: [&[Vec<u8>]; 7] = [
        &[],
        &[restart(0, 30, &[])],
        &[restart(R, 30, &[(2, F)])],
        &[restart(0, 0, &[(1, F)])],
        // Of several capabilities the last one counts.
        &[restart(0, 30, &[(1, F)]), restart(0, 30, &[])],
        // Not a whole number of families.
        &[vec![64, 5, 0, 30, 0, 1, 1]],
        &[vec![64, 1, 0]],
    ];
    for capabilities in cases {
        let mut peer = holding(&open_restart(capabilities));
        peer.lose();
        assert_eq!((peer.prefixes().len(), peer.session.stale_until()), (0, None), "{capabilities:?}");
        assert!(peer.routes_changed());
    }
    let mut peer = holding(&open_restart(&[restart(0, 30, &[]), restart(R, 30, &[(2, 0), (1, 0)])]));
    peer.lose();
    assert_eq!(peer.prefixes().len(), 2);
}

#[test]
fn what_is_announced_again_stays_and_the_rest_goes_with_the_end_of_rib() {
    let mut peer = holding(&graceful(F));
    let received = peer.now;
    peer.lose();
    peer.pass(Duration::from_secs(3));
    peer.back(&graceful(F));
    assert_eq!((peer.prefixes().len(), peer.session.stale_count(), peer.session.fault()), (2, 2, None));
    assert!(!peer.routes_changed());
    peer.bytes(&update(&[], &plain(), &[8, 12, 8, 13]));
    assert_eq!(peer.prefixes(), ["11.0.0.0/8", "12.0.0.0/8", "13.0.0.0/8"]);
    // The end of another family is not the end of this one.
    peer.bytes(&update(&[], &[0x80, 15, 3, 0, 2, 1], &[]));
    assert_eq!(peer.session.stale_count(), 1);
    peer.routes_changed();
    peer.bytes(&end_of_rib());
    assert_eq!(peer.prefixes(), ["12.0.0.0/8", "13.0.0.0/8"]);
    assert!(peer.routes_changed());
    assert_eq!((peer.session.stale_count(), peer.session.stale_until()), (0, None));
    // Announced again unchanged is as old as before.
    let since: Vec<Instant> = peer.session.accepted_routes().map(|route| route.received_at).collect();
    assert_eq!(since, [received, peer.now]);
    // A second End-of-RIB means nothing.
    peer.bytes(&end_of_rib());
    assert!(peer.prefixes().len() == 2 && !peer.routes_changed());
}

#[test]
fn ends_of_rib_of_ipv6_in_both_lengths() {
    for end in [&[0x80, 15, 3, 0, 2, 1][..], &[0x90, 15, 0, 3, 0, 2, 1]] {
        let open = open_restart(&[restart(0, 30, &[(1, 0), (2, F)])]);
        let mut peer = Peer::connected(Family::Ipv6);
        let next_hop = [&[0xfd][..], &[0; 14], &[2]].concat();
        let reach = [&[0, 2, 1, 16][..], &next_hop, &[0, 16, 0xfd, 0x20]].concat();
        let attributes = [attributes(&[THEIRS], [0; 4])[..13].to_vec(), peer::attribute(0x80, 14, &reach)].concat();
        peer.bytes(&[open.clone(), keepalive(), update(&[], &attributes, &[])].concat());
        assert_eq!(peer.prefixes(), ["fd20::/16"]);
        peer.lose();
        assert_eq!(peer.prefixes(), ["fd20::/16"]);
        peer.back(&open);
        // IPv4's is not meant.
        peer.bytes(&end_of_rib());
        peer.bytes(&update(&[], &[0x80, 15, 3, 0, 1, 1], &[]));
        assert_eq!(peer.prefixes(), ["fd20::/16"]);
        peer.bytes(&update(&[], end, &[]));
        assert!(peer.prefixes().is_empty() && peer.session.is_up());
    }
}

#[test]
fn a_peer_that_did_not_go_on_forwarding_begins_with_nothing() {
    for open in [graceful(0), open_restart(&[restart(R, 30, &[(2, F)])]), open()] {
        let mut peer = holding(&graceful(F));
        peer.lose();
        assert_eq!(peer.prefixes().len(), 2);
        peer.session.handle_connected(peer.now, ConnKind::Incoming);
        peer.bytes(&open);
        assert_eq!(peer.prefixes().len(), 2);
        peer.routes_changed();
        peer.bytes(&keepalive());
        assert!(peer.session.is_up() && peer.prefixes().is_empty());
        assert!(peer.routes_changed());
        peer.bytes(&update(&[], &plain(), &[8, 11]));
        assert_eq!(peer.prefixes(), ["11.0.0.0/8"]);
    }
}

#[test]
fn of_two_restarts_in_a_row_only_the_last_session_leaves_routes() {
    let mut peer = holding(&graceful(F));
    peer.lose();
    peer.back(&graceful(F));
    peer.bytes(&update(&[], &plain(), &[8, 12]));
    peer.pass(Duration::from_secs(20));
    peer.routes_changed();
    peer.lose();
    assert_eq!(peer.prefixes(), ["12.0.0.0/8"]);
    assert!(peer.routes_changed());
    assert_eq!(peer.session.stale_until(), Some(peer.now + TIME));
}

#[test]
fn whoever_ends_the_session_with_words_ends_its_routes() {
    // Notifications in both directions, the hold timer (RFC 4724 without RFC 8538), our own shutdown, the tunnel.
    let ends: [fn(&mut Peer); 6] = [
        |peer| peer.bytes(&message(3, &[6, 2])),
        |peer| peer.bytes(&message(3, &[6, 4])),
        |peer| peer.bytes(&message(9, &[])),
        |peer| peer.pass(Duration::from_secs(60)),
        |peer| peer.session.shutdown(peer.now, "moved"),
        |peer| peer.session.set_enabled(peer.now, false),
    ];
    for (index, end) in ends.into_iter().enumerate() {
        let mut peer = holding(&graceful(F));
        end(&mut peer);
        peer.drain();
        assert!(!peer.session.is_up(), "{index}");
        assert_eq!((peer.prefixes().len(), peer.session.stale_until()), (0, None), "{index}");
        assert!(peer.routes_changed(), "{index}");
    }
}

#[test]
fn the_tunnel_takes_stale_routes_along_at_once() {
    let ends: [fn(&mut Peer); 2] =
        [|peer| peer.session.set_enabled(peer.now, false), |peer| peer.session.shutdown(peer.now, "moved")];
    for end in ends {
        let mut peer = holding(&graceful(F));
        peer.lose();
        assert_eq!(peer.prefixes().len(), 2);
        end(&mut peer);
        peer.drain();
        assert!(peer.prefixes().is_empty() && peer.routes_changed());
        assert_eq!((peer.session.state(), peer.session.poll_timeout()), (State::Idle, None));
        // They do not come back with the next tunnel.
        peer.session.set_enabled(peer.now, true);
        peer.back(&graceful(F));
        assert!(peer.prefixes().is_empty());
    }
}

#[test]
fn a_peer_that_refuses_the_next_session_has_nothing_left() {
    let wrong = open_with(65002, 90, [10, 0, 0, 2], &[mp(1), as4(65002), restart(0, 30, &[(1, F)])]);
    // What the peer answers our OPEN with, and whether its routes are still waited for.
    let cases = [
        (wrong, false),
        (open_with(65001, 90, [10, 0, 0, 2], &[mp(2), as4(THEIRS)]), false),
        (message(3, &[2, 2]), false),
        (message(3, &[6, 3]), false),
        (message(9, &[]), false),
        (message(3, &[6, 5]), true),
        (message(3, &[6, 7]), true),
    ];
    for (answer, kept) in cases {
        let mut peer = holding(&graceful(F));
        peer.lose();
        peer.session.handle_connected(peer.now, ConnKind::Incoming);
        peer.bytes(&answer);
        assert!(!peer.session.is_up());
        assert_eq!(peer.prefixes().len(), if kept { 2 } else { 0 }, "{answer:?}");
    }
}

#[test]
fn policies_apply_to_stale_routes_too() {
    let mut peer = holding(&graceful(F));
    peer.lose();
    let policy = peer.session.policy().cloned().expect("a policy");
    let narrow = Policy { accept: vec!["12.0.0.0/8".parse().expect("a prefix")], ..policy.clone() };
    peer.session.set_policy(peer.now, narrow);
    assert_eq!((peer.prefixes(), peer.session.stale_count()), (vec!["12.0.0.0/8".to_owned()], 2));
    peer.session.set_policy(peer.now, Policy { propagate: false, ..policy });
    assert!(peer.prefixes().is_empty());
}

#[test]
fn stale_routes_give_their_places_to_those_over_the_limit() {
    let now = Instant::now();
    let mut peer = holding(&graceful(F));
    let config = causeway_bgp::SessionConfig { max_prefixes: 2, ..*peer.session.config() };
    let policy = peer.session.policy().cloned().expect("a policy");
    peer.session = Session::new(config, now);
    peer.now = now;
    peer.session.set_policy(now, policy);
    peer.session.set_enabled(now, true);
    peer.back(&graceful(F));
    peer.bytes(&update(&[], &plain(), &[8, 11, 8, 12]));
    peer.lose();
    peer.back(&graceful(F));
    peer.bytes(&update(&[], &plain(), &[8, 13, 8, 14]));
    assert_eq!(peer.prefixes(), ["11.0.0.0/8", "12.0.0.0/8"]);
    assert_eq!(peer.fault(), ReasonCode::MaxPrefixesExceeded);
    peer.bytes(&end_of_rib());
    assert_eq!(peer.prefixes(), ["13.0.0.0/8", "14.0.0.0/8"]);
    assert_eq!(peer.session.fault(), None);
}

/// Up over our own connection, with a route.
fn outgoing(open: &[u8]) -> Peer {
    let mut peer = Peer::connected(Family::Ipv4);
    peer.lose();
    peer.session.handle_connected(peer.now, ConnKind::Outgoing);
    let octets = [open, &keepalive(), &update(&[], &plain(), &[8, 11])].concat();
    peer.session.handle_bytes(peer.now, ConnKind::Outgoing, &octets);
    peer.drain();
    assert!(peer.session.is_up());
    peer
}

#[test]
fn a_new_connection_of_a_restarted_peer_takes_the_place_of_ours() {
    let mut peer = outgoing(&graceful(0));
    peer.now += Duration::from_secs(2);
    peer.session.handle_connected(peer.now, ConnKind::Incoming);
    assert_eq!(peer.session.poll_action(), Some(Action::Close(ConnKind::Outgoing)));
    assert!(matches!(peer.session.poll_action(), Some(Action::Send(ConnKind::Incoming, octets)) if octets[18] == 1));
    assert_eq!((peer.session.poll_action(), peer.session.state()), (None, State::OpenSent));
    assert_eq!((peer.prefixes(), peer.session.flaps()), (vec!["11.0.0.0/8".to_owned()], 1));
    peer.bytes(&[graceful(F), keepalive(), end_of_rib()].concat());
    assert!(peer.session.is_up() && peer.prefixes().is_empty());

    // Not right after Established, when it may have been on its way, and not without graceful restart: then it is turned away.
    let turned_away = |mut peer: Peer, wait: Duration| {
        peer.now += wait;
        peer.session.handle_connected(peer.now, ConnKind::Incoming);
        assert_eq!(peer.session.poll_action(), Some(Action::Send(ConnKind::Outgoing, keepalive())));
        assert_eq!(peer.session.poll_action(), Some(Action::Close(ConnKind::Incoming)));
        assert!(peer.session.is_up());
    };
    turned_away(outgoing(&graceful(0)), Duration::from_millis(1999));
    turned_away(outgoing(&open()), Duration::from_secs(10));
    turned_away(outgoing(&open_restart(&[restart(0, 30, &[])])), Duration::from_secs(10));
}

/// Up again over our own connection after a restart of the peer, with a route that waits for the End-of-RIB, and taking a second
/// connection of the peer after `wait`.
fn taken_late(wait: Duration) -> Peer {
    let mut peer = outgoing(&graceful(F));
    peer.session.handle_closed(peer.now, ConnKind::Outgoing);
    peer.session.handle_timeout(peer.now + Duration::from_secs(1));
    peer.drain();
    peer.session.handle_connected(peer.now, ConnKind::Outgoing);
    peer.session.handle_bytes(peer.now, ConnKind::Outgoing, &[graceful(F), keepalive()].concat());
    peer.drain();
    assert!(peer.session.is_up());
    assert_eq!((peer.prefixes(), peer.session.stale_count()), (vec!["11.0.0.0/8".to_owned()], 1));
    peer.now += wait;
    peer.session.handle_connected(peer.now, ConnKind::Incoming);
    assert_eq!(peer.session.poll_action(), Some(Action::Send(ConnKind::Outgoing, keepalive())));
    assert_eq!(peer.session.poll_action(), Some(Action::Close(ConnKind::Incoming)));
    assert_eq!(peer.session.poll_action(), None);
    assert_eq!((peer.session.is_up(), peer.session.flaps()), (true, 1));
    assert_eq!(peer.prefixes(), ["11.0.0.0/8"]);
    peer
}

#[test]
fn a_connection_that_is_taken_late_is_no_second_restart_while_routes_wait_for_the_end_of_rib() {
    for wait in [0, 1999, 2000, 30_000] {
        let mut peer = taken_late(Duration::from_millis(wait));
        let octets = [update(&[], &plain(), &[8, 11]), end_of_rib()].concat();
        peer.session.handle_bytes(peer.now, ConnKind::Outgoing, &octets);
        peer.drain();
        assert_eq!((peer.prefixes(), peer.session.stale_count()), (vec!["11.0.0.0/8".to_owned()], 0));
        // The restart is over, so that the next connection is of the next one.
        peer.now += Duration::from_secs(2);
        peer.session.handle_connected(peer.now, ConnKind::Incoming);
        assert_eq!(peer.session.poll_action(), Some(Action::Close(ConnKind::Outgoing)));
        assert_eq!((peer.session.state(), peer.session.flaps()), (State::OpenSent, 2));
        assert_eq!((peer.prefixes(), peer.session.stale_count()), (vec!["11.0.0.0/8".to_owned()], 1));
    }
}

#[test]
fn a_peer_that_did_restart_twice_says_so_and_leaves_nothing_of_the_first_time() {
    let mut peer = taken_late(Duration::from_secs(5));
    // What it answers the KEEPALIVE with.
    peer.session.handle_closed(peer.now, ConnKind::Outgoing);
    peer.drain();
    assert_eq!((peer.session.is_up(), peer.session.flaps()), (false, 2));
    assert!(peer.prefixes().is_empty());
    peer.back(&graceful(F));
    peer.bytes(&[update(&[], &plain(), &[8, 12]), end_of_rib()].concat());
    assert_eq!(peer.prefixes(), ["12.0.0.0/8"]);
}

#[test]
fn a_second_connection_of_the_peer_keeps_the_routes_of_the_first() {
    let mut peer = holding(&graceful(F));
    peer.session.handle_connected(peer.now, ConnKind::Incoming);
    peer.drain();
    assert_eq!((peer.session.state(), peer.prefixes().len()), (State::OpenSent, 2));
    peer.bytes(&[graceful(F), keepalive(), update(&[], &plain(), &[8, 12]), end_of_rib()].concat());
    assert_eq!(peer.prefixes(), ["12.0.0.0/8"]);
}

/// The R bit of the OPENs sent.
fn restart_bits(peer: &Peer) -> Vec<bool> {
    let opens = peer.sent.iter().filter(|octets| octets[18] == 1);
    opens
        .map(|octets| {
            let at = octets.windows(2).position(|pair| pair == [64, 6]).expect("the capability");
            octets[at + 2] & 0x80 != 0
        })
        .collect()
}

#[test]
fn the_restart_bit_is_set_until_the_session_was_up_once() {
    let mut peer = Peer::connected(Family::Ipv4);
    peer.lose();
    peer.session.handle_connected(peer.now, ConnKind::Incoming);
    peer.bytes(&[graceful(0), keepalive()].concat());
    for _ in 0..2 {
        peer.lose();
        peer.back(&graceful(0));
    }
    peer.session.set_enabled(peer.now, false);
    peer.session.set_enabled(peer.now, true);
    peer.back(&graceful(0));
    assert_eq!(restart_bits(&peer), [true, true, false, false, false]);
}

#[test]
fn an_attempt_of_ours_ends_when_the_peers_connection_is_agreed_on() {
    let mut peer = Peer::connected(Family::Ipv4);
    peer.session.handle_bytes(peer.now, ConnKind::Incoming, &graceful(0));
    assert_eq!(peer.session.poll_action(), Some(Action::Send(ConnKind::Incoming, keepalive())));
    assert_eq!(peer.session.poll_action(), Some(Action::Close(ConnKind::Outgoing)));
    // It gets through all the same: it must not be answered with an OPEN, which the peer would take for a restart.
    peer.session.handle_connected(peer.now, ConnKind::Outgoing);
    assert_eq!(peer.session.poll_action(), Some(Action::Close(ConnKind::Outgoing)));
    assert_eq!(peer.session.poll_action(), None);
}

// === two sessions ===

const SUBNETS: [&[&str]; 2] = [&["10.1.0.0/24", "10.1.1.0/24"], &["192.168.7.0/24"]];

fn up() -> Net {
    let mut net = Net::family(Family::Ipv4);
    for (side, subnets) in SUBNETS.into_iter().enumerate() {
        net.set_policy(side, common::open_policy(subnets));
    }
    net.enable();
    net.run(Duration::from_secs(5));
    assert!(net.both_up());
    net
}

#[test]
fn a_killed_speaker_is_back_within_a_few_round_trips_of_its_start() {
    for (side, subnets) in SUBNETS.into_iter().enumerate() {
        let mut net = up();
        net.kill(side);
        net.run(Duration::from_secs(4));
        // The other one has noticed nothing.
        let other = 1 - side;
        assert_eq!((net.sides[other].is_up(), net.prefixes(other).len()), (true, subnets.len()));
        net.set_policy(side, common::open_policy(subnets));
        net.set_enabled(side, true);
        net.run_ms(60);
        assert!(net.both_up(), "{:?}", net.log);
        assert_eq!(
            (net.prefixes(other), net.sides[other].flaps()),
            (subnets.iter().map(ToString::to_string).collect(), 1)
        );
        assert_eq!(net.prefixes(side), SUBNETS[other]);
    }
}

#[test]
fn a_dead_speaker_leaves_its_routes_for_ten_seconds() {
    let mut net = up();
    net.close(1);
    net.listening[1] = false;
    net.run_ms(100);
    assert!(!net.sides[0].is_up());
    assert_eq!(net.prefixes(0), SUBNETS[1]);
    net.run(Duration::from_secs(9));
    assert_eq!(net.prefixes(0), SUBNETS[1]);
    assert_eq!(net.sides[0].fault().expect("a fault").code, ReasonCode::TcpRefused);
    net.run(Duration::from_secs(1));
    assert!(net.prefixes(0).is_empty());
}
