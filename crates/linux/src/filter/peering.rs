//! The ruleset inside the tunnels between nodes.

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::{Chains, Ruleset, counted};
use crate::Result;

/// One exchange between a node's own address and the others of a network, over TCP on one port, begun from either side; nothing else in or out,
/// and nothing through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeeringFilter {
    /// What the nodes' addresses are in.
    pub network: Ipv6Net,
    /// The node's own.
    pub own: Ipv6Addr,
    /// Where nodes answer (TCP).
    pub port: u16,
}

impl Ruleset for PeeringFilter {
    fn counters(&self) -> Vec<String> {
        ["drop_input_peering", "drop_output_peering"].map(str::to_owned).into()
    }

    fn chains(&self) -> Result<String> {
        let Self { network, own, port } = self;
        // Answers of those who were asked are told from questions by their first segment.
        let answers = "tcp flags & (syn | ack) != syn";
        let mut chains = Chains::default();
        chains.chain(
            "input",
            &[
                "type filter hook input priority filter; policy drop;".to_owned(),
                format!("ip6 saddr {network} ip6 daddr {own} tcp dport {port} accept"),
                format!("ip6 saddr {network} ip6 daddr {own} tcp sport {port} {answers} accept"),
                counted("drop_input_peering", "drop"),
            ],
        );
        chains.chain("forward", &["type filter hook forward priority filter; policy drop;".to_owned()]);
        chains.chain(
            "output",
            &[
                "type filter hook output priority filter; policy drop;".to_owned(),
                format!("ip6 saddr {own} ip6 daddr {network} tcp dport {port} accept"),
                format!("ip6 saddr {own} ip6 daddr {network} tcp sport {port} {answers} accept"),
                counted("drop_output_peering", "drop"),
            ],
        );
        Ok(chains.0)
    }
}
