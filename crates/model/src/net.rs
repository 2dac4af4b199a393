//! Address families and the few address facts that several layers share.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// An IP family: of a tunnel's outside, of a BGP session, of a routing policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both families, IPv4 first: the order in which tunnels are preferred and documents list them.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The family of `address`.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// The family of `net`.
    #[must_use]
    pub const fn of_net(net: &IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::Ipv4,
            IpNet::V6(_) => Self::Ipv6,
        }
    }

    /// From the API's `is_ipv6`.
    #[must_use]
    pub const fn from_is_ipv6(is_ipv6: bool) -> Self {
        if is_ipv6 { Self::Ipv6 } else { Self::Ipv4 }
    }

    /// To the API's `is_ipv6`.
    #[must_use]
    pub const fn is_ipv6(self) -> bool {
        matches!(self, Self::Ipv6)
    }

    /// Bits of a host prefix: 32 or 128.
    #[must_use]
    pub const fn max_prefix_len(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// Whether `prefix` passes a whitelist: it lies within one of `ranges` (longer prefixes included); a default route passes
/// only if the list names it itself (system.md §2.2).
#[must_use]
pub fn whitelist_admits(ranges: &[IpNet], prefix: &IpNet) -> bool {
    whitelist_entry(ranges, prefix).is_some()
}

/// The entry of `ranges` that admits `prefix`, for explanations. See [`whitelist_admits`].
#[must_use]
pub fn whitelist_entry<'a>(ranges: &'a [IpNet], prefix: &IpNet) -> Option<&'a IpNet> {
    ranges
        .iter()
        .find(|range| Family::of_net(range) == Family::of_net(prefix) && range.trunc().contains(&prefix.trunc()))
}

/// The first host address of a Private Network's subnet, with its mask: that of the VPC's router (system.md §2.9).
#[must_use]
pub fn router_address(subnet: &IpNet) -> IpNet {
    let first = match subnet.network() {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from(u32::from(address).saturating_add(1))),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address).saturating_add(1))),
    };
    IpNet::new_assert(first, subnet.prefix_len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    #[test]
    fn longer_prefixes_pass_and_shorter_do_not() {
        let list = [net("10.0.0.0/16"), net("fd00::/8")];
        assert!(whitelist_admits(&list, &net("10.0.3.0/24")));
        assert!(whitelist_admits(&list, &net("10.0.0.0/16")));
        assert!(!whitelist_admits(&list, &net("10.0.0.0/15")));
        assert!(!whitelist_admits(&list, &net("2001:db8::/32")));
        assert!(whitelist_admits(&list, &net("fd12::/48")));
    }

    #[test]
    fn the_router_has_the_first_address() {
        for (subnet, first) in [("10.1.7.0/22", "10.1.4.1/22"), ("fd00:1::7/64", "fd00:1::1/64")] {
            assert_eq!(router_address(&net(subnet)), net(first));
        }
    }

    #[test]
    fn a_default_route_needs_its_own_entry() {
        assert!(!whitelist_admits(&[net("0.0.0.0/1"), net("128.0.0.0/1")], &net("0.0.0.0/0")));
        assert!(whitelist_admits(&[net("0.0.0.0/0")], &net("0.0.0.0/0")));
        assert!(!whitelist_admits(&[net("0.0.0.0/0")], &net("::/0")));
    }
}
