//! A machine of the lab: a network namespace, with a file system of its own where that is needed.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::ledger::{Ledger, Process};

/// Room on a disk that a test fills: more than a node asks for (64 MiB).
const DISK: &str = "100m";

/// What a program printed, and whether it said that it succeeded.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit status 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output.
    ///
    /// # Errors
    /// The program failed; both outputs are in the error.
    pub fn text(self) -> Result<String> {
        ensure!(self.success, "failed: {}{}", self.stderr.trim_end(), self.stdout.trim_end());
        Ok(self.stdout)
    }
}

/// A long-running program of the lab. Dropping it does not end it; the lab's list does.
#[derive(Debug)]
pub struct Running {
    process: Process,
    child: Child,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM, and SIGKILL if it has not ended after `patience`. Returns whether it ended by itself with exit status 0.
    pub async fn terminate(mut self, patience: Duration) -> bool {
        self.process.signal(rustix::process::Signal::TERM);
        if let Ok(status) = tokio::time::timeout(patience, self.child.wait()).await {
            return status.is_ok_and(|status| status.success());
        }
        self.process.signal(rustix::process::Signal::KILL);
        let _ = self.child.wait().await;
        false
    }

    /// SIGKILL.
    pub async fn kill(mut self) {
        self.process.signal(rustix::process::Signal::KILL);
        let _ = self.child.wait().await;
    }

    /// Waits for its end; returns whether the exit status was 0.
    pub async fn wait(&mut self) -> bool {
        self.child.wait().await.is_ok_and(|status| status.success())
    }

    /// Memory in use, octets (`VmRSS`).
    ///
    /// # Errors
    /// It has ended.
    pub fn resident_memory(&self) -> Result<u64> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).context("the process has ended")?;
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
            .context("no VmRSS")?;
        Ok(kilobytes * 1024)
    }
}

/// A machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its role: `inet`, `node`, `host`, `site`, `office`, `branch`, `desk`.
    pub role: String,
    /// Its namespace.
    pub namespace: String,
    /// Process that holds its file system, if it has one of its own.
    holder: Option<i32>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Machine {
    /// Makes the namespace, with its loopback up and forwarding on.
    pub(crate) async fn create(ledger: &Arc<Mutex<Ledger>>, role: &str) -> Result<Self> {
        let namespace = {
            let mut list = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let name = format!("cw-{}-{role}", list.id());
            list.add_namespace(&name)?;
            name
        };
        host_command("ip", &["netns", "add", &namespace]).await?.text().context("ip netns add")?;
        let machine = Self { role: role.to_owned(), namespace, holder: None, ledger: Arc::clone(ledger) };
        machine.run("ip", &["link", "set", "lo", "up"]).await?.text()?;
        let settings = [
            "net.ipv4.ip_forward=1",
            "net.ipv6.conf.all.forwarding=1",
            "net.ipv4.conf.all.rp_filter=0",
            "net.ipv4.conf.default.rp_filter=0",
            "net.ipv6.conf.all.accept_dad=0",
            "net.ipv6.conf.default.accept_dad=0",
        ];
        let mut arguments = vec!["-q", "-w"];
        arguments.extend(settings);
        machine.run("sysctl", &arguments).await?.text().context("sysctl")?;
        Ok(machine)
    }

    /// As [`Self::create`], with an `/etc`, `/var/log` and `/run` of its own below `folder`, so that a device's files go to their real
    /// paths without touching this machine's.
    pub(crate) async fn create_with_files(ledger: &Arc<Mutex<Ledger>>, role: &str, folder: &Path) -> Result<Self> {
        Self::create(ledger, role).await?.with_own_files(folder).await
    }

    /// The same machine with an `/etc`, `/var/log` and `/run` of its own below `folder`: a second device in one box.
    pub(crate) async fn with_own_files(&self, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let script = format!(
            r#"set -e
d={folder}
mkdir -p $d/etc $d/log
for f in alternatives bird group hosts ld.so.cache ld.so.conf ld.so.conf.d localtime nsswitch.conf passwd protocols services \
  ssl strongswan.conf strongswan.d swanctl sysctl.d; do
  if [ -e /etc/$f ]; then cp -a /etc/$f $d/etc/; fi
done
rm -rf $d/etc/swanctl/conf.d/* $d/etc/bird/bird.conf
mount --bind $d/etc /etc
mount --bind $d/log /var/log
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/bird
"#,
            folder = folder.display()
        );
        self.with_own_mounts(&script).await
    }

    /// The same machine with named network namespaces of its own: a second gateway node in one box.
    pub(crate) async fn with_own_namespaces(&self) -> Result<Self> {
        self.with_own_mounts("set -e\nmount -t tmpfs -o mode=755 tmpfs /run/netns\n").await
    }

    /// The same machine with what `script` mounts.
    async fn with_own_mounts(&self, script: &str) -> Result<Self> {
        let mut machine = self.without_files();
        let script = format!("{script}echo ready\nexec sleep infinity\n");
        let mut command = machine.command("unshare", &["--mount", "--propagation", "private", "sh", "-c", &script]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().context("unshare")?;
        let stdout = child.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        if line.trim() != "ready" {
            let output = child.wait_with_output().await?;
            bail!("cannot give {} files of its own: {}", self.role, String::from_utf8_lossy(&output.stderr).trim_end());
        }
        let holder = machine.track(&child, "file system")?;
        machine.holder = Some(holder.pid);
        Ok(machine)
    }

    /// The same machine with this machine's files.
    #[must_use]
    pub fn without_files(&self) -> Self {
        Self { holder: None, ..self.clone() }
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace));
        if let Some(holder) = self.holder {
            command.arg(format!("--mount=/proc/{holder}/ns/mnt"));
        }
        command.arg("--").arg(program).args(arguments).current_dir("/");
        // A Ctrl-C in the terminal is for the lab, which then ends its programs in order.
        command.process_group(0);
        command
    }

    /// The command that gives a person a shell on this machine.
    #[must_use]
    pub fn shell_command(&self) -> String {
        let files = self.holder.map(|pid| format!(" --mount=/proc/{pid}/ns/mnt")).unwrap_or_default();
        format!("nsenter --net=/run/netns/{}{files}", self.namespace)
    }

    fn track(&self, child: &Child, what: &str) -> Result<Process> {
        let process = child
            .id()
            .and_then(|pid| Process::of(pid, what))
            .with_context(|| format!("{what} on {} ended at once", self.role))?;
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).add_process(process.clone())?;
        Ok(process)
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// It could not be started. A failure of its own is in the [`Output`].
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let output = self.command(program, arguments).stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.with_context(|| format!("{program} on {}", self.role))?;
        Ok(Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a shell script to its end.
    ///
    /// # Errors
    /// It failed.
    pub async fn shell(&self, script: &str) -> Result<String> {
        self.run("sh", &["-ec", script]).await?.text().with_context(|| format!("on {}: {script}", self.role))
    }

    /// Starts a program that stays; its output goes to `log`.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(
        &self,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Result<Running> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = self.command(program, arguments);
        command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("{program} on {}", self.role))?;
        let process = self.track(&child, program)?;
        Ok(Running { process, child })
    }

    /// Gives a folder a small disk of its own, with what was in it. Nothing may run there meanwhile. Only for a machine with mounts of its own.
    ///
    /// # Errors
    /// A command fails.
    pub async fn give_disk(&self, folder: &Path) -> Result<()> {
        ensure!(self.holder.is_some(), "{} shares the disks of this machine", self.role);
        let script = format!(
            "cp -a {0} {0}.before; mount -t tmpfs -o size={DISK},mode=700 tmpfs {0}; cp -a {0}.before/. {0}/; rm -r {0}.before",
            folder.display()
        );
        self.shell(&script).await.map(drop)
    }

    /// Fills such a disk to the last octet.
    ///
    /// # Errors
    /// There is still room.
    pub async fn fill_disk(&self, folder: &Path) -> Result<()> {
        // The pages of files that are replaced meanwhile may be free again.
        let script = format!(
            "for round in 1 2 3; do dd if=/dev/zero bs=64k status=none >>{0}/filler || true; done 2>/dev/null; \
             if echo more >{0}/more; then exit 1; fi; rm -f {0}/more",
            folder.display()
        );
        self.shell(&script).await.map(drop)
    }

    /// Makes room again.
    ///
    /// # Errors
    /// It was not filled.
    pub async fn free_disk(&self, folder: &Path) -> Result<()> {
        self.shell(&format!("rm {}/filler", folder.display())).await.map(drop)
    }

    /// One ping to `target`, from `source` if given; `Ok` if it was answered within `wait` seconds.
    ///
    /// # Errors
    /// No answer.
    pub async fn ping(&self, target: &str, source: Option<&str>, wait: f32) -> Result<()> {
        let wait = wait.to_string();
        let mut arguments = vec!["-n", "-q", "-c", "1", "-W", &wait];
        if let Some(source) = source {
            arguments.extend(["-I", source]);
        }
        arguments.push(target);
        let output = self.run("ping", &arguments).await?;
        ensure!(output.success, "{} has no answer from {target}", self.role);
        Ok(())
    }

    /// TCP throughput to `target`, which runs a server for it: bits per second as the receiver counted them.
    ///
    /// # Errors
    /// iperf3 failed on either side.
    pub async fn iperf3(&self, server: &Self, target: &str, seconds: u32, streams: u32) -> Result<f64> {
        let log = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).folder().join("iperf3.log");
        let running = server.start("iperf3", &["-s", "-1", "-B", target], &[], &log)?;
        crate::wait::eventually("iperf3 listens", Duration::from_secs(30), || async {
            let listening = server.run("ss", &["-Hltn", "sport = :5201"]).await?.stdout;
            ensure!(!listening.trim().is_empty(), "nothing on port 5201");
            Ok(())
        })
        .await?;
        let (time, parallel) = (seconds.to_string(), streams.to_string());
        let output =
            self.run("iperf3", &["-c", target, "-t", &time, "-P", &parallel, "-J", "--connect-timeout", "3000"]).await;
        running.terminate(Duration::from_millis(300)).await;
        let document: serde_json::Value = serde_json::from_str(&output?.text()?).context("iperf3's answer")?;
        let figure = document.pointer("/end/sum_received/bits_per_second").and_then(serde_json::Value::as_f64);
        figure.with_context(|| {
            let error = document.get("error").and_then(serde_json::Value::as_str).unwrap_or("no figure in its answer");
            format!("iperf3 from {} to {target}: {error}", self.role)
        })
    }
}

/// What `make` opens inside a namespace. A socket belongs to the namespace in which it was made; the thread that enters it ends with that.
pub(crate) async fn in_namespace<T: Send + 'static>(
    namespace: &str,
    make: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    let path = format!("/run/netns/{namespace}");
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("lab-netns".to_owned()).spawn(move || {
        let enter = || -> Result<T> {
            let file = std::fs::File::open(path)?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(make()?)
        };
        // Nobody listens any more if the call was given up.
        let _ = answer.send(enter());
    })?;
    answered.await?
}

/// Runs a program on the machine that the lab runs on.
pub(crate) async fn host_command(program: &str, arguments: &[&str]) -> Result<Output> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("{program} (is its Debian package installed?)"))?;
    Ok(Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
