//! A controller on a machine of its own and gateway nodes on one underlay, each with a port of one switch.
//!
//! ```text
//!   control ── inet ── underlay ─┬─ spare ─┬─ switch
//!                                ├─ node ──┤
//!                                └─ third ─┘
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Lab, addresses, assign, default_route, wire};
use crate::api::Api;
use crate::capture::Capture;
use crate::clock::SetClock;
use crate::machine::{Machine, Running};
use crate::service::{Service, tail};
use crate::wait::eventually;

/// Where nodes find the controller.
pub const CONTROL: &str = "198.18.0.1";
const CONTROL_ROUTER: &str = "198.18.0.254";
/// In the order in which they join.
const NAMES: [&str; 3] = ["spare", "node", "third"];
/// A machine that is no node's, with a copy of one.
pub const THIEF: &str = "thief";
/// Where the tunnels between nodes end (UDP).
const TUNNELS: u16 = 4431;
/// A machine's port of the switch that Private Networks can be mapped to.
pub const LAN: &str = "lan0";
/// How the names of the files begin that say whether a machine runs.
const STATES: &str = "machine-";
/// Attaches to the named threads of a process and interrupts them (ptrace), until it ends.
const FREEZE: &str = r#"
import ctypes, os, sys, time
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
tasks = "/proc/%s/task" % sys.argv[1]
found = {}
for task in os.listdir(tasks):
    try:
        found[open("%s/%s/comm" % (tasks, task)).read().strip()] = int(task)
    except (FileNotFoundError, ProcessLookupError):
        pass  # a thread that has just ended
for name in sys.argv[2:]:
    for request in PTRACE_SEIZE, PTRACE_INTERRUPT:
        if libc.ptrace(request, found[name], None, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
    while open("%s/%s/stat" % (tasks, found[name])).read().rsplit(")", 1)[1].split()[0] != "t":
        time.sleep(0.01)
print("frozen", flush=True)
time.sleep(3600)
"#;
/// How long a node may take to become up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The nodes, by name: `spare` joined first, `node` second, `third` third.
#[derive(Debug)]
pub struct Fleet {
    machines: BTreeMap<&'static str, Machine>,
    switch: Machine,
    running: BTreeMap<&'static str, Running>,
    folder: PathBuf,
    program: PathBuf,
}

impl Lab {
    /// Moves the service to a machine of its own, without a node in its process, and makes machines on one underlay its nodes: two, or three
    /// where gateways of a stopped machine start on another.
    ///
    /// # Errors
    /// A step that failed, with the logs.
    pub async fn start_fleet(&mut self, failover: bool) -> Result<(Api, Fleet)> {
        let control = Machine::create(&self.ledger, "control").await?.with_own_namespaces().await?;
        wire(&self.inet, "ctl0", &control, "eth0").await?;
        assign(&self.inet, "ctl0", &format!("{CONTROL_ROUTER}/24")).await?;
        assign(&control, "eth0", &format!("{CONTROL}/24")).await?;
        default_route(&control, CONTROL_ROUTER).await?;
        // An address of its own: a bridge without one takes that of a new port if it is lower, and what is sent to the old one is lost.
        let bridge = "ip link add seg0 address 02:00:5e:00:53:01 type bridge; ip link set seg0 up";
        self.inet.shell(&format!("{bridge}; ip address flush dev under0")).await?;
        for (router, length) in addresses::UNDERLAY_ROUTER.into_iter().zip(["24", "64"]) {
            assign(&self.inet, "seg0", &format!("{router}/{length}")).await?;
        }
        let switch = Machine::create(&self.ledger, "lan").await?;
        switch.shell("ip link add sw0 type bridge; ip link set sw0 up").await?;
        let names = if failover { &NAMES[..] } else { &NAMES[..2] };
        let mut machines = BTreeMap::new();
        for name in names {
            let (port, machine) = match *name {
                "node" => ("under0".to_owned(), self.node.clone()),
                name => {
                    let machine = Machine::create(&self.ledger, name).await?;
                    let port = format!("under-{name}");
                    wire(&self.inet, &port, &machine, "up0").await?;
                    (port, machine)
                }
            };
            self.inet.run("ip", &["link", "set", &port, "master", "seg0"]).await?.text()?;
            let port = format!("to-{name}");
            wire(&switch, &port, &machine, "lan0").await?;
            switch.run("ip", &["link", "set", &port, "master", "sw0"]).await?.text()?;
            configure(name, &machine).await?;
            machines.insert(*name, machine.with_own_namespaces().await?);
        }
        self.service.move_to(control, &format!("{CONTROL}:443"));
        let folder = self.folder.clone();
        if failover {
            let states = folder.join(STATES).display().to_string();
            self.service.fail_over(&format!("cat {states}$CAUSEWAY_NODE_NAME"));
        }
        let api = self.start_service().await?;
        let program = self.service.program().to_owned();
        let mut fleet = Fleet { machines, switch, running: BTreeMap::new(), folder, program };
        for name in names {
            fleet.set_machine_state(name, "running")?;
            fleet.join(&self.service, name).await.with_context(|| format!("node {name}"))?;
            fleet.run(name)?;
            let up = fleet.wait_state(&self.service, name, "up").await;
            up.with_context(|| format!("the end of the log of {name}:\n{}", fleet.log_tail(name)))?;
        }
        Ok((api, fleet))
    }

    /// Plugs the host into the switch that all nodes have a port of ([`LAN`]), and gives it an address of each subnet.
    ///
    /// # Errors
    /// A command fails.
    pub async fn attach_host_to_switch(&mut self, fleet: &Fleet, subnets: &[String]) -> Result<()> {
        wire(&fleet.switch, "to-host", &self.host, "eth0").await?;
        fleet.switch.run("ip", &["link", "set", "to-host", "master", "sw0"]).await?.text()?;
        self.host_addresses = Self::number(&self.host, subnets).await?;
        Ok(())
    }
}

/// What a machine has before any program runs on it.
async fn configure(name: &str, machine: &Machine) -> Result<()> {
    let [ipv4, ipv6] = own_addresses(name);
    machine
        .shell("for port in up0 lan0; do ip link set $port up; ip address flush dev $port scope global; done")
        .await?;
    assign(machine, "up0", &format!("{ipv4}/24")).await?;
    assign(machine, "up0", &format!("{ipv6}/64")).await?;
    for router in addresses::UNDERLAY_ROUTER {
        default_route(machine, router).await?;
    }
    Ok(())
}

/// A node's own addresses on the underlay: those of `node` as in every lab, the others' below.
fn own_addresses(name: &str) -> [String; 2] {
    let below = match name {
        "spare" => 1,
        "third" => 2,
        THIEF => 3,
        _ => 0,
    };
    [format!("192.0.2.{}", 253 - below), format!("2001:db8:0:1::{:x}", 0xfffd - below)]
}

impl Fleet {
    /// A node's data directory.
    #[must_use]
    pub fn data(&self, name: &str) -> String {
        self.folder.join(format!("data-{name}")).display().to_string()
    }

    /// A node's machine.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn machine(&self, name: &str) -> Result<&Machine> {
        self.machines.get(name).with_context(|| format!("no machine {name}"))
    }

    async fn join(&self, service: &Service, name: &str) -> Result<()> {
        let token = service.command_line("node token create -o json").await?;
        let token: serde_json::Value = serde_json::from_str(&token)?;
        let token = token.get("token").and_then(serde_json::Value::as_str).context("no token")?;
        let (program, data) = (self.program.display(), self.data(name));
        let join =
            format!("CAUSEWAY_JOIN_TOKEN={token} {program} node join https://{CONTROL} --data {data} --name {name}");
        let told = self.machine(name)?.shell(&join).await?;
        ensure!(told.contains("joined zone"), "{told}");
        Ok(())
    }

    /// Starts a node's process.
    ///
    /// # Errors
    /// It does not start, or runs already.
    pub fn run(&mut self, name: &'static str) -> Result<()> {
        self.run_with(name, &[("CAUSEWAY_NODE_UNDERLAY", "up0")])
    }

    /// As [`Self::run`], with a clock that can be set.
    ///
    /// # Errors
    /// As there.
    pub fn run_by(&mut self, name: &'static str, clock: &SetClock) -> Result<()> {
        let environment = clock.environment();
        let mut all: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.push(("CAUSEWAY_NODE_UNDERLAY", "up0"));
        self.run_with(name, &all)
    }

    /// As [`Self::run`], with this environment.
    ///
    /// # Errors
    /// As there.
    pub fn run_with(&mut self, name: &'static str, environment: &[(&str, &str)]) -> Result<()> {
        ensure!(!self.running.contains_key(name), "{name} runs already");
        let (program, data) = (self.program.display().to_string(), self.data(name));
        let log = self.folder.join(format!("{name}.log"));
        let running = self.machine(name)?.start(&program, &["node", "run", &data], environment, &log)?;
        self.running.insert(name, running);
        Ok(())
    }

    /// The id of a node's process.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self, name: &str) -> Result<i32> {
        Ok(self.running.get(name).with_context(|| format!("{name} does not run"))?.pid())
    }

    /// SIGKILL of a node's process.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        self.running.remove(name).with_context(|| format!("{name} does not run"))?.kill().await;
        Ok(())
    }

    /// Stops a node's process where it is (SIGSTOP), or lets it go on (SIGCONT). Its kernel goes on in any case.
    ///
    /// # Errors
    /// It does not run.
    pub async fn signal(&self, name: &str, signal: &str) -> Result<()> {
        let pid = self.pid(name)?;
        self.machine(name)?.shell(&format!("kill -{signal} {pid}")).await.map(drop)
    }

    /// Stops threads of a node's process where they are, and lets all others go on. They go on when the program that is answered ends.
    ///
    /// # Errors
    /// The node does not run, has no such thread, or ptrace refuses.
    pub async fn freeze(&self, name: &str, threads: &[&str]) -> Result<Running> {
        let log = self.folder.join(format!("{name}-frozen.log"));
        let _ = std::fs::remove_file(&log);
        let pid = self.pid(name)?.to_string();
        let arguments: Vec<&str> = ["-c", FREEZE, &pid].into_iter().chain(threads.iter().copied()).collect();
        let running = self.machine(name)?.start("python3", &arguments, &[], &log)?;
        eventually("the threads stand still", PATIENCE, || async {
            let said = std::fs::read_to_string(&log)?;
            ensure!(said.contains("frozen"), "{said}");
            Ok(())
        })
        .await?;
        Ok(running)
    }

    /// Loses what a node and its voters, the controller and the other nodes, say to each other: what comes in, what goes out, or both. What the
    /// node forwards goes on.
    ///
    /// # Errors
    /// nft refuses the rules.
    pub async fn part(&self, name: &str, inwards: bool, outwards: bool) -> Result<()> {
        let others: Vec<String> =
            self.names().filter(|other| *other != name).map(|other| self.own_address(other)).collect();
        let voters = format!("{CONTROL}, {}", others.join(", "));
        let mut rules = String::from("add table ip parted; ");
        for (hook, side, wanted) in [("input", "saddr", inwards), ("output", "daddr", outwards)] {
            if wanted {
                rules.push_str(&format!(
                    "add chain ip parted {hook} {{ type filter hook {hook} priority 0; }}; \
                     add rule ip parted {hook} ip {side} {{ {voters} }} drop; "
                ));
            }
        }
        self.machine(name)?.shell(&format!("nft '{rules}'")).await.map(drop)
    }

    /// Undoes [`Self::part`].
    ///
    /// # Errors
    /// nft fails.
    pub async fn unite(&self, name: &str) -> Result<()> {
        self.machine(name)?.shell("nft 'add table ip parted; delete table ip parted'").await.map(drop)
    }

    /// Captures what a node sends from now on, towards the Internet and towards the switch.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub async fn watch(&self, lab: &Lab, name: &str) -> Result<[Capture; 2]> {
        let outside = if name == "node" { "under0".to_owned() } else { format!("under-{name}") };
        // Earlier captures go on until the lab ends.
        let files = |side: &'static str| (0..).map(move |number| format!("{name}-{side}-{number}.pcap"));
        let file =
            |side| files(side).map(|file| self.folder.join(file)).find(|path| !path.exists()).unwrap_or_default();
        Ok([
            Capture::start_incoming(&lab.inet, &outside, file("outside")).await?,
            Capture::start_incoming(&self.switch, &format!("to-{name}"), file("inside")).await?,
        ])
    }

    /// A machine [`THIEF`] with links as the nodes', on it the process of a copy of a node's directory, and captures of all that it sends.
    ///
    /// # Errors
    /// A command fails.
    pub async fn steal(&self, lab: &Lab, name: &str) -> Result<(Running, [Capture; 2])> {
        let machine = Machine::create(&lab.ledger, THIEF).await?;
        for (at, port, own, bridge) in
            [(&lab.inet, "under-thief", "up0", "seg0"), (&self.switch, "to-thief", "lan0", "sw0")]
        {
            wire(at, port, &machine, own).await?;
            at.run("ip", &["link", "set", port, "master", bridge]).await?.text()?;
        }
        configure(THIEF, &machine).await?;
        let machine = machine.with_own_namespaces().await?;
        let copy = self.data(THIEF);
        // The node writes there: a file that was listed may be gone when it is opened.
        let take = format!("cp -a {} {copy}", self.data(name));
        machine.shell(&format!("{take} || {{ rm -rf {copy}; {take}; }} || {{ rm -rf {copy}; {take}; }}")).await?;
        let captures = self.watch(lab, THIEF).await?;
        let log = self.folder.join(format!("{THIEF}.log"));
        let program = self.program.display().to_string();
        let environment = [("CAUSEWAY_NODE_UNDERLAY", "up0")];
        Ok((machine.start(&program, &["node", "run", &copy], &environment, &log)?, captures))
    }

    /// What the operator's own means say of a node's machine.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_machine_state(&self, name: &str, state: &str) -> Result<()> {
        // In one piece: who reads it meanwhile sees the old or the new word.
        let (new, path) = (self.folder.join("machine.new"), self.folder.join(format!("{STATES}{name}")));
        std::fs::write(&new, state)?;
        Ok(std::fs::rename(new, path)?)
    }

    /// Cuts a machine's power: its links, its process (SIGKILL), and all that its kernel had. The operator's means know.
    ///
    /// # Errors
    /// It does not run, or a command fails.
    pub async fn power_off(&mut self, name: &str) -> Result<()> {
        self.lose_power(name).await?;
        self.set_machine_state(name, "stopped")
    }

    /// As [`Self::power_off`], and nobody is told.
    ///
    /// # Errors
    /// As there.
    pub async fn lose_power(&mut self, name: &str) -> Result<()> {
        let machine = self.machine(name)?.clone();
        machine.shell("ip link set up0 down; ip link set lan0 down").await?;
        self.kill(name).await?;
        machine
            .shell(
                "ip netns list | cut -d ' ' -f 1 | xargs -r -n 1 ip netns delete; \
                 for name in $(ls /sys/class/net); do if [ -e /sys/class/net/$name/bridge ]; then ip link delete $name; fi; done; \
                 ip address flush dev up0 scope global; nft flush ruleset",
            )
            .await
            .map(drop)
    }

    /// The power is back: links, addresses, the node's process.
    ///
    /// # Errors
    /// It runs already, or a command fails.
    pub async fn power_on(&mut self, name: &'static str) -> Result<()> {
        configure(name, self.machine(name)?).await?;
        self.set_machine_state(name, "running")?;
        self.run(name)
    }

    /// Loses what comes to a node out of its tunnels to other nodes: their questions and their answers.
    ///
    /// # Errors
    /// nft refuses the rule.
    pub async fn deafen(&self, name: &str) -> Result<()> {
        let rules = format!(
            "nft 'add table inet deaf; add chain inet deaf in {{ type filter hook input priority 0; }}; \
             add rule inet deaf in udp dport {TUNNELS} drop'"
        );
        self.machine(name)?.shell(&rules).await.map(drop)
    }

    /// Undoes [`Self::deafen`].
    ///
    /// # Errors
    /// nft fails.
    pub async fn undeafen(&self, name: &str) -> Result<()> {
        self.machine(name)?.shell("nft 'add table inet deaf; delete table inet deaf'").await.map(drop)
    }

    /// Drops what comes to a node's TCP port 443, as a filter of its operator's may.
    ///
    /// # Errors
    /// nft refuses the rule.
    pub async fn block(&self, name: &str) -> Result<()> {
        let rules = "nft 'add table inet site; add chain inet site in { type filter hook input priority 0; }; \
                     add rule inet site in tcp dport 443 drop'";
        self.machine(name)?.shell(rules).await.map(drop)
    }

    /// Undoes [`Self::block`].
    ///
    /// # Errors
    /// nft fails.
    pub async fn unblock(&self, name: &str) -> Result<()> {
        self.machine(name)?.shell("nft delete table inet site").await.map(drop)
    }

    /// The names of all nodes.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.machines.keys().copied()
    }

    /// The address by which a node speaks to its controller.
    #[must_use]
    pub fn own_address(&self, name: &str) -> String {
        let [ipv4, _] = own_addresses(name);
        ipv4
    }

    /// The nodes whose underlay has an address.
    ///
    /// # Errors
    /// A command fails.
    pub async fn holders(&self, address: &str) -> Result<Vec<&'static str>> {
        let mut holders = Vec::new();
        for (name, machine) in &self.machines {
            let shown = machine.run("ip", &["-o", "address", "show", "dev", "up0", "to", address]).await?.text()?;
            if !shown.trim().is_empty() {
                holders.push(*name);
            }
        }
        Ok(holders)
    }

    /// The node that carries a gateway, as the controller sees it.
    ///
    /// # Errors
    /// None does.
    pub async fn carrier(&self, service: &Service, gateway: &str) -> Result<&'static str> {
        for name in self.names() {
            let node = self.node(service, name).await?;
            let carried = node.get("gateways").and_then(serde_json::Value::as_array);
            if carried.is_some_and(|carried| carried.iter().any(|id| id == gateway)) {
                return Ok(name);
            }
        }
        anyhow::bail!("no node carries {gateway}")
    }

    /// Waits until a node's process has ended by itself.
    ///
    /// # Errors
    /// It goes on.
    pub async fn ended(&mut self, name: &str) -> Result<()> {
        let mut running = self.running.remove(name).with_context(|| format!("{name} does not run"))?;
        tokio::time::timeout(PATIENCE, running.wait()).await.with_context(|| format!("{name} goes on"))?;
        Ok(())
    }

    /// A node as the controller sees it.
    ///
    /// # Errors
    /// The controller does not say.
    pub async fn node(&self, service: &Service, name: &str) -> Result<serde_json::Value> {
        Ok(serde_json::from_str(&service.command_line(&format!("node get {name} -o json")).await?)?)
    }

    /// Waits for a node's state.
    ///
    /// # Errors
    /// It has another one.
    pub async fn wait_state(&self, service: &Service, name: &str, state: &str) -> Result<()> {
        eventually(&format!("node {name} is {state}"), PATIENCE, || async {
            let node = self.node(service, name).await?;
            ensure!(node.get("state").is_some_and(|found| found == state), "{node}");
            Ok(())
        })
        .await
    }

    /// The end of a node's log.
    #[must_use]
    pub fn log_tail(&self, name: &str) -> String {
        tail(&self.folder.join(format!("{name}.log")), 30)
    }

    /// The whole log of a node's process.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        tail(&self.folder.join(format!("{name}.log")), usize::MAX)
    }
}
