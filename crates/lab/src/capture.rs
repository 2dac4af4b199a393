//! What the wire carries: a tcpdump on one interface and a summary by kind of packet.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::machine::{Machine, Running};

/// Address resolution and neighbour discovery (RFC 4861), the multicast reports that belong to it included.
const NEIGHBOURS: &str = "arp or icmp6 or (ip6 and ip6[6] == 0)";
const IKE: &str = "udp port 500";
/// The non-ESP marker (RFC 3948 §2.2) tells IKE from ESP on this port.
const ENCAPSULATED: &str = "udp port 4500";

/// A capture that runs.
#[derive(Debug)]
pub struct Capture {
    machine: Machine,
    file: PathBuf,
    running: Running,
}

/// Packets by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSummary {
    /// UDP port 500.
    pub udp_500: usize,
    /// UDP port 4500.
    pub udp_4500: usize,
    /// ARP, neighbour discovery and multicast listener reports.
    pub neighbours: usize,
    /// Everything else, as tcpdump prints it.
    pub other: Vec<String>,
}

impl std::fmt::Display for CaptureSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} packets on UDP 500, {} on UDP 4500, {} of ARP and ND, {} others",
            self.udp_500,
            self.udp_4500,
            self.neighbours,
            self.other.len()
        )
    }
}

impl Capture {
    /// Starts capturing on `interface` of `machine`; the packets go to `file`.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub async fn start(machine: &Machine, interface: &str, file: PathBuf) -> Result<Self> {
        Self::begin(machine, interface, "inout", file).await
    }

    /// As [`Self::start`], of what comes in there only: what the machine at the other end of the wire sends.
    ///
    /// # Errors
    /// As there.
    pub async fn start_incoming(machine: &Machine, interface: &str, file: PathBuf) -> Result<Self> {
        Self::begin(machine, interface, "in", file).await
    }

    async fn begin(machine: &Machine, interface: &str, direction: &str, file: PathBuf) -> Result<Self> {
        let log = file.with_extension("log");
        let path = file.display().to_string();
        // The log of an earlier capture would say that this one listens.
        let _ = std::fs::remove_file(&log);
        let arguments =
            ["-i", interface, "-Q", direction, "-n", "-U", "--immediate-mode", "-s", "128", "-Z", "root", "-w", &path];
        let running = machine.start("tcpdump", &arguments, &[], &log)?;
        crate::wait::eventually("tcpdump captures", Duration::from_secs(30), || async {
            ensure!(std::fs::read_to_string(&log)?.contains("listening on"), "it does not listen yet");
            Ok(())
        })
        .await?;
        Ok(Self { machine: machine.clone(), file, running })
    }

    /// When packets passed, as tcpdump's `filter` picks them: seconds by the kernel's clock, which all machines of the lab share. The capture
    /// goes on.
    ///
    /// # Errors
    /// The packets cannot be read.
    pub async fn times(&self, filter: &str) -> Result<Vec<f64>> {
        // What is on its way to tcpdump shall be counted.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let path = self.file.display().to_string();
        // The last packet may not be whole yet, which tcpdump counts for a failure.
        let output = self.machine.run("tcpdump", &["-n", "-tt", "-r", &path, filter]).await?;
        Ok(output.stdout.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect())
    }

    /// Ends the capture and counts.
    ///
    /// # Errors
    /// The packets cannot be read.
    pub async fn finish(self) -> Result<CaptureSummary> {
        // What is on its way to tcpdump shall be counted.
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.running.terminate(Duration::from_secs(3)).await;
        let path = self.file.display().to_string();
        let mut found = Vec::new();
        let rest = format!("not ({IKE} or {ENCAPSULATED} or {NEIGHBOURS})");
        for filter in [IKE, ENCAPSULATED, NEIGHBOURS, &rest] {
            let output = self.machine.run("tcpdump", &["-n", "-r", &path, filter]).await?.text()?;
            found.push(output.lines().map(str::to_owned).collect::<Vec<_>>());
        }
        let count = |index: usize| found.get(index).map_or(0, Vec::len);
        Ok(CaptureSummary {
            udp_500: count(0),
            udp_4500: count(1),
            neighbours: count(2),
            other: found.get(3).cloned().unwrap_or_default(),
        })
    }
}
