//! The figures of `bench/failover/run`.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use causeway_lab::{FAILOVER_STEPS, Failover, Options, measure_failover};

#[tokio::main]
async fn main() -> Result<()> {
    let runs: u32 = std::env::args().nth(1).map_or(Ok(5), |text| text.parse()).context("RUNS")?;
    let program = PathBuf::from(std::env::var("CAUSEWAY_BIN").context("CAUSEWAY_BIN")?);
    let options = Options { id: Some("benfo".to_owned()), program: Some(program), ..Options::default() };
    let [silent, stopped] = measure_failover(options, runs).await?;
    report("nothing is known of the lost machine", &silent);
    report("the lost machine is known not to run", &stopped);
    Ok(())
}

/// The medians of each step, and the worst of what matters in the end.
fn report(what: &str, met: &[Failover]) {
    say(&format!("\n{what}, medians of {}:", met.len()));
    for (at, step) in FAILOVER_STEPS.iter().enumerate() {
        let sorted = |of: fn(&Failover) -> [Duration; 6]| {
            let mut all: Vec<Duration> = met.iter().filter_map(|failover| of(failover).get(at).copied()).collect();
            all.sort_unstable();
            all
        };
        let (done, took) = (sorted(|failover| failover.done), sorted(Failover::shares));
        let median = |all: &[Duration]| all.get(all.len() / 2).map_or(0.0, Duration::as_secs_f64);
        let worst = done.last().map_or(0.0, Duration::as_secs_f64);
        say(&format!(
            "{step:<8} done after {:>6.2} s (worst {worst:>6.2} s), took {:>6.2} s",
            median(&done),
            median(&took)
        ));
    }
}

fn say(line: &str) {
    // A closed output is nobody's loss.
    let _ = writeln!(std::io::stdout(), "{line}");
}
