//! A second site on the same Internet, with two connections: two strongSwans in one box, one for each outer family, and one BGP
//! daemon that chooses between them.
//!
//! ```text
//!   inet ── Internet ── branch ── LAN ── desk
//! ```

use anyhow::{Context as _, Result};

use super::{Lab, addresses, assign, default_route, wire};
use crate::api::Family;
use crate::device::Device;
use crate::machine::Machine;
use crate::router::BIRD;

/// The second site.
#[derive(Debug)]
pub struct Branch {
    /// The customer's box.
    pub machine: Machine,
    /// A host behind it.
    pub desk: Machine,
    /// strongSwan for the connection over IPv4, with the BGP daemon of both.
    pub ipv4: Device,
    /// strongSwan for the connection over IPv6.
    pub ipv6: Device,
}

impl Lab {
    /// Adds the second site, with the daemon for BGP that the first one has.
    ///
    /// # Errors
    /// A command fails.
    pub async fn add_branch(&mut self) -> Result<Branch> {
        let folders = ["branch-ipv4", "branch-ipv6"].map(|name| self.folder.join(name));
        let [folder4, folder6] = folders;
        std::fs::create_dir_all(&folder4)?;
        let machine = Machine::create_with_files(&self.ledger, "branch", &folder4).await?;
        let second = machine.with_own_files(&folder6).await?;
        let desk = Machine::create(&self.ledger, "desk").await?;
        wire(&self.inet, "cust1", &machine, "wan0").await?;
        wire(&machine, "lan0", &desk, "eth0").await?;
        for (family, length) in ["24", "64"].into_iter().enumerate() {
            let router = addresses::BRANCH_ROUTER[family];
            assign(&self.inet, "cust1", &format!("{router}/{length}")).await?;
            assign(&machine, "wan0", &format!("{}/{length}", addresses::BRANCH[family])).await?;
            assign(&machine, "lan0", &format!("{}/{length}", addresses::BRANCH_LAN_ROUTER[family])).await?;
            assign(&desk, "eth0", &format!("{}/{length}", addresses::DESK[family])).await?;
            default_route(&machine, router).await?;
            default_route(&desk, addresses::BRANCH_LAN_ROUTER[family]).await?;
        }
        let mut ipv4 = Device::new(machine.clone(), folder4);
        let mut ipv6 = Device::without_router(second, folder6);
        for device in [&mut ipv4, &mut ipv6] {
            device.speak_with(self.device.speaks_with()).await;
        }
        Ok(Branch { machine, desk, ipv4, ipv6 })
    }
}

impl Branch {
    /// Installs both connections' configurations, each with its key, merged by hand as the head of the text says: one daemon speaks
    /// for both.
    ///
    /// # Errors
    /// A text is not as expected, or a command fails.
    pub async fn install(&mut self, over_ipv4: (&str, &str), over_ipv6: (&str, &str)) -> Result<()> {
        let prefixes = &addresses::BRANCH_PREFIXES;
        self.ipv4.install(&one_of_two(over_ipv4.0, Family::Ipv4), over_ipv4.1, prefixes).await?;
        self.ipv6.install(&one_of_two(over_ipv6.0, Family::Ipv6), over_ipv6.1, prefixes).await?;
        let (first, second) = (self.ipv4.read(BIRD)?, self.ipv6.read(BIRD)?);
        self.ipv4.write(BIRD, &merged(&first, &second))
    }

    /// Starts everything. The order gives the first strongSwan the first interface.
    ///
    /// # Errors
    /// A daemon does not start, or refuses its files.
    pub async fn start(&mut self) -> Result<()> {
        // The daemon for BGP names both interfaces, and waits for what is not there yet.
        self.ipv4.start_daemons().await.context("over IPv4")?;
        self.ipv6.start_daemons().await.context("over IPv6")?;
        self.ipv4.load().await?;
        self.ipv6.load().await
    }

    /// Ends all daemons in order.
    pub async fn stop(&mut self) {
        self.ipv6.stop().await;
        self.ipv4.stop().await;
    }
}

/// The text for one of two strongSwans in a box: each binds one outer family only, and has an interface and a routing table of its own.
fn one_of_two(text: &str, outer: Family) -> String {
    let (unused, interface, table) = match outer {
        Family::Ipv6 => ("use_ipv4", "ipsec1", "routing_table = 221"),
        Family::Ipv4 | Family::Both => ("use_ipv6", "ipsec0", "routing_table = 220"),
    };
    let daemon = format!("charon-systemd {{\n  plugins {{\n    socket-default {{\n      {unused} = no\n    }}\n  }}");
    text.replace("charon-systemd {", &daemon)
        .replace("ipsec0", interface)
        .replace(&format!("interfaces_ignore = {interface},"), "interfaces_ignore = ipsec0,ipsec1,")
        .replace("routing_table = 220", table)
}

/// The first text with the sessions of the second: its filters and sessions under names of their own. The prefixes and the way into the
/// kernel are shared.
fn merged(first: &str, second: &str) -> String {
    let mut text = format!("{}\n# The second connection.\n", first.trim_end());
    let mut inside = false;
    for line in second.lines() {
        inside |= line.starts_with("filter ") || line.starts_with("protocol bgp ");
        if inside {
            text.push_str(&line.replace("gateway_ipv", "second_ipv"));
            text.push('\n');
        }
        inside &= line != "}";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_configurations_become_one() {
        let second = "router id 1.1.1.1;\nprotocol static own_ipv4 {\n}\nfilter to_gateway_ipv4 {\n  reject;\n}\n\
                      protocol bgp gateway_ipv4 {\n  ipv4 {\n    export filter to_gateway_ipv4;\n  };\n}\n";
        let expected = "router id 2.2.2.2;\n# The second connection.\nfilter to_second_ipv4 {\n  reject;\n}\n\
                        protocol bgp second_ipv4 {\n  ipv4 {\n    export filter to_second_ipv4;\n  };\n}\n";
        assert_eq!(merged("router id 2.2.2.2;\n\n", second), expected);
    }

    #[test]
    fn each_strongswan_has_its_own_family_interface_and_table() {
        let text =
            "charon-systemd {\n  interfaces_ignore = ipsec0,lo\n  routing_table = 220\n}\nip link show dev ipsec0\n";
        let changed = one_of_two(text, Family::Ipv6);
        for part in ["use_ipv4 = no", "interfaces_ignore = ipsec0,ipsec1,lo", "routing_table = 221", "dev ipsec1"] {
            assert!(changed.contains(part), "{part}: {changed}");
        }
    }
}
