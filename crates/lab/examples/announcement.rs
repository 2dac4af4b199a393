//! The figures of `bench/announcement/run`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Daemon, NewConnection, Scene, addresses, eventually};

const PATIENCE: Duration = Duration::from_secs(30);
const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];

#[tokio::main]
async fn main() -> Result<()> {
    let rounds: u32 = std::env::args().nth(1).map_or(Ok(10), |text| text.parse()).context("ROUNDS")?;
    Scene::play("benann", async |scene| {
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        measure_all(scene, "BIRD", rounds).await?;
        scene.lab.device.speak_with(Daemon::Frr).await;
        scene.lab.device.start_daemons().await?;
        scene.active(&id).await?;
        measure_all(scene, "FRR", rounds).await
    })
    .await
}

async fn measure_all(scene: &Scene, daemon: &str, rounds: u32) -> Result<()> {
    let (vpc, gateway) = (&scene.site.vpc, &scene.site.gateway);
    for (what, prefix, id) in [("the VPC's router", "cwv", vpc), ("the gateway", "cwg", gateway)] {
        // A namespace is named after the first group of its object's id.
        let name = format!("{prefix}-{}", id.split('-').next().unwrap_or_default());
        for (number, family) in FAMILIES.into_iter().enumerate() {
            measure(scene, daemon, &name, family, addresses::SITE_PREFIXES[number], what, rounds).await?;
        }
    }
    Ok(())
}

/// Times from the device being told to announce its prefix until a look finds the route. A look takes some milliseconds, and so does telling.
async fn measure(
    scene: &Scene,
    daemon: &str,
    namespace: &str,
    family: &str,
    prefix: &str,
    what: &str,
    rounds: u32,
) -> Result<()> {
    let flag = if family == "ipv6" { "-6" } else { "-4" };
    let arguments = ["-n", namespace, flag, "route", "show", prefix];
    let there = async || -> Result<bool> { Ok(!scene.lab.node.run("ip", &arguments).await?.text()?.is_empty()) };
    eventually("the first announcement", PATIENCE, async || {
        ensure!(there().await?, "{prefix} is not there");
        Ok(())
    })
    .await?;
    let (mut times, mut telling_alone) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        // What is announced already is announced again, which changes nothing.
        let begun = Instant::now();
        scene.lab.device.announce(family, true).await?;
        telling_alone.push(begun.elapsed());
        scene.lab.device.announce(family, false).await?;
        eventually("the withdrawal", PATIENCE, async || {
            ensure!(!there().await?, "{prefix} is still there");
            Ok(())
        })
        .await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        scene.lab.device.announce(family, true).await?;
        while !there().await? {
            ensure!(begun.elapsed() < PATIENCE, "{prefix} does not come");
        }
        times.push(begun.elapsed());
    }
    let (median, all) = (median(&mut times), list(&times));
    let alone = self::median(&mut telling_alone);
    // A closed output is nobody's loss.
    let _ = writeln!(
        std::io::stdout(),
        "{daemon:<4} -> {what}, {family:<6} median {median} ms, to tell it alone {alone} ms   {all}"
    );
    Ok(())
}

/// In milliseconds; sorts.
fn median(times: &mut [Duration]) -> u128 {
    times.sort_unstable();
    times.get(times.len() / 2).map(Duration::as_millis).unwrap_or_default()
}

fn list(times: &[Duration]) -> String {
    let all: Vec<String> = times.iter().map(|time| time.as_millis().to_string()).collect();
    all.join(" ")
}
