//! What several scenarios do and look for.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hyper::Method;

use crate::api::{Site, text};
use crate::console::seconds;
use crate::topology::{Lab, addresses};
use crate::wait::{eventually, eventually_every};

/// Longer than anything should take on a busy machine with two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The four ways of a ping: a name, and from the office or from the host, to which address.
fn ways(lab: &Lab) -> Result<Vec<(&'static str, bool, String)>> {
    let [host4, host6] = lab.host_addresses() else { anyhow::bail!("the host is not attached") };
    Ok(vec![
        ("office -> host IPv4", true, host4.clone()),
        ("office -> host IPv6", true, host6.clone()),
        ("host -> office IPv4", false, addresses::OFFICE[0].to_owned()),
        ("host -> office IPv6", false, addresses::OFFICE[1].to_owned()),
    ])
}

/// Waits until pings are answered in both families and both directions. Says after how long the first and the last one was.
pub(crate) async fn pings_both_ways(lab: &Lab) -> Result<String> {
    let begun = Instant::now();
    let mut first = None;
    for (name, from_office, target) in ways(lab)? {
        let machine = if from_office { &lab.office } else { &lab.host };
        eventually_every(Duration::from_millis(10), name, PATIENCE, || machine.ping(&target, None, 0.3)).await?;
        first.get_or_insert_with(|| begun.elapsed());
    }
    Ok(format!(
        "answers IPv4 and IPv6, office -> host and host -> office; the first after {}, all after {}",
        seconds(first.unwrap_or_default()),
        seconds(begun.elapsed())
    ))
}

/// Waits for the first answered IPv4 ping from the office to the host.
pub(crate) async fn first_ping(lab: &Lab) -> Result<()> {
    let target = lab.host_addresses().first().context("the host is not attached")?;
    eventually_every(Duration::from_millis(5), "first ping", PATIENCE, || lab.office.ping(target, None, 0.2)).await
}

/// Makes sure that no ping is answered, in any family and direction.
pub(crate) async fn no_pings(lab: &Lab) -> Result<()> {
    for (name, from_office, target) in ways(lab)? {
        let machine = if from_office { &lab.office } else { &lab.host };
        // A change needs a moment to reach the kernel; from then on nothing may pass.
        eventually(&format!("{name} stops"), Duration::from_secs(5), || async {
            ensure!(machine.ping(&target, None, 0.3).await.is_err(), "it is still answered");
            Ok(())
        })
        .await?;
    }
    for (name, from_office, target) in ways(lab)? {
        let machine = if from_office { &lab.office } else { &lab.host };
        ensure!(machine.ping(&target, None, 0.5).await.is_err(), "{name} is answered again");
    }
    Ok(())
}

/// Orders network and gateway; waits for `active`; attaches the host. Returns the objects without a customer gateway and policies, and
/// the time from the order of the gateway to `active`.
pub(crate) async fn order_gateway(lab: &mut Lab) -> Result<(Site, Duration)> {
    let (site, took) = order_lone_gateway(lab).await?;
    lab.attach_host(&site.network, &site.subnets).await?;
    Ok((site, took))
}

/// As [`order_gateway`], without a host.
pub(crate) async fn order_lone_gateway(lab: &Lab) -> Result<(Site, Duration)> {
    let api = lab.api()?;
    let (vpc, network, subnets) = api.create_network(None).await?;
    let begun = Instant::now();
    let gateway = api.create_gateway(&network).await?;
    let status = text(&gateway, "/status")?;
    ensure!(status == "provisioning", "the answer to the order says {status}");
    let id = text(&gateway, "/id")?;
    api.wait_status("vpn-gateways", &id, "active", PATIENCE).await?;
    let took = begun.elapsed();
    let site =
        Site { vpc, network, subnets, gateway: id, customer: String::new(), policies: [String::new(), String::new()] };
    Ok((site, took))
}

/// A gateway's public addresses, IPv4 first.
pub(crate) async fn public_addresses(lab: &Lab, gateway: &str) -> Result<Vec<String>> {
    let api = lab.api()?;
    let gateway = api.vpn(&format!("vpn-gateways/{gateway}")).await?;
    let mut found = Vec::new();
    for family in ["4", "6"] {
        let id = text(&gateway, &format!("/public_config/ipam_ipv{family}_id"))?;
        let ip = api.must(Method::GET, &format!("{}/ips/{id}", api.prefix("ipam/v1")), None).await?;
        let address = text(&ip, "/address")?;
        found.push(address.split('/').next().unwrap_or(&address).to_owned());
    }
    Ok(found)
}

/// Adds the customer gateway and both policies.
pub(crate) async fn order_customer(lab: &Lab, site: &mut Site) -> Result<()> {
    let api = lab.api()?;
    site.customer = api.create_customer(addresses::SITE_ASN, addresses::SITE[0], addresses::SITE[1]).await?;
    for (family, is_ipv6) in [false, true].into_iter().enumerate() {
        let subnet = site.subnets.get(family).context("two subnets")?;
        let prefix = addresses::SITE_PREFIXES.get(family).context("two prefixes")?;
        let policy = api.create_policy(is_ipv6, &[*prefix], &[subnet.as_str()]).await?;
        if let Some(place) = site.policies.get_mut(family) {
            *place = policy;
        }
    }
    Ok(())
}

/// Deletes everything of `site` but the connections, and waits until it is gone.
pub(crate) async fn delete_site(lab: &Lab, site: &Site) -> Result<()> {
    let api = lab.api()?;
    let vpn = "s2s-vpn/v1alpha1";
    // The deletion of its connection makes the gateway `configuring` for a moment, in which it cannot be deleted.
    api.wait_status("vpn-gateways", &site.gateway, "active", PATIENCE).await?;
    api.delete(vpn, &format!("vpn-gateways/{}", site.gateway)).await?;
    api.wait_gone(vpn, &format!("vpn-gateways/{}", site.gateway), PATIENCE).await?;
    api.delete(vpn, &format!("customer-gateways/{}", site.customer)).await?;
    for policy in &site.policies {
        api.delete(vpn, &format!("routing-policies/{policy}")).await?;
    }
    api.delete("vpc/v2", &format!("private-networks/{}", site.network)).await?;
    api.delete("vpc/v2", &format!("vpcs/{}", site.vpc)).await
}

/// Waits until no namespace of the service is left.
pub(crate) async fn no_namespaces(lab: &Lab) -> Result<()> {
    eventually("the service's namespaces are gone", PATIENCE, || async {
        let left = lab.service_namespaces().await;
        ensure!(left.is_empty(), "{}", left.join(" "));
        Ok(())
    })
    .await
}

/// Routes of one machine or namespace that matter: no link-local ones.
pub(crate) fn interesting(routes: &str) -> String {
    let lines: Vec<_> =
        routes.lines().filter(|line| !line.starts_with("fe80::") && !line.starts_with("ff00::")).collect();
    lines.join("\n")
}
