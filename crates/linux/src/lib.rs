//! The node's hands on the kernel: network namespaces, links, addresses, routes, proxied neighbours, announcements and the
//! packet filter. Everything is declarative where it can be: the caller says what shall be, this crate looks what is there and
//! changes the difference.
//!
//! No thread of the runtime ever changes its namespace. What has to happen inside one (opening a socket, writing a sysctl,
//! starting a program) happens on a throw-away thread that enters it and ends there ([`Namespace::run`]). Links, addresses and
//! routes go through netlink; the only program that is started is `nft`.

pub mod address;
pub mod announce;
pub mod error;
pub mod filter;
pub mod link;
pub mod namespace;
pub mod neighbour;
pub mod netlink;
pub mod route;
mod sys;
pub mod sysctl;
pub mod tcp;
pub mod upper;
pub mod watch;

pub use address::AddressOptions;
pub use announce::{announce, announce_here};
pub use error::Error;
pub use link::{Link, VethEnd};
pub use namespace::Namespace;
pub use netlink::Netlink;
pub use route::{Applied, Change, NextHop, ROUTE_PROTOCOL, Route, RouteKind, RouteSpec, RouteTable};
pub use upper::Upper;
pub use watch::LinkWatch;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
