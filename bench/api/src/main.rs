//! `causeway-load measure FOLDER [SIZE…]` and `causeway-load contend [SECONDS [SEED]]`; see `bench/api/run` and `bench/api/contend`.

#![expect(clippy::print_stdout, reason = "figures are its output")]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use causeway_load::contend::{Shared, Until};
use causeway_load::service::Service;
use causeway_load::world::World;
use causeway_load::{check, contend, measure};

/// Connections in the store at each look.
const SIZES: [usize; 5] = [1_000, 3_000, 10_000, 30_000, 100_000];

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((command, [folder, sizes @ ..])) if command == "measure" => {
            let sizes = sizes.iter().map(|size| Ok(size.parse()?)).collect::<Result<Vec<usize>>>()?;
            measured(Path::new(folder), if sizes.is_empty() { &SIZES } else { &sizes }).await
        }
        Some((command, rest)) if command == "contend" => {
            let seconds = rest.first().map_or(Ok(60), |text| text.parse()).context("SECONDS")?;
            let seed = rest.get(1).map_or(Ok(1), |text| text.parse()).context("SEED")?;
            contended(Duration::from_secs(seconds), seed).await
        }
        _ => bail!("usage: causeway-load measure FOLDER [SIZE…] | contend [SECONDS [SEED]]"),
    }
}

/// Grows one store from size to size and measures at each.
async fn measured(folder: &Path, sizes: &[usize]) -> Result<()> {
    let program = Service::program()?;
    let mut figures = vec![measure::idle(&program).await?];
    let (mut service, mut endpoint) = Service::start(&program).await?;
    let mut world = World::new(&endpoint).await?;
    for size in sizes {
        println!("{size} connections …");
        figures.extend(measure::creates(&endpoint, &mut world, *size).await?);
        figures.extend(measure::reads(&endpoint, &world).await?);
        figures.extend(measure::space(&service, *size)?);
        let (start, listening) = measure::start(&mut service, *size).await?;
        figures.push(start);
        endpoint = listening;
        // What was measured until here is there even if the next size fails.
        std::fs::write(folder.join("figures.csv"), measure::csv(&figures))?;
    }
    service.stop().await?;
    println!("\n{}", measure::table(&figures));
    Ok(())
}

async fn contended(time: Duration, seed: u64) -> Result<()> {
    let (service, endpoint) = Service::start(&Service::program()?).await?;
    let vpc = contend::prepare(&endpoint).await?;
    let known = Shared::default();
    contend::run(&endpoint, &vpc, seed, Until::Time(time), &known).await?;
    println!("{:<22} {:>6} {:>8}", "call", "status", "answers");
    for ((what, status), count) in &known.lock().answers {
        println!("{what:<22} {status:>6} {count:>8}");
    }
    let known = std::mem::take(&mut *known.lock());
    check::settle(&endpoint, &known).await?;
    let faults = check::faults(&endpoint, &known, true).await?;
    ensure!(faults.is_empty(), "inconsistent:\n{}", faults.join("\n"));
    println!(
        "{} objects created, {} deleted: references and allocations are consistent",
        known.created.len(),
        known.deleted.len()
    );
    let remains = check::remains(&endpoint).await?;
    ensure!(remains.is_empty(), "after everything was deleted there are:\n{}", remains.join("\n"));
    println!("after everything was deleted nothing remains");
    service.stop().await
}
