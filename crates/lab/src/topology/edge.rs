//! The customer's router at the far end of an InterLink, with BIRD. The office behind the site is behind it, too.
//!
//! ```text
//!   node (if1) ── InterLink ── edge ── office
//! ```

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Lab, addresses, assign, wire};
use crate::machine::{Machine, Running};
use crate::wait::eventually;

/// The interface of the node that carries the link.
pub(crate) const PORT: &str = "if1";
/// Hold time that BIRD asks for, seconds: the lower one counts.
pub(crate) const HOLD_TIME: u16 = 9;
/// The edge and the office on the wire between them.
const LAN: [[&str; 2]; 2] = [["10.20.1.1", "10.20.1.2"], ["fd20:0:2::1", "fd20:0:2::2"]];

/// The router.
#[derive(Debug)]
pub struct Edge {
    /// Where it runs.
    pub(crate) machine: Machine,
    folder: PathBuf,
    bird: Option<Running>,
}

impl Lab {
    /// Adds the router, wired to the node and to the office.
    ///
    /// # Errors
    /// A command fails.
    pub async fn add_edge(&mut self) -> Result<Edge> {
        let folder = self.folder.join("edge");
        std::fs::create_dir_all(&folder)?;
        let machine = Machine::create(&self.ledger, "edge").await?;
        wire(&self.node, PORT, &machine, "wan0").await?;
        wire(&machine, "lan0", &self.office, "eth1").await?;
        for ([router, office], (length, prefix)) in LAN.into_iter().zip([("30", 0), ("126", 1)]) {
            assign(&machine, "lan0", &format!("{router}/{length}")).await?;
            assign(&self.office, "eth1", &format!("{office}/{length}")).await?;
            let behind = addresses::SITE_PREFIXES.get(prefix).context("a prefix")?;
            machine.run("ip", &["route", "add", behind, "via", office]).await?.text()?;
        }
        Ok(Edge { machine, folder, bird: None })
    }
}

impl Edge {
    /// Starts BIRD with what the link's document says: a session of each family, over which it announces what is behind the site.
    ///
    /// # Errors
    /// The document is not as expected, or BIRD does not start.
    pub async fn start(&mut self, link: &serde_json::Value) -> Result<()> {
        let field = |side: &str, name: &str| crate::api::text(link, &format!("/{side}/{name}"));
        let (ours, theirs) = (field("scw_bgp_config", "asn")?, field("peer_bgp_config", "asn")?);
        let mut text = "log stderr all;\nrouter id 10.20.1.1;\nprotocol device { }\n".to_owned();
        for ((word, prefix), number) in ["ipv4", "ipv6"].into_iter().zip(addresses::SITE_PREFIXES).zip([0, 1]) {
            let (gateway, own) = (field("scw_bgp_config", word)?, field("peer_bgp_config", word)?);
            assign(&self.machine, "wan0", &own).await?;
            let (gateway, own) = (address(&gateway), address(&own));
            let office = LAN.get(number).context("a family")?[1];
            text.push_str(&format!(
                "protocol static s_{word} {{ {word}; route {prefix} via {office}; }}\n\
                 protocol kernel k_{word} {{ {word} {{ export where source = RTS_BGP; }}; }}\n\
                 protocol bgp b_{word} {{ local {own} as {theirs}; neighbor {gateway} as {ours};\n\
                 hold time {HOLD_TIME}; connect delay time 1; connect retry time 2; error wait time 1, 2;\n\
                 {word} {{ import all; export where source = RTS_STATIC; next hop self; }}; }}\n"
            ));
        }
        std::fs::write(self.folder.join("bird.conf"), text)?;
        let path = |name: &str| self.folder.join(name).display().to_string();
        let (conf, control, pid) = (path("bird.conf"), path("bird.ctl"), path("bird.pid"));
        let arguments = ["-f", "-c", &conf, "-s", &control, "-P", &pid];
        self.bird = Some(self.machine.start("bird", &arguments, &[], &self.folder.join("bird.log"))?);
        eventually("BIRD on the edge answers", Duration::from_secs(10), || async {
            self.birdc("show status").await.map(drop)
        })
        .await
    }

    /// What `birdc COMMAND` prints.
    ///
    /// # Errors
    /// It fails.
    pub async fn birdc(&self, command: &str) -> Result<String> {
        self.machine.shell(&format!("birdc -s {} {command}", self.folder.join("bird.ctl").display())).await
    }

    /// Ends BIRD.
    pub async fn stop(&mut self) {
        if let Some(bird) = self.bird.take() {
            bird.terminate(Duration::from_secs(3)).await;
        }
    }

    /// Has the office answer these networks over the edge instead of the site.
    ///
    /// # Errors
    /// A command fails.
    pub async fn answers(&self, office: &Machine, networks: &[String]) -> Result<()> {
        for network in networks {
            let family = usize::from(network.contains(':'));
            // From the address that the policy lets in, not from that of the wire to the edge.
            let ([router, _], own) = (LAN[family], addresses::OFFICE[family]);
            office.run("ip", &["route", "replace", network, "via", router, "src", own]).await?.text()?;
        }
        Ok(())
    }

    /// Takes the link's carrier away, or gives it back.
    ///
    /// # Errors
    /// A command fails.
    pub async fn carrier(&self, on: bool, link: &serde_json::Value) -> Result<()> {
        self.machine.run("ip", &["link", "set", "wan0", if on { "up" } else { "down" }]).await?.text()?;
        if on {
            // The kernel keeps IPv4 addresses and forgets those of IPv6.
            let own = crate::api::text(link, "/peer_bgp_config/ipv6")?;
            self.machine.run("ip", &["address", "replace", &own, "dev", "wan0", "nodad"]).await?.text()?;
        }
        Ok(())
    }

    /// Loses everything on the link and keeps its carrier, or lets it pass again.
    ///
    /// # Errors
    /// nft fails.
    pub async fn silent(&self, on: bool) -> Result<()> {
        let rules = if on {
            "nft 'add table netdev silent; add chain netdev silent in { type filter hook ingress device wan0 priority 0; policy drop; }; \
             add table inet silent; add chain inet silent out { type filter hook output priority 0; }; \
             add rule inet silent out oifname wan0 drop'"
        } else {
            "nft 'delete table netdev silent; delete table inet silent'"
        };
        self.machine.shell(rules).await.map(drop)
    }

    /// Packets that came in over the link.
    ///
    /// # Errors
    /// The counter cannot be read.
    pub async fn arrived(&self) -> Result<u64> {
        // Not from /sys, which shows the namespace that it was mounted in.
        let shown = self.machine.run("ip", &["-j", "-s", "link", "show", "dev", "wan0"]).await?.text()?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        shown.pointer("/0/stats64/rx/packets").and_then(serde_json::Value::as_u64).context("a counter")
    }

    /// The end of BIRD's log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        crate::service::tail(&self.folder.join("bird.log"), lines)
    }
}

/// Without its mask.
fn address(net: &str) -> &str {
    net.split('/').next().unwrap_or(net)
}

/// Whether both of the edge's sessions are established.
pub(crate) async fn sessions_up(edge: &Edge) -> Result<()> {
    let shown = edge.birdc("show protocols").await?;
    ensure!(shown.matches("Established").count() == 2, "{shown}");
    Ok(())
}
