//! The device's configuration against strongSwan and BIRD on both ends: the gateway's side is configured by hand, so that these tests know
//! nothing of our own IKE, ESP and BGP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use causeway_device::{DeviceInput, Names, render};
use causeway_lab::{Lab, Running, addresses, eventually};
use causeway_model::desired::{PolicyDesired, Timers, TunnelDesired};
use causeway_model::id::{ConnectionId, CustomerGatewayId, OrganizationId, ProjectId, SecretId, VpnGatewayId};
use causeway_model::resource::{BgpSession, Connection, InitiationPolicy, Meta, Tunnels};
use causeway_model::suite::{Cipher, DhGroup, Encryption, Integrity};
use causeway_model::time::Timestamp;

/// `the key of the test` in base64.
const KEY: &str = "dGhlIGtleSBvZiB0aGUgdGVzdA==";
const GATEWAY: [&str; 2] = ["192.0.2.1", "2001:db8:0:1::1"];
const VPC: [&str; 2] = ["172.16.0.0/22", "fd5f:519c:6d46::/64"];
const VPC_HOST: [&str; 2] = ["172.16.0.9", "fd5f:519c:6d46::9"];
const PATIENCE: Duration = Duration::from_secs(20);

fn input(initiation_policy: InitiationPolicy) -> Result<DeviceInput> {
    let session = |ours: &str, theirs: &str| -> Result<BgpSession> {
        Ok(BgpSession { private_ip: ours.parse()?, peer_private_ip: theirs.parse()?, routing_policy_id: None })
    };
    let policy = |family: usize| -> Result<PolicyDesired> {
        Ok(PolicyDesired {
            prefix_filter_in: vec![addresses::SITE_PREFIXES[family].parse()?],
            prefix_filter_out: vec![VPC[family].parse()?],
        })
    };
    Ok(DeviceInput {
        connection: Connection {
            id: ConnectionId::random(),
            meta: Meta {
                organization_id: OrganizationId::random(),
                project_id: ProjectId::random(),
                region: "fr-par".to_owned(),
                name: "stand-in".to_owned(),
                tags: Vec::new(),
                created_at: Timestamp(0),
                updated_at: Timestamp(0),
            },
            vpn_gateway_id: VpnGatewayId::random(),
            customer_gateway_id: CustomerGatewayId::random(),
            tunnels: Tunnels::Ipv4,
            initiation_policy,
            ikev2_ciphers: Vec::new(),
            esp_ciphers: Vec::new(),
            secret_id: SecretId::random(),
            secret_revision: 1,
            owns_secret: true,
            bgp_ipv4: Some(session("169.254.0.1/30", "169.254.0.2/30")?),
            bgp_ipv6: Some(session("fd00:c0de::1/126", "fd00:c0de::2/126")?),
            route_propagation_enabled: true,
            peer_identity: None,
            locked: false,
        },
        tunnels: vec![TunnelDesired { local: GATEWAY[0].parse()?, peer: addresses::SITE[0].parse()? }],
        provider_asn: addresses::PROVIDER_ASN,
        customer_asn: addresses::SITE_ASN,
        peer_identity: None,
        policy_v4: Some(policy(0)?),
        policy_v6: Some(policy(1)?),
        vpc_subnets: vec![VPC[0].parse()?, VPC[1].parse()?],
        timers: Timers::default(),
        md5: None,
        gtsm: false,
        generated_for: Names::default(),
    })
}

/// The gateway's side, by hand.
struct StandIn {
    folder: PathBuf,
    charon: Running,
    bird: Running,
}

impl StandIn {
    async fn start(lab: &Lab, tunnels: &[(&str, &str, &str)], ike: &str, esp: &str) -> Result<Self> {
        let folder = lab.folder().join("stand-in");
        let daemon = format!(
            "charon-systemd {{\n load_modular = no\n load = random nonce openssl hmac kdf ccm chapoly kernel-libipsec \
             kernel-netlink socket-default vici updown\n install_routes = no\n interfaces_ignore = ipsec0,lo\n \
             routing_table_prio = 40000\n plugins {{\n vici {{\n socket = unix://{folder}/vici\n }}\n }}\n}}\n\
             swanctl {{\n socket = unix://{folder}/vici\n}}\n",
            folder = folder.display()
        );
        let mut connections = String::from("connections {\n");
        for (name, (local, remote, identity)) in ["a", "b"].iter().zip(tunnels) {
            connections.push_str(&format!(
                " {name} {{\n version = 2\n local_addrs = {local}\n remote_addrs = {remote}\n proposals = {ike}\n \
                 local {{\n auth = psk\n id = {local}\n }}\n remote {{\n auth = psk\n id = \"{identity}\"\n }}\n \
                 children {{\n {name} {{\n local_ts = 0.0.0.0/0,::/0\n remote_ts = 0.0.0.0/0,::/0\n esp_proposals = {esp}\n }}\n }}\n }}\n"
            ));
        }
        connections.push_str(&format!("}}\nsecrets {{\n ike-x {{\n secret = 0s{KEY}\n }}\n}}\n"));
        let bird = format!(
            "log stderr all;\nrouter id 1.1.1.1;\nprotocol device {{}}\n\
             protocol static s4 {{ ipv4; route {v4} unreachable; route 9.9.9.0/24 unreachable; }}\n\
             protocol static s6 {{ ipv6; route {v6} unreachable; }}\n\
             protocol kernel {{ ipv4 {{ export where source = RTS_BGP; }}; }}\n\
             protocol kernel {{ ipv6 {{ export where source = RTS_BGP; }}; }}\n\
             protocol bgp b4 {{ local 169.254.0.1 as 12876; neighbor 169.254.0.2 as 65001; connect delay time 1; \
             ipv4 {{ import all; export all; }}; }}\n\
             protocol bgp b6 {{ local fd00:c0de::1 as 12876; neighbor fd00:c0de::2 as 65001; connect delay time 1; \
             ipv6 {{ import all; export all; }}; }}\n",
            v4 = VPC[0],
            v6 = VPC[1]
        );
        std::fs::create_dir_all(folder.join("swanctl"))?;
        std::fs::write(folder.join("strongswan.conf"), daemon)?;
        std::fs::write(folder.join("swanctl/swanctl.conf"), connections)?;
        std::fs::write(folder.join("bird.conf"), bird)?;
        let node = &lab.node;
        for family in 0..2 {
            let (length, nodad) = [("24", ""), ("64", "nodad")][family];
            node.shell(&format!("ip addr add {}/{length} dev up0 {nodad}", GATEWAY[family])).await?;
            node.shell(&format!("ip addr add {} dev lo {nodad}", VPC_HOST[family])).await?;
        }
        let path = folder.join("strongswan.conf").display().to_string();
        let environment = [("STRONGSWAN_CONF", path.as_str())];
        let charon = node.start("/usr/sbin/charon-systemd", &[], &environment, &folder.join("charon.stderr"))?;
        let stand_in = Self {
            charon,
            bird: node.start(
                "bird",
                &[
                    "-f",
                    "-c",
                    &folder.join("bird.conf").display().to_string(),
                    "-s",
                    &folder.join("bird.ctl").display().to_string(),
                ],
                &[],
                &folder.join("bird.log"),
            )?,
            folder,
        };
        eventually("the stand-in answers", PATIENCE, || stand_in.swanctl(lab, "--load-all --noprompt")).await?;
        node.shell("ip addr add 169.254.0.1/30 dev ipsec0; ip addr add fd00:c0de::1/126 dev ipsec0 nodad").await?;
        Ok(stand_in)
    }

    async fn swanctl(&self, lab: &Lab, arguments: &str) -> Result<String> {
        let folder = self.folder.display();
        lab.node
            .shell(&format!(
                "STRONGSWAN_CONF={folder}/strongswan.conf SWANCTL_DIR={folder}/swanctl swanctl {arguments}"
            ))
            .await
    }

    async fn stop(self) {
        self.charon.terminate(Duration::from_secs(5)).await;
        self.bird.terminate(Duration::from_secs(2)).await;
    }
}

async fn lab(id: &str) -> Result<Lab> {
    Lab::start(Some(id), Path::new("/bin/false")).await
}

async fn traffic_and_filters(lab: &Lab) -> Result<()> {
    lab.device.tunnel_up(PATIENCE).await?;
    lab.device.sessions_up(PATIENCE).await?;
    for target in VPC_HOST {
        eventually("ping through the tunnel", PATIENCE, || lab.office.ping(target, None, 0.5)).await?;
    }
    for (family, target) in addresses::OFFICE.into_iter().enumerate() {
        eventually("ping back", PATIENCE, || lab.node.ping(target, Some(VPC_HOST[family]), 0.5)).await?;
    }
    eventually("what the policy does not announce is refused", PATIENCE, || async {
        let filtered = lab.device.birdc(&["show", "route", "filtered"]).await?;
        ensure!(filtered.contains("9.9.9.0/24"), "{filtered}");
        let routes = lab.site.shell("ip route show; ip -6 route show").await?;
        ensure!(VPC.iter().all(|net| routes.contains(net)) && !routes.contains("9.9.9.0"), "{routes}");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn the_device_starts_one_tunnel() -> Result<()> {
    let mut lab = lab("devst").await?;
    let outcome = async {
        let stand_in = StandIn::start(
            &lab,
            &[(GATEWAY[0], addresses::SITE[0], addresses::SITE[0])],
            "aes256gcm16-prfsha384-curve25519",
            "aes256gcm16-curve25519",
        )
        .await?;
        let text = render("strongswan-libipsec-bird", &input(InitiationPolicy::CustomerGateway)?)?;
        lab.device.install(&text, KEY, &addresses::SITE_PREFIXES).await?;
        lab.device.start().await?;
        traffic_and_filters(&lab).await?;
        // The gateway goes away in order and comes back; the device has to return by itself.
        stand_in.swanctl(&lab, "--terminate --ike a").await?;
        traffic_and_filters(&lab).await?;
        stand_in.stop().await;
        Ok(())
    }
    .await;
    finish(lab, outcome).await
}

#[tokio::test]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn the_gateway_starts_two_tunnels_to_a_device_with_a_name() -> Result<()> {
    let mut lab = lab("devtwo").await?;
    let outcome = async {
        let name = "office.example.com";
        let tunnels = [(GATEWAY[0], addresses::SITE[0], name), (GATEWAY[1], addresses::SITE[1], name)];
        let stand_in = StandIn::start(&lab, &tunnels, "aes256-sha256-modp2048", "chacha20poly1305").await?;
        let mut input = input(InitiationPolicy::VpnGateway)?;
        input.connection.tunnels = Tunnels::Both;
        input.tunnels.push(TunnelDesired { local: GATEWAY[1].parse()?, peer: addresses::SITE[1].parse()? });
        input.peer_identity = Some(name.to_owned());
        let cbc = |integrity, dh_group| Cipher { encryption: Encryption::Aes256, integrity, dh_group };
        input.connection.ikev2_ciphers =
            vec![Cipher::DEFAULT_IKE, cbc(Some(Integrity::Sha256), Some(DhGroup::Modp2048))];
        input.connection.esp_ciphers =
            vec![cbc(None, None), Cipher { encryption: Encryption::ChaCha20Poly1305, integrity: None, dh_group: None }];
        let text = render("strongswan-libipsec-bird", &input)?;
        lab.device.install(&text, KEY, &addresses::SITE_PREFIXES).await?;
        lab.device.start().await?;
        ensure!(!lab.device.swanctl(&["--list-sas"]).await?.contains("INSTALLED"), "the device does not start");
        for name in ["a", "b"] {
            stand_in.swanctl(&lab, &format!("--initiate --child {name} --timeout 10")).await?;
        }
        traffic_and_filters(&lab).await?;
        let list = lab.device.swanctl(&["--list-sas"]).await?;
        ensure!(list.matches("INSTALLED").count() == 2, "{list}");
        stand_in.stop().await;
        Ok(())
    }
    .await;
    finish(lab, outcome).await
}

async fn finish(lab: Lab, outcome: Result<()>) -> Result<()> {
    let folder = lab.folder().to_owned();
    let outcome = lab.finish(outcome).await;
    ensure!(!folder.exists(), "the lab's files are gone");
    outcome
}
