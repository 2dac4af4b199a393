//! Every status of VPN gateways and of connections, caused and read back with the official Python SDK.

mod sdk;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{NewConnection, Scene, eventually};
use serde_json::Value;

use crate::sdk::Sdk;

const PATIENCE: Duration = Duration::from_secs(180);
const VPN: &str = "s2s-vpn/v1alpha1";
/// Nothing passes between nodes and controller any more, wherever it is in flight.
const CUT: &str = "nft 'add table inet cut; add chain inet cut forward { type filter hook forward priority 0; }; \
    add rule inet cut forward tcp dport 443 drop; add rule inet cut forward tcp sport 443 drop'";

fn id(document: &Value) -> Result<String> {
    Ok(document.get("id").and_then(Value::as_str).with_context(|| format!("no id in {document}"))?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn every_status_of_a_gateway_is_caused_and_read() -> Result<()> {
    let (scene, fleet) = Scene::build_fleet("stsgw").await?;
    let outcome: Result<()> = async {
        let first = scene.site.gateway.clone();
        let sdk = Sdk::follow(&scene, "gateway", &first)?;
        sdk.reads("active").await?;

        // No node can hear of a change, nor acknowledge it.
        scene.lab.inet.shell(CUT).await?;
        let connection = scene.api.create_connection(&scene.site, &NewConnection::default()).await?;
        sdk.reads("configuring").await?;
        let (_, network, _) = scene.api.create_network(Some("10.98.0.0/24")).await?;
        let second = id(&scene.api.create_gateway(&network).await?)?;
        let new = Sdk::follow(&scene, "gateway", &second)?;
        new.reads("provisioning").await?;
        // Nobody reaches the node on TCP 443, which is what the operator is told.
        fleet.wait_state(&scene.lab.service, "node", "down").await?;
        let node = fleet.node(&scene.lab.service, "node").await?;
        let told = |pointer: &str| node.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        ensure!(told("/reason/code") == "node_silent" && told("/reason/remedy").contains("filters TCP"), "{node}");
        new.reads("failed").await?;

        // Without any help they become what they should be.
        scene.lab.heal().await?;
        new.reads("active").await?;
        sdk.reads("active").await?;
        // Until the controller hears it itself again, and not only of it by another node, it takes no changes.
        fleet.wait_state(&scene.lab.service, "node", "up").await?;

        scene.api.set_locked("vpn-gateways", &first, true).await?;
        sdk.reads("locked").await?;
        scene.api.set_locked("vpn-gateways", &first, false).await?;
        sdk.reads("active").await?;

        scene.lab.inet.shell(CUT).await?;
        scene.api.delete(VPN, &format!("vpn-gateways/{second}")).await?;
        new.reads("deprovisioning").await?;
        scene.lab.heal().await?;
        new.reads("404").await?;
        fleet.wait_state(&scene.lab.service, "node", "up").await?;
        scene.api.delete(VPN, &format!("connections/{}", id(&connection)?)).await?;
        sdk.stop().await;
        new.stop().await;
        Ok(())
    }
    .await
    .with_context(|| format!("the end of the node's log:\n{}", fleet.log_tail("node")));
    scene.finish(outcome).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn every_status_of_a_connection_is_caused_and_read() -> Result<()> {
    Scene::play("stscon", async |scene| {
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        let sdk = Sdk::follow(scene, "connection", &id)?;
        sdk.reads("ready").await?;
        scene.no_pings().await?;
        scene.lab.device.load().await?;
        sdk.reads("active").await?;
        scene.pings().await?;

        scene.lab.device.birdc(&["disable", "gateway_ipv6"]).await?;
        sdk.reads("limited_connectivity").await?;
        let [host, host_v6] = scene.lab.host_addresses() else { anyhow::bail!("two addresses") };
        let (host, host_v6) = (host.clone(), host_v6.clone());
        eventually("IPv4 goes on", PATIENCE, || scene.lab.office.ping(&host, None, 0.5)).await?;
        ensure!(scene.lab.office.ping(&host_v6, None, 0.7).await.is_err(), "IPv6 goes on without its session");

        scene.lab.device.birdc(&["disable", "gateway_ipv4"]).await?;
        sdk.reads("down").await?;
        scene.no_pings().await?;
        for session in ["gateway_ipv4", "gateway_ipv6"] {
            scene.lab.device.birdc(&["enable", session]).await?;
        }
        sdk.reads("active").await?;
        scene.pings().await?;

        scene.api.set_locked("connections", &id, true).await?;
        sdk.reads("locked").await?;
        scene.api.set_locked("connections", &id, false).await?;
        sdk.reads("active").await?;
        sdk.stop().await;
        Ok(())
    })
    .await
}
