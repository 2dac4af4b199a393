//! Packets through a Child SA: an echo request that we seal, and the echo reply that charon's kernel sends back through its own.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use causeway_crypto::Secret;
use causeway_esp::{EspKeys, EspSuite, InboundSa, OutboundSa};
use causeway_ike::ChildSa;

use crate::swan::Us;

/// Our inside address; only this test answers for it.
pub(crate) const OURS_INSIDE: Ipv4Addr = Ipv4Addr::new(169, 254, 9, 1);
/// Charon's.
pub(crate) const THEIRS_INSIDE: Ipv4Addr = Ipv4Addr::new(169, 254, 9, 2);

const INTERVAL: Duration = Duration::from_millis(5);

/// Both directions of one Child SA.
pub(crate) struct Path {
    inbound: InboundSa,
    outbound: OutboundSa,
    remote: std::net::SocketAddr,
    sent: u16,
}

impl Path {
    pub(crate) fn new(child: &ChildSa) -> Self {
        let suite = EspSuite::new(child.suite.0, child.suite.1);
        let keys = |keymat: &Secret| {
            let (encryption, integrity) = keymat.as_ref().split_at(suite.crypto().encryption_key_len());
            EspKeys::new(Secret::from(encryption), Secret::from(integrity))
        };
        Self {
            inbound: InboundSa::new(child.inbound_spi, suite, &keys(&child.inbound_keymat)).expect("keys that fit"),
            outbound: OutboundSa::new(child.outbound_spi, suite, &keys(&child.outbound_keymat)).expect("keys that fit"),
            remote: child.remote,
            sent: 0,
        }
    }

    /// Sends echo requests, one each [`INTERVAL`], until a reply comes. The first may be lost: as the responder of an exchange we
    /// have the Child SA before charon does, and it replies on the old one until we delete that.
    pub(crate) fn ping(&mut self, us: &mut Us) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            self.sent += 1;
            let request = echo_request(self.sent);
            let mut packet = [0u8; 512];
            let length = self.outbound.seal(&request, &mut packet).expect("sealed");
            us.send_esp(self.remote, packet.get(..length).unwrap_or_default());
            let resend = Instant::now() + INTERVAL;
            while Instant::now() < resend {
                us.turn();
                while let Some(mut packet) = us.esp.pop_front() {
                    if self.is_reply(&mut packet, &request) {
                        return;
                    }
                }
            }
            assert!(Instant::now() < deadline, "no echo reply through the tunnel");
        }
    }

    fn is_reply(&self, packet: &mut [u8], request: &[u8]) -> bool {
        if InboundSa::spi_of(packet) != Some(self.inbound.spi()) {
            return false;
        }
        let opened = self.inbound.open(packet).expect("what charon seals opens");
        let (reply, sent) = (opened.inner, request);
        // Another packet of the kernel's, such as a router solicitation.
        if reply.len() != sent.len() || reply.get(9) != Some(&1) {
            return false;
        }
        assert_eq!(reply.get(12..16), Some(&THEIRS_INSIDE.octets()[..]));
        assert_eq!(reply.get(16..20), Some(&OURS_INSIDE.octets()[..]));
        assert_eq!(reply.get(20), Some(&0), "an echo reply");
        // The identifier; then the sequence number, which may be an earlier one's; then the data.
        reply.get(24..26) == sent.get(24..26) && reply.get(28..) == sent.get(28..)
    }
}

/// An ICMP echo request from our inside address to charon's.
fn echo_request(sequence: u16) -> Vec<u8> {
    const DATA: &[u8] = b"through the tunnel and back again: 0123456789abcdef";
    let mut icmp = vec![8, 0, 0, 0, 0xca, 0x05];
    icmp.extend_from_slice(&sequence.to_be_bytes());
    icmp.extend_from_slice(DATA);
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let length = u16::try_from(20 + icmp.len()).expect("short").to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 1, 0, 0];
    packet.extend_from_slice(&OURS_INSIDE.octets());
    packet.extend_from_slice(&THEIRS_INSIDE.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend_from_slice(&icmp);
    packet
}

/// The Internet checksum (RFC 1071).
fn checksum(octets: &[u8]) -> [u8; 2] {
    let words = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("folded")).to_be_bytes()
}
