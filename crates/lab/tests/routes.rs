//! A VPC's routes and access lists on real traffic: as the official Go SDK lists the routes while a tunnel is up, without propagation, with
//! custom routes, and under lists that drop.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Daemon, NewConnection, Scene, addresses, eventually, eventually_every};
use hyper::Method;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
/// A network behind the Private Network's host.
const BEHIND: &str = "172.20.0.0/16";
const BEHIND_HOST: &str = "172.20.0.1";

causeway_lab::with_both! {
    learned_and_custom_routes_are_listed_followed_and_gone "routes" "roufrr";
}

fn text<'a>(document: &'a Value, pointer: &str) -> Result<&'a str> {
    document.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer} in {document}"))
}

/// Type, destination, type of the next hop, its id, its address.
type Listed = [String; 5];

/// Lists routes with the official Go SDK.
struct Sdk(PathBuf);

impl Sdk {
    /// Builds the program.
    fn build() -> Result<Self> {
        let place = match std::env::var_os("SDK_GO") {
            Some(place) => PathBuf::from(place),
            None => std::env::current_exe()?.ancestors().nth(3).context("a target directory")?.join("sdk-go"),
        };
        let suite = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/sdk/go/run");
        let output = Command::new(suite).arg("fetch").env("SDK_GO", &place).output()?;
        ensure!(output.status.success(), "tests/sdk/go/run fetch: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self(place.join("routes")))
    }

    async fn list(&self, scene: &Scene) -> Result<Vec<Listed>> {
        let (data, program) = (scene.lab.service.data().display(), self.0.display());
        let output = scene.lab.node.shell(&format!(". {data}/operator.env; {program} {}", scene.site.vpc)).await?;
        let line = |line: &str| -> Result<Listed> {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            words.try_into().map_err(|words| anyhow::anyhow!("not five words: {words:?}"))
        };
        output.lines().map(line).collect()
    }
}

/// As the API says it.
async fn listed(scene: &Scene) -> Result<Vec<Listed>> {
    let path = format!("{}/routes-with-nexthop?page_size=100&vpc_id={}", scene.api.prefix("vpc/v2"), scene.site.vpc);
    let answer = scene.api.must(Method::GET, &path, None).await?;
    let routes = answer.get("routes").and_then(Value::as_array).context("no routes")?;
    let word = |route: &Value, pointer: &str| route.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
    let pointers =
        ["/route/type", "/route/destination", "/nexthop_resource_type", "/route/nexthop_resource_id", "/nexthop_ip"];
    Ok(routes.iter().map(|route| pointers.map(|pointer| word(route, pointer))).collect())
}

/// The routes, the same by API and SDK.
async fn routes(scene: &Scene, sdk: &Sdk) -> Result<Vec<Listed>> {
    let mut routes = listed(scene).await?;
    routes.sort();
    let mut other = sdk.list(scene).await?;
    other.sort();
    ensure!(routes == other, "the API says {routes:?}, the SDK {other:?}");
    Ok(routes)
}

/// Waits until exactly `prefixes` are there of a type.
async fn only(scene: &Scene, sdk: &Sdk, kind: &str, prefixes: &[&str]) -> Result<Vec<Listed>> {
    eventually(&format!("{prefixes:?} are the {kind} routes"), PATIENCE, || async {
        let all = routes(scene, sdk).await?;
        let found: Vec<Listed> = all.iter().filter(|route| route[0] == kind).cloned().collect();
        let there: Vec<&str> = found.iter().map(|route| route[1].as_str()).collect();
        ensure!(there == prefixes, "{all:?}");
        Ok(found)
    })
    .await
}

async fn stops(scene: &Scene, target: &str) -> Result<()> {
    eventually(&format!("pings to {target} stop"), PATIENCE, || async {
        ensure!(scene.lab.office.ping(target, None, 0.3).await.is_err(), "it still answers");
        Ok(())
    })
    .await
}

async fn answers(scene: &Scene, target: &str) -> Result<()> {
    eventually(&format!("an answer from {target}"), PATIENCE, || scene.lab.office.ping(target, None, 0.5)).await
}

async fn set_list(scene: &Scene, is_ipv6: bool, default: &str, rules: &[Value]) -> Result<Instant> {
    let path = format!("{}/vpcs/{}/acl-rules", scene.api.prefix("vpc/v2"), scene.site.vpc);
    let body = json!({"is_ipv6": is_ipv6, "default_policy": default, "rules": rules});
    scene.api.must(Method::PUT, &path, Some(&body)).await?;
    Ok(Instant::now())
}

fn rule(protocol: &str, source: &str, destination: &str, action: &str) -> Value {
    json!({
        "protocol": protocol, "source": source, "src_port_low": 0, "src_port_high": 0, "destination": destination,
        "dst_port_low": 0, "dst_port_high": 0, "action": action, "description": null,
    })
}

/// Packets that the IPv4 list's rules and its default have counted.
async fn counted(scene: &Scene) -> Result<(Vec<u64>, u64)> {
    let path = format!("{}/vpcs/{}/state", scene.api.prefix("causeway/v1"), scene.site.vpc);
    let state = scene.api.must(Method::GET, &path, None).await?;
    let packets = |value: &Value| value.get("packets").and_then(Value::as_u64).unwrap_or(0);
    let rules = state.pointer("/acl_ipv4/rules").and_then(Value::as_array).context("no rules")?;
    let default = state.pointer("/acl_ipv4/default").context("no default")?;
    Ok((rules.iter().map(packets).collect(), packets(default)))
}

/// Waits until the device has exactly these prefixes from the gateway.
async fn device_has(scene: &Scene, prefixes: &[&str]) -> Result<()> {
    let mut wanted = prefixes.to_vec();
    wanted.sort_unstable();
    eventually(&format!("{wanted:?} on the device"), PATIENCE, || async {
        let routes = scene.lab.device.routes().await?;
        ensure!(routes == wanted, "{routes:?}");
        Ok(())
    })
    .await
}

async fn learned_and_custom_routes_are_listed_followed_and_gone(daemon: Daemon, name: &str) -> Result<()> {
    let sdk = &Sdk::build()?;
    Scene::play(name, async |scene| {
        scene.lab.device.speak_with(daemon).await;
        // The device's filters mirror the policy as it is when its configuration is made.
        let policy = format!("{}/routing-policies/{}", scene.api.prefix("s2s-vpn/v1alpha1"), scene.site.policies[0]);
        let out = json!({"prefix_filter_out": [scene.site.subnets[0], BEHIND]});
        scene.api.must(Method::PATCH, &policy, Some(&out)).await?;
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        let mut subnets: Vec<&str> = scene.site.subnets.iter().map(String::as_str).collect();
        subnets.sort_unstable();
        only(scene, sdk, "subnet", &subnets).await?;
        device_has(scene, &subnets).await?;
        let learned = only(scene, sdk, "s2s_vpn", &addresses::SITE_PREFIXES).await?;
        for route in &learned {
            ensure!(route[2] == "vpn_gateway" && route[3] == scene.site.gateway, "{route:?}");
        }

        // Without propagation they vanish, and traffic stops; the session stays.
        scene.api.set_propagation(&id, false).await?;
        only(scene, sdk, "s2s_vpn", &[]).await?;
        for host in scene.lab.host_addresses() {
            stops(scene, host).await?;
        }
        scene.no_pings().await?;
        scene.lab.device.sessions_up(PATIENCE).await?;
        device_has(scene, &[]).await?;
        scene.api.set_propagation(&id, true).await?;
        only(scene, sdk, "s2s_vpn", &addresses::SITE_PREFIXES).await?;
        scene.pings().await?;

        // A network behind a host of the Private Network: booked as a resource, routed to, announced as far as the policy lets it.
        let host = scene.lab.host_addresses().first().context("the host is not attached")?.clone();
        scene.lab.host.shell(&format!("ip address add {BEHIND_HOST}/32 dev lo")).await?;
        let body = json!({
            "source": {"private_network_id": scene.site.network}, "is_ipv6": false, "address": host,
            "resource": {"mac_address": "02:00:00:00:00:09", "name": "a router"}, "tags": [],
        });
        let booked = scene.api.create("ipam/v1", "ips", &body).await?;
        let resource = text(&booked, "/resource/id")?;
        let options = format!("{}/vpcs/{}/options", scene.api.prefix("causeway/v1"), scene.site.vpc);
        let announce = json!({"custom_routes_propagation_enabled": true});
        scene.api.must(Method::PATCH, &options, Some(&announce)).await?;
        ensure!(scene.lab.office.ping(BEHIND_HOST, None, 0.5).await.is_err(), "there is no route yet");
        let body = json!({
            "description": "", "tags": [], "vpc_id": scene.site.vpc, "destination": BEHIND,
            "nexthop_resource_id": resource,
        });
        let route = scene.api.create("vpc/v2", "routes", &body).await?;
        let custom = only(scene, sdk, "custom", &[BEHIND]).await?;
        ensure!(custom[0][4] == host, "{custom:?}");
        answers(scene, BEHIND_HOST).await?;
        device_has(scene, &[subnets.as_slice(), &[BEHIND]].concat()).await?;
        // What a gateway learns is not the tenant's to route.
        let body = json!({
            "description": "", "tags": [], "vpc_id": scene.site.vpc, "destination": "172.21.0.0/16",
            "nexthop_resource_id": scene.site.gateway,
        });
        let path = format!("{}/routes", scene.api.prefix("vpc/v2"));
        let answer = scene.api.call(Method::POST, &path, Some(&body)).await?;
        ensure!(answer.status == 400, "{} {}", answer.status, answer.text);
        scene.api.delete("vpc/v2", &format!("routes/{}", text(&route, "/id")?)).await?;
        only(scene, sdk, "custom", &[]).await?;
        stops(scene, BEHIND_HOST).await?;
        scene.pings().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
#[expect(clippy::print_stdout, reason = "the figure that docs/measurements.md names")]
async fn access_lists_rule_traffic_within_a_moment_and_count_it() -> Result<()> {
    Scene::play("acls", async |scene| {
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        let host = scene.lab.host_addresses().first().context("the host is not attached")?.clone();
        let host_v6 = scene.lab.host_addresses().get(1).context("no IPv6")?.clone();
        let (site, network) = (addresses::SITE_PREFIXES[0], scene.site.subnets[0].clone());

        // Denied by a rule, under pings that go on all the time; IPv6 has a list of its own.
        let deny = rule("icmp", site, &network, "drop");
        let called = set_list(scene, false, "accept", std::slice::from_ref(&deny)).await?;
        let took = eventually_every(Duration::from_millis(5), "the rule is in force", PATIENCE, || async {
            let sent = called.elapsed();
            ensure!(scene.lab.office.ping(&host, None, 0.05).await.is_err(), "it still answers");
            ensure!(scene.lab.office.ping(&host, None, 0.3).await.is_err(), "it answered late");
            Ok(sent)
        })
        .await?;
        println!("in force at most {} ms after the call's answer", took.as_millis());
        answers(scene, &host_v6).await?;
        let before = eventually("the rule counts", PATIENCE, || async {
            ensure!(scene.lab.office.ping(&host, None, 0.05).await.is_err(), "it answers again");
            let (rules, _) = counted(scene).await?;
            ensure!(rules.len() == 1 && rules[0] > 0, "{rules:?}");
            Ok(rules[0])
        })
        .await?;

        // The same rule behind another keeps its count; what the new one accepts passes again.
        let (there, back) = (rule("any", site, &network, "accept"), rule("any", &network, site, "accept"));
        set_list(scene, false, "drop", &[there, back, deny]).await?;
        answers(scene, &host).await?;
        eventually("the new rules count, and the old one has kept its count", PATIENCE, || async {
            let (rules, _) = counted(scene).await?;
            ensure!(rules.len() == 3 && rules[0] > 0 && rules[1] > 0 && rules[2] >= before, "{rules:?}");
            Ok(())
        })
        .await?;

        // What no rule names is dropped and counted, and passes again without the list.
        set_list(scene, false, "drop", &[rule("tcp", site, &network, "accept")]).await?;
        stops(scene, &host).await?;
        eventually("the default counts", PATIENCE, || async {
            ensure!(scene.lab.office.ping(&host, None, 0.05).await.is_err(), "it answers again");
            let (_, default) = counted(scene).await?;
            ensure!(default > 0, "nothing");
            Ok(())
        })
        .await?;
        set_list(scene, false, "accept", &[]).await?;
        scene.pings().await
    })
    .await
}
