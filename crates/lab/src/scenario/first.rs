//! The first scenario: one VPN between a gateway and a strongSwan + BIRD device, from the order to the deletion.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::steps::{
    PATIENCE, delete_site, first_ping, interesting, no_namespaces, no_pings, order_customer, order_gateway,
    pings_both_ways,
};
use crate::api::{NewConnection, Site, summary, text};
use crate::capture::Capture;
use crate::console::{Console, seconds};
use crate::topology::{Lab, addresses};
use crate::wait::eventually;

/// What the story is about.
struct Vpn {
    site: Site,
    connection: String,
}

/// The whole story.
pub(super) async fn run(lab: &mut Lab, console: &Console, keep: bool) -> Result<()> {
    console.line(
        "A site-to-site VPN from order to deletion. Machines are network namespaces:\n\n  \
         host -- Private Network -- node -- 192.0.2.0/24 -- inet -- 203.0.113.0/24 -- site -- 10.20.0.0/24 -- office\n\n\
         The node runs `causeway serve`; the site runs strongSwan and BIRD with the configuration that the API returns.",
    );
    let vpn = order(lab, console).await?;
    let capture = connect(lab, console, &vpn).await?;
    throughput(lab, console).await?;
    console
        .step(
            "Look at what crossed the Internet since the connection was loaded",
            "only UDP 500 and 4500, ARP and neighbour discovery",
            async {
                let summary = capture.finish().await?;
                ensure!(summary.udp_4500 > 0, "nothing on UDP 4500: {summary}");
                ensure!(summary.other.is_empty(), "{summary}:\n{}", summary.other.join("\n"));
                Ok((summary.to_string(), ()))
            },
        )
        .await?;
    route_tables(lab, console, &vpn).await?;
    propagation(lab, console, &vpn).await?;
    device_away(lab, console, &vpn).await?;
    service_killed(lab, console, &vpn).await?;
    if keep {
        console.line("\nNothing is deleted, since the lab is to be kept.");
    } else {
        deletion(lab, console, &vpn).await?;
    }
    console.success();
    Ok(())
}

/// Everything until the connection is active.
async fn order(lab: &mut Lab, console: &Console) -> Result<Vpn> {
    console
        .step("Start the service on the node", "the API answers", async {
            lab.start_service().await?;
            Ok(("`causeway serve` answers /readyz".to_owned(), ()))
        })
        .await?;
    let mut site = console
        .step("Order a VPC, a Private Network and a VPN gateway", "the gateway goes provisioning -> active", async {
            let (site, took) = order_gateway(lab).await?;
            Ok((format!("provisioning -> active in {}; the host is attached", seconds(took)), site))
        })
        .await?;
    console
        .step("Ping the VPC's router from the host", "an answer from .1 and ::1", async {
            for subnet in &site.subnets {
                let router = crate::topology::router_and_host(subnet)?.0;
                eventually("the VPC's router", PATIENCE, || lab.host.ping(&router, None, 0.5)).await?;
            }
            Ok((format!("answers in {}", site.subnets.join(" and ")), ()))
        })
        .await?;
    let connection = console
        .step(
            "Order a customer gateway, routing policies and a connection that the device starts",
            "the connection is ready and says what it waits for",
            async {
                order_customer(lab, &mut site).await?;
                let api = lab.api()?;
                let connection = api.create_connection(&site, &NewConnection::default()).await?;
                let id = text(&connection, "/id")?;
                let state = api.state("connections", &id).await?;
                ensure!(text(&state, "/status")? == "ready", "{}", summary(&state));
                Ok((summary(&state), connection))
            },
        )
        .await?;
    let id = text(&connection, "/id")?;
    console
        .step(
            "Read the device's configuration and its key, and install both on the site",
            "one text that splits itself into files; the key only from the secret manager",
            async {
                let api = lab.api()?;
                let configuration = api.device_configuration(&id).await?;
                let key = api.key(&connection).await?;
                ensure!(!configuration.contains(&key), "the configuration contains the key");
                lab.device.install(&configuration, &key, &addresses::SITE_PREFIXES).await?;
                let files = configuration.lines().filter(|line| line.starts_with("# ---- file:")).count();
                Ok((format!("{} lines in {files} files", configuration.lines().count()), ()))
            },
        )
        .await?;
    Ok(Vpn { site, connection: id })
}

/// Orders everything and waits for the first traffic.
pub(super) async fn up(lab: &mut Lab, console: &Console) -> Result<()> {
    let vpn = order(lab, console).await?;
    connect(lab, console, &vpn).await?.finish().await.map(drop)
}

async fn connect(lab: &mut Lab, console: &Console, vpn: &Vpn) -> Result<Capture> {
    console
        .step(
            "Start strongSwan and BIRD on the site and load the connection",
            "the connection goes ready -> active; pings in both families and both directions",
            async {
                lab.device.start_daemons().await?;
                // Not earlier: a device without strongSwan answers our IKE with ICMP errors.
                let capture = Capture::start(&lab.inet, "cust0", lab.folder().join("underlay.pcap")).await?;
                let begun = Instant::now();
                lab.device.load().await?;
                first_ping(lab).await?;
                let first = begun.elapsed();
                lab.api()?.wait_status("connections", &vpn.connection, "active", PATIENCE).await?;
                let active = begun.elapsed();
                let pings = pings_both_ways(lab).await?;
                let times = format!("first ping {} after loading, active after {}", seconds(first), seconds(active));
                Ok((format!("{times}; {pings}"), capture))
            },
        )
        .await
}

async fn throughput(lab: &Lab, console: &Console) -> Result<()> {
    console
        .step("Measure TCP through the tunnel with iperf3, 3 s", "a figure", async {
            let target = lab.host_addresses().first().context("the host is not attached")?;
            let up = lab.office.iperf3(&lab.host, target, 3, 1).await?;
            let down = lab.host.iperf3(&lab.office, addresses::OFFICE[0], 3, 1).await?;
            ensure!(up > 1e6 && down > 1e6, "{up} and {down} bit/s");
            let seen = format!("office -> host {:.0} Mbit/s, host -> office {:.0} Mbit/s", up / 1e6, down / 1e6);
            Ok((seen, ()))
        })
        .await
}

async fn route_tables(lab: &Lab, console: &Console, vpn: &Vpn) -> Result<()> {
    console
        .step(
            "Look at the route tables of both sides",
            "the site's networks in the service's namespaces, the VPC's on the site",
            async {
                let mut text = String::new();
                let mut found = [false, false];
                for namespace in lab.service_namespaces().await {
                    let mut shown = String::new();
                    for family in ["-4", "-6"] {
                        let output =
                            crate::machine::host_command("ip", &["-n", &namespace, family, "route", "show"]).await?;
                        shown.push_str(&output.stdout);
                    }
                    for (seen, prefix) in found.iter_mut().zip(addresses::SITE_PREFIXES) {
                        *seen |= shown.lines().any(|line| line.starts_with(prefix));
                    }
                    text.push_str(&format!("{namespace}\n{}\n", indented(&interesting(&shown))));
                }
                let site = lab.site.shell("ip -4 route show; ip -6 route show").await?;
                text.push_str(&format!("site\n{}", indented(&interesting(&site))));
                console.quote(&text);
                ensure!(found == [true, true], "a network of the site is missing in the service's namespaces");
                for subnet in &vpn.site.subnets {
                    ensure!(
                        site.lines().any(|line| line.starts_with(subnet.as_str())),
                        "{subnet} is missing on the site"
                    );
                }
                Ok(("both families on both sides".to_owned(), ()))
            },
        )
        .await
}

async fn propagation(lab: &Lab, console: &Console, vpn: &Vpn) -> Result<()> {
    console
        .step(
            "Switch route propagation off",
            "traffic stops, the sessions stay established, the state says propagation_disabled",
            async {
                let api = lab.api()?;
                api.set_propagation(&vpn.connection, false).await?;
                no_pings(lab).await?;
                lab.device.sessions_up(Duration::from_secs(5)).await?;
                let state = api.wait_reason(&vpn.connection, "propagation_disabled", PATIENCE).await?;
                Ok((format!("no answers; both sessions established; {}", summary(&state)), ()))
            },
        )
        .await?;
    console
        .step("Switch it on again", "traffic returns", async {
            lab.api()?.set_propagation(&vpn.connection, true).await?;
            Ok((pings_both_ways(lab).await?, ()))
        })
        .await
}

async fn device_away(lab: &mut Lab, console: &Console, vpn: &Vpn) -> Result<()> {
    console
        .step("Stop the device", "the connection is down, with the reason", async {
            lab.device.stop().await;
            let api = lab.api()?;
            api.wait_status("connections", &vpn.connection, "down", PATIENCE).await?;
            let state = api.state("connections", &vpn.connection).await?;
            ensure!(text(&state, "/reason/code").is_ok(), "no reason: {state}");
            no_pings(lab).await?;
            Ok((format!("{}; no answers", summary(&state)), ()))
        })
        .await?;
    console
        .step("Start the device again", "active and traffic, by itself", async {
            let begun = Instant::now();
            lab.device.start().await?;
            first_ping(lab).await?;
            let first = begun.elapsed();
            lab.api()?.wait_status("connections", &vpn.connection, "active", PATIENCE).await?;
            let pings = pings_both_ways(lab).await?;
            Ok((format!("first ping {} after the start; active; {pings}", seconds(first)), ()))
        })
        .await
}

async fn service_killed(lab: &mut Lab, console: &Console, vpn: &Vpn) -> Result<()> {
    console
        .step("Kill the service with SIGKILL and start it again", "tunnel and traffic return without help", async {
            lab.service.kill().await;
            no_pings(lab).await?;
            let begun = Instant::now();
            lab.start_service().await?;
            first_ping(lab).await?;
            let first = begun.elapsed();
            lab.api()?.wait_status("connections", &vpn.connection, "active", PATIENCE).await?;
            let pings = pings_both_ways(lab).await?;
            Ok((
                format!("no answers while it was dead; first ping {} after the start; active; {pings}", seconds(first)),
                (),
            ))
        })
        .await
}

async fn deletion(lab: &mut Lab, console: &Console, vpn: &Vpn) -> Result<()> {
    console
        .step("Delete the connection", "404, and the device has no SA any more", async {
            let api = lab.api()?;
            let path = format!("connections/{}", vpn.connection);
            api.delete("s2s-vpn/v1alpha1", &path).await?;
            api.wait_gone("s2s-vpn/v1alpha1", &path, PATIENCE).await?;
            eventually("the device's SAs are gone", PATIENCE, || async {
                let list = lab.device.swanctl(&["--list-sas"]).await?;
                ensure!(!list.contains("INSTALLED"), "there is still one");
                Ok(())
            })
            .await?;
            Ok(("404; no SA".to_owned(), ()))
        })
        .await?;
    console
        .step("Delete everything else", "404 everywhere and no namespace of the service left", async {
            delete_site(lab, &vpn.site).await?;
            no_namespaces(lab).await?;
            Ok(("all gone".to_owned(), ()))
        })
        .await?;
    console
        .step("Stop the service with SIGTERM", "exit status 0", async {
            ensure!(lab.service.terminate().await, "it did not end by itself, or not with 0");
            Ok(("exit status 0".to_owned(), ()))
        })
        .await
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
