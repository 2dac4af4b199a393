//! The gateway's ruleset: system.md §2.7 to §2.9.

use std::net::IpAddr;

use ipnet::IpNet;

use super::nets::Nets;
use super::{Chains, Dispatch, ERRORS_V4, ERRORS_V6, Ruleset, counted, of_link};
use crate::Result;
use crate::error::check_link_name;

/// What a gateway forwards, between its attachment to the VPC and its tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayFilter {
    /// The link towards the VPC's router.
    pub vpc_link: String,
    /// The subnets of all the VPC's Private Networks.
    pub vpc_subnets: Vec<IpNet>,
    /// Destinations of the VPC's custom routes.
    pub vpc_routes: Vec<IpNet>,
    /// Nothing is forwarded.
    pub locked: bool,
    /// The connections, with or without an established tunnel.
    pub connections: Vec<ConnectionFilter>,
}

/// What one connection may carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionFilter {
    /// Its TUN.
    pub tun: String,
    /// Route propagation: without it only the interconnection subnets' own traffic passes.
    pub propagate: bool,
    /// Nothing is forwarded.
    pub locked: bool,
    /// Our and the customer's inside address, each with the interconnection subnet's mask.
    pub inside: Vec<(IpNet, IpNet)>,
    /// The routing policies' `prefix_filter_in`, both families.
    pub accept_in: Vec<IpNet>,
    /// The routing policies' `prefix_filter_out`, both families.
    pub announce_out: Vec<IpNet>,
    /// Largest TCP segment over IPv4 that fits the tunnel, in octets; 0: not known, not clamped.
    pub mss_v4: u16,
    /// The same over IPv6.
    pub mss_v6: u16,
    /// The TUN is none, but the link of an InterLink.
    pub interlink: Option<InterLinkFilter>,
}

/// What is different on an Ethernet link, which the kernel forwards to by itself: neighbours have to find each other, and its bandwidth is kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterLinkFilter {
    /// Bits per second in each direction; 0: as much as there is.
    pub bandwidth: u64,
}

impl InterLinkFilter {
    /// Drops what exceeds the bandwidth. The kernel's token bucket holds what the rate moves in a second, and this on top: a few dozen full
    /// packets. Each rule that this makes has a bucket of its own.
    fn police(self, drop: &str) -> Option<String> {
        let rate = self.bandwidth / 8;
        (rate > 0).then(|| format!("limit rate over {rate} bytes/second burst 65536 bytes {drop}"))
    }
}

/// Sources that no packet from outside the link can have (RFC 6890): this network, loopback, link-local, multicast, reserved, mapped.
const MARTIANS: &str = "ip saddr { 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3 }";
const MARTIANS_V6: &str = "ip6 saddr { ::/127, ::ffff:0.0.0.0/96, fe80::/10, ff00::/8 }";

/// What is counted for the gateway as a whole.
const COUNTERS: [&str; 9] = [
    "forwarded_in",
    "forwarded_out",
    "errors_in",
    "errors_out",
    "drop_forward_other",
    "drop_input_tunnel",
    "drop_input_vpc",
    "drop_input_other",
    "drop_redirect",
];

/// What is counted for each connection: nothing may pass; and of packets from the customer, a source inside the VPC, in an interconnection subnet,
/// that cannot be, or that `prefix_filter_in` does not list, a destination that the VPC does not have or `prefix_filter_out` does not list, another
/// tunnel, the gateway itself; and of packets to the customer, a source or destination that no filter lists.
const DROPS: [&str; 10] = [
    "drop_closed",
    "drop_source_vpc",
    "drop_source_interconnection",
    "drop_source_martian",
    "drop_source_policy",
    "drop_destination",
    "drop_tunnel_to_tunnel",
    "drop_input_tunnel",
    "drop_out_source",
    "drop_out_destination",
];

/// What is counted for an InterLink, too: what exceeds its bandwidth.
const SHAPED: &str = "drop_shaped";

impl GatewayFilter {
    /// What a connection's whitelist may open.
    fn reachable(&self) -> Nets {
        Nets::new(self.vpc_subnets.iter().chain(&self.vpc_routes))
    }
}

impl ConnectionFilter {
    /// Drops, and counts it for this connection.
    fn dropped(&self, reason: &str) -> String {
        counted(&of_link(reason, &self.tun), "drop")
    }

    const fn is_open(&self, gateway: &GatewayFilter) -> bool {
        self.propagate && !self.locked && !gateway.locked
    }

    /// Runs before routing, so that a packet with a forged source does not even cause an ICMP error.
    fn guard(&self, gateway: &GatewayFilter, vpc: &Nets) -> Vec<String> {
        // Neighbour discovery comes from link-local addresses, and is of no use beyond the link (RFC 4861 §7.1).
        let mut rules: Vec<_> = self.neighbours("return").collect();
        if !self.is_open(gateway) {
            rules.extend(self.inside_pairs("return"));
            rules.push(self.dropped("drop_closed"));
            return rules;
        }
        rules.extend(self.inside.iter().map(|(_, peer)| format!("{} saddr {} return", protocol(peer), peer.addr())));
        rules.extend(vpc.inside("saddr", &self.dropped("drop_source_vpc")));
        // Our own inside addresses are among them, too: the peer's packets have left this chain.
        let inside = gateway.connections.iter().flat_map(|connection| &connection.inside).map(|(local, _)| local);
        rules.extend(Nets::new(inside).inside("saddr", &self.dropped("drop_source_interconnection")));
        for martians in [MARTIANS, MARTIANS_V6] {
            rules.push(format!("{martians} {}", self.dropped("drop_source_martian")));
        }
        rules
    }

    fn inbound(&self, gateway: &GatewayFilter, vpc: &Nets) -> Vec<String> {
        let mut rules = Vec::new();
        if !self.is_open(gateway) {
            rules.push(self.dropped("drop_closed"));
            return rules;
        }
        rules.push(format!("oifname != \"{}\" {}", gateway.vpc_link, self.dropped("drop_tunnel_to_tunnel")));
        let reachable = vpc.intersection(&Nets::new(&self.announce_out));
        rules.extend(reachable.outside("daddr", &self.dropped("drop_destination")));
        // Routers on the way report with addresses that no policy lists, the peer with its inside address.
        rules.extend(vpc.quoted_source(&counted("errors_in", "accept")));
        rules.push(format!("ip saddr 169.254.0.0/16 {}", self.dropped("drop_source_martian")));
        rules.extend(Nets::new(&self.accept_in).outside("saddr", &self.dropped("drop_source_policy")));
        rules.extend(self.police());
        rules.extend(self.clamp());
        rules.push(counted("forwarded_in", "accept"));
        rules
    }

    fn outbound(&self, gateway: &GatewayFilter, vpc: &Nets) -> Vec<String> {
        let mut rules = Vec::new();
        if !self.is_open(gateway) {
            rules.push(self.dropped("drop_closed"));
            return rules;
        }
        let announced = vpc.intersection(&Nets::new(&self.announce_out));
        rules.extend(Nets::new(&self.accept_in).outside("daddr", &self.dropped("drop_out_destination")));
        // The VPC's router reports with whatever address it has towards the gateway.
        rules.extend(vpc.quoted_destination(&counted("errors_out", "accept")));
        rules.extend(announced.outside("saddr", &self.dropped("drop_out_source")));
        rules.extend(self.police());
        rules.extend(self.clamp());
        rules.push(counted("forwarded_out", "accept"));
        rules
    }

    fn police(&self) -> Option<String> {
        self.interlink?.police(&self.dropped(SHAPED))
    }

    fn neighbours(&self, verdict: &'static str) -> impl Iterator<Item = String> {
        let found = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255";
        self.interlink.iter().map(move |_| format!("{found} {verdict}"))
    }

    fn input(&self) -> Vec<String> {
        let mut rules: Vec<_> = self.neighbours("accept").collect();
        rules.extend(self.inside_pairs("goto input_peer"));
        rules.push(self.dropped("drop_input_tunnel"));
        rules
    }

    fn inside_pairs(&self, verdict: &str) -> Vec<String> {
        self.inside
            .iter()
            .filter(|(local, peer)| local.addr().is_ipv4() == peer.addr().is_ipv4())
            .map(|(local, peer)| {
                let protocol = protocol(peer);
                format!("{protocol} saddr {} {protocol} daddr {} {verdict}", peer.addr(), local.addr())
            })
            .collect()
    }

    /// TCP's largest segment is lowered in SYNs of both directions, since either end's announcement limits the other.
    fn clamp(&self) -> Vec<String> {
        [("ipv4", self.mss_v4), ("ipv6", self.mss_v6)]
            .into_iter()
            .filter(|(_, mss)| *mss > 0)
            .map(|(family, mss)| {
                format!(
                    "meta nfproto {family} tcp flags & (syn | rst) == syn tcp option maxseg size > {mss} \
                     tcp option maxseg size set {mss}"
                )
            })
            .collect()
    }
}

fn protocol(net: &IpNet) -> &'static str {
    match net.addr() {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip6",
    }
}

impl Ruleset for GatewayFilter {
    fn counters(&self) -> Vec<String> {
        let links = self.connections.iter().map(|connection| &connection.tun);
        let of_links = links.flat_map(|tun| DROPS.map(|reason| of_link(reason, tun)));
        let interlinks = self.connections.iter().filter(|connection| connection.interlink.is_some());
        let shaped = interlinks.map(|connection| of_link(SHAPED, &connection.tun));
        COUNTERS.iter().map(|name| (*name).to_owned()).chain(of_links).chain(shaped).collect()
    }

    /// One look-up by name for each hook, however many connections there are.
    fn dispatches(&self) -> Vec<Dispatch> {
        let to = |name, jump: &str| {
            let links = self.connections.iter().map(|connection| &connection.tun);
            Dispatch { name, verdicts: links.map(|tun| (tun.clone(), format!("{jump}_{tun}"))).collect() }
        };
        vec![
            to("link_guard", "jump guard"),
            to("link_input", "goto input"),
            to("link_from", "goto from"),
            to("link_to", "goto to"),
        ]
    }

    fn chains(&self) -> Result<String> {
        check_link_name(&self.vpc_link)?;
        for connection in &self.connections {
            check_link_name(&connection.tun)?;
        }
        let (vpc, reachable) = (Nets::new(&self.vpc_subnets), self.reachable());
        let mut chains = Chains::default();
        for connection in &self.connections {
            let tun = &connection.tun;
            chains.chain(&format!("guard_{tun}"), &connection.guard(self, &vpc));
            chains.chain(&format!("from_{tun}"), &connection.inbound(self, &reachable));
            chains.chain(&format!("to_{tun}"), &connection.outbound(self, &reachable));
            chains.chain(&format!("input_{tun}"), &connection.input());
        }
        chains.chain(
            "input_peer",
            &[
                "tcp dport 179 accept".to_owned(),
                // Answers to sessions that this side opens: anything but a first SYN, else the source port would open every port.
                "tcp sport 179 tcp flags & (fin | syn | rst | ack) != syn accept".to_owned(),
                "udp dport { 3784, 3785 } accept".to_owned(),
                "icmp type { echo-request, echo-reply } accept".to_owned(),
                "icmpv6 type { echo-request, echo-reply } accept".to_owned(),
                format!("{ERRORS_V4} accept"),
                format!("{ERRORS_V6} accept"),
                counted("drop_input_tunnel", "drop"),
            ],
        );
        chains.chain(
            "input_vpc",
            &[
                "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept".to_owned(),
                "fib daddr type != local counter name drop_input_vpc drop".to_owned(),
                "icmp type { echo-request, echo-reply } accept".to_owned(),
                "icmpv6 type { echo-request, echo-reply } accept".to_owned(),
                format!("{ERRORS_V4} accept"),
                format!("{ERRORS_V6} accept"),
                counted("drop_input_vpc", "drop"),
            ],
        );
        let base = |hook: &str, priority: &str, policy: &str| {
            format!("type filter hook {hook} priority {priority}; policy {policy};")
        };
        chains.chain("prerouting", &[base("prerouting", "raw", "accept"), "iifname vmap @link_guard".to_owned()]);
        let rules = [
            base("input", "filter", "drop"),
            "iifname \"lo\" accept".to_owned(),
            format!("iifname \"{}\" goto input_vpc", self.vpc_link),
            "iifname vmap @link_input".to_owned(),
            counted("drop_input_other", "drop"),
        ];
        chains.chain("input", &rules);
        let rules = [
            base("forward", "filter", "drop"),
            format!("icmpv6 type nd-redirect {}", counted("drop_redirect", "drop")),
            "iifname vmap @link_from".to_owned(),
            format!("iifname \"{}\" oifname vmap @link_to", self.vpc_link),
            counted("drop_forward_other", "drop"),
        ];
        chains.chain("forward", &rules);

        let rules = [
            base("output", "filter", "accept"),
            format!("icmpv6 type nd-redirect {}", counted("drop_redirect", "drop")),
            format!("icmp type redirect {}", counted("drop_redirect", "drop")),
        ];
        chains.chain("output", &rules);
        Ok(chains.0)
    }
}

#[cfg(test)]
mod tests;
