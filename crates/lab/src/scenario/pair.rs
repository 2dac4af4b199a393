//! The second scenario: a site with two tunnels in one connection, and a branch with two connections. Each tunnel is cut in turn while
//! traffic flows: by deletion, which the gateway is told of, and silently, which it has to find out.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::steps::{PATIENCE, delete_site, no_namespaces, order_customer, order_gateway};
use crate::api::{Api, Family, NewConnection, Site, codes, summary, text};
use crate::console::{Console, seconds};
use crate::stream::{Interruption, Stream};
use crate::topology::{Branch, Lab, addresses};
use crate::wait::eventually;

/// Hold time of the branch's sessions, seconds.
const HOLD_TIME: u16 = 9;

/// A silent peer is found out within 15 s (5 s of silence, 10 s for the verdict), and the device's own way back may take longer.
const SILENCE: Duration = Duration::from_secs(90);

/// How a tunnel is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The device deletes it and says so.
    Deleted,
    /// The Internet loses every packet of it.
    Silent,
}

/// Both sites, connected, with traffic.
struct Sites {
    /// The site with two tunnels in one connection.
    site: Site,
    dual: String,
    /// The branch with a connection for each outer family.
    branch_site: Site,
    branch: Branch,
    /// Over IPv4 and over IPv6.
    pair: [String; 2],
    /// To and from the office, to and from the desk.
    streams: Vec<Stream>,
}

/// The whole story. A brief one cuts fewer tunnels.
pub(super) async fn run(lab: &mut Lab, console: &Console, keep: bool, brief: bool) -> Result<()> {
    console.line(
        "Two ways of having two tunnels, cut in turn while a datagram flows every 10 ms in each direction.\n\n  \
         host -- Private Network -- node -- inet --+-- site (one connection, a tunnel over IPv4 and one over IPv6) -- office\n  \
         \x20                                          +-- branch (a connection over IPv4 and one over IPv6) -- desk",
    );
    let mut sites = order(lab, console).await?;
    connect(lab, console, &mut sites).await?;
    look(lab, console).await?;
    use Cut::{Deleted, Silent};
    use Family::{Ipv4, Ipv6};
    let all: &[(Family, Cut)] = &[(Ipv4, Deleted), (Ipv6, Deleted), (Ipv4, Silent), (Ipv6, Silent)];
    let few: &[(Family, Cut)] = &[(Ipv4, Deleted), (Ipv6, Deleted), (Ipv4, Silent)];
    for (family, cut) in if brief { few } else { all } {
        cut_tunnel(lab, console, &sites, *family, *cut).await?;
    }
    for (family, cut) in if brief { few } else { all } {
        cut_connection(lab, console, &sites, *family, *cut).await?;
    }
    if keep {
        console.line("\nNothing is deleted, since the lab is to be kept.");
    } else {
        deletion(lab, console, sites).await?;
    }
    console.success();
    Ok(())
}

async fn order(lab: &mut Lab, console: &Console) -> Result<Sites> {
    let mut site = console
        .step("Start the service; order a network and a VPN gateway", "the gateway becomes active", async {
            lab.start_service().await?;
            let (site, took) = order_gateway(lab).await?;
            Ok((format!("provisioning -> active in {}", seconds(took)), site))
        })
        .await?;
    let dual = console
        .step("Order the site's connection without naming an outer family", "one connection with two tunnels", async {
            order_customer(lab, &mut site).await?;
            let api = lab.api()?;
            let new = NewConnection { name: "dual".to_owned(), outer: Family::Both, ..NewConnection::default() };
            let connection = api.create_connection(&site, &new).await?;
            let words = ["/tunnel_status_ipv4", "/tunnel_status_ipv6"].map(|key| text(&connection, key));
            for word in words {
                let word = word?;
                ensure!(word == "down", "a tunnel of both says {word}");
            }
            let id = text(&connection, "/id")?;
            let configuration = api.device_configuration(&id).await?;
            lab.device.install(&configuration, &api.key(&connection).await?, &addresses::SITE_PREFIXES).await?;
            Ok(("tunnel_status_ipv4 and _ipv6 are down, waiting for the device".to_owned(), id))
        })
        .await?;
    let (branch_site, branch, pair) = console
        .step(
            "Order the branch's two connections",
            "two connections, which the command line shows as a redundant pair",
            async {
                let (branch_site, branch, pair) = order_branch(lab, &site).await?;
                let shown = lab.command_line("connection pairs").await?;
                console.quote(&shown);
                ensure!(shown.contains("ready"), "the pair is not ready");
                Ok(("a pair, ready".to_owned(), (branch_site, branch, pair)))
            },
        )
        .await?;
    Ok(Sites { site, dual, branch_site, branch, pair, streams: Vec::new() })
}

async fn order_branch(lab: &mut Lab, site: &Site) -> Result<(Site, Branch, [String; 2])> {
    let mut branch = lab.add_branch().await?;
    let api = lab.api()?;
    let [public4, public6] = addresses::BRANCH;
    let customer = api.create_customer(addresses::BRANCH_ASN, public4, public6).await?;
    let [inside4, inside6] = addresses::BRANCH_PREFIXES;
    let [subnet4, subnet6] = site.subnets.as_slice() else { anyhow::bail!("two subnets") };
    let policies = [
        api.create_policy(false, &[inside4], &[subnet4]).await?,
        api.create_policy(true, &[inside6], &[subnet6]).await?,
    ];
    let branch_site = Site { customer, policies, ..site.clone() };
    let mut ids = Vec::new();
    let mut files = Vec::new();
    for (name, outer) in [("pair-ipv4", Family::Ipv4), ("pair-ipv6", Family::Ipv6)] {
        let new = NewConnection { name: name.to_owned(), outer, ..NewConnection::default() };
        let connection = api.create_connection(&branch_site, &new).await?;
        let id = text(&connection, "/id")?;
        // The device's daemon for BGP knows nothing of its strongSwan: its own direction leaves a dead tunnel when the hold time has run out.
        api.set_options(&id, &json!({"bgp": {"hold_time": HOLD_TIME}})).await?;
        files.push((api.device_configuration(&id).await?, api.key(&connection).await?));
        ids.push(id);
    }
    let [first, second] = files.as_slice() else { anyhow::bail!("two files") };
    branch.install((&first.0, &first.1), (&second.0, &second.1)).await?;
    let pair = <[String; 2]>::try_from(ids).map_err(|_| anyhow::anyhow!("two connections"))?;
    Ok((branch_site, branch, pair))
}

async fn connect(lab: &mut Lab, console: &Console, sites: &mut Sites) -> Result<()> {
    console
        .step("Start both devices", "all three connections are active, and all tunnels carry", async {
            lab.device.start().await?;
            sites.branch.start().await?;
            let api = lab.api()?;
            all_well(&api, sites).await?;
            let host = lab.host_addresses().first().context("the host is not attached")?.clone();
            let (office, desk) = (addresses::OFFICE[0], addresses::DESK[0]);
            for (from, to, target) in [
                (&lab.host, &lab.office, office),
                (&lab.office, &lab.host, host.as_str()),
                (&lab.host, &sites.branch.desk, desk),
                (&sites.branch.desk, &lab.host, host.as_str()),
            ] {
                let stream = Stream::start(from, to, target).await?;
                stream.steady(PATIENCE).await?;
                sites.streams.push(stream);
            }
            let [host6, desk6] = [lab.host_addresses().get(1).context("IPv6")?.as_str(), addresses::DESK[1]];
            eventually("IPv6 inside, to the branch", PATIENCE, || lab.host.ping(desk6, None, 0.5)).await?;
            eventually("IPv6 inside, from the branch", PATIENCE, || sites.branch.desk.ping(host6, None, 0.5)).await?;
            let names: Vec<_> = sites.streams.iter().map(|stream| stream.name.as_str()).collect();
            Ok((format!("active; streams {}", names.join(", ")), ()))
        })
        .await
}

/// Every connection active with nothing to complain about.
async fn all_well(api: &Api, sites: &Sites) -> Result<()> {
    for id in sites.pair.iter().chain([&sites.dual]) {
        eventually(&format!("connection {id} is well"), SILENCE, || async {
            let state = api.state("connections", id).await?;
            ensure!(text(&state, "/status")? == "active" && codes(&state).is_empty(), "{}", all_reasons(&state));
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn all_reasons(state: &Value) -> String {
    format!("{} {:?}", summary(state), codes(state))
}

async fn look(lab: &Lab, console: &Console) -> Result<()> {
    console
        .step("List connections and pairs", "all active, the pair too", async {
            let shown = format!(
                "{}\n{}",
                lab.command_line("connection list").await?,
                lab.command_line("connection pairs").await?
            );
            console.quote(&shown);
            ensure!(!shown.contains("down") && shown.contains("active"), "something is down");
            Ok(("active".to_owned(), ()))
        })
        .await
}

/// Cuts one tunnel of the connection that has two.
async fn cut_tunnel(lab: &Lab, console: &Console, sites: &Sites, family: Family, cut: Cut) -> Result<()> {
    let (word, index) = word(family);
    let why = match cut {
        Cut::Deleted => "peer_deleted_sa",
        Cut::Silent => "dpd_timeout",
    };
    let streams = sites.streams.get(..2).context("streams of the site")?;
    let sessions = sessions(lab, &sites.dual).await?;
    let title = format!("Cut the site's tunnel over {word} {}", by(cut));
    let expected = format!("active, tunnel_redundancy_lost because of {why}; the same BGP sessions; traffic goes on");
    console
        .step(&title, &expected, async {
            let marks: Vec<u64> = streams.iter().map(Stream::mark).collect();
            match cut {
                Cut::Deleted => terminate(&lab.device, &sites.dual, word).await?,
                Cut::Silent => lab.cut(addresses::SITE.get(index).context("an address")?).await?,
            }
            let api = lab.api()?;
            let state = api.wait_reason(&sites.dual, "tunnel_redundancy_lost", SILENCE).await?;
            ensure!(codes(&state).iter().any(|code| code == why), "{}", all_reasons(&state));
            ensure!(text(&state, "/status")? == "active", "{}", summary(&state));
            steady(streams).await?;
            kept(lab, &sites.dual, &sessions).await?;
            let tunnels = format!("{}; the BGP sessions are the same", summary(&state));
            Ok((format!("{tunnels}\n               {}", gaps(streams, &marks)), ()))
        })
        .await?;
    console
        .step(&format!("Let the tunnel over {word} return"), "both tunnels up, the same BGP sessions", async {
            let marks: Vec<u64> = streams.iter().map(Stream::mark).collect();
            match cut {
                Cut::Deleted => initiate(&lab.device, &sites.dual, word).await?,
                Cut::Silent => lab.heal().await?,
            }
            all_well(&lab.api()?, sites).await?;
            steady(streams).await?;
            kept(lab, &sites.dual, &sessions).await?;
            Ok((format!("active without a reason\n               {}", gaps(streams, &marks)), ()))
        })
        .await
}

/// Cuts the tunnel of one connection of the pair.
async fn cut_connection(lab: &Lab, console: &Console, sites: &Sites, family: Family, cut: Cut) -> Result<()> {
    let (word, index) = word(family);
    let id = sites.pair.get(index).context("a connection")?;
    let other = sites.pair.get(1 - index).context("a connection")?;
    let device = if index == 0 { &sites.branch.ipv4 } else { &sites.branch.ipv6 };
    let why = match cut {
        Cut::Deleted => "peer_deleted_sa",
        Cut::Silent => "dpd_timeout",
    };
    let streams = sites.streams.get(2..).context("streams of the branch")?;
    let title = format!("Cut the branch's connection over {word} {}", by(cut));
    let expected = format!("it is down ({why}), the pair has limited_connectivity; traffic moves to the other");
    console
        .step(&title, &expected, async {
            let marks: Vec<u64> = streams.iter().map(Stream::mark).collect();
            match cut {
                Cut::Deleted => terminate(device, id, word).await?,
                Cut::Silent => lab.cut(addresses::BRANCH.get(index).context("an address")?).await?,
            }
            let api = lab.api()?;
            let state = api.wait_reason(id, why, SILENCE).await?;
            ensure!(text(&state, "/status")? == "down", "{}", summary(&state));
            let list = state.get("bgp_sessions").and_then(Value::as_array).context("no bgp_sessions")?;
            let gone = |session: &Value| {
                // What the tunnel is told, its sessions know at once. In silence their hold timers may run out before the verdict.
                let told = session.pointer("/reason/code").is_some_and(|code| code == "tunnel_down");
                session.get("status").is_some_and(|status| status == "down") && (told || cut == Cut::Silent)
            };
            ensure!(list.len() == 2 && list.iter().all(gone), "a session outlives its tunnel: {list:?}");
            steady(streams).await?;
            api.wait_status("connections", other, "active", PATIENCE).await?;
            let shown = lab.command_line("connection pairs").await?;
            console.quote(&shown);
            ensure!(shown.contains("limited_connectivity"), "the pair's status is another one");
            Ok((format!("{}\n               {}", summary(&state), gaps(streams, &marks)), ()))
        })
        .await?;
    console
        .step(&format!("Let the connection over {word} return"), "both connections and the pair are active", async {
            let marks: Vec<u64> = streams.iter().map(Stream::mark).collect();
            match cut {
                Cut::Deleted => initiate(device, id, word).await?,
                Cut::Silent => lab.heal().await?,
            }
            all_well(&lab.api()?, sites).await?;
            steady(streams).await?;
            let shown = lab.command_line("connection pairs").await?;
            ensure!(!shown.contains("limited_connectivity") && shown.contains("active"), "{shown}");
            Ok((format!("active\n               {}", gaps(streams, &marks)), ()))
        })
        .await
}

/// What our direction meets when the tunnel in use is deleted by the device, and each of a pair is in turn: with two tunnels in one
/// connection, and with two connections.
pub(crate) async fn change_over(lab: &mut Lab, console: &Console, rounds: u32) -> Result<[Vec<Interruption>; 2]> {
    let mut sites = order(lab, console).await?;
    connect(lab, console, &mut sites).await?;
    let [to_office, _, to_desk, _] = sites.streams.as_slice() else { anyhow::bail!("four streams") };
    let mut met = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        console.line(&format!("round {round} of {rounds}"));
        let [mut dual, mut pair] = [Interruption::default(); 2];
        for (index, word) in ["ipv4", "ipv6"].into_iter().enumerate() {
            let id = sites.pair.get(index).context("a connection")?;
            let device = if index == 0 { &sites.branch.ipv4 } else { &sites.branch.ipv6 };
            // Which of the two carries the stream is the gateway's choice, so both are cut, and the worse one is it.
            dual = dual.worse(deleted(&lab.device, &sites.dual, word, to_office).await?);
            pair = pair.worse(deleted(device, id, word, to_desk).await?);
            all_well(&lab.api()?, &sites).await?;
        }
        met[0].push(dual);
        met[1].push(pair);
    }
    Ok(met)
}

async fn deleted(
    device: &crate::device::Device,
    connection: &str,
    word: &str,
    stream: &Stream,
) -> Result<Interruption> {
    stream.steady(SILENCE).await?;
    let mark = stream.mark();
    terminate(device, connection, word).await?;
    stream.steady(SILENCE).await?;
    let met = stream.since(mark);
    initiate(device, connection, word).await?;
    Ok(met)
}

async fn deletion(lab: &mut Lab, console: &Console, mut sites: Sites) -> Result<()> {
    console
        .step("Delete everything", "404 everywhere and no namespace of the service left", async {
            sites.streams.clear();
            sites.branch.stop().await;
            let api = lab.api()?;
            let vpn = "s2s-vpn/v1alpha1";
            for id in sites.pair.iter().chain([&sites.dual]) {
                api.delete(vpn, &format!("connections/{id}")).await?;
                api.wait_gone(vpn, &format!("connections/{id}"), PATIENCE).await?;
            }
            api.delete(vpn, &format!("customer-gateways/{}", sites.branch_site.customer)).await?;
            for policy in &sites.branch_site.policies {
                api.delete(vpn, &format!("routing-policies/{policy}")).await?;
            }
            delete_site(lab, &sites.site).await?;
            no_namespaces(lab).await?;
            Ok(("all gone".to_owned(), ()))
        })
        .await
}

const fn word(family: Family) -> (&'static str, usize) {
    match family {
        Family::Ipv4 | Family::Both => ("ipv4", 0),
        Family::Ipv6 => ("ipv6", 1),
    }
}

const fn by(cut: Cut) -> &'static str {
    match cut {
        Cut::Deleted => "by deleting it on the device",
        Cut::Silent => "silently",
    }
}

fn tunnel_name(connection: &str, family: &str) -> String {
    format!("causeway-{}-{family}", connection.split('-').next().unwrap_or(connection))
}

async fn terminate(device: &crate::device::Device, connection: &str, family: &str) -> Result<()> {
    device.swanctl(&["--terminate", "--ike", &tunnel_name(connection, family)]).await.map(drop)
}

async fn initiate(device: &crate::device::Device, connection: &str, family: &str) -> Result<()> {
    device.swanctl(&["--initiate", "--child", &tunnel_name(connection, family)]).await.map(drop)
}

/// What identifies the BGP sessions of a connection, on both ends: since when they are up, and how often they were lost.
async fn sessions(lab: &Lab, connection: &str) -> Result<Vec<String>> {
    let state = lab.api()?.state("connections", connection).await?;
    let list = state.get("bgp_sessions").and_then(Value::as_array).context("no bgp_sessions")?;
    let mut known = Vec::new();
    for session in list {
        known.push(format!("{} {} {}", text(session, "/status")?, text(session, "/since")?, text(session, "/flaps")?));
    }
    known.extend(lab.device.sessions().await?.into_iter().map(|session| session.mark));
    Ok(known)
}

/// The sessions are those that they were. BIRD shows since when anew each time, from two clocks, and may be a millisecond off; another session never
/// looks like the one before.
async fn kept(lab: &Lab, connection: &str, before: &[String]) -> Result<()> {
    eventually("no BGP session was lost", SILENCE, || async {
        let now = sessions(lab, connection).await?;
        ensure!(now == before, "{now:?}, before {before:?}");
        Ok(())
    })
    .await
}

async fn steady(streams: &[Stream]) -> Result<()> {
    for stream in streams {
        stream.steady(SILENCE).await?;
    }
    Ok(())
}

/// `host -> office: gap 12 ms, 0 lost; …`
fn gaps(streams: &[Stream], marks: &[u64]) -> String {
    let shown = streams.iter().zip(marks).map(|(stream, mark)| {
        let met = stream.since(*mark);
        format!("{}: gap {} ms, {} lost", stream.name, met.gap.as_millis(), met.lost)
    });
    shown.collect::<Vec<_>>().join("; ")
}
