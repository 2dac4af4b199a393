//! Sets of prefixes as nftables matches.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Prefixes of both families, without overlap and in order, so that equal sets render to equal text and `nft` never meets an overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Nets {
    pub(super) v4: Vec<Ipv4Net>,
    pub(super) v6: Vec<Ipv6Net>,
}

impl Nets {
    pub(super) fn new<'a>(nets: impl IntoIterator<Item = &'a IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push(net.trunc()),
                IpNet::V6(net) => v6.push(net.trunc()),
            }
        }
        Self { v4: Ipv4Net::aggregate(&v4), v6: Ipv6Net::aggregate(&v6) }
    }

    /// What lies in both sets. Of two prefixes that share an address one contains the other.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut common = Vec::new();
        for a in &self.v4 {
            for b in &other.v4 {
                if a.contains(b) {
                    common.push(IpNet::V4(*b));
                } else if b.contains(a) {
                    common.push(IpNet::V4(*a));
                }
            }
        }
        for a in &self.v6 {
            for b in &other.v6 {
                if a.contains(b) {
                    common.push(IpNet::V6(*b));
                } else if b.contains(a) {
                    common.push(IpNet::V6(*a));
                }
            }
        }
        Self::new(&common)
    }

    /// Rules with `verdict` for packets whose address `field` (`saddr`, `daddr`) is in the set.
    pub(super) fn inside(&self, field: &str, verdict: &str) -> Vec<String> {
        [(Part::V4(&self.v4), "ip"), (Part::V6(&self.v6), "ip6")]
            .into_iter()
            .filter(|(part, _)| !part.is_empty())
            .map(|(part, protocol)| match part.elements() {
                None => format!("meta nfproto {} {verdict}", part.nfproto()),
                Some(elements) => format!("{protocol} {field} {{ {elements} }} {verdict}"),
            })
            .collect()
    }

    /// Rules with `verdict` for packets whose address `field` is not in the set.
    pub(super) fn outside(&self, field: &str, verdict: &str) -> Vec<String> {
        [(Part::V4(&self.v4), "ip"), (Part::V6(&self.v6), "ip6")]
            .into_iter()
            .filter_map(|(part, protocol)| match part.elements() {
                _ if part.is_empty() => Some(format!("meta nfproto {} {verdict}", part.nfproto())),
                None => None,
                Some(elements) => Some(format!("{protocol} {field} != {{ {elements} }} {verdict}")),
            })
            .collect()
    }

    /// Rules with `verdict` for ICMP errors whose quoted packet has a source in the set.
    pub(super) fn quoted_source(&self, verdict: &str) -> Vec<String> {
        // Eight octets of ICMP, then the quoted header with its source at 12 (IPv4) or 8 (IPv6).
        self.quoted((8 + 12) * 8, (8 + 8) * 8, verdict)
    }

    /// Rules with `verdict` for ICMP errors whose quoted packet has a destination in the set.
    pub(super) fn quoted_destination(&self, verdict: &str) -> Vec<String> {
        self.quoted((8 + 16) * 8, (8 + 24) * 8, verdict)
    }

    /// The quoted header has no field names in nftables, so its bits are compared with ranges of numbers.
    fn quoted(&self, bit_v4: u32, bit_v6: u32, verdict: &str) -> Vec<String> {
        let v4: Vec<_> = self
            .v4
            .iter()
            .map(|net| format!("0x{:08x}-0x{:08x}", net.network().to_bits(), net.broadcast().to_bits()))
            .collect();
        let v6: Vec<_> = self
            .v6
            .iter()
            .map(|net| format!("0x{:032x}-0x{:032x}", net.network().to_bits(), net.broadcast().to_bits()))
            .collect();
        let mut rules = Vec::new();
        if self.v4.iter().any(|net| net.prefix_len() == 0) {
            rules.push(format!("{} {verdict}", super::ERRORS_V4));
        } else if !v4.is_empty() {
            rules.push(format!("{} @th,{bit_v4},32 {{ {} }} {verdict}", super::ERRORS_V4, v4.join(", ")));
        }
        if self.v6.iter().any(|net| net.prefix_len() == 0) {
            rules.push(format!("{} {verdict}", super::ERRORS_V6));
        } else if !v6.is_empty() {
            rules.push(format!("{} @th,{bit_v6},128 {{ {} }} {verdict}", super::ERRORS_V6, v6.join(", ")));
        }
        rules
    }
}

enum Part<'a> {
    V4(&'a [Ipv4Net]),
    V6(&'a [Ipv6Net]),
}

impl Part<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Self::V4(nets) => nets.is_empty(),
            Self::V6(nets) => nets.is_empty(),
        }
    }

    const fn nfproto(&self) -> &'static str {
        match self {
            Self::V4(_) => "ipv4",
            Self::V6(_) => "ipv6",
        }
    }

    /// The elements of a set; `None` when every address is in it, which `nft` has no element for in all versions.
    fn elements(&self) -> Option<String> {
        let elements: Vec<_> = match self {
            Self::V4(nets) if nets.iter().any(|net| net.prefix_len() == 0) => return None,
            Self::V6(nets) if nets.iter().any(|net| net.prefix_len() == 0) => return None,
            Self::V4(nets) => nets.iter().map(ToString::to_string).collect(),
            Self::V6(nets) => nets.iter().map(ToString::to_string).collect(),
        };
        Some(elements.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Nets {
        let nets: Vec<IpNet> = texts.iter().map(|text| text.parse().expect("a prefix")).collect();
        Nets::new(&nets)
    }

    #[test]
    fn overlaps_merge() {
        assert_eq!(
            nets(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.128/25", "fd00::1/64"]),
            nets(&["fd00::/64", "10.0.0.0/23"])
        );
    }

    #[test]
    fn intersection_takes_the_longer_of_two_that_overlap() {
        let vpc = nets(&["10.0.0.0/16", "192.168.5.0/24", "fd00:1::/48"]);
        let announced = nets(&["10.0.3.0/24", "192.168.0.0/16", "::/0", "172.16.0.0/12"]);
        let common = nets(&["10.0.3.0/24", "192.168.5.0/24", "fd00:1::/48"]);
        assert_eq!(vpc.intersection(&announced), common);
        assert_eq!(announced.intersection(&vpc), common);
        assert_eq!(vpc.intersection(&Nets::default()), Nets::default());
    }

    #[test]
    fn everything_and_nothing_have_rules_of_their_own() {
        assert_eq!(nets(&["0.0.0.0/0"]).outside("saddr", "drop"), ["meta nfproto ipv6 drop"]);
        assert_eq!(nets(&["0.0.0.0/0"]).inside("saddr", "drop"), ["meta nfproto ipv4 drop"]);
        assert_eq!(Nets::default().outside("saddr", "drop"), ["meta nfproto ipv4 drop", "meta nfproto ipv6 drop"]);
        assert!(Nets::default().inside("saddr", "drop").is_empty());
        assert!(Nets::default().quoted_source("accept").is_empty());
        let every = nets(&["0.0.0.0/0"]).quoted_source("accept");
        assert!(every.len() == 1 && !every[0].contains("@th"), "{every:?}");
    }
}
