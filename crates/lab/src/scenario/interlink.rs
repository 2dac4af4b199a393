//! A private link beside the VPN, both leading to the same office: ordered, provisioned by the partner, preferred, turned round by a
//! community, lost in three ways, and deleted from both sides.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use serde_json::{Value, json};

use super::steps::{PATIENCE, delete_site, no_namespaces, order_customer, order_gateway, pings_both_ways};
use crate::api::{Api, NewConnection, Site, codes, summary, text};
use crate::console::{Console, seconds};
use crate::router::BIRD;
use crate::stream::Stream;
use crate::topology::edge::{HOLD_TIME, PORT, sessions_up};
use crate::topology::{Edge, Lab, addresses};
use crate::wait::eventually;

/// The hold time, and what the node and the machine need on top.
const SILENCE: Duration = Duration::from_secs(60);
const LINKS: &str = "interlink/v1beta1";

/// A link through a partner, and the parties.
#[derive(Debug)]
pub struct LinkOrder {
    /// The answer to the order.
    pub link: Value,
    /// The link's id.
    pub id: String,
    /// The PoP and the partner that it was ordered from.
    pub offer: [String; 2],
    /// The partner, as a client.
    pub partner: Api,
}

impl LinkOrder {
    /// Fills the operator's catalogue and orders the first link.
    ///
    /// # Errors
    /// A call failed, or the order is not `requested`.
    pub async fn place(api: &Api) -> Result<Self> {
        let operator = "/causeway/v1/operator";
        let size = format!("{operator}/link-bandwidths/100");
        api.must(Method::PUT, &size, Some(&json!({"price_per_hour": 18_000}))).await?;
        let pop = json!({"name": "TH2", "display_name": "Paris - TeleHouse 2", "city": "Paris",
            "address": "137 boulevard Voltaire", "hosting_provider_name": "Telehouse", "link_bandwidths_mbps": [100]});
        let pop = text(&api.must(Method::POST, &format!("{operator}/pops"), Some(&pop)).await?, "/id")?;
        let partner = json!({"name": "An exchange", "asn": 65010, "contact_email": "noc@example.net"});
        let partner = api.must(Method::POST, &format!("{operator}/partners"), Some(&partner)).await?;
        let partner = text(&partner, "/id")?;
        let port = json!({"name": PORT, "pop_id": pop, "partner_id": partner, "capacity_mbps": 1000,
            "attachment": {"kind": "interface", "interface": PORT}, "vlan_range": {"start": 2000, "end": 2000}});
        api.must(Method::POST, &format!("{operator}/ports"), Some(&port)).await?;
        let key = json!({"role": "partner", "partner_id": partner});
        let key = api.must(Method::POST, &format!("{operator}/api-keys"), Some(&key)).await?;
        let as_partner = api.with_key(text(&key, "/secret_key")?);
        let offer = [pop, partner];
        let link = order_again(api, &offer).await?;
        Ok(Self { id: text(&link, "/id")?, link, offer, partner: as_partner })
    }

    /// Orders another link of the same kind, when the first one has given back what it had.
    ///
    /// # Errors
    /// The call failed, or the order is not `requested`.
    pub async fn again(&mut self, api: &Api) -> Result<()> {
        self.link = order_again(api, &self.offer).await?;
        self.id = text(&self.link, "/id")?;
        Ok(())
    }

    /// What the partner does; answers the link's status.
    ///
    /// # Errors
    /// It is refused.
    pub async fn partner_does(&self, verb: &str) -> Result<String> {
        let path = format!("/causeway/v1/partner/links/{}/{verb}", self.id);
        text(&self.partner.must(Method::POST, &path, Some(&json!({}))).await?, "/status")
    }
}

async fn order_again(api: &Api, [pop, partner]: &[String; 2]) -> Result<Value> {
    let body = json!({"name": "office", "tags": [], "pop_id": pop, "bandwidth_mbps": 100, "partner_id": partner});
    let link = api.create(LINKS, "links", &body).await?;
    let status = text(&link, "/status")?;
    ensure!(status == "requested", "{status}");
    Ok(link)
}

/// The whole story.
pub(super) async fn run(lab: &mut Lab, console: &Console, keep: bool) -> Result<()> {
    console.line(
        "One office, two ways to it: a VPN through the Internet, and a private link through a partner.\n\n  \
         host -- Private Network -- node --+-- inet -- site (strongSwan + BIRD) --+-- office\n  \
         \x20                                 +-- InterLink -- edge (BIRD) -----------+",
    );
    let (site, connection) = vpn(lab, console).await?;
    let mut edge = lab.add_edge().await?;
    let outcome = link(lab, console, &site, &connection, &mut edge, keep).await;
    if outcome.is_err() {
        console.quote(&edge.log_tail(15));
    }
    edge.stop().await;
    outcome?;
    console.success();
    Ok(())
}

async fn link(
    lab: &mut Lab,
    console: &Console,
    site: &Site,
    connection: &str,
    edge: &mut Edge,
    keep: bool,
) -> Result<()> {
    let order = order(lab, console).await?;
    provision(lab, console, &order).await?;
    connect(lab, console, site, &order, edge).await?;
    let host = lab.host_addresses().first().context("the host is not attached")?.clone();
    let stream = Stream::start(&lab.host, &lab.office, addresses::OFFICE[0]).await?;
    stream.steady(PATIENCE).await?;
    turn_round(lab, console, &order, edge, &stream).await?;
    carrier(lab, console, &order, edge, &stream).await?;
    silence(lab, console, &order, edge, &stream).await?;
    one_session(lab, console, &order, edge, &stream).await?;
    drop(stream);
    if keep {
        console.line(&format!("\nNothing is deleted, since the lab is to be kept. The host has {host}."));
        return Ok(());
    }
    deletion(lab, console, site, connection, &order).await
}

async fn vpn(lab: &mut Lab, console: &Console) -> Result<(Site, String)> {
    console
        .step("Start the service; order and connect a VPN", "it is active, and pings are answered both ways", async {
            lab.start_service().await?;
            let (mut site, _) = order_gateway(lab).await?;
            order_customer(lab, &mut site).await?;
            let api = lab.api()?;
            let connection = api.create_connection(&site, &NewConnection::default()).await?;
            let id = text(&connection, "/id")?;
            let configuration = api.device_configuration(&id).await?;
            lab.device.install(&configuration, &api.key(&connection).await?, &addresses::SITE_PREFIXES).await?;
            lab.device.start().await?;
            api.wait_status("connections", &id, "active", PATIENCE).await?;
            Ok((pings_both_ways(lab).await?, (site, id)))
        })
        .await
}

async fn order(lab: &Lab, console: &Console) -> Result<LinkOrder> {
    console
        .step(
            "Fill the operator's catalogue, and order a link of 100 Mbit/s through the partner",
            "the answer says requested: it is the partner's turn",
            async {
                let api = lab.api()?;
                let order = LinkOrder::place(&api).await?;
                Ok((summary(&api.state("links", &order.id).await?), order))
            },
        )
        .await
}

async fn provision(lab: &Lab, console: &Console, order: &LinkOrder) -> Result<()> {
    console
        .step(
            "The partner finds the request by its pairing key, accepts it, and has provisioned its side",
            "provisioning, then active: the node has attached the link",
            async {
                let key = text(&order.link, "/partner/pairing_key")?;
                let path = format!("/causeway/v1/partner/links?pairing_key={key}");
                let found = order.partner.must(Method::GET, &path, None).await?;
                let id = text(&found, "/links/0/id")?;
                ensure!(id == order.id, "another link was found: {id}");
                ensure!(order.partner_does("accept").await? == "provisioning", "accepted");
                order.partner_does("provisioned").await?;
                let state = wait_status(lab, &order.id, "active").await?;
                Ok((summary(&state), ()))
            },
        )
        .await
}

async fn connect(lab: &Lab, console: &Console, site: &Site, order: &LinkOrder, edge: &mut Edge) -> Result<()> {
    console
        .step(
            "Attach the VPC and both policies, switch propagation on, start BIRD on the edge",
            "both sessions up, active; traffic to the office takes the link, an untagged one beats an untagged VPN",
            async {
                let api = lab.api()?;
                let links = format!("{}/links/{}", api.prefix(LINKS), order.id);
                let act = async |verb: &str, body: Value| {
                    api.must(Method::POST, &format!("{links}/{verb}"), Some(&body)).await?;
                    settled(lab, &order.id).await
                };
                act("attach-vpc", json!({"vpc_id": site.vpc})).await?;
                for policy in policies(&api, site).await? {
                    act("attach-routing-policy", json!({"routing_policy_id": policy})).await?;
                }
                act("enable-route-propagation", json!({})).await?;
                edge.start(&order.link).await?;
                eventually("both sessions on the edge", PATIENCE, || sessions_up(edge)).await?;
                eventually("active with nothing to complain about", PATIENCE, || async {
                    let state = api.state("links", &order.id).await?;
                    ensure!(text(&state, "/status")? == "active" && codes(&state).is_empty(), "{}", summary(&state));
                    Ok(())
                })
                .await?;
                carries(lab, edge, true).await?;
                let shown = lab.command_line(&format!("link state {}", order.id)).await?;
                console.quote(&shown);
                Ok(("active; packets for the office arrive at the edge".to_owned(), ()))
            },
        )
        .await
}

async fn turn_round(lab: &Lab, console: &Console, order: &LinkOrder, edge: &Edge, stream: &Stream) -> Result<()> {
    console
        .step(
            "Tag the VPN's announcements with 12876:42200 (high) on the site, then take the tag off again",
            "traffic takes the VPN, and the link once more",
            async {
                let plain = lab.device.read(BIRD)?;
                let tag = format!("then {{ bgp_community.add(({}, 42200)); accept; }}", addresses::PROVIDER_ASN);
                let tagged = plain.replace("then accept;", &tag);
                ensure!(tagged != plain, "the device's filters are other ones than expected");
                lab.device.write(BIRD, &tagged)?;
                lab.device.birdc(&["configure"]).await?;
                carries(lab, edge, false).await?;
                stream.steady(PATIENCE).await?;
                ensure!(status(lab, &order.id).await? == "active", "the link is as well as before");
                lab.device.write(BIRD, &plain)?;
                lab.device.birdc(&["configure"]).await?;
                carries(lab, edge, true).await?;
                Ok(("the VPN carries while its routes are tagged, the link before and after".to_owned(), ()))
            },
        )
        .await
}

async fn carrier(lab: &Lab, console: &Console, order: &LinkOrder, edge: &Edge, stream: &Stream) -> Result<()> {
    console
        .step("Take the link's carrier away", "all_down (no_carrier); traffic takes the VPN at once", async {
            stream.steady(PATIENCE).await?;
            let mark = stream.mark();
            edge.carrier(false, &order.link).await?;
            let state = wait_status(lab, &order.id, "all_down").await?;
            ensure!(codes(&state).iter().any(|code| code == "no_carrier"), "{} {:?}", summary(&state), codes(&state));
            stream.steady(PATIENCE).await?;
            let met = stream.since(mark);
            Ok((format!("{}; {}", summary(&state), gap(met)), ()))
        })
        .await?;
    console
        .step("Give the carrier back", "active, and traffic takes the link again", async {
            edge.carrier(true, &order.link).await?;
            wait_status(lab, &order.id, "active").await?;
            carries(lab, edge, true).await?;
            stream.steady(PATIENCE).await?;
            Ok(("active".to_owned(), ()))
        })
        .await
}

async fn silence(lab: &Lab, console: &Console, order: &LinkOrder, edge: &Edge, stream: &Stream) -> Result<()> {
    console
        .step(
            "Let the link fall silent, with its carrier",
            &format!("all_down, and traffic takes the VPN when the hold time of {HOLD_TIME} s has run out"),
            async {
                stream.steady(PATIENCE).await?;
                let mark = stream.mark();
                edge.silent(true).await?;
                let state = wait_status(lab, &order.id, "all_down").await?;
                stream.steady(SILENCE).await?;
                let met = stream.since(mark);
                Ok((format!("{}; {}", summary(&state), gap(met)), ()))
            },
        )
        .await?;
    console
        .step("Let it speak again", "active, and traffic takes the link again", async {
            edge.silent(false).await?;
            wait_status(lab, &order.id, "active").await?;
            carries(lab, edge, true).await?;
            stream.steady(PATIENCE).await?;
            Ok(("active".to_owned(), ()))
        })
        .await
}

async fn one_session(lab: &Lab, console: &Console, order: &LinkOrder, edge: &Edge, stream: &Stream) -> Result<()> {
    console
        .step("Cut the IPv6 session on the edge, and let it return", "limited_connectivity, then active", async {
            edge.birdc("disable b_ipv6").await?;
            let state = wait_status(lab, &order.id, "limited_connectivity").await?;
            carries(lab, edge, true).await?;
            stream.steady(PATIENCE).await?;
            edge.birdc("enable b_ipv6").await?;
            let back = wait_status(lab, &order.id, "active").await?;
            Ok((format!("{}, then {}", summary(&state), summary(&back)), ()))
        })
        .await
}

async fn deletion(lab: &mut Lab, console: &Console, site: &Site, connection: &str, order: &LinkOrder) -> Result<()> {
    console
        .step(
            "Delete the link on the tenant's side, then on the partner's",
            "412 while propagation is on; deprovisioning, then deleted; the VPN carries",
            async {
                let api = lab.api()?;
                let link = format!("{}/links/{}", api.prefix(LINKS), order.id);
                let refused = api.call(Method::DELETE, &link, None).await?;
                ensure!(refused.status == 412, "{} {}", refused.status, refused.text);
                api.must(Method::POST, &format!("{link}/disable-route-propagation"), Some(&json!({}))).await?;
                settled(lab, &order.id).await?;
                let deleted = api.must(Method::DELETE, &link, None).await?;
                ensure!(text(&deleted, "/status")? == "deprovisioning", "{deleted}");
                let gone = order.partner_does("deprovisioned").await?;
                ensure!(gone == "deleted", "{gone}");
                let namespace = format!("cwl-{}", order.id.split('-').next().unwrap_or_default());
                eventually("the node has removed the link", PATIENCE, || async {
                    let left = lab.service_namespaces().await;
                    ensure!(!left.contains(&namespace), "{namespace} is still there");
                    Ok(())
                })
                .await?;
                Ok((pings_both_ways(lab).await?, ()))
            },
        )
        .await?;
    console
        .step("Delete the VPN and everything else", "404 everywhere and no namespace of the service left", async {
            lab.device.stop().await;
            let api = lab.api()?;
            let vpn = "s2s-vpn/v1alpha1";
            api.delete(vpn, &format!("connections/{connection}")).await?;
            api.wait_gone(vpn, &format!("connections/{connection}"), PATIENCE).await?;
            delete_site(lab, site).await?;
            no_namespaces(lab).await?;
            Ok(("all gone".to_owned(), ()))
        })
        .await
}

/// Routing policies of InterLinks, the same as the VPN's.
async fn policies(api: &Api, site: &Site) -> Result<Vec<String>> {
    let mut made = Vec::new();
    for (subnet, prefix) in site.subnets.iter().zip(addresses::SITE_PREFIXES) {
        let body = json!({"name": "office", "tags": [], "is_ipv6": prefix.contains(':'),
            "prefix_filter_in": [prefix], "prefix_filter_out": [subnet]});
        made.push(text(&api.create(LINKS, "routing-policies", &body).await?, "/id")?);
    }
    Ok(made)
}

/// Waits until packets of the host for the office arrive over the link, or do not any more.
async fn carries(lab: &Lab, edge: &Edge, link: bool) -> Result<()> {
    let what = if link { "traffic takes the link" } else { "traffic takes the VPN" };
    eventually(what, PATIENCE, || async {
        const PINGS: u64 = 20;
        let before = edge.arrived().await?;
        for _ in 0..PINGS {
            lab.host.ping(addresses::OFFICE[0], None, 0.5).await?;
        }
        let arrived = edge.arrived().await? - before;
        // BGP says a little, too.
        ensure!((arrived >= PINGS) == link, "{arrived} packets arrived at the edge");
        Ok(())
    })
    .await
}

async fn status(lab: &Lab, id: &str) -> Result<String> {
    text(&lab.api()?.state("links", id).await?, "/status")
}

/// Waits until the node has acknowledged what is new of the link.
async fn settled(lab: &Lab, id: &str) -> Result<()> {
    eventually("the link is no longer configuring", PATIENCE, || async {
        let status = status(lab, id).await?;
        ensure!(status != "configuring", "{status}");
        Ok(())
    })
    .await
}

async fn wait_status(lab: &Lab, id: &str, wanted: &str) -> Result<Value> {
    eventually(&format!("the link is {wanted}"), SILENCE, || async {
        let state = lab.api()?.state("links", id).await?;
        ensure!(text(&state, "/status")? == wanted, "{}", summary(&state));
        Ok(state)
    })
    .await
}

fn gap(met: crate::stream::Interruption) -> String {
    format!("host -> office: gap {}, {} lost", seconds(met.gap), met.lost)
}
