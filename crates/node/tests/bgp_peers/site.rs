//! Two namespaces, the link between them, and our sessions in the first.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use causeway_bgp::{Policy, SessionConfig};
use causeway_linux::Namespace;
use causeway_model::{ConnectionId, Family};
use causeway_node::session::{self, Command as Order, Guard, Listener, SessionHandle, SessionKey, SessionUpdate};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Longest wait for anything here: several attempts of either side, and the minute for which a reason that names something stands against
/// those that do not (a daemon that starts may answer once before it knows its password).
const PATIENCE: Duration = Duration::from_secs(180);
pub(crate) const LOCAL: [&str; 2] = ["169.254.100.1", "fd00:100::1"];
pub(crate) const PEER: [&str; 2] = ["169.254.100.2", "fd00:100::2"];

/// Runs a program and expects it to succeed.
pub(crate) fn sh(line: &str) {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a program");
    let output = Command::new(program).args(words).output().expect("the program starts");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Gone when dropped.
pub(crate) struct Site {
    ours: Namespace,
    pub(crate) theirs: Namespace,
    pub(crate) directory: PathBuf,
}

impl Site {
    pub(crate) fn new(name: &str) -> Self {
        let [ours, theirs] = ["gw", "dev"].map(|side| {
            let name = format!("cwnb-{name}-{side}");
            Namespace::delete(&name).expect("clear what an earlier run left");
            Namespace::create(&name).expect("a namespace")
        });
        let directory = std::env::temp_dir().join(format!("cwnb-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let (a, b) = (ours.name(), theirs.name());
        sh(&format!("ip -n {a} link add e0 type veth peer name e0 netns {b}"));
        for (namespace, addresses) in [(a, LOCAL), (b, PEER)] {
            sh(&format!("ip -n {namespace} link set lo up"));
            sh(&format!("ip -n {namespace} link set e0 up"));
            sh(&format!("ip -n {namespace} addr add {}/30 dev e0", addresses[0]));
            sh(&format!("ip -n {namespace} addr add {}/126 dev e0 nodad", addresses[1]));
        }
        Self { ours, theirs, directory }
    }

    /// A session of ours that lets everything in.
    pub(crate) fn speaker(&self, family: Family, guard: Guard) -> Speaker {
        let side = usize::from(family.is_ipv6());
        let local: IpAddr = LOCAL[side].parse().expect("an address");
        let config = SessionConfig {
            family,
            local_asn: 64512,
            peer_asn: 65001,
            router_id: Ipv4Addr::new(169, 254, 100, 1),
            local,
            peer: PEER[side].parse().expect("an address"),
            hold_time: 60,
            max_prefixes: 1000,
        };
        let (mut listener, accepting) =
            self.ours.run(|| session::listen(local)).expect("the namespace").expect("a listener");
        listener.guard(&[(config.peer, &guard)]).expect("guarded");
        let accepting = TcpListener::from_std(accepting).expect("a listener");
        let (updates, received) = mpsc::channel(64);
        let (streams, incoming) = mpsc::channel(16);
        let key = SessionKey { connection: ConnectionId::random(), family };
        let handle = SessionHandle::start(key, config, guard, self.ours.clone(), updates);
        let accept = tokio::spawn(async move {
            while let Ok((stream, _)) = accepting.accept().await {
                if streams.send(stream).await.is_err() {
                    return;
                }
            }
        });
        Speaker { key, handle, updates: received, incoming, _listener: listener, accept }
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
    updates: mpsc::Receiver<SessionUpdate>,
    incoming: mpsc::Receiver<tokio::net::TcpStream>,
    _listener: Listener,
    accept: JoinHandle<()>,
}

impl Speaker {
    pub(crate) fn family(&self) -> Family {
        self.key.family
    }

    /// Lets everything in, and connects.
    pub(crate) async fn enable(&mut self) {
        let everything = vec!["0.0.0.0/0".parse().expect("a prefix"), "::/0".parse().expect("a prefix")];
        let policy = Policy { propagate: true, accept: everything, ..Policy::default() };
        self.handle.send(Order::Policy(policy)).await;
        self.handle.send(Order::Enable(true)).await;
    }

    /// Ends it; its address is free afterwards.
    pub(crate) async fn end(self) {
        self.accept.abort();
        let _ = self.accept.await;
        SessionHandle::shutdown(vec![(self.handle, "the case is over")]).await;
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
                        last = Some(update.facts);
                    }
                }
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("{what}: last {last:?}"))
    }
}
