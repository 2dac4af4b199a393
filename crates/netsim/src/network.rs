//! Datagrams on their way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::{Clock, Random};

/// Datagrams under way at most: what is sent beyond is lost, as in a full queue. Far above what a test of protocol machines needs;
/// it stops two machines that answer each other for ever.
const MAX_IN_FLIGHT: usize = 65_536;

/// Events that the trace keeps; the oldest go first.
const MAX_TRACE: usize = 262_144;

/// How the network treats datagrams. Probabilities are from 0 to 1 and independent of each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// The least that a datagram takes.
    pub latency: Duration,
    /// Added to the latency: evenly from zero to this. More than the time between two datagrams, and they overtake each other.
    pub jitter: Duration,
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that a datagram arrives twice, each time with a jitter of its own.
    pub duplication: f64,
}

impl Default for Conditions {
    /// 10 ms, and nothing goes wrong.
    fn default() -> Self {
        Self { latency: Duration::from_millis(10), jitter: Duration::ZERO, loss: 0.0, duplication: 0.0 }
    }
}

/// A datagram as its receiver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram<P> {
    /// Where it seems to come from.
    pub source: SocketAddr,
    /// Where it was received.
    pub destination: SocketAddr,
    /// Its content.
    pub payload: P,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is under way and arrives at this time since the clock's base.
    Sent(Duration),
    /// A second copy of it is under way.
    Duplicated(Duration),
    /// Chance took it.
    Lost,
    /// A partition lies between its ends.
    Partitioned,
    /// The [`Rewrite`] hook dropped it.
    Filtered,
    /// Too much was under way.
    Overflowed,
    /// It arrived.
    Delivered,
}

/// One line of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, since the clock's base.
    pub at: Duration,
    /// Where it was sent from: with [`Outcome::Delivered`], as its receiver sees it.
    pub source: SocketAddr,
    /// Where it was sent to.
    pub destination: SocketAddr,
    /// What happened.
    pub outcome: Outcome,
}

/// A middlebox: sees each datagram when it is sent and gives the source and destination that it travels with, or `None` to drop it. A
/// NAT is a table in such a closure; a rebinding is a change of the table.
pub type Rewrite = Box<dyn FnMut(SocketAddr, SocketAddr) -> Option<(SocketAddr, SocketAddr)> + Send>;

/// A network that every address is reachable through. `P` is what a datagram carries.
pub struct Network<P> {
    clock: Clock,
    random: Random,
    conditions: Conditions,
    /// By arrival, then in order of sending.
    in_flight: BTreeMap<(Duration, u64), Datagram<P>>,
    sent: u64,
    /// Unordered pairs, the lesser address first.
    partitions: BTreeSet<(IpAddr, IpAddr)>,
    rewrite: Option<Rewrite>,
    trace: VecDeque<Event>,
}

impl<P: Clone> Network<P> {
    /// A network whose whole future follows from `seed`.
    #[must_use]
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            clock: Clock::new(),
            random: Random::new(seed),
            conditions,
            in_flight: BTreeMap::new(),
            sent: 0,
            partitions: BTreeSet::new(),
            rewrite: None,
            trace: VecDeque::new(),
        }
    }

    /// The clock, to move it on.
    pub const fn clock(&mut self) -> &mut Clock {
        &mut self.clock
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The source of chance, for machines of the same simulation; see [`Random::fork`].
    pub const fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Changes the conditions for what is sent from now on.
    pub const fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Cuts two addresses off from each other, both ways. What is under way already still arrives.
    pub fn partition(&mut self, a: IpAddr, b: IpAddr) {
        self.partitions.insert((a.min(b), a.max(b)));
    }

    /// Undoes [`Self::partition`].
    pub fn heal(&mut self, a: IpAddr, b: IpAddr) {
        self.partitions.remove(&(a.min(b), a.max(b)));
    }

    /// Puts a middlebox in the way of everything, in place of the one before; `None` takes it away.
    pub fn set_rewrite(&mut self, rewrite: Option<Rewrite>) {
        self.rewrite = rewrite;
    }

    /// Sends a datagram now.
    pub fn send(&mut self, source: SocketAddr, destination: SocketAddr, payload: P) {
        // Every datagram takes the same draws whatever becomes of it: a partition or another probability changes nothing for others.
        let lost = self.random.happens(self.conditions.loss);
        let duplicated = self.random.happens(self.conditions.duplication);
        let first = self.random.duration_up_to(self.conditions.jitter);
        let second = self.random.duration_up_to(self.conditions.jitter);

        let rewritten = match &mut self.rewrite {
            Some(rewrite) => rewrite(source, destination),
            None => Some((source, destination)),
        };
        let Some((seen_source, seen_destination)) = rewritten else {
            return self.note(source, destination, Outcome::Filtered);
        };
        let (a, b) = (source.ip(), seen_destination.ip());
        if self.partitions.contains(&(a.min(b), a.max(b))) {
            return self.note(source, destination, Outcome::Partitioned);
        }
        if lost {
            return self.note(source, destination, Outcome::Lost);
        }
        let datagram = Datagram { source: seen_source, destination: seen_destination, payload };
        if duplicated {
            let arrival = self.clock.elapsed() + self.conditions.latency + second;
            let outcome = self.put(arrival, datagram.clone(), Outcome::Duplicated(arrival));
            self.note(source, destination, outcome);
        }
        let arrival = self.clock.elapsed() + self.conditions.latency + first;
        let outcome = self.put(arrival, datagram, Outcome::Sent(arrival));
        self.note(source, destination, outcome);
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        let (arrival, _) = self.in_flight.keys().next()?;
        // As an instant of this clock; one that has passed is due now.
        Some(self.clock.now() + arrival.saturating_sub(self.clock.elapsed()))
    }

    /// The next datagram that has arrived by now.
    pub fn receive(&mut self) -> Option<Datagram<P>> {
        let entry = self.in_flight.first_entry()?;
        if entry.key().0 > self.clock.elapsed() {
            return None;
        }
        let datagram = entry.remove();
        self.note(datagram.source, datagram.destination, Outcome::Delivered);
        Some(datagram)
    }

    /// Datagrams under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// What happened, oldest first; a long run keeps the latest 262,144 events.
    pub fn trace(&self) -> impl Iterator<Item = &Event> {
        self.trace.iter()
    }

    /// How often something ended in an outcome that `which` picks.
    #[must_use]
    pub fn count(&self, which: impl Fn(Outcome) -> bool) -> usize {
        self.trace.iter().filter(|event| which(event.outcome)).count()
    }

    fn put(&mut self, arrival: Duration, datagram: Datagram<P>, outcome: Outcome) -> Outcome {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return Outcome::Overflowed;
        }
        self.sent += 1;
        self.in_flight.insert((arrival, self.sent), datagram);
        outcome
    }

    fn note(&mut self, source: SocketAddr, destination: SocketAddr, outcome: Outcome) {
        if self.trace.len() == MAX_TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back(Event { at: self.clock.elapsed(), source, destination, outcome });
    }
}
