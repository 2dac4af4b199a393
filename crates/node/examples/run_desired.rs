//! Runs a node on a desired state from a file, without a controller, and prints each report as a line of JSON. For experiments and
//! measurements: `run_desired STATE_DIR UNDERLAY DESIRED.json [LEASE]`. The file is read again when it changes.
//!
//! With a file `LEASE` the node has a gate, which does what that file's lines say, one after the other as they are added: `close`, `open`,
//! `arm NUMBER MILLISECONDS`, `count NUMBER`. The first is done before the node begins. Beside it, `LEASE.done` gets a line for each: `done`, or why not.
//!
//! With `PEERING="ID HOST"` in its environment the node has this id and tunnels to the peers of its desired state, from the address towards HOST.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use causeway_fleet::FromNode;
use causeway_fleet::lease::Gate as _;
use causeway_fleet::witness::Tunnels as _;
use causeway_model::NodeId;
use causeway_model::desired::NodeDesired;
use causeway_node::{LeaseGate, NodeConfig, Peering};
use tokio_util::sync::CancellationToken;

/// Who keeps the lease: a file.
struct Lease {
    gate: LeaseGate,
    orders: PathBuf,
    done: usize,
}

impl Lease {
    async fn obey(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        for line in std::fs::read_to_string(&self.orders)?.lines().skip(self.done) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let told = match words.as_slice() {
                ["close"] => self.gate.close().await,
                ["open"] => self.gate.open().await,
                ["arm", number, life] => self.gate.arm(number.parse()?, Duration::from_millis(life.parse()?)).await,
                ["count", number] => self.gate.count(number.parse()?).await,
                _ => return Err(format!("`{line}` is no step of a lease").into()),
            };
            self.done += 1;
            let told = told.map_or_else(|error| error.to_string(), |()| "done".to_owned());
            let path = self.orders.with_extension("done");
            writeln!(std::fs::OpenOptions::new().create(true).append(true).open(path)?, "{told}")?;
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CAUSEWAY_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: run_desired STATE_DIR UNDERLAY DESIRED.json");
    let (state_dir, underlay, file) = (PathBuf::from(next()?), next()?, PathBuf::from(next()?));
    let mut lease = match arguments.next() {
        Some(orders) => Some(Lease { gate: LeaseGate::new(&underlay)?, orders: orders.into(), done: 0 }),
        None => None,
    };
    if let Some(lease) = &mut lease {
        lease.obey().await?;
    }
    let (mut controller, node) = causeway_fleet::in_process();
    let shutdown = CancellationToken::new();
    let (id, peering) = match std::env::var("PEERING") {
        Ok(said) => {
            let (id, host) = said.split_once(' ').ok_or("PEERING is `ID HOST`")?;
            (id.parse()?, Some(Peering::new((host.to_owned(), 443), None)))
        }
        Err(_) => (NodeId::random(), None),
    };
    let config = NodeConfig {
        id,
        zone: "fr-par-1".to_owned(),
        underlay,
        state_dir,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        lease: lease.as_ref().map(|lease| lease.gate.clone()),
        peering: peering.clone(),
    };
    let running = tokio::spawn(causeway_node::run(config, node, shutdown.clone()));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut poll = tokio::time::interval(Duration::from_millis(100));
    let mut last = Vec::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = poll.tick() => {
                if let Some(lease) = &mut lease {
                    lease.obey().await?;
                }
                let bytes = std::fs::read(&file)?;
                if bytes != last {
                    let desired: NodeDesired = serde_json::from_slice(&bytes)?;
                    if let Some(peering) = &peering {
                        peering.lead_to(&desired.peers);
                    }
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
