//! The network keeps its promises.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use causeway_netsim::{Conditions, Datagram, Event, Network, Outcome};

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn a() -> SocketAddr {
    address("192.0.2.1:500")
}

fn b() -> SocketAddr {
    address("[2001:db8::2]:500")
}

const MS: Duration = Duration::from_millis(1);

const BAD: Conditions =
    Conditions { latency: Duration::from_millis(5), jitter: Duration::from_millis(40), loss: 0.2, duplication: 0.1 };

/// Receives everything that is under way, and when.
fn drain(network: &mut Network<u32>) -> Vec<(Duration, Datagram<u32>)> {
    let mut out = Vec::new();
    while let Some(arrival) = network.next_arrival() {
        network.clock().advance_to(arrival);
        while let Some(datagram) = network.receive() {
            out.push((network.clock().elapsed(), datagram));
        }
    }
    out
}

fn run(seed: u64, conditions: Conditions) -> (Vec<(Duration, Datagram<u32>)>, Vec<Event>) {
    let mut network = Network::new(seed, conditions);
    for number in 0..1_000 {
        network.send(a(), b(), number);
        network.clock().advance(MS);
    }
    let received = drain(&mut network);
    (received, network.trace().copied().collect())
}

fn numbers(received: &[(Duration, Datagram<u32>)]) -> Vec<u32> {
    received.iter().map(|(_, datagram)| datagram.payload).collect()
}

#[test]
fn a_seed_repeats_everything_and_another_differs() {
    assert_eq!(run(7, BAD), run(7, BAD));
    assert_ne!(numbers(&run(7, BAD).0), numbers(&run(8, BAD).0));
}

#[test]
fn nothing_goes_wrong_by_itself() {
    let (received, trace) = run(1, Conditions::default());
    assert_eq!(numbers(&received), (0..1_000).collect::<Vec<_>>());
    assert_eq!(trace.len(), 2_000);
    let mut network = Network::new(1, Conditions::default());
    network.send(a(), b(), 9);
    network.clock().advance(10 * MS - Duration::from_nanos(1));
    assert_eq!(network.receive(), None);
    network.clock().advance(Duration::from_nanos(1));
    assert_eq!(network.receive(), Some(Datagram { source: a(), destination: b(), payload: 9 }));
    assert_eq!((network.receive(), network.next_arrival()), (None, None));
}

#[test]
fn loss_duplication_and_reordering_are_as_asked() {
    let (received, trace) = run(3, BAD);
    let count = |which: fn(Outcome) -> bool| trace.iter().filter(|event| which(event.outcome)).count();
    let lost = count(|outcome| outcome == Outcome::Lost);
    let duplicated = count(|outcome| matches!(outcome, Outcome::Duplicated(_)));
    assert!((150..250).contains(&lost), "{lost} lost");
    // A tenth of those that were not lost.
    assert!((50..115).contains(&duplicated), "{duplicated} duplicated");
    assert_eq!(received.len(), 1_000 - lost + duplicated);
    assert_eq!(count(|outcome| outcome == Outcome::Delivered), received.len());

    let numbers = numbers(&received);
    let overtaken = numbers.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(overtaken > 200, "{overtaken} overtaken");
    for event in &trace {
        if let Outcome::Sent(arrival) | Outcome::Duplicated(arrival) = event.outcome {
            let took = arrival - event.at;
            assert!((5 * MS..=45 * MS).contains(&took), "{took:?}");
        }
    }
}

#[test]
fn a_duplicate_takes_a_time_of_its_own() {
    let mut network = Network::new(1, Conditions { duplication: 1.0, jitter: 40 * MS, ..Conditions::default() });
    network.send(a(), b(), 1);
    let received = drain(&mut network);
    assert_eq!(numbers(&received), [1, 1]);
    assert_ne!(received[0].0, received[1].0);
}

/// One datagram's fate does not depend on another probability: a failing test can be thinned out.
#[test]
fn draws_are_independent() {
    let lost = |conditions| {
        let (_, trace) = run(5, conditions);
        trace.iter().filter(|event| event.outcome == Outcome::Lost).map(|event| event.at).collect::<Vec<_>>()
    };
    assert_eq!(lost(BAD), lost(Conditions { duplication: 0.9, jitter: Duration::ZERO, ..BAD }));
}

#[test]
fn a_partition_cuts_both_ways_until_it_heals() {
    let mut network = Network::new(1, Conditions::default());
    let other = address("203.0.113.9:4500");
    network.send(a(), b(), 1);
    network.partition(b().ip(), a().ip());
    network.send(a(), b(), 2);
    network.send(b(), a(), 3);
    network.send(a(), other, 4);
    network.heal(a().ip(), b().ip());
    network.send(b(), a(), 5);
    assert_eq!(numbers(&drain(&mut network)), [1, 4, 5]);
    assert_eq!(network.count(|outcome| outcome == Outcome::Partitioned), 2);
}

#[test]
fn a_nat_translates_and_rebinds() {
    let public: IpAddr = "198.51.100.7".parse().expect("an address");
    let port = Arc::new(AtomicU16::new(10_500));
    let mut network = Network::new(1, Conditions::default());
    let (table, inside) = (Arc::clone(&port), a());
    network.set_rewrite(Some(Box::new(move |source, destination| {
        let outside = SocketAddr::new(public, table.load(Ordering::Relaxed));
        if source == inside {
            Some((outside, destination))
        } else if destination.ip() == public {
            // A port that is mapped no more leads nowhere.
            (destination == outside).then_some((source, inside))
        } else {
            Some((source, destination))
        }
    })));
    let seen = |network: &mut Network<u32>| drain(network).pop().expect("a datagram").1;

    network.send(a(), b(), 1);
    let first = seen(&mut network);
    assert_eq!(first.source, SocketAddr::new(public, 10_500));
    network.send(b(), first.source, 2);
    assert_eq!(seen(&mut network).destination, a());

    port.store(10_501, Ordering::Relaxed);
    network.send(b(), first.source, 3);
    assert_eq!(network.in_flight(), 0);
    assert_eq!(network.trace().last().map(|event| event.outcome), Some(Outcome::Filtered));
    network.send(a(), b(), 4);
    assert_eq!(seen(&mut network).source, SocketAddr::new(public, 10_501));
    network.set_rewrite(None);
    network.send(a(), b(), 5);
    assert_eq!(seen(&mut network).source, a());
}

#[test]
fn a_storm_is_bounded() {
    let mut network = Network::new(1, Conditions::default());
    for number in 0..70_000 {
        network.send(a(), b(), number);
    }
    assert_eq!(network.in_flight(), 65_536);
    assert_eq!(network.count(|outcome| outcome == Outcome::Overflowed), 70_000 - 65_536);
}
