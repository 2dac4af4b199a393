//! Runs a node on a desired state from a file, without a controller, and prints each report as a line of JSON. For experiments and
//! measurements: `run_desired STATE_DIR UNDERLAY DESIRED.json`. The file is read again when it changes.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use causeway_fleet::FromNode;
use causeway_model::NodeId;
use causeway_model::desired::NodeDesired;
use causeway_node::NodeConfig;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CAUSEWAY_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: run_desired STATE_DIR UNDERLAY DESIRED.json");
    let (state_dir, underlay, file) = (PathBuf::from(next()?), next()?, PathBuf::from(next()?));
    let (mut controller, node) = causeway_fleet::in_process();
    let shutdown = CancellationToken::new();
    let config = NodeConfig {
        id: NodeId::random(),
        zone: "fr-par-1".to_owned(),
        underlay,
        state_dir,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let running = tokio::spawn(causeway_node::run(config, node, shutdown.clone()));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut poll = tokio::time::interval(Duration::from_millis(100));
    let mut last = Vec::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = poll.tick() => {
                let bytes = std::fs::read(&file)?;
                if bytes != last {
                    let desired: NodeDesired = serde_json::from_slice(&bytes)?;
                    controller.desired.send(Arc::new(desired))?;
                    last = bytes;
                }
            }
            word = controller.reports.recv() => match word {
                Some(FromNode::Report(report)) => {
                    let mut out = std::io::stdout().lock();
                    serde_json::to_writer(&mut out, &report)?;
                    writeln!(out)?;
                }
                Some(_) => {}
                None => break,
            },
        }
    }
    shutdown.cancel();
    running.await??;
    Ok(())
}
