//! Two namespaces with a link between them, and daemons in them.

use std::error::Error;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use causeway_linux::Namespace;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub(crate) const ASNS: [u32; 2] = [64512, 65001];
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Side 0 announces, side 1 learns.
pub(crate) const fn address(side: usize) -> Ipv4Addr {
    if side == 0 { Ipv4Addr::new(169, 254, 100, 1) } else { Ipv4Addr::new(169, 254, 100, 2) }
}

pub(crate) fn run(words: &[&str]) -> Result<String> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let output = Command::new(program).args(arguments).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(format!("{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(text)
}

/// Gone when dropped.
pub(crate) struct Net {
    pub(crate) sides: [Namespace; 2],
    pub(crate) directory: PathBuf,
}

impl Net {
    pub(crate) fn new() -> Result<Self> {
        let make = |side: &str| -> Result<Namespace> {
            let name = format!("cwbs-{side}");
            Namespace::delete(&name)?;
            Ok(Namespace::create(&name)?)
        };
        let sides = [make("a")?, make("b")?];
        let directory = std::env::temp_dir().join(format!("cwbs-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let (a, b) = (sides[0].name(), sides[1].name());
        run(&["ip", "-n", a, "link", "add", "e0", "type", "veth", "peer", "name", "e0", "netns", b])?;
        for (side, namespace) in sides.iter().enumerate() {
            run(&["ip", "-n", namespace.name(), "addr", "add", &format!("{}/30", address(side)), "dev", "e0"])?;
            run(&["ip", "-n", namespace.name(), "link", "set", "e0", "up"])?;
        }
        let net = Self { sides, directory };
        // The kernel tells of a new link's carrier up to a second late, and zebra resolves no next hop before.
        for namespace in &net.sides {
            wait_for("the link", || {
                Ok(run(&["ip", "-n", namespace.name(), "-o", "link", "show", "e0"])?.contains("state UP"))
            })?;
        }
        Ok(net)
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

/// Asks every other millisecond.
pub(crate) fn wait_for(what: &str, condition: impl Fn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > PATIENCE {
            return Err(format!("{what}: not within {} s", PATIENCE.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Killed when dropped.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn start(namespace: &Namespace, words: &[&str]) -> Result<Self> {
        let (program, arguments) = words.split_first().ok_or("no program")?;
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(namespace.spawn(&mut command)?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the kernel of `namespace` has this IPv4 route.
pub(crate) fn in_kernel(namespace: &Namespace, route: &str) -> Result<bool> {
    let net: ipnet::Ipv4Net = route.parse()?;
    let shown = format!("{:08X}", u32::from_le_bytes(net.network().octets()));
    let table = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/route"))??;
    Ok(table.lines().any(|line| line.split('\t').nth(1) == Some(&shown)))
}

/// Whether somebody in `namespace` listens on BGP's port.
pub(crate) fn listens(namespace: &Namespace) -> Result<bool> {
    let table = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp"))??;
    // Local address and port, the other end's, and the state, in hexadecimal digits: 0A is LISTEN.
    Ok(table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(":00B3")) && words.nth(1) == Some("0A")
    }))
}

pub(crate) fn say(name: &str, value: f64, digits: usize) {
    let _ = writeln!(std::io::stdout(), "{name}\t{value:.digits$}");
}

/// A line of this process's status, megabytes.
pub(crate) fn resident(kind: &str) -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(kind)).ok_or("no such line")?;
    Ok(line.split_whitespace().next().ok_or("no figure")?.parse::<f64>()? / 1000.0)
}

/// CPU time of a process so far, in seconds. The kernel counts in hundredths.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
    let ticks =
        fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<std::result::Result<u32, _>>()?;
    Ok(f64::from(ticks) / 100.0)
}
