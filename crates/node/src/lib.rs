//! The gateway node: runs the gateways that the controller desires, and reports what it sees.
//!
//! ```text
//!  controller ── desired state ──▶ Node ──▶ Gateway (one actor each): IKE, BGP sessions, its namespace
//!             ◀──── reports ──────  │  └──▶ VpcRouter (one for each VPC): its namespace
//!                                   ├─ Host: underlay, bridges;  Datapath: the packet threads ──▶ Directory ──▶ Gateway
//!                                   └─ Peering: tunnels to other nodes of the zone ◀───────────────────┘
//! ```
//!
//! Only this crate touches the kernel (through `linux`, `tun` and `datapath`); nothing here decides a status.

mod associations;
mod attach;
mod clock;
mod counting;
mod dispatch;
mod error;
mod gateway;
pub mod guard;
mod health;
mod host;
mod lease;
mod machine;
mod ownership;
mod peering;
#[cfg(test)]
mod property;
mod routes;
#[cfg(test)]
mod rules;
pub mod session;
mod site;
mod supervisor;
mod table;
mod vpc;

pub use error::SetupError;
pub use lease::LeaseGate;
pub use machine::machine;
pub use peering::Peering;
pub use supervisor::{NodeConfig, run};

use std::path::Path;

/// Filters on this machine that may drop what comes to a TCP port; none where that cannot be seen.
pub async fn filters_of_this_machine(port: u16) -> Vec<String> {
    let Ok(namespace) = causeway_linux::Namespace::current() else { return Vec::new() };
    causeway_linux::filter::door::filters_of(&namespace, port).await.unwrap_or_default()
}

/// Why this process cannot be a node, as sentences for people; empty if it can.
#[must_use]
pub fn obstacles() -> Vec<String> {
    let mut obstacles = Vec::new();
    if !rustix::process::geteuid().is_root() {
        obstacles.push("it does not run as root, which namespaces, routes and UDP port 500 need".to_owned());
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        obstacles.push(format!("/dev/net/tun cannot be opened ({error})"));
    }
    if !["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft"]
        .iter()
        .any(|path| Path::new(path).exists())
    {
        obstacles.push("the program `nft` is not installed (Debian's package `nftables`)".to_owned());
    }
    obstacles
}
