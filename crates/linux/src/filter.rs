//! The packet filter of a gateway's and of a VPC router's namespace: pure functions that render an nftables ruleset, and its atomic
//! application by `nft`.
//!
//! Nothing here uses connection tracking: the policy decides packet by packet, so the two directions of a flow may take different
//! paths (system.md §2.7), and a flood makes no table grow. ICMP errors are told from anything else by the header that they quote.

pub mod acl;
mod apply;
pub mod door;
mod gateway;
pub mod lease;
mod nets;
mod peering;
mod router;

use std::collections::BTreeMap;
use std::fmt::Write;

pub use acl::{AclFilter, AclReader, AclTable};
pub use apply::{apply, read_counters, read_link_drops, remove};
pub use gateway::{ConnectionFilter, GatewayFilter, InterLinkFilter};
pub use peering::PeeringFilter;
pub use router::{NetworkFilter, RouterFilter};

use crate::Result;

/// The name of the one table, of family `inet`, that this crate makes in a namespace. Other tables there are left alone.
pub const TABLE: &str = "causeway";

/// Packets and octets that a named counter has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Octets of IP.
    pub bytes: u64,
}

/// Counters by name. The name of a counter of drops starts with `drop_`.
pub type Counters = BTreeMap<String, Count>;

/// Dropped packets: link → reason → how many.
pub type LinkDrops = BTreeMap<String, BTreeMap<String, u64>>;

/// The name of a counter of what `reason` says for one link alone.
fn of_link(reason: &str, link: &str) -> String {
    format!("{reason}.{link}")
}

/// Something that renders to the content of the namespace's table.
pub trait Ruleset {
    /// The names of its counters: a reason, or [`of_link`] where it is counted for one link.
    fn counters(&self) -> Vec<String>;

    /// The chains: what stands in the table beside the counters.
    ///
    /// # Errors
    /// [`crate::Error::Name`] for a link's name that can't be one.
    fn chains(&self) -> Result<String>;

    /// The whole ruleset, which replaces the one before in one transaction. `carried` is what its counters start from.
    ///
    /// # Errors
    /// As [`Self::chains`].
    fn render(&self, carried: &Counters) -> Result<String> {
        // Adding the table first makes its deletion succeed the first time too.
        let mut text = format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
        for name in self.counters() {
            let count = carried.get(&name).copied().unwrap_or_default();
            let _ = writeln!(text, "\tcounter {name} {{ packets {} bytes {} }}", count.packets, count.bytes);
        }
        text.push_str(&self.chains()?);
        text.push_str("}\n");
        Ok(text)
    }
}

/// Collects the lines of a table's chains.
#[derive(Debug, Default)]
struct Chains(String);

impl Chains {
    fn chain(&mut self, name: &str, rules: &[String]) {
        let _ = writeln!(self.0, "\n\tchain {name} {{");
        for rule in rules {
            let _ = writeln!(self.0, "\t\t{rule}");
        }
        self.0.push_str("\t}\n");
    }
}

fn counted(counter: &str, verdict: &str) -> String {
    format!("counter name {counter} {verdict}")
}

/// ICMP messages that report on another packet, which they quote. RFC 792, RFC 4443 §3.
const ERRORS_V4: &str = "icmp type { destination-unreachable, time-exceeded, parameter-problem }";
const ERRORS_V6: &str = "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }";
