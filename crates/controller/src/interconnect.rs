//! Interconnection subnets: the inside of a connection, from which both BGP speakers have their address (system.md §5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_model::Family;
use causeway_model::command::NewBgp;
use causeway_model::error::ArgumentErrors;
use causeway_model::error::ArgumentReason::Constraint;
use causeway_store::TakenUnits;
use ipnet::{IpNet, Ipv4Net};

use crate::address::{address, number, overlap};

const LINK_LOCAL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);
/// Cloud metadata services live here.
const METADATA: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 169, 0), 24);

/// Addresses of an allotted subnet: a /30 or /126.
const SIZE: u128 = 4;

/// Our address and the customer's, with the subnet's mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) ours: IpNet,
    pub(crate) theirs: IpNet,
}

/// The service's own range, of which the IPv6 block is a part: no Private Network may have any of it.
pub(crate) fn own_range(service_ula: [u8; 6]) -> IpNet {
    IpNet::new_assert(block(Family::Ipv6, service_ula).addr(), 48)
}

/// The block that subnets of a family are allotted from.
fn block(family: Family, service_ula: [u8; 6]) -> IpNet {
    match family {
        Family::Ipv4 => IpNet::V4(LINK_LOCAL),
        Family::Ipv6 => {
            let [a, b, c, d, e, f] = service_ula;
            let network = Ipv6Addr::from([a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            IpNet::new_assert(IpAddr::V6(network), 64)
        }
    }
}

/// What is in use at either gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken<'a> {
    /// The first addresses of the pairs of addresses.
    Pairs(&'a [IpAddr]),
    /// As many addresses from the beginning of the block on, without a gap.
    Through(u128),
}

impl Taken<'_> {
    /// What is known without a look at each pair: that there are no gaps. `None`: there may be some.
    pub(crate) fn without_gaps(family: Family, service_ula: [u8; 6], gateways: [TakenUnits; 2]) -> Option<Self> {
        let begin = number(block(family, service_ula).network());
        let mut through = 0;
        for TakenUnits { count, first, last } in gateways {
            let (Some(first), Some(last)) = (first, last) else { continue };
            let taken = u128::from(count) * 2;
            if number(first) != begin || number(last) + 2 != begin + taken {
                return None;
            }
            through = taken.max(through);
        }
        Some(Self::Through(through))
    }
}

/// The lowest free subnet. What overlaps one of `vpc_subnets` is not free either.
pub(crate) fn allot(family: Family, service_ula: [u8; 6], taken: Taken<'_>, vpc_subnets: &[IpNet]) -> Option<Pair> {
    let block = block(family, service_ula);
    let last = number(block.broadcast());
    let skip = IpNet::V4(METADATA);
    let mut candidate = number(block.network());
    let mut pairs = Vec::new();
    match taken {
        Taken::Pairs(taken) => pairs.extend(taken.iter().map(|address| number(*address))),
        Taken::Through(count) => candidate = candidate.checked_add(count.div_ceil(SIZE) * SIZE)?,
    }
    pairs.sort_unstable();
    while candidate.checked_add(SIZE - 1)? <= last {
        let at = pairs.partition_point(|used| *used < candidate);
        let used = pairs.get(at).is_some_and(|used| *used < candidate + SIZE);
        let mask = family.max_prefix_len() - 2;
        let net = |host: u128| IpNet::new(address(candidate + host, &block)?, mask).ok();
        let reserved = family == Family::Ipv4 && skip.contains(&address(candidate, &block)?);
        let whole = net(0)?;
        match vpc_subnets.iter().find(|subnet| overlap(subnet, &whole)) {
            // Nothing within it is free; the subnet itself may be large.
            Some(subnet) => candidate = number(subnet.broadcast()).max(candidate + SIZE - 1).checked_add(1)?,
            None if used || reserved => candidate += SIZE,
            None => return Some(Pair { ours: net(1)?, theirs: net(2)? }),
        }
    }
    None
}

/// The other host of a subnet that has two.
fn partner(own: &IpNet) -> Option<IpNet> {
    let first = number(own.network());
    let offset = number(own.addr()) - first;
    let other = match (own.max_prefix_len() - own.prefix_len(), offset) {
        (1, 0 | 1) => 1 - offset,
        (2, 1 | 2) => 3 - offset,
        _ => return None,
    };
    IpNet::new(address(first + other, own)?, own.prefix_len()).ok()
}

/// What a tenant chose, checked for itself; whether it is free is another question. `None`: nothing was chosen, or it is wrong and
/// `errors` says how.
pub(crate) fn chosen(
    family: Family,
    wish: &NewBgp,
    vpc_subnets: &[IpNet],
    errors: &mut ArgumentErrors,
) -> Option<Pair> {
    let field = format!("bgp_config_{}", if family.is_ipv6() { "ipv6" } else { "ipv4" });
    let (ours, theirs) = match (wish.private_ip, wish.peer_private_ip) {
        (None, None) => return None,
        (Some(ours), theirs) => (ours, theirs),
        (None, Some(theirs)) => match partner(&theirs) {
            Some(ours) => (ours, Some(theirs)),
            // Whatever is wrong with the peer's address is reported below.
            None => (theirs, Some(theirs)),
        },
    };
    let lengths = if family.is_ipv6() { "/126 or /127" } else { "/30 or /31" };
    let before = errors.len();
    for (name, net) in [("private_ip", Some(ours).filter(|_| wish.private_ip.is_some())), ("peer_private_ip", theirs)] {
        let Some(net) = net else { continue };
        let name = format!("{field}.{name}");
        if Family::of_net(&net) != family {
            errors.push(name, Constraint, format!("not an {family} address"));
        } else if !(1..=2).contains(&(net.max_prefix_len() - net.prefix_len())) {
            errors.push(name, Constraint, format!("the interconnection subnet must be a {lengths}"));
        } else if partner(&net).is_none() {
            errors.push(name, Constraint, format!("{} is not a host address of {}", net.addr(), net.trunc()));
        } else if !is_allowed(&net) {
            let help = match family {
                Family::Ipv4 => "choose it from 169.254.0.0/16 without 169.254.169.0/24",
                Family::Ipv6 => "choose it from fc00::/7",
            };
            errors.push(name, Constraint, help);
        } else if let Some(subnet) = vpc_subnets.iter().find(|subnet| overlap(subnet, &net)) {
            errors.push(
                name,
                Constraint,
                format!("{} overlaps {subnet}, a subnet or a custom route of the VPC", net.trunc()),
            );
        }
    }
    if errors.len() > before {
        return None;
    }
    let theirs = theirs.or_else(|| partner(&ours))?;
    if ours.trunc() != theirs.trunc() {
        errors.push(format!("{field}.peer_private_ip"), Constraint, format!("not in the same subnet as {ours}"));
        return None;
    }
    if ours.addr() == theirs.addr() {
        errors.push(format!("{field}.peer_private_ip"), Constraint, "both sides have the same address");
        return None;
    }
    Some(Pair { ours, theirs })
}

fn is_allowed(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => LINK_LOCAL.contains(net) && !METADATA.contains(net),
        IpNet::V6(net) => net.addr().is_unique_local(),
    }
}

/// Whether a chosen subnet is free. `taken` has the first addresses of the pairs of addresses in use at either gateway.
pub(crate) fn is_free(pair: &Pair, taken: &[IpAddr]) -> bool {
    // `taken` has one entry for each two addresses, and every subnet begins at such an entry's boundary.
    let (first, last) = (number(pair.ours.network()), number(pair.ours.broadcast()));
    !taken.iter().map(|address| number(*address)).any(|used| (first..=last).contains(&used))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ULA: [u8; 6] = [0xfd, 1, 2, 3, 4, 5];

    fn wish(ours: Option<&str>, theirs: Option<&str>) -> NewBgp {
        let net = |text: &str| text.parse().expect("a prefix");
        NewBgp { routing_policy_id: None, private_ip: ours.map(net), peer_private_ip: theirs.map(net) }
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    fn texts(pair: Option<Pair>) -> Option<(String, String)> {
        pair.map(|pair| (pair.ours.to_string(), pair.theirs.to_string()))
    }

    fn both(ours: &str, theirs: &str) -> Option<(String, String)> {
        Some((ours.to_owned(), theirs.to_owned()))
    }

    #[test]
    fn the_lowest_free_subnet_is_allotted() {
        assert_eq!(texts(allot(Family::Ipv4, ULA, Taken::Pairs(&[]), &[])), both("169.254.0.1/30", "169.254.0.2/30"));
        // A /31 in the second half of the first /30 takes it too.
        let taken = ips(&["169.254.0.2", "169.254.0.8", "169.254.0.10"]);
        assert_eq!(
            texts(allot(Family::Ipv4, ULA, Taken::Pairs(&taken), &[])),
            both("169.254.0.5/30", "169.254.0.6/30")
        );
        assert_eq!(
            texts(allot(Family::Ipv6, ULA, Taken::Pairs(&ips(&["fd01:203:405::", "fd01:203:405::2"])), &[])),
            both("fd01:203:405::5/126", "fd01:203:405::6/126")
        );
    }

    /// What is known without a look at each pair leads to the same subnet, and where it would not, it is not known.
    #[test]
    fn without_gaps_nothing_has_to_be_looked_at_in_full() {
        let base = number(block(Family::Ipv4, ULA).network());
        let ipv4 = |units: &[u32]| -> Vec<IpAddr> {
            let block = block(Family::Ipv4, ULA);
            units.iter().filter_map(|unit| address(base + u128::from(*unit) * 2, &block)).collect()
        };
        let units = |taken: &[IpAddr]| TakenUnits {
            count: u64::try_from(taken.len()).expect("few"),
            first: taken.iter().min().copied(),
            last: taken.iter().max().copied(),
        };
        let many: Vec<u32> = (0..0x8000).collect();
        let sets: [&[u32]; 8] = [&[], &[0], &[0, 1], &[0, 1, 2], &[1], &[0, 2], &[0, 1, 4, 5], &many];
        let mut known = 0;
        for ours in sets.map(ipv4) {
            for theirs in sets.map(ipv4) {
                let gateways = [units(&ours), units(&theirs)];
                let both = [ours.as_slice(), theirs.as_slice()].concat();
                let Some(without) = Taken::without_gaps(Family::Ipv4, ULA, gateways) else { continue };
                known += 1;
                let expected = allot(Family::Ipv4, ULA, Taken::Pairs(&both), &[]);
                assert_eq!(allot(Family::Ipv4, ULA, without, &[]), expected, "{gateways:?}");
            }
        }
        assert_eq!(known, 25, "of the five sets without a gap, each with each");
    }

    #[test]
    fn what_overlaps_the_vpc_is_not_allotted() {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let own = "fd01:203:405::";
        let subnets = [net("10.0.0.0/8"), net("fd01:203:405::/127"), net("fd01:203:405::100/120")];
        assert_eq!(
            texts(allot(Family::Ipv6, ULA, Taken::Pairs(&[]), &subnets)),
            both("fd01:203:405::5/126", "fd01:203:405::6/126"),
            "a subnet smaller than ours takes all of it"
        );
        let below: Vec<IpAddr> = (0..0x100).step_by(2).map(|at| format!("{own}{at:x}").parse().expect("one")).collect();
        assert_eq!(
            texts(allot(Family::Ipv6, ULA, Taken::Pairs(&below), &subnets)),
            both("fd01:203:405::201/126", "fd01:203:405::202/126")
        );
        assert_eq!(allot(Family::Ipv6, ULA, Taken::Pairs(&[]), &[net("fd01:203:405::/48")]), None);
        assert_eq!(allot(Family::Ipv6, ULA, Taken::Pairs(&[]), &[net("::/0")]), None);
        assert!(own_range(ULA).contains(&net("fd01:203:405::/64")) && own_range(ULA).prefix_len() == 48);
    }

    #[test]
    fn the_metadata_range_is_left_out_and_the_block_ends() {
        let until: Vec<IpAddr> = (0..169 * 256).step_by(2).map(|at| Ipv4Addr::from(0xa9fe_0000 + at).into()).collect();
        assert_eq!(
            texts(allot(Family::Ipv4, ULA, Taken::Pairs(&until), &[])),
            both("169.254.170.1/30", "169.254.170.2/30")
        );
        let all: Vec<IpAddr> = (0..=0xffff).step_by(2).map(|at| Ipv4Addr::from(0xa9fe_0000_u32 + at).into()).collect();
        assert_eq!(allot(Family::Ipv4, ULA, Taken::Pairs(&all), &[]), None);
    }

    #[test]
    fn one_side_implies_the_other() {
        for (ours, theirs) in [
            (Some("169.254.7.1/30"), Some("169.254.7.2/30")),
            (Some("169.254.7.1/30"), None),
            (None, Some("169.254.7.2/30")),
        ] {
            let mut errors = ArgumentErrors::new();
            let pair = chosen(Family::Ipv4, &wish(ours, theirs), &[], &mut errors);
            assert_eq!(texts(pair), both("169.254.7.1/30", "169.254.7.2/30"));
        }
        let mut errors = ArgumentErrors::new();
        let pair = chosen(Family::Ipv6, &wish(Some("fd00::1/127"), None), &[], &mut errors);
        assert_eq!(texts(pair), both("fd00::1/127", "fd00::/127"));
        assert!(errors.is_empty());
    }

    #[test]
    fn wrong_choices_are_named() {
        let cases = [
            (Family::Ipv4, Some("169.254.7.0/30"), None, "private_ip"),
            (Family::Ipv4, Some("169.254.7.3/30"), Some("169.254.7.2/30"), "private_ip"),
            (Family::Ipv4, Some("169.254.7.1/29"), Some("169.254.7.2/29"), "private_ip"),
            (Family::Ipv4, Some("169.254.7.1/32"), None, "private_ip"),
            (Family::Ipv4, Some("fd00::1/126"), None, "private_ip"),
            (Family::Ipv4, Some("169.254.169.1/30"), None, "private_ip"),
            (Family::Ipv4, Some("192.0.2.1/30"), None, "private_ip"),
            (Family::Ipv4, None, Some("169.254.7.0/30"), "peer_private_ip"),
            (Family::Ipv4, Some("169.254.7.1/30"), Some("169.254.7.6/30"), "peer_private_ip"),
            (Family::Ipv4, Some("169.254.7.1/30"), Some("169.254.7.1/30"), "peer_private_ip"),
            (Family::Ipv4, Some("169.254.7.1/30"), Some("169.254.7.0/31"), "peer_private_ip"),
            (Family::Ipv6, Some("fd00::4/126"), None, "private_ip"),
            (Family::Ipv6, Some("2001:db8::1/126"), None, "private_ip"),
            (Family::Ipv6, Some("fd99::1/126"), None, "private_ip"),
        ];
        let subnets = ["fd99::/64".parse().expect("a prefix")];
        for (family, ours, theirs, field) in cases {
            let mut errors = ArgumentErrors::new();
            assert_eq!(chosen(family, &wish(ours, theirs), &subnets, &mut errors), None, "{ours:?} {theirs:?}");
            let Err(causeway_model::Error::InvalidArguments(errors)) = errors.finish() else {
                panic!("{ours:?} {theirs:?} passed");
            };
            assert!(errors[0].name.ends_with(&format!(".{field}")), "{ours:?} {theirs:?}: {errors:?}");
        }
    }

    #[test]
    fn overlap_is_seen_across_mask_lengths() {
        let mut errors = ArgumentErrors::new();
        let pair = chosen(Family::Ipv4, &wish(Some("169.254.7.1/30"), None), &[], &mut errors).expect("valid");
        assert!(!is_free(&pair, &ips(&["169.254.7.2"])));
        assert!(is_free(&pair, &ips(&["169.254.7.4", "169.254.6.254"])));
    }
}
