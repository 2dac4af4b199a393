//! What does not end a session: connections of whoever can reach the port, and another limit.

mod peer;

use causeway_bgp::{Newcomer, Session};
use causeway_model::{Family, ReasonCode};
use peer::{OURS, Peer, THEIRS, as4, attribute, config, keepalive, message, mp, open, open_with, plain, update};

fn graceful() -> Vec<u8> {
    // 30 s, IPv4 unicast with forwarding state (RFC 4724 §3).
    open_with(65001, 90, [10, 0, 0, 2], &[mp(1), as4(THEIRS), vec![64, 6, 0, 30, 0, 1, 1, 0x80]])
}

#[test]
fn only_an_open_of_the_peer_makes_a_newcomer() {
    let hear = |octets: &[u8]| Newcomer::new(&config(Family::Ipv4)).hear(octets);
    assert_eq!(hear(&[]), None);
    assert_eq!(hear(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Some(false));
    assert_eq!(hear(&keepalive()), Some(false));
    assert_eq!(hear(&open_with(65002, 90, [1; 4], &[mp(1), as4(65002)])), Some(false), "another AS number");
    assert_eq!(hear(&open_with(65001, 90, [1; 4], &[mp(2), as4(THEIRS)])), Some(false), "another family");
    assert_eq!(hear(&[&[0xff; 16][..], &[0x10, 0x01, 1]].concat()), Some(false), "longer than a message can be");

    let all = [open(), keepalive()].concat();
    let mut newcomer = Newcomer::new(&config(Family::Ipv4));
    let (most, rest) = all.split_at(open().len() - 1);
    for octet in most {
        assert_eq!(newcomer.hear(&[*octet]), None);
    }
    assert_eq!(newcomer.hear(rest), Some(true));
    assert_eq!(newcomer.into_octets(), all);
}

#[test]
fn a_session_gives_way_to_a_newcomer_only_where_the_peer_may_have_restarted() {
    let mut peer = Peer::established(Family::Ipv4);
    assert!(!peer.session.admits_newcomer());
    peer.drain();
    // The peer is asked whether it still knows the session.
    assert_eq!(peer.sent, [keepalive()]);
    assert_eq!((peer.session.is_up(), peer.session.flaps(), peer.session.counters().turned_away), (true, 0, 1));

    let mut peer = Peer::connected(Family::Ipv4);
    peer.bytes(&[graceful(), keepalive()].concat());
    assert!(peer.session.is_up() && peer.session.admits_newcomer());
    assert_eq!(peer.session.counters().turned_away, 0);
}

#[test]
fn another_limit_leaves_the_session_alone() {
    // 1,203 prefixes, 10.0.0.0/24 and so on: 203 more than are remembered with a limit of none.
    let prefixes = |range: std::ops::Range<u16>| -> Vec<u8> {
        range.flat_map(|number| [&[24, 10][..], &number.to_be_bytes()].concat()).collect()
    };
    let mut peer = Peer::established(Family::Ipv4);
    let limited = |session: &mut Session, limit| session.set_max_prefixes(limit);
    limited(&mut peer.session, 0);
    for start in [0, 401, 802] {
        peer.bytes(&update(&[], &plain(), &prefixes(start..start + 401)));
    }
    assert_eq!((peer.prefixes().len(), peer.session.received_count()), (0, 1000));
    assert_eq!(peer.fault(), ReasonCode::MaxPrefixesExceeded);

    peer.sent.clear();
    limited(&mut peer.session, 3);
    peer.drain();
    assert_eq!(peer.prefixes(), ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"], "the oldest move up");
    assert!(peer.sent.is_empty(), "there is no room for more");

    limited(&mut peer.session, 2000);
    peer.drain();
    assert_eq!(peer.prefixes().len(), 1000);
    assert_eq!(peer.sent, [message(5, &[0, 1, 0, 1])], "the peer is asked for the rest");
    peer.bytes(&update(&[], &plain(), &prefixes(1000..1203)));
    assert_eq!((peer.prefixes().len(), peer.session.fault()), (1203, None));

    limited(&mut peer.session, 1202);
    assert_eq!(peer.prefixes().len(), 1202);
    assert!(!peer.prefixes().contains(&"10.4.178.0/24".to_owned()), "what came last is refused");
    let fault = peer.session.fault().expect("a fault");
    assert_eq!((fault.ours.as_deref(), fault.theirs.as_deref()), (Some("1202"), Some("1203")));
    assert_eq!((peer.session.is_up(), peer.session.flaps()), (true, 0));
    assert_eq!(peer.session.config().max_prefixes, 1202);
}

#[test]
fn a_preference_is_found_behind_any_number_of_communities() {
    let high = OURS << 16 | 42200;
    let list: Vec<u32> = (1..=600).map(|value| THEIRS << 16 | value).chain([high]).collect();
    let value: Vec<u8> = list.iter().flat_map(|community| community.to_be_bytes()).collect();
    // With the flag for a length of two octets.
    let length = u16::try_from(value.len()).expect("short enough").to_be_bytes();
    let communities = [&[0xd0, 8][..], &length, &value].concat();
    let mut peer = Peer::established(Family::Ipv4);
    peer.bytes(&update(&[], &[plain(), communities].concat(), &[8, 12]));
    let kept = peer.session.accepted_routes().next().expect("a route").communities.clone();
    assert_eq!((kept.len(), kept.first(), kept.last()), (256, list.first(), Some(&high)));
    let mut peer = Peer::established(Family::Ipv4);
    peer.bytes(&update(&[], &[plain(), attribute(0xc0, 8, &high.to_be_bytes())].concat(), &[8, 12]));
    assert_eq!(peer.session.accepted_routes().next().map(|route| route.communities.to_vec()), Some(vec![high]));
}

#[test]
fn what_a_peer_refuses_is_shown_with_what_was_offered() {
    let capability = [1, 4, 0, 1, 0, 1];
    let cases: [(u8, &[u8], ReasonCode, &str); 3] = [
        (6, &[], ReasonCode::BgpHoldTimeRefused, "60 s"),
        (7, &capability, ReasonCode::BgpNoCommonFamily, "IPv4"),
        (3, &[], ReasonCode::BgpRouterId, "10.0.0.1"),
    ];
    for (subcode, data, code, ours) in cases {
        let mut peer = Peer::connected(Family::Ipv4);
        peer.bytes(&message(3, &[&[2, subcode], data].concat()));
        let fault = peer.session.fault().expect("a fault");
        assert_eq!((fault.code, fault.ours.as_deref()), (code, Some(ours)), "{fault:?}");
        assert!(fault.theirs.is_some(), "{fault:?}");
    }
}
