//! What the provider limits and what support locks, on real traffic.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{NewConnection, Scene, addresses, eventually, summary};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

fn text<'a>(document: &'a Value, pointer: &str) -> Result<&'a str> {
    document.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer} in {document}"))
}

async fn traffic_stops(scene: &Scene) -> Result<()> {
    for (host, office) in scene.lab.host_addresses().iter().zip(addresses::OFFICE) {
        for (machine, target) in [(&scene.lab.office, host.as_str()), (&scene.lab.host, office)] {
            eventually(&format!("pings to {target} stop"), PATIENCE, || async {
                ensure!(machine.ping(target, None, 0.3).await.is_err(), "it still answers");
                Ok(())
            })
            .await?;
        }
    }
    scene.no_pings().await
}

/// Every change by a tenant is refused; reading goes on. The lab's key is an operator's, whose role may do what tenants may.
async fn changes_are_refused(scene: &Scene, collection: &str, id: &str) -> Result<()> {
    let path = format!("{}/{collection}/{id}", scene.api.prefix("s2s-vpn/v1alpha1"));
    let answer = scene.api.call(hyper::Method::PATCH, &path, Some(&json!({"name": "another"}))).await?;
    ensure!(answer.status == 423, "a change of {collection} got {}: {}", answer.status, answer.text);
    let answer = scene.api.call(hyper::Method::DELETE, &path, None).await?;
    ensure!(answer.status == 423, "a deletion from {collection} got {}: {}", answer.status, answer.text);
    ensure!(scene.api.get(&path).await?.status == 200, "it cannot even be read");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_lock_stops_traffic_and_changes_until_it_is_lifted() -> Result<()> {
    Scene::play("limlok", async |scene| {
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        let gateway = scene.site.gateway.clone();
        for (collection, object) in [("connections", id.as_str()), ("vpn-gateways", gateway.as_str())] {
            scene.api.set_locked(collection, object, true).await?;
            scene.api.wait_status(collection, object, "locked", PATIENCE).await?;
            traffic_stops(scene).await.with_context(|| format!("{collection} locked"))?;
            changes_are_refused(scene, collection, object).await?;
            // A locked gateway locks its connections.
            changes_are_refused(scene, "connections", &id).await?;
            let state = scene.api.state("connections", &id).await?;
            ensure!(text(&state, "/status")? == "locked", "{}", summary(&state));
            ensure!(text(&state, "/reason/code")? == "locked", "{}", summary(&state));
            scene.api.set_locked(collection, object, false).await?;
            // The device starts the tunnel, again and again.
            scene.active(&id).await.with_context(|| format!("{collection} unlocked"))?;
            scene.pings().await?;
        }
        Ok(())
    })
    .await
}

/// Bits per second of the gateway type that the bandwidth test orders: far below what any machine moves.
const NARROW: u32 = 20_000_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan, BIRD and iperf3; `make test` runs it"]
#[expect(clippy::print_stdout, reason = "the figure that docs/measurements.md names")]
async fn a_gateway_types_bandwidth_holds_in_both_directions() -> Result<()> {
    Scene::play("limbw", async |scene| {
        let body = json!({"name": "VGW-T", "bandwidth": NARROW, "allowed_connections": 2, "price_per_hour": 0});
        scene.api.must(hyper::Method::POST, "/causeway/v1/operator/gateway-types", Some(&body)).await?;
        let gateway = scene.api.create_gateway_of_type(&scene.site.network, "VGW-T").await?;
        scene.site.gateway = text(&gateway, "/id")?.to_owned();
        scene.api.wait_status("vpn-gateways", &scene.site.gateway, "active", PATIENCE).await?;
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        let host = scene.lab.host_addresses().first().context("the host is not attached")?.clone();
        let (office, lab) = (addresses::OFFICE[0], &scene.lab);
        for (word, from, to, target) in
            [("in", &lab.office, &lab.host, host.as_str()), ("out", &lab.host, &lab.office, office)]
        {
            let rate = from.iperf3(to, target, 3, 1).await.with_context(|| word)?;
            let ratio = rate / f64::from(NARROW);
            println!("{word}: {:.2} Mbit/s, {ratio:.3} of the bandwidth", rate / 1e6);
            // A slow machine moves less and never more: only the upper bound judges. The burst is part of it.
            ensure!(ratio <= 1.05, "{word}: {ratio:.3} of the bandwidth");
            ensure!(rate > 0.0, "{word}: nothing passes");
        }
        // It is the limit that holds: a flood beyond what may wait is dropped, and counted as that.
        eventually("drops of the shaper", PATIENCE, || async {
            let flood = ["-q", "-n", "-f", "-l", "3000", "-s", "1300", "-c", "6000", "-w", "2", &host];
            scene.lab.office.run("ping", &flood).await?;
            let state = scene.api.state("connections", &id).await?;
            let shaped = state.pointer("/tunnels/0/drops/shaped").and_then(Value::as_u64).unwrap_or(0);
            ensure!(shaped > 0, "{state}");
            Ok(())
        })
        .await
    })
    .await
}
