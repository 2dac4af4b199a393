//! Who is connected: so many at once from one network, so many in all. Whoever comes when there is no room takes the place of the
//! connection that has asked for nothing for the longest time, so that nobody keeps others out by holding connections that he does not use.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, watch};

use crate::limits::network;

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
    displaced: Notify,
}

/// The requests of a connection: from their headers to the end of their answer.
#[derive(Clone, Copy, Debug)]
struct Requests {
    under_way: u32,
    /// When that number changed last.
    since: Instant,
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
pub(crate) struct UnderWay(Arc<Line>);

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
        let requests = watch::Sender::new(Requests { under_way: 0, since: Instant::now() });
        let line = Arc::new(Line { network, requests, displaced: Notify::new() });
        let number = inner.entered;
        inner.entered += 1;
        inner.present.insert(number, Arc::clone(&line));
        Some(Guest { guests: Arc::clone(self), number, line })
    }
}

impl Inner {
    /// The connection without a request that has been so for the longest time.
    fn idlest(&self, eligible: impl Fn(&Line) -> bool) -> Option<u64> {
        let eligible = self.present.iter().filter(|(_, line)| eligible(line));
        let idle = eligible.filter_map(|(number, line)| {
            let requests = *line.requests.borrow();
            (requests.under_way == 0).then_some((requests.since, *number))
        });
        idle.min().map(|(_, number)| number)
    }
}

impl Guest {
    /// Notes that a request has come.
    pub(crate) fn ask(&self) -> UnderWay {
        self.line.count(|under_way| under_way.saturating_add(1));
        UnderWay(Arc::clone(&self.line))
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
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.inner.lock().unwrap_or_else(PoisonError::into_inner).present.remove(&self.number);
    }
}

impl Line {
    fn count(&self, change: impl FnOnce(u32) -> u32) {
        self.requests.send_modify(|requests| {
            *requests = Requests { under_way: change(requests.under_way), since: Instant::now() };
        });
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.count(|under_way| under_way.saturating_sub(1));
    }
}

/// The body of an answer, with which its request ends.
#[derive(Debug)]
pub(crate) struct Last<B> {
    body: B,
    _request: UnderWay,
}

impl<B> Last<B> {
    pub(crate) fn new(body: B, request: UnderWay) -> Self {
        Self { body, _request: request }
    }
}

impl<B: Body + Unpin> Body for Last<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
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
        let requests = (first.ask(), third.ask());
        assert!(guests.enter(one).is_none(), "both of this network have requests under way");
        let fifth = guests.enter(other).expect("a place");
        assert!(told(&fourth).await, "of all, those with requests stay");
        let request = fifth.ask();
        assert!(guests.enter(address("2001:db8::1")).is_none());
        drop(request);
        let sixth = guests.enter(address("2001:db8::1")).expect("a place");
        assert!(told(&fifth).await);
        drop((requests, first, second, third, fourth, fifth, sixth));
        assert!(guests.inner.lock().expect("no panic").present.is_empty(), "nothing is kept of who has gone");
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
