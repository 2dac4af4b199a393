//! `causeway-herd [NODES [GATEWAYS [CONNECTIONS]]]`; see `bench/fleet/run`.

#![expect(clippy::print_stdout, reason = "figures are its output")]

mod measure;
mod node;

use anyhow::{Context as _, Result, ensure};

#[tokio::main]
async fn main() -> Result<()> {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .map(|text| {
            text.parse().with_context(|| format!("{text}: usage: causeway-herd [NODES [GATEWAYS [CONNECTIONS]]]"))
        })
        .collect::<Result<_>>()?;
    let number = |at: usize, otherwise: usize| numbers.get(at).copied().unwrap_or(otherwise);
    let size = measure::Size { nodes: number(0, 200), gateways: number(1, 2_000), connections: number(2, 10_000) };
    ensure!(
        size.nodes > 0 && size.gateways >= size.nodes && size.connections >= size.gateways,
        "at least one gateway for each node and one connection for each gateway"
    );
    measure::measure(size).await
}
