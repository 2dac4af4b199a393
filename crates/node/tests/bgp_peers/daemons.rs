//! The foreign daemons. Each announces one prefix of either family.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::site::{LOCAL, PEER, Site, sh};

/// A BGP daemon in the device's namespace; ends when dropped.
pub(crate) trait Device: Sized {
    /// With this password and hop limit guard towards us.
    fn start(site: &Site, md5: Option<&str>, gtsm: bool) -> Self;
}

/// Killed when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(site: &Site, program: &str, arguments: &[&str]) -> Self {
        let name = Path::new(program).file_name().expect("a name").to_string_lossy().into_owned();
        let log = File::create(site.directory.join(format!("{name}.log"))).expect("a log");
        let mut command = Command::new(program);
        command.args(arguments).stdout(log.try_clone().expect("a log")).stderr(log);
        Self(site.theirs.spawn(&mut command).expect("the daemon starts"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for_file(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(20), "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// BIRD 2.
pub(crate) struct Bird(#[expect(dead_code, reason = "held for its end")] Daemon);

impl Device for Bird {
    fn start(site: &Site, md5: Option<&str>, gtsm: bool) -> Self {
        let mut options = String::new();
        if let Some(password) = md5 {
            options.push_str(&format!("password \"{password}\"; "));
        }
        if gtsm {
            options.push_str("ttl security on; ");
        }
        let mut text = "router id 192.168.7.1;\nprotocol device { }\n".to_owned();
        let sides = [("ipv4", "192.168.7.0/24"), ("ipv6", "fd20:7::/48")];
        for (side, (channel, prefix)) in sides.into_iter().enumerate() {
            text.push_str(&format!(
                "protocol static s_{channel} {{ {channel}; route {prefix} unreachable; }}\n\
                 protocol bgp b_{channel} {{ local {} as 65001; neighbor {} as 64512; {options}\n\
                 connect delay time 1; connect retry time 2; error wait time 1, 2;\n\
                 {channel} {{ import all; export where source = RTS_STATIC; next hop self; }}; }}\n",
                PEER[side], LOCAL[side],
            ));
        }
        let path = |name: &str| site.directory.join(name).to_string_lossy().into_owned();
        let (conf, ctl, pid) = (path("bird.conf"), path("bird.ctl"), path("bird.pid"));
        std::fs::write(&conf, text).expect("the configuration");
        let _ = std::fs::remove_file(&ctl);
        let daemon = Daemon::start(site, "bird", &["-f", "-c", &conf, "-s", &ctl, "-P", &pid]);
        wait_for_file(Path::new(&ctl));
        Self(daemon)
    }
}

/// FRR's zebra and bgpd.
pub(crate) struct Frr {
    _bgpd: Daemon,
    _zebra: Daemon,
}

impl Frr {
    fn daemon(site: &Site, folder: &Path, name: &str) -> Daemon {
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (socket, conf, pid, vty) =
            (path("zserv.api"), path("frr.conf"), path(&format!("{name}.pid")), path(&format!("{name}.vty")));
        let _ = std::fs::remove_file(&vty);
        let sockets = folder.to_string_lossy();
        let users = ["-u", "frr", "-g", "frr", "-A", "127.0.0.1", "-P", "0"];
        let files = ["--vty_socket", &sockets, "-z", &socket, "-i", &pid, "-f", &conf];
        let daemon = Daemon::start(site, &format!("/usr/lib/frr/{name}"), &[users, files].concat());
        wait_for_file(Path::new(&vty));
        daemon
    }
}

impl Device for Frr {
    fn start(site: &Site, md5: Option<&str>, gtsm: bool) -> Self {
        let mut text = "router bgp 65001\n bgp router-id 192.168.7.1\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
                        no bgp default ipv4-unicast\n"
            .to_owned();
        for neighbor in LOCAL {
            text.push_str(&format!(" neighbor {neighbor} remote-as 64512\n neighbor {neighbor} timers connect 2\n"));
            if let Some(password) = md5 {
                text.push_str(&format!(" neighbor {neighbor} password {password}\n"));
            }
            if gtsm {
                text.push_str(&format!(" neighbor {neighbor} ttl-security hops 1\n"));
            }
        }
        for (side, (family, prefix)) in [("ipv4", "192.168.7.0/24"), ("ipv6", "fd20:7::/48")].into_iter().enumerate() {
            text.push_str(&format!(
                " address-family {family} unicast\n  network {prefix}\n  neighbor {} activate\n exit-address-family\n",
                LOCAL[side]
            ));
        }
        let folder: PathBuf = site.directory.join("frr");
        std::fs::create_dir_all(&folder).expect("a directory");
        std::fs::write(folder.join("frr.conf"), text).expect("the configuration");
        sh(&format!("chown -R frr:frr {}", folder.display()));
        let _zebra = Self::daemon(site, &folder, "zebra");
        let _bgpd = Self::daemon(site, &folder, "bgpd");
        Self { _bgpd, _zebra }
    }
}
