//! What a lab made, on disk before it is made.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::machine::host_command;

/// Where the lists and the labs' files are.
pub const STATE_DIR: &str = "/run/causeway-lab";

/// A process: its id alone would soon name another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Clock ticks after boot.
    pub(crate) started: u64,
    pub(crate) what: String,
}

impl Process {
    /// The process `pid` as it is at present.
    pub(crate) fn of(pid: u32, what: &str) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        Some(Self { pid, started: start_time(pid)?, what: what.to_owned() })
    }

    /// Whether it still runs (a zombie does not).
    pub(crate) fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Sends `signal` if it still runs.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.alive()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            // The process may have ended in between.
            let _ = kill_process(pid, signal);
        }
    }

    /// Ends it: politely, then not.
    pub(crate) async fn end(&self, patience: Duration) {
        self.signal(Signal::TERM);
        if !self.gone_within(patience).await {
            self.signal(Signal::KILL);
            self.gone_within(Duration::from_secs(2)).await;
        }
    }

    async fn gone_within(&self, limit: Duration) -> bool {
        let end = std::time::Instant::now() + limit;
        while self.alive() {
            if std::time::Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        true
    }
}

/// Field 22 of `/proc/PID/stat`, unless the process is a zombie.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    if matches!(fields.next(), None | Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The list of one lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {
    id: String,
    owner: Process,
    kept: bool,
    namespaces: Vec<String>,
    processes: Vec<Process>,
}

impl Ledger {
    /// Starts the list of lab `id`, owned by this process.
    ///
    /// # Errors
    /// The id is not one, is in use, or the disk cannot be written.
    pub fn create(id: &str) -> Result<Self> {
        ensure!(
            (1..=6).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
            "a lab's id has 1 to 6 small letters and digits, not {id:?}"
        );
        fs::create_dir_all(STATE_DIR).with_context(|| format!("cannot make {STATE_DIR} (root is needed)"))?;
        let owner = Process::of(std::process::id(), "lab").context("cannot read /proc")?;
        let ledger = Self { id: id.to_owned(), owner, kept: false, namespaces: Vec::new(), processes: Vec::new() };
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(ledger.path())
            .with_context(|| format!("lab {id} exists already; `causeway lab down {id}` removes it"))?;
        file.write_all(&serde_json::to_vec(&ledger)?)?;
        Ok(ledger)
    }

    /// The list of lab `id`.
    ///
    /// # Errors
    /// There is none or it cannot be read.
    pub fn load(id: &str) -> Result<Self> {
        let path = Path::new(STATE_DIR).join(format!("{id}.json"));
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
    }

    /// Every lab's list.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let Ok(entries) = fs::read_dir(STATE_DIR) else { return Vec::new() };
        let mut all: Vec<Self> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
            .filter_map(|id| Self::load(&id).ok())
            .collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// The lab's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder of the lab's files.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        Path::new(STATE_DIR).join(&self.id)
    }

    /// The process that runs the lab.
    #[must_use]
    pub const fn owner(&self) -> i32 {
        self.owner.pid
    }

    /// Whether that process still runs.
    #[must_use]
    pub fn owner_alive(&self) -> bool {
        self.owner.alive()
    }

    /// Whether the lab was left running on purpose.
    #[must_use]
    pub const fn kept(&self) -> bool {
        self.kept
    }

    /// Its namespaces, those that the node made excepted.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        &self.namespaces
    }

    pub(crate) fn keep(&mut self) -> Result<()> {
        self.kept = true;
        self.write()
    }

    pub(crate) fn add_namespace(&mut self, name: &str) -> Result<()> {
        self.namespaces.push(name.to_owned());
        self.write()
    }

    pub(crate) fn add_process(&mut self, process: Process) -> Result<()> {
        self.processes.retain(Process::alive);
        self.processes.push(process);
        self.write()
    }

    fn path(&self) -> PathBuf {
        Path::new(STATE_DIR).join(format!("{}.json", self.id))
    }

    fn write(&self) -> Result<()> {
        let path = self.path();
        let temporary = path.with_extension("new");
        fs::write(&temporary, serde_json::to_vec(self)?).with_context(|| temporary.display().to_string())?;
        fs::rename(&temporary, &path).with_context(|| path.display().to_string())
    }

    /// Removes everything on the list, and what a killed service of this lab left in the kernel. Goes on past errors: what cannot be
    /// removed is most likely gone.
    pub async fn clean(&self) {
        // The newest first, so that what holds a namespace open ends last. A service gets the time to remove its own namespaces.
        for process in self.processes.iter().rev() {
            process.end(Duration::from_secs(5)).await;
        }
        for name in self.namespaces.iter().chain(&self.namespaces_of_the_service()) {
            let pids =
                host_command("ip", &["netns", "pids", name]).await.map(|output| output.stdout).unwrap_or_default();
            for process in pids.split_whitespace().filter_map(|pid| Process::of(pid.parse().ok()?, name)) {
                process.end(Duration::from_millis(500)).await;
            }
            let _ = host_command("ip", &["netns", "del", name]).await;
        }
        let _ = fs::remove_dir_all(self.folder());
        let _ = fs::remove_file(self.path());
    }

    /// The node writes what it makes in the kernel on a list of its own, `kernel.json` below its data directory, which is in the lab's folder.
    pub(crate) fn namespaces_of_the_service(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![self.folder()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                } else if path.file_name().is_some_and(|name| name == "kernel.json") {
                    names.extend(namespaces_on(&path));
                }
            }
        }
        names
    }
}

fn namespaces_on(list: &Path) -> Vec<String> {
    let Ok(bytes) = fs::read(list) else { return Vec::new() };
    let Ok(serde_json::Value::Array(things)) = serde_json::from_slice(&bytes) else { return Vec::new() };
    things.iter().filter_map(|thing| Some(thing.get("namespace")?.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = Process::of(std::process::id(), "test").expect("this process");
        assert!(own.alive());
        let other = Process { started: own.started + 1, ..own };
        assert!(!other.alive());
    }

    #[test]
    fn the_nodes_list_is_read() {
        let path = std::env::temp_dir().join(format!("causeway-lab-kernel-{}.json", std::process::id()));
        fs::write(
            &path,
            r#"[{"namespace":"cwg-1"},{"bridge":"cwbr-1"},{"address":{"interface":"up0","address":"192.0.2.1/32"}}]"#,
        )
        .expect("written");
        let names = namespaces_on(&path);
        fs::remove_file(&path).expect("removed");
        assert_eq!(names, ["cwg-1"]);
    }
}
