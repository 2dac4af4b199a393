//! The product end to end: `causeway serve` on one side, strongSwan and BIRD with the configuration that the API returns on the other.
//! Each test builds a laboratory of its own. The program is `causeway` beside the test's own target directory, or `CAUSEWAY_BIN`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Capture, Family, NewConnection, Scene, addresses, eventually};
use causeway_model::reason::ReasonCode;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
const VPN: &str = "s2s-vpn/v1alpha1";
/// `another key than the right one` in base64.
const WRONG_KEY: &str = "YW5vdGhlciBrZXkgdGhhbiB0aGUgcmlnaHQgb25l";

fn text(document: &Value, key: &str) -> Result<String> {
    Ok(document.get(key).and_then(Value::as_str).with_context(|| format!("no {key} in {document}"))?.to_owned())
}

/// Runs `$body` with a scene named `$scene` and cleans up in any case.
macro_rules! scenario {
    ($id:literal, $scene:ident, $body:block) => {{
        let mut $scene = Scene::build($id).await?;
        let outcome: Result<()> = async { $body }.await;
        $scene.finish(outcome).await
    }};
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn either_side_starts_over_either_family() -> Result<()> {
    scenario!("vpnini", scene, {
        for outer in [Family::Ipv4, Family::Ipv6] {
            for initiation in ["customer_gateway", "vpn_gateway"] {
                let new = NewConnection { outer, initiation, ..NewConnection::default() };
                let id = scene.connect(&new, |text| text, None).await.context("connect")?;
                scene.lab.device.load().await?;
                let label = || format!("{outer:?}, started by {initiation}");
                scene.active(&id).await.with_context(label)?;
                scene.pings().await.with_context(label)?;
                let capture = Capture::start(&scene.lab.inet, "cust0", scene.lab.folder().join("wire.pcap")).await?;
                scene.pings().await.with_context(label)?;
                eventually("the pings are in the capture", PATIENCE, || async {
                    let seen = capture.times("udp port 4500").await?.len();
                    ensure!(seen >= 8, "{seen} packets");
                    Ok(())
                })
                .await?;
                let summary = capture.finish().await?;
                ensure!(summary.udp_4500 >= 8 && summary.other.is_empty(), "{summary} {:?}", summary.other);
                scene.remove(&id).await.with_context(label)?;
            }
        }
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn every_suite_of_this_release_carries_traffic() -> Result<()> {
    scenario!("vpnsui", scene, {
        let suites = [
            ("aes128gcm", None, "ecp256"),
            ("aes256gcm", None, "curve25519"),
            ("chacha20poly1305", None, "modp2048"),
            ("aes256", Some("sha256"), "modp2048"),
        ];
        for (encryption, integrity, group) in suites {
            let esp = match integrity {
                Some(integrity) => json!([{"encryption": encryption, "integrity": integrity, "dh_group": group}]),
                None => json!([{"encryption": encryption, "dh_group": group}]),
            };
            let hash = integrity.unwrap_or("sha256");
            let ike = json!([{"encryption": encryption, "integrity": hash, "dh_group": group}]);
            let new = NewConnection { ike, esp, ..NewConnection::default() };
            let id = scene.connect(&new, |text| text, None).await?;
            scene.lab.device.load().await?;
            scene.active(&id).await.context(encryption)?;
            scene.pings().await.context(encryption)?;
            // Rekeying uses the Child SA's own group, which the first exchange does not.
            let name = format!("causeway-{}-ipv4", id.split('-').next().unwrap_or(&id));
            scene.lab.device.swanctl(&["--rekey", "--child", &name]).await?;
            scene.pings().await.with_context(|| format!("{encryption} after a rekey"))?;
            scene.remove(&id).await?;
        }
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn faults_of_the_device_have_typed_reasons() -> Result<()> {
    scenario!("vpnbad", scene, {
        type Change = fn(String) -> String;
        let cases: [(ReasonCode, Change, Option<&str>); 5] = [
            (ReasonCode::AuthenticationFailed, |text| text, Some(WRONG_KEY)),
            (
                ReasonCode::NoProposalChosen,
                |text| replaced(&text, "    proposals = ", "    proposals = aes128-sha256-modp3072"),
                None,
            ),
            (
                ReasonCode::ChildNoProposalChosen,
                |text| replaced(&text, "        esp_proposals = ", "        esp_proposals = aes128-sha256"),
                None,
            ),
            (
                ReasonCode::IdentityMismatch,
                |text| text.replace(&format!("id = \"{}\"", addresses::SITE[0]), "id = \"somebody.example.com\""),
                None,
            ),
            (ReasonCode::BgpAsnMismatch, |text| text.replace("as 65001;", "as 65002;"), None),
        ];
        for (code, change, key) in cases {
            let id = scene.connect(&NewConnection::default(), change, key).await?;
            scene.lab.device.load().await?;
            let state = scene.api.wait_reason(&id, code.as_str(), PATIENCE).await?;
            let status = text(&state, "status")?;
            let expected = if code == ReasonCode::BgpAsnMismatch { "down" } else { "ready" };
            ensure!(status == expected, "{code}: {status} instead of {expected}");
            scene.no_pings().await?;
            scene.remove(&id).await?;
        }
        Ok(())
    })
}

/// The text with every line that starts with `start` replaced by `line`.
fn replaced(text: &str, start: &str, line: &str) -> String {
    let lines: Vec<_> = text.lines().map(|old| if old.starts_with(start) { line } else { old }).collect();
    lines.join("\n") + "\n"
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn propagation_opens_and_closes_the_way() -> Result<()> {
    scenario!("vpnpro", scene, {
        let new = NewConnection { propagate: false, ..NewConnection::default() };
        let id = scene.connect(&new, |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.lab.device.sessions_up(PATIENCE).await?;
        scene.api.wait_reason(&id, ReasonCode::PropagationDisabled.as_str(), PATIENCE).await?;
        scene.no_pings().await?;
        for on in [true, false, true] {
            scene.api.set_propagation(&id, on).await?;
            if on {
                scene.pings().await?;
            } else {
                let host = scene.lab.host_addresses()[0].clone();
                eventually("traffic stops", PATIENCE, || async {
                    ensure!(scene.lab.office.ping(&host, None, 0.3).await.is_err(), "it still flows");
                    Ok(())
                })
                .await?;
                scene.no_pings().await?;
            }
            // The sessions are the same ones all along.
            scene.lab.device.sessions_up(Duration::from_secs(2)).await?;
        }
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn only_the_policys_packets_pass() -> Result<()> {
    scenario!("vpnspf", scene, {
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        // The device sends everything into the tunnel, whatever BGP and its policy say: the gateway has to drop it.
        scene.lab.site.shell("ip addr add 10.99.0.1/32 dev lo; ip addr add 172.31.255.1/32 dev lo").await?;
        let host = scene.lab.host_addresses()[0].clone();
        let capture = Capture::start(&scene.lab.host, "eth0", scene.lab.folder().join("host.pcap")).await?;
        for source in ["10.99.0.1", "172.31.255.1", "203.0.113.10", "127.0.0.9"] {
            // Answers could not come back anyway, so it is the capture that decides.
            let _ =
                scene.lab.site.run("ping", &["-n", "-c", "3", "-i", "0.1", "-W", "0.3", "-I", source, &host]).await?;
        }
        // A source inside the VPC, which only a spoofer has.
        let inside = host.rsplit_once('.').map(|(net, _)| format!("{net}.77")).context("an IPv4 address")?;
        scene.lab.site.shell(&format!("ip addr add {inside}/32 dev lo")).await?;
        let _ = scene.lab.site.run("ping", &["-n", "-c", "3", "-i", "0.1", "-W", "0.3", "-I", &inside, &host]).await?;
        scene.lab.site.shell(&format!("ip addr del {inside}/32 dev lo")).await?;
        scene.lab.office.ping(&host, None, 1.0).await.context("the right source still passes")?;
        eventually("the right ping is in the capture", PATIENCE, || async {
            let seen = capture.times(&format!("icmp and host {}", addresses::OFFICE[0])).await?;
            ensure!(!seen.is_empty(), "no ping");
            Ok(())
        })
        .await?;
        let summary = capture.finish().await?;
        let foreign: Vec<_> = summary.other.iter().filter(|line| !line.contains(addresses::OFFICE[0])).collect();
        ensure!(foreign.is_empty(), "the host saw {foreign:?}");
        ensure!(!summary.other.is_empty(), "the capture saw the right ping");
        // Foreign destinations: nothing of the node, of the underlay or of the Internet is reached through the tunnel.
        let route = "ip route replace 192.0.2.252/30 dev ipsec0; ip route replace 198.51.100.0/24 dev ipsec0";
        scene.lab.site.shell(route).await?;
        for target in ["192.0.2.253", "192.0.2.254", "198.51.100.1"] {
            ensure!(scene.lab.office.ping(target, None, 0.7).await.is_err(), "{target} answers through the tunnel");
        }
        // And the tenant can see what was dropped, and why.
        eventually("drops of the packet filter", PATIENCE, || async {
            let state = scene.api.state("connections", &id).await?;
            let dropped = |reason: &str| state.pointer(&format!("/tunnels/0/drops/{reason}")).and_then(Value::as_u64);
            for (reason, least) in [("source_policy", 6), ("source_vpc", 1), ("source_martian", 1)] {
                ensure!(dropped(reason).is_some_and(|packets| packets >= least), "{reason}: {}", state["tunnels"]);
            }
            Ok(())
        })
        .await
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_killed_service_returns_without_help() -> Result<()> {
    scenario!("vpnkil", scene, {
        for initiation in ["customer_gateway", "vpn_gateway"] {
            let new = NewConnection { initiation, ..NewConnection::default() };
            let id = scene.connect(&new, |text| text, None).await?;
            scene.lab.device.load().await?;
            scene.active(&id).await?;
            scene.pings().await?;
            scene.lab.service.kill().await;
            scene.no_pings().await?;
            scene.api = scene.lab.start_service().await?;
            scene.pings().await.with_context(|| format!("after SIGKILL, started by {initiation}"))?;
            scene.active(&id).await?;
            scene.remove(&id).await?;
        }
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_device_that_dies_is_noticed_and_taken_back() -> Result<()> {
    scenario!("vpndpd", scene, {
        let new = NewConnection { initiation: "vpn_gateway", ..NewConnection::default() };
        let id = scene.connect(&new, |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        scene.lab.device.kill().await;
        scene.api.wait_status("connections", &id, "down", Duration::from_secs(25)).await?;
        scene.lab.device.start().await?;
        scene.active(&id).await?;
        scene.pings().await
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn nothing_is_left_after_deletion_and_the_service_ends_in_order() -> Result<()> {
    scenario!("vpndel", scene, {
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        ensure!(!scene.lab.service_namespaces().await.is_empty(), "the service has namespaces");
        scene.remove(&id).await?;
        let (api, site) = (&scene.api, &scene.site);
        api.wait_status("vpn-gateways", &site.gateway, "active", PATIENCE).await?;
        api.delete(VPN, &format!("vpn-gateways/{}", site.gateway)).await?;
        api.wait_gone(VPN, &format!("vpn-gateways/{}", site.gateway), PATIENCE).await?;
        api.delete(VPN, &format!("customer-gateways/{}", site.customer)).await?;
        api.delete("vpc/v2", &format!("private-networks/{}", site.network)).await?;
        eventually("the service's namespaces are gone", PATIENCE, || async {
            let left = scene.lab.service_namespaces().await;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
        let addresses = scene.lab.node.shell("ip -o addr show dev up0").await?;
        ensure!(!addresses.contains("/32") && !addresses.contains("/128"), "public addresses are left: {addresses}");
        ensure!(scene.lab.service.terminate().await, "SIGTERM ends it with 0");
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn sigterm_is_an_orderly_end_with_a_tunnel_up() -> Result<()> {
    scenario!("vpntrm", scene, {
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        ensure!(scene.lab.service.terminate().await, "SIGTERM ends it with 0");
        let left = scene.lab.service_namespaces().await;
        ensure!(left.is_empty(), "{left:?}");
        scene.api = scene.lab.start_service().await?;
        // The host's cable hung on a bridge that went with the service.
        scene.lab.reattach_host(&scene.site.network).await?;
        scene.active(&id).await?;
        scene.pings().await
    })
}
