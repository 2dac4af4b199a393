//! The figures of `bench/edits/run`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{NewConnection, Scene, addresses};
use hyper::Method;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let rounds: u8 = std::env::args().nth(1).map_or(Ok(10), |text| text.parse()).context("ROUNDS, up to 250")?;
    Scene::play("benedi", async |scene| {
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        let site = addresses::SITE_PREFIXES[0];
        let policy = format!("routing-policies/{}", scene.site.policies[0]);
        let (mut narrowed, mut widened, mut replaced) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            for (list, there, times) in [("10.250.0.0/16", false, &mut narrowed), (site, true, &mut widened)] {
                let edit = (Method::PATCH, "s2s-vpn/v1alpha1", policy.as_str(), json!({"prefix_filter_in": [list]}));
                let look = ["ip", "route", "show", site];
                times.push(until(scene, edit, &look, |shown| shown.is_empty() != there).await?);
            }
            let host = format!("10.254.0.{round}");
            let rule = json!({
                "protocol": "any", "source": site, "src_port_low": 0, "src_port_high": 0, "destination": format!("{host}/32"),
                "dst_port_low": 0, "dst_port_high": 0, "action": "drop", "description": null,
            });
            let path = format!("vpcs/{}/acl-rules", scene.site.vpc);
            let body = json!({"is_ipv6": false, "default_policy": "accept", "rules": [rule]});
            let look = ["nft", "list", "table", "inet", "causeway_acl"];
            let edit = (Method::PUT, "vpc/v2", path.as_str(), body);
            // Followed by what no other address begins with.
            let name = format!("{host} ");
            replaced.push(until(scene, edit, &look, |shown| shown.contains(&name)).await?);
        }
        tell("policy narrowed -> route gone", narrowed);
        tell("policy widened -> route there", widened);
        tell("access list replaced", replaced);
        Ok(())
    })
    .await
}

/// The time from an edit until a look at the VPC's router finds it there. A look takes some milliseconds.
async fn until(
    scene: &Scene,
    (method, api, path, body): (Method, &str, &str, serde_json::Value),
    look: &[&str],
    there: impl Fn(&str) -> bool,
) -> Result<Duration> {
    let net = format!("--net=/run/netns/cwv-{}", scene.site.vpc.split('-').next().unwrap_or_default());
    let words = [&[net.as_str()][..], look].concat();
    let begun = Instant::now();
    scene.api.must(method, &format!("{}/{path}", scene.api.prefix(api)), Some(&body)).await?;
    while !there(&scene.lab.node.run("nsenter", &words).await?.text()?) {
        ensure!(begun.elapsed() < PATIENCE, "{path}: {look:?} does not show it");
    }
    Ok(begun.elapsed())
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let median = times.get(times.len() / 2).map(Duration::as_millis).unwrap_or_default();
    let all: Vec<String> = times.iter().map(|time| time.as_millis().to_string()).collect();
    // A closed output is nobody's loss.
    let _ = writeln!(std::io::stdout(), "{what:<30} median {median} ms   {}", all.join(" "));
}
