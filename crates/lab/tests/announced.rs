//! What a device announces and should not, by BIRD and by FRR: each refused for its reason, told by the command line, without a route in the
//! VPC and without harm to what is right.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Daemon, NewConnection, Said, Scene, addresses, eventually};
use causeway_model::reason::ReasonCode;
use hyper::Method;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

causeway_lab::with_both! {
    what_is_nobodys_to_announce_is_refused_and_explained "annbrd" "annfrr";
}

/// An announcement, and what the explanation says of it.
struct Case {
    /// BIRD keeps some to itself.
    only: Option<Daemon>,
    prefix: &'static str,
    said: Said<'static>,
    rule: &'static str,
}

const fn case(prefix: &'static str, rule: &'static str) -> Case {
    Case { only: None, prefix, said: Said::Plainly, rule }
}

/// Ranges of the policies in which the device has nothing that is right.
const RANGES: [&str; 2] = ["10.21.0.0/16", "fd20:0:2::/48"];

const CASES: &[Case] = &[
    Case { said: Said::Through(addresses::PROVIDER_ASN), ..case("10.21.1.0/24", "own_asn_in_path") },
    Case { said: Said::Through(addresses::PROVIDER_ASN), ..case("fd20:0:2:1::/64", "own_asn_in_path") },
    // The office is a host of the site, and no next hop of the gateway's.
    Case { said: Said::At(addresses::OFFICE[0]), ..case("10.21.2.0/24", "third_party_next_hop") },
    Case { said: Said::At(addresses::OFFICE[1]), ..case("fd20:0:2:2::/64", "third_party_next_hop") },
    case("0.0.0.0/0", "not_in_prefix_filter_in"),
    case("::/0", "not_in_prefix_filter_in"),
    case("10.99.0.0/24", "not_in_prefix_filter_in"),
    Case { only: Some(Daemon::Frr), ..case("127.0.0.0/8", "martian") },
    Case { only: Some(Daemon::Frr), ..case("ff00::/8", "martian") },
];

/// What the command line says of a prefix.
async fn explain(scene: &Scene, prefix: &str) -> Result<Value> {
    let command = format!("vpc explain-route {} --prefix {prefix} -o json", scene.site.vpc);
    Ok(serde_json::from_str(&scene.lab.command_line(&command).await?)?)
}

async fn what_is_nobodys_to_announce_is_refused_and_explained(daemon: Daemon, name: &str) -> Result<()> {
    Scene::play(name, async |scene| {
        scene.lab.device.speak_with(daemon).await;
        for ((policy, own), range) in scene.site.policies.iter().zip(addresses::SITE_PREFIXES).zip(RANGES) {
            let path = format!("{}/routing-policies/{policy}", scene.api.prefix("s2s-vpn/v1alpha1"));
            scene.api.must(Method::PATCH, &path, Some(&json!({"prefix_filter_in": [own, range]}))).await?;
        }
        // A device whose owner has left out the filters, and the word that the next hop is always the device.
        let open = |text: String| {
            let lines = text.lines().filter(|line| line.trim() != "next hop self;");
            let lines = lines.map(|line| if line.starts_with("  if net ~ [ ") { "  accept;" } else { line });
            lines.collect::<Vec<_>>().join("\n") + "\n"
        };
        let id = scene.connect(&NewConnection::default(), open, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        let cases = || CASES.iter().filter(|case| case.only.is_none_or(|only| only == daemon));
        for case in cases() {
            scene.lab.device.add_prefix(case.prefix, case.said).await?;
        }
        for case in cases() {
            eventually(&format!("{} is {}", case.prefix, case.rule), PATIENCE, || async {
                let answer = explain(scene, case.prefix).await?;
                let word = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
                ensure!(word("/verdict") == Some("unrouted"), "{answer}");
                ensure!(word("/reason/code") == Some(ReasonCode::NoRoute.as_str()), "{answer}");
                let candidates = answer.get("candidates").and_then(Value::as_array).context("no candidates")?;
                let wanted = [("prefix", case.prefix), ("decision", "filtered"), ("detail", case.rule)];
                let refused = candidates.iter().any(|candidate| {
                    wanted.iter().all(|(key, value)| candidate.get(key).and_then(Value::as_str) == Some(*value))
                });
                ensure!(refused, "{answer}");
                Ok(())
            })
            .await?;
        }
        // All of them are received, and what is right is accepted, alone.
        eventually("the counts of both sessions", PATIENCE, || async {
            let state = scene.api.state("connections", &id).await?;
            let sessions = state.pointer("/bgp_sessions").and_then(Value::as_array).context("no sessions")?;
            for session in sessions {
                let is_ipv6 = session.get("family").and_then(Value::as_str) == Some("ipv6");
                let wrong = cases().filter(|case| case.prefix.contains(':') == is_ipv6).count();
                let count = |key: &str| session.get(key).and_then(Value::as_u64);
                ensure!(
                    count("received") == u64::try_from(wrong + 1).ok() && count("accepted") == Some(1),
                    "{session}"
                );
            }
            Ok(())
        })
        .await?;
        scene.pings().await
    })
    .await
}
