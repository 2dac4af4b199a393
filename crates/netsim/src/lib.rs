//! A simulated network with a virtual clock, for machines that do no I/O themselves. Everything that happens follows from one seed: a
//! failure that a test found once is found again.
//!
//! ```
//! use std::time::Duration;
//! use causeway_netsim::{Conditions, Network};
//!
//! let mut network = Network::new(42, Conditions { latency: Duration::from_millis(20), ..Conditions::default() });
//! let (a, b) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
//! network.send(a, b, b"hello".to_vec());
//! let arrival = network.next_arrival().unwrap();
//! network.clock().advance_to(arrival);
//! assert_eq!(network.receive().unwrap().payload, b"hello");
//! assert_eq!(network.clock().elapsed(), Duration::from_millis(20));
//! ```
//!
//! The driver of a test asks every machine for its next timeout, moves the clock to the earlier of that and
//! [`Network::next_arrival`], hands over what [`Network::receive`] gives, and sends what the machines answer.

mod clock;
mod network;
mod random;

pub use clock::Clock;
pub use network::{Conditions, Datagram, Event, Network, Outcome, Rewrite};
pub use random::Random;
