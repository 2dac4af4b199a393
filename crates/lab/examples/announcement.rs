//! The figures of `bench/announcement/run`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{NewConnection, Scene, addresses, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let rounds: u32 = std::env::args().nth(1).map_or(Ok(10), |text| text.parse()).context("ROUNDS")?;
    Scene::play("benann", async |scene| {
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        let namespaces = scene.lab.node.run("ip", &["netns", "list"]).await?.text()?;
        for (what, prefix) in [("the VPC's router", "cwv-"), ("the gateway", "cwg-")] {
            let mut names = namespaces.lines().filter_map(|line| line.split_whitespace().next());
            let name = names.find(|name| name.starts_with(prefix)).with_context(|| format!("{what}: {namespaces}"))?;
            for (number, family) in ["ipv4", "ipv6"].into_iter().enumerate() {
                measure(scene, name, family, addresses::SITE_PREFIXES[number], what, rounds).await?;
            }
        }
        Ok(())
    })
    .await
}

/// Times from the device being told to announce its prefix until a look finds the route. A look takes some milliseconds, and so does telling.
async fn measure(scene: &Scene, namespace: &str, family: &str, prefix: &str, what: &str, rounds: u32) -> Result<()> {
    let own = format!("own_{family}");
    let flag = if family == "ipv6" { "-6" } else { "-4" };
    let arguments = ["-n", namespace, flag, "route", "show", prefix];
    let there = async || -> Result<bool> { Ok(!scene.lab.node.run("ip", &arguments).await?.text()?.is_empty()) };
    let mut times = Vec::new();
    for _ in 0..rounds {
        scene.lab.device.birdc(&["disable", &own]).await?;
        eventually("the withdrawal", PATIENCE, async || {
            ensure!(!there().await?, "{prefix} is still there");
            Ok(())
        })
        .await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        scene.lab.device.birdc(&["enable", &own]).await?;
        while !there().await? {
            ensure!(begun.elapsed() < PATIENCE, "{prefix} does not come");
        }
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let all: Vec<String> = times.iter().map(|time| time.as_millis().to_string()).collect();
    let median = times.get(times.len() / 2).map(Duration::as_millis).unwrap_or_default();
    // A closed output is nobody's loss.
    let _ = writeln!(std::io::stdout(), "BIRD -> {what}, {family:<6} median {median} ms   {}", all.join(" "));
    Ok(())
}
