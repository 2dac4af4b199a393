//! The ruleset of a VPC's router.

use ipnet::IpNet;

use super::nets::Nets;
use super::{Chains, ERRORS_V4, ERRORS_V6, Ruleset, counted};
use crate::Result;
use crate::error::check_link_name;

/// What a VPC's router forwards: everything but forgeries and what one customer's site sends to another. Network ACLs have their place in its forward chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterFilter {
    /// The Private Networks.
    pub networks: Vec<NetworkFilter>,
    /// How the names of the links to gateways begin; nothing is forwarded between these. Empty: there are none.
    pub gateway_links: String,
}

/// A Private Network at the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFilter {
    /// The router's link on it.
    pub link: String,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
}

impl Ruleset for RouterFilter {
    fn counters(&self) -> Vec<String> {
        ["drop_source_network", "drop_source_martian", "drop_gateway_to_gateway", "drop_input_router", "drop_redirect"]
            .map(str::to_owned)
            .into()
    }

    fn chains(&self) -> Result<String> {
        let mut chains = Chains::default();
        let mut rules = vec!["type filter hook prerouting priority raw; policy accept;".to_owned()];
        for network in &self.networks {
            check_link_name(&network.link)?;
            // A host may forward for networks behind it, but not speak for the VPC's other networks.
            let others = self.networks.iter().filter(|other| other.link != network.link);
            let others = Nets::new(others.flat_map(|other| &other.subnets));
            let drop = counted("drop_source_network", "drop");
            rules.extend(
                others.inside("saddr", &drop).into_iter().map(|rule| format!("iifname \"{}\" {rule}", network.link)),
            );
        }
        chains.chain("prerouting", &rules);
        chains.chain(
            "input",
            &[
                "type filter hook input priority filter; policy drop;".to_owned(),
                "iifname \"lo\" accept".to_owned(),
                "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept".to_owned(),
                "icmp type { echo-request, echo-reply } accept".to_owned(),
                "icmpv6 type { echo-request, echo-reply } accept".to_owned(),
                format!("{ERRORS_V4} accept"),
                format!("{ERRORS_V6} accept"),
                counted("drop_input_router", "drop"),
            ],
        );
        let redirect = counted("drop_redirect", "drop");
        let martian = counted("drop_source_martian", "drop");
        let mut rules = vec![
            "type filter hook forward priority filter; policy accept;".to_owned(),
            format!("icmpv6 type nd-redirect {redirect}"),
            format!("ip saddr {{ 0.0.0.0/8, 127.0.0.0/8, 224.0.0.0/3 }} {martian}"),
            format!("ip6 saddr {{ ::/127, ::ffff:0.0.0.0/96, fe80::/10, ff00::/8 }} {martian}"),
        ];
        if !self.gateway_links.is_empty() {
            // The VPC is no transit between sites, and a custom route's destination may hold one: to a gateway it looks like the VPC.
            check_link_name(&self.gateway_links)?;
            rules.push(format!(
                "iifname \"{0}*\" oifname \"{0}*\" {1}",
                self.gateway_links,
                counted("drop_gateway_to_gateway", "drop")
            ));
        }
        chains.chain("forward", &rules);
        chains.chain(
            "output",
            &[
                "type filter hook output priority filter; policy accept;".to_owned(),
                format!("icmpv6 type nd-redirect {redirect}"),
                format!("icmp type redirect {redirect}"),
            ],
        );
        Ok(chains.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Present;

    #[test]
    fn the_ruleset() {
        let network = |link: &str, subnet: &str| NetworkFilter {
            link: link.to_owned(),
            subnets: vec![subnet.parse().expect("a prefix")],
        };
        let networks = vec![network("pn-a", "10.0.0.0/24"), network("pn-b", "10.0.1.0/24")];
        let filter = RouterFilter { networks, gateway_links: "g-".to_owned() };
        assert_eq!(filter.render(&Present::default()).expect("good names"), include_str!("router.nft"));
    }

    #[test]
    fn a_link_name_can_not_carry_rules() {
        let subnets = vec!["10.0.0.0/24".parse().expect("a prefix")];
        let networks = vec![NetworkFilter { link: "a\" accept".to_owned(), subnets }];
        assert!(RouterFilter { networks, ..RouterFilter::default() }.chains().is_err());
        let links = RouterFilter { gateway_links: "g\" accept".to_owned(), ..RouterFilter::default() };
        assert!(links.chains().is_err());
    }
}
