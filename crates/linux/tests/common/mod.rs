//! Namespaces that go away with the test, and the programs that look into them.
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each test file uses its part")]

use std::fmt::Display;
use std::io::Read;
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use causeway_linux::{Namespace, Netlink, VethEnd, sysctl};
use ipnet::IpNet;

/// A namespace that is deleted when dropped.
pub struct Room {
    pub ns: Namespace,
    pub net: Netlink,
}

impl Room {
    /// Makes `cwlx-NAME`, whose links shall forward.
    pub fn new(name: &str) -> Self {
        let name = format!("cwlx-{name}");
        Namespace::delete(&name).expect("clear what an earlier run left");
        let ns = Namespace::create(&name).expect("create a namespace");
        sysctl::apply(&ns, &sysctl::forwarding()).expect("settings");
        // Multicast reports at once instead of some time in the first seconds, when packets are being counted.
        let quiet = sysctl::Setting::new("ipv6/conf/default/mldv2_unsolicited_report_interval", "1");
        sysctl::apply(&ns, &[quiet]).expect("settings");
        let net = Netlink::open(&ns).expect("netlink");
        Self { ns, net }
    }

    /// Runs a program and expects it to succeed.
    pub fn sh(&self, line: &str) -> String {
        let argv: Vec<_> = line.split_whitespace().collect();
        let output = self.ns.command(&argv).expect("start");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What a program prints, whatever its exit status.
    pub fn output(&self, line: &str) -> String {
        let argv: Vec<_> = line.split_whitespace().collect();
        let output = self.ns.command(&argv).expect("start");
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// Whether one echo is answered within 0.4 s.
    pub fn ping(&self, from: impl Display, to: impl Display) -> bool {
        self.ns
            .command(&["ping", "-n", "-c1", "-W0.4", "-I", &from.to_string(), &to.to_string()])
            .expect("start ping")
            .status
            .success()
    }

    /// Waits until an echo is answered: a link that has just come up passes nothing until the kernel has looked at its carrier.
    pub fn reaches(&self, from: impl Display, to: impl Display) {
        let begun = Instant::now();
        while !self.ping(&from, &to) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{from} does not reach {to}");
        }
    }

    /// Starts tcpdump and returns when it captures.
    pub fn capture(&self, link: &str, filter: &str, packets: u32) -> Capture {
        let mut command = Command::new("tcpdump");
        command.args(["-n", "-v", "-e", "-l", "--immediate-mode", "-i", link, "-c", &packets.to_string(), filter]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.ns.spawn(&mut command).expect("start tcpdump");
        let mut errors = child.stderr.take().expect("piped");
        let mut seen = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&seen).contains("listening on") {
            assert_eq!(errors.read(&mut byte).expect("read"), 1, "tcpdump: {}", String::from_utf8_lossy(&seen));
            seen.extend(byte);
        }
        Capture { child, _errors: errors }
    }

    /// Makes a link with carrier that leads nowhere.
    pub async fn wire(&self, name: &str) {
        let other = format!("{name}-end");
        self.net.create_veth(&VethEnd::new(name), &VethEnd::new(&other)).await.expect("veth");
        self.net.set_up(self.net.index(&other).await.expect("the link"), true).await.expect("up");
    }

    /// Sets a link up with these addresses; its index.
    pub async fn up(&self, link: &str, addresses: &[&str]) -> u32 {
        let index = self.net.index(link).await.expect("the link");
        let addresses: Vec<IpNet> = addresses.iter().map(|text| net(text)).collect();
        self.net.set_up(index, true).await.expect("up");
        self.net.apply_addresses(index, &addresses, Default::default()).await.expect("addresses");
        index
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = Namespace::delete(self.ns.name());
    }
}

pub struct Capture {
    child: Child,
    _errors: std::process::ChildStderr,
}

impl Capture {
    /// What was captured once the packets are there, or after twenty seconds.
    pub fn finish(mut self) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().expect("wait").is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let mut text = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
        self.child.wait().expect("wait");
        text
    }
}

pub fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
