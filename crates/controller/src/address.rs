//! Choosing addresses and prefixes: pure functions over what is taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Where allotted Private Network subnets come from, and how long their prefixes are.
const PRIVATE_IPV4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12);
const PRIVATE_IPV4_LEN: u8 = 22;

/// The address as a number.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address of that number, in the family of `like`.
pub(crate) fn address(number: u128, like: &IpNet) -> Option<IpAddr> {
    match like {
        IpNet::V4(_) => u32::try_from(number).ok().map(|number| IpAddr::V4(number.into())),
        IpNet::V6(_) => Some(IpAddr::V6(Ipv6Addr::from(number))),
    }
}

/// First and last address that may be handed out: the network itself, the router's `.1`, and IPv4's broadcast are not.
fn bookable(prefix: &IpNet) -> (u128, u128) {
    let (first, last) = (number(prefix.network()), number(prefix.broadcast()));
    match prefix {
        IpNet::V4(_) => (first.saturating_add(2), last.saturating_sub(1)),
        IpNet::V6(_) => (first.saturating_add(2), last),
    }
}

/// Whether an address of a prefix may be handed out.
pub(crate) fn is_bookable(prefix: &IpNet, wished: IpAddr) -> bool {
    let (first, last) = bookable(prefix);
    prefix.contains(&wished) && (first..=last).contains(&number(wished))
}

/// The lowest address of a prefix that may be handed out and is not in `taken`, which is in order.
pub(crate) fn lowest_free(prefix: &IpNet, taken: &[IpAddr]) -> Option<IpAddr> {
    let (first, last) = bookable(prefix);
    let mut candidate = first;
    for taken in taken.iter().map(|address| number(*address)) {
        if taken > candidate {
            break;
        }
        if taken == candidate {
            candidate = candidate.checked_add(1)?;
        }
    }
    if candidate > last { None } else { address(candidate, prefix) }
}

/// Whether two prefixes have an address in common.
pub(crate) fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// A free /22 of 172.16.0.0/12.
pub(crate) fn free_ipv4_subnet(taken: &[IpNet]) -> Option<IpNet> {
    let mut candidates = PRIVATE_IPV4.subnets(PRIVATE_IPV4_LEN).ok()?;
    candidates.find_map(|candidate| {
        let candidate = IpNet::V4(candidate);
        (!taken.iter().any(|other| overlap(other, &candidate))).then_some(candidate)
    })
}

/// A free /64 of a project's /48.
pub(crate) fn free_ipv6_subnet(ula: [u8; 6], taken: &[IpNet]) -> Option<IpNet> {
    let [a, b, c, d, e, f] = ula;
    (1..=u16::MAX).find_map(|id| {
        let [g, h] = id.to_be_bytes();
        let network = Ipv6Addr::from([a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0]);
        let candidate = IpNet::V6(Ipv6Net::new(network, 64).ok()?);
        (!taken.iter().any(|other| overlap(other, &candidate))).then_some(candidate)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_first_host_is_2_and_gaps_are_filled() {
        let prefix = net("10.0.0.0/29");
        assert_eq!(lowest_free(&prefix, &[]), Some(ip("10.0.0.2")));
        assert_eq!(lowest_free(&prefix, &[ip("10.0.0.2"), ip("10.0.0.4")]), Some(ip("10.0.0.3")));
        assert_eq!(lowest_free(&prefix, &[ip("10.0.0.3")]), Some(ip("10.0.0.2")));
        let all: Vec<_> = (2..=6).map(|host| ip(&format!("10.0.0.{host}"))).collect();
        assert_eq!(lowest_free(&prefix, &all), None);
        assert_eq!(lowest_free(&net("fd00::/64"), &[ip("fd00::2")]), Some(ip("fd00::3")));
    }

    #[test]
    fn network_router_and_broadcast_are_not_handed_out() {
        let prefix = net("10.0.0.0/29");
        for host in ["10.0.0.0", "10.0.0.1", "10.0.0.7", "10.0.0.8"] {
            assert!(!is_bookable(&prefix, ip(host)), "{host}");
        }
        assert!(is_bookable(&prefix, ip("10.0.0.6")));
        assert!(!is_bookable(&net("fd00::/64"), ip("fd00::1")));
        assert_eq!(lowest_free(&net("10.0.0.0/31"), &[]), None);
        assert_eq!(lowest_free(&net("10.0.0.0/32"), &[]), None);
    }

    #[test]
    fn subnets_avoid_what_is_taken() {
        assert_eq!(free_ipv4_subnet(&[]), Some(net("172.16.0.0/22")));
        assert_eq!(free_ipv4_subnet(&[net("172.16.0.0/16"), net("172.17.1.0/24")]), Some(net("172.17.4.0/22")));
        assert_eq!(free_ipv4_subnet(&[net("172.0.0.0/8")]), None);
        let ula = [0xfd, 1, 2, 3, 4, 5];
        assert_eq!(free_ipv6_subnet(ula, &[net("fd01:203:405:1::/64")]), Some(net("fd01:203:405:2::/64")));
    }
}
