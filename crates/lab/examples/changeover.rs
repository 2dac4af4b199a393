//! The figures of `bench/changeover/run`.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use causeway_lab::{Interruption, Options, STEP, measure_change_over};

#[tokio::main]
async fn main() -> Result<()> {
    let rounds: u32 = std::env::args().nth(1).map_or(Ok(5), |text| text.parse()).context("ROUNDS")?;
    let program = PathBuf::from(std::env::var("CAUSEWAY_BIN").context("CAUSEWAY_BIN")?);
    let options = Options { id: Some("benco".to_owned()), program: Some(program), ..Options::default() };
    let [dual, pair] = measure_change_over(options, rounds).await?;
    say(&format!("\nlongest silence of a stream with a datagram every {} ms, host -> customer:", STEP.as_millis()));
    report("two tunnels in one connection", dual);
    report("two connections", pair);
    Ok(())
}

fn report(what: &str, mut met: Vec<Interruption>) {
    met.sort_by_key(|met| met.gap);
    let median = met.get(met.len() / 2).map(|met| met.gap.as_millis()).unwrap_or_default();
    let all: Vec<String> = met.iter().map(|met| format!("{} ({} lost)", met.gap.as_millis(), met.lost)).collect();
    say(&format!("{what:<32} median {median} ms   {}", all.join(", ")));
}

fn say(line: &str) {
    // A closed output is nobody's loss.
    let _ = writeln!(std::io::stdout(), "{line}");
}
