//! The words of Causeway: typed ids, resources, cipher suites, reasons, and the pure functions that derive statuses.
//!
//! Nothing here does I/O or reads a clock. Every other crate speaks in these types, so a fact has one spelling
//! from the HTTP request to the packet thread.

pub mod acl;
pub mod command;
pub mod desired;
pub mod diagnosis;
pub mod error;
pub mod explain;
pub mod id;
pub mod link;
pub mod net;
pub mod observed;
pub mod placement;
pub mod reason;
pub mod resource;
pub mod route;
pub mod secret;
pub mod status;
pub mod suite;
pub mod time;
pub mod view;
pub mod watch;

pub use error::Error;
pub use id::*;
pub use net::Family;
pub use reason::{Fault, Reason, ReasonCode};
pub use secret::Psk;
pub use time::Timestamp;
