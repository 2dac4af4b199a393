//! The packet path of a node: threads that move packets between TUN devices and UDP through [`causeway_esp`].
//!
//! One [`Datapath`] serves a whole node. It owns two threads and their buffers, whatever the number of gateways; an idle tunnel
//! costs its TUN device and a few hundred octets. One thread reads TUN devices, seals and sends; the other one receives, opens
//! and writes. Control (IKE, the node) changes tables that the threads read once per batch: no lock is held across a system
//! call and no packet of a known association allocates.
//!
//! ```text
//!            cleartext                                      underlay
//!  TUN ───────────────► transmit: seal, shape ───────────► UDP 4500   trains of equal packets in one call
//!  TUN ◄─────────────── receive: demultiplex, open, check ◄ UDP 4500   ESP, keepalives, IKE behind its marker
//!                              │                         ◄ UDP 500    IKE
//!                              ▼ bounded queues
//!                       IKE messages, events
//! ```
//!
//! Policy is not decided here: which inner addresses may pass is the packet filter's business in the gateway's namespace.

mod backlog;
mod batch;
mod counters;
mod datapath;
mod early;
mod event;
mod receive;
mod shaper;
mod socket;
mod sys;
mod tables;
#[cfg(test)]
mod tests;
mod transmit;
mod tunnel;
#[cfg(test)]
mod virtual_time;

pub use counters::DropReason;
pub use datapath::{Datapath, DatapathConfig, DatapathError, Heartbeat};
pub use event::{Event, EventReceiver, IkeDatagram, IkeReceiver};
pub use socket::{ENCAPSULATION_PORT, IKE_PORT};
pub use tunnel::{Inbound, Outbound};
