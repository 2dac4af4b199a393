//! The customer's device: strongSwan and BIRD on the `site` machine, configured by the text that the API returns and by nothing else but
//! what that text says is the customer's own (the key and the prefixes behind the device). FRR may take BIRD's place.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::machine::{Machine, Running};
use crate::router::{Daemon, Router, Said, Seen};
use crate::wait::{eventually, eventually_every};

const VICI: &str = "/run/charon.vici";

/// The device of one site. Its files survive a stop.
#[derive(Debug)]
pub struct Device {
    machine: Machine,
    folder: PathBuf,
    script: Option<String>,
    /// The key file of the connection that was installed last, and its section.
    key_place: Option<(String, String)>,
    daemon: Daemon,
    /// The BGP daemon; none where another device's handles the routes.
    router: Option<Router>,
    charon: Option<Running>,
}

impl Device {
    pub(crate) fn new(machine: Machine, folder: PathBuf) -> Self {
        let router = Some(Router::new(machine.clone(), folder.clone()));
        Self { machine, folder, script: None, key_place: None, daemon: Daemon::default(), router, charon: None }
    }

    /// A strongSwan whose routes another device's BGP daemon handles.
    pub(crate) fn without_router(machine: Machine, folder: PathBuf) -> Self {
        Self { router: None, ..Self::new(machine, folder) }
    }

    /// Lets another daemon speak BGP from the next [`Self::start_daemons`] on; the one that runs ends.
    pub async fn speak_with(&mut self, daemon: Daemon) {
        self.daemon = daemon;
        if let Some(router) = &mut self.router {
            router.change(daemon).await;
        }
    }

    /// The daemon that speaks BGP.
    #[must_use]
    pub const fn speaks_with(&self) -> Daemon {
        self.daemon
    }

    fn router(&self) -> Result<&Router> {
        self.router.as_ref().context("another device speaks BGP for this one")
    }

    /// A file of the device, `path` as it is there.
    ///
    /// # Errors
    /// It is not there.
    pub fn read(&self, path: &str) -> Result<String> {
        let file = self.folder.join(path.trim_start_matches('/'));
        std::fs::read_to_string(&file).with_context(|| file.display().to_string())
    }

    /// Replaces a file of the device.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let file = self.folder.join(path.trim_start_matches('/'));
        std::fs::write(&file, text).with_context(|| file.display().to_string())
    }

    /// [`Self::add`] on a device that has no other connection: the files of an earlier one are removed.
    ///
    /// # Errors
    /// As there.
    pub async fn install(&mut self, text: &str, key: &str, prefixes: &[&str]) -> Result<()> {
        self.machine.shell("rm -f /etc/swanctl/conf.d/* /etc/causeway/*").await?;
        self.add(text, key, prefixes).await
    }

    /// Does what a person does with the text: saves it, runs the command in its head that splits it, writes the key file that it
    /// describes (`key` in base64; an empty one is forgotten), and the prefixes behind the device.
    ///
    /// # Errors
    /// The text does not say what it should, or a command fails.
    pub async fn add(&mut self, text: &str, key: &str, prefixes: &[&str]) -> Result<()> {
        let place = key_place(text)?;
        let split = instruction(text, "awk ").context("the text does not say how to split it")?;
        let script = instruction(text, "sh ").context("the text does not say how to set up the interface")?;
        std::fs::write(self.folder.join("etc/device.conf"), text)?;
        self.machine.shell(&format!("cd /etc; ROOT=; {split}")).await?;
        self.write_key(&place, key)?;
        self.key_place = Some(place);
        for (word, is_ipv6) in [("ipv4", false), ("ipv6", true)] {
            let routes: String = prefixes
                .iter()
                .filter(|prefix| prefix.contains(':') == is_ipv6)
                .map(|prefix| format!("route {prefix} unreachable;\n"))
                .collect();
            let folder = self.folder.join("etc/bird/own-prefixes.d");
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join(format!("lab.{word}.conf")), routes)?;
        }
        self.script = Some(script);
        Ok(())
    }

    /// Changes the key (base64) of the connection that was installed last, in the file and in the running daemon. What is established
    /// stays.
    ///
    /// # Errors
    /// Nothing is installed, or swanctl refuses the file.
    pub async fn change_key(&self, key: &str) -> Result<()> {
        self.write_key(self.key_place.as_ref().context("nothing is installed on the device")?, key)?;
        self.swanctl(&["--load-creds", "--noprompt"]).await.map(drop)
    }

    /// The key goes through a file, not through a command line that every user of the machine can read.
    fn write_key(&self, (file, section): &(String, String), key: &str) -> Result<()> {
        let content = match key {
            "" => String::new(),
            key => format!("secrets {{\n  {section} {{\n    secret = 0s{key}\n  }}\n}}\n"),
        };
        write_private(&self.folder.join(file.trim_start_matches('/')), &content)
    }

    /// Starts both daemons and sets up the interface, but does not load the connection.
    ///
    /// # Errors
    /// A daemon does not start.
    pub async fn start_daemons(&mut self) -> Result<()> {
        let script = self.script.clone().context("nothing is installed on the device")?;
        if self.charon.is_none() {
            self.machine.shell(&format!("rm -f {VICI}")).await?;
            let log = self.folder.join("charon.stderr");
            self.charon = Some(self.machine.start("/usr/sbin/charon-systemd", &[], &[], &log)?);
        }
        eventually("strongSwan answers", Duration::from_secs(30), || self.swanctl(&["--stats"]))
            .await
            .with_context(|| self.log_tail(10))?;
        if let Some(edit) = self.daemon.edit_of_the_script() {
            self.machine.shell(edit).await?;
        }
        self.machine.shell(&script).await?;
        match &mut self.router {
            Some(router) => router.start().await,
            None => Ok(()),
        }
    }

    /// Loads the connection: from here on the device negotiates.
    ///
    /// # Errors
    /// swanctl refuses the files.
    pub async fn load(&self) -> Result<()> {
        let output = self.machine.run("swanctl", &["--load-all", "--noprompt"]).await?.text()?;
        ensure!(output.contains("successfully loaded"), "{output}");
        Ok(())
    }

    /// [`Self::start_daemons`] and [`Self::load`].
    ///
    /// # Errors
    /// As theirs.
    pub async fn start(&mut self) -> Result<()> {
        self.start_daemons().await?;
        self.load().await
    }

    /// Ends everything in order: strongSwan tells its peers, and no learned route stays in the kernel.
    pub async fn stop(&mut self) {
        if let Some(charon) = self.charon.take() {
            charon.terminate(Duration::from_secs(5)).await;
        }
        if let Some(router) = &mut self.router {
            router.stop().await;
        }
    }

    /// Kills everything: to its peers the device falls silent.
    pub async fn kill(&mut self) {
        if let Some(charon) = self.charon.take() {
            charon.kill().await;
        }
        self.kill_router().await;
    }

    /// Kills what speaks BGP; the tunnels stay.
    pub async fn kill_router(&mut self) {
        if let Some(router) = &mut self.router {
            router.kill().await;
        }
    }

    /// Output of `swanctl ARGUMENTS`.
    ///
    /// # Errors
    /// It failed.
    pub async fn swanctl(&self, arguments: &[&str]) -> Result<String> {
        self.machine.run("swanctl", arguments).await?.text()
    }

    /// Output of `birdc ARGUMENTS`.
    ///
    /// # Errors
    /// It failed.
    pub async fn birdc(&self, arguments: &[&str]) -> Result<String> {
        self.machine.run("birdc", arguments).await?.text()
    }

    /// The device's BGP sessions.
    ///
    /// # Errors
    /// The daemon does not answer, or another device's has them.
    pub async fn sessions(&self) -> Result<Vec<Seen>> {
        self.router()?.sessions().await
    }

    /// The prefixes that it has from the gateway, sorted.
    ///
    /// # Errors
    /// As for [`Self::sessions`].
    pub async fn routes(&self) -> Result<Vec<String>> {
        self.router()?.routes().await
    }

    /// Announces the prefixes that were installed with the device, of `ipv4` or `ipv6`, or takes them back.
    ///
    /// # Errors
    /// As for [`Self::sessions`].
    pub async fn announce(&self, family: &str, announced: bool) -> Result<()> {
        self.router()?.announce(family, announced).await
    }

    /// Announces one more prefix, as far as the device's own filter lets it.
    ///
    /// # Errors
    /// As for [`Self::sessions`], or the daemon refuses it.
    pub async fn add_prefix(&self, prefix: &str, said: Said<'_>) -> Result<()> {
        self.router()?.add(prefix, said).await
    }

    /// Shuts a session down, with words for the gateway if there are any.
    ///
    /// # Errors
    /// As for [`Self::sessions`], or there is no such session.
    pub async fn shut(&self, session: &str, words: &str) -> Result<()> {
        self.router()?.shut(session, words).await
    }

    /// Undoes [`Self::shut`].
    ///
    /// # Errors
    /// As there.
    pub async fn open(&self, session: &str) -> Result<()> {
        self.router()?.open(session).await
    }

    /// Takes a session out of the running daemon's configuration.
    ///
    /// # Errors
    /// As for [`Self::shut`].
    pub async fn forget(&self, session: &str) -> Result<()> {
        self.router()?.forget(session).await
    }

    /// Waits until a Child SA is installed.
    ///
    /// # Errors
    /// None is within `limit`.
    pub async fn tunnel_up(&self, limit: Duration) -> Result<()> {
        eventually("a Child SA on the device", limit, || async {
            let list = self.swanctl(&["--list-sas"]).await?;
            ensure!(list.contains("INSTALLED"), "{}", list.lines().next().unwrap_or("no SA"));
            Ok(())
        })
        .await
    }

    /// Waits until all of the device's BGP sessions are established.
    ///
    /// # Errors
    /// They are not within `limit`.
    pub async fn sessions_up(&self, limit: Duration) -> Result<()> {
        eventually_every(Duration::from_millis(100), "the device's BGP sessions", limit, || async {
            let sessions = self.sessions().await?;
            ensure!(!sessions.is_empty() && sessions.iter().all(|session| session.established), "{sessions:?}");
            Ok(())
        })
        .await
    }

    /// The end of the daemons' logs.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let router = self.router.as_ref().map(|router| router.log_tail(lines)).unwrap_or_default();
        format!("strongSwan:\n{}\n{router}", crate::service::tail(&self.folder.join("log/charon.log"), lines))
    }

    /// What the BGP daemon says of its sessions, for whoever looks for a failure.
    pub(crate) async fn sessions_at_length(&self) -> Result<String> {
        self.router()?.everything().await
    }
}

/// The instruction in the text's head that starts with `start`.
fn instruction(text: &str, start: &str) -> Option<String> {
    text.lines()
        .map_while(|line| line.strip_prefix('#'))
        .map(str::trim)
        .find(|line| line.starts_with(start))
        .map(str::to_owned)
}

/// The key file and the name of its section, as the head describes them.
fn key_place(text: &str) -> Result<(String, String)> {
    let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
    let file = head
        .iter()
        .flat_map(|line| line.split_whitespace())
        .find(|word| word.ends_with(".key.conf"))
        .context("the text does not name a key file")?;
    let section = head
        .iter()
        .find_map(|line| line.strip_suffix('{').map(str::trim).filter(|name| name.starts_with("ike-")))
        .context("the text does not show the key file's section")?;
    Ok((file.to_owned(), section.to_owned()))
}

fn write_private(path: &std::path::Path, content: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| path.display().to_string())?;
    file.write_all(content.as_bytes())?;
    Ok(())
}
