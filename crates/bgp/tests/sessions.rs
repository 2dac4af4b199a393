//! Two sessions against each other in virtual time.

mod common;

use std::time::Duration;

use causeway_bgp::{Event, Policy, SessionConfig, State, Verdict};
use causeway_model::{Family, ReasonCode};
use common::{Net, config, nets, open_policy};

const V4: [&[&str]; 2] = [&["10.1.0.0/24", "10.1.1.0/24"], &["192.168.7.0/24"]];
const V6: [&[&str]; 2] = [&["fd01::/64"], &["fd02:1::/64", "fd02:2::/64"]];

fn up(family: Family) -> Net {
    let mut net = Net::family(family);
    for side in 0..2 {
        net.set_policy(side, open_policy(if family == Family::Ipv4 { V4[side] } else { V6[side] }));
    }
    net.enable();
    net.run_ms(300);
    assert!(net.both_up(), "{:?}", net.log);
    net
}

fn ups(net: &Net, side: usize) -> usize {
    net.log[side].iter().filter(|(_, event)| *event == Event::Up).count()
}

fn fault(net: &Net, side: usize) -> ReasonCode {
    net.sides[side].fault().expect("a fault").code
}

#[test]
fn routes_go_both_ways_in_both_families() {
    let net = up(Family::Ipv4);
    assert_eq!(net.prefixes(1), V4[0]);
    assert_eq!(net.prefixes(0), V4[1]);
    let route = net.sides[0].accepted_routes().next().expect("a route").clone();
    assert_eq!(*route.as_path, [65001]);
    assert_eq!(route.next_hop, config(1, Family::Ipv4).local);
    assert_eq!((route.origin, route.med), (0, None));
    assert_eq!(net.sides[0].negotiated_hold_time(), Some(60));
    assert_eq!(net.sides[0].peer_router_id(), Some(config(1, Family::Ipv4).router_id));
    assert_eq!(net.sides[0].fault(), None);

    let net = up(Family::Ipv6);
    assert_eq!(net.prefixes(1), V6[0]);
    assert_eq!(net.prefixes(0), V6[1]);
    assert_eq!(net.sides[0].accepted_routes().next().expect("a route").next_hop, config(1, Family::Ipv6).local);
}

#[test]
fn up_within_a_few_round_trips() {
    let net = up(Family::Ipv4);
    let (at, _) = net.log[0].iter().find(|(_, event)| *event == Event::Up).expect("up");
    assert!(*at <= Duration::from_millis(50), "{at:?}");
}

#[test]
fn the_smaller_hold_time_counts_and_keepalives_hold_the_session() {
    let mut configs = [config(0, Family::Ipv4), config(1, Family::Ipv4)];
    configs[1].hold_time = 9;
    let mut net = Net::new(configs);
    net.enable();
    net.run(Duration::from_secs(600));
    assert!(net.both_up());
    assert_eq!(net.sides[0].negotiated_hold_time(), Some(9));
    assert_eq!((ups(&net, 0), net.sides[0].flaps()), (1, 0));
    // 600 s at one KEEPALIVE each 2.25 to 3 s (RFC 4271 §10), by either side at times of its own.
    for side in &net.sides {
        assert!((205..=265).contains(&side.counters().messages_in), "{:?}", side.counters());
    }
    assert_ne!(net.sides[0].counters().messages_in, net.sides[1].counters().messages_in);
}

#[test]
fn hold_time_zero_means_no_timers() {
    let mut configs = [config(0, Family::Ipv4), config(1, Family::Ipv4)];
    configs[1].hold_time = 0;
    let mut net = Net::new(configs);
    net.enable();
    net.run_ms(300);
    assert!(net.both_up());
    assert_eq!(net.sides[0].poll_timeout(), None);
    net.cut = true;
    net.run(Duration::from_secs(3600));
    assert!(net.both_up());
}

#[test]
fn default_deny_keeps_the_session_and_exchanges_nothing() {
    let mut net = Net::family(Family::Ipv4);
    net.set_policy(1, open_policy(V4[1]));
    net.enable();
    net.run_ms(300);
    assert!(net.both_up());
    let rules = |net: &Net| net.sides[0].received().iter().map(|(_, verdict)| verdict.clone()).collect::<Vec<_>>();
    assert_eq!(rules(&net), [Verdict::Filtered("no_policy")]);
    assert!(net.prefixes(1).is_empty());

    net.set_policy(0, Policy { propagate: false, ..open_policy(V4[0]) });
    net.run_ms(100);
    assert_eq!(rules(&net), [Verdict::Filtered("propagation_disabled")]);
    assert!(net.prefixes(1).is_empty());

    net.set_policy(0, Policy { propagate: true, ..Policy::default() });
    net.run_ms(100);
    assert_eq!(rules(&net), [Verdict::Filtered("not_in_prefix_filter_in")]);
    assert_eq!((ups(&net, 0), net.sides[0].flaps(), net.sides[0].accepted_count()), (1, 0, 0));
}

#[test]
fn policy_edits_do_not_touch_the_session() {
    let mut net = up(Family::Ipv4);
    // Propagation off: both directions empty, session stays.
    net.set_policy(0, Policy { propagate: false, ..open_policy(V4[0]) });
    net.run_ms(100);
    assert!(net.prefixes(0).is_empty() && net.prefixes(1).is_empty());
    assert_eq!((net.sides[0].received_count(), net.sides[0].announced_count()), (1, 0));
    // On again: the Adj-RIB-In was kept, so what was received counts at once, before anything can arrive.
    net.set_policy(0, open_policy(V4[0]));
    assert_eq!(net.prefixes(0), V4[1]);
    net.run_ms(100);
    assert_eq!(net.prefixes(1), V4[0]);
    // A narrower out filter withdraws exactly the rest, a wider one brings it back.
    net.set_policy(0, Policy { announce: nets(&["10.1.1.0/24"]), ..open_policy(V4[0]) });
    net.run_ms(100);
    assert_eq!(net.prefixes(1), ["10.1.1.0/24"]);
    net.set_policy(0, open_policy(&["10.1.1.0/24", "10.9.0.0/16", "fd01::/64"]));
    net.run_ms(100);
    assert_eq!(net.prefixes(1), ["10.1.1.0/24", "10.9.0.0/16"]);
    // A narrower in filter.
    net.set_policy(0, Policy { accept: nets(&["192.168.0.0/25"]), ..open_policy(V4[0]) });
    assert!(net.prefixes(0).is_empty());
    assert_eq!((ups(&net, 0), ups(&net, 1), net.sides[0].flaps()), (1, 1, 0));
}

#[test]
fn a_default_route_needs_its_own_entry() {
    let mut net = Net::family(Family::Ipv4);
    net.set_policy(1, open_policy(&["0.0.0.0/0", "172.16.0.0/12"]));
    net.set_policy(0, Policy { accept: nets(&["0.0.0.0/1", "128.0.0.0/1"]), ..open_policy(&[]) });
    net.enable();
    net.run_ms(300);
    assert_eq!(net.prefixes(0), ["172.16.0.0/12"]);
    net.set_policy(0, open_policy(&[]));
    assert_eq!(net.prefixes(0), ["0.0.0.0/0", "172.16.0.0/12"]);
}

#[test]
fn what_overlaps_the_vpc_is_withheld() {
    let mut net = Net::family(Family::Ipv4);
    net.set_policy(1, open_policy(&["10.1.0.0/24", "10.1.1.128/25", "10.0.0.0/8", "10.2.0.0/16"]));
    net.set_policy(0, open_policy(V4[0]));
    net.enable();
    net.run_ms(300);
    assert_eq!(net.prefixes(0), ["10.0.0.0/8", "10.2.0.0/16"]);
    let received = net.sides[0].received();
    let verdict = |prefix: &str| {
        let found = received.iter().find(|(route, _)| route.prefix == common::net(prefix));
        found.map(|(_, verdict)| verdict.clone())
    };
    assert_eq!(verdict("10.1.1.128/25"), Some(Verdict::OverlapsLocal(common::net("10.1.1.0/24"))));
    assert_eq!(verdict("10.1.0.0/24"), Some(Verdict::OverlapsLocal(common::net("10.1.0.0/24"))));
}

#[test]
fn a_lost_tunnel_takes_session_and_routes_at_once_and_they_return() {
    let mut net = up(Family::Ipv4);
    net.set_enabled(0, false);
    net.set_enabled(1, false);
    assert_eq!(net.sides[0].state(), State::Idle);
    assert_eq!(fault(&net, 0), ReasonCode::TunnelDown);
    assert_eq!(net.prefixes(0), [""; 0]);
    assert_eq!((net.sides[0].received_count(), net.sides[0].announced_count(), net.sides[0].flaps()), (0, 0, 1));
    net.run(Duration::from_secs(30));
    assert_eq!(net.sides[0].poll_timeout(), None);
    net.enable();
    net.run_ms(200);
    assert!(net.both_up());
    assert_eq!(net.prefixes(0), V4[1]);
    let events: Vec<&Event> = net.log[0].iter().map(|(_, event)| event).collect();
    assert!(events.iter().any(|event| matches!(event, Event::Down(fault) if fault.code == ReasonCode::TunnelDown)));
    assert_eq!(ups(&net, 0), 2);
}

#[test]
fn a_silent_peer_runs_out_the_hold_timer() {
    let mut net = up(Family::Ipv4);
    net.cut = true;
    net.run(Duration::from_secs(59));
    assert!(net.both_up());
    net.run(Duration::from_secs(3));
    assert!(!net.sides[0].is_up() && !net.sides[1].is_up());
    let down = net.log[0].iter().find_map(|(_, event)| match event {
        Event::Down(fault) if fault.code == ReasonCode::BgpHoldTimerExpired => Some(fault.clone()),
        _ => None,
    });
    let down = down.expect("the hold timer");
    assert_eq!(down.evidence["hold_time"], "60");
    // While nothing answers the reason turns into that.
    net.run(Duration::from_secs(30));
    assert_eq!(fault(&net, 0), ReasonCode::BgpTimeout);
    net.cut = false;
    net.run(Duration::from_secs(11));
    assert!(net.both_up());
    assert_eq!(net.sides[0].flaps(), 1);
}

#[test]
fn refused_is_retried_soon_and_then_every_five_seconds() {
    let mut net = Net::family(Family::Ipv4);
    net.listening = [false, false];
    net.set_enabled(0, true);
    net.run_ms(100);
    assert_eq!(fault(&net, 0), ReasonCode::TcpRefused);
    assert_eq!(net.sides[0].fault().expect("a fault").evidence["peer"], "169.254.100.2");
    let (at, what) = net.sides[0].poll_timeout().expect("a retry");
    assert_eq!(what, "connect_retry");
    assert!(at - net.now <= Duration::from_millis(250));
    net.run(Duration::from_secs(120));
    let (at, _) = net.sides[0].poll_timeout().expect("a retry");
    assert!(at - net.now <= Duration::from_secs(5));
    // One reason is one event, however often it is met.
    let downs = net.log[0].iter().filter(|(_, event)| matches!(event, Event::Down(_))).count();
    assert_eq!(downs, 2, "{:?}", net.log[0]);
    net.listening[1] = true;
    net.set_enabled(1, true);
    net.run(Duration::from_secs(6));
    assert!(net.both_up());
}

#[test]
fn no_answer_is_a_timeout() {
    let mut net = Net::family(Family::Ipv4);
    net.cut = true;
    net.set_enabled(0, true);
    net.run_ms(5050);
    assert_eq!(fault(&net, 0), ReasonCode::BgpTimeout);
    assert_eq!(net.sides[0].state(), State::Active);
}

#[test]
fn a_wrong_as_number_is_named_by_both_sides_and_stays_the_reason() {
    let mut configs = [config(0, Family::Ipv4), config(1, Family::Ipv4)];
    configs[1].local_asn = 65099;
    let mut net = Net::new(configs);
    net.enable();
    net.run_ms(300);
    for _ in 0..20 {
        let fault = net.sides[0].fault().expect("a fault");
        assert_eq!(fault.code, ReasonCode::BgpAsnMismatch, "{fault:?}");
        assert_eq!((fault.ours.as_deref(), fault.theirs.as_deref()), (Some("65001"), Some("65099")));
        // The other side is content with our number and is told that its own is not expected.
        let fault = net.sides[1].fault().expect("a fault");
        assert_eq!(fault.code, ReasonCode::BgpAsnMismatch, "{fault:?}");
        assert_eq!(fault.ours.as_deref(), Some("65099"));
        assert_eq!((fault.evidence["rejected_by"].as_str(), fault.evidence["code"].as_str()), ("peer", "2"));
        net.run(Duration::from_secs(3));
    }
    assert_eq!((ups(&net, 0), net.sides[0].flaps()), (0, 0));
    // Damped: not more than about one attempt a second from either side.
    assert!(net.sides[0].counters().protocol_errors < 70, "{:?}", net.sides[0].counters());
}

#[test]
fn an_as_number_over_two_octets_works() {
    let mut configs = [config(0, Family::Ipv4), config(1, Family::Ipv4)];
    configs[1].local_asn = 4_200_000_001;
    configs[0].peer_asn = 4_200_000_001;
    let mut net = Net::new(configs);
    net.set_policy(0, open_policy(&[]));
    net.set_policy(1, open_policy(V4[1]));
    net.enable();
    net.run_ms(300);
    assert!(net.both_up());
    assert_eq!(*net.sides[0].accepted_routes().next().expect("a route").as_path, [4_200_000_001]);
}

#[test]
fn different_families_do_not_agree() {
    let mut net = Net::new([config(0, Family::Ipv4), SessionConfig { ..config(1, Family::Ipv6) }]);
    net.enable();
    net.run_ms(300);
    let fault = net.sides[0].fault().expect("a fault");
    assert!(!net.sides[0].is_up() && !net.sides[1].is_up());
    let ours = [net.sides[0].fault(), net.sides[1].fault()];
    assert!(
        ours.iter().flatten().any(|fault| fault.code == ReasonCode::BgpNoCommonFamily && fault.ours != fault.theirs),
        "{fault:?}"
    );
}

#[test]
fn collisions_leave_one_connection_that_both_sides_agree_on() {
    // Both connect in the same instant, every time.
    for (ours, theirs) in [(1, 2), (2, 1), (7, 7)] {
        let mut configs = [config(0, Family::Ipv4), config(1, Family::Ipv4)];
        configs[0].router_id = [10, 0, 0, ours].into();
        configs[1].router_id = [10, 0, 0, theirs].into();
        let mut net = Net::new(configs);
        net.enable();
        net.run(Duration::from_secs(200));
        assert!(net.both_up());
        assert_eq!((ups(&net, 0), ups(&net, 1)), (1, 1));
        assert_eq!((net.sides[0].flaps(), net.sides[1].flaps()), (0, 0));
    }
}

#[test]
fn shutdown_carries_its_text() {
    let mut net = up(Family::Ipv4);
    let now = net.now;
    net.sides[0].shutdown(now, "routing policy detached");
    net.run_ms(100);
    assert_eq!(net.sides[0].state(), State::Idle);
    assert_eq!(fault(&net, 0), ReasonCode::BgpDisabled);
    let theirs = net.sides[1].fault().expect("a fault");
    assert_eq!(theirs.code, ReasonCode::BgpPeerShutdown);
    assert_eq!(theirs.evidence["text"], "routing policy detached");
    assert_eq!((theirs.evidence["code"].as_str(), theirs.evidence["subcode"].as_str()), ("6", "2"));
    assert!(net.prefixes(1).is_empty());
    // It does not come back by itself, but it does when enabled.
    net.run(Duration::from_secs(60));
    assert!(!net.both_up());
    net.set_enabled(0, true);
    net.run(Duration::from_secs(2));
    assert!(net.both_up());
}

#[test]
fn flaps_are_counted_and_a_flapping_peer_is_reconnected_at_a_bounded_rate() {
    let mut net = up(Family::Ipv4);
    for round in 1..=5 {
        let now = net.now;
        net.sides[1].shutdown(now, "flap");
        net.set_enabled(1, true);
        net.run(Duration::from_secs(12));
        assert!(net.both_up(), "round {round}: {:?}", net.sides[0].fault());
        assert_eq!(net.sides[0].flaps(), round);
    }
}

#[test]
fn the_excess_over_max_prefixes_is_refused_and_the_session_stays() {
    let mut configs = [config(0, Family::Ipv4), config(1, Family::Ipv4)];
    configs[0].max_prefixes = 10;
    let mut net = Net::new(configs);
    let subnets: Vec<String> = (0..15).map(|i| format!("172.16.{i}.0/24")).collect();
    let texts: Vec<&str> = subnets.iter().map(String::as_str).collect();
    net.set_policy(0, open_policy(&[]));
    net.set_policy(1, open_policy(&texts));
    net.enable();
    net.run_ms(300);
    assert!(net.both_up());
    let fault = net.sides[0].fault().expect("a fault while up");
    assert_eq!(fault.code, ReasonCode::MaxPrefixesExceeded);
    assert_eq!((fault.ours.as_deref(), fault.theirs.as_deref()), (Some("10"), Some("15")));
    assert_eq!((net.sides[0].received_count(), net.sides[0].accepted_count()), (15, 10));
    let refused = |net: &Net| {
        net.sides[0].received().iter().filter(|(_, verdict)| *verdict == Verdict::Filtered("max_prefixes")).count()
    };
    assert_eq!(refused(&net), 5);
    // Room is taken by those that waited, and the fault goes when everything fits.
    net.set_policy(1, open_policy(&texts[3..]));
    net.run_ms(100);
    assert_eq!((refused(&net), net.sides[0].accepted_count()), (2, 10));
    // Judging anew does not put those that moved up back.
    net.set_policy(0, Policy { propagate: false, ..open_policy(&[]) });
    net.set_policy(0, open_policy(&[]));
    assert_eq!((refused(&net), net.sides[0].accepted_count()), (2, 10));
    net.set_policy(1, open_policy(&texts[6..]));
    net.run_ms(100);
    assert_eq!((refused(&net), net.sides[0].accepted_count(), net.sides[0].fault()), (0, 9, None));
    assert_eq!(net.sides[0].flaps(), 0);
}

#[test]
fn far_more_than_the_limit_is_not_even_remembered_and_asked_for_again_when_there_is_room() {
    let mut configs = [config(0, Family::Ipv4), config(1, Family::Ipv4)];
    configs[0].max_prefixes = 10;
    let mut net = Net::new(configs);
    let subnets: Vec<String> = (0..3000).map(|i| format!("172.{}.{}.0/24", 16 + i / 256, i % 256)).collect();
    let texts: Vec<&str> = subnets.iter().map(String::as_str).collect();
    net.set_policy(0, open_policy(&[]));
    net.set_policy(1, open_policy(&texts));
    net.enable();
    net.run_ms(300);
    assert_eq!((net.sides[0].received_count(), net.sides[0].accepted_count()), (1010, 10));
    assert_eq!(net.sides[0].fault().and_then(|fault| fault.theirs), Some("more than 1010".to_owned()));
    // The last five are none of those remembered.
    net.set_policy(1, open_policy(&texts[2995..]));
    net.run(Duration::from_secs(2));
    assert_eq!(net.prefixes(0), texts[2995..]);
    assert_eq!(net.sides[0].fault(), None);
}

#[test]
fn a_route_keeps_its_age_while_it_stays_the_same() {
    let mut net = up(Family::Ipv4);
    let before = net.sides[0].accepted_routes().next().expect("a route").received_at;
    net.run(Duration::from_secs(50));
    net.set_policy(1, open_policy(&["192.168.7.0/24", "192.168.8.0/24"]));
    net.run_ms(100);
    let ages: Vec<_> = net.sides[0].accepted_routes().map(|route| route.received_at).collect();
    assert_eq!(ages[0], before);
    assert!(ages[1] > before);
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let mut configs = [config(0, Family::Ipv4), config(1, Family::Ipv4)];
    configs[0].hold_time = 0;
    let mut net = Net::new(configs);
    net.enable();
    net.run_ms(300);
    let kind = [causeway_bgp::ConnKind::Outgoing, causeway_bgp::ConnKind::Incoming];
    let now = net.now;
    for kind in kind {
        net.sides[0].handle_unsent(now, kind, 5000);
    }
    net.run(Duration::from_secs(400));
    // Something went out: the timer starts anew.
    let now = net.now;
    for kind in kind {
        net.sides[0].handle_unsent(now, kind, 4000);
    }
    net.run(Duration::from_secs(479));
    assert!(net.sides[0].is_up());
    net.run(Duration::from_secs(2));
    assert_eq!(net.sides[0].flaps(), 1);
    let down = net.log[0].iter().find_map(|(_, event)| match event {
        Event::Down(fault) if fault.code == ReasonCode::BgpHoldTimerExpired => Some(fault.clone()),
        _ => None,
    });
    assert_eq!(down.expect("the send hold timer").evidence["timer"], "send_hold");
}

#[test]
fn swapped_addresses_are_reported_while_down_only() {
    let mut net = Net::family(Family::Ipv4);
    net.cut = true;
    net.set_enabled(0, true);
    let now = net.now;
    net.sides[0].note_addresses_swapped(now);
    assert_eq!(fault(&net, 0), ReasonCode::BgpAddressesSwapped);
    net.cut = false;
    net.enable();
    net.run(Duration::from_secs(12));
    assert!(net.both_up());
    let now = net.now;
    net.sides[0].note_addresses_swapped(now);
    assert_eq!(net.sides[0].fault(), None);
}

#[test]
fn host_bits_and_the_other_family_are_not_announced() {
    let mut net = Net::family(Family::Ipv6);
    net.set_policy(0, open_policy(&["fd01::5/64", "10.0.0.0/8"]));
    net.set_policy(1, open_policy(&[]));
    net.enable();
    net.run_ms(300);
    assert_eq!(net.prefixes(1), ["fd01::/64"]);
    assert_eq!(net.sides[0].announced().copied().collect::<Vec<_>>(), [common::net("fd01::/64")]);
}

#[test]
fn custom_routes_are_announced_inside_the_whitelist_and_withhold_nothing() {
    let mut net = Net::family(Family::Ipv4);
    let ours = Policy {
        announce: vec![common::net("10.0.0.0/8"), common::net("172.20.0.0/14")],
        custom_routes: ["172.20.0.0/16", "172.31.0.0/16", "0.0.0.0/0"].map(common::net).to_vec(),
        ..open_policy(&["10.1.0.0/24"])
    };
    net.set_policy(0, ours.clone());
    net.set_policy(1, open_policy(&["172.20.0.0/16"]));
    net.enable();
    net.run_ms(300);
    assert_eq!(net.prefixes(1), ["10.1.0.0/24"], "the other side has a subnet there");
    assert_eq!(net.sides[0].announced_count(), 2);
    assert_eq!(net.prefixes(0), ["172.20.0.0/16"], "for the same prefix the router decides, not the session");
    net.set_policy(0, Policy { custom_routes: Vec::new(), ..ours });
    net.run_ms(300);
    assert_eq!((net.sides[0].announced_count(), net.sides[0].flaps()), (1, 0));
}
