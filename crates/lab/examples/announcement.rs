//! The figures of `bench/announcement/run`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{NewConnection, Running, Scene, addresses, eventually};

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
        scene.lab.device.birdc(&["down"]).await?;
        let daemons = start_frr(scene).await?;
        scene.active(&id).await?;
        let measured = measure_all(scene, "FRR", rounds).await;
        for daemon in daemons {
            daemon.terminate(PATIENCE).await;
        }
        measured
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

/// FRR in the place of the device's BIRD: the same sessions, as BIRD's configuration has them.
async fn start_frr(scene: &Scene) -> Result<[Running; 2]> {
    let of_bird = scene.lab.device.read("/etc/bird/bird.conf")?;
    let neighbors: Vec<(&str, &str)> = of_bird
        .lines()
        .filter_map(|line| line.trim().strip_prefix("neighbor ")?.strip_suffix(';')?.split_once(" as "))
        .collect();
    ensure!(neighbors.len() == FAMILIES.len(), "the sessions of {of_bird}");
    let asn = addresses::SITE_ASN;
    let mut text = format!(
        "router bgp {asn}\n bgp router-id {}\n no bgp ebgp-requires-policy\n no bgp network import-check\n no bgp default ipv4-unicast\n",
        addresses::SITE[0]
    );
    for (neighbor, theirs) in &neighbors {
        text += &format!(" neighbor {neighbor} remote-as {theirs}\n neighbor {neighbor} timers connect 2\n");
        text += &format!(" neighbor {neighbor} advertisement-interval 0\n");
    }
    for ((family, (neighbor, _)), prefix) in FAMILIES.into_iter().zip(&neighbors).zip(addresses::SITE_PREFIXES) {
        text += &format!(
            " address-family {family} unicast\n  neighbor {neighbor} activate\n  network {prefix}\n exit-address-family\n"
        );
    }
    scene.lab.device.write("/etc/frr.conf", &text)?;
    // vtysh asks PAM who may use it, and the device's /etc says nothing of that.
    let may = "printf 'auth sufficient pam_permit.so\\naccount sufficient pam_permit.so\\n' > /etc/pam.d/frr";
    let folders = "mkdir -p /run/frr /etc/frr /etc/pam.d && chown frr:frr /run/frr && touch /etc/frr/vtysh.conf";
    scene.lab.site.shell(&format!("{folders} && {may}")).await?;
    let start = |name: &str| {
        let program = format!("/usr/lib/frr/{name}");
        let pid = format!("/run/frr/{name}.pid");
        let users = ["-u", "frr", "-g", "frr", "-A", "127.0.0.1", "-P", "0", "--log", "stdout"];
        let files = ["--vty_socket", "/run/frr", "-z", "/run/frr/zserv.api", "-i", &pid, "-f", "/etc/frr.conf"];
        scene.lab.site.start(&program, &[users.as_slice(), &files].concat(), &[], std::path::Path::new("/dev/null"))
    };
    let zebra = start("zebra")?;
    eventually("zebra", PATIENCE, async || scene.lab.site.shell("test -S /run/frr/zebra.vty").await.map(drop)).await?;
    let bgpd = start("bgpd")?;
    eventually("bgpd", PATIENCE, async || scene.lab.site.shell("test -S /run/frr/bgpd.vty").await.map(drop)).await?;
    Ok([bgpd, zebra])
}

/// What tells the device's daemon to announce its prefix of a family, or to take it back.
fn telling(daemon: &str, family: &str, prefix: &str, announce: bool) -> String {
    if daemon == "BIRD" {
        return format!("birdc {} own_{family}", if announce { "enable" } else { "disable" });
    }
    let no = if announce { "" } else { "no " };
    format!(
        "vtysh --vty_socket /run/frr -c 'configure terminal' -c 'router bgp {}' -c 'address-family {family} unicast' -c '{no}network {prefix}'",
        addresses::SITE_ASN
    )
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
        scene.lab.site.shell(&telling(daemon, family, prefix, true)).await?;
        telling_alone.push(begun.elapsed());
        scene.lab.site.shell(&telling(daemon, family, prefix, false)).await?;
        eventually("the withdrawal", PATIENCE, async || {
            ensure!(!there().await?, "{prefix} is still there");
            Ok(())
        })
        .await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        scene.lab.site.shell(&telling(daemon, family, prefix, true)).await?;
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
