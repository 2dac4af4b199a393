//! A controller's listener whose gatekeeper the test plays, and the log.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use causeway_fleet::authority::{Authority, Credentials};
use causeway_fleet::client;
use causeway_fleet::door::{Admission, Denied, Gatekeeper, JoinRequest, Membership, RenewRequest};
use causeway_fleet::identity::Identity;
use causeway_fleet::lease::{Gate, GateError};
use causeway_fleet::{ControllerEnd, JoinToken, server, tls};
use causeway_model::desired::NodeDesired;
use causeway_model::{MachineId, NodeId};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing_subscriber::fmt::MakeWriter;
use uuid::Uuid;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Where processes run.
pub(crate) const MACHINE: MachineId = MachineId(Uuid::from_u128(7));

/// Lets everybody in who has a certificate, and hands the sessions to the test.
#[derive(Clone)]
pub(crate) struct Door {
    authority: Arc<Authority>,
    sessions: mpsc::UnboundedSender<(NodeId, ControllerEnd)>,
    outlived: mpsc::UnboundedSender<(NodeId, Uuid)>,
}

impl Door {
    fn membership(&self, node: NodeId, request: &str) -> Result<Membership, Denied> {
        let certificate = self.authority.certify(node, request, SystemTime::now());
        let certificate = certificate.map_err(|error| Denied::new(400, "invalid_request", error.to_string()))?;
        let authority = self.authority.pem().to_owned();
        Ok(Membership { node, zone: "fr-par-1".to_owned(), certificate, authority, renew_after: 3600 })
    }
}

impl Gatekeeper for Door {
    async fn join(&self, request: JoinRequest) -> Result<Membership, Denied> {
        self.membership(NodeId::random(), &request.request)
    }

    async fn renew(&self, node: NodeId, request: RenewRequest) -> Result<Membership, Denied> {
        self.membership(node, &request.request)
    }

    async fn admit(&self, _: NodeId) -> Result<Admission, Denied> {
        Ok(Admission { period: Duration::from_millis(200) })
    }

    fn outlived(&self, node: NodeId, boot: Uuid, _: SocketAddr, _: Duration) {
        // The test may have ended.
        let _ = self.outlived.send((node, boot));
    }

    fn attached(&self, _: NodeId) -> Option<MachineId> {
        Some(MACHINE)
    }

    fn attach(&self, node: NodeId, _: SocketAddr, end: ControllerEnd) {
        // The test may have ended.
        let _ = self.sessions.send((node, end));
    }
}

/// A listener with its authority.
pub(crate) struct Controller {
    pub(crate) address: SocketAddr,
    pub(crate) authority: Arc<Authority>,
    pub(crate) sessions: mpsc::UnboundedReceiver<(NodeId, ControllerEnd)>,
    /// Whose process was alive after its session had been superseded.
    pub(crate) outlived: mpsc::UnboundedReceiver<(NodeId, Uuid)>,
    _tls: watch::Sender<Arc<rustls::ServerConfig>>,
}

impl Controller {
    pub(crate) async fn start() -> Self {
        let authority = Arc::new(Authority::load(&kept()).expect("loads"));
        let credentials = authority.controller(SystemTime::now()).expect("certified");
        let (tls_tx, tls_rx) = watch::channel(tls::server(&authority, &credentials).expect("usable"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (sessions_tx, sessions) = mpsc::unbounded_channel();
        let (outlived_tx, outlived) = mpsc::unbounded_channel();
        let door = Door { authority: Arc::clone(&authority), sessions: sessions_tx, outlived: outlived_tx };
        tokio::spawn(server::serve(listener, tls_rx, door, std::future::pending()));
        Self { address, authority, sessions, outlived, _tls: tls_tx }
    }

    pub(crate) async fn join(&self, directory: &Path) -> Identity {
        let token = JoinToken::generate(self.authority.fingerprint());
        client::join(&format!("https://{}", self.address), &token, directory, "a", "1").await.expect("joins")
    }

    pub(crate) async fn session(&mut self) -> (NodeId, ControllerEnd) {
        tokio::time::timeout(PATIENCE, self.sessions.recv()).await.expect("in time").expect("open")
    }
}

pub(crate) fn kept() -> Credentials {
    Authority::generate(SystemTime::now()).expect("made")
}

pub(crate) fn state(revision: u64) -> Arc<NodeDesired> {
    Arc::new(NodeDesired { revision, ..NodeDesired::default() })
}

/// What this program logs, from warnings on.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

/// The log of all tests of this program: each looks for the nodes that it made.
pub(crate) fn log() -> &'static Log {
    static LOG: LazyLock<Log> = LazyLock::new(|| {
        let log = Log::default();
        let format = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false);
        format.with_writer(log.clone()).init();
        log
    });
    &LOG
}

impl Log {
    /// Its lines so far with this in them.
    pub(crate) fn lines(&self, with: &str) -> Vec<String> {
        let text = self.0.lock().expect("not poisoned").clone();
        String::from_utf8_lossy(&text).lines().filter(|line| line.contains(with)).map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Nothing is forwarded here, so there is nothing to let through.
pub(crate) struct NoTraffic;

impl Gate for NoTraffic {
    async fn close(&mut self) -> Result<(), GateError> {
        Ok(())
    }

    async fn open(&mut self) -> Result<(), GateError> {
        Ok(())
    }

    async fn arm(&mut self, _: u64, _: Duration) -> Result<(), GateError> {
        Ok(())
    }

    async fn count(&mut self, _: u64) -> Result<(), GateError> {
        Ok(())
    }
}
