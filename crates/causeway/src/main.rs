//! `causeway`: site-to-site VPN as a service, self-hosted.

mod config;
mod datadir;
mod machine;
mod node;
mod serve;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use causeway_lab::Options;
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "causeway", version, about = "Site-to-site VPN and private interconnect as a service, self-hosted")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the control plane and, where it may (root, /dev/net/tun), a gateway node in the same process
    Serve {
        /// The data directory: configuration, database, master key, operator.env
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Where the API listens, instead of `listen` in causeway.toml
        #[arg(long, value_name = "ADDR:PORT")]
        listen: Option<SocketAddr>,
    },
    /// Say whether DIR/causeway.toml, with the environment's overrides, is right
    Check {
        /// The data directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Make another operator key and write it to DIR/operator.env; the service must be stopped
    OperatorKey {
        /// The data directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Encrypt the secrets under a new master key, which replaces DIR/master.key; the service must be stopped
    RotateKey {
        /// The data directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Gateway nodes: make this machine one, run it; list and manage all of them
    Node(NodeGroup),
    /// Build a VPN between network namespaces on this machine, with a real strongSwan + BIRD device (root only)
    Lab {
        #[command(subcommand)]
        command: LabCommand,
    },
    #[command(flatten)]
    Resource(causeway_cli::Command),
}

#[derive(Args)]
struct NodeGroup {
    #[command(flatten)]
    common: causeway_cli::Common,
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Subcommand)]
enum NodeCommand {
    /// Make this machine a node of a controller, by a join token
    Join(node::Join),
    /// Run the node (root only)
    Run(node::Run),
    #[command(flatten)]
    Manage(causeway_cli::NodeAction),
}

#[derive(Subcommand)]
enum LabCommand {
    /// Build a lab with a running VPN, and leave it running
    Up {
        /// The lab's id, 1 to 6 letters and digits
        #[arg(long)]
        id: Option<String>,
    },
    /// Remove a lab, or every lab whose process is gone
    Down {
        /// The lab's id
        id: Option<String>,
    },
    /// List the labs of this machine
    Status,
    /// Run a scenario from an empty lab to its end, printing what was expected and what was seen
    Demo {
        /// Which; the first VPN if none is named
        #[arg(long)]
        scenario: Option<String>,
        /// Leave the lab running at the end, and print what to try
        #[arg(long)]
        keep: bool,
        /// The lab's id, 1 to 6 letters and digits
        #[arg(long)]
        id: Option<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("cannot start the runtime")),
    };
    let result = match arguments.command {
        Command::Serve { data, listen } => runtime.block_on(serve::serve(&data, listen, &environment())),
        Command::Check { dir } => check(&dir),
        Command::OperatorKey { dir } => runtime.block_on(serve::operator_key(&dir, &environment())),
        Command::RotateKey { dir } => runtime.block_on(serve::rotate_key(&dir)),
        Command::Node(NodeGroup { common, command }) => match command {
            NodeCommand::Join(arguments) => runtime.block_on(node::join(arguments)),
            NodeCommand::Run(arguments) => runtime.block_on(node::run(arguments)),
            NodeCommand::Manage(action) => {
                return runtime.block_on(causeway_cli::run(causeway_cli::Command::node(common, action)));
            }
        },
        Command::Lab { command } => runtime.block_on(lab(command)),
        Command::Resource(command) => return runtime.block_on(causeway_cli::run(command)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

async fn lab(command: LabCommand) -> anyhow::Result<()> {
    match command {
        LabCommand::Up { id } => causeway_lab::up(Options { id, ..Options::default() }).await,
        LabCommand::Down { id } => causeway_lab::down(id.as_deref()).await,
        LabCommand::Status => causeway_lab::status(),
        LabCommand::Demo { scenario, keep, id } => {
            let default = Options::default();
            let scenario = scenario.unwrap_or_else(|| default.scenario.clone());
            causeway_lab::demo(Options { id, keep, scenario, ..default }).await
        }
    }
}

fn check(dir: &std::path::Path) -> anyhow::Result<()> {
    config::load(dir, &environment())?;
    writeln!(std::io::stdout(), "{}: right", dir.join(config::FILE).display())?;
    Ok(())
}

fn environment() -> BTreeMap<String, String> {
    std::env::vars().filter(|(name, _)| name.starts_with("CAUSEWAY_")).collect()
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // With standard error closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "causeway: {error:#}");
    ExitCode::FAILURE
}
