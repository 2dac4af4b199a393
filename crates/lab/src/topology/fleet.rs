//! A controller on a machine of its own and two gateway nodes, of which the second one has the Private Network's host and the site in reach.
//!
//! ```text
//!   control ──┐
//!   spare  ───┤ inet ── underlay ── node ── Private Network ── host
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Lab, assign, default_route, wire};
use crate::api::Api;
use crate::machine::{Machine, Running};
use crate::service::{Service, tail};
use crate::wait::eventually;

/// Where nodes find the controller.
const CONTROL: &str = "198.18.0.1";
/// How long a node may take to become up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The nodes, by name: `spare` joined first, `node` second.
#[derive(Debug)]
pub struct Fleet {
    machines: BTreeMap<&'static str, Machine>,
    running: BTreeMap<&'static str, Running>,
    folder: PathBuf,
    program: PathBuf,
}

impl Lab {
    /// Moves the service to a machine of its own, without a node in its process, and makes two machines its nodes.
    ///
    /// # Errors
    /// A step that failed, with the logs.
    pub async fn start_fleet(&mut self, program: &Path) -> Result<(Api, Fleet)> {
        let control = Machine::create(&self.ledger, "control").await?;
        let spare = Machine::create(&self.ledger, "spare").await?;
        for (number, (machine, port, interface)) in
            [(&control, "ctl0", "eth0"), (&spare, "spare0", "up0")].into_iter().enumerate()
        {
            wire(&self.inet, port, machine, interface).await?;
            let router = format!("198.18.{number}.254");
            assign(&self.inet, port, &format!("{router}/24")).await?;
            assign(machine, interface, &format!("198.18.{number}.1/24")).await?;
            default_route(machine, &router).await?;
        }
        self.service.move_to(control, &format!("{CONTROL}:443"));
        let api = self.start_service().await?;
        let mut fleet = Fleet {
            machines: BTreeMap::from([
                ("spare", spare.with_own_namespaces().await?),
                ("node", self.node.with_own_namespaces().await?),
            ]),
            running: BTreeMap::new(),
            folder: self.folder.clone(),
            program: program.to_owned(),
        };
        for name in ["spare", "node"] {
            fleet.join(&self.service, name).await.with_context(|| format!("node {name}"))?;
            fleet.run(name)?;
            let up = fleet.wait_state(&self.service, name, "up").await;
            up.with_context(|| format!("the end of the log of {name}:\n{}", fleet.log_tail(name)))?;
        }
        Ok((api, fleet))
    }
}

impl Fleet {
    fn data(&self, name: &str) -> String {
        self.folder.join(format!("data-{name}")).display().to_string()
    }

    fn machine(&self, name: &str) -> Result<&Machine> {
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
        ensure!(!self.running.contains_key(name), "{name} runs already");
        let (program, data) = (self.program.display().to_string(), self.data(name));
        let log = self.folder.join(format!("{name}.log"));
        let environment = [("CAUSEWAY_NODE_UNDERLAY", "up0")];
        let running = self.machine(name)?.start(&program, &["node", "run", &data], &environment, &log)?;
        self.running.insert(name, running);
        Ok(())
    }

    /// SIGKILL of a node's process.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        self.running.remove(name).with_context(|| format!("{name} does not run"))?.kill().await;
        Ok(())
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
}
