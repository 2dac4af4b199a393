//! Telling a link where an address lives now: gratuitous ARP (RFC 5227 §3) and unsolicited neighbour advertisements
//! (RFC 4861 §7.2.6).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Error, Link, Namespace, Result, sys};

const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const BROADCAST: [u8; 6] = [0xff; 6];
/// The Ethernet address of ff02::1 (RFC 2464 §7).
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ICMPV6: u8 = 58;

/// Tells everybody on `link`, a link of `namespace` that is up and has an Ethernet address, that `addresses` are there. IPv4 addresses
/// are announced in both forms, request and reply, since neighbours differ in which they heed. Frames get lost: say it again
/// after a second, and once more.
///
/// # Errors
/// The link is not Ethernet or gone, or the kernel's error.
pub fn announce(namespace: &Namespace, link: &Link, addresses: &[IpAddr]) -> Result<()> {
    namespace.run(|| announce_here(link, addresses))?
}

/// [`announce()`] in the calling thread's namespace.
///
/// # Errors
/// As there.
pub fn announce_here(link: &Link, addresses: &[IpAddr]) -> Result<()> {
    let failed = |error: io::Error| Error::os(format!("announce addresses on {}", link.name), error);
    let mac: [u8; 6] =
        link.mac.as_slice().try_into().map_err(|_| failed(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)))?;
    let socket = sys::frame_socket().map_err(failed)?;
    let send = |frame: Vec<u8>| sys::send_frame(&socket, link.index, &frame).map_err(failed);
    for address in addresses {
        match address {
            IpAddr::V4(address) => {
                send(gratuitous_arp(mac, *address, ArpForm::Request))?;
                send(gratuitous_arp(mac, *address, ArpForm::Reply))?;
            }
            IpAddr::V6(address) => send(neighbour_advertisement(mac, *address))?,
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum ArpForm {
    Request = 1,
    Reply = 2,
}

fn gratuitous_arp(mac: [u8; 6], address: Ipv4Addr, form: ArpForm) -> Vec<u8> {
    let target_mac = match form {
        ArpForm::Request => [0; 6],
        ArpForm::Reply => BROADCAST,
    };
    [
        BROADCAST.as_slice(),
        &mac,
        &ETHERTYPE_ARP,
        // Ethernet, IPv4, six and four octets of address.
        &[0, 1, 8, 0, 6, 4],
        &[0, form as u8],
        &mac,
        &address.octets(),
        &target_mac,
        &address.octets(),
    ]
    .concat()
}

/// With the router and override flags: these addresses are a router's, and older entries shall go.
fn neighbour_advertisement(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let mut icmp = [[136, 0, 0, 0, 0xa0, 0, 0, 0].as_slice(), &address.octets(), &[2, 1], &mac].concat();
    let checksum = icmpv6_checksum(address, ALL_NODES, &icmp);
    icmp.splice(2..4, checksum.to_be_bytes());
    let length = u16::try_from(icmp.len()).unwrap_or(0).to_be_bytes();
    [
        ALL_NODES_MAC.as_slice(),
        &mac,
        &ETHERTYPE_IPV6,
        &[0x60, 0, 0, 0],
        &length,
        // Neighbour discovery is believed only with a hop limit that no router has touched.
        &[ICMPV6, 255],
        &address.octets(),
        &ALL_NODES.octets(),
        &icmp,
    ]
    .concat()
}

/// The Internet checksum over the pseudo-header of RFC 8200 §8.1 and `message`, whose checksum field is zero.
fn icmpv6_checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let words = source.segments().into_iter().chain(destination.segments()).map(u32::from);
    let payload = message.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut sum = words.chain(payload).fold(u32::from(ICMPV6).wrapping_add(length), u32::wrapping_add);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    #[test]
    fn arp_names_the_address_as_sender_and_target() {
        let frame = gratuitous_arp(MAC, Ipv4Addr::new(10, 0, 0, 1), ArpForm::Request);
        let expected =
            "ffffffffffff 020000000007 0806 0001 0800 06 04 0001 020000000007 0a000001 000000000000 0a000001";
        assert_eq!(hex(&frame), expected.replace(' ', ""));
        let reply = gratuitous_arp(MAC, Ipv4Addr::new(10, 0, 0, 1), ArpForm::Reply);
        assert_eq!(reply.get(20..22), Some([0, 2].as_slice()));
        assert_eq!(reply.get(32..38), Some(BROADCAST.as_slice()));
    }

    #[test]
    fn advertisement_carries_a_right_checksum() {
        let address = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
        let frame = neighbour_advertisement(MAC, address);
        assert_eq!(frame.len(), 14 + 40 + 32);
        // A receiver sums the message as it is; the complement of a right sum is zero.
        assert_eq!(icmpv6_checksum(address, ALL_NODES, frame.get(54..).expect("ICMPv6")), 0);
        assert_ne!(frame.get(56..58), Some([0, 0].as_slice()));
        assert_eq!(frame.get(58), Some(&0xa0));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
