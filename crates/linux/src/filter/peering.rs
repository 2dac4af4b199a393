//! The ruleset inside the tunnels between nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::{Chains, Ruleset, counted};
use crate::Result;
use crate::error::check_link_name;
use crate::upper::VXLAN_PORT;

/// Exchanges between a node's own address and the others of a network: over TCP, begun from either side, and by cables; nothing else in or out, and
/// nothing through. What comes out of a tunnel has the address of the node that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeeringFilter {
    /// What the nodes' addresses are in.
    pub network: Ipv6Net,
    /// The node's own.
    pub own: Ipv6Addr,
    /// Where nodes answer (TCP).
    pub ports: [u16; 2],
    /// The devices of the tunnels, each with the address of the node that it leads to and the numbers of the cables (network identifiers of VXLAN, RFC
    /// 7348) that come from there.
    pub tunnels: BTreeMap<String, (Ipv6Addr, BTreeSet<u32>)>,
}

impl Ruleset for PeeringFilter {
    fn counters(&self) -> Vec<String> {
        ["drop_input_peering", "drop_output_peering"].map(str::to_owned).into()
    }

    fn chains(&self) -> Result<String> {
        let Self { network, own, ports: [first, second], tunnels } = self;
        let ports = format!("{{ {first}, {second} }}");
        // Answers of those who were asked are told from questions by their first segment.
        let answers = "tcp flags & (syn | ack) != syn";
        // However much cables carry, and whatever it says of its urgency: what nodes ask each other leaves first.
        let (first_out, last_out) = ("meta priority set 0:7", "meta priority set 0:0");
        let mut chains = Chains::default();
        let mut input = vec!["type filter hook input priority filter; policy drop;".to_owned()];
        for (device, (theirs, cables)) in tunnels {
            check_link_name(device)?;
            input.push(format!("iifname \"{device}\" ip6 saddr != {theirs} {}", counted("drop_input_peering", "drop")));
            for number in cables {
                // The network identifier is behind UDP's header and 32 bits of VXLAN's.
                input.push(format!(
                    "iifname \"{device}\" ip6 daddr {own} udp dport {VXLAN_PORT} @th,96,24 {number} accept"
                ));
            }
        }
        input.extend([
            format!("ip6 saddr {network} ip6 daddr {own} tcp dport {ports} accept"),
            format!("ip6 saddr {network} ip6 daddr {own} tcp sport {ports} {answers} accept"),
            counted("drop_input_peering", "drop"),
        ]);
        chains.chain("input", &input);
        chains.chain("forward", &["type filter hook forward priority filter; policy drop;".to_owned()]);
        chains.chain(
            "output",
            &[
                "type filter hook output priority filter; policy drop;".to_owned(),
                format!("ip6 saddr {own} ip6 daddr {network} udp dport {VXLAN_PORT} {last_out} accept"),
                format!("ip6 saddr {own} ip6 daddr {network} tcp dport {ports} {first_out} accept"),
                format!("ip6 saddr {own} ip6 daddr {network} tcp sport {ports} {answers} {first_out} accept"),
                counted("drop_output_peering", "drop"),
            ],
        );
        Ok(chains.0)
    }
}
