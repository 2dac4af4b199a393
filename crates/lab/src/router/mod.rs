//! The daemon that speaks BGP on a device: BIRD as the device's configuration has it, or FRR with the same sessions, filters and prefixes.

mod bird;
mod frr;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::machine::{Machine, Running};
use crate::wait::eventually;

/// What the API's configuration of a device calls the routing daemon's file. FRR's is made from it.
pub(crate) const BIRD: &str = "/etc/bird/bird.conf";
/// Files with the device's own prefixes, as BIRD includes them: `NAME.ipv4.conf`, `NAME.ipv6.conf`.
const OWN_PREFIXES: &str = "/etc/bird/own-prefixes.d";
/// How long a daemon may take to answer.
const START: Duration = Duration::from_secs(10);
/// How long it may take to withdraw its routes from the kernel and end.
const END: Duration = Duration::from_secs(3);

/// Which program speaks BGP on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Daemon {
    /// BIRD 2.
    #[default]
    Bird,
    /// FRR's zebra and bgpd.
    Frr,
}

impl Daemon {
    /// What has to be different in the text's script that sets up the interface, as a command on the device.
    pub(crate) const fn edit_of_the_script(self) -> Option<&'static str> {
        match self {
            Self::Bird => None,
            Self::Frr => Some(frr::EDIT_OF_THE_SCRIPT),
        }
    }
}

/// What a device says of a prefix that it announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// Nothing but that it is the device's own.
    Plainly,
    /// That the way to it leads through this AS.
    Through(u32),
    /// That this address is its next hop.
    At(&'a str),
}

/// A BGP session of the device, as its daemon shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name in the device's configuration: `gateway_ipv4`, `gateway_ipv6`.
    pub name: String,
    /// Whether it is Established.
    pub established: bool,
    /// What is another text as soon as the session was lost or the daemon restarted.
    pub mark: String,
}

/// A device's BGP daemon.
#[derive(Debug)]
pub(crate) struct Router {
    files: Files,
    daemon: Daemon,
    running: Vec<Running>,
}

/// The device's machine and where its files are on this one.
#[derive(Debug)]
struct Files {
    machine: Machine,
    folder: PathBuf,
}

impl Router {
    pub(crate) const fn new(machine: Machine, folder: PathBuf) -> Self {
        Self { files: Files { machine, folder }, daemon: Daemon::Bird, running: Vec::new() }
    }

    /// Another daemon from the next start on; what runs ends.
    pub(crate) async fn change(&mut self, daemon: Daemon) {
        self.stop().await;
        self.daemon = daemon;
    }

    /// Starts the daemon with the device's configuration as it is, unless it runs.
    pub(crate) async fn start(&mut self) -> Result<()> {
        if self.running.is_empty() {
            self.running = match self.daemon {
                Daemon::Bird => bird::start(&self.files).await,
                Daemon::Frr => frr::start(&self.files).await,
            }
            .with_context(|| self.log_tail(10))?;
        }
        Ok(())
    }

    /// Ends it in order: it says so to its peers, and no route that it installed stays.
    pub(crate) async fn stop(&mut self) {
        while let Some(program) = self.running.pop() {
            program.terminate(END).await;
        }
    }

    /// Kills it.
    pub(crate) async fn kill(&mut self) {
        while let Some(program) = self.running.pop() {
            program.kill().await;
        }
    }

    pub(crate) async fn sessions(&self) -> Result<Vec<Seen>> {
        match self.daemon {
            Daemon::Bird => bird::sessions(&self.files).await,
            Daemon::Frr => frr::sessions(&self.files).await,
        }
    }

    pub(crate) async fn routes(&self) -> Result<Vec<String>> {
        let mut routes = match self.daemon {
            Daemon::Bird => bird::routes(&self.files).await,
            Daemon::Frr => frr::routes(&self.files).await,
        }?;
        routes.sort();
        routes.dedup();
        Ok(routes)
    }

    pub(crate) async fn announce(&self, family: &str, announced: bool) -> Result<()> {
        match self.daemon {
            Daemon::Bird => bird::announce(&self.files, family, announced).await,
            Daemon::Frr => frr::announce(&self.files, family, announced).await,
        }
    }

    pub(crate) async fn add(&self, prefix: &str, said: Said<'_>) -> Result<()> {
        let file = format!("{OWN_PREFIXES}/more.{}.conf", family(prefix));
        let before = self.files.read(&file).unwrap_or_default();
        self.files.write(&file, &format!("{before}route {prefix} unreachable;\n"))?;
        match self.daemon {
            Daemon::Bird => bird::add(&self.files, prefix, said).await,
            Daemon::Frr => frr::add(&self.files, prefix, said).await,
        }
    }

    pub(crate) async fn shut(&self, session: &str, words: &str) -> Result<()> {
        match self.daemon {
            Daemon::Bird => bird::shut(&self.files, session, words).await,
            Daemon::Frr => frr::shut(&self.files, session, words).await,
        }
    }

    pub(crate) async fn open(&self, session: &str) -> Result<()> {
        match self.daemon {
            Daemon::Bird => bird::open(&self.files, session).await,
            Daemon::Frr => frr::open(&self.files, session).await,
        }
    }

    pub(crate) async fn forget(&self, session: &str) -> Result<()> {
        match self.daemon {
            Daemon::Bird => bird::forget(&self.files, session).await,
            Daemon::Frr => frr::forget(&self.files, session).await,
        }
    }

    /// Everything that the daemon says of its sessions.
    pub(crate) async fn everything(&self) -> Result<String> {
        match self.daemon {
            Daemon::Bird => self.files.machine.run("birdc", &["show protocols all"]).await?.text(),
            Daemon::Frr => frr::vtysh(&self.files, &["show bgp neighbors", "show running-config"]).await,
        }
    }

    pub(crate) fn log_tail(&self, lines: usize) -> String {
        let (name, file) = match self.daemon {
            Daemon::Bird => ("BIRD", "bird.log"),
            Daemon::Frr => ("FRR", "frr.log"),
        };
        format!("{name}:\n{}", crate::service::tail(&self.files.folder.join(file), lines))
    }
}

impl Files {
    fn place(&self, path: &str) -> PathBuf {
        self.folder.join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> Result<String> {
        let file = self.place(path);
        std::fs::read_to_string(&file).with_context(|| file.display().to_string())
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let file = self.place(path);
        std::fs::write(&file, text).with_context(|| file.display().to_string())
    }

    /// The device's own prefixes of a family, those of `name` only if it is given.
    fn own_prefixes(&self, family: &str, name: Option<&str>) -> Result<Vec<String>> {
        let end = format!("{}.{family}.conf", name.unwrap_or_default());
        let folder = self.place(OWN_PREFIXES);
        let mut paths: Vec<PathBuf> = match std::fs::read_dir(&folder) {
            Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
            // No networks of its own.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| folder.display().to_string()),
        };
        paths.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(&end)));
        paths.sort();
        let mut prefixes = Vec::new();
        for path in paths {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let routes =
                text.split(';').filter_map(|line| line.trim().strip_prefix("route ")?.split_whitespace().next());
            prefixes.extend(routes.map(str::to_owned));
        }
        Ok(prefixes)
    }

    fn start(&self, program: &str, arguments: &[&str], log: &str) -> Result<Running> {
        self.machine.start(program, arguments, &[], &self.folder.join(log))
    }

    /// Waits until `script` succeeds on the device.
    async fn answers(&self, name: &str, script: &str) -> Result<()> {
        eventually(&format!("{name} answers"), START, || async { self.machine.shell(script).await.map(drop) }).await
    }
}

/// The family of a prefix as both daemons' command lines name it.
fn family(prefix: &str) -> &'static str {
    if prefix.contains(':') { "ipv6" } else { "ipv4" }
}

/// Makes sure that a text was changed by an edit.
fn edited(before: &str, after: String) -> Result<String> {
    ensure!(before != after, "the configuration is another one than expected: {before}");
    Ok(after)
}
