//! Joining and the channel over real sockets and real TLS, with a controller that the test plays.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use causeway_fleet::authority::{Authority, Credentials};
use causeway_fleet::client::{self, ClientError};
use causeway_fleet::door::{Admission, Denied, Gatekeeper, JoinRequest, Membership, RenewRequest};
use causeway_fleet::identity::Identity;
use causeway_fleet::lease::{Ask, Fence, Fenced, Gate, GateError, Promise, Relayed, Unanswered, Voter};
use causeway_fleet::listener::{self, Board};
use causeway_fleet::witness::NoTunnels;
use causeway_fleet::{ControllerEnd, FromNode, Held, JoinToken, NodeEnd, PROTOCOL, Place, in_process, server, tls};
use causeway_model::desired::{LeaseDesired, LeaseTerms, NodeDesired};
use causeway_model::diagnosis::{NodeFacts, Probe};
use causeway_model::observed::NodeReport;
use causeway_model::{MachineId, NodeId};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);
/// Where nodes run.
const MACHINE: MachineId = MachineId(Uuid::from_u128(7));

/// Admits whoever is not revoked, and hands the sessions to the test.
#[derive(Clone)]
struct Door {
    authority: Arc<Authority>,
    sessions: mpsc::UnboundedSender<(NodeId, ControllerEnd)>,
    revoked: Arc<Mutex<bool>>,
    refusal: Arc<Mutex<Option<Denied>>>,
    /// What nodes are to answer, and their answers.
    fences: Arc<Mutex<Vec<Fence>>>,
    fenced: mpsc::UnboundedSender<Fenced>,
    /// Whether it has no vote.
    mute: Arc<Mutex<bool>>,
    /// What it is to pass on.
    relays: mpsc::UnboundedSender<Relay>,
}

/// What the controller is to pass on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Relay {
    Question(Unanswered),
    Promise(Promise),
}

impl Door {
    fn membership(&self, node: NodeId, request: &str, renew_after: u64) -> Result<Membership, Denied> {
        let certificate = self.authority.certify(node, request, SystemTime::now());
        let certificate = certificate.map_err(|error| Denied::new(400, "invalid_request", error.to_string()))?;
        let authority = self.authority.pem().to_owned();
        Ok(Membership { node, zone: "fr-par-1".to_owned(), certificate, authority, renew_after })
    }
}

impl Gatekeeper for Door {
    async fn join(&self, request: JoinRequest) -> Result<Membership, Denied> {
        if let Some(denied) = self.refusal.lock().expect("not poisoned").clone() {
            return Err(denied);
        }
        self.membership(NodeId::random(), &request.request, 0)
    }

    async fn renew(&self, node: NodeId, request: RenewRequest) -> Result<Membership, Denied> {
        self.membership(node, &request.request, 3600)
    }

    async fn admit(&self, _: NodeId) -> Result<Admission, Denied> {
        if *self.revoked.lock().expect("not poisoned") {
            return Err(Denied::new(403, "revoked", "the node was revoked"));
        }
        Ok(Admission { period: Duration::from_millis(200) })
    }

    fn ask(&self, ask: &Ask) -> Vec<Promise> {
        let promise = Promise { ask: *ask, voter: Voter::Controller, machine: None };
        if *self.mute.lock().expect("not poisoned") { Vec::new() } else { vec![promise] }
    }

    fn ask_others(&self, question: &Unanswered) {
        // The test may have ended.
        let _ = self.relays.send(Relay::Question(question.clone()));
    }

    fn promised(&self, promise: &Promise) {
        let _ = self.relays.send(Relay::Promise(*promise));
    }

    fn fences(&self, _: NodeId) -> Vec<Fence> {
        self.fences.lock().expect("not poisoned").clone()
    }

    fn fenced(&self, fenced: &Fenced, machine: MachineId) {
        assert_eq!(machine, MACHINE);
        let _ = self.fenced.send(*fenced);
    }

    fn attached(&self, _: NodeId) -> Option<MachineId> {
        None
    }

    fn attach(&self, node: NodeId, _: SocketAddr, end: ControllerEnd) {
        self.sessions.send((node, end)).expect("the test listens");
    }
}

struct Controller {
    door: Door,
    address: SocketAddr,
    sessions: mpsc::UnboundedReceiver<(NodeId, ControllerEnd)>,
    fenced: mpsc::UnboundedReceiver<Fenced>,
    relays: mpsc::UnboundedReceiver<Relay>,
    _tls: watch::Sender<Arc<rustls::ServerConfig>>,
    task: JoinHandle<()>,
}

impl Controller {
    async fn start(kept: &Credentials, address: &str, now: SystemTime) -> Self {
        let authority = Arc::new(Authority::load(kept).expect("loads"));
        let credentials = authority.controller(now).expect("certified");
        let (tls_tx, tls_rx) = watch::channel(tls::server(&authority, &credentials).expect("usable"));
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (sessions_tx, sessions) = mpsc::unbounded_channel();
        let (fenced_tx, fenced) = mpsc::unbounded_channel();
        let (relays_tx, relays) = mpsc::unbounded_channel();
        let door = Door {
            authority,
            sessions: sessions_tx,
            revoked: Arc::default(),
            refusal: Arc::default(),
            fences: Arc::default(),
            fenced: fenced_tx,
            mute: Arc::default(),
            relays: relays_tx,
        };
        let task = tokio::spawn(server::serve(listener, tls_rx, door.clone(), std::future::pending()));
        Self { door, address, sessions, fenced, relays, _tls: tls_tx, task }
    }

    async fn new() -> Self {
        Self::start(&kept(), "127.0.0.1:0", SystemTime::now()).await
    }

    /// Closes the listener; where it was.
    async fn end(self) -> SocketAddr {
        self.task.abort();
        assert!(self.task.await.expect_err("it serves for ever").is_cancelled());
        self.address
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    fn token(&self) -> JoinToken {
        JoinToken::generate(self.door.authority.fingerprint())
    }

    async fn join(&self, directory: &Path) -> Result<Identity, ClientError> {
        client::join(&self.url(), &self.token(), directory, "a", "1").await
    }

    async fn relay(&mut self) -> Relay {
        tokio::time::timeout(PATIENCE, self.relays.recv()).await.expect("in time").expect("open")
    }

    async fn session(&mut self) -> (NodeId, ControllerEnd) {
        tokio::time::timeout(PATIENCE, self.sessions.recv()).await.expect("in time").expect("open")
    }
}

fn kept() -> Credentials {
    Authority::generate(SystemTime::now()).expect("made")
}

/// What a node's kernel is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Close,
    Open,
    Arm(u64),
    Count(u64),
}

/// A kernel that does what it is told.
struct Kernel(mpsc::UnboundedSender<Call>);

impl Kernel {
    fn take(&self, call: Call) -> Result<(), GateError> {
        self.0.send(call).map_err(|_| GateError("the test has ended".to_owned()))
    }
}

impl Gate for Kernel {
    async fn close(&mut self) -> Result<(), GateError> {
        self.take(Call::Close)
    }

    async fn open(&mut self) -> Result<(), GateError> {
        self.take(Call::Open)
    }

    async fn arm(&mut self, number: u64, _: Duration) -> Result<(), GateError> {
        self.take(Call::Arm(number))
    }

    async fn count(&mut self, number: u64) -> Result<(), GateError> {
        self.take(Call::Count(number))
    }
}

/// A node's process: the channel, and the node's end of it.
struct Node {
    end: NodeEnd,
    channel: JoinHandle<Result<(), ClientError>>,
    shutdown: CancellationToken,
    kernel: mpsc::UnboundedReceiver<Call>,
}

impl Node {
    async fn start(directory: &Path, node: NodeId) -> Self {
        Self::start_on(directory, node, MACHINE).await
    }

    async fn start_on(directory: &Path, node: NodeId, machine: MachineId) -> Self {
        let (controller_end, end) = in_process();
        let shutdown = CancellationToken::new();
        let (path, ending) = (directory.to_owned(), shutdown.clone());
        let (calls, kernel) = mpsc::unbounded_channel();
        let gate = Kernel(calls);
        let channel =
            tokio::spawn(
                async move { client::run(&path, controller_end, None, (gate, machine), NoTunnels, ending).await },
            );
        let hello = FromNode::Hello {
            protocol: PROTOCOL,
            node,
            boot: Uuid::new_v4(),
            zone: "fr-par-1".to_owned(),
            version: "1".to_owned(),
            on: None,
        };
        end.reports.send(hello).await.expect("open");
        Self { end, channel, shutdown, kernel }
    }

    async fn desired(&mut self, revision: u64) -> Arc<NodeDesired> {
        let wait = self.end.desired.wait_for(|desired| desired.revision >= revision);
        Arc::clone(&*tokio::time::timeout(PATIENCE, wait).await.expect("in time").expect("open"))
    }

    async fn call(&mut self) -> Call {
        tokio::time::timeout(PATIENCE, self.kernel.recv()).await.expect("in time").expect("open")
    }

    async fn call_after(&mut self, other: impl Fn(Call) -> bool) -> Call {
        loop {
            let call = self.call().await;
            if !other(call) {
                return call;
            }
        }
    }

    async fn report(&self, revision: u64) {
        let report = NodeReport { revision, ..NodeReport::default() };
        self.end.reports.send(FromNode::Report(report)).await.expect("open");
    }
}

/// What it says next, of other nodes excepted.
async fn next(end: &mut ControllerEnd) -> FromNode {
    loop {
        let word = tokio::time::timeout(PATIENCE, end.reports.recv()).await.expect("in time").expect("open");
        if !matches!(word, FromNode::Peering { .. }) {
            return word;
        }
    }
}

/// The next report's revision; keepalives before it are counted.
async fn next_report(end: &mut ControllerEnd, keepalives: &mut u32) -> u64 {
    loop {
        match next(end).await {
            FromNode::Report(report) => return report.revision,
            FromNode::Keepalive { .. } => *keepalives += 1,
            FromNode::Facts(_) => {}
            other => panic!("{other:?} out of turn"),
        }
    }
}

fn state(revision: u64) -> Arc<NodeDesired> {
    Arc::new(NodeDesired { revision, ..NodeDesired::default() })
}

#[tokio::test]
async fn a_node_joins_runs_renews_and_comes_back_without_its_controller() {
    let mut controller = Controller::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let identity = controller.join(directory.path()).await.expect("joins");
    let first = identity.certificate.clone();
    let mut node = Node::start(directory.path(), identity.node).await;
    let (proven, mut end) = controller.session().await;
    assert_eq!(proven, identity.node);
    assert!(matches!(next(&mut end).await, FromNode::Hello { node, .. } if node == identity.node));
    end.desired.send_replace(state(4));
    node.desired(4).await;
    node.report(4).await;
    let mut keepalives = 0;
    assert_eq!(next_report(&mut end, &mut keepalives).await, 4);
    // One at once, one as soon as it has answered, then one each period.
    while keepalives < 4 {
        assert!(matches!(next(&mut end).await, FromNode::Keepalive { .. }));
        keepalives += 1;
    }
    // `renew_after` was 0.
    let renewed = async {
        while Identity::load(directory.path()).expect("there").certificate == first {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("the certificate is renewed");
    // What was reported on is on disk soon, and a process that starts with no controller begins with it.
    let written = async {
        while !directory.path().join("desired.sealed").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("it is written");
    node.shutdown.cancel();
    node.channel.await.expect("no panic").expect("ends in order");
    let address = controller.end().await;
    let mut node = Node::start(directory.path(), identity.node).await;
    assert_eq!(node.desired(1).await.revision, 4);
    node.report(4).await;
    // Somebody else at the controller's address is not believed.
    let mut stranger = Controller::start(&kept(), &address.to_string(), SystemTime::now()).await;
    let seen = tokio::time::timeout(Duration::from_secs(3), stranger.sessions.recv()).await;
    assert!(seen.is_err(), "a controller of another authority is nobody's");
    assert!(!node.channel.is_finished(), "the node goes on");
    node.shutdown.cancel();
}

#[tokio::test]
async fn a_node_that_sets_up_what_it_had_before_its_first_word_is_not_dead() {
    let mut controller = Controller::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let identity = controller.join(directory.path()).await.expect("joins");
    let _node = Node::start(directory.path(), identity.node).await;
    let (_, mut end) = controller.session().await;
    let mut beats = 0;
    while beats < 3 {
        if let FromNode::Keepalive { services } = next(&mut end).await {
            assert_eq!(services, [], "its main task has said hello, and nothing since");
            beats += 1;
        }
    }
}

/// Waits until the node says that it forwards by these terms.
async fn acknowledged(end: &mut ControllerEnd, terms: u64) {
    held(end, |held| held.terms == terms).await;
}

/// Waits until the node says this of its lease.
async fn held(end: &mut ControllerEnd, holds: impl Fn(&Held) -> bool) {
    let wait = async {
        loop {
            match end.reports.recv().await.expect("open") {
                FromNode::Peering { lease: Some(held), .. } if holds(&held) => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("in time");
}

/// The files of a directory in another one.
fn copy_files(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).expect("readable") {
        let file = file.expect("an entry");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}

#[tokio::test]
async fn a_node_forwards_by_a_lease_once_it_runs_what_came_with_it_and_starts_closed() {
    let mut controller = Controller::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let identity = controller.join(directory.path()).await.expect("joins");
    let mut node = Node::start(directory.path(), identity.node).await;
    assert_eq!(node.call().await, Call::Close, "nobody knows yet whether it may be replaced");
    let (_, mut end) = controller.session().await;
    end.desired.send_replace(state(1));
    assert_eq!(node.call().await, Call::Open, "nothing runs, and what will needs no lease");
    node.desired(1).await;
    node.report(1).await;
    let machines = BTreeMap::from([(identity.node, MACHINE)]);
    let terms = |number| LeaseTerms { number, voters: vec![identity.node], lease_ms: 600, machines: machines.clone() };
    let leased = |revision, epoch| {
        let lease = Some(LeaseDesired { epoch, terms: terms(revision) });
        Arc::new(NodeDesired { revision, failover: true, lease, ..NodeDesired::default() })
    };
    end.desired.send_replace(leased(2, 0));
    node.desired(2).await;
    assert!(node.kernel.try_recv().is_err(), "it does not run that yet");
    node.report(2).await;
    let Call::Arm(first) = node.call().await else { panic!("nothing is counted before it was asked") };
    assert_eq!(node.call().await, Call::Count(first), "the controller and itself are a majority");
    acknowledged(&mut end, 2).await;
    // It votes; and once it is fenced itself, it promises itself nothing more.
    let other = Fence { holder: NodeId::random(), epoch: 3 };
    let own = Fence { holder: identity.node, epoch: 1 };
    *controller.door.fences.lock().expect("not poisoned") = vec![other, own];
    let mut open = vec![other, own];
    while !open.is_empty() {
        let fenced = tokio::time::timeout(PATIENCE, controller.fenced.recv()).await.expect("in time").expect("open");
        assert_eq!(fenced.voter, Voter::Node(identity.node));
        open.retain(|fence| *fence != fenced.fence);
    }
    while node.kernel.try_recv().is_ok() {}
    for _ in 0..3 {
        assert!(matches!(node.call().await, Call::Arm(_)), "its epoch is over");
    }
    end.desired.send_replace(leased(3, 1));
    node.desired(3).await;
    node.report(3).await;
    acknowledged(&mut end, 3).await;
    // A process that begins with this on another machine waits for the controller, with nothing, and closed.
    node.shutdown.cancel();
    node.channel.await.expect("no panic").expect("ends in order");
    let copy = tempfile::tempdir().expect("a directory");
    copy_files(directory.path(), copy.path());
    let elsewhere = MachineId::random();
    let mut node = Node::start_on(copy.path(), identity.node, elsewhere).await;
    assert_eq!(node.call().await, Call::Close);
    let (_, mut away) = controller.session().await;
    let hello = next(&mut away).await;
    let on = Some(Place { machine: elsewhere, is_blank: true });
    assert!(matches!(hello, FromNode::Hello { on: place, .. } if place == on), "{hello:?}");
    away.desired.send_replace(leased(4, 1));
    assert_eq!(node.desired(1).await.revision, 4, "nothing before that");
    node.report(4).await;
    held(&mut away, |held| held.trouble.as_ref().is_some_and(|text| text.contains("another machine"))).await;
    let machines = BTreeMap::from([(identity.node, elsewhere)]);
    let of_copy = LeaseDesired { epoch: 2, terms: LeaseTerms { machines, ..terms(5) } };
    let of_copy = NodeDesired { revision: 5, lease: Some(of_copy), ..NodeDesired::clone(&leased(5, 2)) };
    away.desired.send_replace(Arc::new(of_copy));
    node.desired(5).await;
    assert!(node.kernel.try_recv().is_err(), "by terms for another machine nothing is asked");
    node.report(5).await;
    assert!(matches!(node.call().await, Call::Arm(1)));
    node.shutdown.cancel();
    node.channel.await.expect("no panic").expect("ends in order");

    // On the same machine it begins with what it had, closed, and asks by its terms, whether anybody is there or not.
    let mut node = Node::start(directory.path(), identity.node).await;
    assert_eq!(node.call().await, Call::Close);
    assert_eq!(node.desired(1).await.revision, 3);
    assert!(node.kernel.try_recv().is_err(), "it does not run that yet");
    node.report(3).await;
    let Call::Arm(first) = node.call().await else { panic!("nothing is counted before it was asked") };
    let (_, mut end) = controller.session().await;
    let counted = node.call_after(|call| matches!(call, Call::Arm(_))).await;
    assert!(matches!(counted, Call::Count(number) if number >= first), "{counted:?}");
    acknowledged(&mut end, 3).await;
    // Switched off: only when it runs that.
    end.desired.send_replace(state(5));
    node.desired(5).await;
    while node.kernel.try_recv().is_ok() {}
    node.report(5).await;
    let opened = async { while node.call().await != Call::Open {} };
    tokio::time::timeout(PATIENCE, opened).await.expect("it opens");
    node.shutdown.cancel();
}

#[tokio::test]
async fn what_a_node_cannot_ask_others_travels_by_the_controller_in_both_directions() {
    let mut controller = Controller::new().await;
    let [first, second] = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let me = controller.join(first.path()).await.expect("joins").node;
    let other = controller.join(second.path()).await.expect("joins").node;
    let mut node = Node::start(first.path(), me).await;
    let (_, end) = controller.session().await;
    let _voter = Node::start(second.path(), other).await;
    let (_, voter_end) = controller.session().await;
    assert_eq!(node.call().await, Call::Close);
    *controller.door.mute.lock().expect("not poisoned") = true;
    let machines = BTreeMap::from([(me, MACHINE), (other, MACHINE)]);
    let terms = LeaseTerms { number: 1, voters: vec![me, other], lease_ms: 1500, machines };
    let lease = Some(LeaseDesired { epoch: 0, terms });
    end.desired.send_replace(Arc::new(NodeDesired { revision: 2, failover: true, lease, ..NodeDesired::default() }));
    node.desired(2).await;
    node.report(2).await;
    let Relay::Question(question) = controller.relay().await else { panic!("nobody was asked yet") };
    assert_eq!((question.ask.holder, &question.voters), (me, &vec![other]));
    assert!(matches!(node.call().await, Call::Arm(_)), "which is in the kernel");
    let ControllerEnd { desired: _desired, mut reports, relayed: to_node, .. } = end;
    // Every question, from now on.
    let mut lost = true;
    let is_counted = async {
        loop {
            match controller.relay().await {
                // One is lost on its way, and asked for again.
                Relay::Question(_) if std::mem::take(&mut lost) => {}
                Relay::Question(question) => {
                    voter_end.relayed.send(Relayed::Question(question.ask)).await.expect("open");
                }
                Relay::Promise(promise) => {
                    assert_eq!((promise.voter, promise.machine), (Voter::Node(other), Some(MACHINE)));
                    for _ in 0..2 {
                        to_node.send(Relayed::Promise(promise)).await.expect("open");
                    }
                }
            }
        }
    };
    let mut counted = 0;
    let kernel = async {
        while counted < 4 {
            if let Call::Count(_) = node.call().await {
                counted += 1;
            }
        }
    };
    let relayed = async {
        loop {
            if let Some(FromNode::Peering { lease: Some(Held { relayed: true, terms: 1, .. }), .. }) =
                reports.recv().await
            {
                return;
            }
        }
    };
    let all = async { tokio::join!(kernel, relayed) };
    tokio::select! {
        () = is_counted => {}
        done = tokio::time::timeout(PATIENCE, all) => drop(done.expect("in time")),
    }
    node.shutdown.cancel();
}

#[tokio::test]
async fn a_controller_that_comes_back_is_told_everything() {
    let kept = kept();
    let mut controller = Controller::start(&kept, "127.0.0.1:0", SystemTime::now()).await;
    let directory = tempfile::tempdir().expect("a directory");
    let identity = controller.join(directory.path()).await.expect("joins");
    let mut node = Node::start(directory.path(), identity.node).await;
    let (_, mut end) = controller.session().await;
    next(&mut end).await;
    end.desired.send_replace(state(7));
    node.desired(7).await;
    node.report(7).await;
    assert_eq!(next_report(&mut end, &mut 0).await, 7);
    drop(end);
    let address = controller.end().await;
    let mut controller = Controller::start(&kept, &address.to_string(), SystemTime::now()).await;
    let (_, mut end) = controller.session().await;
    assert!(matches!(next(&mut end).await, FromNode::Hello { .. }));
    assert_eq!(next_report(&mut end, &mut 0).await, 7, "its last report comes again by itself");
    end.desired.send_replace(state(9));
    node.desired(9).await;
    node.report(9).await;
    assert_eq!(next_report(&mut end, &mut 0).await, 9);
    node.shutdown.cancel();
}

#[tokio::test]
async fn a_revoked_node_ends_and_forgets() {
    let mut controller = Controller::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let identity = controller.join(directory.path()).await.expect("joins");
    let mut node = Node::start(directory.path(), identity.node).await;
    let (_, mut end) = controller.session().await;
    next(&mut end).await;
    end.desired.send_replace(state(1));
    node.desired(1).await;
    *controller.door.revoked.lock().expect("not poisoned") = true;
    drop(end);
    let ended = tokio::time::timeout(PATIENCE, node.channel).await.expect("in time").expect("no panic");
    let error = ended.expect_err("revoked");
    assert!(error.is_final() && error.to_string().contains("revoked"), "{error}");
    assert!(!directory.path().join("desired.sealed").exists());
    let again = Node::start(directory.path(), identity.node).await;
    let ended = tokio::time::timeout(PATIENCE, again.channel).await.expect("in time").expect("no panic");
    assert!(ended.expect_err("still revoked").is_final());
}

#[tokio::test]
async fn what_keeps_a_machine_from_joining_is_said() {
    let controller = Controller::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let elsewhere = JoinToken::generate([7; 32]);
    let error = client::join(&controller.url(), &elsewhere, directory.path(), "a", "1").await.err().expect("refused");
    assert!(
        matches!(&error, ClientError::Trust(text) if text.contains("not certified by this node's controller")),
        "{error}"
    );
    *controller.door.refusal.lock().expect("not poisoned") = Some(Denied::new(403, "token_expired", "expired at noon"));
    let error = controller.join(directory.path()).await.err().expect("refused");
    assert!(error.to_string().contains("token_expired") && error.to_string().contains("noon"), "{error}");
    let old = SystemTime::now() - Duration::from_secs(200 * 24 * 3600);
    let yesterday = Controller::start(&kept(), "127.0.0.1:0", old).await;
    let error = yesterday.join(directory.path()).await.err().expect("refused");
    assert!(matches!(&error, ClientError::Trust(text) if text.contains("clock")), "{error}");
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let nobody = client::join(&format!("https://{free}"), &controller.token(), directory.path(), "a", "1").await;
    assert!(matches!(nobody, Err(ClientError::Unreachable { .. })));
    assert!(Identity::load(directory.path()).is_err(), "nothing is left behind");
}

#[tokio::test]
async fn a_node_with_an_expired_certificate_is_told_why() {
    let controller = Controller::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let identity = controller.join(directory.path()).await.expect("joins");
    let (key, request) = causeway_fleet::authority::request().expect("made");
    let old = SystemTime::now() - Duration::from_secs(60 * 24 * 3600);
    let certificate = controller.door.authority.certify(identity.node, &request, old).expect("certified");
    let mut expired = identity.clone();
    expired.set_credentials(&Credentials { certificate, key });
    let error = client::probe(&expired).await.expect_err("refused");
    assert!(
        matches!(&error, ClientError::Trust(text) if text.contains("expired") && text.contains("clock")),
        "{error}"
    );
    client::probe(&identity).await.expect("a good one is let in");
}

#[tokio::test]
async fn a_nodes_own_listener_answers_its_controllers_and_nobody_else() {
    let controller = Controller::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let identity = controller.join(directory.path()).await.expect("joins");
    let board = Board::new(NodeFacts { version: "7".to_owned(), ..NodeFacts::default() });
    let end = CancellationToken::new();
    let anywhere = "127.0.0.1:0".parse().expect("an address");
    let serving = tokio::spawn(listener::listen(anywhere, directory.path().to_owned(), board.clone(), end.clone()));
    let mut seen = board.subscribe();
    let open = |facts: &NodeFacts| facts.listener.as_ref().is_some_and(|listener| listener.error.is_none());
    let facts = tokio::time::timeout(PATIENCE, seen.wait_for(open)).await.expect("in time").expect("a board").clone();
    let address = facts.listener.expect("it listens").address;

    let authority = &controller.door.authority;
    let trust = |credentials: &Credentials| tls::client(authority.pem(), credentials).expect("usable");
    let ours = trust(&authority.controller(SystemTime::now()).expect("certified"));
    let facts = listener::probe(address, identity.node, Arc::clone(&ours)).await.expect("it answers");
    assert_eq!(facts.version, "7");
    assert!(facts.taken_at > causeway_model::Timestamp::default());
    // Another node than the one that is asked for.
    let met = listener::probe(address, NodeId::random(), ours.clone()).await;
    assert!(matches!(met, Err(Probe::Trust(_))), "{met:?}");
    // A node is no controller, and a controller of another authority is none of this node's.
    let other = Authority::load(&kept()).expect("loads");
    for credentials in [identity.credentials(), other.controller(SystemTime::now()).expect("certified")] {
        let met = listener::probe(address, identity.node, trust(&credentials)).await;
        assert!(matches!(met, Err(Probe::Trust(_))), "{met:?}");
    }
    end.cancel();
    serving.await.expect("it ends");
    let met = listener::probe(address, identity.node, ours).await;
    assert!(matches!(met, Err(Probe::Refused(_))), "{met:?}");
}
