//! The ends of the session: ours, BIRD, FRR.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use causeway_bgp::{Policy, SEND_HOLD, SessionConfig};
use causeway_model::{ConnectionId, Family};
use causeway_node::session::{
    self, Command as Order, Guard, Listener, SessionHandle, SessionKey, SessionUpdate, Totals,
};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::world::{ASNS, Daemon, Net, Result, address, cpu, run, wait_for};

/// One end of the session.
pub(crate) enum Speaker {
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
        daemon: Daemon,
    },
    Frr {
        folder: PathBuf,
        side: usize,
        bgpd: Daemon,
        _zebra: Daemon,
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
    pub(crate) fn start(kind: &str, net: &Net, side: usize, routes: &[String], kernel: bool) -> Result<Self> {
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
                let handle =
                    SessionHandle::start(key, config, Guard::default(), Totals::default(), namespace.clone(), tx);
                Ok(Self::Ours { handle, updates, incoming, _listener: listener })
            }
            "bird" => {
                let configuration = folder.join("bird.conf");
                std::fs::write(&configuration, bird_text(side, routes, kernel))?;
                let control = path("bird.ctl");
                let words = ["bird", "-f", "-c", &path("bird.conf"), "-s", &control, "-P", &path("bird.pid")];
                let daemon = Daemon::start(namespace, &words)?;
                Ok(Self::Bird { control, configuration, side, daemon })
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
                    let vty = path(&format!("{name}.vty"));
                    wait_for(name, || Ok(Path::new(&vty).exists()))?;
                    Ok(daemon)
                };
                // Without a kernel: bgpd keeps its routes to itself.
                let zebra = daemon("zebra", true)?;
                let bgpd = daemon("bgpd", kernel)?;
                Ok(Self::Frr { folder, side, bgpd, _zebra: zebra })
            }
            other => Err(format!("{other}: not one of causeway, bird, frr").into()),
        }
    }

    /// Ours begins when this is called; the daemons begin by themselves.
    pub(crate) async fn enable(&self, routes: &[String]) -> Result<()> {
        if let Self::Ours { handle, .. } = self {
            handle.send(Order::Policy(policy(routes)?)).await;
            handle.send(Order::Enable(true)).await;
        }
        Ok(())
    }

    pub(crate) async fn announce(&self, routes: &[String]) -> Result<()> {
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

    /// Waits until it has read the table that it shall announce. FRR's start does.
    pub(crate) async fn has_table(&self, count: usize) -> Result<()> {
        if let Self::Bird { control, .. } = self {
            let ready = |text: String| text.contains(&format!("{count} of {count}"));
            while !run(&["birdc", "-s", control, "show", "route", "count"]).is_ok_and(ready) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Prefixes learned, as far as it says; 0 while it does not answer.
    pub(crate) fn learned(&mut self) -> usize {
        match self {
            Self::Ours { updates, .. } => {
                let mut latest = 0;
                while let Ok(update) = updates.try_recv() {
                    latest = update.accepted().count();
                }
                latest
            }
            Self::Bird { control, .. } => {
                // Its own counter: to have the routes counted would keep it from taking more.
                run(&["birdc", "-s", control, "show", "protocols", "all", "b"])
                    .ok()
                    .and_then(|text| {
                        let counted = text.lines().find_map(|line| line.trim().strip_prefix("Routes:"))?;
                        counted.split_whitespace().next()?.parse().ok()
                    })
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

    /// CPU time of its process so far, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64> {
        cpu(match self {
            Self::Ours { .. } => std::process::id(),
            Self::Bird { daemon, .. } => daemon.pid(),
            Self::Frr { bgpd, .. } => bgpd.pid(),
        })
    }

    /// Hands over what connected to us.
    pub(crate) async fn serve(&mut self) {
        if let Self::Ours { handle, incoming, .. } = self {
            while let Ok(stream) = incoming.try_recv() {
                handle.send(Order::Incoming(stream)).await;
            }
        }
    }

    /// Takes what our session says of itself. Whether it says that it is up.
    pub(crate) fn drain(&mut self) -> bool {
        let mut up = false;
        if let Self::Ours { updates, .. } = self {
            while let Ok(update) = updates.try_recv() {
                up |= update.facts.up;
            }
        }
        up
    }
}
