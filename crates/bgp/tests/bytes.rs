//! What a peer can send, octet by octet.

mod peer;

use std::time::Duration;

use causeway_bgp::{Action, ConnKind, Event, Policy, State, Verdict};
use causeway_model::observed::RouteDecision;
use causeway_model::{Family, ReasonCode};
use peer::{
    OURS, Peer, THEIRS, as4, attribute, attributes, keepalive, message, mp, open, open_with, path, plain, update,
};
use proptest::prelude::*;

#[test]
fn our_open_offers_exactly_one_family_route_refresh_graceful_restart_and_four_octets() {
    let peer = Peer::connected(Family::Ipv6);
    // Restarted (R), 10 s, IPv6 unicast without forwarding state (F).
    let restart = vec![64, 6, 0x80, 10, 0, 2, 1, 0x00];
    let capabilities = [mp(2), vec![2, 0], restart, as4(OURS)].concat();
    let body = [&[4, 0xfc, 0x00, 0, 60, 10, 0, 0, 1, 24, 2, 22][..], &capabilities].concat();
    assert_eq!(peer.sent, [message(1, &body)]);
}

#[test]
fn opens_that_are_refused() {
    let good = [mp(1), as4(THEIRS)];
    let cases = [
        ("AS number", open_with(65002, 90, [1; 4], &[mp(1), as4(65002)]), (2, 2), ReasonCode::BgpAsnMismatch),
        ("AS number of a 2-octet speaker", open_with(65002, 90, [1; 4], &[mp(1)]), (2, 2), ReasonCode::BgpAsnMismatch),
        ("identifier", open_with(65001, 90, [0; 4], &good), (2, 3), ReasonCode::BgpRouterId),
        ("hold time 1", open_with(65001, 1, [1; 4], &good), (2, 6), ReasonCode::BgpHoldTimeRefused),
        ("hold time 2", open_with(65001, 2, [1; 4], &good), (2, 6), ReasonCode::BgpHoldTimeRefused),
        ("family", open_with(65001, 90, [1; 4], &[mp(2), as4(THEIRS)]), (2, 7), ReasonCode::BgpNoCommonFamily),
        ("version", message(1, &[3, 0xfd, 0xe9, 0, 90, 1, 1, 1, 1, 0]), (2, 1), ReasonCode::BgpMessageError),
        ("length", message(1, &[4, 0xfd]), (2, 0), ReasonCode::BgpMessageError),
    ];
    for (what, octets, notification, code) in cases {
        let mut peer = Peer::connected(Family::Ipv4);
        peer.bytes(&octets);
        assert_eq!(peer.notification(), Some(notification), "{what}");
        assert!(peer.closed, "{what}");
        // Our own attempt is still under way, and what was wrong is the reason once that comes to nothing too.
        peer.session.handle_connect_failed(peer.now, causeway_bgp::ConnectError::Refused);
        assert_eq!(peer.session.state(), State::Active);
        assert_eq!(peer.fault(), code, "{what}");
    }
}

#[test]
fn an_old_speaker_without_capabilities_is_an_ipv4_speaker() {
    let mut peer = Peer::connected(Family::Ipv4);
    peer.bytes(&open_with(65001, 90, [1; 4], &[]));
    peer.bytes(&keepalive());
    assert!(peer.session.is_up());
    // Two octets an AS, and AS4_PATH restores what AS_TRANS hides (RFC 6793 §4.2.3).
    let attributes = [
        attribute(0x40, 1, &[0]),
        attribute(0x40, 2, &[2, 2, 0xfd, 0xe9, 0x5b, 0xa0]),
        attribute(0x40, 3, &[169, 254, 0, 2]),
        attribute(0xc0, 17, &[2, 1, 0xfa, 0x56, 0xea, 0x01]),
    ]
    .concat();
    peer.bytes(&update(&[], &attributes, &[24, 192, 168, 7]));
    let route = peer.session.accepted_routes().next().expect("a route");
    assert_eq!(*route.as_path, [65001, 0xfa56_ea01]);

    let mut peer = Peer::connected(Family::Ipv6);
    peer.bytes(&open_with(65001, 90, [1; 4], &[]));
    assert_eq!(peer.notification(), Some((2, 7)));
}

#[test]
fn messages_out_of_place_are_state_machine_errors() {
    let cases = [
        (vec![keepalive()], (5, 1)),
        (vec![update(&[], &[], &[])], (5, 1)),
        (vec![open(), open()], (5, 2)),
        (vec![open(), update(&[], &plain(), &[8, 10])], (5, 2)),
        (vec![open(), keepalive(), open()], (5, 3)),
    ];
    for (messages, notification) in cases {
        let mut peer = Peer::connected(Family::Ipv4);
        messages.iter().for_each(|octets| peer.bytes(octets));
        assert_eq!(peer.notification(), Some(notification));
        assert!(peer.closed && !peer.session.is_up());
        assert!(peer.session.received().is_empty());
    }
}

#[test]
fn headers_that_are_refused() {
    let mut marker = keepalive();
    marker[3] = 0;
    let mut short = keepalive();
    short[17] = 18;
    let mut long = message(2, &[]);
    long[16..18].copy_from_slice(&4097_u16.to_be_bytes());
    for (octets, subcode) in [(marker, 1), (short, 2), (long, 2), (message(9, &[]), 3), (message(4, &[0]), 2)] {
        let mut peer = Peer::established(Family::Ipv4);
        peer.bytes(&octets);
        assert_eq!(peer.notification(), Some((1, subcode)));
        assert!(!peer.session.is_up());
        let Some(Event::Down(fault)) = peer.events.iter().rev().find(|event| matches!(event, Event::Down(_))) else {
            panic!("no reason")
        };
        assert_eq!((fault.code, fault.evidence["code"].as_str()), (ReasonCode::BgpMessageError, "1"));
    }
}

#[test]
fn announcements_and_withdrawals_of_both_families() {
    let mut peer = Peer::established(Family::Ipv4);
    let attributes = [
        attributes(&[THEIRS, 65010], [169, 254, 0, 2]),
        attribute(0x80, 4, &[0, 0, 0, 50]),
        attribute(0xc0, 8, &[0x32, 0x4c, 0xa4, 0xd8]),
    ]
    .concat();
    // Host bits beyond the length are not part of the prefix.
    peer.bytes(&update(&[], &attributes, &[24, 192, 168, 7, 20, 172, 16, 0x1f]));
    assert_eq!(peer.prefixes(), ["172.16.16.0/20", "192.168.7.0/24"]);
    let route = peer.session.accepted_routes().next().expect("a route");
    assert_eq!((route.as_path.as_ref(), route.med), ([THEIRS, 65010].as_slice(), Some(50)));
    assert_eq!(causeway_bgp::preference(causeway_bgp::LinkKind::Vpn, 12876, &route.communities), 200);
    let (route, verdict) = peer.session.received().remove(1);
    let report = route.report(verdict.decision());
    assert_eq!((report.communities, report.decision), (vec!["12876:42200".to_owned()], RouteDecision::Installed));
    peer.bytes(&update(&[24, 192, 168, 7, 8, 99], &[], &[]));
    assert_eq!(peer.prefixes(), ["172.16.16.0/20"]);
    // In one message a prefix that is both is announced (RFC 4271 §4.3).
    peer.bytes(&update(&[8, 11], &plain(), &[8, 11]));
    assert_eq!(peer.prefixes(), ["11.0.0.0/8", "172.16.16.0/20"]);
    // End-of-RIB is no change.
    let events = peer.events.len();
    peer.bytes(&update(&[], &[], &[]));
    assert_eq!(peer.events.len(), events);

    let mut peer = Peer::established(Family::Ipv6);
    let hop: std::net::Ipv6Addr = "fd00::2".parse().expect("an address");
    let link_local: std::net::Ipv6Addr = "fe80::2".parse().expect("an address");
    let reach = |hops: &[std::net::Ipv6Addr], nlri: &[u8]| {
        let hops: Vec<u8> = hops.iter().flat_map(|hop| hop.octets()).collect();
        let length = u8::try_from(hops.len()).expect("short enough");
        attribute(0x80, 14, &[&[0, 2, 1, length][..], &hops, &[0], nlri].concat())
    };
    let common = [attribute(0x40, 1, &[0]), path(&[THEIRS])].concat();
    peer.bytes(&update(&[], &[common.clone(), reach(&[hop], &[16, 0xfd, 0x11])].concat(), &[]));
    peer.bytes(&update(&[], &[common.clone(), reach(&[hop, link_local], &[16, 0xfd, 0x12])].concat(), &[]));
    peer.bytes(&update(&[], &[common, reach(&[link_local], &[16, 0xfd, 0x13])].concat(), &[]));
    assert_eq!(peer.prefixes(), ["fd11::/16", "fd12::/16", "fd13::/16"]);
    peer.bytes(&update(&[], &attribute(0x80, 15, &[0, 2, 1, 16, 0xfd, 0x11]), &[]));
    assert_eq!(peer.prefixes(), ["fd12::/16", "fd13::/16"]);
    // IPv4 in an IPv6 session was not negotiated and is passed over.
    peer.bytes(&update(&[], &plain(), &[8, 11]));
    assert_eq!((peer.prefixes().len(), peer.session.is_up()), (2, true));
}

#[test]
fn families_that_were_not_negotiated_are_passed_over() {
    let mut peer = Peer::established(Family::Ipv4);
    // EVPN with octets that no EVPN decoder would accept, beside an announcement that counts.
    let evpn = attribute(0x80, 14, &[0, 25, 70, 4, 1, 2, 3, 4, 0, 0xff, 0xff, 0xff]);
    peer.bytes(&update(&[], &[plain(), evpn].concat(), &[8, 11]));
    assert_eq!(peer.prefixes(), ["11.0.0.0/8"]);
    assert!(peer.session.is_up());
}

#[test]
fn what_is_nobodys_to_announce_is_refused_with_its_rule() {
    let cases: [(&[u8], Vec<u8>, &str); 9] = [
        (&[8, 127], plain(), "martian"),
        (&[8, 0], plain(), "martian"),
        (&[32, 224, 0, 0, 5], plain(), "martian"),
        (&[4, 240], plain(), "martian"),
        (&[16, 169, 254], plain(), "martian"),
        (&[8, 11], attributes(&[THEIRS, OURS], [169, 254, 0, 2]), "own_asn_in_path"),
        (&[8, 11], attributes(&[THEIRS], [169, 254, 0, 1]), "third_party_next_hop"),
        (&[8, 11], attributes(&[THEIRS], [192, 0, 2, 9]), "third_party_next_hop"),
        (&[0], attributes(&[THEIRS], [192, 0, 2, 9]), "third_party_next_hop"),
    ];
    for (nlri, attributes, rule) in cases {
        let mut peer = Peer::established(Family::Ipv4);
        peer.bytes(&update(&[], &attributes, nlri));
        assert_eq!(peer.verdict(), Verdict::Filtered(rule), "{nlri:?}");
        assert!(peer.prefixes().is_empty() && peer.session.is_up());
    }
    let mut peer = Peer::established(Family::Ipv6);
    let hop = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let nlri = [&[126][..], &hop].concat();
    let reach = attribute(0x80, 14, &[&[0, 2, 1, 16][..], &hop, &[0], &nlri].concat());
    peer.bytes(&update(&[], &[attribute(0x40, 1, &[0]), path(&[THEIRS]), reach].concat(), &[]));
    assert_eq!(peer.verdict(), Verdict::Filtered("interconnection_subnet"));
}

#[test]
fn another_sessions_inside_addresses_are_nobodys_to_announce() {
    let mut peer = Peer::established(Family::Ipv6);
    let everything = Policy { propagate: true, accept: vec!["::/0".parse().expect("a prefix")], ..Policy::default() };
    peer.session.set_policy(peer.now, everything.clone());
    let hop = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    // fd00:9::2/128, the device of another connection.
    let nlri = [&[128, 0xfd, 0, 0, 9][..], &[0; 11], &[2]].concat();
    let reach = attribute(0x80, 14, &[&[0, 2, 1, 16][..], &hop, &[0], &nlri].concat());
    peer.bytes(&update(&[], &[attribute(0x40, 1, &[0]), path(&[THEIRS]), reach].concat(), &[]));
    assert_eq!(peer.verdict(), Verdict::Accepted, "nobody has it yet");
    let interconnections = vec!["fd00:9::1/126".parse().expect("a prefix")];
    peer.session.set_policy(peer.now, Policy { interconnections, ..everything });
    assert_eq!(peer.verdict(), Verdict::Filtered("interconnection_subnet"));
    assert!(peer.prefixes().is_empty() && peer.session.is_up());
}

#[test]
fn malformed_attributes_withdraw_and_the_session_stays() {
    let broken: [(&str, Vec<u8>); 6] = [
        ("ORIGIN 7", [attribute(0x40, 1, &[7]), path(&[THEIRS]), attribute(0x40, 3, &[169, 254, 0, 2])].concat()),
        ("no AS_PATH", [attribute(0x40, 1, &[0]), attribute(0x40, 3, &[169, 254, 0, 2])].concat()),
        ("no NEXT_HOP", [attribute(0x40, 1, &[0]), path(&[THEIRS])].concat()),
        ("AS_SET", [plain(), attribute(0x40, 2, &[1, 1, 0, 0, 0, 9])].concat()),
        ("MED of 3 octets", [plain(), attribute(0x80, 4, &[0, 0, 1])].concat()),
        ("overrun", [plain(), vec![0x40, 5, 200, 1]].concat()),
    ];
    for (what, attributes) in broken {
        let mut peer = Peer::established(Family::Ipv4);
        peer.bytes(&update(&[], &plain(), &[8, 11, 8, 12]));
        peer.bytes(&update(&[], &attributes, &[8, 11]));
        assert!(peer.session.is_up(), "{what}");
        assert_eq!(peer.prefixes(), ["12.0.0.0/8"], "{what}");
        assert_eq!(peer.session.counters().treated_as_withdraw, 1, "{what}");
    }
}

#[test]
fn updates_whose_prefixes_cannot_be_told_reset_the_session() {
    for (what, octets) in [
        ("prefix of 33 bits", update(&[], &plain(), &[33, 1, 2, 3, 4, 5])),
        ("withdrawn overrun", message(2, &[0, 9, 8, 10, 0, 0])),
        ("truncated prefix", update(&[24, 10], &[], &[])),
        ("truncated MP_REACH", update(&[], &attribute(0x80, 14, &[0, 1, 1, 4, 1]), &[])),
    ] {
        let mut peer = Peer::established(Family::Ipv4);
        peer.bytes(&octets);
        assert_eq!(peer.notification().map(|(code, _)| code), Some(3), "{what}");
        assert!(!peer.session.is_up(), "{what}");
    }
}

#[test]
fn a_path_longer_than_any_real_one_is_not_kept() {
    let mut peer = Peer::established(Family::Ipv4);
    let mut value = Vec::new();
    for _ in 0..2 {
        value.extend([2, 200]);
        value.extend([0, 0, 0, 9].repeat(200));
    }
    let length = u16::try_from(value.len()).expect("short enough").to_be_bytes();
    let path = [&[0x50, 2, length[0], length[1]], value.as_slice()].concat();
    let attributes = [attribute(0x40, 1, &[0]), path, attribute(0x40, 3, &[169, 254, 0, 2])].concat();
    peer.bytes(&update(&[], &attributes, &[8, 11]));
    assert!(peer.session.is_up() && peer.session.received().is_empty());
    assert_eq!(peer.session.counters().treated_as_withdraw, 1);
}

#[test]
fn route_refresh_is_answered_in_full_and_not_faster_than_once_a_second() {
    let mut peer = Peer::established(Family::Ipv4);
    let policy = Policy {
        propagate: true,
        announce: vec!["10.0.0.0/8".parse().expect("a prefix")],
        local_subnets: vec!["10.1.0.0/24".parse().expect("a prefix")],
        custom_routes: Vec::new(),
        ..Policy::default()
    };
    peer.session.set_policy(peer.now, policy);
    peer.drain();
    let announcement = peer.sent.first().expect("an announcement").clone();
    peer.sent.clear();
    let end_of_rib = update(&[], &[], &[]);
    peer.bytes(&message(5, &[0, 1, 0, 1]));
    assert_eq!(peer.sent, [announcement, end_of_rib]);
    for _ in 0..1000 {
        peer.bytes(&message(5, &[0, 1, 0, 1]));
    }
    assert_eq!(peer.sent.len(), 2);
    peer.now += Duration::from_secs(1);
    peer.session.handle_timeout(peer.now);
    peer.drain();
    assert_eq!(peer.sent.len(), 4);
    // Another family, and the marks of RFC 7313, which was not offered.
    peer.now += Duration::from_secs(2);
    peer.bytes(&message(5, &[0, 2, 0, 1]));
    peer.bytes(&message(5, &[0, 1, 1, 1]));
    assert_eq!(peer.sent.len(), 4);
    assert!(peer.session.is_up());
}

#[test]
fn notifications_are_told_apart() {
    let text = [&[5][..], b"n\xc3\xb6t\n"].concat();
    let cases: [(Vec<u8>, ReasonCode); 14] = [
        (message(3, &[[6, 2].as_slice(), &text].concat()), ReasonCode::BgpPeerShutdown),
        (message(3, &[6, 1]), ReasonCode::BgpPeerPrefixLimit),
        (message(3, &[6, 3]), ReasonCode::BgpPeerRejected),
        (message(3, &[6, 4]), ReasonCode::BgpPeerShutdown),
        (message(3, &[6, 5]), ReasonCode::BgpPeerRejected),
        (message(3, &[6, 8]), ReasonCode::BgpPeerRejected),
        (message(3, &[2, 3]), ReasonCode::BgpRouterId),
        (message(3, &[2, 6]), ReasonCode::BgpHoldTimeRefused),
        (message(3, &[2, 7]), ReasonCode::BgpNoCommonFamily),
        (message(3, &[6, 6]), ReasonCode::BgpPeerNotification),
        (message(3, &[6, 7]), ReasonCode::BgpCollision),
        (message(3, &[2, 2]), ReasonCode::BgpAsnMismatch),
        (message(3, &[4, 0]), ReasonCode::BgpHoldTimerExpired),
        (message(3, &[77, 78, 1, 2, 3]), ReasonCode::BgpPeerNotification),
    ];
    for (octets, code) in cases {
        let mut peer = Peer::established(Family::Ipv4);
        peer.bytes(&octets);
        assert_eq!(peer.fault(), code);
        // A NOTIFICATION is never answered with one (RFC 4271 §6.4).
        assert!(peer.sent.is_empty() && peer.closed);
        if octets[19..21] == [6, 2] {
            let fault = peer.session.fault().expect("a fault");
            assert_eq!(fault.evidence["text"], "nöt ");
            assert_eq!(fault.theirs.as_deref(), Some("Cease: Administrative Shutdown: nöt "));
        }
    }
}

#[test]
fn a_peer_that_connects_again_has_given_up_its_first_connection() {
    let mut peer = Peer::established(Family::Ipv4);
    peer.bytes(&update(&[], &plain(), &[8, 11]));
    peer.session.handle_connected(peer.now, ConnKind::Incoming);
    peer.drain();
    assert_eq!((peer.session.state(), peer.session.flaps()), (State::OpenSent, 1));
    assert!(peer.prefixes().is_empty() && !peer.closed);
    peer.bytes(&open());
    peer.bytes(&keepalive());
    assert!(peer.session.is_up());

    // If the session runs over our own connection, that one is probed and the new one closed.
    let mut peer = Peer::connected(Family::Ipv4);
    peer.session.handle_closed(peer.now, ConnKind::Incoming);
    peer.session.handle_connected(peer.now, ConnKind::Outgoing);
    peer.session.handle_bytes(peer.now, ConnKind::Outgoing, &[open(), keepalive()].concat());
    peer.drain();
    assert!(peer.session.is_up());
    peer.session.handle_connected(peer.now, ConnKind::Incoming);
    assert_eq!(peer.session.poll_action(), Some(Action::Send(ConnKind::Outgoing, keepalive())));
    assert_eq!(peer.session.poll_action(), Some(Action::Close(ConnKind::Incoming)));
    assert!(peer.session.is_up());
}

#[test]
fn a_peer_in_a_loop_of_errors_is_turned_away_for_a_second() {
    let mut peer = Peer::connected(Family::Ipv4);
    peer.bytes(&open_with(65002, 90, [1; 4], &[mp(1), as4(65002)]));
    assert!(!peer.session.accepts_incoming(peer.now));
    for _ in 0..100 {
        peer.closed = false;
        peer.session.handle_connected(peer.now, ConnKind::Incoming);
        peer.drain();
        assert!(peer.closed);
    }
    assert_eq!(peer.session.counters().turned_away, 100);
    assert_eq!(peer.session.counters().messages_out, 2);
    peer.now += Duration::from_secs(1);
    assert!(peer.session.accepts_incoming(peer.now));
    peer.session.handle_connected(peer.now, ConnKind::Incoming);
    peer.bytes(&open());
    peer.bytes(&keepalive());
    assert!(peer.session.is_up());
}

#[test]
fn of_two_connections_the_one_stays_that_the_higher_identifier_opened() {
    // Ours is 10.0.0.1.
    for (theirs, keep) in [([10, 0, 0, 2], ConnKind::Incoming), ([9, 255, 255, 255], ConnKind::Outgoing)] {
        for first in [ConnKind::Incoming, ConnKind::Outgoing] {
            let second = if first == ConnKind::Incoming { ConnKind::Outgoing } else { ConnKind::Incoming };
            let lose = if keep == ConnKind::Incoming { ConnKind::Outgoing } else { ConnKind::Incoming };
            let mut peer = Peer::connected(Family::Ipv4);
            peer.session.handle_connected(peer.now, ConnKind::Outgoing);
            peer.drain();
            let open = open_with(65001, 90, theirs, &[mp(1), as4(THEIRS)]);
            peer.session.handle_bytes(peer.now, first, &open);
            assert_eq!(peer.session.poll_action(), Some(Action::Send(first, keepalive())));
            peer.session.handle_bytes(peer.now, second, &open);
            assert_eq!(peer.session.poll_action(), Some(Action::Send(lose, message(3, &[6, 7]))));
            assert_eq!(peer.session.poll_action(), Some(Action::Close(lose)));
            peer.session.handle_bytes(peer.now, keep, &keepalive());
            assert!(peer.session.is_up());
            assert_eq!(peer.session.fault(), None);
        }
    }
}

#[test]
fn a_connection_without_an_open_gives_way_to_the_one_that_is_established() {
    let mut peer = Peer::connected(Family::Ipv4);
    peer.session.handle_connected(peer.now, ConnKind::Outgoing);
    peer.drain();
    peer.session.handle_bytes(peer.now, ConnKind::Outgoing, &[open(), keepalive()].concat());
    peer.drain();
    assert!(peer.session.is_up() && peer.closed);
    assert_eq!(peer.notification(), Some((6, 7)));
}

#[test]
fn what_is_announced_again_unchanged_is_neither_news_nor_younger() {
    let mut peer = Peer::established(Family::Ipv4);
    let started = peer.now;
    peer.bytes(&update(&[], &plain(), &[8, 11]));
    let events = peer.events.len();
    peer.now += Duration::from_secs(5);
    peer.bytes(&update(&[], &plain(), &[8, 11]));
    peer.bytes(&update(&[8, 11], &plain(), &[8, 11]));
    let received_at = |peer: &Peer| peer.session.accepted_routes().next().expect("a route").received_at;
    assert_eq!((peer.events.len(), received_at(&peer)), (events, started));
    // With another attribute it is another route.
    peer.bytes(&update(&[], &[plain(), attribute(0x80, 4, &[0, 0, 0, 1])].concat(), &[8, 11]));
    assert_eq!((peer.events.len(), received_at(&peer)), (events + 1, peer.now));
}

/// Each wait for the next attempt is at most so many milliseconds, and less by at most a quarter (RFC 4271 §10). `end` ends an attempt.
fn waits(peer: &mut Peer, most: &[u128], end: impl Fn(&mut Peer)) {
    let waited: Vec<u128> = most
        .iter()
        .map(|_| {
            end(peer);
            peer.drain();
            let (at, what) = peer.session.poll_timeout().expect("a time to try again");
            assert_eq!(what, "connect_retry");
            let wait = at - peer.now;
            peer.now = at;
            peer.session.handle_timeout(at);
            assert_eq!(peer.session.poll_action(), Some(Action::Connect));
            wait.as_millis()
        })
        .collect();
    let fits = |(waited, most): (&u128, &u128)| waited <= most && *waited >= most * 3 / 4;
    assert!(waited.iter().zip(most).all(fits), "{waited:?}, not {most:?}");
}

#[test]
fn attempts_are_spaced() {
    let refused = |peer: &mut Peer| {
        peer.session.handle_connect_failed(peer.now, causeway_bgp::ConnectError::Refused);
    };
    let wrong = |peer: &mut Peer| {
        peer.session.handle_connected(peer.now, ConnKind::Outgoing);
        let open = open_with(65002, 90, [1; 4], &[mp(1), as4(65002)]);
        peer.session.handle_bytes(peer.now, ConnKind::Outgoing, &open);
    };
    let mut peer = Peer::connected(Family::Ipv4);
    peer.session.handle_closed(peer.now, ConnKind::Incoming);
    // Eager for two seconds: the peer's daemon may just be starting.
    waits(&mut peer, &[100; 20], refused);
    waits(&mut peer, &[250, 500, 1000, 2000, 4000, 5000, 5000], refused);
    waits(&mut peer, &[1000, 2000, 4000, 8000, 10_000, 10_000, 10_000], wrong);
    // A new tunnel starts anew.
    peer.session.set_enabled(peer.now, false);
    peer.session.set_enabled(peer.now, true);
    peer.drain();
    waits(&mut peer, &[1000, 2000, 4000], wrong);
    // So does a session that was up for long, but not one that was up for a moment.
    for (seconds, expected) in [(59, 8000), (60, 1000)] {
        peer.session.handle_connected(peer.now, ConnKind::Outgoing);
        let bytes = [open_with(65001, 0, [1; 4], &[mp(1), as4(THEIRS)]), keepalive()].concat();
        peer.session.handle_bytes(peer.now, ConnKind::Outgoing, &bytes);
        assert!(peer.session.is_up());
        peer.now += Duration::from_secs(seconds);
        waits(&mut peer, &[expected], |peer| {
            peer.session.handle_bytes(peer.now, ConnKind::Outgoing, &message(3, &[6, 4]));
        });
    }
}

/// RFC 4271 §10: KEEPALIVEs come before a third of the hold time is over, at no regular times.
#[test]
fn keepalives_are_spread() {
    let mut peer = Peer::connected(Family::Ipv4);
    peer.bytes(&[open(), keepalive()].concat());
    let mut waited = Vec::new();
    for _ in 0..50 {
        peer.bytes(&keepalive());
        peer.drain();
        let (at, what) = peer.session.poll_timeout().expect("the next KEEPALIVE");
        assert_eq!(what, "keepalive");
        waited.push(at - peer.now);
        peer.now = at;
        peer.session.handle_timeout(at);
        assert_eq!(peer.session.poll_action(), Some(Action::Send(ConnKind::Incoming, keepalive())));
    }
    let third = Duration::from_secs(20);
    assert!(waited.iter().all(|wait| (third * 3 / 4..=third).contains(wait)), "{waited:?}");
    waited.sort();
    waited.dedup();
    assert!(waited.len() > 25, "{waited:?}");
}

/// A long conversation: handshake, announcements in several shapes, a refresh, keepalives.
fn conversation() -> Vec<u8> {
    [
        open(),
        keepalive(),
        update(&[], &plain(), &[24, 192, 168, 7, 8, 11]),
        message(5, &[0, 1, 0, 1]),
        update(&[8, 11], &[plain(), attribute(0xc0, 8, &[0x32, 0x4c, 0xa4, 0x42])].concat(), &[16, 172, 20]),
        keepalive(),
        update(&[], &[], &[]),
    ]
    .concat()
}

fn facts(peer: &Peer) -> (bool, Vec<String>, bool) {
    (peer.session.is_up(), peer.prefixes(), peer.closed)
}

/// Feeds `octets` in pieces of the given lengths, over and over.
fn feed(octets: &[u8], pieces: &[usize]) -> Peer {
    let mut peer = Peer::connected(Family::Ipv4);
    let mut rest = octets;
    for length in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*length).clamp(1, rest.len()));
        peer.bytes(piece);
        rest = after;
    }
    peer
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn boundaries_do_not_matter(pieces in prop::collection::vec(1_usize..60, 1..8)) {
        let whole = feed(&conversation(), &[usize::MAX]);
        prop_assert_eq!(facts(&whole), (true, vec!["172.20.0.0/16".to_owned(), "192.168.7.0/24".to_owned()], false));
        prop_assert_eq!(facts(&feed(&conversation(), &pieces)), facts(&whole));
    }

    #[test]
    fn mutations_never_panic_and_are_judged_alike_however_they_are_cut(
        changes in prop::collection::vec((0_usize..400, any::<u8>()), 1..6),
        cut in 0_usize..400,
        pieces in prop::collection::vec(1_usize..60, 1..8),
    ) {
        let mut octets = conversation();
        for (at, value) in changes {
            if let Some(octet) = octets.get_mut(at) {
                *octet = value;
            }
        }
        octets.truncate(octets.len().saturating_sub(cut));
        let whole = feed(&octets, &[usize::MAX]);
        prop_assert_eq!(facts(&feed(&octets, &pieces)), facts(&whole));
        // Whatever went wrong is answered by at most one NOTIFICATION, and closed.
        let notifications = whole.sent.iter().filter(|octets| octets[18] == 3).count();
        prop_assert!(notifications <= 1);
        prop_assert!(notifications == 0 || whole.closed);
    }

    #[test]
    fn random_attributes_never_panic(
        attributes in prop::collection::vec((any::<u8>(), 0_u8..40, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        nlri in prop::collection::vec(any::<u8>(), 0..40),
        withdrawn in prop::collection::vec(any::<u8>(), 0..40),
        v6: bool,
    ) {
        let mut peer = Peer::established(Family::from_is_ipv6(v6));
        let attributes: Vec<u8> = attributes.iter().flat_map(|(flags, kind, value)| attribute(flags & 0xef, *kind, value)).collect();
        peer.bytes(&update(&withdrawn, &attributes, &nlri));
        prop_assert_eq!(peer.session.is_up(), !peer.closed);
        prop_assert!(peer.session.received_count() <= 1100);
    }

    #[test]
    fn random_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..6000), kind in 1_u8..7) {
        let mut peer = Peer::connected(Family::Ipv4);
        peer.bytes(&octets);
        let mut peer = Peer::established(Family::Ipv6);
        peer.bytes(&message(kind, octets.get(..octets.len().min(4077)).unwrap_or_default()));
        peer.bytes(&octets);
    }
}

/// What RFC 7606 wants of an UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    /// Its announcements count as withdrawals.
    Withdraw,
    /// The attribute is left out, the announcement counts.
    Discard,
    /// The session ends with an UPDATE error.
    Reset,
    /// As if nothing were wrong.
    Take,
}

#[test]
fn every_broken_attribute_is_treated_as_rfc_7606_says() {
    use Treatment::{Discard, Reset, Take, Withdraw};
    let with = |more: Vec<u8>| [plain(), more].concat();
    let (origin, hop) = (attribute(0x40, 1, &[0]), attribute(0x40, 3, &[169, 254, 0, 2]));
    let cases: Vec<(&str, Vec<u8>, Treatment)> = vec![
        ("nothing broken", plain(), Take),
        ("§7.1 ORIGIN of two octets", [attribute(0x40, 1, &[0, 0]), path(&[THEIRS]), hop.clone()].concat(), Withdraw),
        ("§7.1 ORIGIN undefined", [attribute(0x40, 1, &[3]), path(&[THEIRS]), hop.clone()].concat(), Withdraw),
        (
            "§7.2 AS_PATH segment overrun",
            [origin.clone(), attribute(0x40, 2, &[2, 9, 0, 0, 0xfd, 0xe9]), hop.clone()].concat(),
            Withdraw,
        ),
        (
            "§7.2 AS_PATH segment underrun",
            [origin.clone(), attribute(0x40, 2, &[2, 1, 0, 0, 0xfd, 0xe9, 7]), hop.clone()].concat(),
            Withdraw,
        ),
        (
            "§7.2 AS_PATH segment of no AS",
            [origin.clone(), attribute(0x40, 2, &[2, 0]), hop.clone()].concat(),
            Withdraw,
        ),
        (
            "§7.2 AS_PATH segment of unknown type",
            [origin.clone(), attribute(0x40, 2, &[9, 1, 0, 0, 0xfd, 0xe9]), hop.clone()].concat(),
            Withdraw,
        ),
        ("§7.3 NEXT_HOP of five octets", [origin, path(&[THEIRS]), attribute(0x40, 3, &[1; 5])].concat(), Withdraw),
        ("§7.4 MED of five octets", with(attribute(0x80, 4, &[0; 5])), Withdraw),
        ("§7.5 LOCAL_PREF from outside, which nothing here looks at", with(attribute(0x40, 5, &[0, 0, 0, 200])), Take),
        ("§7.5 LOCAL_PREF from outside, and broken", with(attribute(0x40, 5, &[1])), Discard),
        ("§7.6 ATOMIC_AGGREGATE with octets", with(attribute(0x40, 6, &[1])), Discard),
        ("§7.7 AGGREGATOR of three octets", with(attribute(0xc0, 7, &[1, 2, 3])), Discard),
        ("§7.8 COMMUNITIES of five octets", with(attribute(0xc0, 8, &[0; 5])), Withdraw),
        ("§7.9 ORIGINATOR_ID from outside, which nothing here looks at", with(attribute(0x80, 9, &[1, 1, 1, 1])), Take),
        (
            "§7.10 CLUSTER_LIST from outside, which nothing here looks at",
            with(attribute(0x80, 10, &[1, 1, 1, 1])),
            Take,
        ),
        ("§7.14 extended communities of seven octets", with(attribute(0xc0, 16, &[0; 7])), Withdraw),
        (
            "§3 (c) well-known ORIGIN marked optional",
            [attribute(0xc0, 1, &[0]), path(&[THEIRS]), hop.clone()].concat(),
            Withdraw,
        ),
        ("§3 (d) no ORIGIN", [path(&[THEIRS]), hop].concat(), Withdraw),
        ("§3 (g) ORIGIN twice", with(attribute(0x40, 1, &[0])), Discard),
        ("§4 an attribute longer than what is left", with(vec![0x40, 5, 200, 1]), Withdraw),
        ("§4 an attribute cut in its header", with(vec![0x40]), Withdraw),
        ("an optional transitive attribute that nobody knows", with(attribute(0xc0, 200, &[1, 2, 3])), Take),
        (
            "§3 (g) MP_UNREACH_NLRI twice",
            with([attribute(0x80, 15, &[0, 1, 1]), attribute(0x80, 15, &[0, 1, 1])].concat()),
            Reset,
        ),
        (
            "§5.3 MP_UNREACH_NLRI with a prefix of 33 bits",
            with(attribute(0x80, 15, &[0, 1, 1, 33, 1, 1, 1, 1, 1])),
            Reset,
        ),
    ];
    for (what, attributes, treatment) in cases {
        let mut peer = Peer::established(Family::Ipv4);
        peer.bytes(&update(&[], &plain(), &[8, 11, 8, 12]));
        let others = [attribute(0x80, 4, &[0, 0, 0, 9]), attributes].concat();
        let octets = if what.contains("MED") { others[7..].to_vec() } else { others };
        peer.bytes(&update(&[], &octets, &[8, 11]));
        let counters = peer.session.counters();
        let counted = (counters.treated_as_withdraw, counters.attributes_discarded, counters.protocol_errors);
        let expected = match treatment {
            Withdraw => (1, 0, 0),
            Discard => (0, 1, 0),
            Reset => (0, 0, 1),
            Take => (0, 0, 0),
        };
        assert_eq!(counted, expected, "{what}");
        assert_eq!(peer.session.is_up(), treatment != Reset, "{what}");
        match treatment {
            Withdraw => assert_eq!(peer.prefixes(), ["12.0.0.0/8"], "{what}"),
            Discard | Take => {
                assert_eq!(peer.prefixes(), ["11.0.0.0/8", "12.0.0.0/8"], "{what}");
                // The second announcement is the one that counts.
                assert_eq!(peer.session.accepted_routes().next().and_then(|route| route.med), Some(9), "{what}");
            }
            Reset => {
                assert!(peer.prefixes().is_empty(), "{what}");
                assert_eq!(peer.notification().map(|(code, _)| code), Some(3), "{what}");
            }
        }
    }
}

#[test]
fn what_is_missing_because_it_came_broken_is_explained_until_it_comes_whole() {
    let mut peer = Peer::established(Family::Ipv4);
    let broken = [attribute(0x40, 1, &[7]), path(&[THEIRS]), attribute(0x40, 3, &[169, 254, 0, 2])].concat();
    assert_eq!(peer.session.fault(), None);
    peer.bytes(&update(&[], &broken, &[8, 11, 8, 12]));
    let fault = peer.session.fault().expect("something is missing");
    assert_eq!(fault.code, ReasonCode::BgpMessageError);
    assert_eq!(
        (fault.evidence["treated_as_withdraw"].as_str(), fault.evidence["prefixes"].as_str()),
        ("2", "11.0.0.0/8, 12.0.0.0/8")
    );
    assert!(fault.evidence["detail"].contains("attribute 1"), "{fault:?}");
    // One comes whole, the other one is withdrawn.
    peer.bytes(&update(&[], &plain(), &[8, 11]));
    assert_eq!(peer.session.fault().expect("still one").evidence["treated_as_withdraw"], "1");
    peer.bytes(&update(&[8, 12], &[], &[]));
    assert_eq!(peer.session.fault(), None);
    // However many there are, what is remembered is bounded.
    for third in 0..=255 {
        peer.bytes(&update(&[], &broken, &[24, 11, 0, third, 24, 11, 1, third]));
    }
    let fault = peer.session.fault().expect("many are missing");
    assert_eq!(fault.evidence["treated_as_withdraw"], "at least 100");
    assert_eq!(fault.evidence["prefixes"].split(", ").count(), 5);
    // A new session begins without them.
    peer.session.set_enabled(peer.now, false);
    assert!(!peer.fault().as_str().contains("message"));
}

#[test]
fn a_peer_that_asks_for_everything_and_reads_nothing_gets_one_answer() {
    let mut peer = Peer::established(Family::Ipv4);
    let policy = Policy {
        propagate: true,
        announce: vec!["10.0.0.0/8".parse().expect("a prefix")],
        local_subnets: vec!["10.1.0.0/24".parse().expect("a prefix")],
        ..Policy::default()
    };
    peer.session.set_policy(peer.now, policy);
    peer.drain();
    peer.sent.clear();
    peer.session.handle_unsent(peer.now, ConnKind::Incoming, 100);
    let ask = message(5, &[0, 1, 0, 1]);
    for _ in 0..60 {
        peer.bytes(&ask);
        peer.now += Duration::from_secs(1);
        peer.session.handle_timeout(peer.now);
        peer.drain();
    }
    assert!(peer.sent.iter().all(|octets| octets[18] == 4), "nothing but KEEPALIVEs");
    // It reads again, and what it asked for is not forgotten.
    peer.session.handle_unsent(peer.now, ConnKind::Incoming, 0);
    peer.now += Duration::from_secs(1);
    peer.session.handle_timeout(peer.now);
    peer.drain();
    assert_eq!(peer.sent.iter().filter(|octets| octets[18] == 2).count(), 2);
    let counters = peer.session.counters();
    assert_eq!(counters.updates_out, 4, "an announcement and an end of RIB, each twice: {counters:?}");
}
