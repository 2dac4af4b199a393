//! `causeway node join` and `causeway node run`: a gateway node on a machine of its own.

use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use causeway_fleet::JoinToken;
use causeway_fleet::client::{self, ClientError};
use causeway_fleet::identity::Identity;
use causeway_fleet::listener::{self, Board};
use causeway_model::diagnosis::NodeFacts;
use causeway_node::guard::GuardConfig;
use causeway_node::{LeaseGate, NodeConfig, Peering};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::datadir::DataDir;
use crate::serve::{NODE_PATIENCE, say, start_log};

/// Version of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Args)]
pub(crate) struct Join {
    /// The controller's node listener: https://HOST or https://HOST:PORT (443 if none is named)
    #[arg(value_name = "URL")]
    url: String,
    /// The join token, as `causeway node token create` printed it; better in the environment than on a command line that others can read
    #[arg(long, env = "CAUSEWAY_JOIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: String,
    /// Where the node keeps who it is
    #[arg(long, value_name = "DIR", default_value = "/var/lib/causeway-node")]
    data: PathBuf,
    /// What people call the node; the machine's name if none is given
    #[arg(long)]
    name: Option<String>,
}

#[derive(Args)]
pub(crate) struct Run {
    /// Where `causeway node join` put who it is
    #[arg(value_name = "DIR", default_value = "/var/lib/causeway-node")]
    data: PathBuf,
    /// The interface that carries public addresses; without one the node makes a bridge of its own
    #[arg(long, env = "CAUSEWAY_NODE_UNDERLAY", default_value = "", value_name = "INTERFACE")]
    underlay: String,
    /// Where the node listens for its controllers, which alone are let in: its management address, or all of its addresses; port 0: nowhere
    #[arg(long, env = "CAUSEWAY_NODE_LISTEN", default_value = "0.0.0.0:443", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// An address that controllers come from beside that of the URL that the node dials; may be given several times
    #[arg(long, env = "CAUSEWAY_NODE_ADMIT", value_delimiter = ',', value_name = "ADDRESS")]
    admit: Vec<IpAddr>,
}

/// Joins a controller.
///
/// # Errors
/// Whatever keeps this machine from becoming a node, with the remedy.
pub(crate) async fn join(arguments: Join) -> anyhow::Result<()> {
    let data = DataDir::open(&arguments.data)?;
    if let Ok(known) = Identity::load(data.path()) {
        let (node, url) = (known.node, &known.url);
        bail!("{} is node {node} of {url} already; choose another directory with --data", data.path().display());
    }
    let token: JoinToken = arguments.token.parse()?;
    let name = arguments.name.unwrap_or_else(machine_name);
    let identity = client::join(&arguments.url, &token, data.path(), &name, VERSION).await?;
    say(&format!(
        "joined zone {} as node {}; start it with: causeway node run {}",
        identity.zone,
        identity.node,
        data.path().display()
    ))
}

fn machine_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// Runs the node until SIGTERM or SIGINT, or until it is revoked.
///
/// # Errors
/// Whatever keeps it from running.
pub(crate) async fn run(arguments: Run) -> anyhow::Result<()> {
    start_log();
    let data = DataDir::open(&arguments.data)?;
    let identity = Identity::load(data.path())?;
    let _alone = alone()?;
    let obstacles = causeway_node::obstacles();
    if !obstacles.is_empty() {
        bail!("this process cannot be a gateway node: {}", obstacles.join("; "));
    }
    let listen = Some(arguments.listen).filter(|listen| listen.port() != 0);
    let guarded = GuardConfig {
        listen,
        controller: client::address(&identity.url)?,
        admit: arguments.admit,
        directory: data.path().to_owned(),
        underlay: arguments.underlay.clone(),
    };
    let machine = causeway_node::machine(data.path()).context("which machine this is cannot be told")?;
    let gate = LeaseGate::new(&arguments.underlay).context("the kernel's part of the lease")?;
    let board = Board::new(NodeFacts { version: VERSION.to_owned(), ..NodeFacts::default() });
    let peering = Peering::new(client::address(&identity.url)?, Some(board.clone()));
    let config = NodeConfig {
        id: identity.node,
        zone: identity.zone.clone(),
        underlay: arguments.underlay,
        state_dir: state_dir(data.path()),
        version: VERSION.to_owned(),
        lease: Some(gate.clone()),
        peering: Some(peering.clone()),
    };
    say(&format!("gateway node {} for zone {}, controller {}", identity.node, identity.zone, identity.url))?;
    drop(identity);
    let shutdown = CancellationToken::new();
    let (controller_end, node_end) = causeway_fleet::in_process();
    let mut node = tokio::spawn(causeway_node::run(config, node_end, shutdown.clone()));
    // The channel outlives the node, so that its last reports are taken while it closes.
    let channel_shutdown = CancellationToken::new();
    let guard = tokio::spawn(causeway_node::guard::guard(guarded, board.clone(), channel_shutdown.clone()));
    if let Some(listen) = listen {
        tokio::spawn(listener::listen(listen, data.path().to_owned(), board.clone(), channel_shutdown.clone()));
    }
    let (directory, ending) = (data.path().to_owned(), channel_shutdown.clone());
    let mut channel = tokio::spawn(async move {
        client::run(&directory, controller_end, Some(board), (gate, machine), peering, ending).await
    });
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut ended: anyhow::Result<()> = Ok(());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        result = &mut node => {
            // It may have ended because the channel did, which knows why.
            channel_shutdown.cancel();
            if let Ok(Ok(told)) = tokio::time::timeout(NODE_PATIENCE, channel).await {
                channel_ended(told)?;
            }
            return result.context("the node's task failed")?.context("the gateway node cannot run");
        }
        result = &mut channel => ended = channel_ended(result.context("the channel's task failed")?),
    }
    shutdown.cancel();
    let closed = tokio::time::timeout(NODE_PATIENCE, node).await;
    channel_shutdown.cancel();
    guard.await.context("the guard's task failed")?;
    ended?;
    match closed {
        Ok(result) => result.context("the node's task failed")?.context("the gateway node failed")?,
        Err(_) => bail!("the node did not close in time; the next start cleans up after it"),
    }
    say("stopped")
}

/// Holds the machine's only place for a node's process: two would take their gateways and their lease for their own. Its directory's lock does not
/// say this of a copy.
fn alone() -> anyhow::Result<UnixListener> {
    let place = UnixAddress::from_abstract_name("causeway-node")?;
    UnixListener::bind_addr(&place).context("another gateway node runs in this network namespace already")
}

/// A channel ends by itself only when the node is none any more, or never was.
fn channel_ended(result: Result<(), ClientError>) -> anyhow::Result<()> {
    result.context("this machine is no gateway node any more")
}

fn state_dir(data: &Path) -> PathBuf {
    data.join("node")
}
