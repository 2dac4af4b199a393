//! The third scenario: a VPN on one of three gateway nodes, while that node is cut off from the controller, refuses a configuration, is switched
//! off and on again, and its successor is drained.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::failover::{self, Loss};
use super::steps::{PATIENCE, delete_site, order_customer, order_lone_gateway, public_addresses};
use crate::api::{Family, NewConnection, Site, codes, summary, text};
use crate::console::{Console, seconds};
use crate::stream::Stream;
use crate::topology::{CONTROL, Fleet, LAN, Lab, addresses, router_and_host};
use crate::wait::eventually;

const VPN: &str = "s2s-vpn/v1alpha1";

/// A judging interval of the fast profile is 7 s, and a node that was cut off may pause 20 s between two attempts to connect.
pub(super) const JUDGED: Duration = Duration::from_secs(90);

/// The VPN, with traffic.
pub(super) struct Vpn {
    pub(super) site: Site,
    pub(super) connection: String,
    /// The gateway's public addresses.
    public: Vec<String>,
    /// To and from the office.
    pub(super) streams: Vec<Stream>,
    /// The node that carries it.
    pub(super) carrier: &'static str,
}

/// The whole story.
pub(super) async fn run(lab: &mut Lab, console: &Console, keep: bool) -> Result<()> {
    console.line(
        "A controller and three gateway nodes, each a machine and a process of its own, and a VPN on one of the nodes.\n\n  \
         control ---+                     +- spare -+\n  \
         site ---- inet --- 192.0.2.0/24 -+- node --+- switch --- host\n  \
         office ----+                     +- third -+",
    );
    let mut fleet = console
        .step("Start the controller; three machines join it and run as nodes", "all three are up", async {
            let (_, fleet) = lab.start_fleet(true).await?;
            console.quote(&lab.command_line("node list").await?);
            Ok(("up, up, up".to_owned(), fleet))
        })
        .await?;
    let outcome = play(lab, console, &mut fleet, keep).await;
    if outcome.is_err() {
        for name in fleet.names() {
            console.line(&format!("--- {name}\n{}", fleet.log_tail(name)));
        }
    }
    outcome
}

async fn play(lab: &mut Lab, console: &Console, fleet: &mut Fleet, keep: bool) -> Result<()> {
    let mut vpn = order(lab, console, fleet).await?;
    cut_off(lab, console, fleet, &vpn).await?;
    part(lab, console, fleet, &mut vpn).await?;
    refuse(lab, console, fleet, &vpn).await?;
    block(lab, console, fleet, &vpn).await?;
    let lost = vpn.carrier;
    lose(lab, console, fleet, &mut vpn).await?;
    return_of(lab, console, fleet, &vpn, lost).await?;
    drain(lab, console, fleet, &mut vpn).await?;
    if keep {
        console.line("\nNothing is deleted, since the lab is to be kept.");
    } else {
        deletion(lab, console, fleet, vpn).await?;
    }
    console.success();
    Ok(())
}

pub(super) async fn order(lab: &mut Lab, console: &Console, fleet: &Fleet) -> Result<Vpn> {
    let (mut site, carrier) = console
        .step(
            "Order a network and a VPN gateway, and map the network to the switch",
            "the gateway is active on one node; the host reaches the VPC's router through the switch",
            async {
                let (site, took) = order_lone_gateway(lab).await?;
                lab.command_line(&format!("private-network attach {} --interface {LAN}", site.network)).await?;
                lab.attach_host_to_switch(fleet, &site.subnets).await?;
                for subnet in &site.subnets {
                    let (router, _) = router_and_host(subnet)?;
                    eventually("the VPC's router", PATIENCE, || lab.host.ping(&router, None, 0.5)).await?;
                }
                let carrier = fleet.carrier(&lab.service, &site.gateway).await?;
                Ok((format!("provisioning -> active in {} on {carrier}", seconds(took)), (site, carrier)))
            },
        )
        .await?;
    console
        .step(
            "Order a connection with two tunnels and start the device",
            "active with nothing to complain about; a datagram every 10 ms in each direction arrives",
            async {
                order_customer(lab, &mut site).await?;
                let api = lab.api()?;
                let new = NewConnection { outer: Family::Both, ..NewConnection::default() };
                let connection = api.create_connection(&site, &new).await?;
                let id = text(&connection, "/id")?;
                let configuration = api.device_configuration(&id).await?;
                lab.device.install(&configuration, &api.key(&connection).await?, &addresses::SITE_PREFIXES).await?;
                lab.device.start().await?;
                well(lab, &id).await?;
                let public = public_addresses(lab, &site.gateway).await?;
                let streams = lab.streams(PATIENCE).await?;
                let seen = format!("active; the gateway has {}", public.join(" and "));
                Ok((seen, Vpn { site, connection: id, public, streams, carrier }))
            },
        )
        .await
}

/// Controller and node do not hear each other; the Internet and the node do.
async fn cut_off(lab: &Lab, console: &Console, fleet: &Fleet, vpn: &Vpn) -> Result<()> {
    let name = vpn.carrier;
    let since = marks(vpn);
    console
        .step(
            &format!("Cut {name} off from the controller"),
            "keepalive_fail, since other nodes vouch for it; it takes no changes, its traffic is left alone, and no packet is lost",
            async {
                lab.cut_between(&fleet.own_address(name), CONTROL).await?;
                let node = judged(lab, fleet, name, "keepalive_fail", "node_keepalive_fail").await?;
                show(lab, console, name).await?;
                ensure!(carried(&node, &vpn.site.gateway), "the gateway was taken away from a node that forwards");
                let api = lab.api()?;
                let state = api.state("vpn-gateways", &vpn.site.gateway).await?;
                ensure!(text(&state, "/status")? == "active", "{}", summary(&state));
                let path = format!("{}/connections/{}/disable-route-propagation", api.prefix(VPN), vpn.connection);
                let answer = api.call(Method::POST, &path, Some(&json!({}))).await?;
                let refused = answer.status == 409 && text(&answer.json, "/current_state")? == "keepalive_fail";
                ensure!(refused, "a change was answered {} {}", answer.status, answer.text);
                nothing_lost(vpn, &since).await?;
                Ok((format!("{}; gateway {}; nothing lost", summary_of_node(&node), summary(&state)), ()))
            },
        )
        .await
}

/// Nobody hears the node any more; the Internet and the node still hear each other.
async fn part(lab: &Lab, console: &Console, fleet: &Fleet, vpn: &mut Vpn) -> Result<()> {
    let (name, begun) = (vpn.carrier, Instant::now());
    let loss = Loss { node: name, at: Timestamp::now() };
    console
        .step(
            &format!("Have the other nodes lose {name}'s answers, too"),
            "down (node_silent): nobody vouches; when its lease has run out the gateway starts on another node, and traffic is back",
            async {
                fleet.deafen(name).await?;
                let node = judged(lab, fleet, name, "down", "node_silent").await?;
                vpn.carrier = eventually("another node carries the gateway", JUDGED, || async {
                    let carrier = fleet.carrier(&lab.service, &vpn.site.gateway).await?;
                    ensure!(carrier != name, "{name} does");
                    Ok(carrier)
                })
                .await?;
                lab.api()?.wait_status("vpn-gateways", &vpn.site.gateway, "active", JUDGED).await?;
                for stream in &vpn.streams {
                    stream.steady(JUDGED).await?;
                }
                let back = begun.elapsed();
                show(lab, console, name).await?;
                well(lab, &vpn.connection).await?;
                console.quote(&failover::read(lab, fleet, vpn, &loss, back).await?.table());
                Ok((format!("{}; steady on {} after {}", summary_of_node(&node), vpn.carrier, seconds(back)), ()))
            },
        )
        .await?;
    let since = marks(vpn);
    console
        .step(
            &format!("Let {name} and the controller hear each other again"),
            "it is up, and carries nothing; one node has the public addresses, and no packet was lost",
            async {
                lab.heal().await?;
                fleet.undeafen(name).await?;
                fleet.wait_state(&lab.service, name, "up").await?;
                eventually("one node has the addresses", PATIENCE, || only_holder(fleet, vpn)).await?;
                let node = fleet.node(&lab.service, name).await?;
                ensure!(!carried(&node, &vpn.site.gateway), "the gateway has gone back: {node}");
                well(lab, &vpn.connection).await?;
                nothing_lost(vpn, &since).await?;
                Ok(("up; nothing lost".to_owned(), ()))
            },
        )
        .await
}

/// Waits for a verdict on a node.
async fn judged(lab: &Lab, fleet: &Fleet, name: &str, state: &str, reason: &str) -> Result<Value> {
    eventually(&format!("{name} is {state}"), JUDGED, || async {
        let node = fleet.node(&lab.service, name).await?;
        let found = (text(&node, "/state")?, text(&node, "/reason/code").unwrap_or_default());
        ensure!(found.0 == state && found.1 == reason, "{node}");
        Ok(node)
    })
    .await
}

/// The kernel cannot do what is asked of it: a second Private Network on an interface that no machine has.
async fn refuse(lab: &Lab, console: &Console, fleet: &Fleet, vpn: &Vpn) -> Result<()> {
    let name = vpn.carrier;
    let since = marks(vpn);
    let network = console
        .step(
            "Map another network of the VPC to an interface that no machine has",
            &format!("{name} is config_fail with the item and the kernel's error; no packet is lost"),
            async {
                let api = lab.api()?;
                let body = json!({"name": "nowhere", "tags": [], "vpc_id": vpn.site.vpc});
                let network = text(&api.create("vpc/v2", "private-networks", &body).await?, "/id")?;
                lab.command_line(&format!("private-network attach {network} --interface nowhere0")).await?;
                fleet.wait_state(&lab.service, name, "config_fail").await?;
                let node = fleet.node(&lab.service, name).await?;
                let item = text(&node, "/reason/evidence/item")?;
                ensure!(item.contains("nowhere0"), "another item: {node}");
                show(lab, console, name).await?;
                nothing_lost(vpn, &since).await?;
                Ok((format!("{}; nothing lost", summary_of_node(&node)), network))
            },
        )
        .await?;
    console
        .step("Take that back", &format!("{name} is up by itself; no packet was lost"), async {
            lab.command_line(&format!("private-network detach {network}")).await?;
            fleet.wait_state(&lab.service, name, "up").await?;
            lab.api()?.delete("vpc/v2", &format!("private-networks/{network}")).await?;
            nothing_lost(vpn, &since).await?;
            Ok(("up; nothing lost".to_owned(), ()))
        })
        .await
}

/// A filter of the operator's drops what the controller needs to reach the node.
async fn block(lab: &Lab, console: &Console, fleet: &Fleet, vpn: &Vpn) -> Result<()> {
    let name = vpn.carrier;
    let since = marks(vpn);
    let failed = async || -> Result<Value> {
        let shown = lab.command_line(&format!("doctor node {name} -o json || test $? = 1")).await?;
        let diagnosis: Value = serde_json::from_str(&shown)?;
        Ok(diagnosis.get("failed").cloned().unwrap_or_default())
    };
    console
        .step(
            &format!("Drop TCP 443 in a packet filter on {name}'s machine, and ask the doctor"),
            "it names the check node_443 with the rule and what to do; no packet is lost",
            async {
                fleet.block(name).await?;
                eventually("the doctor names node_443", JUDGED, || async {
                    let failed = failed().await?;
                    ensure!(failed == "node_443", "{failed}");
                    Ok(())
                })
                .await?;
                console.quote(&lab.command_line(&format!("doctor node {name} || test $? = 1")).await?);
                fleet.unblock(name).await?;
                eventually("the doctor finds nothing", JUDGED, || async {
                    let failed = failed().await?;
                    ensure!(failed.is_null(), "{failed}");
                    Ok(())
                })
                .await?;
                fleet.wait_state(&lab.service, name, "up").await?;
                nothing_lost(vpn, &since).await?;
                Ok(("node_443, and nothing once the rule is gone; nothing lost".to_owned(), ()))
            },
        )
        .await
}

/// The node's machine is switched off.
async fn lose(lab: &Lab, console: &Console, fleet: &mut Fleet, vpn: &mut Vpn) -> Result<()> {
    let lost = vpn.carrier;
    let since = marks(vpn);
    let before = neighbours(lab, vpn).await?;
    let (begun, loss) = (Instant::now(), Loss { node: lost, at: Timestamp::now() });
    console
        .step(
            &format!("Switch {lost} off (SIGKILL, no link); the operator's means say that it is stopped"),
            &format!("{lost} is down (machine_stopped); the gateway is on another node with its public addresses"),
            async {
                fleet.power_off(lost).await?;
                judged(lab, fleet, lost, "down", "machine_stopped").await?;
                let verdict = begun.elapsed();
                let carrier = eventually("another node carries the gateway", JUDGED, || async {
                    let carrier = fleet.carrier(&lab.service, &vpn.site.gateway).await?;
                    ensure!(carrier != lost, "{lost} does");
                    Ok(carrier)
                })
                .await?;
                let placed = begun.elapsed();
                vpn.carrier = carrier;
                lab.api()?.wait_status("vpn-gateways", &vpn.site.gateway, "active", JUDGED).await?;
                let active = begun.elapsed();
                only_holder(fleet, vpn).await?;
                console.quote(&lab.command_line("node list").await?);
                let seen = format!(
                    "down after {}, placed on {carrier} after {}, active after {}",
                    seconds(verdict),
                    seconds(placed),
                    seconds(active)
                );
                Ok((seen, ()))
            },
        )
        .await?;
    console
        .step(
            "Look at the traffic",
            "it flows again through the other node, whose hardware address the Internet's router has learned",
            async {
                for stream in &vpn.streams {
                    stream.steady(JUDGED).await?;
                }
                let back = begun.elapsed();
                well(lab, &vpn.connection).await?;
                console.quote(&failover::read(lab, fleet, vpn, &loss, back).await?.table());
                let after = neighbours(lab, vpn).await?;
                for (address, (old, new)) in vpn.public.iter().zip(before.iter().zip(&after)) {
                    ensure!(old != new, "the Internet's router still has {old} for {address}");
                    console.quote(&format!("{address} was at {old}, is at {new}"));
                }
                Ok((format!("steady {} after the loss{}", seconds(back), met(vpn, &since)), ()))
            },
        )
        .await
}

/// The machine is back, and has nothing any more.
async fn return_of(lab: &Lab, console: &Console, fleet: &mut Fleet, vpn: &Vpn, lost: &'static str) -> Result<()> {
    let since = marks(vpn);
    console
        .step(
            &format!("Switch {lost} on again"),
            "waiting, then up, with nothing to carry: one node has the public addresses, and no packet is lost",
            async {
                fleet.power_on(lost).await?;
                fleet.wait_state(&lab.service, lost, "up").await?;
                let node = fleet.node(&lab.service, lost).await?;
                ensure!(!carried(&node, &vpn.site.gateway), "the gateway has gone back: {node}");
                let history = node.get("history").and_then(Value::as_array).context("no history")?;
                let is_state = |event: &&Value| text(event, "/kind").is_ok_and(|kind| kind == "status");
                let states = history.iter().filter(is_state).filter_map(|event| text(event, "/subject").ok());
                let states: Vec<String> = states.collect();
                ensure!(
                    states.starts_with(&["up".into(), "waiting".into(), "down".into()]),
                    "another history: {states:?}"
                );
                only_holder(fleet, vpn).await?;
                console.quote(&lab.command_line(&format!("node history {lost}")).await?);
                nothing_lost(vpn, &since).await?;
                Ok(("down -> waiting -> up; nothing lost".to_owned(), ()))
            },
        )
        .await
}

/// The operator wants the node's machine for something else.
async fn drain(lab: &Lab, console: &Console, fleet: &Fleet, vpn: &mut Vpn) -> Result<()> {
    let left = vpn.carrier;
    let since = marks(vpn);
    console
        .step(
            &format!("Drain {left}"),
            "the gateway goes to another node once this one has let go; traffic is back",
            async {
                let begun = Instant::now();
                lab.command_line(&format!("node drain {left}")).await?;
                vpn.carrier = eventually("another node carries the gateway", JUDGED, || async {
                    let carrier = fleet.carrier(&lab.service, &vpn.site.gateway).await?;
                    ensure!(carrier != left, "{left} does");
                    Ok(carrier)
                })
                .await?;
                lab.api()?.wait_status("vpn-gateways", &vpn.site.gateway, "active", JUDGED).await?;
                for stream in &vpn.streams {
                    stream.steady(JUDGED).await?;
                }
                let back = begun.elapsed();
                well(lab, &vpn.connection).await?;
                only_holder(fleet, vpn).await?;
                console.quote(&lab.command_line("node list").await?);
                Ok((format!("on {}, steady after {}{}", vpn.carrier, seconds(back), met(vpn, &since)), ()))
            },
        )
        .await
}

async fn deletion(lab: &mut Lab, console: &Console, fleet: &Fleet, mut vpn: Vpn) -> Result<()> {
    console
        .step("Delete everything", "404 everywhere, and no public address is left on any node", async {
            vpn.streams.clear();
            lab.device.stop().await;
            let api = lab.api()?;
            let path = format!("connections/{}", vpn.connection);
            api.delete(VPN, &path).await?;
            api.wait_gone(VPN, &path, PATIENCE).await?;
            delete_site(lab, &vpn.site).await?;
            for address in &vpn.public {
                let holders = fleet.holders(address).await?;
                ensure!(holders.is_empty(), "{address} is still on {holders:?}");
            }
            Ok(("all gone".to_owned(), ()))
        })
        .await
}

/// Active with nothing to complain about.
pub(super) async fn well(lab: &Lab, connection: &str) -> Result<()> {
    let api = lab.api()?;
    eventually("the connection is well", JUDGED, || async {
        let state = api.state("connections", connection).await?;
        ensure!(
            text(&state, "/status")? == "active" && codes(&state).is_empty(),
            "{} {:?}",
            summary(&state),
            codes(&state)
        );
        Ok(())
    })
    .await
}

/// Exactly the carrier has the public addresses.
async fn only_holder(fleet: &Fleet, vpn: &Vpn) -> Result<()> {
    for address in &vpn.public {
        let holders = fleet.holders(address).await?;
        ensure!(holders == [vpn.carrier], "{address} is on {holders:?}, the gateway on {}", vpn.carrier);
    }
    Ok(())
}

async fn neighbours(lab: &Lab, vpn: &Vpn) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for address in &vpn.public {
        found.push(eventually("the Internet's router knows", PATIENCE, || lab.neighbour(address)).await?);
    }
    Ok(found)
}

fn carried(node: &Value, gateway: &str) -> bool {
    node.get("gateways").and_then(Value::as_array).is_some_and(|ids| ids.iter().any(|id| id == gateway))
}

fn summary_of_node(node: &Value) -> String {
    let state = text(node, "/state").unwrap_or_default();
    match (text(node, "/reason/code"), text(node, "/reason/message")) {
        (Ok(code), Ok(message)) => format!("{state} ({code}: {message})"),
        _ => state,
    }
}

/// What the command line says of a node.
async fn show(lab: &Lab, console: &Console, name: &str) -> Result<()> {
    console.quote(&lab.command_line("node list").await?);
    console.quote(&lab.command_line(&format!("node history {name}")).await?);
    Ok(())
}

pub(super) fn marks(vpn: &Vpn) -> Vec<u64> {
    vpn.streams.iter().map(Stream::mark).collect()
}

/// Every datagram since `marks` has arrived, or arrives.
async fn nothing_lost(vpn: &Vpn, marks: &[u64]) -> Result<()> {
    for (stream, mark) in vpn.streams.iter().zip(marks) {
        stream.nothing_lost(*mark, PATIENCE).await?;
    }
    Ok(())
}

/// `; host -> office: gap 12 ms, 0 lost; …`
fn met(vpn: &Vpn, marks: &[u64]) -> String {
    let shown = vpn.streams.iter().zip(marks).map(|(stream, mark)| {
        let met = stream.since(*mark);
        format!("; {}: gap {} ms, {} lost", stream.name, met.gap.as_millis(), met.lost)
    });
    shown.collect()
}
