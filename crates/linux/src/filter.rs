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

use std::collections::{BTreeMap, BTreeSet};
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

/// The names of what a table has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Chains.
    pub chains: BTreeSet<String>,
    /// Counters.
    pub counters: BTreeSet<String>,
    /// Maps by name, each with the links that it knows.
    pub links: BTreeMap<String, BTreeSet<String>>,
}

/// A map from the names of links to what becomes of their packets.
///
/// It has a name, so that it outlives the rules that ask it. The kernel takes the elements of one without a name away before the last packet that
/// began with the old rules has asked it, and such a packet would go on as if its link were unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// The map's name.
    pub name: &'static str,
    /// For each link, by name, the verdict. A link has the same one as long as it is there.
    pub verdicts: BTreeMap<String, String>,
}

/// The table's content; a counter or an element that is there already stays as it is.
fn table(counters: &[String], dispatches: &[Dispatch], chains: &str) -> String {
    let mut text = format!("table inet {TABLE} {{\n");
    for name in counters {
        let _ = writeln!(text, "\tcounter {name} {{ packets 0 bytes 0 }}");
    }
    for Dispatch { name, .. } in dispatches {
        let _ = writeln!(text, "\tmap {name} {{ type ifname : verdict; }}");
    }
    text.push_str(chains);
    text.push_str("}\n");
    debug_assert!(!text.contains("vmap {"), "a map without a name, see `Dispatch`");
    for Dispatch { name, verdicts } in dispatches.iter().filter(|dispatch| !dispatch.verdicts.is_empty()) {
        let elements: Vec<_> = verdicts.iter().map(|(link, verdict)| format!("\"{link}\" : {verdict}")).collect();
        let _ = writeln!(text, "add element inet {TABLE} {name} {{ {} }}", elements.join(", "));
    }
    text
}

/// Something that renders to the content of the namespace's table.
pub trait Ruleset {
    /// The names of its counters: a reason, or [`of_link`] where it is counted for one link.
    fn counters(&self) -> Vec<String>;

    /// What its chains look links up by.
    fn dispatches(&self) -> Vec<Dispatch> {
        Vec::new()
    }

    /// The chains: what stands in the table beside the counters and the maps. No rule of theirs has a map without a name ([`Dispatch`]).
    ///
    /// # Errors
    /// [`crate::Error::Name`] for a link's name that can't be one.
    fn chains(&self) -> Result<String>;

    /// The whole ruleset, in place of the one in a table that has `present`: in one transaction, and in the same base chains. (New ones beside
    /// those that go would be no exchange: for a moment the kernel asks chains that drop by default and have no rule any more.) Counters that
    /// were there go on.
    ///
    /// # Errors
    /// As [`Self::chains`].
    fn render(&self, present: &Present) -> Result<String> {
        let (counters, dispatches, chains) = (self.counters(), self.dispatches(), self.chains()?);
        let mut text = format!("table inet {TABLE}\nflush table inet {TABLE}\n");
        text.push_str(&table(&counters, &dispatches, &chains));
        for Dispatch { name, verdicts } in &dispatches {
            let known = present.links.get(*name).into_iter().flatten();
            for link in known.filter(|link| !verdicts.contains_key(*link)) {
                let _ = writeln!(text, "delete element inet {TABLE} {name} {{ \"{link}\" }}");
            }
        }
        let named = |line: &'_ str| Some(line.strip_prefix("\tchain ")?.strip_suffix(" {")?.to_owned());
        let kept: BTreeSet<String> = chains.lines().filter_map(named).collect();
        for name in present.chains.difference(&kept) {
            let _ = writeln!(text, "delete chain inet {TABLE} {name}");
        }
        let counters: BTreeSet<String> = counters.into_iter().collect();
        for name in present.counters.difference(&counters) {
            let _ = writeln!(text, "delete counter inet {TABLE} {name}");
        }
        Ok(text)
    }

    /// The whole ruleset in a table that is made anew; counters begin at zero.
    ///
    /// # Errors
    /// As [`Self::chains`].
    fn render_anew(&self) -> Result<String> {
        // Adding the table first makes its deletion succeed the first time too.
        let text = format!("table inet {TABLE}\ndelete table inet {TABLE}\n");
        Ok(text + &table(&self.counters(), &self.dispatches(), &self.chains()?))
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
