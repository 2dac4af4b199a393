//! InterLinks on a node: BIRD as the customer's router on the far end of what carries them.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use causeway_linux::Namespace;
use causeway_model::desired::{AttachmentDesired, BgpDesired, LinkDesired, PolicyDesired};
use causeway_model::observed::{LinkFacts, ReceivedRoute, RouteDecision};
use causeway_model::{Family, LinkId, ReasonCode};

use crate::lease::{Keeper, LONG, SHORT};
use crate::traffic::UdpFlood;
use crate::world::{Outside, PATIENCE, Room, Side, World, sh, wait, wait_for, within};

/// Our end and the router's, and the length.
const INSIDE: [(&str, &str, u8); 2] = [("169.254.7.0", "169.254.7.1", 31), ("fd99:7::", "fd99:7::1", 127)];
/// The router's AS number.
const THEIRS: u32 = 65010;
/// What the router announces: the other node's subnets, too, as the VPN does.
const ROUTES: [&str; 3] = ["10.2.0.0/24", "10.9.0.0/24", "fd00:2::/64"];

/// How the router is configured.
#[derive(Clone, Copy, Default)]
struct Setup {
    md5: Option<&'static str>,
    /// A community on everything that it announces.
    community: Option<(u32, u16)>,
}

/// The customer's router: a namespace with BIRD.
struct Router {
    room: Room,
    directory: PathBuf,
    bird: Option<Child>,
}

impl Router {
    /// Without its wire and its addresses.
    fn new(test: &str) -> Self {
        let room = Room::new(&format!("cwnd-{test}-r"));
        let directory = std::env::temp_dir().join(format!("cwnd-{test}-r-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        // Of the networks behind it.
        sh(&room.0, "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        for address in ["10.9.0.10/32", "10.2.0.10/32", "fd00:2::10/128"] {
            sh(&room.0, &format!("ip addr add {address} dev lo"));
        }
        Self { room, directory, bird: None }
    }

    /// The wire to `machine`, whose end is called `if1`.
    fn wire(&self, machine: &Namespace) {
        let path = self.room.0.path().display().to_string();
        sh(machine, &format!("ip link add if1 type veth peer name wan netns {path}"));
        self.address("wan");
    }

    fn address(&self, link: &str) {
        sh(&self.room.0, &format!("ip link set {link} up"));
        for (_, theirs, length) in INSIDE {
            let nodad = if theirs.contains(':') { "nodad" } else { "" };
            sh(&self.room.0, &format!("ip addr replace {theirs}/{length} dev {link} {nodad}"));
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn write(&self, ours: u32, setup: Setup) {
        let mut text = "log stderr all;\nrouter id 10.9.0.10;\nprotocol device { }\n".to_owned();
        let password = setup.md5.map_or_else(String::new, |key| format!("password \"{key}\";"));
        let tag =
            setup.community.map_or_else(String::new, |(asn, value)| format!("bgp_community.add(({asn},{value}));"));
        for (family, (local, peer, _)) in Family::ALL.into_iter().zip(INSIDE) {
            let word = if family.is_ipv6() { "ipv6" } else { "ipv4" };
            let statics: String = ROUTES
                .iter()
                .filter(|route| route.contains(':') == family.is_ipv6())
                .map(|route| format!("route {route} unreachable; "))
                .collect();
            text.push_str(&format!(
                "protocol static s_{word} {{ {word}; {statics} }}\n\
                 protocol bgp b_{word} {{ local {peer} as {THEIRS}; neighbor {local} as {ours}; {password}\n\
                 hold time 6; keepalive time 2; connect delay time 1; connect retry time 2; error wait time 1, 2;\n\
                 {word} {{ import all; export filter {{ if source != RTS_STATIC then reject; {tag} accept; }}; next hop self; }}; }}\n\
                 protocol kernel k_{word} {{ {word} {{ export where source = RTS_BGP; }}; }}\n"
            ));
        }
        std::fs::write(self.path("bird.conf"), text).expect("the configuration");
    }

    fn start(&mut self, ours: u32, setup: Setup) {
        self.write(ours, setup);
        let log = std::fs::File::create(self.path("bird.log")).expect("a log");
        let mut command = Command::new("bird");
        command.args(["-f", "-c", &self.path("bird.conf"), "-s", &self.path("bird.ctl"), "-P", &self.path("bird.pid")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.bird = Some(self.room.0.spawn(&mut command).expect("BIRD starts"));
        wait_for("BIRD listens to its user", || UnixStream::connect(self.directory.join("bird.ctl")).is_ok());
    }

    fn configure(&self, ours: u32, setup: Setup) {
        self.write(ours, setup);
        let said = self.birdc("configure");
        assert!(said.contains("econfigur"), "{said}");
    }

    fn birdc(&self, command: &str) -> String {
        sh(&self.room.0, &format!("birdc -s {} {command}", self.path("bird.ctl")))
    }

    /// Everything that it sends or receives on the wire is lost, and its carrier stays.
    fn silence(&self, silent: bool) {
        if silent {
            let filter = self.path("silent.nft");
            let chains = ["input", "output", "forward"]
                .map(|hook| format!("chain {hook} {{ type filter hook {hook} priority 0; policy drop; }}\n"));
            std::fs::write(&filter, format!("table inet silent {{\n{}}}\n", chains.concat())).expect("written");
            sh(&self.room.0, &format!("nft -f {filter}"));
        } else {
            sh(&self.room.0, "nft delete table inet silent");
        }
    }
}

impl Drop for Router {
    #[expect(clippy::print_stderr, reason = "what a failed test needs to be understood")]
    fn drop(&mut self) {
        if let Some(mut bird) = self.bird.take() {
            let _ = bird.kill();
            let _ = bird.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- BIRD\n{}", std::fs::read_to_string(self.path("bird.log")).unwrap_or_default());
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn all(family: Family) -> ipnet::IpNet {
    if family.is_ipv6() { "::/0" } else { "0.0.0.0/0" }.parse().expect("a prefix")
}

/// A link to the VPC of `side` that lets everything in and out.
fn link(side: &Side, attachment: AttachmentDesired) -> LinkDesired {
    let bgp = Family::ALL.into_iter().zip(INSIDE).map(|(family, (ours, theirs, length))| {
        let net = |address: &str| format!("{address}/{length}").parse().expect("an address");
        let policy = PolicyDesired {
            prefix_filter_in: vec![
                if family.is_ipv6() { "fd00:2::/64" } else { "10.0.0.0/8" }.parse().expect("a prefix"),
            ],
            prefix_filter_out: vec![all(family)],
        };
        BgpDesired { local: net(ours), peer: net(theirs), policy: Some(policy) }
    });
    LinkDesired {
        id: LinkId::random(),
        revision: 1,
        vpc: Some(side.desired.vpcs[0].id),
        attachment,
        bandwidth: 0,
        asn: side.desired.gateways[0].asn,
        peer_asn: THEIRS,
        bgp: bgp.collect(),
        propagate: true,
        locked: false,
        hold_time: 6,
        max_prefixes: 100,
        bgp_md5: None,
        bgp_gtsm: false,
    }
}

fn interface() -> AttachmentDesired {
    AttachmentDesired::Interface { interface: "if1".to_owned() }
}

fn facts(side: &Side) -> Option<LinkFacts> {
    side.report().links.into_iter().next()
}

fn sessions_up(side: &Side) -> usize {
    facts(side).map_or(0, |facts| facts.sessions.iter().filter(|session| session.up).count())
}

fn received(side: &Side, prefix: &str) -> Option<ReceivedRoute> {
    let prefix: ipnet::IpNet = prefix.parse().expect("a prefix");
    facts(side)?.received.into_iter().find(|route| route.prefix == prefix)
}

fn decision(side: &Side, prefix: &str) -> Option<RouteDecision> {
    received(side, prefix).map(|route| route.decision)
}

/// Where the VPC's router sends packets to `prefix`: the link, the gateway, or nowhere.
fn leads(side: &Side, prefix: &str) -> Option<&'static str> {
    let router = Namespace::open(&side.router_namespace()).expect("the router");
    let family = if prefix.contains(':') { "-6" } else { "-4" };
    let shown = sh(&router, &format!("ip {family} route show {prefix}"));
    let device = shown.split_whitespace().skip_while(|word| *word != "dev").nth(1)?;
    let link = side.desired.links.first().map(|link| format!("g-{}", link.id.short()));
    Some(if link.as_deref() == Some(device) { "link" } else { "gateway" })
}

fn wait_leads(side: &Side, to: &'static str) {
    for prefix in ["10.2.0.0/24", "fd00:2::/64"] {
        wait_for(&format!("{prefix} over the {to}"), || leads(side, prefix) == Some(to));
    }
}

fn edit_link(side: &mut Side, change: impl FnOnce(&mut LinkDesired)) {
    side.edit(|desired| change(&mut desired.links[0]));
}

fn pings(side: &Side, address: &str) -> bool {
    side.pings(address.parse().expect("an address"))
}

#[test]
#[ignore = "needs root, /dev/net/tun, nft and bird"]
fn a_link_beats_the_vpn_and_the_vpn_takes_over_when_it_dies() {
    let mut world = World::new("link", Outside::Ipv4);
    let mut router = Router::new("link");
    router.wire(&world.a.machine.0);
    world.wait_up();
    world.wait_flow();
    assert_eq!(leads(&world.a, "10.2.0.0/24"), Some("gateway"));

    let ours = world.a.desired.gateways[0].asn;
    router.start(ours, Setup::default());
    let wanted = link(&world.a, interface());
    world.a.edit(|desired| desired.links.push(wanted));
    world.a.wait_applied();
    wait_for("both sessions of the link", || sessions_up(&world.a) == 2);
    // An untagged InterLink beats an untagged VPN, and both say so.
    wait_leads(&world.a, "link");
    wait_for("its route is installed", || decision(&world.a, "10.2.0.0/24") == Some(RouteDecision::Installed));
    let id = world.a.desired.links[0].id;
    let by = format!("link {id}: preference 90 is lower than 100");
    wait_for("the VPN's route is beaten", || {
        world.a.received("10.2.0.0/24") == Some(RouteDecision::Beaten { by: by.clone() })
    });
    wait_for("traffic over the link", || {
        ["10.9.0.10", "fd00:2::10", "10.2.0.10"].iter().all(|address| pings(&world.a, address))
    });
    // Never a transit: the router gets the VPC's own subnet, and nothing that the VPN has learned.
    let table = wait("our announcements", PATIENCE, || {
        let table = router.birdc("show route where source = RTS_BGP");
        ["10.1.0.0/24", "fd00:1::/64"].iter().all(|own| table.contains(own)).then_some(table)
    });
    assert!(!table.contains("10.2.0.0/24"), "{table}");

    // A community turns it round, and back.
    router.configure(ours, Setup { community: Some((ours, 42050)), ..Setup::default() });
    wait_leads(&world.a, "gateway");
    let by = wait("the link's route is beaten", PATIENCE, || match decision(&world.a, "10.2.0.0/24")? {
        RouteDecision::Beaten { by } => Some(by),
        _ => None,
    });
    assert!(by.contains("preference 50 is lower than 90"), "{by}");
    wait_for("nobody else has it", || decision(&world.a, "10.9.0.0/24") == Some(RouteDecision::Installed));
    router.configure(ours, Setup::default());
    wait_leads(&world.a, "link");

    // The carrier goes: so do the routes, without any hold timer.
    sh(&router.room.0, "ip link set wan down");
    wait_leads(&world.a, "gateway");
    let gone = wait("the sessions say why", PATIENCE, || {
        let facts = facts(&world.a)?;
        let why = |code| facts.sessions.iter().all(|session| session.fault.as_ref().is_some_and(|f| f.code == code));
        (!facts.carrier && why(ReasonCode::NoCarrier)).then_some(facts)
    });
    assert!(gone.received.is_empty() && gone.sessions.iter().all(|session| !session.up));
    world.wait_flow();
    router.address("wan");
    wait_for("both sessions are back", || sessions_up(&world.a) == 2);
    wait_leads(&world.a, "link");
    wait_for("traffic over the link again", || pings(&world.a, "10.9.0.10"));

    // It goes silent, and the carrier stays: the hold timer says so.
    router.silence(true);
    wait_leads(&world.a, "gateway");
    let silent = facts(&world.a).expect("facts");
    assert!(silent.carrier, "nobody took the carrier away");
    wait_for("the hold timer is named", || {
        let sessions = facts(&world.a).expect("facts").sessions;
        let expired = |fault: &causeway_model::Fault| fault.code == ReasonCode::BgpHoldTimerExpired;
        sessions.iter().any(|session| session.fault.as_ref().is_some_and(expired))
    });
    world.wait_flow();
    router.silence(false);
    wait_leads(&world.a, "link");

    // One family's session is cut: the other one goes on.
    router.birdc("disable b_ipv6");
    wait_for("one session", || sessions_up(&world.a) == 1);
    wait_for("its routes are gone", || leads(&world.a, "fd00:2::/64") == Some("gateway"));
    assert_eq!(leads(&world.a, "10.2.0.0/24"), Some("link"));
    router.birdc("enable b_ipv6");
    wait_leads(&world.a, "link");
    wait_for("both sessions, on both sides", || {
        sessions_up(&world.a) == 2 && router.birdc("show protocols").matches("Established").count() == 2
    });

    // From VPC to none and back: the sessions go on, the routes do not.
    let flaps = || facts(&world.a).expect("facts").sessions.iter().map(|session| session.flaps).sum::<u32>();
    let flapped = flaps();
    let vpc = world.a.desired.links[0].vpc;
    edit_link(&mut world.a, |link| link.vpc = None);
    world.a.wait_applied();
    wait_leads(&world.a, "gateway");
    assert_eq!(sessions_up(&world.a), 2);
    edit_link(&mut world.a, |link| link.vpc = vpc);
    world.a.wait_applied();
    wait_leads(&world.a, "link");
    wait_for("traffic over the link once more", || pings(&world.a, "10.9.0.10"));
    let flaps = facts(&world.a).expect("facts").sessions.iter().map(|session| session.flaps).sum::<u32>();
    assert_eq!(flaps, flapped, "no session was lost on the way");

    // Propagation and locks.
    edit_link(&mut world.a, |link| link.propagate = false);
    world.a.wait_applied();
    wait_leads(&world.a, "gateway");
    assert_eq!(sessions_up(&world.a), 2, "sessions do not need propagation");
    edit_link(&mut world.a, |link| link.propagate = true);
    wait_leads(&world.a, "link");
    edit_link(&mut world.a, |link| link.locked = true);
    world.a.wait_applied();
    wait_leads(&world.a, "gateway");
    assert_eq!(sessions_up(&world.a), 0);
    edit_link(&mut world.a, |link| link.locked = false);
    wait_leads(&world.a, "link");

    // A killed node leaves what the next start removes; the interface itself stays the operator's.
    world.a.kill();
    world.a.start();
    wait_leads_again(&world.a);
    world.a.edit(|desired| desired.links.clear());
    world.a.wait_applied();
    wait_leads(&world.a, "gateway");
    assert!(!Namespace::exists(&format!("cwl-{}", id.short())), "its namespace is gone");
    sh(&world.a.machine.0, "ip link show if1");
    world.wait_flow();
}

/// After a start everything is made anew: the router's namespace, too.
fn wait_leads_again(side: &Side) {
    wait_for("the router is back", || Namespace::exists(&side.router_namespace()));
    wait("the link is back", 3 * PATIENCE, || (sessions_up(side) == 2).then_some(()));
    wait_leads(side, "link");
}

#[test]
#[ignore = "needs root, /dev/net/tun, nft and bird"]
fn a_missing_interface_is_named_and_taken_when_it_comes() {
    let mut world = World::new("miss", Outside::Ipv4);
    let mut router = Router::new("miss");
    let ours = world.a.desired.gateways[0].asn;
    let wanted = link(&world.a, interface());
    world.a.edit(|desired| desired.links.push(wanted));
    let refusal = wait("the refusal", PATIENCE, || facts(&world.a)?.refused);
    assert_eq!((refusal.item.as_str(), refusal.revision), ("interface if1", world.a.desired.revision));
    assert!(refusal.error.contains("there is no interface if1 on this node"), "{refusal:?}");
    assert_eq!(facts(&world.a).expect("facts").applied, 0);
    world.wait_up();

    router.wire(&world.a.machine.0);
    router.start(ours, Setup::default());
    wait("it is tried again", 6 * PATIENCE, || (sessions_up(&world.a) == 2).then_some(()));
    world.a.wait_applied();
    wait_leads(&world.a, "link");

    // It goes while it runs, and comes back.
    sh(&world.a.machine.0, "ip link del if1");
    wait_leads(&world.a, "gateway");
    let refusal = wait("the refusal", PATIENCE, || facts(&world.a)?.refused);
    assert_eq!(refusal.item, "interface if1");
    router.wire(&world.a.machine.0);
    wait("it is taken again", 6 * PATIENCE, || (sessions_up(&world.a) == 2).then_some(()));
    wait_leads(&world.a, "link");

    // What belongs to others is not taken.
    edit_link(&mut world.a, |link| link.attachment = AttachmentDesired::Interface { interface: "up0".to_owned() });
    let refusal = wait("the refusal", PATIENCE, || facts(&world.a)?.refused.filter(|r| r.item == "interface up0"));
    assert!(refusal.error.contains("it is the underlay"), "{refusal:?}");
}

#[test]
#[ignore = "needs root, /dev/net/tun, nft and bird"]
fn a_link_over_vxlan_signs_its_sessions_and_keeps_to_its_bandwidth() {
    let mut world = World::new("vxl", Outside::Ipv4);
    let mut router = Router::new("vxl");
    let path = router.room.0.path().display().to_string();
    let machine = &world.a.machine.0;
    sh(machine, &format!("ip link add far type veth peer name far netns {path}"));
    for (namespace, number) in [(machine, 1), (&router.room.0, 2)] {
        sh(namespace, "ip link set far up");
        sh(namespace, &format!("ip addr add 198.51.100.{number}/30 dev far"));
    }
    sh(&router.room.0, "ip link add vx type vxlan id 5007 remote 198.51.100.1 dstport 4789");
    router.address("vx");
    let ours = world.a.desired.gateways[0].asn;
    router.start(ours, Setup { md5: Some("not the same"), ..Setup::default() });
    let remote = "198.51.100.2".parse().expect("an address");
    let mut wanted = link(&world.a, AttachmentDesired::Vxlan { remote, vni: 5007 });
    wanted.bgp_md5 = Some(serde_json::from_value(serde_json::json!(b"of this test".to_vec())).expect("a key"));
    world.a.edit(|desired| desired.links.push(wanted));
    world.a.wait_applied();
    assert_eq!(facts(&world.a).expect("facts").mtu, 1450);
    wait("the password is named", 6 * PATIENCE, || {
        let cause = |fault: &causeway_model::Fault| fault.evidence.get("cause").cloned();
        let named = |fault| cause(fault).is_some_and(|text| text.contains("another MD5 password"));
        facts(&world.a)?.sessions.iter().any(|session| session.fault.as_ref().is_some_and(named)).then_some(())
    });
    assert_eq!(sessions_up(&world.a), 0);
    router.configure(ours, Setup { md5: Some("of this test"), ..Setup::default() });
    wait("the sessions", 6 * PATIENCE, || (sessions_up(&world.a) == 2).then_some(()));
    wait_leads(&world.a, "link");
    wait_for("traffic", || pings(&world.a, "10.9.0.10") && pings(&world.a, "fd00:2::10"));
    // What it sends by itself comes from behind it, too.
    sh(&router.room.0, "ip route add 10.1.0.0/24 via 169.254.7.0 dev vx src 10.9.0.10");

    // Both directions keep to the bandwidth: more than it was sent, and what exceeded it was dropped.
    const BITS: u64 = 2_000_000;
    edit_link(&mut world.a, |link| link.bandwidth = BITS);
    world.a.wait_applied();
    let shaped = |side: &Side| facts(side).and_then(|facts| facts.drops.get("shaped").copied()).unwrap_or(0);
    let namespace = Namespace::open(&format!("cwl-{}", world.a.desired.links[0].id.short())).expect("the link");
    for (from, to, direction, link) in
        [(&world.a.host.0, "10.9.0.10", "tx", "cw"), (&router.room.0, "10.1.0.10", "tx", "vpc0")]
    {
        let device = if link == "cw" { format!("cw-{}", world.a.desired.links[0].id.short()) } else { link.to_owned() };
        let count = || -> u64 {
            let shown = sh(&namespace, &format!("ip -j -s link show dev {device}"));
            let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
            let counter = shown.pointer(&format!("/0/stats64/{direction}/bytes"));
            counter.and_then(serde_json::Value::as_u64).expect("a counter")
        };
        let before = shaped(&world.a);
        let (begun, sent) = (std::time::Instant::now(), count());
        let flood = UdpFlood::start(from, to);
        wait("enough came through", 3 * PATIENCE, || (count() - sent > BITS / 2).then_some(()));
        let (came, took) = (count() - sent, begun.elapsed());
        drop(flood);
        // A slow machine moves less and never more. What may pass at once comes on top (a second's worth and 64 kB), and what no bucket
        // counts: frames' headers, BGP.
        let most = ((took.as_secs_f64() + 1.0) * (BITS / 8) as f64 + 65_536.0) * 1.1;
        assert!((came as f64) <= most, "{came} octets in {took:?} over {device}");
        wait_for("the rest is dropped", || shaped(&world.a) > before);
    }
    assert_eq!(sessions_up(&world.a), 2, "BGP is not shaped");
}

/// Where the kernel lacks VLANs, the refusal says so; where it has them, the link comes up.
#[test]
#[ignore = "needs root, /dev/net/tun, nft and bird"]
#[expect(clippy::print_stderr, reason = "says what was left out")]
fn a_link_over_a_vlan() {
    let mut world = World::new("vlan", Outside::Ipv4);
    let mut router = Router::new("vlan");
    let path = router.room.0.path().display().to_string();
    sh(&world.a.machine.0, &format!("ip link add trunk type veth peer name trunk netns {path}"));
    let wanted = link(&world.a, AttachmentDesired::Vlan { interface: "trunk".to_owned(), vlan: 1600 });
    world.a.edit(|desired| desired.links.push(wanted));
    if within(&router.room.0, "ip link add link trunk name vlan type vlan id 1600").is_none() {
        let refusal = wait("the refusal", PATIENCE, || facts(&world.a)?.refused);
        assert_eq!(refusal.item, "VLAN 1600 of the interface trunk");
        assert!(refusal.error.contains("this node's kernel has no VLANs"), "{refusal:?}");
        eprintln!("skipped but for the refusal: this kernel has no VLANs (CONFIG_VLAN_8021Q)");
        return;
    }
    sh(&router.room.0, "ip link set trunk up");
    router.address("vlan");
    router.start(world.a.desired.gateways[0].asn, Setup::default());
    wait("the sessions", 3 * PATIENCE, || (sessions_up(&world.a) == 2).then_some(()));
    wait_for("traffic", || pings(&world.a, "10.9.0.10"));
}

#[test]
#[ignore = "needs root, /dev/net/tun, nft and bird"]
fn a_links_partner_learns_that_the_node_has_no_lease() {
    let mut world = World::new("linklease", Outside::Ipv4);
    let mut router = Router::new("linklease");
    router.wire(&world.a.machine.0);
    world.a.kill();
    let mut keeper = Keeper::new(&mut world.a);
    world.a.start();
    keeper.hold(LONG);
    router.start(world.a.desired.gateways[0].asn, Setup::default());
    let wanted = link(&world.a, interface());
    world.a.edit(|desired| desired.links.push(wanted));
    world.a.wait_applied();
    wait_for("both sessions of the link", || sessions_up(&world.a) == 2);
    wait_for("traffic over the link", || pings(&world.a, "10.9.0.10"));

    // Nothing crosses the VPC's router: the partner, which may have another way, hears so.
    keeper.hold(SHORT);
    keeper.wait_end(&world.a);
    assert!(!pings(&world.a, "10.9.0.10"));
    wait_for("the sessions end and say why", || {
        let sessions = facts(&world.a).expect("facts").sessions;
        let why = |session: &causeway_model::observed::SessionFacts| session.fault.as_ref().map(|fault| fault.code);
        sessions.iter().all(|session| !session.up && why(session) == Some(ReasonCode::LeaseLost))
    });
    assert!(facts(&world.a).expect("facts").carrier, "nobody took the carrier away");
    wait_for("the partner knows", || !router.birdc("show protocols").contains("Established"));

    keeper.hold(LONG);
    wait_for("both sessions are back", || sessions_up(&world.a) == 2);
    wait_for("traffic over the link again", || pings(&world.a, "10.9.0.10"));
}
