//! Changes of the pre-shared key against a real device that changes over late, early and never (system.md §5).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{NewConnection, Scene, Stream, codes, eventually, summary};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const UNPROVEN: &str = "psk_change_unproven";
/// `a key that the device has before the service` in base64.
const EARLY_KEY: &str = "YSBrZXkgdGhhdCB0aGUgZGV2aWNlIGhhcyBiZWZvcmUgdGhlIHNlcnZpY2U=";

fn text<'a>(document: &'a Value, pointer: &str) -> Result<&'a str> {
    document.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer} in {document}"))
}

/// Waits until the connection is active with this reason, or without any.
async fn active(scene: &Scene, id: &str, reason: Option<&str>) -> Result<Value> {
    eventually(&format!("active with {reason:?}"), PATIENCE, || async {
        let state = scene.api.state("connections", id).await?;
        let code = state.pointer("/reason/code").and_then(Value::as_str);
        ensure!(text(&state, "/status")? == "active" && code == reason, "{} {:?}", summary(&state), codes(&state));
        Ok(state)
    })
    .await
}

/// A connection that the gateway has: its own first attempt is over before the device is told of it, so that the two do not cross.
async fn connect(
    scene: &mut Scene,
    new: &NewConnection,
    change: impl FnOnce(String) -> String,
    key: Option<&str>,
) -> Result<String> {
    let id = scene.connect(new, change, key).await?;
    scene.api.wait_status("vpn-gateways", &scene.site.gateway, "active", PATIENCE).await?;
    // The device knows no connection yet and says so, or its daemon was not there in time.
    eventually("the gateway's first attempt has failed", PATIENCE, || async {
        let state = scene.api.state("connections", &id).await?;
        let codes = codes(&state);
        let failed = |code: &String| ["no_proposal_chosen", "peer_unreachable", "peer_silent"].contains(&code.as_str());
        ensure!(codes.iter().any(failed), "{} {codes:?}", summary(&state));
        Ok(())
    })
    .await?;
    Ok(id)
}

/// When the tunnel's IKE SA was authenticated; a rekey keeps it.
fn authenticated_at(state: &Value) -> Result<String> {
    text(state, "/tunnels/0/ike/established_at").map(str::to_owned)
}

fn tunnel(id: &str) -> String {
    format!("causeway-{}-ipv4", id.split('-').next().unwrap_or(id))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_device_that_changes_over_late_loses_nothing() -> Result<()> {
    Scene::play("keylat", async |scene| {
        for generate_revision in [true, false] {
            let id = connect(scene, &NewConnection::default(), |text| text, None).await?;
            scene.lab.device.load().await?;
            let before = authenticated_at(&active(scene, &id, None).await?)?;
            let flow = scene.lab.streams(PATIENCE).await?;
            // What was sent before all of the way was there counts for nothing.
            let marks: Vec<u64> = flow.iter().map(Stream::mark).collect();
            let key = scene.api.renew_key(&id, generate_revision).await?;
            let unproven = active(scene, &id, Some(UNPROVEN)).await?;
            ensure!(authenticated_at(&unproven)? == before, "the change of the key touched the tunnel");
            // The device has the old key only: the proof fails, and the tunnel stays.
            scene.api.act(&id, "reauthenticate").await?;
            for stream in &flow {
                stream.steady(PATIENCE).await?;
            }
            ensure!(authenticated_at(&active(scene, &id, Some(UNPROVEN)).await?)? == before, "the tunnel was replaced");
            scene.lab.device.change_key(&key).await?;
            scene.api.act(&id, "reauthenticate").await?;
            let proven = active(scene, &id, None).await?;
            ensure!(authenticated_at(&proven)? != before, "nothing was authenticated");
            for (stream, mark) in flow.iter().zip(marks) {
                stream.nothing_lost(mark, PATIENCE).await?;
            }
            drop(flow);

            // Within the window the old key lets a device in that begins anew, and that proves nothing.
            let key = scene.api.renew_key(&id, generate_revision).await?;
            active(scene, &id, Some(UNPROVEN)).await?;
            scene.lab.device.swanctl(&["--terminate", "--ike", &tunnel(&id)]).await?;
            scene.lab.device.swanctl(&["--initiate", "--child", &tunnel(&id)]).await?;
            active(scene, &id, Some(UNPROVEN)).await?;
            scene.pings().await?;
            scene.lab.device.change_key(&key).await?;
            scene.lab.device.swanctl(&["--terminate", "--ike", &tunnel(&id)]).await?;
            scene.lab.device.swanctl(&["--initiate", "--child", &tunnel(&id)]).await?;
            active(scene, &id, None).await?;
            scene.pings().await?;
            scene.remove(&id).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_device_that_changes_over_early_is_let_in_as_soon_as_the_key_is_here() -> Result<()> {
    Scene::play("keyear", async |scene| {
        for initiation in ["customer_gateway", "vpn_gateway"] {
            let new = NewConnection { initiation, ..NewConnection::default() };
            let id = connect(scene, &new, |text| text, None).await?;
            scene.lab.device.load().await?;
            let before = authenticated_at(&active(scene, &id, None).await?)?;
            scene.lab.device.change_key(EARLY_KEY).await?;
            ensure!(
                authenticated_at(&active(scene, &id, None).await?)? == before,
                "the device's change touched the tunnel"
            );
            scene.lab.device.swanctl(&["--terminate", "--ike", &tunnel(&id)]).await?;
            if initiation == "customer_gateway" {
                let refused = scene.lab.device.swanctl(&["--initiate", "--child", &tunnel(&id)]).await;
                ensure!(refused.is_err(), "a key that the service does not have was accepted");
            }
            let state = scene.api.wait_reason(&id, "authentication_failed", PATIENCE).await?;
            ensure!(text(&state, "/status")? == "down", "{}", summary(&state));
            scene.no_pings().await?;
            let secret = scene.api.create_secret(EARLY_KEY).await?;
            scene.api.change_key(&id, &secret).await?;
            if initiation == "customer_gateway" {
                // The first attempt after the answer to the change may precede the node's knowledge of it.
                let there = async || scene.lab.device.swanctl(&["--initiate", "--child", &tunnel(&id)]).await;
                eventually("the device is let in", PATIENCE, there).await?;
            }
            active(scene, &id, None).await.with_context(|| format!("started by {initiation}"))?;
            scene.pings().await?;
            scene.remove(&id).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_device_that_never_changes_over_stays_until_the_key_is_revoked() -> Result<()> {
    Scene::play("keynev", async |scene| {
        for initiation in ["vpn_gateway", "customer_gateway"] {
            let new = NewConnection { initiation, ..NewConnection::default() };
            let id = connect(scene, &new, |text| text, None).await?;
            scene.lab.device.load().await?;
            let before = authenticated_at(&active(scene, &id, None).await?)?;
            let key = scene.api.renew_key(&id, true).await?;
            ensure!(authenticated_at(&active(scene, &id, Some(UNPROVEN)).await?)? == before, "the tunnel was replaced");
            scene.pings().await?;
            scene.api.act(&id, "revoke-previous-psk").await?;
            let state = scene.api.wait_reason(&id, "authentication_failed", PATIENCE).await?;
            ensure!(text(&state, "/status")? == "down", "{}", summary(&state));
            ensure!(text(&state, "/reason/message")?.contains("keys differ"), "{}", summary(&state));
            scene.no_pings().await?;
            scene.lab.device.change_key(&key).await?;
            if initiation == "customer_gateway" {
                scene.lab.device.swanctl(&["--initiate", "--child", &tunnel(&id)]).await?;
            }
            active(scene, &id, None).await.with_context(|| format!("started by {initiation}"))?;
            scene.pings().await?;
            scene.remove(&id).await?;
        }
        Ok(())
    })
    .await
}

/// Nobody has told the device of either change; the answer to the first may have been lost.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_device_is_let_in_with_the_key_from_before_several_changes() -> Result<()> {
    Scene::play("keytwi", async |scene| {
        for initiation in ["customer_gateway", "vpn_gateway"] {
            let new = NewConnection { initiation, ..NewConnection::default() };
            let id = connect(scene, &new, |text| text, None).await?;
            scene.lab.device.load().await?;
            active(scene, &id, None).await?;
            scene.api.renew_key(&id, true).await?;
            scene.api.renew_key(&id, false).await?;
            let key = scene.api.renew_key(&id, true).await?;
            let before = authenticated_at(&active(scene, &id, Some(UNPROVEN)).await?)?;
            let again = async |reason: Option<&str>, before: &str| {
                scene.lab.device.swanctl(&["--terminate", "--ike", &tunnel(&id)]).await?;
                if initiation == "customer_gateway" {
                    scene.lab.device.swanctl(&["--initiate", "--child", &tunnel(&id)]).await?;
                }
                eventually("another authentication", PATIENCE, || async {
                    let state = scene.api.state("connections", &id).await?;
                    ensure!(authenticated_at(&state)? != before, "{}", summary(&state));
                    Ok(())
                })
                .await
                .with_context(|| format!("started by {initiation}"))?;
                let state = active(scene, &id, reason).await?;
                scene.pings().await?;
                authenticated_at(&state)
            };
            let then = again(Some(UNPROVEN), &before).await?;
            scene.lab.device.change_key(&key).await?;
            again(None, &then).await?;
            scene.remove(&id).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn the_windows_end_leaves_the_tunnel_and_refuses_the_old_key() -> Result<()> {
    Scene::play("keyend", async |scene| {
        let new = NewConnection { initiation: "customer_gateway", ..NewConnection::default() };
        let id = connect(scene, &new, |text| text, None).await?;
        scene.api.set_options(&id, &json!({"psk_overlap": 3})).await?;
        scene.lab.device.load().await?;
        let before = authenticated_at(&active(scene, &id, None).await?)?;
        let revision = |state: &Value, name: &str| state.get(name).and_then(Value::as_u64).context("no revision");
        let known = revision(&scene.api.state("connections", &id).await?, "desired_revision")?;
        let key = scene.api.renew_key(&id, true).await?;
        // The change is one revision, the end of the window the next.
        eventually("the end of the window is in force", PATIENCE, || async {
            let state = scene.api.state("connections", &id).await?;
            let applied = revision(&state, "applied_revision")?;
            ensure!(applied >= known + 2, "revision {applied} after {known}");
            Ok(())
        })
        .await?;
        ensure!(
            authenticated_at(&active(scene, &id, Some(UNPROVEN)).await?)? == before,
            "the window's end touched the tunnel"
        );
        scene.pings().await?;
        scene.lab.device.swanctl(&["--terminate", "--ike", &tunnel(&id)]).await?;
        let refused = scene.lab.device.swanctl(&["--initiate", "--child", &tunnel(&id)]).await;
        ensure!(refused.is_err(), "the old key is accepted after its window");
        scene.api.wait_reason(&id, "authentication_failed", PATIENCE).await?;
        scene.lab.device.change_key(&key).await?;
        scene.lab.device.swanctl(&["--initiate", "--child", &tunnel(&id)]).await?;
        active(scene, &id, None).await?;
        scene.pings().await
    })
    .await
}
