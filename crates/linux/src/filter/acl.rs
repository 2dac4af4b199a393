//! The network access lists of a VPC's router: everything that is forwarded there meets the list of its family (system.md §2.9).
//!
//! They live in a table of their own, so that a new list replaces the old one in one transaction and nothing else is touched. Each rule counts
//! in a named counter, which outlives the rule: a rule that stands in the new list too goes on counting where it was.
//!
//! The lists are stateless: an answer needs a rule as much as the question did. Four things are not in a tenant's words:
//!
//! - What the router itself sends and receives, neighbour discovery included, does not cross it, so no list sees it.
//! - Fragments after the first have no ports. A rule that accepts by ports accepts those of its addresses and protocol; one that drops by
//!   ports leaves them alone, since without the first fragment nobody can put them together.
//! - An IPv6 packet's first fragment that ends before its transport header does is dropped (RFC 7112 §5): no rule by protocol or ports could
//!   tell what it is, and with the fragments behind it, which have no ports either, it would become what a rule forbids.
//! - Where the default is to drop, ICMP errors that no rule matches pass if they quote a packet from or to the VPC: without them no path MTU
//!   would be found (RFC 4890 §4.3.1). A rule that drops them is obeyed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use causeway_model::Family;
use causeway_model::acl::{Acl, AclAction, AclProtocol, AclRule, PortRange};
use causeway_model::observed::{AclCounters, Counter};
use ipnet::IpNet;

use super::nets::Nets;
use super::{Chains, Counters, apply, counted};
use crate::{Error, Namespace, Result};

/// The table's name.
pub(super) const TABLE: &str = "causeway_acl";
/// Rules of one list at most: more would take `nft` seconds.
pub const MAX_RULES: usize = 10_000;

/// Both lists of a VPC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclFilter {
    /// What may be forwarded, IPv4.
    pub ipv4: Acl,
    /// What may be forwarded, IPv6.
    pub ipv6: Acl,
    /// The subnets of the VPC's Private Networks.
    pub vpc_subnets: Vec<IpNet>,
}

impl AclFilter {
    /// Nothing may be forwarded.
    #[must_use]
    pub fn closed() -> Self {
        let nothing = || Acl { default_action: AclAction::Drop, rules: Vec::new() };
        Self { ipv4: nothing(), ipv6: nothing(), vpc_subnets: Vec::new() }
    }

    const fn list(&self, family: Family) -> &Acl {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }

    /// Whether the lists can be.
    ///
    /// # Errors
    /// [`Error::Acl`] names the first rule that cannot.
    pub fn check(&self) -> Result<()> {
        for family in Family::ALL {
            let list = self.list(family);
            let wrong = |rule: usize, problem| Err(Error::Acl { family, rule: rule + 1, problem });
            if list.rules.len() > MAX_RULES {
                return wrong(MAX_RULES, "the list has more than 10,000 rules");
            }
            for (index, rule) in list.rules.iter().enumerate() {
                let backward = |range: PortRange| !range.is_any() && range.low > range.high;
                if Family::of_net(&rule.source) != family {
                    return wrong(index, "the source is of the other family");
                }
                if Family::of_net(&rule.destination) != family {
                    return wrong(index, "the destination is of the other family");
                }
                if rule.protocol.has_ports() && (backward(rule.source_ports) || backward(rule.destination_ports)) {
                    return wrong(index, "the first port is above the last");
                }
            }
        }
        Ok(())
    }
}

/// The counters of the lists in force, in the order of their rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Layout {
    ipv4: Vec<u64>,
    ipv6: Vec<u64>,
}

impl Layout {
    const fn of(&self, family: Family) -> &Vec<u64> {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        Family::ALL.into_iter().flat_map(|family| self.of(family).iter().map(|serial| counter_name(*serial)))
    }
}

/// The table of access lists of one namespace. Dropping it leaves the lists in force.
#[derive(Debug)]
pub struct AclTable {
    namespace: Namespace,
    /// The lists in force; `None` until there are some.
    filter: Option<AclFilter>,
    layout: Arc<Layout>,
    /// Of the next new counter.
    serial: u64,
    /// Whether the kernel may hold something else than `layout`, because an attempt failed half-way.
    uncertain: bool,
    counts: Counters,
}

/// Reads the counters of the lists in force, beside whoever holds the [`AclTable`].
#[derive(Clone, Debug)]
pub struct AclReader {
    namespace: Namespace,
}

impl AclReader {
    /// The counters as they are, for [`AclTable::counted`].
    ///
    /// # Errors
    /// As [`super::apply`].
    pub async fn read(&self) -> Result<Counters> {
        apply::counts(&self.namespace, TABLE).await
    }
}

impl AclTable {
    /// Makes the table in `namespace`. Nothing is forwarded until the first lists are applied.
    ///
    /// # Errors
    /// As [`super::apply`].
    pub async fn create(namespace: Namespace) -> Result<Self> {
        let (filter, layout, counts) = (None, Arc::default(), Counters::new());
        let mut table = Self { namespace, filter, layout, serial: 0, uncertain: true, counts };
        table.apply(&AclFilter::closed()).await?;
        Ok(table)
    }

    /// Replaces both lists in one transaction: every packet meets either the old ones or the new. Rules that stay keep their counters. Asked
    /// for what is in force, does nothing.
    ///
    /// # Errors
    /// [`Error::Acl`] for a list that cannot be, else as [`super::apply`]; the lists before are still in force.
    pub async fn apply(&mut self, filter: &AclFilter) -> Result<()> {
        if self.filter.as_ref() == Some(filter) && !self.uncertain {
            return Ok(());
        }
        filter.check()?;
        let layout = self.lay_out(filter);
        let mut stale: BTreeSet<String> = if self.uncertain {
            let found = apply::counts(&self.namespace, TABLE).await?;
            found.into_keys().filter(|name| is_rule_counter(name)).collect()
        } else {
            self.layout.names().collect()
        };
        for name in layout.names() {
            stale.remove(&name);
        }
        let text = render(filter, &layout, &stale);
        // Whoever stops waiting does not know what the kernel has.
        self.uncertain = true;
        apply::load(&self.namespace, text).await?;
        self.uncertain = false;
        self.filter = Some(filter.clone());
        self.layout = Arc::new(layout);
        for name in stale {
            self.counts.remove(&name);
        }
        Ok(())
    }

    /// For reading the counters without waiting for this one.
    #[must_use]
    pub fn reader(&self) -> AclReader {
        AclReader { namespace: self.namespace.clone() }
    }

    /// Takes over what an [`AclReader`] read. Whether it differs from what was read before.
    pub fn counted(&mut self, counts: Counters) -> bool {
        let changed = self.counts != counts;
        self.counts = counts;
        changed
    }

    /// The counters of the lists in force as they were read last; a rule that was not there then has counted nothing.
    #[must_use]
    pub fn counters(&self) -> AclCounters {
        let counter = |name: &str| {
            let count = self.counts.get(name).copied().unwrap_or_default();
            Counter { packets: count.packets, bytes: count.bytes }
        };
        let rules = |family| self.layout.of(family).iter().map(|serial| counter(&counter_name(*serial))).collect();
        AclCounters {
            ipv4: rules(Family::Ipv4),
            ipv4_default: counter(default_counter(Family::Ipv4)),
            ipv6: rules(Family::Ipv6),
            ipv6_default: counter(default_counter(Family::Ipv6)),
        }
    }

    /// A counter for each rule: the one that the same rule has in the lists in force, or a new one. A new one's number is never used again.
    fn lay_out(&mut self, filter: &AclFilter) -> Layout {
        let mut layout = Layout::default();
        for family in Family::ALL {
            let mut held: BTreeMap<String, VecDeque<u64>> = BTreeMap::new();
            let rules = self.filter.iter().flat_map(|before| &before.list(family).rules);
            for (rule, serial) in rules.zip(self.layout.of(family)) {
                held.entry(whole_text(rule)).or_default().push_back(*serial);
            }
            let rules = &filter.list(family).rules;
            let serials = rules.iter().map(|rule| {
                held.get_mut(&whole_text(rule)).and_then(VecDeque::pop_front).unwrap_or_else(|| {
                    self.serial += 1;
                    self.serial
                })
            });
            let serials = serials.collect();
            match family {
                Family::Ipv4 => layout.ipv4 = serials,
                Family::Ipv6 => layout.ipv6 = serials,
            }
        }
        layout
    }
}

fn counter_name(serial: u64) -> String {
    format!("rule_{serial}")
}

fn is_rule_counter(name: &str) -> bool {
    name.starts_with("rule_")
}

const fn default_counter(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "default_ipv4",
        Family::Ipv6 => "default_ipv6",
    }
}

/// IPv6 fragments that are a packet's first without its whole chain of headers.
const HEADLESS: &str = "drop_header_chain";

/// ICMP errors that passed a list that drops what no rule matches.
const ERRORS: &str = "icmp_errors";

fn render(filter: &AclFilter, layout: &Layout, stale: &BTreeSet<String>) -> String {
    let mut text = format!("table inet {TABLE}\nflush table inet {TABLE}\ntable inet {TABLE} {{\n");
    let fixed = [default_counter(Family::Ipv4), default_counter(Family::Ipv6), ERRORS, HEADLESS].map(str::to_owned);
    for name in fixed.into_iter().chain(layout.names()) {
        // One that is there already keeps its count.
        let _ = writeln!(text, "\tcounter {name} {{ packets 0 bytes 0 }}");
    }
    let mut chains = Chains::default();
    chains.chain("first_fragments", &whole_headers());
    let mut forward = vec![
        "type filter hook forward priority filter + 10; policy drop;".to_owned(),
        "frag frag-off 0 jump first_fragments".to_owned(),
    ];
    for family in Family::ALL {
        let (list, serials) = (filter.list(family), layout.of(family));
        let (chain, later_fragment) = match family {
            Family::Ipv4 => ("ipv4", "ip frag-off & 0x1fff != 0"),
            Family::Ipv6 => ("ipv6", "frag frag-off != 0"),
        };
        let last = last_rules(filter, family);
        let numbered = || list.rules.iter().zip(serials);
        let rules = numbered().map(|(rule, serial)| {
            counted_rule(&format!("{}{}", addresses_text(rule), ports_text(rule)), *serial, rule.action)
        });
        chains.chain(chain, &rules.chain(last.iter().cloned()).collect::<Vec<_>>());
        // Always there, since a transaction that flushes the table leaves chains of former lists in it, if empty.
        let fragments = format!("{chain}_fragments");
        if list.rules.iter().any(|rule| rule.action == AclAction::Accept && by_ports(rule)) {
            let mut seen = BTreeSet::new();
            let rules = numbered()
                .filter(|(rule, _)| rule.action == AclAction::Accept || !by_ports(rule))
                // The first of those that match the same decides.
                .filter(|(rule, _)| seen.insert(addresses_text(rule)))
                .map(|(rule, serial)| counted_rule(&addresses_text(rule), *serial, rule.action));
            chains.chain(&fragments, &rules.chain(last.iter().cloned()).collect::<Vec<_>>());
            forward.push(format!("meta nfproto {chain} {later_fragment} goto {fragments}"));
        } else {
            chains.chain(&fragments, &[]);
        }
        forward.push(format!("meta nfproto {chain} goto {chain}"));
    }
    chains.chain("forward", &forward);
    text.push_str(&chains.0);
    text.push_str("}\n");
    for name in stale {
        let _ = writeln!(text, "delete counter inet {TABLE} {name}");
    }
    text
}

/// First fragments go on if the last octet of their transport header is there: that of TCP without options, and eight octets of any other
/// protocol, which is what a fragment is counted in. Where the chain of headers before it is cut off, the kernel knows no protocol, and none of
/// the rules matches that lets one go on.
fn whole_headers() -> [String; 3] {
    [
        "meta l4proto tcp @th,152,8 >= 0 return".to_owned(),
        "meta l4proto != tcp @th,56,8 >= 0 return".to_owned(),
        counted(HEADLESS, "drop"),
    ]
}

/// What becomes of a packet that no rule matched.
fn last_rules(filter: &AclFilter, family: Family) -> Vec<String> {
    let mut rules = Vec::new();
    let action = filter.list(family).default_action;
    if action == AclAction::Drop {
        let vpc = Nets::new(filter.vpc_subnets.iter().filter(|subnet| Family::of_net(subnet) == family));
        let accept = counted(ERRORS, "accept");
        rules.extend(vpc.quoted_source(&accept));
        rules.extend(vpc.quoted_destination(&accept));
    }
    rules.push(counted(default_counter(family), verdict(action)));
    rules
}

fn counted_rule(matches: &str, serial: u64, action: AclAction) -> String {
    format!("{matches}{}", counted(&counter_name(serial), verdict(action)))
}

const fn verdict(action: AclAction) -> &'static str {
    match action {
        AclAction::Accept => "accept",
        AclAction::Drop => "drop",
    }
}

/// Everything that a rule says; equal for rules that do the same.
fn whole_text(rule: &AclRule) -> String {
    format!("{}{}{}", addresses_text(rule), ports_text(rule), verdict(rule.action))
}

/// Addresses and protocol, each with a space behind.
fn addresses_text(rule: &AclRule) -> String {
    let protocol = match rule.source {
        IpNet::V4(_) => "ip",
        IpNet::V6(_) => "ip6",
    };
    let mut text = String::new();
    for (field, net) in [("saddr", rule.source), ("daddr", rule.destination)] {
        if net.prefix_len() > 0 {
            let _ = write!(text, "{protocol} {field} {} ", net.trunc());
        }
    }
    text.push_str(match (rule.protocol, rule.source) {
        (AclProtocol::Any, _) => "",
        (AclProtocol::Tcp, _) => "meta l4proto tcp ",
        (AclProtocol::Udp, _) => "meta l4proto udp ",
        (AclProtocol::Icmp, IpNet::V4(_)) => "meta l4proto icmp ",
        (AclProtocol::Icmp, IpNet::V6(_)) => "meta l4proto ipv6-icmp ",
    });
    text
}

const fn by_ports(rule: &AclRule) -> bool {
    rule.protocol.has_ports() && !(rule.source_ports.is_any() && rule.destination_ports.is_any())
}

/// Ports, each range with a space behind. The protocol has been matched.
fn ports_text(rule: &AclRule) -> String {
    let mut text = String::new();
    if rule.protocol.has_ports() {
        for (field, range) in [("sport", rule.source_ports), ("dport", rule.destination_ports)] {
            if range.is_any() {
            } else if range.low == range.high {
                let _ = write!(text, "th {field} {} ", range.low);
            } else {
                let _ = write!(text, "th {field} {}-{} ", range.low, range.high);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(protocol: AclProtocol, source: &str, ports: (u16, u16), action: AclAction) -> AclRule {
        let source: IpNet = source.parse().expect("a prefix");
        let destination = if matches!(source, IpNet::V4(_)) { "10.0.0.0/8" } else { "::/0" };
        AclRule {
            protocol,
            source,
            source_ports: PortRange::ALL,
            destination: destination.parse().expect("a prefix"),
            destination_ports: PortRange { low: ports.0, high: ports.1 },
            action,
            description: None,
        }
    }

    fn filter() -> AclFilter {
        let rules = vec![
            rule(AclProtocol::Tcp, "192.0.2.7/24", (22, 22), AclAction::Accept),
            rule(AclProtocol::Tcp, "192.0.2.0/24", (80, 90), AclAction::Accept),
            rule(AclProtocol::Udp, "0.0.0.0/0", (53, 53), AclAction::Drop),
            rule(AclProtocol::Icmp, "192.0.2.0/24", (0, 0), AclAction::Accept),
            rule(AclProtocol::Any, "0.0.0.0/0", (0, 0), AclAction::Accept),
        ];
        let rules_v6 = vec![
            rule(AclProtocol::Icmp, "fd00::/64", (0, 0), AclAction::Drop),
            rule(AclProtocol::Any, "fd00::/64", (0, 65535), AclAction::Accept),
        ];
        AclFilter {
            ipv4: Acl { default_action: AclAction::Accept, rules },
            ipv6: Acl { default_action: AclAction::Drop, rules: rules_v6 },
            vpc_subnets: ["10.0.0.0/24", "fd00:1::/64"].map(|net| net.parse().expect("a prefix")).to_vec(),
        }
    }

    #[test]
    fn the_table() {
        let layout = Layout { ipv4: vec![1, 2, 3, 4, 5], ipv6: vec![7, 6] };
        let text = render(&filter(), &layout, &BTreeSet::from(["rule_9".to_owned()]));
        assert_eq!(text, include_str!("acl.nft"));
    }

    #[test]
    fn lists_that_can_not_be_are_named_by_their_rule() {
        let broken = |change: fn(&mut AclFilter)| {
            let mut filter = filter();
            change(&mut filter);
            filter.check().expect_err("broken").to_string()
        };
        assert!(filter().check().is_ok());
        let other = broken(|filter| filter.ipv4.rules[1].source = "fd00::/8".parse().expect("a prefix"));
        assert_eq!(other, "IPv4 access list, rule 2: the source is of the other family");
        let other = broken(|filter| filter.ipv6.rules[0].destination = "10.0.0.0/8".parse().expect("a prefix"));
        assert_eq!(other, "IPv6 access list, rule 1: the destination is of the other family");
        let ports = broken(|filter| filter.ipv4.rules[0].source_ports = PortRange { low: 2, high: 1 });
        assert_eq!(ports, "IPv4 access list, rule 1: the first port is above the last");
        let long = broken(|filter| filter.ipv4.rules = vec![filter.ipv4.rules[0].clone(); MAX_RULES + 1]);
        assert!(long.contains("more than 10,000 rules"), "{long}");
    }
}
