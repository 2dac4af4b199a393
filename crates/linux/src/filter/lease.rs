//! The gate of a node's forwarding lease (system.md §3, ADR 0026): what gateways send and receive passes while an element of a set is alive.
//!
//! The kernel alone counts an element's life, so nothing that becomes of the process makes it longer. An element is put in place
//! ([`LeaseGate::arm`]) before anybody is asked whether it may count, and changes nothing; then the one rule of the gate names it
//! ([`LeaseGate::count`]). Numbers that are alive but not named open nothing, and naming one that is dead opens nothing either.
//!
//! One gate for all gateways, in the node's own namespace, since everything of theirs passes there:
//!
//! ```text
//!  peers ══ the public addresses (inet: input, output) ══ datapath, gateways, VPC routers
//!  neighbours of the underlay ── ARP and ND for the public addresses (arp: output; netdev: egress of the underlay)
//!  hosts ── bridge of a Private Network ── the router's port (bridge: prerouting, postrouting)
//! ```
//!
//! Of a public address that the machine uses for itself, too, it is UDP 500 and 4500 and ESP alone, and the machine goes on answering for it. Egress is
//! there for frames that do not come from the IP layers, as announcements do. Through the routers' ports goes everything that a VPC's
//! router forwards or says, InterLinks and routing between its Private Networks included: with its gateways it may run on another node by now, under the
//! same addresses. What hosts of one Private Network send each other is bridged and is not touched, nor is anything else of the machine.
//!
//! The gate is in tables of its own, of one name, which change in one transaction. Every closing makes new ones, whose set and chain have names that
//! were never used: what an `nft` of before does late finds nothing to work on. No `nft` is started while an earlier one of the gate may run, and each gets
//! its input as a whole before it starts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Child;
use tokio::time::{Instant, timeout_at};

use super::apply;
use crate::error::check_link_name;
use crate::{Error, Namespace, Result};

/// The name of the tables.
const TABLE: &str = "causeway_lease";
/// Their families.
const FAMILIES: [&str; 4] = ["inet", "arp", "bridge", "netdev"];
/// Before every other filter, and before any translation of addresses.
const PRIORITY: &str = "priority -310; policy accept;";
/// Counts what the gate stopped.
const DROPPED: &str = "drop_no_lease";
/// What the kernel may add to a timeout by its clock's ticks, at 100 of them in a second.
const TICK: Duration = Duration::from_millis(10);

/// What shall pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Everything, and there is no gate.
    Open,
    /// Everything still, through a gate that has elements already.
    Ready,
    /// Nothing.
    Closed,
    /// Everything, while this element is alive.
    Counted(u32),
}

/// What the kernel has of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    /// Something of before, or of an attempt that failed.
    Unknown,
    /// Nothing.
    Absent,
    /// The tables of [`LeaseGate::tag`], for [`LeaseGate::mode`] and all else.
    Current,
}

/// The gate of one namespace. Dropping it leaves what is in force in force.
///
/// No call takes longer than the patience that it is given, but for the start of a program. After an error the gate lets pass what it let pass
/// before, or less; the next call brings the kernel to what was asked for last. A call is waited for to its end: one that is dropped half-way may leave
/// an `nft` that the next one does not wait for.
#[derive(Debug)]
pub struct LeaseGate {
    namespace: Namespace,
    /// How the names of the routers' ports begin.
    ports: String,
    /// What was asked for last; `None`: nobody has asked for anything yet.
    mode: Option<Mode>,
    kernel: Kernel,
    /// In the names of the set and the chain.
    tag: String,
    /// The newest number since the gate was closed or opened: numbers only grow.
    armed: u32,
    /// The addresses that gateways use for IKE and ESP, and whether they are there for that alone.
    addresses: BTreeMap<IpAddr, bool>,
    /// The interface on which those that are there for that alone are announced, with its index.
    underlay: Option<(String, u32)>,
    /// The `nft` that was started last, until it is known to have ended.
    child: Option<Child>,
}

impl LeaseGate {
    /// The gate of `namespace`, in which the ports of VPC routers have names that begin with `ports`. Nothing is done yet.
    ///
    /// # Errors
    /// [`Error::Name`]: links' names do not begin like that.
    pub fn new(namespace: Namespace, ports: &str) -> Result<Self> {
        check_link_name(ports)?;
        Ok(Self {
            namespace,
            ports: ports.to_owned(),
            mode: None,
            kernel: Kernel::Unknown,
            tag: String::new(),
            armed: 0,
            addresses: BTreeMap::new(),
            underlay: None,
            child: None,
        })
    }

    /// Nothing passes from now on, and every element is gone.
    ///
    /// # Errors
    /// [`Error::NftMissing`]; [`Error::NftHangs`]; [`Error::Nft`] with its words.
    pub async fn close(&mut self, patience: Duration) -> Result<()> {
        (self.mode, self.armed) = (Some(Mode::Closed), 0);
        self.rebuild(Instant::now() + patience).await
    }

    /// Everything passes, and nothing of the gate is left.
    ///
    /// # Errors
    /// As [`Self::close`].
    pub async fn open(&mut self, patience: Duration) -> Result<()> {
        (self.mode, self.armed) = (Some(Mode::Open), 0);
        if self.kernel == Kernel::Absent { Ok(()) } else { self.rebuild(Instant::now() + patience).await }
    }

    /// The element `number` is there, and lives for `lease` from some moment during this call on. What passes does not change, unless the tables
    /// had to be made anew, since somebody took them away: then nothing passes until the next number counts. `number` has to be above all that were armed
    /// since the gate was closed or opened.
    ///
    /// # Errors
    /// As [`Self::close`], after which the element may be there or not; [`Error::Nft`] for a number that is not above the last one.
    pub async fn arm(&mut self, number: u64, lease: Duration, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let number = key(number)?;
        match self.mode {
            Some(Mode::Open) => self.mode = Some(Mode::Ready),
            None => self.mode = Some(Mode::Closed),
            Some(_) => {}
        }
        if self.kernel != Kernel::Current {
            self.rebuild(deadline).await?;
        }
        if number <= self.armed {
            // Arming it again would give it a new life without a new question.
            return Err(Error::Nft(format!("element {number} of the lease comes after {}", self.armed)));
        }
        self.armed = number;
        match self.transact(element(&self.tag, number, lease), deadline).await {
            Err(error) if is_gone(&error) => {
                self.rebuild(deadline).await?;
                self.transact(element(&self.tag, number, lease), deadline).await
            }
            other => other,
        }
    }

    /// From now on everything passes while the element `number` is alive, and nothing when it is not.
    ///
    /// # Errors
    /// As [`Self::close`].
    pub async fn count(&mut self, number: u64, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let number = key(number)?;
        self.mode = Some(Mode::Counted(number));
        // One that was never armed lets nothing pass, and shall not by being armed later.
        self.armed = self.armed.max(number);
        if self.kernel == Kernel::Current {
            let done = self.transact(switch(&self.tag, &self.gate_rules()), deadline).await;
            if !done.as_ref().is_err_and(is_gone) {
                return done;
            }
        }
        self.rebuild(deadline).await
    }

    /// Has the gate concern `address` too, before it is put anywhere; `own`: it is there for gateways alone, so that nobody may hear of it
    /// without a lease. What passes does not change.
    ///
    /// # Errors
    /// As [`Self::close`]: the address must not be used.
    pub async fn include(&mut self, address: IpAddr, own: bool, patience: Duration) -> Result<()> {
        let text = match self.addresses.insert(address, own) {
            Some(before) if before == own => String::new(),
            Some(before) => put(address, own) + &take(address, before),
            None => put(address, own),
        };
        self.renew(text, patience).await
    }

    /// The opposite of [`Self::include`], after the address has gone.
    ///
    /// # Errors
    /// As [`Self::close`].
    pub async fn exclude(&mut self, address: IpAddr, patience: Duration) -> Result<()> {
        let text = self.addresses.remove(&address).map(|own| take(address, own)).unwrap_or_default();
        self.renew(text, patience).await
    }

    /// The interface that neighbours hear of the public addresses from, with its index; `None`: it is not there. What passes does not change.
    ///
    /// # Errors
    /// As [`Self::close`]; [`Error::Name`]: `nft` can't name it.
    pub async fn set_underlay(&mut self, underlay: Option<(&str, u32)>, patience: Duration) -> Result<()> {
        if let Some((name, _)) = underlay {
            check_link_name(name)?;
        }
        let underlay = underlay.map(|(name, index)| (name.to_owned(), index));
        let changed = self.underlay != underlay;
        self.underlay = underlay;
        let text = if changed { self.new_underlay() } else { String::new() };
        self.renew(text, patience).await
    }

    /// Changes the tables by `text`, and all of them if they are not as they should be.
    async fn renew(&mut self, text: String, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        match self.kernel {
            Kernel::Absent => Ok(()),
            Kernel::Current if text.is_empty() => Ok(()),
            Kernel::Current => {
                // Until it has worked, the next call makes everything anew.
                self.kernel = Kernel::Unknown;
                let done = self.transact(text, deadline).await;
                if done.as_ref().is_err_and(is_gone) {
                    return self.rebuild(deadline).await;
                }
                if done.is_ok() {
                    self.kernel = Kernel::Current;
                }
                done
            }
            Kernel::Unknown => self.rebuild(deadline).await,
        }
    }

    /// Makes the tables anew, without an element, or takes them away, as it was asked for. While nobody has asked, nothing is done: whoever does
    /// takes along what is remembered.
    async fn rebuild(&mut self, deadline: Instant) -> Result<()> {
        self.kernel = Kernel::Unknown;
        match self.mode {
            None => return Ok(()),
            Some(Mode::Open) => {
                self.transact(removal(), deadline).await?;
                self.kernel = Kernel::Absent;
                return Ok(());
            }
            Some(_) => {}
        }
        self.tag = format!("{:016x}", RandomState::new().hash_one(0));
        let text = self.render();
        self.transact(text, deadline).await?;
        self.kernel = Kernel::Current;
        Ok(())
    }

    /// The rules of the gate itself.
    fn gate_rules(&self) -> Vec<String> {
        let drop = format!("counter name {DROPPED} drop");
        match self.mode {
            Some(Mode::Open | Mode::Ready) => vec!["return".to_owned()],
            None | Some(Mode::Closed) => vec![drop],
            // The number that comes next of those from `number` to `number`: the way to look up a constant.
            Some(Mode::Counted(number)) => {
                vec![format!("numgen inc mod 1 offset {number} @lease_{} return", self.tag), drop]
            }
        }
    }

    /// Everything, in place of what there was.
    fn render(&self) -> String {
        let mut text = removal();
        let tag = &self.tag;
        let gate = format!("gate_{tag}");
        for family in FAMILIES {
            let _ = writeln!(text, "table {family} {TABLE} {{");
            let _ = writeln!(text, "\tset lease_{tag} {{ typeof numgen inc mod 1; flags timeout; }}");
            let _ = writeln!(text, "\tcounter {DROPPED} {{ packets 0 bytes 0 }}");
            for (name, version, _) in sets(family) {
                let _ = writeln!(text, "\tset {name} {{ type {version}; }}");
            }
            chain(&mut text, &gate, &self.gate_rules());
            for (name, hook, rules) in base_chains(family, &self.ports) {
                chain(&mut text, name, &self.gated(hook, &rules));
            }
            text.push_str("}\n");
        }
        text.extend(self.addresses.iter().map(|(address, own)| put(*address, *own)));
        text + &self.new_underlay()
    }

    /// The rules of a base chain.
    fn gated(&self, hook: &str, rules: &[String]) -> Vec<String> {
        let first = format!("type filter hook {hook} {PRIORITY}");
        let goto = rules.iter().map(|rule| format!("{rule} goto gate_{}", self.tag));
        [first].into_iter().chain(goto).collect()
    }

    /// The chain of the underlay, in place of the one before. The kernel may have taken that away with its interface: then one is made to be taken
    /// away.
    fn new_underlay(&self) -> String {
        let mut text = String::new();
        for word in ["add", "flush", "delete"] {
            let _ = writeln!(text, "{word} chain netdev {TABLE} underlay");
        }
        if let Some((name, _)) = &self.underlay {
            let _ = writeln!(text, "table netdev {TABLE} {{");
            let rules = self.gated(&format!("egress device \"{name}\""), &[ARP.to_owned(), NEIGHBOURS.to_owned()]);
            chain(&mut text, "underlay", &rules);
            text.push_str("}\n");
        }
        text
    }

    /// Runs `nft` on `text`, as one transaction, once every earlier one has ended.
    async fn transact(&mut self, text: String, deadline: Instant) -> Result<()> {
        if let Some(child) = &mut self.child {
            // Fails only for one that has ended.
            let _ = child.start_kill();
            timeout_at(deadline, child.wait()).await.map_err(|_| Error::NftHangs)?.map_err(waiting)?;
            self.child = None;
        }
        let failed = |error: io::Error| Error::os("hand a ruleset to nft", error);
        let input = memory(text.as_bytes()).map_err(failed)?;
        let mut errors = memory(&[]).map_err(failed)?;
        let theirs = errors.try_clone().map_err(failed)?;
        let streams = move || Ok([input.try_clone()?.into(), Stdio::null(), theirs.try_clone()?.into()]);
        let child = self.child.insert(apply::start_in(&self.namespace, &["-f", "-"], streams).await?);
        let Ok(ended) = timeout_at(deadline, child.wait()).await else {
            let _ = child.start_kill();
            return Err(Error::NftHangs);
        };
        let status = ended.map_err(waiting)?;
        self.child = None;
        let mut words = Vec::new();
        errors.rewind().and_then(|()| errors.read_to_end(&mut words)).map_err(failed)?;
        apply::judge(status, &words)
    }
}

/// How many packets the gate of `namespace` has stopped; none where there is no gate.
///
/// # Errors
/// As [`super::apply`].
pub async fn dropped(namespace: &Namespace) -> Result<u64> {
    apply::packets(namespace, TABLE, DROPPED).await
}

fn waiting(error: io::Error) -> Error {
    Error::os("wait for nft", error)
}

/// A file in memory with this content, to be read from its beginning.
fn memory(content: &[u8]) -> io::Result<File> {
    let fd = rustix::fs::memfd_create("causeway-lease", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

/// Whether the tables are not there, or are others.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Nft(words) if words.contains("No such file or directory") || words.contains("does not exist"))
}

fn key(number: u64) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::Nft(format!("{number} is no number of a lease")))
}

/// What says where addresses are.
const ARP: &str = "arp saddr ip @own4";
const NEIGHBOURS: &str = "ip6 saddr @own6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }";

/// The base chains of a family, but for the underlay's: name, hook, and what meets the gate there.
fn base_chains(family: &str, ports: &str) -> Vec<(&'static str, &'static str, Vec<String>)> {
    let exchange = |address: &str, ports: &str| {
        let of = |ip: &str, version: u8| {
            let shared = format!("{ip} {address} @shared{version}");
            [
                format!("{ip} {address} @own{version}"),
                format!("{shared} udp {ports} {{ 500, 4500 }}"),
                format!("{shared} meta l4proto esp"),
            ]
        };
        [of("ip", 4), of("ip6", 6)].concat()
    };
    match family {
        "inet" => {
            vec![("input", "input", exchange("daddr", "dport")), ("output", "output", exchange("saddr", "sport"))]
        }
        "arp" => vec![("output", "output", vec![ARP.to_owned()])],
        "bridge" => vec![
            ("from_routers", "prerouting", vec![format!("iifname \"{ports}*\"")]),
            ("to_routers", "postrouting", vec![format!("oifname \"{ports}*\"")]),
        ],
        _ => Vec::new(),
    }
}

/// Sets of addresses of a family: name, type, and whether of those that are there for gateways alone.
fn sets(family: &str) -> &'static [(&'static str, &'static str, bool)] {
    const OWN4: (&str, &str, bool) = ("own4", "ipv4_addr", true);
    const OWN6: (&str, &str, bool) = ("own6", "ipv6_addr", true);
    match family {
        "inet" => &[OWN4, OWN6, ("shared4", "ipv4_addr", false), ("shared6", "ipv6_addr", false)],
        "arp" => &[OWN4],
        "bridge" => &[],
        _ => &[OWN4, OWN6],
    }
}

fn chain(text: &mut String, name: &str, rules: &[String]) {
    let _ = writeln!(text, "\tchain {name} {{");
    for rule in rules {
        let _ = writeln!(text, "\t\t{rule}");
    }
    text.push_str("\t}\n");
}

/// Takes all tables away, those that are there.
fn removal() -> String {
    FAMILIES.map(|family| format!("table {family} {TABLE}\ndelete table {family} {TABLE}\n")).concat()
}

/// An element with a life, in every table.
fn element(tag: &str, number: u32, lease: Duration) -> String {
    let life = lease.saturating_sub(TICK).as_millis().max(1);
    FAMILIES
        .map(|family| format!("add element {family} {TABLE} lease_{tag} {{ {number} timeout {life}ms }}\n"))
        .concat()
}

/// Puts an address into the sets of its kind. Only what changes is named: where a set is emptied and filled again, a kernel of before September 2025
/// may find it empty for a moment.
fn put(address: IpAddr, own: bool) -> String {
    of_sets("add", address, own)
}

/// Takes an address out of the sets of its kind. It is put there first, so that one that is not there is no error.
fn take(address: IpAddr, own: bool) -> String {
    put(address, own) + &of_sets("delete", address, own)
}

fn of_sets(word: &str, address: IpAddr, own: bool) -> String {
    let version = if address.is_ipv6() { "ipv6_addr" } else { "ipv4_addr" };
    let mut text = String::new();
    for family in FAMILIES {
        for (name, ..) in sets(family).iter().filter(|set| (set.1, set.2) == (version, own)) {
            let _ = writeln!(text, "{word} element {family} {TABLE} {name} {{ {address} }}");
        }
    }
    text
}

/// Other rules for the gate, in every table.
fn switch(tag: &str, rules: &[String]) -> String {
    let mut text = String::new();
    for family in FAMILIES {
        let _ = writeln!(text, "flush chain {family} {TABLE} gate_{tag}");
        for rule in rules {
            let _ = writeln!(text, "add rule {family} {TABLE} gate_{tag} {rule}");
        }
    }
    text
}
