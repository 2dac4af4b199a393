//! Network access control lists of a VPC: ordered, stateless rules of one family (vpc v2 `acl-rules`).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What a rule, or a list without a match, does with a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AclAction {
    /// Let it pass.
    #[default]
    Accept,
    /// Drop it.
    Drop,
}

/// The protocol that a rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AclProtocol {
    /// Every one.
    #[default]
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP or, in an IPv6 list, ICMPv6.
    Icmp,
}

impl AclProtocol {
    /// Whether it has ports.
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }
}

/// Ports from `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The first.
    pub low: u16,
    /// The last, not below `low`.
    pub high: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { low: 0, high: u16::MAX };

    /// Whether it restricts nothing: 0 to 65535, or 0 to 0 as clients write "any".
    #[must_use]
    pub const fn is_any(self) -> bool {
        self.low == 0 && (self.high == 0 || self.high == u16::MAX)
    }

    /// Whether `port` is within.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.is_any() || (self.low <= port && port <= self.high)
    }
}

/// One rule. The first one that matches decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AclRule {
    /// Protocol.
    pub protocol: AclProtocol,
    /// Where the packet comes from; of the list's family.
    pub source: IpNet,
    /// Source ports, for TCP and UDP.
    pub source_ports: PortRange,
    /// Where it goes; of the list's family.
    pub destination: IpNet,
    /// Destination ports, for TCP and UDP.
    pub destination_ports: PortRange,
    /// What becomes of it.
    pub action: AclAction,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The list of one family. A new VPC accepts everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// What becomes of a packet that no rule matches.
    pub default_action: AclAction,
    /// The rules in their order.
    pub rules: Vec<AclRule>,
}

/// A packet as far as rules look at it, for explanations; `None` where the question leaves it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclPacket {
    /// Protocol; [`AclProtocol::Any`] where it is left open.
    pub protocol: AclProtocol,
    /// Source.
    pub source: IpAddr,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination.
    pub destination: IpAddr,
    /// Destination port.
    pub destination_port: Option<u16>,
}

impl AclRule {
    /// Whether the rule matches `packet` whatever the packet leaves open: a question without a port is not matched by a rule with ports.
    #[must_use]
    pub fn matches(&self, packet: &AclPacket) -> bool {
        let port =
            |range: PortRange, port: Option<u16>| range.is_any() || port.is_some_and(|port| range.contains(port));
        (self.protocol == AclProtocol::Any || self.protocol == packet.protocol)
            && self.source.contains(&packet.source)
            && self.destination.contains(&packet.destination)
            && (!self.protocol.has_ports()
                || (port(self.source_ports, packet.source_port)
                    && port(self.destination_ports, packet.destination_port)))
    }
}

impl Acl {
    /// The first rule that matches (from 0), if one does, and what becomes of the packet.
    #[must_use]
    pub fn decide(&self, packet: &AclPacket) -> (Option<usize>, AclAction) {
        match self.rules.iter().position(|rule| rule.matches(packet)) {
            Some(index) => (Some(index), self.rules.get(index).map_or(self.default_action, |rule| rule.action)),
            None => (None, self.default_action),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(protocol: AclProtocol, source: &str, ports: (u16, u16), action: AclAction) -> AclRule {
        AclRule {
            protocol,
            source: source.parse().expect("a prefix"),
            source_ports: PortRange::ALL,
            destination: "10.0.0.0/8".parse().expect("a prefix"),
            destination_ports: PortRange { low: ports.0, high: ports.1 },
            action,
            description: None,
        }
    }

    fn packet(protocol: AclProtocol, source: &str, port: Option<u16>) -> AclPacket {
        AclPacket {
            protocol,
            source: source.parse().expect("an address"),
            source_port: None,
            destination: "10.1.2.3".parse().expect("an address"),
            destination_port: port,
        }
    }

    #[test]
    fn the_first_match_decides() {
        let acl = Acl {
            default_action: AclAction::Accept,
            rules: vec![
                rule(AclProtocol::Tcp, "192.0.2.0/24", (22, 22), AclAction::Accept),
                rule(AclProtocol::Any, "192.0.2.0/24", (0, 0), AclAction::Drop),
            ],
        };
        let cases = [
            (AclProtocol::Tcp, "192.0.2.1", Some(22), (Some(0), AclAction::Accept)),
            (AclProtocol::Tcp, "192.0.2.1", Some(23), (Some(1), AclAction::Drop)),
            (AclProtocol::Tcp, "192.0.2.1", None, (Some(1), AclAction::Drop)),
            (AclProtocol::Icmp, "192.0.2.1", None, (Some(1), AclAction::Drop)),
            (AclProtocol::Udp, "198.51.100.1", Some(53), (None, AclAction::Accept)),
        ];
        for (protocol, source, port, expected) in cases {
            assert_eq!(acl.decide(&packet(protocol, source, port)), expected, "{protocol:?} {source} {port:?}");
        }
    }

    #[test]
    fn an_empty_list_accepts() {
        assert_eq!(Acl::default().decide(&packet(AclProtocol::Any, "192.0.2.1", None)), (None, AclAction::Accept));
    }
}
