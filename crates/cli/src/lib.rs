//! The resource commands of `causeway`: the API as any client sees it, for people.
//!
//! This crate knows only the wire (`serde_json::Value`, and a column here and there), never what serves it, so that it works against
//! every service that speaks the same API. Results go to standard output, everything else (progress, warnings, errors) to standard
//! error. Exit codes: 0 done, 1 not done, 2 wrong usage.

mod client;
mod command;
mod connect;
mod failure;
mod flags;
mod output;
mod session;
mod sse;
mod state;
mod tar;
mod text;
mod wait;
mod yaml;

use std::io::{BufWriter, IsTerminal as _};
use std::process::ExitCode;

pub use command::node::Action as NodeAction;
pub use command::{Command, Group};
pub use session::Common;

use output::Console;
use session::Session;

/// Runs a command with the environment and the standard streams of the process. Errors have been told when this returns.
pub async fn run(command: Command) -> ExitCode {
    let environment = |name: &str| std::env::var(name).ok();
    let colour = std::io::stderr().is_terminal()
        && environment("NO_COLOR").is_none_or(|value| value.is_empty())
        && environment("TERM").is_none_or(|term| term != "dumb");
    let is_terminal = std::io::stdout().is_terminal();
    let mut out = BufWriter::new(std::io::stdout());
    let mut err = std::io::stderr();
    let console = Console { out: &mut out, err: &mut err, is_terminal, colour };
    ExitCode::from(run_with(command, &environment, console).await)
}

/// The exit code of a command that reads these variables and writes there.
async fn run_with(command: Command, environment: &dyn Fn(&str) -> Option<String>, console: Console<'_>) -> u8 {
    let mut session = match Session::new(command.common(), environment, console) {
        Ok(session) => session,
        Err((failure, mut console)) => {
            console.failure(&failure);
            return failure.exit_code();
        }
    };
    let result = command.run(&mut session).await;
    let result = result.and_then(|()| Ok(session.console.out.flush()?));
    match result {
        Ok(()) => 0,
        Err(failure) if failure.is_closed_pipe() => 0,
        Err(failure) => {
            session.console.failure(&failure);
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests;
