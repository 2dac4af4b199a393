//! Two namespaces, the links between them, and our sessions in the first.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use causeway_bgp::{Policy, SessionConfig, Verdict};
use causeway_linux::Namespace;
use causeway_model::{ConnectionId, Family, Fault};
use causeway_node::session::{
    self, Command as Order, Guard, Listener, SessionHandle, SessionKey, SessionUpdate, Totals,
};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Longest wait for anything here: several attempts of either side, and the minute for which a reason that names something stands against
/// those that do not (a daemon that starts may answer once before it knows its password).
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// AS numbers, both private (RFC 6996).
pub(crate) const OURS: u32 = 64512;
pub(crate) const THEIRS: u32 = 65001;

/// The interconnection subnets of one connection: our address, the device's, and the length; IPv4, then IPv6.
pub(crate) type Link = [(&'static str, &'static str, u8); 2];

pub(crate) const FIRST: Link = [("169.254.100.1", "169.254.100.2", 30), ("fd00:100::1", "fd00:100::2", 126)];
pub(crate) const SECOND: Link = [("169.254.200.1", "169.254.200.2", 30), ("fd00:200::1", "fd00:200::2", 126)];
/// RFC 3021 and RFC 6164: subnets of two addresses, both of which are hosts'.
pub(crate) const TWO_ADDRESSES: Link = [("169.254.100.0", "169.254.100.1", 31), ("fd00:100::", "fd00:100::1", 127)];

/// Runs a program and expects it to succeed; what it printed.
pub(crate) fn sh(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    run(&words)
}

/// The same with arguments that contain spaces.
pub(crate) fn run(words: &[&str]) -> String {
    let (program, arguments) = words.split_first().expect("a program");
    let output = Command::new(program).args(arguments).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub(crate) fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|text| net(text)).collect()
}

/// Lets everything in and nothing out.
pub(crate) fn everything_in() -> Policy {
    Policy { propagate: true, accept: nets(&["0.0.0.0/0", "::/0"]), ..Policy::default() }
}

/// Lets everything in, and `routes` out.
pub(crate) fn both_ways(routes: &[&str]) -> Policy {
    Policy { announce: nets(&["0.0.0.0/0", "::/0"]), local_subnets: nets(routes), ..everything_in() }
}

/// Waits for something that another process shows.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> Result<(), String>) {
    let start = Instant::now();
    while let Err(seen) = condition() {
        assert!(start.elapsed() < PATIENCE, "{what}: {seen}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Gone when dropped.
pub(crate) struct Site {
    pub(crate) ours: Namespace,
    pub(crate) theirs: Namespace,
    pub(crate) directory: PathBuf,
    pub(crate) links: Vec<Link>,
}

impl Site {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, &[FIRST])
    }

    pub(crate) fn with(name: &str, links: &[Link]) -> Self {
        let [ours, theirs] = ["gw", "dev"].map(|side| {
            let name = format!("cwnb-{name}-{side}");
            Namespace::delete(&name).expect("clear what an earlier run left");
            Namespace::create(&name).expect("a namespace")
        });
        let directory = std::env::temp_dir().join(format!("cwnb-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let (a, b) = (ours.name(), theirs.name());
        for (number, link) in links.iter().enumerate() {
            sh(&format!("ip -n {a} link add e{number} type veth peer name e{number} netns {b}"));
            for namespace in [a, b] {
                sh(&format!("ip -n {namespace} link set e{number} up"));
            }
            for (local, peer, length) in link {
                sh(&format!("ip -n {a} addr add {local}/{length} dev e{number} nodad"));
                sh(&format!("ip -n {b} addr add {peer}/{length} dev e{number} nodad"));
            }
        }
        Self { ours, theirs, directory, links: links.to_vec() }
    }

    /// The inside address of `family` on the first link: ours, and the device's.
    pub(crate) fn local(&self, family: Family) -> &'static str {
        self.links[0][usize::from(family.is_ipv6())].0
    }

    /// Both sessions of the first link, as they are by default.
    pub(crate) async fn pair(&self, policy: &Policy) -> [Speaker; 2] {
        let mut speakers = Family::ALL.map(|family| self.speaker(family, Guard::default()));
        for speaker in &mut speakers {
            speaker.enable(policy.clone()).await;
        }
        speakers
    }

    /// A session of ours on the first link.
    pub(crate) fn speaker(&self, family: Family, guard: Guard) -> Speaker {
        self.speaker_as(0, family, guard, |_| {})
    }

    /// A session of ours on a link, with changes to its configuration.
    pub(crate) fn speaker_as(
        &self,
        link: usize,
        family: Family,
        guard: Guard,
        change: impl FnOnce(&mut SessionConfig),
    ) -> Speaker {
        let (local, peer, _) = self.links[link][usize::from(family.is_ipv6())];
        let local: IpAddr = local.parse().expect("an address");
        let mut config = SessionConfig {
            family,
            local_asn: OURS,
            peer_asn: THEIRS,
            router_id: Ipv4Addr::new(169, 254, 100, 1),
            local,
            peer: peer.parse().expect("an address"),
            hold_time: 60,
            send_hold: causeway_bgp::SEND_HOLD,
            max_prefixes: 1000,
        };
        change(&mut config);
        let peers = [(config.peer, &guard)];
        let (listener, accepting) =
            self.ours.run(|| session::listen(local, &peers)).expect("the namespace").expect("a listener");
        let accepting = TcpListener::from_std(accepting).expect("a listener");
        let (updates, received) = mpsc::channel(64);
        let (streams, incoming) = mpsc::channel(16);
        let key = SessionKey { connection: ConnectionId::random(), family };
        let handle = SessionHandle::start(key, config, guard, Totals::default(), self.ours.clone(), updates);
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = accepting.accept().await {
                if streams.send(stream).await.is_err() {
                    return;
                }
            }
        });
        Speaker { key, handle, policy: Policy::default(), updates: received, incoming, listener, accept }
    }

    /// What `ss` says of the established TCP connections of a namespace: received and unread octets, and the port of its end.
    fn connections(namespace: &Namespace) -> Vec<(u64, u16)> {
        let path = format!("--net={}", namespace.path().display());
        run(&["nsenter", &path, "ss", "-Htn", "state", "established"])
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let unread = words.next()?.parse().ok()?;
                Some((unread, words.nth(1)?.rsplit(':').next()?.parse().ok()?))
            })
            .collect()
    }

    /// The ports of our ends of established TCP connections.
    pub(crate) fn ports(&self) -> Vec<u16> {
        Self::connections(&self.ours).into_iter().map(|(_, port)| port).collect()
    }

    /// Octets of connections that we opened which the device has not read.
    pub(crate) fn unread(&self) -> u64 {
        Self::connections(&self.theirs).into_iter().filter(|(_, port)| *port == 179).map(|(unread, _)| unread).sum()
    }

    /// From now on nobody hears of the end of a connection of ours: what a device sees when our process and its tunnel are killed.
    pub(crate) fn go_silently(&self) {
        let path = format!("--net={}", self.ours.path().display());
        let rules = "add table inet cwnb; add chain inet cwnb out { type filter hook output priority 0; }; \
                     add rule inet cwnb out tcp flags & (fin|rst) != 0 drop";
        run(&["nsenter", &path, "nft", rules]);
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for namespace in [&self.ours, &self.theirs] {
            let _ = Namespace::delete(namespace.name());
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A session with its listener.
pub(crate) struct Speaker {
    key: SessionKey,
    handle: SessionHandle,
    policy: Policy,
    updates: mpsc::Receiver<SessionUpdate>,
    pub(crate) incoming: mpsc::Receiver<TcpStream>,
    listener: Listener,
    accept: JoinHandle<()>,
}

impl Speaker {
    pub(crate) fn family(&self) -> Family {
        self.key.family
    }

    /// Sets the policy, and connects.
    pub(crate) async fn enable(&mut self, policy: Policy) {
        self.set_policy(policy).await;
        self.order(Order::Listening(self.listener.watch())).await;
        self.order(Order::Enable(true)).await;
    }

    pub(crate) async fn set_policy(&mut self, policy: Policy) {
        self.policy = policy.clone();
        self.order(Order::Policy(policy)).await;
    }

    /// How it is now: setting the policy that it has changes nothing and is answered.
    pub(crate) async fn snapshot(&mut self) -> SessionUpdate {
        while self.updates.try_recv().is_ok() {}
        self.order(Order::Policy(self.policy.clone())).await;
        self.until("a snapshot", |_| true).await
    }

    pub(crate) async fn order(&mut self, order: Order) {
        self.handle.send(order).await;
    }

    /// Ends it with these words; its address is free afterwards.
    pub(crate) async fn end(self, words: &'static str) {
        self.accept.abort();
        let _ = self.accept.await;
        SessionHandle::shutdown(vec![(self.handle, words)]).await;
    }

    /// Its process is killed. See also [`Site::go_silently`].
    pub(crate) async fn kill(self) {
        self.accept.abort();
        let _ = self.accept.await;
    }

    /// Waits for a snapshot that fulfils `condition`.
    pub(crate) async fn until(&mut self, what: &str, condition: impl Fn(&SessionUpdate) -> bool) -> SessionUpdate {
        let mut last = None;
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                tokio::select! {
                    Some(stream) = self.incoming.recv() => self.handle.send(Order::Incoming(stream)).await,
                    Some(update) = self.updates.recv() => {
                        if condition(&update) {
                            return update;
                        }
                        last = Some(update);
                    }
                }
            }
        })
        .await;
        let what = format!("{what}, {}", self.key.family);
        found.unwrap_or_else(|_| {
            panic!("{what}: last {:?} {:?}", last.as_ref().map(|update| &update.facts), last.as_ref().map(verdicts))
        })
    }

    /// Waits until it is up and has accepted exactly these.
    pub(crate) async fn accepts(&mut self, what: &str, prefixes: &[&str]) -> SessionUpdate {
        let wanted = nets(prefixes);
        let wanted: Vec<IpNet> = wanted.into_iter().filter(|net| Family::of_net(net) == self.key.family).collect();
        self.until(what, |update| {
            update.facts.up && update.accepted().map(|route| route.prefix).eq(wanted.iter().copied())
        })
        .await
    }

    /// The same, where nothing may change any more because it is so already.
    pub(crate) async fn accepts_soon(&mut self, what: &str, prefixes: &[&str]) -> SessionUpdate {
        self.order(Order::Policy(self.policy.clone())).await;
        self.accepts(what, prefixes).await
    }

    /// Waits for a fault.
    pub(crate) async fn fails(&mut self, what: &str, condition: impl Fn(&Fault) -> bool) -> SessionUpdate {
        self.until(what, |update| update.facts.fault.as_ref().is_some_and(&condition)).await
    }
}

/// What became of each prefix.
pub(crate) fn verdicts(update: &SessionUpdate) -> BTreeMap<IpNet, Verdict> {
    update.received.iter().map(|(route, verdict)| (route.prefix, verdict.clone())).collect()
}
