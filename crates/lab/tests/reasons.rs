//! Each reason that a real device can cause, caused: strongSwan, and BIRD or FRR, misconfigured in one way after another (`docs/reasons.md` lists
//! them). What is told has both sides' values where the wire shows them, the catalogue's remedy, and the root before what follows from it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use causeway_lab::{Daemon, NewConnection, Said, Scene, Site, addresses, eventually, summary};
use causeway_model::reason::{Layer, ReasonCode};
use hyper::Method;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(180);
/// `another key than the right one` in base64.
const WRONG_KEY: &str = "YW5vdGhlciBrZXkgdGhhbiB0aGUgcmlnaHQgb25l";
const DEVICE: &str = "customer_gateway";
const GATEWAY: &str = "vpn_gateway";
/// An address that nobody has.
const NOBODY: &str = "203.0.113.99";

causeway_lab::with_both! {
    causes_of_bgp "rsnbgp" "rsnfrr";
}

/// What happens to the device once the connection is active.
#[derive(Clone, Copy)]
enum Then {
    /// Commands are run on it, where `TUNNEL` is the tunnel's name.
    Run(&'static str),
    /// It dies.
    Kill,
    /// What speaks BGP on it dies.
    KillRouter,
    /// It shuts the IPv4 session down with these words.
    Shut(&'static str),
    /// It does not know the IPv4 neighbour any more.
    Forget,
    /// It announces one more prefix.
    Announce(&'static str),
}

/// One way to be wrong.
struct Case {
    what: &'static str,
    /// What speaks BGP on a device that can be wrong in this way; `None`: all do.
    only: Option<Daemon>,
    /// The reason; where several words describe the same silence, those.
    codes: &'static [ReasonCode],
    status: &'static str,
    /// Who starts the tunnel.
    initiation: &'static str,
    /// Options of the connection; `SECRET` is the id of a secret.
    options: Option<&'static str>,
    /// What is done to the device's configuration.
    change: fn(String) -> String,
    key: Option<&'static str>,
    /// Packets that the Internet loses, as nft says it.
    lost: &'static [&'static str],
    /// Where the customer gateway says that the device is, if not there.
    place: Option<&'static str>,
    then: Option<Then>,
    ours: Option<&'static str>,
    theirs: Option<&'static str>,
    evidence: Option<(&'static str, &'static str)>,
}

const fn case(what: &'static str, codes: &'static [ReasonCode], status: &'static str) -> Case {
    Case {
        what,
        only: None,
        codes,
        status,
        initiation: DEVICE,
        options: None,
        change: |text| text,
        key: None,
        lost: &[],
        place: None,
        then: None,
        ours: None,
        theirs: None,
        evidence: None,
    }
}

/// The text with every line that starts with `start` replaced by `line`.
fn replaced(text: &str, start: &str, line: &str) -> String {
    let lines: Vec<_> = text.lines().map(|old| if old.trim_start().starts_with(start) { line } else { old }).collect();
    lines.join("\n") + "\n"
}

/// With our inside IPv4 address and the device's exchanged.
fn swapped(text: &str) -> String {
    let after = |start: &str| {
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(start));
        line.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default().to_owned()
    };
    let (own, neighbor) = (after("local 169"), after("neighbor 169"));
    let (own, neighbor) = (format!("169{own}"), format!("169{neighbor}"));
    let mut text = text.to_owned();
    for end in ["/30", " as ", ";"] {
        let exchange = [(&own, "@one@"), (&neighbor, "@two@")];
        for (address, token) in exchange {
            text = text.replace(&format!("{address}{end}"), &format!("{token}{end}"));
        }
    }
    text.replace("@one@", &neighbor).replace("@two@", &own)
}

/// The IPv4 session's channel of the wrong family.
fn other_family(text: &str) -> String {
    let Some((before, session)) = text.split_once("protocol bgp gateway_ipv4 {") else { return text.to_owned() };
    let Some((options, rest)) = session.split_once("\n  ipv4 {") else { return text.to_owned() };
    let Some((_, after)) = rest.split_once("\n  };") else { return text.to_owned() };
    format!("{before}protocol bgp gateway_ipv4 {{{options}\n  ipv6 {{ import none; export none; }};{after}")
}

/// Transport mode, which is between the two public addresses.
fn host_to_host(text: &str) -> String {
    let local = replaced(text, "local_ts = ", "        local_ts = dynamic");
    replaced(&local, "remote_ts = ", "        remote_ts = dynamic\n        mode = transport")
}

fn plural(document: &Value, pointer: &str) -> Vec<Value> {
    document.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn text<'a>(document: &'a Value, pointer: &str) -> Option<&'a str> {
    document.pointer(pointer).and_then(Value::as_str)
}

/// Whether a reason is the case's, with both values and the catalogue's remedy.
fn told(case: &Case, reason: &Value) -> Result<ReasonCode> {
    let code = case.codes.iter().find(|code| text(reason, "/code") == Some(code.as_str()));
    let code = *code.with_context(|| format!("another code: {reason}"))?;
    ensure!(text(reason, "/remedy") == Some(code.remedy()), "another remedy: {reason}");
    let turn = serde_json::to_value(code.turn())?;
    ensure!(reason.get("turn") == Some(&turn), "another turn: {reason}");
    let wanted = [case.ours.map(|value| ("ours", value)), case.theirs.map(|value| ("theirs", value)), case.evidence];
    for (key, value) in wanted.into_iter().flatten() {
        let shown = reason.get("evidence").and_then(|evidence| evidence.get(key)).and_then(Value::as_str);
        ensure!(shown.is_some_and(|shown| shown.contains(value)), "no {key} with {value}: {reason}");
    }
    for value in [case.ours, case.theirs].into_iter().flatten() {
        ensure!(
            text(reason, "/message").is_some_and(|message| message.contains(value)),
            "not in the message: {reason}"
        );
    }
    Ok(code)
}

async fn events(scene: &Scene, id: &str) -> Result<Vec<Value>> {
    let path = format!("{}/connections/{id}/events?page_size=100", scene.api.prefix("causeway/v1"));
    let mut events = plural(&scene.api.must(Method::GET, &path, None).await?, "/events");
    // The oldest first.
    events.reverse();
    Ok(events)
}

/// Makes everything wrong that is to be wrong, and looks at what is told.
async fn cause(scene: &mut Scene, case: &Case, secret: &str) -> Result<()> {
    let placed = match case.place {
        Some(place) => Some(scene.api.create_customer(addresses::SITE_ASN, place, "2001:db8:0:2::99").await?),
        None => None,
    };
    let customer = placed.clone().unwrap_or_else(|| scene.site.customer.clone());
    let site = Site { customer, ..scene.site.clone() };
    let new = NewConnection { initiation: case.initiation, ..NewConnection::default() };
    let connection = scene.api.create_connection(&site, &new).await?;
    let id = text(&connection, "/id").context("no id")?.to_owned();
    if let Some(options) = case.options {
        scene.api.set_options(&id, &serde_json::from_str(&options.replace("SECRET", secret))?).await?;
    }
    for lost in case.lost {
        let table = "add table inet cut; add chain inet cut forward { type filter hook forward priority 0; }";
        scene.lab.inet.shell(&format!("nft '{table}; add rule inet cut forward {lost} drop'")).await?;
    }
    let mut configuration = scene.api.device_configuration(&id).await?;
    if let Some(place) = case.place {
        configuration = configuration.replace(place, addresses::SITE[0]);
    }
    let right = scene.api.key(&connection).await?;
    let changed = (case.change)(configuration);
    scene.lab.device.install(&changed, case.key.unwrap_or(&right), &addresses::SITE_PREFIXES).await?;
    scene.lab.device.start_daemons().await?;
    scene.lab.device.load().await?;
    let mut before = 0;
    if let Some(then) = case.then {
        scene.api.wait_status("connections", &id, "active", PATIENCE).await?;
        before =
            events(scene, &id).await?.iter().filter_map(|event| event.get("sequence")?.as_u64()).max().unwrap_or(0);
        let device = &mut scene.lab.device;
        match then {
            Then::Run(commands) => {
                let tunnel = format!("causeway-{}-ipv4", id.split('-').next().unwrap_or(&id));
                // What is asked of a device may fail for the very reason that is wanted.
                let _ = scene.lab.site.run("sh", &["-c", &commands.replace("TUNNEL", &tunnel)]).await?;
            }
            Then::Kill => device.kill().await,
            Then::KillRouter => device.kill_router().await,
            Then::Shut(words) => device.shut("gateway_ipv4", words).await?,
            Then::Forget => device.forget("gateway_ipv4").await?,
            Then::Announce(prefix) => device.add_prefix(prefix, Said::Plainly).await?,
        }
    }
    let down = eventually("status and reason", PATIENCE, || async {
        let state = scene.api.state("connections", &id).await?;
        // Before the node's first word a connection waits for its device too, and has no tunnel yet; its
        // sessions are told a moment after its tunnels.
        ensure!(state.get("observed_at").is_some_and(Value::is_string), "the node has said nothing: {state}");
        ensure!(text(&state, "/status") == Some(case.status), "{} {state}", summary(&state));
        let code = told(case, state.get("reason").context("no reason")?)?;
        // The root is on its own layer too, and what follows from it says so.
        let list = if code.layer() == Layer::Bgp { "/bgp_sessions" } else { "/tunnels" };
        let reasons = plural(&state, list);
        let shown = reasons.iter().filter_map(|item| item.get("reason")).any(|reason| told(case, reason).is_ok());
        ensure!(shown || code == ReasonCode::AwaitingDevice, "not in {list}: {state}");
        let down = plural(&state, "/tunnels").iter().all(|tunnel| text(tunnel, "/status") == Some("down"));
        if down {
            let consequences = plural(&state, "/bgp_sessions");
            let follow = consequences.iter().all(|session| text(session, "/reason/code") == Some("tunnel_down"));
            ensure!(follow && !consequences.is_empty(), "sessions without a tunnel: {state}");
        }
        Ok(down)
    })
    .await?;
    remembered(scene, case, &id, before, down).await?;

    scene.lab.heal().await?;
    scene
        .lab
        .site
        .shell("nft 'add table inet hush; delete table inet hush'; rm -f /etc/bird/own-prefixes.d/more*")
        .await?;
    scene.remove(&id).await?;
    if let Some(customer) = placed {
        scene.api.delete("s2s-vpn/v1alpha1", &format!("customer-gateways/{customer}")).await?;
    }
    Ok(())
}

/// The history says the same, the root first: the tunnel, then its sessions, then the connection.
async fn remembered(scene: &Scene, case: &Case, id: &str, before: u64, down: bool) -> Result<()> {
    let history = eventually("the events", PATIENCE, || async {
        let all = events(scene, id).await?;
        let fresh = |event: &Value| event.get("sequence").and_then(Value::as_u64).is_some_and(|at| at > before);
        let fresh: Vec<Value> = all.into_iter().filter(fresh).collect();
        let caused = |event: &Value| event.get("reason").is_some_and(|reason| told(case, reason).is_ok());
        ensure!(case.codes.contains(&ReasonCode::AwaitingDevice) || fresh.iter().any(caused), "not told: {fresh:?}");
        Ok(fresh)
    })
    .await?;
    if !(down && case.then.is_some()) {
        return Ok(());
    }
    let position = |kind: &str, subject: &str| {
        history.iter().position(|event| {
            text(event, "/kind") == Some(kind) && text(event, "/subject").is_some_and(|at| at.ends_with(subject))
        })
    };
    let (tunnel, session, status) =
        (position("tunnel", "down"), position("session", "down"), position("status", "down"));
    ensure!(tunnel.is_some() && tunnel < session && session < status, "the order of {history:?}");
    Ok(())
}

async fn play(name: &str, daemon: Daemon, cases: &[Case]) -> Result<()> {
    Scene::play(name, async |scene| {
        scene.lab.device.speak_with(daemon).await;
        let secret = scene.api.create_secret("cGFzc3dvcmQtb2YtYmdw").await?;
        for case in cases.iter().filter(|case| case.only.is_none_or(|only| only == daemon)) {
            cause(scene, case, &secret)
                .await
                .with_context(|| format!("{}, started by {}", case.what, case.initiation))?;
        }
        Ok(())
    })
    .await
}

const IKE_PROPOSAL: fn(String) -> String =
    |text| replaced(&text, "proposals = ", "    proposals = aes128-sha256-modp3072");
const ESP_PROPOSAL: fn(String) -> String =
    |text| replaced(&text, "esp_proposals = ", "        esp_proposals = aes128-sha256");
const IDENTITY: fn(String) -> String =
    |text| text.replace(&format!("id = \"{}\"", addresses::SITE[0]), "id = \"somebody.example.com\"");

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn causes_of_reaching_the_peer_and_of_ike() -> Result<()> {
    use ReasonCode as R;
    let ready = "ready";
    play(
        "rsnike",
        Daemon::Bird,
        &[
            Case { key: Some(WRONG_KEY), ..case("wrong key", &[R::AuthenticationFailed], ready) },
            Case { key: Some(WRONG_KEY), initiation: GATEWAY, ..case("wrong key", &[R::AuthenticationFailed], ready) },
            Case { key: Some(""), initiation: GATEWAY, ..case("no key", &[R::AuthenticationFailed], ready) },
            Case { key: Some(""), ..case("no key", &[R::PeerSilentAfterInit], ready) },
            Case {
                change: IDENTITY,
                ours: Some("203.0.113.10"),
                theirs: Some("somebody.example.com"),
                ..case("wrong identity", &[R::IdentityMismatch], ready)
            },
            Case {
                change: IDENTITY,
                initiation: GATEWAY,
                ours: Some("203.0.113.10"),
                theirs: Some("somebody.example.com"),
                ..case("wrong identity", &[R::IdentityMismatch], ready)
            },
            Case {
                change: IKE_PROPOSAL,
                ours: Some("aes256gcm-sha384-curve25519"),
                theirs: Some("aes128-sha256-prfsha256-modp3072"),
                ..case("no common IKE proposal", &[R::NoProposalChosen], ready)
            },
            Case {
                change: IKE_PROPOSAL,
                initiation: GATEWAY,
                ours: Some("aes256gcm-sha384-curve25519"),
                ..case("no common IKE proposal", &[R::NoProposalChosen], ready)
            },
            Case {
                change: |text| replaced(&text, "version = 2", "    version = 1"),
                ours: Some("IKEv2"),
                theirs: Some("IKEv1"),
                ..case("another IKE version", &[R::IkeVersion], ready)
            },
            Case {
                lost: &["udp dport 500", "udp sport 500"],
                ..case("UDP 500 is blocked", &[R::AwaitingDevice], ready)
            },
            Case {
                lost: &["udp dport 500", "udp sport 500"],
                initiation: GATEWAY,
                ..case("UDP 500 is blocked", &[R::PeerSilent], ready)
            },
            Case {
                lost: &["udp dport 4500", "udp sport 4500"],
                ..case("UDP 4500 is blocked", &[R::PeerSilentAfterInit], ready)
            },
            Case {
                lost: &["udp dport 4500", "udp sport 4500"],
                initiation: GATEWAY,
                ..case("UDP 4500 is blocked", &[R::PeerSilentAfterInit], ready)
            },
            Case {
                place: Some(NOBODY),
                ours: Some(NOBODY),
                theirs: Some("203.0.113.10"),
                ..case("the device is elsewhere", &[R::UnknownSource], ready)
            },
            Case {
                place: Some(NOBODY),
                initiation: GATEWAY,
                ..case("nobody has the device's address", &[R::PeerUnreachable], ready)
            },
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn causes_of_the_child_sa_and_of_the_tunnels_life() -> Result<()> {
    use ReasonCode as R;
    let stays_down = |text: String| replaced(&text, "close_action = ", "        close_action = none");
    play(
        "rsnchd",
        Daemon::Bird,
        &[
            Case {
                change: ESP_PROPOSAL,
                ours: Some("aes256gcm-curve25519"),
                theirs: Some("aes128-sha256"),
                ..case("no common ESP proposal", &[R::ChildNoProposalChosen], "ready")
            },
            Case {
                change: ESP_PROPOSAL,
                initiation: GATEWAY,
                ours: Some("aes256gcm-curve25519"),
                ..case("no common ESP proposal", &[R::ChildNoProposalChosen], "ready")
            },
            Case {
                change: |text| replaced(&text, "esp_proposals = ", "        esp_proposals = aes256gcm16-ecp256"),
                then: Some(Then::Run("swanctl --rekey --child TUNNEL")),
                ours: Some("aes256gcm-curve25519"),
                theirs: Some("aes256gcm-ecp256"),
                ..case("another PFS group", &[R::PfsMismatch], "active")
            },
            Case {
                change: |text| replaced(&text, "local_ts = ", "        local_ts = 10.20.0.0/24"),
                ours: Some("0.0.0.0/0"),
                theirs: Some("10.20.0.0"),
                ..case("traffic selectors of a policy-based tunnel", &[R::TsUnacceptable], "ready")
            },
            Case {
                change: |text| {
                    let text = replaced(&text, "local_ts = ", "        local_ts = 0.0.0.0/0");
                    replaced(&text, "remote_ts = ", "        remote_ts = 0.0.0.0/0")
                },
                ours: Some("::/0"),
                theirs: Some("0.0.0.0/0"),
                evidence: Some(("not_carried", "IPv6")),
                ..case("traffic selectors of one family", &[R::TsNarrowed], "limited_connectivity")
            },
            Case { then: Some(Then::Kill), ..case("the device dies", &[R::DpdTimeout], "down") },
            Case {
                change: stays_down,
                then: Some(Then::Run("swanctl --terminate --ike TUNNEL")),
                ..case("the device ends the IKE SA", &[R::PeerDeletedSa], "down")
            },
            Case {
                change: stays_down,
                then: Some(Then::Run("swanctl --terminate --child TUNNEL")),
                ..case("the device ends the Child SA", &[R::PeerDeletedChild], "down")
            },
        ],
    )
    .await
}

/// What a session says of a peer that drops its segments depends on who connected first.
const SILENCE: &[ReasonCode] = &[
    ReasonCode::BgpTimeout,
    ReasonCode::BgpConnecting,
    ReasonCode::BgpConnectionLost,
    ReasonCode::BgpHoldTimerExpired,
];

/// Segments of BGP are lost on the device, in both directions.
const HUSH: &str = "nft 'add table inet hush; add chain inet hush in { type filter hook input priority 0; }; \
    add chain inet hush out { type filter hook output priority 0; }; \
    add rule inet hush in tcp sport 179 drop; add rule inet hush in tcp dport 179 drop; \
    add rule inet hush out tcp sport 179 drop; add rule inet hush out tcp dport 179 drop'";

async fn causes_of_bgp(daemon: Daemon, name: &str) -> Result<()> {
    use ReasonCode as R;
    play(
        name,
        daemon,
        &[
            Case {
                change: |text| text.replace("as 65001;", "as 65002;"),
                ours: Some("65001"),
                theirs: Some("65002"),
                ..case("the device's AS number is wrong", &[R::BgpAsnMismatch], "down")
            },
            Case {
                change: |text| text.replace("as 12876;", "as 12877;"),
                ours: Some("12876"),
                ..case("the device expects another AS number of ours", &[R::BgpAsnMismatch], "down")
            },
            Case {
                only: Some(Daemon::Bird),
                change: |text| text.replace("{\n  description", "{\n  disabled;\n  description"),
                ..case("BGP is off on the device", &[R::TcpRefused], "down")
            },
            Case {
                only: Some(Daemon::Frr),
                change: |text| text.replace("{\n  description", "{\n  disabled;\n  description"),
                evidence: Some(("cause", "closed by the peer")),
                ..case(
                    "BGP is off on the device, which takes connections and closes them",
                    &[R::BgpConnectionLost],
                    "down",
                )
            },
            Case {
                then: Some(Then::KillRouter),
                ..case("what speaks BGP on the device dies", &[R::TcpRefused], "down")
            },
            Case {
                change: |text| replaced(&text, "ip addr replace", ":"),
                ..case("the device has no inside addresses", &[R::BgpTimeout], "down")
            },
            Case {
                change: |text| swapped(&text),
                ..case("the inside addresses are swapped", &[R::BgpAddressesSwapped], "limited_connectivity")
            },
            Case {
                change: |text| other_family(&text),
                ours: Some("IPv4"),
                theirs: Some("IPv6"),
                ..case("no common address family", &[R::BgpNoCommonFamily], "limited_connectivity")
            },
            Case {
                options: Some(r#"{"bgp":{"md5_secret_id":"SECRET"}}"#),
                change: |text| replaced(&text, "include \"/etc/bird/causeway", "  password \"another\";"),
                evidence: Some(("cause", "another MD5 password")),
                ..case("another MD5 password", SILENCE, "down")
            },
            Case {
                options: Some(r#"{"bgp":{"md5_secret_id":"SECRET"}}"#),
                change: |text| replaced(&text, "include \"/etc/bird/causeway", ""),
                evidence: Some(("cause", "does not sign")),
                ..case("no MD5 password", SILENCE, "down")
            },
            Case {
                options: Some(r#"{"bgp":{"gtsm":true}}"#),
                change: |text| replaced(&text, "ttl security", ""),
                evidence: Some(("cause", "hop limit 255")),
                ..case("no GTSM", SILENCE, "down")
            },
            Case {
                options: Some(r#"{"bgp":{"hold_time":9}}"#),
                then: Some(Then::Run(HUSH)),
                ..case("the hold timer runs out", &[R::BgpHoldTimerExpired], "down")
            },
            Case {
                then: Some(Then::Shut("maintenance at noon")),
                theirs: Some("maintenance at noon"),
                ..case("the session is shut down with a word", &[R::BgpPeerShutdown], "limited_connectivity")
            },
            Case {
                only: Some(Daemon::Bird),
                options: Some(r#"{"bgp":{"hold_time":9}}"#),
                change: |text| text.replace("hold time 9;", "hold time 60; min hold time 30;"),
                evidence: Some(("notification", "2/6")),
                ..case("the device wants a longer hold time", &[R::BgpHoldTimeRefused], "down")
            },
            Case {
                then: Some(Then::Forget),
                evidence: Some(("notification", "6/3")),
                ..case(
                    "the neighbour is taken out of the device's configuration",
                    &[R::BgpPeerRejected],
                    "limited_connectivity",
                )
            },
            Case {
                only: Some(Daemon::Bird),
                change: |text| {
                    let start = "    export filter to_gateway_ipv4;";
                    text.replace(start, &format!("    import limit 0 action disable;\n{start}"))
                },
                evidence: Some(("rejected_by", "peer")),
                ..case("the device's own prefix limit", &[R::BgpPeerPrefixLimit], "limited_connectivity")
            },
            Case {
                options: Some(r#"{"bgp":{"max_prefixes":1}}"#),
                then: Some(Then::Announce("10.20.0.128/25")),
                ours: Some("1"),
                theirs: Some("2"),
                ..case("more prefixes than allowed", &[R::MaxPrefixesExceeded], "active")
            },
        ],
    )
    .await
}

/// Something on the way cuts every connection of BGP as soon as data flows on it.
const CUT: &str = "nft 'add table inet hush; add chain inet hush in { type filter hook input priority 0; }; \
    add chain inet hush out { type filter hook output priority 0; }; \
    add rule inet hush in tcp sport 179 tcp flags & psh != 0 reject with tcp reset; \
    add rule inet hush in tcp dport 179 tcp flags & psh != 0 reject with tcp reset; \
    add rule inet hush out tcp sport 179 tcp flags & psh != 0 reject with tcp reset; \
    add rule inet hush out tcp dport 179 tcp flags & psh != 0 reject with tcp reset'";

/// One line of strongSwan's or BIRD's configuration, or one rule of a filter between them.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn causes_of_one_line() -> Result<()> {
    use ReasonCode as R;
    play(
        "rsnone",
        Daemon::Bird,
        &[
            Case {
                change: |text| host_to_host(&text),
                ours: Some("0.0.0.0/0,::/0"),
                theirs: Some(addresses::SITE[0]),
                ..case("transport mode", &[R::TransportMode], "ready")
            },
            Case {
                change: |text| replaced(&text, "esp_proposals = ", "        ah_proposals = sha256"),
                ours: Some("aes256gcm-curve25519"),
                ..case("AH", &[R::AhOffered], "ready")
            },
            Case {
                change: |text| {
                    text.replace("{\n  description", "{\n  local role customer; require roles;\n  description")
                },
                theirs: Some("Role Mismatch"),
                evidence: Some(("notification", "2/11")),
                ..case("the device requires a role", &[R::BgpPeerNotification], "down")
            },
            Case {
                then: Some(Then::Run(CUT)),
                evidence: Some(("cause", "closed by the peer")),
                ..case("connections are cut", &[R::BgpConnectionLost], "down")
            },
        ],
    )
    .await
}

/// The answer of the command line.
async fn explain(scene: &Scene, question: &str) -> Result<Value> {
    let command = format!("vpc explain-route {} {question} -o json", scene.site.vpc);
    Ok(serde_json::from_str(&scene.lab.command_line(&command).await?)?)
}

/// Waits until the answer has this verdict and this reason, and says why with this text somewhere.
async fn explained(scene: &Scene, question: &str, verdict: &str, code: Option<ReasonCode>, why: &str) -> Result<()> {
    eventually(&format!("{question}: {verdict}"), PATIENCE, || async {
        let answer = explain(scene, question).await?;
        ensure!(text(&answer, "/verdict") == Some(verdict), "{answer}");
        ensure!(text(&answer, "/reason/code") == code.map(ReasonCode::as_str), "{answer}");
        ensure!(answer.to_string().contains(why), "no `{why}` in {answer}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn causes_on_the_way_of_routes_and_packets() -> Result<()> {
    use ReasonCode as R;
    Scene::play("rsnrou", async |scene| {
        let id = scene.connect(&NewConnection::default(), |text| text.replace("if net ~ [ 10.20.0.0/24+ ] then", ""), None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        let [host, office] = [scene.lab.host_addresses()[0].clone(), addresses::OFFICE[0].to_owned()];
        let out = format!("--source {host} --destination {office} --protocol icmp");
        let back = format!("--source {office} --destination {host} --protocol icmp");
        for way in [&out, &back] {
            explained(scene, way, "delivered", None, "tunnel").await?;
        }

        // An access list, in both directions and for real.
        let list = |rules: Value| json!({"rules": rules, "is_ipv6": false, "default_policy": "accept"});
        let acl = format!("{}/vpcs/{}/acl-rules", scene.api.prefix("vpc/v2"), scene.site.vpc);
        let rule = json!([{
            "action": "drop", "description": "no pings", "protocol": "icmp", "source": "0.0.0.0/0", "destination": "0.0.0.0/0",
            "src_port_low": 0, "src_port_high": 0, "dst_port_low": 0, "dst_port_high": 0,
        }]);
        scene.api.must(Method::PUT, &acl, Some(&list(rule))).await?;
        for way in [&out, &back] {
            explained(scene, way, "dropped", Some(R::AclDenied), "rule 1 of the IPv4 list (no pings)").await?;
        }
        eventually("pings stop", PATIENCE, || async {
            ensure!(scene.lab.office.ping(&host, None, 0.5).await.is_err(), "they pass");
            Ok(())
        })
        .await?;
        scene.api.must(Method::PUT, &acl, Some(&list(json!([])))).await?;
        explained(scene, &out, "delivered", None, "tunnel").await?;
        scene.pings().await?;

        // A custom route takes the host behind the device away from it.
        let holder = json!({
            "source": {"private_network_id": scene.site.network}, "is_ipv6": false,
            "resource": {"mac_address": "bc:24:11:74:d0:5b", "name": "router"},
        });
        let hop = scene.api.create("ipam/v1", "ips", &holder).await?;
        let route = json!({
            "description": "", "vpc_id": scene.site.vpc, "destination": format!("{office}/32"),
            "nexthop_resource_id": hop.get("id"), "tags": [],
        });
        let route = scene.api.create("vpc/v2", "routes", &route).await?;
        let route = text(&route, "/id").context("no id")?.to_owned();
        explained(scene, &format!("--prefix {office}/32"), "routed", None, &route).await?;
        explained(scene, &out, "delivered", None, "custom route").await?;
        scene.api.delete("vpc/v2", &format!("routes/{route}")).await?;
        explained(scene, &out, "delivered", None, "tunnel").await?;

        // What the policy does not list is received and not taken, and no packet may come from there.
        let more = "echo 'route 10.99.0.0/24 unreachable; route 0.0.0.0/0 unreachable;' > /etc/bird/own-prefixes.d/more.ipv4.conf; birdc configure";
        scene.lab.site.shell(more).await?;
        for prefix in ["10.99.0.0/24", "0.0.0.0/0"] {
            explained(scene, &format!("--prefix {prefix}"), "unrouted", Some(R::NoRoute), "not_in_prefix_filter_in").await?;
        }
        explained(scene, &format!("--source 10.99.0.1 --destination {host}"), "dropped", Some(R::SourceNotAllowed), "10.20.0.0/24").await?;
        explained(scene, &format!("--source 169.254.0.2 --destination {host}"), "dropped", Some(R::ForgedSource), "interconnection").await?;
        explained(scene, &format!("--source {office} --destination 10.20.0.77"), "dropped", Some(R::DestinationNotAllowed), "not in this VPC").await?;

        // Nothing is announced.
        scene.lab.site.shell("rm -f /etc/bird/own-prefixes.d/*; birdc configure").await?;
        explained(scene, "--prefix 10.20.0.0/24", "unrouted", Some(R::NoRoute), "the device does not announce it").await?;
        scene.api.wait_status("connections", &id, "active", PATIENCE).await?;

        // Propagation, policies and locks, each before what it hides.
        scene.api.set_propagation(&id, false).await?;
        scene.api.wait_reason(&id, R::PropagationDisabled.as_str(), PATIENCE).await?;
        explained(scene, "--prefix 10.20.0.0/24", "unrouted", Some(R::PropagationDisabled), &id).await?;
        let detach = format!("{}/connections/{id}/detach-routing-policy", scene.api.prefix("s2s-vpn/v1alpha1"));
        for (key, policy) in [("routing_policy_v4", &scene.site.policies[0]), ("routing_policy_v6", &scene.site.policies[1])] {
            scene.api.must(Method::POST, &detach, Some(&json!({key: policy}))).await?;
            let family = if key == "routing_policy_v4" { "ipv4" } else { "ipv6" };
            eventually("the session without a policy", PATIENCE, || async {
                let state = scene.api.state("connections", &id).await?;
                let sessions = plural(&state, "/bgp_sessions");
                let session = sessions.iter().find(|session| text(session, "/family") == Some(family));
                let session = session.context("no session")?;
                ensure!(text(session, "/reason/code") == Some(R::BgpDisabled.as_str()), "{session}");
                Ok(())
            })
            .await?;
        }
        scene.api.wait_status("connections", &id, "down", PATIENCE).await?;
        scene.api.wait_reason(&id, R::NoRoutingPolicy.as_str(), PATIENCE).await?;
        explained(scene, "--prefix 10.20.0.0/24", "unrouted", Some(R::NoRoutingPolicy), &id).await?;
        scene.api.set_locked("connections", &id, true).await?;
        scene.api.wait_reason(&id, R::ClosedByUs.as_str(), PATIENCE).await?;
        explained(scene, "--prefix 10.20.0.0/24", "unrouted", Some(R::Locked), &id).await?;
        scene.api.set_locked("connections", &id, false).await
    })
    .await
}

/// Changes of the device's one IPv4 route that are made to flap.
const FLAPS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, strongSwan and BIRD; `make test` runs it"]
async fn a_route_that_flaps_is_followed_at_once_and_told_once() -> Result<()> {
    Scene::play("rsnflp", async |scene| {
        let id = scene.connect(&NewConnection::default(), |text| text, None).await?;
        scene.lab.device.load().await?;
        scene.active(&id).await?;
        scene.pings().await?;
        let routes = format!("{}/connections/{id}/routes?prefix=10.20.0.0/24", scene.api.prefix("causeway/v1"));
        for _ in 0..FLAPS {
            for (word, count) in [("disable", 0), ("enable", 1)] {
                scene.lab.device.birdc(&[word, "own_ipv4"]).await?;
                eventually(&format!("{word}d"), PATIENCE, || async {
                    let answer = scene.api.must(Method::GET, &routes, None).await?;
                    ensure!(answer.get("total_count").and_then(Value::as_u64) == Some(count), "{answer}");
                    Ok(())
                })
                .await?;
            }
        }
        let history = events(scene, &id).await?;
        let told: Vec<&str> = history.iter().filter_map(|event| text(event, "/subject")).collect();
        ensure!(told.contains(&"IPv4 routes flapping"), "{told:?}");
        let routes = told.iter().filter(|subject| subject.starts_with("IPv4 routes")).count();
        ensure!(routes < 2 * FLAPS, "{routes} of {} changes are told", 2 * FLAPS);
        // The history waits for calm; the way does not, and the counters have everything.
        scene.pings().await?;
        let state = scene.api.state("connections", &id).await?;
        let session =
            plural(&state, "/bgp_sessions").into_iter().find(|session| text(session, "/family") == Some("ipv4"));
        let session = session.context("no IPv4 session")?;
        let count = |pointer: &str| session.pointer(pointer).and_then(Value::as_u64);
        ensure!(count("/updates/in") >= Some(2 * FLAPS as u64) && count("/flaps") == Some(0), "{session}");
        Ok(())
    })
    .await
}
