//! Traffic Selector payloads (RFC 7296 §3.13).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use causeway_model::Family;

use super::{DecodeError, Reader, length_field};

const TS_IPV4_ADDR_RANGE: u8 = 7;
const TS_IPV6_ADDR_RANGE: u8 = 8;

/// One traffic selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    /// An address range.
    Range {
        /// IP protocol; 0 is any.
        protocol: u8,
        /// First and last port.
        ports: (u16, u16),
        /// First and last address, of one family.
        addresses: (IpAddr, IpAddr),
    },
    /// A type that we do not know.
    Unknown(u8),
}

impl Selector {
    /// Everything of one family.
    pub(crate) const fn all(family: Family) -> Self {
        let addresses = match family {
            Family::Ipv4 => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::BROADCAST)),
            Family::Ipv6 => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::from_bits(u128::MAX))),
        };
        Self::Range { protocol: 0, ports: (0, u16::MAX), addresses }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Range { protocol, ports, addresses: (first, last) } = *self else {
            return f.write_str("unknown selector");
        };
        let (low, high, width) = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => (u128::from(first.to_bits()), u128::from(last.to_bits()), 32u32),
            (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits(), 128),
            _ => return f.write_str("mixed families"),
        };
        let differing = low ^ high;
        // A prefix: the differing bits are all low ones, clear in the first address and set in the last.
        if differing & differing.wrapping_add(1) == 0 && low & differing == 0 {
            write!(f, "{first}/{}", width - differing.count_ones())?;
        } else {
            write!(f, "{first}-{last}")?;
        }
        if protocol != 0 || ports != (0, u16::MAX) {
            write!(f, "[{protocol}/{}-{}]", ports.0, ports.1)?;
        }
        Ok(())
    }
}

/// A list of selectors as text: `0.0.0.0/0,::/0`.
pub(crate) fn describe(selectors: &[Selector]) -> String {
    selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Reads a TS payload's body.
pub(crate) fn decode(body: &[u8]) -> Result<Vec<Selector>, DecodeError> {
    let mut reader = Reader::new(body);
    let count = reader.u8()?;
    reader.take(3)?;
    let mut selectors = Vec::new();
    for _ in 0..count {
        let kind = reader.u8()?;
        let protocol = reader.u8()?;
        let length = usize::from(reader.u16()?);
        let mut inner = Reader::new(reader.take(length.checked_sub(4).ok_or(DecodeError::Length)?)?);
        selectors.push(match kind {
            TS_IPV4_ADDR_RANGE | TS_IPV6_ADDR_RANGE => {
                let ports = (inner.u16()?, inner.u16()?);
                let addresses = if kind == TS_IPV4_ADDR_RANGE {
                    (IpAddr::from(inner.array::<4>()?), IpAddr::from(inner.array::<4>()?))
                } else {
                    (IpAddr::from(inner.array::<16>()?), IpAddr::from(inner.array::<16>()?))
                };
                if !inner.is_empty() {
                    return Err(DecodeError::Length);
                }
                Selector::Range { protocol, ports, addresses }
            }
            other => Selector::Unknown(other),
        });
    }
    if selectors.is_empty() || !reader.is_empty() { Err(DecodeError::Value("TS")) } else { Ok(selectors) }
}

/// Writes a TS payload's body.
pub(crate) fn encode(selectors: &[Selector]) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0];
    let mut count = 0u8;
    for selector in selectors {
        let Selector::Range { protocol, ports, addresses } = *selector else { continue };
        let (kind, octets) = match addresses {
            (IpAddr::V4(first), IpAddr::V4(last)) => (TS_IPV4_ADDR_RANGE, [first.octets(), last.octets()].concat()),
            (IpAddr::V6(first), IpAddr::V6(last)) => (TS_IPV6_ADDR_RANGE, [first.octets(), last.octets()].concat()),
            _ => continue,
        };
        out.extend_from_slice(&[kind, protocol]);
        out.extend_from_slice(&length_field(8 + octets.len()));
        out.extend_from_slice(&ports.0.to_be_bytes());
        out.extend_from_slice(&ports.1.to_be_bytes());
        out.extend_from_slice(&octets);
        count = count.saturating_add(1);
    }
    out[0] = count;
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn everything_round_trips_and_reads_well() {
        let all = [Selector::all(Family::Ipv4), Selector::all(Family::Ipv6)];
        assert_eq!(decode(&encode(&all)), Ok(all.to_vec()));
        assert_eq!(describe(&all), "0.0.0.0/0,::/0");
    }

    #[test]
    fn prefixes_ranges_and_ports_are_told_apart() {
        let range = |first: &str, last: &str| Selector::Range {
            protocol: 0,
            ports: (0, u16::MAX),
            addresses: (first.parse().expect("address"), last.parse().expect("address")),
        };
        assert_eq!(range("10.0.0.0", "10.0.0.255").to_string(), "10.0.0.0/24");
        assert_eq!(range("10.0.0.1", "10.0.0.1").to_string(), "10.0.0.1/32");
        assert_eq!(range("10.0.0.1", "10.0.0.255").to_string(), "10.0.0.1-10.0.0.255");
        let port = Selector::Range {
            protocol: 17,
            ports: (53, 53),
            addresses: (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()),
        };
        assert_eq!(port.to_string(), "127.0.0.1/32[17/53-53]");
        assert_eq!(decode(&encode(&[port])), Ok(vec![port]));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(selectors) = decode(&bytes) {
                prop_assert!(selectors.len() <= 255);
                let _ = describe(&selectors);
            }
        }

        #[test]
        fn any_prefix_is_refused(cut in 0usize..60) {
            let bytes = encode(&[Selector::all(Family::Ipv4), Selector::all(Family::Ipv6)]);
            prop_assert!(decode(&bytes[..cut.min(bytes.len() - 1)]).is_err());
        }
    }
}
