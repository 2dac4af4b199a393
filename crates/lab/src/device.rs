//! The customer's device: strongSwan and BIRD on the `site` machine, configured by the text that the API returns and by nothing else but
//! what that text says is the customer's own (the key and the prefixes behind the device).

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::machine::{Machine, Running};
use crate::wait::{eventually, eventually_every};

const VICI: &str = "/run/charon.vici";
const BIRD_SOCKET: &str = "/run/bird/bird.ctl";

/// The device of one site. Its files survive a stop.
#[derive(Debug)]
pub struct Device {
    machine: Machine,
    folder: PathBuf,
    script: Option<String>,
    /// The key file of the connection that was installed last, and its section.
    key_place: Option<(String, String)>,
    /// Whether a BIRD of its own runs beside its strongSwan.
    routes: bool,
    charon: Option<Running>,
    bird: Option<Running>,
}

impl Device {
    pub(crate) fn new(machine: Machine, folder: PathBuf) -> Self {
        Self { machine, folder, script: None, key_place: None, routes: true, charon: None, bird: None }
    }

    /// A strongSwan whose routes another device's BIRD handles.
    pub(crate) fn without_bird(machine: Machine, folder: PathBuf) -> Self {
        Self { routes: false, ..Self::new(machine, folder) }
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
    /// describes (`key` in base64), and the prefixes behind the device.
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
        let content = format!("secrets {{\n  {section} {{\n    secret = 0s{key}\n  }}\n}}\n");
        write_private(&self.folder.join(file.trim_start_matches('/')), &content)
    }

    /// Starts both daemons and sets up the interface, but does not load the connection.
    ///
    /// # Errors
    /// A daemon does not start.
    pub async fn start_daemons(&mut self) -> Result<()> {
        let script = self.script.clone().context("nothing is installed on the device")?;
        if self.charon.is_none() {
            self.machine.shell(&format!("rm -f {VICI} {BIRD_SOCKET}")).await?;
            let log = self.folder.join("charon.stderr");
            self.charon = Some(self.machine.start("/usr/sbin/charon-systemd", &[], &[], &log)?);
        }
        self.answers(&["swanctl", "--stats"], "strongSwan").await?;
        self.machine.shell(&script).await?;
        if !self.routes {
            return Ok(());
        }
        if self.bird.is_none() {
            let log = self.folder.join("bird.log");
            self.bird = Some(self.machine.start("bird", &["-f", "-u", "bird", "-g", "bird"], &[], &log)?);
        }
        self.answers(&["birdc", "show", "status"], "BIRD").await
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

    /// Ends both daemons in order: strongSwan tells its peers, and no route that BIRD installed stays.
    pub async fn stop(&mut self) {
        if let Some(charon) = self.charon.take() {
            charon.terminate(Duration::from_secs(5)).await;
        }
        if let Some(bird) = self.bird.take() {
            bird.terminate(Duration::from_secs(3)).await;
        }
    }

    /// Kills both daemons: to its peers the device falls silent.
    pub async fn kill(&mut self) {
        if let Some(charon) = self.charon.take() {
            charon.kill().await;
        }
        if let Some(bird) = self.bird.take() {
            bird.kill().await;
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
            let list = self.birdc(&["show", "protocols"]).await?;
            let sessions: Vec<_> = list.lines().filter(|line| line.contains(" BGP ")).collect();
            ensure!(!sessions.is_empty() && sessions.iter().all(|line| line.contains("Established")), "{sessions:?}");
            Ok(())
        })
        .await
    }

    /// The end of the daemons' logs.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        format!(
            "strongSwan:\n{}\nBIRD:\n{}",
            crate::service::tail(&self.folder.join("log/charon.log"), lines),
            crate::service::tail(&self.folder.join("bird.log"), lines)
        )
    }

    async fn answers(&self, command: &[&str], name: &str) -> Result<()> {
        let (program, arguments) = command.split_first().context("a command")?;
        eventually(&format!("{name} answers"), Duration::from_secs(5), || async {
            self.machine.run(program, arguments).await?.text().map(drop)
        })
        .await
        .with_context(|| self.log_tail(10))
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
