//! The laboratory's machines and wires.
//!
//! ```text
//!   host ── Private Network ── node ── underlay ── inet ── Internet ── site ── LAN ── office
//! ```

mod branch;
pub(crate) mod edge;
mod fleet;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnet::IpNet;

use crate::api::Api;
use crate::device::Device;
use crate::ledger::Ledger;
use crate::machine::{Machine, host_command};
use crate::service::{Service, Settings};
use crate::stream::Stream;
use crate::wait::eventually;
pub use branch::Branch;
pub use edge::Edge;
pub use fleet::{CONTROL, Fleet, LAN, THIEF};

/// Fixed addresses of the laboratory (documentation ranges outside, private ones inside).
pub mod addresses {
    /// The site's public addresses.
    pub const SITE: [&str; 2] = ["203.0.113.10", "2001:db8:0:2::10"];
    /// The networks behind the site.
    pub const SITE_PREFIXES: [&str; 2] = ["10.20.0.0/24", "fd20:0:1::/64"];
    /// The host behind the site.
    pub const OFFICE: [&str; 2] = ["10.20.0.10", "fd20:0:1::10"];
    /// The site's AS number.
    pub const SITE_ASN: u32 = 65001;
    /// The service's AS number.
    pub const PROVIDER_ASN: u32 = 12876;
    /// Public addresses that gateways get.
    pub const POOLS: [&str; 2] = ["192.0.2.0/26", "2001:db8:0:1:1::/80"];
    /// The branch's public addresses.
    pub const BRANCH: [&str; 2] = ["198.51.100.10", "2001:db8:0:3::10"];
    /// The networks behind the branch.
    pub const BRANCH_PREFIXES: [&str; 2] = ["10.30.0.0/24", "fd30:0:1::/64"];
    /// The host behind the branch.
    pub const DESK: [&str; 2] = ["10.30.0.10", "fd30:0:1::10"];
    /// The branch's AS number.
    pub const BRANCH_ASN: u32 = 65002;
    /// The node's own addresses on the underlay.
    pub(crate) const NODE: [&str; 2] = ["192.0.2.253/24", "2001:db8:0:1::fffd/64"];
    /// The Internet's router on the underlay.
    pub(crate) const UNDERLAY_ROUTER: [&str; 2] = ["192.0.2.254", "2001:db8:0:1::fffe"];
    /// The Internet's router on the site's access.
    pub(crate) const SITE_ROUTER: [&str; 2] = ["203.0.113.254", "2001:db8:0:2::fffe"];
    /// The site's address on its LAN.
    pub(crate) const LAN_ROUTER: [&str; 2] = ["10.20.0.1", "fd20:0:1::1"];
    /// The Internet's router on the branch's access.
    pub(crate) const BRANCH_ROUTER: [&str; 2] = ["198.51.100.254", "2001:db8:0:3::fffe"];
    /// The branch's address on its LAN.
    pub(crate) const BRANCH_LAN_ROUTER: [&str; 2] = ["10.30.0.1", "fd30:0:1::1"];
}

/// A running laboratory.
#[derive(Debug)]
pub struct Lab {
    /// The router between node and site.
    pub inet: Machine,
    /// The gateway node.
    pub node: Machine,
    /// A host on the Private Network.
    pub host: Machine,
    /// The customer's device.
    pub site: Machine,
    /// A host behind the device.
    pub office: Machine,
    /// The service on the node.
    pub service: Service,
    /// strongSwan and BIRD or FRR on the site.
    pub device: Device,
    api: Option<Api>,
    host_addresses: Vec<String>,
    ledger: Arc<Mutex<Ledger>>,
    folder: PathBuf,
}

impl Lab {
    /// Builds the machines and wires. The service and the device are not started yet. `id` `None`: made from the process id.
    ///
    /// # Errors
    /// Not root, a program is missing, or the id is in use. What was built until then is removed.
    pub async fn start(id: Option<&str>, program: &Path) -> Result<Self> {
        let id = id.map_or_else(default_id, str::to_owned);
        anyhow::ensure!(rustix::process::geteuid().is_root(), "the lab needs root: it makes network namespaces");
        let ledger = Arc::new(Mutex::new(Ledger::create(&id)?));
        match Self::build(&ledger, program).await {
            Ok(lab) => Ok(lab),
            Err(error) => {
                let list = ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
                list.clean().await;
                Err(error)
            }
        }
    }

    async fn build(ledger: &Arc<Mutex<Ledger>>, program: &Path) -> Result<Self> {
        let folder = ledger.lock().unwrap_or_else(PoisonError::into_inner).folder();
        let site_folder = folder.join("site");
        std::fs::create_dir_all(&site_folder)?;
        std::fs::create_dir_all(folder.join("data"))?;
        let inet = Machine::create(ledger, "inet").await?;
        let node = Machine::create(ledger, "node").await?;
        let host = Machine::create(ledger, "host").await?;
        let site = Machine::create_with_files(ledger, "site", &site_folder).await?;
        let office = Machine::create(ledger, "office").await?;

        wire(&inet, "under0", &node, "up0").await?;
        wire(&inet, "cust0", &site, "wan0").await?;
        wire(&site, "lan0", &office, "eth0").await?;
        for (family, router) in addresses::UNDERLAY_ROUTER.iter().enumerate() {
            let length = ["24", "64"][family];
            assign(&inet, "under0", &format!("{router}/{length}")).await?;
            assign(&inet, "cust0", &format!("{}/{length}", addresses::SITE_ROUTER[family])).await?;
            assign(&node, "up0", addresses::NODE[family]).await?;
            assign(&site, "wan0", &format!("{}/{length}", addresses::SITE[family])).await?;
            assign(&site, "lan0", &format!("{}/{length}", addresses::LAN_ROUTER[family])).await?;
            assign(&office, "eth0", &format!("{}/{length}", addresses::OFFICE[family])).await?;
            default_route(&node, router).await?;
            default_route(&site, addresses::SITE_ROUTER[family]).await?;
            default_route(&office, addresses::LAN_ROUTER[family]).await?;
        }

        let settings = Settings {
            underlay: "up0".to_owned(),
            pools: (addresses::POOLS[0].to_owned(), addresses::POOLS[1].to_owned()),
            asn: addresses::PROVIDER_ASN,
        };
        let service = Service::new(node.clone(), program, folder.join("data"), folder.join("causeway.log"), settings);
        let device = Device::new(site.clone(), site_folder);
        Ok(Self {
            inet,
            node,
            host,
            site,
            office,
            service,
            device,
            api: None,
            host_addresses: Vec::new(),
            ledger: Arc::clone(ledger),
            folder,
        })
    }

    /// Starts the service; see [`Service::start`].
    ///
    /// # Errors
    /// As there.
    pub async fn start_service(&mut self) -> Result<Api> {
        let api = self.service.start().await?;
        self.api = Some(api.clone());
        Ok(api)
    }

    /// The client, once the service was started.
    ///
    /// # Errors
    /// It was not.
    pub fn api(&self) -> Result<Api> {
        self.api.clone().context("the service was not started")
    }

    /// Plugs the host into the bridge of the Private Network `network` and gives it an address of each subnet; its default routes go to
    /// the VPC's router.
    ///
    /// # Errors
    /// The node has not made the bridge within 10 s, or a command fails.
    pub async fn attach_host(&mut self, network: &str, subnets: &[String]) -> Result<()> {
        wire(&self.node, "cwhost0", &self.host, "eth0").await?;
        self.host_addresses = Self::plug(&self.node, "cwhost0", &self.host, network, subnets).await?;
        Ok(())
    }

    /// Makes the office a host on a Private Network of a service that runs on the site. Returns its addresses.
    ///
    /// # Errors
    /// As for [`Self::attach_host`].
    pub async fn attach_office(&self, network: &str, subnets: &[String]) -> Result<Vec<String>> {
        let site = self.site.without_files();
        site.run("ip", &["address", "flush", "dev", "lan0"]).await?.text()?;
        self.office.run("ip", &["address", "flush", "dev", "eth0", "scope", "global"]).await?.text()?;
        Self::plug(&site, "lan0", &self.office, network, subnets).await
    }

    /// A second service, on the site, with pools of the site's access network.
    #[must_use]
    pub fn service_on_site(&self, program: &Path, asn: u32) -> Service {
        let settings = Settings {
            underlay: "wan0".to_owned(),
            pools: ("203.0.113.64/26".to_owned(), "2001:db8:0:2:1::/80".to_owned()),
            asn,
        };
        let (data, log) = (self.folder.join("data-site"), self.folder.join("causeway-site.log"));
        Service::new(self.site.without_files(), program, data, log, settings)
    }

    async fn plug(
        node: &Machine,
        port: &str,
        host: &Machine,
        network: &str,
        subnets: &[String],
    ) -> Result<Vec<String>> {
        let bridge = Self::bridge(node, network).await?;
        node.run("ip", &["link", "set", port, "master", &bridge]).await?.text()?;
        Self::number(host, subnets).await
    }

    /// Gives a host an address of each subnet and its default routes. Returns the addresses.
    async fn number(host: &Machine, subnets: &[String]) -> Result<Vec<String>> {
        let mut addresses = Vec::new();
        for subnet in subnets {
            let (router, own) = router_and_host(subnet)?;
            assign(host, "eth0", &own.to_string()).await?;
            default_route(host, &router).await?;
            addresses.push(own.addr().to_string());
        }
        Ok(addresses)
    }

    /// Plugs the host's cable in again after an orderly stop of the service, which takes its bridges away.
    ///
    /// # Errors
    /// As for [`Self::attach_host`].
    pub async fn reattach_host(&self, network: &str) -> Result<()> {
        let bridge = Self::bridge(&self.node, network).await?;
        self.node.run("ip", &["link", "set", "cwhost0", "master", &bridge]).await?.text().map(drop)
    }

    /// The name of the Private Network's bridge, once the node has made it.
    async fn bridge(node: &Machine, network: &str) -> Result<String> {
        let bridge = format!("cwbr-{}", network.split('-').next().unwrap_or(network));
        eventually(&format!("bridge {bridge} on the node"), Duration::from_secs(10), || async {
            node.run("ip", &["link", "show", "dev", &bridge]).await?.text().map(drop)
        })
        .await?;
        Ok(bridge)
    }

    /// The host's addresses, in the order of the subnets given to [`Self::attach_host`].
    #[must_use]
    pub fn host_addresses(&self) -> &[String] {
        &self.host_addresses
    }

    /// Where the lab's files are: logs, captures, the service's data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Which neighbour the Internet's router has for an address of the underlay: a hardware address.
    ///
    /// # Errors
    /// It has none.
    pub async fn neighbour(&self, address: &str) -> Result<String> {
        let shown = self.inet.run("ip", &["neighbour", "show", address]).await?.text()?;
        let mut words = shown.split_whitespace().skip_while(|word| *word != "lladdr");
        words.nth(1).map(str::to_owned).with_context(|| format!("no neighbour for {address}: {shown}"))
    }

    /// Names of network namespaces that the service made and that still exist.
    pub async fn service_namespaces(&self) -> Vec<String> {
        let listed = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).namespaces_of_the_service();
        let existing = host_command("ip", &["netns", "list"]).await.map(|o| o.stdout).unwrap_or_default();
        let existing: Vec<_> = existing.lines().filter_map(|line| line.split_whitespace().next()).collect();
        listed.into_iter().filter(|name| existing.contains(&name.as_str())).collect()
    }

    /// Loses every packet from and to `address` on its way through the Internet; nobody is told.
    ///
    /// # Errors
    /// nft refuses the rule.
    pub async fn cut(&self, address: &str) -> Result<()> {
        let family = if address.contains(':') { "ip6" } else { "ip" };
        let rules = format!(
            "nft 'add table inet cut; add chain inet cut forward {{ type filter hook forward priority 0; }}; \
             add rule inet cut forward {family} saddr {address} drop; add rule inet cut forward {family} daddr {address} drop'"
        );
        self.inet.shell(&rules).await.map(drop)
    }

    /// Loses every packet between two addresses on its way through the Internet; nobody is told.
    ///
    /// # Errors
    /// nft refuses the rule.
    pub async fn cut_between(&self, one: &str, other: &str) -> Result<()> {
        let family = if one.contains(':') { "ip6" } else { "ip" };
        let rules = format!(
            "nft 'add table inet cut; add chain inet cut forward {{ type filter hook forward priority 0; }}; \
             add rule inet cut forward {family} saddr {one} {family} daddr {other} drop; \
             add rule inet cut forward {family} saddr {other} {family} daddr {one} drop'"
        );
        self.inet.shell(&rules).await.map(drop)
    }

    /// Undoes every cut.
    ///
    /// # Errors
    /// nft fails.
    pub async fn heal(&self) -> Result<()> {
        self.inet.shell("nft 'add table inet cut; delete table inet cut'").await.map(drop)
    }

    /// What the command line of the product prints on the node.
    ///
    /// # Errors
    /// It fails.
    pub async fn command_line(&self, arguments: &str) -> Result<String> {
        self.service.command_line(arguments).await
    }

    /// A stream of datagrams from the host to the office and one back, once both are steady.
    ///
    /// # Errors
    /// One does not become so within `limit`.
    pub async fn streams(&self, limit: Duration) -> Result<Vec<Stream>> {
        let host = self.host_addresses().first().context("the host is not attached")?;
        let mut streams = Vec::new();
        for (from, to, target) in
            [(&self.host, &self.office, addresses::OFFICE[0]), (&self.office, &self.host, host.as_str())]
        {
            let stream = Stream::start(from, to, target).await?;
            stream.steady(limit).await?;
            streams.push(stream);
        }
        Ok(streams)
    }

    /// Ends the lab. A failure starts with its cause, so that a log that is cut has it, and what helps to understand it follows.
    ///
    /// # Errors
    /// The outcome's own.
    pub async fn finish<T>(self, outcome: Result<T>) -> Result<T> {
        let outcome = match outcome {
            Err(error) => {
                let causes: Vec<_> = error.chain().rev().map(ToString::to_string).collect();
                let told = format!("{}\n{}", causes.join("\n"), self.evidence().await);
                Err(error.context(told))
            }
            done => done,
        };
        self.stop().await;
        outcome
    }

    /// What helps to understand a failure.
    pub async fn evidence(&self) -> String {
        let mut text = format!("--- service\n{}\n--- device\n{}", self.service.log_tail(40), self.device.log_tail(25));
        let told =
            [("SAs", self.device.swanctl(&["--list-sas"]).await), ("BGP", self.device.sessions_at_length().await)];
        for (name, output) in told {
            if let Ok(output) = output {
                text.push_str(&format!("\n--- {name} of the device\n{}", output.trim_end()));
            }
        }
        text
    }

    /// Leaves everything running when this process ends.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn keep(&mut self) -> Result<()> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).keep()
    }

    /// Commands for a lab that was kept.
    #[must_use]
    pub fn what_to_try(&self) -> String {
        let id = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).id().to_owned();
        let host = self.host_addresses.first().map_or("<address of the host>", String::as_str);
        let data = self.service.data().display();
        format!(
            "The lab is still running. Try (as root):\n\
             \n  ip netns exec cw-{id}-office ping {host}                 # from behind the site into the VPC\
             \n  ip netns exec cw-{id}-host ping {office}                # and back\
             \n  ip netns exec cw-{id}-inet tcpdump -ni cust0             # what the Internet sees\
             \n  {site_shell}   # a shell on the device: swanctl --list-sas, birdc show route\
             \n  nsenter --net=/run/netns/cw-{id}-node sh -c '. {data}/operator.env; exec sh'   # a shell where the API is: {program} connection list\
             \n  tail -f {log}\
             \n  {program} lab down {id}                                        # when you are done",
            office = addresses::OFFICE[0],
            site_shell = self.site.shell_command(),
            log = self.folder.join("causeway.log").display(),
            program = self.service.program().display(),
        )
    }

    /// Ends everything and removes it.
    pub async fn stop(mut self) {
        self.device.stop().await;
        self.service.terminate().await;
        let list = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
        list.clean().await;
    }
}

/// Four characters are enough to tell the process ids of one machine apart (36⁴ > 2²⁰).
fn default_id() -> String {
    let mut number = std::process::id();
    let mut id = String::new();
    while number > 0 {
        id.push(char::from_digit(number % 36, 36).unwrap_or('0'));
        number /= 36;
    }
    id
}

/// The router's address and the host's (with the subnet's mask): the first one and the hundredth.
pub(crate) fn router_and_host(subnet: &str) -> Result<(String, IpNet)> {
    let net: IpNet = subnet.parse().with_context(|| format!("subnet {subnet}"))?;
    let (router, own) = match net.trunc() {
        IpNet::V4(net) => {
            let first = u32::from(net.addr());
            (std::net::Ipv4Addr::from(first + 1).into(), std::net::Ipv4Addr::from(first + 100).into())
        }
        IpNet::V6(net) => {
            let first = u128::from(net.addr());
            (std::net::Ipv6Addr::from(first + 1).into(), std::net::Ipv6Addr::from(first + 100).into())
        }
    };
    let router: std::net::IpAddr = router;
    let own: std::net::IpAddr = own;
    anyhow::ensure!(net.contains(&own), "{subnet} is too small for the lab's host");
    Ok((router.to_string(), IpNet::new(own, net.prefix_len())?))
}

async fn wire(a: &Machine, a_interface: &str, b: &Machine, b_interface: &str) -> Result<()> {
    // Not run on the machine: one with files of its own does not see the names of namespaces.
    let (a_name, b_name) = (a.namespace.as_str(), b.namespace.as_str());
    let add = ["-n", a_name, "link", "add", a_interface, "type", "veth", "peer", "name", b_interface, "netns", b_name];
    host_command("ip", &add).await?.text()?;
    a.run("ip", &["link", "set", a_interface, "up"]).await?.text()?;
    b.run("ip", &["link", "set", b_interface, "up"]).await?.text()?;
    Ok(())
}

async fn assign(machine: &Machine, interface: &str, address: &str) -> Result<()> {
    let mut arguments = vec!["address", "add", address, "dev", interface];
    if address.contains(':') {
        arguments.push("nodad");
    }
    machine.run("ip", &arguments).await?.text().map(drop)
}

async fn default_route(machine: &Machine, router: &str) -> Result<()> {
    machine.run("ip", &["route", "replace", "default", "via", router]).await?.text().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_host_lie_in_the_subnet() {
        let (router, own) = router_and_host("172.16.32.0/22").expect("a subnet");
        assert_eq!((router.as_str(), own.to_string().as_str()), ("172.16.32.1", "172.16.32.100/22"));
        let (router, own) = router_and_host("fd5f:519c:6d46:1::/64").expect("a subnet");
        assert_eq!((router.as_str(), own.to_string().as_str()), ("fd5f:519c:6d46:1::1", "fd5f:519c:6d46:1::64/64"));
        assert!(router_and_host("10.0.0.0/28").is_err());
    }

    #[test]
    fn ids_are_short() {
        assert!((1..=6).contains(&default_id().len()));
    }
}
