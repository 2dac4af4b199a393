//! An edit of a routing policy in a running VPN.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Daemon, NewConnection, Scene, Seen, addresses, eventually, summary};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

causeway_lab::with_both! {
    an_edit_of_a_policy_changes_routes_and_traffic_and_no_session "poledi" "polfrr";
}

/// The connection's BGP sessions as its state shows them.
async fn sessions(scene: &Scene, id: &str) -> Result<Vec<Value>> {
    let state = scene.api.state("connections", id).await?;
    let sessions = state.pointer("/bgp_sessions").and_then(Value::as_array).context("no sessions")?;
    ensure!(sessions.len() == 2, "{}", summary(&state));
    Ok(sessions.clone())
}

/// What both sides show of the sessions, once the API shows both families' routes and nothing has changed for two seconds: what the API shows
/// may be a moment behind what is forwarded, and FRR may begin a session anew within its first second (docs/known-issues.md).
async fn steady(scene: &Scene, id: &str) -> Result<(Vec<Value>, Vec<Seen>)> {
    let look = || async {
        let (ours, theirs) = (sessions(scene, id).await?, scene.lab.device.sessions().await?);
        ensure!(ours.iter().all(|session| session["accepted"] == 1 && session["status"] == "up"), "{ours:?}");
        Ok((ours, theirs))
    };
    let kept = |sessions: &[Value]| -> Vec<Value> {
        sessions.iter().map(|session| json!([session["since"], session["flaps"], session["announced"]])).collect()
    };
    eventually("the sessions have come to rest", PATIENCE, || async {
        let before = look().await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let after = look().await?;
        ensure!(kept(&before.0) == kept(&after.0) && before.1 == after.1, "{before:?} became {after:?}");
        Ok(after)
    })
    .await
}

/// Sets what the policies accept, and waits until both sessions have accepted `count` prefixes.
#[expect(clippy::print_stdout, reason = "the figure that docs/measurements.md names")]
async fn accept(scene: &Scene, id: &str, lists: [&str; 2], count: u64) -> Result<()> {
    let begun = Instant::now();
    for (policy, list) in scene.site.policies.iter().zip(lists) {
        let path = format!("{}/routing-policies/{policy}", scene.api.prefix("s2s-vpn/v1alpha1"));
        scene.api.must(hyper::Method::PATCH, &path, Some(&json!({"prefix_filter_in": [list]}))).await?;
    }
    eventually(&format!("{count} accepted"), PATIENCE, || async {
        let sessions = sessions(scene, id).await?;
        let done = sessions.iter().all(|session| session["accepted"].as_u64() == Some(count));
        ensure!(done, "{sessions:?}");
        Ok(())
    })
    .await?;
    println!(
        "{count} accepted, as the API shows it, {:.0} ms after the first edit",
        begun.elapsed().as_secs_f64() * 1000.0
    );
    Ok(())
}

async fn an_edit_of_a_policy_changes_routes_and_traffic_and_no_session(daemon: Daemon, name: &str) -> Result<()> {
    Scene::play(name, async |scene| {
        scene.lab.device.speak_with(daemon).await;
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        let before = steady(scene, &id).await?;

        accept(scene, &id, ["10.250.0.0/16", "fd99::/48"], 0).await?;
        for (host, office) in scene.lab.host_addresses().iter().zip(addresses::OFFICE) {
            for (machine, target) in [(&scene.lab.office, host.as_str()), (&scene.lab.host, office)] {
                eventually(&format!("pings to {target} stop"), PATIENCE, || async {
                    ensure!(machine.ping(target, None, 0.3).await.is_err(), "it still answers");
                    Ok(())
                })
                .await?;
            }
        }
        scene.no_pings().await?;
        accept(scene, &id, addresses::SITE_PREFIXES, 1).await?;
        scene.pings().await?;

        // Received as before, up since the same moment, and never down in between.
        let after = sessions(scene, &id).await?;
        // BIRD shows since when anew each time, from two clocks, and may be a millisecond off; another session never looks like the one before.
        eventually("the device has the sessions that it had", PATIENCE, || async {
            let now = scene.lab.device.sessions().await?;
            ensure!(now == before.1, "{now:?}, before {:?}", before.1);
            Ok(())
        })
        .await?;
        for (before, after) in before.0.iter().zip(&after) {
            for key in ["family", "status", "since", "received", "announced", "flaps"] {
                ensure!(before.get(key).is_some() && before[key] == after[key], "{key}: {before} became {after}");
            }
            ensure!(after["status"] == "up", "{after}");
        }
        Ok(())
    })
    .await
}
