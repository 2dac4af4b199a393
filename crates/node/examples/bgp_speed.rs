//! One round of one row of `bench/bgp/run`: `bgp_speed start|table FROM TO PREFIXES`, with FROM and TO of `causeway`, `bird`, `frr`. FROM
//! announces; prints `NAME<tab>VALUE` lines.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use causeway_bgp::{Policy, SEND_HOLD, SessionConfig};
use causeway_linux::Namespace;
use causeway_model::{ConnectionId, Family};
use causeway_node::session::{self, Command as Order, Guard, Listener, SessionHandle, SessionKey, SessionUpdate};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ASNS: [u32; 2] = [64512, 65001];
const PATIENCE: Duration = Duration::from_secs(120);
const FIRST: &str = "10.1.0.0/24";
const SECOND: &str = "10.2.0.0/24";

/// Side 0 announces, side 1 learns.
const fn address(side: usize) -> Ipv4Addr {
    if side == 0 { Ipv4Addr::new(169, 254, 100, 1) } else { Ipv4Addr::new(169, 254, 100, 2) }
}

fn run(words: &[&str]) -> Result<String> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let output = Command::new(program).args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(format!("{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(text)
}

struct Net {
    sides: [Namespace; 2],
    directory: PathBuf,
}

impl Net {
    fn new() -> Result<Self> {
        let make = |side: &str| -> Result<Namespace> {
            let name = format!("cwbs-{side}");
            Namespace::delete(&name)?;
            Ok(Namespace::create(&name)?)
        };
        let sides = [make("a")?, make("b")?];
        let directory = std::env::temp_dir().join(format!("cwbs-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        run(&[
            "ip",
            "-n",
            sides[0].name(),
            "link",
            "add",
            "e0",
            "type",
            "veth",
            "peer",
            "name",
            "e0",
            "netns",
            sides[1].name(),
        ])?;
        for (side, namespace) in sides.iter().enumerate() {
            run(&["ip", "-n", namespace.name(), "addr", "add", &format!("{}/30", address(side)), "dev", "e0"])?;
            run(&["ip", "-n", namespace.name(), "link", "set", "e0", "up"])?;
        }
        Ok(Self { sides, directory })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in &self.sides {
            let _ = Namespace::delete(namespace.name());
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

struct Daemon(Child);

impl Daemon {
    fn start(namespace: &Namespace, words: &[&str]) -> Result<Self> {
        let (program, arguments) = words.split_first().ok_or("no program")?;
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(namespace.spawn(&mut command)?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

enum Speaker {
    Ours {
        handle: SessionHandle,
        updates: mpsc::Receiver<SessionUpdate>,
        incoming: mpsc::Receiver<tokio::net::TcpStream>,
        _listener: Listener,
    },
    Bird {
        control: String,
        configuration: PathBuf,
        side: usize,
        _daemon: Daemon,
    },
    Frr {
        folder: PathBuf,
        side: usize,
        _daemons: [Daemon; 2],
    },
}

fn bird_text(side: usize, routes: &[String], kernel: bool) -> String {
    let mut statics = String::new();
    for route in routes {
        let _ = writeln!(statics, "route {route} unreachable;");
    }
    let kernel =
        if kernel { "protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }\n" } else { "" };
    format!(
        "router id {local};\nprotocol device {{ }}\n{kernel}protocol static {{ ipv4; {statics} }}\n\
         protocol bgp b {{ local {local} as {}; neighbor {} as {}; connect delay time 1; connect retry time 1; error wait time 1, 1;\n\
         ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }}; }}\n",
        ASNS[side],
        address(1 - side),
        ASNS[1 - side],
        local = address(side),
    )
}

fn policy(routes: &[String]) -> Result<Policy> {
    Ok(Policy {
        propagate: true,
        accept: vec!["0.0.0.0/0".parse()?],
        announce: vec!["0.0.0.0/0".parse()?],
        local_subnets: Vec::new(),
        custom_routes: routes.iter().map(|route| route.parse::<IpNet>()).collect::<std::result::Result<_, _>>()?,
        interconnections: Vec::new(),
    })
}

impl Speaker {
    fn start(kind: &str, net: &Net, side: usize, routes: &[String], kernel: bool) -> Result<Self> {
        let namespace = &net.sides[side];
        let folder = net.directory.join(format!("{kind}{side}"));
        std::fs::create_dir_all(&folder)?;
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        match kind {
            "causeway" => {
                let local = IpAddr::V4(address(side));
                let config = SessionConfig {
                    family: Family::Ipv4,
                    local_asn: ASNS[side],
                    peer_asn: ASNS[1 - side],
                    router_id: address(side),
                    local,
                    peer: IpAddr::V4(address(1 - side)),
                    hold_time: 60,
                    send_hold: SEND_HOLD,
                    max_prefixes: 1_000_000,
                };
                let (listener, accepting) = namespace.run(|| session::listen(local, &[]))??;
                let accepting = TcpListener::from_std(accepting)?;
                let (tx, updates) = mpsc::channel(64);
                let (streams, incoming) = mpsc::channel(16);
                tokio::spawn(async move {
                    while let Ok((stream, _)) = accepting.accept().await {
                        let _ = streams.send(stream).await;
                    }
                });
                let key = SessionKey { connection: ConnectionId::random(), family: Family::Ipv4 };
                let handle = SessionHandle::start(key, config, Guard::default(), namespace.clone(), tx);
                Ok(Self::Ours { handle, updates, incoming, _listener: listener })
            }
            "bird" => {
                let configuration = folder.join("bird.conf");
                std::fs::write(&configuration, bird_text(side, routes, kernel))?;
                let control = path("bird.ctl");
                let words = ["bird", "-f", "-c", &path("bird.conf"), "-s", &control, "-P", &path("bird.pid")];
                let _daemon = Daemon::start(namespace, &words)?;
                Ok(Self::Bird { control, configuration, side, _daemon })
            }
            "frr" => {
                let mut text = format!(
                    "router bgp {}\n bgp router-id {}\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
                     neighbor {peer} remote-as {}\n neighbor {peer} timers connect 1\n neighbor {peer} advertisement-interval 0\n \
                     address-family ipv4 unicast\n",
                    ASNS[side],
                    address(side),
                    ASNS[1 - side],
                    peer = address(1 - side),
                );
                for route in routes {
                    let _ = writeln!(text, "  network {route}");
                }
                std::fs::write(folder.join("frr.conf"), text + " exit-address-family\n")?;
                run(&["chown", "-R", "frr:frr", &folder.to_string_lossy()])?;
                let daemon = |name: &str, install: bool| -> Result<Daemon> {
                    let program = format!("/usr/lib/frr/{name}");
                    let (socket, pid, conf) = (path("zserv.api"), path(&format!("{name}.pid")), path("frr.conf"));
                    let sockets = folder.to_string_lossy();
                    let mut words = vec![program.as_str(), "-u", "frr", "-g", "frr", "-A", "127.0.0.1", "-P", "0"];
                    words.extend(["--vty_socket", &sockets, "-z", &socket, "-i", &pid, "-f", &conf]);
                    if !install {
                        words.push("-n");
                    }
                    let daemon = Daemon::start(namespace, &words)?;
                    let start = Instant::now();
                    while !Path::new(&path(&format!("{name}.vty"))).exists() && start.elapsed() < PATIENCE {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Ok(daemon)
                };
                // Without a kernel: bgpd keeps its routes to itself.
                let zebra = daemon("zebra", true)?;
                let bgpd = daemon("bgpd", kernel)?;
                Ok(Self::Frr { folder, side, _daemons: [bgpd, zebra] })
            }
            other => Err(format!("{other}: not one of causeway, bird, frr").into()),
        }
    }

    /// Ours begins when this is called; the daemons begin by themselves.
    async fn enable(&self, routes: &[String]) -> Result<()> {
        if let Self::Ours { handle, .. } = self {
            handle.send(Order::Policy(policy(routes)?)).await;
            handle.send(Order::Enable(true)).await;
        }
        Ok(())
    }

    async fn announce(&self, routes: &[String]) -> Result<()> {
        match self {
            Self::Ours { handle, .. } => handle.send(Order::Policy(policy(routes)?)).await,
            Self::Bird { control, configuration, side, .. } => {
                std::fs::write(configuration, bird_text(*side, routes, true))?;
                run(&["birdc", "-s", control, "configure"])?;
            }
            Self::Frr { folder, side, .. } => {
                let mut words =
                    vec!["vtysh".to_owned(), "--vty_socket".to_owned(), folder.to_string_lossy().into_owned()];
                let lines = [
                    "configure terminal".to_owned(),
                    format!("router bgp {}", ASNS[*side]),
                    "address-family ipv4 unicast".to_owned(),
                ];
                for line in lines.into_iter().chain(routes.iter().map(|route| format!("network {route}"))) {
                    words.extend(["-c".to_owned(), line]);
                }
                run(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
            }
        }
        Ok(())
    }

    /// Prefixes learned, as far as it says; 0 while it does not answer.
    fn learned(&mut self) -> usize {
        match self {
            Self::Ours { updates, .. } => {
                let mut latest = 0;
                while let Ok(update) = updates.try_recv() {
                    latest = update.accepted().count();
                }
                latest
            }
            Self::Bird { control, .. } => {
                run(&["birdc", "-s", control, "show", "route", "where", "source=RTS_BGP", "count"])
                    .ok()
                    .and_then(|text| text.lines().find_map(|line| line.split(" of ").next()?.trim().parse().ok()))
                    .unwrap_or(0)
            }
            Self::Frr { folder, .. } => {
                run(&["vtysh", "--vty_socket", &folder.to_string_lossy(), "-c", "show bgp summary json"])
                    .ok()
                    .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
                    .and_then(|shown| shown.pointer(&format!("/ipv4Unicast/peers/{}/pfxRcd", address(0)))?.as_u64())
                    .and_then(|count| usize::try_from(count).ok())
                    .unwrap_or(0)
            }
        }
    }

    /// Hands over what connected to us.
    async fn serve(&mut self) {
        if let Self::Ours { handle, incoming, .. } = self {
            while let Ok(stream) = incoming.try_recv() {
                handle.send(Order::Incoming(stream)).await;
            }
        }
    }

    fn drain(&mut self) {
        if let Self::Ours { updates, .. } = self {
            while updates.try_recv().is_ok() {}
        }
    }
}

/// Whether the kernel of `namespace` has an IPv4 route to the network `first.second.0.0`.
fn in_kernel(namespace: &Namespace, route: &str) -> Result<bool> {
    let net: ipnet::Ipv4Net = route.parse()?;
    let shown = format!("{:08X}", u32::from_le_bytes(net.network().octets()));
    let table = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/route"))??;
    Ok(table.lines().any(|line| line.split('\t').nth(1) == Some(&shown)))
}

async fn until_in_kernel(net: &Net, speakers: &mut [Speaker; 2], route: &str) -> Result<()> {
    let start = Instant::now();
    while !in_kernel(&net.sides[1], route)? {
        if start.elapsed() > PATIENCE {
            return Err(format!("{route} does not come").into());
        }
        for speaker in speakers.iter_mut() {
            speaker.serve().await;
            speaker.drain();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn say(name: &str, value: f64, digits: usize) {
    let _ = writeln!(std::io::stdout(), "{name}\t{value:.digits$}");
}

fn resident(kind: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(kind)).ok_or("no such line")?;
    Ok(line.split_whitespace().next().ok_or("no figure")?.parse::<f64>()? / 1000.0)
}

/// CPU time of this process so far, in seconds. The kernel counts in hundredths.
fn cpu() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
    let ticks =
        fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<std::result::Result<u32, _>>()?;
    Ok(f64::from(ticks) / 100.0)
}

/// Both sides begin at the same moment; FROM's first route is awaited in TO's kernel, then a second one that FROM is told to announce.
async fn start(from: &str, to: &str) -> Result<()> {
    let net = Net::new()?;
    let routes = [FIRST.to_owned()];
    let begun = Instant::now();
    // FRR's two daemons take a while to start: each side begins in a thread of its own.
    let runtime = tokio::runtime::Handle::current();
    let begin = |kind: &str, side: usize, routes: &[String]| -> std::result::Result<Speaker, String> {
        let _guard = runtime.enter();
        let speaker = Speaker::start(kind, &net, side, routes, true).map_err(|error| error.to_string())?;
        runtime.block_on(speaker.enable(routes)).map_err(|error| error.to_string())?;
        Ok(speaker)
    };
    let (a, b) = std::thread::scope(|scope| {
        let (first, second) = (scope.spawn(|| begin(from, 0, &routes)), scope.spawn(|| begin(to, 1, &[])));
        (first.join(), second.join())
    });
    let mut speakers = [a.map_err(|_| "panicked")??, b.map_err(|_| "panicked")??];
    until_in_kernel(&net, &mut speakers, FIRST).await?;
    say(&format!("cold start to route in the kernel, {from} to {to}, s"), begun.elapsed().as_secs_f64(), 3);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    speakers[0].announce(&[FIRST.to_owned(), SECOND.to_owned()]).await?;
    until_in_kernel(&net, &mut speakers, SECOND).await?;
    say(&format!("announcement to route in the kernel, {from} to {to}, ms"), begun.elapsed().as_secs_f64() * 1000.0, 1);
    Ok(())
}

/// FROM has a table when the session comes up; no kernel takes part.
async fn table(from: &str, to: &str, count: usize) -> Result<()> {
    let net = Net::new()?;
    let routes: Vec<String> =
        (0..count).map(|n| format!("{}.{}.{}.0/24", 20 + n / 65536, n / 256 % 256, n % 256)).collect();
    let before = resident("VmRSS:")?;
    // The one with the table first, so that reading its configuration is no part of the time.
    let a = Speaker::start(from, &net, 0, &routes, false)?;
    if let Speaker::Bird { control, .. } = &a {
        let ready = |text: String| text.contains(&format!("{count} of {count}"));
        while !run(&["birdc", "-s", control, "show", "route", "count"]).is_ok_and(ready) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let b = Speaker::start(to, &net, 1, &[], false)?;
    let spent = cpu()?;
    let mut speakers = [a, b];
    for speaker in &speakers {
        speaker.enable(if from == "causeway" { &routes } else { &[] }).await?;
    }
    let start = Instant::now();
    let mut first = None;
    loop {
        for speaker in &mut speakers {
            speaker.serve().await;
        }
        speakers[0].drain();
        let learned = speakers[1].learned();
        if learned > 0 && first.is_none() {
            first = Some((Instant::now(), learned));
        }
        if learned >= count {
            break;
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{learned} of {count} prefixes").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (begun, already) = first.ok_or("nothing")?;
    let seconds = begun.elapsed().as_secs_f64();
    let name = format!("{count} prefixes, {from} to {to}");
    say(&format!("{name}, from both ready to all, s"), start.elapsed().as_secs_f64(), 3);
    // Of a table that comes between two looks nothing is left to time.
    if already < count / 2 {
        say(&format!("{name}, prefixes/s from the first seen"), (count - already) as f64 / seconds, 0);
    }
    if from == "causeway" || to == "causeway" {
        say(&format!("{name}, our CPU, s"), cpu()? - spent, 2);
        say(&format!("{name}, resident MB before"), before, 1);
        say(&format!("{name}, resident MB at most"), resident("VmHWM:")?, 1);
    }
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, from, to, count] = arguments.as_slice() else {
        return Err("usage: bgp_speed start|table FROM TO PREFIXES".into());
    };
    match mode.as_str() {
        "start" => start(from, to).await,
        "table" => table(from, to, count.parse()?).await,
        _ => Err("the mode is start or table".into()),
    }
}
