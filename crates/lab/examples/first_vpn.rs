//! The figures of `bench/first-vpn/run`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Api, Lab, Machine, NewConnection, Running, Service, Site, addresses, eventually, eventually_every};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
const VPN: &str = "s2s-vpn/v1alpha1";
/// Polls as often as the API answers: the figures shall not be rounded up to a pause.
const TIGHT: Duration = Duration::from_millis(2);
/// A key of the bench in base64.
const KEY: &str = "YmVuY2gga2V5IG9mIGJlbmNoL2ZpcnN0LXZwbiwgMjU2IGJpdHMgb2Ygbm90aGluZw==";
/// Gateways with a tunnel each, for the memory of one.
const GATEWAYS: u32 = 10;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds: u32 = arguments.next().map_or(Ok(5), |text| text.parse()).context("ROUNDS")?;
    let seconds: u32 = arguments.next().map_or(Ok(4), |text| text.parse()).context("SECONDS")?;
    let program = PathBuf::from(std::env::var("CAUSEWAY_BIN").context("CAUSEWAY_BIN")?);
    if rounds > 0 {
        in_lab("benup", &program, async |lab| coming_up(lab, rounds).await).await?;
        in_lab("benmem", &program, async |lab| memory(lab).await).await?;
    }
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for _ in 0..rounds.clamp(1, 3) {
        // Taken in turn, so that whatever else the machine does falls on both.
        ours.extend(in_lab("benown", &program, async |lab| two_services(lab, &program, seconds).await).await?);
        theirs.extend(in_lab("bensw", &program, async |lab| two_strongswans(lab, seconds).await).await?);
    }
    let (a, b) = (median(&mut ours), median(&mut theirs));
    say(&format!("TCP, two services (AS 12876 and 64600)      {:8.0} Mbit/s   {}", a / 1e6, each(&ours, 1e6)));
    say(&format!("TCP, strongSwan to strongSwan (libipsec)    {:8.0} Mbit/s   {}", b / 1e6, each(&theirs, 1e6)));
    say(&format!("ratio                                       {:8.2}", a / b));
    Ok(())
}

async fn in_lab<T>(id: &str, program: &Path, work: impl AsyncFnOnce(&mut Lab) -> Result<T>) -> Result<T> {
    let mut lab = Lab::start(Some(id), program).await?;
    let outcome = work(&mut lab).await;
    lab.finish(outcome).await
}

async fn coming_up(lab: &mut Lab, rounds: u32) -> Result<()> {
    let api = lab.start_service().await?;
    let (vpc, network, subnets) = api.create_network(None).await?;
    let mut created = Vec::new();
    let mut gateway = String::new();
    for round in 0..rounds * 2 {
        if !gateway.is_empty() {
            active(&api, &gateway).await?;
            api.delete(VPN, &format!("vpn-gateways/{gateway}")).await?;
            api.wait_gone(VPN, &format!("vpn-gateways/{gateway}"), PATIENCE).await?;
        }
        let begun = Instant::now();
        gateway = text(&api.create_gateway(&network).await?, "id")?;
        active(&api, &gateway).await?;
        created.push(begun.elapsed().as_secs_f64());
        if round == 0 {
            lab.attach_host(&network, &subnets).await?;
        }
    }
    report("gateway, create to active", &mut created);
    let site = customer(&api, vpc, network, subnets, gateway, addresses::SITE_ASN, addresses::SITE).await?;

    for (initiation, name) in [("customer_gateway", "the device"), ("vpn_gateway", "the gateway")] {
        let mut times = Vec::new();
        for _ in 0..rounds {
            let new = NewConnection { initiation, ..NewConnection::default() };
            let connection = api.create_connection(&site, &new).await?;
            install(lab, &api, &connection).await?;
            lab.device.start_daemons().await?;
            let begun = Instant::now();
            lab.device.load().await?;
            first_ping(lab).await?;
            times.push(begun.elapsed().as_secs_f64());
            remove(lab, &api, &connection).await?;
        }
        report(&format!("device loads to first ping, {name} initiates"), &mut times);
    }

    // The device is configured by a connection that was there before, with the same secret and the same inside addresses.
    let secret = api.create_secret(KEY).await?;
    let inside = [["169.254.77.1/30", "169.254.77.2/30"], ["fd77::1/126", "fd77::2/126"]];
    let new = NewConnection {
        initiation: "vpn_gateway",
        secret: Some(secret),
        inside: Some(inside.map(|pair| pair.map(str::to_owned))),
        ..NewConnection::default()
    };
    let mut times = Vec::new();
    for _ in 0..rounds {
        let before = api.create_connection(&site, &new).await?;
        install(lab, &api, &before).await?;
        let path = format!("connections/{}", text(&before, "id")?);
        api.delete(VPN, &path).await?;
        api.wait_gone(VPN, &path, PATIENCE).await?;
        active(&api, &site.gateway).await?;
        lab.device.start().await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        let connection = api.create_connection(&site, &new).await?;
        first_ping(lab).await?;
        times.push(begun.elapsed().as_secs_f64());
        remove(lab, &api, &connection).await?;
    }
    report("connection created to first ping, device configured", &mut times);
    Ok(())
}

async fn memory(lab: &mut Lab) -> Result<()> {
    let api = lab.start_service().await?;
    let (vpc, network, subnets) = api.create_network(None).await?;
    let first = text(&api.create_gateway(&network).await?, "id")?;
    active(&api, &first).await?;
    let site = customer(&api, vpc, network, subnets, first, addresses::SITE_ASN, addresses::SITE).await?;
    tunnel(lab, &api, &site).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let one = lab.service.resident_memory()?;
    for _ in 1..GATEWAYS {
        let gateway = text(&api.create_gateway(&site.network).await?, "id")?;
        active(&api, &gateway).await?;
        tunnel(lab, &api, &Site { gateway, ..site.clone() }).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let all = lab.service.resident_memory()?;
    let each = all.saturating_sub(one) / u64::from(GATEWAYS - 1);
    say(&format!(
        "resident memory: {:.1} MB with 1 gateway and tunnel, {:.1} MB with {GATEWAYS}: {:.2} MB each",
        mega(one),
        mega(all),
        mega(each)
    ));
    Ok(())
}

/// Adds a connection to `site` and waits for its tunnel.
async fn tunnel(lab: &mut Lab, api: &Api, site: &Site) -> Result<()> {
    let connection = api.create_connection(site, &NewConnection::default()).await?;
    let id = text(&connection, "id")?;
    let configuration = api.device_configuration(&id).await?;
    lab.device.add(&configuration, &api.key(&connection).await?, &addresses::SITE_PREFIXES).await?;
    lab.device.start().await?;
    eventually("the tunnel", PATIENCE, || async {
        let now = api.vpn(&format!("connections/{id}")).await?;
        ensure!(text(&now, "tunnel_status")? == "up", "{now}");
        Ok(())
    })
    .await
}

async fn two_services(lab: &mut Lab, program: &Path, seconds: u32) -> Result<Vec<f64>> {
    let mut other = lab.service_on_site(program, 64600);
    let outcome = between(lab, &mut other, seconds).await;
    let outcome = outcome.with_context(|| format!("the other service's log:\n{}", other.log_tail(30)));
    other.terminate().await;
    outcome
}

async fn between(lab: &mut Lab, other: &mut Service, seconds: u32) -> Result<Vec<f64>> {
    let a = lab.start_service().await?;
    let b = other.start().await?;
    let (vpc_a, network_a, subnets_a) = a.create_network(None).await?;
    let (vpc_b, network_b, subnets_b) = b.create_network(Some("172.31.0.0/22")).await?;
    let gateway_a = text(&a.create_gateway(&network_a).await?, "id")?;
    let gateway_b = text(&b.create_gateway(&network_b).await?, "id")?;
    active(&a, &gateway_a).await?;
    active(&b, &gateway_b).await?;
    lab.attach_host(&network_a, &subnets_a).await?;
    let office = lab.attach_office(&network_b, &subnets_b).await?;
    let (public_a, public_b) = (public(&a, &gateway_a).await?, public(&b, &gateway_b).await?);
    let customer_a = a.create_customer(64600, &public_b[0], &public_b[1]).await?;
    let customer_b = b.create_customer(addresses::PROVIDER_ASN, &public_a[0], &public_a[1]).await?;
    let mut policies = Vec::new();
    for (api, theirs, ours) in [(&a, &subnets_b, &subnets_a), (&b, &subnets_a, &subnets_b)] {
        policies.push([
            api.create_policy(false, &[theirs[0].as_str()], &[ours[0].as_str()]).await?,
            api.create_policy(true, &[theirs[1].as_str()], &[ours[1].as_str()]).await?,
        ]);
    }
    let [policies_a, policies_b] = <[_; 2]>::try_from(policies).map_err(|_| anyhow::anyhow!("two pairs"))?;
    let site_a = Site {
        vpc: vpc_a,
        network: network_a,
        subnets: subnets_a,
        gateway: gateway_a,
        customer: customer_a,
        policies: policies_a,
    };
    let site_b = Site {
        vpc: vpc_b,
        network: network_b,
        subnets: subnets_b,
        gateway: gateway_b,
        customer: customer_b,
        policies: policies_b,
    };
    let inside = [["169.254.77.1/30", "169.254.77.2/30"], ["fd77::1/126", "fd77::2/126"]];
    let new = |initiation, secret, swap: bool| NewConnection {
        initiation,
        secret: Some(secret),
        inside: Some(
            inside.map(|[x, y]| if swap { [y.to_owned(), x.to_owned()] } else { [x.to_owned(), y.to_owned()] }),
        ),
        ..NewConnection::default()
    };
    let secret_a = a.create_secret(KEY).await?;
    let secret_b = b.create_secret(KEY).await?;
    b.create_connection(&site_b, &new("customer_gateway", secret_b, true)).await?;
    a.create_connection(&site_a, &new("vpn_gateway", secret_a, false)).await?;
    let target = lab.host_addresses()[0].clone();
    let source = office.first().context("the office's address")?.clone();
    eventually("ping between the services", PATIENCE, || lab.office.ping(&target, None, 0.5)).await?;
    Ok(vec![
        lab.office.iperf3(&lab.host, &target, seconds, 1).await?,
        lab.host.iperf3(&lab.office, &source, seconds, 1).await?,
    ])
}

/// The same wires with charon and kernel-libipsec on both ends and static routes.
async fn two_strongswans(lab: &mut Lab, seconds: u32) -> Result<Vec<f64>> {
    let (node, site) = (lab.node.clone(), lab.site.without_files());
    node.shell("ip addr add 192.0.2.1/24 dev up0").await?;
    // The host hangs on the node as it does on a Private Network.
    let (node_ns, host_ns) = (&lab.node.namespace, &lab.host.namespace);
    lab.node.without_files().shell(&format!("ip link add lan0 type veth peer name eth0 netns {host_ns}")).await?;
    node.shell("ip link set lan0 up; ip addr add 172.16.0.1/22 dev lan0").await.context(node_ns.clone())?;
    lab.host
        .shell("ip link set eth0 up; ip addr add 172.16.0.100/22 dev eth0; ip route add default via 172.16.0.1")
        .await?;
    let folder = lab.folder().to_owned();
    let ends = ["192.0.2.1", addresses::SITE[0]];
    let gateway = strongswan(&node, &folder.join("sw-a"), ends[0], ends[1]).await?;
    let device = strongswan(&site, &folder.join("sw-b"), ends[1], ends[0]).await?;
    for (machine, own, there) in
        [(&node, "169.254.0.1", addresses::SITE_PREFIXES[0]), (&site, "169.254.0.2", "172.16.0.0/22")]
    {
        machine.shell(&format!("ip addr add {own}/30 dev ipsec0; ip route add {there} dev ipsec0")).await?;
    }
    swanctl(&site, &folder.join("sw-b"), "--initiate --child c --timeout 10").await?;
    eventually("ping", PATIENCE, || lab.office.ping("172.16.0.100", None, 0.5)).await?;
    // kernel-libipsec's device has 1400 octets; without a clamp TCP would rely on path MTU discovery alone.
    let figures = vec![
        lab.office.iperf3(&lab.host, "172.16.0.100", seconds, 1).await?,
        lab.host.iperf3(&lab.office, addresses::OFFICE[0], seconds, 1).await?,
    ];
    gateway.terminate(Duration::from_secs(3)).await;
    device.terminate(Duration::from_secs(3)).await;
    Ok(figures)
}

async fn strongswan(machine: &Machine, folder: &Path, local: &str, remote: &str) -> Result<Running> {
    std::fs::create_dir_all(folder.join("swanctl"))?;
    let path = folder.display();
    std::fs::write(
        folder.join("strongswan.conf"),
        format!(
            "charon-systemd {{\n load_modular = no\n load = random nonce openssl hmac kdf kernel-libipsec kernel-netlink \
             socket-default vici\n install_routes = no\n interfaces_ignore = ipsec0,lo\n routing_table_prio = 40000\n \
             plugins {{\n vici {{\n socket = unix://{path}/vici\n }}\n }}\n}}\nswanctl {{\n socket = unix://{path}/vici\n}}\n"
        ),
    )?;
    std::fs::write(
        folder.join("swanctl/swanctl.conf"),
        format!(
            "connections {{\n c {{\n version = 2\n mobike = no\n local_addrs = {local}\n remote_addrs = {remote}\n proposals = \
             aes256gcm16-prfsha384-curve25519\n local {{\n auth = psk\n id = {local}\n }}\n remote {{\n auth = psk\n id = {remote}\n }}\n \
             children {{\n c {{\n local_ts = 0.0.0.0/0\n remote_ts = 0.0.0.0/0\n esp_proposals = aes256gcm16\n }}\n }}\n }}\n}}\n\
             secrets {{\n ike-x {{\n secret = 0s{KEY}\n }}\n}}\n"
        ),
    )?;
    let configuration = folder.join("strongswan.conf").display().to_string();
    let running = machine.start(
        "/usr/sbin/charon-systemd",
        &[],
        &[("STRONGSWAN_CONF", configuration.as_str())],
        &folder.join("log"),
    )?;
    eventually("strongSwan", PATIENCE, || swanctl(machine, folder, "--load-all --noprompt")).await?;
    Ok(running)
}

async fn swanctl(machine: &Machine, folder: &Path, arguments: &str) -> Result<String> {
    let folder = folder.display();
    machine
        .shell(&format!("STRONGSWAN_CONF={folder}/strongswan.conf SWANCTL_DIR={folder}/swanctl swanctl {arguments}"))
        .await
}

async fn active(api: &Api, gateway: &str) -> Result<()> {
    eventually_every(TIGHT, "the gateway is active", PATIENCE, || async {
        let now = api.vpn(&format!("vpn-gateways/{gateway}")).await?;
        ensure!(text(&now, "status")? == "active", "{now}");
        Ok(())
    })
    .await
}

async fn customer(
    api: &Api,
    vpc: String,
    network: String,
    subnets: Vec<String>,
    gateway: String,
    asn: u32,
    public: [&str; 2],
) -> Result<Site> {
    let customer = api.create_customer(asn, public[0], public[1]).await?;
    let [site4, site6] = addresses::SITE_PREFIXES;
    let policies = [
        api.create_policy(false, &[site4], &[subnets[0].as_str()]).await?,
        api.create_policy(true, &[site6], &[subnets[1].as_str()]).await?,
    ];
    Ok(Site { vpc, network, subnets, gateway, customer, policies })
}

/// Public addresses of a gateway, IPv4 first.
async fn public(api: &Api, gateway: &str) -> Result<[String; 2]> {
    let state = api.state("vpn-gateways", gateway).await?;
    let all: Vec<String> = state
        .get("public_addresses")
        .and_then(Value::as_array)
        .context("public_addresses")?
        .iter()
        .filter_map(|address| Some(address.as_str()?.split('/').next()?.to_owned()))
        .collect();
    let find = |is_ipv6: bool| all.iter().find(|address| address.contains(':') == is_ipv6).cloned();
    Ok([find(false).context("IPv4")?, find(true).context("IPv6")?])
}

async fn install(lab: &mut Lab, api: &Api, connection: &Value) -> Result<()> {
    let configuration = api.device_configuration(&text(connection, "id")?).await?;
    lab.device.install(&configuration, &api.key(connection).await?, &addresses::SITE_PREFIXES).await
}

async fn remove(lab: &mut Lab, api: &Api, connection: &Value) -> Result<()> {
    lab.device.stop().await;
    let path = format!("connections/{}", text(connection, "id")?);
    api.delete(VPN, &path).await?;
    api.wait_gone(VPN, &path, PATIENCE).await
}

async fn first_ping(lab: &Lab) -> Result<()> {
    let target = lab.host_addresses().first().context("the host")?;
    eventually_every(TIGHT, "first ping", PATIENCE, || lab.office.ping(target, None, 0.1)).await
}

fn text(document: &Value, key: &str) -> Result<String> {
    Ok(document.get(key).and_then(Value::as_str).with_context(|| format!("no {key} in {document}"))?.to_owned())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let pair = if values.len().is_multiple_of(2) { [middle.wrapping_sub(1), middle] } else { [middle, middle] };
    pair.iter().map(|index| values.get(*index).copied().unwrap_or(f64::NAN)).sum::<f64>() / 2.0
}

fn each(values: &[f64], unit: f64) -> String {
    values.iter().map(|value| format!("{:.0}", value / unit)).collect::<Vec<_>>().join(" ")
}

fn report(what: &str, values: &mut [f64]) {
    let middle = median(values);
    let all: Vec<_> = values.iter().map(|value| format!("{value:.3}")).collect();
    say(&format!("{what:<52} median {middle:.3} s   {}", all.join(" ")));
}

#[expect(clippy::cast_precision_loss, reason = "megabytes of a process fit")]
fn mega(octets: u64) -> f64 {
    octets as f64 / 1e6
}

fn say(line: &str) {
    // A closed output is nobody's loss.
    let _ = writeln!(std::io::stdout(), "{line}");
}
