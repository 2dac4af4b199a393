//! The service under test: the real `causeway serve`, without a gateway node, in a directory of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::client::{Client, Endpoint};

/// It starts and ends within this time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ticks per second in proc(5), on every architecture that this runs on.
const USER_HZ: u64 = 100;

/// A running service. Dropped, it is killed.
#[derive(Debug)]
pub struct Service {
    program: PathBuf,
    directory: TempDir,
    process: Child,
    settings: Vec<(&'static str, String)>,
}

impl Service {
    /// The program under test: `CAUSEWAY_BIN`, or `causeway` in the target directory that this one is in.
    ///
    /// # Errors
    /// It is not there.
    pub fn program() -> Result<PathBuf> {
        let path = match std::env::var_os("CAUSEWAY_BIN") {
            Some(path) => PathBuf::from(path),
            None => {
                let here = std::env::current_exe()?;
                // A test is one folder deeper than a program.
                let mut folders = here.ancestors().skip(1).take(2).map(|folder| folder.join("causeway"));
                folders
                    .find(|path| path.exists())
                    .context("there is no `causeway` beside this: `cargo build -p causeway` first")?
            }
        };
        ensure!(path.exists(), "{} is missing: `cargo build -p causeway` first", path.display());
        Ok(path)
    }

    /// Starts a service with an empty store and waits until it is ready.
    ///
    /// # Errors
    /// It ended, or is not ready in time.
    pub async fn start(program: &Path) -> Result<(Self, Endpoint)> {
        Self::start_with(program, Vec::new()).await
    }

    /// As [`Self::start`], with these variables of its environment beside the usual ones.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(program: &Path, settings: Vec<(&'static str, String)>) -> Result<(Self, Endpoint)> {
        let directory = tempfile::tempdir()?;
        let process = spawn(program, directory.path(), &settings)?;
        let mut service = Self { program: program.to_owned(), directory, process, settings };
        let endpoint = service.ready().await?;
        Ok((service, endpoint))
    }

    /// Kills the process in the middle of what it does and starts it again over what it has left on the disk.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn kill_and_restart(&mut self) -> Result<Endpoint> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = spawn(&self.program, self.directory.path(), &self.settings)?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<Endpoint> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("the service ended with {status}:\n{}", self.log());
            }
            if let Ok(endpoint) = self.endpoint()
                && let Ok(mut client) = Client::connect(&endpoint).await
                && client.call("GET", "/readyz", None).await.is_ok_and(|answer| answer.status == 200)
            {
                return Ok(endpoint);
            }
            ensure!(begun.elapsed() < PATIENCE, "the service is not ready:\n{}", self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn endpoint(&self) -> Result<Endpoint> {
        let text = std::fs::read_to_string(self.directory.path().join("data/operator.env"))?;
        let variable = |name: &str| {
            let found =
                text.lines().find_map(|line| line.trim_start_matches("export ").strip_prefix(name)?.strip_prefix('='));
            found
                .map(|value| value.trim_matches(['"', '\'']).to_owned())
                .context("a variable is missing in operator.env")
        };
        Ok(Endpoint {
            address: variable("SCW_API_URL")?.trim_start_matches("http://").trim_end_matches('/').parse()?,
            token: variable("SCW_SECRET_KEY")?,
            project: variable("SCW_DEFAULT_PROJECT_ID")?,
            region: variable("SCW_DEFAULT_REGION")?,
        })
    }

    /// What the process has written.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Resident memory in kB.
    ///
    /// # Errors
    /// The process is gone.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Processor time that it has used since it was started.
    ///
    /// # Errors
    /// The process is gone.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // proc(5): fields 14 and 15, utime and stime; the second is a name in parentheses.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = [11, 12].map(|field| fields.get(field).and_then(|ticks| ticks.parse::<u64>().ok()));
        let [Some(user), Some(system)] = ticks else { bail!("no times in {stat}") };
        Ok(Duration::from_millis((user + system) * 1000 / USER_HZ))
    }

    /// Size of the database in octets.
    #[must_use]
    pub fn database(&self) -> u64 {
        std::fs::metadata(self.directory.path().join("data/causeway.db")).map_or(0, |metadata| metadata.len())
    }

    /// Ends the service as a service manager would.
    ///
    /// # Errors
    /// It did not end with 0, or panicked.
    pub async fn stop(mut self) -> Result<()> {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM)?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait()? {
                break status;
            }
            ensure!(begun.elapsed() < PATIENCE, "the service does not end");
            sleep(Duration::from_millis(20)).await;
        };
        let log = self.log();
        ensure!(status.success() && !log.contains("panicked at"), "the service ended with {status}:\n{log}");
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended already where these fail.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(program: &Path, directory: &Path, settings: &[(&'static str, String)]) -> Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(directory.join("log"))?;
    let data = directory.join("data");
    let child = Command::new(program)
        .arg("serve")
        .arg("--data")
        .arg(&data)
        .env("CAUSEWAY_LISTEN", "127.0.0.1:0")
        .env("CAUSEWAY_NODE_ENABLED", "no")
        .env("CAUSEWAY_PUBLIC_POOLS", r#"{ "fr-par-1" = { ipv4 = ["198.18.0.0/16"], ipv6 = ["2001:db8:0:1::/64"] } }"#)
        .env("CAUSEWAY_RATE_LIMITS_PER_KEY", "{ per_second = 0, burst = 1 }")
        .env("CAUSEWAY_RATE_LIMITS_PER_ADDRESS", "{ per_second = 0, burst = 1 }")
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| program.display().to_string())?;
    Ok(child)
}
