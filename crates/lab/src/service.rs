//! The service under test: the real `causeway serve`, as a process of the node machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::api::Api;
use crate::machine::{Machine, Running};

/// Where the API listens, on the node's loopback.
const LISTEN: &str = "127.0.0.1:8080";
/// The zone of everything.
const ZONE: &str = "fr-par-1";

/// How the service is configured. Everything else is as the first start writes it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The interface of the underlay.
    pub(crate) underlay: String,
    /// Pools of public addresses, IPv4 and IPv6.
    pub(crate) pools: (String, String),
    /// Our AS number.
    pub(crate) asn: u32,
}

/// A running or stopped service with its data directory.
#[derive(Debug)]
pub struct Service {
    machine: Machine,
    program: PathBuf,
    data: PathBuf,
    log: PathBuf,
    settings: Settings,
    /// Where nodes of other machines reach it, instead of a node in its own process.
    nodes: Option<String>,
    /// The command that says whether a node's machine runs, where gateways of a stopped one start on another.
    machine_state: Option<String>,
    /// Seconds that partners have to answer, where it is not the default.
    answer_seconds: Option<u32>,
    /// Further variables of its environment.
    environment: Vec<(String, String)>,
    running: Option<Running>,
}

impl Service {
    pub(crate) fn new(machine: Machine, program: &Path, data: PathBuf, log: PathBuf, settings: Settings) -> Self {
        Self {
            machine,
            program: program.to_owned(),
            data,
            log,
            settings,
            nodes: None,
            machine_state: None,
            answer_seconds: None,
            environment: Vec::new(),
            running: None,
        }
    }

    /// Gives partners another time to answer requests, from the next start on.
    pub fn set_answer_seconds(&mut self, seconds: u32) {
        self.answer_seconds = Some(seconds);
    }

    /// Starts it with these variables beside the others, from the next start on.
    pub fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    /// Puts the service on another machine, before its first start: without a node in its process, and with a listener for others.
    pub(crate) fn move_to(&mut self, machine: Machine, nodes: &str) {
        self.machine = machine;
        self.nodes = Some(nodes.to_owned());
    }

    /// Switches failover on, before the start: `command` says whether a node's machine runs.
    pub(crate) fn fail_over(&mut self, command: &str) {
        self.machine_state = Some(command.to_owned());
    }

    /// What the command line of the product prints on the service's machine.
    ///
    /// # Errors
    /// It fails.
    pub async fn command_line(&self, arguments: &str) -> Result<String> {
        let (data, program) = (self.data.display(), self.program.display());
        self.machine.shell(&format!(". {data}/operator.env; {program} {arguments}")).await
    }

    /// Starts a client on the service's machine, as operators do: with the variables of `operator.env`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_client(&self, program: &str, arguments: &str, log: &Path) -> Result<Running> {
        let script = format!(". {}/operator.env; exec {program} {arguments}", self.data.display());
        self.machine.start("sh", &["-c", &script], &[], log)
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Errors
    /// It ended, or is not ready within 10 s; the end of its log is in the error.
    pub async fn start(&mut self) -> Result<Api> {
        self.start_until(200).await
    }

    /// As [`Self::start`], until `/readyz` is answered with `readiness`: 503 where its disk takes nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn start_until(&mut self, readiness: u16) -> Result<Api> {
        ensure!(self.running.is_none(), "the service runs already");
        let pools = format!(
            r#"{{ "{ZONE}" = {{ ipv4 = ["{}"], ipv6 = ["{}"] }} }}"#,
            self.settings.pools.0, self.settings.pools.1
        );
        let asn = self.settings.asn.to_string();
        let data = self.data.display().to_string();
        let command = self.machine_state.as_deref();
        let machines = command.map(|command| format!(r#"{{ "{ZONE}" = "{command}" }}"#)).unwrap_or_default();
        let failover = format!(r#"["{ZONE}"]"#);
        let mut environment = vec![
            ("CAUSEWAY_LISTEN", LISTEN),
            ("CAUSEWAY_NODE_UNDERLAY", self.settings.underlay.as_str()),
            ("CAUSEWAY_NODE_ENABLED", if self.nodes.is_some() { "no" } else { "yes" }),
            ("CAUSEWAY_FLEET_LISTEN", self.nodes.as_deref().unwrap_or_default()),
            ("CAUSEWAY_FLEET_KEEPALIVE", "fast"),
            ("CAUSEWAY_PUBLIC_POOLS", pools.as_str()),
            ("CAUSEWAY_PROVIDER_ASN", asn.as_str()),
        ];
        if command.is_some() {
            environment.push(("CAUSEWAY_FLEET_MACHINE_STATE", &machines));
            environment.push(("CAUSEWAY_FLEET_FAILOVER", &failover));
        }
        let answer = self.answer_seconds.map(|seconds| seconds.to_string());
        if let Some(answer) = &answer {
            environment.push(("CAUSEWAY_INTERLINK_ANSWER_SECONDS", answer));
        }
        environment.extend(self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let program = self.program.display().to_string();
        let running = self.machine.start(&program, &["serve", "--data", &data], &environment, &self.log)?;
        self.running = Some(running);
        let end = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(running) = &mut self.running
                && !running.alive()
            {
                self.running = None;
                bail!("the service ended by itself; the end of its log:\n{}", self.log_tail(20));
            }
            let answer = match Api::from_operator_env(&self.machine, &self.data, LISTEN) {
                Ok(api) => api.get("/readyz").await.map(|answer| (api, answer.status)),
                Err(error) => Err(error),
            };
            match answer {
                Ok((api, status)) if status == readiness => return Ok(api),
                Ok((_, status)) if std::time::Instant::now() >= end => bail!("the service answers {status} to /readyz"),
                Err(error) if std::time::Instant::now() >= end => {
                    return Err(error.context("the service does not answer within 10 s"));
                }
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// SIGTERM. Returns whether it ended by itself within 10 s with exit status 0.
    pub async fn terminate(&mut self) -> bool {
        match self.running.take() {
            Some(running) => running.terminate(Duration::from_secs(10)).await,
            None => false,
        }
    }

    /// SIGKILL: nothing of it gets a chance to clean up.
    pub async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill().await;
        }
    }

    /// Resident memory, octets.
    ///
    /// # Errors
    /// It does not run.
    pub fn resident_memory(&self) -> Result<u64> {
        self.running.as_ref().context("the service does not run")?.resident_memory()
    }

    /// The last `lines` lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    /// The machine that it runs on.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }
}

/// The last `lines` lines of a file; empty if it cannot be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}
