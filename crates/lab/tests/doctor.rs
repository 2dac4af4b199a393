//! `causeway doctor node` over faults that are really there: a controller and two nodes as processes of three machines, and what people do
//! to machines, filters and processes between them. Each fault is named by the first check that fails, and gone when it is undone.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Fleet, Lab, Scene, eventually};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
const CONTROL: &str = "198.18.0.1";
/// The node that falls ill.
const NODE: &str = "spare";

/// A controller with its nodes, of which one is ill at times.
struct Ward {
    lab: Lab,
    fleet: Fleet,
}

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Ward {
    /// What the doctor says, as the command line prints it.
    async fn examine(&self) -> Result<Value> {
        let program = self.lab.service.program().display().to_string();
        let script = format!(
            ". {}/operator.env; {program} doctor node {NODE} -o json || test $? = 1",
            self.lab.service.data().display()
        );
        let shown = self.lab.service.machine().shell(&script).await?;
        serde_json::from_str(&shown).with_context(|| shown)
    }

    /// Waits until the first check that fails is this one, with these words in its evidence.
    async fn names(&self, fault: &str, check: &str, words: &str) -> Result<()> {
        eventually(&format!("{fault}: the doctor names {check}"), PATIENCE, || async {
            let diagnosis = self.examine().await?;
            ensure!(text(&diagnosis, "/failed") == check, "{diagnosis:#}");
            let checks = diagnosis.get("checks").and_then(Value::as_array).context("no checks")?;
            let found = checks.iter().find(|found| text(found, "/name") == check).context("no such check")?;
            ensure!(text(found, "/evidence").contains(words), "{found:#}");
            ensure!(!text(found, "/remedy").is_empty(), "{found:#}");
            Ok(())
        })
        .await
    }

    /// Waits until nothing fails.
    async fn is_well(&self, after: &str) -> Result<()> {
        eventually(&format!("{after}: nothing fails"), PATIENCE, || async {
            let diagnosis = self.examine().await?;
            ensure!(diagnosis.get("failed").is_some_and(Value::is_null), "{diagnosis:#}");
            ensure!(text(&diagnosis, "/state") == "up", "{diagnosis:#}");
            Ok(())
        })
        .await
    }

    async fn on_node(&self, script: &str) -> Result<String> {
        self.fleet.machine(NODE)?.shell(script).await
    }

    /// A fault that is made and undone by scripts.
    async fn fault(
        &self,
        what: &str,
        machine: &causeway_lab::Machine,
        scripts: (&str, &str),
        seen: (&str, &str),
    ) -> Result<()> {
        machine.shell(scripts.0).await.with_context(|| what.to_owned())?;
        self.names(what, seen.0, seen.1).await?;
        machine.shell(scripts.1).await.with_context(|| what.to_owned())?;
        self.is_well(what).await
    }
}

/// Drops what a chain of this hook meets.
fn filter(hook: &str, rule: &str) -> String {
    format!(
        "nft add table inet site; nft 'add chain inet site in {{ type filter hook {hook} priority 0; }}'; nft 'add rule inet site in {rule}'"
    )
}

const UNDO: &str = "nft delete table inet site";

async fn between_machines(ward: &mut Ward) -> Result<()> {
    let inet = ward.lab.inet.clone();
    let control = ward.lab.service.machine().clone();
    let node = ward.fleet.machine(NODE)?.clone();
    let address = text(&ward.examine().await?, "/probed").split(':').next().unwrap_or_default().to_owned();
    ensure!(!address.is_empty(), "the node is probed nowhere");

    let own = filter("input", "tcp dport 443 drop");
    ward.fault("the controller's filter", &control, (&own, UNDO), ("controller_443", "site")).await?;
    let own = filter("input", "tcp dport 443 drop");
    ward.fault("the node's filter", &node, (&own, UNDO), ("node_443", "site")).await?;
    let one_way = filter("forward", &format!("ip saddr {address} ip daddr {CONTROL} tcp dport 443 drop"));
    ward.fault("a filter towards the controller", &inet, (&one_way, UNDO), ("to_controller", "")).await?;
    let other_way = filter("forward", &format!("ip saddr {CONTROL} ip daddr {address} tcp dport 443 drop"));
    ward.fault("a filter towards the node", &inet, (&other_way, UNDO), ("to_node", &address)).await?;
    let both = filter("forward", &format!("ip saddr {address} drop"));
    ward.fault("a cable", &inet, (&both, UNDO), ("to_controller", "either direction")).await
}

async fn on_the_machine(ward: &mut Ward) -> Result<()> {
    let node = ward.fleet.machine(NODE)?.clone();
    let data = ward.fleet.data(NODE);
    let full = format!("mount --bind {data} {data}; mount -o remount,ro,bind {data}");
    ward.fault("a disk that takes nothing", &node, (&full, &format!("umount {data}")), ("disk", "written")).await?;
    let nft = ("mount --bind /bin/false /usr/sbin/nft", "umount /usr/sbin/nft");
    ward.fault("no nft", &node, nft, ("node_443", "nft")).await?;
    let small = ("ip link set up0 mtu 1000", "ip link set up0 mtu 1500");
    ward.fault("a small MTU", &node, small, ("underlay", "1000")).await?;

    // What somebody takes away is put back, and told.
    ward.on_node("nft flush chain inet causeway_node input").await?;
    eventually("the rule is restored, and that is told", PATIENCE, || async {
        let diagnosis = ward.examine().await?;
        ensure!(diagnosis.to_string().contains("the node restored it"), "{diagnosis:#}");
        let rules = ward.on_node("nft list chain inet causeway_node input").await?;
        ensure!(rules.contains(&format!("ip saddr {CONTROL}")) && rules.contains("dport 443 drop"), "{rules}");
        Ok(())
    })
    .await?;
    ward.is_well("the rule").await
}

/// Holds one thread of a process for as long as it runs; the kernel lets the thread go on when it ends.
const HOLD: &str = r#"
import ctypes, os, sys, time
pid, name = sys.argv[1:]
tasks = f'/proc/{pid}/task'
def named(task):
    try:
        return open(f'{tasks}/{task}/comm').read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None  # a thread that has just ended
held = [task for task in os.listdir(tasks) if named(task) == name]
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes, ptrace.restype = [ctypes.c_long] * 4, ctypes.c_long
for request in (0x4206, 0x4207):  # PTRACE_SEIZE, PTRACE_INTERRUPT
    if ptrace(request, int(held[0]), 0, 0) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
time.sleep(3600)
"#;

/// A service that the node cannot do without stands still, while the node's process goes on and says so.
async fn services(ward: &mut Ward) -> Result<()> {
    let pid = ward.fleet.pid(NODE)?.to_string();
    for thread in ["tun-to-udp", "udp-to-tun"] {
        let log = ward.lab.folder().join(format!("{thread}.log"));
        let holder = ward.fleet.machine(NODE)?.start("python3", &["-c", HOLD, &pid, thread], &[], &log)?;
        let outcome: Result<()> = async {
            eventually("the node is down, read with the command line", PATIENCE, || async {
                let list = ward.lab.service.command_line("node list").await?;
                let line = list.lines().find(|line| line.starts_with(NODE)).context("it is not listed")?;
                ensure!(line.contains(" down ") && line.contains(" critical_service_dead "), "{line}");
                Ok(())
            })
            .await?;
            let node = ward.fleet.node(&ward.lab.service, NODE).await?;
            let error = text(&node, "/reason/evidence/error");
            ensure!(text(&node, "/reason/evidence/service") == "packet_threads" && error.contains(thread), "{node}");
            ward.names("a thread that stands still", "services", thread).await
        }
        .await;
        holder.kill().await;
        outcome.with_context(|| format!("{thread}: {}", std::fs::read_to_string(&log).unwrap_or_default()))?;
        ward.is_well("a thread that stood still").await?;
    }
    Ok(())
}

async fn processes(ward: &mut Ward) -> Result<()> {
    let pid = ward.fleet.pid(NODE)?;
    ward.on_node(&format!("kill -STOP {pid}")).await?;
    ward.names("a stopped process", "services", "stands still").await?;
    ward.on_node(&format!("kill -CONT {pid}")).await?;
    ward.is_well("a stopped process").await?;

    ward.fleet.kill(NODE).await?;
    ward.names("a killed process", "services", "does not run").await?;

    // Somebody else has the port.
    let log = ward.lab.folder().join("squatter.log");
    let script = "import socket,time; s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('0.0.0.0', 443)); s.listen(); time.sleep(3600)";
    let squatter = ward.fleet.machine(NODE)?.start("python3", &["-c", script], &[], &log)?;
    eventually("somebody has the port", PATIENCE, || async {
        let found = ward.on_node("ss -Hltn 'sport = :443'").await?;
        ensure!(!found.trim().is_empty(), "nobody listens");
        Ok(())
    })
    .await?;
    ward.fleet.run(NODE)?;
    ward.names("a port that is taken", "node_443", "in use").await?;
    squatter.kill().await;
    ward.is_well("a port that is taken").await?;

    ward.fleet.kill(NODE).await?;
    ward.fleet.run_with(NODE, &[("CAUSEWAY_NODE_UNDERLAY", "nowhere0")])?;
    ward.names("an interface that is not there", "underlay", "no such interface").await?;
    ward.fleet.kill(NODE).await?;
    ward.fleet.run(NODE)?;
    ward.is_well("an interface that is not there").await?;

    // The file for whoever helps has what was shown, and no secret.
    let bundle = ward.lab.folder().join("bundle.tar");
    let path = bundle.display();
    ward.lab.service.command_line(&format!("doctor node {NODE} --bundle {path}")).await?;
    let names = ward.on_node(&format!("tar -tf {path}")).await?;
    ensure!(names.lines().eq(["summary.txt", "diagnosis.json", "node.json", "version.txt"]), "{names}");
    let all = ward.on_node(&format!("tar -xOf {path}")).await?;
    let environment = std::fs::read_to_string(ward.lab.service.data().join("operator.env"))?;
    let secret = environment.lines().find_map(|line| line.split_once("SCW_SECRET_KEY=")).context("no key")?.1;
    ensure!(!all.contains(secret.trim_matches(['"', '\''])) && !all.contains("PRIVATE KEY"), "a secret in the bundle");

    ward.lab.service.command_line(&format!("node revoke {NODE}")).await?;
    ward.names("a revoked node", "membership", "revoked").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root; `make test` runs it"]
async fn the_doctor_names_each_fault_and_nothing_when_it_is_gone() -> Result<()> {
    let program = Scene::program()?;
    let mut lab = Lab::start(Some("doctor"), &program).await?;
    let outcome: Result<()> = match lab.start_fleet(false).await {
        Ok((_, fleet)) => {
            let mut ward = Ward { lab, fleet };
            let outcome: Result<()> = async {
                ward.is_well("the start").await?;
                between_machines(&mut ward).await?;
                on_the_machine(&mut ward).await?;
                services(&mut ward).await?;
                processes(&mut ward).await
            }
            .await
            .with_context(|| format!("the end of the node's log:\n{}", ward.fleet.log_tail(NODE)));
            lab = ward.lab;
            outcome
        }
        Err(error) => Err(error),
    };
    lab.finish(outcome).await
}
