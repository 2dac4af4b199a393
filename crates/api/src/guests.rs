//! Who is connected: so many at once from one network, so many in all. Whoever comes when there is no room takes the place of the
//! connection that has asked for nothing for the longest time, so that nobody keeps others out by holding connections that he does not use.
//! What a stranger asks for keeps no place, nor does an answer that its client does not take.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::limits::network;

/// An answer that its client has not gone on taking for this long keeps no place that another needs.
const HESITATION: Duration = Duration::from_secs(5);

/// All connections.
#[derive(Debug)]
pub(crate) struct Guests {
    /// At once.
    most: usize,
    /// At once from an IPv4 address, or from an IPv6 network of 64 bits.
    most_of_network: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entered: u64,
    present: BTreeMap<u64, Arc<Line>>,
}

/// One connection, as others see it.
#[derive(Debug)]
struct Line {
    network: IpAddr,
    requests: watch::Sender<Requests>,
    untaken: Mutex<Untaken>,
    displaced: Notify,
}

/// The requests of a connection: from their headers until all of their answer has gone to the kernel.
#[derive(Clone, Copy, Debug)]
struct Requests {
    under_way: u32,
    /// Those of them that came with a valid key.
    with_key: u32,
    /// When one of these numbers changed last.
    since: Instant,
}

/// Pieces of answers that wait for the client, in the order in which they began to.
#[derive(Debug, Default)]
struct Untaken {
    begun: u64,
    since: BTreeMap<u64, Instant>,
}

/// The place of one connection; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    guests: Arc<Guests>,
    number: u64,
    line: Arc<Line>,
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    line: Arc<Line>,
    has_key: AtomicBool,
}

/// What a request knows of itself while it is looked at. Does not keep it under way: a client that hangs up ends that.
#[derive(Clone, Debug)]
pub(crate) struct Asked(Weak<UnderWay>);

/// A piece of an answer that waits for its client; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    request: Arc<UnderWay>,
    number: u64,
}

impl Guests {
    pub(crate) fn new(most: usize, most_of_network: usize) -> Arc<Self> {
        Arc::new(Self { most, most_of_network, inner: Mutex::default() })
    }

    /// A place for a connection from `address`. `None`: it would have to displace one with a request under way.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Guest> {
        let network = network(address);
        // Whoever is in the list is connected, whatever panicked.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let of_network = inner.present.values().filter(|line| line.network == network).count();
        let displaced = if of_network >= self.most_of_network {
            Some(inner.idlest(|line| line.network == network)?)
        } else if inner.present.len() >= self.most {
            Some(inner.idlest(|_| true)?)
        } else {
            None
        };
        if let Some(line) = displaced.and_then(|number| inner.present.remove(&number)) {
            line.displaced.notify_one();
        }
        let requests = watch::Sender::new(Requests { under_way: 0, with_key: 0, since: Instant::now() });
        let line = Arc::new(Line { network, requests, untaken: Mutex::default(), displaced: Notify::new() });
        let number = inner.entered;
        inner.entered += 1;
        inner.present.insert(number, Arc::clone(&line));
        Some(Guest { guests: Arc::clone(self), number, line })
    }
}

impl Inner {
    /// The connection that nothing has happened on for the longest time, of those where nobody who has a key waits for us.
    fn idlest(&self, eligible: impl Fn(&Line) -> bool) -> Option<u64> {
        let now = Instant::now();
        let eligible = self.present.iter().filter(|(_, line)| eligible(line));
        let idle = eligible.filter_map(|(number, line)| line.idle_since(now).map(|since| (since, *number)));
        idle.min().map(|(_, number)| number)
    }
}

impl Guest {
    /// Notes that a request has come.
    pub(crate) fn ask(&self) -> Arc<UnderWay> {
        self.line.count(|requests| requests.under_way = requests.under_way.saturating_add(1));
        Arc::new(UnderWay { line: Arc::clone(&self.line), has_key: AtomicBool::new(false) })
    }

    /// Completes when another connection has taken the place.
    pub(crate) async fn displaced(&self) {
        self.line.displaced.notified().await;
    }

    /// Completes when no request has been under way for `time`.
    pub(crate) async fn idle(&self, time: Duration) {
        let mut requests = self.line.requests.subscribe();
        loop {
            if requests.wait_for(|requests| requests.under_way == 0).await.is_err() {
                return;
            }
            if tokio::time::timeout(time, requests.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Completes when a piece of an answer has waited for the client for `time`.
    pub(crate) async fn stuck(&self, time: Duration) {
        loop {
            let waited = self.line.untaken_since().map_or(Duration::ZERO, |since| since.elapsed());
            let Some(left) = time.checked_sub(waited).filter(|left| !left.is_zero()) else { return };
            // What begins to wait meanwhile has waited long enough no sooner.
            tokio::time::sleep(left).await;
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.inner.lock().unwrap_or_else(PoisonError::into_inner).present.remove(&self.number);
    }
}

impl Line {
    fn count(&self, change: impl FnOnce(&mut Requests)) {
        self.requests.send_modify(|requests| {
            change(requests);
            requests.since = Instant::now();
        });
    }

    /// Since when a piece of an answer has waited for the client, the first of them.
    fn untaken_since(&self) -> Option<Instant> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner).since.values().next().copied()
    }

    /// Since when the connection could be done without. `None`: somebody who has a key waits for us.
    fn idle_since(&self, now: Instant) -> Option<Instant> {
        let requests = *self.requests.borrow();
        if requests.with_key == 0 {
            return Some(requests.since);
        }
        self.untaken_since().filter(|since| now.saturating_duration_since(*since) >= HESITATION)
    }
}

impl UnderWay {
    /// What the request may be told.
    pub(crate) fn asked(self: &Arc<Self>) -> Asked {
        Asked(Arc::downgrade(self))
    }

    /// Notes that a piece of the answer waits for the client.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        let mut untaken = self.line.untaken.lock().unwrap_or_else(PoisonError::into_inner);
        let number = untaken.begun;
        untaken.begun += 1;
        untaken.since.insert(number, Instant::now());
        Waiting { request: Arc::clone(self), number }
    }
}

impl Asked {
    /// Notes that who asks has a key.
    pub(crate) fn has_key(&self) {
        if let Some(request) = self.0.upgrade()
            && !request.has_key.swap(true, Ordering::AcqRel)
        {
            request.line.count(|requests| requests.with_key = requests.with_key.saturating_add(1));
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let with_key = u32::from(*self.has_key.get_mut());
        self.line.count(|requests| {
            requests.under_way = requests.under_way.saturating_sub(1);
            requests.with_key = requests.with_key.saturating_sub(with_key);
        });
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut untaken = self.request.line.untaken.lock().unwrap_or_else(PoisonError::into_inner);
        untaken.since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// A request with a key.
    fn ask(guest: &Guest) -> Arc<UnderWay> {
        let request = guest.ask();
        request.asked().has_key();
        request
    }

    /// Whether the guest was told to go.
    async fn told(guest: &Guest) -> bool {
        tokio::time::timeout(Duration::ZERO, guest.displaced()).await.is_ok()
    }

    #[tokio::test]
    async fn the_one_that_was_idle_for_longest_makes_way() {
        let guests = Guests::new(3, 2);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let first = guests.enter(one).expect("a place");
        let second = guests.enter(one).expect("a place");
        // It has asked for something since the second came.
        drop(first.ask());
        let third = guests.enter(one).expect("a place");
        assert!(told(&second).await && !told(&first).await, "of its own network");
        let fourth = guests.enter(other).expect("a place");
        let requests = (ask(&first), ask(&third));
        assert!(guests.enter(one).is_none(), "both of this network have requests under way");
        let fifth = guests.enter(other).expect("a place");
        assert!(told(&fourth).await, "of all, those with requests stay");
        let request = ask(&fifth);
        assert!(guests.enter(address("2001:db8::1")).is_none());
        drop(request);
        let sixth = guests.enter(address("2001:db8::1")).expect("a place");
        assert!(told(&fifth).await);
        drop((requests, first, second, third, fourth, fifth, sixth));
        assert!(guests.inner.lock().expect("no panic").present.is_empty(), "nothing is kept of who has gone");
    }

    #[tokio::test]
    async fn a_stranger_s_request_keeps_no_place() {
        let guests = Guests::new(2, 2);
        let one = address("192.0.2.1");
        let (stranger, customer) = (guests.enter(one).expect("a place"), guests.enter(one).expect("a place"));
        let (asked, answered) = (stranger.ask(), customer.ask());
        answered.asked().has_key();
        // Twice is once.
        answered.asked().has_key();
        let third = guests.enter(one).expect("a place");
        assert!(told(&stranger).await && !told(&customer).await);
        drop((asked, answered));
        assert_eq!(customer.line.requests.borrow().with_key, 0);
        let over = third.ask().asked();
        // Whoever has hung up before the key was looked at has no request.
        over.has_key();
        assert_eq!(third.line.requests.borrow().with_key, 0);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_keeps_a_place_for_moments_only() {
        let guests = Guests::new(1, 1);
        let guest = guests.enter(address("192.0.2.1")).expect("a place");
        let request = ask(&guest);
        let line = &guest.line;
        let now = Instant::now();
        assert_eq!(line.idle_since(now + HESITATION * 2), None, "it waits for us");
        let (first, second) = (request.wait(), request.wait());
        assert_eq!(line.idle_since(now), None);
        assert!(line.idle_since(now + HESITATION * 2).is_some());
        tokio::time::timeout(Duration::from_secs(30), guest.stuck(Duration::from_millis(50))).await.expect("in time");
        drop((first, second));
        assert_eq!(line.idle_since(now + HESITATION * 2), None, "all was taken");
        assert!(
            tokio::time::timeout(Duration::from_millis(200), guest.stuck(Duration::from_millis(50))).await.is_err()
        );
    }

    #[tokio::test]
    async fn a_network_of_64_bits_counts_as_one() {
        let guests = Guests::new(10, 1);
        let first = guests.enter(address("2001:db8::1")).expect("a place");
        let second = guests.enter(address("2001:db8::2:0:0:1")).expect("a place");
        assert!(told(&first).await);
        let elsewhere = guests.enter(address("2001:db8:0:1::1")).expect("a place");
        assert!(!told(&second).await && !told(&elsewhere).await);
    }

    #[tokio::test]
    async fn idle_is_whoever_has_had_no_request_for_the_whole_time() {
        let guests = Guests::new(1, 1);
        let guest = guests.enter(address("192.0.2.1")).expect("a place");
        let time = Duration::from_millis(100);
        let begun = Instant::now();
        let request = async {
            let request = guest.ask();
            tokio::time::sleep(time * 3).await;
            drop(request);
        };
        tokio::join!(guest.idle(time), request);
        assert!(begun.elapsed() >= time * 4, "{:?}", begun.elapsed());
    }
}
