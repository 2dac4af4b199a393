//! Commands as they are typed, against a server that answers with recorded samples of the wire.

mod errors;
mod help;
mod links;
mod objects;
mod operator;
mod routing;
mod server;
mod streams;
mod waiting;

use std::sync::Arc;

use clap::Parser;

use crate::output::Console;
use crate::{Command, run_with};
use server::Server;

/// As the program flattens it.
#[derive(Parser)]
#[command(name = "causeway")]
struct Program {
    #[command(subcommand)]
    command: Command,
}

/// What a command did.
#[derive(Debug)]
struct Outcome {
    code: u8,
    out: String,
    err: String,
}

/// Runs `line` (words without quotes) against `server`.
async fn run(server: &Arc<Server>, line: &str) -> Outcome {
    let url = server.url();
    let environment = move |name: &str| {
        Some(match name {
            "SCW_API_URL" => url.clone(),
            "SCW_SECRET_KEY" => "11111111-1111-4111-8111-111111111111".to_owned(),
            "SCW_DEFAULT_PROJECT_ID" => server::PROJECT.to_owned(),
            "SCW_DEFAULT_REGION" => "fr-par".to_owned(),
            "SCW_DEFAULT_ZONE" => "fr-par-1".to_owned(),
            _ => return None,
        })
    };
    run_in(&environment, line).await
}

/// Runs `line` in an environment.
async fn run_in(environment: &dyn Fn(&str) -> Option<String>, line: &str) -> Outcome {
    let program = Program::try_parse_from(std::iter::once("causeway").chain(line.split_whitespace()))
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let console = Console { out: &mut out, err: &mut err, is_terminal: false, colour: false };
    let code = run_with(program.command, environment, console).await;
    let text = |octets| String::from_utf8(octets).expect("text");
    Outcome { code, out: text(out), err: text(err) }
}
