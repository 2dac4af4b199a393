//! What most end-to-end tests begin with: a laboratory in which only the connection is missing.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::api::{Api, NewConnection, Site, text};
use crate::scenario::steps::{PATIENCE, order_customer, order_gateway, order_lone_gateway, public_addresses};
use crate::topology::{Fleet, LAN, Lab, addresses};
use crate::wait::eventually;

const VPN: &str = "s2s-vpn/v1alpha1";

/// A laboratory with a running service, an active gateway, an attached host, a customer gateway and both policies.
#[derive(Debug)]
pub struct Scene {
    /// Machines, service and device.
    pub lab: Lab,
    /// The client.
    pub api: Api,
    /// The objects around a connection.
    pub site: Site,
}

impl Scene {
    /// The program under test: `CAUSEWAY_BIN`, or `causeway` beside the test's own target directory.
    ///
    /// # Errors
    /// It is not there.
    pub fn program() -> Result<PathBuf> {
        let path = match std::env::var_os("CAUSEWAY_BIN") {
            Some(path) => PathBuf::from(path),
            None => std::env::current_exe()?.ancestors().nth(2).context("a target directory")?.join("causeway"),
        };
        ensure!(path.exists(), "{} is missing: run `cargo build -p causeway` first", path.display());
        Ok(path)
    }

    /// Builds the lab `id` and orders everything.
    ///
    /// # Errors
    /// A step that failed; what was built until then is removed.
    pub async fn build(id: &str) -> Result<Self> {
        let mut lab = Lab::start(Some(id), &Self::program()?).await?;
        match Self::order(&mut lab).await {
            Ok((api, site)) => Ok(Self { lab, api, site }),
            Err(error) => lab.finish(Err(error)).await,
        }
    }

    async fn order(lab: &mut Lab) -> Result<(Api, Site)> {
        let api = lab.start_service().await?;
        let (mut site, _) = order_gateway(lab).await?;
        order_customer(lab, &mut site).await?;
        Ok((api, site))
    }

    /// As [`Self::build`], with a controller on a machine of its own and two nodes. The first one carries a gateway of another VPC, so that
    /// placement puts the scene's on the second one.
    ///
    /// # Errors
    /// As there.
    pub async fn build_fleet(id: &str) -> Result<(Self, Fleet)> {
        let program = Self::program()?;
        let mut lab = Lab::start(Some(id), &program).await?;
        let order = async |lab: &mut Lab| {
            let (api, fleet) = lab.start_fleet(false).await?;
            let (_, network, _) = api.create_network(Some("10.99.0.0/24")).await?;
            let gateway = api.create_gateway(&network).await?;
            api.wait_status("vpn-gateways", &text(&gateway, "/id")?, "active", PATIENCE).await?;
            let (mut site, _) = order_gateway(lab).await?;
            order_customer(lab, &mut site).await?;
            Ok((api, site, fleet))
        };
        match order(&mut lab).await {
            Ok((api, site, fleet)) => Ok((Self { lab, api, site }, fleet)),
            Err(error) => lab.finish(Err(error)).await,
        }
    }

    /// As [`Self::build_fleet`], with three nodes of a zone with failover. The Private Network is on a switch that all of them have a port of.
    ///
    /// # Errors
    /// As there.
    pub async fn build_zone(id: &str) -> Result<(Self, Fleet)> {
        let mut lab = Lab::start(Some(id), &Self::program()?).await?;
        let order = async |lab: &mut Lab| {
            let (api, fleet) = lab.start_fleet(true).await?;
            let (mut site, _) = order_lone_gateway(lab).await?;
            lab.command_line(&format!("private-network attach {} --interface {LAN}", site.network)).await?;
            lab.attach_host_to_switch(&fleet, &site.subnets).await?;
            order_customer(lab, &mut site).await?;
            Ok((api, site, fleet))
        };
        match order(&mut lab).await {
            Ok((api, site, fleet)) => Ok((Self { lab, api, site }, fleet)),
            Err(error) => lab.finish(Err(error)).await,
        }
    }

    /// Builds the lab `id`, lets `play` happen in it, and cleans up in any case.
    ///
    /// # Errors
    /// The first thing that was not seen, with the logs.
    pub async fn play(id: &str, play: impl AsyncFnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut scene = Self::build(id).await?;
        let outcome = play(&mut scene).await;
        scene.finish(outcome).await
    }

    /// Creates a connection and puts its configuration, changed by `change`, on the device. The daemons run, nothing is loaded. `key`
    /// (base64) instead of the right one, if given.
    ///
    /// # Errors
    /// A call or a command failed.
    pub async fn connect(
        &mut self,
        new: &NewConnection,
        change: impl FnOnce(String) -> String,
        key: Option<&str>,
    ) -> Result<String> {
        let connection = self.api.create_connection(&self.site, new).await?;
        let id = text(&connection, "/id")?;
        let configuration = self.api.device_configuration(&id).await?;
        let changed = change(configuration);
        let right = self.api.key(&connection).await?;
        self.lab.device.install(&changed, key.unwrap_or(&right), &addresses::SITE_PREFIXES).await?;
        self.lab.device.start_daemons().await?;
        Ok(id)
    }

    /// The gateway's public addresses, IPv4 first.
    ///
    /// # Errors
    /// A call fails.
    pub async fn public_addresses(&self) -> Result<Vec<String>> {
        public_addresses(&self.lab, &self.site.gateway).await
    }

    /// Waits until pings are answered in both families and both directions.
    ///
    /// # Errors
    /// One is not.
    pub async fn pings(&self) -> Result<()> {
        for (host, office) in self.lab.host_addresses().iter().zip(addresses::OFFICE) {
            eventually("ping from the office", PATIENCE, || self.lab.office.ping(host, None, 0.5)).await?;
            eventually("ping from the host", PATIENCE, || self.lab.host.ping(office, None, 0.5)).await?;
        }
        Ok(())
    }

    /// Makes sure that no ping is answered.
    ///
    /// # Errors
    /// One is.
    pub async fn no_pings(&self) -> Result<()> {
        for (host, office) in self.lab.host_addresses().iter().zip(addresses::OFFICE) {
            ensure!(self.lab.office.ping(host, None, 0.7).await.is_err(), "the office still reaches {host}");
            ensure!(self.lab.host.ping(office, None, 0.7).await.is_err(), "the host still reaches {office}");
        }
        Ok(())
    }

    /// Waits until the connection is active.
    ///
    /// # Errors
    /// It does not become so.
    pub async fn active(&self, id: &str) -> Result<()> {
        self.api.wait_status("connections", id, "active", PATIENCE).await.map(drop)
    }

    /// The connection's document.
    ///
    /// # Errors
    /// The call failed.
    pub async fn connection(&self, id: &str) -> Result<Value> {
        self.api.vpn(&format!("connections/{id}")).await
    }

    /// Removes the connection, so that the next one may use the same addresses.
    ///
    /// # Errors
    /// It does not go.
    pub async fn remove(&mut self, id: &str) -> Result<()> {
        self.lab.device.stop().await;
        self.api.delete(VPN, &format!("connections/{id}")).await?;
        self.api.wait_gone(VPN, &format!("connections/{id}"), Duration::from_secs(30)).await
    }

    /// Ends the lab; a failure gets the logs.
    ///
    /// # Errors
    /// The outcome's own.
    pub async fn finish(self, outcome: Result<()>) -> Result<()> {
        self.lab.finish(outcome).await
    }
}
