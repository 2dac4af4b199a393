//! The command line of `causeway lab`.

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::{Options, demo, down, scenario, status, up};

/// What follows `causeway lab`.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Run a scenario from an empty lab to its end, showing what is expected and what is seen
    Demo {
        /// The scenario: first (a VPN's whole life)
        #[arg(long, default_value = scenario::DEFAULT)]
        scenario: String,
        /// Leave the lab running and print what to try
        #[arg(long)]
        keep: bool,
        /// The lab's id, 1 to 6 small letters and digits
        #[arg(long)]
        id: Option<String>,
    },
    /// Build a lab with a working VPN and leave it running
    Up {
        /// The lab's id, 1 to 6 small letters and digits
        #[arg(long)]
        id: Option<String>,
    },
    /// Remove a lab, or all that no process runs
    Down {
        /// The lab's id
        id: Option<String>,
    },
    /// List the labs of this machine
    Status,
}

/// Runs the command.
///
/// # Errors
/// What was expected and not seen, or could not be done.
pub async fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Demo { scenario, keep, id } => demo(Options { id, keep, scenario, program: None }).await,
        Command::Up { id } => up(Options { id, keep: true, ..Options::default() }).await,
        Command::Down { id } => down(id.as_deref()).await,
        Command::Status => status(),
    }
}
