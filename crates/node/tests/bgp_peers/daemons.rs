//! The foreign daemons, configured as a test asks and spoken to through their command lines.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use causeway_model::Family;

use crate::site::{OURS, Site, THEIRS, net, run, sh};

/// A prefix that the device announces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Announced {
    pub(crate) prefix: String,
    /// Standard communities.
    pub(crate) communities: Vec<(u16, u16)>,
    /// AS numbers put before the device's own way, the last one being the nearest to us but for the device itself.
    pub(crate) prepend: Vec<u32>,
    pub(crate) med: Option<u32>,
    /// The link on which it has these attributes; on the others it has none. `None`: on all.
    pub(crate) link: Option<usize>,
}

impl Announced {
    pub(crate) fn plain(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..Self::default() }
    }
}

/// How a device is configured.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) md5: Option<&'static str>,
    pub(crate) gtsm: bool,
    pub(crate) asn: u32,
    /// Our AS number, as it knows it.
    pub(crate) expects: u32,
    pub(crate) router_id: &'static str,
    /// Seconds; a keepalive each third of it.
    pub(crate) hold_time: u16,
    pub(crate) graceful: bool,
    /// It waits for us to connect.
    pub(crate) passive: bool,
    /// Prefixes accepted from us at most.
    pub(crate) limit: Option<u32>,
    pub(crate) routes: Vec<Announced>,
}

pub(crate) const DEVICE_ROUTES: [&str; 2] = ["192.168.7.0/24", "fd20:7::/48"];

impl Default for Setup {
    fn default() -> Self {
        Self {
            md5: None,
            gtsm: false,
            asn: THEIRS,
            expects: OURS,
            router_id: "192.168.7.1",
            hold_time: 90,
            graceful: false,
            passive: false,
            limit: None,
            routes: DEVICE_ROUTES.into_iter().map(Announced::plain).collect(),
        }
    }
}

impl Setup {
    fn of(&self, family: Family) -> impl Iterator<Item = (usize, &Announced)> {
        self.routes.iter().enumerate().filter(move |(_, route)| Family::of_net(&net(&route.prefix)) == family)
    }
}

/// A BGP daemon in the device's namespace; ends when dropped.
pub(crate) trait Device: Sized {
    /// Established over its own connection, it takes one of ours that it accepts then for a restart (RFC 4724 §5), not for a collision.
    const LATE_COLLISION_IS_A_RESTART: bool;
    /// Its End-of-RIB comes before its own routes, so that what graceful restart keeps is gone for a moment.
    const EARLY_END_OF_RIB: bool;
    /// Starts it. A second start in the same site, after the first one was dropped, is a restart.
    fn start(site: &Site, setup: &Setup) -> Self;
    /// Changes what it announces; its sessions stay.
    fn announce(&mut self, site: &Site, setup: &Setup);
    /// Asks us for all our routes of `family` again (RFC 2918).
    fn refresh(&self, site: &Site, family: Family);
    /// Ends the session of `family` on the first link, with words (RFC 9003).
    fn shut(&self, site: &Site, family: Family, words: &str);
    /// Whether it has this prefix of ours in its table.
    fn knows(&self, prefix: &str) -> bool;
    /// The hold time in force on the first link, in seconds.
    fn hold_time(&self, site: &Site, family: Family) -> Option<u64>;
    /// Whether its session of `family` on the first link is Established.
    fn established(&self, site: &Site, family: Family) -> bool;
    /// Everything that it says of our words at the end.
    fn last_words(&self, site: &Site) -> String;
    /// Stops its process in its tracks; [`Device::thaw`] lets it go on.
    fn freeze(&self);
    fn thaw(&self);
    /// Kills it; what it was is needed for no more than a restart.
    fn kill(self);
}

/// Killed when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(site: &Site, program: &str, arguments: &[&str]) -> Self {
        let name = Path::new(program).file_name().expect("a name").to_string_lossy().into_owned();
        let log =
            File::options().create(true).append(true).open(site.directory.join(format!("{name}.log"))).expect("a log");
        let mut command = Command::new(program);
        command.args(arguments).stdout(log.try_clone().expect("a log")).stderr(log);
        Self(site.theirs.spawn(&mut command).expect("the daemon starts"))
    }

    fn signal(&self, name: &str) {
        sh(&format!("kill -{name} {}", self.0.id()));
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The file of a socket is there before anybody listens.
fn wait_for_socket(daemon: &mut Daemon, path: &Path) {
    let start = Instant::now();
    while UnixStream::connect(path).is_err() {
        assert!(daemon.exited().is_none(), "the daemon of {} ended at once", path.display());
        assert!(start.elapsed() < Duration::from_secs(60), "{} does not answer", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn word(family: Family) -> &'static str {
    if family.is_ipv6() { "ipv6" } else { "ipv4" }
}

/// BIRD 2.
pub(crate) struct Bird {
    daemon: Daemon,
    control: String,
}

impl Bird {
    fn write(site: &Site, setup: &Setup) -> [String; 3] {
        let mut text = format!("log stderr all;\nrouter id {};\nprotocol device {{ }}\n", setup.router_id);
        for family in Family::ALL {
            let channel = word(family);
            let mut statics = String::new();
            for (_, route) in setup.of(family) {
                let _ = write!(statics, " route {} unreachable;", route.prefix);
            }
            let _ = writeln!(text, "protocol static s_{channel} {{ {channel};{statics} }}");
            for (number, link) in site.links.iter().enumerate() {
                let (ours, theirs, _) = link[usize::from(family.is_ipv6())];
                let mut options = format!("hold time {}; keepalive time {}; ", setup.hold_time, setup.hold_time / 3);
                if let Some(password) = setup.md5 {
                    let _ = write!(options, "password \"{password}\"; ");
                }
                if setup.gtsm {
                    options.push_str("ttl security on; ");
                }
                if setup.passive {
                    options.push_str("passive on; ");
                }
                if setup.graceful {
                    options.push_str("graceful restart on; graceful restart time 60; ");
                }
                let limit =
                    setup.limit.map_or_else(String::new, |limit| format!("receive limit {limit} action disable; "));
                let mut filter = String::from("if source != RTS_STATIC then reject; ");
                for (_, route) in setup.of(family) {
                    let mut then = String::new();
                    if route.link.is_some_and(|link| link != number) {
                        continue;
                    }
                    for (asn, value) in &route.communities {
                        let _ = write!(then, "bgp_community.add(({asn},{value})); ");
                    }
                    for asn in &route.prepend {
                        let _ = write!(then, "bgp_path.prepend({asn}); ");
                    }
                    if let Some(med) = route.med {
                        let _ = write!(then, "bgp_med = {med}; ");
                    }
                    if !then.is_empty() {
                        let _ = write!(filter, "if net = {} then {{ {then}}} ", route.prefix);
                    }
                }
                let _ = writeln!(
                    text,
                    "protocol bgp b{number}_{channel} {{ local {theirs} as {}; neighbor {ours} as {}; {options}\n\
                     connect delay time 1; connect retry time 2; error wait time 1, 2; startup hold time 20;\n\
                     {channel} {{ import all; export filter {{ {filter}accept; }}; next hop self; {limit}}}; }}",
                    setup.asn, setup.expects,
                );
            }
        }
        let path = |name: &str| site.directory.join(name).to_string_lossy().into_owned();
        let paths = [path("bird.conf"), path("bird.ctl"), path("bird.pid")];
        std::fs::write(&paths[0], text).expect("the configuration");
        paths
    }

    fn birdc(&self, command: &str) -> String {
        run(&["birdc", "-s", &self.control, command])
    }
}

impl Device for Bird {
    const LATE_COLLISION_IS_A_RESTART: bool = false;
    const EARLY_END_OF_RIB: bool = false;

    fn start(site: &Site, setup: &Setup) -> Self {
        let [conf, control, pid] = Self::write(site, setup);
        // Its control socket is left behind only if it was killed.
        let recovers = setup.graceful && Path::new(&control).exists();
        let _ = std::fs::remove_file(&control);
        let mut arguments = vec!["-f", "-c", &conf, "-s", &control, "-P", &pid];
        if recovers {
            arguments.push("-R");
        }
        let mut daemon = Daemon::start(site, "bird", &arguments);
        wait_for_socket(&mut daemon, Path::new(&control));
        Self { daemon, control }
    }

    fn announce(&mut self, site: &Site, setup: &Setup) {
        Self::write(site, setup);
        let answer = self.birdc("configure");
        assert!(answer.contains("Reconfigur"), "{answer}");
    }

    fn refresh(&self, _site: &Site, family: Family) {
        self.birdc(&format!("reload in b0_{}", word(family)));
    }

    fn shut(&self, _site: &Site, family: Family, words: &str) {
        self.birdc(&format!("disable b0_{} \"{words}\"", word(family)));
    }

    fn knows(&self, prefix: &str) -> bool {
        self.birdc("show route where source = RTS_BGP").contains(prefix)
    }

    fn hold_time(&self, _site: &Site, family: Family) -> Option<u64> {
        let shown = self.birdc(&format!("show protocols all b0_{}", word(family)));
        // `Hold timer: 7.2/9`: what is left, and what of.
        let timer = shown.lines().find_map(|line| line.trim().strip_prefix("Hold timer:"))?;
        timer.rsplit('/').next()?.trim().parse().ok()
    }

    fn established(&self, _site: &Site, family: Family) -> bool {
        self.birdc(&format!("show protocols b0_{}", word(family))).contains("Established")
    }

    fn last_words(&self, site: &Site) -> String {
        std::fs::read_to_string(site.directory.join("bird.log")).expect("the log")
    }

    fn freeze(&self) {
        self.daemon.signal("STOP");
    }

    fn thaw(&self) {
        self.daemon.signal("CONT");
    }

    fn kill(self) {}
}

/// FRR's zebra and bgpd.
pub(crate) struct Frr {
    bgpd: Daemon,
    zebra: Daemon,
    folder: PathBuf,
    asn: u32,
    /// Commands that take the last announcements back.
    undo: Vec<String>,
}

impl Frr {
    fn daemon(site: &Site, folder: &Path, name: &str) -> Daemon {
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (socket, conf, pid, vty) =
            (path("zserv.api"), path("frr.conf"), path(&format!("{name}.pid")), path(&format!("{name}.vty")));
        let _ = std::fs::remove_file(&vty);
        let sockets = folder.to_string_lossy();
        let users = ["-u", "frr", "-g", "frr", "-A", "127.0.0.1", "-P", "0", "--log", "stdout"];
        let files = ["--vty_socket", &sockets, "-z", &socket, "-i", &pid, "-f", &conf];
        let mut daemon = Daemon::start(site, &format!("/usr/lib/frr/{name}"), &[users.as_slice(), &files].concat());
        wait_for_socket(&mut daemon, Path::new(&vty));
        daemon
    }

    /// What it announces, as lines of configuration, and the lines that take it back.
    fn announcements(site: &Site, setup: &Setup) -> (Vec<String>, Vec<String>) {
        let mut lines = vec!["bgp as-path access-list own permit ^$".to_owned()];
        let mut undo = Vec::new();
        for family in Family::ALL {
            let list = if family.is_ipv6() { "ipv6" } else { "ip" };
            for number in 0..site.links.len() {
                let map = format!("out{number}_{}", word(family));
                for (index, route) in setup.of(family) {
                    let mut set = Vec::new();
                    if !route.communities.is_empty() {
                        let tags: Vec<String> =
                            route.communities.iter().map(|(asn, value)| format!("{asn}:{value}")).collect();
                        set.push(format!(" set community {}", tags.join(" ")));
                    }
                    if !route.prepend.is_empty() {
                        let path: Vec<String> = route.prepend.iter().rev().map(u32::to_string).collect();
                        set.push(format!(" set as-path prepend {}", path.join(" ")));
                    }
                    if let Some(med) = route.med {
                        set.push(format!(" set metric {med}"));
                    }
                    if set.is_empty() || route.link.is_some_and(|link| link != number) {
                        continue;
                    }
                    let entry = format!("route-map {map} permit {}", index + 1);
                    lines.push(format!("{list} prefix-list p{index} seq 5 permit {}", route.prefix));
                    undo.push(format!("no {entry}"));
                    undo.push(format!("no {list} prefix-list p{index}"));
                    lines.push(entry);
                    lines.push(format!(" match {list} address prefix-list p{index}"));
                    lines.extend(set);
                    lines.push("exit".to_owned());
                }
                // Nothing of what it learns goes out again.
                lines.extend([
                    format!("route-map {map} permit 60000"),
                    " match as-path own".to_owned(),
                    "exit".to_owned(),
                ]);
            }
            let open = [format!("router bgp {}", setup.asn), format!(" address-family {} unicast", word(family))];
            let close = [" exit-address-family".to_owned(), "exit".to_owned()];
            let networks: Vec<&String> = setup.of(family).map(|(_, route)| &route.prefix).collect();
            lines.extend(open.iter().cloned());
            lines.extend(networks.iter().map(|prefix| format!("  network {prefix}")));
            lines.extend(close.iter().cloned());
            undo.extend(open);
            undo.extend(networks.iter().map(|prefix| format!("  no network {prefix}")));
            undo.extend(close);
        }
        (lines, undo)
    }

    fn configuration(site: &Site, setup: &Setup) -> String {
        let mut text = format!(
            "router bgp {}\n bgp router-id {}\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
             bgp log-neighbor-changes\n no bgp default ipv4-unicast\n timers bgp {} {}\n",
            setup.asn,
            setup.router_id,
            setup.hold_time / 3,
            setup.hold_time,
        );
        if setup.graceful {
            text.push_str(" bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp graceful-restart restart-time 60\n");
        }
        for (neighbor, _, _) in site.links.iter().flatten() {
            let _ = write!(
                text,
                " neighbor {neighbor} remote-as {}\n neighbor {neighbor} timers connect 2\n neighbor {neighbor} advertisement-interval 0\n",
                setup.expects,
            );
            if setup.passive {
                let _ = writeln!(text, " neighbor {neighbor} passive");
            }
            if let Some(password) = setup.md5 {
                let _ = writeln!(text, " neighbor {neighbor} password {password}");
            }
            if setup.gtsm {
                let _ = writeln!(text, " neighbor {neighbor} ttl-security hops 1");
            }
        }
        for family in Family::ALL {
            let name = word(family);
            let _ = writeln!(text, " address-family {name} unicast");
            for (number, link) in site.links.iter().enumerate() {
                let neighbor = link[usize::from(family.is_ipv6())].0;
                let _ = write!(
                    text,
                    "  neighbor {neighbor} activate\n  neighbor {neighbor} route-map out{number}_{name} out\n"
                );
                if let Some(limit) = setup.limit {
                    let _ = writeln!(text, "  neighbor {neighbor} maximum-prefix {limit}");
                }
            }
            text.push_str(" exit-address-family\n");
        }
        text.push_str("exit\n");
        let (lines, _) = Self::announcements(site, setup);
        text + &lines.join("\n") + "\n"
    }

    fn vtysh(&self, commands: &[&str]) -> String {
        let folder = self.folder.to_string_lossy();
        let mut words = vec!["vtysh", "--vty_socket", &folder];
        for command in commands {
            words.extend(["-c", *command]);
        }
        run(&words)
    }

    /// What it shows of us on the first link.
    fn neighbor(&self, site: &Site, family: Family) -> Option<serde_json::Value> {
        let shown = self.vtysh(&[&format!("show bgp neighbors {} json", site.local(family))]);
        serde_json::from_str::<serde_json::Value>(&shown).ok()?.get(site.local(family)).cloned()
    }
}

impl Device for Frr {
    const LATE_COLLISION_IS_A_RESTART: bool = true;
    const EARLY_END_OF_RIB: bool = true;

    fn start(site: &Site, setup: &Setup) -> Self {
        let folder: PathBuf = site.directory.join("frr");
        std::fs::create_dir_all(&folder).expect("a directory");
        std::fs::write(folder.join("frr.conf"), Self::configuration(site, setup)).expect("the configuration");
        sh(&format!("chown -R frr:frr {}", folder.display()));
        let zebra = Self::daemon(site, &folder, "zebra");
        let bgpd = Self::daemon(site, &folder, "bgpd");
        Self { bgpd, zebra, folder, asn: setup.asn, undo: Self::announcements(site, setup).1 }
    }

    fn announce(&mut self, site: &Site, setup: &Setup) {
        let (lines, undo) = Self::announcements(site, setup);
        let undo = std::mem::replace(&mut self.undo, undo);
        let file = self.folder.join("edit.conf");
        std::fs::write(&file, [undo, lines].concat().join("\n") + "\n").expect("the edit");
        run(&["vtysh", "--vty_socket", &self.folder.to_string_lossy(), "-f", &file.to_string_lossy()]);
    }

    fn refresh(&self, site: &Site, family: Family) {
        self.vtysh(&[&format!("clear bgp {} unicast {} soft in", word(family), site.local(family))]);
    }

    fn shut(&self, site: &Site, family: Family, words: &str) {
        let line = format!("neighbor {} shutdown message {words}", site.local(family));
        self.vtysh(&["configure terminal", &format!("router bgp {}", self.asn), &line]);
    }

    fn knows(&self, prefix: &str) -> bool {
        self.vtysh(&[&format!("show bgp {} unicast", word(Family::of_net(&net(prefix))))]).contains(prefix)
    }

    fn hold_time(&self, site: &Site, family: Family) -> Option<u64> {
        Some(self.neighbor(site, family)?.get("bgpTimerHoldTimeMsecs")?.as_u64()? / 1000)
    }

    fn established(&self, site: &Site, family: Family) -> bool {
        self.neighbor(site, family).is_some_and(|shown| shown["bgpState"] == "Established")
    }

    fn last_words(&self, site: &Site) -> String {
        std::fs::read_to_string(site.directory.join("bgpd.log")).expect("the log")
    }

    fn freeze(&self) {
        self.bgpd.signal("STOP");
    }

    fn thaw(&self) {
        self.bgpd.signal("CONT");
    }

    fn kill(self) {
        // zebra goes on, as it does when only bgpd crashes: its end alone would take the routes along.
        drop(self.bgpd);
        drop(self.zebra);
    }
}
